/* If these fail, an operator adds somebody whom nobody meant, removes another than the one named,
 * or is not told why the control plane stays as it was. */
#include "registry/apiserver/api_testing.h"

#include "registry/apiserver/internal.h"

#define MEMBERS "/weft/v1/members"
#define N2 "{\"name\":\"n2\",\"address\":\"127.0.0.1:9\",\"id\":77}"

static void test_bad_questions(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int status;
        const char *method, *path, *body, *part;
    } rows[] = {
        {400, "POST", MEMBERS, "", "line 1"},
        {400, "POST", MEMBERS, "{}", "name: must be"},
        {400, "POST", MEMBERS, "{\"name\":\"a/b\",\"address\":\"127.0.0.1:9\"}", "name: must be"},
        {400, "POST", MEMBERS, "{\"name\":\"a\"}", "address"},
        {400, "POST", MEMBERS, "{\"name\":\"a\",\"address\":\"127.0.0.1:0\"}", "IP:PORT"},
        {400, "POST", MEMBERS, "{\"name\":\"a\",\"address\":\"unix:/x\"}", "IP:PORT"},
        {400, "POST", MEMBERS, "{\"name\":\"a\",\"address\":\"10.0.0.1:9\"}", "began without TLS"},
        {400, "POST", MEMBERS, "{\"name\":\"a\",\"address\":\"127.0.0.1:9\",\"id\":-1}",
         "id: must"},
        {400, "POST", MEMBERS, "{\"name\":\"a\",\"address\":\"127.0.0.1:9\",\"reads\":{}}",
         "reads: must"},
        {409, "POST", MEMBERS,
         "{\"name\":\"a\",\"address\":\"127.0.0.1:9\",\"reads\":{\"oldest\":1,\"newest\":2}}",
         "the cluster is of version 3, a reads 1 to 2"},
        {400, "POST", MEMBERS "?timeout=soon", N2, "timeout=soon"},
        {400, "POST", MEMBERS "?timeout=61s", N2, "at most 60s"},
        {400, "DELETE", MEMBERS "/n1?timeout=0s", "", "timeout=0s"},
        {404, "DELETE", MEMBERS "/n9", "", "no member \\\"n9\\\": weft members lists them"},
        {404, "POST", MEMBERS "/n9/promote", "", "no member"},
        {404, "POST", MEMBERS "/99/lead", "", "member 99: no such member"},
        {404, "GET", MEMBERS "/n1", "", "NotFound"},
        {404, "POST", MEMBERS "/n1/fly", "", "NotFound"},
        {404, "DELETE", MEMBERS, "", "NotFound"},
        {404, "GET", "/weft/v1/membership", "", "NotFound"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(f, rows[i].status, rows[i].method, rows[i].path, JSON, rows[i].body, rows[i].part);
    expect(f, 200, "GET", MEMBERS, "", "", NULL);
    assert_null(strstr(text(f), "n2"));
}

/* n2 never comes: what can be done to it all the same. */
static void test_changes(void **state)
{
    struct fixture *f = *state;
    expect(f, 200, "GET", MEMBERS, "", "", "\"leader\":true");
    assert_non_null(strstr(text(f), "\"role\":\"voter\""));
    assert_non_null(strstr(text(f), "\"self\":true"));
    assert_non_null(strstr(text(f), "\"clusterVersion\":3"));
    assert_non_null(strstr(text(f), "\"reads\":{\"newest\":4,\"oldest\":3}"));
    assert_non_null(strstr(text(f), "\"program\":\"" WEFT_VERSION "\""));
    expect(f, 201, "POST", MEMBERS, JSON, N2, "\"id\":77");
    assert_non_null(strstr(
        text(f), with("\"cluster\":\"%016llx\"", (unsigned long long)reg_node_cluster(f->node))));
    expect(f, 201, "POST", MEMBERS, JSON, N2, "\"name\":\"n1\""); /* asked twice, done once */
    while (call(f, "GET", MEMBERS, "", "") == 200 && !strstr(text(f), "\"role\":\"standby\""))
        env_uv_turn(f->env, 10);
    assert_non_null(strstr(text(f), "\"connected\":false"));
    expect(f, 409, "POST", MEMBERS, JSON, "{\"name\":\"n2\",\"address\":\"127.0.0.1:8\"}",
           "member n2: another member has this name or address: remove it first");
    expect(f, 504, "POST", MEMBERS "/n2/promote?timeout=100ms", "", "", "it does not answer");
    expect(f, 409, "POST", MEMBERS "/77/lead", "", "", "member n2: it is no voter: promote it");
    expect(f, 200, "POST", MEMBERS "/n1/lead", "", "", "\"result\":\"leads\"");
    expect(f, 409, "DELETE", MEMBERS "/n1", "", "", "member n2 is away");
    expect(f, 200, "DELETE", MEMBERS "/n2", "", "", "\"result\":\"removed\"");
    expect(f, 200, "DELETE", MEMBERS "/77", "", "", "\"id\":77"); /* it is so */
    expect(f, 409, "DELETE", MEMBERS "/n1", "", "", "no majority of the voters");
    expect(f, 201, "POST", MEMBERS, JSON, "{\"name\":\"n3\",\"address\":\"127.0.0.1:9\"}", "n3");
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
}

static int setup_alone(void **state)
{
    *state = fixture_new(3);
    return 0;
}

static void test_without_a_leader(void **state)
{
    struct fixture *f = *state;
    expect(f, 504, "DELETE", MEMBERS "/n2?timeout=50ms", "", "", "nobody leads");
}

/* A client that leaves, and a server that ends, while a change is under way. */
static void test_leaving_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct http_call_options o = {.method = S("DELETE"),
                                  .addrs = apiserver_addr(f->api),
                                  .path = S(MEMBERS "/n2"),
                                  .timeout = 20};
    assert_int_equal(http_probe_call(&f->http, &o), 0);
    expect(f, 200, "GET", MEMBERS, "", "", NULL);
    o.timeout = 0;
    http_probe_begin(&f->http, &o);
    env_uv_turn(f->env, 10);
    env_uv_turn(f->env, 10);
}

static void test_too_many(void **state)
{
    struct fixture *f = *state;
    f->api->change_count += API_CHANGES_MAX;
    expect(f, 429, "DELETE", MEMBERS "/77", "", "", "TooManyRequests");
    f->api->change_count -= API_CHANGES_MAX;
    expect(f, 200, "DELETE", MEMBERS "/77", "", "", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bad_questions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_a_leader, setup_alone, teardown),
        cmocka_unit_test_setup_teardown(test_leaving_meanwhile, setup_alone, teardown),
        cmocka_unit_test_setup_teardown(test_too_many, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
