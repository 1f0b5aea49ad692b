/* snapshot: backups. The file's form is api/snapshot_head.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/snapshot_head.h"
#include "api/status.h"
#include "base/wire/json.h"
#include "cli/context.h"

#define CHUNK_BYTES (1u << 20)
#define SHA256_HEX 64

/* Reading. */

static bool read_some(int fd, char *dst, size_t n, size_t *ret_n, struct err *err)
{
    for (*ret_n = 0; *ret_n < n;) {
        ssize_t got = read(fd, dst + *ret_n, n - *ret_n);
        if (got < 0)
            return err_errno(err, errno, "cannot be read");
        if (got == 0)
            break;
        *ret_n += (size_t)got;
    }
    return true;
}

static bool head_read(int fd, struct snapshot_head *ret, struct err *err)
{
    char *bytes = mem_new(SNAPSHOT_HEAD_BYTES_MAX);
    size_t want = 0, got = 0, more = 0;
    bool ok = read_some(fd, bytes, SNAPSHOT_HEAD_BYTES_MIN, &got, err) &&
              snapshot_head_bytes(slice_mem(bytes, got), &want, err) &&
              read_some(fd, bytes + got, want - got, &more, err) &&
              snapshot_head_decode(slice_mem(bytes, got + more), ret, err);
    mem_free(bytes);
    return ok;
}

static bool image_check(int fd, const struct snapshot_head *h, EVP_MD_CTX *md, struct err *err)
{
    unsigned char sha[EVP_MAX_MD_SIZE];
    char *chunk = mem_new(CHUNK_BYTES);
    size_t n = 0;
    uint64_t bytes = 0;
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
    while (ok && (ok = read_some(fd, chunk, CHUNK_BYTES, &n, err)) && n) {
        bytes += n;
        ok = EVP_DigestUpdate(md, chunk, n) == 1;
    }
    mem_free(chunk);
    if (!ok || EVP_DigestFinal_ex(md, sha, NULL) != 1)
        return false;
    if (bytes != h->image_bytes)
        return err_set(err, ERR_CORRUPT, "is damaged: it holds %" PRIu64 " bytes of %" PRIu64,
                       bytes, h->image_bytes);
    return memcmp(sha, h->sha256, sizeof(h->sha256)) == 0 ||
           err_set(err, ERR_CORRUPT, "is damaged: its SHA-256 is not what its head says");
}

static bool file_check(const char *path, struct snapshot_head *ret, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "%s", path);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok =
        (head_read(fd, ret, err) && image_check(fd, ret, md, err)) || err_wrap(err, "%s", path);
    EVP_MD_CTX_free(md);
    close(fd);
    return ok;
}

/* Showing. */

static struct slice sha_text(struct cli *c, const struct snapshot_head *h)
{
    char hex[SHA256_HEX + 1];
    for (size_t i = 0; i < sizeof(h->sha256); i++)
        snprintf(hex + 2 * i, 3, "%02x", h->sha256[i]);
    return arena_dup(&c->arena, slice_of(hex));
}

static uint64_t objects(const struct snapshot_head *h)
{
    uint64_t n = 0;
    for (size_t i = 0; i < h->kind_count; i++)
        n += h->kinds[i].objects;
    return n;
}

static json_t *hex_json(uint64_t v)
{
    return json_sprintf("%016" PRIx64, v);
}

static json_t *head_json(struct cli *c, const struct snapshot_head *h)
{
    char time[STATUS_TIME_BYTES];
    json_t *by_kind = json_object();
    for (size_t i = 0; i < h->kind_count; i++)
        json_object_set_new(by_kind, h->kinds[i].name,
                            json_pack("{s:I,s:I}", "objects", (json_int_t)h->kinds[i].objects,
                                      "bytes", (json_int_t)h->kinds[i].bytes));
    return json_pack("{s:s,s:o,s:o,s:s,s:I,s:I,s:I,s:o,s:I,s:o,s:I,s:o}", "node", h->node,
                     "cluster", hex_json(h->cluster), "history", hex_json(h->genesis), "taken",
                     status_time(h->wall_ms, time), "revision", (json_int_t)h->revision, "index",
                     (json_int_t)h->index, "term", (json_int_t)h->term, "stateHash",
                     hex_json(h->state_hash), "bytes", (json_int_t)h->image_bytes, "sha256",
                     json_string_of(sha_text(c, h)), "objects", (json_int_t)objects(h), "kinds",
                     by_kind);
}

static void head_screen(struct cli *c, const struct snapshot_head *h)
{
    char time[STATUS_TIME_BYTES];
    struct table t = {0};
    struct table_style style = cli_table_style(c);
    fprintf(c->out, "Taken:      %s, from %s\n", status_time(h->wall_ms, time), h->node);
    fprintf(c->out, "Cluster:    %016" PRIx64 ", history %016" PRIx64 "\n", h->cluster, h->genesis);
    fprintf(c->out, "Revision:   @%" PRIu64 "\n", h->revision);
    fprintf(c->out, "Index:      %" PRIu64 ", term %" PRIu64 "\n", h->index, h->term);
    fprintf(c->out, "State hash: %016" PRIx64 "\n", h->state_hash);
    fprintf(c->out, "Size:       %" PRIu64 " KiB, SHA-256 %.*s\n", (h->image_bytes + 1023) >> 10,
            SLICE(sha_text(c, h)));
    fprintf(c->out, "Objects:    %" PRIu64 "\n\n", objects(h));
    table_columns(&t, (const char *[]){"KIND", "OBJECTS", "BYTES"}, 3);
    for (size_t i = 0; i < h->kind_count; i++) {
        table_cell(&t, slice_of(h->kinds[i].name));
        table_cellf(&t, "%" PRIu64, h->kinds[i].objects);
        table_cellf(&t, "%" PRIu64, h->kinds[i].bytes);
    }
    if (h->kind_count)
        table_print(&t, c->out, &style);
    table_fini(&t);
}

int cmd_snapshot_inspect(struct cli *c)
{
    struct snapshot_head *h = ARENA_NEW(&c->arena, struct snapshot_head);
    struct err err = {0};
    if (!file_check(c->flags.words[0].p, h, &err)) {
        cli_fail(c, &err);
        return err.code == ERR_CORRUPT || err.code == ERR_INVALID ? CLI_BAD_INPUT : CLI_FAILED;
    }
    if (cli_output(c) == OUTPUT_TABLE) {
        head_screen(c, h);
        return CLI_OK;
    }
    json_t *o = head_json(c, h);
    int code = cli_print_data(c, o);
    json_decref(o);
    return code;
}

/* Saving. */

struct saving {
    int fd;
    const char *path; /* FILE.part-XXXXXX */
};

static bool on_bytes(void *ctx, struct slice bytes, struct err *err)
{
    struct saving *s = ctx;
    while (bytes.n) {
        ssize_t n = write(s->fd, bytes.p, bytes.n);
        if (n <= 0)
            return err_errno(err, errno, "%s", s->path);
        bytes = slice_skip(bytes, (size_t)n);
    }
    return true;
}

static bool dir_sync(struct cli *c, struct slice path, struct err *err)
{
    struct slice dir, name;
    if (!slice_cut_last(path, '/', &dir, &name))
        dir = S(".");
    else if (!dir.n)
        dir = S("/");
    return env_dir_sync(c->world->env, arena_dup(&c->arena, dir).p, err);
}

static bool save(struct cli *c, struct saving *s, const char *path, struct snapshot_head *h,
                 struct err *err)
{
    struct client *cl = cli_client(c, err);
    struct client_download d = {.path = S("/weft/v1/snapshot"),
                                .timeout = c->timeout ? c->timeout : CLI_SNAPSHOT_TIMEOUT_MS,
                                .fn = on_bytes,
                                .ctx = s};
    return cl && client_download(cl, &d, err) &&
           (fsync(s->fd) == 0 || err_errno(err, errno, "%s", s->path)) &&
           file_check(s->path, h, err) && env_file_rename(c->world->env, s->path, path, err) &&
           dir_sync(c, slice_of(path), err);
}

int cmd_snapshot_save(struct cli *c)
{
    struct err err = {0};
    struct snapshot_head *h = ARENA_NEW(&c->arena, struct snapshot_head);
    const char *path = c->flags.words[0].p;
    char *part = (char *)(uintptr_t)arena_printf(&c->arena, "%s.part-XXXXXX", path).p;
    struct saving s = {.fd = mkostemp(part, O_CLOEXEC), .path = part};
    if (s.fd < 0) {
        err_errno(&err, errno, "%s", part);
        return cli_fail(c, &err);
    }
    bool ok = save(c, &s, path, h, &err);
    close(s.fd);
    if (!ok) {
        unlink(part);
        return cli_fail(c, &err);
    }
    fprintf(c->out,
            "saved %s: revision @%" PRIu64 ", %" PRIu64 " objects, %" PRIu64 " KiB, from %s\n",
            path, h->revision, objects(h), (h->image_bytes + 1023) >> 10, h->node);
    return CLI_OK;
}

/* It makes a node's data directory, where this program may not even be. */
int cmd_snapshot_restore(struct cli *c)
{
    fputs("error: a snapshot is restored by weftd, on each node of the new cluster and before it "
          "starts: give it the node's own flags\n"
          "  weftd restore --from FILE --data DIR --name NAME --cluster NAME=ADDR,…\n",
          c->err);
    return CLI_USAGE;
}
