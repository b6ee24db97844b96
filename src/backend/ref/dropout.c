/* dropout.c: inverted dropout whose mask is a pure function of (seed, stream, token key, element).
 *
 *   uniform(t, i) = stlora_rng_uniform(seed ^ (stream * 0x9E3779B97F4A7C15), STLORA_RNG_DROPOUT, token_keys[t], i)
 *   keep(t, i)    = uniform(t, i) >= p                                       y[t,i] (+)= keep(t,i) ? x[t,i] / (1-p) : 0
 *
 * The multiplier is odd, so two streams of a run never share a generator key; the token's key, all 64 bits, is the generator's
 * stream and i its index, so any keys will do and four neighbours in a row are one Philox block. As the numbers are
 * u * 2^-32, the test is the same as u >= ceil(p * 2^32) in integers. Which micro-batch a token is in plays no part.
 * The gradient is the same op on dy. p = 0 keeps everything. A dropped NaN is 0: nothing of it is left.
 */
#include "backend/ref/ref.h"
#include "base/rng.h"

void stlora_ref_dropout(const stlora_backend *backend, const stlora_dropout_args *a)
{
    (void)backend;
    assert(a->p >= 0 && a->p < 1);
    assert(a->x.rows >= a->tokens && a->y.rows >= a->tokens);
    assert(a->x.cols == a->width && a->y.cols == a->width);
    const uint64_t seed = a->seed ^ (a->stream * UINT64_C(0x9E3779B97F4A7C15));
    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t i = 0; i < a->width; i++) {
            const double uniform = stlora_rng_uniform(seed, STLORA_RNG_DROPOUT, a->token_keys[t], (uint64_t)i);
            const double value = uniform >= a->p ? stlora_ref_get(a->x, t, i) / (1 - a->p) : 0;
            const double held = a->accumulate ? stlora_ref_held(a->y, t, i) : 0;
            stlora_ref_put(a->y, t, i, held + value);
        }
    }
}
