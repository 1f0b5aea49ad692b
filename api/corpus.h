/* For tests: real configuration beside the source tree, read in place and skipped, counted, where
 * absent. */
#ifndef WEFT_API_CORPUS_H
#define WEFT_API_CORPUS_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/mem.h"

/* The folder shared/corpus next to the source tree, or one further up; WEFT_CORPUS overrides. false
 * when there is none. */
static inline bool corpus_dir(char *dst, size_t size)
{
    static const char *const places[] = {WEFT_SOURCE_DIR "/../shared/corpus",
                                         WEFT_SOURCE_DIR "/../../shared/corpus"};
    const char *given = getenv("WEFT_CORPUS");
    for (size_t i = 0; i < ARRAY_LEN(places) + 1; i++) {
        const char *place = i ? places[i - 1] : given;
        DIR *d = place ? opendir(place) : NULL;
        if (!d)
            continue;
        closedir(d);
        snprintf(dst, size, "%s", place);
        return true;
    }
    return false;
}

static inline bool corpus_read(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    size_t n;
    do {
        char *at = buf_reserve(out, 65536);
        n = fread(at, 1, 65536, f);
        buf_commit(out, n);
    } while (n);
    fclose(f);
    return true;
}

/* fn for each *.yaml below a folder, in any order. */
static inline void corpus_each(const char *dir, void (*fn)(void *ctx, const char *path), void *ctx)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[4096];
        size_t n = strlen(e->d_name);
        if (e->d_name[0] == '.')
            continue;
        int len = snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (len < 0 || (size_t)len >= sizeof(path))
            continue;
        if (n > 5 && strcmp(e->d_name + n - 5, ".yaml") == 0)
            fn(ctx, path);
        else
            corpus_each(path, fn, ctx);
    }
    if (d)
        closedir(d);
}

#endif
