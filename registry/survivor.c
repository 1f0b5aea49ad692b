#include "registry/survivor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "registry/backup.h"
#include "registry/node_impl.h"

#define PATH_BYTES SNAPSHOT_PATH_BYTES
#define ASIDE "before-recovery-"
#define ASIDE_MAX 64

struct survivor {
    struct env *env;
    const struct reg_node_options *node;
    struct env_lock *lock;
    struct meta meta; /* the node that it was; it may go on under another id */
    struct raftio io;
    struct reg_store *store;
};

/* Opening. */

static bool io_open(struct survivor *s, struct err *err)
{
    struct peer_member self = {.id = s->meta.node};
    env_addr_parse(&self.addr, S("127.0.0.1:1"), NULL); /* nothing is listened on */
    return raftio_open(&s->io,
                       &(struct raftio_options){.env = s->env,
                                                .dir = s->node->dir,
                                                .self = s->meta.node,
                                                .members = &self,
                                                .member_count = 1,
                                                .segment_bytes = s->node->segment_bytes},
                       err);
}

/* A cache: what is damaged is made anew of checkpoint and log, as a start would. */
static bool store_open(struct survivor *s, struct err *err)
{
    char path[PATH_BYTES];
    struct err e = {0};
    snprintf(path, sizeof(path), "%s/store", s->node->dir);
    struct reg_store_options opt = {
        .env = s->env, .dir = path, .verify = true, .reads = s->node->reads};
    s->store = reg_store_open(&opt, &e);
    if (!s->store && e.code == ERR_CORRUPT)
        s->store = reg_store_discard(s->env, path, &e) ? reg_store_open(&opt, &e) : NULL;
    return s->store || err_set(err, e.code, "%s", e.msg);
}

static bool node_was_here(struct survivor *s, struct err *err)
{
    struct err e = {0};
    if (meta_load(s->env, s->node->dir, &s->meta, &e))
        return true;
    return err_set(err, e.code, "%s: %s", s->node->dir,
                   e.code == ERR_NOT_FOUND ? "no node's data is here" : e.msg);
}

static bool survivor_open(struct survivor *s, struct err *err)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/lock", s->node->dir);
    s->lock = node_was_here(s, err) ? env_lock_take(s->env, path, err) : NULL;
    return s->lock && io_open(s, err) && store_open(s, err);
}

static void survivor_close(struct survivor *s)
{
    reg_store_close(s->store);
    raftio_fini(&s->io);
    env_lock_release(s->lock);
}

static struct reg_survivor found(const struct survivor *s)
{
    const struct log_contents *c = &s->io.contents;
    struct reg_survivor r = {.term = s->io.meta.term};
    uint64_t applied_term;
    reg_store_applied(s->store, &r.applied, &applied_term);
    r.last_index = r.applied;
    r.last_term = applied_term;
    if (s->io.has_manifest && s->io.manifest.file.index > r.last_index) {
        r.last_index = s->io.manifest.file.index;
        r.last_term = s->io.manifest.file.term;
    }
    if (c->entries.n && c->first + c->entries.n - 1 >= r.last_index) {
        r.last_index = c->first + c->entries.n - 1;
        r.last_term = c->entries.p[c->entries.n - 1].term;
    }
    return r;
}

bool reg_survivor_look(struct env *env, const struct reg_node_options *node,
                       struct reg_survivor *ret, struct err *err)
{
    struct survivor s = {.env = env, .node = node};
    bool ok = survivor_open(&s, err);
    if (ok)
        *ret = found(&s);
    survivor_close(&s);
    return ok;
}

/* Everything that is here. */

static bool checkpoint_restore(struct survivor *s, struct err *err)
{
    char path[PATH_BYTES];
    const struct snapshot_file *f = &s->io.manifest.file;
    struct reg_checkpoint c = {.index = f->index, .term = f->term, .bytes = f->bytes};
    uint64_t applied, term;
    reg_store_applied(s->store, &applied, &term);
    if (!s->io.has_manifest || applied >= f->index)
        return true;
    memcpy(c.sha256, f->sha256, sizeof(c.sha256));
    snapshot_file_path(s->node->dir, f->index, snapshot_file_tag(f), path);
    return reg_store_restore(s->store, path, &c, err);
}

/* As a start does: the newest, or the one before. */
static bool checkpoint_take(struct survivor *s, struct err *err)
{
    struct err why = {0};
    if (checkpoint_restore(s, &why))
        return true;
    if (why.code != ERR_CORRUPT)
        return err_set(err, why.code, "%s", why.msg);
    return raftio_fall_back(&s->io, &why, err) && checkpoint_restore(s, err);
}

static bool log_apply(struct survivor *s, struct err *err)
{
    const struct log_contents *c = &s->io.contents;
    uint64_t applied, term;
    reg_store_applied(s->store, &applied, &term);
    if (c->entries.n && c->first > applied + 1)
        return err_set(err, ERR_CORRUPT, "%s: entries %llu to %llu are missing", s->node->dir,
                       (unsigned long long)applied + 1, (unsigned long long)c->first - 1);
    for (size_t i = 0; i < c->entries.n; i++) {
        const struct log_entry *e = &c->entries.p[i];
        if (c->first + i <= applied)
            continue;
        if (e->type == LOG_COMMAND)
            reg_fsm_apply(s->store, c->first + i, e->term, e->payload, NULL, NULL);
        reg_fsm_commit(s->store, c->first + i, e->term);
    }
    return true;
}

/* The file. */

static bool send_all(int out, int in, uint64_t n)
{
    while (n) {
        ssize_t sent = sendfile(out, in, NULL, n < (1u << 30) ? (size_t)n : 1u << 30);
        if (sent <= 0)
            return false;
        n -= (uint64_t)sent;
    }
    return true;
}

static bool backup_write(struct survivor *s, const struct reg_backup *b, const char *to,
                         struct err *err)
{
    char part[PATH_BYTES];
    struct buf head = {0};
    snprintf(part, sizeof(part), "%s.part", to);
    int fd = open(part, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    snapshot_head_encode(&head, &b->head);
    struct slice bytes = buf_slice(&head);
    bool ok = fd >= 0 && write(fd, bytes.p, bytes.n) == (ssize_t)bytes.n &&
              send_all(fd, b->fd, b->head.image_bytes) && fsync(fd) == 0;
    int saved = errno;
    buf_fini(&head);
    if (fd >= 0)
        close(fd);
    if (ok && env_file_rename(s->env, part, to, err))
        return true;
    unlink(part);
    return ok ? false : err_errno(err, saved, "%s", to);
}

static bool save(struct survivor *s, const char *to, struct snapshot_head *ret, struct err *err)
{
    struct reg_backup *b = MEM_NEW(struct reg_backup);
    bool ok = checkpoint_take(s, err) && log_apply(s, err) && reg_backup_take(s->store, b, err);
    if (ok) {
        b->head.cluster = s->io.cluster;
        for (size_t i = 0; i < s->node->member_count; i++)
            if (s->node->members[i].id == s->node->id)
                snprintf(b->head.node, sizeof(b->head.node), "%s", s->node->members[i].name);
        ok = backup_write(s, b, to, err);
        *ret = b->head;
    }
    reg_backup_fini(b);
    mem_free(b);
    return ok;
}

bool reg_survivor_save(struct env *env, const struct reg_node_options *node, const char *to,
                       struct snapshot_head *ret, struct err *err)
{
    struct survivor s = {.env = env, .node = node};
    bool ok = survivor_open(&s, err) && save(&s, to, ret, err);
    survivor_close(&s);
    return ok;
}

bool reg_survivor_put_aside(struct env *env, const char *dir, char ret_aside[NAME_MAX + 1],
                            struct err *err)
{
    return node_put_aside(env, dir, ASIDE, ASIDE_MAX, ret_aside, err);
}
