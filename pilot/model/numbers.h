/* Small numbers that stand for pointers, four bytes instead of eight: given out from 1 on, and
 * again when they were given back.
 *
 *   uint32_t number = numbers_take(&t, object);      numbers_at(&t, number) == object
 *   NUMBERS_EACH (&t, i) use(numbers_at(&t, i));     giving back i meanwhile is fine
 *   numbers_give(&t, number);
 */
#ifndef WEFT_PILOT_MODEL_NUMBERS_H
#define WEFT_PILOT_MODEL_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

#define NUMBERS_MAX (1u << 30)

/* Zeroed is valid and empty. */
struct numbers {
    void **p; /* by number; one that is free holds the next free one, marked by its lowest bit */
    size_t n; /* in use */
    uint32_t end; /* of those ever used; 0 is none */
    uint32_t cap;
    uint32_t free; /* first free one below end; 0: none */
};

/* `what` is not NULL and aligned to two bytes at least. */
uint32_t numbers_take(struct numbers *t, void *what);
void numbers_give(struct numbers *t, uint32_t number);
void *numbers_at(const struct numbers *t, uint32_t number);
/* The number stands for another pointer from now on. */
void numbers_set(struct numbers *t, uint32_t number, void *what);
/* The next one in use after `number`; 0 at the end. */
uint32_t numbers_next(const struct numbers *t, uint32_t number);
#define NUMBERS_EACH(t, i) for (uint32_t i = numbers_next((t), 0); i; i = numbers_next((t), i))
void numbers_fini(struct numbers *t);

#endif
