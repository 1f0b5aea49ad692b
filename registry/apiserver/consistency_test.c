/* If these fail, a reader who asked for the newest state gets an old one and is not told, or waits
 * for a leader that is not there. */
#include "registry/apiserver/api_testing.h"

#include "registry/apiserver/internal.h"

static void test_levels(void **state)
{
    struct fixture *f = *state;
    static const char *const queries[] = {
        "",
        "?consistency=local",
        "?consistency=linearizable",
        "?consistency=bounded&maxStalenessMs=1",
        "?consistency=bounded&maxStalenessMs=60000",
        "?consistency=linearizable&resourceVersion=1&resourceVersionMatch=NotOlderThan",
    };
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        char list[200], get[200];
        snprintf(list, sizeof(list), VS "%s", queries[i]);
        expect(f, 200, "GET", list, "", "", "\"name\":\"a\"");
        expect_head(f, "weft-revision: ");
        expect_head(f, "weft-leader: n1\n");
        snprintf(get, sizeof(get), VS "/a%s", queries[i]);
        expect(f, 200, "GET", get, "", "", "\"name\":\"a\"");
        expect_head(f, "weft-staleness-ms: ");
        snprintf(get, sizeof(get), VS "/none%s", queries[i]);
        expect(f, 404, "GET", get, "", "", "NotFound");
        expect_head(f, "weft-revision: ");
    }
}

static void test_bad_questions(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *method, *query, *part;
    } rows[] = {
        {"GET", "?consistency=strong", "consistency=strong: local, bounded or linearizable"},
        {"GET", "?consistency=bounded", "needs maxStalenessMs"},
        {"GET", "?maxStalenessMs=5", "goes with consistency=bounded"},
        {"GET", "?consistency=linearizable&maxStalenessMs=5", "goes with consistency=bounded"},
        {"GET", "?consistency=bounded&maxStalenessMs=0", "1 to 86400000"},
        {"GET", "?consistency=bounded&maxStalenessMs=86400001", "1 to 86400000"},
        {"GET", "?consistency=bounded&maxStalenessMs=5s", "maxStalenessMs=5s"},
        {"GET", "?watch=1&consistency=linearizable", "for get and list"},
        {"DELETE", "/a?consistency=linearizable", "is for reads"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[256];
        snprintf(path, sizeof(path), VS "%s", rows[i].query);
        expect(f, 400, rows[i].method, path, "", "", rows[i].part);
    }
}

static int setup_alone(void **state)
{
    *state = fixture_new(3);
    return 0;
}

/* It never had one, so it does not know what there is: an empty list would be a lie. */
static void test_without_a_leader(void **state)
{
    struct fixture *f = *state;
    expect(f, 503, "GET", VS, "", "", "no state yet");
    expect_head(f, "weft-leader: none\n");
    expect_head(f, "weft-staleness-ms: unknown\n");
    assert_non_null(strstr(f->http.warnings.p, "no leader: this is the state that n1 has"));
    expect(f, 503, "GET", VS "?consistency=linearizable", "", "", "consistency=local");
    expect(f, 503, "GET", VS "/a?consistency=bounded&maxStalenessMs=60000", "", "", "quorum");
    expect(f, 503, "GET", VS "/a", "", "", "no state yet");
    expect(f, 503, "GET", VS "?watch=1", "", "", "no state yet");
}

/* A client that leaves, and a server that ends, while the leader is asked. */
static void test_leaving_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct http_call_options o = {.method = S("GET"),
                                  .addrs = apiserver_addr(f->api),
                                  .path = S(VS "?consistency=linearizable"),
                                  .timeout = 20};
    assert_int_equal(http_probe_call(&f->http, &o), 0);
    expect(f, 503, "GET", VS, "", "", "no state yet");
    o.timeout = 0;
    http_probe_begin(&f->http, &o);
    env_uv_turn(f->env, 10);
    env_uv_turn(f->env, 10);
}

static void test_too_many(void **state)
{
    struct fixture *f = *state;
    f->api->index_count += API_INDEXES_MAX;
    expect(f, 429, "GET", VS "?consistency=linearizable", "", "", "TooManyRequests");
    expect(f, 200, "GET", VS, "", "", NULL);
    assert_int_equal(metric_value(f->api->cells.reads_refused), 1);
    f->api->index_count -= API_INDEXES_MAX;
    expect(f, 200, "GET", VS "?consistency=linearizable", "", "", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_questions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_a_leader, setup_alone, teardown),
        cmocka_unit_test_setup_teardown(test_too_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leaving_meanwhile, setup_alone, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
