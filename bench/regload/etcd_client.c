/* etcd's API: gRPC etcdserverpb.KV/Put, as its own clients do it. */
#include <stdio.h>

#include "base/core/assert.h"
#include "base/net/grpc_client.h"
#include "base/wire/pb.h"
#include "bench/regload/client.h"

#define KEY_PREFIX "workloadentries.networking.istio.io/default/"

struct etcd_client {
    struct grpc_client *conn;
    struct grpc_stream *call;
    const struct regload_events *events;
    void *ctx;
    struct buf out;
};

static void client_free(struct etcd_client *c)
{
    if (c->call)
        grpc_stream_detach(c->call);
    grpc_client_free(c->conn);
    buf_fini(&c->out);
    mem_free(c);
}

static void on_message(void *user, struct slice message)
{
    (void)user, (void)message; /* a PutResponse: its revision is nobody's business here */
}

static void on_call_close(void *user, int status, struct slice message)
{
    struct etcd_client *c = user;
    c->call = NULL;
    c->events->on_done(c->ctx, status == GRPC_OK, message);
}

static void on_ready(void *ctx)
{
    struct etcd_client *c = ctx;
    c->events->on_ready(c->ctx);
}

static void on_conn_close(void *ctx, const struct err *why)
{
    struct etcd_client *c = ctx;
    c->events->on_close(c->ctx, slice_of(why->code ? why->msg : "closed"));
    client_free(c);
}

static const struct grpc_client_events conn_events = {.on_ready = on_ready,
                                                      .on_close = on_conn_close};
static const struct grpc_stream_events call_events = {.on_message = on_message,
                                                      .on_close = on_call_close};

static struct regload_client *client_open(struct env *env, const struct env_addr *to,
                                          const struct regload_events *events, void *ctx)
{
    struct etcd_client *c = MEM_NEW(struct etcd_client);
    c->events = events;
    c->ctx = ctx;
    c->conn = grpc_client_new(env, to, NULL, &conn_events, c);
    return (struct regload_client *)c;
}

static void client_put(struct regload_client *client, const struct regload_put *put)
{
    struct etcd_client *c = (struct etcd_client *)client;
    const struct grpc_call_options opt = {.path = S("/etcdserverpb.KV/Put")};
    char name[REGLOAD_KEY_BYTES], key[REGLOAD_KEY_BYTES * 2], value[REGLOAD_VALUE_BYTES];
    wf_assert(!c->call);
    int n = snprintf(key, sizeof(key), KEY_PREFIX "%.*s", SLICE(regload_name(put->key, name)));
    regload_value(put, value);
    buf_clear(&c->out);
    pbw_bytes(&c->out, 1, slice_mem(key, (size_t)n));
    pbw_bytes(&c->out, 2, slice_mem(value, sizeof(value)));
    c->call = grpc_client_call(c->conn, &opt, &call_events, c);
    if (!c->call)
        return; /* on_conn_close follows */
    grpc_stream_send_copy(c->call, buf_slice(&c->out));
    grpc_stream_half_close(c->call);
}

static void client_close(struct regload_client *client)
{
    struct etcd_client *c = (struct etcd_client *)client;
    if (c)
        client_free(c);
}

const struct regload_store regload_etcd = {
    .name = "etcd", .open = client_open, .put = client_put, .close = client_close};
