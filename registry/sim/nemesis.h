/* What may go wrong in a run. Each run draws a weight for each; 0 = not in this run. */
#ifndef WEFT_REGISTRY_SIM_NEMESIS_H
#define WEFT_REGISTRY_SIM_NEMESIS_H

enum fault {
    FAULT_KILL,        /* a process, restarted later */
    FAULT_POWER,       /* a machine: unsynced writes are lost or torn */
    FAULT_POWER_ALL,   /* all machines at once */
    FAULT_PAUSE,       /* SIGSTOP for a while */
    FAULT_STOP,        /* an end in order: a leader hands over */
    FAULT_WIPE,        /* a new disk */
    FAULT_ROT,         /* a bit of a file is flipped, or a file is cut or gone */
    FAULT_CUT_ONE_WAY, /* from one node to another */
    FAULT_CUT_PAIR,    /* both ways: non-transitive */
    FAULT_ISOLATE,     /* one node, or the leader */
    FAULT_HALVES,      /* two groups */
    FAULT_RESET,       /* connections break */
    FAULT_SLOW_NET,    /* latency of some links */
    FAULT_SLOW_DISK,   /* of one node */
    FAULT_BAD_DISK,    /* a sync fails */
    FAULT_FULL_DISK,   /* somebody else fills it: there is less than is wanted */
    FAULT_MEMBERS,     /* the operator adds, removes or moves (operator.c) */
    FAULT_PROGRAM,     /* a node is upgraded, or goes back to the program before */
    FAULT_CLOCK,       /* drift, wall clock jumps */
    FAULT_API,         /* what lies between clients of the API and the nodes (api.c) */
    FAULT_HEAL,        /* everything that is cut or slow */
    FAULT_COUNT,
};

const char *fault_name(enum fault f);

#endif
