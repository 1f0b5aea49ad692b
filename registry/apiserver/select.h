/* Label and field selectors of list and watch. Pure.
 *
 *   struct selector sel;
 *   if (!selector_parse_labels(&sel, S("app=reviews,version in (v1,v2)"), arena, &err)) …
 *   if (selector_match(&sel, object)) …
 *
 * Labels: a, !a, a=b, a==b, a!=b, a in (b,c), a notin (b,c). Fields: metadata.name and
 * metadata.namespace, = == !=.
 */
#ifndef WEFT_REGISTRY_APISERVER_SELECT_H
#define WEFT_REGISTRY_APISERVER_SELECT_H

#include <jansson.h>

#include "base/core/err.h"
#include "base/core/mem.h"

#define SELECTOR_TERMS_MAX 32
#define SELECTOR_VALUES_MAX 64

enum selector_op { SELECT_EXISTS, SELECT_ABSENT, SELECT_IN, SELECT_NOT_IN };

struct selector_term {
    struct slice key; /* label, or field path */
    bool field;
    enum selector_op op;
    size_t n;
    struct slice *values;
};

/* Zeroed matches everything. */
struct selector {
    size_t n;
    struct selector_term terms[SELECTOR_TERMS_MAX];
};

/* Terms are added: labels and fields may stand in one selector. Slices are borrowed from text. */
bool selector_parse_labels(struct selector *sel, struct slice text, struct arena *arena,
                           struct err *err);
bool selector_parse_fields(struct selector *sel, struct slice text, struct arena *arena,
                           struct err *err);
bool selector_match(const struct selector *sel, const json_t *object);

#endif
