/* EDS: load assignments, by locality. */
#include "pilot/build_internal.h"

#include <stdlib.h>
#include <string.h>

/* "name;namespace;canonical name;canonical revision;cluster": what a peer reports for its
 * telemetry. */
static struct slice workload_text(struct build *b, const struct model_endpoint *e, struct arena *a)
{
    struct slice app = jr_pairs_get(e->labels, S("service.istio.io/canonical-name"));
    struct slice version = jr_pairs_get(e->labels, S("service.istio.io/canonical-revision"));
    app = app.n ? app : jr_pairs_get(e->labels, S("app.kubernetes.io/name"));
    app = app.n ? app : jr_pairs_get(e->labels, S("app"));
    app = app.n ? app : e->workload;
    version = version.n ? version : jr_pairs_get(e->labels, S("app.kubernetes.io/version"));
    version = version.n ? version : jr_pairs_get(e->labels, S("version"));
    version = version.n ? version : S("latest");
    return arena_printf(a, "%.*s;%.*s;%.*s;%.*s;%.*s", SLICE(e->workload), SLICE(e->ns), SLICE(app),
                        SLICE(version), SLICE(b->cluster_id));
}

static ENDPOINT(LbEndpoint) *endpoint_make(struct build *b, const struct model_endpoint *e,
                                           enum flavor flavor, struct arena *a)
{
    ENDPOINT(LbEndpoint) *out = NEW_ENDPOINT(a, lb_endpoint);
    out->host_identifier_case = ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT;
    out->endpoint = NEW_ENDPOINT(a, endpoint);
    out->endpoint->address = pbx_address(a, e->address, e->port);
    if (e->weight > 1)
        out->load_balancing_weight = wkt_u32(a, e->weight);
    if (flavor == FLAVOR_GRPC)
        return out;
    Google__Protobuf__Struct *istio = wkt_struct(a);
    wkt_struct_set_string(a, istio, S("workload"), workload_text(b, e, a));
    out->metadata = NEW_CORE(a, metadata);
    pbx_metadata_set(a, out->metadata, S("istio"), istio);
    return out;
}

static CORE(Locality) *locality_make(const struct model_locality *l, struct arena *a)
{
    CORE(Locality) *out = NEW_CORE(a, locality);
    out->region = pb_str(a, l->region);
    out->zone = pb_str(a, l->zone);
    out->sub_zone = pb_str(a, l->subzone);
    return out;
}

/* How far: 0 = the same place … 3 = another region. */
static uint32_t distance(const struct model_locality *a, const struct model_locality *b)
{
    if (!slice_eq(a->region, b->region))
        return 3;
    if (!slice_eq(a->zone, b->zone))
        return 2;
    return slice_eq(a->subzone, b->subzone) ? 0 : 1;
}

/* Nearer places first; priorities without gaps, which gRPC and Envoy ask for. */
static void set_priorities(ENDPOINT(ClusterLoadAssignment) *cla, const struct model_locality *near)
{
    uint32_t rank[4] = {0}, next = 0;
    bool used[4] = {false};
    for (size_t i = 0; i < cla->n_endpoints; i++) {
        const CORE(Locality) *l = cla->endpoints[i]->locality;
        struct model_locality place = {pb_slice(l->region), pb_slice(l->zone),
                                       pb_slice(l->sub_zone)};
        cla->endpoints[i]->priority = distance(near, &place);
        used[cla->endpoints[i]->priority] = true;
    }
    for (size_t d = 0; d < 4; d++)
        rank[d] = used[d] ? next++ : 0;
    for (size_t i = 0; i < cla->n_endpoints; i++)
        cla->endpoints[i]->priority = rank[cla->endpoints[i]->priority];
}

/* A DNS service without endpoints: its own host is the name. */
static void own_name(const struct model_service *s, const struct model_port *port,
                     struct model_endpoints *out)
{
    struct slice name = s->external_name.n ? s->external_name : s->host;
    if (s->resolution == RESOLUTION_ENDPOINTS || out->n > 0 || slice_starts(name, S("*")))
        return;
    *vec_push(out) = (struct model_endpoint){.address = name,
                                             .port = port->target ? port->target : port->number,
                                             .weight = 1,
                                             .workload = s->name,
                                             .ns = s->ns,
                                             .object = s->object};
}

static void add_endpoints(struct build *b, ENDPOINT(ClusterLoadAssignment) *cla,
                          const struct model_endpoints *all, struct jr_pairs subset,
                          enum flavor flavor, struct arena *a, struct sources *sources)
{
    ENDPOINT(LocalityLbEndpoints) *group = NULL;
    const struct model_locality *at = NULL;
    uint64_t weight = 0;
    for (size_t i = 0; i < all->n; i++) {
        const struct model_endpoint *e = &all->p[i];
        if (!jr_pairs_select(subset, e->labels))
            continue;
        if (!at || model_locality_cmp(at, &e->locality) != 0) {
            at = &e->locality;
            weight = 0;
            group = NEW_ENDPOINT(a, locality_lb_endpoints);
            group->locality = locality_make(at, a);
            group->load_balancing_weight = wkt_u32(a, 0);
            PB_PUSH(a, cla, endpoints, group);
        }
        PB_PUSH(a, group, lb_endpoints, endpoint_make(b, e, flavor, a));
        weight += e->weight;
        group->load_balancing_weight->value = weight > UINT32_MAX ? UINT32_MAX : (uint32_t)weight;
        sources_add(sources, e->object->key);
    }
}

ENDPOINT(ClusterLoadAssignment) *
assignment_make(struct build *b, const struct model_service *s, const struct model_port *port,
                struct jr_pairs subset, struct slice name, const struct model_locality *near,
                bool failover, enum flavor flavor, struct arena *a, struct sources *sources)
{
    ENDPOINT(ClusterLoadAssignment) *cla = NEW_ENDPOINT(a, cluster_load_assignment);
    struct model_endpoints all = {0};
    model_endpoints(&b->model, s, port, a, &all);
    own_name(s, port, &all);
    /* Of several names gRPC takes none, Envoy's LOGICAL_DNS the first alone. */
    if (s->resolution == RESOLUTION_DNS_ONE ||
        (s->resolution == RESOLUTION_DNS && flavor == FLAVOR_GRPC))
        all.n = all.n ? 1 : 0;
    cla->cluster_name = pb_str(a, name);
    add_endpoints(b, cla, &all, subset, flavor, a, sources);
    if (failover)
        set_priorities(cla, near);
    vec_fini(&all);
    return cla;
}

/* Istio: failover by locality only where ejected endpoints can be told from others. */
static bool fails_over(const struct rules *r, const struct rule_subset *subset, uint32_t port)
{
    const json_t *lb = rules_section(r, subset, port, "loadBalancer");
    return rules_section(r, subset, port, "outlierDetection") &&
           !json_is_false(jr_path(lb, "localityLbSetting", "enabled", NULL));
}

bool unit_endpoints_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct unit_cell *u = (struct unit_cell *)cell;
    struct arena a = {0};
    struct unit_out out = {0};
    const struct model_service *s = unit_service(b, u);
    struct rules rules = rules_read(b, u->rule, &a);
    for (size_t i = 0; s && s->resolution == RESOLUTION_ENDPOINTS && i < s->port_count; i++) {
        const struct model_port *port = &s->ports[i];
        for (size_t k = 0; port->protocol != PROTOCOL_UDP && k <= rules.subset_count; k++) {
            const struct rule_subset *subset = k ? &rules.subsets[k - 1] : NULL;
            struct sources sources = {0};
            struct slice name = cluster_name(&a, S("outbound"), port->number,
                                             subset ? subset->name : (struct slice){0}, s->host);
            sources_add(&sources, u->service);
            if (subset)
                sources_add(&sources, subset->object->key);
            ENDPOINT(ClusterLoadAssignment) *cla = assignment_make(
                b, s, port, subset ? subset->labels : (struct jr_pairs){0}, name, &u->locality,
                fails_over(&rules, subset, port->number), u->flavor, &a, &sources);
            unit_add(b, u, &out, XDS_EDS, name, &cla->base, &sources, (struct slice){0});
            vec_fini(&sources);
        }
    }
    arena_fini(&a);
    return unit_end(u, &out);
}
