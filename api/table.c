#include "api/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/wire/json.h"

static bool time_parse(struct slice text, int64_t *ret_seconds)
{
    struct tm tm = {0};
    char cstr[40];
    if (!slice_cstr(text, cstr, sizeof(cstr)))
        return false;
    const char *end = strptime(cstr, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!end)
        return false;
    *ret_seconds = (int64_t)timegm(&tm);
    return true;
}

/* The steps of k8s.io/apimachinery's HumanDuration. */
void table_age(struct slice rfc3339, int64_t wall_ms, struct buf *out)
{
    int64_t then;
    if (!time_parse(rfc3339, &then)) {
        buf_append(out, S("<unknown>"));
        return;
    }
    long long s = (long long)(wall_ms / 1000 - then);
    if (s < 0)
        s = 0;
    if (s < 120)
        buf_printf(out, "%llds", s);
    else if (s < 600 && s % 60)
        buf_printf(out, "%lldm%llds", s / 60, s % 60);
    else if (s < 10800)
        buf_printf(out, "%lldm", s / 60);
    else if (s < 28800 && s / 60 % 60)
        buf_printf(out, "%lldh%lldm", s / 3600, s / 60 % 60);
    else if (s < 172800)
        buf_printf(out, "%lldh", s / 3600);
    else if (s < 691200 && s / 3600 % 24)
        buf_printf(out, "%lldd%lldh", s / 86400, s / 3600 % 24);
    else
        buf_printf(out, "%lldd", s / 86400);
}

static void column_add(json_t *columns, const char *name, const char *type, const char *format,
                       const char *description, int priority)
{
    json_array_append_new(columns,
                          json_pack("{s:s,s:s,s:s,s:s,s:i}", "name", name, "type", type, "format",
                                    format, "description", description, "priority", priority));
}

static json_t *columns_of(const struct kind *k)
{
    json_t *columns = json_array();
    column_add(columns, "Name", "string", "name", "Name of the object", 0);
    for (size_t i = 0; i < k->column_count; i++)
        column_add(columns, k->columns[i].name, k->columns[i].type, "",
                   k->columns[i].description ? k->columns[i].description : "",
                   k->columns[i].priority);
    column_add(columns, "Age", "string", "", "Time since creation", 0);
    return columns;
}

static void cell_add(json_t *cells, struct buf *text)
{
    json_t *s = json_string_of(buf_slice(text));
    json_array_append_new(cells, s ? s : json_string(""));
    buf_clear(text);
}

static json_t *row_of(const struct kind *k, const json_t *object, int64_t wall_ms)
{
    struct buf text = {0};
    json_t *cells = json_array();
    buf_append(&text, json_str(object, "metadata.name"));
    cell_add(cells, &text);
    for (size_t i = 0; i < k->column_count; i++) {
        k->columns[i].cell(object, &text);
        cell_add(cells, &text);
    }
    table_age(json_str(object, "metadata.creationTimestamp"), wall_ms, &text);
    cell_add(cells, &text);
    buf_fini(&text);
    json_t *meta = json_object_get(object, "metadata");
    json_t *partial = json_pack("{s:s,s:s,s:O}", "kind", "PartialObjectMetadata", "apiVersion",
                                "meta.k8s.io/v1", "metadata", meta);
    return json_pack("{s:o,s:o}", "cells", cells, "object", partial);
}

json_t *table_of(const struct kind *k, const json_t *items, struct slice resource_version,
                 int64_t wall_ms)
{
    json_t *rows = json_array(), *o;
    size_t i;
    json_array_foreach (items, i, o)
        json_array_append_new(rows, row_of(k, o, wall_ms));
    json_t *meta = json_object();
    json_object_set_new(meta, "resourceVersion", json_string_of(resource_version));
    return json_pack("{s:s,s:s,s:o,s:o,s:o}", "kind", "Table", "apiVersion", "meta.k8s.io/v1",
                     "metadata", meta, "columnDefinitions", columns_of(k), "rows", rows);
}
