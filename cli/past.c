#include "cli/past.h"

#include <inttypes.h>

#include "base/net/uri.h"
#include "base/wire/json.h"
#include "base/wire/yaml.h"
#include "cli/diff.h"

void past_strip(json_t *object)
{
    static const char *const own[] = {"resourceVersion", "generation", "managedFields", "uid",
                                      "creationTimestamp"};
    json_t *meta = json_object_get(object, "metadata");
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        json_object_del(meta, own[i]);
    json_object_del(object, "status");
}

/* The question. */

static bool revision(struct slice word, uint64_t *ret)
{
    return slice_u64(slice_starts(word, S("@")) ? slice_skip(word, 1) : word, ret) && *ret > 0;
}

bool past_range_parse(struct slice word, struct past_range *ret, struct err *err)
{
    size_t dots = slice_find(word, '.');
    struct slice from = slice_sub(word, 0, dots < word.n ? dots : word.n);
    struct slice to = slice_skip(word, from.n);
    struct past_range r = {0};
    bool ok = revision(from, &r.from) && (!to.n || slice_starts(to, S("..")));
    to = slice_skip(to, 2);
    if (!ok || (to.n && !revision(to, &r.to)))
        return err_set(err, ERR_INVALID, "\"%.*s\": @41..@44, or @41 for all since then",
                       SLICE(word));
    *ret = r;
    return true;
}

static struct slice query_part(struct cli *c, const char *name, struct slice value)
{
    return value.n ? arena_printf(&c->arena, "&%s=%.*s", name, SLICE(uri_encode(value, &c->arena)))
                   : (struct slice){0};
}

static struct slice diff_path(struct cli *c, const struct past_range *r, const struct target *t)
{
    const struct kind *k = t ? t->kind : NULL;
    struct arena *a = &c->arena;
    struct slice path = arena_printf(a, "/weft/v1/diff?from=%" PRIu64, r->from);
    if (r->to)
        path = arena_printf(a, "%.*s&to=%" PRIu64, SLICE(path), r->to);
    if (!k)
        return path;
    struct slice ns = k->namespaced ? cli_namespace(c) : (struct slice){0};
    return arena_printf(a, "%.*s&resource=%s%s%s%.*s%.*s", SLICE(path), k->plural,
                        *k->group ? "." : "", k->group, SLICE(query_part(c, "namespace", ns)),
                        SLICE(query_part(c, "name", t->name)));
}

/* The answer. */

static bool take_item(struct past *p, const json_t *in, struct err *err)
{
    json_t *before = json_object_get(in, "before"), *after = json_object_get(in, "after");
    const json_t *any = after ? after : before;
    const struct kind *k = any ? kind_of_object(any, err) : NULL;
    if (!any)
        return err_set(err, ERR_INTERNAL, "the control plane does not say what is different");
    if (!k)
        return err_wrap(err, "the control plane's answer");
    *vec_push(&p->items) = (struct past_item){
        .kind = k,
        .ns = json_str(in, "namespace"),
        .name = json_str(in, "name"),
        .before = before,
        .after = after,
    };
    return true;
}

static bool fetch_one(struct past *p, struct cli *c, const struct target *t, struct err *err)
{
    if (t && t->type != TARGET_KIND)
        return err_set(err, ERR_INVALID, "%s have no revisions: they are not objects",
                       target_word(t));
    json_t *answer = cli_fetch(c, diff_path(c, &p->range, t), err), *in;
    size_t i;
    if (!answer)
        return false;
    json_array_append_new(p->answers, answer);
    if (!p->range.to) /* the others are asked about the same moment */
        p->range.to = (uint64_t)json_int(answer, "to", 0);
    json_array_foreach (json_object_get(answer, "items"), i, in)
        if (!take_item(p, in, err))
            return false;
    return true;
}

/* The revision is kept aside: it would be a difference. */
static void strip_all(struct past *p, struct arena *arena)
{
    for (size_t i = 0; i < p->items.n; i++) {
        struct past_item *it = &p->items.p[i];
        it->after_revision = arena_dup(arena, json_str(it->after, "metadata.resourceVersion"));
        past_strip(it->before);
        past_strip(it->after);
    }
}

bool past_fetch(struct past *p, struct cli *c, const struct past_range *range,
                const struct targets *targets, struct err *err)
{
    *p = (struct past){.range = *range, .answers = json_array()};
    bool ok = targets->n > 0 || fetch_one(p, c, NULL, err);
    for (size_t i = 0; i < targets->n && ok; i++)
        ok = fetch_one(p, c, &targets->p[i], err);
    if (ok)
        strip_all(p, &c->arena);
    else
        past_fini(p);
    return ok;
}

void past_fini(struct past *p)
{
    vec_fini(&p->items);
    json_decref(p->answers);
    *p = (struct past){0};
}

/* Showing. */

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

static bool as_text(const json_t *object, struct buf *out, struct err *err)
{
    return !object || yaml_write(out, object, err);
}

bool past_print(struct cli *c, const struct past_item *item, const struct past_labels *labels,
                bool *ret_differs, struct err *err)
{
    struct buf was = {0}, is = {0}, out = {0};
    struct slice title = arena_printf(&c->arena, "%s%s%s/%.*s%s%.*s", item->kind->plural,
                                      *item->kind->group ? "." : "", item->kind->group,
                                      SLICE(item->ns), item->ns.n ? "/" : "", SLICE(item->name));
    bool ok = as_text(item->before, &was, err) && as_text(item->after, &is, err);
    if (ok && diff_unified(&out, buf_slice(&was), buf_slice(&is),
                           arena_printf(&c->arena, "%.*s/%.*s", SLICE(labels->was), SLICE(title)),
                           arena_printf(&c->arena, "%.*s/%.*s", SLICE(labels->is), SLICE(title)))) {
        *ret_differs = true;
        print_coloured(c, buf_slice(&out));
    }
    buf_fini(&was);
    buf_fini(&is);
    buf_fini(&out);
    return ok;
}
