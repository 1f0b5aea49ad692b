#include "api/snapshot_head.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/core/reader.h"

#define MAGIC S("weftsnap")
#define VERSION 1u
#define LENGTH_AT 12

static void put_name(struct buf *out, const char *name)
{
    struct slice s = slice_of(name);
    buf_u16le(out, (uint16_t)s.n);
    buf_append(out, s);
}

static void put_numbers(struct buf *out, const struct snapshot_head *h)
{
    const uint64_t numbers[] = {h->cluster,    h->genesis,           h->index,
                                h->term,       h->revision,          h->compacted,
                                h->state_hash, (uint64_t)h->wall_ms, h->image_bytes};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        buf_u64le(out, numbers[i]);
}

void snapshot_head_encode(struct buf *out, const struct snapshot_head *h)
{
    wf_assert(out->n == 0 && h->kind_count <= SNAPSHOT_HEAD_KINDS_MAX);
    buf_append(out, MAGIC);
    buf_u32le(out, VERSION);
    buf_u32le(out, 0);
    put_numbers(out, h);
    buf_append(out, slice_mem(h->sha256, sizeof(h->sha256)));
    put_name(out, h->node);
    buf_u32le(out, (uint32_t)h->kind_count);
    for (size_t i = 0; i < h->kind_count; i++) {
        put_name(out, h->kinds[i].name);
        buf_u64le(out, h->kinds[i].objects);
        buf_u64le(out, h->kinds[i].bytes);
    }
    uint32_t bytes = (uint32_t)out->n + 4;
    wf_assert(bytes <= SNAPSHOT_HEAD_BYTES_MAX);
    memcpy((char *)(uintptr_t)buf_slice(out).p + LENGTH_AT, &bytes, 4);
    buf_u32le(out, crc32c(0, buf_slice(out).p, out->n));
}

bool snapshot_head_bytes(struct slice first, size_t *ret_n, struct err *err)
{
    struct reader r = reader_of(first);
    struct slice magic = reader_bytes(&r, MAGIC.n);
    uint32_t version = reader_u32le(&r), bytes = reader_u32le(&r);
    if (!reader_ok(&r) || !slice_eq(magic, MAGIC))
        return err_set(err, ERR_INVALID, "is no snapshot of weft");
    if (version != VERSION)
        return err_set(err, ERR_INVALID, "is a snapshot of version %u; version %u is read here",
                       version, VERSION);
    if (bytes < SNAPSHOT_HEAD_BYTES_MIN || bytes > SNAPSHOT_HEAD_BYTES_MAX)
        return err_set(err, ERR_CORRUPT, "is damaged: its head would have %u bytes", bytes);
    *ret_n = bytes;
    return true;
}

static bool get_name(struct reader *r, char dst[SNAPSHOT_HEAD_NAME_BYTES_MAX])
{
    struct slice s = reader_bytes(r, reader_u16le(r));
    return reader_ok(r) && slice_cstr(s, dst, SNAPSHOT_HEAD_NAME_BYTES_MAX);
}

static void get_numbers(struct reader *r, struct snapshot_head *h)
{
    h->cluster = reader_u64le(r);
    h->genesis = reader_u64le(r);
    h->index = reader_u64le(r);
    h->term = reader_u64le(r);
    h->revision = reader_u64le(r);
    h->compacted = reader_u64le(r);
    h->state_hash = reader_u64le(r);
    h->wall_ms = (int64_t)reader_u64le(r);
    h->image_bytes = reader_u64le(r);
}

static bool get_kinds(struct reader *r, struct snapshot_head *h)
{
    uint32_t count = reader_u32le(r);
    if (!reader_ok(r) || count > SNAPSHOT_HEAD_KINDS_MAX)
        return false;
    for (h->kind_count = 0; h->kind_count < count; h->kind_count++) {
        struct snapshot_kind *k = &h->kinds[h->kind_count];
        if (!get_name(r, k->name))
            return false;
        k->objects = reader_u64le(r);
        k->bytes = reader_u64le(r);
    }
    return true;
}

bool snapshot_head_decode(struct slice bytes, struct snapshot_head *ret, struct err *err)
{
    size_t n = 0;
    if (!snapshot_head_bytes(bytes, &n, err))
        return false;
    struct slice body = slice_sub(bytes, 0, n - 4);
    struct reader tail = reader_of(slice_skip(bytes, n - 4)), r = reader_of(body);
    if (bytes.n != n || reader_u32le(&tail) != crc32c(0, body.p, body.n))
        return err_set(err, ERR_CORRUPT, "is damaged: the checksum of its head is wrong");
    reader_bytes(&r, SNAPSHOT_HEAD_BYTES_MIN);
    *ret = (struct snapshot_head){0};
    get_numbers(&r, ret);
    struct slice sha = reader_bytes(&r, sizeof(ret->sha256));
    if (!get_name(&r, ret->node) || !get_kinds(&r, ret) || !reader_done(&r))
        return err_set(err, ERR_CORRUPT, "is damaged: its head cannot be read");
    memcpy(ret->sha256, sha.p, sizeof(ret->sha256));
    return true;
}
