/* EndpointSlice: what the compiler reads of it, copied out of its tree into one block of the size
 * that it takes.
 *
 * Labels of an endpoint are the slice's own (without Kubernetes' bookkeeping) under the endpoint's
 * deprecatedTopology: whoever writes a slice by hand or from pods puts the pods' labels there.
 */
#include "pilot/model/model_internal.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"

#define SERVICE_NAME_LABEL "kubernetes.io/service-name"

/* Reading; strings borrow from the tree. */

static bool is_bookkeeping(struct slice label)
{
    return slice_starts(label, S("kubernetes.io/")) ||
           slice_starts(label, S("endpointslice.kubernetes.io/")) ||
           slice_starts(label, S("service.kubernetes.io/"));
}

static struct jr_pairs own_labels(struct jr_pairs labels, struct arena *a)
{
    struct jr_pair *own = ARENA_ARRAY(a, struct jr_pair, labels.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < labels.n; i++)
        if (!is_bookkeeping(labels.p[i].name))
            own[n++] = labels.p[i];
    return (struct jr_pairs){own, n};
}

static void read_ports(const json_t *ports, struct arena *a, struct model_backends *out)
{
    struct model_named_port *p = ARENA_ARRAY(a, struct model_named_port, jr_len(ports) + 1);
    JR_EACH (ports, i, v)
        p[i] = (struct model_named_port){jr_str(v, "name"), jr_u32(v, "port", 0)};
    out->ports = p;
    out->port_count = jr_len(ports);
}

/* Kubernetes: a missing condition means ready. */
static bool is_ready(const json_t *endpoint)
{
    return !json_is_false(jr_path(endpoint, "conditions", "ready", NULL));
}

static void read_endpoints(const json_t *endpoints, struct arena *a, struct model_backends *out)
{
    struct model_backend *p = ARENA_ARRAY(a, struct model_backend, jr_len(endpoints) + 1);
    size_t n = 0;
    JR_EACH (endpoints, i, v) {
        struct slice address = json_slice(jr_at(jr_get(v, "addresses"), 0));
        if (!address.n || !is_ready(v))
            continue;
        p[n++] = (struct model_backend){.address = address,
                                        .zone = jr_str(v, "zone"),
                                        .target = json_slice(jr_path(v, "targetRef", "name", NULL)),
                                        .labels = jr_pairs(jr_get(v, "deprecatedTopology"), a)};
    }
    out->p = p;
    out->count = n;
}

/* With those that are not ready: a proxy may start before its workload is. */
static void index_slice(struct slice key, const json_t *json, struct slice service,
                        reg_rev create_rev, struct model_entries *e)
{
    const json_t *endpoints = jr_get(json, "endpoints"), *ports = jr_get(json, "ports");
    struct slice resource, ns, name;
    model_key_split(key, &resource, &ns, &name);
    struct slice whose = arena_printf(e->arena, "%.*s/%.*s", SLICE(ns), SLICE(service));
    uint64_t where = hash_bytes(whose) ^ hash_u64(jr_hash(ports)) ^ hash_u64(create_rev);
    model_entry_add(e, MODEL_SLICES, whose,
                    where ^ jr_hash(endpoints) ^
                        hash_u64(jr_hash(jr_path(json, "metadata", "labels", NULL))));
    JR_EACH (endpoints, i, v)
        JR_EACH (jr_get(v, "addresses"), j, a)
            model_entry_add(e, MODEL_ADDRESS, json_slice(a), where);
}

/* Keeping: the same again, in an arena that has one block of the right size. */

struct keep {
    struct arena arena;
    char *text; /* where the next string goes */
};

static size_t pairs_text(struct jr_pairs pairs)
{
    size_t n = 0;
    for (size_t i = 0; i < pairs.n; i++)
        n += pairs.p[i].name.n + pairs.p[i].value.n;
    return n;
}

static size_t all_text(struct slice key, const struct model_backends *b,
                       const struct model_entries *e)
{
    size_t n = key.n + b->service.n + pairs_text(b->labels);
    for (size_t i = 0; i < b->port_count; i++)
        n += b->ports[i].name.n;
    for (size_t i = 0; i < b->count; i++)
        n += b->p[i].address.n + b->p[i].zone.n + b->p[i].target.n + pairs_text(b->p[i].labels);
    for (size_t i = 0; i < e->n; i++)
        n += e->p[i].key.name.n;
    return n;
}

static size_t all_pairs(const struct model_backends *b)
{
    size_t n = b->labels.n;
    for (size_t i = 0; i < b->count; i++)
        n += b->p[i].labels.n;
    return n;
}

static struct slice text_keep(struct keep *k, struct slice s)
{
    char *p = k->text;
    if (s.n)
        memcpy(p, s.p, s.n);
    k->text += s.n;
    return slice_mem(p, s.n);
}

static struct jr_pairs pairs_keep(struct keep *k, struct jr_pairs from)
{
    struct jr_pair *p = from.n ? ARENA_ARRAY(&k->arena, struct jr_pair, from.n) : NULL;
    for (size_t i = 0; i < from.n; i++)
        p[i] = (struct jr_pair){text_keep(k, from.p[i].name), text_keep(k, from.p[i].value)};
    return (struct jr_pairs){p, from.n};
}

static void backends_keep(struct keep *k, struct model_backends *out,
                          const struct model_backends *from)
{
    struct model_named_port *ports =
        ARENA_ARRAY(&k->arena, struct model_named_port, from->port_count);
    struct model_backend *p = ARENA_ARRAY(&k->arena, struct model_backend, from->count);
    for (size_t i = 0; i < from->port_count; i++)
        ports[i] =
            (struct model_named_port){text_keep(k, from->ports[i].name), from->ports[i].number};
    for (size_t i = 0; i < from->count; i++)
        p[i] = (struct model_backend){.address = text_keep(k, from->p[i].address),
                                      .zone = text_keep(k, from->p[i].zone),
                                      .target = text_keep(k, from->p[i].target),
                                      .labels = pairs_keep(k, from->p[i].labels)};
    *out = (struct model_backends){.service = text_keep(k, from->service),
                                   .labels = pairs_keep(k, from->labels),
                                   .port_count = from->port_count,
                                   .ports = ports,
                                   .count = from->count,
                                   .p = p};
}

static void entries_keep(struct keep *k, struct model_body *body, const struct model_entries *e)
{
    body->entries = ARENA_ARRAY(&k->arena, struct model_entry, e->n);
    body->entry_count = e->n;
    for (size_t i = 0; i < e->n; i++) {
        body->entries[i] = e->p[i];
        body->entries[i].key.name = text_keep(k, e->p[i].key.name);
    }
}

struct block {
    struct model_object object;
    struct model_body body;
    struct model_backends backends;
};

static struct model_object *slice_keep(struct slice key, const struct model_backends *from,
                                       const struct model_entries *e)
{
    size_t text = all_text(key, from, e);
    struct keep k = {.arena = {.first = sizeof(struct block) +
                                        from->port_count * sizeof(*from->ports) +
                                        from->count * sizeof(*from->p) + e->n * sizeof(*e->p) +
                                        all_pairs(from) * sizeof(struct jr_pair) + text + 64}};
    struct block *b = ARENA_NEW(&k.arena, struct block);
    k.text = arena_alloc(&k.arena, text);
    model_object_named(&b->object, text_keep(&k, key));
    b->object.kind = KIND_ENDPOINT_SLICE;
    b->object.body = &b->body;
    b->body.backends = &b->backends;
    backends_keep(&k, &b->backends, from);
    entries_keep(&k, &b->body, e);
    b->body.arena = k.arena;
    return &b->object;
}

struct model_object *model_backends_new(struct slice key, const json_t *json, reg_rev create_rev,
                                        struct arena *scratch, struct err *err)
{
    struct model_backends b = {0};
    struct model_entries e = {.arena = scratch};
    struct jr_pairs labels = jr_pairs(jr_path(json, "metadata", "labels", NULL), scratch);
    const json_t *endpoints = jr_get(json, "endpoints"), *ports = jr_get(json, "ports");
    uint64_t what = jr_hash(endpoints) ^ hash_u64(jr_hash(ports));
    b.service = jr_pairs_get(labels, S(SERVICE_NAME_LABEL));
    if (b.service.n) {
        b.labels = own_labels(labels, scratch);
        read_ports(ports, scratch, &b);
        read_endpoints(endpoints, scratch, &b);
        index_slice(key, json, b.service, create_rev, &e);
    } else {
        err_set(err, ERR_INVALID, "label " SERVICE_NAME_LABEL " is missing: belongs to no service");
    }
    model_entry_add(&e, MODEL_OBJECT, key, model_object_sign(json, what, create_rev));
    model_entries_sort(&e);
    struct model_object *o = slice_keep(key, &b, &e);
    o->create_rev = create_rev;
    vec_fini(&e);
    return o;
}
