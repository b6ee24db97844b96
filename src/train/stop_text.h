/* stop_text.h: text that comes bit by bit and ends before a given word: what may be the beginning of the word waits. Test: tests/train/test_stop_text.c. */
#ifndef STLORA_TRAIN_STOP_TEXT_H
#define STLORA_TRAIN_STOP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct stlora_stop_text {
    const char *word; /* borrowed; NULL = nothing ends the text */
    bool ended;       /* the word has come */
    char *waiting;
    size_t length, room, given; /* given: of what waits, handed out by the last push */
} stlora_stop_text;

/* stlora_stop_text_push: takes text and hands out in *out, *out_length, borrowed until the next call, what is certain by it to stand before the word;
 * nothing once it has ended. STLORA_E_NOMEM. */
STLORA_NODISCARD stlora_status stlora_stop_text_push(stlora_stop_text *stop, const char *text, size_t length,
                                                     const char **out, size_t *out_length, stlora_error *err);

/* stlora_stop_text_flush: what still waits, when no more text comes; then it is as new. Borrowed likewise. */
void stlora_stop_text_flush(stlora_stop_text *stop, const char **out, size_t *out_length);
void stlora_stop_text_free(stlora_stop_text *stop);

#endif
