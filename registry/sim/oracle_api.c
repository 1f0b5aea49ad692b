/* The model, as the API shows it. Its objects are few: everything is made anew, but for the objects
 * themselves. */
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/wire/base64.h"
#include "registry/apiserver/internal.h"
#include "registry/sim/oracle.h"

void oracle_api_key_add(struct oracle *o, struct oracle_key *k)
{
    if (!slice_starts(k->key, S(ORACLE_API_PREFIX)))
        return;
    *vec_push(&o->api_keys) = k;
    for (size_t i = o->api_keys.n - 1; i > 0; i--) {
        if (slice_cmp(o->api_keys.p[i - 1]->key, k->key) < 0)
            break;
        o->api_keys.p[i] = o->api_keys.p[i - 1];
        o->api_keys.p[i - 1] = k;
    }
}

struct slice oracle_shown(struct oracle_key *k, size_t version)
{
    struct oracle_version *v = &k->versions.p[version];
    struct buf out = {0};
    struct err err = {0};
    if (v->shown.n)
        return v->shown;
    struct reg_object o = {.key = k->key, .value = v->value, .mod_rev = v->rev};
    json_t *object = api_object_as(&kinds[KIND_WORKLOAD_ENTRY], S(""), &o);
    wf_assert(json_write(&out, object, &err));
    json_decref(object);
    v->shown = slice_dup(buf_slice(&out));
    buf_fini(&out);
    return v->shown;
}

static struct slice shown_at(struct oracle *o, struct oracle_key *k, reg_rev rev)
{
    const struct oracle_version *v = oracle_at(o, k->key, rev);
    return v ? oracle_shown(k, (size_t)(v - k->versions.p)) : S("");
}

struct slice oracle_shown_at(struct oracle *o, struct slice key, reg_rev rev)
{
    struct oracle_key *k = map_get(&o->by_key, key);
    return k ? shown_at(o, k, rev) : S("");
}

void oracle_shown_list(struct oracle *o, struct slice prefix, struct slice after, size_t limit,
                       reg_rev rev, struct buf *out)
{
    struct slice last = S("");
    size_t n = 0;
    bool more = false;
    buf_append(out, S("{\"apiVersion\":\"" ORACLE_API_VERSION "\",\"items\":["));
    for (size_t i = 0; i < o->api_keys.n && !more; i++) {
        struct oracle_key *k = o->api_keys.p[i];
        struct slice shown = shown_at(o, k, rev);
        if (!shown.n || !slice_starts(k->key, prefix) || slice_cmp(k->key, after) <= 0)
            continue;
        more = n == limit;
        if (more)
            break;
        buf_append(out, n++ ? S(",") : S(""));
        buf_append(out, shown);
        last = k->key;
    }
    buf_append(out, S("],\"kind\":\"" ORACLE_API_KIND "List\",\"metadata\":{"));
    if (more) {
        buf_append(out, S("\"continue\":\""));
        base64url_encode(out, last);
        buf_append(out, S("\","));
    }
    buf_printf(out, "\"resourceVersion\":\"%llu\"}}\n", (unsigned long long)rev);
}

const struct oracle_event *oracle_api_event(const struct oracle *o, size_t at)
{
    return &o->events.p[o->api_events.p[at]];
}

size_t oracle_api_after(const struct oracle *o, reg_rev rev)
{
    size_t a = 0, b = o->api_events.n;
    while (a < b) {
        size_t m = (a + b) / 2;
        if (oracle_api_event(o, m)->rev <= rev)
            a = m + 1;
        else
            b = m;
    }
    return a;
}

size_t oracle_api_next(const struct oracle *o, size_t at, struct slice prefix)
{
    while (at < o->api_events.n && !slice_starts(oracle_api_event(o, at)->key->key, prefix))
        at++;
    return at;
}

void oracle_shown_event(const struct oracle_event *e, struct buf *out)
{
    const struct oracle_version *v = &e->key->versions.p[e->version];
    bool had = e->version > 0 && !e->key->versions.p[e->version - 1].deleted;
    const char *type = v->deleted ? "DELETED" : had ? "MODIFIED" : "ADDED";
    buf_printf(out, "{\"type\":\"%s\",\"object\":%.*s}", type,
               SLICE(oracle_shown(e->key, e->version)));
}

struct slice oracle_mark(const struct oracle_version *v)
{
    static const char field[] = "\"sim\":\"";
    if (!v || v->deleted)
        return S("");
    const char *p = memmem(v->value.p, v->value.n, field, sizeof(field) - 1);
    if (!p)
        return S("");
    struct slice rest = slice_skip(v->value, (size_t)(p - v->value.p) + sizeof(field) - 1);
    return slice_sub(rest, 0, slice_find(rest, '"'));
}
