#include "pilot/model/model.h"

#include <string.h>

#include "api/status.h"
#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/wire/json.h"
#include "pilot/model/model_internal.h"

/* What an object takes in its arena, roughly: a tree is some eight times its text. */
#define OBJECT_BYTES 1024
#define TREE_BYTES_PER_BYTE 8

/* Objects. */

static const struct {
    struct slice resource;
    enum kind_id kind;
    /* Either: of a kind whose tree is kept, or of one that copies out of it. */
    bool (*parse)(struct model_object *o, struct model_entries *e, struct err *err);
    struct model_object *(*copy)(struct slice key, const json_t *json, reg_rev create_rev,
                                 struct arena *scratch, struct err *err);
} kinds_read[] = {
    {S_INIT("services"), KIND_SERVICE, model_parse_service, NULL},
    {S_INIT("endpointslices.discovery.k8s.io"), KIND_ENDPOINT_SLICE, NULL, model_backends_new},
    {S_INIT("workloadentries.networking.istio.io"), KIND_WORKLOAD_ENTRY, NULL, model_workload_new},
    {S_INIT("serviceentries.networking.istio.io"), KIND_SERVICE_ENTRY, model_parse_service_entry,
     NULL},
    {S_INIT("virtualservices.networking.istio.io"), KIND_VIRTUAL_SERVICE, model_parse_rule, NULL},
    {S_INIT("destinationrules.networking.istio.io"), KIND_DESTINATION_RULE, model_parse_rule, NULL},
    {S_INIT("gateways.networking.istio.io"), KIND_GATEWAY, model_parse_rule, NULL},
    {S_INIT("sidecars.networking.istio.io"), KIND_SIDECAR, model_parse_rule, NULL},
};

bool model_key_split(struct slice key, struct slice *ret_resource, struct slice *ret_ns,
                     struct slice *ret_name)
{
    struct slice rest;
    return slice_cut(key, '/', ret_resource, &rest) && slice_cut(rest, '/', ret_ns, ret_name);
}

void model_object_named(struct model_object *o, struct slice key)
{
    struct slice resource;
    bool ok = model_key_split(key, &resource, &o->ns, &o->name);
    wf_assert(ok);
    o->key = key;
}

/* Row of the table for a key, or SIZE_MAX. */
static size_t key_row(struct slice key)
{
    struct slice resource, ns, name;
    if (!model_key_split(key, &resource, &ns, &name))
        return SIZE_MAX;
    for (size_t i = 0; i < ARRAY_LEN(kinds_read); i++)
        if (slice_eq(resource, kinds_read[i].resource))
            return i;
    return SIZE_MAX;
}

static size_t object_bytes(const struct model_object *o)
{
    if (!o)
        return 0;
    return o->body ? o->body->arena.total : model_workload_bytes(o);
}

static void object_free(struct model_object *o)
{
    if (!o || !o->body) {
        mem_free(o);
        return;
    }
    struct arena a = o->body->arena; /* the object lies in its own arena, and so does its tree */
    arena_fini(&a);
}

static json_t *parse_json(struct slice value, struct arena *arena, struct err *err)
{
    json_use_arena(arena);
    json_t *j = json_parse(value, err);
    json_use_arena(NULL);
    if (!j)
        err_wrap(err, "not a JSON object");
    if (!j || json_is_object(j))
        return j;
    err_set(err, ERR_INVALID, "not a JSON object");
    return NULL;
}

uint64_t model_object_sign(const json_t *json, uint64_t what, reg_rev create_rev)
{
    const json_t *md = jr_get(json, "metadata");
    return what ^ hash_u64(jr_hash(jr_get(md, "labels")) + 1) ^
           hash_u64(jr_hash(jr_get(md, "annotations")) + 2) ^ hash_u64(create_rev);
}

static struct model_object *tree_parse(size_t row, struct slice key, struct slice value,
                                       struct err *err)
{
    struct arena arena = {.first = OBJECT_BYTES + value.n * TREE_BYTES_PER_BYTE};
    struct model_object *o = ARENA_NEW(&arena, struct model_object);
    struct model_body *b = ARENA_NEW(&arena, struct model_body);
    b->json = parse_json(value, &arena, err);
    if (!b->json) {
        arena_fini(&arena);
        return NULL;
    }
    model_object_named(o, arena_dup(&arena, key));
    o->kind = kinds_read[row].kind;
    o->body = b;
    const json_t *md = jr_get(b->json, "metadata");
    b->spec = jr_get(b->json, "spec");
    b->labels = jr_pairs(jr_get(md, "labels"), &arena);
    b->annotations = jr_pairs(jr_get(md, "annotations"), &arena);
    b->export_to = jr_get(b->spec, "exportTo");
    b->arena = arena;
    return o;
}

static void entries_keep(struct model_body *b, const struct model_entries *e)
{
    wf_assert(e->n > 0);
    b->entry_count = e->n;
    b->entries = ARENA_ARRAY(&b->arena, struct model_entry, e->n);
    memcpy(b->entries, e->p, e->n * sizeof(*e->p));
}

/* Of a kind whose tree is kept. NULL, or an error beside the object, where not all is good. */
static struct model_object *tree_new(struct model *m, size_t row, struct slice key,
                                     struct slice value, reg_rev create_rev, struct err *err)
{
    struct model_object *o = tree_parse(row, key, value, err);
    if (!o)
        return NULL;
    struct model_entries e = {.arena = &o->body->arena, .root_ns = m->root_ns};
    o->create_rev = create_rev;
    json_use_arena(&o->body->arena); /* some complete the tree */
    if (!kinds_read[row].parse(o, &e, err))
        e.n = 0;
    json_use_arena(NULL);
    model_entry_add(&e, MODEL_OBJECT, o->key,
                    model_object_sign(o->body->json, jr_hash(o->body->spec), create_rev));
    model_entries_sort(&e);
    entries_keep(o->body, &e);
    vec_fini(&e);
    return o;
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
    struct model_object *was = model_index_peek(m, key);
    model_index_move(m, was, is, rev);
    m->object_bytes += object_bytes(is) - object_bytes(was);
    object_free(was);
}

/* *rev: in, of the write; out, of what the object says. */
static struct model_object *object_new(struct model *m, size_t row, struct slice key,
                                       struct slice value, reg_rev create_rev, reg_rev *rev,
                                       struct err *err)
{
    if (kinds_read[row].parse) {
        struct model_object *o = tree_new(m, row, key, value, create_rev, err);
        if (o)
            *rev = o->body->mod_rev = status_said_at(o->body->json, *rev);
        return o;
    }
    json_t *json = parse_json(value, &m->scratch, err);
    if (!json)
        return NULL;
    *rev = status_said_at(json, *rev);
    struct model_object *o = kinds_read[row].copy(key, json, create_rev, &m->scratch, err);
    if (o->body)
        o->body->mod_rev = *rev;
    return o;
}

void model_apply(struct model *m, struct slice key, struct slice value, reg_rev create_rev,
                 reg_rev mod_rev)
{
    struct err err = {0};
    size_t row = key_row(key);
    if (row == SIZE_MAX)
        return;
    issue_clear(m, key);
    struct model_object *o = object_new(m, row, key, value, create_rev, &mod_rev, &err);
    if (o)
        o->seen = m->reloads;
    if (err.code != ERR_NONE)
        issue_set(m, key, &err);
    object_replace(m, key, o, mod_rev);
    arena_reset(&m->scratch);
}

void model_delete(struct model *m, struct slice key, reg_rev revision)
{
    issue_clear(m, key);
    object_replace(m, key, NULL, revision);
    arena_reset(&m->scratch);
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
    NUMBERS_EACH (&m->objects, i) {
        struct model_object *o = numbers_at(&m->objects, i);
        if (o->seen != m->reloads)
            object_replace(m, o->key, NULL, revision);
        arena_reset(&m->scratch);
    }
}

/* Life. */

void model_init(struct model *m, struct graph *g, struct slice root_ns)
{
    *m = (struct model){
        .graph = g, .root_ns = root_ns, .hash_key = hash_key_new(), .hash_mask = UINT32_MAX};
}

size_t model_bytes(const struct model *m)
{
    return m->object_bytes + m->fact_bytes + m->index.cap * sizeof(*m->index.slots) +
           (m->objects.cap + (size_t)m->facts.cap) * sizeof(*m->objects.p) + m->scratch.total;
}

void model_fini(struct model *m)
{
    NUMBERS_EACH (&m->objects, i)
        object_free(numbers_at(&m->objects, i));
    MAP_EACH (&m->issues, s)
        mem_free(s->value);
    model_index_fini(m);
    numbers_fini(&m->objects);
    map_fini(&m->issues);
    arena_fini(&m->scratch);
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
