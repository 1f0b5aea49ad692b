#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "pilot/ads/ads_limits.h"
#include "pilot/ads/sub_impl.h"

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
            sub_ask(sub, r->name);
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
    if (sub_is_waiting(sub) || sub->inflight)
        return;
    ads_name_unref(sub->cx->names, sub->sent_to);
    sub->sent_to = NULL;
    sub->complete = false;
}

static bool subscribe(struct ads_sub *sub, const struct slice *v, size_t n)
{
    if (n && sub_covers_nothing(sub))
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
            sub_ask(sub, names[i]);
    }
    mem_free(names);
    return ok;
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
                sub_ask(sub, v[i]);
        }
    }
    if (!n)
        return;
    sub->crossed |= sub->inflight != NULL;
    sub_devs_filter(sub, sub_keep_covered);
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
    sub_devs_filter(sub, sub_keep_covered);

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
