/* byte_string.h: a growing string of bytes, NULs included. All zero is an empty one. Internal to text/. */
#ifndef STLORA_TEXT_BYTE_STRING_H
#define STLORA_TEXT_BYTE_STRING_H

#include <stddef.h>
#include <string.h>

#include "base/memory.h"

typedef struct stlora_bytes {
    char *data;
    size_t count, capacity;
} stlora_bytes;

/* Makes room for `more` further bytes. */
static inline stlora_status stlora_bytes_reserve(stlora_bytes *bytes, size_t more,
                                                 stlora_error *err)
{
    if (more <= bytes->capacity - bytes->count) return STLORA_OK;
    if (more > (size_t)-1 - bytes->count)
        return stlora_fail(err, STLORA_E_NOMEM, "a text of %zu bytes is too long", more);
    return stlora_grow(&bytes->data, &bytes->capacity, bytes->count + more, 1, "text", err);
}

static inline stlora_status stlora_bytes_append(stlora_bytes *bytes, const char *text,
                                                size_t length, stlora_error *err)
{
    STLORA_TRY(stlora_bytes_reserve(bytes, length, err));
    if (length) memcpy(bytes->data + bytes->count, text, length);
    bytes->count += length;
    return STLORA_OK;
}

static inline void stlora_bytes_free(stlora_bytes *bytes)
{
    stlora_free(bytes->data);
    *bytes = (stlora_bytes){0};
}

#endif
