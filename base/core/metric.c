#include "base/core/metric.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/map.h"

const double metric_buckets_ms[] = {0.5,   1,      5,      10,      25,     50,    100,
                                    250,   500,    1000,   2500,    5000,   10000, 30000,
                                    60000, 300000, 600000, 1800000, 3600000};
const size_t metric_buckets_ms_count = ARRAY_LEN(metric_buckets_ms);

/* One series. Only the set's thread writes, so a change is a load and a store, both relaxed;
 * readers of other threads see each cell whole. */
struct metric {
    const struct metric_def *def;
    struct slice labels; /* name="value",… sorted by name, escaped: identity and text at once */
    uint64_t value;      /* counter; gauge as int64_t; histogram: count */
    double sum;
    uint64_t buckets[]; /* not cumulative; one more than the bounds, for +Inf */
};

/* `lock` guards the tables against readers of other threads; cells need none. */
struct metric_set {
    pthread_mutex_t lock;
    struct map series; /* name{labels -> metric */
    struct map defs;   /* name -> def */
    VEC(struct metric *) all;
    size_t series_max;
    uint64_t dropped;
    struct metric *overflow[METRIC_HISTOGRAM + 1];
    struct buf key;
};

static const struct metric_def overflow_defs[] = {
    {"", METRIC_COUNTER, "", NULL, 0},
    {"", METRIC_GAUGE, "", NULL, 0},
    {"", METRIC_HISTOGRAM, "", NULL, 0},
};

static struct metric *metric_make(const struct metric_def *def, struct slice labels)
{
    size_t cells = def->kind == METRIC_HISTOGRAM ? def->bucket_count + 1 : 0;
    struct metric *m = mem_new(sizeof(*m) + cells * sizeof(m->buckets[0]) + labels.n + 1);
    char *text = (char *)&m->buckets[cells];
    if (labels.n)
        memcpy(text, labels.p, labels.n);
    m->def = def;
    m->labels = (struct slice){text, labels.n};
    return m;
}

struct metric_set *metric_set_new(size_t series_max)
{
    struct metric_set *set = MEM_NEW(struct metric_set);
    pthread_mutex_init(&set->lock, NULL);
    set->series.copies_keys = true;
    set->series_max = series_max;
    for (size_t i = 0; i < ARRAY_LEN(set->overflow); i++)
        set->overflow[i] = metric_make(&overflow_defs[i], (struct slice){0});
    return set;
}

void metric_set_free(struct metric_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->all.n; i++)
        mem_free(set->all.p[i]);
    for (size_t i = 0; i < ARRAY_LEN(set->overflow); i++)
        mem_free(set->overflow[i]);
    vec_fini(&set->all);
    map_fini(&set->series);
    map_fini(&set->defs);
    buf_fini(&set->key);
    pthread_mutex_destroy(&set->lock);
    mem_free(set);
}

/* Finding a series. */

static void put_label(struct buf *out, const struct metric_label *label)
{
    buf_append(out, label->name);
    buf_append(out, S("=\""));
    for (size_t i = 0; i < label->value.n; i++) {
        char c = label->value.p[i];
        if (c == '\n')
            buf_append(out, S("\\n"));
        else if (c == '"' || c == '\\')
            buf_append(out, (struct slice){(char[]){'\\', c}, 2});
        else
            buf_append_byte(out, c);
    }
    buf_append_byte(out, '"');
}

/* Appends the labels in the order of their names: selection by repeated minimum, for they are few.
 */
static void put_labels(struct buf *out, size_t n, const struct metric_label *labels)
{
    const struct metric_label *last = NULL;
    for (size_t done = 0; done < n; done++) {
        const struct metric_label *least = NULL;
        for (size_t i = 0; i < n; i++) {
            bool later = !last || slice_cmp(labels[i].name, last->name) > 0;
            if (later && (!least || slice_cmp(labels[i].name, least->name) < 0))
                least = &labels[i];
        }
        wf_assert(least); /* label names of one series differ */
        if (done)
            buf_append_byte(out, ',');
        put_label(out, least);
        last = least;
    }
}

static bool same_shape(const struct metric_def *a, const struct metric_def *b)
{
    if (a == b)
        return true;
    if (a->kind != b->kind || a->bucket_count != b->bucket_count)
        return false;
    for (size_t i = 0; i < a->bucket_count; i++)
        if (a->buckets[i] < b->buckets[i] || a->buckets[i] > b->buckets[i])
            return false;
    return true;
}

static void check_def(struct metric_set *set, const struct metric_def *def)
{
    const struct metric_def *known = map_get(&set->defs, slice_of(def->name));
    if (!known)
        map_put(&set->defs, slice_of(def->name), (void *)(uintptr_t)def);
    else
        wf_assert(same_shape(known, def));
}

static struct metric *series_add(struct metric_set *set, const struct metric_def *def,
                                 struct slice key, struct slice labels)
{
    check_def(set, def);
    if (set->all.n >= set->series_max) {
        __atomic_store_n(&set->dropped, set->dropped + 1, __ATOMIC_RELAXED);
        return set->overflow[def->kind];
    }
    struct metric *m = metric_make(def, labels);
    pthread_mutex_lock(&set->lock);
    map_put(&set->series, key, m);
    *vec_push(&set->all) = m;
    pthread_mutex_unlock(&set->lock);
    return m;
}

struct metric *metric_get(struct metric_set *set, const struct metric_def *def, size_t n,
                          const struct metric_label *labels)
{
    buf_clear(&set->key);
    buf_append(&set->key, slice_of(def->name));
    buf_append_byte(&set->key, '{');
    size_t name_n = set->key.n;
    put_labels(&set->key, n, labels);
    struct slice key = buf_slice(&set->key);
    struct metric *m = map_get(&set->series, key);
    if (!m)
        return series_add(set, def, key, slice_skip(key, name_n));
    wf_assert(same_shape(m->def, def));
    return m;
}

/* Cells. */

static void cell_add(uint64_t *cell, uint64_t n)
{
    __atomic_store_n(cell, __atomic_load_n(cell, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static uint64_t cell_get(const uint64_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_RELAXED);
}

static double sum_get(const struct metric *m)
{
    double v;
    __atomic_load(&m->sum, &v, __ATOMIC_RELAXED);
    return v;
}

void metric_add(struct metric *m, uint64_t n)
{
    wf_assert(m->def->kind == METRIC_COUNTER);
    cell_add(&m->value, n);
}

void metric_set_value(struct metric *m, int64_t v)
{
    wf_assert(m->def->kind == METRIC_GAUGE);
    __atomic_store_n(&m->value, (uint64_t)v, __ATOMIC_RELAXED);
}

void metric_observe(struct metric *m, double v)
{
    wf_assert(m->def->kind == METRIC_HISTOGRAM);
    size_t i = 0;
    while (i < m->def->bucket_count && v > m->def->buckets[i])
        i++;
    double sum = sum_get(m) + v;
    cell_add(&m->buckets[i], 1);
    cell_add(&m->value, 1);
    __atomic_store(&m->sum, &sum, __ATOMIC_RELAXED);
}

uint64_t metric_value(const struct metric *m)
{
    return cell_get(&m->value);
}

/* Text. */

static int metric_order(const void *pa, const void *pb)
{
    const struct metric *a = *(struct metric *const *)pa, *b = *(struct metric *const *)pb;
    int order = strcmp(a->def->name, b->def->name);
    return order ? order : slice_cmp(a->labels, b->labels);
}

static bool same_series(const struct metric *a, const struct metric *b)
{
    return metric_order(&a, &b) == 0;
}

/* Help text escapes only backslash and line feed. */
static void write_head(struct buf *out, const struct metric_def *def)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    buf_printf(out, "# HELP %s ", def->name);
    for (const char *c = def->help ? def->help : ""; *c; c++) {
        if (*c == '\n')
            buf_append(out, S("\\n"));
        else if (*c == '\\')
            buf_append(out, S("\\\\"));
        else
            buf_append_byte(out, *c);
    }
    buf_printf(out, "\n# TYPE %s %s\n", def->name, kinds[def->kind]);
}

/* The shortest of two forms that reads back as the same number. */
static void format_double(char dst[40], double v)
{
    snprintf(dst, 40, "%.15g", v);
    if (strtod(dst, NULL) < v || strtod(dst, NULL) > v)
        snprintf(dst, 40, "%.17g", v);
}

static void write_name(struct buf *out, const struct metric *m, const char *suffix, const char *le)
{
    buf_printf(out, "%s%s", m->def->name, suffix);
    if (!m->labels.n && !le)
        return;
    buf_append_byte(out, '{');
    buf_append(out, m->labels);
    if (le)
        buf_printf(out, "%sle=\"%s\"", m->labels.n ? "," : "", le);
    buf_append_byte(out, '}');
}

/* `same` are n cells of one series out of several sets. */
static void write_histogram(struct buf *out, struct metric *const *same, size_t n)
{
    const struct metric_def *def = same[0]->def;
    uint64_t count = 0;
    double sum = 0;
    char number[40];
    for (size_t b = 0; b <= def->bucket_count; b++) {
        for (size_t i = 0; i < n; i++)
            count += cell_get(&same[i]->buckets[b]);
        if (b < def->bucket_count)
            format_double(number, def->buckets[b]);
        write_name(out, same[0], "_bucket", b < def->bucket_count ? number : "+Inf");
        buf_printf(out, " %llu\n", (unsigned long long)count);
    }
    for (size_t i = 0; i < n; i++)
        sum += sum_get(same[i]);
    format_double(number, sum);
    write_name(out, same[0], "_sum", NULL);
    buf_printf(out, " %s\n", number);
    write_name(out, same[0], "_count", NULL);
    buf_printf(out, " %llu\n", (unsigned long long)count);
}

static void write_series(struct buf *out, struct metric *const *same, size_t n)
{
    if (same[0]->def->kind == METRIC_HISTOGRAM) {
        write_histogram(out, same, n);
        return;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v += cell_get(&same[i]->value);
    write_name(out, same[0], "", NULL);
    if (same[0]->def->kind == METRIC_GAUGE)
        buf_printf(out, " %lld\n", (long long)v);
    else
        buf_printf(out, " %llu\n", (unsigned long long)v);
}

static void write_dropped(struct metric_set *const *sets, size_t n, struct buf *out)
{
    static const struct metric_def def = {"weft_metrics_series_dropped_total", METRIC_COUNTER,
                                          "Requests for a series past the set's bound", NULL, 0};
    uint64_t dropped = 0;
    for (size_t i = 0; i < n; i++)
        dropped += cell_get(&sets[i]->dropped);
    write_head(out, &def);
    buf_printf(out, "%s %llu\n", def.name, (unsigned long long)dropped);
}

void metric_write_text(struct metric_set *const *sets, size_t n, struct buf *out)
{
    VEC(struct metric *) all = {0};
    for (size_t i = 0; i < n; i++) {
        pthread_mutex_lock(&sets[i]->lock);
        for (size_t k = 0; k < sets[i]->all.n; k++)
            *vec_push(&all) = sets[i]->all.p[k];
        pthread_mutex_unlock(&sets[i]->lock);
    }
    if (all.n)
        qsort(all.p, all.n, sizeof(*all.p), metric_order);
    for (size_t i = 0, end; i < all.n; i = end) {
        if (i == 0 || strcmp(all.p[i]->def->name, all.p[i - 1]->def->name) != 0)
            write_head(out, all.p[i]->def);
        for (end = i + 1; end < all.n && same_series(all.p[i], all.p[end]); end++)
            wf_assert(same_shape(all.p[i]->def, all.p[end]->def));
        write_series(out, all.p + i, end - i);
    }
    write_dropped(sets, n, out);
    vec_fini(&all);
}
