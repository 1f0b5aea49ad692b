/* If this fails, nodes and proxies speak to whom they must not, take a cut connection for a whole
 * one, or lose, double or reorder bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/ssl.h>

#include "base/env/env_uv.h"
#include "base/net/net_limits.h"
#include "base/net/tls_testing.h"

/* One end, which writes down all that happens to it. */
struct end {
    struct env_stream *s;
    struct mem_stream mem;
    struct buf got;
    int connects, ends, drains, closes;
    struct err why;
    bool pause_on_data, close_on_data, close_on_connect, told;
};

struct pair {
    struct mem_env env;
    struct tls_test_ca ca, other;
    struct tls_ctx *client_ctx, *server_ctx;
    struct end client, server;
    size_t cut; /* bytes at a time; 0 = all */
};

static void on_connect(void *ctx)
{
    struct end *e = ctx;
    e->connects++;
    if (e->close_on_connect)
        env_stream_close(e->s);
}

static void on_data(void *ctx, struct slice bytes)
{
    struct end *e = ctx;
    assert_true(bytes.n > 0 && e->closes == 0 && e->ends == 0);
    buf_append(&e->got, bytes);
    if (e->pause_on_data)
        env_stream_read_pause(e->s);
    if (e->close_on_data)
        env_stream_close(e->s);
}

static void on_end(void *ctx)
{
    ((struct end *)ctx)->ends++;
}

static void on_drain(void *ctx)
{
    ((struct end *)ctx)->drains++;
}

static void on_close(void *ctx, const struct err *why)
{
    struct end *e = ctx;
    e->closes++;
    e->why = *why;
    e->s = NULL;
}

static const struct env_stream_events events = {on_connect, on_data, on_end, on_drain, on_close};
static const struct env_stream_events events_without_end = {on_connect, on_data, NULL, on_drain,
                                                            on_close};

static int64_t now_of(const struct pair *p)
{
    return p->env.wall_ms / 1000;
}

static struct x509_subject subject(const struct pair *p, const char *name, const char *uri)
{
    return (struct x509_subject){.name = slice_of(name),
                                 .uri = slice_of(uri),
                                 .from = now_of(p) - TLS_TEST_DAY,
                                 .until = now_of(p) + TLS_TEST_DAY};
}

static void setup(struct pair *p)
{
    *p = (struct pair){.cut = 0};
    mem_env_init(&p->env);
    tls_test_ca_init(&p->ca, now_of(p));
    tls_test_ca_init(&p->other, now_of(p));
    struct x509_subject c = subject(p, "client", "weft://x/node/1");
    struct x509_subject s = subject(p, "server", "weft://x/node/2");
    p->client_ctx = tls_test_ctx(&p->ca, &p->ca, &c);
    p->server_ctx = tls_test_ctx(&p->ca, &p->ca, &s);
}

static void start(struct pair *p, const struct tls_options *client,
                  const struct tls_options *server)
{
    struct tls_options c = *client, s = *server;
    c.ctx = p->client_ctx;
    s.ctx = p->server_ctx;
    p->client.s = tls_over(&p->env.base, mem_stream_init(&p->client.mem, &p->env), TLS_CLIENT, &c);
    p->server.s = tls_over(&p->env.base, mem_stream_init(&p->server.mem, &p->env), TLS_SERVER, &s);
    env_stream_set_events(p->client.s, &events, &p->client);
    env_stream_set_events(p->server.s, &events, &p->server);
}

static void start_plain(struct pair *p)
{
    start(p, &(struct tls_options){.name = S("server")},
          &(struct tls_options){.name = S("client")});
}

/* The end of one side's bytes, once they have all arrived. */
static void move_end(struct end *from, struct end *to)
{
    if (from->told || (!from->mem.ended && !from->mem.closed) || from->mem.out.n)
        return;
    from->told = true;
    if (to->mem.events && to->mem.events->on_end && !to->mem.closed && !to->mem.paused)
        to->mem.events->on_end(to->mem.ctx);
}

static void settle(struct pair *p)
{
    bool any = true;
    while (any) {
        any = !p->server.mem.paused && mem_move(&p->client.mem, &p->server.mem, p->cut);
        any |= !p->client.mem.paused && mem_move(&p->server.mem, &p->client.mem, p->cut);
        any |= !list_empty(&p->env.base.deferred);
        env_impl_run_deferred(&p->env.base);
        move_end(&p->client, &p->server);
        move_end(&p->server, &p->client);
    }
    env_impl_run_deferred(&p->env.base);
}

static void teardown(struct pair *p)
{
    struct end *ends[] = {&p->client, &p->server};
    for (size_t i = 0; i < 2; i++) {
        if (ends[i]->s)
            env_stream_close(ends[i]->s);
        env_impl_run_deferred(&p->env.base);
        buf_fini(&ends[i]->got);
        buf_fini(&ends[i]->mem.out);
    }
    tls_ctx_unref(p->client_ctx);
    tls_ctx_unref(p->server_ctx);
    tls_test_ca_fini(&p->ca);
    tls_test_ca_fini(&p->other);
}

static void write_text(struct end *e, const char *text)
{
    env_stream_write(e->s, &(struct iovec){(void *)(uintptr_t)text, strlen(text)}, 1);
}

static void fill(char *p, size_t n)
{
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++)
        p[i] = (char)((x = x * 1664525u + 1013904223u) >> 24);
}

static void expect_why(const struct end *e, enum err_code code, const char *part)
{
    assert_int_equal(e->closes, 1);
    if (e->why.code != code || !strstr(e->why.msg, part))
        fail_msg("code %s, \"%s\"; wanted %s, \"…%s…\"", err_code_name(e->why.code), e->why.msg,
                 err_code_name(code), part);
}

/* Bytes. */

/* In pieces of all sizes, cut on the way at all places, both ways at once. */
static void test_bytes_arrive_as_they_were(void **state)
{
    (void)state;
    static const size_t cuts[] = {0, 1, 7, 1000, 16406};
    enum { TOTAL = 300000 };
    static char bytes[TOTAL];
    fill(bytes, TOTAL);
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        struct pair p;
        setup(&p);
        p.cut = cuts[i];
        start_plain(&p);
        for (size_t at = 0, piece = 1; at < TOTAL; at += piece, piece = piece * 3 % 40009) {
            piece = piece < TOTAL - at ? piece : TOTAL - at;
            struct iovec iov[] = {{bytes + at, piece / 3},
                                  {bytes + at + piece / 3, 0},
                                  {bytes + at + piece / 3, piece - piece / 3}};
            env_stream_write(p.client.s, iov, 3);
            env_stream_write(p.server.s, iov, 3);
            if (at % 3 == 0)
                settle(&p);
        }
        settle(&p);
        assert_int_equal(p.client.connects, 1);
        assert_int_equal(p.server.connects, 0);
        assert_true(slice_eq(buf_slice(&p.server.got), slice_mem(bytes, TOTAL)));
        assert_true(slice_eq(buf_slice(&p.client.got), slice_mem(bytes, TOTAL)));
        assert_true(slice_eq(tls_peer_uri(p.client.s), S("weft://x/node/2")));
        assert_true(slice_eq(tls_peer_uri(p.server.s), S("weft://x/node/1")));
        teardown(&p);
    }
}

static void test_a_paused_reader_gets_nothing_and_loses_nothing(void **state)
{
    (void)state;
    enum { TOTAL = 200000 };
    static char bytes[TOTAL];
    struct pair p;
    fill(bytes, TOTAL);
    setup(&p);
    start_plain(&p);
    p.server.pause_on_data = true;
    env_stream_write(p.client.s, &(struct iovec){bytes, TOTAL}, 1);
    int rounds = 0;
    while (p.server.got.n < TOTAL) {
        size_t before = p.server.got.n;
        settle(&p);
        assert_true(p.server.got.n > before && p.server.got.n - before <= TLS_PLAIN_BYTES);
        assert_true(p.server.mem.paused);
        before = p.server.got.n;
        settle(&p);
        assert_int_equal(p.server.got.n, before);
        env_stream_read_resume(p.server.s);
        assert_int_equal(p.server.got.n, before); /* not from inside the call */
        rounds++;
    }
    assert_true(rounds >= (int)(TOTAL / TLS_PLAIN_BYTES));
    assert_true(slice_eq(buf_slice(&p.server.got), slice_mem(bytes, TOTAL)));
    teardown(&p);
}

/* What is below may hand on what it had already read. */
static void test_what_comes_in_spite_of_a_pause_is_kept(void **state)
{
    (void)state;
    struct pair p;
    setup(&p);
    start_plain(&p);
    settle(&p);
    p.server.pause_on_data = true;
    write_text(&p.client, "one ");
    write_text(&p.client, "two ");
    settle(&p);
    write_text(&p.client, "three ");
    mem_move(&p.client.mem, &p.server.mem, 5);
    p.server.pause_on_data = false;
    env_stream_read_resume(p.server.s);
    write_text(&p.client, "four");
    mem_move(&p.client.mem, &p.server.mem, 0); /* before what was kept is read */
    settle(&p);
    assert_true(slice_eq(buf_slice(&p.server.got), S("one two three four")));
    teardown(&p);
}

static void test_a_pause_does_not_stop_the_handshake(void **state)
{
    (void)state;
    struct pair p;
    setup(&p);
    start_plain(&p);
    env_stream_read_pause(p.server.s);
    write_text(&p.client, "early");
    assert_int_equal(env_stream_queued(p.client.s), 5);
    settle(&p);
    assert_int_equal(p.client.connects, 1);
    assert_int_equal(p.client.drains, 1);
    assert_int_equal(p.server.got.n, 0);
    env_stream_read_resume(p.server.s);
    settle(&p);
    assert_true(slice_eq(buf_slice(&p.server.got), S("early")));
    teardown(&p);
}

/* Ends. */

static void test_each_direction_ends_by_itself(void **state)
{
    (void)state;
    struct pair p;
    setup(&p);
    start_plain(&p);
    write_text(&p.client, "request");
    env_stream_shutdown(p.client.s); /* before the handshake */
    settle(&p);
    assert_true(slice_eq(buf_slice(&p.server.got), S("request")));
    assert_int_equal(p.server.ends, 1);
    assert_int_equal(p.client.closes + p.server.closes, 0);
    write_text(&p.server, "answer");
    env_stream_shutdown(p.server.s);
    settle(&p);
    assert_true(slice_eq(buf_slice(&p.client.got), S("answer")));
    assert_int_equal(p.client.ends, 1);
    expect_why(&p.client, ERR_NONE, "");
    expect_why(&p.server, ERR_NONE, "");
    teardown(&p);
}

static void test_a_close_is_an_orderly_end(void **state)
{
    (void)state;
    for (int without_end = 0; without_end < 2; without_end++) {
        struct pair p;
        setup(&p);
        start_plain(&p);
        settle(&p);
        if (without_end)
            env_stream_set_events(p.server.s, &events_without_end, &p.server);
        write_text(&p.client, "last");
        if (without_end)
            env_stream_close(p.client.s);
        else
            env_stream_close_after_write(p.client.s, 1000);
        assert_int_equal(p.client.closes, 0);
        settle(&p);
        assert_true(slice_eq(buf_slice(&p.server.got), S("last")));
        if (without_end)
            expect_why(&p.client, ERR_NONE, "");
        assert_int_equal(p.server.ends, without_end ? 0 : 1);
        if (p.server.mem.events) { /* what lies below ends at last */
            const struct err none = {.code = ERR_NONE};
            p.server.mem.events->on_close(p.server.mem.ctx, &none);
        }
        if (without_end)
            expect_why(&p.server, ERR_IO, "it ended the connection");
        if (p.client.mem.events) {
            const struct err none = {.code = ERR_NONE};
            p.client.mem.events->on_close(p.client.mem.ctx, &none);
            expect_why(&p.client, ERR_NONE, "");
        }
        teardown(&p);
    }
}

/* Wrong: somebody on the way cuts a connection and the reader takes half an answer for all. */
static void test_a_cut_is_a_failure(void **state)
{
    (void)state;
    struct pair p;
    setup(&p);
    start_plain(&p);
    settle(&p);
    write_text(&p.client, "half");
    settle(&p);
    p.server.mem.events->on_end(p.server.mem.ctx);
    settle(&p);
    expect_why(&p.server, ERR_IO, "TLS with client at ");
    assert_non_null(strstr(p.server.why.msg, "cut"));
    assert_int_equal(p.server.ends, 0);
    teardown(&p);
}

static void test_a_failure_below_is_passed_on(void **state)
{
    (void)state;
    struct pair p;
    struct err reset = {.code = ERR_IO};
    setup(&p);
    start_plain(&p);
    settle(&p);
    strcpy(reset.msg, "read from x: reset");
    p.client.mem.events->on_close(p.client.mem.ctx, &reset);
    expect_why(&p.client, ERR_IO, "read from x: reset");
    teardown(&p);
}

static void test_an_owner_may_close_in_any_callback(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct pair p;
        setup(&p);
        p.client.close_on_connect = i == 0;
        p.server.close_on_data = i == 1;
        start_plain(&p);
        write_text(&p.client, "one");
        settle(&p);
        expect_why(i == 0 ? &p.client : &p.server, ERR_NONE, "");
        teardown(&p);
    }
}

/* Handshakes. */

static bool is_node_2(void *arg, struct slice uri, struct err *err)
{
    (void)arg;
    return slice_eq(uri, S("weft://x/node/2")) ||
           err_set(err, ERR_FORBIDDEN, "it is %.*s, node 2 was wanted", SLICE(uri));
}

/* What is wrong, and what both ends say about it. Codes are UNAUTHENTICATED. */
enum wrong {
    SERVER_CA,
    CLIENT_CA,
    SERVER_OLD,
    CLIENT_OLD,
    SERVER_YOUNG,
    CLIENT_OTHER,
    SERVER_OTHER
};

static void make_wrong(struct pair *p, enum wrong w, struct tls_options *c, struct tls_options *s)
{
    struct x509_subject cs = subject(p, "client", "weft://x/node/1");
    struct x509_subject ss = subject(p, "server", "weft://x/node/2");
    const struct tls_test_ca *client_ca = w == CLIENT_CA ? &p->other : &p->ca;
    const struct tls_test_ca *server_ca = w == SERVER_CA ? &p->other : &p->ca;
    if (w == SERVER_OLD)
        ss.until = now_of(p) - 60;
    if (w == CLIENT_OLD)
        cs.until = now_of(p) - 60;
    if (w == SERVER_YOUNG)
        ss.from = now_of(p) + 60;
    if (w == SERVER_OTHER)
        ss.uri = S("weft://x/node/3");
    if (w == SERVER_OTHER)
        c->verify = is_node_2;
    if (w == CLIENT_OTHER)
        s->verify = is_node_2;
    tls_ctx_unref(p->client_ctx);
    tls_ctx_unref(p->server_ctx);
    p->client_ctx = tls_test_ctx(client_ca, &p->ca, &cs);
    p->server_ctx = tls_test_ctx(server_ca, &p->ca, &ss);
}

static void test_who_is_not_welcome_is_told_apart(void **state)
{
    (void)state;
    static const struct {
        enum wrong wrong;
        const char *client_says, *server_says;
    } cases[] = {
        {SERVER_CA, "TLS with server at ", "it does not know the CA of our certificate"},
        {SERVER_CA, "(\"server\", weft://x/node/2): it is of an unknown CA", ""},
        {CLIENT_CA, "it does not know the CA of our certificate",
         "(\"client\", weft://x/node/1): it is of an unknown CA"},
        {SERVER_OLD, "it ended on 2023-11-14 22:12 UTC", "has expired"},
        {CLIENT_OLD, "has expired", "it ended on 2023-11-14 22:12 UTC"},
        {SERVER_YOUNG, "it begins on 2023-11-14 22:14 UTC: is a clock wrong?", "it refuses our"},
        {CLIENT_OTHER, "it refuses our certificate",
         "(\"client\", weft://x/node/1): it is weft://x/node/1, node 2 was wanted"},
        {SERVER_OTHER, "it is weft://x/node/3, node 2 was wanted", "it refuses our certificate"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pair p;
        struct tls_options c = {.name = S("server")}, s = {.name = S("client")};
        setup(&p);
        make_wrong(&p, cases[i].wrong, &c, &s);
        start(&p, &c, &s);
        write_text(&p.client, "secret");
        settle(&p);
        expect_why(&p.client, ERR_UNAUTHENTICATED, cases[i].client_says);
        expect_why(&p.server, ERR_UNAUTHENTICATED, cases[i].server_says);
        assert_int_equal(p.server.got.n, 0);
        teardown(&p);
    }
}

/* The clock is the env's: what was good yesterday is not tomorrow. */
static void test_time_is_of_the_env(void **state)
{
    (void)state;
    struct pair p;
    setup(&p);
    p.env.wall_ms += 2 * TLS_TEST_DAY * 1000;
    start_plain(&p);
    settle(&p);
    expect_why(&p.client, ERR_UNAUTHENTICATED, "it ended on");
    teardown(&p);
}

/* A client of OpenSSL's own, with settings that ours never has. */
static void foreign_client(struct pair *p, int max_version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(ctx, max_version);
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    struct tls_options opt = {.ctx = p->server_ctx, .name = S("stranger")};
    p->server.s =
        tls_over(&p->env.base, mem_stream_init(&p->server.mem, &p->env), TLS_SERVER, &opt);
    env_stream_set_events(p->server.s, &events, &p->server);
    for (int i = 0; i < 4; i++) {
        char *bytes;
        SSL_connect(ssl);
        long n = BIO_get_mem_data(out, &bytes);
        mem_arrive(&p->server.mem, slice_mem(bytes, (size_t)n));
        (void)BIO_reset(out);
        struct slice back = buf_slice(&p->server.mem.out);
        if (back.n)
            BIO_write(in, back.p, (int)back.n);
        buf_clear(&p->server.mem.out);
        env_impl_run_deferred(&p->env.base);
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

static void test_strangers_without_certificate_or_of_old_times(void **state)
{
    (void)state;
    struct pair p;
    setup(&p);
    foreign_client(&p, TLS1_3_VERSION);
    expect_why(&p.server, ERR_UNAUTHENTICATED, "TLS with stranger at ");
    assert_non_null(strstr(p.server.why.msg, "it shows no certificate"));
    teardown(&p);
    setup(&p);
    foreign_client(&p, TLS1_2_VERSION);
    expect_why(&p.server, ERR_INVALID, "no TLS 1.3 of a peer (unsupported protocol)");
    teardown(&p);
}

static void test_garbage_is_no_handshake(void **state)
{
    (void)state;
    static const struct slice junk[] = {
        S_INIT("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        S_INIT("WFP1\x10\0\0\0\0\0\0\0\1\0\1\0"),
        S_INIT("\x16\x03\x01\xff\xff"),
        S_INIT("\x16\x03\x01\0\4\1\xff\xff\xff"),
        S_INIT("\0\0\0\0\0\0\0\0"),
    };
    for (size_t i = 0; i < ARRAY_LEN(junk); i++) {
        struct pair p;
        setup(&p);
        start_plain(&p);
        mem_arrive(&p.server.mem, junk[i]);
        mem_arrive(&p.client.mem, junk[i]);
        settle(&p);
        expect_why(&p.server, ERR_INVALID, "no TLS 1.3 of a peer");
        expect_why(&p.client, ERR_INVALID, "no TLS 1.3 of a peer");
        teardown(&p);
    }
}

static void test_garbage_after_the_handshake_is_not_delivered(void **state)
{
    (void)state;
    struct pair p;
    setup(&p);
    start_plain(&p);
    settle(&p);
    write_text(&p.client, "good");
    settle(&p);
    write_text(&p.client, "touched on its way");
    p.client.mem.out.p[p.client.mem.out.at + p.client.mem.out.n - 1] ^= 1;
    settle(&p);
    expect_why(&p.server, ERR_INVALID, "bad record mac");
    assert_true(slice_eq(buf_slice(&p.server.got), S("good")));
    teardown(&p);
}

static void test_silence_has_a_time(void **state)
{
    (void)state;
    struct pair p;
    setup(&p);
    start_plain(&p);
    p.env.base.now += TLS_HANDSHAKE_TIMEOUT_MS - 1;
    env_impl_run_timers(&p.env.base);
    env_impl_run_deferred(&p.env.base);
    assert_int_equal(p.server.closes, 0);
    p.env.base.now++;
    env_impl_run_timers(&p.env.base);
    env_impl_run_deferred(&p.env.base);
    expect_why(&p.server, ERR_TIMEOUT, "no handshake within 2000 ms");
    expect_why(&p.client, ERR_TIMEOUT, "no handshake within 2000 ms");
    teardown(&p);
}

/* Enrolment: a client that knows the CA by its hash alone, and has no certificate. */

static void test_a_pinned_ca_and_no_certificate(void **state)
{
    (void)state;
    enum { GOOD, OTHER_PIN, OTHER_SERVER, NO_CA_SENT, NOT_ANONYMOUS, CASES };
    static const char *const client_says[CASES] = {
        "", "it is of an unknown CA", "it is of an unknown CA", "it is of an unknown CA",
        "it wants a certificate of us"};
    for (int i = 0; i < CASES; i++) {
        struct pair p;
        struct x509_info ca;
        struct err err = {0};
        struct buf key = {0}, cert = {0};
        setup(&p);
        struct x509_subject s = subject(&p, "server", "weft://x/node/2");
        const struct tls_test_ca *signer = i == OTHER_SERVER ? &p.other : &p.ca;
        tls_test_issue(signer, &s, &key, &cert);
        tls_ctx_unref(p.client_ctx);
        tls_ctx_unref(p.server_ctx);
        assert_true(x509_read(buf_slice(i == OTHER_PIN ? &p.other.cert : &p.ca.cert), &ca, &err));
        p.client_ctx = tls_ctx_new(&(struct tls_ctx_options){.pin = ca.sha256}, &err);
        assert_non_null(p.client_ctx);
        p.server_ctx = tls_ctx_new(&(struct tls_ctx_options){.cert = buf_slice(&cert),
                                                             .key = buf_slice(&key),
                                                             .ca = buf_slice(&signer->cert),
                                                             .with_ca = i != NO_CA_SENT},
                                   &err);
        assert_non_null(p.server_ctx);
        start(&p, &(struct tls_options){.name = S("server")},
              &(struct tls_options){.name = S("client"), .anonymous = i != NOT_ANONYMOUS});
        write_text(&p.client, "a secret");
        settle(&p);
        if (i == GOOD) {
            assert_int_equal(p.client.closes + p.server.closes, 0);
            assert_true(slice_eq(buf_slice(&p.server.got), S("a secret")));
            assert_true(slice_eq(tls_peer_uri(p.client.s), S("weft://x/node/2")));
            assert_int_equal(tls_peer_uri(p.server.s).n, 0);
        } else {
            expect_why(&p.client, ERR_UNAUTHENTICATED, client_says[i]);
            assert_int_equal(p.server.got.n, 0);
        }
        x509_wipe(&key);
        buf_fini(&cert);
        teardown(&p);
    }
}

/* Anonymous or not: who shows a certificate must have a good one. */
static void test_an_open_door_takes_no_wrong_certificate(void **state)
{
    (void)state;
    struct pair p;
    struct tls_options c = {.name = S("server")}, s = {.name = S("client"), .anonymous = true};
    setup(&p);
    make_wrong(&p, CLIENT_CA, &c, &s);
    start(&p, &c, &s);
    settle(&p);
    expect_why(&p.server, ERR_UNAUTHENTICATED, "it is of an unknown CA");
    teardown(&p);
}

/* Contexts. */

static void test_a_context_says_what_it_cannot_use(void **state)
{
    (void)state;
    struct pair p;
    struct buf key = {0}, cert = {0}, key2 = {0}, cert2 = {0};
    struct err err = {0};
    setup(&p);
    struct x509_subject s = subject(&p, "n1", "");
    tls_test_issue(&p.ca, &s, &key, &cert);
    tls_test_issue(&p.ca, &s, &key2, &cert2);
    struct slice ca = buf_slice(&p.ca.cert), c = buf_slice(&cert), k = buf_slice(&key);
    const struct {
        struct tls_ctx_options opt;
        const char *says;
    } cases[] = {
        {{.cert = S("junk"), .key = k, .ca = ca}, "certificate: "},
        {{.cert = c, .key = S(""), .ca = ca}, "key: "},
        {{.cert = c, .key = buf_slice(&key2), .ca = ca}, "key: "},
        {{.cert = c, .key = k, .ca = S("")}, "CA: "},
        {{.cert = c, .key = k, .ca = c}, "CA: "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_null(tls_ctx_new(&cases[i].opt, &err));
        if (err.code != ERR_INVALID || !slice_starts(slice_of(err.msg), slice_of(cases[i].says)))
            fail_msg("case %zu: %s", i, err.msg);
    }
    buf_fini(&key);
    buf_fini(&cert);
    buf_fini(&key2);
    buf_fini(&cert2);
    teardown(&p);
}

/* Sockets. */

struct world {
    struct env *env;
    struct env_listener *l;
    struct pair *p;
    struct end client, server;
};

static void on_accept(void *ctx, struct env_stream *s)
{
    struct world *w = ctx;
    w->server.s = tls_over(w->env, s, TLS_SERVER,
                           &(struct tls_options){.ctx = w->p->server_ctx, .name = S("client")});
    env_stream_set_events(w->server.s, &events, &w->server);
    w->server.pause_on_data = true;
}

static void pair_at(struct pair *p, int64_t now)
{
    *p = (struct pair){.env.wall_ms = now};
    tls_test_ca_init(&p->ca, now_of(p));
    tls_test_ca_init(&p->other, now_of(p));
    struct x509_subject s = subject(p, "n", "");
    p->client_ctx = tls_test_ctx(&p->ca, &p->ca, &s);
    p->server_ctx = tls_test_ctx(&p->ca, &p->ca, &s);
}

/* Eight megabytes to a reader that pauses at each piece: they wait at the writer, are counted, and
 * close_after_write loses none of them. */
static void test_back_pressure_over_sockets(void **state)
{
    (void)state;
    enum { TOTAL = 8 << 20 };
    struct err err = {0};
    struct pair p;
    struct env_addr at;
    struct world w = {.env = env_uv_new(&err), .p = &p};
    pair_at(&p, env_wall_ms(w.env));
    assert_true(env_addr_parse(&at, S("127.0.0.1:0"), &err));
    w.l = env_listen(w.env, &at, NULL, on_accept, &w, &err);
    w.client.s = tls_connect(w.env, env_listener_addr(w.l), NULL,
                             &(struct tls_options){.ctx = p.client_ctx, .name = S("server")},
                             &events, &w.client);
    while (!w.client.connects || !w.server.s)
        env_uv_turn(w.env, 100);
    char *bytes = malloc(TOTAL);
    fill(bytes, TOTAL);
    size_t queued = env_stream_write(w.client.s, &(struct iovec){bytes, TOTAL}, 1);
    assert_true(queued > TOTAL / 4 && queued < TOTAL + TOTAL / 100);
    assert_int_equal(env_stream_queued(w.client.s), queued);
    while (w.server.got.n < TOTAL) {
        env_uv_turn(w.env, 100);
        if (w.client.drains == 1 && w.client.s) {
            env_stream_close_after_write(w.client.s, 5000);
            w.client.drains++;
        }
        if (w.server.s)
            env_stream_read_resume(w.server.s);
    }
    assert_int_equal(w.client.drains, 2);
    assert_true(slice_eq(buf_slice(&w.server.got), slice_mem(bytes, TOTAL)));
    while (!w.server.ends) {
        env_uv_turn(w.env, 100);
        env_stream_read_resume(w.server.s);
    }
    env_stream_close(w.server.s);
    while (!w.client.closes || !w.server.closes)
        env_uv_turn(w.env, 100);
    expect_why(&w.client, ERR_NONE, "");
    env_listener_close(w.l);
    /* Nobody there: the code says so, as for a plain stream. */
    w.client = (struct end){.s = NULL};
    w.client.s = tls_connect(w.env, &at, NULL, &(struct tls_options){.ctx = p.client_ctx}, &events,
                             &w.client);
    while (!w.client.closes)
        env_uv_turn(w.env, 100);
    assert_int_equal(w.client.why.code, ERR_UNAVAILABLE);
    free(bytes);
    buf_fini(&w.server.got);
    env_uv_free(w.env);
    teardown(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_arrive_as_they_were),
        cmocka_unit_test(test_a_paused_reader_gets_nothing_and_loses_nothing),
        cmocka_unit_test(test_what_comes_in_spite_of_a_pause_is_kept),
        cmocka_unit_test(test_a_pause_does_not_stop_the_handshake),
        cmocka_unit_test(test_each_direction_ends_by_itself),
        cmocka_unit_test(test_a_close_is_an_orderly_end),
        cmocka_unit_test(test_a_cut_is_a_failure),
        cmocka_unit_test(test_a_failure_below_is_passed_on),
        cmocka_unit_test(test_an_owner_may_close_in_any_callback),
        cmocka_unit_test(test_who_is_not_welcome_is_told_apart),
        cmocka_unit_test(test_time_is_of_the_env),
        cmocka_unit_test(test_strangers_without_certificate_or_of_old_times),
        cmocka_unit_test(test_garbage_is_no_handshake),
        cmocka_unit_test(test_garbage_after_the_handshake_is_not_delivered),
        cmocka_unit_test(test_silence_has_a_time),
        cmocka_unit_test(test_a_pinned_ca_and_no_certificate),
        cmocka_unit_test(test_an_open_door_takes_no_wrong_certificate),
        cmocka_unit_test(test_a_context_says_what_it_cannot_use),
        cmocka_unit_test(test_back_pressure_over_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
