/* What analysis has read of the state: shared by the files of api/analyze*.c only. */
#ifndef WEFT_API_ANALYZE_STATE_H
#define WEFT_API_ANALYZE_STATE_H

#include "api/analyze.h"
#include "api/check.h"

/* A DestinationRule that the namespace sees. */
struct analyze_rule {
    struct slice ns, name, host; /* host in full, may be a wildcard */
    struct slice *subsets;
    size_t subset_count;
};

struct analysis {
    struct check check; /* check.ctx is this */
    const struct analyze_lookup *lookup;
    struct slice ns; /* of the object */
    struct arena arena;
    bool rules_read, hosts_read;
    VEC(struct analyze_rule) rules;
    VEC(struct slice) entry_hosts; /* of ServiceEntries that the namespace sees */
};

struct analysis *analysis_of(struct check *c);
/* The Service of a full host name, when the host is of the cluster's domain; *ret_ns and *ret_name
 * say which it would be. */
bool analysis_service_name(struct slice full_host, struct slice *ret_ns, struct slice *ret_name);
/* A Service or a ServiceEntry has the host. */
bool analysis_host_known(struct analysis *a, struct slice full_host);
/* A Service of the namespace whose name is near, or the empty slice. */
struct slice analysis_near_service(struct analysis *a, struct slice ns, struct slice name);
/* Rules for a host: the most specific ones. Returns their number; *ret_first points at the first in
 * key order; with `subset`, *ret_found says whether one of them defines it. */
size_t analysis_rules(struct analysis *a, struct slice full_host, struct slice subset,
                      const struct analyze_rule **ret_first, bool *ret_found);

#endif
