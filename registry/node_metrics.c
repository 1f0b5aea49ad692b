/* What the raft thread measures. Names and help texts are the manual: docs/operate.md. */
#include "base/core/assert.h"
#include "registry/node_impl.h"

#define NODE_SERIES_MAX 200

static const double seconds[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                 0.05,   0.1,     0.25,   0.5,   1,      2.5,   5};
static const double counts[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};

#define SECONDS(name_, help_)                                                                      \
    (struct metric_def)                                                                            \
    {                                                                                              \
        .name = name_, .kind = METRIC_HISTOGRAM, .help = help_, .buckets = seconds,                \
        .bucket_count = ARRAY_LEN(seconds)                                                         \
    }
#define COUNTS(name_, help_)                                                                       \
    (struct metric_def)                                                                            \
    {                                                                                              \
        .name = name_, .kind = METRIC_HISTOGRAM, .help = help_, .buckets = counts,                 \
        .bucket_count = ARRAY_LEN(counts)                                                          \
    }

static const struct metric_def def_commit =
    SECONDS("weft_raft_commit_seconds",
            "time from the proposal of an entry until it was committed and applied; the leader's");
static const struct metric_def def_apply =
    SECONDS("weft_raft_apply_seconds", "time to apply an entry to the store");
static const struct metric_def def_store =
    SECONDS("weft_store_commit_seconds", "time to commit what the entries of a turn changed");
static const struct metric_def def_sync =
    SECONDS("weft_raft_log_sync_seconds", "time to write a group of entries and sync it");
static const struct metric_def def_group =
    COUNTS("weft_raft_log_group_entries", "entries that one sync of the log made durable");
static const struct metric_def def_requests =
    COUNTS("weft_raft_entry_writes", "writes that one entry carries; the leader's");
static const struct metric_def def_up = {"weft_raft_peer_up", METRIC_GAUGE,
                                         "1 while the peer answers", NULL, 0};
static const struct metric_def def_lag = {
    "weft_raft_peer_lag_entries", METRIC_GAUGE,
    "entries that the peer is behind the log's end; the leader's, else 0", NULL, 0};
static const struct metric_def def_queued = {
    "weft_raft_peer_queued_bytes", METRIC_GAUGE,
    "bytes that wait to be sent to the peer, checkpoints not counted", NULL, 0};
static const struct metric_def def_repeats = {
    "weft_raft_read_repeats_total", METRIC_COUNTER,
    "rounds of linearizable reads asked again, because this process had paused", NULL, 0};
static const struct metric_def def_reads_refused = {
    "weft_raft_reads_refused_total", METRIC_COUNTER,
    "read indexes refused to other nodes, of which one had too many under way", NULL, 0};
static const struct metric_def def_enrolls_refused = {
    "weft_raft_enrolls_refused_total", METRIC_COUNTER,
    "nodes with a join token that were refused: its time, its use, or too many at once", NULL, 0};

void node_metrics_init(struct reg_node *n)
{
    struct metric_set *set = metric_set_new(NODE_SERIES_MAX);
    n->metrics = set;
    n->cells = (struct node_cells){
        .commit = metric_get(set, &def_commit, 0, NULL),
        .apply = metric_get(set, &def_apply, 0, NULL),
        .store_commit = metric_get(set, &def_store, 0, NULL),
        .log = {.sync = metric_get(set, &def_sync, 0, NULL),
                .group = metric_get(set, &def_group, 0, NULL)},
        .entry_writes = metric_get(set, &def_requests, 0, NULL),
        .read_repeats = metric_get(set, &def_repeats, 0, NULL),
        .reads_refused = metric_get(set, &def_reads_refused, 0, NULL),
        .enrolls_refused = metric_get(set, &def_enrolls_refused, 0, NULL),
    };
}

void node_metrics_fini(struct reg_node *n)
{
    metric_set_free(n->metrics);
}

void node_metrics_since(struct reg_node *n, struct metric *m, uint64_t began_ns)
{
    metric_observe(m, (double)(env_now_ns(n->env) - began_ns) / 1e9);
}

static void of_peer(struct reg_node *n, const struct metric_def *def, const char *peer, uint64_t v)
{
    struct metric_label label = {S("peer"), slice_of(peer)};
    metric_set_value(metric_get(n->metrics, def, 1, &label), (int64_t)v);
}

static void rise_to(struct metric *counter, uint64_t to)
{
    uint64_t told = metric_value(counter);
    if (to > told)
        metric_add(counter, to - told);
}

void node_metrics_refresh(struct reg_node *n, const struct reg_status *s)
{
    rise_to(n->cells.read_repeats, s->read_repeats);
    rise_to(n->cells.reads_refused, s->reads_refused);
    rise_to(n->cells.enrolls_refused, s->enrolls_refused);
    for (size_t i = 0; i < s->member_count; i++) {
        const struct reg_member_status *m = &s->members[i];
        bool behind = s->role == REG_LEADER && s->last_index > m->match_index;
        if (m->self)
            continue;
        of_peer(n, &def_up, m->member.name, m->connected);
        of_peer(n, &def_lag, m->member.name, behind ? s->last_index - m->match_index : 0);
        of_peer(n, &def_queued, m->member.name,
                n->io.peers ? peers_queued(n->io.peers, m->member.id) : 0);
    }
}

struct metric_set *reg_node_metrics(struct reg_node *node)
{
    return node->metrics;
}
