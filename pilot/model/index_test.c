/* If these failed, a proxy would not learn of a workload whose key nobody had asked for before,
 * would keep one that is gone, or be told nothing of a change: what the indexes say is compared
 * with a slow model that keeps everything, while keys collide.
 */
#include "pilot/model/model_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct dice {
    uint64_t state;
};

static uint32_t roll(struct dice *d, uint32_t below)
{
    d->state = d->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((d->state >> 33) % below);
}

struct world {
    struct graph g;
    struct model m;
    reg_rev rev;
};

static void world_init(struct world *w, uint32_t hash_mask)
{
    memset(w, 0, sizeof(*w));
    graph_init(&w->g);
    model_init(&w->m, &w->g, S("istio-system"));
    w->m.hash_mask = hash_mask;
}

static void world_fini(struct world *w)
{
    graph_fini(&w->g);
    model_fini(&w->m);
}

/* Tables. */

static void numbers_are_given_again(void **state)
{
    (void)state;
    struct numbers t = {0};
    int things[300];
    for (uint32_t i = 0; i < ARRAY_LEN(things); i++)
        assert_int_equal(numbers_take(&t, &things[i]), i + 1);
    uint32_t seen = 0;
    NUMBERS_EACH (&t, i) {
        assert_ptr_equal(numbers_at(&t, i), &things[i - 1]);
        seen++;
        if (i % 3 == 0)
            numbers_give(&t, i);
    }
    assert_int_equal(seen, 300);
    assert_int_equal(t.n, 200);
    numbers_set(&t, 1, &things[299]);
    assert_ptr_equal(numbers_at(&t, 1), &things[299]);
    NUMBERS_EACH (&t, i)
        assert_true(i % 3 != 0);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(numbers_take(&t, &things[i]) % 3, 0);
    assert_int_equal(numbers_take(&t, things), 301);
    numbers_fini(&t);
}

/* Few hashes and few numbers, so that runs are long, wrap around, and hold equal postings. */
static void postings_are_all_found(void **state)
{
    (void)state;
    enum { HASHES = 9, NUMBERS = 5, STEPS = 20000 };
    static const uint32_t hashes[HASHES] = {0, 1, 2, 62, 63, 64, 127, 128, UINT32_MAX};
    unsigned count[HASHES][NUMBERS] = {0};
    struct postings t = {0};
    struct dice d = {7};
    size_t all = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        uint32_t h = roll(&d, HASHES), n = roll(&d, NUMBERS);
        bool grows = (step / 500) % 2 == 0;
        if (roll(&d, 10) < (grows ? 6 : 3)) {
            postings_put(&t, hashes[h], n + 1);
            count[h][n]++;
            all++;
        } else if (count[h][n]) {
            uint32_t other = roll(&d, NUMBERS);
            postings_set(&t, hashes[h], n + 1, other + 1);
            count[h][n]--;
            count[h][other]++;
            n = other;
            postings_del(&t, hashes[h], n + 1);
            count[h][n]--;
            all--;
        }
        unsigned seen[NUMBERS] = {0};
        for (size_t at = postings_first(&t, hashes[h]); at != POSTINGS_END;
             at = postings_next(&t, at))
            seen[t.slots[at].number - 1]++;
        assert_memory_equal(seen, count[h], sizeof(seen));
        assert_int_equal(t.n, all);
    }
    assert_int_equal(postings_first(&t, 77), POSTINGS_END);
    postings_fini(&t);
}

/* Facts that are made late. */

#define WE_KEY "workloadentries.networking.istio.io/n/"

static void put(struct world *w, const char *name, const char *spec)
{
    char key[100], json[400];
    snprintf(key, sizeof(key), WE_KEY "%s", name);
    snprintf(json, sizeof(json), "{\"spec\":%s}", spec);
    w->rev++;
    model_apply(&w->m, slice_of(key), slice_of(json), w->rev, w->rev);
}

static void del(struct world *w, const char *name)
{
    char key[100];
    snprintf(key, sizeof(key), WE_KEY "%s", name);
    model_delete(&w->m, slice_of(key), ++w->rev);
}

/* Members' names, in order, and the revision. */
static void says(struct world *w, enum model_index index, const char *name, const char *want)
{
    struct buf b = {0};
    const struct model_fact *f = model_index(&w->m, index, slice_of(name));
    for (size_t i = 0; i < f->n; i++)
        buf_printf(&b, "%.*s ", SLICE(f->members[i]->name));
    buf_printf(&b, "@%llu", (unsigned long long)f->node.revision);
    if (!slice_eq(buf_slice(&b), slice_of(want)))
        fail_msg("%s: %.*s, not %s", name, SLICE(buf_slice(&b)), want);
    buf_fini(&b);
}

static void late_facts(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, UINT32_MAX);
    put(&w, "a", "{\"address\":\"10.0.0.1\",\"labels\":{\"app\":\"x\",\"one\":\"a\"}}"); /* @1 */
    put(&w, "b", "{\"address\":\"10.0.0.2\",\"labels\":{\"app\":\"y\"}}");
    assert_int_equal(w.m.facts.n, 0);
    assert_int_equal(w.m.index.n, 7);

    /* Found; replaced by what says the same, and by what does not. */
    says(&w, MODEL_ADDRESS, "10.0.0.1", "a @1");
    says(&w, MODEL_ADDRESS, "10.0.0.3", "@0");
    model_apply(
        &w.m, S(WE_KEY "a"),
        S("{\"metadata\":{\"annotations\":{\"x\":\"y\"}},\"spec\":{\"address\":\"10.0.0.1\","
          "\"labels\":{\"app\":\"x\",\"one\":\"a\"}}}"),
        1, 50);
    says(&w, MODEL_ADDRESS, "10.0.0.1", "a @1");
    says(&w, MODEL_WORKLOADS, "n/one=a", "a @1");
    w.rev = 60;
    put(&w, "a", "{\"address\":\"10.0.0.3\",\"labels\":{\"app\":\"x\",\"two\":\"a\"}}"); /* @61 */
    says(&w, MODEL_ADDRESS, "10.0.0.1", "@61");
    says(&w, MODEL_ADDRESS, "10.0.0.3", "a @61");
    says(&w, MODEL_WORKLOADS, "n/app=x", "a @61");
    says(&w, MODEL_WORKLOADS, "n/one=a", "@61");
    says(&w, MODEL_WORKLOADS, "n/two=a", "a @61");

    /* Shared before anybody asked: the second object makes the fact, oldest first. */
    model_apply(&w.m, S(WE_KEY "0"), S("{\"spec\":{\"labels\":{\"app\":\"y\"}}}"), 1, 62);
    says(&w, MODEL_WORKLOADS, "n/app=y", "0 b @62");
    w.rev = 70;
    del(&w, "b"); /* @71 */
    says(&w, MODEL_WORKLOADS, "n/app=y", "0 @71");
    says(&w, MODEL_ADDRESS, "10.0.0.2", "@0"); /* nobody had asked while it was there */
    del(&w, "0");
    del(&w, "a"); /* @73 */
    says(&w, MODEL_WORKLOADS, "n/two=a", "@73");
    says(&w, MODEL_OBJECT, WE_KEY "a", "@0");

    model_index_sweep(&w.m);
    assert_true(w.m.objects.n == 0 && w.m.facts.n == 0 && w.m.index.n == 0);
    world_fini(&w);
}

/* Nobody reads them any more: back to postings, but for one that knows of a later revision than the
 * object that is left. */
static void facts_go_back(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, UINT32_MAX);
    put(&w, "a", "{\"address\":\"10.0.0.1\",\"labels\":{\"app\":\"x\"}}");
    put(&w, "b", "{\"address\":\"10.0.0.2\",\"labels\":{\"app\":\"x\"}}");
    says(&w, MODEL_ADDRESS, "10.0.0.1", "a @1");
    says(&w, MODEL_ADDRESS, "10.0.0.9", "@0");
    model_index_sweep(&w.m);
    assert_int_equal(w.m.facts.n, 1);
    says(&w, MODEL_ADDRESS, "10.0.0.1", "a @1");
    del(&w, "b");
    model_index_sweep(&w.m);
    assert_int_equal(w.m.facts.n, 1);
    says(&w, MODEL_WORKLOADS, "n/app=x", "a @3");
    put(&w, "a", "{\"address\":\"10.0.0.1\",\"labels\":{\"app\":\"x\"},\"weight\":4}");
    model_index_sweep(&w.m);
    assert_int_equal(w.m.facts.n, 0);
    says(&w, MODEL_WORKLOADS, "n/app=x", "a @4");
    world_fini(&w);
}

/* Against a slow model. */

enum { NAMES = 6, ADDRESSES = 5, WORDS = 3, STEPS = 3000 };

struct thing {
    bool live, is_slice;
    unsigned address, address2, app, version; /* address 0: none; version 0: no label */
    unsigned weight;                          /* of a slice: its port */
    reg_rev create_rev;
    char key[100];
};

struct tracked {
    struct graph_cell cell;
    struct world *w;
    enum model_index index;
    char name[100];
    bool pinned; /* somebody reads it at all times */
    size_t members;
    reg_rev revision;     /* of the slow model: of any touch since ever */
    bool touched;         /* since the cell was computed */
    reg_rev since[NAMES]; /* when each thing last entered or changed */
};

struct slow {
    struct world w;
    struct dice d;
    struct thing things[NAMES];
    struct tracked *all[100];
    size_t n;
};

static bool tracked_compute(struct graph *g, struct graph_cell *cell)
{
    struct tracked *t = (struct tracked *)cell;
    (void)g;
    t->members = model_index(&t->w->m, t->index, slice_of(t->name))->n;
    return true;
}

static const struct graph_cell_kind tracked_kind = {"tracked", sizeof(struct tracked),
                                                    tracked_compute, NULL};

static void track(struct slow *s, enum model_index index, const char *name)
{
    struct buf key = {0};
    buf_printf(&key, "%d%s", (int)index, name);
    struct tracked *t = (struct tracked *)graph_cell(&s->w.g, &tracked_kind, buf_slice(&key), NULL);
    buf_fini(&key);
    t->w = &s->w;
    t->index = index;
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->pinned = roll(&s->d, 2);
    graph_pin(&t->cell);
    if (t->pinned)
        graph_get(&s->w.g, &t->cell);
    s->all[s->n++] = t;
}

static void slow_init(struct slow *s, uint64_t seed, uint32_t hash_mask)
{
    char name[100];
    *s = (struct slow){.d = {seed}};
    world_init(&s->w, hash_mask);
    for (unsigned i = 0; i < NAMES; i++) {
        struct thing *o = &s->things[i];
        o->is_slice = i >= NAMES / 2;
        snprintf(o->key, sizeof(o->key), "%s/n/%u",
                 o->is_slice ? "endpointslices.discovery.k8s.io"
                             : "workloadentries.networking.istio.io",
                 i);
        track(s, MODEL_OBJECT, o->key);
    }
    for (unsigned i = 1; i <= ADDRESSES; i++) {
        snprintf(name, sizeof(name), "10.0.0.%u", i);
        track(s, MODEL_ADDRESS, name);
    }
    for (unsigned i = 1; i <= WORDS; i++) {
        snprintf(name, sizeof(name), "n/app=%u", i);
        track(s, MODEL_WORKLOADS, name);
        snprintf(name, sizeof(name), "n/version=%u", i);
        track(s, MODEL_WORKLOADS, name);
        snprintf(name, sizeof(name), "n/%u", i);
        track(s, MODEL_SLICES, name);
    }
}

static bool is_number(const char *text, unsigned n)
{
    char want[16];
    snprintf(want, sizeof(want), "%u", n);
    return n && strcmp(text, want) == 0;
}

static bool thing_has(const struct thing *o, const struct tracked *t)
{
    const char *n = t->name;
    if (!o->live)
        return false;
    switch (t->index) {
    case MODEL_OBJECT:
        return strcmp(n, o->key) == 0;
    case MODEL_ADDRESS:
        return is_number(n + 7, o->address) || (o->is_slice && is_number(n + 7, o->address2));
    case MODEL_SLICES:
        return o->is_slice && is_number(n + 2, o->app);
    default:
        return !o->is_slice && (strncmp(n, "n/app=", 6) == 0 ? is_number(n + 6, o->app)
                                                             : is_number(n + 10, o->version));
    }
}

/* Does the index say something else of the two? */
static bool thing_differs(const struct thing *a, const struct thing *b, enum model_index index)
{
    bool where = a->create_rev != b->create_rev || a->weight != b->weight || a->app != b->app;
    bool what = a->address != b->address || a->address2 != b->address2 || a->version != b->version;
    if (a->is_slice && index == MODEL_ADDRESS) /* at one address twice is not the same as once */
        return where || (a->address == a->address2) != (b->address == b->address2);
    return where || what;
}

static void slow_move(struct slow *s, const struct thing *was, const struct thing *is, reg_rev rev)
{
    for (size_t i = 0; i < s->n; i++) {
        struct tracked *t = s->all[i];
        bool before = thing_has(was, t), after = thing_has(is, t);
        if (before == after && (!before || !thing_differs(was, is, t->index)))
            continue;
        t->revision = rev;
        t->touched = true;
        t->since[is - s->things] = rev;
    }
}

static void thing_write(struct slow *s, const struct thing *o)
{
    char json[600], version[40] = "", address2[40] = "";
    if (o->version)
        snprintf(version, sizeof(version), ",\"version\":\"%u\"", o->version);
    if (o->address2)
        snprintf(address2, sizeof(address2), ",{\"addresses\":[\"10.0.0.%u\"]}", o->address2);
    if (o->is_slice)
        snprintf(json, sizeof(json),
                 "{\"metadata\":{\"labels\":{\"kubernetes.io/service-name\":\"%u\"%s}},\"ports\":[{"
                 "\"port\":%u}],\"endpoints\":[{\"addresses\":[\"10.0.0.%u\"]}%s]}",
                 o->app, version, o->weight, o->address, address2);
    else
        snprintf(json, sizeof(json),
                 "{\"metadata\":{\"labels\":{\"app\":\"%u\"}},\"spec\":{\"address\":\"10.0.0.%u\","
                 "\"labels\":{\"app\":\"under\"%s},\"weight\":%u,\"network\":\"%u\"}}",
                 o->app, o->address, version, o->weight, o->address2);
    model_apply(&s->w.m, slice_of(o->key), slice_of(json), o->create_rev, s->w.rev);
}

static void slow_step(struct slow *s)
{
    struct thing *o = &s->things[roll(&s->d, NAMES)], was = *o;
    reg_rev rev = ++s->w.rev;
    if (roll(&s->d, 5) == 0) {
        o->live = false;
        model_delete(&s->w.m, slice_of(o->key), rev);
    } else {
        o->create_rev = !was.live || roll(&s->d, 10) == 0 ? rev : was.create_rev;
        o->live = true;
        if (roll(&s->d, 4) || !was.live) {
            o->address = 1 + roll(&s->d, ADDRESSES);
            o->address2 = roll(&s->d, 1 + ADDRESSES);
            o->app = 1 + roll(&s->d, WORDS);
            o->version = roll(&s->d, 1 + WORDS);
            o->weight = 1 + roll(&s->d, 2);
        }
        thing_write(s, o);
    }
    slow_move(s, &was, o, rev);
}

static bool thing_older(const struct thing *a, const struct thing *b)
{
    return a->create_rev != b->create_rev ? a->create_rev < b->create_rev
                                          : strcmp(a->key, b->key) < 0;
}

/* Members, oldest first; the revision. One that nobody read may have forgotten who left. */
static void slow_check(struct slow *s, struct tracked *t)
{
    uint64_t computed = s->w.g.computed;
    if (t->pinned) {
        graph_get(&s->w.g, &t->cell);
        assert_int_equal(s->w.g.computed - computed, t->touched);
    }
    t->touched = false;
    const struct model_fact *f = model_index(&s->w.m, t->index, slice_of(t->name));
    reg_rev since = 0;
    size_t n = 0;
    for (size_t i = 0; i < NAMES; i++) {
        const struct thing *o = &s->things[i];
        if (!thing_has(o, t))
            continue;
        since = t->since[i] > since ? t->since[i] : since;
        size_t place = 0;
        for (size_t j = 0; j < NAMES; j++)
            place += thing_has(&s->things[j], t) && thing_older(&s->things[j], o);
        assert_true(place < f->n && slice_eq(f->members[place]->key, slice_of(o->key)));
        n++;
    }
    assert_int_equal(f->n, n);
    if (t->pinned)
        assert_int_equal(f->node.revision, t->revision);
    assert_in_range(f->node.revision, since, t->revision);
}

static void slow_history(uint64_t seed, uint32_t hash_mask)
{
    struct slow s;
    slow_init(&s, seed, hash_mask);
    for (unsigned step = 0; step < STEPS; step++) {
        slow_step(&s);
        slow_check(&s, s.all[roll(&s.d, (uint32_t)s.n)]);
        if (step % 50 == 0)
            for (size_t i = 0; i < s.n; i++)
                slow_check(&s, s.all[i]);
        if (step % 10 == 0)
            model_index_sweep(&s.w.m);
    }
    for (unsigned i = 0; i < NAMES; i++)
        model_delete(&s.w.m, slice_of(s.things[i].key), ++s.w.rev);
    graph_fini(&s.w.g);
    model_index_sweep(&s.w.m);
    assert_true(s.w.m.index.n == 0 && s.w.m.facts.n == 0 && s.w.m.objects.n == 0);
    assert_int_equal(s.w.m.object_bytes + s.w.m.fact_bytes, 0);
    graph_init(&s.w.g);
    world_fini(&s.w);
}

static void indexes_say_what_the_slow_model_says(void **state)
{
    (void)state;
    static const uint32_t masks[] = {0, 1, 7, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(masks); i++)
        for (uint64_t seed = 1; seed <= 4; seed++)
            slow_history(seed * 1000003, masks[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_given_again),
        cmocka_unit_test(postings_are_all_found),
        cmocka_unit_test(late_facts),
        cmocka_unit_test(facts_go_back),
        cmocka_unit_test(indexes_say_what_the_slow_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
