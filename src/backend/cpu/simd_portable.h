/* simd_portable.h: the vectors that the kernels are written on, in plain C with the compilers' generic vectors: four
 * lanes, no instruction set assumed, no fused multiply-add (a*b rounds before c is added).
 *
 * simd_avx2.h and simd_avx512.h give the same names with 8 and 16 lanes. Conventions of all three: a name ending in _n
 * takes n lanes, 0 <= n <= VL, touches no memory behind them and loads zeros beyond; addresses need element alignment only.
 */
#ifndef STLORA_BACKEND_CPU_SIMD_PORTABLE_H
#define STLORA_BACKEND_CPU_SIMD_PORTABLE_H

#include <math.h>
#include <string.h>

#include "tensor/dtype.h"

enum {
    VL = 4,      /* lanes */
    TILE_MR = 4, /* register tile of the products: rows, and vectors of columns */
    TILE_NV = 2
};

typedef float vf __attribute__((vector_size(16)));
typedef uint32_t vu __attribute__((vector_size(16)));
typedef vu vm; /* all ones or all zeros per lane */

static inline vf vf_set1(float a)
{
    return (vf){a, a, a, a};
}
/* p[0], p[1], p[0], p[1], ... */
static inline vf vf_set2(const float *p)
{
    return (vf){p[0], p[1], p[0], p[1]};
}
static inline vf vf_zero(void)
{
    return vf_set1(0.0f);
}
static inline vf vf_load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline vf vf_load_n(const float *p, int n)
{
    vf v = vf_zero();
    for (int i = 0; i < n; i++)
        v[i] = p[i];
    return v;
}
static inline void vf_store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}
static inline void vf_store_n(float *p, vf v, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = v[i];
}

static inline vf vf_add(vf a, vf b)
{
    return a + b;
}
static inline vf vf_sub(vf a, vf b)
{
    return a - b;
}
static inline vf vf_mul(vf a, vf b)
{
    return a * b;
}
static inline vf vf_div(vf a, vf b)
{
    return a / b;
}
/* a*b + c */
static inline vf vf_fma(vf a, vf b, vf c)
{
    return a * b + c;
}
/* c - a*b */
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return c - a * b;
}
static inline vf vf_sqrt(vf a)
{
    for (int i = 0; i < VL; i++)
        a[i] = sqrtf(a[i]);
    return a;
}

static inline vu vu_bits(vf a)
{
    vu u;
    memcpy(&u, &a, sizeof u);
    return u;
}
static inline vf vf_bits(vu a)
{
    vf v;
    memcpy(&v, &a, sizeof v);
    return v;
}
static inline vu vu_set1(uint32_t a)
{
    return (vu){a, a, a, a};
}
static inline vu vu_add(vu a, vu b)
{
    return a + b;
}
static inline vu vu_sub(vu a, vu b)
{
    return a - b;
}
static inline vu vu_and(vu a, vu b)
{
    return a & b;
}
#define vu_shl(a, bits) ((a) << (uint32_t)(bits))
/* arithmetic shift to the right, of lanes taken as signed */
#define vu_sar(a, bits) ((((a) ^ 0x80000000u) >> (uint32_t)(bits)) - (0x80000000u >> (uint32_t)(bits)))

/* Lane i is v's lane at[i]. */
static inline vf vf_pick(vf v, const int32_t at[VL])
{
    vf r = vf_zero();
    for (int i = 0; i < VL; i++)
        r[i] = v[at[i]];
    return r;
}

/* {p[0], p[1], p[0], p[1] ...} */
static inline vf vf_pair(const float *p)
{
    return (vf){p[0], p[1], p[0], p[1]};
}
/* {a[0] + a[1], a[2] + a[3] ...}, then b's. */
static inline vf vf_add_pairs(vf a, vf b)
{
    return (vf){a[0] + a[1], a[2] + a[3], b[0] + b[1], b[2] + b[3]};
}

/* p * 2^n, n a whole number from -151 to 129: in two halves, since 2^n itself may lie outside a float's exponents. */
static inline vf vf_scale2(vf p, vf n)
{
    const vf magic = vf_set1(0x1.8p23f); /* from here on floats are integers, which their low bits hold */
    const vu whole = vu_sub(vu_bits(vf_add(n, magic)), vu_bits(magic));
    const vu half = vu_sar(whole, 1), rest = vu_sub(whole, half), one = vu_set1(127);
    return vf_mul(vf_mul(p, vf_bits(vu_shl(vu_add(half, one), 23))), vf_bits(vu_shl(vu_add(rest, one), 23)));
}

static inline vm vf_lt(vf a, vf b)
{
    return (vm)(a < b);
}
/* per lane m ? a : b */
static inline vf vf_select(vm m, vf a, vf b)
{
    return vf_bits((vu_bits(a) & m) | (vu_bits(b) & ~m));
}
static inline vm vf_not_lt(vf a, vf b)
{
    return ~vf_lt(a, b);
}
static inline vm vm_and(vm a, vm b)
{
    return a & b;
}
/* per lane m ? a*b + c : c */
static inline vf vf_fma_where(vm m, vf a, vf b, vf c)
{
    return vf_select(m, vf_fma(a, b, c), c);
}
/* y less the greatest whole number that is not above it, |y| < 2^22; that number for vf_scale2_where. */
static inline vf vf_split(vf y, vf *whole)
{
    const vf magic = vf_set1(0x1.8p23f), nearest = vf_sub(vf_add(y, magic), magic);
    *whole = vf_sub(nearest, vf_select(vf_lt(y, nearest), vf_set1(1.0f), vf_zero()));
    return vf_sub(y, *whole);
}
/* per lane m ? p * 2^n : 0 */
static inline vf vf_scale2_where(vm m, vf p, vf n)
{
    return vf_select(m, vf_scale2(p, n), vf_zero());
}
/* a > b ? a : b, so b where either is NaN */
static inline vf vf_max(vf a, vf b)
{
    return vf_select((vm)(a > b), a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return vf_select((vm)(a < b), a, b);
}

/* Of every four lanes the first two, or the last two: a, b, a, b. */
static inline vf vf_zip_low(vf a, vf b)
{
    return (vf){a[0], b[0], a[1], b[1]};
}
static inline vf vf_zip_high(vf a, vf b)
{
    return (vf){a[2], b[2], a[3], b[3]};
}

/* Sum and maximum over the lanes, as a balanced tree. */
static inline float vf_sum(vf a)
{
    return (a[0] + a[2]) + (a[1] + a[3]);
}
static inline float vf_maximum(vf a)
{
    float x = a[0] > a[2] ? a[0] : a[2], y = a[1] > a[3] ? a[1] : a[3];
    return x > y ? x : y;
}

static inline vf vf_load_bf16(const void *p)
{
    uint16_t h[4];
    memcpy(h, p, sizeof h);
    return vf_bits((vu){h[0], h[1], h[2], h[3]} << 16);
}
static inline vf vf_load_bf16_n(const void *p, int n)
{
    uint16_t h[4] = {0};
    memcpy(h, p, 2 * (size_t)n);
    return vf_load_bf16(h);
}
static inline void vf_store_bf16_n(void *p, vf v, int n)
{
    vu u = vu_bits(v);
    vu rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    vu quiet = (u >> 16) | 0x40u;
    vm nan = (vm)(v != v);
    vu r = (quiet & nan) | (rounded & ~nan);
    uint16_t h[4] = {(uint16_t)r[0], (uint16_t)r[1], (uint16_t)r[2], (uint16_t)r[3]};
    memcpy(p, h, 2 * (size_t)n);
}
static inline void vf_store_bf16(void *p, vf v)
{
    vf_store_bf16_n(p, v, VL);
}
/* Pairs of 16-bit elements as bits, element 2i in the low half of lane i; of n elements, 0 <= n <= 2*VL. */
static inline vu vu_load_pairs(const void *p)
{
    vu pairs;
    memcpy(&pairs, p, sizeof pairs);
    return pairs;
}
static inline vu vu_load_pairs_n(const void *p, int n)
{
    vu pairs = {0};
    memcpy(&pairs, p, 2 * (size_t)n);
    return pairs;
}
/* A half's exponent and fraction, moved into a float's place, are its value times 2^-112, denormals included. */
static inline vf vf_load_f16(const void *p)
{
    uint16_t h[4];
    memcpy(h, p, sizeof h);
    vu u = {h[0], h[1], h[2], h[3]};
    vu sign = (u & 0x8000u) << 16, magnitude = u & 0x7fffu;
    vu bits = vu_bits(vf_bits(magnitude << 13) * 0x1p112f);
    bits |= (vu)(magnitude >= 0x7c00u) & 0x7f800000u;
    return vf_bits(bits | sign);
}
static inline vf vf_load_f16_n(const void *p, int n)
{
    uint16_t h[4] = {0};
    memcpy(h, p, 2 * (size_t)n);
    return vf_load_f16(h);
}

/* r[i] lane j <- r[j] lane i */
static inline void vf_transpose(vf r[VL])
{
    vf a = r[0], b = r[1], c = r[2], d = r[3];
    r[0] = (vf){a[0], b[0], c[0], d[0]};
    r[1] = (vf){a[1], b[1], c[1], d[1]};
    r[2] = (vf){a[2], b[2], c[2], d[2]};
    r[3] = (vf){a[3], b[3], c[3], d[3]};
}

/* VL rows, ld apart, of four elements, and four columns, as vectors: each way. The store spoils r. */
static inline void vf_load_columns(vf r[4], const float *p, int64_t ld)
{
    for (int i = 0; i < VL; i++)
        r[i] = vf_load(p + i * ld);
    vf_transpose(r);
}
static inline void vf_store_columns(float *p, int64_t ld, vf r[4])
{
    vf_transpose(r);
    for (int i = 0; i < VL; i++)
        vf_store(p + i * ld, r[i]);
}

#endif
