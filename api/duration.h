/* Durations as users write them: Go's grammar ("1h30m", "1.5s", "300ms"), which Istio and CEL take.
 */
#ifndef WEFT_API_DURATION_H
#define WEFT_API_DURATION_H

#include "base/core/slice.h"

/* Nanoseconds; false for anything else, also what does not fit 64 bits. "0" needs no unit. */
bool duration_parse(struct slice s, int64_t *ret_ns);
/* Milliseconds, rounded up, of a valid duration; `otherwise` when it is empty or not valid. */
wf_ms duration_ms(struct slice s, wf_ms otherwise);

#endif
