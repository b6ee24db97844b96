/* attention_narrow_template.h: attention and its gradient for heads that are narrower than a tile, for the level whose simd_*.h came before.
 *
 * A tile has head_dim columns, and with 8 of them most of its lanes and most of its steps are idle. So here VL queries lie side by side in the
 * lanes (forward; in the gradient VL keys), and the elements of a head are broadcast, one multiply-add of a whole vector each.
 * Every element is the same chain as in the tiles, rounding for rounding: blocks of BLOCK keys, scores by d ascending, sums over keys or queries
 * ascending from zero, VL partial sums of the softmax. So which of the two ways a call takes changes no bit.
 * Test: tests/backend/test_cpu_attention.c, test_promises.c.
 */
#ifndef STLORA_BACKEND_CPU_ATTENTION_NARROW_TEMPLATE_H
#define STLORA_BACKEND_CPU_ATTENTION_NARROW_TEMPLATE_H

#include "backend/cpu/attention_operands.h"

enum { NARROW_DIM = 32, SCORE_ROWS = 8, GATHER_DIMS = 8 };

static const float lane_numbers[BLOCK] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                          16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
                                          32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47,
                                          48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};

/* v in the lanes [from, to), other elsewhere. */
ALWAYS_INLINE vf lanes_within(int64_t from, int64_t to, vf v, vf other)
{
    const vf lane = vf_load(lane_numbers);
    v = vf_select(vf_lt(lane, vf_set1((float)to - 0.5f)), v, other);
    return vf_select(vf_lt(vf_set1((float)from - 0.5f), lane), v, other);
}

ALWAYS_INLINE void score_rows(const int mr, float *s, const float *x, int64_t ld, const float *panel, int64_t dim)
{
    vf acc[SCORE_ROWS];
    UNROLL for (int i = 0; i < mr; i++) acc[i] = vf_zero();
    for (int64_t d = 0; d < dim; d++) {
        const vf w = vf_load(panel + d * VL);
        UNROLL for (int i = 0; i < mr; i++) acc[i] = vf_fma(vf_set1(x[i * ld + d]), w, acc[i]);
    }
    UNROLL for (int i = 0; i < mr; i++) vf_store(s + i * VL, acc[i]);
}

/* s (rows, VL) = x (rows, dim) panel (dim, VL) */
static void score(float *s, const float *x, int64_t ld, const float *panel, int64_t rows, int64_t dim)
{
    int64_t r = 0;
    for (; r + SCORE_ROWS <= rows; r += SCORE_ROWS)
        score_rows(SCORE_ROWS, s + r * VL, x + r * ld, ld, panel, dim);
    for (; r < rows; r++)
        score_rows(1, s + r * VL, x + r * ld, ld, panel, dim);
}

/* Rows [begin, end) of weights (., VL) and x (., dim); of those outside [whole, whole_end) row r counts in the lanes [first + r,
 * first + r + window) only. */
typedef struct gathering {
    const float *weights, *x;
    int64_t ld, begin, whole, whole_end, end, first, window;
} gathering;

ALWAYS_INLINE void gather_dims(const int dims, const gathering *g, int64_t d, float *to)
{
    vf acc[GATHER_DIMS];
    UNROLL for (int i = 0; i < dims; i++) acc[i] = vf_zero();
    for (int64_t r = g->begin; r < g->end; r++) {
        const vf w = vf_load(g->weights + r * VL);
        const float *x = g->x + r * g->ld + d;
        if (r >= g->whole && r < g->whole_end) {
            UNROLL for (int i = 0; i < dims; i++) acc[i] = vf_fma(vf_set1(x[i]), w, acc[i]);
        } else {
            UNROLL for (int i = 0; i < dims; i++) acc[i] =
                lanes_within(g->first + r, g->first + r + g->window, vf_fma(vf_set1(x[i]), w, acc[i]), acc[i]);
        }
    }
    UNROLL for (int i = 0; i < dims; i++)
    {
        float *at = to + (d + i) * VL;
        vf_store(at, vf_add(vf_load(at), acc[i]));
    }
}

/* to (dim, VL) += sum over the rows of weights x: a chain of its own, from zero */
static void gather(const gathering *g, int64_t dim, float *to)
{
    int64_t d = 0;
    for (; d + GATHER_DIMS <= dim; d += GATHER_DIMS)
        gather_dims(GATHER_DIMS, g, d, to);
    for (; d < dim; d++)
        gather_dims(1, g, d, to);
}

/* ---- forward: queries in the lanes ---- */

/* VL queries of one head. */
typedef struct query_lanes {
    float q[NARROW_DIM * VL], o[NARROW_DIM * VL]; /* (dim, VL) */
    float l[VL * VL];                             /* partial sum c: of the keys that are c modulo VL in their block */
    float m[VL];
} query_lanes;

typedef struct narrow_scratch {
    query_lanes lanes[BLOCK / VL];
    float k[BLOCK * NARROW_DIM], v[BLOCK * NARROW_DIM]; /* where they came as bf16 */
    float s[BLOCK * VL];
} narrow_scratch;

/* Scores s of keys [begin, end) become p; m, l and o follow. */
static void softmax_lanes(query_lanes *w, float *s, int64_t begin, int64_t end, float scale, int64_t dim)
{
    vf largest = vf_set1(-INFINITY);
    for (int64_t r = begin; r < end; r++)
        largest = vf_max(vf_load(s + r * VL), largest); /* passes a NaN by: it comes back in the sum */
    const vf before = vf_load(w->m), found = vf_mul(largest, vf_set1(scale));
    const vm more = vf_lt(before, found);
    const vf now = vf_select(more, found, before);
    /* nothing seen but -inf: exp(-inf - 0) = 0 */
    const vf origin = vf_select(vf_lt(vf_set1(-INFINITY), now), now, vf_zero());
    const vf rest = vf_select(more, vf_exp2(vf_sub(before, origin)), vf_set1(1.0f));
    const vf shift = vf_sub(vf_zero(), origin);
    vf_store(w->m, now);
    for (int64_t d = 0; d < dim; d++)
        vf_store(w->o + d * VL, vf_mul(vf_load(w->o + d * VL), rest));
    for (int64_t c = 0; c < VL; c++)
        vf_store(w->l + c * VL, vf_mul(vf_load(w->l + c * VL), rest));
    for (int64_t r = begin; r < end; r++) {
        const vf e = vf_exp2(vf_fma(vf_load(s + r * VL), vf_set1(scale), shift));
        float *l = w->l + r % VL * VL;
        vf_store(s + r * VL, e);
        vf_store(l, vf_add(vf_load(l), e));
    }
}

/* n queries from `first` of the segment on against the `keys` keys of the block at j. */
static void attend_lanes(const stlora_attention_args *a, const stlora_segment *segment, query_lanes *w, float *s,
                         int64_t first, int64_t n, const float *k, int64_t ldk, const float *v, int64_t ldv, int64_t j,
                         int64_t keys)
{
    const int64_t dim = a->head_dim, window = a->window > 0 ? a->window : segment->k_count;
    /* key r of the block is seen by the lanes [before + r, before + r + window) */
    const int64_t before = j - (segment->k_count - segment->q_count) - first;
    const int64_t begin = before + window > 0 ? 0 : 1 - before - window, end = least(keys, n - before);
    if (begin >= end) return;
    gathering g = {.weights = s, .x = v, .ld = ldv, .begin = begin, .end = end, .first = before, .window = window};
    g.whole_end = least(end, 1 - before); /* behind it the first lane sees nothing */
    g.whole = n - window - before > begin ? n - window - before : begin;
    score(s + begin * VL, k + begin * ldk, ldk, w->q, end - begin, dim);
    const soft_cap cap = soft_cap_of(a->scale, a->softcap);
    if (cap.on) cap_scores(&cap, s + begin * VL, (end - begin) * VL);
    for (int64_t r = begin; r < end; r++)
        if (r < g.whole || r >= g.whole_end)
            vf_store(s + r * VL,
                     lanes_within(before + r, before + r + window, vf_load(s + r * VL), vf_set1(-INFINITY)));
    softmax_lanes(w, s, begin, end, (float)(a->scale * LOG2_E), dim);
    gather(&g, dim, w->o);
}

static void store_lanes(const stlora_attention_args *a, query_lanes *w, int64_t head, int64_t query, int64_t n)
{
    const int64_t dim = a->head_dim;
    vf r[VL];
    float sums[VL];
    for (int c = 0; c < VL; c++)
        r[c] = vf_load(w->l + c * VL);
    vf_transpose(r);
    for (int i = 0; i < VL; i++)
        sums[i] = vf_sum(r[i]);
    for (int64_t d = 0; d < dim; d++)
        vf_store(w->o + d * VL, vf_div(vf_load(w->o + d * VL), vf_load(sums)));
    transpose_into(at_element_mut(a->o.data, a->o.dtype, query * a->o.ld + head * dim), a->o.dtype, a->o.ld, w->o,
                   STLORA_F32, VL, dim, n);
    for (int64_t i = 0; i < n; i++)
        a->lse[(query + i) * a->heads + head] = log_of_sum(w->m[i], sums[i]);
}

/* Queries [begin, end) of a segment's head, at most BLOCK. */
static void attend_narrow(const stlora_backend *table, const stlora_attention_args *a, const stlora_segment *segment,
                          int64_t head, int64_t begin, int64_t end, int thread)
{
    const int64_t dim = a->head_dim, column = head / (a->heads / a->kv_heads) * dim;
    narrow_scratch *w = stlora_cpu_block(table, thread);
    memset(w->lanes, 0, sizeof w->lanes);
    for (int64_t i = begin; i < end; i += VL) {
        query_lanes *l = &w->lanes[(i - begin) / VL];
        transpose_into(l->q, STLORA_F32, VL,
                       at_element(a->q.data, a->q.dtype, (segment->q0 + i) * a->q.ld + head * dim), a->q.dtype, a->q.ld,
                       least(VL, end - i), dim);
        vf_store(l->m, vf_set1(-INFINITY));
    }
    const int64_t last_key = end_key(segment, end - 1);
    for (int64_t j = first_key(segment, a->window, begin) / BLOCK * BLOCK; j < last_key; j += BLOCK) {
        const int64_t keys = least(BLOCK, last_key - j);
        int64_t ldk, ldv;
        const float *k = head_rows(false, w->k, a->k, segment->k0 + j, column, keys, dim, &ldk);
        const float *v = head_rows(false, w->v, a->v, segment->k0 + j, column, keys, dim, &ldv);
        for (int64_t i = begin; i < end; i += VL)
            attend_lanes(a, segment, &w->lanes[(i - begin) / VL], w->s, i, least(VL, end - i), k, ldk, v, ldv, j, keys);
    }
    for (int64_t i = begin; i < end; i += VL)
        store_lanes(a, &w->lanes[(i - begin) / VL], head, segment->q0 + i, least(VL, end - i));
}

/* ---- gradient: keys in the lanes ---- */

/* VL keys of one head. */
typedef struct key_lanes {
    float k[NARROW_DIM * VL], v[NARROW_DIM * VL];   /* (dim, VL) */
    float dk[NARROW_DIM * VL], dv[NARROW_DIM * VL]; /* (dim, VL) */
} key_lanes;

typedef struct narrow_grad_scratch {
    key_lanes lanes[BLOCK / VL];
    float k[BLOCK * NARROW_DIM], v[BLOCK * NARROW_DIM]; /* where they came as bf16: rows of the block of keys, */
    float q[BLOCK * NARROW_DIM], d[BLOCK * NARROW_DIM]; /* of the block of queries */
    float lse[BLOCK], delta[BLOCK];                     /* lse / ln 2, delta times scale */
    float s[BLOCK * VL], dp[BLOCK * VL];                /* (queries, VL) */
    float ds[BLOCK * BLOCK], turned[BLOCK * VL];        /* (queries, keys); (keys, VL queries) */
    float dq[NARROW_DIM * VL];                          /* (dim, VL queries) */
} narrow_grad_scratch;

/* What a block of queries and VL keys give each other, and ds. blind: how many queries come before the first of the keys; of query r
 * the lanes up to r - blind are seen. */
static void grad_lanes(narrow_grad_scratch *w, key_lanes *l, float *ds, const float *q, int64_t ldq, const float *d,
                       int64_t ldd, int64_t queries, int64_t blind, int64_t window, float scale, const soft_cap *cap,
                       int64_t dim)
{
    const int64_t begin = blind > 0 ? blind : 0, end = least(queries, blind + VL - 1 + window);
    const vf log_scale = vf_set1((float)((double)scale * LOG2_E));
    for (int64_t r = 0; r < queries; r++)
        if (r < begin || r >= end) vf_store(ds + r * BLOCK, vf_zero());
    if (begin >= end) return;
    score(w->s + begin * VL, q + begin * ldq, ldq, l->k, end - begin, dim);
    score(w->dp + begin * VL, d + begin * ldd, ldd, l->v, end - begin, dim);
    if (cap->on) cap_scores(cap, w->s + begin * VL, (end - begin) * VL);
    for (int64_t r = begin; r < end; r++) {
        const vf lse = vf_set1(w->lse[r]), delta = vf_set1(w->delta[r]);
        vf p = vf_exp2(vf_fma(vf_load(w->s + r * VL), log_scale, vf_sub(vf_zero(), lse)));
        vf g = vf_mul(p, vf_fma(vf_load(w->dp + r * VL), vf_set1(scale), vf_sub(vf_zero(), delta)));
        if (cap->on) g = cap_bend(cap, vf_load(w->s + r * VL), g);
        const int64_t seen_end = r - blind + 1, seen = seen_end - window;
        if (seen > 0 || seen_end < VL) {
            p = lanes_within(seen, seen_end, p, vf_zero());
            g = lanes_within(seen, seen_end, g, vf_zero());
        }
        vf_store(w->s + r * VL, p);
        vf_store(w->dp + r * VL, g);
        vf_store(ds + r * BLOCK, g);
    }
    gather(
        &(gathering){.weights = w->s, .x = d, .ld = ldd, .begin = begin, .whole = begin, .whole_end = end, .end = end},
        dim, l->dv);
    gather(
        &(gathering){.weights = w->dp, .x = q, .ld = ldq, .begin = begin, .whole = begin, .whole_end = end, .end = end},
        dim, l->dk);
}

/* dq (dim, ld) of a block += k (keys, dim) ds, VL queries at a time; of query r the keys behind r - blind are not seen. */
static void grad_queries(narrow_grad_scratch *w, const float *k, int64_t ldk, int64_t keys, int64_t queries,
                         int64_t blind, int64_t dim, float *dq, int64_t ld)
{
    for (int64_t i = 0; i < queries; i += VL) {
        const int n = (int)least(VL, queries - i);
        const int64_t seen = least(keys, i + n - blind);
        if (seen <= 0) continue;
        for (int64_t r = 0; r < seen; r += VL) {
            vf t[VL];
            for (int u = 0; u < VL; u++)
                t[u] = u < n ? vf_load(w->ds + (i + u) * BLOCK + r) : vf_zero();
            vf_transpose(t);
            for (int u = 0; u < VL; u++)
                vf_store(w->turned + (r + u) * VL, t[u]);
        }
        for (int64_t d = 0; d < dim; d++)
            vf_store(w->dq + d * VL, vf_load_n(dq + d * ld + i, n));
        gather(&(gathering){.weights = w->turned, .x = k, .ld = ldk, .whole_end = seen, .end = seen}, dim, w->dq);
        for (int64_t d = 0; d < dim; d++)
            vf_store_n(dq + d * ld + i, vf_load(w->dq + d * VL), n);
    }
}

/* All gradients that a segment's head gives: dq (dim, ldq), added to; dk, dv (keys of the segment, dim), written. delta is there. */
static void grad_narrow(const stlora_backend *table, const stlora_attention_grad_args *a, const stlora_segment *segment,
                        int64_t head, float *dq, int64_t ldq, float *dk, float *dv, int thread)
{
    const int64_t dim = a->head_dim, kv = head / (a->heads / a->kv_heads);
    const int64_t hidden = segment->k_count - segment->q_count;
    const int64_t window = a->window > 0 ? a->window : segment->k_count;
    const soft_cap cap = soft_cap_of(a->scale, a->softcap);
    narrow_grad_scratch *w = stlora_cpu_block(table, thread);
    for (int64_t j = 0; j < segment->k_count; j += BLOCK) {
        const int64_t keys = least(BLOCK, segment->k_count - j), k0 = segment->k0 + j;
        int64_t ldk, ldv, ld, ldd;
        const float *k = head_rows(false, w->k, a->k, k0, kv * dim, keys, dim, &ldk);
        const float *v = head_rows(false, w->v, a->v, k0, kv * dim, keys, dim, &ldv);
        memset(w->lanes, 0, sizeof w->lanes);
        for (int64_t r = 0; r < keys; r += VL) {
            transpose_into(w->lanes[r / VL].k, STLORA_F32, VL, k + r * ldk, STLORA_F32, ldk, least(VL, keys - r), dim);
            transpose_into(w->lanes[r / VL].v, STLORA_F32, VL, v + r * ldv, STLORA_F32, ldv, least(VL, keys - r), dim);
        }
        for (int64_t i = j > hidden ? (j - hidden) / BLOCK * BLOCK : 0; i < segment->q_count; i += BLOCK) {
            const int64_t queries = least(BLOCK, segment->q_count - i), row = segment->q0 + i, blind = j - hidden - i;
            if (first_key(segment, a->window, i) >= j + keys) break;
            const float *q = head_rows(false, w->q, a->q, row, head * dim, queries, dim, &ld);
            const float *d = head_rows(false, w->d, a->dout, row, head * dim, queries, dim, &ldd);
            for (int64_t t = 0; t < queries; t++) {
                w->lse[t] = (float)((double)a->lse[(row + t) * a->heads + head] * LOG2_E);
                w->delta[t] = (float)a->scale * a->delta[(row + t) * a->heads + head];
            }
            for (int64_t r = 0; r < keys; r += VL)
                grad_lanes(w, &w->lanes[r / VL], w->ds + r, q, ld, d, ldd, queries, blind + r, window, (float)a->scale,
                           &cap, dim);
            grad_queries(w, k, ldk, keys, queries, blind, dim, dq + i, ldq);
        }
        for (int64_t r = 0; r < keys; r += VL) {
            const key_lanes *l = &w->lanes[r / VL];
            transpose_into(dk + (j + r) * dim, STLORA_F32, dim, l->dk, STLORA_F32, VL, dim, least(VL, keys - r));
            transpose_into(dv + (j + r) * dim, STLORA_F32, dim, l->dv, STLORA_F32, VL, dim, least(VL, keys - r));
        }
    }
}

#endif
