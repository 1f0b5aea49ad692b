/* Route tables: which virtual hosts stand together in one RouteConfiguration.
 *
 *   REDIRECT        a table a port ("80"): the listener of that port asks for it
 *   NONE            "http_proxy": the authority decides; and one a port that a Sidecar's egress
 *                   names
 *
 * A virtual host is a resource TABLE/HOST:PORT (VHDS, for weft-proxy), or its bytes are put into
 * the table's RouteConfiguration (for Envoy).
 */
#include "pilot/build_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/core/hash.h"

struct tables_cell {
    struct graph_cell cell;
    struct scope *scope;
    enum proxy_capture capture;
    struct tables value;
    bool repeated; /* did a domain stand twice and was dropped? */
};

struct table_job {
    struct build *b;
    struct tables_cell *cell;
    struct arena *a;
    struct unit_out vhosts; /* borrowed */
    struct unit_out owned;  /* to give back */
    struct scope_services services;
    struct sources tables; /* their names */
    const char *catch_all_name;
    struct slice catch_all;
};

/* Which virtual hosts. */

static int cmp_host(const void *key, const void *elem)
{
    return slice_cmp(*(const struct slice *)key, ((const struct scope_service *)elem)->host);
}

static const struct scope_service *service_of(const struct table_job *j, struct slice host)
{
    return j->services.n
               ? bsearch(&host, j->services.p, j->services.n, sizeof(*j->services.p), cmp_host)
               : NULL;
}

/* "80/a.b:80" -> "80", "a.b". */
static void vhost_parts(struct slice name, struct slice *ret_table, struct slice *ret_host)
{
    struct slice rest, port;
    slice_cut(name, '/', ret_table, &rest);
    slice_cut_last(rest, ':', ret_host, &port);
}

/* Virtual hosts of one table (empty: of all) that an egress listener (NULL: any) lets in. */
static void take(struct table_job *j, const struct xds_list *from, struct slice table,
                 const json_t *egress)
{
    if (!table.n && !egress) {
        for (size_t i = 0; i < from->n; i++)
            *vec_push(&j->vhosts) = from->items[i];
        return;
    }
    for (size_t i = 0; i < from->n; i++) {
        struct slice in, host;
        vhost_parts(from->items[i]->name, &in, &host);
        if (table.n && !slice_eq(in, table))
            continue;
        const struct scope_service *s = egress ? service_of(j, host) : NULL;
        if (!egress || !s || egress_imports(egress, j->cell->scope->ns, s->ns, host))
            *vec_push(&j->vhosts) = from->items[i];
    }
}

/* Hosts without a service. */

static bool wildcard_has_service(const struct scope_services *all, struct slice pattern)
{
    for (size_t i = 0; i < all->n; i++)
        if (model_host_match(pattern, all->p[i].host))
            return true;
    return false;
}

static bool has_service(const struct scope_services *all, struct slice host)
{
    if (host.p[0] == '*')
        return wildcard_has_service(all, host);
    return all->n && bsearch(&host, all->p, all->n, sizeof(*all->p), cmp_host);
}

/* Hosts of the mesh's VirtualServices that no service of the scope has: changes with the hosts of
 * rules, not with what the rules say. */
struct rule_hosts_cell {
    struct graph_cell cell;
    struct scope *scope;
    struct arena arena;
    size_t n;
    struct slice *hosts; /* sorted, unique */
};

static int cmp_slice(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static void rule_hosts_find(struct build *b, const struct scope *s, struct scope_services services,
                            struct arena *a, struct sources *out)
{
    const struct model_fact *f = model_index(&b->model, MODEL_ROUTES, S(""));
    for (size_t i = 0; i < f->n; i++) {
        const struct model_object *vs = f->members[i];
        if (!model_exported(vs->body->export_to, vs->ns, s->ns))
            continue;
        JR_EACH (jr_get(vs->body->spec, "hosts"), k, v) {
            struct slice host = model_host_resolve(json_slice(v), vs->ns, a);
            if (host.n && !has_service(&services, host))
                sources_add(out, host);
        }
    }
    if (out->n)
        qsort(out->p, out->n, sizeof(*out->p), cmp_slice);
}

static bool rule_hosts_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct rule_hosts_cell *c = (struct rule_hosts_cell *)cell;
    struct arena scratch = {0}, arena = {0};
    struct sources found = {0};
    rule_hosts_find(b, c->scope, scope_services(b, c->scope, NULL), &scratch, &found);
    struct slice *hosts = ARENA_ARRAY(&arena, struct slice, found.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < found.n; i++)
        if (n == 0 || !slice_eq(hosts[n - 1], found.p[i]))
            hosts[n++] = arena_dup(&arena, found.p[i]);
    bool same = c->hosts && n == c->n;
    for (size_t i = 0; same && i < n; i++)
        same = slice_eq(hosts[i], c->hosts[i]);
    arena_fini(same ? &arena : &c->arena);
    if (!same) {
        c->arena = arena;
        c->hosts = hosts;
        c->n = n;
    }
    vec_fini(&found);
    arena_fini(&scratch);
    return !same;
}

static void rule_hosts_fini(struct graph_cell *cell)
{
    arena_fini(&((struct rule_hosts_cell *)cell)->arena);
}

static const struct graph_cell_kind rule_hosts_kind = {"rule_hosts", sizeof(struct rule_hosts_cell),
                                                       rule_hosts_compute, rule_hosts_fini};

static const struct rule_hosts_cell *rule_hosts_get(struct build *b, struct scope *s)
{
    bool is_new;
    struct graph_cell *cell =
        graph_cell(&b->graph, &rule_hosts_kind, slice_mem(&s->id, sizeof(s->id)), &is_new);
    if (is_new)
        ((struct rule_hosts_cell *)cell)->scope = s;
    return (const struct rule_hosts_cell *)graph_get(&b->graph, cell);
}

static void take_rule_hosts(struct table_job *j, char variant)
{
    const struct rule_hosts_cell *hosts = rule_hosts_get(j->b, j->cell->scope);
    for (size_t i = 0; i < hosts->n; i++) {
        struct unit_cell *u = unit_host_cell(j->b, j->cell->scope, hosts->hosts[i], variant);
        graph_get(&j->b->graph, &u->cell);
        for (size_t k = 0; k < u->n; k++)
            *vec_push(&j->vhosts) = u->resources[k];
    }
}

/* The last one: what no host matches. */

static ROUTE(Route) *allow_route(struct arena *a)
{
    ROUTE(Route) *r = NEW_ROUTE(a, route);
    r->name = pb_str(a, S("allow_any"));
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    r->route = NEW_ROUTE(a, route_action);
    r->route->cluster_specifier_case =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
    r->route->cluster = pb_str(a, S("PassthroughCluster"));
    r->route->timeout = wkt_duration(a, 0);
    return r;
}

static ROUTE(Route) *block_route(struct arena *a)
{
    ROUTE(Route) *r = NEW_ROUTE(a, route);
    r->name = pb_str(a, S("block_all"));
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE;
    r->direct_response = NEW_ROUTE(a, direct_response_action);
    r->direct_response->status = 502;
    return r;
}

/* Name and bytes, the same for all tables. */
static void catch_all_make(struct table_job *j)
{
    const json_t *sidecar = scope_sidecar(j->b, j->cell->scope);
    struct slice mode = jr_str(jr_get(sidecar, "outboundTrafficPolicy"), "mode");
    bool block = slice_eq(mode, S("REGISTRY_ONLY"));
    ROUTE(VirtualHost) *v = NEW_ROUTE(j->a, virtual_host);
    v->name = pb_str(j->a, block ? S("block_all") : S("allow_any"));
    ROUTE(Route) *r = block ? block_route(j->a) : allow_route(j->a);
    r->match = NEW_ROUTE(j->a, route_match);
    r->match->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
    r->match->prefix = pb_str(j->a, S("/"));
    PB_PUSH(j->a, v, domains, pb_str(j->a, S("*")));
    PB_PUSH(j->a, v, routes, r);
    j->catch_all_name = v->name;
    j->catch_all = pb_pack_arena(&v->base, j->a);
}

static void take_catch_all(struct table_job *j, struct slice table)
{
    if (!j->catch_all.n)
        catch_all_make(j);
    const struct scope *s = j->cell->scope;
    const struct model_object *o = s->sidecar.n ? model_object(&j->b->model, s->sidecar) : NULL;
    struct slice name = arena_printf(j->a, "%.*s/%s", SLICE(table), j->catch_all_name);
    struct xds_resource *res =
        build_resource_bytes(j->b, xds_list_find(j->cell->value.vhosts.list, name),
                             &(struct xds_resource_parts){.type = XDS_VHDS,
                                                          .name = name,
                                                          .body = j->catch_all,
                                                          .revision = o ? o->body->mod_rev : 0,
                                                          .sources = o ? &o->key : NULL,
                                                          .source_count = o ? 1 : 0});
    *vec_push(&j->vhosts) = res;
    *vec_push(&j->owned) = res;
}

/* No domain twice in a table (Envoy refuses the table) */

/* Walks the fields in front of the routes: the name (1) and the domains (2). false at their end.
 * The bytes are our own. */
static bool next_field(struct slice body, size_t *at, unsigned *ret_field, struct slice *ret_value)
{
    size_t len = 0, i = *at + 1;
    if (*at >= body.n || ((unsigned char)body.p[*at] >> 3) > 2)
        return false;
    for (unsigned shift = 0;; shift += 7) {
        unsigned char c = (unsigned char)body.p[i++];
        len |= (size_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            break;
    }
    *ret_field = (unsigned char)body.p[*at] >> 3;
    *ret_value = slice_sub(body, i, len);
    *at = i + len;
    wf_assert(*at <= body.n);
    return true;
}

static struct slice domain_bytes(const struct xds_resource *r)
{
    size_t at = 0;
    unsigned field;
    struct slice value;
    while (next_field(r->body, &at, &field, &value))
        continue;
    return slice_sub(r->body, 0, at);
}

/* Nothing that could make a domain stand twice has changed since it was last looked at. */
static bool same_domains(const struct list_state *s, const struct unit_out *is)
{
    if (!s->list || !list_same_names(s, is))
        return false;
    for (size_t i = 0; i < is->n; i++) {
        const struct xds_resource *was = s->list->items[s->order[i]];
        if (was != is->p[i] && !slice_eq(domain_bytes(was), domain_bytes(is->p[i])))
            return false;
    }
    return true;
}

/* Hashes of table and domain; open addressing, 0 = free. */
struct seen {
    uint64_t *slots;
    size_t mask;
};

static void seen_init(struct seen *s, size_t n)
{
    size_t cap = 64;
    while (cap < n * 2)
        cap *= 2;
    *s = (struct seen){mem_array(cap, sizeof(uint64_t)), cap - 1};
}

/* true: it is new. */
static bool seen_add(struct seen *s, struct slice table, struct slice domain)
{
    uint64_t h = hash_bytes_seed(domain, hash_bytes(table)) | 1;
    size_t i = (size_t)(h >> 8) & s->mask;
    for (; s->slots[i]; i = (i + 1) & s->mask)
        if (s->slots[i] == h)
            return false;
    s->slots[i] = h;
    return true;
}

/* Without the domains that `drop` marks among the first ones; NULL when none is left. */
static struct xds_resource *without_domains(struct table_job *j, struct xds_resource *r,
                                            const bool *drop, size_t looked)
{
    struct err err = {0};
    ROUTE(VirtualHost) *v =
        pb_unpack(&envoy__config__route__v3__virtual_host__descriptor, r->body, j->a, &err);
    size_t n = 0;
    wf_assert(v);
    for (size_t i = 0; i < v->n_domains; i++)
        if (i >= looked || !drop[i])
            v->domains[n++] = v->domains[i];
    v->n_domains = n;
    if (n == 0)
        return NULL;
    buf_clear(&j->b->packed);
    pb_pack(&v->base, &j->b->packed);
    struct xds_resource *less = build_resource_bytes(
        j->b, xds_list_find(j->cell->value.vhosts.list, r->name),
        &(struct xds_resource_parts){.type = XDS_VHDS,
                                     .name = r->name,
                                     .body = buf_slice(&j->b->packed),
                                     .revision = graph_reads_revision(&j->b->graph),
                                     .sources = r->sources,
                                     .source_count = r->source_count});
    *vec_push(&j->owned) = less;
    return less;
}

/* Domains of one virtual host: names of a service in five forms, twice, and its addresses. */
#define DOMAINS_LOOK_MAX 4096

static struct xds_resource *drop_seen(struct table_job *j, struct xds_resource *r,
                                      struct seen *seen)
{
    struct slice table, host, value;
    size_t at = 0, n = 0;
    unsigned field;
    bool drop[DOMAINS_LOOK_MAX], any = false;
    vhost_parts(r->name, &table, &host);
    while (n < DOMAINS_LOOK_MAX && next_field(r->body, &at, &field, &value))
        if (field == 2) {
            drop[n] = !seen_add(seen, table, value);
            any = any || drop[n];
            n++;
        }
    return any ? without_domains(j, r, drop, n) : r;
}

static size_t count_domains(const struct unit_out *v)
{
    size_t n = 0, at;
    unsigned field;
    struct slice value;
    for (size_t i = 0; i < v->n; i++)
        for (at = 0; next_field(v->p[i]->body, &at, &field, &value);)
            n++;
    return n;
}

/* Of two virtual hosts with one domain the first by name keeps it. The order of what is given
 * stays, so that the next time it can be seen that nothing new is among it. */
static void unique_domains(struct table_job *j)
{
    struct unit_out *v = &j->vhosts;
    struct tables_cell *c = j->cell;
    struct seen seen;
    if (!c->repeated && same_domains(&c->value.vhosts, v))
        return;
    struct placed *order = mem_array(v->n + 1, sizeof(*order));
    for (size_t i = 0; i < v->n; i++)
        order[i] = (struct placed){v->p[i], i};
    qsort(order, v->n, sizeof(*order), cmp_placed);
    seen_init(&seen, count_domains(v));
    c->repeated = false;
    for (size_t i = 0; i < v->n; i++) {
        bool again = i && slice_eq(order[i - 1].resource->name, order[i].resource->name);
        struct xds_resource *r = again ? NULL : drop_seen(j, order[i].resource, &seen);
        c->repeated = c->repeated || r != order[i].resource;
        v->p[order[i].from] = r;
    }
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++)
        if (v->p[i])
            v->p[n++] = v->p[i];
    v->n = n;
    mem_free(seen.slots);
    mem_free(order);
}

/* Route configurations. */

/* Under http_proxy the port of an authority tells services apart. */
static bool ignores_port(struct slice table)
{
    return !slice_eq(table, S("http_proxy"));
}

/* One that asks for its virtual hosts. */
static struct xds_resource *table_vhds(struct table_job *j, struct slice table)
{
    ROUTE(RouteConfiguration) *rc = NEW_ROUTE(j->a, route_configuration);
    rc->name = pb_str(j->a, table);
    rc->vhds = NEW_ROUTE(j->a, vhds);
    rc->vhds->config_source = pbx_ads(j->a);
    rc->validate_clusters = wkt_bool(j->a, false);
    rc->max_direct_response_body_size_bytes = wkt_u32(j->a, DIRECT_BODY_BYTES_MAX);
    rc->ignore_port_in_host_matching = ignores_port(table);
    buf_clear(&j->b->packed);
    pb_pack(&rc->base, &j->b->packed);
    return build_resource_constant(j->b, XDS_RDS, table, buf_slice(&j->b->packed));
}

static bool make_configurations(struct table_job *j)
{
    struct unit_out vhds = {0};
    for (size_t i = 0; i < j->tables.n; i++) {
        struct xds_resource *was = xds_list_find(j->cell->value.vhds.list, j->tables.p[i]);
        struct xds_resource *r = was ? xds_resource_ref(was) : table_vhds(j, j->tables.p[i]);
        *vec_push(&vhds) = r;
        *vec_push(&j->owned) = r;
    }
    return list_set(&j->cell->value.vhds, &vhds);
}

/* Tables of a scope. */

/* A table ends with what no host matches. */
static void table_end(struct table_job *j, struct slice table)
{
    sources_add(&j->tables, table);
    take_catch_all(j, table);
}

static void tables_by_port(struct table_job *j)
{
    const struct xds_list *all = list_get(j->b, LIST_VHOSTS_PORTS, j->cell->scope, NULL);
    struct slice last = {0}, table, host;
    bool has_80 = false;
    take(j, all, (struct slice){0}, NULL);
    take_rule_hosts(j, 'p');
    bool needs_80 = j->vhosts.n > all->n;
    for (size_t i = 0; i < all->n; i++) {
        vhost_parts(all->items[i]->name, &table, &host);
        if (slice_eq(table, last))
            continue;
        last = table;
        has_80 = has_80 || slice_eq(table, S("80"));
        table_end(j, table);
    }
    if (needs_80 && !has_80)
        table_end(j, S("80"));
}

static void table_proxy(struct table_job *j, const json_t *egress)
{
    take(j, list_get(j->b, LIST_VHOSTS_PROXY, j->cell->scope, NULL), (struct slice){0}, egress);
    take_rule_hosts(j, 'x');
    table_end(j, S("http_proxy"));
}

static bool is_http(struct slice protocol)
{
    return model_protocol_http(model_protocol_of(protocol, (struct slice){0}, 0));
}

static void tables_by_listener(struct table_job *j)
{
    const json_t *egress = jr_get(scope_sidecar(j->b, j->cell->scope), "egress");
    bool has_proxy = false, any = false;
    JR_EACH (egress, i, v) {
        struct slice protocol = jr_str(jr_get(v, "port"), "protocol");
        uint32_t number = jr_u32(jr_get(v, "port"), "number", 0);
        if (slice_eq_nocase(protocol, S("HTTP_PROXY")) && !has_proxy) {
            table_proxy(j, v);
            has_proxy = any = true;
        } else if (is_http(protocol) && number) {
            struct slice table = arena_printf(j->a, "%u", number);
            take(j, list_get(j->b, LIST_VHOSTS_PORTS, j->cell->scope, NULL), table, v);
            table_end(j, table);
            any = true;
        } else if (number) {
            any = true; /* a TCP listener needs no table */
        }
    }
    if (!any)
        table_proxy(j, NULL);
}

static bool tables_compute(struct graph *g, struct graph_cell *cell)
{
    struct tables_cell *c = (struct tables_cell *)cell;
    struct arena a = {0};
    struct table_job j = {.b = build_of(g), .cell = c, .a = &a};
    j.services = scope_services(j.b, c->scope, NULL);
    if (c->capture == CAPTURE_REDIRECT)
        tables_by_port(&j);
    else
        tables_by_listener(&j);
    unique_domains(&j);
    bool changed = make_configurations(&j);
    changed = list_set(&c->value.vhosts, &j.vhosts) || changed;
    for (size_t i = 0; i < j.owned.n; i++)
        xds_resource_unref(j.owned.p[i]);
    vec_fini(&j.owned);
    vec_fini(&j.tables);
    arena_fini(&a);
    return changed;
}

static void tables_fini(struct graph_cell *cell)
{
    struct tables_cell *c = (struct tables_cell *)cell;
    list_state_fini(&c->value.vhosts);
    list_state_fini(&c->value.vhds);
}

static const struct graph_cell_kind tables_kind = {"tables", sizeof(struct tables_cell),
                                                   tables_compute, tables_fini};

const struct tables *tables_get(struct build *b, struct scope *s, enum proxy_capture capture)
{
    uint64_t key[] = {s->id, (uint64_t)capture};
    bool is_new;
    struct graph_cell *cell =
        graph_cell(&b->graph, &tables_kind, slice_mem(key, sizeof(key)), &is_new);
    struct tables_cell *c = (struct tables_cell *)cell;
    if (is_new) {
        c->scope = s;
        c->capture = capture;
    }
    graph_get(&b->graph, cell);
    return &c->value;
}

/* The same with the virtual hosts inside. */

struct inside_cell {
    struct graph_cell cell;
    struct scope *scope;
    enum proxy_capture capture;
    struct list_state state;
};

static reg_rev max_rev(reg_rev a, reg_rev b)
{
    return a > b ? a : b;
}

/* Changes with what is in it, and with what could be in it. */
static reg_rev table_revision(struct build *b, struct xds_resource *const *p, size_t n)
{
    reg_rev rev = model_index(&b->model, MODEL_SERVICES, S(""))->node.revision;
    rev = max_rev(rev, model_index(&b->model, MODEL_ROUTES, S(""))->node.revision);
    for (size_t i = 0; i < n; i++)
        rev = max_rev(rev, p[i]->version.revision);
    return rev;
}

/* A table is refused for a rule, never for a service: naming a thousand services would help nobody.
 */
static void sources_of_rules(const struct xds_resource *r, struct sources *out)
{
    for (size_t i = 0; i < r->source_count; i++)
        if (!slice_starts(r->sources[i], S("services/")))
            sources_add(out, r->sources[i]);
}

/* The bytes of virtual hosts are copied, not encoded again. */
static void table_bytes(struct buf *body, struct slice table, struct xds_resource *const *p,
                        size_t n)
{
    pbw_bytes(body, 1, table);
    for (size_t i = 0; i < n; i++)
        pbw_bytes(body, 2, p[i]->body);
    pbw_len(body, 7, 0); /* validate_clusters: a wrapper with false */
    pbw_len(body, 11, 1 + pbw_varint_size(DIRECT_BODY_BYTES_MAX));
    pbw_u64(body, 1, DIRECT_BODY_BYTES_MAX);
    pbw_u64(body, 14, ignores_port(table) ? 1 : 0);
}

static struct xds_resource *table_inside(struct build *b, const struct inside_cell *c,
                                         struct slice table, struct xds_resource *const *p,
                                         size_t n)
{
    struct sources sources = {0};
    buf_clear(&b->packed);
    table_bytes(&b->packed, table, p, n);
    for (size_t i = 0; i < n; i++)
        sources_of_rules(p[i], &sources);
    struct xds_resource *r =
        build_resource_bytes(b, xds_list_find(c->state.list, table),
                             &(struct xds_resource_parts){.type = XDS_RDS,
                                                          .name = table,
                                                          .body = buf_slice(&b->packed),
                                                          .revision = table_revision(b, p, n),
                                                          .sources = sources.p,
                                                          .source_count = sources.n});
    vec_fini(&sources);
    return r;
}

static bool inside_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct inside_cell *c = (struct inside_cell *)cell;
    const struct xds_list *v = tables_get(b, c->scope, c->capture)->vhosts.list;
    struct unit_out made = {0}, all = {0};
    for (size_t i = 0, end; i < v->n; i = end) {
        struct slice table, host, other;
        vhost_parts(v->items[i]->name, &table, &host);
        for (end = i + 1; end < v->n; end++) {
            vhost_parts(v->items[end]->name, &other, &host);
            if (!slice_eq(other, table))
                break;
        }
        *vec_push(&made) = table_inside(b, c, table, v->items + i, end - i);
        *vec_push(&all) = made.p[made.n - 1];
    }
    bool changed = list_set(&c->state, &all);
    for (size_t i = 0; i < made.n; i++)
        xds_resource_unref(made.p[i]);
    vec_fini(&made);
    return changed;
}

static void inside_fini(struct graph_cell *cell)
{
    list_state_fini(&((struct inside_cell *)cell)->state);
}

static const struct graph_cell_kind inside_kind = {"inside", sizeof(struct inside_cell),
                                                   inside_compute, inside_fini};

struct xds_list *tables_inside(struct build *b, struct scope *s, enum proxy_capture capture)
{
    uint64_t key[] = {s->id, (uint64_t)capture};
    bool is_new;
    struct graph_cell *cell =
        graph_cell(&b->graph, &inside_kind, slice_mem(key, sizeof(key)), &is_new);
    struct inside_cell *c = (struct inside_cell *)cell;
    if (is_new) {
        c->scope = s;
        c->capture = capture;
    }
    graph_get(&b->graph, cell);
    return c->state.list;
}
