/* The API client: one call at a time, blocking, by turning the env's loop.
 *
 *   const struct client_options o = {.env = env, .addrs = S("n1:7443,n2:7443")};
 *   struct client *cl = client_new(&o, &err);
 *   json_t *vs = NULL;
 *   if (!client_get(cl, S("/apis/networking.istio.io/v1/…"), CLIENT_OBJECT, &vs, &err)) …
 *
 * Fail-over: the addresses are tried in order until one takes the connection; what is safe to send
 * again, or was surely not done (503), goes to the next address at once. The address that answered
 * is asked first from then on.
 */
#ifndef WEFT_CLI_CLIENT_H
#define WEFT_CLI_CLIENT_H

#include <jansson.h>

#include "base/env/env.h"

struct client;

struct client_options {
    struct env *env;
    struct slice addrs; /* "host:port,…": numbers or names; a missing port is 7443 */
    wf_ms timeout;      /* of one request */
    struct slice agent; /* User-Agent; borrowed */
    void (*on_warning)(void *ctx, struct slice text); /* a Warning header's text, each once */
    void *ctx;
};

/* NULL and err (ERR_INVALID): an address that cannot be read or resolved. */
struct client *client_new(const struct client_options *opt, struct err *err);
void client_free(struct client *cl);

size_t client_address_count(const struct client *cl);
/* The next call asks another node first. */
void client_next_address(struct client *cl);

enum client_form { CLIENT_OBJECT, CLIENT_TABLE };

struct client_request {
    struct slice method, path;
    const json_t *body;        /* NULL = none */
    struct slice content_type; /* of the body; empty = application/json */
    enum client_form form;
    bool repeatable; /* doing it twice is doing it once: sent again when the answer is lost */
    /* Idempotency-Key: makes it so; also sent again when a node does not know what came of it. */
    struct slice key;
    bool quiet;      /* Warning headers are repeated in the body: do not report them */
    bool any_status; /* an answer of 504 is an answer too (weft's wait) */
    wf_ms timeout;   /* 0 = the client's */
};

struct client_answer {
    int status;
    json_t *body; /* the caller's; NULL when the answer had none */
};

/* false and err for what is no 2xx: the message of the Status, its code by HTTP status
 * (ERR_UNAVAILABLE: no node answers or none can; ERR_UNKNOWN_OUTCOME: it may have been done). */
bool client_call(struct client *cl, const struct client_request *r, struct client_answer *ret,
                 struct err *err);
bool client_get(struct client *cl, struct slice path, enum client_form form, json_t **ret_body,
                struct err *err);
/* The Status of the last call that failed with one, borrowed until the next call; or NULL. */
const json_t *client_status(const struct client *cl);
/* Did the last call come to any node? If not, it has surely done nothing. */
bool client_reached(const struct client *cl);

/* A long answer as it comes: each piece goes to fn; false and its err end it. A node that does not
 * answer, or answers 503 or 507, is passed over; what has begun to come is not begun again. */
struct client_download {
    struct slice path;
    wf_ms timeout; /* until it begins */
    bool (*fn)(void *ctx, struct slice bytes, struct err *err);
    void *ctx;
};
bool client_download(struct client *cl, const struct client_download *d, struct err *err);

/* Called for each event of a watch ({type, object}, borrowed); false ends it. */
typedef bool (*client_event_fn)(void *ctx, const json_t *event);

struct client_watch {
    struct slice path;     /* with "?watch=1&…" but without resourceVersion */
    struct slice revision; /* events behind it */
    enum client_form form;
    wf_ms timeout; /* of all; 0 = none */
    client_event_fn fn;
    void *ctx;
};

/* Until fn ends it (true) or it fails: ERR_TIMEOUT, ERR_GONE (the window has passed), … A
 * connection that breaks is taken up on the next node, behind the last event. */
bool client_watch(struct client *cl, const struct client_watch *w, struct err *err);

#endif
