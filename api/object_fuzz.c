/* Any JSON object taken for each kind: no crash in defaulting, validation, analysis, cells and
 * patches, whatever the types of its fields; defaulting twice is defaulting once; what is encoded
 * reads back. */
#include "api/analyze.h"
#include "api/patch.h"
#include "base/core/assert.h"
#include "base/wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The state is the object itself, for every kind and name. */
static const json_t *get_itself(void *ctx, enum kind_id kind, struct slice ns, struct slice name)
{
    (void)kind, (void)ns, (void)name;
    return ctx;
}

static void each_itself(void *ctx, enum kind_id kind, struct slice ns,
                        const struct analyze_hint *hint,
                        bool (*fn)(void *arg, const json_t *object), void *arg)
{
    (void)kind, (void)ns, (void)hint;
    fn(arg, ctx);
}

static void check_patch(const struct kind *k, const json_t *object)
{
    struct err err = {0};
    const json_t *ops = json_object_get(object, "ops"), *patch = json_object_get(object, "patch");
    json_t *results[] = {ops ? patch_json(object, ops, &err) : NULL,
                         patch ? patch_merge(object, patch, &err) : NULL,
                         patch ? patch_strategic(k, object, patch, &err) : NULL};
    for (size_t i = 0; i < ARRAY_LEN(results); i++)
        json_decref(results[i]);
}

static void check_encoding(const json_t *object)
{
    struct err err = {0};
    struct buf bytes = {0};
    if (kind_encode(object, &bytes, &err)) {
        json_t *again = json_parse(buf_slice(&bytes), &err);
        wf_assert(again && kind_same_content(object, again));
        json_decref(again);
    }
    buf_fini(&bytes);
}

static void check_kind(const struct kind *k, const json_t *input)
{
    struct kind_report report = {0};
    struct buf cell = {0};
    struct kind_check check = {.unknown_fields = KIND_UNKNOWN_REFUSE, .old = input};
    json_t *object = json_deep_copy(input);
    const struct analyze_lookup lookup = {object, get_itself, each_itself};
    kind_default(k, object);
    json_t *once = json_deep_copy(object);
    kind_default(k, object);
    wf_assert(json_equal(once, object));
    kind_validate(k, object, &check, &report);
    kind_analyze(k, object, &lookup, &report);
    for (size_t i = 0; i < k->column_count; i++)
        k->columns[i].cell(object, &cell);
    check_encoding(object);
    check_patch(k, object);
    buf_fini(&cell);
    kind_report_fini(&report);
    json_decref(once);
    json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    json_t *input = json_parse(slice_mem(data, size), &err);
    if (!json_is_object(input)) {
        json_decref(input);
        return 0;
    }
    const struct kind *k = kind_of_object(input, &err);
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (!k || k == &kinds[i])
            check_kind(&kinds[i], input);
    json_decref(input);
    return 0;
}
