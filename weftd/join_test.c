/* If these fail, a node comes back as another than the one it was, joins a second time, or believes
 * what is damaged or another's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/env/env_uv.h"
#include "base/net/http_server.h"
#include "weftd/join.h"

#define ADDED                                                                                      \
    "{\"id\":%s,\"name\":\"n4\",\"address\":\"127.0.0.4:7\",\"cluster\":\"00000000000000ab\","     \
    "\"members\":[{\"id\":1,\"name\":\"n1\",\"address\":\"127.0.0.1:7\"}],"                        \
    "\"clusterVersion\":%d}"

struct fixture {
    struct env *env;
    char dir[64];
    struct http_server *server;
    int refusals; /* 503 first, so often */
    int status;   /* then this; 0: the request's id is added */
    int version;  /* of the cluster that answers */
    unsigned asked;
    char ids[4][32]; /* that it was asked for, each time */
    struct join_options o;
    struct reg_node_options got;
    struct err err;
};

static void on_request(void *ctx, struct http_request *req)
{
    struct fixture *f = ctx;
    struct slice id, rest;
    char text[512];
    const char *at = strstr(arena_dup(req->arena, req->body).p, "\"id\":");
    assert_non_null(at);
    slice_cut(slice_of(at + 5), ',', &id, &rest);
    slice_cstr(id, f->ids[f->asked++ % 4], sizeof(f->ids[0]));
    snprintf(text, sizeof(text), ADDED, f->ids[(f->asked - 1) % 4], f->version);
    if (f->refusals-- > 0)
        http_respond(req, 503, S("application/json"), S("{\"message\":\"no leader\"}"));
    else if (f->status)
        http_respond(req, f->status, S("application/json"), S("{\"message\":\"it is taken\"}"));
    else
        http_respond(req, 201, S("application/json"), slice_of(text));
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct env_addr any;
    f->env = env_uv_new(&f->err);
    strcpy(f->dir, "/tmp/weftd-join-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->server = http_server_new(f->env, &(struct http_server_options){0}, on_request, f);
    assert_true(env_addr_parse(&any, S("127.0.0.1:0"), &f->err));
    assert_true(http_server_listen(f->server, &any, NULL, &f->err));
    f->o = (struct join_options){.dir = f->dir, .name = "n4", .contact_count = 1, .patience = 2000};
    f->o.contacts[0] = *http_server_addr(f->server, 0);
    assert_true(env_addr_parse(&f->o.peer, S("127.0.0.4:7"), &f->err));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    http_server_free(f->server);
    env_uv_free(f->env);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    mem_free(f);
    return 0;
}

static bool join(struct fixture *f)
{
    err_clear(&f->err);
    f->got = (struct reg_node_options){0};
    return join_cluster(f->env, &f->o, &f->got, &f->err);
}

static void refused(struct fixture *f, const char *part)
{
    assert_false(join(f));
    if (!strstr(f->err.msg, part))
        fail_msg("\"%s\" has no \"%s\"", f->err.msg, part);
}

static void put(struct fixture *f, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    assert_true(env_file_store(f->env, path, slice_of(text), &f->err));
}

static void test_joins_once(void **state)
{
    struct fixture *f = *state;
    f->refusals = 2;
    assert_true(join(f));
    assert_int_equal(f->asked, 3);
    assert_string_equal(f->ids[0], f->ids[2]); /* the same at every try */
    assert_true(f->got.newcomer);
    assert_int_equal(f->got.cluster, 0xab);
    assert_int_equal(f->got.member_count, 2); /* with itself, of which the list did not say */
    assert_int_equal(f->got.members[1].id, f->got.id);
    uint64_t id = f->got.id;
    f->o.contact_count = 0;
    assert_true(join(f)); /* nobody is asked */
    assert_int_equal(f->asked, 3);
    assert_int_equal(f->got.id, id);
}

/* It died, or was told no, before it knew whether it was added. */
static void test_asks_again_as_the_same(void **state)
{
    struct fixture *f = *state;
    f->status = 409;
    refused(f, "it is taken (409)");
    f->status = 0;
    assert_true(join(f));
    assert_string_equal(f->ids[0], f->ids[1]);
}

static void test_is_not_another(void **state)
{
    struct fixture *f = *state;
    assert_true(join(f));
    f->o.name = "n5";
    refused(f, "is of node n4, this is n5");
    f->o.name = "n4";
    f->o.id = 3;
    refused(f, "not 3 (--id)");
    f->o.id = 0;
    assert_true(env_addr_parse(&f->o.peer, S("127.0.0.5:7"), &f->err));
    refused(f, "was added at 127.0.0.4:7");
    f->o.peer.len = 0; /* not said: as it was */
    assert_true(join(f));
}

static void test_directories(void **state)
{
    struct fixture *f = *state;
    struct member_file m;
    put(f, "meta", "x");
    refused(f, "of a node that did not join");
    assert_false(join_known(f->env, f->dir));
    put(f, "member", "{}\ncrc32c 00000000\n");
    refused(f, "member: its checksum is wrong");
    assert_int_equal(f->err.code, ERR_CORRUPT);
    assert_true(join_known(f->env, f->dir));
    char path[128];
    snprintf(path, sizeof(path), "%s/member", f->dir);
    assert_true(env_file_remove(f->env, path, &f->err));
    snprintf(path, sizeof(path), "%s/meta", f->dir);
    assert_true(env_file_remove(f->env, path, &f->err));
    assert_true(join(f));
    assert_true(member_file_load(f->env, f->dir, &m, &f->err));
    m.state = MEMBER_BEGAN;
    assert_true(member_file_store(f->env, f->dir, &m, &f->err));
    refused(f, "the log of member n4 is gone");
}

static void test_added_by_hand(void **state)
{
    struct fixture *f = *state;
    char text[512], path[128];
    snprintf(path, sizeof(path), "%s/told.json", f->dir);
    snprintf(text, sizeof(text), ADDED, "77", VERSION_NEWEST);
    put(f, "told.json", text);
    f->o.file = path;
    f->o.name = "n9";
    refused(f, "is of node n4, this is n9");
    f->o.name = "n4";
    f->o.reads = (struct versions){VERSION_OLDEST, VERSION_OLDEST};
    refused(f, "the cluster is of version 4, this program reads 3 to 3");
    f->o.reads = (struct versions){0};
    assert_true(join(f));
    assert_int_equal(f->got.id, 77);
    assert_int_equal(f->asked, 0);
}

/* The answer comes from a cluster that was raised meanwhile. */
static void test_too_old(void **state)
{
    struct fixture *f = *state;
    f->version = VERSION_NEWEST + 1;
    refused(f, "the cluster is of version 5, this program reads 3 to 4: a version never goes back");
    assert_int_equal(f->asked, 1);
    f->version = VERSION_NEWEST;
    assert_true(join(f));
    assert_string_equal(f->ids[0], f->ids[1]);
}

static void test_nobody_to_ask(void **state)
{
    struct fixture *f = *state;
    f->o.patience = 1;
    f->refusals = 99;
    refused(f, "no leader (503)");
    f->o.contact_count = 0;
    refused(f, "--join says whom to ask");
}

static void test_file_round_trip(void **state)
{
    (void)state;
    struct member_file m = {.state = MEMBER_ADDED, .cluster = 5, .member_count = 1}, back;
    struct buf out = {0};
    struct err err = {0};
    m.self.id = 9;
    strcpy(m.self.name, "n9");
    assert_true(env_addr_parse(&m.self.addr, S("[::1]:5"), &err));
    m.members[0] = m.self;
    member_file_format(&m, &out);
    assert_true(member_file_parse(buf_slice(&out), &back, &err));
    assert_int_equal(back.members[0].id, 9);
    assert_true(env_addr_equal(&back.self.addr, &m.self.addr));
    for (size_t i = 0; i < out.n; i++) { /* whatever byte changes is seen */
        out.p[out.at + i] ^= 1;
        assert_false(member_file_parse(buf_slice(&out), &back, &err));
        out.p[out.at + i] ^= 1;
        assert_false(member_file_parse(slice_sub(buf_slice(&out), 0, i), &back, &err));
    }
    buf_fini(&out);
}

static void test_contacts(void **state)
{
    (void)state;
    struct join_options o = {0};
    struct err err = {0};
    assert_true(join_contacts_parse(S("http://127.0.0.1:7443, 127.0.0.2:7443"), &o, &err));
    assert_int_equal(o.contact_count, 2);
    assert_false(join_contacts_parse(S("https://127.0.0.1:7443"), &o, &err));
    o.contact_count = JOIN_CONTACTS_MAX;
    assert_false(join_contacts_parse(S("127.0.0.1:7443"), &o, &err));
    assert_int_equal(err.code, ERR_LIMIT);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_joins_once),           CASE(test_asks_again_as_the_same),
        CASE(test_is_not_another),       CASE(test_directories),
        CASE(test_added_by_hand),        CASE(test_too_old),
        CASE(test_nobody_to_ask),        cmocka_unit_test(test_file_round_trip),
        cmocka_unit_test(test_contacts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
