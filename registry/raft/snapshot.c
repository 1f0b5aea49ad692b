#include "registry/raft/snapshot.h"

#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/core/reader.h"
#include "registry/raft/message.h"

#define MANIFEST_MAGIC 0x31504E5354464557u /* "WEFTSNP1" */
#define MANIFEST_BYTES_MAX (64u << 10)
#define FILE_VERSION 1u

void snapshot_file_encode(char dst[SNAPSHOT_DATA_BYTES], const struct snapshot_file *f)
{
    struct buf b = {0};
    buf_u32le(&b, FILE_VERSION);
    buf_u32le(&b, 0);
    buf_u64le(&b, f->index);
    buf_u64le(&b, f->term);
    buf_u64le(&b, f->bytes);
    buf_append(&b, slice_mem(f->sha256, sizeof(f->sha256)));
    wf_assert(b.n == SNAPSHOT_DATA_BYTES);
    memcpy(dst, buf_slice(&b).p, SNAPSHOT_DATA_BYTES);
    buf_fini(&b);
}

bool snapshot_file_decode(struct slice bytes, struct snapshot_file *ret, struct err *err)
{
    struct reader r = reader_of(bytes);
    uint32_t version = reader_u32le(&r);
    reader_u32le(&r);
    struct snapshot_file f = {.index = reader_u64le(&r)};
    f.term = reader_u64le(&r);
    f.bytes = reader_u64le(&r);
    struct slice sha = reader_bytes(&r, sizeof(f.sha256));
    if (!reader_done(&r) || version != FILE_VERSION || f.index == 0 || f.bytes == 0)
        return err_set(err, ERR_INVALID, "checkpoint description of %zu bytes", bytes.n);
    memcpy(f.sha256, sha.p, sizeof(f.sha256));
    *ret = f;
    return true;
}

uint64_t snapshot_file_tag(const struct snapshot_file *f)
{
    uint64_t tag;
    memcpy(&tag, f->sha256, sizeof(tag));
    return tag;
}

const char *snapshot_file_path(const char *dir, uint64_t index, uint64_t tag,
                               char path[SNAPSHOT_PATH_BYTES])
{
    snprintf(path, SNAPSHOT_PATH_BYTES, "%s/ckpt-%016llx-%016llx.mdb", dir,
             (unsigned long long)index, (unsigned long long)tag);
    return path;
}

const char *snapshot_temp_path(const char *dir, char path[SNAPSHOT_PATH_BYTES])
{
    snprintf(path, SNAPSHOT_PATH_BYTES, "%s/ckpt-new.tmp", dir);
    return path;
}

const char *snapshot_remade_path(const char *dir, char path[SNAPSHOT_PATH_BYTES])
{
    snprintf(path, SNAPSHOT_PATH_BYTES, "%s/ckpt-remade.tmp", dir);
    return path;
}

const char *snapshot_part_path(const char *dir, char path[SNAPSHOT_PATH_BYTES])
{
    snprintf(path, SNAPSHOT_PATH_BYTES, "%s/ckpt-incoming.part", dir);
    return path;
}

void snapshot_manifest_fini(struct snapshot_manifest *m)
{
    if (m->conf.servers)
        raft_configuration_close(&m->conf);
    *m = (struct snapshot_manifest){0};
}

static bool manifest_decode(struct slice bytes, struct snapshot_manifest *ret, struct err *err)
{
    struct slice body = slice_sub(bytes, 0, bytes.n < 4 ? 0 : bytes.n - 4);
    struct reader tail = reader_of(slice_skip(bytes, body.n));
    struct reader r = reader_of(body);
    uint64_t magic = reader_u64le(&r);
    struct snapshot_manifest m = {.index = reader_u64le(&r)};
    m.term = reader_u64le(&r);
    m.conf_index = reader_u64le(&r);
    struct slice data = reader_bytes(&r, SNAPSHOT_DATA_BYTES);
    if (!reader_ok(&r) || magic != MANIFEST_MAGIC ||
        reader_u32le(&tail) != crc32c(0, body.p, body.n))
        return err_set(err, ERR_CORRUPT, "the manifest of the checkpoint is damaged");
    if (!snapshot_file_decode(data, &m.file, err) || !conf_decode(&r, &m.conf, err))
        return false;
    *ret = m;
    return true;
}

static const char *manifest_path(const char *dir, enum snapshot_which which,
                                 char path[SNAPSHOT_PATH_BYTES])
{
    snprintf(path, SNAPSHOT_PATH_BYTES, "%s/%s", dir,
             which == SNAPSHOT_NEWEST ? "snapshot" : "snapshot-older");
    return path;
}

bool snapshot_manifest_load(struct env *env, const char *dir, enum snapshot_which which,
                            struct snapshot_manifest *ret, struct err *err)
{
    char path[SNAPSHOT_PATH_BYTES];
    struct buf bytes = {0};
    manifest_path(dir, which, path);
    bool ok = env_file_load(env, path, MANIFEST_BYTES_MAX, &bytes, err) &&
              (manifest_decode(buf_slice(&bytes), ret, err) || err_wrap(err, "%s", path));
    buf_fini(&bytes);
    return ok;
}

bool snapshot_manifest_remove(struct env *env, const char *dir, enum snapshot_which which,
                              struct err *err)
{
    char path[SNAPSHOT_PATH_BYTES];
    struct err e = {0};
    if (!env_file_remove(env, manifest_path(dir, which, path), &e))
        return e.code == ERR_NOT_FOUND || err_set(err, e.code, "%s: %s", path, e.msg);
    return env_dir_sync(env, dir, err);
}

bool snapshot_manifest_store(struct env *env, const char *dir, enum snapshot_which which,
                             const struct snapshot_manifest *m, struct err *err)
{
    char path[SNAPSHOT_PATH_BYTES], data[SNAPSHOT_DATA_BYTES];
    struct buf b = {0};
    manifest_path(dir, which, path);
    snapshot_file_encode(data, &m->file);
    buf_u64le(&b, MANIFEST_MAGIC);
    buf_u64le(&b, m->index);
    buf_u64le(&b, m->term);
    buf_u64le(&b, m->conf_index);
    buf_append(&b, slice_mem(data, sizeof(data)));
    conf_encode(&b, &m->conf);
    struct slice body = buf_slice(&b);
    buf_u32le(&b, crc32c(0, body.p, body.n));
    bool ok = env_file_store(env, path, buf_slice(&b), err);
    buf_fini(&b);
    return ok;
}

struct sweep {
    char keep[SNAPSHOT_COUNT][SNAPSHOT_PATH_BYTES];
    const char *dir;
    VEC(char *) drop;
};

static void on_name(void *ctx, const char *name)
{
    struct sweep *s = ctx;
    char path[SNAPSHOT_PATH_BYTES];
    if (!slice_starts(slice_of(name), S("ckpt-")))
        return;
    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    for (size_t i = 0; i < SNAPSHOT_COUNT; i++)
        if (strcmp(path, s->keep[i]) == 0)
            return;
    char *copy = mem_new(strlen(path) + 1);
    memcpy(copy, path, strlen(path) + 1);
    *vec_push(&s->drop) = copy;
}

bool snapshot_sweep(struct env *env, const char *dir,
                    const struct snapshot_file *const keep[SNAPSHOT_COUNT], struct err *err)
{
    struct sweep s = {.dir = dir};
    for (size_t i = 0; keep && i < SNAPSHOT_COUNT; i++)
        if (keep[i])
            snapshot_file_path(dir, keep[i]->index, snapshot_file_tag(keep[i]), s.keep[i]);
    bool ok = env_dir_list(env, dir, on_name, &s, err);
    for (size_t i = 0; i < s.drop.n; i++) {
        ok = ok && env_file_remove(env, s.drop.p[i], err);
        mem_free(s.drop.p[i]);
    }
    vec_fini(&s.drop);
    return ok;
}
