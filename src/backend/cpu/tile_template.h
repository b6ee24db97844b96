/* tile_template.h: the register tile that products and attention are made of, for the level whose simd_*.h came before.
 *
 *   y[i, o] = (from ? from[i, o] : 0) + S[i, o] + bias[o]       S[i, o] = sum_k x[i, k] panel[k, o] + sum_q h[i, q] extra[q, o]
 *
 * S is one chain from 0, k ascending, then q ascending, a fused multiply-add each (a bf16 pair each on bf16 panels): the
 * number of rows and columns in the tile plays no part in an element's bits. Rows beyond TILE_MR and columns beyond a panel
 * are the caller's loop; a tile of fewer is its own instance, so that no row is read that does not exist.
 *
 * A panel is (steps, nv*VL) floats, or pairs of bf16 along k in 32 bits, zeros beyond the last column. Test: tests/backend/test_cpu_product.c.
 */
#ifndef STLORA_BACKEND_CPU_TILE_TEMPLATE_H
#define STLORA_BACKEND_CPU_TILE_TEMPLATE_H

#include <assert.h>

#include "backend/cpu/level.h"

/* Accumulators become registers in loops that are unrolled in functions that are inlined. A sanitizer's checks would come along a
 * hundredfold, so there the instances of a tile share one function; and its innermost loop is watched for bad addresses only, since a check of
 * every index of every accumulator is a third of all that a sanitized test does. */
#if STLORA_SANITIZED
#    define ALWAYS_INLINE   static __attribute__((noinline, unused))
#    define NO_INDEX_CHECKS __attribute__((no_sanitize("undefined")))
#    define UNROLL
#else
#    define ALWAYS_INLINE static inline __attribute__((always_inline))
#    define NO_INDEX_CHECKS
#    if defined(__clang__)
#        define UNROLL _Pragma("clang loop unroll(full)")
#    else
#        define UNROLL _Pragma("GCC unroll 16")
#    endif
#endif

enum { PANEL = TILE_NV * VL }; /* columns of a full panel */

/* Memory that will be packed next: rows of row_bytes, stride bytes apart, fetched into the second-level cache a few lines at a time
 * while the multipliers are busy. rows_left 0: nothing. */
typedef struct lookahead {
    const char *row;
    int64_t column, row_bytes, stride, rows_left;
    int lines; /* per AHEAD_STEPS steps of a tile */
} lookahead;

enum { AHEAD_STEPS = 16, CACHE_LINE = 64 };

static inline void lookahead_fetch(lookahead *a)
{
    for (int i = 0; i < a->lines && a->rows_left > 0; i++) {
        __builtin_prefetch(a->row + a->column, 0, 2);
        a->column += CACHE_LINE;
        if (a->column >= a->row_bytes) {
            a->column = 0;
            a->row += a->stride;
            a->rows_left--;
        }
    }
}

static inline int64_t lookahead_lines(const lookahead *a)
{
    return a->rows_left * ((a->row_bytes + CACHE_LINE - 1) / CACHE_LINE);
}

typedef struct tile {
    const void *x; /* (mr, steps) float, or bf16 for bf16 panels */
    int64_t ldx;
    const void *panel;
    int64_t steps;  /* along k: floats, or bf16 elements */
    const float *h; /* (mr, extra_steps) */
    int64_t ldh;
    const float *extra; /* (extra_steps, nv*VL) */
    int64_t extra_steps;
    const void *from; /* (mr, cols) or NULL; may be y */
    stlora_dtype from_dtype;
    int64_t ld_from;
    void *y; /* (mr, cols) */
    stlora_dtype y_dtype;
    int64_t ldy;
    const float *bias;  /* (nv*VL) or NULL */
    int cols;           /* (nv-1)*VL < cols <= nv*VL */
    lookahead *ahead;   /* of the panel that follows; or NULL */
    lookahead *ahead_x; /* of the rows of x that follow; or NULL */
} tile;

/* Vectors of VL from arrays of a dtype that is known only now. */
ALWAYS_INLINE vf load_as(const void *p, stlora_dtype dtype, int64_t i)
{
    if (dtype == STLORA_F32) return vf_load((const float *)p + i);
    if (dtype == STLORA_BF16) return vf_load_bf16((const uint16_t *)p + i);
    assert(dtype == STLORA_F16);
    return vf_load_f16((const uint16_t *)p + i);
}
ALWAYS_INLINE vf load_as_n(const void *p, stlora_dtype dtype, int64_t i, int n)
{
    if (dtype == STLORA_F32) return vf_load_n((const float *)p + i, n);
    if (dtype == STLORA_BF16) return vf_load_bf16_n((const uint16_t *)p + i, n);
    assert(dtype == STLORA_F16);
    return vf_load_f16_n((const uint16_t *)p + i, n);
}
ALWAYS_INLINE void store_as(void *p, stlora_dtype dtype, int64_t i, vf v)
{
    if (dtype == STLORA_F32) {
        vf_store((float *)p + i, v);
    } else {
        assert(dtype == STLORA_BF16);
        vf_store_bf16((uint16_t *)p + i, v);
    }
}
ALWAYS_INLINE void store_as_n(void *p, stlora_dtype dtype, int64_t i, vf v, int n)
{
    if (dtype == STLORA_F32) {
        vf_store_n((float *)p + i, v, n);
    } else {
        assert(dtype == STLORA_BF16);
        vf_store_bf16_n((uint16_t *)p + i, v, n);
    }
}

ALWAYS_INLINE int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline bool is_act(stlora_dtype dtype)
{
    return dtype == STLORA_F32 || dtype == STLORA_BF16;
}

static inline const void *at_element(const void *p, stlora_dtype dtype, int64_t i)
{
    return (const char *)p + i * (dtype == STLORA_F32 ? 4 : 2);
}
static inline void *at_element_mut(void *p, stlora_dtype dtype, int64_t i)
{
    return (char *)p + i * (dtype == STLORA_F32 ? 4 : 2);
}

/* acc[i][j] += x[i, k] panel[k, j] for all steps. */
NO_INDEX_CHECKS ALWAYS_INLINE void tile_floats(const int mr, const int nv, vf acc[TILE_MR][TILE_NV], const float *x,
                                               int64_t ldx, const float *panel, int64_t steps, lookahead *ahead,
                                               lookahead *ahead_x)
{
    const float *row[TILE_MR];
    UNROLL for (int i = 0; i < mr; i++) row[i] = x + i * ldx;
    const int64_t stretch = ahead || ahead_x ? AHEAD_STEPS : steps;
    for (int64_t k = 0; k < steps;) {
        const int64_t end = least(steps, k + stretch);
        if (ahead) lookahead_fetch(ahead);
        if (ahead_x) lookahead_fetch(ahead_x);
        for (; k < end; k++) {
            vf w[TILE_NV];
            UNROLL for (int j = 0; j < nv; j++) w[j] = vf_load(panel + j * VL);
            panel += nv * VL;
            UNROLL for (int i = 0; i < mr; i++)
            {
                const vf xi = vf_set1(row[i][k]);
                UNROLL for (int j = 0; j < nv; j++) acc[i][j] = vf_fma(xi, w[j], acc[i][j]);
            }
        }
    }
}

/* Where the tile will be written, fetched while it is computed. */
ALWAYS_INLINE void tile_expect(const int mr, const int nv, const tile *t)
{
    const int64_t size = t->y_dtype == STLORA_F32 ? 4 : 2;
    UNROLL for (int i = 0; i < mr; i++)
    {
        const char *row = (const char *)t->y + i * t->ldy * size;
        for (int64_t at = 0; at < nv * VL * size; at += CACHE_LINE)
            __builtin_prefetch(row + at, 1, 3);
    }
}

/* The end of a tile: what was there, the sum, the bias; in this order. */
ALWAYS_INLINE void tile_finish(const int mr, const int nv, vf acc[TILE_MR][TILE_NV], const tile *t)
{
    const int last = t->cols - (nv - 1) * VL;
    UNROLL for (int j = 0; j < nv; j++)
    {
        const int n = j < nv - 1 ? VL : last;
        const vf bias = t->bias ? vf_load(t->bias + j * VL) : vf_zero();
        UNROLL for (int i = 0; i < mr; i++)
        {
            vf v = acc[i][j];
            if (t->from) {
                const int64_t at = i * t->ld_from + j * VL;
                v = vf_add(n == VL ? load_as(t->from, t->from_dtype, at) : load_as_n(t->from, t->from_dtype, at, n), v);
            }
            if (t->bias) v = vf_add(v, bias);
            const int64_t at = i * t->ldy + j * VL;
            if (n == VL)
                store_as(t->y, t->y_dtype, at, v);
            else
                store_as_n(t->y, t->y_dtype, at, v, n);
        }
    }
}

ALWAYS_INLINE void tile_f32(const int mr, const int nv, const tile *t)
{
    vf acc[TILE_MR][TILE_NV];
    UNROLL for (int i = 0; i < mr; i++) UNROLL for (int j = 0; j < nv; j++) acc[i][j] = vf_zero();
    tile_expect(mr, nv, t);
    if (t->steps) tile_floats(mr, nv, acc, t->x, t->ldx, t->panel, t->steps, t->ahead, t->ahead_x);
    if (t->extra_steps) tile_floats(mr, nv, acc, t->h, t->ldh, t->extra, t->extra_steps, NULL, NULL);
    tile_finish(mr, nv, acc, t);
}

typedef void (*tile_function)(const tile *);

/* clang-format off */
/* Every count of rows and of vectors is an instance of its own, so that the accumulators are registers. */
#define TILE_INSTANCE(kind, mr, nv)                                                                \
    static void kind##_##mr##x##nv(const tile *t)                                                  \
    {                                                                                              \
        kind(mr, nv, t);                                                                           \
    }
#if defined(STLORA_TILE_WIDE) /* four vectors */
#    define TILE_ROWS(kind, mr)                                                                    \
        TILE_INSTANCE(kind, mr, 1) TILE_INSTANCE(kind, mr, 2) TILE_INSTANCE(kind, mr, 3)           \
        TILE_INSTANCE(kind, mr, 4)
#    define TILE_NAMES(kind, mr) {kind##_##mr##x1, kind##_##mr##x2, kind##_##mr##x3, kind##_##mr##x4}
#else
#    define TILE_ROWS(kind, mr) TILE_INSTANCE(kind, mr, 1) TILE_INSTANCE(kind, mr, 2)
#    define TILE_NAMES(kind, mr) {kind##_##mr##x1, kind##_##mr##x2}
#endif
#if defined(STLORA_TILE_TALL) /* six rows */
#    define TILE_FAMILY(kind)                                                                      \
        TILE_ROWS(kind, 1) TILE_ROWS(kind, 2) TILE_ROWS(kind, 3) TILE_ROWS(kind, 4)                \
        TILE_ROWS(kind, 5) TILE_ROWS(kind, 6)                                                      \
        static const tile_function kind##_table[TILE_MR][TILE_NV] = {                              \
            TILE_NAMES(kind, 1), TILE_NAMES(kind, 2), TILE_NAMES(kind, 3),                         \
            TILE_NAMES(kind, 4), TILE_NAMES(kind, 5), TILE_NAMES(kind, 6)};
#else
#    define TILE_FAMILY(kind)                                                                      \
        TILE_ROWS(kind, 1) TILE_ROWS(kind, 2) TILE_ROWS(kind, 3) TILE_ROWS(kind, 4)                \
        static const tile_function kind##_table[TILE_MR][TILE_NV] = {                              \
            TILE_NAMES(kind, 1), TILE_NAMES(kind, 2), TILE_NAMES(kind, 3), TILE_NAMES(kind, 4)};
#endif
/* clang-format on */

TILE_FAMILY(tile_f32)

/* Vectors that cols columns take. */
static inline int vectors_of(int64_t cols)
{
    return (int)((cols + VL - 1) / VL);
}

#endif
