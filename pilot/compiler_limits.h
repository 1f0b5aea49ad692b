/* The named bounds of the compiler. */
#ifndef WEFT_PILOT_COMPILER_LIMITS_H
#define WEFT_PILOT_COMPILER_LIMITS_H

/* A class without sessions is kept so long: a proxy that reconnects costs nothing. */
#define COMPILER_CLASS_IDLE_MS 60000
/* Between two builds for changes: more than any proxy wants, and a stream of writes
 * must not cost a wake-up of this thread, and of every worker behind it, for each of them. */
#define COMPILER_PAUSE_MS 5
#define COMPILER_SWEEP_MS 15000
#define COMPILER_SWEEP_MAX 256 /* classes forgotten at one time */

#endif
