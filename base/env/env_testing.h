/* What tests need of the machine: directories of their own, and addresses on which nobody
 * listens. Tests only; what cannot be had ends the process.
 *
 *   char dir[TEST_DIR];
 *   test_dir_make(dir);   …   test_dir_remove(dir);
 */
#ifndef WEFT_BASE_ENV_ENV_TESTING_H
#define WEFT_BASE_ENV_ENV_TESTING_H

#include <arpa/inet.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/env/env.h"

#define TEST_DIR 64 /* bytes of a path, with its NUL */

static inline void test_dir_make(char dir[TEST_DIR])
{
    strcpy(dir, "/tmp/weft-test-XXXXXX");
    wf_assert(mkdtemp(dir));
}

static inline int test_remove_one(const char *path, const struct stat *st, int flag,
                                  struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

/* With all that is in it. */
static inline void test_dir_remove(const char *dir)
{
    nftw(dir, test_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Of loopback, for the life of this process: it stays bound, so that neither another test nor a
 * connection that somebody opens is given it. A listener may have it: Linux lets a port be bound
 * twice by sockets with SO_REUSEADDR of which one listens. */
static inline uint16_t test_free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    wf_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    wf_assert(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
    /* Not before: with it bind would give a port that another test has. */
    wf_assert(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
    return ntohs(a.sin_port);
}

static inline struct env_addr test_free_addr(void)
{
    struct env_addr a;
    struct err err = {0};
    wf_assert(env_addr_parse(&a, S("127.0.0.1:0"), &err));
    env_addr_set_port(&a, test_free_port());
    return a;
}

#endif
