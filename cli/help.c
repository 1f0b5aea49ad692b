#include "cli/help.h"

#include <string.h>

#include "cli/context.h"

#define NAME_COLUMN 26 /* width of the left column of help */

static const struct {
    const char *code, *about;
} exits[] = {
    {"0", "Done."},
    {"1", "Failed; of diff: there are differences."},
    {"64", "The command line cannot be understood."},
    {"65", "The control plane refused the input."},
    {"69", "No node of the control plane answers, or there is no quorum."},
    {"75", "Timed out waiting."},
    {"79", "The analysis found something that refuses the change."},
};

static const struct {
    const char *name, *about;
} variables[] = {
    {"WEFT_ADDR", "Nodes of the control plane, host:port, joined by commas; --server overrides it. "
                  "Without both: " CLI_ADDR_DEFAULT "."},
    {"WEFT_NAMESPACE",
     "Namespace of the objects; --namespace overrides it. Without both: default."},
    {"NO_COLOR", "When it is set to anything, output has no colours."},
};

/* Help. */

/* "-o, --output=FORMAT"; both of help and the manual. */
static void flag_spelling(const struct flag *f, struct buf *out)
{
    if (f->letter)
        buf_printf(out, "-%c, ", f->letter);
    buf_printf(out, "--%s", f->name);
    if (f->kind == FLAG_MAYBE)
        buf_printf(out, "[=%s]", f->value);
    else if (f->kind != FLAG_SWITCH)
        buf_printf(out, "=%s", f->value);
}

static void choices_text(const struct command *cmd, enum flag_id id, struct buf *out)
{
    const char *const *choices = command_flag_choices(cmd, id);
    for (size_t i = 0; choices && choices[i]; i++)
        buf_printf(out, "%s%s", i ? ", " : " One of: ", choices[i]);
    if (choices)
        buf_append(out, S("."));
}

static void print_row(FILE *out, struct slice left, struct slice right)
{
    if (left.n + 2 > NAME_COLUMN)
        fprintf(out, "  %.*s\n  %*s%.*s\n", SLICE(left), NAME_COLUMN, "", SLICE(right));
    else
        fprintf(out, "  %-*.*s%.*s\n", NAME_COLUMN, SLICE(left), SLICE(right));
}

static void print_flags(FILE *out, const struct command *cmd, uint64_t which, const char *title)
{
    bool any = false;
    for (unsigned id = 0; id < FLAG_ID_COUNT; id++) {
        if (!(which & FLAG_BIT(id)))
            continue;
        struct buf left = {0}, right = {0};
        flag_spelling(&flags_known[id], &left);
        buf_append(&right, slice_of(flags_known[id].about));
        choices_text(cmd, id, &right);
        if (!any)
            fprintf(out, "\n%s:\n", title);
        any = true;
        print_row(out, buf_slice(&left), buf_slice(&right));
        buf_fini(&left);
        buf_fini(&right);
    }
}

static void print_subs(FILE *out, const struct command *cmd)
{
    const char *group = "";
    for (size_t i = 0; i < cmd->sub_count; i++) {
        const struct command *sub = &cmd->subs[i];
        if (!sub->group)
            continue;
        if (strcmp(group, sub->group) != 0)
            fprintf(out, "\n%s:\n", sub->group);
        group = sub->group;
        struct buf left = {0};
        buf_append(&left, slice_of(sub->name));
        for (size_t j = 0; j < COMMAND_ALIASES_MAX && sub->aliases[j]; j++)
            buf_printf(&left, ", %s", sub->aliases[j]);
        print_row(out, buf_slice(&left), slice_of(sub->about));
        buf_fini(&left);
    }
}

static void print_usage(FILE *out, const struct command *cmd)
{
    char title[COMMAND_TITLE];
    struct slice words = command_title(cmd, title);
    fprintf(out, "Usage: weft%s%s%s%s%s\n", words.n ? " " : "", words.p, cmd->args ? " " : "",
            cmd->args ? cmd->args : "", cmd->flags ? " [FLAGS]" : "");
}

static void print_examples(FILE *out, const struct command *cmd)
{
    for (size_t i = 0; i < COMMAND_EXAMPLES_MAX && cmd->examples[i].line; i++) {
        const struct command_example *e = &cmd->examples[i];
        fprintf(out, "%s  %s%s%s\n", i ? "" : "\nExamples:\n", e->line, e->about ? "    # " : "",
                e->about ? e->about : "");
    }
}

void help_print(const struct command *cmd, FILE *out)
{
    fprintf(out, "%s.\n\n", cmd->about);
    print_usage(out, cmd);
    if (cmd->text)
        fprintf(out, "\n%s\n", cmd->text);
    print_subs(out, cmd);
    print_examples(out, cmd);
    print_flags(out, cmd, cmd->flags, "Flags");
    print_flags(out, cmd, flags_global, "Flags of every command");
    if (cmd == &command_root)
        fputs("\nSee \"weft help COMMAND\", and \"weft man | man -l -\" for the whole manual.\n",
              out);
}

int cmd_help(struct cli *c)
{
    const struct command *cmd = &command_root;
    struct err err = {0};
    for (size_t i = 0; i < c->flags.word_count; i++) {
        struct slice word = c->flags.words[i];
        const struct command *sub = command_find(cmd, word);
        if (!sub) {
            struct slice near = command_suggest(cmd, word);
            err_set(&err, ERR_INVALID, "no command \"%.*s\"%s%.*s%s", SLICE(word),
                    near.n ? ", did you mean \"" : "", SLICE(near), near.n ? "\"?" : "");
            return cli_usage(c, &err);
        }
        cmd = sub;
    }
    help_print(cmd, c->out);
    return CLI_OK;
}

/* The manual page. */

/* Text as roff: "\" and "-" escaped, a line that begins with "." or "'" made harmless. */
static void roff(FILE *out, struct slice s)
{
    bool line_start = true;
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        if (line_start && (ch == '.' || ch == '\''))
            fputs("\\&", out);
        if (ch == '\\')
            fputs("\\e", out);
        else if (ch == '-')
            fputs("\\-", out);
        else
            fputc(ch, out);
        line_start = ch == '\n';
    }
}

/* Paragraphs are separated by empty lines. */
static void roff_text(FILE *out, const char *text)
{
    struct slice rest = slice_of(text), line;
    while (rest.n) {
        slice_cut(rest, '\n', &line, &rest);
        if (line.n == 0) {
            fputs(".PP\n", out);
            continue;
        }
        roff(out, line);
        fputc('\n', out);
    }
}

static void man_flags(FILE *out, const struct command *cmd, uint64_t which)
{
    for (unsigned id = 0; id < FLAG_ID_COUNT; id++) {
        if (!(which & FLAG_BIT(id)))
            continue;
        struct buf spelling = {0}, about = {0};
        flag_spelling(&flags_known[id], &spelling);
        buf_append(&about, slice_of(flags_known[id].about));
        choices_text(cmd, id, &about);
        fputs(".TP\n\\fB", out);
        roff(out, buf_slice(&spelling));
        fputs("\\fR\n", out);
        roff(out, buf_slice(&about));
        fputc('\n', out);
        buf_fini(&spelling);
        buf_fini(&about);
    }
}

static void man_heading(FILE *out, const struct command *cmd)
{
    char title[COMMAND_TITLE];
    fputs(".SS \"weft ", out);
    roff(out, command_title(cmd, title));
    if (cmd->args) {
        fputc(' ', out);
        roff(out, slice_of(cmd->args));
    }
    fputs("\"\n", out);
}

static void man_command(FILE *out, const struct command *cmd)
{
    if (!cmd->group)
        return;
    man_heading(out, cmd);
    roff(out, slice_of(cmd->about));
    fputs(".\n", out);
    for (size_t i = 0; i < COMMAND_ALIASES_MAX && cmd->aliases[i]; i++) {
        fputs(i ? ", " : "Also: ", out);
        roff(out, slice_of(cmd->aliases[i]));
    }
    if (cmd->aliases[0])
        fputs(".\n", out);
    if (cmd->text) {
        fputs(".PP\n", out);
        roff_text(out, cmd->text);
    }
    man_flags(out, cmd, cmd->flags);
    for (size_t i = 0; i < COMMAND_EXAMPLES_MAX && cmd->examples[i].line; i++) {
        fputs(".PP\n.EX\n", out);
        roff(out, slice_of(cmd->examples[i].line));
        fputs("\n.EE\n", out);
    }
    for (size_t i = 0; i < cmd->sub_count; i++)
        man_command(out, &cmd->subs[i]);
}

static void man_row(FILE *out, const char *name, const char *about)
{
    fprintf(out, ".TP\n\\fB%s\\fR\n", name);
    roff(out, slice_of(about));
    fputc('\n', out);
}

void help_print_man(FILE *out)
{
    fputs(".TH WEFT 1 \"\" \"weft " WEFT_VERSION "\" \"weft manual\"\n"
          ".SH NAME\nweft \\- connect, secure, control and observe services\n"
          ".SH SYNOPSIS\n.B weft\n.I COMMAND\n[\\fIFLAGS\\fR]\n"
          ".SH DESCRIPTION\n"
          "The command line of a weft service mesh. It speaks the public API of the control plane\n"
          "and works with any of its nodes. Every accepted change has a revision, written @41.\n"
          ".SH COMMANDS\n",
          out);
    for (size_t i = 0; i < command_root.sub_count; i++)
        man_command(out, &command_root.subs[i]);
    fputs(".SH FLAGS OF EVERY COMMAND\n", out);
    man_flags(out, &command_root, flags_global | command_root.flags);
    fputs(".SH ENVIRONMENT\n", out);
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        man_row(out, variables[i].name, variables[i].about);
    fputs(".SH EXIT STATUS\n", out);
    for (size_t i = 0; i < ARRAY_LEN(exits); i++)
        man_row(out, exits[i].code, exits[i].about);
    fputs("Of diff: 0 when nothing would change, 1 when something would, 2 when that cannot be "
          "said.\n"
          ".SH SEE ALSO\nweftd(8), weft\\-proxy(8), kubectl(1)\n",
          out);
}

int cmd_man(struct cli *c)
{
    help_print_man(c->out);
    return CLI_OK;
}
