/* Which proxies see the same, and what they see. */
#include "pilot/build_internal.h"

#include <stdlib.h>
#include <string.h>

/* Selectors. */

/* "app=reviews,version=v2": labels are sorted, so equal selectors have equal texts. */
static struct slice selector_text(struct jr_pairs pairs, struct arena *a)
{
    struct buf b = {0};
    for (size_t i = 0; i < pairs.n; i++)
        buf_printf(&b, "%s%.*s=%.*s", i ? "," : "", SLICE(pairs.p[i].name),
                   SLICE(pairs.p[i].value));
    struct slice out = arena_dup(a, buf_slice(&b));
    buf_fini(&b);
    return out;
}

static int cmp_slice(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

bool scope_selects(const struct scope *s, const json_t *labels, struct arena *a)
{
    struct jr_pairs pairs = jr_pairs(labels, a);
    struct slice text = selector_text(pairs, a);
    return pairs.n == 0 || (s->selector_count && bsearch(&text, s->selectors, s->selector_count,
                                                         sizeof(text), cmp_slice) != NULL);
}

struct selectors {
    struct slice *p;
    size_t n, cap;
    struct jr_pairs labels; /* of the proxy */
    struct arena *a;
};

static void selectors_add(struct selectors *out, const json_t *labels)
{
    struct jr_pairs pairs = jr_pairs(labels, out->a);
    if (pairs.n && jr_pairs_select(pairs, out->labels))
        *vec_push(out) = selector_text(pairs, out->a);
}

/* All selectors in use that match the proxy. */
static void selectors_match(struct build *b, struct selectors *out)
{
    static const char *const lists[] = {"http", "tcp", "tls"};
    const struct model_fact *f = model_index(&b->model, MODEL_SELECTORS, S(""));
    for (size_t i = 0; i < f->n; i++) {
        const json_t *spec = f->members[i]->body->spec;
        selectors_add(out, jr_path(spec, "workloadSelector", "matchLabels", NULL));
        for (size_t k = 0; k < ARRAY_LEN(lists); k++)
            JR_EACH (jr_get(spec, lists[k]), j, route) {
                JR_EACH (jr_get(route, "match"), l, match) {
                    selectors_add(out, jr_get(match, "sourceLabels"));
                }
            }
    }
    if (out->n)
        qsort(out->p, out->n, sizeof(*out->p), cmp_slice);
    size_t n = 0;
    for (size_t i = 0; i < out->n; i++)
        if (n == 0 || !slice_eq(out->p[n - 1], out->p[i]))
            out->p[n++] = out->p[i];
    out->n = n;
}

/* Sidecar. */

static struct jr_pairs class_labels(const struct proxy_class_input *in, struct arena *a)
{
    struct jr_pair *p = ARENA_ARRAY(a, struct jr_pair, in->label_count + 1);
    for (size_t i = 0; i < in->label_count; i++)
        p[i] = (struct jr_pair){in->labels[i][0], in->labels[i][1]};
    return (struct jr_pairs){p, in->label_count};
}

/* Oldest that selects the workload; else the oldest without a selector. */
static const struct model_object *sidecar_in(struct build *b, struct slice ns, bool selecting,
                                             struct jr_pairs labels, struct arena *a)
{
    const struct model_fact *f = model_index(&b->model, MODEL_SIDECARS, ns);
    const struct model_object *general = NULL;
    for (size_t i = 0; i < f->n; i++) {
        const json_t *selector =
            jr_path(f->members[i]->body->spec, "workloadSelector", "labels", NULL);
        struct jr_pairs want = jr_pairs(selector, a);
        if (want.n == 0)
            general = general ? general : f->members[i];
        else if (selecting && jr_pairs_select(want, labels))
            return f->members[i];
    }
    return general;
}

static struct slice sidecar_pick(struct build *b, const struct proxy_class_input *in,
                                 struct jr_pairs labels, struct arena *a)
{
    if (in->type != PROXY_SIDECAR)
        return (struct slice){0};
    const struct model_object *o = sidecar_in(b, in->ns, true, labels, a);
    if (!o)
        o = sidecar_in(b, b->model.root_ns, false, labels, a);
    return o ? o->key : (struct slice){0};
}

const json_t *scope_sidecar(struct build *b, const struct scope *s)
{
    const struct model_object *o = s->sidecar.n ? model_object(&b->model, s->sidecar) : NULL;
    return o ? o->body->spec : NULL;
}

static bool import_matches(struct slice pattern, struct slice own_ns, struct slice ns,
                           struct slice host)
{
    struct slice in_ns, in_host;
    if (!slice_cut(pattern, '/', &in_ns, &in_host)) {
        in_host = pattern;
        in_ns = S("*");
    }
    bool ns_ok = slice_eq(in_ns, S("*")) || slice_eq(in_ns, ns) ||
                 (slice_eq(in_ns, S(".")) && slice_eq(ns, own_ns));
    return ns_ok && model_host_match(in_host, host);
}

bool egress_imports(const json_t *egress, struct slice own_ns, struct slice ns, struct slice host)
{
    const json_t *hosts = jr_get(egress, "hosts");
    bool in = jr_len(hosts) == 0;
    JR_EACH (hosts, i, v) {
        struct slice pattern = json_slice(v);
        if (slice_starts(pattern, S("~/")))
            return false;
        in = in || import_matches(pattern, own_ns, ns, host);
    }
    return in;
}

bool scope_imports(struct build *b, const struct scope *s, struct slice ns, struct slice host)
{
    const json_t *egress = jr_get(scope_sidecar(b, s), "egress");
    bool in = jr_len(egress) == 0;
    JR_EACH (egress, i, v) {
        in = in || egress_imports(v, s->ns, ns, host);
    }
    return in;
}

/* Scopes. */

static struct slice scope_key(const struct proxy_class_input *in, enum flavor flavor,
                              struct slice sidecar, const struct selectors *selectors,
                              struct arena *a)
{
    struct buf k = {0};
    buf_printf(&k, "%c\n%.*s\n%.*s\n%.*s\n%.*s\n%.*s", flavor == FLAVOR_GRPC ? 'g' : 'm',
               SLICE(in->ns), SLICE(sidecar), SLICE(in->region), SLICE(in->zone),
               SLICE(in->subzone));
    for (size_t i = 0; i < selectors->n; i++)
        buf_printf(&k, "\n%.*s", SLICE(selectors->p[i]));
    struct slice out = arena_dup(a, buf_slice(&k));
    buf_fini(&k);
    return out;
}

static struct scope *scope_new(struct build *b, const struct proxy_class_input *in,
                               enum flavor flavor, struct slice key, struct slice sidecar,
                               const struct selectors *selectors)
{
    struct scope *s = MEM_NEW(struct scope);
    struct arena *a = &s->arena;
    s->id = ++b->scope_ids;
    s->flavor = flavor;
    s->key = arena_dup(a, key);
    s->ns = arena_dup(a, in->ns);
    s->sidecar = arena_dup(a, sidecar);
    s->locality = (struct model_locality){arena_dup(a, in->region), arena_dup(a, in->zone),
                                          arena_dup(a, in->subzone)};
    struct slice *texts = ARENA_ARRAY(a, struct slice, selectors->n + 1);
    for (size_t i = 0; i < selectors->n; i++)
        texts[i] = arena_dup(a, selectors->p[i]);
    s->selectors = texts;
    s->selector_count = selectors->n;
    map_put(&b->scopes, s->key, s);
    return s;
}

struct scope *scope_of_class(struct build *b, const struct proxy_class_input *in)
{
    struct arena a = {0};
    struct selectors selectors = {.labels = class_labels(in, &a), .a = &a};
    enum flavor flavor = in->dialect == DIALECT_GRPC ? FLAVOR_GRPC : FLAVOR_MESH;
    selectors_match(b, &selectors);
    struct slice sidecar = sidecar_pick(b, in, selectors.labels, &a);
    struct slice key = scope_key(in, flavor, sidecar, &selectors, &a);
    struct scope *s = map_get(&b->scopes, key);
    if (!s)
        s = scope_new(b, in, flavor, key, sidecar, &selectors);
    s->refs++;
    vec_fini(&selectors);
    arena_fini(&a);
    return s;
}

void scope_unref(struct build *b, struct scope *s)
{
    if (!s || --s->refs > 0)
        return;
    map_del(&b->scopes, s->key);
    arena_fini(&s->arena);
    mem_free(s);
}

/* Services of a scope. */

struct services_cell {
    struct graph_cell cell;
    struct scope *scope;
    struct arena arena; /* of the value */
    size_t n;
    struct scope_service *p;
};

/* Better first, for one host: the caller's namespace, Kubernetes' own, the oldest. */
static int cmp_candidates(const struct model_service *a, const struct model_service *b,
                          struct slice ns)
{
    bool a_own = slice_eq(a->ns, ns), b_own = slice_eq(b->ns, ns);
    if (a_own != b_own)
        return a_own ? -1 : 1;
    if (a->object->kind != b->object->kind)
        return a->object->kind == KIND_SERVICE ? -1 : 1;
    if (a->object->create_rev != b->object->create_rev)
        return a->object->create_rev < b->object->create_rev ? -1 : 1;
    return slice_cmp(a->object->key, b->object->key);
}

static bool sees(struct build *b, const struct scope *s, const struct model_service *svc)
{
    return model_exported(svc->object->body->export_to, svc->ns, s->ns) &&
           scope_imports(b, s, svc->ns, svc->host);
}

const struct model_service *scope_pick(struct build *b, const struct scope *s, struct slice host)
{
    const struct model_fact *f = model_index(&b->model, MODEL_HOST, host);
    const struct model_service *best = NULL;
    for (size_t i = 0; i < f->n; i++)
        for (size_t j = 0; j < f->members[i]->body->service_count; j++) {
            const struct model_service *svc = &f->members[i]->body->services[j];
            if (slice_eq(svc->host, host) && sees(b, s, svc) &&
                (!best || cmp_candidates(svc, best, s->ns) < 0))
                best = svc;
        }
    return best;
}

struct candidate {
    const struct model_service *service;
    struct slice ns; /* of the caller */
};

static int cmp_candidate(const void *va, const void *vb)
{
    const struct candidate *a = va, *b = vb;
    int c = slice_cmp(a->service->host, b->service->host);
    return c ? c : cmp_candidates(a->service, b->service, a->ns);
}

static void addresses_copy(struct scope_service *out, const json_t *addresses, struct arena *a)
{
    struct slice *p = ARENA_ARRAY(a, struct slice, jr_len(addresses) + 1);
    JR_EACH (addresses, i, v) {
        struct slice ip = json_slice(v);
        if (ip.n && slice_find(ip, '/') == SIZE_MAX)
            p[out->address_count++] = arena_dup(a, ip);
    }
    out->addresses = p;
}

static void service_copy(struct scope_service *out, const struct model_service *svc,
                         struct arena *a)
{
    struct scope_port *ports = ARENA_ARRAY(a, struct scope_port, svc->port_count + 1);
    for (size_t i = 0; i < svc->port_count; i++)
        ports[i] = (struct scope_port){svc->ports[i].number, svc->ports[i].protocol};
    *out = (struct scope_service){.host = arena_dup(a, svc->host),
                                  .ns = arena_dup(a, svc->ns),
                                  .key = arena_dup(a, svc->object->key),
                                  .resolution = svc->resolution,
                                  .headless = svc->headless,
                                  .port_count = svc->port_count,
                                  .ports = ports};
    addresses_copy(out, svc->addresses, a);
}

static bool same_ports(const struct scope_service *a, const struct scope_service *b)
{
    bool same = a->port_count == b->port_count && a->address_count == b->address_count;
    for (size_t i = 0; same && i < a->port_count; i++)
        same = a->ports[i].number == b->ports[i].number &&
               a->ports[i].protocol == b->ports[i].protocol;
    for (size_t i = 0; same && i < a->address_count; i++)
        same = slice_eq(a->addresses[i], b->addresses[i]);
    return same;
}

static bool same_services(const struct scope_service *a, const struct scope_service *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!slice_eq(a[i].host, b[i].host) || !slice_eq(a[i].key, b[i].key) ||
            a[i].resolution != b[i].resolution || a[i].headless != b[i].headless ||
            !same_ports(&a[i], &b[i]))
            return false;
    return true;
}

static bool services_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct services_cell *c = (struct services_cell *)cell;
    const struct model_fact *f = model_index(&b->model, MODEL_SERVICES, S(""));
    VEC(struct candidate) found = {0};
    for (size_t i = 0; i < f->n; i++)
        for (size_t j = 0; j < f->members[i]->body->service_count; j++)
            if (sees(b, c->scope, &f->members[i]->body->services[j]))
                *vec_push(&found) =
                    (struct candidate){&f->members[i]->body->services[j], c->scope->ns};
    if (found.n)
        qsort(found.p, found.n, sizeof(*found.p), cmp_candidate);

    struct arena arena = {0};
    struct scope_service *p = ARENA_ARRAY(&arena, struct scope_service, found.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < found.n; i++)
        if (i == 0 || !slice_eq(found.p[i - 1].service->host, found.p[i].service->host))
            service_copy(&p[n++], found.p[i].service, &arena);
    vec_fini(&found);
    if (c->p && n == c->n && same_services(p, c->p, n)) {
        arena_fini(&arena);
        return false;
    }
    arena_fini(&c->arena);
    c->arena = arena;
    c->p = p;
    c->n = n;
    return true;
}

static void services_fini(struct graph_cell *cell)
{
    arena_fini(&((struct services_cell *)cell)->arena);
}

static const struct graph_cell_kind services_kind = {"services", sizeof(struct services_cell),
                                                     services_compute, services_fini};

struct scope_services scope_services(struct build *b, struct scope *s, uint64_t *ret_changed)
{
    bool is_new;
    struct graph_cell *cell =
        graph_cell(&b->graph, &services_kind, slice_mem(&s->id, sizeof(s->id)), &is_new);
    struct services_cell *c = (struct services_cell *)cell;
    if (is_new)
        c->scope = s; /* who asks holds the scope as long as it reads this cell */
    graph_get(&b->graph, cell);
    if (ret_changed)
        *ret_changed = cell->node.changed;
    return (struct scope_services){c->n, c->p};
}
