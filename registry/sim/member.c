#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "registry/sim/run.h"
#include "registry/store_internal.h"

#define PAGE 4096 /* of LMDB, and what its head says of it */
#define PAGE_BRANCH 1u
#define PAGE_LEAF 2u
#define PAGE_KINDS 15u
#define FILES_MAX 64
#define API_PORT 7443
#define PEER_PORT 7444
#define API_GRACE_MS 300
/* A start meets the damage, the next one does without what is damaged; twice that is allowed. */
#define ROT_DEATHS_MAX 5

static const struct versions old_program = {VERSION_OLDEST, VERSION_NEWEST - 1};
static const struct versions new_program = {VERSION_OLDEST, VERSION_NEWEST};

static const char *name_of(const struct member *m)
{
    return sim_host_name(m->host);
}

/* What it applies, for the oracle: between libraft and the node's own state machine. */

static struct member *member_of(struct raft_fsm *fsm)
{
    return container_of(fsm, struct member, fsm);
}

/* The cluster's version: nobody of it may be left behind. Who may go back may have done so since
 * the leader asked. */
static void rose(const struct member *m)
{
    struct run *run = m->run;
    run->result->raises += run->oracle.version > VERSION_OLDEST;
    sim_trace(run->sim, "the cluster is of version %u", run->oracle.version);
    for (size_t i = 0; i < run->members && !run->knobs.rollback; i++)
        if (conf_find(&m->node->guard.committed, i + 1) &&
            run->member[i].reads.newest < run->oracle.version)
            oracle_fail(&run->oracle, "the version rises to %u, and n%zu reads up to %u",
                        run->oracle.version, i + 1, run->member[i].reads.newest);
}

static int on_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct member *m = member_of(fsm);
    struct reg_node *n = m->node;
    struct oracle *o = &m->run->oracle;
    raft_index index = n->raft.last_applied + 1;
    struct slice entry = slice_mem(buf->base, buf->len);
    struct sim_zone *was = sim_world_enter();
    o->now = sim_now(m->run->sim);
    unsigned version = o->version;
    oracle_applied(o, name_of(m), m->last_applied, index, guard_term_of(&n->raft, index), entry);
    if (o->version > version)
        rose(m);
    sim_world_leave(was);
    m->last_applied = index;
    int rc = n->fsm.apply(&n->fsm, buf, result);
    was = sim_world_enter();
    if (n->store->meta.applied_index == index)
        oracle_hash(o, name_of(m), index, n->store->meta.state_hash);
    sim_world_leave(was);
    return rc;
}

static int on_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct member *m = member_of(fsm);
    struct reg_node *n = m->node;
    int rc = n->fsm.restore(&n->fsm, buf);
    struct sim_zone *was = sim_world_enter();
    m->last_applied = 0;
    oracle_hash(&m->run->oracle, name_of(m), n->store->meta.applied_index,
                n->store->meta.state_hash);
    sim_world_leave(was);
    return rc;
}

static int on_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct member *m = member_of(fsm);
    m->run->result->checkpoints++;
    return m->node->fsm.snapshot(&m->node->fsm, bufs, n_bufs);
}

static int on_snapshot_async(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct member *m = member_of(fsm);
    return m->node->fsm.snapshot_async(&m->node->fsm, bufs, n_bufs);
}

static int on_snapshot_finalize(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct member *m = member_of(fsm);
    return m->node->fsm.snapshot_finalize(&m->node->fsm, bufs, n_bufs);
}

static void watch_applies(struct member *m)
{
    m->fsm = (struct raft_fsm){.version = 3,
                               .data = m,
                               .apply = on_apply,
                               .snapshot = on_snapshot,
                               .restore = on_restore,
                               .snapshot_finalize = on_snapshot_finalize,
                               .snapshot_async = on_snapshot_async};
    m->node->raft.fsm = &m->fsm;
}

/* Life of the process. */

static void addr_make(const struct member *m, unsigned port, struct env_addr *ret)
{
    struct err err = {0};
    char text[64];
    snprintf(text, sizeof(text), "127.0.0.%zu:%u", m->index + 1, port);
    wf_assert(env_addr_parse(ret, slice_of(text), &err));
}

void member_api_addr(const struct member *m, struct env_addr *ret)
{
    addr_make(m, API_PORT, ret);
}

void member_self(const struct member *m, struct reg_member *ret)
{
    *ret = (struct reg_member){.id = m->index + 1};
    snprintf(ret->name, sizeof(ret->name), "n%zu", m->index + 1);
    addr_make(m, PEER_PORT, &ret->addr);
}

bool member_wanted(const struct member *m)
{
    return !m->gone && (!m->newcomer || conf_find(&m->run->conf, m->index + 1));
}

bool member_in(const struct member *m)
{
    return !m->gone && conf_find(&m->run->conf, m->index + 1);
}

/* What a newcomer is told by whoever adds it. */
static void members_of_conf(const struct member *m, struct reg_node_options *o)
{
    struct run *run = m->run;
    o->newcomer = true;
    o->cluster = run->cluster;
    o->member_count = 0;
    for (size_t i = 0; i < run->members; i++)
        if (conf_find(&run->conf, i + 1) || &run->member[i] == m)
            member_self(&run->member[i], &o->members[o->member_count++]);
}

static struct reg_node_options options_of(const struct member *m)
{
    const struct run_knobs *k = &m->run->knobs;
    struct reg_node_options o = {.dir = name_of(m),
                                 .id = m->index + 1,
                                 .member_count = k->nodes,
                                 .election_timeout = k->election,
                                 .heartbeat_timeout = k->heartbeat,
                                 .segment_bytes = k->segment_bytes,
                                 .room_bytes = MESSAGE_APPEND_BYTES_MAX + 8 * k->segment_bytes,
                                 .snapshot_log_bytes = k->snapshot_log_bytes,
                                 .snapshot_rest = k->snapshot_rest,
                                 .history_revisions = k->history,
                                 .store_bytes = k->store_bytes,
                                 .reads = m->reads,
                                 .version_settle = k->version_settle};
    for (size_t i = 0; i < k->nodes; i++)
        member_self(&m->run->member[i], &o.members[i]);
    if (m->newcomer)
        members_of_conf(m, &o);
    return o;
}

static void api_open(struct member *m, struct env *env)
{
    const struct run_knobs *k = &m->run->knobs;
    struct err err = {0};
    struct apiserver_options o = {.env = env,
                                  .node = m->node,
                                  .write_timeout = k->write_timeout,
                                  .bookmark_interval = k->api_bookmarks,
                                  .request_timeout = k->api_patience,
                                  .stall_timeout = k->api_stall};
    if (!api_clients_any(m->run))
        return;
    member_api_addr(m, &o.at);
    m->api = apiserver_new(&o, &err);
    if (!m->api)
        wf_die("API: %s", err.msg);
}

static void process_main(void *ctx, struct env *env)
{
    struct member *m = ctx;
    struct reg_node_options o = options_of(m);
    struct err err = {0};
    m->node = node_new(&o, &err);
    wf_assert(m->node);
    if (!node_open(m->node, env, &err))
        wf_die("cannot start: %s", err.msg);
    watch_applies(m);
    api_open(m, env);
    bool joining = m->node->io.meta.joining;
    if (joining && !m->wiped && !m->rot_deaths)
        oracle_fail(&m->run->oracle, "%s put its data aside, and nothing was damaged", name_of(m));
    if (!joining && m->held && guard_last_index(&m->node->raft) == 0)
        oracle_fail(&m->run->oracle, "%s had a log, has none, and would vote", name_of(m));
    m->wiped |= joining;
    m->held &= !joining;
    m->node->guard.off = m->run->opt.guards_off;
    struct sim_zone *was = sim_world_enter();
    oracle_hash(&m->run->oracle, name_of(m), m->node->store->meta.applied_index,
                m->node->store->meta.state_hash);
    sim_world_leave(was);
}

void member_start(struct member *m)
{
    sim_event_stop(&m->restart);
    m->last_applied = 0;
    m->led_term = 0;
    m->stopping = false;
    m->started = sim_now(m->run->sim);
    sim_host_start(m->host, process_main, m);
}

static void on_restart(struct sim_event *e)
{
    struct member *m = container_of(e, struct member, restart);
    if (member_wanted(m))
        member_start(m);
}

void member_restart_later(struct member *m, sim_ns delay)
{
    if (!m->restart.armed && !sim_host_runs(m->host) && member_wanted(m))
        sim_event_start(m->run->sim, &m->restart, delay);
}

/* What its disk holds for sure, for acknowledgements that count on it while it is away. */
static void remember_log(struct member *m)
{
    const struct raft *r = &m->node->raft;
    if (!m->node->raft_started)
        return; /* it was not even opened: what it had, it has */
    m->dead_terms.n = 0;
    m->dead_unseen = m->node->raft_closed;
    if (m->dead_unseen)
        return;
    m->dead_snapshot = r->log.snapshot.last_index;
    m->dead_last = r->last_stored;
    m->dead_first = r->last_stored + 1;
    while (m->dead_first > 1 && guard_term_of(r, m->dead_first - 1))
        m->dead_first--;
    for (raft_index i = m->dead_first; i <= m->dead_last; i++)
        *vec_push(&m->dead_terms) = guard_term_of(r, i);
}

static void abandon_store(struct reg_store *s)
{
    if (!s || !s->env)
        return;
    if (s->batch)
        mdb_txn_abort(s->batch);
    mdb_env_close(s->env);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    return ftw->level == 0 ? 0 : remove(path);
}

static void wipe_files(struct member *m)
{
    nftw(name_of(m), remove_one, 16, FTW_DEPTH | FTW_PHYS);
    m->dead_terms.n = 0;
    m->dead_snapshot = 0;
    m->held = false;
    m->wiped = true;
    sim_trace(m->run->sim, "%s has a new disk", name_of(m));
}

/* It may end itself, not go on doing so. What it cannot mend itself its operator does: a new
 * disk. */
static void rot_met(struct member *m, const char *why)
{
    if (!why[0])
        return;
    if (strstr(why, "must not vote"))
        wipe_files(m);
    else if (++m->rot_deaths > ROT_DEATHS_MAX)
        oracle_fail(&m->run->oracle, "%s ends itself again and again: %s", name_of(m), why);
}

/* A node that has nothing yet needs room to begin, and says so. */
static bool no_room_to_start(const struct member *m, const char *why)
{
    return strncmp(why, "cannot start", 12) == 0 && strstr(why, "No space left") &&
           sim_disk(m->host)->limited;
}

/* It met what its program does not read, at its start and nowhere else, and its operator does what
 * it is told. */
static bool too_old(struct member *m, const char *why)
{
    if (strncmp(why, "cannot start", 12) != 0 || !strstr(why, "this program reads") ||
        m->reads.newest == VERSION_NEWEST)
        return false;
    m->reads = new_program;
    return true;
}

static void on_crash(void *ctx, struct sim_host *h, const char *why)
{
    struct member *m = ctx;
    struct run *run = m->run;
    run->result->deaths++;
    sim_event_stop(&m->stopped);
    if (m->node) {
        remember_log(m);
        if (strncmp(why, "signal", 6) != 0)
            abandon_store(m->node->store);
    }
    m->node = NULL;
    m->api = NULL;
    clients_host_down(run, h);
    operator_host_down(run, h);
    holders_host_down(run, h);
    if (too_old(m, why))
        sim_trace(run->sim, "%s is upgraded", name_of(m));
    else if (m->rot_deaths && !m->disk_failed)
        rot_met(m, why);
    else if (why[0] && !m->disk_failed && !no_room_to_start(m, why))
        oracle_fail(&run->oracle, "%s ended itself: %s", name_of(m), why);
    if (why[0] && m->disk_failed) /* it was mended meanwhile */
        sim_disk(h)->error_per_mille = m->disk_failed = 0;
    if (why[0])
        member_restart_later(m, sim_between(run->sim, SIM_MS, 2 * SIM_S));
}

void member_kill(struct member *m)
{
    sim_host_kill(m->host);
}

/* By LMDB's meta pages (lmdb_check.c): behind the last there is nothing that could be torn. */
#define META_LAST_AT 136
static uint64_t pages_used(int fd, uint64_t pages)
{
    uint64_t most = 0;
    for (off_t page = 0; page < 2; page++) {
        uint64_t last = 0;
        if (pread(fd, &last, sizeof(last), page * PAGE + META_LAST_AT) == sizeof(last))
            most = last > most ? last : most;
    }
    return most < pages ? most + 1 : pages;
}

/* The newest checkpoint: pages as they were, each in its place. -1: there is none. */
static int old_pages(const struct member *m)
{
    glob_t g = {0};
    char pattern[128];
    snprintf(pattern, sizeof(pattern), "%s/ckpt-*.mdb", name_of(m));
    glob(pattern, 0, NULL, &g);
    int fd = g.gl_pathc ? open(g.gl_pathv[g.gl_pathc - 1], O_RDONLY | O_CLOEXEC) : -1;
    globfree(&g);
    return fd;
}

/* LMDB writes without sync: after a power cut its file is any mixture. One of pages that were all
 * written once is the hardest to tell. */
static void store_tear(struct member *m)
{
    char path[128], page[PAGE];
    struct stat st;
    struct sim *sim = m->run->sim;
    int old = sim_chance(sim, 500) ? old_pages(m) : -1;
    snprintf(path, sizeof(path), "%s/store/data.mdb", name_of(m));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    wf_assert(fstat(fd, &st) == 0);
    uint64_t pages = pages_used(fd, (uint64_t)st.st_size / PAGE), kept = sim_below(sim, 1001);
    for (uint64_t i = 0; i < pages; i++) {
        if (sim_chance(sim, (unsigned)kept))
            continue;
        memset(page, sim_chance(sim, 500) ? 0 : 0x5a, sizeof(page));
        if (old >= 0 && pread(old, page, sizeof(page), (off_t)(i * PAGE)) != PAGE)
            continue; /* it was not there then */
        wf_assert(pwrite(fd, page, sizeof(page), (off_t)(i * PAGE)) == PAGE);
    }
    if (old < 0 && sim_chance(sim, 200))
        wf_assert(ftruncate(fd, (off_t)(sim_below(sim, pages + 1) * PAGE)) == 0);
    if (old >= 0)
        close(old);
    close(fd);
}

void member_power_off(struct member *m)
{
    bool open = m->node != NULL;
    sim_host_power_off(m->host);
    if (open)
        store_tear(m);
}

void member_wipe(struct member *m)
{
    member_power_off(m);
    sim_event_stop(&m->restart);
    wipe_files(m);
}

/* Damage. */

static struct {
    char path[FILES_MAX][128];
    size_t n;
} files; /* nftw has no context */

static int collect_file(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)ftw;
    if (flag == FTW_F && st->st_size > 0 && !strstr(path, "quarantine") && !strstr(path, "lock") &&
        files.n < FILES_MAX)
        snprintf(files.path[files.n++], sizeof(files.path[0]), "%s", path);
    return 0;
}

static int path_order(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Much of a file is zeros that nothing looks at: rather where something is. */
static off_t spot_in_use(struct sim *sim, int fd, off_t size)
{
    off_t at = 0;
    char c = 0;
    for (int tries = 0; tries < 20 && !c; tries++) {
        at = (off_t)sim_below(sim, (uint64_t)size);
        wf_assert(pread(fd, &c, 1, at) == 1);
    }
    return at;
}

/* The same in an image of LMDB, by the heads of its pages alone: what lies in their unused parts
 * differs from process to process. */
static off_t spot_in_page(struct sim *sim, int fd, off_t size)
{
    struct {
        uint64_t number;
        uint16_t pad, flags, lower, upper;
    } head = {0};
    off_t page = 0;
    if (size < PAGE)
        return (off_t)sim_below(sim, (uint64_t)size);
    for (int tries = 0; tries < 20 && !(head.flags & PAGE_KINDS); tries++) {
        page = (off_t)sim_below(sim, (uint64_t)size / PAGE) * PAGE;
        wf_assert(pread(fd, &head, sizeof(head), page) == sizeof(head));
    }
    bool nodes = head.flags & (PAGE_BRANCH | PAGE_LEAF) && head.lower > 0 &&
                 head.lower <= head.upper && head.upper < PAGE;
    if (nodes && sim_chance(sim, 500))
        return page + (off_t)sim_below(sim, head.lower);
    if (nodes)
        return page + head.upper + (off_t)sim_below(sim, PAGE - head.upper);
    return page + (off_t)sim_below(sim, PAGE);
}

static void flip_bit(struct sim *sim, const char *path, int fd, off_t size)
{
    off_t at = slice_ends(slice_of(path), S(".mdb")) ? spot_in_page(sim, fd, size)
                                                     : spot_in_use(sim, fd, size);
    char c;
    wf_assert(pread(fd, &c, 1, at) == 1);
    c = (char)(c ^ 1 << sim_below(sim, 8));
    wf_assert(pwrite(fd, &c, 1, at) == 1);
    sim_trace(sim, "byte %lld of %lld", (long long)at, (long long)size);
}

/* The end of the log: acknowledged a moment ago, and nothing behind it that would tell. */
static bool cut_log(struct sim *sim, const struct member *m)
{
    char path[128], zeros[PAGE] = {0}, *bytes;
    struct stat st;
    const char *last = NULL;
    snprintf(path, sizeof(path), "%s/log/0", name_of(m));
    for (size_t i = 0; i < files.n; i++)
        if (strncmp(files.path[i], path, strlen(path)) == 0)
            last = files.path[i];
    int fd = last ? open(last, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    wf_assert(fstat(fd, &st) == 0);
    bytes = mem_new((size_t)st.st_size);
    wf_assert(pread(fd, bytes, (size_t)st.st_size, 0) == st.st_size);
    size_t end = (size_t)st.st_size, cut = 1 + sim_below(sim, sizeof(zeros));
    while (end > 0 && !bytes[end - 1])
        end--;
    mem_free(bytes);
    cut = cut < end ? cut : end;
    wf_assert(pwrite(fd, zeros, cut, (off_t)(end - cut)) == (ssize_t)cut);
    close(fd);
    sim_trace(sim, "%s: the last %zu bytes are gone", last, cut);
    return true;
}

static void damage_one(struct sim *sim, const char *path)
{
    struct stat st;
    uint64_t dice = sim_below(sim, 100);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    wf_assert(fd >= 0 && fstat(fd, &st) == 0);
    sim_trace(sim, "%s is damaged", path);
    if (dice < 80)
        flip_bit(sim, path, fd, st.st_size);
    else if (dice < 90)
        wf_assert(ftruncate(fd, (off_t)sim_below(sim, (uint64_t)st.st_size)) == 0);
    else
        wf_assert(unlink(path) == 0);
    close(fd);
}

void member_rot(struct member *m)
{
    struct sim *sim = m->run->sim;
    member_kill(m);
    files.n = 0;
    nftw(name_of(m), collect_file, 16, FTW_PHYS);
    if (files.n == 0)
        return;
    qsort(files.path, files.n, sizeof(files.path[0]), path_order);
    if (!sim_chance(sim, 250) || !cut_log(sim, m))
        damage_one(sim, files.path[sim_below(sim, files.n)]);
    member_rotted(m);
}

void member_rotted(struct member *m)
{
    m->rot_deaths = 1;
    m->wiped = true; /* or as good as */
    m->run->result->rots++;
    sim_host_may_fault(m->host, true);
}

/* An end in order. */

static void free_turn(void *ctx)
{
    struct member *m = ctx;
    remember_log(m);
    node_free(m->node);
    m->node = NULL;
}

static void on_api_closed(void *ctx)
{
    struct member *m = ctx;
    m->api_closed = true;
}

static void node_stop_turn(void *ctx)
{
    struct member *m = ctx;
    apiserver_free(m->api);
    m->api = NULL;
    node_stop_begin(m->node, false);
}

static void stop_turn(void *ctx)
{
    struct member *m = ctx;
    m->api_closed = false;
    if (m->api)
        apiserver_close(m->api, API_GRACE_MS, on_api_closed, m);
    else
        node_stop_begin(m->node, false);
}

static void on_stopped(struct sim_event *e)
{
    struct member *m = container_of(e, struct member, stopped);
    bool waits = sim_host_paused(m->host) || (m->api ? !m->api_closed : !m->node->stopped);
    if (!waits && m->api && !sim_host_call(m->host, node_stop_turn, m))
        return;
    if (waits || !m->node->stopped || sim_host_posted(m->host)) {
        sim_event_start(m->run->sim, e, SIM_MS);
        return;
    }
    if (!sim_host_call(m->host, free_turn, m))
        return;
    clients_host_down(m->run, m->host);
    operator_host_down(m->run, m->host);
    holders_host_down(m->run, m->host);
    size_t left = sim_host_exit(m->host);
    if (left > 0)
        oracle_fail(&m->run->oracle, "%s ended in order and left %zu bytes on the heap", name_of(m),
                    left);
    if (m->down >= 0)
        member_restart_later(m, m->down);
}

void member_stop(struct member *m, sim_ns down)
{
    if (!member_ready(m))
        return;
    sim_trace(m->run->sim, "%s is told to stop", name_of(m));
    m->stopping = true;
    m->down = down;
    if (sim_host_call(m->host, stop_turn, m))
        sim_event_start(m->run->sim, &m->stopped, SIM_MS);
}

/* Programs. */

static void change_to(struct member *m, struct versions reads)
{
    sim_trace(m->run->sim, "%s: the next program reads to %u", name_of(m), reads.newest);
    m->reads = reads;
    m->run->result->programs++;
    member_kill(m);
}

void member_upgrade(struct member *m)
{
    if (m->reads.newest < new_program.newest)
        change_to(m, new_program);
}

/* Back only before somebody has seen that the version rose: nobody is told earlier. */
void member_change_program(struct member *m)
{
    if (m->reads.newest < new_program.newest)
        change_to(m, new_program);
    else if (m->run->knobs.rollback && m->run->oracle.version < VERSION_NEWEST)
        change_to(m, old_program);
}

/* Questions. */

bool member_serves(const struct member *m)
{
    return m->api && !m->stopping && !sim_host_paused(m->host);
}

bool member_ready(const struct member *m)
{
    return m->node && m->node->raft_started && !m->stopping && !sim_host_paused(m->host);
}

bool member_leads(const struct member *m)
{
    return m->node && m->node->raft_started && m->node->raft.state == RAFT_LEADER;
}

bool member_has(const struct member *m, raft_index index, raft_term term)
{
    if (m->node && m->node->raft_closed)
        return true; /* ends in order */
    if (m->node && m->node->raft_started && !m->node->raft_closed) {
        const struct raft *r = &m->node->raft;
        return r->log.snapshot.last_index >= index ||
               (r->last_stored >= index && guard_term_of(r, index) == term);
    }
    if (m->dead_snapshot >= index || m->dead_unseen)
        return true;
    return index >= m->dead_first && index - m->dead_first < m->dead_terms.n &&
           m->dead_terms.p[index - m->dead_first] == term;
}

static void look_at_conf(struct member *m)
{
    struct run *run = m->run;
    const struct guard *g = &m->node->guard;
    if (g->committed_at <= run->conf_at)
        return;
    run->conf_at = g->committed_at;
    run->cluster = m->node->io.cluster;
    raft_configuration_close(&run->conf_before);
    run->conf_before = run->conf;
    conf_copy(&g->committed, &run->conf);
    for (size_t i = 0; i < run->members; i++) {
        const struct raft_server *s = conf_find(&run->conf, i + 1);
        run->member[i].voter = s && s->role == RAFT_VOTER;
    }
}

static void look_whom_it_knows(struct member *m)
{
    const struct guard *g = &m->node->guard;
    if (g->committed_at <= m->knows_at)
        return;
    m->knows_at = g->committed_at;
    m->knows = 0;
    for (size_t i = 0; i < m->run->members; i++)
        m->knows |= conf_find(&g->committed, i + 1) ? 1u << i : 0;
}

/* A damaged file is found, if not at once, by the first look at all checkpoints after a start. */
static bool looked_at_files(const struct member *m)
{
    return !m->rot_deaths || sim_now(m->run->sim) - m->started >= 2 * SCRUB_FIRST_MS * SIM_MS;
}

void member_look(struct member *m)
{
    if (m->node && m->node->raft_started && !m->node->raft_closed) {
        look_at_conf(m);
        look_whom_it_knows(m);
        m->held |= m->node->raft.last_stored > 0 && raftio_begun(&m->node->io) &&
                   !m->node->guard.installing;
    }
    if (m->wiped && m->held && m->node && !sim_host_paused(m->host) && m->node->raft_started &&
        m->node->guard.standing == GUARD_MEMBER && m->node->io.works == 0 && !m->node->remaking &&
        looked_at_files(m))
        m->wiped = false;
    if (!member_leads(m) || m->led_term == m->node->raft.current_term)
        return;
    m->led_term = m->node->raft.current_term;
    m->run->result->leaders++;
    m->run->oracle.now = sim_now(m->run->sim);
    oracle_leads(&m->run->oracle, m->index + 1, m->led_term);
}

void member_trace(const struct member *m)
{
    struct sim *sim = m->run->sim;
    const struct reg_node *n = m->node;
    if (!n || !n->raft_started) {
        sim_trace(sim, "%s: %s", name_of(m), m->gone ? "taken out" : "does not run");
        return;
    }
    const struct raft *r = &n->raft;
    sim_trace(sim,
              "%s: state %u term %llu log %llu stored %llu commit %llu applied %llu, standing %d, "
              "appends %u, installing %d/%d, put %d, pending %llu, uncommitted %llu",
              name_of(m), r->state, r->current_term, guard_last_index(r), r->last_stored,
              r->commit_index, r->last_applied, (int)n->guard.standing, n->guard.appends_in_flight,
              n->guard.installing, (int)n->io.install.phase, r->snapshot.put.data != NULL,
              r->snapshot.pending.term, r->configuration_uncommitted_index);
    for (unsigned i = 0; r->state == RAFT_LEADER && i < r->configuration.n; i++) {
        const struct raft_progress *p = &r->leader_state.progress[i];
        sim_trace(sim, "  %s role %d: progress %u next %llu match %llu snapshot %llu",
                  r->configuration.servers[i].address, r->configuration.servers[i].role, p->state,
                  p->next_index, p->match_index, p->snapshot_index);
    }
}

void member_init(struct run *run, size_t i)
{
    struct member *m = &run->member[i];
    char name[8], address[16];
    snprintf(name, sizeof(name), "n%zu", i + 1);
    snprintf(address, sizeof(address), "127.0.0.%zu", i + 1);
    *m = (struct member){
        .run = run, .index = i, .wiped = true, .restart.fn = on_restart, .stopped.fn = on_stopped};
    m->reads = sim_chance(run->sim, run->knobs.old_per_mille) ? old_program : new_program;
    m->host = sim_host_add(run->sim, name, address,
                           &(struct sim_host_events){.on_crash = on_crash, .ctx = m});
}

void member_fini(struct member *m)
{
    vec_fini(&m->dead_terms);
}
