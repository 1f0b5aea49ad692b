/* The heap of weft's code in a simulation: like base/core/mem_heap.c, and each block knows whose it
 * is, so that what a killed process held can be taken back. */
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/sim/sim_impl.h"

struct block {
    struct list_node node;
    struct sim_zone *zone;
    size_t bytes;
};
static_assert(sizeof(struct block) % 16 == 0, "what follows is aligned");

/* The process whose turn it is: mem_new has no other way to know. */
static struct sim_zone world, *current = &world;

static void *block_add(struct block *b, struct sim_zone *zone, size_t n)
{
    if (!b)
        abort();
    if (!zone->blocks.head.next)
        list_init(&zone->blocks);
    b->node = (struct list_node){0};
    b->zone = zone;
    b->bytes = n;
    zone->bytes += n;
    list_push(&zone->blocks, &b->node);
    return b + 1;
}

static void block_remove(struct block *b)
{
    list_remove(&b->node);
    b->zone->bytes -= b->bytes;
}

void *mem_new(size_t n)
{
    return block_add(calloc(1, sizeof(struct block) + n), current, n);
}

void *mem_try(size_t n)
{
    return block_add(malloc(sizeof(struct block) + n), current, n);
}

void *mem_resize(void *p, size_t n)
{
    if (!p)
        return mem_try(n);
    struct block *b = (struct block *)p - 1;
    struct sim_zone *zone = b->zone;
    block_remove(b);
    return block_add(realloc(b, sizeof(struct block) + n), zone, n);
}

void mem_free(void *p)
{
    if (!p)
        return;
    struct block *b = (struct block *)p - 1;
    block_remove(b);
    free(b);
}

struct sim_zone *sim_zone_enter(struct sim_zone *zone)
{
    struct sim_zone *was = current == &world ? NULL : current;
    current = zone ? zone : &world;
    return was;
}

void sim_zone_drop(struct sim_zone *zone)
{
    struct list_node *n;
    while (zone->blocks.head.next && (n = list_pop(&zone->blocks)))
        free(container_of(n, struct block, node));
    zone->bytes = 0;
}

void *sim_new_bytes(size_t n)
{
    return block_add(calloc(1, sizeof(struct block) + n), &world, n);
}

struct sim_zone *sim_world_enter(void)
{
    return sim_zone_enter(NULL);
}

void sim_world_leave(struct sim_zone *was)
{
    sim_zone_enter(was);
}
