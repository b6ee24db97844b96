/* stop_text.c: see stop_text.h. */
#include "train/stop_text.h"

#include <string.h>

#include "base/memory.h"

/* Where the word begins in text, or a beginning of it that the text ends in; `length` where neither is. */
static size_t find(const char *word, const char *text, size_t length, bool *whole)
{
    const size_t size = strlen(word);
    for (size_t at = 0; at < length; at++) {
        const size_t left = length - at < size ? length - at : size;
        if (memcmp(text + at, word, left) != 0) continue;
        *whole = left == size;
        return at;
    }
    *whole = false;
    return length;
}

/* Takes away what was handed out last. */
static void drop_given(stlora_stop_text *stop)
{
    stop->length -= stop->given;
    if (stop->length) memmove(stop->waiting, stop->waiting + stop->given, stop->length);
    stop->given = 0;
}

stlora_status stlora_stop_text_push(stlora_stop_text *stop, const char *text, size_t length, const char **out,
                                    size_t *out_length, stlora_error *err)
{
    drop_given(stop);
    STLORA_TRY(stlora_grow(&stop->waiting, &stop->room, stop->length + length + 1, 1, "text", err));
    if (length) memcpy(stop->waiting + stop->length, text, length);
    stop->length += length;
    if (stop->word && !stop->ended)
        stop->given = find(stop->word, stop->waiting, stop->length, &stop->ended);
    else
        stop->given = stop->ended ? 0 : stop->length;
    *out = stop->waiting;
    *out_length = stop->given;
    return STLORA_OK;
}

void stlora_stop_text_flush(stlora_stop_text *stop, const char **out, size_t *out_length)
{
    drop_given(stop);
    *out = stop->waiting ? stop->waiting : "";
    *out_length = stop->ended ? 0 : stop->length;
    stop->ended = false;
    stop->length = 0;
}

void stlora_stop_text_free(stlora_stop_text *stop)
{
    stlora_free(stop->waiting);
    *stop = (stlora_stop_text){0};
}
