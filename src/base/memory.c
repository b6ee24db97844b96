/* memory.c: see memory.h. The block's alignment comes from posix_memalign. */
#include "base/memory.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/size.h"

enum { HUGE_PAGE = 2 << 20 };

static bool round_up(size_t bytes, size_t *out)
{
    size_t padded;
    if (!stlora_size_add(bytes, STLORA_ALIGN - 1, &padded)) return false;
    padded -= padded % STLORA_ALIGN;
    *out = padded ? padded : STLORA_ALIGN;
    return true;
}

stlora_status stlora_alloc(void *out, size_t count, size_t size, const char *what, stlora_error *err)
{
    size_t bytes, padded;
    if (!stlora_size_mul(count, size, &bytes) || !round_up(bytes, &padded) || padded > PTRDIFF_MAX)
        return stlora_fail(err, STLORA_E_NOMEM, "%s: %zu times %zu bytes is more than a computer can address",
                           what, count, size);
    bool large = padded >= 2 * HUGE_PAGE;
    void *block = NULL;
    if (posix_memalign(&block, large ? HUGE_PAGE : STLORA_ALIGN, padded) != 0)
        return stlora_fail(err, STLORA_E_NOMEM, "%s: no memory for %zu bytes", what, padded);
#ifdef MADV_HUGEPAGE
    /* Advice only: large pages where the system gives them, so that walks over large matrices look up fewer. */
    if (large) (void)madvise(block, padded / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
    memset(block, 0, padded);
    memcpy(out, &block, sizeof block);
    return STLORA_OK;
}

stlora_status stlora_grow(void *out, size_t *capacity, size_t need, size_t size, const char *what,
                          stlora_error *err)
{
    if (need <= *capacity) return STLORA_OK;
    size_t wanted = *capacity ? *capacity : 16;
    while (wanted < need) wanted = wanted > SIZE_MAX / 2 ? need : wanted * 2;
    void *old, *fresh;
    memcpy(&old, out, sizeof old);
    STLORA_TRY(stlora_alloc(&fresh, wanted, size, what, err));
    if (old) memcpy(fresh, old, *capacity * size);
    stlora_free(old);
    memcpy(out, &fresh, sizeof fresh);
    *capacity = wanted;
    return STLORA_OK;
}

void stlora_free(void *block)
{
    free(block);
}

stlora_status stlora_strdup_n(char **out, const char *text, size_t length, stlora_error *err)
{
    char *copy = NULL;
    size_t bytes;
    if (!stlora_size_add(length, 1, &bytes))
        return stlora_fail(err, STLORA_E_NOMEM, "a text of %zu bytes is too long", length);
    STLORA_TRY(stlora_alloc(&copy, bytes, 1, "text", err));
    if (length) memcpy(copy, text, length);
    *out = copy;
    return STLORA_OK;
}

void *stlora_arena_take(stlora_arena *arena, size_t count, size_t size)
{
    size_t bytes, padded, end;
    if (arena->overflow || !stlora_size_mul(count, size, &bytes) || !round_up(bytes, &padded) ||
        !stlora_size_add(arena->used, padded, &end)) {
        arena->overflow = true;
        return NULL;
    }
    assert(!arena->base || end <= arena->size);
    void *block = arena->base ? arena->base + arena->used : NULL;
    arena->used = end;
    return block;
}

size_t stlora_arena_rewind(stlora_arena *arena, size_t mark)
{
    size_t end = arena->used;
    assert(mark <= end);
    arena->used = mark;
    return end;
}

void stlora_arena_cover(stlora_arena *arena, size_t end)
{
    if (arena->used < end) arena->used = end;
}

stlora_status stlora_arena_bind(stlora_arena *arena, const char *what, stlora_error *err)
{
    assert(!arena->base);
    if (arena->overflow)
        return stlora_fail(err, STLORA_E_NOMEM, "%s: the plan is larger than a computer can address", what);
    void *block = NULL;
    STLORA_TRY(stlora_alloc(&block, arena->used, 1, what, err));
    arena->base = block;
    arena->size = arena->used;
    arena->used = 0;
    return STLORA_OK;
}

void stlora_arena_free(stlora_arena *arena)
{
    stlora_free(arena->base);
    *arena = (stlora_arena){0};
}
