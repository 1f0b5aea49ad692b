/* The one table of commands and flags: parsing, help, the manual page and completion all read it,
 * so that none of them can know a flag that the others do not.
 *
 *   const struct command *get = command_find(&command_root, S("get"));
 *   COMMAND_EACH_FLAG(get, f) printf("--%s\n", f->name);
 */
#ifndef WEFT_CLI_COMMAND_H
#define WEFT_CLI_COMMAND_H

#include "base/core/assert.h"
#include "base/core/slice.h"

struct cli;

enum flag_kind {
    FLAG_SWITCH, /* --watch, --watch=false */
    FLAG_TEXT,   /* --output yaml, --output=yaml, -o yaml, -oyaml */
    FLAG_TEXTS,  /* the same, may be given again */
    FLAG_MAYBE,  /* --wait, --wait=10s: the value only behind "=" */
};

enum flag_id {
    FLAG_HELP,
    FLAG_VERSION,
    FLAG_SERVER,
    FLAG_NAMESPACE,
    FLAG_TIMEOUT,
    FLAG_COLOR,
    FLAG_ALL_NAMESPACES,
    FLAG_OUTPUT,
    FLAG_SELECTOR,
    FLAG_FILENAME,
    FLAG_RECURSIVE,
    FLAG_WATCH,
    FLAG_WATCH_EVENTS,
    FLAG_SHOW_LABELS,
    FLAG_LABEL_COLUMNS,
    FLAG_NO_HEADERS,
    FLAG_SORT_BY,
    FLAG_WAIT,
    FLAG_DRY_RUN,
    FLAG_VALIDATE,
    FLAG_FAIL_ON,
    FLAG_ALL,
    FLAG_IGNORE_NOT_FOUND,
    FLAG_FOR,
    FLAG_CLIENT,
    FLAG_FQDN,
    FLAG_PORT,
    FLAG_DIRECTION,
    FLAG_SUBSET,
    FLAG_NAME,
    FLAG_CONSISTENCY,
    FLAG_MAX_STALENESS,
    FLAG_LIMIT,
    FLAG_SHOW_STATUS,
    FLAG_YES,
    FLAG_MEMBER_ID,
    FLAG_TTL,
    FLAG_ID_COUNT,
};
#define FLAG_BIT(id) (UINT64_C(1) << (id))
static_assert(FLAG_ID_COUNT <= 64, "a command's flags are bits");

struct flag {
    char letter; /* 0 = none */
    const char *name;
    enum flag_kind kind;
    const char *value;          /* name of the value in help: "FORMAT" */
    const char *const *choices; /* NULL-terminated; NULL = any value */
    const char *about;          /* one sentence */
};

/* By flag_id. */
extern const struct flag flags_known[FLAG_ID_COUNT];
/* Every command has them. */
extern const uint64_t flags_global;

/* What the words behind a command are, for completion. */
enum command_words {
    WORDS_NONE,
    WORDS_OBJECTS, /* KIND [NAME…], KIND/NAME */
    WORDS_PROXY,
    WORDS_POSITION, /* @N, then or instead KIND/NAME */
    WORDS_COMMANDS,
    WORDS_FIELD, /* KIND[.FIELD…] */
    WORDS_MEMBER,
};

struct command_example {
    const char *line, *about;
};

#define COMMAND_ALIASES_MAX 4
#define COMMAND_EXAMPLES_MAX 6
#define COMMAND_WORDS_ANY 0xFFFFu

struct command {
    const char *name;
    const char *aliases[COMMAND_ALIASES_MAX];
    const char *group; /* heading in help; NULL = not shown */
    const char *args;  /* "KIND [NAME…]" */
    const char *about; /* one sentence, no full stop */
    const char *text;  /* paragraphs of the manual, separated by an empty line; may be NULL */
    struct command_example examples[COMMAND_EXAMPLES_MAX];
    uint64_t flags;
    unsigned words_min, words_max;
    enum command_words words;
    const struct command *subs;
    size_t sub_count;
    int (*run)(struct cli *c); /* NULL: only its subs run */
};

extern const struct command command_root;

#define COMMAND_TITLE 128
/* "operator raft list": the words that lead to it; "" for the root. NUL-terminated in dst. */
struct slice command_title(const struct command *cmd, char dst[COMMAND_TITLE]);
/* The sub-command of that name or alias, or NULL. */
const struct command *command_find(const struct command *parent, struct slice word);
/* The nearest name in the table; empty when none is near. */
struct slice command_suggest(const struct command *parent, struct slice word);
/* Does the command take the flag? */
bool command_takes(const struct command *cmd, enum flag_id id);
/* By long name or letter; FLAG_ID_COUNT when the command has no such flag. */
enum flag_id command_flag(const struct command *cmd, struct slice name);
enum flag_id command_flag_letter(const struct command *cmd, char letter);
struct slice command_flag_suggest(const struct command *cmd, struct slice name);

/* The values that a command's flag may have, NULL-terminated; NULL = any. One that ends in "="
 * takes what stands behind it. */
const char *const *command_flag_choices(const struct command *cmd, enum flag_id id);

/* The commands themselves: cmd_*.c. Each returns the exit code. */
int cmd_apply(struct cli *c);
int cmd_create(struct cli *c);
int cmd_get(struct cli *c);
int cmd_describe(struct cli *c);
int cmd_delete(struct cli *c);
int cmd_diff(struct cli *c);
int cmd_history(struct cli *c);
int cmd_rollback(struct cli *c);
int cmd_wait(struct cli *c);
int cmd_status(struct cli *c);
int cmd_members(struct cli *c);
int cmd_raft_add(struct cli *c);
int cmd_raft_promote(struct cli *c);
int cmd_raft_remove(struct cli *c);
int cmd_raft_lead(struct cli *c);
int cmd_raft_transfer(struct cli *c);
int cmd_token_create(struct cli *c);
int cmd_token_list(struct cli *c);
int cmd_token_revoke(struct cli *c);
int cmd_snapshot_save(struct cli *c);
int cmd_snapshot_inspect(struct cli *c);
int cmd_snapshot_restore(struct cli *c);
int cmd_proxy_status(struct cli *c);
int cmd_proxy_clusters(struct cli *c);
int cmd_proxy_endpoints(struct cli *c);
int cmd_proxy_listeners(struct cli *c);
int cmd_proxy_routes(struct cli *c);
int cmd_proxy_all(struct cli *c);
int cmd_explain(struct cli *c);
int cmd_version(struct cli *c);
int cmd_completion_bash(struct cli *c);
int cmd_completion_zsh(struct cli *c);
int cmd_completion_fish(struct cli *c);
int cmd_complete(struct cli *c);
int cmd_help(struct cli *c);
int cmd_man(struct cli *c);

#endif
