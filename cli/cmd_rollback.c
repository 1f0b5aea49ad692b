/* rollback: a new revision in which objects are as they were at an earlier one. */
#include <inttypes.h>
#include <string.h>

#include "base/wire/json.h"
#include "cli/change.h"
#include "cli/cli_limits.h"
#include "cli/past.h"

#define ROLLBACK_TRIES 5

struct rollback {
    struct cli *c;
    struct past_range range;
    struct targets targets;
    struct past past;
    bool dry;
    wf_ms wait_timeout;
};

/* The transaction: each object only if it still is as it was seen. */

static const char *verb_of(const struct past_item *it)
{
    return !it->before ? "delete" : it->after ? "update" : "create";
}

static json_t *item_json(const struct past_item *it)
{
    json_t *o =
        json_pack("{s:s,s:O}", "verb", verb_of(it), "object", it->before ? it->before : it->after);
    if (it->after)
        json_object_set_new(
            o, "precondition",
            json_pack("{s:o}", "resourceVersion", json_string_of(it->after_revision)));
    return o;
}

static json_t *transaction(const struct past *p)
{
    json_t *items = json_array();
    for (size_t i = 0; i < p->items.n; i++)
        json_array_append_new(items, item_json(&p->items.p[i]));
    return json_pack("{s:o}", "items", items);
}

/* What it was is taken, though it may have fields that this version warns of. */
static bool transaction_send(struct rollback *r, json_t **ret_answer, struct err *err)
{
    struct cli *c = r->c;
    struct client *cl = cli_client(c, err);
    struct client_answer a = {0};
    struct client_request q = {
        .method = S("POST"),
        .path = arena_printf(&c->arena, "/weft/v1/transaction?fieldValidation=Warn%s",
                             r->dry ? "&dryRun=All" : ""),
        .body = transaction(&r->past),
        .key = r->dry ? (struct slice){0} : cli_new_key(c),
        .repeatable = true,
    };
    bool ok = cl && client_call(cl, &q, &a, err);
    json_decref((json_t *)(uintptr_t)q.body);
    *ret_answer = a.body;
    return ok;
}

/* Only the revisions moved: a status was written meanwhile. */
static bool same_sight(const struct past *a, const struct past *b)
{
    bool same = a->items.n == b->items.n;
    for (size_t i = 0; i < a->items.n && same; i++) {
        const struct past_item *x = &a->items.p[i], *y = &b->items.p[i];
        same = x->kind == y->kind && slice_eq(x->ns, y->ns) && slice_eq(x->name, y->name) &&
               !x->after == !y->after && (!x->after || json_equal(x->after, y->after));
    }
    return same;
}

/* Looks again; false and err: what is there now is not what was shown. */
static bool look_again(struct rollback *r, struct err *err)
{
    struct past now = {0};
    struct err why = {0};
    if (!past_fetch(&now, r->c, &(struct past_range){.from = r->range.from}, &r->targets, &why)) {
        *err = why;
        return false;
    }
    bool same = same_sight(&r->past, &now);
    if (same) {
        past_fini(&r->past);
        r->past = now;
        err_clear(err);
    } else {
        past_fini(&now);
        err_wrap(err, "changed by somebody else meanwhile, nothing was rolled back; look again");
    }
    return same;
}

static bool send_as_seen(struct rollback *r, json_t **ret_answer, struct err *err)
{
    for (int tries = 1;; tries++) {
        if (transaction_send(r, ret_answer, err))
            return true;
        bool moved = err->code == ERR_CONFLICT || err->code == ERR_EXISTS;
        if (!moved || tries == ROLLBACK_TRIES || !look_again(r, err))
            return false;
    }
}

/* Talking. */

static bool print_differences(struct rollback *r, struct err *err)
{
    struct cli *c = r->c;
    struct past_labels labels = {S("live"), arena_printf(&c->arena, "@%" PRIu64, r->range.from)};
    bool differs = false, ok = true;
    for (size_t i = 0; i < r->past.items.n && ok; i++) {
        struct past_item back = r->past.items.p[i];
        json_t *now = back.after;
        back.after = back.before;
        back.before = now;
        ok = past_print(c, &back, &labels, &differs, err);
    }
    return ok;
}

static bool wants_data(const struct cli *c)
{
    return cli_output(c) == OUTPUT_JSON || cli_output(c) == OUTPUT_YAML;
}

static void print_results(const struct rollback *r, const json_t *answer)
{
    struct cli *c = r->c;
    static const struct {
        const char *result, *word;
    } words[] = {{"created", "restored"}, {"configured", "restored"}, {"deleted", "deleted"}};
    for (size_t i = 0; i < r->past.items.n; i++) {
        const struct past_item *it = &r->past.items.p[i];
        struct slice result =
            json_str(json_array_get(json_object_get(answer, "items"), i), "result");
        const char *word = "unchanged";
        for (size_t k = 0; k < ARRAY_LEN(words); k++)
            if (slice_eq(result, slice_of(words[k].result)))
                word = words[k].word;
        cli_print_text(c->out, cli_title(c, it->kind, it->name));
        if (cli_output(c) != OUTPUT_NAME)
            fprintf(c->out, " %s%s", word, r->dry ? " (server dry run)" : "");
        fputc('\n', c->out);
    }
    if (!r->dry && cli_output(c) != OUTPUT_NAME)
        fprintf(c->out, "as at @%" PRIu64 ", now @%" PRId64 "\n", r->range.from,
                json_int(answer, "revision", 0));
    fflush(c->out);
}

/* Without a selection it is everything: somebody must want that. */
static bool confirmed(struct rollback *r, struct err *err)
{
    struct cli *c = r->c;
    char line[16] = "";
    if (r->dry || r->targets.n || flags_on(&c->flags, FLAG_YES))
        return true;
    fprintf(c->err, "Roll back %zu object%s of all namespaces to @%" PRIu64 "? [y/N] ",
            r->past.items.n, r->past.items.n == 1 ? "" : "s", r->range.from);
    fflush(c->err);
    bool yes = fgets(line, sizeof(line), c->world->in) && (line[0] == 'y' || line[0] == 'Y');
    return yes || err_set(err, ERR_CANCELLED,
                          "nothing was rolled back; say --yes, or name what to roll back");
}

static int rollback_finish(struct rollback *r, json_t *take_answer)
{
    struct cli *c = r->c;
    int code = CLI_OK;
    if (wants_data(c))
        code = cli_print_data(c, take_answer);
    else
        print_results(r, take_answer);
    if (!r->dry && flags_on(&c->flags, FLAG_WAIT))
        code = change_wait(c, (uint64_t)json_int(take_answer, "revision", 0), r->wait_timeout,
                           wants_data(c) || cli_output(c) == OUTPUT_NAME ? NULL : "rolled back",
                           NULL, NULL);
    json_decref(take_answer);
    return code;
}

static int rollback_run(struct rollback *r)
{
    struct cli *c = r->c;
    struct err err = {0};
    json_t *answer = NULL;
    if (!past_fetch(&r->past, c, &r->range, &r->targets, &err))
        return cli_fail(c, &err);
    if (r->past.items.n == 0) {
        fprintf(c->out, "nothing to roll back: all is as it was at @%" PRIu64 "\n", r->range.from);
        return CLI_OK;
    }
    if (r->dry && cli_output(c) == OUTPUT_TABLE && !print_differences(r, &err))
        return cli_fail(c, &err);
    if (!confirmed(r, &err) || !send_as_seen(r, &answer, &err))
        return cli_fail(c, &err);
    return rollback_finish(r, answer);
}

static bool rollback_parse(struct rollback *r, struct err *err)
{
    struct cli *c = r->c;
    struct slice how = flags_text(&c->flags, FLAG_DRY_RUN, S("none"));
    r->dry = flags_on(&c->flags, FLAG_DRY_RUN) && !slice_eq(how, S("none"));
    if (slice_eq(how, S("client")))
        return err_set(err, ERR_INVALID, "--dry-run=client: only the server knows what was");
    if (!slice_starts(c->flags.words[0], S("@")) ||
        !past_range_parse(c->flags.words[0], &r->range, err) || r->range.to)
        return err_set(err, ERR_INVALID, "\"rollback\" needs a revision first: weft rollback @41");
    return targets_parse(&r->targets, c, c->flags.words + 1, c->flags.word_count - 1, err) &&
           flags_duration(&c->flags, FLAG_WAIT, c->timeout ? c->timeout : CLI_WAIT_TIMEOUT_MS,
                          &r->wait_timeout, err);
}

int cmd_rollback(struct cli *c)
{
    struct err err = {0};
    struct rollback r = {.c = c};
    if (!rollback_parse(&r, &err))
        return cli_usage(c, &err);
    int code = rollback_run(&r);
    past_fini(&r.past);
    return code;
}
