/* attention_narrow_template.h: attention and its gradient for heads that are narrower than a tile, for the level whose simd_*.h came before.
 *
 * A tile has head_dim columns, and with 8 of them most of its lanes and most of its steps are idle. So here VL queries lie side by side in the
 * lanes (forward; in the gradient VL keys), and the elements of a head are broadcast, one multiply-add of a whole vector each; only dq has
 * a head's elements in the lanes.
 * Every element is the same chain as in the tiles, rounding for rounding: blocks of BLOCK keys, scores by d ascending, sums over keys or queries
 * ascending from zero, VL partial sums of the softmax. So which of the two ways a call takes changes no bit. A factor 0 more in a chain
 * changes none either.
 * What is ALWAYS_INLINE and has a `const int64_t dim` is compiled once for each width that is common and once for all others.
 * Test: tests/backend/test_cpu_attention.c, test_promises.c.
 */
#ifndef STLORA_BACKEND_CPU_ATTENTION_NARROW_TEMPLATE_H
#define STLORA_BACKEND_CPU_ATTENTION_NARROW_TEMPLATE_H

#include "backend/cpu/attention_operands.h"

enum { NARROW_DIM = 32, SUMS = VL == 16 ? 16 : 8 /* that the registers hold beside their factors */ };

static const float lane_numbers[BLOCK] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                          16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
                                          32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47,
                                          48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};

ALWAYS_INLINE int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
ALWAYS_INLINE int64_t whole_steps(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

/* Which lanes and which rows see each other: row r and the lanes [first + r, first + r + window). Rows outside [begin, end) see no lane,
 * those of [whole, whole_end) see all. */
typedef struct lane_sight {
    int64_t first, window, begin, whole, whole_end, end;
} lane_sight;

/* From how far each lane lies behind row r's first, and the window. */
ALWAYS_INLINE vf lanes_behind(const lane_sight *s, int64_t r)
{
    return vf_sub(vf_load(lane_numbers), vf_set1((float)(s->first + r)));
}
ALWAYS_INLINE vm lanes_seen(const lane_sight *s, vf behind)
{
    return vm_and(vf_lt(vf_set1(-0.5f), behind), vf_lt(behind, vf_set1((float)s->window - 0.5f)));
}

/* to (rows, dim): rows of a head as floats. Beside each other they lie in all of the first cache, a power of two apart in a part of it. */
ALWAYS_INLINE void pack_head(float *to, stlora_cmat m, int64_t row, int64_t column, int64_t rows, const int64_t dim)
{
    const void *from = at_element(m.data, m.dtype, row * m.ld + column);
    if (m.dtype != STLORA_F32) {
        widen_rows(to, dim, from, m.dtype, m.ld, rows, dim);
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        memcpy(to + r * dim, (const float *)from + r * m.ld, (size_t)dim * sizeof(float));
}

/* lanes (dim, VL) = at most VL rows of x (rows, dim), turned; zeros in the lanes beyond. */
ALWAYS_INLINE void lanes_of_rows(float *lanes, const void *x, stlora_dtype dtype, int64_t ld, int64_t rows,
                                 const int64_t dim)
{
    if (rows == VL && dim % 4 == 0 && dtype == STLORA_F32) {
        for (int64_t d = 0; d < dim; d += 4) {
            vf four[4];
            vf_load_columns(four, (const float *)x + d, ld);
            for (int i = 0; i < 4; i++)
                vf_store(lanes + (d + i) * VL, four[i]);
        }
        return;
    }
    for (int64_t d = 0; d < dim; d++)
        vf_store(lanes + d * VL, vf_zero());
    transpose_into(lanes, STLORA_F32, VL, x, dtype, ld, rows, dim);
}

/* The other way. */
ALWAYS_INLINE void rows_of_lanes(void *x, stlora_dtype dtype, int64_t ld, const float *lanes, int64_t rows,
                                 const int64_t dim)
{
    if (rows == VL && dim % 4 == 0 && dtype == STLORA_F32) {
        for (int64_t d = 0; d < dim; d += 4) {
            vf four[4];
            for (int i = 0; i < 4; i++)
                four[i] = vf_load(lanes + (d + i) * VL);
            vf_store_columns((float *)x + d, ld, four);
        }
        return;
    }
    transpose_into(x, dtype, ld, lanes, STLORA_F32, VL, dim, rows);
}

/* The sum of VL vectors, which it spoils, added up as vf_sum adds up lanes. */
ALWAYS_INLINE vf sum_vectors(float *v)
{
    for (int half = VL / 2; half > 0; half /= 2)
        for (int c = 0; c < half; c++)
            vf_store(v + c * VL, vf_add(vf_load(v + c * VL), vf_load(v + (c + half) * VL)));
    return vf_load(v);
}

/* Steps [d, d + steps) of mr sums. */
ALWAYS_INLINE void score_steps(const int mr, const int steps, vf acc[8], const float *x, int64_t ld, const float *panel,
                               int64_t d)
{
    UNROLL for (int u = 0; u < steps; u++)
    {
        const vf w = vf_load(panel + (d + u) * VL);
        UNROLL for (int i = 0; i < mr; i++) acc[i] = vf_fma(vf_set1(x[i * ld + d + u]), w, acc[i]);
    }
}

ALWAYS_INLINE void score_rows(const int mr, float *s, const float *x, int64_t ld, const float *panel, const int64_t dim)
{
    vf acc[8];
    UNROLL for (int i = 0; i < mr; i++) acc[i] = vf_zero();
    int64_t d = dim == 16 ? 16 : dim >= 8 ? 8 : 0; /* without a loop where 8 or 16 is all */
    if (d == 16) score_steps(mr, 16, acc, x, ld, panel, 0);
    if (d == 8) score_steps(mr, 8, acc, x, ld, panel, 0);
    for (; d + 8 <= dim; d += 8)
        score_steps(mr, 8, acc, x, ld, panel, d);
    for (; d < dim; d++)
        score_steps(mr, 1, acc, x, ld, panel, d);
    UNROLL for (int i = 0; i < mr; i++) vf_store(s + i * VL, acc[i]);
}

/* s (rows, VL) = x (rows, dim) panel (dim, VL) */
ALWAYS_INLINE void score(float *s, const float *x, int64_t ld, const float *panel, int64_t rows, const int64_t dim)
{
    int64_t r = 0;
    for (; r + 8 <= rows; r += 8)
        score_rows(8, s + r * VL, x + r * ld, ld, panel, dim);
    for (; r < rows; r++)
        score_rows(1, s + r * VL, x + r * ld, ld, panel, dim);
}

/* edge: where a lane does not see a row its sums stay as they are, whatever stands in the row. */
ALWAYS_INLINE void gather_rows(const int dims, const bool edge, vf acc[SUMS], const float *weights, const float *x,
                               int64_t ld, const lane_sight *seen, int64_t begin, int64_t end)
{
    vf behind = lanes_behind(seen, begin);
    for (int64_t r = begin; r < end; r++) {
        const vf w = vf_load(weights + r * VL);
        if (edge) {
            const vm m = lanes_seen(seen, behind);
            UNROLL for (int i = 0; i < dims; i++) acc[i] = vf_fma_where(m, vf_set1(x[r * ld + i]), w, acc[i]);
            behind = vf_sub(behind, vf_set1(1.0f));
        } else {
            UNROLL for (int i = 0; i < dims; i++) acc[i] = vf_fma(vf_set1(x[r * ld + i]), w, acc[i]);
        }
    }
}

/* to (dims, VL) = rest to + the sum over the rows of weights x, a chain of its own, from zero; rest NULL: 1 */
ALWAYS_INLINE void gather_dims(const int dims, const bool edges, const float *weights, const float *x, int64_t ld,
                               const lane_sight *seen, const float *rest, float *to)
{
    vf acc[SUMS];
    UNROLL for (int i = 0; i < dims; i++) acc[i] = vf_zero();
    if (edges) {
        gather_rows(dims, true, acc, weights, x, ld, seen, seen->begin, seen->whole);
        gather_rows(dims, false, acc, weights, x, ld, seen, seen->whole, seen->whole_end);
        gather_rows(dims, true, acc, weights, x, ld, seen, seen->whole_end, seen->end);
    } else {
        gather_rows(dims, false, acc, weights, x, ld, seen, seen->begin, seen->end);
    }
    UNROLL for (int i = 0; i < dims; i++)
    {
        const vf before = vf_load(to + i * VL);
        vf_store(to + i * VL, vf_add(rest ? vf_mul(before, vf_load(rest)) : before, acc[i]));
    }
}

ALWAYS_INLINE void gather(const bool edges, const float *weights, const float *x, int64_t ld, const int64_t dim,
                          const lane_sight *seen, const float *rest, float *to)
{
    int64_t d = 0;
    for (; d + SUMS <= dim; d += SUMS)
        gather_dims(SUMS, edges, weights, x + d, ld, seen, rest, to + d * VL);
    for (; d + 8 <= dim; d += 8)
        gather_dims(8, edges, weights, x + d, ld, seen, rest, to + d * VL);
    for (; d < dim; d++)
        gather_dims(1, edges, weights, x + d, ld, seen, rest, to + d * VL);
}

/* ---- forward: queries in the lanes ---- */

/* VL queries of one head, and what a block of keys gives them. */
typedef struct query_lanes {
    float q[NARROW_DIM * VL], o[NARROW_DIM * VL]; /* (dim, VL) */
    float l[VL * VL];                             /* partial sum c: of the keys that are c modulo VL in their block */
    float m[VL];
    float s[BLOCK * VL];       /* (keys, VL): scores, then p */
    float rest[VL], shift[VL]; /* what is left of o and l; what is added to a score's exponent */
    lane_sight seen;
} query_lanes;

typedef struct narrow_scratch {
    query_lanes lanes[BLOCK / VL];
    float k[BLOCK * NARROW_DIM], v[BLOCK * NARROW_DIM]; /* where they came as bf16 */
} narrow_scratch;

/* n queries and `keys` keys; key r is seen from lane first + r on. */
static lane_sight sight_of_queries(int64_t first, int64_t window, int64_t n, int64_t keys)
{
    lane_sight s = {.first = first, .window = window, .begin = most(0, 1 - first - window)};
    s.end = most(s.begin, least(keys, n - first));
    s.whole = least(s.end, most(s.begin, n - window - first)); /* before it the last lane sees nothing */
    s.whole_end = least(s.end, most(s.whole, 1 - first));      /* behind it the first */
    return s;
}

/* Scores that a lane does not see become -inf. */
ALWAYS_INLINE void hide(float *s, const lane_sight *seen, int64_t begin, int64_t end)
{
    vf behind = lanes_behind(seen, begin);
    for (int64_t r = begin; r < end; r++) {
        vf_store(s + r * VL, vf_select(lanes_seen(seen, behind), vf_load(s + r * VL), vf_set1(-INFINITY)));
        behind = vf_sub(behind, vf_set1(1.0f));
    }
}

/* Passes a NaN by, or keeps it: either way it comes back in the sum. */
ALWAYS_INLINE vf largest_of(const float *s, int64_t begin, int64_t end)
{
    vf top[4];
    UNROLL for (int i = 0; i < 4; i++) top[i] = vf_set1(-INFINITY);
    int64_t r = begin;
    for (; r + 4 <= end; r += 4)
        UNROLL for (int i = 0; i < 4; i++) top[i] = vf_max(vf_load(s + (r + i) * VL), top[i]);
    for (; r < end; r++)
        top[0] = vf_max(vf_load(s + r * VL), top[0]);
    return vf_max(vf_max(top[0], top[1]), vf_max(top[2], top[3]));
}

/* Scores of a block of keys, and m with them. */
ALWAYS_INLINE void score_lanes(query_lanes *w, const float *k, int64_t ld, const soft_cap *cap, float scale,
                               const int64_t dim)
{
    const lane_sight seen = w->seen;
    score(w->s + seen.begin * VL, k + seen.begin * ld, ld, w->q, seen.end - seen.begin, dim);
    if (cap->on) cap_scores(cap, w->s + seen.begin * VL, (seen.end - seen.begin) * VL);
    hide(w->s, &seen, seen.begin, seen.whole);
    hide(w->s, &seen, seen.whole_end, seen.end);
    const vf before = vf_load(w->m), found = vf_mul(largest_of(w->s, seen.begin, seen.end), vf_set1(scale));
    const vm more = vf_lt(before, found);
    const vf now = vf_select(more, found, before);
    /* nothing seen but -inf: exp(-inf - 0) = 0 */
    const vf origin = vf_select(vf_lt(vf_set1(-INFINITY), now), now, vf_zero());
    vf_store(w->rest, vf_select(more, vf_exp2(vf_sub(before, origin)), vf_set1(1.0f)));
    vf_store(w->shift, vf_sub(vf_zero(), origin));
    vf_store(w->m, now);
}

/* Scores become p; l and o follow. */
ALWAYS_INLINE void weigh_lanes(query_lanes *w, const float *v, int64_t ld, float scale, const int64_t dim)
{
    const lane_sight seen = w->seen;
    const vf rest = vf_load(w->rest), shift = vf_load(w->shift);
    for (int c = 0; c < VL; c++)
        vf_store(w->l + c * VL, vf_mul(vf_load(w->l + c * VL), rest));
    for (int64_t r = seen.begin; r < seen.end; r++) {
        const vf e = vf_exp2(vf_fma(vf_load(w->s + r * VL), vf_set1(scale), shift));
        float *l = w->l + (uint64_t)r % VL * VL;
        vf_store(w->s + r * VL, e);
        vf_store(l, vf_add(vf_load(l), e));
    }
    gather(true, w->s, v, ld, dim, &seen, w->rest, w->o);
}

ALWAYS_INLINE void store_lanes(const stlora_attention_args *a, query_lanes *w, int64_t head, int64_t query, int64_t n,
                               const int64_t dim)
{
    const vf sum = sum_vectors(w->l);
    float lse[VL];
    for (int64_t d = 0; d < dim; d++)
        vf_store(w->o + d * VL, vf_div(vf_load(w->o + d * VL), sum));
    rows_of_lanes(at_element_mut(a->o.data, a->o.dtype, query * a->o.ld + head * dim), a->o.dtype, a->o.ld, w->o, n,
                  dim);
    vf_store(lse, log_of_sums(vf_load(w->m), sum));
    for (int64_t i = 0; i < n; i++)
        a->lse[(query + i) * a->heads + head] = lse[i];
}

ALWAYS_INLINE void attend_queries(const stlora_backend *table, const stlora_attention_args *a,
                                  const stlora_segment *segment, int64_t head, int64_t begin, int64_t end, int thread,
                                  const int64_t dim)
{
    const int64_t column = head / (a->heads / a->kv_heads) * dim, groups = (end - begin + VL - 1) / VL;
    const int64_t window = a->window > 0 ? a->window : segment->k_count, last_key = end_key(segment, end - 1);
    const float scale = (float)(a->scale * LOG2_E);
    const soft_cap cap = soft_cap_of(a->scale, a->softcap);
    narrow_scratch *w = stlora_cpu_block(table, thread);
    for (int64_t g = 0; g < groups; g++) {
        query_lanes *l = &w->lanes[g];
        const int64_t i = begin + g * VL, at = (segment->q0 + i) * a->q.ld + head * dim;
        lanes_of_rows(l->q, at_element(a->q.data, a->q.dtype, at), a->q.dtype, a->q.ld, least(VL, end - i), dim);
        for (int64_t d = 0; d < dim; d++)
            vf_store(l->o + d * VL, vf_zero());
        for (int c = 0; c < VL; c++)
            vf_store(l->l + c * VL, vf_zero());
        vf_store(l->m, vf_set1(-INFINITY));
    }
    for (int64_t j = first_key(segment, a->window, begin) / BLOCK * BLOCK; j < last_key; j += BLOCK) {
        const int64_t keys = least(BLOCK, last_key - j);
        int64_t ldk, ldv;
        const float *k = head_rows(false, w->k, a->k, segment->k0 + j, column, keys, dim, &ldk);
        const float *v = head_rows(false, w->v, a->v, segment->k0 + j, column, keys, dim, &ldv);
        /* all scores first: what one group waits for to know its m is hidden by the next one's */
        for (int64_t g = 0; g < groups; g++) {
            const int64_t i = begin + g * VL;
            query_lanes *l = &w->lanes[g];
            l->seen = sight_of_queries(j - (segment->k_count - segment->q_count) - i, window, least(VL, end - i), keys);
            if (l->seen.begin < l->seen.end) score_lanes(l, k, ldk, &cap, scale, dim);
        }
        for (int64_t g = 0; g < groups; g++)
            if (w->lanes[g].seen.begin < w->lanes[g].seen.end) weigh_lanes(&w->lanes[g], v, ldv, scale, dim);
    }
    for (int64_t g = 0; g < groups; g++) {
        const int64_t i = begin + g * VL;
        store_lanes(a, &w->lanes[g], head, segment->q0 + i, least(VL, end - i), dim);
    }
}

/* Queries [begin, end) of a segment's head, at most BLOCK. */
static void attend_narrow(const stlora_backend *table, const stlora_attention_args *a, const stlora_segment *segment,
                          int64_t head, int64_t begin, int64_t end, int thread)
{
    switch (a->head_dim) {
    case 8:
        attend_queries(table, a, segment, head, begin, end, thread, 8);
        break;
    case 16:
        attend_queries(table, a, segment, head, begin, end, thread, 16);
        break;
    case 32:
        attend_queries(table, a, segment, head, begin, end, thread, 32);
        break;
    default:
        attend_queries(table, a, segment, head, begin, end, thread, a->head_dim);
    }
}

/* ---- gradient: keys in the lanes ---- */

enum { GRAD_ROWS = 4, GRAD_TILE = 16 };

/* VL keys of one head. */
typedef struct key_lanes {
    float k[NARROW_DIM * VL], v[NARROW_DIM * VL];   /* (dim, VL) */
    float dk[NARROW_DIM * VL], dv[NARROW_DIM * VL]; /* (dim, VL) */
} key_lanes;

typedef struct narrow_grad_scratch {
    key_lanes lanes[BLOCK / VL];
    float k[BLOCK * NARROW_DIM], v[BLOCK * NARROW_DIM]; /* (keys, dim) */
    float q[BLOCK * NARROW_DIM], d[BLOCK * NARROW_DIM]; /* (queries, dim): q, dout */
    float lse[BLOCK], delta[BLOCK];                     /* -lse / ln 2, -delta times scale */
    float p[BLOCK * VL], g[BLOCK * VL];                 /* (queries, VL): p, ds */
    float ds[BLOCK * BLOCK];                            /* (queries, keys); in pairs (queries / 2, keys, 2) */
    float rows[BLOCK * (NARROW_DIM + VL)];              /* (keys, whole vectors): k as dq wants it */
} narrow_grad_scratch;

/* A block of queries and a block of keys: of query r the keys (r - blind - window, r - blind] are seen. */
typedef struct grad_blocks {
    int64_t queries, keys, blind, window;
    float scale;
    soft_cap cap;
} grad_blocks;

/* dq = ds k has the elements of a head in the lanes, a query's ds broadcast. Where they fill half a vector it is of two queries, every element
 * of k stands in it twice, and the ds of both lie beside each other, as vf_zip_low and vf_zip_high leave them. */
ALWAYS_INLINE bool in_pairs(const int64_t dim)
{
    return VL == 16 && dim == 8;
}
static const int32_t each_twice[16] = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7};
static const int32_t pairs_apart[16] = {0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15};

/* VL keys, `blind` queries before the first of them. In whole tiles of queries, so that dq finds all of a tile's ds or none. */
static lane_sight sight_of_keys(int64_t blind, int64_t window, int64_t queries)
{
    lane_sight s = {.first = 1 - blind - window, .window = window, .begin = most(0, blind) / GRAD_TILE * GRAD_TILE};
    const int64_t last = blind + VL - 1; /* the first that sees them all */
    if (last + window <= 0 || blind >= queries) return (lane_sight){.window = window};
    s.end = least(queries, whole_steps(last + window, GRAD_TILE));
    s.whole = least(s.end, most(s.begin, whole_steps(last, GRAD_ROWS)));
    s.whole_end = least(s.end, most(s.whole, (blind + window) / GRAD_ROWS * GRAD_ROWS));
    return s;
}

ALWAYS_INLINE void grad_steps(const int steps, vf s[GRAD_ROWS], vf g[GRAD_ROWS], const key_lanes *l, const float *q,
                              const float *d, int64_t c, const int64_t dim)
{
    UNROLL for (int u = 0; u < steps; u++)
    {
        const vf k = vf_load(l->k + (c + u) * VL), v = vf_load(l->v + (c + u) * VL);
        UNROLL for (int i = 0; i < GRAD_ROWS; i++)
        {
            s[i] = vf_fma(vf_set1(q[i * dim + c + u]), k, s[i]);
            g[i] = vf_fma(vf_set1(d[i * dim + c + u]), v, g[i]);
        }
    }
}

/* p and ds of GRAD_ROWS queries from r on and a group of VL keys. */
ALWAYS_INLINE void grad_rows(const bool capped, narrow_grad_scratch *w, int64_t group, const grad_blocks *b,
                             const lane_sight *seen, int64_t r, const int64_t dim)
{
    const bool edge = r < seen->whole || r >= seen->whole_end;
    const vf log_scale = vf_set1((float)((double)b->scale * LOG2_E)), scale = vf_set1(b->scale);
    vf s[GRAD_ROWS], g[GRAD_ROWS], p[GRAD_ROWS];
    UNROLL for (int i = 0; i < GRAD_ROWS; i++) s[i] = g[i] = vf_zero();
    int64_t c = 0;
    for (; c + 8 <= dim; c += 8)
        grad_steps(8, s, g, &w->lanes[group], w->q + r * dim, w->d + r * dim, c, dim);
    for (; c < dim; c++)
        grad_steps(1, s, g, &w->lanes[group], w->q + r * dim, w->d + r * dim, c, dim);
    UNROLL for (int i = 0; i < GRAD_ROWS; i++)
    {
        if (capped) s[i] = vf_mul(vf_tanh(vf_mul(s[i], vf_set1(b->cap.inner))), vf_set1(b->cap.outer));
        p[i] = vf_exp2(vf_fma(s[i], log_scale, vf_set1(w->lse[r + i])));
        g[i] = vf_mul(p[i], vf_fma(g[i], scale, vf_set1(w->delta[r + i])));
        if (capped) g[i] = cap_bend(&b->cap, s[i], g[i]);
    }
    if (edge) {
        vf behind = lanes_behind(seen, r);
        UNROLL for (int i = 0; i < GRAD_ROWS; i++)
        {
            const vm m = lanes_seen(seen, behind);
            p[i] = vf_select(m, p[i], vf_zero());
            g[i] = vf_select(m, g[i], vf_zero());
            behind = vf_sub(behind, vf_set1(1.0f));
        }
    }
    UNROLL for (int i = 0; i < GRAD_ROWS; i++)
    {
        vf_store(w->p + (r + i) * VL, p[i]);
        vf_store(w->g + (r + i) * VL, g[i]);
        if (!in_pairs(dim)) vf_store(w->ds + (r + i) * BLOCK + group * VL, g[i]);
    }
    if (in_pairs(dim)) {
        UNROLL for (int i = 0; i < GRAD_ROWS; i += 2)
        {
            float *ds = w->ds + (r + i) * BLOCK + group * 2 * VL;
            vf_store(ds, vf_zip_low(g[i], g[i + 1]));
            vf_store(ds + VL, vf_zip_high(g[i], g[i + 1]));
        }
    }
}

/* What a block of queries and a group of VL keys give each other, and ds. */
ALWAYS_INLINE void grad_lanes(const bool capped, narrow_grad_scratch *w, int64_t group, const grad_blocks *b,
                              const int64_t dim)
{
    key_lanes *l = &w->lanes[group];
    const lane_sight seen = sight_of_keys(b->blind + group * VL, b->window, b->queries);
    if (seen.begin >= seen.end) return;
    /* beyond the last query stands what was there; nobody asks for what becomes of it */
    for (int64_t r = seen.begin; r < seen.end; r += GRAD_ROWS)
        grad_rows(capped, w, group, b, &seen, r, dim);
    gather(false, w->p, w->d, dim, dim, &seen, NULL, l->dv);
    gather(false, w->g, w->q, dim, dim, &seen, NULL, l->dk);
}

/* dq (mr vectors, two queries each) += ds k, of groups of keys in [begin, end); n numbers of the last vector. */
ALWAYS_INLINE void query_pairs(const int mr, const float *ds, const float *rows, int64_t begin, int64_t end, float *dq,
                               int n)
{
    vf acc[8];
    UNROLL for (int i = 0; i < mr; i++) acc[i] = vf_zero();
    for (int64_t j = begin; j < end; j += 4) {
        const float *four = ds + j / VL * 2 * VL + j % VL;
        UNROLL for (int u = 0; u < 4; u++)
        {
            const vf k = vf_load(rows + (j + u) * VL);
            const int at = u / 2 * VL + u % 2 * 2;
            UNROLL for (int i = 0; i < mr; i++) acc[i] = vf_fma(vf_set2(four + i * 2 * BLOCK + at), k, acc[i]);
        }
    }
    UNROLL for (int i = 0; i < mr; i++)
    {
        const vf sum = vf_pick(acc[i], pairs_apart);
        if (i < mr - 1 || n == VL)
            vf_store(dq + i * VL, vf_add(vf_load(dq + i * VL), sum));
        else
            vf_store_n(dq + i * VL, vf_add(vf_load_n(dq + i * VL, n), sum), n);
    }
}

/* dq (mr queries, ld), n columns, += ds k of keys [begin, end). */
ALWAYS_INLINE void query_rows(const int mr, const float *ds, const float *rows, int64_t ld_rows, int64_t begin,
                              int64_t end, float *dq, int64_t ld, int n)
{
    vf acc[SUMS];
    UNROLL for (int i = 0; i < mr; i++) acc[i] = vf_zero();
    for (int64_t j = begin; j < end; j++) {
        const vf k = vf_load(rows + j * ld_rows);
        UNROLL for (int i = 0; i < mr; i++) acc[i] = vf_fma(vf_set1(ds[i * BLOCK + j]), k, acc[i]);
    }
    UNROLL for (int i = 0; i < mr; i++)
    {
        if (n == VL)
            vf_store(dq + i * ld, vf_add(vf_load(dq + i * ld), acc[i]));
        else
            vf_store_n(dq + i * ld, vf_add(vf_load_n(dq + i * ld, n), acc[i]), n);
    }
}

/* dq (queries, dim) += ds k, of the groups of keys of which a tile of queries sees any. */
ALWAYS_INLINE void grad_queries(const narrow_grad_scratch *w, const grad_blocks *b, float *dq, const int64_t dim)
{
    const int64_t wide = whole_steps(dim, VL);
    for (int64_t t = 0; t < b->queries; t += GRAD_TILE) {
        const int64_t last = least(b->queries, t + GRAD_TILE);
        const int64_t begin = most(0, t - b->blind - b->window + 1) / VL * VL;
        const int64_t end = whole_steps(least(b->keys, most(0, last - b->blind)), VL);
        int64_t i = t;
        if (in_pairs(dim)) {
            for (; i + 16 <= last; i += 16)
                query_pairs(8, w->ds + i * BLOCK, w->rows, begin, end, dq + i * dim, VL);
            for (; i < last; i += 2)
                query_pairs(1, w->ds + i * BLOCK, w->rows, begin, end, dq + i * dim, (int)(least(2, last - i) * dim));
            continue;
        }
        for (; i + SUMS <= last; i += SUMS)
            for (int64_t c = 0; c < dim; c += VL)
                query_rows(SUMS, w->ds + i * BLOCK, w->rows + c, wide, begin, end, dq + i * dim + c, dim,
                           (int)least(VL, dim - c));
        for (; i < last; i++)
            for (int64_t c = 0; c < dim; c += VL)
                query_rows(1, w->ds + i * BLOCK, w->rows + c, wide, begin, end, dq + i * dim + c, dim,
                           (int)least(VL, dim - c));
    }
}

/* delta of a segment's head: dot_rows' sums, VL rows at a time. */
ALWAYS_INLINE void delta_of_head(const stlora_attention_grad_args *a, const stlora_segment *segment, int64_t head,
                                 key_lanes *w, const int64_t dim)
{
    for (int64_t i = 0; i < segment->q_count; i += VL) {
        const int64_t n = least(VL, segment->q_count - i), row = segment->q0 + i, column = head * dim;
        float sums[VL * VL], delta[VL];
        lanes_of_rows(w->k, at_element(a->o.data, a->o.dtype, row * a->o.ld + column), a->o.dtype, a->o.ld, n, dim);
        lanes_of_rows(w->v, at_element(a->dout.data, a->dout.dtype, row * a->dout.ld + column), a->dout.dtype,
                      a->dout.ld, n, dim);
        for (int64_t c = 0; c < VL; c++) {
            vf sum = vf_zero();
            for (int64_t d = c; d < dim; d += VL)
                sum = vf_fma(vf_load(w->k + d * VL), vf_load(w->v + d * VL), sum);
            vf_store(sums + c * VL, sum);
        }
        vf_store(delta, sum_vectors(sums));
        for (int64_t t = 0; t < n; t++)
            a->delta[(row + t) * a->heads + head] = delta[t];
    }
}

/* The block of keys at row k0. */
ALWAYS_INLINE void grad_pack_keys(const stlora_attention_grad_args *a, narrow_grad_scratch *w, int64_t k0, int64_t kv,
                                  int64_t keys, const int64_t dim)
{
    pack_head(w->k, a->k, k0, kv * dim, keys, dim);
    pack_head(w->v, a->v, k0, kv * dim, keys, dim);
    for (int64_t r = 0; r < keys; r++) {
        if (in_pairs(dim))
            vf_store(w->rows + r * VL, vf_pick(vf_load_n(w->k + r * dim, (int)dim), each_twice));
        else
            memcpy(w->rows + r * whole_steps(dim, VL), w->k + r * dim, (size_t)dim * sizeof(float));
    }
    for (int64_t r = 0; r < keys; r += VL) {
        key_lanes *l = &w->lanes[r / VL];
        lanes_of_rows(l->k, w->k + r * dim, STLORA_F32, dim, least(VL, keys - r), dim);
        lanes_of_rows(l->v, w->v + r * dim, STLORA_F32, dim, least(VL, keys - r), dim);
        for (int64_t d = 0; d < dim; d++) {
            vf_store(l->dk + d * VL, vf_zero());
            vf_store(l->dv + d * VL, vf_zero());
        }
    }
}

/* The block of queries at row `row`. */
ALWAYS_INLINE void grad_pack_rows(const stlora_attention_grad_args *a, narrow_grad_scratch *w, int64_t row,
                                  int64_t head, int64_t queries, const int64_t dim)
{
    pack_head(w->q, a->q, row, head * dim, queries, dim);
    pack_head(w->d, a->dout, row, head * dim, queries, dim);
    for (int64_t t = 0; t < queries; t++) {
        const int64_t at = (row + t) * a->heads + head;
        w->lse[t] = -(float)((double)a->lse[at] * LOG2_E);
        w->delta[t] = -((float)a->scale * a->delta[at]);
    }
}

ALWAYS_INLINE void grad_head(const bool capped, const stlora_backend *table, const stlora_attention_grad_args *a,
                             const stlora_segment *segment, int64_t head, float *dq, float *dk, float *dv, int thread,
                             const int64_t dim)
{
    const int64_t hidden = segment->k_count - segment->q_count;
    narrow_grad_scratch *w = stlora_cpu_block(table, thread);
    grad_blocks b = {.window = a->window > 0 ? a->window : segment->k_count,
                     .scale = (float)a->scale,
                     .cap = soft_cap_of(a->scale, a->softcap)};
    memset(w->rows, 0, (size_t)(BLOCK * whole_steps(dim, VL)) * sizeof(float));
    memset(dq, 0, (size_t)(segment->q_count * dim) * sizeof(float));
    delta_of_head(a, segment, head, w->lanes, dim);
    for (int64_t j = 0; j < segment->k_count; j += BLOCK) {
        b.keys = least(BLOCK, segment->k_count - j);
        grad_pack_keys(a, w, segment->k0 + j, head / (a->heads / a->kv_heads), b.keys, dim);
        for (int64_t i = most(0, j - hidden) / BLOCK * BLOCK; i < segment->q_count; i += BLOCK) {
            b.queries = least(BLOCK, segment->q_count - i);
            b.blind = j - hidden - i;
            if (first_key(segment, a->window, i) >= j + b.keys) break;
            grad_pack_rows(a, w, segment->q0 + i, head, b.queries, dim);
            for (int64_t g = 0; g * VL < b.keys; g++)
                grad_lanes(capped, w, g, &b, dim);
            grad_queries(w, &b, dq + i * dim, dim);
        }
        for (int64_t r = 0; r < b.keys; r += VL) {
            const key_lanes *l = &w->lanes[r / VL];
            rows_of_lanes(dk + (j + r) * dim, STLORA_F32, dim, l->dk, least(VL, b.keys - r), dim);
            rows_of_lanes(dv + (j + r) * dim, STLORA_F32, dim, l->dv, least(VL, b.keys - r), dim);
        }
    }
    for (int64_t i = 0; i < segment->q_count; i++) {
        const int64_t at = (segment->q0 + i) * a->dq.ld + head * dim;
        for (int64_t d = 0; d < dim; d += VL) {
            const int n = (int)least(VL, dim - d);
            store_as_n(a->dq.data, a->dq.dtype, at + d, vf_load_n(dq + i * dim + d, n), n);
        }
    }
}

/* A segment's head: a's dq; dk, dv (keys of the segment, dim) of this query head alone. dq: scratch (queries of the segment, dim). */
static void grad_narrow(const stlora_backend *table, const stlora_attention_grad_args *a, const stlora_segment *segment,
                        int64_t head, float *dq, float *dk, float *dv, int thread)
{
    switch (a->softcap > 0 ? 0 : a->head_dim) {
    case 8:
        grad_head(false, table, a, segment, head, dq, dk, dv, thread, 8);
        break;
    case 16:
        grad_head(false, table, a, segment, head, dq, dk, dv, thread, 16);
        break;
    case 32:
        grad_head(false, table, a, segment, head, dq, dk, dv, thread, 32);
        break;
    default:
        grad_head(a->softcap > 0, table, a, segment, head, dq, dk, dv, thread, a->head_dim);
    }
}

#endif
