/* Access-log lines on their way to a file, without the loop ever waiting for a disk or a pipe:
 * lines gather in a buffer, a helper thread writes it, and meanwhile another one fills. When both
 * are full, lines are refused; the caller counts them.
 */
#ifndef WEFT_PROXY_LOG_FILE_H
#define WEFT_PROXY_LOG_FILE_H

#include "base/env/env.h"

struct log_file;

/* path: "/dev/stdout" and "/dev/stderr" are the process's own. NULL and err if it cannot be opened.
 */
struct log_file *log_file_open(struct env *env, struct slice path, struct err *err);
struct slice log_file_path(const struct log_file *f);
/* Append lines here. It is written within LOG_FLUSH_MS, sooner when it is half full. */
struct buf *log_file_buf(struct log_file *f);
/* Lets go; the memory goes when the last line is written. */
void log_file_close(struct log_file *f);

#define LOG_FLUSH_MS 1000

#endif
