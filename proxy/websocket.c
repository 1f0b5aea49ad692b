#include "proxy/websocket.h"

#include <openssl/evp.h>

#include "base/core/assert.h"
#include "base/wire/base64.h"

static struct slice encoded(struct slice bytes, struct arena *arena)
{
    struct buf text = {0};
    base64_encode(&text, bytes);
    struct slice out = arena_dup(arena, buf_slice(&text));
    buf_fini(&text);
    return out;
}

struct slice websocket_key(struct rng *rng, struct arena *arena)
{
    uint64_t random[2] = {rng_next(rng), rng_next(rng)};
    return encoded(slice_mem(random, sizeof(random)), arena);
}

struct slice websocket_accept(struct slice key, struct arena *arena)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    struct slice text = arena_concat(arena, key, S("258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    int ok = EVP_Digest(text.p, text.n, digest, &n, EVP_sha1(), NULL);
    wf_assert(ok == 1);
    return encoded(slice_mem(digest, n), arena);
}
