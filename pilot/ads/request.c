#include "pilot/ads/request.h"

#include "base/core/reader.h"
#include "pilot/ads/ads_limits.h"

/* Where the two messages keep the same thing: field numbers of discovery.proto. */
struct layout {
    const char *name;
    uint32_t node, names, type_url, nonce, error, version, unsubscribe, initial;
};
static const struct layout layouts[] = {
    [XDS_SOTW] = {.name = "DiscoveryRequest",
                  .version = 1,
                  .node = 2,
                  .names = 3,
                  .type_url = 4,
                  .nonce = 5,
                  .error = 6},
    [XDS_DELTA] = {.name = "DeltaDiscoveryRequest",
                   .node = 1,
                   .type_url = 2,
                   .names = 3,
                   .unsubscribe = 4,
                   .initial = 5,
                   .nonce = 6,
                   .error = 7},
};

struct field {
    uint32_t number;
    bool bytes;         /* length-delimited */
    struct slice value; /* if it is */
    uint64_t integer;   /* of a varint */
};

/* The next field, known or not. false at the end and on malformed bytes (r->failed). */
static bool next_field(struct reader *r, struct field *ret)
{
    if (!reader_ok(r) || !reader_left(r))
        return false;
    uint64_t tag = reader_varint(r);
    *ret = (struct field){.number = (uint32_t)(tag >> 3)};
    if (tag >> 3 == 0 || tag >> 3 > 536870911)
        r->failed = true;
    switch (tag & 7) {
    case PBW_LEN:
        ret->bytes = true;
        ret->value = reader_bytes(r, reader_varint(r));
        break;
    case PBW_VARINT:
        ret->integer = reader_varint(r);
        break;
    case PBW_FIXED32:
        (void)reader_u32le(r);
        break;
    case PBW_FIXED64:
        (void)reader_u64le(r);
        break;
    default:
        r->failed = true;
    }
    return reader_ok(r);
}

static bool text_ok(struct slice s, size_t bytes_max, const char *what, struct err *err)
{
    if (s.n > bytes_max)
        return err_set(err, ERR_LIMIT, "%s: %zu bytes, at most %zu", what, s.n, bytes_max);
    if (!slice_utf8(s) || slice_find(s, '\0') != SIZE_MAX)
        return err_set(err, ERR_INVALID, "%s: not UTF-8", what);
    return true;
}

/* A map entry: key 1, value 2. */
static bool read_initial(struct slice wire, struct ads_initial *ret, struct err *err)
{
    struct reader r = reader_of(wire);
    struct field f;
    struct ads_initial out = {0};
    while (next_field(&r, &f)) {
        if (f.number == 1 && f.bytes)
            out.name = f.value;
        else if (f.number == 2 && f.bytes)
            out.version = f.value;
    }
    if (!reader_done(&r))
        return err_set(err, ERR_INVALID, "initial_resource_versions: malformed entry");
    if (!text_ok(out.name, ADS_NAME_BYTES_MAX, "initial_resource_versions", err))
        return false;
    *ret = out;
    return true;
}

/* google.rpc.Status: code 1, message 2. */
static bool read_error(struct slice wire, struct ads_request *req, struct err *err)
{
    struct reader r = reader_of(wire);
    struct field f;
    req->nack = true;
    while (next_field(&r, &f)) {
        if (f.number == 1 && !f.bytes)
            req->error_code = (int)(int32_t)f.integer;
        else if (f.number == 2 && f.bytes)
            req->error = slice_sub(f.value, 0, ADS_ERROR_BYTES_MAX);
    }
    return reader_done(&r) || err_set(err, ERR_INVALID, "error_detail: malformed");
}

/* How often each repeated field is there, so that its array is allocated once. */
struct counts {
    size_t names, unsubscribe, initial;
};

static bool count_fields(struct slice wire, const struct layout *l, struct counts *ret,
                         struct err *err)
{
    struct reader r = reader_of(wire);
    struct field f;
    while (next_field(&r, &f)) {
        ret->names += f.number == l->names;
        ret->unsubscribe += f.number == l->unsubscribe;
        ret->initial += f.number == l->initial;
    }
    if (!reader_done(&r))
        return err_set(err, ERR_INVALID, "%s: malformed at byte %zu", l->name, reader_offset(&r));
    if (ret->names > ADS_NAMES_MAX || ret->unsubscribe > ADS_NAMES_MAX ||
        ret->initial > ADS_NAMES_MAX)
        return err_set(err, ERR_LIMIT, "%s: more than %d names", l->name, ADS_NAMES_MAX);
    return true;
}

struct parse {
    const struct layout *l;
    struct arena *arena;
    struct ads_request *req;
    struct slice *names, *unsubscribe;
    struct ads_initial *initial;
    struct slice node;
    bool has_node;
};

static bool read_name(struct slice value, struct slice *v, size_t *n, struct err *err)
{
    if (!text_ok(value, ADS_NAME_BYTES_MAX, "resource name", err))
        return false;
    v[(*n)++] = value;
    return true;
}

static bool read_field(struct parse *p, const struct field *f, struct err *err)
{
    const struct layout *l = p->l;
    struct ads_request *req = p->req;
    if (f->number == l->names)
        return read_name(f->value, p->names, &req->name_count, err);
    if (f->number == l->unsubscribe)
        return read_name(f->value, p->unsubscribe, &req->unsubscribe_count, err);
    if (f->number == l->initial)
        return read_initial(f->value, &p->initial[req->initial_count++], err);
    if (f->number == l->error)
        return read_error(f->value, req, err);
    if (f->number == l->node) {
        p->has_node = true;
        p->node = f->value;
    } else if (f->number == l->type_url) {
        req->type_url = f->value;
        return text_ok(f->value, ADS_TYPE_URL_BYTES_MAX, "type_url", err);
    } else if (f->number == l->nonce) {
        req->nonce = f->value;
    } else if (f->number == l->version) {
        req->version = f->value;
    }
    return true;
}

static bool known(const struct layout *l, uint32_t number)
{
    return number == l->names || number == l->unsubscribe || number == l->initial ||
           number == l->error || number == l->node || number == l->type_url || number == l->nonce ||
           number == l->version;
}

static bool read_node(struct parse *p, struct err *err)
{
    struct ads_node *node = ARENA_NEW(p->arena, struct ads_node);
    if (!ads_node_parse(p->node, p->arena, node, err))
        return false;
    p->req->node = node;
    return true;
}

bool ads_request_parse(struct slice wire, enum xds_variant variant, struct arena *arena,
                       struct ads_request *ret_request, struct err *err)
{
    const struct layout *l = &layouts[variant];
    struct counts c = {0};
    if (wire.n > ADS_REQUEST_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "%s: %zu bytes, at most %u", l->name, wire.n,
                       ADS_REQUEST_BYTES_MAX);
    if (!count_fields(wire, l, &c, err))
        return false;

    struct ads_request req = {0};
    struct parse p = {
        .l = l,
        .arena = arena,
        .req = &req,
        .names = ARENA_ARRAY(arena, struct slice, c.names),
        .unsubscribe = ARENA_ARRAY(arena, struct slice, c.unsubscribe),
        .initial = ARENA_ARRAY(arena, struct ads_initial, c.initial),
    };
    struct reader r = reader_of(wire);
    struct field f;
    while (next_field(&r, &f)) {
        if (known(l, f.number) && !f.bytes)
            return err_set(err, ERR_INVALID, "%s: field %u has the wrong type", l->name, f.number);
        if (!read_field(&p, &f, err))
            return false;
    }
    if (p.has_node && !read_node(&p, err))
        return false;
    req.names = p.names;
    req.unsubscribe = p.unsubscribe;
    req.initial = p.initial;
    *ret_request = req;
    return true;
}
