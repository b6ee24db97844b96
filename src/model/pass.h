/* pass.h: one packed micro-batch through the model: loss, log-probabilities, gradients of the adapter; and the memory it takes.
 *
 * Layouts are walked twice (base/memory.h): measured, then taken; a pass allocates nothing after creation. The loss is computed
 * at supervised positions only, a chunk of logits at a time. Blocks below the lowest adapted map keep nothing. Each part of a block that a
 * backward needs is kept or computed again. Buffers of disjoint lifetimes share their memory. No choice in a shape changes a bit.
 * Tests: tests/model/test_pass.c, tests/train/test_golden_models.c.
 */
#ifndef STLORA_MODEL_PASS_H
#define STLORA_MODEL_PASS_H

#include "model/block.h"

typedef struct stlora_pass stlora_pass; /* opaque; one thread at a time */

/* The parts of a block's activations that are kept or computed again, each by itself (stlora_block_acts says what they hold). */
typedef enum stlora_pass_part {
    STLORA_PART_ATTENTION,
    STLORA_PART_MID,
    STLORA_PART_UP,
    STLORA_PART_COUNT
} stlora_pass_part;

typedef struct stlora_pass_shape {
    int64_t max_tokens, max_segments, max_positions; /* of one micro-batch; positions: longest segment */
    int64_t slice;                                   /* tokens at a time where each stands by itself; 0 = all */
    int64_t logits_rows;                             /* supervised positions whose logits exist at one time */
    /* Of the blocks that a backward reaches, so many from the lowest up compute that part again. */
    int64_t again[STLORA_PART_COUNT];
    /* Of the blocks that compute every part again, every so-many-th keeps its input, and the others are walked through once more to
     * have theirs; 0 or 1 = each keeps it. */
    int64_t input_stride;
    bool train;       /* false: no backward, nothing kept */
    stlora_dtype act; /* F32 or BF16 */
    /* Noise on the embeddings of a row of L tokens, in a pass with gradients alone: U(-a, a), a = this / sqrt(L C). 0 = none. */
    double neftune_noise_alpha;
} stlora_pass_shape;

/* Bytes by category. */
typedef struct stlora_pass_bytes {
    size_t activations; /* kept between forward and backward */
    size_t
        workspace; /* tables, the stream's gradient, and what the blocks' scratch takes beyond the logits' memory, which it shares */
    size_t logits; /* all buffers of the head */
} stlora_pass_bytes;

/* A packed micro-batch, borrowed. */
typedef struct stlora_pass_batch {
    int64_t tokens, segments, supervised;
    const int32_t *ids,
        *positions;         /* [T]; ids < vocabulary, positions < max_positions (checked by the data's reader) */
    const int64_t *starts;  /* [S+1] */
    const int64_t *rows;    /* [S] row numbers, for the random numbers of dropout and noise */
    const int32_t *targets; /* [T] */
    const int64_t *at;      /* [supervised] positions with a target, ascending */
} stlora_pass_batch;

/* stlora_pass_measure: bytes that stlora_pass_create will take. */
void stlora_pass_measure(const stlora_transformer *model, const stlora_lora *lora, const stlora_pass_shape *shape,
                         stlora_pass_bytes *out);

/* stlora_pass_create: lora NULL = the base alone; shape->train needs an adapter with gradients. Borrows model, lora, backend.
 * Creates; pair with _free. STLORA_E_NOMEM; STLORA_E_UNSUPPORTED: more positions than the model's table has. */
STLORA_NODISCARD stlora_status stlora_pass_create(stlora_pass **out, const stlora_transformer *model,
                                                  const stlora_lora *lora, const stlora_backend *backend,
                                                  const stlora_pass_shape *shape, stlora_error *err);
void stlora_pass_free(stlora_pass *pass);

/* stlora_pass_loss: *loss += -sum of log-probabilities (nats) of the targets, in the order of the tokens; logprob[supervised] (NULL allowed). */
void stlora_pass_loss(stlora_pass *pass, const stlora_pass_batch *batch, double *loss, float *logprob);

/* stlora_pass_grad: the same, and adds to the adapter's gradients those of scale * loss. seed and step (from 1) name the dropout masks and the noise. */
void stlora_pass_grad(stlora_pass *pass, const stlora_pass_batch *batch, double scale, uint64_t seed, int64_t step,
                      double *loss);

/* stlora_pass_watch: lets a probe keep what maps read in the forward part of every stlora_pass_grad from now on; NULL: none. Borrows. */
void stlora_pass_watch(stlora_pass *pass, stlora_probe *probe);

/* stlora_pass_blocks_reached: blocks that a backward reaches: only of these anything is kept. */
int64_t stlora_pass_blocks_reached(const stlora_transformer *model, const stlora_lora *lora, bool train);

/* stlora_pass_flops: floating-point operations of a forward and, if train, a backward over a micro-batch of the given segment lengths. */
double stlora_pass_flops(const stlora_transformer *model, const stlora_lora *lora, const int64_t *lengths,
                         int64_t segments, int64_t supervised, bool train);

#endif
