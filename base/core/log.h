/* Log events: a fixed greppable name and typed fields, one line of logfmt or JSON on standard
 * error.
 *
 *   LOG_INFO("ads.nack", F_STR("node", id), F_U64("revision", rev));
 *
 * Whoever handles a failure logs it, once. Each call site prints at most LOG_SITE_PER_SECOND lines
 * a second and says in its next one how many it dropped. Thread-safe. A test or simulation may
 * install a sink: what reaches it carries no time and is not rate-limited, so it is a function of
 * the events.
 */
#ifndef WEFT_BASE_CORE_LOG_H
#define WEFT_BASE_CORE_LOG_H

#include "base/core/err.h"
#include "base/core/slice.h"

enum log_level { LOG_DEBUG_, LOG_INFO_, LOG_WARN_, LOG_ERROR_ };
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

struct log_field {
    const char *key;
    enum { LOG_F_STR, LOG_F_I64, LOG_F_U64, LOG_F_BOOL } kind;
    struct slice str;
    int64_t i64;
    uint64_t u64;
};

#define F_STR(k, slice_value)                                                                      \
    ((struct log_field){.key = (k), .kind = LOG_F_STR, .str = (slice_value)})
#define F_CSTR(k, cstr) ((struct log_field){.key = (k), .kind = LOG_F_STR, .str = slice_of(cstr)})
#define F_I64(k, v) ((struct log_field){.key = (k), .kind = LOG_F_I64, .i64 = (int64_t)(v)})
#define F_U64(k, v) ((struct log_field){.key = (k), .kind = LOG_F_U64, .u64 = (uint64_t)(v)})
#define F_BOOL(k, v) ((struct log_field){.key = (k), .kind = LOG_F_BOOL, .u64 = (v) ? 1u : 0u})
#define F_ERR(err_ptr) F_CSTR("err", (err_ptr)->msg)

struct log_site {
    int64_t second;
    uint32_t in_second, dropped;
};

void log_emit(struct log_site *site, enum log_level level, const char *event, size_t n,
              const struct log_field *fields);
bool log_enabled(enum log_level level);
void log_set_level(enum log_level level);
bool log_level_parse(struct slice name, enum log_level *ret_level);
void log_set_format(enum log_format format);
/* "weftd/n1": printed with every record as component=…; copied. */
void log_set_component(const char *name);
/* NULL = standard error. The line has no newline and is borrowed. The sink must not log. */
void log_set_sink(void (*sink)(void *ctx, enum log_level level, struct slice line), void *ctx);

#define LOG_(level, event, ...)                                                                    \
    do {                                                                                           \
        if (log_enabled(level)) {                                                                  \
            static struct log_site site_;                                                          \
            const struct log_field f_[] = {__VA_ARGS__};                                           \
            log_emit(&site_, level, event, ARRAY_LEN(f_), f_);                                     \
        }                                                                                          \
    } while (0)
/* Each takes an event name and at least one field. */
#define LOG_DEBUG(event, ...) LOG_(LOG_DEBUG_, event, __VA_ARGS__)
#define LOG_INFO(event, ...) LOG_(LOG_INFO_, event, __VA_ARGS__)
#define LOG_WARN(event, ...) LOG_(LOG_WARN_, event, __VA_ARGS__)
#define LOG_ERROR(event, ...) LOG_(LOG_ERROR_, event, __VA_ARGS__)

#endif
