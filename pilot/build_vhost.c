/* Virtual hosts of services, and of hosts that only a VirtualService knows. */
#include "pilot/build_internal.h"

#include <string.h>

/* Names. */

static void add_domain(struct arena *a, ROUTE(VirtualHost) *v, struct slice host, uint32_t port)
{
    if (port)
        PB_PUSH(a, v, domains, pbx_printf(a, "%.*s:%u", SLICE(host), port));
    else
        PB_PUSH(a, v, domains, pb_str(a, host));
}

/* name.ns.svc.cluster.local -> its name and namespace. */
static bool cluster_host(struct slice host, struct slice *ret_name, struct slice *ret_ns)
{
    struct slice rest, ns;
    if (!slice_ends(host, S("." MODEL_CLUSTER_DOMAIN)))
        return false;
    rest = slice_sub(host, 0, host.n - sizeof("." MODEL_CLUSTER_DOMAIN) + 1);
    if (!slice_cut(rest, '.', ret_name, &ns) || slice_find(ns, '.') != SIZE_MAX)
        return false;
    *ret_ns = ns;
    return true;
}

void host_domains(struct arena *a, struct slice host, struct slice ns, uint32_t port,
                  ROUTE(VirtualHost) *v)
{
    struct slice name, host_ns;
    add_domain(a, v, host, port);
    if (!cluster_host(host, &name, &host_ns))
        return;
    if (slice_eq(ns, host_ns))
        add_domain(a, v, name, port);
    add_domain(a, v, arena_printf(a, "%.*s.%.*s", SLICE(name), SLICE(host_ns)), port);
    add_domain(a, v, arena_printf(a, "%.*s.%.*s.svc", SLICE(name), SLICE(host_ns)), port);
}

/* Under http_proxy the port of the authority tells services of one host apart; without one it
 * is 80. In a table that is named by a port the authority's port is ignored. */
static void all_domains(struct unit_cell *u, const struct model_service *s, uint32_t port,
                        struct arena *a, ROUTE(VirtualHost) *v)
{
    bool proxy = u->variant == 'x';
    uint32_t suffix = proxy ? port : 0;
    host_domains(a, u->host, u->scope->ns, suffix, v);
    if (proxy && port == 80)
        host_domains(a, u->host, u->scope->ns, 0, v);
    JR_EACH (s ? s->addresses : NULL, i, ip) {
        if (slice_find(json_slice(ip), '/') != SIZE_MAX || !json_slice(ip).n)
            continue;
        add_domain(a, v, json_slice(ip), suffix);
        if (proxy && port == 80)
            add_domain(a, v, json_slice(ip), 0);
    }
}

/* Which VirtualService. */

static bool imports_any(struct build *b, const struct scope *s, const struct model_object *vs,
                        struct arena *a)
{
    if (!s->sidecar.n)
        return true;
    JR_EACH (jr_get(vs->body->spec, "hosts"), i, v) {
        if (scope_imports(b, s, vs->ns, model_host_resolve(json_slice(v), vs->ns, a)))
            return true;
    }
    return false;
}

const struct model_object *route_rule(struct build *b, const struct scope *s, struct slice host,
                                      struct arena *a)
{
    struct slice at = host;
    do {
        const struct model_fact *f = model_index(&b->model, MODEL_ROUTE_HOST, at);
        for (size_t i = 0; i < f->n; i++)
            if (model_exported(f->members[i]->body->export_to, f->members[i]->ns, s->ns) &&
                imports_any(b, s, f->members[i], a))
                return f->members[i];
    } while (model_host_wider(&at, a));
    return NULL;
}

/* Units. */

struct vhost_job {
    struct build *b;
    struct unit_cell *unit;
    struct arena *a;
    struct unit_out *out;
    const struct model_service *service; /* NULL: the host has none */
    const struct model_object *vs;       /* NULL: no rule */
};

/* The routes of one port, or false when there is nothing to route to. */
static bool fill_routes(struct vhost_job *j, uint32_t port, ROUTE(VirtualHost) *v,
                        struct sources *sources)
{
    struct route_context rc = {.b = j->b,
                               .a = j->a,
                               .scope = j->unit->scope,
                               .vs = j->vs,
                               .gateway = S("mesh"),
                               .host = j->unit->host,
                               .port = port,
                               .sources = sources};
    if (j->service)
        sources_add(sources, j->service->object->key);
    if (j->vs && jr_len(jr_get(j->vs->body->spec, "http")))
        return routes_http(&rc, v); /* a rule that matches nothing for this caller routes nothing */
    if (!j->service)
        return false;
    PB_PUSH(j->a, v, routes, route_default(&rc, j->service, port));
    return true;
}

static ROUTE(VirtualHost) *vhost_make(struct vhost_job *j, uint32_t port, struct sources *sources)
{
    ROUTE(VirtualHost) *v = NEW_ROUTE(j->a, virtual_host);
    v->name = pbx_printf(j->a, "%.*s:%u", SLICE(j->unit->host), port);
    v->include_request_attempt_count = true;
    return fill_routes(j, port, v, sources) ? v : NULL;
}

static void add_vhost(struct vhost_job *j, uint32_t port)
{
    struct sources sources = {0};
    ROUTE(VirtualHost) *v = vhost_make(j, port, &sources);
    if (v) {
        all_domains(j->unit, j->service, port, j->a, v);
        struct slice name = j->unit->variant == 'x' ? arena_printf(j->a, "http_proxy/%s", v->name)
                                                    : arena_printf(j->a, "%u/%s", port, v->name);
        unit_add(j->b, j->unit, j->out, XDS_VHDS, name, &v->base, &sources, (struct slice){0});
    }
    vec_fini(&sources);
}

static bool routed_by_http(enum model_protocol p)
{
    return model_protocol_http(p) || p == PROTOCOL_AUTO;
}

bool unit_vhosts_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct unit_cell *u = (struct unit_cell *)cell;
    struct arena a = {0};
    struct unit_out out = {0};
    struct vhost_job j = {b, u, &a, &out, NULL, NULL};
    j.service = u->service.n ? unit_service(b, u) : NULL;
    j.vs = route_rule(b, u->scope, u->host, &a);
    for (size_t i = 0; j.service && i < j.service->port_count; i++)
        if (routed_by_http(j.service->ports[i].protocol))
            add_vhost(&j, j.service->ports[i].number);
    if (!u->service.n && j.vs)
        add_vhost(&j, 80);
    arena_fini(&a);
    return unit_end(u, &out);
}

/* Proxyless gRPC: a route configuration for each host and port. */

bool unit_grpc_routes_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct unit_cell *u = (struct unit_cell *)cell;
    struct arena a = {0};
    struct unit_out out = {0};
    struct vhost_job j = {b, u, &a, &out, unit_service(b, u), NULL};
    j.vs = route_rule(b, u->scope, u->host, &a);
    for (size_t i = 0; j.service && i < j.service->port_count; i++) {
        uint32_t port = j.service->ports[i].number;
        struct sources sources = {0};
        ROUTE(VirtualHost) *v = vhost_make(&j, port, &sources);
        if (v && j.service->ports[i].protocol != PROTOCOL_UDP) {
            ROUTE(RouteConfiguration) *rc = NEW_ROUTE(&a, route_configuration);
            struct slice name = cluster_name(&a, S("outbound"), port, (struct slice){0}, u->host);
            rc->name = pb_str(&a, name);
            PB_PUSH(&a, v, domains, pb_str(&a, S("*")));
            PB_PUSH(&a, rc, virtual_hosts, v);
            unit_add(b, u, &out, XDS_RDS, name, &rc->base, &sources, (struct slice){0});
        }
        vec_fini(&sources);
    }
    arena_fini(&a);
    return unit_end(u, &out);
}
