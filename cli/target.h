/* KIND NAME…, KIND/NAME…, KIND,KIND: what a command is about. */
#ifndef WEFT_CLI_TARGET_H
#define WEFT_CLI_TARGET_H

#include "cli/context.h"

enum target_type { TARGET_KIND, TARGET_PROXIES, TARGET_MEMBERS };

struct target {
    enum target_type type;
    const struct kind *kind; /* of TARGET_KIND */
    struct slice name;       /* empty: all of them */
};

/* In the run's arena. */
struct targets {
    struct target *p;
    size_t n;
};

/* false and err: a word that is no kind (with what was probably meant). "all" is every kind. */
bool targets_parse(struct targets *t, struct cli *c, const struct slice *words, size_t n,
                   struct err *err);
/* "virtualservices", "proxies", "members". */
const char *target_word(const struct target *t);

/* GET of a collection with the run's selector, all pages of it: a list of objects, or a Table. ns
 * empty: of all namespaces. NULL and err. */
json_t *target_list(struct cli *c, const struct kind *k, struct slice ns, enum client_form form,
                    struct err *err);
/* Sets c->read_query from --consistency, --max-staleness and a revision ("@41"; empty = none). */
bool target_read_query(struct cli *c, struct slice at, struct err *err);
/* Takes "@41" from the end of the words; empty when it is not there. false and err: "@x". */
bool target_revision(const struct slice *words, size_t *n, struct slice *ret_at, struct err *err);
/* Path of a collection with -l in its query, which is never empty: "…?limit=500". */
struct slice target_list_path(struct cli *c, const struct kind *k, struct slice ns);

#endif
