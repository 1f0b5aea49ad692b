/* The small values that all resources are made of. */
#include "proxy/xds/conf_build_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "api/wkt.h"
#include "google/protobuf/struct.pb-c.h"

struct slice build_text(struct arena *arena, const char *field)
{
    return arena_dup(arena, slice_of(field));
}

struct slice build_lower(struct arena *arena, const char *field)
{
    struct slice s = arena_dup(arena, slice_of(field));
    char *p = (char *)(uintptr_t)s.p;
    for (size_t i = 0; i < s.n; i++)
        p[i] = (char)tolower((unsigned char)p[i]);
    return s;
}

wf_ms build_ms(const Google__Protobuf__Duration *d, wf_ms absent)
{
    const wf_ms most = 1000000000000;
    wf_ms ms = wkt_duration_ms_or(d, absent);
    if (d && ms < 0)
        return 0;
    return ms < most ? ms : most;
}

struct fraction build_fraction(const Envoy__Type__V3__FractionalPercent *f)
{
    static const uint32_t scale[] = {10000, 100, 1};
    if (!f)
        return (struct fraction){0};
    uint64_t v = (uint64_t)f->numerator * scale[f->denominator <= 2 ? f->denominator : 0];
    return (struct fraction){v > 1000000 ? 1000000 : (uint32_t)v};
}

struct regex *build_regex(const Envoy__Type__Matcher__V3__RegexMatcher *m, struct err *err)
{
    return regex_new(slice_of(m->regex), err);
}

bool build_string_match(struct arena *arena, const Envoy__Type__Matcher__V3__StringMatcher *m,
                        struct string_match *ret, struct err *err)
{
    static const enum match_kind kinds[] = {
        [ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT] = MATCH_EXACT,
        [ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX] = MATCH_PREFIX,
        [ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SUFFIX] = MATCH_SUFFIX,
        [ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_CONTAINS] = MATCH_CONTAINS,
    };
    struct string_match out = {.ignore_case = m->ignore_case};
    switch (m->match_pattern_case) {
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX:
        out.kind = MATCH_REGEX;
        out.ignore_case = false;
        out.regex = build_regex(m->safe_regex, err);
        if (!out.regex)
            return false;
        break;
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT:
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX:
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SUFFIX:
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_CONTAINS:
        out.kind = kinds[m->match_pattern_case];
        /* The members of the union are all strings. */
        out.text = out.ignore_case ? build_lower(arena, m->exact) : build_text(arena, m->exact);
        if (out.kind != MATCH_EXACT && out.text.n == 0)
            return err_set(err, ERR_INVALID, "string match: must not be empty");
        break;
    default:
        return err_set(err, ERR_INVALID, "string match: no pattern that this proxy knows");
    }
    *ret = out;
    return true;
}

bool build_addr(const Envoy__Config__Core__V3__Address *a, struct env_addr *ret, struct err *err)
{
    char text[256];
    if (!a)
        return err_set(err, ERR_INVALID, "address: missing");
    if (a->address_case == ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_PIPE) {
        snprintf(text, sizeof(text), "unix:%s", a->pipe->path);
        return env_addr_parse(ret, slice_of(text), err);
    }
    if (a->address_case != ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS)
        return err_set(err, ERR_INVALID, "address: neither a socket address nor a pipe");
    const Envoy__Config__Core__V3__SocketAddress *sa = a->socket_address;
    const char *fmt = strchr(sa->address, ':') ? "[%s]:%u" : "%s:%u";
    if (sa->port_value > 65535)
        return err_set(err, ERR_INVALID, "address: port %u", sa->port_value);
    snprintf(text, sizeof(text), fmt, sa->address, sa->port_value);
    return env_addr_parse(ret, slice_of(text), err);
}

bool build_header_changes(struct arena *arena, Envoy__Config__Core__V3__HeaderValueOption **add,
                          size_t add_count, char **remove, size_t remove_count,
                          struct header_changes *ret, struct err *err)
{
    struct header_changes out = {.add_count = add_count, .remove_count = remove_count};
    out.add = ARENA_ARRAY(arena, struct header_change, add_count + 1);
    out.remove = ARENA_ARRAY(arena, struct slice, remove_count + 1);
    for (size_t i = 0; i < add_count; i++) {
        if (!add[i]->header || !add[i]->header->key[0])
            return err_set(err, ERR_INVALID, "headers_to_add[%zu].header.key: must not be empty",
                           i);
        out.add[i] = (struct header_change){
            .action = (enum header_append)add[i]->append_action,
            .name = build_lower(arena, add[i]->header->key),
            .value = build_text(arena, add[i]->header->value),
        };
        if (add[i]->append_action > 3)
            return err_set(err, ERR_INVALID, "headers_to_add[%zu].append_action: unknown", i);
    }
    for (size_t i = 0; i < remove_count; i++)
        out.remove[i] = build_lower(arena, remove[i]);
    *ret = out;
    return true;
}

struct slice build_struct_text(const Google__Protobuf__Struct *s, const char *key)
{
    for (size_t i = 0; s && i < s->n_fields; i++)
        if (strcmp(s->fields[i]->key, key) == 0 && s->fields[i]->value &&
            s->fields[i]->value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE)
            return slice_of(s->fields[i]->value->string_value);
    return S("");
}

const Google__Protobuf__Struct *build_metadata(const Envoy__Config__Core__V3__Metadata *m,
                                               const char *filter)
{
    for (size_t i = 0; m && i < m->n_filter_metadata; i++)
        if (strcmp(m->filter_metadata[i]->key, filter) == 0)
            return m->filter_metadata[i]->value;
    return NULL;
}
