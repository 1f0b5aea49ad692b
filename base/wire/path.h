/* One canonical form of a request path, computed once per request and used by routing, policy,
 * logging and forwarding alike: where two of them see two paths, policy is bypassed.
 *
 *   struct path_options opt = {.merge_slashes = true};
 *   if (path_canonical(head->path, &opt, arena, &path) != PATH_OK) answer 400
 */
#ifndef WEFT_BASE_WIRE_PATH_H
#define WEFT_BASE_WIRE_PATH_H

#include "base/core/mem.h"
#include "base/core/slice.h"

enum path_result {
    PATH_OK,
    PATH_CHANGED, /* fine too: *ret differs from the input (a redirecting caller wants to know) */
    PATH_BAD_ESCAPE,    /* % without two hex digits */
    PATH_BAD_BYTE,      /* %00, a control byte, a fragment, not starting with */
    PATH_ESCAPES_ROOT,  /* more ".." than segments */
    PATH_ESCAPED_SLASH, /* %2F, %5C or \ where they are refused */
};

enum path_slashes {
    PATH_SLASHES_REJECT, /* %2F, %5C and \ are refused: the default */
    PATH_SLASHES_KEEP,   /* %2F and %5C stay escaped (upper-case hex); \ becomes %5C */
    PATH_SLASHES_DECODE, /* both become / before dot segments are removed */
};

struct path_options {
    enum path_slashes slashes;
    bool merge_slashes;
};

/* Path and optional query. Of the path: unreserved escapes are decoded, other escapes get
 * upper-case hex (RFC 3986 §6.2.2), dot segments are removed (§5.2.4), also when written as %2e;
 * the query is kept byte for byte. "*" passes. *ret is the input itself when nothing changes, else
 * in the arena. Idempotent: the canonical form of a canonical form is itself. */
enum path_result path_canonical(struct slice path, const struct path_options *opt,
                                struct arena *arena, struct slice *ret);
const char *path_result_name(enum path_result r);
/* Path without query, and the query without "?". */
void path_split(struct slice path, struct slice *ret_path, struct slice *ret_query);

#endif
