#include "cli/change.h"

#include <inttypes.h>
#include <string.h>

#include "base/wire/json.h"

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
static void print_problem(struct cli *c, const struct manifest *m, struct slice field,
                          struct slice message)
{
    size_t index;
    struct slice rest;
    if (manifest_place(m, field, &index, &rest)) {
        if (slice_starts(rest, S("object.")))
            rest = slice_skip(rest, sizeof("object.") - 1);
        print_place(c, &m->items.p[index], rest);
        field = rest;
    }
    fprintf(c->err, "%.*s%s", SLICE(field), field.n ? ": " : "");
    cli_print_text(c->err, message);
    fputc('\n', c->err);
}

static size_t print_causes(struct cli *c, const struct manifest *m, const json_t *causes,
                           bool *ret_finding)
{
    size_t i;
    json_t *cause;
    json_array_foreach (causes, i, cause) {
        struct slice message = json_str(cause, "message");
        print_problem(c, m, json_str(cause, "field"), message);
        *ret_finding = *ret_finding || is_finding(message);
    }
    return json_array_size(causes);
}

/* The message itself begins with the item: "items[2].object: …", "items[2]: …". */
static bool print_item_message(struct cli *c, const struct manifest *m, const struct err *err)
{
    struct slice field, message, text = slice_of(err->msg), rest;
    size_t index;
    if (!manifest_place(m, text, &index, &rest) || !slice_cut(text, ':', &field, &message))
        return false;
    if (slice_ends(field, S(".object")))
        field.n -= sizeof(".object") - 1;
    if (slice_eq(m->items.p[index].file, S(MANIFEST_ARGUMENTS))) {
        print_problem(c, m, S("error"), slice_trim(message));
        return true;
    }
    print_problem(c, m, field, slice_trim(message));
    return true;
}

static int refused(struct cli *c, const struct manifest *m, const struct err *err)
{
    bool finding = false;
    const json_t *status = c->client ? client_status(c->client) : NULL;
    size_t causes = print_causes(c, m, json_at(status, "details.causes"), &finding);
    if (causes == 0 && !print_item_message(c, m, err))
        return cli_fail(c, err);
    if (causes == 0 && slice_eq(m->items.p[0].file, S(MANIFEST_ARGUMENTS)))
        return (int)cli_exit_of(err->code);
    fprintf(c->err, "error: refused, nothing was changed\n");
    return finding ? (int)CLI_FINDINGS : (int)cli_exit_of(err->code);
}

/* The batch. */

static json_t *batch_body(const struct manifest *m, const char *verb)
{
    json_t *items = json_array();
    for (size_t i = 0; i < m->items.n; i++)
        json_array_append_new(items,
                              json_pack("{s:s,s:O}", "verb", verb, "object", m->items.p[i].object));
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
static void print_warnings(struct cli *c, const struct manifest *m, const json_t *answer,
                           bool *ret_finding)
{
    size_t i, index;
    json_t *w;
    struct slice rest, field, message;
    json_array_foreach (json_object_get(answer, "warnings"), i, w) {
        struct slice text = json_slice(w);
        fputs("Warning: ", c->err);
        if (!slice_cut(text, ':', &field, &message) || !manifest_place(m, field, &index, &rest))
            print_problem(c, m, (struct slice){0}, text);
        else
            print_problem(c, m, field, slice_trim(message));
        *ret_finding = *ret_finding || slice_contains(text, S("WFT"));
    }
}

static bool send_batch(struct cli *c, const struct manifest *m, const char *verb, bool dry,
                       json_t **ret_answer, struct err *err)
{
    struct client *cl = cli_client(c, err);
    if (!cl)
        return false;
    struct client_answer a = {0};
    struct client_request r = {.method = S("POST"),
                               .path = batch_path(c, dry),
                               .body = batch_body(m, verb),
                               .quiet = true,
                               .repeatable = dry || strcmp(verb, "apply") == 0};
    bool ok = client_call(cl, &r, &a, err);
    json_decref((json_t *)(uintptr_t)r.body);
    *ret_answer = a.body;
    return ok && (a.body || err_set(err, ERR_INTERNAL, "the control plane answered with nothing"));
}

static bool send_and_report(struct cli *c, const struct manifest *m, const char *verb, bool dry,
                            json_t **ret_answer, int *ret_code)
{
    struct err err = {0};
    bool finding = false;
    if (!send_batch(c, m, verb, dry, ret_answer, &err)) {
        *ret_code = refused(c, m, &err);
        return false;
    }
    print_warnings(c, m, *ret_answer, &finding);
    if (finding && dry && slice_eq(flags_text(&c->flags, FLAG_FAIL_ON, S("error")), S("warning"))) {
        fputs("error: the analysis warns and --fail-on=warning was given, nothing was changed\n",
              c->err);
        json_decref(*ret_answer);
        *ret_code = CLI_FINDINGS;
        return false;
    }
    return true;
}

bool change_preview(struct cli *c, const struct manifest *m, const char *verb, json_t **ret_answer,
                    int *ret_code)
{
    return send_and_report(c, m, verb, true, ret_answer, ret_code);
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

static int wait_for_answer(struct cli *c, const struct manifest *m, json_t *answer, bool data)
{
    struct err err = {0};
    json_t *waited = NULL;
    wf_ms timeout;
    if (!flags_duration(&c->flags, FLAG_WAIT, c->timeout ? c->timeout : CLI_WAIT_TIMEOUT_MS,
                        &timeout, &err))
        return cli_usage(c, &err);
    int code = change_wait(c, (uint64_t)json_int(answer, "revision", 0), timeout,
                           data ? NULL : common_word(answer), m, &waited);
    if (waited)
        json_object_set_new(answer, "wait", waited);
    return code;
}

static int change_finish(struct cli *c, const struct manifest *m, json_t *answer, bool dry)
{
    enum cli_output output = cli_output(c);
    bool data = output == OUTPUT_JSON || output == OUTPUT_YAML;
    int code = CLI_OK;
    if (!data)
        print_results(c, answer, dry ? " (server dry run)" : "");
    if (!dry && flags_on(&c->flags, FLAG_WAIT))
        code = wait_for_answer(c, m, answer, data || output == OUTPUT_NAME);
    if (data)
        cli_print_data(c, answer);
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
        print_problem(c, m, field, p->message);
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

static int run_part(struct cli *c, const struct manifest *m, const char *verb)
{
    struct slice how = flags_text(&c->flags, FLAG_DRY_RUN, S("none"));
    bool deleting = strcmp(verb, "delete") == 0;
    bool dry = flags_on(&c->flags, FLAG_DRY_RUN) && !slice_eq(how, S("none"));
    json_t *answer = NULL;
    int code;
    if (slice_eq(how, S("client")) && !deleting)
        return check_files(c, m);
    bool careful = slice_eq(flags_text(&c->flags, FLAG_FAIL_ON, S("error")), S("warning"));
    if (careful && !dry) {
        if (!change_preview(c, m, verb, &answer, &code))
            return code;
        json_decref(answer);
    }
    if (!send_and_report(c, m, verb, dry, &answer, &code))
        return code;
    code = change_finish(c, m, answer, dry);
    json_decref(answer);
    return code;
}

/* A deletion may take several revisions: what it has deleted already is what was asked for. */
int change_run(struct cli *c, const struct manifest *m, const char *verb)
{
    int code = CLI_OK;
    if (strcmp(verb, "delete") != 0)
        return run_part(c, m, verb);
    for (size_t at = 0; at < m->items.n && code == CLI_OK; at += CLI_DELETE_PART) {
        struct manifest part = *m; /* borrows everything */
        part.items.p += at;
        part.items.n = m->items.n - at < CLI_DELETE_PART ? m->items.n - at : CLI_DELETE_PART;
        code = run_part(c, &part, verb);
    }
    return code;
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
