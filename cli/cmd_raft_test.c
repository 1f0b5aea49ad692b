/* If these fail, an operator takes out another node than the one named, or believes that a change
 * was made which was not. */
#include "cli/fake.h"

#define MEMBER(id, name, role, leader, connected, index)                                           \
    "{\"id\":" id ",\"name\":\"" name "\",\"role\":\"" role                                        \
    "\",\"state\":\"follower\",\"self\":false,\"leader\":" leader ",\"connected\":" connected      \
    ",\"matchIndex\":" index ",\"lastContactMs\":1,\"address\":\"10.0.0.1:7444\"}"
#define LIST(members)                                                                              \
    {                                                                                              \
        "GET /weft/v1/members", 200, "{\"items\":[" members "]}", NULL                             \
    }
#define THREE                                                                                      \
    MEMBER("1", "n1", "voter", "true", "true", "9")                                                \
    "," MEMBER("2", "n2", "voter", "false", "true",                                                \
               "7") "," MEMBER("3", "n3", "voter", "false", "true",                                \
                               "8") "," MEMBER("4", "n4", "standby", "false", "true", "9")
#define REFUSED(code, reason, text)                                                                \
    "{\"kind\":\"Status\",\"code\":" code ",\"reason\":\"" reason "\",\"message\":\"" text "\"}"

static void test_named(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        LIST(THREE),
        {"POST /weft/v1/members/4/promote?timeout=5000ms", 200, "{\"id\":4}", NULL},
        {"DELETE /weft/v1/members/4?timeout=5000ms", 200, "{\"id\":4,\"result\":\"removed\"}",
         NULL},
        {"POST /weft/v1/members/2/lead?timeout=3000ms", 200, "{}", NULL},
        {"POST /weft/v1/members/3/lead?timeout=5000ms", 200, "{}", NULL},
        {"DELETE /weft/v1/members/1?timeout=5000ms", 409,
         REFUSED("409", "Conflict", "member n1: it is the last voter that answers"), NULL},
        {0}};
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "operator raft promote n4", CLI_OK, "n4 has a vote\n", "");
    fake_check(&f, "operator raft remove n4", CLI_OK, "n4 removed\n", "");
    fake_check(&f, "operator raft remove-peer n4 -o json", CLI_OK,
               "{\n  \"id\": 4,\n  \"result\": \"removed\"\n}\n", "");
    fake_check(&f, "operator raft lead n2 --timeout 3s", CLI_OK, "n2 leads\n", "");
    fake_check(&f, "operator raft transfer-leader n2 --timeout 3s", CLI_OK, "n2 leads\n", "");
    fake_check(&f, "operator raft transfer-leader", CLI_OK, "n3 leads\n", "");
    fake_check(&f, "operator raft remove n1", CLI_FAILED, "",
               "error: member n1: it is the last voter that answers\n");
    fake_check(&f, "operator raft remove n7", CLI_FAILED, "", "error: no member \"n7\"\n");
    fake_stop(&f);
}

/* The time of the API is shorter than what the operator gives. */
static void test_waits_as_long_as_told(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        LIST(THREE),
        {"POST /weft/v1/members/4/promote?timeout=5000ms", 504,
         REFUSED("504", "Timeout", "member n4: not yet: it is 9 entries behind"), NULL},
        {"POST /weft/v1/members/4/promote?timeout=5000ms", 200, "{}", NULL},
        {"POST /weft/v1/members/4/promote?timeout=1ms", 504,
         REFUSED("504", "Timeout", "member n4: not yet: it is 9 entries behind"), NULL},
        {0}};
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "operator raft promote n4 --timeout 1m", CLI_OK, "n4 has a vote\n", "");
    fake_stop(&f);
}

static void test_add(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"POST /weft/v1/members?timeout=5000ms", 201, "{\"id\":5}", NULL}, {0}};
    struct fake f;
    fake_start(&f, answers);
    assert_int_equal(fake_run(&f, "operator raft add n5=10.0.0.5:7444"), CLI_OK);
    assert_non_null(strstr(f.out, "n5 added as a standby, id "));
    json_t *body = json_parse(buf_slice(&f.last_body), NULL);
    assert_true(slice_eq(json_str(body, "address"), S("10.0.0.5:7444")));
    assert_true(json_int(body, "id", 0) >= 1 << 20);
    json_decref(body);
    fake_check(&f, "operator raft add n5=10.0.0.5:7444 --id 42", CLI_OK,
               "n5 added as a standby, id 42\n", "");
    fake_check(&f, "operator raft add n5=10.0.0.5:7444 --id 0", CLI_USAGE, "",
               "error: --id 0: a number below 2^48 is wanted\n"
               "See \"weft operator raft add --help\".\n");
    fake_check(&f, "operator raft add n5", CLI_USAGE, "",
               "error: \"n5\": NAME=ADDR is wanted, n4=10.0.0.4:7444\n"
               "See \"weft operator raft add --help\".\n");
    fake_stop(&f);
}

static void test_nobody_to_lead(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        LIST(MEMBER("1", "n1", "voter", "true", "true",
                    "9") "," MEMBER("2", "n2", "voter", "false", "false",
                                    "9") "," MEMBER("4", "n4", "standby", "false", "true", "9")),
        {0}};
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "operator raft transfer-leader", CLI_FAILED, "",
               "error: no other voter is connected: nobody could lead\n");
    assert_int_equal(fake_run(&f, "operator raft list"), CLI_OK);
    assert_non_null(strstr(f.out, "standby"));
    fake_check(&f, "operator raft", CLI_USAGE, "",
               "error: \"raft\" needs list|add|promote|remove|lead|transfer-leader\n"
               "See \"weft operator raft --help\".\n");
    fake_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named),
        cmocka_unit_test(test_waits_as_long_as_told),
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_nobody_to_lead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
