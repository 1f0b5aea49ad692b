/* What weftd does to a data directory while no node runs on it. Each returns the exit code. */
#ifndef WEFT_WEFTD_OFFLINE_H
#define WEFT_WEFTD_OFFLINE_H

#include "registry/node.h"

struct offline_options {
    struct reg_node_options node; /* as the node is started */
    const char *from;             /* the snapshot file */
    const char *to; /* the snapshot file that a recovery writes; NULL = in the directory */
    uint64_t above;
    bool yes; /* a recovery that only says what it would do otherwise */
};

/* weftd restore */
int weftd_restore_run(const struct offline_options *o);
/* weftd recover */
int weftd_recover_run(const struct offline_options *o);

#endif
