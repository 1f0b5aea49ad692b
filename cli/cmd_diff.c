/* diff: what apply would store against what is there; what two revisions have different. */
#include <inttypes.h>

#include "base/wire/json.h"
#include "cli/change.h"
#include "cli/files.h"
#include "cli/past.h"

/* 1 says that there are differences, so no failure may. */
static int diff_code(int failure)
{
    return failure == CLI_FAILED ? CLI_DIFF_FAILED : failure;
}

/* Files. */

/* The object as it is; NULL without a failure when it is not there. */
static json_t *live_object(struct cli *c, const struct manifest_item *item, struct err *err)
{
    json_t *o = cli_fetch(c, cli_path(c, item->kind, item->ns, item->name), err);
    if (!o && err->code == ERR_NOT_FOUND)
        err_clear(err);
    past_strip(o);
    return o;
}

static bool diff_item(struct cli *c, const struct manifest_item *item, json_t *next,
                      bool *ret_differs, struct err *err)
{
    struct past_item pair = {.kind = item->kind,
                             .ns = item->ns,
                             .name = item->name,
                             .before = live_object(c, item, err),
                             .after = next};
    past_strip(next);
    bool ok = !err->code &&
              past_print(c, &pair, &(struct past_labels){S("live"), S("new")}, ret_differs, err);
    json_decref(pair.before);
    return ok;
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

static int diff_files(struct cli *c)
{
    struct err err = {0};
    struct manifest m = {0};
    int code = files_load(c, &m, &err) ? diff_all(c, &m) : diff_code(cli_fail(c, &err));
    manifest_fini(&m);
    return code;
}

/* Revisions. */

static int diff_revisions(struct cli *c)
{
    struct err err = {0};
    struct past_range range;
    struct targets targets = {0};
    struct past p = {0};
    bool differs = false;
    if (!past_range_parse(c->flags.words[0], &range, &err) ||
        !targets_parse(&targets, c, c->flags.words + 1, c->flags.word_count - 1, &err))
        return cli_usage(c, &err);
    if (!past_fetch(&p, c, &range, &targets, &err))
        return diff_code(cli_fail(c, &err));
    struct past_labels labels = {arena_printf(&c->arena, "@%" PRIu64, p.range.from),
                                 arena_printf(&c->arena, "@%" PRIu64, p.range.to)};
    bool ok = true;
    for (size_t i = 0; i < p.items.n && ok; i++)
        ok = past_print(c, &p.items.p[i], &labels, &differs, &err);
    past_fini(&p);
    return !ok ? diff_code(cli_fail(c, &err)) : differs ? CLI_DIFF_DIFFERS : CLI_DIFF_SAME;
}

int cmd_diff(struct cli *c)
{
    struct err err = {0};
    bool files = c->flags.values[FLAG_FILENAME].given;
    bool revisions = c->flags.word_count > 0 && slice_starts(c->flags.words[0], S("@"));
    if (files && !c->flags.word_count)
        return diff_files(c);
    if (revisions && !files)
        return diff_revisions(c);
    err_set(&err, ERR_INVALID, "\"diff\" needs -f FILE, or @41..@44");
    return cli_usage(c, &err);
}
