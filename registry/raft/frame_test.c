/* A peer, or whoever reaches its port, must be able to end its own connection and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "registry/raft/message.h"
#include "registry/raft/raft_limits.h"

#define CLUSTER 42u
#define MAX FRAME_PAYLOAD_BYTES_MAX

static const struct frame_expected expected = {
    .cluster = CLUSTER, .version = VERSION_NEWEST, .payload_max = MAX};

static void put_frame(struct buf *b, enum frame_type type, uint64_t term, struct slice payload)
{
    char head[FRAME_HEAD_BYTES];
    struct iovec iov = {(void *)(uintptr_t)payload.p, payload.n};
    frame_encode_head(
        head,
        &(struct frame){
            .type = type, .version = VERSION_NEWEST, .cluster = CLUSTER, .from = 3, .term = term},
        &iov, 1);
    buf_append(b, slice_mem(head, sizeof(head)));
    buf_append(b, payload);
}

static void frames_come_back_from_any_cut(void **state)
{
    (void)state;
    struct buf b = {0};
    struct frame f;
    struct err err = {0};
    size_t n;
    put_frame(&b, FRAME_FORWARD, 5, S("payload of a frame"));
    struct slice all = buf_slice(&b);
    for (size_t cut = 0; cut < all.n; cut++)
        assert_int_equal(frame_decode(slice_sub(all, 0, cut), &expected, &f, &n, &err), FRAME_MORE);
    assert_int_equal(frame_decode(all, &expected, &f, &n, &err), FRAME_OK);
    assert_int_equal(n, all.n);
    assert_int_equal(f.type, FRAME_FORWARD);
    assert_int_equal(f.from, 3);
    assert_int_equal(f.term, 5);
    assert_true(slice_eq(f.payload, S("payload of a frame")));
    buf_fini(&b);
}

static void a_flipped_bit_is_never_a_frame(void **state)
{
    (void)state;
    struct buf b = {0};
    put_frame(&b, FRAME_APPEND_RESULT, 5, S("0123456789abcdef"));
    for (size_t bit = 0; bit < b.n * 8; bit++) {
        struct frame f;
        struct err err = {0};
        size_t n;
        b.p[b.at + bit / 8] ^= (char)(1 << bit % 8);
        assert_int_not_equal(frame_decode(buf_slice(&b), &expected, &f, &n, &err), FRAME_OK);
        b.p[b.at + bit / 8] ^= (char)(1 << bit % 8);
    }
    buf_fini(&b);
}

/* The head alone decides: a stranger makes us buffer nothing. */
static void heads_are_judged_before_payloads(void **state)
{
    (void)state;
    struct buf b = {0};
    struct frame f;
    size_t n;
    uint32_t huge = FRAME_PAYLOAD_BYTES_MAX + 1;
    struct frame_expected other = expected, one = expected, none = expected;
    other.cluster++;
    one.payload_max = 1;
    none.payload_max = 0;
    put_frame(&b, FRAME_CHANNEL, 0, S("x"));
    struct slice head = slice_sub(buf_slice(&b), 0, FRAME_HEAD_BYTES);
    struct err err = {0};
    assert_int_equal(frame_decode(head, &other, &f, &n, &err), FRAME_BAD);
    assert_int_equal(err.code, ERR_FORBIDDEN);
    assert_int_equal(frame_decode(head, &one, &f, &n, &err), FRAME_MORE);
    assert_int_equal(frame_decode(head, &none, &f, &n, &err), FRAME_BAD);
    memcpy(b.p + b.at + 4, &huge, sizeof(huge));
    assert_int_equal(frame_decode(head, &expected, &f, &n, &err), FRAME_BAD);
    assert_int_equal(
        frame_decode(S("GET / HTTP/1.1\r\nHost: a-registry-peer\r\n\r\n"), &expected, &f, &n, &err),
        FRAME_BAD);
    buf_fini(&b);
}

/* Programs of different versions must be able to tell each other why they part. */
static void greetings_are_read_by_all_versions(void **state)
{
    (void)state;
    struct buf b = {0};
    struct frame f;
    size_t n;
    struct err err = {0};
    struct frame_expected none = expected, older = expected;
    none.version = 0;
    older.version = VERSION_NEWEST - 1;
    put_frame(&b, FRAME_REFUSE, 0, S("why"));
    assert_int_equal(frame_decode(buf_slice(&b), &none, &f, &n, &err), FRAME_OK);
    assert_int_equal(frame_decode(buf_slice(&b), &older, &f, &n, &err), FRAME_OK);
    assert_int_equal(f.version, FRAME_GREETING_VERSION);
    b.p[b.at + 14] = FRAME_GREETING_VERSION - 1;
    assert_int_equal(frame_decode(buf_slice(&b), &none, &f, &n, &err), FRAME_BAD);
    assert_non_null(strstr(err.msg, "greeting of version 2, this program reads 3"));
    buf_clear(&b);
    put_frame(&b, FRAME_APPEND, 0, S("x"));
    assert_int_equal(frame_decode(buf_slice(&b), &none, &f, &n, &err), FRAME_BAD);
    assert_string_equal(err.msg, "frame of type 16 before the greeting");
    assert_int_equal(frame_decode(buf_slice(&b), &older, &f, &n, &err), FRAME_BAD);
    assert_string_equal(err.msg, "frame of version 4, 3 was agreed on");
    buf_fini(&b);
}

/* What a newer program adds at the end of its greeting must not keep it out. */
static void a_longer_hello_is_read(void **state)
{
    (void)state;
    struct buf b = {0};
    struct hello h;
    struct err err = {0};
    hello_encode(&b, &(struct hello){.role = HELLO_CONTROL,
                                     .to = 1,
                                     .name = S("n2"),
                                     .reads = {3, 7},
                                     .version = 5,
                                     .program = S("2.0.1")});
    size_t whole = b.n;
    buf_append(&b, S("of a newer program"));
    assert_true(hello_decode(buf_slice(&b), &h, &err));
    assert_true(h.reads.oldest == 3 && h.reads.newest == 7 && h.version == 5);
    assert_true(slice_eq(h.program, S("2.0.1")) && slice_eq(h.name, S("n2")));
    for (size_t n = 0; n < whole; n++)
        assert_false(hello_decode(slice_sub(buf_slice(&b), 0, n), &h, &err));
    buf_clear(&b);
    hello_encode(&b, &(struct hello){.role = HELLO_CONTROL, .to = 1, .reads = {5, 4}});
    assert_false(hello_decode(buf_slice(&b), &h, &err));
    buf_fini(&b);
}

static struct frame as_frame(const struct message_out *out, struct buf *bytes)
{
    for (int i = 0; i < out->piece_count; i++)
        buf_append(bytes, slice_mem(out->pieces[i].iov_base, out->pieces[i].iov_len));
    return (struct frame){.type = out->type,
                          .cluster = CLUSTER,
                          .from = 3,
                          .term = out->term,
                          .payload = buf_slice(bytes)};
}

static void round_trip(const struct raft_message *m, struct raft_message *ret)
{
    struct message_out out;
    struct buf bytes = {0};
    struct err err = {0};
    message_encode(&out, m);
    struct frame f = as_frame(&out, &bytes);
    if (!message_decode(&f, ret, &err))
        fail_msg("%s", err.msg);
    /* One byte less or more is another message. */
    struct raft_message none;
    f.payload.n--;
    assert_false(message_decode(&f, &none, &err));
    buf_append_byte(&bytes, 0);
    f.payload = buf_slice(&bytes);
    assert_false(message_decode(&f, &none, &err));
    message_out_fini(&out);
    buf_fini(&bytes);
}

static void messages_come_back(void **state)
{
    (void)state;
    struct raft_message ret;
    struct raft_entry es[2] = {{.term = 4, .type = RAFT_COMMAND, .buf = {"abcdefgh", 8}},
                               {.term = 5, .type = RAFT_BARRIER, .buf = {"ijklmnopqrstuvwx", 16}}};
    round_trip(&(struct raft_message){.type = RAFT_IO_APPEND_ENTRIES,
                                      .append_entries = {5, 10, 4, 9, es, 2}},
               &ret);
    assert_int_equal(ret.append_entries.prev_log_index, 10);
    assert_int_equal(ret.append_entries.n_entries, 2);
    assert_int_equal(ret.append_entries.entries[1].term, 5);
    assert_memory_equal(ret.append_entries.entries[1].buf.base, "ijklmnopqrstuvwx", 16);
    assert_ptr_equal(ret.append_entries.entries[1].batch, ret.append_entries.entries[0].batch);
    message_free(&ret);
    round_trip(&(struct raft_message){.type = RAFT_IO_APPEND_ENTRIES_RESULT,
                                      .append_entries_result = {5, 0, 77}},
               &ret);
    assert_int_equal(ret.append_entries_result.last_log_index, 77);
    round_trip(&(struct raft_message){.type = RAFT_IO_REQUEST_VOTE,
                                      .request_vote = {5, 2, 77, 4, false, true}},
               &ret);
    assert_true(ret.request_vote.pre_vote && !ret.request_vote.disrupt_leader);
    round_trip(&(struct raft_message){.type = RAFT_IO_REQUEST_VOTE_RESULT,
                                      .request_vote_result = {5, true, raft_tribool_false}},
               &ret);
    assert_int_equal(ret.request_vote_result.pre_vote, raft_tribool_false);
    round_trip(&(struct raft_message){.type = RAFT_IO_TIMEOUT_NOW, .timeout_now = {5, 77, 4}},
               &ret);
    assert_int_equal(ret.timeout_now.last_log_index, 77);
    struct raft_message install = {.type = RAFT_IO_INSTALL_SNAPSHOT,
                                   .install_snapshot = {.term = 5,
                                                        .last_index = 70,
                                                        .last_term = 4,
                                                        .conf_index = 1,
                                                        .data = {"a manifest", 10}}};
    raft_configuration_init(&install.install_snapshot.conf);
    raft_configuration_add(&install.install_snapshot.conf, 9, "127.0.0.1:1", RAFT_VOTER);
    round_trip(&install, &ret);
    assert_int_equal(ret.install_snapshot.conf.servers[0].id, 9);
    assert_memory_equal(ret.install_snapshot.data.base, "a manifest", 10);
    message_free(&ret);
    raft_configuration_close(&install.install_snapshot.conf);
}

/* libraft 0.15 sends all that a follower lacks in one message, of any length. */
static void a_long_append_is_cut_to_a_frame(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    struct raft_entry es[COUNT];
    struct message_out out;
    size_t bytes = 0;
    void *payload = test_calloc(1, 1u << 20);
    for (int i = 0; i < COUNT; i++)
        es[i] = (struct raft_entry){.term = 1, .type = RAFT_COMMAND, .buf = {payload, 1u << 20}};
    message_encode(&out, &(struct raft_message){.type = RAFT_IO_APPEND_ENTRIES,
                                                .append_entries = {1, 0, 0, 0, es, COUNT}});
    for (int i = 0; i < out.piece_count; i++)
        bytes += out.pieces[i].iov_len;
    assert_true(out.entries_sent >= 1 && out.entries_sent < COUNT);
    assert_true(bytes <= MESSAGE_APPEND_BYTES_MAX + 4096);
    message_out_fini(&out);
    test_free(payload);
}

static void entries_that_would_be_lost_are_refused(void **state)
{
    (void)state;
    static const struct raft_entry bad[] = {
        {.term = 1, .type = RAFT_COMMAND, .buf = {"abcdefghijklm", 13}}, /* libraft D11 */
        {.term = 1, .type = 9, .buf = {"abcdefgh", 8}},
        {.term = 0, .type = RAFT_COMMAND, .buf = {"abcdefgh", 8}},
        {.term = 1, .type = RAFT_COMMAND, .buf = {"", 0}},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct message_out out;
        struct buf bytes = {0};
        struct raft_message ret;
        struct err err = {0};
        struct raft_entry e = bad[i];
        message_encode(&out, &(struct raft_message){.type = RAFT_IO_APPEND_ENTRIES,
                                                    .append_entries = {1, 0, 0, 0, &e, 1}});
        struct frame f = as_frame(&out, &bytes);
        assert_false(message_decode(&f, &ret, &err));
        message_out_fini(&out);
        buf_fini(&bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_back_from_any_cut),
        cmocka_unit_test(a_flipped_bit_is_never_a_frame),
        cmocka_unit_test(heads_are_judged_before_payloads),
        cmocka_unit_test(greetings_are_read_by_all_versions),
        cmocka_unit_test(a_longer_hello_is_read),
        cmocka_unit_test(messages_come_back),
        cmocka_unit_test(a_long_append_is_cut_to_a_frame),
        cmocka_unit_test(entries_that_would_be_lost_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
