/* What a process of the simulation may not ask the system itself: a run that depends on it cannot
 * be repeated. These definitions stand before libc's for everything in the program, the libraries
 * included. (A build with a sanitizer has definitions of its own: there nothing is forbidden.) */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/sim/sim_impl.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

static void forbid(const char *what)
{
    struct sim_host *h = sim_current();
    if (!h)
        return;
    fprintf(stderr, "weft-sim: %s: %s() past env\n", h->name, what);
    fflush(stderr);
    abort();
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    forbid("clock_gettime");
    return (int)syscall(SYS_clock_gettime, clock, t);
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    forbid("gettimeofday");
    return (int)syscall(SYS_gettimeofday, t, zone);
}

time_t time(time_t *ret)
{
    struct timespec t;
    forbid("time");
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
    if (ret)
        *ret = t.tv_sec;
    return t.tv_sec;
}

ssize_t getrandom(void *p, size_t n, unsigned flags)
{
    forbid("getrandom");
    return syscall(SYS_getrandom, p, n, flags);
}

int nanosleep(const struct timespec *t, struct timespec *left)
{
    forbid("nanosleep");
    return (int)syscall(SYS_nanosleep, t, left);
}

int socket(int domain, int type, int protocol)
{
    forbid("socket");
    return (int)syscall(SYS_socket, domain, type, protocol);
}

#endif
