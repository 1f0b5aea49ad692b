/* DestinationRules: which hold for a host, and what they say together.
 *
 * The first of these namespaces with a matching rule decides: the caller's, the service's, the
 * root; in it the most specific host. Rules of that host and namespace are merged oldest first:
 * subsets add up, the first of a name counts, and the first trafficPolicy counts (istio.md §1.1). A
 * rule that selects the calling workload stands before those that select nothing.
 */
#include "pilot/build_internal.h"

#include <stdlib.h>
#include <string.h>

struct rule_cell {
    struct graph_cell cell;
    struct scope *scope;
    struct slice host, service_ns; /* point into the key */
    struct slice value;            /* owned */
};

static bool rule_applies(const struct model_object *o, const struct scope *s, struct slice ns,
                         bool selecting, struct arena *a)
{
    const json_t *labels = jr_path(o->body->spec, "workloadSelector", "matchLabels", NULL);
    bool has_selector = json_object_size(labels) > 0;
    return slice_eq(o->ns, ns) && has_selector == selecting && scope_selects(s, labels, a) &&
           (slice_eq(ns, s->ns) || model_exported(o->body->export_to, o->ns, s->ns));
}

/* Rules of one host pattern in one namespace. A selecting one stands alone with its like. */
static bool rules_of(const struct model_fact *f, const struct scope *s, struct slice ns,
                     struct arena *a, struct buf *out)
{
    for (int selecting = 1; selecting >= 0; selecting--) {
        for (size_t i = 0; i < f->n; i++)
            if (rule_applies(f->members[i], s, ns, selecting, a))
                buf_printf(out, "%s%.*s", out->n ? "\n" : "", SLICE(f->members[i]->key));
        if (out->n)
            return true;
    }
    return false;
}

static bool rules_in(struct build *b, const struct rule_cell *c, struct slice ns, struct arena *a,
                     struct buf *out)
{
    struct slice at = c->host;
    do {
        const struct model_fact *f = model_index(&b->model, MODEL_RULE_HOST, at);
        if (rules_of(f, c->scope, ns, a, out))
            return true;
    } while (model_host_wider(&at, a));
    return false;
}

static bool rule_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct rule_cell *c = (struct rule_cell *)cell;
    struct arena a = {0};
    struct buf out = {0};
    if (!rules_in(b, c, c->scope->ns, &a, &out) && !rules_in(b, c, c->service_ns, &a, &out))
        rules_in(b, c, b->model.root_ns, &a, &out);
    arena_fini(&a);
    bool changed = !slice_eq(c->value, buf_slice(&out));
    if (changed) {
        mem_free((void *)c->value.p);
        char *copy = mem_new(out.n + 1);
        if (out.n)
            memcpy(copy, buf_slice(&out).p, out.n);
        c->value = (struct slice){copy, out.n};
    }
    buf_fini(&out);
    return changed;
}

static void rule_fini(struct graph_cell *cell)
{
    mem_free((void *)((struct rule_cell *)cell)->value.p);
}

static const struct graph_cell_kind rule_kind = {"rule", sizeof(struct rule_cell), rule_compute,
                                                 rule_fini};

struct graph_cell *rule_cell(struct build *b, struct scope *s, struct slice host,
                             struct slice service_ns)
{
    struct buf key = {0};
    bool is_new;
    buf_append(&key, slice_mem(&s->id, sizeof(s->id)));
    buf_append(&key, host);
    buf_append_byte(&key, '\n');
    buf_append(&key, service_ns);
    struct graph_cell *cell = graph_cell(&b->graph, &rule_kind, buf_slice(&key), &is_new);
    if (is_new) {
        struct rule_cell *c = (struct rule_cell *)cell;
        struct slice tail = slice_skip(cell->key, cell->key.n - host.n - service_ns.n - 1);
        c->scope = s;
        slice_cut(tail, '\n', &c->host, &c->service_ns);
    }
    buf_fini(&key);
    return cell;
}

struct slice rule_value(const struct graph_cell *c)
{
    return ((const struct rule_cell *)c)->value;
}

/* Merged rules. */

static size_t lines(struct slice value)
{
    size_t n = value.n ? 1 : 0;
    for (size_t i = 0; i < value.n; i++)
        n += value.p[i] == '\n';
    return n;
}

static bool has_subset(const struct rules *r, struct slice name)
{
    for (size_t i = 0; i < r->subset_count; i++)
        if (slice_eq(r->subsets[i].name, name))
            return true;
    return false;
}

static void subsets_add(struct rules *r, const struct model_object *o, struct arena *a)
{
    const json_t *list = jr_get(o->body->spec, "subsets");
    struct rule_subset *all =
        ARENA_ARRAY(a, struct rule_subset, r->subset_count + jr_len(list) + 1);
    if (r->subset_count)
        memcpy(all, r->subsets, r->subset_count * sizeof(*all));
    r->subsets = all;
    JR_EACH (list, i, v) {
        struct slice name = jr_str(v, "name");
        if (name.n && !has_subset(r, name))
            all[r->subset_count++] = (struct rule_subset){name, jr_pairs(jr_get(v, "labels"), a),
                                                          jr_get(v, "trafficPolicy"), o};
    }
}

struct rules rules_read(struct build *b, struct slice value, struct arena *a)
{
    struct rules r = {.objects = ARENA_ARRAY(a, const struct model_object *, lines(value) + 1)};
    struct slice key;
    while (value.n) {
        slice_cut(value, '\n', &key, &value);
        const struct model_object *o = model_object(&b->model, key);
        if (!o)
            continue;
        r.objects[r.n++] = o;
        r.policy = r.policy ? r.policy : jr_get(o->body->spec, "trafficPolicy");
        subsets_add(&r, o, a);
    }
    return r;
}

static const json_t *port_policy(const json_t *policy, uint32_t port)
{
    JR_EACH (jr_get(policy, "portLevelSettings"), i, v) {
        if (jr_u32(jr_get(v, "port"), "number", 0) == port)
            return v;
    }
    return NULL;
}

/* Within one policy a port's settings replace the rest wholly: what they leave out is default
 * again. */
static const json_t *policy_section(const json_t *policy, uint32_t port, const char *section)
{
    const json_t *for_port = port_policy(policy, port);
    return jr_get(for_port ? for_port : policy, section);
}

const json_t *rules_section(const struct rules *r, const struct rule_subset *subset, uint32_t port,
                            const char *section)
{
    const json_t *own = subset ? policy_section(subset->policy, port, section) : NULL;
    return own ? own : policy_section(r->policy, port, section);
}
