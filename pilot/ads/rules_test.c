/* If one of these fails, a proxy of one kind waits for ever, loops, keeps what was deleted, or is
 * sent again what it has: each rule of the xDS protocol (and of what Envoy and gRPC make of it) is
 * a script of what a client says and what it must be answered.
 *
 * A step is a command and the responses that it must cause:
 *   set cds a b>x      new contents (b: a cluster whose endpoints are called x); del cds a;
 *                      pub publishes
 *   cds +a -b ~c ~d! ~e@90   a request: names, unsubscribed, reported as in sync, as old, as of @90
 *   ack nack=text      of the last response of the type; stale: some older nonce; bare: no nonce
 *   tick 5000          time passes
 *   converged, rejected
 *
 * Responses: cds#1 +a .b -c !d = the first of the stream: a is news, b is repeated, c removed, d
 * does not exist. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "pilot/ads/ads_limits.h"
#include "pilot/ads/testing.h"

struct step {
    const char *command, *expect;
};

struct rule {
    const char *name;
    enum xds_variant variant;
    enum proxy_dialect dialect;
    struct step steps[24];
};

struct bench {
    const struct rule *rule;
    struct world world;
    struct ads_names names;
    struct ads *ads;
    wf_ms now;
    char nonces[XDS_TYPE_COUNT + 1][ADS_NONCE_TEXT]; /* last of each type */
    char first_nonce[ADS_NONCE_TEXT];
    struct buf trace;
    struct arena arena;
    bool no_node;
};

static void connect_(struct bench *b)
{
    ads_free(b->ads);
    b->ads = ads_new(
        &(struct ads_options){.names = &b->names, .variant = b->rule->variant, .nonce_salt = 7});
    memset(b->nonces, 0, sizeof(b->nonces));
}

static void note(struct bench *b, const char *mark, struct slice name)
{
    buf_printf(&b->trace, " %s%.*s", mark, SLICE(name));
}

static void note_response(struct bench *b, const struct ads_response *r)
{
    if (b->trace.n)
        buf_printf(&b->trace, "; ");
    struct slice head, count;
    slice_cut_last(slice_of(r->nonce), '.', &head, &count);
    buf_printf(&b->trace, "%s#%.*s", r->type ? r->type->short_name : "other", SLICE(count));
    for (size_t i = 0; i < r->items.n; i++)
        note(b, i < r->due ? "+" : ".", r->items.p[i]->name);
    for (size_t i = 0; i < r->removed.n; i++)
        note(b, "-", ads_name_slice(r->removed.p[i]));
    for (size_t i = 0; i < r->missing.n; i++)
        note(b, "!", ads_name_slice(r->missing.p[i]));
    size_t slot = r->type ? r->type->type : XDS_TYPE_COUNT;
    memcpy(b->nonces[slot], r->nonce, ADS_NONCE_TEXT);
    if (!b->first_nonce[0])
        memcpy(b->first_nonce, r->nonce, ADS_NONCE_TEXT);
}

static void step(struct bench *b, const struct ads_event *ev)
{
    struct ads_out out = {0};
    ads_step(b->ads, b->now, ev, &out);
    if (out.identified) {
        struct xds_view *view = world_view(&b->world);
        ads_step(
            b->ads, b->now,
            &(struct ads_event){.kind = ADS_SNAPSHOT, .view = view, .revision = b->world.revision},
            &out);
        xds_view_unref(view);
    }
    for (size_t i = 0; i < out.responses.n; i++)
        note_response(b, out.responses.p[i]);
    for (size_t i = 0; i < out.nacks.n; i++)
        buf_printf(&b->trace, "%snack %.*s", b->trace.n ? "; " : "",
                   SLICE(out.nacks.p[i].resource ? out.nacks.p[i].resource->name : S("?")));
    for (size_t i = 0; i < out.responses.n; i++)
        ads_step(b->ads, b->now, &(struct ads_event){.kind = ADS_WRITTEN}, &out);
    if (out.closed)
        buf_printf(&b->trace, "%sclosed %d", b->trace.n ? "; " : "", out.status);
    ads_out_reset(&out);
}

static void publish(struct bench *b)
{
    struct xds_view *view = world_view(&b->world);
    step(b, &(struct ads_event){.kind = ADS_SNAPSHOT, .view = view, .revision = b->world.revision});
    xds_view_unref(view);
}

static struct slice next_word(struct slice *rest)
{
    struct slice word;
    slice_cut(*rest, ' ', &word, rest);
    return word;
}

/* "a" as it is now, "a!" in some older version, "a@90" in one of revision 90. */
static struct ads_initial reported(struct bench *b, enum xds_type type, struct slice word)
{
    char *text = arena_alloc(&b->arena, XDS_VERSION_TEXT);
    struct slice name, rev;
    struct xds_version v = {1, 77};
    bool old = slice_ends(word, S("!"));
    if (slice_cut(word, '@', &name, &rev))
        assert_true(slice_u64(rev, &v.revision));
    else if (old)
        name = slice_sub(word, 0, word.n - 1);
    struct xds_resource *r = type < XDS_TYPE_COUNT ? world_get(&b->world, type, name) : NULL;
    if (r && !rev.n && !old)
        v = r->version;
    return (struct ads_initial){name, xds_version_format(v, text)};
}

/* "cds +a -b ~c ~d! ack" as the request that a client would send. */
static void request(struct bench *b, struct slice type_name, struct slice rest)
{
    struct slice names[64], unsub[64];
    struct ads_initial initial[64];
    struct ads_node node = {.id = S("sidecar~10.0.0.1~a.b~b.svc"),
                            .class_input = {.dialect = b->rule->dialect}};
    enum xds_type type = type_of(type_name);
    struct ads_request req = {.names = names, .unsubscribe = unsub, .initial = initial};
    req.node = b->no_node ? NULL : &node;
    req.type_url = type < XDS_TYPE_COUNT ? xds_types[type].url : type_name;
    req.nonce = b->rule->variant == XDS_SOTW ? slice_of(b->nonces[type]) : (struct slice){0};
    while (rest.n) {
        struct slice w = next_word(&rest), name = slice_skip(w, 1);
        if (w.p[0] == '+') {
            names[req.name_count++] = name;
        } else if (w.p[0] == '-') {
            unsub[req.unsubscribe_count++] = name;
        } else if (w.p[0] == '~') {
            initial[req.initial_count++] = reported(b, type, name);
        } else if (slice_starts(w, S("version="))) {
            req.version = slice_skip(w, 8);
        } else if (slice_eq(w, S("version"))) {
            struct xds_view *view = world_view(&b->world);
            char *text = arena_alloc(&b->arena, XDS_VERSION_TEXT);
            struct xds_list *l = view->types[type];
            req.version = xds_version_format((struct xds_version){l->revision, l->hash}, text);
            xds_view_unref(view);
        } else if (slice_eq(w, S("bare"))) {
            req.nonce = (struct slice){0};
        } else if (slice_eq(w, S("stale"))) {
            req.nonce = S("00000006.99");
        } else {
            req.nonce = slice_of(b->nonces[type]);
            req.nack = slice_starts(w, S("nack"));
            req.error = slice_starts(w, S("nack=")) ? slice_skip(w, 5) : (struct slice){0};
            wf_assert(req.nack || slice_eq(w, S("ack")));
        }
    }
    step(b, &(struct ads_event){.kind = ADS_REQUEST, .request = &req});
}

static void change(struct bench *b, bool del, struct slice rest)
{
    enum xds_type type = type_of(next_word(&rest));
    while (rest.n) {
        struct slice name, follows, word = next_word(&rest);
        slice_cut(word, '>', &name, &follows);
        char body[64];
        int n = snprintf(body, sizeof(body), "%" PRIu64 " %.*s", b->world.revision, SLICE(name));
        if (del)
            world_del(&b->world, type, name);
        else
            world_put(&b->world, type, name, slice_mem(body, (size_t)n), follows);
    }
}

static void on_rejected(void *ctx, const struct xds_type_info *type, const struct ads_dev *dev)
{
    struct bench *b = ctx;
    buf_printf(&b->trace, "%s%s %.*s: %.*s", b->trace.n ? "; " : "", type->short_name,
               SLICE(ads_name_slice(dev->name)), SLICE(ads_name_slice(dev->error)));
}

static void run(struct bench *b, struct slice command)
{
    struct slice rest = command, verb = next_word(&rest);
    uint64_t ms;
    if (slice_eq(verb, S("set")) || slice_eq(verb, S("del"))) {
        change(b, verb.p[0] == 'd', rest);
    } else if (slice_eq(verb, S("pub"))) {
        publish(b);
    } else if (slice_eq(verb, S("reconnect"))) {
        connect_(b);
    } else if (slice_eq(verb, S("nonode"))) {
        b->no_node = true;
    } else if (slice_eq(verb, S("drain"))) {
        step(b, &(struct ads_event){.kind = ADS_DRAIN});
    } else if (slice_eq(verb, S("converged"))) {
        buf_printf(&b->trace, "%" PRIu64 " of %" PRIu64, ads_converged(b->ads), b->world.revision);
    } else if (slice_eq(verb, S("rejected"))) {
        ads_each_rejected(b->ads, on_rejected, b);
    } else if (slice_eq(verb, S("behind"))) {
        assert_true(slice_u64(rest, &ms));
        b->world.revision += ms;
    } else if (slice_eq(verb, S("tick"))) {
        assert_true(slice_u64(rest, &ms));
        b->now += (wf_ms)ms;
        wf_ms at = ads_deadline(b->ads);
        if (at && at <= b->now)
            step(b, &(struct ads_event){.kind = ADS_TICK});
    } else {
        request(b, verb, rest);
    }
}

static void test_rule(void **state)
{
    struct bench b = {.rule = *state, .now = 1000};
    connect_(&b);
    for (const struct step *s = b.rule->steps; s->command; s++) {
        buf_clear(&b.trace);
        run(&b, slice_of(s->command));
        struct slice got = buf_slice(&b.trace), want = slice_of(s->expect);
        if (!slice_eq(got, want))
            fail_msg("%s, step %zu '%s':\n  got  '%.*s'\n  want '%.*s'", b.rule->name,
                     (size_t)(s - b.rule->steps), s->command, SLICE(got), SLICE(want));
    }
    ads_free(b.ads);
    world_fini(&b.world);
    ads_names_fini(&b.names);
    buf_fini(&b.trace);
    arena_fini(&b.arena);
}

#include "pilot/ads/rules_table.h"

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(rules)];
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        tests[i] = (struct CMUnitTest){.name = rules[i].name,
                                       .test_func = test_rule,
                                       .initial_state = (void *)(uintptr_t)&rules[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
