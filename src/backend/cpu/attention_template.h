/* attention_template.h: causal attention, windowed or not, without a T x T matrix, for the level whose simd_*.h came before.
 *
 * A task is a block of queries of one segment, for some query heads that share a kv head. It walks the segment's keys in blocks
 * from the segment's first key, packs a block of k and v once for all its rows, and keeps per row the largest score m so
 * far, the sum l of exp(score - m) (VL partial sums, added up at the end) and o unnormalised. A row's bits depend on its own q and on
 * the keys that it sees: blocks of keys lie the same whoever asks, and what is masked is never multiplied (0 * NaN would be NaN).
 * Test: tests/backend/test_cpu_attention.c, test_promises.c.
 */
#ifndef STLORA_BACKEND_CPU_ATTENTION_TEMPLATE_H
#define STLORA_BACKEND_CPU_ATTENTION_TEMPLATE_H

#include "backend/cpu/attention_narrow_template.h"

enum { MAX_ROWS = 512 }; /* of a task */

/* The rows of a task: heads of a group (which share k and v) times queries, as many as fit, since every block of
 * keys is packed once for all of them. None of this plays a part in a row's bits. */
typedef struct attention_plan {
    const stlora_backend *table;
    const stlora_attention_args *args;
    bool pairs, narrow;
    int64_t heads, queries;
    int64_t parts_per_group; /* tasks per kv head and block of queries */
} attention_plan;

typedef struct attention_task {
    const stlora_segment *segment;
    int64_t head0, heads, kv;
    int64_t begin, end; /* queries of the segment */
} attention_task;

static int64_t attention_task_count(const attention_plan *p)
{
    int64_t tasks = 0;
    for (int64_t s = 0; s < p->args->segment_count; s++)
        tasks += (p->args->segments[s].q_count + p->queries - 1) / p->queries * p->args->kv_heads * p->parts_per_group;
    return tasks;
}

static attention_task attention_task_of(const attention_plan *p, int64_t index)
{
    const stlora_attention_args *a = p->args;
    const int64_t parts = a->kv_heads * p->parts_per_group, group = a->heads / a->kv_heads;
    for (const stlora_segment *s = a->segments;; s++) {
        const int64_t blocks = (s->q_count + p->queries - 1) / p->queries;
        if (index < blocks * parts) {
            const int64_t b = blocks - 1 - index % blocks,
                          part = index / blocks; /* late queries, who see the most, first */
            const int64_t kv = part / p->parts_per_group, head0 = kv * group + part % p->parts_per_group * p->heads;
            return (attention_task){s,  head0,          least(p->heads, (kv + 1) * group - head0),
                                    kv, b * p->queries, least(s->q_count, (b + 1) * p->queries)};
        }
        index -= blocks * parts;
    }
}

typedef struct attention_rows {
    void *k, *v;    /* panels (dim, BLOCK), (BLOCK, dim) */
    float *q, *o;   /* (rows, dim) */
    float *m, *l;   /* (rows) largest scaled score / ln 2, (rows, VL) */
    float *s;       /* (TILE_MR, BLOCK) scores */
    void *p;        /* (TILE_MR, BLOCK) elements */
    int64_t v_row0; /* of the block, in the matrix v */
    int64_t v_column;
} attention_rows;

/* A row's scores of the block's keys [begin, end) become p = 2^(scale * score - m), scale with 1 / ln 2 in it; m, l and o (dim) of the row follow. */
static void softmax_update(bool pairs, float *s, void *p, int64_t begin, int64_t end, float scale, float *m, float *l,
                           float *o, int64_t dim)
{
    const int64_t padded = (end + VL - 1) / VL * VL;
    for (int64_t j = 0; j < begin; j++)
        s[j] = -INFINITY;
    for (int64_t j = end; j < padded; j++)
        s[j] = -INFINITY;
    vf largest = vf_set1(-INFINITY);
    for (int64_t j = 0; j < padded; j += VL)
        largest = vf_max(vf_load(s + j), largest); /* passes a NaN by: it comes back in the sum */
    float now = vf_maximum(largest) * scale;
    if (!(now > *m)) now = *m;
    const float origin = now == -INFINITY ? 0.0f : now; /* nothing seen but -inf: exp(-inf - 0) = 0 */
    vf sum = vf_load(l);
    if (now > *m) {
        const vf rest = vf_exp2(vf_set1(*m - origin));
        float by[VL];
        sum = vf_mul(sum, rest);
        vf_store(by, rest);
        for (int64_t d = 0; d < dim; d++)
            o[d] *= by[0];
        *m = now;
    }
    for (int64_t j = 0; j < padded; j += VL) {
        const vf e = vf_exp2(vf_fma(vf_load(s + j), vf_set1(scale), vf_set1(-origin)));
        store_element(pairs, p, j, e);
        sum = vf_add(sum, e);
    }
    vf_store(l, sum);
}

/* o (dim) += p v for one key of v. */
static void add_value(const attention_rows *w, const stlora_attention_args *a, int64_t key, float p, float *o)
{
    const int64_t at = (w->v_row0 + key) * a->v.ld + w->v_column, dim = a->head_dim;
    int64_t d = 0;
    for (; d + VL <= dim; d += VL)
        vf_store(o + d, vf_fma(vf_set1(p), load_as(a->v.data, a->v.dtype, at + d), vf_load(o + d)));
    if (d < dim) {
        const int n = (int)(dim - d);
        const vf v = load_as_n(a->v.data, a->v.dtype, at + d, n);
        vf_store_n(o + d, vf_fma(vf_set1(p), v, vf_load_n(o + d, n)), n);
    }
}

/* One row at the edge of what it sees: keys [begin, end) of the block's `keys`. Pairs of which it sees half are no pairs. */
static void attend_edge(bool pairs, const attention_rows *w, const stlora_attention_args *a, const void *p, float *o,
                        int64_t keys, int64_t begin, int64_t end)
{
    const int64_t dim = a->head_dim;
    if (pairs && begin % 2 != 0) {
        add_value(w, a, begin, (float)stlora_load(p, STLORA_BF16, begin), o);
        begin++;
    }
    const bool odd_end = pairs && end % 2 != 0;
    const int64_t even_end = end - odd_end;
    if (begin < even_end) multiply(pairs, 1, p, BLOCK, w->v, keys, begin, even_end, dim, true, o, dim);
    if (odd_end) add_value(w, a, even_end, (float)stlora_load(p, STLORA_BF16, even_end), o);
}

/* mr queries of one head, from query `first` of the segment on, against the block of keys at j. */
static void attend(const attention_plan *plan, const attention_rows *w, const stlora_segment *segment, int mr,
                   const void *q, int64_t ldq, int64_t row, int64_t first, int64_t j, int64_t keys)
{
    const stlora_attention_args *a = plan->args;
    const int64_t dim = a->head_dim;
    const bool pairs = plan->pairs;
    float *o = w->o + row * dim;
    multiply(pairs, mr, q, ldq, w->k, dim, 0, dim, keys, false, w->s, BLOCK);
    const soft_cap cap = soft_cap_of(a->scale, a->softcap);
    for (int i = 0; cap.on && i < mr; i++)
        cap_scores(&cap, w->s + i * BLOCK, keys);
    for (int i = 0; i < mr; i++) {
        const int64_t end = least(end_key(segment, first + i) - j, keys);
        const int64_t seen = first_key(segment, a->window, first + i) - j, begin = seen > 0 ? seen : 0;
        if (begin < end)
            softmax_update(pairs, w->s + i * BLOCK, at_element_mut(w->p, element_of(pairs), i * BLOCK), begin, end,
                           (float)(a->scale * LOG2_E), w->m + row + i, w->l + (row + i) * VL, o + i * dim, dim);
    }
    const bool whole = !pairs || keys % 2 == 0; /* an odd key at the end is an edge whoever comes after it */
    if (whole && end_key(segment, first) - j >= keys && first_key(segment, a->window, first + mr - 1) <= j) {
        multiply(pairs, mr, w->p, BLOCK, w->v, keys, 0, keys, dim, true, o, dim);
        return;
    }
    for (int i = 0; i < mr; i++) {
        const int64_t end = least(end_key(segment, first + i) - j, keys);
        const int64_t seen = first_key(segment, a->window, first + i) - j, begin = seen > 0 ? seen : 0;
        const void *p = at_element(w->p, element_of(pairs), i * BLOCK);
        if (whole && begin == 0 && end == keys)
            multiply(pairs, 1, p, BLOCK, w->v, keys, 0, keys, dim, true, o + i * dim, dim);
        else if (begin < end)
            attend_edge(pairs, w, a, p, o + i * dim, keys, begin, end);
    }
}

static void attention_store(const attention_rows *w, const stlora_attention_args *a, int64_t head, int64_t row0,
                            int64_t query0, int64_t queries)
{
    const int64_t dim = a->head_dim;
    float sums[VL] = {0}, lse[VL];
    for (int64_t i = 0; i < queries; i++) {
        const int64_t row = row0 + i, at = (query0 + i) * a->o.ld + head * dim;
        const float sum = vf_sum(vf_load(w->l + row * VL));
        const vf l = vf_set1(sum);
        int64_t d = 0;
        for (; d + VL <= dim; d += VL)
            store_as(a->o.data, a->o.dtype, at + d, vf_div(vf_load(w->o + row * dim + d), l));
        if (d < dim) {
            const int n = (int)(dim - d);
            store_as_n(a->o.data, a->o.dtype, at + d, vf_div(vf_load_n(w->o + row * dim + d, n), l), n);
        }
        sums[i % VL] = sum;
        if (i % VL < VL - 1 && i < queries - 1) continue;
        const int64_t first = i / VL * VL;
        vf_store(lse, log_of_sums(vf_load_n(w->m + row0 + first, (int)(i - first + 1)), vf_load(sums)));
        for (int64_t t = first; t <= i; t++)
            a->lse[(query0 + t) * a->heads + head] = lse[t - first];
    }
}

static void attention_work(const void *context, int64_t index, int thread)
{
    const attention_plan *p = context;
    const stlora_attention_args *a = p->args;
    const attention_task task = attention_task_of(p, index);
    const stlora_segment *segment = task.segment;
    if (p->narrow) {
        attend_narrow(p->table, a, segment, task.head0, task.begin, task.end, thread);
        return;
    }
    const int64_t dim = a->head_dim, padded = vectors_of(dim) * VL, queries = task.end - task.begin;
    const int64_t rows = task.heads * queries, query0 = segment->q0 + task.begin;

    float *scratch = stlora_cpu_block(p->table, thread);
    attention_rows w = {.k = scratch, .v = scratch + BLOCK * padded, .v_column = task.kv * dim};
    w.q = scratch + 2 * BLOCK * padded;
    w.o = w.q + rows * dim;
    w.m = w.o + rows * dim;
    w.l = w.m + rows;
    w.s = w.l + rows * VL;
    w.p = w.s + TILE_MR * BLOCK;
    for (int64_t i = 0; i < rows; i++)
        w.m[i] = -INFINITY;
    memset(w.o, 0, (size_t)(rows * dim) * sizeof(float));
    memset(w.l, 0, (size_t)(rows * VL) * sizeof(float));
    const int64_t first = first_key(segment, a->window, task.begin) / BLOCK * BLOCK;
    for (int64_t j = first; j < end_key(segment, task.end - 1); j += BLOCK) {
        const int64_t keys = least(BLOCK, end_key(segment, task.end - 1) - j);
        w.v_row0 = segment->k0 + j;
        pack_columns_set(p->pairs, w.k, a->k, segment->k0 + j, task.kv * dim, dim, keys);
        pack_rows_set(p->pairs, w.v, a->v, segment->k0 + j, task.kv * dim, keys, dim);
        for (int64_t h = 0; h < task.heads; h++) {
            const int64_t row0 = h * queries, column = (task.head0 + h) * dim;
            float *wide = w.q + row0 * dim;
            int64_t ldq = dim;
            const void *q = wide;
            if (j == first || p->pairs || a->q.dtype == STLORA_F32)
                q = head_rows(p->pairs, wide, a->q, query0, column, queries, dim, &ldq);
            for (int64_t i = 0; i < queries; i += TILE_MR) {
                const int mr = (int)least(TILE_MR, queries - i);
                const int64_t from = task.begin + i;
                if (end_key(segment, from + mr - 1) > j && first_key(segment, a->window, from) < j + keys)
                    attend(p, &w, segment, mr, at_element(q, element_of(p->pairs), i * ldq), ldq, row0 + i, from, j,
                           keys);
            }
        }
    }
    for (int64_t h = 0; h < task.heads; h++)
        attention_store(&w, a, task.head0 + h, h * queries, query0, queries);
}

static void cpu_attention(const stlora_backend *table, const stlora_attention_args *a)
{
    enum { FEW = 66, MANY = 198 }; /* queries of a task; whole tiles */
    const int64_t dim = a->head_dim, padded = vectors_of(dim) * VL, group = a->heads / a->kv_heads;
    assert(a->heads % a->kv_heads == 0 && dim <= MAX_HEAD_DIM);
    assert(is_act(a->q.dtype) && is_act(a->k.dtype) && is_act(a->v.dtype) && is_act(a->o.dtype));
    const int64_t floats = (int64_t)(STLORA_CPU_BLOCK_BYTES / sizeof(float)) - 2 * BLOCK * padded - 2 * TILE_MR * BLOCK;
    const int64_t rows = least(floats / (2 * dim + 1 + VL), MAX_ROWS);
    assert(rows >= FEW);
    attention_plan p = {.table = table,
                        .args = a,
                        .pairs = pairs_of(a->q.dtype, a->k.dtype, a->v.dtype),
                        .heads = least(group, rows / FEW)};
    p.queries = least(MANY, rows / p.heads) / FEW * FEW;
    int64_t queries = 0;
    for (int64_t s = 0; s < a->segment_count; s++)
        queries += a->segments[s].q_count;
    p.narrow = !p.pairs && dim <= NARROW_DIM && queries >= a->segment_count * VL / 2; /* a lane each */
    if (p.narrow) {
        p.heads = 1;
        p.queries = BLOCK;
    }
    p.parts_per_group = (group + p.heads - 1) / p.heads;
    const double pairs = attention_pairs(a->segments, a->segment_count, a->window) * (double)a->heads;
    stlora_team_run(table->team, attention_task_count(&p), pairs * (0.08 * (double)dim + 1), attention_work, &p);
}

#endif
