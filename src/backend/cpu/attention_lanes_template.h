/* attention_lanes_template.h: what attention for narrow heads and its gradient are made of, for the level whose simd_*.h came before: lanes that
 * see only some rows, heads turned into lanes and back, scores and weighted sums of a whole vector at a time.
 *
 * A tile has head_dim columns, and with 8 of them most of its lanes and most of its steps are idle. So for heads of up to NARROW_DIM VL queries lie
 * side by side in the lanes (forward; in the gradient VL keys), and the elements of a head are broadcast, one multiply-add of a whole vector each; only dq has
 * a head's elements in the lanes.
 * Every element is the same chain as in the tiles, rounding for rounding: blocks of BLOCK keys, scores by d ascending, sums over keys or queries
 * ascending from zero, VL partial sums of the softmax. So which of the two ways a call takes changes no bit. A factor 0 more in a chain
 * changes none either.
 * What is ALWAYS_INLINE and has a `const int64_t dim` is compiled once for each width that is common and once for all others.
 * Test: tests/backend/test_cpu_attention.c, test_promises.c.
 */
#ifndef STLORA_BACKEND_CPU_ATTENTION_LANES_TEMPLATE_H
#define STLORA_BACKEND_CPU_ATTENTION_LANES_TEMPLATE_H

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

#endif
