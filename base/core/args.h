/* Flags of a daemon: what is wrong with one is said on standard error, with the program's name, and
 * ends the process with status 64 (EX_USAGE). For main files, before anything has begun.
 *
 *   o.workers = args_number("--workers", optarg, 1, 64);
 */
#ifndef WEFT_BASE_CORE_ARGS_H
#define WEFT_BASE_CORE_ARGS_H

#include "base/core/slice.h"

_Noreturn void args_refuse(const char *flag, const char *why);
/* A decimal number from min to max. */
uint64_t args_number(const char *flag, const char *arg, uint64_t min, uint64_t max);
/* Checks a name that stands in ids, logs and metrics: 1 to max letters, digits, - _ and dots. */
void args_name(const char *flag, struct slice name, size_t max);

#endif
