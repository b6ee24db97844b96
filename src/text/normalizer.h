/* normalizer.h: what happens to a text before it is cut into words. Internal to text/.
 * NFC NFD NFKC NFKD Lowercase Prepend Replace Strip StripAccents Nmt BertNormalizer ByteLevel, and Sequence of them. */
#ifndef STLORA_TEXT_NORMALIZER_H
#define STLORA_TEXT_NORMALIZER_H

#include "text/byte_string.h"
#include "text/json_place.h"

typedef struct stlora_normal_step stlora_normal_step;

typedef struct stlora_normalizer {
    stlora_normal_step *steps;
    size_t count, capacity;
} stlora_normalizer;

/* stlora_normalizer_read: from the file's "normalizer" (null: none). Free it whatever happens. */
STLORA_NODISCARD stlora_status stlora_normalizer_read(stlora_normalizer *normalizer,
                                                      const json_t *part, const stlora_place *place,
                                                      stlora_error *err);
void stlora_normalizer_free(stlora_normalizer *normalizer);

/* Two buffers for intermediate texts. All zero is new. */
typedef struct stlora_normal_work {
    stlora_bytes texts[2];
} stlora_normal_work;
void stlora_normal_work_free(stlora_normal_work *work);

/* stlora_normalize: [*text, *length), valid UTF-8, becomes its normal form, borrowed from work until the next call, or
 * stays the given text. *origin is how many bytes at the beginning stand for the very first character of what is
 * encoded (Metaspace's scheme "first" asks whether there are any); it is kept up to date. */
STLORA_NODISCARD stlora_status stlora_normalize(const stlora_normalizer *normalizer,
                                                stlora_normal_work *work, const char **text,
                                                size_t *length, size_t *origin, stlora_error *err);

#endif
