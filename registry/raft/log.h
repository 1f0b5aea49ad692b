/* The Raft log on disk: numbered segments of checked records, one sync for all appends of a turn.
 *
 *   struct log_contents c;
 *   struct log *log = log_open(&(struct log_options){…}, &c, &err);    reads and checks everything
 *   log_append(log, &a);                     a->fn when it is durable
 *   log_trim(log, checkpoint_index);         drops whole segments
 *
 * At most one group is being written at a time; what is appended meanwhile makes the next one. A
 * failed write ends the process (wf_die): nothing that follows a write of unknown outcome may be
 * believed (fsync is not repeatable), and the other nodes go on.
 */
#ifndef WEFT_REGISTRY_RAFT_LOG_H
#define WEFT_REGISTRY_RAFT_LOG_H

#include "base/core/metric.h"
#include "base/env/env.h"
#include "registry/raft/log_record.h"

/* What is measured; each may be NULL. */
struct log_cells {
    struct metric *sync;  /* seconds that a group took to be durable */
    struct metric *group; /* entries of a group */
};

struct log_options {
    struct env *env;
    const char *dir; /* made if absent; copied */
    uint64_t cluster, node;
    uint64_t segment_bytes; /* default LOG_SEGMENT_BYTES_DEFAULT */
    struct log_cells cells;
};

struct log_entry {
    uint64_t term;
    enum log_type type;
    struct slice payload; /* of mem.h's heap, which is libraft's too: slice_free by who has it */
};

/* What was found: entries first, first + 1, …; `first` is valid also without entries. Each payload
 * is a piece of the heap (slice_free): who takes it out leaves an empty one. */
struct log_contents {
    uint64_t first;
    VEC(struct log_entry) entries;
    bool no_segments;    /* no file of the log was there */
    uint64_t torn_bytes; /* of writes that nobody was told of; zeroed */
};
void log_contents_fini(struct log_contents *c);

/* ERR_CORRUPT: bytes that were acknowledged are damaged; the message names file and offset. The
 * node must not vote with what is left. */
struct log *log_open(const struct log_options *opt, struct log_contents *ret, struct err *err);
/* What is not yet durable is dropped without a call of fn: drain first (log_busy). */
void log_close(struct log *log);

struct log_append {
    struct list_node node;
    uint64_t first;                  /* index of entries[0] */
    const struct log_entry *entries; /* array and payloads are borrowed until the call returns */
    size_t n;
    void (*fn)(struct log_append *a); /* durable; in a later turn */
    struct buf bytes;                 /* the log's own, as well as what follows */
    struct log_record *records;
};

/* An entry whose index is not above the last one replaces it and everything behind. No gaps. */
void log_append(struct log *log, struct log_append *a);
/* Forgets everything: the log goes on behind (index, term), which a checkpoint holds. fn when this
 * is durable; older segments are gone then. */
void log_reset(struct log *log, uint64_t index, uint64_t term, struct log_append *a,
               void (*fn)(struct log_append *a));
/* Entries from `keep` on stay; older ones may go with their segment. */
void log_trim(struct log *log, uint64_t keep);

bool log_busy(const struct log *log);
/* Bytes of segments on disk. */
uint64_t log_disk_bytes(const struct log *log);
/* Bytes of records ever appended by this process: for a checkpoint after so much log. */
uint64_t log_appended_bytes(const struct log *log);

#endif
