/* EndpointSlice, WorkloadEntry and the endpoints of ServiceEntry: who serves what, and what runs at
 * an address. Where several name an address, the WorkloadEntry knows more.
 */
#include "pilot/model/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/core/hash.h"
#include "pilot/model/model_internal.h"

static struct model_locality locality_parse(struct slice text)
{
    struct model_locality l;
    struct slice rest;
    slice_cut(text, '/', &l.region, &rest);
    slice_cut(rest, '/', &l.zone, &l.subzone);
    return l;
}

/* Ports. */

/* The first of that name; 0: there is none. */
static uint32_t port_named(const struct model_named_port *ports, size_t n, struct slice name)
{
    for (size_t i = 0; i < n; i++)
        if (slice_eq(ports[i].name, name))
            return ports[i].number;
    return 0;
}

/* Where a workload with a ports map (name -> number) serves a service's port; 0: nowhere. */
static uint32_t workload_port(const struct model_workload *w, const struct model_port *p)
{
    uint32_t number = p->name.n ? port_named(w->ports, w->port_count, p->name) : 0;
    if (number)
        return number;
    if (p->target_name.n)
        return port_named(w->ports, w->port_count, p->target_name);
    return p->target ? p->target : p->number;
}

static uint32_t backends_port(const struct model_backends *b, const struct model_port *p)
{
    return port_named(b->ports, b->port_count, p->name);
}

static bool port_ok(uint32_t port)
{
    return port > 0 && port <= 65535;
}

/* Endpoints of a service. */

static void backend_endpoint(const struct model_object *o, const struct model_backend *b,
                             uint32_t port, struct arena *a, struct model_endpoints *out)
{
    *vec_push(out) =
        (struct model_endpoint){.address = b->address,
                                .port = port,
                                .weight = 1,
                                .labels = jr_pairs_merge(o->body->backends->labels, b->labels, a),
                                .locality = {.zone = b->zone},
                                .workload = b->target,
                                .ns = o->ns,
                                .object = o};
}

static void slices_endpoints(struct model *m, const struct model_service *s,
                             const struct model_port *port, struct arena *a,
                             struct model_endpoints *out)
{
    struct slice name = arena_printf(a, "%.*s/%.*s", SLICE(s->ns), SLICE(s->name));
    const struct model_fact *f = model_index(m, MODEL_SLICES, name);
    for (size_t i = 0; i < f->n; i++) {
        const struct model_backends *b = f->members[i]->body->backends;
        uint32_t number = backends_port(b, port);
        for (size_t j = 0; port_ok(number) && j < b->count; j++)
            backend_endpoint(f->members[i], &b->p[j], number, a, out);
    }
}

static void workload_endpoint(const struct model_object *o, const struct model_workload *w,
                              const struct model_port *port, struct model_endpoints *out)
{
    uint32_t number = workload_port(w, port);
    if (!w->address.n || !port_ok(number))
        return;
    *vec_push(out) = (struct model_endpoint){.address = w->address,
                                             .port = number,
                                             .weight = w->weight,
                                             .labels = w->labels,
                                             .locality = locality_parse(w->locality),
                                             .workload = o->name,
                                             .ns = o->ns,
                                             .object = o};
}

static void selected_endpoints(struct model *m, const struct model_service *s,
                               const struct model_port *port, struct arena *a,
                               struct model_endpoints *out)
{
    struct slice first = model_label_name(a, s->ns, s->selector.p[0]);
    const struct model_fact *f = model_index(m, MODEL_WORKLOADS, first);
    for (size_t i = 0; i < f->n; i++) {
        struct model_workload w = model_workload_read(f->members[i], a);
        if (jr_pairs_select(s->selector, w.labels))
            workload_endpoint(f->members[i], &w, port, out);
    }
}

static int cmp_endpoint(const void *va, const void *vb)
{
    const struct model_endpoint *a = va, *b = vb;
    int c = model_locality_cmp(&a->locality, &b->locality);
    c = c ? c : slice_cmp(a->address, b->address);
    c = c ? c : (a->port > b->port) - (a->port < b->port);
    return c ? c : slice_cmp(a->object->key, b->object->key);
}

/* Does b say the same address and port as a, and less about it? */
static bool is_shadowed(const struct model_endpoint *a, const struct model_endpoint *b)
{
    if (a == b || a->port != b->port || !slice_eq(a->address, b->address))
        return false;
    bool a_knows = a->object->kind == KIND_WORKLOAD_ENTRY,
         b_knows = b->object->kind == KIND_WORKLOAD_ENTRY;
    return a_knows != b_knows ? a_knows : a < b;
}

struct by_address {
    struct slice address;
    struct model_endpoint *endpoint;
};

static int cmp_address(const void *va, const void *vb)
{
    const struct by_address *a = va, *b = vb;
    int c = slice_cmp(a->address, b->address);
    return c ? c : (a->endpoint > b->endpoint) - (a->endpoint < b->endpoint);
}

/* An address and port stand once (gRPC refuses repetitions). */
static void drop_shadowed(struct model_endpoints *out, struct arena *a)
{
    struct by_address *order = ARENA_ARRAY(a, struct by_address, out->n + 1);
    for (size_t i = 0; i < out->n; i++)
        order[i] = (struct by_address){out->p[i].address, &out->p[i]};
    qsort(order, out->n, sizeof(*order), cmp_address);
    for (size_t i = 0; i < out->n; i++)
        for (size_t j = i + 1; j < out->n && slice_eq(order[i].address, order[j].address); j++) {
            if (is_shadowed(order[i].endpoint, order[j].endpoint))
                order[j].endpoint->weight = 0;
            else if (is_shadowed(order[j].endpoint, order[i].endpoint))
                order[i].endpoint->weight = 0;
        }
    size_t n = 0;
    for (size_t i = 0; i < out->n; i++)
        if (out->p[i].weight)
            out->p[n++] = out->p[i];
    out->n = n;
}

void model_endpoints(struct model *m, const struct model_service *s, const struct model_port *port,
                     struct arena *arena, struct model_endpoints *out)
{
    if (s->object->kind == KIND_SERVICE)
        slices_endpoints(m, s, port, arena, out);
    JR_EACH (s->endpoints, i, v) {
        struct model_workload w = model_workload_parse(v, arena);
        workload_endpoint(s->object, &w, port, out);
    }
    if (s->selector.n)
        selected_endpoints(m, s, port, arena, out);
    if (out->n < 2)
        return;
    qsort(out->p, out->n, sizeof(*out->p), cmp_endpoint);
    drop_shadowed(out, arena);
}

/* Instances at an address. */

static void add_instance(struct model_instances *out, const struct model_service *s,
                         const struct model_port *p, uint32_t target)
{
    for (size_t i = 0; i < out->n; i++)
        if (out->p[i].service == s && out->p[i].port == p)
            return;
    if (port_ok(target))
        *vec_push(out) = (struct model_instance){s, p, target};
}

static void slice_instances(struct model *m, const struct model_object *slice, struct arena *a,
                            struct model_instances *out)
{
    const struct model_backends *b = slice->body->backends;
    struct slice key = arena_printf(a, "services/%.*s/%.*s", SLICE(slice->ns), SLICE(b->service));
    const struct model_object *o = model_object(m, key);
    for (size_t i = 0; o && i < o->body->service_count; i++) {
        const struct model_service *s = &o->body->services[i];
        for (size_t j = 0; j < s->port_count; j++)
            add_instance(out, s, &s->ports[j], backends_port(b, &s->ports[j]));
    }
}

static void add_instances(struct model_instances *out, const struct model_service *s,
                          const struct model_workload *w)
{
    for (size_t p = 0; p < s->port_count; p++)
        add_instance(out, s, &s->ports[p], workload_port(w, &s->ports[p]));
}

static void workload_instances(struct model *m, const struct model_object *o, struct arena *a,
                               struct model_instances *out)
{
    struct model_workload w = model_workload_read(o, a);
    for (size_t k = 0; k < w.labels.n; k++) {
        struct slice name = model_label_name(a, o->ns, w.labels.p[k]);
        const struct model_fact *f = model_index(m, MODEL_SELECTING, name);
        for (size_t i = 0; i < f->n; i++)
            for (size_t j = 0; j < f->members[i]->body->service_count; j++) {
                const struct model_service *s = &f->members[i]->body->services[j];
                if (jr_pairs_select(s->selector, w.labels))
                    add_instances(out, s, &w);
            }
    }
}

static void entry_instances(const struct model_object *entry, struct slice address, struct arena *a,
                            struct model_instances *out)
{
    JR_EACH (jr_get(entry->body->spec, "endpoints"), i, v) {
        if (!slice_eq(jr_str(v, "address"), address))
            continue;
        struct model_workload w = model_workload_parse(v, a);
        for (size_t j = 0; j < entry->body->service_count; j++)
            add_instances(out, &entry->body->services[j], &w);
    }
}

static int cmp_instance(const void *va, const void *vb)
{
    const struct model_instance *a = va, *b = vb;
    const struct model_object *x = a->service->object, *y = b->service->object;
    if (x->create_rev != y->create_rev)
        return x->create_rev < y->create_rev ? -1 : 1;
    int c = slice_cmp(x->key, y->key);
    c = c ? c : slice_cmp(a->service->host, b->service->host);
    return c ? c : (a->port->number > b->port->number) - (a->port->number < b->port->number);
}

void model_instances(struct model *m, struct slice address, struct arena *arena,
                     struct model_instances *out)
{
    if (!address.n)
        return;
    const struct model_fact *f = model_index(m, MODEL_ADDRESS, address);
    for (size_t i = 0; i < f->n; i++) {
        const struct model_object *o = f->members[i];
        if (o->kind == KIND_ENDPOINT_SLICE)
            slice_instances(m, o, arena, out);
        else if (o->kind == KIND_WORKLOAD_ENTRY)
            workload_instances(m, o, arena, out);
        else
            entry_instances(o, address, arena, out);
    }
    if (out->n > 1)
        qsort(out->p, out->n, sizeof(*out->p), cmp_instance);
}
