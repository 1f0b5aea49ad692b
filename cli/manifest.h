/* The objects of files, and where in the files they stand. Pure: bytes come from files.h.
 *
 *   struct manifest m = {.ns = S("default")};
 *   if (!manifest_add(&m, S("vs.yaml"), bytes, &err)) …     "vs.yaml:4: spec.http[0]: key twice"
 *   for (size_t i = 0; i < m.items.n; i++) use(m.items.p[i].object);
 *   manifest_fini(&m);
 *
 * YAML streams, JSON (which is YAML) and lists ({kind: List, items: […]}).
 */
#ifndef WEFT_CLI_MANIFEST_H
#define WEFT_CLI_MANIFEST_H

#include "api/kind.h"
#include "base/core/map.h"
#include "base/wire/yaml.h"

struct manifest_item {
    const struct kind *kind;
    json_t *object; /* borrowed from its document; metadata.namespace is set where there is one */
    struct slice ns, name;
    struct slice file;
    const struct yaml_doc *doc;
    struct slice at; /* path of the object in the document: empty, or "items[3]" */
};

/* The file of what the command line names itself. */
#define MANIFEST_ARGUMENTS "arguments"

struct manifest {
    struct slice ns; /* of objects that name none; set before the first add */
    bool ns_fixed;   /* objects of other namespaces are refused (-n was given) */
    struct arena arena;
    VEC(struct yaml_stream *) streams;
    VEC(struct manifest_item) items;
    struct map seen; /* key -> index + 1 */
};

/* Items in a row, as one request carries them: "items[3]" in its answer is p[3]. Borrowed. */
struct manifest_part {
    const struct manifest_item *p;
    size_t n;
};

/* Adds the objects of a file. text is borrowed for the call. false and err with file and line; what
 * was added before stays. */
bool manifest_add(struct manifest *m, struct slice file, struct slice text, struct err *err);
/* Line of a field ("spec.http[0]") of an item, or of its nearest parent. */
unsigned manifest_line(const struct manifest_item *item, struct slice field);
/* All items, until the next add. */
struct manifest_part manifest_all(const struct manifest *m);
/* "items[3].spec.http[0]: …" -> 3 and what stands behind; false when it does not begin so or there
 * is no such item. */
bool manifest_place(struct manifest_part part, struct slice text, size_t *ret_index,
                    struct slice *ret_rest);
/* Leaves out the items i for which keep[i] is false. */
void manifest_filter(struct manifest *m, const bool *keep);
/* The item with a key like "virtualservices.networking.istio.io/default/reviews", or NULL. */
const struct manifest_item *manifest_find(const struct manifest *m, struct slice key);
void manifest_fini(struct manifest *m);

#endif
