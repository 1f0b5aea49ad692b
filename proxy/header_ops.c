#include "proxy/header_ops.h"

#include "mixer/format.h"

static bool is_host(struct slice name)
{
    return slice_eq(name, S(":authority")) || slice_eq(name, S("host"));
}

/* Fields that belong to the codec: changing them would change where a message ends. */
static bool forbidden(struct slice name)
{
    enum header_id id = header_intern(name);
    return slice_starts(name, S(":")) || id == HDR_CONTENT_LENGTH || id == HDR_TRANSFER_ENCODING ||
           id == HDR_CONNECTION || id == HDR_TE || id == HDR_UPGRADE;
}

static bool value_of(const struct header_change *a, struct arena *arena,
                     const struct record *record, struct slice *ret_value)
{
    *ret_value = a->value;
    if (format_has_commands(a->value) && !format_value(a->value, record, arena, ret_value))
        return false;
    *ret_value = slice_trim(*ret_value);
    return header_value_ok(*ret_value);
}

static void change_apply(const struct header_change *a, struct http_head *head, struct arena *arena,
                         const struct record *record)
{
    struct slice value;
    if (!value_of(a, arena, record, &value))
        return;
    if (is_host(a->name)) {
        if (!head->status && a->action != HEADER_ADD_IF_ABSENT && http_authority_ok(value, false))
            head->authority = value;
        return;
    }
    if (forbidden(a->name) || !value.n)
        return;
    bool there = headers_find(&head->headers, a->name) != NULL;
    switch (a->action) {
    case HEADER_APPEND:
        headers_add_name(&head->headers, arena, a->name, value);
        break;
    case HEADER_ADD_IF_ABSENT:
        if (!there)
            headers_add_name(&head->headers, arena, a->name, value);
        break;
    case HEADER_OVERWRITE:
        headers_set_name(&head->headers, arena, a->name, value);
        break;
    case HEADER_OVERWRITE_IF_EXISTS:
        if (there)
            headers_set_name(&head->headers, arena, a->name, value);
        break;
    }
}

void header_changes_apply(const struct header_changes *c, struct http_head *head,
                          struct arena *arena, const struct record *record)
{
    for (size_t i = 0; i < c->remove_count; i++)
        if (!is_host(c->remove[i]) && !forbidden(c->remove[i]))
            headers_del_name(&head->headers, c->remove[i]);
    for (size_t i = 0; i < c->add_count; i++)
        change_apply(&c->add[i], head, arena, record);
}
