/* What a YAML scalar means, and which strings may stand plain: shared by yaml.c (reading) and
 * yaml_write.c (writing), so that what is written reads back as it was. */
#ifndef WEFT_BASE_WIRE_YAML_SCALAR_H
#define WEFT_BASE_WIRE_YAML_SCALAR_H

#include "base/wire/json.h"

/* The value of a scalar: with `plain` by YAML 1.1's core types as sigs.k8s.io/yaml resolves them,
 * with a tag (tag:yaml.org,2002:…; empty = none) by that, else a string. NULL: not a value of its
 * tag, an unknown tag, infinity or not-a-number (JSON has none), a string that is not UTF-8. */
json_t *yaml_scalar_json(struct slice text, struct slice tag, bool plain);
/* The text, plain, would be read as something other than a string, or older parsers would: numbers
 * in base 60 (12:30), dates. */
bool yaml_scalar_needs_quotes(struct slice text);

#endif
