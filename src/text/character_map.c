/* character_map.c: see character_map.h. Guarded by tests/text/test_tokenizer_reference.c. */
#include "text/character_map.h"

#include "text/utf8.h"

uint32_t stlora_map_strip_accents(uint32_t point)
{
    return stlora_is_mark(point) ? STLORA_DROPPED : point;
}

uint32_t stlora_map_nmt(uint32_t point)
{
    if ((point >= 0x01 && point <= 0x08) || point == 0x0B || (point >= 0x0E && point <= 0x1F) || point == 0x7F || point == 0x8F ||
        point == 0x9F)
        return STLORA_DROPPED;
    if (point == 0x09 || point == 0x0A || point == 0x0C || point == 0x0D || point == 0x1680 || (point >= 0x200B && point <= 0x200F) ||
        point == 0x2028 || point == 0x2029 || point == 0x2581 || point == 0xFEFF || point == 0xFFFD)
        return ' ';
    return point;
}

uint32_t stlora_map_bert_clean(uint32_t point)
{
    if (point == '\t' || point == '\n' || point == '\r') return ' ';
    if (point == 0 || point == 0xFFFD || stlora_is_control(point)) return STLORA_DROPPED;
    return stlora_is_white_space(point) ? ' ' : point;
}

uint32_t stlora_map_bert_accents(uint32_t point)
{
    return stlora_is_nonspacing_mark(point) ? STLORA_DROPPED : point;
}

bool stlora_is_bert_ideograph(uint32_t point)
{
    return (point >= 0x4E00 && point <= 0x9FFF) || (point >= 0x3400 && point <= 0x4DBF) || (point >= 0x20000 && point <= 0x2A6DF) ||
           (point >= 0x2A700 && point <= 0x2B73F) || (point >= 0x2B740 && point <= 0x2B81F) || (point >= 0x2B920 && point <= 0x2CEAF) ||
           (point >= 0xF900 && point <= 0xFAFF) || (point >= 0x2F800 && point <= 0x2FA1F);
}
