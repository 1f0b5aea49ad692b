#include "pilot/model/numbers.h"

#include "base/core/assert.h"
#include "base/core/mem.h"

#define CAP_MIN 64

static bool is_free(const void *p)
{
    return (uintptr_t)p & 1;
}

static void *free_before(uint32_t next)
{
    return (void *)((uintptr_t)next << 1 | 1);
}

static uint32_t next_free(const void *p)
{
    return (uint32_t)((uintptr_t)p >> 1);
}

static void grow(struct numbers *t)
{
    wf_assert(t->cap < NUMBERS_MAX);
    t->cap = t->cap ? t->cap * 2 : CAP_MIN;
    t->p = mem_resize(t->p, t->cap * sizeof(*t->p));
    t->end = t->end ? t->end : 1;
}

uint32_t numbers_take(struct numbers *t, void *what)
{
    wf_assert(what && !is_free(what));
    uint32_t number = t->free;
    if (number) {
        t->free = next_free(t->p[number]);
    } else {
        if (t->end == t->cap)
            grow(t);
        number = t->end++;
    }
    t->p[number] = what;
    t->n++;
    return number;
}

void *numbers_at(const struct numbers *t, uint32_t number)
{
    wf_assert(number && number < t->end && !is_free(t->p[number]));
    return t->p[number];
}

void numbers_give(struct numbers *t, uint32_t number)
{
    wf_assert(numbers_at(t, number));
    t->p[number] = free_before(t->free);
    t->free = number;
    t->n--;
}

void numbers_set(struct numbers *t, uint32_t number, void *what)
{
    wf_assert(numbers_at(t, number) && what && !is_free(what));
    t->p[number] = what;
}

uint32_t numbers_next(const struct numbers *t, uint32_t number)
{
    for (number++; number < t->end; number++)
        if (!is_free(t->p[number]))
            return number;
    return 0;
}

void numbers_fini(struct numbers *t)
{
    mem_free(t->p);
    *t = (struct numbers){0};
}
