/* VirtualService, DestinationRule, Gateway, Sidecar: where they are found. What they say is read
 * from their JSON by the compiler. */
#include "pilot/model/model.h"

#include "base/core/hash.h"
#include "pilot/model/model_internal.h"

static void index_routes_of_gateways(struct model_object *o, struct model_entries *e, uint64_t sign,
                                     bool *ret_mesh)
{
    const json_t *gateways = jr_get(o->body->spec, "gateways");
    *ret_mesh = jr_len(gateways) == 0;
    JR_EACH (gateways, i, v) {
        struct slice name = json_slice(v);
        if (slice_eq(name, S("mesh")))
            *ret_mesh = true;
        else if (slice_find(name, '/') != SIZE_MAX)
            model_entry_add(e, MODEL_GATEWAY_ROUTES, name, sign);
        else
            model_entry_add(e, MODEL_GATEWAY_ROUTES,
                            arena_printf(e->arena, "%.*s/%.*s", SLICE(o->ns), SLICE(name)), sign);
    }
}

/* Does any match look at the caller's labels? */
static bool selects_source(const json_t *spec)
{
    static const char *const lists[] = {"http", "tcp", "tls"};
    for (size_t k = 0; k < ARRAY_LEN(lists); k++)
        JR_EACH (jr_get(spec, lists[k]), i, route)
            JR_EACH (jr_get(route, "match"), j, match)
                if (json_object_size(jr_get(match, "sourceLabels")))
                    return true;
    return false;
}

static void index_virtual_service(struct model_object *o, struct model_entries *e)
{
    const json_t *hosts = jr_get(o->body->spec, "hosts");
    uint64_t sign = jr_hash(o->body->spec) ^ hash_u64(o->create_rev);
    bool mesh;
    index_routes_of_gateways(o, e, sign, &mesh);
    if (selects_source(o->body->spec))
        model_entry_add(e, MODEL_SELECTORS, S(""), sign);
    if (!mesh)
        return;
    JR_EACH (hosts, i, v)
        model_entry_add(e, MODEL_ROUTE_HOST, model_host_resolve(json_slice(v), o->ns, e->arena),
                        sign);
    model_entry_add(e, MODEL_ROUTES, S(""),
                    jr_hash(hosts) ^ hash_u64(jr_hash(o->body->export_to)) ^
                        hash_u64(o->create_rev));
}

/* What proxies are not told yet: said once, on the object. */

static void note_tls(const json_t *policy, struct err *err)
{
    struct slice mode = jr_str(jr_get(policy, "tls"), "mode");
    if (mode.n && !slice_eq(mode, S("DISABLE")) && err->code == ERR_NONE)
        err_set(err, ERR_UNSUPPORTED,
                "trafficPolicy.tls.mode %.*s is not in effect: proxies send plain text",
                SLICE(mode));
}

static void note_policy(const json_t *policy, struct err *err)
{
    note_tls(policy, err);
    JR_EACH (jr_get(policy, "portLevelSettings"), i, v) {
        note_tls(v, err);
    }
}

static void note_destination_rule(const struct model_object *o, struct err *err)
{
    note_policy(jr_get(o->body->spec, "trafficPolicy"), err);
    JR_EACH (jr_get(o->body->spec, "subsets"), i, v) {
        note_policy(jr_get(v, "trafficPolicy"), err);
    }
}

static void note_gateway(const struct model_object *o, struct err *err)
{
    JR_EACH (jr_get(o->body->spec, "servers"), i, v) {
        struct slice credential = jr_str(jr_get(v, "tls"), "credentialName");
        if (credential.n && err->code == ERR_NONE)
            err_set(err, ERR_UNSUPPORTED,
                    "servers[%zu].tls.credentialName %.*s: secrets are not served, the "
                    "server is left out",
                    i, SLICE(credential));
    }
}

/* Indexes. */

static void index_destination_rule(struct model_object *o, struct model_entries *e)
{
    uint64_t sign = jr_hash(o->body->spec) ^ hash_u64(o->create_rev);
    struct slice host = model_host_resolve(jr_str(o->body->spec, "host"), o->ns, e->arena);
    model_entry_add(e, MODEL_RULE_HOST, host, sign);
    if (json_object_size(jr_path(o->body->spec, "workloadSelector", "matchLabels", NULL)))
        model_entry_add(e, MODEL_SELECTORS, S(""), sign);
}

bool model_parse_rule(struct model_object *o, struct model_entries *e, struct err *err)
{
    uint64_t sign = jr_hash(o->body->spec) ^ hash_u64(o->create_rev);
    if (!json_is_object(o->body->spec))
        return err_set(err, ERR_INVALID, "spec is missing");
    switch (o->kind) {
    case KIND_VIRTUAL_SERVICE:
        index_virtual_service(o, e);
        break;
    case KIND_DESTINATION_RULE:
        index_destination_rule(o, e);
        note_destination_rule(o, err);
        break;
    case KIND_GATEWAY:
        model_entry_add(e, MODEL_GATEWAYS, S(""), sign);
        note_gateway(o, err);
        break;
    case KIND_SIDECAR:
        model_entry_add(e, MODEL_SIDECARS, o->ns, sign);
        break;
    default:
        return err_set(err, ERR_INTERNAL, "no rule");
    }
    return true;
}
