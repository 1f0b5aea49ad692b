#include "proxy/route.h"

#include "base/core/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a client sends reaches these matchers: "authority\npath\nquery\ncookie". */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_mem(data, size), authority, path, query, cookie;
    slice_cut(rest, '\n', &authority, &rest);
    slice_cut(rest, '\n', &path, &rest);
    slice_cut(rest, '\n', &query, &cookie);
    struct route_table *t = route_table_new();
    struct slice domains[] = {S("a.com"), S("*.b.com"), S("c.*")};
    struct query_match match = {.name = S("q"), .value = {.kind = MATCH_CONTAINS, .text = S("x")}};
    struct hash_policy hashes[] = {{.kind = HASH_COOKIE, .name = S("s"), .cookie_ttl = 0},
                                   {.kind = HASH_QUERY, .name = S("q")}};
    struct virtual_host *v = virtual_host_new();
    v->domains = domains;
    v->domain_count = ARRAY_LEN(domains);
    t->vhosts = &v;
    t->vhost_count = 1;
    wf_assert(route_table_index(t, NULL));
    struct route r = {.path_kind = PATH_SEPARATED_PREFIX,
                      .path = S("/p"),
                      .ignore_case = true,
                      .query_count = 1,
                      .queries = &match,
                      .hash_count = ARRAY_LEN(hashes),
                      .hashes = hashes,
                      .has_prefix_rewrite = true,
                      .prefix_rewrite = S("/r")};
    v->routes = &r;
    v->route_count = 1;
    struct arena arena = {0};
    struct http_head head = {.method = S("GET"), .authority = authority, .path = path};
    headers_add(&head.headers, &arena, HDR_COOKIE, cookie);
    struct route_request rq = {.head = &head, .path = path, .query = query, .has_query = true};
    const struct virtual_host *found = route_vhost_find(t, authority);
    const struct hash_policy *make;
    struct slice out;
    if (found && route_match(found, &rq) && route_path_rewrite(&r, &rq, &arena, &out))
        wf_assert(slice_starts(out, S("/r")) && slice_ends(out, query));
    route_hash(&r, &rq, authority, 1, &make);
    arena_fini(&arena);
    v->route_count = 0;
    conf_part_unref(&t->part);
    return 0;
}
