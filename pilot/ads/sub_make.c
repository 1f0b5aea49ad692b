#include <stdlib.h>

#include "base/core/assert.h"
#include "pilot/ads/ads_limits.h"
#include "pilot/ads/sub_impl.h"

struct make {
    struct ads_sub *sub;
    struct ads_response *r;
    unsigned allowed;
    bool suspects; /* this response is of suspects alone */
    ads_follow_fn *follow;
    void *ctx;
    bool kept_old; /* SotW: something that is gone is still listed */
};

static bool is_stuffed(const struct make *m)
{
    if (m->suspects)
        return m->sub->batch_max && m->r->items.n >= m->sub->batch_max;
    return m->r->bytes >= ADS_RESPONSE_BYTES;
}

static void make_since(struct make *m, reg_rev since)
{
    wf_assert(since > 0);
    if (!m->r->since || since < m->r->since)
        m->r->since = since;
}

static void make_news(struct make *m, struct xds_resource *res)
{
    ads_response_add(m->r, res);
    m->r->due++;
    if (res->follows.n && m->follow)
        m->follow(m->ctx, res->follows);
}

/* Envoy takes no notice of resource_errors and would keep a cluster warming for 15 s: to SotW an
 * unknown assignment is an empty one. (Delta says it with removed_resources.) */
static void make_empty_cla(struct make *m, struct ads_name *name)
{
    struct buf body = {0};
    pbw_bytes(&body, 1, ads_name_slice(name));
    struct xds_resource *res = xds_resource_new(&(struct xds_resource_parts){
        .type = XDS_EDS, .name = ads_name_slice(name), .body = buf_slice(&body)});
    make_news(m, res);
    xds_resource_unref(res);
    buf_fini(&body);
}

/* D6, S10 and TP3: say now that there is no such name; it stays subscribed. */
static void make_absent(struct make *m, const struct ads_dev *d)
{
    struct ads_sub *sub = m->sub;
    bool asked = d->kind == ADS_DEV_ASK, delta = sub->cx->variant == XDS_DELTA;
    bool named = ads_nameset_has(&sub->names, ads_name_slice(d->name));
    if (delta)
        ads_response_remove(m->r, d->name);
    else if (asked && sub->type && sub->type->type == XDS_EDS && sub->cx->dialect != DIALECT_GRPC) {
        make_empty_cla(m, d->name);
        return;
    }
    if (named && (!sub_is_full(sub) || asked))
        ads_response_miss(m->r, d->name);
}

static bool dev_goes(const struct make *m, const struct ads_dev *d)
{
    unsigned due = sub_dev_due(d);
    if (!(due & m->allowed))
        return false;
    return (d->kind == ADS_DEV_SUSPECT) == m->suspects || sub_is_full(m->sub);
}

static void make_devs(struct make *m)
{
    struct ads_sub *sub = m->sub;
    size_t kept = 0;
    for (size_t i = 0; i < sub->devs.n; i++) {
        struct ads_dev d = sub->devs.p[i];
        if (!dev_goes(m, &d) || (is_stuffed(m) && !sub_is_full(sub))) {
            sub->devs.p[kept++] = d;
            continue;
        }
        struct xds_resource *res =
            d.present ? xds_list_find(sub->base, ads_name_slice(d.name)) : NULL;
        wf_assert(d.present == (res != NULL));
        make_since(m, d.since);
        if (res)
            make_news(m, res);
        else
            make_absent(m, &d);
        sub_dev_fini(sub, &d);
    }
    sub->devs.n = kept;
}

/* What comes after sent_to. true: all of it went. */
static bool make_rest(struct make *m)
{
    struct ads_sub *sub = m->sub;
    struct xds_list_iter it = {.list = sub->base};
    struct xds_resource *last = NULL;
    bool all = true;
    for (struct xds_resource *r; (r = xds_list_next(&it));) {
        if (!sub_is_ahead(sub, r->name) || !ads_sub_covers(sub, r->name) ||
            sub_dev_find(sub, r->name))
            continue;
        if (is_stuffed(m) && !sub_is_full(sub)) {
            all = false;
            break;
        }
        make_news(m, r);
        last = r;
    }
    if (last) {
        make_since(m, 1);
        ads_name_unref(sub->cx->names, sub->sent_to);
        sub->sent_to = ads_name_intern(sub->cx->names, last->name);
    }
    return all;
}

static int cmp_items(const void *a, const void *b)
{
    const struct xds_resource *const *x = a, *const *y = b;
    return slice_cmp((*x)->name, (*y)->name);
}

static bool item_listed(const struct xds_resource *const *sorted, size_t n, struct xds_resource *r)
{
    return n && bsearch(&r, sorted, n, sizeof(*sorted), cmp_items);
}

/* S7: behind the news all that the client should go on having, with what must not yet go. */
static void make_unchanged(struct make *m)
{
    struct ads_sub *sub = m->sub;
    size_t news = m->r->items.n;
    if (news)
        qsort(m->r->items.p, news, sizeof(m->r->items.p[0]), cmp_items);
    struct xds_list_iter it = {.list = sub->base};
    for (struct xds_resource *r; (r = xds_list_next(&it));)
        if (ads_sub_covers(sub, r->name) &&
            !item_listed((const struct xds_resource *const *)m->r->items.p, news, r))
            ads_response_add(m->r, r);
    for (size_t i = 0; i < sub->devs.n; i++) {
        struct ads_dev *d = &sub->devs.p[i];
        if (d->kind == ADS_DEV_HAS && !d->present && d->old) {
            ads_response_add(m->r, d->old);
            m->kept_old = true;
        }
    }
}

static void make_version(struct make *m)
{
    const struct ads_sub *sub = m->sub;
    m->r->revision = sub->evaluated;
    m->r->version = (struct xds_version){.revision = sub->evaluated};
    if (sub->base)
        m->r->version = (struct xds_version){sub->base->revision, sub->base->hash};
    if (m->kept_old) /* not the list that this version names: a reconnect must not take it for that
                      */
        m->r->version.hash = ~m->r->version.hash;
}

static bool any_news(const struct ads_sub *sub, unsigned allowed)
{
    if (!sub->complete && (allowed & ADS_DUE_UPDATE) && !sub_covers_nothing(sub))
        return true;
    for (size_t i = 0; i < sub->devs.n; i++)
        if (sub->devs.p[i].kind != ADS_DEV_SUSPECT && (sub_dev_due(&sub->devs.p[i]) & allowed))
            return true;
    return false;
}

/* Suspects go alone, so that a rejection says more than the last one did; they take turns with
 * news. */
static bool choose_suspects(const struct ads_sub *sub, unsigned allowed)
{
    if (sub_is_full(sub) || !(allowed & ADS_DUE_UPDATE) || !sub_any_suspect(sub))
        return false;
    return !sub->suspects_last || !any_news(sub, allowed);
}

static bool has_content(const struct ads_response *r)
{
    return r->items.n || r->removed.n || r->missing.n;
}

struct ads_response *ads_sub_make(struct ads_sub *sub, unsigned allowed, ads_follow_fn *follow,
                                  void *ctx)
{
    wf_assert(!sub->inflight && !sub_is_waiting(sub));
    unsigned due = ads_sub_due(sub) & allowed;
    if (!due)
        return NULL;
    struct make m = {
        .sub = sub,
        .r = ads_response_new(sub->cx->names, sub->cx->variant == XDS_DELTA),
        .allowed = allowed,
        .suspects = choose_suspects(sub, allowed),
        .follow = follow,
        .ctx = ctx,
    };
    m.r->type = sub->type;
    m.r->url = sub->url ? ads_name_ref(sub->url) : NULL;
    make_devs(&m);
    if (!sub->complete && (allowed & ADS_DUE_UPDATE) && !m.suspects)
        sub->complete = make_rest(&m);
    if (sub_is_full(sub))
        make_unchanged(&m);
    make_version(&m);
    sub_devs_trim(sub);
    if (!has_content(m.r) && !sub_owes_answer(sub) && !sub_is_full(sub)) {
        ads_response_unref(m.r);
        return NULL;
    }
    sub->suspects_last = m.suspects;
    sub->answered = true;
    sub->pushes++;
    sub->sent = m.r->revision;
    sub->inflight = ads_response_ref(m.r);
    sm_move(&ads_sub_table, &sub->sm, ADS_SUB_SENT, sub);
    return m.r;
}
