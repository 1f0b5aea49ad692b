/* Regular expressions with RE2's syntax and linear time (xDS defines RegexMatcher on RE2).
 *
 *   struct regex *re = regex_new(S("/v[0-9]+/.*"), &err);
 *   if (regex_full_match(re, path)) …
 *
 * Immutable after creation; used from any thread.
 */
#ifndef WEFT_BASE_CORE_REGEX_H
#define WEFT_BASE_CORE_REGEX_H

#include "base/core/err.h"
#include "base/core/mem.h"

#define REGEX_PATTERN_BYTES_MAX 1024 /* Istio's own bound */

struct regex;

/* NULL and err (ERR_INVALID, RE2's reason) for a pattern that does not compile or is too big. */
struct regex *regex_new(struct slice pattern, struct err *err);
void regex_free(struct regex *re);
bool regex_full_match(const struct regex *re, struct slice text);
/* Appends the text with every match replaced; \1…\9 in the substitution name groups, \0 the match
 * (Envoy regex_rewrite). false, nothing appended: a group that is not there, or out is at its
 * limit. */
bool regex_replace_all(const struct regex *re, struct slice text, struct slice substitution,
                       struct buf *out);

#endif
