/* Reading canonical JSON that was validated once, without trusting it: what is absent or of another
 * type gives the empty value. Strings borrow from the tree.
 */
#ifndef WEFT_PILOT_MODEL_JSON_READ_H
#define WEFT_PILOT_MODEL_JSON_READ_H

#include "base/core/mem.h"
#include "base/wire/json.h"

/* NULL when o is no object or has no such field. */
const json_t *jr_get(const json_t *o, const char *field);
/* The same down a path of objects: jr_path(o, "trafficPolicy", "loadBalancer", NULL). */
const json_t *jr_path(const json_t *o, ...) __attribute__((sentinel));
struct slice jr_str(const json_t *o, const char *field);
bool jr_bool(const json_t *o, const char *field);
/* A number or a string of digits, as Kubernetes and proto JSON write integers; `absent` otherwise.
 */
uint64_t jr_u64(const json_t *o, const char *field, uint64_t absent);
uint32_t jr_u32(const json_t *o, const char *field, uint32_t absent);
double jr_double(const json_t *o, const char *field, double absent);
/* Of duration_parse(); false when absent, malformed or below zero. */
bool jr_duration(const json_t *o, const char *field, int64_t *ret_ns);
size_t jr_len(const json_t *array);
const json_t *jr_at(const json_t *array, size_t i);
#define JR_EACH(array, i, v)                                                                       \
    for (size_t i = 0, i##_n = jr_len(array); i < i##_n; i++)                                      \
        for (const json_t *v = jr_at((array), i), *v##_once = v; v##_once; v##_once = NULL)

/* Name and value of a map of strings, sorted by name. */
struct jr_pair {
    struct slice name, value;
};
struct jr_pairs {
    const struct jr_pair *p;
    size_t n;
};
/* Values that are no strings are left out. In the arena; strings borrow from the tree. */
struct jr_pairs jr_pairs(const json_t *map, struct arena *arena);
/* Empty when there is none. */
struct slice jr_pairs_get(struct jr_pairs pairs, struct slice name);
/* Has `labels` every pair of `selector`? An empty selector selects everything. */
bool jr_pairs_select(struct jr_pairs selector, struct jr_pairs labels);
/* Both; where a name is in both, over's value. */
struct jr_pairs jr_pairs_merge(struct jr_pairs under, struct jr_pairs over, struct arena *arena);

/* Equal values, equal hashes, whatever the order of fields; 0 for NULL. For telling a change from
 * none within one process: its values may differ between versions of the program. */
uint64_t jr_hash(const json_t *v);

#endif
