#include "cli/complete.h"

#include <stdio.h>
#include <string.h>

#include "base/wire/json.h"
#include "cli/context.h"
#include "cli/mesh.h"
#include "cli/target.h"

/* From the tables. */

static void offer(struct complete *o, struct arena *arena, struct slice word)
{
    if (!slice_starts(word, o->prefix) || o->candidates.n == COMPLETE_CANDIDATES_MAX)
        return;
    *vec_push(&o->candidates) =
        o->before.n ? arena_concat(arena, o->before, word) : arena_dup(arena, word);
}

static void offer_commands(struct complete *o, struct arena *arena, const struct command *parent)
{
    for (size_t i = 0; i < parent->sub_count; i++)
        if (parent->subs[i].group)
            offer(o, arena, slice_of(parent->subs[i].name));
}

static void offer_flags(struct complete *o, struct arena *arena, const struct command *cmd)
{
    for (unsigned id = 0; id < FLAG_ID_COUNT; id++) {
        const struct flag *f = &flags_known[id];
        if (command_takes(cmd, id))
            offer(o, arena, arena_printf(arena, "--%s", f->name));
    }
}

static void offer_kinds(struct complete *o, struct arena *arena)
{
    for (size_t i = 0; i < KIND_COUNT; i++)
        offer(o, arena, slice_of(kinds[i].plural));
    offer(o, arena, S("proxies"));
    offer(o, arena, S("members"));
}

static void offer_value(struct complete *o, struct arena *arena, const struct command *cmd,
                        enum flag_id id)
{
    const char *const *choices = command_flag_choices(cmd, id);
    for (size_t i = 0; choices && choices[i]; i++)
        offer(o, arena, slice_of(choices[i]));
    if (id == FLAG_FILENAME)
        o->need = COMPLETE_FILES;
    if (id == FLAG_NAMESPACE)
        o->need = COMPLETE_NAMESPACES;
}

/* The flag whose value the last word is, because the word before it is a flag that wants one. */
static enum flag_id wanting_flag(const struct command *cmd, struct slice word)
{
    enum flag_id id = FLAG_ID_COUNT;
    if (slice_starts(word, S("--")))
        id = slice_find(word, '=') == SIZE_MAX ? command_flag(cmd, slice_skip(word, 2)) : id;
    else if (word.n == 2 && word.p[0] == '-')
        id = command_flag_letter(cmd, word.p[1]);
    bool wants = id != FLAG_ID_COUNT &&
                 (flags_known[id].kind == FLAG_TEXT || flags_known[id].kind == FLAG_TEXTS);
    return wants ? id : FLAG_ID_COUNT;
}

/* A revision comes before the objects: "rollback @41 vs". */
static void complete_object(struct complete *o, struct arena *arena, const struct flags *all)
{
    struct slice kind, name;
    bool at = all->word_count > 0 && slice_starts(all->words[0], S("@"));
    const struct flags *f =
        &(struct flags){.words = all->words + at, .word_count = all->word_count - at};
    if (slice_cut(o->prefix, '/', &kind, &name)) {
        o->need = COMPLETE_OBJECTS;
        o->kind = kind;
        o->before = arena_printf(arena, "%.*s/", SLICE(kind));
        o->prefix = name;
    } else if (f->word_count == 0) {
        offer_kinds(o, arena);
    } else if (slice_find(f->words[0], '/') == SIZE_MAX) {
        o->need = COMPLETE_OBJECTS;
        o->kind = f->words[0];
    }
}

/* The path of help: commands below commands. */
static void complete_command_words(struct complete *o, struct arena *arena, const struct flags *f)
{
    const struct command *cmd = &command_root;
    for (size_t i = 0; i < f->word_count && cmd; i++)
        cmd = command_find(cmd, f->words[i]);
    if (cmd)
        offer_commands(o, arena, cmd);
}

static void complete_word(struct complete *o, struct arena *arena, const struct flags *f)
{
    const struct command *cmd = f->command;
    if (cmd->sub_count && f->word_count == 0)
        offer_commands(o, arena, cmd);
    switch (cmd->words) {
    case WORDS_POSITION:
    case WORDS_OBJECTS:
        complete_object(o, arena, f);
        break;
    case WORDS_PROXY:
        if (f->word_count == 0)
            o->need = COMPLETE_PROXIES;
        break;
    case WORDS_COMMANDS:
        complete_command_words(o, arena, f);
        break;
    case WORDS_FIELD:
        offer_kinds(o, arena);
        break;
    case WORDS_MEMBER:
        if (f->word_count == 0) {
            o->need = COMPLETE_OBJECTS;
            o->kind = S("members");
        }
        break;
    case WORDS_NONE:
        break;
    }
}

/* "--output=js": the value of a flag in the word itself. */
static bool complete_equals(struct complete *o, struct arena *arena, const struct command *cmd)
{
    struct slice flag, value;
    if (!slice_starts(o->prefix, S("--")) || !slice_cut(o->prefix, '=', &flag, &value))
        return false;
    enum flag_id id = command_flag(cmd, slice_skip(flag, 2));
    o->before = arena_printf(arena, "%.*s=", SLICE(flag));
    o->prefix = value;
    if (id != FLAG_ID_COUNT)
        offer_value(o, arena, cmd, id);
    return true;
}

void complete_words(struct complete *out, struct arena *arena, size_t n, const struct slice *words)
{
    struct flags f;
    *out = (struct complete){.prefix = n ? words[n - 1] : (struct slice){0}};
    flags_parse_loose(&f, arena, n ? n - 1 : 0, words);
    enum flag_id wanting = n > 1 ? wanting_flag(f.command, words[n - 2]) : FLAG_ID_COUNT;
    if (wanting != FLAG_ID_COUNT)
        offer_value(out, arena, f.command, wanting);
    else if (complete_equals(out, arena, f.command))
        return;
    else if (slice_starts(out->prefix, S("-")))
        offer_flags(out, arena, f.command);
    else
        complete_word(out, arena, &f);
}

void complete_fini(struct complete *out)
{
    vec_fini(&out->candidates);
}

/* From the control plane. */

static void offer_names(struct complete *o, struct arena *arena, const json_t *list,
                        const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach (json_object_get(list, "items"), i, item)
        offer(o, arena, json_str(item, name));
}

/* A failure offers nothing: a shell that prints errors in the middle of a line helps nobody. */
static void offer_live(struct cli *c, struct complete *o)
{
    struct err err = {0};
    const struct kind *k =
        o->need == COMPLETE_NAMESPACES ? &kinds[KIND_NAMESPACE] : kind_guess(o->kind);
    bool proxies = o->need == COMPLETE_PROXIES || slice_starts(o->kind, S("prox"));
    bool members = slice_starts(o->kind, S("member"));
    json_t *list = NULL;
    if (o->need == COMPLETE_DONE || o->need == COMPLETE_FILES)
        return;
    if (proxies || members)
        list = mesh_fetch(c, proxies, (struct slice){0}, &err);
    else if (k)
        list = cli_fetch(
            c, target_list_path(c, k, k->namespaced ? cli_namespace(c) : (struct slice){0}), &err);
    offer_names(o, &c->arena, list, proxies || members ? "name" : "metadata.name");
    json_decref(list);
}

/* The flags that the line has so far say where to ask. */
static void adopt_flags(struct cli *c, size_t n, const struct slice *words)
{
    struct flags f;
    flags_parse_loose(&f, &c->arena, n, words);
    c->flags.values[FLAG_SERVER] = f.values[FLAG_SERVER];
    c->flags.values[FLAG_NAMESPACE] = f.values[FLAG_NAMESPACE];
}

#define COMPLETE_TIMEOUT_MS 1500

int cmd_complete(struct cli *c)
{
    struct complete o;
    size_t n = c->flags.word_count;
    complete_words(&o, &c->arena, n, c->flags.words);
    adopt_flags(c, n ? n - 1 : 0, c->flags.words);
    c->timeout = COMPLETE_TIMEOUT_MS;
    offer_live(c, &o);
    if (o.need == COMPLETE_FILES)
        fputs(":files\n", c->out);
    for (size_t i = 0; i < o.candidates.n; i++) {
        cli_print_text(c->out, o.candidates.p[i]);
        fputc('\n', c->out);
    }
    complete_fini(&o);
    return CLI_OK;
}

/* The scripts. */

int cmd_completion_bash(struct cli *c)
{
    fputs("# weft completion for bash: source <(weft completion bash)\n"
          "_weft() {\n"
          "    local cur words out IFS=$'\\n'\n"
          "    words=(\"${COMP_WORDS[@]:1:COMP_CWORD}\")\n"
          "    cur=${COMP_WORDS[COMP_CWORD]}\n"
          "    # bash cuts words at \"=\": put --flag = value together again\n"
          "    local n=${#words[@]}\n"
          "    if ((n >= 2)) && [[ ${words[n-1]} == = ]]; then\n"
          "        words=(\"${words[@]:0:n-2}\" \"${words[n-2]}=\"); cur=\n"
          "    elif ((n >= 3)) && [[ ${words[n-2]} == = ]]; then\n"
          "        words=(\"${words[@]:0:n-3}\" \"${words[n-3]}=${words[n-1]}\")\n"
          "    fi\n"
          "    out=$(weft __complete -- \"${words[@]}\" 2>/dev/null) || return\n"
          "    if [[ $out == :files* ]]; then\n"
          "        compopt -o filenames\n"
          "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
          "        return\n"
          "    fi\n"
          "    COMPREPLY=($out)\n"
          "    [[ ${words[-1]} == --*=* ]] && COMPREPLY=(\"${COMPREPLY[@]#*=}\")\n"
          "    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n"
          "    return 0\n"
          "}\n"
          "complete -F _weft weft\n",
          c->out);
    return CLI_OK;
}

int cmd_completion_zsh(struct cli *c)
{
    fputs("#compdef weft\n"
          "# weft completion for zsh: source <(weft completion zsh)\n"
          "_weft() {\n"
          "    local -a out\n"
          "    out=(\"${(@f)$(weft __complete -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\")\n"
          "    if [[ ${out[1]} == :files ]]; then\n"
          "        _files\n"
          "    else\n"
          "        compadd -- ${out:#}\n"
          "    fi\n"
          "}\n"
          "compdef _weft weft\n",
          c->out);
    return CLI_OK;
}

int cmd_completion_fish(struct cli *c)
{
    fputs("# weft completion for fish: weft completion fish | source\n"
          "function __weft_complete\n"
          "    set -l words (commandline -opc) (commandline -ct)\n"
          "    set -l out (weft __complete -- $words[2..-1] 2>/dev/null)\n"
          "    if test \"$out[1]\" = :files\n"
          "        __fish_complete_path (commandline -ct)\n"
          "    else\n"
          "        printf '%s\\n' $out\n"
          "    end\n"
          "end\n"
          "complete -c weft -f -a '(__weft_complete)'\n",
          c->out);
    return CLI_OK;
}
