/* Envoy's %COMMAND% format strings: access-log lines and header values.
 *
 *   struct format *f = format_new(S("[%START_TIME%] %RESPONSE_CODE%\n"), &err);
 *   format_write(f, &record, FORMAT_TEXT, &buf);
 *
 * Bytes that a peer sent are escaped on the way out (\xNN for control bytes, quotes and
 * backslashes; in JSON by JSON's rules; dropped in header values): a record is one line whatever
 * came over the wire.
 */
#ifndef WEFT_MIXER_FORMAT_H
#define WEFT_MIXER_FORMAT_H

#include "base/core/err.h"
#include "mixer/record.h"

struct format;

#define FORMAT_BYTES_MAX 8192
#define FORMAT_OPS_MAX 128

/* NULL and err names the command that is unknown or malformed. */
struct format *format_new(struct slice text, struct err *err);
void format_free(struct format *f);

enum format_escape { FORMAT_TEXT, FORMAT_JSON, FORMAT_HEADER };
/* An absent value is "-" (in a header value: nothing). False at out's limit. */
bool format_write(const struct format *f, const struct record *r, enum format_escape escape,
                  struct buf *out);
/* Does it read response headers or trailers (which the caller then has to keep)? */
bool format_reads_response(const struct format *f);

/* Is there a command inside? ("%%" is one: it stands for "%".) */
bool format_has_commands(struct slice text);
/* One value, compiled and written at once, for header changes: rare, so it is not cached. False for
 * a malformed text or at the arena's limit. */
bool format_value(struct slice text, const struct record *r, struct arena *arena,
                  struct slice *ret_value);

/* Istio's default line, and the one of Envoy. */
extern const char format_istio_default[], format_envoy_default[];

#endif
