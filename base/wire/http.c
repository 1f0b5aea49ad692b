#include <string.h>

#include "base/wire/header.h"
#include "base/wire/scan.h"

static const struct {
    struct slice name;
    enum http_method id;
} methods[] = {
    {S_INIT("GET"), HTTP_GET},         {S_INIT("POST"), HTTP_POST},
    {S_INIT("PUT"), HTTP_PUT},         {S_INIT("HEAD"), HTTP_HEAD},
    {S_INIT("DELETE"), HTTP_DELETE},   {S_INIT("PATCH"), HTTP_PATCH},
    {S_INIT("OPTIONS"), HTTP_OPTIONS}, {S_INIT("CONNECT"), HTTP_CONNECT},
    {S_INIT("TRACE"), HTTP_TRACE},
};

enum http_method http_method_parse(struct slice method)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (method.n == methods[i].name.n && !memcmp(method.p, methods[i].name.p, method.n))
            return methods[i].id;
    return HTTP_OTHER;
}

static const struct {
    uint16_t status;
    struct slice text;
} statuses[] = {
    {100, S_INIT("Continue")},
    {101, S_INIT("Switching Protocols")},
    {103, S_INIT("Early Hints")},
    {200, S_INIT("OK")},
    {201, S_INIT("Created")},
    {202, S_INIT("Accepted")},
    {204, S_INIT("No Content")},
    {206, S_INIT("Partial Content")},
    {301, S_INIT("Moved Permanently")},
    {302, S_INIT("Found")},
    {303, S_INIT("See Other")},
    {304, S_INIT("Not Modified")},
    {307, S_INIT("Temporary Redirect")},
    {308, S_INIT("Permanent Redirect")},
    {400, S_INIT("Bad Request")},
    {401, S_INIT("Unauthorized")},
    {403, S_INIT("Forbidden")},
    {404, S_INIT("Not Found")},
    {405, S_INIT("Method Not Allowed")},
    {406, S_INIT("Not Acceptable")},
    {408, S_INIT("Request Timeout")},
    {409, S_INIT("Conflict")},
    {410, S_INIT("Gone")},
    {411, S_INIT("Length Required")},
    {412, S_INIT("Precondition Failed")},
    {413, S_INIT("Content Too Large")},
    {414, S_INIT("URI Too Long")},
    {415, S_INIT("Unsupported Media Type")},
    {416, S_INIT("Range Not Satisfiable")},
    {417, S_INIT("Expectation Failed")},
    {421, S_INIT("Misdirected Request")},
    {422, S_INIT("Unprocessable Content")},
    {425, S_INIT("Too Early")},
    {426, S_INIT("Upgrade Required")},
    {428, S_INIT("Precondition Required")},
    {429, S_INIT("Too Many Requests")},
    {431, S_INIT("Request Header Fields Too Large")},
    {500, S_INIT("Internal Server Error")},
    {501, S_INIT("Not Implemented")},
    {502, S_INIT("Bad Gateway")},
    {503, S_INIT("Service Unavailable")},
    {504, S_INIT("Gateway Timeout")},
    {505, S_INIT("HTTP Version Not Supported")},
    {507, S_INIT("Insufficient Storage")},
};

struct slice http_status_text(int status)
{
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
        if (statuses[i].status == status)
            return statuses[i].text;
    return S("Unknown");
}

/* "[" 1*( HEXDIG / ":" / "." ) "]": who it is, the resolver decides. */
static size_t ip_literal(struct slice a)
{
    size_t i = 1;
    while (i < a.n && (scan_is(a.p[i], SCAN_HEX) || a.p[i] == ':' || a.p[i] == '.'))
        i++;
    return i > 2 && i < a.n && a.p[i] == ']' ? i + 1 : 0;
}

static bool port_ok(struct slice port)
{
    uint32_t n;
    return port.n >= 1 && port.n <= 5 && slice_u32(port, &n) && n <= 65535;
}

bool http_authority_ok(struct slice authority, bool port_required)
{
    if (!authority.n)
        return false;
    size_t host =
        authority.p[0] == '['
            ? ip_literal(authority)
            : (size_t)(scan_slow(authority.p, authority.p + authority.n, SCAN_HOST) - authority.p);
    if (!host)
        return false;
    if (host == authority.n)
        return !port_required;
    return authority.p[host] == ':' && port_ok(slice_skip(authority, host + 1));
}
