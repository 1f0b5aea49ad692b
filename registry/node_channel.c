#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "registry/node_impl.h"

static struct node_message *message_new(uint64_t peer, enum reg_channel channel, struct slice bytes)
{
    struct node_message *m = mem_new(sizeof(*m) + bytes.n);
    m->peer = peer;
    m->channel = channel;
    m->n = bytes.n;
    if (bytes.n)
        memcpy(m->bytes, bytes.p, bytes.n);
    return m;
}

static void queue_fini(struct list *l)
{
    struct list_node *node;
    while ((node = list_pop(l)))
        mem_free(container_of(node, struct node_message, node));
}

/* Out: any thread → raft thread → peers. */

static void send_one(struct reg_node *n, uint64_t to, const struct node_message *m)
{
    uint32_t channel = (uint32_t)m->channel;
    struct iovec pieces[] = {{&channel, sizeof(channel)}, {(void *)(uintptr_t)m->bytes, m->n}};
    if (!raftio_send(&n->io, to, FRAME_CHANNEL, n->raft.current_term, pieces, 2))
        LOG_DEBUG("registry.channel.lost", F_U64("to", to), F_U64("bytes", m->n));
}

static void send_message(struct reg_node *n, const struct node_message *m)
{
    for (size_t i = 0; i < n->opt.member_count; i++) {
        uint64_t id = n->opt.members[i].id;
        if (id != n->opt.id && (m->peer == 0 || m->peer == id))
            send_one(n, id, m);
    }
}

static void outbox_take(struct reg_node *n, struct list *out)
{
    struct list_node *node;
    pthread_mutex_lock(&n->lock);
    n->outbox_posted = false;
    for (int c = 0; c < REG_CHANNEL_COUNT; c++) {
        while ((node = list_pop(&n->outbox[c])))
            list_push(out, node);
        n->outbox_count[c] = 0;
    }
    pthread_mutex_unlock(&n->lock);
}

static void on_outbox(struct env_post *post)
{
    struct reg_node *n = container_of(post, struct reg_node, outbox_post);
    struct list out;
    struct list_node *node;
    list_init(&out);
    outbox_take(n, &out);
    while ((node = list_pop(&out))) {
        struct node_message *m = container_of(node, struct node_message, node);
        if (n->stop == NODE_RUNS)
            send_message(n, m);
        mem_free(m);
    }
}

void reg_send(struct reg_node *node, uint64_t to, enum reg_channel channel, struct slice bytes)
{
    wf_assert(channel > 0 && channel < REG_CHANNEL_COUNT);
    wf_assert(bytes.n <= REG_MESSAGE_BYTES_MAX);
    struct node_message *m = message_new(to, channel, bytes), *dropped = NULL;
    pthread_mutex_lock(&node->lock);
    if (node->outbox_count[channel] == REG_MESSAGES_QUEUED_MAX)
        dropped = container_of(list_pop(&node->outbox[channel]), struct node_message, node);
    else
        node->outbox_count[channel]++;
    list_push(&node->outbox[channel], &m->node);
    bool post = !node->outbox_posted;
    node->outbox_posted = true;
    pthread_mutex_unlock(&node->lock);
    mem_free(dropped);
    if (post)
        env_post(node->env, &node->outbox_post);
}

/* In: raft thread → the receiver's env. */

static void receiver_free(struct node_receiver *r)
{
    queue_fini(&r->queue);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}

/* Once nothing is left, the receiver is not touched any more: it may be freed then. */
static bool receiver_take(struct node_receiver *r, struct list *in, bool *ret_closed)
{
    struct list_node *node;
    pthread_mutex_lock(&r->lock);
    while ((node = list_pop(&r->queue)))
        list_push(in, node);
    r->count = 0;
    r->posted = !list_empty(in);
    *ret_closed = r->closed;
    pthread_mutex_unlock(&r->lock);
    return !list_empty(in);
}

static void receiver_hand_out(const struct node_receiver *r, struct list *in)
{
    struct list_node *node;
    while ((node = list_pop(in))) {
        struct node_message *m = container_of(node, struct node_message, node);
        bool open = !__atomic_load_n(&r->closed, __ATOMIC_ACQUIRE); /* fn may end it */
        if (open && !m->down)
            r->fn(r->ctx, m->peer, slice_mem(m->bytes, m->n));
        else if (open && r->peer_down)
            r->peer_down(r->ctx, m->peer);
        mem_free(m);
    }
}

static void on_receiver(struct env_post *post)
{
    struct node_receiver *r = container_of(post, struct node_receiver, post);
    struct list in;
    bool closed;
    list_init(&in);
    while (receiver_take(r, &in, &closed))
        receiver_hand_out(r, &in);
    if (closed)
        receiver_free(r);
}

static void receiver_close(struct node_receiver *r)
{
    pthread_mutex_lock(&r->lock);
    bool posted = r->posted;
    __atomic_store_n(&r->closed, true, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&r->lock);
    if (!posted)
        receiver_free(r);
}

static void receiver_end(struct reg_node *node, enum reg_channel channel)
{
    pthread_mutex_lock(&node->lock);
    struct node_receiver *r = node->receivers[channel];
    node->receivers[channel] = NULL;
    pthread_mutex_unlock(&node->lock);
    if (r)
        receiver_close(r);
}

void reg_receive(struct reg_node *node, enum reg_channel channel, struct env *env,
                 void (*fn)(void *ctx, uint64_t from, struct slice bytes),
                 void (*peer_down)(void *ctx, uint64_t peer), void *ctx)
{
    wf_assert(channel > 0 && channel < REG_CHANNEL_COUNT);
    if (!fn) {
        receiver_end(node, channel);
        return;
    }
    struct node_receiver *r = MEM_NEW(struct node_receiver);
    *r = (struct node_receiver){
        .env = env, .fn = fn, .peer_down = peer_down, .ctx = ctx, .post.fn = on_receiver};
    list_init(&r->queue);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_lock(&node->lock);
    wf_assert(!node->receivers[channel]);
    node->receivers[channel] = r;
    pthread_mutex_unlock(&node->lock);
}

/* News that a peer is gone are never dropped: there is one a peer and loss. */
static struct node_message *oldest_message(struct node_receiver *r)
{
    LIST_EACH (&r->queue, node) {
        struct node_message *m = container_of(node, struct node_message, node);
        if (!m->down)
            return m;
    }
    return NULL;
}

static void receiver_put(struct reg_node *n, enum reg_channel channel, struct node_message *m)
{
    struct node_message *dropped = NULL;
    pthread_mutex_lock(&n->lock);
    struct node_receiver *r = n->receivers[channel];
    if (r) /* before the node's lock goes: reg_receive may be taking it away */
        pthread_mutex_lock(&r->lock);
    pthread_mutex_unlock(&n->lock);
    if (!r) {
        mem_free(m);
        return;
    }
    if (r->count >= REG_MESSAGES_QUEUED_MAX && (dropped = oldest_message(r))) {
        list_remove(&dropped->node);
        r->count--;
    }
    list_push(&r->queue, &m->node);
    r->count++;
    if (!r->posted)
        env_post(r->env, &r->post);
    r->posted = true;
    pthread_mutex_unlock(&r->lock);
    mem_free(dropped);
}

void node_channel_on_frame(struct reg_node *n, uint64_t from, const struct frame *f)
{
    struct reader r = reader_of(f->payload);
    uint32_t channel = reader_u32le(&r);
    if (!reader_ok(&r) || channel == 0 || channel >= REG_CHANNEL_COUNT ||
        reader_left(&r) > REG_MESSAGE_BYTES_MAX) {
        LOG_WARN("registry.channel.invalid", F_U64("from", from), F_U64("channel", channel));
        return;
    }
    struct slice bytes = reader_bytes(&r, reader_left(&r));
    receiver_put(n, (enum reg_channel)channel, message_new(from, (enum reg_channel)channel, bytes));
}

void node_channel_on_down(struct reg_node *n, uint64_t peer)
{
    for (int c = 1; c < REG_CHANNEL_COUNT; c++) {
        struct node_message *m = message_new(peer, (enum reg_channel)c, (struct slice){0});
        m->down = true;
        receiver_put(n, (enum reg_channel)c, m);
    }
}

void node_channel_init(struct reg_node *n)
{
    for (int c = 0; c < REG_CHANNEL_COUNT; c++)
        list_init(&n->outbox[c]);
    n->outbox_post.fn = on_outbox;
}

void node_channel_fini(struct reg_node *n)
{
    for (int c = 0; c < REG_CHANNEL_COUNT; c++) {
        queue_fini(&n->outbox[c]);
        if (n->receivers[c])
            receiver_close(n->receivers[c]);
    }
}
