/* Names of endpoints, resolved aside: the loop never waits for a resolver.
 *
 *   struct dns_name *d = dns_name_new(env, S("api.example.com"), 443, on_idle, ctx);
 *   switch (dns_lookup(d, &wait)) {
 *   case DNS_READY:  connect to dns_next(d)
 *   case DNS_WAIT:   wait.fn is called later
 *   case DNS_FAILED: the name has just been asked for, in vain
 *   }
 *
 * Answers are used for DNS_FRESH_MS, and longer while the resolver does not answer: an address that
 * worked is better than none. Failures are remembered for DNS_FAILED_MS.
 */
#ifndef WEFT_PROXY_DNS_H
#define WEFT_PROXY_DNS_H

#include "base/env/env.h"

#define DNS_FRESH_MS 30000
#define DNS_FAILED_MS 1000
#define DNS_ADDRS_MAX 16 /* of one name; more are left out */
#define DNS_NAME_MAX 254

struct dns_name;

struct dns_wait {
    struct list_node node;
    void (*fn)(struct dns_wait *w, bool ok);
};

enum dns_result { DNS_READY, DNS_WAIT, DNS_FAILED };

/* NULL: the name is empty or too long. idle: a question has ended and its waiters have been told;
 * may free the name. */
struct dns_name *dns_name_new(struct env *env, struct slice host, uint16_t port,
                              void (*idle)(void *ctx), void *ctx);
/* Those who wait are forgotten; a question under way ends by itself. */
void dns_name_free(struct dns_name *d);
/* A question is under way. Whoever keeps the name until idle asks once for all that come meanwhile.
 */
bool dns_name_busy(const struct dns_name *d);
enum dns_result dns_lookup(struct dns_name *d, struct dns_wait *w);
/* Harmless on one that does not wait. */
void dns_wait_cancel(struct dns_wait *w);
/* The next of its addresses in turn. Only after DNS_READY, or in fn with ok. */
const struct env_addr *dns_next(struct dns_name *d);

#endif
