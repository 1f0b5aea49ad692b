/* The tables of command.h. The order is the order of help. */
#include "cli/command.h"
#include "cli/cli.h"

static const char *const get_formats[] = {"wide", "json", "yaml", "name", "jsonpath=", NULL};
static const char *const list_formats[] = {"wide", "json", "yaml", "name", NULL};
static const char *const data_formats[] = {"json", "yaml", NULL};
static const char *const write_formats[] = {"json", "yaml", "name", NULL};
static const char *const colours[] = {"auto", "always", "never", NULL};
static const char *const dry_runs[] = {"none", "server", "client", NULL};
static const char *const validations[] = {"strict", "warn", "ignore", NULL};
static const char *const thresholds[] = {"error", "warning", NULL};
static const char *const consistencies[] = {"local", "bounded", "linearizable", NULL};
static const char *const directions[] = {"inbound", "outbound", NULL};

const struct flag flags_known[FLAG_ID_COUNT] = {
    [FLAG_HELP] = {'h', "help", FLAG_SWITCH, NULL, NULL, "Show help for the command."},
    [FLAG_VERSION] = {0, "version", FLAG_SWITCH, NULL, NULL, "The version of this program."},
    [FLAG_SERVER] = {'s', "server", FLAG_TEXT, "ADDR[,ADDR…]", NULL,
                     "Nodes to ask, tried in order (WEFT_ADDR)."},
    [FLAG_NAMESPACE] = {'n', "namespace", FLAG_TEXT, "NAME", NULL,
                        "Namespace of the objects (WEFT_NAMESPACE)."},
    [FLAG_TIMEOUT] = {0, "timeout", FLAG_TEXT, "TIME", NULL,
                      "How long to wait for the answer, or for what is waited for: 10s, 1m30s."},
    [FLAG_COLOR] = {0, "color", FLAG_TEXT, "WHEN", colours,
                    "Colour states: on terminals, unless NO_COLOR is set."},
    [FLAG_ALL_NAMESPACES] = {'A', "all-namespaces", FLAG_SWITCH, NULL, NULL,
                             "Objects of all namespaces."},
    [FLAG_OUTPUT] = {'o', "output", FLAG_TEXT, "FORMAT", NULL, "Form of the output."},
    [FLAG_SELECTOR] = {'l', "selector", FLAG_TEXT, "QUERY", NULL,
                       "Only objects with these labels: app=reviews,version in (v1,v2)."},
    [FLAG_FILENAME] = {'f', "filename", FLAG_TEXTS, "FILE", NULL,
                       "File or folder of YAML or JSON; - is standard input."},
    [FLAG_RECURSIVE] = {'R', "recursive", FLAG_SWITCH, NULL, NULL, "Folders below folders too."},
    [FLAG_WATCH] = {'w', "watch", FLAG_SWITCH, NULL, NULL,
                    "Go on with what changes, until interrupted."},
    [FLAG_WATCH_EVENTS] = {0, "output-watch-events", FLAG_SWITCH, NULL, NULL,
                           "With --watch: say whether it was ADDED, MODIFIED or DELETED."},
    [FLAG_SHOW_LABELS] = {0, "show-labels", FLAG_SWITCH, NULL, NULL, "Labels as the last column."},
    [FLAG_LABEL_COLUMNS] = {'L', "label-columns", FLAG_TEXTS, "KEY[,KEY…]", NULL,
                            "A column for each of these labels."},
    [FLAG_NO_HEADERS] = {0, "no-headers", FLAG_SWITCH, NULL, NULL, "No line of column titles."},
    [FLAG_SORT_BY] = {0, "sort-by", FLAG_TEXT, "PATH", NULL,
                      "Sort by a field (.metadata.creationTimestamp) instead of by name."},
    [FLAG_WAIT] = {0, "wait", FLAG_MAYBE, "TIME", NULL,
                   "Return when the change is live on every proxy, at most after TIME (30s)."},
    [FLAG_DRY_RUN] = {0, "dry-run", FLAG_MAYBE, "HOW", dry_runs,
                      "Change nothing: server checks it against what is there (the default), "
                      "client only the files."},
    [FLAG_VALIDATE] = {0, "validate", FLAG_TEXT, "HOW", validations,
                       "Unknown fields: strict refuses them (the default), warn, ignore."},
    [FLAG_FAIL_ON] = {0, "fail-on", FLAG_TEXT, "LEVEL", thresholds,
                      "The finding of the analysis that refuses the change: error (the default)."},
    [FLAG_ALL] = {0, "all", FLAG_SWITCH, NULL, NULL, "All objects of the kind in the namespace."},
    [FLAG_IGNORE_NOT_FOUND] = {0, "ignore-not-found", FLAG_SWITCH, NULL, NULL,
                               "What is not there is no failure."},
    [FLAG_FOR] = {0, "for", FLAG_TEXT, "WHAT", NULL, "condition=NAME[=STATUS], delete or create."},
    [FLAG_CLIENT] = {0, "client", FLAG_SWITCH, NULL, NULL, "The version of this program only."},
    [FLAG_FQDN] = {0, "fqdn", FLAG_TEXT, "HOST", NULL, "Only of this service."},
    [FLAG_PORT] = {0, "port", FLAG_TEXT, "PORT", NULL, "Only of this port."},
    [FLAG_DIRECTION] = {0, "direction", FLAG_TEXT, "WAY", directions, "Only inbound or outbound."},
    [FLAG_SUBSET] = {0, "subset", FLAG_TEXT, "NAME", NULL, "Only of this subset."},
    [FLAG_NAME] = {0, "name", FLAG_TEXT, "NAME", NULL, "Only the resource of this name."},
    [FLAG_CONSISTENCY] = {0, "consistency", FLAG_TEXT, "LEVEL", consistencies,
                          "How new it must be: what the asked node has (local, the default), no "
                          "older than --max-staleness, or everything committed so far."},
    [FLAG_MAX_STALENESS] = {0, "max-staleness", FLAG_TEXT, "TIME", NULL,
                            "With --consistency=bounded: the age that is allowed, 500ms or 5s."},
    [FLAG_LIMIT] = {0, "limit", FLAG_TEXT, "N", NULL, "The newest N (20), at most 1000."},
    [FLAG_SHOW_STATUS] = {0, "show-status", FLAG_SWITCH, NULL, NULL,
                          "Also what changed nothing but the status."},
    [FLAG_YES] = {'y', "yes", FLAG_SWITCH, NULL, NULL, "Do not ask."},
    [FLAG_MEMBER_ID] = {0, "id", FLAG_TEXT, "ID", NULL,
                        "Of the new member, as its certificate says it; otherwise random."},
};

const uint64_t flags_global = FLAG_BIT(FLAG_HELP) | FLAG_BIT(FLAG_SERVER) |
                              FLAG_BIT(FLAG_NAMESPACE) | FLAG_BIT(FLAG_TIMEOUT) |
                              FLAG_BIT(FLAG_COLOR);

#define FILES (FLAG_BIT(FLAG_FILENAME) | FLAG_BIT(FLAG_RECURSIVE))
#define WRITING                                                                                    \
    (FLAG_BIT(FLAG_OUTPUT) | FLAG_BIT(FLAG_WAIT) | FLAG_BIT(FLAG_DRY_RUN) | FLAG_BIT(FLAG_FAIL_ON))
#define LISTING (FLAG_BIT(FLAG_OUTPUT) | FLAG_BIT(FLAG_NO_HEADERS))
#define PROXY_CONFIG LISTING

const char *const *command_flag_choices(const struct command *cmd, enum flag_id id)
{
    if (id != FLAG_OUTPUT)
        return flags_known[id].choices;
    if (cmd->run == cmd_get)
        return get_formats;
    if (cmd->flags & FLAG_BIT(FLAG_DRY_RUN))
        return write_formats;
    return cmd->flags & FLAG_BIT(FLAG_NO_HEADERS) ? list_formats : data_formats;
}

#define SEE "See"
#define CHANGE "Change"
#define DEBUG "Debug"
#define OPERATE "Operate"
#define OTHER "Other"

static const struct command raft_subs[] = {
    {.name = "list",
     .aliases = {"list-peers"},
     .group = OPERATE,
     .about = "The nodes, their votes and how far they are",
     .flags = LISTING,
     .run = cmd_members},
    {.name = "add",
     .aliases = {"add-peer"},
     .group = OPERATE,
     .args = "NAME=ADDR",
     .about = "A new node, as a standby; a node that joins does this itself",
     .text = "-o json is what weftd --join-file takes.",
     .examples = {{"weft operator raft add n4=10.0.0.4:7444 --id 42 -o json >member.json", NULL}},
     .flags = FLAG_BIT(FLAG_OUTPUT) | FLAG_BIT(FLAG_MEMBER_ID),
     .words_min = 1,
     .words_max = 1,
     .run = cmd_raft_add},
    {.name = "promote",
     .group = OPERATE,
     .args = "NAME",
     .about = "Give a standby a vote, when it has caught up",
     .flags = FLAG_BIT(FLAG_OUTPUT),
     .words_min = 1,
     .words_max = 1,
     .words = WORDS_MEMBER,
     .run = cmd_raft_promote},
    {.name = "remove",
     .aliases = {"remove-peer"},
     .group = OPERATE,
     .args = "NAME",
     .about = "Take a node out: it is cut off, and its data is of no use any more",
     .text = "Refused when no majority of those who are left would answer. A leader hands over "
             "before it goes.",
     .flags = FLAG_BIT(FLAG_OUTPUT),
     .words_min = 1,
     .words_max = 1,
     .words = WORDS_MEMBER,
     .run = cmd_raft_remove},
    {.name = "lead",
     .group = OPERATE,
     .args = "NAME",
     .about = "Make a node the leader",
     .flags = FLAG_BIT(FLAG_OUTPUT),
     .words_min = 1,
     .words_max = 1,
     .words = WORDS_MEMBER,
     .run = cmd_raft_lead},
    {.name = "transfer-leader",
     .group = OPERATE,
     .args = "[NAME]",
     .about = "Make another node the leader: the one named, or who has most of the log",
     .flags = FLAG_BIT(FLAG_OUTPUT),
     .words_max = 1,
     .words = WORDS_MEMBER,
     .run = cmd_raft_transfer},
};

static const struct command operator_subs[] = {
    {.name = "raft",
     .group = OPERATE,
     .args = "list|add|promote|remove|lead|transfer-leader",
     .about = "Who belongs to the control plane, and who leads",
     .text = "Each waits until it is so, 30 seconds or --timeout; after that it may still come "
             "about. To ask again for what is so already is fine.",
     .subs = raft_subs,
     .sub_count = ARRAY_LEN(raft_subs)},
};

static const struct command proxy_config_subs[] = {
    {.name = "clusters",
     .aliases = {"cluster", "c"},
     .group = DEBUG,
     .args = "PROXY",
     .about = "Services and subsets that the proxy can send to",
     .flags = PROXY_CONFIG | FLAG_BIT(FLAG_FQDN) | FLAG_BIT(FLAG_PORT) | FLAG_BIT(FLAG_DIRECTION) |
              FLAG_BIT(FLAG_SUBSET),
     .examples = {{"weft pc clusters reviews-v1.default --direction outbound", NULL}},
     .words_min = 1,
     .words_max = 1,
     .words = WORDS_PROXY,
     .run = cmd_proxy_clusters},
    {.name = "endpoints",
     .aliases = {"endpoint", "ep"},
     .group = DEBUG,
     .args = "PROXY",
     .about = "Addresses behind the clusters, and their health as configured",
     .flags = PROXY_CONFIG | FLAG_BIT(FLAG_FQDN) | FLAG_BIT(FLAG_PORT) | FLAG_BIT(FLAG_SUBSET),
     .examples = {{"weft pc endpoints productpage.default --fqdn reviews.default.svc.cluster.local",
                   NULL}},
     .words_min = 1,
     .words_max = 1,
     .words = WORDS_PROXY,
     .run = cmd_proxy_endpoints},
    {.name = "listeners",
     .aliases = {"listener", "l"},
     .group = DEBUG,
     .args = "PROXY",
     .about = "Addresses that the proxy listens on, and where they lead",
     .flags = PROXY_CONFIG | FLAG_BIT(FLAG_PORT) | FLAG_BIT(FLAG_NAME),
     .examples = {{"weft pc listeners reviews-v1.default", NULL}},
     .words_min = 1,
     .words_max = 1,
     .words = WORDS_PROXY,
     .run = cmd_proxy_listeners},
    {.name = "routes",
     .aliases = {"route", "r"},
     .group = DEBUG,
     .args = "PROXY",
     .about = "Virtual hosts, their matches, and the weights of where they lead",
     .flags = PROXY_CONFIG | FLAG_BIT(FLAG_NAME) | FLAG_BIT(FLAG_FQDN),
     .examples = {{"weft pc routes productpage.default --name 9080", NULL}},
     .words_min = 1,
     .words_max = 1,
     .words = WORDS_PROXY,
     .run = cmd_proxy_routes},
    {.name = "all",
     .group = DEBUG,
     .args = "PROXY",
     .about = "All of it",
     .flags = PROXY_CONFIG,
     .examples = {{"weft pc all productpage.default -o json", NULL}},
     .words_min = 1,
     .words_max = 1,
     .words = WORDS_PROXY,
     .run = cmd_proxy_all},
};

static const struct command completion_subs[] = {
    {.name = "bash",
     .group = OTHER,
     .about = "For bash",
     .examples = {{"source <(weft completion bash)", NULL}},
     .run = cmd_completion_bash},
    {.name = "zsh",
     .group = OTHER,
     .about = "For zsh",
     .examples = {{"source <(weft completion zsh)", NULL}},
     .run = cmd_completion_zsh},
    {.name = "fish",
     .group = OTHER,
     .about = "For fish",
     .examples = {{"weft completion fish | source", NULL}},
     .run = cmd_completion_fish},
};

static const struct command root_subs[] = {
    {.name = "status",
     .group = SEE,
     .about = "The mesh on one screen: quorum, revision, proxies, problems",
     .text = "Says which node leads, how far each member and each proxy is, and what is wrong, one "
             "sentence a problem. The exit code is 69 when there is no quorum.",
     .examples = {{"weft status", NULL}, {"weft status -o json", NULL}},
     .flags = FLAG_BIT(FLAG_OUTPUT),
     .run = cmd_status},
    {.name = "members",
     .aliases = {"member"},
     .group = SEE,
     .about = "The nodes of the control plane",
     .flags = LISTING,
     .run = cmd_members},
    {.name = "get",
     .group = SEE,
     .args = "KIND [NAME…] [@REVISION] | KIND/NAME… [@REVISION]",
     .about = "Show objects, one line each",
     .text = "KIND is a plural, a singular or a short name, several joined by commas, or all. "
             "Beside the objects of the registry there are proxies and members. With @REVISION "
             "objects are shown as they were at it.",
     .examples = {{"weft get virtualservices", "all of the namespace"},
                  {"weft get vs reviews -o yaml", "one, as YAML"},
                  {"weft get vs,dr -A", "two kinds, all namespaces"},
                  {"weft get vs -w", "and what changes from now on"},
                  {"weft get vs reviews @41 -o yaml", "as it was at revision 41"},
                  {"weft get vs reviews -o jsonpath='{.metadata.resourceVersion}'", NULL}},
     .flags = LISTING | FLAG_BIT(FLAG_ALL_NAMESPACES) | FLAG_BIT(FLAG_SELECTOR) |
              FLAG_BIT(FLAG_WATCH) | FLAG_BIT(FLAG_WATCH_EVENTS) | FLAG_BIT(FLAG_SHOW_LABELS) |
              FLAG_BIT(FLAG_LABEL_COLUMNS) | FLAG_BIT(FLAG_SORT_BY) |
              FLAG_BIT(FLAG_IGNORE_NOT_FOUND) | FLAG_BIT(FLAG_CONSISTENCY) |
              FLAG_BIT(FLAG_MAX_STALENESS) | FILES,
     .words_max = COMMAND_WORDS_ANY,
     .words = WORDS_OBJECTS,
     .run = cmd_get},
    {.name = "describe",
     .group = SEE,
     .args = "KIND NAME… | KIND/NAME…",
     .about = "Everything about an object: fields, conditions, where it is live",
     .examples = {{"weft describe vs reviews", NULL},
                  {"weft describe proxy reviews-v1.default", NULL}},
     .flags = FLAG_BIT(FLAG_ALL_NAMESPACES) | FLAG_BIT(FLAG_SELECTOR),
     .words_min = 1,
     .words_max = COMMAND_WORDS_ANY,
     .words = WORDS_OBJECTS,
     .run = cmd_describe},
    {.name = "history",
     .group = SEE,
     .args = "[KIND [NAME] | KIND/NAME]",
     .about = "What was changed, when and by whom",
     .text = "The newest last. -o json of one object has it as it was after each change.",
     .examples = {{"weft history", "of everything"},
                  {"weft history vs/reviews", NULL},
                  {"weft history vs -A --limit 100", NULL}},
     .flags = LISTING | FLAG_BIT(FLAG_ALL_NAMESPACES) | FLAG_BIT(FLAG_LIMIT) |
              FLAG_BIT(FLAG_SHOW_STATUS),
     .words_max = 2,
     .words = WORDS_OBJECTS,
     .run = cmd_history},
    {.name = "explain",
     .group = SEE,
     .args = "KIND[.FIELD…]",
     .about = "The fields of a kind",
     .examples = {{"weft explain vs.spec.http.retries", NULL}},
     .flags = FLAG_BIT(FLAG_RECURSIVE),
     .words_min = 1,
     .words_max = 1,
     .words = WORDS_FIELD,
     .run = cmd_explain},
    {.name = "apply",
     .group = CHANGE,
     .args = "-f FILE",
     .about = "Make the objects of files be as the files say",
     .text =
         "All objects of one call are one change: either every one of them is accepted, under "
         "one revision, or nothing is done. One change holds up to 1,024 objects.\n\n"
         "With --wait it returns when every connected proxy has confirmed the change, and fails "
         "when a proxy rejects it.",
     .examples = {{"weft apply -f deploy/demo/ --wait", "a folder, and wait until it is live"},
                  {"weft apply -f - < vs.yaml", NULL},
                  {"weft apply -f vs.yaml --dry-run", "would it be accepted?"}},
     .flags = FILES | WRITING | FLAG_BIT(FLAG_VALIDATE),
     .run = cmd_apply},
    {.name = "create",
     .group = CHANGE,
     .args = "-f FILE",
     .about = "Create the objects of files; what is there already is refused",
     .examples = {{"weft create -f vs.yaml", NULL}},
     .flags = FILES | WRITING | FLAG_BIT(FLAG_VALIDATE),
     .run = cmd_create},
    {.name = "delete",
     .aliases = {"rm"},
     .group = CHANGE,
     .args = "KIND NAME… | KIND/NAME… | -f FILE",
     .about = "Delete objects; a namespace takes along what lives in it",
     .text =
         "Up to 1,000 objects of one call are one change. More of them are several, and so is a "
         "namespace; after a refusal, what was deleted before stays deleted, and "
         "--ignore-not-found passes over it in the next call.",
     .examples = {{"weft delete vs reviews ratings", NULL},
                  {"weft delete -f deploy/demo/routing.yaml --wait", NULL},
                  {"weft delete vs -l app=reviews", NULL},
                  {"weft delete namespace shop", NULL}},
     .flags = FILES | WRITING | FLAG_BIT(FLAG_SELECTOR) | FLAG_BIT(FLAG_ALL) |
              FLAG_BIT(FLAG_IGNORE_NOT_FOUND),
     .words_max = COMMAND_WORDS_ANY,
     .words = WORDS_OBJECTS,
     .run = cmd_delete},
    {.name = "diff",
     .group = CHANGE,
     .args = "-f FILE | @REVISION[..@REVISION] [KIND [NAME…] | KIND/NAME…]",
     .about = "What apply would change, or what two revisions have different",
     .text = "The exit code is 0 when there is no difference, 1 when there is one, and greater "
             "than 1 when that cannot be said.",
     .examples = {{"weft diff -f deploy/demo/", NULL},
                  {"weft diff @41..@44 vs/reviews", "what became of it between the two"},
                  {"weft diff @41 -A vs", "since then, in all namespaces"}},
     .flags =
         FILES | FLAG_BIT(FLAG_VALIDATE) | FLAG_BIT(FLAG_FAIL_ON) | FLAG_BIT(FLAG_ALL_NAMESPACES),
     .words_max = COMMAND_WORDS_ANY,
     .words = WORDS_POSITION,
     .run = cmd_diff},
    {.name = "rollback",
     .group = CHANGE,
     .args = "@REVISION [KIND [NAME…] | KIND/NAME…]",
     .about = "Make objects be again as they were at a revision",
     .text = "That is a new revision: nothing is forgotten, and it can be rolled back itself. "
             "Each object is changed only if it still is as it was when the command looked; "
             "otherwise nothing is done. Without a kind it is everything, and the command asks "
             "before.",
     .examples = {{"weft rollback @41 vs/reviews --wait", NULL},
                  {"weft rollback @41 --dry-run", "what would change"},
                  {"weft rollback @41 --yes", "everything"}},
     .flags = FLAG_BIT(FLAG_OUTPUT) | FLAG_BIT(FLAG_WAIT) | FLAG_BIT(FLAG_DRY_RUN) |
              FLAG_BIT(FLAG_YES) | FLAG_BIT(FLAG_ALL_NAMESPACES),
     .words_min = 1,
     .words_max = COMMAND_WORDS_ANY,
     .words = WORDS_POSITION,
     .run = cmd_rollback},
    {.name = "wait",
     .group = CHANGE,
     .args = "[@REVISION] | --for=WHAT KIND/NAME…",
     .about = "Wait until a revision is live on every proxy, or for a condition",
     .text =
         "Without a revision it waits for the newest. The exit code is 75 when the time is over, "
         "1 when a proxy has rejected the revision.",
     .examples = {{"weft wait @41", NULL},
                  {"weft wait --for=condition=Distributed vs/reviews --timeout=30s", NULL}},
     .flags = FLAG_BIT(FLAG_FOR) | FLAG_BIT(FLAG_OUTPUT),
     .words_max = COMMAND_WORDS_ANY,
     .words = WORDS_POSITION,
     .run = cmd_wait},
    {.name = "proxy-status",
     .aliases = {"ps"},
     .group = DEBUG,
     .args = "[PROXY]",
     .about = "How far each proxy is, type by type; or one of them in detail",
     .text =
         "SYNCED: the proxy has confirmed the newest. STALE: it was sent and not confirmed yet. "
         "ERROR: the proxy rejected it and runs on with what it had. NOT_SENT: the proxy has "
         "not asked for this type.",
     .examples = {{"weft ps", NULL}, {"weft ps reviews-v1", NULL}},
     .flags = LISTING,
     .words_max = 1,
     .words = WORDS_PROXY,
     .run = cmd_proxy_status},
    {.name = "proxy-config",
     .aliases = {"pc"},
     .group = DEBUG,
     .args = "clusters|endpoints|listeners|routes|all PROXY",
     .about = "What a proxy was given",
     .subs = proxy_config_subs,
     .sub_count = ARRAY_LEN(proxy_config_subs)},
    {.name = "operator",
     .group = OPERATE,
     .args = "raft",
     .about = "Care for the control plane's nodes",
     .subs = operator_subs,
     .sub_count = ARRAY_LEN(operator_subs)},
    {.name = "version",
     .group = OTHER,
     .about = "Version of this program and of the control plane",
     .flags = FLAG_BIT(FLAG_CLIENT) | FLAG_BIT(FLAG_OUTPUT),
     .run = cmd_version},
    {.name = "completion",
     .group = OTHER,
     .args = "bash|zsh|fish",
     .about = "A script that teaches the shell to complete weft's commands, flags and objects",
     .subs = completion_subs,
     .sub_count = ARRAY_LEN(completion_subs)},
    {.name = "help",
     .group = OTHER,
     .args = "[COMMAND]",
     .about = "Help for a command",
     .words_max = 3,
     .words = WORDS_COMMANDS,
     .run = cmd_help},
    {.name = "man",
     .group = OTHER,
     .about = "The manual page, for man(1)",
     .examples = {{"weft man | man -l -", NULL}},
     .run = cmd_man},
    {.name = "__complete",
     .about = "Candidates for the last word",
     .words_max = COMMAND_WORDS_ANY,
     .run = cmd_complete},
};

const struct command command_root = {
    .name = "weft",
    .about = "Connect, secure, control and observe services",
    .args = "COMMAND",
    .flags = FLAG_BIT(FLAG_VERSION),
    .subs = root_subs,
    .sub_count = ARRAY_LEN(root_subs),
};
