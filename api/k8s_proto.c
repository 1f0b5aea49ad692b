#include "api/k8s_proto.h"

#include <time.h>

#include "base/core/reader.h"
#include "base/wire/json.h"

enum type { P_STRING, P_INT, P_BOOL, P_MESSAGE, P_STRING_MAP, P_TIME, P_INT_OR_STRING };

/* A field of the tables. `list`: repeated. `pointer`: in Go a pointer, so that its zero is a value.
 */
struct field {
    uint32_t number;
    const char *name;
    enum type type;
    bool list, pointer;
    const struct message *message;
};

struct message {
    const struct field *fields;
    size_t count;
};

#define MESSAGE(id, ...)                                                                           \
    static const struct field id##_fields[] = {__VA_ARGS__};                                       \
    static const struct message id = {id##_fields, ARRAY_LEN(id##_fields)}

#define PLAIN(number, name, type)                                                                  \
    {                                                                                              \
        number, name, type, false, false, NULL                                                     \
    }
#define POINTER(number, name, type)                                                                \
    {                                                                                              \
        number, name, type, false, true, NULL                                                      \
    }
#define STRINGS(number, name)                                                                      \
    {                                                                                              \
        number, name, P_STRING, true, false, NULL                                                  \
    }
#define ONE(number, name, id)                                                                      \
    {                                                                                              \
        number, name, P_MESSAGE, false, false, &id                                                 \
    }
#define MESSAGES(number, name, id)                                                                 \
    {                                                                                              \
        number, name, P_MESSAGE, true, false, &id                                                  \
    }

/* Numbers: k8s.io/apimachinery meta/v1, k8s.io/api core/v1 and discovery/v1, generated.proto. */

MESSAGE(owner_reference, PLAIN(1, "kind", P_STRING), PLAIN(3, "name", P_STRING),
        PLAIN(4, "uid", P_STRING), PLAIN(5, "apiVersion", P_STRING),
        POINTER(6, "controller", P_BOOL), POINTER(7, "blockOwnerDeletion", P_BOOL));
MESSAGE(object_meta, PLAIN(1, "name", P_STRING), PLAIN(2, "generateName", P_STRING),
        PLAIN(3, "namespace", P_STRING), PLAIN(5, "uid", P_STRING),
        PLAIN(6, "resourceVersion", P_STRING), PLAIN(7, "generation", P_INT),
        PLAIN(8, "creationTimestamp", P_TIME), PLAIN(9, "deletionTimestamp", P_TIME),
        POINTER(10, "deletionGracePeriodSeconds", P_INT), PLAIN(11, "labels", P_STRING_MAP),
        PLAIN(12, "annotations", P_STRING_MAP), MESSAGES(13, "ownerReferences", owner_reference),
        STRINGS(14, "finalizers"));

MESSAGE(namespace_spec, STRINGS(1, "finalizers"));
MESSAGE(namespace_message, ONE(1, "metadata", object_meta), ONE(2, "spec", namespace_spec));

MESSAGE(service_port, PLAIN(1, "name", P_STRING), PLAIN(2, "protocol", P_STRING),
        PLAIN(3, "port", P_INT), PLAIN(4, "targetPort", P_INT_OR_STRING),
        PLAIN(5, "nodePort", P_INT), POINTER(6, "appProtocol", P_STRING));
MESSAGE(client_ip, POINTER(1, "timeoutSeconds", P_INT));
MESSAGE(affinity_config, ONE(1, "clientIP", client_ip));
MESSAGE(service_spec, MESSAGES(1, "ports", service_port), PLAIN(2, "selector", P_STRING_MAP),
        PLAIN(3, "clusterIP", P_STRING), PLAIN(4, "type", P_STRING), STRINGS(5, "externalIPs"),
        PLAIN(7, "sessionAffinity", P_STRING), PLAIN(8, "loadBalancerIP", P_STRING),
        STRINGS(9, "loadBalancerSourceRanges"), PLAIN(10, "externalName", P_STRING),
        PLAIN(11, "externalTrafficPolicy", P_STRING), PLAIN(12, "healthCheckNodePort", P_INT),
        PLAIN(13, "publishNotReadyAddresses", P_BOOL),
        ONE(14, "sessionAffinityConfig", affinity_config), PLAIN(17, "ipFamilyPolicy", P_STRING),
        STRINGS(18, "clusterIPs"), STRINGS(19, "ipFamilies"),
        POINTER(20, "allocateLoadBalancerNodePorts", P_BOOL),
        PLAIN(21, "loadBalancerClass", P_STRING), PLAIN(22, "internalTrafficPolicy", P_STRING),
        PLAIN(23, "trafficDistribution", P_STRING));
MESSAGE(service_message, ONE(1, "metadata", object_meta), ONE(2, "spec", service_spec));

MESSAGE(endpoint_conditions, POINTER(1, "ready", P_BOOL), POINTER(2, "serving", P_BOOL),
        POINTER(3, "terminating", P_BOOL));
MESSAGE(object_reference, PLAIN(1, "kind", P_STRING), PLAIN(2, "namespace", P_STRING),
        PLAIN(3, "name", P_STRING), PLAIN(4, "uid", P_STRING), PLAIN(5, "apiVersion", P_STRING),
        PLAIN(6, "resourceVersion", P_STRING), PLAIN(7, "fieldPath", P_STRING));
MESSAGE(endpoint, STRINGS(1, "addresses"), ONE(2, "conditions", endpoint_conditions),
        PLAIN(3, "hostname", P_STRING), ONE(4, "targetRef", object_reference),
        PLAIN(5, "deprecatedTopology", P_STRING_MAP), PLAIN(6, "nodeName", P_STRING),
        PLAIN(7, "zone", P_STRING));
MESSAGE(endpoint_port, POINTER(1, "name", P_STRING), PLAIN(2, "protocol", P_STRING),
        POINTER(3, "port", P_INT), POINTER(4, "appProtocol", P_STRING));
MESSAGE(endpoint_slice, ONE(1, "metadata", object_meta), MESSAGES(2, "endpoints", endpoint),
        MESSAGES(3, "ports", endpoint_port), PLAIN(4, "addressType", P_STRING));

static const struct {
    struct slice api_version, kind;
    const struct message *message;
} roots[] = {
    {S_INIT("v1"), S_INIT("Namespace"), &namespace_message},
    {S_INIT("v1"), S_INIT("Service"), &service_message},
    {S_INIT("discovery.k8s.io/v1"), S_INIT("EndpointSlice"), &endpoint_slice},
};

/* Wire. */

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* A field as it stands on the wire. */
struct raw {
    uint32_t number;
    enum wire wire;
    uint64_t varint;
    struct slice bytes;
};

/* false at the end, and with r->failed for what is cut short or a group. */
static bool next_raw(struct reader *r, struct raw *ret)
{
    if (!reader_ok(r) || !reader_left(r))
        return false;
    uint64_t tag = reader_varint(r);
    *ret = (struct raw){.number = (uint32_t)(tag >> 3), .wire = (enum wire)(tag & 7)};
    switch (ret->wire) {
    case WIRE_VARINT:
        ret->varint = reader_varint(r);
        break;
    case WIRE_BYTES:
        ret->bytes = reader_bytes(r, reader_varint(r));
        break;
    case WIRE_FIXED64:
        reader_bytes(r, 8);
        break;
    case WIRE_FIXED32:
        reader_bytes(r, 4);
        break;
    default:
        r->failed = true;
    }
    r->failed |= tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF;
    return reader_ok(r);
}

/* Values. */

static json_t *message_json(const struct message *m, struct slice bytes);

static json_t *text_json(struct slice s)
{
    bool has_nul = slice_find(s, 0) != SIZE_MAX;
    return has_nul ? NULL : json_string_of(s);
}

/* Time{seconds = 1}; the zero time is not there at all. */
static json_t *time_json(struct slice bytes)
{
    struct reader r = reader_of(bytes);
    struct raw raw;
    time_t seconds = 0;
    struct tm tm;
    char text[64];
    while (next_raw(&r, &raw))
        if (raw.number == 1 && raw.wire == WIRE_VARINT)
            seconds = (time_t)raw.varint;
    if (!reader_done(&r))
        return NULL;
    if (!seconds || !gmtime_r(&seconds, &tm) ||
        !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
        return json_null();
    return json_string(text);
}

/* IntOrString{type = 1: 0 int, 1 string; intVal = 2; strVal = 3}; 0 is not there. */
static json_t *int_or_string_json(struct slice bytes)
{
    struct reader r = reader_of(bytes);
    struct raw raw;
    uint64_t type = 0;
    int32_t number = 0;
    struct slice text = {0};
    while (next_raw(&r, &raw)) {
        if (raw.number == 1)
            type = raw.varint;
        else if (raw.number == 2)
            number = (int32_t)raw.varint;
        else if (raw.number == 3)
            text = raw.bytes;
    }
    if (!reader_done(&r))
        return NULL;
    if (type == 1)
        return text_json(text);
    return number ? json_integer(number) : json_null();
}

/* One entry {key = 1, value = 2} of a map of strings. */
static bool add_entry(json_t *map, struct slice bytes)
{
    struct reader r = reader_of(bytes);
    struct raw raw;
    struct slice key = {0}, value = {0};
    while (next_raw(&r, &raw)) {
        if (raw.number == 1)
            key = raw.bytes;
        else if (raw.number == 2)
            value = raw.bytes;
    }
    json_t *v = reader_done(&r) && slice_utf8(key) && slice_find(key, 0) == SIZE_MAX
                    ? text_json(value)
                    : NULL;
    return v && json_object_setn_new(map, key.p ? key.p : "", key.n, v) == 0;
}

/* NULL: malformed; null: nothing that JSON would show. */
static json_t *value_json(const struct field *f, const struct raw *raw)
{
    bool number = f->type == P_INT || f->type == P_BOOL, shown = f->pointer || f->list;
    if (raw->wire != (number ? WIRE_VARINT : WIRE_BYTES))
        return NULL;
    switch (f->type) {
    case P_STRING:
        return raw->bytes.n || shown ? text_json(raw->bytes) : json_null();
    case P_INT:
        return raw->varint || shown ? json_integer((int64_t)raw->varint) : json_null();
    case P_BOOL:
        return raw->varint || shown ? json_boolean(raw->varint != 0) : json_null();
    case P_TIME:
        return time_json(raw->bytes);
    case P_INT_OR_STRING:
        return int_or_string_json(raw->bytes);
    case P_MESSAGE:
        return message_json(f->message, raw->bytes);
    case P_STRING_MAP:
        break; /* entries are added by the caller */
    }
    return NULL;
}

static json_t *child(json_t *object, const char *name, json_t *(*make)(void))
{
    json_t *there = json_object_get(object, name);
    if (!there)
        json_object_set_new(object, name, there = make());
    return there;
}

static bool add_field(json_t *object, const struct field *f, const struct raw *raw)
{
    if (f->type == P_STRING_MAP)
        return raw->wire == WIRE_BYTES &&
               add_entry(child(object, f->name, json_object), raw->bytes);
    json_t *v = value_json(f, raw);
    if (!v)
        return false;
    if (f->list)
        json_array_append(child(object, f->name, json_array), v);
    else if (!json_is_null(v))
        json_object_set(object, f->name, v);
    json_decref(v);
    return true;
}

static const struct field *field_of(const struct message *m, uint32_t number)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->fields[i].number == number)
            return &m->fields[i];
    return NULL;
}

/* Depth is that of the tables, which have no cycle. */
static json_t *message_json(const struct message *m, struct slice bytes)
{
    struct reader r = reader_of(bytes);
    struct raw raw;
    json_t *object = json_object();
    bool ok = true;
    while (ok && next_raw(&r, &raw)) {
        const struct field *f = field_of(m, raw.number);
        ok = !f || add_field(object, f, &raw);
    }
    if (ok && reader_done(&r))
        return object;
    json_decref(object);
    return NULL;
}

/* The envelope. */

struct envelope {
    struct slice api_version, kind, raw, encoding;
};

static bool read_type(struct slice bytes, struct envelope *e)
{
    struct reader r = reader_of(bytes);
    struct raw raw;
    while (next_raw(&r, &raw)) {
        if (raw.number == 1)
            e->api_version = raw.bytes;
        else if (raw.number == 2)
            e->kind = raw.bytes;
    }
    return reader_done(&r);
}

static bool read_envelope(struct slice bytes, struct envelope *e)
{
    struct reader r = reader_of(bytes);
    struct raw raw;
    *e = (struct envelope){0};
    while (next_raw(&r, &raw)) {
        if (raw.number == 1 && !read_type(raw.bytes, e))
            return false;
        if (raw.number == 2)
            e->raw = raw.bytes;
        else if (raw.number == 3)
            e->encoding = raw.bytes;
    }
    return reader_done(&r) && !e->encoding.n;
}

static json_t *object_of(const struct envelope *e, const struct message *m, struct err *err)
{
    json_t *o = message_json(m, e->raw);
    if (!o) {
        err_set(err, ERR_INVALID, "malformed protobuf of a %.*s", SLICE(e->kind));
        return NULL;
    }
    json_object_set_new(o, "apiVersion", json_string_of(e->api_version));
    json_object_set_new(o, "kind", json_string_of(e->kind));
    return o;
}

bool k8s_proto_is(struct slice body)
{
    return slice_starts(body, (struct slice){"k8s\0", 4});
}

json_t *k8s_proto_parse(struct slice body, struct err *err)
{
    struct envelope e;
    if (body.n > JSON_BYTES_MAX) {
        err_set(err, ERR_LIMIT, "body of %zu bytes: at most %u", body.n, JSON_BYTES_MAX);
        return NULL;
    }
    if (!k8s_proto_is(body) || !read_envelope(slice_skip(body, 4), &e)) {
        err_set(err, ERR_INVALID, "malformed Kubernetes protobuf");
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_LEN(roots); i++)
        if (slice_eq(roots[i].api_version, e.api_version) && slice_eq(roots[i].kind, e.kind))
            return object_of(&e, roots[i].message, err);
    err_set(err, ERR_UNSUPPORTED, "%.*s in protobuf: send it as JSON",
            SLICE(slice_sub(e.kind, 0, 80)));
    return NULL;
}
