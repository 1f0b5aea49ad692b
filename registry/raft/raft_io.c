#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/core/mutant.h"
#include "registry/raft/conf.h"
#include "registry/raft/guard.h"
#include "registry/raft/message.h"
#include "registry/raft/raft_io_impl.h"

#define PATH_BYTES SNAPSHOT_PATH_BYTES

int raftio_fail(struct raftio *io, const struct err *err)
{
    snprintf(io->io.errmsg, sizeof(io->io.errmsg), "%.*s", (int)sizeof(io->io.errmsg) - 1,
             err->msg);
    return err->code == ERR_CORRUPT ? RAFT_CORRUPT : RAFT_IOERR;
}

const char *raftio_address(const struct raftio *io, uint64_t id)
{
    for (size_t i = 0; i < io->member_count; i++)
        if (io->members[i].id == id)
            return io->addresses[i];
    return NULL;
}

/* Completions. */

static void run_completions(struct raftio *io)
{
    struct list_node *n;
    while ((n = list_pop(&io->completions))) {
        struct completion *c = container_of(n, struct completion, node);
        c->fn(io, c);
        mem_free(c);
    }
}

static void on_complete(struct env_task *t)
{
    run_completions(container_of(t, struct raftio, complete));
}

struct completion *raftio_complete_later(struct raftio *io,
                                         void (*fn)(struct raftio *, struct completion *),
                                         int status)
{
    struct completion *c = MEM_NEW(struct completion);
    c->fn = fn;
    c->status = status;
    list_push(&io->completions, &c->node);
    env_defer(io->env, &io->complete);
    return c;
}

/* Term, vote, bootstrap, load. */

static int store_meta(struct raftio *io)
{
    struct err err = {0};
    if (meta_store(io->env, io->dir, &io->meta, &err) ||
        (io->events->make_room && io->events->make_room(io->ctx) &&
         meta_store(io->env, io->dir, &io->meta, &err))) {
        io->term_is_new = false;
        return 0;
    }
    return raftio_fail(io, &err);
}

/* A new term is on the disk before anything goes out or into the log under it. The vote follows it
 * in the same call, mostly: then both are stored at once, and an election costs half the syncs. */
void raftio_settled(struct raftio *io)
{
    if (io->term_is_new && store_meta(io) != 0)
        wf_die("registry: a new term cannot be stored: %s: the node stops, the others go on",
               io->io.errmsg);
}

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)address;
    wf_assert(raftio_of(io)->self == id);
    return 0;
}

static int io_set_term(struct raft_io *rio, raft_term term)
{
    struct raftio *io = raftio_of(rio);
    io->meta.term = term;
    io->meta.vote = 0;
    io->term_is_new = true;
    return 0;
}

static int io_set_vote(struct raft_io *rio, raft_id id)
{
    struct raftio *io = raftio_of(rio);
    io->meta.vote = MUTANT(FORGET_VOTE) ? 0 : id;
    return store_meta(io);
}

/* From now on a directory without a log is a loss. */
void raftio_mark_started(struct raftio *io)
{
    if (io->meta.started)
        return;
    io->meta.started = 1;
    if (store_meta(io) != 0)
        wf_die("registry %s: %s", io->dir, io->io.errmsg);
}

static void on_bootstrapped(struct log_append *a)
{
    struct raftio *io = container_of(a, struct raftio, boot_append);
    io->bootstrapping = false;
    raftio_mark_started(io);
}

/* Every member of the initial cluster writes the same first entry. It is in the first group of the
 * log: nothing can be acknowledged before it is durable. */
static int io_bootstrap(struct raft_io *rio, const struct raft_configuration *conf)
{
    struct raftio *io = raftio_of(rio);
    struct raft_buffer bytes;
    if (!io->fresh)
        return RAFT_CANTBOOTSTRAP;
    int rc = raft_configuration_encode(conf, &bytes);
    if (rc != 0)
        return rc;
    if (io->meta.term == 0)
        io->meta.term = 1;
    conf_entry_seal(bytes.base, bytes.len);
    *vec_push(&io->contents.entries) = (struct log_entry){
        .term = 1, .type = LOG_CHANGE, .payload = slice_mem(bytes.base, bytes.len)};
    io->contents.first = 1;
    io->bootstrapping = true;
    io->next_index = 2;
    io->boot_append = (struct log_append){
        .first = 1, .entries = io->contents.entries.p, .n = 1, .fn = on_bootstrapped};
    log_append(io->log, &io->boot_append);
    return store_meta(io);
}

void raftio_set_joined(struct raftio *io)
{
    io->meta.joining = 0;
    if (store_meta(io) != 0)
        wf_die("registry %s: %s", io->dir, io->io.errmsg);
}

static int io_recover(struct raft_io *rio, const struct raft_configuration *conf)
{
    (void)conf;
    snprintf(rio->errmsg, sizeof(rio->errmsg), "forced recovery is not a call of this I/O");
    return RAFT_INVALID;
}

static void on_reset_at_load(struct log_append *a)
{
    (void)a;
}

/* The checkpoint was installed, and the process ended before the log was told: what the log holds
 * is older, or another leader's. */
static void drop_outrun_log(struct raftio *io)
{
    const struct snapshot_manifest *m = &io->manifest;
    struct log_contents *c = &io->contents;
    uint64_t last = c->first + c->entries.n - 1;
    bool fits = m->index <= last && (m->index < c->first || /* the entry itself may be gone */
                                     c->entries.p[m->index - c->first].term == m->term);
    if (fits || (c->entries.n == 0 && last == m->index))
        return;
    log_contents_fini(c);
    c->first = m->index + 1;
    log_reset(io->log, m->index, m->term, &io->boot_append, on_reset_at_load);
}

/* What is on the disk for the older checkpoint's sake alone need not be in memory. */
static void forget_long_ago(struct raftio *io)
{
    struct log_contents *c = &io->contents;
    if (!io->has_older)
        return;
    uint64_t newest = io->manifest.index, from = newest - (newest - io->older.index) / 2;
    size_t drop = from > c->first ? (size_t)(from - c->first) : 0;
    if (drop > c->entries.n)
        drop = c->entries.n;
    for (size_t i = 0; i < drop; i++)
        slice_free(c->entries.p[i].payload);
    c->entries.n -= drop;
    if (drop)
        memmove(c->entries.p, c->entries.p + drop, c->entries.n * sizeof(*c->entries.p));
    c->first += drop;
}

/* As they are: libraft's heap is ours (raft_heap_set, where it is called, gives it mem.h's). */
static void give_entries(struct raftio *io, struct raft_entry *ret[], size_t *ret_n)
{
    struct log_contents *c = &io->contents;
    *ret_n = c->entries.n;
    *ret = NULL;
    if (c->entries.n == 0)
        return;
    struct raft_entry *es = raft_calloc(c->entries.n, sizeof(*es));
    if (!es)
        wf_die("out of memory");
    for (size_t i = 0; i < c->entries.n; i++) {
        struct log_entry *e = &c->entries.p[i];
        es[i] = (struct raft_entry){.term = e->term,
                                    .type = (unsigned short)e->type,
                                    .buf = {(void *)(uintptr_t)e->payload.p, e->payload.n}};
        e->payload = (struct slice){0};
    }
    *ret = es;
}

static int io_load(struct raft_io *rio, raft_term *term, raft_id *voted_for,
                   struct raft_snapshot **snapshot, raft_index *start_index,
                   struct raft_entry *entries[], size_t *n_entries)
{
    struct raftio *io = raftio_of(rio);
    *term = io->meta.term;
    *voted_for = io->meta.vote;
    *snapshot = io->has_manifest ? raftio_make_snapshot(&io->manifest) : NULL;
    forget_long_ago(io);
    *start_index = io->contents.first;
    give_entries(io, entries, n_entries);
    log_contents_fini(&io->contents);
    return 0;
}

/* Log. */

struct append {
    struct log_append a;
    struct raftio *io;
    struct raft_io_append *req;
};

static void on_appended(struct log_append *la)
{
    struct append *a = container_of(la, struct append, a);
    struct raft_io_append *req = a->req;
    raftio_mark_started(a->io);
    mem_free(a);
    if (req)
        req->cb(req, 0);
}

static void complete_append(struct raftio *io, struct completion *c)
{
    (void)io;
    c->append->cb(c->append, c->status);
}

static int io_append(struct raft_io *rio, struct raft_io_append *req,
                     const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct raftio *io = raftio_of(rio);
    raftio_settled(io);
    struct log_entry *es = mem_array(n, sizeof(*es));
    for (unsigned i = 0; i < n; i++)
        es[i] = (struct log_entry){.term = entries[i].term,
                                   .type = (enum log_type)entries[i].type,
                                   .payload = slice_mem(entries[i].buf.base, entries[i].buf.len)};
    struct append *a = MEM_NEW(struct append);
    req->cb = cb;
    a->io = io;
    a->req = MUTANT(ACK_BEFORE_SYNC) ? NULL : req;
    if (!a->req)
        raftio_complete_later(io, complete_append, 0)->append = req;
    a->a = (struct log_append){.first = io->next_index, .entries = es, .n = n, .fn = on_appended};
    io->next_index += n;
    log_append(io->log, &a->a);
    mem_free(es);
    return 0;
}

/* The log only grows on disk: the entries that come next replace what is cut here. */
static int io_truncate(struct raft_io *rio, raft_index index)
{
    struct raftio *io = raftio_of(rio);
    wf_assert(index > 0 && index <= io->next_index);
    io->next_index = index;
    return 0;
}

/* Network. */

static void complete_send(struct raftio *io, struct completion *c)
{
    (void)io;
    c->send->cb(c->send, c->status);
}

/* What a peer cannot read is not for it (version.h, rule 4). */
static bool readable(const struct raftio *io, const struct raft_message *m)
{
    const struct peer_program *p = io->peers ? peers_program(io->peers, m->server_id) : NULL;
    if (!p || p->reads.newest >= io->reads.newest || MUTANT(SEND_UNREADABLE))
        return true;
    if (m->type == RAFT_IO_INSTALL_SNAPSHOT)
        return p->reads.newest >= io->version;
    for (unsigned i = 0; m->type == RAFT_IO_APPEND_ENTRIES && i < m->append_entries.n_entries;
         i++) {
        const struct raft_entry *e = &m->append_entries.entries[i];
        if (e->type == RAFT_COMMAND &&
            version_of_entry(slice_mem(e->buf.base, e->buf.len)) > p->reads.newest)
            return false;
    }
    return true;
}

static int io_send(struct raft_io *rio, struct raft_io_send *req, const struct raft_message *m,
                   raft_io_send_cb cb)
{
    struct raftio *io = raftio_of(rio);
    struct message_out out;
    message_encode(&out, m);
    bool sent = readable(io, m) &&
                raftio_send(io, m->server_id, out.type, out.term, out.pieces, out.piece_count);
    int status = sent ? 0 : RAFT_NOCONNECTION;
    /* Cut to what fits: the library goes on from what is acknowledged, not from what it meant to
     * send. */
    if (m->type == RAFT_IO_APPEND_ENTRIES && out.entries_sent < m->append_entries.n_entries)
        status = RAFT_TOOBIG;
    message_out_fini(&out);
    if (cb) { /* TimeoutNow has none, and its request may be gone by then */
        req->cb = cb;
        raftio_complete_later(io, complete_send, status)->send = req;
    }
    return 0;
}

bool raftio_send(struct raftio *io, uint64_t to, enum frame_type type, uint64_t term,
                 const struct iovec *payload, int n)
{
    raftio_settled(io);
    return io->peers && peers_send(io->peers, to, type, term, payload, n);
}

void raftio_deliver(struct raftio *io, uint64_t from, struct raft_message *m)
{
    m->server_id = from;
    m->server_address = raftio_address(io, from);
    wf_assert(m->server_address);
    io->recv(&io->io, m);
    raftio_settled(io);
}

static void on_frame(void *ctx, uint64_t from, const struct frame *f)
{
    struct raftio *io = ctx;
    struct raft_message m = {0};
    struct err err = {0};
    if (f->type > FRAME_TIMEOUT_NOW) {
        io->events->on_frame(io->ctx, from, f);
        return;
    }
    if (!message_decode(f, &m, &err))
        LOG_WARN("registry.peer.protocol", F_U64("from", from), F_ERR(&err));
    else if (m.type == RAFT_IO_INSTALL_SNAPSHOT)
        raftio_on_install(io, from, &m);
    else
        raftio_deliver(io, from, &m);
}

static void on_up(void *ctx, uint64_t id)
{
    struct raftio *io = ctx;
    io->events->on_up(io->ctx, id);
}

static void on_down(void *ctx, uint64_t id)
{
    struct raftio *io = ctx;
    io->events->on_down(io->ctx, id);
}

static void on_heard(void *ctx, uint64_t id)
{
    struct raftio *io = ctx;
    io->events->on_heard(io->ctx, id);
}

static void on_gone(void *ctx, uint64_t id)
{
    struct raftio *io = ctx;
    io->events->on_gone(io->ctx, id);
}

static void on_bulk(void *ctx, uint64_t from, struct env_stream *s, unsigned version)
{
    struct raftio *io = ctx;
    bulk_server_adopt(io->bulk, from, s, version);
}

static void on_enroll(void *ctx, struct slice payload, struct env_stream *s)
{
    struct raftio *io = ctx;
    io->events->on_enroll(io->ctx, payload, s);
}

static const struct peers_events peers_events = {.on_frame = on_frame,
                                                 .on_up = on_up,
                                                 .on_down = on_down,
                                                 .on_heard = on_heard,
                                                 .on_gone = on_gone,
                                                 .on_bulk = on_bulk,
                                                 .on_enroll = on_enroll};

/* Time, work. */

static void on_tick(struct env_timer *t)
{
    struct raftio *io = container_of(t, struct raftio, tick_timer);
    env_timer_start(io->env, t, io->tick_ms);
    raftio_install_try(io);
    io->tick(&io->io);
    raftio_settled(io);
}

static raft_time io_time(struct raft_io *rio)
{
    return (raft_time)env_now(raftio_of(rio)->env);
}

static int io_random(struct raft_io *rio, int min, int max)
{
    wf_assert(min <= max);
    return min + (int)env_random_below(raftio_of(rio)->env, (uint64_t)(max - min) + 1);
}

struct work {
    struct env_work w;
    struct raftio *io;
    struct raft_io_async_work *req;
    int status;
};

static void work_run(struct env_work *w)
{
    struct work *work = container_of(w, struct work, w);
    work->status = work->req->work(work->req);
}

static void work_done(struct env_work *w)
{
    struct work *work = container_of(w, struct work, w);
    struct raft_io_async_work *req = work->req;
    int status = work->status;
    work->io->works--;
    mem_free(work);
    req->cb(req, status);
}

static int io_async_work(struct raft_io *rio, struct raft_io_async_work *req,
                         raft_io_async_work_cb cb)
{
    struct raftio *io = raftio_of(rio);
    struct work *work = MEM_NEW(struct work);
    req->cb = cb;
    work->w = (struct env_work){.work = work_run, .done = work_done};
    work->io = io;
    work->req = req;
    io->works++;
    env_work(io->env, &work->w);
    return 0;
}

/* Life. */

static int io_start(struct raft_io *rio, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct raftio *io = raftio_of(rio);
    struct err err = {0};
    io->tick = tick;
    io->recv = recv;
    io->tick_ms = msecs;
    io->bulk = bulk_server_new(io->env, io->self, io->cluster, io->dir);
    io->peers = peers_open(&(struct peers_options){.env = io->env,
                                                   .self = io->self,
                                                   .cluster = io->cluster,
                                                   .incarnation = io->meta.incarnation,
                                                   .genesis = io->genesis,
                                                   .reads = io->reads,
                                                   .version = io->version,
                                                   .members = io->members,
                                                   .member_count = io->member_count,
                                                   .user_timeout = io->user_timeout,
                                                   .connect_timeout = io->connect_timeout,
                                                   .tls = io->tls,
                                                   .enrolls = io->enrolls,
                                                   .events = &peers_events,
                                                   .ctx = io},
                           &err);
    if (!io->peers)
        return raftio_fail(io, &err);
    env_timer_start(io->env, &io->tick_timer, msecs);
    env_timer_start(io->env, &io->scrub_timer, SCRUB_FIRST_MS);
    return 0;
}

void raftio_disconnect(struct raftio *io)
{
    peers_close(io->peers);
    io->peers = NULL;
    bulk_server_free(io->bulk);
    io->bulk = NULL;
    if (io->install.phase == INSTALL_FETCH || io->install.phase == INSTALL_READY)
        raftio_install_drop(io);
}

static void io_close(struct raft_io *rio, raft_io_close_cb cb)
{
    struct raftio *io = raftio_of(rio);
    wf_assert(io->works == 0);
    env_timer_stop(io->env, &io->tick_timer);
    env_timer_stop(io->env, &io->scrub_timer);
    raftio_disconnect(io);
    raftio_gets_cancel(io);
    env_defer_cancel(&io->complete);
    run_completions(io);
    cb(rio);
}

bool raftio_idle(const struct raftio *io)
{
    return io->works == 0 && !log_busy(io->log);
}

bool raftio_serving_checkpoint(const struct raftio *io)
{
    return io->bulk && bulk_server_busy(io->bulk);
}

uint64_t raftio_recovered_index(const struct raftio *io)
{
    uint64_t last = io->next_index - 1;
    /* The file of a checkpoint is newer than its snapshot, by what was applied while it was
     * made. */
    return io->has_manifest && io->manifest.file.index > last ? io->manifest.file.index : last;
}

bool raftio_bootstraps(const struct raftio *io)
{
    return io->fresh && io->birth == RAFTIO_WITH_CLUSTER && io->meta.joining != META_JOINS_AGAIN;
}

bool raftio_begun(const struct raftio *io)
{
    return !io->bootstrapping;
}

void raftio_set_genesis(struct raftio *io, uint64_t genesis)
{
    if (genesis == io->genesis)
        return;
    io->genesis = genesis;
    if (io->peers)
        peers_set_genesis(io->peers, genesis);
}

void raftio_set_version(struct raftio *io, unsigned version)
{
    if (version == io->version)
        return;
    io->version = version;
    if (io->peers)
        peers_set_version(io->peers, version);
}

unsigned raftio_recovered_version(const struct raftio *io)
{
    unsigned version = 0;
    for (size_t i = 0; i < io->contents.entries.n; i++) {
        const struct log_entry *e = &io->contents.entries.p[i];
        unsigned v = e->type == LOG_COMMAND ? version_of_entry(e->payload) : 0;
        version = v > version ? v : version;
    }
    return version;
}

uint64_t raftio_log_bytes(const struct raftio *io)
{
    return log_appended_bytes(io->log) - io->bytes_at_snapshot;
}

static enum meta_joining joining_at_birth(const struct raftio *io)
{
    if (io->birth == RAFTIO_NEWCOMER || io->member_count == 1)
        return META_MEMBER;
    return io->birth == RAFTIO_AGAIN ? META_JOINS_AGAIN : META_JOINS_FIRST;
}

static bool meta_open(struct raftio *io, struct err *err)
{
    struct err e = {0};
    if (meta_load(io->env, io->dir, &io->meta, &e)) {
        io->cluster = io->meta.cluster; /* of the first start; addresses may have changed since */
        return io->meta.node == io->self ||
               err_set(err, ERR_INVALID, "%s belongs to node %llu, this is node %llu", io->dir,
                       (unsigned long long)io->meta.node, (unsigned long long)io->self);
    }
    if (e.code != ERR_NOT_FOUND)
        return err_set(err, e.code, "%s", e.msg);
    io->fresh = true;
    io->meta =
        (struct meta){.cluster = io->cluster, .node = io->self, .joining = joining_at_birth(io)};
    env_random(io->env, &io->meta.incarnation, sizeof(io->meta.incarnation));
    /* Remembered at once: a new start must not take the directory for one that was never used. */
    return io->birth != RAFTIO_AGAIN || meta_store(io->env, io->dir, &io->meta, err);
}

/* Do the parts of the directory fit together? */
static bool contents_fit(struct raftio *io, struct err *err)
{
    const struct log_contents *c = &io->contents;
    bool empty = c->entries.n == 0 && !io->has_manifest;
    if (io->fresh && !empty)
        return err_set(err, ERR_CORRUPT,
                       "%s holds a log, but term and vote are missing: the node must not vote",
                       io->dir);
    if (!io->fresh && (empty || c->no_segments) && io->meta.started)
        return err_set(err, ERR_CORRUPT, "%s: the log is gone: the node must not vote", io->dir);
    if (empty)
        io->fresh = true;
    if (c->first > (io->has_manifest ? io->manifest.index + 1 : 1))
        return err_set(err, ERR_CORRUPT,
                       "%s: the log begins at %llu, and no checkpoint holds what is before",
                       io->dir, (unsigned long long)c->first);
    return true;
}

static uint64_t bytes_after(const struct log_contents *c, uint64_t index)
{
    uint64_t n = 0;
    for (size_t i = 0; i < c->entries.n; i++)
        if (c->first + i > index)
            n += log_record_bytes(c->entries.p[i].payload.n);
    return n;
}

void raftio_count_log(struct raftio *io)
{
    io->bytes_at_snapshot =
        0 - bytes_after(&io->contents, io->has_manifest ? io->manifest.index : 0);
}

static bool open_parts(struct raftio *io, const struct raftio_options *opt, struct err *err)
{
    char path[PATH_BYTES];
    struct err lost = {0};
    snprintf(path, sizeof(path), "%s/log", io->dir);
    if (!env_dir_make(io->env, io->dir, err) || !meta_open(io, err) ||
        !raftio_manifest_open(io, &lost, err) || !raftio_sweep(io, err))
        return false;
    io->log = log_open(&(struct log_options){.env = io->env,
                                             .dir = path,
                                             .cluster = io->cluster,
                                             .node = io->self,
                                             .segment_bytes = opt->segment_bytes,
                                             .cells = opt->log_cells},
                       &io->contents, err);
    if (!io->log || !contents_fit(io, err) || (lost.code && !raftio_older_settle(io, &lost, err)))
        return false;
    if (io->has_manifest)
        drop_outrun_log(io);
    io->next_index = io->contents.first + io->contents.entries.n;
    raftio_count_log(io);
    return true;
}

static void members_set(struct raftio *io, const struct peer_member *members, size_t n)
{
    io->member_count = n;
    for (size_t i = 0; i < n; i++) {
        io->members[i] = members[i];
        conf_member_format(&members[i], io->addresses[i]);
    }
}

void raftio_set_members(struct raftio *io, const struct peer_member *members, size_t n)
{
    wf_assert(n > 0 && n <= RAFT_MEMBERS_MAX);
    struct peer_member before[RAFT_MEMBERS_MAX];
    size_t count = io->member_count;
    memcpy(before, io->members, sizeof(before));
    members_set(io, members, n);
    if (!io->peers)
        return;
    peers_set_members(io->peers, members, n);
    for (size_t i = 0; i < count; i++) {
        if (peers_member_addr(io->peers, before[i].id))
            continue;
        bulk_server_cut(io->bulk, before[i].id);
        if (io->install.phase == INSTALL_FETCH && io->install.from == before[i].id)
            raftio_install_drop(io);
    }
}

bool raftio_open(struct raftio *io, const struct raftio_options *opt, struct err *err)
{
    wf_assert(opt->member_count > 0 && opt->member_count <= RAFT_MEMBERS_MAX);
    *io = (struct raftio){.env = opt->env,
                          .self = opt->self,
                          .cluster = opt->cluster,
                          .reads = versions_or_all(opt->reads),
                          .user_timeout = opt->user_timeout,
                          .connect_timeout = opt->connect_timeout,
                          .tls = opt->tls,
                          .enrolls = opt->enrolls,
                          .raft = opt->raft,
                          .events = opt->events,
                          .ctx = opt->ctx,
                          .birth = opt->birth,
                          .tick_timer.fn = on_tick,
                          .scrub_timer.fn = raftio_on_scrub,
                          .complete.fn = on_complete};
    io->io = (struct raft_io){.version = 2,
                              .impl = io,
                              .init = io_init,
                              .close = io_close,
                              .load = io_load,
                              .start = io_start,
                              .bootstrap = io_bootstrap,
                              .recover = io_recover,
                              .set_term = io_set_term,
                              .set_vote = io_set_vote,
                              .send = io_send,
                              .append = io_append,
                              .truncate = io_truncate,
                              .snapshot_put = raftio_snapshot_put,
                              .snapshot_get = raftio_snapshot_get,
                              .time = io_time,
                              .random = io_random,
                              .async_work = io_async_work};
    list_init(&io->completions);
    list_init(&io->gets);
    io->dir = mem_new(strlen(opt->dir) + 1);
    memcpy(io->dir, opt->dir, strlen(opt->dir) + 1);
    members_set(io, opt->members, opt->member_count);
    if (open_parts(io, opt, err))
        return true;
    raftio_fini(io);
    return false;
}

void raftio_fini(struct raftio *io)
{
    if (!io->dir)
        return;
    env_timer_stop(io->env, &io->tick_timer);
    env_timer_stop(io->env, &io->scrub_timer);
    env_defer_cancel(&io->complete);
    run_completions(io);
    raftio_disconnect(io);
    log_contents_fini(&io->contents);
    log_close(io->log);
    snapshot_manifest_fini(&io->manifest);
    snapshot_manifest_fini(&io->older);
    mem_free(io->dir);
    *io = (struct raftio){0};
}
