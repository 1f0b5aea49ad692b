/* Between the files of the model. */
#ifndef WEFT_PILOT_MODEL_MODEL_INTERNAL_H
#define WEFT_PILOT_MODEL_MODEL_INTERNAL_H

#include "pilot/model/model.h"

/* The indexes that an object is in, while it is parsed or moved. */
struct model_entries {
    struct model_entry *p;
    size_t n, cap;
    struct arena *arena; /* where names are made */
    struct slice root_ns;
};

/* Adds the object to an index; repetitions are fine. The name lives as long as the object. */
void model_entry_add(struct model_entries *e, enum model_index index, struct slice name,
                     uint64_t sign);
/* Sorted by key, each key once. */
void model_entries_sort(struct model_entries *e);

/* service.c, rule.c. false: the object is in no index. true with an error: it is used but for the
 * part that is named. */
bool model_parse_service(struct model_object *o, struct model_entries *e, struct err *err);
bool model_parse_service_entry(struct model_object *o, struct model_entries *e, struct err *err);
bool model_parse_rule(struct model_object *o, struct model_entries *e, struct err *err);

/* index.c */

/* Moves the indexes from one state of an object to the next; either may be NULL. A fact is touched
 * only if the object entered, left, or changed in what the index is for. */
void model_index_move(struct model *m, struct model_object *was, struct model_object *is,
                      reg_rev revision);
/* The object that has a key, without recording the read. */
struct model_object *model_index_peek(struct model *m, struct slice key);
/* model_collect, whatever the number of facts. */
void model_index_sweep(struct model *m);
void model_index_fini(struct model *m);

/* A port that workloads have by name. */
struct model_named_port {
    struct slice name;
    uint32_t number;
};

/* backends.c */

/* One endpoint of an EndpointSlice, ready. */
struct model_backend {
    struct slice address, zone, target;
    struct jr_pairs labels; /* of its own, over those of all */
};

/* What the compiler reads of an EndpointSlice. */
struct model_backends {
    struct slice service;   /* name */
    struct jr_pairs labels; /* of all, without Kubernetes' bookkeeping */
    size_t port_count;
    const struct model_named_port *ports; /* as written: the first of a name counts */
    size_t count;
    const struct model_backend *p;
};

/* Copies what it keeps. With an error it is in no index but that of objects, and without backends.
 */
struct model_object *model_backends_new(struct slice key, const json_t *json, reg_rev create_rev,
                                        struct arena *scratch, struct err *err);

/* workload.c */

/* What the compiler reads of a WorkloadEntry, or of an endpoint in a ServiceEntry. */
struct model_workload {
    struct slice address, locality;
    uint32_t weight;
    struct jr_pairs labels;
    size_t port_count;
    const struct model_named_port *ports; /* numbers are not 0 */
};

/* With the labels that stand there; strings borrow from the tree. */
struct model_workload model_workload_parse(const json_t *spec, struct arena *arena);
/* Of a WorkloadEntry; strings borrow from the object. */
struct model_workload model_workload_read(const struct model_object *o, struct arena *arena);

/* An object of a WorkloadEntry in one block (mem_free). With an error it is in no index but that of
 * objects. */
struct model_object *model_workload_new(struct slice key, const json_t *json, reg_rev create_rev,
                                        struct arena *scratch, struct err *err);
size_t model_workload_bytes(const struct model_object *o);
void model_workload_entries(const struct model_object *o, struct model_entries *e);
/* Since when it says what it says: all of its indexes change together. */
void model_workload_said(struct model_object *o, reg_rev revision);
/* Is it in the index? */
bool model_workload_has(const struct model_object *o, struct model_key key, reg_rev *ret_revision);

/* "ns/label=value" */
struct slice model_label_name(struct arena *arena, struct slice ns, struct jr_pair label);
/* For MODEL_OBJECT, without what changes nothing for proxies: status, other metadata. */
uint64_t model_object_sign(const json_t *json, uint64_t what, reg_rev create_rev);
/* The key's memory is the object's. */
void model_object_named(struct model_object *o, struct slice key);
/* Parts of "resource/ns/name". */
bool model_key_split(struct slice key, struct slice *ret_resource, struct slice *ret_ns,
                     struct slice *ret_name);

#endif
