#include "cli/target.h"

#include <inttypes.h>

#include "api/duration.h"
#include "api/names.h"
#include "base/net/uri.h"
#include "base/wire/json.h"

#define PAGE 500 /* objects of one answer */

static const struct {
    const char *names[4];
    enum target_type type;
} own[] = {
    {{"proxies", "proxy", "px"}, TARGET_PROXIES},
    {{"members", "member"}, TARGET_MEMBERS},
};

const char *target_word(const struct target *t)
{
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (own[i].type == t->type)
            return own[i].names[0];
    return t->kind->plural;
}

static bool own_word(struct slice word, struct target *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        for (size_t j = 0; j < ARRAY_LEN(own[i].names) && own[i].names[j]; j++)
            if (slice_eq_nocase(slice_of(own[i].names[j]), word)) {
                *ret = (struct target){.type = own[i].type};
                return true;
            }
    return false;
}

static bool unknown(struct slice word, struct err *err)
{
    struct name_suggest near = {.word = word};
    for (size_t i = 0; i < KIND_COUNT; i++) {
        name_suggest_try(&near, slice_of(kinds[i].plural));
        name_suggest_try(&near, slice_of(kinds[i].singular));
    }
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        name_suggest_try(&near, slice_of(own[i].names[0]));
    return near.best.n
               ? err_set(err, ERR_INVALID, "there is no kind \"%.*s\", did you mean \"%.*s\"?",
                         SLICE(word), SLICE(near.best))
               : err_set(err, ERR_INVALID, "there is no kind \"%.*s\"", SLICE(word));
}

static bool word_target(struct slice word, struct target *ret, struct err *err)
{
    if (own_word(word, ret))
        return true;
    const struct kind *k = kind_guess(word);
    *ret = (struct target){.kind = k};
    return k || unknown(word, err);
}

static void push(struct targets *t, struct target one, struct slice name)
{
    one.name = name;
    t->p[t->n++] = one;
}

/* "vs,dr" or "all", each with all names. */
static bool parse_kinds(struct targets *t, struct slice word, const struct slice *names,
                        size_t name_n, struct err *err)
{
    struct slice one;
    struct target target;
    while (word.n) {
        slice_cut(word, ',', &one, &word);
        if (!word_target(one, &target, err))
            return false;
        for (size_t i = 0; i < name_n; i++)
            push(t, target, names[i]);
        if (name_n == 0)
            push(t, target, (struct slice){0});
    }
    return true;
}

static void push_all(struct targets *t)
{
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (kinds[i].namespaced)
            push(t, (struct target){.kind = &kinds[i]}, (struct slice){0});
}

static bool parse_slashed(struct targets *t, struct slice word, struct err *err)
{
    struct slice kind, name;
    struct target target;
    if (!slice_cut(word, '/', &kind, &name) || !name.n)
        return err_set(err, ERR_INVALID, "\"%.*s\": KIND/NAME is expected, as the others are",
                       SLICE(word));
    if (!word_target(kind, &target, err))
        return false;
    push(t, target, name);
    return true;
}

bool targets_parse(struct targets *t, struct cli *c, const struct slice *words, size_t n,
                   struct err *err)
{
    size_t kinds_n = 1;
    for (size_t i = 0; n && i < words[0].n; i++)
        kinds_n += words[0].p[i] == ',';
    t->p = ARENA_ARRAY(&c->arena, struct target, kinds_n * (n + 1) + KIND_COUNT);
    t->n = 0;
    if (n == 0)
        return true;
    if (slice_find(words[0], '/') == SIZE_MAX) {
        if (n > 1 || !slice_eq(words[0], S("all")))
            return parse_kinds(t, words[0], words + 1, n - 1, err);
        push_all(t);
        return true;
    }
    for (size_t i = 0; i < n; i++)
        if (!parse_slashed(t, words[i], err))
            return false;
    return true;
}

/* Lists. */

struct slice target_list_path(struct cli *c, const struct kind *k, struct slice ns)
{
    struct slice selector = flags_text(&c->flags, FLAG_SELECTOR, (struct slice){0});
    struct slice query = selector.n ? arena_printf(&c->arena, "&labelSelector=%.*s",
                                                   SLICE(uri_encode(selector, &c->arena)))
                                    : (struct slice){0};
    return arena_printf(&c->arena, "%.*s?limit=%d%.*s%.*s",
                        SLICE(cli_path(c, k, ns, (struct slice){0})), PAGE, SLICE(query),
                        SLICE(c->read_query));
}

/* How fresh, or from when. */

bool target_revision(const struct slice *words, size_t *n, struct slice *ret_at, struct err *err)
{
    uint64_t revision;
    *ret_at = (struct slice){0};
    if (*n == 0 || !slice_starts(words[*n - 1], S("@")))
        return true;
    struct slice word = words[*n - 1], number = slice_skip(word, 1);
    if (!slice_u64(number, &revision) || revision == 0)
        return err_set(err, ERR_INVALID, "\"%.*s\": @ and a revision, as @41", SLICE(word));
    *ret_at = number;
    --*n;
    return true;
}

static bool staleness(struct cli *c, struct slice level, struct slice *ret_query, struct err *err)
{
    struct slice text = flags_text(&c->flags, FLAG_MAX_STALENESS, (struct slice){0});
    bool bounded = slice_eq(level, S("bounded"));
    wf_ms ms = text.n ? duration_ms(text, -1) : 0;
    if (text.n && (!bounded || ms <= 0))
        return err_set(err, ERR_INVALID,
                       bounded ? "--max-staleness=%.*s: a time above zero, 500ms or 5s"
                               : "--max-staleness=%.*s goes with --consistency=bounded",
                       SLICE(text));
    if (bounded && !text.n)
        return err_set(err, ERR_INVALID, "--consistency=bounded needs --max-staleness=TIME");
    if (bounded)
        *ret_query = arena_printf(&c->arena, "&maxStalenessMs=%" PRId64, ms);
    return true;
}

bool target_read_query(struct cli *c, struct slice at, struct err *err)
{
    struct slice level = flags_text(&c->flags, FLAG_CONSISTENCY, (struct slice){0}), bound = {0};
    struct arena *a = &c->arena;
    if (!staleness(c, level, &bound, err))
        return false;
    if (level.n)
        c->read_query = arena_printf(a, "&consistency=%.*s%.*s", SLICE(level), SLICE(bound));
    if (at.n)
        c->read_query = arena_printf(a, "%.*s&resourceVersion=%.*s&resourceVersionMatch=Exact",
                                     SLICE(c->read_query), SLICE(at));
    return true;
}

/* The next page's items behind those that we have. */
static void append_page(json_t *all, json_t *page, const char *key)
{
    json_array_extend(json_object_get(all, key), json_object_get(page, key));
    json_t *meta = json_object_get(page, "metadata");
    if (meta)
        json_object_set(all, "metadata", meta);
}

json_t *target_list(struct cli *c, const struct kind *k, struct slice ns, enum client_form form,
                    struct err *err)
{
    struct slice base = target_list_path(c, k, ns), path = base;
    const char *key = form == CLIENT_TABLE ? "rows" : "items";
    struct client *cl = cli_client(c, err);
    json_t *all = NULL, *page;
    if (!cl)
        return NULL;
    while (client_get(cl, path, form, &page, err)) {
        if (!json_is_array(json_object_get(page, key)))
            json_object_set_new(page, key, json_array());
        if (!all) {
            all = page;
        } else {
            append_page(all, page, key);
            json_decref(page);
        }
        struct slice next = json_str(all, "metadata.continue");
        if (!next.n)
            return all;
        path = arena_printf(&c->arena, "%.*s&continue=%.*s", SLICE(base),
                            SLICE(uri_encode(next, &c->arena)));
    }
    json_decref(all);
    return NULL;
}
