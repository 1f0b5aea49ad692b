/* The part of kubectl's JSONPath that scripts use. Pure but for printing.
 *
 *   {.metadata.name}  {.items[*].metadata.name}  {.items[0]}  {range .items[*]}{.kind}{"\n"}{end}
 *   {.metadata.annotations['a\.b/c']}  {"text"}  and text outside of braces.
 */
#ifndef WEFT_CLI_JSONPATH_H
#define WEFT_CLI_JSONPATH_H

#include <jansson.h>
#include <stdio.h>

#include "base/core/err.h"
#include "base/core/mem.h"

#define JSONPATH_RANGE_DEPTH_MAX 8

/* Strings as they are, other scalars and containers as JSON; several values with a space between.
 * What is not there prints nothing. false and err (ERR_INVALID) for a template that cannot be read.
 */
bool jsonpath_print(const json_t *value, struct slice format, FILE *out, struct err *err);
/* Orders a list in place by what stands at a path (".metadata.name", "{.spec.host}"), numbers by
 * value, the rest bytewise; stable, what is not there first. prefix ("object.") goes in front of
 * the path. */
bool jsonpath_sort(json_t *list, const char *prefix, struct slice path, struct arena *scratch,
                   struct err *err);

#endif
