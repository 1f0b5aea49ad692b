#include "registry/raft/conf.h"

#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/reader.h"

#define ENTRY_FORMAT 1

const char *conf_member_format(const struct peer_member *m, char dst[CONF_TEXT])
{
    char addr[ENV_ADDR_TEXT];
    snprintf(dst, CONF_TEXT, "%s=%.*s", m->name, SLICE(env_addr_format(&m->addr, addr)));
    return dst;
}

bool conf_member_parse(uint64_t id, const char *text, struct peer_member *ret, struct err *err)
{
    struct slice name, addr = slice_of(text);
    struct peer_member m = {.id = id};
    if (slice_cut(slice_of(text), '=', &name, &addr)) {
        if (!slice_cstr(name, m.name, sizeof(m.name)))
            return err_set(err, ERR_INVALID, "member %llu: its name is too long",
                           (unsigned long long)id);
    } else {
        addr = slice_of(text);
        snprintf(m.name, sizeof(m.name), "n%llu", (unsigned long long)id);
    }
    if (!env_addr_parse(&m.addr, addr, err))
        return err_wrap(err, "member %llu", (unsigned long long)id);
    *ret = m;
    return true;
}

void conf_copy(const struct raft_configuration *from, struct raft_configuration *to)
{
    raft_configuration_init(to);
    for (unsigned i = 0; i < from->n; i++) {
        const struct raft_server *s = &from->servers[i];
        if (raft_configuration_add(to, s->id, s->address, s->role) != 0)
            wf_die("out of memory");
    }
}

bool conf_equal(const struct raft_configuration *a, const struct raft_configuration *b)
{
    if (a->n != b->n)
        return false;
    for (unsigned i = 0; i < a->n; i++)
        if (a->servers[i].id != b->servers[i].id || a->servers[i].role != b->servers[i].role ||
            strcmp(a->servers[i].address, b->servers[i].address) != 0)
            return false;
    return true;
}

const struct raft_server *conf_find(const struct raft_configuration *c, uint64_t id)
{
    for (unsigned i = 0; i < c->n; i++)
        if (c->servers[i].id == id)
            return &c->servers[i];
    return NULL;
}

static bool server_decode(struct slice bytes, struct reader *r, struct raft_configuration *ret,
                          struct err *err)
{
    uint64_t id = reader_u64le(r);
    struct slice rest = slice_skip(bytes, reader_offset(r));
    size_t len = rest.n ? strnlen(rest.p, rest.n) : 0;
    if (!reader_ok(r) || len == rest.n || len >= CONF_TEXT)
        return err_set(err, ERR_INVALID, "configuration: an address has no end");
    reader_bytes(r, len + 1);
    uint8_t role = reader_u8(r);
    if (!reader_ok(r) || role > RAFT_SPARE || conf_find(ret, id) ||
        raft_configuration_add(ret, id, rest.p, role) != 0)
        return err_set(err, ERR_INVALID, "configuration: member %llu", (unsigned long long)id);
    return true;
}

/* *ret_end: where the padding begins. */
static bool entry_read(struct slice bytes, struct raft_configuration *ret, size_t *ret_end,
                       struct err *err)
{
    struct reader r = reader_of(bytes);
    uint8_t format = reader_u8(&r);
    uint64_t n = reader_u64le(&r);
    bool ok = true;
    raft_configuration_init(ret);
    if (!reader_ok(&r) || format != ENTRY_FORMAT || n > RAFT_MEMBERS_MAX)
        return err_set(err, ERR_INVALID, "configuration: %llu members of format %u",
                       (unsigned long long)n, format);
    for (uint64_t i = 0; ok && i < n; i++)
        ok = server_decode(bytes, &r, ret, err);
    if (!ok)
        raft_configuration_close(ret);
    *ret_end = reader_offset(&r);
    return ok;
}

bool conf_entry_decode(struct slice bytes, struct raft_configuration *ret, struct err *err)
{
    size_t end;
    return entry_read(bytes, ret, &end, err);
}

void conf_entry_seal(void *entry, size_t n)
{
    struct raft_configuration conf;
    struct err err = {0};
    size_t end;
    if (!entry_read(slice_mem(entry, n), &conf, &end, &err))
        wf_die("%s", err.msg); /* libraft's own bytes */
    raft_configuration_close(&conf);
    memset((char *)entry + end, 0, n - end);
}
