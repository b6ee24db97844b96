/* norm.c: RMSNorm and LayerNorm over the width of every token, forward and backward; the weights are frozen.
 *
 *   RMS     mean = 0,               var = sum_c x[t,c]^2 / C
 *   LAYER   mean = sum_c x[t,c]/C,  var = sum_c (x[t,c] - mean)^2 / C
 *   rstd = 1 / sqrt(var + eps)      n[t,c] = (x[t,c] - mean) rstd        y[t,c] = n[t,c] w[c] + b[c]
 *
 * Backward, with g[c] = dy[t,c] w[c]; the two means are what moving one x does to rstd and to mean:
 *   dx[t,c] += rstd (g[c] - n[t,c] mean_k(g[k] n[t,k]) - (LAYER: mean_k g[k]))
 */
#include "backend/ref/ref.h"

#include <math.h>

void stlora_ref_norm(const stlora_backend *backend, const stlora_norm_args *a)
{
    (void)backend;
    assert(a->x.rows >= a->tokens && a->y.rows >= a->tokens);
    assert(a->x.cols == a->width && a->y.cols == a->width && a->width > 0);
    const double width = (double)a->width;
    for (int64_t t = 0; t < a->tokens; t++) {
        double mean = 0, var = 0;
        if (a->kind == STLORA_NORM_LAYER) {
            for (int64_t c = 0; c < a->width; c++)
                mean += stlora_ref_get(a->x, t, c);
            mean /= width;
        }
        for (int64_t c = 0; c < a->width; c++) {
            const double off = stlora_ref_get(a->x, t, c) - mean;
            var += off * off;
        }
        var /= width;
        const double rstd = 1 / sqrt(var + a->eps);

        for (int64_t c = 0; c < a->width; c++) {
            double y = (stlora_ref_get(a->x, t, c) - mean) * rstd * stlora_load(a->w, a->w_dtype, c);
            if (a->b) y += stlora_load(a->b, a->w_dtype, c);
            stlora_ref_put(a->y, t, c, y);
        }
        a->stats[2 * t] = (float)mean;
        a->stats[2 * t + 1] = (float)rstd;
    }
}

void stlora_ref_norm_grad(const stlora_backend *backend, const stlora_norm_grad_args *a)
{
    (void)backend;
    assert(a->x.rows >= a->tokens && a->dy.rows >= a->tokens && a->dx.rows >= a->tokens);
    assert(a->x.cols == a->width && a->dy.cols == a->width && a->dx.cols == a->width);
    const double width = (double)a->width;
    for (int64_t t = 0; t < a->tokens; t++) {
        const double mean = (double)a->stats[2 * t], rstd = (double)a->stats[2 * t + 1];
        double mean_g = 0, mean_gn = 0;
        for (int64_t c = 0; c < a->width; c++) {
            const double g = stlora_ref_get(a->dy, t, c) * stlora_load(a->w, a->w_dtype, c);
            mean_g += g;
            mean_gn += g * (stlora_ref_get(a->x, t, c) - mean) * rstd;
        }
        mean_g = a->kind == STLORA_NORM_LAYER ? mean_g / width : 0;
        mean_gn /= width;

        for (int64_t c = 0; c < a->width; c++) {
            const double g = stlora_ref_get(a->dy, t, c) * stlora_load(a->w, a->w_dtype, c);
            const double n = (stlora_ref_get(a->x, t, c) - mean) * rstd;
            const double dx = rstd * (g - n * mean_gn - mean_g);
            stlora_ref_put(a->dx, t, c, stlora_ref_held(a->dx, t, c) + dx);
        }
    }
}
