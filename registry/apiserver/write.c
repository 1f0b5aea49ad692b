#include "registry/apiserver/write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/k8s_proto.h"
#include "base/core/assert.h"
#include "base/core/mutant.h"

/* Life. */

static void write_leave(struct write *w)
{
    struct apiserver *s = w->srv;
    if (!s)
        return;
    list_remove(&w->node);
    s->write_count--;
    metric_set_value(s->cells.writes, (int64_t)s->write_count);
    w->srv = NULL;
}

void write_items_cut(struct write *w, size_t n)
{
    for (size_t i = n; i < w->items.n; i++) {
        json_decref(w->items.p[i].input);
        json_decref(w->items.p[i].before);
        json_decref(w->items.p[i].after);
    }
    w->items.n = n;
}

static void write_fini(struct write *w)
{
    write_leave(w);
    write_items_cut(w, 0);
    vec_fini(&w->items);
    kind_report_fini(&w->report);
    buf_fini(&w->values);
    buf_fini(&w->memo);
    arena_fini(&w->arena);
    mem_free(w);
}

/* The registry still works for us: it answers into the void. */
static void write_gone(struct http_request *req)
{
    struct write *w = req->user;
    w->req = NULL;
}

void api_writes_leave(struct apiserver *s)
{
    LIST_EACH (&s->writes, n)
        write_leave(container_of(n, struct write, node));
}

/* "kubectl/v1.32.4 (linux/amd64) …" -> "kubectl/v1.32.4": what a person reads in the history. */
static void write_origin(struct write *w)
{
    struct slice agent = headers_value(w->req->headers, HDR_USER_AGENT), rest;
    slice_cut(agent, '(', &agent, &rest);
    agent = slice_sub(slice_trim(agent), 0, sizeof(w->origin));
    for (size_t i = 0; i < agent.n; i++)
        w->origin[w->origin_n++] = agent.p[i] >= ' ' && agent.p[i] <= '~' ? agent.p[i] : '?';
}

struct write *write_new(struct apiserver *s, struct http_request *req)
{
    struct err err = {0};
    if (s->write_count >= API_WRITES_MAX) {
        metric_add(s->cells.writes_refused, 1);
        err_set(&err, ERR_LIMIT, "%d writes are under way on this node: try again or another node",
                API_WRITES_MAX);
        api_respond_err(req, NULL, &err);
        return NULL;
    }
    struct write *w = MEM_NEW(struct write);
    w->srv = s;
    w->req = req;
    req->user = w;
    req->on_close = write_gone;
    write_origin(w);
    list_push(&s->writes, &w->node);
    s->write_count++;
    metric_set_value(s->cells.writes, (int64_t)s->write_count);
    return w;
}

struct item *write_item(struct write *w)
{
    w->given++;
    return vec_push(&w->items);
}

/* Refusals. */

void write_name_problems(struct write *w, const struct item *it, size_t from)
{
    for (size_t i = from; i < w->report.count && w->batch; i++)
        w->report.items[i].field =
            arena_printf(&w->report.arena, "%.*s.%.*s", SLICE(write_item_label(w, it)),
                         SLICE(w->report.items[i].field));
}

struct slice write_item_label(struct write *w, const struct item *it)
{
    size_t i = (size_t)(it - w->items.p);
    bool check = it->verb == ITEM_CHECK;
    return arena_printf(&w->report.arena, "%s[%zu]", check ? "preconditions" : "items",
                        check ? i - w->checks_from : i);
}

void write_answer_err(struct write *w, const struct err *err)
{
    struct api_call c = {.srv = w->srv, .req = w->req};
    if (w->given == 1) {
        c.kind = w->items.p[0].kind;
        c.name = w->items.p[0].name;
    }
    api_respond_err(w->req, &c, err);
}

void write_refuse(struct write *w, const struct err *err)
{
    api_report_warnings(w->req, &w->report);
    if (w->refused)
        api_respond_invalid(w->req, w->refused->kind, w->refused->name, &w->report);
    else
        write_answer_err(w, err);
    write_fini(w);
}

void write_say_revision(struct write *w, reg_rev revision)
{
    headers_add_name(&w->req->response, w->req->arena, S("weft-revision"),
                     arena_printf(w->req->arena, "%llu", (unsigned long long)revision));
}

static void write_finish(struct write *w, reg_rev revision)
{
    api_report_warnings(w->req, &w->report);
    write_say_revision(w, revision);
    w->done(w, revision);
    write_fini(w);
}

/* Proposing. */

static bool op_value(struct write *w, const struct item *it, struct reg_op *op, struct err *err)
{
    size_t from = w->values.n;
    if (op->check || op->del)
        return true;
    if (!kind_encode(it->after, &w->values, err))
        return false;
    op->value.n = w->values.n - from; /* the address follows when the buffer has stopped moving */
    if (op->value.n > REG_VALUE_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "%s \"%.*s\": %zu bytes, at most %u", it->kind->plural,
                       SLICE(it->name), op->value.n, REG_VALUE_BYTES_MAX);
    return true;
}

static enum reg_expect item_expect(const struct item *it)
{
    if (it->verb == ITEM_CHECK && it->need == ITEM_NEED_EXISTS)
        return REG_EXPECT_EXISTS;
    return it->before ? REG_EXPECT_REV : REG_EXPECT_ABSENT;
}

/* What is as it shall be needs no operation, but where somebody relies on it. */
static bool item_checks(const struct write *w, const struct item *it)
{
    bool unchanged = it->result == ITEM_UNCHANGED && it->verb != ITEM_DELETE;
    return it->verb == ITEM_CHECK ||
           (unchanged && (w->keyed || it->expected || it->need != ITEM_NEED_NOTHING));
}

static bool write_ops(struct write *w, struct err *err)
{
    buf_clear(&w->values);
    w->ops = ARENA_ARRAY(&w->arena, struct reg_op, w->items.n + 2);
    w->op_count = 0;
    for (size_t i = 0; i < w->items.n; i++) {
        struct item *it = &w->items.p[i];
        bool check = item_checks(w, it);
        if (it->held || (it->result == ITEM_UNCHANGED && !check))
            continue;
        struct reg_op *op = &w->ops[w->op_count++];
        *op = (struct reg_op){
            .del = it->verb == ITEM_DELETE,
            .key = it->key,
            .expect = item_expect(it),
            .expected = it->before_rev,
            .check = check,
        };
        if (!op->check && !op->del) {
            op->grant = it->grants ? &it->grant : NULL;
            op->attach = it->attach;
        }
        if (!op_value(w, it, op, err))
            return false;
    }
    if (w->op_count && w->fence.n)
        w->ops[w->op_count++] = (struct reg_op){
            .check = true, .key = w->fence, .expect = REG_EXPECT_EPOCH, .expected = w->fence_epoch};
    const char *at = buf_slice(&w->values).p;
    for (size_t i = 0; i < w->op_count; i++) {
        w->ops[i].value.p = at;
        at += w->ops[i].value.n;
    }
    return w->values.n <= REG_REQUEST_BYTES_MAX
               ? true
               : err_set(err, ERR_LIMIT, "the request changes %zu bytes, at most %u: split it",
                         w->values.n, REG_REQUEST_BYTES_MAX);
}

/* What a precondition refuses; the rest is wrong whatever there is. */
static bool depends_on_state(enum err_code code)
{
    return code == ERR_CONFLICT || code == ERR_EXISTS || code == ERR_NOT_FOUND || code == ERR_GONE;
}

static bool lost_a_race(const struct write *w)
{
    size_t failed = w->reg.failed_op;
    bool fenced = failed < w->op_count && w->ops[failed].expect == REG_EXPECT_EPOCH;
    return depends_on_state(w->reg.err.code) && !fenced && w->tries < API_WRITE_RETRIES;
}

static void write_propose(struct write *w, const struct reg_once *once,
                          void (*fn)(struct reg_write *r))
{
    for (size_t i = 0; i < w->items.n; i++) { /* nobody looks there any more */
        json_decref(w->items.p[i].before);
        w->items.p[i].before = NULL;
    }
    w->reg = (struct reg_write){.ops = w->ops,
                                .op_count = w->op_count,
                                .once = once,
                                .origin = {w->origin, w->origin_n},
                                .timeout = w->srv->opt.write_timeout,
                                .env = w->srv->env,
                                .fn = fn};
    reg_write(w->srv->opt.node, &w->reg);
}

/* The registry knows the key: this node has the answer by now. false: it has not, which takes an
 * answer that was forgotten in this moment. */
static bool write_replay_now(struct write *w)
{
    struct reg_txn txn;
    struct err err = {0};
    if (!reg_txn_begin(w->srv->store, &txn, &err))
        return false;
    bool known = write_replay(w, &txn);
    reg_txn_end(&txn);
    return known;
}

static void write_known(struct write *w, struct err *err)
{
    if (write_replay_now(w)) {
        write_fini(w);
        return;
    }
    if (!err->code)
        err_set(err, ERR_UNKNOWN_OUTCOME, "the request was done before; its answer is forgotten");
    write_refuse(w, err);
}

static void write_committed(struct reg_write *r)
{
    struct write *w = container_of(r, struct write, reg);
    bool done = r->err.code == ERR_NONE;
    if (!w->srv || !w->req) { /* nobody waits for the answer */
        write_fini(w);
    } else if (r->replayed || (w->keyed && r->err.code == ERR_INVALID)) {
        write_known(w, &r->err);
    } else if (done && !w->left) {
        w->written = true;
        write_finish(w, r->revision);
    } else if (done) {
        w->tries = 0;
        write_run(w);
    } else if (lost_a_race(w)) {
        write_run(w); /* somebody was faster: read again; a client's own expectation fails then */
    } else {
        write_refuse(w, &r->err);
    }
}

/* A refusal with a key is remembered: then it is refused. */
static void refusal_remembered(struct reg_write *r)
{
    struct write *w = container_of(r, struct write, reg);
    if (!w->srv || !w->req)
        write_fini(w);
    else if (r->replayed || r->err.code == ERR_INVALID)
        write_known(w, &r->err);
    else
        write_refuse(w, r->err.code ? &r->err : &w->refusal);
}

static void refusal_confirmed(struct reg_write *r)
{
    struct write *w = container_of(r, struct write, reg);
    if (!w->srv || !w->req) {
        write_fini(w);
    } else if (r->err.code) {
        err_wrap(&r->err, "%s, as far as this node knows", w->refusal.msg);
        write_refuse(w, &r->err);
    } else {
        write_run(w);
    }
}

/* This node may be behind: what its state refuses is looked at again with the newest. */
static void write_confirm(struct write *w)
{
    w->confirmed = true;
    w->reg = (struct reg_write){
        .timeout = w->srv->opt.write_timeout, .env = w->srv->env, .fn = refusal_confirmed};
    reg_read_index(w->srv->opt.node, &w->reg);
}

static void write_refused(struct write *w, const struct err *err)
{
    bool precondition = !w->refused && depends_on_state(err->code) && !w->dry_run;
    w->refusal = *err;
    if (precondition && !w->confirmed && !MUTANT(REFUSED_BY_STALE)) {
        write_confirm(w);
    } else if (precondition && w->keyed) {
        w->op_count = 0;
        write_propose(w, write_once_refused(w, err), refusal_remembered);
    } else {
        write_refuse(w, err);
    }
}

static bool write_prepare(struct write *w, struct reg_txn *txn, struct err *err)
{
    bool ok = write_expand(w, txn, err);
    for (size_t i = 0; i < w->items.n && ok; i++) {
        size_t known = w->report.count;
        ok = item_prepare(w, &w->items.p[i], txn, err);
        if (!ok && w->batch && err->code != ERR_UNAVAILABLE)
            err_wrap(err, "%.*s", SLICE(write_item_label(w, &w->items.p[i])));
        write_name_problems(w, &w->items.p[i], known);
    }
    return ok && write_analyze(w, txn);
}

void write_run(struct write *w)
{
    struct err err = {0};
    struct reg_txn txn;
    w->tries++;
    kind_report_fini(&w->report);
    w->refused = NULL;
    if (!reg_txn_begin(w->srv->store, &txn, &err)) {
        write_refuse(w, &err);
        return;
    }
    if (write_replay(w, &txn)) {
        reg_txn_end(&txn);
        write_fini(w);
        return;
    }
    bool ok = write_prepare(w, &txn, &err);
    reg_rev revision = txn.revision;
    reg_txn_end(&txn);
    if (!ok || !write_ops(w, &err))
        write_refused(w, &err);
    else if (w->dry_run || (w->op_count == 0 && !w->keyed))
        write_finish(w, revision);
    else
        write_propose(w, write_once(w), write_committed);
}

void write_start(struct write *w)
{
    struct err err = {0};
    if (write_fence(w, &err) && write_key(w, &err))
        write_run(w);
    else
        write_refuse(w, &err);
}

/* One object. */

static bool stored_version(const struct write *w, const struct item *it)
{
    return !w->version.n || slice_eq(w->version, slice_of(it->kind->versions[0]));
}

static void done_object(struct write *w, reg_rev revision)
{
    if (w->deletion) {
        api_respond_deleted(w->deletion);
        return;
    }
    struct item *it = &w->items.p[0];
    struct api_call c = {
        .srv = w->srv, .req = w->req, .kind = it->kind, .name = it->name, .table = w->table};
    char rv[32];
    if (it->verb == ITEM_DELETE) {
        api_respond_deleted(&c);
        return;
    }
    bool wrote = it->result != ITEM_UNCHANGED && !w->dry_run;
    int status = it->result == ITEM_CREATED ? 201 : 200;
    if (wrote && w->written && stored_version(w, it) && !w->table &&
        api_respond_stored(w->req, status, w->ops[0].value, revision))
        return;
    snprintf(rv, sizeof(rv), "%llu", (unsigned long long)(wrote ? revision : it->before_rev));
    if (wrote || it->before_rev)
        json_object_set_new(json_object_child(it->after, "metadata"), "resourceVersion",
                            json_string(rv));
    if (!stored_version(w, it)) {
        char av[160];
        snprintf(av, sizeof(av), "%s/%.*s", it->kind->group, SLICE(w->version));
        json_object_set_new(it->after, "apiVersion", json_string(av));
    }
    api_respond_object(&c, status, it->after);
}

static struct write *write_of_call(const struct api_call *c)
{
    struct write *w = write_new(c->srv, c->req);
    if (!w)
        return NULL;
    w->unknown_fields = c->unknown_fields;
    w->dry_run = c->dry_run;
    w->table = c->table;
    w->version = arena_dup(&w->arena, c->version);
    w->done = done_object;
    return w;
}

/* Its names are the request's: without a request nobody looks at them. */
static struct item *item_of_call(struct write *w, const struct api_call *c, enum item_verb verb)
{
    struct item *it = write_item(w);
    *it = (struct item){
        .verb = verb,
        .sub = c->sub,
        .kind = c->kind,
        .ns = c->kind->namespaced ? c->ns : S(""),
        .name = c->name,
    };
    return it;
}

/* The body as an object of the call's kind. */
static json_t *call_body(struct api_call *c, struct err *err)
{
    struct slice body = c->req->body;
    json_t *o = k8s_proto_is(body) ? k8s_proto_parse(body, err) : json_parse(body, err);
    if (!o)
        return NULL;
    const struct kind *k = kind_of_object(o, err);
    if (k && k != c->kind)
        err_set(err, ERR_INVALID, "the body is a %s, the path is of %s", k->kind, c->kind->plural);
    if (k == c->kind)
        return o;
    json_decref(o);
    return NULL;
}

static bool body_revision(const json_t *o, reg_rev *ret, struct err *err)
{
    struct slice rv = json_str(o, "metadata.resourceVersion");
    *ret = 0;
    if (rv.n && !slice_u64(rv, ret))
        return err_set(err, ERR_INVALID, "metadata.resourceVersion: \"%.*s\" is no revision",
                       SLICE(rv));
    return true;
}

/* metadata.generateName: a name that nobody has, five letters behind it. */
static struct slice generated_name(struct api_call *c, const json_t *o)
{
    static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";
    char tail[6] = {0};
    for (size_t i = 0; i < 5; i++)
        tail[i] = letters[env_random_below(c->srv->env, sizeof(letters) - 1)];
    struct slice prefix = json_str(o, "metadata.generateName");
    return prefix.n ? arena_printf(c->req->arena, "%.*s%s", SLICE(prefix), tail) : S("");
}

void api_write_create(struct api_call *c)
{
    struct err err = {0};
    json_t *o = call_body(c, &err);
    if (!o) {
        api_respond_err(c->req, c, &err);
        return;
    }
    c->name = arena_dup(c->req->arena, json_str(o, "metadata.name"));
    if (!c->name.n)
        c->name = generated_name(c, o);
    if (c->kind->namespaced && !c->ns.n)
        c->ns = arena_dup(c->req->arena, json_str(o, "metadata.namespace"));
    if (c->kind->namespaced && !c->ns.n)
        c->ns = S("default");
    if (!c->name.n) {
        json_decref(o);
        err_set(&err, ERR_INVALID, "metadata.name: is required (or metadata.generateName)");
        api_respond_err(c->req, c, &err);
        return;
    }
    struct write *w = write_of_call(c);
    if (!w) {
        json_decref(o);
        return;
    }
    item_of_call(w, c, ITEM_CREATE)->input = o;
    write_start(w);
}

void api_write_update(struct api_call *c)
{
    struct err err = {0};
    reg_rev expected = 0;
    json_t *o = call_body(c, &err);
    if (!o || !body_revision(o, &expected, &err)) {
        json_decref(o);
        api_respond_err(c->req, c, &err);
        return;
    }
    struct write *w = write_of_call(c);
    if (!w) {
        json_decref(o);
        return;
    }
    struct item *it = item_of_call(w, c, ITEM_UPDATE);
    it->input = o;
    it->expected = expected;
    write_start(w);
}

/* Kubernetes answers 415 for a kind of patch that it does not take. */
static void refuse_media_type(struct api_call *c)
{
    struct err err = {0};
    err_set(&err, ERR_UNSUPPORTED,
            "patch of type %.*s: use merge-patch+json, json-patch+json or, for Services, "
            "EndpointSlices and "
            "Namespaces, strategic-merge-patch+json",
            SLICE(headers_value(c->req->headers, HDR_CONTENT_TYPE)));
    json_t *status = api_status(c, &err);
    json_object_set_new(status, "code", json_integer(415));
    json_object_set_new(status, "reason", json_string("UnsupportedMediaType"));
    api_respond_json(c->req, 415, status);
    json_decref(status);
}

static bool patch_type(const struct api_call *c, enum item_patch *ret)
{
    static const struct {
        struct slice type;
        enum item_patch patch;
    } rows[] = {
        {S_INIT("application/merge-patch+json"), ITEM_PATCH_MERGE},
        {S_INIT("application/json-patch+json"), ITEM_PATCH_JSON},
        {S_INIT("application/strategic-merge-patch+json"), ITEM_PATCH_STRATEGIC},
    };
    struct slice type = headers_value(c->req->headers, HDR_CONTENT_TYPE), rest;
    slice_cut(type, ';', &type, &rest);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (slice_eq_nocase(slice_trim(type), rows[i].type)) {
            *ret = rows[i].patch;
            return *ret != ITEM_PATCH_STRATEGIC || !c->kind->group[0] ||
                   slice_ends(slice_of(c->kind->group), S("k8s.io"));
        }
    return false;
}

void api_write_patch(struct api_call *c)
{
    struct err err = {0};
    reg_rev expected = 0;
    enum item_patch type;
    if (!patch_type(c, &type)) {
        refuse_media_type(c);
        return;
    }
    json_t *patch = json_parse(c->req->body, &err);
    if (!patch || (type != ITEM_PATCH_JSON && !body_revision(patch, &expected, &err))) {
        json_decref(patch);
        api_respond_err(c->req, c, &err);
        return;
    }
    struct write *w = write_of_call(c);
    if (!w) {
        json_decref(patch);
        return;
    }
    struct item *it = item_of_call(w, c, ITEM_PATCH);
    it->patch = type;
    it->input = patch;
    it->expected = expected;
    write_start(w);
}

/* Deletion. */

/* DeleteOptions in the body: dryRun and a precondition. */
static bool delete_options(struct api_call *c, struct write *w, struct item *it, struct err *err)
{
    if (!c->req->body.n)
        return true;
    json_t *o = json_parse(c->req->body, err);
    if (!o)
        return false;
    struct slice rv = json_str(o, "preconditions.resourceVersion");
    if (it)
        it->uid = arena_dup(c->req->arena, json_str(o, "preconditions.uid"));
    w->dry_run = w->dry_run || slice_eq(json_str(o, "dryRun[0]"), S("All"));
    bool ok = !rv.n || !it || slice_u64(rv, &it->expected);
    json_decref(o);
    return ok ? true : err_set(err, ERR_INVALID, "preconditions.resourceVersion: no revision");
}

static void delete_refuse(struct api_call *c, struct write *w, const struct err *err)
{
    api_respond_err(c->req, c, err);
    write_fini(w);
}

void api_write_delete(struct api_call *c)
{
    struct err err = {0};
    struct write *w = write_of_call(c);
    if (!w)
        return;
    w->deletion = c;
    if (delete_options(c, w, item_of_call(w, c, ITEM_DELETE), &err))
        write_start(w);
    else
        delete_refuse(c, w, &err);
}

void api_delete_collection(struct api_call *c)
{
    struct err err = {0};
    struct write *w = write_of_call(c);
    if (!w)
        return;
    w->deletion = c;
    if (delete_options(c, w, NULL, &err))
        write_start(w);
    else
        delete_refuse(c, w, &err);
}
