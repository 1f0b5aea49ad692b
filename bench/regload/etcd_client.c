/* etcd's API: gRPC etcdserverpb.KV/Put and Range, as its own clients do it. */
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
    bool read, found;
};

static void client_free(struct etcd_client *c)
{
    if (c->call)
        grpc_stream_detach(c->call);
    grpc_client_free(c->conn);
    buf_fini(&c->out);
    mem_free(c);
}

/* A PutResponse: its revision is nobody's business here. A RangeResponse: a header of some forty
 * bytes, and the value where there is one. */
static void on_message(void *user, struct slice message)
{
    struct etcd_client *c = user;
    c->found = message.n >= REGLOAD_VALUE_BYTES;
}

static void on_call_close(void *user, int status, struct slice message)
{
    struct etcd_client *c = user;
    c->call = NULL;
    bool missing = status == GRPC_OK && c->read && !c->found;
    c->events->on_done(c->ctx, status == GRPC_OK && !missing, missing ? S("not found") : message);
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

static void put_key(struct etcd_client *c, uint64_t key)
{
    char name[REGLOAD_KEY_BYTES], text[REGLOAD_KEY_BYTES * 2];
    int n = snprintf(text, sizeof(text), KEY_PREFIX "%.*s", SLICE(regload_name(key, name)));
    buf_clear(&c->out);
    pbw_bytes(&c->out, 1, slice_mem(text, (size_t)n));
}

static void call(struct etcd_client *c, struct slice path)
{
    wf_assert(!c->call);
    c->call = grpc_client_call(c->conn, &(struct grpc_call_options){.path = path}, &call_events, c);
    if (!c->call)
        return; /* on_conn_close follows */
    grpc_stream_send_copy(c->call, buf_slice(&c->out));
    grpc_stream_half_close(c->call);
}

static void client_put(struct regload_client *client, const struct regload_put *put)
{
    struct etcd_client *c = (struct etcd_client *)client;
    char value[REGLOAD_VALUE_BYTES_MAX];
    put_key(c, put->key);
    pbw_bytes(&c->out, 2, regload_value(put, value));
    c->read = false;
    call(c, S("/etcdserverpb.KV/Put"));
}

static void client_get(struct regload_client *client, uint64_t key)
{
    struct etcd_client *c = (struct etcd_client *)client;
    put_key(c, key);
    c->read = true;
    c->found = false;
    call(c, S("/etcdserverpb.KV/Range"));
}

static void client_close(struct regload_client *client)
{
    struct etcd_client *c = (struct etcd_client *)client;
    if (c)
        client_free(c);
}

const struct regload_store regload_etcd = {.name = "etcd",
                                           .open = client_open,
                                           .put = client_put,
                                           .get = client_get,
                                           .close = client_close};
