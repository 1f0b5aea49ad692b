#include "pilot/ads/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/wire/grpc.h"
#include "pilot/ads/ads_limits.h"

struct ads {
    struct ads_cx cx;
    const struct xds_type_info *only;
    uint32_t nonce_salt, nonce_count;
    bool identified, ended, draining;
    uint32_t writing;   /* responses given out and not yet written */
    uint32_t responses; /* ever */
    struct xds_view *view;
    reg_rev revision; /* of the snapshot that view is of; 0: none yet */
    struct ads_sub *subs[XDS_TYPE_COUNT];
    struct ads_sub *others[ADS_UNKNOWN_TYPES_MAX];
    size_t other_count;
    /* Assignments of clusters that went out before the client asked for endpoints. */
    struct ads_nameset owed;
};

void ads_out_reset(struct ads_out *out)
{
    for (size_t i = 0; i < out->responses.n; i++)
        ads_response_unref(out->responses.p[i]);
    for (size_t i = 0; i < out->nacks.n; i++)
        xds_resource_unref(out->nacks.p[i].resource);
    vec_fini(&out->responses);
    vec_fini(&out->nacks);
    *out = (struct ads_out){0};
}

struct ads *ads_new(const struct ads_options *opt)
{
    struct ads *a = MEM_NEW(struct ads);
    a->cx = (struct ads_cx){.names = opt->names, .variant = opt->variant};
    a->only = opt->type;
    a->nonce_salt = opt->nonce_salt;
    return a;
}

static void sub_free(struct ads_sub *sub)
{
    if (sub)
        ads_sub_fini(sub);
    mem_free(sub);
}

void ads_free(struct ads *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++)
        sub_free(a->subs[i]);
    for (size_t i = 0; i < a->other_count; i++)
        sub_free(a->others[i]);
    ads_nameset_fini(&a->owed, a->cx.names);
    xds_view_unref(a->view);
    mem_free(a);
}

static void end(struct ads *a, struct ads_out *out, int status, const char *reason)
{
    if (a->ended)
        return;
    a->ended = true;
    out->closed = true;
    out->status = status;
    out->reason = reason;
}

/* Order. */

#define T(type) (1u << (type))

/* What must be with the client before: updates after the updates of, removals after anything of.
 * There is no cycle: CDS and EDS updates wait for nothing. EDS is never behind CDS, for whose ACK
 * Envoy waits until it has the endpoints. */
static const struct {
    unsigned updates, removals;
} order[XDS_TYPE_COUNT] = {
    [XDS_CDS] = {0, T(XDS_LDS) | T(XDS_RDS) | T(XDS_VHDS)},
    [XDS_EDS] = {0, T(XDS_CDS)},
    [XDS_LDS] = {T(XDS_CDS) | T(XDS_EDS), 0},
    [XDS_RDS] = {T(XDS_CDS) | T(XDS_EDS), T(XDS_LDS)},
    [XDS_VHDS] = {T(XDS_CDS) | T(XDS_EDS), 0},
};

static bool is_busy(const struct ads_sub *sub, unsigned kinds)
{
    if (sub->sm.now == ADS_SUB_WAITING || sub->inflight)
        return true;
    return ads_sub_due(sub) & kinds;
}

static bool any_busy(const struct ads *a, unsigned types, unsigned kinds)
{
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++)
        if ((types & T(i)) && a->subs[i] && is_busy(a->subs[i], kinds))
            return true;
    return false;
}

/* Held is a wait with a start, so that it has an end. */
static bool is_held(bool blocked, wf_ms now, wf_ms *held_at)
{
    if (!blocked) {
        *held_at = 0;
        return false;
    }
    if (!*held_at)
        *held_at = now;
    return now < *held_at + ADS_ORDER_WAIT_MS;
}

static unsigned allowed_now(struct ads *a, struct ads_sub *sub, unsigned due, wf_ms now)
{
    unsigned type = (unsigned)sub->type->type;
    bool updates = (due & ADS_DUE_UPDATE) && any_busy(a, order[type].updates, ADS_DUE_UPDATE);
    bool removals = (due & ADS_DUE_REMOVE) &&
                    any_busy(a, order[type].removals, ADS_DUE_UPDATE | ADS_DUE_REMOVE);
    if (sub->grace_until && now >= sub->grace_until)
        sub->grace_until = 0;
    removals |= (due & ADS_DUE_REMOVE) && sub->grace_until;
    unsigned held = is_held(updates, now, &sub->updates_held_at) ? ADS_DUE_UPDATE : 0;
    held |= is_held(removals, now, &sub->removals_held_at) ? ADS_DUE_REMOVE : 0;
    return due & ~held;
}

/* Sending. */

/* D4: Envoy warms a changed cluster until endpoints come, and does not ask for them again. */
static void on_follow(void *ctx, struct slice name)
{
    struct ads *a = ctx;
    struct ads_sub *eds = a->subs[XDS_EDS];
    if (eds && eds->sm.now != ADS_SUB_WAITING)
        ads_sub_force(eds, name);
    else
        ads_nameset_add(&a->owed, a->cx.names, &name, 1);
}

static void pay_owed(struct ads *a, struct ads_sub *eds)
{
    for (uint32_t i = 0; i < a->owed.n; i++)
        ads_sub_force(eds, ads_name_slice(a->owed.p[i]));
    ads_nameset_fini(&a->owed, a->cx.names);
}

static void send(struct ads *a, struct ads_sub *sub, unsigned allowed, wf_ms now,
                 struct ads_out *out)
{
    /* What is held next starts a wait of its own. */
    sub->updates_held_at = allowed & ADS_DUE_UPDATE ? 0 : sub->updates_held_at;
    sub->removals_held_at = allowed & ADS_DUE_REMOVE ? 0 : sub->removals_held_at;
    struct ads_response *r = ads_sub_make(sub, allowed, on_follow, a);
    if (!r)
        return;
    int n = snprintf(r->nonce, sizeof(r->nonce), "%08" PRIx32 ".%" PRIu32, a->nonce_salt,
                     ++a->nonce_count);
    wf_assert(n > 0 && (size_t)n < sizeof(r->nonce));
    memcpy(sub->nonce, r->nonce, sizeof(sub->nonce));
    r->sent_at = now;
    a->writing++;
    a->responses++;
    *vec_push(&out->responses) = r;
    out->progress = true;
}

static void pump_sub(struct ads *a, struct ads_sub *sub, wf_ms now, struct ads_out *out)
{
    if (!sub || sub->sm.now == ADS_SUB_WAITING || sub->inflight)
        return;
    unsigned due = ads_sub_due(sub);
    unsigned allowed = sub->type ? allowed_now(a, sub, due, now) : due;
    if (allowed)
        send(a, sub, allowed, now, out);
}

/* In the order of enum xds_type, which is the order of pushing. */
static void pump(struct ads *a, wf_ms now, struct ads_out *out)
{
    if (a->ended || a->draining)
        return;
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++)
        pump_sub(a, a->subs[i], now, out);
    for (size_t i = 0; i < a->other_count; i++)
        pump_sub(a, a->others[i], now, out);
}

/* Snapshots. */

/* A client that knows newer versions than this replica's is not sent older content. */
static bool is_behind(const struct ads *a, struct ads_sub *sub, wf_ms now)
{
    if (sub->sm.now != ADS_SUB_WAITING || sub->catch_up <= a->revision)
        return false;
    if (!sub->catch_up_until)
        sub->catch_up_until = now + ADS_CATCH_UP_MS;
    return now < sub->catch_up_until;
}

static void advance(struct ads *a, struct ads_sub *sub, wf_ms now)
{
    if (!sub || !a->view || is_behind(a, sub, now))
        return;
    bool first = sub->sm.now == ADS_SUB_WAITING;
    if (!first && sub->evaluated == a->revision)
        return;
    if (first && sub->reported.n && order[sub->type->type].removals)
        sub->grace_until = now + ADS_GRACE_MS;
    ads_sub_advance(sub, a->view->types[sub->type->type], a->revision);
    if (first && sub->type->type == XDS_EDS)
        pay_owed(a, sub);
}

static void advance_all(struct ads *a, wf_ms now)
{
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++)
        advance(a, a->subs[i], now);
}

static void on_snapshot(struct ads *a, wf_ms now, const struct ads_event *ev, struct ads_out *out)
{
    if (ev->revision < a->revision || !ev->view)
        return;
    xds_view_ref(ev->view);
    xds_view_unref(a->view);
    a->view = ev->view;
    a->revision = ev->revision;
    advance_all(a, now);
    out->progress = true;
}

/* Requests. */

static struct ads_sub *sub_new(struct ads *a, const struct xds_type_info *type, struct slice url)
{
    struct ads_sub *sub = MEM_NEW(struct ads_sub);
    ads_sub_init(sub, &a->cx, type, url);
    return sub;
}

/* A type that weft does not serve is a type without resources. */
static struct ads_sub *other_sub(struct ads *a, struct slice url, bool *ret_first)
{
    for (size_t i = 0; i < a->other_count; i++)
        if (slice_eq(ads_sub_type_url(a->others[i]), url))
            return a->others[i];
    if (a->other_count == ADS_UNKNOWN_TYPES_MAX)
        return NULL;
    *ret_first = true;
    struct ads_sub *sub = sub_new(a, NULL, url);
    a->others[a->other_count++] = sub;
    return sub;
}

static struct ads_sub *sub_for(struct ads *a, struct slice url, bool *ret_first)
{
    const struct xds_type_info *type = xds_type_by_url(url);
    *ret_first = false;
    if (!type)
        return other_sub(a, url, ret_first);
    if (!a->subs[type->type]) {
        *ret_first = true;
        a->subs[type->type] = sub_new(a, type, url);
    }
    return a->subs[type->type];
}

struct nack_cx {
    struct ads_sub *sub;
    struct ads_out *out;
    reg_rev revision;
    struct slice error;
};

static void add_nack(struct nack_cx *cx, struct xds_resource *r)
{
    *vec_push(&cx->out->nacks) = (struct ads_nack){
        .type = cx->sub->type, .resource = r, .revision = cx->revision, .error = cx->error};
}

static void on_rejected(void *ctx, struct xds_resource *r)
{
    add_nack(ctx, xds_resource_ref(r));
}

static void on_nonce(struct ads_sub *sub, const struct ads_request *req, struct ads_out *out)
{
    if (!req->nonce.n)
        return;
    if (!ads_sub_nonce_current(sub, req->nonce)) {
        /* The last one again, when it was acknowledged already, is how SotW changes its names. */
        out->stale_nonces += !slice_eq(req->nonce, slice_of(sub->nonce));
        return;
    }
    out->progress = true;
    if (!req->nack) {
        ads_sub_ack(sub);
        out->acks++;
        return;
    }
    struct nack_cx cx = {.sub = sub, .out = out, .revision = sub->sent, .error = req->error};
    if (!ads_sub_nack(sub, req->error, on_rejected, &cx))
        add_nack(&cx, NULL);
}

/* S3: only the answer to the last response counts, with all that it says. */
static bool is_stale(const struct ads *a, const struct ads_sub *sub, const struct ads_request *req)
{
    return a->cx.variant == XDS_SOTW && sub->nonce[0] &&
           !slice_eq(req->nonce, slice_of(sub->nonce));
}

static void on_sub_request(struct ads *a, struct ads_sub *sub, bool first, wf_ms now,
                           const struct ads_request *req, struct ads_out *out)
{
    if (is_stale(a, sub, req)) {
        out->stale_nonces++;
        return;
    }
    /* D2: subscribe, unsubscribe, then the nonce. In SotW a name may be asked for again in the very
     * ACK, so the nonce first there. */
    if (a->cx.variant == XDS_SOTW)
        on_nonce(sub, req, out);
    if (!ads_sub_request(sub, req, first)) {
        end(a, out, GRPC_RESOURCE_EXHAUSTED, "too many resource names in one subscription");
        return;
    }
    if (a->cx.variant == XDS_DELTA)
        on_nonce(sub, req, out);
    out->progress |= first;
    if (sub->type)
        advance(a, sub, now);
    else if (first)
        ads_sub_advance(sub, NULL, a->revision);
}

static bool identify(struct ads *a, const struct ads_request *req, struct ads_out *out)
{
    if (a->identified)
        return true;
    if (!req->node) {
        end(a, out, GRPC_INVALID_ARGUMENT, "the first request of a stream must name its node");
        return false;
    }
    a->identified = out->identified = true;
    a->cx.dialect = req->node->class_input.dialect;
    return true;
}

static void on_request(struct ads *a, wf_ms now, const struct ads_request *req, struct ads_out *out)
{
    struct slice url = req->type_url;
    if (a->only && !url.n)
        url = a->only->url;
    if (!identify(a, req, out))
        return;
    if (!url.n || (a->only && !slice_eq(url, a->only->url))) {
        end(a, out, GRPC_INVALID_ARGUMENT, "type_url is empty or not of this service");
        return;
    }
    bool first;
    struct ads_sub *sub = sub_for(a, url, &first);
    if (!sub) /* more types that nobody serves than a client has use for */
        return;
    on_sub_request(a, sub, first, now, req, out);
}

static void drain_if_idle(struct ads *a, struct ads_out *out)
{
    /* A stream that ends before its first response counts as a failure with all clients. */
    if (a->draining && !a->writing)
        end(a, out, a->responses ? GRPC_OK : GRPC_UNAVAILABLE, "this replica is going away");
}

void ads_step(struct ads *a, wf_ms now, const struct ads_event *ev, struct ads_out *out)
{
    if (a->ended)
        return;
    switch (ev->kind) {
    case ADS_REQUEST:
        on_request(a, now, ev->request, out);
        break;
    case ADS_SNAPSHOT:
        on_snapshot(a, now, ev, out);
        break;
    case ADS_WRITTEN:
        wf_assert(a->writing > 0);
        a->writing--;
        break;
    case ADS_TICK:
        advance_all(a, now);
        break;
    case ADS_DRAIN:
        a->draining = true;
        break;
    }
    pump(a, now, out);
    drain_if_idle(a, out);
}

static wf_ms sooner(wf_ms a, wf_ms b)
{
    return !a || (b && b < a) ? b : a;
}

wf_ms ads_deadline(const struct ads *a)
{
    wf_ms at = 0;
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++) {
        const struct ads_sub *s = a->subs[i];
        if (!s)
            continue;
        if (s->sm.now == ADS_SUB_WAITING) {
            at = a->view ? sooner(at, s->catch_up_until) : at;
            continue;
        }
        /* While a response is un-ACKed its answer comes first; a hold that has run out waits for
         * it. */
        if (s->inflight)
            continue;
        at = sooner(at, s->updates_held_at ? s->updates_held_at + ADS_ORDER_WAIT_MS : 0);
        at = sooner(at, s->removals_held_at ? s->removals_held_at + ADS_ORDER_WAIT_MS : 0);
        at = sooner(at, s->removals_held_at ? s->grace_until : 0);
    }
    return at;
}

/* Convergence. */

static reg_rev lowest(const struct ads *a, reg_rev (*of)(const struct ads_sub *sub))
{
    reg_rev min = UINT64_MAX;
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++) {
        reg_rev rev = a->subs[i] ? of(a->subs[i]) : UINT64_MAX;
        min = rev < min ? rev : min;
    }
    return min == UINT64_MAX ? 0 : min;
}

reg_rev ads_converged(const struct ads *a)
{
    return lowest(a, ads_sub_converged);
}

reg_rev ads_settled(const struct ads *a)
{
    return lowest(a, ads_sub_settled);
}

const struct ads_sub *ads_sub_of(const struct ads *a, enum xds_type type)
{
    wf_assert(type < XDS_TYPE_COUNT);
    return a->subs[type];
}

void ads_each_rejected(const struct ads *a,
                       void (*fn)(void *ctx, const struct xds_type_info *type,
                                  const struct ads_dev *dev),
                       void *ctx)
{
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++) {
        const struct ads_sub *s = a->subs[i];
        for (size_t d = 0; s && d < s->devs.n; d++)
            if (s->devs.p[d].kind == ADS_DEV_REJECTED)
                fn(ctx, s->type, &s->devs.p[d]);
    }
}

static void count(void *ctx, const struct xds_type_info *type, const struct ads_dev *dev)
{
    (void)type;
    (void)dev;
    (*(size_t *)ctx)++;
}

size_t ads_rejected(const struct ads *a)
{
    size_t n = 0;
    ads_each_rejected(a, count, &n);
    return n;
}
