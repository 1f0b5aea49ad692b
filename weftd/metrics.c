/* 15014: Prometheus text, readiness, version. */
#include "weftd/weftd.h"

#include "registry/quota.h"

#define METRIC_SETS_MAX 64
#define QUOTA_SERIES_MAX 6000 /* a thousand namespaces */

static const struct metric_def def_leader = {"weft_raft_is_leader", METRIC_GAUGE,
                                             "1 on the node that leads", NULL, 0};
static const struct metric_def def_term = {"weft_raft_term", METRIC_GAUGE, "Raft term", NULL, 0};
static const struct metric_def def_commit = {"weft_raft_commit_index", METRIC_GAUGE,
                                             "highest committed log index", NULL, 0};
static const struct metric_def def_applied = {"weft_raft_applied_index", METRIC_GAUGE,
                                              "highest applied log index", NULL, 0};
static const struct metric_def def_peers = {"weft_raft_peers", METRIC_GAUGE,
                                            "voters of the cluster, this one included", NULL, 0};
static const struct metric_def def_changes = {"weft_raft_leader_changes_total", METRIC_COUNTER,
                                              "changes of leader seen by this node", NULL, 0};
static const struct metric_def def_refused = {
    "weft_raft_peers_refused_total", METRIC_COUNTER,
    "connections to the peer port that were refused: handshake, certificate, greeting, too often",
    NULL, 0};
static const struct metric_def def_certificate = {
    "weft_raft_peer_certificate_expiry_seconds", METRIC_GAUGE,
    "end of this node's certificate for peers, seconds since 1970; 0: peers have no TLS", NULL, 0};
static const struct metric_def def_version = {
    "weft_cluster_version", METRIC_GAUGE,
    "version of what the cluster's nodes say and keep; rises when all of them read the next", NULL,
    0};
static const struct metric_def def_reads = {
    "weft_program_version", METRIC_GAUGE, "newest version that this node's program reads", NULL, 0};
static const struct metric_def def_used = {"weft_store_used_bytes", METRIC_GAUGE,
                                           "bytes of the store in use", NULL, 0};
static const struct metric_def def_map = {"weft_store_map_bytes", METRIC_GAUGE,
                                          "bytes of address space of the store", NULL, 0};
static const struct metric_def def_leases = {
    "weft_leases", METRIC_GAUGE, "leases that somebody holds and that can expire", NULL, 0};
static const struct metric_def def_registrations = {
    "weft_lease_registrations", METRIC_GAUGE, "of them, those that are deleted when they expire",
    NULL, 0};
static const struct metric_def def_held_back = {
    "weft_leases_held_back", METRIC_GAUGE,
    "registrations whose time is up and that mass expiry keeps; the leader's, else 0", NULL, 0};
static const struct metric_def def_expired = {"weft_leases_expired_total", METRIC_COUNTER,
                                              "leases that this node let expire as leader", NULL,
                                              0};
static const struct metric_def def_renewed = {"weft_leases_renewed_total", METRIC_COUNTER,
                                              "signs of life that this node took as leader", NULL,
                                              0};

static const struct metric_def def_disk_free = {"weft_disk_free_bytes", METRIC_GAUGE,
                                                "bytes free where the data directory is", NULL, 0};
static const struct metric_def def_disk_full = {
    "weft_disk_full", METRIC_GAUGE,
    "1 while the disk has so little room that this node takes no writes", NULL, 0};
static const struct metric_def def_log = {"weft_raft_log_bytes", METRIC_GAUGE,
                                          "bytes of the log's files", NULL, 0};

static const struct metric_def def_objects = {"weft_store_object_bytes", METRIC_GAUGE,
                                              "bytes of the store that hold objects", NULL, 0};
static const struct metric_def def_history = {"weft_store_history_bytes", METRIC_GAUGE,
                                              "bytes of the store that hold past changes", NULL, 0};
static const struct metric_def def_quota = {"weft_store_quota_bytes", METRIC_GAUGE,
                                            "objects may take so much", NULL, 0};
static const struct metric_def def_over = {"weft_store_over_quota", METRIC_GAUGE,
                                           "1 while only deletions are taken", NULL, 0};

static const struct metric_def def_ns_objects = {"weft_store_namespace_objects", METRIC_GAUGE,
                                                 "objects of a namespace that has a quota", NULL,
                                                 0};
static const struct metric_def def_ns_objects_max = {
    "weft_store_namespace_quota_objects", METRIC_GAUGE, "its quota of objects; 0: it has none",
    NULL, 0};
static const struct metric_def def_ns_bytes = {
    "weft_store_namespace_bytes", METRIC_GAUGE,
    "bytes of keys and values in a namespace that has a quota", NULL, 0};
static const struct metric_def def_ns_bytes_max = {"weft_store_namespace_quota_bytes", METRIC_GAUGE,
                                                   "its quota of bytes; 0: it has none", NULL, 0};
static const struct metric_def def_ns_full = {
    "weft_store_namespace_full", METRIC_GAUGE,
    "1 while a namespace has all the objects, or 95 % of the bytes, of its quota", NULL, 0};
static const struct metric_def def_ns_refused = {
    "weft_store_namespace_refused_total", METRIC_COUNTER,
    "writes that the quota of a namespace refused, as this node applied them", NULL, 0};

static struct reg_member_status self_of(const struct reg_status *st)
{
    for (size_t i = 0; i < st->member_count; i++)
        if (st->members[i].self)
            return st->members[i];
    return (struct reg_member_status){0};
}

static void gauge(struct weftd *d, const struct metric_def *def, uint64_t v)
{
    metric_set_value(metric_get(d->own, def, 0, NULL), (int64_t)v);
}

/* Up to what the registry counted. */
static void counter(struct weftd *d, const struct metric_def *def, uint64_t v)
{
    struct metric *m = metric_get(d->own, def, 0, NULL);
    if (v > metric_value(m))
        metric_add(m, v - metric_value(m));
}

static void add_quota(void *ctx, const struct reg_quota *q)
{
    struct metric_set *set = ctx;
    const struct metric_label ns[] = {{S("namespace"), q->ns}};
    const struct {
        const struct metric_def *def;
        uint64_t v;
    } gauges[] = {{&def_ns_objects, q->objects},
                  {&def_ns_objects_max, q->objects_max},
                  {&def_ns_bytes, q->bytes},
                  {&def_ns_bytes_max, q->bytes_max},
                  {&def_ns_full, reg_quota_full(q)}};
    for (size_t i = 0; i < ARRAY_LEN(gauges); i++)
        metric_set_value(metric_get(set, gauges[i].def, 1, ns), (int64_t)gauges[i].v);
    metric_add(metric_get(set, &def_ns_refused, 1, ns), q->refused);
}

/* Of the moment: a namespace without a quota, or that is gone, leaves nothing behind. */
static struct metric_set *quota_metrics(struct weftd *d)
{
    struct metric_set *set = metric_set_new(QUOTA_SERIES_MAX);
    reg_quota_each(reg_node_store(d->node), add_quota, set);
    return set;
}

static void refresh(struct weftd *d)
{
    struct reg_status st;
    reg_node_status(d->node, &st);
    gauge(d, &def_leader, st.role == REG_LEADER);
    gauge(d, &def_term, st.term);
    gauge(d, &def_commit, st.commit_index);
    gauge(d, &def_applied, st.applied_index);
    gauge(d, &def_peers, st.member_count);
    gauge(d, &def_certificate, (uint64_t)st.peer_certificate_until);
    gauge(d, &def_used, st.store_bytes_used);
    gauge(d, &def_map, st.store_bytes_map);
    gauge(d, &def_log, st.log_bytes);
    gauge(d, &def_objects, st.object_bytes);
    gauge(d, &def_history, st.history_bytes);
    gauge(d, &def_quota, st.quota_bytes);
    gauge(d, &def_over, st.over_quota);
    gauge(d, &def_disk_free, st.disk_free_bytes);
    gauge(d, &def_disk_full, self_of(&st).no_room);
    gauge(d, &def_version, st.version);
    gauge(d, &def_reads, self_of(&st).reads.newest);
    gauge(d, &def_leases, st.leases.held);
    gauge(d, &def_registrations, st.leases.registrations);
    gauge(d, &def_held_back, st.leases.held_back);
    counter(d, &def_expired, st.leases.expired);
    counter(d, &def_renewed, st.leases.renewed);
    counter(d, &def_changes, st.leader_changes);
    counter(d, &def_refused, st.peers_refused);
}

static void respond_metrics(struct weftd *d, struct http_request *req)
{
    struct metric_set *sets[METRIC_SETS_MAX];
    struct buf out = {0};
    size_t n = 0;
    refresh(d);
    sets[n++] = d->own;
    sets[n++] = reg_node_metrics(d->node);
    sets[n++] = compiler_metrics(d->compiler);
    sets[n++] = convergence_metrics(d->convergence);
    sets[n++] = apiserver_metrics(d->api);
    struct metric_set *quotas = sets[n++] = quota_metrics(d);
    n += ads_server_metrics(d->xds, sets + n, METRIC_SETS_MAX - n);
    metric_write_text(sets, n, &out);
    http_respond(req, 200, S("text/plain; version=0.0.4"), buf_slice(&out));
    buf_fini(&out);
    metric_set_free(quotas);
}

static void on_request(void *ctx, struct http_request *req)
{
    struct weftd *d = ctx;
    struct reg_status st;
    if (slice_eq(req->path, S("/metrics"))) {
        respond_metrics(d, req);
    } else if (slice_eq(req->path, S("/ready"))) {
        reg_node_status(d->node, &st);
        http_respond(req, st.quorum ? 200 : 503, S("text/plain"),
                     st.quorum ? S("ready\n") : S("no quorum\n"));
    } else if (slice_eq(req->path, S("/version"))) {
        http_respond(req, 200, S("text/plain"), S(WEFT_VERSION "\n"));
    } else {
        http_respond(req, 404, S("text/plain"), S("/metrics, /ready, /version\n"));
    }
}

bool weftd_metrics_start(struct weftd *d, struct err *err)
{
    if (!d->opt.metrics.len)
        return true;
    if (!env_addr_loopback(&d->opt.metrics))
        return err_set(err, ERR_FORBIDDEN, "--metrics: loopback only, until identity lands");
    d->metrics = http_server_new(d->env, &(struct http_server_options){.connections_max = 64},
                                 on_request, d);
    return http_server_listen(d->metrics, &d->opt.metrics, NULL, err) || err_wrap(err, "--metrics");
}
