/* One response: references to shared resources, and the bytes around them made while it is written.
 * Nothing of a resource is copied, however many sessions send it.
 */
#ifndef WEFT_PILOT_ADS_RESPONSE_H
#define WEFT_PILOT_ADS_RESPONSE_H

#include "pilot/ads/names.h"
#include "pilot/snapshot/snapshot.h"

#define ADS_NONCE_TEXT 24

struct ads_response {
    uint32_t refs;
    bool delta;
    const struct xds_type_info *type; /* NULL: a type that weft does not serve */
    struct ads_name *url;             /* then its type URL, else NULL */
    char nonce[ADS_NONCE_TEXT];
    struct xds_version version; /* SotW: version_info */
    reg_rev revision;           /* of the snapshot it was made from: delta's system_version_info */
    reg_rev since;              /* oldest change that it delivers; 0: it delivers none */
    /* items[0 .. due) are news; the rest is repeated because a SotW LDS or CDS response lists all
     * (S7). */
    VEC(struct xds_resource *) items;
    size_t due;
    VEC(struct ads_name *) removed; /* delta: removed_resources */
    VEC(struct ads_name *) missing; /* resource_errors, NOT_FOUND */
    size_t bytes;                   /* of the resources' bodies */
    wf_ms sent_at;
    struct ads_names *names; /* where removed, missing and url come from */
};

struct ads_response *ads_response_new(struct ads_names *names, bool delta);
struct ads_response *ads_response_ref(struct ads_response *r);
void ads_response_unref(struct ads_response *r); /* NULL is fine */
struct slice ads_response_type_url(const struct ads_response *r);
/* Each takes a reference. */
void ads_response_add(struct ads_response *r, struct xds_resource *res);
void ads_response_remove(struct ads_response *r, struct ads_name *name);
void ads_response_miss(struct ads_response *r, struct ads_name *name);

/* Bytes. */

/* Position in the encoding of a response. */
struct ads_encoder {
    struct ads_response *r;  /* borrowed */
    struct slice identifier; /* of ControlPlane; borrowed */
    size_t item;             /* next resource */
    size_t rest;             /* next piece behind the resources */
    struct buf head;         /* small bytes that were made and not yet taken */
    struct slice body;       /* rest of a shared body that follows head */
};

/* Bytes of the whole message. */
size_t ads_encoder_size(struct ads_response *r, struct slice identifier);
void ads_encoder_init(struct ads_encoder *e, struct ads_response *r, struct slice identifier);
/* Copies the next n bytes, which must be there. */
void ads_encoder_read(struct ads_encoder *e, char *dst, size_t n);
void ads_encoder_fini(struct ads_encoder *e);

#endif
