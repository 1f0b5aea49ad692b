/* Any bytes: no crash, no bomb, and what parses is written as YAML that reads back the same. */
#include "base/wire/yaml.h"

#include "base/core/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_document(const struct yaml_doc *doc)
{
    struct err err = {0};
    struct buf text = {0};
    struct yaml_stream again;
    wf_assert(yaml_line(doc, S("a[0].b")) >= 1);
    wf_assert(yaml_write(&text, doc->root, &err));
    wf_assert(text.n > YAML_BYTES_MAX || yaml_parse(buf_slice(&text), &again, &err));
    if (text.n <= YAML_BYTES_MAX) {
        wf_assert(again.count == 1 && json_same(again.docs[0].root, doc->root));
        yaml_stream_fini(&again);
    }
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct yaml_stream s;
    if (!yaml_parse(slice_mem(data, size), &s, &err)) {
        wf_assert(err.code == ERR_INVALID || err.code == ERR_LIMIT);
        wf_assert(s.count == 0);
        return 0;
    }
    for (size_t i = 0; i < s.count; i++)
        check_document(&s.docs[i]);
    yaml_stream_fini(&s);
    return 0;
}
