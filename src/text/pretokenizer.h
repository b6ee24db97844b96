/* pretokenizer.h: cutting normal text into the words that the model encodes one by one. Internal to text/.
 * ByteLevel Split Digits Punctuation Metaspace Whitespace WhitespaceSplit CharDelimiterSplit BertPreTokenizer FixedLength, Sequence
 * of them. */
#ifndef STLORA_TEXT_PRETOKENIZER_H
#define STLORA_TEXT_PRETOKENIZER_H

#include "text/byte_string.h"
#include "text/json_place.h"

typedef struct stlora_cut_step stlora_cut_step;

typedef struct stlora_pretokenizer {
    stlora_cut_step *steps;
    size_t count, capacity;
} stlora_pretokenizer;

/* stlora_pretokenizer_read: from the file's "pre_tokenizer" (null: a text is one word). Free it whatever happens. */
STLORA_NODISCARD stlora_status stlora_pretokenizer_read(stlora_pretokenizer *pretokenizer,
                                                        const json_t *part,
                                                        const stlora_place *place,
                                                        stlora_error *err);
void stlora_pretokenizer_free(stlora_pretokenizer *pretokenizer);

/* stlora_pretokenizer_spells_bytes: the last thing done is to spell words in the byte-level alphabet. Then _leave_raw
 * takes that last step away: words come out as the bytes themselves. */
bool stlora_pretokenizer_spells_bytes(const stlora_pretokenizer *pretokenizer);
void stlora_pretokenizer_leave_raw(stlora_pretokenizer *pretokenizer);

/* Where words go, in their order. The word is borrowed during the call. */
typedef stlora_status stlora_word_sink(void *context, const char *word, size_t length,
                                       stlora_error *err);

/* stlora_pretokenize: cuts text, valid UTF-8, into words of at least one byte. origin: as in
 * normalizer.h. work: one buffer for each step, all zero at first, freed by the caller. STLORA_E_FORMAT when a pattern
 * gives up, and what the sink says. */
STLORA_NODISCARD stlora_status stlora_pretokenize(const stlora_pretokenizer *pretokenizer,
                                                  stlora_bytes *work, const char *text,
                                                  size_t length, size_t origin,
                                                  stlora_word_sink *sink, void *context,
                                                  stlora_error *err);

#endif
