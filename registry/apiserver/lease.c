/* Leases (registry/lease.h) as users meet them: the object coordination.k8s.io/v1 Lease, the
 * annotation weft.dev/lease, the header weft-fence, and what is too frequent for objects:
 *
 *   POST /weft/v1/leases/renew     {"leases":[{"namespace":"default","name":"vm-1","epoch":3}, …]}
 *     -> {"leases":[{"namespace":"default","name":"vm-1","epoch":3,"held":true}, …]}
 *   POST /weft/v1/leases/approve   -> {"approved":34}: what mass expiry holds back may expire
 */
#include "base/core/assert.h"
#include "registry/apiserver/write.h"

/* Of one object. */

static struct slice annotation(const json_t *object, const char *name)
{
    return json_slice(json_object_get(json_at(object, "metadata.annotations"), name));
}

static bool taken(const struct item *it, const struct reg_lease *l, struct err *err)
{
    return err_set(err, ERR_CONFLICT,
                   "leases.coordination.k8s.io \"%.*s\": spec.holderIdentity: %.*s holds it, at "
                   "epoch %llu: wait until it releases the lease or it expires, or delete it",
                   SLICE(it->name), SLICE(l->holder), (unsigned long long)l->epoch);
}

static bool grant_of(struct item *it, struct reg_txn *txn, json_t *next, struct err *err)
{
    struct slice holder = json_str(next, "spec.holderIdentity");
    int64_t seconds = json_int(next, "spec.leaseDurationSeconds", 0);
    struct reg_lease l = {0};
    bool there = reg_lease_get(txn, it->key, &l), held = there && l.holder.n;
    if (held && holder.n && !slice_eq(l.holder, holder))
        return taken(it, &l, err);
    if (holder.n > REG_HOLDER_BYTES_MAX || seconds < 0 || seconds > REG_LEASE_TTL_MS_MAX / 1000)
        return true; /* the schema says so */
    bool stays = there && (held || !holder.n);
    it->grants = true;
    it->grant = (struct reg_grant){
        .holder = holder,
        .ttl_ms = (uint32_t)seconds * 1000,
        .epoch = stays ? l.epoch : reg_lease_epoch_next(txn, it->key),
        .registration = slice_eq(annotation(next, KIND_LEASE_ON_EXPIRY), S("delete"))};
    if (!json_object_get(next, "spec") || json_is_object(json_object_get(next, "spec")))
        json_object_set_new(json_object_child(next, "spec"), "leaseTransitions",
                            json_integer((json_int_t)it->grant.epoch));
    return true;
}

/* A lease of the same request, that it writes before and somebody holds then. */
static bool held_before(const struct write *w, const struct item *it)
{
    for (const struct item *i = w->items.p; i < it; i++)
        if (i->grants && slice_eq(i->key, it->attach))
            return i->grant.holder.n;
    return false;
}

static bool attach_of(struct write *w, struct item *it, struct reg_txn *txn, struct slice name,
                      struct err *err)
{
    struct reg_lease l;
    if (!it->kind->namespaced)
        return err_set(err, ERR_INVALID,
                       "%s \"%.*s\": metadata.annotations[" KIND_ON_LEASE
                       "]: objects without a namespace live on no lease: leave it out",
                       it->kind->plural, SLICE(it->name));
    if (!kind_key(&kinds[KIND_LEASE], it->ns, name, &w->arena, &it->attach, err))
        return err_wrap(err, "%s \"%.*s\": metadata.annotations[" KIND_ON_LEASE "]",
                        it->kind->plural, SLICE(it->name));
    return held_before(w, it) || (reg_lease_get(txn, it->attach, &l) && l.holder.n) ||
           err_set(err, ERR_NOT_FOUND,
                   "%s \"%.*s\": metadata.annotations[" KIND_ON_LEASE
                   "]: nobody holds the lease %.*s/%.*s: write it before, with "
                   "spec.holderIdentity",
                   it->kind->plural, SLICE(it->name), SLICE(it->ns), SLICE(name));
}

bool item_lease(struct write *w, struct item *it, struct reg_txn *txn, json_t *next,
                struct err *err)
{
    struct slice lease = annotation(next, KIND_ON_LEASE);
    it->grants = false;
    it->attach = (struct slice){0};
    if (it->kind->id == KIND_LEASE)
        return grant_of(it, txn, next, err);
    return !lease.n || attach_of(w, it, txn, lease, err);
}

/* "[NAMESPACE/]NAME=EPOCH" */
bool write_fence(struct write *w, struct err *err)
{
    const struct header *h = headers_find(w->req->headers, S("weft-fence"));
    struct slice place, epoch, ns, name;
    if (!h)
        return true;
    if (!slice_cut(slice_trim(h->value), '=', &place, &epoch) ||
        !slice_u64(epoch, &w->fence_epoch) || !w->fence_epoch)
        return err_set(err, ERR_INVALID,
                       "weft-fence: \"%.*s\": write [NAMESPACE/]LEASE=EPOCH, the epoch as the "
                       "lease's spec.leaseTransitions says",
                       SLICE(slice_sub(h->value, 0, 80)));
    if (!slice_cut(place, '/', &ns, &name)) {
        name = place;
        ns = S("default");
    }
    return kind_key(&kinds[KIND_LEASE], ns, name, &w->arena, &w->fence, err) ||
           err_wrap(err, "weft-fence");
}

/* Signs of life. */

struct signs {
    struct http_request *req; /* NULL: the client is gone */
    struct arena arena;
    json_t *body; /* what was asked; becomes the answer */
    struct reg_renew renew;
};

static void signs_free(struct signs *g)
{
    json_decref(g->body);
    arena_fini(&g->arena);
    mem_free(g);
}

static void signs_gone(struct http_request *req)
{
    struct signs *g = req->user;
    g->req = NULL;
}

static void signs_answer(struct signs *g)
{
    json_t *entry;
    size_t i;
    if (g->renew.err.code) {
        api_respond_err(g->req, NULL, &g->renew.err);
    } else if (g->renew.approve) {
        json_t *o = json_pack("{s:I}", "approved", (json_int_t)g->renew.approved);
        api_respond_json(g->req, 200, o);
        json_decref(o);
    } else {
        json_array_foreach (json_object_get(g->body, "leases"), i, entry)
            json_object_set_new(entry, "held", json_boolean(!g->renew.leases[i].lost));
        api_respond_json(g->req, 200, g->body);
    }
}

static void signs_done(struct reg_renew *r)
{
    struct signs *g = container_of(r, struct signs, renew);
    if (g->req) {
        struct http_request *req = g->req;
        req->on_close = NULL;
        signs_answer(g);
    }
    signs_free(g);
}

static struct signs *signs_new(struct apiserver *s, struct http_request *req)
{
    struct signs *g = MEM_NEW(struct signs);
    *g = (struct signs){.req = req, .renew = {.env = s->env, .fn = signs_done}};
    return g;
}

static void signs_send(struct apiserver *s, struct signs *g)
{
    g->req->user = g;
    g->req->on_close = signs_gone;
    reg_lease_renew(s->opt.node, &g->renew);
}

static bool sign_read(struct signs *g, size_t i, json_t *entry, struct err *err)
{
    struct slice ns = json_str(entry, "namespace"), name = json_str(entry, "name");
    int64_t epoch = json_int(entry, "epoch", 0);
    struct reg_renewal *l = &g->renew.leases[i];
    if (epoch <= 0)
        return err_set(err, ERR_INVALID,
                       "leases[%zu].epoch: must be a number, spec.leaseTransitions of the lease",
                       i);
    l->epoch = (uint64_t)epoch;
    return kind_key(&kinds[KIND_LEASE], ns.n ? ns : S("default"), name, &g->arena, &l->key, err) ||
           err_wrap(err, "leases[%zu]", i);
}

static bool signs_read(struct signs *g, struct err *err)
{
    json_t *list = json_object_get(g->body, "leases"), *entry;
    size_t i, n = json_array_size(list);
    if (n == 0 || n > REG_RENEWALS_MAX)
        return err_set(err, ERR_INVALID,
                       "leases: must be a list of 1 to %d, each with namespace, name and epoch",
                       REG_RENEWALS_MAX);
    g->renew.leases = ARENA_ARRAY(&g->arena, struct reg_renewal, n);
    g->renew.count = n;
    json_array_foreach (list, i, entry)
        if (!sign_read(g, i, entry, err))
            return false;
    return true;
}

void api_leases_renew(struct apiserver *s, struct http_request *req)
{
    struct err err = {0};
    struct signs *g = signs_new(s, req);
    g->body = json_parse(req->body, &err);
    if (g->body && signs_read(g, &err)) {
        signs_send(s, g);
        return;
    }
    api_respond_err(req, NULL, &err);
    signs_free(g);
}

void api_leases_approve(struct apiserver *s, struct http_request *req)
{
    struct signs *g = signs_new(s, req);
    g->renew.approve = true;
    signs_send(s, g);
}
