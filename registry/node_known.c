/* Whom a node knew last, in a file of its own: `members`. It is no data, and stays where damaged
 * data is put aside: the options name those that the cluster began with, and they may all be gone.
 * Then nobody would be asked, and nobody let in.
 *
 * A hint: these are asked too, and their answers say who belongs to the cluster (node_join.c). What
 * counts for a vote is what they say, never this file. One that is missing or damaged is none. */
#include <stdio.h>

#include "base/core/hash.h"
#include "base/core/log.h"
#include "base/core/reader.h"
#include "registry/node_impl.h"
#include "registry/raft/conf.h"

#define KNOWN_MAGIC 0x31424D454D464557u /* "WEFMEMB1" */
#define KNOWN_BYTES_MAX (64u << 10)
#define PATH_BYTES 4096

static const char *known_path(const struct reg_node *n, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%.*s/members", PATH_BYTES - 16, n->dir);
    return path;
}

void node_known_keep(struct reg_node *n)
{
    char path[PATH_BYTES];
    struct buf bytes = {0};
    struct raft_buffer conf;
    struct err err = {0};
    if (n->guard.standing != GUARD_MEMBER || !conf_find(&n->raft.configuration, n->opt.id))
        return;
    if (raft_configuration_encode(&n->raft.configuration, &conf) != 0)
        wf_die("out of memory");
    conf_entry_seal(conf.base, conf.len);
    buf_u64le(&bytes, KNOWN_MAGIC);
    buf_append(&bytes, slice_mem(conf.base, conf.len));
    buf_u32le(&bytes, crc32c(0, buf_slice(&bytes).p, bytes.n));
    if (!env_file_store(n->env, known_path(n, path), buf_slice(&bytes), &err))
        LOG_WARN("registry.members.not_kept", F_U64("node", n->opt.id), F_ERR(&err));
    raft_free(conf.base);
    buf_fini(&bytes);
}

static bool known_decode(struct slice bytes, struct raft_configuration *ret, struct err *err)
{
    struct slice body = slice_sub(bytes, 0, bytes.n < 4 ? 0 : bytes.n - 4);
    struct reader tail = reader_of(slice_skip(bytes, body.n)), r = reader_of(body);
    uint64_t magic = reader_u64le(&r);
    if (!reader_ok(&r) || magic != KNOWN_MAGIC || reader_u32le(&tail) != crc32c(0, body.p, body.n))
        return err_set(err, ERR_CORRUPT, "the list of members is damaged");
    return conf_entry_decode(slice_skip(body, reader_offset(&r)), ret, err);
}

void node_known_recall(struct reg_node *n)
{
    char path[PATH_BYTES];
    struct buf bytes = {0};
    struct raft_configuration conf;
    struct err err = {0};
    if (env_file_load(n->env, known_path(n, path), KNOWN_BYTES_MAX, &bytes, &err) &&
        known_decode(buf_slice(&bytes), &conf, &err)) {
        /* Older than all that anybody says. */
        node_member_learn(n, 1, &conf);
        raft_configuration_close(&conf);
    } else if (err.code != ERR_NOT_FOUND) {
        LOG_WARN("registry.members.not_known", F_U64("node", n->opt.id), F_ERR(&err));
    }
    buf_fini(&bytes);
}
