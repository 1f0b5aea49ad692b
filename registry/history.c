/* The window of changes by revision, and the wake-ups of those who follow it. */
#include <string.h>

#include "base/core/assert.h"
#include "base/core/mutant.h"
#include "base/env/env.h"
#include "registry/store_internal.h"

/* Row: key u64 = revision << 20 | number within the entry. Value: flags u8, key u16, value u32,
 * previous value u32 lengths, create, version, previous mod revision u64, crc32c u32 (of key and
 * all the rest), then the three; with HIST_TOLD the leader's time i64 and, to the end, the
 * origin. */
#define HIST_SUB_BITS 20
#define HIST_HEAD 39
#define HIST_DELETED 1u
#define HIST_TOLD 2u
#define HIST_TIME 8 /* bytes */
/* Of LMDB: a row beside its value; a page, of which one third may stay empty behind two rows, and
 * as much as all but a byte behind a row that has pages of its own. */
#define HIST_NODE 48
#define HIST_PAGE 4096
static_assert((1u << HIST_SUB_BITS) >= REG_ENTRY_REQUESTS_MAX * REG_REQUEST_OPS_MAX,
              "every operation of an entry has a number of its own");

static uint32_t row_crc(uint64_t id, const char *p, size_t body)
{
    uint32_t crc = crc32c(0, &id, sizeof(id));
    crc = crc32c(crc, p, 35);
    return crc32c(crc, p + HIST_HEAD, body);
}

uint64_t store_history_bytes(const struct reg_event *e)
{
    uint64_t row = HIST_HEAD + e->object.key.n + e->object.value.n + e->prev_value.n + HIST_TIME +
                   e->origin.n + HIST_NODE;
    return row <= HIST_PAGE / 2 ? row + row / 2 : row + HIST_PAGE;
}

void store_history_put(struct reg_store *s, uint32_t sub, const struct reg_event *e)
{
    const struct reg_object *o = &e->object;
    size_t three = o->key.n + o->value.n + e->prev_value.n;
    size_t body = three + HIST_TIME + e->origin.n;
    uint64_t id = e->revision << HIST_SUB_BITS | sub;
    MDB_val k = {sizeof(id), &id}, v = {HIST_HEAD + body, NULL};
    int rc = mdb_put(s->batch, s->dbi_hist, &k, &v, MDB_APPEND | MDB_RESERVE);
    if (rc)
        store_die(s, "history", rc);
    char *p = v.mv_data;
    uint16_t key_n = (uint16_t)o->key.n;
    uint32_t value_n = (uint32_t)o->value.n, prev_n = (uint32_t)e->prev_value.n;
    p[0] = (char)(HIST_TOLD | (e->deleted ? HIST_DELETED : 0u));
    memcpy(p + 1, &key_n, 2);
    memcpy(p + 3, &value_n, 4);
    memcpy(p + 7, &prev_n, 4);
    memcpy(p + 11, &o->create_rev, 8);
    memcpy(p + 19, &o->version, 8);
    memcpy(p + 27, &e->prev_mod_rev, 8);
    memcpy(p + HIST_HEAD, o->key.p, o->key.n);
    if (o->value.n)
        memcpy(p + HIST_HEAD + o->key.n, o->value.p, o->value.n);
    if (e->prev_value.n)
        memcpy(p + HIST_HEAD + o->key.n + o->value.n, e->prev_value.p, e->prev_value.n);
    memcpy(p + HIST_HEAD + three, &e->wall_ms, HIST_TIME);
    if (e->origin.n)
        memcpy(p + HIST_HEAD + three + HIST_TIME, e->origin.p, e->origin.n);
    uint32_t crc = row_crc(id, p, body);
    memcpy(p + 35, &crc, 4);
}

static void history_read_told(struct reg_event *e, const char *p, size_t n)
{
    memcpy(&e->wall_ms, p, HIST_TIME);
    e->origin = slice_mem(p + HIST_TIME, n - HIST_TIME);
}

static bool history_check(uint64_t id, MDB_val v, struct reg_event *ret)
{
    const char *p = v.mv_data;
    uint16_t key_n = 0;
    uint32_t value_n = 0, prev_n = 0, crc = 0;
    struct reg_event e = {.revision = id >> HIST_SUB_BITS};
    if (v.mv_size >= HIST_HEAD) {
        memcpy(&key_n, p + 1, 2);
        memcpy(&value_n, p + 3, 4);
        memcpy(&prev_n, p + 7, 4);
        memcpy(&crc, p + 35, 4);
    }
    size_t three = (size_t)HIST_HEAD + key_n + value_n + prev_n;
    bool told = v.mv_size > 0 && (unsigned char)p[0] & HIST_TOLD;
    if ((told ? v.mv_size < three + HIST_TIME : v.mv_size != three) ||
        crc != row_crc(id, p, v.mv_size - HIST_HEAD))
        return false;
    e.deleted = ((unsigned char)p[0] & HIST_DELETED) != 0;
    memcpy(&e.object.create_rev, p + 11, 8);
    memcpy(&e.object.version, p + 19, 8);
    memcpy(&e.prev_mod_rev, p + 27, 8);
    e.object.mod_rev = e.revision;
    e.object.key = slice_mem(p + HIST_HEAD, key_n);
    e.object.value = slice_mem(p + HIST_HEAD + key_n, value_n);
    e.prev_value = slice_mem(p + HIST_HEAD + key_n + value_n, prev_n);
    if (told)
        history_read_told(&e, p + three, v.mv_size - three);
    *ret = e;
    return true;
}

static struct reg_event history_read(const struct reg_store *s, uint64_t id, MDB_val v)
{
    struct reg_event e;
    if (!history_check(id, v, &e))
        store_doubt(s, "a change's checksum is wrong");
    return e;
}

bool store_history_row_ok(MDB_val k, MDB_val v)
{
    struct reg_event e;
    uint64_t id;
    memcpy(&id, k.mv_data, sizeof(id));
    return history_check(id, v, &e);
}

static uint64_t row_id(const struct reg_store *s, MDB_val k)
{
    uint64_t id;
    if (k.mv_size != sizeof(id))
        store_doubt(s, "a change has no number");
    memcpy(&id, k.mv_data, sizeof(id));
    return id;
}

/* Without a look at the rest: most rows are not asked for. */
static bool row_wanted(const struct reg_range *r, MDB_val v)
{
    uint16_t n = 0;
    if (!r->prefix.n || v.mv_size < HIST_HEAD)
        return true;
    memcpy(&n, (char *)v.mv_data + 1, sizeof(n));
    if (v.mv_size - HIST_HEAD < n)
        return true; /* whoever reads it says what is wrong */
    struct slice key = slice_mem((char *)v.mv_data + HIST_HEAD, n);
    return r->whole ? slice_eq(key, r->prefix) : slice_starts(key, r->prefix);
}

enum reg_history reg_changes_in(struct reg_txn *txn, const struct reg_range *r,
                                bool (*fn)(void *ctx, const struct reg_event *e), void *ctx)
{
    struct reg_store *s = txn->store;
    MDB_cursor *cur;
    if (r->from < txn->compacted && !MUTANT(DROP_EVENT))
        return REG_HISTORY_COMPACTED;
    if (r->from >= txn->revision || r->from >= r->to)
        return REG_HISTORY_OK;
    uint64_t id = (r->from + 1) << HIST_SUB_BITS;
    MDB_val k = {sizeof(id), &id}, v;
    int rc = mdb_cursor_open(txn->mdb, s->dbi_hist, &cur);
    if (rc)
        store_doubt(s, mdb_strerror(rc));
    for (rc = mdb_cursor_get(cur, &k, &v, MDB_SET_RANGE); !rc;
         rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) {
        uint64_t at = row_id(s, k);
        if (at >> HIST_SUB_BITS > r->to)
            break;
        if (!row_wanted(r, v))
            continue;
        struct reg_event e = history_read(s, at, v);
        if (!fn(ctx, &e))
            break;
    }
    if (rc && rc != MDB_NOTFOUND)
        store_doubt(s, mdb_strerror(rc));
    mdb_cursor_close(cur);
    return REG_HISTORY_OK;
}

enum reg_history reg_changes(struct reg_txn *txn, reg_rev from,
                             bool (*fn)(void *ctx, const struct reg_event *e), void *ctx)
{
    return reg_changes_in(txn, &(struct reg_range){.from = from, .to = UINT64_MAX}, fn, ctx);
}

void store_history_compact(struct reg_store *s)
{
    MDB_stat st;
    MDB_cursor *cur;
    MDB_val k, v;
    if (mdb_stat(s->batch, s->dbi_hist, &st))
        return;
    size_t surplus =
        st.ms_entries > s->opt.history_revisions ? st.ms_entries - s->opt.history_revisions : 0;
    if (s->opt.history_bytes && store_dbi_bytes(s->batch, s->dbi_hist) > s->opt.history_bytes)
        surplus = surplus < STORE_COMPACT_ROWS_MAX ? STORE_COMPACT_ROWS_MAX : surplus;
    if (surplus > st.ms_entries)
        surplus = st.ms_entries;
    if (!surplus)
        return;
    if (surplus > STORE_COMPACT_ROWS_MAX)
        surplus = STORE_COMPACT_ROWS_MAX;
    int rc = mdb_cursor_open(s->batch, s->dbi_hist, &cur);
    for (; !rc && surplus > 0; surplus--) {
        rc = mdb_cursor_get(cur, &k, &v, MDB_FIRST);
        if (rc)
            break;
        /* A revision that lost a row is gone as a whole: nobody may see half of it. The newest is
         * kept, whatever the bound: who was told a part of it asks for it again (watch.c). */
        reg_rev revision = row_id(s, k) >> HIST_SUB_BITS;
        if (revision == s->meta.revision)
            break;
        s->meta.compacted = revision;
        rc = mdb_cursor_del(cur, 0);
    }
    if (rc)
        store_die(s, "compaction", rc);
    mdb_cursor_close(cur);
}

/* Wake-ups. */

struct reg_notify {
    struct list_node node;
    struct reg_store *store;
    struct env *env;
    struct env_post post;
    bool pending, closed; /* under notify_lock; pending also during a pause */
    reg_rev revision;     /* under notify_lock */
    reg_rev told;
    wf_ms pause;
    struct env_timer timer; /* armed: a pause, and no post is on its way */
    void (*fn)(void *ctx, reg_rev revision);
    void *ctx;
};

static void notify_tell(struct reg_notify *n, reg_rev revision)
{
    n->told = revision;
    if (n->pause)
        env_timer_start(n->env, &n->timer, n->pause);
    n->fn(n->ctx, revision);
}

static void notify_run(struct env_post *p)
{
    struct reg_notify *n = container_of(p, struct reg_notify, post);
    pthread_mutex_lock(&n->store->notify_lock);
    bool closed = n->closed;
    reg_rev revision = n->revision;
    n->pending = n->pause > 0;
    pthread_mutex_unlock(&n->store->notify_lock);
    if (closed)
        mem_free(n);
    else
        notify_tell(n, revision);
}

static void notify_pause_ends(struct env_timer *t)
{
    struct reg_notify *n = container_of(t, struct reg_notify, timer);
    pthread_mutex_lock(&n->store->notify_lock);
    reg_rev revision = n->revision;
    n->pending = revision != n->told;
    pthread_mutex_unlock(&n->store->notify_lock);
    if (revision != n->told)
        notify_tell(n, revision);
}

struct reg_notify *reg_notify_open(struct reg_store *s, struct env *env,
                                   void (*fn)(void *ctx, reg_rev revision), void *ctx)
{
    struct reg_notify *n = MEM_NEW(struct reg_notify);
    *n = (struct reg_notify){.store = s,
                             .env = env,
                             .post.fn = notify_run,
                             .timer.fn = notify_pause_ends,
                             .fn = fn,
                             .ctx = ctx};
    pthread_mutex_lock(&s->notify_lock);
    list_push(&s->notifies, &n->node);
    pthread_mutex_unlock(&s->notify_lock);
    return n;
}

void reg_notify_pause(struct reg_notify *n, int64_t ms)
{
    wf_assert(ms > 0 && !n->timer.armed);
    n->pause = ms;
}

void reg_notify_close(struct reg_notify *n)
{
    if (!n)
        return;
    struct reg_store *s = n->store;
    bool paused = n->timer.armed;
    env_timer_stop(n->env, &n->timer);
    pthread_mutex_lock(&s->notify_lock);
    list_remove(&n->node);
    n->closed = true;
    bool pending = n->pending && !paused; /* then notify_run frees it */
    pthread_mutex_unlock(&s->notify_lock);
    if (!pending)
        mem_free(n);
}

void store_notify_all(struct reg_store *s)
{
    pthread_mutex_lock(&s->notify_lock);
    LIST_EACH (&s->notifies, node) {
        struct reg_notify *n = container_of(node, struct reg_notify, node);
        n->revision = s->meta.revision;
        if (n->pending)
            continue;
        n->pending = true;
        env_post(n->env, &n->post);
    }
    pthread_mutex_unlock(&s->notify_lock);
}
