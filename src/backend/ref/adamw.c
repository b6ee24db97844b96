/* adamw.c: shrink, decay and AdamW in one pass over a matrix, and the fixed order of sums of squares.
 *
 * The one op that is not computed in double: masters and moments are float, and every rounding is part of the definition (the
 * scalars are formed in double and rounded to float where they are used). For each element, in this order:
 *
 *   g <- fl(g * grad_scale)                               left out when grad_scale == 1
 *   p <- fl(p * shrink)                                   left out when shrink == 1
 *   p <- fl(p * decay)                                    left out when decay == 1; a rounding of its own, never joined with shrink
 *   m <- fl(m + fl((1-beta1) * fl(g - m)))
 *   v <- fl(fl(beta2 * v) + fl(fl((1-beta2) * g) * g))
 *   d  = fl(fl(fl(sqrt(v)) / sqrt_bc2) + eps)             eps outside the root, after the bias correction
 *   p <- fl(p - fl(step_size * fl(m / d)))
 *
 * Sums of squares, here and in sum_squares, have one order, so that any implementation gives the same bits: the array is cut into
 * blocks of 65536 elements; within a block, element i goes to lane i mod 16; a lane adds its squares in ascending i from 0.0
 * (the square of a float is exact in double, so fused or not is the same); the block's sum is lane 0 + lane 1 + ... + lane 15 from
 * the left; the blocks' sums are added from 0.0 in ascending order.
 */
#include "backend/ref/ref.h"

#include <math.h>

enum { BLOCK = 65536, LANES = 16 };

static double block_sum_squares(const float *x, int64_t count)
{
    double lanes[LANES] = {0};
    for (int64_t i = 0; i < count; i++)
        lanes[i % LANES] += (double)x[i] * (double)x[i];
    double sum = lanes[0];
    for (int lane = 1; lane < LANES; lane++)
        sum += lanes[lane];
    return sum;
}

double stlora_ref_sum_squares(const stlora_backend *backend, const float *x, int64_t count)
{
    (void)backend;
    double sum = 0;
    for (int64_t at = 0; at < count; at += BLOCK) {
        sum += block_sum_squares(x + at, count - at < BLOCK ? count - at : BLOCK);
    }
    return sum;
}

static void step_matrix(const stlora_backend *backend, const stlora_adamw_args *a)
{
    const float grad_scale = (float)a->grad_scale, shrink = (float)a->shrink;
    const float decay = (float)a->decay, step_size = (float)a->step_size;
    const float mix1 = (float)(1 - a->beta1), beta2 = (float)a->beta2;
    const float mix2 = (float)(1 - a->beta2);
    const float sqrt_bc2 = (float)a->sqrt_bc2, eps = (float)a->eps;
    for (int64_t i = 0; i < a->count; i++) {
        float p = a->p[i], m = a->m[i], v = a->v[i], g = a->g[i];
        if (a->grad_scale != 1) g = g * grad_scale;
        if (a->shrink != 1) p = p * shrink;
        if (a->decay != 1) p = p * decay;
        m = m + mix1 * (g - m);
        v = beta2 * v + mix2 * g * g;
        const float d = sqrtf(v) / sqrt_bc2 + eps;
        p = p - step_size * (m / d);
        a->p[i] = p;
        a->m[i] = m;
        a->v[i] = v;
    }
    *a->sum_squares = stlora_ref_sum_squares(backend, a->p, a->count);
}

void stlora_ref_adamw(const stlora_backend *backend, const stlora_adamw_args *args, int matrices)
{
    for (int i = 0; i < matrices; i++)
        step_matrix(backend, &args[i]);
}
