/* One subscription: what a client asked for of one type, what it holds, and what is due to it. The
 * same for SotW and delta; the session (session.h) decides when a due thing may go.
 *
 * What the client holds is told against `base`, the newest list of the view:
 *
 *   complete   it holds everything of base that it asked for, but for the deviations
 *   else       the same up to the name `sent_to`, and nothing behind it
 *
 * So a client in sync costs a reference to a list that all share. A deviation is one name:
 *
 *   ASK       to be answered whatever the client holds (D4, D5, D6)
 *   HAS       it holds `version`, or nothing (version zero), and base says otherwise
 *   SUSPECT   was part of a response that was rejected: goes again, in smaller company (D11)
 *   REJECTED  the client rejected exactly this; nothing goes until base changes (S4)
 */
#ifndef WEFT_PILOT_ADS_SUB_H
#define WEFT_PILOT_ADS_SUB_H

#include "base/core/sm.h"
#include "pilot/ads/request.h"
#include "pilot/ads/response.h"

/*
 *            first view            make
 *   WAITING ------------> IDLE <--------- SENT
 *                          |  \    ACK     ^ |
 *                          |   '-----------' | NACK
 *                          '<---- REJECTED <-'
 *                                 (make: SENT)
 */
enum ads_sub_state {
    ADS_SUB_WAITING,  /* no view yet, or this replica is behind what the client knows */
    ADS_SUB_IDLE,     /* nothing un-ACKed */
    ADS_SUB_SENT,     /* one response un-ACKed */
    ADS_SUB_REJECTED, /* as IDLE; the client holds out against something */
};
extern const struct sm_table ads_sub_table;

enum ads_dev_kind { ADS_DEV_ASK, ADS_DEV_HAS, ADS_DEV_SUSPECT, ADS_DEV_REJECTED };

struct ads_dev {
    struct ads_name *name;
    struct ads_name *error;   /* REJECTED: the client's message */
    struct xds_resource *old; /* HAS: what the client holds, if it came from us. REJECTED: that */
    struct xds_version version;
    reg_rev since; /* oldest change that is not with the client because of this */
    uint8_t kind;
    bool present; /* base has the name */
};

/* What all subscriptions of a session share. */
struct ads_cx {
    struct ads_names *names;
    enum xds_variant variant;
    enum proxy_dialect dialect;
};

/* A version that the client reported before there was a view to compare it with. */
struct ads_reported {
    struct ads_name *name;
    struct xds_version version;
};

struct ads_sub {
    const struct ads_cx *cx;
    const struct xds_type_info *type; /* NULL: not served */
    struct ads_name *url;             /* then its URL */
    struct sm sm;
    bool wildcard;
    bool named;    /* SotW: a name was given once */
    bool answered; /* a response was sent on this stream */
    bool complete;
    bool crossed;       /* names were given up while a response was under way */
    bool suspects_last; /* the last response was of suspects */
    uint32_t batch_max; /* suspects in one response; 0: no bound yet */
    struct ads_nameset names;
    struct ads_nameset globs; /* prefixes: "80/" for a subscription to all below 80/ */
    struct xds_list *base;
    struct ads_name *sent_to;
    VEC(struct ads_dev) devs;            /* sorted by name */
    VEC(struct ads_reported) reported;   /* sorted by name; WAITING only */
    struct xds_version reported_version; /* SotW */
    struct ads_response *inflight;
    char nonce[ADS_NONCE_TEXT]; /* last sent; empty: none */
    reg_rev evaluated;          /* snapshot that base is of */
    reg_rev news_since;         /* oldest revision that it may have brought */
    reg_rev sent, acked;        /* snapshot of the last response sent, acknowledged */
    struct ads_name *error;     /* message of the last NACK, until the next ACK */
    uint32_t pushes, acks, nacks;

    /* The session's. */
    wf_ms updates_held_at, removals_held_at; /* since when something due is held; 0: not */
    wf_ms grace_until;                       /* no removals before; 0: none */
    wf_ms catch_up_until;
    reg_rev catch_up; /* highest revision that the client knows of */
};

void ads_sub_init(struct ads_sub *sub, const struct ads_cx *cx, const struct xds_type_info *type,
                  struct slice url);
void ads_sub_fini(struct ads_sub *sub);
struct slice ads_sub_type_url(const struct ads_sub *sub);

/* The subscription part of a request (S6, D2, D3 and the wildcard table). first: of this type on
 * this stream. false: over ADS_NAMES_MAX or ADS_GLOBS_MAX. */
bool ads_sub_request(struct ads_sub *sub, const struct ads_request *req, bool first);
/* A new list of the view (NULL = empty) at a snapshot's revision. The first one takes the
 * subscription out of WAITING. */
void ads_sub_advance(struct ads_sub *sub, struct xds_list *list, reg_rev revision);
/* The name must be sent even if it did not change (a cluster that refers to it did). */
void ads_sub_force(struct ads_sub *sub, struct slice name);
bool ads_sub_covers(const struct ads_sub *sub, struct slice name);

enum ads_due {
    ADS_DUE_UPDATE = 1, /* new content, or an answer */
    ADS_DUE_REMOVE = 2, /* something that the client holds is gone */
};
unsigned ads_sub_due(const struct ads_sub *sub);

/* Called for each cluster that a response adds or changes, with the EDS name that must follow. */
typedef void ads_follow_fn(void *ctx, struct slice name);

/* A response of what is due and allowed, or NULL when that is nothing. Not while one is un-ACKed.
 * From now on it counts as held by the client; one reference is the subscription's, one the
 * caller's. The caller fills in nonce through ads_sub_sent. */
struct ads_response *ads_sub_make(struct ads_sub *sub, unsigned allowed, ads_follow_fn *follow,
                                  void *ctx);

/* Is it the nonce of the response that is un-ACKed? */
bool ads_sub_nonce_current(const struct ads_sub *sub, struct slice nonce);
void ads_sub_ack(struct ads_sub *sub);
/* rejected(ctx, r, …) for each resource that is known to be what was rejected. Returns how many. */
size_t ads_sub_nack(struct ads_sub *sub, struct slice error,
                    void (*rejected)(void *ctx, struct xds_resource *r), void *ctx);

/* Everything at and before this revision that concerns the subscription is acknowledged. */
reg_rev ads_sub_converged(const struct ads_sub *sub);
/* The same, where a rejection counts as an answer: nothing more will come of waiting. */
reg_rev ads_sub_settled(const struct ads_sub *sub);

/* Who has what. */

enum ads_config_status { ADS_SYNCED, ADS_NOT_SENT, ADS_STALE, ADS_ERROR };
struct ads_config {
    enum ads_config_status status; /* STALE: sent, or due, and not yet acknowledged */
    struct slice name;
    struct xds_version version;    /* of base; of what the client holds if that has none */
    struct xds_resource *resource; /* borrowed; may be NULL */
    struct slice error;            /* ERROR: the client's message */
};
/* In the order of names. */
void ads_sub_each(const struct ads_sub *sub, void (*fn)(void *ctx, const struct ads_config *c),
                  void *ctx);

#endif
