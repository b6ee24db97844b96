/* attention_narrow_template.h: attention for heads that are narrower than a tile, VL queries in the lanes (attention_lanes_template.h says why), for
 * the level whose simd_*.h came before. Test: tests/backend/test_cpu_attention.c, test_promises.c. */
#ifndef STLORA_BACKEND_CPU_ATTENTION_NARROW_TEMPLATE_H
#define STLORA_BACKEND_CPU_ATTENTION_NARROW_TEMPLATE_H

#include "backend/cpu/attention_lanes_template.h"

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
    case 32:
        attend_queries(table, a, segment, head, begin, end, thread, 32);
        break;
    default:
        attend_queries(table, a, segment, head, begin, end, thread, a->head_dim);
    }
}

#endif
