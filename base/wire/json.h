/* JSON as jansson trees, with caps at the door and one canonical form on the way out.
 *
 *   json_t *o = json_parse(body, &err);             "line 3, column 9: spec.http[0]: duplicate …"
 *   struct slice host = json_str(o, "spec.http[0].route[0].destination.host");
 *   json_write(&out, o, &err);
 *   json_decref(o);
 *
 * Paths are written as people read them: keys joined by dots, [n] for list items, ["a/b"] for a key
 * that is not a plain word ([a/b] is understood too).
 */
#ifndef WEFT_BASE_WIRE_JSON_H
#define WEFT_BASE_WIRE_JSON_H

#include <jansson.h>

#include "base/core/err.h"
#include "base/core/mem.h"

#define JSON_BYTES_MAX (1536u * 1024u) /* one request: REG_REQUEST_BYTES_MAX */
#define JSON_DEPTH_MAX 64              /* nested lists and objects */
#define JSON_PATH_BYTES_MAX 200        /* of a path in a message; longer ones are cut */

/* An object or a list (RFC 8259). NULL and err (ERR_INVALID; ERR_LIMIT for a cap) with line, column
 * and the path of the place: malformed text, a key twice, NUL in a string or key, text that is not
 * UTF-8, a number outside int64 and double, more than the caps above. */
json_t *json_parse(struct slice text, struct err *err);
/* The same with other caps; depth_max is at most JSON_DEPTH_MAX. */
json_t *json_parse_capped(struct slice text, size_t bytes_max, size_t depth_max, struct err *err);

/* From here on, on this thread, all memory of JSON trees comes from the arena, and none of it is
 * given back before the arena is: what is built meanwhile lies close together and goes with it, in
 * one step. NULL ends that. Such a tree is never decref'd, and only trees of the same arena are
 * put into it. Calls do not nest. */
void json_use_arena(struct arena *arena);

/* Appends the canonical form: keys in byte order, no white space, shortest numbers that read back
 * the same (5.0 is written 5), UTF-8 unescaped. false and err: out is at its limit (ERR_LIMIT), or
 * the tree is deeper than JSON_DEPTH_MAX + 8 (out then holds a part). */
bool json_write(struct buf *out, const json_t *value, struct err *err);
/* The same, over several lines with two spaces of indent: for people. */
bool json_write_pretty(struct buf *out, const json_t *value, struct err *err);
/* Writes the text of an object, as json_write wrote it, with one field of a string more in its
 * object `child`, where json_write would have put it. false, and nothing written: there is no such
 * object, or the field is there. */
bool json_write_with(struct buf *out, struct slice text, struct slice child, struct slice key,
                     struct slice value);
/* A string with its quotes and escapes. */
bool json_write_string(struct buf *out, struct slice s);
/* The shortest decimal that reads back as v; integral values without a point. */
void json_write_real(struct buf *out, double v);

/* One step of a path; advances *path. false at the end and (with *path not empty) at a bad step. */
struct json_step {
    bool is_index;
    size_t index;
    struct slice key;
};
bool json_path_next(struct slice *path, struct json_step *ret_step);
/* Appends ".key", "key" at the start, or ["key"]; and "[3]". */
void json_path_key(struct buf *path, struct slice key);
void json_path_index(struct buf *path, size_t index);

/* What stands at a path, borrowed from the tree; NULL when nothing does. */
json_t *json_at(const json_t *value, const char *path);
json_t *json_at_slice(const json_t *value, struct slice path);
/* Typed reads at a path: the empty slice, the default, false when it is not there or another type.
 */
struct slice json_str(const json_t *value, const char *path);
int64_t json_int(const json_t *value, const char *path, int64_t otherwise);
bool json_bool(const json_t *value, const char *path, bool otherwise);
/* A string value's bytes; the empty slice for anything else. */
struct slice json_slice(const json_t *value);
/* A new string, or NULL when s is not UTF-8. */
json_t *json_string_of(struct slice s);
/* object[key] without a NUL behind key; NULL when absent. */
json_t *json_get(const json_t *object, struct slice key);
/* The child object of that key, created when absent; NULL when something else stands there. */
json_t *json_object_child(json_t *object, const char *key);

/* Keys of an object in byte order, in the arena. *ret_count of them. */
struct slice *json_keys_sorted(const json_t *object, struct arena *arena, size_t *ret_count);

/* Deep equality where 5 and 5.0 are the same number. */
bool json_same(const json_t *a, const json_t *b);

#endif
