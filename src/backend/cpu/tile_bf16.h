/* tile_bf16.h: the register tile and the panels of bf16 by bf16: one instruction multiplies sixteen pairs along k and adds both
 * products to a float lane. Only for the avx512-bf16 level.
 *
 * The instruction takes denormal bf16 elements and denormal sums for zero: below 1.2e-38, and only there, this level flushes.
 * A panel is (ceil(steps/2), nv*VL) pairs, even k in the low half; the odd one out is paired with zero on both sides.
 */
#ifndef STLORA_BACKEND_CPU_TILE_BF16_H
#define STLORA_BACKEND_CPU_TILE_BF16_H

#include "backend/cpu/pack_template.h"

static inline uint32_t pair_at(const uint16_t *p)
{
    uint32_t pair;
    memcpy(&pair, p, sizeof pair);
    return pair;
}

ALWAYS_INLINE void pair_step(const int mr, const int nv, __m512 acc[TILE_MR][TILE_NV], const uint32_t x[TILE_MR],
                             const uint32_t *panel)
{
    __m512i w[TILE_NV];
    UNROLL for (int j = 0; j < nv; j++) w[j] = _mm512_loadu_si512(panel + j * VL);
    UNROLL for (int i = 0; i < mr; i++)
    {
        const __m512i xi = _mm512_set1_epi32((int)x[i]);
        UNROLL for (int j = 0; j < nv; j++) acc[i][j] = _mm512_dpbf16_ps(acc[i][j], (__m512bh)xi, (__m512bh)w[j]);
    }
}

ALWAYS_INLINE void tile_bf16(const int mr, const int nv, const tile *t)
{
    vf acc[TILE_MR][TILE_NV];
    UNROLL for (int i = 0; i < mr; i++) UNROLL for (int j = 0; j < nv; j++) acc[i][j] = vf_zero();
    const uint16_t *row[TILE_MR];
    UNROLL for (int i = 0; i < mr; i++) row[i] = (const uint16_t *)t->x + i * t->ldx;
    const uint32_t *panel = t->panel;
    uint32_t x[TILE_MR];
    int64_t k = 0;
    tile_expect(mr, nv, t);
    while (k + 2 <= t->steps) {
        const int64_t end = least(t->steps - 1, k + 2 * AHEAD_STEPS);
        if (t->ahead) lookahead_fetch(t->ahead);
        if (t->ahead_x) lookahead_fetch(t->ahead_x);
        for (; k < end; k += 2) {
            UNROLL for (int i = 0; i < mr; i++) x[i] = pair_at(row[i] + k);
            pair_step(mr, nv, acc, x, panel);
            panel += nv * VL;
        }
    }
    if (k < t->steps) {
        UNROLL for (int i = 0; i < mr; i++) x[i] = row[i][k];
        pair_step(mr, nv, acc, x, panel);
    }
    if (t->extra_steps) tile_floats(mr, nv, acc, t->h, t->ldh, t->extra, t->extra_steps, NULL, NULL);
    tile_finish(mr, nv, acc, t);
}

TILE_FAMILY(tile_bf16)

/* Lane o, o < n: pair of p[o], p[ld + o]; both: the second is there, and zero otherwise. */
ALWAYS_INLINE vu pairs_of_rows(const uint16_t *p, int64_t ld, int n, bool both)
{
    const __mmask16 mask = vm_first(n);
    const __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p));
    if (!both) return even;
    return _mm512_or_si512(even, _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p + ld)), 16));
}

/* panel[k/2, o] = pair of w[o*ld + k], w[o*ld + k+1] */
static void pack_pairs_from_rows(uint32_t *panel, const uint16_t *w, int64_t ld, int64_t steps, int64_t cols)
{
    const int width = vectors_of(cols) * VL;
    for (int64_t o = 0; o < cols; o += VL) {
        const int rows = (int)least(VL, cols - o);
        for (int64_t k = 0; k < steps; k += 2 * VL) {
            const int64_t n = least(2 * VL, steps - k), pairs = (n + 1) / 2;
            vf r[VL];
            for (int i = 0; i < VL; i++)
                r[i] = i < rows ? vf_bits(vu_load_pairs_n(w + (o + i) * ld + k, (int)n)) : vf_zero();
            vf_transpose(r);
            if (pairs == VL) {
                UNROLL for (int i = 0; i < VL; i++) _mm512_storeu_si512(panel + (k / 2 + i) * width + o, vu_bits(r[i]));
            } else {
                for (int i = 0; i < pairs; i++)
                    _mm512_storeu_si512(panel + (k / 2 + i) * width + o, vu_bits(r[i]));
            }
        }
    }
}

enum { PAIRS_AHEAD = 16 }; /* rows: their pieces are short and far apart, which the processor does not see coming */

/* panel[k/2, o] = pair of w[k*ld + o], w[(k+1)*ld + o] */
static void pack_pairs_from_columns(uint32_t *panel, const uint16_t *w, int64_t ld, int64_t steps, int64_t cols)
{
    for (int64_t k = 0; k < steps; k += 2) {
        if (k + PAIRS_AHEAD + 1 < steps)
            for (int64_t o = 0; o < cols; o += CACHE_LINE / (int)sizeof *w) {
                __builtin_prefetch(w + (k + PAIRS_AHEAD) * ld + o, 0, 3);
                __builtin_prefetch(w + (k + PAIRS_AHEAD + 1) * ld + o, 0, 3);
            }
        for (int64_t o = 0; o < cols; o += VL) {
            _mm512_storeu_si512(panel, pairs_of_rows(w + k * ld + o, ld, (int)least(VL, cols - o), k + 1 < steps));
            panel += VL;
        }
    }
}

#endif
