#include "cli/cli.h"

#include <string.h>

#include "base/core/hash.h"
#include "base/net/uri.h"
#include "base/wire/json.h"
#include "base/wire/yaml.h"
#include "cli/context.h"
#include "cli/help.h"

/* Failures. */

enum cli_exit cli_exit_of(enum err_code code)
{
    switch (code) {
    case ERR_NONE:
        return CLI_OK;
    case ERR_INVALID:
    case ERR_LIMIT:
        return CLI_BAD_INPUT;
    case ERR_UNAVAILABLE:
        return CLI_UNREACHABLE;
    case ERR_TIMEOUT:
        return CLI_TIMED_OUT;
    default:
        return CLI_FAILED;
    }
}

void cli_print_text(FILE *f, struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char b = (unsigned char)text.p[i];
        bool c1 = b == 0xC2 && i + 1 < text.n && (unsigned char)text.p[i + 1] < 0xA0;
        fputc((b < 0x20 && b != '\n' && b != '\t') || b == 0x7F || c1 ? '?' : b, f);
    }
}

int cli_fail(struct cli *c, const struct err *err)
{
    fflush(c->out);
    fputs("error: ", c->err);
    cli_print_text(c->err, slice_of(err->msg));
    fputc('\n', c->err);
    return (int)cli_exit_of(err->code);
}

int cli_usage(struct cli *c, const struct err *err)
{
    cli_fail(c, err);
    char title[COMMAND_TITLE];
    struct slice words = command_title(c->flags.command, title);
    fprintf(c->err, "See \"weft %s%s--help\".\n", words.p, words.n ? " " : "");
    return CLI_USAGE;
}

/* What the flags and the environment say. */

static struct slice otherwise(const char *value, struct slice fallback)
{
    return value && *value ? slice_of(value) : fallback;
}

struct slice cli_namespace(const struct cli *c)
{
    if (flags_on(&c->flags, FLAG_ALL_NAMESPACES))
        return (struct slice){0};
    return flags_text(&c->flags, FLAG_NAMESPACE, otherwise(c->world->ns, S("default")));
}

enum cli_output cli_output(const struct cli *c)
{
    struct slice o = flags_text(&c->flags, FLAG_OUTPUT, (struct slice){0});
    if (slice_eq(o, S("wide")))
        return OUTPUT_WIDE;
    if (slice_eq(o, S("json")))
        return OUTPUT_JSON;
    if (slice_eq(o, S("yaml")))
        return OUTPUT_YAML;
    if (slice_eq(o, S("name")))
        return OUTPUT_NAME;
    return slice_starts(o, S("jsonpath=")) ? OUTPUT_JSONPATH : OUTPUT_TABLE;
}

int64_t cli_now_ms(const struct cli *c)
{
    return c->world->now_wall_ms ? c->world->now_wall_ms : env_wall_ms(c->world->env);
}

struct table_style cli_table_style(const struct cli *c)
{
    return (struct table_style){.no_headers = flags_on(&c->flags, FLAG_NO_HEADERS),
                                .colour = c->colour};
}

/* The control plane. */

static void on_warning(void *ctx, struct slice text)
{
    struct cli *c = ctx;
    c->finding = c->finding || slice_contains(text, S("WFT"));
    fputs("Warning: ", c->err);
    cli_print_text(c->err, text);
    fputc('\n', c->err);
}

/* What the history will show: "weft/0.1.0 rollback @41". */
static struct slice user_agent(struct cli *c)
{
    const struct command *cmd = c->flags.command;
    struct slice word = c->flags.word_count ? c->flags.words[0] : (struct slice){0};
    uint64_t revision;
    bool at = slice_starts(word, S("@")) && slice_u64(slice_skip(word, 1), &revision);
    return arena_printf(&c->arena, "weft/" WEFT_VERSION " %s%s%.*s", cmd->name, at ? " " : "",
                        at ? (int)word.n : 0, word.p ? word.p : "");
}

struct slice cli_new_key(struct cli *c)
{
    uint8_t random[16];
    char text[UUID_BYTES];
    env_random(c->world->env, random, sizeof(random));
    uuid_encode(text, random);
    return arena_dup(&c->arena, slice_mem(text, sizeof(text)));
}

struct client *cli_client(struct cli *c, struct err *err)
{
    if (c->client)
        return c->client;
    struct slice addrs = otherwise(c->world->addr, S(CLI_ADDR_DEFAULT));
    c->client =
        client_new(&(struct client_options){.env = c->world->env,
                                            .addrs = flags_text(&c->flags, FLAG_SERVER, addrs),
                                            .timeout = c->timeout ? c->timeout : CLI_TIMEOUT_MS,
                                            .agent = user_agent(c),
                                            .on_warning = on_warning,
                                            .ctx = c},
                   err);
    return c->client;
}

json_t *cli_fetch(struct cli *c, struct slice path, struct err *err)
{
    json_t *body = NULL;
    struct client *cl = cli_client(c, err);
    return cl && client_get(cl, path, CLIENT_OBJECT, &body, err) ? body : NULL;
}

struct slice cli_path(struct cli *c, const struct kind *k, struct slice ns, struct slice name)
{
    struct arena *a = &c->arena;
    struct slice root = *k->group ? arena_printf(a, "/apis/%s/%s", k->group, k->versions[0])
                                  : arena_printf(a, "/api/%s", k->versions[0]);
    struct slice in = k->namespaced && ns.n
                          ? arena_printf(a, "/namespaces/%.*s", SLICE(uri_encode(ns, a)))
                          : (struct slice){0};
    struct slice item =
        name.n ? arena_printf(a, "/%.*s", SLICE(uri_encode(name, a))) : (struct slice){0};
    return arena_printf(a, "%.*s%.*s/%s%.*s", SLICE(root), SLICE(in), k->plural, SLICE(item));
}

struct slice cli_title(struct cli *c, const struct kind *k, struct slice name)
{
    return arena_printf(&c->arena, "%s%s%s/%.*s", k->singular, *k->group ? "." : "", k->group,
                        SLICE(name));
}

/* Output. */

int cli_print_data(struct cli *c, const json_t *value)
{
    struct buf text = {0};
    struct err err = {0};
    bool ok = cli_output(c) == OUTPUT_YAML ? yaml_write(&text, value, &err)
                                           : json_write_pretty(&text, value, &err);
    struct slice s = buf_slice(&text);
    if (ok) {
        fwrite(s.p, 1, s.n, c->out);
        if (!slice_ends(s, S("\n")))
            fputc('\n', c->out);
    }
    buf_fini(&text);
    return ok ? CLI_OK : cli_fail(c, &err);
}

/* The run. */

static bool colour_wanted(const struct cli *c)
{
    struct slice when = flags_text(&c->flags, FLAG_COLOR, S("auto"));
    return slice_eq(when, S("always")) || (slice_eq(when, S("auto")) && c->world->colour);
}

static int run_command(struct cli *c)
{
    struct err err = {0};
    const struct command *cmd = c->flags.command;
    if (flags_on(&c->flags, FLAG_VERSION)) {
        fputs("weft " WEFT_VERSION "\n", c->out);
        return CLI_OK;
    }
    if (flags_on(&c->flags, FLAG_HELP) || cmd == &command_root) {
        help_print(cmd, c->out);
        return CLI_OK;
    }
    if (!cmd->run) {
        err_set(&err, ERR_INVALID, "\"%s\" needs %s", cmd->name, cmd->args);
        return cli_usage(c, &err);
    }
    if (!flags_duration(&c->flags, FLAG_TIMEOUT, 0, &c->timeout, &err))
        return cli_usage(c, &err);
    c->colour = colour_wanted(c);
    return cmd->run(c);
}

int cli_run(const struct cli_world *world, int argc, const char *const *argv)
{
    struct cli c = {.world = world, .out = world->out, .err = world->err};
    struct err err = {0};
    int code =
        flags_parse(&c.flags, &c.arena, argc, argv, &err) ? run_command(&c) : cli_usage(&c, &err);
    client_free(c.client);
    arena_fini(&c.arena);
    if (fflush(world->out) != 0 && code == CLI_OK)
        code = CLI_FAILED;
    return code;
}
