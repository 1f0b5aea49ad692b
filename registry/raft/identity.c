#include "registry/raft/identity.h"

#include <stdio.h>

#include "base/core/assert.h"

#define CLUSTER_DIGITS 16

struct slice identity_format(const struct identity *id, char dst[IDENTITY_TEXT])
{
    wf_assert(id->cluster && id->node);
    int n = snprintf(dst, IDENTITY_TEXT, "weft://%016llx/node/%llu",
                     (unsigned long long)id->cluster, (unsigned long long)id->node);
    return slice_mem(dst, (size_t)n);
}

bool identity_cluster_parse(struct slice text, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        v = v << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (text.n != CLUSTER_DIGITS || v == 0)
        return false;
    *ret = v;
    return true;
}

/* Written again and compared: no second way to write the same id. */
bool identity_parse(struct slice uri, struct identity *ret, struct err *err)
{
    static const struct slice scheme = S_INIT("weft://"), middle = S_INIT("/node/");
    char again[IDENTITY_TEXT];
    struct identity id = {0};
    struct slice rest = slice_skip(uri, scheme.n);
    struct slice number = slice_skip(rest, CLUSTER_DIGITS + middle.n);
    if (identity_cluster_parse(slice_sub(rest, 0, CLUSTER_DIGITS), &id.cluster) &&
        slice_u64(number, &id.node) && id.node > 0 && slice_eq(uri, identity_format(&id, again))) {
        *ret = id;
        return true;
    }
    return err_set(err, ERR_UNAUTHENTICATED, "no certificate of a registry node (weftd init)");
}
