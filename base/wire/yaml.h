/* YAML as kubectl treats it: a stream of documents becomes JSON trees that remember their lines.
 *
 *   struct yaml_stream s = {0};
 *   if (!yaml_parse(text, &s, &err)) …                     "line 4: spec.http[0]: key "uri" twice"
 *   for (size_t i = 0; i < s.count; i++) use(s.docs[i].root);
 *   printf("%s:%u: %.*s", file, yaml_line(&s.docs[i], problem.field), …);
 *   yaml_stream_fini(&s);
 *
 * Plain scalars follow YAML 1.1 as sigs.k8s.io/yaml does: yes, no, on, off, y and n are booleans,
 * 017 is octal, dates are strings. Keys that are not strings become strings ("80", "true"). A key
 * twice is refused. `<<` merges. Only for the CLI: the API takes JSON.
 */
#ifndef WEFT_BASE_WIRE_YAML_H
#define WEFT_BASE_WIRE_YAML_H

#include "base/wire/json.h"

#define YAML_BYTES_MAX (4u << 20)       /* of a stream */
#define YAML_DEPTH_MAX JSON_DEPTH_MAX   /* nested lists and maps, aliases expanded */
#define YAML_TREE_BYTES_MAX (64u << 20) /* what the trees may take, aliases expanded */
#define YAML_DOCS_MAX 4096
#define YAML_ANCHORS_MAX 1024 /* of one document */

struct yaml_node;

struct yaml_doc {
    json_t *root; /* owned by the stream; never NULL, a map in any file that holds objects */
    const struct yaml_node *lines;
};

struct yaml_stream {
    struct yaml_doc *docs; /* without the empty ones */
    size_t count;
    struct arena arena;
};

/* NULL documents (nothing between two ---) are left out. false and err with line and path:
 * malformed text (ERR_INVALID), one of the caps (ERR_LIMIT); *ret is then empty. */
bool yaml_parse(struct slice text, struct yaml_stream *ret, struct err *err);
void yaml_stream_fini(struct yaml_stream *s);
/* Line (from 1) of what stands at a path ("spec.http[0]"), or of its nearest parent that exists. */
unsigned yaml_line(const struct yaml_doc *doc, struct slice path);

/* Appends a document as kubectl's -o yaml prints it: apiVersion, kind, metadata, spec and status
 * first in an object that has a kind, other keys in byte order; lists not indented; no "---". Reads
 * back as the same tree. false and err as json_write. */
bool yaml_write(struct buf *out, const json_t *value, struct err *err);

#endif
