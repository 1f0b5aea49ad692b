#include "cli/command.h"

#include <stdio.h>

#include "api/names.h"

bool command_takes(const struct command *cmd, enum flag_id id)
{
    return ((cmd->flags | flags_global) & FLAG_BIT(id)) != 0;
}

static bool named(const struct command *cmd, struct slice word)
{
    if (slice_eq(slice_of(cmd->name), word))
        return true;
    for (size_t i = 0; i < COMMAND_ALIASES_MAX && cmd->aliases[i]; i++)
        if (slice_eq(slice_of(cmd->aliases[i]), word))
            return true;
    return false;
}

const struct command *command_find(const struct command *parent, struct slice word)
{
    for (size_t i = 0; i < parent->sub_count; i++)
        if (named(&parent->subs[i], word))
            return &parent->subs[i];
    return NULL;
}

/* Appends to dst, which holds n bytes; 0: it is not below parent. */
static size_t title_below(const struct command *parent, const struct command *cmd, size_t n,
                          char dst[COMMAND_TITLE])
{
    for (size_t i = 0; i < parent->sub_count; i++) {
        const struct command *sub = &parent->subs[i];
        int more = snprintf(dst + n, COMMAND_TITLE - n, "%s%s", n ? " " : "", sub->name);
        wf_assert(more > 0 && n + (size_t)more < COMMAND_TITLE);
        size_t end = sub == cmd ? n + (size_t)more : title_below(sub, cmd, n + (size_t)more, dst);
        if (end)
            return end;
    }
    return 0;
}

struct slice command_title(const struct command *cmd, char dst[COMMAND_TITLE])
{
    size_t n = cmd == &command_root ? 0 : title_below(&command_root, cmd, 0, dst);
    dst[n] = '\0';
    return slice_mem(dst, n);
}

struct slice command_suggest(const struct command *parent, struct slice word)
{
    struct name_suggest near = {.word = word};
    for (size_t i = 0; i < parent->sub_count; i++) {
        const struct command *cmd = &parent->subs[i];
        if (!cmd->group)
            continue;
        name_suggest_try(&near, slice_of(cmd->name));
        for (size_t j = 0; j < COMMAND_ALIASES_MAX && cmd->aliases[j]; j++)
            name_suggest_try(&near, slice_of(cmd->aliases[j]));
    }
    return near.best;
}

enum flag_id command_flag(const struct command *cmd, struct slice name)
{
    for (unsigned id = 0; id < FLAG_ID_COUNT; id++)
        if (command_takes(cmd, id) && slice_eq(slice_of(flags_known[id].name), name))
            return id;
    return FLAG_ID_COUNT;
}

enum flag_id command_flag_letter(const struct command *cmd, char letter)
{
    for (unsigned id = 0; id < FLAG_ID_COUNT; id++)
        if (command_takes(cmd, id) && flags_known[id].letter == letter)
            return id;
    return FLAG_ID_COUNT;
}

struct slice command_flag_suggest(const struct command *cmd, struct slice name)
{
    struct name_suggest near = {.word = name};
    for (unsigned id = 0; id < FLAG_ID_COUNT; id++)
        if (command_takes(cmd, id))
            name_suggest_try(&near, slice_of(flags_known[id].name));
    return near.best;
}
