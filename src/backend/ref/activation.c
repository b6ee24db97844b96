/* activation.c: the inner functions of feed-forward blocks.
 *
 *   SILU       f(a) = a s,            s = 1 / (1 + exp(-a))                                f'(a) = s (1 + a (1 - s))
 *   GELU_TANH  f(a) = a/2 (1 + z),    z = tanh(k (a + c a^3)), k = sqrt(2/pi), c = 0.044715  f'(a) = (1 + z)/2 + a/2 (1 - z^2) k (1 + 3 c a^2)
 *
 *   with a gate, x = [gate | up] (T, 2F):  y = f(gate) up,   d gate = dy up f'(gate),   d up = dy f(gate)
 *   without, x (T, F):                     y = f(x),         dx = dy f'(x)
 *
 * dx may be x's own memory, and y dy's: everything an element needs is read before it is written.
 */
#include "backend/ref/ref.h"

#include <math.h>

static const double gelu_k = 0.79788456080286535588; /* sqrt(2 / pi) */
static const double gelu_c = 0.044715;

static double value(stlora_activation_kind kind, double a)
{
    if (kind == STLORA_ACT_SILU_GLU) return a / (1 + exp(-a));
    return 0.5 * a * (1 + tanh(gelu_k * (a + gelu_c * a * a * a)));
}

static double slope(stlora_activation_kind kind, double a)
{
    if (kind == STLORA_ACT_SILU_GLU) {
        const double s = 1 / (1 + exp(-a));
        return s * (1 + a * (1 - s));
    }
    const double z = tanh(gelu_k * (a + gelu_c * a * a * a));
    return 0.5 * (1 + z) + 0.5 * a * ((1 - z * z) * gelu_k * (1 + 3 * gelu_c * a * a));
}

void stlora_ref_activation(const stlora_backend *backend, const stlora_activation_args *a)
{
    (void)backend;
    const bool gated = stlora_gated(a->kind);
    assert(a->x.rows >= a->tokens && a->y.rows >= a->tokens);
    assert(a->x.cols == (gated ? 2 : 1) * a->width && a->y.cols == a->width);
    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t f = 0; f < a->width; f++) {
            double y = value(a->kind, stlora_ref_get(a->x, t, f));
            if (gated) y *= stlora_ref_get(a->x, t, a->width + f);
            stlora_ref_put(a->y, t, f, y);
        }
    }
}

void stlora_ref_activation_grad(const stlora_backend *backend, const stlora_activation_grad_args *a)
{
    (void)backend;
    const bool gated = stlora_gated(a->kind);
    assert(a->x.rows >= a->tokens && a->dy.rows >= a->tokens && a->dx.rows >= a->tokens);
    assert(a->x.cols == (gated ? 2 : 1) * a->width && a->dx.cols == a->x.cols);
    assert(a->dy.cols == a->width && (!a->y.data || a->y.cols == a->width));
    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t f = 0; f < a->width; f++) {
            const double x = stlora_ref_get(a->x, t, f), dy = stlora_ref_get(a->dy, t, f);
            const double up = gated ? stlora_ref_get(a->x, t, a->width + f) : 1;
            stlora_ref_put(a->dx, t, f, dy * up * slope(a->kind, x));
            if (gated) stlora_ref_put(a->dx, t, a->width + f, dy * value(a->kind, x));
            if (a->y.data) stlora_ref_put(a->y, t, f, value(a->kind, x) * up);
        }
    }
}
