/* Listeners and their filter chains. */
#include "proxy/xds/conf_build_internal.h"

#include <string.h>

#include "api/proto/access_log_file.pb-c.h"
#include "api/proto/accesslog.pb-c.h"
#include "api/proto/fault.pb-c.h"
#include "api/proto/hcm.pb-c.h"
#include "api/proto/listener.pb-c.h"
#include "api/proto/tcp_proxy.pb-c.h"
#include "mixer/access_log.h"

#define MSG(name) Envoy__Config__Listener__V3__##name
#define HCM(name) Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__##name
#define TCP(name) Envoy__Extensions__Filters__Network__TcpProxy__V3__##name

/* HTTP filters that the data path has; others may only be optional. */
static const char *const http_filters[] = {
    "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
    "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
    /* Inert in this proxy: statistics, and CORS as long as no route asks for it. */
    "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors",
};

static bool filter_known(const Google__Protobuf__Any *config)
{
    for (size_t i = 0; config && i < ARRAY_LEN(http_filters); i++)
        if (strcmp(config->type_url, http_filters[i]) == 0)
            return true;
    return false;
}

static const Google__Protobuf__Any *filter_config(const HCM(HttpFilter) *h)
{
    return h->config_type_case ==
                   ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_TYPED_CONFIG
               ? h->typed_config
               : NULL;
}

/* The filter of faults stands for the routes' own; one that injects by itself would be left out. */
static bool check_fault_filter(const Google__Protobuf__Any *config, struct err *err)
{
    struct arena scratch = {0};
    const Envoy__Extensions__Filters__Http__Fault__V3__HTTPFault *f = any_unpack(
        config, &envoy__extensions__filters__http__fault__v3__httpfault__descriptor, &scratch, err);
    bool ok = f && (!f->delay && !f->abort && !f->response_rate_limit
                        ? true
                        : err_set(err, ERR_UNSUPPORTED,
                                  "faults for all routes are not known: put them on routes"));
    arena_fini(&scratch);
    return ok;
}

static bool check_filters(struct filter_chain *f, const HCM(HttpConnectionManager) *in,
                          struct err *err)
{
    const Google__Protobuf__Any *last = NULL;
    for (size_t i = 0; i < in->n_http_filters; i++) {
        const HCM(HttpFilter) *h = in->http_filters[i];
        last = filter_config(h);
        if (!filter_known(last) && !h->is_optional)
            return err_set(err, ERR_UNSUPPORTED, "http_filters[%zu] %s: not known to this proxy", i,
                           h->name);
        if (!last || strcmp(last->type_url, http_filters[1]) != 0)
            continue;
        f->has_fault_filter = true;
        if (!check_fault_filter(last, err))
            return err_wrap(err, "http_filters[%zu] %s", i, h->name);
    }
    if (!last || strcmp(last->type_url, http_filters[0]) != 0)
        return err_set(err, ERR_INVALID, "http_filters: the last one must be the router");
    return true;
}

/* Text formats; empty is Istio's line. */
static bool build_file_log(struct listener *l,
                           const Envoy__Extensions__AccessLoggers__File__V3__FileAccessLog *in,
                           struct err *err)
{
    l->access_log_path = build_text(&l->part.arena, in->path);
    switch (in->access_log_format_case) {
    case ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT__NOT_SET:
        return true;
    case ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_FORMAT:
        l->access_log_format = build_text(&l->part.arena, in->format);
        break;
    default: {
        const Envoy__Config__Core__V3__SubstitutionFormatString *f = in->log_format;
        const Envoy__Config__Core__V3__DataSource *text =
            f->format_case ==
                    ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT_SOURCE
                ? f->text_format_source
                : NULL;
        if (!text ||
            text->specifier_case != ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING)
            return err_set(err, ERR_UNSUPPORTED, "access_log: only inline text formats are known");
        l->access_log_format = build_text(&l->part.arena, text->inline_string);
    }
    }
    struct access_log *log = access_log_new(l->access_log_format, false, err);
    access_log_free(log);
    return log ? true : err_wrap(err, "access_log");
}

static bool build_access_log(struct listener *l, Envoy__Config__Accesslog__V3__AccessLog **logs,
                             size_t n, struct err *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        const Google__Protobuf__Any *config = logs[i]->typed_config;
        struct arena scratch = {0};
        l->access_log = true;
        if (config &&
            strcmp(config->type_url,
                   "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog") ==
                0) {
            const Envoy__Extensions__AccessLoggers__File__V3__FileAccessLog *file = any_unpack(
                config, &envoy__extensions__access_loggers__file__v3__file_access_log__descriptor,
                &scratch, err);
            ok = file && build_file_log(l, file, err);
        } else if (config && strcmp(config->type_url, "type.googleapis.com/"
                                                      "envoy.extensions.access_loggers.stream.v3."
                                                      "StdoutAccessLog") == 0) {
            l->access_log_path = S("/dev/stdout");
        } else {
            ok = err_set(err, ERR_UNSUPPORTED, "access_log %s: not known", logs[i]->name);
        }
        arena_fini(&scratch);
    }
    return ok;
}

/* An inline route_config is complete at once; RDS leaves the name. */
static bool build_route_source(struct listener *l, struct filter_chain *f,
                               const HCM(HttpConnectionManager) *in, struct err *err)
{
    struct route_spec spec;
    switch (in->route_specifier_case) {
    case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS:
        f->route_name = build_text(&l->part.arena, in->rds->route_config_name);
        return f->route_name.n ? true : err_set(err, ERR_INVALID, "rds.route_config_name: empty");
    case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_ROUTE_CONFIG:
        if (!build_route_spec(in->route_config, slice_of(in->route_config->name), l->version, &spec,
                              err))
            return false;
        f->routes = conf_bind_routes(&spec, NULL, 0, err);
        route_spec_fini(&spec);
        return f->routes != NULL;
    default:
        return err_set(err, ERR_UNSUPPORTED, "route_specifier: neither rds nor route_config");
    }
}

static bool build_hcm(struct listener *l, struct filter_chain *f,
                      const HCM(HttpConnectionManager) *in, struct err *err)
{
    static const enum codec_kind codecs[] = {CODEC_AUTO, CODEC_HTTP1, CODEC_HTTP2};
    f->kind = CHAIN_HTTP;
    f->stat_prefix = build_text(&l->part.arena, in->stat_prefix);
    if (f->stat_prefix.n == 0)
        return err_set(err, ERR_INVALID, "stat_prefix: must not be empty");
    if ((size_t)in->codec_type >= ARRAY_LEN(codecs))
        return err_set(err, ERR_UNSUPPORTED, "codec_type %d: not known", (int)in->codec_type);
    f->codec = codecs[in->codec_type];
    f->idle_timeout = build_ms(
        in->common_http_protocol_options ? in->common_http_protocol_options->idle_timeout : NULL,
        3600000);
    f->stream_idle_timeout = build_ms(in->stream_idle_timeout, 300000);
    f->request_timeout = build_ms(in->request_timeout, 0);
    f->headers_timeout = build_ms(in->request_headers_timeout, 0);
    f->drain_timeout = build_ms(in->drain_timeout, 5000);
    f->headers_kb_max = build_u32(in->max_request_headers_kb, 60);
    f->generate_request_id = build_bool(in->generate_request_id, true);
    f->use_remote_address = build_bool(in->use_remote_address, false);
    f->normalize_path = build_bool(in->normalize_path, false);
    f->merge_slashes = in->merge_slashes;
    f->accept_http10 = in->http_protocol_options && in->http_protocol_options->accept_http_10;
    if (in->http_protocol_options &&
        build_bool(in->http_protocol_options->allow_absolute_url, false))
        l->http_proxy = true;
    for (size_t i = 0; i < in->n_upgrade_configs; i++) {
        struct slice type = slice_of(in->upgrade_configs[i]->upgrade_type);
        if (slice_eq_nocase(type, S("websocket")))
            f->websocket = build_bool(in->upgrade_configs[i]->enabled, true);
        if (slice_eq_nocase(type, S("CONNECT")))
            l->http_proxy = true;
    }
    return check_filters(f, in, err) &&
           build_access_log(l, in->access_log, in->n_access_log, err) &&
           build_route_source(l, f, in, err);
}

static bool build_tcp(struct listener *l, struct filter_chain *f, const TCP(TcpProxy) * in,
                      struct err *err)
{
    struct arena *arena = &l->part.arena;
    bool weighted =
        in->cluster_specifier_case ==
        ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS;
    size_t n = weighted ? in->weighted_clusters->n_clusters : 1;
    uint64_t total = 0;
    f->kind = CHAIN_TCP;
    f->stat_prefix = build_text(arena, in->stat_prefix);
    f->idle_timeout = build_ms(in->idle_timeout, 3600000);
    if (f->stat_prefix.n == 0)
        return err_set(err, ERR_INVALID, "tcp_proxy.stat_prefix: must not be empty");
    if (in->tunneling_config)
        return err_set(err, ERR_UNSUPPORTED, "tcp_proxy.tunneling_config: not known");
    f->tcp_clusters = ARENA_ARRAY(arena, struct weighted_cluster, n + 1);
    for (size_t i = 0; i < n; i++) {
        f->tcp_clusters[i].cluster =
            build_text(arena, weighted ? in->weighted_clusters->clusters[i]->name : in->cluster);
        f->tcp_clusters[i].weight = weighted ? in->weighted_clusters->clusters[i]->weight : 1;
        total += f->tcp_clusters[i].weight;
        if (f->tcp_clusters[i].cluster.n == 0)
            return err_set(err, ERR_INVALID, "tcp_proxy: a cluster without a name");
    }
    if (total == 0 || total > UINT32_MAX)
        return err_set(err, ERR_INVALID, "tcp_proxy: the weights add up to %llu",
                       (unsigned long long)total);
    f->tcp_cluster_count = n;
    f->tcp_weight_total = (uint32_t)total;
    return build_access_log(l, in->access_log, in->n_access_log, err);
}

static bool build_network_filter(struct listener *l, struct filter_chain *f, const MSG(Filter) * in,
                                 struct err *err)
{
    struct arena scratch = {0};
    bool ok;
    const Google__Protobuf__Any *config =
        in->config_type_case == ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG
            ? in->typed_config
            : NULL;
    if (any_is(
            config,
            &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__descriptor)) {
        const HCM(HttpConnectionManager) *hcm = any_unpack(
            config,
            &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__descriptor,
            &scratch, err);
        ok = hcm && build_hcm(l, f, hcm, err);
    } else if (any_is(config,
                      &envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__descriptor)) {
        const TCP(TcpProxy) *tcp = any_unpack(
            config, &envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__descriptor,
            &scratch, err);
        ok = tcp && build_tcp(l, f, tcp, err);
    } else {
        ok = err_set(err, ERR_UNSUPPORTED,
                     "filter %s: neither http_connection_manager nor tcp_proxy", in->name);
    }
    arena_fini(&scratch);
    return ok;
}

static bool build_chain_match(struct listener *l, struct filter_chain *f,
                              const MSG(FilterChainMatch) * in, struct err *err)
{
    if (!in)
        return true;
    f->destination_port = (uint16_t)build_u32(in->destination_port, 0);
    f->snis = ARENA_ARRAY(&l->part.arena, struct slice, in->n_server_names + 1);
    for (; f->sni_count < in->n_server_names; f->sni_count++)
        f->snis[f->sni_count] = build_lower(&l->part.arena, in->server_names[f->sni_count]);
    f->alpn_count = in->n_application_protocols;
    /* TLS is not looked into: such a chain is never chosen, and the default one takes it all. */
    f->tls = strcmp(in->transport_protocol, "tls") == 0 || f->sni_count > 0;
    /* Whom it should take and whom not, by what is not looked at: it would take everybody. */
    if (in->n_prefix_ranges || in->n_source_prefix_ranges || in->n_direct_source_prefix_ranges ||
        in->n_source_ports || in->address_suffix[0] || in->suffix_len || in->source_type)
        return err_set(err, ERR_UNSUPPORTED,
                       "filter_chain_match: addresses, sources and source ports are not known");
    return true;
}

static bool build_chain(struct listener *l, const MSG(FilterChain) * in, struct err *err)
{
    struct filter_chain *f = &l->chains[l->chain_count++];
    f->name = build_text(&l->part.arena, in->name);
    if (in->transport_socket &&
        strcmp(in->transport_socket->name, "envoy.transport_sockets.raw_buffer") != 0)
        return err_set(err, ERR_UNSUPPORTED, "transport_socket %s: not known",
                       in->transport_socket->name);
    if (in->n_filters == 0)
        return err_set(err, ERR_INVALID, "filters: must not be empty");
    if (in->n_filters > 1)
        return err_set(err, ERR_UNSUPPORTED, "filters[0] %s: only one filter a chain is known",
                       in->filters[0]->name);
    return build_chain_match(l, f, in->filter_chain_match, err) &&
           build_network_filter(l, f, in->filters[0], err);
}

static bool listener_fill(struct listener *l, const MSG(Listener) * in, struct err *err)
{
    if (in->api_listener)
        return err_set(err, ERR_UNSUPPORTED, "api_listener: is for gRPC, not for a proxy");
    if (!build_addr(in->address, &l->addr, err))
        return false;
    l->bind = build_bool(in->bind_to_port, true);
    l->use_original_dst = build_bool(in->use_original_dst, false);
    l->inbound = in->traffic_direction == ENVOY__CONFIG__CORE__V3__TRAFFIC_DIRECTION__INBOUND;
    l->chains = ARENA_ARRAY(&l->part.arena, struct filter_chain, in->n_filter_chains + 2);
    for (size_t i = 0; i < in->n_filter_chains; i++)
        if (!build_chain(l, in->filter_chains[i], err))
            return err_wrap(err, "filter_chains[%zu]", i);
    if (in->default_filter_chain && !build_chain(l, in->default_filter_chain, err))
        return err_wrap(err, "default_filter_chain");
    if (l->chain_count == 0)
        return err_set(err, ERR_INVALID, "filter_chains: must not be empty");
    return true;
}

struct listener *conf_build_listener(struct slice name, struct xds_stamp version, struct slice body,
                                     struct err *err)
{
    struct arena scratch = {0};
    struct listener *l = NULL;
    const MSG(Listener) *in =
        pb_unpack(&envoy__config__listener__v3__listener__descriptor, body, &scratch, err);
    if (in) {
        l = listener_new();
        l->name = arena_dup(&l->part.arena, name);
        l->version = version;
    }
    if (!in || !listener_fill(l, in, err)) {
        err_wrap(err, "Listener %.*s", SLICE(name));
        if (l)
            conf_part_unref(&l->part);
        l = NULL;
    }
    arena_fini(&scratch);
    return l;
}

bool conf_bind_listener(struct listener *spec,
                        struct route_table *(*find)(void *ctx, struct slice name), void *ctx,
                        struct listener **ret)
{
    for (size_t i = 0; i < spec->chain_count; i++)
        if (spec->chains[i].route_name.n && !find(ctx, spec->chains[i].route_name))
            return false;
    struct listener *l = listener_new();
    conf_part_copy(&l->part, &spec->part, sizeof(*l));
    l->chains = ARENA_ARRAY(&l->part.arena, struct filter_chain, spec->chain_count + 1);
    for (size_t i = 0; i < spec->chain_count; i++) {
        l->chains[i] = spec->chains[i];
        if (spec->chains[i].route_name.n)
            l->chains[i].routes = find(ctx, spec->chains[i].route_name);
        if (l->chains[i].routes)
            conf_part_ref(&l->chains[i].routes->part);
    }
    *ret = l;
    return true;
}
