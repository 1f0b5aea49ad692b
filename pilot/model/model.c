#include "pilot/model/model.h"

#include <stdlib.h>
#include <string.h>

#include "api/status.h"
#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/wire/json.h"
#include "pilot/model/model_internal.h"

/* What an object takes in its arena, roughly: a tree is some eight times its text. */
#define OBJECT_BYTES 1024
#define TREE_BYTES_PER_BYTE 8

/* Facts. */

static struct slice fact_key(struct arena *a, enum model_index index, struct slice name)
{
    char letter = (char)('a' + index);
    return arena_concat(a, (struct slice){&letter, 1}, name);
}

static struct model_fact *fact_get(struct model *m, struct slice key)
{
    struct model_fact *f = map_get(&m->facts, key);
    if (f)
        return f;
    f = MEM_NEW(struct model_fact);
    graph_fact_init(&f->node);
    char *copy = mem_new(key.n);
    memcpy(copy, key.p, key.n);
    f->key = (struct slice){copy, key.n};
    map_put(&m->facts, f->key, f);
    return f;
}

static void fact_free(struct model_fact *f)
{
    mem_free((void *)f->key.p);
    mem_free(f->members);
    mem_free(f);
}

static bool older(const struct model_object *a, const struct model_object *b)
{
    if (a->create_rev != b->create_rev)
        return a->create_rev < b->create_rev;
    return slice_cmp(a->key, b->key) < 0;
}

/* The first member that is not older than o: a namespace may hold ten thousand. */
static size_t fact_place(const struct model_fact *f, const struct model_object *o)
{
    size_t lo = 0, hi = f->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (older(f->members[mid], o))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void fact_insert(struct model_fact *f, struct model_object *o)
{
    if (f->n == f->cap) {
        f->cap = f->cap ? f->cap * 2 : 1;
        f->members = mem_resize(f->members, f->cap * sizeof(struct model_object *));
    }
    size_t i = fact_place(f, o);
    memmove(f->members + i + 1, f->members + i, (f->n - i) * sizeof(struct model_object *));
    f->members[i] = o;
    f->n++;
}

static void fact_remove(struct model_fact *f, const struct model_object *o)
{
    size_t i = fact_place(f, o);
    wf_assert(i < f->n && f->members[i] == o);
    f->n--;
    memmove(f->members + i, f->members + i + 1, (f->n - i) * sizeof(struct model_object *));
}

/* The same object, changed: equally old. */
static void fact_replace(struct model_fact *f, const struct model_object *was,
                         struct model_object *is)
{
    size_t i = fact_place(f, was);
    wf_assert(i < f->n && f->members[i] == was);
    f->members[i] = is;
}

const struct model_fact *model_index(struct model *m, enum model_index index, struct slice name)
{
    struct arena a = {0};
    struct model_fact *f = fact_get(m, fact_key(&a, index, name));
    arena_fini(&a);
    graph_read(m->graph, &f->node);
    return f;
}

const struct model_object *model_object(struct model *m, struct slice key)
{
    const struct model_fact *f = model_index(m, MODEL_OBJECT, key);
    return f->n ? f->members[0] : NULL;
}

/* Objects. */

void model_entry_add(struct model_entries *e, enum model_index index, struct slice name,
                     uint64_t sign)
{
    struct slice key = fact_key(e->arena, index, name);
    for (size_t i = 0; i < e->n; i++)
        if (slice_eq(e->p[i].fact_key, key)) {
            e->p[i].sign = hash_u64(e->p[i].sign) ^ sign;
            return;
        }
    *vec_push(e) = (struct model_entry){.fact_key = key, .sign = sign};
}

static void object_free(struct model_object *o)
{
    if (!o)
        return;
    struct arena a = o->arena; /* the object lies in its own arena, and so does its tree */
    arena_fini(&a);
}

static const struct {
    struct slice resource;
    enum kind_id kind;
    bool (*parse)(struct model_object *o, struct model_entries *e, struct err *err);
} kinds_read[] = {
    {S_INIT("services"), KIND_SERVICE, model_parse_service},
    {S_INIT("endpointslices.discovery.k8s.io"), KIND_ENDPOINT_SLICE, model_parse_slice},
    {S_INIT("workloadentries.networking.istio.io"), KIND_WORKLOAD_ENTRY, model_parse_workload},
    {S_INIT("serviceentries.networking.istio.io"), KIND_SERVICE_ENTRY, model_parse_service_entry},
    {S_INIT("virtualservices.networking.istio.io"), KIND_VIRTUAL_SERVICE, model_parse_rule},
    {S_INIT("destinationrules.networking.istio.io"), KIND_DESTINATION_RULE, model_parse_rule},
    {S_INIT("gateways.networking.istio.io"), KIND_GATEWAY, model_parse_rule},
    {S_INIT("sidecars.networking.istio.io"), KIND_SIDECAR, model_parse_rule},
};

/* Row of the table for a key, or SIZE_MAX; and its namespace and name. */
static size_t key_row(struct slice key, struct slice *ret_ns, struct slice *ret_name)
{
    struct slice resource, rest;
    if (!slice_cut(key, '/', &resource, &rest) || !slice_cut(rest, '/', ret_ns, ret_name))
        return SIZE_MAX;
    for (size_t i = 0; i < ARRAY_LEN(kinds_read); i++)
        if (slice_eq(resource, kinds_read[i].resource))
            return i;
    return SIZE_MAX;
}

/* In the arena that trees are made in just now. */
static json_t *parse_json(struct slice value, struct err *err)
{
    json_t *j = json_parse(value, err);
    if (!j)
        err_wrap(err, "not a JSON object");
    if (!j || json_is_object(j))
        return j;
    err_set(err, ERR_INVALID, "not a JSON object");
    return NULL;
}

/* Without what changes nothing for proxies: status, other metadata. */
static uint64_t object_sign(const struct model_object *o)
{
    const json_t *md = jr_get(o->json, "metadata");
    uint64_t h = o->spec == o->json ? jr_hash(jr_get(o->json, "endpoints")) ^
                                          hash_u64(jr_hash(jr_get(o->json, "ports")))
                                    : jr_hash(o->spec);
    return h ^ hash_u64(jr_hash(jr_get(md, "labels")) + 1) ^
           hash_u64(jr_hash(jr_get(md, "annotations")) + 2) ^ hash_u64(o->create_rev);
}

static struct model_object *object_parse(struct model *m, size_t row, struct slice key,
                                         struct slice value, struct model_entries *e,
                                         struct err *err)
{
    struct arena arena = {.first = OBJECT_BYTES + value.n * TREE_BYTES_PER_BYTE};
    struct model_object *o = ARENA_NEW(&arena, struct model_object);
    o->key = arena_dup(&arena, key);
    o->kind = kinds_read[row].kind;
    key_row(o->key, &o->ns, &o->name);
    json_use_arena(&arena);
    o->json = parse_json(value, err);
    json_use_arena(NULL);
    e->arena = &arena;
    e->root_ns = m->root_ns;
    if (!o->json) {
        arena_fini(&arena);
        return NULL;
    }
    const json_t *md = jr_get(o->json, "metadata");
    o->spec = o->kind == KIND_ENDPOINT_SLICE ? o->json : jr_get(o->json, "spec");
    o->labels = jr_pairs(jr_get(md, "labels"), &arena);
    o->annotations = jr_pairs(jr_get(md, "annotations"), &arena);
    o->export_to = jr_get(o->spec, "exportTo");
    o->arena = arena;
    e->arena = &o->arena;
    return o;
}

static void entries_keep(struct model_object *o, const struct model_entries *e)
{
    o->entry_count = e->n;
    o->entries = ARENA_ARRAY(&o->arena, struct model_entry, e->n);
    if (e->n)
        memcpy(o->entries, e->p, e->n * sizeof(*e->p));
}

static int cmp_entry(const void *a, const void *b)
{
    return slice_cmp(((const struct model_entry *)a)->fact_key,
                     ((const struct model_entry *)b)->fact_key);
}

/* Moves the indexes from one state of an object to the next; either may be NULL. A fact is touched
 * only if the object entered, left, or changed in what the index is for. */
static void entries_move(struct model *m, struct model_object *was, struct model_object *is,
                         reg_rev rev)
{
    size_t i = 0, j = 0, was_n = was ? was->entry_count : 0, is_n = is ? is->entry_count : 0;
    while (i < was_n || j < is_n) {
        struct model_entry *a = i < was_n ? &was->entries[i] : NULL;
        struct model_entry *b = j < is_n ? &is->entries[j] : NULL;
        int c = !a ? 1 : !b ? -1 : slice_cmp(a->fact_key, b->fact_key);
        struct model_fact *f = c <= 0 ? a->fact : fact_get(m, b->fact_key);
        if (c >= 0)
            b->fact = f;
        if (c == 0 && was->create_rev == is->create_rev) {
            fact_replace(f, was, is);
        } else {
            if (c <= 0)
                fact_remove(f, was);
            if (c >= 0)
                fact_insert(f, is);
        }
        if (c != 0 || a->sign != b->sign)
            graph_fact_touch(m->graph, &f->node, rev);
        i += c <= 0;
        j += c >= 0;
    }
}

static void issue_clear(struct model *m, struct slice key)
{
    struct slice *s = map_del(&m->issues, key);
    mem_free(s);
}

static void issue_set(struct model *m, struct slice key, const struct err *err)
{
    issue_clear(m, key);
    size_t n = strlen(err->msg);
    struct slice *s = mem_new(sizeof(*s) + n);
    memcpy(s + 1, err->msg, n);
    *s = (struct slice){(const char *)(s + 1), n};
    m->issues.copies_keys = true;
    map_put(&m->issues, key, s);
}

static void object_replace(struct model *m, struct slice key, struct model_object *is, reg_rev rev)
{
    struct model_object *was = is ? map_put(&m->objects, is->key, is) : map_del(&m->objects, key);
    entries_move(m, was, is, rev);
    object_free(was);
}

void model_apply(struct model *m, struct slice key, struct slice value, reg_rev create_rev,
                 reg_rev mod_rev)
{
    struct slice ns, name;
    struct err err = {0};
    struct model_entries e = {0};
    size_t row = key_row(key, &ns, &name);
    if (row == SIZE_MAX)
        return;
    issue_clear(m, key);
    struct model_object *o = object_parse(m, row, key, value, &e, &err);
    if (o) {
        o->create_rev = create_rev;
        o->mod_rev = status_said_at(o->json, mod_rev);
        o->seen = m->reloads;
        json_use_arena(&o->arena); /* some complete the tree */
        if (!kinds_read[row].parse(o, &e, &err))
            e.n = 0;
        json_use_arena(NULL);
        model_entry_add(&e, MODEL_OBJECT, o->key, object_sign(o));
        qsort(e.p, e.n, sizeof(*e.p), cmp_entry);
        entries_keep(o, &e);
    }
    vec_fini(&e);
    if (err.code != ERR_NONE)
        issue_set(m, key, &err);
    object_replace(m, key, o, o ? o->mod_rev : mod_rev);
}

void model_delete(struct model *m, struct slice key, reg_rev revision)
{
    issue_clear(m, key);
    object_replace(m, key, NULL, revision);
}

static void issues_clear(struct model *m)
{
    MAP_EACH (&m->issues, e) {
        mem_free(e->value);
    }
    map_clear(&m->issues);
}

void model_reload_begin(struct model *m)
{
    m->reloads++;
    issues_clear(m);
}

void model_reload_end(struct model *m, reg_rev revision)
{
    VEC(struct model_object *) gone = {0};
    MAP_EACH (&m->objects, e) {
        struct model_object *o = e->value;
        if (o->seen != m->reloads)
            *vec_push(&gone) = o;
    }
    for (size_t i = 0; i < gone.n; i++) {
        object_replace(m, gone.p[i]->key, NULL, revision);
    }
    vec_fini(&gone);
}

/* Life. */

void model_init(struct model *m, struct graph *g, struct slice root_ns)
{
    *m = (struct model){.graph = g, .root_ns = root_ns};
}

#define FACTS_SWEEP_MIN 1024

void model_collect(struct model *m)
{
    if (m->facts.n < FACTS_SWEEP_MIN || m->facts.n < 2 * m->facts_swept)
        return;
    VEC(struct model_fact *) empty = {0};
    MAP_EACH (&m->facts, e) {
        struct model_fact *f = e->value;
        if (f->n == 0 && !graph_fact_used(&f->node))
            *vec_push(&empty) = f;
    }
    for (size_t i = 0; i < empty.n; i++) {
        map_del(&m->facts, empty.p[i]->key);
        fact_free(empty.p[i]);
    }
    vec_fini(&empty);
    m->facts_swept = m->facts.n;
}

void model_fini(struct model *m)
{
    MAP_EACH (&m->objects, e)
        object_free(e->value);
    MAP_EACH (&m->facts, f)
        fact_free(f->value);
    MAP_EACH (&m->issues, s)
        mem_free(s->value);
    map_fini(&m->objects);
    map_fini(&m->facts);
    map_fini(&m->issues);
}

/* Names. */

bool model_exported(const json_t *export_to, struct slice owner, struct slice ns)
{
    if (jr_len(export_to) == 0)
        return true;
    for (size_t i = 0; i < jr_len(export_to); i++) {
        struct slice v = json_slice(jr_at(export_to, i));
        if (slice_eq(v, S("*")) || slice_eq(v, ns) || (slice_eq(v, S(".")) && slice_eq(owner, ns)))
            return true;
    }
    return false;
}

struct slice model_host_resolve(struct slice host, struct slice ns, struct arena *arena)
{
    if (!host.n || slice_find(host, '.') != SIZE_MAX || host.p[0] == '*')
        return host;
    return arena_printf(arena, "%.*s.%.*s." MODEL_CLUSTER_DOMAIN, SLICE(host), SLICE(ns));
}

bool model_host_match(struct slice pattern, struct slice host)
{
    if (!pattern.n || pattern.p[0] != '*')
        return slice_eq(pattern, host);
    struct slice suffix = slice_skip(pattern, 1);
    if (!suffix.n)
        return true;
    return host.n > suffix.n && slice_ends(host, suffix) && !slice_eq(host, suffix);
}

bool model_host_wider(struct slice *at, struct arena *arena)
{
    if (slice_eq(*at, S("*")))
        return false;
    struct slice rest = slice_starts(*at, S("*.")) ? slice_skip(*at, 2) : *at;
    size_t dot = slice_find(rest, '.');
    *at = dot == SIZE_MAX ? S("*") : arena_concat(arena, S("*"), slice_skip(rest, dot));
    return true;
}

int model_locality_cmp(const struct model_locality *a, const struct model_locality *b)
{
    int c = slice_cmp(a->region, b->region);
    c = c ? c : slice_cmp(a->zone, b->zone);
    return c ? c : slice_cmp(a->subzone, b->subzone);
}
