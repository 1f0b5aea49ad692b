#include "registry/raft/log_end.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/core/hash.h"
#include "base/core/log.h"
#include "base/core/reader.h"

#define END_BYTES 24
#define PATH_BYTES 4096

static const char *end_path(const char *dir, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/end", dir);
    return path;
}

struct log_end log_end_load(struct env *env, const char *dir)
{
    char path[PATH_BYTES];
    struct buf bytes = {0};
    struct err err = {0};
    env_file_load(env, end_path(dir, path), END_BYTES, &bytes, &err);
    struct reader r = reader_of(buf_slice(&bytes));
    struct log_end end = {.segment = reader_u64le(&r)};
    end.chain = reader_u64le(&r);
    uint32_t crc = reader_u32le(&r);
    reader_u32le(&r);
    if (!reader_done(&r) || crc != crc32c(0, buf_slice(&bytes).p, 16))
        end = (struct log_end){0};
    buf_fini(&bytes);
    return end;
}

static void encode(const struct log_end *end, char bytes[END_BYTES])
{
    memset(bytes, 0, END_BYTES);
    memcpy(bytes, &end->segment, 8);
    memcpy(bytes + 8, &end->chain, 8);
    uint32_t crc = crc32c(0, bytes, 16);
    memcpy(bytes + 16, &crc, 4);
}

struct env_file *log_end_open(struct env *env, const char *dir, const struct log_end *end,
                              struct err *err)
{
    char path[PATH_BYTES], bytes[END_BYTES];
    struct err old = {0};
    encode(end, bytes);
    if (!env_file_store(env, end_path(dir, path), slice_mem(bytes, sizeof(bytes)), &old))
        LOG_WARN("registry.log.end_not_stored", F_CSTR("dir", dir), F_ERR(&old));
    return env_file_open(env, path, O_RDWR | O_CREAT, err);
}

void log_end_store(struct env_file *f, const struct log_end *end)
{
    char bytes[END_BYTES];
    struct err err = {0};
    encode(end, bytes);
    env_file_write(f, 0, bytes, sizeof(bytes), &err);
}
