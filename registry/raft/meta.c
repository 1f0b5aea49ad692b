#include "registry/raft/meta.h"

#include <stdio.h>

#include "base/core/hash.h"
#include "base/core/reader.h"

#define META_MAGIC 0x314154454D464557u /* "WEFMETA1" */
#define META_VERSION 1u
#define META_BYTES 72
#define PATH_BYTES 4096

void meta_encode(struct buf *out, const struct meta *m)
{
    size_t start = out->n;
    buf_u64le(out, META_MAGIC);
    buf_u32le(out, META_VERSION);
    buf_u64le(out, m->cluster);
    buf_u64le(out, m->node);
    buf_u64le(out, m->incarnation);
    buf_u64le(out, m->term);
    buf_u64le(out, m->vote);
    buf_u64le(out, m->joining);
    buf_u64le(out, m->started);
    struct slice all = slice_skip(buf_slice(out), start);
    buf_u32le(out, crc32c(0, all.p, all.n));
}

bool meta_decode(struct slice bytes, struct meta *ret, struct err *err)
{
    struct reader r = reader_of(bytes);
    uint64_t magic = reader_u64le(&r);
    uint32_t version = reader_u32le(&r);
    struct meta m = {.cluster = reader_u64le(&r)};
    m.node = reader_u64le(&r);
    m.incarnation = reader_u64le(&r);
    m.term = reader_u64le(&r);
    m.vote = reader_u64le(&r);
    m.joining = reader_u64le(&r);
    m.started = reader_u64le(&r);
    uint32_t crc = reader_u32le(&r);
    if (!reader_done(&r) || magic != META_MAGIC || crc != crc32c(0, bytes.p, META_BYTES - 4))
        return err_set(err, ERR_CORRUPT, "term and vote are damaged");
    if (version != META_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "version %u, this node knows %u", version,
                       META_VERSION);
    *ret = m;
    return true;
}

bool meta_load(struct env *env, const char *dir, struct meta *ret, struct err *err)
{
    char path[PATH_BYTES];
    struct buf bytes = {0};
    snprintf(path, sizeof(path), "%s/meta", dir);
    bool ok = env_file_load(env, path, 4096, &bytes, err) &&
              (meta_decode(buf_slice(&bytes), ret, err) || err_wrap(err, "%s", path));
    buf_fini(&bytes);
    return ok;
}

bool meta_store(struct env *env, const char *dir, const struct meta *m, struct err *err)
{
    char path[PATH_BYTES];
    struct buf bytes = {0};
    snprintf(path, sizeof(path), "%s/meta", dir);
    meta_encode(&bytes, m);
    bool ok = env_file_store(env, path, buf_slice(&bytes), err);
    buf_fini(&bytes);
    return ok;
}
