/* attention_operands.h: the small products that attention is made of, on floats, or on bf16 in pairs along the sum where the level
 * multiplies pairs and everything that is multiplied came as bf16; for the level whose simd_*.h came before.
 *
 * With pairs, what attention computes itself and multiplies again (p, ds) is rounded to bf16 first; sums, scores, exponentials and
 * what is kept from block to block are floats either way. "Elements" below are floats, or bf16 with pairs.
 */
#ifndef STLORA_BACKEND_CPU_ATTENTION_OPERANDS_H
#define STLORA_BACKEND_CPU_ATTENTION_OPERANDS_H

#include "backend/cpu/pack_template.h"
#include "backend/cpu/vmath_template.h"
#if defined(STLORA_LEVEL_BF16)
#    include "backend/cpu/tile_bf16.h"
#endif

/* Queries and keys of a block: part of the order of summation. */
enum { BLOCK = 64, MAX_HEAD_DIM = STLORA_MAX_HEAD_DIM };
/* Exponentials are powers of two, exp(x) = 2^(x / ln 2): one multiplication less each. */
#define LOG2_E 1.44269504088896341
_Static_assert(BLOCK % PANEL == 0 || PANEL % BLOCK == 0, "blocks are whole panels");

static inline bool pairs_of(stlora_dtype a, stlora_dtype b, stlora_dtype c)
{
#if defined(STLORA_LEVEL_BF16)
    return a == STLORA_BF16 && b == STLORA_BF16 && c == STLORA_BF16;
#else
    (void)a, (void)b, (void)c;
    return false;
#endif
}

static inline stlora_dtype element_of(bool pairs)
{
    return pairs ? STLORA_BF16 : STLORA_F32;
}

/* Bytes of panels of (steps, cols). */
static inline int64_t panel_bytes(bool pairs, int64_t steps, int64_t cols)
{
    const int64_t width = vectors_of(cols) * VL;
    return (pairs ? (steps + 1) / 2 : steps) * width * 4;
}

/* Panels of (steps, cols), PANEL columns at a time, one panel behind another: panel[k, o] = m[row + o, column + k]. */
static void pack_columns_set(bool pairs, void *panels, stlora_cmat m, int64_t row, int64_t column, int64_t steps,
                             int64_t cols)
{
    for (int64_t o = 0; o < cols; o += PANEL) {
        char *panel = (char *)panels + panel_bytes(pairs, steps, o);
        const void *from = at_element(m.data, m.dtype, (row + o) * m.ld + column);
#if defined(STLORA_LEVEL_BF16)
        if (pairs) {
            pack_pairs_from_rows((uint32_t *)panel, from, m.ld, steps, least(PANEL, cols - o));
            continue;
        }
#endif
        pack_rows_as_columns((float *)panel, from, m.dtype, m.ld, steps, least(PANEL, cols - o));
    }
}

/* panel[k, o] = m[row + k, column + o] */
static void pack_rows_set(bool pairs, void *panels, stlora_cmat m, int64_t row, int64_t column, int64_t steps,
                          int64_t cols)
{
    for (int64_t o = 0; o < cols; o += PANEL) {
        char *panel = (char *)panels + panel_bytes(pairs, steps, o);
        const void *from = at_element(m.data, m.dtype, row * m.ld + column + o);
#if defined(STLORA_LEVEL_BF16)
        if (pairs) {
            pack_pairs_from_columns((uint32_t *)panel, from, m.ld, steps, least(PANEL, cols - o));
            continue;
        }
#endif
        pack_rows_as_rows((float *)panel, from, m.dtype, m.ld, steps, least(PANEL, cols - o));
    }
}

/* y (mr, cols) = (add ? y : 0) + sum over k in [begin, end) of x[., k] panels[k, .], panels of `packed` steps; begin even with pairs. */
static void multiply(bool pairs, int mr, const void *x, int64_t ldx, const void *panels, int64_t packed, int64_t begin,
                     int64_t end, int64_t cols, bool add, float *y, int64_t ldy)
{
    tile t = {.x = at_element(x, element_of(pairs), begin),
              .ldx = ldx,
              .steps = end - begin,
              .from_dtype = STLORA_F32,
              .ld_from = ldy,
              .y_dtype = STLORA_F32,
              .ldy = ldy};
    const tile_function(*kernels)[TILE_NV] = tile_f32_table;
#if defined(STLORA_LEVEL_BF16)
    if (pairs) kernels = tile_bf16_table;
#endif
    for (int64_t o = 0; o < cols; o += PANEL) {
        t.cols = (int)least(PANEL, cols - o);
        const int nv = vectors_of(t.cols);
        t.panel = (const char *)panels + panel_bytes(pairs, packed, o) + panel_bytes(pairs, begin, t.cols);
        t.y = y + o;
        t.from = add ? t.y : NULL;
        kernels[mr - 1][nv - 1](&t);
    }
}

/* Vector i of a row of elements that this level computed. */
ALWAYS_INLINE void store_element(bool pairs, void *row, int64_t i, vf v)
{
#if defined(STLORA_LEVEL_BF16)
    if (pairs) {
        const __m256bh rounded = _mm512_cvtneps_pbh(v);
        memcpy((uint16_t *)row + i, &rounded, sizeof rounded);
        return;
    }
#endif
    (void)pairs;
    vf_store((float *)row + i, v);
}

/* Rows of a head as elements: where they are, or as floats in `to` (rows, dim). */
static const void *head_rows(bool pairs, float *to, stlora_cmat m, int64_t row, int64_t column, int64_t rows,
                             int64_t dim, int64_t *ld)
{
    const void *at = at_element(m.data, m.dtype, row * m.ld + column);
    if (pairs || m.dtype == STLORA_F32) {
        *ld = m.ld;
        return at;
    }
    widen_rows(to, dim, at, m.dtype, m.ld, rows, dim);
    *ld = dim;
    return to;
}

/* to[c, r] = from[r, c], each of any float dtype that the level stores. */
static void transpose_into(void *to, stlora_dtype to_dtype, int64_t ld_to, const void *from, stlora_dtype from_dtype,
                           int64_t ld_from, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r += VL) {
        const int height = (int)least(VL, rows - r);
        for (int64_t c = 0; c < cols; c += VL) {
            const int width = (int)least(VL, cols - c);
            vf v[VL];
            for (int i = 0; i < VL; i++)
                v[i] = i < height ? load_as_n(from, from_dtype, (r + i) * ld_from + c, width) : vf_zero();
            vf_transpose(v);
            for (int i = 0; i < width; i++)
                store_as_n(to, to_dtype, (c + i) * ld_to + r, v[i], height);
        }
    }
}

/* What a soft cap makes of scores: they go into the softmax as scale * score, so s becomes s' with scale s' = cap tanh(scale s / cap).
 * The derivative of scale s' by scale s is 1 - (scale s' / cap)^2. */
typedef struct soft_cap {
    bool on;
    float inner, outer; /* scale / cap, cap / scale */
} soft_cap;

static inline soft_cap soft_cap_of(double scale, double cap)
{
    return cap > 0 ? (soft_cap){true, (float)(scale / cap), (float)(cap / scale)} : (soft_cap){false, 0, 0};
}

/* The first n of s, which has room for whole vectors. */
static void cap_scores(const soft_cap *c, float *s, int64_t n)
{
    for (int64_t j = 0; j < n; j += VL)
        vf_store(s + j, vf_mul(vf_tanh(vf_mul(vf_load(s + j), vf_set1(c->inner))), vf_set1(c->outer)));
}

/* g times the derivative where s' stands. */
ALWAYS_INLINE vf cap_bend(const soft_cap *c, vf s, vf g)
{
    const vf t = vf_mul(s, vf_set1(c->inner));
    return vf_mul(g, vf_fnma(t, t, vf_set1(1.0f)));
}

/* lse of rows from their largest scores, as powers of two's exponents, and their sums */
ALWAYS_INLINE vf log_of_sums(vf m, vf sum)
{
    return vf_fma(m, vf_set1(0x1.62e4p-1f), vf_fma(m, vf_set1(0x1.7f7d1cp-20f), vf_log(sum))); /* ln 2, as in vf_log */
}

/* Pairs of query and key over all segments, about: what the cost grows with. */
static double attention_pairs(const stlora_segment *segments, int64_t count, int64_t window)
{
    double pairs = 0;
    for (int64_t s = 0; s < count; s++) {
        const double q = (double)segments[s].q_count, all = (double)segments[s].k_count - 0.5 * q + 0.5;
        pairs += q * (window > 0 && (double)window < all ? (double)window : all);
    }
    return pairs;
}

/* Keys of a segment that its query i sees: [first, end). */
static inline int64_t first_key(const stlora_segment *s, int64_t window, int64_t i)
{
    const int64_t end = s->k_count - s->q_count + i + 1;
    return window > 0 && end > window ? end - window : 0;
}
static inline int64_t end_key(const stlora_segment *s, int64_t i)
{
    return s->k_count - s->q_count + i + 1;
}

#endif
