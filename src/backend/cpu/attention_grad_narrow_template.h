/* attention_grad_narrow_template.h: the gradient of attention for heads that are narrower than a tile, VL keys in the lanes
 * (attention_lanes_template.h says why), for the level whose simd_*.h came before. Test: tests/backend/test_cpu_attention.c, test_promises.c. */
#ifndef STLORA_BACKEND_CPU_ATTENTION_GRAD_NARROW_TEMPLATE_H
#define STLORA_BACKEND_CPU_ATTENTION_GRAD_NARROW_TEMPLATE_H

#include "backend/cpu/attention_lanes_template.h"

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
    case 32:
        grad_head(false, table, a, segment, head, dq, dk, dv, thread, 32);
        break;
    default:
        grad_head(a->softcap > 0, table, a, segment, head, dq, dk, dv, thread, a->head_dim);
    }
}

#endif
