/* If this fails, status hides a problem of the mesh or invents one, or a proxy's configuration is
 * shown as something that it is not. */
#include "cli/fake.h"

#define MEMBER(name, role, self, connected, index)                                                 \
    "{\"id\":1,\"name\":\"" name "\",\"role\":\"voter\",\"state\":\"" role "\",\"self\":" self     \
    ",\"connected\":" connected ",\"matchIndex\":" index                                           \
    ",\"lastContactMs\":12,\"address\":\"10.0.0.1:7444\"}"
#define STATUS(role, quorum, members, proxies)                                                     \
    "{\"version\":\"0.1.0\",\"revision\":41,\"node\":{\"id\":1,\"name\":\"n1\",\"role\":\"" role   \
    "\"},\"stalenessMs\":12345,\"quorum\":" quorum                                                 \
    ",\"leader\":\"n1\",\"term\":3,\"leaderChanges\":2,\"members\":[" members                      \
    "],\"store\":{\"usedBytes\":2048,\"mapBytes\":1073741824},\"log\":{\"bytes\":4096,"            \
    "\"lastIndex\":5000},\"proxies\":" proxies "}"
#define ALL_LIVE "{\"live\":6,\"total\":6,\"rejected\":0,\"rejections\":[]}"

static void test_status(void **state)
{
    (void)state;
    static const struct canned healthy[] = {
        {"GET /weft/v1/status", 200,
         STATUS("leader", "true",
                MEMBER("n1", "leader", "true", "true", "5000") "," MEMBER("n2", "follower", "false",
                                                                          "true", "4999"),
                ALL_LIVE),
         NULL},
        {0}};
    static const struct canned follower[] = {
        {"GET /weft/v1/status", 200,
         STATUS("follower", "true",
                MEMBER("n1", "follower", "true", "true", "5000") "," MEMBER("n2", "unknown",
                                                                            "false", "false", "0"),
                ALL_LIVE),
         NULL},
        {0}};
    static const struct canned ill[] = {
        {"GET /weft/v1/status", 200,
         STATUS("leader", "true",
                MEMBER("n1", "leader", "true", "true",
                       "5000") "," MEMBER("n2", "unknown", "false", "false",
                                          "0") "," MEMBER("n3", "follower", "false", "true", "100"),
                "{\"live\":5,\"total\":6,\"rejected\":1,\"rejections\":[{\"proxy\":\"p\",\"type\":"
                "\"rds\",\"resource\":\"80\",\"message\":\"bad\",\"sources\":[\"x/y\"]}]}"),
         NULL},
        {0}};
    static const struct canned hung[] = {
        {"GET /weft/v1/status", 200,
         STATUS("leader", "true", MEMBER("n1", "leader", "true", "true", "5000"),
                "{\"live\":3,\"total\":6,\"unknown\":2,\"rejected\":0,\"rejections\":[]}"),
         NULL},
        {0}};
    static const struct canned quota[] = {
        {"GET /weft/v1/status", 200,
         "{\"version\":\"0.1.0\",\"revision\":41,\"quorum\":true,\"leader\":\"n1\",\"members\":"
         "[" MEMBER(
             "n1", "leader", "true", "true",
             "5000") "],\"namespaceQuotas\":{"
                     "\"shop\":{\"objects\":5,\"bytes\":4096,\"objectsMax\":5,\"bytesMax\":10240,"
                     "\"full\":true},"
                     "\"dev\":{\"objects\":1,\"bytes\":100,\"objectsMax\":5,\"full\":false},"
                     "\"lab\":{\"objects\":1,\"bytes\":2048,\"bytesMax\":2048,\"full\":true}}}",
         NULL},
        {0}};
    static const struct canned alone[] = {
        {"GET /weft/v1/status", 200,
         STATUS("candidate", "false", MEMBER("n1", "candidate", "true", "true", "1"),
                "{\"live\":5,\"total\":6,\"rejected\":0}"),
         NULL},
        {0}};
    struct fake f;
    fake_start(&f, healthy);
    fake_check(
        &f, "status", CLI_OK,
        "Quorum:     yes, leader n1, term 3, 2 leader changes\n"
        "Revision:   @41\n"
        "Proxies:    6/6 live @41, 0 rejected\n"
        "Store:      2 KiB of 1024 MiB, log 4 KiB\n"
        "Asked:      n1, version 0.1.0\n"
        "\n"
        "NAME         ROLE       ADDRESS         CONNECTED   INDEX   LAST-CONTACT   PROGRAM   "
        "  READS\n"
        "n1 (asked)   leader     10.0.0.1:7444   yes         5000    -              <unknown> "
        "  <unknown>\n"
        "n2           follower   10.0.0.1:7444   yes         4999    12ms ago       <unknown> "
        "  <unknown>\n"
        "\n"
        "No problems.\n",
        "");
    assert_int_equal(fake_run(&f, "status --color=always"), CLI_OK);
    assert_true(slice_contains(slice_of(f.out), S("\033[32m6/6 live\033[0m")));
    assert_int_equal(fake_run(&f, "status -o json"), CLI_OK);
    assert_true(slice_starts(slice_of(f.out), S("{\n")));
    fake_stop(&f);

    /* A follower hears of the others as the leader does. Wrong: it hides one that is gone. */
    fake_start(&f, follower);
    assert_int_equal(fake_run(&f, "status"), CLI_OK);
    assert_true(slice_contains(
        slice_of(f.out), S("  Member n2 (10.0.0.1:7444) is not connected: last heard 0s ago.\n")));
    assert_true(slice_contains(slice_of(f.out), S("n2           unknown    10.0.0.1:7444   no ")));
    fake_stop(&f);

    fake_start(&f, ill);
    assert_int_equal(fake_run(&f, "status"), CLI_OK);
    assert_true(slice_contains(slice_of(f.out), S("\nProblems:\n"
                                                  "  Member n2 (10.0.0.1:7444) is not connected: "
                                                  "last heard 0s ago.\n"
                                                  "  Member n3 is 4900 entries behind.\n"
                                                  "  p rejects rds 80 (from x/y): bad\n")));
    fake_stop(&f);

    /* Wrong: weft proxy-status says which, as it shows no proxy of a node that is silent. */
    fake_start(&f, hung);
    assert_int_equal(fake_run(&f, "status"), CLI_OK);
    assert_true(slice_contains(slice_of(f.out),
                               S("  2 of 6 proxies were on a node that is silent, and have not "
                                 "come to another.\n"
                                 "  1 of 6 proxies are behind: weft proxy-status says which.\n")));
    fake_stop(&f);

    fake_start(&f, quota);
    assert_int_equal(fake_run(&f, "status"), CLI_OK);
    assert_true(slice_contains(
        slice_of(f.out),
        S("\nProblems:\n"
          "  Namespace shop is at its quota: 5 of 5 objects, 4 of 10 KiB: what makes it larger is "
          "refused.\n"
          "  Namespace lab is at its quota: 2 of 2 KiB: what makes it larger is refused.\n")));
    fake_stop(&f);

    fake_start(&f, alone);
    assert_int_equal(fake_run(&f, "status"), CLI_UNREACHABLE);
    assert_true(slice_contains(slice_of(f.out), S("  There is no quorum: ")));
    assert_true(slice_contains(slice_of(f.out),
                               S("  What is shown is of n1, which was up to date 12s ago.\n")));
    assert_true(slice_contains(slice_of(f.out), S("  1 of 6 proxies are behind: ")));
    fake_stop(&f);
}

#define TYPE(status, extra)                                                                        \
    "{\"status\":\"" status "\",\"sent\":41,\"acked\":40,\"resources\":12,\"rejected\":1" extra "}"
#define PROXY(name, kind, types)                                                                   \
    "{\"name\":\"" name "\",\"id\":\"" kind "~10.0.0.9~" name                                      \
    "~x\",\"node\":\"n2\",\"agent\":\"weft-proxy\",\"version\":\"0.1.0\",\"dialect\":\"weft\","    \
    "\"variant\":\"delta\",\"address\":\"10.0.0.9\",\"connectedMs\":65000,\"revision\":40,"        \
    "\"types\":{" types "}}"

#define STALE "\"cds\":" TYPE("STALE", "")
#define SYNCED "\"cds\":" TYPE("SYNCED", "")
#define REFUSED ",\"vhds\":" TYPE("ERROR", ",\"error\":\"bad regex\"")
#define GATE PROXY("gate.edge", "router", STALE)
#define REVIEWS PROXY("reviews-v1.default", "sidecar", SYNCED REFUSED)
#define WEB_A PROXY("web.a", "sidecar", "")
#define WEB_B PROXY("web.b", "sidecar", "")

static const struct canned proxies[] = {
    {"GET /weft/v1/proxies", 200,
     "{\"items\":[" GATE "," REVIEWS "," WEB_A "," WEB_B "],\"silent\":[\"n3\"]}", NULL},
    {0},
};

static void test_proxy_status(void **state)
{
    (void)state;
    struct fake f;
    fake_start(&f, proxies);
    fake_check(
        &f, "ps", CLI_OK,
        "NAME                 TYPE      NODE   LIVE   CDS      EDS   LDS   RDS   VHDS    AGE\n"
        "gate.edge            router    n2     @40    STALE    -     -     -     -       65s\n"
        "reviews-v1.default   sidecar   n2     @40    SYNCED   -     -     -     ERROR   65s\n"
        "web.a                sidecar   n2     @40    -        -     -     -     -       65s\n"
        "web.b                sidecar   n2     @40    -        -     -     -     -       65s\n",
        "Warning: node n3 did not answer, its proxies are not shown\n");
    fake_check(&f, "get proxy reviews-v1 --no-headers", CLI_OK,
               "reviews-v1.default   sidecar   n2   @40   SYNCED   -   -   -   ERROR   65s\n", "");
    fake_check(&f, "ps reviews-v1", CLI_OK,
               "Name:         reviews-v1.default\n"
               "Id:           sidecar~10.0.0.9~reviews-v1.default~x\n"
               "Node:         n2\n"
               "Address:      10.0.0.9\n"
               "Agent:        weft-proxy 0.1.0 (weft, delta)\n"
               "Admin:        <none>\n"
               "Connected:    65s\n"
               "Live:         @40\n"
               "\n"
               "TYPE   STATUS   SENT   ACKED   RESOURCES   REJECTED\n"
               "cds    SYNCED   @41    @40     12          1\n"
               "vhds   ERROR    @41    @40     12          1\n"
               "\n"
               "The proxy rejected vhds: bad regex\n",
               "");
    fake_check(&f, "ps web", CLI_BAD_INPUT, "",
               "error: 2 proxies are called \"web\": say the namespace too, \"web.a\"\n");
    fake_check(&f, "ps gate.egde", CLI_FAILED, "",
               "error: no proxy \"gate.egde\" is connected, did you mean \"gate.edge\"?\n");
    fake_check(&f, "ps -o name", CLI_OK, "gate.edge\nreviews-v1.default\nweb.a\nweb.b\n", "");
    fake_stop(&f);
}

#define R(name, body) "{\"name\":\"" name "\",\"status\":\"SYNCED\",\"body\":" body "}"

static const char config[] =
    "{\"name\":\"p.default\",\"types\":{"
    "\"cds\":[" R("outbound|9080|v1|reviews.default.svc.cluster.local", "{\"type\":\"EDS\"}") "," R(
        "inbound|9080||",
        "{\"loadAssignment\":{\"endpoints\":[{\"lbEndpoints\":[{\"endpoint\":{"
        "\"address\":{\"socketAddress\":{\"address\":\"127.0.0.1\",\"portValue\":9080}}}}]}]}"
        "}") "," R("BlackHoleCluster",
                   "{}") "],"
                         "\"eds\":[" R(
                             "outbound|9080|v1|reviews.default.svc.cluster.local",
                             "{\"endpoints\":[{\"priority\":1,\"locality\":{\"zone\":\"z1\"},"
                             "\"lbEndpoints\":[{"
                             "\"healthStatus\":\"UNHEALTHY\",\"loadBalancingWeight\":3,"
                             "\"endpoint\":{\"address\":{"
                             "\"socketAddress\":{\"address\":\"10.0.0.1\",\"portValue\":9080}}"
                             "}}]}]}") "],"
                                       "\"lds\":[" R(
                                           "0.0.0.0_80",
                                           "{\"address\":{\"socketAddress\":{\"address\":\"0."
                                           "0.0.0\",\"portValue\":80}},"
                                           "\"filterChains\":[{\"filterChainMatch\":{"
                                           "\"serverNames\":[\"a\",\"b\"],"
                                           "\"transportProtocol\":\"tls\"},\"filters\":[{"
                                           "\"typedConfig\":{\"cluster\":\"c1\"}}]},"
                                           "{\"filters\":[{\"name\":\"stats\"},{"
                                           "\"typedConfig\":{\"rds\":{\"routeConfigName\":"
                                           "\"80\"}}}]}]}") "],"
                                                            "\"rds\":[" R("80",
                                                                          "{\"virtualHosts\":["
                                                                          "{\"name\":\"v\","
                                                                          "\"domains\":[\"*\"]"
                                                                          ",\"routes\":[{"
                                                                          "\"match\":{"
                                                                          "\"prefix\":\"/"
                                                                          "\"},"
                                                                          "\"directResponse\":"
                                                                          "{\"status\":404}}]}"
                                                                          "]}") "],"
                                                                                "\"vhds\":[" R(
                                                                                    "80/"
                                                                                    "reviews",
                                                                                    "{\"name\""
                                                                                    ":\"review"
                                                                                    "s\","
                                                                                    "\"domains"
                                                                                    "\":["
                                                                                    "\"reviews"
                                                                                    ".default"
                                                                                    "\","
                                                                                    "\"reviews"
                                                                                    "\",\"r\"]"
                                                                                    ","
                                                                                    "\"routes"
                                                                                    "\":[{"
                                                                                    "\"match\""
                                                                                    ":{"
                                                                                    "\"path\":"
                                                                                    "\"/"
                                                                                    "x\","
                                                                                    "\"headers"
                                                                                    "\":[{"
                                                                                    "\"name\":"
                                                                                    "\"end-"
                                                                                    "user\","
                                                                                    "\"stringM"
                                                                                    "atch\":{"
                                                                                    "\"exact\""
                                                                                    ":\"jason"
                                                                                    "\"}}]},"
                                                                                    "\"route\""
                                                                                    ":{"
                                                                                    "\"cluster"
                                                                                    "\":"
                                                                                    "\"c3\"}},"
                                                                                    "{\"match"
                                                                                    "\":{"
                                                                                    "\"prefix"
                                                                                    "\":\"/"
                                                                                    "\"},"
                                                                                    "\"route\""
                                                                                    ":{"
                                                                                    "\"weighte"
                                                                                    "dClusters"
                                                                                    "\":{"
                                                                                    "\"cluster"
                                                                                    "s\":[{"
                                                                                    "\"name\":"
                                                                                    "\"c1\","
                                                                                    "\"weight"
                                                                                    "\":90},{"
                                                                                    "\"name\":"
                                                                                    "\"c2\","
                                                                                    "\"weight"
                                                                                    "\":10}]}}"
                                                                                    "}]}") "]}"
                                                                                           "}";

static void test_proxy_config(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"GET /weft/v1/proxies/p.default/config", 200, config, NULL},
        {"GET /weft/v1/proxies", 200, "{\"items\":[{\"name\":\"p.default\"}]}", NULL},
        {0},
    };
    struct fake f;
    struct err err = {0};
    fake_start(&f, answers);
    fake_check(&f, "pc clusters p.default", CLI_OK,
               "SERVICE-FQDN                        PORT   SUBSET   DIRECTION   TYPE     STATUS\n"
               "-                                   9080   -        inbound     STATIC   SYNCED\n"
               "BlackHoleCluster                    -      -        -           STATIC   SYNCED\n"
               "reviews.default.svc.cluster.local   9080   v1       outbound    EDS      SYNCED\n",
               "");
    fake_check(&f, "pc c p --fqdn reviews.default --no-headers", CLI_OK,
               "reviews.default.svc.cluster.local   9080   v1   outbound   EDS   SYNCED\n", "");
    fake_check(&f, "pc c p --fqdn rev --no-headers", CLI_OK, "", "");
    fake_check(&f, "proxy-config endpoints p", CLI_OK,
               "ENDPOINT         HEALTH      WEIGHT   PRIORITY   ZONE   CLUSTER\n"
               "127.0.0.1:9080   HEALTHY     1        0          -      inbound|9080||\n"
               "10.0.0.1:9080    UNHEALTHY   3        1          z1     "
               "outbound|9080|v1|reviews.default.svc.cluster.local\n",
               "");
    fake_check(&f, "pc listeners p", CLI_OK,
               "NAME         ADDRESS   PORT   MATCH                      DESTINATION   STATUS\n"
               "0.0.0.0_80   0.0.0.0   80     SNI: a,b; Transport: tls   Cluster: c1   SYNCED\n"
               "0.0.0.0_80   0.0.0.0   80     ALL                        Route: 80     SYNCED\n",
               "");
    fake_check(
        &f, "pc routes p", CLI_OK,
        "NAME   VIRTUAL-HOST   DOMAINS                    MATCH               DESTINATION      "
        "STATUS\n"
        "80     v              *                          /*                  answer 404       "
        "SYNCED\n"
        "80     reviews        reviews.default + 2 more   /x end-user=jason   c3               "
        "SYNCED\n"
        "80     reviews        reviews.default + 2 more   /*                  c1: 90, c2: 10   "
        "SYNCED\n",
        "");
    assert_int_equal(fake_run(&f, "pc routes p -o json"), CLI_OK);
    json_t *out = json_parse(slice_of(f.out), &err);
    check_slice(json_str(out, "vhds[0].body.name"), S("reviews"));
    assert_null(json_object_get(out, "cds"));
    json_decref(out);
    assert_int_equal(fake_run(&f, "pc all p -o json"), CLI_OK);
    out = json_parse(slice_of(f.out), &err);
    assert_int_equal(json_object_size(out), 5);
    json_decref(out);
    assert_int_equal(fake_run(&f, "pc all p"), CLI_OK);
    assert_int_equal(fake_run(&f, "pc all q"), CLI_FAILED);
    fake_stop(&f);
}

#define PROGRAM(name, connected, newest)                                                           \
    "{\"name\":\"" name "\",\"role\":\"voter\",\"state\":\"follower\",\"connected\":" connected    \
    ",\"address\":\"10.0.0.1:7444\",\"program\":\"0.2.0\",\"reads\":{\"oldest\":3,"                \
    "\"newest\":" newest "}}"

/* Wrong: in the middle of an upgrade nobody sees how far it is, and for whom it waits. */
static void test_cluster_version(void **state)
{
    (void)state;
    static const struct {
        struct canned answers[2];
        const char *says;
    } cases[] = {
        {{{"GET /weft/v1/members", 200,
           "{\"clusterVersion\":4,\"items\":[" PROGRAM("n1", "true", "4") "]}", NULL}},
         "READS\nn1     follower   10.0.0.1:7444   yes         <unknown>   -              0.2.0    "
         " "
         "3-4\n\nVersion:    4\n"},
        {{{"GET /weft/v1/members", 200,
           "{\"clusterVersion\":3,\"items\":[" PROGRAM("n1", "true", "4") "," PROGRAM(
               "n2", "true", "3") "," PROGRAM("n3", "false", "4") "]}",
           NULL}},
         "\n\nVersion:    3, 4 waits for n2 (reads to 3), n3 (away)\n"},
        {{{"GET /weft/v1/members", 200,
           "{\"clusterVersion\":3,\"items\":[" PROGRAM("n1", "true", "4") "]}", NULL}},
         "\n\nVersion:    3, 4 waits for some seconds\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake f;
        fake_start(&f, cases[i].answers);
        assert_int_equal(fake_run(&f, "operator raft list"), CLI_OK);
        if (!slice_contains(slice_of(f.out), slice_of(cases[i].says)))
            fail_msg("%s", f.out);
        fake_stop(&f);
    }
}

static void test_version(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"GET /weft/v1/status", 200, STATUS("leader", "true", "", ALL_LIVE), NULL}, {0}};
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "version", CLI_OK, "client " WEFT_VERSION "\nserver 0.1.0 (n1)\n", "");
    fake_check(&f, "version --client", CLI_OK, "client " WEFT_VERSION "\n", "");
    fake_check(&f, "--version", CLI_OK, "weft " WEFT_VERSION "\n", "");
    assert_int_equal(fake_run_at(&f, "127.0.0.1:1", "version"), CLI_UNREACHABLE);
    assert_string_equal(f.out, "client " WEFT_VERSION "\n");
    fake_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),       cmocka_unit_test(test_cluster_version),
        cmocka_unit_test(test_proxy_status), cmocka_unit_test(test_proxy_config),
        cmocka_unit_test(test_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
