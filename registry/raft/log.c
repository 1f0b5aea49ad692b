#include "registry/raft/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/core/mutant.h"
#include "registry/raft/log_end.h"
#include "registry/raft/raft_limits.h"

#define PATH_BYTES 4096
#define SEGMENT_NAME_DIGITS 16
#define SPARE_NAME "spare"

struct segment {
    uint64_t number;
    uint64_t max_index; /* of its records; 0 = none */
    uint64_t bytes;     /* size of the file */
};

struct log {
    struct env *env;
    char *dir;
    uint64_t cluster, node, segment_bytes;
    VEC(struct segment) segments; /* oldest first; the last one is written to */
    struct env_file *file;        /* of the last segment */
    uint64_t offset;              /* where the next group goes */
    uint64_t chain, last_index, appended_bytes;

    /* The group in flight, and what waits for the next. */
    struct list waiting, writing;
    struct buf group;
    struct iovec group_iov;
    struct env_file_write write;
    struct env_task flush;
    bool in_flight;
    struct log_cells cells;
    uint64_t began_ns; /* of the write in flight */

    struct env_file *end_file; /* log_end.h */

    /* The next segment, zeroed in pieces while this one fills: a roll-over must not stop the loop.
     */
    struct env_file *spare;
    uint64_t spare_bytes, spare_done;
    struct env_file_write spare_write;
    struct iovec spare_iov;
    bool spare_busy;
};

static const char zeros[LOG_SPARE_PIECE_BYTES];

static void die(const struct log *log, const struct err *err)
{
    wf_die("registry log %s: %s: the node stops, the others go on", log->dir, err->msg);
}

/* Names. */

static const char *segment_path(const struct log *log, uint64_t number, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/%016llx.log", log->dir, (unsigned long long)number);
    return path;
}

static const char *spare_path(const struct log *log, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/%s", log->dir, SPARE_NAME);
    return path;
}

static bool segment_number(struct slice name, uint64_t *ret)
{
    uint64_t v = 0;
    if (name.n != SEGMENT_NAME_DIGITS + 4 || !slice_ends(name, S(".log")))
        return false;
    for (size_t i = 0; i < SEGMENT_NAME_DIGITS; i++) {
        char c = name.p[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 16;
        if (digit > 15)
            return false;
        v = v << 4 | digit;
    }
    *ret = v;
    return true;
}

static struct segment *last_segment(struct log *log)
{
    wf_assert(log->segments.n > 0);
    return &log->segments.p[log->segments.n - 1];
}

/* Open. */

struct scan {
    struct log *log;
    struct log_contents *contents;
    struct segment *segment;
    bool any;           /* the start of the log is known */
    bool reset;         /* by a checkpoint that was installed: nothing before it comes again */
    struct log_end end; /* what must be met; segment 0 = not known */
    bool end_seen;
};

static void drop_from(struct log_contents *c, uint64_t n)
{
    while (c->entries.n > n)
        slice_free(c->entries.p[--c->entries.n].payload);
}

/* Not zeroed first: it is the whole log. */
static struct slice payload_copy(struct slice s)
{
    char *p = mem_try(s.n ? s.n : 1);
    if (!p)
        wf_die("out of memory for the log");
    if (s.n)
        memcpy(p, s.p, s.n);
    return (struct slice){p, s.n};
}

static bool on_record(void *ctx, const struct log_record *r, struct err *err)
{
    struct scan *s = ctx;
    struct log_contents *c = s->contents;
    if (s->segment->number == s->end.segment && r->chain == s->end.chain)
        s->end_seen = true;
    if (r->index > s->segment->max_index)
        s->segment->max_index = r->index;
    if (r->type == LOG_RESET) {
        drop_from(c, 0);
        c->first = r->index + 1;
        s->any = s->reset = true;
        return true;
    }
    /* The first segment that is left may begin with entries of which even earlier ones were
     * replaced later. */
    if (!s->any || (!s->reset && r->index < c->first)) {
        drop_from(c, 0);
        c->first = r->index;
        s->any = true;
    }
    if (r->index < c->first || r->index > c->first + c->entries.n)
        return err_set(err, ERR_CORRUPT, "entry %llu follows entry %llu",
                       (unsigned long long)r->index,
                       (unsigned long long)(c->first + c->entries.n - 1));
    drop_from(c, r->index - c->first);
    *vec_push(&c->entries) =
        (struct log_entry){.term = r->term, .type = r->type, .payload = payload_copy(r->payload)};
    return true;
}

static void on_name(void *ctx, const char *name)
{
    struct log *log = ctx;
    uint64_t number;
    if (segment_number(slice_of(name), &number))
        *vec_push(&log->segments) = (struct segment){.number = number};
}

static bool read_segment(struct log *log, struct segment *s, struct buf *bytes, struct err *err)
{
    char path[PATH_BYTES];
    struct env_file *f = env_file_open(log->env, segment_path(log, s->number, path), O_RDONLY, err);
    if (!f)
        return false;
    size_t got = 0;
    bool ok = env_file_size(f, &s->bytes, err) &&
              (s->bytes <= LOG_SEGMENT_BYTES_MAX ||
               err_set(err, ERR_CORRUPT, "%llu bytes", (unsigned long long)s->bytes));
    if (ok) {
        buf_clear(bytes);
        ok = env_file_read(f, 0, buf_reserve(bytes, s->bytes), s->bytes, &got, err);
        buf_commit(bytes, got);
    }
    env_file_close(f);
    return ok;
}

/* Bytes of a write that was cut off, and of whatever lies behind it, must not be met again. */
static bool zero_tail(struct log *log, const struct segment *s, uint64_t from, struct err *err)
{
    char path[PATH_BYTES];
    struct env_file *f = env_file_open(log->env, segment_path(log, s->number, path), O_RDWR, err);
    if (!f)
        return false;
    bool ok = env_file_truncate(f, from, err) && env_file_preallocate(f, s->bytes, err);
    env_file_close(f);
    return ok;
}

static bool scan_segment(struct log *log, size_t i, struct scan *scan, struct buf *bytes,
                         struct err *err)
{
    struct segment *s = &log->segments.p[i];
    struct log_contents *c = scan->contents;
    struct log_scan_end end;
    scan->segment = s;
    bool last = i + 1 == log->segments.n;
    if (i > 0 && s->number != s[-1].number + 1)
        return err_set(err, ERR_CORRUPT, "segment %016llx is missing",
                       (unsigned long long)s[-1].number + 1);
    if (!read_segment(log, s, bytes, err) ||
        !log_segment_scan(buf_slice(bytes), s->number, last, log->cluster, log->node,
                          i > 0 ? &log->chain : NULL, on_record, scan, &end, err))
        return err_wrap(err, "%s/%016llx.log", log->dir, (unsigned long long)s->number);
    log->chain = end.chain;
    log->offset = end.offset;
    if (s->number == scan->end.segment && end.chain == scan->end.chain)
        scan->end_seen = true;
    if (end.torn) {
        c->torn_bytes = s->bytes - end.offset;
        LOG_WARN("registry.log.torn_tail", F_CSTR("dir", log->dir), F_U64("segment", s->number),
                 F_U64("offset", end.offset));
        return zero_tail(log, s, end.offset, err);
    }
    return true;
}

static bool scan_all(struct log *log, struct log_contents *c, struct err *err)
{
    struct buf bytes = {0};
    struct scan scan = {.log = log, .contents = c, .end = log_end_load(log->env, log->dir)};
    bool ok = true;
    c->first = 1;
    c->no_segments = log->segments.n == 0;
    for (size_t i = 0; ok && i < log->segments.n; i++)
        ok = scan_segment(log, i, &scan, &bytes, err);
    buf_fini(&bytes);
    if (ok && !scan.end_seen && !MUTANT(LOG_MAY_BE_SHORT) &&
        (c->no_segments ? scan.end.segment > 0 : scan.end.segment >= log->segments.p[0].number))
        ok = err_set(err, ERR_CORRUPT,
                     "%s: acknowledged entries are lost: the log went on to a record of segment "
                     "%016llx that is not there",
                     log->dir, (unsigned long long)scan.end.segment);
    if (!ok)
        return false;
    log->last_index = c->first + c->entries.n - 1;
    return true;
}

static bool spare_make(struct log *log, struct err *err)
{
    char path[PATH_BYTES];
    log->spare = env_file_open(log->env, spare_path(log, path), O_RDWR | O_CREAT | O_TRUNC, err);
    log->spare_bytes = log->segment_bytes;
    log->spare_done = 0;
    return log->spare != NULL;
}

static void spare_drop(struct log *log)
{
    if (log->spare)
        env_file_close(log->spare);
    log->spare = NULL;
    log->spare_busy = false;
}

/* The spare becomes the segment that is written to, with room for at least `need` bytes. Its head
 * goes out with its first group. */
static bool segment_begin(struct log *log, uint64_t need, struct err *err)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    uint64_t number = log->segments.n ? last_segment(log)->number + 1 : 1;
    uint64_t size = log->segment_bytes;
    if (need + LOG_SEGMENT_HEAD_BYTES > size)
        size = need + LOG_SEGMENT_HEAD_BYTES;
    if ((!log->spare && !spare_make(log, err)) || !env_file_preallocate(log->spare, size, err))
        return false;
    spare_drop(log);
    if (!env_file_rename(log->env, spare_path(log, from), segment_path(log, number, to), err) ||
        (!MUTANT(NAME_NOT_SYNCED) && !env_dir_sync(log->env, log->dir, err)))
        return false;
    struct env_file *f = env_file_open(log->env, to, O_RDWR, err);
    if (!f)
        return false;
    if (log->file)
        env_file_close(log->file);
    log->file = f;
    env_file_write_through(f);
    log->offset = 0;
    *vec_push(&log->segments) = (struct segment){.number = number, .bytes = size};
    return true;
}

/* Nothing was written to it yet: one that stayed without a head would be taken for damaged. */
static bool segment_widen(struct log *log, uint64_t need, struct err *err)
{
    struct segment *s = last_segment(log);
    s->bytes = need + LOG_SEGMENT_HEAD_BYTES;
    return env_file_preallocate(log->file, s->bytes, err);
}

static bool open_last(struct log *log, struct err *err)
{
    char path[PATH_BYTES];
    if (log->segments.n == 0)
        return segment_begin(log, 0, err);
    log->file =
        env_file_open(log->env, segment_path(log, last_segment(log)->number, path), O_RDWR, err);
    if (!log->file)
        return false;
    env_file_write_through(log->file);
    /* What was found may be in the system's memory only: a process that was killed between a write
     * and its sync. From here on it counts as durable. */
    return MUTANT(FOUND_IS_DURABLE) ||
           env_file_preallocate(log->file, last_segment(log)->bytes, err);
}

static bool open_end(struct log *log, struct err *err)
{
    struct log_end end = {.segment = last_segment(log)->number, .chain = log->chain};
    log->end_file = log_end_open(log->env, log->dir, &end, err);
    return log->end_file != NULL;
}

static void on_flush(struct env_task *t);

struct log *log_open(const struct log_options *opt, struct log_contents *ret, struct err *err)
{
    char path[PATH_BYTES];
    struct log *log = MEM_NEW(struct log);
    *log = (struct log){
        .env = opt->env,
        .cluster = opt->cluster,
        .node = opt->node,
        .segment_bytes = opt->segment_bytes ? opt->segment_bytes : LOG_SEGMENT_BYTES_DEFAULT,
        .dir = mem_new(strlen(opt->dir) + 1),
        .flush.fn = on_flush,
        .cells = opt->cells,
    };
    wf_assert(log->segment_bytes >= LOG_SEGMENT_BYTES_MIN);
    wf_assert(log->segment_bytes <= LOG_SEGMENT_BYTES_MAX);
    memcpy(log->dir, opt->dir, strlen(opt->dir) + 1);
    list_init(&log->waiting);
    list_init(&log->writing);
    struct log_contents c = {0};
    struct err gone = {0};
    bool ok = env_dir_make(log->env, log->dir, err) &&
              (env_file_remove(log->env, spare_path(log, path), &gone) ||
               gone.code == ERR_NOT_FOUND || err_set(err, gone.code, "%s", gone.msg)) &&
              env_dir_list(log->env, log->dir, on_name, log, err) && scan_all(log, &c, err) &&
              open_last(log, err) && open_end(log, err);
    if (!ok) {
        log_contents_fini(&c);
        log_close(log);
        return NULL;
    }
    *ret = c;
    return log;
}

void log_contents_fini(struct log_contents *c)
{
    drop_from(c, 0);
    vec_fini(&c->entries);
}

static void append_drop(struct list *l)
{
    struct list_node *n;
    while ((n = list_pop(l))) {
        struct log_append *a = container_of(n, struct log_append, node);
        mem_free(a->records);
        buf_fini(&a->bytes);
    }
}

void log_close(struct log *log)
{
    if (!log)
        return;
    env_defer_cancel(&log->flush);
    append_drop(&log->waiting);
    append_drop(&log->writing);
    spare_drop(log);
    env_file_close(log->end_file);
    if (log->file)
        env_file_close(log->file);
    vec_fini(&log->segments);
    buf_fini(&log->group);
    mem_free(log->dir);
    mem_free(log);
}

/* The next segment. */

static void on_spare_zeroed(struct env_file_write *w, const struct err *err)
{
    struct log *log = container_of(w, struct log, spare_write);
    if (err->code) { /* nothing is in it yet: what is wrong with the disk, a group will find */
        LOG_WARN("registry.log.no_spare", F_CSTR("dir", log->dir), F_ERR(err));
        spare_drop(log);
        return;
    }
    log->spare_busy = false;
    log->spare_done += log->spare_iov.iov_len;
}

/* One piece for each group that is written; started when a quarter is used. */
static void spare_advance(struct log *log)
{
    struct err err = {0};
    if (log->spare_busy || log->offset < last_segment(log)->bytes / 4)
        return;
    if (!log->spare && !spare_make(log, &err))
        return;
    if (log->spare_done >= log->spare_bytes)
        return;
    uint64_t left = log->spare_bytes - log->spare_done;
    log->spare_iov =
        (struct iovec){(void *)(uintptr_t)zeros, left < sizeof(zeros) ? left : sizeof(zeros)};
    log->spare_write = (struct env_file_write){
        .iov = &log->spare_iov, .iov_n = 1, .offset = log->spare_done, .fn = on_spare_zeroed};
    log->spare_busy = true;
    env_file_write_sync(log->spare, &log->spare_write);
}

/* Groups. */

static void on_written(struct env_file_write *w, const struct err *err)
{
    struct log *log = container_of(w, struct log, write);
    struct list done;
    struct list_node *n;
    if (err->code)
        die(log, err);
    log->in_flight = false;
    if (log->cells.sync)
        metric_observe(log->cells.sync, (double)(env_now_ns(log->env) - log->began_ns) / 1e9);
    log_end_store(log->end_file,
                  &(struct log_end){.segment = last_segment(log)->number, .chain = log->chain});
    list_init(&done);
    while ((n = list_pop(&log->writing)))
        list_push(&done, n);
    if (!list_empty(&log->waiting))
        env_defer(log->env, &log->flush);
    while ((n = list_pop(&done))) {
        struct log_append *a = container_of(n, struct log_append, node);
        mem_free(a->records);
        a->records = NULL;
        buf_fini(&a->bytes);
        a->fn(a);
    }
}

static size_t append_bytes(const struct log_append *a)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++)
        n += log_record_bytes(a->records[i].payload.n);
    return n;
}

static void put_records(struct log *log, const struct log_append *a, uint64_t batch)
{
    struct segment *s = last_segment(log);
    for (size_t i = 0; i < a->n; i++) {
        struct log_record *r = &a->records[i];
        r->chain = log->chain;
        r->batch = batch;
        log->chain = log_record_encode(&log->group, r, s->number);
        if (r->index > s->max_index)
            s->max_index = r->index;
    }
}

static void group_write(struct log *log)
{
    struct slice all = buf_slice(&log->group);
    wf_assert(log->offset + all.n <= last_segment(log)->bytes);
    log->group_iov = (struct iovec){(void *)(uintptr_t)all.p, all.n};
    log->write = (struct env_file_write){
        .iov = &log->group_iov, .iov_n = 1, .offset = log->offset, .fn = on_written};
    log->offset += all.n;
    log->in_flight = true;
    log->began_ns = env_now_ns(log->env);
    env_file_write_sync(log->file, &log->write);
}

static void on_flush(struct env_task *t)
{
    struct log *log = container_of(t, struct log, flush);
    struct list_node *n;
    struct err err = {0};
    size_t need = 0, entries = 0;
    if (log->in_flight || list_empty(&log->waiting))
        return;
    while (need < LOG_GROUP_BYTES_MAX && (n = list_pop(&log->waiting))) {
        list_push(&log->writing, n);
        need += append_bytes(container_of(n, struct log_append, node));
        entries += container_of(n, struct log_append, node)->n;
    }
    if (log->offset + LOG_SEGMENT_HEAD_BYTES + need > last_segment(log)->bytes &&
        !(log->offset == 0 ? segment_widen(log, need, &err) : segment_begin(log, need, &err)))
        die(log, &err);
    buf_clear(&log->group);
    if (log->offset == 0)
        log_segment_head_encode(&log->group,
                                &(struct log_segment_head){.segment = last_segment(log)->number,
                                                           .cluster = log->cluster,
                                                           .node = log->node,
                                                           .chain = log->chain});
    uint64_t batch = log->offset + log->group.n;
    LIST_EACH (&log->writing, w)
        put_records(log, container_of(w, struct log_append, node), batch);
    log->appended_bytes += need;
    if (log->cells.group)
        metric_observe(log->cells.group, (double)entries);
    group_write(log);
    spare_advance(log);
}

static void append_queue(struct log *log, struct log_append *a)
{
    list_push(&log->waiting, &a->node);
    if (!log->in_flight)
        env_defer(log->env, &log->flush);
}

void log_append(struct log *log, struct log_append *a)
{
    wf_assert(a->n > 0 && a->first > 0);
    wf_assert(a->first <= log->last_index + 1); /* no gap */
    a->records = mem_array(a->n, sizeof(*a->records));
    a->bytes = (struct buf){0};
    for (size_t i = 0; i < a->n; i++)
        buf_append(&a->bytes, a->entries[i].payload);
    size_t at = 0;
    for (size_t i = 0; i < a->n; i++) {
        const struct log_entry *e = &a->entries[i];
        a->records[i] = (struct log_record){
            .index = a->first + i,
            .term = e->term,
            .type = e->type,
            .payload = slice_sub(buf_slice(&a->bytes), at, e->payload.n),
        };
        at += e->payload.n;
    }
    log->last_index = a->first + a->n - 1;
    append_queue(log, a);
}

void log_reset(struct log *log, uint64_t index, uint64_t term, struct log_append *a,
               void (*fn)(struct log_append *a))
{
    *a = (struct log_append){.first = index, .n = 1, .fn = fn};
    a->records = MEM_NEW(struct log_record);
    *a->records = (struct log_record){.index = index, .term = term, .type = LOG_RESET};
    log->last_index = index;
    append_queue(log, a);
}

void log_trim(struct log *log, uint64_t keep)
{
    size_t drop = 0;
    if (MUTANT(TRIM_TOO_MUCH))
        keep = log->last_index + 1;
    char path[PATH_BYTES];
    struct err err = {0};
    while (drop + 1 < log->segments.n && log->segments.p[drop].max_index < keep)
        drop++;
    for (size_t i = 0; i < drop; i++)
        if (!env_file_remove(log->env, segment_path(log, log->segments.p[i].number, path), &err))
            die(log, &err);
    log->segments.n -= drop;
    memmove(log->segments.p, log->segments.p + drop, log->segments.n * sizeof(*log->segments.p));
    if (drop && !env_dir_sync(log->env, log->dir, &err))
        die(log, &err);
}

bool log_busy(const struct log *log)
{
    return log->in_flight || !list_empty(&log->waiting);
}

uint64_t log_disk_bytes(const struct log *log)
{
    uint64_t n = 0;
    for (size_t i = 0; i < log->segments.n; i++)
        n += log->segments.p[i].bytes;
    return n;
}

uint64_t log_appended_bytes(const struct log *log)
{
    return log->appended_bytes;
}
