/* JSON text to a jansson tree, the fast way for what is common: a fifth of jansson's own time. It
 * takes no text that jansson would not take, and gives the same tree; it gives up (NULL) on all
 * that is malformed and on some rare things that are not. json_parse then asks jansson, who knows
 * why. Internal to base/wire; json_fuzz compares the two. */
#ifndef WEFT_BASE_WIRE_JSON_TREE_H
#define WEFT_BASE_WIRE_JSON_TREE_H

#include <jansson.h>

#include "base/core/slice.h"

json_t *json_tree_read(struct slice text, size_t depth_max);

#endif
