#include "registry/raft/version.h"

#include "base/core/assert.h"
#include "base/core/reader.h"

static_assert(VERSION_OLDEST <= VERSION_NEWEST, "it reads what it writes");

struct versions versions_or_all(struct versions v)
{
    return v.newest ? v : (struct versions){VERSION_OLDEST, VERSION_NEWEST};
}

bool versions_check(struct versions v, struct err *err)
{
    return (v.oldest >= VERSION_OLDEST && v.newest <= VERSION_NEWEST && v.oldest <= v.newest) ||
           err_set(err, ERR_INVALID, "versions %u to %u: this program reads %d to %d", v.oldest,
                   v.newest, VERSION_OLDEST, VERSION_NEWEST);
}

bool version_fits(struct versions reads, unsigned version, struct slice who, struct err *err)
{
    if (!version || (reads.oldest <= version && version <= reads.newest))
        return true;
    if (version > reads.newest)
        return err_set(err, ERR_UNSUPPORTED,
                       "the cluster is of version %u, %.*s reads %u to %u: a version never goes "
                       "back, start a newer program there",
                       version, SLICE(who), reads.oldest, reads.newest);
    return err_set(err, ERR_UNSUPPORTED,
                   "the cluster is of version %u, %.*s reads %u to %u: upgrade all nodes to a "
                   "program first that reads both %u and %u",
                   version, SLICE(who), reads.oldest, reads.newest, version, reads.oldest);
}

unsigned version_agree(struct versions a, struct versions b, struct err *err)
{
    unsigned newest = a.newest < b.newest ? a.newest : b.newest;
    unsigned oldest = a.oldest > b.oldest ? a.oldest : b.oldest;
    if (newest >= oldest)
        return newest;
    err_set(err, ERR_UNSUPPORTED,
            "one reads versions %u to %u, the other %u to %u: none in common; a program between "
            "the two has to come first",
            a.oldest, a.newest, b.oldest, b.newest);
    return 0;
}

unsigned version_target(unsigned now, const struct versions *all, size_t n)
{
    unsigned newest = n ? all[0].newest : now;
    for (size_t i = 0; i < n; i++) {
        if (!all[i].newest)
            return now;
        newest = all[i].newest < newest ? all[i].newest : newest;
    }
    for (size_t i = 0; i < n; i++)
        if (all[i].oldest > newest)
            return now;
    return newest > now ? newest : now;
}

unsigned version_of_entry(struct slice entry)
{
    struct reader r = reader_of(entry);
    uint32_t magic = reader_u32le(&r);
    unsigned version = reader_u16le(&r);
    return reader_ok(&r) && magic == VERSION_ENTRY_MAGIC ? version : 0;
}
