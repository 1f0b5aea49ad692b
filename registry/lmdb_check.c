#include "registry/lmdb_check.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/core/mem.h"

/* The file, as LMDB 0.9's mdb.c lays it out on machines of 64 bits, little endian:
 *
 *   page   pgno u64, pad u16, flags u16, lower u16, upper u16 (overflow: pages u32), then offsets
 *          of nodes u16, sorted by key; nodes grow from the end
 *   node   lo u16, hi u16, flags u16, key size u16, key, data
 *          branch: lo, hi, flags are the child's number; leaf: lo, hi the size of the data, which
 *          with BIGDATA lies in overflow pages of which the node has the first number
 *   meta   page, magic u32, version u32, address u64, map size u64, free db, main db, last page
 *          u64, transaction u64
 *   db     pad u32 (of the free db in a meta: page size), flags u16, depth u16, branch, leaf and
 *          overflow pages, entries, root u64 */
#define PAGE_HEAD 16
#define PAGE_FLAGS_AT 10
#define PAGE_LOWER_AT 12
#define PAGE_UPPER_AT 14
#define NODE_HEAD 8
#define DB_BYTES 48
#define META_MAGIC 0xBEEFC0DEu
#define META_VERSION 1u
#define META_MAP_AT (PAGE_HEAD + 16)
#define META_FREE_AT (PAGE_HEAD + 24)
#define META_MAIN_AT (META_FREE_AT + DB_BYTES)
#define META_LAST_AT (META_MAIN_AT + DB_BYTES)
#define META_TXN_AT (META_LAST_AT + 8)
#define META_BYTES (META_TXN_AT + 8)
#define METAS 2

#define PAGE_BRANCH 0x01u
#define PAGE_LEAF 0x02u
#define PAGE_OVERFLOW 0x04u
#define PAGE_META 0x08u
#define NODE_BIGDATA 0x01u
#define NODE_SUBDATA 0x02u
#define DB_INTEGER_KEYS 0x08u
#define DB_ENV_FLAGS 0x4000u /* what the environment was opened with: NOSUBDIR */
#define NO_PAGE UINT64_MAX

#define PAGE_BYTES_MIN 512u
#define PAGE_BYTES_MAX 32768u
static_assert(META_BYTES <= PAGE_BYTES_MIN, "a meta page holds its meta");

struct db {
    uint16_t flags, depth;
    uint64_t branches, leaves, overflows, entries, root;
};

struct check {
    struct slice image;
    const struct lmdb_check_options *opt;
    uint32_t page_bytes;
    uint64_t last;       /* highest number of a page */
    unsigned char *seen; /* a bit for each page */
    bool found[LMDB_CHECK_DBS_MAX];
    struct db sub[LMDB_CHECK_DBS_MAX];
    struct err *err;
};

/* One database while it is walked. */
struct walk {
    struct check *c;
    struct db want, have; /* have: what was counted */
    bool integer_keys;
    bool (*row)(struct check *c, size_t db, struct slice key, unsigned flags, struct slice data);
    size_t db;
};

/* Keys of a page are not below low and below high; empty: no bound. */
struct bounds {
    struct slice low, high;
};

static uint16_t get16(const char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static uint32_t get32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static uint64_t get64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static bool bad(struct check *c, uint64_t page, const char *what)
{
    return err_set(c->err, ERR_CORRUPT, "page %llu: %s", (unsigned long long)page, what);
}

static struct db db_read(const char *p)
{
    return (struct db){.flags = get16(p + 4),
                       .depth = get16(p + 6),
                       .branches = get64(p + 8),
                       .leaves = get64(p + 16),
                       .overflows = get64(p + 24),
                       .entries = get64(p + 32),
                       .root = get64(p + 40)};
}

/* Pages. */

/* It is used, or free, and was not met before. */
static bool take(struct check *c, uint64_t page, uint64_t from)
{
    if (page < METAS || page > c->last)
        return bad(c, from, "it names a page that does not exist");
    unsigned char bit = (unsigned char)(1u << page % 8);
    if (c->seen[page / 8] & bit)
        return bad(c, from, "it names a page that is used twice, or free");
    c->seen[page / 8] |= bit;
    return true;
}

static const char *page_at(const struct check *c, uint64_t page)
{
    return c->image.p + page * c->page_bytes;
}

static bool is_there(const struct check *c, uint64_t page)
{
    return page < c->image.n / c->page_bytes;
}

static const char *page_open(struct check *c, uint64_t page, uint64_t from)
{
    if (!take(c, page, from))
        return NULL;
    if (!is_there(c, page)) {
        bad(c, page, "the file ends before it");
        return NULL;
    }
    const char *p = page_at(c, page);
    if (get64(p) != page) {
        bad(c, page, "it says that it is another");
        return NULL;
    }
    return p;
}

static int key_cmp(const struct walk *w, struct slice a, struct slice b)
{
    if (!w->integer_keys)
        return slice_cmp(a, b);
    uint64_t x = get64(a.p), y = get64(b.p);
    return x < y ? -1 : x > y;
}

/* Nodes. */

struct node {
    struct slice key, body; /* body: what lies behind the key, to the end of the page */
    unsigned flags;
    uint64_t number; /* of the child, or size of the data */
};

static bool node_read(struct walk *w, uint64_t page, const char *p, unsigned i, bool branch,
                      struct node *ret)
{
    struct check *c = w->c;
    unsigned at = get16(p + PAGE_HEAD + i * 2);
    if (at < get16(p + PAGE_UPPER_AT) || at % 2 || at + NODE_HEAD > c->page_bytes)
        return bad(c, page, "a node lies outside of it");
    const char *n = p + at;
    unsigned key_bytes = get16(n + 6);
    if (at + NODE_HEAD + key_bytes > c->page_bytes)
        return bad(c, page, "a key reaches behind it");
    ret->key = slice_mem(n + NODE_HEAD, key_bytes);
    ret->body = slice_mem(n + NODE_HEAD + key_bytes, c->page_bytes - at - NODE_HEAD - key_bytes);
    ret->flags = branch ? 0 : get16(n + 4);
    ret->number = get16(n) | (uint64_t)get16(n + 2) << 16;
    if (branch)
        ret->number |= (uint64_t)get16(n + 4) << 32;
    /* LMDB does not look at the first key of a branch: it stands for everything below. */
    if (branch && i == 0)
        ret->key = (struct slice){0};
    else if (w->integer_keys ? key_bytes != 8 : key_bytes == 0)
        return bad(c, page, "a key has a wrong size");
    return true;
}

static bool in_order(struct walk *w, uint64_t page, const struct bounds *b, struct slice before,
                     struct slice key)
{
    if (before.n && key_cmp(w, before, key) >= 0)
        return bad(w->c, page, "its keys are not in order");
    if ((b->low.n && key_cmp(w, key, b->low) < 0) || (b->high.n && key_cmp(w, key, b->high) >= 0))
        return bad(w->c, page, "a key belongs into another page");
    return true;
}

/* The data of a leaf's node, wherever it lies. */
static bool node_data(struct walk *w, uint64_t page, const struct node *n, struct slice *ret)
{
    struct check *c = w->c;
    if (!(n->flags & NODE_BIGDATA)) {
        *ret = slice_sub(n->body, 0, n->number);
        return ret->n == n->number || bad(c, page, "data reaches behind it");
    }
    if (n->body.n < 8)
        return bad(c, page, "data reaches behind it");
    uint64_t first = get64(n->body.p);
    uint64_t pages = (PAGE_HEAD - 1 + n->number) / c->page_bytes + 1;
    const char *p = page_open(c, first, page);
    if (!p)
        return false;
    if (get16(p + PAGE_FLAGS_AT) != PAGE_OVERFLOW || get32(p + PAGE_LOWER_AT) != pages)
        return bad(c, first, "it is not the overflow of its size");
    for (uint64_t i = 1; i < pages; i++)
        if (!take(c, first + i, first))
            return false;
    if (!is_there(c, first + pages - 1))
        return bad(c, first, "the file ends before its end");
    w->have.overflows += pages;
    *ret = slice_mem(p + PAGE_HEAD, n->number);
    return true;
}

/* Trees. */

static bool walk_page(struct walk *w, uint64_t page, uint64_t from, unsigned depth,
                      const struct bounds *b);

static bool walk_leaf(struct walk *w, uint64_t page, const char *p, unsigned count,
                      const struct bounds *b)
{
    struct slice before = {0}, data;
    struct node n;
    w->have.leaves++;
    for (unsigned i = 0; i < count; i++) {
        if (!node_read(w, page, p, i, false, &n) || !in_order(w, page, b, before, n.key) ||
            !node_data(w, page, &n, &data) ||
            !w->row(w->c, w->db, n.key, n.flags & ~NODE_BIGDATA, data))
            return false;
        before = n.key;
        w->have.entries++;
    }
    return true;
}

static bool walk_branch(struct walk *w, uint64_t page, const char *p, unsigned count,
                        unsigned depth, const struct bounds *b)
{
    struct node n, next = {0};
    struct slice before = {0};
    w->have.branches++;
    for (unsigned i = 0; i < count; i++) {
        if (i == 0 && !node_read(w, page, p, 0, true, &n))
            return false;
        if (i + 1 < count &&
            (!node_read(w, page, p, i + 1, true, &next) || !in_order(w, page, b, before, next.key)))
            return false;
        struct bounds of = {.low = i ? n.key : b->low, .high = i + 1 < count ? next.key : b->high};
        if (!walk_page(w, n.number, page, depth + 1, &of))
            return false;
        before = next.key;
        n = next;
    }
    return true;
}

static bool walk_page(struct walk *w, uint64_t page, uint64_t from, unsigned depth,
                      const struct bounds *b)
{
    struct check *c = w->c;
    if (depth > w->want.depth)
        return bad(c, from, "the tree is deeper than it should be");
    const char *p = page_open(c, page, from);
    if (!p)
        return false;
    bool leaf = depth == w->want.depth;
    unsigned lower = get16(p + PAGE_LOWER_AT), upper = get16(p + PAGE_UPPER_AT);
    if (get16(p + PAGE_FLAGS_AT) != (leaf ? PAGE_LEAF : PAGE_BRANCH))
        return bad(c, page, "it is of another kind than it should be");
    if (lower < PAGE_HEAD + 2 || lower % 2 || lower > upper || upper > c->page_bytes)
        return bad(c, page, "its bounds are wrong");
    unsigned count = (lower - PAGE_HEAD) / 2;
    return leaf ? walk_leaf(w, page, p, count, b) : walk_branch(w, page, p, count, depth, b);
}

static bool walk_db(struct walk *w, uint64_t from)
{
    static const struct bounds all;
    const struct db *want = &w->want, *have = &w->have;
    if (want->depth > LMDB_CHECK_DEPTH_MAX || (want->depth == 0) != (want->root == NO_PAGE))
        return bad(w->c, from, "a database's depth is wrong");
    if (want->depth && !walk_page(w, want->root, from, 1, &all))
        return false;
    return (want->branches == have->branches && want->leaves == have->leaves &&
            want->overflows == have->overflows && want->entries == have->entries) ||
           bad(w->c, from, "a database's counts are wrong");
}

/* Rows. */

static bool free_row(struct check *c, size_t db, struct slice key, unsigned flags,
                     struct slice data)
{
    (void)db, (void)key;
    uint64_t n = data.n < 8 ? 0 : get64(data.p);
    if (flags || data.n < 8 || data.n % 8 || n > data.n / 8 - 1)
        return bad(c, 0, "a list of free pages has a wrong size");
    for (uint64_t i = 1; i <= n; i++)
        if (!take(c, get64(data.p + i * 8), 0))
            return false;
    return true;
}

static bool main_row(struct check *c, size_t db, struct slice key, unsigned flags,
                     struct slice data)
{
    (void)db;
    for (size_t i = 0; i < c->opt->db_count; i++) {
        const struct lmdb_check_db *d = &c->opt->dbs[i];
        if (!slice_eq(key, slice_of(d->name)))
            continue;
        if (flags != NODE_SUBDATA || data.n != DB_BYTES)
            return bad(c, 0, "a database has a wrong row");
        c->sub[i] = db_read(data.p);
        c->found[i] = true;
        return c->sub[i].flags == (d->integer_keys ? DB_INTEGER_KEYS : 0) ||
               bad(c, 0, "a database has wrong flags");
    }
    return bad(c, 0, "a database has an unknown name");
}

static bool sub_row(struct check *c, size_t db, struct slice key, unsigned flags, struct slice data)
{
    if (flags)
        return bad(c, 0, "a row has wrong flags");
    return c->opt->row(c->opt->ctx, db, key, data, c->err);
}

/* Meta pages. */

/* The older one's counts too: LMDB writes the next one over it and never makes it smaller. */
static bool map_fits(uint64_t bytes)
{
    return bytes >= (uint64_t)METAS * PAGE_BYTES_MIN && !(bytes & (bytes - 1));
}

static bool meta_fits(struct check *c, uint64_t page)
{
    const char *p = page_at(c, page);
    return (get64(p) == page && get16(p + PAGE_FLAGS_AT) == PAGE_META &&
            get32(p + PAGE_HEAD) == META_MAGIC && get32(p + PAGE_HEAD + 4) == META_VERSION &&
            map_fits(get64(p + META_MAP_AT)) && get32(p + META_FREE_AT) == c->page_bytes &&
            (get16(p + META_FREE_AT + 4) & ~DB_ENV_FLAGS) == DB_INTEGER_KEYS &&
            get16(p + META_MAIN_AT + 4) == 0) ||
           bad(c, page, "it is no meta page");
}

static bool metas_open(struct check *c, const char **ret)
{
    if (c->image.n < PAGE_BYTES_MIN)
        return bad(c, 0, "it is not there");
    c->page_bytes = get32(c->image.p + META_FREE_AT);
    if (c->page_bytes < PAGE_BYTES_MIN || c->page_bytes > PAGE_BYTES_MAX ||
        c->page_bytes & (c->page_bytes - 1) || c->image.n / c->page_bytes < METAS)
        return bad(c, 0, "the size of a page is wrong");
    if (!meta_fits(c, 0) || !meta_fits(c, 1))
        return false;
    const char *a = page_at(c, 0), *b = page_at(c, 1);
    *ret = get64(a + META_TXN_AT) < get64(b + META_TXN_AT) ? b : a;
    c->last = get64(*ret + META_LAST_AT);
    /* However short it may be, what is claimed must not cost us more than what is there. */
    uint64_t most = c->opt->may_be_short ? c->image.n : c->image.n / c->page_bytes;
    return (c->last >= METAS - 1 && c->last < most) ||
           bad(c, 0, "the file is shorter than its pages");
}

static bool check_all(struct check *c, const char *meta)
{
    struct walk free = {
        .c = c, .want = db_read(meta + META_FREE_AT), .integer_keys = true, .row = free_row};
    struct walk main = {.c = c, .want = db_read(meta + META_MAIN_AT), .row = main_row};
    if (!walk_db(&free, 0) || !walk_db(&main, 0))
        return false;
    for (size_t i = 0; i < c->opt->db_count; i++) {
        struct walk sub = {.c = c,
                           .want = c->sub[i],
                           .integer_keys = c->opt->dbs[i].integer_keys,
                           .row = sub_row,
                           .db = i};
        if (c->found[i] && !walk_db(&sub, 0))
            return false;
    }
    return true;
}

bool lmdb_check(struct slice image, const struct lmdb_check_options *opt, struct err *err)
{
    struct check c = {.image = image, .opt = opt, .err = err};
    const char *meta = NULL;
    wf_assert(opt->db_count <= LMDB_CHECK_DBS_MAX);
    if (!metas_open(&c, &meta))
        return false;
    c.seen = mem_new((size_t)(c.last / 8 + 1));
    bool ok = check_all(&c, meta);
    mem_free(c.seen);
    return ok;
}
