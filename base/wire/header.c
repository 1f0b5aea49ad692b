#include "base/wire/header.h"

#include <assert.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/wire/scan.h"

#define SLOTS 1024

static const struct slice names[HDR_COUNT] = {S_INIT(""),
#define X(id, name, slot) S_INIT(name),
                                              HEADER_TABLE(X)
#undef X
};

static const uint8_t slots[SLOTS] = {
#define X(id, name, slot) [slot] = HDR_##id,
    HEADER_TABLE(X)
#undef X
};

static_assert(HDR_COUNT <= 256, "ids are bytes");

static uint64_t load8(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static uint32_t load4(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

#define FOLD 0x2020202020202020u /* lower case; harmless to the other bytes of a token */

/* The last eight bytes, eight from the middle, and the length tell all names of the table apart. */
static uint64_t name_digest(struct slice n)
{
    uint64_t v = 0;
    if (n.n >= 8) {
        uint64_t middle = load8(n.p + (n.n - 8) / 2) | FOLD;
        v = (load8(n.p + n.n - 8) | FOLD) ^ (middle << 23 | middle >> 41);
    } else if (n.n >= 4) {
        v = load4(n.p) | (uint64_t)load4(n.p + n.n - 4) << 32 | FOLD;
    } else {
        for (size_t i = 0; i < n.n; i++)
            v = v << 8 | ((uint8_t)n.p[i] | 0x20u);
    }
    return v + n.n;
}

/* The multiplier was searched for: it puts no two names of the table in one slot. */
uint32_t header_slot(struct slice name)
{
    return (uint32_t)(name_digest(name) * 0x85f1115bb2fff17bu >> 54);
}

/* Every byte of a table name has bit 0x20, so setting it folds case; what else it would fold is no
 * token byte. The last load overlaps the one before. */
static bool same_folded(const char *p, const char *known, size_t n)
{
    if (n >= 8) {
        uint64_t odd = (load8(p + n - 8) | FOLD) ^ load8(known + n - 8);
        for (size_t i = 0; i + 8 < n; i += 8)
            odd |= (load8(p + i) | FOLD) ^ load8(known + i);
        return !odd;
    }
    if (n >= 4)
        return (load4(p) | (uint32_t)FOLD) == load4(known) &&
               (load4(p + n - 4) | (uint32_t)FOLD) == load4(known + n - 4);
    for (size_t i = 0; i < n; i++)
        if ((p[i] | 0x20) != known[i])
            return false;
    return true;
}

enum header_id header_intern(struct slice name)
{
    if (!name.n)
        return HDR_OTHER;
    enum header_id id = (enum header_id)slots[header_slot(name)];
    if (names[id].n != name.n || !same_folded(name.p, names[id].p, name.n))
        return HDR_OTHER;
    return id;
}

struct slice header_name(enum header_id id)
{
    wf_assert(id < HDR_COUNT);
    return names[id];
}

static bool header_is(const struct header *h, enum header_id id, struct slice name)
{
    return id ? h->id == id : !h->id && slice_eq(h->name, name);
}

static const struct header *find_from(const struct headers *hs, uint32_t from, enum header_id id,
                                      struct slice name)
{
    for (uint32_t i = from; i < hs->n; i++)
        if (header_is(&hs->p[i], id, name))
            return &hs->p[i];
    return NULL;
}

const struct header *headers_get(const struct headers *hs, enum header_id id)
{
    wf_assert(id != HDR_OTHER);
    return find_from(hs, 0, id, (struct slice){0});
}

const struct header *headers_find(const struct headers *hs, struct slice name)
{
    return find_from(hs, 0, header_intern(name), name);
}

struct slice headers_value(const struct headers *hs, enum header_id id)
{
    const struct header *h = headers_get(hs, id);
    return h ? h->value : (struct slice){0};
}

const struct header *headers_next(const struct headers *hs, const struct header *after)
{
    wf_assert(after >= hs->p && after < hs->p + hs->n);
    return find_from(hs, (uint32_t)(after - hs->p) + 1, (enum header_id)after->id, after->name);
}

static void headers_push(struct headers *hs, struct arena *arena, struct header h)
{
    if (hs->n == hs->cap) {
        uint32_t cap = hs->cap ? hs->cap * 2 : 16;
        struct header *p = ARENA_ARRAY(arena, struct header, cap);
        if (hs->n)
            memcpy(p, hs->p, hs->n * sizeof(*p));
        hs->p = p;
        hs->cap = cap;
    }
    hs->p[hs->n++] = h;
}

void headers_add(struct headers *hs, struct arena *arena, enum header_id id, struct slice value)
{
    wf_assert(id != HDR_OTHER);
    headers_push(hs, arena, (struct header){.name = names[id], .value = value, .id = (uint8_t)id});
}

static struct header named(struct slice name, struct slice value)
{
    enum header_id id = header_intern(name);
    return (struct header){.name = id ? names[id] : name, .value = value, .id = (uint8_t)id};
}

void headers_add_name(struct headers *hs, struct arena *arena, struct slice name,
                      struct slice value)
{
    headers_push(hs, arena, named(name, value));
}

/* Keeps the order of what stays. */
static uint32_t del_from(struct headers *hs, uint32_t from, enum header_id id, struct slice name)
{
    uint32_t kept = from;
    for (uint32_t i = from; i < hs->n; i++)
        if (!header_is(&hs->p[i], id, name))
            hs->p[kept++] = hs->p[i];
    uint32_t gone = hs->n - kept;
    hs->n = kept;
    return gone;
}

static void headers_put(struct headers *hs, struct arena *arena, struct header h)
{
    const struct header *old = find_from(hs, 0, (enum header_id)h.id, h.name);
    if (!old) {
        headers_push(hs, arena, h);
        return;
    }
    uint32_t at = (uint32_t)(old - hs->p);
    hs->p[at] = h;
    del_from(hs, at + 1, (enum header_id)h.id, h.name);
}

void headers_set(struct headers *hs, struct arena *arena, enum header_id id, struct slice value)
{
    wf_assert(id != HDR_OTHER);
    headers_put(hs, arena, (struct header){.name = names[id], .value = value, .id = (uint8_t)id});
}

void headers_set_name(struct headers *hs, struct arena *arena, struct slice name,
                      struct slice value)
{
    headers_put(hs, arena, named(name, value));
}

uint32_t headers_del(struct headers *hs, enum header_id id)
{
    wf_assert(id != HDR_OTHER);
    return del_from(hs, 0, id, (struct slice){0});
}

uint32_t headers_del_name(struct headers *hs, struct slice name)
{
    return del_from(hs, 0, header_intern(name), name);
}

void headers_copy(struct headers *dst, struct arena *arena, const struct headers *src, bool deep)
{
    *dst = (struct headers){.n = src->n, .cap = src->n + 8};
    dst->p = ARENA_ARRAY(arena, struct header, dst->cap);
    for (uint32_t i = 0; i < src->n; i++) {
        struct header h = src->p[i];
        if (deep) {
            h.value = arena_dup(arena, h.value);
            h.name = h.id ? names[h.id] : arena_dup(arena, h.name);
        }
        dst->p[i] = h;
    }
}

bool header_next_token(struct slice *rest, struct slice *ret_item)
{
    while (rest->n) {
        struct slice item;
        slice_cut(*rest, ',', &item, rest);
        item = slice_trim(item);
        if (item.n) {
            *ret_item = item;
            return true;
        }
    }
    return false;
}

bool header_has_token(struct slice value, struct slice token)
{
    struct slice item;
    while (header_next_token(&value, &item))
        if (slice_eq_nocase(item, token))
            return true;
    return false;
}

bool header_name_ok(struct slice name)
{
    return name.n && scan_slow(name.p, name.p + name.n, SCAN_TOKEN) == name.p + name.n;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

bool header_value_ok(struct slice v)
{
    if (!v.n)
        return true;
    if (blank(v.p[0]) || blank(v.p[v.n - 1]))
        return false;
    return scan_value_all(v.p, v.n);
}

static bool hop_always(uint8_t id)
{
    switch (id) {
    case HDR_CONNECTION:
    case HDR_KEEP_ALIVE:
    case HDR_PROXY_CONNECTION:
    case HDR_TE:
    case HDR_TRANSFER_ENCODING:
    case HDR_UPGRADE:
    case HDR_HTTP2_SETTINGS:
    case HDR_PROXY_AUTHENTICATE:
    case HDR_PROXY_AUTHORIZATION:
        return true;
    default:
        return false;
    }
}

/* What decides routing, identity or framing: nominating it in Connection must not remove it. */
static bool end_to_end_always(const struct header *h)
{
    switch (h->id) {
    case HDR_HOST:
    case HDR_CONTENT_LENGTH:
    case HDR_CONTENT_TYPE:
    case HDR_AUTHORIZATION:
    case HDR_COOKIE:
    case HDR_SET_COOKIE:
    case HDR_FORWARDED:
    case HDR_X_REAL_IP:
    case HDR_X_REQUEST_ID:
    case HDR_TRACEPARENT:
    case HDR_TRACESTATE:
        return true;
    default:
        return slice_starts(h->name, S("x-forwarded-")) || slice_starts(h->name, S("x-envoy-")) ||
               slice_starts(h->name, S("x-b3-")) || slice_starts(h->name, S("grpc-"));
    }
}

static bool nominated(const struct headers *hs, const struct header *h)
{
    for (const struct header *c = headers_get(hs, HDR_CONNECTION); c; c = headers_next(hs, c))
        if (header_has_token(c->value, h->name))
            return true;
    return false;
}

#define DROP 0x80u /* in flags, only inside this function */

void headers_strip_hop(struct headers *hs)
{
    bool any = headers_get(hs, HDR_CONNECTION) != NULL;
    bool trailers = header_has_token(headers_value(hs, HDR_TE), S("trailers"));
    for (uint32_t i = 0; i < hs->n; i++) {
        struct header *h = &hs->p[i];
        if (hop_always(h->id) || (any && !end_to_end_always(h) && nominated(hs, h)))
            h->flags |= DROP;
        if (h->id == HDR_TE && trailers) {
            *h = (struct header){.name = h->name, .value = S("trailers"), .id = HDR_TE};
            trailers = false;
        }
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < hs->n; i++)
        if (!(hs->p[i].flags & DROP))
            hs->p[kept++] = hs->p[i];
    hs->n = kept;
}
