#include "registry/quota.h"

#include <inttypes.h>
#include <stdio.h>

#include "api/quota.h"
#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/wire/json.h"
#include "registry/store_internal.h"

#define NAMESPACE_PREFIX "namespaces//"

/* The writer alone changes it, under the lock; readers take the lock. */
struct quota {
    struct reg_quota q;               /* its name is the map's key */
    bool full;                        /* was said to be */
    int64_t more_objects, more_bytes; /* that the request at hand makes */
    size_t op;                        /* of it, the first that does */
};

/* "services/shop/web" -> "shop"; empty: of no namespace. */
static struct slice ns_of(struct slice key)
{
    struct slice kind, ns, name;
    if (!slice_cut(key, '/', &kind, &ns) || !slice_cut(ns, '/', &ns, &name))
        return S("");
    return ns;
}

static bool limited(const struct quota *e)
{
    return e->q.objects_max || e->q.bytes_max;
}

static struct quota *entry_of(struct reg_store *s, struct slice ns)
{
    struct quota *e = map_get(&s->quotas, ns);
    if (e)
        return e;
    e = MEM_NEW(struct quota);
    e->q.ns = slice_dup(ns);
    map_put(&s->quotas, e->q.ns, e);
    return e;
}

static void entry_free(struct quota *e)
{
    slice_free(e->q.ns);
    mem_free(e);
}

static void drop_if_empty(struct reg_store *s, struct quota *e)
{
    if (e->q.objects || limited(e))
        return;
    map_del(&s->quotas, e->q.ns);
    entry_free(e);
}

/* What there is. */

static void account(struct reg_store *s, struct slice ns, int64_t objects, int64_t bytes)
{
    if (!ns.n)
        return;
    struct quota *e = entry_of(s, ns);
    wf_assert(objects >= 0 || e->q.objects > 0);
    wf_assert(bytes >= 0 || e->q.bytes >= (uint64_t)-bytes);
    e->q.objects += (uint64_t)objects;
    e->q.bytes += (uint64_t)bytes;
    drop_if_empty(s, e);
}

static uint64_t limit_of(const json_t *annotations, const char *name, bool units)
{
    uint64_t n = 0;
    quota_parse(json_slice(json_object_get(annotations, name)), units, &n);
    return n;
}

/* What the API let through is right; of anything else there is no limit. */
static void limits_read(struct reg_quota *q, struct slice value)
{
    struct err err = {0};
    json_t *o = value.n ? json_parse(value, &err) : NULL;
    const json_t *annotations = json_at(o, "metadata.annotations");
    q->objects_max = limit_of(annotations, QUOTA_OBJECTS, false);
    q->bytes_max = limit_of(annotations, QUOTA_BYTES, true);
    json_decref(o);
}

/* value empty: the Namespace is gone. */
static void limits_set(struct reg_store *s, struct slice key, struct slice value)
{
    if (!slice_starts(key, S(NAMESPACE_PREFIX)) || key.n == sizeof(NAMESPACE_PREFIX) - 1)
        return;
    struct quota *e = entry_of(s, slice_skip(key, sizeof(NAMESPACE_PREFIX) - 1));
    s->quota_limited -= limited(e);
    limits_read(&e->q, value);
    s->quota_limited += limited(e);
    drop_if_empty(s, e);
}

void store_quota_changed(struct reg_store *s, struct slice key, const struct store_quota_sizes *z,
                         struct slice value)
{
    pthread_mutex_lock(&s->quota_lock);
    account(s, ns_of(key), (int64_t)z->is - (int64_t)z->was,
            (int64_t)(z->is ? key.n + value.n : 0) - (int64_t)(z->was ? key.n + z->was_bytes : 0));
    limits_set(s, key, z->is ? value : S(""));
    pthread_mutex_unlock(&s->quota_lock);
}

void store_quota_fini(struct reg_store *s)
{
    pthread_mutex_lock(&s->quota_lock);
    MAP_EACH (&s->quotas, m)
        entry_free(m->value);
    map_fini(&s->quotas);
    s->quota_limited = 0;
    pthread_mutex_unlock(&s->quota_lock);
}

/* Of all of one namespace and one kind, as they lie. */
struct store_tally_run {
    struct slice ns; /* owned */
    int64_t objects, bytes;
};

struct store_tally_limit {
    struct slice key, value; /* owned */
};

void store_tally_row(struct store_tally *t, struct slice key, struct slice value)
{
    struct slice ns = ns_of(key);
    if (slice_starts(key, S(NAMESPACE_PREFIX)))
        *vec_push(&t->limited) =
            (struct store_tally_limit){.key = slice_dup(key), .value = slice_dup(value)};
    if (!ns.n)
        return;
    if (t->runs.n == 0 || !slice_eq(t->runs.p[t->runs.n - 1].ns, ns))
        *vec_push(&t->runs) = (struct store_tally_run){.ns = slice_dup(ns)};
    t->runs.p[t->runs.n - 1].objects++;
    t->runs.p[t->runs.n - 1].bytes += (int64_t)(key.n + value.n);
}

void store_tally_fini(struct store_tally *t)
{
    for (size_t i = 0; i < t->runs.n; i++)
        slice_free(t->runs.p[i].ns);
    for (size_t i = 0; i < t->limited.n; i++) {
        slice_free(t->limited.p[i].key);
        slice_free(t->limited.p[i].value);
    }
    vec_fini(&t->runs);
    vec_fini(&t->limited);
}

void store_quota_take(struct reg_store *s, const struct store_tally *t)
{
    store_quota_fini(s);
    pthread_mutex_lock(&s->quota_lock);
    for (size_t i = 0; i < t->runs.n; i++)
        account(s, t->runs.p[i].ns, t->runs.p[i].objects, t->runs.p[i].bytes);
    for (size_t i = 0; i < t->limited.n; i++)
        limits_set(s, t->limited.p[i].key, t->limited.p[i].value);
    pthread_mutex_unlock(&s->quota_lock);
}

static int load_all(struct reg_store *s, MDB_txn *txn, struct store_tally *t)
{
    MDB_cursor *cur;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn, s->dbi_kv, &cur);
    if (rc)
        return rc;
    for (rc = mdb_cursor_get(cur, &k, &v, MDB_FIRST); !rc;
         rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT))
        store_tally_row(t, store_slice(k), slice_skip(store_slice(v), STORE_RECORD_HEAD));
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

bool store_quota_load(struct reg_store *s, struct err *err)
{
    MDB_txn *txn;
    struct store_tally t = {0};
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (!rc) {
        rc = load_all(s, txn, &t);
        mdb_txn_abort(txn);
    }
    store_quota_take(s, &t);
    store_tally_fini(&t);
    return !rc || err_set(err, ERR_CORRUPT, "store %s: namespaces: %s", s->dir, mdb_strerror(rc));
}

/* What there may be. */

static void grow(struct quota *e, const struct reg_op *op, size_t i, bool found, size_t was_bytes)
{
    int64_t objects = (op->del ? 0 : 1) - (found ? 1 : 0);
    int64_t bytes = (int64_t)(op->del ? 0 : op->key.n + op->value.n) -
                    (int64_t)(found ? op->key.n + was_bytes : 0);
    if (e->more_objects <= 0 && e->more_bytes <= 0)
        e->op = i;
    e->more_objects += objects;
    e->more_bytes += bytes;
}

static bool fits(const struct quota *e)
{
    const struct reg_quota *q = &e->q;
    if (e->more_objects > 0 && q->objects_max &&
        q->objects + (uint64_t)e->more_objects > q->objects_max)
        return false;
    return e->more_bytes <= 0 || !q->bytes_max ||
           q->bytes + (uint64_t)e->more_bytes <= q->bytes_max;
}

static struct quota *limit_for(struct reg_store *s, const struct reg_op *op)
{
    struct quota *e = op->check ? NULL : map_get(&s->quotas, ns_of(op->key));
    return e && limited(e) ? e : NULL;
}

bool store_quota_allows(struct reg_store *s, const struct reg_request *q,
                        bool (*was)(struct reg_store *s, struct slice key, size_t *ret_bytes),
                        size_t *ret_failed)
{
    struct quota *e;
    if (!s->quota_limited)
        return true;
    for (size_t i = 0; i < q->op_count; i++)
        if ((e = limit_for(s, &q->ops[i])))
            e->more_objects = e->more_bytes = 0;
    for (size_t i = 0; i < q->op_count; i++) {
        size_t bytes = 0;
        if (!(e = limit_for(s, &q->ops[i])))
            continue;
        bool found = was(s, q->ops[i].key, &bytes);
        grow(e, &q->ops[i], i, found, bytes);
    }
    for (size_t i = 0; i < q->op_count; i++) {
        if (!(e = limit_for(s, &q->ops[i])) || fits(e))
            continue;
        pthread_mutex_lock(&s->quota_lock);
        e->q.refused++;
        pthread_mutex_unlock(&s->quota_lock);
        *ret_failed = e->op;
        return false;
    }
    return true;
}

/* What is said of it. */

bool reg_quota_full(const struct reg_quota *q)
{
    return (q->objects_max && q->objects >= q->objects_max) ||
           (q->bytes_max && q->bytes >= q->bytes_max - q->bytes_max / 20);
}

void reg_quota_each(struct reg_store *s, void (*fn)(void *ctx, const struct reg_quota *q),
                    void *ctx)
{
    pthread_mutex_lock(&s->quota_lock);
    MAP_EACH (&s->quotas, m) {
        const struct quota *e = m->value;
        if (limited(e))
            fn(ctx, &e->q);
    }
    pthread_mutex_unlock(&s->quota_lock);
}

void reg_quota_tell(struct reg_store *s)
{
    if (!s->quota_limited && !s->quota_full)
        return;
    s->quota_full = 0;
    MAP_EACH (&s->quotas, m) {
        struct quota *e = m->value;
        bool was = e->full;
        e->full = reg_quota_full(&e->q);
        s->quota_full += e->full;
        if (e->full && !was)
            LOG_WARN("registry.quota.namespace_full", F_STR("namespace", e->q.ns),
                     F_U64("objects", e->q.objects), F_U64("bytes", e->q.bytes));
        else if (was && !e->full)
            LOG_INFO("registry.quota.namespace_has_room", F_STR("namespace", e->q.ns),
                     F_U64("objects", e->q.objects), F_U64("bytes", e->q.bytes));
    }
}

static void text_of(const struct reg_quota *q, char dst[REG_QUOTA_TEXT])
{
    char objects[64] = "", bytes[96] = "";
    if (q->objects_max)
        snprintf(objects, sizeof(objects), " %" PRIu64 " of %" PRIu64 " objects", q->objects,
                 q->objects_max);
    if (q->bytes_max)
        snprintf(bytes, sizeof(bytes), "%s %" PRIu64 " of %" PRIu64 " bytes", *objects ? "," : "",
                 q->bytes, q->bytes_max);
    snprintf(
        dst, REG_QUOTA_TEXT,
        "namespace %.*s has%s%s, and this would make it more than its quota: nothing was done; "
        "delete something, or raise %s%s%s of the Namespace",
        SLICE(q->ns), objects, bytes, q->objects_max ? QUOTA_OBJECTS : "",
        q->objects_max && q->bytes_max ? " or " : "", q->bytes_max ? QUOTA_BYTES : "");
}

void reg_quota_refusal(struct reg_store *s, struct slice key, char dst[REG_QUOTA_TEXT])
{
    pthread_mutex_lock(&s->quota_lock);
    const struct quota *e = map_get(&s->quotas, ns_of(key));
    if (e && limited(e))
        text_of(&e->q, dst);
    else
        snprintf(dst, REG_QUOTA_TEXT, "its namespace was at its quota, which is gone by now");
    pthread_mutex_unlock(&s->quota_lock);
}
