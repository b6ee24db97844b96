/* errno_text.h: the system's own words for an errno, from any thread. */
#ifndef STLORA_BASE_ERRNO_TEXT_H
#define STLORA_BASE_ERRNO_TEXT_H

#include <stdio.h>
#include <string.h>

typedef struct stlora_errno_words {
    char text[128];
} stlora_errno_words;

/* stlora_errno_text: fills words for errno `code` and returns words->text. */
static inline const char *stlora_errno_text(int code, stlora_errno_words *words)
{
    if (strerror_r(code, words->text, sizeof words->text) != 0)
        (void)snprintf(words->text, sizeof words->text, "system error %d", code);
    return words->text;
}

#endif
