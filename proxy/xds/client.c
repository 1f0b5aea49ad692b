#include "proxy/xds/client.h"

#include <stdio.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/core/sm.h"
#include "proxy/xds/lkg.h"

/*            connect            response stream
 *  WAITING ----------> CONNECTING ------------> STREAMING
 *     ^                    |                        |
 *     +--------------------+------------------------+   lost
 */
static const struct sm_state client_states[] = {
    [CLIENT_CONNECTING] = {"connecting",
                           SM(CLIENT_STREAMING) | SM(CLIENT_WAITING) | SM(CLIENT_CLOSED)},
    [CLIENT_STREAMING] = {"streaming", SM(CLIENT_WAITING) | SM(CLIENT_CLOSED)},
    [CLIENT_WAITING] = {"waiting", SM(CLIENT_CONNECTING) | SM(CLIENT_CLOSED)},
    [CLIENT_CLOSED] = {"closed", 0},
};

static bool client_ok(const void *owner)
{
    const struct client *c = owner;
    return c->sm.now == CLIENT_STREAMING ? c->grpc && c->stream : !c->stream;
}

static const struct sm_table client_table = {"xds.client", client_states, ARRAY_LEN(client_states),
                                             client_ok};

static const struct metric_def save_failures = {
    "weft_proxy_last_known_good_failures_total", METRIC_COUNTER,
    "Writes of the last known good configuration that failed", NULL, 0};
static const struct metric_def warm_timeouts = {
    "weft_proxy_warm_timeouts_total", METRIC_COUNTER,
    "Times that listeners were opened without routes that did not come", NULL, 0};

static void client_connect(struct client *c);
static void client_lost(struct client *c, const char *why);

const char *client_state_name(const struct client *c)
{
    return sm_name(&client_table, &c->sm);
}

const struct env_addr *client_server(const struct client *c)
{
    return &c->opt.servers[c->server];
}

/* Trees. */

/* Listeners that wait for their routes do not wait for ever. */
static void client_warm(struct client *c)
{
    struct buf given_up = {0};
    wf_ms now = env_now(c->opt.env);
    wf_ms next = resources_warm(&c->resources, now, &given_up);
    if (given_up.n) {
        metric_add(c->warm_timeouts, 1);
        LOG_WARN("xds.warm.timeout", F_STR("names", buf_slice(&given_up)));
    }
    buf_fini(&given_up);
    if (c->resources.dirty)
        env_defer(c->opt.env, &c->seal);
    if (next)
        env_timer_start(c->opt.env, &c->warm, next - now);
    else
        env_timer_stop(c->opt.env, &c->warm);
}

static void on_warm(struct env_timer *t)
{
    client_warm(container_of(t, struct client, warm));
}

static void seal(struct client *c)
{
    struct err err = {0};
    struct conf *conf = resources_seal(&c->resources, &err);
    if (err.code) {
        LOG_WARN("xds.bind", F_ERR(&err));
        ads_not_bound(&c->ads, slice_of(err.msg));
    }
    if (conf) {
        ads_sealed(&c->ads, conf->generation);
        c->opt.on_conf(c->opt.ctx, conf);
        return;
    }
    /* Nothing changed: what waits is active already. */
    ads_sealed(&c->ads, c->applied);
    client_applied(c, c->applied, NULL);
}

static void client_seal(struct env_task *t)
{
    struct client *c = container_of(t, struct client, seal);
    seal(c);
    if (!c->complete && resources_complete(&c->resources)) {
        c->complete = true;
        c->complete_in = c->resources.generation;
    }
    client_warm(c);
}

/* A request that does not go out would be missed for ever: begin anew. */
static void client_send(struct client *c, struct ads_out *out)
{
    bool sent = true;
    for (size_t i = 0; c->stream && sent && i < out->messages.n; i++)
        sent = grpc_stream_send_copy(c->stream, out->messages.p[i]);
    ads_out_fini(out);
    if (!sent)
        client_lost(c, "the server takes no requests");
}

bool client_live(const struct client *c)
{
    return c->complete && c->applied >= c->complete_in;
}

bool client_restored(const struct client *c)
{
    return c->restored && c->applied <= c->restored;
}

static void failed_text(struct client *c, const struct bind_failures *failed)
{
    size_t n = 0;
    c->failed[0] = 0;
    for (size_t i = 0; i < failed->list.n && n < sizeof(c->failed); i++)
        n += (size_t)snprintf(c->failed + n, sizeof(c->failed) - n, "%s%s", i ? "; " : "",
                              failed->list.p[i].why.msg);
}

void client_applied(struct client *c, uint64_t generation, const struct bind_failures *failed)
{
    struct ads_out out = {0};
    c->applied = generation > c->applied ? generation : c->applied;
    if (failed)
        failed_text(c, failed);
    ads_applied(&c->ads, generation, failed, &out);
    client_send(c, &out);
    if (c->opt.state_file && c->applied > c->saved && !c->save.armed &&
        resources_complete(&c->resources)) /* else it is not good yet */
        env_timer_start(c->opt.env, &c->save, XDS_LKG_DELAY_MS);
}

/* Last known good. */

/* The file that is there stays: a write replaces it whole or not at all. */
static void save_failed(struct client *c, const struct err *err)
{
    c->save_backoff = c->save_backoff ? c->save_backoff * 2 : XDS_LKG_RETRY_MIN_MS;
    if (c->save_backoff > XDS_LKG_RETRY_MAX_MS)
        c->save_backoff = XDS_LKG_RETRY_MAX_MS;
    metric_add(c->save_failures, 1);
    LOG_ERROR("xds.save", F_ERR(err), F_I64("retry_ms", c->save_backoff));
    env_timer_start(c->opt.env, &c->save, c->save_backoff);
}

static void client_save(struct env_timer *t)
{
    struct client *c = container_of(t, struct client, save);
    struct err err = {0};
    struct buf bytes = {0};
    if (!resources_complete(&c->resources))
        return; /* something warms since; the tree that ends it is written */
    lkg_encode(&c->resources, c->opt.node->id, &bytes);
    if (env_file_store(c->opt.env, c->opt.state_file, buf_slice(&bytes), &err)) {
        c->saved = c->applied;
        c->save_backoff = 0;
    } else {
        save_failed(c, &err);
    }
    buf_fini(&bytes);
}

static void client_restore(struct client *c)
{
    struct err err = {0};
    struct buf bytes = {0};
    if (!c->opt.state_file)
        return;
    if (!env_file_load(c->opt.env, c->opt.state_file, XDS_LKG_BYTES_MAX, &bytes, &err)) {
        if (err.code != ERR_NOT_FOUND)
            LOG_WARN("xds.restore", F_ERR(&err));
    } else if (!lkg_decode(&c->resources, c->opt.node->id, buf_slice(&bytes),
                           env_wall_ms(c->opt.env), &err)) {
        LOG_WARN("xds.restore", F_ERR(&err));
    } else if (c->resources.dirty) {
        LOG_INFO("xds.restored", F_U64("listeners", c->resources.by_name[XDS_LDS].n),
                 F_U64("clusters", c->resources.by_name[XDS_CDS].n));
        c->restored = c->saved = c->resources.generation + 1; /* of the tree that comes now */
        client_seal(&c->seal);
    }
    buf_fini(&bytes);
}

/* The connection. */

/* The next server at once while there are untried ones, then with back-off and jitter: a fleet must
 * not come back in step. */
static void client_lost(struct client *c, const char *why)
{
    char addr[ENV_ADDR_TEXT];
    LOG_WARN("xds.lost", F_STR("server", env_addr_format(client_server(c), addr)),
             F_CSTR("why", why), F_CSTR("state", client_state_name(c)));
    ads_close(&c->ads);
    if (c->stream)
        grpc_stream_detach(c->stream);
    c->stream = NULL;
    grpc_client_free(c->grpc);
    c->grpc = NULL;
    sm_move(&client_table, &c->sm, CLIENT_WAITING, c);
    bool worked = c->answered && env_now(c->opt.env) - c->streaming_since >= XDS_STABLE_MS;
    c->tried = worked ? 1 : c->tried + 1;
    c->backoff = worked ? 0 : c->backoff;
    c->answered = false;
    c->server = (c->server + 1) % c->opt.server_count;
    wf_ms wait = 0;
    if (c->tried >= c->opt.server_count) {
        c->tried = 0;
        c->backoff = c->backoff ? c->backoff * 2 : XDS_BACKOFF_MIN_MS;
        if (c->backoff > XDS_BACKOFF_MAX_MS)
            c->backoff = XDS_BACKOFF_MAX_MS;
        wait = (wf_ms)env_random_below(c->opt.env, (uint64_t)c->backoff) + 1;
    }
    env_timer_start(c->opt.env, &c->retry, wait);
}

static void on_message(void *user, struct slice message)
{
    struct client *c = user;
    struct err err = {0};
    struct ads_out out = {0};
    c->answered = true;
    if (!ads_message(&c->ads, message, env_wall_ms(c->opt.env), &out, &err)) {
        ads_out_fini(&out);
        LOG_ERROR("xds.response", F_ERR(&err));
        grpc_stream_cancel(c->stream);
        return;
    }
    client_send(c, &out);
    env_defer(c->opt.env, &c->seal);
}

static void on_stream_close(void *user, int status, struct slice message)
{
    struct client *c = user;
    char why[160];
    snprintf(why, sizeof(why), "stream ended: %s %.*s", grpc_status_name(status), SLICE(message));
    c->stream = NULL;
    if (c->sm.now != CLIENT_CLOSED && c->sm.now != CLIENT_WAITING)
        client_lost(c, why);
}

static const struct grpc_stream_events stream_events = {.on_message = on_message,
                                                        .on_close = on_stream_close};

static void on_ready(void *ctx)
{
    struct client *c = ctx;
    struct ads_out out = {0};
    char addr[ENV_ADDR_TEXT];
    c->stream = grpc_client_call(
        c->grpc, &(struct grpc_call_options){.path = S(XDS_PATH_ADS_DELTA)}, &stream_events, c);
    if (!c->stream) {
        client_lost(c, "no stream");
        return;
    }
    sm_move(&client_table, &c->sm, CLIENT_STREAMING, c);
    c->streaming_since = env_now(c->opt.env);
    LOG_INFO("xds.connected", F_STR("server", env_addr_format(client_server(c), addr)));
    ads_open(&c->ads, &out);
    client_send(c, &out);
}

static void on_client_close(void *ctx, const struct err *why)
{
    struct client *c = ctx;
    if (c->sm.now == CLIENT_CLOSED || c->sm.now == CLIENT_WAITING)
        return;
    c->connect_failures += c->sm.now == CLIENT_CONNECTING;
    client_lost(c, why->code ? why->msg : "connection closed");
}

static void on_goaway(void *ctx)
{
    struct client *c = ctx;
    if (c->sm.now == CLIENT_STREAMING)
        client_lost(c, "server drains");
}

static const struct grpc_client_events client_events = {
    .on_ready = on_ready, .on_goaway = on_goaway, .on_close = on_client_close};

static void client_connect(struct client *c)
{
    sm_move(&client_table, &c->sm, CLIENT_CONNECTING, c);
    c->connects++;
    c->grpc =
        grpc_client_new(c->opt.env, client_server(c),
                        &(struct grpc_client_options){.message_bytes_max = XDS_MESSAGE_BYTES_MAX,
                                                      .connect_timeout = 2000,
                                                      .keepalive = 5000,
                                                      .keepalive_timeout = 3000},
                        &client_events, c);
}

static void on_retry(struct env_timer *t)
{
    client_connect(container_of(t, struct client, retry));
}

void client_start(struct client *c, const struct client_options *opt)
{
    wf_assert(opt->server_count > 0 && opt->server_count <= XDS_SERVERS_MAX);
    *c = (struct client){
        .opt = *opt,
        .sm.now = CLIENT_WAITING,
        .retry.fn = on_retry,
        .save.fn = client_save,
        .warm.fn = on_warm,
        .seal.fn = client_seal,
        .server = env_random_below(opt->env, opt->server_count),
    };
    c->save_failures = metric_get(opt->metrics, &save_failures, 0, NULL);
    c->warm_timeouts = metric_get(opt->metrics, &warm_timeouts, 0, NULL);
    ads_init(&c->ads, opt->node, &c->resources);
    client_restore(c);
    client_connect(c);
}

void client_close(struct client *c)
{
    env_timer_stop(c->opt.env, &c->retry);
    env_timer_stop(c->opt.env, &c->warm);
    env_defer_cancel(&c->seal);
    if (c->save.armed) {
        env_timer_stop(c->opt.env, &c->save);
        client_save(&c->save);
        env_timer_stop(c->opt.env, &c->save);
    }
    if (c->stream)
        grpc_stream_detach(c->stream);
    c->stream = NULL;
    sm_move(&client_table, &c->sm, CLIENT_CLOSED, c);
    grpc_client_free(c->grpc);
    c->grpc = NULL;
    ads_fini(&c->ads);
    resources_fini(&c->resources);
}
