/* The Kubernetes Status object, and conditions in an object's status. Pure builders of jansson
 * trees.
 *
 *   json_t *s = status_of_err(&err, &(struct status_details){.name = name, .kind = S("services")});
 */
#ifndef WEFT_API_STATUS_H
#define WEFT_API_STATUS_H

#include "api/kind.h"

struct status_details {
    struct slice name, group, kind; /* kind: the plural, as Kubernetes has it here */
};

/* Failure: code and reason from the table of err.h. New reference. */
json_t *status_of_err(const struct err *err, const struct status_details *details);
/* 422 Invalid, a cause for each error of the report. */
json_t *status_of_report(const struct kind *k, struct slice name, const struct kind_report *report);
/* Success, as a deletion answers. */
json_t *status_success(const struct status_details *details);

struct condition {
    const char *type, *status, *reason; /* status: "True", "False", "Unknown" */
    struct slice message;
    int64_t observed_generation; /* 0 = leave out */
    int64_t wall_ms;             /* lastTransitionTime moves only when status changes */
};

/* Sets the condition of that type in object.status.conditions. true when anything changed. */
bool condition_set(json_t *object, const struct condition *c);
/* The condition of that type, or NULL. */
const json_t *condition_get(const json_t *object, const char *type);

/* The revision of what an object says: that of its last write, mod_rev, but for writes of its
 * status alone. These name it: "Distributed: 8/8 @41" for the generation that the object has means
 * that it was written at 41, and nothing but status since. Whoever saw 41 and whoever starts later
 * then agree. */
uint64_t status_said_at(const json_t *object, uint64_t mod_rev);

/* RFC 3339 in UTC, to the second, into dst. */
#define STATUS_TIME_BYTES 32
const char *status_time(int64_t wall_ms, char dst[STATUS_TIME_BYTES]);

#endif
