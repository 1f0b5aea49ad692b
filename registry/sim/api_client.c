/* Clients of the API: writes of every form, with and without a key, sent again when nobody knows
 * what came of them; reads of every freshness; rollbacks; requests that are cut off. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/wire/base64.h"
#include "base/wire/json.h"
#include "registry/sim/api.h"

#define ITEMS_MAX 3
#define JSON_TYPE "application/json"
#define DRIFT_PER_MILLE 60 /* clocks are off by up to 50 */
#define CLOCK_SLACK (3 * SIM_MS)

enum api_verb {
    API_CREATE,
    API_REPLACE,
    API_PATCH,
    API_DELETE,
    API_TRANSACTION,
    API_NAMESPACE,      /* creates it */
    API_NAMESPACE_GONE, /* deletes it, with what it holds */
    API_GET,
    API_LIST,
    API_DIFF, /* of a rollback; then the transaction */
    API_ROLLBACK,
};

static const char *const verb_names[] = {"create",      "replace", "patch",     "delete",
                                         "transaction", "ns",      "delete ns", "get",
                                         "list",        "diff",    "rollback"};

enum api_how { HOW_LOCAL, HOW_BOUNDED, HOW_LINEARIZABLE, HOW_NOT_OLDER, HOW_PAST };

struct api_op {
    struct api_client *client;
    struct http_call *call; /* while it is under way */
    enum api_verb verb;
    size_t at; /* the member */
    sim_ns sent;
    bool done, lost;  /* answered; or nobody knows */
    int status, told; /* of the answer; of the first final one */
    uint64_t number;  /* of a write */
    bool keyed, again;
    const char *ns;
    char name[24], path[400];
    struct slice key; /* of one object; owned */
    struct buf body;  /* of the world */
    /* Reads. */
    enum api_how how;
    wf_ms bound;
    reg_rev floor, past;
    size_t limit;
    struct slice after; /* owned */
    /* A rollback: to what, and the objects that it changes. */
    reg_rev to;
    VEC(struct slice) back; /* keys; owned */
};

static struct run *run_of(const struct api_op *op)
{
    return op->client->world->run;
}

static const char *node_of(const struct api_op *op)
{
    return sim_host_name(run_of(op)->member[op->at].host);
}

static bool is_read(const struct api_op *op)
{
    return op->verb == API_GET || op->verb == API_LIST || op->verb == API_DIFF;
}

static void fail(const struct api_op *op, const char *what)
{
    oracle_fail(&run_of(op)->oracle, "%s: API %s %" PRIu64 " of %s: %s (status %d)", node_of(op),
                verb_names[op->verb], op->number, op->path, what, op->status);
}

static void ask_free(struct api_op *op)
{
    if (!op)
        return;
    for (size_t i = 0; i < op->back.n; i++)
        slice_free(op->back.p[i]);
    vec_fini(&op->back);
    slice_free(op->key);
    slice_free(op->after);
    buf_fini(&op->body);
    mem_free(op);
}

static void client_later(struct api_client *c)
{
    struct run *run = c->world->run;
    sim_event_stop(&c->cancel);
    if (!c->tick.armed)
        sim_event_start(run->sim, &c->tick, sim_between(run->sim, SIM_MS, run->knobs.think_max));
}

/* Questions. */

static struct slice key_of(const char *ns, const char *name)
{
    char text[128];
    snprintf(text, sizeof(text), ORACLE_API_PREFIX "%s/%s", ns, name);
    return slice_dup(slice_of(text));
}

static void name_pick(struct api_op *op)
{
    struct run *run = run_of(op);
    op->ns = api_ns_pick(op->client->world, false);
    snprintf(op->name, sizeof(op->name), "k%" PRIu64, sim_below(run->sim, run->knobs.keys));
    slice_free(op->key);
    op->key = key_of(op->ns, op->name);
}

static void path_of_object(struct api_op *op)
{
    char collection[96];
    api_path(op->ns, collection);
    snprintf(op->path, sizeof(op->path), "%s/%s", collection, op->name);
}

/* What it is now, or was: conflicts are part of the load. 0 = it is not there. */
static reg_rev rev_guess(struct api_op *op)
{
    struct run *run = run_of(op);
    reg_rev at = run->oracle.revision - sim_below(run->sim, 3);
    const struct oracle_version *v = oracle_at(&run->oracle, op->key, at);
    return v ? v->rev : 0;
}

static void metadata_print(struct api_op *op, const char *name, const char *ns, reg_rev expected)
{
    struct run *run = run_of(op);
    static const char xs[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    size_t n = sim_below(run->sim, run->knobs.value_max);
    buf_printf(&op->body, "\"metadata\":{\"annotations\":{\"sim\":\"v%" PRIu64 ".", op->number);
    for (; n > 0; n -= n < sizeof(xs) - 1 ? n : sizeof(xs) - 1)
        buf_append(&op->body, slice_mem(xs, n < sizeof(xs) - 1 ? n : sizeof(xs) - 1));
    buf_printf(&op->body, "\"}");
    if (name)
        buf_printf(&op->body, ",\"name\":\"%s\"", name);
    if (ns)
        buf_printf(&op->body, ",\"namespace\":\"%s\"", ns);
    if (expected)
        buf_printf(&op->body, ",\"resourceVersion\":\"%" PRIu64 "\"", expected);
    buf_printf(&op->body, "}");
}

static void object_print(struct api_op *op, const char *name, const char *ns, reg_rev expected)
{
    buf_printf(&op->body,
               "{\"apiVersion\":\"" ORACLE_API_VERSION "\",\"kind\":\"" ORACLE_API_KIND "\",");
    metadata_print(op, name, ns, expected);
    buf_printf(&op->body, ",\"spec\":{\"address\":\"10.0.0.1\",\"weight\":%" PRIu64 "}}",
               op->number % 7);
}

static void create_fill(struct api_op *op)
{
    name_pick(op);
    api_path(op->ns, op->path);
    object_print(op, op->name, NULL, 0);
}

static void replace_fill(struct api_op *op)
{
    name_pick(op);
    path_of_object(op);
    object_print(op, op->name, NULL, sim_chance(run_of(op)->sim, 500) ? rev_guess(op) : 0);
}

static void patch_fill(struct api_op *op)
{
    name_pick(op);
    path_of_object(op);
    buf_printf(&op->body, "{");
    metadata_print(op, NULL, NULL, sim_chance(run_of(op)->sim, 300) ? rev_guess(op) : 0);
    buf_printf(&op->body, ",\"spec\":{\"weight\":%" PRIu64 "}}", op->number % 5);
}

static void delete_fill(struct api_op *op)
{
    name_pick(op);
    path_of_object(op);
    reg_rev rev = rev_guess(op);
    if (rev && sim_chance(run_of(op)->sim, 300))
        buf_printf(&op->body, "{\"preconditions\":{\"resourceVersion\":\"%" PRIu64 "\"}}", rev);
}

/* An item, or a precondition of an object that is not written. */
static void item_print(struct api_op *op, bool check)
{
    struct sim *sim = run_of(op)->sim;
    reg_rev rev = rev_guess(op);
    uint64_t dice = sim_below(sim, 10);
    if (!check)
        buf_printf(&op->body, "\"verb\":\"%s\",",
                   dice < 7   ? "apply"
                   : dice < 9 ? "create"
                              : "delete");
    buf_printf(&op->body, "\"object\":");
    object_print(op, op->name, op->ns, 0);
    if (!check && !sim_chance(sim, 250))
        return;
    if (!check)
        buf_printf(&op->body, ",\"precondition\":{");
    else
        buf_printf(&op->body, ",");
    if (rev && sim_chance(sim, 600))
        buf_printf(&op->body, "\"resourceVersion\":\"%" PRIu64 "\"", rev);
    else
        buf_printf(&op->body, rev || dice == 9 ? "\"exists\":true" : "\"absent\":true");
    buf_printf(&op->body, check ? "" : "}");
}

static void transaction_fill(struct api_op *op)
{
    struct sim *sim = run_of(op)->sim;
    size_t n = 1 + sim_below(sim, ITEMS_MAX);
    const char *ns = api_ns_pick(op->client->world, false);
    uint64_t first = sim_below(sim, run_of(op)->knobs.keys);
    snprintf(op->path, sizeof(op->path), "/weft/v1/transaction");
    n = n < run_of(op)->knobs.keys ? n : run_of(op)->knobs.keys;
    bool check = n > 1 && sim_chance(sim, 300);
    buf_printf(&op->body, "{\"items\":[");
    for (size_t i = 0; i < n; i++) {
        bool last = check && i + 1 == n;
        op->ns = ns;
        snprintf(op->name, sizeof(op->name), "k%" PRIu64, (first + i) % run_of(op)->knobs.keys);
        slice_free(op->key);
        op->key = key_of(op->ns, op->name);
        buf_printf(&op->body, last ? "],\"preconditions\":[{" : i ? ",{" : "{");
        item_print(op, last);
        buf_printf(&op->body, "}");
    }
    buf_printf(&op->body, "]}");
}

static void namespace_fill(struct api_op *op)
{
    op->ns = op->client->wants_ns;
    op->client->wants_ns = NULL;
    snprintf(op->path, sizeof(op->path), "/api/v1/namespaces");
    buf_printf(&op->body,
               "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"%s\"}}",
               op->ns);
}

static void how_pick(struct api_op *op)
{
    static const enum api_how hows[] = {HOW_LOCAL,        HOW_BOUNDED,   HOW_LINEARIZABLE,
                                        HOW_LINEARIZABLE, HOW_NOT_OLDER, HOW_PAST};
    struct run *run = run_of(op);
    static const wf_ms bounds[] = {1, 100, 500, 2000};
    size_t n = strlen(op->path);
    char *at = op->path + n;
    size_t room = sizeof(op->path) - n;
    reg_rev newest = run->oracle.revision;
    op->how = hows[sim_below(run->sim, ARRAY_LEN(hows))];
    op->bound = bounds[sim_below(run->sim, ARRAY_LEN(bounds))];
    op->past = newest > 1 ? newest - sim_below(run->sim, newest < 40 ? newest : 40) : 0;
    if (op->how == HOW_PAST && !op->past)
        op->how = HOW_LOCAL;
    switch (op->how) {
    case HOW_LOCAL:
        snprintf(at, room, "?fieldValidation=Warn");
        break;
    case HOW_BOUNDED:
        snprintf(at, room, "?consistency=bounded&maxStalenessMs=%" PRId64, op->bound);
        break;
    case HOW_LINEARIZABLE:
        snprintf(at, room, "?consistency=linearizable");
        break;
    case HOW_NOT_OLDER:
        snprintf(at, room, "?resourceVersion=%" PRIu64, run->acked_max);
        break;
    case HOW_PAST:
        snprintf(at, room, "?resourceVersion=%" PRIu64 "&resourceVersionMatch=Exact", op->past);
        break;
    }
}

static void list_fill(struct api_op *op)
{
    struct run *run = run_of(op);
    op->ns = api_ns_pick(op->client->world, true);
    api_path(op->ns, op->path);
    how_pick(op);
    op->limit = 5000;
    if (sim_chance(run->sim, 300)) {
        op->limit = 1 + sim_below(run->sim, 4);
        size_t n = strlen(op->path);
        n += (size_t)snprintf(op->path + n, sizeof(op->path) - n, "&limit=%zu", op->limit);
        if (run->oracle.api_keys.n && sim_chance(run->sim, 600)) {
            struct buf token = {0};
            op->after =
                slice_dup(run->oracle.api_keys.p[sim_below(run->sim, run->oracle.api_keys.n)]->key);
            base64url_encode(&token, op->after);
            snprintf(op->path + n, sizeof(op->path) - n, "&continue=%.*s",
                     SLICE(buf_slice(&token)));
            buf_fini(&token);
        }
    }
}

static void get_fill(struct api_op *op)
{
    name_pick(op);
    path_of_object(op);
    how_pick(op);
}

static void diff_fill(struct api_op *op)
{
    struct run *run = run_of(op);
    reg_rev newest = run->oracle.revision;
    op->ns = api_ns_pick(op->client->world, false);
    op->to = newest > 1 ? newest - sim_below(run->sim, newest < 60 ? newest : 60) : 1;
    op->how = HOW_LINEARIZABLE;
    snprintf(op->path, sizeof(op->path),
             "/weft/v1/diff?from=%" PRIu64
             "&resource=workloadentries.networking.istio.io&namespace=%s&consistency=linearizable",
             op->to, op->ns);
}

static enum api_verb verb_pick(const struct api_client *c)
{
    uint64_t dice = sim_below(c->world->run->sim, 1000);
    return c->wants_ns  ? API_NAMESPACE
           : dice < 150 ? API_CREATE
           : dice < 290 ? API_REPLACE
           : dice < 430 ? API_PATCH
           : dice < 520 ? API_DELETE
           : dice < 680 ? API_TRANSACTION
           : dice < 690 ? API_NAMESPACE_GONE
           : dice < 820 ? API_GET
           : dice < 950 ? API_LIST
                        : API_DIFF;
}

static struct api_op *op_new(struct api_client *c)
{
    static void (*const fills[])(struct api_op * op) = {
        [API_CREATE] = create_fill, [API_REPLACE] = replace_fill,
        [API_PATCH] = patch_fill,   [API_DELETE] = delete_fill,
        [API_GET] = get_fill,       [API_TRANSACTION] = transaction_fill,
        [API_LIST] = list_fill,     [API_NAMESPACE] = namespace_fill,
        [API_DIFF] = diff_fill,
    };
    struct run *run = c->world->run;
    struct api_op *op = MEM_NEW(struct api_op);
    op->client = c;
    op->verb = verb_pick(c);
    if (!is_read(op)) {
        op->number = oracle_op_new(&run->oracle);
        run->result->api_writes++;
        /* HTTP lets a client's library send PUT and DELETE twice. */
        op->keyed = op->verb == API_REPLACE || op->verb == API_DELETE ||
                    op->verb == API_NAMESPACE_GONE || sim_chance(run->sim, 500);
    }
    if (op->verb == API_NAMESPACE_GONE)
        snprintf(op->path, sizeof(op->path), "/api/v1/namespaces/other");
    else
        fills[op->verb](op);
    return op;
}

/* Answers to writes. */

static bool object_is_said(const struct api_op *op)
{
    return op->verb == API_CREATE || op->verb == API_REPLACE || op->verb == API_PATCH;
}

/* What was rolled back is as it was, whatever else has changed. */
static void rollback_check(struct api_op *op, reg_rev rev)
{
    struct oracle *o = &run_of(op)->oracle;
    run_of(op)->result->api_rollbacks++;
    for (size_t i = 0; i < op->back.n; i++) {
        struct slice was = oracle_mark(oracle_at(o, op->back.p[i], op->to));
        struct slice is = oracle_mark(oracle_at(o, op->back.p[i], rev));
        if (!slice_eq(was, is))
            oracle_fail(
                o, "%.*s was rolled back to %" PRIu64 " at %" PRIu64 " and is %.*s there, not %.*s",
                SLICE(op->back.p[i]), op->to, rev, SLICE(slice_sub(is, 0, 20)),
                SLICE(slice_sub(was, 0, 20)));
    }
}

static void done_check(struct api_op *op, const struct http_response *r)
{
    struct run *run = run_of(op);
    reg_rev rev = api_revision(r);
    bool replayed = headers_find(r->headers, S("idempotent-replayed")) != NULL;
    if (!rev) {
        fail(op, "no revision");
        return;
    }
    run->result->api_acked++;
    run->result->api_replays += replayed;
    oracle_acked(&run->oracle, op->number, rev);
    run_acked(run, op->number, rev);
    if (op->told && op->told / 100 != 2)
        fail(op, "it was refused before");
    op->told = op->status;
    if (op->verb == API_ROLLBACK)
        rollback_check(op, rev);
    if (!object_is_said(op) ||
        (replayed && slice_contains(r->body, S("\"message\":\"done at revision"))))
        return;
    struct buf want = {0};
    buf_printf(&want, "%.*s\n", SLICE(oracle_shown_at(&run->oracle, op->key, rev)));
    api_same(run, op->path, r->body, buf_slice(&want));
    buf_fini(&want);
}

/* Since it was sent, was there a moment in which this object was (not) there? */
static bool ever(const struct api_op *op, bool there)
{
    struct oracle *o = &run_of(op)->oracle;
    const struct oracle_key *k = map_get(&o->by_key, op->key);
    if ((oracle_at(o, op->key, op->floor) != NULL) == there)
        return true;
    for (size_t i = 0; k && i < k->versions.n; i++)
        if (k->versions.p[i].rev > op->floor && k->versions.p[i].deleted != there)
            return true;
    return false;
}

/* A node that is behind refuses nothing wrongly. */
static void refusal_check(struct api_op *op, const struct http_response *r)
{
    bool one = op->verb == API_REPLACE || op->verb == API_PATCH || op->verb == API_DELETE;
    if (slice_contains(r->body, S("create it first"))) {
        op->client->wants_ns = op->ns;
        return;
    }
    if (op->again)
        return;
    if (op->verb == API_CREATE && op->status == 409 && !ever(op, true))
        fail(op, "it is refused as existing, and never was there");
    if (one && op->status == 404 && !ever(op, false))
        fail(op, "it is refused as missing, and always was there");
}

static void write_answered(struct api_op *op, const struct http_response *r)
{
    struct run *run = run_of(op);
    switch (op->status) {
    case 200:
    case 201:
        done_check(op, r);
        return;
    case 404:
    case 409:
        refusal_check(op, r);
        if (op->told / 100 == 2)
            fail(op, "it was acknowledged before");
        if (!op->told && !op->again)
            oracle_refused(&run->oracle, op->number, "409 or 404");
        op->told = op->status;
        return;
    case 429:
    case 503:
    case 507:
        if (!op->again)
            oracle_refused(&run->oracle, op->number, "503");
        return;
    case 408: /* it did not arrive in time */
    case 504:
        return;
    default:
        fail(op, "an answer that was not to be expected");
        sim_trace(run->sim, "%.*s", SLICE(r->body));
    }
}

/* Answers to reads. */

/* The least that the answer may show; what it says of its own age is held to the test too. */
static reg_rev floor_of(const struct api_op *op, const struct http_response *r)
{
    const struct header *h = headers_find(r->headers, S("weft-staleness-ms"));
    const struct run *run = run_of(op);
    reg_rev least = op->how == HOW_LINEARIZABLE || op->how == HOW_NOT_OLDER ? op->floor : 0;
    uint64_t age = 0, ages[2] = {UINT64_MAX, UINT64_MAX};
    if (op->how == HOW_BOUNDED)
        ages[0] = (uint64_t)op->bound;
    if (h && slice_u64(h->value, &age))
        ages[1] = age;
    for (size_t i = 0; i < ARRAY_LEN(ages); i++) {
        if (ages[i] > 3600000)
            continue;
        sim_ns back = (sim_ns)(ages[i] * (1000 + DRIFT_PER_MILLE) / 1000) * SIM_MS + CLOCK_SLACK;
        reg_rev told = run_told_before(run, op->sent - back);
        least = told > least ? told : least;
    }
    return least;
}

static bool revision_check(struct api_op *op, const struct http_response *r, reg_rev rev)
{
    struct run *run = run_of(op);
    reg_rev least = op->how == HOW_PAST ? op->past : floor_of(op, r);
    if (rev < least || (op->how == HOW_PAST && rev > least)) {
        oracle_fail(&run->oracle, "%s: API %s of %s shows %" PRIu64 ", it must be %s%" PRIu64,
                    node_of(op), verb_names[op->verb], op->path, rev,
                    op->how == HOW_PAST ? "" : "at least ", least);
        return false;
    }
    if (op->how != HOW_PAST)
        run_told(run, rev);
    return true;
}

static void get_check(struct api_op *op, const struct http_response *r, reg_rev rev)
{
    struct slice shown = oracle_shown_at(&run_of(op)->oracle, op->key, rev);
    struct buf want = {0};
    if (op->status == 404) {
        if (shown.n)
            fail(op, "it is there");
        return;
    }
    buf_printf(&want, "%.*s\n", SLICE(shown));
    api_same(run_of(op), op->path, r->body, buf_slice(&want));
    buf_fini(&want);
}

static void read_answered(struct api_op *op, const struct http_response *r)
{
    reg_rev rev = api_revision(r);
    bool known = op->status == 200 || (op->status == 404 && op->verb == API_GET);
    if (op->status == 503 || op->status == 504 || op->status == 429 || op->status == 408 ||
        (op->status == 410 && op->how == HOW_PAST))
        return;
    if (!known || !rev) {
        fail(op, "an answer that was not to be expected");
        return;
    }
    run_of(op)->result->api_reads++;
    if (!revision_check(op, r, rev))
        return;
    if (op->verb == API_GET)
        get_check(op, r, rev);
    else
        api_check_list(run_of(op), r, api_prefix_of(op->ns), op->after, op->limit, op->path);
}

/* Rollback: from what is different to a transaction, as `weft rollback` does it. */

static const char *back_verb(const json_t *before, const json_t *after)
{
    return !before ? "delete" : after ? "update" : "create";
}

/* Of the world's memory: the text of the transaction. */
static void transaction_of(struct api_op *op, const json_t *items)
{
    struct err err = {0};
    json_t *in, *list = json_array();
    size_t i;
    json_array_foreach ((json_t *)(uintptr_t)items, i, in) {
        json_t *before = json_object_get(in, "before"), *after = json_object_get(in, "after");
        struct slice name = json_str(in, "name");
        char text[32];
        json_t *item = json_pack("{s:s,s:O}", "verb", back_verb(before, after), "object",
                                 before ? before : after);
        if (after)
            json_object_set_new(
                item, "precondition",
                json_pack("{s:O}", "resourceVersion", json_at(after, "metadata.resourceVersion")));
        json_array_append_new(list, item);
        snprintf(text, sizeof(text), "%.*s", SLICE(name));
        *vec_push(&op->back) = key_of(op->ns, text);
    }
    json_t *body = json_pack("{s:o}", "items", list);
    wf_assert(json_write(&op->body, body, &err));
    json_decref(body);
}

/* Exactly what is different between the two. */
static void diff_check(struct api_op *op, reg_rev now)
{
    struct oracle *o = &run_of(op)->oracle;
    struct slice prefix = api_prefix_of(op->ns);
    for (size_t i = 0; i < o->api_keys.n; i++) {
        struct slice key = o->api_keys.p[i]->key;
        bool named = false;
        if (!slice_starts(key, prefix))
            continue;
        const struct oracle_version *was = oracle_at(o, key, op->to), *is = oracle_at(o, key, now);
        for (size_t k = 0; k < op->back.n; k++)
            named = named || slice_eq(op->back.p[k], key);
        if (named != !slice_eq(oracle_mark(was), oracle_mark(is)))
            oracle_fail(o, "%s: of %" PRIu64 " and %" PRIu64 " %.*s is %s as different",
                        node_of(op), op->to, now, SLICE(key), named ? "named" : "not named");
    }
}

static void diff_answered(struct api_op *op, const struct http_response *r)
{
    struct err err = {0};
    if (op->status != 200) {
        if (op->status != 410 && op->status != 429 && op->status != 408 && op->status < 503)
            fail(op, "an answer that was not to be expected");
        return;
    }
    json_t *body = json_parse_capped(r->body, 16u << 20, JSON_DEPTH_MAX, &err);
    reg_rev now = body ? (reg_rev)json_int(body, "to", 0) : 0;
    if (!body || !now) {
        fail(op, "no differences in it");
        return;
    }
    if (revision_check(op, r, now)) {
        transaction_of(op, json_object_get(body, "items"));
        diff_check(op, now);
    }
    json_decref(body);
}

/* The second half, when something is different. */
static void rollback_begin(struct api_op *op)
{
    struct run *run = run_of(op);
    op->verb = API_ROLLBACK;
    op->number = oracle_op_new(&run->oracle);
    op->keyed = true;
    op->done = false;
    run->result->api_writes++;
    snprintf(op->path, sizeof(op->path), "/weft/v1/transaction?fieldValidation=Warn");
}

/* Calls. */

static void on_done(void *ctx, const struct http_response *r)
{
    struct api_op *op = ctx;
    struct sim_zone *was = sim_world_enter();
    op->call = NULL;
    op->done = true;
    op->status = r->status;
    sim_trace(run_of(op)->sim, "api %s %" PRIu64 " -> %d %" PRIu64, verb_names[op->verb],
              op->number, r->status, api_revision(r));
    if (op->verb == API_DIFF)
        diff_answered(op, r);
    else if (is_read(op))
        read_answered(op, r);
    else
        write_answered(op, r);
    client_later(op->client);
    sim_world_leave(was);
}

static void on_fail(void *ctx, const struct err *err)
{
    struct api_op *op = ctx;
    struct sim_zone *was = sim_world_enter();
    op->call = NULL;
    op->lost = true;
    sim_trace(run_of(op)->sim, "api %s %" PRIu64 " -> %s", verb_names[op->verb], op->number,
              err_code_name(err->code));
    if (err->code == ERR_INVALID || err->code == ERR_LIMIT)
        fail(op, err->msg);
    client_later(op->client);
    sim_world_leave(was);
}

static struct slice method_of(const struct api_op *op)
{
    static const struct slice methods[] = {
        [API_CREATE] = S_INIT("POST"),      [API_REPLACE] = S_INIT("PUT"),
        [API_PATCH] = S_INIT("PATCH"),      [API_DELETE] = S_INIT("DELETE"),
        [API_TRANSACTION] = S_INIT("POST"), [API_NAMESPACE] = S_INIT("POST"),
        [API_GET] = S_INIT("GET"),          [API_NAMESPACE_GONE] = S_INIT("DELETE"),
        [API_LIST] = S_INIT("GET"),         [API_DIFF] = S_INIT("GET"),
        [API_ROLLBACK] = S_INIT("POST")};
    return methods[op->verb];
}

/* In a turn of the machine: what is allocated here is its own. */
static void send_turn(void *ctx)
{
    struct api_op *op = ctx;
    struct api_world *w = op->client->world;
    struct arena arena = {0};
    struct headers hs = {0};
    struct env_addr addr;
    struct http_call_options o = api_call_to(w, op->at, &addr);
    if (op->number)
        headers_add(&hs, &arena, HDR_USER_AGENT, arena_printf(&arena, "sim/%" PRIu64, op->number));
    if (op->keyed)
        headers_add_name(&hs, &arena, S("idempotency-key"),
                         arena_printf(&arena, "key-%" PRIu64, op->number));
    o.method = method_of(op);
    o.path = slice_of(op->path);
    o.headers = &hs;
    o.body = buf_slice(&op->body);
    o.content_type = !op->body.n             ? S("")
                     : op->verb == API_PATCH ? S("application/merge-patch+json")
                                             : S(JSON_TYPE);
    o.on_done = on_done;
    o.on_fail = on_fail;
    o.ctx = op;
    op->call = http_call_start(w->http, &o);
    arena_fini(&arena);
}

static void op_send(struct api_op *op)
{
    struct api_client *c = op->client;
    struct run *run = run_of(op);
    op->done = op->lost = false;
    op->status = 0;
    op->at = api_member_pick(c->world, &c->home);
    op->floor = run->acked_max;
    op->sent = sim_now(run->sim);
    sim_host_call(c->world->host, send_turn, op);
    if (sim_chance(run->sim, run->knobs.api_breaks))
        sim_event_start(run->sim, &c->cancel, sim_between(run->sim, 0, 20 * SIM_MS));
}

/* A write that is cut off on its way: nothing may come of it. */
static void torn_turn(void *ctx)
{
    struct api_op *op = ctx;
    struct env_addr addr;
    struct buf text = {0};
    member_api_addr(&run_of(op)->member[op->at], &addr);
    buf_printf(&text,
               "%.*s %s HTTP/1.1\r\nhost: weft\r\nuser-agent: sim/%" PRIu64
               "\r\ncontent-type: " JSON_TYPE "\r\ncontent-length: %zu\r\n\r\n%.*s",
               SLICE(method_of(op)), op->path, op->number, op->body.n, SLICE(buf_slice(&op->body)));
    size_t n = 1 + sim_below(run_of(op)->sim, text.n - 1);
    api_torn_send(op->client->world, &addr, slice_sub(buf_slice(&text), 0, n));
    buf_fini(&text);
}

static void op_tear(struct api_op *op)
{
    struct run *run = run_of(op);
    op->at = api_member_pick(op->client->world, &op->client->home);
    oracle_refused(&run->oracle, op->number, "it was cut off on its way");
    run->result->api_torn++;
    op->keyed = false;
    op->done = true;
    sim_host_call(op->client->world->host, torn_turn, op);
    client_later(op->client);
}

/* Life. */

static void cancel_turn(void *ctx)
{
    struct api_op *op = ctx;
    http_call_cancel(op->call);
}

static void on_cancel(struct sim_event *e)
{
    struct api_client *c = container_of(e, struct api_client, cancel);
    struct api_op *op = c->op;
    if (!op || !op->call)
        return;
    sim_host_call(c->world->host, cancel_turn, op);
    op->call = NULL;
    op->lost = true;
    client_later(c);
}

/* The same request, of which nobody knows what came, or a client's that forgot. */
static bool op_repeats(const struct api_op *op)
{
    struct sim *sim = run_of(op)->sim;
    bool final = op->done && op->told == op->status && op->status;
    bool open = op->again && op->done && (op->status == 503 || op->status == 507);
    if (!op->keyed)
        return false;
    return final ? sim_chance(sim, 200) : op->lost || op->status == 504 || open;
}

static void on_tick(struct sim_event *e)
{
    struct api_client *c = container_of(e, struct api_client, tick);
    struct api_world *w = c->world;
    struct run *run = w->run;
    struct api_op *last = c->op;
    bool fresh = false;
    if (run->quiet)
        return;
    if (!w->http) {
        client_later(c);
        return;
    }
    if (last && last->verb == API_DIFF && last->back.n && !last->lost) {
        rollback_begin(last);
    } else if (last && op_repeats(last)) {
        last->again = true;
    } else {
        ask_free(last);
        c->op = op_new(c);
        fresh = true;
    }
    if (fresh && !is_read(c->op) && c->op->body.n && sim_chance(run->sim, run->knobs.api_torn))
        op_tear(c->op);
    else
        op_send(c->op);
}

void api_client_start(struct api_world *w, size_t i)
{
    struct api_client *c = &w->client[i];
    *c = (struct api_client){.world = w,
                             .index = i,
                             .home = i % w->run->members,
                             .tick.fn = on_tick,
                             .cancel.fn = on_cancel};
    client_later(c);
}

void api_client_lost(struct api_client *c)
{
    if (c->op && c->op->call) {
        c->op->call = NULL;
        c->op->lost = true;
    }
    client_later(c);
}

bool api_client_idle(const struct api_client *c)
{
    return !c->op || !c->op->call;
}

void api_client_leave(struct api_client *c)
{
    if (c->op && c->op->call)
        http_call_cancel(c->op->call);
    if (c->op)
        c->op->call = NULL;
}

void api_client_fini(struct api_client *c)
{
    sim_event_stop(&c->tick);
    sim_event_stop(&c->cancel);
    ask_free(c->op);
}
