/* get: the server's tables, our own for proxies and members, objects as data; and their watch. */
#include <string.h>

#include "api/table.h"
#include "base/net/uri.h"
#include "base/wire/json.h"
#include "cli/files.h"
#include "cli/jsonpath.h"
#include "cli/mesh.h"
#include "cli/target.h"

/* Tables. */

/* How a server's Table becomes ours. */
struct grid {
    struct cli *c;
    const struct kind *kind;
    struct table table;
    bool wide, with_ns, prefix; /* prefix: "kind/name", where several kinds are shown */
    bool events;                /* a first column with the type of the event */
    size_t shown_n;
    size_t shown[CLI_COLUMNS_MAX]; /* of the server's columns */
    size_t label_n;
    struct slice labels[CLI_COLUMNS_MAX];
};

static void grid_label_columns(struct grid *g)
{
    const struct flag_value *given = &g->c->flags.values[FLAG_LABEL_COLUMNS];
    for (size_t i = 0; i < given->text_count; i++) {
        struct slice rest = given->texts[i], key, prefix, last;
        while (rest.n && g->table.column_count < CLI_COLUMNS_MAX - 1) {
            slice_cut(rest, ',', &key, &rest);
            g->labels[g->label_n++] = key;
            table_column(&g->table, slice_cut_last(key, '/', &prefix, &last) ? last : key);
        }
    }
}

static void grid_columns(struct grid *g, const json_t *definitions)
{
    size_t i;
    json_t *d;
    if (g->events)
        table_column(&g->table, S("EVENT"));
    if (g->with_ns)
        table_column(&g->table, S("NAMESPACE"));
    json_array_foreach (definitions, i, d) {
        if ((json_int(d, "priority", 0) > 0 && !g->wide) || g->shown_n == CLI_COLUMNS_MAX / 2)
            continue;
        g->shown[g->shown_n++] = i;
        table_column(&g->table, json_str(d, "name"));
    }
    grid_label_columns(g);
    if (flags_on(&g->c->flags, FLAG_SHOW_LABELS))
        table_column(&g->table, S("LABELS"));
}

static struct slice cell_text(struct grid *g, const json_t *cell)
{
    if (json_is_string(cell))
        return json_slice(cell);
    struct buf text = {0};
    if (cell && !json_is_null(cell))
        json_write(&text, cell, NULL);
    struct slice s = arena_dup(&g->table.arena, buf_slice(&text));
    buf_fini(&text);
    return s;
}

static struct slice labels_text(struct grid *g, const json_t *labels)
{
    size_t n;
    struct arena *a = &g->table.arena;
    struct slice *keys = json_keys_sorted(labels, a, &n), all = {0};
    for (size_t i = 0; i < n; i++)
        all = arena_printf(a, "%.*s%s%.*s=%.*s", SLICE(all), i ? "," : "", SLICE(keys[i]),
                           SLICE(json_slice(json_get(labels, keys[i]))));
    return all;
}

static void grid_row(struct grid *g, const json_t *row, struct slice event)
{
    const json_t *meta = json_at(row, "object.metadata"), *labels = json_object_get(meta, "labels");
    if (g->events)
        table_cell(&g->table, event);
    if (g->with_ns)
        table_cell(&g->table, json_str(meta, "namespace"));
    for (size_t i = 0; i < g->shown_n; i++) {
        struct slice text =
            cell_text(g, json_array_get(json_object_get(row, "cells"), g->shown[i]));
        if (g->shown[i] == 0 && g->prefix)
            text = cli_title(g->c, g->kind, text);
        table_cell(&g->table, text);
    }
    for (size_t i = 0; i < g->label_n; i++)
        table_cell(&g->table, json_slice(json_get(labels, g->labels[i])));
    if (flags_on(&g->c->flags, FLAG_SHOW_LABELS))
        table_cell(&g->table, labels_text(g, labels));
}

static void grid_rows(struct grid *g, const json_t *table, struct slice event)
{
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(table, "rows"), i, row)
        grid_row(g, row, event);
}

/* What was asked for. */

struct getting {
    struct cli *c;
    struct targets targets;
    struct slice ns;
    bool several_kinds;
    int code; /* the first failure's: the others are shown nevertheless */
    size_t found, printed;
    json_t *objects; /* of all targets, in data mode */
};

static void get_failed(struct getting *g, const struct err *err)
{
    bool forgiven = err->code == ERR_NOT_FOUND && flags_on(&g->c->flags, FLAG_IGNORE_NOT_FOUND);
    int code = forgiven ? CLI_OK : cli_fail(g->c, err);
    if (!g->code)
        g->code = code;
}

static bool same_group(const struct target *a, const struct target *b)
{
    return a->type == b->type && a->kind == b->kind;
}

/* Targets of one kind follow each other: KIND NAME NAME. */
static size_t group_end(const struct targets *t, size_t from)
{
    size_t end = from + 1;
    while (end < t->n && t->p[from].name.n && t->p[end].name.n &&
           same_group(&t->p[from], &t->p[end]))
        end++;
    return end;
}

static json_t *fetch_target(struct getting *g, const struct target *t, enum client_form form,
                            struct err *err)
{
    json_t *body = NULL;
    struct client *cl = cli_client(g->c, err);
    if (!cl)
        return NULL;
    if (!t->name.n)
        return target_list(g->c, t->kind, t->kind->namespaced ? g->ns : (struct slice){0}, form,
                           err);
    struct slice path = cli_path(g->c, t->kind, g->ns, t->name), query = g->c->read_query;
    if (query.n)
        path = arena_printf(&g->c->arena, "%.*s?%.*s", SLICE(path), SLICE(slice_skip(query, 1)));
    return client_get(cl, path, form, &body, err) ? body : NULL;
}

/* Order. */

static bool sort_rows(struct getting *g, json_t *list, const char *prefix, struct err *err)
{
    struct slice path = flags_text(&g->c->flags, FLAG_SORT_BY, (struct slice){0});
    return !path.n || jsonpath_sort(list, prefix, path, &g->c->arena, err);
}

/* A table a kind. */

static void group_grid(struct getting *g, size_t from, size_t end)
{
    const struct target *t = &g->targets.p[from];
    struct grid grid = {.c = g->c,
                        .kind = t->kind,
                        .wide = cli_output(g->c) == OUTPUT_WIDE,
                        .with_ns = t->kind->namespaced && !g->ns.n,
                        .prefix = g->several_kinds};
    struct err err = {0};
    for (size_t i = from; i < end; i++) {
        json_t *body = fetch_target(g, &g->targets.p[i], CLIENT_TABLE, &err);
        if (!body || !sort_rows(g, json_object_get(body, "rows"), "object.", &err)) {
            get_failed(g, &err);
            json_decref(body);
            continue;
        }
        if (grid.table.column_count == 0)
            grid_columns(&grid, json_object_get(body, "columnDefinitions"));
        grid_rows(&grid, body, (struct slice){0});
        json_decref(body);
    }
    if (table_rows(&grid.table)) {
        struct table_style style = cli_table_style(g->c);
        if (g->printed++)
            fputc('\n', g->c->out);
        table_print(&grid.table, g->c->out, &style);
        g->found += table_rows(&grid.table);
    }
    table_fini(&grid.table);
}

static void group_own(struct getting *g, const struct target *t)
{
    if (g->printed++)
        fputc('\n', g->c->out);
    int code = t->type == TARGET_PROXIES ? mesh_print_proxies(g->c, t->name)
                                         : mesh_print_members(g->c, t->name);
    g->found++;
    if (!g->code)
        g->code = code;
}

static void say_nothing_found(const struct getting *g)
{
    if (g->found || g->code || flags_on(&g->c->flags, FLAG_IGNORE_NOT_FOUND))
        return;
    fflush(g->c->out);
    if (g->ns.n)
        fprintf(g->c->err, "No resources found in %.*s namespace.\n", SLICE(g->ns));
    else
        fputs("No resources found\n", g->c->err);
}

static int get_tables(struct getting *g)
{
    for (size_t i = 0, end; i < g->targets.n; i = end) {
        end = group_end(&g->targets, i);
        if (g->targets.p[i].type == TARGET_KIND)
            group_grid(g, i, end);
        else
            for (size_t j = i; j < end; j++)
                group_own(g, &g->targets.p[j]);
    }
    say_nothing_found(g);
    return g->code;
}

/* Data. */

static void take_object(struct getting *g, const struct kind *k, json_t *object)
{
    /* Items of a list need not say what they are: the list does. */
    if (k && !json_object_get(object, "kind")) {
        json_object_set_new(object, "kind", json_string(k->kind));
        json_object_set_new(object, "apiVersion", json_string(kind_api_version(k)));
    }
    json_array_append(g->objects, object);
}

static void collect(struct getting *g, const struct target *t)
{
    struct err err = {0};
    json_t *body = t->type == TARGET_KIND
                       ? fetch_target(g, t, CLIENT_OBJECT, &err)
                       : mesh_fetch(g->c, t->type == TARGET_PROXIES, t->name, &err);
    if (!body) {
        get_failed(g, &err);
        return;
    }
    json_t *items = json_object_get(body, "items"), *object;
    size_t i;
    if (t->name.n || !json_is_array(items))
        take_object(g, t->kind, body);
    else
        json_array_foreach (items, i, object)
            take_object(g, t->kind, object);
    json_decref(body);
}

static void print_names(struct getting *g)
{
    size_t i;
    json_t *o;
    json_array_foreach (g->objects, i, o) {
        const struct kind *k = kind_of_object(o, NULL);
        struct slice name = json_str(o, k ? "metadata.name" : "name");
        cli_print_text(g->c->out, k ? cli_title(g->c, k, name) : name);
        fputc('\n', g->c->out);
    }
}

static int print_objects(struct getting *g, bool single)
{
    if (cli_output(g->c) == OUTPUT_NAME) {
        print_names(g);
        return CLI_OK;
    }
    json_t *shown = single && json_array_size(g->objects) == 1
                        ? json_incref(json_array_get(g->objects, 0))
                        : json_pack("{s:s,s:s,s:O,s:{s:s}}", "apiVersion", "v1", "kind", "List",
                                    "items", g->objects, "metadata", "resourceVersion", "");
    struct slice format = flags_text(&g->c->flags, FLAG_OUTPUT, (struct slice){0});
    struct err err = {0};
    int code = CLI_OK;
    if (cli_output(g->c) == OUTPUT_JSONPATH) {
        if (!jsonpath_print(shown, slice_skip(format, sizeof("jsonpath=") - 1), g->c->out, &err))
            code = cli_usage(g->c, &err);
    } else {
        code = cli_print_data(g->c, shown);
    }
    json_decref(shown);
    return code;
}

static int get_data(struct getting *g)
{
    struct err err = {0};
    bool single = g->targets.n == 1 && g->targets.p[0].name.n;
    g->objects = json_array();
    for (size_t i = 0; i < g->targets.n; i++)
        collect(g, &g->targets.p[i]);
    int code = g->code;
    if (!sort_rows(g, g->objects, "", &err))
        code = cli_usage(g->c, &err);
    else if (json_array_size(g->objects) > 0 || (!single && !g->code))
        code = print_objects(g, single);
    json_decref(g->objects);
    return g->code ? g->code : code;
}

/* Watch. */

struct watching {
    struct getting *g;
    struct grid grid;
    enum cli_output output;
};

/* A server that sends objects where a table was asked for: the same cells, made here. */
static json_t *as_table(struct watching *w, const json_t *object)
{
    if (slice_eq(json_str(object, "kind"), S("Table")))
        return json_incref((json_t *)(uintptr_t)object);
    json_t *one = json_array();
    json_array_append(one, (json_t *)(uintptr_t)object);
    json_t *table = table_of(w->grid.kind, one, json_str(object, "metadata.resourceVersion"),
                             cli_now_ms(w->g->c));
    json_decref(one);
    return table;
}

/* Titles stand above the first rows only. */
static void watch_rows(struct watching *w, const json_t *event)
{
    struct table_style style = cli_table_style(w->g->c);
    json_t *table = as_table(w, json_object_get(event, "object"));
    style.keep_widths = !style.no_headers;
    style.no_headers = true;
    table_clear(&w->grid.table);
    grid_rows(&w->grid, table, json_str(event, "type"));
    table_print(&w->grid.table, w->g->c->out, &style);
    json_decref(table);
}

/* One line an event, so that a script can read it line by line; YAML as documents. */
static void watch_data(struct watching *w, const json_t *event)
{
    struct buf text = {0};
    const json_t *object = json_object_get(event, "object");
    const json_t *shown = flags_on(&w->g->c->flags, FLAG_WATCH_EVENTS) ? event : object;
    if (w->output == OUTPUT_NAME) {
        cli_print_text(w->g->c->out,
                       cli_title(w->g->c, w->grid.kind, json_str(object, "metadata.name")));
    } else if (w->output == OUTPUT_YAML) {
        buf_append(&text, S("---\n"));
        yaml_write(&text, shown, NULL);
    } else {
        json_write(&text, shown, NULL);
    }
    struct slice s = buf_slice(&text);
    fwrite(s.p, 1, s.n, w->g->c->out);
    if (!slice_ends(s, S("\n")))
        fputc('\n', w->g->c->out);
    buf_fini(&text);
}

static bool on_event(void *ctx, const json_t *event)
{
    struct watching *w = ctx;
    if (w->output == OUTPUT_TABLE || w->output == OUTPUT_WIDE)
        watch_rows(w, event);
    else
        watch_data(w, event);
    return fflush(w->g->c->out) == 0;
}

static void watch_first(struct watching *w, json_t *list, enum client_form form)
{
    size_t i;
    json_t *o;
    struct table_style style = cli_table_style(w->g->c);
    if (form == CLIENT_TABLE) {
        grid_columns(&w->grid, json_object_get(list, "columnDefinitions"));
        grid_rows(&w->grid, list, S("ADDED"));
        table_print(&w->grid.table, w->g->c->out, &style);
    } else {
        json_array_foreach (json_object_get(list, "items"), i, o) {
            json_t *event = json_pack("{s:s,s:O}", "type", "ADDED", "object", o);
            watch_data(w, event);
            json_decref(event);
        }
    }
    fflush(w->g->c->out);
}

static struct slice watch_path(struct getting *g, const struct target *t)
{
    struct slice ns = t->kind->namespaced ? g->ns : (struct slice){0};
    struct slice base = target_list_path(g->c, t->kind, ns);
    struct arena *a = &g->c->arena;
    return t->name.n ? arena_printf(a, "%.*s&fieldSelector=metadata.name%%3D%.*s", SLICE(base),
                                    SLICE(uri_encode(t->name, a)))
                     : base;
}

static int get_watch(struct getting *g)
{
    struct err err = {0};
    if (g->c->read_query.n) {
        err_set(&err, ERR_INVALID, "--watch takes neither --consistency nor @REVISION");
        return cli_usage(g->c, &err);
    }
    const struct target *t = &g->targets.p[0];
    struct watching w = {.g = g, .output = cli_output(g->c)};
    if (g->targets.n != 1 || t->type != TARGET_KIND) {
        err_set(&err, ERR_INVALID, "--watch follows one kind, or one object");
        return cli_usage(g->c, &err);
    }
    bool table = w.output == OUTPUT_TABLE || w.output == OUTPUT_WIDE;
    enum client_form form = table ? CLIENT_TABLE : CLIENT_OBJECT;
    struct slice path = watch_path(g, t);
    w.grid = (struct grid){.c = g->c,
                           .kind = t->kind,
                           .wide = w.output == OUTPUT_WIDE,
                           .with_ns = t->kind->namespaced && !g->ns.n,
                           .events = flags_on(&g->c->flags, FLAG_WATCH_EVENTS)};
    struct client *cl = cli_client(g->c, &err);
    json_t *list = NULL;
    bool ok = cl && client_get(cl, path, form, &list, &err);
    if (ok) {
        watch_first(&w, list, form);
        struct client_watch cw = {.path = arena_printf(&g->c->arena, "%.*s&watch=1", SLICE(path)),
                                  .revision = json_str(list, "metadata.resourceVersion"),
                                  .form = form,
                                  .timeout = g->c->timeout,
                                  .fn = on_event,
                                  .ctx = &w};
        ok = client_watch(cl, &cw, &err);
    }
    json_decref(list);
    table_fini(&w.grid.table);
    return ok ? CLI_OK : cli_fail(g->c, &err);
}

/* The command. */

static bool targets_of_files(struct getting *g, struct manifest *m, struct err *err)
{
    if (!files_load(g->c, m, err))
        return false;
    g->targets.p = ARENA_ARRAY(&g->c->arena, struct target, m->items.n);
    for (size_t i = 0; i < m->items.n; i++)
        g->targets.p[g->targets.n++] =
            (struct target){.kind = m->items.p[i].kind, .name = m->items.p[i].name};
    return true;
}

static bool any_other_kind(const struct targets *t)
{
    for (size_t i = 1; i < t->n; i++)
        if (!same_group(&t->p[0], &t->p[i]))
            return true;
    return false;
}

static bool named_everywhere(const struct getting *g)
{
    for (size_t i = 0; i < g->targets.n; i++)
        if (g->targets.p[i].name.n && g->targets.p[i].kind && g->targets.p[i].kind->namespaced)
            return !g->ns.n;
    return false;
}

/* Proxies and members are what they are now. */
static const struct target *not_of_the_registry(const struct getting *g)
{
    for (size_t i = 0; i < g->targets.n; i++)
        if (g->targets.p[i].type != TARGET_KIND)
            return &g->targets.p[i];
    return NULL;
}

static int get_run(struct getting *g)
{
    enum cli_output output = cli_output(g->c);
    const struct target *other = g->c->read_query.n ? not_of_the_registry(g) : NULL;
    if (other) {
        struct err err = {0};
        err_set(&err, ERR_INVALID,
                "%s take neither --consistency nor @REVISION: they are no objects",
                target_word(other));
        return cli_usage(g->c, &err);
    }
    g->several_kinds = any_other_kind(&g->targets);
    if (flags_on(&g->c->flags, FLAG_WATCH))
        return get_watch(g);
    return output == OUTPUT_TABLE || output == OUTPUT_WIDE ? get_tables(g) : get_data(g);
}

int cmd_get(struct cli *c)
{
    struct err err = {0};
    struct manifest m = {0};
    struct getting g = {.c = c, .ns = cli_namespace(c)};
    bool files = c->flags.values[FLAG_FILENAME].given;
    size_t words = c->flags.word_count;
    struct slice at;
    int code;
    if (!target_revision(c->flags.words, &words, &at, &err) || !target_read_query(c, at, &err)) {
        code = cli_usage(c, &err);
    } else if (files ? !targets_of_files(&g, &m, &err)
                     : !targets_parse(&g.targets, c, c->flags.words, words, &err)) {
        code = files ? cli_fail(c, &err) : cli_usage(c, &err);
    } else if (g.targets.n == 0) {
        err_set(&err, ERR_INVALID, "\"get\" needs %s", c->flags.command->args);
        code = cli_usage(c, &err);
    } else if (named_everywhere(&g)) {
        err_set(&err, ERR_INVALID, "a name cannot be looked for in all namespaces: say -n");
        code = cli_usage(c, &err);
    } else {
        code = get_run(&g);
    }
    manifest_fini(&m);
    return code;
}
