/* lowrank_grad_template.h: the gradients of A and B, for the level whose simd_*.h came before.
 *
 * A task is a block of columns, of which the sums of GRAD_RANKS ranks and GRAD_VECTORS vectors are in registers at a time. Tokens run in
 * ascending order, a multiply-add each, whatever the task. Test: tests/backend/test_cpu_vs_ref.c, test_promises.c.
 */
#ifndef STLORA_BACKEND_CPU_LOWRANK_GRAD_TEMPLATE_H
#define STLORA_BACKEND_CPU_LOWRANK_GRAD_TEMPLATE_H

#include "backend/cpu/pack_template.h"
#include "backend/cpu/rows_template.h"

enum {
    GRAD_RANKS = 8,
    /* vectors of columns: their sums and operands fill the registers as a tile's do */
    GRAD_VECTORS = TILE_NV > 2 ? TILE_NV - 1 : 1,
    GRAD_COLUMNS = 8 * VL,
    GRAD_TOKENS = 512
};

typedef struct lowrank_grad_plan {
    const stlora_backend *table;
    const stlora_lowrank_grad_args *args;
    int64_t columns; /* of a task */
} lowrank_grad_plan;

/* weights[t, q] = scale h[t0 + t, q0 + q], zeros beyond the rank. */
static void lowrank_grad_weights(float *weights, const stlora_lowrank_grad_args *a, int64_t t0, int64_t tokens,
                                 int64_t q0)
{
    const int64_t h_stride = a->h_stride ? a->h_stride : a->rank, ranks = least(GRAD_RANKS, a->rank - q0);
    const vf scale = vf_set1((float)a->scale);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t q = 0; q < GRAD_RANKS; q += VL) {
            const int n = (int)least(GRAD_RANKS - q, VL), there = (int)least(n, ranks - q);
            const vf h = there > 0 ? vf_load_n(a->h + (t0 + t) * h_stride + q0 + q, there) : vf_zero();
            vf_store_n(weights + t * GRAD_RANKS + q, vf_mul(scale, h), n);
        }
}

/* What g holds of a tile, as acc (GRAD_RANKS, nv*VL); zeros beyond. */
static void lowrank_grad_read(float *acc, const stlora_lowrank_grad_args *a, const float *g, int64_t ranks,
                              int64_t cols)
{
    memset(acc, 0, (size_t)(GRAD_RANKS * vectors_of(cols) * VL) * sizeof *acc);
    if (a->g_width_stride == 1)
        pack_rows_as_rows(acc, g, STLORA_F32, a->g_rank_stride, ranks, cols);
    else
        pack_rows_as_columns(acc, g, STLORA_F32, a->g_width_stride, ranks, cols);
}

static void lowrank_grad_write(const float *acc, const stlora_lowrank_grad_args *a, float *g, int64_t ranks,
                               int64_t cols)
{
    const int64_t width = vectors_of(cols) * VL;
    if (a->g_width_stride == 1) {
        for (int64_t q = 0; q < ranks; q++)
            for (int64_t i = 0; i < cols; i += VL)
                put(g + q * a->g_rank_stride, STLORA_F32, i, vf_load(acc + q * width + i), cols - i);
        return;
    }
    for (int64_t i0 = 0; i0 < cols; i0 += VL)
        for (int64_t q = 0; q < ranks; q += VL) {
            vf r[VL];
            UNROLL for (int i = 0; i < VL; i++)
            {
                r[i] = q + i < GRAD_RANKS ? vf_load(acc + (q + i) * width + i0) : vf_zero();
            }
            vf_transpose(r);
            for (int i = 0; i < least(VL, cols - i0); i++)
                put(g + (i0 + i) * a->g_width_stride, STLORA_F32, q, r[i], ranks - q);
        }
}

/* acc (GRAD_RANKS, nv*VL) += weights (tokens, GRAD_RANKS)^T x (tokens, cols), one token after another: acc goes through memory between
 * calls, which changes nothing. */
ALWAYS_INLINE void lowrank_grad_tile(const int nv, float *acc, const float *weights, const void *x, stlora_dtype dtype,
                                     int64_t ldx, int64_t tokens, int64_t cols)
{
    vf g[GRAD_RANKS][GRAD_VECTORS];
    const int64_t last = cols - (nv - 1) * VL;
    UNROLL for (int q = 0; q < GRAD_RANKS; q++)
    {
        UNROLL for (int j = 0; j < nv; j++) g[q][j] = vf_load(acc + (q * nv + j) * VL);
    }
    for (int64_t t = 0; t < tokens; t++, weights += GRAD_RANKS) {
        vf v[GRAD_VECTORS];
        UNROLL for (int j = 0; j < nv; j++) v[j] = get(x, dtype, t * ldx + j * VL, j < nv - 1 ? VL : last);
        UNROLL for (int q = 0; q < GRAD_RANKS; q++)
        {
            const vf w = vf_set1(weights[q]);
            UNROLL for (int j = 0; j < nv; j++) g[q][j] = vf_fma(w, v[j], g[q][j]);
        }
    }
    UNROLL for (int q = 0; q < GRAD_RANKS; q++)
    {
        UNROLL for (int j = 0; j < nv; j++) vf_store(acc + (q * nv + j) * VL, g[q][j]);
    }
}

static void lowrank_grad_work(const void *context, int64_t task, int thread)
{
    const lowrank_grad_plan *p = context;
    const stlora_lowrank_grad_args *a = p->args;
    const int64_t begin = task * p->columns, end = least(a->width, begin + p->columns);
    float *weights = stlora_cpu_block(p->table, thread); /* (GRAD_TOKENS, GRAD_RANKS) */
    for (int64_t q0 = 0; q0 < a->rank; q0 += GRAD_RANKS) {
        const int64_t ranks = least(GRAD_RANKS, a->rank - q0);
        for (int64_t t0 = 0; t0 < a->tokens; t0 += GRAD_TOKENS) {
            const int64_t tokens = least(GRAD_TOKENS, a->tokens - t0);
            lowrank_grad_weights(weights, a, t0, tokens, q0);
            for (int64_t i = begin; i < end;) {
                float acc[GRAD_RANKS * GRAD_VECTORS * VL];
                const int left = vectors_of(end - i); /* one more than a tile has is two halves */
                const int nv = left == GRAD_VECTORS + 1 ? (left + 1) / 2 : (int)least(left, GRAD_VECTORS);
                const int64_t cols = least(nv * VL, end - i);
                const void *x = at_element(a->x.data, a->x.dtype, t0 * a->x.ld + i);
                float *g = a->g + q0 * a->g_rank_stride + i * a->g_width_stride;
                lowrank_grad_read(acc, a, g, ranks, cols);
                if (GRAD_VECTORS > 2 && nv == 3)
                    lowrank_grad_tile(3, acc, weights, x, a->x.dtype, a->x.ld, tokens, cols);
                else if (GRAD_VECTORS > 1 && nv == 2)
                    lowrank_grad_tile(2, acc, weights, x, a->x.dtype, a->x.ld, tokens, cols);
                else
                    lowrank_grad_tile(1, acc, weights, x, a->x.dtype, a->x.ld, tokens, cols);
                lowrank_grad_write(acc, a, g, ranks, cols);
                i += cols;
            }
        }
    }
}

static void cpu_lowrank_grad(const stlora_backend *table, const stlora_lowrank_grad_args *a)
{
    assert(is_act(a->x.dtype) && a->x.rows >= a->tokens && a->x.cols == a->width);
    assert(a->g_width_stride == 1 || a->g_rank_stride == 1);
    /* equal shares: rounds of a task for each thread */
    const int64_t vectors = (a->width + VL - 1) / VL, round = table->threads * (GRAD_COLUMNS / VL);
    const int64_t tasks = (vectors + round - 1) / round * table->threads;
    lowrank_grad_plan p = {table, a, tasks > 0 ? (vectors + tasks - 1) / tasks * VL : VL};
    stlora_team_run(table->team, (a->width + p.columns - 1) / p.columns,
                    (double)a->width * (double)a->rank * (0.05 * (double)a->tokens + 1), lowrank_grad_work, &p);
}

#endif
