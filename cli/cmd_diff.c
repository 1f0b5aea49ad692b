/* diff: what apply would store against what is there. */
#include "base/wire/json.h"
#include "base/wire/yaml.h"
#include "cli/change.h"
#include "cli/diff.h"
#include "cli/files.h"

/* What the control plane writes itself differs after every write and says nothing. */
static void strip(json_t *object)
{
    static const char *const own[] = {"resourceVersion", "generation", "managedFields", "uid",
                                      "creationTimestamp"};
    json_t *meta = json_object_get(object, "metadata");
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        json_object_del(meta, own[i]);
    json_object_del(object, "status");
}

static bool as_text(json_t *object, struct buf *out, struct err *err)
{
    if (!object)
        return true;
    strip(object);
    return yaml_write(out, object, err);
}

static void print_coloured(struct cli *c, struct slice text)
{
    struct slice line;
    while (text.n) {
        slice_cut(text, '\n', &line, &text);
        const char *tint = slice_starts(line, S("+"))   ? "\033[32m"
                           : slice_starts(line, S("-")) ? "\033[31m"
                           : slice_starts(line, S("@")) ? "\033[36m"
                                                        : "";
        bool tinted = c->colour && *tint;
        fputs(tinted ? tint : "", c->out);
        cli_print_text(c->out, line);
        fputs(tinted ? "\033[0m\n" : "\n", c->out);
    }
}

/* The object as it is; NULL without a failure when it is not there. */
static json_t *live_object(struct cli *c, const struct manifest_item *item, struct err *err)
{
    json_t *o = cli_fetch(c, cli_path(c, item->kind, item->ns, item->name), err);
    if (!o && err->code == ERR_NOT_FOUND)
        err_clear(err);
    return o;
}

static bool diff_item(struct cli *c, const struct manifest_item *item, json_t *next,
                      bool *ret_differs, struct err *err)
{
    struct buf was = {0}, is = {0}, out = {0};
    json_t *live = live_object(c, item, err);
    struct slice title = arena_printf(&c->arena, "%s%s%s/%.*s%s%.*s", item->kind->plural,
                                      *item->kind->group ? "." : "", item->kind->group,
                                      SLICE(item->ns), item->ns.n ? "/" : "", SLICE(item->name));
    bool ok = !err->code && as_text(live, &was, err) && as_text(next, &is, err);
    if (ok && diff_unified(&out, buf_slice(&was), buf_slice(&is),
                           arena_printf(&c->arena, "live/%.*s", SLICE(title)),
                           arena_printf(&c->arena, "new/%.*s", SLICE(title)))) {
        *ret_differs = true;
        print_coloured(c, buf_slice(&out));
    }
    json_decref(live);
    buf_fini(&was);
    buf_fini(&is);
    buf_fini(&out);
    return ok;
}

/* 1 says that there are differences, so no failure may. */
static int diff_code(int failure)
{
    return failure == CLI_FAILED ? CLI_DIFF_FAILED : failure;
}

static int diff_all(struct cli *c, const struct manifest *m)
{
    struct err err = {0};
    json_t *answer = NULL;
    bool differs = false;
    int code;
    if (!change_preview(c, m, "apply", &answer, &code))
        return diff_code(code);
    for (size_t i = 0; i < m->items.n && !err.code; i++) {
        json_t *item = json_array_get(json_object_get(answer, "items"), i);
        json_t *next = json_object_get(item, "object");
        if (next)
            diff_item(c, &m->items.p[i], next, &differs, &err);
        else
            err_set(&err, ERR_UNSUPPORTED, "the control plane does not show what it would store");
    }
    json_decref(answer);
    return err.code ? diff_code(cli_fail(c, &err)) : differs ? CLI_DIFF_DIFFERS : CLI_DIFF_SAME;
}

int cmd_diff(struct cli *c)
{
    struct err err = {0};
    struct manifest m = {0};
    if (!c->flags.values[FLAG_FILENAME].given) {
        err_set(&err, ERR_INVALID, "\"diff\" needs -f FILE");
        return cli_usage(c, &err);
    }
    int code = files_load(c, &m, &err) ? diff_all(c, &m) : diff_code(cli_fail(c, &err));
    manifest_fini(&m);
    return code;
}
