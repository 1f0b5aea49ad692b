#include "cli/change.h"

#include <inttypes.h>
#include <string.h>

#include "base/wire/json.h"
#include "cli/cli_limits.h"

/* One call, and what has come of its requests so far. Only a deletion has more than one. */
struct change {
    struct cli *c;
    const struct manifest *m;
    const char *verb;
    bool dry;
    wf_ms wait_timeout;
    json_t *answer;    /* of all requests, as if they had been one; NULL before the first */
    size_t done;       /* objects that are deleted already */
    struct slice torn; /* the namespace of which a failed request may have deleted some */
};

static bool is_deletion(const struct change *ch)
{
    return strcmp(ch->verb, "delete") == 0;
}

static bool is_careful(const struct cli *c)
{
    return slice_eq(flags_text(&c->flags, FLAG_FAIL_ON, S("error")), S("warning"));
}

static bool wants_data(const struct cli *c)
{
    return cli_output(c) == OUTPUT_JSON || cli_output(c) == OUTPUT_YAML;
}

/* Refusals. */

static bool is_finding(struct slice message)
{
    return slice_starts(message, S("WFT")) || slice_starts(message, S("IST"));
}

static void print_place(struct cli *c, const struct manifest_item *item, struct slice field)
{
    fprintf(c->err, "%.*s:%u: %s %.*s%s%.*s: ", SLICE(item->file), manifest_line(item, field),
            item->kind->kind, SLICE(item->ns), item->ns.n ? "/" : "", SLICE(item->name));
}

/* "items[3].spec.http[0]" and what is wrong there. */
static void print_problem(struct cli *c, struct manifest_part part, struct slice field,
                          struct slice message)
{
    size_t index;
    struct slice rest;
    if (manifest_place(part, field, &index, &rest)) {
        if (slice_starts(rest, S("object.")))
            rest = slice_skip(rest, sizeof("object.") - 1);
        print_place(c, &part.p[index], rest);
        field = rest;
    }
    fprintf(c->err, "%.*s%s", SLICE(field), field.n ? ": " : "");
    cli_print_text(c->err, message);
    fputc('\n', c->err);
}

static size_t print_causes(struct cli *c, struct manifest_part part, const json_t *causes,
                           bool *ret_finding)
{
    size_t i;
    json_t *cause;
    json_array_foreach (causes, i, cause) {
        struct slice message = json_str(cause, "message");
        print_problem(c, part, json_str(cause, "field"), message);
        *ret_finding = *ret_finding || is_finding(message);
    }
    return json_array_size(causes);
}

static bool of_arguments(struct manifest_part part)
{
    return slice_eq(part.p[0].file, S(MANIFEST_ARGUMENTS));
}

/* The message itself begins with the item: "items[2].object: …", "items[2]: …". */
static bool print_item_message(struct cli *c, struct manifest_part part, const struct err *err)
{
    struct slice field, message, text = slice_of(err->msg), rest;
    size_t index;
    if (!manifest_place(part, text, &index, &rest) || !slice_cut(text, ':', &field, &message))
        return false;
    if (slice_ends(field, S(".object")))
        field.n -= sizeof(".object") - 1;
    print_problem(c, part, of_arguments(part) ? S("error") : field, slice_trim(message));
    return true;
}

/* 2005 -> "2,005" */
static const char *grouped(struct cli *c, size_t n)
{
    static_assert(CLI_OBJECTS_MAX < 1000000, "one comma is enough");
    return n < 1000 ? arena_printf(&c->arena, "%zu", n).p
                    : arena_printf(&c->arena, "%zu,%03zu", n / 1000, n % 1000).p;
}

/* How far the change went before it ended. */
static void print_extent(const struct change *ch, const char *end)
{
    FILE *f = ch->c->err;
    fprintf(f, "error: %s", end);
    if (ch->done)
        fprintf(f, "; %s of %s objects %s deleted already", grouped(ch->c, ch->done),
                grouped(ch->c, ch->m->items.n), ch->done == 1 ? "is" : "are");
    if (ch->torn.n)
        fprintf(f, "; some of what lives in %.*s may be deleted", SLICE(ch->torn));
    fputs(ch->done || ch->torn.n ? "\n" : ", nothing was changed\n", f);
}

static int refused(const struct change *ch, struct manifest_part part, const struct err *err)
{
    struct cli *c = ch->c;
    bool finding = false;
    const json_t *status = c->client ? client_status(c->client) : NULL;
    size_t causes = print_causes(c, part, json_at(status, "details.causes"), &finding);
    bool placed = causes > 0 || print_item_message(c, part, err);
    if (!placed)
        cli_fail(c, err);
    bool more = placed && (causes > 0 || !of_arguments(part));
    if (more || ch->done || ch->torn.n)
        print_extent(ch, placed ? "refused" : "stopped");
    return finding ? (int)CLI_FINDINGS : (int)cli_exit_of(err->code);
}

/* The batch. */

/* What says which object it is: of the rest, deletions of many would not fit into a request. */
static json_t *identity(const struct manifest_item *item)
{
    json_t *meta = json_pack("{s:o}", "name", json_string_of(item->name));
    if (item->ns.n)
        json_object_set_new(meta, "namespace", json_string_of(item->ns));
    return json_pack("{s:O,s:O,s:o}", "apiVersion", json_object_get(item->object, "apiVersion"),
                     "kind", json_object_get(item->object, "kind"), "metadata", meta);
}

static json_t *batch_body(const struct change *ch, struct manifest_part part)
{
    json_t *items = json_array();
    for (size_t i = 0; i < part.n; i++) {
        const struct manifest_item *item = &part.p[i];
        json_t *object = is_deletion(ch) ? identity(item) : json_incref(item->object);
        json_array_append_new(items, json_pack("{s:s,s:o}", "verb", ch->verb, "object", object));
    }
    return json_pack("{s:o}", "items", items);
}

static struct slice batch_path(struct cli *c, bool dry)
{
    struct slice validate = flags_text(&c->flags, FLAG_VALIDATE, S("strict"));
    const char *how = slice_eq(validate, S("ignore")) ? "Ignore"
                      : slice_eq(validate, S("warn")) ? "Warn"
                                                      : "Strict";
    return arena_printf(&c->arena, "/weft/v1/batch?fieldValidation=%s%s", how,
                        dry ? "&dryRun=All" : "");
}

/* Warnings are items of the answer, and Warning headers for other clients. */
static void print_warnings(struct cli *c, struct manifest_part part, const json_t *answer,
                           bool *ret_finding)
{
    size_t i, index;
    json_t *w;
    struct slice rest, field, message;
    json_array_foreach (json_object_get(answer, "warnings"), i, w) {
        struct slice text = json_slice(w);
        fputs("Warning: ", c->err);
        if (!slice_cut(text, ':', &field, &message) || !manifest_place(part, field, &index, &rest))
            print_problem(c, part, (struct slice){0}, text);
        else
            print_problem(c, part, field, slice_trim(message));
        *ret_finding = *ret_finding || slice_contains(text, S("WFT"));
    }
}

/* A part larger than this the server would refuse, after all of it was sent. */
static bool fits(struct cli *c, struct manifest_part part, struct err *err)
{
    static_assert(CLI_DELETE_PART_OBJECTS_MAX <= CLI_CHANGE_OBJECTS_MAX, "parts always fit");
    return part.n <= CLI_CHANGE_OBJECTS_MAX ||
           err_set(err, ERR_LIMIT,
                   "%s objects are more than one change can hold (%s): make it in parts, several "
                   "calls with fewer files each",
                   grouped(c, part.n), grouped(c, CLI_CHANGE_OBJECTS_MAX));
}

static bool send_batch(const struct change *ch, struct manifest_part part, bool dry,
                       json_t **ret_answer, struct err *err)
{
    struct cli *c = ch->c;
    struct client *cl = fits(c, part, err) ? cli_client(c, err) : NULL;
    if (!cl)
        return false;
    struct client_answer a = {0};
    struct client_request r = {.method = S("POST"),
                               .path = batch_path(c, dry),
                               .body = batch_body(ch, part),
                               .quiet = true,
                               .key = dry ? (struct slice){0} : cli_new_key(c),
                               .repeatable = true};
    bool ok = client_call(cl, &r, &a, err);
    json_decref((json_t *)(uintptr_t)r.body);
    *ret_answer = a.body;
    return ok && (a.body || err_set(err, ERR_INTERNAL, "the control plane answered with nothing"));
}

/* Namespaces: of any size, so in as many revisions as it takes, which no batch can be. */

static bool is_namespace(const struct manifest_item *item)
{
    return item->kind->id == KIND_NAMESPACE;
}

static bool deletes_namespace(const struct change *ch, struct manifest_part part)
{
    return is_deletion(ch) && part.n == 1 && is_namespace(&part.p[0]);
}

/* *ret_answer is what a batch would have answered, but for the revision: nobody says it. */
static bool send_namespace(const struct change *ch, struct manifest_part part, bool dry,
                           json_t **ret_answer, struct err *err)
{
    struct cli *c = ch->c;
    const struct manifest_item *item = &part.p[0];
    struct client *cl = cli_client(c, err);
    struct client_answer a = {0};
    struct slice path = cli_path(c, item->kind, (struct slice){0}, item->name);
    struct client_request r = {
        .method = S("DELETE"),
        .path = arena_printf(&c->arena, "%.*s%s", SLICE(path), dry ? "?dryRun=All" : ""),
        .timeout = c->timeout ? c->timeout : CLI_NAMESPACE_TIMEOUT_MS,
        .repeatable = dry,
    };
    if (!cl || !client_call(cl, &r, &a, err))
        return false;
    json_decref(a.body);
    *ret_answer = json_pack("{s:b,s:[{s:s,s:s,s:s,s:s,s:o}],s:[]}", "dryRun", dry, "items", "verb",
                            ch->verb, "result", "deleted", "kind", item->kind->kind, "group",
                            item->kind->group, "name", json_string_of(item->name), "warnings");
    return true;
}

/* The server looks at the namespace itself before it deletes anything in it; every other failure
 * may come between two revisions. */
static void namespace_failed(struct change *ch, struct manifest_part part, bool dry,
                             struct err *err)
{
    const struct client *cl = ch->c->client;
    if (err->code == ERR_NOT_FOUND || err->code == ERR_FORBIDDEN)
        err_wrap(err, "items[0]");
    else if (!dry && cl && client_reached(cl))
        ch->torn = cli_title(ch->c, part.p[0].kind, part.p[0].name);
}

/* One request. */

static bool send_part(struct change *ch, struct manifest_part part, bool dry, json_t **ret_answer,
                      struct err *err)
{
    if (!deletes_namespace(ch, part))
        return send_batch(ch, part, dry, ret_answer, err);
    bool ok = send_namespace(ch, part, dry, ret_answer, err);
    if (!ok)
        namespace_failed(ch, part, dry, err);
    return ok;
}

static bool send_and_report(struct change *ch, struct manifest_part part, bool dry,
                            json_t **ret_answer, int *ret_code)
{
    struct cli *c = ch->c;
    struct err err = {0};
    c->finding = false;
    if (!send_part(ch, part, dry, ret_answer, &err)) {
        *ret_code = refused(ch, part, &err);
        return false;
    }
    print_warnings(c, part, *ret_answer, &c->finding);
    if (c->finding && dry && is_careful(c)) {
        print_extent(ch, "the analysis warns and --fail-on=warning was given");
        json_decref(*ret_answer);
        *ret_code = CLI_FINDINGS;
        return false;
    }
    return true;
}

bool change_preview(struct cli *c, const struct manifest *m, const char *verb, json_t **ret_answer,
                    int *ret_code)
{
    struct change ch = {.c = c, .m = m, .verb = verb, .dry = true};
    return send_and_report(&ch, manifest_all(m), true, ret_answer, ret_code);
}

/* What came of it. */

static const struct kind *item_kind(const json_t *item)
{
    struct slice group = json_str(item, "group"), kind = json_str(item, "kind");
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (slice_eq(slice_of(kinds[i].group), group) && slice_eq(slice_of(kinds[i].kind), kind))
            return &kinds[i];
    return NULL;
}

static struct slice item_title(struct cli *c, const json_t *item)
{
    const struct kind *k = item_kind(item);
    struct slice name = json_str(item, "name"), kind = json_str(item, "kind");
    return k ? cli_title(c, k, name)
             : arena_printf(&c->arena, "%.*s/%.*s", SLICE(kind), SLICE(name));
}

static void print_results(struct cli *c, const json_t *answer, const char *suffix)
{
    size_t i;
    json_t *item;
    bool name_only = cli_output(c) == OUTPUT_NAME;
    json_array_foreach (json_object_get(answer, "items"), i, item) {
        cli_print_text(c->out, item_title(c, item));
        if (!name_only)
            fprintf(c->out, " %.*s%s", SLICE(json_str(item, "result")), suffix);
        fputc('\n', c->out);
    }
    fflush(c->out);
}

/* One word for all: theirs when it is the same, else what apply does. */
static const char *common_word(const json_t *answer)
{
    size_t i;
    json_t *item;
    struct slice word = {0};
    json_array_foreach (json_object_get(answer, "items"), i, item) {
        struct slice result = json_str(item, "result");
        if (i > 0 && !slice_eq(result, word))
            return "configured";
        word = result;
    }
    return word.n ? word.p : "configured";
}

/* "items[3]: …" of a part is another item of the whole. */
static json_t *warning_of_all(struct cli *c, json_t *warning, size_t before)
{
    struct slice number, rest, text = json_slice(warning);
    uint32_t index;
    if (!slice_starts(text, S("items[")) ||
        !slice_cut(slice_skip(text, sizeof("items[") - 1), ']', &number, &rest) ||
        !slice_u32(number, &index))
        return json_incref(warning);
    return json_string_of(arena_printf(&c->arena, "items[%zu]%.*s", before + index, SLICE(rest)));
}

static json_t *child_array(json_t *object, const char *key)
{
    if (!json_object_get(object, key))
        json_object_set_new(object, key, json_array());
    return json_object_get(object, key);
}

/* The next answer behind those before. Its revision is theirs; without one nobody knows it. */
static void append_answer(struct change *ch, const json_t *next)
{
    json_t *items = child_array(ch->answer, "items"), *warning;
    json_t *warnings = child_array(ch->answer, "warnings");
    json_t *revision = json_object_get(next, "revision");
    size_t i, before = json_array_size(items);
    json_array_extend(items, json_object_get(next, "items"));
    json_array_foreach (json_object_get(next, "warnings"), i, warning)
        json_array_append_new(warnings, warning_of_all(ch->c, warning, before));
    if (revision)
        json_object_set(ch->answer, "revision", revision);
    else
        json_object_del(ch->answer, "revision");
}

static void keep_answer(struct change *ch, struct manifest_part part, json_t *take_answer)
{
    if (!wants_data(ch->c))
        print_results(ch->c, take_answer, ch->dry ? " (server dry run)" : "");
    if (!ch->dry)
        ch->done += part.n;
    if (ch->answer) {
        append_answer(ch, take_answer);
        json_decref(take_answer);
    } else {
        ch->answer = take_answer;
    }
}

static int run_part(struct change *ch, struct manifest_part part)
{
    json_t *answer = NULL;
    int code;
    if (is_careful(ch->c) && !ch->dry) {
        if (!send_and_report(ch, part, true, &answer, &code))
            return code;
        json_decref(answer);
    }
    if (!send_and_report(ch, part, ch->dry, &answer, &code))
        return code;
    keep_answer(ch, part, answer);
    return CLI_OK;
}

static int wait_for_answer(const struct change *ch)
{
    struct cli *c = ch->c;
    json_t *waited = NULL;
    bool wordless = wants_data(c) || cli_output(c) == OUTPUT_NAME;
    int code = change_wait(c, (uint64_t)json_int(ch->answer, "revision", 0), ch->wait_timeout,
                           wordless ? NULL : common_word(ch->answer), ch->m, &waited);
    if (waited)
        json_object_set_new(ch->answer, "wait", waited);
    return code;
}

/* What was deleted before a refusal is printed all the same: it is deleted. */
static int change_finish(struct change *ch, int code)
{
    struct cli *c = ch->c;
    if (code == CLI_OK && !ch->dry && flags_on(&c->flags, FLAG_WAIT))
        code = wait_for_answer(ch);
    if (ch->answer && wants_data(c))
        cli_print_data(c, ch->answer);
    json_decref(ch->answer);
    return code;
}

/* Files alone. */

static bool check_item(struct cli *c, const struct manifest *m, size_t index)
{
    struct slice validate = flags_text(&c->flags, FLAG_VALIDATE, S("strict"));
    struct kind_check check = {.unknown_fields =
                                   slice_eq(validate, S("strict")) ? KIND_UNKNOWN_REFUSE
                                   : slice_eq(validate, S("warn")) ? KIND_UNKNOWN_WARN
                                                                   : KIND_UNKNOWN_IGNORE};
    const struct manifest_item *item = &m->items.p[index];
    struct kind_report report = {0};
    bool ok = kind_validate(item->kind, item->object, &check, &report);
    for (size_t i = 0; i < report.count; i++) {
        const struct kind_problem *p = &report.items[i];
        struct slice field = arena_printf(&c->arena, "items[%zu].%.*s", index, SLICE(p->field));
        if (p->warning)
            fputs("Warning: ", c->err);
        print_problem(c, manifest_all(m), field, p->message);
    }
    kind_report_fini(&report);
    return ok;
}

static int check_files(struct cli *c, const struct manifest *m)
{
    bool ok = true;
    for (size_t i = 0; i < m->items.n; i++)
        ok = check_item(c, m, i) && ok;
    if (!ok) {
        fputs("error: the files are not valid\n", c->err);
        return CLI_BAD_INPUT;
    }
    for (size_t i = 0; i < m->items.n; i++) {
        cli_print_text(c->out, cli_title(c, m->items.p[i].kind, m->items.p[i].name));
        fputs(cli_output(c) == OUTPUT_NAME ? "\n" : " checked (client dry run)\n", c->out);
    }
    return CLI_OK;
}

/* All. */

/* The namespaces last: what else the call names may live in them. */
static size_t order_doomed(const struct manifest *m, struct manifest_item *ret_order)
{
    size_t objects = 0;
    for (size_t i = 0; i < m->items.n; i++)
        if (!is_namespace(&m->items.p[i]))
            ret_order[objects++] = m->items.p[i];
    size_t n = objects;
    for (size_t i = 0; i < m->items.n; i++)
        if (is_namespace(&m->items.p[i]))
            ret_order[n++] = m->items.p[i];
    wf_assert(n == m->items.n);
    return objects;
}

static int delete_in_parts(struct change *ch)
{
    size_t n = ch->m->items.n;
    struct manifest_item *order = ARENA_ARRAY(&ch->c->arena, struct manifest_item, n);
    size_t objects = order_doomed(ch->m, order);
    int code = CLI_OK;
    for (size_t at = 0, step; at < n && code == CLI_OK; at += step) {
        step = at >= objects                                ? 1 /* namespaces: one a request */
               : objects - at < CLI_DELETE_PART_OBJECTS_MAX ? objects - at
                                                            : CLI_DELETE_PART_OBJECTS_MAX;
        code = run_part(ch, (struct manifest_part){order + at, step});
    }
    return code;
}

int change_run(struct cli *c, const struct manifest *m, const char *verb)
{
    struct err err = {0};
    struct slice how = flags_text(&c->flags, FLAG_DRY_RUN, S("none"));
    struct change ch = {.c = c,
                        .m = m,
                        .verb = verb,
                        .dry = flags_on(&c->flags, FLAG_DRY_RUN) && !slice_eq(how, S("none"))};
    if (!flags_duration(&c->flags, FLAG_WAIT, c->timeout ? c->timeout : CLI_WAIT_TIMEOUT_MS,
                        &ch.wait_timeout, &err))
        return cli_usage(c, &err);
    if (is_deletion(&ch))
        return change_finish(&ch, delete_in_parts(&ch));
    if (slice_eq(how, S("client")))
        return check_files(c, m);
    return change_finish(&ch, run_part(&ch, manifest_all(m)));
}

/* Waiting. */

static void print_rejection(struct cli *c, const struct manifest *m, const json_t *r)
{
    const struct manifest_item *item = NULL;
    size_t i;
    json_t *source;
    json_array_foreach (json_object_get(r, "sources"), i, source) {
        if (m && !item)
            item = manifest_find(m, json_slice(source));
    }
    if (item)
        print_place(c, item, S(""));
    int64_t others = json_int(r, "proxies", 1) - 1;
    fprintf(c->err, "rejected by %.*s", SLICE(json_str(r, "proxy")));
    if (others > 0)
        fprintf(c->err, " and %" PRId64 " more", others);
    fprintf(c->err, ": %.*s %.*s: ", SLICE(json_str(r, "type")), SLICE(json_str(r, "resource")));
    cli_print_text(c->err, json_str(r, "message"));
    json_array_foreach (json_object_get(r, "sources"), i, source)
        fprintf(c->err, "%s%.*s", i ? ", " : " (from ", SLICE(json_slice(source)));
    fputs(i ? ")\n" : "\n", c->err);
}

static void print_behind(struct cli *c, const json_t *answer)
{
    size_t i;
    json_t *name;
    json_array_foreach (json_object_get(answer, "behind"), i, name) {
        fputs(i ? ", " : "; behind: ", c->err);
        cli_print_text(c->err, json_slice(name));
    }
}

static void print_silent(struct cli *c, const json_t *answer)
{
    size_t i;
    json_t *name;
    json_array_foreach (json_object_get(answer, "silent"), i, name) {
        fputs(i ? ", " : "; silent nodes: ", c->err);
        cli_print_text(c->err, json_slice(name));
    }
}

static int wait_failed(struct cli *c, const json_t *answer, const struct manifest *m)
{
    const json_t *rejected = json_object_get(answer, "rejected");
    size_t i;
    json_t *r;
    json_array_foreach (rejected, i, r)
        print_rejection(c, m, r);
    fflush(c->out);
    fprintf(c->err, "error: %s: @%" PRId64 " is live on %" PRId64 "/%" PRId64,
            json_array_size(rejected) ? "rejected" : "timed out", json_int(answer, "revision", 0),
            json_int(answer, "live", 0), json_int(answer, "total", 0));
    if (json_int(answer, "ms", -1) >= 0)
        fprintf(c->err, " after %" PRId64 " ms", json_int(answer, "ms", 0));
    if (json_object_get(answer, "behind"))
        print_behind(c, answer);
    else if (!json_array_size(rejected))
        fputs("; weft proxy-status says which are behind", c->err);
    print_silent(c, answer);
    fputc('\n', c->err);
    return json_array_size(rejected) ? CLI_FAILED : CLI_TIMED_OUT;
}

/* The time is of the commit until the last proxy confirmed; -1 when that was not measured. */
static void print_live(struct cli *c, const char *word, const json_t *answer)
{
    int64_t ms = json_int(answer, "ms", -1);
    fprintf(c->out, "%s%s@%" PRId64 ", live on %" PRId64 "/%" PRId64, word, *word ? " " : "",
            json_int(answer, "revision", 0), json_int(answer, "live", 0),
            json_int(answer, "total", 0));
    if (ms >= 0)
        fprintf(c->out, " in %" PRId64 " ms", ms);
    fputc('\n', c->out);
}

/* The server takes whole seconds, or milliseconds up to a minute. */
static struct slice wait_path(struct cli *c, uint64_t revision, wf_ms timeout)
{
    struct slice rev =
        revision ? arena_printf(&c->arena, "revision=%" PRIu64 "&", revision) : (struct slice){0};
    return timeout % 1000 == 0 || timeout > 60000
               ? arena_printf(&c->arena, "/weft/v1/wait?%.*stimeout=%" PRId64 "s", SLICE(rev),
                              (timeout + 999) / 1000)
               : arena_printf(&c->arena, "/weft/v1/wait?%.*stimeout=%" PRId64 "ms", SLICE(rev),
                              timeout);
}

int change_wait(struct cli *c, uint64_t revision, wf_ms timeout, const char *word,
                const struct manifest *m, json_t **ret_answer)
{
    struct err err = {0};
    struct client_answer a = {0};
    struct client_request r = {.method = S("GET"),
                               .path = wait_path(c, revision, timeout),
                               .any_status = true,
                               .timeout = timeout + CLI_WAIT_GRACE_MS};
    struct client *cl = cli_client(c, &err);
    if (!cl || !client_call(cl, &r, &a, &err))
        return cli_fail(c, &err);
    int64_t live = json_int(a.body, "live", 0), total = json_int(a.body, "total", 0);
    bool rejected = json_array_size(json_object_get(a.body, "rejected")) > 0;
    bool done = a.status == 200 && live == total && !rejected;
    if (done && word)
        print_live(c, word, a.body);
    int code = done ? CLI_OK : wait_failed(c, a.body, m);
    if (ret_answer)
        *ret_answer = a.body;
    else
        json_decref(a.body);
    return code;
}
