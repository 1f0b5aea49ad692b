/* If this fails, a command or flag exists that help, the manual or the shell do not know of. */
#include "cli/complete.h"
#include "cli/fake.h"
#include "cli/help.h"

#define WORDS_MAX 8

static bool offered(const struct complete *o, struct slice word)
{
    for (size_t i = 0; i < o->candidates.n; i++)
        if (slice_eq(o->candidates.p[i], word))
            return true;
    return false;
}

/* line: words separated by spaces; behind the last space stands the word that is being written. */
static struct complete complete_line(struct arena *arena, const char *line)
{
    struct slice words[WORDS_MAX], rest = slice_of(line);
    size_t n = 0;
    bool more = true;
    while (more && n < WORDS_MAX)
        more = slice_cut(rest, ' ', &words[n++], &rest);
    struct complete o;
    complete_words(&o, arena, n, words);
    return o;
}

static void check_offered(const char *line, struct slice word)
{
    struct arena arena = {0};
    struct complete o = complete_line(&arena, line);
    if (!offered(&o, word))
        fail_msg("\"%s\" does not offer \"%.*s\"", line, SLICE(word));
    complete_fini(&o);
    arena_fini(&arena);
}

static char *text_of(void (*print)(FILE *out))
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    print(f);
    fclose(f);
    return text;
}

static char *help_of(const struct command *cmd)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    help_print(cmd, f);
    fclose(f);
    return text;
}

static void check_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is missing", part);
}

static void check_flags(const struct command *cmd, const char *line)
{
    char *help = help_of(cmd), text[64];
    struct buf dashes = {0};
    for (unsigned id = 0; id < FLAG_ID_COUNT; id++) {
        if (!command_takes(cmd, id))
            continue;
        snprintf(text, sizeof(text), "--%s", flags_known[id].name);
        check_contains(help, text);
        buf_clear(&dashes);
        buf_printf(&dashes, "%s --", line);
        buf_append_byte(&dashes, '\0');
        check_offered(buf_slice(&dashes).p, slice_of(text));
    }
    buf_fini(&dashes);
    free(help);
}

/* In the manual dashes are escaped. */
static void check_manual(const char *manual, const char *prefix, const char *name)
{
    struct buf text = {0};
    buf_append(&text, slice_of(prefix));
    for (const char *p = name; *p; p++)
        buf_printf(&text, "%s%c", *p == '-' ? "\\" : "", *p);
    buf_append_byte(&text, '\0');
    check_contains(manual, buf_slice(&text).p);
    buf_fini(&text);
}

static void check_command(const struct command *parent, const struct command *cmd,
                          const char *manual)
{
    char line[COMMAND_TITLE], parent_line[COMMAND_TITLE + 1], title[COMMAND_TITLE];
    bool top = parent == &command_root;
    if (!cmd->group)
        return;
    command_title(parent, title);
    command_title(cmd, line);
    snprintf(parent_line, sizeof(parent_line), "%s%s", title, top ? "" : " ");
    char *help = help_of(parent);
    check_contains(help, cmd->name);
    free(help);
    check_offered(parent_line, slice_of(cmd->name));
    check_manual(manual, top ? ".SS \"weft " : "", cmd->name);
    check_flags(cmd, line);
    for (unsigned id = 0; id < FLAG_ID_COUNT; id++)
        if (command_takes(cmd, id))
            check_manual(manual, "\\-\\-", flags_known[id].name);
    for (size_t i = 0; i < cmd->sub_count; i++)
        check_command(cmd, &cmd->subs[i], manual);
}

static void test_every_command_and_flag_is_known_everywhere(void **state)
{
    (void)state;
    char *manual = text_of(help_print_man);
    for (size_t i = 0; i < command_root.sub_count; i++)
        check_command(&command_root, &command_root.subs[i], manual);
    free(manual);
}

/* A line that begins with a dot is a request of roff, not text. */
static void test_manual_is_roff(void **state)
{
    (void)state;
    char *manual = text_of(help_print_man);
    static const char *const known[] = {".TH ", ".SH ", ".SS ", ".TP", ".PP",
                                        ".EX",  ".EE",  ".B ",  ".I "};
    struct slice rest = slice_of(manual), line;
    assert_true(slice_starts(rest, S(".TH WEFT 1 ")));
    while (rest.n) {
        slice_cut(rest, '\n', &line, &rest);
        bool ok = !slice_starts(line, S(".")) && !slice_starts(line, S("'"));
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            ok = ok || slice_starts(line, slice_of(known[i]));
        if (!ok)
            fail_msg("\"%.*s\"", SLICE(line));
    }
    free(manual);
}

static const struct {
    const char *line;
    enum complete_need need;
    const char *first; /* NULL: no candidate */
    size_t count;      /* 0: any */
    const char *kind, *prefix, *before;
} cases[] = {
    {"sta", COMPLETE_DONE, "status", 1, "", "sta", ""},
    {"proxy-config cl", COMPLETE_DONE, "clusters", 1, "", "cl", ""},
    {"pc cl", COMPLETE_DONE, "clusters", 1, "", "cl", ""},
    {"__", COMPLETE_DONE, NULL, 0, "", "__", ""},
    {"get virtuals", COMPLETE_DONE, "virtualservices", 1, "", "virtuals", ""},
    {"get vs re", COMPLETE_OBJECTS, NULL, 0, "vs", "re", ""},
    {"get vs/re", COMPLETE_OBJECTS, NULL, 0, "vs", "re", "vs/"},
    {"rollback @41 vs/re", COMPLETE_OBJECTS, NULL, 0, "vs", "re", "vs/"},
    {"rollback @41 vs re", COMPLETE_OBJECTS, NULL, 0, "vs", "re", ""},
    {"get -n prod vs ", COMPLETE_OBJECTS, NULL, 0, "vs", "", ""},
    {"get vs -n pr", COMPLETE_NAMESPACES, NULL, 0, "", "pr", ""},
    {"get vs -o ya", COMPLETE_DONE, "yaml", 1, "", "ya", ""},
    {"get vs --output=ya", COMPLETE_DONE, "--output=yaml", 1, "", "ya", "--output="},
    {"status -o ", COMPLETE_DONE, "json", 2, "", "", ""},
    {"apply -f de", COMPLETE_FILES, NULL, 0, "", "de", ""},
    {"apply --filename=de", COMPLETE_FILES, NULL, 0, "", "de", "--filename="},
    {"apply --dry-run=s", COMPLETE_DONE, "--dry-run=server", 1, "", "s", "--dry-run="},
    {"ps re", COMPLETE_PROXIES, NULL, 0, "", "re", ""},
    {"pc routes re", COMPLETE_PROXIES, NULL, 0, "", "re", ""},
    {"pc routes p ", COMPLETE_DONE, NULL, 0, "", "", ""},
    {"help pro", COMPLETE_DONE, "proxy-status", 2, "", "pro", ""},
    {"help proxy-config r", COMPLETE_DONE, "routes", 1, "", "r", ""},
    {"explain side", COMPLETE_DONE, "sidecars", 1, "", "side", ""},
    {"get --watch", COMPLETE_DONE, "--watch", 1, "", "--watch", ""},
    {"", COMPLETE_DONE, "status", 0, "", "", ""},
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena = {0};
        struct complete o = complete_line(&arena, cases[i].line);
        if (o.need != cases[i].need || (o.candidates.n > 0) != (cases[i].first != NULL))
            fail_msg("\"%s\": need %d, %zu candidates", cases[i].line, (int)o.need, o.candidates.n);
        if (cases[i].first)
            check_slice(o.candidates.p[0], slice_of(cases[i].first));
        if (cases[i].count)
            assert_int_equal(o.candidates.n, cases[i].count);
        check_slice(o.kind, slice_of(cases[i].kind));
        check_slice(o.prefix, slice_of(cases[i].prefix));
        check_slice(o.before, slice_of(cases[i].before));
        complete_fini(&o);
        arena_fini(&arena);
    }
}

static void test_live_names(void **state)
{
    (void)state;
#define VS_LIST "/apis/networking.istio.io/v1/namespaces/prod/virtualservices?limit=500"
    static const struct canned answers[] = {
        {"GET " VS_LIST, 200,
         "{\"items\":[{\"metadata\":{\"name\":\"reviews\"}},{\"metadata\":{\"name\":\"rat\"}},"
         "{\"metadata\":{\"name\":\"re\\u001b[2J\"}}]}",
         NULL},
        {"GET /weft/v1/proxies", 200, "{\"items\":[{\"name\":\"p.default\"}]}", NULL},
        {0}};
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "__complete -- get -n prod vs re", CLI_OK, "reviews\nre?[2J\n", "");
    fake_check(&f, "__complete -- get -n prod vs/rev", CLI_OK, "vs/reviews\n", "");
    fake_check(&f, "__complete -- ps p", CLI_OK, "p.default\n", "");
    fake_check(&f, "__complete -- apply -f x", CLI_OK, ":files\n", "");
    /* No control plane: no names, and no noise in the middle of somebody's line. */
    assert_int_equal(fake_run_at(&f, "127.0.0.1:1", "__complete -- ps p"), CLI_OK);
    assert_string_equal(f.out, "");
    assert_string_equal(f.err, "");
    fake_stop(&f);
}

static void test_help(void **state)
{
    (void)state;
    static const struct canned answers[] = {{0}};
    struct fake f;
    fake_start(&f, answers);
    assert_int_equal(fake_run(&f, "help pc routes"), CLI_OK);
    assert_true(
        slice_contains(slice_of(f.out), S("Usage: weft proxy-config routes PROXY [FLAGS]")));
    assert_int_equal(fake_run(&f, "apply --help"), CLI_OK);
    assert_true(slice_contains(slice_of(f.out), S("Usage: weft apply -f FILE [FLAGS]")));
    assert_int_equal(fake_run(&f, "help aply"), CLI_USAGE);
    assert_true(slice_contains(slice_of(f.err), S("did you mean \"apply\"?")));
    assert_int_equal(fake_run(&f, "pc"), CLI_USAGE);
    fake_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_command_and_flag_is_known_everywhere),
        cmocka_unit_test(test_manual_is_roff),
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_live_names),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
