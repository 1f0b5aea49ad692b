/* EDS: load assignments, by locality. */
#include "pilot/build_internal.h"

#include <arpa/inet.h>
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

/* Locality: failover. */

static struct model_locality place_of(const ENDPOINT(LocalityLbEndpoints) *group)
{
    const CORE(Locality) *l = group->locality;
    return (struct model_locality){pb_slice(l->region), pb_slice(l->zone), pb_slice(l->sub_zone)};
}

#define DISTANCES 5

/* How far: 0 = the same place … 3 = another region, 4 = a region that is not the one to fail over
 * to. */
static uint32_t distance(const struct assignment *want, const struct model_locality *place)
{
    const struct model_locality *near = want->near;
    if (!slice_eq(near->region, place->region)) {
        JR_EACH (jr_get(want->locality, "failover"), i, v) {
            if (slice_eq(jr_str(v, "from"), near->region))
                return slice_eq(jr_str(v, "to"), place->region) ? 3 : 4;
        }
        return 3;
    }
    if (!slice_eq(near->zone, place->zone))
        return 2;
    return slice_eq(near->subzone, place->subzone) ? 0 : 1;
}

/* Nearer places first; priorities without gaps, which gRPC and Envoy ask for. */
static void set_priorities(const struct assignment *want, ENDPOINT(ClusterLoadAssignment) *cla)
{
    uint32_t rank[DISTANCES] = {0}, next = 0;
    bool used[DISTANCES] = {false};
    for (size_t i = 0; i < cla->n_endpoints; i++) {
        struct model_locality place = place_of(cla->endpoints[i]);
        cla->endpoints[i]->priority = distance(want, &place);
        used[cla->endpoints[i]->priority] = true;
    }
    for (size_t d = 0; d < DISTANCES; d++)
        rank[d] = used[d] ? next++ : 0;
    for (size_t i = 0; i < cla->n_endpoints; i++)
        cla->endpoints[i]->priority = rank[cla->endpoints[i]->priority];
}

/* Locality: distribution. */

/* "region/zone/subzone", where "*" ends it and means anything. */
static bool pattern_matches(struct slice pattern, const struct model_locality *place)
{
    const struct slice parts[] = {place->region, place->zone, place->subzone};
    struct slice part;
    for (size_t i = 0; i < ARRAY_LEN(parts) && pattern.n; i++) {
        slice_cut(pattern, '/', &part, &pattern);
        if (slice_eq(part, S("*")))
            return true;
        if (!slice_eq(part, parts[i]))
            return false;
    }
    return true;
}

/* The shares of the caller's place: a map of patterns to per cents; NULL when none are given. */
static const json_t *distribution(const struct assignment *want)
{
    if (!want->near)
        return NULL;
    JR_EACH (jr_get(want->locality, "distribute"), i, v) {
        if (pattern_matches(jr_str(v, "from"), want->near))
            return jr_get(v, "to");
    }
    return NULL;
}

/* Units of a per cent: fine enough for a place of many endpoints, and a sum that fits 32 bits.
 * Whole numbers, because replicas on other machines must come to the same. */
#define SHARE_UNITS 10000

static uint32_t weight_of(const ENDPOINT(LocalityLbEndpoints) *group)
{
    return group->load_balancing_weight->value;
}

/* Places that a pattern names divide its per cents by their weights. */
static uint64_t part_of(const ENDPOINT(ClusterLoadAssignment) *cla, struct slice pattern,
                        uint64_t per_cent, size_t group)
{
    uint64_t sum = 0;
    struct model_locality place = place_of(cla->endpoints[group]);
    if (!pattern_matches(pattern, &place))
        return 0;
    for (size_t i = 0; i < cla->n_endpoints; i++) {
        place = place_of(cla->endpoints[i]);
        if (pattern_matches(pattern, &place))
            sum += weight_of(cla->endpoints[i]);
    }
    return per_cent * SHARE_UNITS * weight_of(cla->endpoints[group]) / sum;
}

static uint64_t share_of(const ENDPOINT(ClusterLoadAssignment) *cla, const json_t *to, size_t group)
{
    uint64_t share = 0;
    const char *pattern;
    json_t *v;
    json_object_foreach ((json_t *)to, pattern, v) {
        uint64_t per_cent =
            json_is_integer(v) && json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
        share += part_of(cla, slice_of(pattern), per_cent > 100 ? 100 : per_cent, group);
    }
    return share;
}

static uint32_t at_least_one(uint64_t v)
{
    return v < 1 ? 1 : v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

/* The endpoints of a place divide what it gets by their own weights: weights of endpoints are what
 * every proxy looks at; gRPC looks at the place's. */
static void give_share(ENDPOINT(LocalityLbEndpoints) *group, uint64_t share, struct arena *a)
{
    uint64_t total = weight_of(group);
    for (size_t i = 0; i < group->n_lb_endpoints; i++) {
        ENDPOINT(LbEndpoint) *e = group->lb_endpoints[i];
        uint64_t own = wkt_u32_or(e->load_balancing_weight, 1);
        e->load_balancing_weight = wkt_u32(a, at_least_one(share * own / total));
    }
    group->load_balancing_weight = wkt_u32(a, at_least_one(share));
}

/* Places without a share get nothing: they are left out. */
static void distribute(const json_t *to, ENDPOINT(ClusterLoadAssignment) *cla, struct arena *a)
{
    uint64_t *shares = ARENA_ARRAY(a, uint64_t, cla->n_endpoints + 1);
    size_t n = 0;
    for (size_t i = 0; i < cla->n_endpoints; i++)
        shares[i] = share_of(cla, to, i);
    for (size_t i = 0; i < cla->n_endpoints; i++) {
        if (shares[i] == 0)
            continue;
        give_share(cla->endpoints[i], shares[i], a);
        cla->endpoints[n++] = cla->endpoints[i];
    }
    cla->n_endpoints = n;
}

/* Assignments. */

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

/* EDS takes addresses alone: one name in it and the whole assignment is refused. */
static bool is_ip(struct slice text)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    char copy[INET6_ADDRSTRLEN];
    return slice_cstr(text, copy, sizeof(copy)) &&
           (inet_pton(AF_INET, copy, bytes) == 1 || inet_pton(AF_INET6, copy, bytes) == 1);
}

static void add_endpoints(struct build *b, ENDPOINT(ClusterLoadAssignment) *cla,
                          const struct model_endpoints *all, struct jr_pairs subset, bool only_ips,
                          enum flavor flavor, struct arena *a, struct sources *sources)
{
    ENDPOINT(LocalityLbEndpoints) *group = NULL;
    const struct model_locality *at = NULL;
    uint64_t weight = 0;
    for (size_t i = 0; i < all->n; i++) {
        const struct model_endpoint *e = &all->p[i];
        if (!jr_pairs_select(subset, e->labels) || (only_ips && !is_ip(e->address)))
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

ENDPOINT(ClusterLoadAssignment) *assignment_make(struct build *b, const struct assignment *want,
                                                 struct arena *a, struct sources *sources)
{
    const struct model_service *s = want->service;
    ENDPOINT(ClusterLoadAssignment) *cla = NEW_ENDPOINT(a, cluster_load_assignment);
    struct model_endpoints all = {0};
    model_endpoints(&b->model, s, want->port, a, &all);
    own_name(s, want->port, &all);
    /* Of several names gRPC takes none, Envoy's LOGICAL_DNS the first alone. */
    if (s->resolution == RESOLUTION_DNS_ONE ||
        (s->resolution == RESOLUTION_DNS && want->flavor == FLAVOR_GRPC))
        all.n = all.n ? 1 : 0;
    cla->cluster_name = pb_str(a, want->name);
    add_endpoints(b, cla, &all, want->subset, s->resolution == RESOLUTION_ENDPOINTS, want->flavor,
                  a, sources);
    const json_t *to = distribution(want);
    if (to)
        distribute(to, cla, a);
    else if (want->near && want->failover)
        set_priorities(want, cla);
    vec_fini(&all);
    return cla;
}

struct endpoints_job {
    struct build *b;
    struct unit_cell *unit;
    struct unit_out *out;
    const struct model_service *service;
    const struct rules *rules;
    struct arena *a;
};

static void add_assignment(struct endpoints_job *j, const struct model_port *port,
                           const struct rule_subset *subset)
{
    struct sources sources = {0};
    const json_t *lb = rules_section(j->rules, subset, port->number, "loadBalancer");
    const json_t *locality = jr_get(lb, "localityLbSetting");
    bool enabled = !json_is_false(jr_get(locality, "enabled"));
    struct assignment want = {
        .service = j->service,
        .port = port,
        .name = cluster_name(j->a, S("outbound"), port->number,
                             subset ? subset->name : (struct slice){0}, j->service->host),
        .subset = subset ? subset->labels : (struct jr_pairs){0},
        .near = enabled ? &j->unit->locality : NULL,
        .locality = locality,
        /* Istio: only where ejected endpoints can be told from others. */
        .failover = rules_section(j->rules, subset, port->number, "outlierDetection") != NULL,
        .flavor = j->unit->flavor,
    };
    sources_add(&sources, j->unit->service);
    if (subset)
        sources_add(&sources, subset->object->key);
    ENDPOINT(ClusterLoadAssignment) *cla = assignment_make(j->b, &want, j->a, &sources);
    unit_add(j->b, j->unit, j->out, XDS_EDS, want.name, &cla->base, &sources, (struct slice){0});
    vec_fini(&sources);
}

bool unit_endpoints_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct unit_cell *u = (struct unit_cell *)cell;
    struct arena a = {0};
    struct unit_out out = {0};
    struct rules rules = rules_read(b, u->rule, &a);
    struct endpoints_job j = {b, u, &out, unit_service(b, u), &rules, &a};
    bool eds = j.service && j.service->resolution == RESOLUTION_ENDPOINTS;
    for (size_t i = 0; eds && i < j.service->port_count; i++) {
        if (j.service->ports[i].protocol == PROTOCOL_UDP)
            continue;
        add_assignment(&j, &j.service->ports[i], NULL);
        for (size_t k = 0; k < rules.subset_count; k++)
            add_assignment(&j, &j.service->ports[i], &rules.subsets[k]);
    }
    arena_fini(&a);
    return unit_end(u, &out);
}
