#include "base/core/assert.h"
#include "pilot/ads/sub_impl.h"

/* May a resource whose version the client reported be left out? Envoy may report the first version
 * of a wildcard resource that it saw, so there the revision must hold too. */
static bool in_sync(const struct ads_sub *sub, struct xds_version client, struct xds_version server)
{
    if (sub->cx->dialect == DIALECT_WEFT || !sub->type->wildcard)
        return client.hash == server.hash;
    return xds_version_in_sync(client, server);
}

static void seed_has(struct ads_sub *sub, struct slice name, struct xds_version version,
                     bool present)
{
    struct ads_dev *d = sub_dev_put(sub, name);
    d->version = version;
    d->present = present;
    d->since = sub_version_none(version) ? 1 : version.revision + 1;
}

/* Both sides are sorted: one walk finds what the client lacks, has of old, and has too much. */
static void seed_reported(struct ads_sub *sub)
{
    struct xds_list_iter it = {.list = sub->base};
    struct xds_resource *r = xds_list_next(&it);
    size_t i = 0;
    while (r || i < sub->reported.n) {
        const struct ads_reported *rep = i < sub->reported.n ? &sub->reported.p[i] : NULL;
        int c = !r ? 1 : !rep ? -1 : slice_cmp(r->name, ads_name_slice(rep->name));
        struct slice name = c <= 0 ? r->name : ads_name_slice(rep->name);
        if (ads_sub_covers(sub, name)) {
            if (c < 0)
                seed_has(sub, name, (struct xds_version){0}, true);
            else if (c > 0 || !in_sync(sub, rep->version, r->version))
                seed_has(sub, name, rep->version, c == 0);
        }
        if (c <= 0)
            r = xds_list_next(&it);
        i += c >= 0;
    }
    sub->complete = true;
}

static bool seed_sotw_in_sync(const struct ads_sub *sub)
{
    struct xds_version v = sub->reported_version;
    return sub_is_full(sub) && sub->wildcard && !sub->names.n && sub->base &&
           sub_version_eq(v, (struct xds_version){sub->base->revision, sub->base->hash});
}

static void seed(struct ads_sub *sub)
{
    if (sub->reported.n)
        seed_reported(sub);
    /* S2: the very same list; the watch is held. */
    if (seed_sotw_in_sync(sub))
        sub->complete = sub->answered = true;
    for (uint32_t i = 0; i < sub->names.n; i++) {
        struct slice name = ads_name_slice(sub->names.p[i]);
        if (!xds_list_find(sub->base, name) && !sub_dev_find(sub, name))
            sub_ask(sub, name);
    }
    sub_reported_clear(sub);
}

static void on_gone(struct ads_sub *sub, struct ads_dev *d)
{
    d->present = false;
    /* The client never had it: then it need not know. */
    if (d->kind == ADS_DEV_HAS && sub_version_none(d->version))
        sub_dev_drop(sub, d);
}

static void on_diff(void *ctx, struct xds_resource *was, struct xds_resource *is)
{
    struct ads_sub *sub = ctx;
    struct slice name = is ? is->name : was->name;
    if (!ads_sub_covers(sub, name))
        return;
    struct ads_dev *d = sub_dev_find(sub, name);
    if (is && sub_is_ahead(sub, name)) { /* it will come by itself */
        if (d)
            sub_dev_drop(sub, d);
        return;
    }
    if (!d && sub_is_ahead(sub, name)) { /* never sent; whoever asked by name is told (D6, S10) */
        if (ads_nameset_has(&sub->names, name))
            sub_ask(sub, name);
        return;
    }
    if (!d) {
        d = sub_dev_put(sub, name);
        d->version = was ? was->version : (struct xds_version){0};
        d->old = was ? xds_resource_ref(was) : NULL;
    } else if (d->kind == ADS_DEV_SUSPECT || d->kind == ADS_DEV_REJECTED) {
        /* Which version the client has is not known; none equals the one that it refused. */
        if (is && sub_version_eq(is->version, d->version))
            return;
        sub_dev_forget(sub, d, ADS_DEV_HAS);
    }
    sub_dev_since(d, sub->news_since);
    d->present = is != NULL;
    if (!is)
        on_gone(sub, d);
    else if (d->kind == ADS_DEV_HAS && sub_version_eq(d->version, is->version))
        sub_dev_drop(sub, d);
}

void ads_sub_advance(struct ads_sub *sub, struct xds_list *list, reg_rev revision)
{
    struct xds_list *was = sub->base;
    wf_assert(revision >= sub->evaluated);
    /* A snapshot stands for all revisions since the one before it. */
    sub->news_since = sub->evaluated + 1;
    sub->evaluated = revision;
    if (sub_is_waiting(sub)) {
        sm_move(&ads_sub_table, &sub->sm, ADS_SUB_IDLE, sub);
        sub->base = list ? xds_list_ref(list) : NULL;
        seed(sub);
        return;
    }
    if (was == list)
        return;
    sub->base = list ? xds_list_ref(list) : NULL;
    xds_list_diff(was, list, on_diff, sub);
    xds_list_unref(was);
    sub_devs_trim(sub);
}
