/* A DiscoveryRequest or DeltaDiscoveryRequest as the session reads it. Parsed from the wire without
 * copies: a request of a reconnect holds a hundred thousand names.
 *
 *   struct ads_request req;
 *   if (!ads_request_parse(message, XDS_DELTA, &arena, &req, &err)) close INVALID_ARGUMENT
 */
#ifndef WEFT_PILOT_ADS_REQUEST_H
#define WEFT_PILOT_ADS_REQUEST_H

#include "pilot/ads/node.h"

struct ads_initial {
    struct slice name, version;
};

struct ads_request {
    const struct ads_node *node; /* NULL: the message has none */
    struct slice type_url;       /* may be empty on a stream of one type */
    struct slice nonce;          /* empty: no ACK or NACK */
    bool nack;                   /* error_detail is present (S4) */
    struct slice error;          /* its message, cut to ADS_ERROR_BYTES_MAX */
    int error_code;

    /* SotW: all names wanted. Delta: resource_names_subscribe. */
    const struct slice *names;
    size_t name_count;
    /* SotW */
    struct slice version;
    /* Delta */
    const struct slice *unsubscribe;
    size_t unsubscribe_count;
    const struct ads_initial *initial; /* initial_resource_versions */
    size_t initial_count;
};

/* Strings are borrowed from `wire`, arrays and the node from the arena. ERR_INVALID: not a message
 * of this type (cut short, wrong wire type, not UTF-8); ERR_LIMIT: over a bound of ads_limits.h. */
bool ads_request_parse(struct slice wire, enum xds_variant variant, struct arena *arena,
                       struct ads_request *ret_request, struct err *err);

#endif
