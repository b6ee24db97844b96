/* memory.h: heap blocks with checked sizes, and the arena that a planned step lives in.
 *
 * An arena is walked twice with the same calls: first measuring (no memory behind it; take returns NULL and only
 * adds up), then bound to one block of exactly the measured size. So the plan that is printed is the memory that is
 * taken, and after binding a step allocates nothing. Test: tests/base/test_base.c.
 */
#ifndef STLORA_BASE_MEMORY_H
#define STLORA_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum { STLORA_ALIGN = 64 }; /* bytes; a cache line and an AVX-512 register */

/* stlora_alloc: creates count*size zeroed bytes aligned to STLORA_ALIGN in *out (void **); free with stlora_free.
 * what names the thing in the sentence. STLORA_E_NOMEM on overflow or refusal. A zero size gives a valid block. */
STLORA_NODISCARD stlora_status stlora_alloc(void *out, size_t count, size_t size, const char *what,
                                            stlora_error *err);

/* stlora_grow: makes room for `need` elements of `size` bytes in the growing array *out (void **) of *capacity elements,
 * doubling, new space zeroed, alignment STLORA_ALIGN kept. Untouched on failure. */
STLORA_NODISCARD stlora_status stlora_grow(void *out, size_t *capacity, size_t need, size_t size,
                                           const char *what, stlora_error *err);

/* stlora_free: frees what the two above created; NULL allowed. */
void stlora_free(void *block);

/* stlora_strdup_n: creates a NUL-terminated copy of `length` bytes. */
STLORA_NODISCARD stlora_status stlora_strdup_n(char **out, const char *text, size_t length,
                                               stlora_error *err);

typedef struct stlora_arena {
    unsigned char *base; /* NULL while measuring */
    size_t used, size;
    bool overflow; /* a size did not fit in size_t; sticky */
} stlora_arena;

/* stlora_arena_take: count*size bytes, aligned to STLORA_ALIGN, or NULL while measuring. Bound arenas never run out
 * when walked as measured (asserted). The bytes are zero until somebody writes there. */
void *stlora_arena_take(stlora_arena *arena, size_t count, size_t size);

/* Buffers of disjoint lifetimes in one place: stlora_arena_rewind lets the next buffers begin where the arena stood when its `used` was
 * `mark`, and returns where it stood now; stlora_arena_cover puts what follows behind that again. */
size_t stlora_arena_rewind(stlora_arena *arena, size_t mark);
void stlora_arena_cover(stlora_arena *arena, size_t end);

/* stlora_arena_bind: allocates what was measured and rewinds for the second walk. STLORA_E_NOMEM with the size. */
STLORA_NODISCARD stlora_status stlora_arena_bind(stlora_arena *arena, const char *what,
                                                 stlora_error *err);

/* stlora_arena_free: frees the block; the arena is as new. */
void stlora_arena_free(stlora_arena *arena);

#endif
