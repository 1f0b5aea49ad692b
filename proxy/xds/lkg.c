#include "proxy/xds/lkg.h"

#include <stdlib.h>

#include "base/core/reader.h"

#define LKG_MAGIC S("WEFTLKG1")

static int by_name(const void *a, const void *b)
{
    const struct resource *x = *(struct resource *const *)a, *y = *(struct resource *const *)b;
    return slice_cmp(x->name, y->name);
}

static void put_record(struct buf *out, const struct resource *r)
{
    buf_append_byte(out, (char)r->type);
    buf_u16le(out, (uint16_t)r->name.n);
    buf_append(out, r->name);
    buf_u16le(out, (uint16_t)r->version.n);
    buf_append(out, r->version);
    buf_u32le(out, (uint32_t)r->body.n);
    buf_append(out, r->body);
}

static void put_type(struct buf *out, const struct map *m)
{
    struct resource **list = mem_array(m->n + 1, sizeof(*list));
    size_t n = 0;
    MAP_EACH (m, e)
        list[n++] = e->value;
    qsort(list, n, sizeof(*list), by_name);
    for (size_t i = 0; i < n; i++)
        put_record(out, list[i]);
    mem_free(list);
}

void lkg_encode(const struct resources *rs, struct slice node_id, struct buf *out)
{
    size_t count = 0;
    buf_clear(out);
    for (int t = 0; t < XDS_TYPE_COUNT; t++)
        count += rs->by_name[t].n;
    buf_append(out, LKG_MAGIC);
    buf_u16le(out, (uint16_t)node_id.n);
    buf_append(out, node_id);
    buf_u32le(out, (uint32_t)count);
    for (int t = 0; t < XDS_TYPE_COUNT; t++)
        put_type(out, &rs->by_name[t]);
    struct slice all = buf_slice(out);
    buf_u32le(out, crc32c(0, all.p, all.n));
}

/* One pass checks, the other puts: a file is taken whole or not at all. */
static bool read_records(struct reader *r, uint32_t count, struct resources *rs, int64_t wall_ms)
{
    for (uint32_t i = 0; i < count && reader_ok(r); i++) {
        uint8_t type = reader_u8(r);
        struct slice name = reader_bytes(r, reader_u16le(r));
        struct slice version = reader_bytes(r, reader_u16le(r));
        struct slice body = reader_bytes(r, reader_u32le(r));
        if (!reader_ok(r) || type >= XDS_TYPE_COUNT)
            return false;
        if (!rs)
            continue;
        resources_put(rs, (enum xds_type)type, name, version, body, wall_ms, NULL);
    }
    return reader_done(r);
}

bool lkg_decode(struct resources *rs, struct slice node_id, struct slice bytes, int64_t wall_ms,
                struct err *err)
{
    if (bytes.n < LKG_MAGIC.n + 4 || !slice_starts(bytes, LKG_MAGIC))
        return err_set(err, ERR_CORRUPT, "last known good: not a file of this version");
    struct slice body = slice_sub(bytes, 0, bytes.n - 4);
    struct reader tail = reader_of(slice_skip(bytes, body.n));
    if (reader_u32le(&tail) != crc32c(0, body.p, body.n))
        return err_set(err, ERR_CORRUPT, "last known good: the checksum is wrong");
    struct reader r = reader_of(slice_skip(body, LKG_MAGIC.n));
    struct slice id = reader_bytes(&r, reader_u16le(&r));
    uint32_t count = reader_u32le(&r);
    if (reader_ok(&r) && !slice_eq(id, node_id))
        return err_set(err, ERR_CONFLICT, "last known good: belongs to node %.*s", SLICE(id));
    struct reader records = r;
    if (!read_records(&r, count, NULL, 0))
        return err_set(err, ERR_CORRUPT, "last known good: record at byte %zu", reader_offset(&r));
    read_records(&records, count, rs, wall_ms);
    resources_restored(rs);
    return true;
}
