/* sample.c: see sample.h. */
#include "train/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"

stlora_status stlora_sampler_scratch_create(stlora_sampler_scratch *out, int64_t vocab, stlora_error *err)
{
    stlora_sampler_scratch scratch = {0};
    STLORA_TRY(stlora_alloc(&scratch.order, (size_t)vocab, sizeof *scratch.order, "sampling", err));
    stlora_status status = stlora_alloc(&scratch.weight, (size_t)vocab, sizeof *scratch.weight, "sampling", err);
    if (status != STLORA_OK) {
        stlora_free(scratch.order);
        return status;
    }
    *out = scratch;
    return STLORA_OK;
}

void stlora_sampler_scratch_free(stlora_sampler_scratch *scratch)
{
    stlora_free(scratch->order);
    stlora_free(scratch->weight);
    *scratch = (stlora_sampler_scratch){0};
}

static void swap(int32_t *a, int32_t *b)
{
    int32_t held = *a;
    *a = *b;
    *b = held;
}

/* Is token a in front of token b: larger logit, or the same and the smaller id? */
static bool before(const float *logits, int32_t a, int32_t b)
{
    return logits[a] > logits[b] || (!(logits[a] < logits[b]) && a < b);
}

/* Heap of the tokens, the first in front on top. */
static void sift(int32_t *heap, int64_t count, int64_t i, const float *logits)
{
    while (true) {
        int64_t child = 2 * i + 1;
        if (child >= count) return;
        if (child + 1 < count && before(logits, heap[child + 1], heap[child])) child++;
        if (!before(logits, heap[child], heap[i])) return;
        swap(&heap[child], &heap[i]);
        i = child;
    }
}

/* Draws from all tokens, in the order of their ids. */
static int32_t draw_from_all(const float *logits, int64_t vocab, const stlora_sampling *s, uint64_t index,
                             stlora_sampler_scratch *scratch)
{
    double top = (double)logits[0], total = 0;
    for (int64_t v = 1; v < vocab; v++)
        top = fmax(top, (double)logits[v]);
    for (int64_t v = 0; v < vocab; v++)
        total += scratch->weight[v] = exp(((double)logits[v] - top) / s->temperature);
    double u = stlora_rng_uniform(s->seed, STLORA_RNG_SAMPLE, 0, index) * total;
    int64_t chosen = 0;
    while (chosen + 1 < vocab && u >= scratch->weight[chosen])
        u -= scratch->weight[chosen++];
    return (int32_t)chosen;
}

/* Draws from the most probable tokens: they leave the heap one by one until top_k or top_p is reached, so that a full sort is
 * never made. Probabilities are those among the top_k tokens. */
static int32_t draw(const float *logits, int64_t vocab, const stlora_sampling *s, uint64_t index,
                    stlora_sampler_scratch *scratch)
{
    int32_t *heap = scratch->order;
    int64_t limit = s->top_k > 0 && s->top_k < vocab ? s->top_k : vocab, taken = 0, left = vocab;
    for (int64_t v = 0; v < vocab; v++)
        heap[v] = (int32_t)v;
    for (int64_t i = vocab / 2; i-- > 0;)
        sift(heap, vocab, i, logits);
    double top = (double)logits[heap[0]], total = 0, reached = 0;
    if (limit == vocab)
        for (int64_t v = 0; v < vocab; v++)
            total += exp(((double)logits[v] - top) / s->temperature);
    /* The taken ones gather at the end of the array, the last of them at heap[left]. */
    while (taken < limit) {
        int32_t token = heap[0];
        swap(&heap[0], &heap[--left]);
        sift(heap, left, 0, logits);
        scratch->weight[taken] = exp(((double)logits[token] - top) / s->temperature);
        reached += scratch->weight[taken++];
        if (limit == vocab && s->top_p < 1 && reached >= s->top_p * total) break;
    }
    if (limit < vocab && s->top_p < 1) { /* top_p among the top_k */
        double wanted = s->top_p * reached;
        reached = 0;
        int64_t kept = 0;
        while (kept < taken && (kept == 0 || reached < wanted))
            reached += scratch->weight[kept++];
        taken = kept;
    }
    double u = stlora_rng_uniform(s->seed, STLORA_RNG_SAMPLE, 0, index) * reached;
    int64_t chosen = 0;
    while (chosen + 1 < taken && u >= scratch->weight[chosen])
        u -= scratch->weight[chosen++];
    return heap[vocab - 1 - chosen];
}

stlora_status stlora_sample(const float *logits, int64_t vocab, const stlora_sampling *sampling, uint64_t index,
                            stlora_sampler_scratch *scratch, int32_t *out, stlora_error *err)
{
    int64_t best = 0;
    for (int64_t v = 0; v < vocab; v++) {
        if (isnan(logits[v]) || (isinf(logits[v]) && logits[v] > 0))
            return stlora_fail(err, STLORA_E_NONFINITE, "the logit of token %lld is not finite", (long long)v);
        if (logits[v] > logits[best]) best = v;
    }
    bool all = sampling->top_p >= 1 && (sampling->top_k <= 0 || sampling->top_k >= vocab);
    if (sampling->temperature > 0)
        best = all ? draw_from_all(logits, vocab, sampling, index, scratch)
                   : draw(logits, vocab, sampling, index, scratch);
    *out = (int32_t)best;
    return STLORA_OK;
}

stlora_status stlora_continue_shape(const stlora_session *session, int64_t prompt, int64_t max_new,
                                    stlora_decoder_shape *shape, int64_t *most, stlora_error *err)
{
    const stlora_transformer *model = session->model;
    const int64_t usual = stlora_decoder_most(model);
    const bool longer = !model->family->learned_positions && prompt > usual;
    int64_t room = prompt + max_new;
    if (room > usual && !longer) room = usual;
    if (prompt > room)
        return stlora_fail(err, STLORA_E_UNSUPPORTED,
                           "a prompt of %lld tokens is longer than the model's %lld positions", (long long)prompt,
                           (long long)room);
    *shape = stlora_decoder_single(room);
    if (longer) shape->row = prompt;
    *most = room - prompt + 1; /* the last token sampled need not be fed */
    if (*most > max_new) *most = max_new;
    return STLORA_OK;
}

static stlora_status stopped(const volatile sig_atomic_t *stop, stlora_error *err)
{
    return stop && *stop ? stlora_fail(err, STLORA_E_INTERRUPTED, "stopped by request") : STLORA_OK;
}

/* The prompt in stretches, so that a long one can be stopped, too. */
static stlora_status feed_prompt(stlora_decoder *decoder, const int32_t *ids, int64_t count, const float **logits,
                                 const volatile sig_atomic_t *stop, stlora_error *err)
{
    enum { STRETCH = 1024 };
    for (int64_t from = 0; from < count; from += STRETCH) {
        if (from > 0) STLORA_TRY(stopped(stop, err));
        STLORA_TRY(
            stlora_decoder_feed(decoder, ids + from, count - from < STRETCH ? count - from : STRETCH, logits, err));
    }
    return STLORA_OK;
}

stlora_status stlora_continue(const stlora_session *session, stlora_decoder *decoder, const int32_t *prompt,
                              size_t prompt_count, size_t held, int64_t max_new, const stlora_sampling *sampling,
                              bool ignore_eos, stlora_sampler_scratch *scratch, const volatile sig_atomic_t *stop,
                              stlora_status (*on_token)(void *context, int32_t id, stlora_error *err), void *context,
                              stlora_error *err)
{
    const float *logits;
    int64_t vocab = session->model->config.vocab_size;
    stlora_decoder_rewind(decoder, (int64_t)held);
    STLORA_TRY(feed_prompt(decoder, prompt + held, (int64_t)(prompt_count - held), &logits, stop, err));
    for (int64_t i = 0; i < max_new; i++) {
        int32_t id;
        STLORA_TRY(stlora_sample(logits, vocab, sampling, (uint64_t)i, scratch, &id, err));
        if (!ignore_eos && stlora_session_is_end(session, id)) return STLORA_OK;
        if (on_token) STLORA_TRY(on_token(context, id, err));
        STLORA_TRY(stopped(stop, err));
        if (i + 1 < max_new) STLORA_TRY(stlora_decoder_feed(decoder, &id, 1, &logits, err));
    }
    return STLORA_OK;
}
