#include "weftd/member_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/wire/json.h"
#include "registry/raft/identity.h"

#define FILE_BYTES_MAX 16384
#define PATH_BYTES 4096

static const char *const states[] = {
    [MEMBER_ASKING] = "asking", [MEMBER_ADDED] = "added", [MEMBER_BEGAN] = "began"};

static json_t *member_json(const struct reg_member *m)
{
    char addr[ENV_ADDR_TEXT];
    env_addr_format(&m->addr, addr);
    return json_pack("{s:I,s:s,s:s}", "id", (json_int_t)m->id, "name", m->name, "address", addr);
}

void member_file_format(const struct member_file *f, struct buf *out)
{
    char cluster[32];
    json_t *list = json_array();
    size_t start = out->n;
    snprintf(cluster, sizeof(cluster), "%016" PRIx64, f->cluster);
    for (size_t i = 0; i < f->member_count; i++)
        json_array_append_new(list, member_json(&f->members[i]));
    json_t *o = json_pack("{s:s,s:o,s:s,s:o}", "state", states[f->state], "self",
                          member_json(&f->self), "cluster", cluster, "members", list);
    wf_assert(o && json_write(out, o, NULL));
    json_decref(o);
    struct slice text = slice_skip(buf_slice(out), start);
    buf_printf(out, "\ncrc32c %08x\n", crc32c(0, text.p, text.n));
}

bool member_parse(const json_t *o, struct reg_member *ret, struct err *err)
{
    struct reg_member m = {.id = (uint64_t)json_int(o, "id", 0)};
    if (!m.id || !slice_cstr(json_str(o, "name"), m.name, sizeof(m.name)) || !m.name[0])
        return err_set(err, ERR_INVALID, "a member without id or name");
    if (!env_addr_parse(&m.addr, json_str(o, "address"), err))
        return err_wrap(err, "member %s", m.name);
    *ret = m;
    return true;
}

static bool members_parse(const json_t *list, struct member_file *f, struct err *err)
{
    size_t i;
    json_t *m;
    if (json_array_size(list) > ARRAY_LEN(f->members))
        return err_set(err, ERR_INVALID, "%zu members", json_array_size(list));
    f->member_count = json_array_size(list);
    json_array_foreach (list, i, m)
        if (!member_parse(m, &f->members[i], err))
            return false;
    return true;
}

static bool state_parse(struct slice text, enum member_state *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        if (slice_eq(text, slice_of(states[i]))) {
            *ret = (enum member_state)i;
            return true;
        }
    return false;
}

static bool body_parse(const json_t *o, struct member_file *ret, struct err *err)
{
    struct member_file f = {0};
    if (!state_parse(json_str(o, "state"), &f.state))
        return err_set(err, ERR_INVALID, "a state that is unknown");
    if (!member_parse(json_object_get(o, "self"), &f.self, err) ||
        !members_parse(json_object_get(o, "members"), &f, err))
        return false;
    if (!identity_cluster_parse(json_str(o, "cluster"), &f.cluster) && f.state != MEMBER_ASKING)
        return err_set(err, ERR_INVALID, "no cluster");
    *ret = f;
    return true;
}

bool member_file_parse(struct slice text, struct member_file *ret, struct err *err)
{
    struct slice body, rest;
    char crc[32];
    struct err why = {0};
    slice_cut(text, '\n', &body, &rest);
    snprintf(crc, sizeof(crc), "crc32c %08x\n", crc32c(0, body.p, body.n));
    if (!slice_eq(rest, slice_of(crc)))
        return err_set(err, ERR_CORRUPT, "its checksum is wrong");
    json_t *o = json_parse(body, &why);
    bool ok = o && body_parse(o, ret, &why);
    json_decref(o);
    return ok || err_set(err, ERR_CORRUPT, "%s", why.msg);
}

static const char *path_of(const char *dir, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/member", dir);
    return path;
}

bool member_file_load(struct env *env, const char *dir, struct member_file *ret, struct err *err)
{
    char path[PATH_BYTES];
    struct buf text = {0};
    bool ok = env_file_load(env, path_of(dir, path), FILE_BYTES_MAX, &text, err) &&
              (member_file_parse(buf_slice(&text), ret, err) || err_wrap(err, "%s", path));
    buf_fini(&text);
    return ok;
}

bool member_file_store(struct env *env, const char *dir, const struct member_file *f,
                       struct err *err)
{
    char path[PATH_BYTES];
    struct buf text = {0};
    member_file_format(f, &text);
    bool ok = env_dir_make(env, dir, err) &&
              env_file_store(env, path_of(dir, path), buf_slice(&text), err);
    buf_fini(&text);
    return ok;
}
