/* Gateways: a router binds the ports of all Gateway objects that select it, and routes by the
 * VirtualServices that name these.
 *
 * Servers of one port are one listener. HTTP servers share the route table http.PORT; where several
 * VirtualServices have one host their routes are joined, oldest first (istio.md §1.1). TLS that is
 * passed through goes by the name that the client asks for. A server that wants a certificate from
 * a secret is left out as long as there is nothing that serves secrets.
 */
#include "pilot/build_internal.h"

#include <stdlib.h>
#include <string.h>

#include "api/proto/tls.pb-c.h"

#define TLS(name) Envoy__Extensions__TransportSockets__Tls__V3__##name
#define NEW_TLS(a, name) ((void *)PB_NEW(a, envoy__extensions__transport_sockets__tls__v3__##name))

struct server {
    const struct model_object *gateway;
    const json_t *json;
    uint32_t port; /* that is bound: the target of the gateway's service */
    struct slice bind;
    struct slice protocol;
    size_t at; /* among all, oldest gateway first */
};

struct servers {
    struct server *p;
    size_t n, cap;
};

struct gateway_job {
    struct own_job *own;
    struct build *b;
    struct arena *a;
    struct servers servers;
    struct model_instances instances;
};

/* Servers. */

static bool selects(const struct gateway_job *j, const struct model_object *gateway)
{
    struct jr_pairs want = jr_pairs(jr_get(gateway->body->spec, "selector"), j->a);
    const struct proxy_class_input *in = j->own->own->in;
    for (size_t i = 0; i < want.n; i++) {
        bool has = false;
        for (size_t k = 0; k < in->label_count; k++)
            has = has || (slice_eq(in->labels[k][0], want.p[i].name) &&
                          slice_eq(in->labels[k][1], want.p[i].value));
        if (!has)
            return false;
    }
    return true;
}

/* A Gateway names the port of the service in front; the workload listens where that one sends. */
static uint32_t bound_port(const struct gateway_job *j, uint32_t number)
{
    for (size_t i = 0; i < j->instances.n; i++)
        if (j->instances.p[i].port->number == number)
            return j->instances.p[i].target;
    return number;
}

static int cmp_server(const void *va, const void *vb)
{
    const struct server *a = va, *b = vb;
    if (a->port != b->port)
        return a->port < b->port ? -1 : 1;
    int c = slice_cmp(a->bind, b->bind);
    return c ? c : (a->at > b->at) - (a->at < b->at);
}

static void servers_collect(struct gateway_job *j)
{
    const struct model_fact *f = model_index(&j->b->model, MODEL_GATEWAYS, S(""));
    for (size_t i = 0; i < f->n; i++) {
        if (!selects(j, f->members[i]))
            continue;
        JR_EACH (jr_get(f->members[i]->body->spec, "servers"), k, v) {
            const json_t *port = jr_get(v, "port");
            uint32_t number = jr_u32(port, "number", 0);
            struct slice bind = jr_str(v, "bind");
            if (number == 0 || number > 65535)
                continue;
            *vec_push(&j->servers) = (struct server){.gateway = f->members[i],
                                                     .json = v,
                                                     .port = bound_port(j, number),
                                                     .bind = bind.n ? bind : S("0.0.0.0"),
                                                     .protocol = jr_str(port, "protocol"),
                                                     .at = j->servers.n};
        }
    }
    if (j->servers.n)
        qsort(j->servers.p, j->servers.n, sizeof(*j->servers.p), cmp_server);
}

/* "ns/host", "./host", "host" of a server against a host of a VirtualService. The narrower of the
 * two is what is served. */
static bool server_host(const struct server *s, struct slice pattern, const struct model_object *vs,
                        struct slice host, struct slice *ret_host)
{
    struct slice ns, name;
    if (slice_cut(pattern, '/', &ns, &name)) {
        bool own = slice_eq(ns, S(".")) && slice_eq(vs->ns, s->gateway->ns);
        if (!own && !slice_eq(ns, S("*")) && !slice_eq(ns, vs->ns))
            return false;
    } else {
        name = pattern;
    }
    if (model_host_match(name, host) || slice_eq(name, host)) {
        *ret_host = host;
        return true;
    }
    if (!model_host_match(host, name))
        return false;
    *ret_host = name;
    return true;
}

/* Routes. */

struct gateway_hosts {
    struct gateway_host {
        struct slice host;
        const struct model_object *vs;
        const struct server *server;
    } * p;
    size_t n, cap;
};

static void hosts_of_server(struct gateway_job *j, const struct server *s,
                            struct gateway_hosts *out)
{
    struct slice name =
        arena_printf(j->a, "%.*s/%.*s", SLICE(s->gateway->ns), SLICE(s->gateway->name));
    const struct model_fact *f = model_index(&j->b->model, MODEL_GATEWAY_ROUTES, name);
    for (size_t i = 0; i < f->n; i++) {
        const struct model_object *vs = f->members[i];
        if (!model_exported(vs->body->export_to, vs->ns, j->own->own->scope->ns))
            continue;
        JR_EACH (jr_get(vs->body->spec, "hosts"), k, h) {
            struct slice host = model_host_resolve(json_slice(h), vs->ns, j->a), served;
            JR_EACH (jr_get(s->json, "hosts"), l, pattern) {
                if (server_host(s, json_slice(pattern), vs, host, &served))
                    *vec_push(out) = (struct gateway_host){served, vs, s};
            }
        }
    }
}

static int cmp_gateway_host(const void *va, const void *vb)
{
    const struct gateway_host *a = va, *b = vb;
    int c = slice_cmp(a->host, b->host);
    if (c)
        return c;
    if (a->vs->create_rev != b->vs->create_rev)
        return a->vs->create_rev < b->vs->create_rev ? -1 : 1;
    c = slice_cmp(a->vs->key, b->vs->key);
    return c ? c : (a->server->at > b->server->at) - (a->server->at < b->server->at);
}

static struct route_context context(struct gateway_job *j, const struct gateway_host *h,
                                    uint32_t port, struct sources *sources)
{
    struct slice gateway = arena_printf(j->a, "%.*s/%.*s", SLICE(h->server->gateway->ns),
                                        SLICE(h->server->gateway->name));
    return (struct route_context){.b = j->b,
                                  .a = j->a,
                                  .scope = j->own->own->scope,
                                  .vs = h->vs,
                                  .gateway = gateway,
                                  .host = h->host,
                                  .port = port,
                                  .sources = sources};
}

/* One virtual host for the entries of one host. */
static ROUTE(VirtualHost) *gateway_vhost(struct gateway_job *j, const struct gateway_host *h,
                                         size_t n, uint32_t port, struct sources *sources)
{
    ROUTE(VirtualHost) *v = NEW_ROUTE(j->a, virtual_host);
    v->name = pbx_printf(j->a, "%.*s:%u", SLICE(h->host), port);
    v->include_request_attempt_count = true;
    PB_PUSH(j->a, v, domains, pb_str(j->a, h->host));
    for (size_t i = 0; i < n; i++) {
        struct route_context rc = context(j, &h[i], port, sources);
        bool again = i > 0 && h[i - 1].vs == h[i].vs;
        if (!again)
            routes_http(&rc, v);
        if (jr_bool(jr_get(h[i].server->json, "tls"), "httpsRedirect"))
            v->require_tls = ENVOY__CONFIG__ROUTE__V3__VIRTUAL_HOST__TLS_REQUIREMENT_TYPE__ALL;
    }
    routes_catch_all_last(v);
    return v->n_routes ? v : NULL;
}

/* Nobody routes anything here: say so instead of resetting connections. */
static ROUTE(VirtualHost) *hole_vhost(struct arena *a, uint32_t port)
{
    ROUTE(VirtualHost) *v = NEW_ROUTE(a, virtual_host);
    ROUTE(Route) *r = NEW_ROUTE(a, route);
    v->name = pbx_printf(a, "blackhole:%u", port);
    r->name = pb_str(a, S("default"));
    r->match = NEW_ROUTE(a, route_match);
    r->match->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
    r->match->prefix = pb_str(a, S("/"));
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE;
    r->direct_response = NEW_ROUTE(a, direct_response_action);
    r->direct_response->status = 404;
    PB_PUSH(a, v, domains, pb_str(a, S("*")));
    PB_PUSH(a, v, routes, r);
    return v;
}

static bool is_http_server(const struct server *s)
{
    return slice_eq_nocase(s->protocol, S("HTTP")) || slice_eq_nocase(s->protocol, S("HTTP2")) ||
           slice_eq_nocase(s->protocol, S("GRPC")) || slice_eq_nocase(s->protocol, S("GRPC-WEB"));
}

static bool is_https_server(const struct server *s)
{
    return slice_eq_nocase(s->protocol, S("HTTPS")) &&
           !slice_eq(jr_str(jr_get(s->json, "tls"), "mode"), S("PASSTHROUGH"));
}

/* Route table of the servers [p, p + n) for which `which` holds. */
static void gateway_table(struct gateway_job *j, struct slice name, const struct server *p,
                          size_t n, bool (*which)(const struct server *s))
{
    struct gateway_hosts hosts = {0};
    struct sources sources = {0};
    ROUTE(RouteConfiguration) *rc = NEW_ROUTE(j->a, route_configuration);
    rc->name = pb_str(j->a, name);
    rc->validate_clusters = wkt_bool(j->a, false);
    rc->ignore_port_in_host_matching = true;
    rc->max_direct_response_body_size_bytes = wkt_u32(j->a, 1024 * 1024);
    for (size_t i = 0; i < n; i++) {
        sources_add(&sources, p[i].gateway->key);
        if (which(&p[i]))
            hosts_of_server(j, &p[i], &hosts);
    }
    if (hosts.n)
        qsort(hosts.p, hosts.n, sizeof(*hosts.p), cmp_gateway_host);
    for (size_t i = 0, end; i < hosts.n; i = end) {
        for (end = i + 1; end < hosts.n && slice_eq(hosts.p[end].host, hosts.p[i].host); end++)
            continue;
        ROUTE(VirtualHost) *v = gateway_vhost(j, &hosts.p[i], end - i, p->port, &sources);
        if (v)
            PB_PUSH(j->a, rc, virtual_hosts, v);
    }
    if (rc->n_virtual_hosts == 0)
        PB_PUSH(j->a, rc, virtual_hosts, hole_vhost(j->a, p->port));
    own_add_sources(j->own, XDS_RDS, name, &rc->base, &sources);
    vec_fini(&hosts);
    vec_fini(&sources);
}

/* TLS. */

static CORE(DataSource) *file_source(struct arena *a, struct slice path)
{
    CORE(DataSource) *d = NEW_CORE(a, data_source);
    d->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_FILENAME;
    d->filename = pb_str(a, path);
    return d;
}

/* Certificates in files of the gateway's machine: SIMPLE and MUTUAL. false: it needs what nobody
 * serves. */
static bool terminate_tls(struct gateway_job *j, const json_t *tls, LISTENER(FilterChain) *c)
{
    struct slice cert = jr_str(tls, "serverCertificate"), key = jr_str(tls, "privateKey");
    struct slice ca = jr_str(tls, "caCertificates"), mode = jr_str(tls, "mode");
    bool mutual = slice_eq(mode, S("MUTUAL"));
    if (jr_str(tls, "credentialName").n || !cert.n || !key.n || (mutual && !ca.n) ||
        !(mutual || slice_eq(mode, S("SIMPLE"))))
        return false;
    TLS(DownstreamTlsContext) *ctx = NEW_TLS(j->a, downstream_tls_context);
    TLS(TlsCertificate) *pair = NEW_TLS(j->a, tls_certificate);
    pair->certificate_chain = file_source(j->a, cert);
    pair->private_key = file_source(j->a, key);
    ctx->common_tls_context = NEW_TLS(j->a, common_tls_context);
    PB_PUSH(j->a, ctx->common_tls_context, tls_certificates, pair);
    PB_PUSH(j->a, ctx->common_tls_context, alpn_protocols, pb_str(j->a, S("h2")));
    PB_PUSH(j->a, ctx->common_tls_context, alpn_protocols, pb_str(j->a, S("http/1.1")));
    if (mutual) {
        ctx->require_client_certificate = wkt_bool(j->a, true);
        ctx->common_tls_context->validation_context_type_case =
            ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT;
        ctx->common_tls_context->validation_context = NEW_TLS(j->a, certificate_validation_context);
        ctx->common_tls_context->validation_context->trusted_ca = file_source(j->a, ca);
    }
    c->transport_socket = NEW_CORE(j->a, transport_socket);
    c->transport_socket->name = pb_str(j->a, S("envoy.transport_sockets.tls"));
    c->transport_socket->config_type_case =
        ENVOY__CONFIG__CORE__V3__TRANSPORT_SOCKET__CONFIG_TYPE_TYPED_CONFIG;
    c->transport_socket->typed_config = any_new(j->a, &ctx->base);
    return true;
}

static struct slice host_part(struct slice pattern)
{
    struct slice ns, name;
    return slice_cut(pattern, '/', &ns, &name) ? name : pattern;
}

/* The chain is for the names that the server has; "*" is any. */
static void match_server_names(struct gateway_job *j, const struct server *s,
                               LISTENER(FilterChain) *c)
{
    LISTENER(FilterChainMatch) *m = chain_match(j->a, c);
    bool any = false;
    JR_EACH (jr_get(s->json, "hosts"), i, v) {
        any = any || slice_eq(host_part(json_slice(v)), S("*"));
    }
    JR_EACH (any ? NULL : jr_get(s->json, "hosts"), k, v) {
        PB_PUSH(j->a, m, server_names, pb_str(j->a, host_part(json_slice(v))));
    }
}

/* Chains. */

static LISTENER(FilterChain) *gateway_http(struct gateway_job *j, const struct server *s,
                                           struct slice table)
{
    struct slice stat = arena_printf(j->a, "outbound_0.0.0.0_%u", s->port);
    HCM(HttpConnectionManager) *h = hcm_new(j->a, stat, table, NULL);
    h->use_remote_address = wkt_bool(j->a, true); /* whoever calls is outside */
    h->merge_slashes = false;
    return chain_http(j->a, h);
}

static LISTENER(FilterChain) *gateway_https(struct gateway_job *j, const struct server *s)
{
    struct slice table = arena_printf(j->a, "https.%u.%.*s.%.*s.%.*s", s->port,
                                      SLICE(jr_str(jr_get(s->json, "port"), "name")),
                                      SLICE(s->gateway->name), SLICE(s->gateway->ns));
    LISTENER(FilterChain) *c = gateway_http(j, s, table);
    if (!terminate_tls(j, jr_get(s->json, "tls"), c))
        return NULL;
    match_server_names(j, s, c);
    gateway_table(j, table, s, 1, is_https_server);
    return c;
}

/* TCP, and TLS that is passed through: one chain for each host that a VirtualService routes. */
static void gateway_tcp(struct gateway_job *j, const struct server *s, LISTENER(Listener) *l,
                        struct sources *sources)
{
    struct gateway_hosts hosts = {0};
    bool tls = slice_eq_nocase(s->protocol, S("TLS")) || slice_eq_nocase(s->protocol, S("HTTPS"));
    hosts_of_server(j, s, &hosts);
    if (hosts.n)
        qsort(hosts.p, hosts.n, sizeof(*hosts.p), cmp_gateway_host);
    for (size_t i = 0; i < hosts.n; i++) {
        if (i && slice_eq(hosts.p[i - 1].host, hosts.p[i].host))
            continue;
        struct route_context rc =
            context(j, &hosts.p[i], jr_u32(jr_get(s->json, "port"), "number", 0), sources);
        LISTENER(FilterChain) *c = chain_rule(&rc, tls ? "tls" : "tcp");
        if (!c)
            continue;
        if (tls && !slice_eq(hosts.p[i].host, S("*")))
            PB_PUSH(j->a, chain_match(j->a, c), server_names, pb_str(j->a, hosts.p[i].host));
        PB_PUSH(j->a, l, filter_chains, c);
        sources_add(sources, hosts.p[i].vs->key);
        if (!tls)
            break; /* without a name there is one way to go */
    }
    vec_fini(&hosts);
}

static void add_chains(struct gateway_job *j, const struct server *p, size_t n,
                       LISTENER(Listener) *l, struct sources *sources)
{
    bool http = false;
    for (size_t i = 0; i < n; i++) {
        sources_add(sources, p[i].gateway->key);
        if (is_http_server(&p[i])) {
            http = true;
        } else if (is_https_server(&p[i])) {
            LISTENER(FilterChain) *c = gateway_https(j, &p[i]);
            if (c)
                PB_PUSH(j->a, l, filter_chains, c);
        } else {
            gateway_tcp(j, &p[i], l, sources);
        }
    }
    if (!http)
        return;
    struct slice table = arena_printf(j->a, "http.%u", p->port);
    l->n_filter_chains = 0; /* plain HTTP owns its port: others there cannot be told apart */
    PB_PUSH(j->a, l, filter_chains, gateway_http(j, p, table));
    gateway_table(j, table, p, n, is_http_server);
}

static bool needs_tls_inspector(const LISTENER(Listener) *l)
{
    for (size_t i = 0; i < l->n_filter_chains; i++)
        if (l->filter_chains[i]->filter_chain_match || l->filter_chains[i]->transport_socket)
            return true;
    return false;
}

/* Chains with equal matches are refused by Envoy: of these the first stays. */
static void drop_equal_matches(struct gateway_job *j, LISTENER(Listener) *l)
{
    size_t n = 0;
    struct slice *seen = ARENA_ARRAY(j->a, struct slice, l->n_filter_chains + 1);
    for (size_t i = 0; i < l->n_filter_chains; i++) {
        const LISTENER(FilterChainMatch) *m = l->filter_chains[i]->filter_chain_match;
        bool again = false;
        seen[n] = m ? pb_pack_arena(&m->base, j->a) : (struct slice){0};
        for (size_t k = 0; k < n; k++)
            again = again || slice_eq(seen[k], seen[n]);
        if (!again)
            l->filter_chains[n++] = l->filter_chains[i];
    }
    l->n_filter_chains = n;
}

static void gateway_listener(struct gateway_job *j, const struct server *p, size_t n)
{
    struct sources sources = {0};
    struct slice name = arena_printf(j->a, "%.*s_%u", SLICE(p->bind), p->port);
    LISTENER(Listener) *l = build_listener_new(j->a, name, p->bind, p->port, true);
    add_chains(j, p, n, l, &sources);
    drop_equal_matches(j, l);
    if (needs_tls_inspector(l))
        listener_inspect(j->a, l, true, false);
    if (l->n_filter_chains)
        own_add_sources(j->own, XDS_LDS, name, &l->base, &sources);
    vec_fini(&sources);
}

void own_gateway(struct own_job *own)
{
    struct gateway_job j = {.own = own, .b = own->b, .a = own->a};
    model_instances(&j.b->model, own->own->in->address, j.a, &j.instances);
    servers_collect(&j);
    for (size_t i = 0, end; i < j.servers.n; i = end) {
        for (end = i + 1; end < j.servers.n && j.servers.p[end].port == j.servers.p[i].port &&
                          slice_eq(j.servers.p[end].bind, j.servers.p[i].bind);
             end++)
            continue;
        gateway_listener(&j, &j.servers.p[i], end - i);
    }
    vec_fini(&j.servers);
    vec_fini(&j.instances);
}
