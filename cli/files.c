#include "cli/files.h"

#include <errno.h>
#include <sys/stat.h>

#include "cli/cli_limits.h"

struct loading {
    struct cli *c;
    struct manifest *m;
    size_t files;
};

static bool load_stdin(struct loading *l, struct err *err)
{
    struct buf text = {.limit = CLI_FILE_BYTES_MAX};
    bool ok = true;
    while (ok && !feof(l->c->world->in)) {
        char part[4096];
        size_t n = fread(part, 1, sizeof(part), l->c->world->in);
        if (ferror(l->c->world->in))
            ok = err_errno(err, errno, "standard input");
        else if (!buf_append(&text, slice_mem(part, n)))
            ok = err_set(err, ERR_LIMIT, "standard input: more than %u bytes", CLI_FILE_BYTES_MAX);
    }
    ok = ok && manifest_add(l->m, S("stdin"), buf_slice(&text), err);
    buf_fini(&text);
    return ok;
}

static bool load_file(struct loading *l, struct slice path, struct err *err)
{
    struct buf text = {0};
    if (++l->files > CLI_FILES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d files", CLI_FILES_MAX);
    bool ok = env_file_load(l->c->world->env, path.p, CLI_FILE_BYTES_MAX, &text, err) &&
              manifest_add(l->m, path, buf_slice(&text), err);
    buf_fini(&text);
    return ok;
}

/* Folders. */

struct names {
    struct arena *arena;
    VEC(struct slice) list;
};

static void name_seen(void *ctx, const char *name)
{
    struct names *n = ctx;
    *vec_push(&n->list) = arena_dup(n->arena, slice_of(name));
}

static bool of_objects(struct slice name)
{
    return slice_ends(name, S(".yaml")) || slice_ends(name, S(".yml")) ||
           slice_ends(name, S(".json"));
}

static bool load_path(struct loading *l, struct slice path, unsigned depth, struct err *err);

static bool load_entry(struct loading *l, struct slice dir, struct slice name, unsigned depth,
                       struct err *err)
{
    struct slice path = arena_printf(&l->c->arena, "%.*s%s%.*s", SLICE(dir),
                                     slice_ends(dir, S("/")) ? "" : "/", SLICE(name));
    struct stat st;
    if (stat(path.p, &st) != 0)
        return err_errno(err, errno, "%.*s", SLICE(path));
    bool below = S_ISDIR(st.st_mode) && flags_on(&l->c->flags, FLAG_RECURSIVE);
    return below || (S_ISREG(st.st_mode) && of_objects(name)) ? load_path(l, path, depth, err)
                                                              : true;
}

static bool load_dir(struct loading *l, struct slice dir, unsigned depth, struct err *err)
{
    struct names names = {.arena = &l->c->arena};
    if (depth == CLI_DIR_DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "%.*s: folders are nested too deeply", SLICE(dir));
    bool ok = env_dir_list(l->c->world->env, dir.p, name_seen, &names, err);
    for (size_t i = 0; i < names.list.n && ok; i++)
        ok = load_entry(l, dir, names.list.p[i], depth + 1, err);
    vec_fini(&names.list);
    return ok;
}

static bool load_path(struct loading *l, struct slice path, unsigned depth, struct err *err)
{
    struct stat st;
    if (stat(path.p, &st) != 0)
        return err_errno(err, errno, "%.*s", SLICE(path));
    return S_ISDIR(st.st_mode) ? load_dir(l, path, depth, err) : load_file(l, path, err);
}

bool files_load(struct cli *c, struct manifest *m, struct err *err)
{
    const struct flag_value *given = &c->flags.values[FLAG_FILENAME];
    struct loading l = {.c = c, .m = m};
    m->ns = cli_namespace(c);
    m->ns_fixed = c->flags.values[FLAG_NAMESPACE].given;
    for (size_t i = 0; i < given->text_count; i++) {
        struct slice path = given->texts[i];
        bool ok = slice_eq(path, S("-")) ? load_stdin(&l, err)
                                         : load_path(&l, arena_dup(&c->arena, path), 0, err);
        if (!ok)
            return false;
    }
    return m->items.n ||
           err_set(err, ERR_INVALID,
                   "no objects in %.*s%s; of a folder, .yaml, .yml and .json files are read",
                   SLICE(given->texts[0]), given->text_count > 1 ? " and the others" : "");
}
