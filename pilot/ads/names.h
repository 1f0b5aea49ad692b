/* Names of resources, one copy a worker: a thousand sessions that subscribe to a thousand names
 * hold a thousand strings and a million pointers.
 *
 *   struct ads_name *n = ads_name_intern(&names, S("outbound|80||a"));
 *   ads_name_unref(&names, n);
 *
 * Of one thread. The table is keyed: peers choose the names.
 */
#ifndef WEFT_PILOT_ADS_NAMES_H
#define WEFT_PILOT_ADS_NAMES_H

#include "base/core/map.h"

struct ads_name {
    uint32_t refs, n;
    char text[];
};

/* Zeroed is valid and empty. */
struct ads_names {
    struct map map;
};

/* One more reference to the name, made if it is new. Equal names have equal addresses. */
struct ads_name *ads_name_intern(struct ads_names *names, struct slice text);
struct ads_name *ads_name_ref(struct ads_name *name);
/* NULL is fine. */
void ads_name_unref(struct ads_names *names, struct ads_name *name);
/* All references were given back. */
void ads_names_fini(struct ads_names *names);

static inline struct slice ads_name_slice(const struct ads_name *name)
{
    return (struct slice){name->text, name->n};
}

/* Order of the wire; cheap for equal addresses. */
static inline int ads_name_cmp(const struct ads_name *a, const struct ads_name *b)
{
    return a == b ? 0 : slice_cmp(ads_name_slice(a), ads_name_slice(b));
}

/* A sorted set of names; holds a reference on each. Zeroed is empty. */
struct ads_nameset {
    struct ads_name **p;
    uint32_t n, cap;
};

bool ads_nameset_has(const struct ads_nameset *set, struct slice name);
/* Adds a batch (may repeat itself and what is there). */
void ads_nameset_add(struct ads_nameset *set, struct ads_names *names, const struct slice *v,
                     size_t n);
/* false: it was not there. */
bool ads_nameset_del(struct ads_nameset *set, struct ads_names *names, struct slice name);
void ads_nameset_fini(struct ads_nameset *set, struct ads_names *names);

#endif
