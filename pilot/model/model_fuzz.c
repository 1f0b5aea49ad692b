/* An object of any kind from its bytes: whatever it says, it stands in the indexes that it is found
 * in, its replacement leaves no trace of it, and it leaves none itself. The first byte chooses the
 * kind; the two halves of the rest are its first and its second state. */
#include "base/core/assert.h"
#include "pilot/model/model_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct slice keys[] = {
    S_INIT("services/n/o"),
    S_INIT("endpointslices.discovery.k8s.io/n/o"),
    S_INIT("workloadentries.networking.istio.io/n/o"),
    S_INIT("serviceentries.networking.istio.io/n/o"),
    S_INIT("virtualservices.networking.istio.io/n/o"),
    S_INIT("destinationrules.networking.istio.io/n/o"),
    S_INIT("gateways.networking.istio.io/n/o"),
    S_INIT("sidecars.networking.istio.io/n/o"),
};

/* Each of the object's keys is asked for, which makes it a fact. */
static void look(struct model *m, struct slice key)
{
    struct arena a = {0};
    struct model_entries e = {.arena = &a};
    const struct model_object *o = model_object(m, key);
    if (o && !o->body) {
        model_workload_entries(o, &e);
        model_workload_read(o, &a);
    }
    for (size_t i = 0; o && o->body && i < o->body->entry_count; i++)
        *vec_push(&e) = o->body->entries[i];
    for (size_t i = 0; i < e.n; i++) {
        const struct model_fact *f = model_index(m, e.p[i].key.index, e.p[i].key.name);
        wf_assert(f->n == 1 && f->members[0] == o && f->node.revision > 0);
        if (e.p[i].key.index == MODEL_ADDRESS) {
            struct model_instances in = {0};
            model_instances(m, e.p[i].key.name, &a, &in);
            vec_fini(&in);
        }
    }
    vec_fini(&e);
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct graph g;
    struct model m;
    if (size < 1)
        return 0;
    struct slice key = keys[data[0] % ARRAY_LEN(keys)];
    struct slice text = slice_mem(data + 1, size - 1);
    graph_init(&g);
    model_init(&m, &g, S("istio-system"));
    m.hash_mask = data[0] & 0x80 ? 1 : UINT32_MAX;
    model_apply(&m, key, text, 1, 1);
    if (data[0] & 0x40)
        look(&m, key);
    model_apply(&m, key, slice_sub(text, text.n / 2, text.n - text.n / 2), 1, 2);
    look(&m, key);
    model_apply(&m, key, slice_sub(text, 0, text.n / 2), 1, 3);
    model_apply(&m, key, text, 1, 4);
    look(&m, key);
    model_delete(&m, key, 5);
    model_index_sweep(&m);
    wf_assert(m.index.n == 0 && m.facts.n == 0 && m.objects.n == 0 && m.issues.n == 0);
    wf_assert(m.object_bytes == 0 && m.fact_bytes == 0);
    graph_fini(&g);
    model_fini(&m);
    return 0;
}
