/* Completion: the shells' scripts ask `weft __complete WORD…`, and the command table answers. */
#ifndef WEFT_CLI_COMPLETE_H
#define WEFT_CLI_COMPLETE_H

#include "base/core/mem.h"
#include "cli/flags.h"

#define COMPLETE_CANDIDATES_MAX 2000

enum complete_need {
    COMPLETE_DONE,    /* the candidates are all */
    COMPLETE_FILES,   /* the shell's own completion of files */
    COMPLETE_OBJECTS, /* names of a kind, from the control plane */
    COMPLETE_PROXIES,
    COMPLETE_NAMESPACES,
};

struct complete {
    VEC(struct slice)
    candidates; /* borrowed from the tables or the arena; prefix already matched */
    enum complete_need need;
    struct slice kind;   /* of COMPLETE_OBJECTS */
    struct slice prefix; /* what the names must begin with */
    struct slice before; /* goes in front of each name: "--output=", "vs/" */
};

/* words: the words behind "weft", the last one is being written (and may be empty). Pure. */
void complete_words(struct complete *out, struct arena *arena, size_t n, const struct slice *words);
void complete_fini(struct complete *out);

#endif
