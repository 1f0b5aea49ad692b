#include "pilot/ads/sub.h"

#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "pilot/ads/ads_limits.h"

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

static void dev_fini(struct ads_sub *sub, struct ads_dev *d)
{
    ads_name_unref(sub->cx->names, d->name);
    ads_name_unref(sub->cx->names, d->error);
    xds_resource_unref(d->old);
}

static void reported_clear(struct ads_sub *sub)
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
        dev_fini(sub, &sub->devs.p[i]);
    vec_fini(&sub->devs);
    reported_clear(sub);
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
static bool is_full(const struct ads_sub *sub)
{
    return sub->cx->variant == XDS_SOTW && sub->type && sub->type->wildcard;
}

static bool is_waiting(const struct ads_sub *sub)
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

static bool covers_nothing(const struct ads_sub *sub)
{
    return !sub->wildcard && !sub->names.n && !sub->globs.n;
}

/* ---- deviations ---- */

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

static struct ads_dev *dev_find(const struct ads_sub *sub, struct slice name)
{
    size_t i = dev_bound(sub, name);
    bool found = i < sub->devs.n && slice_eq(ads_name_slice(sub->devs.p[i].name), name);
    return found ? &sub->devs.p[i] : NULL;
}

/* The deviation of this name, a new one with kind HAS and version zero if there is none. */
static struct ads_dev *dev_put(struct ads_sub *sub, struct slice name)
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

static void dev_drop(struct ads_sub *sub, struct ads_dev *d)
{
    size_t i = (size_t)(d - sub->devs.p);
    dev_fini(sub, d);
    memmove(d, d + 1, (sub->devs.n - i - 1) * sizeof(*d));
    sub->devs.n--;
}

static void dev_since(struct ads_dev *d, reg_rev since)
{
    if (!d->since || since < d->since)
        d->since = since;
}

static void dev_forget(struct ads_sub *sub, struct ads_dev *d, uint8_t kind)
{
    ads_name_unref(sub->cx->names, d->error);
    d->error = NULL;
    d->kind = kind;
}

static bool version_eq(struct xds_version a, struct xds_version b)
{
    return a.hash == b.hash && a.revision == b.revision;
}

static bool version_none(struct xds_version v)
{
    return !v.revision && !v.hash;
}

/* Frees the memory of a batch that is over. */
static void devs_trim(struct ads_sub *sub)
{
    if (!sub->devs.n)
        vec_fini(&sub->devs);
}

/* Drops the deviations that `keep` does not want, in one pass. */
static void devs_filter(struct ads_sub *sub, bool (*keep)(struct ads_sub *sub, struct ads_dev *d))
{
    size_t kept = 0;
    for (size_t i = 0; i < sub->devs.n; i++) {
        struct ads_dev d = sub->devs.p[i];
        if (keep(sub, &d))
            sub->devs.p[kept++] = d;
        else
            dev_fini(sub, &d);
    }
    sub->devs.n = kept;
    devs_trim(sub);
}

/* Is the name still behind what was sent, so that it comes by itself? */
static bool is_ahead(const struct ads_sub *sub, struct slice name)
{
    if (sub->complete)
        return false;
    return !sub->sent_to || slice_cmp(name, ads_name_slice(sub->sent_to)) > 0;
}

/* Change that a name stands for which somebody newly asks about: the client's first answer brings
 * it up from nothing, later ones are news of now. */
static reg_rev asked_since(const struct ads_sub *sub)
{
    return sub->answered ? sub->evaluated : 1;
}

static void ask(struct ads_sub *sub, struct slice name)
{
    struct xds_resource *r = xds_list_find(sub->base, name);
    if (is_waiting(sub) || (r && is_ahead(sub, name)))
        return;
    struct ads_dev *d = dev_put(sub, name);
    dev_forget(sub, d, ADS_DEV_ASK);
    d->present = r != NULL;
    dev_since(d, asked_since(sub));
}

void ads_sub_force(struct ads_sub *sub, struct slice name)
{
    wf_assert(!is_waiting(sub));
    if (ads_sub_covers(sub, name))
        ask(sub, name);
}

/* ---- what is asked for ---- */

static bool is_star(struct slice name)
{
    return slice_eq(name, S("*"));
}

static bool is_glob(struct slice name)
{
    return name.n > 2 && slice_ends(name, S("/*"));
}

static void ask_matching(struct ads_sub *sub, struct slice prefix)
{
    struct xds_list_iter it = {.list = sub->base};
    for (struct xds_resource *r; (r = xds_list_next(&it));)
        if (slice_starts(r->name, prefix))
            ask(sub, r->name);
}

static void add_glob(struct ads_sub *sub, struct slice glob)
{
    struct slice prefix = slice_sub(glob, 0, glob.n - 1);
    if (ads_nameset_has(&sub->globs, prefix))
        return;
    ads_nameset_add(&sub->globs, sub->cx->names, &prefix, 1);
    ask_matching(sub, prefix);
}

static void add_star(struct ads_sub *sub)
{
    if (sub->wildcard)
        return;
    sub->wildcard = true;
    ask_matching(sub, (struct slice){0});
}

/* Whoever asked for nothing holds nothing: everything is to be sent from the start. */
static void start_over(struct ads_sub *sub)
{
    if (is_waiting(sub) || sub->inflight)
        return;
    ads_name_unref(sub->cx->names, sub->sent_to);
    sub->sent_to = NULL;
    sub->complete = false;
}

static bool subscribe(struct ads_sub *sub, const struct slice *v, size_t n)
{
    if (n && covers_nothing(sub))
        start_over(sub);
    size_t plain = 0, globs = 0;
    struct slice *names = mem_array(n ? n : 1, sizeof(*names));
    for (size_t i = 0; i < n; i++) {
        if (is_star(v[i]))
            add_star(sub);
        else if (!is_glob(v[i]))
            names[plain++] = v[i];
        else if (++globs <= ADS_GLOBS_MAX)
            add_glob(sub, v[i]);
    }
    bool ok = sub->names.n + plain <= ADS_NAMES_MAX && globs <= ADS_GLOBS_MAX &&
              sub->globs.n <= ADS_GLOBS_MAX;
    if (ok) {
        /* D4: sent even if the client is believed to have it. */
        ads_nameset_add(&sub->names, sub->cx->names, names, plain);
        for (size_t i = 0; i < plain; i++)
            ask(sub, names[i]);
    }
    mem_free(names);
    return ok;
}

static bool keep_covered(struct ads_sub *sub, struct ads_dev *d)
{
    return ads_sub_covers(sub, ads_name_slice(d->name));
}

static void unsubscribe(struct ads_sub *sub, const struct slice *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct slice prefix = slice_sub(v[i], 0, v[i].n - 1);
        if (is_star(v[i])) {
            sub->wildcard = false;
        } else if (is_glob(v[i])) {
            ads_nameset_del(&sub->globs, sub->cx->names, prefix);
        } else {
            ads_nameset_del(&sub->names, sub->cx->names, v[i]);
            /* D5: the client drops the name although its wildcard may cover it. */
            if (ads_sub_covers(sub, v[i]))
                ask(sub, v[i]);
        }
    }
    if (n)
        devs_filter(sub, keep_covered);
}

static int cmp_reported(const void *a, const void *b)
{
    const struct ads_reported *x = a, *y = b;
    return ads_name_cmp(x->name, y->name);
}

/* D3. Kept until there is a view to compare with. */
static void report(struct ads_sub *sub, const struct ads_initial *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct ads_reported *r = vec_push(&sub->reported);
        r->name = ads_name_intern(sub->cx->names, v[i].name);
        /* An empty or foreign version is nothing that we could continue from. */
        if (!xds_version_parse(v[i].version, &r->version))
            r->version = (struct xds_version){0, 1};
        if (r->version.revision > sub->catch_up)
            sub->catch_up = r->version.revision;
    }
    if (n)
        qsort(sub->reported.p, n, sizeof(sub->reported.p[0]), cmp_reported);
}

static bool request_delta(struct ads_sub *sub, const struct ads_request *req, bool first)
{
    /* Legacy wildcard; gRPC never means it. */
    if (first && !req->name_count && sub->type && sub->type->wildcard &&
        sub->cx->dialect != DIALECT_GRPC)
        sub->wildcard = true;
    if (first)
        report(sub, req->initial, req->initial_count);
    if (!subscribe(sub, req->names, req->name_count))
        return false;
    unsubscribe(sub, req->unsubscribe, req->unsubscribe_count);
    return true;
}

static int cmp_slices(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

/* S6: names that are not in the new list are forgotten, so that they are sent when they return. */
static void drop_unlisted(struct ads_sub *sub, struct ads_nameset *set, const struct slice *sorted,
                          size_t n, const char *suffix)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < set->n; i++) {
        struct slice name = ads_name_slice(set->p[i]);
        char buf[ADS_NAME_BYTES_MAX + 2];
        wf_assert(name.n <= ADS_NAME_BYTES_MAX);
        memcpy(buf, name.p, name.n);
        memcpy(buf + name.n, suffix, strlen(suffix));
        struct slice key = {buf, name.n + strlen(suffix)};
        if (n && bsearch(&key, sorted, n, sizeof(*sorted), cmp_slices))
            set->p[kept++] = set->p[i];
        else
            ads_name_unref(sub->cx->names, set->p[i]);
    }
    set->n = kept;
}

static bool request_sotw(struct ads_sub *sub, const struct ads_request *req, bool first)
{
    size_t n = req->name_count;
    if (first && xds_version_parse(req->version, &sub->reported_version))
        sub->catch_up = sub->reported_version.revision;
    bool was_wildcard = sub->wildcard, star = false;
    struct slice *sorted = mem_array(n ? n : 1, sizeof(*sorted));
    for (size_t i = 0; i < n; i++) {
        sorted[i] = req->names[i];
        star |= is_star(sorted[i]);
    }
    qsort(sorted, n, sizeof(*sorted), cmp_slices);
    drop_unlisted(sub, &sub->names, sorted, n, "");
    drop_unlisted(sub, &sub->globs, sorted, n, "*");
    sub->named |= n > 0;
    bool legacy =
        !sub->named && sub->type && sub->type->wildcard && sub->cx->dialect != DIALECT_GRPC;
    sub->wildcard = was_wildcard && (star || legacy);
    devs_filter(sub, keep_covered);

    /* Only what is new is asked for: a name that stays was delivered (S9). */
    size_t fresh = 0;
    for (size_t i = 0; i < n; i++)
        if (!ads_nameset_has(&sub->names, sorted[i]))
            sorted[fresh++] = sorted[i];
    bool ok = subscribe(sub, sorted, fresh);
    if (ok && legacy)
        add_star(sub);
    mem_free(sorted);
    return ok;
}

bool ads_sub_request(struct ads_sub *sub, const struct ads_request *req, bool first)
{
    if (sub->cx->variant == XDS_DELTA)
        return request_delta(sub, req, first);
    return request_sotw(sub, req, first);
}

/* ---- what there is ---- */

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
    struct ads_dev *d = dev_put(sub, name);
    d->version = version;
    d->present = present;
    d->since = version_none(version) ? 1 : version.revision + 1;
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
    return is_full(sub) && sub->wildcard && !sub->names.n && sub->base &&
           version_eq(v, (struct xds_version){sub->base->revision, sub->base->hash});
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
        if (!xds_list_find(sub->base, name) && !dev_find(sub, name))
            ask(sub, name);
    }
    reported_clear(sub);
}

static void on_gone(struct ads_sub *sub, struct ads_dev *d)
{
    d->present = false;
    /* The client never had it: then it need not know. */
    if (d->kind == ADS_DEV_HAS && version_none(d->version))
        dev_drop(sub, d);
}

static void on_diff(void *ctx, struct xds_resource *was, struct xds_resource *is)
{
    struct ads_sub *sub = ctx;
    struct slice name = is ? is->name : was->name;
    if (!ads_sub_covers(sub, name))
        return;
    struct ads_dev *d = dev_find(sub, name);
    if (!d && is_ahead(sub, name))
        return;
    if (!d) {
        d = dev_put(sub, name);
        d->version = was ? was->version : (struct xds_version){0};
        d->old = was ? xds_resource_ref(was) : NULL;
    } else if (d->kind == ADS_DEV_SUSPECT || d->kind == ADS_DEV_REJECTED) {
        /* Which version the client has is not known; none equals the one that it refused. */
        if (is && version_eq(is->version, d->version))
            return;
        dev_forget(sub, d, ADS_DEV_HAS);
    }
    dev_since(d, sub->news_since);
    d->present = is != NULL;
    if (!is)
        on_gone(sub, d);
    else if (d->kind == ADS_DEV_HAS && version_eq(d->version, is->version))
        dev_drop(sub, d);
}

void ads_sub_advance(struct ads_sub *sub, struct xds_list *list, reg_rev revision)
{
    struct xds_list *was = sub->base;
    wf_assert(revision >= sub->evaluated);
    /* A snapshot stands for all revisions since the one before it. */
    sub->news_since = sub->evaluated + 1;
    sub->evaluated = revision;
    if (is_waiting(sub)) {
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
    devs_trim(sub);
}

/* ---- what is due ---- */

/* C-core fails a stream that hears nothing for a minute, ztunnel is ready after the first response
 * of each type, and Envoy starts without waiting for its time-out: a first answer may be empty. But
 * to SotW without names an empty response says nothing, and Envoy does not acknowledge it. */
static bool owes_answer(const struct ads_sub *sub)
{
    return !sub->answered && (sub->cx->variant == XDS_DELTA || sub->wildcard);
}

static unsigned dev_due(const struct ads_dev *d)
{
    if (d->kind == ADS_DEV_REJECTED)
        return 0;
    return d->present || d->kind == ADS_DEV_ASK ? ADS_DUE_UPDATE : ADS_DUE_REMOVE;
}

unsigned ads_sub_due(const struct ads_sub *sub)
{
    if (is_waiting(sub))
        return 0;
    unsigned due =
        owes_answer(sub) || (!sub->complete && !covers_nothing(sub)) ? ADS_DUE_UPDATE : 0;
    for (size_t i = 0; i < sub->devs.n && due != (ADS_DUE_UPDATE | ADS_DUE_REMOVE); i++)
        due |= dev_due(&sub->devs.p[i]);
    return due;
}

/* ---- making a response ---- */

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
    if (named && (!is_full(sub) || asked))
        ads_response_miss(m->r, d->name);
}

static bool dev_goes(const struct make *m, const struct ads_dev *d)
{
    unsigned due = dev_due(d);
    if (!(due & m->allowed))
        return false;
    return (d->kind == ADS_DEV_SUSPECT) == m->suspects || is_full(m->sub);
}

static void make_devs(struct make *m)
{
    struct ads_sub *sub = m->sub;
    size_t kept = 0;
    for (size_t i = 0; i < sub->devs.n; i++) {
        struct ads_dev d = sub->devs.p[i];
        if (!dev_goes(m, &d) || (is_stuffed(m) && !is_full(sub))) {
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
        dev_fini(sub, &d);
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
        if (!is_ahead(sub, r->name) || !ads_sub_covers(sub, r->name) || dev_find(sub, r->name))
            continue;
        if (is_stuffed(m) && !is_full(sub)) {
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

static bool any_suspect(const struct ads_sub *sub)
{
    for (size_t i = 0; i < sub->devs.n; i++)
        if (sub->devs.p[i].kind == ADS_DEV_SUSPECT)
            return true;
    return false;
}

static bool any_news(const struct ads_sub *sub, unsigned allowed)
{
    if (!sub->complete && (allowed & ADS_DUE_UPDATE) && !covers_nothing(sub))
        return true;
    for (size_t i = 0; i < sub->devs.n; i++)
        if (sub->devs.p[i].kind != ADS_DEV_SUSPECT && (dev_due(&sub->devs.p[i]) & allowed))
            return true;
    return false;
}

/* Suspects go alone, so that a rejection says more than the last one did; they take turns with
 * news. */
static bool choose_suspects(const struct ads_sub *sub, unsigned allowed)
{
    if (is_full(sub) || !(allowed & ADS_DUE_UPDATE) || !any_suspect(sub))
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
    wf_assert(!sub->inflight && !is_waiting(sub));
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
    if (is_full(sub))
        make_unchanged(&m);
    make_version(&m);
    devs_trim(sub);
    if (!has_content(m.r) && !owes_answer(sub) && !is_full(sub)) {
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

/* ---- what the client says to it ---- */

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

void ads_sub_ack(struct ads_sub *sub)
{
    struct ads_response *r = take_inflight(sub);
    sub->acks++;
    sub->acked = r->revision;
    ads_response_unref(r);
    if (is_full(sub)) /* all of it is in what was just acknowledged */
        devs_filter(sub, keep_not_rejected);
    if (!any_suspect(sub))
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
    bool moved_on = !now || !version_eq(now->version, res->version) || dev_find(sub, res->name);
    if (!ads_sub_covers(sub, res->name) || moved_on)
        return;
    /* SotW LDS and CDS cannot leave anything out: all of the news count as refused. */
    bool refused = hit || is_full(sub);
    struct ads_dev *d = dev_put(sub, res->name);
    d->kind = refused ? ADS_DEV_REJECTED : ADS_DEV_SUSPECT;
    d->version = res->version;
    d->old = refused ? xds_resource_ref(res) : NULL;
    d->error = refused ? ads_name_intern(sub->cx->names, n->error) : NULL;
    d->present = true;
    d->since = n->r->since ? n->r->since : sub->evaluated;
}

/* A removal that the client refuses: with resources beside it, those are suspected instead. */
static void nack_removed(struct nack *n, struct ads_name *name)
{
    struct ads_sub *sub = n->sub;
    struct slice text = ads_name_slice(name);
    if (!ads_sub_covers(sub, text) || xds_list_find(sub->base, text) || dev_find(sub, text))
        return;
    struct ads_dev *d = dev_put(sub, text);
    d->kind = ADS_DEV_REJECTED;
    d->error = ads_name_intern(sub->cx->names, n->error);
    d->since = n->r->since ? n->r->since : sub->evaluated;
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
    for (size_t i = 0; i < r->due; i++)
        nack_item(&n, r->items.p[i]);
    for (size_t i = 0; i < r->removed.n && !r->due; i++)
        nack_removed(&n, r->removed.p[i]);
    if (!n.exact && !n.named && r->due)
        sub->batch_max = (uint32_t)(r->due / 2);
    if (!any_suspect(sub))
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
    if (is_waiting(sub) || owes_answer(sub))
        return 0;
    reg_rev min = sub->evaluated + 1;
    for (size_t i = 0; i < sub->devs.n; i++)
        if (sub->devs.p[i].kind != ADS_DEV_REJECTED || !rejections_count)
            min_since(&min, sub->devs.p[i].since);
    if (sub->inflight)
        min_since(&min, sub->inflight->since);
    if (!sub->complete && !covers_nothing(sub))
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

/* ---- who has what ---- */

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
        return version_none(d->version) ? ADS_NOT_SENT : ADS_STALE;
    if (r && in_flight(sub, r))
        return ADS_STALE;
    return r && is_ahead(sub, r->name) ? ADS_NOT_SENT : ADS_SYNCED;
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
