/* The proxy's configuration as the workers run it: an immutable tree, built aside from xDS
 * resources, validated whole, swapped by pointer.
 *
 *   main thread    builds a struct conf from the accepted resources (xds/conf_build.h), hands it to
 *                  each worker
 *   worker         keeps one reference; each stream keeps one on the conf it was routed by
 *   last release   frees the arena: nothing inside is freed singly
 *
 * Route tables, clusters and endpoint sets are shared between successive confs (conf_part: own
 * reference count and arena), so that a change of one endpoint builds one endpoint set. What
 * changes at run time (connections, counters, round-robin positions, health) lives in the worker,
 * keyed by cluster name and endpoint address, and survives a swap: a swap never touches a request
 * that is under way.
 */
#ifndef WEFT_PROXY_CONF_H
#define WEFT_PROXY_CONF_H

#include <stdatomic.h>

#include "base/core/map.h"
#include "base/core/mem.h"
#include "base/core/regex.h"
#include "base/env/env.h"

struct conf_part {
    atomic_uint refs;
    struct arena arena;
    void (*fini)(struct conf_part *part); /* regexes and other things that are not in the arena */
    struct conf_part *shares; /* a part whose memory this one points into; one reference */
};

/* Matching values. */

enum match_kind {
    MATCH_EXACT,
    MATCH_PREFIX,
    MATCH_SUFFIX,
    MATCH_CONTAINS,
    MATCH_REGEX,
    MATCH_PRESENT,
    MATCH_RANGE
};

struct string_match {
    enum match_kind kind;
    bool ignore_case;
    struct slice text; /* lower-cased when ignore_case */
    struct regex *regex;
    int64_t range_start, range_end; /* half open, of the value as a decimal integer */
};

struct header_match {
    struct slice name; /* lower case; ":method", ":authority", … as in Envoy */
    bool invert, missing_as_empty;
    struct string_match value;
};

struct query_match {
    struct slice name;
    struct string_match value;
};

/* Header changes. */

enum header_append {
    HEADER_APPEND,
    HEADER_ADD_IF_ABSENT,
    HEADER_OVERWRITE,
    HEADER_OVERWRITE_IF_EXISTS
};

struct header_change {
    enum header_append action;
    struct slice name, value; /* value may hold Envoy's %COMMANDS%; see format.h */
};

/* Applied in Envoy's order: removals, then additions. */
struct header_changes {
    size_t add_count, remove_count;
    struct header_change *add;
    struct slice *remove;
};

/* Routes. */

enum path_kind { PATH_PREFIX, PATH_EXACT, PATH_REGEX, PATH_SEPARATED_PREFIX, PATH_CONNECT };

struct fraction { /* of a million */
    uint32_t per_million;
};

/* retry_on as bits; names as Envoy spells them. */
enum retry_on {
    RETRY_5XX = 1 << 0,
    RETRY_GATEWAY_ERROR = 1 << 1,
    RETRY_RESET = 1 << 2,
    RETRY_CONNECT_FAILURE = 1 << 3,
    RETRY_REFUSED_STREAM = 1 << 4,
    RETRY_RETRIABLE_4XX = 1 << 5,
    RETRY_RETRIABLE_STATUS_CODES = 1 << 6,
    RETRY_RESET_BEFORE_REQUEST = 1 << 7,
    RETRY_GRPC_CANCELLED = 1 << 8,
    RETRY_GRPC_DEADLINE_EXCEEDED = 1 << 9,
    RETRY_GRPC_INTERNAL = 1 << 10,
    RETRY_GRPC_RESOURCE_EXHAUSTED = 1 << 11,
    RETRY_GRPC_UNAVAILABLE = 1 << 12,
};

struct retry_policy {
    uint32_t on;
    uint32_t attempts_max;           /* retries, without the first try */
    wf_ms per_try_timeout;           /* 0 = none */
    wf_ms backoff_base, backoff_max; /* Envoy: 25 ms, 10 × base */
    size_t status_count;
    uint32_t *statuses;
    bool avoid_previous_hosts;
    uint32_t host_attempts_max;
};

struct fault {
    struct fraction delay_fraction, abort_fraction;
    wf_ms delay;
    uint32_t abort_status; /* HTTP; 0 = none */
    int32_t abort_grpc;    /* gRPC status; -1 = none */
};

struct weighted_cluster {
    struct slice cluster;
    uint32_t weight;
    struct header_changes request, response;
};

enum route_action { ROUTE_FORWARD, ROUTE_REDIRECT, ROUTE_DIRECT };

struct route {
    struct slice name;
    /* match */
    enum path_kind path_kind;
    struct slice path; /* lower-cased when ignore_case */
    bool ignore_case, grpc_only;
    struct regex *path_regex;
    size_t header_count, query_count;
    struct header_match *headers;
    struct query_match *queries;
    struct fraction runtime_fraction;
    bool has_runtime_fraction;
    /* action */
    enum route_action action;
    size_t cluster_count; /* ROUTE_FORWARD: 1 = plain cluster */
    struct weighted_cluster *clusters;
    uint32_t weight_total;
    struct slice prefix_rewrite, host_rewrite;
    struct regex *regex_rewrite;
    struct slice regex_substitution;
    bool has_prefix_rewrite, auto_host_rewrite;
    wf_ms timeout;      /* 0 = none; Envoy's 15 s when the resource leaves it out */
    wf_ms idle_timeout; /* 0 = the listener's */
    bool has_retry, has_fault;
    struct retry_policy retry;
    struct fault fault;
    bool websocket, websocket_set; /* upgrade_configs of the route */
    size_t hash_count;             /* hash policies */
    struct hash_policy *hashes;
    struct slice redirect_host, redirect_path, redirect_prefix, redirect_scheme;
    bool redirect_has_path, redirect_has_prefix, redirect_strip_query;
    uint32_t redirect_port, redirect_status;
    uint32_t direct_status;
    struct slice direct_body;
    struct header_changes request, response;
};

enum hash_kind { HASH_HEADER, HASH_COOKIE, HASH_SOURCE_IP, HASH_QUERY };
struct hash_policy {
    enum hash_kind kind;
    bool terminal;
    struct slice name; /* header, cookie, query parameter */
    wf_ms cookie_ttl;  /* cookie: -1 = do not make one */
    struct slice cookie_path;
};

struct virtual_host {
    struct conf_part part;
    struct slice name;
    size_t domain_count, route_count;
    struct slice *domains; /* in lower case */
    struct route *routes;
    struct header_changes request, response;
    struct retry_policy retry; /* for routes without one */
    bool has_retry, attempt_count_header;
};

/* A route configuration by name, with the virtual hosts that came inside it or by VHDS. */
struct route_table {
    struct conf_part part;
    struct slice name;
    struct xds_stamp {
        uint64_t revision, hash;
    } version;
    size_t vhost_count;
    struct virtual_host **vhosts; /* each its own part, referenced */
    /* host -> virtual host: exact map, then suffix "*.x" longest first, then prefix "x.*", then
     * "*". */
    struct map exact;
    size_t suffix_count, prefix_count;
    struct domain_wild {
        struct slice text;
        struct virtual_host *vhost;
    } * suffixes, *prefixes;
    struct virtual_host *any;
    bool ignore_port;
    struct header_changes request, response;
};

/* Clusters. */

enum lb_policy { LB_ROUND_ROBIN, LB_RANDOM, LB_LEAST_REQUEST, LB_RING_HASH, LB_MAGLEV };
enum upstream_protocol {
    UPSTREAM_HTTP1,
    UPSTREAM_HTTP2,
    UPSTREAM_DOWNSTREAM /* as the client speaks */
};
enum cluster_kind {
    CLUSTER_STATIC,
    CLUSTER_EDS,
    CLUSTER_DNS,
    CLUSTER_ORIGINAL_DST,
    CLUSTER_PASSTHROUGH
};
enum endpoint_health {
    HEALTH_UNKNOWN,
    HEALTH_HEALTHY,
    HEALTH_UNHEALTHY,
    HEALTH_DRAINING,
    HEALTH_DEGRADED
};

struct endpoint {
    struct env_addr addr;        /* len 0: `text` is a name and a port, resolved at use */
    struct slice text, hostname; /* "127.1.0.4:9080" */
    uint32_t weight, priority;
    enum endpoint_health health;
    struct slice region, zone, subzone;
    struct slice workload, ns, version, canonical; /* from metadata: labels of the metrics */
};

struct endpoint_set {
    struct conf_part part;
    struct slice name;
    struct xds_stamp version;
    size_t n;
    struct endpoint *items;
};

struct cluster {
    struct conf_part part;
    struct slice name, eds_name;
    struct xds_stamp version;
    enum cluster_kind kind;
    enum lb_policy lb;
    enum upstream_protocol protocol;
    wf_ms connect_timeout, idle_timeout;
    uint32_t max_connections, max_pending, max_requests, max_retries; /* circuit breakers */
    bool has_retry_budget;
    double retry_budget_percent;
    uint32_t retry_budget_min;
    uint32_t max_requests_per_connection, max_concurrent_streams; /* 0 = no bound / 100 */
    uint32_t lr_choices;
    uint64_t ring_min, ring_max, maglev_size;
    double panic_percent;                                /* 50 by default, 0 from Istio */
    struct slice service_host, service_name, service_ns; /* metadata: destination_service labels */
    struct {                                             /* outlier detection; interval 0 = off */
        uint32_t consecutive_5xx, consecutive_gateway, max_ejection_percent;
        wf_ms interval, base_ejection, max_ejection;
    } outlier;
    struct endpoint_set *endpoints; /* referenced; NULL: none known yet (warming) */
};

/* Listeners. */

enum chain_kind { CHAIN_HTTP, CHAIN_TCP };

struct filter_chain {
    struct slice name;
    uint16_t destination_port; /* 0 = any */
    size_t alpn_count, sni_count;
    struct slice *snis;
    bool tls; /* takes TLS only */
    enum chain_kind kind;
    /* HTTP */
    struct slice stat_prefix, route_name; /* route_name empty: inline table */
    struct route_table *routes;           /* resolved; NULL only while RDS is missing */
    enum codec_kind { CODEC_AUTO, CODEC_HTTP1, CODEC_HTTP2 } codec;
    wf_ms idle_timeout, stream_idle_timeout, request_timeout, headers_timeout, drain_timeout;
    uint32_t headers_kb_max;
    bool generate_request_id, use_remote_address, merge_slashes, normalize_path, websocket,
        accept_http10;
    bool has_fault_filter;
    /* TCP */
    size_t tcp_cluster_count;
    struct weighted_cluster *tcp_clusters;
    uint32_t tcp_weight_total;
};

struct listener {
    struct conf_part part;
    struct slice name;
    struct xds_stamp version;
    struct env_addr addr;
    bool bind;             /* false: only reached through use_original_dst */
    bool use_original_dst; /* redirected connections go to the listener of where they went */
    bool inbound;          /* traffic_direction INBOUND: reporter="destination" */
    bool http_proxy; /* the request's authority decides: CONNECT and absolute-form are taken */
    bool access_log;
    struct slice access_log_path;   /* "/dev/stdout" */
    struct slice access_log_format; /* mixer/format.h; empty = Istio's default line */
    bool access_log_json;           /* the 24 keys of Istio's JSON instead */
    size_t chain_count;
    struct filter_chain *chains; /* last one without a match is the default */
};

/* Listeners that could not be opened, each once; names are of the tree that has them. */
struct bind_failures {
    VEC(struct bind_failure {
        struct slice name;
        struct err why; /* names the listener */
    })
    list;
};
void bind_failures_add(struct bind_failures *f, struct slice name, const struct err *why);
void bind_failures_fini(struct bind_failures *f);

/* The tree. */

struct conf {
    struct conf_part part;
    uint64_t generation;
    size_t listener_count, cluster_count;
    struct listener **listeners;
    struct cluster **clusters;
    struct map clusters_by_name; /* slice -> struct cluster */
    struct slice node_id, ns, workload, app, version, canonical,
        cluster_id; /* of this proxy: metric labels */
};

/* Each part is made in its own arena with one reference, the maker's, and fills its fields from
 * part.arena. Its end releases what it references (tables their virtual hosts, clusters their
 * endpoints, listeners their route tables, a conf all of them) and frees its regexes.
 *
 *   struct cluster *c = cluster_new();
 *   c->name = arena_dup(&c->part.arena, name);
 *   c->endpoints = (struct endpoint_set *)conf_part_ref(&set->part);
 */
struct conf *conf_new(void);
struct listener *listener_new(void);
struct route_table *route_table_new(void);
struct virtual_host *virtual_host_new(void);
struct cluster *cluster_new(void);
struct endpoint_set *endpoint_set_new(void);

/* References are atomic: a part is shared by the workers of all threads. */
struct conf *conf_ref(struct conf *c);
void conf_unref(struct conf *c); /* NULL is fine */
struct conf_part *conf_part_ref(struct conf_part *p);
void conf_part_unref(struct conf_part *p); /* NULL is fine */
/* Fills a struct, whose first member `to` is, with the values of another of its type, and lets it
 * share that one's memory. size: of the struct. Workers may count references of `from` at the same
 * time. */
void conf_part_copy(struct conf_part *to, struct conf_part *from, size_t size);
/* After `clusters` is complete: fills clusters_by_name. */
void conf_index(struct conf *c);
struct cluster *conf_cluster(const struct conf *c, struct slice name);

/* After `vhosts` is complete: fills exact, suffixes, prefixes and any. ERR_INVALID if two virtual
 * hosts have one domain, naming all three. */
bool route_table_index(struct route_table *t, struct err *err);

#endif
