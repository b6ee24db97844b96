/* simd_avx2.h: simd_portable.h's names on AVX2, FMA and F16C: eight lanes, fused multiply-add. */
#ifndef STLORA_BACKEND_CPU_SIMD_AVX2_H
#define STLORA_BACKEND_CPU_SIMD_AVX2_H

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "tensor/dtype.h"

/* 6 x 2 accumulators, 2 vectors of weights and a broadcast fill 15 of the 16 registers. */
enum { VL = 8, TILE_MR = 6, TILE_NV = 2 };

typedef __m256 vf;
typedef __m256i vu;
typedef __m256 vm;

/* All ones in the first n lanes. */
static inline __m256i vu_first(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vf vf_set1(float a)
{
    return _mm256_set1_ps(a);
}
/* p[0], p[1], p[0], p[1], ... */
static inline vf vf_set2(const float *p)
{
    double pair;
    memcpy(&pair, p, sizeof pair);
    return _mm256_castpd_ps(_mm256_set1_pd(pair));
}
static inline vf vf_zero(void)
{
    return _mm256_setzero_ps();
}
static inline vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline vf vf_load_n(const float *p, int n)
{
    return _mm256_maskload_ps(p, vu_first(n));
}
static inline void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v);
}
static inline void vf_store_n(float *p, vf v, int n)
{
    _mm256_maskstore_ps(p, vu_first(n), v);
}

static inline vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
static inline vf vf_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}

static inline vu vu_bits(vf a)
{
    return _mm256_castps_si256(a);
}
static inline vf vf_bits(vu a)
{
    return _mm256_castsi256_ps(a);
}
static inline vu vu_set1(uint32_t a)
{
    return _mm256_set1_epi32((int)a);
}
static inline vu vu_add(vu a, vu b)
{
    return _mm256_add_epi32(a, b);
}
static inline vu vu_sub(vu a, vu b)
{
    return _mm256_sub_epi32(a, b);
}
static inline vu vu_and(vu a, vu b)
{
    return _mm256_and_si256(a, b);
}
#define vu_shl(a, bits) _mm256_slli_epi32((a), (bits))
#define vu_sar(a, bits) _mm256_srai_epi32((a), (bits))

/* Lane i is v's lane at[i]. */
static inline vf vf_pick(vf v, const int32_t at[VL])
{
    return _mm256_permutevar8x32_ps(v, _mm256_loadu_si256((const __m256i *)(const void *)at));
}

/* {p[0], p[1], p[0], p[1] ...} */
static inline vf vf_pair(const float *p)
{
    double pair;
    memcpy(&pair, p, sizeof pair);
    return _mm256_castpd_ps(_mm256_set1_pd(pair));
}
/* {a[0] + a[1], a[2] + a[3] ...}, then b's. */
static inline vf vf_add_pairs(vf a, vf b)
{
    const __m256d sums = _mm256_castps_pd(_mm256_hadd_ps(a, b)); /* two of a's and two of b's, twice */
    return _mm256_castpd_ps(_mm256_permute4x64_pd(sums, 0xd8));
}

/* p * 2^n, n a whole number from -151 to 129: in two halves, since 2^n itself may lie outside a float's exponents. */
static inline vf vf_scale2(vf p, vf n)
{
    const vf magic = vf_set1(0x1.8p23f); /* from here on floats are integers, which their low bits hold */
    const vu whole = vu_sub(vu_bits(vf_add(n, magic)), vu_bits(magic));
    const vu half = vu_sar(whole, 1), rest = vu_sub(whole, half), one = vu_set1(127);
    return vf_mul(vf_mul(p, vf_bits(vu_shl(vu_add(half, one), 23))), vf_bits(vu_shl(vu_add(rest, one), 23)));
}

/* y less the greatest whole number that is not above it; that number for vf_scale2_where. */
static inline vf vf_split(vf y, vf *whole)
{
    *whole = _mm256_floor_ps(y);
    return _mm256_sub_ps(y, *whole);
}
static inline vf vf_scale2_where(vm m, vf p, vf n)
{
    return _mm256_and_ps(m, vf_scale2(p, n));
}

static inline vm vf_lt(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
static inline vm vf_not_lt(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_NLT_UQ);
}
static inline vm vm_and(vm a, vm b)
{
    return _mm256_and_ps(a, b);
}
static inline vf vf_fma_where(vm m, vf a, vf b, vf c)
{
    return _mm256_blendv_ps(c, _mm256_fmadd_ps(a, b, c), m);
}
static inline vf vf_select(vm m, vf a, vf b)
{
    return _mm256_blendv_ps(b, a, m);
}
static inline vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}

/* Of every four lanes the first two, or the last two: a, b, a, b. */
static inline vf vf_zip_low(vf a, vf b)
{
    return _mm256_unpacklo_ps(a, b);
}
static inline vf vf_zip_high(vf a, vf b)
{
    return _mm256_unpackhi_ps(a, b);
}

static inline float vf_sum(vf a)
{
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
static inline float vf_maximum(vf a)
{
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}

/* The first n of eight 16-bit elements; there is no masked load of this width. */
static inline __m128i load_halves_n(const void *p, int n)
{
    uint16_t h[8] = {0};
    memcpy(h, p, 2 * (size_t)n);
    return _mm_loadu_si128((const __m128i *)(const void *)h);
}

static inline vf vf_widen_bf16(__m128i h)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
static inline vf vf_load_bf16(const void *p)
{
    return vf_widen_bf16(_mm_loadu_si128((const __m128i *)p));
}
static inline vf vf_load_bf16_n(const void *p, int n)
{
    return vf_widen_bf16(load_halves_n(p, n));
}
static inline __m128i vf_narrow_bf16(vf v)
{
    __m256i u = _mm256_castps_si256(v), high = _mm256_srli_epi32(u, 16);
    __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    __m256i r = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd), 16);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    r = _mm256_blendv_epi8(r, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}
static inline void vf_store_bf16(void *p, vf v)
{
    _mm_storeu_si128((__m128i *)p, vf_narrow_bf16(v));
}
static inline void vf_store_bf16_n(void *p, vf v, int n)
{
    uint16_t h[8];
    _mm_storeu_si128((__m128i *)(void *)h, vf_narrow_bf16(v));
    memcpy(p, h, 2 * (size_t)n);
}
static inline vu vu_load_pairs(const void *p)
{
    return _mm256_loadu_si256(p);
}
static inline vu vu_load_pairs_n(const void *p, int n)
{
    uint16_t h[16] = {0};
    memcpy(h, p, 2 * (size_t)n);
    return vu_load_pairs(h);
}
static inline vf vf_load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline vf vf_load_f16_n(const void *p, int n)
{
    return _mm256_cvtph_ps(load_halves_n(p, n));
}

static inline void vf_transpose(vf r[VL])
{
    __m256 t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    for (int i = 0; i < 8; i++)
        r[i] = t[i];
}

static inline void vf_transpose_fours(vf r[4])
{
    const __m256 a = _mm256_unpacklo_ps(r[0], r[1]), b = _mm256_unpacklo_ps(r[2], r[3]);
    const __m256 c = _mm256_unpackhi_ps(r[0], r[1]), d = _mm256_unpackhi_ps(r[2], r[3]);
    r[0] = _mm256_shuffle_ps(a, b, 0x44);
    r[1] = _mm256_shuffle_ps(a, b, 0xee);
    r[2] = _mm256_shuffle_ps(c, d, 0x44);
    r[3] = _mm256_shuffle_ps(c, d, 0xee);
}
static inline void vf_load_columns(vf r[4], const float *p, int64_t ld)
{
    for (int i = 0; i < 4; i++)
        r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p + i * ld)), _mm_loadu_ps(p + (i + 4) * ld), 1);
    vf_transpose_fours(r);
}
static inline void vf_store_columns(float *p, int64_t ld, vf r[4])
{
    vf_transpose_fours(r);
    for (int i = 0; i < 4; i++) {
        _mm_storeu_ps(p + i * ld, _mm256_castps256_ps128(r[i]));
        _mm_storeu_ps(p + (i + 4) * ld, _mm256_extractf128_ps(r[i], 1));
    }
}

#endif
