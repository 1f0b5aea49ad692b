#include "pilot/ads/sub.h"

#include <string.h>

#include "base/core/assert.h"
#include "pilot/ads/sub_impl.h"

static bool sub_ok(const void *owner)
{
    const struct ads_sub *sub = owner;
    bool sent = sub->sm.now == ADS_SUB_SENT, waiting = sub->sm.now == ADS_SUB_WAITING;
    return sent == (sub->inflight != NULL) && (!waiting || (!sub->devs.n && !sub->base));
}

static const struct sm_state sub_states[] = {
    [ADS_SUB_WAITING] = {"waiting", SM(ADS_SUB_IDLE)},
    [ADS_SUB_IDLE] = {"idle", SM(ADS_SUB_SENT)},
    [ADS_SUB_SENT] = {"sent", SM(ADS_SUB_IDLE) | SM(ADS_SUB_REJECTED)},
    [ADS_SUB_REJECTED] = {"rejected", SM(ADS_SUB_SENT)},
};
const struct sm_table ads_sub_table = {"ads.sub", sub_states, ARRAY_LEN(sub_states), sub_ok};

void ads_sub_init(struct ads_sub *sub, const struct ads_cx *cx, const struct xds_type_info *type,
                  struct slice url)
{
    *sub = (struct ads_sub){.cx = cx, .type = type};
    if (!type)
        sub->url = ads_name_intern(cx->names, url);
}

void sub_dev_fini(struct ads_sub *sub, struct ads_dev *d)
{
    ads_name_unref(sub->cx->names, d->name);
    ads_name_unref(sub->cx->names, d->error);
    xds_resource_unref(d->old);
}

void sub_reported_clear(struct ads_sub *sub)
{
    for (size_t i = 0; i < sub->reported.n; i++)
        ads_name_unref(sub->cx->names, sub->reported.p[i].name);
    vec_fini(&sub->reported);
}

void ads_sub_fini(struct ads_sub *sub)
{
    if (!sub->cx)
        return;
    struct ads_names *names = sub->cx->names;
    for (size_t i = 0; i < sub->devs.n; i++)
        sub_dev_fini(sub, &sub->devs.p[i]);
    vec_fini(&sub->devs);
    sub_reported_clear(sub);
    ads_response_unref(sub->inflight);
    ads_nameset_fini(&sub->names, names);
    ads_nameset_fini(&sub->globs, names);
    ads_name_unref(names, sub->sent_to);
    ads_name_unref(names, sub->error);
    ads_name_unref(names, sub->url);
    xds_list_unref(sub->base);
    *sub = (struct ads_sub){0};
}

struct slice ads_sub_type_url(const struct ads_sub *sub)
{
    return sub->type ? sub->type->url : ads_name_slice(sub->url);
}

/* SotW LDS and CDS: every response lists all (S7). */
bool sub_is_full(const struct ads_sub *sub)
{
    return sub->cx->variant == XDS_SOTW && sub->type && sub->type->wildcard;
}

bool sub_is_waiting(const struct ads_sub *sub)
{
    return sub->sm.now == ADS_SUB_WAITING;
}

bool ads_sub_covers(const struct ads_sub *sub, struct slice name)
{
    if (sub->wildcard || ads_nameset_has(&sub->names, name))
        return true;
    for (uint32_t i = 0; i < sub->globs.n; i++)
        if (slice_starts(name, ads_name_slice(sub->globs.p[i])))
            return true;
    return false;
}

bool sub_covers_nothing(const struct ads_sub *sub)
{
    return !sub->wildcard && !sub->names.n && !sub->globs.n;
}

/* Deviations. */

static size_t dev_bound(const struct ads_sub *sub, struct slice name)
{
    size_t lo = 0, hi = sub->devs.n;
    /* What comes in order, as all big batches do, belongs at the end. */
    if (hi && slice_cmp(ads_name_slice(sub->devs.p[hi - 1].name), name) < 0)
        return hi;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (slice_cmp(ads_name_slice(sub->devs.p[mid].name), name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct ads_dev *sub_dev_find(const struct ads_sub *sub, struct slice name)
{
    size_t i = dev_bound(sub, name);
    bool found = i < sub->devs.n && slice_eq(ads_name_slice(sub->devs.p[i].name), name);
    return found ? &sub->devs.p[i] : NULL;
}

struct ads_dev *sub_dev_put(struct ads_sub *sub, struct slice name)
{
    size_t i = dev_bound(sub, name);
    if (i < sub->devs.n && slice_eq(ads_name_slice(sub->devs.p[i].name), name))
        return &sub->devs.p[i];
    (void)vec_push(&sub->devs);
    struct ads_dev *d = &sub->devs.p[i];
    memmove(d + 1, d, (sub->devs.n - 1 - i) * sizeof(*d));
    *d = (struct ads_dev){.name = ads_name_intern(sub->cx->names, name), .kind = ADS_DEV_HAS};
    return d;
}

void sub_dev_drop(struct ads_sub *sub, struct ads_dev *d)
{
    size_t i = (size_t)(d - sub->devs.p);
    sub_dev_fini(sub, d);
    memmove(d, d + 1, (sub->devs.n - i - 1) * sizeof(*d));
    sub->devs.n--;
}

void sub_dev_since(struct ads_dev *d, reg_rev since)
{
    if (!d->since || since < d->since)
        d->since = since;
}

void sub_dev_forget(struct ads_sub *sub, struct ads_dev *d, uint8_t kind)
{
    ads_name_unref(sub->cx->names, d->error);
    d->error = NULL;
    d->kind = kind;
}

void sub_devs_trim(struct ads_sub *sub)
{
    if (!sub->devs.n)
        vec_fini(&sub->devs);
}

void sub_devs_filter(struct ads_sub *sub, bool (*keep)(struct ads_sub *sub, struct ads_dev *d))
{
    size_t kept = 0;
    for (size_t i = 0; i < sub->devs.n; i++) {
        struct ads_dev d = sub->devs.p[i];
        if (keep(sub, &d))
            sub->devs.p[kept++] = d;
        else
            sub_dev_fini(sub, &d);
    }
    sub->devs.n = kept;
    sub_devs_trim(sub);
}

bool sub_is_ahead(const struct ads_sub *sub, struct slice name)
{
    if (sub->complete)
        return false;
    return !sub->sent_to || slice_cmp(name, ads_name_slice(sub->sent_to)) > 0;
}

reg_rev sub_now(const struct ads_sub *sub)
{
    return sub->evaluated ? sub->evaluated : 1;
}

/* Change that a name stands for which somebody newly asks about: the client's first answer brings
 * it up from nothing, later ones are news of now. */
static reg_rev asked_since(const struct ads_sub *sub)
{
    return sub->answered ? sub_now(sub) : 1;
}

void sub_ask(struct ads_sub *sub, struct slice name)
{
    struct xds_resource *r = xds_list_find(sub->base, name);
    if (sub_is_waiting(sub) || (r && sub_is_ahead(sub, name)))
        return;
    struct ads_dev *d = sub_dev_put(sub, name);
    sub_dev_forget(sub, d, ADS_DEV_ASK);
    d->present = r != NULL;
    sub_dev_since(d, asked_since(sub));
}

void ads_sub_force(struct ads_sub *sub, struct slice name)
{
    wf_assert(!sub_is_waiting(sub));
    if (ads_sub_covers(sub, name))
        sub_ask(sub, name);
}

bool sub_any_suspect(const struct ads_sub *sub)
{
    for (size_t i = 0; i < sub->devs.n; i++)
        if (sub->devs.p[i].kind == ADS_DEV_SUSPECT)
            return true;
    return false;
}

bool sub_keep_covered(struct ads_sub *sub, struct ads_dev *d)
{
    return ads_sub_covers(sub, ads_name_slice(d->name));
}

/* What is due. */

/* C-core fails a stream that hears nothing for a minute, ztunnel is ready after the first response
 * of each type, and Envoy starts without waiting for its time-out: a first answer may be empty. But
 * to SotW without names an empty response says nothing, and Envoy does not acknowledge it. */
bool sub_owes_answer(const struct ads_sub *sub)
{
    return !sub->answered && (sub->cx->variant == XDS_DELTA || sub->wildcard);
}

unsigned sub_dev_due(const struct ads_dev *d)
{
    if (d->kind == ADS_DEV_REJECTED)
        return 0;
    return d->present || d->kind == ADS_DEV_ASK ? ADS_DUE_UPDATE : ADS_DUE_REMOVE;
}

unsigned ads_sub_due(const struct ads_sub *sub)
{
    if (sub_is_waiting(sub))
        return 0;
    unsigned due =
        sub_owes_answer(sub) || (!sub->complete && !sub_covers_nothing(sub)) ? ADS_DUE_UPDATE : 0;
    for (size_t i = 0; i < sub->devs.n && due != (ADS_DUE_UPDATE | ADS_DUE_REMOVE); i++)
        due |= sub_dev_due(&sub->devs.p[i]);
    return due;
}
