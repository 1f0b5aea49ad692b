#include "pilot/model/graph.h"

#include <string.h>

#include "base/core/assert.h"

/* "from has read to"; in to's list of readers. */
struct graph_edge {
    struct list_node node;
    struct graph_cell *from;
    struct graph_node *to;
};

static struct graph_cell *cell_of(struct graph_node *n)
{
    wf_assert(n->is_cell);
    return container_of(n, struct graph_cell, node);
}

void graph_init(struct graph *g)
{
    *g = (struct graph){.turn = 1};
    list_init(&g->garbage);
}

/* Facts. */

void graph_fact_init(struct graph_node *fact)
{
    *fact = (struct graph_node){0};
    list_init(&fact->readers);
}

/* As deep as the kinds of cells are stacked, not as the data is large. */
static void suspect_readers(struct graph_node *n)
{
    LIST_EACH (&n->readers, e) {
        struct graph_cell *c = container_of(e, struct graph_edge, node)->from;
        if (c->suspect)
            continue;
        c->suspect = true;
        suspect_readers(&c->node);
    }
}

void graph_fact_touch(struct graph *g, struct graph_node *fact, reg_rev revision)
{
    wf_assert(!g->current && !fact->is_cell);
    g->turn += g->turn_used ? 1 : 0;
    g->turn_used = false;
    fact->changed = g->turn;
    fact->revision = revision > fact->revision ? revision : fact->revision;
    suspect_readers(fact);
}

void graph_read(struct graph *g, struct graph_node *fact)
{
    if (g->current)
        *vec_push(&g->reads) = fact;
}

/* Cells. */

static struct slice cell_key(struct buf *b, const struct graph_cell_kind *kind, struct slice key)
{
    buf_append(b, slice_mem(&kind, sizeof(kind)));
    buf_append(b, key);
    return buf_slice(b);
}

struct graph_cell *graph_cell(struct graph *g, const struct graph_cell_kind *kind, struct slice key,
                              bool *ret_new)
{
    wf_assert(kind->size >= sizeof(struct graph_cell));
    struct buf b = {0};
    struct slice full = cell_key(&b, kind, key);
    struct graph_cell *c = map_get(&g->cells, full);
    if (ret_new)
        *ret_new = !c;
    if (!c) {
        c = mem_new(kind->size);
        graph_fact_init(&c->node);
        c->node.is_cell = true;
        c->kind = kind;
        char *copy = mem_new(full.n);
        memcpy(copy, full.p, full.n);
        c->key = (struct slice){copy, full.n};
        map_put(&g->cells, c->key, c);
        list_push(&g->garbage, &c->garbage);
    }
    buf_fini(&b);
    return c;
}

static void edges_drop(struct graph *g, struct graph_edge *edges, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct graph_node *to = edges[i].to;
        list_remove(&edges[i].node);
        if (to->is_cell && list_empty(&to->readers) && !list_linked(&cell_of(to)->garbage))
            list_push(&g->garbage, &cell_of(to)->garbage);
    }
    mem_free(edges);
}

static void edges_set(struct graph *g, struct graph_cell *c, struct graph_node *const *reads,
                      size_t n)
{
    struct graph_edge *old = c->edges;
    size_t old_n = c->edge_count;
    c->edges = n ? mem_array(n, sizeof(*c->edges)) : NULL;
    c->edge_count = n;
    for (size_t i = 0; i < n; i++) {
        c->edges[i] = (struct graph_edge){.from = c, .to = reads[i]};
        list_push(&reads[i]->readers, &c->edges[i].node);
        if (reads[i]->is_cell)
            list_remove(&cell_of(reads[i])->garbage);
    }
    edges_drop(g, old, old_n);
}

static reg_rev reads_revision(struct graph_node *const *reads, size_t n)
{
    reg_rev highest = 0;
    for (size_t i = 0; i < n; i++)
        highest = reads[i]->revision > highest ? reads[i]->revision : highest;
    return highest;
}

reg_rev graph_reads_revision(const struct graph *g)
{
    wf_assert(g->current);
    return reads_revision(g->reads.p, g->reads.n);
}

static void cell_compute(struct graph *g, struct graph_cell *c)
{
    struct graph_cell *outer = g->current;
    struct graph_reads outer_reads = g->reads;
    g->current = c;
    g->reads = (struct graph_reads){0};
    c->computing = true;

    bool changed = c->kind->compute(g, c);

    c->computing = false;
    c->node.revision = reads_revision(g->reads.p, g->reads.n);
    edges_set(g, c, g->reads.p, g->reads.n);
    vec_fini(&g->reads);
    g->current = outer;
    g->reads = outer_reads;
    if (changed || c->checked == 0)
        c->node.changed = g->turn;
    c->checked = g->turn;
    c->suspect = false;
    g->computed++;
}

static bool inputs_changed(struct graph *g, struct graph_cell *c);

static void cell_update(struct graph *g, struct graph_cell *c)
{
    wf_assert(!c->computing);
    g->turn_used = true;
    if (c->checked != 0 && !c->suspect)
        return;
    if (c->checked == 0 || inputs_changed(g, c)) {
        cell_compute(g, c);
        return;
    }
    c->suspect = false;
    c->checked = g->turn;
}

/* In the order of reading: what was read because of an earlier read is looked at only if that one
 * still says the same. */
static bool inputs_changed(struct graph *g, struct graph_cell *c)
{
    for (size_t i = 0; i < c->edge_count; i++) {
        struct graph_node *to = c->edges[i].to;
        if (to->is_cell)
            cell_update(g, cell_of(to));
        if (to->changed > c->checked)
            return true;
    }
    return false;
}

struct graph_cell *graph_get(struct graph *g, struct graph_cell *c)
{
    cell_update(g, c);
    if (g->current)
        *vec_push(&g->reads) = &c->node;
    return c;
}

/* Memory. */

void graph_pin(struct graph_cell *c)
{
    c->pins++;
}

void graph_unpin(struct graph *g, struct graph_cell *c)
{
    wf_assert(c->pins > 0);
    c->pins--;
    if (c->pins == 0 && list_empty(&c->node.readers) && !list_linked(&c->garbage))
        list_push(&g->garbage, &c->garbage);
}

static void cell_free(struct graph *g, struct graph_cell *c)
{
    map_del(&g->cells, c->key);
    edges_drop(g, c->edges, c->edge_count);
    if (c->kind->fini)
        c->kind->fini(c);
    mem_free((void *)c->key.p);
    mem_free(c);
}

void graph_collect(struct graph *g)
{
    wf_assert(!g->current);
    struct list_node *n;
    while ((n = list_pop(&g->garbage))) {
        struct graph_cell *c = container_of(n, struct graph_cell, garbage);
        if (c->pins == 0 && list_empty(&c->node.readers))
            cell_free(g, c);
    }
}

void graph_fini(struct graph *g)
{
    MAP_EACH (&g->cells, e) {
        struct graph_cell *c = e->value;
        c->pins = 0;
        if (list_empty(&c->node.readers) && !list_linked(&c->garbage))
            list_push(&g->garbage, &c->garbage);
    }
    graph_collect(g);
    wf_assert(g->cells.n == 0);
    map_fini(&g->cells);
}
