/* utf8.h: what text/ has to know of UTF-8 and of Unicode's character classes. Internal to text/. */
#ifndef STLORA_TEXT_UTF8_H
#define STLORA_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* stlora_utf8_valid: how many bytes at the beginning of text are whole, valid characters (shortest form, no
 * surrogates, at most U+10FFFF); `length` when all are. */
size_t stlora_utf8_valid(const char *text, size_t length);

/* stlora_utf8_step: one step of reading bytes that may be broken: *size is that of a valid character at text (true), or
 * of the longest beginning of one that cannot go on (false; a lossy reader puts one U+FFFD for it). A beginning
 * that could still go on at the end of the text gives false and *cut. length > 0. */
bool stlora_utf8_step(const char *text, size_t length, size_t *size, bool *cut);

/* stlora_utf8_read: the character at text, valid UTF-8; *size is its bytes. */
static inline uint32_t stlora_utf8_read(const char *text, size_t *size)
{
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80) {
        *size = 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *size = 2;
        return (uint32_t)(p[0] & 0x1F) << 6 | (uint32_t)(p[1] & 0x3F);
    }
    if (p[0] < 0xF0) {
        *size = 3;
        return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 |
               (uint32_t)(p[2] & 0x3F);
    }
    *size = 4;
    return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 |
           (uint32_t)(p[2] & 0x3F) << 6 | (uint32_t)(p[3] & 0x3F);
}

/* stlora_utf8_write: puts a code point as 1 to 4 bytes, gives their count. */
size_t stlora_utf8_write(uint32_t point, char out[4]);

/* stlora_utf8_back: the beginning of the character that ends before `at` > 0 in valid UTF-8. */
static inline size_t stlora_utf8_back(const char *text, size_t at)
{
    do
        at--;
    while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

bool stlora_is_white_space(uint32_t point); /* the property White_Space */
bool stlora_is_numeric(uint32_t point);     /* general categories Nd, Nl, No */
bool stlora_is_punctuation(uint32_t point); /* general categories P*, and ASCII's symbols */
bool stlora_is_mark(uint32_t point);        /* general categories M* */
bool stlora_is_nonspacing_mark(uint32_t point); /* general category Mn */
bool stlora_is_control(uint32_t point);         /* general categories Cc, Cf, Co */

#endif
