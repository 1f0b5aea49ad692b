/* weft-peer-noise: a member with a valid certificate sends a registry node what no node should.
 *
 *   weft-peer-noise --frames 1000000 [--seed N]
 *
 * A real node of a cluster of three runs in this process; the program is node 2: TLS handshake,
 * greeting, then frames: random ones, touched ones, such as no head may have. The node must go on
 * answering, keep its memory, and end in order. What Raft would believe (an append whose bytes
 * happen to be right) is not sent: a member that lies well is another matter.
 *
 * Prints the counts and the seed; status 0 when the node answered to the end. */
#include <getopt.h>
#include <sys/resource.h>

#include "base/core/args.h"
#include "base/core/log.h"
#include "registry/node_test_util.h"
#include "registry/raft/conn.h"
#include "registry/raft/message.h"
#include "registry/raft/peer_tls_testing.h"

#define NODE_CLUSTER 77u
#define BURST_FRAMES 256
#define BURST_BYTES (1u << 20)
#define ANSWER_MS 20000
#define SEEDS 6
#define SOURCES (SEEDS + 2)

struct noise {
    struct env *env;
    struct peer_tls *tls;
    struct cluster c;
    struct conn out, in; /* to the node; of the node */
    bool ready;          /* it has greeted us */
    uint64_t state;      /* of the random numbers */
    uint64_t asked, answered;
    uint64_t frames, refused, connections, answers;
    struct buf seed[SEEDS]; /* payloads that are right, and their types */
    enum frame_type seed_type[SEEDS];
};

static uint64_t below(struct noise *x, uint64_t n)
{
    x->state += 0x9E3779B97F4A7C15u;
    return hash_u64(x->state) % n;
}

/* What is right. */

static void seed_add(struct noise *x, size_t i, const struct raft_message *m)
{
    struct message_out out;
    message_encode(&out, m);
    x->seed_type[i] = out.type;
    for (int p = 0; p < out.piece_count; p++)
        buf_append(&x->seed[i], slice_mem(out.pieces[p].iov_base, out.pieces[p].iov_len));
    message_out_fini(&out);
}

static void seeds_make(struct noise *x)
{
    struct raft_entry es[2] = {{.term = 4, .type = RAFT_COMMAND, .buf = {"abcdefgh", 8}},
                               {.term = 5, .type = RAFT_BARRIER, .buf = {"ijklmnopqrstuvwx", 16}}};
    struct raft_message install = {
        .type = RAFT_IO_INSTALL_SNAPSHOT,
        .install_snapshot = {.term = 5, .last_index = 9, .last_term = 5, .data = {"manifest", 8}}};
    raft_configuration_init(&install.install_snapshot.conf);
    raft_configuration_add(&install.install_snapshot.conf, 2, "127.0.0.1:1", RAFT_VOTER);
    seed_add(x, 0,
             &(struct raft_message){.type = RAFT_IO_APPEND_ENTRIES,
                                    .append_entries = {5, 10, 4, 9, es, 2}});
    seed_add(x, 1,
             &(struct raft_message){.type = RAFT_IO_APPEND_ENTRIES_RESULT,
                                    .append_entries_result = {5, 0, 77}});
    seed_add(x, 2,
             &(struct raft_message){.type = RAFT_IO_REQUEST_VOTE,
                                    .request_vote = {5, 2, 77, 4, false, true}});
    seed_add(x, 3, &(struct raft_message){.type = RAFT_IO_REQUEST_VOTE_RESULT});
    seed_add(x, 4, &(struct raft_message){.type = RAFT_IO_TIMEOUT_NOW, .timeout_now = {5, 77, 4}});
    seed_add(x, 5, &install);
    raft_configuration_close(&install.install_snapshot.conf);
}

/* What is wrong. */

static void random_payload(struct noise *x, struct buf *out)
{
    static const size_t sizes[] = {0, 8, 16, 40, 300, 300, 300, 60000};
    size_t n = below(x, sizes[below(x, ARRAY_LEN(sizes))] + 1);
    char *p = buf_reserve(out, n + 8);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = below(x, UINT64_MAX) >> (below(x, 8) * 8);
        memcpy(p + i, &v, 8);
    }
    buf_commit(out, n);
}

static void touched_payload(struct noise *x, const struct buf *seed, struct buf *out)
{
    buf_append(out, buf_slice(seed));
    if (below(x, 4) == 0)
        out->n -= below(x, out->n + 1);
    if (below(x, 4) == 0)
        random_payload(x, out);
    for (uint64_t i = below(x, 4); out->n && i > 0; i--)
        out->p[out->at + below(x, out->n)] ^= (char)(1 << below(x, 8));
}

static bool is_raft(enum frame_type type)
{
    return type >= FRAME_APPEND && type <= FRAME_TIMEOUT_NOW;
}

/* Would libraft get to see it? */
static bool believed(const struct frame *f)
{
    struct raft_message m = {0};
    if (!is_raft(f->type) || !message_decode(f, &m, NULL))
        return false;
    message_free(&m);
    return true;
}

static enum frame_type random_type(struct noise *x)
{
    static const enum frame_type types[] = {
        FRAME_APPEND,     FRAME_APPEND_RESULT,     FRAME_VOTE,        FRAME_VOTE_RESULT,
        FRAME_INSTALL,    FRAME_TIMEOUT_NOW,       FRAME_READ_PING,   FRAME_READ_PONG,
        FRAME_READ_INDEX, FRAME_READ_INDEX_RESULT, FRAME_FORWARD,     FRAME_FORWARD_REFUSED,
        FRAME_CHANNEL,    FRAME_JOIN_ASK,          FRAME_LEASE_RENEW, FRAME_LEASE_RENEWED,
    };
    return types[below(x, ARRAY_LEN(types))];
}

/* A head that ends the connection. */
static void spoil(struct noise *x, char head[FRAME_HEAD_BYTES])
{
    size_t at = below(x, FRAME_HEAD_BYTES);
    if (at >= 4 && at < 8)
        head[7] = 0x7f; /* a length beyond all bounds; one within them would only be waited for */
    else
        head[at] ^= (char)(1 << below(x, 8));
}

/* false: nothing more is heard on this connection. */
static bool send_one(struct noise *x)
{
    char head[FRAME_HEAD_BYTES];
    struct buf payload = {0};
    uint64_t source = below(x, SOURCES);
    enum frame_type type = source < SEEDS ? x->seed_type[source] : random_type(x);
    bool ends = below(x, 500) == 0;
    do {
        buf_clear(&payload);
        if (source < SEEDS)
            touched_payload(x, &x->seed[source], &payload);
        else
            random_payload(x, &payload);
    } while (believed(&(struct frame){.type = type, .payload = buf_slice(&payload)}));
    struct slice s = buf_slice(&payload);
    struct iovec iov[] = {{head, sizeof(head)}, {(void *)(uintptr_t)s.p, s.n}};
    frame_encode_head(head,
                      &(struct frame){.type = type,
                                      .version = VERSION_NEWEST,
                                      .cluster = NODE_CLUSTER,
                                      .from = 2,
                                      .term = below(x, 8)},
                      iov + 1, 1);
    if (ends)
        spoil(x, head);
    env_stream_write(x->out.stream, iov, 2);
    buf_fini(&payload);
    x->frames++;
    x->refused += ends;
    return !ends;
}

/* Connections. */

static void say_hello(struct conn *c)
{
    struct buf b = {0};
    hello_encode(&b, &(struct hello){.role = HELLO_CONTROL,
                                     .to = 1,
                                     .name = S("n2"),
                                     .reads = {VERSION_OLDEST, VERSION_NEWEST}});
    struct slice s = buf_slice(&b);
    conn_send(c, FRAME_HELLO, 0, &(struct iovec){(void *)(uintptr_t)s.p, s.n}, 1);
    buf_fini(&b);
}

static void on_connect(void *ctx)
{
    say_hello(&((struct noise *)ctx)->out);
}

static void on_out_frame(void *ctx, const struct frame *f)
{
    if (f->type != FRAME_HELLO)
        wf_die("greeted with a frame of type %d", f->type);
    conn_set_version(&((struct noise *)ctx)->out, VERSION_NEWEST);
    ((struct noise *)ctx)->ready = true;
}

static void on_out_close(void *ctx, const struct err *why)
{
    struct noise *x = ctx;
    (void)why;
    x->ready = false;
}

static void on_in_frame(void *ctx, const struct frame *f)
{
    struct noise *x = ctx;
    struct reader r = reader_of(f->payload);
    if (f->type == FRAME_HELLO) {
        say_hello(&x->in);
        conn_set_version(&x->in, VERSION_NEWEST);
    }
    if (f->type != FRAME_READ_INDEX_RESULT)
        return;
    x->answered = reader_u64le(&r);
}

static void on_in_close(void *ctx, const struct err *why)
{
    (void)ctx;
    (void)why;
}

static const struct conn_events out_events = {
    .on_connect = on_connect, .on_frame = on_out_frame, .on_close = on_out_close};
static const struct conn_events in_events = {.on_frame = on_in_frame, .on_close = on_in_close};

static struct conn_options options(struct noise *x)
{
    return (struct conn_options){.self = 2, .cluster = NODE_CLUSTER, .tls = x->tls, .peer = 1};
}

static void on_accept(void *ctx, struct env_stream *s)
{
    struct noise *x = ctx;
    struct conn_options opt = options(x);
    conn_close(&x->in);
    s = tls_over(x->env, s, TLS_SERVER, &(struct tls_options){.ctx = peer_tls_ctx(x->tls)});
    conn_adopt(&x->in, x->env, s, &opt, &in_events, x);
}

#define UNTIL(x, cond)                                                                             \
    do {                                                                                           \
        uint64_t until_ = test_now_ms() + ANSWER_MS;                                               \
        while (!(cond)) {                                                                          \
            if (test_now_ms() > until_)                                                            \
                wf_die("the node does not answer: %s", #cond);                                     \
            env_uv_turn((x)->env, 20);                                                             \
        }                                                                                          \
    } while (0)

static void be_connected(struct noise *x)
{
    while (!x->ready) {
        struct conn_options opt = options(x);
        if (!conn_open(&x->out)) {
            conn_connect(&x->out, x->env, &x->c.opt.members[0].addr, &opt, &out_events, x);
            x->connections++;
        }
        UNTIL(x, x->ready || !conn_open(&x->out));
    }
}

/* A question with a right answer: all before it was read. Random frames may hold the same number
 * only by a chance of 2^-64. */
static void expect_answer(struct noise *x)
{
    uint64_t id = below(x, UINT64_MAX) | 1;
    be_connected(x);
    conn_send(&x->out, FRAME_READ_INDEX, 0, &(struct iovec){&id, sizeof(id)}, 1);
    UNTIL(x, x->answered == id || !x->ready);
    x->answers += x->answered == id;
}

static void burst(struct noise *x, uint64_t frames)
{
    uint64_t end = x->frames + BURST_FRAMES;
    bool heard = true;
    be_connected(x);
    while (heard && x->frames < frames && x->frames < end && conn_queued(&x->out) < BURST_BYTES)
        heard = send_one(x);
    if (!heard)
        UNTIL(x, !x->ready); /* the node has had enough of us */
    expect_answer(x);
}

static long memory_kb(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static void begin(struct noise *x)
{
    struct tls_test_ca ca;
    struct err err = {0};
    cluster_init(&x->c, 3);
    tls_test_ca_init(&ca, time(NULL));
    for (size_t i = 0; i < 2; i++)
        peer_tls_test_dir(&ca, NODE_CLUSTER, i + 1, time(NULL), x->c.tls[i]);
    tls_test_ca_fini(&ca);
    seeds_make(x);
    x->env = env_uv_new(&err);
    x->tls = peer_tls_open(x->env, x->c.tls[1], &err);
    if (!x->tls || !env_listen(x->env, &x->c.opt.members[1].addr, NULL, on_accept, x, &err))
        wf_die("%s", err.msg);
    must_up(&x->c, 0);
    UNTIL(x, conn_open(&x->in));
    expect_answer(x);
}

static void end(struct noise *x)
{
    cluster_fini(&x->c);
    conn_close(&x->out);
    conn_close(&x->in);
    peer_tls_close(x->tls);
    env_uv_free(x->env);
    for (size_t i = 0; i < SEEDS; i++)
        buf_fini(&x->seed[i]);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"frames", 1, NULL, 'f'}, {"seed", 1, NULL, 's'}, {NULL, 0, NULL, 0}};
    struct noise x = {.state = (uint64_t)time(NULL)};
    uint64_t frames = 100000, seed;
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (opt == 'f')
            frames = args_number("--frames", optarg, 1, UINT32_MAX);
        else if (opt == 's')
            x.state = args_number("--seed", optarg, 0, UINT64_MAX);
        else
            return 64;
    }
    seed = x.state;
    log_set_level(LOG_ERROR_);
    printf("seed %llu\n", (unsigned long long)seed);
    begin(&x);
    for (uint64_t i = 0; i < 20 && x.frames < frames; i++)
        burst(&x, frames);
    long before = memory_kb();
    while (x.frames < frames)
        burst(&x, frames);
    expect_answer(&x);
    printf("%llu frames after a valid handshake, %llu of them ended one of %llu connections; "
           "%llu questions in between were answered; memory grew by %ld KiB\n",
           (unsigned long long)x.frames, (unsigned long long)x.refused,
           (unsigned long long)x.connections, (unsigned long long)x.answers, memory_kb() - before);
    end(&x);
    return 0;
}
