/* norm.c: RMSNorm and LayerNorm over the width of every token, or of every group of it, forward and backward; the weights are frozen.
 *
 *   RMS     mean = 0,               var = sum_c x[t,c]^2 / C
 *   LAYER   mean = sum_c x[t,c]/C,  var = sum_c (x[t,c] - mean)^2 / C
 *   rstd = 1 / sqrt(var + eps)      n[t,c] = (x[t,c] - mean) rstd        y[t,c] (+)= n[t,c] w[c] + b[c]
 * RMS_ONE is RMS with 1 + w[c] for w[c].
 *
 * Backward, with g[c] = dy[t,c] w[c]; the two means are what moving one x does to rstd and to mean:
 *   dx[t,c] (+)= rstd (g[c] - n[t,c] mean_k(g[k] n[t,k]) - (LAYER: mean_k g[k]))
 */
#include "backend/ref/ref.h"

#include <math.h>

static double weight(stlora_norm_kind kind, const void *w, stlora_dtype dtype, int64_t c)
{
    return (kind == STLORA_NORM_RMS_ONE ? 1.0 : 0.0) + stlora_load(w, dtype, c);
}

/* Group `first` of width elements of token t. */
static void norm_group(const stlora_norm_args *a, int64_t t, int64_t first, float *stats)
{
    const double width = (double)a->width;
    double mean = 0, var = 0;
    if (a->kind == STLORA_NORM_LAYER) {
        for (int64_t c = 0; c < a->width; c++)
            mean += stlora_ref_get(a->x, t, first + c);
        mean /= width;
    }
    for (int64_t c = 0; c < a->width; c++) {
        const double off = stlora_ref_get(a->x, t, first + c) - mean;
        var += off * off;
    }
    var /= width;
    const double rstd = 1 / sqrt(var + a->eps);

    for (int64_t c = 0; c < a->width; c++) {
        double y = (stlora_ref_get(a->x, t, first + c) - mean) * rstd * weight(a->kind, a->w, a->w_dtype, c);
        if (a->b) y += stlora_load(a->b, a->w_dtype, c);
        if (a->accumulate) y += stlora_ref_held(a->y, t, first + c);
        stlora_ref_put(a->y, t, first + c, y);
    }
    stats[0] = (float)mean;
    stats[1] = (float)rstd;
}

void stlora_ref_norm(const stlora_backend *backend, const stlora_norm_args *a)
{
    (void)backend;
    const int64_t groups = a->groups ? a->groups : 1;
    assert(a->x.rows >= a->tokens && a->y.rows >= a->tokens);
    assert(a->x.cols == groups * a->width && a->y.cols == a->x.cols && a->width > 0);
    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t g = 0; g < groups; g++)
            norm_group(a, t, g * a->width, a->stats + 2 * (t * groups + g));
    }
}

static void norm_grad_group(const stlora_norm_grad_args *a, int64_t t, int64_t first, const float *stats)
{
    const double width = (double)a->width, mean = (double)stats[0], rstd = (double)stats[1];
    double mean_g = 0, mean_gn = 0;
    for (int64_t c = 0; c < a->width; c++) {
        const double g = stlora_ref_get(a->dy, t, first + c) * weight(a->kind, a->w, a->w_dtype, c);
        mean_g += g;
        mean_gn += g * (stlora_ref_get(a->x, t, first + c) - mean) * rstd;
    }
    mean_g = a->kind == STLORA_NORM_LAYER ? mean_g / width : 0;
    mean_gn /= width;

    for (int64_t c = 0; c < a->width; c++) {
        const double g = stlora_ref_get(a->dy, t, first + c) * weight(a->kind, a->w, a->w_dtype, c);
        const double n = (stlora_ref_get(a->x, t, first + c) - mean) * rstd;
        const double dx = rstd * (g - n * mean_gn - mean_g);
        stlora_ref_put(a->dx, t, first + c, a->overwrite ? dx : stlora_ref_held(a->dx, t, first + c) + dx);
    }
}

void stlora_ref_norm_grad(const stlora_backend *backend, const stlora_norm_grad_args *a)
{
    (void)backend;
    const int64_t groups = a->groups ? a->groups : 1;
    assert(a->x.rows >= a->tokens && a->dy.rows >= a->tokens && a->dx.rows >= a->tokens);
    assert(a->x.cols == groups * a->width && a->dy.cols == a->x.cols && a->dx.cols == a->x.cols);
    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t g = 0; g < groups; g++)
            norm_grad_group(a, t, g * a->width, a->stats + 2 * (t * groups + g));
    }
}
