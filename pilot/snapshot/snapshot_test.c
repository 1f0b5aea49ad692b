/* If these failed, workers would send a proxy too much, too little, or free bytes that another
 * thread still sends. */
#include "pilot/snapshot/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct xds_resource *res(const char *name, const char *body, reg_rev rev)
{
    return xds_resource_new(&(struct xds_resource_parts){
        .type = XDS_CDS, .name = slice_of(name), .body = slice_of(body), .revision = rev});
}

/* A list of resources named by single letters: "ac" over base. */
static struct xds_list *letters(struct xds_list *base, const char *names, reg_rev rev)
{
    struct xds_resource *items[32] = {NULL};
    size_t n = strlen(names);
    for (size_t i = 0; i < n; i++)
        items[i] = res((char[]){names[i], 0}, "x", rev);
    struct xds_list *l = xds_list_new(base, items, n);
    for (size_t i = 0; i < n; i++)
        xds_resource_unref(items[i]);
    return l;
}

static void version_text(void **state)
{
    (void)state;
    char text[XDS_VERSION_TEXT];
    struct xds_version v = {41, 0x9f86d081884c7d65}, back;
    assert_string_equal(xds_version_format(v, text).p, "41.9f86d081884c7d65");
    assert_true(xds_version_parse(slice_of(text), &back));
    assert_true(back.revision == v.revision && back.hash == v.hash);
    xds_version_format((struct xds_version){UINT64_MAX, 1}, text);
    assert_true(xds_version_parse(slice_of(text), &back) && back.revision == UINT64_MAX);

    static const char *const bad[] = {"",
                                      "41",
                                      "41.",
                                      ".9f86d081884c7d65",
                                      "41.9F86d081884c7d65",
                                      "041.9f86d081884c7d65",
                                      "41.9f86d081884c7d6",
                                      "41.9f86d081884c7d655",
                                      "18446744073709551616.9f86d081884c7d65",
                                      "-1.9f86d081884c7d65",
                                      "2026-01-01T00:00:00Z/12"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(xds_version_parse(slice_of(bad[i]), &back));
}

static void in_sync(void **state)
{
    (void)state;
    struct xds_version server = {10, 7};
    assert_true(xds_version_in_sync((struct xds_version){10, 7}, server));
    assert_true(xds_version_in_sync((struct xds_version){11, 7}, server));
    assert_false(xds_version_in_sync((struct xds_version){9, 7}, server));
    assert_false(xds_version_in_sync((struct xds_version){10, 8}, server));
}

static void resource_parts(void **state)
{
    (void)state;
    struct slice sources[] = {S("b"), S("a"), S("b")};
    struct xds_resource *r = xds_resource_new(&(struct xds_resource_parts){.type = XDS_CDS,
                                                                           .name = S("n"),
                                                                           .body = S("body"),
                                                                           .follows = S("f"),
                                                                           .revision = 3,
                                                                           .sources = sources,
                                                                           .source_count = 3});
    struct xds_resource *same = res("n", "body", 9);
    assert_true(slice_eq(r->name, S("n")) && slice_eq(r->body, S("body")) &&
                slice_eq(r->follows, S("f")));
    assert_int_equal(r->source_count, 2);
    assert_true(slice_eq(r->sources[0], S("a")) && slice_eq(r->sources[1], S("b")));
    assert_true(r->version.revision == 3 && r->version.hash == same->version.hash);
    xds_resource_unref(r);
    xds_resource_unref(same);
}

static void lists_in_layers(void **state)
{
    (void)state;
    struct xds_list *base = letters(NULL, "db", 5), *l = letters(base, "ca", 4);
    struct buf seen = {0};
    struct xds_list_iter it = {.list = l};
    for (struct xds_resource *r; (r = xds_list_next(&it));)
        buf_append(&seen, r->name);
    assert_true(slice_eq(buf_slice(&seen), S("abcd")));
    assert_int_equal(xds_list_count(l), 4);
    assert_int_equal(l->revision, 5);
    assert_non_null(xds_list_find(l, S("a")));
    assert_non_null(xds_list_find(l, S("d")));
    assert_null(xds_list_find(l, S("e")));
    assert_null(xds_list_find(NULL, S("a")));

    /* The order in which resources were given is not in the hash; their versions are. */
    struct xds_list *again = letters(base, "ac", 4), *newer = letters(base, "ac", 6);
    assert_true(again->hash == l->hash && newer->hash != l->hash && base->hash != l->hash);
    xds_list_unref(again);
    xds_list_unref(newer);
    xds_list_unref(l);
    xds_list_unref(base);
    buf_fini(&seen);
}

/* A patched list is the list that would have been made anew: workers compare hashes of both. */
static void patched_is_as_new(void **state)
{
    (void)state;
    struct xds_list *base = letters(NULL, "xy", 2), *was = letters(base, "abc", 7);
    struct xds_resource *b = res("b", "other", 9), *c = res("c", "lower", 3);
    struct xds_resource *now[] = {was->items[0], b, c};
    struct xds_list_patch p[] = {{2, c}, {1, b}};
    struct xds_list *patched = xds_list_patched(was, p, 2), *fresh = xds_list_new(base, now, 3);
    assert_true(patched->hash == fresh->hash && patched->revision == fresh->revision);
    assert_ptr_equal(xds_list_find(patched, S("b")), b);

    struct xds_list *down = xds_list_patched(was, &(struct xds_list_patch){2, c}, 1);
    assert_int_equal(down->revision, 7);
    struct xds_list *only = letters(NULL, "c", 8);
    struct xds_list *lower = xds_list_patched(only, &(struct xds_list_patch){0, c}, 1);
    assert_int_equal(lower->revision, 3); /* a rollback may lower it */
    xds_list_unref(lower);
    xds_list_unref(only);
    xds_list_unref(down);
    xds_list_unref(fresh);
    xds_list_unref(patched);
    xds_list_unref(was);
    xds_list_unref(base);
    xds_resource_unref(b);
    xds_resource_unref(c);
}

static void note(void *ctx, struct xds_resource *was, struct xds_resource *is)
{
    buf_printf(ctx, "%c%.*s", !was ? '+' : !is ? '-' : '~', SLICE((was ? was : is)->name));
}

static void diff_is(struct xds_list *was, struct xds_list *is, const char *expected)
{
    struct buf out = {0};
    xds_list_diff(was, is, note, &out);
    assert_true(slice_eq(buf_slice(&out), slice_of(expected)));
    buf_fini(&out);
}

static void differences(void **state)
{
    (void)state;
    struct xds_list *base = letters(NULL, "bd", 1), *base2 = letters(NULL, "b", 1);
    struct xds_list *x = letters(base, "ac", 1), *y = letters(base, "ce", 1),
                    *z = letters(base2, "d", 1);
    diff_is(x, x, "");
    diff_is(NULL, NULL, "");
    diff_is(NULL, x, "+a+b+c+d");
    diff_is(x, NULL, "-a-b-c-d");
    diff_is(x, y, "-a~c+e");   /* the same base is not walked */
    diff_is(x, z, "-a~b-c~d"); /* d moved from base to own */
    diff_is(base, x, "+a+c");  /* what was all of the list is its base now */
    xds_list_unref(x);
    xds_list_unref(y);
    xds_list_unref(z);
    xds_list_unref(base);
    xds_list_unref(base2);
}

static void snapshots_find_views(void **state)
{
    (void)state;
    struct xds_list *l = letters(NULL, "a", 1);
    struct xds_view *views[3];
    uint64_t ids[] = {7, 3, 5};
    for (size_t i = 0; i < 3; i++)
        views[i] = xds_view_new(ids[i], (struct xds_list *[XDS_TYPE_COUNT]){[XDS_CDS] = l});
    struct xds_snapshot *s = xds_snapshot_new(9, views, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_ptr_equal(xds_snapshot_view(s, ids[i]), views[i]);
        xds_view_unref(views[i]);
    }
    assert_null(xds_snapshot_view(s, 4));
    assert_null(xds_snapshot_view(NULL, 4));
    xds_list_unref(l);
    xds_snapshot_unref(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_text),         cmocka_unit_test(in_sync),
        cmocka_unit_test(resource_parts),       cmocka_unit_test(lists_in_layers),
        cmocka_unit_test(differences),          cmocka_unit_test(patched_is_as_new),
        cmocka_unit_test(snapshots_find_views),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
