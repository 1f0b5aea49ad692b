/* What analysis has read of the state, as indexes by host: shared by the files of api/analyze*.c
 * only. */
#ifndef WEFT_API_ANALYZE_STATE_H
#define WEFT_API_ANALYZE_STATE_H

#include "api/analyze.h"
#include "api/check.h"
#include "base/core/map.h"

/* An object that says something about a host (or, in `sidecars`, about a namespace). */
struct analyze_item {
    struct analyze_item *next; /* of the same host, in key order */
    struct slice ns, name;     /* of the object */
    struct slice host;         /* in full, lower case; may be a wildcard */
    struct slice *export_to, *subsets;
    size_t export_count, subset_count;
};

struct analyze_list {
    struct analyze_item *first, *last;
};

/* Items by exact host, and those of wildcard hosts. */
struct analyze_index {
    struct map by_host; /* of struct analyze_list */
    struct analyze_list wild;
    size_t count;
};

struct analyzer {
    const struct analyze_lookup *lookup;
    struct analyze_hint hint; /* empty: all objects are read */
    struct arena arena;
    bool have[KIND_COUNT];
    struct analyze_index rules;      /* DestinationRules by host; subsets are theirs */
    struct analyze_index entries;    /* ServiceEntries by host */
    struct analyze_index mesh_hosts; /* VirtualServices for the mesh by host */
    struct analyze_index users;      /* VirtualServices by destination; subsets routed to */
    struct analyze_index sidecars;   /* Sidecars without selector, by namespace */
    struct slice service_ns;         /* of service_names */
    VEC(struct slice) service_names;
};

/* The object that is looked at; check.ctx is this. */
struct analysis {
    struct check check;
    struct analyzer *state;
    struct slice ns; /* of the object */
    struct arena arena;
};

struct analysis *analysis_of(struct check *c);
/* Reads a kind into its indexes, once. */
void analyzer_read(struct analyzer *a, enum kind_id kind);
/* First item of an exact host, or NULL. */
const struct analyze_item *analyze_index_get(const struct analyze_index *ix, struct slice host);
/* Does namespace `from` see the item's object? */
bool analyze_item_visible(const struct analyze_item *item, struct slice from);
bool analyze_item_is(const struct analyze_item *item, struct slice ns, struct slice name);

/* The Service of a full host name, when the host is of the cluster's domain; *ret_ns and *ret_name
 * say which it would be. */
bool analysis_service_name(struct slice full_host, struct slice *ret_ns, struct slice *ret_name);
/* A Service or a ServiceEntry has the host. */
bool analysis_host_known(struct analysis *a, struct slice full_host);
/* A Service of the namespace whose name is near, or the empty slice. */
struct slice analysis_near_service(struct analysis *a, struct slice ns, struct slice name);
/* The most specific DestinationRules for a host: the first in key order, NULL when there is none.
 * With `subset`, *ret_found says whether one of them defines it. */
const struct analyze_item *analysis_rules(struct analysis *a, struct slice full_host,
                                          struct slice subset, bool *ret_found);
/* "http", "tls" and "tcp" routes of a VirtualService: fn for each destination, until it returns
 * false. */
void analyze_each_destination(const json_t *spec, bool (*fn)(void *arg, const json_t *destination),
                              void *arg);
/* Has the VirtualService routes for the mesh? */
bool analyze_is_for_mesh(const json_t *spec);

#endif
