/* attention.c: causal attention within each segment, with shared kv heads (GQA), forward and backward.
 *
 * Query i of a segment (row q0 + i of q), head h, kv head h / (H/K), sees keys j = 0 ... k_count - q_count + i, of them the last
 * `window` where that is not 0:
 *   s[i,j] = f(scale sum_d q[i,hD+d] k[j,gD+d])       lse[i,h] = log sum_j exp s[i,j]
 *   p[i,j] = exp(s[i,j] - lse[i,h])                   o[i,hD+d] = sum_j p[i,j] v[j,gD+d]
 * Backward, with dp[i,j] = sum_d dout[i,hD+d] v[j,gD+d] and delta[i,h] = sum_d dout[i,hD+d] o[i,hD+d] = sum_j p[i,j] dp[i,j]:
 *   ds[i,j] = p[i,j] (dp[i,j] - delta[i,h]) f'        f(z) = z, f' = 1;  with a soft cap f(z) = cap tanh(z / cap), f' = 1 - (s[i,j] / cap)^2
 *   dq[i,hD+d] = scale sum_j ds[i,j] k[j,gD+d]
 *   dk[j,gD+d] = scale sum_h sum_i ds[i,j] q[i,hD+d]  dv[j,gD+d] = sum_h sum_i p[i,j] dout[i,hD+d]    (h of the group, i seeing j)
 *
 * No row of scores is kept: a score is computed again wherever it is needed. A head wider than BLOCK is summed in several passes
 * of BLOCK elements, so that the sums in double need no memory from anybody.
 */
#include "backend/ref/ref.h"

#include <math.h>

enum { BLOCK = 128 };

/* sum_d a[row, column + d] b[other, other_column + d] */
static double dot(stlora_cmat a, int64_t row, int64_t column, stlora_cmat b, int64_t other, int64_t other_column,
                  int64_t head_dim)
{
    double sum = 0;
    for (int64_t d = 0; d < head_dim; d++) {
        sum += stlora_ref_get(a, row, column + d) * stlora_ref_get(b, other, other_column + d);
    }
    return sum;
}

/* f of a scaled score */
static double capped(double z, double softcap)
{
    return softcap > 0 ? softcap * tanh(z / softcap) : z;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows of k that query row t of the segment sees, and rows of q that see key row u: [begin, end). */
static int64_t keys_end(const stlora_segment *seg, int64_t t)
{
    return seg->k0 + seg->k_count - seg->q_count + (t - seg->q0) + 1;
}

static int64_t keys_begin(const stlora_segment *seg, int64_t window, int64_t t)
{
    const int64_t end = keys_end(seg, t);
    return window > 0 && end - seg->k0 > window ? end - window : seg->k0;
}

static int64_t queries_begin(const stlora_segment *seg, int64_t u)
{
    const int64_t first = (u - seg->k0) - (seg->k_count - seg->q_count);
    return seg->q0 + (first > 0 ? first : 0);
}

static int64_t queries_end(const stlora_segment *seg, int64_t window, int64_t u)
{
    const int64_t all = seg->q0 + seg->q_count;
    if (window == 0) return all;
    const int64_t end = seg->q0 + (u - seg->k0) - (seg->k_count - seg->q_count) + window;
    return end < seg->q0 ? seg->q0 : smaller(end, all);
}

static void attend(const stlora_attention_args *a, const stlora_segment *seg, int64_t t, int64_t h)
{
    const int64_t dim = a->head_dim, q_col = h * dim, k_col = h / (a->heads / a->kv_heads) * dim;
    const int64_t begin = keys_begin(seg, a->window, t), end = keys_end(seg, t);
    double largest = -HUGE_VAL, sum = 0;
    for (int64_t u = begin; u < end; u++) {
        const double s = capped(a->scale * dot(a->q, t, q_col, a->k, u, k_col, dim), a->softcap);
        if (s > largest) largest = s; /* a NaN is passed by here and comes back in the sum */
    }
    for (int64_t u = begin; u < end; u++) {
        sum += exp(capped(a->scale * dot(a->q, t, q_col, a->k, u, k_col, dim), a->softcap) - largest);
    }
    const double lse = largest + log(sum);
    a->lse[t * a->heads + h] = (float)lse;

    for (int64_t d0 = 0; d0 < dim; d0 += BLOCK) {
        const int64_t width = smaller(dim - d0, BLOCK);
        double o[BLOCK] = {0};
        for (int64_t u = begin; u < end; u++) {
            const double p = exp(capped(a->scale * dot(a->q, t, q_col, a->k, u, k_col, dim), a->softcap) - lse);
            for (int64_t d = 0; d < width; d++)
                o[d] += p * stlora_ref_get(a->v, u, k_col + d0 + d);
        }
        for (int64_t d = 0; d < width; d++)
            stlora_ref_put(a->o, t, q_col + d0 + d, o[d]);
    }
}

void stlora_ref_attention(const stlora_backend *backend, const stlora_attention_args *a)
{
    (void)backend;
    assert(a->heads % a->kv_heads == 0);
    for (int64_t n = 0; n < a->segment_count; n++) {
        const stlora_segment *seg = &a->segments[n];
        assert(seg->k_count >= seg->q_count);
        for (int64_t t = seg->q0; t < seg->q0 + seg->q_count; t++) {
            for (int64_t h = 0; h < a->heads; h++)
                attend(a, seg, t, h);
        }
    }
}

/* p[t,u] and ds[t,u] of head h, from what the forward pass left. */
static void score_grad(const stlora_attention_grad_args *a, int64_t t, int64_t u, int64_t h, double *p, double *ds)
{
    const int64_t dim = a->head_dim, q_col = h * dim, k_col = h / (a->heads / a->kv_heads) * dim;
    const double s = capped(a->scale * dot(a->q, t, q_col, a->k, u, k_col, dim), a->softcap);
    const double bend = a->softcap > 0 ? 1 - (s / a->softcap) * (s / a->softcap) : 1;
    *p = exp(s - (double)a->lse[t * a->heads + h]);
    const double dp = dot(a->dout, t, q_col, a->v, u, k_col, dim);
    *ds = *p * (dp - (double)a->delta[t * a->heads + h]) * bend;
}

static void grad_of_query(const stlora_attention_grad_args *a, const stlora_segment *seg, int64_t t, int64_t h)
{
    const int64_t dim = a->head_dim, q_col = h * dim, k_col = h / (a->heads / a->kv_heads) * dim;
    a->delta[t * a->heads + h] = (float)dot(a->dout, t, q_col, a->o, t, q_col, dim);
    for (int64_t d0 = 0; d0 < dim; d0 += BLOCK) {
        const int64_t width = smaller(dim - d0, BLOCK);
        double dq[BLOCK] = {0};
        for (int64_t u = keys_begin(seg, a->window, t); u < keys_end(seg, t); u++) {
            double p, ds;
            score_grad(a, t, u, h, &p, &ds);
            for (int64_t d = 0; d < width; d++) {
                dq[d] += ds * stlora_ref_get(a->k, u, k_col + d0 + d);
            }
        }
        for (int64_t d = 0; d < width; d++) {
            stlora_ref_put(a->dq, t, q_col + d0 + d, a->scale * dq[d]);
        }
    }
}

static void grad_of_key(const stlora_attention_grad_args *a, const stlora_segment *seg, int64_t u, int64_t g)
{
    const int64_t dim = a->head_dim, k_col = g * dim, group = a->heads / a->kv_heads;
    for (int64_t d0 = 0; d0 < dim; d0 += BLOCK) {
        const int64_t width = smaller(dim - d0, BLOCK);
        double dk[BLOCK] = {0}, dv[BLOCK] = {0};
        for (int64_t h = g * group; h < (g + 1) * group; h++) {
            for (int64_t t = queries_begin(seg, u); t < queries_end(seg, a->window, u); t++) {
                double p, ds;
                score_grad(a, t, u, h, &p, &ds);
                for (int64_t d = 0; d < width; d++) {
                    dk[d] += ds * stlora_ref_get(a->q, t, h * dim + d0 + d);
                    dv[d] += p * stlora_ref_get(a->dout, t, h * dim + d0 + d);
                }
            }
        }
        for (int64_t d = 0; d < width; d++) {
            stlora_ref_put(a->dk, u, k_col + d0 + d, a->scale * dk[d]);
            stlora_ref_put(a->dv, u, k_col + d0 + d, dv[d]);
        }
    }
}

void stlora_ref_attention_grad(const stlora_backend *backend, const stlora_attention_grad_args *a)
{
    (void)backend;
    assert(a->heads % a->kv_heads == 0);
    for (int64_t n = 0; n < a->segment_count; n++) {
        const stlora_segment *seg = &a->segments[n];
        assert(seg->k_count >= seg->q_count);
        for (int64_t t = seg->q0; t < seg->q0 + seg->q_count; t++) { /* first: keys need delta */
            for (int64_t h = 0; h < a->heads; h++)
                grad_of_query(a, seg, t, h);
        }
        for (int64_t u = seg->k0; u < seg->k0 + seg->k_count; u++) {
            for (int64_t g = 0; g < a->kv_heads; g++)
                grad_of_key(a, seg, u, g);
        }
    }
}
