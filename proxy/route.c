#include "proxy/route.h"

#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "proxy/proxy_limits.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool has_upper(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 'A' && s.p[i] <= 'Z')
            return true;
    return false;
}

/* Strings. */

static bool starts(struct slice s, struct slice prefix, bool fold)
{
    return fold ? s.n >= prefix.n && slice_eq_nocase(slice_sub(s, 0, prefix.n), prefix)
                : slice_starts(s, prefix);
}

static bool ends(struct slice s, struct slice suffix, bool fold)
{
    return fold ? s.n >= suffix.n && slice_eq_nocase(slice_skip(s, s.n - suffix.n), suffix)
                : slice_ends(s, suffix);
}

static bool contains(struct slice s, struct slice part, bool fold)
{
    if (!fold)
        return slice_contains(s, part);
    for (size_t i = 0; i + part.n <= s.n; i++)
        if (slice_eq_nocase(slice_sub(s, i, part.n), part))
            return true;
    return false;
}

static bool in_range(const struct string_match *m, struct slice value)
{
    bool negative = value.n && value.p[0] == '-';
    uint64_t u;
    if (!slice_u64(slice_skip(value, negative), &u) || u > INT64_MAX)
        return false;
    int64_t v = negative ? -(int64_t)u : (int64_t)u;
    return v >= m->range_start && v < m->range_end;
}

bool string_match_test(const struct string_match *m, struct slice value)
{
    switch (m->kind) {
    case MATCH_EXACT:
        return m->ignore_case ? slice_eq_nocase(value, m->text) : slice_eq(value, m->text);
    case MATCH_PREFIX:
        return starts(value, m->text, m->ignore_case);
    case MATCH_SUFFIX:
        return ends(value, m->text, m->ignore_case);
    case MATCH_CONTAINS:
        return contains(value, m->text, m->ignore_case);
    case MATCH_REGEX:
        return regex_full_match(m->regex, value);
    case MATCH_PRESENT:
        return true;
    case MATCH_RANGE:
        return in_range(m, value);
    }
    wf_unreachable("match kind");
}

/* Hosts. */

static struct slice port_strip(struct slice host)
{
    struct slice name, port;
    if (!slice_cut_last(host, ':', &name, &port) || slice_find(port, ']') != SIZE_MAX)
        return host;
    return name;
}

const struct virtual_host *route_vhost_find(const struct route_table *t, struct slice host)
{
    char folded[PROXY_HOST_BYTES_MAX];
    if (t->ignore_port)
        host = port_strip(host);
    if (host.n > sizeof(folded))
        return t->any;
    if (has_upper(host)) {
        for (size_t i = 0; i < host.n; i++)
            folded[i] = lower(host.p[i]);
        host.p = folded;
    }
    const struct virtual_host *v = map_get(&t->exact, host);
    if (v)
        return v;
    /* Envoy: a wildcard stands for at least one byte. */
    for (size_t i = 0; i < t->suffix_count; i++)
        if (host.n > t->suffixes[i].text.n && slice_ends(host, t->suffixes[i].text))
            return t->suffixes[i].vhost;
    for (size_t i = 0; i < t->prefix_count; i++)
        if (host.n > t->prefixes[i].text.n && slice_starts(host, t->prefixes[i].text))
            return t->prefixes[i].vhost;
    return t->any;
}

/* Routes. */

static bool path_test(const struct route *r, const struct route_request *rq)
{
    switch (r->path_kind) {
    case PATH_PREFIX:
        return starts(rq->path, r->path, r->ignore_case);
    case PATH_EXACT:
        return r->ignore_case ? slice_eq_nocase(rq->path, r->path) : slice_eq(rq->path, r->path);
    case PATH_REGEX:
        return regex_full_match(r->path_regex, rq->path);
    case PATH_SEPARATED_PREFIX:
        return starts(rq->path, r->path, r->ignore_case) &&
               (rq->path.n == r->path.n || rq->path.p[r->path.n] == '/');
    case PATH_CONNECT:
        return rq->head->method_id == HTTP_CONNECT;
    }
    wf_unreachable("path kind");
}

static bool pseudo_value(const struct route_request *rq, struct slice name, struct slice *ret_value)
{
    const struct http_head *h = rq->head;
    if (slice_eq(name, S(":method")))
        *ret_value = h->method;
    else if (slice_eq(name, S(":authority")) || slice_eq(name, S("host")))
        *ret_value = h->authority;
    else if (slice_eq(name, S(":path")))
        *ret_value = h->path;
    else if (slice_eq(name, S(":scheme")))
        *ret_value = h->scheme;
    else
        return false;
    return true;
}

/* Every value is looked at, never a join of them: a decision on a join can be steered by sending
 * the field twice. Missing: no match, inverted or not, unless the resource says
 * treat_missing_as_empty. */
static bool header_test(const struct header_match *m, const struct route_request *rq)
{
    struct slice value;
    if (pseudo_value(rq, m->name, &value))
        return string_match_test(&m->value, value) != m->invert;
    const struct header *h = headers_find(&rq->head->headers, m->name);
    if (m->value.kind == MATCH_PRESENT)
        return (h != NULL) != m->invert;
    if (!h)
        return m->missing_as_empty && string_match_test(&m->value, S("")) != m->invert;
    bool any = false;
    for (; h && !any; h = headers_next(&rq->head->headers, h))
        any = string_match_test(&m->value, h->value);
    return any != m->invert;
}

static bool query_find(struct slice query, struct slice name, struct slice *ret_value)
{
    struct slice pair, rest = query;
    while (rest.n) {
        slice_cut(rest, '&', &pair, &rest);
        struct slice key, value;
        slice_cut(pair, '=', &key, &value);
        if (slice_eq(key, name)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool query_test(const struct query_match *m, const struct route_request *rq)
{
    struct slice value;
    return query_find(rq->query, m->name, &value) && string_match_test(&m->value, value);
}

static bool route_test(const struct route *r, const struct route_request *rq)
{
    /* CONNECT has no path: only a connect matcher takes it (Envoy: RouteMatch.connect_matcher). */
    if ((rq->head->method_id == HTTP_CONNECT && !rq->path.n) != (r->path_kind == PATH_CONNECT))
        return false;
    if (!path_test(r, rq) || (r->grpc_only && !rq->grpc))
        return false;
    for (size_t i = 0; i < r->header_count; i++)
        if (!header_test(&r->headers[i], rq))
            return false;
    for (size_t i = 0; i < r->query_count; i++)
        if (!query_test(&r->queries[i], rq))
            return false;
    return !r->has_runtime_fraction || rq->random % 1000000 < r->runtime_fraction.per_million;
}

const struct route *route_match(const struct virtual_host *v, const struct route_request *rq)
{
    for (size_t i = 0; i < v->route_count; i++)
        if (route_test(&v->routes[i], rq))
            return &v->routes[i];
    return NULL;
}

const struct weighted_cluster *route_cluster_pick(const struct weighted_cluster *clusters, size_t n,
                                                  uint32_t weight_total, uint64_t random)
{
    wf_assert(n > 0);
    if (n == 1)
        return clusters;
    wf_assert(weight_total > 0);
    uint64_t at = random % weight_total;
    for (size_t i = 0; i < n; i++) {
        if (at < clusters[i].weight)
            return &clusters[i];
        at -= clusters[i].weight;
    }
    wf_unreachable("weight_total is the sum of the weights");
}

/* Rewriting. */

static bool join(struct arena *arena, const struct slice *parts, size_t n, struct slice *ret)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += parts[i].n;
    char *p = arena_try_alloc(arena, bytes + 1);
    if (!p)
        return false;
    *ret = (struct slice){p, bytes};
    for (size_t i = 0; i < n; i++) {
        if (parts[i].n)
            memcpy(p, parts[i].p, parts[i].n);
        p += parts[i].n;
    }
    return true;
}

/* How much of the path the route's matcher named: what a prefix rewrite replaces. */
static size_t matched_bytes(const struct route *r, const struct route_request *rq)
{
    bool prefix = r->path_kind == PATH_PREFIX || r->path_kind == PATH_SEPARATED_PREFIX;
    return prefix ? r->path.n : rq->path.n;
}

static bool regex_rewrite(const struct route *r, const struct route_request *rq,
                          struct arena *arena, struct slice *ret)
{
    struct buf out = {.limit = PROXY_BODY_SOFT_BYTES};
    bool ok = regex_replace_all(r->regex_rewrite, rq->path, r->regex_substitution, &out);
    struct slice parts[] = {buf_slice(&out), rq->has_query ? S("?") : S(""), rq->query};
    ok = ok && join(arena, parts, ARRAY_LEN(parts), ret);
    buf_fini(&out);
    return ok;
}

bool route_path_rewrite(const struct route *r, const struct route_request *rq, struct arena *arena,
                        struct slice *ret_path)
{
    if (r->regex_rewrite)
        return regex_rewrite(r, rq, arena, ret_path);
    struct slice sep = rq->has_query ? S("?") : S("");
    if (!r->has_prefix_rewrite) {
        struct slice parts[] = {rq->path, sep, rq->query};
        if (rq->has_query && rq->query.p == rq->path.p + rq->path.n + 1) { /* still one string */
            *ret_path = (struct slice){rq->path.p, rq->path.n + 1 + rq->query.n};
            return true;
        }
        return join(arena, parts, ARRAY_LEN(parts), ret_path);
    }
    struct slice rest = slice_skip(rq->path, matched_bytes(r, rq));
    struct slice parts[] = {r->prefix_rewrite, rest, sep, rq->query};
    return join(arena, parts, ARRAY_LEN(parts), ret_path);
}

static struct slice redirect_path(const struct route *r, const struct route_request *rq,
                                  struct slice *ret_rest)
{
    *ret_rest = S("");
    if (r->redirect_has_path)
        return r->redirect_path;
    if (!r->redirect_has_prefix)
        return rq->path;
    *ret_rest = slice_skip(rq->path, matched_bytes(r, rq));
    return r->redirect_prefix;
}

bool route_redirect_location(const struct route *r, const struct route_request *rq,
                             struct slice scheme, struct arena *arena, struct slice *ret_location)
{
    char port[8] = "";
    struct slice rest, host = r->redirect_host.n ? r->redirect_host : rq->head->authority;
    struct slice new_scheme = r->redirect_scheme.n ? r->redirect_scheme : scheme;
    struct slice path = redirect_path(r, rq, &rest);
    if (r->redirect_port) {
        host = port_strip(host);
        snprintf(port, sizeof(port), ":%u", (unsigned)(r->redirect_port & 0xffff));
    } else if (r->redirect_scheme.n && !slice_eq(r->redirect_scheme, scheme)) {
        host = port_strip(host); /* the old scheme's port would be wrong */
    }
    bool query = rq->has_query && !r->redirect_strip_query && slice_find(path, '?') == SIZE_MAX;
    struct slice parts[] = {new_scheme,
                            S("://"),
                            host,
                            slice_of(port),
                            path,
                            rest,
                            query ? S("?") : S(""),
                            query ? rq->query : S("")};
    return join(arena, parts, ARRAY_LEN(parts), ret_location);
}

/* Affinity. */

static bool cookie_find(const struct headers *hs, struct slice name, struct slice *ret_value)
{
    for (const struct header *h = headers_get(hs, HDR_COOKIE); h; h = headers_next(hs, h)) {
        struct slice pair, rest = h->value;
        while (rest.n) {
            slice_cut(rest, ';', &pair, &rest);
            struct slice key, value;
            if (slice_cut(slice_trim(pair), '=', &key, &value) && slice_eq(key, name)) {
                *ret_value = value;
                return true;
            }
        }
    }
    return false;
}

static bool hash_value(const struct hash_policy *p, const struct route_request *rq,
                       struct slice peer, struct slice *ret_value)
{
    const struct header *h;
    switch (p->kind) {
    case HASH_HEADER:
        if (pseudo_value(rq, p->name, ret_value))
            return true;
        h = headers_find(&rq->head->headers, p->name);
        if (h)
            *ret_value = h->value;
        return h != NULL;
    case HASH_COOKIE:
        return cookie_find(&rq->head->headers, p->name, ret_value);
    case HASH_SOURCE_IP:
        *ret_value = peer;
        return peer.n > 0;
    case HASH_QUERY:
        return query_find(rq->query, p->name, ret_value);
    }
    wf_unreachable("hash kind");
}

uint64_t route_hash(const struct route *r, const struct route_request *rq, struct slice peer,
                    uint64_t fresh, const struct hash_policy **ret_cookie)
{
    uint64_t sum = 0;
    bool have = false;
    *ret_cookie = NULL;
    for (size_t i = 0; i < r->hash_count; i++) {
        const struct hash_policy *p = &r->hashes[i];
        struct slice value;
        uint64_t one;
        if (hash_value(p, rq, peer, &value)) {
            one = hash_bytes(value);
        } else if (p->kind == HASH_COOKIE && p->cookie_ttl >= 0) {
            one = fresh;
            *ret_cookie = p;
        } else {
            continue;
        }
        sum = have ? ((sum << 1) | (sum >> 63)) ^ one : one; /* Envoy: rotate, then xor */
        have = true;
        if (p->terminal)
            break;
    }
    return have && !sum ? 1 : sum;
}
