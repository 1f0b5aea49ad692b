/* Delegation: a rule that leaves its routes to another VirtualService (one level; istio.md §1.1).
 *
 * Each rule of the delegate is taken for what lies within the rule that delegates: their matches
 * hold both, and a pair that contradicts itself is dropped. What the delegate's rule does not say
 * is taken from the other.
 */
#include "pilot/build_internal.h"

#include <string.h>

/* Matches. */

/* Does every text that `in` matches match `out` too? Expressions are compared by their text. */
static bool string_within(const json_t *in, const json_t *out)
{
    struct slice prefix = jr_str(out, "prefix"), exact = jr_str(in, "exact");
    if (json_equal((json_t *)in, (json_t *)out))
        return true;
    if (!prefix.n)
        return false;
    return slice_starts(exact.n ? exact : jr_str(in, "prefix"), prefix);
}

/* Fields with one StringMatch. */
static bool merge_string(json_t *into, const json_t *root, const char *field)
{
    json_t *mine = json_object_get(into, field), *its = json_object_get(root, field);
    if (!its)
        return true;
    if (!mine)
        return json_object_set(into, field, its) == 0;
    return string_within(mine, its);
}

/* Maps: a name in both must say the same. */
static bool merge_map(json_t *into, const json_t *root, const char *field)
{
    json_t *mine = json_object_get(into, field), *its = json_object_get(root, field), *v;
    const char *name;
    if (!its)
        return true;
    if (!mine)
        return json_object_set_new(into, field, json_deep_copy(its)) == 0;
    json_object_foreach (its, name, v) {
        json_t *other = json_object_get(mine, name);
        if (other && !json_equal(other, v))
            return false;
        json_object_set(mine, name, v);
    }
    return true;
}

static bool merge_value(json_t *into, const json_t *root, const char *field)
{
    json_t *mine = json_object_get(into, field), *its = json_object_get(root, field);
    if (its && !mine)
        return json_object_set(into, field, its) == 0;
    return !its || json_equal(mine, its);
}

/* Both at once; NULL when nothing can match both. */
static json_t *match_both(const json_t *root, const json_t *own)
{
    static const char *const strings[] = {"uri", "scheme", "method", "authority"};
    static const char *const maps[] = {"headers", "withoutHeaders", "queryParams", "sourceLabels"};
    static const char *const values[] = {"port", "sourceNamespace", "gateways", "ignoreUriCase",
                                         "name"};
    json_t *both = own ? json_deep_copy(own) : json_object();
    bool ok = true;
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        ok = ok && merge_string(both, root, strings[i]);
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        ok = ok && merge_map(both, root, maps[i]);
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        ok = ok && (strcmp(values[i], "name") == 0 || merge_value(both, root, values[i]));
    if (ok)
        return both;
    json_decref(both);
    return NULL;
}

/* All pairs; an empty list on either side is one block that matches everything. false: no pair is
 * left. */
static bool merge_matches(json_t *rule, const json_t *root)
{
    const json_t *ours = jr_get(root, "match"), *own = jr_get(rule, "match");
    size_t n = jr_len(ours) ? jr_len(ours) : 1, m = jr_len(own) ? jr_len(own) : 1;
    if (!jr_len(ours) && !jr_len(own))
        return true;
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < m; k++) {
            json_t *both = match_both(jr_at(ours, i), jr_at(own, k));
            if (both)
                json_array_append_new(all, both);
        }
    bool any = json_array_size(all) > 0;
    json_object_set_new(rule, "match", all);
    return any;
}

/* Rules. */

static void merge_name(json_t *rule, const json_t *root)
{
    struct slice outer = jr_str(root, "name"), inner = jr_str(rule, "name");
    struct buf name = {0};
    if (!outer.n)
        return;
    buf_printf(&name, "%.*s%s%.*s", SLICE(outer), inner.n ? "-" : "", SLICE(inner));
    json_object_set_new(rule, "name", json_stringn(buf_slice(&name).p, name.n));
    buf_fini(&name);
}

static void fill_gaps(json_t *rule, const json_t *root)
{
    static const char *const fields[] = {
        "timeout", "retries", "fault",      "mirror",           "mirrors",
        "rewrite", "headers", "corsPolicy", "mirrorPercentage", "mirrorPercent"};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        json_t *v = json_object_get(root, fields[i]);
        if (v && !json_object_get(rule, fields[i]))
            json_object_set(rule, fields[i], v);
    }
}

const struct model_object *delegate_of(struct route_context *rc, const json_t *http)
{
    const json_t *d = jr_get(http, "delegate");
    struct slice ns = jr_str(d, "namespace"), name = jr_str(d, "name");
    if (!name.n)
        return NULL;
    return model_object(&rc->b->model,
                        arena_printf(rc->a, "virtualservices.networking.istio.io/%.*s/%.*s",
                                     SLICE(ns.n ? ns : rc->vs->ns), SLICE(name)));
}

json_t *delegate_rules(const struct model_object *delegate, const json_t *http)
{
    json_t *out = json_array();
    JR_EACH (jr_get(delegate->body->spec, "http"), i, v) {
        json_t *rule = json_deep_copy(v);
        bool nested = json_object_get(rule, "delegate") != NULL;
        if (!nested && merge_matches(rule, http)) {
            merge_name(rule, http);
            fill_gaps(rule, http);
            json_array_append(out, rule);
        }
        json_decref(rule);
    }
    return out;
}
