/* rope.c: rotary position embedding, in place, on the halves of the first R elements of every head; the others stay.
 *
 *   j < R/2, a = x[t, hD + j], b = x[t, hD + R/2 + j], angle of (positions[t], j):
 *   a' = a cos - b sin,   b' = b cos + a sin
 *
 * A rotation: its inverse, which is also the gradient of its input, is the same with -sin.
 */
#include "backend/ref/ref.h"

void stlora_ref_rope(const stlora_backend *backend, const stlora_rope_args *args)
{
    (void)backend;
    const int64_t rotary = args->rotary_dim ? args->rotary_dim : args->head_dim, half = rotary / 2;
    assert(rotary % 2 == 0 && rotary <= args->head_dim && args->x.rows >= args->tokens);
    assert(args->x.cols >= args->heads * args->head_dim);
    for (int64_t t = 0; t < args->tokens; t++) {
        assert(args->positions[t] >= 0);
        for (int64_t h = 0; h < args->heads; h++) {
            for (int64_t j = 0; j < half; j++) {
                const double cosine = (double)args->cos[args->positions[t] * half + j];
                const double forward = (double)args->sin[args->positions[t] * half + j];
                const double sine = args->inverse ? -forward : forward;
                const int64_t first = h * args->head_dim + j, second = first + half;
                const double a = stlora_ref_held(args->x, t, first);
                const double b = stlora_ref_held(args->x, t, second);
                stlora_ref_put(args->x, t, first, a * cosine - b * sine);
                stlora_ref_put(args->x, t, second, b * cosine + a * sine);
            }
        }
    }
}
