/* proxy-config: what a proxy was given, as tables of what a person looks for. */
#include <inttypes.h>
#include <string.h>

#include "base/net/uri.h"
#include "base/wire/json.h"
#include "cli/mesh.h"

/* The parts of "outbound|9080|v1|reviews.default.svc.cluster.local"; another name is all host. */
struct cluster_name {
    struct slice direction, port, subset, host;
};

static struct cluster_name cluster_parse(struct slice name)
{
    struct cluster_name c = {.host = name};
    struct slice direction, port, subset, rest;
    if (slice_cut(name, '|', &direction, &rest) && slice_cut(rest, '|', &port, &rest) &&
        slice_cut(rest, '|', &subset, &rest))
        c = (struct cluster_name){direction, port, subset, rest};
    return c;
}

/* Which resources. */

static bool flag_equals(const struct cli *c, enum flag_id id, struct slice value)
{
    return !c->flags.values[id].given || slice_eq(c->flags.values[id].text, value);
}

/* --fqdn takes the host whole, or its beginning up to a dot. */
static bool fqdn_matches(const struct cli *c, struct slice host)
{
    struct slice want = flags_text(&c->flags, FLAG_FQDN, (struct slice){0});
    return !want.n || slice_eq(want, host) || (slice_starts(host, want) && host.p[want.n] == '.');
}

static bool cluster_wanted(const struct cli *c, struct slice name)
{
    struct cluster_name n = cluster_parse(name);
    return fqdn_matches(c, n.host) && flag_equals(c, FLAG_PORT, n.port) &&
           flag_equals(c, FLAG_SUBSET, n.subset) && flag_equals(c, FLAG_DIRECTION, n.direction);
}

static void cell_or_dash(struct table *t, struct slice text)
{
    table_cell(t, text.n ? text : S("-"));
}

static void status_cell(struct table *t, const json_t *resource)
{
    struct slice status = json_str(resource, "status");
    table_cell_tint(t, status,
                    slice_eq(status, S("SYNCED"))  ? TINT_GOOD
                    : slice_eq(status, S("ERROR")) ? TINT_BAD
                                                   : TINT_WARN);
}

/* Clusters. */

static void cluster_row(struct table *t, const struct cli *c, const json_t *resource)
{
    const json_t *body = json_object_get(resource, "body");
    struct slice type = json_str(body, "type");
    struct cluster_name n = cluster_parse(json_str(resource, "name"));
    if (!cluster_wanted(c, json_str(resource, "name")))
        return;
    if (!type.n)
        type = json_str(body, "clusterType.name");
    cell_or_dash(t, n.host);
    cell_or_dash(t, n.port);
    cell_or_dash(t, n.subset);
    cell_or_dash(t, n.direction);
    table_cell(t, type.n ? type : S("STATIC"));
    status_cell(t, resource);
}

/* Endpoints. */

static struct slice address_text(struct table *t, const json_t *address)
{
    const json_t *socket = json_object_get(address, "socketAddress");
    struct slice pipe = json_str(address, "pipe.path");
    if (socket)
        return arena_printf(&t->arena, "%.*s:%" PRId64, SLICE(json_str(socket, "address")),
                            json_int(socket, "portValue", 0));
    if (pipe.n)
        return arena_printf(&t->arena, "unix:%.*s", SLICE(pipe));
    return json_str(address, "envoyInternalAddress.serverListenerName");
}

static void endpoint_rows(struct table *t, struct slice cluster, const json_t *locality)
{
    size_t i;
    json_t *e;
    json_array_foreach (json_object_get(locality, "lbEndpoints"), i, e) {
        struct slice health = json_str(e, "healthStatus");
        table_cell(t, address_text(t, json_at(e, "endpoint.address")));
        table_cell(t, health.n ? health : S("HEALTHY"));
        table_cellf(t, "%" PRId64, json_int(e, "loadBalancingWeight", 1));
        table_cellf(t, "%" PRId64, json_int(locality, "priority", 0));
        cell_or_dash(t, json_str(locality, "locality.zone"));
        table_cell(t, cluster);
    }
}

/* body: a ClusterLoadAssignment. */
static void assignment_rows(struct table *t, const struct cli *c, struct slice cluster,
                            const json_t *assignment)
{
    size_t i;
    json_t *locality;
    if (!cluster_wanted(c, cluster))
        return;
    json_array_foreach (json_object_get(assignment, "endpoints"), i, locality)
        endpoint_rows(t, cluster, locality);
}

static void assignment_row(struct table *t, const struct cli *c, const json_t *resource)
{
    assignment_rows(t, c, json_str(resource, "name"), json_object_get(resource, "body"));
}

/* Clusters of addresses that stand in the cluster itself. */
static void inline_row(struct table *t, const struct cli *c, const json_t *resource)
{
    assignment_rows(t, c, json_str(resource, "name"), json_at(resource, "body.loadAssignment"));
}

/* Listeners. */

static struct slice join(struct table *t, const json_t *list, const char *with)
{
    struct slice all = S("");
    size_t i;
    json_t *v;
    json_array_foreach (list, i, v)
        all =
            arena_printf(&t->arena, "%.*s%s%.*s", SLICE(all), i ? with : "", SLICE(json_slice(v)));
    return all;
}

static struct slice match_part(struct table *t, struct slice all, const char *name,
                               struct slice value)
{
    return value.n ? arena_printf(&t->arena, "%.*s%s%s: %.*s", SLICE(all), all.n ? "; " : "", name,
                                  SLICE(value))
                   : all;
}

static struct slice chain_match(struct table *t, const json_t *match)
{
    struct slice all = S(""), prefixes = {0};
    size_t i;
    json_t *range;
    json_array_foreach (json_object_get(match, "prefixRanges"), i, range)
        prefixes =
            arena_printf(&t->arena, "%.*s%s%.*s/%" PRId64, SLICE(prefixes), i ? "," : "",
                         SLICE(json_str(range, "addressPrefix")), json_int(range, "prefixLen", 0));
    all = match_part(t, all, "SNI", join(t, json_object_get(match, "serverNames"), ","));
    all = match_part(t, all, "Transport", json_str(match, "transportProtocol"));
    all = match_part(t, all, "App", join(t, json_object_get(match, "applicationProtocols"), ","));
    all = match_part(t, all, "Addr", prefixes);
    if (json_int(match, "destinationPort", 0))
        all =
            match_part(t, all, "Port",
                       arena_printf(&t->arena, "%" PRId64, json_int(match, "destinationPort", 0)));
    return all.n ? all : S("ALL");
}

/* "v1: 90%, v2: 10%" with whole cluster names; the total need not be 100. */
static struct slice weighted(struct table *t, const json_t *clusters)
{
    struct slice all = S("");
    size_t i;
    json_t *w;
    json_array_foreach (clusters, i, w)
        all = arena_printf(&t->arena, "%.*s%s%.*s: %" PRId64, SLICE(all), i ? ", " : "",
                           SLICE(json_str(w, "name")), json_int(w, "weight", 0));
    return all;
}

static struct slice filter_target(struct table *t, const json_t *filter)
{
    const json_t *config = json_object_get(filter, "typedConfig");
    struct slice rds = json_str(config, "rds.routeConfigName"),
                 cluster = json_str(config, "cluster");
    const json_t *many = json_at(config, "weightedClusters.clusters");
    if (rds.n)
        return arena_printf(&t->arena, "Route: %.*s", SLICE(rds));
    if (json_object_get(config, "routeConfig"))
        return arena_printf(&t->arena, "Route: %.*s (inline)",
                            SLICE(json_str(config, "routeConfig.name")));
    if (cluster.n)
        return arena_printf(&t->arena, "Cluster: %.*s", SLICE(cluster));
    return many ? arena_printf(&t->arena, "Cluster: %.*s", SLICE(weighted(t, many)))
                : (struct slice){0};
}

static struct slice chain_target(struct table *t, const json_t *chain)
{
    const json_t *filters = json_object_get(chain, "filters");
    struct slice target = S("");
    for (size_t i = json_array_size(filters); i > 0 && !target.n; i--)
        target = filter_target(t, json_array_get(filters, i - 1));
    return target.n ? target : S("-");
}

static void listener_row(struct table *t, const struct cli *c, const json_t *resource)
{
    const json_t *body = json_object_get(resource, "body"), *chains;
    struct slice address = address_text(t, json_object_get(body, "address")), host, port;
    size_t i;
    json_t *chain;
    if (!slice_cut_last(address, ':', &host, &port))
        port = (struct slice){0};
    if (!flag_equals(c, FLAG_PORT, port) || !flag_equals(c, FLAG_NAME, json_str(resource, "name")))
        return;
    chains = json_object_get(body, "filterChains");
    json_t *all = chains ? json_deep_copy(chains) : json_array();
    if (json_object_get(body, "defaultFilterChain"))
        json_array_append(all, json_object_get(body, "defaultFilterChain"));
    json_array_foreach (all, i, chain) {
        table_cell(t, json_str(resource, "name"));
        table_cell(t, host);
        cell_or_dash(t, port);
        table_cell(t, chain_match(t, json_object_get(chain, "filterChainMatch")));
        table_cell(t, chain_target(t, chain));
        status_cell(t, resource);
    }
    json_decref(all);
}

/* Routes. */

static struct slice header_match(struct table *t, const json_t *h)
{
    struct slice name = json_str(h, "name");
    static const struct {
        const char *path, *sign;
    } forms[] = {
        {"stringMatch.exact", "="},     {"stringMatch.prefix", "=^"},
        {"stringMatch.suffix", "=$"},   {"stringMatch.safeRegex.regex", "~"},
        {"stringMatch.contains", "*="}, {"exactMatch", "="},
        {"prefixMatch", "=^"},          {"safeRegexMatch.regex", "~"},
    };
    const char *not = json_bool(h, "invertMatch", false) ? "!" : "";
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        const json_t *v = json_at(h, forms[i].path);
        if (v)
            return arena_printf(&t->arena, "%s%.*s%s%.*s", not, SLICE(name), forms[i].sign,
                                SLICE(json_slice(v)));
    }
    return arena_printf(&t->arena, "%s%.*s", not, SLICE(name));
}

static struct slice path_match(struct table *t, const json_t *match)
{
    struct slice path = json_str(match, "path"), regex = json_str(match, "safeRegex.regex");
    struct slice apart = json_str(match, "pathSeparatedPrefix");
    if (path.n)
        return path;
    if (regex.n)
        return arena_printf(&t->arena, "~%.*s", SLICE(regex));
    if (apart.n)
        return arena_printf(&t->arena, "%.*s[/*]", SLICE(apart));
    if (json_object_get(match, "connectMatcher"))
        return S("CONNECT");
    return arena_printf(&t->arena, "%.*s*", SLICE(json_str(match, "prefix")));
}

static struct slice route_match(struct table *t, const json_t *match)
{
    struct slice all = path_match(t, match);
    size_t i;
    json_t *m;
    json_array_foreach (json_object_get(match, "headers"), i, m)
        all = arena_printf(&t->arena, "%.*s %.*s", SLICE(all), SLICE(header_match(t, m)));
    json_array_foreach (json_object_get(match, "queryParameters"), i, m)
        all = arena_printf(&t->arena, "%.*s ?%.*s", SLICE(all), SLICE(json_str(m, "name")));
    return all;
}

static struct slice route_target(struct table *t, const json_t *route)
{
    struct slice cluster = json_str(route, "route.cluster");
    const json_t *many = json_at(route, "route.weightedClusters.clusters");
    const json_t *redirect = json_object_get(route, "redirect");
    if (cluster.n)
        return cluster;
    if (many)
        return weighted(t, many);
    if (redirect)
        return arena_printf(&t->arena, "redirect to %.*s%.*s",
                            SLICE(json_str(redirect, "hostRedirect")),
                            SLICE(json_str(redirect, "pathRedirect")));
    if (json_object_get(route, "directResponse"))
        return arena_printf(&t->arena, "answer %" PRId64,
                            json_int(route, "directResponse.status", 0));
    if (json_object_get(route, "nonForwardingAction"))
        return S("inbound");
    return json_str(route, "route.clusterHeader");
}

static void virtual_host_rows(struct table *t, const struct cli *c, struct slice name,
                              const json_t *vhost, const json_t *resource)
{
    size_t i;
    json_t *route;
    struct slice domains = join(t, json_object_get(vhost, "domains"), ",");
    const json_t *first = json_at(vhost, "domains[0]");
    if (!flag_equals(c, FLAG_NAME, name) || !fqdn_matches(c, json_slice(first)))
        return;
    if (json_array_size(json_object_get(vhost, "domains")) > 2 && cli_output(c) != OUTPUT_WIDE)
        domains = arena_printf(&t->arena, "%.*s + %zu more", SLICE(json_slice(first)),
                               json_array_size(json_object_get(vhost, "domains")) - 1);
    json_array_foreach (json_object_get(vhost, "routes"), i, route) {
        table_cell(t, name);
        table_cell(t, json_str(vhost, "name"));
        table_cell(t, domains);
        table_cell(t, route_match(t, json_object_get(route, "match")));
        cell_or_dash(t, route_target(t, route));
        status_cell(t, resource);
    }
}

static void route_row(struct table *t, const struct cli *c, const json_t *resource)
{
    size_t i;
    json_t *vhost;
    json_array_foreach (json_at(resource, "body.virtualHosts"), i, vhost)
        virtual_host_rows(t, c, json_str(resource, "name"), vhost, resource);
}

/* A virtual host as a resource of its own is called "ROUTE/HOST". */
static void virtual_host_row(struct table *t, const struct cli *c, const json_t *resource)
{
    struct slice route, host;
    slice_cut(json_str(resource, "name"), '/', &route, &host);
    virtual_host_rows(t, c, route, json_object_get(resource, "body"), resource);
}

static void listener_routes_row(struct table *t, const struct cli *c, const json_t *resource)
{
    size_t i, j, k;
    json_t *chain, *filter, *vhost;
    json_array_foreach (json_at(resource, "body.filterChains"), i, chain)
        json_array_foreach (json_object_get(chain, "filters"), j, filter)
            json_array_foreach (json_at(filter, "typedConfig.routeConfig.virtualHosts"), k, vhost)
                virtual_host_rows(t, c, json_str(filter, "typedConfig.routeConfig.name"), vhost,
                                  resource);
}

/* Views. */

struct part {
    const char *type;
    void (*row)(struct table *t, const struct cli *c, const json_t *resource);
};

struct view {
    const char *const *titles;
    size_t title_n;
    size_t sorted_by; /* column; the order of the resources within */
    struct part parts[3];
};

static const char *const cluster_titles[] = {"SERVICE-FQDN", "PORT", "SUBSET",
                                             "DIRECTION",    "TYPE", "STATUS"};
static const char *const endpoint_titles[] = {"ENDPOINT", "HEALTH", "WEIGHT",
                                              "PRIORITY", "ZONE",   "CLUSTER"};
static const char *const listener_titles[] = {"NAME",  "ADDRESS",     "PORT",
                                              "MATCH", "DESTINATION", "STATUS"};
static const char *const route_titles[] = {"NAME",  "VIRTUAL-HOST", "DOMAINS",
                                           "MATCH", "DESTINATION",  "STATUS"};

static const struct view clusters_view = {
    cluster_titles, ARRAY_LEN(cluster_titles), 0, {{"cds", cluster_row}}};
static const struct view endpoints_view = {
    endpoint_titles, ARRAY_LEN(endpoint_titles), 5, {{"eds", assignment_row}, {"cds", inline_row}}};
static const struct view listeners_view = {
    listener_titles, ARRAY_LEN(listener_titles), 0, {{"lds", listener_row}}};
static const struct view routes_view = {
    route_titles,
    ARRAY_LEN(route_titles),
    0,
    {{"rds", route_row}, {"vhds", virtual_host_row}, {"lds", listener_routes_row}}};

static void view_print(struct cli *c, const struct view *view, const json_t *config)
{
    struct table t = {0};
    struct table_style style = cli_table_style(c);
    size_t i, j;
    json_t *resource;
    table_columns(&t, view->titles, view->title_n);
    for (i = 0; i < ARRAY_LEN(view->parts) && view->parts[i].type; i++) {
        const json_t *list = json_object_get(json_object_get(config, "types"), view->parts[i].type);
        json_array_foreach (list, j, resource)
            view->parts[i].row(&t, c, resource);
    }
    table_sort(&t, view->sorted_by);
    table_print(&t, c->out, &style);
    table_fini(&t);
}

/* Fetching. */

/* A whole name is asked for at once; a short one is looked up in the list. */
static struct slice proxy_name(struct cli *c, struct slice word, struct err *err)
{
    if (slice_find(word, '.') != SIZE_MAX || slice_find(word, '~') != SIZE_MAX)
        return word;
    json_t *list = cli_fetch(c, S("/weft/v1/proxies"), err);
    const json_t *proxy = list ? mesh_find_proxy(list, word, err) : NULL;
    struct slice name = proxy ? arena_dup(&c->arena, json_str(proxy, "name")) : (struct slice){0};
    json_decref(list);
    return name;
}

static json_t *config_fetch(struct cli *c, struct err *err)
{
    struct slice name = proxy_name(c, c->flags.words[0], err);
    if (!name.n)
        return NULL;
    return cli_fetch(
        c,
        arena_printf(&c->arena, "/weft/v1/proxies/%.*s/config", SLICE(uri_encode(name, &c->arena))),
        err);
}

/* As data: the resources of the view's types, whole. */
static int view_data(struct cli *c, const struct view *const *views, size_t n, const json_t *config)
{
    json_t *shown = json_object();
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < ARRAY_LEN(views[i]->parts) && views[i]->parts[j].type; j++) {
            const char *type = views[i]->parts[j].type;
            json_t *list = json_object_get(json_object_get(config, "types"), type);
            if (list && (n > 1 || j == 0 || strcmp(type, "vhds") == 0))
                json_object_set(shown, type, list);
        }
    int code = cli_print_data(c, shown);
    json_decref(shown);
    return code;
}

static int views_run(struct cli *c, const struct view *const *views, size_t n)
{
    struct err err = {0};
    json_t *config = config_fetch(c, &err);
    int code = CLI_OK;
    if (!config)
        return cli_fail(c, &err);
    if (cli_output(c) == OUTPUT_JSON || cli_output(c) == OUTPUT_YAML) {
        code = view_data(c, views, n, config);
    } else {
        for (size_t i = 0; i < n; i++) {
            if (i)
                fputc('\n', c->out);
            view_print(c, views[i], config);
        }
    }
    json_decref(config);
    return code;
}

int cmd_proxy_clusters(struct cli *c)
{
    return views_run(c, &(const struct view *){&clusters_view}, 1);
}

int cmd_proxy_endpoints(struct cli *c)
{
    return views_run(c, &(const struct view *){&endpoints_view}, 1);
}

int cmd_proxy_listeners(struct cli *c)
{
    return views_run(c, &(const struct view *){&listeners_view}, 1);
}

int cmd_proxy_routes(struct cli *c)
{
    return views_run(c, &(const struct view *){&routes_view}, 1);
}

int cmd_proxy_all(struct cli *c)
{
    static const struct view *const all[] = {&clusters_view, &endpoints_view, &listeners_view,
                                             &routes_view};
    return views_run(c, all, ARRAY_LEN(all));
}
