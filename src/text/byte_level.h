/* byte_level.h: the alphabet of GPT-2's byte-level vocabularies: each byte is written as one printable character.
 * The 188 bytes 21-7E, A1-AC, AE-FF stand for the code points of the same number, the other 68, in their order, for
 * U+0100 to U+0143. Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, its
 * published encoder. Internal to text/. Guarded by tests/text/test_tokenizer_small.c. */
#ifndef STLORA_TEXT_BYTE_LEVEL_H
#define STLORA_TEXT_BYTE_LEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/byte_string.h"

enum { STLORA_BYTE_POINTS = 0x144 }; /* the alphabet lies below this code point */

/* GPT-2's pre-tokenizer pattern. */
extern const char stlora_byte_level_pattern[];

/* stlora_byte_level_point: the code point that stands for a byte. */
uint32_t stlora_byte_level_point(unsigned char byte);

/* stlora_byte_level_byte: the byte that a code point stands for, -1 when it is not in the alphabet. */
int stlora_byte_level_byte(uint32_t point);

/* stlora_byte_level_spell: appends bytes, spelt in the alphabet. */
STLORA_NODISCARD stlora_status stlora_byte_level_spell(stlora_bytes *out, const char *bytes,
                                                       size_t length, stlora_error *err);

/* stlora_byte_level_read: appends the bytes that valid UTF-8 text stands for; *all is false, and nothing appended,
 * when a character is not in the alphabet. */
STLORA_NODISCARD stlora_status stlora_byte_level_read(stlora_bytes *out, const char *text,
                                                      size_t length, bool *all, stlora_error *err);

#endif
