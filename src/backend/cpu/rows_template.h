/* rows_template.h: what is done token by token: norms, scale, rotary embedding, token embedding, activations, dropout, noise. For the level whose
 * simd_*.h came before. A task is a run of tokens; a token's bits depend on its own row only.
 * Test: tests/backend/test_cpu_vs_ref.c, test_promises.c. */
#ifndef STLORA_BACKEND_CPU_ROWS_TEMPLATE_H
#define STLORA_BACKEND_CPU_ROWS_TEMPLATE_H

#include "backend/cpu/vmath_template.h"
#include "base/rng.h"

/* VL elements of a row, or the n < VL that are left at its end. */
ALWAYS_INLINE vf get(const void *p, stlora_dtype dtype, int64_t i, int64_t n)
{
    return n >= VL ? load_as(p, dtype, i) : load_as_n(p, dtype, i, (int)n);
}
ALWAYS_INLINE void put(void *p, stlora_dtype dtype, int64_t i, vf v, int64_t n)
{
    if (n >= VL)
        store_as(p, dtype, i, v);
    else
        store_as_n(p, dtype, i, v, (int)n);
}

/* Tokens in runs, so that tasks are neither many nor few. */
typedef struct row_run {
    const stlora_backend *table;
    const void *args;
    void (*row)(const void *args, int64_t token);
    int64_t tokens, run;
} row_run;

static void row_run_work(const void *context, int64_t task, int thread)
{
    const row_run *r = context;
    (void)thread;
    for (int64_t t = task * r->run; t < least(r->tokens, (task + 1) * r->run); t++)
        r->row(r->args, t);
}

static void for_each_row(const stlora_backend *table, int64_t tokens, double nanoseconds_per_row,
                         void (*row)(const void *, int64_t), const void *args)
{
    const int64_t runs = 4 * (int64_t)table->threads, run = (tokens + runs - 1) / runs;
    row_run r = {table, args, row, tokens, run > 0 ? run : 1};
    stlora_team_run(table->team, (tokens + r.run - 1) / r.run, nanoseconds_per_row * (double)tokens, row_run_work, &r);
}

/* ---- norm ---- */

/* Weights c ... of a norm: w, or 1 + w. */
ALWAYS_INLINE vf norm_weight(stlora_norm_kind kind, const void *w, stlora_dtype dtype, int64_t c, int64_t n)
{
    const vf v = get(w, dtype, c, n);
    return kind == STLORA_NORM_RMS_ONE ? vf_add(v, vf_set1(1.0f)) : v;
}

/* Where group `row` of all tokens' groups begins. */
ALWAYS_INLINE int64_t group_at(int64_t row, int64_t groups, int64_t width, int64_t ld)
{
    return groups > 1 ? row / groups * ld + row % groups * width : row * ld;
}

/* kind and dtypes are a's: where they are constants the loops have no branches. */
ALWAYS_INLINE void norm_columns(const stlora_norm_args *a, int64_t row, stlora_norm_kind kind, stlora_dtype x_dtype,
                                stlora_dtype y_dtype, stlora_dtype w_dtype)
{
    const int64_t x0 = group_at(row, a->groups, a->width, a->x.ld), y0 = group_at(row, a->groups, a->width, a->y.ld);
    const void *x = a->x.data;
    float mean = 0;
    if (kind == STLORA_NORM_LAYER) {
        vf sum[2] = {vf_zero(), vf_zero()};
        for (int64_t c = 0; c < a->width; c += 2 * VL) {
            sum[0] = vf_add(sum[0], get(x, x_dtype, x0 + c, a->width - c));
            if (c + VL < a->width) sum[1] = vf_add(sum[1], get(x, x_dtype, x0 + c + VL, a->width - c - VL));
        }
        mean = vf_sum(vf_add(sum[0], sum[1])) / (float)a->width;
    }
    vf squares = vf_zero();
    for (int64_t c = 0; c < a->width; c += VL) {
        const int64_t n = a->width - c;
        vf off = vf_sub(get(x, x_dtype, x0 + c, n), vf_set1(mean));
        if (n < VL) { /* lanes beyond the end hold -mean */
            float lanes[VL] = {0};
            vf_store_n(lanes, off, (int)n);
            off = vf_load(lanes);
        }
        squares = vf_fma(off, off, squares);
    }
    const double var = (double)vf_sum(squares) / (double)a->width;
    const float rstd = (float)(1.0 / sqrt(var + a->eps));
    for (int64_t c = 0; c < a->width; c += VL) {
        const int64_t n = a->width - c;
        const vf normed = vf_mul(vf_sub(get(x, x_dtype, x0 + c, n), vf_set1(mean)), vf_set1(rstd));
        vf y = vf_mul(normed, norm_weight(kind, a->w, w_dtype, c, n));
        if (a->b) y = vf_add(y, get(a->b, w_dtype, c, n));
        if (a->accumulate) y = vf_add(get(a->y.data, y_dtype, y0 + c, n), y);
        put(a->y.data, y_dtype, y0 + c, y, n);
    }
    a->stats[2 * row] = mean;
    a->stats[2 * row + 1] = rstd;
}

static void norm_row(const void *args, int64_t row)
{
    const stlora_norm_args *a = args;
    if (a->kind == STLORA_NORM_RMS && a->x.dtype == STLORA_F32 && a->y.dtype == STLORA_F32 && a->w_dtype == STLORA_F32)
        norm_columns(a, row, STLORA_NORM_RMS, STLORA_F32, STLORA_F32, STLORA_F32);
    else
        norm_columns(a, row, a->kind, a->x.dtype, a->y.dtype, a->w_dtype);
}

static void cpu_norm(const stlora_backend *table, const stlora_norm_args *a)
{
    const int64_t groups = a->groups ? a->groups : 1;
    assert(is_act(a->x.dtype) && is_act(a->y.dtype) && (is_act(a->w_dtype) || a->w_dtype == STLORA_F16));
    assert(a->x.cols == groups * a->width && a->y.cols == a->x.cols && a->width > 0);
    for_each_row(table, a->tokens * groups, 0.3 * (double)a->width, norm_row, a);
}

static void norm_grad_row(const void *args, int64_t row)
{
    const stlora_norm_grad_args *a = args;
    const int64_t x0 = group_at(row, a->groups, a->width, a->x.ld), dx0 = group_at(row, a->groups, a->width, a->dx.ld);
    const int64_t dy0 = group_at(row, a->groups, a->width, a->dy.ld);
    const vf mean = vf_set1(a->stats[2 * row]), rstd = vf_set1(a->stats[2 * row + 1]);
    vf sum_g = vf_zero(), sum_gn = vf_zero();
    for (int64_t c = 0; c < a->width; c += VL) {
        const int64_t n = a->width - c;
        const vf g = vf_mul(get(a->dy.data, a->dy.dtype, dy0 + c, n), norm_weight(a->kind, a->w, a->w_dtype, c, n));
        const vf normed = vf_mul(vf_sub(get(a->x.data, a->x.dtype, x0 + c, n), mean), rstd);
        sum_g = vf_add(sum_g, g); /* zeros beyond the end */
        sum_gn = vf_fma(g, normed, sum_gn);
    }
    const float width = (float)a->width;
    const vf mean_g = vf_set1(a->kind == STLORA_NORM_LAYER ? vf_sum(sum_g) / width : 0.0f);
    const vf mean_gn = vf_set1(vf_sum(sum_gn) / width);
    for (int64_t c = 0; c < a->width; c += VL) {
        const int64_t n = a->width - c;
        const vf g = vf_mul(get(a->dy.data, a->dy.dtype, dy0 + c, n), norm_weight(a->kind, a->w, a->w_dtype, c, n));
        const vf normed = vf_mul(vf_sub(get(a->x.data, a->x.dtype, x0 + c, n), mean), rstd);
        vf d = vf_mul(rstd, vf_sub(vf_fnma(normed, mean_gn, g), mean_g));
        if (!a->overwrite) d = vf_add(get(a->dx.data, a->dx.dtype, dx0 + c, n), d);
        put(a->dx.data, a->dx.dtype, dx0 + c, d, n);
    }
}

static void cpu_norm_grad(const stlora_backend *table, const stlora_norm_grad_args *a)
{
    const int64_t groups = a->groups ? a->groups : 1;
    assert(is_act(a->x.dtype) && is_act(a->dx.dtype) && is_act(a->dy.dtype));
    assert(is_act(a->w_dtype) || a->w_dtype == STLORA_F16);
    assert(a->x.cols == groups * a->width && a->dy.cols == a->x.cols && a->dx.cols == a->x.cols);
    for_each_row(table, a->tokens * groups, 0.4 * (double)a->width, norm_grad_row, a);
}

/* ---- scale ---- */

static void scale_row(const void *args, int64_t t)
{
    const stlora_scale_args *a = args;
    const int64_t x0 = t * a->x.ld, y0 = t * a->y.ld;
    const bool capped = a->softcap > 0;
    /* with a cap: cap tanh(scale / cap x) */
    const vf scale = vf_set1((float)(capped ? a->scale / a->softcap : a->scale)), cap = vf_set1((float)a->softcap);
    for (int64_t c = 0; c < a->width; c += VL) {
        const int64_t n = a->width - c;
        vf v = vf_mul(get(a->x.data, a->x.dtype, x0 + c, n), scale);
        if (capped) v = vf_mul(vf_tanh(v), cap);
        if (a->accumulate) v = vf_add(get(a->y.data, a->y.dtype, y0 + c, n), v);
        put(a->y.data, a->y.dtype, y0 + c, v, n);
    }
}

static void cpu_scale(const stlora_backend *table, const stlora_scale_args *a)
{
    assert(is_act(a->x.dtype) && is_act(a->y.dtype) && a->x.cols == a->width && a->y.cols == a->width);
    for_each_row(table, a->tokens, (a->softcap > 0 ? 1.5 : 0.2) * (double)a->width, scale_row, a);
}

/* ---- rotary embedding ---- */

/* Heads that fill a vector together: every lane's partner is head_dim/2 lanes away. The same roundings as below: a c - b s is b (-s) + a c. */
typedef struct rope_lanes {
    const stlora_rope_args *args;
    int32_t partner[VL], angle[VL]; /* lane of the other half, element of cos and sin */
    float sign[VL];
} rope_lanes;

static void rope_narrow_row(const void *context, int64_t t)
{
    const rope_lanes *l = context;
    const stlora_rope_args *r = l->args;
    const int64_t half = r->head_dim / 2, width = r->heads * r->head_dim, row = t * r->x.ld;
    const int64_t angle = r->positions[t] * half;
    const vf c = vf_pick(vf_load_n(r->cos + angle, (int)half), l->angle);
    const vf s = vf_mul(vf_pick(vf_load_n(r->sin + angle, (int)half), l->angle), vf_load(l->sign));
    for (int64_t j = 0; j < width; j += VL) {
        const vf x = get(r->x.data, r->x.dtype, row + j, width - j);
        put(r->x.data, r->x.dtype, row + j, vf_fma(vf_pick(x, l->partner), s, vf_mul(x, c)), width - j);
    }
}

static void rope_narrow(const stlora_backend *table, const stlora_rope_args *a, double nanoseconds_per_row)
{
    rope_lanes l = {.args = a};
    const int dim = (int)a->head_dim, half = dim / 2;
    for (int i = 0; i < VL; i++) {
        const bool first = i % dim < half;
        l.partner[i] = first ? i + half : i - half;
        l.angle[i] = i % half;
        l.sign[i] = first != a->inverse ? -1.0f : 1.0f;
    }
    for_each_row(table, a->tokens, nanoseconds_per_row, rope_narrow_row, &l);
}

static void rope_row(const void *args, int64_t t)
{
    const stlora_rope_args *r = args;
    const int64_t half = (r->rotary_dim ? r->rotary_dim : r->head_dim) / 2;
    const float *cosine = r->cos + r->positions[t] * half, *sine = r->sin + r->positions[t] * half;
    for (int64_t j = 0; j < half; j += VL) {
        const int64_t n = half - j;
        const vf c = get(cosine, STLORA_F32, j, n);
        vf s = get(sine, STLORA_F32, j, n);
        if (r->inverse) s = vf_mul(s, vf_set1(-1.0f));
        for (int64_t h = 0; h < r->heads; h++) {
            const int64_t first = t * r->x.ld + h * r->head_dim + j, second = first + half;
            const vf a = get(r->x.data, r->x.dtype, first, n), b = get(r->x.data, r->x.dtype, second, n);
            put(r->x.data, r->x.dtype, first, vf_fnma(b, s, vf_mul(a, c)), n);
            put(r->x.data, r->x.dtype, second, vf_fma(a, s, vf_mul(b, c)), n);
        }
    }
}

static void cpu_rope(const stlora_backend *table, const stlora_rope_args *a)
{
    const int64_t rotary = a->rotary_dim ? a->rotary_dim : a->head_dim;
    assert(rotary % 2 == 0 && rotary <= a->head_dim && is_act(a->x.dtype) && a->x.cols >= a->heads * a->head_dim);
    const double nanoseconds_per_row = 0.1 * (double)(a->heads * rotary);
    if (rotary == a->head_dim && rotary <= VL && VL % rotary == 0)
        rope_narrow(table, a, nanoseconds_per_row);
    else
        for_each_row(table, a->tokens, nanoseconds_per_row, rope_row, a);
}

/* ---- token embedding ---- */

static void embed_row(const void *args, int64_t t)
{
    const stlora_embed_args *a = args;
    float *x = (float *)a->x.data + t * a->x.ld;
    assert(a->ids[t] >= 0);
    const int64_t row = a->ids[t] * a->width;
    const int64_t position = a->position_table ? a->positions[t] * a->width : 0;
    for (int64_t c = 0; c < a->width; c += VL) {
        const int64_t n = a->width - c;
        vf v = get(a->table, a->table_dtype, row + c, n);
        if (a->position_table) v = vf_add(v, get(a->position_table, a->position_dtype, position + c, n));
        put(x, STLORA_F32, c, v, n);
    }
}

static void cpu_embed(const stlora_backend *table, const stlora_embed_args *a)
{
    assert(a->x.dtype == STLORA_F32 && a->x.cols == a->width);
    for_each_row(table, a->tokens, 0.2 * (double)a->width, embed_row, a);
}

/* ---- activations ---- */

/* 2 k (x + c x^3) of GELU: gelu_tanh(x) = x sigmoid of it, as (1 + tanh z)/2 = sigmoid(2 z). */
ALWAYS_INLINE vf gelu_argument(vf x, vf *slope)
{
    const vf k2 = vf_set1(1.5957691216057308f), c = vf_set1(0.044715f), one = vf_set1(1.0f);
    const vf cxx = vf_mul(vf_mul(c, x), x);
    *slope = vf_mul(k2, vf_fma(cxx, vf_set1(3.0f), one));
    return vf_mul(vf_mul(k2, x), vf_add(one, cxx));
}

/* kind and dtype are a's, as in the norms. */
ALWAYS_INLINE void activation_vector(const stlora_activation_args *a, int64_t t, stlora_activation_kind kind,
                                     stlora_dtype dtype, int64_t f, int64_t n)
{
    const int64_t x0 = t * a->x.ld, y0 = t * a->y.ld;
    const vf x = get(a->x.data, dtype, x0 + f, n);
    vf y, slope;
    if (kind == STLORA_ACT_SILU_GLU)
        y = vf_mul(x, vf_sigmoid(x));
    else
        y = vf_mul(x, vf_sigmoid(gelu_argument(x, &slope)));
    if (stlora_gated(kind)) y = vf_mul(y, get(a->x.data, dtype, x0 + a->width + f, n));
    put(a->y.data, dtype, y0 + f, y, n);
}

ALWAYS_INLINE void activation_columns(const stlora_activation_args *a, int64_t t, stlora_activation_kind kind,
                                      stlora_dtype dtype)
{
    int64_t f = 0;
    for (; f + VL <= a->width; f += VL)
        activation_vector(a, t, kind, dtype, f, VL);
    if (f < a->width) activation_vector(a, t, kind, dtype, f, a->width - f);
}

static void activation_row(const void *args, int64_t t)
{
    const stlora_activation_args *a = args;
    if (a->kind == STLORA_ACT_SILU_GLU && a->x.dtype == STLORA_F32)
        activation_columns(a, t, STLORA_ACT_SILU_GLU, STLORA_F32);
    else if (a->kind == STLORA_ACT_SILU_GLU)
        activation_columns(a, t, STLORA_ACT_SILU_GLU, STLORA_BF16);
    else
        activation_columns(a, t, a->kind, a->x.dtype);
}

static void cpu_activation(const stlora_backend *table, const stlora_activation_args *a)
{
    assert(is_act(a->x.dtype) && a->y.dtype == a->x.dtype && a->y.cols == a->width);
    assert(a->x.cols == (stlora_gated(a->kind) ? 2 : 1) * a->width);
    for_each_row(table, a->tokens, 1.0 * (double)a->width, activation_row, a);
}

/* An element is read before it is written: dx may be x, and y dy. */
ALWAYS_INLINE void activation_grad_vector(const stlora_activation_grad_args *a, int64_t t, stlora_activation_kind kind,
                                          stlora_dtype dtype, int64_t f, int64_t n)
{
    const int64_t x0 = t * a->x.ld, dy0 = t * a->dy.ld, dx0 = t * a->dx.ld, y0 = t * a->y.ld;
    const bool gated = stlora_gated(kind);
    const vf one = vf_set1(1.0f), x = get(a->x.data, dtype, x0 + f, n), dy = get(a->dy.data, dtype, dy0 + f, n);
    const vf up = gated ? get(a->x.data, dtype, x0 + a->width + f, n) : one, d = gated ? vf_mul(dy, up) : dy;
    vf s, dx;
    if (kind == STLORA_ACT_SILU_GLU) {
        s = vf_sigmoid(x);
        dx = vf_mul(d, vf_mul(s, vf_fma(x, vf_sub(one, s), one)));
    } else {
        vf slope;
        s = vf_sigmoid(gelu_argument(x, &slope));
        dx = vf_mul(d, vf_add(s, vf_mul(vf_mul(x, slope), vf_mul(s, vf_sub(one, s)))));
    }
    const vf value = vf_mul(x, s);
    put(a->dx.data, dtype, dx0 + f, dx, n);
    if (gated) put(a->dx.data, dtype, dx0 + a->width + f, vf_mul(dy, value), n);
    if (a->y.data) put(a->y.data, dtype, y0 + f, gated ? vf_mul(value, up) : value, n);
}

ALWAYS_INLINE void activation_grad_columns(const stlora_activation_grad_args *a, int64_t t, stlora_activation_kind kind,
                                           stlora_dtype dtype)
{
    int64_t f = 0;
    for (; f + VL <= a->width; f += VL)
        activation_grad_vector(a, t, kind, dtype, f, VL);
    if (f < a->width) activation_grad_vector(a, t, kind, dtype, f, a->width - f);
}

static void activation_grad_row(const void *args, int64_t t)
{
    const stlora_activation_grad_args *a = args;
    if (a->kind == STLORA_ACT_SILU_GLU && a->x.dtype == STLORA_F32)
        activation_grad_columns(a, t, STLORA_ACT_SILU_GLU, STLORA_F32);
    else if (a->kind == STLORA_ACT_SILU_GLU)
        activation_grad_columns(a, t, STLORA_ACT_SILU_GLU, STLORA_BF16);
    else
        activation_grad_columns(a, t, a->kind, a->x.dtype);
}

static void cpu_activation_grad(const stlora_backend *table, const stlora_activation_grad_args *a)
{
    assert(is_act(a->x.dtype) && a->dy.dtype == a->x.dtype && a->dx.dtype == a->x.dtype);
    assert(a->x.cols == (stlora_gated(a->kind) ? 2 : 1) * a->width && a->dx.cols == a->x.cols);
    assert(!a->y.data || (a->y.dtype == a->x.dtype && a->y.cols == a->width));
    for_each_row(table, a->tokens, 1.3 * (double)a->width, activation_grad_row, a);
}

/* ---- dropout: formula and numbers of ref/dropout.c ---- */

enum { PHILOX_BLOCKS = 16, PHILOX_NUMBERS = 4 * PHILOX_BLOCKS };

/* stlora_philox of PHILOX_BLOCKS counters that differ in their first word only, side by side so that the compiler makes vectors of them:
 * out[4*b + i] is number i of block block0 + b. The base room's function says what is computed and is what the tests compare with. */
static void philox_blocks(uint32_t out[PHILOX_NUMBERS], uint64_t block0, uint32_t c1, uint64_t stream, uint64_t seed)
{
    uint32_t c[4][PHILOX_BLOCKS], k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int b = 0; b < PHILOX_BLOCKS; b++) {
        c[0][b] = (uint32_t)block0 + (uint32_t)b;
        c[1][b] = c1;
        c[2][b] = (uint32_t)stream;
        c[3][b] = (uint32_t)(stream >> 32);
    }
    for (int round = 0; round < 10; round++) {
        for (int b = 0; b < PHILOX_BLOCKS; b++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * c[0][b], p1 = (uint64_t)0xCD9E8D57u * c[2][b];
            c[0][b] = (uint32_t)(p1 >> 32) ^ c[1][b] ^ k0;
            c[1][b] = (uint32_t)p1;
            c[2][b] = (uint32_t)(p0 >> 32) ^ c[3][b] ^ k1;
            c[3][b] = (uint32_t)p0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int b = 0; b < PHILOX_BLOCKS; b++) {
        for (int i = 0; i < 4; i++)
            out[4 * b + i] = c[i][b];
    }
}

static void dropout_row(const void *args, int64_t t)
{
    const stlora_dropout_args *a = args;
    const uint64_t seed = a->seed ^ (a->stream * UINT64_C(0x9E3779B97F4A7C15));
    const uint32_t use = (uint32_t)STLORA_RNG_DROPOUT << 24; /* widths are far below 2^34: the block's high word is 0 */
    /* u / 2^32 >= p; the threshold is at most 2^32, which no u reaches */
    const uint64_t threshold = (uint64_t)ceil(a->p * 4294967296.0);
    const vf rest = vf_set1((float)(1 - a->p));
    const int64_t x0 = t * a->x.ld, y0 = t * a->y.ld;
    for (int64_t i = 0; i < a->width; i += PHILOX_NUMBERS) {
        uint32_t u[PHILOX_NUMBERS];
        float kept[PHILOX_NUMBERS];
        philox_blocks(u, (uint64_t)i / 4, use, a->token_keys[t], seed);
        for (int j = 0; j < PHILOX_NUMBERS; j++)
            kept[j] = u[j] >= threshold ? 1.0f : 0.0f;
        for (int64_t j = 0; j < PHILOX_NUMBERS && i + j < a->width; j += VL) {
            const int64_t n = a->width - i - j, at = i + j;
            const vf x = vf_div(get(a->x.data, a->x.dtype, x0 + at, n), rest);
            vf y = vf_select(vf_lt(vf_zero(), vf_load(kept + j)), x, vf_zero()); /* a dropped NaN is 0 */
            if (a->accumulate) y = vf_add(get(a->y.data, a->y.dtype, y0 + at, n), y);
            put(a->y.data, a->y.dtype, y0 + at, y, n);
        }
    }
}

static void cpu_dropout(const stlora_backend *table, const stlora_dropout_args *a)
{
    assert(a->p >= 0 && a->p < 1 && is_act(a->x.dtype) && is_act(a->y.dtype));
    assert(a->x.cols == a->width && a->y.cols == a->width && a->width < INT64_C(1) << 34);
    for_each_row(table, a->tokens, 2.0 * (double)a->width, dropout_row, a);
}

/* ---- noise: formula and numbers of ref/noise.c ---- */

static void noise_row(const void *args, int64_t t)
{
    const stlora_noise_args *a = args;
    const uint64_t seed = a->seed ^ (a->stream * UINT64_C(0x9E3779B97F4A7C15));
    const uint32_t use = (uint32_t)STLORA_RNG_NOISE << 24; /* as in dropout_row */
    float *x = (float *)a->x.data + t * a->x.ld;
    for (int64_t i = 0; i < a->width; i += PHILOX_NUMBERS) {
        uint32_t u[PHILOX_NUMBERS];
        philox_blocks(u, (uint64_t)i / 4, use, a->token_keys[t], seed);
        for (int64_t j = 0; j < PHILOX_NUMBERS && i + j < a->width; j++)
            x[i + j] += (float)(a->amplitude * (u[j] * (2.0 / 4294967296.0) - 1.0));
    }
}

static void cpu_noise(const stlora_backend *table, const stlora_noise_args *a)
{
    assert(a->x.dtype == STLORA_F32 && a->x.cols == a->width && a->width < INT64_C(1) << 34);
    for_each_row(table, a->tokens, 2.0 * (double)a->width, noise_row, a);
}

#endif
