/* A node that holds a join token and no certificate: what a member with the CA's key does for it.
 *
 *   NEW ─┬─token not known here─▶ CATCHING_UP (read index) ──▶ SIGNING
 *        └─token is good──────────────────────────────────────▶ SIGNING (helper thread)
 *   SIGNING ──certificate──▶ USING (through the log: the token is this key's from now on)
 *           ──▶ ADDING (as a standby) ──▶ NOTING (in the token, through the log) ──▶ OVER: answer
 *   From each: OVER, with a refusal.
 *
 * The id is drawn here: who joins cannot ask for that of another. The certificate leaves only when
 * all of it is committed. Who asks again with the same key, because the answer was lost, gets the
 * same id as long as that has no vote, and another when it never became a member. Who did, and was
 * removed, is not let in by that token again: NOTING is before the certificate leaves.
 */
#include <string.h>

#include <openssl/evp.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/core/sm.h"
#include "registry/cluster_ca.h"
#include "registry/join_kept.h"
#include "registry/node_impl.h"
#include "registry/raft/enroll.h"

#define TAKEN                                                                                      \
    "this join token was used or revoked just now: make another (weft operator token create)"

static_assert(ENROLL_SECRET_BYTES == JOIN_SECRET_BYTES, "it is the token's");

enum {
    ENROL_NEW,
    ENROL_CATCHING_UP,
    ENROL_SIGNING,
    ENROL_USING,
    ENROL_ADDING,
    ENROL_NOTING,
    ENROL_OVER
};

static const struct sm_state enrol_states[] = {
    [ENROL_NEW] = {"new", SM(ENROL_CATCHING_UP) | SM(ENROL_SIGNING) | SM(ENROL_OVER)},
    [ENROL_CATCHING_UP] = {"catching_up", SM(ENROL_SIGNING) | SM(ENROL_OVER)},
    [ENROL_SIGNING] = {"signing", SM(ENROL_USING) | SM(ENROL_ADDING) | SM(ENROL_OVER)},
    [ENROL_USING] = {"using", SM(ENROL_ADDING) | SM(ENROL_OVER)},
    [ENROL_ADDING] = {"adding", SM(ENROL_NOTING) | SM(ENROL_OVER)},
    [ENROL_NOTING] = {"noting", SM(ENROL_OVER)},
    [ENROL_OVER] = {"over", 0},
};

struct enrol {
    struct list_node node;
    struct reg_node *owner; /* NULL: it stopped meanwhile */
    struct conn conn;       /* closed: who asked is gone */
    struct env_timer timer;
    struct sm sm;
    struct enroll_ask ask;
    struct buf csr, cert, ca, value;
    struct join_kept kept;
    uint8_t key_hash[JOIN_KEY_HASH_BYTES];
    bool again; /* the token is this key's already, and the id a member's */
    struct cluster_ca_node subject;
    struct env *env;
    char *ca_dir;
    struct env_work work;
    struct err work_err;
    struct reg_op op;
    struct reg_grant grant;
    struct reg_write write;
    struct reg_member_change change;
};

static bool enrol_ok(const void *owner)
{
    const struct enrol *e = owner;
    return e->sm.now != ENROL_USING || e->cert.n > 0;
}

static const struct sm_table enrol_table = {"registry.enrol", enrol_states, ARRAY_LEN(enrol_states),
                                            enrol_ok};

static void move(struct enrol *e, uint8_t to)
{
    sm_move(&enrol_table, &e->sm, to, e);
}

/* The end. */

static void enrol_free(struct enrol *e)
{
    env_timer_stop(e->env, &e->timer);
    conn_close(&e->conn);
    if (e->owner) {
        list_remove(&e->node);
        e->owner->enrol_count--;
    }
    buf_fini(&e->csr);
    buf_fini(&e->cert);
    buf_fini(&e->ca);
    buf_fini(&e->value);
    mem_free(e->ca_dir);
    mem_free(e);
}

static void answer(struct conn *c, const struct buf *payload)
{
    conn_send(c, FRAME_ENROLLED, 0, &(struct iovec){payload->p, payload->n}, 1);
    conn_close_after_write(c);
}

static void answer_refusal(struct reg_node *n, struct conn *c, const struct err *why)
{
    struct buf b = {0};
    n->enrols_refused++;
    LOG_WARN("registry.enroll.refused", F_ERR(why));
    enroll_refusal_encode(&b, why);
    answer(c, &b);
    buf_fini(&b);
}

static void refuse(struct enrol *e, const struct err *why)
{
    move(e, ENROL_OVER);
    if (e->owner)
        answer_refusal(e->owner, &e->conn, why);
    enrol_free(e);
}

static void refuse_as(struct enrol *e, enum err_code code, const char *text)
{
    struct err err = {0};
    err_set(&err, code, "%s", text);
    refuse(e, &err);
}

/* What it was told by whom it is called may not be committed here yet. */
static void answer_add(struct enroll_answer *a, const struct peer_member *m)
{
    for (size_t i = 0; i < a->member_count; i++)
        if (a->members[i].id == m->id)
            return;
    if (a->member_count < REG_NODES_MAX)
        a->members[a->member_count++] = *m;
}

static void welcome(struct enrol *e)
{
    struct reg_node *n = e->owner;
    struct buf b = {0};
    struct enroll_answer a = {.id = e->subject.id,
                              .version = reg_store_version(n->store),
                              .cert = buf_slice(&e->cert),
                              .ca = buf_slice(&e->ca)};
    struct peer_member self = e->ask.member;
    self.id = e->subject.id;
    answer_add(&a, &self);
    for (size_t i = 0; i < n->opt.member_count; i++) {
        struct peer_member m = {.id = n->opt.members[i].id, .addr = n->opt.members[i].addr};
        memcpy(m.name, n->opt.members[i].name, sizeof(m.name));
        answer_add(&a, &m);
    }
    move(e, ENROL_OVER);
    LOG_INFO("registry.enroll.added", F_CSTR("name", self.name), F_U64("id", self.id));
    enroll_answer_encode(&b, &a);
    answer(&e->conn, &b);
    buf_fini(&b);
    enrol_free(e);
}

/* Writing to the token: it is as it was read, or somebody else was faster. */

static void token_write(struct enrol *e, void (*fn)(struct reg_write *w))
{
    e->op = (struct reg_op){.key = slice_of(e->kept.key),
                            .value = buf_slice(&e->value),
                            .expect = REG_EXPECT_REV,
                            .expected = e->kept.mod_rev,
                            .grant = &e->grant};
    e->write = (struct reg_write){
        .ops = &e->op, .op_count = 1, .origin = S("join token"), .env = e->env, .fn = fn};
    reg_write(e->owner, &e->write);
}

/* Noting. */

static bool token_is_gone(const struct err *err)
{
    return err->code == ERR_CONFLICT || err->code == ERR_NOT_FOUND;
}

/* A token that was revoked just now lets nobody in a second time either. */
static void on_noted(struct reg_write *w)
{
    struct enrol *e = container_of(w, struct enrol, write);
    if (!e->owner)
        enrol_free(e);
    else if (w->err.code && !token_is_gone(&w->err))
        refuse(e, &w->err);
    else
        welcome(e);
}

static void note(struct enrol *e)
{
    struct reg_txn txn;
    struct err err = {0};
    if (!reg_txn_begin(e->owner->store, &txn, &err)) {
        refuse(e, &err);
        return;
    }
    buf_clear(&e->value);
    bool there = join_kept_find(&txn, e->ask.secret, &e->kept) &&
                 join_kept_note(&txn, &e->kept, &e->grant, &e->value);
    reg_txn_end(&txn);
    move(e, ENROL_NOTING);
    if (there)
        token_write(e, on_noted);
    else
        welcome(e);
}

/* Adding. */

static void on_added(struct reg_member_change *c)
{
    struct enrol *e = container_of(c, struct enrol, change);
    if (!e->owner)
        enrol_free(e);
    else if (c->err.code)
        refuse(e, &c->err);
    else
        note(e);
}

static void add(struct enrol *e)
{
    move(e, ENROL_ADDING);
    e->change =
        (struct reg_member_change){.kind = REG_MEMBER_ADD,
                                   .member = {.id = e->subject.id, .addr = e->ask.member.addr},
                                   .env = e->env,
                                   .fn = on_added};
    memcpy(e->change.member.name, e->ask.member.name, sizeof(e->change.member.name));
    reg_member_change(e->owner, &e->change);
}

/* Using the token. */

static void on_used(struct reg_write *w)
{
    struct enrol *e = container_of(w, struct enrol, write);
    if (!e->owner)
        enrol_free(e);
    else if (token_is_gone(&w->err))
        refuse_as(e, ERR_CONFLICT, TAKEN);
    else if (w->err.code)
        refuse(e, &w->err);
    else
        add(e);
}

static void use(struct enrol *e)
{
    struct reg_txn txn;
    struct err err = {0};
    if (!reg_txn_begin(e->owner->store, &txn, &err)) {
        refuse(e, &err);
        return;
    }
    bool there = join_kept_use(&txn, &e->kept, e->subject.id, e->key_hash, &e->grant, &e->value);
    reg_txn_end(&txn);
    if (!there) {
        refuse_as(e, ERR_CONFLICT, TAKEN);
        return;
    }
    move(e, ENROL_USING);
    token_write(e, on_used);
}

/* Signing: reads files, so it is a helper thread's. */

static void sign_work(struct env_work *w)
{
    struct enrol *e = container_of(w, struct enrol, work);
    struct cluster_ca ca = {0};
    if (cluster_ca_load(&ca, e->env, e->ca_dir, &e->work_err) &&
        cluster_ca_sign(&ca, buf_slice(&e->csr), &e->subject, &e->cert, &e->work_err))
        buf_append(&e->ca, buf_slice(&ca.cert));
    cluster_ca_fini(&ca);
}

static void sign_done(struct env_work *w)
{
    struct enrol *e = container_of(w, struct enrol, work);
    if (!e->owner)
        enrol_free(e);
    else if (e->work_err.code)
        refuse(e, &e->work_err);
    else if (e->again)
        add(e);
    else
        use(e);
}

static void sign(struct enrol *e)
{
    move(e, ENROL_SIGNING);
    e->subject.name = slice_of(e->ask.member.name);
    e->subject.now = env_wall_ms(e->env) / 1000;
    e->subject.days = CLUSTER_CA_NODE_DAYS_DEFAULT;
    e->work = (struct env_work){.work = sign_work, .done = sign_done};
    env_work(e->env, &e->work);
}

/* Judging. */

static bool key_hash(struct enrol *e, struct err *err)
{
    struct buf public = {0};
    unsigned n = 0;
    if (!x509_csr_public(buf_slice(&e->csr), &public, err))
        return err_wrap(err, "the request to join");
    int rc = EVP_Digest(public.p, public.n, e->key_hash, &n, EVP_sha256(), NULL);
    wf_assert(rc == 1 && n == sizeof(e->key_hash));
    buf_fini(&public);
    return true;
}

static const struct raft_server *member_of(const struct reg_node *n, uint64_t id)
{
    return id ? conf_find(&n->raft.configuration, id) : NULL;
}

/* Of a used token: only for the key that used it. */
static bool judge_used(struct enrol *e, struct err *err)
{
    const struct raft_server *s = member_of(e->owner, e->kept.joined);
    if (memcmp(e->kept.joined_key, e->key_hash, sizeof(e->key_hash)) != 0)
        return err_set(err, ERR_CONFLICT,
                       "this join token was used already, by node %llu: it is for one node, make "
                       "another (weft operator token create)",
                       (unsigned long long)e->kept.joined);
    if (s && s->role == RAFT_VOTER)
        return err_set(err, ERR_CONFLICT,
                       "this join token was used already, and node %llu has a vote: remove it, "
                       "then join anew with another token and an empty directory",
                       (unsigned long long)e->kept.joined);
    if (!s && e->kept.added)
        return err_set(err, ERR_CONFLICT,
                       "this join token was used already, by node %llu, which was removed: make "
                       "another (weft operator token create)",
                       (unsigned long long)e->kept.joined);
    e->again = s != NULL;
    return true;
}

static bool judge_token(struct enrol *e, struct err *err)
{
    if (env_wall_ms(e->env) >= e->kept.until_ms || (!e->kept.held && !e->kept.joined))
        return err_set(err, ERR_GONE,
                       "this join token has expired: make another (weft operator token create)");
    return !e->kept.joined || judge_used(e, err);
}

/* Before the token is used up. The leader looks at it again. */
static bool judge_member(const struct enrol *e, struct err *err)
{
    const struct raft_configuration *c = &e->owner->raft.configuration;
    for (unsigned i = 0; i < c->n; i++) {
        struct peer_member other;
        struct err ignored = {0};
        if (c->servers[i].id != e->subject.id &&
            conf_member_parse(c->servers[i].id, c->servers[i].address, &other, &ignored) &&
            (strcmp(other.name, e->ask.member.name) == 0 ||
             env_addr_equal(&other.addr, &e->ask.member.addr)))
            return err_set(err, ERR_CONFLICT,
                           "another member has this name or address: remove it first");
    }
    if (!e->again && c->n >= REG_NODES_MAX)
        return err_set(err, ERR_LIMIT, "7 members are as many as there can be: remove one first");
    return version_fits(e->ask.reads, reg_store_version(e->owner->store),
                        slice_of(e->ask.member.name), err);
}

static bool judge(struct enrol *e, struct err *err)
{
    if (!key_hash(e, err) || !judge_token(e, err))
        return false;
    e->subject.id = e->again ? e->kept.joined : reg_member_new_id(e->env);
    return judge_member(e, err);
}

static void catch_up(struct enrol *e);

static void look(struct enrol *e)
{
    struct reg_txn txn;
    struct err err = {0};
    if (!reg_txn_begin(e->owner->store, &txn, &err)) {
        refuse(e, &err);
        return;
    }
    bool known = join_kept_find(&txn, e->ask.secret, &e->kept);
    reg_txn_end(&txn);
    if (!known && e->sm.now == ENROL_NEW)
        catch_up(e);
    else if (!known)
        refuse_as(e, ERR_NOT_FOUND,
                  "this cluster knows no such join token: it expired some time ago, was revoked, "
                  "or is another's; make one (weft operator token create)");
    else if (judge(e, &err))
        sign(e);
    else
        refuse(e, &err);
}

static void on_caught_up(struct reg_write *w)
{
    struct enrol *e = container_of(w, struct enrol, write);
    if (!e->owner)
        enrol_free(e);
    else if (w->err.code)
        refuse(e, &w->err);
    else
        look(e);
}

/* A token that was made a moment ago may not be here yet. */
static void catch_up(struct enrol *e)
{
    move(e, ENROL_CATCHING_UP);
    e->write = (struct reg_write){.env = e->env, .fn = on_caught_up};
    reg_read_index(e->owner, &e->write);
}

/* Who asks. */

/* What was begun goes on: the token may be used by now. */
static void on_conn_close(void *ctx, const struct err *why)
{
    (void)ctx;
    LOG_DEBUG("registry.enroll.lost", F_ERR(why));
}

static void on_conn_frame(void *ctx, const struct frame *f)
{
    struct enrol *e = ctx;
    (void)f;
    conn_close(&e->conn);
}

static const struct conn_events conn_events = {.on_frame = on_conn_frame,
                                               .on_close = on_conn_close};

static void on_timer(struct env_timer *t)
{
    conn_close(&container_of(t, struct enrol, timer)->conn);
}

static struct conn_options conn_options(const struct reg_node *n)
{
    return (struct conn_options){
        .self = n->opt.id, .cluster = n->io.cluster, .payload_max = PEER_GREETING_BYTES_MAX};
}

static void turn_away(struct reg_node *n, struct env_stream *s, const struct err *why)
{
    struct conn c = {0};
    struct conn_options opt = conn_options(n);
    conn_adopt(&c, n->env, s, &opt, &conn_events, NULL);
    answer_refusal(n, &c, why);
}

void node_enroll_on_ask(struct reg_node *n, struct slice payload, struct env_stream *s)
{
    struct enroll_ask ask;
    struct err err = {0};
    if (n->enrol_count >= NODE_ENROLS_MAX)
        err_set(&err, ERR_LIMIT, "%d nodes join at this moment: ask again", NODE_ENROLS_MAX);
    else if (n->stop != NODE_RUNS)
        err_set(&err, ERR_UNAVAILABLE, "this node is stopping");
    else
        enroll_ask_decode(payload, &ask, &err);
    if (err.code) {
        turn_away(n, s, &err);
        return;
    }
    struct enrol *e = MEM_NEW(struct enrol);
    struct conn_options opt = conn_options(n);
    *e = (struct enrol){.owner = n, .env = n->env, .ask = ask, .timer.fn = on_timer};
    buf_append(&e->csr, ask.csr);
    e->ask.csr = buf_slice(&e->csr);
    e->ca_dir = mem_new(strlen(n->opt.ca_dir) + 1);
    memcpy(e->ca_dir, n->opt.ca_dir, strlen(n->opt.ca_dir) + 1);
    conn_adopt(&e->conn, n->env, s, &opt, &conn_events, e);
    env_timer_start(n->env, &e->timer, NODE_ENROL_MS);
    list_push(&n->enrols, &e->node);
    n->enrol_count++;
    look(e);
}

/* Life. */

bool node_enroll_open(struct reg_node *n, struct err *err)
{
    struct cluster_ca ca = {0};
    list_init(&n->enrols);
    if (!n->opt.ca_dir)
        return true;
    if (!n->tls)
        return err_set(
            err, ERR_INVALID,
            "%s signs certificates of nodes, and this cluster has none (--peer-cert-dir)",
            n->opt.ca_dir);
    if (!cluster_ca_load(&ca, n->env, n->opt.ca_dir, err))
        return err_wrap(err, "the CA of this cluster");
    bool fits =
        ca.cluster == n->io.cluster ||
        err_set(err, ERR_INVALID,
                "%s is the CA of cluster %016llx, this node is of cluster %016llx", n->opt.ca_dir,
                (unsigned long long)ca.cluster, (unsigned long long)n->io.cluster);
    cluster_ca_fini(&ca);
    return fits;
}

/* What each waits for comes back, and finds nobody. */
void node_enroll_fail_all(struct reg_node *n)
{
    struct list_node *node;
    while (n->enrols.head.next && (node = list_pop(&n->enrols))) {
        struct enrol *e = container_of(node, struct enrol, node);
        env_timer_stop(e->env, &e->timer);
        conn_close(&e->conn);
        e->owner = NULL;
        n->enrol_count--;
    }
}
