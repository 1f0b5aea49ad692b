/* explain: the fields of a kind, from the same tables that validate them. */
#include "api/schema.h"
#include "cli/target.h"

static const struct schema *element(const struct schema *s)
{
    while (s && (s->type == SCHEMA_LIST || s->type == SCHEMA_MAP) && s->items)
        s = s->items;
    return s;
}

/* "[]Object", "map[string]string", "integer". */
static void print_type(FILE *out, const struct schema *s)
{
    for (; s->items && (s->type == SCHEMA_LIST || s->type == SCHEMA_MAP); s = s->items)
        fputs(s->type == SCHEMA_LIST ? "[]" : "map[string]", out);
    fputs(s->type == SCHEMA_ANY ? "any" : schema_type_name(s->type), out);
}

static void print_values(FILE *out, const struct schema *s)
{
    for (size_t i = 0; s->values && s->values[i]; i++)
        fprintf(out, "%s%s", i ? ", " : " one of: ", s->values[i]);
}

#define DEPTH_MAX 16

static void print_fields(struct cli *c, const struct schema *s, unsigned depth, bool deep)
{
    s = element(s);
    for (size_t i = 0; s && i < s->field_count && depth < DEPTH_MAX; i++) {
        const struct schema_field *f = &s->fields[i];
        fprintf(c->out, "%*s%s\t<", (int)(2 + 2 * depth), "", f->name);
        print_type(c->out, f->schema);
        fprintf(c->out, ">%s", f->required ? " -required-" : "");
        print_values(c->out, f->schema);
        fputc('\n', c->out);
        if (f->about && !deep)
            fprintf(c->out, "%*s%s\n", (int)(4 + 2 * depth), "", f->about);
        if (deep)
            print_fields(c, f->schema, depth + 1, true);
    }
}

static int unknown_field(struct cli *c, const struct kind *k, struct slice path)
{
    struct err err = {0};
    err_set(&err, ERR_INVALID, "%s has no field \"%.*s\"", k->kind, SLICE(path));
    return cli_fail(c, &err);
}

int cmd_explain(struct cli *c)
{
    struct err err = {0};
    struct slice word = c->flags.words[0], head, path;
    struct targets targets = {0};
    slice_cut(word, '.', &head, &path);
    if (!targets_parse(&targets, c, &head, 1, &err))
        return cli_usage(c, &err);
    const struct kind *k = targets.n ? targets.p[0].kind : NULL;
    if (!k) {
        err_set(&err, ERR_INVALID, "%s have no fields: they are not objects",
                target_word(&targets.p[0]));
        return cli_usage(c, &err);
    }
    const struct schema *s = path.n ? schema_at(k->schema, path) : k->schema;
    if (!s)
        return unknown_field(c, k, path);
    fprintf(c->out, "KIND:     %s\nVERSION:  %s\n", k->kind, kind_api_version(k));
    if (path.n) {
        fprintf(c->out, "FIELD:    %.*s <", SLICE(path));
        print_type(c->out, s);
        fputs(">", c->out);
        print_values(c->out, s);
        fputc('\n', c->out);
    }
    if (element(s)->field_count)
        fputs("\nFIELDS:\n", c->out);
    print_fields(c, s, 0, flags_on(&c->flags, FLAG_RECURSIVE));
    return CLI_OK;
}
