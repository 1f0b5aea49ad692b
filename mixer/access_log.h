/* One access-log line a request. Pure: a line goes into a buffer; the owner writes it to its file.
 *
 *   struct access_log *log = access_log_new(format, json, &err);
 *   access_log_line(log, &record, &buf);
 */
#ifndef WEFT_MIXER_ACCESS_LOG_H
#define WEFT_MIXER_ACCESS_LOG_H

#include "mixer/format.h"

struct access_log;

/* format: empty = Istio's default line. json: Istio's 24 keys instead of a line. */
struct access_log *access_log_new(struct slice format, bool json, struct err *err);
void access_log_free(struct access_log *log);
/* Appends one line with its newline. False, and nothing appended, when out is full. */
bool access_log_line(const struct access_log *log, const struct record *r, struct buf *out);
/* Must response headers be kept until the line is written? */
bool access_log_reads_response(const struct access_log *log);

#endif
