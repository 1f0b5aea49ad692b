/* What there is: health, version. */
#include "registry/apiserver/internal.h"

static void respond_health(struct apiserver *s, struct http_request *req, bool ready)
{
    struct reg_status st;
    reg_node_status(s->opt.node, &st);
    if (!ready || st.quorum)
        http_respond(req, 200, S("text/plain"), S("ok\n"));
    else
        http_respond(req, 503, S("text/plain"),
                     S("no quorum: reads and traffic go on, writes are refused\n"));
}

/* A version that kubectl can compare; the rest of the sentence is ours. */
static void respond_version(struct http_request *req)
{
    json_t *v =
        json_pack("{s:s,s:s,s:s,s:s,s:s}", "major", "1", "minor", "32", "gitVersion",
                  "v1.32.0+weft-" WEFT_VERSION, "platform", "linux", "weftVersion", WEFT_VERSION);
    api_respond_json(req, 200, v);
    json_decref(v);
}

bool api_discovery(struct apiserver *s, struct http_request *req)
{
    if (req->method_id != HTTP_GET)
        return false;
    if (slice_eq(req->path, S("/healthz")) || slice_eq(req->path, S("/livez")))
        respond_health(s, req, false);
    else if (slice_eq(req->path, S("/readyz")))
        respond_health(s, req, true);
    else if (slice_eq(req->path, S("/version")))
        respond_version(req);
    else
        return false;
    return true;
}
