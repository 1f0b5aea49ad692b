/* A walk over an object that knows where it is and collects problems. Used by the schema and by the
 * rules of each kind.
 *
 *   static void check_port(struct check *c, const json_t *port) { check_invalid(c, "must be …"); }
 *   check_each(c, spec, "ports", check_port);          problems at spec.ports[0], spec.ports[1] …
 *
 * Helpers take values of any type: what the schema refuses is silently skipped here.
 */
#ifndef WEFT_API_CHECK_H
#define WEFT_API_CHECK_H

#include "api/kind.h"
#include "base/wire/json.h"

struct check {
    const struct kind *kind;
    const json_t *object, *old; /* old: NULL on create */
    struct kind_report *report;
    struct buf path; /* "spec.http[0]" */
    void *ctx;       /* of the caller */
};

typedef void check_fn(struct check *c, const json_t *value);

/* fn at object.key, when it is there. */
void check_field(struct check *c, const json_t *object, const char *key, check_fn *fn);
/* fn at each item of the list object.key. */
void check_each(struct check *c, const json_t *object, const char *key, check_fn *fn);
/* fn at each value of the map object.key, in byte order of keys; c->path ends in the key. */
void check_each_value(struct check *c, const json_t *object, const char *key, check_fn *fn);

/* Steps into a child by hand: at = check_enter(c, "name"); …; check_leave(c, at). */
size_t check_enter(struct check *c, const char *key);
size_t check_enter_key(struct check *c, struct slice key);
size_t check_enter_index(struct check *c, size_t index);
void check_leave(struct check *c, size_t at);

/* Problems at the path. The reasons are Kubernetes' causes (metav1.CauseType). */
void check_invalid(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void check_required(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void check_duplicate(struct check *c, struct slice value);
void check_unsupported(struct check *c, struct slice value, const char *const *supported);
void check_warn(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same at a child of the path ("port", "metadata.name"), which need not be there. */
void check_invalid_at(struct check *c, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void check_required_at(struct check *c, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void check_forbidden_at(struct check *c, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* How many of the keys the object has; the last of them in *ret_last when not NULL. */
size_t check_count(const json_t *object, const char *const *keys, const char **ret_last);
bool check_has(const json_t *object, const char *key);

#endif
