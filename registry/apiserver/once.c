/* Idempotency-Key: a write that is sent again has its effect once and gets its first answer,
 * through any node (store.h: struct reg_once). What is remembered of an answer, in the registry's
 * memo:
 *
 *   "cgud reviews-x7k2p"   how it went, a letter an item (created, configured, unchanged, deleted);
 *                          then the name of a single object, which may have been generated
 *   "!4 services …"        a refusal: its code and message
 *
 * The objects of an answer are read from the history, at the revision that is remembered.
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/mutant.h"
#include "registry/apiserver/write.h"

static const char letters[] = {
    [ITEM_CREATED] = 'c', [ITEM_CONFIGURED] = 'g', [ITEM_UNCHANGED] = 'u', [ITEM_DELETED] = 'd'};
static_assert(WRITE_ITEMS_MAX + 1 + 255 <= REG_MEMO_BYTES_MAX, "a memo has room for all items");

/* The key. */

/* Each part with its length: no two requests have the same bytes. */
static void digest_part(EVP_MD_CTX *md, struct slice s)
{
    uint64_t n = s.n;
    wf_assert(EVP_DigestUpdate(md, &n, sizeof(n)) == 1);
    wf_assert(EVP_DigestUpdate(md, s.p, s.n) == 1);
}

static void digest(uint8_t dst[REG_ONCE_HASH_BYTES], const struct slice *parts, size_t n)
{
    unsigned char sha[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    wf_assert(md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
    for (size_t i = 0; i < n; i++)
        digest_part(md, parts[i]);
    wf_assert(EVP_DigestFinal_ex(md, sha, NULL) == 1);
    EVP_MD_CTX_free(md);
    memcpy(dst, sha, REG_ONCE_HASH_BYTES);
}

static bool key_sound(struct slice key)
{
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] < ' ' || key.p[i] > '~')
            return false;
    return key.n > 0 && key.n <= API_KEY_BYTES_MAX;
}

bool write_key(struct write *w, struct err *err)
{
    const struct http_request *req = w->req;
    const struct header *h = headers_find(req->headers, S("idempotency-key"));
    if (!h || w->dry_run)
        return true;
    struct slice key = slice_trim(h->value);
    if (!key_sound(key))
        return err_set(err, ERR_INVALID,
                       "Idempotency-Key: 1 to %d printable characters, another for each request",
                       API_KEY_BYTES_MAX);
    const struct slice asked[] = {req->method, req->path, req->query,
                                  headers_value(req->headers, HDR_CONTENT_TYPE), req->body};
    if (MUTANT(KEY_OF_NODE))
        key = arena_printf(&w->arena, "%.*s of %llu", SLICE(key),
                           (unsigned long long)reg_node_id(w->srv->opt.node));
    digest(w->once.key, &key, 1);
    digest(w->once.digest, asked, ARRAY_LEN(asked));
    w->keyed = true;
    return true;
}

/* The memo. */

const struct reg_once *write_once(struct write *w)
{
    if (!w->keyed || w->left)
        return NULL;
    buf_clear(&w->memo);
    for (size_t i = 0; i < w->given; i++)
        if (w->items.p[i].verb != ITEM_CHECK)
            buf_append_byte(&w->memo, letters[w->items.p[i].result]);
    if (w->given == 1)
        buf_printf(&w->memo, " %.*s", SLICE(w->items.p[0].name));
    w->once.memo = buf_slice(&w->memo);
    return &w->once;
}

const struct reg_once *write_once_refused(struct write *w, const struct err *err)
{
    buf_clear(&w->memo);
    buf_printf(&w->memo, "!%d %s", (int)err->code, err->msg);
    w->once.memo = slice_sub(buf_slice(&w->memo), 0, REG_MEMO_BYTES_MAX);
    return &w->once;
}

/* The answer, again. */

static void answer_reused(struct write *w, reg_rev revision)
{
    struct err err = {0};
    err_set(&err, ERR_INVALID,
            "Idempotency-Key: it was used for another request (answered at revision %llu); use a "
            "new key for a new request",
            (unsigned long long)revision);
    json_t *status = api_status(NULL, &err);
    json_object_set_new(status, "code", json_integer(422));
    json_object_set_new(status, "reason", json_string("Invalid"));
    api_respond_json(w->req, 422, status);
    json_decref(status);
}

static void answer_refused(struct write *w, struct slice memo)
{
    struct err err = {0};
    struct slice number, message;
    uint32_t code = 0;
    slice_cut(slice_skip(memo, 1), ' ', &number, &message);
    if (!slice_u32(number, &code) || code == ERR_NONE || code >= ERR_CODE_COUNT)
        code = ERR_INTERNAL;
    err_set(&err, (enum err_code)code, "%.*s", SLICE(message));
    write_answer_err(w, &err);
}

static bool result_of_letter(char letter, enum item_result *ret)
{
    for (size_t i = 0; i < sizeof(letters); i++)
        if (letters[i] == letter) {
            *ret = (enum item_result)i;
            return true;
        }
    return false;
}

/* A memo of another form was not written by this version: what can be said is when. */
static bool results_again(struct write *w, struct slice memo)
{
    struct slice results, name;
    size_t n = 0;
    slice_cut(memo, ' ', &results, &name);
    for (size_t i = 0; i < w->given; i++) {
        struct item *it = &w->items.p[i];
        if (it->verb == ITEM_CHECK)
            continue;
        if (n == results.n || !result_of_letter(results.p[n++], &it->result))
            return false;
    }
    if (w->given == 1 && name.n)
        w->items.p[0].name = arena_dup(&w->arena, name);
    return n == results.n;
}

/* A batch's answer has no objects. */
static bool object_again(struct write *w, struct reg_txn *txn, reg_rev revision)
{
    struct item *it = &w->items.p[0];
    struct reg_past *past = NULL;
    struct reg_object o;
    struct slice key;
    if (w->batch || w->given != 1 || it->result == ITEM_DELETED)
        return true;
    if (!kind_key(it->kind, it->ns, it->name, &w->arena, &key, NULL) ||
        reg_past_open(txn, revision, key, &past) != REG_HISTORY_OK)
        return false;
    bool found = reg_past_get(past, key, &o);
    if (found) {
        json_decref(it->after);
        it->after = api_object_as(it->kind, S(""), &o);
        it->before_rev = o.mod_rev;
    }
    reg_past_free(past);
    return found;
}

static void answer_without_object(struct write *w, reg_rev revision)
{
    json_t *body = json_pack("{s:s,s:s,s:{},s:s,s:o}", "kind", "Status", "apiVersion", "v1",
                             "metadata", "status", "Success", "message",
                             json_sprintf("done at revision %llu; the object as it was then is not "
                                          "kept any more",
                                          (unsigned long long)revision));
    api_respond_json(w->req, 200, body);
    json_decref(body);
}

bool write_replay(struct write *w, struct reg_txn *txn)
{
    struct reg_once_answer a;
    if (!w->keyed || !reg_once_get(txn, w->once.key, &a))
        return false;
    struct slice memo = arena_dup(w->req->arena, a.memo);
    if (memcmp(a.digest, w->once.digest, sizeof(a.digest)) != 0) {
        answer_reused(w, a.revision);
        return true;
    }
    write_say_revision(w, a.revision);
    headers_add_name(&w->req->response, w->req->arena, S("idempotent-replayed"), S("true"));
    if (slice_starts(memo, S("!")))
        answer_refused(w, memo);
    else if (results_again(w, memo) && object_again(w, txn, a.revision))
        w->done(w, a.revision);
    else
        answer_without_object(w, a.revision);
    return true;
}
