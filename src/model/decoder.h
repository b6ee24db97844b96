/* decoder.h: new tokens of one or more sequences against a cache of their keys and values: generate, eval.
 *
 * The cache is one row of tokens; whoever calls lays the sequences into it. A token's logits are the same bits whichever other sequences are
 * in the call and however its own sequence was cut into calls. Tests: tests/model/test_decoder.c, tests/train/test_golden_models.c.
 */
#ifndef STLORA_MODEL_DECODER_H
#define STLORA_MODEL_DECODER_H

#include "model/block.h"

typedef struct stlora_decoder stlora_decoder; /* opaque; one thread at a time */

typedef struct stlora_decoder_shape {
    int64_t positions;   /* tokens of the longest sequence */
    int64_t cache;       /* tokens of all sequences that are held at a time */
    int64_t tokens;      /* tokens of one call */
    int64_t pieces;      /* pieces of one call */
    int64_t logits_rows; /* logits that exist at a time */
    /* Where rotary frequencies change with a row's length: every sequence is taken for a row so long; 0 = for one whose length does not
     * matter, which then it must not. */
    int64_t row;
} stlora_decoder_shape;

/* stlora_decoder_most: the longest sequence that can be decoded with row 0: the learned positions; with rotary frequencies that change with a
 * sequence's length, up to where they begin to, since a cache holds keys that were rotated before; otherwise INT64_MAX. */
int64_t stlora_decoder_most(const stlora_transformer *model);

/* stlora_decoder_single: the shape for one sequence, whose prompt goes through some hundred tokens at a time. */
stlora_decoder_shape stlora_decoder_single(int64_t positions);

/* Tokens that go on with a sequence whose keys and values lie in the cache from `first` on, `past` of them already. */
typedef struct stlora_decoder_piece {
    int64_t first, past, count; /* count > 0 */
    const int32_t *ids;         /* [count], below the vocabulary; borrowed for the call */
} stlora_decoder_piece;

/* stlora_decoder_bytes: what stlora_decoder_create will take; SIZE_MAX: more than can be counted. */
size_t stlora_decoder_bytes(const stlora_transformer *model, const stlora_lora *lora, stlora_dtype act,
                            const stlora_decoder_shape *shape);

/* stlora_decoder_create: borrows model, lora (NULL = base alone), backend. Creates; pair with _free. STLORA_E_NOMEM;
 * STLORA_E_UNSUPPORTED: more positions than stlora_decoder_most, where row is 0 or positions are learned. */
STLORA_NODISCARD stlora_status stlora_decoder_create(stlora_decoder **out, const stlora_transformer *model,
                                                     const stlora_lora *lora, const stlora_backend *backend,
                                                     stlora_dtype act, const stlora_decoder_shape *shape,
                                                     stlora_error *err);
void stlora_decoder_free(stlora_decoder *decoder);

/* stlora_decoder_run: the pieces' tokens through the blocks, side by side; token t of the call is the t-th of the pieces behind one
 * another. All sizes are within the shape (asserted). No two pieces are of one sequence. */
void stlora_decoder_run(stlora_decoder *decoder, const stlora_decoder_piece *pieces, int64_t count);

/* stlora_decoder_logits: logits (count, V) after the last call's tokens at[0..count), count <= logits_rows; borrowed until the next call. */
const float *stlora_decoder_logits(stlora_decoder *decoder, const int64_t *at, int64_t count);

/* stlora_decoder_logprobs: logprob[i] = log p(targets[i]) after the last call's token at[i], at ascending; neighbours that are equal share
 * their logits. Any count. */
void stlora_decoder_logprobs(stlora_decoder *decoder, const int64_t *at, const int32_t *targets, int64_t count,
                             float *logprob);

/* stlora_decoder_copy: count tokens of the cache from `from` on, to `to` too; the two do not overlap. */
void stlora_decoder_copy(stlora_decoder *decoder, int64_t from, int64_t to, int64_t count);

/* For a decoder of one sequence, which it then keeps count of:
 * stlora_decoder_feed: adds count > 0 tokens, as many at a time as a call has room for; *logits (V) of the last one, borrowed until the
 * next call. STLORA_E_UNSUPPORTED when the sequence would outgrow its positions.
 * stlora_decoder_rewind: forgets all but the first count tokens, of which it holds as many; 0 forgets the sequence. _held: how many it holds. */
STLORA_NODISCARD stlora_status stlora_decoder_feed(stlora_decoder *decoder, const int32_t *ids, int64_t count,
                                                   const float **logits, stlora_error *err);
void stlora_decoder_rewind(stlora_decoder *decoder, int64_t count);
int64_t stlora_decoder_held(const stlora_decoder *decoder);

#endif
