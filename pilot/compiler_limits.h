/* The named bounds of the compiler. */
#ifndef WEFT_PILOT_COMPILER_LIMITS_H
#define WEFT_PILOT_COMPILER_LIMITS_H

/* A class without sessions is kept so long: a proxy that reconnects costs nothing. */
#define COMPILER_CLASS_IDLE_MS 60000
#define COMPILER_SWEEP_MS 15000
#define COMPILER_SWEEP_MAX 256 /* classes forgotten at one time */

#endif
