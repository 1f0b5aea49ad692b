/* A graph of computations that notice what they read, so that a change recomputes what depends on
 * it and nothing else.
 *
 *   fact   something that is given from outside (which objects have this host), with the revision
 *          of its last change
 *   cell   a value computed from facts and other cells: what it reads while computing is its cache
 *          key
 *
 *   graph_fact_touch(g, fact, revision);    what was read has changed
 *   v = graph_get(g, root);                 computes what is needed; inside compute() it also
 *                                           records the read
 *   graph_collect(g);                       frees cells that nobody reads any more
 *
 * A touched fact marks what depends on it as suspect. A suspect cell is computed again only if one
 * of its inputs has really changed, in the order in which it read them; a computation that gives
 * the same value stops the wave. One thread. Cells must not read themselves, directly or not
 * (asserted).
 */
#ifndef WEFT_PILOT_MODEL_GRAPH_H
#define WEFT_PILOT_MODEL_GRAPH_H

#include "base/core/list.h"
#include "base/core/map.h"
#include "base/core/mem.h"
#include "registry/store.h"

struct graph_edge;
struct graph_cell;

/* What facts and cells have in common. */
struct graph_node {
    struct list readers; /* graph_edge.node */
    reg_rev revision; /* highest revision of a change below; what a resource's version is made of */
    uint64_t changed; /* turn in which the value last changed */
    bool is_cell;
};

struct graph_reads {
    struct graph_node **p;
    size_t n, cap;
};

struct graph {
    struct map cells;
    struct graph_cell *current; /* computing now */
    struct graph_reads reads;   /* of current */
    struct list garbage;        /* cells without readers */
    uint64_t turn;              /* rises with the first touch after a computation */
    bool turn_used;
    uint64_t computed; /* computations so far: for tests and metrics */
};

struct graph_cell_kind {
    const char *name;
    size_t size; /* of the struct that begins with struct graph_cell */
    /* Computes the value; true if it differs from the last one. */
    bool (*compute)(struct graph *g, struct graph_cell *c);
    void (*fini)(struct graph_cell *c); /* releases the value; may be NULL */
};

struct graph_cell {
    struct graph_node node;
    const struct graph_cell_kind *kind;
    struct slice key; /* what the cell is a function of, beside what it reads; owned */
    struct graph_edge *edges;
    size_t edge_count;
    struct list_node garbage;
    uint64_t checked; /* turn in which it was last known to be good; 0 = never computed */
    bool suspect, computing;
    unsigned pins;
};

void graph_init(struct graph *g);
/* Frees all cells; facts are their owner's and must outlive it. */
void graph_fini(struct graph *g);

void graph_fact_init(struct graph_node *fact);
void graph_fact_touch(struct graph *g, struct graph_node *fact, reg_rev revision);
/* Inside compute(): the running cell depends on the fact. Elsewhere: nothing. */
void graph_read(struct graph *g, struct graph_node *fact);
static inline bool graph_fact_used(const struct graph_node *fact)
{
    return !list_empty(&fact->readers);
}

/* The cell of this kind and key, made if there is none; not computed yet. `ret_new` may be NULL:
 * the caller fills its parameters when it is true. */
struct graph_cell *graph_cell(struct graph *g, const struct graph_cell_kind *kind, struct slice key,
                              bool *ret_new);
/* Makes its value current, and records the read if a cell is computing. Returns c. */
struct graph_cell *graph_get(struct graph *g, struct graph_cell *c);
/* A pinned cell is kept without readers. */
void graph_pin(struct graph_cell *c);
void graph_unpin(struct graph *g, struct graph_cell *c);
void graph_collect(struct graph *g);

/* Highest revision of what the running computation has read so far. */
reg_rev graph_reads_revision(const struct graph *g);

#endif
