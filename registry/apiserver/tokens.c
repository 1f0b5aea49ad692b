/* POST /weft/v1/jointokens {"ttlSeconds":600}: lets one node join, once, within that time.
 *
 *   -> 201 {"token":"weft1.…","name":"weft-join-…","expires":"2026-…Z"}
 *
 * The answer alone holds the secret; what is kept is its hash (join_kept.h). Tokens that are used
 * or over are deleted on the way, an hour after they were. */
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "api/status.h"
#include "base/core/assert.h"
#include "registry/apiserver/internal.h"
#include "registry/join_kept.h"

#define BODY_BYTES_MAX 4096
#define OLD_MS (3600 * 1000)
#define OPS_MAX (JOIN_TOKENS_MAX + 1)

struct minting {
    struct http_request *req; /* NULL: the client is gone */
    struct env *env;
    struct join_token token;
    struct join_kept kept;
    struct reg_grant grant;
    struct buf value;
    char old[JOIN_TOKENS_MAX][sizeof(((struct join_kept *)0)->key)];
    size_t old_count, good_count;
    struct reg_op ops[OPS_MAX];
    struct reg_write write;
};

static void minting_free(struct minting *m)
{
    OPENSSL_cleanse(&m->token, sizeof(m->token));
    buf_fini(&m->value);
    mem_free(m);
}

static void minting_gone(struct http_request *req)
{
    struct minting *m = req->user;
    m->req = NULL;
}

static void respond(struct minting *m)
{
    char text[JOIN_TOKEN_TEXT], time[STATUS_TIME_BYTES];
    join_token_format(&m->token, text);
    json_t *o = json_pack("{s:s,s:s,s:s}", "token", text, "name", strrchr(m->kept.key, '/') + 1,
                          "expires", status_time(m->kept.until_ms, time));
    api_respond_json(m->req, 201, o);
    json_decref(o);
    OPENSSL_cleanse(text, sizeof(text));
}

static void minting_done(struct reg_write *w)
{
    struct minting *m = container_of(w, struct minting, write);
    if (m->req) {
        m->req->on_close = NULL;
        if (w->err.code)
            api_respond_err(m->req, NULL, &w->err);
        else
            respond(m);
    }
    minting_free(m);
}

static bool on_kept(void *ctx, const struct join_kept *k)
{
    struct minting *m = ctx;
    int64_t now = env_wall_ms(m->env);
    if (join_kept_good(k, now))
        m->good_count++;
    else if (now - k->until_ms > OLD_MS && m->old_count < JOIN_TOKENS_MAX)
        memcpy(m->old[m->old_count++], k->key, sizeof(k->key));
    return true;
}

static void mint(struct apiserver *s, struct minting *m, const struct reg_status *st,
                 uint32_t ttl_s, struct reg_txn *txn)
{
    uint8_t uid[16], hash[JOIN_SECRET_HASH_BYTES];
    char key[sizeof(m->kept.key)];
    m->token.cluster = reg_node_cluster(s->opt.node);
    memcpy(m->token.ca_sha256, st->peer_ca_sha256, sizeof(m->token.ca_sha256));
    env_random(s->env, m->token.secret, sizeof(m->token.secret));
    env_random(s->env, uid, sizeof(uid));
    join_secret_hash(m->token.secret, hash);
    join_kept_key(hash, key);
    join_kept_make(m->token.secret, ttl_s, env_wall_ms(s->env), uid,
                   reg_lease_epoch_next(txn, slice_of(key)), &m->kept, &m->grant, &m->value);
    m->ops[0] = (struct reg_op){.key = slice_of(m->kept.key),
                                .value = buf_slice(&m->value),
                                .expect = REG_EXPECT_ABSENT,
                                .grant = &m->grant};
    for (size_t i = 0; i < m->old_count; i++)
        m->ops[1 + i] = (struct reg_op){.del = true, .key = slice_of(m->old[i])};
    m->write = (struct reg_write){.ops = m->ops,
                                  .op_count = 1 + m->old_count,
                                  .origin = S("join token"),
                                  .env = s->env,
                                  .fn = minting_done};
}

static bool ttl_read(struct http_request *req, uint32_t *ret, struct err *err)
{
    json_t *body = json_parse_capped(req->body.n ? req->body : S("{}"), BODY_BYTES_MAX, 4, err);
    int64_t ttl = json_int(body, "ttlSeconds", JOIN_TTL_S_DEFAULT);
    json_decref(body);
    *ret = (uint32_t)ttl;
    return body &&
           ((ttl >= 1 && ttl <= JOIN_TTL_S_MAX) ||
            err_set(err, ERR_INVALID, "ttlSeconds: must be 1 to %d (a day)", JOIN_TTL_S_MAX));
}

static bool minting_begin(struct apiserver *s, struct minting *m, struct err *err)
{
    struct reg_status st;
    struct reg_txn txn;
    uint32_t ttl;
    if (!ttl_read(m->req, &ttl, err))
        return false;
    reg_node_status(s->opt.node, &st);
    if (!st.peer_certificate_until)
        return err_set(err, ERR_CONFLICT,
                       "this cluster began without TLS, its nodes join without a token: weftd "
                       "--join http://…, see docs/operate-members.md");
    if (!reg_txn_begin(reg_node_store(s->opt.node), &txn, err))
        return false;
    join_kept_scan(&txn, on_kept, m);
    bool room = m->good_count < JOIN_TOKENS_MAX ||
                err_set(err, ERR_LIMIT,
                        "%d join tokens are good at this moment: use them, wait until they expire, "
                        "or revoke some (weft operator token list)",
                        JOIN_TOKENS_MAX);
    if (room)
        mint(s, m, &st, ttl, &txn);
    reg_txn_end(&txn);
    return room;
}

void api_tokens(struct apiserver *s, struct http_request *req)
{
    struct err err = {0};
    struct minting *m = MEM_NEW(struct minting);
    m->req = req;
    m->env = s->env;
    if (!minting_begin(s, m, &err)) {
        api_respond_err(req, NULL, &err);
        minting_free(m);
        return;
    }
    req->user = m;
    req->on_close = minting_gone;
    reg_write(s->opt.node, &m->write);
}
