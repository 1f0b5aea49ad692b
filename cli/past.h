/* What two revisions have different: weft diff @A..@B, weft rollback @N.
 *
 *   struct past p = {0};
 *   if (past_fetch(&p, c, &(struct past_range){.from = 41}, &targets, &err)) …p.items…
 *   past_fini(&p);
 */
#ifndef WEFT_CLI_PAST_H
#define WEFT_CLI_PAST_H

#include "cli/target.h"

struct past_range {
    uint64_t from, to; /* to 0: the newest, which past_fetch fills in */
};

/* Without what the control plane sets itself; NULL: it is not there. */
struct past_item {
    const struct kind *kind;
    struct slice ns, name;
    json_t *before, *after;
    struct slice after_revision; /* its resourceVersion */
};

struct past {
    struct past_range range;
    json_t *answers; /* what the items are borrowed from */
    VEC(struct past_item) items;
};

/* Reads "@41..@44", "@41..44" or "@41" (up to the newest). */
bool past_range_parse(struct slice word, struct past_range *ret, struct err *err);
/* Of the targets; of everything when there are none. */
bool past_fetch(struct past *p, struct cli *c, const struct past_range *range,
                const struct targets *targets, struct err *err);
void past_fini(struct past *p);

/* Two forms of an object as diff -u shows them, in YAML; either may be NULL. */
struct past_labels {
    struct slice was, is; /* "live", "@41": before the object's title */
};
bool past_print(struct cli *c, const struct past_item *item, const struct past_labels *labels,
                bool *ret_differs, struct err *err);
/* Removes what the control plane sets itself: it differs after every write and says nothing. */
void past_strip(json_t *object);

#endif
