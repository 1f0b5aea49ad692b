/* A command line, parsed against the command table. Pure.
 *
 *   struct flags f;
 *   if (!flags_parse(&f, &arena, argc, argv, &err)) …usage…
 *   if (flags_on(&f, FLAG_WATCH)) …
 *
 * Everything is borrowed from argv.
 */
#ifndef WEFT_CLI_FLAGS_H
#define WEFT_CLI_FLAGS_H

#include "base/core/err.h"
#include "base/core/mem.h"
#include "cli/command.h"

struct flag_value {
    bool given, on; /* on: a switch that was not set to false, or any other flag that was given */
    struct slice text;   /* the last value; empty for a FLAG_MAYBE without one */
    struct slice *texts; /* of a FLAG_TEXTS, all of them */
    size_t text_count;
};

struct flags {
    const struct command *command; /* never NULL, also after a failure: whose help to show */
    struct flag_value values[FLAG_ID_COUNT];
    struct slice *words; /* without command and flags */
    size_t word_count;
};

/* false and err (ERR_INVALID) with a sentence for the user: an unknown command or flag, a value
 * that is missing or none of the choices, too few or too many words. -h stops the checks. */
bool flags_parse(struct flags *f, struct arena *arena, int argc, const char *const *argv,
                 struct err *err);
/* The same without checks of completeness, for completion: what could be understood. */
void flags_parse_loose(struct flags *f, struct arena *arena, size_t n, const struct slice *words);

bool flags_on(const struct flags *f, enum flag_id id);
/* The value, or `otherwise` when it was not given. */
struct slice flags_text(const struct flags *f, enum flag_id id, struct slice otherwise);
/* "10s", "1m30s", "500ms"; a bare number is seconds. false and err for anything else. */
bool flags_duration(const struct flags *f, enum flag_id id, wf_ms otherwise, wf_ms *ret_ms,
                    struct err *err);

#endif
