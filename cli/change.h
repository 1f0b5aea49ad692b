/* Changes: many objects in one call; what came of it; and the wait until it is live. Shared by
 * apply, create, delete, diff and wait.
 *
 * apply and create are one batch, which is one revision or nothing. A deletion is as many requests
 * as it takes: batches of CLI_DELETE_PART_OBJECTS_MAX, then each namespace by itself, which takes
 * along what lives in it. It ends at the first refusal; what was deleted before stays deleted. */
#ifndef WEFT_CLI_CHANGE_H
#define WEFT_CLI_CHANGE_H

#include "cli/context.h"
#include "cli/manifest.h"

/* Makes the change of a manifest, waits for its last revision if so wished, and prints what came of
 * it: with -o json and yaml one value, as if it had been one batch (without "revision" when a
 * namespace was the last: that answer does not say it). verb: "apply", "create" or "delete". More
 * than CLI_CHANGE_OBJECTS_MAX to apply or create are refused before anything is sent. Returns the
 * exit code. */
int change_run(struct cli *c, const struct manifest *m, const char *verb);
/* A dry run in one batch; *ret_answer is its answer, with "object" in each item. false: reported on
 * err, and *ret_code is the exit code. */
bool change_preview(struct cli *c, const struct manifest *m, const char *verb, json_t **ret_answer,
                    int *ret_code);
/* Waits until the revision (0 = the newest) is live. With a word says "word @41, live on 6/6 in 12
 * ms". m (may be NULL), the whole of it, finds the line of a rejected object. Returns the exit
 * code; *ret_answer (may be NULL) is the server's answer. */
int change_wait(struct cli *c, uint64_t revision, wf_ms timeout, const char *word,
                const struct manifest *m, json_t **ret_answer);

#endif
