/* If these fail, a registry node answers from a state that no log ever made: a lost write, half of
 * a request, a revision that watchers miss, or a bit that a disk flipped. */
#include <fcntl.h>
#include <lmdb.h>
#include <openssl/evp.h>
#include <sys/resource.h>

#include "registry/store_internal.h"
#include "registry/store_testing.h"

static void apply_as(struct fixture *f, uint64_t client, uint64_t sequence, uint64_t settled,
                     const struct reg_op *op)
{
    apply_request(
        f,
        &(struct reg_request){
            .client = client, .sequence = sequence, .settled = settled, .ops = op, .op_count = 1});
}

static reg_rev put_rev(struct fixture *f, const char *key, const char *value)
{
    assert_int_equal(put(f, key, value), ERR_NONE);
    return f->last.revision;
}

static void history_of(struct fixture *f, uint64_t revisions)
{
    store_down(f);
    f->opt.history_revisions = revisions;
    store_up(f);
}

static int setup_1000(void **state)
{
    setup(state);
    history_of(*state, 1000);
    return 0;
}

static void test_put_get_delete(void **state)
{
    struct fixture *f = *state;
    struct reg_object o;
    assert_int_equal(put_rev(f, "a/x", "1"), 1);
    assert_int_equal(put_rev(f, "a/x", "2"), 2);
    assert_string_equal(value_of(f, "a/x", &o), "2");
    assert_int_equal(o.create_rev, 1);
    assert_int_equal(o.mod_rev, 2);
    assert_int_equal(o.version, 2);
    assert_int_equal(del(f, "a/x"), ERR_NONE);
    assert_int_equal(f->last.revision, 3);
    assert_null(value_of(f, "a/x", NULL));
    assert_int_equal(put_rev(f, "a/x", "3"), 4);
    value_of(f, "a/x", &o);
    assert_int_equal(o.create_rev, 4);
}

static void test_equal_value_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct reg_object o;
    put(f, "a", "same");
    assert_int_equal(put_rev(f, "a", "same"), 1);
    value_of(f, "a", &o);
    assert_int_equal(o.mod_rev, 1);
}

static void test_preconditions(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum reg_expect expect;
        const char *key;
        uint64_t expected;
        enum err_code code;
    } rows[] = {
        {REG_EXPECT_ABSENT, "there", 0, ERR_EXISTS},   {REG_EXPECT_ABSENT, "new", 0, ERR_NONE},
        {REG_EXPECT_EXISTS, "none", 0, ERR_NOT_FOUND}, {REG_EXPECT_EXISTS, "there", 0, ERR_NONE},
        {REG_EXPECT_REV, "none", 1, ERR_NOT_FOUND},    {REG_EXPECT_REV, "fixed", 99, ERR_CONFLICT},
        {REG_EXPECT_REV, "fixed", 2, ERR_NONE},
    };
    put(f, "there", "1");
    put(f, "fixed", "1");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct reg_op op = {.key = slice_of(rows[i].key),
                            .value = S("v"),
                            .expect = rows[i].expect,
                            .expected = rows[i].expected};
        assert_int_equal(apply(f, &op, 1), rows[i].code);
        if (rows[i].code == ERR_CONFLICT)
            assert_int_equal(f->last.failed_rev, 2);
    }
}

static void test_request_is_atomic(void **state)
{
    struct fixture *f = *state;
    put(f, "b", "old");
    struct reg_op ops[] = {
        {.key = S("a"), .value = S("1")},
        {.key = S("b"), .value = S("new"), .expect = REG_EXPECT_ABSENT},
    };
    assert_int_equal(apply(f, ops, 2), ERR_EXISTS);
    assert_int_equal(f->last.failed_op, 1);
    assert_null(value_of(f, "a", NULL));
    assert_string_equal(value_of(f, "b", NULL), "old");
}

static void test_repeated_request_has_effect_once(void **state)
{
    struct fixture *f = *state;
    struct reg_op create = {.key = S("k"), .value = S("1"), .expect = REG_EXPECT_ABSENT};
    apply_as(f, 9, 5, 3, &create);
    assert_int_equal(f->last.code, ERR_NONE);
    reg_rev first = f->last.revision;
    apply_as(f, 9, 5, 3, &create); /* without the table: EXISTS */
    assert_int_equal(f->last.code, ERR_NONE);
    assert_true(f->last.repeated);
    assert_int_equal(f->last.revision, first);
    struct reg_op other = {.key = S("k2"), .value = S("1")};
    apply_as(f, 9, 4, 3, &other); /* a lower sequence that was not seen is no repetition */
    assert_false(f->last.repeated);
    store_down(f);
    store_up(f);
    apply_as(f, 9, 5, 3, &create); /* and it survives a restart */
    assert_true(f->last.repeated);
    apply_as(f, 9, 6, 6, &other);
    apply_as(f, 9, 5, 5, &create); /* settled: answered long ago */
    assert_int_equal(f->last.code, ERR_CANCELLED);
}

struct seen {
    char text[1024];
};

static bool note_event(void *ctx, const struct reg_event *e)
{
    struct seen *s = ctx;
    size_t at = strlen(s->text);
    snprintf(s->text + at, sizeof(s->text) - at, "%llu%s%.*s=%.*s<%.*s ",
             (unsigned long long)e->revision, e->deleted ? "-" : "+", SLICE(e->object.key),
             SLICE(e->object.value), SLICE(e->prev_value));
    return true;
}

static void test_changes(void **state)
{
    struct fixture *f = *state;
    struct reg_txn t;
    struct seen seen = {{0}};
    put(f, "a", "1");
    struct reg_op ops[] = {{.key = S("b"), .value = S("1")}, {.key = S("a"), .value = S("2")}};
    apply(f, ops, 2);
    del(f, "a");
    read_begin(f, &t);
    assert_int_equal(reg_changes(&t, 1, note_event, &seen), REG_HISTORY_OK);
    assert_string_equal(seen.text, "2+b=1< 2+a=2<1 3-a=2<2 ");
    reg_txn_end(&t);
}

static void test_compaction_says_gone(void **state)
{
    struct fixture *f = *state;
    struct reg_txn t;
    struct seen seen = {{0}};
    history_of(f, 10);
    for (int i = 0; i < 50; i++) {
        char value[8];
        snprintf(value, sizeof(value), "%d", i);
        put(f, "a", value);
    }
    read_begin(f, &t);
    assert_int_equal(t.compacted, 40);
    assert_int_equal(reg_changes(&t, 39, note_event, &seen), REG_HISTORY_COMPACTED);
    assert_int_equal(reg_changes(&t, 48, note_event, &seen), REG_HISTORY_OK);
    assert_string_equal(seen.text, "49+a=48<47 50+a=49<48 ");
    reg_txn_end(&t);
}

/* Somebody who was told a part of the newest revision can always be told it whole. */
static void test_newest_revision_stays(void **state)
{
    struct fixture *f = *state;
    struct reg_txn t;
    struct seen seen = {{0}};
    struct reg_op ops[] = {{.key = S("b"), .value = S("1")},
                           {.key = S("c"), .value = S("1")},
                           {.key = S("d"), .value = S("1")}};
    history_of(f, 2);
    put(f, "a", "1");
    apply(f, ops, 3);
    read_begin(f, &t);
    assert_int_equal(t.compacted, 1);
    assert_int_equal(reg_changes(&t, 1, note_event, &seen), REG_HISTORY_OK);
    assert_string_equal(seen.text, "2+b=1< 2+c=1< 2+d=1< ");
    reg_txn_end(&t);
    put(f, "a", "2");
    read_begin(f, &t);
    assert_int_equal(t.compacted, 2);
    reg_txn_end(&t);
}

static bool note_key(void *ctx, const struct reg_object *o)
{
    struct seen *s = ctx;
    size_t at = strlen(s->text);
    snprintf(s->text + at, sizeof(s->text) - at, "%.*s ", SLICE(o->key));
    return at + o->key.n < 12;
}

static void test_scan(void **state)
{
    struct fixture *f = *state;
    struct reg_txn t;
    static const struct {
        const char *prefix, *after, *keys;
    } rows[] = {
        {"p/", "", "p/a p/b p/c "}, {"p/", "p/a", "p/b p/c "}, {"q", "", "q "},
        {"p/", "p/c", ""},          {"", "p/c", "q "},
    };
    put(f, "p/b", "1");
    put(f, "p/a", "1");
    put(f, "q", "1");
    put(f, "p/c", "1");
    read_begin(f, &t);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct seen seen = {{0}};
        reg_scan(&t, slice_of(rows[i].prefix), slice_of(rows[i].after), note_key, &seen);
        assert_string_equal(seen.text, rows[i].keys);
    }
    reg_txn_end(&t);
}

static void test_map_grows(void **state)
{
    struct fixture *f = *state;
    struct reg_store_usage u;
    char *value = mem_new(100001);
    memset(value, 'x', 100000);
    for (int i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(put(f, key, value), ERR_NONE);
    }
    reg_store_usage(f->store, &u);
    assert_true(u.map_bytes > 8u << 20);
    mem_free(value);
}

static void test_checkpoint_restores_bytes_and_hash(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct reg_checkpoint c;
    struct reg_txn t;
    put(f, "a", "1");
    put(f, "b", "2");
    assert_true(reg_store_checkpoint(f->store, f->ckpt, &c, &err));
    assert_int_equal(c.index, 2);
    read_begin(f, &t);
    uint64_t hash = reg_state_hash(&t);
    reg_txn_end(&t);
    put(f, "a", "later");
    assert_true(reg_store_restore(f->store, f->ckpt, &c, &err));
    assert_string_equal(value_of(f, "a", NULL), "1");
    read_begin(f, &t);
    assert_true(reg_state_hash(&t) == hash);
    assert_int_equal(t.revision, 2);
    reg_txn_end(&t);
    int fd = open(f->ckpt, O_RDWR);
    assert_int_equal(pwrite(fd, "\xff", 1, 5000), 1);
    close(fd);
    assert_false(reg_store_restore(f->store, f->ckpt, &c, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    f->index = 2;
    assert_int_equal(put(f, "a", "9"), ERR_NONE);
}

static void test_replay_is_skipped(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    put(f, "a", "2");
    f->index = 0;
    put(f, "a", "old");
    assert_int_equal(f->last.client, 0); /* no result: not applied */
    assert_string_equal(value_of(f, "a", NULL), "2");
    f->index = 2;
}

/* Wrong: a node whose log is longer than what one transaction holds dies at each start. */
static void test_a_long_log_is_replayed(void **state)
{
    struct fixture *f = *state;
    const size_t bytes = 256 << 10, entries = 256; /* 64 MiB into a map of 1 MiB */
    char *value = mem_new(bytes), key[32];
    for (size_t i = 0; i < entries; i++) {
        snprintf(key, sizeof(key), "services/ns/k%zu", i % 4);
        memset(value, 'a' + (int)(i % 26), bytes);
        struct reg_op op = {.key = slice_of(key), .value = {value, bytes}};
        entry_only(f, &(struct reg_request){.client = TEST_CLIENT,
                                            .sequence = i + 1,
                                            .settled = i + 1,
                                            .ops = &op,
                                            .op_count = 1});
        assert_int_equal(f->last.code, ERR_NONE);
    }
    reg_fsm_commit(f->store, f->index, 1);
    struct reg_txn t;
    struct reg_object o;
    read_begin(f, &t);
    assert_true(reg_get(&t, S("services/ns/k3"), &o));
    assert_int_equal(o.mod_rev, entries);
    assert_int_equal(o.version, entries / 4);
    assert_int_equal(o.value.p[0], value[0]);
    reg_txn_end(&t);
    mem_free(value);
}

/* The file is damaged, and opening it says so. */
static void expect_refused(struct fixture *f)
{
    struct err err = {0};
    assert_false(store_opens(f, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
}

static void begin_anew(struct fixture *f)
{
    struct err err = {0};
    assert_true(reg_store_discard(f->env, f->dir, &err));
    store_up(f);
    f->index = 0;
}

/* A flipped bit on the disk: open refuses, a later read never answers. */
static void test_flipped_bit_is_found(void **state)
{
    struct fixture *f = *state;
    char *image;
    struct stat st;
    put(f, "needle-key", "needle-value-0123456789");
    store_down(f);
    int fd = open(f->data, O_RDWR);
    assert_int_equal(fstat(fd, &st), 0);
    image = mem_new((size_t)st.st_size);
    assert_int_equal(pread(fd, image, (size_t)st.st_size, 0), st.st_size);
    size_t flipped = 0;
    for (size_t i = 0; i + 12 < (size_t)st.st_size; i++)
        if (memcmp(image + i, "needle-value", 12) == 0) {
            assert_int_equal(pwrite(fd, "N", 1, (off_t)i), 1);
            flipped++;
        }
    close(fd);
    mem_free(image);
    assert_true(flipped > 0);
    expect_refused(f);
    begin_anew(f);
}

/* Wrong: a file that a file system cut off ends the process (the map ends behind it) or is opened
 * as if it were new. */
static void test_cut_file_is_found(void **state)
{
    struct fixture *f = *state;
    char key[32];
    struct stat st;
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "a/%d", i);
        put(f, key, "some value");
    }
    store_down(f);
    assert_int_equal(stat(f->data, &st), 0);
    for (off_t size = st.st_size - 1; size >= 0; size -= 4095) {
        assert_int_equal(truncate(f->data, size), 0);
        mark_clean(f); /* the mark alone would have it refused */
        expect_refused(f);
        assert_int_equal(stat(f->data, &st), 0);
        assert_int_equal(st.st_size, size); /* nothing was written to it either */
    }
    assert_int_equal(truncate(f->data, 0), 0); /* LMDB would take it for new */
    mark_clean(f);
    expect_refused(f);
    begin_anew(f);
}

/* One page more in both meta pages of the image, where LMDB's mm_last_pg is: as LMDB leaves it when
 * it took a page and gave it back in one transaction. Makes the checkpoint's hash right again. */
static void claim_a_page(const char *path, struct reg_checkpoint *c)
{
    enum { PAGE = 4096, LAST_PG = 136 };
    char *image = mem_new(c->bytes);
    uint64_t last, newest = 0;
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, image, c->bytes, 0), c->bytes);
    for (size_t meta = 0; meta < 2; meta++) {
        memcpy(&last, image + meta * PAGE + LAST_PG, sizeof(last));
        last++;
        newest = last > newest ? last : newest;
        memcpy(image + meta * PAGE + LAST_PG, &last, sizeof(last));
    }
    assert_int_equal(newest * PAGE, c->bytes); /* the field is where we think */
    assert_int_equal(pwrite(fd, image, c->bytes, 0), c->bytes);
    close(fd);
    assert_int_equal(EVP_Digest(image, c->bytes, c->sha256, NULL, EVP_sha256(), NULL), 1);
    mem_free(image);
}

/* Wrong: a good image that is shorter than its pages is refused as cut; or the file that was made
 * of it is, at the next start. */
static void test_short_image_is_filled(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct reg_checkpoint c;
    struct stat st;
    put(f, "a", "1");
    assert_true(reg_store_checkpoint(f->store, f->ckpt, &c, &err));
    claim_a_page(f->ckpt, &c);
    assert_true(reg_store_restore(f->store, f->ckpt, &c, &err));
    assert_int_equal(stat(f->data, &st), 0);
    assert_true((uint64_t)st.st_size >= c.bytes + 4096);
    put(f, "b", "2");
    store_down(f);
    store_up(f);
    assert_string_equal(value_of(f, "a", NULL), "1");
}

/* LMDB makes the file as long as the map, for which there is a signal here. */
static void end_in_opening(struct fixture *f)
{
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 19, RLIM_INFINITY}), 0);
    store_opens(f, &(struct err){0});
}

static void go_on(struct fixture *f)
{
    uint64_t term;
    store_up(f);
    reg_store_applied(f->store, &f->index, &term);
}

static void open_and_write(struct fixture *f)
{
    go_on(f);
    put(f, "services/default/b", "2");
}

static void open_and_write_much(struct fixture *f)
{
    char value[16];
    go_on(f);
    for (int i = 0; i < STORE_SETTLED_COMMITS; i++) {
        snprintf(value, sizeof(value), "%d", i);
        put(f, "services/default/b", value);
    }
}

/* Wrong: damage that no scan meets ends the process soon after each start, for ever. But whoever
 * has run for a while was not ended by it. */
static void test_ends_in_a_row_are_counted(void **state)
{
    struct fixture *f = *state;
    put(f, "services/default/a", "1");
    store_down(f);
    for (int i = 0; i < STORE_UNCLEAN_MAX; i++)
        in_a_process(f, open_and_write);
    in_a_process(f, open_and_write_much);
    for (int i = 0; i < STORE_UNCLEAN_MAX - 1; i++)
        in_a_process(f, open_and_write);
    store_up(f);
    assert_string_equal(value_of(f, "services/default/a", NULL), "1");
    store_down(f);
    for (int i = 0; i <= STORE_UNCLEAN_MAX; i++)
        in_a_process(f, open_and_write);
    expect_refused(f);
    begin_anew(f);
}

/* Wrong: damage that ends the process while it opens the file does so at every start. */
static void test_end_while_opening_is_remembered(void **state)
{
    struct fixture *f = *state;
    put(f, "services/default/a", "1");
    store_down(f);
    expect_end(end_in_opening, f);
    expect_refused(f);
    begin_anew(f);
}

/* The disk gives nothing more, as far as this process can see. */
static void fill_the_disk(struct fixture *f)
{
    struct stat st;
    char key[32];
    assert_int_equal(stat(f->data, &st), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){(rlim_t)st.st_size, RLIM_INFINITY}),
                     0);
    for (int i = 0; i < 100; i++) { /* what was promised before is enough for that */
        snprintf(key, sizeof(key), "services/default/%d", i);
        put(f, key, "some value");
    }
}

static void go_on_without_room(struct fixture *f)
{
    go_on(f);
    fill_the_disk(f);
}

static void fill_the_file(struct fixture *f)
{
    char key[32];
    static char value[3000];
    memset(value, 'v', sizeof(value) - 1);
    go_on_without_room(f);
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof(key), "services/default/more-%d", i);
        put(f, key, value);
    }
}

/* Wrong: LMDB writes into a map whose file has no block behind the page: a SIGBUS in the middle of
 * a batch, without a word. */
static void test_full_disk_is_said(void **state)
{
    struct fixture *f = *state;
    put(f, "services/default/a", "1");
    store_down(f);
    f->opt.map_bytes = 1 << 30; /* it need not grow, which the limit of the file would forbid */
    in_a_process(f, go_on_without_room);
    assert_int_equal(expect_end(fill_the_file, f), SIGABRT);
    store_up(f);
    assert_string_equal(value_of(f, "services/default/99", NULL), "some value");
}

enum { BIG_VALUES = 12, BIG_BYTES = 1 << 20 };

static void delete_big_values(struct fixture *f)
{
    struct reg_op ops[BIG_VALUES];
    char keys[BIG_VALUES][16];
    go_on(f);
    for (int i = 0; i < BIG_VALUES; i++) {
        snprintf(keys[i], sizeof(keys[i]), "big/%d", i);
        ops[i] = (struct reg_op){.del = true, .key = slice_of(keys[i])};
    }
    apply(f, ops, BIG_VALUES);
}

/* Wrong: a short entry that deletes much writes more of history than there are blocks for, and ends
 * the process by a SIGBUS on a disk with all the room that there can be. */
static void test_deletes_of_big_values_have_room(void **state)
{
    struct fixture *f = *state;
    char key[16], *value = mem_new(BIG_BYTES + 1);
    memset(value, 'v', BIG_BYTES);
    for (int i = 0; i < BIG_VALUES; i++) {
        snprintf(key, sizeof(key), "big/%d", i);
        put(f, key, value);
    }
    mem_free(value);
    store_down(f);
    in_a_process(f, delete_big_values);
    store_up(f);
    assert_null(value_of(f, "big/0", NULL));
}

/* What one entry may delete: its bytes are few, those of the history many. */
struct mass {
    const char *what;
    unsigned objects;
    size_t bytes; /* of each value */
};

struct mass_ops {
    struct reg_op ops[REG_REQUEST_OPS_MAX];
    char keys[REG_REQUEST_OPS_MAX][16];
};

static size_t mass_part(struct mass_ops *m, const struct mass *mass, unsigned from, size_t most,
                        const char *value)
{
    size_t n = 0;
    for (; n < most && from + n < mass->objects; n++) {
        snprintf(m->keys[n], sizeof(m->keys[n]), "m/%05u",
                 (unsigned)(from + n) * 7919 % 100000); /* in no order */
        m->ops[n] = (struct reg_op){
            .del = !value, .key = slice_of(m->keys[n]), .value = {value, value ? mass->bytes : 0}};
    }
    return n;
}

/* In many entries; the history of them goes, and its pages are free. */
static void mass_put(struct fixture *f, const struct mass *mass)
{
    struct mass_ops *m = MEM_NEW(struct mass_ops);
    char *value = mem_new(mass->bytes), text[16];
    size_t most = REG_REQUEST_BYTES_MAX / (mass->bytes + 64), n;
    memset(value, 'v', mass->bytes);
    if (most > REG_REQUEST_OPS_MAX)
        most = REG_REQUEST_OPS_MAX;
    for (unsigned i = 0; (n = mass_part(m, mass, i, most, value)) > 0; i += (unsigned)n)
        assert_int_equal(apply(f, m->ops, n), ERR_NONE);
    for (unsigned i = 0; i < mass->objects / STORE_COMPACT_ROWS_MAX; i++) {
        snprintf(text, sizeof(text), "%u", i);
        put(f, "other", text);
    }
    mem_free(value);
    mem_free(m);
}

static void mass_delete(struct fixture *f, const struct mass *mass)
{
    struct mass_ops *m = MEM_NEW(struct mass_ops);
    struct reg_entry_builder b = {.term = 1};
    size_t n;
    reg_entry_begin(&b, TEST_WALL_MS);
    for (unsigned i = 0; (n = mass_part(m, mass, i, REG_REQUEST_OPS_MAX, NULL)) > 0;
         i += (unsigned)n)
        assert_true(reg_entry_add(&b, &(struct reg_request){.client = TEST_CLIENT + 1,
                                                            .sequence = i + 1,
                                                            .settled = i + 1,
                                                            .ops = m->ops,
                                                            .op_count = n}));
    reg_fsm_apply(f->store, ++f->index, 1, reg_entry_end(&b), keep_result, f);
    reg_fsm_commit(f->store, f->index, 1);
    assert_int_equal(f->last.code, ERR_NONE);
    reg_entry_fini(&b);
    mem_free(m);
}

static const struct mass masses[] = {
    {"large values", 100, 1000000},
    {"values whose change has a page of its own", 30000, 1000},
    {"values of half a page", 30000, 600},
    {"many small ones", 50000, 20},
};
static const struct mass *mass_now;

static void put_and_delete(struct fixture *f)
{
    go_on(f);
    mass_put(f, mass_now);
    mass_delete(f, mass_now);
}

/* Wrong: an entry that deletes much, all of which the history gets twice, does not fit into the
 * map, which cannot grow within a batch, or there is no block behind a page: the process ends, and
 * again at each start. */
static void test_all_may_be_deleted_at_once(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(masses); i++) {
        store_down(f);
        assert_true(reg_store_discard(f->env, f->dir, &err));
        f->opt.history_revisions = 1;
        f->opt.step_bytes = 1 << 20;
        mass_now = &masses[i];
        print_message("%s\n", mass_now->what);
        in_a_process(f, put_and_delete);
        store_up(f);
        assert_false(there(f, "m/07919"));
    }
}

/* Short operations of which the history says much, as many as one batch takes. */
static void apply_short_ones(struct fixture *f)
{
    struct mass_ops *m = MEM_NEW(struct mass_ops);
    char origin[REG_ORIGIN_BYTES_MAX];
    uint32_t i = 0;
    size_t total = 0;
    struct reg_request q = {.client = TEST_CLIENT,
                            .origin = slice_mem(origin, sizeof(origin)),
                            .ops = m->ops,
                            .op_count = REG_REQUEST_OPS_MAX};
    memset(origin, 'o', sizeof(origin));
    go_on(f);
    while (total < STORE_BATCH_BYTES_MAX) {
        struct reg_entry_builder b = {.term = 1};
        reg_entry_begin(&b, TEST_WALL_MS);
        do {
            q.settled = ++q.sequence;
            for (unsigned n = 0; n < REG_REQUEST_OPS_MAX; n++) {
                snprintf(m->keys[n], sizeof(m->keys[n]), "%x", i++ * 2654435761u); /* all others */
                m->ops[n] = (struct reg_op){.key = slice_of(m->keys[n]), .value = S("1")};
            }
        } while (reg_entry_add(&b, &q));
        struct slice entry = reg_entry_end(&b);
        total += entry.n;
        reg_fsm_apply(f->store, ++f->index, 1, entry, NULL, NULL);
        reg_entry_fini(&b);
    }
    reg_fsm_commit(f->store, f->index, 1);
    mem_free(m);
}

/* Wrong: a log of many short operations, replayed in one batch, takes pages of data.mdb that have
 * no block. */
static void test_short_operations_have_room(void **state)
{
    struct fixture *f = *state;
    store_down(f);
    f->opt.step_bytes = 1 << 20;
    in_a_process(f, apply_short_ones);
    store_up(f);
    assert_true(there(f, "0"));
}

enum { KILLS = 12, KILL_OBJECTS = 64 };

/* Tells the pipe each commit that is done. */
static void write_until_killed(struct fixture *f, int fd)
{
    char key[16], value[3000];
    go_on(f);
    for (uint64_t n = f->index + 1;; n++) {
        size_t bytes = 100 + n * 977 % (sizeof(value) - 100);
        memset(value, 'v', bytes);
        snprintf(value, sizeof(value), "%llu", (unsigned long long)n);
        snprintf(key, sizeof(key), "k/%llu", (unsigned long long)(n % KILL_OBJECTS));
        struct reg_op op = {.key = slice_of(key), .value = slice_mem(value, bytes)};
        apply(f, &op, 1);
        if (write(fd, &f->index, sizeof(f->index)) != sizeof(f->index))
            _exit(1);
    }
}

/* Wrong: LMDB changes pages in the map, and a process that is killed between two of them leaves a
 * file that the check at the next start refuses, or one without a commit that was done. */
static void test_kill_leaves_what_was_committed(void **state)
{
    struct fixture *f = *state;
    char key[16];
    store_down(f);
    for (unsigned i = 0; i < KILLS; i++) {
        int ends[2];
        reg_rev told = 0, applied;
        uint64_t term;
        assert_int_equal(pipe(ends), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            write_until_killed(f, ends[1]);
        close(ends[1]);
        assert_int_equal(read(ends[0], &told, sizeof(told)), sizeof(told)); /* it is at work */
        usleep(1000 + i * 1777 % 9000);
        assert_int_equal(kill(pid, SIGKILL), 0);
        while (read(ends[0], &told, sizeof(told)) == sizeof(told))
            continue;
        close(ends[0]);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        store_up(f);
        reg_store_applied(f->store, &applied, &term);
        assert_true(applied == told || applied == told + 1);
        snprintf(key, sizeof(key), "k/%llu", (unsigned long long)(told % KILL_OBJECTS));
        assert_int_equal(strtoull(value_of(f, key, NULL), NULL, 10), told);
        store_down(f);
    }
    store_up(f);
}

static bool any_change(void *ctx, const struct reg_event *e)
{
    (void)ctx, (void)e;
    return true;
}

static void read_history(struct fixture *f)
{
    struct reg_txn t;
    struct err err = {0};
    store_up(f);
    reg_txn_begin(f->store, &t, &err);
    reg_changes(&t, 0, any_change, NULL);
}

/* Writes bytes where the history has the key of revision 1: its size, then 1 << 20. An opening that
 * does not verify does not look there. at: from there, or from the head of its page. */
static void damage_history(const char *path, struct slice bytes, bool of_page, off_t at)
{
    enum { PAGE = 4096 };
    static const char node[] = "\x08\x00\x00\x00\x10\x00\x00\x00\x00\x00";
    char image[1 << 16];
    size_t hits = 0;
    int fd = open(path, O_RDWR);
    ssize_t n = pread(fd, image, sizeof(image), 0);
    for (ssize_t i = 0; i + 10 <= n; i++)
        if (memcmp(image + i, node, 10) == 0)
            hits += pwrite(fd, bytes.p, bytes.n, (of_page ? i / PAGE * PAGE : i) + at) > 0;
    close(fd);
    assert_true(hits > 0);
}

static void write_more(struct fixture *f)
{
    store_up(f);
    put(f, "b", "2");
}

/* Wrong: damage that is met after the opening, by a reader or by the writer, ends the node at every
 * start. */
static void test_damage_that_is_met_later_is_remembered(void **state)
{
    struct fixture *f = *state;
    f->opt.verify = false;
    put(f, "a", "1");
    store_down(f);
    damage_history(f->data, S("\x04"), false, 0);
    expect_end(read_history, f);
    expect_refused(f);
    begin_anew(f);
    put(f, "a", "1");
    store_down(f);
    damage_history(f->data, S("\0\0"), true, 10); /* the page says no more what it is */
    expect_end(write_more, f);
    expect_refused(f);
    begin_anew(f);
}

/* Wrong: an opening that fails for another reason throws a good file away. */
static void test_failed_opening_keeps_the_file(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    char aside[128];
    snprintf(aside, sizeof(aside), "%s/aside", f->dir);
    put(f, "a", "1");
    store_down(f);
    assert_int_equal(rename(f->data, aside), 0);
    assert_int_equal(mkdir(f->data, 0700), 0);
    assert_false(store_opens(f, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_int_equal(rmdir(f->data), 0);
    assert_int_equal(rename(aside, f->data), 0);
    store_up(f);
    assert_string_equal(value_of(f, "a", NULL), "1");
}

static void on_notify(void *ctx, reg_rev revision)
{
    *(reg_rev *)ctx = revision;
}

static void test_notify_is_coalesced(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct env *env = env_uv_new(&err);
    reg_rev seen = 0;
    struct reg_notify *n = reg_notify_open(f->store, env, on_notify, &seen);
    put(f, "a", "1");
    put(f, "a", "2");
    while (!seen)
        env_uv_turn(env, 1000);
    assert_int_equal(seen, 2);
    put(f, "a", "3");
    reg_notify_close(n); /* with one on its way */
    env_uv_turn(env, 0);
    assert_int_equal(seen, 2);
    env_uv_free(env);
}

/* Otherwise a stream of writes wakes every thread that listens once for each of them, or its last
 * change is never told. */
static void test_notify_pauses_and_tells_the_last(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct env *env = env_uv_new(&err);
    reg_rev seen = 0;
    struct reg_notify *n = reg_notify_open(f->store, env, on_notify, &seen);
    reg_notify_pause(n, 200);
    put(f, "a", "1");
    while (!seen)
        env_uv_turn(env, 1000);
    wf_ms told = env_now(env);
    put(f, "a", "2");
    put(f, "a", "3");
    env_uv_turn(env, 0);
    if (env_now(env) - told < 200)
        assert_int_equal(seen, 1);
    while (seen == 1)
        env_uv_turn(env, 1000);
    assert_int_equal(seen, 3);
    assert_true(env_now(env) - told >= 200);
    put(f, "a", "4");
    reg_notify_close(n); /* in a pause */
    env_uv_turn(env, 0);
    assert_int_equal(seen, 3);
    env_uv_free(env);
}

/* Random edits against an obvious model: values, revisions and the state hash of a twin agree. */
static void test_property_model(void **state)
{
    struct fixture *f = *state;
    struct {
        bool there;
        unsigned value;
        reg_rev mod;
    } model[16] = {0};
    unsigned seed = 42;
    for (int i = 0; i < 2000; i++) {
        unsigned k = (unsigned)rand_r(&seed) % 16, v = (unsigned)rand_r(&seed) % 3;
        char key[8], value[8];
        snprintf(key, sizeof(key), "k%u", k);
        snprintf(value, sizeof(value), "%u", v);
        struct reg_op op = {
            .del = rand_r(&seed) % 4 == 0, .key = slice_of(key), .value = slice_of(value)};
        apply(f, &op, 1);
        bool changes = op.del ? model[k].there : !model[k].there || model[k].value != v;
        if (changes)
            model[k].mod = f->index;
        model[k].there = !op.del && (changes || model[k].there);
        if (!op.del)
            model[k].value = v;
        if (op.del)
            model[k].there = false;
        struct reg_object o;
        char *have = value_of(f, key, &o);
        assert_true((have != NULL) == model[k].there);
        if (have) {
            assert_string_equal(have, value);
            assert_int_equal(o.mod_rev, model[k].mod);
        }
    }
}

/* The past. */

#define PAST_KEYS 12
#define PAST_STEPS 300

struct moment {
    reg_rev mod[PAST_KEYS], create[PAST_KEYS]; /* 0: not there */
    unsigned value[PAST_KEYS];
};

struct past_walk {
    const struct moment *m;
    unsigned next; /* key that may come */
};

static const char *past_key(unsigned k)
{
    static char key[16];
    snprintf(key, sizeof(key), "%s/%02u", k < PAST_KEYS / 2 ? "a" : "b", k);
    return key;
}

static void must_be_as_then(const struct moment *m, unsigned k, const struct reg_object *o)
{
    char value[16];
    snprintf(value, sizeof(value), "%u", m->value[k]);
    assert_true(slice_eq(o->value, slice_of(value)));
    assert_int_equal(o->mod_rev, m->mod[k]);
    assert_int_equal(o->create_rev, m->create[k]);
}

static bool past_walk_one(void *ctx, const struct reg_object *o)
{
    struct past_walk *w = ctx;
    while (w->next < PAST_KEYS && !w->m->mod[w->next])
        w->next++;
    assert_true(w->next < PAST_KEYS);
    assert_true(slice_eq(o->key, slice_of(past_key(w->next))));
    must_be_as_then(w->m, w->next, o);
    w->next++;
    return true;
}

/* Against a copy of every moment. */
static void the_past_is_as_it_was(void **state)
{
    struct fixture *f = *state;
    static struct moment moments[PAST_STEPS + 1];
    unsigned seed = 7;
    struct reg_txn t;
    for (unsigned i = 1; i <= PAST_STEPS; i++) {
        unsigned k = (unsigned)rand_r(&seed) % PAST_KEYS;
        char value[16];
        struct moment *m = &moments[i];
        *m = moments[i - 1];
        bool del = rand_r(&seed) % 3 == 0;
        snprintf(value, sizeof(value), "%u", i);
        struct reg_op op = {.del = del, .key = slice_of(past_key(k)), .value = slice_of(value)};
        apply(f, &op, 1);
        assert_int_equal(f->index, i);
        m->create[k] = del ? 0 : m->mod[k] ? m->create[k] : i;
        m->mod[k] = del ? 0 : i;
        m->value[k] = i;
    }
    read_begin(f, &t);
    for (unsigned i = 0; i <= PAST_STEPS; i++) {
        struct reg_past *past;
        assert_int_equal(reg_past_open(&t, i, S(""), &past), REG_HISTORY_OK);
        for (unsigned k = 0; k < PAST_KEYS; k++) {
            struct reg_object o;
            assert_true(reg_past_get(past, slice_of(past_key(k)), &o) == (moments[i].mod[k] > 0));
            if (moments[i].mod[k])
                must_be_as_then(&moments[i], k, &o);
            struct past_walk w = {&moments[i], k + 1};
            reg_past_scan(past, S(""), slice_of(past_key(k)), past_walk_one, &w);
            while (w.next < PAST_KEYS && !moments[i].mod[w.next])
                w.next++;
            assert_int_equal(w.next, PAST_KEYS);
        }
        struct past_walk all = {&moments[i], 0}, some = {&moments[i], PAST_KEYS / 2};
        reg_past_scan(past, S(""), S(""), past_walk_one, &all);
        reg_past_scan(past, S("b/"), S(""), past_walk_one, &some);
        reg_past_free(past);
    }
    reg_txn_end(&t);
}

static bool count_event(void *ctx, const struct reg_event *e)
{
    (void)e;
    ++*(unsigned *)ctx;
    return true;
}

static void a_part_of_the_changes(void **state)
{
    struct fixture *f = *state;
    struct reg_txn t;
    static const struct {
        struct reg_range range;
        unsigned count;
    } rows[] = {
        {{.from = 0, .to = 100}, 6},
        {{.from = 2, .to = 4}, 2},
        {{.from = 4, .to = 4}, 0},
        {{.from = 0, .to = 100, .prefix = S_INIT("a/")}, 4},
        {{.from = 0, .to = 100, .prefix = S_INIT("a/1"), .whole = true}, 2},
        {{.from = 0, .to = 100, .prefix = S_INIT("a/"), .whole = true}, 0},
        {{.from = 3, .to = 6, .prefix = S_INIT("a/1"), .whole = true}, 1},
    };
    static const char *const keys[] = {"a/1", "a/10", "b/1", "a/1", "b/2", "a/2"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        char value[4];
        snprintf(value, sizeof(value), "%zu", i);
        put(f, keys[i], value);
    }
    read_begin(f, &t);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned count = 0;
        assert_int_equal(reg_changes_in(&t, &rows[i].range, count_event, &count), REG_HISTORY_OK);
        assert_int_equal(count, rows[i].count);
    }
    reg_txn_end(&t);
}

/* Requests with a key. */

static struct reg_result ask_once(struct fixture *f, uint64_t client, const char *key, char digest,
                                  const struct reg_op *ops, size_t n)
{
    struct reg_once once = {.digest = {(uint8_t)digest}, .memo = slice_of(key)};
    uint64_t at = f->index + 1;
    memcpy(once.key, key, strlen(key));
    apply_request(f, &(struct reg_request){.client = client,
                                           .sequence = at,
                                           .settled = at,
                                           .origin = S("tester"),
                                           .once = &once,
                                           .ops = ops,
                                           .op_count = n});
    return f->last;
}

static bool remembered(struct fixture *f, const char *key, struct reg_once_answer *ret)
{
    struct reg_txn t;
    struct reg_once_answer a = {0};
    uint8_t hash[REG_ONCE_HASH_BYTES] = {0};
    memcpy(hash, key, strlen(key));
    read_begin(f, &t);
    bool found = reg_once_get(&t, hash, &a);
    if (found)
        assert_true(slice_eq(a.memo, slice_of(key)));
    if (ret)
        *ret = a;
    reg_txn_end(&t);
    return found;
}

static void a_key_is_done_once(void **state)
{
    struct fixture *f = *state;
    struct reg_op op = {.key = S("services/default/a"), .value = S("1")};
    struct reg_result first = ask_once(f, 7, "k", 'x', &op, 1);
    assert_int_equal(first.code, ERR_NONE);
    assert_false(first.replayed);
    put(f, "services/default/a", "2");
    struct reg_result again = ask_once(f, 8, "k", 'x', &op, 1); /* another node asks */
    assert_int_equal(again.code, ERR_NONE);
    assert_true(again.replayed);
    assert_int_equal(again.revision, first.revision);
    assert_string_equal(value_of(f, "services/default/a", NULL), "2");
    struct reg_result other = ask_once(f, 8, "k", 'y', &op, 1);
    assert_int_equal(other.code, ERR_INVALID);
    assert_int_equal(other.revision, first.revision);
    assert_string_equal(value_of(f, "services/default/a", NULL), "2");
    store_down(f);
    store_up(f);
    again = ask_once(f, 9, "k", 'x', &op, 1);
    assert_true(again.replayed);
    assert_int_equal(again.revision, first.revision);
}

/* A refusal is not remembered, what changes nothing is. */
static void what_a_key_remembers(void **state)
{
    struct fixture *f = *state;
    struct reg_op op = {
        .key = S("services/default/a"), .value = S("1"), .expect = REG_EXPECT_EXISTS};
    assert_int_equal(ask_once(f, 7, "k", 'x', &op, 1).code, ERR_NOT_FOUND);
    assert_false(remembered(f, "k", NULL));
    reg_rev made = put_rev(f, "services/default/a", "1");
    struct reg_result said = ask_once(f, 7, "k", 'x', NULL, 0);
    assert_int_equal(said.code, ERR_NONE);
    assert_int_equal(said.revision, made);
    assert_true(ask_once(f, 7, "k", 'x', &op, 1).replayed);
}

static void checks_write_nothing(void **state)
{
    struct fixture *f = *state;
    reg_rev made = put_rev(f, "services/default/a", "1");
    struct reg_op ops[] = {
        {.check = true, .key = S("services/default/a"), .expect = REG_EXPECT_REV, .expected = made},
        {.check = true, .key = S("services/default/b"), .expect = REG_EXPECT_ABSENT},
        {.key = S("services/default/c"), .value = S("1")},
    };
    assert_int_equal(apply(f, ops, 3), ERR_NONE);
    assert_true(f->last.revision > made);
    struct reg_object o;
    assert_string_equal(value_of(f, "services/default/a", &o), "1");
    assert_int_equal(o.mod_rev, made);
    assert_null(value_of(f, "services/default/b", NULL));
    ops[1].expect = REG_EXPECT_EXISTS;
    ops[2].value = S("2");
    assert_int_equal(apply(f, ops, 3), ERR_NOT_FOUND);
    assert_int_equal(f->last.failed_op, 1);
    assert_string_equal(value_of(f, "services/default/c", NULL), "1");
}

/* The bound is reached, and it is the oldest that goes. */
static void the_oldest_keys_are_forgotten(void **state)
{
    struct fixture *f = *state;
    struct reg_once_answer a;
    char key[REG_ONCE_HASH_BYTES + 1];
    for (unsigned i = 0; i < REG_ONCE_MAX + 2000; i += REG_ENTRY_REQUESTS_MAX) {
        struct reg_entry_builder b = {0};
        reg_entry_begin(&b, 1);
        for (unsigned k = i; k < i + REG_ENTRY_REQUESTS_MAX; k++) {
            struct reg_once once = {.memo = slice_of(key)};
            snprintf(key, sizeof(key), "%u", k);
            memcpy(once.key, key, strlen(key));
            assert_true(reg_entry_add(
                &b, &(struct reg_request){
                        .client = 8, .sequence = k + 1, .settled = k + 1, .once = &once}));
        }
        reg_fsm_apply(f->store, ++f->index, 1, reg_entry_end(&b), NULL, NULL);
        reg_fsm_commit(f->store, f->index, 1);
        reg_entry_fini(&b);
    }
    unsigned all = (unsigned)f->index * REG_ENTRY_REQUESTS_MAX;
    snprintf(key, sizeof(key), "%u", all - REG_ONCE_MAX - 1);
    assert_false(remembered(f, key, NULL));
    snprintf(key, sizeof(key), "%u", all - REG_ONCE_MAX);
    assert_true(remembered(f, key, &a));
    put(f, "services/default/a", "1");
    f->index += REG_ONCE_ENTRIES + 2;
    put(f, "services/default/a", "2");
    assert_false(remembered(f, key, &a)); /* too long ago */
    ask_once(f, 7, key, 'x', NULL, 0);
    assert_true(remembered(f, key, &a));
}

static bool keep_event(void *ctx, const struct reg_event *e)
{
    struct reg_event *kept = ctx;
    *kept = *e;
    return true;
}

static void history_says_when_and_who(void **state)
{
    struct fixture *f = *state;
    struct reg_op op = {.key = S("services/default/a"), .value = S("1")};
    struct reg_event e = {0};
    struct reg_txn t;
    ask_once(f, 7, "k", 'x', &op, 1);
    read_begin(f, &t);
    assert_int_equal(reg_changes(&t, 0, keep_event, &e), REG_HISTORY_OK);
    assert_int_equal(e.wall_ms, TEST_WALL_MS);
    assert_true(slice_eq(e.origin, S("tester")));
    assert_true(slice_eq(e.object.value, S("1")));
    reg_txn_end(&t);
}

/* Wrong: a program opens what it does not read, or the version is lost with a restart or on the way
 * through a checkpoint, so that entries are written that are older than what was promised. */
static void the_version_is_state(void **state)
{
    struct fixture *f = *state;
    struct reg_entry_builder b = {.version = 4};
    struct reg_checkpoint c;
    struct err err = {0};
    struct reg_store_options older = {
        .env = f->env, .dir = f->dir, .map_bytes = 1 << 20, .reads = {3, 3}};
    assert_int_equal(reg_store_version(f->store), 0);
    put(f, "services/ns/a", "1");
    assert_int_equal(reg_store_version(f->store), 3);
    uint64_t hash = f->store->meta.state_hash;
    reg_rev revision = f->store->meta.revision;
    reg_entry_begin(&b, 1);
    reg_fsm_apply(f->store, ++f->index, 1, reg_entry_end(&b), NULL, NULL);
    reg_fsm_commit(f->store, f->index, 1);
    assert_int_equal(reg_store_version(f->store), 4);
    assert_int_equal(f->store->meta.revision, revision); /* no object changed */
    assert_true(f->store->meta.state_hash != hash);
    put(f, "services/ns/a", "2"); /* of version 3: it does not go back */
    assert_int_equal(reg_store_version(f->store), 4);
    assert_true(reg_store_checkpoint(f->store, f->ckpt, &c, &err));
    store_down(f);
    assert_null(reg_store_open(&older, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "the cluster is of version 4, this program reads 3 to 3"));
    store_up(f); /* nothing was harmed */
    assert_int_equal(reg_store_version(f->store), 4);
    store_down(f);
    reg_store_discard(f->env, f->dir, &err);
    err_clear(&err);
    f->store = reg_store_open(&older, &err);
    assert_non_null(f->store);
    assert_false(reg_store_restore(f->store, f->ckpt, &c, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    store_down(f);
    store_up(f);
    assert_true(reg_store_restore(f->store, f->ckpt, &c, &err));
    assert_int_equal(reg_store_version(f->store), 4);
    reg_entry_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_put_get_delete, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_equal_value_changes_nothing, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_preconditions, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_request_is_atomic, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_repeated_request_has_effect_once, setup_1000,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_changes, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_compaction_says_gone, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_newest_revision_stays, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_scan, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_map_grows, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint_restores_bytes_and_hash, setup_1000,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_replay_is_skipped, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_flipped_bit_is_found, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_cut_file_is_found, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_short_image_is_filled, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_ends_in_a_row_are_counted, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk_is_said, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_deletes_of_big_values_have_room, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_all_may_be_deleted_at_once, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_short_operations_have_room, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_kill_leaves_what_was_committed, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_end_while_opening_is_remembered, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_damage_that_is_met_later_is_remembered, setup_1000,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_failed_opening_keeps_the_file, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_notify_is_coalesced, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_notify_pauses_and_tells_the_last, setup_1000,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_long_log_is_replayed, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(test_property_model, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(the_past_is_as_it_was, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(a_part_of_the_changes, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(a_key_is_done_once, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(what_a_key_remembers, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(checks_write_nothing, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(the_oldest_keys_are_forgotten, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(the_version_is_state, setup_1000, teardown),
        cmocka_unit_test_setup_teardown(history_says_when_and_who, setup_1000, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
