/* From a request's path and query to a call on objects. */
#include "registry/apiserver/internal.h"

#include <stdlib.h>

#define PATH_PARTS_MAX 10

/* /api/v1/namespaces/default/services/reviews/status -> its parts, decoded. */
static size_t path_split(struct http_request *req, struct slice *parts)
{
    struct slice rest = slice_skip(req->path, 1), part;
    size_t n = 0;
    while (rest.n && n < PATH_PARTS_MAX) {
        slice_cut(rest, '/', &part, &rest);
        if (!uri_decode(part, req->arena, &parts[n++]))
            return 0;
    }
    return rest.n ? 0 : n;
}

/* What stands behind group and version: [namespaces/NS/]RESOURCE[/NAME[/SUB]]. A namespace itself
 * is namespaces/NAME. */
static bool call_target(struct api_call *c, struct slice group, struct slice version,
                        const struct slice *p, size_t n)
{
    size_t i = 0;
    if (n >= 3 && slice_eq(p[0], S("namespaces")) && !slice_eq(p[2], S("status")) &&
        !slice_eq(p[2], S("finalize"))) {
        c->ns = p[1];
        i = 2;
    }
    if (i >= n)
        return false;
    c->version = version;
    c->kind = kind_find(group, version, p[i]);
    if (!c->kind || (c->ns.n && !c->kind->namespaced))
        return false;
    if (i + 1 < n)
        c->name = p[i + 1];
    if (i + 2 < n) {
        if (!slice_eq(p[i + 2], S("status")) || !c->kind->has_status || i + 3 < n)
            return false;
        c->sub = API_SUB_STATUS;
    }
    return true;
}

static bool call_path(struct api_call *c)
{
    struct slice p[PATH_PARTS_MAX];
    size_t n = path_split(c->req, p);
    if (n >= 3 && slice_eq(p[0], S("api")))
        return call_target(c, S(""), p[1], p + 2, n - 2);
    if (n >= 4 && slice_eq(p[0], S("apis")))
        return call_target(c, p[1], p[2], p + 3, n - 3);
    return false;
}

static struct slice query(const struct api_call *c, struct slice name)
{
    struct slice v = {0};
    uri_query_get(c->req->query, name, c->req->arena, &v);
    return v;
}

static bool flag(const struct api_call *c, struct slice name)
{
    struct slice v = query(c, name);
    return slice_eq(v, S("true")) || slice_eq(v, S("1"));
}

static bool number(const struct api_call *c, struct slice name, uint64_t *ret, struct err *err)
{
    struct slice v = query(c, name);
    if (v.n && !slice_u64(v, ret))
        return err_set(err, ERR_INVALID, "%.*s=%.*s: must be a number", SLICE(name), SLICE(v));
    return true;
}

static bool call_field_validation(struct api_call *c, struct err *err)
{
    struct slice v = query(c, S("fieldValidation"));
    c->unknown_fields = KIND_UNKNOWN_WARN;
    if (slice_eq(v, S("Strict")))
        c->unknown_fields = KIND_UNKNOWN_REFUSE;
    else if (slice_eq(v, S("Ignore")))
        c->unknown_fields = KIND_UNKNOWN_IGNORE;
    else if (v.n && !slice_eq(v, S("Warn")))
        return err_set(err, ERR_INVALID, "fieldValidation=%.*s: Ignore, Warn or Strict", SLICE(v));
    return true;
}

/* The rules of Kubernetes' ListOptions: sendInitialEvents belongs to a watch and goes with
 * resourceVersionMatch=NotOlderThan; a match belongs to a resourceVersion or to sendInitialEvents.
 */
static bool call_match(struct api_call *c, struct err *err)
{
    struct slice match = query(c, S("resourceVersionMatch")),
                 initial = query(c, S("sendInitialEvents"));
    c->initial_events = !initial.n                        ? API_INITIAL_UNSAID
                        : flag(c, S("sendInitialEvents")) ? API_INITIAL_YES
                                                          : API_INITIAL_NO;
    c->match = slice_eq(match, S("NotOlderThan")) ? API_MATCH_NOT_OLDER
               : slice_eq(match, S("Exact"))      ? API_MATCH_EXACT
                                                  : API_MATCH_UNSAID;
    if (match.n && c->match == API_MATCH_UNSAID)
        return err_set(err, ERR_INVALID, "resourceVersionMatch=%.*s: NotOlderThan or Exact",
                       SLICE(match));
    if (initial.n && !c->watch)
        return err_set(err, ERR_INVALID, "sendInitialEvents: is for watches only");
    if (initial.n && c->match != API_MATCH_NOT_OLDER)
        return err_set(err, ERR_INVALID,
                       "sendInitialEvents: needs resourceVersionMatch=NotOlderThan");
    if (match.n && c->watch && !initial.n)
        return err_set(err, ERR_INVALID,
                       "resourceVersionMatch: a watch takes it with sendInitialEvents only");
    if (match.n && !c->watch && !c->at_given)
        return err_set(err, ERR_INVALID, "resourceVersionMatch: needs a resourceVersion");
    if (c->match == API_MATCH_EXACT && !c->at)
        return err_set(err, ERR_INVALID,
                       "resourceVersionMatch=Exact: needs a resourceVersion above 0");
    return true;
}

/* A watch of one object is a watch of the collection with its name selected. */
static bool call_selectors(struct api_call *c, struct err *err)
{
    struct slice name =
        c->watch && c->name.n ? arena_concat(c->req->arena, S("metadata.name="), c->name) : S("");
    return selector_parse_labels(&c->selector, query(c, S("labelSelector")), c->req->arena, err) &&
           selector_parse_fields(&c->selector, query(c, S("fieldSelector")), c->req->arena, err) &&
           (!name.n || selector_parse_fields(&c->selector, name, c->req->arena, err));
}

static bool call_query(struct api_call *c, struct err *err)
{
    uint64_t seconds = 0;
    struct slice dry = query(c, S("dryRun"));
    if (dry.n && !slice_eq(dry, S("All")))
        return err_set(err, ERR_INVALID, "dryRun=%.*s: only All is known", SLICE(dry));
    c->dry_run = dry.n > 0;
    c->watch = flag(c, S("watch")) && c->req->method_id == HTTP_GET;
    c->bookmarks = flag(c, S("allowWatchBookmarks"));
    c->cont = query(c, S("continue"));
    c->at_given = query(c, S("resourceVersion")).n > 0;
    const struct header *accept = headers_get(c->req->headers, HDR_ACCEPT);
    c->table = accept && slice_contains(accept->value, S("as=Table")) &&
               slice_contains(accept->value, S("g=meta.k8s.io"));
    if (!number(c, S("resourceVersion"), &c->at, err) || !number(c, S("limit"), &c->limit, err) ||
        !number(c, S("timeoutSeconds"), &seconds, err) || !call_field_validation(c, err) ||
        !call_match(c, err) || !api_consistency_parse(c->req, &c->fresh, err))
        return false;
    if (c->watch && c->fresh.level != API_LOCAL)
        return err_set(err, ERR_INVALID,
                       "consistency: is for get and list; a watch delivers everything behind its "
                       "resourceVersion");
    c->timeout = seconds && seconds < 86400 ? (wf_ms)seconds * 1000 : 0;
    return call_selectors(c, err);
}

/* A node that begins, or rebuilds what its disk lost, knows nothing; that is not the same as that
 * there is nothing. */
static bool knows_nothing(struct api_call *c)
{
    struct reg_txn txn;
    struct err err = {0};
    if (!reg_txn_begin(c->srv->store, &txn, &err)) {
        api_respond_err(c->req, c, &err);
        return true;
    }
    bool nothing = txn.revision == 0;
    reg_txn_end(&txn);
    if (!nothing)
        return false;
    api_say_freshness(c->srv, c->req, 0);
    err_set(&err, ERR_UNAVAILABLE,
            "this node has no state yet: it waits for the cluster; ask another node, or again");
    api_respond_err(c->req, c, &err);
    return true;
}

static void read_fresh(void *ctx)
{
    struct api_call *c = ctx;
    if (knows_nothing(c))
        return;
    if (c->watch && c->initial_events == API_INITIAL_YES)
        api_when_applied(c, api_watch_open);
    else if (c->watch)
        api_watch_open(c);
    else if (c->name.n)
        api_when_applied(c, api_read_get);
    else
        api_when_applied(c, api_read_list);
}

static void call_read(struct api_call *c)
{
    api_when_fresh(c->srv, c->req, &c->fresh, read_fresh, c);
}

static void call_run(struct api_call *c)
{
    struct err err = {0};
    bool named = c->name.n > 0;
    switch (c->req->method_id) {
    case HTTP_GET:
    case HTTP_HEAD:
        call_read(c);
        return;
    case HTTP_POST:
        if (!named) {
            api_write_create(c);
            return;
        }
        break;
    case HTTP_PUT:
        if (named) {
            api_write_update(c);
            return;
        }
        break;
    case HTTP_PATCH:
        if (named) {
            api_write_patch(c);
            return;
        }
        break;
    case HTTP_DELETE:
        if (named && c->sub == API_SUB_NONE) {
            api_write_delete(c);
            return;
        }
        if (!named && c->kind->id != KIND_NAMESPACE) {
            api_delete_collection(c);
            return;
        }
        break;
    default:
        break;
    }
    err_set(&err, ERR_UNSUPPORTED, "%.*s is not for %s %s", SLICE(c->req->method), c->kind->plural,
            named ? "by name" : "as a collection");
    api_respond_err(c->req, c, &err);
}

void api_dispatch(struct apiserver *s, struct http_request *req)
{
    struct err err = {0};
    if (api_discovery(s, req) || api_mesh_request(s, req))
        return;
    struct api_call *c = ARENA_NEW(req->arena, struct api_call);
    c->srv = s;
    c->req = req;
    if (!call_path(c)) {
        err_set(&err, ERR_NOT_FOUND, "the server could not find the requested resource: %.*s",
                SLICE(req->path));
        api_respond_err(req, NULL, &err);
    } else if (!call_query(c, &err)) {
        api_respond_err(req, c, &err);
    } else {
        call_run(c);
    }
}
