/* /openapi/v3/weft/v1: what is served beside Kubernetes' shape. */
#include "api/openapi.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/wire/json.h"

struct parameter {
    const char *name, *in, *type, *about;
};

#define PARAMETERS_MAX 8
struct endpoint {
    const char *path, *method, *about;
    struct parameter parameters[PARAMETERS_MAX];
    const char *body; /* its schema; NULL = none */
};

#define FRESHNESS                                                                                  \
    {"consistency", "query", "string", "local (the default), bounded or linearizable."},           \
    {                                                                                              \
        "maxStalenessMs", "query", "integer", "The age that bounded allows."                       \
    }
#define SCOPE                                                                                      \
    {"resource", "query", "string", "A kind: virtualservices.networking.istio.io."},               \
        {"namespace", "query", "string", "One namespace of it."},                                  \
    {                                                                                              \
        "name", "query", "string", "One object of it."                                             \
    }

#define MEMBER                                                                                     \
    {                                                                                              \
        "member", "path", "string", "Its name or id."                                              \
    }
#define TIMEOUT                                                                                    \
    {                                                                                              \
        "timeout", "query", "string", "How long to wait: 10s, at most 60s."                        \
    }

static const struct endpoint endpoints[] = {
    {"/weft/v1/status", "get", "The mesh on one screen, as this node sees it.", {{0}}, NULL},
    {"/weft/v1/members", "get", "The nodes of the control plane.", {{0}}, NULL},
    {"/weft/v1/members",
     "post",
     "A new node: from then on it is a standby. Answers with its id, the cluster and all members.",
     {TIMEOUT},
     "Member"},
    {"/weft/v1/members/{member}", "delete", "The node leaves.", {MEMBER, TIMEOUT}, NULL},
    {"/weft/v1/members/{member}/promote",
     "post",
     "A standby gets a vote, when it has caught up.",
     {MEMBER, TIMEOUT},
     NULL},
    {"/weft/v1/members/{member}/lead", "post", "Leadership goes to it.", {MEMBER, TIMEOUT}, NULL},
    {"/weft/v1/wait",
     "get",
     "Answers when every proxy has a revision; 504 with what is missing.",
     {{"revision", "query", "integer", "The newest, when it is not said."},
      {"timeout", "query", "string", "30s."}},
     NULL},
    {"/weft/v1/proxies", "get", "The proxies and how far each is.", {{0}}, NULL},
    {"/weft/v1/history",
     "get",
     "Changes: revision, time, by whom, object; the newest, in order.",
     {SCOPE,
      {"from", "query", "integer", "Those behind this revision."},
      {"to", "query", "integer", "Those up to this revision."},
      {"limit", "query", "integer", "The newest so many, 50 of at most 1000."},
      {"values", "query", "boolean", "With the objects as they became."},
      {"consistency", "query", "string", "local (the default), bounded or linearizable."}},
     NULL},
    {"/weft/v1/diff",
     "get",
     "What two revisions have different; 410 when one is not kept any more.",
     {SCOPE,
      {"from", "query", "integer", "The revision to compare with."},
      {"to", "query", "integer", "The newest, when it is not said."},
      FRESHNESS},
     NULL},
    {"/weft/v1/transaction",
     "post",
     "Many objects in one revision, or none.",
     {{"dryRun", "query", "string", "All: check, answer, change nothing."},
      {"fieldValidation", "query", "string", "Unknown fields: Ignore, Warn or Strict."},
      {"Idempotency-Key", "header", "string", "Sent again with the same key it is done once."}},
     "Transaction"},
};

static json_t *parameters_json(const struct endpoint *e)
{
    json_t *list = json_array();
    for (size_t i = 0; i < PARAMETERS_MAX && e->parameters[i].name; i++) {
        const struct parameter *p = &e->parameters[i];
        json_t *one = json_pack("{s:s,s:s,s:s,s:{s:s}}", "name", p->name, "in", p->in,
                                "description", p->about, "schema", "type", p->type);
        if (strcmp(p->in, "path") == 0)
            json_object_set_new(one, "required", json_true());
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *endpoint_json(const struct endpoint *e)
{
    json_t *op = json_pack("{s:s,s:o,s:{s:{s:s}}}", "description", e->about, "parameters",
                           parameters_json(e), "responses", "200", "description", "OK");
    if (e->body)
        json_object_set_new(op, "requestBody",
                            json_pack("{s:b,s:{s:{s:{s:s+}}}}", "required", 1, "content",
                                      "application/json", "schema", "$ref",
                                      "#/components/schemas/weft.v1.", e->body));
    return op;
}

/* A precondition is one of the three. */
static json_t *precondition_json(void)
{
    return json_pack("{s:s,s:{s:{s:s},s:{s:s},s:{s:s},s:{s:s}}}", "type", "object", "properties",
                     "resourceVersion", "type", "string", "absent", "type", "boolean", "exists",
                     "type", "boolean", "object", "type", "object");
}

static json_t *item_json(void)
{
    return json_pack("{s:s,s:[s,s],s:{s:{s:s,s:[s,s,s,s]},s:{s:s},s:{s:s}}}", "type", "object",
                     "required", "verb", "object", "properties", "verb", "type", "string", "enum",
                     "apply", "create", "update", "delete", "object", "type", "object",
                     "precondition", "$ref", "#/components/schemas/weft.v1.Precondition");
}

static json_t *member_json(void)
{
    return json_pack("{s:s,s:[s,s],s:{s:{s:s},s:{s:s},s:{s:s,s:s}}}", "type", "object", "required",
                     "name", "address", "properties", "name", "type", "string", "address", "type",
                     "string", "id", "type", "integer", "description",
                     "Never used before; drawn when it is not said.");
}

static json_t *schemas_json(void)
{
    return json_pack("{s:o,s:o,s:o,s:{s:s,s:[s],s:{s:{s:s,s:{s:s}},s:{s:s,s:{s:s}}}}}",
                     "weft.v1.Precondition", precondition_json(), "weft.v1.Item", item_json(),
                     "weft.v1.Member", member_json(), "weft.v1.Transaction", "type", "object",
                     "required", "items", "properties", "items", "type", "array", "items", "$ref",
                     "#/components/schemas/weft.v1.Item", "preconditions", "type", "array", "items",
                     "$ref", "#/components/schemas/weft.v1.Precondition");
}

bool openapi_weft_write(struct buf *out)
{
    json_t *paths = json_object();
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++)
        json_object_set_new(json_object_child(paths, endpoints[i].path), endpoints[i].method,
                            endpoint_json(&endpoints[i]));
    json_t *doc =
        json_pack("{s:s,s:{s:s,s:s},s:o,s:{s:o}}", "openapi", "3.0.0", "info", "title", "weft",
                  "version", WEFT_VERSION, "paths", paths, "components", "schemas", schemas_json());
    wf_assert(doc);
    bool ok = json_write(out, doc, NULL);
    json_decref(doc);
    return ok;
}
