/* product.c: a frozen linear map and the adapter beside it.
 *
 * Forward, w = W [m, n] OUT_IN, h = x A^T, u = B:           y[t,o] = sum_i x[t,i] W[o,i] + b[o] + s sum_q h[t,q] B[o,q]
 * Backward, the same op with x = dy, w = W IN_OUT, h = dy B, u = A, in and out swapped:
 *                                                          dx[t,i] = sum_o dy[t,o] W[o,i] + s sum_q h[t,q] A[q,i]
 * There is no gradient of W: it is frozen. Those of A and B are lowrank_grad's.
 */
#include "backend/ref/ref.h"

static void product_of(const stlora_product_args *a)
{
    assert(a->x.rows >= a->tokens && a->y.rows >= a->tokens);
    assert(a->x.cols == a->in && a->y.cols == a->out && a->x.ld >= a->in && a->y.ld >= a->out);
    assert(a->rank == 0 || (a->h && a->u));
    const int64_t out_stride = a->w_layout == STLORA_OUT_IN ? a->ldw : 1;
    const int64_t in_stride = a->w_layout == STLORA_OUT_IN ? 1 : a->ldw;

    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t o = 0; o < a->out; o++) {
            double frozen = 0, lowrank = 0;
            for (int64_t i = 0; a->w && i < a->in; i++) {
                frozen += stlora_ref_get(a->x, t, i) * stlora_load(a->w, a->w_dtype, o * out_stride + i * in_stride);
            }
            for (int64_t q = 0; q < a->rank; q++) {
                lowrank += (double)a->h[t * a->rank + q] * (double)a->u[q * a->u_rank_stride + o * a->u_out_stride];
            }
            double y = a->accumulate ? stlora_ref_held(a->y, t, o) : 0;
            y += frozen;
            if (a->bias) y += stlora_load(a->bias, a->bias_dtype, o);
            if (a->rank) y += a->scale * lowrank; /* no adapter: no 0 * scale that could be NaN */
            stlora_ref_put(a->y, t, o, y);
        }
    }
}

void stlora_ref_product(const stlora_backend *backend, const stlora_product_args *maps, int count)
{
    (void)backend;
    for (int i = 0; i < count; i++)
        product_of(&maps[i]);
}
