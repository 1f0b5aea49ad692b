#include "pilot/fleet.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/core/assert.h"
#include "base/core/reader.h"
#include "base/wire/json.h"

/* Messages of REG_CHANNEL_CALL: kind u8, id u64, then
 *   ASK     query u8, bodies u8, proxy u16+bytes, type u16+bytes
 *   ANSWER  found u8, JSON u32+bytes */
enum { FLEET_ASK = 1, FLEET_ANSWER = 2 };

#define FLEET_JSON_MAX (REG_MESSAGE_BYTES_MAX - 64)

struct part {
    uint64_t node;
    bool found;
    json_t *json;
};

struct fleet_call {
    struct list_node node;
    struct fleet *fleet;
    uint64_t id;
    enum ads_query_kind kind;
    struct arena arena;
    struct slice proxy, type;
    struct env_timer timer;
    struct env_task start;
    struct ads_query local;
    bool local_running, decided;
    size_t asked, answered;
    uint64_t asked_nodes[REG_NODES_MAX];
    VEC(struct part) parts;
    fleet_fn *fn;
    void *arg;
};

struct fleet {
    struct env *env;
    struct reg_node *node;
    struct ads_server *server;
    struct list calls;
    size_t call_count, serving;
    uint64_t next_id;
    bool closing;
};

/* A question of another node, being answered here. */
struct serving {
    struct fleet *fleet;
    uint64_t from, id;
    struct arena arena;
    struct ads_query query;
};

/* Answers. */

static void call_free(struct fleet_call *c)
{
    if (c->local_running) /* its answer is on the way: on_local frees */
        return;
    for (size_t i = 0; i < c->parts.n; i++)
        json_decref(c->parts.p[i].json);
    vec_fini(&c->parts);
    arena_fini(&c->arena);
    mem_free(c);
}

static const char *node_name(const struct reg_status *st, uint64_t id)
{
    for (size_t i = 0; i < st->member_count; i++)
        if (st->members[i].member.id == id)
            return st->members[i].member.name;
    return "";
}

static int by_name(const void *a, const void *b)
{
    return slice_cmp(json_str(*(json_t *const *)a, "name"), json_str(*(json_t *const *)b, "name"));
}

static void sort_items(json_t *items)
{
    size_t n = json_array_size(items);
    json_t **list = mem_array(n + 1, sizeof(*list));
    for (size_t i = 0; i < n; i++)
        list[i] = json_incref(json_array_get(items, i));
    qsort(list, n, sizeof(*list), by_name);
    json_array_clear(items);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(items, list[i]);
    mem_free(list);
}

static bool has_answered(const struct fleet_call *c, uint64_t node)
{
    for (size_t i = 0; i < c->parts.n; i++)
        if (c->parts.p[i].node == node)
            return true;
    return false;
}

static json_t *silent(const struct fleet_call *c, const struct reg_status *st)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->asked; i++)
        if (!has_answered(c, c->asked_nodes[i]))
            json_array_append_new(list, json_string(node_name(st, c->asked_nodes[i])));
    return list;
}

static json_t *proxies_body(const struct fleet_call *c, const struct reg_status *st)
{
    json_t *items = json_array(), *item;
    for (size_t i = 0; i < c->parts.n; i++) {
        size_t k;
        json_array_foreach (c->parts.p[i].json, k, item) {
            json_object_set_new(item, "node", json_string(node_name(st, c->parts.p[i].node)));
            json_array_append(items, item);
        }
    }
    sort_items(items);
    return json_pack("{s:o,s:o}", "items", items, "silent", silent(c, st));
}

/* The flat list of resources as lists by type. */
static json_t *config_body(const struct part *p, const struct reg_status *st)
{
    json_t *body = json_copy(p->json), *types = json_object(), *r;
    size_t i;
    json_array_foreach (json_object_get(p->json, "resources"), i, r) {
        const char *type = json_string_value(json_object_get(r, "type"));
        if (!type)
            continue;
        json_t *list = json_object_get(types, type);
        if (!list) {
            list = json_array();
            json_object_set_new(types, type, list);
        }
        json_array_append(list, r);
    }
    json_object_del(body, "resources");
    json_object_set_new(body, "types", types);
    json_object_set_new(body, "node", json_string(node_name(st, p->node)));
    return body;
}

static json_t *not_found(const struct fleet_call *c, const struct reg_status *st)
{
    char text[512];
    snprintf(text, sizeof(text),
             "proxies \"%.*s\" not found: no node has a stream of it; weft proxy-status lists them",
             SLICE(c->proxy));
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:o}", "kind", "Status", "apiVersion", "v1",
                     "status", "Failure", "reason", "NotFound", "message", text, "code", 404,
                     "silent", silent(c, st));
}

static void call_answer(struct fleet_call *c)
{
    struct reg_status st;
    struct buf out = {0};
    struct err err = {0};
    int status = 200;
    json_t *body = NULL;
    reg_node_status(c->fleet->node, &st);
    if (c->kind == ADS_QUERY_PROXIES) {
        body = proxies_body(c, &st);
    } else {
        for (size_t i = 0; i < c->parts.n && !body; i++)
            if (c->parts.p[i].found && c->parts.p[i].json)
                body = config_body(&c->parts.p[i], &st);
        status = body ? 200 : 404;
        if (!body)
            body = not_found(c, &st);
    }
    json_write(&out, body, &err);
    c->fn(c->arg, status, buf_slice(&out));
    buf_fini(&out);
    json_decref(body);
}

static void call_end(struct fleet_call *c)
{
    c->decided = true;
    env_timer_stop(c->fleet->env, &c->timer);
    env_defer_cancel(&c->start);
    list_remove(&c->node);
    c->fleet->call_count--;
    call_answer(c);
    call_free(c);
}

static void call_part(struct fleet_call *c, uint64_t node, bool found, struct slice json)
{
    struct err err = {0};
    json_t *parsed =
        json.n ? json_parse_capped(json, REG_MESSAGE_BYTES_MAX * 4u, JSON_DEPTH_MAX, &err) : NULL;
    *vec_push(&c->parts) = (struct part){.node = node, .found = found, .json = parsed};
    c->answered++;
    bool enough = c->kind == ADS_QUERY_CONFIG && found;
    if (enough || c->answered == c->asked)
        call_end(c);
}

static void on_timeout(struct env_timer *t)
{
    call_end(container_of(t, struct fleet_call, timer));
}

static void on_local(struct ads_query *q)
{
    struct fleet_call *c = container_of(q, struct fleet_call, local);
    struct buf json = q->json; /* the query is part of the call, which the last answer frees */
    q->json = (struct buf){0};
    c->local_running = false;
    if (c->decided)
        call_free(c);
    else
        call_part(c, reg_node_id(c->fleet->node), q->found || q->kind == ADS_QUERY_PROXIES,
                  buf_slice(&json));
    buf_fini(&json);
}

/* Asking. */

static void ask_encode(const struct fleet_call *c, struct buf *out)
{
    buf_append_byte(out, FLEET_ASK);
    buf_u64le(out, c->id);
    buf_append_byte(out, (char)c->kind);
    buf_append_byte(out, c->kind == ADS_QUERY_CONFIG);
    buf_u16le(out, (uint16_t)c->proxy.n);
    buf_append(out, c->proxy);
    buf_u16le(out, (uint16_t)c->type.n);
    buf_append(out, c->type);
}

static void ask_peers(struct fleet_call *c)
{
    struct reg_status st;
    struct buf ask = {0};
    reg_node_status(c->fleet->node, &st);
    ask_encode(c, &ask);
    for (size_t i = 0; i < st.member_count; i++) {
        if (st.members[i].self || !st.members[i].connected)
            continue;
        c->asked_nodes[c->asked++] = st.members[i].member.id;
        reg_send(c->fleet->node, st.members[i].member.id, REG_CHANNEL_CALL, buf_slice(&ask));
    }
    buf_fini(&ask);
}

static void call_start(struct env_task *t)
{
    struct fleet_call *c = container_of(t, struct fleet_call, start);
    struct fleet *f = c->fleet;
    if (f->server)
        c->asked_nodes[c->asked++] = reg_node_id(f->node);
    ask_peers(c);
    if (c->asked == 0) {
        call_end(c);
        return;
    }
    env_timer_start(f->env, &c->timer, FLEET_TIMEOUT_MS);
    if (!f->server)
        return;
    c->local = (struct ads_query){.kind = c->kind,
                                  .proxy = c->proxy,
                                  .type = c->type,
                                  .bodies = c->kind == ADS_QUERY_CONFIG,
                                  .env = f->env,
                                  .fn = on_local};
    c->local_running = true;
    ads_server_query(f->server, &c->local);
}

static void call_new(struct fleet *f, enum ads_query_kind kind, struct slice proxy,
                     struct slice type, fleet_fn *fn, void *arg)
{
    struct fleet_call *c = MEM_NEW(struct fleet_call);
    *c = (struct fleet_call){.fleet = f,
                             .id = ++f->next_id,
                             .kind = kind,
                             .fn = fn,
                             .arg = arg,
                             .timer.fn = on_timeout,
                             .start.fn = call_start};
    c->proxy = arena_dup(&c->arena, slice_sub(proxy, 0, 1024));
    c->type = arena_dup(&c->arena, slice_sub(type, 0, 64));
    list_push(&f->calls, &c->node);
    f->call_count++;
    env_defer(f->env, &c->start);
}

static bool full(struct fleet *f, fleet_fn *fn, void *arg)
{
    if (f->call_count < FLEET_CALLS_MAX)
        return false;
    fn(arg, 429,
       S("{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"reason\":"
         "\"TooManyRequests\",\"message\":\"too many questions at once\",\"code\":429}"));
    return true;
}

void fleet_proxies(struct fleet *f, fleet_fn *fn, void *arg)
{
    if (!full(f, fn, arg))
        call_new(f, ADS_QUERY_PROXIES, S(""), S(""), fn, arg);
}

void fleet_config(struct fleet *f, struct slice proxy, struct slice type, fleet_fn *fn, void *arg)
{
    if (!full(f, fn, arg))
        call_new(f, ADS_QUERY_CONFIG, proxy, type, fn, arg);
}

/* Being asked. */

static void serving_done(struct ads_query *q)
{
    struct serving *s = container_of(q, struct serving, query);
    struct buf out = {0};
    struct slice json = buf_slice(&q->json);
    if (json.n > FLEET_JSON_MAX)
        json = S("");
    buf_append_byte(&out, FLEET_ANSWER);
    buf_u64le(&out, s->id);
    buf_append_byte(&out, q->found || q->kind == ADS_QUERY_PROXIES);
    buf_u32le(&out, (uint32_t)json.n);
    buf_append(&out, json);
    if (!s->fleet->closing)
        reg_send(s->fleet->node, s->from, REG_CHANNEL_CALL, buf_slice(&out));
    s->fleet->serving--;
    buf_fini(&out);
    buf_fini(&q->json);
    arena_fini(&s->arena);
    mem_free(s);
}

static void on_ask(struct fleet *f, uint64_t from, uint64_t id, struct reader *r)
{
    uint8_t kind = reader_u8(r), bodies = reader_u8(r);
    struct slice proxy = reader_bytes(r, reader_u16le(r));
    struct slice type = reader_bytes(r, reader_u16le(r));
    if (!reader_done(r) || kind > ADS_QUERY_CONFIG || !f->server || f->serving >= FLEET_CALLS_MAX)
        return;
    struct serving *s = MEM_NEW(struct serving);
    *s = (struct serving){.fleet = f, .from = from, .id = id};
    s->query = (struct ads_query){.kind = (enum ads_query_kind)kind,
                                  .proxy = arena_dup(&s->arena, proxy),
                                  .type = arena_dup(&s->arena, type),
                                  .bodies = bodies != 0,
                                  .env = f->env,
                                  .fn = serving_done};
    f->serving++;
    ads_server_query(f->server, &s->query);
}

static void on_answer(struct fleet *f, uint64_t from, uint64_t id, struct reader *r)
{
    uint8_t found = reader_u8(r);
    struct slice json = reader_bytes(r, reader_u32le(r));
    if (!reader_done(r))
        return;
    LIST_EACH (&f->calls, n) {
        struct fleet_call *c = container_of(n, struct fleet_call, node);
        if (c->id == id && !has_answered(c, from)) {
            call_part(c, from, found != 0, json);
            return;
        }
    }
}

static void on_message(void *ctx, uint64_t from, struct slice bytes)
{
    struct reader r = reader_of(bytes);
    uint8_t kind = reader_u8(&r);
    uint64_t id = reader_u64le(&r);
    if (kind == FLEET_ASK)
        on_ask(ctx, from, id, &r);
    else if (kind == FLEET_ANSWER)
        on_answer(ctx, from, id, &r);
}

/* Life. */

struct fleet *fleet_new(struct env *env, struct reg_node *node, struct ads_server *server)
{
    struct fleet *f = MEM_NEW(struct fleet);
    *f = (struct fleet){.env = env, .node = node, .server = server};
    list_init(&f->calls);
    env_random(env, &f->next_id, sizeof(f->next_id));
    reg_receive(node, REG_CHANNEL_CALL, env, on_message, NULL, f);
    return f;
}

void fleet_free(struct fleet *f)
{
    if (!f)
        return;
    f->closing = true;
    reg_receive(f->node, REG_CHANNEL_CALL, f->env, NULL, NULL, NULL);
    LIST_EACH (&f->calls, n)
        call_end(container_of(n, struct fleet_call, node));
    wf_assert(f->call_count == 0);
    mem_free(f);
}
