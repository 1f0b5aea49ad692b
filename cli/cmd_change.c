/* apply, create, delete, wait. */
#include <string.h>

#include "base/net/uri.h"
#include "base/wire/json.h"
#include "cli/change.h"
#include "cli/files.h"
#include "cli/target.h"

static bool files_given(struct cli *c)
{
    return c->flags.values[FLAG_FILENAME].text_count > 0;
}

static int change_files(struct cli *c, const char *verb)
{
    struct err err = {0};
    struct manifest m = {0};
    if (!files_given(c)) {
        err_set(&err, ERR_INVALID, "\"%s\" needs -f FILE", c->flags.command->name);
        return cli_usage(c, &err);
    }
    if (c->flags.word_count) {
        err_set(&err, ERR_INVALID, "\"%s\" takes files: -f %.*s", c->flags.command->name,
                SLICE(c->flags.words[0]));
        return cli_usage(c, &err);
    }
    int code = files_load(c, &m, &err) ? change_run(c, &m, verb) : cli_fail(c, &err);
    manifest_fini(&m);
    return code;
}

int cmd_apply(struct cli *c)
{
    return change_files(c, "apply");
}

int cmd_create(struct cli *c)
{
    return change_files(c, "create");
}

/* Delete. */

/* What is to be deleted, as documents of which the manifest is made: so that files and names go the
 * same way. */
struct doomed {
    struct cli *c;
    struct manifest *m;
    struct buf text;
    size_t n; /* documents in text */
};

static bool doomed_flush(struct doomed *d, struct err *err)
{
    bool ok = d->n == 0 || manifest_add(d->m, S(MANIFEST_ARGUMENTS), buf_slice(&d->text), err);
    buf_clear(&d->text);
    d->n = 0;
    return ok;
}

static bool doom(struct doomed *d, const struct kind *k, struct slice ns, struct slice name,
                 struct err *err)
{
    json_t *o =
        json_pack("{s:s,s:s,s:{}}", "apiVersion", kind_api_version(k), "kind", k->kind, "metadata");
    json_t *meta = json_object_get(o, "metadata");
    json_t *name_json = json_string_of(name);
    bool ok = name_json || err_set(err, ERR_INVALID, "a name that is no UTF-8");
    if (ok) {
        json_object_set_new(meta, "name", name_json);
        if (k->namespaced)
            json_object_set_new(meta, "namespace", json_string_of(ns));
        buf_append(&d->text, S("---\n"));
        ok = json_write(&d->text, o, err);
        buf_append_byte(&d->text, '\n');
        d->n++;
    }
    json_decref(o);
    return ok && (d->n < YAML_DOCS_MAX || doomed_flush(d, err));
}

static bool doom_selected(struct doomed *d, const struct kind *k, struct err *err)
{
    json_t *list = target_list(d->c, k, cli_namespace(d->c), CLIENT_OBJECT, err), *o;
    size_t i;
    bool ok = list != NULL;
    json_array_foreach (json_object_get(list, "items"), i, o) {
        ok = ok && doom(d, k, json_str(o, "metadata.namespace"), json_str(o, "metadata.name"), err);
    }
    json_decref(list);
    return ok;
}

static bool doom_target(struct doomed *d, const struct target *t, struct err *err)
{
    const struct flags *f = &d->c->flags;
    if (t->type != TARGET_KIND)
        return err_set(err, ERR_UNSUPPORTED, "%s cannot be deleted: they are not objects",
                       target_word(t));
    if (t->name.n)
        return doom(d, t->kind, cli_namespace(d->c), t->name, err);
    if (!flags_on(f, FLAG_ALL) && !flags_on(f, FLAG_SELECTOR))
        return err_set(err, ERR_UNSUPPORTED, "which %s? Give names, -l or --all", t->kind->plural);
    return doom_selected(d, t->kind, err);
}

/* What is not there any more is left out, if so wished: each object is looked up first. */
static bool drop_missing(struct cli *c, struct manifest *m, struct err *err)
{
    bool *there = ARENA_ARRAY(&c->arena, bool, m->items.n);
    for (size_t i = 0; i < m->items.n; i++) {
        const struct manifest_item *item = &m->items.p[i];
        struct err why = {0};
        json_t *o = cli_fetch(c, cli_path(c, item->kind, item->ns, item->name), &why);
        there[i] = o != NULL;
        json_decref(o);
        if (!there[i] && why.code != ERR_NOT_FOUND) {
            *err = why;
            return false;
        }
    }
    manifest_filter(m, there);
    return true;
}

static bool doomed_load(struct cli *c, struct manifest *m, struct err *err)
{
    struct targets targets = {0};
    struct doomed d = {.c = c, .m = m};
    m->ns = cli_namespace(c);
    bool ok = targets_parse(&targets, c, c->flags.words, c->flags.word_count, err);
    for (size_t i = 0; i < targets.n && ok; i++)
        ok = doom_target(&d, &targets.p[i], err);
    ok = ok && doomed_flush(&d, err);
    buf_fini(&d.text);
    return ok;
}

static int delete_all(struct cli *c, struct manifest *m)
{
    struct err err = {0};
    if (flags_on(&c->flags, FLAG_IGNORE_NOT_FOUND) && !drop_missing(c, m, &err))
        return cli_fail(c, &err);
    if (m->items.n == 0) {
        fputs("No resources found\n", c->err);
        return CLI_OK;
    }
    return change_run(c, m, "delete");
}

int cmd_delete(struct cli *c)
{
    struct err err = {0};
    struct manifest m = {0};
    if (!files_given(c) && c->flags.word_count == 0) {
        err_set(&err, ERR_INVALID, "\"delete\" needs %s", c->flags.command->args);
        return cli_usage(c, &err);
    }
    bool ok = files_given(c) ? files_load(c, &m, &err) : doomed_load(c, &m, &err);
    int code = ok                            ? delete_all(c, &m)
               : err.code == ERR_UNSUPPORTED ? cli_usage(c, &err)
                                             : cli_fail(c, &err);
    manifest_fini(&m);
    return code;
}

/* Wait. */

static int wait_revision(struct cli *c, uint64_t revision)
{
    json_t *answer = NULL;
    bool data = cli_output(c) == OUTPUT_JSON || cli_output(c) == OUTPUT_YAML;
    int code = change_wait(c, revision, c->timeout ? c->timeout : CLI_WAIT_TIMEOUT_MS,
                           data ? NULL : "", NULL, &answer);
    if (answer && data)
        cli_print_data(c, answer);
    json_decref(answer);
    return code;
}

/* What --for waits for, and how far it is. */
struct goal {
    struct cli *c;
    enum { GOAL_CONDITION, GOAL_DELETE, GOAL_CREATE } what;
    struct slice condition, status;
    bool reached;
};

static bool goal_parse(struct goal *g, struct slice text, struct err *err)
{
    struct slice what, rest;
    if (slice_eq(text, S("delete")) || slice_eq(text, S("create"))) {
        g->what = slice_eq(text, S("delete")) ? GOAL_DELETE : GOAL_CREATE;
        return true;
    }
    if (!slice_cut(text, '=', &what, &rest) || !slice_eq(what, S("condition")) || !rest.n)
        return err_set(err, ERR_INVALID,
                       "--for=%.*s: must be condition=NAME[=STATUS], delete or create",
                       SLICE(text));
    if (!slice_cut(rest, '=', &g->condition, &g->status))
        g->status = S("True");
    return true;
}

/* A condition of an older generation says nothing about this one. */
static bool condition_holds(const struct goal *g, const json_t *object)
{
    size_t i;
    json_t *cond;
    int64_t generation = json_int(object, "metadata.generation", 0);
    json_array_foreach (json_at(object, "status.conditions"), i, cond) {
        if (slice_eq_nocase(json_str(cond, "type"), g->condition))
            return slice_eq_nocase(json_str(cond, "status"), g->status) &&
                   json_int(cond, "observedGeneration", generation) >= generation;
    }
    return false;
}

static bool goal_reached(const struct goal *g, const json_t *object)
{
    if (g->what == GOAL_CONDITION)
        return object && condition_holds(g, object);
    return (object == NULL) == (g->what == GOAL_DELETE);
}

static bool on_goal_event(void *ctx, const json_t *event)
{
    struct goal *g = ctx;
    bool gone = slice_eq(json_str(event, "type"), S("DELETED"));
    g->reached = goal_reached(g, gone ? NULL : json_object_get(event, "object"));
    return !g->reached;
}

static bool wait_watch(struct goal *g, const struct target *t, struct slice revision, wf_ms timeout,
                       struct err *err)
{
    struct cli *c = g->c;
    struct slice path =
        arena_printf(&c->arena, "%.*s?watch=1&fieldSelector=metadata.name%%3D%.*s",
                     SLICE(cli_path(c, t->kind, cli_namespace(c), (struct slice){0})),
                     SLICE(uri_encode(t->name, &c->arena)));
    return client_watch(
        c->client,
        &(struct client_watch){
            .path = path, .revision = revision, .timeout = timeout, .fn = on_goal_event, .ctx = g},
        err);
}

/* Our own conditions are not on every kind: waiting for one that never comes helps nobody. */
static bool may_come(const struct goal *g, const struct kind *k, struct err *err)
{
    bool ours = slice_eq_nocase(g->condition, S("Distributed")) ||
                slice_eq_nocase(g->condition, S("Accepted"));
    if (g->what != GOAL_CONDITION || !ours || k->distributed)
        return true;
    return err_set(err, ERR_INVALID,
                   "%s carry no condition %.*s: wait for the revision instead, \"weft wait\" or "
                   "\"weft apply --wait\"",
                   k->plural, SLICE(g->condition));
}

/* The list says how it is and at which revision; the watch goes on from there. */
static bool wait_target(struct goal *g, const struct target *t, wf_ms timeout, struct err *err)
{
    struct cli *c = g->c;
    if (t->type != TARGET_KIND || !t->name.n)
        return err_set(err, ERR_INVALID, "\"wait --for\" needs KIND/NAME");
    if (!may_come(g, t->kind, err))
        return false;
    struct slice path =
        arena_printf(&c->arena, "%.*s?fieldSelector=metadata.name%%3D%.*s",
                     SLICE(cli_path(c, t->kind, cli_namespace(c), (struct slice){0})),
                     SLICE(uri_encode(t->name, &c->arena)));
    json_t *list = cli_fetch(c, path, err);
    if (!list)
        return false;
    const json_t *object = json_at(list, "items[0]");
    bool ok = true;
    if (!object && g->what == GOAL_CONDITION)
        ok = err_set(err, ERR_NOT_FOUND, "%s \"%.*s\" not found", t->kind->plural, SLICE(t->name));
    else if (!goal_reached(g, object))
        ok = wait_watch(g, t, json_str(list, "metadata.resourceVersion"), timeout, err);
    json_decref(list);
    return ok;
}

static const char *goal_words(struct cli *c, const struct goal *g)
{
    if (g->what != GOAL_CONDITION)
        return g->what == GOAL_DELETE ? "deleted" : "created";
    return arena_printf(&c->arena, "condition %.*s met", SLICE(g->condition)).p;
}

static int wait_goal(struct cli *c)
{
    struct err err = {0};
    struct targets targets = {0};
    struct goal g = {.c = c};
    if (!goal_parse(&g, flags_text(&c->flags, FLAG_FOR, (struct slice){0}), &err) ||
        !targets_parse(&targets, c, c->flags.words, c->flags.word_count, &err))
        return cli_usage(c, &err);
    wf_ms end = env_now(c->world->env) + (c->timeout ? c->timeout : CLI_WAIT_TIMEOUT_MS);
    for (size_t i = 0; i < targets.n; i++) {
        wf_ms left = end - env_now(c->world->env);
        if (!wait_target(&g, &targets.p[i], left > 1 ? left : 1, &err)) {
            if (err.code == ERR_TIMEOUT)
                err_wrap(&err, "%s/%.*s", targets.p[i].kind->plural, SLICE(targets.p[i].name));
            return cli_fail(c, &err);
        }
        fprintf(c->out, "%.*s %s\n", SLICE(cli_title(c, targets.p[i].kind, targets.p[i].name)),
                goal_words(c, &g));
    }
    return CLI_OK;
}

int cmd_wait(struct cli *c)
{
    struct err err = {0};
    uint64_t revision = 0;
    struct slice word = c->flags.word_count ? c->flags.words[0] : (struct slice){0};
    if (flags_on(&c->flags, FLAG_FOR) && word.n)
        return wait_goal(c);
    if (slice_starts(word, S("@")))
        word = slice_skip(word, 1);
    if (c->flags.word_count > 1 || flags_on(&c->flags, FLAG_FOR) ||
        (word.n && !slice_u64(word, &revision))) {
        err_set(&err, ERR_INVALID, "\"wait\" needs %s", c->flags.command->args);
        return cli_usage(c, &err);
    }
    return wait_revision(c, revision);
}
