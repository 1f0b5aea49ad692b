/* history: what was changed, when and by whom. */
#include <inttypes.h>

#include "base/net/uri.h"
#include "base/wire/json.h"
#include "cli/target.h"

#define SHOWN_DEFAULT 20
#define ASKED_MAX 1000 /* the server's bound of one answer */
#define STATUS_SHARE                                                                               \
    5 /* changes of the status for one of what is meant, at most: ask for so many */

struct history {
    struct cli *c;
    bool status; /* show changes of nothing but the status */
    uint64_t limit;
    bool single; /* of one object: its name is no column */
};

static struct slice query_part(struct cli *c, const char *name, struct slice value)
{
    return value.n ? arena_printf(&c->arena, "&%s=%.*s", name, SLICE(uri_encode(value, &c->arena)))
                   : (struct slice){0};
}

static struct slice history_path(const struct history *h, const struct target *t)
{
    struct cli *c = h->c;
    uint64_t asked = h->status ? h->limit : h->limit * STATUS_SHARE;
    struct slice path = arena_printf(&c->arena, "/weft/v1/history?limit=%" PRIu64,
                                     asked < ASKED_MAX ? asked : ASKED_MAX);
    if (!t)
        return path;
    const struct kind *k = t->kind;
    struct slice ns = k->namespaced ? cli_namespace(c) : (struct slice){0};
    bool data = cli_output(c) == OUTPUT_JSON || cli_output(c) == OUTPUT_YAML;
    return arena_printf(&c->arena, "%.*s&resource=%s%s%s%.*s%.*s%s", SLICE(path), k->plural,
                        *k->group ? "." : "", k->group, SLICE(query_part(c, "namespace", ns)),
                        SLICE(query_part(c, "name", t->name)),
                        data && t->name.n ? "&values=true" : "");
}

/* The newest `limit` of those that are shown. */
static void keep_shown(const struct history *h, json_t *items)
{
    for (size_t i = json_array_size(items); i-- > 0;) {
        json_t *item = json_array_get(items, i);
        if (!h->status && slice_eq(json_str(item, "change"), S("status")))
            json_array_remove(items, i);
    }
    while (json_array_size(items) > h->limit)
        json_array_remove(items, 0);
}

static struct slice item_title(struct cli *c, const json_t *item)
{
    const struct kind *k = kind_guess(json_str(item, "kind"));
    struct slice ns = json_str(item, "namespace"), name = json_str(item, "name");
    struct slice title = k ? cli_title(c, k, name) : name;
    bool other = ns.n && !slice_eq(ns, cli_namespace(c));
    return other ? arena_printf(&c->arena, "%.*s (%.*s)", SLICE(title), SLICE(ns)) : title;
}

static void print_table(const struct history *h, const json_t *items)
{
    struct cli *c = h->c;
    struct table_style style = cli_table_style(c);
    struct table t = {0};
    char age[AGE_TEXT];
    size_t i;
    json_t *item;
    table_column(&t, S("REVISION"));
    table_column(&t, S("CHANGE"));
    if (!h->single)
        table_column(&t, S("OBJECT"));
    table_column(&t, S("BY"));
    table_column(&t, cli_output(c) == OUTPUT_WIDE ? S("TIME") : S("AGE"));
    json_array_foreach (items, i, item) {
        struct slice time = json_str(item, "time"), by = json_str(item, "by");
        table_cellf(&t, "@%" PRId64, json_int(item, "revision", 0));
        table_cell(&t, json_str(item, "change"));
        if (!h->single)
            table_cell(&t, item_title(c, item));
        table_cell(&t, by.n ? by : S("<unknown>"));
        table_cell(&t, cli_output(c) == OUTPUT_WIDE ? time : age_since(time, cli_now_ms(c), age));
    }
    if (table_rows(&t))
        table_print(&t, c->out, &style);
    table_fini(&t);
}

/* An empty answer is no failure, but says how far back it looked. */
static void say_extent(const struct history *h, const json_t *answer)
{
    fflush(h->c->out);
    if (json_array_size(json_object_get(answer, "items")) == 0)
        fprintf(h->c->err, "No changes since @%" PRId64 ", the oldest revision that is kept.\n",
                json_int(answer, "oldest", 0));
}

static bool one_target(struct history *h, struct targets *t, struct err *err)
{
    struct cli *c = h->c;
    if (!targets_parse(t, c, c->flags.words, c->flags.word_count, err))
        return false;
    if (t->n > 1)
        return err_set(err, ERR_INVALID, "\"history\" is of one kind, one object or everything");
    if (t->n && t->p[0].type != TARGET_KIND)
        return err_set(err, ERR_INVALID, "%s have no history: they are not objects",
                       target_word(&t->p[0]));
    h->single = t->n && t->p[0].name.n;
    return true;
}

static bool limit(struct history *h, struct err *err)
{
    struct slice text = flags_text(&h->c->flags, FLAG_LIMIT, (struct slice){0});
    h->limit = SHOWN_DEFAULT;
    return !text.n || (slice_u64(text, &h->limit) && h->limit > 0 && h->limit <= ASKED_MAX) ||
           err_set(err, ERR_INVALID, "--limit=%.*s: 1 to %d", SLICE(text), ASKED_MAX);
}

int cmd_history(struct cli *c)
{
    struct err err = {0};
    struct targets t = {0};
    struct history h = {.c = c, .status = flags_on(&c->flags, FLAG_SHOW_STATUS)};
    if (!limit(&h, &err) || !one_target(&h, &t, &err))
        return cli_usage(c, &err);
    json_t *answer = cli_fetch(c, history_path(&h, t.n ? &t.p[0] : NULL), &err);
    if (!answer)
        return cli_fail(c, &err);
    int code = CLI_OK;
    keep_shown(&h, json_object_get(answer, "items"));
    if (cli_output(c) == OUTPUT_JSON || cli_output(c) == OUTPUT_YAML) {
        code = cli_print_data(c, answer);
    } else {
        print_table(&h, json_object_get(answer, "items"));
        say_extent(&h, answer);
    }
    json_decref(answer);
    return code;
}
