/* If these failed, a workload would be sent with another address, port, weight or label than was
 * written, or a node would need gigabytes for a fleet.
 */
#include "pilot/model/model_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KEY "workloadentries.networking.istio.io/n/w"

static void workload_text(struct buf *out, const struct model_workload *w)
{
    buf_printf(out, "%.*s %.*s %u", SLICE(w->address), SLICE(w->locality), w->weight);
    for (size_t i = 0; i < w->labels.n; i++)
        buf_printf(out, " %.*s=%.*s", SLICE(w->labels.p[i].name), SLICE(w->labels.p[i].value));
    for (size_t i = 0; i < w->port_count; i++)
        buf_printf(out, " %.*s:%u", SLICE(w->ports[i].name), w->ports[i].number);
}

#define TEN "0123456789"

/* What is read back, and the names that it is found by. */
static void workloads_are_read_back(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
        size_t indexes;
    } cases[] = {
        {"{\"spec\":{}}", "  1", 1},
        {"{\"spec\":[]}", "  1", 1},
        {"{\"metadata\":{\"labels\":{\"a\":\"1\"}}}", "  1", 1},
        {"{\"metadata\":{\"labels\":{\"a\":\"1\"}},\"spec\":{}}", "  1 a=1", 2},
        {"{\"spec\":{\"address\":\"10.0.0.1\",\"weight\":0}}", "10.0.0.1  1", 2},
        {"{\"spec\":{\"address\":\"fd00::1\",\"weight\":4294967295,\"locality\":\"r/z/s\"}}",
         "fd00::1 r/z/s 4294967295", 2},
        {"{\"spec\":{\"address\":3,\"weight\":\"7\",\"locality\":{}}}", "  7", 1},
        /* Metadata over spec, sorted; no value is a value, what is no string is none. */
        {"{\"metadata\":{\"labels\":{\"c\":\"m\",\"b\":\"\"}},\"spec\":{\"labels\":{\"c\":\"s\","
         "\"a\":\"s\",\"x\":3}}}",
         "  1 a=s b= c=m", 4},
        {"{\"spec\":{\"labels\":{\"a=b\":\"c\",\"a\":\"b=c\"}}}", "  1 a=b=c a=b=c", 2},
        {"{\"spec\":{\"ports\":{\"http\":80}}}", "  1 http:80", 1},
        {"{\"spec\":{\"ports\":{\"http\":\"8080\"}}}", "  1 http:8080", 1},
        {"{\"spec\":{\"ports\":{\"zero\":0,\"low\":-1,\"high\":4294967296,\"" TEN TEN TEN TEN TEN
             TEN "1234\":1}}}",
         "  1", 1},
        {"{\"spec\":{\"ports\":{\"" TEN TEN TEN TEN TEN TEN "123\":70000}}}",
         "  1 " TEN TEN TEN TEN TEN TEN "123:70000", 1},
        {"{\"spec\":{\"address\":\"" TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "\"}}",
         TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "  1", 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a = {0};
        struct buf text = {0};
        struct err err = {0};
        struct model_entries e = {.arena = &a};
        reg_rev since;
        json_t *json = json_parse(slice_of(cases[i].json), &err);
        struct model_object *o = model_workload_new(S(KEY), json, 1, &a, &err);
        json_decref(json);
        arena_reset(&a); /* nothing borrows from the tree or from the scratch */
        struct model_workload w = model_workload_read(o, &a);
        workload_text(&text, &w);
        if (!slice_eq(buf_slice(&text), slice_of(cases[i].text)))
            fail_msg("%s: %.*s", cases[i].json, SLICE(buf_slice(&text)));
        model_workload_entries(o, &e);
        for (size_t k = 0; k < e.n; k++)
            assert_true(model_workload_has(o, e.p[k].key, &since));
        model_entries_sort(&e);
        if (e.n != cases[i].indexes)
            fail_msg("%s: in %zu indexes", cases[i].json, e.n);
        vec_fini(&e);
        buf_fini(&text);
        arena_fini(&a);
        mem_free(o);
    }
}

static void names_that_are_near(void **state)
{
    (void)state;
    static const struct {
        enum model_index index;
        const char *name;
        bool has;
    } cases[] = {
        {MODEL_WORKLOADS, "n/app=s", true},
        {MODEL_WORKLOADS, "n/app=", false},
        {MODEL_WORKLOADS, "n/app=st", false},
        {MODEL_WORKLOADS, "n/ap=s", false},
        {MODEL_WORKLOADS, "n/app", false},
        {MODEL_WORKLOADS, "m/app=s", false},
        {MODEL_WORKLOADS, "n", false},
        {MODEL_WORKLOADS, "nn/app=s", false},
        {MODEL_WORKLOADS, "n/e=", true},
        {MODEL_WORKLOADS, "", false},
        {MODEL_ADDRESS, "10.0.0.1", true},
        {MODEL_ADDRESS, "10.0.0.10", false},
        {MODEL_ADDRESS, "", false},
        {MODEL_SELECTING, "n/app=s", false},
        {MODEL_OBJECT, KEY, true},
        {MODEL_OBJECT, KEY "w", false},
    };
    struct arena a = {0};
    struct err err = {0};
    json_t *json = json_parse(
        S("{\"spec\":{\"address\":\"10.0.0.1\",\"labels\":{\"app\":\"s\",\"e\":\"\"}}}"), &err);
    struct model_object *o = model_workload_new(S(KEY), json, 1, &a, &err);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        reg_rev since;
        struct model_key key = {cases[i].index, slice_of(cases[i].name)};
        if (model_workload_has(o, key, &since) != cases[i].has)
            fail_msg("%s", cases[i].name);
    }
    json_decref(json);
    arena_fini(&a);
    mem_free(o);
}

/* As weft-regload writes them: counted, as the model asks for memory. */
static void many_are_small(void **state)
{
    (void)state;
    enum { COUNT = 100000, BYTES_EACH = 260 };
    struct graph g;
    struct model m;
    char key[100], json[400];
    graph_init(&g);
    model_init(&m, &g, S("istio-system"));
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "workloadentries.networking.istio.io/default/w-%08u", i);
        snprintf(
            json, sizeof(json),
            "{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"WorkloadEntry\",\"metadata\":"
            "{\"annotations\":{\"pad\":\"%090u\"},\"name\":\"w-%08u\"},\"spec\":{\"address\":"
            "\"10.%u.%u.%u\",\"labels\":{\"turn\":\"%u\"}}}",
            0, i, i >> 16, i >> 8 & 255, i & 255, i);
        model_apply(&m, slice_of(key), slice_of(json), i + 1, i + 1);
    }
    assert_true(m.objects.n == COUNT && m.facts.n == 0 && m.issues.n == 0);
    if (model_bytes(&m) > (size_t)COUNT * BYTES_EACH)
        fail_msg("%zu bytes for each workload", model_bytes(&m) / COUNT);
    graph_fini(&g);
    model_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workloads_are_read_back),
        cmocka_unit_test(names_that_are_near),
        cmocka_unit_test(many_are_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
