/* Measures a registry cluster on loopback.
 *
 *   weft-bench-registry writes WRITERS SECONDS [leader|follower]   three nodes in this process
 *   weft-bench-registry failover TRIALS [stop]   three processes; the leader's is killed, or
 *                                                stopped so that its connections stay
 *
 * Prints one line of key=value. Directories are made below /tmp.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/core/log.h"
#include "registry/node_test_util.h"

#define VALUE_BYTES 256
#define KEYS 100000
#define SAMPLES_MAX 4000000

/* Writes. */

struct writer {
    struct reg_write w;
    struct reg_op op;
    struct bench *b;
    char key[64];
    char value[VALUE_BYTES];
    uint64_t t0;
    uint64_t random;
};

struct bench {
    struct cluster c;
    struct reg_node *target;
    struct env *env;
    bool stop;
    size_t running, done, failed;
    uint32_t *us; /* of each write */
    pthread_mutex_t lock;
    pthread_cond_t cond;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void writer_submit(struct writer *w)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    snprintf(w->key, sizeof(w->key), "services/default/key-%016llu",
             (unsigned long long)((w->random >> 33) % KEYS));
    memcpy(w->value, &w->random, sizeof(w->random));
    w->op = (struct reg_op){.key = slice_of(w->key), .value = {w->value, sizeof(w->value)}};
    w->t0 = now_ns();
    reg_write(w->b->target, &w->w);
}

static void on_written(struct reg_write *rw)
{
    struct writer *w = container_of(rw, struct writer, w);
    struct bench *b = w->b;
    if (rw->err.code)
        b->failed++;
    else if (b->done < SAMPLES_MAX)
        b->us[b->done++] = (uint32_t)((now_ns() - w->t0) / 1000);
    if (!__atomic_load_n(&b->stop, __ATOMIC_RELAXED)) {
        writer_submit(w);
        return;
    }
    pthread_mutex_lock(&b->lock);
    b->running--;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->lock);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double at_quantile(const uint32_t *us, size_t n, double q)
{
    return n ? us[(size_t)((double)(n - 1) * q)] / 1000.0 : 0;
}

static void bench_writes(size_t writers, unsigned seconds, bool follower)
{
    struct bench b = {0};
    struct writer *ws = mem_array(writers, sizeof(*ws));
    cluster_init(&b.c, 3);
    b.c.opt.store_bytes = 1ull << 30;
    cluster_up(&b.c);
    size_t leader = wait_leader(&b.c);
    b.target = b.c.node[follower ? (leader + 1) % 3 : leader];
    b.env = env_thread_env(b.c.client);
    b.us = mem_array(SAMPLES_MAX, sizeof(*b.us));
    b.running = writers;
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.cond, NULL);
    uint64_t t0 = now_ns();
    for (size_t i = 0; i < writers; i++) {
        ws[i].b = &b;
        ws[i].random = i * 7919 + 1;
        ws[i].w = (struct reg_write){
            .ops = &ws[i].op, .op_count = 1, .env = b.env, .fn = on_written, .timeout = 10000};
        writer_submit(&ws[i]);
    }
    sleep(seconds);
    __atomic_store_n(&b.stop, true, __ATOMIC_RELAXED);
    pthread_mutex_lock(&b.lock);
    while (b.running)
        pthread_cond_wait(&b.cond, &b.lock);
    pthread_mutex_unlock(&b.lock);
    double s = (double)(now_ns() - t0) / 1e9;
    qsort(b.us, b.done, sizeof(*b.us), by_value);
    printf("writers=%zu at=%s writes=%zu failed=%zu per_second=%.0f p50_ms=%.2f p99_ms=%.2f "
           "p999_ms=%.2f\n",
           writers, follower ? "follower" : "leader", b.done, b.failed, (double)b.done / s,
           at_quantile(b.us, b.done, 0.5), at_quantile(b.us, b.done, 0.99),
           at_quantile(b.us, b.done, 0.999));
    cluster_fini(&b.c);
    mem_free(b.us);
    mem_free(ws);
}

/* Failover. */

/* What the processes tell each other, in shared memory. */
struct board {
    struct {
        uint64_t acked_ns; /* submission time of the newest write that was acknowledged here */
        uint64_t acked_at_ns;
        uint64_t failed;
        int leads;
    } node[3];
};

static void child_run(struct cluster *c, size_t i, struct board *board)
{
    struct err err = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    c->client = env_thread_start("client", client_start, NULL, &err);
    must_up(c, i);
    for (uint64_t k = 0;; k++) {
        char key[64];
        struct reg_status s;
        struct reg_write w;
        uint64_t t0 = now_ns();
        snprintf(key, sizeof(key), "services/default/n%zu-%llu", i, (unsigned long long)k % 100);
        reg_node_status(c->node[i], &s);
        __atomic_store_n(&board->node[i].leads, s.role == REG_LEADER && s.quorum, __ATOMIC_RELAXED);
        char value[32];
        snprintf(value, sizeof(value), "%llu", (unsigned long long)t0);
        if (put_expect(c, i, slice_of(key), slice_of(value), REG_EXPECT_ANY, 0, 10000, &w) !=
            ERR_NONE) {
            board->node[i].failed++;
            continue;
        }
        __atomic_store_n(&board->node[i].acked_at_ns, now_ns(), __ATOMIC_RELAXED);
        __atomic_store_n(&board->node[i].acked_ns, t0, __ATOMIC_RELEASE);
    }
}

static pid_t spawn(struct cluster *c, size_t i, struct board *board)
{
    pid_t pid = fork();
    wf_assert(pid >= 0);
    if (pid == 0) {
        child_run(c, i, board);
        _exit(0);
    }
    return pid;
}

static int board_leader(const struct board *b)
{
    for (int i = 0; i < 3; i++)
        if (__atomic_load_n(&b->node[i].leads, __ATOMIC_RELAXED))
            return i;
    return -1;
}

/* All three acknowledge writes that were submitted after now: the cluster is whole. */
static void wait_whole(const struct board *b)
{
    uint64_t from = now_ns();
    for (int i = 0; i < 3; i++)
        WAIT_FOR(__atomic_load_n(&b->node[i].acked_ns, __ATOMIC_ACQUIRE) > from);
    WAIT_FOR(board_leader(b) >= 0);
}

static void bench_failover(size_t trials, bool silent)
{
    struct cluster c;
    uint32_t *us = mem_array(trials, sizeof(*us));
    pid_t pid[3];
    struct board *board =
        mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    wf_assert(board != MAP_FAILED);
    cluster_init_dirs(&c, 3); /* threads only behind the fork */
    for (size_t i = 0; i < 3; i++)
        pid[i] = spawn(&c, i, board);
    for (size_t t = 0; t < trials; t++) {
        wait_whole(board);
        usleep((useconds_t)(50000 + (t * 7919) % 50000)); /* another phase of the heartbeats */
        int l = board_leader(board);
        uint64_t t0 = now_ns(), first = 0;
        board->node[l].leads = 0;
        kill(pid[l], silent ? SIGSTOP : SIGKILL);
        while (!first) {
            for (int i = 0; i < 3; i++)
                if (i != l && __atomic_load_n(&board->node[i].acked_ns, __ATOMIC_ACQUIRE) > t0)
                    first = __atomic_load_n(&board->node[i].acked_at_ns, __ATOMIC_RELAXED);
            wf_assert(now_ns() - t0 < 60000000000u);
            usleep(100);
        }
        us[t] = (uint32_t)((first - t0) / 1000);
        kill(pid[l], SIGKILL);
        waitpid(pid[l], NULL, 0);
        pid[l] = spawn(&c, (size_t)l, board);
    }
    qsort(us, trials, sizeof(*us), by_value);
    printf("failover leader=%s trials=%zu p50_ms=%.1f p90_ms=%.1f p99_ms=%.1f max_ms=%.1f\n",
           silent ? "stopped" : "killed", trials, at_quantile(us, trials, 0.5),
           at_quantile(us, trials, 0.9), at_quantile(us, trials, 0.99), at_quantile(us, trials, 1));
    for (size_t i = 0; i < 3; i++) {
        kill(pid[i], SIGKILL);
        waitpid(pid[i], NULL, 0);
        test_dir_remove(c.dir[i]);
    }
    mem_free(us);
}

int main(int argc, char **argv)
{
    log_set_level(LOG_ERROR_);
    if (argc >= 4 && strcmp(argv[1], "writes") == 0)
        bench_writes(strtoul(argv[2], NULL, 10), (unsigned)strtoul(argv[3], NULL, 10),
                     argc > 4 && strcmp(argv[4], "follower") == 0);
    else if (argc >= 3 && strcmp(argv[1], "failover") == 0)
        bench_failover(strtoul(argv[2], NULL, 10), argc > 3 && strcmp(argv[3], "stop") == 0);
    else
        return fprintf(stderr, "usage: weft-bench-registry writes N SECONDS [leader|follower] | "
                               "failover TRIALS [stop]\n"),
               2;
    return 0;
}
