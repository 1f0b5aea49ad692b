/* The table of kinds: one row a kind, and everything about an object that needs no registry. The
 * API server, the CLI and pilot all read objects through it.
 *
 *   const struct kind *k = kind_find(S("networking.istio.io"), S("v1"), S("virtualservices"));
 *   struct json_t *o = json_parse(body, &err);
 *   if (!kind_validate(k, o, &(struct kind_check){.strict = true}, &report))
 *       … report.items[0].field …
 *
 * Objects are jansson trees in the Kubernetes shape {apiVersion, kind, metadata, spec, status}.
 */
#ifndef WEFT_API_KIND_H
#define WEFT_API_KIND_H

#include <jansson.h>

#include "base/core/err.h"
#include "base/core/mem.h"

/* Order of the table; also the order in which pilot reads them. */
enum kind_id {
    KIND_NAMESPACE,
    KIND_SERVICE,
    KIND_ENDPOINT_SLICE,
    KIND_WORKLOAD_ENTRY,
    KIND_SERVICE_ENTRY,
    KIND_VIRTUAL_SERVICE,
    KIND_DESTINATION_RULE,
    KIND_GATEWAY,
    KIND_SIDECAR,
    KIND_LEASE,
    KIND_COUNT,
};

#define KIND_VERSIONS_MAX 4
#define KIND_SHORT_NAMES_MAX 3
#define KIND_COLUMNS_MAX 8

/* A column of kubectl's table: name, JSON pointer-like path or a function of the object. */
struct kind_column {
    const char *name, *type, *description;
    int priority; /* 0: always, 1: -o wide */
    void (*cell)(const json_t *object, struct buf *out);
};

struct kind {
    enum kind_id id;
    const char *group;                       /* "" for core */
    const char *versions[KIND_VERSIONS_MAX]; /* served, preferred (and stored) first: v1, v1beta1,
                                                v1alpha3 */
    const char *kind, *plural, *singular;
    const char *about; /* one sentence for kubectl explain */
    const char *short_names[KIND_SHORT_NAMES_MAX];
    bool namespaced;
    bool has_status;             /* status subresource */
    bool distributed;            /* carries the conditions Accepted and Distributed */
    const struct schema *schema; /* of spec and the rest; see api/schema.h */
    size_t column_count;
    struct kind_column columns[KIND_COLUMNS_MAX];
};

extern const struct kind kinds[KIND_COUNT];

/* Annotations of ours. On any object with a namespace: the lease, of the same namespace, that it
 * lives on. On a Lease: "delete" for one that is deleted when it expires; of others the holder is
 * taken. */
#define KIND_ON_LEASE "weft.dev/lease"
#define KIND_LEASE_ON_EXPIRY "weft.dev/on-expiry"

/* By the path of the API; version may be any that is served. NULL when there is none. */
const struct kind *kind_find(struct slice group, struct slice version, struct slice plural);
/* Is the version served? */
bool kind_serves(const struct kind *k, struct slice version);
/* By apiVersion and kind of a document. NULL and err (ERR_INVALID) that says what is wrong, and
 * which kind was probably meant. */
const struct kind *kind_of_object(const json_t *object, struct err *err);
/* "networking.istio.io/v1"; "v1" for core. Of the stored version. */
const char *kind_api_version(const struct kind *k);
/* By what a person types: plural, singular, short name, kind; any case;
 * "virtualservices.networking.istio.io". */
const struct kind *kind_guess(struct slice word);

/* "virtualservices.networking.istio.io/default/reviews" into dst (REG_KEY_BYTES_MAX); false and err
 * for a name or namespace that is not a DNS label or subdomain. */
bool kind_key(const struct kind *k, struct slice ns, struct slice name, struct arena *arena,
              struct slice *ret_key, struct err *err);
/* The reverse; false for a key of no known kind. */
bool kind_key_parse(struct slice key, const struct kind **ret_kind, struct slice *ret_ns,
                    struct slice *ret_name);

/* Validation. */

struct kind_problem {
    bool warning;         /* travels back as a Warning header; the write goes on */
    struct slice field;   /* "spec.http[0].route[1].weight" */
    struct slice message; /* "must be 0..100: the weights of a route add up to 120" */
    const char *reason;   /* Kubernetes cause: FieldValueInvalid, FieldValueRequired,
                             FieldValueNotSupported, … */
};

#define KIND_PROBLEMS_MAX 32

/* Zeroed is valid and empty; a report may go through several calls and grows. */
struct kind_report {
    struct arena arena;
    struct kind_problem items[KIND_PROBLEMS_MAX];
    size_t count;  /* kept; more are counted only */
    size_t errors; /* of all, also beyond KIND_PROBLEMS_MAX */
};

struct kind_check {
    enum {
        KIND_UNKNOWN_IGNORE,
        KIND_UNKNOWN_WARN,
        KIND_UNKNOWN_REFUSE
    } unknown_fields;  /* fieldValidation */
    const json_t *old; /* on update */
};

/* Schema (types, unknown and required fields, enums, bounds, formats), then the semantic rules of
 * the kind (Istio's validation, the CRDs' CEL rules): false when an error was reported. Pure. */
bool kind_validate(const struct kind *k, const json_t *object, const struct kind_check *check,
                   struct kind_report *report);
void kind_report_fini(struct kind_report *report);

/* Defaulting and canonical form in place: apiVersion of the stored version, drops nulls,
 * managedFields and selfLink, sets defaults that users see (Service port protocol TCP, targetPort =
 * port, type ClusterIP …). Does not touch uid, creationTimestamp, generation and resourceVersion:
 * the API server sets them. */
void kind_default(const struct kind *k, json_t *object);
/* Appends the bytes that are stored and compared: sorted keys, no white space, without
 * metadata.resourceVersion, managedFields and selfLink. */
bool kind_encode(const json_t *object, struct buf *out, struct err *err);
/* Same name, namespace and content apart from
 * metadata.{resourceVersion,generation,managedFields,selfLink} (a write that changes nothing keeps
 * its revision). */
bool kind_same_content(const json_t *a, const json_t *b);
/* Same spec (everything but metadata and status): otherwise metadata.generation rises. */
bool kind_same_spec(const json_t *a, const json_t *b);

#endif
