#include "base/wire/base64.h"

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static bool encode(struct buf *out, struct slice bytes, const char *alphabet, bool pad)
{
    const unsigned char *p = (const unsigned char *)bytes.p;
    bool fits = true;
    for (size_t i = 0; i < bytes.n && fits; i += 3) {
        size_t left = bytes.n - i;
        uint32_t v = (uint32_t)p[i] << 16;
        v |= left > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        v |= left > 2 ? p[i + 2] : 0;
        char quad[4] = {alphabet[v >> 18], alphabet[v >> 12 & 63], alphabet[v >> 6 & 63],
                        alphabet[v & 63]};
        size_t n = left > 2 ? 4 : left + 1;
        for (; pad && n < 4; n++)
            quad[n] = '=';
        fits = buf_append(out, (struct slice){quad, n});
    }
    return fits;
}

bool base64_encode(struct buf *out, struct slice bytes)
{
    return encode(out, bytes, standard, true);
}

bool base64url_encode(struct buf *out, struct slice bytes)
{
    return encode(out, bytes, url_safe, false);
}

/* 0..63, or -1. */
static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

/* Without padding, which is all or nothing: the whole text is then a multiple of four. */
static bool strip_padding(struct slice *text)
{
    size_t n = text->n;
    while (n && text->n - n < 2 && text->p[n - 1] == '=')
        n--;
    bool padded = n < text->n;
    if (padded && text->n % 4)
        return false;
    text->n = n;
    return n % 4 != 1;
}

bool base64_decode(struct buf *out, struct slice text)
{
    if (!strip_padding(&text))
        return false;
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < text.n; i++) {
        int d = digit(text.p[i]);
        if (d < 0)
            return false;
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        if (!buf_append_byte(out, (char)(bits >> have)))
            return false;
        bits &= (1u << have) - 1;
    }
    return bits == 0;
}
