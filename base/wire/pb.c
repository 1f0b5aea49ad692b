#include "base/wire/pb.h"

#include <stdlib.h>
#include <string.h>

#include "base/core/reader.h"
#include "base/wire/pb_field.h"

const struct pb_limits pb_limits_default = {
    .depth = PB_DEPTH_MAX,
    .bytes = PB_BYTES_MAX,
    .elements = PB_ELEMENTS_MAX,
    .memory = PB_MEMORY_MAX,
};

/* What protobuf-c spends on each field while it unpacks: a scanned member and, for a repeated
 * field, a pointer, both rounded up by the arena. */
enum { ELEMENT_MEMORY = 64 };

/* Scanning. */

enum { FIELDS_MAX = 256 };

/* One open message. */
struct frame {
    const ProtobufCMessageDescriptor *type;
    const char *via; /* the field of the parent that holds it */
    struct reader in;
    uint64_t seen[FIELDS_MAX / 64]; /* its singular embedded messages, by index of the field */
};

struct scan {
    struct frame stack[PB_DEPTH_MAX];
    size_t depth; /* frames in use */
    const unsigned char *start;
    const struct pb_limits *limits;
    size_t elements, memory;
    struct err *err;
};

/* One field's header. */
struct field_key {
    uint32_t id;
    unsigned wire_type;
    const ProtobufCFieldDescriptor *known; /* NULL: an unknown field */
};

static struct frame *top(struct scan *s)
{
    return &s->stack[s->depth - 1];
}

/* "VirtualHost.routes.match.prefix at byte 17: <what>"; always false. */
static bool refuse(struct scan *s, enum err_code code, const ProtobufCFieldDescriptor *field,
                   const char *what)
{
    char path[ERR_MSG_BYTES / 2];
    struct buf b = {0};
    (void)buf_printf(&b, "%s", s->stack[0].type->short_name);
    for (size_t i = 1; i < s->depth; i++)
        (void)buf_printf(&b, ".%s", s->stack[i].via);
    if (field)
        (void)buf_printf(&b, ".%s", field->name);
    struct slice tail = buf_slice(&b);
    if (tail.n >= sizeof(path))
        tail = slice_skip(tail, tail.n - sizeof(path) + 1);
    bool fits = slice_cstr(tail, path, sizeof(path));
    wf_assert(fits);
    buf_fini(&b);
    return err_set(s->err, code, "%s at byte %zu: %s", path, (size_t)(top(s)->in.pos - s->start),
                   what);
}

static bool malformed(struct scan *s, const ProtobufCFieldDescriptor *field, const char *what)
{
    return refuse(s, ERR_INVALID, field, what);
}

/* Counts n elements and the memory that they will take. */
static bool charge(struct scan *s, const ProtobufCFieldDescriptor *field, size_t n, size_t memory)
{
    s->elements += n;
    s->memory += n * ELEMENT_MEMORY + memory;
    if (s->elements > s->limits->elements)
        return refuse(s, ERR_LIMIT, field, "more fields than allowed");
    if (s->memory > s->limits->memory)
        return refuse(s, ERR_LIMIT, field, "needs more memory than allowed");
    return true;
}

static unsigned wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return PROTOBUF_C_WIRE_TYPE_32BIT;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return PROTOBUF_C_WIRE_TYPE_64BIT;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
    default:
        return PROTOBUF_C_WIRE_TYPE_VARINT;
    }
}

static bool read_key(struct scan *s, struct field_key *ret_key)
{
    struct frame *f = top(s);
    uint64_t tag = reader_varint(&f->in);
    if (!reader_ok(&f->in))
        return malformed(s, NULL, "a field's tag is cut short");
    if (tag >> 3 == 0 || tag > UINT32_MAX)
        return malformed(s, NULL, "a field's number is out of range");
    uint32_t id = (uint32_t)(tag >> 3);
    *ret_key = (struct field_key){
        .id = id,
        .wire_type = (unsigned)(tag & 7),
        .known = protobuf_c_message_descriptor_get_field(f->type, id),
    };
    return true;
}

/* A packed field: every element must end inside it. */
static bool scan_packed(struct scan *s, const ProtobufCFieldDescriptor *field, struct slice body)
{
    unsigned wire_type = wire_type_of(field->type);
    size_t n = 0;
    if (wire_type == PROTOBUF_C_WIRE_TYPE_VARINT) {
        struct reader r = reader_of(body);
        for (; reader_left(&r) && reader_ok(&r); n++)
            (void)reader_varint(&r);
        if (!reader_done(&r))
            return malformed(s, field, "a packed number is cut short");
    } else {
        size_t size = wire_type == PROTOBUF_C_WIRE_TYPE_32BIT ? 4 : 8;
        if (body.n % size)
            return malformed(s, field, "a packed number is cut short");
        n = body.n / size;
    }
    return charge(s, field, n, 0);
}

static bool scan_string(struct scan *s, const ProtobufCFieldDescriptor *field, struct slice body)
{
    if (!slice_utf8(body))
        return malformed(s, field, "not UTF-8");
    if (body.n && memchr(body.p, 0, body.n))
        return malformed(s, field, "a string holds a NUL");
    return charge(s, field, 1, body.n);
}

/* Has this singular field of the open message come before? */
static bool seen_before(struct frame *f, const ProtobufCFieldDescriptor *field)
{
    size_t i = (size_t)(field - f->type->fields);
    wf_assert(i < FIELDS_MAX);
    uint64_t bit = (uint64_t)1 << i % 64;
    bool before = f->seen[i / 64] & bit;
    f->seen[i / 64] |= bit;
    return before;
}

/* Protobuf lets the parts of an embedded message come one by one, to be merged. No encoder does
 * that, and protobuf-c copies all lists so far at each merge: a megabyte of parts would take hours.
 */
static bool enter_message(struct scan *s, const ProtobufCFieldDescriptor *field, struct slice body)
{
    const ProtobufCMessageDescriptor *type = field->descriptor;
    if (s->depth == s->limits->depth)
        return refuse(s, ERR_LIMIT, field, "messages are nested too deep");
    if (field->label != PROTOBUF_C_LABEL_REPEATED && seen_before(top(s), field))
        return malformed(s, field, "the message is there twice");
    if (!charge(s, field, 1, type->sizeof_message))
        return false;
    s->stack[s->depth++] = (struct frame){.type = type, .via = field->name, .in = reader_of(body)};
    return true;
}

static bool scan_length_prefixed(struct scan *s, const struct field_key *key)
{
    struct frame *f = top(s);
    uint64_t n = reader_varint(&f->in);
    struct slice body = reader_bytes(&f->in, n);
    if (!reader_ok(&f->in))
        return malformed(s, key->known, "longer than what holds it");
    if (!key->known)
        return charge(s, NULL, 1, body.n);
    switch (key->known->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return enter_message(s, key->known, body);
    case PROTOBUF_C_TYPE_STRING:
        return scan_string(s, key->known, body);
    case PROTOBUF_C_TYPE_BYTES:
        return charge(s, key->known, 1, body.n);
    default:
        return scan_packed(s, key->known, body);
    }
}

static bool scan_number(struct scan *s, const struct field_key *key)
{
    struct frame *f = top(s);
    if (key->wire_type == PROTOBUF_C_WIRE_TYPE_VARINT)
        (void)reader_varint(&f->in);
    else if (key->wire_type == PROTOBUF_C_WIRE_TYPE_32BIT)
        (void)reader_u32le(&f->in);
    else
        (void)reader_u64le(&f->in);
    if (!reader_ok(&f->in))
        return malformed(s, key->known, "a number is cut short");
    return charge(s, key->known, 1, 0);
}

static bool wire_type_fits(const struct field_key *key)
{
    if (!key->known || wire_type_of(key->known->type) == key->wire_type)
        return true;
    return key->known->label == PROTOBUF_C_LABEL_REPEATED &&
           key->wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
}

static bool scan_field(struct scan *s)
{
    struct field_key key = {0};
    if (!read_key(s, &key))
        return false;
    if (!wire_type_fits(&key))
        return malformed(s, key.known, "wrong wire type");
    switch (key.wire_type) {
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        return scan_length_prefixed(s, &key);
    case PROTOBUF_C_WIRE_TYPE_VARINT:
    case PROTOBUF_C_WIRE_TYPE_64BIT:
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        return scan_number(s, &key);
    default:
        return malformed(s, key.known, "groups and unknown wire types are not accepted");
    }
}

bool pb_scan(const ProtobufCMessageDescriptor *type, struct slice wire,
             const struct pb_limits *limits, struct err *err)
{
    struct scan s; /* not zeroed: 100 frames are 8 KB, and only those in use are read */
    s.limits = limits ? limits : &pb_limits_default;
    wf_assert(s.limits->depth >= 1 && s.limits->depth <= PB_DEPTH_MAX);
    s.stack[0] = (struct frame){.type = type, .in = reader_of(wire)};
    s.start = s.stack[0].in.start;
    s.depth = 1;
    s.elements = s.memory = 0;
    s.err = err;
    if (wire.n > s.limits->bytes)
        return refuse(&s, ERR_LIMIT, NULL, "the message is too long");
    while (s.depth) {
        if (!reader_left(&top(&s)->in))
            s.depth--;
        else if (!scan_field(&s))
            return false;
    }
    return true;
}

/* Unpacking. */

struct arena_allocator {
    struct arena *arena;
    bool refused;
};

static void *allocate(void *data, size_t n)
{
    struct arena_allocator *a = data;
    void *p = arena_try_alloc(a->arena, n ? n : 1);
    a->refused |= !p;
    return p;
}

static void release(void *data, void *p)
{
    (void)data; /* dies with the arena */
    (void)p;
}

void *pb_unpack_limited(const ProtobufCMessageDescriptor *type, struct slice wire,
                        const struct pb_limits *limits, struct arena *arena, struct err *err)
{
    if (!pb_scan(type, wire, limits, err))
        return NULL;
    struct arena_allocator state = {.arena = arena};
    ProtobufCAllocator allocator = {allocate, release, &state};
    void *msg = protobuf_c_message_unpack(type, &allocator, wire.n,
                                          (const uint8_t *)(wire.p ? wire.p : ""));
    if (msg)
        return msg;
    if (state.refused)
        (void)err_set(err, ERR_LIMIT, "%s: no room for the unpacked message", type->short_name);
    else
        (void)err_set(err, ERR_INVALID, "%s: malformed", type->short_name);
    return NULL;
}

void *pb_unpack(const ProtobufCMessageDescriptor *type, struct slice wire, struct arena *arena,
                struct err *err)
{
    return pb_unpack_limited(type, wire, NULL, arena, err);
}

/* Types by name. */

const ProtobufCMessageDescriptor *pb_types_find(const struct pb_types *types, struct slice name)
{
    size_t slash = slice_find_last(name, '/');
    if (slash != SIZE_MAX)
        name = slice_skip(name, slash + 1);
    size_t low = 0, high = types->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = slice_cmp(name, slice_of(types->v[mid]->name));
        if (c == 0)
            return types->v[mid];
        if (c > 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* Building. */

void *pb_new(struct arena *arena, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *msg = arena_alloc(arena, type->sizeof_message);
    protobuf_c_message_init(type, msg);
    return msg;
}

void pb_push_(struct arena *arena, void *array, size_t *n, void *item)
{
    void **items;
    memcpy(&items, array, sizeof(items));
    if (*n == 0 || (*n & (*n - 1)) == 0) { /* full at every power of two */
        void **grown = ARENA_ARRAY(arena, void *, *n ? *n * 2 : 1);
        if (*n)
            memcpy(grown, items, *n * sizeof(*items));
        items = grown;
        memcpy(array, &items, sizeof(items));
    }
    items[(*n)++] = item;
}

char *pb_str(struct arena *arena, struct slice s)
{
    wf_assert(!s.n || !memchr(s.p, 0, s.n));
    struct slice copy = arena_dup(arena, s);
    return (char *)(uintptr_t)copy.p; /* the arena's memory is ours to write */
}

ProtobufCBinaryData pb_bytes(struct arena *arena, struct slice s)
{
    struct slice copy = arena_dup(arena, s);
    return (ProtobufCBinaryData){.len = copy.n, .data = (uint8_t *)(uintptr_t)copy.p};
}

/* Maps. */

/* "initial_resource_versions" -> is name "InitialResourceVersionsEntry"? */
static bool is_entry_name(const char *name, const char *field)
{
    const char *rest = pb_camel_match(name, field, true);
    return rest && strcmp(rest, "Entry") == 0;
}

bool pb_field_is_map(const ProtobufCFieldDescriptor *field)
{
    if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE)
        return false;
    const ProtobufCMessageDescriptor *entry = field->descriptor;
    return entry->n_fields == 2 && entry->fields[0].id == 1 && entry->fields[1].id == 2 &&
           strcmp(entry->fields[0].name, "key") == 0 &&
           entry->fields[0].type == PROTOBUF_C_TYPE_STRING &&
           strcmp(entry->fields[1].name, "value") == 0 &&
           is_entry_name(entry->short_name, field->name);
}

static const char *entry_key(const ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *key = &entry->descriptor->fields[0];
    wf_assert(key->id == 1 && key->type == PROTOBUF_C_TYPE_STRING);
    const char *s;
    memcpy(&s, (const char *)entry + key->offset, sizeof(s));
    return s ? s : "";
}

static int entry_cmp(const void *a, const void *b)
{
    return strcmp(entry_key(*(ProtobufCMessage *const *)a),
                  entry_key(*(ProtobufCMessage *const *)b));
}

void pb_sort_map(void *entries, size_t n)
{
    if (n > 1)
        qsort(entries, n, sizeof(void *), entry_cmp);
}
