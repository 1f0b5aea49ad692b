/* How fresh a read must be: consistency=local|bounded|linearizable.
 *
 *   local         what this node has
 *   bounded       the same, when it is known to be no older than maxStalenessMs; else linearizable
 *   linearizable  everything that was committed before the question came (a read index)
 */
#include <inttypes.h>

#include "base/core/mutant.h"
#include "registry/apiserver/internal.h"

static const struct slice names[] = {
    [API_LOCAL] = S_INIT("local"),
    [API_BOUNDED] = S_INIT("bounded"),
    [API_LINEARIZABLE] = S_INIT("linearizable"),
};

static bool level_parse(struct slice text, enum api_consistency *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (slice_eq(text, names[i])) {
            *ret = (enum api_consistency)i;
            return true;
        }
    return false;
}

bool api_consistency_parse(struct http_request *req, struct api_freshness *ret, struct err *err)
{
    struct api_freshness f = {0};
    struct slice level = S(""), bound = S("");
    uint64_t ms = 0;
    bool level_given = uri_query_get(req->query, S("consistency"), req->arena, &level);
    bool bound_given = uri_query_get(req->query, S("maxStalenessMs"), req->arena, &bound);
    if (level_given && !level_parse(level, &f.level))
        return err_set(err, ERR_INVALID, "consistency=%.*s: local, bounded or linearizable",
                       SLICE(level));
    if (bound_given && f.level != API_BOUNDED)
        return err_set(err, ERR_INVALID, "maxStalenessMs: goes with consistency=bounded");
    if (bound_given && (!slice_u64(bound, &ms) || ms == 0 || ms > API_STALENESS_MS_MAX))
        return err_set(err, ERR_INVALID, "maxStalenessMs=%.*s: a number from 1 to %d", SLICE(bound),
                       API_STALENESS_MS_MAX);
    if (f.level == API_BOUNDED && !bound_given)
        return err_set(err, ERR_INVALID,
                       "consistency=bounded: needs maxStalenessMs, the age that is allowed");
    if (level_given && req->method_id != HTTP_GET && req->method_id != HTTP_HEAD)
        return err_set(err, ERR_INVALID,
                       "consistency: is for reads; a write goes through the leader anyway");
    f.bound = (wf_ms)ms;
    *ret = f;
    return true;
}

wf_ms api_staleness(const struct apiserver *s, const struct reg_status *st)
{
    wf_ms age = env_now(s->env) - st->fresh_at;
    return st->fresh_at ? age > 0 ? age : 0 : -1;
}

/* An election is no news to a reader; what is older than API_STALE_WARN_MS is. */
static void warn_without_leader(struct apiserver *s, struct http_request *req,
                                const struct reg_status *st, wf_ms age)
{
    const char *self = reg_member_name(st, reg_node_id(s->opt.node));
    if (st->quorum || (age >= 0 && age < API_STALE_WARN_MS))
        return;
    api_warn(req,
             age < 0 ? arena_printf(req->arena,
                                    "no leader: this is the state that %s has; it may be old", self)
                     : arena_printf(req->arena,
                                    "no leader: this is the state that %s has; it was up to date "
                                    "%" PRId64 " s ago",
                                    self, age / 1000));
}

void api_say_freshness(struct apiserver *s, struct http_request *req, reg_rev revision)
{
    struct reg_status st;
    reg_node_status(s->opt.node, &st);
    wf_ms age = api_staleness(s, &st);
    headers_add_name(&req->response, req->arena, S("weft-revision"),
                     arena_printf(req->arena, "%" PRIu64, revision));
    headers_add_name(&req->response, req->arena, S("weft-leader"),
                     st.quorum ? arena_dup(req->arena, slice_of(reg_member_name(&st, st.leader_id)))
                               : S("none"));
    headers_add_name(&req->response, req->arena, S("weft-staleness-ms"),
                     age < 0 ? S("unknown") : arena_printf(req->arena, "%" PRId64, age));
    warn_without_leader(s, req, &st, age);
}

/* A question to the leader. */

struct api_index {
    struct list_node node;
    struct apiserver *srv;    /* NULL: the server is gone */
    struct http_request *req; /* NULL: the client is gone */
    void (*fn)(void *ctx);
    void *ctx;
    struct api_freshness want;
    wf_ms age; /* when it was asked; -1 = unknown */
    struct reg_write reg;
};

static void index_leave(struct api_index *x)
{
    if (!x->srv)
        return;
    list_remove(&x->node);
    x->srv->index_count--;
    x->srv = NULL;
}

static void index_gone(struct http_request *req)
{
    struct api_index *x = req->user;
    x->req = NULL;
}

void api_indexes_leave(struct apiserver *s)
{
    LIST_EACH (&s->indexes, n)
        index_leave(container_of(n, struct api_index, node));
}

static void index_refuse(struct api_index *x, struct err *err)
{
    if (x->want.level == API_BOUNDED && x->age >= 0)
        err_wrap(err, "this node's state may be %" PRId64 " ms old, %" PRId64 " are allowed",
                 x->age, x->want.bound);
    else
        err_wrap(err, "consistency=%.*s cannot be had now (consistency=local is this node's state)",
                 SLICE(names[x->want.level]));
    api_respond_err(x->req, NULL, err);
}

static void index_answered(struct reg_write *w)
{
    struct api_index *x = container_of(w, struct api_index, reg);
    if (x->srv && x->req) {
        x->req->on_close = NULL;
        x->req->user = NULL;
        if (w->err.code)
            index_refuse(x, &w->err);
        else
            x->fn(x->ctx);
    }
    index_leave(x);
    mem_free(x);
}

static void index_ask(struct apiserver *s, struct http_request *req, struct api_index *take_x)
{
    struct api_index *x = take_x;
    x->reg =
        (struct reg_write){.timeout = s->opt.write_timeout, .env = s->env, .fn = index_answered};
    req->user = x;
    req->on_close = index_gone;
    list_push(&s->indexes, &x->node);
    s->index_count++;
    reg_read_index(s->opt.node, &x->reg);
}

void api_when_fresh(struct apiserver *s, struct http_request *req, const struct api_freshness *want,
                    void (*fn)(void *ctx), void *ctx)
{
    struct reg_status st;
    struct err err = {0};
    reg_node_status(s->opt.node, &st);
    wf_ms age = api_staleness(s, &st);
    if (want->level == API_LOCAL || (want->level == API_LINEARIZABLE && MUTANT(READ_HERE)) ||
        (want->level == API_BOUNDED && age >= 0 && (age <= want->bound || MUTANT(AGE_IGNORED)))) {
        fn(ctx);
        return;
    }
    if (s->index_count >= API_INDEXES_MAX) {
        metric_add(s->cells.reads_refused, 1);
        err_set(&err, ERR_LIMIT,
                "%d reads wait for the leader on this node: try again or another node",
                API_INDEXES_MAX);
        api_respond_err(req, NULL, &err);
        return;
    }
    struct api_index *x = MEM_NEW(struct api_index);
    *x = (struct api_index){.srv = s, .req = req, .fn = fn, .ctx = ctx, .want = *want, .age = age};
    index_ask(s, req, x);
}
