#include <string.h>

#include "base/core/assert.h"
#include "pilot/ads/sub_impl.h"

bool ads_sub_nonce_current(const struct ads_sub *sub, struct slice nonce)
{
    return sub->inflight && slice_eq(nonce, slice_of(sub->inflight->nonce));
}

static bool keep_not_rejected(struct ads_sub *sub, struct ads_dev *d)
{
    (void)sub;
    return d->kind != ADS_DEV_REJECTED;
}

static bool any_rejected(const struct ads_sub *sub)
{
    for (size_t i = 0; i < sub->devs.n; i++)
        if (sub->devs.p[i].kind == ADS_DEV_REJECTED)
            return true;
    return false;
}

static struct ads_response *take_inflight(struct ads_sub *sub)
{
    struct ads_response *r = sub->inflight;
    wf_assert(r);
    sub->inflight = NULL;
    return r;
}

/* Names were given up and taken again while the response was under way: what is gone since then was
 * nobody's business when it went, but the client has just read of it. */
static void check_crossed(struct ads_sub *sub, const struct ads_response *r)
{
    sub->crossed = false;
    for (size_t i = 0; i < r->items.n; i++) {
        struct xds_resource *res = r->items.p[i];
        if (!ads_sub_covers(sub, res->name) || xds_list_find(sub->base, res->name) ||
            sub_dev_find(sub, res->name))
            continue;
        struct ads_dev *d = sub_dev_put(sub, res->name);
        d->version = res->version;
        d->old = xds_resource_ref(res);
        d->since = sub_now(sub);
    }
}

void ads_sub_ack(struct ads_sub *sub)
{
    struct ads_response *r = take_inflight(sub);
    sub->acks++;
    sub->acked = r->revision;
    if (sub->crossed && r->delta)
        check_crossed(sub, r);
    ads_response_unref(r);
    if (sub_is_full(sub)) /* all of it is in what was just acknowledged */
        sub_devs_filter(sub, keep_not_rejected);
    if (!sub_any_suspect(sub))
        sub->batch_max = 0;
    bool rejected = any_rejected(sub);
    if (!rejected) {
        ads_name_unref(sub->cx->names, sub->error);
        sub->error = NULL;
    }
    sm_move(&ads_sub_table, &sub->sm, rejected ? ADS_SUB_REJECTED : ADS_SUB_IDLE, sub);
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == '|' || c == '/';
}

/* Does the message speak of the name, and not of one that it is a part of? A full stop may end it.
 */
static bool error_names(struct slice error, struct slice name)
{
    if (!name.n)
        return false;
    for (size_t at = 0; at + name.n <= error.n; at++) {
        const char *hit = memmem(error.p + at, error.n - at, name.p, name.n);
        if (!hit)
            return false;
        at = (size_t)(hit - error.p);
        size_t end = at + name.n;
        bool left = at == 0 || !name_char(error.p[at - 1]);
        bool stop = end < error.n && error.p[end] == '.' &&
                    (end + 1 == error.n || !name_char(error.p[end + 1]));
        if (left && (end == error.n || !name_char(error.p[end]) || stop))
            return true;
    }
    return false;
}

struct nack {
    struct ads_sub *sub;
    const struct ads_response *r;
    struct slice error;
    bool exact;   /* one resource: it is that */
    size_t named; /* resources that the message names */
    size_t found;
    void (*rejected)(void *ctx, struct xds_resource *r);
    void *ctx;
};

/* Is a resource of the response the culprit? */
static bool nack_hits(const struct nack *n, const struct xds_resource *res)
{
    if (n->exact)
        return true;
    return n->named && error_names(n->error, res->name);
}

static void nack_item(struct nack *n, struct xds_resource *res)
{
    struct ads_sub *sub = n->sub;
    bool hit = nack_hits(n, res);
    if (hit) {
        n->found++;
        n->rejected(n->ctx, res);
    }
    struct xds_resource *now = xds_list_find(sub->base, res->name);
    bool moved_on =
        !now || !sub_version_eq(now->version, res->version) || sub_dev_find(sub, res->name);
    if (!ads_sub_covers(sub, res->name) || moved_on)
        return;
    /* SotW LDS and CDS cannot leave anything out: all of the news count as refused. */
    bool refused = hit || sub_is_full(sub);
    struct ads_dev *d = sub_dev_put(sub, res->name);
    d->kind = refused ? ADS_DEV_REJECTED : ADS_DEV_SUSPECT;
    d->version = res->version;
    d->old = refused ? xds_resource_ref(res) : NULL;
    d->error = refused ? ads_name_intern(sub->cx->names, n->error) : NULL;
    d->present = true;
    d->since = n->r->since ? n->r->since : sub_now(sub);
}

/* A removal of a rejected response. Alone it is what the client refuses; with resources beside it
 * those are suspected, and it goes again without them. */
static void nack_removed(struct nack *n, struct ads_name *name)
{
    struct ads_sub *sub = n->sub;
    struct slice text = ads_name_slice(name);
    if (!ads_sub_covers(sub, text))
        return;
    bool known = sub_dev_find(sub, text) != NULL;
    struct ads_dev *d = sub_dev_put(sub, text);
    if (sub_version_none(d->version))
        d->version = (struct xds_version){0, 1}; /* it has some, not known which */
    if (known)                                   /* it came back meanwhile */
        return;
    wf_assert(!xds_list_find(sub->base, text));
    d->since = n->r->since ? n->r->since : sub_now(sub);
    if (n->r->due)
        return;
    d->kind = ADS_DEV_REJECTED;
    d->error = ads_name_intern(sub->cx->names, n->error);
}

size_t ads_sub_nack(struct ads_sub *sub, struct slice error,
                    void (*rejected)(void *ctx, struct xds_resource *r), void *ctx)
{
    struct ads_response *r = take_inflight(sub);
    struct nack n = {.sub = sub, .r = r, .error = error, .rejected = rejected, .ctx = ctx};
    n.exact = r->due == 1;
    for (size_t i = 0; i < r->due && !n.exact; i++)
        n.named += error_names(error, r->items.p[i]->name);
    sub->nacks++;
    sub->crossed = false;
    for (size_t i = 0; i < r->due; i++)
        nack_item(&n, r->items.p[i]);
    for (size_t i = 0; i < r->removed.n; i++)
        nack_removed(&n, r->removed.p[i]);
    for (size_t i = 0; i < r->missing.n && r->due && !r->delta; i++)
        nack_removed(&n, r->missing.p[i]);
    if (!n.exact && !n.named && r->due)
        sub->batch_max = (uint32_t)(r->due / 2);
    if (!sub_any_suspect(sub))
        sub->batch_max = 0;
    struct ads_name *text = ads_name_intern(sub->cx->names, error);
    ads_name_unref(sub->cx->names, sub->error);
    sub->error = text;
    ads_response_unref(r);
    sm_move(&ads_sub_table, &sub->sm, ADS_SUB_REJECTED, sub);
    return n.found;
}

static void min_since(reg_rev *min, reg_rev since)
{
    if (since && since < *min)
        *min = since;
}

static reg_rev done_to(const struct ads_sub *sub, bool rejections_count)
{
    if (sub_is_waiting(sub) || sub_owes_answer(sub))
        return 0;
    reg_rev min = sub->evaluated + 1;
    for (size_t i = 0; i < sub->devs.n; i++)
        if (sub->devs.p[i].kind != ADS_DEV_REJECTED || !rejections_count)
            min_since(&min, sub->devs.p[i].since);
    if (sub->inflight)
        min_since(&min, sub->inflight->since);
    if (!sub->complete && !sub_covers_nothing(sub))
        min_since(&min, 1);
    return min - 1;
}

reg_rev ads_sub_converged(const struct ads_sub *sub)
{
    return done_to(sub, false);
}

reg_rev ads_sub_settled(const struct ads_sub *sub)
{
    return done_to(sub, true);
}

/* Who has what. */

static bool in_flight(const struct ads_sub *sub, const struct xds_resource *r)
{
    for (size_t i = 0; sub->inflight && i < sub->inflight->due; i++)
        if (sub->inflight->items.p[i] == r)
            return true;
    return false;
}

static enum ads_config_status status_of(const struct ads_sub *sub, const struct ads_dev *d,
                                        const struct xds_resource *r)
{
    if (d && d->kind == ADS_DEV_REJECTED)
        return ADS_ERROR;
    if (d)
        return sub_version_none(d->version) ? ADS_NOT_SENT : ADS_STALE;
    if (r && in_flight(sub, r))
        return ADS_STALE;
    return r && sub_is_ahead(sub, r->name) ? ADS_NOT_SENT : ADS_SYNCED;
}

void ads_sub_each(const struct ads_sub *sub, void (*fn)(void *ctx, const struct ads_config *c),
                  void *ctx)
{
    struct xds_list_iter it = {.list = sub->base};
    struct xds_resource *r = xds_list_next(&it);
    size_t i = 0;
    while (r || i < sub->devs.n) {
        const struct ads_dev *d = i < sub->devs.n ? &sub->devs.p[i] : NULL;
        int c = !r ? 1 : !d ? -1 : slice_cmp(r->name, ads_name_slice(d->name));
        d = c >= 0 ? d : NULL;
        struct xds_resource *cur = c <= 0 ? r : NULL;
        if (d || ads_sub_covers(sub, cur->name))
            fn(ctx, &(struct ads_config){.status = status_of(sub, d, cur),
                                         .name = d ? ads_name_slice(d->name) : cur->name,
                                         .version = cur ? cur->version : d->version,
                                         .resource = cur ? cur : d->old,
                                         .error = d && d->error ? ads_name_slice(d->error)
                                                                : (struct slice){0}});
        r = c <= 0 ? xds_list_next(&it) : r;
        i += c >= 0;
    }
}
