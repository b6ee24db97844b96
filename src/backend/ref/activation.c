/* activation.c: the two inner functions of feed-forward blocks.
 *
 *   SILU_GLU   x = [gate | up] (T, 2F):   y[t,f] = silu(gate) up,     silu(a) = a s,   s = 1 / (1 + exp(-a))
 *              d gate = dy up s (1 + a (1 - s)),                      d up = dy silu(a)
 *   GELU_TANH  x (T, F):   y = x/2 (1 + z),   z = tanh(k (x + c x^3)),   k = sqrt(2/pi),   c = 0.044715
 *              dx = dy ((1 + z)/2 + x/2 (1 - z^2) k (1 + 3 c x^2))
 *
 * dx may be x's own memory: everything an element needs is read before it is written.
 */
#include "backend/ref/ref.h"

#include <math.h>

static const double gelu_k = 0.79788456080286535588; /* sqrt(2 / pi) */
static const double gelu_c = 0.044715;

void stlora_ref_activation(const stlora_backend *backend, const stlora_activation_args *a)
{
    (void)backend;
    const bool glu = a->kind == STLORA_ACT_SILU_GLU;
    assert(a->x.rows >= a->tokens && a->y.rows >= a->tokens);
    assert(a->x.cols == (glu ? 2 : 1) * a->width && a->y.cols == a->width);
    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t f = 0; f < a->width; f++) {
            const double x = stlora_ref_get(a->x, t, f);
            double y;
            if (glu) {
                y = x / (1 + exp(-x)) * stlora_ref_get(a->x, t, a->width + f);
            } else {
                y = 0.5 * x * (1 + tanh(gelu_k * (x + gelu_c * x * x * x)));
            }
            stlora_ref_put(a->y, t, f, y);
        }
    }
}

void stlora_ref_activation_grad(const stlora_backend *backend, const stlora_activation_grad_args *a)
{
    (void)backend;
    const bool glu = a->kind == STLORA_ACT_SILU_GLU;
    assert(a->x.rows >= a->tokens && a->dy.rows >= a->tokens && a->dx.rows >= a->tokens);
    assert(a->x.cols == (glu ? 2 : 1) * a->width && a->dx.cols == a->x.cols);
    assert(a->dy.cols == a->width);
    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t f = 0; f < a->width; f++) {
            const double x = stlora_ref_get(a->x, t, f), dy = stlora_ref_get(a->dy, t, f);
            if (glu) {
                const double up = stlora_ref_get(a->x, t, a->width + f);
                const double s = 1 / (1 + exp(-x));
                stlora_ref_put(a->dx, t, f, dy * up * s * (1 + x * (1 - s)));
                stlora_ref_put(a->dx, t, a->width + f, dy * x * s);
            } else {
                const double z = tanh(gelu_k * (x + gelu_c * x * x * x));
                const double dz = (1 - z * z) * gelu_k * (1 + 3 * gelu_c * x * x);
                stlora_ref_put(a->dx, t, f, dy * (0.5 * (1 + z) + 0.5 * x * dz));
            }
        }
    }
}
