/* GET /weft/v1/snapshot: a snapshot file (api/snapshot_head.h) of what this node has, also without
 * a leader. The copy is made on a helper thread; it is sent as the client takes it. */
#include <inttypes.h>
#include <pthread.h>
#include <unistd.h>

#include "registry/apiserver/internal.h"
#include "registry/backup.h"

struct api_snapshot {
    struct list_node node;
    struct apiserver *srv;    /* NULL: the server is gone */
    struct http_request *req; /* NULL: the client is gone */
    struct reg_store *store;
    struct env_work work;
    struct reg_backup backup;
    struct err err;
    uint64_t left; /* bytes of the image to send */
    bool copying;  /* on the helper thread, or on its way back */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool copied; /* under lock: the store is not needed any more */
};

static void snapshot_free(struct api_snapshot *x)
{
    if (x->srv) {
        list_remove(&x->node);
        x->srv->snapshot_count--;
    }
    reg_backup_fini(&x->backup);
    pthread_mutex_destroy(&x->lock);
    pthread_cond_destroy(&x->changed);
    mem_free(x);
}

static void snapshot_gone(struct http_request *req)
{
    struct api_snapshot *x = req->user;
    x->req = NULL;
    if (!x->copying)
        snapshot_free(x);
}

/* Sending. */

static void snapshot_cut(struct api_snapshot *x)
{
    struct http_request *req = x->req;
    req->on_close = NULL;
    snapshot_free(x);
    http_respond_abort(req);
}

static void snapshot_end(struct api_snapshot *x)
{
    struct http_request *req = x->req;
    req->on_close = NULL;
    snapshot_free(x);
    http_respond_end(req);
}

static void snapshot_pump(struct http_request *req)
{
    struct api_snapshot *x = req->user;
    struct buf bytes = {0};
    size_t queued = 0;
    while (x->left && queued < API_SNAPSHOT_QUEUED_MAX) {
        size_t want =
            x->left < API_SNAPSHOT_CHUNK_BYTES ? (size_t)x->left : API_SNAPSHOT_CHUNK_BYTES;
        buf_clear(&bytes);
        ssize_t n = read(x->backup.fd, buf_reserve(&bytes, want), want);
        if (n <= 0) { /* the client sees an answer that is not whole */
            buf_fini(&bytes);
            snapshot_cut(x);
            return;
        }
        buf_commit(&bytes, (size_t)n);
        x->left -= (uint64_t)n;
        queued = http_respond_chunk(req, buf_slice(&bytes));
    }
    buf_fini(&bytes);
    if (!x->left)
        snapshot_end(x);
}

static void snapshot_send(struct api_snapshot *x)
{
    struct apiserver *s = x->srv;
    struct reg_status st;
    struct buf head = {0};
    reg_node_status(s->opt.node, &st);
    x->backup.head.cluster = reg_node_cluster(s->opt.node);
    slice_cstr(slice_of(reg_member_name(&st, reg_node_id(s->opt.node))), x->backup.head.node,
               sizeof(x->backup.head.node));
    snapshot_head_encode(&head, &x->backup.head);
    x->left = x->backup.head.image_bytes;
    x->req->on_drain = snapshot_pump;
    api_say_freshness(s, x->req, x->backup.head.revision);
    http_respond_start(x->req, 200, S("application/octet-stream"));
    http_respond_chunk(x->req, buf_slice(&head));
    buf_fini(&head);
    snapshot_pump(x->req);
}

/* Copying. */

static void copy_work(struct env_work *w)
{
    struct api_snapshot *x = container_of(w, struct api_snapshot, work);
    reg_backup_take(x->store, &x->backup, &x->err);
    pthread_mutex_lock(&x->lock);
    x->copied = true;
    pthread_cond_signal(&x->changed);
    pthread_mutex_unlock(&x->lock);
}

static void copy_done(struct env_work *w)
{
    struct api_snapshot *x = container_of(w, struct api_snapshot, work);
    struct http_request *req = x->req;
    x->copying = false;
    if (req && x->srv && !x->err.code) {
        snapshot_send(x);
        return;
    }
    if (req && x->srv) {
        req->on_close = NULL;
        api_respond_err(req, NULL, &x->err);
    }
    snapshot_free(x);
}

/* A copy must not fill the disk itself. */
static bool snapshot_may(struct apiserver *s, struct err *err)
{
    struct reg_status st;
    reg_node_status(s->opt.node, &st);
    if (s->snapshot_count >= API_SNAPSHOTS_MAX)
        return err_set(err, ERR_LIMIT, "%d snapshots are being taken from this node: use another",
                       API_SNAPSHOTS_MAX);
    uint64_t need = st.store_bytes_used * (s->snapshot_count + 1) + st.disk_room_bytes;
    return st.disk_free_bytes >= need ||
           err_set(err, ERR_NO_ROOM,
                   "the disk of this node has %" PRIu64 " MiB free, a copy of the store needs "
                   "%" PRIu64 ": use another node",
                   st.disk_free_bytes >> 20, need >> 20);
}

void api_snapshot(struct apiserver *s, struct http_request *req)
{
    struct err err = {0};
    if (!snapshot_may(s, &err)) {
        api_respond_err(req, NULL, &err);
        return;
    }
    struct api_snapshot *x = MEM_NEW(struct api_snapshot);
    *x = (struct api_snapshot){.srv = s,
                               .req = req,
                               .store = s->store,
                               .work = {.work = copy_work, .done = copy_done},
                               .copying = true};
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->changed, NULL);
    req->user = x;
    req->on_close = snapshot_gone;
    list_push(&s->snapshots, &x->node);
    s->snapshot_count++;
    env_work(s->env, &x->work);
}

/* The store goes next: who copies it is waited for. */
void api_snapshots_leave(struct apiserver *s)
{
    struct list_node *n;
    while ((n = list_pop(&s->snapshots))) {
        struct api_snapshot *x = container_of(n, struct api_snapshot, node);
        pthread_mutex_lock(&x->lock);
        while (!x->copied)
            pthread_cond_wait(&x->changed, &x->lock);
        pthread_mutex_unlock(&x->lock);
        x->srv = NULL;
    }
}
