/* Where the log ended when it was last synced: a second witness of what was acknowledged. A log
 * whose last records are damaged or cut off looks like one whose last write was torn; this tells
 * the two apart. Written after each group without a sync of its own: it is right after the death
 * of a process, and at most old after a power cut. What is old points into the log, and is met
 * there; the start that met it writes what it found, so that damage from then on is seen. */
#ifndef WEFT_REGISTRY_RAFT_LOG_END_H
#define WEFT_REGISTRY_RAFT_LOG_END_H

#include "base/env/env.h"

struct log_end {
    uint64_t segment; /* 0 = not known */
    uint64_t chain;   /* of the last record (log_record.h) */
};

/* Missing or damaged: not known. */
struct log_end log_end_load(struct env *env, const char *dir);
/* Stores *end, durable. A disk that is too full for it leaves the old one. */
struct env_file *log_end_open(struct env *env, const char *dir, const struct log_end *end,
                              struct err *err);
/* What cannot be written is only missed: no error. */
void log_end_store(struct env_file *f, const struct log_end *end);

#endif
