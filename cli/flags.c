#include "cli/flags.h"

#include <string.h>

#include "api/duration.h"
#include "cli/cli_limits.h"

/* What is left to read, and how strictly. */
struct parse {
    struct flags *f;
    struct arena *arena;
    size_t n, at;
    const struct slice *argv;
    bool only_words; /* behind "--" */
    bool strict;
    struct err *err;
};

static bool choice_ok(const char *const *choices, struct slice value)
{
    if (!choices)
        return true;
    for (size_t i = 0; choices[i]; i++) {
        struct slice choice = slice_of(choices[i]);
        /* "jsonpath=" takes what stands behind it. */
        if (slice_eq(choice, value) || (slice_ends(choice, S("=")) && slice_starts(value, choice)))
            return true;
    }
    return false;
}

static bool bad_choice(const struct parse *p, enum flag_id id, struct slice value)
{
    const char *const *choices = command_flag_choices(p->f->command, id);
    struct slice list = {0};
    for (size_t i = 0; choices[i]; i++)
        list = arena_printf(p->arena, "%.*s%s%s", SLICE(list), i ? ", " : "", choices[i]);
    return err_set(p->err, ERR_INVALID, "--%s=%.*s: must be one of %.*s", flags_known[id].name,
                   SLICE(value), SLICE(list));
}

static bool store(struct parse *p, enum flag_id id, struct slice value)
{
    const struct flag *flag = &flags_known[id];
    struct flag_value *v = &p->f->values[id];
    if (p->strict && !choice_ok(command_flag_choices(p->f->command, id), value))
        return bad_choice(p, id, value);
    v->given = v->on = true;
    v->text = value;
    if (flag->kind != FLAG_TEXTS)
        return true;
    struct slice *more = ARENA_ARRAY(p->arena, struct slice, v->text_count + 1);
    if (v->text_count)
        memcpy(more, v->texts, v->text_count * sizeof(*more));
    more[v->text_count++] = value;
    v->texts = more;
    return true;
}

static bool store_switch(struct parse *p, enum flag_id id, struct slice value, bool has_value)
{
    struct flag_value *v = &p->f->values[id];
    bool no = slice_eq(value, S("false"));
    if (has_value && !no && !slice_eq(value, S("true")))
        return err_set(p->err, ERR_INVALID, "--%s=%.*s: must be true or false",
                       flags_known[id].name, SLICE(value));
    v->given = true;
    v->on = !no;
    return true;
}

/* The value stands behind "=" (has_value) or is the next word. */
static bool take(struct parse *p, enum flag_id id, struct slice value, bool has_value)
{
    const struct flag *flag = &flags_known[id];
    if (flag->kind == FLAG_SWITCH)
        return store_switch(p, id, value, has_value);
    if (flag->kind == FLAG_MAYBE && !has_value) {
        p->f->values[id].given = p->f->values[id].on = true;
        return true;
    }
    if (!has_value) {
        if (p->at == p->n)
            return err_set(p->err, ERR_INVALID, "--%s needs a value: %s", flag->name, flag->value);
        value = p->argv[p->at++];
    }
    return store(p, id, value);
}

static bool unknown_flag(const struct parse *p, struct slice word, struct slice name)
{
    struct slice near = command_flag_suggest(p->f->command, name);
    const char *of = p->f->command->name;
    return near.n
               ? err_set(p->err, ERR_INVALID, "unknown flag %.*s of \"%s\", did you mean --%.*s?",
                         SLICE(word), of, SLICE(near))
               : err_set(p->err, ERR_INVALID, "unknown flag %.*s of \"%s\"", SLICE(word), of);
}

static bool take_long(struct parse *p, struct slice word)
{
    struct slice name, value;
    bool has_value = slice_cut(slice_skip(word, 2), '=', &name, &value);
    enum flag_id id = command_flag(p->f->command, name);
    if (id == FLAG_ID_COUNT)
        return unknown_flag(p, word, name);
    return take(p, id, value, has_value);
}

/* "-A", "-wA", "-n default", "-ndefault", "-n=default". */
static bool take_letters(struct parse *p, struct slice word)
{
    for (struct slice rest = slice_skip(word, 1); rest.n;) {
        enum flag_id id = command_flag_letter(p->f->command, rest.p[0]);
        rest = slice_skip(rest, 1);
        if (id == FLAG_ID_COUNT)
            return unknown_flag(p, word, slice_skip(word, 1));
        if (flags_known[id].kind == FLAG_SWITCH) {
            if (!take(p, id, (struct slice){0}, false))
                return false;
            continue;
        }
        bool has_value = rest.n > 0;
        if (slice_starts(rest, S("=")))
            rest = slice_skip(rest, 1);
        return take(p, id, rest, has_value);
    }
    return true;
}

static bool unknown_command(const struct parse *p, struct slice word)
{
    const struct command *parent = p->f->command;
    struct slice near = command_suggest(parent, word);
    return near.n ? err_set(p->err, ERR_INVALID,
                            "unknown command \"%.*s\" of \"%s\", did you mean "
                            "\"%.*s\"?",
                            SLICE(word), parent->name, SLICE(near))
                  : err_set(p->err, ERR_INVALID, "unknown command \"%.*s\" of \"%s\"", SLICE(word),
                            parent->name);
}

static bool take_word(struct parse *p, struct slice word)
{
    struct flags *f = p->f;
    const struct command *sub = f->word_count ? NULL : command_find(f->command, word);
    if (sub) {
        f->command = sub;
        return true;
    }
    if (f->command->sub_count && !f->command->run)
        return unknown_command(p, word);
    f->words[f->word_count++] = word;
    return true;
}

static bool take_next(struct parse *p)
{
    struct slice word = p->argv[p->at++];
    if (p->only_words || word.n < 2 || word.p[0] != '-')
        return take_word(p, word);
    if (slice_eq(word, S("--"))) {
        p->only_words = true;
        return true;
    }
    return slice_starts(word, S("--")) ? take_long(p, word) : take_letters(p, word);
}

static bool words_ok(const struct flags *f, struct err *err)
{
    const struct command *cmd = f->command;
    if (f->word_count < cmd->words_min)
        return err_set(err, ERR_INVALID, "\"%s\" needs %s", cmd->name, cmd->args);
    if (f->word_count > cmd->words_max)
        return err_set(err, ERR_INVALID, "\"%s\" does not know what to do with \"%.*s\"", cmd->name,
                       SLICE(f->words[cmd->words_max]));
    return true;
}

static void start(struct parse *p, struct flags *f, struct arena *arena, size_t n,
                  const struct slice *argv)
{
    *f = (struct flags){.command = &command_root};
    f->words = ARENA_ARRAY(arena, struct slice, n + 1);
    p->f = f;
    p->arena = arena;
    p->n = n;
    p->argv = argv;
}

bool flags_parse(struct flags *f, struct arena *arena, int argc, const char *const *argv,
                 struct err *err)
{
    size_t n = argc > 0 ? (size_t)argc - 1 : 0;
    struct slice *words = ARENA_ARRAY(arena, struct slice, n + 1);
    for (size_t i = 0; i < n; i++)
        words[i] = slice_of(argv[i + 1]);
    struct parse p = {.strict = true, .err = err};
    start(&p, f, arena, n, words);
    if (n > CLI_ARGS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d words", CLI_ARGS_MAX);
    while (p.at < p.n)
        if (!take_next(&p))
            return false;
    if (flags_on(f, FLAG_HELP))
        return true;
    return words_ok(f, err);
}

void flags_parse_loose(struct flags *f, struct arena *arena, size_t n, const struct slice *words)
{
    struct parse p = {0};
    start(&p, f, arena, n, words);
    while (p.at < p.n)
        (void)take_next(&p);
}

bool flags_on(const struct flags *f, enum flag_id id)
{
    return f->values[id].on;
}

struct slice flags_text(const struct flags *f, enum flag_id id, struct slice otherwise)
{
    return f->values[id].given ? f->values[id].text : otherwise;
}

bool flags_duration(const struct flags *f, enum flag_id id, wf_ms otherwise, wf_ms *ret_ms,
                    struct err *err)
{
    struct slice text = flags_text(f, id, (struct slice){0});
    uint32_t seconds;
    int64_t ns;
    if (!text.n)
        *ret_ms = otherwise;
    else if (slice_u32(text, &seconds))
        *ret_ms = (wf_ms)seconds * 1000;
    else if (duration_parse(text, &ns) && ns >= 0)
        *ret_ms = duration_ms(text, otherwise);
    else
        return err_set(err, ERR_INVALID, "--%s=%.*s: must be a time like 10s, 1m30s or 500ms",
                       flags_known[id].name, SLICE(text));
    return true;
}
