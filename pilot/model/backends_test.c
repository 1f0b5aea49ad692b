/* If these failed, an endpoint of an EndpointSlice would be sent with another address, port or
 * label than was written, traffic would go to one that is not ready, or a node would need gigabytes
 * for a cluster's pods.
 */
#include "pilot/model/model_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KEY "endpointslices.discovery.k8s.io/n/s-1"
#define META                                                                                       \
    "\"metadata\":{\"labels\":{\"kubernetes.io/service-name\":\"s\",\"b\":\"1\",\"a\":\"2\","
#define OWN META "\"service.kubernetes.io/x\":\"y\",\"endpointslice.kubernetes.io/z\":\"y\"}}"

static void pairs_text(struct buf *out, struct jr_pairs pairs)
{
    for (size_t i = 0; i < pairs.n; i++)
        buf_printf(out, "%s%.*s=%.*s", i ? "," : "", SLICE(pairs.p[i].name),
                   SLICE(pairs.p[i].value));
}

/* "service labels port:number … | address zone target labels | …" */
static void backends_text(struct buf *out, const struct model_backends *b)
{
    buf_printf(out, "%.*s ", SLICE(b->service));
    pairs_text(out, b->labels);
    for (size_t i = 0; i < b->port_count; i++)
        buf_printf(out, " %.*s:%u", SLICE(b->ports[i].name), b->ports[i].number);
    for (size_t i = 0; i < b->count; i++) {
        buf_printf(out, " | %.*s %.*s %.*s ", SLICE(b->p[i].address), SLICE(b->p[i].zone),
                   SLICE(b->p[i].target));
        pairs_text(out, b->p[i].labels);
    }
}

static void slices_are_read_back(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
        size_t entries;
        bool bad;
    } cases[] = {
        {"{}", " ", 1, true},
        {"{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"endpoints\":[{\"addresses\":[\"1.1.1.1\"]}]}",
         " ", 1, true},
        {"{" OWN "}", "s a=2,b=1", 2, false},
        {"{" OWN ",\"ports\":{},\"endpoints\":3}", "s a=2,b=1", 2, false},
        {"{" OWN ",\"ports\":[{\"port\":80},{\"name\":\"x\",\"port\":\"81\"},{\"name\":\"x\"},4]}",
         "s a=2,b=1 :80 x:81 x:0 :0", 2, false},
        {"{" OWN
         ",\"endpoints\":[{\"addresses\":[\"1.1.1.1\",\"1.1.1.2\"],\"zone\":\"z\",\"targetRef\":{"
         "\"name\":\"p\"},\"deprecatedTopology\":{\"b\":\"3\",\"c\":\"\"}}]}",
         "s a=2,b=1 | 1.1.1.1 z p b=3,c=", 4, false},
        /* Not ready, without an address, of another type: indexed as far as there is an address. */
        {"{" OWN ",\"endpoints\":[{\"addresses\":[\"1.1.1.1\"],\"conditions\":{\"ready\":false}},{"
         "\"addresses\":[\"1.1.1.2\"],\"conditions\":{\"ready\":true}},{\"addresses\":[\"1.1.1.3\"]"
         ","
         "\"conditions\":{}},{\"addresses\":[]},{},7,{\"addresses\":[\"1.1.1.2\"]}]}",
         "s a=2,b=1 | 1.1.1.2    | 1.1.1.3    | 1.1.1.2   ", 5, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a = {0};
        struct buf text = {0};
        struct err err = {0};
        json_t *json = json_parse(slice_of(cases[i].json), &err);
        struct model_object *o = model_backends_new(S(KEY), json, 1, &a, &err);
        json_decref(json);
        arena_fini(&a); /* nothing borrows from the tree or from the scratch */
        backends_text(&text, o->body->backends);
        if (!slice_eq(buf_slice(&text), slice_of(cases[i].text)))
            fail_msg("%s: %.*s", cases[i].json, SLICE(buf_slice(&text)));
        if (o->body->entry_count != cases[i].entries)
            fail_msg("%s: in %zu indexes", cases[i].json, o->body->entry_count);
        for (size_t k = 1; k < o->body->entry_count; k++)
            assert_true(o->body->entries[k].key.name.n > 0);
        assert_int_equal(err.code == ERR_INVALID, cases[i].bad);
        assert_true(slice_eq(o->ns, S("n")) && slice_eq(o->name, S("s-1")));
        buf_fini(&text);
        a = o->body->arena;
        arena_fini(&a);
    }
}

/* As Kubernetes writes them: counted, as the model asks for memory. */
static void many_are_small(void **state)
{
    (void)state;
    enum { SLICES = 200, EACH = 100, BYTES_EACH = 220 };
    struct graph g;
    struct model m;
    graph_init(&g);
    model_init(&m, &g, S("istio-system"));
    for (unsigned i = 0; i < SLICES; i++) {
        struct buf json = {0};
        char key[100];
        snprintf(key, sizeof(key), "endpointslices.discovery.k8s.io/n/s-%u", i);
        buf_printf(&json, "{" OWN ",\"ports\":[{\"name\":\"http\",\"port\":80}],\"endpoints\":[");
        for (unsigned j = 0; j < EACH; j++)
            buf_printf(
                &json,
                "%s{\"addresses\":[\"10.0.%u.%u\"],\"conditions\":{\"ready\":true},\"nodeName\":"
                "\"n\","
                "\"targetRef\":{\"kind\":\"Pod\",\"name\":\"pod-5d8f-%u\"},\"zone\":\"eu-1a\"}",
                j ? "," : "", i, j, j);
        buf_append(&json, S("]}"));
        model_apply(&m, slice_of(key), buf_slice(&json), i + 1, i + 1);
        buf_fini(&json);
    }
    assert_true(m.objects.n == SLICES && m.issues.n == 0);
    NUMBERS_EACH (&m.objects, i) {
        const struct model_object *o = numbers_at(&m.objects, i);
        assert_int_equal(o->body->backends->count, EACH);
    }
    size_t bytes = model_bytes(&m) - m.scratch.total;
    if (bytes > (size_t)SLICES * EACH * BYTES_EACH)
        fail_msg("%zu bytes for each endpoint", bytes / SLICES / EACH);
    graph_fini(&g);
    model_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_are_read_back),
        cmocka_unit_test(many_are_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
