#include "registry/apiserver/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/status.h"
#include "api/table.h"
#include "base/core/assert.h"

json_t *api_object_as(const struct kind *k, struct slice version, const struct reg_object *o)
{
    struct err err = {0};
    char text[32];
    json_t *object = json_parse_capped(o->value, REG_VALUE_BYTES_MAX, JSON_DEPTH_MAX, &err);
    if (!object)
        wf_die("stored object %.*s: %s", SLICE(o->key), err.msg);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)o->mod_rev);
    json_object_set_new(json_object_child(object, "metadata"), "resourceVersion",
                        json_string(text));
    if (version.n && !slice_eq(version, slice_of(k->versions[0]))) {
        char av[128];
        snprintf(av, sizeof(av), "%s/%.*s", k->group, SLICE(version));
        json_object_set_new(object, "apiVersion", json_string(av));
    }
    return object;
}

json_t *api_object(const struct api_call *c, const struct reg_object *o)
{
    return api_object_as(c->kind, c->version, o);
}

void api_respond_text(struct http_request *req, int status, struct slice json)
{
    http_respond(req, status, S("application/json"), json);
}

void api_respond_json(struct http_request *req, int status, const json_t *body)
{
    struct buf out = {0};
    struct err err = {0};
    if (!json_write(&out, body, &err))
        wf_die("answer: %s", err.msg);
    buf_append_byte(&out, '\n');
    api_respond_text(req, status, buf_slice(&out));
    buf_fini(&out);
}

void api_respond_object(const struct api_call *c, int status, const json_t *object)
{
    json_t *table = NULL;
    if (c->table) {
        json_t *list = json_array();
        json_array_append(list, (json_t *)(uintptr_t)object);
        table = table_of(c->kind, list, json_str(object, "metadata.resourceVersion"),
                         env_wall_ms(c->srv->env));
        json_decref(list);
    }
    api_respond_json(c->req, status, table ? table : object);
    json_decref(table);
}

bool api_respond_stored(struct http_request *req, int status, struct slice value, reg_rev revision)
{
    struct buf out = {0};
    char text[24];
    int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)revision);
    bool ok = json_write_with(&out, value, S("metadata"), S("resourceVersion"),
                              slice_mem(text, (size_t)n));
    if (ok) {
        buf_append_byte(&out, '\n');
        api_respond_text(req, status, buf_slice(&out));
    }
    buf_fini(&out);
    return ok;
}

/* Status. */

static void status_details(const struct api_call *c, struct status_details *d)
{
    if (!c || !c->kind)
        return;
    *d = (struct status_details){
        .name = c->name, .group = slice_of(c->kind->group), .kind = slice_of(c->kind->plural)};
}

json_t *api_status(const struct api_call *c, const struct err *err)
{
    struct status_details d = {0};
    status_details(c, &d);
    return status_of_err(err, &d);
}

void api_respond_err(struct http_request *req, const struct api_call *c, const struct err *err)
{
    json_t *status = api_status(c, err);
    int code = (int)json_int(status, "code", 500);
    if (code == 503)
        headers_add_name(&req->response, req->arena, S("retry-after"), S("1"));
    api_respond_json(req, code, status);
    json_decref(status);
}

void api_respond_invalid(struct http_request *req, const struct kind *k, struct slice name,
                         const struct kind_report *report)
{
    json_t *status = status_of_report(k, name, report);
    api_respond_json(req, 422, status);
    json_decref(status);
}

void api_respond_deleted(const struct api_call *c)
{
    struct status_details d = {0};
    status_details(c, &d);
    json_t *status = status_success(&d);
    api_respond_json(c->req, 200, status);
    json_decref(status);
}

/* Warnings. */

/* RFC 7234 §5.5 with Kubernetes' code 299; quotes and control bytes cannot be in a header. */
void api_warn(struct http_request *req, struct slice text)
{
    struct slice line = arena_printf(req->arena, "299 - \"%.*s\"", SLICE(text));
    char *p = (char *)(uintptr_t)line.p;
    for (size_t i = 7; i + 1 < line.n; i++)
        if (p[i] == '"' || (unsigned char)p[i] < ' ')
            p[i] = '\'';
    headers_add_name(&req->response, req->arena, S("warning"), line);
}

void api_report_warnings(struct http_request *req, const struct kind_report *report)
{
    size_t n = 0;
    for (size_t i = 0; i < report->count && n < API_WARNINGS_MAX; i++) {
        const struct kind_problem *p = &report->items[i];
        if (!p->warning)
            continue;
        n++;
        api_warn(req, p->field.n ? arena_printf(req->arena, "%.*s: %.*s", SLICE(p->field),
                                                SLICE(p->message))
                                 : p->message);
    }
}
