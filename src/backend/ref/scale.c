/* scale.c: a matrix times a number, with or without a soft cap; also the conversion of a matrix to another dtype (scale 1).
 *
 *   y[t,c] (+)= f(scale x[t,c]),   f(z) = z   or   cap tanh(z / cap)
 *
 * The gradient without a cap is the same op on dy; a cap's is taken where the capped values are used (attention.c, cross_entropy.c).
 */
#include "backend/ref/ref.h"

#include <math.h>

void stlora_ref_scale(const stlora_backend *backend, const stlora_scale_args *a)
{
    (void)backend;
    assert(a->x.rows >= a->tokens && a->y.rows >= a->tokens);
    assert(a->x.cols == a->width && a->y.cols == a->width);
    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t c = 0; c < a->width; c++) {
            double z = a->scale * stlora_ref_get(a->x, t, c);
            if (a->softcap > 0) z = a->softcap * tanh(z / a->softcap);
            stlora_ref_put(a->y, t, c, a->accumulate ? stlora_ref_held(a->y, t, c) + z : z);
        }
    }
}
