/* adamw.c: what one step does to one element, in this order, every operation on fp32 with a rounding of its own:
 *
 *   g' = g grad_scale                         clipping; left out when the factor is 1
 *   p  = p shrink                             Stable-LoRA: A only, while armed; the moments never see it
 *   p  = p decay                              decay = 1 - lr w, before the moments, never joined with shrink
 *   m  = m + (1-beta1) (g' - m)
 *   v  = beta2 v + (1-beta2) g' g'
 *   d  = sqrt(v) / sqrt(1-beta2^t) + eps      eps outside the root, after the bias correction
 *   p  = p - lr/(1-beta1^t) (m / d)
 *
 * Scalars are formed in double here and rounded to fp32 once, by the backend, whose ref/adamw.c defines the last bit.
 * Source: Loshchilov & Hutter, arXiv 1711.05101; order and eps as PyTorch's torch.optim.AdamW.
 */
#include "optim/adamw.h"

#include <math.h>

stlora_adamw_step stlora_adamw_step_at(const stlora_optimizer_config *config, double learning_rate, double weight_decay,
                                       int64_t t)
{
    const double bc1 = 1.0 - pow(config->beta1, (double)t);
    const double bc2 = 1.0 - pow(config->beta2, (double)t);
    return (stlora_adamw_step){.decay = 1.0 - learning_rate * weight_decay,
                               .step_size = learning_rate / bc1,
                               .sqrt_bc2 = sqrt(bc2)};
}

void stlora_adamw_update(stlora_adamw_batch *batch, const stlora_adamw_step *step, double shrink, double grad_scale,
                         const float *g, stlora_adamw_matrix *matrix)
{
    if (batch->count == STLORA_ADAMW_BATCH) stlora_adamw_flush(batch);
    batch->args[batch->count++] = (stlora_adamw_args){.count = matrix->count,
                                                      .p = matrix->p,
                                                      .m = matrix->m,
                                                      .v = matrix->v,
                                                      .g = g,
                                                      .grad_scale = grad_scale,
                                                      .shrink = shrink,
                                                      .decay = step->decay,
                                                      .beta1 = batch->config->beta1,
                                                      .beta2 = batch->config->beta2,
                                                      .eps = batch->config->eps,
                                                      .step_size = step->step_size,
                                                      .sqrt_bc2 = step->sqrt_bc2,
                                                      .sum_squares = &matrix->sum_squares};
}

void stlora_adamw_flush(stlora_adamw_batch *batch)
{
    batch->backend->adamw(batch->backend, batch->args, batch->count);
    batch->count = 0;
}
