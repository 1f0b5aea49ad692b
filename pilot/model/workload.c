/* WorkloadEntry: what the compiler reads of it, packed. The block of an object is
 *
 *   struct workload | key | address weight locality labels ports
 *
 * with numbers as varints, strings behind their length, lists behind their count, and labels sorted
 * by name: 180 bytes or so. The indexes that it is in are not stored: they follow from it.
 */
#include "pilot/model/model_internal.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/core/reader.h"

#define PORT_NAME_BYTES_MAX 63 /* longer ones match no port */

struct workload {
    struct model_object object;
    uint64_t sign;
    reg_rev revision; /* since when it is the sign */
    uint32_t bytes;   /* of the packed part */
    char text[];      /* the key, then the packed part */
};

static const struct workload *workload_of(const struct model_object *o)
{
    wf_assert(o->kind == KIND_WORKLOAD_ENTRY && !o->body);
    return container_of(o, const struct workload, object);
}

/* JSON -> what is read of it. */

static void ports_parse(const json_t *ports, struct arena *arena, struct model_workload *out)
{
    size_t n = 0, size = json_object_size(ports);
    struct model_named_port *p = size ? ARENA_ARRAY(arena, struct model_named_port, size) : NULL;
    const char *name;
    json_t *v;
    json_object_foreach ((json_t *)(uintptr_t)ports, name, v) {
        struct slice s = slice_of(name);
        uint32_t number = jr_u32(ports, name, 0);
        if (number && s.n <= PORT_NAME_BYTES_MAX)
            p[n++] = (struct model_named_port){s, number};
    }
    out->ports = p;
    out->port_count = n;
}

struct model_workload model_workload_parse(const json_t *spec, struct arena *arena)
{
    uint32_t weight = jr_u32(spec, "weight", 1);
    struct model_workload w = {
        .address = jr_str(spec, "address"),
        .locality = jr_str(spec, "locality"),
        .weight = weight ? weight : 1,
        .labels = jr_pairs(jr_get(spec, "labels"), arena),
    };
    ports_parse(jr_get(spec, "ports"), arena, &w);
    return w;
}

/* Packing. */

static void put_slice(struct buf *out, struct slice s)
{
    buf_varint(out, s.n);
    buf_append(out, s);
}

static void workload_pack(struct buf *out, const struct model_workload *w)
{
    put_slice(out, w->address);
    buf_varint(out, w->weight);
    put_slice(out, w->locality);
    buf_varint(out, w->labels.n);
    for (size_t i = 0; i < w->labels.n; i++) {
        put_slice(out, w->labels.p[i].name);
        put_slice(out, w->labels.p[i].value);
    }
    buf_varint(out, w->port_count);
    for (size_t i = 0; i < w->port_count; i++) {
        put_slice(out, w->ports[i].name);
        buf_varint(out, w->ports[i].number);
    }
}

static struct reader packed(const struct workload *w)
{
    return reader_of(slice_mem(w->text + w->object.key.n, w->bytes));
}

static struct slice take_slice(struct reader *r)
{
    return reader_bytes(r, reader_varint(r));
}

static struct jr_pair take_label(struct reader *r)
{
    struct slice name = take_slice(r);
    return (struct jr_pair){name, take_slice(r)};
}

static void skip_to_labels(struct reader *r)
{
    take_slice(r);
    reader_varint(r);
    take_slice(r);
}

struct model_workload model_workload_read(const struct model_object *o, struct arena *arena)
{
    struct reader r = packed(workload_of(o));
    struct model_workload w = {.address = take_slice(&r)};
    w.weight = (uint32_t)reader_varint(&r);
    w.locality = take_slice(&r);
    size_t labels = (size_t)reader_varint(&r);
    struct jr_pair *label = labels ? ARENA_ARRAY(arena, struct jr_pair, labels) : NULL;
    for (size_t i = 0; i < labels; i++)
        label[i] = take_label(&r);
    w.labels = (struct jr_pairs){label, labels};
    w.port_count = (size_t)reader_varint(&r);
    struct model_named_port *port =
        w.port_count ? ARENA_ARRAY(arena, struct model_named_port, w.port_count) : NULL;
    for (size_t i = 0; i < w.port_count; i++) {
        port[i].name = take_slice(&r);
        port[i].number = (uint32_t)reader_varint(&r);
    }
    w.ports = port;
    wf_assert(reader_done(&r));
    return w;
}

/* Objects. */

/* Without what changes nothing for proxies: status, annotations, other metadata. */
static uint64_t workload_sign(const json_t *json, const json_t *spec, reg_rev create_rev)
{
    return jr_hash(spec) ^ hash_u64(create_rev) ^
           hash_u64(jr_hash(jr_path(json, "metadata", "labels", NULL)));
}

static size_t block_bytes(size_t key_bytes, size_t packed_bytes)
{
    return offsetof(struct workload, text) + key_bytes + packed_bytes;
}

size_t model_workload_bytes(const struct model_object *o)
{
    return block_bytes(o->key.n, workload_of(o)->bytes);
}

static struct workload *block_new(struct slice key, struct slice bytes)
{
    struct workload *w = mem_new(block_bytes(key.n, bytes.n));
    memcpy(w->text, key.p, key.n);
    memcpy(w->text + key.n, bytes.p, bytes.n);
    w->bytes = (uint32_t)bytes.n;
    w->object.kind = KIND_WORKLOAD_ENTRY;
    model_object_named(&w->object, slice_mem(w->text, key.n));
    return w;
}

struct model_object *model_workload_new(struct slice key, const json_t *json, reg_rev create_rev,
                                        struct arena *scratch, struct err *err)
{
    const json_t *spec = jr_get(json, "spec");
    struct model_workload w = {.weight = 1};
    struct buf bytes = {0};
    if (json_is_object(spec)) {
        w = model_workload_parse(spec, scratch);
        /* Metadata over spec, as Istio merges them. */
        w.labels = jr_pairs_merge(
            w.labels, jr_pairs(jr_path(json, "metadata", "labels", NULL), scratch), scratch);
    } else {
        err_set(err, ERR_INVALID, "spec is missing");
    }
    workload_pack(&bytes, &w);
    struct workload *out = block_new(key, buf_slice(&bytes));
    buf_fini(&bytes);
    out->object.create_rev = create_rev;
    out->sign = workload_sign(json, spec, create_rev);
    return &out->object;
}

/* Indexes. */

struct slice model_label_name(struct arena *arena, struct slice ns, struct jr_pair label)
{
    char *p = arena_alloc(arena, ns.n + label.name.n + label.value.n + 2), *at = p;
    at = mempcpy(at, ns.p, ns.n);
    *at++ = '/';
    at = mempcpy(at, label.name.p, label.name.n);
    *at++ = '=';
    if (label.value.n)
        at = mempcpy(at, label.value.p, label.value.n);
    return slice_mem(p, (size_t)(at - p));
}

void model_workload_entries(const struct model_object *o, struct model_entries *e)
{
    const struct workload *w = workload_of(o);
    struct reader r = packed(w);
    struct slice address = take_slice(&r);
    reader_varint(&r);
    take_slice(&r);
    model_entry_add(e, MODEL_OBJECT, o->key, w->sign);
    for (size_t left = (size_t)reader_varint(&r); left > 0; left--)
        model_entry_add(e, MODEL_WORKLOADS, model_label_name(e->arena, o->ns, take_label(&r)),
                        w->sign);
    if (address.n)
        model_entry_add(e, MODEL_ADDRESS, address, w->sign);
    for (size_t i = 0; i < e->n; i++)
        e->p[i].revision = w->revision;
}

void model_workload_said(struct model_object *o, reg_rev revision)
{
    ((struct workload *)(uintptr_t)workload_of(o))->revision = revision;
}

/* Takes a prefix off. */
static bool cut_start(struct slice *s, struct slice prefix)
{
    bool ok = slice_starts(*s, prefix);
    if (ok)
        *s = slice_skip(*s, prefix.n);
    return ok;
}

static bool has_label(const struct model_object *o, struct slice name)
{
    struct reader r = packed(workload_of(o));
    skip_to_labels(&r);
    if (!cut_start(&name, o->ns) || !cut_start(&name, S("/")))
        return false;
    for (size_t left = (size_t)reader_varint(&r); left > 0; left--) {
        struct jr_pair label = take_label(&r);
        struct slice rest = name;
        if (cut_start(&rest, label.name) && cut_start(&rest, S("=")) && slice_eq(rest, label.value))
            return true;
    }
    return false;
}

bool model_workload_has(const struct model_object *o, struct model_key key, reg_rev *ret_revision)
{
    struct reader r = packed(workload_of(o));
    *ret_revision = workload_of(o)->revision;
    switch (key.index) {
    case MODEL_OBJECT:
        return slice_eq(key.name, o->key);
    case MODEL_ADDRESS:
        return key.name.n && slice_eq(key.name, take_slice(&r));
    case MODEL_WORKLOADS:
        return has_label(o, key.name);
    default:
        return false;
    }
}
