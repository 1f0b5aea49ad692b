#include "base/core/heap.h"

#include "base/core/assert.h"

/* A child list hangs from `child` and is linked by next; prev of the first child is the parent, of
 * the others the left sibling. */

static bool before(const struct heap_node *a, const struct heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

/* Joins two roots; the later one becomes the first child of the earlier. */
static struct heap_node *meld(struct heap_node *a, struct heap_node *b)
{
    if (!a || !b)
        return a ? a : b;
    if (before(b, a)) {
        struct heap_node *t = a;
        a = b;
        b = t;
    }
    b->prev = a;
    b->next = a->child;
    if (b->next)
        b->next->prev = b;
    a->child = b;
    a->next = a->prev = NULL;
    return a;
}

/* Makes one tree of a sibling list: pairs from the left, then everything from the right. */
static struct heap_node *meld_siblings(struct heap_node *first)
{
    struct heap_node *pairs = NULL;
    while (first) {
        struct heap_node *a = first, *b = a->next;
        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        struct heap_node *pair = meld(a, b);
        pair->next = pairs;
        pairs = pair;
    }
    struct heap_node *root = NULL;
    while (pairs) {
        struct heap_node *pair = pairs;
        pairs = pair->next;
        pair->next = NULL;
        root = meld(root, pair);
    }
    return root;
}

void heap_push(struct heap *h, struct heap_node *n, int64_t key)
{
    *n = (struct heap_node){.key = key, .seq = h->seq++};
    h->root = meld(h->root, n);
    h->n++;
}

struct heap_node *heap_peek(const struct heap *h)
{
    return h->root;
}

struct heap_node *heap_pop(struct heap *h)
{
    struct heap_node *n = h->root;
    if (n)
        heap_remove(h, n);
    return n;
}

/* Cuts n and its subtree out of its sibling list. */
static void detach(struct heap_node *n)
{
    if (n->prev->child == n)
        n->prev->child = n->next;
    else
        n->prev->next = n->next;
    if (n->next)
        n->next->prev = n->prev;
}

void heap_remove(struct heap *h, struct heap_node *n)
{
    wf_assert(h->n > 0);
    struct heap_node *children = meld_siblings(n->child);
    if (n == h->root) {
        h->root = children;
    } else {
        wf_assert(n->prev);
        detach(n);
        h->root = meld(h->root, children);
    }
    h->n--;
    n->child = n->next = n->prev = NULL;
}
