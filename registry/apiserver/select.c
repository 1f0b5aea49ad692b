#include "registry/apiserver/select.h"

#include "base/wire/json.h"

static bool bad(struct err *err, struct slice text)
{
    return err_set(err, ERR_INVALID,
                   "selector \"%.*s\": write a=b, a!=b, a in (b,c), a notin (b,c), a or !a",
                   SLICE(text));
}

static struct selector_term *term_add(struct selector *sel, struct err *err)
{
    if (sel->n == SELECTOR_TERMS_MAX) {
        err_set(err, ERR_LIMIT, "selector: more than %d terms", SELECTOR_TERMS_MAX);
        return NULL;
    }
    sel->terms[sel->n] = (struct selector_term){0};
    return &sel->terms[sel->n++];
}

static bool values_parse(struct selector_term *t, struct slice list, struct arena *arena)
{
    t->values = ARENA_ARRAY(arena, struct slice, SELECTOR_VALUES_MAX);
    do {
        if (t->n == SELECTOR_VALUES_MAX)
            return false;
        slice_cut(list, ',', &t->values[t->n], &list);
        t->values[t->n] = slice_trim(t->values[t->n]);
        t->n++;
    } while (list.n);
    return true;
}

/* "a in (b, c)"; the parentheses are in the term. */
static bool set_parse(struct selector_term *t, struct slice term, struct arena *arena)
{
    struct slice head, list, key, word;
    if (!slice_cut(term, '(', &head, &list) || !slice_ends(list, S(")")))
        return false;
    head = slice_trim(head);
    if (!slice_cut(head, ' ', &key, &word))
        return false;
    word = slice_trim(word);
    t->key = slice_trim(key);
    t->op = slice_eq(word, S("notin")) ? SELECT_NOT_IN : SELECT_IN;
    if (t->op == SELECT_IN && !slice_eq(word, S("in")))
        return false;
    return values_parse(t, slice_sub(list, 0, list.n - 1), arena);
}

static bool equal_parse(struct selector_term *t, struct slice term, struct arena *arena)
{
    size_t at = slice_find(term, '=');
    bool negated = at > 0 && term.p[at - 1] == '!';
    struct slice value = slice_skip(term, at + 1);
    if (slice_starts(value, S("=")))
        value = slice_skip(value, 1);
    t->key = slice_trim(slice_sub(term, 0, negated ? at - 1 : at));
    t->op = negated ? SELECT_NOT_IN : SELECT_IN;
    t->n = 1;
    t->values = ARENA_NEW(arena, struct slice);
    t->values[0] = slice_trim(value);
    return true;
}

static bool term_parse(struct selector_term *t, struct slice term, struct arena *arena)
{
    if (slice_find(term, '(') != SIZE_MAX)
        return set_parse(t, term, arena);
    if (slice_find(term, '=') != SIZE_MAX)
        return equal_parse(t, term, arena);
    t->op = slice_starts(term, S("!")) ? SELECT_ABSENT : SELECT_EXISTS;
    t->key = slice_trim(t->op == SELECT_ABSENT ? slice_skip(term, 1) : term);
    return slice_find(t->key, ' ') == SIZE_MAX;
}

/* The next term: a comma inside parentheses does not end it. */
static struct slice term_next(struct slice *rest)
{
    size_t depth = 0, i = 0;
    for (; i < rest->n && (rest->p[i] != ',' || depth); i++)
        depth += rest->p[i] == '(' ? 1 : rest->p[i] == ')' && depth ? SIZE_MAX : 0;
    struct slice term = slice_sub(*rest, 0, i);
    *rest = slice_skip(*rest, i < rest->n ? i + 1 : i);
    return slice_trim(term);
}

bool selector_parse_labels(struct selector *sel, struct slice text, struct arena *arena,
                           struct err *err)
{
    struct slice rest = text;
    while (rest.n) {
        struct slice term = term_next(&rest);
        struct selector_term *t = term_add(sel, err);
        if (!t)
            return false;
        if (!term_parse(t, term, arena) || t->key.n == 0)
            return bad(err, text);
    }
    return true;
}

bool selector_parse_fields(struct selector *sel, struct slice text, struct arena *arena,
                           struct err *err)
{
    struct slice rest = text;
    while (rest.n) {
        struct slice term = term_next(&rest);
        struct selector_term *t = term_add(sel, err);
        if (!t)
            return false;
        if (slice_find(term, '=') == SIZE_MAX || !equal_parse(t, term, arena))
            return bad(err, text);
        t->field = true;
        if (!slice_eq(t->key, S("metadata.name")) && !slice_eq(t->key, S("metadata.namespace")))
            return err_set(
                err, ERR_INVALID,
                "fieldSelector \"%.*s\": only metadata.name and metadata.namespace are known",
                SLICE(text));
    }
    return true;
}

static bool term_match(const struct selector_term *t, const json_t *object)
{
    const json_t *v = t->field ? json_at_slice(object, t->key)
                               : json_get(json_at(object, "metadata.labels"), t->key);
    struct slice value = json_slice(v);
    bool in = false;
    for (size_t i = 0; i < t->n && !in; i++)
        in = v && slice_eq(value, t->values[i]);
    switch (t->op) {
    case SELECT_EXISTS:
        return v != NULL;
    case SELECT_ABSENT:
        return v == NULL;
    case SELECT_IN:
        return in;
    case SELECT_NOT_IN:
        return !in;
    }
    return false;
}

bool selector_match(const struct selector *sel, const json_t *object)
{
    for (size_t i = 0; i < sel->n; i++)
        if (!term_match(&sel->terms[i], object))
            return false;
    return true;
}
