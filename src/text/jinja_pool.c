/* jinja_pool.c: see jinja_pool.h. Guarded by tests/text/test_jinja.c (its bounds), and by the sanitizers. */
#include "text/jinja_pool.h"

#include "base/memory.h"

enum { CHUNK = 32 << 10, PIECE = 16 }; /* bytes */

struct stlora_jchunk {
    struct stlora_jchunk *next;
    unsigned char *bytes;
    size_t used, size;
};

static struct stlora_jchunk *add_chunk(stlora_jpool *pool, size_t size)
{
    struct stlora_jchunk *chunk;
    size_t head = (sizeof *chunk + PIECE - 1) / PIECE * PIECE;
    if (stlora_alloc(&chunk, 1, head + size, "template", NULL) != STLORA_OK) return NULL;
    *chunk = (struct stlora_jchunk){.bytes = (unsigned char *)chunk + head, .size = size};
    if (pool->chunks && size > CHUNK) { /* one large piece: the chunk at hand stays at hand */
        chunk->next = pool->chunks->next;
        pool->chunks->next = chunk;
    } else {
        chunk->next = pool->chunks;
        pool->chunks = chunk;
    }
    return chunk;
}

void *stlora_jpool_take(stlora_jpool *pool, size_t size)
{
    if (size > pool->limit - pool->taken) return NULL;
    size_t need = (size + PIECE - 1) / PIECE * PIECE;
    struct stlora_jchunk *chunk = pool->chunks;
    if (!chunk || need > chunk->size - chunk->used) chunk = add_chunk(pool, need > CHUNK ? need : CHUNK);
    if (!chunk) return NULL;
    void *piece = chunk->bytes + chunk->used;
    chunk->used += need;
    pool->taken += size;
    return piece;
}

void stlora_jpool_free(stlora_jpool *pool)
{
    while (pool->chunks) {
        struct stlora_jchunk *next = pool->chunks->next;
        stlora_free(pool->chunks);
        pool->chunks = next;
    }
    pool->taken = 0;
}
