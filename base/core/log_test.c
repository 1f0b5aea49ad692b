/* If this fails, an operator greps for an event and does not find it, or a hostile name writes
 * lines into the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/core/core_limits.h"
#include "base/core/log.h"
#include "base/core/mem.h"

static struct buf lines;
static enum log_level last_level;

static void sink(void *ctx, enum log_level level, struct slice line)
{
    assert_ptr_equal(ctx, &lines);
    last_level = level;
    buf_append(&lines, line);
    buf_append_byte(&lines, '\n');
}

static int setup(void **state)
{
    (void)state;
    buf_clear(&lines);
    log_set_sink(sink, &lines);
    log_set_level(LOG_INFO_);
    log_set_format(LOG_FORMAT_LOGFMT);
    log_set_component(NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_set_sink(NULL, NULL);
    buf_fini(&lines);
    return 0;
}

static void expect(const char *text)
{
    if (!slice_eq(buf_slice(&lines), slice_of(text)))
        fail_msg("got %.*s", SLICE(buf_slice(&lines)));
    buf_clear(&lines);
}

static void test_formats(void **state)
{
    struct err err;
    (void)state;
    LOG_INFO("ads.nack", F_STR("node", S("a b\"c\n")), F_U64("revision", 7), F_I64("left", -1),
             F_BOOL("ok", true));
    expect("level=info event=ads.nack node=\"a b\\\"c\\n\" revision=7 left=-1 ok=true\n");
    log_set_component("weftd/n1");
    err_set(&err, ERR_IO, "disk");
    LOG_ERROR("x", F_ERR(&err));
    expect("level=error component=weftd/n1 event=x err=disk\n");
    assert_int_equal(last_level, LOG_ERROR_);
    log_set_format(LOG_FORMAT_JSON);
    LOG_WARN("x", F_STR("s", S("\x01\\\x7f\xff")), F_CSTR("t", ""), F_BOOL("b", false));
    expect("{\"level\":\"warn\",\"component\":\"weftd/n1\",\"event\":\"x\","
           "\"s\":\"\\u0001\\\\\\u007f?\",\"t\":\"\",\"b\":false}\n");
    log_set_format(LOG_FORMAT_LOGFMT);
    log_set_component(NULL);
    LOG_INFO("x", F_CSTR("empty", ""), F_STR("utf8", S("\xC3\xA9")), F_STR("eq", S("a=b")));
    expect("level=info event=x empty=\"\" utf8=\"\xC3\xA9\" eq=\"a=b\"\n");
}

static void test_levels(void **state)
{
    enum log_level level;
    (void)state;
    LOG_DEBUG("no", F_U64("x", 1));
    expect("");
    log_set_level(LOG_ERROR_);
    LOG_WARN("no", F_U64("x", 1));
    LOG_ERROR("yes", F_U64("x", 1));
    expect("level=error event=yes x=1\n");
    assert_true(log_level_parse(S("Debug"), &level) && level == LOG_DEBUG_);
    assert_true(log_level_parse(S("warn"), &level) && level == LOG_WARN_);
    assert_true(log_level_parse(S("warning"), &level) && level == LOG_WARN_);
    assert_false(log_level_parse(S("loud"), &level));
}

/* What does not fit is left out by whole fields, and the line says so. */
static void test_long_lines(void **state)
{
    char text[2 * LOG_LINE_BYTES_MAX];
    (void)state;
    memset(text, 'x', sizeof(text));
    for (int json = 0; json < 2; json++) {
        log_set_format(json ? LOG_FORMAT_JSON : LOG_FORMAT_LOGFMT);
        LOG_INFO("big", F_U64("a", 1), F_STR("b", slice_mem(text, sizeof(text))), F_U64("c", 2));
        expect(json ? "{\"level\":\"info\",\"event\":\"big\",\"a\":1,\"cut\":true}\n"
                    : "level=info event=big a=1 cut=true\n");
    }
    /* Every length around the edge. */
    for (size_t n = LOG_LINE_BYTES_MAX - 100; n < LOG_LINE_BYTES_MAX; n++) {
        LOG_INFO("big", F_STR("b", slice_mem(text, n)));
        assert_true(lines.n <= LOG_LINE_BYTES_MAX);
        assert_true(slice_ends(buf_slice(&lines), S("}\n")));
        buf_clear(&lines);
    }
}

/* To standard error: a site that repeats itself is held back and says how much. */
static void test_rate(void **state)
{
    static char text[1 << 20];
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    size_t n = 0, count = 0;
    (void)state;
    assert_non_null(file);
    log_set_sink(NULL, NULL);
    fflush(stderr);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    struct log_site site = {0};
    struct log_field f = F_U64("n", 1);
    for (int i = 0; i < LOG_SITE_PER_SECOND * 3; i++)
        log_emit(&site, LOG_INFO_, "often", 1, &f);
    uint32_t dropped = site.dropped;
    site.second = 0; /* the next second has come */
    log_emit(&site, LOG_INFO_, "often", 1, &f);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    n = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    for (size_t i = 0; i < n; i++)
        count += text[i] == '\n';
    /* The three hundred may have met the turn of a second. */
    assert_in_range(count, LOG_SITE_PER_SECOND + 1, LOG_SITE_PER_SECOND * 2 + 2);
    assert_in_range(dropped, 1, LOG_SITE_PER_SECOND * 2);
    assert_true(slice_contains(slice_mem(text, n), S("event=often n=1 dropped=")));
    assert_true(slice_starts(slice_mem(text, n), S("ts=20")));
}

static void *shout(void *arg)
{
    for (int i = 0; i < 500; i++)
        LOG_INFO("thread", F_STR("who", S("0123456789")), F_U64("i", i));
    return arg;
}

static void test_threads_write_whole_lines(void **state)
{
    pthread_t threads[4];
    struct slice rest, line;
    size_t n = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, shout, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    for (rest = buf_slice(&lines); rest.n; n++) {
        slice_cut(rest, '\n', &line, &rest);
        assert_true(slice_starts(line, S("level=info event=thread who=0123456789 i=")));
    }
    assert_int_equal(n, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_formats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads_write_whole_lines, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
