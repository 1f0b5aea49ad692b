/* For tests/proto_json_check.py: converts messages between wire bytes and JSON. One request a line:
 *
 *   wire TYPE HEX    -> the JSON, on one line
 *   json TYPE TEXT   -> the wire bytes in hex
 *   types            -> the names of all types
 *
 * A refusal is answered by a line that begins with '!'. */
#include <stdio.h>
#include <string.h>

#include "api/any_types.h"
#include "base/wire/pb_json.h"

enum { LINE_BYTES_MAX = 4 << 20 };

static const struct pb_json_options options = {.types = &any_types};

static int nibble(char c)
{
    return c >= 'a' ? c - 'a' + 10 : c - '0';
}

static struct slice unhex(struct slice hex, struct arena *arena)
{
    char *p = arena_alloc(arena, hex.n / 2 + 1);
    for (size_t i = 0; i + 1 < hex.n; i += 2)
        p[i / 2] = (char)(nibble(hex.p[i]) << 4 | nibble(hex.p[i + 1]));
    return (struct slice){p, hex.n / 2};
}

static bool to_json(const ProtobufCMessageDescriptor *type, struct slice hex, struct arena *arena,
                    struct buf *out, struct err *err)
{
    const ProtobufCMessage *msg = pb_unpack(type, unhex(hex, arena), arena, err);
    return msg && pb_json_print(msg, &options, out, err);
}

static bool to_wire(const ProtobufCMessageDescriptor *type, struct slice text, struct arena *arena,
                    struct buf *out, struct err *err)
{
    json_error_t where;
    json_t *j = json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &where);
    if (!j)
        return err_set(err, ERR_INVALID, "%s", where.text);
    const ProtobufCMessage *msg = pb_json_parse(type, j, &options, arena, err);
    json_decref(j);
    if (!msg)
        return false;
    struct slice wire = pb_pack_arena(msg, arena);
    for (size_t i = 0; i < wire.n; i++)
        (void)buf_printf(out, "%02x", (unsigned char)wire.p[i]);
    return true;
}

static bool list_types(struct buf *out)
{
    bool fits = true;
    for (size_t i = 0; i < any_types.n && fits; i++)
        fits = buf_printf(out, "%s ", any_types.v[i]->name);
    return fits;
}

static bool answer(struct slice line, struct arena *arena, struct buf *out, struct err *err)
{
    struct slice direction, name, body;
    (void)slice_cut(line, ' ', &direction, &body);
    (void)slice_cut(body, ' ', &name, &body);
    if (slice_eq(direction, S("types")))
        return list_types(out);
    const ProtobufCMessageDescriptor *type = pb_types_find(&any_types, name);
    if (!type)
        return err_set(err, ERR_NOT_FOUND, "no type \"%.*s\"", SLICE(name));
    return slice_eq(direction, S("wire")) ? to_json(type, body, arena, out, err)
                                          : to_wire(type, body, arena, out, err);
}

int main(void)
{
    char *line = mem_new(LINE_BYTES_MAX);
    while (fgets(line, LINE_BYTES_MAX, stdin)) {
        struct arena arena = {0};
        struct buf out = {0};
        struct err err = {0};
        struct slice text = slice_mem(line, strcspn(line, "\n"));
        if (answer(text, &arena, &out, &err))
            printf("%.*s\n", SLICE(buf_slice(&out)));
        else
            printf("! %s\n", err.msg);
        fflush(stdout);
        buf_fini(&out);
        arena_fini(&arena);
    }
    mem_free(line);
    return 0;
}
