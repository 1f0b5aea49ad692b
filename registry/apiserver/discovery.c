/* What there is: health, discovery, OpenAPI. */
#include "api/discovery.h"
#include "api/openapi.h"
#include "api/openapi2.h"
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

static void respond_openapi2(struct http_request *req)
{
    struct buf out = {0};
    struct slice type;
    const struct header *accept = headers_get(req->headers, HDR_ACCEPT);
    openapi2_write(openapi2_form(accept ? accept->value : S(""), &type), &out);
    http_respond(req, 200, type, buf_slice(&out));
    buf_fini(&out);
}

static bool respond_document(struct http_request *req)
{
    struct buf out = {0};
    const struct header *accept = headers_get(req->headers, HDR_ACCEPT);
    bool aggregated = accept && discovery_wants_aggregated(accept->value) &&
                      (slice_eq(req->path, S("/api")) || slice_eq(req->path, S("/apis")));
    bool there = slice_starts(req->path, S("/openapi/v3"))
                     ? openapi_write(req->path, &out)
                     : discovery_write(req->path, aggregated, NULL, 0, &out);
    if (there)
        http_respond(req, 200, aggregated ? S(DISCOVERY_AGGREGATED_TYPE) : S("application/json"),
                     buf_slice(&out));
    buf_fini(&out);
    return there;
}

bool api_discovery(struct apiserver *s, struct http_request *req)
{
    if (req->method_id != HTTP_GET)
        return false;
    if (slice_eq(req->path, S("/healthz")) || slice_eq(req->path, S("/livez")))
        respond_health(s, req, false);
    else if (slice_eq(req->path, S("/readyz")))
        respond_health(s, req, true);
    else if (slice_eq(req->path, S("/openapi/v2")))
        respond_openapi2(req);
    else
        return respond_document(req);
    return true;
}
