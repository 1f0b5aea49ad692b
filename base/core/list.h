/* Intrusive doubly linked list. A node that is in no list has next == NULL.
 *
 *   struct list free = LIST_INIT(free);
 *   list_push(&free, &conn->node);
 *   LIST_EACH(&free, n) { struct conn *c = container_of(n, struct conn, node); … }
 */
#ifndef WEFT_BASE_CORE_LIST_H
#define WEFT_BASE_CORE_LIST_H

#include "base/core/assert.h"
#include "base/core/slice.h"

struct list_node {
    struct list_node *next, *prev;
};

struct list {
    struct list_node head;
};

/* clang-format off */
#define LIST_INIT(name) {{&(name).head, &(name).head}}
/* clang-format on */

static inline void list_init(struct list *l)
{
    l->head.next = l->head.prev = &l->head;
}

static inline bool list_empty(const struct list *l)
{
    return l->head.next == &l->head || !l->head.next;
}

static inline bool list_linked(const struct list_node *n)
{
    return n->next != NULL;
}

/* At the end. */
static inline void list_push(struct list *l, struct list_node *n)
{
    wf_assert(!n->next);
    n->prev = l->head.prev;
    n->next = &l->head;
    l->head.prev->next = n;
    l->head.prev = n;
}

static inline void list_push_front(struct list *l, struct list_node *n)
{
    wf_assert(!n->next);
    n->next = l->head.next;
    n->prev = &l->head;
    l->head.next->prev = n;
    l->head.next = n;
}

/* Harmless on a node that is in no list. */
static inline void list_remove(struct list_node *n)
{
    if (!n->next)
        return;
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = n->prev = NULL;
}

/* First node or NULL. */
static inline struct list_node *list_first(const struct list *l)
{
    return list_empty(l) ? NULL : l->head.next;
}

static inline struct list_node *list_pop(struct list *l)
{
    struct list_node *n = list_first(l);
    if (n)
        list_remove(n);
    return n;
}

/* Safe against removal of the current node. */
#define LIST_EACH(l, n)                                                                            \
    for (struct list_node *n = (l)->head.next, *n##_next = n->next; n != &(l)->head;               \
         n = n##_next, n##_next = n->next)

#endif
