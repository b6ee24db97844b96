/* attention_grad_template.h: the gradient of attention_template.h's attention, in two sweeps.
 *
 *   p[i,j] = exp(scale q_i.k_j - lse_i)      ds[i,j] = scale p[i,j] (dout_i.v_j - delta_i)      delta_i = dout_i.o_i
 *   first sweep, tasks are blocks of queries:   dq_i = sum_j ds[i,j] k_j, blocks of keys ascending
 *   second sweep, tasks are blocks of keys:     dv_j = sum_i p[i,j] dout_i,  dk_j = sum_i ds[i,j] q_i, heads ascending, and for a
 *                                               head blocks of QUERIES queries ascending
 * Scores are computed in both sweeps: seven small products instead of five, but every sum stays with one task, in float, whatever
 * the dtype of the gradients and the number of threads. Test: tests/backend/test_cpu_vs_ref.c, test_promises.c.
 */
#ifndef STLORA_BACKEND_CPU_ATTENTION_GRAD_TEMPLATE_H
#define STLORA_BACKEND_CPU_ATTENTION_GRAD_TEMPLATE_H

#include "backend/cpu/attention_template.h"

enum { QUERIES = 64 }; /* of a block in the second sweep: part of the order of summation */

typedef struct attention_grad_plan {
    const stlora_backend *table;
    const stlora_attention_grad_args *args;
    task_rows rows;   /* first sweep, as in attention */
    int64_t key_rows; /* second sweep: keys of a task */
} attention_grad_plan;

static void store_rows(stlora_mat m, int64_t row, int64_t column, const float *from, int64_t rows, int64_t dim)
{
    for (int64_t i = 0; i < rows; i++) {
        const int64_t at = (row + i) * m.ld + column;
        int64_t d = 0;
        for (; d + VL <= dim; d += VL)
            store_as(m.data, m.dtype, at + d, vf_load(from + i * dim + d));
        if (d < dim) store_as_n(m.data, m.dtype, at + d, vf_load_n(from + i * dim + d, (int)(dim - d)), (int)(dim - d));
    }
}

/* delta of one row: lanes of VL, then their tree. */
static float dot_rows(stlora_cmat a, stlora_cmat b, int64_t row, int64_t column, int64_t dim)
{
    vf sum = vf_zero();
    int64_t d = 0;
    for (; d + VL <= dim; d += VL)
        sum = vf_fma(load_as(a.data, a.dtype, row * a.ld + column + d),
                     load_as(b.data, b.dtype, row * b.ld + column + d), sum);
    if (d < dim)
        sum = vf_fma(load_as_n(a.data, a.dtype, row * a.ld + column + d, (int)(dim - d)),
                     load_as_n(b.data, b.dtype, row * b.ld + column + d, (int)(dim - d)), sum);
    return vf_sum(sum);
}

/* s, dp (rows of KEYS) of one query -> ds in s. */
static void query_row_grad(float *s, const float *dp, int64_t n, float scale, float lse, float delta)
{
    for (int64_t j = 0; j < n; j += VL) {
        const vf p = vf_exp(vf_sub(vf_mul(vf_load(s + j), vf_set1(scale)), vf_set1(lse)));
        const vf d = vf_sub(vf_load(dp + j), vf_set1(delta));
        vf_store(s + j, vf_mul(vf_mul(p, d), vf_set1(scale)));
    }
}

typedef struct query_sweep {
    float *kt, *vt, *k;   /* panels (dim, KEYS), (dim, KEYS), (KEYS, dim) */
    float *q, *dout, *dq; /* (rows, dim) */
    float *s, *dp;        /* (TILE_MR, KEYS) */
} query_sweep;

/* mr queries of one head against a block of keys. */
static void query_tile(const query_sweep *w, const stlora_attention_grad_args *a, int mr, const float *q, int64_t ldq,
                       const float *dout, int64_t ld_dout, float *dq, int64_t token, int64_t head, int64_t keys,
                       int64_t limit)
{
    const int64_t dim = a->head_dim;
    multiply(mr, q, ldq, w->kt, dim, 0, dim, keys, false, w->s, KEYS);
    multiply(mr, dout, ld_dout, w->vt, dim, 0, dim, keys, false, w->dp, KEYS);
    for (int i = 0; i < mr; i++) {
        const int64_t at = (token + i) * a->heads + head, n = least(limit + i, keys);
        query_row_grad(w->s + i * KEYS, w->dp + i * KEYS, n, (float)a->scale, a->lse[at], a->delta[at]);
    }
    if (limit >= keys) {
        multiply(mr, w->s, KEYS, w->k, keys, 0, keys, dim, true, dq, dim);
        return;
    }
    for (int i = 0; i < mr; i++) {
        const int64_t n = least(limit + i, keys);
        if (n > 0) multiply(1, w->s + i * KEYS, KEYS, w->k, keys, 0, n, dim, true, dq + i * dim, dim);
    }
}

static void query_work(const void *context, int64_t task, int thread)
{
    const attention_grad_plan *p = context;
    const stlora_attention_grad_args *a = p->args;
    const int64_t dim = a->head_dim, padded = vectors_of(dim) * VL, group = a->heads / a->kv_heads;
    const head_block b =
        head_block_of(a->segments, a->kv_heads * p->rows.parts_per_group, p->rows.queries, false, task);
    const int64_t kv = b.part / p->rows.parts_per_group;
    const int64_t head0 = kv * group + b.part % p->rows.parts_per_group * p->rows.heads;
    const int64_t heads = least(p->rows.heads, (kv + 1) * group - head0), queries = b.end - b.begin;
    const int64_t rows = heads * queries, query0 = b.segment->q0 + b.begin;

    query_sweep w;
    w.kt = stlora_cpu_block(p->table, thread);
    w.vt = w.kt + KEYS * dim;
    w.k = w.vt + KEYS * dim;
    w.q = w.k + KEYS * padded;
    w.dout = w.q + rows * dim;
    w.dq = w.dout + rows * dim;
    w.s = w.dq + rows * dim;
    w.dp = w.s + TILE_MR * KEYS;
    memset(w.dq, 0, (size_t)(rows * dim) * sizeof(float));
    for (int64_t h = head0; h < head0 + heads; h++) {
        for (int64_t t = query0; t < query0 + queries; t++)
            a->delta[t * a->heads + h] = dot_rows(a->dout, a->o, t, h * dim, dim);
    }
    const int64_t hidden = b.segment->k_count - b.segment->q_count;
    for (int64_t j = 0; j < hidden + b.end; j += KEYS) {
        const int64_t keys = least(KEYS, hidden + b.end - j), key0 = b.segment->k0 + j;
        pack_columns_set(w.kt, a->k, key0, kv * dim, dim, keys);
        pack_columns_set(w.vt, a->v, key0, kv * dim, dim, keys);
        pack_rows_set(w.k, a->k, key0, kv * dim, keys, dim);
        for (int64_t h = 0; h < heads; h++) {
            int64_t ldq = dim, ldd = dim;
            const float *q = w.q + h * queries * dim, *dout = w.dout + h * queries * dim;
            if (j == 0 || a->q.dtype == STLORA_F32)
                q = head_rows(w.q + h * queries * dim, a->q, query0, (head0 + h) * dim, queries, dim, &ldq);
            if (j == 0 || a->dout.dtype == STLORA_F32)
                dout = head_rows(w.dout + h * queries * dim, a->dout, query0, (head0 + h) * dim, queries, dim, &ldd);
            for (int64_t i = 0; i < queries; i += TILE_MR) {
                const int mr = (int)least(TILE_MR, queries - i);
                const int64_t limit = hidden + b.begin + i + 1 - j;
                if (limit + mr - 1 > 0)
                    query_tile(&w, a, mr, q + i * ldq, ldq, dout + i * ldd, ldd, w.dq + (h * queries + i) * dim,
                               query0 + i, head0 + h, keys, limit);
            }
        }
    }
    for (int64_t h = 0; h < heads; h++)
        store_rows(a->dq, query0, (head0 + h) * dim, w.dq + h * queries * dim, queries, dim);
}

typedef struct key_sweep {
    float *qt, *dt, *q, *d; /* panels of q and dout: (dim, QUERIES) twice, (QUERIES, dim) twice */
    float *k, *v, *dk, *dv; /* (key rows, dim) */
    float *s, *dp;          /* (TILE_MR, QUERIES) */
    float *lse, *delta;     /* (QUERIES), padded */
} key_sweep;

/* s, dp (rows of QUERIES) of one key -> p in s, ds in dp. */
static void key_row_grad(const key_sweep *w, float *s, float *dp, int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i += VL) {
        const vf p = vf_exp(vf_sub(vf_mul(vf_load(s + i), vf_set1(scale)), vf_load(w->lse + i)));
        const vf d = vf_sub(vf_load(dp + i), vf_load(w->delta + i));
        vf_store(s + i, p);
        vf_store(dp + i, vf_mul(vf_mul(p, d), vf_set1(scale)));
    }
}

/* mr keys against a block of queries; `blind` queries at the block's start do not see the first of the keys. */
static void key_tile(const key_sweep *w, const stlora_attention_grad_args *a, int mr, const float *k, int64_t ldk,
                     const float *v, int64_t ldv, int64_t row, int64_t queries, int64_t blind)
{
    const int64_t dim = a->head_dim;
    float *dk = w->dk + row * dim, *dv = w->dv + row * dim;
    multiply(mr, k, ldk, w->qt, dim, 0, dim, queries, false, w->s, QUERIES);
    multiply(mr, v, ldv, w->dt, dim, 0, dim, queries, false, w->dp, QUERIES);
    for (int i = 0; i < mr; i++)
        key_row_grad(w, w->s + i * QUERIES, w->dp + i * QUERIES, queries, (float)a->scale);
    if (blind + mr - 1 <= 0) {
        multiply(mr, w->s, QUERIES, w->d, queries, 0, queries, dim, true, dv, dim);
        multiply(mr, w->dp, QUERIES, w->q, queries, 0, queries, dim, true, dk, dim);
        return;
    }
    for (int i = 0; i < mr; i++) {
        const int64_t skip = blind + i > 0 ? blind + i : 0, n = queries - skip;
        if (n <= 0) continue;
        multiply(1, w->s + i * QUERIES + skip, QUERIES, w->d, queries, skip, n, dim, true, dv + i * dim, dim);
        multiply(1, w->dp + i * QUERIES + skip, QUERIES, w->q, queries, skip, n, dim, true, dk + i * dim, dim);
    }
}

static void key_work(const void *context, int64_t task, int thread)
{
    const attention_grad_plan *p = context;
    const stlora_attention_grad_args *a = p->args;
    const int64_t dim = a->head_dim, padded = vectors_of(dim) * VL, group = a->heads / a->kv_heads;
    const head_block b = head_block_of(a->segments, a->kv_heads, p->key_rows, true, task);
    const int64_t kv = b.part, rows = b.end - b.begin, key0 = b.segment->k0 + b.begin;

    key_sweep w;
    w.qt = stlora_cpu_block(p->table, thread);
    w.dt = w.qt + QUERIES * dim;
    w.q = w.dt + QUERIES * dim;
    w.d = w.q + QUERIES * padded;
    w.k = w.d + QUERIES * padded;
    w.v = w.k + rows * dim;
    w.dk = w.v + rows * dim;
    w.dv = w.dk + rows * dim;
    w.s = w.dv + rows * dim;
    w.dp = w.s + TILE_MR * QUERIES;
    w.lse = w.dp + TILE_MR * QUERIES;
    w.delta = w.lse + QUERIES;
    memset(w.dk, 0, 2 * (size_t)(rows * dim) * sizeof(float)); /* dv lies behind */
    int64_t ldk, ldv;
    const float *k = head_rows(w.k, a->k, key0, kv * dim, rows, dim, &ldk);
    const float *v = head_rows(w.v, a->v, key0, kv * dim, rows, dim, &ldv);
    const int64_t hidden = b.segment->k_count - b.segment->q_count;
    const int64_t first = b.begin > hidden ? b.begin - hidden : 0; /* the first query that sees any of the keys */
    for (int64_t h = kv * group; h < (kv + 1) * group; h++) {
        for (int64_t i = first / QUERIES * QUERIES; i < b.segment->q_count; i += QUERIES) {
            const int64_t queries = least(QUERIES, b.segment->q_count - i), query0 = b.segment->q0 + i;
            pack_columns_set(w.qt, a->q, query0, h * dim, dim, queries);
            pack_columns_set(w.dt, a->dout, query0, h * dim, dim, queries);
            pack_rows_set(w.q, a->q, query0, h * dim, queries, dim);
            pack_rows_set(w.d, a->dout, query0, h * dim, queries, dim);
            for (int64_t t = 0; t < QUERIES; t++) {
                const int64_t at = (query0 + least(t, queries - 1)) * a->heads + h;
                w.lse[t] = a->lse[at];
                w.delta[t] = a->delta[at];
            }
            for (int64_t j = 0; j < rows; j += TILE_MR) {
                const int mr = (int)least(TILE_MR, rows - j);
                const int64_t blind = b.begin + j - hidden - i;
                if (blind < queries) key_tile(&w, a, mr, k + j * ldk, ldk, v + j * ldv, ldv, j, queries, blind);
            }
        }
    }
    store_rows(a->dk, key0, kv * dim, w.dk, rows, dim);
    store_rows(a->dv, key0, kv * dim, w.dv, rows, dim);
}

static void cpu_attention_grad(const stlora_backend *table, const stlora_attention_grad_args *a)
{
    const int64_t dim = a->head_dim, padded = vectors_of(dim) * VL;
    assert(a->heads % a->kv_heads == 0 && dim <= MAX_HEAD_DIM);
    assert(is_act(a->q.dtype) && is_act(a->k.dtype) && is_act(a->v.dtype) && is_act(a->o.dtype));
    assert(is_act(a->dq.dtype) && is_act(a->dk.dtype) && is_act(a->dv.dtype) && is_act(a->dout.dtype));
    const int64_t block = (int64_t)(STLORA_CPU_BLOCK_BYTES / sizeof(float));
    const int64_t group = a->heads / a->kv_heads;
    const int64_t query_rows = (block - 3 * KEYS * padded - 2 * TILE_MR * KEYS) / (3 * dim);
    attention_grad_plan p = {.table = table, .args = a, .rows = task_rows_of(group, query_rows)};
    p.key_rows = (block - 4 * QUERIES * padded - 2 * TILE_MR * QUERIES - 2 * QUERIES) / (4 * dim);
    p.key_rows = least(p.key_rows, 126) / TILE_MR * TILE_MR;
    assert(p.key_rows > 0);
    const double pairs = attention_pairs(a->segments, a->segment_count) * (double)a->heads;
    const double nanoseconds = pairs * (0.15 * (double)dim + 1);
    stlora_cpu_parallel(
        table, head_blocks(a->segments, a->segment_count, a->kv_heads * p.rows.parts_per_group, p.rows.queries, false),
        nanoseconds, query_work, &p);
    stlora_cpu_parallel(table, head_blocks(a->segments, a->segment_count, a->kv_heads, p.key_rows, true), nanoseconds,
                        key_work, &p);
}

#endif
