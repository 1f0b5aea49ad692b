/* What reaches a node's peer port from strangers must cost it nothing, a peer that does not read
 * must not make a leader grow, and nobody speaks for a node who has not its certificate. All that
 * holds of frames is run without and with TLS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/env/env_testing.h"
#include "base/env/env_uv.h"
#include "registry/raft/enroll.h"
#include "registry/raft/peer_tls_testing.h"
#include "registry/raft/peers.h"

#define CLUSTER 77u

static const struct frame_expected greetings = {.cluster = CLUSTER,
                                                .payload_max = FRAME_PAYLOAD_BYTES_MAX};

struct side {
    struct peers *peers;
    int up, down, heard, gone, frames, bulks, enrolls;
    struct slice last;
    char bytes[256];
};

#define NODES 3 /* the third is only a member where a test says so */

struct fixture {
    struct env *env;
    bool secure, enrolls;
    struct tls_test_ca ca, other;
    char dir[NODES][TEST_DIR];
    struct peer_tls *tls[NODES];
    struct side side[NODES];
    uint64_t genesis[NODES]; /* that the sides begin with, as what follows */
    struct versions reads[NODES];
    unsigned version[NODES];
    struct peer_member members[NODES];
    size_t member_count;
};

static void on_frame(void *ctx, uint64_t from, const struct frame *f)
{
    struct side *s = ctx;
    (void)from;
    s->frames++;
    s->last.n = f->payload.n < sizeof(s->bytes) ? f->payload.n : sizeof(s->bytes);
    s->last.p = s->bytes;
    memcpy(s->bytes, f->payload.p, s->last.n);
}

static void on_up(void *ctx, uint64_t id)
{
    (void)id;
    ((struct side *)ctx)->up++;
}

static void on_down(void *ctx, uint64_t id)
{
    (void)id;
    ((struct side *)ctx)->down++;
}

static void on_heard(void *ctx, uint64_t id)
{
    (void)id;
    ((struct side *)ctx)->heard++;
}

static void on_gone(void *ctx, uint64_t id)
{
    (void)id;
    ((struct side *)ctx)->gone++;
}

static void on_bulk(void *ctx, uint64_t from, struct env_stream *s, unsigned version)
{
    (void)from;
    (void)version;
    ((struct side *)ctx)->bulks++;
    env_stream_close(s);
}

static void on_enroll(void *ctx, struct slice payload, struct env_stream *s)
{
    ((struct side *)ctx)->enrolls++;
    assert_true(slice_eq(payload, S("let me in")));
    env_stream_close(s);
}

static const struct peers_events events = {.on_frame = on_frame,
                                           .on_up = on_up,
                                           .on_down = on_down,
                                           .on_heard = on_heard,
                                           .on_gone = on_gone,
                                           .on_bulk = on_bulk,
                                           .on_enroll = on_enroll};

static void open_side(struct fixture *f, size_t i)
{
    struct err err = {0};
    f->side[i].peers = peers_open(&(struct peers_options){.env = f->env,
                                                          .self = i + 1,
                                                          .cluster = CLUSTER,
                                                          .incarnation = 5,
                                                          .genesis = f->genesis[i],
                                                          .reads = f->reads[i],
                                                          .version = f->version[i],
                                                          .connect_timeout = 300,
                                                          .members = f->members,
                                                          .member_count = f->member_count,
                                                          .tls = f->tls[i],
                                                          .enrolls = f->enrolls,
                                                          .events = &events,
                                                          .ctx = &f->side[i]},
                                  &err);
    if (!f->side[i].peers)
        wf_die("%s", err.msg);
}

static void secure_node(struct fixture *f, size_t i, const struct tls_test_ca *ca, uint64_t cluster,
                        uint64_t id)
{
    struct err err = {0};
    peer_tls_close(f->tls[i]);
    if (f->dir[i][0])
        test_dir_remove(f->dir[i]);
    peer_tls_test_dir(ca, cluster, id, env_wall_ms(f->env) / 1000, f->dir[i]);
    f->tls[i] = peer_tls_open(f->env, f->dir[i], &err);
    if (!f->tls[i])
        wf_die("%s", err.msg);
}

static void setup(struct fixture *f, void **state)
{
    struct err err = {0};
    *f = (struct fixture){
        .env = env_uv_new(&err), .secure = *(const bool *)*state, .member_count = 2};
    tls_test_ca_init(&f->ca, env_wall_ms(f->env) / 1000);
    tls_test_ca_init(&f->other, env_wall_ms(f->env) / 1000);
    for (size_t i = 0; i < NODES; i++) {
        f->members[i].id = i + 1;
        snprintf(f->members[i].name, sizeof(f->members[i].name), "n%zu", i + 1);
        f->members[i].addr = test_free_addr();
        if (f->secure)
            secure_node(f, i, &f->ca, CLUSTER, i + 1);
    }
}

static void teardown(struct fixture *f)
{
    for (size_t i = 0; i < NODES; i++) {
        peers_close(f->side[i].peers);
        peer_tls_close(f->tls[i]);
        if (f->dir[i][0])
            test_dir_remove(f->dir[i]);
    }
    tls_test_ca_fini(&f->ca);
    tls_test_ca_fini(&f->other);
    env_uv_free(f->env);
}

#define TURN_UNTIL(f, cond)                                                                        \
    do {                                                                                           \
        uint64_t until_ = env_now_ns((f)->env) + 10000000000u;                                     \
        while (!(cond)) {                                                                          \
            wf_assert(env_now_ns((f)->env) < until_);                                              \
            env_uv_turn((f)->env, 20);                                                             \
        }                                                                                          \
    } while (0)

static void turn_a_while(struct fixture *f)
{
    uint64_t until = env_now_ns(f->env) + 300000000u;
    while (env_now_ns(f->env) < until)
        env_uv_turn(f->env, 20);
}

static struct iovec iov_of(const char *text)
{
    return (struct iovec){(void *)(uintptr_t)text, strlen(text)};
}

static char logged[1 << 16];

static void keep_log(void *ctx, enum log_level level, struct slice line)
{
    size_t n = strlen(logged);
    (void)ctx;
    (void)level;
    snprintf(logged + n, sizeof(logged) - n, "%.*s\n", SLICE(line));
}

static void expect_log(const char *part)
{
    if (!strstr(logged, part))
        fail_msg("nothing says \"%s\":\n%s", part, logged);
}

/* Two nodes. */

static void frames_arrive_in_order(void **state)
{
    struct fixture f;
    setup(&f, state);
    open_side(&f, 0);
    struct iovec v = iov_of("early");
    assert_false(peers_send(f.side[0].peers, 2, FRAME_CHANNEL, 0, &v, 1)); /* not connected */
    open_side(&f, 1);
    TURN_UNTIL(&f, f.side[0].up && f.side[1].up);
    for (int i = 0; i < 100; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", i);
        v = iov_of(text);
        assert_true(peers_send(f.side[0].peers, 2, FRAME_CHANNEL, 0, &v, 1));
    }
    TURN_UNTIL(&f, f.side[1].frames == 100);
    assert_true(slice_eq(f.side[1].last, S("99")));
    assert_true(peers_connected(f.side[0].peers, 2));
    assert_true(peers_last_contact(f.side[1].peers, 1) >= 0);
    teardown(&f);
}

static void a_dead_peer_is_told_once_and_comes_back(void **state)
{
    struct fixture f;
    setup(&f, state);
    open_side(&f, 0);
    open_side(&f, 1);
    TURN_UNTIL(&f, f.side[0].up && f.side[1].up);
    peers_close(f.side[1].peers);
    f.side[1] = (struct side){.peers = NULL};
    TURN_UNTIL(&f, f.side[0].gone);
    assert_int_equal(f.side[0].down, 1);
    for (int i = 0; i < 20; i++)
        env_uv_turn(f.env, 20);
    assert_int_equal(f.side[0].gone, 1);
    open_side(&f, 1);
    TURN_UNTIL(&f, f.side[0].up == 2 && f.side[1].up == 1);
    teardown(&f);
}

/* Before the first frame of each connection from it, not with the greeting: until then what it says
 * in answer to us may be lost. */
static void each_connection_from_a_peer_is_told(void **state)
{
    struct fixture f;
    struct iovec v = iov_of("x");
    setup(&f, state);
    open_side(&f, 0);
    for (int i = 1; i <= 2; i++) {
        open_side(&f, 1);
        TURN_UNTIL(&f, peers_connected(f.side[0].peers, 2) && f.side[1].up == 1);
        assert_int_equal(f.side[0].heard, i - 1);
        for (int k = 0; k < 3; k++)
            assert_true(peers_send(f.side[1].peers, 1, FRAME_CHANNEL, 0, &v, 1));
        TURN_UNTIL(&f, f.side[0].frames == 3 * i);
        assert_int_equal(f.side[0].heard, i);
        peers_close(f.side[1].peers);
        f.side[1] = (struct side){.peers = NULL};
        TURN_UNTIL(&f, f.side[0].down == i);
    }
    teardown(&f);
}

/* Wrong: who was let in before our first write, with a history of its own, stays. */
static void another_history_is_cut_off(void **state)
{
    struct fixture f;
    setup(&f, state);
    f.genesis[1] = 2;
    open_side(&f, 0);
    open_side(&f, 1);
    TURN_UNTIL(&f, f.side[0].up && f.side[1].up);
    peers_set_genesis(f.side[0].peers, 2); /* the same: nothing happens */
    assert_true(peers_connected(f.side[0].peers, 2));
    peers_set_genesis(f.side[0].peers, 1);
    TURN_UNTIL(&f, f.side[0].down && f.side[1].down);
    for (int i = 0; i < 20; i++)
        env_uv_turn(f.env, 20);
    assert_int_equal(f.side[0].up + f.side[1].up, 2); /* nor does it come back */
    teardown(&f);
}

/* Wrong: an older program is kept out of a cluster that it reads, or let into one that it does
 * not. */
static void versions_meet_or_part(void **state)
{
    static const struct {
        struct versions reads[2];
        unsigned version[2];
        bool meet;
        const char *says; /* where one of them looks */
    } cases[] = {
        {{{3, 3}, {3, 4}}, {3, 3}, true, NULL},
        {{{3, 3}, {3, 4}}, {0, 0}, true, NULL},
        {{{3, 4}, {3, 4}}, {3, 4}, true, NULL}, /* one has not heard of it yet */
        {{{3, 3}, {3, 4}}, {3, 4}, false, "the cluster is of version 4, n1 reads 3 to 3"},
        {{{3, 4}, {4, 4}}, {3, 0}, false, "the cluster is of version 3, n2 reads 4 to 4"},
        {{{3, 3}, {4, 4}}, {0, 0}, false, "none in common"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        setup(&f, state);
        logged[0] = 0;
        log_set_sink(keep_log, NULL);
        for (size_t k = 0; k < 2; k++) {
            f.reads[k] = cases[i].reads[k];
            f.version[k] = cases[i].version[k];
            open_side(&f, k);
        }
        if (cases[i].meet) {
            TURN_UNTIL(&f, f.side[0].up && f.side[1].up);
            struct iovec v = iov_of("understood");
            assert_true(peers_send(f.side[0].peers, 2, FRAME_CHANNEL, 0, &v, 1));
            TURN_UNTIL(&f, f.side[1].frames);
            const struct peer_program *p = peers_program(f.side[0].peers, 2);
            assert_int_equal(p->reads.newest, cases[i].reads[1].newest);
            assert_string_equal(p->release, WEFT_VERSION);
        } else {
            turn_a_while(&f);
            assert_int_equal(f.side[0].up + f.side[1].up, 0);
            expect_log(cases[i].says);
        }
        log_set_sink(NULL, NULL);
        teardown(&f);
    }
}

/* Wrong: when the version rises, who does not read it is still spoken to. */
static void who_is_left_behind_is_cut_off(void **state)
{
    struct fixture f;
    setup(&f, state);
    f.member_count = 3;
    f.reads[1] = (struct versions){3, 3};
    for (size_t i = 0; i < NODES; i++)
        open_side(&f, i);
    TURN_UNTIL(&f, f.side[0].up == 2 && f.side[1].up == 2 && f.side[2].up == 2);
    logged[0] = 0;
    log_set_sink(keep_log, NULL);
    peers_set_version(f.side[0].peers, 4);
    assert_int_equal(f.side[0].down, 1);
    TURN_UNTIL(&f, f.side[1].down == 1);
    turn_a_while(&f);
    expect_log("the cluster is of version 4, n2 reads 3 to 3");
    log_set_sink(NULL, NULL);
    assert_int_equal(f.side[1].up, 2); /* it does not come back */
    assert_true(peers_connected(f.side[0].peers, 3));
    /* A newer program does. */
    peers_close(f.side[1].peers);
    f.side[1] = (struct side){.peers = NULL};
    f.reads[1] = (struct versions){3, 4};
    open_side(&f, 1);
    TURN_UNTIL(&f, f.side[0].up == 3 && f.side[1].up == 2);
    teardown(&f);
}

/* Strangers. */

struct stranger {
    struct env_stream *stream;
    bool closed;
    struct buf got;
};

static void stranger_data(void *ctx, struct slice bytes)
{
    buf_append(&((struct stranger *)ctx)->got, bytes);
}

static void stranger_close(void *ctx, const struct err *why)
{
    (void)why;
    ((struct stranger *)ctx)->closed = true;
}

static const struct env_stream_events stranger_events = {.on_data = stranger_data,
                                                         .on_close = stranger_close};

/* With TLS it has the certificate of node 2. */
static void stranger_call(struct fixture *f, struct stranger *s, struct slice bytes)
{
    *s = (struct stranger){.closed = false};
    if (f->tls[1])
        s->stream =
            tls_connect(f->env, &f->members[0].addr, NULL,
                        &(struct tls_options){.ctx = peer_tls_ctx(f->tls[1])}, &stranger_events, s);
    else
        s->stream = env_connect(f->env, &f->members[0].addr, NULL, &stranger_events, s);
    if (bytes.n)
        env_stream_write(s->stream, &(struct iovec){(void *)(uintptr_t)bytes.p, bytes.n}, 1);
}

static void put_frame(struct buf *b, enum frame_type type, uint64_t cluster, uint64_t from,
                      struct slice payload)
{
    char head[FRAME_HEAD_BYTES];
    struct iovec iov = {(void *)(uintptr_t)payload.p, payload.n};
    frame_encode_head(
        head,
        &(struct frame){.type = type, .version = VERSION_NEWEST, .cluster = cluster, .from = from},
        &iov, 1);
    buf_append(b, slice_mem(head, sizeof(head)));
    buf_append(b, payload);
}

static void put_hello_of(struct buf *b, uint64_t cluster, uint64_t from, uint64_t to,
                         struct versions reads)
{
    struct buf h = {0};
    hello_encode(&h,
                 &(struct hello){.role = HELLO_CONTROL, .to = to, .name = S("x"), .reads = reads});
    put_frame(b, FRAME_HELLO, cluster, from, buf_slice(&h));
    buf_fini(&h);
}

static void put_hello(struct buf *b, uint64_t cluster, uint64_t from, uint64_t to)
{
    put_hello_of(b, cluster, from, to, (struct versions){VERSION_OLDEST, VERSION_NEWEST});
}

/* Wrong: a greeting of the program before, that came late, is believed, and its node is sent
 * nothing any more. */
static void who_greets_otherwise_is_asked_again(void **state)
{
    static const unsigned versions[] = {VERSION_NEWEST - 1, VERSION_NEWEST}; /* let in; refused */
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct fixture f;
        struct stranger s;
        struct buf b = {0};
        setup(&f, state);
        f.version[0] = versions[i];
        open_side(&f, 0);
        open_side(&f, 1);
        TURN_UNTIL(&f, f.side[0].up && f.side[1].up);
        put_hello_of(&b, CLUSTER, 2, 1, (struct versions){VERSION_OLDEST, VERSION_NEWEST - 1});
        stranger_call(&f, &s, buf_slice(&b));
        TURN_UNTIL(&f, f.side[0].down && f.side[0].up == 2);
        assert_int_equal(peers_program(f.side[0].peers, 2)->reads.newest, VERSION_NEWEST);
        if (!s.closed)
            env_stream_close(s.stream);
        buf_fini(&b);
        buf_fini(&s.got);
        teardown(&f);
    }
}

static void strangers_are_refused_with_a_reason(void **state)
{
    struct fixture f;
    static const struct {
        uint64_t cluster, from, to;
        const char *says; /* NULL: closed without a word */
    } cases[] = {
        {CLUSTER + 1, 2, 1, NULL},
        {CLUSTER, 9, 1, "node 9 is no member"},
        {CLUSTER, 2, 7, "this is node 1, not 7: the members differ"},
    };
    setup(&f, state);
    open_side(&f, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct stranger s;
        struct buf b = {0};
        struct frame fr;
        struct err err = {0};
        size_t n;
        put_hello(&b, cases[i].cluster, cases[i].from, cases[i].to);
        stranger_call(&f, &s, buf_slice(&b));
        TURN_UNTIL(&f, s.closed);
        assert_int_equal(frame_decode(buf_slice(&s.got), &greetings, &fr, &n, &err),
                         cases[i].says ? FRAME_OK : FRAME_MORE);
        if (cases[i].says)
            assert_true(fr.type == FRAME_REFUSE && slice_eq(fr.payload, slice_of(cases[i].says)));
        buf_fini(&b);
        buf_fini(&s.got);
    }
    teardown(&f);
}

static void junk_ends_its_own_connection_only(void **state)
{
    struct fixture f;
    struct stranger s;
    struct buf b = {0}, big = {0};
    setup(&f, state);
    open_side(&f, 0);
    open_side(&f, 1);
    TURN_UNTIL(&f, f.side[0].up && f.side[1].up);
    stranger_call(&f, &s, S("GET / HTTP/1.1\r\nHost: registry.example.internal\r\n\r\n"));
    TURN_UNTIL(&f, s.closed);
    put_frame(&b, FRAME_APPEND, CLUSTER, 2, S("before any greeting"));
    stranger_call(&f, &s, buf_slice(&b));
    TURN_UNTIL(&f, s.closed);
    buf_fini(&s.got);
    /* A greeting has no megabytes. */
    buf_clear(&b);
    memset(buf_reserve(&big, 1u << 20), 0, 1u << 20);
    buf_commit(&big, 1u << 20);
    put_frame(&b, FRAME_HELLO, CLUSTER, 2, buf_slice(&big));
    stranger_call(&f, &s, slice_sub(buf_slice(&b), 0, FRAME_HEAD_BYTES));
    TURN_UNTIL(&f, s.closed);
    struct iovec v = iov_of("still here");
    assert_true(peers_send(f.side[1].peers, 1, FRAME_CHANNEL, 0, &v, 1));
    TURN_UNTIL(&f, f.side[0].frames == 1);
    buf_fini(&s.got);
    buf_fini(&b);
    buf_fini(&big);
    teardown(&f);
}

static void silent_guests_have_a_limit_and_a_time(void **state)
{
    struct fixture f;
    struct stranger s[PEER_HALF_OPEN_MAX + 1];
    setup(&f, state);
    open_side(&f, 0);
    for (size_t i = 0; i < PEER_HALF_OPEN_MAX; i++)
        stranger_call(&f, &s[i], (struct slice){0});
    env_uv_turn(f.env, 50);
    env_uv_turn(f.env, 50);
    uint64_t t0 = env_now_ns(f.env);
    stranger_call(&f, &s[PEER_HALF_OPEN_MAX], (struct slice){0});
    TURN_UNTIL(&f, s[0].closed); /* the oldest makes room */
    assert_true(env_now_ns(f.env) - t0 < PEER_HELLO_TIMEOUT_MS * 500000ull);
    assert_false(s[1].closed);
    for (size_t i = 1; i <= PEER_HALF_OPEN_MAX; i++)
        TURN_UNTIL(&f, s[i].closed);
    teardown(&f);
}

/* Wrong: whoever can reach the port makes the thread of the heartbeats shake hands all day. Hosts
 * of members have a share of their own (here all are one). */
static void who_calls_too_often_is_cut_off(void **state)
{
    struct fixture f;
    enum { CALLS = PEER_ACCEPTS_PER_SECOND_MAX + 20 };
    static struct stranger s[CALLS];
    size_t closed = 0;
    setup(&f, state);
    open_side(&f, 0);
    for (size_t i = 0; i < CALLS; i++)
        stranger_call(&f, &s[i], S(""));          /* in one turn */
    while (closed < CALLS - PEER_HALF_OPEN_MAX) { /* those wait for a greeting */
        env_uv_turn(f.env, 20);
        closed = 0;
        for (size_t i = 0; i < CALLS; i++)
            closed += s[i].closed;
    }
    /* The last ones came too late; of those before them the oldest made room. */
    for (size_t i = PEER_ACCEPTS_PER_SECOND_MAX; i < CALLS; i++)
        assert_true(s[i].closed);
    assert_false(s[PEER_ACCEPTS_PER_SECOND_MAX - 1].closed);
    for (size_t i = 0; i < CALLS; i++)
        if (!s[i].closed)
            env_stream_close(s[i].stream);
    for (int i = 0; i < 4; i++)
        turn_a_while(&f);
    open_side(&f, 1);
    TURN_UNTIL(&f, f.side[0].up && f.side[1].up); /* a second later it is forgotten */
    teardown(&f);
}

/* A peer that does not read. */

struct deaf {
    struct env *env;
    struct tls_ctx *ctx; /* NULL = without TLS */
    struct env_stream *stream;
};

static const struct env_stream_events deaf_events = {.on_close = stranger_close};

static void on_deaf_accept(void *ctx, struct env_stream *s)
{
    struct deaf *d = ctx;
    static struct stranger sink;
    struct buf b = {0};
    if (d->ctx)
        s = tls_over(d->env, s, TLS_SERVER, &(struct tls_options){.ctx = d->ctx});
    d->stream = s;
    env_stream_set_events(s, &deaf_events, &sink);
    env_stream_read_pause(s);
    put_hello(&b, CLUSTER, 2, 1);
    struct slice hello = buf_slice(&b);
    env_stream_write(s, &(struct iovec){(void *)(uintptr_t)hello.p, hello.n}, 1);
    buf_fini(&b);
}

static void what_waits_for_a_deaf_peer_is_bounded(void **state)
{
    struct fixture f;
    struct deaf d = {0};
    struct err err = {0};
    setup(&f, state);
    d.env = f.env;
    d.ctx = f.tls[1] ? peer_tls_ctx(f.tls[1]) : NULL;
    struct env_listener *l = env_listen(f.env, &f.members[1].addr, &(struct env_listen_options){0},
                                        on_deaf_accept, &d, &err);
    open_side(&f, 0);
    TURN_UNTIL(&f, f.side[0].up);
    char *chunk = mem_new(1u << 20);
    struct iovec v = {chunk, 1u << 20};
    int sent = 0;
    while (peers_send(f.side[0].peers, 2, FRAME_CHANNEL, 0, &v, 1)) {
        sent++;
        assert_true(sent < 1000);
        assert_true(peers_queued(f.side[0].peers, 2) <= PEER_QUEUED_BYTES_MAX + (1u << 20) + 64);
        env_uv_turn(f.env, 0);
    }
    assert_true(sent >= (int)(PEER_QUEUED_BYTES_MAX >> 20));
    mem_free(chunk);
    env_stream_set_events(d.stream, NULL, NULL);
    env_stream_close(d.stream);
    env_listener_close(l);
    teardown(&f);
}

/* Certificates. */

/* Wrong: another cluster's node, another node of ours, or a node that was removed gets in, or is
 * kept out and nobody learns why. n1 is right, the other is not. */
static void only_its_own_certificate_opens(void **state)
{
    static const struct {
        bool other_ca;
        uint64_t cluster, id;
        const char *says; /* n1's log */
    } cases[] = {
        {true, CLUSTER, 2, "weft://000000000000004d/node/2): it is of an unknown CA"},
        {false, CLUSTER + 1, 2, "cluster 000000000000004e, ours is 000000000000004d"},
        {false, CLUSTER, 1, "node 1 is no member"}, /* ours is not another's */
        {false, CLUSTER, 3, "node 3 is no member"},
        {false, CLUSTER, 3, "it is node 3, not 2: the members differ"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        setup(&f, state);
        logged[0] = 0;
        log_set_sink(keep_log, NULL);
        secure_node(&f, 1, cases[i].other_ca ? &f.other : &f.ca, cases[i].cluster, cases[i].id);
        open_side(&f, 0);
        open_side(&f, 1);
        turn_a_while(&f);
        assert_int_equal(f.side[0].up + f.side[1].up, 0);
        assert_true(peers_refused(f.side[0].peers) > 0);
        expect_log(cases[i].says);
        log_set_sink(NULL, NULL);
        teardown(&f);
    }
}

/* Wrong: a member says that it is another one, and is believed. */
static void a_member_speaks_for_itself_alone(void **state)
{
    struct fixture f;
    struct stranger s;
    struct buf b = {0};
    struct frame fr;
    struct err err = {0};
    size_t n;
    setup(&f, state);
    f.member_count = 3;
    open_side(&f, 0);
    put_hello(&b, CLUSTER, 3, 1);
    stranger_call(&f, &s, buf_slice(&b)); /* with the certificate of node 2 */
    TURN_UNTIL(&f, s.closed);
    assert_int_equal(frame_decode(buf_slice(&s.got), &greetings, &fr, &n, &err), FRAME_OK);
    assert_true(
        fr.type == FRAME_REFUSE &&
        slice_eq(fr.payload, S("node 2 says that it is node 3: the certificate is another's")));
    buf_fini(&b);
    buf_fini(&s.got);
    teardown(&f);
}

static void nobody_call(struct fixture *f, struct stranger *s, struct slice bytes)
{
    struct err err = {0};
    *s = (struct stranger){.closed = false};
    struct tls_ctx *ctx =
        tls_ctx_new(&(struct tls_ctx_options){.pin = peer_tls_ca_sha256(f->tls[0])}, &err);
    assert_non_null(ctx);
    s->stream = tls_connect(f->env, &f->members[0].addr, NULL, &(struct tls_options){.ctx = ctx},
                            &stranger_events, s);
    tls_ctx_unref(ctx);
    env_stream_write(s->stream, &(struct iovec){(void *)(uintptr_t)bytes.p, bytes.n}, 1);
}

/* Wrong: who shows no certificate is taken for a member, or may say more than that it wants one. */
static void who_has_no_certificate_may_ask_for_one_only(void **state)
{
    static const struct {
        bool enrolls, certified; /* of n1; the caller's */
        enum frame_type type;
        uint64_t from;
        bool asks;
        const char *says; /* NULL: closed without a word */
    } cases[] = {
        {true, false, FRAME_ENROLL, ENROLL_NOBODY, true, NULL},
        {true, false, FRAME_ENROLL, 2, false, "frame of type 3 before the greeting"},
        {true, true, FRAME_ENROLL, ENROLL_NOBODY, false, "frame of type 3 before the greeting"},
        {true, false, FRAME_ENROLLED, ENROLL_NOBODY, false, "frame of type 4 before the greeting"},
        {true, false, FRAME_HELLO, 2, false, "it shows no certificate"},
        {true, false, FRAME_HELLO, 0, false, NULL}, /* no frame at all */
        {true, false, FRAME_HELLO, ENROLL_NOBODY, false, "node 18446744073709551615 is no member"},
        {true, false, FRAME_APPEND, 2, false, NULL},
        {false, false, FRAME_ENROLL, ENROLL_NOBODY, false, NULL},
        {false, true, FRAME_ENROLL, ENROLL_NOBODY, false, "frame of type 3 before the greeting"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        struct stranger s;
        struct buf b = {0};
        struct frame fr;
        struct err err = {0};
        size_t n;
        setup(&f, state);
        f.enrolls = cases[i].enrolls;
        open_side(&f, 0);
        if (cases[i].type == FRAME_HELLO)
            put_hello(&b, CLUSTER, cases[i].from, 1);
        else
            put_frame(&b, cases[i].type, CLUSTER, cases[i].from, S("let me in"));
        (cases[i].certified ? stranger_call : nobody_call)(&f, &s, buf_slice(&b));
        TURN_UNTIL(&f, s.closed);
        assert_int_equal(f.side[0].enrolls, cases[i].asks);
        assert_int_equal(f.side[0].up + f.side[0].heard + f.side[0].frames, 0);
        assert_int_equal(frame_decode(buf_slice(&s.got), &greetings, &fr, &n, &err),
                         cases[i].says ? FRAME_OK : FRAME_MORE);
        if (cases[i].says &&
            !(fr.type == FRAME_REFUSE && slice_eq(fr.payload, slice_of(cases[i].says))))
            fail_msg("case %zu: %.*s", i, SLICE(fr.payload));
        buf_fini(&b);
        buf_fini(&s.got);
        teardown(&f);
    }
}

/* Wrong: where TLS is on, somebody without it is spoken to; in either direction. */
static void there_is_no_way_back_to_plaintext(void **state)
{
    for (size_t plain = 0; plain < 2; plain++) {
        struct fixture f;
        setup(&f, state);
        logged[0] = 0;
        log_set_sink(keep_log, NULL);
        peer_tls_close(f.tls[plain]);
        f.tls[plain] = NULL;
        open_side(&f, 0);
        open_side(&f, 1);
        turn_a_while(&f);
        assert_int_equal(f.side[0].up + f.side[1].up, 0);
        expect_log("no TLS 1.3 of a peer");
        log_set_sink(NULL, NULL);
        teardown(&f);
    }
}

static void renewed_certificates_serve_new_connections(void **state)
{
    struct fixture f;
    setup(&f, state);
    open_side(&f, 0);
    open_side(&f, 1);
    TURN_UNTIL(&f, f.side[0].up && f.side[1].up);
    /* n1 gets another CA's: what is connected stays, n2 does not come back until it has it too. */
    char fresh[NODES][TEST_DIR], command[256];
    for (size_t i = 0; i < 2; i++) {
        peer_tls_test_dir(&f.other, CLUSTER, i + 1, env_wall_ms(f.env) / 1000, fresh[i]);
        snprintf(command, sizeof(command), "cp %s/* %s/", fresh[i], f.dir[i]);
        if (i == 0) {
            struct tls_ctx *old = peer_tls_ctx(f.tls[0]);
            assert_int_equal(system(command), 0);
            TURN_UNTIL(&f, peer_tls_ctx(f.tls[0]) != old); /* found by itself */
        }
    }
    turn_a_while(&f);
    assert_int_equal(f.side[0].down + f.side[1].down, 0);
    peers_close(f.side[1].peers);
    f.side[1] = (struct side){.peers = NULL};
    TURN_UNTIL(&f, f.side[0].down);
    open_side(&f, 1);
    turn_a_while(&f);
    assert_int_equal(f.side[1].up, 0);
    assert_int_equal(system(command), 0);
    TURN_UNTIL(&f, f.side[0].up == 2 && f.side[1].up == 1); /* found by itself */
    for (size_t i = 0; i < 2; i++)
        test_dir_remove(fresh[i]);
    teardown(&f);
}

/* Wrong: a try whose first packet fell into a partition waits for TCP's second one, a second later,
 * and the next fault finds nodes that do not know each other yet. */
static void a_lost_first_packet_costs_little(void **state)
{
    struct fixture f;
    int deaf, one = 1, first;
    setup(&f, state);
    const struct env_addr *to = &f.members[1].addr;
    deaf = socket(AF_INET, SOCK_STREAM, 0);
    first = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(setsockopt(deaf, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    assert_int_equal(bind(deaf, &to->sa, sizeof(to->in4)), 0);
    assert_int_equal(listen(deaf, 0), 0); /* room for one: who comes after it hears nothing */
    assert_int_equal(connect(first, &to->sa, sizeof(to->in4)), 0);
    open_side(&f, 0);
    for (int i = 0; i < 3; i++)
        env_uv_turn(f.env, 10);
    uint64_t t0 = env_now_ns(f.env);
    close(first);
    close(deaf);
    open_side(&f, 1);
    TURN_UNTIL(&f, f.side[0].up && f.side[1].up);
    assert_true(env_now_ns(f.env) - t0 < 700000000u);
    teardown(&f);
}

/* Membership. */

static void who_is_removed_is_cut_at_once(void **state)
{
    struct fixture f;
    setup(&f, state);
    f.member_count = 3;
    for (size_t i = 0; i < NODES; i++)
        open_side(&f, i);
    TURN_UNTIL(&f, f.side[0].up == 2 && f.side[1].up == 2 && f.side[2].up == 2);
    uint64_t t0 = env_now_ns(f.env);
    logged[0] = 0;
    log_set_sink(keep_log, NULL);
    peers_set_members(f.side[0].peers, f.members, 2);
    assert_int_equal(f.side[0].down, 1);
    struct iovec v = iov_of("late");
    assert_false(peers_send(f.side[0].peers, 3, FRAME_CHANNEL, 0, &v, 1));
    TURN_UNTIL(&f, f.side[2].down == 1);
    assert_true(env_now_ns(f.env) - t0 < 1000000000u);
    turn_a_while(&f);
    expect_log("node 3 is no member any more"); /* what it is told */
    log_set_sink(NULL, NULL);
    assert_int_equal(f.side[2].up, 2); /* it does not come back */
    assert_true(peers_connected(f.side[0].peers, 2));
    assert_int_equal(f.side[0].down + f.side[1].down, 1);
    /* Back, and another place is not needed. */
    peers_set_members(f.side[0].peers, f.members, 3);
    TURN_UNTIL(&f, f.side[0].up == 3 && f.side[2].up == 3);
    /* Without ourselves nobody is left. */
    peers_set_members(f.side[0].peers, f.members + 1, 2);
    TURN_UNTIL(&f, f.side[1].down && f.side[2].down == 2);
    assert_int_equal(f.side[0].down, 3);
    teardown(&f);
}

/* Wrong: a certificate that came in before its member was removed has its foot in the door. */
static void who_is_removed_has_no_foot_in_the_door(void **state)
{
    struct fixture f;
    struct stranger s;
    setup(&f, state);
    f.member_count = 3;
    open_side(&f, 0);
    stranger_call(&f, &s, (struct slice){0}); /* with the certificate of node 2, and silent */
    turn_a_while(&f);
    uint64_t t0 = env_now_ns(f.env);
    peers_set_members(f.side[0].peers, f.members, 2);
    turn_a_while(&f);
    assert_false(s.closed); /* that was node 3 */
    peers_set_members(f.side[0].peers, f.members, 1);
    TURN_UNTIL(&f, s.closed);
    assert_true(env_now_ns(f.env) - t0 < PEER_HELLO_TIMEOUT_MS * 500000ull);
    teardown(&f);
}

int main(void)
{
    static bool plain = false, secure = true;
#define BOTH(name) cmocka_unit_test_prestate(name, &plain), cmocka_unit_test_prestate(name, &secure)
    const struct CMUnitTest tests[] = {
        BOTH(frames_arrive_in_order),
        BOTH(each_connection_from_a_peer_is_told),
        BOTH(a_dead_peer_is_told_once_and_comes_back),
        BOTH(another_history_is_cut_off),
        BOTH(versions_meet_or_part),
        BOTH(who_is_left_behind_is_cut_off),
        BOTH(strangers_are_refused_with_a_reason),
        BOTH(junk_ends_its_own_connection_only),
        BOTH(silent_guests_have_a_limit_and_a_time),
        BOTH(who_calls_too_often_is_cut_off),
        BOTH(what_waits_for_a_deaf_peer_is_bounded),
        BOTH(a_lost_first_packet_costs_little),
        BOTH(who_is_removed_is_cut_at_once),
        BOTH(who_greets_otherwise_is_asked_again),
        cmocka_unit_test_prestate(who_is_removed_has_no_foot_in_the_door, &secure),
        cmocka_unit_test_prestate(only_its_own_certificate_opens, &secure),
        cmocka_unit_test_prestate(a_member_speaks_for_itself_alone, &secure),
        cmocka_unit_test_prestate(who_has_no_certificate_may_ask_for_one_only, &secure),
        cmocka_unit_test_prestate(there_is_no_way_back_to_plaintext, &secure),
        cmocka_unit_test_prestate(renewed_certificates_serve_new_connections, &secure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
