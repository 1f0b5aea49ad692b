/* Intrusive pairing heap ordered by a 64-bit key, smallest first; equal keys leave in the order
 * they came. The timers of env.
 */
#ifndef WEFT_BASE_CORE_HEAP_H
#define WEFT_BASE_CORE_HEAP_H

#include "base/core/slice.h"

struct heap_node {
    struct heap_node *child, *next, *prev; /* prev: left sibling or parent */
    int64_t key;
    uint64_t seq; /* tie-break */
};

struct heap {
    struct heap_node *root;
    uint64_t seq;
    size_t n;
};

void heap_push(struct heap *h, struct heap_node *n, int64_t key);
struct heap_node *heap_peek(const struct heap *h);
struct heap_node *heap_pop(struct heap *h);
void heap_remove(struct heap *h, struct heap_node *n);

#endif
