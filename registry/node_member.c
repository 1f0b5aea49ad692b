/* Who belongs to the cluster: the list of members follows Raft's configuration, and changes of it
 * are asked for from any node.
 *
 *   caller's node ──MEMBER_ASK each tick──▶ leader: one step towards what was asked for
 *                 ◀──MEMBER_STATE────────── done, not yet (why), refused (why)
 *
 * A step looks at the configuration and does what is missing; it has no memory, so that a leader
 * that dies in between leaves nothing behind, and to ask again does no harm. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/core/log.h"
#include "registry/node_impl.h"

#define TIMEOUT_DEFAULT_MS 10000

struct member_request {
    struct env_post post; /* to the raft thread; later to c->env */
    struct list_node node;
    struct reg_node *owner;
    struct reg_member_change *c;
    uint64_t id;
    wf_ms deadline;
    struct err why; /* it is not done yet */
};

enum step { STEP_DONE, STEP_WAIT, STEP_REFUSED };

void node_member_init(struct reg_node *n)
{
    list_init(&n->member_changes);
}

uint64_t reg_member_new_id(struct env *env)
{
    uint64_t r;
    env_random(env, &r, sizeof(r));
    return (1u << 20) + r % ((1ull << 48) - (1u << 20)); /* above those of a first cluster */
}

/* The list. */

static void list_add(struct reg_member *list, size_t *n, const struct peer_member *m)
{
    for (size_t i = 0; i < *n; i++)
        if (list[i].id == m->id) {
            list[i].addr = m->addr;
            return;
        }
    if (*n == RAFT_MEMBERS_MAX)
        return; /* it comes when others have gone */
    struct reg_member *to = &list[(*n)++];
    *to = (struct reg_member){.id = m->id, .addr = m->addr};
    snprintf(to->name, sizeof(to->name), "%.*s", (int)sizeof(to->name) - 1, m->name);
}

static void list_add_conf(struct reg_member *list, size_t *n, const struct raft_configuration *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        struct peer_member m;
        struct err err = {0};
        if (conf_member_parse(c->servers[i].id, c->servers[i].address, &m, &err))
            list_add(list, n, &m);
        else
            LOG_ERROR("registry.members.unreadable", F_ERR(&err));
    }
}

static uint64_t conf_hash(const struct raft_configuration *c, uint64_t h)
{
    for (unsigned i = 0; i < c->n; i++) {
        const struct raft_server *s = &c->servers[i];
        h = hash_u64(h ^ s->id ^ (uint64_t)s->role << 60);
        h = hash_bytes_seed(slice_of(s->address), h);
    }
    return hash_u64(h + c->n);
}

static int by_id(const void *a, const void *b)
{
    const struct reg_member *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void list_set(struct reg_node *n, struct reg_member *list, size_t count)
{
    struct peer_member peers[RAFT_MEMBERS_MAX] = {0};
    qsort(list, count, sizeof(*list), by_id);
    for (size_t i = 0; i < count; i++) {
        n->opt.members[i] = list[i];
        peers[i] = (struct peer_member){.id = list[i].id, .addr = list[i].addr};
        snprintf(peers[i].name, sizeof(peers[i].name), "%s", list[i].name);
    }
    n->opt.member_count = count;
    raftio_set_members(&n->io, peers, count);
}

/* We are not of it any more. The list stays, for those who ask; the connections end. */
static void leave(struct reg_node *n)
{
    struct peer_member peers[RAFT_MEMBERS_MAX] = {0};
    size_t count = 0;
    LOG_WARN("registry.members.removed", F_U64("node", n->opt.id));
    for (size_t i = 0; i < n->opt.member_count; i++)
        if (n->opt.members[i].id != n->opt.id)
            peers[count++] =
                (struct peer_member){.id = n->opt.members[i].id, .addr = n->opt.members[i].addr};
    if (n->io.peers)
        peers_set_members(n->io.peers, peers, count);
}

static void list_add_known(const struct reg_node *n, struct reg_member *list, size_t *count,
                           bool all)
{
    for (size_t i = 0; i < n->opt.member_count && *count < RAFT_MEMBERS_MAX; i++) {
        struct peer_member m = {.id = n->opt.members[i].id, .addr = n->opt.members[i].addr};
        snprintf(m.name, sizeof(m.name), "%s", n->opt.members[i].name);
        if (all || m.id == n->opt.id)
            list_add(list, count, &m);
    }
}

/* Ourselves, the committed configuration and the one that may come: a member that is to go is
 * needed until that is committed. Then whom others know of, and, until a newcomer finds itself,
 * those that it was told of. */
static void list_make(struct reg_node *n)
{
    struct reg_member list[RAFT_MEMBERS_MAX];
    size_t count = 0;
    list_add_known(n, list, &count, false);
    list_add_conf(list, &count, &n->guard.committed);
    list_add_conf(list, &count, &n->raft.configuration);
    if (n->heard_at > n->guard.committed_at)
        list_add_conf(list, &count, &n->heard);
    if (!n->belonged)
        list_add_known(n, list, &count, true);
    list_set(n, list, count);
}

void node_member_advance(struct reg_node *n)
{
    const struct raft_configuration *now = &n->raft.configuration, *sure = &n->guard.committed;
    uint64_t hash = conf_hash(&n->heard, conf_hash(sure, conf_hash(now, 1)));
    if (hash == n->members_seen || (now->n == 0 && n->heard.n == 0))
        return;
    n->members_seen = hash;
    bool ours = conf_find(sure, n->opt.id) != NULL;
    n->belonged |= ours;
    n->status_due = true;
    if (n->belonged && !ours && n->raft.configuration_uncommitted_index == 0) {
        leave(n);
        return;
    }
    list_make(n);
    node_known_keep(n);
    node_member_tell(n, 0);
}

void node_member_learn(struct reg_node *n, raft_index index, const struct raft_configuration *c)
{
    if (index <= n->heard_at || index <= n->guard.committed_at)
        return;
    raft_configuration_close(&n->heard);
    conf_copy(c, &n->heard);
    n->heard_at = index;
    node_turn(n);
}

void node_member_encode(const struct reg_node *n, struct raft_buffer *ret)
{
    *ret = (struct raft_buffer){0};
    if (n->guard.committed.n && raft_configuration_encode(&n->guard.committed, ret) != 0)
        wf_die("out of memory");
}

/* Who votes? A node that lost its data is there, takes entries, and has no vote until it has caught
 * up: as one of two voters it would be the end. */

void node_member_tell(struct reg_node *n, uint64_t to)
{
    uint64_t head[] = {n->guard.standing == GUARD_MEMBER, n->guard.committed_at};
    struct raft_buffer conf;
    node_member_encode(n, &conf);
    struct iovec pieces[] = {{head, sizeof(head)}, {conf.base, conf.len}};
    for (size_t i = 0; i < n->opt.member_count; i++) {
        uint64_t id = n->opt.members[i].id;
        if (id != n->opt.id && (!to || id == to))
            raftio_send(&n->io, id, FRAME_STANDING, n->raft.current_term, pieces, conf.len ? 2 : 1);
    }
    raft_free(conf.base);
}

static bool votes(const struct reg_node *n, uint64_t id)
{
    for (size_t i = 0; i < ARRAY_LEN(n->votes); i++)
        if (n->votes[i] == id)
            return peers_connected(n->io.peers, id);
    return id == n->opt.id;
}

void node_member_on_down(struct reg_node *n, uint64_t peer)
{
    for (size_t i = 0; i < ARRAY_LEN(n->votes); i++)
        if (n->votes[i] == peer)
            n->votes[i] = 0;
}

static void on_standing(struct reg_node *n, uint64_t from, const struct frame *f)
{
    struct reader r = reader_of(f->payload);
    uint64_t yes = reader_u64le(&r), index = reader_u64le(&r);
    struct slice bytes = slice_skip(f->payload, reader_offset(&r));
    struct raft_configuration conf;
    struct err err = {0};
    node_member_on_down(n, from);
    for (size_t i = 0; reader_ok(&r) && yes && i < ARRAY_LEN(n->votes); i++)
        if (n->votes[i] == 0) {
            n->votes[i] = from;
            break;
        }
    if (!reader_ok(&r) || !bytes.n)
        return;
    if (!conf_entry_decode(bytes, &conf, &err)) {
        LOG_WARN("registry.members.invalid", F_U64("from", from), F_ERR(&err));
        return;
    }
    node_member_learn(n, index, &conf);
    raft_configuration_close(&conf);
}

/* One step, on the leader. */

static void on_changed(struct raft_change *req, int status)
{
    (void)req;
    (void)status; /* the configuration says what became of it */
}

static void on_transferred(struct raft_transfer *req)
{
    struct reg_node *n = container_of(req, struct reg_node, conf_transfer);
    n->conf_transferring = false;
}

static enum step wait_for(struct err *err, const char *why)
{
    err_set(err, ERR_TIMEOUT, "%s", why);
    return STEP_WAIT;
}

static enum step refuse(struct err *err, enum err_code code, const char *why)
{
    err_set(err, code, "%s", why);
    return STEP_REFUSED;
}

static enum step begun(const struct reg_node *n, int rc, struct err *err)
{
    if (rc != 0) {
        err_set(err, ERR_TIMEOUT, "%s", raft_errmsg((struct raft *)(uintptr_t)&n->raft));
        return STEP_WAIT;
    }
    return wait_for(err, "the change is not committed yet");
}

static enum step committed_or_wait(const struct reg_node *n, struct err *err)
{
    return n->raft.configuration_uncommitted_index == 0
               ? STEP_DONE
               : wait_for(err, "the change is not committed yet");
}

static enum step assign(struct reg_node *n, uint64_t id, int role, struct err *err)
{
    if (!guard_conf_idle(&n->guard))
        return wait_for(err, "another change is under way");
    return begun(n, raft_assign(&n->raft, &n->conf_change, id, role, on_changed), err);
}

static bool taken(const struct reg_node *n, const struct peer_member *m)
{
    for (unsigned i = 0; i < n->raft.configuration.n; i++) {
        const struct raft_server *s = &n->raft.configuration.servers[i];
        struct peer_member other;
        struct err err = {0};
        if (s->id != m->id && conf_member_parse(s->id, s->address, &other, &err) &&
            (strcmp(other.name, m->name) == 0 || env_addr_equal(&other.addr, &m->addr)))
            return true;
    }
    return false;
}

static enum step step_add(struct reg_node *n, const struct raft_server *s,
                          const struct peer_member *m, struct err *err)
{
    char text[CONF_TEXT];
    conf_member_format(m, text);
    if (s && strcmp(s->address, text) != 0)
        return refuse(err, ERR_CONFLICT, "a member of this id has another name or address");
    if (s && s->role == RAFT_SPARE)
        return assign(n, m->id, RAFT_STANDBY, err);
    if (s)
        return committed_or_wait(n, err);
    if (taken(n, m))
        return refuse(err, ERR_CONFLICT,
                      "another member has this name or address: remove it first");
    if (n->raft.configuration.n >= REG_NODES_MAX)
        return refuse(err, ERR_LIMIT, "7 members are as many as there can be: remove one first");
    if (!guard_conf_idle(&n->guard))
        return wait_for(err, "another change is under way");
    return begun(n, raft_add(&n->raft, &n->conf_change, m->id, text, on_changed), err);
}

static raft_index lag_of(const struct reg_node *n, uint64_t id)
{
    raft_index last = guard_last_index(&n->raft);
    for (unsigned i = 0; i < n->raft.configuration.n; i++)
        if (n->raft.configuration.servers[i].id == id)
            return last - n->raft.leader_state.progress[i].match_index;
    return last;
}

static enum step step_promote(struct reg_node *n, const struct raft_server *s, struct err *err)
{
    if (s->role == RAFT_VOTER)
        return committed_or_wait(n, err);
    if (s->role == RAFT_SPARE)
        return assign(n, s->id, RAFT_STANDBY, err);
    if (!peers_connected(n->io.peers, s->id)) /* Raft would wait for it, and take nothing else */
        return wait_for(err, "it does not answer");
    raft_index lag = lag_of(n, s->id);
    if (lag > NODE_PROMOTE_LAG_MAX) {
        err_set(err, ERR_TIMEOUT, "it is %llu entries behind", (unsigned long long)lag);
        return STEP_WAIT;
    }
    return assign(n, s->id, RAFT_VOTER, err);
}

static enum step step_lead(struct reg_node *n, const struct raft_server *s, struct err *err)
{
    if (s->role != RAFT_VOTER)
        return refuse(err, ERR_CONFLICT, "it is no voter: promote it first");
    if (s->id == n->opt.id)
        return STEP_DONE;
    if (n->conf_transferring || n->raft.transfer || !guard_ready(&n->guard))
        return wait_for(err, "leadership is on its way");
    if (!votes(n, s->id))
        return refuse(err, ERR_CONFLICT, "it does not answer, or has lost its data");
    n->conf_transferring = raft_transfer(&n->raft, &n->conf_transfer, s->id, on_transferred) == 0;
    return wait_for(err, "leadership is on its way");
}

/* Would a majority of those who are left answer? */
static bool removal_leaves_quorum(const struct reg_node *n, uint64_t id)
{
    unsigned voters = 0, answer = 0;
    for (unsigned i = 0; i < n->raft.configuration.n; i++) {
        const struct raft_server *s = &n->raft.configuration.servers[i];
        if (s->role != RAFT_VOTER || s->id == id)
            continue;
        voters++;
        answer += votes(n, s->id);
    }
    return answer > voters / 2;
}

/* Somebody else has to lead, and then takes the leader out. */
static enum step hand_over(struct reg_node *n, struct err *err)
{
    for (unsigned i = 0; i < n->raft.configuration.n; i++) {
        const struct raft_server *s = &n->raft.configuration.servers[i];
        if (s->id != n->opt.id && s->role == RAFT_VOTER && votes(n, s->id))
            return step_lead(n, s, err);
    }
    return refuse(err, ERR_CONFLICT, "it is the last voter that answers");
}

/* A member that is away must find somebody whom it knows when it comes back: nobody goes before all
 * that stay have heard of those who came. NULL: they have. */
static const struct raft_server *who_does_not_know(const struct reg_node *n, uint64_t but)
{
    const struct raft *r = &n->raft;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        const struct raft_server *s = &r->configuration.servers[i];
        if (s->id != but && s->id != n->opt.id &&
            r->leader_state.progress[i].match_index < r->configuration_index)
            return s;
    }
    return NULL;
}

static enum step step_tell(const struct reg_node *n, const struct raft_server *s, struct err *err)
{
    bool there = peers_connected(n->io.peers, s->id);
    err_set(err, there ? ERR_TIMEOUT : ERR_CONFLICT, "member %.*s %s",
            (int)strcspn(s->address, "="), s->address,
            there ? "has not heard of all members yet"
                  : "is away, and does not know of all members: start it, or remove it first");
    return there ? STEP_WAIT : STEP_REFUSED;
}

static enum step step_remove(struct reg_node *n, const struct raft_server *s, struct err *err)
{
    const struct raft_server *behind;
    if (!s)
        return committed_or_wait(n, err);
    if ((behind = who_does_not_know(n, s->id)) != NULL)
        return step_tell(n, behind, err);
    if (s->role == RAFT_VOTER && !removal_leaves_quorum(n, s->id))
        return refuse(err, ERR_CONFLICT, "without it no majority of the voters would answer");
    if (s->id == n->opt.id)
        return hand_over(n, err);
    if (!guard_conf_idle(&n->guard))
        return wait_for(err, "another change is under way");
    return begun(n, raft_remove(&n->raft, &n->conf_change, s->id, on_changed), err);
}

static enum step member_step(struct reg_node *n, enum reg_member_change_kind kind,
                             const struct peer_member *m, struct err *err)
{
    const struct raft_server *s = conf_find(&n->raft.configuration, m->id);
    if (!guard_ready(&n->guard))
        return wait_for(err, "the leader is new");
    if (kind == REG_MEMBER_ADD)
        return step_add(n, s, m, err);
    if (kind == REG_MEMBER_REMOVE)
        return step_remove(n, s, err);
    if (!s)
        return refuse(err, ERR_NOT_FOUND, "no such member");
    return kind == REG_MEMBER_PROMOTE ? step_promote(n, s, err) : step_lead(n, s, err);
}

/* Asking. */

static void on_answer(struct env_post *post)
{
    struct member_request *q = container_of(post, struct member_request, post);
    struct reg_member_change *c = q->c;
    mem_free(q);
    c->fn(c);
}

static void request_end(struct member_request *q, const struct err *err)
{
    list_remove(&q->node);
    q->c->err = *err;
    q->post.fn = on_answer;
    env_post(q->c->env, &q->post);
}

static struct peer_member peer_of(const struct reg_member *m)
{
    struct peer_member p = {.id = m->id, .addr = m->addr};
    snprintf(p.name, sizeof(p.name), "%.*s", (int)sizeof(p.name) - 1, m->name);
    return p;
}

static void request_take(struct member_request *q, enum step step, const struct err *err)
{
    if (step == STEP_WAIT)
        q->why = *err;
    else
        request_end(q, err);
}

static void request_send(struct reg_node *n, struct member_request *q, uint64_t leader)
{
    char text[CONF_TEXT] = "";
    struct peer_member m = peer_of(&q->c->member);
    uint64_t head[] = {q->id, q->c->kind, m.id};
    if (q->c->kind == REG_MEMBER_ADD)
        conf_member_format(&m, text);
    struct iovec pieces[] = {{head, sizeof(head)}, {text, strlen(text)}};
    raftio_send(&n->io, leader, FRAME_MEMBER_ASK, n->raft.current_term, pieces, 2);
}

static void request_step(struct reg_node *n, struct member_request *q)
{
    uint64_t leader = node_leader(n);
    struct err err = {0};
    if (env_now(n->env) >= q->deadline) {
        err_set(&err, ERR_TIMEOUT, "not yet: %s", q->why.code ? q->why.msg : "nobody leads");
        request_end(q, &err);
    } else if (node_leads(n)) {
        struct peer_member m = peer_of(&q->c->member);
        request_take(q, member_step(n, q->c->kind, &m, &err), &err);
    } else if (leader) {
        request_send(n, q, leader);
    }
}

static void requests_fail(struct reg_node *n)
{
    struct list_node *node;
    struct err err = {0};
    err_set(&err, ERR_UNAVAILABLE, "this node is stopping");
    while ((node = list_first(&n->member_changes)))
        request_end(container_of(node, struct member_request, node), &err);
}

void node_member_tick(struct reg_node *n)
{
    if (n->stop != NODE_RUNS) { /* its connections may be cut already */
        requests_fail(n);
        return;
    }
    LIST_EACH (&n->member_changes, node)
        request_step(n, container_of(node, struct member_request, node));
}

static void on_submit(struct env_post *post)
{
    struct member_request *q = container_of(post, struct member_request, post);
    struct reg_node *n = q->owner;
    struct err err = {0};
    q->id = ++n->member_request_id;
    q->deadline = env_now(n->env) + (q->c->timeout ? q->c->timeout : TIMEOUT_DEFAULT_MS);
    list_push(&n->member_changes, &q->node);
    if (n->stop == NODE_RUNS) {
        request_step(n, q);
        return;
    }
    err_set(&err, ERR_UNAVAILABLE, "this node is stopping");
    request_end(q, &err);
}

void reg_member_change(struct reg_node *node, struct reg_member_change *c)
{
    struct member_request *q = MEM_NEW(struct member_request);
    *q = (struct member_request){.owner = node, .c = c, .post.fn = on_submit};
    c->impl = q;
    err_clear(&c->err);
    env_post(node->env, &q->post);
}

void node_member_fail_all(struct reg_node *n)
{
    requests_fail(n);
    raft_configuration_close(&n->heard);
    raft_configuration_init(&n->heard);
}

/* Frames. */

static void on_ask(struct reg_node *n, uint64_t from, const struct frame *f)
{
    struct reader r = reader_of(f->payload);
    uint64_t id = reader_u64le(&r), kind = reader_u64le(&r), member = reader_u64le(&r);
    struct slice text = slice_skip(f->payload, reader_offset(&r));
    char address[CONF_TEXT];
    struct peer_member m = {.id = member};
    struct err err = {0};
    if (!reader_ok(&r) || kind > REG_MEMBER_LEAD || member == 0 ||
        !slice_cstr(text, address, sizeof(address)) ||
        (kind == REG_MEMBER_ADD && !conf_member_parse(member, address, &m, &err))) {
        LOG_WARN("registry.members.invalid", F_U64("from", from), F_ERR(&err));
        return;
    }
    if (!node_leads(n) || n->stop != NODE_RUNS)
        return;
    enum step step = member_step(n, (enum reg_member_change_kind)kind, &m, &err);
    uint64_t head[] = {id, (uint64_t)step, err.code};
    struct iovec pieces[] = {{head, sizeof(head)}, {err.msg, strlen(err.msg)}};
    raftio_send(&n->io, from, FRAME_MEMBER_STATE, n->raft.current_term, pieces, 2);
}

static void on_state(struct reg_node *n, const struct frame *f)
{
    struct reader r = reader_of(f->payload);
    uint64_t id = reader_u64le(&r), step = reader_u64le(&r), code = reader_u64le(&r);
    struct slice text = slice_skip(f->payload, reader_offset(&r));
    struct err err = {0};
    if (!reader_ok(&r) || step > STEP_REFUSED || code >= ERR_CODE_COUNT)
        return;
    if (code)
        err_set(&err, (enum err_code)code, "%.*s", SLICE(text));
    LIST_EACH (&n->member_changes, node) {
        struct member_request *q = container_of(node, struct member_request, node);
        if (q->id == id)
            request_take(q, (enum step)step, &err);
    }
}

void node_member_on_frame(struct reg_node *n, uint64_t from, const struct frame *f)
{
    if (f->type == FRAME_STANDING)
        on_standing(n, from, f);
    else if (f->type == FRAME_MEMBER_ASK)
        on_ask(n, from, f);
    else
        on_state(n, f);
}
