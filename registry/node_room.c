/* A disk without room must not end the node. Below a mark it takes no more commands into its log,
 * long before the last byte is used: what is under way, terms and votes still find their place, and
 * reads go on. Followers are told what is committed and keep the entries that they have; a leader
 * hands over to one that has room, or refuses writes. All of it ends by itself when there is room
 * again.
 *
 *   ROOM ──free < room_bytes──▶ NO ROOM ──free ≥ room_bytes and a quarter──▶ ROOM
 *
 * A reserve file of an eighth is given up when others have taken even the rest. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "registry/node_impl.h"

#define PATH_BYTES 4096

static uint64_t reserve_bytes(const struct reg_node *n)
{
    return n->opt.room_bytes / 8;
}

static const char *reserve_path(const struct reg_node *n, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%.*s/reserve", PATH_BYTES - 16, n->dir);
    return path;
}

static void reserve_make(struct reg_node *n)
{
    char path[PATH_BYTES];
    struct err err = {0};
    struct env_file *f = env_file_open(n->env, reserve_path(n, path), O_RDWR | O_CREAT, &err);
    n->reserved = f && env_file_preallocate(f, reserve_bytes(n), &err);
    if (f)
        env_file_close(f);
}

static void reserve_drop(struct reg_node *n)
{
    char path[PATH_BYTES];
    struct err err = {0};
    env_file_remove(n->env, reserve_path(n, path), &err);
    n->reserved = false;
}

bool node_room_make(void *ctx)
{
    struct reg_node *n = ctx;
    if (!n->reserved)
        return false;
    LOG_WARN("registry.disk.reserve_used", F_U64("node", n->opt.id), F_CSTR("dir", n->dir));
    reserve_drop(n);
    return true;
}

/* What is there. */

static void room_tell(struct reg_node *n)
{
    uint64_t none = n->no_room;
    n->room_told = env_now(n->env);
    for (size_t i = 0; i < n->opt.member_count; i++)
        if (n->opt.members[i].id != n->opt.id)
            raftio_send(&n->io, n->opt.members[i].id, FRAME_ROOM, n->raft.current_term,
                        &(struct iovec){&none, sizeof(none)}, 1);
}

static void room_set(struct reg_node *n, bool none)
{
    if (none == n->no_room)
        return;
    n->no_room = n->guard.no_room = n->io.no_room = none;
    if (none)
        LOG_ERROR("registry.disk.full", F_U64("node", n->opt.id), F_CSTR("dir", n->dir),
                  F_U64("free", n->room));
    else
        LOG_INFO("registry.disk.has_room", F_U64("node", n->opt.id), F_U64("free", n->room));
    room_tell(n);
    node_turn(n);
}

static void room_look(struct reg_node *n)
{
    struct err err = {0};
    uint64_t free, low = n->opt.room_bytes;
    if (!env_disk_free(n->env, n->dir, &free, &err)) {
        LOG_WARN("registry.disk.unknown", F_ERR(&err));
        return;
    }
    n->room = free;
    if (free < reserve_bytes(n) / 2 && n->reserved)
        reserve_drop(n);
    if (free >= low + low / 4 + reserve_bytes(n) && !n->reserved)
        reserve_make(n);
    room_set(n, free < (n->no_room ? low + low / 4 : low));
}

void node_room_init(struct reg_node *n)
{
    n->room = UINT64_MAX;
    n->no_room = n->reserved = false; /* of an earlier try to begin */
    room_look(n);
}

bool node_room_for(const struct reg_node *n, uint64_t bytes)
{
    return n->room >= bytes && n->room - bytes >= n->opt.room_bytes / 2;
}

/* What the others say; it holds for some time. */

void node_room_on_frame(struct reg_node *n, uint64_t from, const struct frame *f)
{
    struct reader r = reader_of(f->payload);
    uint64_t none = reader_u64le(&r);
    if (!reader_done(&r))
        return;
    for (size_t i = 0; i < ARRAY_LEN(n->room_of); i++)
        if (n->room_of[i].id == from || !n->room_of[i].id) {
            n->room_of[i].id = from;
            n->room_of[i].none_until =
                none ? env_now(n->env) + NODE_ROOM_HOLDS_ELECTIONS * n->opt.election_timeout : 0;
            break;
        }
    node_turn(n);
}

bool node_room_none(const struct reg_node *n, uint64_t id)
{
    if (id == n->opt.id)
        return n->no_room;
    for (size_t i = 0; i < ARRAY_LEN(n->room_of); i++)
        if (n->room_of[i].id == id)
            return n->room_of[i].none_until > env_now(n->env);
    return false;
}

/* What follows from it. */

uint64_t node_room_refuses(const struct reg_node *n)
{
    const struct raft_configuration *c = &n->raft.configuration;
    unsigned voters = 0, none = 0;
    uint64_t id = 0;
    if (n->no_room)
        return n->opt.id;
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].role != RAFT_VOTER)
            continue;
        voters++;
        if (!node_room_none(n, c->servers[i].id))
            continue;
        none++;
        id = c->servers[i].id;
    }
    if (voters - none <= voters / 2)
        return id;
    return n->over_quota ? NODE_ROOM_QUOTA : 0;
}

void node_room_used(struct reg_node *n, const struct reg_store_usage *used)
{
    uint64_t quota = n->opt.quota_bytes;
    bool over = used->object_bytes >= (n->over_quota ? quota - quota / 20 : quota);
    n->object_bytes = used->object_bytes;
    if (over == n->over_quota)
        return;
    n->over_quota = over;
    if (over)
        LOG_ERROR("registry.quota.reached", F_U64("node", n->opt.id),
                  F_U64("bytes", used->object_bytes), F_U64("quota", quota));
    else
        LOG_INFO("registry.quota.has_room", F_U64("node", n->opt.id),
                 F_U64("bytes", used->object_bytes));
}

bool node_room_grows(const struct reg_op *ops, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!ops[i].del && !ops[i].check)
            return true;
    return false;
}

bool node_room_err(const struct reg_node *n, uint64_t id, struct err *err)
{
    const char *name = "?";
    if (id == NODE_ROOM_QUOTA)
        return err_set(err, ERR_NO_ROOM,
                       "the registry holds %" PRIu64 " MiB of objects, its quota is %" PRIu64
                       " MiB: nothing was done; deletions are taken, and writes when it holds less",
                       n->object_bytes >> 20, n->opt.quota_bytes >> 20);
    for (size_t i = 0; i < n->opt.member_count; i++)
        if (n->opt.members[i].id == id)
            name = n->opt.members[i].name;
    if (id == n->opt.id)
        return err_set(err, ERR_NO_ROOM,
                       "the disk of node %s is full (%s: %" PRIu64 " MiB free, %" PRIu64
                       " are needed): nothing was done; reads and traffic go on, writes when there "
                       "is room",
                       name, n->dir, n->room >> 20, n->opt.room_bytes >> 20);
    return err_set(err, ERR_NO_ROOM,
                   "the disk of node %s is full (its data directory): nothing was done; reads and "
                   "traffic go on, writes when there is room",
                   name);
}

static void on_transferred(struct raft_transfer *req)
{
    container_of(req, struct reg_node, room_transfer)->room_transferring = false;
}

/* To each of the others in turn: one that has no room, or is behind, does not take it. */
static void hand_over(struct reg_node *n)
{
    const struct raft_configuration *c = &n->raft.configuration;
    wf_ms now = env_now(n->env);
    if (!n->no_room || !guard_ready(&n->guard) || n->raft.transfer || n->room_transferring ||
        n->conf_transferring || n->stop != NODE_RUNS ||
        now < n->room_handed + NODE_ROOM_HAND_OVER_ELECTIONS * n->opt.election_timeout)
        return;
    for (unsigned tries = 0; tries < c->n; tries++) {
        const struct raft_server *s = &c->servers[n->room_next++ % c->n];
        if (s->id == n->opt.id || s->role != RAFT_VOTER || node_room_none(n, s->id) ||
            !peers_connected(n->io.peers, s->id))
            continue;
        n->room_handed = now;
        n->room_transferring =
            raft_transfer(&n->raft, &n->room_transfer, s->id, on_transferred) == 0;
        LOG_INFO("registry.disk.hand_over", F_U64("node", n->opt.id), F_U64("to", s->id));
        return;
    }
}

void node_room_tick(struct reg_node *n)
{
    wf_ms now = env_now(n->env);
    if (now - n->room_looked >= NODE_ROOM_LOOK_MS) {
        n->room_looked = now;
        room_look(n);
    }
    if (n->no_room && now - n->room_told >= n->opt.election_timeout)
        room_tell(n);
    hand_over(n);
}
