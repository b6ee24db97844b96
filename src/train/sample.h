/* sample.h: from logits to the next token, and a prompt's continuation. Test: tests/train/test_sample.c. */
#ifndef STLORA_TRAIN_SAMPLE_H
#define STLORA_TRAIN_SAMPLE_H

#include <signal.h>

#include "model/decoder.h"
#include "train/session.h"

typedef struct stlora_sampling {
    double temperature; /* 0 = greedy: the first of the largest */
    double top_p;       /* smallest set of most probable tokens whose probabilities reach it; 1 = all */
    int64_t top_k;      /* 0 = all */
    uint64_t seed;
} stlora_sampling;

/* Scratch for one vocabulary. */
typedef struct stlora_sampler_scratch {
    int32_t *order;
    double *weight;
} stlora_sampler_scratch;

STLORA_NODISCARD stlora_status stlora_sampler_scratch_create(stlora_sampler_scratch *out, int64_t vocab,
                                                             stlora_error *err);
void stlora_sampler_scratch_free(stlora_sampler_scratch *scratch);

/* stlora_sample: the token after logits[vocab]; index names the random number (the position in the text). top-k first, then top-p, as
 * Transformers orders them; ties go to the smaller id. STLORA_E_NONFINITE: a logit is NaN or +infinity. */
STLORA_NODISCARD stlora_status stlora_sample(const float *logits, int64_t vocab, const stlora_sampling *sampling,
                                             uint64_t index, stlora_sampler_scratch *scratch, int32_t *out,
                                             stlora_error *err);

/* stlora_continue_shape: the decoder that a prompt (> 0) and up to max_new tokens behind it take, and *most, how many of these may be made.
 * A prompt behind which rotary frequencies change with the length decides on them for all that is made. STLORA_E_UNSUPPORTED: a prompt
 * beyond the model's positions. */
STLORA_NODISCARD stlora_status stlora_continue_shape(const stlora_session *session, int64_t prompt, int64_t max_new,
                                                     stlora_decoder_shape *shape, int64_t *most, stlora_error *err);

/* stlora_continue: feeds prompt[prompt_count] (> 0) to a decoder of one sequence, which may hold its first `held` tokens, fewer than all, and
 * samples up to max_new tokens; each is handed to on_token (NULL allowed), whose failure ends it. An end token ends it too and is not handed on,
 * unless ignore_eos. */
STLORA_NODISCARD stlora_status stlora_continue(const stlora_session *session, stlora_decoder *decoder,
                                               const int32_t *prompt, size_t prompt_count, size_t held, int64_t max_new,
                                               const stlora_sampling *sampling, bool ignore_eos,
                                               stlora_sampler_scratch *scratch, const volatile sig_atomic_t *stop,
                                               stlora_status (*on_token)(void *context, int32_t id, stlora_error *err),
                                               void *context, stlora_error *err);

#endif
