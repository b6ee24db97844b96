/* utf8.c: see utf8.h. The classes come from utf8proc's tables. Guarded by tests/text/test_tokenizer_small.c. */
#include "text/utf8.h"

#include <string.h>
#include <utf8proc.h>

bool stlora_utf8_step(const char *text, size_t length, size_t *size, bool *cut)
{
    const unsigned char *p = (const unsigned char *)text;
    *size = 1;
    *cut = false;
    if (p[0] < 0x80) return true;
    if (p[0] < 0xC2 || p[0] > 0xF4) return false;
    size_t whole = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    /* Only the second byte has a narrower range: against longer forms than needed, surrogates, beyond U+10FFFF. */
    unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    for (size_t i = 1; i < whole; i++) {
        if (i == length) {
            *cut = true;
            return false;
        }
        if (p[i] < low || p[i] > high) return false;
        low = 0x80;
        high = 0xBF;
        *size = i + 1;
    }
    return true;
}

size_t stlora_utf8_valid(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length) {
        uint64_t eight;
        if (length - at >= sizeof eight) {
            memcpy(&eight, text + at, sizeof eight);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                at += sizeof eight;
                continue;
            }
        }
        size_t size;
        bool cut;
        if (!stlora_utf8_step(text + at, length - at, &size, &cut)) break;
        at += size;
    }
    return at;
}

size_t stlora_utf8_write(uint32_t point, char out[4])
{
    unsigned char bytes[4];
    size_t size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = size - 1; i > 0; i--, point >>= 6)
        bytes[i] = (unsigned char)(0x80 | (point & 0x3F));
    bytes[0] = (unsigned char)(lead[size] | point);
    memcpy(out, bytes, size);
    return size;
}

bool stlora_is_white_space(uint32_t point)
{
    return (point >= 0x09 && point <= 0x0D) || point == 0x20 || point == 0x85 || point == 0xA0 ||
           point == 0x1680 || (point >= 0x2000 && point <= 0x200A) || point == 0x2028 ||
           point == 0x2029 || point == 0x202F || point == 0x205F || point == 0x3000;
}

static bool category_between(uint32_t point, utf8proc_category_t first, utf8proc_category_t last)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)point);
    return category >= first && category <= last;
}

bool stlora_is_numeric(uint32_t point)
{
    return category_between(point, UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO);
}

bool stlora_is_punctuation(uint32_t point)
{
    if (point < 0x80)
        return (point >= 0x21 && point <= 0x2F) || (point >= 0x3A && point <= 0x40) ||
               (point >= 0x5B && point <= 0x60) || (point >= 0x7B && point <= 0x7E);
    return category_between(point, UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO);
}

bool stlora_is_mark(uint32_t point)
{
    return category_between(point, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME);
}

bool stlora_is_nonspacing_mark(uint32_t point)
{
    return category_between(point, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_MN);
}

bool stlora_is_control(uint32_t point)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)point);
    return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CO;
}
