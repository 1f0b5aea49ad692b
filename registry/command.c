#include "registry/command.h"

#include <string.h>

#include "base/core/assert.h"

#define ENTRY_VERSION_OLDEST 1
#define ENTRY_HEADER_BYTES 28
#define ENTRY_COUNT_AT 16
#define OP_DELETE 0x01u
#define OP_EXPECT_SHIFT 1
#define OP_EXPECT_MASK 0x03u
#define OP_CHECK 0x08u
#define OP_EPOCH 0x10u /* instead of an expectation of the two bits */
#define OP_GRANT 0x20u
#define OP_ATTACH 0x40u
#define OP_EXPIRE 0x80u
#define OP_KNOWN_BEFORE_3 0x0Fu
#define GRANT_REGISTRATION 0x01u
#define REQUEST_ONCE 0x01u
#define REQUEST_NO_QUOTA 0x02u

static unsigned op_flags(const struct reg_op *op)
{
    unsigned expect =
        op->expect == REG_EXPECT_EPOCH ? OP_EPOCH : (unsigned)op->expect << OP_EXPECT_SHIFT;
    return expect | (op->del ? OP_DELETE : 0u) | (op->check ? OP_CHECK : 0u) |
           (op->grant ? OP_GRANT : 0u) | (op->attach.n ? OP_ATTACH : 0u) |
           (op->expiry_term ? OP_EXPIRE : 0u);
}

static void put_grant(struct buf *out, const struct reg_grant *g)
{
    wf_assert(g->holder.n <= REG_HOLDER_BYTES_MAX && g->ttl_ms <= REG_LEASE_TTL_MS_MAX);
    buf_append_byte(out, g->registration ? GRANT_REGISTRATION : 0);
    buf_u32le(out, g->ttl_ms);
    buf_u64le(out, g->epoch);
    buf_u16le(out, (uint16_t)g->holder.n);
    buf_append(out, g->holder);
}

static void put_op(struct buf *out, const struct reg_op *op)
{
    wf_assert(op->key.n > 0 && op->key.n <= REG_KEY_BYTES_MAX);
    wf_assert(op->value.n <= REG_VALUE_BYTES_MAX);
    wf_assert(op->attach.n <= REG_KEY_BYTES_MAX);
    buf_append_byte(out, (char)op_flags(op));
    buf_u64le(out, op->expected);
    buf_u16le(out, (uint16_t)op->key.n);
    buf_append(out, op->key);
    buf_u32le(out, (uint32_t)op->value.n);
    buf_append(out, op->value);
    if (op->grant)
        put_grant(out, op->grant);
    if (op->attach.n) {
        buf_u16le(out, (uint16_t)op->attach.n);
        buf_append(out, op->attach);
    }
    if (op->expiry_term)
        buf_u64le(out, op->expiry_term);
}

static void put_once(struct buf *out, const struct reg_once *o)
{
    wf_assert(o->memo.n <= REG_MEMO_BYTES_MAX);
    buf_append(out, slice_mem(o->key, sizeof(o->key)));
    buf_append(out, slice_mem(o->digest, sizeof(o->digest)));
    buf_u16le(out, (uint16_t)o->memo.n);
    buf_append(out, o->memo);
}

void reg_request_encode(struct buf *out, const struct reg_request *r)
{
    wf_assert(r->op_count > 0 || r->once);
    wf_assert(r->op_count <= REG_REQUEST_OPS_MAX);
    wf_assert(r->origin.n <= REG_ORIGIN_BYTES_MAX);
    buf_u64le(out, r->client);
    buf_u64le(out, r->sequence);
    buf_u64le(out, r->settled);
    buf_append_byte(out,
                    (char)((r->once ? REQUEST_ONCE : 0u) | (r->no_quota ? REQUEST_NO_QUOTA : 0u)));
    buf_append_byte(out, (char)r->origin.n);
    buf_append(out, r->origin);
    if (r->once)
        put_once(out, r->once);
    buf_u32le(out, (uint32_t)r->op_count);
    for (size_t i = 0; i < r->op_count; i++)
        put_op(out, &r->ops[i]);
}

static const struct reg_grant *get_grant(struct reader *r, struct arena *arena)
{
    struct reg_grant *g = ARENA_NEW(arena, struct reg_grant);
    uint8_t flags = reader_u8(r);
    *g = (struct reg_grant){.registration = flags & GRANT_REGISTRATION,
                            .ttl_ms = reader_u32le(r),
                            .epoch = reader_u64le(r)};
    g->holder = reader_bytes(r, reader_u16le(r));
    bool sane = flags <= GRANT_REGISTRATION && g->holder.n <= REG_HOLDER_BYTES_MAX &&
                g->ttl_ms <= REG_LEASE_TTL_MS_MAX;
    return reader_ok(r) && sane ? g : NULL;
}

/* What version 3 has behind the value. */
static bool get_lease_parts(struct reader *r, unsigned flags, struct arena *arena,
                            struct reg_op *op)
{
    if (flags & OP_EPOCH) {
        if (op->expect != REG_EXPECT_ANY || !op->check)
            return false;
        op->expect = REG_EXPECT_EPOCH;
    }
    if (flags & OP_GRANT && (op->del || op->check || !(op->grant = get_grant(r, arena))))
        return false;
    if (flags & OP_ATTACH) {
        op->attach = reader_bytes(r, reader_u16le(r));
        if (op->del || op->check || !op->attach.n || op->attach.n > REG_KEY_BYTES_MAX)
            return false;
    }
    if (flags & OP_EXPIRE) {
        op->expiry_term = reader_u64le(r);
        if (!op->expiry_term || op->expect != REG_EXPECT_REV || op->check)
            return false;
    }
    return reader_ok(r);
}

static bool get_op(struct reader *r, unsigned version, struct arena *arena, struct reg_op *op)
{
    uint8_t flags = reader_u8(r);
    *op = (struct reg_op){
        .del = flags & OP_DELETE,
        .expect = (enum reg_expect)(flags >> OP_EXPECT_SHIFT & OP_EXPECT_MASK),
        .check = flags & OP_CHECK,
        .expected = reader_u64le(r),
    };
    op->key = reader_bytes(r, reader_u16le(r));
    op->value = reader_bytes(r, reader_u32le(r));
    bool sane =
        (version >= 3 || flags <= OP_KNOWN_BEFORE_3) && !(op->check && (op->del || op->value.n));
    return reader_ok(r) && sane && op->key.n > 0 && op->key.n <= REG_KEY_BYTES_MAX &&
           op->value.n <= REG_VALUE_BYTES_MAX &&
           (version < 3 || get_lease_parts(r, flags, arena, op));
}

static const struct reg_once *get_once(struct reader *r, struct arena *arena)
{
    struct reg_once *o = ARENA_NEW(arena, struct reg_once);
    struct slice key = reader_bytes(r, sizeof(o->key));
    struct slice digest = reader_bytes(r, sizeof(o->digest));
    o->memo = reader_bytes(r, reader_u16le(r));
    if (!reader_ok(r) || o->memo.n > REG_MEMO_BYTES_MAX)
        return NULL;
    memcpy(o->key, key.p, sizeof(o->key));
    memcpy(o->digest, digest.p, sizeof(o->digest));
    return o;
}

/* What version 2 has between settled and the operations. */
static bool get_extras(struct reader *r, unsigned version, struct arena *arena,
                       struct reg_request *q)
{
    unsigned known = version < VERSION_QUOTAS ? REQUEST_ONCE : REQUEST_ONCE | REQUEST_NO_QUOTA;
    uint8_t flags = reader_u8(r);
    q->origin = reader_bytes(r, reader_u8(r));
    if (flags & REQUEST_ONCE)
        q->once = get_once(r, arena);
    q->no_quota = flags & REQUEST_NO_QUOTA;
    return reader_ok(r) && !(flags & ~known) && q->origin.n <= REG_ORIGIN_BYTES_MAX &&
           !q->once == !(flags & REQUEST_ONCE);
}

bool reg_request_decode(struct reader *r, unsigned version, struct arena *arena,
                        struct reg_request *ret, struct err *err)
{
    struct reg_request q = {
        .client = reader_u64le(r),
        .sequence = reader_u64le(r),
        .settled = reader_u64le(r),
    };
    bool ok = version < 2 || get_extras(r, version, arena, &q);
    q.op_count = reader_u32le(r);
    if (!ok || !reader_ok(r) || (q.op_count == 0 && !q.once) || q.op_count > REG_REQUEST_OPS_MAX ||
        q.settled > q.sequence)
        return err_set(err, ERR_INVALID, "write request at byte %zu: bad head", reader_offset(r));
    struct reg_op *ops = ARENA_ARRAY(arena, struct reg_op, q.op_count + 1);
    for (size_t i = 0; i < q.op_count; i++)
        if (!get_op(r, version, arena, &ops[i]))
            return err_set(err, ERR_INVALID, "write request at byte %zu: bad operation %zu",
                           reader_offset(r), i);
    q.ops = ops;
    *ret = q;
    return true;
}

void reg_entry_begin(struct reg_entry_builder *b, int64_t leader_wall_ms)
{
    buf_clear(&b->bytes);
    b->count = 0;
    b->version = b->version ? b->version : VERSION_OLDEST;
    wf_assert(b->version <= VERSION_NEWEST);
    buf_u32le(&b->bytes, VERSION_ENTRY_MAGIC);
    buf_u16le(&b->bytes, (uint16_t)b->version);
    buf_u16le(&b->bytes, 0);
    buf_u64le(&b->bytes, (uint64_t)leader_wall_ms);
    buf_u32le(&b->bytes, 0);
    buf_u64le(&b->bytes, b->term);
    wf_assert(b->bytes.n == ENTRY_HEADER_BYTES);
}

static size_t request_bytes(const struct reg_request *r)
{
    size_t n = 30 + r->origin.n + (r->once ? 34 + r->once->memo.n : 0);
    for (size_t i = 0; i < r->op_count; i++) {
        const struct reg_op *op = &r->ops[i];
        n += 15 + op->key.n + op->value.n + (op->grant ? 15 + op->grant->holder.n : 0);
        n += (op->attach.n ? 2 + op->attach.n : 0) + (op->expiry_term ? 8 : 0);
    }
    return n;
}

bool reg_entry_add(struct reg_entry_builder *b, const struct reg_request *r)
{
    size_t after = b->bytes.n + request_bytes(r) + 8;
    if (b->count > 0 && (after > REG_ENTRY_BYTES_MAX || b->count == REG_ENTRY_REQUESTS_MAX))
        return false;
    struct reg_request q = *r;
    q.no_quota = r->no_quota && b->version >= VERSION_QUOTAS;
    reg_request_encode(&b->bytes, &q);
    b->count++;
    return true;
}

struct slice reg_entry_end(struct reg_entry_builder *b)
{
    wf_assert(b->count > 0 || b->version >= VERSION_EMPTY_ENTRIES);
    memcpy(b->bytes.p + b->bytes.at + ENTRY_COUNT_AT, &b->count, sizeof(b->count));
    while (b->bytes.n % 8)
        buf_append_byte(&b->bytes, 0);
    return buf_slice(&b->bytes);
}

void reg_entry_fini(struct reg_entry_builder *b)
{
    buf_fini(&b->bytes);
    b->count = 0;
}

bool reg_entry_open(struct reader *r, struct reg_entry_head *ret, struct err *err)
{
    uint32_t magic = reader_u32le(r);
    uint16_t version = reader_u16le(r);
    reader_u16le(r);
    struct reg_entry_head head = {
        .version = version,
        .leader_wall_ms = (int64_t)reader_u64le(r),
        .count = reader_u32le(r),
    };
    if (!reader_ok(r) || magic != VERSION_ENTRY_MAGIC)
        return err_set(err, ERR_CORRUPT, "log entry: not one of ours");
    if (version < ENTRY_VERSION_OLDEST || version > VERSION_NEWEST)
        return err_set(err, ERR_UNSUPPORTED,
                       "log entry: version %u, this program reads %d to %d: start a newer one",
                       version, ENTRY_VERSION_OLDEST, VERSION_NEWEST);
    if ((head.count == 0 && version < VERSION_EMPTY_ENTRIES) || head.count > REG_ENTRY_REQUESTS_MAX)
        return err_set(err, ERR_CORRUPT, "log entry: %u requests", head.count);
    if (version >= 3)
        head.term = reader_u64le(r);
    if (!reader_ok(r))
        return err_set(err, ERR_CORRUPT, "log entry: ends in its head");
    *ret = head;
    return true;
}
