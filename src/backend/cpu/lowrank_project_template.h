/* lowrank_project_template.h: h = x u^T, for the level whose simd_*.h came before.
 *
 * A rank of at most half a vector would leave half of every multiply-add empty. So two numbers of the width share a vector: the even ones are
 * a chain and the odd ones another. Both begin at zero with each SLIM_WIDTH numbers, and their sum is added to what those before have left in h.
 * A larger rank goes the way of products.
 * Test: tests/backend/test_cpu_vs_ref.c, test_promises.c.
 */
#ifndef STLORA_BACKEND_CPU_LOWRANK_PROJECT_TEMPLATE_H
#define STLORA_BACKEND_CPU_LOWRANK_PROJECT_TEMPLATE_H

#include "backend/cpu/product_template.h"

enum {
    SLIM_WIDTH = 512, /* part of the definition of the bits; even */
    SLIM_RANK = VL / 2,
    SLIM_ROWS = 8 /* as many chains as two multiply-adds of four cycles need */
};

typedef struct slim_scratch {
    float panel[SLIM_WIDTH / 2 * VL];
    float x[SLIM_ROWS * SLIM_WIDTH]; /* rows of x, widened */
} slim_scratch;
_Static_assert(sizeof(slim_scratch) <= STLORA_CPU_BLOCK_BYTES, "the scratch of a thread is too small");

typedef struct slim_plan {
    const stlora_backend *table;
    const stlora_lowrank_project_args *args;
    int64_t tokens; /* of a task */
} slim_plan;

/* panel[k / 2, 2 q + k % 2] = u(q, k0 + k), zeros beyond the rank and beyond an odd n, where u lies along the width: rows of u go in twice, a
 * number apart, and of what the transposition makes of them every second vector is wanted. */
static void slim_pack_rows(float *panel, const stlora_lowrank_project_args *a, int64_t k0, int64_t n)
{
    for (int64_t k = 0; k < n; k += VL) {
        vf r[VL];
        UNROLL for (int i = 0; i < VL; i++)
        {
            const float *u = a->u + i / 2 * a->u_rank_stride + k0 + k;
            const int64_t left = i / 2 < a->rank ? n - k - i % 2 : 0;
            r[i] = left >= VL ? vf_load(u + i % 2) : left > 0 ? vf_load_n(u + i % 2, (int)left) : vf_zero();
        }
        vf_transpose(r);
        UNROLL for (int i = 0; i < VL; i += 2)
        {
            if (k + i < n) vf_store(panel + (k + i) / 2 * VL, r[i]);
        }
    }
}

/* The same where u lies along the rank. Lanes that are to be zero take the last one of a vector that is not full. */
static void slim_pack_columns(float *panel, const stlora_lowrank_project_args *a, int64_t k0, int64_t n)
{
    const int rank = (int)a->rank;
    int32_t at[VL];
    for (int i = 0; i < VL; i++)
        at[i] = i < 2 * rank ? i / 2 + i % 2 * rank : VL - 1;
    for (int64_t k = 0; k < n; k += 2) {
        const float *u = a->u + (k0 + k) * a->u_width_stride;
        vf_store(panel + k / 2 * VL, vf_pick(vf_load_n(u, (int)(least(2, n - k) * rank)), at));
    }
}

/* Some rows of h from n numbers of rows of x. */
ALWAYS_INLINE void slim_rows(const int rows, const float *x, int64_t ldx, const float *panel, int64_t n, float *h,
                             int64_t rank, bool first)
{
    vf acc[SLIM_ROWS];
    UNROLL for (int i = 0; i < rows; i++) acc[i] = vf_zero();
    for (int64_t k = 0; k + 2 <= n; k += 2, panel += VL) {
        const vf u = vf_load(panel);
        UNROLL for (int i = 0; i < rows; i++) acc[i] = vf_fma(vf_pair(x + i * ldx + k), u, acc[i]);
    }
    if (n % 2) {
        const vf u = vf_load(panel);
        UNROLL for (int i = 0; i < rows; i++)
        {
            const float pair[2] = {x[i * ldx + n - 1], 0.0f};
            acc[i] = vf_fma(vf_pair(pair), u, acc[i]);
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
    {
        const vf sum = vf_add_pairs(acc[i], acc[i]);
        float *to = h + i * rank;
        vf_store_n(to, first ? sum : vf_add(vf_load_n(to, (int)rank), sum), (int)rank);
    }
}

static void slim_work(const void *context, int64_t task, int thread)
{
    const slim_plan *p = context;
    const stlora_lowrank_project_args *a = p->args;
    slim_scratch *s = stlora_cpu_block(p->table, thread);
    const int64_t begin = task * p->tokens, end = least(a->tokens, begin + p->tokens);
    for (int64_t k0 = 0; k0 < a->width; k0 += SLIM_WIDTH) {
        const int64_t n = least(SLIM_WIDTH, a->width - k0);
        if (a->u_width_stride == 1)
            slim_pack_rows(s->panel, a, k0, n);
        else
            slim_pack_columns(s->panel, a, k0, n);
        for (int64_t t = begin; t < end;) {
            const int64_t left = end - t, rows = left >= SLIM_ROWS ? SLIM_ROWS : left >= 4 ? 4 : 1;
            const float *x = at_element(a->x.data, a->x.dtype, t * a->x.ld + k0);
            int64_t ldx = a->x.ld;
            float *h = a->h + t * a->rank;
            if (a->x.dtype != STLORA_F32) {
                widen_rows(s->x, SLIM_WIDTH, x, a->x.dtype, ldx, rows, n);
                x = s->x;
                ldx = SLIM_WIDTH;
            }
            if (rows == SLIM_ROWS)
                slim_rows(SLIM_ROWS, x, ldx, s->panel, n, h, a->rank, k0 == 0);
            else if (rows == 4)
                slim_rows(4, x, ldx, s->panel, n, h, a->rank, k0 == 0);
            else
                slim_rows(1, x, ldx, s->panel, n, h, a->rank, k0 == 0);
            t += rows;
        }
    }
}

/* Of a larger rank it is a product whose weights are the adapter's: the same chains, so the same promises. */
static void cpu_lowrank_project(const stlora_backend *table, const stlora_lowrank_project_args *a)
{
    if (a->tokens == 0 || a->rank == 0) return;
    assert(a->u_width_stride == 1 || (a->u_rank_stride == 1 && a->u_width_stride == a->rank));
    if (a->rank <= SLIM_RANK && a->width > 0) {
        slim_plan plan = {table, a, (a->tokens + table->threads - 1) / table->threads};
        plan.tokens = (plan.tokens + SLIM_ROWS - 1) / SLIM_ROWS * SLIM_ROWS;
        assert(is_act(a->x.dtype) && a->x.rows >= a->tokens && a->x.cols == a->width && a->x.ld >= a->width);
        stlora_team_run(table->team, (a->tokens + plan.tokens - 1) / plan.tokens,
                        (double)(a->width * a->rank) * (1 + 0.02 * (double)a->tokens), slim_work, &plan);
        return;
    }
    stlora_product_args p = {.tokens = a->tokens,
                             .in = a->width,
                             .out = a->rank,
                             .x = a->x,
                             .w = a->u,
                             .w_dtype = STLORA_F32,
                             .y = {a->h, STLORA_F32, a->tokens, a->rank, a->rank}};
    if (a->u_width_stride == 1) {
        p.w_layout = STLORA_OUT_IN;
        p.ldw = a->u_rank_stride;
    } else {
        p.w_layout = STLORA_IN_OUT;
        p.ldw = a->u_width_stride;
    }
    cpu_product(table, &p, 1);
}

#endif
