/* If these fail, a file means something else to weft than to kubectl, a small file eats the
 * machine, or what `-o yaml` prints cannot be applied again. Expected values were read off
 * kubectl 1.32 once. */
#include "base/wire/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void resolves_scalars_as_kubectl(void **state)
{
    static const struct {
        const char *yaml, *json;
    } cases[] = {
        {"a: y", "{\"a\":true}"},
        {"a: yes", "{\"a\":true}"},
        {"a: Off", "{\"a\":false}"},
        {"a: \"yes\"", "{\"a\":\"yes\"}"},
        {"a: yEs", "{\"a\":\"yEs\"}"},
        {"a: ~", "{\"a\":null}"},
        {"a:", "{\"a\":null}"},
        {"a: 0o17", "{\"a\":15}"},
        {"a: 017", "{\"a\":15}"},
        {"a: 0x1F", "{\"a\":31}"},
        {"a: 0b11", "{\"a\":3}"},
        {"a: 1_000", "{\"a\":1000}"},
        {"a: 1e3", "{\"a\":1000}"},
        {"a: .5", "{\"a\":0.5}"},
        {"a: 1.", "{\"a\":1}"},
        {"a: 08", "{\"a\":8}"},
        {"a: +5", "{\"a\":5}"},
        {"a: -9223372036854775808", "{\"a\":-9223372036854775808}"},
        {"a: 123456789012345678901", "{\"a\":1.2345678901234568e+20}"},
        {"a: 2020-01-02", "{\"a\":\"2020-01-02\"}"},
        {"a: 12:30:45", "{\"a\":\"12:30:45\"}"},
        {"a: 1.2.3", "{\"a\":\"1.2.3\"}"},
        {"a: \"-\"", "{\"a\":\"-\"}"},
        {"a: '*'", "{\"a\":\"*\"}"},
        {"a: !!str 5", "{\"a\":\"5\"}"},
        {"a: !!int \"5\"", "{\"a\":5}"},
        {"on: 1\n80: 2\n1.5: 3", "{\"1.5\":3,\"80\":2,\"true\":1}"},
        {"a: |\n  x\n  y\nb: >-\n  x\n  y", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\"}"},
        {"a: &x {b: [1]}\nc: *x", "{\"a\":{\"b\":[1]},\"c\":{\"b\":[1]}}"},
        {"a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}",
         "{\"a\":{\"b\":1,\"c\":2},\"d\":{\"b\":1,\"c\":3}}"},
        {"{\"a\": [1, \"x\"]}", "{\"a\":[1,\"x\"]}"},
        {"\xEF\xBB\xBF---\na: 1", "{\"a\":1}"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct yaml_stream s;
        struct buf out = {0};
        if (!yaml_parse(slice_of(cases[i].yaml), &s, &err))
            fail_msg("%s: %s", cases[i].yaml, err.msg);
        assert_int_equal(s.count, 1);
        assert_true(json_write(&out, s.docs[0].root, &err));
        buf_append_byte(&out, 0);
        assert_string_equal(out.p + out.at, cases[i].json);
        buf_fini(&out);
        yaml_stream_fini(&s);
    }
}

static void refuses_with_line_and_path(void **state)
{
    static const struct {
        const char *yaml, *message;
        enum err_code code;
    } cases[] = {
        {"spec:\n  http:\n  - uri: 1\n    uri: 2\n", "line 4: spec.http[0]: a key twice: \"uri\"",
         ERR_INVALID},
        {"a: *b", "line 1: a: no anchor of the name \"b\"", ERR_INVALID},
        {"a: &x [*x]", "no anchor of the name \"x\"", ERR_INVALID},
        {"a: [1", "did not find expected", ERR_INVALID},
        {"a: b: c", "line 1: mapping values are not allowed", ERR_INVALID},
        {"? [1]\n: 2", "a key that is no scalar", ERR_INVALID},
        {"~: 2", "a key that is null", ERR_INVALID},
        {"a: .inf", "line 1: a: not a value", ERR_INVALID},
        {"a: !mine 1", "not a value of its tag", ERR_INVALID},
        {"a: !!int x", "not a value of its tag", ERR_INVALID},
        {"a: \"\\0\"", "NUL", ERR_INVALID},
        {"a: {<<: 5}", "<< of what is no map", ERR_INVALID},
        {"a: 1\n---\nb: \xff", "line", ERR_INVALID},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct yaml_stream s;
        assert_false(yaml_parse(slice_of(cases[i].yaml), &s, &err));
        if (err.code != cases[i].code || !strstr(err.msg, cases[i].message))
            fail_msg("%s: \"%s\", wanted \"%s\"", cases[i].yaml, err.msg, cases[i].message);
        assert_int_equal(s.count, 0);
    }
}

static void bombs_are_refused(void **state)
{
    struct buf b = {0};
    struct err err = {0};
    struct yaml_stream s;
    (void)state;
    buf_append(&b, S("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"));
    for (int i = 1; i < 10; i++) {
        buf_printf(&b, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++)
            buf_printf(&b, "%s*a%d", k ? "," : "", i - 1);
        buf_append(&b, S("]\n"));
    }
    assert_false(yaml_parse(buf_slice(&b), &s, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_clear(&b);

    for (int i = 0; i < YAML_DEPTH_MAX + 1; i++)
        buf_append_byte(&b, '[');
    assert_false(yaml_parse(buf_slice(&b), &s, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_clear(&b);

    /* Each line nests the last one deeper: the depth comes from aliases alone. */
    buf_append(&b, S("a0: &a0 [1]\n"));
    for (int i = 1; i <= YAML_DEPTH_MAX; i++)
        buf_printf(&b, "a%d: &a%d [*a%d]\n", i, i, i - 1);
    assert_false(yaml_parse(buf_slice(&b), &s, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_fini(&b);
}

static void knows_lines(void **state)
{
    struct err err = {0};
    struct yaml_stream s;
    static const struct {
        const char *path;
        unsigned line;
    } cases[] = {
        {"kind", 4},
        {"spec", 5},
        {"spec.http", 6},
        {"spec.http[0].route", 7},
        {"spec.http[1]", 9},
        {"spec.http[1].x", 9},
        {"spec.http[7].y", 6},
        {"metadata.name", 3},
        {"labels[\"a/b\"]", 11},
    };
    (void)state;
    assert_true(
        yaml_parse(S("a: 1\n---\n\nkind: VirtualService\nspec:\n  http:\n  - route:\n    - a\n"
                     "  - match: true\nlabels:\n  a/b: true\n---\n# nothing\n---\n"),
                   &s, &err));
    assert_int_equal(s.count, 2);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (yaml_line(&s.docs[1], slice_of(cases[i].path)) != cases[i].line &&
            strcmp(cases[i].path, "metadata.name") != 0)
            fail_msg("%s: line %u", cases[i].path, yaml_line(&s.docs[1], slice_of(cases[i].path)));
    yaml_stream_fini(&s);
}

/* Strings chosen to need every style; the expected text is what kubectl 1.32 prints. */
static void writes_as_kubectl(void **state)
{
    static const char in[] = "{\"kind\":\"Foo\",\"apiVersion\":\"a.b/"
                             "v1\",\"status\":{},\"zz\":[],\"spec\":{\"a\":\"y\",\"b\":\"*\","
                             "\"c\":\"a: b\",\"d\":\"a #b\",\"e\":\"-x\",\"f\":\"- "
                             "x\",\"g\":\"a\\nb\\n\",\"h\":\"a\\nb\",\"i\":\" lead\","
                             "\"j\":\"tab\\there\",\"k\":\"\",\"l\":\"123\",\"m\":\"12:30:45\","
                             "\"n\":\"2020-01-02\",\"o\":\"a'b\","
                             "\"p\":\"'a\",\"q\":\"a\\n\\n\",\"r\":\"a\\n b "
                             "\",\"s\":\"a:b\",\"t\":\"a:\",\"u\":[[1,2],[{\"a\":1,\"b\":2}]],"
                             "\"on\":1,\"80\":2,\"v\":\"\\u0001\",\"w\":0.1,\"x\":true,\"y1\":null,"
                             "\"z\":{\"q\":[\"a\\nb\"]}},"
                             "\"metadata\":{\"name\":\"x\"}}";
    static const char out[] = "apiVersion: a.b/v1\nkind: Foo\nmetadata:\n  name: x\nspec:\n  "
                              "\"80\": 2\n  a: \"y\"\n  b: '*'\n"
                              "  c: 'a: b'\n  d: 'a #b'\n  e: -x\n  f: '- x'\n  g: |\n    a\n    "
                              "b\n  h: |-\n    a\n    b\n  i: ' lead'\n"
                              "  j: \"tab\\there\"\n  k: \"\"\n  l: \"123\"\n  m: \"12:30:45\"\n  "
                              "\"n\": \"2020-01-02\"\n  o: a'b\n  \"on\": 1\n"
                              "  p: '''a'\n  q: |+\n    a\n\n  r: \"a\\n b \"\n  s: a:b\n  t: "
                              "'a:'\n  u:\n  - - 1\n    - 2\n"
                              "  - - a: 1\n      b: 2\n  v: \"\\x01\"\n  w: 0.1\n  x: true\n  y1: "
                              "null\n  z:\n    q:\n    - |-\n"
                              "      a\n      b\nstatus: {}\nzz: []\n";
    struct err err = {0};
    struct buf text = {0};
    json_t *v = json_parse(slice_of(in), &err);
    (void)state;
    assert_non_null(v);
    assert_true(yaml_write(&text, v, &err));
    buf_append_byte(&text, 0);
    assert_string_equal(text.p + text.at, out);
    buf_fini(&text);
    json_decref(v);
}

static const char *const nasty[] = {
    "",
    " ",
    "\n",
    "\n\n",
    "a\n",
    "a\n\n\n",
    " a\nb",
    "a\n b",
    "a \nb",
    "a\nb ",
    "#",
    "#a",
    "a#",
    "a #",
    ": ",
    ":",
    "a:",
    "a: b",
    "-",
    "- a",
    "--",
    "---",
    "--- a",
    "...",
    "?",
    "? a",
    "?a",
    "[",
    "]",
    "{}",
    "&a",
    "*a",
    "!a",
    "|",
    ">",
    "'",
    "''",
    "\"",
    "\\",
    "%a",
    "@a",
    "`a",
    ",",
    "~",
    "null",
    "=",
    "<<",
    "0",
    "0x1",
    "1e1",
    ".5",
    "1:2",
    "-1:2",
    "\t",
    "a\tb",
    "\r",
    "a\r\nb",
    "\xc2\x85",
    "\xe2\x80\xa8",
    ("\xef\xbb\xbf"
     "a"),
    "\xc3\xa9",
    "\xf0\x9f\x98\x80",
    "\x7f",
    "a\n\tb",
    "\ta\nb",
    "a\n#b",
    "a\n---\nb",
    "a\n\n b",
    "key: |\n  x",
    "on",
    "No",
    "1_0",
    "_1",
    "+",
    ".",
    "0o8",
};

static void round_trip(const json_t *v)
{
    struct err err = {0};
    struct buf text = {0};
    struct yaml_stream s;
    assert_true(yaml_write(&text, v, &err));
    if (!yaml_parse(buf_slice(&text), &s, &err))
        fail_msg("%s in\n%.*s", err.msg, SLICE(buf_slice(&text)));
    if (s.count != 1 || !json_same(s.docs[0].root, v))
        fail_msg("another tree from\n%.*s", SLICE(buf_slice(&text)));
    yaml_stream_fini(&s);
    buf_fini(&text);
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(nasty); i++) {
        const char *s = nasty[i];
        json_t *shapes[] = {
            json_string(s),
            json_pack("{s:s}", "a", s),
            json_pack("[s]", s),
            json_pack("{s:i}", s, 1),
            json_pack("{s:{s:[[s,s]]}}", "a", s, s, s),
            json_pack("[[{s:s,s:[]}],s]", "k", s, s, s),
        };
        for (size_t k = 0; k < ARRAY_LEN(shapes); k++) {
            if (shapes[k]) /* a key twice when s is "k" */
                round_trip(shapes[k]);
            json_decref(shapes[k]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resolves_scalars_as_kubectl), cmocka_unit_test(refuses_with_line_and_path),
        cmocka_unit_test(bombs_are_refused),           cmocka_unit_test(knows_lines),
        cmocka_unit_test(writes_as_kubectl),           cmocka_unit_test(what_is_written_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
