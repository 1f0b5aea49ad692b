/* Between the parts of the compiler: the door that workers use (compiler.c) and the builder's
 * thread (compiler_thread.c). */
#ifndef WEFT_PILOT_COMPILER_INTERNAL_H
#define WEFT_PILOT_COMPILER_INTERNAL_H

#include <pthread.h>

#include "base/core/list.h"
#include "base/core/map.h"
#include "base/env/env.h"
#include "pilot/compiler.h"

/* A class that a worker asked for. Made under the lock by any thread, freed by the builder alone
 * (or at the end), so the builder may keep the pointer. */
struct compiler_class {
    struct list_node node; /* in compiler.classes, by rising id */
    uint64_t id;
    unsigned sessions; /* under the lock */
    wf_ms idle_since;  /* builder; 0 = has sessions */
    struct slice key;  /* canonical bytes of the input */
    struct proxy_class_input in;
    struct arena arena; /* holds key and in */
};

struct builder;

struct compiler {
    pthread_mutex_t lock; /* of all but builder */
    struct map by_key;
    struct map by_id; /* key: the 8 bytes of the id */
    struct list classes;
    uint64_t last_id;
    struct xds_snapshot *snapshot;
    struct list watches;
    struct builder *builder;         /* NULL: manual; then there is nobody to call */
    void (*wake)(struct builder *b); /* any thread: asks for a turn */
    void (*stop)(struct builder *b); /* ends the thread, frees all */
};

void compiler_door_init(struct compiler *c);
void compiler_door_fini(struct compiler *c);
/* Under the lock: forgets a class. */
void compiler_class_remove(struct compiler *c, struct compiler_class *k);

#endif
