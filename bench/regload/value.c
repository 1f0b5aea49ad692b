#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "bench/regload/client.h"

struct slice regload_name(uint64_t key, char dst[REGLOAD_KEY_BYTES])
{
    int n = snprintf(dst, REGLOAD_KEY_BYTES, "w-%08llu", (unsigned long long)key);
    wf_assert(n > 0 && n < REGLOAD_KEY_BYTES);
    return slice_mem(dst, (size_t)n);
}

struct slice regload_value(const struct regload_put *put, char dst[REGLOAD_VALUE_BYTES_MAX])
{
    char name[REGLOAD_KEY_BYTES], text[REGLOAD_VALUE_BYTES + 1];
    const char tail[] = "\"}}}";
    int n = snprintf(text, sizeof(text),
                     "{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"WorkloadEntry\","
                     "\"spec\":{\"address\":\"10.%u.%u.%u\",\"labels\":{\"turn\":\"%llu\"}},"
                     "\"metadata\":{\"name\":\"%.*s\",\"annotations\":{\"pad\":\"",
                     (unsigned)(put->key >> 16 & 255), (unsigned)(put->key >> 8 & 255),
                     (unsigned)(put->key & 255), (unsigned long long)put->value,
                     SLICE(regload_name(put->key, name)));
    wf_assert(n > 0 && (size_t)n + sizeof(tail) <= sizeof(text));
    wf_assert(put->bytes >= REGLOAD_VALUE_BYTES && put->bytes <= REGLOAD_VALUE_BYTES_MAX);
    memcpy(dst, text, (size_t)n);
    memset(dst + n, 'x', put->bytes - (size_t)n);
    memcpy(dst + put->bytes - (sizeof(tail) - 1), tail, sizeof(tail) - 1);
    return slice_mem(dst, put->bytes);
}
