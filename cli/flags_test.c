/* If this fails, people's scripts break: a flag means something else than they wrote, or a mistyped
 * one is taken for a name and the command does what nobody asked for. */
#include "base/wire/test.h"
#include "cli/flags.h"

#define ARGS_MAX 12

struct want {
    const char *line;    /* words separated by spaces */
    const char *command; /* NULL: refused */
    const char *error;   /* a part of the message */
    const char *words;   /* joined by commas */
    struct {
        enum flag_id id;
        const char *text; /* NULL: on, without a value */
    } flags[4];
};

#define END                                                                                        \
    {                                                                                              \
        FLAG_ID_COUNT, NULL                                                                        \
    }

static const struct want cases[] = {
    {"get vs", "get", NULL, "vs", {END}},
    {"get vs -n prod reviews", "get", NULL, "vs,reviews", {{FLAG_NAMESPACE, "prod"}, END}},
    {"get vs -nprod", "get", NULL, "vs", {{FLAG_NAMESPACE, "prod"}, END}},
    {"get vs -n=prod", "get", NULL, "vs", {{FLAG_NAMESPACE, "prod"}, END}},
    {"get vs --namespace=prod", "get", NULL, "vs", {{FLAG_NAMESPACE, "prod"}, END}},
    {"-n prod get vs", "get", NULL, "vs", {{FLAG_NAMESPACE, "prod"}, END}},
    {"get vs -wA", "get", NULL, "vs", {{FLAG_WATCH, NULL}, {FLAG_ALL_NAMESPACES, NULL}, END}},
    {"get vs -Ao yaml",
     "get",
     NULL,
     "vs",
     {{FLAG_ALL_NAMESPACES, NULL}, {FLAG_OUTPUT, "yaml"}, END}},
    {"get vs -o jsonpath={.kind}", "get", NULL, "vs", {{FLAG_OUTPUT, "jsonpath={.kind}"}, END}},
    {"get -- -w", "get", NULL, "-w", {END}},
    {"rm vs reviews", "delete", NULL, "vs,reviews", {END}},
    {"pc clusters p", "clusters", NULL, "p", {END}},
    {"pc c p --port 80", "clusters", NULL, "p", {{FLAG_PORT, "80"}, END}},
    {"ps", "proxy-status", NULL, "", {END}},
    {"apply -f a -f b", "apply", NULL, "", {{FLAG_FILENAME, "b"}, END}},
    {"apply -f -", "apply", NULL, "", {{FLAG_FILENAME, "-"}, END}},
    {"apply -f a --wait", "apply", NULL, "", {{FLAG_WAIT, NULL}, END}},
    {"apply -f a --wait=5s", "apply", NULL, "", {{FLAG_WAIT, "5s"}, END}},
    {"apply -f a --dry-run=client", "apply", NULL, "", {{FLAG_DRY_RUN, "client"}, END}},
    /* A value of --wait stands behind "=" only: a word of its own is a word. */
    {"apply -f a --wait 5s", NULL, "does not know what to do with \"5s\"", NULL, {END}},
    {"get vs --outptu yaml", NULL, "did you mean --output?", NULL, {END}},
    {"get vs -z", NULL, "unknown flag -z of \"get\"", NULL, {END}},
    {"get vs -o yml",
     NULL,
     "--output=yml: must be one of wide, json, yaml, name, jsonpath=",
     NULL,
     {END}},
    {"status -o wide", NULL, "must be one of json, yaml", NULL, {END}},
    {"get vs -o", NULL, "--output needs a value: FORMAT", NULL, {END}},
    {"get vs --watch=maybe", NULL, "must be true or false", NULL, {END}},
    {"apply -f a --dry-run=perhaps", NULL, "must be one of none, server, client", NULL, {END}},
    {"stats", NULL, "did you mean \"status\"?", NULL, {END}},
    {"xyzzy", NULL, "unknown command \"xyzzy\" of \"weft\"", NULL, {END}},
    {"pc reviews-v1", NULL, "unknown command \"reviews-v1\" of \"proxy-config\"", NULL, {END}},
    {"describe", NULL, "\"describe\" needs KIND", NULL, {END}},
    {"ps a b", NULL, "does not know what to do with \"b\"", NULL, {END}},
    /* Hidden commands are not suggested. */
    {"__complet", NULL, "unknown command \"__complet\" of \"weft\"", NULL, {END}},
    /* -h stops the checks. */
    {"describe -h", "describe", NULL, "", {{FLAG_HELP, NULL}, END}},
};

static bool parse(const char *line, struct flags *f, struct arena *arena, struct err *err)
{
    const char *argv[ARGS_MAX] = {"weft"};
    int argc = 1;
    struct slice rest = slice_of(line), word;
    while (rest.n && argc < ARGS_MAX) {
        slice_cut(rest, ' ', &word, &rest);
        argv[argc++] = arena_dup(arena, word).p;
    }
    return flags_parse(f, arena, argc, argv, err);
}

static void check_flags(const struct want *w, const struct flags *f)
{
    for (size_t i = 0; w->flags[i].id != FLAG_ID_COUNT; i++) {
        assert_true(flags_on(f, w->flags[i].id));
        check_slice(f->values[w->flags[i].id].text, slice_of(w->flags[i].text));
    }
}

static void check_case(const struct want *w)
{
    struct arena arena = {0};
    struct flags f;
    struct err err = {0};
    bool ok = parse(w->line, &f, &arena, &err);
    if (ok != (w->command != NULL))
        fail_msg("\"%s\": %s", w->line, ok ? "taken" : err.msg);
    if (!ok && !strstr(err.msg, w->error))
        fail_msg("\"%s\": \"%s\" lacks \"%s\"", w->line, err.msg, w->error);
    if (ok) {
        struct slice words = {0};
        for (size_t i = 0; i < f.word_count; i++)
            words =
                arena_printf(&arena, "%.*s%s%.*s", SLICE(words), i ? "," : "", SLICE(f.words[i]));
        check_slice(words, slice_of(w->words));
        check_slice(slice_of(f.command->name), slice_of(w->command));
        check_flags(w, &f);
    }
    arena_fini(&arena);
}

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_case(&cases[i]);
}

static void test_repeated_values_are_kept_in_order(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct flags f;
    struct err err = {0};
    assert_true(parse("apply -f a -fb --filename=c", &f, &arena, &err));
    const struct flag_value *v = &f.values[FLAG_FILENAME];
    assert_int_equal(v->text_count, 3);
    check_slice(v->texts[0], S("a"));
    check_slice(v->texts[1], S("b"));
    check_slice(v->texts[2], S("c"));
    arena_fini(&arena);
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        wf_ms want; /* -1: refused */
    } times[] = {
        {"wait", 77},
        {"wait --timeout 10", 10000},
        {"wait --timeout=10s", 10000},
        {"wait --timeout 1m30s", 90000},
        {"wait --timeout 500ms", 500},
        {"wait --timeout soon", -1},
        {"wait --timeout=-3s", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        struct arena arena = {0};
        struct flags f;
        struct err err = {0};
        wf_ms got = -1;
        assert_true(parse(times[i].line, &f, &arena, &err));
        bool ok = flags_duration(&f, FLAG_TIMEOUT, 77, &got, &err);
        assert_int_equal(ok, times[i].want >= 0);
        assert_int_equal(got, times[i].want);
        arena_fini(&arena);
    }
}

/* The table itself: what is said twice would be understood once. */
static void check_unique_flags(const struct command *cmd)
{
    for (unsigned a = 0; a < FLAG_ID_COUNT; a++)
        for (unsigned b = a + 1; b < FLAG_ID_COUNT; b++) {
            if (!command_takes(cmd, a) || !command_takes(cmd, b))
                continue;
            assert_string_not_equal(flags_known[a].name, flags_known[b].name);
            assert_false(flags_known[a].letter && flags_known[a].letter == flags_known[b].letter);
        }
    for (size_t i = 0; i < cmd->sub_count; i++) {
        assert_ptr_equal(command_find(cmd, slice_of(cmd->subs[i].name)), &cmd->subs[i]);
        for (size_t j = 0; j < COMMAND_ALIASES_MAX && cmd->subs[i].aliases[j]; j++)
            assert_ptr_equal(command_find(cmd, slice_of(cmd->subs[i].aliases[j])), &cmd->subs[i]);
        check_unique_flags(&cmd->subs[i]);
    }
    assert_true(cmd == &command_root || cmd->run || cmd->sub_count);
}

static void test_table(void **state)
{
    (void)state;
    check_unique_flags(&command_root);
    for (unsigned id = 0; id < FLAG_ID_COUNT; id++) {
        assert_non_null(flags_known[id].name);
        assert_non_null(flags_known[id].about);
        assert_true(flags_known[id].kind == FLAG_SWITCH || flags_known[id].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_repeated_values_are_kept_in_order),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
