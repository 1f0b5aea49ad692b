/* If this failed, some sequence of edits, acknowledgements, rejections and reconnects would leave a
 * proxy with something else than what the mesh says, for ever or for a while in which its requests
 * fail.
 *
 * A slow, obvious client (a map of what it holds, a queue of responses that it has not read)
 * against a session, driven from a seed. Checked at every response: one un-ACKed a type, no name
 * twice, nothing that was not asked for. At every moment of the careful runs: no route to a cluster
 * that the client does not have or has no endpoints for. At the end of every run: the client holds
 * exactly what it asked for, in the newest version, and the session says so. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "pilot/ads/ads_limits.h"
#include "pilot/ads/testing.h"

enum { SERVICES = 8, QUEUE_MAX = 64, STEPS = 250, SEEDS = 300 };

/* What the client holds of one name. */
struct held {
    struct slice name;
    struct xds_version version;
    char body[64];
    bool warm; /* CDS: its endpoints came after it */
};

struct profile {
    const char *name;
    enum xds_variant variant;
    enum proxy_dialect dialect;
    bool careful; /* no rejections, no changes of mind, answers in time: order is checked */
    bool warms;   /* acknowledges clusters only when their endpoints have come (Envoy, weft) */
    bool layered;
    bool lossy; /* reconnects */
};

struct client {
    const struct profile *profile;
    uint64_t seed;
    struct world world;
    struct ads_names names;
    struct ads *ads;
    wf_ms now;
    struct ads_response *queue[QUEUE_MAX]; /* arrived, not read */
    size_t queued;
    struct ads_response *unacked[XDS_TYPE_COUNT]; /* read or not */
    struct ads_response *cold[XDS_TYPE_COUNT];    /* read, ACK withheld until warm */
    bool subscribed[XDS_TYPE_COUNT];
    char nonce[XDS_TYPE_COUNT][ADS_NONCE_TEXT]; /* last one read */
    struct xds_version version[XDS_TYPE_COUNT];
    struct held held[XDS_TYPE_COUNT][4 * SERVICES];
    size_t held_n[XDS_TYPE_COUNT];
    bool wants[XDS_TYPE_COUNT][SERVICES]; /* EDS and routes by name */
    bool traced, no_glob;                 /* no_glob: the virtual hosts were unsubscribed */
    bool poison[SERVICES];                /* the route of this service is refused */
    struct arena arena;
};

static uint32_t rnd(struct client *c, uint32_t below)
{
    c->seed = c->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(c->seed >> 33) % below;
}

/* Delta takes routes as virtual hosts below a glob, SotW as route tables by name. */
static enum xds_type route_type(const struct client *c)
{
    return c->profile->variant == XDS_DELTA ? XDS_VHDS : XDS_RDS;
}

static struct slice name_of(struct client *c, enum xds_type type, uint32_t i)
{
    const char *prefix = type == XDS_VHDS  ? "80/s"
                         : type == XDS_CDS ? "c"
                         : type == XDS_EDS ? "e"
                                           : "l";
    return arena_printf(&c->arena, "%s%u", prefix, i);
}

static bool by_name(const struct client *c, enum xds_type type)
{
    return type == XDS_EDS || (type == XDS_RDS && c->profile->variant == XDS_SOTW);
}

static bool covered(struct client *c, enum xds_type type, struct slice name)
{
    if (!c->subscribed[type] || (type == XDS_VHDS && c->no_glob))
        return false;
    if (!by_name(c, type))
        return true;
    for (uint32_t i = 0; i < SERVICES; i++)
        if (c->wants[type][i] && slice_eq(name_of(c, type, i), name))
            return true;
    return false;
}

/* What the client holds. */

static struct held *held_of(struct client *c, enum xds_type type, struct slice name)
{
    for (size_t i = 0; i < c->held_n[type]; i++)
        if (slice_eq(c->held[type][i].name, name))
            return &c->held[type][i];
    return NULL;
}

static void drop(struct client *c, enum xds_type type, struct slice name)
{
    struct held *h = held_of(c, type, name);
    if (h)
        *h = c->held[type][--c->held_n[type]];
}

static void hold(struct client *c, enum xds_type type, const struct xds_resource *r)
{
    struct held *h = held_of(c, type, r->name);
    if (!h)
        h = &c->held[type][c->held_n[type]++];
    *h = (struct held){.name = arena_dup(&c->arena, r->name), .version = r->version};
    assert_true(r->body.n < sizeof(h->body));
    memcpy(h->body, r->body.p, r->body.n);
}

/* The endpoints that a cluster "c3" wants are "e3". */
static struct slice eds_of(struct client *c, struct slice cluster)
{
    return arena_printf(&c->arena, "e%.*s", SLICE(slice_skip(cluster, 1)));
}

static void warm(struct client *c, struct slice eds)
{
    for (size_t i = 0; i < c->held_n[XDS_CDS]; i++) {
        struct held *h = &c->held[XDS_CDS][i];
        if (slice_eq(eds_of(c, h->name), eds))
            h->warm = true;
    }
}

static bool all_warm(const struct client *c)
{
    for (size_t i = 0; i < c->held_n[XDS_CDS]; i++)
        if (!c->held[XDS_CDS][i].warm)
            return false;
    return true;
}

/* Endpoints that a cluster waits for are not reported as held: nobody would send them again. */
static bool is_warm(struct client *c, struct slice eds)
{
    for (size_t i = 0; i < c->held_n[XDS_CDS]; i++)
        if (slice_eq(eds_of(c, c->held[XDS_CDS][i].name), eds))
            return c->held[XDS_CDS][i].warm;
    return true;
}

/* A route's body starts with the name of its cluster. */
static void check_routes(struct client *c)
{
    enum xds_type type = route_type(c);
    for (size_t i = 0; c->profile->careful && i < c->held_n[type]; i++) {
        struct slice cluster, rest;
        slice_cut(slice_of(c->held[type][i].body), ' ', &cluster, &rest);
        if (!held_of(c, XDS_CDS, cluster))
            fail_msg("route %.*s goes to cluster %.*s, which the client does not have",
                     SLICE(c->held[type][i].name), SLICE(cluster));
    }
}

/* The session. */

static void check_response(struct client *c, const struct ads_response *r)
{
    enum xds_type type = r->type->type;
    for (size_t i = 0; i < r->items.n; i++) {
        struct slice name = r->items.p[i]->name;
        for (size_t k = 0; k < i; k++)
            assert_false(slice_eq(r->items.p[k]->name, name));
        for (size_t k = 0; k < r->removed.n; k++)
            assert_false(slice_eq(ads_name_slice(r->removed.p[k]), name));
        if (!covered(c, type, name))
            fail_msg("%s %.*s was sent and not asked for", r->type->short_name, SLICE(name));
    }
}

/* WEFT_SEED=58 prints what that run does. */
static void trace(struct client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void trace(struct client *c, const char *fmt, ...)
{
    va_list ap;
    if (!c->traced)
        return;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
}

static void trace_response(struct client *c, const struct ads_response *r)
{
    trace(c, "  -> %s %s", r->type->short_name, r->nonce);
    for (size_t i = 0; i < r->items.n; i++)
        trace(c, " %s%.*s", i < r->due ? "+" : ".", SLICE(r->items.p[i]->name));
    for (size_t i = 0; i < r->removed.n; i++)
        trace(c, " -%.*s", SLICE(ads_name_slice(r->removed.p[i])));
    for (size_t i = 0; i < r->missing.n; i++)
        trace(c, " !%.*s", SLICE(ads_name_slice(r->missing.p[i])));
    trace(c, "\n");
}

static void step(struct client *c, const struct ads_event *ev)
{
    struct ads_out out = {0};
    ads_step(c->ads, c->now, ev, &out);
    if (out.identified) {
        struct xds_view *view = world_view(&c->world);
        ads_step(
            c->ads, c->now,
            &(struct ads_event){.kind = ADS_SNAPSHOT, .view = view, .revision = c->world.revision},
            &out);
        xds_view_unref(view);
    }
    for (size_t i = 0; i < out.responses.n; i++) {
        struct ads_response *r = out.responses.p[i];
        trace_response(c, r);
        check_response(c, r);
        assert_null(c->unacked[r->type->type]);
        assert_true(c->queued < QUEUE_MAX);
        c->unacked[r->type->type] = r;
        c->queue[c->queued++] = ads_response_ref(r);
    }
    assert_false(out.closed);
    size_t written = out.responses.n;
    ads_out_reset(&out);
    for (size_t i = 0; i < written; i++)
        ads_step(c->ads, c->now, &(struct ads_event){.kind = ADS_WRITTEN}, &out);
    assert_int_equal(out.responses.n, 0);
    ads_out_reset(&out);
}

static void publish(struct client *c)
{
    struct xds_view *view = world_view(&c->world);
    step(c, &(struct ads_event){.kind = ADS_SNAPSHOT, .view = view, .revision = c->world.revision});
    xds_view_unref(view);
}

static void pass(struct client *c, wf_ms ms)
{
    c->now += ms;
    wf_ms at = ads_deadline(c->ads);
    if (at && at <= c->now)
        step(c, &(struct ads_event){.kind = ADS_TICK});
}

/* Requests. */

struct ask {
    struct slice names[SERVICES], unsubscribe[SERVICES];
    struct ads_initial initial[4 * SERVICES];
    struct ads_request req;
    struct ads_node node;
};

static void ask_init(struct client *c, struct ask *a, enum xds_type type)
{
    memset(a, 0, sizeof(*a));
    a->node = (struct ads_node){.id = S("x"), .class_input = {.dialect = c->profile->dialect}};
    a->req = (struct ads_request){.node = &a->node,
                                  .type_url = xds_types[type].url,
                                  .names = a->names,
                                  .unsubscribe = a->unsubscribe,
                                  .initial = a->initial};
}

/* All that it wants of a type, as the first request of a stream and each one of SotW says it. */
static void ask_all(struct client *c, struct ask *a, enum xds_type type)
{
    for (uint32_t i = 0; by_name(c, type) && i < SERVICES; i++)
        if (c->wants[type][i])
            a->names[a->req.name_count++] = name_of(c, type, i);
    if (type == XDS_VHDS && !c->no_glob)
        a->names[a->req.name_count++] = S("80/*");
}

static struct slice version_text(struct client *c, struct xds_version v)
{
    return xds_version_format(v, arena_alloc(&c->arena, XDS_VERSION_TEXT));
}

static void open_type(struct client *c, enum xds_type type)
{
    struct ask a;
    ask_init(c, &a, type);
    ask_all(c, &a, type);
    if (c->profile->variant == XDS_SOTW && c->version[type].hash)
        a.req.version = version_text(c, c->version[type]);
    for (size_t i = 0; c->profile->variant == XDS_DELTA && i < c->held_n[type]; i++)
        if (type != XDS_EDS || is_warm(c, c->held[type][i].name))
            a.initial[a.req.initial_count++] = (struct ads_initial){
                c->held[type][i].name, version_text(c, c->held[type][i].version)};
    c->subscribed[type] = true;
    step(c, &(struct ads_event){.kind = ADS_REQUEST, .request = &a.req});
}

/* The client changed its mind about one name. */
static void change_mind(struct client *c, enum xds_type type, uint32_t i, bool want)
{
    struct ask a;
    if (c->wants[type][i] == want)
        return;
    c->wants[type][i] = want;
    trace(c, "%s %s %u\n", want ? "want" : "forget", xds_types[type].short_name, i);
    if (!want)
        drop(c, type, name_of(c, type, i));
    if (!c->subscribed[type])
        return;
    ask_init(c, &a, type);
    if (c->profile->variant == XDS_SOTW) {
        /* With a response that was not read the server ignores this (S3): the ACK will say it. */
        if (c->unacked[type])
            return;
        ask_all(c, &a, type);
        a.req.nonce = slice_of(c->nonce[type]);
    } else if (want) {
        a.names[a.req.name_count++] = name_of(c, type, i);
    } else {
        a.unsubscribe[a.req.unsubscribe_count++] = name_of(c, type, i);
    }
    step(c, &(struct ads_event){.kind = ADS_REQUEST, .request = &a.req});
}

/* All virtual hosts at once, gone and wanted again: what was dropped must come again (D4). */
static void toggle_glob(struct client *c)
{
    struct ask a;
    ask_init(c, &a, XDS_VHDS);
    c->no_glob = !c->no_glob;
    trace(c, "%s all\n", c->no_glob ? "forget" : "want");
    if (c->no_glob) {
        c->held_n[XDS_VHDS] = 0;
        a.unsubscribe[a.req.unsubscribe_count++] = S("80/*");
    } else {
        a.names[a.req.name_count++] = S("80/*");
    }
    step(c, &(struct ads_event){.kind = ADS_REQUEST, .request = &a.req});
}

static void answer(struct client *c, struct ads_response *r, bool nack)
{
    enum xds_type type = r->type->type;
    struct ask a;
    ask_init(c, &a, type);
    if (c->profile->variant == XDS_SOTW)
        ask_all(c, &a, type);
    memcpy(c->nonce[type], r->nonce, sizeof(c->nonce[type]));
    a.req.nonce = slice_of(c->nonce[type]);
    a.req.nack = nack;
    a.req.error = nack ? S("poison") : (struct slice){0};
    trace(c, "%s %s\n", nack ? "nack" : "ack", r->nonce);
    wf_assert(c->unacked[type] == r);
    c->unacked[type] = NULL;
    step(c, &(struct ads_event){.kind = ADS_REQUEST, .request = &a.req});
}

/* Reading responses. */

static bool is_poison(struct client *c, const struct ads_response *r)
{
    for (size_t i = 0; i < r->items.n; i++)
        if (slice_contains(r->items.p[i]->body, S("poison")))
            return true;
    (void)c;
    return false;
}

static bool listed(const struct ads_response *r, struct slice name)
{
    for (size_t i = 0; i < r->items.n; i++)
        if (slice_eq(r->items.p[i]->name, name))
            return true;
    return false;
}

static void apply(struct client *c, const struct ads_response *r)
{
    enum xds_type type = r->type->type;
    for (size_t i = 0; i < r->items.n; i++) {
        struct held *h = held_of(c, type, r->items.p[i]->name);
        bool same = h && h->version.revision == r->items.p[i]->version.revision;
        /* An answer may cross an unsubscription. */
        if (!same && covered(c, type, r->items.p[i]->name))
            hold(c, type, r->items.p[i]);
        if (type == XDS_EDS)
            warm(c, r->items.p[i]->name);
    }
    for (size_t i = 0; i < r->removed.n; i++) {
        drop(c, type, ads_name_slice(r->removed.p[i]));
        if (type == XDS_EDS)
            warm(c, ads_name_slice(r->removed.p[i]));
    }
    for (size_t i = 0; i < r->missing.n && !r->delta; i++)
        drop(c, type, ads_name_slice(r->missing.p[i]));
    if (!r->delta && r->type->wildcard) /* S7 */
        for (size_t i = c->held_n[type]; i-- > 0;)
            if (!listed(r, c->held[type][i].name))
                drop(c, type, c->held[type][i].name);
    c->version[type] = r->version;
    check_routes(c);
}

/* Endpoints are asked for as clusters come and go. */
static void follow_clusters(struct client *c)
{
    for (uint32_t i = 0; i < SERVICES; i++)
        change_mind(c, XDS_EDS, i, held_of(c, XDS_CDS, name_of(c, XDS_CDS, i)) != NULL);
    if (!c->subscribed[XDS_EDS] && c->held_n[XDS_CDS])
        open_type(c, XDS_EDS);
}

static void thaw(struct client *c)
{
    struct ads_response *r = c->cold[XDS_CDS];
    if (!r || !all_warm(c))
        return;
    c->cold[XDS_CDS] = NULL;
    answer(c, r, false);
    ads_response_unref(r);
}

static void read_one(struct client *c)
{
    if (!c->queued)
        return;
    struct ads_response *r = c->queue[0];
    memmove(c->queue, c->queue + 1, --c->queued * sizeof(c->queue[0]));
    enum xds_type type = r->type->type;
    if (is_poison(c, r)) {
        answer(c, r, true);
        ads_response_unref(r);
        return;
    }
    apply(c, r);
    if (type == XDS_CDS && c->profile->warms) {
        c->cold[type] = ads_response_ref(r);
        follow_clusters(c);
    } else {
        answer(c, r, false);
        if (type == XDS_CDS)
            follow_clusters(c);
    }
    thaw(c);
    ads_response_unref(r);
}

/* The mesh. */

static void put(struct client *c, enum xds_type type, uint32_t i, const char *text)
{
    char body[64];
    int n = snprintf(body, sizeof(body), "c%u %s %" PRIu64, i, text, c->world.revision);
    struct slice name = name_of(c, type, i);
    struct slice follows = type == XDS_CDS ? name_of(c, XDS_EDS, i) : (struct slice){0};
    world_put(&c->world, type, name, slice_mem(body, (size_t)n), follows);
}

static bool exists(struct client *c, enum xds_type type, uint32_t i)
{
    return world_get(&c->world, type, name_of(c, type, i)) != NULL;
}

static void del(struct client *c, enum xds_type type, uint32_t i)
{
    if (exists(c, type, i))
        world_del(&c->world, type, name_of(c, type, i));
}

/* A service comes, changes in one part, or goes with all its parts: a consistent mesh at each
 * revision that is published. */
static void edit(struct client *c)
{
    uint32_t i = rnd(c, SERVICES);
    enum xds_type route = route_type(c);
    bool there = exists(c, XDS_CDS, i);
    if (!there) {
        put(c, XDS_CDS, i, "new");
        put(c, XDS_EDS, i, "new");
        put(c, route, i, "new");
        return;
    }
    switch (rnd(c, 6)) {
    case 0:
        del(c, XDS_CDS, i);
        del(c, XDS_EDS, i);
        del(c, route, i);
        c->poison[i] = false;
        break;
    case 1:
        put(c, XDS_CDS, i, "changed");
        break;
    case 2:
        put(c, route, i, "changed");
        c->poison[i] = false;
        break;
    case 3:
        if (!c->profile->careful && rnd(c, 2)) {
            put(c, route, i, "poison");
            c->poison[i] = true;
        }
        break;
    default:
        put(c, XDS_EDS, i, "changed");
    }
    if (rnd(c, 4) == 0)
        put(c, XDS_LDS, i % 2, "changed");
}

/* Runs. */

static void forget_queue(struct client *c)
{
    for (size_t i = 0; i < c->queued; i++)
        ads_response_unref(c->queue[i]);
    c->queued = 0;
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        ads_response_unref(c->cold[t]);
        c->cold[t] = c->unacked[t] = NULL;
        c->nonce[t][0] = '\0';
        c->subscribed[t] = false;
    }
}

static void connect_(struct client *c)
{
    trace(c, "connect\n");
    forget_queue(c);
    ads_free(c->ads);
    c->ads = ads_new(&(struct ads_options){
        .names = &c->names, .variant = c->profile->variant, .nonce_salt = rnd(c, 1000)});
    open_type(c, XDS_CDS);
    if (c->held_n[XDS_CDS])
        open_type(c, XDS_EDS);
    open_type(c, XDS_LDS);
    for (uint32_t i = 0; i < SERVICES; i++)
        c->wants[XDS_RDS][i] |= c->profile->variant == XDS_SOTW;
    open_type(c, route_type(c));
}

static void random_step(struct client *c)
{
    uint32_t what = rnd(c, 20);
    if (what < 5)
        edit(c);
    else if (what < 9)
        publish(c);
    else if (what < 17)
        read_one(c);
    else if (what == 17)
        pass(c, c->profile->careful ? 10 : 1 + rnd(c, 3000));
    else if (what == 18 && !c->profile->careful && by_name(c, XDS_RDS) && !c->unacked[XDS_RDS])
        /* S11: a name that goes and comes back within one message is lost, and no server can see
         * it. */
        change_mind(c, XDS_RDS, rnd(c, SERVICES), rnd(c, 2));
    else if (what == 18 && !c->profile->careful && c->profile->variant == XDS_DELTA)
        toggle_glob(c);
    else if (what == 19 && c->profile->lossy && rnd(c, 4) == 0)
        connect_(c);
}

/* Everything bad is mended, everything is read, time passes. */
static void settle(struct client *c)
{
    for (uint32_t i = 0; i < SERVICES; i++)
        if (c->poison[i])
            put(c, route_type(c), i, "mended");
    if (c->no_glob)
        toggle_glob(c);
    publish(c);
    for (int idle = 0; idle < 4; idle++) {
        while (c->queued) {
            read_one(c);
            idle = 0;
        }
        pass(c, ADS_ORDER_WAIT_MS);
    }
}

static void check_end(struct client *c, enum xds_type type)
{
    size_t expected = 0;
    for (size_t i = 0; i < WORLD_NAMES_MAX; i++) {
        struct xds_resource *r = c->world.res[type][i];
        if (!r || !covered(c, type, r->name))
            continue;
        struct held *h = held_of(c, type, r->name);
        if (!h || h->version.revision != r->version.revision)
            fail_msg("%s %.*s: %s", xds_types[type].short_name, SLICE(r->name),
                     h ? "an old version" : "not there");
        expected++;
    }
    /* In SotW nothing says that an assignment is gone, and Envoy is told an empty one. */
    bool exact = c->profile->variant == XDS_DELTA || type != XDS_EDS;
    for (size_t i = 0; exact && i < c->held_n[type]; i++)
        if (!world_get(&c->world, type, c->held[type][i].name))
            fail_msg("%s %.*s: still there", xds_types[type].short_name,
                     SLICE(c->held[type][i].name));
    if (exact)
        assert_int_equal(c->held_n[type], expected);
}

static void all_synced(void *ctx, const struct ads_config *config)
{
    (void)ctx;
    assert_int_equal(config->status, ADS_SYNCED);
}

static void run(const struct profile *profile, uint64_t seed)
{
    struct client *c = MEM_NEW(struct client);
    c->profile = profile;
    c->seed = seed;
    c->traced = getenv("WEFT_SEED") != NULL;
    c->now = 1000;
    c->world.layered = profile->layered;
    for (uint32_t i = 0; i < 3; i++)
        edit(c);
    connect_(c);
    for (int i = 0; i < STEPS; i++)
        random_step(c);
    settle(c);
    const enum xds_type types[] = {XDS_CDS, XDS_EDS, XDS_LDS, route_type(c)};
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        check_end(c, types[t]);
        if (ads_sub_of(c->ads, types[t]))
            ads_sub_each(ads_sub_of(c->ads, types[t]), all_synced, NULL);
    }
    assert_true(all_warm(c));
    assert_int_equal(ads_rejected(c->ads), 0);
    assert_int_equal(ads_converged(c->ads), c->world.revision);
    assert_int_equal(ads_settled(c->ads), c->world.revision);
    forget_queue(c);
    ads_free(c->ads);
    world_fini(&c->world);
    ads_names_fini(&c->names);
    arena_fini(&c->arena);
    mem_free(c);
}

static const struct profile profiles[] = {
    {"delta, weft, careful", XDS_DELTA, DIALECT_WEFT, .careful = true, .warms = true},
    {"delta, envoy, careful, layered", XDS_DELTA, DIALECT_ENVOY, .careful = true, .warms = true,
     .layered = true},
    {"delta, weft, careful, reconnects", XDS_DELTA, DIALECT_WEFT, .careful = true, .warms = true,
     .lossy = true},
    {"delta, envoy, rejections, reconnects", XDS_DELTA, DIALECT_ENVOY, .lossy = true,
     .layered = true},
    {"delta, weft, rejections, slow", XDS_DELTA, DIALECT_WEFT, .warms = true},
    {"SotW, envoy, careful", XDS_SOTW, DIALECT_ENVOY, .careful = true, .warms = true},
    {"SotW, envoy, rejections, reconnects", XDS_SOTW, DIALECT_ENVOY, .lossy = true},
};

static void test_profile(void **state)
{
    const struct profile *p = *state;
    const char *only = getenv("WEFT_SEED");
    uint64_t from = only ? strtoull(only, NULL, 10) : 1, to = only ? from : SEEDS;
    for (uint64_t seed = from; seed <= to; seed++) {
        print_message("%s: seed %" PRIu64 "\r", p->name, seed);
        run(p, seed);
    }
    print_message("\n");
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(profiles)];
    for (size_t i = 0; i < ARRAY_LEN(profiles); i++)
        tests[i] = (struct CMUnitTest){.name = profiles[i].name,
                                       .test_func = test_profile,
                                       .initial_state = (void *)(uintptr_t)&profiles[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
