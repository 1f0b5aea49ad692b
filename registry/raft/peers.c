#include "registry/raft/peers.h"

#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/core/log.h"
#include "base/core/sm.h"
#include "registry/raft/enroll.h"

/* Our connection to a peer.
 *
 *   WAITING ──timer, or it calls us──▶ CONNECTING ──connected──▶ GREETING ──its HELLO──▶ UP
 *      ▲                                   │                        │                     │
 *      └───────────────────────────────────┴────────────────────────┴─────────────────────┘
 */
enum { OUT_WAITING, OUT_CONNECTING, OUT_GREETING, OUT_UP };

static const struct sm_state out_states[] = {
    [OUT_WAITING] = {"waiting", SM(OUT_CONNECTING)},
    [OUT_CONNECTING] = {"connecting", SM(OUT_GREETING) | SM(OUT_WAITING)},
    [OUT_GREETING] = {"greeting", SM(OUT_UP) | SM(OUT_WAITING)},
    [OUT_UP] = {"up", SM(OUT_WAITING)},
};

/* member.id 0: a free place. Peers stay where they are: connections point to them. */
struct peer {
    struct peers *peers;
    struct peer_member member;
    struct sm out_sm;
    struct conn out, in;
    struct env_timer retry;      /* next try, or the end of patience with a greeting */
    wf_ms backoff, heard;        /* heard: 0 = never */
    bool was_up;                 /* since we last said that it is gone */
    bool in_fresh;               /* no frame has come over `in` yet */
    uint64_t complained;         /* hash of the failure that we logged last: each once */
    uint64_t genesis;            /* as it told in its last HELLO; 0 = not */
    struct peer_program program; /* the same; zeroed = not */
};

static bool out_ok(const void *owner)
{
    const struct peer *p = owner;
    return (p->out_sm.now == OUT_WAITING) == !conn_open(&p->out);
}

static const struct sm_table out_table = {"registry.peer", out_states, ARRAY_LEN(out_states),
                                          out_ok};

/* Accepted, and not yet introduced. */
struct guest {
    struct list_node node;
    struct peers *peers;
    struct conn conn;
    struct env_timer timer;
};

/* Connections taken since the beginning of a second. */
struct accepts {
    wf_ms since;
    unsigned count;
};

struct peers {
    struct env *env;
    uint64_t self, cluster, incarnation, genesis;
    struct versions reads;
    unsigned version;
    wf_ms user_timeout, connect_timeout;
    struct peer_tls *tls;
    bool enrolls;
    const struct peers_events *events;
    void *ctx;
    struct peer_member me;
    struct peer peer[RAFT_MEMBERS_MAX];
    struct env_listener *listener;
    struct list guests;
    size_t guest_count;
    struct accepts of_members, of_strangers;
    uint64_t refused;
};

static struct peer *find(const struct peers *p, uint64_t id)
{
    for (size_t i = 0; id && i < RAFT_MEMBERS_MAX; i++)
        if (p->peer[i].member.id == id)
            return (struct peer *)(uintptr_t)&p->peer[i];
    return NULL;
}

static void out_move(struct peer *p, uint8_t to)
{
    sm_move(&out_table, &p->out_sm, to, p);
}

static struct conn_options conn_options(const struct peers *p)
{
    return (struct conn_options){.self = p->self,
                                 .cluster = p->cluster,
                                 .user_timeout = p->user_timeout,
                                 .connect_timeout = p->connect_timeout,
                                 .handshake_timeout = PEER_HELLO_TIMEOUT_MS};
}

static void send_hello(struct peers *p, struct conn *c, enum hello_role role, uint64_t to)
{
    struct buf b = {0};
    hello_encode(&b, &(struct hello){.role = role,
                                     .to = to,
                                     .incarnation = p->incarnation,
                                     .genesis = p->genesis,
                                     .name = slice_of(p->me.name),
                                     .reads = p->reads,
                                     .version = p->version,
                                     .program = S(WEFT_VERSION)});
    struct slice s = buf_slice(&b);
    conn_send(c, FRAME_HELLO, 0, &(struct iovec){(void *)(uintptr_t)s.p, s.n}, 1);
    buf_fini(&b);
}

static bool same_history(const struct peers *p, uint64_t genesis, struct err *err)
{
    return !genesis || !p->genesis || genesis == p->genesis ||
           err_set(err, ERR_FORBIDDEN,
                   "history %016llx, ours is %016llx: a data directory of another cluster",
                   (unsigned long long)genesis, (unsigned long long)p->genesis);
}

/* 0 and err: they must not speak with each other. */
static unsigned common_version(const struct peers *p, const struct hello *h, uint64_t from,
                               struct err *err)
{
    const char *who = find(p, from)->member.name;
    unsigned version = version_agree(p->reads, h->reads, err);
    bool fits = version && version_fits(h->reads, p->version, slice_of(who), err) &&
                version_fits(p->reads, h->version, slice_of(p->me.name), err);
    return fits ? version : 0;
}

static void keep_hello(struct peer *p, const struct hello *h)
{
    if (h->role != HELLO_CONTROL)
        return;
    p->genesis = h->genesis;
    p->program.reads = h->reads;
    slice_cstr(h->program, p->program.release, sizeof(p->program.release));
}

/* To a peer. */

static void out_start(struct peer *p);

static void out_lost(struct peer *p, bool refused)
{
    struct peers *all = p->peers;
    bool was_up = p->out_sm.now == OUT_UP;
    out_move(p, OUT_WAITING);
    /* The first try after a loss is at once: its outcome tells a dead process from a cut. A process
     * that is just dying still listens, and resets us: the next tries come soon. */
    wf_ms spread = p->backoff < PEER_BACKOFF_MIN_MS ? p->backoff : PEER_BACKOFF_MIN_MS;
    wf_ms delay = was_up ? 0 : p->backoff + (wf_ms)env_random_below(all->env, (uint64_t)spread);
    p->backoff =
        was_up ? PEER_BACKOFF_LOST_MS
               : (p->backoff * 2 < PEER_BACKOFF_MAX_MS ? p->backoff * 2 : PEER_BACKOFF_MAX_MS);
    env_timer_start(all->env, &p->retry, delay);
    uint64_t id = p->member.id;
    if (was_up)
        all->events->on_down(all->ctx, id);
    if (p->member.id != id) /* removed by it */
        return;
    if (refused && p->was_up && !conn_open(&p->in)) {
        p->was_up = false;
        all->events->on_gone(all->ctx, id);
    }
}

/* What keeps us from it is said once, not at every try. A dead process is no news. */
static void complain(struct peer *p, const struct err *why)
{
    uint64_t said = hash_bytes(slice_of(why->msg));
    bool quiet = why->code == ERR_UNAVAILABLE || why->code == ERR_TIMEOUT;
    if (quiet || said == p->complained)
        return;
    p->complained = said;
    LOG_WARN("registry.peer.unreachable", F_CSTR("peer", p->member.name), F_ERR(why));
}

static void out_fail(struct peer *p, const struct err *why)
{
    uint64_t said = hash_bytes(slice_of(why->msg));
    if (said != p->complained)
        LOG_WARN("registry.peer.refused", F_CSTR("peer", p->member.name), F_ERR(why));
    p->complained = said;
    conn_close(&p->out);
    out_lost(p, false);
}

static void on_out_connect(void *ctx)
{
    struct peer *p = ctx;
    out_move(p, OUT_GREETING);
    send_hello(p->peers, &p->out, HELLO_CONTROL, p->member.id);
    env_timer_start(p->peers->env, &p->retry, PEER_HELLO_TIMEOUT_MS);
}

static void on_greeting(struct peer *p, const struct frame *f)
{
    struct hello h;
    struct err err = {0};
    if (f->type == FRAME_REFUSE) {
        err_set(&err, ERR_FORBIDDEN, "it says: %.*s", SLICE(f->payload));
        out_fail(p, &err);
        return;
    }
    if (f->type != FRAME_HELLO || !hello_decode(f->payload, &h, &err) || h.to != p->peers->self ||
        f->from != p->member.id) {
        err_set(&err, ERR_INVALID, "node %llu answers at the address of node %llu",
                (unsigned long long)f->from, (unsigned long long)p->member.id);
        out_fail(p, &err);
        return;
    }
    unsigned version = common_version(p->peers, &h, f->from, &err);
    keep_hello(p, &h);
    if (!version || !same_history(p->peers, h.genesis, &err)) {
        out_fail(p, &err);
        return;
    }
    conn_set_version(&p->out, version);
    env_timer_stop(p->peers->env, &p->retry);
    out_move(p, OUT_UP);
    p->backoff = PEER_BACKOFF_MIN_MS;
    p->was_up = true;
    p->complained = 0;
    p->heard = env_now(p->peers->env);
    LOG_INFO("registry.peer.up", F_CSTR("peer", p->member.name), F_U64("id", p->member.id));
    p->peers->events->on_up(p->peers->ctx, p->member.id);
}

static void on_out_frame(void *ctx, const struct frame *f)
{
    struct peer *p = ctx;
    if (p->out_sm.now == OUT_GREETING) {
        on_greeting(p, f);
        return;
    }
    struct err err = {0};
    err_set(&err, ERR_INVALID, "frame of type %d on our own connection", f->type);
    out_fail(p, &err);
}

static void on_out_close(void *ctx, const struct err *why)
{
    struct peer *p = ctx;
    bool refused = p->out_sm.now == OUT_CONNECTING && why->code == ERR_UNAVAILABLE;
    if (p->out_sm.now == OUT_UP)
        LOG_WARN("registry.peer.down", F_CSTR("peer", p->member.name), F_ERR(why));
    else
        complain(p, why);
    out_lost(p, refused);
}

static const struct conn_events out_events = {
    .on_connect = on_out_connect, .on_frame = on_out_frame, .on_close = on_out_close};

static void out_start(struct peer *p)
{
    struct conn_options opt = conn_options(p->peers);
    opt.tls = p->peers->tls;
    opt.peer = p->member.id;
    opt.peer_name = slice_of(p->member.name);
    env_timer_stop(p->peers->env, &p->retry);
    conn_connect(&p->out, p->peers->env, &p->member.addr, &opt, &out_events, p);
    out_move(p, OUT_CONNECTING);
}

static void on_retry(struct env_timer *t)
{
    struct peer *p = container_of(t, struct peer, retry);
    if (p->out_sm.now == OUT_WAITING) {
        out_start(p);
        return;
    }
    struct err err = {0};
    err_set(&err, ERR_TIMEOUT, "no answer to our greeting");
    out_fail(p, &err);
}

/* From a peer. */

static void on_in_frame(void *ctx, const struct frame *f)
{
    struct peer *p = ctx;
    p->heard = env_now(p->peers->env);
    if (f->type == FRAME_REFUSE && f->from == p->member.id) {
        LOG_WARN("registry.peer.farewell", F_CSTR("peer", p->member.name),
                 F_STR("says", f->payload));
        conn_close(&p->in);
        return;
    }
    if (f->from != p->member.id || f->type < FRAME_APPEND || f->type >= FRAME_BULK_GET) {
        LOG_WARN("registry.peer.protocol", F_CSTR("peer", p->member.name), F_U64("from", f->from),
                 F_I64("type", f->type));
        conn_close(&p->in);
        return;
    }
    struct peers *all = p->peers;
    if (p->in_fresh) {
        p->in_fresh = false;
        all->events->on_heard(all->ctx, p->member.id);
    }
    all->events->on_frame(all->ctx, p->member.id, f);
}

/* Try our own connection now: if its process is gone, it is refused at once. */
static void on_in_close(void *ctx, const struct err *why)
{
    struct peer *p = ctx;
    LOG_DEBUG("registry.peer.in_closed", F_CSTR("peer", p->member.name), F_ERR(why));
    if (p->out_sm.now == OUT_WAITING)
        out_start(p);
}

static const struct conn_events in_events = {.on_frame = on_in_frame, .on_close = on_in_close};

/* Guests. */

static void guest_free(struct guest *g)
{
    env_timer_stop(g->peers->env, &g->timer);
    list_remove(&g->node);
    g->peers->guest_count--;
    mem_free(g);
}

static void guest_cut(struct guest *g)
{
    conn_close(&g->conn);
    guest_free(g);
}

static void guest_refuse(struct guest *g, const struct err *why)
{
    struct slice text = slice_of(why->msg);
    g->peers->refused++;
    LOG_WARN("registry.peer.guest_refused", F_ERR(why));
    conn_send(&g->conn, FRAME_REFUSE, 0, &(struct iovec){(void *)(uintptr_t)text.p, text.n}, 1);
    conn_close_after_write(&g->conn);
    guest_free(g);
}

/* A guest's certificate, in the handshake. */
static bool is_member(void *arg, struct slice uri, struct err *err)
{
    struct peers *p = arg;
    uint64_t id = 0;
    if (!peer_tls_node(p->tls, uri, &id, err))
        return false;
    return find(p, id) ||
           err_set(err, ERR_UNAUTHENTICATED, "node %llu is no member", (unsigned long long)id);
}

static bool certificate_fits(struct peers *p, const struct conn *c, uint64_t from, struct err *err)
{
    if (!p->tls)
        return true;
    uint64_t id = peer_tls_stream_node(p->tls, c->stream);
    if (!id) /* an anonymous one; asks_to_enroll was not what it did */
        return err_set(err, ERR_UNAUTHENTICATED, "it shows no certificate");
    return id == from ||
           err_set(err, ERR_UNAUTHENTICATED,
                   "node %llu says that it is node %llu: the certificate is another's",
                   (unsigned long long)id, (unsigned long long)from);
}

static bool hello_fits(struct peers *p, const struct frame *f, struct hello *h, struct err *err)
{
    if (f->type != FRAME_HELLO)
        return err_set(err, ERR_INVALID, "frame of type %d before the greeting", f->type);
    if (!hello_decode(f->payload, h, err))
        return false;
    if (h->to != p->self)
        return err_set(err, ERR_INVALID, "this is node %llu, not %llu: the members differ",
                       (unsigned long long)p->self, (unsigned long long)h->to);
    if (!find(p, f->from))
        return err_set(err, ERR_FORBIDDEN, "node %llu is no member", (unsigned long long)f->from);
    return same_history(p, h->genesis, err);
}

static void admit_control(struct peers *all, struct peer *p, struct env_stream *s, unsigned version)
{
    struct conn_options opt = conn_options(all);
    opt.version = version;
    conn_close(&p->in);
    conn_adopt(&p->in, all->env, s, &opt, &in_events, p);
    send_hello(all, &p->in, HELLO_CONTROL, p->member.id);
    p->heard = env_now(all->env);
    p->in_fresh = true;
    if (p->out_sm.now == OUT_WAITING)
        out_start(p);
}

/* Nobody knows who it is: all that it may say is said here. */
static bool asks_to_enroll(const struct guest *g, const struct frame *f)
{
    return g->peers->enrolls && f->type == FRAME_ENROLL && f->from == ENROLL_NOBODY &&
           !tls_peer_uri(g->conn.stream).n;
}

/* The payload stays until the callback of the connection returns. */
static struct env_stream *guest_detach(struct guest *g)
{
    struct env_stream *s = g->conn.stream;
    env_stream_set_events(s, NULL, NULL);
    g->conn.stream = NULL;
    conn_close(&g->conn);
    guest_free(g);
    return s;
}

/* Another program than the one that our own connection found: the guest may come from a process
 * that is gone, or the connection lead to one. Whoever answers us now knows. */
static bool contradicts(const struct peer *p, const struct hello *h)
{
    return h->role == HELLO_CONTROL && p->out_sm.now == OUT_UP &&
           (h->reads.oldest != p->program.reads.oldest ||
            h->reads.newest != p->program.reads.newest);
}

static void out_ask_again(struct peer *p)
{
    LOG_INFO("registry.peer.asked_again", F_CSTR("peer", p->member.name));
    conn_close(&p->out);
    out_lost(p, false);
}

static void on_guest_frame(void *ctx, const struct frame *f)
{
    struct guest *g = ctx;
    struct peers *p = g->peers;
    struct hello h;
    struct err err = {0};
    struct peer *from = NULL;
    unsigned version = 0;
    bool doubt = false;
    if (asks_to_enroll(g, f)) {
        p->events->on_enroll(p->ctx, f->payload, guest_detach(g));
        return;
    }
    if (hello_fits(p, f, &h, &err) && certificate_fits(p, &g->conn, f->from, &err)) {
        from = find(p, f->from);
        doubt = contradicts(from, &h);
        keep_hello(from, &h);
        version = common_version(p, &h, f->from, &err);
    }
    /* The peer waits for our greeting before it sends more: nothing is lost in the buffer. */
    if (!version) {
        guest_refuse(g, &err);
    } else if (h.role == HELLO_BULK) {
        send_hello(p, &g->conn, HELLO_BULK, from->member.id);
        p->events->on_bulk(p->ctx, from->member.id, guest_detach(g), version);
    } else {
        admit_control(p, from, guest_detach(g), version);
    }
    if (doubt)
        out_ask_again(from);
}

static void on_guest_close(void *ctx, const struct err *why)
{
    struct guest *g = ctx;
    LOG_WARN("registry.peer.guest_lost", F_ERR(why));
    g->peers->refused++;
    guest_free(g);
}

static void on_guest_timer(struct env_timer *t)
{
    struct guest *g = container_of(t, struct guest, timer);
    g->peers->refused++;
    guest_cut(g);
}

static const struct conn_events guest_events = {.on_frame = on_guest_frame,
                                                .on_close = on_guest_close};

static bool same_host(const struct env_addr *a, const struct env_addr *b)
{
    struct env_addr x = *a, y = *b;
    env_addr_set_port(&x, 0);
    env_addr_set_port(&y, 0);
    return env_addr_equal(&x, &y);
}

/* Whoever calls all the time gets nothing but the end, and takes nothing from the members. */
static bool too_often(struct peers *p, const struct env_addr *from)
{
    struct accepts *a = &p->of_strangers;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (p->peer[i].member.id && same_host(from, &p->peer[i].member.addr))
            a = &p->of_members;
    wf_ms now = env_now(p->env);
    if (a->count == 0 || now - a->since >= 1000)
        *a = (struct accepts){.since = now};
    return a->count++ >= PEER_ACCEPTS_PER_SECOND_MAX;
}

static void on_accept(void *ctx, struct env_stream *s)
{
    struct peers *p = ctx;
    struct conn_options opt = conn_options(p);
    if (too_often(p, env_stream_peer(s))) {
        char from[ENV_ADDR_TEXT];
        p->refused++;
        LOG_WARN("registry.peer.too_often",
                 F_STR("from", env_addr_format(env_stream_peer(s), from)));
        env_stream_close(s);
        return;
    }
    opt.payload_max = PEER_GREETING_BYTES_MAX;
    if (p->guest_count == PEER_HALF_OPEN_MAX) {
        struct guest *oldest = container_of(list_first(&p->guests), struct guest, node);
        p->refused++;
        guest_cut(oldest);
    }
    struct guest *g = MEM_NEW(struct guest);
    g->peers = p;
    g->timer.fn = on_guest_timer;
    list_push(&p->guests, &g->node);
    p->guest_count++;
    if (p->tls)
        s = tls_over(p->env, s, TLS_SERVER,
                     &(struct tls_options){.ctx = peer_tls_ctx(p->tls),
                                           .handshake_timeout = PEER_HELLO_TIMEOUT_MS,
                                           .verify = is_member,
                                           .arg = p,
                                           .anonymous = p->enrolls});
    conn_adopt(&g->conn, p->env, s, &opt, &guest_events, g);
    env_timer_start(p->env, &g->timer, PEER_HELLO_TIMEOUT_MS);
}

void peers_set_genesis(struct peers *p, uint64_t genesis)
{
    p->genesis = genesis;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        struct peer *peer = &p->peer[i];
        struct err err = {0};
        if (!peer->member.id || same_history(p, peer->genesis, &err))
            continue;
        conn_close(&peer->in);
        if (peer->out_sm.now != OUT_WAITING)
            out_fail(peer, &err);
    }
}

void peers_set_version(struct peers *p, unsigned version)
{
    p->version = version;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        struct peer *peer = &p->peer[i];
        struct err err = {0};
        if (!peer->member.id || !peer->program.reads.newest ||
            version_fits(peer->program.reads, version, slice_of(peer->member.name), &err))
            continue;
        conn_close(&peer->in);
        if (peer->out_sm.now != OUT_WAITING)
            out_fail(peer, &err);
    }
}

const struct peer_program *peers_program(const struct peers *p, uint64_t id)
{
    const struct peer *peer = find(p, id);
    return peer && peer->program.reads.newest ? &peer->program : NULL;
}

/* Membership. */

static const struct peer_member *listed(const struct peer_member *members, size_t n, uint64_t id)
{
    for (size_t i = 0; i < n; i++)
        if (members[i].id == id)
            return &members[i];
    return NULL;
}

static struct peer *peer_add(struct peers *p, const struct peer_member *m)
{
    size_t i = 0;
    while (i < RAFT_MEMBERS_MAX && p->peer[i].member.id)
        i++;
    wf_assert(i < RAFT_MEMBERS_MAX && m->id);
    p->peer[i] = (struct peer){
        .peers = p, .member = *m, .backoff = PEER_BACKOFF_MIN_MS, .retry.fn = on_retry};
    return &p->peer[i];
}

/* It cannot know otherwise: the change that takes it out is not sent to it (Raft §6). */
static void say_farewell(struct peer *peer)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "node %llu is no member any more",
                     (unsigned long long)peer->member.id);
    conn_send(&peer->out, FRAME_REFUSE, 0, &(struct iovec){text, (size_t)n}, 1);
    conn_close_after_write(&peer->out);
}

/* Whose certificate was looked at while it was a member's, and who has not greeted yet. */
static void guests_cut(struct peers *p, uint64_t id)
{
    LIST_EACH (&p->guests, n) {
        struct guest *g = container_of(n, struct guest, node);
        if (p->tls && peer_tls_stream_node(p->tls, g->conn.stream) == id) {
            p->refused++;
            guest_cut(g);
        }
    }
}

static void peer_remove(struct peer *peer, bool self_stays)
{
    struct peers *p = peer->peers;
    uint64_t id = peer->member.id;
    bool was_up = peer->out_sm.now == OUT_UP;
    LOG_INFO("registry.peer.removed", F_CSTR("peer", peer->member.name), F_U64("id", id));
    env_timer_stop(p->env, &peer->retry);
    if (was_up && self_stays)
        say_farewell(peer);
    conn_close(&peer->out);
    conn_close(&peer->in);
    guests_cut(p, id);
    *peer = (struct peer){0};
    if (was_up)
        p->events->on_down(p->ctx, id);
}

void peers_set_members(struct peers *p, const struct peer_member *members, size_t n)
{
    wf_assert(n <= RAFT_MEMBERS_MAX);
    bool self = listed(members, n, p->self) != NULL;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        struct peer *peer = &p->peer[i];
        const struct peer_member *m = listed(members, n, peer->member.id);
        if (peer->member.id && (!self || !m))
            peer_remove(peer, self);
        else if (peer->member.id)
            peer->member = *m; /* another address holds from the next connection on */
    }
    for (size_t i = 0; self && i < n; i++)
        if (members[i].id != p->self && !find(p, members[i].id))
            out_start(peer_add(p, &members[i]));
}

/* Life. */

static bool members_load(struct peers *p, const struct peers_options *opt, struct err *err)
{
    const struct peer_member *me = listed(opt->members, opt->member_count, p->self);
    if (!me)
        return err_set(err, ERR_INVALID, "node %llu is not one of the members",
                       (unsigned long long)p->self);
    p->me = *me;
    for (size_t i = 0; i < opt->member_count; i++)
        if (opt->members[i].id != p->self)
            peer_add(p, &opt->members[i]);
    return true;
}

struct peers *peers_open(const struct peers_options *opt, struct err *err)
{
    wf_assert(opt->member_count <= RAFT_MEMBERS_MAX);
    struct peers *p = MEM_NEW(struct peers);
    p->env = opt->env;
    p->self = opt->self;
    p->cluster = opt->cluster;
    p->incarnation = opt->incarnation;
    p->genesis = opt->genesis;
    p->reads = versions_or_all(opt->reads);
    p->version = opt->version;
    p->user_timeout = opt->user_timeout;
    p->connect_timeout = opt->connect_timeout ? opt->connect_timeout : PEER_HELLO_TIMEOUT_MS;
    p->tls = opt->tls;
    p->enrolls = opt->tls && opt->enrolls;
    p->events = opt->events;
    p->ctx = opt->ctx;
    list_init(&p->guests);
    if (members_load(p, opt, err))
        p->listener =
            env_listen(p->env, &p->me.addr, &(struct env_listen_options){0}, on_accept, p, err);
    if (!p->listener) {
        mem_free(p);
        return NULL;
    }
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (p->peer[i].member.id)
            out_start(&p->peer[i]);
    return p;
}

void peers_close(struct peers *p)
{
    struct list_node *n;
    if (!p)
        return;
    env_listener_close(p->listener);
    while ((n = list_first(&p->guests)))
        guest_cut(container_of(n, struct guest, node));
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        env_timer_stop(p->env, &p->peer[i].retry);
        conn_close(&p->peer[i].out);
        conn_close(&p->peer[i].in);
    }
    mem_free(p);
}

bool peers_send(struct peers *p, uint64_t to, enum frame_type type, uint64_t term,
                const struct iovec *payload, int n)
{
    struct peer *peer = find(p, to);
    size_t bytes = FRAME_HEAD_BYTES;
    if (!peer || peer->out_sm.now != OUT_UP)
        return false;
    for (int i = 0; i < n; i++)
        bytes += payload[i].iov_len;
    size_t queued = conn_queued(&peer->out);
    if (queued > 0 && queued + bytes > PEER_QUEUED_BYTES_MAX)
        return false;
    conn_send(&peer->out, type, term, payload, n);
    return true;
}

bool peers_connected(const struct peers *p, uint64_t id)
{
    const struct peer *peer = find(p, id);
    return peer && peer->out_sm.now == OUT_UP && conn_open(&peer->in);
}

wf_ms peers_last_contact(const struct peers *p, uint64_t id)
{
    const struct peer *peer = find(p, id);
    return peer && peer->heard ? env_now(p->env) - peer->heard : -1;
}

uint64_t peers_refused(const struct peers *p)
{
    return p->refused;
}

size_t peers_queued(const struct peers *p, uint64_t id)
{
    const struct peer *peer = find(p, id);
    return peer ? conn_queued(&peer->out) : 0;
}

const struct env_addr *peers_member_addr(const struct peers *p, uint64_t id)
{
    const struct peer *peer = find(p, id);
    return id == p->self ? &p->me.addr : peer ? &peer->member.addr : NULL;
}
