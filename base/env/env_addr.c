#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/env/env.h"

static bool parse_unix(struct env_addr *addr, struct slice path, struct err *err)
{
    struct env_addr a = {.un = {.sun_family = AF_UNIX}};
    if (path.n == 0 || !slice_cstr(path, a.un.sun_path, sizeof(a.un.sun_path)))
        return err_set(err, ERR_INVALID, "Unix socket path \"%.*s\": 1 to %zu bytes", SLICE(path),
                       sizeof(a.un.sun_path) - 1);
    a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n);
    /* The name of an abstract socket starts with a NUL and has none at its end (unix(7)). */
    if (path.p[0] == '@')
        a.un.sun_path[0] = '\0';
    else
        a.len++;
    *addr = a;
    return true;
}

static bool parse_ip(struct env_addr *addr, struct slice host, bool v6, uint16_t port)
{
    char text[INET6_ADDRSTRLEN];
    struct env_addr a = {0};
    if (!slice_cstr(host, text, sizeof(text)))
        return false;
    if (v6) {
        a.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
        a.len = sizeof(a.in6);
    } else {
        a.in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
        a.len = sizeof(a.in4);
    }
    void *bytes = v6 ? (void *)&a.in6.sin6_addr : (void *)&a.in4.sin_addr;
    if (inet_pton(v6 ? AF_INET6 : AF_INET, text, bytes) != 1)
        return false;
    *addr = a;
    return true;
}

bool env_addr_parse(struct env_addr *addr, struct slice text, struct err *err)
{
    struct slice host, port_text;
    uint32_t port;
    if (slice_starts(text, S("unix:")))
        return parse_unix(addr, slice_skip(text, 5), err);
    if (!slice_cut_last(text, ':', &host, &port_text) || !slice_u32(port_text, &port) ||
        port > 65535)
        return err_set(err, ERR_INVALID,
                       "address \"%.*s\": want host:port with a port of 0 to 65535", SLICE(text));
    bool v6 = slice_starts(host, S("[")) && slice_ends(host, S("]"));
    if (v6)
        host = slice_sub(host, 1, host.n - 2);
    if (!parse_ip(addr, host, v6, (uint16_t)port))
        return err_set(err, ERR_INVALID,
                       "address \"%.*s\": want an IPv4 address, or an IPv6 address in brackets",
                       SLICE(text));
    return true;
}

static int format_unix(const struct env_addr *addr, char *dst)
{
    size_t head = offsetof(struct sockaddr_un, sun_path);
    size_t n = addr->len > head ? addr->len - head : 0;
    if (n == 0)
        return snprintf(dst, ENV_ADDR_TEXT, "unix:");
    if (addr->un.sun_path[0] == '\0')
        return snprintf(dst, ENV_ADDR_TEXT, "unix:@%.*s", (int)n - 1, addr->un.sun_path + 1);
    return snprintf(dst, ENV_ADDR_TEXT, "unix:%.*s", (int)n, addr->un.sun_path);
}

struct slice env_addr_format(const struct env_addr *addr, char *dst)
{
    char ip[INET6_ADDRSTRLEN];
    int n = 0;
    switch (addr->sa.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &addr->in4.sin_addr, ip, sizeof(ip));
        n = snprintf(dst, ENV_ADDR_TEXT, "%s:%u", ip, ntohs(addr->in4.sin_port));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &addr->in6.sin6_addr, ip, sizeof(ip));
        n = snprintf(dst, ENV_ADDR_TEXT, "[%s]:%u", ip, ntohs(addr->in6.sin6_port));
        break;
    case AF_UNIX:
        n = format_unix(addr, dst);
        break;
    default:
        n = snprintf(dst, ENV_ADDR_TEXT, "?");
    }
    wf_assert(n >= 0 && n < ENV_ADDR_TEXT);
    return (struct slice){dst, (size_t)n};
}

bool env_addr_loopback(const struct env_addr *addr)
{
    switch (addr->sa.sa_family) {
    case AF_INET:
        return ntohl(addr->in4.sin_addr.s_addr) >> 24 == 127;
    case AF_INET6:
        return IN6_IS_ADDR_LOOPBACK(&addr->in6.sin6_addr);
    default:
        return addr->sa.sa_family == AF_UNIX;
    }
}

bool env_addr_equal(const struct env_addr *a, const struct env_addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    switch (a->sa.sa_family) {
    case AF_INET:
        return a->in4.sin_port == b->in4.sin_port &&
               a->in4.sin_addr.s_addr == b->in4.sin_addr.s_addr;
    case AF_INET6:
        return a->in6.sin6_port == b->in6.sin6_port &&
               a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
               IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr);
    default:
        return a->len == b->len && memcmp(&a->sa, &b->sa, a->len) == 0;
    }
}

uint16_t env_addr_port(const struct env_addr *addr)
{
    switch (addr->sa.sa_family) {
    case AF_INET:
        return ntohs(addr->in4.sin_port);
    case AF_INET6:
        return ntohs(addr->in6.sin6_port);
    default:
        return 0;
    }
}

void env_addr_set_port(struct env_addr *addr, uint16_t port)
{
    if (addr->sa.sa_family == AF_INET)
        addr->in4.sin_port = htons(port);
    else if (addr->sa.sa_family == AF_INET6)
        addr->in6.sin6_port = htons(port);
}
