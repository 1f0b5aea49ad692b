/* Service and ServiceEntry: hosts, ports, protocols. */
#include "pilot/model/model.h"

#include <string.h>

#include "base/core/hash.h"
#include "pilot/model/model_internal.h"

bool model_protocol_http(enum model_protocol p)
{
    return p == PROTOCOL_HTTP || p == PROTOCOL_HTTP2 || p == PROTOCOL_GRPC ||
           p == PROTOCOL_GRPC_WEB;
}

static bool protocol_named(struct slice name, enum model_protocol *ret)
{
    static const struct {
        struct slice name;
        enum model_protocol protocol;
    } names[] = {
        {S_INIT("http"), PROTOCOL_HTTP},
        {S_INIT("http2"), PROTOCOL_HTTP2},
        {S_INIT("grpc"), PROTOCOL_GRPC},
        {S_INIT("grpc-web"), PROTOCOL_GRPC_WEB},
        {S_INIT("https"), PROTOCOL_HTTPS},
        {S_INIT("tcp"), PROTOCOL_TCP},
        {S_INIT("tls"), PROTOCOL_TLS},
        {S_INIT("mongo"), PROTOCOL_MONGO},
        {S_INIT("redis"), PROTOCOL_REDIS},
        {S_INIT("mysql"), PROTOCOL_MYSQL},
        {S_INIT("udp"), PROTOCOL_UDP},
        {S_INIT("kubernetes.io/h2c"), PROTOCOL_HTTP2},
        {S_INIT("kubernetes.io/ws"), PROTOCOL_HTTP},
        {S_INIT("kubernetes.io/wss"), PROTOCOL_HTTPS},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (slice_eq_nocase(name, names[i].name)) {
            *ret = names[i].protocol;
            return true;
        }
    return false;
}

/* Ports whose servers speak first: guessing would hang the connection. */
static bool server_first(uint32_t port)
{
    return port == 25 || port == 53 || port == 3306 || port == 27017;
}

enum model_protocol model_protocol_of(struct slice app_protocol, struct slice name, uint32_t port)
{
    enum model_protocol p;
    if (protocol_named(app_protocol, &p))
        return p;
    if (name.n >= 8 && slice_eq_nocase(slice_sub(name, 0, 8), S("grpc-web")))
        return PROTOCOL_GRPC_WEB;
    struct slice head, tail;
    slice_cut(name, '-', &head, &tail);
    if (protocol_named(head, &p))
        return p;
    return server_first(port) ? PROTOCOL_TCP : PROTOCOL_AUTO;
}

/* Service. */

static struct model_port service_port(const json_t *p)
{
    const json_t *target = jr_get(p, "targetPort");
    struct model_port out = {
        .name = jr_str(p, "name"),
        .number = jr_u32(p, "port", 0),
        .target = json_is_integer(target) ? jr_u32(p, "targetPort", 0) : 0,
        .target_name = json_slice(target),
    };
    out.protocol = slice_eq(jr_str(p, "protocol"), S("UDP"))
                       ? PROTOCOL_UDP
                       : model_protocol_of(jr_str(p, "appProtocol"), out.name, out.number);
    return out;
}

/* Ports of a valid number, first one of a number wins. */
static size_t ports_read(const json_t *ports, struct model_port (*read)(const json_t *),
                         struct model_port *out)
{
    size_t n = 0;
    JR_EACH (ports, i, v) {
        struct model_port p = read(v);
        bool seen = p.number == 0 || p.number > 65535 || p.target > 65535;
        for (size_t j = 0; j < n && !seen; j++)
            seen = out[j].number == p.number;
        if (!seen)
            out[n++] = p;
    }
    return n;
}

static void index_service(struct model_object *o, const struct model_service *s,
                          struct model_entries *e)
{
    uint64_t spec =
        jr_hash(o->body->spec) ^ hash_u64(jr_hash(o->body->export_to)) ^ hash_u64(o->create_rev);
    uint64_t listed = jr_hash(jr_get(o->body->spec, "ports")) ^
                      hash_u64(jr_hash(o->body->export_to)) ^ hash_u64(jr_hash(s->addresses) + 1) ^
                      hash_bytes(s->host) ^ hash_u64((uint64_t)s->resolution * 2 + s->headless) ^
                      hash_u64(o->create_rev);
    model_entry_add(e, MODEL_HOST, s->host, spec);
    model_entry_add(e, MODEL_SERVICES, S(""), listed);
    if (s->selector.n)
        model_entry_add(e, MODEL_SELECTING, model_label_name(e->arena, s->ns, s->selector.p[0]),
                        spec);
}

static const json_t *annotation_export(struct model_object *o)
{
    struct slice text = jr_pairs_get(o->body->annotations, S("networking.istio.io/exportTo")), item;
    if (!text.n)
        return NULL;
    json_t *list = json_array();
    do {
        slice_cut(text, ',', &item, &text);
        item = slice_trim(item);
        json_array_append_new(list, json_stringn(item.p, item.n));
    } while (text.n);
    /* Owned by the object's tree, where the canonical form has no such field. */
    json_object_set_new(o->body->json, "exportTo", list);
    return list;
}

bool model_parse_service(struct model_object *o, struct model_entries *e, struct err *err)
{
    (void)err;
    const json_t *ports = jr_get(o->body->spec, "ports");
    struct model_port *p = ARENA_ARRAY(e->arena, struct model_port, jr_len(ports) + 1);
    struct model_service *s = ARENA_NEW(e->arena, struct model_service);
    struct slice ip = jr_str(o->body->spec, "clusterIP");
    *s = (struct model_service){
        .object = o,
        .ns = o->ns,
        .name = o->name,
        .host =
            arena_printf(e->arena, "%.*s.%.*s." MODEL_CLUSTER_DOMAIN, SLICE(o->name), SLICE(o->ns)),
        .port_count = ports_read(ports, service_port, p),
        .ports = p,
        .headless = slice_eq(ip, S("None")),
        .selector = jr_pairs(jr_get(o->body->spec, "selector"), e->arena),
    };
    if (slice_eq(jr_str(o->body->spec, "type"), S("ExternalName"))) {
        s->external_name = jr_str(o->body->spec, "externalName");
        s->resolution = RESOLUTION_DNS;
        s->mesh_external = true;
    }
    const json_t *ips = jr_get(o->body->spec, "clusterIPs");
    if (!jr_len(ips) && ip.n) {
        json_t *one = json_array();
        json_array_append_new(one, json_stringn(ip.p, ip.n));
        json_object_set_new((json_t *)o->body->spec, "clusterIPs", one);
        ips = one;
    }
    s->addresses = s->headless ? NULL : ips;
    o->body->export_to = annotation_export(o);
    o->body->services = s;
    o->body->service_count = 1;
    index_service(o, s, e);
    return true;
}

/* ServiceEntry. */

static struct model_port entry_port(const json_t *p)
{
    struct model_port out = {.name = jr_str(p, "name"),
                             .number = jr_u32(p, "number", 0),
                             .target = jr_u32(p, "targetPort", 0)};
    out.protocol = model_protocol_of(jr_str(p, "protocol"), out.name, out.number);
    return out;
}

static enum model_resolution entry_resolution(struct slice word)
{
    if (slice_eq(word, S("STATIC")))
        return RESOLUTION_ENDPOINTS;
    if (slice_eq(word, S("DNS")))
        return RESOLUTION_DNS;
    return slice_eq(word, S("DNS_ROUND_ROBIN")) ? RESOLUTION_DNS_ONE : RESOLUTION_NONE;
}

static void index_endpoints(struct model_object *o, struct model_entries *e)
{
    uint64_t sign = jr_hash(o->body->spec);
    JR_EACH (jr_get(o->body->spec, "endpoints"), i, v)
        if (jr_str(v, "address").n)
            model_entry_add(e, MODEL_ADDRESS, jr_str(v, "address"), sign);
}

bool model_parse_service_entry(struct model_object *o, struct model_entries *e, struct err *err)
{
    const json_t *hosts = jr_get(o->body->spec, "hosts"), *ports = jr_get(o->body->spec, "ports");
    size_t n = jr_len(hosts);
    if (n == 0)
        return err_set(err, ERR_INVALID, "spec.hosts is empty");
    struct model_port *p = ARENA_ARRAY(e->arena, struct model_port, jr_len(ports) + 1);
    struct model_service *s = ARENA_ARRAY(e->arena, struct model_service, n);
    size_t port_count = ports_read(ports, entry_port, p);
    for (size_t i = 0; i < n; i++) {
        s[i] = (struct model_service){
            .object = o,
            .ns = o->ns,
            .name = json_slice(jr_at(hosts, i)),
            .host = json_slice(jr_at(hosts, i)),
            .resolution = entry_resolution(jr_str(o->body->spec, "resolution")),
            .mesh_external = !slice_eq(jr_str(o->body->spec, "location"), S("MESH_INTERNAL")),
            .port_count = port_count,
            .ports = p,
            .addresses = jr_get(o->body->spec, "addresses"),
            .endpoints = jr_get(o->body->spec, "endpoints"),
            .selector =
                jr_pairs(jr_path(o->body->spec, "workloadSelector", "labels", NULL), e->arena),
        };
        index_service(o, &s[i], e);
    }
    o->body->services = s;
    o->body->service_count = n;
    index_endpoints(o, e);
    return true;
}
