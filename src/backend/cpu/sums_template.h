/* sums_template.h: cross entropy, and what adds up over a whole matrix: AdamW's pass, sums of squares. For the level whose simd_*.h came
 * before. Test: tests/backend/test_cpu_vs_ref.c, test_adamw.c. */
#ifndef STLORA_BACKEND_CPU_SUMS_TEMPLATE_H
#define STLORA_BACKEND_CPU_SUMS_TEMPLATE_H

#include "backend/cpu/rows_template.h"

/* ---- cross entropy: rows in parallel, the loss by one thread in ascending order ---- */

typedef struct cross_entropy_run {
    const stlora_cross_entropy_args *args;
    int64_t row0;
    double *logprobs; /* (rows of the run) */
} cross_entropy_run;

/* Lanes hold every VL-th logit's share; padded lanes hold -inf, whose share is 0. */
static void cross_entropy_row(const void *context, int64_t row)
{
    const cross_entropy_run *run = context;
    const stlora_cross_entropy_args *a = run->args;
    const int64_t i = run->row0 + row, target = a->targets[i], whole = a->vocab / VL * VL;
    const float *x = (const float *)a->logits.data + i * a->logits.ld;
    assert(target >= 0 && target < a->vocab);
    float end[VL];
    for (int j = 0; j < VL; j++)
        end[j] = whole + j < a->vocab ? x[whole + j] : -INFINITY;
    vf largest = vf_load(end);
    for (int64_t v = 0; v < whole; v += VL)
        largest = vf_max(vf_load(x + v), largest);
    float most = -INFINITY; /* passes NaN by: it comes back in the sum */
    {
        float lanes[VL];
        vf_store(lanes, largest);
        for (int j = 0; j < VL; j++)
            if (lanes[j] > most) most = lanes[j];
    }
    vf sum[2] = {vf_exp(vf_sub(vf_load(end), vf_set1(most))), vf_zero()};
    int64_t v = 0;
    for (; v + 2 * VL <= whole; v += 2 * VL) {
        sum[0] = vf_add(sum[0], vf_exp(vf_sub(vf_load(x + v), vf_set1(most))));
        sum[1] = vf_add(sum[1], vf_exp(vf_sub(vf_load(x + v + VL), vf_set1(most))));
    }
    if (v < whole) sum[0] = vf_add(sum[0], vf_exp(vf_sub(vf_load(x + v), vf_set1(most))));
    const double log_sum = log((double)vf_sum(vf_add(sum[0], sum[1])));
    const double logprob = (double)x[target] - (double)most - log_sum;
    run->logprobs[row] = logprob;
    if (a->logprob) a->logprob[i] = (float)logprob;
    if (!a->dlogits.data) return;

    /* exp(x - most) / sum, then the target's own element; x[target] is read before dlogits, maybe x itself, is written */
    const vf factor = vf_set1((float)(a->scale * exp(-log_sum)));
    const bool capped = a->softcap > 0;
    const double bent = capped ? 1 - ((double)x[target] / a->softcap) * ((double)x[target] / a->softcap) : 1;
    const float at_target = (float)(a->scale * expm1(logprob) * bent);
    const vf part = vf_set1(capped ? (float)(1 / a->softcap) : 0.0f), one = vf_set1(1.0f);
    const int64_t d0 = i * a->dlogits.ld;
    for (v = 0; v < a->vocab; v += VL) {
        const int64_t n = a->vocab - v;
        const vf logit = get(x, STLORA_F32, v, n);
        vf d = vf_mul(vf_exp(vf_sub(logit, vf_set1(most))), factor);
        if (capped) d = vf_mul(d, vf_fnma(vf_mul(logit, part), vf_mul(logit, part), one));
        put(a->dlogits.data, a->dlogits.dtype, d0 + v, d, n);
    }
    stlora_store(a->dlogits.data, a->dlogits.dtype, d0 + target, (double)at_target);
}

static void cpu_cross_entropy(const stlora_backend *table, const stlora_cross_entropy_args *a)
{
    enum { RUN = 4096 };
    assert(a->logits.dtype == STLORA_F32 && a->logits.cols == a->vocab && a->vocab > 0);
    assert(!a->dlogits.data || (is_act(a->dlogits.dtype) && a->dlogits.cols == a->vocab));
    cross_entropy_run run = {.args = a, .logprobs = stlora_cpu_block(table, 0)};
    _Static_assert(RUN * sizeof(double) <= STLORA_CPU_BLOCK_BYTES, "a run's log probabilities fit in the scratch");
    for (; run.row0 < a->rows; run.row0 += RUN) {
        const int64_t rows = least(RUN, a->rows - run.row0);
        for_each_row(table, rows, 1.5 * (double)a->vocab, cross_entropy_row, &run);
        for (int64_t i = 0; a->loss && i < rows; i++)
            *a->loss -= run.logprobs[i];
    }
}

/* ---- sums of squares and AdamW: blocks and lanes as ref/adamw.c defines them ---- */

enum { SUM_BLOCK = 65536, SUM_LANES = 16, SUM_RUN = 4096 };

static void add_squares(double lanes[SUM_LANES], const float *x)
{
    for (int l = 0; l < SUM_LANES; l++)
        lanes[l] += (double)x[l] * (double)x[l];
}

static double sum_of_lanes(const double lanes[SUM_LANES])
{
    double sum = lanes[0];
    for (int l = 1; l < SUM_LANES; l++)
        sum += lanes[l];
    return sum;
}

/* A run of blocks: each block's sum is left in sums, added up by the caller in ascending order. */
typedef struct adamw_run {
    const stlora_adamw_args *args; /* NULL: sums of squares of x only */
    const float *x;
    int64_t block0, count;
    double *sums;
} adamw_run;

typedef struct adamw_scalars {
    vf grad_scale, shrink, decay, step_size, mix1, beta2, mix2, sqrt_bc2, eps;
} adamw_scalars;

/* VL elements at i; the roundings are ref/adamw.c's, one by one: no fused multiply-add. */
ALWAYS_INLINE vf adamw_vector(const stlora_adamw_args *a, const adamw_scalars *s, int64_t i, int64_t n)
{
    vf p = get(a->p, STLORA_F32, i, n), g = get(a->g, STLORA_F32, i, n);
    vf m = get(a->m, STLORA_F32, i, n), v = get(a->v, STLORA_F32, i, n);
    if (a->grad_scale != 1) g = vf_mul(g, s->grad_scale);
    if (a->shrink != 1) p = vf_mul(p, s->shrink);
    if (a->decay != 1) p = vf_mul(p, s->decay);
    m = vf_add(m, vf_mul(s->mix1, vf_sub(g, m)));
    v = vf_add(vf_mul(s->beta2, v), vf_mul(vf_mul(s->mix2, g), g));
    const vf d = vf_add(vf_div(vf_sqrt(v), s->sqrt_bc2), s->eps);
    p = vf_sub(p, vf_mul(s->step_size, vf_div(m, d)));
    put(a->p, STLORA_F32, i, p, n);
    put(a->m, STLORA_F32, i, m, n);
    put(a->v, STLORA_F32, i, v, n);
    return p;
}

/* A block's sum of squares of x, which is p where a is there: of the new p. */
static double adamw_block(const stlora_adamw_args *a, const float *x, int64_t begin, int64_t end)
{
    adamw_scalars s = {0};
    if (a)
        s = (adamw_scalars){vf_set1((float)a->grad_scale),  vf_set1((float)a->shrink),      vf_set1((float)a->decay),
                            vf_set1((float)a->step_size),   vf_set1((float)(1 - a->beta1)), vf_set1((float)a->beta2),
                            vf_set1((float)(1 - a->beta2)), vf_set1((float)a->sqrt_bc2),    vf_set1((float)a->eps)};
    double lanes[SUM_LANES] = {0};
    for (int64_t i = begin; i < end; i += SUM_LANES) {
        const int64_t n = least(SUM_LANES, end - i);
        if (a) {
            for (int64_t j = 0; j < n; j += VL)
                (void)adamw_vector(a, &s, i + j, n - j);
        }
        if (n == SUM_LANES) {
            add_squares(lanes, x + i);
        } else {
            for (int64_t l = 0; l < n; l++)
                lanes[l] += (double)x[i + l] * (double)x[i + l];
        }
    }
    return sum_of_lanes(lanes);
}

static void adamw_work(const void *context, int64_t task, int thread)
{
    const adamw_run *r = context;
    const int64_t begin = (r->block0 + task) * SUM_BLOCK, end = least(r->count, begin + SUM_BLOCK);
    (void)thread;
    r->sums[task] = adamw_block(r->args, r->x, begin, end);
}

static double adamw_blocks(const stlora_backend *table, const stlora_adamw_args *a, const float *x, int64_t count)
{
    adamw_run r = {.args = a, .x = x, .count = count, .sums = stlora_cpu_block(table, 0)};
    const int64_t blocks = (count + SUM_BLOCK - 1) / SUM_BLOCK;
    double sum = 0;
    for (; r.block0 < blocks; r.block0 += SUM_RUN) {
        const int64_t run = least(SUM_RUN, blocks - r.block0);
        stlora_team_run(table->team, run, (double)run * SUM_BLOCK * (a ? 1.0 : 0.2), adamw_work, &r);
        for (int64_t i = 0; i < run; i++)
            sum += r.sums[i];
    }
    return sum;
}

static void adamw_matrix_work(const void *context, int64_t task, int thread)
{
    const stlora_adamw_args *a = (const stlora_adamw_args *)context + task;
    (void)thread;
    *a->sum_squares = adamw_block(a, a->p, 0, a->count);
}

/* Matrices of one block each are tasks, a run of them at a time; of larger ones the blocks are. */
static void cpu_adamw(const stlora_backend *table, const stlora_adamw_args *args, int matrices)
{
    for (int i = 0, run; i < matrices; i += run) {
        double elements = 0;
        for (run = 0; i + run < matrices && args[i + run].count <= SUM_BLOCK; run++)
            elements += (double)args[i + run].count;
        if (run == 0) {
            run = 1;
            *args[i].sum_squares = adamw_blocks(table, &args[i], args[i].p, args[i].count);
        } else {
            stlora_team_run(table->team, run, elements, adamw_matrix_work, &args[i]);
        }
    }
}

static double cpu_sum_squares(const stlora_backend *table, const float *x, int64_t count)
{
    return adamw_blocks(table, NULL, x, count);
}

#endif
