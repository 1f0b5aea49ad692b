#include "pilot/ads/response.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"

struct ads_response *ads_response_new(struct ads_names *names, bool delta)
{
    struct ads_response *r = MEM_NEW(struct ads_response);
    r->refs = 1;
    r->names = names;
    r->delta = delta;
    return r;
}

struct ads_response *ads_response_ref(struct ads_response *r)
{
    wf_assert(r->refs > 0);
    r->refs++;
    return r;
}

void ads_response_unref(struct ads_response *r)
{
    if (!r)
        return;
    wf_assert(r->refs > 0);
    if (--r->refs)
        return;
    for (size_t i = 0; i < r->items.n; i++)
        xds_resource_unref(r->items.p[i]);
    for (size_t i = 0; i < r->removed.n; i++)
        ads_name_unref(r->names, r->removed.p[i]);
    for (size_t i = 0; i < r->missing.n; i++)
        ads_name_unref(r->names, r->missing.p[i]);
    ads_name_unref(r->names, r->url);
    vec_fini(&r->items);
    vec_fini(&r->removed);
    vec_fini(&r->missing);
    mem_free(r);
}

struct slice ads_response_type_url(const struct ads_response *r)
{
    return r->type ? r->type->url : ads_name_slice(r->url);
}

void ads_response_add(struct ads_response *r, struct xds_resource *res)
{
    *vec_push(&r->items) = xds_resource_ref(res);
    r->bytes += res->body.n;
}

void ads_response_remove(struct ads_response *r, struct ads_name *name)
{
    *vec_push(&r->removed) = ads_name_ref(name);
}

void ads_response_miss(struct ads_response *r, struct ads_name *name)
{
    *vec_push(&r->missing) = ads_name_ref(name);
}

/* Bytes.
 *
 * Fields of a message may come in any order, so the ones that say what it is come first, then the
 * resources with their bodies last in each, then names. */

enum { GRPC_STATUS_NOT_FOUND = 5 };

static struct slice missing_text(void)
{
    return S("no such resource for this proxy");
}

static size_t any_bytes(const struct ads_response *r, size_t body)
{
    return pbw_any_size(ads_response_type_url(r), body);
}

/* Bytes inside one Resource (delta). */
static size_t resource_bytes(const struct ads_response *r, const struct xds_resource *res,
                             struct slice version)
{
    return pbw_bytes_size(1, version) + pbw_bytes_size(3, res->name) +
           pbw_len_size(2, any_bytes(r, res->body.n));
}

/* The header of resource i up to its body. */
static void put_resource(struct buf *b, const struct ads_response *r,
                         const struct xds_resource *res)
{
    if (!r->delta) {
        pbw_any_header(b, 2, ads_response_type_url(r), res->body.n);
        return;
    }
    char text[XDS_VERSION_TEXT];
    struct slice version = xds_version_format(res->version, text);
    pbw_len(b, 2, resource_bytes(r, res, version));
    pbw_bytes(b, 1, version);
    pbw_bytes(b, 3, res->name);
    pbw_any_header(b, 2, ads_response_type_url(r), res->body.n);
}

static size_t put_resource_size(const struct ads_response *r, const struct xds_resource *res)
{
    if (!r->delta)
        return pbw_len_size(2, any_bytes(r, res->body.n));
    char text[XDS_VERSION_TEXT];
    return pbw_len_size(2, resource_bytes(r, res, xds_version_format(res->version, text)));
}

/* version_info or system_version_info, type_url, nonce, control_plane. */
static void put_head(struct buf *b, const struct ads_response *r, struct slice identifier)
{
    char text[XDS_VERSION_TEXT];
    struct slice version = xds_version_format(r->version, text);
    if (r->delta) { /* D9: for people */
        int n = snprintf(text, sizeof(text), "%" PRIu64, r->revision);
        version = (struct slice){text, (size_t)n};
    }
    pbw_bytes(b, 1, version);
    pbw_bytes(b, 4, ads_response_type_url(r));
    pbw_bytes(b, 5, slice_of(r->nonce));
    if (identifier.n) {
        pbw_len(b, r->delta ? 7 : 6, pbw_bytes_size(1, identifier));
        pbw_bytes(b, 1, identifier);
    }
}

/* ResourceError {resource_name {name}, error_detail {code, message}}: field 9 of delta, 7 of SotW.
 */
static void put_missing(struct buf *b, const struct ads_response *r, const struct ads_name *name)
{
    struct slice text = missing_text();
    size_t inner = pbw_bytes_size(1, ads_name_slice(name));
    size_t status = 2 + pbw_bytes_size(2, text);
    pbw_len(b, r->delta ? 9 : 7, pbw_len_size(1, inner) + pbw_len_size(2, status));
    pbw_len(b, 1, inner);
    pbw_bytes(b, 1, ads_name_slice(name));
    pbw_len(b, 2, status);
    pbw_u64(b, 1, GRPC_STATUS_NOT_FOUND);
    pbw_bytes(b, 2, text);
}

static void put_rest(struct buf *b, const struct ads_response *r, size_t i)
{
    if (i < r->removed.n)
        pbw_bytes(b, 6, ads_name_slice(r->removed.p[i]));
    else
        put_missing(b, r, r->missing.p[i - r->removed.n]);
}

size_t ads_encoder_size(struct ads_response *r, struct slice identifier)
{
    struct buf tmp = {0};
    put_head(&tmp, r, identifier);
    for (size_t i = 0; i < r->removed.n + r->missing.n; i++)
        put_rest(&tmp, r, i);
    size_t n = tmp.n;
    buf_fini(&tmp);
    for (size_t i = 0; i < r->items.n; i++)
        n += put_resource_size(r, r->items.p[i]);
    return n;
}

void ads_encoder_init(struct ads_encoder *e, struct ads_response *r, struct slice identifier)
{
    *e = (struct ads_encoder){.r = r, .identifier = identifier};
    put_head(&e->head, r, identifier);
}

/* The next small bytes and the body behind them. false: nothing is left. */
static bool next_piece(struct ads_encoder *e)
{
    struct ads_response *r = e->r;
    buf_clear(&e->head);
    if (e->item < r->items.n) {
        put_resource(&e->head, r, r->items.p[e->item]);
        e->body = r->items.p[e->item++]->body;
        return true;
    }
    if (e->rest == r->removed.n + r->missing.n)
        return false;
    put_rest(&e->head, r, e->rest++);
    return true;
}

void ads_encoder_read(struct ads_encoder *e, char *dst, size_t n)
{
    while (n) {
        struct slice from = e->head.n ? buf_slice(&e->head) : e->body;
        if (!from.n) {
            bool more = next_piece(e);
            wf_assert(more);
            continue;
        }
        size_t take = from.n < n ? from.n : n;
        memcpy(dst, from.p, take);
        if (e->head.n)
            buf_consume(&e->head, take);
        else
            e->body = slice_skip(e->body, take);
        dst += take;
        n -= take;
    }
}

void ads_encoder_fini(struct ads_encoder *e)
{
    buf_fini(&e->head);
    *e = (struct ads_encoder){0};
}
