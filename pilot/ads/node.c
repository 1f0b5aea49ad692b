#include "pilot/ads/node.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "api/proto/core.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "pilot/ads/ads_limits.h"

typedef Envoy__Config__Core__V3__Node node_msg;
typedef Google__Protobuf__Struct struct_msg;
typedef Google__Protobuf__Value value_msg;

static const value_msg *struct_get(const struct_msg *s, const char *key)
{
    for (size_t i = 0; s && i < s->n_fields; i++)
        if (slice_eq(pb_slice(s->fields[i]->key), slice_of(key)))
            return s->fields[i]->value;
    return NULL;
}

static struct slice value_string(const value_msg *v)
{
    if (!v || v->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE)
        return (struct slice){0};
    return pb_slice(v->string_value);
}

static const struct_msg *value_struct(const value_msg *v)
{
    return v && v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE ? v->struct_value : NULL;
}

bool ads_node_id_parse(struct slice id, struct ads_node_id *ret_id)
{
    struct slice rest, pod, ns;
    struct ads_node_id out = {0};
    if (!slice_cut(id, '~', &out.type, &rest) || !slice_cut(rest, '~', &out.ip, &rest) ||
        !slice_cut(rest, '~', &out.name, &out.domain) || slice_find(out.domain, '~') != SIZE_MAX)
        return false;
    /* Names of pods hold dots in no platform, names of machines may: the namespace is the last
     * part. */
    if (slice_cut_last(out.name, '.', &pod, &ns))
        out.ns = ns;
    *ret_id = out;
    return true;
}

static bool is_ip(struct slice text)
{
    char buf[INET6_ADDRSTRLEN];
    struct in6_addr addr;
    return slice_cstr(text, buf, sizeof(buf)) &&
           (inet_pton(AF_INET, buf, &addr) == 1 || inet_pton(AF_INET6, buf, &addr) == 1);
}

static bool has_feature(const node_msg *m, struct slice name)
{
    for (size_t i = 0; i < m->n_client_features && i < ADS_NODE_FEATURES_MAX; i++)
        if (slice_eq(pb_slice(m->client_features[i]), name))
            return true;
    return false;
}

static enum proxy_dialect dialect_of(const node_msg *m)
{
    struct slice agent = pb_slice(m->user_agent_name);
    if (slice_eq(agent, S("weft-proxy")))
        return DIALECT_WEFT;
    if (slice_starts(agent, S("gRPC")) ||
        (!agent.n && has_feature(m, S("envoy.lb.does_not_support_overprovisioning"))))
        return DIALECT_GRPC;
    return DIALECT_ENVOY;
}

static struct slice agent_version(const node_msg *m, struct arena *arena)
{
    if (m->user_agent_version_type_case ==
        ENVOY__CONFIG__CORE__V3__NODE__USER_AGENT_VERSION_TYPE_USER_AGENT_VERSION)
        return pb_slice(m->user_agent_version);
    if (m->user_agent_version_type_case !=
        ENVOY__CONFIG__CORE__V3__NODE__USER_AGENT_VERSION_TYPE_USER_AGENT_BUILD_VERSION)
        return (struct slice){0};
    const Envoy__Type__V3__SemanticVersion *v = m->user_agent_build_version->version;
    return v ? arena_printf(arena, "%u.%u.%u", v->major_number, v->minor_number, v->patch)
             : (struct slice){0};
}

static int cmp_label(const void *a, const void *b)
{
    return slice_cmp((*(const struct slice(*)[2])a)[0], (*(const struct slice(*)[2])b)[0]);
}

static bool read_labels(const struct_msg *labels, struct arena *arena, struct proxy_class_input *in,
                        struct err *err)
{
    if (!labels || !labels->n_fields)
        return true;
    if (labels->n_fields > ADS_NODE_LABELS_MAX)
        return err_set(err, ERR_LIMIT, "node metadata LABELS: %zu labels, at most %d",
                       labels->n_fields, ADS_NODE_LABELS_MAX);
    struct slice(*out)[2] = arena_alloc(arena, labels->n_fields * sizeof(*out));
    size_t n = 0;
    for (size_t i = 0; i < labels->n_fields; i++) {
        struct slice key = pb_slice(labels->fields[i]->key);
        struct slice value = value_string(labels->fields[i]->value);
        if (key.n > ADS_NODE_LABEL_BYTES_MAX || value.n > ADS_NODE_LABEL_BYTES_MAX)
            return err_set(err, ERR_LIMIT, "node metadata LABELS: a label of %zu bytes, at most %d",
                           key.n > value.n ? key.n : value.n, ADS_NODE_LABEL_BYTES_MAX);
        out[n][0] = key;
        out[n++][1] = value;
    }
    qsort(out, n, sizeof(*out), cmp_label);
    /* A map on the wire may repeat a key; any one of them will do, but only one. */
    size_t kept = 1;
    for (size_t i = 1; i < n; i++) {
        if (slice_eq(out[i][0], out[kept - 1][0]))
            continue;
        out[kept][0] = out[i][0];
        out[kept++][1] = out[i][1];
    }
    in->label_count = kept;
    in->labels = (const struct slice(*)[2])out;
    return true;
}

static struct slice first_of(struct slice a, struct slice b, struct slice c)
{
    return a.n ? a : b.n ? b : c;
}

static bool read_input(const node_msg *m, const struct ads_node_id *id, struct arena *arena,
                       struct proxy_class_input *in, struct err *err)
{
    bool captured =
        !slice_eq(value_string(struct_get(m->metadata, "INTERCEPTION_MODE")), S("NONE"));
    in->type = slice_eq(id->type, S("router")) ? PROXY_ROUTER : PROXY_SIDECAR;
    in->dialect = dialect_of(m);
    in->capture = captured ? CAPTURE_REDIRECT : CAPTURE_NONE;
    in->ns = first_of(value_string(struct_get(m->metadata, "NAMESPACE")), id->ns, S("default"));
    if (in->ns.n > ADS_NODE_LABEL_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "node metadata NAMESPACE: %zu bytes, at most %d", in->ns.n,
                       ADS_NODE_LABEL_BYTES_MAX);
    in->dns_domain = id->domain;
    if (!in->dns_domain.n)
        in->dns_domain = arena_printf(arena, "%.*s.svc.cluster.local", SLICE(in->ns));
    in->address = is_ip(id->ip) ? id->ip : (struct slice){0};
    if (m->locality) {
        in->region = pb_slice(m->locality->region);
        in->zone = pb_slice(m->locality->zone);
        in->subzone = pb_slice(m->locality->sub_zone);
    }
    return read_labels(value_struct(struct_get(m->metadata, "LABELS")), arena, in, err);
}

bool ads_node_parse(struct slice wire, struct arena *arena, struct ads_node *ret_node,
                    struct err *err)
{
    const struct pb_limits limits = {
        .depth = ADS_NODE_DEPTH_MAX,
        .bytes = ADS_NODE_BYTES_MAX,
        .elements = ADS_NODE_BYTES_MAX / 4,
        .memory = (size_t)ADS_NODE_BYTES_MAX * 64,
    };
    const node_msg *m =
        pb_unpack_limited(&envoy__config__core__v3__node__descriptor, wire, &limits, arena, err);
    if (!m)
        return err_wrap(err, "node");

    struct ads_node out = {.id = pb_slice(m->id), .agent = pb_slice(m->user_agent_name)};
    if (out.id.n > ADS_NODE_ID_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "node id: %zu bytes, at most %d", out.id.n,
                       ADS_NODE_ID_BYTES_MAX);
    struct ads_node_id id = {0};
    out.name = ads_node_id_parse(out.id, &id) ? id.name : out.id;
    out.cluster_id = value_string(struct_get(m->metadata, "CLUSTER_ID"));
    out.admin = value_string(struct_get(m->metadata, "WEFT_ADMIN"));
    out.version = agent_version(m, arena);
    if (!read_input(m, &id, arena, &out.class_input, err))
        return false;
    *ret_node = out;
    return true;
}
