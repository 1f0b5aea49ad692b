/* weft-sim: registry clusters in virtual time.
 *
 *   weft-sim --seed 7 --verbose          one run, with its trace
 *   weft-sim --seeds 1000 --twice        seeds 1…1000, each twice: the traces must be equal
 *   weft-sim --seeds 100 --flips 50      100 clusters, in each 50 single bits of files are flipped
 */
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <poll.h>
#include <raft.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/core/args.h"
#include "base/core/assert.h"
#include "base/core/mutant.h"
#include "registry/sim/run.h"

#define JOBS_MAX 64

struct options {
    uint64_t first, count;
    unsigned jobs, guards_off, flips;
    const char *guards; /* as they were given */
    bool verbose, twice, until_found;
};

/* libraft's heap is the process's too. */

static void *heap_malloc(void *data, size_t n)
{
    (void)data;
    return mem_try(n);
}

static void heap_free(void *data, void *p)
{
    (void)data;
    mem_free(p);
}

static void *heap_calloc(void *data, size_t n, size_t size)
{
    (void)data;
    return mem_array(n, size);
}

static void *heap_realloc(void *data, void *p, size_t n)
{
    (void)data;
    return mem_resize(p, n);
}

static void *heap_aligned_alloc(void *data, size_t alignment, size_t n)
{
    (void)data;
    wf_assert(alignment <= 16);
    return mem_try(n);
}

static void heap_aligned_free(void *data, size_t alignment, void *p)
{
    (void)data;
    (void)alignment;
    mem_free(p);
}

static struct raft_heap heap = {.malloc = heap_malloc,
                                .free = heap_free,
                                .calloc = heap_calloc,
                                .realloc = heap_realloc,
                                .aligned_alloc = heap_aligned_alloc,
                                .aligned_free = heap_aligned_free};

/* What libraries ask the system once, and not in a turn of somebody. */
static void libraries_begin(void)
{
    json_object_seed(1);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    wf_assert(md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
    EVP_MD_CTX_free(md);
}

static double now_s(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One job takes every jobs-th seed. It tells each before it begins, so that a death is known. */

struct report {
    uint64_t seed;
    bool begins;
    double cpu_s;
    struct run_result result;
};

static void report_write(int fd, const struct report *r)
{
    if (write(fd, r, sizeof(*r)) != (ssize_t)sizeof(*r))
        _exit(3);
}

static void run_one(const struct options *opt, uint64_t seed, int fd)
{
    char dir[64];
    struct report r = {.seed = seed, .begins = true};
    struct run_result again;
    struct run_options run = {.seed = seed,
                              .dir = dir,
                              .verbose = opt->verbose,
                              .guards_off = opt->guards_off,
                              .flips = opt->flips};
    snprintf(dir, sizeof(dir), "/dev/shm/weft-sim-%d", (int)getpid());
    report_write(fd, &r);
    double start = now_s(CLOCK_PROCESS_CPUTIME_ID);
    run_seed(&run, &r.result);
    r.cpu_s = now_s(CLOCK_PROCESS_CPUTIME_ID) - start;
    if (opt->twice) {
        run_seed(&run, &again);
        if (again.trace != r.result.trace && !r.result.violation[0])
            snprintf(r.result.violation, sizeof(r.result.violation),
                     "two runs differ: trace %016" PRIx64 " and %016" PRIx64, r.result.trace,
                     again.trace);
    }
    r.begins = false;
    report_write(fd, &r);
}

struct job {
    pid_t pid;
    int fd;
    uint64_t at; /* the seed that it is at */
};

static void job_start(struct job *j, const struct options *opt, uint64_t from)
{
    int fds[2];
    fflush(NULL);
    wf_assert(pipe(fds) == 0);
    j->pid = fork();
    wf_assert(j->pid >= 0);
    if (j->pid == 0) {
        close(fds[0]);
        raft_heap_set(&heap);
        libraries_begin();
        for (uint64_t s = from; s < opt->first + opt->count; s += opt->jobs)
            run_one(opt, s, fds[1]);
        _exit(0);
    }
    close(fds[1]);
    j->fd = fds[0];
}

struct totals {
    uint64_t runs, bad, undecided, deaths, writes, acked, reads, watched, leaders, checkpoints,
        events, rots, changes, renewals, expiries, programs, raises;
    uint64_t flips[FLIP_FILES][FLIP_ENDS], flip_starts_max;
    uint64_t api_writes, api_acked, api_reads, api_watched, api_resumes, api_relists, api_replays,
        api_torn, api_rollbacks;
    double cpu_s, virtual_s;
};

static void print_violation(const struct options *opt, uint64_t seed, const char *text)
{
    char flips[32] = "";
    if (opt->flips)
        snprintf(flips, sizeof(flips), " --flips %u", opt->flips);
    printf("seed %" PRIu64 ": %s\n  again: weft-sim --seed %" PRIu64 "%s%s%s --verbose\n", seed,
           text, seed, flips, opt->guards ? " --guards-off " : "", opt->guards ? opt->guards : "");
    fflush(stdout);
}

static void take_api(struct totals *t, const struct run_result *x)
{
    t->api_writes += x->api_writes;
    t->api_acked += x->api_acked;
    t->api_reads += x->api_reads;
    t->api_watched += x->api_watched;
    t->api_resumes += x->api_resumes;
    t->api_relists += x->api_relists;
    t->api_replays += x->api_replays;
    t->api_torn += x->api_torn;
    t->api_rollbacks += x->api_rollbacks;
}

static void take(const struct options *opt, struct totals *t, const struct report *r)
{
    const struct run_result *x = &r->result;
    t->runs++;
    t->deaths += x->deaths;
    t->writes += x->writes;
    t->acked += x->acked;
    t->reads += x->reads;
    t->watched += x->watched;
    t->leaders += x->leaders;
    t->checkpoints += x->checkpoints;
    t->events += x->events;
    t->rots += x->rots;
    t->changes += x->changes;
    t->programs += x->programs;
    t->raises += x->raises;
    t->renewals += x->renewals;
    t->expiries += x->expiries;
    for (size_t f = 0; f < FLIP_FILES; f++)
        for (size_t e = 0; e < FLIP_ENDS; e++)
            t->flips[f][e] += x->flips[f][e];
    if (x->flip_starts_max > t->flip_starts_max)
        t->flip_starts_max = x->flip_starts_max;
    take_api(t, x);
    t->cpu_s += r->cpu_s;
    t->virtual_s += (double)x->virtual_ns / (double)SIM_S;
    if (x->violation[0]) {
        t->bad++;
        print_violation(opt, r->seed, x->violation);
    }
}

static void job_end(struct job *j)
{
    char dir[64];
    close(j->fd);
    j->fd = -1;
    snprintf(dir, sizeof(dir), "/dev/shm/weft-sim-%d", (int)j->pid);
    sim_dir_remove(dir);
}

/* It ended: at its last seed, or of a seed; then that is a violation, and another goes on. */
static void job_ended(struct job *j, const struct options *opt, struct totals *t)
{
    int status;
    char text[64];
    waitpid(j->pid, &status, 0);
    job_end(j);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    t->runs++;
    if (WIFEXITED(status) && WEXITSTATUS(status) == SIM_UNDECIDED) {
        t->undecided++;
    } else {
        snprintf(text, sizeof(text), "the simulation died: status %d, signal %d",
                 WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                 WIFSIGNALED(status) ? WTERMSIG(status) : 0);
        t->bad++;
        print_violation(opt, j->at, text);
    }
    if (j->at + opt->jobs < opt->first + opt->count)
        job_start(j, opt, j->at + opt->jobs);
}

static void job_read(struct job *j, const struct options *opt, struct totals *t)
{
    struct report r;
    if (read(j->fd, &r, sizeof(r)) != (ssize_t)sizeof(r)) {
        job_ended(j, opt, t);
        return;
    }
    j->at = r.seed;
    if (!r.begins)
        take(opt, t, &r);
}

static void jobs_run(struct job *jobs, const struct options *opt, struct totals *t)
{
    struct pollfd fds[JOBS_MAX];
    unsigned open = opt->jobs;
    while (open > 0 && !(opt->until_found && t->bad)) {
        for (unsigned i = 0; i < opt->jobs; i++)
            fds[i] = (struct pollfd){.fd = jobs[i].fd, .events = POLLIN};
        wf_assert(poll(fds, opt->jobs, -1) > 0);
        for (unsigned i = 0; i < opt->jobs; i++)
            if (fds[i].revents)
                job_read(&jobs[i], opt, t);
        open = 0;
        for (unsigned i = 0; i < opt->jobs; i++)
            open += jobs[i].fd >= 0;
    }
    for (unsigned i = 0; i < opt->jobs; i++)
        if (jobs[i].fd >= 0) {
            kill(jobs[i].pid, SIGKILL);
            waitpid(jobs[i].pid, NULL, 0);
            job_end(&jobs[i]);
        }
}

static void totals_print(const struct options *opt, const struct totals *t, double seconds)
{
    const struct {
        uint64_t n;
        const char *what;
    } api[] = {{t->api_writes, "writes"},          {t->api_acked, "acknowledged"},
               {t->api_replays, "of them again"},  {t->api_reads, "reads"},
               {t->api_rollbacks, "rollbacks"},    {t->api_torn, "requests cut off"},
               {t->api_watched, "watch events"},   {t->api_resumes, "watches begun or resumed"},
               {t->api_relists, "of them too old"}},
      all[] = {{t->writes, "writes"},
               {t->acked, "acknowledged"},
               {t->reads, "linearizable reads"},
               {t->watched, "watch events"},
               {t->deaths, "deaths"},
               {t->leaders, "leaders"},
               {t->checkpoints, "checkpoints"},
               {t->rots, "files damaged"},
               {t->changes, "changes of members"},
               {t->programs, "changes of a program"},
               {t->raises, "rises of the version"},
               {t->renewals, "leases renewed"},
               {t->expiries, "leases expired"},
               {t->events, "events"}};
    printf("%" PRIu64 " runs%s, %" PRIu64 " with a violation", t->runs,
           opt->twice ? ", each twice" : "", t->bad);
    if (t->undecided)
        printf(", %" PRIu64 " undecided (a damaged file broke the simulation itself)",
               t->undecided);
    printf("\n%.0f s of virtual time in %.1f s; %.0f times real time on one core\n", t->virtual_s,
           seconds, t->cpu_s > 0 ? t->virtual_s / t->cpu_s : 0);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        printf("%s%" PRIu64 " %s", i ? ", " : "", all[i].n, all[i].what);
    for (size_t i = 0; i < ARRAY_LEN(api); i++)
        printf("%s%" PRIu64 " %s", i ? ", " : "\nAPI: ", api[i].n, api[i].what);
    printf("\n");
}

/* A line for each kind of file and what came of it; scripts/bitrot reads them. */
static void flips_print(const struct totals *t)
{
    for (size_t f = 0; f < FLIP_FILES; f++)
        for (size_t e = 0; e < FLIP_ENDS; e++)
            printf("flips %s %s %" PRIu64 "\n", flip_file_name((enum flip_file)f),
                   flip_end_name((enum flip_end)e), t->flips[f][e]);
    printf("starts for one flip, at most: %" PRIu64 "\n", t->flip_starts_max);
}

static int run_many(const struct options *opt)
{
    struct totals t = {0};
    struct job jobs[JOBS_MAX] = {0};
    double start = now_s(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < opt->jobs; i++)
        job_start(&jobs[i], opt, opt->first + i);
    jobs_run(jobs, opt, &t);
    totals_print(opt, &t, now_s(CLOCK_MONOTONIC) - start);
    if (opt->flips)
        flips_print(&t);
    return t.bad ? 1 : 0;
}

enum {
    OPT_SEED,
    OPT_SEEDS,
    OPT_JOBS,
    OPT_TWICE,
    OPT_VERBOSE,
    OPT_GUARDS_OFF,
    OPT_FIRST,
    OPT_MUTANT,
    OPT_FLIPS
};

static const struct option flags[] = {{"seed", required_argument, NULL, OPT_SEED},
                                      {"seeds", required_argument, NULL, OPT_SEEDS},
                                      {"jobs", required_argument, NULL, OPT_JOBS},
                                      {"twice", no_argument, NULL, OPT_TWICE},
                                      {"verbose", no_argument, NULL, OPT_VERBOSE},
                                      {"guards-off", required_argument, NULL, OPT_GUARDS_OFF},
                                      {"until-found", no_argument, NULL, OPT_FIRST},
                                      {"mutant", required_argument, NULL, OPT_MUTANT},
                                      {"flips", required_argument, NULL, OPT_FLIPS},
                                      {0}};

/* "1,2,3" or "all": the guard's rules by number (registry/raft/guard.h). Joining stays as it is: a
 * node that may vote before it has asked is no rule of libraft's. */
#define GUARDS_JOIN ((unsigned)GUARD_G13_JOIN)

static unsigned guards_parse(const char *list)
{
    unsigned off = 0;
    if (strcmp(list, "all") == 0)
        return ~GUARDS_JOIN;
    while (*list) {
        char *end;
        unsigned long n = strtoul(list, &end, 10);
        if (end == list || n < 1 || n > 31 || (*end && *end != ','))
            args_refuse("--guards-off", "wants numbers with commas between them, or all");
        off |= 1u << (n - 1);
        list = *end ? end + 1 : end;
    }
    return off;
}

static void mutant_parse(const char *name)
{
#ifdef WEFT_MUTANTS
    if (!mutant_switch_on(name))
        args_refuse("--mutant", "no planted bug of this name (base/core/mutant.h)");
#else
    (void)name;
    args_refuse("--mutant", "this build has none: scripts/mutants makes one");
#endif
}

static _Noreturn void usage(void)
{
    fputs("usage: weft-sim [--seed N] [--seeds COUNT] [--jobs N] [--twice] [--verbose] "
          "[--guards-off LIST] [--until-found] [--mutant NAME] [--flips A_SEED]\n",
          stderr);
    exit(64);
}

int main(int argc, char **argv)
{
    struct options opt = {.first = 1, .count = 1, .jobs = 1};
    int c;
    while ((c = getopt_long(argc, argv, "", flags, NULL)) >= 0) {
        switch (c) {
        case OPT_SEED:
            opt.first = args_number("--seed", optarg, 1, UINT64_MAX / 2);
            break;
        case OPT_SEEDS:
            opt.count = args_number("--seeds", optarg, 1, UINT64_MAX / 2);
            break;
        case OPT_JOBS:
            opt.jobs = (unsigned)args_number("--jobs", optarg, 1, JOBS_MAX);
            break;
        case OPT_TWICE:
            opt.twice = true;
            break;
        case OPT_VERBOSE:
            opt.verbose = true;
            break;
        case OPT_GUARDS_OFF:
            opt.guards_off = guards_parse(optarg);
            opt.guards = optarg;
            break;
        case OPT_FIRST:
            opt.until_found = true;
            break;
        case OPT_MUTANT:
            mutant_parse(optarg);
            break;
        case OPT_FLIPS:
            opt.flips = (unsigned)args_number("--flips", optarg, 1, 1000);
            break;
        default:
            usage();
        }
    }
    if (optind < argc)
        usage();
    return run_many(&opt);
}
