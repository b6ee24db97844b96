/* character_map.h: normalizers that treat each character by itself: it goes, stays or becomes another one. Internal to text/.
 * Which characters are meant is what the tokenizers library does, code point by code point. */
#ifndef STLORA_TEXT_CHARACTER_MAP_H
#define STLORA_TEXT_CHARACTER_MAP_H

#include <stdbool.h>
#include <stdint.h>

/* What a character becomes; STLORA_DROPPED: nothing. */
typedef uint32_t stlora_character_map(uint32_t point);

#define STLORA_DROPPED UINT32_MAX

stlora_character_map stlora_map_strip_accents; /* StripAccents: without marks */
stlora_character_map stlora_map_nmt;           /* Nmt: without control characters, odd spaces as spaces */
stlora_character_map stlora_map_bert_clean;    /* BertNormalizer's clean_text */
stlora_character_map stlora_map_bert_accents;  /* BertNormalizer's strip_accents, after NFD: without nonspacing marks */

/* stlora_is_bert_ideograph: those around which BertNormalizer's handle_chinese_chars puts spaces. */
bool stlora_is_bert_ideograph(uint32_t point);

#endif
