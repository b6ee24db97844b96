/* decoder.h: token after token with a cache of keys and values: generate. Test: tests/train/test_golden_models.c. */
#ifndef STLORA_MODEL_DECODER_H
#define STLORA_MODEL_DECODER_H

#include "model/block.h"

typedef struct stlora_decoder stlora_decoder; /* opaque; one sequence at a time */

/* stlora_decoder_create: room for max_positions tokens. Borrows model, lora (NULL = base alone), backend. Creates; pair with _free. */
STLORA_NODISCARD stlora_status stlora_decoder_create(stlora_decoder **out, const stlora_transformer *model,
                                                     const stlora_lora *lora, const stlora_backend *backend,
                                                     stlora_dtype act, int64_t max_positions, stlora_error *err);
void stlora_decoder_free(stlora_decoder *decoder);

/* stlora_decoder_reset: forgets the sequence. */
void stlora_decoder_reset(stlora_decoder *decoder);

/* stlora_decoder_feed: adds count tokens (ids < vocabulary, count > 0); *logits (V) of the last one, borrowed until the next call.
 * STLORA_E_UNSUPPORTED when the sequence would outgrow max_positions. */
STLORA_NODISCARD stlora_status stlora_decoder_feed(stlora_decoder *decoder, const int32_t *ids, int64_t count,
                                                   const float **logits, stlora_error *err);

#endif
