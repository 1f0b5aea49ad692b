#include "bench/adsload/wire.h"

#include "base/core/reader.h"

/* Writing. */

/* Struct.fields entry {key, Value{string_value}}. */
static void put_string_field(struct buf *b, struct slice key, struct slice value)
{
    size_t inner = pbw_bytes_size(3, value);
    pbw_len(b, 1, pbw_bytes_size(1, key) + pbw_len_size(2, inner));
    pbw_bytes(b, 1, key);
    pbw_len(b, 2, inner);
    pbw_bytes(b, 3, value);
}

void load_put_node(struct buf *b, const struct load_node *node)
{
    struct buf meta = {0}, msg = {0};
    put_string_field(&meta, S("NAMESPACE"), node->ns);
    if (node->capture.n)
        put_string_field(&meta, S("INTERCEPTION_MODE"), node->capture);
    pbw_bytes(&msg, 1, node->id);
    pbw_bytes(&msg, 2, node->cluster);
    pbw_bytes(&msg, 3, buf_slice(&meta));
    pbw_bytes(&msg, 6, node->agent);
    pbw_bytes(b, 1, buf_slice(&msg));
    buf_fini(&meta);
    buf_fini(&msg);
}

void load_put_type(struct buf *b, enum xds_type type)
{
    pbw_bytes(b, 2, xds_types[type].url);
}

void load_put_subscribe(struct buf *b, struct slice name)
{
    pbw_bytes(b, 3, name);
}

void load_put_initial(struct buf *b, struct slice name, struct slice version)
{
    pbw_len(b, 5, pbw_bytes_size(1, name) + pbw_bytes_size(2, version));
    pbw_bytes(b, 1, name);
    pbw_bytes(b, 2, version);
}

void load_put_nonce(struct buf *b, struct slice nonce)
{
    pbw_bytes(b, 6, nonce);
}

/* Reading. */

struct field {
    uint64_t number;
    struct slice value; /* of a length-delimited one, else empty */
};

static bool next_field(struct reader *r, struct field *ret)
{
    if (!reader_ok(r) || !reader_left(r))
        return false;
    uint64_t tag = reader_varint(r);
    *ret = (struct field){.number = tag >> 3};
    switch (tag & 7) {
    case PBW_LEN:
        ret->value = reader_bytes(r, reader_varint(r));
        break;
    case PBW_VARINT:
        (void)reader_varint(r);
        break;
    case PBW_FIXED32:
        (void)reader_u32le(r);
        break;
    case PBW_FIXED64:
        (void)reader_u64le(r);
        break;
    default:
        r->failed = true;
    }
    return reader_ok(r);
}

/* The last field of that number; false: there is none. */
static bool find_field(struct slice message, uint64_t number, struct slice *ret)
{
    struct reader r = reader_of(message);
    struct field f;
    bool found = false;
    while (next_field(&r, &f)) {
        if (f.number != number)
            continue;
        *ret = f.value;
        found = true;
    }
    return found;
}

bool load_response_head(struct slice message, struct load_response *ret)
{
    struct reader r = reader_of(message);
    struct field f;
    *ret = (struct load_response){.type = XDS_TYPE_COUNT};
    while (next_field(&r, &f)) {
        const struct xds_type_info *t = f.number == 4 ? xds_type_by_url(f.value) : NULL;
        if (t)
            ret->type = t->type;
        else if (f.number == 5)
            ret->nonce = f.value;
    }
    return reader_done(&r);
}

static bool read_resource(struct slice message, struct load_resource *ret)
{
    struct reader r = reader_of(message);
    struct field f;
    *ret = (struct load_resource){0};
    while (next_field(&r, &f)) {
        if (f.number == 1)
            ret->version = f.value;
        else if (f.number == 2)
            find_field(f.value, 2, &ret->body);
        else if (f.number == 3)
            ret->name = f.value;
    }
    return reader_done(&r);
}

bool load_response_each(struct slice message,
                        void (*resource)(void *ctx, const struct load_resource *r),
                        void (*removed)(void *ctx, struct slice name), void *ctx)
{
    struct reader r = reader_of(message);
    struct field f;
    struct load_resource res;
    while (next_field(&r, &f)) {
        if (f.number == 6)
            removed(ctx, f.value);
        if (f.number != 2)
            continue;
        if (!read_resource(f.value, &res))
            return false;
        resource(ctx, &res);
    }
    return reader_done(&r);
}

struct slice load_cluster_eds(struct slice cluster, struct slice name)
{
    struct slice config = {0}, service = {0};
    if (!find_field(cluster, 3, &config)) /* Cluster.eds_cluster_config */
        return (struct slice){0};
    find_field(config, 2, &service);
    return service.n ? service : name;
}

/* filter_chains 3, filters 3, typed_config 4, Any.value 2, HttpConnectionManager.rds 3,
 * route_config_name 2. */
static const uint64_t rds_path[] = {3, 3, 4, 2, 3, 2};

struct rds_walk {
    void (*fn)(void *ctx, struct slice name);
    void *ctx;
};

/* Only a connection manager is looked into: other filters have other fields 3. */
static bool is_other_filter(struct slice any)
{
    struct slice url = {0};
    find_field(any, 1, &url);
    return !slice_ends(url, S(".HttpConnectionManager"));
}

static void walk_rds(const struct rds_walk *w, struct slice message, size_t depth)
{
    struct reader r = reader_of(message);
    struct field f;
    if (rds_path[depth] == 2 && depth == 3 && is_other_filter(message))
        return;
    while (next_field(&r, &f)) {
        if (f.number != rds_path[depth] || !f.value.n)
            continue;
        if (depth + 1 == ARRAY_LEN(rds_path))
            w->fn(w->ctx, f.value);
        else
            walk_rds(w, f.value, depth + 1);
    }
}

void load_listener_rds(struct slice listener, void (*fn)(void *ctx, struct slice name), void *ctx)
{
    walk_rds(&(struct rds_walk){fn, ctx}, listener, 0);
}

bool load_route_vhds(struct slice route)
{
    struct slice vhds;
    return find_field(route, 9, &vhds);
}
