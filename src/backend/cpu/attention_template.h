/* attention_template.h: causal attention without a T x T matrix, for the level whose simd_*.h came before.
 *
 * A task is a block of queries of one segment, for some query heads that share a kv head. It walks the segment's keys in blocks
 * of KEYS from the segment's first key, packs a block of k and v once for all its rows, and keeps per row the largest score m so
 * far, the sum l of exp(score - m) and o unnormalised. A row's bits depend on its own q and on the keys that it sees: blocks
 * of keys lie the same whoever asks, and what is masked is never multiplied (0 * NaN would be NaN).
 * Test: tests/backend/test_cpu_vs_ref.c, test_promises.c.
 */
#ifndef STLORA_BACKEND_CPU_ATTENTION_TEMPLATE_H
#define STLORA_BACKEND_CPU_ATTENTION_TEMPLATE_H

#include "backend/cpu/pack_template.h"
#include "backend/cpu/vmath_template.h"

enum { KEYS = 64, MAX_ROWS = 512, MAX_HEAD_DIM = STLORA_MAX_HEAD_DIM };
_Static_assert(KEYS % PANEL == 0 || PANEL % KEYS == 0, "blocks of keys are whole panels");

/* Columns of a (steps, cols) panel set: PANEL at a time, one panel after another. */
static void pack_columns_set(float *panels, stlora_cmat m, int64_t row, int64_t column, int64_t steps, int64_t cols)
{
    for (int64_t o = 0; o < cols; o += PANEL)
        pack_rows_as_columns(panels + o * steps, at_element(m.data, m.dtype, (row + o) * m.ld + column), m.dtype, m.ld,
                             steps, least(PANEL, cols - o));
}
static void pack_rows_set(float *panels, stlora_cmat m, int64_t row, int64_t column, int64_t steps, int64_t cols)
{
    for (int64_t o = 0; o < cols; o += PANEL)
        pack_rows_as_rows(panels + o * steps, at_element(m.data, m.dtype, row * m.ld + column + o), m.dtype, m.ld,
                          steps, least(PANEL, cols - o));
}

/* y (mr, cols) = (add ? y : 0) + x (mr, steps) * panels, from step `begin` of panels that were packed with `packed` steps. */
static void multiply(int mr, const float *x, int64_t ldx, const float *panels, int64_t packed, int64_t begin,
                     int64_t steps, int64_t cols, bool add, float *y, int64_t ldy)
{
    tile t = {.x = x,
              .ldx = ldx,
              .steps = steps,
              .from_dtype = STLORA_F32,
              .ld_from = ldy,
              .y_dtype = STLORA_F32,
              .ldy = ldy};
    for (int64_t o = 0; o < cols; o += PANEL) {
        t.cols = (int)least(PANEL, cols - o);
        const int nv = vectors_of(t.cols);
        t.panel = panels + o * packed + begin * nv * VL;
        t.y = y + o;
        t.from = add ? t.y : NULL;
        tile_f32_table[mr - 1][nv - 1](&t);
    }
}

/* Rows of a head as floats: where they are, or widened into `to` (rows, dim). */
static const float *head_rows(float *to, stlora_cmat m, int64_t row, int64_t column, int64_t rows, int64_t dim,
                              int64_t *ld)
{
    const void *at = at_element(m.data, m.dtype, row * m.ld + column);
    if (m.dtype == STLORA_F32) {
        *ld = m.ld;
        return at;
    }
    widen_rows(to, dim, at, m.dtype, m.ld, rows, dim);
    *ld = dim;
    return to;
}

/* Where in the call a task lies. Blocks of `block` rows (queries or keys) of every segment, times groups of heads. */
typedef struct head_block {
    const stlora_segment *segment;
    int64_t part;       /* which group of heads */
    int64_t begin, end; /* rows of the segment */
} head_block;

static int64_t head_blocks(const stlora_segment *segments, int64_t count, int64_t parts, int64_t block, bool keys)
{
    int64_t tasks = 0;
    for (int64_t s = 0; s < count; s++)
        tasks += ((keys ? segments[s].k_count : segments[s].q_count) + block - 1) / block * parts;
    return tasks;
}

static head_block head_block_of(const stlora_segment *segments, int64_t parts, int64_t block, bool keys, int64_t task)
{
    const stlora_segment *s = segments;
    for (;; s++) {
        const int64_t rows = keys ? s->k_count : s->q_count, blocks = (rows + block - 1) / block;
        if (task < blocks * parts) {
            /* the long ones first: late queries see many keys, early keys many queries */
            const int64_t b = keys ? task / parts : blocks - 1 - task / parts;
            return (head_block){s, task % parts, b * block, least(rows, (b + 1) * block)};
        }
        task -= blocks * parts;
    }
}

/* The rows of a task that walks keys: heads of a group (which share k and v) times queries, as many as fit, since every block of
 * keys is packed once for all of them. None of this plays a part in a row's bits. */
typedef struct task_rows {
    int64_t heads, queries;
    int64_t parts_per_group; /* tasks per kv head and block of queries */
} task_rows;

static task_rows task_rows_of(int64_t group, int64_t rows_that_fit)
{
    enum { FEW = 66, MANY = 198 }; /* whole tiles */
    const int64_t rows = least(rows_that_fit, MAX_ROWS);
    assert(rows >= FEW);
    task_rows r = {.heads = least(group, rows / FEW)};
    r.queries = least(MANY, rows / r.heads) / FEW * FEW;
    r.parts_per_group = (group + r.heads - 1) / r.heads;
    return r;
}

typedef struct attention_plan {
    const stlora_backend *table;
    const stlora_attention_args *args;
    task_rows rows;
} attention_plan;

/* One row's scores of a block, n of them, become exp(score - m); m, l and o (dim) follow. */
static void softmax_update(float *s, int64_t n, float scale, float *m, float *l, float *o, int64_t dim)
{
    const int64_t padded = (n + VL - 1) / VL * VL;
    for (int64_t j = n; j < padded; j++)
        s[j] = -INFINITY;
    vf largest = vf_set1(*m);
    for (int64_t j = 0; j < padded; j += VL) {
        const vf scaled = vf_mul(vf_load(s + j), vf_set1(scale));
        vf_store(s + j, scaled);
        largest = vf_max(scaled, largest); /* passes a NaN by: it comes back in the sum */
    }
    const float now = vf_maximum(largest);
    const float origin = now == -INFINITY ? 0.0f : now; /* nothing seen but -inf: exp(-inf - 0) = 0 */
    vf sum = vf_zero();
    for (int64_t j = 0; j < padded; j += VL) {
        const vf p = vf_exp(vf_sub(vf_load(s + j), vf_set1(origin)));
        vf_store(s + j, p);
        sum = vf_add(sum, p);
    }
    if (now != *m) {
        float rest[VL];
        vf_store(rest, vf_exp(vf_set1(*m - origin)));
        *l *= rest[0];
        for (int64_t d = 0; d < dim; d++)
            o[d] *= rest[0];
        *m = now;
    }
    *l += vf_sum(sum);
}

typedef struct attention_rows {
    float *k, *v; /* panels (dim, KEYS), (KEYS, dim) */
    float *q, *o; /* (rows, dim) */
    float *m, *l; /* (rows) */
    float *s;     /* (TILE_MR, KEYS) */
} attention_rows;

/* mr queries of one head against a block of keys; their limits (keys of the block that each sees) ascend. */
static void attend(const attention_rows *w, const stlora_attention_args *a, int mr, const float *q, int64_t ldq,
                   int64_t row, int64_t keys, int64_t limit)
{
    const int64_t dim = a->head_dim;
    float *o = w->o + row * dim;
    multiply(mr, q, ldq, w->k, dim, 0, dim, keys, false, w->s, KEYS);
    for (int i = 0; i < mr; i++) {
        const int64_t n = least(limit + i, keys);
        if (n > 0)
            softmax_update(w->s + i * KEYS, n, (float)a->scale, w->m + row + i, w->l + row + i, o + i * dim, dim);
    }
    if (limit >= keys) {
        multiply(mr, w->s, KEYS, w->v, keys, 0, keys, dim, true, o, dim);
        return;
    }
    for (int i = 0; i < mr; i++) { /* the diagonal: each row as far as it sees */
        const int64_t n = least(limit + i, keys);
        if (n > 0) multiply(1, w->s + i * KEYS, KEYS, w->v, keys, 0, n, dim, true, o + i * dim, dim);
    }
}

static void attention_store(const attention_rows *w, const stlora_attention_args *a, int64_t head, int64_t row0,
                            int64_t query0, int64_t queries)
{
    const int64_t dim = a->head_dim;
    for (int64_t i = 0; i < queries; i++) {
        const int64_t row = row0 + i, at = (query0 + i) * a->o.ld + head * dim;
        const vf l = vf_set1(w->l[row]);
        int64_t d = 0;
        for (; d + VL <= dim; d += VL)
            store_as(a->o.data, a->o.dtype, at + d, vf_div(vf_load(w->o + row * dim + d), l));
        if (d < dim) {
            const int n = (int)(dim - d);
            store_as_n(a->o.data, a->o.dtype, at + d, vf_div(vf_load_n(w->o + row * dim + d, n), l), n);
        }
        a->lse[(query0 + i) * a->heads + head] = w->m[row] + logf(w->l[row]);
    }
}

static void attention_work(const void *context, int64_t task, int thread)
{
    const attention_plan *p = context;
    const stlora_attention_args *a = p->args;
    const int64_t dim = a->head_dim, padded = vectors_of(dim) * VL, group = a->heads / a->kv_heads;
    const head_block b =
        head_block_of(a->segments, a->kv_heads * p->rows.parts_per_group, p->rows.queries, false, task);
    const int64_t kv = b.part / p->rows.parts_per_group;
    const int64_t head0 = kv * group + b.part % p->rows.parts_per_group * p->rows.heads;
    const int64_t heads = least(p->rows.heads, (kv + 1) * group - head0), queries = b.end - b.begin;

    attention_rows w;
    w.k = stlora_cpu_block(p->table, thread);
    w.v = w.k + KEYS * dim;
    w.q = w.v + KEYS * padded;
    w.o = w.q + heads * queries * dim;
    w.m = w.o + heads * queries * dim;
    w.l = w.m + heads * queries;
    w.s = w.l + heads * queries;
    for (int64_t i = 0; i < heads * queries; i++) {
        w.m[i] = -INFINITY;
        w.l[i] = 0.0f;
    }
    memset(w.o, 0, (size_t)(heads * queries * dim) * sizeof(float));
    const int64_t hidden = b.segment->k_count - b.segment->q_count; /* keys before the first query's own */
    for (int64_t j = 0; j < hidden + b.end; j += KEYS) {
        const int64_t keys = least(KEYS, hidden + b.end - j);
        pack_columns_set(w.k, a->k, b.segment->k0 + j, kv * dim, dim, keys);
        pack_rows_set(w.v, a->v, b.segment->k0 + j, kv * dim, keys, dim);
        for (int64_t h = 0; h < heads; h++) {
            int64_t ldq;
            const int64_t row0 = h * queries, query0 = b.segment->q0 + b.begin;
            float *wide = w.q + row0 * dim;
            const float *q = wide;
            if (j == 0 || a->q.dtype == STLORA_F32)
                q = head_rows(wide, a->q, query0, (head0 + h) * dim, queries, dim, &ldq);
            else
                ldq = dim;
            for (int64_t i = 0; i < queries; i += TILE_MR) {
                const int mr = (int)least(TILE_MR, queries - i);
                const int64_t limit = hidden + b.begin + i + 1 - j; /* of the first of these rows */
                if (limit + mr - 1 > 0) attend(&w, a, mr, q + i * ldq, ldq, row0 + i, keys, limit);
            }
        }
    }
    for (int64_t h = 0; h < heads; h++)
        attention_store(&w, a, head0 + h, h * queries, b.segment->q0 + b.begin, queries);
}

/* Pairs of query and key over all segments, about: what the cost grows with. */
static double attention_pairs(const stlora_segment *segments, int64_t count)
{
    double pairs = 0;
    for (int64_t s = 0; s < count; s++)
        pairs += (double)segments[s].q_count * ((double)segments[s].k_count - 0.5 * (double)segments[s].q_count + 0.5);
    return pairs;
}

static void cpu_attention(const stlora_backend *table, const stlora_attention_args *a)
{
    const int64_t dim = a->head_dim, padded = vectors_of(dim) * VL;
    assert(a->heads % a->kv_heads == 0 && dim <= MAX_HEAD_DIM);
    assert(is_act(a->q.dtype) && is_act(a->k.dtype) && is_act(a->v.dtype) && is_act(a->o.dtype));
    const int64_t floats = (int64_t)(STLORA_CPU_BLOCK_BYTES / sizeof(float)) - 2 * KEYS * padded - TILE_MR * KEYS;
    const int64_t group = a->heads / a->kv_heads;
    const attention_plan p = {table, a, task_rows_of(group, floats / (2 * dim + 2))};
    const int64_t tasks =
        head_blocks(a->segments, a->segment_count, a->kv_heads * p.rows.parts_per_group, p.rows.queries, false);
    const double pairs = attention_pairs(a->segments, a->segment_count) * (double)a->heads;
    stlora_cpu_parallel(table, tasks, pairs * (0.08 * (double)dim + 1), attention_work, &p);
}

#endif
