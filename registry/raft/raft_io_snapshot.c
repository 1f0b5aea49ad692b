/* Checkpoints: their manifests and files, the look at them, those that come from a leader. */
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "registry/raft/conf.h"
#include "registry/raft/guard.h"
#include "registry/raft/message.h"
#include "registry/raft/raft_io_impl.h"

#define PATH_BYTES SNAPSHOT_PATH_BYTES
#define GET_AGAIN_MS 50 /* a checkpoint is being made anew */

static void *raft_copy(const void *p, size_t n)
{
    void *copy = raft_malloc(n ? n : 1);
    if (!copy)
        wf_die("out of memory");
    memcpy(copy, p, n);
    return copy;
}

struct raft_snapshot *raftio_make_snapshot(const struct snapshot_manifest *m)
{
    char data[SNAPSHOT_DATA_BYTES];
    struct raft_snapshot snap = {
        .index = m->index, .term = m->term, .configuration_index = m->conf_index, .n_bufs = 1};
    snapshot_file_encode(data, &m->file);
    conf_copy(&m->conf, &snap.configuration);
    struct raft_buffer buf = {raft_copy(data, sizeof(data)), sizeof(data)};
    snap.bufs = raft_copy(&buf, sizeof(buf));
    return raft_copy(&snap, sizeof(snap));
}

static bool same_file(const struct snapshot_file *a, const struct snapshot_file *b)
{
    return a->index == b->index && memcmp(a->sha256, b->sha256, sizeof(a->sha256)) == 0;
}

static bool manifest_replace(struct raftio *io, const struct raft_snapshot *s, struct err *err)
{
    struct snapshot_manifest m = {.index = s->index,
                                  .term = s->term,
                                  .conf_index = s->configuration_index,
                                  .conf = s->configuration}; /* borrowed */
    wf_assert(s->n_bufs == 1);
    if (!snapshot_file_decode(slice_mem(s->bufs[0].base, s->bufs[0].len), &m.file, err) ||
        !snapshot_manifest_store(io->env, io->dir, SNAPSHOT_NEWEST, &m, err))
        return false;
    snapshot_manifest_fini(&io->manifest);
    io->has_manifest =
        snapshot_manifest_load(io->env, io->dir, SNAPSHOT_NEWEST, &io->manifest, err);
    return io->has_manifest;
}

static void older_forget(struct raftio *io)
{
    snapshot_manifest_fini(&io->older);
    io->has_older = false;
}

/* The log that goes on from it will be gone. */
static bool older_remove(struct raftio *io, struct err *err)
{
    older_forget(io);
    return snapshot_manifest_remove(io->env, io->dir, SNAPSHOT_OLDER, err);
}

/* s is the newest, what was it is the one before. A crash in between leaves the same one twice. */
static bool manifest_push(struct raftio *io, const struct raft_snapshot *s, struct err *err)
{
    struct snapshot_manifest was = io->manifest;
    bool had = io->has_manifest;
    if (had && !snapshot_manifest_store(io->env, io->dir, SNAPSHOT_OLDER, &was, err))
        return false;
    io->manifest = (struct snapshot_manifest){0};
    if (!manifest_replace(io, s, err)) {
        io->manifest = was;
        io->has_manifest = had;
        return false;
    }
    older_forget(io);
    io->older = was;
    io->has_older = had;
    return true;
}

bool raftio_sweep(struct raftio *io, struct err *err)
{
    const struct snapshot_file *const keep[SNAPSHOT_COUNT] = {
        io->has_manifest ? &io->manifest.file : NULL, io->has_older ? &io->older.file : NULL};
    return snapshot_sweep(io->env, io->dir, keep, err);
}

static void sweep_idle(struct raftio *io)
{
    struct err err = {0};
    if (io->install.phase == INSTALL_NONE && !raftio_sweep(io, &err))
        LOG_WARN("registry.checkpoint.sweep", F_CSTR("dir", io->dir), F_ERR(&err));
}

static void log_shorten(struct raftio *io, uint64_t keep)
{
    log_trim(io->log, io->has_older && io->older.index + 1 < keep ? io->older.index + 1 : keep);
    io->bytes_at_snapshot = log_appended_bytes(io->log);
    sweep_idle(io);
}

bool raftio_drop_older(struct raftio *io)
{
    struct err err = {0};
    if (!io->has_older)
        return false;
    LOG_WARN("registry.checkpoint.older_dropped", F_CSTR("dir", io->dir),
             F_U64("index", io->older.index));
    if (!older_remove(io, &err))
        LOG_WARN("registry.checkpoint.sweep", F_CSTR("dir", io->dir), F_ERR(&err));
    sweep_idle(io);
    return true;
}

static void complete_put(struct raftio *io, struct completion *c)
{
    (void)io;
    c->put->cb(c->put, c->status);
}

struct reset {
    struct log_append a;
    struct raftio *io;
    struct raft_io_snapshot_put *req;
};

static void on_reset(struct log_append *a)
{
    struct reset *r = container_of(a, struct reset, a);
    struct raft_io_snapshot_put *req = r->req;
    log_shorten(r->io, r->io->manifest.index);
    raftio_mark_started(r->io);
    mem_free(r);
    req->cb(req, 0);
}

static int put_installed(struct raftio *io, struct raft_io_snapshot_put *req,
                         const struct raft_snapshot *s)
{
    struct err err = {0};
    if (!older_remove(io, &err) || !manifest_replace(io, s, &err))
        return raftio_fail(io, &err);
    io->next_index = s->index + 1;
    struct reset *r = MEM_NEW(struct reset);
    r->io = io;
    r->req = req;
    log_reset(io->log, s->index, s->term, &r->a, on_reset);
    return 0;
}

/* Our own checkpoint was copied to the temporary name. */
static int put_taken(struct raftio *io, unsigned trailing, struct raft_io_snapshot_put *req,
                     const struct raft_snapshot *s)
{
    struct err err = {0};
    struct snapshot_file f;
    char from[PATH_BYTES], to[PATH_BYTES];
    if (!snapshot_file_decode(slice_mem(s->bufs[0].base, s->bufs[0].len), &f, &err) ||
        !env_file_rename(io->env, snapshot_temp_path(io->dir, from),
                         snapshot_file_path(io->dir, f.index, snapshot_file_tag(&f), to), &err) ||
        !env_dir_sync(io->env, io->dir, &err) || !manifest_push(io, s, &err)) {
        LOG_ERROR("registry.checkpoint.failed", F_ERR(&err));
        raftio_complete_later(io, complete_put, raftio_fail(io, &err))->put = req;
        return 0;
    }
    log_shorten(io, s->index > trailing ? s->index - trailing + 1 : 1);
    LOG_INFO("registry.checkpoint.taken", F_U64("index", s->index), F_U64("bytes", f.bytes));
    raftio_complete_later(io, complete_put, 0)->put = req;
    return 0;
}

int raftio_snapshot_put(struct raft_io *rio, unsigned trailing, struct raft_io_snapshot_put *req,
                        const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct raftio *io = raftio_of(rio);
    raftio_settled(io);
    req->cb = cb;
    return trailing == 0 ? put_installed(io, req, snapshot)
                         : put_taken(io, trailing, req, snapshot);
}

/* libraft wants to send it: is the file what it was? A follower would fetch a damaged one again and
 * again. What is damaged is made anew and waited for: libraft 0.15 forgets nothing of a transfer
 * that failed to begin, and would try again only after its install time-out. */
struct get {
    struct list_node node; /* in io->gets while it waits */
    struct env_work w;
    struct env_timer again;
    struct raftio *io;
    struct raft_io_snapshot_get *req;
    struct snapshot_file file;
    struct err err;
};

static void get_work(struct env_work *w)
{
    struct get *g = container_of(w, struct get, w);
    char path[PATH_BYTES];
    snapshot_file_path(g->io->dir, g->file.index, snapshot_file_tag(&g->file), path);
    g->io->events->verify(g->io->ctx, path, &g->file, &g->err);
}

static void get_of(struct get *g, const struct snapshot_file *f)
{
    err_clear(&g->err);
    g->file = *f;
    g->io->works++;
    env_work(g->io->env, &g->w);
}

static void get_begin(struct get *g)
{
    list_remove(&g->node);
    get_of(g, &g->io->manifest.file);
}

/* Damage that nobody looks at waits for the day on which the file is needed. The newest is looked
 * at first, then the one before: that is not made anew, the next takes its place soon. */
static void scrub_done(struct get *g)
{
    struct raftio *io = g->io;
    bool newest = same_file(&g->file, &io->manifest.file);
    bool older = io->has_older && same_file(&g->file, &io->older.file);
    if (g->err.code && (newest || older))
        LOG_ERROR("registry.checkpoint.damaged", F_U64("index", g->file.index), F_ERR(&g->err));
    if (g->err.code && newest)
        io->events->on_damaged(io->ctx);
    else if (g->err.code && older)
        raftio_drop_older(io);
    if (newest && !older && io->has_older) {
        get_of(g, &io->older.file);
        return;
    }
    mem_free(g);
    env_timer_start(io->env, &io->scrub_timer, SCRUB_MS);
}

static void get_done(struct env_work *w)
{
    struct get *g = container_of(w, struct get, w);
    struct raftio *io = g->io;
    struct raft_io_snapshot_get *req = g->req;
    io->works--;
    if (!req) {
        scrub_done(g);
        return;
    }
    if (!same_file(&g->file, &io->manifest.file)) { /* there is a newer one now */
        get_begin(g);
        return;
    }
    if (g->err.code) {
        LOG_ERROR("registry.checkpoint.damaged", F_U64("index", io->manifest.index),
                  F_ERR(&g->err));
        io->events->on_damaged(io->ctx);
        list_push(&io->gets, &g->node);
        env_timer_start(io->env, &g->again, GET_AGAIN_MS);
        return;
    }
    mem_free(g);
    req->cb(req, raftio_make_snapshot(&io->manifest), 0);
}

void raftio_on_scrub(struct env_timer *t)
{
    struct raftio *io = container_of(t, struct raftio, scrub_timer);
    if (!io->has_manifest) {
        env_timer_start(io->env, t, SCRUB_MS);
        return;
    }
    struct get *g = MEM_NEW(struct get);
    *g = (struct get){.w = {.work = get_work, .done = get_done}, .io = io};
    get_begin(g);
}

static void on_get_again(struct env_timer *t)
{
    get_begin(container_of(t, struct get, again));
}

void raftio_gets_cancel(struct raftio *io)
{
    struct list_node *n;
    while ((n = list_pop(&io->gets))) {
        struct get *g = container_of(n, struct get, node);
        struct raft_io_snapshot_get *req = g->req;
        env_timer_stop(io->env, &g->again);
        mem_free(g);
        req->cb(req, NULL, RAFT_CANCELED);
    }
}

int raftio_snapshot_get(struct raft_io *rio, struct raft_io_snapshot_get *req,
                        raft_io_snapshot_get_cb cb)
{
    struct raftio *io = raftio_of(rio);
    wf_assert(io->has_manifest); /* libraft has read it, or written it */
    req->cb = cb;
    struct get *g = MEM_NEW(struct get);
    *g = (struct get){
        .w = {.work = get_work, .done = get_done}, .again.fn = on_get_again, .io = io, .req = req};
    get_begin(g);
    return 0;
}

bool raftio_replace_checkpoint(struct raftio *io, const struct snapshot_file *f, struct err *err)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    struct snapshot_file was = io->manifest.file;
    wf_assert(io->has_manifest);
    if (f->index < io->manifest.index)
        return err_set(err, ERR_CORRUPT, "the store is older than the checkpoint");
    if (!env_file_rename(io->env, snapshot_remade_path(io->dir, from),
                         snapshot_file_path(io->dir, f->index, snapshot_file_tag(f), to), err) ||
        !env_dir_sync(io->env, io->dir, err))
        return false;
    io->manifest.file = *f;
    if (snapshot_manifest_store(io->env, io->dir, SNAPSHOT_NEWEST, &io->manifest, err))
        return true;
    io->manifest.file = was;
    return false;
}

/* At an open. */

/* The one before takes the place of the newest: in memory. */
static void older_promote(struct raftio *io)
{
    snapshot_manifest_fini(&io->manifest);
    io->manifest = io->older;
    io->has_manifest = true;
    io->older = (struct snapshot_manifest){0};
    io->has_older = false;
}

/* … and for good. */
bool raftio_older_settle(struct raftio *io, const struct err *why, struct err *err)
{
    LOG_ERROR("registry.checkpoint.older", F_CSTR("dir", io->dir),
              F_U64("index", io->manifest.index), F_ERR(why));
    return snapshot_manifest_store(io->env, io->dir, SNAPSHOT_NEWEST, &io->manifest, err) &&
           older_remove(io, err);
}

/* What manifest_push left in the middle: nothing is before the newest. */
static bool twice_forget(struct raftio *io, struct err *err)
{
    return !io->has_older || io->older.index < io->manifest.index || older_remove(io, err);
}

/* lost: what is wrong with the newest, in whose place is the one before until the log was read. */
bool raftio_manifest_open(struct raftio *io, struct err *lost, struct err *err)
{
    struct err e = {0};
    io->has_manifest =
        snapshot_manifest_load(io->env, io->dir, SNAPSHOT_NEWEST, &io->manifest, lost);
    io->has_older = snapshot_manifest_load(io->env, io->dir, SNAPSHOT_OLDER, &io->older, &e);
    if (e.code && e.code != ERR_NOT_FOUND)
        LOG_WARN("registry.checkpoint.older_lost", F_ERR(&e));
    if (io->has_manifest)
        return twice_forget(io, err);
    if (io->has_older && (lost->code == ERR_CORRUPT || lost->code == ERR_NOT_FOUND)) {
        older_promote(io);
        return true;
    }
    bool none = lost->code == ERR_NOT_FOUND;
    if (!none)
        err_set(err, lost->code, "%s", lost->msg);
    err_clear(lost);
    return none;
}

static bool log_reaches(const struct raftio *io, const struct snapshot_manifest *m)
{
    return io->contents.first <= m->index + 1 && io->next_index > m->index;
}

bool raftio_fall_back(struct raftio *io, const struct err *why, struct err *err)
{
    if (!io->has_older || !log_reaches(io, &io->older))
        return err_set(err, ERR_CORRUPT, "%s; there is no older one that the log goes on from",
                       why->msg);
    older_promote(io);
    raftio_count_log(io);
    return raftio_older_settle(io, why, err) && raftio_sweep(io, err);
}

/* Checkpoints from a leader. */

void raftio_install_drop(struct raftio *io)
{
    bulk_fetch_cancel(&io->install.fetch);
    message_free(&io->install.message);
    io->install.phase = INSTALL_NONE;
}

/* The leader aborts the transfer and tries again with the newest one. */
static void install_refuse(struct raftio *io, uint64_t from, const struct raft_message *m)
{
    struct message_out out;
    struct raft_message res = {.type = RAFT_IO_APPEND_ENTRIES_RESULT,
                               .append_entries_result = {.term = io->raft->current_term,
                                                         .rejected = m->install_snapshot.last_index,
                                                         .last_log_index = io->raft->last_stored}};
    message_encode(&out, &res);
    raftio_send(io, from, out.type, out.term, out.pieces, out.piece_count);
    message_out_fini(&out);
}

void raftio_install_try(struct raftio *io)
{
    struct raftio_install *in = &io->install;
    if (in->phase != INSTALL_READY || io->raft->snapshot.pending.term != 0 ||
        io->raft->snapshot.put.data != NULL)
        return;
    in->phase = INSTALL_NONE;
    struct raft_message m = in->message;
    in->message = (struct raft_message){0};
    raftio_deliver(io, in->from, &m);
}

static void verify_work(struct env_work *w)
{
    struct raftio_install *in = container_of(w, struct raftio_install, work);
    struct raftio *io = container_of(in, struct raftio, install);
    err_clear(&in->err);
    io->events->verify(io->ctx, in->part, &in->file, &in->err);
}

static void verify_done(struct env_work *w)
{
    struct raftio_install *in = container_of(w, struct raftio_install, work);
    struct raftio *io = container_of(in, struct raftio, install);
    char path[PATH_BYTES];
    io->works--;
    if (in->phase != INSTALL_VERIFY)
        return;
    if (in->err.code == ERR_NONE &&
        env_file_rename(
            io->env, in->part,
            snapshot_file_path(io->dir, in->file.index, snapshot_file_tag(&in->file), path),
            &in->err) &&
        env_dir_sync(io->env, io->dir, &in->err)) {
        LOG_INFO("registry.checkpoint.received", F_U64("index", in->file.index),
                 F_U64("bytes", in->file.bytes));
        in->phase = INSTALL_READY;
        raftio_install_try(io);
        return;
    }
    LOG_ERROR("registry.checkpoint.rejected", F_ERR(&in->err));
    install_refuse(io, in->from, &in->message);
    raftio_install_drop(io);
}

static void on_fetched(void *ctx, const struct err *err)
{
    struct raftio *io = ctx;
    struct raftio_install *in = &io->install;
    if (err->code) {
        LOG_WARN("registry.checkpoint.not_received", F_ERR(err));
        install_refuse(io, in->from, &in->message);
        raftio_install_drop(io);
        return;
    }
    in->phase = INSTALL_VERIFY;
    in->work = (struct env_work){.work = verify_work, .done = verify_done};
    io->works++;
    env_work(io->env, &in->work);
}

/* What libraft will answer without the file. */
static bool install_is_idle(const struct raftio *io, const struct raft_install_snapshot *s)
{
    raft_term have = guard_term_of(io->raft, s->last_index);
    return s->term < io->raft->current_term || io->raft->log.snapshot.last_index >= s->last_index ||
           (have && have >= s->last_term);
}

static void install_begin(struct raftio *io, uint64_t from, struct raft_message *m,
                          const struct snapshot_file *f)
{
    struct raftio_install *in = &io->install;
    struct err err = {0};
    struct bulk_fetch_options opt = {.env = io->env,
                                     .self = io->self,
                                     .cluster = io->cluster,
                                     .incarnation = io->meta.incarnation,
                                     .reads = io->reads,
                                     .peer = from,
                                     .addr = *peers_member_addr(io->peers, from),
                                     .tls = io->tls,
                                     .index = f->index,
                                     .tag = snapshot_file_tag(f),
                                     .bytes = f->bytes,
                                     .path = in->part,
                                     .fn = on_fetched,
                                     .ctx = io};
    snapshot_part_path(io->dir, in->part);
    if (!bulk_fetch_start(&in->fetch, &opt, &err))
        wf_die("checkpoint %s: %s: the node stops, the others go on", in->part, err.msg);
    in->phase = INSTALL_FETCH;
    in->message = *m;
    in->from = from;
    in->file = *f;
    LOG_INFO("registry.checkpoint.fetching", F_U64("from", from), F_U64("index", f->index),
             F_U64("bytes", f->bytes));
}

void raftio_on_install(struct raftio *io, uint64_t from, struct raft_message *m)
{
    struct raftio_install *in = &io->install;
    struct raft_install_snapshot *s = &m->install_snapshot;
    struct snapshot_file f;
    struct err err = {0};
    if (!snapshot_file_decode(slice_mem(s->data.base, s->data.len), &f, &err)) {
        LOG_WARN("registry.peer.protocol", F_U64("from", from), F_ERR(&err));
        message_free(m);
        return;
    }
    if (install_is_idle(io, s)) {
        raftio_deliver(io, from, m);
        return;
    }
    if (in->phase != INSTALL_NONE && same_file(&in->file, &f) && in->from == from) {
        message_free(&in->message);
        in->message = *m;
        raftio_install_try(io);
        return;
    }
    if (in->phase == INSTALL_VERIFY || (in->phase == INSTALL_NONE && io->no_room)) {
        install_refuse(io, from, m);
        message_free(m);
        return;
    }
    if (in->phase != INSTALL_NONE)
        raftio_install_drop(io);
    install_begin(io, from, m, &f);
}
