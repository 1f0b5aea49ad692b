#include <re2/re2.h>

#include <string>

extern "C" {
#include "base/core/core_limits.h"
#include "base/core/regex.h"
}

struct regex {
    re2::RE2 re;
    regex(re2::StringPiece pattern, const re2::RE2::Options &options) : re(pattern, options)
    {
    }
};

static re2::StringPiece piece_of(struct slice s)
{
    return re2::StringPiece(s.p, s.n);
}

extern "C" struct regex *regex_new(struct slice pattern, struct err *err)
{
    if (pattern.n > REGEX_PATTERN_BYTES_MAX) {
        err_set(err, ERR_INVALID, "regular expression of %zu bytes: at most %d are allowed",
                pattern.n, REGEX_PATTERN_BYTES_MAX);
        return nullptr;
    }
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(REGEX_MEMORY_BYTES_MAX);
    struct regex *re = new struct regex(piece_of(pattern), options);
    if (re->re.ok())
        return re;
    err_set(err, ERR_INVALID, "regular expression \"%.*s\": %s", SLICE(pattern),
            re->re.error().c_str());
    delete re;
    return nullptr;
}

extern "C" void regex_free(struct regex *re)
{
    delete re;
}

extern "C" bool regex_full_match(const struct regex *re, struct slice text)
{
    return re2::RE2::FullMatch(piece_of(text), re->re);
}

extern "C" bool regex_replace_all(const struct regex *re, struct slice text,
                                  struct slice substitution, struct buf *out)
{
    std::string reason;
    if (!re->re.CheckRewriteString(piece_of(substitution), &reason))
        return false;
    std::string result(text.n ? text.p : "", text.n);
    re2::RE2::GlobalReplace(&result, re->re, piece_of(substitution));
    return buf_append(out, {result.data(), result.size()});
}
