/* /weft/v1: what Kubernetes' shape has no place for. */
#include <stdio.h>
#include <stdlib.h>

#include "api/duration.h"
#include "registry/apiserver/internal.h"
#include "registry/quota.h"

const char *api_role_name(enum reg_role role)
{
    static const char *const names[] = {"follower", "candidate", "leader", "unavailable"};
    return (size_t)role < ARRAY_LEN(names) ? names[role] : "unknown";
}

static reg_rev head_revision(struct apiserver *s)
{
    struct reg_txn txn;
    struct err err = {0};
    if (!reg_txn_begin(s->store, &txn, &err))
        return 0;
    reg_rev revision = txn.revision;
    reg_txn_end(&txn);
    return revision;
}

/* That can still be read, by history, diff and rollback. */
static reg_rev oldest_revision(struct apiserver *s)
{
    struct reg_txn txn;
    struct err err = {0};
    if (!reg_txn_begin(s->store, &txn, &err))
        return 0;
    reg_rev oldest = txn.compacted;
    reg_txn_end(&txn);
    return oldest;
}

/* By name; a limit that is not there is none. */
static void add_quota(void *ctx, const struct reg_quota *q)
{
    if (!q->objects_max && !q->bytes_max)
        return;
    json_t *o = json_pack("{s:I,s:I,s:I,s:b}", "objects", (json_int_t)q->objects, "bytes",
                          (json_int_t)q->bytes, "refused", (json_int_t)q->refused, "full",
                          reg_quota_full(q));
    if (q->objects_max)
        json_object_set_new(o, "objectsMax", json_integer((json_int_t)q->objects_max));
    if (q->bytes_max)
        json_object_set_new(o, "bytesMax", json_integer((json_int_t)q->bytes_max));
    json_object_setn_new(ctx, q->ns.p, q->ns.n, o);
}

static json_t *proxies_json(struct apiserver *s)
{
    struct buf summary = {0};
    struct err err = {0};
    json_t *proxies = NULL;
    if (s->mesh.summary) {
        s->mesh.summary(s->mesh.ctx, &summary);
        proxies = json_parse(buf_slice(&summary), &err);
    }
    buf_fini(&summary);
    return proxies ? proxies : json_object();
}

static void mesh_status(struct apiserver *s, struct http_request *req)
{
    struct reg_status st;
    reg_node_status(s->opt.node, &st);
    uint64_t self = reg_node_id(s->opt.node);
    json_t *body = json_pack(
        "{s:s,s:I,s:{s:I,s:s,s:s},s:b,s:s,s:I,s:o,s:{s:I,s:I},s:{s:I,s:I,s:I},s:I,s:I,s:o}",
        "version", WEFT_VERSION, "revision", (json_int_t)head_revision(s), "node", "id",
        (json_int_t)self, "name", reg_member_name(&st, self), "role", api_role_name(st.role),
        "quorum", st.quorum, "leader", reg_member_name(&st, st.leader_id), "term",
        (json_int_t)st.term, "members", api_members_json(&st), "store", "usedBytes",
        (json_int_t)st.store_bytes_used, "mapBytes", (json_int_t)st.store_bytes_map, "log", "bytes",
        (json_int_t)st.log_bytes, "lastIndex", (json_int_t)st.last_index, "appliedIndex",
        (json_int_t)st.applied_index, "leaderChanges", (json_int_t)st.leader_changes, "uptimeMs",
        (json_int_t)(env_wall_ms(s->env) - s->started_wall_ms), "proxies", proxies_json(s));
    wf_ms age = api_staleness(s, &st);
    if (age >= 0)
        json_object_set_new(body, "stalenessMs", json_integer((json_int_t)age));
    json_object_set_new(body, "clusterVersion", json_integer((json_int_t)st.version));
    json_object_set_new(body, "oldest", json_integer((json_int_t)oldest_revision(s)));
    json_object_set_new(body, "quota",
                        json_pack("{s:I,s:I,s:b}", "objectBytes", (json_int_t)st.object_bytes,
                                  "quotaBytes", (json_int_t)st.quota_bytes, "reached",
                                  st.over_quota));
    json_t *quotas = json_object();
    reg_quota_each(s->store, add_quota, quotas);
    json_object_set_new(body, "namespaceQuotas", quotas);
    json_object_set_new(body, "disk",
                        json_pack("{s:I,s:I}", "freeBytes", (json_int_t)st.disk_free_bytes,
                                  "neededBytes", (json_int_t)st.disk_room_bytes));
    json_object_set_new(body, "leases",
                        json_pack("{s:I,s:I,s:I,s:I}", "held", (json_int_t)st.leases.held,
                                  "registrations", (json_int_t)st.leases.registrations, "heldBack",
                                  (json_int_t)st.leases.held_back, "expired",
                                  (json_int_t)st.leases.expired));
    char hash[32];
    snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)st.state_hash);
    json_object_set_new(body, "stateHash", json_string(hash));
    api_respond_json(req, 200, body);
    json_decref(body);
}

/* Questions that take a while. */

struct question {
    struct apiserver *srv;
    struct http_request *req; /* NULL: the client is gone */
    void *handle;
};

static void question_gone(struct http_request *req)
{
    struct question *q = req->user;
    q->req = NULL;
    if (q->handle && q->srv->mesh.wait_cancel) {
        q->srv->mesh.wait_cancel(q->srv->mesh.ctx, q->handle);
        mem_free(q);
    }
}

static void question_answered(void *arg, int status, struct slice json)
{
    struct question *q = arg;
    if (q->req)
        api_respond_text(q->req, status, json);
    mem_free(q);
}

static struct question *question_new(struct apiserver *s, struct http_request *req)
{
    struct question *q = MEM_NEW(struct question);
    *q = (struct question){.srv = s, .req = req};
    req->user = q;
    req->on_close = question_gone;
    return q;
}

bool api_duration_parse(struct slice text, wf_ms *ret)
{
    uint64_t seconds;
    wf_ms ms = slice_u64(text, &seconds) && seconds <= API_WAIT_MS_MAX / 1000
                   ? (wf_ms)seconds * 1000
                   : duration_ms(text, -1);
    if (ms < 0 || ms > API_WAIT_MS_MAX)
        return false;
    *ret = ms;
    return true;
}

#define WAIT_DEFAULT_MS 30000

static void mesh_wait(struct apiserver *s, struct http_request *req)
{
    struct err err = {0};
    struct slice text = S("");
    uint64_t revision = head_revision(s);
    wf_ms timeout = WAIT_DEFAULT_MS;
    if (uri_query_get(req->query, S("revision"), req->arena, &text) && !slice_u64(text, &revision))
        err_set(&err, ERR_INVALID, "revision=%.*s: must be a number", SLICE(text));
    text = S("");
    if (uri_query_get(req->query, S("timeout"), req->arena, &text) &&
        !api_duration_parse(text, &timeout))
        err_set(&err, ERR_INVALID, "timeout=%.*s: write 10s or 500ms", SLICE(text));
    if (!err.code && !s->mesh.wait)
        err_set(&err, ERR_UNAVAILABLE, "this node serves no proxies");
    if (err.code) {
        api_respond_err(req, NULL, &err);
        return;
    }
    struct question *q = question_new(s, req);
    void *handle = s->mesh.wait(s->mesh.ctx, revision, timeout, question_answered, q);
    if (handle)
        q->handle = handle;
}

static void mesh_proxies(struct apiserver *s, struct http_request *req)
{
    if (s->mesh.proxies)
        s->mesh.proxies(s->mesh.ctx, question_answered, question_new(s, req));
    else
        api_respond_text(req, 200, S("{\"items\":[]}\n"));
}

static void mesh_config(struct apiserver *s, struct http_request *req, struct slice proxy)
{
    struct err err = {0};
    struct slice name, type = S("");
    uri_query_get(req->query, S("type"), req->arena, &type);
    if (!s->mesh.proxy_config || !uri_decode(proxy, req->arena, &name)) {
        err_set(&err, ERR_NOT_FOUND, "proxy \"%.*s\" not found", SLICE(proxy));
        api_respond_err(req, NULL, &err);
        return;
    }
    struct question *q = question_new(s, req);
    s->mesh.proxy_config(s->mesh.ctx, name, type, question_answered, q);
}

static bool mesh_post(struct apiserver *s, struct http_request *req, struct slice path)
{
    if (slice_eq(path, S("transaction")) || slice_eq(path, S("batch")))
        api_batch(s, req);
    else if (slice_eq(path, S("leases/renew")))
        api_leases_renew(s, req);
    else if (slice_eq(path, S("leases/approve")))
        api_leases_approve(s, req);
    else if (slice_eq(path, S("jointokens")))
        api_tokens(s, req);
    else
        return false;
    return true;
}

bool api_mesh_request(struct apiserver *s, struct http_request *req)
{
    struct slice path = req->path, tail = {0};
    if (!slice_starts(path, S("/weft/v1/")))
        return false;
    path = slice_skip(path, 9);
    if (slice_starts(path, S("members")))
        return api_members(s, req, path);
    if (req->method_id == HTTP_POST)
        return mesh_post(s, req, path);
    if (req->method_id != HTTP_GET)
        return false;
    if (slice_eq(path, S("status")))
        mesh_status(s, req);
    else if (slice_eq(path, S("history")))
        api_history(s, req);
    else if (slice_eq(path, S("diff")))
        api_diff(s, req);
    else if (slice_eq(path, S("snapshot")))
        api_snapshot(s, req);
    else if (slice_eq(path, S("wait")))
        mesh_wait(s, req);
    else if (slice_eq(path, S("proxies")))
        mesh_proxies(s, req);
    else if (slice_starts(path, S("proxies/")) && slice_ends(path, S("/config"))) {
        tail = slice_sub(path, 8, path.n - 8 - 7);
        mesh_config(s, req, tail);
    } else
        return false;
    return true;
}
