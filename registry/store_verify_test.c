/* If these fail, a bit that a disk flipped in data.mdb becomes an answer, a lost object, or a node
 * that ends at every start; or a good file is thrown away. */
#include <fcntl.h>

#include "base/core/hash.h"
#include "registry/store_internal.h"
#include "registry/store_testing.h"

#define ENTRIES 400
#define KEYS 90
#define BIG 6000 /* bytes of a value that has pages of its own */

static int setup_short(void **state)
{
    setup(state);
    struct fixture *f = *state;
    store_down(f);
    f->opt.history_revisions = 300;
    store_up(f);
    return 0;
}

/* Entry i, always the same: objects that come and go, big ones too, leases, remembered requests. */
static void apply_entry(struct fixture *f, unsigned i)
{
    static char value[BIG];
    char key[48], lease[32], again[24];
    unsigned k = i * 7 % KEYS;
    size_t n = k % 9 == 0 ? BIG : 40 + k * 3;
    memset(value, 'a' + (int)(i % 26), n);
    snprintf(key, sizeof(key), "services/default/s%02u", k);
    snprintf(lease, sizeof(lease), "leases/default/l%u", k % 5);
    snprintf(again, sizeof(again), "request %u", i);
    struct reg_once once = {.memo = slice_of(again)};
    memcpy(once.key, again, strlen(again));
    struct reg_grant grant = {
        .holder = S("somebody"), .epoch = i < KEYS ? 1 + i : 1000, .ttl_ms = 5000};
    struct reg_op ops[] = {
        {.key = slice_of(key), .value = slice_mem(value, n)},
        {.key = slice_of(lease), .value = slice_mem(value, 30), .grant = &grant}};
    ops[0].del = i % 11 == 0;
    f->index = i - 1;
    apply_request(f, &(struct reg_request){.client = 7 + i % 3,
                                           .sequence = i,
                                           .settled = i,
                                           .once = i % 2 ? &once : NULL,
                                           .ops = ops,
                                           .op_count = i % 40 == 1 ? 2 : 1});
}

/* Of everything that a reader can see. */

static void mix(uint64_t *h, struct slice s)
{
    *h = hash_bytes_seed(s, *h + 1);
}

static bool on_object(void *ctx, const struct reg_object *o)
{
    uint64_t head[3] = {o->create_rev, o->mod_rev, o->version};
    mix(ctx, o->key);
    mix(ctx, o->value);
    mix(ctx, slice_mem(head, sizeof(head)));
    return true;
}

static bool on_event(void *ctx, const struct reg_event *e)
{
    mix(ctx, slice_mem(&e->deleted, 1));
    mix(ctx, e->prev_value);
    return on_object(ctx, &e->object);
}

static bool on_lease(void *ctx, const struct reg_lease *l)
{
    mix(ctx, l->key);
    mix(ctx, l->holder);
    mix(ctx, slice_mem(&l->epoch, sizeof(l->epoch)));
    return true;
}

static uint64_t answers_of(struct fixture *f)
{
    struct reg_txn t;
    char again[24];
    read_begin(f, &t);
    uint64_t h = t.revision * 31 + t.compacted;
    reg_scan(&t, S(""), S(""), on_object, &h);
    assert_int_equal(reg_changes(&t, t.compacted, on_event, &h), REG_HISTORY_OK);
    reg_lease_scan(&t, on_lease, &h);
    for (unsigned k = 0; k < KEYS; k++) {
        struct reg_object o;
        char key[48];
        snprintf(key, sizeof(key), "services/default/s%02u", k);
        if (reg_get(&t, slice_of(key), &o))
            on_object(&h, &o);
    }
    for (unsigned i = 0; i <= ENTRIES; i++) {
        struct reg_once_answer a;
        uint8_t key[REG_ONCE_HASH_BYTES] = {0};
        snprintf(again, sizeof(again), "request %u", i);
        memcpy(key, again, strlen(again));
        if (reg_once_get(&t, key, &a))
            mix(&h, a.memo);
    }
    reg_txn_end(&t);
    return h;
}

struct image {
    char *p;
    size_t n, used;
};

static struct image image_read(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    struct image i = {.p = mem_new((size_t)st.st_size), .n = (size_t)st.st_size};
    assert_int_equal(pread(fd, i.p, i.n, 0), i.n);
    close(fd);
    for (i.used = i.n; i.used && !i.p[i.used - 1];)
        i.used--;
    return i;
}

static void image_write(const char *path, const struct image *i)
{
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, i->p, i->n, 0), i->n);
    assert_int_equal(ftruncate(fd, (off_t)i->n), 0);
    close(fd);
}

/* A whole life of a store: every file on the way is a good one. */
static void good_files_are_good(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    for (unsigned i = 1; i <= ENTRIES; i++) {
        apply_entry(f, i);
        struct image image = image_read(f->data);
        if (!store_verify_image(slice_mem(image.p, image.n), false, NULL, &err))
            fail_msg("after entry %u: %s", i, err.msg);
        mem_free(image.p);
    }
}

/* What the check lets pass must open, answer as before, go on, and answer as it would have. */
static void must_be_harmless(struct fixture *f, const uint64_t want[2], size_t bit)
{
    struct err err = {0};
    mark_clean(f);
    if (!store_opens(f, &err))
        fail_msg("bit %zu passes the check, but does not open: %s", bit, err.msg);
    for (unsigned i = 1; i <= ENTRIES; i++)
        apply_entry(f, i); /* what the older meta page does not have yet */
    if (answers_of(f) != want[0])
        fail_msg("bit %zu is not found, and the answers are others", bit);
    apply_entry(f, ENTRIES + 1);
    apply_entry(f, ENTRIES + 2);
    if (answers_of(f) != want[1])
        fail_msg("bit %zu is not found, and later answers are others", bit);
    store_down(f);
}

static void no_flipped_bit_becomes_an_answer(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    unsigned seed = 11, found = 0, passed = 0;
    uint64_t want[2];
    for (unsigned i = 1; i <= ENTRIES; i++)
        apply_entry(f, i);
    want[0] = answers_of(f);
    store_down(f);
    struct image image = image_read(f->data);
    store_up(f);
    apply_entry(f, ENTRIES + 1);
    apply_entry(f, ENTRIES + 2);
    want[1] = answers_of(f);
    store_down(f);
    for (unsigned i = 0; i < 12000; i++) {
        /* Every third in the meta pages and the head of a page, where few bits mean much. */
        size_t at = i % 3 == 1   ? (size_t)rand_r(&seed) % 8192 % 200 + 4096 * (i % 2)
                    : i % 3 == 2 ? (size_t)rand_r(&seed) % (image.used / 4096) * 4096 +
                                       (size_t)rand_r(&seed) % 64
                                 : (size_t)rand_r(&seed) % image.used;
        if (at >= image.used)
            continue;
        size_t bit = at * 8 + (size_t)rand_r(&seed) % 8;
        image.p[at] = (char)(image.p[at] ^ 1 << bit % 8);
        if (!store_verify_image(slice_mem(image.p, image.n), false, NULL, &err)) {
            assert_int_equal(err.code, ERR_CORRUPT);
            found++;
        } else if (++passed % 8 == 0) {
            image_write(f->data, &image);
            must_be_harmless(f, want, bit);
        }
        image.p[at] = (char)(image.p[at] ^ 1 << bit % 8);
        err_clear(&err);
    }
    print_message("%u found, %u where nothing looks\n", found, passed);
    assert_true(found > 1000 && passed > 1000);
    mem_free(image.p);
}

/* Wrong: a map of petabytes passes, and then the store cannot be opened, at any start. */
static void a_flipped_size_of_the_map_is_found(void **state)
{
    enum { MAP_AT = 16 + 16, PAGE = 4096 };
    struct fixture *f = *state;
    struct err err = {0};
    for (unsigned i = 1; i <= 20; i++)
        apply_entry(f, i);
    struct image image = image_read(f->data);
    assert_true(store_verify_image(slice_mem(image.p, image.n), false, NULL, &err));
    for (size_t page = 0; page < 2; page++)
        for (unsigned bit = 0; bit < 64; bit++) {
            char *at = image.p + page * PAGE + MAP_AT + bit / 8;
            *at = (char)(*at ^ 1 << bit % 8);
            err_clear(&err);
            assert_false(store_verify_image(slice_mem(image.p, image.n), false, NULL, &err));
            assert_int_equal(err.code, ERR_CORRUPT);
            *at = (char)(*at ^ 1 << bit % 8);
        }
    mem_free(image.p);
}

static void rot(const struct fixture *f)
{
    struct image image = image_read(f->data);
    for (size_t i = 8192; i + 20 < image.n; i++)
        if (memcmp(image.p + i, "services/default/s01", 20) == 0)
            image.p[i] ^= 1;
    image_write(f->data, &image);
    mem_free(image.p);
}

static void rot_and_take_a_checkpoint(struct fixture *f)
{
    struct err err = {0};
    struct reg_checkpoint c;
    store_up(f);
    rot(f);
    reg_store_checkpoint(f->store, f->ckpt, &c, &err);
}

/* Wrong: what rotted while the node ran goes into the checkpoint, whose hash is right then, and
 * from there to the peers. */
static void a_damaged_store_makes_no_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct reg_checkpoint c;
    for (unsigned i = 1; i <= 50; i++)
        apply_entry(f, i);
    assert_true(reg_store_checkpoint(f->store, f->ckpt, &c, &err));
    store_down(f);
    expect_end(rot_and_take_a_checkpoint, f);
    assert_false(store_opens(f, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "found damaged while it was open"));
    assert_true(reg_store_discard(f->env, f->dir, &err));
    store_up(f);
}

static void give_up(const struct fixture *f)
{
    reg_store_open_drop(reg_store_open_begin(&f->opt));
}

/* A node whose log or certificate does not open gives up while data.mdb is being checked: wrong is
 * a next start that believes less of the file than before, or more. */
static void a_start_that_is_given_up_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    for (unsigned i = 1; i <= 50; i++)
        apply_entry(f, i);
    uint64_t want = answers_of(f);
    store_down(f);
    for (unsigned i = 0; i < 2 * STORE_UNCLEAN_MAX; i++)
        give_up(f);
    store_up(f);
    assert_int_equal(answers_of(f), want);
    store_down(f);
    rot(f);
    give_up(f);
    assert_false(store_opens(f, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    give_up(f);
    assert_true(reg_store_discard(f->env, f->dir, &err));
    store_up(f);
    store_down(f);
    f->opt.dir = f->data; /* no directory: nothing was begun */
    give_up(f);
    err_clear(&err);
    assert_false(store_opens(f, &err));
    assert_non_null(strstr(err.msg, "data.mdb"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(good_files_are_good, setup_short, teardown),
        cmocka_unit_test_setup_teardown(no_flipped_bit_becomes_an_answer, setup_short, teardown),
        cmocka_unit_test_setup_teardown(a_flipped_size_of_the_map_is_found, setup_short, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_store_makes_no_checkpoint, setup_short, teardown),
        cmocka_unit_test_setup_teardown(a_start_that_is_given_up_changes_nothing, setup_short,
                                        teardown),
    };
    return cmocka_run_group_tests_name("store_verify", tests, NULL, NULL);
}
