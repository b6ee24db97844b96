/* simd_avx512.h: simd_portable.h's names on AVX-512 F, BW, DQ and VL: sixteen lanes, fused multiply-add. */
#ifndef STLORA_BACKEND_CPU_SIMD_AVX512_H
#define STLORA_BACKEND_CPU_SIMD_AVX512_H

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "tensor/dtype.h"

/* 6 x 4 accumulators, 4 vectors of weights and a broadcast fill 29 of the 32 registers. */
enum { VL = 16, TILE_MR = 6, TILE_NV = 4 };

typedef __m512 vf;
typedef __m512i vu;
typedef __mmask16 vm;

static inline __mmask16 vm_first(int n)
{
    return (__mmask16)((1u << n) - 1u);
}

static inline vf vf_set1(float a)
{
    return _mm512_set1_ps(a);
}
/* p[0], p[1], p[0], p[1], ... */
static inline vf vf_set2(const float *p)
{
    double pair;
    memcpy(&pair, p, sizeof pair);
    return _mm512_castpd_ps(_mm512_set1_pd(pair));
}
static inline vf vf_zero(void)
{
    return _mm512_setzero_ps();
}
static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline vf vf_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(vm_first(n), p);
}
static inline void vf_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}
static inline void vf_store_n(float *p, vf v, int n)
{
    _mm512_mask_storeu_ps(p, vm_first(n), v);
}

static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return _mm512_fnmadd_ps(a, b, c);
}
static inline vf vf_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}

static inline vu vu_bits(vf a)
{
    return _mm512_castps_si512(a);
}
static inline vf vf_bits(vu a)
{
    return _mm512_castsi512_ps(a);
}
static inline vu vu_set1(uint32_t a)
{
    return _mm512_set1_epi32((int)a);
}
static inline vu vu_add(vu a, vu b)
{
    return _mm512_add_epi32(a, b);
}
static inline vu vu_sub(vu a, vu b)
{
    return _mm512_sub_epi32(a, b);
}
static inline vu vu_and(vu a, vu b)
{
    return _mm512_and_epi32(a, b);
}
#define vu_shl(a, bits) _mm512_slli_epi32((a), (bits))
#define vu_sar(a, bits) _mm512_srai_epi32((a), (bits))

/* Lane i is v's lane at[i]. */
static inline vf vf_pick(vf v, const int32_t at[VL])
{
    return _mm512_permutexvar_ps(_mm512_loadu_si512(at), v);
}

/* {p[0], p[1], p[0], p[1] ...} */
static inline vf vf_pair(const float *p)
{
    double pair;
    memcpy(&pair, p, sizeof pair);
    return _mm512_castpd_ps(_mm512_set1_pd(pair));
}
/* {a[0] + a[1], a[2] + a[3] ...}, then b's. */
static inline vf vf_add_pairs(vf a, vf b)
{
    const vu first = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_add_ps(_mm512_permutex2var_ps(a, first, b),
                         _mm512_permutex2var_ps(a, _mm512_add_epi32(first, _mm512_set1_epi32(1)), b));
}

/* p * 2^n, n a whole number: one rounding where the result is denormal, infinity where it is too large. */
static inline vf vf_scale2(vf p, vf n)
{
    return _mm512_scalef_ps(p, n);
}

/* y less the greatest whole number that is not above it; that number for vf_scale2_where, which takes it from y itself. */
static inline vf vf_split(vf y, vf *whole)
{
    *whole = y;
    return _mm512_reduce_ps(y, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
static inline vf vf_scale2_where(vm m, vf p, vf n)
{
    return _mm512_maskz_scalef_ps(m, p, n);
}

static inline vm vf_lt(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
static inline vm vf_not_lt(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ);
}
static inline vm vm_and(vm a, vm b)
{
    return a & b;
}
static inline vf vf_fma_where(vm m, vf a, vf b, vf c)
{
    return _mm512_mask3_fmadd_ps(a, b, c, m);
}
static inline vf vf_select(vm m, vf a, vf b)
{
    return _mm512_mask_blend_ps(m, b, a);
}
static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

/* Of every four lanes the first two, or the last two: a, b, a, b. */
static inline vf vf_zip_low(vf a, vf b)
{
    return _mm512_unpacklo_ps(a, b);
}
static inline vf vf_zip_high(vf a, vf b)
{
    return _mm512_unpackhi_ps(a, b);
}

static inline float vf_sum(vf a)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
static inline float vf_maximum(vf a)
{
    __m256 h = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}

static inline vf vf_widen_bf16(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
static inline vf vf_load_bf16(const void *p)
{
    return vf_widen_bf16(_mm256_loadu_si256((const __m256i *)p));
}
static inline vf vf_load_bf16_n(const void *p, int n)
{
    return vf_widen_bf16(_mm256_maskz_loadu_epi16(vm_first(n), p));
}
/* To nearest even in integers: the processor's own conversion flushes denormals. */
static inline __m256i vf_narrow_bf16(vf v)
{
    __m512i u = _mm512_castps_si512(v), high = _mm512_srli_epi32(u, 16);
    __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    __m512i r = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd), 16);
    __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(r, nan, high, _mm512_set1_epi32(0x40)));
}
static inline void vf_store_bf16(void *p, vf v)
{
    _mm256_storeu_si256((__m256i *)p, vf_narrow_bf16(v));
}
static inline void vf_store_bf16_n(void *p, vf v, int n)
{
    _mm256_mask_storeu_epi16(p, vm_first(n), vf_narrow_bf16(v));
}
static inline vu vu_load_pairs(const void *p)
{
    return _mm512_loadu_si512(p);
}
static inline vu vu_load_pairs_n(const void *p, int n)
{
    return _mm512_maskz_loadu_epi16(n == 2 * VL ? 0xffffffffu : (1u << n) - 1u, p);
}
static inline vf vf_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline vf vf_load_f16_n(const void *p, int n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(vm_first(n), p));
}

/* 16 x 16 lanes of 32 bits: pairs of rows, then of pairs, then quarters of registers. */
static inline void vf_transpose(vf r[VL])
{
    __m512 t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; i++) {
        r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    }
}

static inline void vf_transpose_fours(vf r[4])
{
    const __m512 a = _mm512_unpacklo_ps(r[0], r[1]), b = _mm512_unpacklo_ps(r[2], r[3]);
    const __m512 c = _mm512_unpackhi_ps(r[0], r[1]), d = _mm512_unpackhi_ps(r[2], r[3]);
    r[0] = _mm512_shuffle_ps(a, b, 0x44);
    r[1] = _mm512_shuffle_ps(a, b, 0xee);
    r[2] = _mm512_shuffle_ps(c, d, 0x44);
    r[3] = _mm512_shuffle_ps(c, d, 0xee);
}
static inline void vf_load_columns(vf r[4], const float *p, int64_t ld)
{
    for (int i = 0; i < 4; i++) {
        const float *at = p + i * ld;
        r[i] = _mm512_broadcast_f32x4(_mm_loadu_ps(at));
        r[i] = _mm512_mask_broadcast_f32x4(r[i], 0x00f0, _mm_loadu_ps(at + 4 * ld));
        r[i] = _mm512_mask_broadcast_f32x4(r[i], 0x0f00, _mm_loadu_ps(at + 8 * ld));
        r[i] = _mm512_mask_broadcast_f32x4(r[i], 0xf000, _mm_loadu_ps(at + 12 * ld));
    }
    vf_transpose_fours(r);
}
static inline void vf_store_columns(float *p, int64_t ld, vf r[4])
{
    vf_transpose_fours(r);
    for (int i = 0; i < 4; i++) {
        float *at = p + i * ld;
        _mm_storeu_ps(at, _mm512_castps512_ps128(r[i]));
        _mm_storeu_ps(at + 4 * ld, _mm512_extractf32x4_ps(r[i], 1));
        _mm_storeu_ps(at + 8 * ld, _mm512_extractf32x4_ps(r[i], 2));
        _mm_storeu_ps(at + 12 * ld, _mm512_extractf32x4_ps(r[i], 3));
    }
}

#endif
