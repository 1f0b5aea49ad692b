/* If these failed, what Istio's users apply would not compile, or would give tables that Envoy
 * refuses. Every networking file of the bookinfo sample is applied, one after the other, on top of
 * its services.
 */
#include "api/corpus.h"
#include "pilot/build_testing.h"

#define BOOKINFO "istio/samples/bookinfo/"

static const struct slice labels_gw[][2] = {{S_INIT("istio"), S_INIT("ingressgateway")}};

static const struct proxy_class_input classes[] = {
    {.dialect = DIALECT_WEFT,
     .capture = CAPTURE_NONE,
     .ns = S_INIT("default"),
     .address = S_INIT("127.1.0.1")},
    {.dialect = DIALECT_ENVOY,
     .capture = CAPTURE_REDIRECT,
     .ns = S_INIT("default"),
     .address = S_INIT("127.1.0.2")},
    {.dialect = DIALECT_GRPC, .ns = S_INIT("default")},
    {.type = PROXY_ROUTER,
     .dialect = DIALECT_ENVOY,
     .ns = S_INIT("istio-system"),
     .label_count = 1,
     .labels = labels_gw},
};

static const char *const workloads[][2] = {
    {"productpage", "v1"}, {"details", "v1"}, {"details", "v2"}, {"reviews", "v1"},
    {"reviews", "v2"},     {"reviews", "v3"}, {"ratings", "v1"}, {"ratings", "v2"}};

static void apply_workloads(struct world *w)
{
    char yaml[400];
    for (size_t i = 0; i < ARRAY_LEN(workloads); i++) {
        snprintf(yaml, sizeof(yaml),
                 "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: %s-%s, "
                 "namespace: "
                 "default}\nspec: {address: 127.1.0.%zu, labels: {app: %s, version: %s}}\n",
                 workloads[i][0], workloads[i][1], i + 1, workloads[i][0], workloads[i][1]);
        world_apply(w, yaml);
    }
}

#define FILES_MAX 64

struct files {
    char dir[2000];
    char path[FILES_MAX][4096];
    size_t n;
};

static void add_file(void *ctx, const char *path)
{
    struct files *f = ctx;
    assert_true(f->n < FILES_MAX);
    snprintf(f->path[f->n++], sizeof(f->path[0]), "%s", path);
}

static int cmp_path(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool apply_file(struct world *w, const char *path)
{
    struct buf text = {0};
    bool found = corpus_read(path, &text);
    if (found)
        world_apply_slice(w, buf_slice(&text));
    buf_fini(&text);
    return found;
}

/* What must hold of any view. */

/* Clusters that routes and listeners name, wherever they stand in the tree. */
static void each_cluster(const json_t *j, void (*fn)(void *ctx, const char *name), void *ctx)
{
    const char *key;
    json_t *v;
    size_t i;
    if (json_is_array(j)) {
        json_array_foreach (j, i, v)
            each_cluster(v, fn, ctx);
        return;
    }
    json_object_foreach ((json_t *)j, key, v) {
        if (strcmp(key, "cluster") == 0 && json_is_string(v))
            fn(ctx, json_string_value(v));
        else if (strcmp(key, "clusters") == 0)
            for (i = 0; i < json_array_size(v); i++)
                fn(ctx, json_string_value(json_object_get(json_array_get(v, i), "name")));
        each_cluster(v, fn, ctx);
    }
}

struct known {
    const struct xds_view *view;
    size_t named;
};

/* The samples that send to services which other samples bring. */
static bool brought_by_others(const char *cluster)
{
    return strstr(cluster, "mysqldb") || strstr(cluster, "mongodb") ||
           strstr(cluster, "cert-manager-resolver") || strstr(cluster, "|v2|details");
}

static void cluster_known(void *ctx, const char *name)
{
    struct known *k = ctx;
    k->named++;
    if (!xds_list_find(k->view->types[XDS_CDS], slice_of(name)) && !brought_by_others(name))
        fail_msg("a route goes to %s, which is no cluster", name);
}

static void check_view(const struct xds_view *v, struct known *k)
{
    k->view = v;
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        struct xds_list_iter it = {.list = v->types[t]};
        for (struct xds_resource *r; (r = xds_list_next(&it));) {
            json_t *j = resource_json(r);
            if (t == XDS_RDS || t == XDS_VHDS || t == XDS_LDS)
                each_cluster(j, cluster_known, k);
            if (t == XDS_CDS && r->follows.n)
                assert_non_null(xds_list_find(v->types[XDS_EDS], r->follows));
            json_decref(j);
        }
    }
}

static void bookinfo(void **state)
{
    (void)state;
    struct world w;
    struct known k = {0};
    struct files *f = calloc(1, sizeof(*f));
    char path[4096];
    if (!corpus_dir(f->dir, sizeof(f->dir))) {
        print_message("    skipped: shared/corpus is not there\n");
        free(f);
        skip();
    }
    world_init(&w);
    snprintf(path, sizeof(path), "%s/" BOOKINFO "platform/kube/bookinfo.yaml", f->dir);
    assert_true(apply_file(&w, path));
    apply_workloads(&w);
    snprintf(path, sizeof(path), "%s/" BOOKINFO "networking", f->dir);
    corpus_each(path, add_file, f);
    qsort(f->path, f->n, sizeof(f->path[0]), cmp_path);
    for (size_t i = 0; i < f->n; i++) {
        print_message("    %s\n", strrchr(f->path[i], '/') + 1);
        assert_true(apply_file(&w, f->path[i]));
        for (size_t c = 0; c < ARRAY_LEN(classes); c++)
            check_view(build_view(&w.build, c + 1, &classes[c]), &k);
    }
    assert_true(f->n >= 20 && k.named > 100);
    /* TLS to the outside is not in effect yet, and said so; mutual TLS was replaced by plain rules.
     */
    assert_int_equal(w.build.model.issues.n, 1);
    assert_non_null(
        map_get(&w.build.model.issues,
                S("destinationrules.networking.istio.io/default/originate-tls-for-googleapis")));
    const json_t *v =
        world_get(&w, &classes[0], XDS_VHDS, "http_proxy/reviews.default.svc.cluster.local:9080");
    assert_at(v, "routes[0].route.cluster",
              "\"outbound|9080|v3|reviews.default.svc.cluster.local\"");
    world_fini(&w);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bookinfo)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
