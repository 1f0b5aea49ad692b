#include "mixer/record.h"

#include <string.h>

struct slice record_flags_text(uint32_t flags, bool long_names, char dst[RECORD_FLAGS_TEXT * 5])
{
    static const struct {
        struct slice brief, full;
    } names[] = {
#define X(bit, s, l) {S_INIT(s), S_INIT(l)},
        RECORD_FLAG_TABLE(X)
#undef X
    };
    size_t n = 0;
    if (!flags)
        return S("-");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!(flags & (1u << i)))
            continue;
        struct slice name = long_names ? names[i].full : names[i].brief;
        if (n)
            dst[n++] = ',';
        memcpy(dst + n, name.p, name.n);
        n += name.n;
    }
    return (struct slice){dst, n};
}
