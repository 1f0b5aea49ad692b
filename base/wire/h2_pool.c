#include "base/core/assert.h"
#include "base/wire/h2_int.h"

#define POOL_STREAMS_MAX 1024u /* 64 bytes each */
#define POOL_BLOCKS_MAX 512u   /* 1.8 KB each */

struct h2_pool *h2_pool_new(void)
{
    return MEM_NEW(struct h2_pool);
}

void h2_pool_free(struct h2_pool *p)
{
    if (!p)
        return;
    for (struct h2_stream *s = p->streams, *next; s; s = next) {
        next = s->hash_next;
        mem_free(s);
    }
    for (struct h2_block *b = p->blocks, *next; b; b = next) {
        next = b->next;
        mem_free(b);
    }
    mem_free(p);
}

struct h2_stream *h2_pool_stream(struct h2_pool *p)
{
    struct h2_stream *s = p->streams;
    if (!s)
        return MEM_NEW(struct h2_stream);
    p->streams = s->hash_next;
    p->stream_n--;
    *s = (struct h2_stream){0};
    return s;
}

void h2_pool_put_stream(struct h2_pool *p, struct h2_stream *s)
{
    for (struct h2_block *b = s->blocks, *next; b; b = next) {
        next = b->next;
        h2_pool_put_block(p, b);
    }
    if (p->stream_n >= POOL_STREAMS_MAX) {
        mem_free(s);
        return;
    }
    s->hash_next = p->streams;
    p->streams = s;
    p->stream_n++;
}

/* The arrays need no clearing: only what is counted is read. */
static void block_reset(struct h2_block *b)
{
    b->next = NULL;
    b->head = (struct http_head){.headers = {.p = b->fields_inline, .cap = H2_BLOCK_FIELDS}};
    b->refs = b->refs_inline;
    b->joined = NULL;
    b->ref_n = b->bytes = b->fields_seen = 0;
    b->cap = H2_BLOCK_FIELDS;
    b->too_large = b->invalid = false;
    b->host = (struct slice){0};
}

struct h2_block *h2_pool_block(struct h2_pool *p)
{
    struct h2_block *b = p->blocks;
    if (b) {
        p->blocks = b->next;
        p->block_n--;
    } else {
        b = MEM_NEW(struct h2_block);
    }
    block_reset(b);
    return b;
}

void h2_pool_put_block(struct h2_pool *p, struct h2_block *b)
{
    for (uint32_t i = 0; i < b->ref_n; i++)
        nghttp2_rcbuf_decref(b->refs[i]);
    if (b->refs != b->refs_inline) {
        mem_free(b->refs);
        mem_free(b->big);
    }
    mem_free(b->joined);
    if (p->block_n >= POOL_BLOCKS_MAX) {
        mem_free(b);
        return;
    }
    b->next = p->blocks;
    p->blocks = b;
    p->block_n++;
}
