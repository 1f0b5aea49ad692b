/* For the tests of this folder: a small world of resources that is published as snapshots. Names,
 * contents and revisions are the test's; nothing is compiled.
 */
#ifndef WEFT_PILOT_ADS_TESTING_H
#define WEFT_PILOT_ADS_TESTING_H

#include <string.h>

#include "base/core/assert.h"
#include "pilot/ads/session.h"

#define WORLD_NAMES_MAX 512

struct world {
    reg_rev revision;
    struct xds_resource *res[XDS_TYPE_COUNT][WORLD_NAMES_MAX]; /* unordered, NULL = free */
    struct xds_list *lists[XDS_TYPE_COUNT]; /* as published; replaced when they change */
    bool dirty[XDS_TYPE_COUNT];
    bool layered; /* every other resource goes into a base list */
};

static inline size_t world_slot(const struct world *w, enum xds_type type, struct slice name)
{
    size_t empty = WORLD_NAMES_MAX;
    for (size_t i = 0; i < WORLD_NAMES_MAX; i++) {
        if (!w->res[type][i])
            empty = empty == WORLD_NAMES_MAX ? i : empty;
        else if (slice_eq(w->res[type][i]->name, name))
            return i;
    }
    wf_assert(empty < WORLD_NAMES_MAX);
    return empty;
}

static inline void world_put(struct world *w, enum xds_type type, struct slice name,
                             struct slice body, struct slice follows)
{
    size_t i = world_slot(w, type, name);
    struct slice source = S("virtualservices.networking.istio.io/default/x");
    xds_resource_unref(w->res[type][i]);
    w->res[type][i] = xds_resource_new(&(struct xds_resource_parts){.type = type,
                                                                    .name = name,
                                                                    .body = body,
                                                                    .follows = follows,
                                                                    .revision = ++w->revision,
                                                                    .sources = &source,
                                                                    .source_count = 1});
    w->dirty[type] = true;
}

static inline void world_del(struct world *w, enum xds_type type, struct slice name)
{
    size_t i = world_slot(w, type, name);
    xds_resource_unref(w->res[type][i]);
    w->res[type][i] = NULL;
    w->revision++;
    w->dirty[type] = true;
}

static inline struct xds_resource *world_get(const struct world *w, enum xds_type type,
                                             struct slice name)
{
    return w->res[type][world_slot(w, type, name)];
}

static inline struct xds_list *world_list(struct world *w, enum xds_type type)
{
    struct xds_resource *own[WORLD_NAMES_MAX], *shared[WORLD_NAMES_MAX];
    size_t own_n = 0, shared_n = 0;
    for (size_t i = 0; i < WORLD_NAMES_MAX; i++) {
        struct xds_resource *r = w->res[type][i];
        if (r && w->layered && i % 2)
            shared[shared_n++] = r;
        else if (r)
            own[own_n++] = r;
    }
    if (!w->layered)
        return xds_list_new(NULL, own, own_n);
    struct xds_list *base = xds_list_new(NULL, shared, shared_n);
    struct xds_list *l = xds_list_new(base, own, own_n);
    xds_list_unref(base);
    return l;
}

/* A view of now; the caller's. */
static inline struct xds_view *world_view(struct world *w)
{
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        if (w->lists[t] && !w->dirty[t])
            continue;
        xds_list_unref(w->lists[t]);
        w->lists[t] = world_list(w, (enum xds_type)t);
        w->dirty[t] = false;
    }
    return xds_view_new(1, w->lists);
}

static inline void world_fini(struct world *w)
{
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        xds_list_unref(w->lists[t]);
        for (size_t i = 0; i < WORLD_NAMES_MAX; i++)
            xds_resource_unref(w->res[t][i]);
    }
    memset(w, 0, sizeof(*w));
}

static inline enum xds_type type_of(struct slice short_name)
{
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++)
        if (slice_eq(slice_of(xds_types[t].short_name), short_name))
            return (enum xds_type)t;
    return XDS_TYPE_COUNT;
}

#endif
