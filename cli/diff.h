/* Differences of two texts, line by line, as diff -u writes them. Pure.
 *
 *   struct buf out = {0};
 *   if (diff_unified(&out, was, is, S("a/vs"), S("b/vs"))) …they differ
 *
 * Myers' O(ND) search for the shortest edit; texts that differ in more than CLI_DIFF_EDITS_MAX
 * lines are shown as replaced from the first difference to the last.
 */
#ifndef WEFT_CLI_DIFF_H
#define WEFT_CLI_DIFF_H

#include "base/core/mem.h"

#define DIFF_CONTEXT 3 /* equal lines around a change */

/* false, nothing appended: they are equal. */
bool diff_unified(struct buf *out, struct slice was, struct slice is, struct slice was_name,
                  struct slice is_name);

#endif
