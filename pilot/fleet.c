#include "pilot/fleet.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/core/reader.h"
#include "base/wire/json.h"

/* Messages of REG_CHANNEL_CALL: kind u8, id u64, then
 *   ASK     query u8, proxy u16+bytes, type u16+bytes
 *   ANSWER  outcome u8, total u32, offset u32, bytes u32+bytes: a piece of the JSON, in order
 *   NEXT    nothing: the next piece */
enum { FLEET_ASK = 1, FLEET_ANSWER = 2, FLEET_NEXT = 3 };
enum fleet_outcome { FLEET_NOT_HERE, FLEET_FOUND, FLEET_TOO_LARGE, FLEET_OUTCOME_COUNT };

static_assert(FLEET_PIECE_BYTES + 64 < REG_MESSAGE_BYTES_MAX, "a piece fits into a message");

/* What one node says to a call. */
struct part {
    uint64_t node;
    bool awaited, answered;
    enum fleet_outcome outcome;
    struct buf json;
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
    bool local_running, refused, decided;
    size_t part_count, awaited;
    struct part parts[REG_NODES_MAX];
    fleet_fn *fn;
    void *arg;
};

struct fleet {
    struct env *env;
    struct reg_node *node;
    struct fleet_source source;
    struct list calls, servings;
    size_t call_count, serving_count, bytes;
    uint64_t next_id;
    bool closing;
};

/* A question of another node, being answered here. */
struct serving {
    struct list_node node;
    struct fleet *fleet;
    uint64_t from, id;
    struct arena arena;
    struct ads_query query; /* and its JSON, while pieces of it are to be sent */
    bool running;
    size_t sent;
    struct env_timer timer; /* who asks no more has gone */
};

/* Answers. */

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

static json_t *silent(const struct fleet_call *c, const struct reg_status *st)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->part_count; i++)
        if (!c->parts[i].answered)
            json_array_append_new(list, json_string(reg_member_name(st, c->parts[i].node)));
    return list;
}

static void add_items(json_t *items, const struct part *p, const char *node)
{
    struct err err = {0};
    size_t i;
    json_t *item, *list = json_parse_capped(buf_slice(&p->json), FLEET_ANSWER_BYTES_MAX,
                                            JSON_DEPTH_MAX, &err);
    if (!list)
        LOG_WARN("fleet.malformed", F_CSTR("node", node), F_ERR(&err));
    json_array_foreach (list, i, item) {
        if (!json_is_object(item))
            continue;
        json_object_set_new(item, "node", json_string(node));
        json_array_append(items, item);
    }
    json_decref(list);
}

static void answer_json(struct fleet_call *c, int status, json_t *take_body)
{
    struct buf out = {0};
    struct err err = {0};
    json_write(&out, take_body, &err);
    c->fn(c->arg, status, buf_slice(&out));
    buf_fini(&out);
    json_decref(take_body);
}

static void answer_proxies(struct fleet_call *c, const struct reg_status *st)
{
    json_t *items = json_array();
    for (size_t i = 0; i < c->part_count; i++)
        if (c->parts[i].answered && c->parts[i].json.n)
            add_items(items, &c->parts[i], reg_member_name(st, c->parts[i].node));
    sort_items(items);
    answer_json(c, 200, json_pack("{s:o,s:o}", "items", items, "silent", silent(c, st)));
}

static void answer_failure(struct fleet_call *c, int code, const char *reason, const char *message,
                           json_t *take_silent)
{
    json_t *body = json_pack("{s:s,s:s,s:s,s:s,s:i}", "kind", "Status", "apiVersion", "v1",
                             "status", "Failure", "reason", reason, "code", code);
    json_object_set_new(body, "message", json_string_of(slice_of(message)));
    if (take_silent)
        json_object_set_new(body, "silent", take_silent);
    answer_json(c, code, body);
}

/* The part's object with the node in front; it may be tens of megabytes, so it is not parsed. */
static void answer_found(struct fleet_call *c, const struct part *p, const struct reg_status *st)
{
    struct buf out = {0};
    struct slice json = buf_slice(&p->json);
    if (p->outcome == FLEET_TOO_LARGE || json.n < 2 || json.p[0] != '{') {
        answer_failure(c, 413, "RequestEntityTooLarge",
                       "the proxy's configuration is too large for one answer: ask for one type",
                       NULL);
        return;
    }
    buf_printf(&out, "{\"node\":");
    json_write_string(&out, slice_of(reg_member_name(st, p->node)));
    buf_append(&out, json.p[1] == '}' ? S("") : S(","));
    buf_append(&out, slice_skip(json, 1));
    c->fn(c->arg, 200, buf_slice(&out));
    buf_fini(&out);
}

static void answer_config(struct fleet_call *c, const struct reg_status *st)
{
    char text[1400];
    for (size_t i = 0; i < c->part_count; i++)
        if (c->parts[i].answered && c->parts[i].outcome != FLEET_NOT_HERE) {
            answer_found(c, &c->parts[i], st);
            return;
        }
    snprintf(text, sizeof(text),
             "proxies \"%.*s\" not found: no node has a stream of it; weft proxy-status lists them",
             SLICE(c->proxy));
    answer_failure(c, 404, "NotFound", text, silent(c, st));
}

static void call_answer(struct fleet_call *c)
{
    struct reg_status st;
    if (c->refused) {
        answer_failure(c, 429, "TooManyRequests", "too many questions at once", NULL);
        return;
    }
    if (c->fleet->closing) {
        answer_failure(c, 503, "ServiceUnavailable", "this node is stopping: ask another", NULL);
        return;
    }
    reg_node_status(c->fleet->node, &st);
    if (c->kind == ADS_QUERY_PROXIES)
        answer_proxies(c, &st);
    else
        answer_config(c, &st);
}

/* Life of a call. */

static void call_free(struct fleet_call *c)
{
    if (c->local_running) /* its answer is on the way: on_local frees */
        return;
    arena_fini(&c->arena);
    mem_free(c);
}

static void call_end(struct fleet_call *c)
{
    struct fleet *f = c->fleet;
    c->decided = true;
    env_timer_stop(f->env, &c->timer);
    env_defer_cancel(&c->start);
    list_remove(&c->node);
    f->call_count--;
    call_answer(c);
    for (size_t i = 0; i < c->part_count; i++) {
        f->bytes -= c->parts[i].json.n;
        buf_fini(&c->parts[i].json);
    }
    call_free(c);
}

/* Nothing more will come of the part: answered, or given up. */
static void part_end(struct fleet_call *c, struct part *p, bool answered)
{
    wf_assert(p->awaited);
    p->awaited = false;
    p->answered = answered;
    c->awaited--;
    bool enough = c->kind == ADS_QUERY_CONFIG && answered && p->outcome != FLEET_NOT_HERE;
    if (enough || c->awaited == 0)
        call_end(c);
}

/* false: there is no room. */
static bool part_add(struct fleet_call *c, struct part *p, struct slice bytes)
{
    struct fleet *f = c->fleet;
    if (f->bytes + bytes.n > FLEET_BYTES_MAX || p->json.n + bytes.n > FLEET_ANSWER_BYTES_MAX)
        return false;
    f->bytes += bytes.n;
    buf_append(&p->json, bytes);
    return true;
}

static void on_timeout(struct env_timer *t)
{
    call_end(container_of(t, struct fleet_call, timer));
}

static enum fleet_outcome outcome_of(const struct ads_query *q)
{
    if (q->json.n > FLEET_ANSWER_BYTES_MAX)
        return FLEET_TOO_LARGE;
    return q->found || q->kind == ADS_QUERY_PROXIES ? FLEET_FOUND : FLEET_NOT_HERE;
}

static struct part *part_of(struct fleet_call *c, uint64_t node)
{
    for (size_t i = 0; i < c->part_count; i++)
        if (c->parts[i].node == node && c->parts[i].awaited)
            return &c->parts[i];
    return NULL;
}

static void on_local(struct ads_query *q)
{
    struct fleet_call *c = container_of(q, struct fleet_call, local);
    struct buf json = q->json;
    c->local_running = false;
    if (c->decided) {
        call_free(c);
    } else {
        struct part *p = part_of(c, reg_node_id(c->fleet->node));
        p->outcome = outcome_of(q);
        part_end(c, p,
                 p->outcome == FLEET_TOO_LARGE ? q->kind == ADS_QUERY_CONFIG
                                               : part_add(c, p, buf_slice(&json)));
    }
    buf_fini(&json);
}

/* Asking. */

static void ask_encode(const struct fleet_call *c, struct buf *out)
{
    buf_append_byte(out, FLEET_ASK);
    buf_u64le(out, c->id);
    buf_append_byte(out, (char)c->kind);
    buf_u16le(out, (uint16_t)c->proxy.n);
    buf_append(out, c->proxy);
    buf_u16le(out, (uint16_t)c->type.n);
    buf_append(out, c->type);
}

static void ask_peers(struct fleet_call *c, const struct reg_status *st)
{
    struct buf ask = {0};
    ask_encode(c, &ask);
    for (size_t i = 0; i < st->member_count; i++) {
        const struct reg_member_status *m = &st->members[i];
        if (m->self)
            continue;
        c->parts[c->part_count++] = (struct part){.node = m->member.id, .awaited = m->connected};
        c->awaited += m->connected;
        if (m->connected)
            reg_send(c->fleet->node, m->member.id, REG_CHANNEL_CALL, buf_slice(&ask));
    }
    buf_fini(&ask);
}

static void ask_here(struct fleet_call *c)
{
    struct fleet *f = c->fleet;
    c->parts[c->part_count++] = (struct part){.node = reg_node_id(f->node), .awaited = true};
    c->awaited++;
    c->local = (struct ads_query){.kind = c->kind,
                                  .proxy = c->proxy,
                                  .type = c->type,
                                  .bodies = c->kind == ADS_QUERY_CONFIG,
                                  .env = f->env,
                                  .fn = on_local};
    c->local_running = true;
    f->source.query(f->source.ctx, &c->local);
}

static void call_start(struct env_task *t)
{
    struct fleet_call *c = container_of(t, struct fleet_call, start);
    struct reg_status st;
    if (c->refused) {
        call_end(c);
        return;
    }
    reg_node_status(c->fleet->node, &st);
    ask_peers(c, &st);
    if (c->fleet->source.query)
        ask_here(c);
    if (c->awaited)
        env_timer_start(c->fleet->env, &c->timer, FLEET_TIMEOUT_MS);
    else
        call_end(c);
}

static void call_new(struct fleet *f, enum ads_query_kind kind, struct slice proxy,
                     struct slice type, fleet_fn *fn, void *arg)
{
    struct fleet_call *c = MEM_NEW(struct fleet_call);
    *c = (struct fleet_call){.fleet = f,
                             .id = ++f->next_id,
                             .kind = kind,
                             .refused = f->call_count >= FLEET_CALLS_MAX,
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

void fleet_proxies(struct fleet *f, fleet_fn *fn, void *arg)
{
    call_new(f, ADS_QUERY_PROXIES, S(""), S(""), fn, arg);
}

void fleet_config(struct fleet *f, struct slice proxy, struct slice type, fleet_fn *fn, void *arg)
{
    call_new(f, ADS_QUERY_CONFIG, proxy, type, fn, arg);
}

/* Being asked. */

static void fleet_fini(struct fleet *f)
{
    if (f->closing && f->serving_count == 0)
        mem_free(f);
}

static void serving_free(struct serving *s)
{
    struct fleet *f = s->fleet;
    env_timer_stop(f->env, &s->timer);
    list_remove(&s->node);
    f->bytes -= s->query.json.n;
    buf_fini(&s->query.json);
    arena_fini(&s->arena);
    mem_free(s);
    f->serving_count--;
    fleet_fini(f);
}

static void on_serving_timeout(struct env_timer *t)
{
    serving_free(container_of(t, struct serving, timer));
}

static void send_piece(struct serving *s)
{
    struct buf out = {0};
    enum fleet_outcome outcome = outcome_of(&s->query);
    struct slice json = outcome == FLEET_FOUND ? buf_slice(&s->query.json) : S("");
    struct slice piece = slice_sub(json, s->sent, FLEET_PIECE_BYTES);
    buf_append_byte(&out, FLEET_ANSWER);
    buf_u64le(&out, s->id);
    buf_append_byte(&out, (char)outcome);
    buf_u32le(&out, (uint32_t)json.n);
    buf_u32le(&out, (uint32_t)s->sent);
    buf_u32le(&out, (uint32_t)piece.n);
    buf_append(&out, piece);
    reg_send(s->fleet->node, s->from, REG_CHANNEL_CALL, buf_slice(&out));
    buf_fini(&out);
    s->sent += piece.n;
    if (s->sent == json.n)
        serving_free(s);
    else
        env_timer_start(s->fleet->env, &s->timer, FLEET_TIMEOUT_MS);
}

static void serving_done(struct ads_query *q)
{
    struct serving *s = container_of(q, struct serving, query);
    struct fleet *f = s->fleet;
    s->running = false;
    f->bytes += q->json.n;
    if (f->closing || f->bytes > FLEET_BYTES_MAX) /* who asked finds this node silent */
        serving_free(s);
    else
        send_piece(s);
}

static void on_ask(struct fleet *f, uint64_t from, uint64_t id, struct reader *r)
{
    uint8_t kind = reader_u8(r);
    struct slice proxy = reader_bytes(r, reader_u16le(r));
    struct slice type = reader_bytes(r, reader_u16le(r));
    if (!reader_done(r) || kind > ADS_QUERY_CONFIG || f->serving_count >= FLEET_SERVING_MAX)
        return;
    struct serving *s = MEM_NEW(struct serving);
    *s = (struct serving){
        .fleet = f, .from = from, .id = id, .timer.fn = on_serving_timeout, .running = true};
    s->query = (struct ads_query){.kind = (enum ads_query_kind)kind,
                                  .proxy = arena_dup(&s->arena, proxy),
                                  .type = arena_dup(&s->arena, type),
                                  .bodies = kind == ADS_QUERY_CONFIG,
                                  .env = f->env,
                                  .fn = serving_done};
    list_push(&f->servings, &s->node);
    f->serving_count++;
    if (f->source.query)
        f->source.query(f->source.ctx, &s->query);
    else
        serving_done(&s->query); /* nobody here */
}

static void on_next(struct fleet *f, uint64_t from, uint64_t id)
{
    LIST_EACH (&f->servings, n) {
        struct serving *s = container_of(n, struct serving, node);
        if (s->id == id && s->from == from && !s->running) {
            send_piece(s);
            return;
        }
    }
}

/* Being answered. */

static void ask_next(struct fleet_call *c, struct part *p)
{
    struct buf out = {0};
    buf_append_byte(&out, FLEET_NEXT);
    buf_u64le(&out, c->id);
    reg_send(c->fleet->node, p->node, REG_CHANNEL_CALL, buf_slice(&out));
    buf_fini(&out);
    env_timer_start(c->fleet->env, &c->timer, FLEET_TIMEOUT_MS);
}

static struct fleet_call *call_find(struct fleet *f, uint64_t id)
{
    LIST_EACH (&f->calls, n) {
        struct fleet_call *c = container_of(n, struct fleet_call, node);
        if (c->id == id)
            return c;
    }
    return NULL;
}

static void on_answer(struct fleet *f, uint64_t from, uint64_t id, struct reader *r)
{
    uint8_t outcome = reader_u8(r);
    uint32_t total = reader_u32le(r), offset = reader_u32le(r);
    struct slice bytes = reader_bytes(r, reader_u32le(r));
    struct fleet_call *c = call_find(f, id);
    struct part *p = c ? part_of(c, from) : NULL;
    if (!p) /* too late */
        return;
    /* Of a dropped message the rest has no use. */
    bool fits = reader_done(r) && outcome < FLEET_OUTCOME_COUNT && offset == p->json.n &&
                offset <= total && bytes.n <= total - offset && (bytes.n || !total) &&
                part_add(c, p, bytes);
    if (!fits) {
        part_end(c, p, false);
        return;
    }
    p->outcome = (enum fleet_outcome)outcome;
    if (p->json.n < total)
        ask_next(c, p);
    else
        part_end(c, p, outcome != FLEET_TOO_LARGE || c->kind == ADS_QUERY_CONFIG);
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
    else if (kind == FLEET_NEXT)
        on_next(ctx, from, id);
}

/* Who is gone does not answer any more. */
static void on_peer_down(void *ctx, uint64_t peer)
{
    struct fleet *f = ctx;
    LIST_EACH (&f->calls, n) {
        struct fleet_call *c = container_of(n, struct fleet_call, node);
        struct part *p = part_of(c, peer);
        if (p)
            part_end(c, p, false);
    }
}

/* Life. */

static void query_server(void *ctx, struct ads_query *q)
{
    ads_server_query(ctx, q);
}

struct fleet_source fleet_source_of(struct ads_server *server)
{
    return (struct fleet_source){.ctx = server, .query = query_server};
}

struct fleet *fleet_new(struct env *env, struct reg_node *node, struct fleet_source source)
{
    struct fleet *f = MEM_NEW(struct fleet);
    *f = (struct fleet){.env = env, .node = node, .source = source};
    list_init(&f->calls);
    list_init(&f->servings);
    env_random(env, &f->next_id, sizeof(f->next_id));
    reg_receive(node, REG_CHANNEL_CALL, env, on_message, on_peer_down, f);
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
    f->serving_count++; /* holds f */
    LIST_EACH (&f->servings, n) {
        struct serving *s = container_of(n, struct serving, node);
        if (!s->running)
            serving_free(s);
    }
    f->serving_count--;
    fleet_fini(f);
}
