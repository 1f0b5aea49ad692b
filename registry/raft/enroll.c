#include "registry/raft/enroll.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/core/reader.h"
#include "registry/raft/conf.h"

static_assert(RAFT_MEMBERS_MAX <= UINT8_MAX && CONF_TEXT <= UINT8_MAX, "counts and texts fit");

static void put_text(struct buf *out, struct slice s)
{
    wf_assert(s.n <= UINT8_MAX);
    buf_append_byte(out, (char)s.n);
    buf_append(out, s);
}

static void put_pem(struct buf *out, struct slice s)
{
    wf_assert(s.n <= UINT16_MAX);
    buf_u16le(out, (uint16_t)s.n);
    buf_append(out, s);
}

static void put_member(struct buf *out, const struct peer_member *m)
{
    char text[CONF_TEXT];
    put_text(out, slice_of(conf_member_format(m, text)));
}

static bool name_sound(const char *name)
{
    static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    return name[0] && strspn(name, fine) == strlen(name);
}

/* One way to write each: what it reads is written again and compared. */
static bool member_read(struct reader *r, uint64_t id, struct peer_member *ret, struct err *err)
{
    char text[CONF_TEXT], again[CONF_TEXT];
    struct slice s = reader_bytes(r, reader_u8(r));
    if (!reader_ok(r) || memchr(s.p ? s.p : "", 0, s.n) || !slice_cstr(s, text, sizeof(text)) ||
        slice_find(s, '=') == SIZE_MAX)
        return err_set(err, ERR_INVALID, "member: must be NAME=IP:PORT");
    if (!conf_member_parse(id, text, ret, err))
        return false;
    if (!name_sound(ret->name))
        return err_set(err, ERR_INVALID, "name: must be 1 to 63 letters, digits, -, _ or dots");
    if (ret->addr.sa.sa_family == AF_UNIX || env_addr_port(&ret->addr) == 0 ||
        strcmp(conf_member_format(ret, again), text) != 0)
        return err_set(err, ERR_INVALID, "address: must be IP:PORT, where the others reach it");
    return true;
}

void enroll_ask_encode(struct buf *out, const struct enroll_ask *a)
{
    buf_append(out, slice_mem(a->secret, sizeof(a->secret)));
    buf_u16le(out, (uint16_t)a->reads.oldest);
    buf_u16le(out, (uint16_t)a->reads.newest);
    put_member(out, &a->member);
    put_pem(out, a->csr);
}

bool enroll_ask_decode(struct slice payload, struct enroll_ask *ret, struct err *err)
{
    struct reader r = reader_of(payload);
    struct enroll_ask a = {0};
    struct slice secret = reader_bytes(&r, ENROLL_SECRET_BYTES);
    a.reads.oldest = reader_u16le(&r);
    a.reads.newest = reader_u16le(&r);
    if (!member_read(&r, 0, &a.member, err))
        return false;
    a.csr = reader_bytes(&r, reader_u16le(&r));
    if (!reader_done(&r) || !a.csr.n)
        return err_set(err, ERR_INVALID, "a request to join that is cut or too long");
    if (!a.reads.oldest || a.reads.newest < a.reads.oldest)
        return err_set(err, ERR_INVALID, "reads: versions from %u to %u are none", a.reads.oldest,
                       a.reads.newest);
    memcpy(a.secret, secret.p, sizeof(a.secret));
    *ret = a;
    return true;
}

void enroll_answer_encode(struct buf *out, const struct enroll_answer *a)
{
    buf_u16le(out, ERR_NONE);
    buf_u64le(out, a->id);
    buf_u16le(out, (uint16_t)a->version);
    put_pem(out, a->cert);
    put_pem(out, a->ca);
    buf_append_byte(out, (char)a->member_count);
    for (size_t i = 0; i < a->member_count; i++) {
        buf_u64le(out, a->members[i].id);
        put_member(out, &a->members[i]);
    }
}

void enroll_refusal_encode(struct buf *out, const struct err *why)
{
    wf_assert(why->code != ERR_NONE);
    buf_u16le(out, (uint16_t)why->code);
    buf_append(out, slice_of(why->msg));
}

static bool refusal_read(unsigned code, struct slice text, struct err *ret_why, struct err *err)
{
    if (code >= ERR_CODE_COUNT || text.n >= ERR_MSG_BYTES || !slice_utf8(text))
        return err_set(err, ERR_INVALID, "a refusal that is none of ours");
    err_set(ret_why, (enum err_code)code, "%.*s", SLICE(text));
    return true;
}

static bool members_read(struct reader *r, struct enroll_answer *a, struct err *err)
{
    size_t n = reader_u8(r);
    if (n > RAFT_MEMBERS_MAX)
        return err_set(err, ERR_INVALID, "%zu members are too many", n);
    for (; a->member_count < n; a->member_count++) {
        uint64_t id = reader_u64le(r);
        if (!id || !member_read(r, id, &a->members[a->member_count], err))
            return err_set(err, ERR_INVALID, "member %zu: is none", a->member_count);
    }
    return true;
}

bool enroll_answer_decode(struct slice payload, struct enroll_answer *ret, struct err *ret_why,
                          struct err *err)
{
    struct reader r = reader_of(payload);
    struct enroll_answer a = {0};
    unsigned code = reader_u16le(&r);
    *ret_why = (struct err){0};
    if (code)
        return refusal_read(code, slice_skip(payload, reader_offset(&r)), ret_why, err);
    a.id = reader_u64le(&r);
    a.version = reader_u16le(&r);
    a.cert = reader_bytes(&r, reader_u16le(&r));
    a.ca = reader_bytes(&r, reader_u16le(&r));
    if (!members_read(&r, &a, err))
        return false;
    if (!reader_done(&r) || !a.id || !a.cert.n || !a.ca.n)
        return err_set(err, ERR_INVALID, "an answer that is cut or too long");
    *ret = a;
    return true;
}
