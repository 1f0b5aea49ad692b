#include "proxy/xds/ads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/any_types.h"
#include "api/proto/discovery.pb-c.h"
#include "base/core/assert.h"
#include "google/protobuf/struct.pb-c.h"

#define REQ Envoy__Service__Discovery__V3__DeltaDiscoveryRequest
#define RESP Envoy__Service__Discovery__V3__DeltaDiscoveryResponse
#define GRPC_INTERNAL 13

void ads_out_fini(struct ads_out *out)
{
    vec_fini(&out->messages);
    arena_fini(&out->arena);
    *out = (struct ads_out){0};
}

void ads_init(struct ads *a, const struct ads_node *node, struct resources *resources)
{
    *a = (struct ads){.node = node, .resources = resources};
}

void ads_close(struct ads *a)
{
    for (int t = 0; t < XDS_TYPE_COUNT; t++) {
        map_fini(&a->subscribed[t]);
        a->asked[t] = a->heard[t] = false;
    }
    for (size_t i = 0; i < a->pending_count; i++)
        mem_free(a->pending[i].error);
    a->pending_count = 0;
    a->open = false;
}

void ads_fini(struct ads *a)
{
    ads_close(a);
}

/* The node. */

static Google__Protobuf__Value *value_text(struct arena *arena, struct slice s)
{
    Google__Protobuf__Value *v = PB_NEW(arena, google__protobuf__value);
    v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
    v->string_value = pb_str(arena, s);
    return v;
}

static void struct_add(struct arena *arena, Google__Protobuf__Struct *s, struct slice key,
                       Google__Protobuf__Value *value)
{
    Google__Protobuf__Struct__FieldsEntry *e =
        PB_NEW(arena, google__protobuf__struct__fields_entry);
    e->key = pb_str(arena, key);
    e->value = value;
    PB_PUSH(arena, s, fields, e);
}

static Google__Protobuf__Struct *struct_of(struct arena *arena, const struct slice (*pairs)[2],
                                           size_t n)
{
    Google__Protobuf__Struct *s = PB_NEW(arena, google__protobuf__struct);
    for (size_t i = 0; i < n; i++)
        struct_add(arena, s, pairs[i][0], value_text(arena, pairs[i][1]));
    return s;
}

static Envoy__Config__Core__V3__Node *node_message(struct arena *arena, const struct ads_node *n)
{
    Envoy__Config__Core__V3__Node *node = PB_NEW(arena, envoy__config__core__v3__node);
    node->id = pb_str(arena, n->id);
    node->cluster = pb_str(arena, n->cluster);
    node->user_agent_name = pb_str(arena, S("weft-proxy"));
    node->user_agent_version_type_case =
        ENVOY__CONFIG__CORE__V3__NODE__USER_AGENT_VERSION_TYPE_USER_AGENT_VERSION;
    node->user_agent_version = pb_str(arena, n->version);
    node->metadata = struct_of(arena, n->metadata, n->metadata_count);
    Google__Protobuf__Value *labels = PB_NEW(arena, google__protobuf__value);
    labels->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
    labels->struct_value = struct_of(arena, n->labels, n->label_count);
    struct_add(arena, node->metadata, S("LABELS"), labels);
    pb_sort_map(node->metadata->fields, node->metadata->n_fields);
    node->locality = PB_NEW(arena, envoy__config__core__v3__locality);
    node->locality->region = pb_str(arena, n->region);
    node->locality->zone = pb_str(arena, n->zone);
    node->locality->sub_zone = pb_str(arena, n->subzone);
    return node;
}

/* Requests. */

static REQ *request_new(struct arena *arena, enum xds_type type)
{
    REQ *r = PB_NEW(arena, envoy__service__discovery__v3__delta_discovery_request);
    r->type_url = pb_str(arena, xds_types[type].url);
    return r;
}

static void request_send(struct ads_out *out, REQ *r)
{
    *vec_push(&out->messages) = pb_pack_arena(&r->base, &out->arena);
}

static void add_name(struct arena *arena, char ***list, size_t *n, struct slice name)
{
    pb_push_(arena, list, n, pb_str(arena, name));
}

/* What we hold of the type, so that the server sends only the difference. A listener that is not
 * bound is held in no version: it comes again, and its answer says what is wrong. */
static void add_versions(struct ads *a, struct arena *arena, enum xds_type type, REQ *r)
{
    MAP_EACH (&a->resources->by_name[type], e) {
        const struct resource *res = e->value;
        Envoy__Service__Discovery__V3__DeltaDiscoveryRequest__InitialResourceVersionsEntry *v = PB_NEW(
            arena,
            envoy__service__discovery__v3__delta_discovery_request__initial_resource_versions_entry);
        v->key = pb_str(arena, res->name);
        v->value = pb_str(arena, res->socket.unbound ? S("") : res->version);
        PB_PUSH(arena, r, initial_resource_versions, v);
    }
    if (r->n_initial_resource_versions)
        pb_sort_map(r->initial_resource_versions, r->n_initial_resource_versions);
}

/* Names that are referred to now and were not, and the reverse, into a request. */
static bool subscription_update(struct ads *a, struct arena *arena, enum xds_type type, REQ *r)
{
    struct map wanted = {0};
    void *mark = a->asked[type] ? (void *)&a->subscribed : a; /* a: in the first request */
    struct map *have = &a->subscribed[type];
    have->copies_keys = true;
    resources_wanted(a->resources, type, &wanted);
    MAP_EACH (&wanted, e)
        if (!map_get(have, e->key))
            add_name(arena, &r->resource_names_subscribe, &r->n_resource_names_subscribe, e->key);
    MAP_EACH (have, e)
        if (!map_get(&wanted, e->key))
            add_name(arena, &r->resource_names_unsubscribe, &r->n_resource_names_unsubscribe,
                     e->key);
    for (size_t i = 0; i < r->n_resource_names_subscribe; i++)
        map_put(have, slice_of(r->resource_names_subscribe[i]), mark);
    for (size_t i = 0; i < r->n_resource_names_unsubscribe; i++)
        map_del(have, slice_of(r->resource_names_unsubscribe[i]));
    map_fini(&wanted);
    return r->n_resource_names_subscribe || r->n_resource_names_unsubscribe;
}

/* What a response of the type may newly refer to, or no longer. */
static const bool refers[XDS_TYPE_COUNT][XDS_TYPE_COUNT] = {
    [XDS_CDS] = {[XDS_EDS] = true},
    [XDS_LDS] = {[XDS_RDS] = true, [XDS_VHDS] = true},
    [XDS_RDS] = {[XDS_VHDS] = true},
};

/* Resources that nobody refers to any more: the server was told, so they are gone. */
static void forget_unsubscribed(struct ads *a, enum xds_type type, const REQ *r)
{
    for (size_t i = 0; i < r->n_resource_names_unsubscribe; i++)
        resources_remove(a->resources, type, slice_of(r->resource_names_unsubscribe[i]));
}

/* Sends what changed in the references; the first request of a type carries the versions held. */
static void subscribe(struct ads *a, enum xds_type type, struct ads_out *out)
{
    REQ *r = request_new(&out->arena, type);
    bool changed = subscription_update(a, &out->arena, type, r);
    if (!changed)
        return;
    if (!a->asked[type])
        add_versions(a, &out->arena, type, r);
    a->asked[type] = true;
    forget_unsubscribed(a, type, r);
    request_send(out, r);
}

static void subscribe_after(struct ads *a, enum xds_type of, struct ads_out *out)
{
    for (int t = 0; t < XDS_TYPE_COUNT; t++)
        if (refers[of][t])
            subscribe(a, (enum xds_type)t, out);
}

void ads_open(struct ads *a, struct ads_out *out)
{
    static const enum xds_type wildcards[] = {XDS_CDS, XDS_LDS};
    wf_assert(!a->open);
    a->open = true;
    MAP_EACH (&a->resources->by_name[XDS_LDS], e) {
        struct resource *res = e->value;
        res->socket.told = res->socket.unbound ? ADS_TOLD_NOTHING : ADS_TOLD_BOUND;
        res->socket.response = 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(wildcards); i++) {
        REQ *r = request_new(&out->arena, wildcards[i]);
        if (i == 0) /* the first message of the stream says who we are */
            r->node = node_message(&out->arena, a->node);
        add_versions(a, &out->arena, wildcards[i], r);
        a->asked[wildcards[i]] = true;
        request_send(out, r);
    }
    subscribe_after(a, XDS_CDS, out);
    subscribe_after(a, XDS_LDS, out);
}

/* Responses. */

static void pending_error(struct ads_pending *p, const char *text)
{
    size_t old = p->error ? strlen(p->error) : 0, n = strlen(text);
    if (old + n + 3 > XDS_ERROR_BYTES_MAX)
        return;
    p->error = mem_resize(p->error, old + n + 3);
    if (old) {
        memcpy(p->error + old, "; ", 2);
        old += 2;
    }
    memcpy(p->error + old, text, n + 1);
}

static void take_resource(struct ads *a, struct ads_pending *p,
                          const Envoy__Service__Discovery__V3__Resource *in, int64_t wall_ms)
{
    struct err err = {0};
    if (!in->resource) /* a heartbeat of a resource with a time to live */
        return;
    struct slice body = any_value(in->resource);
    a->resources_received++;
    a->resource_bytes += body.n;
    if (!slice_eq(slice_of(in->resource->type_url), xds_types[p->type].url))
        err_set(&err, ERR_INVALID, "resource %s: type %s in a response of %s", in->name,
                in->resource->type_url, xds_types[p->type].short_name);
    else if (resources_put(a->resources, p->type, slice_of(in->name), slice_of(in->version), body,
                           wall_ms, &err))
        resources_find(a->resources, p->type, slice_of(in->name))->socket.response = p->number;
    if (err.code)
        pending_error(p, err.msg);
}

/* The first response answers the whole first request: a table without virtual hosts is named in
 * none. Tables that were asked for later are answered by their hosts. */
static void take_first_vhosts(struct ads *a)
{
    MAP_EACH (&a->subscribed[XDS_VHDS], e)
        if (e->value == a)
            resources_answered(a->resources, slice_sub(e->key, 0, e->key.n - strlen("/*")));
}

static void take_vhosts(struct ads *a, size_t bytes)
{
    a->resources->vhosts_to_come = bytes >= XDS_PART_BYTES;
    a->resources->cut_since = 0;
    a->resources->dirty = true; /* tables may wait for just this */
    if (!a->heard[XDS_VHDS])
        take_first_vhosts(a);
}

static bool response_take(struct ads *a, const RESP *in, const struct xds_type_info *type,
                          int64_t wall_ms, struct err *err)
{
    if (a->pending_count == XDS_PENDING_MAX)
        return err_set(err, ERR_LIMIT, "ads: %d responses wait for their ACK", XDS_PENDING_MAX);
    struct ads_pending *p = &a->pending[a->pending_count++];
    *p = (struct ads_pending){.type = type->type, .number = a->updates + 1};
    if (!slice_cstr(slice_of(in->nonce), p->nonce, sizeof(p->nonce)))
        return err_set(err, ERR_INVALID, "ads: nonce of %zu bytes", strlen(in->nonce));
    uint64_t before = a->resource_bytes;
    for (size_t i = 0; i < in->n_resources; i++)
        take_resource(a, p, in->resources[i], wall_ms);
    for (size_t i = 0; i < in->n_removed_resources; i++)
        resources_remove(a->resources, type->type, slice_of(in->removed_resources[i]));
    if (type->type == XDS_VHDS)
        take_vhosts(a, a->resource_bytes - before);
    a->resources->received[type->type] = a->heard[type->type] = true;
    a->updates++;
    a->rejected += p->error != NULL;
    return true;
}

bool ads_message(struct ads *a, struct slice message, int64_t wall_ms, struct ads_out *out,
                 struct err *err)
{
    struct arena scratch = {0};
    bool ok = true;
    static const struct pb_limits limits = {.depth = 100,
                                            .bytes = XDS_MESSAGE_BYTES_MAX,
                                            .elements = 4000000,
                                            .memory = (size_t)XDS_MESSAGE_BYTES_MAX * 4};
    const RESP *in =
        pb_unpack_limited(&envoy__service__discovery__v3__delta_discovery_response__descriptor,
                          message, &limits, &scratch, err);
    const struct xds_type_info *type = in ? xds_type_by_url(slice_of(in->type_url)) : NULL;
    if (!in) {
        ok = err_wrap(err, "ads: response");
    } else if (type) { /* a type that nobody asked for is passed over */
        if (in->control_plane)
            snprintf(a->control_plane, sizeof(a->control_plane), "%s",
                     in->control_plane->identifier);
        ok = response_take(a, in, type, wall_ms, err);
        if (ok)
            subscribe_after(a, type->type, out);
    }
    arena_fini(&scratch);
    return ok;
}

/* Answers. */

void ads_not_bound(struct ads *a, struct slice why)
{
    char text[XDS_ERROR_BYTES_MAX / 2];
    snprintf(text, sizeof(text), "%.*s", SLICE(why));
    for (size_t i = 0; i < a->pending_count; i++) {
        struct ads_pending *p = &a->pending[i];
        if (p->sealed || (p->type != XDS_RDS && p->type != XDS_VHDS))
            continue;
        a->rejected += p->error == NULL;
        pending_error(p, text);
    }
}

void ads_sealed(struct ads *a, uint64_t generation)
{
    for (size_t i = 0; i < a->pending_count; i++)
        if (!a->pending[i].sealed) {
            a->pending[i].sealed = true;
            a->pending[i].generation = generation;
        }
}

static void answer(struct ads_pending *p, struct ads_out *out)
{
    REQ *r = request_new(&out->arena, p->type);
    r->response_nonce = pb_str(&out->arena, slice_of(p->nonce));
    if (p->error) {
        r->error_detail = PB_NEW(&out->arena, google__rpc__status);
        r->error_detail->code = GRPC_INTERNAL;
        r->error_detail->message = pb_str(&out->arena, slice_of(p->error));
    }
    request_send(out, r);
    mem_free(p->error);
}

/* The answer to a response of listeners refuses those that it brought and that are not bound, and
 * only them: the server takes the others to be in force. */
static void answer_listeners(struct ads *a, struct ads_pending *p)
{
    MAP_EACH (&a->resources->by_name[XDS_LDS], e) {
        struct resource *res = e->value;
        if (res->socket.response != p->number)
            continue;
        res->socket.told = res->socket.unbound ? ADS_TOLD_UNBOUND : ADS_TOLD_BOUND;
        if (!res->socket.unbound)
            continue;
        a->rejected += p->error == NULL;
        pending_error(p, res->socket.unbound);
    }
}

static bool answer_is_due(const struct ads *a, const struct resource *res)
{
    for (size_t i = 0; i < a->pending_count; i++)
        if (a->pending[i].number == res->socket.response)
            return true;
    return false;
}

static bool told_right(const struct ads *a, const struct resource *res)
{
    if (res->socket.told == ADS_TOLD_NOTHING || answer_is_due(a, res))
        return true;
    return (res->socket.told == ADS_TOLD_UNBOUND) == (res->socket.unbound != NULL);
}

/* Listeners of which the server knows the wrong thing are asked for again. */
static void ask_again(struct ads *a, struct ads_out *out)
{
    REQ *r = request_new(&out->arena, XDS_LDS);
    MAP_EACH (&a->resources->by_name[XDS_LDS], e) {
        struct resource *res = e->value;
        if (told_right(a, res))
            continue;
        res->socket.told = ADS_TOLD_NOTHING;
        add_name(&out->arena, &r->resource_names_subscribe, &r->n_resource_names_subscribe,
                 res->name);
        add_name(&out->arena, &r->resource_names_unsubscribe, &r->n_resource_names_unsubscribe,
                 res->name);
    }
    if (r->n_resource_names_subscribe)
        request_send(out, r);
}

void ads_applied(struct ads *a, uint64_t generation, const struct bind_failures *failed,
                 struct ads_out *out)
{
    size_t kept = 0;
    if (failed)
        resources_opened(a->resources, failed);
    for (size_t i = 0; i < a->pending_count; i++) {
        struct ads_pending p = a->pending[i];
        if (!p.sealed || p.generation > generation) {
            a->pending[kept++] = p;
            continue;
        }
        if (p.type == XDS_LDS)
            answer_listeners(a, &p);
        answer(&p, out);
    }
    a->pending_count = kept;
    if (a->open)
        ask_again(a, out);
}
