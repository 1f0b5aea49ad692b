#include "registry/join_kept.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/kind.h"
#include "api/status.h"
#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/wire/json.h"

#define PREFIX "leases.coordination.k8s.io/istio-system/weft-join-"
#define NAME_HASH_BYTES 16 /* of the 32: as many bits as the secret has */
#define AT_HASH "weft.dev/join-token"
#define AT_EXPIRES "weft.dev/expires"
#define AT_UNTIL "weft.dev/expires-ms"
#define AT_JOINED "weft.dev/joined"
#define AT_JOINED_KEY "weft.dev/joined-key"
#define AT_ADDED "weft.dev/added"
#define HOLDER "not used yet"

static void hex_encode(char *dst, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        dst[2 * i] = digits[bytes[i] >> 4];
        dst[2 * i + 1] = digits[bytes[i] & 15];
    }
    dst[2 * n] = 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_decode(struct slice s, uint8_t *dst, size_t n)
{
    if (s.n != 2 * n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int hi = hex_digit(s.p[2 * i]), lo = hex_digit(s.p[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        dst[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

void join_kept_key(const uint8_t hash[JOIN_SECRET_HASH_BYTES], char dst[160])
{
    char name[2 * NAME_HASH_BYTES + 1];
    hex_encode(name, hash, NAME_HASH_BYTES);
    snprintf(dst, 160, PREFIX "%s", name);
}

static struct slice annotation(const json_t *o, const char *name)
{
    return json_slice(json_object_get(json_at(o, "metadata.annotations"), name));
}

static void annotate(json_t *o, const char *name, const char *value)
{
    json_t *meta = json_object_child(o, "metadata");
    json_object_set_new(json_object_child(meta, "annotations"), name, json_string(value));
}

static void encode(const json_t *o, struct buf *out)
{
    struct err err = {0};
    bool ok = kind_encode(o, out, &err);
    wf_assert(ok); /* a few hundred bytes of our own */
}

void join_kept_make(const uint8_t secret[JOIN_SECRET_BYTES], uint32_t ttl_s, int64_t now_ms,
                    const uint8_t uid[16], uint64_t epoch, struct join_kept *ret,
                    struct reg_grant *ret_grant, struct buf *ret_value)
{
    char text[STATUS_TIME_BYTES], id[UUID_BYTES + 1] = "", hex[2 * JOIN_SECRET_HASH_BYTES + 1];
    wf_assert(ttl_s > 0 && ttl_s <= JOIN_TTL_S_MAX);
    struct join_kept k = {.held = true,
                          .epoch = epoch,
                          .ttl_ms = ttl_s * 1000,
                          .until_ms = (now_ms / 1000 + ttl_s + 1) * 1000};
    join_secret_hash(secret, k.hash);
    join_kept_key(k.hash, k.key);
    uuid_encode(id, uid);
    json_t *o = json_pack("{s:s,s:s,s:{s:s,s:s,s:s,s:s,s:i},s:{s:s,s:I,s:I}}", "apiVersion",
                          "coordination.k8s.io/v1", "kind", "Lease", "metadata", "name",
                          strrchr(k.key, '/') + 1, "namespace", "istio-system", "uid", id,
                          "creationTimestamp", status_time(now_ms, text), "generation", 1, "spec",
                          "holderIdentity", HOLDER, "leaseDurationSeconds", (json_int_t)ttl_s,
                          "leaseTransitions", (json_int_t)epoch);
    wf_assert(o);
    hex_encode(hex, k.hash, sizeof(k.hash));
    annotate(o, AT_HASH, hex);
    annotate(o, AT_EXPIRES, status_time(k.until_ms, text));
    snprintf(hex, sizeof(hex), "%" PRId64, k.until_ms);
    annotate(o, AT_UNTIL, hex);
    encode(o, ret_value);
    json_decref(o);
    *ret = k;
    *ret_grant = (struct reg_grant){.holder = S(HOLDER), .ttl_ms = k.ttl_ms, .epoch = epoch};
}

static bool kept_read(struct reg_txn *txn, const struct reg_object *obj, struct join_kept *ret)
{
    struct err err = {0};
    struct reg_lease l;
    struct join_kept k = {.mod_rev = obj->mod_rev};
    uint64_t until = 0;
    if (!slice_cstr(obj->key, k.key, sizeof(k.key)) || !reg_lease_get(txn, obj->key, &l))
        return false;
    json_t *o = json_parse(obj->value, &err);
    bool ok = o && hex_decode(annotation(o, AT_HASH), k.hash, sizeof(k.hash)) &&
              slice_u64(annotation(o, AT_UNTIL), &until) && until <= INT64_MAX;
    if (ok && annotation(o, AT_JOINED).n)
        ok = slice_u64(annotation(o, AT_JOINED), &k.joined) && k.joined &&
             hex_decode(annotation(o, AT_JOINED_KEY), k.joined_key, sizeof(k.joined_key));
    k.added = annotation(o, AT_ADDED).n > 0;
    json_decref(o);
    k.until_ms = (int64_t)until;
    k.epoch = l.epoch;
    k.ttl_ms = l.ttl_ms;
    k.held = slice_eq(l.holder, S(HOLDER));
    if (ok)
        *ret = k;
    return ok;
}

bool join_kept_find(struct reg_txn *txn, const uint8_t secret[JOIN_SECRET_BYTES],
                    struct join_kept *ret)
{
    uint8_t hash[JOIN_SECRET_HASH_BYTES];
    char key[160];
    struct reg_object o;
    join_secret_hash(secret, hash);
    join_kept_key(hash, key);
    return reg_get(txn, slice_of(key), &o) && kept_read(txn, &o, ret) &&
           join_secret_fits(secret, ret->hash);
}

/* As it was read, or NULL. */
static json_t *kept_load(struct reg_txn *txn, const struct join_kept *k)
{
    struct reg_object obj;
    struct err err = {0};
    if (!reg_get(txn, slice_of(k->key), &obj) || obj.mod_rev != k->mod_rev)
        return NULL;
    return json_parse(obj.value, &err);
}

static void release(const struct join_kept *k, json_t *take_o, struct reg_grant *ret_grant,
                    struct buf *ret_value)
{
    json_object_del(json_object_get(take_o, "spec"), "holderIdentity");
    encode(take_o, ret_value);
    json_decref(take_o);
    *ret_grant = (struct reg_grant){.ttl_ms = k->ttl_ms, .epoch = k->epoch};
}

bool join_kept_use(struct reg_txn *txn, const struct join_kept *k, uint64_t joined,
                   const uint8_t joined_key[JOIN_KEY_HASH_BYTES], struct reg_grant *ret_grant,
                   struct buf *ret_value)
{
    char text[2 * JOIN_KEY_HASH_BYTES + 1];
    json_t *o = kept_load(txn, k);
    if (!o)
        return false;
    snprintf(text, sizeof(text), "%" PRIu64, joined);
    annotate(o, AT_JOINED, text);
    hex_encode(text, joined_key, JOIN_KEY_HASH_BYTES);
    annotate(o, AT_JOINED_KEY, text);
    release(k, o, ret_grant, ret_value);
    return true;
}

bool join_kept_note(struct reg_txn *txn, const struct join_kept *k, struct reg_grant *ret_grant,
                    struct buf *ret_value)
{
    json_t *o = kept_load(txn, k);
    if (!o)
        return false;
    annotate(o, AT_ADDED, "true");
    release(k, o, ret_grant, ret_value);
    return true;
}

struct scan {
    struct reg_txn *txn;
    bool (*fn)(void *ctx, const struct join_kept *k);
    void *ctx;
};

static bool on_object(void *ctx, const struct reg_object *o)
{
    struct scan *s = ctx;
    struct join_kept k;
    return !kept_read(s->txn, o, &k) || s->fn(s->ctx, &k);
}

void join_kept_scan(struct reg_txn *txn, bool (*fn)(void *ctx, const struct join_kept *k),
                    void *ctx)
{
    struct scan s = {txn, fn, ctx};
    reg_scan(txn, S(PREFIX), (struct slice){0}, on_object, &s);
}

bool join_kept_good(const struct join_kept *k, int64_t now_ms)
{
    return k->held && !k->joined && now_ms < k->until_ms;
}
