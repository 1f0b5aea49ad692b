/* Watches of the API: list and watch, or a watch that begins with what there is; read slowly, not
 * at all, broken, resumed on another node. Every line must be the one that the model has. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/wire/json.h"
#include "registry/sim/api.h"

#define PAUSE_MAX (300 * SIM_MS)

static struct oracle *oracle_of(const struct api_watcher *a)
{
    return &a->world->run->oracle;
}

static const char *node_of(const struct api_watcher *a)
{
    return sim_host_name(a->world->run->member[a->home].host);
}

static void later(struct api_watcher *a)
{
    struct run *run = a->world->run;
    if (!a->tick.armed)
        sim_event_start(run->sim, &a->tick, sim_between(run->sim, SIM_MS, PAUSE_MAX));
}

static void held_drop(struct api_watcher *a)
{
    for (size_t i = 0; i < a->held.n; i++)
        slice_free(a->held.p[i].key);
    a->held.n = 0;
}

/* The call is over, however: what was told in whole lines is known. */
static void broken(struct api_watcher *a)
{
    a->call = NULL;
    a->paused = false;
    buf_clear(&a->in);
    if (a->state == AW_FOLLOWS || (a->state == AW_OPENING && !a->fills))
        a->state = AW_LISTED;
    else if (a->state != AW_LISTED)
        a->state = AW_NEW;
    held_drop(a);
    later(a);
}

/* The node has no history back to there. */
static void too_old(struct api_watcher *a)
{
    struct run *run = a->world->run;
    run->result->api_relists++;
    if (run->knobs.history >= 100000)
        oracle_fail(&run->oracle,
                    "%s: a watch from %" PRIu64 " is told 410, all of %" PRIu64 " changes are kept",
                    node_of(a), a->cursor, run->knobs.history);
    a->state = AW_NEW;
}

static void follow_from(struct api_watcher *a, reg_rev rev)
{
    a->cursor = rev;
    a->next = oracle_api_after(oracle_of(a), rev);
}

/* Lines. */

static reg_rev line_revision(const json_t *line)
{
    uint64_t rev = 0;
    return slice_u64(json_str(line, "object.metadata.resourceVersion"), &rev) ? rev : 0;
}

static struct slice line_key(const json_t *line, struct arena *arena)
{
    return arena_printf(arena, ORACLE_API_PREFIX "%.*s/%.*s",
                        SLICE(json_str(line, "object.metadata.namespace")),
                        SLICE(json_str(line, "object.metadata.name")));
}

static void held_set(struct api_watcher *a, struct slice key, reg_rev rev)
{
    for (size_t i = 0; i < a->held.n; i++)
        if (slice_eq(a->held.p[i].key, key)) {
            a->held.p[i].rev = rev;
            return;
        }
    *vec_push(&a->held) = (struct api_held){.key = slice_dup(key), .rev = rev};
}

/* While it is told what there is: each object as it was at some revision. */
static void fills_line(struct api_watcher *a, const json_t *line, struct slice text)
{
    struct arena arena = {0};
    struct slice key = line_key(line, &arena);
    reg_rev rev = line_revision(line);
    bool gone = slice_eq(json_str(line, "type"), S("DELETED"));
    struct slice shown = gone ? S("") : oracle_shown_at(oracle_of(a), key, rev);
    if (!gone && (!shown.n || !slice_contains(text, shown)))
        oracle_fail(oracle_of(a), "%s: a watch begins with %.*s at %" PRIu64 ", which never was so",
                    node_of(a), SLICE(key), rev);
    held_set(a, key, gone ? 0 : rev);
    arena_fini(&arena);
}

/* What it was told is what there is at rev. */
static void filled(struct api_watcher *a, reg_rev rev)
{
    struct oracle *o = oracle_of(a);
    size_t there = 0, held = 0;
    for (size_t i = 0; i < a->held.n; i++) {
        const struct api_held *h = &a->held.p[i];
        const struct oracle_version *v = oracle_at(o, h->key, rev);
        held += h->rev > 0;
        if ((v ? v->rev : 0) != h->rev)
            oracle_fail(
                o, "%s: a watch began with %.*s of %" PRIu64 ", at %" PRIu64 " it is of %" PRIu64,
                node_of(a), SLICE(h->key), h->rev, rev, v ? v->rev : 0);
    }
    for (size_t i = 0; i < o->api_keys.n; i++)
        there += slice_starts(o->api_keys.p[i]->key, a->prefix) &&
                 oracle_at(o, o->api_keys.p[i]->key, rev);
    if (there != held)
        oracle_fail(o, "%s: a watch began with %zu objects, at %" PRIu64 " there are %zu",
                    node_of(a), held, rev, there);
    held_drop(a);
    a->state = AW_FOLLOWS;
    a->resume = false;
    follow_from(a, rev);
}

/* "You know everything up to here." */
static void bookmark(struct api_watcher *a, const json_t *line)
{
    struct oracle *o = oracle_of(a);
    reg_rev rev = line_revision(line);
    if (!rev) {
        oracle_fail(o, "%s: a bookmark without a revision", node_of(a));
        return;
    }
    if (a->state == AW_FILLS) {
        filled(a, rev);
        return;
    }
    size_t next = oracle_api_next(o, a->next, a->prefix);
    if (next < o->api_events.n && oracle_api_event(o, next)->rev <= rev)
        oracle_fail(o, "%s: a bookmark of %" PRIu64 ", the change at %" PRIu64 " was not told",
                    node_of(a), rev, oracle_api_event(o, next)->rev);
    if (rev > a->cursor)
        a->cursor = rev;
}

static bool event_is(struct api_watcher *a, size_t at, struct slice text)
{
    struct oracle *o = oracle_of(a);
    struct buf want = {0};
    if (at >= o->api_events.n)
        return false;
    oracle_shown_event(oracle_api_event(o, at), &want);
    bool same = slice_eq(buf_slice(&want), text);
    buf_fini(&want);
    if (!same)
        return false;
    a->next = at + 1;
    a->cursor = oracle_api_event(o, at)->rev;
    a->resume = false;
    a->world->run->result->api_watched++;
    return true;
}

/* The revision at which it went on may come once more, whole (watch.c). */
static bool event_known(struct api_watcher *a, struct slice text)
{
    struct oracle *o = oracle_of(a);
    size_t next = oracle_api_next(o, a->next, a->prefix);
    size_t again = a->resume && a->cursor
                       ? oracle_api_next(o, oracle_api_after(o, a->cursor - 1), a->prefix)
                       : next;
    return event_is(a, next, text) || (again < next && event_is(a, again, text));
}

/* What is no change of an object, or is wrong. */
static void other_line(struct api_watcher *a, const json_t *line, struct slice text)
{
    struct oracle *o = oracle_of(a);
    struct slice type = json_str(line, "type");
    size_t next = oracle_api_next(o, a->next, a->prefix);
    struct buf want = {0};
    if (slice_eq(type, S("BOOKMARK"))) {
        bookmark(a, line);
    } else if (slice_eq(type, S("ERROR")) && json_int(line, "object.code", 0) == 410) {
        too_old(a);
    } else if (a->state == AW_FILLS) {
        fills_line(a, line, text);
    } else {
        if (next < o->api_events.n)
            oracle_shown_event(oracle_api_event(o, next), &want);
        oracle_fail(o, "%s: a watch after %" PRIu64 " gives %.*s, the next change is %.*s",
                    node_of(a), a->cursor, SLICE(slice_sub(text, 0, 200)),
                    SLICE(slice_sub(buf_slice(&want), 0, 200)));
        buf_fini(&want);
    }
}

static void on_line(struct api_watcher *a, struct slice text)
{
    struct err err = {0};
    if (a->state == AW_FOLLOWS && event_known(a, text))
        return;
    json_t *line = json_parse(text, &err);
    if (line)
        other_line(a, line, text);
    else
        oracle_fail(oracle_of(a), "%s: a watch gives %.*s: %s", node_of(a),
                    SLICE(slice_sub(text, 0, 100)), err.msg);
    json_decref(line);
}

/* The call. */

static void on_head(void *ctx, const struct http_response *r)
{
    struct api_watcher *a = ctx;
    a->status = r->status;
    if (r->status == 200)
        a->state = a->fills ? AW_FILLS : AW_FOLLOWS;
}

/* false: the client dies between two lines, which may be of one revision. */
static bool take_lines(struct api_watcher *a)
{
    struct run *run = a->world->run;
    struct slice line, rest;
    while (slice_cut(buf_slice(&a->in), '\n', &line, &rest)) {
        if (a->state == AW_FILLS || a->state == AW_FOLLOWS)
            on_line(a, line);
        buf_consume(&a->in, line.n + 1);
        if (!run->quiet && sim_chance(run->sim, run->knobs.api_breaks / 10))
            return false;
    }
    return true;
}

static void on_data(void *ctx, struct slice bytes)
{
    struct api_watcher *a = ctx;
    struct http_call *call = a->call;
    struct sim_zone *was = sim_world_enter();
    bool goes_on = true;
    if (a->status == 200) {
        buf_append(&a->in, bytes);
        goes_on = take_lines(a);
    }
    if (!goes_on)
        broken(a);
    sim_world_leave(was);
    if (!goes_on)
        http_call_cancel(call);
}

static void on_end(void *ctx)
{
    struct api_watcher *a = ctx;
    struct sim_zone *was = sim_world_enter();
    if (a->status == 410)
        too_old(a);
    else if (a->status != 200 && a->status != 503 && a->status != 504 && a->status != 429 &&
             a->status != 408)
        oracle_fail(oracle_of(a), "%s: a watch is answered with %d", node_of(a), a->status);
    broken(a);
    sim_world_leave(was);
}

static void on_fail(void *ctx, const struct err *err)
{
    struct api_watcher *a = ctx;
    struct sim_zone *was = sim_world_enter();
    if (err->code == ERR_INVALID || err->code == ERR_LIMIT)
        oracle_fail(oracle_of(a), "%s: %s", node_of(a), err->msg);
    broken(a);
    sim_world_leave(was);
}

static void on_listed(void *ctx, const struct http_response *r)
{
    struct api_watcher *a = ctx;
    struct run *run = a->world->run;
    struct sim_zone *was = sim_world_enter();
    if (r->status == 200) {
        a->state = AW_LISTED;
        follow_from(a, api_revision(r));
        api_check_list(run, r, a->prefix, S(""), 5000, a->path);
    }
    broken(a);
    sim_world_leave(was);
}

/* In turns of the machine. */

static void list_turn(void *ctx)
{
    struct api_watcher *a = ctx;
    struct env_addr addr;
    struct http_call_options o = api_call_to(a->world, a->home, &addr);
    o.path = slice_of(a->path);
    o.on_done = on_listed;
    o.on_fail = on_fail;
    o.ctx = a;
    a->call = http_call_start(a->world->http, &o);
}

static void watch_turn(void *ctx)
{
    struct api_watcher *a = ctx;
    const struct run *run = a->world->run;
    char path[256], from[64] = "", ends[40] = "";
    struct env_addr addr;
    struct http_call_options o = api_call_to(a->world, a->home, &addr);
    if (a->fills)
        snprintf(from, sizeof(from), "sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
    else
        snprintf(from, sizeof(from), "resourceVersion=%" PRIu64, a->cursor);
    if (sim_chance(run->sim, 200))
        snprintf(ends, sizeof(ends), "&timeoutSeconds=%d", 1 + (int)sim_below(run->sim, 3));
    snprintf(path, sizeof(path), "%s?watch=1&allowWatchBookmarks=true&%s%s", a->path, from, ends);
    o.path = slice_of(path);
    o.stall_timeout = 3 * run->knobs.api_bookmarks + 500;
    o.on_head = on_head;
    o.on_data = on_data;
    o.on_end = on_end;
    o.on_fail = on_fail;
    o.ctx = a;
    a->call = http_call_start(a->world->http, &o);
}

static void cut_turn(void *ctx)
{
    struct api_watcher *a = ctx;
    http_call_cancel(a->call);
}

static void pause_turn(void *ctx)
{
    struct api_watcher *a = ctx;
    if (a->paused)
        http_call_pause(a->call);
    else
        http_call_resume(a->call);
}

/* Steps. */

static void start(struct api_watcher *a)
{
    struct api_world *w = a->world;
    const struct run *run = w->run;
    api_member_pick(w, &a->home);
    a->status = 0;
    if (a->state == AW_NEW) {
        const char *ns = api_ns_pick(w, true);
        api_path(ns, a->path);
        a->prefix = api_prefix_of(ns);
        a->fills = sim_chance(run->sim, 300);
        a->state = a->fills ? AW_OPENING : AW_LISTING;
    } else {
        a->fills = false;
        a->resume = true;
        a->state = AW_OPENING;
        w->run->result->api_resumes++;
    }
    sim_host_call(w->host, a->state == AW_LISTING ? list_turn : watch_turn, a);
}

/* It goes on reading, stops reading, breaks. */
static void disturb(struct api_watcher *a)
{
    struct api_world *w = a->world;
    const struct run_knobs *k = &w->run->knobs;
    struct sim *sim = w->run->sim;
    if (a->paused ? sim_chance(sim, k->api_slow / 4) : sim_chance(sim, k->api_slow)) {
        a->paused = !a->paused;
        sim_trace(sim, "watch %zu %s", a->index, a->paused ? "stops reading" : "reads again");
        sim_host_call(w->host, pause_turn, a);
    } else if (sim_chance(sim, k->api_breaks / 4)) {
        sim_trace(sim, "watch %zu is cut by its client", a->index);
        sim_host_call(w->host, cut_turn, a);
        broken(a);
    }
}

static void on_tick(struct sim_event *e)
{
    struct api_watcher *a = container_of(e, struct api_watcher, tick);
    if (a->world->http && !a->call)
        start(a);
    else if (a->world->http && (a->state == AW_FILLS || a->state == AW_FOLLOWS))
        disturb(a);
    later(a);
}

bool api_watcher_settled(struct api_watcher *a)
{
    struct oracle *o = oracle_of(a);
    if (a->paused && a->call) {
        a->paused = false;
        sim_host_call(a->world->host, pause_turn, a);
    }
    return a->state == AW_FOLLOWS && oracle_api_next(o, a->next, a->prefix) == o->api_events.n;
}

/* Life. */

void api_watcher_start(struct api_world *w, size_t i)
{
    struct api_watcher *a = &w->watcher[i];
    *a = (struct api_watcher){
        .world = w, .index = i, .home = i % w->run->members, .tick.fn = on_tick};
    later(a);
}

void api_watcher_lost(struct api_watcher *a)
{
    if (a->call)
        broken(a);
}

void api_watcher_leave(struct api_watcher *a)
{
    if (a->call)
        http_call_cancel(a->call);
    a->call = NULL;
}

void api_watcher_fini(struct api_watcher *a)
{
    sim_event_stop(&a->tick);
    held_drop(a);
    vec_fini(&a->held);
    buf_fini(&a->in);
}
