#include "registry/raft/message.h"

#include <string.h>

#include "base/core/assert.h"
#include "registry/raft/raft_limits.h"

#define ENTRY_HEAD_BYTES 16
#define ADDRESS_BYTES_MAX 256

/* Encode. */

/* How many of the entries fit into one message; at least one, so that it always gets on. */
static unsigned entries_that_fit(const struct raft_append_entries *a)
{
    size_t bytes = 0;
    unsigned n = 0;
    while (n < a->n_entries && n < MESSAGE_ENTRIES_MAX) {
        bytes += ENTRY_HEAD_BYTES + a->entries[n].buf.len;
        if (n > 0 && bytes > MESSAGE_APPEND_BYTES_MAX)
            break;
        n++;
    }
    return n;
}

static void encode_append(struct message_out *out, const struct raft_append_entries *a)
{
    unsigned n = entries_that_fit(a);
    out->type = FRAME_APPEND;
    out->term = a->term;
    out->entries_sent = n;
    buf_u64le(&out->fixed, a->prev_log_index);
    buf_u64le(&out->fixed, a->prev_log_term);
    buf_u64le(&out->fixed, a->leader_commit);
    buf_u32le(&out->fixed, n);
    out->pieces = mem_array(n + 1, sizeof(*out->pieces));
    for (unsigned i = 0; i < n; i++) {
        const struct raft_entry *e = &a->entries[i];
        wf_assert(e->buf.len <= LOG_PAYLOAD_BYTES_MAX);
        buf_u64le(&out->fixed, e->term);
        buf_u16le(&out->fixed, e->type);
        buf_u16le(&out->fixed, 0);
        buf_u32le(&out->fixed, (uint32_t)e->buf.len);
        out->pieces[1 + i] = (struct iovec){e->buf.base, e->buf.len};
    }
    out->piece_count = (int)n + 1;
}

static void encode_append_result(struct message_out *out,
                                 const struct raft_append_entries_result *a)
{
    out->type = FRAME_APPEND_RESULT;
    out->term = a->term;
    buf_u64le(&out->fixed, a->rejected);
    buf_u64le(&out->fixed, a->last_log_index);
}

static void encode_vote(struct message_out *out, const struct raft_request_vote *v)
{
    out->type = FRAME_VOTE;
    out->term = v->term;
    buf_u64le(&out->fixed, v->candidate_id);
    buf_u64le(&out->fixed, v->last_log_index);
    buf_u64le(&out->fixed, v->last_log_term);
    buf_append_byte(&out->fixed, v->disrupt_leader);
    buf_append_byte(&out->fixed, v->pre_vote);
}

static void encode_vote_result(struct message_out *out, const struct raft_request_vote_result *v)
{
    out->type = FRAME_VOTE_RESULT;
    out->term = v->term;
    buf_append_byte(&out->fixed, v->vote_granted);
    buf_append_byte(&out->fixed, (char)v->pre_vote);
}

static void encode_install(struct message_out *out, const struct raft_install_snapshot *s)
{
    wf_assert(s->data.len <= MESSAGE_SNAPSHOT_DATA_BYTES_MAX);
    out->type = FRAME_INSTALL;
    out->term = s->term;
    buf_u64le(&out->fixed, s->last_index);
    buf_u64le(&out->fixed, s->last_term);
    buf_u64le(&out->fixed, s->conf_index);
    conf_encode(&out->fixed, &s->conf);
    buf_u32le(&out->fixed, (uint32_t)s->data.len);
    buf_append(&out->fixed, slice_mem(s->data.base, s->data.len));
}

static void encode_timeout_now(struct message_out *out, const struct raft_timeout_now *t)
{
    out->type = FRAME_TIMEOUT_NOW;
    out->term = t->term;
    buf_u64le(&out->fixed, t->last_log_index);
    buf_u64le(&out->fixed, t->last_log_term);
}

void message_encode(struct message_out *out, const struct raft_message *m)
{
    *out = (struct message_out){0};
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        encode_append(out, &m->append_entries);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        encode_append_result(out, &m->append_entries_result);
        break;
    case RAFT_IO_REQUEST_VOTE:
        encode_vote(out, &m->request_vote);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        encode_vote_result(out, &m->request_vote_result);
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        encode_install(out, &m->install_snapshot);
        break;
    case RAFT_IO_TIMEOUT_NOW:
        encode_timeout_now(out, &m->timeout_now);
        break;
    default:
        wf_unreachable("libraft sends six kinds of messages");
    }
    if (!out->pieces) {
        out->pieces = mem_array(1, sizeof(*out->pieces));
        out->piece_count = 1;
    }
    struct slice fixed = buf_slice(&out->fixed);
    out->pieces[0] = (struct iovec){(void *)(uintptr_t)fixed.p, fixed.n};
}

void message_out_fini(struct message_out *out)
{
    buf_fini(&out->fixed);
    mem_free(out->pieces);
    *out = (struct message_out){0};
}

void conf_encode(struct buf *out, const struct raft_configuration *conf)
{
    buf_u32le(out, conf->n);
    for (unsigned i = 0; i < conf->n; i++) {
        const struct raft_server *s = &conf->servers[i];
        buf_u64le(out, s->id);
        buf_u32le(out, (uint32_t)s->role);
        buf_u32le(out, (uint32_t)strlen(s->address));
        buf_append(out, slice_of(s->address));
    }
}

/* Decode. */

bool conf_decode(struct reader *r, struct raft_configuration *ret, struct err *err)
{
    uint32_t n = reader_u32le(r);
    raft_configuration_init(ret);
    if (n > RAFT_MEMBERS_MAX)
        return err_set(err, ERR_INVALID, "configuration of %u members", n);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = reader_u64le(r);
        uint32_t role = reader_u32le(r);
        char address[ADDRESS_BYTES_MAX];
        struct slice text = reader_bytes(r, reader_u32le(r));
        if (!reader_ok(r) || id == 0 || role > RAFT_SPARE ||
            !slice_cstr(text, address, sizeof(address)) ||
            raft_configuration_add(ret, id, address, (int)role) != 0) {
            raft_configuration_close(ret);
            raft_configuration_init(ret);
            return err_set(err, ERR_INVALID, "configuration: member %u", i);
        }
    }
    return true;
}

static void *take_copy(struct slice s)
{
    void *p = raft_malloc(s.n ? s.n : 1);
    if (!p)
        wf_die("out of memory");
    if (s.n)
        memcpy(p, s.p, s.n);
    return p;
}

static bool entry_head_ok(const struct raft_entry *e)
{
    return e->type >= RAFT_COMMAND && e->type <= RAFT_CHANGE && e->term > 0 && e->buf.len > 0 &&
           e->buf.len % 8 == 0 && e->buf.len <= LOG_PAYLOAD_BYTES_MAX;
}

/* Heads first, checked against what remains; then one batch for all payloads. */
static bool decode_entries(struct reader *r, struct raft_append_entries *a, struct err *err)
{
    uint64_t total = 0;
    struct raft_entry *es = raft_calloc(a->n_entries, sizeof(*es));
    if (!es)
        wf_die("out of memory");
    for (unsigned i = 0; i < a->n_entries; i++) {
        es[i].term = reader_u64le(r);
        es[i].type = reader_u16le(r);
        bool reserved = reader_u16le(r) != 0;
        es[i].buf.len = reader_u32le(r);
        total += es[i].buf.len;
        if (!reader_ok(r) || reserved || !entry_head_ok(&es[i])) {
            raft_free(es);
            return err_set(err, ERR_INVALID, "append: entry %u", i);
        }
    }
    if (total != reader_left(r)) {
        raft_free(es);
        return err_set(err, ERR_INVALID, "append: %llu bytes of entries, %zu there",
                       (unsigned long long)total, reader_left(r));
    }
    char *batch = take_copy(reader_bytes(r, total));
    for (unsigned i = 0; i < a->n_entries; i++) {
        es[i].batch = es[0].batch ? es[0].batch : batch;
        es[i].buf.base = batch;
        batch += es[i].buf.len;
    }
    a->entries = es;
    return true;
}

static bool decode_append(struct reader *r, uint64_t term, struct raft_message *m, struct err *err)
{
    struct raft_append_entries a = {.term = term, .prev_log_index = reader_u64le(r)};
    a.prev_log_term = reader_u64le(r);
    a.leader_commit = reader_u64le(r);
    a.n_entries = reader_u32le(r);
    if (!reader_ok(r) || a.n_entries > MESSAGE_ENTRIES_MAX ||
        a.prev_log_index > UINT64_MAX - MESSAGE_ENTRIES_MAX ||
        (a.prev_log_index == 0) != (a.prev_log_term == 0))
        return err_set(err, ERR_INVALID, "append: head");
    if (a.n_entries > 0 && !decode_entries(r, &a, err))
        return false;
    m->type = RAFT_IO_APPEND_ENTRIES;
    m->append_entries = a;
    return true;
}

static bool decode_install(struct reader *r, uint64_t term, struct raft_message *m, struct err *err)
{
    struct raft_install_snapshot s = {.term = term, .last_index = reader_u64le(r)};
    s.last_term = reader_u64le(r);
    s.conf_index = reader_u64le(r);
    if (!conf_decode(r, &s.conf, err))
        return false;
    struct slice data = reader_bytes(r, reader_u32le(r));
    if (!reader_done(r) || data.n == 0 || data.n > MESSAGE_SNAPSHOT_DATA_BYTES_MAX ||
        s.last_index == 0 || s.last_term == 0 || s.conf_index > s.last_index || s.conf.n == 0) {
        raft_configuration_close(&s.conf);
        return err_set(err, ERR_INVALID, "install: fields");
    }
    s.data = (struct raft_buffer){take_copy(data), data.n};
    m->type = RAFT_IO_INSTALL_SNAPSHOT;
    m->install_snapshot = s;
    return true;
}

static bool decode_vote(struct reader *r, uint64_t term, struct raft_message *m, struct err *err)
{
    struct raft_request_vote v = {.term = term, .candidate_id = reader_u64le(r)};
    v.last_log_index = reader_u64le(r);
    v.last_log_term = reader_u64le(r);
    uint8_t disrupt = reader_u8(r), pre = reader_u8(r);
    if (disrupt > 1 || pre > 1)
        return err_set(err, ERR_INVALID, "vote: flags");
    v.disrupt_leader = disrupt;
    v.pre_vote = pre;
    m->type = RAFT_IO_REQUEST_VOTE;
    m->request_vote = v;
    return true;
}

static bool decode_vote_result(struct reader *r, uint64_t term, struct raft_message *m,
                               struct err *err)
{
    uint8_t granted = reader_u8(r), pre = reader_u8(r);
    if (granted > 1 || pre > raft_tribool_false)
        return err_set(err, ERR_INVALID, "vote result: flags");
    m->type = RAFT_IO_REQUEST_VOTE_RESULT;
    m->request_vote_result = (struct raft_request_vote_result){
        .term = term, .vote_granted = granted, .pre_vote = (raft_tribool)pre};
    return true;
}

static void decode_append_result(struct reader *r, uint64_t term, struct raft_message *m)
{
    m->type = RAFT_IO_APPEND_ENTRIES_RESULT;
    m->append_entries_result = (struct raft_append_entries_result){.term = term};
    m->append_entries_result.rejected = reader_u64le(r);
    m->append_entries_result.last_log_index = reader_u64le(r);
}

static void decode_timeout_now(struct reader *r, uint64_t term, struct raft_message *m)
{
    m->type = RAFT_IO_TIMEOUT_NOW;
    m->timeout_now = (struct raft_timeout_now){.term = term};
    m->timeout_now.last_log_index = reader_u64le(r);
    m->timeout_now.last_log_term = reader_u64le(r);
}

static bool decode_body(struct reader *r, const struct frame *f, struct raft_message *m,
                        struct err *err)
{
    switch (f->type) {
    case FRAME_APPEND:
        return decode_append(r, f->term, m, err);
    case FRAME_APPEND_RESULT:
        decode_append_result(r, f->term, m);
        return true;
    case FRAME_VOTE:
        return decode_vote(r, f->term, m, err);
    case FRAME_VOTE_RESULT:
        return decode_vote_result(r, f->term, m, err);
    case FRAME_INSTALL:
        return decode_install(r, f->term, m, err);
    case FRAME_TIMEOUT_NOW:
        decode_timeout_now(r, f->term, m);
        return true;
    default:
        return err_set(err, ERR_INVALID, "frame type %d is not Raft's", f->type);
    }
}

bool message_decode(const struct frame *f, struct raft_message *ret, struct err *err)
{
    struct raft_message m = {0};
    struct reader r = reader_of(f->payload);
    if (f->term == 0)
        return err_set(err, ERR_INVALID, "Raft message of term 0");
    if (!decode_body(&r, f, &m, err))
        return false;
    if (!reader_done(&r)) {
        message_free(&m);
        return err_set(err, ERR_INVALID, "Raft message: length");
    }
    *ret = m;
    return true;
}

void message_free(struct raft_message *m)
{
    if (m->type == RAFT_IO_APPEND_ENTRIES && m->append_entries.n_entries > 0) {
        raft_free(m->append_entries.entries[0].batch);
        raft_free(m->append_entries.entries);
        m->append_entries.entries = NULL;
        m->append_entries.n_entries = 0;
    }
    if (m->type == RAFT_IO_INSTALL_SNAPSHOT && m->install_snapshot.data.base) {
        raft_configuration_close(&m->install_snapshot.conf);
        raft_free(m->install_snapshot.data.base);
        m->install_snapshot.data.base = NULL;
    }
}
