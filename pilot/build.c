#include "pilot/build.h"

#include <stdlib.h>
#include <string.h>

#include "base/core/hash.h"
#include "pilot/build_internal.h"

/* Resources. */

/* Equal resources of different cells are one: type, name, version. */
static struct slice intern_key(struct buf *b, const struct xds_resource *r)
{
    buf_append_byte(b, (char)r->type);
    buf_append(b, slice_mem(&r->version, sizeof(r->version)));
    buf_append(b, r->name);
    return buf_slice(b);
}

static bool same_resource(const struct xds_resource *a, const struct xds_resource *b)
{
    bool same = a->type == b->type && a->source_count == b->source_count &&
                slice_eq(a->body, b->body) && slice_eq(a->name, b->name) &&
                slice_eq(a->follows, b->follows);
    for (size_t i = 0; same && i < a->source_count; i++)
        same = slice_eq(a->sources[i], b->sources[i]);
    return same;
}

static struct xds_resource *intern(struct build *b, struct xds_resource *take)
{
    struct buf key = {0};
    struct slice k = intern_key(&key, take);
    struct xds_resource *known = map_get(&b->interned, k);
    if (known && same_resource(known, take)) {
        xds_resource_unref(take);
        take = xds_resource_ref(known);
    } else if (!known) {
        b->interned.copies_keys = true;
        map_put(&b->interned, k, xds_resource_ref(take));
    }
    buf_fini(&key);
    return take;
}

struct xds_resource *build_resource_bytes(struct build *b, struct xds_resource *was,
                                          const struct xds_resource_parts *parts)
{
    b->encoded++;
    if (was && was->type == parts->type && slice_eq(was->body, parts->body) &&
        slice_eq(was->name, parts->name) && slice_eq(was->follows, parts->follows))
        return xds_resource_ref(was);
    return intern(b, xds_resource_new(parts));
}

struct xds_resource *build_resource_constant(struct build *b, enum xds_type type, struct slice name,
                                             struct slice body)
{
    return intern(b, xds_resource_new(
                         &(struct xds_resource_parts){.type = type, .name = name, .body = body}));
}

struct xds_resource *build_resource(struct build *b, struct xds_resource *was, enum xds_type type,
                                    struct slice name, const ProtobufCMessage *msg,
                                    const struct sources *sources, struct slice follows)
{
    buf_clear(&b->packed);
    pb_pack(msg, &b->packed);
    return build_resource_bytes(b, was,
                                &(struct xds_resource_parts){
                                    .type = type,
                                    .name = name,
                                    .body = buf_slice(&b->packed),
                                    .follows = follows,
                                    .revision = graph_reads_revision(&b->graph),
                                    .sources = sources->p,
                                    .source_count = sources->n,
                                });
}

/* Units. */

static struct xds_resource *unit_find(const struct unit_cell *u, enum xds_type type,
                                      struct slice name)
{
    for (size_t i = 0; i < u->n; i++)
        if (u->resources[i]->type == type && slice_eq(u->resources[i]->name, name))
            return u->resources[i];
    return NULL;
}

void unit_add(struct build *b, struct unit_cell *u, struct unit_out *out, enum xds_type type,
              struct slice name, const ProtobufCMessage *msg, const struct sources *sources,
              struct slice follows)
{
    *vec_push(out) = build_resource(b, unit_find(u, type, name), type, name, msg, sources, follows);
}

static int cmp_resource(const void *a, const void *b)
{
    const struct xds_resource *const *x = a, *const *y = b;
    return slice_cmp((*x)->name, (*y)->name);
}

bool resources_take(struct unit_out *out, struct xds_resource ***p, size_t *n)
{
    if (out->n > 1)
        qsort(out->p, out->n, sizeof(*out->p), cmp_resource);
    bool same = out->n == *n;
    for (size_t i = 0; same && i < *n; i++)
        same = out->p[i] == (*p)[i];
    for (size_t i = 0; i < *n; i++)
        xds_resource_unref((*p)[i]);
    mem_free(*p);
    *p = out->n ? mem_resize(out->p, out->n * sizeof(struct xds_resource *)) : NULL;
    if (!out->n)
        mem_free(out->p);
    *n = out->n;
    *out = (struct unit_out){0};
    return !same;
}

bool unit_end(struct unit_cell *u, struct unit_out *out)
{
    return resources_take(out, &u->resources, &u->n);
}

const struct model_service *unit_service(struct build *b, const struct unit_cell *u)
{
    const struct model_object *o = model_object(&b->model, u->service);
    for (size_t i = 0; o && i < o->body->service_count; i++)
        if (slice_eq(o->body->services[i].host, u->host))
            return &o->body->services[i];
    return NULL;
}

static void unit_fini(struct graph_cell *cell)
{
    struct unit_cell *u = (struct unit_cell *)cell;
    for (size_t i = 0; i < u->n; i++)
        xds_resource_unref(u->resources[i]);
    mem_free(u->resources);
    mem_free(u->memory);
}

static const struct graph_cell_kind unit_clusters = {"clusters", sizeof(struct unit_cell),
                                                     unit_clusters_compute, unit_fini};
static const struct graph_cell_kind unit_endpoints = {"endpoints", sizeof(struct unit_cell),
                                                      unit_endpoints_compute, unit_fini};
static const struct graph_cell_kind unit_vhosts = {"vhosts", sizeof(struct unit_cell),
                                                   unit_vhosts_compute, unit_fini};
static const struct graph_cell_kind unit_listeners = {"listeners_vip", sizeof(struct unit_cell),
                                                      unit_listeners_compute, unit_fini};
static const struct graph_cell_kind unit_grpc_listeners = {
    "grpc_listeners", sizeof(struct unit_cell), unit_grpc_listeners_compute, unit_fini};
static const struct graph_cell_kind unit_grpc_routes = {"grpc_routes", sizeof(struct unit_cell),
                                                        unit_grpc_routes_compute, unit_fini};

/* What a unit of each list is a function of, beside what it reads. */
static const struct {
    const struct graph_cell_kind *kind;
    bool by_scope;    /* else by flavor and rule: shared by scopes */
    bool by_locality; /* and by where the caller is */
    char variant;
} units[LIST_WHAT_COUNT] = {
    [LIST_CLUSTERS] = {&unit_clusters, false, false, 0},
    [LIST_ENDPOINTS] = {&unit_endpoints, false, true, 0},
    [LIST_VHOSTS_PORTS] = {&unit_vhosts, true, false, 'p'},
    [LIST_VHOSTS_PROXY] = {&unit_vhosts, true, false, 'x'},
    [LIST_LISTENERS] = {&unit_listeners, true, false, 0},
    [LIST_GRPC_LISTENERS] = {&unit_grpc_listeners, true, false, 0},
    [LIST_GRPC_ROUTES] = {&unit_grpc_routes, true, false, 0},
};

static struct slice put(char **at, struct slice s)
{
    struct slice out = {*at, s.n};
    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return out;
}

static void unit_fill(struct unit_cell *u, enum list_what what, struct scope *s,
                      const struct scope_service *svc, struct slice rule)
{
    const struct model_locality *l = &s->locality;
    u->memory =
        mem_new(svc->key.n + svc->host.n + rule.n + l->region.n + l->zone.n + l->subzone.n + 1);
    char *at = u->memory;
    u->service = put(&at, svc->key);
    u->host = put(&at, svc->host);
    u->rule = put(&at, rule);
    u->flavor = s->flavor;
    u->variant = units[what].variant;
    if (units[what].by_scope)
        u->scope = s;
    if (units[what].by_locality)
        u->locality =
            (struct model_locality){put(&at, l->region), put(&at, l->zone), put(&at, l->subzone)};
}

static struct graph_cell *unit_cell(struct build *b, enum list_what what, struct scope *s,
                                    const struct scope_service *svc, struct slice rule)
{
    struct buf key = {0};
    bool is_new;
    buf_append_byte(&key, (char)s->flavor);
    buf_append_byte(&key, units[what].variant);
    if (units[what].by_scope)
        buf_append(&key, slice_mem(&s->id, sizeof(s->id)));
    if (units[what].by_locality)
        buf_printf(&key, "%.*s/%.*s/%.*s\n", SLICE(s->locality.region), SLICE(s->locality.zone),
                   SLICE(s->locality.subzone));
    buf_printf(&key, "%.*s\n%.*s\n%.*s", SLICE(svc->key), SLICE(svc->host), SLICE(rule));
    struct graph_cell *cell = graph_cell(&b->graph, units[what].kind, buf_slice(&key), &is_new);
    if (is_new)
        unit_fill((struct unit_cell *)cell, what, s, svc, rule);
    buf_fini(&key);
    return cell;
}

struct unit_cell *unit_host_cell(struct build *b, struct scope *s, struct slice host, char variant)
{
    struct scope_service none = {.host = host};
    enum list_what what = variant == 'x' ? LIST_VHOSTS_PROXY : LIST_VHOSTS_PORTS;
    return (struct unit_cell *)unit_cell(b, what, s, &none, (struct slice){0});
}

/* Lists. */

struct list_row {
    struct graph_cell *rule, *unit;
    uint64_t rule_changed; /* when the unit was chosen by it */
};

struct list_cell {
    struct graph_cell cell;
    enum list_what what;
    struct scope *scope;
    uint64_t services_changed; /* when the rows were made */
    size_t row_count;
    struct list_row *rows;
    struct list_state state;
};

static struct slice row_host(const struct list_row *row)
{
    return ((const struct unit_cell *)row->unit)->host;
}

static struct slice row_service(const struct list_row *row)
{
    return ((const struct unit_cell *)row->unit)->service;
}

static struct list_row row_new(struct build *b, const struct list_cell *c,
                               const struct scope_service *svc)
{
    struct list_row row = {0};
    if (!units[c->what].by_scope)
        row.rule = rule_cell(b, c->scope, svc->host, svc->ns);
    return row;
}

/* The rows of services that stayed are kept: their cells are still read by this one. Both are in
 * the order of hosts. */
static void rows_make(struct build *b, struct list_cell *c, struct scope_services services)
{
    struct list_row *rows = mem_array(services.n + 1, sizeof(*rows));
    for (size_t i = 0, j = 0; i < services.n; i++) {
        const struct scope_service *svc = &services.p[i];
        int d = -1;
        while (j < c->row_count && (d = slice_cmp(row_host(&c->rows[j]), svc->host)) < 0)
            j++;
        bool stays = j < c->row_count && d == 0 && slice_eq(row_service(&c->rows[j]), svc->key);
        rows[i] = stays ? c->rows[j] : row_new(b, c, svc);
    }
    mem_free(c->rows);
    c->rows = rows;
    c->row_count = services.n;
}

static struct unit_cell *row_get(struct build *b, struct list_cell *c, struct list_row *row,
                                 const struct scope_service *svc)
{
    struct slice rule = {0};
    if (row->rule) {
        graph_get(&b->graph, row->rule);
        rule = rule_value(row->rule);
    }
    uint64_t changed = row->rule ? row->rule->node.changed : 0;
    if (!row->unit || row->rule_changed != changed) {
        row->unit = unit_cell(b, c->what, c->scope, svc, rule);
        row->rule_changed = changed;
    }
    return (struct unit_cell *)graph_get(&b->graph, row->unit);
}

static bool list_same(const struct xds_list *l, struct xds_resource *const *p, size_t n)
{
    if (!l || l->n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (l->items[i] != p[i])
            return false;
    return true;
}

/* Where a new resource says what the last list's said under that name, the last one stays: another
 * cell may have made it, but there is nothing to send. */
static bool says_same(const struct xds_resource *a, const struct xds_resource *b)
{
    return slice_eq(a->body, b->body) && slice_eq(a->follows, b->follows);
}

static void keep_equal(const struct xds_list *was, struct xds_resource **p, size_t n)
{
    for (size_t i = 0, j = 0; was && i < n && j < was->n;) {
        int c = p[i] == was->items[j] ? 0 : slice_cmp(p[i]->name, was->items[j]->name);
        if (c == 0 && p[i] != was->items[j] && says_same(p[i], was->items[j]))
            p[i] = was->items[j];
        i += c <= 0;
        j += c >= 0;
    }
}

bool list_same_names(const struct list_state *s, const struct unit_out *given)
{
    if (!s->order || s->n != given->n)
        return false;
    for (size_t i = 0; i < s->n; i++) {
        const struct xds_resource *was = s->list->items[s->order[i]];
        if (was != given->p[i] && !slice_eq(was->name, given->p[i]->name))
            return false;
    }
    return true;
}

/* Only contents differ: the places are known. */
static bool list_patch(struct list_state *s, const struct unit_out *given)
{
    VEC(struct xds_list_patch) patches = {0};
    for (size_t i = 0; i < s->n; i++) {
        const struct xds_resource *was = s->list->items[s->order[i]];
        if (was != given->p[i] && !says_same(was, given->p[i]))
            *vec_push(&patches) = (struct xds_list_patch){s->order[i], given->p[i]};
    }
    bool changed = patches.n > 0;
    if (changed) {
        struct xds_list *was = s->list;
        s->list = xds_list_patched(was, patches.p, patches.n);
        xds_list_unref(was);
    }
    vec_fini(&patches);
    return changed;
}

int cmp_placed(const void *va, const void *vb)
{
    const struct placed *a = va, *b = vb;
    int c = slice_cmp(a->resource->name, b->resource->name);
    return c ? c : (a->from > b->from) - (a->from < b->from);
}

/* Sorts, drops repetitions and remembers who went where (only where none was dropped). */
static size_t list_place(struct list_state *s, struct unit_out *given)
{
    struct placed *p = mem_array(given->n + 1, sizeof(*p));
    size_t n = 0;
    for (size_t i = 0; i < given->n; i++)
        p[i] = (struct placed){given->p[i], i};
    if (given->n)
        qsort(p, given->n, sizeof(*p), cmp_placed);
    mem_free(s->order);
    s->order = mem_array(given->n + 1, sizeof(*s->order));
    s->n = given->n;
    for (size_t i = 0; i < given->n; i++) {
        if (n && slice_eq(given->p[n - 1]->name, p[i].resource->name))
            continue;
        s->order[p[i].from] = (uint32_t)n;
        given->p[n++] = p[i].resource;
    }
    if (n != given->n) {
        mem_free(s->order);
        s->order = NULL;
    }
    mem_free(p);
    return n;
}

bool list_set(struct list_state *s, struct unit_out *given)
{
    bool changed;
    if (s->list && list_same_names(s, given)) {
        changed = list_patch(s, given);
    } else {
        size_t n = list_place(s, given);
        keep_equal(s->list, given->p, n);
        changed = !list_same(s->list, given->p, n);
        if (changed) {
            struct xds_list *was = s->list;
            s->list = xds_list_new(NULL, given->p, n);
            xds_list_unref(was);
        }
    }
    vec_fini(given);
    return changed;
}

void list_state_fini(struct list_state *s)
{
    xds_list_unref(s->list);
    mem_free(s->order);
    *s = (struct list_state){0};
}

static bool list_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct list_cell *c = (struct list_cell *)cell;
    struct unit_out all = {0}, builtin = {0};
    uint64_t changed;
    struct scope_services services = scope_services(b, c->scope, &changed);
    if (!c->rows || c->services_changed != changed)
        rows_make(b, c, services);
    c->services_changed = changed;
    for (size_t i = 0; i < services.n; i++) {
        const struct unit_cell *u = row_get(b, c, &c->rows[i], &services.p[i]);
        for (size_t j = 0; j < u->n; j++)
            *vec_push(&all) = u->resources[j];
    }
    if (c->what == LIST_CLUSTERS && c->scope->flavor == FLAVOR_MESH)
        clusters_builtin(b, &builtin);
    for (size_t i = 0; i < builtin.n; i++)
        *vec_push(&all) = builtin.p[i];
    bool is_other = list_set(&c->state, &all);
    for (size_t i = 0; i < builtin.n; i++)
        xds_resource_unref(builtin.p[i]);
    vec_fini(&builtin);
    return is_other;
}

static void list_fini(struct graph_cell *cell)
{
    struct list_cell *c = (struct list_cell *)cell;
    mem_free(c->rows);
    list_state_fini(&c->state);
}

static const struct graph_cell_kind list_kind = {"list", sizeof(struct list_cell), list_compute,
                                                 list_fini};

struct xds_list *list_get(struct build *b, enum list_what what, struct scope *s,
                          uint64_t *ret_changed)
{
    uint64_t key[] = {s->id, (uint64_t)what};
    bool is_new;
    struct graph_cell *cell =
        graph_cell(&b->graph, &list_kind, slice_mem(key, sizeof(key)), &is_new);
    struct list_cell *c = (struct list_cell *)cell;
    if (is_new) {
        c->what = what;
        c->scope = s;
    }
    graph_get(&b->graph, cell);
    if (ret_changed)
        *ret_changed = cell->node.changed;
    return c->state.list;
}

/* Classes. */

/* The scope of a class. Apart from the view, which changes with every endpoint. */
struct place_cell {
    struct graph_cell cell;
    const struct proxy_class_input *in; /* of the class cell, the only reader */
    struct scope *scope;                /* held */
};

static bool place_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct place_cell *c = (struct place_cell *)cell;
    struct scope *was = c->scope;
    c->scope = scope_of_class(b, c->in);
    /* The old scope goes when its cells have gone: old edges still lead to them. */
    if (was)
        *vec_push(&b->scopes_old) = was;
    return c->scope != was;
}

static const struct graph_cell_kind place_kind = {"place", sizeof(struct place_cell), place_compute,
                                                  NULL};

struct class_cell {
    struct graph_cell cell;
    uint64_t id;
    struct proxy_class_input in;
    struct arena arena; /* of in */
    struct place_cell *place;
    struct own_cell *own; /* of that scope */
    struct xds_list *own_lists[XDS_TYPE_COUNT];
    struct xds_view *view;
};

/* Borrowed shared layers of a view. */
static void shared_lists(struct build *b, const struct class_cell *c, struct xds_list *shared[])
{
    struct scope *s = c->place->scope;
    shared[XDS_CDS] = list_get(b, LIST_CLUSTERS, s, NULL);
    shared[XDS_EDS] = list_get(b, LIST_ENDPOINTS, s, NULL);
    if (s->flavor == FLAVOR_GRPC) {
        shared[XDS_LDS] = list_get(b, LIST_GRPC_LISTENERS, s, NULL);
        shared[XDS_RDS] = list_get(b, LIST_GRPC_ROUTES, s, NULL);
        return;
    }
    if (c->in.type == PROXY_ROUTER)
        return;
    shared[XDS_LDS] = listeners_get(b, s, c->in.capture);
    if (c->in.dialect != DIALECT_WEFT) {
        shared[XDS_RDS] = tables_inside(b, s, c->in.capture);
        return;
    }
    const struct tables *t = tables_get(b, s, c->in.capture);
    shared[XDS_RDS] = t->vhds.list;
    shared[XDS_VHDS] = t->vhosts.list;
}

static struct own_cell *own_get(struct build *b, struct class_cell *c)
{
    uint64_t key[] = {c->id, c->place->scope->id};
    bool is_new;
    struct graph_cell *cell =
        graph_cell(&b->graph, &own_kind, slice_mem(key, sizeof(key)), &is_new);
    struct own_cell *own = (struct own_cell *)cell;
    if (is_new) {
        own->in = &c->in;
        own->scope = c->place->scope;
    }
    return (struct own_cell *)graph_get(&b->graph, cell);
}

static bool layer_same(const struct xds_list *l, const struct xds_list *base,
                       const struct own_cell *own, size_t type)
{
    return l && l->base == base && list_same(l, own->resources[type], own->n[type]);
}

/* Own resources over the shared ones; only the shared list where there are no own ones. */
static void layer(struct class_cell *c, size_t type, struct xds_list *base)
{
    struct xds_list **l = &c->own_lists[type];
    if (layer_same(*l, base, c->own, type))
        return;
    struct xds_list *was = *l;
    *l = xds_list_new(base, c->own->resources[type], c->own->n[type]);
    xds_list_unref(was);
}

static void class_view(struct class_cell *c, struct xds_list *shared[])
{
    struct xds_list *lists[XDS_TYPE_COUNT];
    bool same = c->view != NULL;
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++) {
        bool own = c->own->n[i] > 0;
        if (own)
            layer(c, i, shared[i]);
        lists[i] = own ? c->own_lists[i] : shared[i];
        same = same && c->view->types[i] == lists[i];
    }
    if (same)
        return;
    struct xds_view *was = c->view;
    c->view = xds_view_new(c->id, lists);
    xds_view_unref(was);
}

static bool class_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct class_cell *c = (struct class_cell *)cell;
    struct xds_list *shared[XDS_TYPE_COUNT] = {0};
    struct xds_view *was = c->view;
    graph_get(g, &c->place->cell);
    shared_lists(b, c, shared);
    c->own = own_get(b, c);
    class_view(c, shared);
    return c->view != was;
}

static void class_fini(struct graph_cell *cell)
{
    struct class_cell *c = (struct class_cell *)cell;
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++)
        xds_list_unref(c->own_lists[i]);
    xds_view_unref(c->view);
    arena_fini(&c->arena);
}

static const struct graph_cell_kind class_kind = {"class", sizeof(struct class_cell), class_compute,
                                                  class_fini};

static void input_copy(struct class_cell *c, const struct proxy_class_input *in)
{
    struct arena *a = &c->arena;
    c->in = *in;
    c->in.ns = arena_dup(a, in->ns);
    c->in.dns_domain = arena_dup(a, in->dns_domain);
    c->in.address = arena_dup(a, in->address);
    c->in.region = arena_dup(a, in->region);
    c->in.zone = arena_dup(a, in->zone);
    c->in.subzone = arena_dup(a, in->subzone);
    struct slice(*labels)[2] = arena_alloc(a, (in->label_count + 1) * sizeof(*labels));
    for (size_t i = 0; i < in->label_count; i++) {
        labels[i][0] = arena_dup(a, in->labels[i][0]);
        labels[i][1] = arena_dup(a, in->labels[i][1]);
    }
    c->in.labels = (const struct slice(*)[2])labels;
}

struct xds_view *build_view(struct build *b, uint64_t class_id, const struct proxy_class_input *in)
{
    bool is_new;
    struct graph_cell *cell =
        graph_cell(&b->graph, &class_kind, slice_mem(&class_id, sizeof(class_id)), &is_new);
    struct class_cell *c = (struct class_cell *)cell;
    if (is_new) {
        c->id = class_id;
        input_copy(c, in);
        graph_pin(cell);
        c->place = (struct place_cell *)graph_cell(&b->graph, &place_kind, c->cell.key, NULL);
        c->place->in = &c->in;
        map_put(&b->classes, slice_mem(&c->id, sizeof(c->id)), c);
    }
    graph_get(&b->graph, cell);
    return c->view;
}

void build_forget(struct build *b, uint64_t class_id)
{
    struct class_cell *c = map_del(&b->classes, slice_mem(&class_id, sizeof(class_id)));
    if (!c)
        return;
    *vec_push(&b->scopes_old) = c->place->scope;
    graph_unpin(&b->graph, &c->cell);
}

/* Life. */

void build_init(struct build *b, struct slice root_ns, struct slice cluster_id)
{
    *b = (struct build){0};
    graph_init(&b->graph);
    b->cluster_id = arena_dup(&b->strings, cluster_id);
    model_init(&b->model, &b->graph, arena_dup(&b->strings, root_ns));
}

#define INTERNED_SWEEP_MIN 4096

/* Forgets what only the table holds. */
static void interned_sweep(struct build *b, bool all)
{
    if (!all && (b->interned.n < INTERNED_SWEEP_MIN || b->interned.n < 2 * b->interned_swept))
        return;
    VEC(struct xds_resource *) dead = {0};
    MAP_EACH (&b->interned, e) {
        struct xds_resource *r = e->value;
        if (all || atomic_load_explicit(&r->refs, memory_order_acquire) == 1)
            *vec_push(&dead) = r;
    }
    for (size_t i = 0; i < dead.n; i++) {
        struct buf key = {0};
        map_del(&b->interned, intern_key(&key, dead.p[i]));
        buf_fini(&key);
        xds_resource_unref(dead.p[i]);
    }
    vec_fini(&dead);
    b->interned_swept = b->interned.n;
}

void build_collect(struct build *b)
{
    graph_collect(&b->graph);
    for (size_t i = 0; i < b->scopes_old.n; i++)
        scope_unref(b, b->scopes_old.p[i]);
    b->scopes_old.n = 0;
    model_collect(&b->model);
    interned_sweep(b, false);
}

void build_fini(struct build *b)
{
    MAP_EACH (&b->classes, e) {
        struct class_cell *c = e->value;
        *vec_push(&b->scopes_old) = c->place->scope;
        graph_unpin(&b->graph, &c->cell);
    }
    graph_fini(&b->graph);
    for (size_t i = 0; i < b->scopes_old.n; i++)
        scope_unref(b, b->scopes_old.p[i]);
    vec_fini(&b->scopes_old);
    interned_sweep(b, true);
    map_fini(&b->interned);
    map_fini(&b->classes);
    map_fini(&b->scopes);
    model_fini(&b->model);
    buf_fini(&b->packed);
    arena_fini(&b->strings);
}
