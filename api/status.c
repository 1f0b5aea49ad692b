#include "api/status.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/wire/json.h"

/* A string of bytes from anywhere: what is not UTF-8 becomes "?". */
static json_t *text_json(struct slice s)
{
    json_t *v = json_string_of(s);
    if (v)
        return v;
    struct buf fixed = {0};
    for (size_t i = 0; i < s.n; i++)
        buf_append_byte(&fixed, (unsigned char)s.p[i] < 0x80 ? s.p[i] : '?');
    v = json_string_of(buf_slice(&fixed));
    buf_fini(&fixed);
    return v;
}

static json_t *details_json(const struct status_details *d)
{
    json_t *o = json_object();
    if (d->name.n)
        json_object_set_new(o, "name", text_json(d->name));
    if (d->group.n)
        json_object_set_new(o, "group", text_json(d->group));
    if (d->kind.n)
        json_object_set_new(o, "kind", text_json(d->kind));
    return o;
}

static json_t *status_new(const char *status, int code, const char *reason, struct slice message,
                          json_t *take_details)
{
    json_t *o = json_pack("{s:s,s:s,s:{},s:s}", "kind", "Status", "apiVersion", "v1", "metadata",
                          "status", status);
    if (message.n)
        json_object_set_new(o, "message", text_json(message));
    if (reason)
        json_object_set_new(o, "reason", json_string(reason));
    if (json_object_size(take_details))
        json_object_set(o, "details", take_details);
    json_decref(take_details);
    json_object_set_new(o, "code", json_integer(code));
    return o;
}

json_t *status_of_err(const struct err *err, const struct status_details *details)
{
    static const struct status_details none;
    return status_new("Failure", err_http_status(err->code), err_k8s_reason(err->code),
                      slice_of(err->msg), details_json(details ? details : &none));
}

json_t *status_success(const struct status_details *details)
{
    return status_new("Success", 200, NULL, S(""), details_json(details));
}

/* "a: x; b: y": what kubectl prints after "is invalid:". */
static void causes_text(struct buf *out, const struct kind_report *report)
{
    bool first = true;
    for (size_t i = 0; i < report->count; i++) {
        const struct kind_problem *p = &report->items[i];
        if (p->warning)
            continue;
        buf_printf(out, "%s%.*s%s%.*s", first ? "" : "; ", SLICE(p->field), p->field.n ? ": " : "",
                   SLICE(p->message));
        first = false;
    }
}

static json_t *causes_json(const struct kind_report *report)
{
    json_t *causes = json_array();
    for (size_t i = 0; i < report->count; i++) {
        const struct kind_problem *p = &report->items[i];
        if (p->warning)
            continue;
        json_t *c = json_object();
        json_object_set_new(c, "reason", json_string(p->reason ? p->reason : "FieldValueInvalid"));
        json_object_set_new(c, "message", text_json(p->message));
        if (p->field.n)
            json_object_set_new(c, "field", text_json(p->field));
        json_array_append_new(causes, c);
    }
    return causes;
}

json_t *status_of_report(const struct kind *k, struct slice name, const struct kind_report *report)
{
    struct buf text = {0};
    const char *dot = k->group[0] ? "." : "";
    buf_printf(&text, "%s%s%s \"%.*s\" is invalid: ", k->kind, dot, k->group, SLICE(name));
    causes_text(&text, report);
    json_t *details = details_json(&(struct status_details){
        .name = name, .group = slice_of(k->group), .kind = slice_of(k->kind)});
    json_object_set_new(details, "causes", causes_json(report));
    json_t *o = status_new("Failure", 422, "Invalid", buf_slice(&text), details);
    buf_fini(&text);
    return o;
}

/* Conditions. */

const char *status_time(int64_t wall_ms, char dst[STATUS_TIME_BYTES])
{
    struct tm tm;
    time_t t = (time_t)(wall_ms / 1000);
    if (!gmtime_r(&t, &tm) || !strftime(dst, STATUS_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm))
        snprintf(dst, STATUS_TIME_BYTES, "1970-01-01T00:00:00Z");
    return dst;
}

static json_t *condition_find(json_t *conditions, const char *type)
{
    size_t i;
    json_t *c;
    json_array_foreach (conditions, i, c)
        if (slice_eq(json_str(c, "type"), slice_of(type)))
            return c;
    return NULL;
}

const json_t *condition_get(const json_t *object, const char *type)
{
    return condition_find(json_at(object, "status.conditions"), type);
}

uint64_t status_said_at(const json_t *object, uint64_t mod_rev)
{
    const json_t *c = condition_get(object, "Distributed");
    const json_t *generation = json_at(object, "metadata.generation");
    struct slice words, at;
    uint64_t rev;
    bool says = generation && json_equal(generation, json_object_get(c, "observedGeneration")) &&
                slice_cut_last(json_str(c, "message"), '@', &words, &at) && slice_u64(at, &rev) &&
                rev <= mod_rev;
    return says ? rev : mod_rev;
}

static bool set_text(json_t *o, const char *key, struct slice value)
{
    if (slice_eq(json_str(o, key), value) && json_object_get(o, key))
        return false;
    json_object_set_new(o, key, text_json(value));
    return true;
}

bool condition_set(json_t *object, const struct condition *c)
{
    char text[STATUS_TIME_BYTES];
    json_t *status = json_object_child(object, "status");
    json_t *list = status ? json_object_get(status, "conditions") : NULL;
    if (!status)
        return false;
    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(status, "conditions", list);
    }
    json_t *o = condition_find(list, c->type);
    if (!o) {
        o = json_pack("{s:s}", "type", c->type);
        json_array_append_new(list, o);
    }
    bool moved = set_text(o, "status", slice_of(c->status));
    if (moved)
        set_text(o, "lastTransitionTime", slice_of(status_time(c->wall_ms, text)));
    bool changed = set_text(o, "reason", slice_of(c->reason));
    changed |= set_text(o, "message", c->message);
    if (c->observed_generation && json_int(o, "observedGeneration", 0) != c->observed_generation) {
        json_object_set_new(o, "observedGeneration", json_integer(c->observed_generation));
        changed = true;
    }
    return moved || changed;
}
