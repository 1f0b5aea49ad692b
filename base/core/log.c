#include "base/core/log.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/core/core_limits.h"

#define COMPONENT_BYTES 64

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* The log is one of the few things that a process has one of. */
static struct {
    pthread_mutex_t lock; /* component, sink, and one line at a time */
    int level, format;
    char component[COMPONENT_BYTES];
    void (*sink)(void *ctx, enum log_level level, struct slice line);
    void *sink_ctx;
    bool has_sink;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_INFO_};

bool log_enabled(enum log_level level)
{
    return (int)level >= __atomic_load_n(&state.level, __ATOMIC_RELAXED);
}

void log_set_level(enum log_level level)
{
    __atomic_store_n(&state.level, (int)level, __ATOMIC_RELAXED);
}

bool log_level_parse(struct slice name, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (!slice_eq_nocase(name, slice_of(level_names[i])))
            continue;
        *ret_level = (enum log_level)i;
        return true;
    }
    /* Envoy's and most people's word for it. */
    if (slice_eq_nocase(name, S("warning"))) {
        *ret_level = LOG_WARN_;
        return true;
    }
    return false;
}

void log_set_format(enum log_format format)
{
    __atomic_store_n(&state.format, (int)format, __ATOMIC_RELAXED);
}

void log_set_component(const char *name)
{
    pthread_mutex_lock(&state.lock);
    snprintf(state.component, sizeof(state.component), "%s", name ? name : "");
    pthread_mutex_unlock(&state.lock);
}

void log_set_sink(void (*sink)(void *ctx, enum log_level level, struct slice line), void *ctx)
{
    pthread_mutex_lock(&state.lock);
    state.sink = sink;
    state.sink_ctx = ctx;
    __atomic_store_n(&state.has_sink, sink != NULL, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&state.lock);
}

/* One line in a fixed buffer. */

struct line {
    char p[LOG_LINE_BYTES_MAX];
    size_t n;
    bool full; /* sticky: later fields are left out whole */
    bool json;
};

#define LINE_TAIL 32 /* room for the mark of a cut line, "}" and the newline */

static void put(struct line *l, const char *p, size_t n)
{
    if (l->full || n > sizeof(l->p) - LINE_TAIL - l->n) {
        l->full = true;
        return;
    }
    memcpy(l->p + l->n, p, n);
    l->n += n;
}

static void put_str(struct line *l, const char *cstr)
{
    put(l, cstr, strlen(cstr));
}

/* JSON escapes; logfmt takes the same ones inside quotes. Bytes that are no UTF-8 become '?'. */
static void put_quoted(struct line *l, struct slice s)
{
    bool utf8 = slice_utf8(s);
    put(l, "\"", 1);
    for (size_t i = 0; i < s.n && !l->full; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char escape[8];
        if (c == '"' || c == '\\')
            put(l, (char[]){'\\', (char)c}, 2);
        else if (c == '\n')
            put(l, "\\n", 2);
        else if (c < 0x20 || c == 0x7F)
            put(l, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04x", c));
        else if (c >= 0x80 && !utf8)
            put(l, "?", 1);
        else
            put(l, (const char *)&s.p[i], 1);
    }
    put(l, "\"", 1);
}

static bool needs_quotes(struct slice s)
{
    if (s.n == 0)
        return true;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7F)
            return true;
    }
    return false;
}

static void put_key(struct line *l, const char *key)
{
    if (l->json) {
        put_str(l, l->n > 1 ? ",\"" : "\"");
        put_str(l, key);
        put_str(l, "\":");
    } else {
        if (l->n)
            put(l, " ", 1);
        put_str(l, key);
        put(l, "=", 1);
    }
}

static void put_value(struct line *l, const struct log_field *f)
{
    char number[32];
    switch (f->kind) {
    case LOG_F_STR:
        if (l->json || needs_quotes(f->str))
            put_quoted(l, f->str);
        else
            put(l, f->str.p, f->str.n);
        return;
    case LOG_F_I64:
        put(l, number, (size_t)snprintf(number, sizeof(number), "%lld", (long long)f->i64));
        return;
    case LOG_F_U64:
        put(l, number,
            (size_t)snprintf(number, sizeof(number), "%llu", (unsigned long long)f->u64));
        return;
    case LOG_F_BOOL:
        put_str(l, f->u64 ? "true" : "false");
        return;
    }
    wf_unreachable("kind of log field");
}

/* A field that does not fit leaves no half of itself. */
static void put_field(struct line *l, const struct log_field *f)
{
    size_t before = l->n;
    if (l->full)
        return;
    put_key(l, f->key);
    put_value(l, f);
    if (l->full)
        l->n = before;
}

static void put_time(struct line *l, const struct timespec *now)
{
    struct tm tm;
    char text[40];
    gmtime_r(&now->tv_sec, &tm);
    size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(text + n, sizeof(text) - n, ".%03ldZ", now->tv_nsec / 1000000);
    put_field(l, &(struct log_field){.key = "ts", .kind = LOG_F_STR, .str = {text, n}});
}

/* The site's share of this second: false = drop. *ret_dropped: lines lost before this one. */
static bool site_admit(struct log_site *site, int64_t second, uint32_t *ret_dropped)
{
    *ret_dropped = 0;
    if (__atomic_load_n(&site->second, __ATOMIC_RELAXED) != second) {
        __atomic_store_n(&site->second, second, __ATOMIC_RELAXED);
        __atomic_store_n(&site->in_second, 0, __ATOMIC_RELAXED);
        *ret_dropped = __atomic_exchange_n(&site->dropped, 0, __ATOMIC_RELAXED);
    }
    if (__atomic_fetch_add(&site->in_second, 1, __ATOMIC_RELAXED) < LOG_SITE_PER_SECOND)
        return true;
    __atomic_fetch_add(&site->dropped, 1, __ATOMIC_RELAXED);
    return false;
}

static void line_finish(struct line *l)
{
    bool cut = l->full;
    l->full = false;
    if (cut) {
        const char *mark = l->json ? ",\"cut\":true" : " cut=true";
        memcpy(l->p + l->n, mark, strlen(mark));
        l->n += strlen(mark);
    }
    if (l->json)
        l->p[l->n++] = '}';
    wf_assert(l->n < sizeof(l->p));
}

static void line_emit(struct line *l, enum log_level level)
{
    if (state.sink) {
        state.sink(state.sink_ctx, level, (struct slice){l->p, l->n});
        return;
    }
    l->p[l->n++] = '\n';
    /* One write a line keeps lines of several processes whole. Nobody is left to tell of a failure.
     */
    ssize_t ignored = write(STDERR_FILENO, l->p, l->n);
    (void)ignored;
}

void log_emit(struct log_site *site, enum log_level level, const char *event, size_t n,
              const struct log_field *fields)
{
    struct line l;
    l.n = 0;
    l.full = false;
    l.json = __atomic_load_n(&state.format, __ATOMIC_RELAXED) == LOG_FORMAT_JSON;
    uint32_t dropped = 0;
    struct timespec now = {0};
    bool to_sink = __atomic_load_n(&state.has_sink, __ATOMIC_RELAXED);
    if (!to_sink) {
        clock_gettime(CLOCK_REALTIME, &now);
        if (!site_admit(site, now.tv_sec, &dropped))
            return;
    }
    pthread_mutex_lock(&state.lock);
    if (l.json)
        put(&l, "{", 1);
    if (!to_sink)
        put_time(&l, &now);
    put_field(&l, &F_CSTR("level", level_names[level]));
    if (state.component[0])
        put_field(&l, &F_CSTR("component", state.component));
    put_field(&l, &F_CSTR("event", event));
    for (size_t i = 0; i < n; i++)
        put_field(&l, &fields[i]);
    if (dropped)
        put_field(&l, &F_U64("dropped", dropped));
    line_finish(&l);
    line_emit(&l, level);
    pthread_mutex_unlock(&state.lock);
}
