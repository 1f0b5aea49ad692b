/* What the files api*.c share: clients of the API, on a machine of their own, over HTTP. */
#ifndef WEFT_REGISTRY_SIM_API_H
#define WEFT_REGISTRY_SIM_API_H

#include "base/net/http_client.h"
#include "registry/sim/run.h"

struct api_world;
struct api_op;

struct api_client {
    struct api_world *world;
    size_t index, home;
    struct sim_event tick, cancel;
    struct api_op *op;    /* under way, or the last */
    const char *wants_ns; /* a write was refused for want of it */
};

/*  NEW ──list──▶ LISTING ──▶ LISTED ──watch──▶ OPENING ──▶ FOLLOWS ──▶ broken: LISTED, 410: NEW
 *   └──watch with initial events──▶ OPENING ──▶ FILLS ──▶ FOLLOWS                            */
enum api_watch_state { AW_NEW, AW_LISTING, AW_LISTED, AW_OPENING, AW_FILLS, AW_FOLLOWS };

/* An object as a watch that begins with what there is was told of it. */
struct api_held {
    struct slice key;
    reg_rev rev;
};

struct api_watcher {
    struct api_world *world;
    size_t index, home;
    struct sim_event tick;
    enum api_watch_state state;
    struct http_call *call;
    bool fills;  /* OPENING: it will begin with what there is */
    bool resume; /* nothing has come since it went on: the first revision may come once more */
    bool paused; /* it does not read */
    int status;
    reg_rev cursor; /* the newest resourceVersion that it was told */
    size_t next;    /* in the oracle's api_events: what it has not seen */
    struct slice prefix;
    char path[96];
    struct buf in; /* of the world */
    VEC(struct api_held) held;
};

struct api_world {
    struct run *run;
    struct sim_host *host;
    struct http_client *http; /* of its process; NULL while that does not run */
    struct sim_event restart;
    struct api_client client[RUN_API_CLIENTS_MAX];
    struct api_watcher watcher[RUN_API_WATCHERS_MAX];
    size_t torn; /* connections with a part of a request */
    /* The lists of all members at the end. */
    size_t checks;
    bool checked[RUN_MEMBERS_MAX];
};

/* The collection in a namespace (NULL: in all): its path, and the prefix of its keys. */
struct slice api_path(const char *ns, char dst[96]);
struct slice api_prefix_of(const char *ns);
/* A namespace, or all (NULL). */
const char *api_ns_pick(struct api_world *w, bool all);
/* Of the answer; 0 = it has none. */
reg_rev api_revision(const struct http_response *r);
/* false, and a violation: the model says something else. what: of the question. */
bool api_same(struct run *run, const char *what, struct slice got, struct slice want);
/* The answer to a list at the revision that it says. */
void api_check_list(struct run *run, const struct http_response *r, struct slice prefix,
                    struct slice after, size_t limit, const char *what);
/* How a call to member i begins; the rest is the caller's. */
struct http_call_options api_call_to(struct api_world *w, size_t i, struct env_addr *addr);
/* Mostly the home; another now and then, and when it does not serve. */
size_t api_member_pick(struct api_world *w, size_t *home);

/* api_client.c */
void api_client_start(struct api_world *w, size_t i);
void api_client_lost(struct api_client *c); /* the machine is gone */
bool api_client_idle(const struct api_client *c);
void api_client_fini(struct api_client *c);
/* Within a turn of the machine: calls under way are given up. */
void api_client_leave(struct api_client *c);

/* api_torn.c: a request of which only a part arrives. In a turn of the machine. */
void api_torn_send(struct api_world *w, const struct env_addr *to, struct slice part);

/* api_watcher.c */
void api_watcher_start(struct api_world *w, size_t i);
void api_watcher_lost(struct api_watcher *a);
bool api_watcher_settled(struct api_watcher *a);
void api_watcher_fini(struct api_watcher *a);
void api_watcher_leave(struct api_watcher *a);

#endif
