#include "base/wire/path.h"
#include "base/wire/test.h"

struct path_case {
    const char *in;
    enum path_slashes slashes;
    bool merge;
    enum path_result result;
    const char *out;
};

#define REJECT PATH_SLASHES_REJECT
#define KEEP PATH_SLASHES_KEEP
#define DECODE PATH_SLASHES_DECODE

static const struct path_case cases[] = {
    {"/", REJECT, false, PATH_OK, "/"},
    {"*", REJECT, false, PATH_OK, "*"},
    {"/a/b?c=/../d", REJECT, true, PATH_OK, "/a/b?c=/../d"},
    {"/a//b", REJECT, false, PATH_OK, "/a//b"},
    {"/a//b///", REJECT, true, PATH_CHANGED, "/a/b/"},
    {"//", REJECT, true, PATH_CHANGED, "/"},
    {"/%41%7e%2d", REJECT, false, PATH_CHANGED, "/A~-"},
    {"/%c3%a9", REJECT, false, PATH_CHANGED, "/%C3%A9"},
    {"/%C3%A9", REJECT, false, PATH_OK, "/%C3%A9"},
    {"/%2541", REJECT, false, PATH_OK, "/%2541"},
    {"/a/./b/../c", REJECT, false, PATH_CHANGED, "/a/c"},
    {"/a/%2e%2E/c", REJECT, false, PATH_CHANGED, "/c"},
    {"/a/.%2e", REJECT, false, PATH_CHANGED, "/"},
    {"/a/.", REJECT, false, PATH_CHANGED, "/a/"},
    {"/a/..", REJECT, false, PATH_CHANGED, "/"},
    {"/a/..;/b", REJECT, false, PATH_OK, "/a/..;/b"},
    {"/.well-known/x", REJECT, false, PATH_OK, "/.well-known/x"},
    {"/...", REJECT, false, PATH_OK, "/..."},
    {"/a//../b", REJECT, false, PATH_CHANGED, "/a/b"},
    {"/a//../b", REJECT, true, PATH_CHANGED, "/b"},
    {"/..", REJECT, false, PATH_ESCAPES_ROOT, NULL},
    {"/a/../../b", REJECT, false, PATH_ESCAPES_ROOT, NULL},
    {"/%2e%2e/b", REJECT, false, PATH_ESCAPES_ROOT, NULL},
    {"/a%2fb", REJECT, false, PATH_ESCAPED_SLASH, NULL},
    {"/a%5Cb", REJECT, false, PATH_ESCAPED_SLASH, NULL},
    {"/a\\b", REJECT, false, PATH_ESCAPED_SLASH, NULL},
    {"/a%2fb%5c\\", KEEP, false, PATH_CHANGED, "/a%2Fb%5C%5C"},
    {"/a%2f..%2fb", KEEP, false, PATH_CHANGED, "/a%2F..%2Fb"},
    {"/a%2f..%2fb", DECODE, false, PATH_CHANGED, "/b"},
    {"/a\\..\\b", DECODE, false, PATH_CHANGED, "/b"},
    {"/a/%00", REJECT, false, PATH_BAD_BYTE, NULL},
    {"/a%", REJECT, false, PATH_BAD_ESCAPE, NULL},
    {"/a%4", REJECT, false, PATH_BAD_ESCAPE, NULL},
    {"/a%4?1", REJECT, false, PATH_BAD_ESCAPE, NULL},
    {"/a%zz", REJECT, false, PATH_BAD_ESCAPE, NULL},
    {"/a#b", REJECT, false, PATH_BAD_BYTE, NULL},
    {"/a b", REJECT, false, PATH_BAD_BYTE, NULL},
    {"/\xc3\xa9", REJECT, false, PATH_BAD_BYTE, NULL},
    {"a", REJECT, false, PATH_BAD_BYTE, NULL},
    {"", REJECT, false, PATH_BAD_BYTE, NULL},
};

/* Wrong: policy sees one path and the upstream another (CVE-2021-31920, CVE-2021-39156). */
static void test_cases(void **state)
{
    (void)state;
    struct arena a = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct path_case *c = &cases[i];
        struct path_options opt = {.slashes = c->slashes, .merge_slashes = c->merge};
        struct slice out = {0};
        enum path_result r = path_canonical(slice_of(c->in), &opt, &a, &out);
        if (r != c->result)
            fail_msg("%s: %s", c->in, path_result_name(r));
        if (c->out)
            check_slice(out, slice_of(c->out));
    }
    arena_fini(&a);
}

/* Wrong: a second proxy on the way makes a third path of it. */
static void test_canonical_is_idempotent(void **state)
{
    (void)state;
    static const char alphabet[] = "/./..%2e%2f%5c\\a%41?";
    struct arena a = {0};
    uint64_t seed = 42;
    unsigned fine = 0;
    for (int round = 0; round < 50000; round++) {
        char in[16] = "/";
        size_t n = 1;
        while (n < sizeof(in)) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            in[n++] = alphabet[(seed >> 33) % (sizeof(alphabet) - 1)];
        }
        struct path_options opt = {.slashes = (enum path_slashes)(seed >> 40) % 3,
                                   .merge_slashes = seed >> 50 & 1};
        struct slice once, twice;
        if (path_canonical(slice_mem(in, n), &opt, &a, &once) <= PATH_CHANGED) {
            fine++;
            assert_int_equal(path_canonical(once, &opt, &a, &twice), PATH_OK);
            check_slice(twice, once);
        }
        arena_reset(&a);
    }
    assert_true(fine > 1000);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_canonical_is_idempotent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
