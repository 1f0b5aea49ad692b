#include "api/names.h"

#include <arpa/inet.h>

static bool lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool letter_or_digit(char c)
{
    return letter(c) || (c >= '0' && c <= '9');
}

bool name_is_label(struct slice s)
{
    if (!s.n || s.n > NAME_LABEL_MAX || s.p[0] == '-' || s.p[s.n - 1] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!lower_or_digit(s.p[i]) && s.p[i] != '-')
            return false;
    return true;
}

bool name_is_label_1035(struct slice s)
{
    return name_is_label(s) && s.p[0] >= 'a';
}

bool name_is_subdomain(struct slice s)
{
    if (!s.n || s.n > NAME_SUBDOMAIN_MAX)
        return false;
    struct slice part, rest = s;
    bool more = true;
    while (more) {
        more = slice_cut(rest, '.', &part, &rest);
        /* Kubernetes bounds the whole name, not its parts. */
        if (!part.n || part.p[0] == '-' || part.p[part.n - 1] == '-')
            return false;
        for (size_t i = 0; i < part.n; i++)
            if (!lower_or_digit(part.p[i]) && part.p[i] != '-')
                return false;
    }
    return true;
}

bool name_is_label_value(struct slice s)
{
    if (!s.n)
        return true;
    if (s.n > NAME_LABEL_MAX || !letter_or_digit(s.p[0]) || !letter_or_digit(s.p[s.n - 1]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!letter_or_digit(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' && s.p[i] != '.')
            return false;
    return true;
}

bool name_is_qualified(struct slice s)
{
    struct slice prefix, name;
    if (!slice_cut(s, '/', &prefix, &name))
        return s.n && name_is_label_value(s);
    return name_is_subdomain(prefix) && name.n && name_is_label_value(name);
}

bool name_is_port(struct slice s)
{
    bool has_letter = false;
    if (s.n > 15 || !name_is_label(s) || slice_contains(s, S("--")))
        return false;
    for (size_t i = 0; i < s.n; i++)
        has_letter |= letter(s.p[i]);
    return has_letter;
}

static bool is_host_label(struct slice s)
{
    if (!s.n || s.n > NAME_LABEL_MAX || !letter_or_digit(s.p[0]) || !letter_or_digit(s.p[s.n - 1]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!letter_or_digit(s.p[i]) && s.p[i] != '-' && s.p[i] != '_')
            return false;
    return true;
}

bool name_is_host(struct slice s)
{
    if (slice_ends(s, S(".")))
        s.n--;
    if (!s.n || s.n > 255)
        return false;
    struct slice part, rest = s;
    bool more = true;
    while (more) {
        more = slice_cut(rest, '.', &part, &rest);
        if (!is_host_label(part))
            return false;
    }
    return true;
}

bool name_is_wildcard_host(struct slice s)
{
    if (slice_eq(s, S("*")))
        return true;
    if (!slice_starts(s, S("*")))
        return name_is_host(s);
    /* Istio takes "*foo.com" beside "*.foo.com". */
    struct slice rest = slice_skip(s, 1);
    if (slice_starts(rest, S(".")) || slice_starts(rest, S("-")))
        rest = slice_skip(rest, 1);
    return name_is_host(rest);
}

bool name_is_token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!letter_or_digit(s.p[i]) && slice_find(S("!#$%&'*+-.^_`|~"), s.p[i]) == SIZE_MAX)
            return false;
    return s.n > 0;
}

static bool parses_as(int family, struct slice s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;
    return slice_cstr(s, text, sizeof(text)) && inet_pton(family, text, &addr) == 1;
}

bool name_is_ipv4(struct slice s)
{
    return parses_as(AF_INET, s);
}

bool name_is_ipv6(struct slice s)
{
    return parses_as(AF_INET6, s);
}

bool name_is_ip(struct slice s)
{
    return name_is_ipv4(s) || name_is_ipv6(s);
}

bool name_is_cidr(struct slice s)
{
    struct slice addr, bits;
    if (!slice_cut(s, '/', &addr, &bits))
        return name_is_ip(s);
    uint32_t n;
    if (!slice_u32(bits, &n))
        return false;
    return (n <= 32 && name_is_ipv4(addr)) || (n <= 128 && name_is_ipv6(addr));
}

bool name_host_covers(struct slice pattern, struct slice host)
{
    if (!slice_starts(pattern, S("*")))
        return slice_eq_nocase(pattern, host);
    struct slice suffix = slice_skip(pattern, 1);
    if (slice_starts(host, S("*")))
        host = slice_skip(host, 1);
    return host.n >= suffix.n && slice_eq_nocase(slice_skip(host, host.n - suffix.n), suffix);
}

/* Did you mean. */

static char folded(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Edits between two words where swapping neighbours counts once, over two rolling rows and the one
 * before them. */
static size_t edits_between(struct slice a, struct slice b)
{
    size_t rows[3][NAME_SUGGEST_BYTES_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b.n; j++)
        last[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            bool same = folded(a.p[i - 1]) == folded(b.p[j - 1]);
            row[j] = min3(last[j] + 1, row[j - 1] + 1, last[j - 1] + !same);
            if (i > 1 && j > 1 && folded(a.p[i - 1]) == folded(b.p[j - 2]) &&
                folded(a.p[i - 2]) == folded(b.p[j - 1]) && before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        size_t *recycled = before;
        before = last;
        last = row;
        row = recycled;
    }
    return last[b.n];
}

void name_suggest_try(struct name_suggest *s, struct slice candidate)
{
    if (!s->word.n || s->word.n > NAME_SUGGEST_BYTES_MAX || candidate.n > NAME_SUGGEST_BYTES_MAX)
        return;
    size_t near = s->word.n < 3 ? 1 : (s->word.n + 2) / 3;
    size_t edits = edits_between(s->word, candidate);
    if (edits > near || (s->best.n && edits >= s->edits))
        return;
    s->best = candidate;
    s->edits = edits;
}
