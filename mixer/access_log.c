#include "mixer/access_log.h"

/* Istio's JSON log: key and command, sorted by key as Envoy writes them. number: written bare. */
static const struct json_key {
    const char *key, *command;
    bool number;
} json_keys[] = {
    {"authority", "%REQ(:AUTHORITY)%", false},
    {"bytes_received", "%BYTES_RECEIVED%", true},
    {"bytes_sent", "%BYTES_SENT%", true},
    {"connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%", false},
    {"downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%", false},
    {"downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%", false},
    {"duration", "%DURATION%", true},
    {"method", "%REQ(:METHOD)%", false},
    {"path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", false},
    {"protocol", "%PROTOCOL%", false},
    {"request_id", "%REQ(X-REQUEST-ID)%", false},
    {"requested_server_name", "%REQUESTED_SERVER_NAME%", false},
    {"response_code", "%RESPONSE_CODE%", true},
    {"response_code_details", "%RESPONSE_CODE_DETAILS%", false},
    {"response_flags", "%RESPONSE_FLAGS%", false},
    {"route_name", "%ROUTE_NAME%", false},
    {"start_time", "%START_TIME%", false},
    {"upstream_cluster", "%UPSTREAM_CLUSTER_RAW%", false},
    {"upstream_host", "%UPSTREAM_HOST%", false},
    {"upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%", false},
    {"upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", false},
    {"upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%", false},
    {"user_agent", "%REQ(USER-AGENT)%", false},
    {"x_forwarded_for", "%REQ(X-FORWARDED-FOR)%", false},
};

struct access_log {
    struct format *text; /* NULL: JSON */
    struct format *json[ARRAY_LEN(json_keys)];
};

struct access_log *access_log_new(struct slice format, bool json, struct err *err)
{
    struct access_log *log = MEM_NEW(struct access_log);
    if (!json) {
        log->text = format_new(format.n ? format : slice_of(format_istio_default), err);
        if (log->text)
            return log;
        access_log_free(log);
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_LEN(json_keys); i++)
        log->json[i] = format_new(slice_of(json_keys[i].command), err);
    return log;
}

void access_log_free(struct access_log *log)
{
    if (!log)
        return;
    format_free(log->text);
    for (size_t i = 0; i < ARRAY_LEN(json_keys); i++)
        format_free(log->json[i]);
    mem_free(log);
}

bool access_log_reads_response(const struct access_log *log)
{
    return log->text && format_reads_response(log->text);
}

static bool write_json(const struct access_log *log, const struct record *r, struct buf *out)
{
    bool ok = true;
    for (size_t i = 0; i < ARRAY_LEN(json_keys) && ok; i++) {
        const char *quote = json_keys[i].number ? "" : "\"";
        ok = buf_printf(out, "%s\"%s\":%s", i ? "," : "{", json_keys[i].key, quote) &&
             format_write(log->json[i], r, FORMAT_JSON, out) && buf_append(out, slice_of(quote));
    }
    return ok && buf_append(out, S("}\n"));
}

static bool write_text(const struct access_log *log, const struct record *r, struct buf *out)
{
    size_t before = out->n;
    if (!format_write(log->text, r, FORMAT_TEXT, out))
        return false;
    bool ended = out->n > before && out->p[out->at + out->n - 1] == '\n';
    return ended || buf_append_byte(out, '\n');
}

bool access_log_line(const struct access_log *log, const struct record *r, struct buf *out)
{
    size_t before = out->n;
    if (log->text ? write_text(log, r, out) : write_json(log, r, out))
        return true;
    out->n = before;
    return false;
}
