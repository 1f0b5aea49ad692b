/* If these fail, a proxy acknowledges what it does not run, is sent again what it has, loses its
 * last good configuration to a bad one, or comes up empty when the control plane is dead. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "proxy/xds/ads.h"
#include "proxy/xds/lkg.h"
#include "proxy/xds/xds_testing.h"

struct fixture {
    struct arena arena;
    struct resources rs;
    struct ads ads;
    char trace[4096];
};

static const struct ads_node node = {.id = S_INIT("sidecar~127.0.0.1~a.default~x"),
                                     .cluster = S_INIT("a")};

static void trace_names(struct fixture *f, const char *sign, char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sprintf(f->trace + strlen(f->trace), "%s%s", sign, names[i]);
}

/* "cds+name-name=held/version!nonce(error) " for each request. */
static void trace(struct fixture *f, struct ads_out *out)
{
    struct err err = {0};
    f->trace[0] = 0;
    for (size_t i = 0; i < out->messages.n; i++) {
        REQ *r = pb_unpack(&envoy__service__discovery__v3__delta_discovery_request__descriptor,
                           out->messages.p[i], &f->arena, &err);
        assert_non_null(r);
        sprintf(f->trace + strlen(f->trace), "%s",
                xds_type_by_url(slice_of(r->type_url))->short_name);
        trace_names(f, "+", r->resource_names_subscribe, r->n_resource_names_subscribe);
        trace_names(f, "-", r->resource_names_unsubscribe, r->n_resource_names_unsubscribe);
        for (size_t v = 0; v < r->n_initial_resource_versions; v++)
            sprintf(f->trace + strlen(f->trace), "=%s/%s", r->initial_resource_versions[v]->key,
                    r->initial_resource_versions[v]->value);
        if (r->response_nonce[0])
            sprintf(f->trace + strlen(f->trace), "!%s", r->response_nonce);
        if (r->error_detail)
            sprintf(f->trace + strlen(f->trace), "(%s)", r->error_detail->message);
        strcat(f->trace, " ");
    }
    ads_out_fini(out);
}

static void feed(struct fixture *f, struct slice message)
{
    struct ads_out out = {0};
    struct err err = {0};
    if (!ads_message(&f->ads, message, 0, &out, &err))
        fail_msg("%s", err.msg);
    trace(f, &out);
}

static void applied(struct fixture *f, uint64_t generation, const char *failed)
{
    struct ads_out out = {0};
    struct bind_failures failures = failing(failed);
    ads_applied(&f->ads, generation, &failures, &out);
    bind_failures_fini(&failures);
    trace(f, &out);
}

static void seal_and_apply(struct fixture *f, const char *failed, size_t listeners)
{
    struct err err = {0};
    struct conf *c = resources_seal(&f->rs, &err);
    assert_non_null(c);
    assert_int_equal(c->listener_count, listeners);
    ads_sealed(&f->ads, c->generation);
    applied(f, c->generation, failed);
    conf_unref(c);
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct ads_out out = {0};
    ads_init(&f->ads, &node, &f->rs);
    ads_open(&f->ads, &out);
    trace(f, &out);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ads_fini(&f->ads);
    resources_fini(&f->rs);
    arena_fini(&f->arena);
    mem_free(f);
    return 0;
}

static void bring_up(struct fixture *f)
{
    struct arena *a = &f->arena;
    feed(f, response(a, XDS_CDS, "n1", &(struct res){"c1", "1.a", body_cluster(a, "c1", false)}, 1,
                     NULL));
    assert_string_equal(f->trace, "eds+c1 ");
    feed(f, response(a, XDS_EDS, "n2", &(struct res){"c1", "1.b", body_endpoints(a, "c1", 9080)}, 1,
                     NULL));
    feed(f, response(a, XDS_LDS, "n3", &(struct res){"l1", "1.c", body_listener(a, "l1", "80")}, 1,
                     NULL));
    assert_string_equal(f->trace, "rds+80 ");
    seal_and_apply(f, "", 0); /* the listener waits for its routes */
    assert_string_equal(f->trace, "cds!n1 eds!n2 lds!n3 ");
    feed(f, response(a, XDS_RDS, "n4", &(struct res){"80", "1.d", body_routes(a, "80", false)}, 1,
                     NULL));
    seal_and_apply(f, "", 1);
    assert_string_equal(f->trace, "rds!n4 ");
}

static void test_first_requests(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(f->trace, "cds lds ");
    bring_up(f);
}

static void test_reconnect_sends_versions(void **state)
{
    struct fixture *f = *state;
    struct ads_out out = {0};
    bring_up(f);
    ads_close(&f->ads);
    ads_open(&f->ads, &out);
    trace(f, &out);
    assert_string_equal(f->trace, "cds=c1/1.a lds=l1/1.c eds+c1=c1/1.b rds+80=80/1.d ");
}

static void test_ack_waits_for_the_tree(void **state)
{
    struct fixture *f = *state;
    bring_up(f);
    feed(f, response(&f->arena, XDS_EDS, "n5",
                     &(struct res){"c1", "2.b", body_endpoints(&f->arena, "c1", 9081)}, 1, NULL));
    assert_string_equal(f->trace, "");
    applied(f, 1000, ""); /* of trees before: n5 is not sealed yet */
    assert_string_equal(f->trace, "");
    seal_and_apply(f, "", 1);
    assert_string_equal(f->trace, "eds!n5 ");
}

static void test_refused_resource_keeps_its_last_form(void **state)
{
    struct fixture *f = *state;
    struct arena *a = &f->arena;
    bring_up(f);
    struct res rs[] = {{"c1", "2.a", body_cluster(a, "c1", true)},
                       {"c2", "2.a", body_cluster(a, "c2", false)}};
    feed(f, response(a, XDS_CDS, "n5", rs, 2, NULL));
    assert_string_equal(f->trace, "eds+c2 ");
    seal_and_apply(f, "", 1);
    assert_string_equal(f->trace, "cds!n5(Cluster c1: connect_timeout: must be above 0) ");
    struct resource *c1 = resources_find(&f->rs, XDS_CDS, S("c1"));
    assert_true(slice_eq(c1->version, S("1.a")));
    assert_non_null(c1->error);
    assert_non_null(resources_find(&f->rs, XDS_CDS, S("c2")));
}

/* Wrong: a listener whose address is taken makes the server call others refused, in their own
 * answers, for as long as it is there and after. */
static void test_listener_that_cannot_bind_is_a_nack(void **state)
{
    struct fixture *f = *state;
    struct arena *a = &f->arena;
    struct slice l2 = body_listener(a, "l2", "80"), l3 = body_listener(a, "l3", "80");
    const char *in_use = "l2: 127.0.0.1:80: in use";
    bring_up(f);
    feed(f, response(a, XDS_LDS, "n5", &(struct res){"l2", "2.c", l2}, 1, NULL));
    seal_and_apply(f, in_use, 2);
    assert_string_equal(f->trace, "lds!n5(l2: 127.0.0.1:80: in use) ");
    feed(f, response(a, XDS_LDS, "n6", &(struct res){"l3", "3.c", l3}, 1, NULL));
    seal_and_apply(f, in_use, 3);
    assert_string_equal(f->trace, "lds!n6 ");
    /* Both at once: the server finds the name in the text. */
    struct res rs[] = {{"l2", "4.c", l2}, {"l3", "4.c", l3}};
    feed(f, response(a, XDS_LDS, "n7", rs, 2, NULL));
    seal_and_apply(f, in_use, 3);
    assert_string_equal(f->trace, "lds!n7(l2: 127.0.0.1:80: in use) ");
    feed(f, response(a, XDS_LDS, "n8", NULL, 0, "l2"));
    seal_and_apply(f, "", 2);
    assert_string_equal(f->trace, "lds!n8 ");
}

/* What became of a listener after its answer (it had waited for its routes; the port was free
 * again) is told by asking for it again, once: else a mesh is called live that is not, or the
 * reverse. On a new stream the version says it. */
static void test_listener_lost_or_bound_later(void **state)
{
    static const struct {
        const char *now;           /* what the workers say, without anything new from the server */
        const char *asks, *answer; /* of it, to the listener that comes then */
        const char *open;          /* on a new stream */
    } steps[] = {
        {"", "", NULL, "lds=l1/1.c "},
        {"l1: in use", "lds+l1-l1 ", "lds!n9(l1: in use) ", "lds=l1/ "},
        {"l1: in use", "", NULL, "lds=l1/ "},
        {"", "lds+l1-l1 ", "lds!n9 ", "lds=l1/1.c "},
        {"", "", NULL, "lds=l1/1.c "},
    };
    struct fixture *f = *state;
    struct arena *a = &f->arena;
    for (int reopens = 0; reopens < 2; reopens++) {
        bool told = true; /* a new stream tells by itself */
        if (!reopens)
            bring_up(f);
        for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
            struct ads_out out = {0};
            applied(f, 1000, steps[i].now);
            assert_string_equal(f->trace, told ? steps[i].asks : "");
            applied(f, 1000, steps[i].now);
            assert_string_equal(f->trace, "");
            if (steps[i].answer && told) {
                feed(f,
                     response(a, XDS_LDS, "n9",
                              &(struct res){"l1", "1.c", body_listener(a, "l1", "80")}, 1, NULL));
                ads_sealed(&f->ads, 1000);
                applied(f, 1000, steps[i].now);
                assert_string_equal(f->trace, steps[i].answer);
            }
            if (!reopens)
                continue;
            ads_close(&f->ads);
            ads_open(&f->ads, &out);
            trace(f, &out);
            assert_non_null(strstr(f->trace, steps[i].open));
            told = !strstr(steps[i].open, "=l1/ ");
        }
    }
}

static void test_removed_cluster_is_unsubscribed(void **state)
{
    struct fixture *f = *state;
    bring_up(f);
    feed(f, response(&f->arena, XDS_CDS, "n5", NULL, 0, "c1"));
    assert_string_equal(f->trace, "eds-c1 ");
    assert_null(resources_find(&f->rs, XDS_EDS, S("c1")));
}

/* A listener whose new form waits for its routes serves on in its old form. */
static void test_changed_listener_warms(void **state)
{
    struct fixture *f = *state;
    bring_up(f);
    feed(f, response(&f->arena, XDS_LDS, "n5",
                     &(struct res){"l1", "2.c", body_listener(&f->arena, "l1", "81")}, 1, NULL));
    struct conf *c = resources_seal(&f->rs, NULL);
    assert_int_equal(c->listener_count, 1);
    assert_true(slice_eq(c->listeners[0]->chains[0].route_name, S("80")));
    conf_unref(c);
}

static void test_vhds_glob(void **state)
{
    struct fixture *f = *state;
    struct arena *a = &f->arena;
    bring_up(f);
    feed(f, response(a, XDS_RDS, "n5", &(struct res){"80", "2.d", body_routes(a, "80", true)}, 1,
                     NULL));
    assert_string_equal(f->trace, "vhds+80/* ");
    struct slice body = pb_pack_arena(&vhost(a, "reviews", "reviews", "c1")->base, a);
    feed(f, response(a, XDS_VHDS, "n6", &(struct res){"80/reviews", "2.e", body}, 1, NULL));
    struct conf *c = resources_seal(&f->rs, NULL);
    struct route_table *t = c->listeners[0]->chains[0].routes;
    assert_int_equal(t->vhost_count, 1);
    assert_non_null(map_get(&t->exact, S("reviews")));
    conf_unref(c);
}

/* Wrong: a listener is open and answers 404 for hosts that are on their way. */
static void test_listener_waits_for_its_hosts(void **state)
{
    struct fixture *f = *state;
    struct arena *a = &f->arena;
    struct slice host = pb_pack_arena(&vhost(a, "x", "x", "c1")->base, a);
    struct res tables[] = {{"80", "1.d", body_routes(a, "80", true)},
                           {"81", "1.d", body_routes(a, "81", true)}},
               listeners[] = {{"l1", "1.c", body_listener(a, "l1", "80")},
                              {"l2", "1.c", body_listener(a, "l2", "81")},
                              {"l3", "1.c", body_listener(a, "l3", "82")}};
    feed(f, response(a, XDS_LDS, "n1", listeners, 3, NULL));
    feed(f, response(a, XDS_RDS, "n2", tables, 2, NULL));
    assert_non_null(strstr(f->trace, "+80/*"));
    assert_non_null(strstr(f->trace, "+81/*"));
    feed(f, response(a, XDS_RDS, "n3", &(struct res){"82", "1.d", body_routes(a, "82", true)}, 1,
                     NULL));
    feed(f, response(a, XDS_VHDS, "n4", &(struct res){"80/x", "1.e", host}, 1, NULL));
    seal_and_apply(f, "", 0); /* clusters are not known */
    feed(f, response(a, XDS_CDS, "n5", &(struct res){"c1", "1.a", body_cluster(a, "c1", false)}, 1,
                     NULL));
    seal_and_apply(f, "", 0);
    assert_false(resources_complete(&f->rs));
    feed(f, response(a, XDS_EDS, "n6", NULL, 0, "c1"));
    f->rs.dirty = true;
    seal_and_apply(f, "", 2); /* 81 was asked for first, which is answered: none */
    assert_false(resources_complete(&f->rs));
    feed(f, response(a, XDS_VHDS, "n7", &(struct res){"82/x", "1.e", host}, 1, NULL));
    seal_and_apply(f, "", 3);
    assert_true(resources_complete(&f->rs));
    /* A new form of a table waits too, and the old one serves on. */
    feed(f, response(a, XDS_RDS, "n8", &(struct res){"80", "2.d", body_routes(a, "80", false)}, 1,
                     NULL));
    seal_and_apply(f, "", 3);
}

/* Wrong: the first MiB of a great mesh's hosts is taken for all of them. */
static void test_cut_response(void **state)
{
    struct fixture *f = *state;
    struct arena *a = &f->arena;
    struct buf given_up = {0};
    bring_up(f);
    for (int lost = 0; lost < 2; lost++) {
        const char *table = lost ? "91" : "90", *name = lost ? "l91" : "l90";
        size_t before = lost ? 2 : 1;
        char key[16];
        snprintf(key, sizeof(key), "%s/x", table);
        Envoy__Config__Route__V3__VirtualHost *v = vhost(a, "x", "x", "c1");
        v->routes[0]->match->prefix = ARENA_ARRAY(a, char, XDS_PART_BYTES + 1);
        memset(v->routes[0]->match->prefix, '/', XDS_PART_BYTES);
        struct slice host = pb_pack_arena(&v->base, a);
        feed(f, response(a, XDS_LDS, "n5",
                         &(struct res){name, "1.c", body_listener(a, name, table)}, 1, NULL));
        feed(f, response(a, XDS_RDS, "n6", &(struct res){table, "1.d", body_routes(a, table, true)},
                         1, NULL));
        feed(f, response(a, XDS_VHDS, "n7", &(struct res){key, "1.e", host}, 1, NULL));
        seal_and_apply(f, "", before);
        assert_int_equal(resources_warm(&f->rs, 100, &given_up), 100 + XDS_PART_MS);
        if (lost) /* that was all, though it looked cut */
            resources_warm(&f->rs, 100 + XDS_PART_MS, &given_up);
        else
            feed(f, response(a, XDS_VHDS, "n8", NULL, 0, NULL));
        seal_and_apply(f, "", before + 1);
        assert_int_equal(resources_warm(&f->rs, 3000, &given_up), 0);
    }
    assert_int_equal(given_up.n, 0);
}

/* Wrong: what never comes keeps a listener closed for ever, in silence, or a changed one in its old
 * form; or a table that is taken away makes one that serves answer 404. */
static void test_gives_up(void **state)
{
    struct fixture *f = *state;
    struct arena *a = &f->arena;
    struct buf given_up = {0};
    bring_up(f);
    feed(f, response(a, XDS_RDS, "n5", NULL, 0, "80"));
    seal_and_apply(f, "", 1);
    assert_int_equal(resources_warm(&f->rs, 0, &given_up), 0);
    struct res rs[] = {{"l1", "2.c", body_listener(a, "l1", "81")},
                       {"l2", "1.c", body_listener(a, "l2", "82")}};
    feed(f, response(a, XDS_LDS, "n6", rs, 2, NULL));
    feed(f, response(a, XDS_RDS, "n7", &(struct res){"82", "1.d", body_routes(a, "82", true)}, 1,
                     NULL));
    seal_and_apply(f, "", 1);
    wf_ms at = resources_warm(&f->rs, 0, &given_up); /* time 0 is a time too */
    assert_in_range(at, XDS_WARM_MS, XDS_WARM_MS + 1);
    assert_int_equal(resources_warm(&f->rs, at - 1, &given_up), at);
    assert_int_equal(given_up.n, 0);
    assert_false(f->rs.dirty);
    assert_int_equal(resources_warm(&f->rs, at, &given_up), 0);
    assert_true(slice_contains(buf_slice(&given_up), S("l1")) &&
                slice_contains(buf_slice(&given_up), S("l2")) &&
                slice_contains(buf_slice(&given_up), S("82")));
    struct conf *c = resources_seal(&f->rs, NULL);
    assert_int_equal(c->listener_count, 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(c->listeners[i]->chains[0].routes->vhost_count, 0);
    conf_unref(c);
    assert_true(resources_complete(&f->rs));
    feed(f, response(a, XDS_RDS, "n8", &(struct res){"81", "1.d", body_routes(a, "81", false)}, 1,
                     NULL));
    c = resources_seal(&f->rs, NULL);
    for (size_t i = 0; i < 2; i++)
        if (slice_eq(c->listeners[i]->name, S("l1")))
            assert_int_equal(c->listeners[i]->chains[0].routes->vhost_count, 1);
    conf_unref(c);
    buf_fini(&given_up);
}

/* Two virtual hosts with one domain: the last good table serves on. */
static void test_duplicate_domain_keeps_the_table(void **state)
{
    struct fixture *f = *state;
    struct arena *a = &f->arena;
    struct err err = {0};
    bring_up(f);
    feed(f, response(a, XDS_RDS, "n5", &(struct res){"80", "2.d", body_routes(a, "80", true)}, 1,
                     NULL));
    struct slice x = pb_pack_arena(&vhost(a, "x", "same", "c1")->base, a);
    struct slice y = pb_pack_arena(&vhost(a, "y", "same", "c1")->base, a);
    struct res rs[] = {{"80/x", "2.e", x}, {"80/y", "2.e", y}};
    feed(f, response(a, XDS_VHDS, "n6", rs, 2, NULL));
    struct conf *c = resources_seal(&f->rs, &err);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(c->listener_count, 1);
    assert_non_null(c->listeners[0]->chains[0].routes->any);
    conf_unref(c);
}

static void test_last_known_good_round_trip(void **state)
{
    struct fixture *f = *state;
    struct buf file = {0}, again = {0};
    struct resources rs = {0};
    struct err err = {0};
    bring_up(f);
    lkg_encode(&f->rs, node.id, &file);
    assert_true(lkg_decode(&rs, node.id, buf_slice(&file), 0, &err));
    assert_true(resources_complete(&rs) || rs.dirty);
    struct conf *c = resources_seal(&rs, &err);
    assert_int_equal(c->listener_count, 1);
    assert_int_equal(c->clusters[0]->endpoints->n, 1);
    assert_true(resources_complete(&rs));
    conf_unref(c);
    lkg_encode(&rs, node.id, &again);
    assert_true(slice_eq(buf_slice(&file), buf_slice(&again)));
    resources_fini(&rs);
    assert_false(lkg_decode(&rs, S("other"), buf_slice(&file), 0, &err));
    assert_int_equal(err.code, ERR_CONFLICT);
    /* Every flipped bit and every cut is found. */
    for (size_t i = 0; i < file.n; i += 7) {
        file.p[i] ^= 4;
        assert_false(lkg_decode(&rs, node.id, buf_slice(&file), 0, &err));
        file.p[i] ^= 4;
        assert_false(lkg_decode(&rs, node.id, slice_sub(buf_slice(&file), 0, i), 0, &err));
    }
    resources_fini(&rs);
    buf_fini(&file);
    buf_fini(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_first_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reconnect_sends_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ack_waits_for_the_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_resource_keeps_its_last_form, setup, teardown),
        cmocka_unit_test_setup_teardown(test_listener_that_cannot_bind_is_a_nack, setup, teardown),
        cmocka_unit_test_setup_teardown(test_listener_lost_or_bound_later, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removed_cluster_is_unsubscribed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changed_listener_warms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vhds_glob, setup, teardown),
        cmocka_unit_test_setup_teardown(test_listener_waits_for_its_hosts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_response, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gives_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_duplicate_domain_keeps_the_table, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_known_good_round_trip, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
