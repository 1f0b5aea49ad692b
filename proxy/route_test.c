#include "base/core/hash.h"
#include "proxy/rng.h"
#include "proxy/route.h"

#include "base/wire/test.h"

static struct virtual_host *vhost(const char *name, const char *domains)
{
    struct virtual_host *v = virtual_host_new();
    struct slice one, rest = slice_of(domains);
    v->name = slice_of(name);
    v->domains = ARENA_ARRAY(&v->part.arena, struct slice, 8);
    while (rest.n) {
        slice_cut(rest, ' ', &one, &rest);
        v->domains[v->domain_count++] = one;
    }
    return v;
}

static struct route_table *table(const char *const (*pairs)[2], size_t n)
{
    struct route_table *t = route_table_new();
    t->name = S("80");
    t->vhosts = ARENA_ARRAY(&t->part.arena, struct virtual_host *, n);
    for (size_t i = 0; i < n; i++)
        t->vhosts[t->vhost_count++] = vhost(pairs[i][0], pairs[i][1]);
    return t;
}

static const char *const hosts[][2] = {
    {"exact", "a.example.com a.example.com:80"},
    {"suffix", "*.example.com"},
    {"longer", "*.b.example.com"},
    {"dash", "*-x.example.com"},
    {"prefix", "shop.*"},
    {"longer-prefix", "shop.eu.*"},
    {"any", "*"},
};

/* Wrong: a request for one service is answered by another. */
static void test_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *host, *want;
    } cases[] = {
        {"a.example.com", "exact"},
        {"A.Example.COM", "exact"},
        {"a.example.com:80", "exact"},
        {"a.example.com:81", "any"},
        {"c.example.com", "suffix"},
        {"x.b.example.com", "longer"},
        {".example.com", "any"},
        {"c-x.example.com", "dash"},
        {"example.com", "any"},
        {"shop.fr", "prefix"},
        {"shop.eu.fr", "longer-prefix"},
        {"shop.", "any"},
        {"shop.b.example.com", "longer"}, /* suffix goes before prefix */
        {"", "any"},
    };
    struct route_table *t = table(hosts, ARRAY_LEN(hosts));
    struct err err = {0};
    assert_true(route_table_index(t, &err));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct virtual_host *v = route_vhost_find(t, slice_of(cases[i].host));
        assert_non_null(v);
        check_slice(v->name, slice_of(cases[i].want));
    }
    char long_host[400];
    memset(long_host, 'a', sizeof(long_host));
    check_slice(route_vhost_find(t, slice_mem(long_host, sizeof(long_host)))->name, S("any"));
    conf_part_unref(&t->part);
}

/* Wrong: "reviews:9080" falls through where the table says that ports do not matter. */
static void test_ports(void **state)
{
    (void)state;
    struct route_table *t = table(hosts, 2);
    t->ignore_port = true;
    assert_true(route_table_index(t, NULL));
    check_slice(route_vhost_find(t, S("a.example.com:81"))->name, S("exact"));
    check_slice(route_vhost_find(t, S("c.example.com:81"))->name, S("suffix"));
    assert_null(route_vhost_find(t, S("[::1]:81")));
    conf_part_unref(&t->part);
}

/* Wrong: which of two virtual hosts answers depends on the order of hashing. */
static void test_twice(void **state)
{
    (void)state;
    static const struct {
        const char *pairs[2][2];
        const char *want;
    } rows[] = {
        {{{"one", "a.com"}, {"two", "b.com a.com"}}, "domain a.com"},
        {{{"one", "*"}, {"two", "*"}}, "domain *"},
        {{{"one", "*.a"}, {"two", "*.a"}}, "domain .a"},
        {{{"one", "b.*"}, {"two", "b.*"}}, "domain b."},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        struct route_table *t = table(rows[i].pairs, 2);
        assert_false(route_table_index(t, &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_non_null(strstr(err.msg, "RouteConfiguration 80: "));
        assert_non_null(strstr(err.msg, rows[i].want));
        assert_non_null(strstr(err.msg, "one"));
        assert_non_null(strstr(err.msg, "two"));
        conf_part_unref(&t->part);
    }
}

/* Routes. */

struct request {
    struct arena arena;
    struct http_head head;
    struct route_request rq;
};

/* "GET /path?query name=value name=value" */
static void request_init(struct request *r, const char *text)
{
    struct slice word, rest = slice_of(text);
    *r = (struct request){.rq.head = &r->head};
    slice_cut(rest, ' ', &r->head.method, &rest);
    r->head.method_id = (uint8_t)http_method_parse(r->head.method);
    r->head.authority = S("a.com");
    slice_cut(rest, ' ', &r->head.path, &rest);
    r->rq.has_query = slice_cut(r->head.path, '?', &r->rq.path, &r->rq.query);
    while (rest.n) {
        struct slice name, value;
        slice_cut(rest, ' ', &word, &rest);
        slice_cut(word, '=', &name, &value);
        headers_add_name(&r->head.headers, &r->arena, name, value);
    }
    r->rq.grpc = headers_find(&r->head.headers, S("grpc")) != NULL;
}

static struct regex *re(const char *pattern)
{
    struct regex *r = regex_new(slice_of(pattern), NULL);
    assert_non_null(r);
    return r;
}

#define PATH(k, p) .path_kind = (k), .path = S_INIT(p)

/* Wrong: traffic for one version or method goes to another. */
static void test_match(void **state)
{
    (void)state;
    struct header_match exact = {.name = S("x"), .value = {.kind = MATCH_EXACT, .text = S("1")}};
    struct header_match not_exact = exact, not_exact_empty = exact;
    not_exact.invert = not_exact_empty.invert = not_exact_empty.missing_as_empty = true;
    struct header_match present = {.name = S("x"), .value.kind = MATCH_PRESENT};
    struct header_match absent = present;
    absent.invert = true;
    struct header_match range = {
        .name = S("x"), .value = {.kind = MATCH_RANGE, .range_start = -5, .range_end = 10}};
    struct header_match method = {.name = S(":method"),
                                  .value = {.kind = MATCH_EXACT, .text = S("POST")}};
    struct header_match fold = {
        .name = S("x"), .value = {.kind = MATCH_CONTAINS, .ignore_case = true, .text = S("hello")}};
    struct query_match query = {.name = S("q"), .value = {.kind = MATCH_PREFIX, .text = S("v")}};
    struct query_match query_there = {.name = S("q"), .value.kind = MATCH_PRESENT};
    struct {
        struct route route;
        const char *request;
        bool want;
    } cases[] = {
        {{PATH(PATH_PREFIX, "/a")}, "GET /a", true},
        {{PATH(PATH_PREFIX, "/a")}, "GET /ab?x=1", true},
        {{PATH(PATH_PREFIX, "/a")}, "GET /A", false},
        {{PATH(PATH_PREFIX, "/a"), .ignore_case = true}, "GET /A/b", true},
        {{PATH(PATH_PREFIX, "/")}, "CONNECT ", false},
        {{PATH(PATH_CONNECT, "")}, "CONNECT ", true},
        {{PATH(PATH_CONNECT, "")}, "GET /", false},
        {{PATH(PATH_EXACT, "/a")}, "GET /a?x=1", true},
        {{PATH(PATH_EXACT, "/a")}, "GET /a/", false},
        {{PATH(PATH_SEPARATED_PREFIX, "/a")}, "GET /a", true},
        {{PATH(PATH_SEPARATED_PREFIX, "/a")}, "GET /a/b", true},
        {{PATH(PATH_SEPARATED_PREFIX, "/a")}, "GET /ab", false},
        {{.path_kind = PATH_REGEX, .path_regex = re("/v[0-9]+/.*")}, "GET /v12/x?y", true},
        {{.path_kind = PATH_REGEX, .path_regex = re("/v[0-9]+")}, "GET /v12/x", false},
        {{PATH(PATH_PREFIX, "/"), .grpc_only = true}, "POST / grpc=1", true},
        {{PATH(PATH_PREFIX, "/"), .grpc_only = true}, "POST /", false},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &exact}, "GET / x=1", true},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &exact}, "GET / x=2", false},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &exact}, "GET / x=2 x=1", true},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &not_exact},
         "GET / x=2 x=1",
         false},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &not_exact}, "GET / x=2", true},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &not_exact}, "GET /", false},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &not_exact_empty}, "GET /", true},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &present}, "GET / x=", true},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &absent}, "GET / x=", false},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &absent}, "GET /", true},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &range}, "GET / x=-5", true},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &range}, "GET / x=10", false},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &range}, "GET / x=ten", false},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &method}, "POST /", true},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &method}, "GET /", false},
        {{PATH(PATH_PREFIX, "/"), .header_count = 1, .headers = &fold}, "GET / x=aHELLOb", true},
        {{PATH(PATH_PREFIX, "/"), .query_count = 1, .queries = &query}, "GET /?p=1&q=v1", true},
        {{PATH(PATH_PREFIX, "/"), .query_count = 1, .queries = &query}, "GET /?q=1", false},
        {{PATH(PATH_PREFIX, "/"), .query_count = 1, .queries = &query_there}, "GET /?q", true},
        {{PATH(PATH_PREFIX, "/"), .query_count = 1, .queries = &query_there}, "GET /", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct virtual_host v = {.route_count = 1, .routes = &cases[i].route};
        struct request r;
        request_init(&r, cases[i].request);
        if ((route_match(&v, &r.rq) != NULL) != cases[i].want)
            fail_msg("case %zu: %s", i, cases[i].request);
        arena_fini(&r.arena);
        regex_free(cases[i].route.path_regex);
    }
}

/* Wrong: a later, broader route hides an earlier one, or a fraction takes all or nothing. */
static void test_order(void **state)
{
    (void)state;
    struct route routes[] = {
        {.name = S("some"),
         PATH(PATH_PREFIX, "/a"),
         .has_runtime_fraction = true,
         .runtime_fraction = {250000}},
        {.name = S("a"), PATH(PATH_PREFIX, "/a")},
        {.name = S("all"), PATH(PATH_PREFIX, "/")},
    };
    struct virtual_host v = {.route_count = 3, .routes = routes};
    struct request r;
    struct rng rng = {7};
    int some = 0;
    request_init(&r, "GET /a");
    for (int i = 0; i < 10000; i++) {
        r.rq.random = rng_next(&rng);
        const struct route *got = route_match(&v, &r.rq);
        assert_false(slice_eq(got->name, S("all")));
        some += slice_eq(got->name, S("some"));
    }
    assert_in_range(some, 2300, 2700);
    arena_fini(&r.arena);
}

/* Wrong: a canary set to 10 % gets 1 % or 50 %. */
static void test_weights(void **state)
{
    (void)state;
    struct weighted_cluster c[] = {{.weight = 90}, {.weight = 0}, {.weight = 10}};
    struct rng rng = {1};
    int counts[3] = {0};
    for (int i = 0; i < 100000; i++)
        counts[route_cluster_pick(c, 3, 100, rng_next(&rng)) - c]++;
    assert_in_range(counts[0], 89500, 90500);
    assert_int_equal(counts[1], 0);
    assert_in_range(counts[2], 9500, 10500);
}

/* Wrong: the upstream sees a path that the user did not write. */
static void test_rewrite(void **state)
{
    (void)state;
    struct {
        struct route route;
        const char *request, *want;
    } cases[] = {
        {{PATH(PATH_PREFIX, "/")}, "GET /a?b=c", "/a?b=c"},
        {{PATH(PATH_PREFIX, "/")}, "GET /a?", "/a?"},
        {{PATH(PATH_PREFIX, "/v1"), .has_prefix_rewrite = true, .prefix_rewrite = S("/v2")},
         "GET /v1/x?q",
         "/v2/x?q"},
        {{PATH(PATH_PREFIX, "/v1/"), .has_prefix_rewrite = true, .prefix_rewrite = S("/")},
         "GET /v1/x",
         "/x"},
        {{PATH(PATH_EXACT, "/v1"), .has_prefix_rewrite = true, .prefix_rewrite = S("/v2")},
         "GET /v1?q",
         "/v2?q"},
        {{PATH(PATH_PREFIX, "/"), .regex_rewrite = re("^/service/([^/]+)(/.*)$"),
          .regex_substitution = S("\\2/instance/\\1")},
         "GET /service/foo/v1/api?k=v",
         "/v1/api/instance/foo?k=v"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct request r;
        struct slice got;
        request_init(&r, cases[i].request);
        assert_true(route_path_rewrite(&cases[i].route, &r.rq, &r.arena, &got));
        check_slice(got, slice_of(cases[i].want));
        arena_fini(&r.arena);
        regex_free(cases[i].route.regex_rewrite);
    }
}

/* Wrong: browsers are sent to a place that is not there. */
static void test_redirect(void **state)
{
    (void)state;
    struct {
        struct route route;
        const char *want;
    } cases[] = {
        {{PATH(PATH_PREFIX, "/a"), .redirect_scheme = S("https")}, "https://a.com/a/b?c"},
        {{PATH(PATH_PREFIX, "/a"), .redirect_host = S("b.com"), .redirect_port = 8443},
         "http://b.com:8443/a/b?c"},
        {{PATH(PATH_PREFIX, "/a"), .redirect_has_path = true, .redirect_path = S("/x")},
         "http://a.com/x?c"},
        {{PATH(PATH_PREFIX, "/a"), .redirect_has_path = true, .redirect_path = S("/x?y")},
         "http://a.com/x?y"},
        {{PATH(PATH_PREFIX, "/a"), .redirect_has_prefix = true, .redirect_prefix = S("/z"),
          .redirect_strip_query = true},
         "http://a.com/z/b"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct request r;
        struct slice got;
        request_init(&r, "GET /a/b?c");
        assert_true(route_redirect_location(&cases[i].route, &r.rq, S("http"), &r.arena, &got));
        check_slice(got, slice_of(cases[i].want));
        arena_fini(&r.arena);
    }
}

/* Wrong: a user's requests wander between instances, or all users share one. */
static void test_hash(void **state)
{
    (void)state;
    struct hash_policy by_user = {.kind = HASH_HEADER, .name = S("user")};
    struct hash_policy by_cookie = {.kind = HASH_COOKIE, .name = S("s"), .cookie_ttl = 0};
    struct route header = {.hash_count = 1, .hashes = &by_user};
    struct route cookie = {.hash_count = 1, .hashes = &by_cookie};
    const struct hash_policy *make;
    struct request a, b, none;
    request_init(&a, "GET / user=ann cookie=t=1;s=42");
    request_init(&b, "GET / user=bob");
    request_init(&none, "GET /");
    uint64_t h = route_hash(&header, &a.rq, S("1.2.3.4"), 9, &make);
    assert_true(h != 0 && h == route_hash(&header, &a.rq, S("4.3.2.1"), 8, &make));
    assert_true(h != route_hash(&header, &b.rq, S("1.2.3.4"), 9, &make));
    assert_int_equal(route_hash(&header, &none.rq, S("1.2.3.4"), 9, &make), 0);
    assert_int_equal(route_hash(&cookie, &a.rq, S(""), 9, &make), hash_bytes(S("42")));
    assert_null(make);
    assert_int_equal(route_hash(&cookie, &none.rq, S(""), 9, &make), 9);
    assert_ptr_equal(make, &by_cookie);
    arena_fini(&a.arena);
    arena_fini(&b.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts),   cmocka_unit_test(test_ports),
        cmocka_unit_test(test_twice),   cmocka_unit_test(test_match),
        cmocka_unit_test(test_order),   cmocka_unit_test(test_weights),
        cmocka_unit_test(test_rewrite), cmocka_unit_test(test_redirect),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
