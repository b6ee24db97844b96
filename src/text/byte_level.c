/* byte_level.c: see byte_level.h. Invariant: read(spell(bytes)) = bytes for every byte string. */
#include "text/byte_level.h"

#include "text/utf8.h"

const char stlora_byte_level_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

uint32_t stlora_byte_level_point(unsigned char byte)
{
    if (byte < 0x21) return 0x100u + byte;
    if (byte >= 0x7F && byte <= 0xA0) return 0x100u + 0x21 + (byte - 0x7Fu);
    if (byte == 0xAD) return 0x143;
    return byte;
}

int stlora_byte_level_byte(uint32_t point)
{
    if (point < 0x100)
        return stlora_byte_level_point((unsigned char)point) == point ? (int)point : -1;
    if (point < 0x121) return (int)(point - 0x100);
    if (point < 0x143) return (int)(point - 0x121 + 0x7F);
    return point == 0x143 ? 0xAD : -1;
}

stlora_status stlora_byte_level_spell(stlora_bytes *out, const char *bytes, size_t length,
                                      stlora_error *err)
{
    if (length > (size_t)-1 / 2)
        return stlora_fail(err, STLORA_E_NOMEM, "a text of %zu bytes is too long", length);
    STLORA_TRY(stlora_bytes_reserve(out, 2 * length + 2, err));
    for (size_t i = 0; i < length; i++)
        out->count += stlora_utf8_write(stlora_byte_level_point((unsigned char)bytes[i]),
                                        out->data + out->count);
    return STLORA_OK;
}

stlora_status stlora_byte_level_read(stlora_bytes *out, const char *text, size_t length, bool *all,
                                     stlora_error *err)
{
    STLORA_TRY(stlora_bytes_reserve(out, length, err));
    size_t before = out->count, size;
    for (size_t at = 0; at < length; at += size) {
        int byte = stlora_byte_level_byte(stlora_utf8_read(text + at, &size));
        if (byte < 0) {
            out->count = before;
            *all = false;
            return STLORA_OK;
        }
        out->data[out->count++] = (char)(unsigned char)byte;
    }
    *all = true;
    return STLORA_OK;
}
