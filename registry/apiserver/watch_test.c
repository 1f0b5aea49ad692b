/* If these fail, a controller works on a state that never was, one slow client makes the server
 * hold the whole registry in memory for it, or kubectl's watch begins twice or not at all. */
#include "registry/apiserver/api_testing.h"

#include "base/core/map.h"
#include "registry/apiserver/internal.h"

#define OBJECTS 200 /* v0, v1, v10, v100 … v99: names of several lengths */
#define LAST 99     /* in order of keys */
#define FILLER_BYTES 50000

static uint64_t events_sent(const struct fixture *f)
{
    return metric_value(f->api->cells.watch_events);
}

/* A kind without analysis: the time goes to the watch. */
#define NS "/api/v1/namespaces"
#define BIG "?labelSelector=n"

static void big_object(struct buf *b, unsigned i)
{
    static char filler[FILLER_BYTES];
    memset(filler, 'x', sizeof(filler));
    buf_printf(b,
               "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"v%u\","
               "\"labels\":{\"n\":\"1\"},\"annotations\":{\"x\":\"%.*s\"}}}",
               i, (int)sizeof(filler), filler);
}

static void put_objects(struct fixture *f)
{
    for (unsigned i = 0; i < OBJECTS; i += 10) {
        struct buf b = {0};
        buf_printf(&b, "{\"items\":[");
        for (unsigned k = i; k < i + 10; k++) {
            buf_printf(&b, "%s{\"verb\":\"create\",\"object\":", k > i ? "," : "");
            big_object(&b, k);
            buf_append_byte(&b, '}');
        }
        buf_append(&b, S("]}"));
        buf_append_byte(&b, '\0');
        expect(f, 200, "POST", "/weft/v1/batch", JSON, b.p, "created");
        buf_fini(&b);
    }
}

static void set_label(struct fixture *f, unsigned i, unsigned n)
{
    char path[128], patch[128];
    snprintf(path, sizeof(path), NS "/v%u", i);
    snprintf(patch, sizeof(patch), "{\"metadata\":{\"labels\":{\"n\":\"%u\"}}}", n);
    expect(f, 200, "PATCH", path, "application/merge-patch+json", patch, NULL);
}

static void delete_object(struct fixture *f, unsigned i)
{
    char path[128];
    snprintf(path, sizeof(path), NS "/v%u", i);
    expect(f, 200, "DELETE", path, "", "", NULL);
}

/* What a client makes of the events. */

struct mirror {
    struct map labels; /* name -> json string */
    uint64_t versions[OBJECTS];
    unsigned ends, errors, added;
};

static void mirror_fini(struct mirror *m)
{
    MAP_EACH (&m->labels, e)
        json_decref(e->value);
    map_fini(&m->labels);
}

static void mirror_line(struct mirror *m, struct slice line)
{
    struct err err = {0};
    unsigned index = 0;
    uint64_t rv;
    json_t *event = json_parse_capped(line, 1 << 20, JSON_DEPTH_MAX, &err);
    if (!event)
        fail_msg("%s", err.msg);
    struct slice type = json_str(event, "type"), name = json_str(event, "object.metadata.name");
    bool gone = slice_eq(type, S("DELETED"));
    if (slice_eq(type, S("BOOKMARK")) || slice_eq(type, S("ERROR"))) {
        m->ends += json_at(event, "object.metadata.annotations") != NULL;
        m->errors += slice_eq(type, S("ERROR"));
        json_decref(event);
        return;
    }
    assert_int_equal(sscanf(name.p, "v%u", &index), 1);
    assert_true(index < OBJECTS);
    assert_true(slice_u64(json_str(event, "object.metadata.resourceVersion"), &rv));
    assert_true(rv > m->versions[index]); /* time does not run backwards, and nothing comes twice */
    m->versions[index] = rv;
    bool known = map_get(&m->labels, name) != NULL;
    assert_int_equal(known, !slice_eq(type, S("ADDED")));
    m->added += !known;
    m->labels.copies_keys = true;
    json_t *label = json_incref(json_at(event, "object.metadata.labels.n"));
    json_decref(gone ? map_del(&m->labels, name) : map_put(&m->labels, name, label));
    if (gone)
        json_decref(label);
    json_decref(event);
}

static void mirror_take(struct mirror *m, struct watcher *w)
{
    struct slice rest = buf_slice(&w->lines), line, tail;
    while (slice_cut(rest, '\n', &line, &tail)) {
        mirror_line(m, line);
        rest = tail;
    }
    buf_consume(&w->lines, w->lines.n - rest.n);
}

static void mirror_equals_list(struct mirror *m, struct fixture *f)
{
    struct err err = {0};
    size_t i;
    json_t *o;
    expect(f, 200, "GET", NS BIG, "", "", NULL);
    json_t *list = json_parse_capped(slice_of(text(f)), OBJECTS * (FILLER_BYTES + 10000),
                                     JSON_DEPTH_MAX, &err);
    assert_non_null(list);
    assert_int_equal(json_array_size(json_object_get(list, "items")), m->labels.n);
    json_array_foreach (json_object_get(list, "items"), i, o) {
        json_t *label = map_get(&m->labels, json_str(o, "metadata.name"));
        assert_non_null(label);
        assert_true(json_equal(label, json_at(o, "metadata.labels.n")));
    }
    json_decref(list);
}

static void turns(struct fixture *f, int n)
{
    for (int i = 0; i < n; i++)
        env_uv_turn(f->env, 0);
}

#define INITIAL BIG "&watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"

/* Cases. */

/* 10 MB of objects, a client that stops reading, changes on both sides of the place where it stands
 * meanwhile: the server keeps a page for it, and what it has in the end is true. */
static void test_slow_reader_is_paged(void **state)
{
    struct fixture *f = *state;
    struct watcher w = {0};
    struct mirror m = {0};
    put_objects(f);
    struct http_call *call_ = watch(f, &w, NS INITIAL);
    while (lines(&w) < 3)
        env_uv_turn(f->env, 1000);
    http_call_pause(call_);
    uint64_t before;
    do { /* until the sockets are full and the server stands */
        before = events_sent(f);
        turns(f, 50);
    } while (events_sent(f) != before);
    assert_true(before < OBJECTS);
    set_label(f, 0, 50);    /* sent already */
    set_label(f, LAST, 60); /* not yet: comes once, in its last form */
    set_label(f, LAST, 61);
    delete_object(f, 1);        /* sent already */
    delete_object(f, LAST - 1); /* never seen */
    turns(f, 50);
    assert_true(events_sent(f) <= before + 1);
    apiserver_metrics(f->api);
    assert_int_equal(metric_value(f->api->cells.watches_blocked), 1);
    assert_true(metric_value(f->api->cells.watch_lag) > 0);
    http_call_resume(call_);
    while (m.ends == 0) {
        env_uv_turn(f->env, 1000);
        mirror_take(&m, &w);
    }
    assert_int_equal(m.ends, 1);
    assert_int_equal(m.added, OBJECTS - 1);
    mirror_equals_list(&m, f);
    set_label(f, 7, 70); /* and it goes on */
    while (strcmp(json_string_value(map_get(&m.labels, S("v7"))), "70") != 0) {
        env_uv_turn(f->env, 1000);
        mirror_take(&m, &w);
    }
    apiserver_metrics(f->api);
    assert_int_equal(metric_value(f->api->cells.watches_blocked), 0);
    assert_int_equal(metric_value(f->api->cells.watch_lag), 0);
    http_call_cancel(call_);
    buf_fini(&w.lines);
    mirror_fini(&m);
}

/* One that stands until the history has moved on is told so, in the stream, and let go. */
static void test_too_slow_a_reader_lists_again(void **state)
{
    struct fixture *f = *state;
    struct watcher w = {0};
    struct mirror m = {0};
    put_objects(f);
    struct http_call *call_ = watch(f, &w, NS INITIAL);
    while (lines(&w) < 3)
        env_uv_turn(f->env, 1000);
    http_call_pause(call_);
    for (unsigned i = 0; i < 60; i++)
        set_label(f, 3, 100 + i);
    http_call_resume(call_);
    while (!w.ended)
        env_uv_turn(f->env, 1000);
    mirror_take(&m, &w);
    assert_int_equal(m.errors, 1);
    assert_int_equal(m.ends, 0);
    assert_int_equal(f->api->watch_count, 0);
    buf_fini(&w.lines);
    mirror_fini(&m);
}

static void test_rules_of_list_options(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int status;
        const char *query, *part;
    } rows[] = {
        {400, "?watch=1&sendInitialEvents=true", "NotOlderThan"},
        {400, "?watch=1&sendInitialEvents=true&resourceVersionMatch=Exact", "NotOlderThan"},
        {400, "?sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "watches only"},
        {400, "?watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1", "sendInitialEvents"},
        {400, "?resourceVersionMatch=NotOlderThan", "needs a resourceVersion"},
        {400, "?resourceVersionMatch=Exact&resourceVersion=0", "above 0"},
        {400, "?resourceVersionMatch=Newest&resourceVersion=1", "resourceVersionMatch=Newest"},
        {200, "?resourceVersionMatch=Exact&resourceVersion=1", "\"items\":[]"},
        {200, "?resourceVersionMatch=NotOlderThan&resourceVersion=1", "\"items\""},
        {504,
         "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion="
         "999999",
         "Too large resource version"},
    };
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[256];
        snprintf(path, sizeof(path), VS "%s", rows[i].query);
        expect(f, rows[i].status, "GET", path, "", "", rows[i].part);
    }
    struct err err = {0};
    char path[256];
    expect(f, 200, "GET", VS, "", "", NULL);
    json_t *list = json_parse(slice_of(text(f)), &err);
    snprintf(path, sizeof(path), VS "?resourceVersionMatch=Exact&resourceVersion=%s",
             json_string_value(json_at(list, "metadata.resourceVersion")));
    json_decref(list);
    expect(f, 200, "GET", path, "", "", "\"name\":\"a\"");
}

static void test_watch_of_one_object(void **state)
{
    struct fixture *f = *state;
    struct watcher w = {0};
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
    expect(f, 201, "POST", VS, JSON, VS_BODY("ab", "1"), NULL);
    struct http_call *call_ = watch(f, &w, VS "/a?watch=true");
    until_lines(f, &w, 1);
    expect(f, 200, "PUT", VS "/ab", JSON, VS_BODY("ab", "2"), NULL);
    expect(f, 200, "PUT", VS "/a", JSON, VS_BODY("a", "2"), NULL);
    until_lines(f, &w, 2);
    assert_null(strstr(w.lines.p, "\"name\":\"ab\""));
    assert_non_null(strstr(w.lines.p, "MODIFIED"));
    http_call_cancel(call_);
    buf_fini(&w.lines);
}

static void test_no_initial_events(void **state)
{
    struct fixture *f = *state;
    struct watcher w = {0};
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
    struct http_call *call_ =
        watch(f, &w, VS "?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan");
    while (f->api->watch_count == 0)
        env_uv_turn(f->env, 1000);
    expect(f, 201, "POST", VS, JSON, VS_BODY("b", "1"), NULL);
    until_lines(f, &w, 1);
    assert_non_null(strstr(w.lines.p, "\"name\":\"b\""));
    http_call_cancel(call_);
    buf_fini(&w.lines);
}

static unsigned long long revision_of(struct fixture *f)
{
    unsigned long long rv = 0;
    const char *at = strstr(text(f), "\"revision\":");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "\"revision\":%llu", &rv), 1);
    return rv;
}

static void batch_of(struct fixture *f, const char *a, const char *b)
{
    struct buf body = {0};
    buf_printf(&body, "{\"items\":[");
    for (int i = 0; i < 2; i++)
        buf_printf(
            &body,
            "%s{\"verb\":\"create\",\"object\":{\"apiVersion\":\"v1\",\"kind\":\"Namespace\","
            "\"metadata\":{\"name\":\"%s\"}}}",
            i ? "," : "", i ? b : a);
    buf_append(&body, S("]}"));
    buf_append_byte(&body, '\0');
    expect(f, 200, "POST", "/weft/v1/batch", JSON, body.p, "created");
    buf_fini(&body);
}

/* What a client is told that was cut off behind one event of a revision and goes on from there: the
 * others of that revision must be among it. */
static void test_resume_within_a_revision(void **state)
{
    struct fixture *f = *state;
    struct watcher w = {0}, alone = {0};
    char path[128];
    batch_of(f, "one", "two");
    unsigned long long shared = revision_of(f);
    expect(f, 201, "POST", NS, JSON,
           "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"three\"}}",
           NULL);
    snprintf(path, sizeof(path), NS "?watch=1&resourceVersion=%llu", shared);
    struct http_call *call_ = watch(f, &w, path);
    until_lines(f, &w, 3);
    assert_non_null(strstr(w.lines.p, "\"name\":\"two\""));
    assert_non_null(strstr(w.lines.p, "\"name\":\"three\""));
    http_call_cancel(call_);
    buf_fini(&w.lines);
    /* Of those that are watched only one was changed at that revision: nothing comes twice. */
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
    snprintf(path, sizeof(path), NS "?watch=1&resourceVersion=%llu", shared + 1);
    call_ = watch(f, &alone, path);
    while (f->api->watch_count == 0)
        env_uv_turn(f->env, 1000);
    batch_of(f, "four", "five");
    until_lines(f, &alone, 2);
    assert_int_equal(lines(&alone), 2);
    assert_null(strstr(alone.lines.p, "\"name\":\"three\""));
    http_call_cancel(call_);
    buf_fini(&alone.lines);
}

/* The same at a node that is behind: it has not got that revision yet when it is asked. */
static void test_resume_ahead_of_the_node(void **state)
{
    struct fixture *f = *state;
    struct watcher w = {0};
    char path[128];
    batch_of(f, "one", "two");
    unsigned long long next = revision_of(f) + 1;
    snprintf(path, sizeof(path), NS "?watch=1&resourceVersion=%llu", next);
    struct http_call *call_ = watch(f, &w, path);
    while (f->api->watch_count == 0)
        env_uv_turn(f->env, 1000);
    batch_of(f, "three", "four");
    assert_int_equal(revision_of(f), next);
    until_lines(f, &w, 2);
    assert_non_null(strstr(w.lines.p, "\"name\":\"three\""));
    assert_non_null(strstr(w.lines.p, "\"name\":\"four\""));
    http_call_cancel(call_);
    buf_fini(&w.lines);
}

/* And it is sent no bookmark of that revision meanwhile: whoever goes on from a bookmark elsewhere
 * is not told again what the connection may have been cut off from. */
static void test_no_bookmark_of_what_is_not_here(void **state)
{
    struct fixture *f = *state;
    struct watcher ahead = {0}, level = {0};
    char path[160];
    f->api->opt.bookmark_interval = 5;
    batch_of(f, "one", "two");
    unsigned long long next = revision_of(f) + 1;
    snprintf(path, sizeof(path), NS "?watch=1&allowWatchBookmarks=true&resourceVersion=%llu", next);
    struct http_call *first = watch(f, &ahead, path);
    while (f->api->watch_count < 1)
        env_uv_turn(f->env, 1000);
    snprintf(path, sizeof(path), NS "?watch=1&allowWatchBookmarks=true&resourceVersion=%llu",
             next - 1);
    struct http_call *second = watch(f, &level, path);
    until_lines(f, &level, 5); /* what changed at next - 1, and bookmarks: time has passed */
    assert_non_null(strstr(level.lines.p, "BOOKMARK"));
    assert_int_equal(lines(&ahead), 0);
    batch_of(f, "three", "four");
    assert_int_equal(revision_of(f), next);
    until_lines(f, &ahead, 3); /* both changes, then bookmarks as ever */
    const char *bookmark = strstr(ahead.lines.p, "BOOKMARK");
    assert_non_null(bookmark);
    assert_true(strstr(ahead.lines.p, "\"name\":\"three\"") < bookmark);
    assert_non_null(strstr(ahead.lines.p, "\"name\":\"three\""));
    assert_non_null(strstr(ahead.lines.p, "\"name\":\"four\""));
    http_call_cancel(first);
    http_call_cancel(second);
    buf_fini(&ahead.lines);
    buf_fini(&level.lines);
}

/* The same client when the history has moved on to just behind that revision: whether it has seen
 * all of it cannot be told any more. Whoever has the newest revision of all goes on. */
static void test_resume_at_the_end_of_history(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct reg_txn txn = {0};
    char path[128], patch[128];
    batch_of(f, "one", "two");
    unsigned long long shared = revision_of(f);
    for (unsigned i = 0; txn.compacted < shared; i++) {
        snprintf(patch, sizeof(patch), "{\"metadata\":{\"labels\":{\"n\":\"%u\"}}}", i);
        expect(f, 200, "PATCH", NS "/one", "application/merge-patch+json", patch, NULL);
        assert_true(reg_txn_begin(reg_node_store(f->node), &txn, &err));
        reg_txn_end(&txn);
    }
    assert_int_equal(txn.compacted, shared);
    snprintf(path, sizeof(path), NS "?watch=1&resourceVersion=%llu", shared);
    expect(f, 410, "GET", path, "", "", "list again");
}

static void test_watch_ends(void **state)
{
    struct fixture *f = *state;
    struct watcher w = {0}, timed = {0};
    struct http_call *call_ = watch(f, &w, VS "?watch=1");
    while (f->api->watch_count == 0)
        env_uv_turn(f->env, 1000);
    assert_int_equal(metric_value(f->api->cells.watches), 1);
    http_call_cancel(call_); /* the client hangs up */
    while (f->api->watch_count)
        env_uv_turn(f->env, 1000);
    assert_int_equal(metric_value(f->api->cells.watches), 0);
    watch(f, &timed, VS "?watch=1&timeoutSeconds=1");
    while (!timed.ended)
        env_uv_turn(f->env, 1000);
    assert_int_equal(f->api->watch_count, 0);
    watch(f, &timed, VS "?watch=1"); /* lives until the server ends: teardown */
    while (f->api->watch_count == 0)
        env_uv_turn(f->env, 1000);
    buf_fini(&w.lines);
    buf_fini(&timed.lines);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_slow_reader_is_paged),
        CASE(test_too_slow_a_reader_lists_again),
        CASE(test_rules_of_list_options),
        CASE(test_watch_of_one_object),
        CASE(test_no_initial_events),
        CASE(test_resume_within_a_revision),
        CASE(test_resume_ahead_of_the_node),
        CASE(test_no_bookmark_of_what_is_not_here),
        CASE(test_watch_ends),
        CASE(test_resume_at_the_end_of_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
