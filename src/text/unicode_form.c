/* unicode_form.c: see unicode_form.h. A text is cut before characters that no form changes and that combine with nothing
 * before them, so that plain text is copied and only the parts between are handed to utf8proc.
 * Guarded by tests/text/test_tokenizer_golden.c (qwen2: NFC), test_tokenizer_small.c. */
#include "text/unicode_form.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "text/utf8.h"

/* True for the first byte of a character that begins a part of its own: for NFC all below U+0300 (their quick check is
 * Yes and their combining class 0), for the others ASCII. */
static bool begins_part(unsigned char byte, bool nfc)
{
    return byte < 0x80 || (nfc && byte >= 0xC2 && byte < 0xCC);
}

static stlora_status form_part(stlora_bytes *out, const char *text, size_t length, int options,
                               stlora_error *err)
{
    utf8proc_uint8_t *formed = NULL;
    utf8proc_ssize_t size = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length,
                                         &formed, (utf8proc_option_t)options);
    if (size < 0)
        return stlora_fail(err, size == UTF8PROC_ERROR_NOMEM ? STLORA_E_NOMEM : STLORA_E_FORMAT,
                           "a text of %zu bytes cannot be normalized: %s", length,
                           utf8proc_errmsg(size));
    stlora_status status = stlora_bytes_append(out, (const char *)formed, (size_t)size, err);
    free(formed);
    return status;
}

stlora_status stlora_unicode_form(stlora_bytes *out, const char *text, size_t length, bool composed,
                                  bool compatibility, stlora_error *err)
{
    int options = UTF8PROC_STABLE | (composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                  (compatibility ? UTF8PROC_COMPAT : 0);
    bool nfc = composed && !compatibility;
    size_t copied = 0; /* text[copied, at) needs no change so far */
    for (size_t at = 0; at < length;) {
        if (begins_part((unsigned char)text[at], nfc) || ((unsigned char)text[at] & 0xC0) == 0x80) {
            at++; /* within a character below U+0300 */
            continue;
        }
        /* A character that may change: the part reaches from the character before it to the next beginning. */
        size_t begin = at > copied ? stlora_utf8_back(text, at) : at;
        size_t end = at + 1;
        while (end < length && !begins_part((unsigned char)text[end], nfc))
            end++;
        STLORA_TRY(stlora_bytes_append(out, text + copied, begin - copied, err));
        STLORA_TRY(form_part(out, text + begin, end - begin, options, err));
        copied = at = end;
    }
    return stlora_bytes_append(out, text + copied, length - copied, err);
}

stlora_status stlora_unicode_lower(stlora_bytes *out, const char *text, size_t length,
                                   stlora_error *err)
{
    size_t size;
    for (size_t at = 0; at < length; at += size) {
        uint32_t point = stlora_utf8_read(text + at, &size);
        char lower[4];
        STLORA_TRY(stlora_bytes_reserve(out, sizeof lower, err));
        if (point == 0x130) { /* I with dot above: the one character whose lower case is two */
            STLORA_TRY(stlora_bytes_append(out, "i\xCC\x87", 3, err));
            continue;
        }
        point = (uint32_t)utf8proc_tolower((utf8proc_int32_t)point);
        STLORA_TRY(stlora_bytes_append(out, lower, stlora_utf8_write(point, lower), err));
    }
    return STLORA_OK;
}
