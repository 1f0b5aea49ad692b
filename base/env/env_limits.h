/* The named bounds of base/env. */
#ifndef WEFT_BASE_ENV_ENV_LIMITS_H
#define WEFT_BASE_ENV_ENV_LIMITS_H

#define ENV_READ_BYTES (64 << 10) /* one read; the buffer is shared by all streams of a loop */
#define ENV_READS_PER_EVENT 4     /* full reads of one stream before the others get their turn */
#define ENV_ACCEPTS_PER_EVENT 64  /* connections of one listener before the others' turn */
#define ENV_ACCEPT_PAUSE_MS 100   /* after accept ran out of descriptors */
#define ENV_LOW_WATER_DEFAULT (16 << 10)
#define ENV_CONNECT_TIMEOUT_DEFAULT_MS 5000
#define ENV_BACKLOG_DEFAULT 1024
#define ENV_IOV_MAX 1024           /* pieces of one system call (IOV_MAX of Linux) */
#define ENV_DIR_ENTRIES_MAX 100000 /* names of one env_dir_list */

#endif
