/* What an object breaks or leaves dangling, seen against the rest of the state: the checks that one
 * object alone cannot answer. Pure but for the reads that the caller lends.
 *
 *   struct analyze_lookup l = {.ctx = txn, .get = get, .each = each};
 *   kind_analyze(k, next, &l, &report);        after kind_validate(), into the same report
 *
 * Codes are Istio's numbers (IST0101 is WFT0101 here); each message names the object, says why, and
 * the way out. An error is given only for what breaks
 * traffic by this very change:
 *
 *   WFT0173 error    a route's subset is in none of the DestinationRules that its host has
 *   WFT0101 warning  host, gateway, port or subset that nothing defines (yet)
 *   WFT0109 warning  another VirtualService has the host for the mesh: the older one counts
 *   WFT0111 warning  a second Sidecar without selector in the namespace
 *   WFT0112 warning  a destination of a service with several ports names none
 *   WFT0132 warning  the gateway does not serve the host
 *   WFT0173 warning  a DestinationRule drops a subset that routes use (a warning, so that two files
 *                    that rename a subset can be applied one after the other)
 *   WFT0174 warning  a DestinationRule for a host that is unknown
 */
#ifndef WEFT_API_ANALYZE_H
#define WEFT_API_ANALYZE_H

#include "api/kind.h"

#define ANALYZE_OBJECTS_MAX 50000 /* of a kind; what is beyond is not looked at */
#define ANALYZE_NEEDLES_MAX 16
#define ANALYZE_DOMAIN "svc.cluster.local"

/* What an object must mention in its JSON to be of interest: any of the needles; none = every
 * object is. A reader that holds text skips the others before it parses them; one that holds trees
 * may ignore it. */
struct analyze_hint {
    struct slice needles[ANALYZE_NEEDLES_MAX];
    size_t count;
};
bool analyze_hint_matches(const struct analyze_hint *hint, struct slice json);

struct analyze_lookup {
    void *ctx;
    /* The object, borrowed until the next get or each; NULL when there is none. */
    const json_t *(*get)(void *ctx, enum kind_id kind, struct slice ns, struct slice name);
    /* fn for each object of a kind, in one namespace or (ns empty) in all, in key order, until fn
     * returns false; objects are borrowed for the call. Both see the objects of the same batch as
     * they will be. */
    void (*each)(void *ctx, enum kind_id kind, struct slice ns, const struct analyze_hint *hint,
                 bool (*fn)(void *arg, const json_t *object), void *arg);
};

/* One object. object: as it would be stored, with metadata.namespace. Returns false when it added
 * an error. */
bool kind_analyze(const struct kind *k, const json_t *object, const struct analyze_lookup *lookup,
                  struct kind_report *report);

/* Many objects against one state: it is read once, so that a batch of n costs n and not n times the
 * state. */
struct analyzer;
struct analyzer *analyzer_new(const struct analyze_lookup *lookup);
bool analyzer_object(struct analyzer *a, const struct kind *k, const json_t *object,
                     struct kind_report *report);
void analyzer_free(struct analyzer *a);

/* "reviews" in a namespace is reviews.NS.svc.cluster.local; names with dots stay. In the arena or
 * host itself. */
struct slice analyze_full_host(struct slice host, struct slice ns, struct arena *arena);

#endif
