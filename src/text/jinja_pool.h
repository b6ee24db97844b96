/* jinja_pool.h: memory that is taken piece by piece and given back at once: that of one compiled template, or of one render.
 * Internal to text/. */
#ifndef STLORA_TEXT_JINJA_POOL_H
#define STLORA_TEXT_JINJA_POOL_H

#include <stddef.h>

typedef struct stlora_jpool {
    struct stlora_jchunk *chunks;
    size_t taken, limit; /* bytes handed out so far, and the most that there may be */
} stlora_jpool;

/* stlora_jpool_take: size zeroed bytes for anything; NULL beyond the limit or without memory. */
void *stlora_jpool_take(stlora_jpool *pool, size_t size);
void stlora_jpool_free(stlora_jpool *pool);

#endif
