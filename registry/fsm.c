#include "registry/fsm.h"

#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/mutant.h"
#include "registry/store_internal.h"

static void must(const struct reg_store *s, int rc, const char *what)
{
    if (rc)
        store_die(s, what, rc);
}

/* Answers of clients, so that a repeated request has its effect once. */

/* Row: settled, last_index u64, crc32c u64 of the id and all the rest, then answers as they lie in
 * memory. */
#define CLIENT_HEAD 24
static_assert(sizeof(struct store_answer) == 32, "answers are stored as they lie in memory");

static uint64_t client_crc(uint64_t id, MDB_val v)
{
    uint32_t crc = crc32c(0, &id, sizeof(id));
    crc = crc32c(crc, v.mv_data, 16);
    return crc32c(crc, (char *)v.mv_data + CLIENT_HEAD, v.mv_size - CLIENT_HEAD);
}

bool store_client_row_ok(MDB_val k, MDB_val v)
{
    uint64_t id, crc;
    if (k.mv_size != 8 || v.mv_size < CLIENT_HEAD)
        return false;
    memcpy(&id, k.mv_data, 8);
    memcpy(&crc, (char *)v.mv_data + 16, 8);
    return crc == client_crc(id, v);
}

static bool client_read(MDB_val k, MDB_val v, struct store_client *ret)
{
    if (!store_client_row_ok(k, v) || (v.mv_size - CLIENT_HEAD) % sizeof(struct store_answer))
        return false;
    size_t body = v.mv_size - CLIENT_HEAD;
    *ret = (struct store_client){0};
    memcpy(&ret->id, k.mv_data, 8);
    memcpy(&ret->settled, v.mv_data, 8);
    memcpy(&ret->last_index, (char *)v.mv_data + 8, 8);
    ret->answers.n = ret->answers.cap = body / sizeof(struct store_answer);
    ret->answers.p = mem_array(ret->answers.cap + 1, sizeof(struct store_answer));
    memcpy(ret->answers.p, (char *)v.mv_data + CLIENT_HEAD, body);
    return true;
}

bool store_clients_load(struct reg_store *s, struct err *err)
{
    MDB_txn *txn;
    MDB_cursor *cur = NULL;
    MDB_val k, v;
    store_clients_fini(s);
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc)
        return err_set(err, ERR_IO, "store %s: clients: %s", s->dir, mdb_strerror(rc));
    rc = mdb_cursor_open(txn, s->dbi_clients, &cur);
    for (rc = rc ? rc : mdb_cursor_get(cur, &k, &v, MDB_FIRST); !rc;
         rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) {
        if (s->client_count == REG_CLIENTS_MAX ||
            !client_read(k, v, &s->clients[s->client_count])) {
            rc = MDB_CORRUPTED;
            break;
        }
        s->client_count++;
    }
    if (cur)
        mdb_cursor_close(cur);
    mdb_txn_abort(txn);
    if (rc != MDB_NOTFOUND)
        return err_set(err, ERR_CORRUPT, "store %s: clients: %s", s->dir, mdb_strerror(rc));
    return true;
}

void store_clients_fini(struct reg_store *s)
{
    for (size_t i = 0; i < s->client_count; i++)
        vec_fini(&s->clients[i].answers);
    s->client_count = 0;
    memset(s->clients, 0, sizeof(s->clients));
}

static struct store_client *client_find(struct reg_store *s, uint64_t id)
{
    for (size_t i = 0; i < s->client_count; i++)
        if (s->clients[i].id == id)
            return &s->clients[i];
    return NULL;
}

/* A new client; when the table is full the one unheard for longest goes (equal on all replicas: the
 * order is that of the log). */
static struct store_client *client_add(struct reg_store *s, uint64_t id)
{
    struct store_client *c;
    if (s->client_count < REG_CLIENTS_MAX) {
        c = &s->clients[s->client_count++];
    } else {
        c = &s->clients[0];
        for (size_t i = 1; i < s->client_count; i++)
            if (s->clients[i].last_index < c->last_index)
                c = &s->clients[i];
        int rc = mdb_del(s->batch, s->dbi_clients, &(MDB_val){8, &c->id}, NULL);
        if (rc != MDB_NOTFOUND)
            must(s, rc, "forget client");
        vec_fini(&c->answers);
    }
    *c = (struct store_client){.id = id};
    return c;
}

static const struct store_answer *client_answer(const struct store_client *c, uint64_t sequence)
{
    for (size_t i = 0; i < c->answers.n; i++)
        if (c->answers.p[i].sequence == sequence)
            return &c->answers.p[i];
    return NULL;
}

static void client_settle(struct store_client *c, uint64_t settled)
{
    if (settled <= c->settled)
        return;
    size_t kept = 0;
    for (size_t i = 0; i < c->answers.n; i++)
        if (c->answers.p[i].sequence >= settled)
            c->answers.p[kept++] = c->answers.p[i];
    c->answers.n = kept;
    c->settled = settled;
}

static size_t client_bytes(const struct store_client *c)
{
    return CLIENT_HEAD + c->answers.n * sizeof(struct store_answer);
}

static uint64_t clients_dirty_bytes(const struct reg_store *s)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->client_count; i++)
        bytes += s->clients[i].dirty ? client_bytes(&s->clients[i]) : 0;
    return bytes;
}

static void clients_store(struct reg_store *s)
{
    for (size_t i = 0; i < s->client_count; i++) {
        struct store_client *c = &s->clients[i];
        if (!c->dirty)
            continue;
        size_t body = client_bytes(c) - CLIENT_HEAD;
        MDB_val v = {client_bytes(c), NULL};
        must(s, mdb_put(s->batch, s->dbi_clients, &(MDB_val){8, &c->id}, &v, MDB_RESERVE),
             "clients");
        memcpy(v.mv_data, &c->settled, 8);
        memcpy((char *)v.mv_data + 8, &c->last_index, 8);
        if (body)
            memcpy((char *)v.mv_data + CLIENT_HEAD, c->answers.p, body);
        uint64_t crc = client_crc(c->id, v);
        memcpy((char *)v.mv_data + 16, &crc, 8);
        c->dirty = false;
    }
}

/* Operations. */

/* What an operation is part of. */
struct place {
    reg_rev index;
    uint64_t term; /* of the leader that proposed it; 0 = not told */
    int64_t wall_ms;
    uint32_t request, op; /* numbers within the entry */
};

static bool kv_get(struct reg_store *s, struct slice key, struct store_record *ret)
{
    MDB_val k = store_val(key), v;
    int rc = mdb_get(s->batch, s->dbi_kv, &k, &v);
    if (rc == MDB_NOTFOUND)
        return false;
    must(s, rc, "get");
    *ret = store_record_read(s, key, v);
    return true;
}

static enum err_code expect_check(const struct reg_op *op, bool found,
                                  const struct store_record *old)
{
    switch (op->expect) {
    case REG_EXPECT_ABSENT:
        return found ? ERR_EXISTS : ERR_NONE;
    case REG_EXPECT_EXISTS:
        return found ? ERR_NONE : ERR_NOT_FOUND;
    case REG_EXPECT_REV:
        if (!found)
            return ERR_NOT_FOUND;
        return old->mod_rev == op->expected || (MUTANT(CAS_LOOSE) && old->mod_rev > op->expected) ||
                       (MUTANT(EXPIRE_RENEWED) && op->expiry_term)
                   ? ERR_NONE
                   : ERR_CONFLICT;
    case REG_EXPECT_ANY:
    case REG_EXPECT_EPOCH: /* lease.c */
        break;
    }
    return ERR_NONE;
}

/* Do all preconditions hold against the state before this request? */
static bool request_allowed(struct reg_store *s, const struct reg_request *q, uint64_t term,
                            struct reg_result *res)
{
    for (size_t i = 0; i < q->op_count; i++) {
        struct store_record old = {0};
        bool found = kv_get(s, q->ops[i].key, &old);
        enum err_code code = expect_check(&q->ops[i], found, &old);
        if (code == ERR_NONE)
            code = store_lease_check(s, q, i, term);
        if (code == ERR_NONE)
            continue;
        res->code = code;
        res->failed_op = (uint32_t)i;
        res->failed_rev = old.mod_rev;
        return false;
    }
    return true;
}

static bool size_of(struct reg_store *s, struct slice key, size_t *ret_bytes)
{
    struct store_record r;
    if (!kv_get(s, key, &r))
        return false;
    *ret_bytes = r.value.n;
    return true;
}

static bool request_fits(struct reg_store *s, const struct reg_request *q, struct reg_result *res)
{
    size_t failed;
    if (reg_store_version(s) < VERSION_QUOTAS || q->no_quota ||
        store_quota_allows(s, q, size_of, &failed))
        return true;
    res->code = ERR_NO_ROOM;
    res->failed_op = (uint32_t)failed;
    return false;
}

static void state_hash_op(struct reg_store *s, const struct reg_op *op, reg_rev index)
{
    uint64_t h = hash_bytes_seed(op->key, s->meta.state_hash ^ (op->del ? 1u : 0u));
    h = hash_bytes_seed(op->value, h);
    if (op->attach.n)
        h = hash_bytes_seed(op->attach, h);
    if (op->grant)
        h = hash_u64(hash_bytes_seed(op->grant->holder, h) ^ op->grant->epoch << 32 ^
                     op->grant->ttl_ms ^ (uint64_t)op->grant->registration << 63);
    s->meta.state_hash = hash_u64(h ^ index);
}

static void kv_put(struct reg_store *s, struct slice key, const struct store_record *r)
{
    MDB_val k = store_val(key), v = {STORE_RECORD_HEAD + r->value.n, NULL};
    must(s, mdb_put(s->batch, s->dbi_kv, &k, &v, MDB_RESERVE), "put");
    store_record_write(v.mv_data, key, r);
}

static void kv_del(struct reg_store *s, struct slice key)
{
    MDB_val k = store_val(key);
    must(s, mdb_del(s->batch, s->dbi_kv, &k, NULL), "delete");
}

static void kv_change(struct reg_store *s, const struct reg_op *op, const struct store_record *r)
{
    if (op->del)
        kv_del(s, op->key);
    else
        kv_put(s, op->key, r);
}

static void batch_reserve(struct reg_store *s)
{
    struct err err = {0};
    if (!store_blocks_reserve(s, &err))
        wf_die("%s: this node stops", err.msg);
}

/* What the history gets: of a short operation many times its bytes in the entry. */
static void history_reserve(struct reg_store *s, const struct reg_event *e)
{
    s->batch_beside += store_history_bytes(e);
    batch_reserve(s);
}

/* Returns the revision that the object has afterwards; equal values change nothing. */
static reg_rev op_apply(struct reg_store *s, const struct reg_op *op, const struct place *at,
                        struct slice origin)
{
    reg_rev index = at->index;
    struct store_record old = {0};
    bool found = kv_get(s, op->key, &old);
    if (op->del ? !found : found && slice_eq(old.value, op->value)) {
        store_lease_same(s, op);
        return old.mod_rev;
    }
    /* The old value lies in a page that the put may reuse. */
    struct arena scratch = {0};
    struct reg_event e = {
        .revision = index,
        .wall_ms = at->wall_ms,
        .origin = origin,
        .deleted = op->del,
        .prev_mod_rev = old.mod_rev,
        .prev_value = arena_dup(&scratch, old.value),
        .object = {.key = op->key, .mod_rev = index},
    };
    struct store_record now = {
        .create_rev = found ? old.create_rev : index,
        .mod_rev = index,
        .version = old.version + 1 +
                   (MUTANT(CLOCK_IN_STATE) && env_wall_ms(s->opt.env) % 1000 == 0 ? 1 : 0),
        .value = op->value,
    };
    e.object.create_rev = now.create_rev;
    e.object.version = now.version;
    e.object.value = op->del ? e.prev_value : op->value;
    history_reserve(s, &e);
    kv_change(s, op, &now);
    store_quota_changed(
        s, op->key,
        &(struct store_quota_sizes){.was = found, .is = !op->del, .was_bytes = e.prev_value.n},
        op->value);
    store_history_put(s, at->op, &e);
    store_lease_apply(s, op, index, at->op);
    state_hash_op(s, op, index);
    s->meta.revision = index;
    if (!s->meta.genesis)
        s->meta.genesis = s->meta.state_hash | 1;
    s->batch_changed = true;
    arena_fini(&scratch);
    return index;
}

/* What hangs on a lease goes before it. */
static void lease_end(struct reg_store *s, const struct reg_op *op, struct place *at,
                      struct slice origin)
{
    struct arena scratch = {0};
    size_t n;
    struct slice *keys = store_lease_falls(s, op, &scratch, &n);
    s->batch_ops += n;
    batch_reserve(s);
    for (size_t i = 0; i < n; i++, at->op++)
        op_apply(s, &(struct reg_op){.del = true, .key = keys[i]}, at, origin);
    arena_fini(&scratch);
}

/* Was it asked for before, by whatever client and node? */
static bool request_replay(struct reg_store *s, const struct reg_request *q, reg_rev index,
                           struct reg_result *res)
{
    struct reg_once_answer a;
    if (!q->once || !store_once_find(s, s->batch, q->once->key, index, &a))
        return false;
    res->revision = a.revision;
    if (memcmp(a.digest, q->once->digest, sizeof(a.digest)) == 0)
        res->replayed = true;
    else
        res->code = ERR_INVALID;
    return true;
}

static void request_run(struct reg_store *s, const struct reg_request *q, struct place *at,
                        struct reg_result *res)
{
    if (request_replay(s, q, at->index, res) || !request_allowed(s, q, at->term, res) ||
        !request_fits(s, q, res))
        return;
    for (size_t i = 0; i < q->op_count; i++, at->op++) {
        lease_end(s, &q->ops[i], at, q->origin);
        reg_rev rev = q->ops[i].check ? 0 : op_apply(s, &q->ops[i], at, q->origin);
        if (rev > res->revision)
            res->revision = rev;
    }
    if (!res->revision)
        res->revision = s->meta.revision;
    if (q->once)
        store_once_put(s, q->once, at->index, at->request, res->revision);
}

static void result_of_answer(struct reg_result *res, const struct store_answer *seen)
{
    res->repeated = true;
    res->code = seen ? (enum err_code)(seen->code & ~STORE_ANSWER_REPLAYED) : ERR_CANCELLED;
    res->replayed = seen && seen->code & STORE_ANSWER_REPLAYED;
    res->revision = seen ? seen->revision : 0;
    res->failed_rev = seen ? seen->failed_rev : 0;
    res->failed_op = seen ? seen->failed_op : 0;
}

static struct reg_result request_apply(struct reg_store *s, const struct reg_request *q,
                                       struct place *at)
{
    struct reg_result res = {.client = q->client, .sequence = q->sequence};
    struct store_client *c = client_find(s, q->client);
    if (!c)
        c = client_add(s, q->client);
    const struct store_answer *seen = client_answer(c, q->sequence);
    if ((seen || q->sequence < c->settled) && !MUTANT(NO_DEDUP)) {
        result_of_answer(&res, seen);
        return res;
    }
    request_run(s, q, at, &res);
    client_settle(c, q->settled);
    wf_assert(c->answers.n <= REG_CLIENT_WINDOW * 2);
    *vec_push(&c->answers) = (struct store_answer){
        .sequence = q->sequence,
        .revision = res.revision,
        .failed_rev = res.failed_rev,
        .code = (uint32_t)res.code | (res.replayed ? STORE_ANSWER_REPLAYED : 0),
        .failed_op = res.failed_op,
    };
    c->last_index = at->index;
    c->dirty = true;
    return res;
}

/* Batches. */

static void batch_open(struct reg_store *s)
{
    if (s->batch)
        return;
    s->batch_bytes = s->batch_ops = s->batch_beside = 0;
    s->batch_used = store_used_bytes(s);
    batch_reserve(s);
    must(s, mdb_txn_begin(s->env, NULL, 0, &s->batch), "begin");
    s->batch_changed = false;
}

/* The cluster's version is the highest of any entry (raft/version.h). Nobody sends us what we do
 * not read: to go on without it would be to guess. */
static void version_rise(struct reg_store *s, reg_rev index, unsigned version)
{
    struct err err = {0};
    unsigned now = s->meta.version ? s->meta.version : VERSION_OLDEST;
    if (version > s->opt.reads.newest &&
        !version_fits(s->opt.reads, version, S("this program"), &err))
        wf_die("entry %llu: %s", (unsigned long long)index, err.msg);
    if (version <= now)
        return;
    s->meta.version = version;
    s->meta.state_hash = hash_u64(s->meta.state_hash ^ hash_u64(version) ^ index);
}

void reg_fsm_apply(struct reg_store *s, reg_rev index, uint64_t term, struct slice entry,
                   void (*fn)(void *ctx, const struct reg_result *r), void *ctx)
{
    if (index <= s->meta.applied_index && !MUTANT(APPLY_TWICE))
        return;
    struct err err = {0};
    struct reader r = reader_of(entry);
    struct reg_entry_head head;
    struct arena arena = {0};
    if (s->batch && s->batch_bytes + s->batch_beside >= STORE_BATCH_BYTES_MAX)
        reg_fsm_commit(s, s->meta.applied_index, s->meta.applied_term);
    batch_open(s);
    s->batch_bytes += entry.n;
    if (!reg_entry_open(&r, &head, &err))
        wf_die("entry %llu: %s", (unsigned long long)index, err.msg);
    version_rise(s, index, head.version);
    struct place at = {.index = index, .term = head.term, .wall_ms = head.leader_wall_ms};
    for (; at.request < head.count; at.request++) {
        struct reg_request q;
        if (!reg_request_decode(&r, head.version, &arena, &q, &err))
            wf_die("entry %llu: %s", (unsigned long long)index, err.msg);
        s->batch_ops += q.op_count;
        batch_reserve(s);
        struct reg_result res = request_apply(s, &q, &at);
        if (fn)
            fn(ctx, &res);
        arena_reset(&arena);
    }
    s->meta.applied_index = index;
    s->meta.applied_term = term;
    arena_fini(&arena);
}

/* Readers must be out while the map moves, so it is tried early and waited for only when the next
 * batch might not fit. */
static void map_grow_when_needed(struct reg_store *s)
{
    uint64_t left = s->opt.map_bytes - store_used_bytes(s), room = store_map_room(s);
    if (left * 2 > s->opt.map_bytes && left > 2 * room)
        return;
    if (pthread_rwlock_trywrlock(&s->map_lock) != 0) {
        if (left > room)
            return;
        pthread_rwlock_wrlock(&s->map_lock);
    }
    int rc = store_map_grow(s);
    pthread_rwlock_unlock(&s->map_lock);
    must(s, rc, "grow");
}

void reg_fsm_commit(struct reg_store *s, reg_rev index, uint64_t term)
{
    if (!s->batch && index <= s->meta.applied_index)
        return;
    batch_open(s);
    wf_assert(index >= s->meta.applied_index);
    s->meta.applied_index = index;
    s->meta.applied_term = term;
    s->batch_beside += clients_dirty_bytes(s);
    batch_reserve(s);
    clients_store(s);
    store_history_compact(s);
    store_meta_seal(&s->meta);
    MDB_val v = {sizeof(s->meta), &s->meta};
    must(s, mdb_put(s->batch, s->dbi_meta, &(MDB_val){1, "m"}, &v, 0), "meta");
    s->object_bytes = store_dbi_bytes(s->batch, s->dbi_kv);
    must(s, mdb_txn_commit(s->batch), "commit");
    s->batch = NULL;
    map_grow_when_needed(s);
    store_settle(s);
    if (s->batch_changed)
        store_notify_all(s);
    s->batch_changed = false;
}
