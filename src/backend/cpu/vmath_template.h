/* vmath_template.h: exp on vectors, and what activations make of it, for the level whose simd_*.h came before.
 * Test: tests/backend/test_cpu_product.c (bound 2 ulp). */
#ifndef STLORA_BACKEND_CPU_VMATH_TEMPLATE_H
#define STLORA_BACKEND_CPU_VMATH_TEMPLATE_H

#include "backend/cpu/tile_template.h"

/* exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2; exp(r) = 1 + r + r^2 g(r), g interpolated at the five Chebyshev
 * nodes of that interval (relative error 1e-8), in Horner's form. n is read from the low bits of x/ln 2 + 1.5*2^23, where floats are integers. vf_scale2
 * leaves denormal results and overflow to infinity.
 * -inf -> 0, inf -> inf, NaN -> NaN. */
ALWAYS_INLINE vf vf_exp(vf x)
{
    const vf magic = vf_set1(0x1.8p23f);
    x = vf_min(vf_set1(89.0f), vf_max(vf_set1(-104.0f), x)); /* a NaN is the second operand and stays */
    const vf shifted = vf_fma(x, vf_set1(0x1.715476p+0f), magic);
    const vf n = vf_sub(shifted, magic);
    /* ln 2 in two parts, the first with zeros at its end: n times it is exact */
    vf r = vf_fnma(n, vf_set1(0x1.62e4p-1f), x);
    r = vf_fnma(n, vf_set1(0x1.7f7d1cp-20f), r);
    vf p = vf_set1(0x1.6d10fcp-10f);
    p = vf_fma(p, r, vf_set1(0x1.120b62p-7f));
    p = vf_fma(p, r, vf_set1(0x1.55551ap-5f));
    p = vf_fma(p, r, vf_set1(0x1.5554dep-3f));
    p = vf_fma(p, r, vf_set1(0.5f));
    p = vf_fma(p, r, vf_set1(1.0f));
    p = vf_fma(p, r, vf_set1(1.0f));
    return vf_scale2(p, n);
}

/* 2^y for y that does not overflow, as attention's: y = n + r, 0 <= r < 1; 2^r = 1 + r h(r), the polynomial of degree 6 whose relative error,
 * 2e-9, is the least. Below 2^-100 it is zero, which no sum of a softmax can tell: some processors take a hundred cycles for whatever
 * a denormal number comes into, and these would soon become some. -inf -> 0, NaN -> NaN. */
ALWAYS_INLINE vf vf_exp2(vf y)
{
    vf n;
    const vf r = vf_split(y, &n);
    vf p = vf_set1(0x1.c44580p-13f);
    p = vf_fma(p, r, vf_set1(0x1.473738p-10f));
    p = vf_fma(p, r, vf_set1(0x1.3cfd82p-7f));
    p = vf_fma(p, r, vf_set1(0x1.c68af6p-5f));
    p = vf_fma(p, r, vf_set1(0x1.ebfd3ap-3f));
    p = vf_fma(p, r, vf_set1(0x1.62e42cp-1f));
    p = vf_fma(p, r, vf_set1(1.0f));
    return vf_scale2_where(vf_not_lt(y, vf_set1(-100.0f)), p, n); /* a NaN is not below */
}

/* log(x) for x that is neither denormal nor infinite, as attention's sums: x = 2^n (1 + f), 2^-1/2 <= 1 + f < 2^1/2;
 * log(1 + f) = f + f^2 h(f), h of degree 7 (relative error 7e-8). 0 -> -inf, NaN -> NaN. */
ALWAYS_INLINE vf vf_log(vf x)
{
    const vf magic = vf_set1(0x1.8p23f), one = vf_set1(1.0f);
    const vu exponent = vu_sar(vu_sub(vu_bits(x), vu_set1(0x3f3504f3)), 23);
    const vf n = vf_sub(vf_bits(vu_add(exponent, vu_bits(magic))), magic);
    const vf f = vf_sub(vf_bits(vu_sub(vu_bits(x), vu_shl(exponent, 23))), one);
    vf p = vf_set1(0x1.71b0e4p-4f);
    p = vf_fma(p, f, vf_set1(-0x1.2824aap-3f));
    p = vf_fma(p, f, vf_set1(0x1.30cbdap-3f));
    p = vf_fma(p, f, vf_set1(-0x1.52e990p-3f));
    p = vf_fma(p, f, vf_set1(0x1.98d942p-3f));
    p = vf_fma(p, f, vf_set1(-0x1.000716p-2f));
    p = vf_fma(p, f, vf_set1(0x1.5556ecp-2f));
    p = vf_fma(p, f, vf_set1(-0x1.fffff4p-2f));
    p = vf_fma(n, vf_set1(0x1.62e4p-1f), vf_fma(n, vf_set1(0x1.7f7d1cp-20f), vf_fma(vf_mul(f, f), p, f)));
    return vf_select(vf_lt(vf_zero(), x), p, vf_add(x, vf_set1(-INFINITY)));
}

/* 1 / (1 + exp(-x)) */
ALWAYS_INLINE vf vf_sigmoid(vf x)
{
    const vf one = vf_set1(1.0f);
    return vf_div(one, vf_add(one, vf_exp(vf_sub(vf_zero(), x))));
}

/* Small |x|: x + x z p(z), z = x^2, p interpolated at six Chebyshev nodes of z in [0, 0.4] (relative error 6e-9); others: 2 sigmoid(2 x) - 1. */
ALWAYS_INLINE vf vf_tanh(vf x)
{
    const vf z = vf_mul(x, x), one = vf_set1(1.0f);
    vf p = vf_set1(0x1.2977d6p-9f);
    p = vf_fma(p, z, vf_set1(-0x1.10bbf4p-7f));
    p = vf_fma(p, z, vf_set1(0x1.648e8ep-6f));
    p = vf_fma(p, z, vf_set1(-0x1.ba0718p-5f));
    p = vf_fma(p, z, vf_set1(0x1.1110e4p-3f));
    p = vf_fma(p, z, vf_set1(-0x1.555556p-2f));
    const vf small = vf_fma(vf_mul(x, z), p, x), s = vf_sigmoid(vf_add(x, x));
    return vf_select(vf_lt(z, vf_set1(0.390625f)), small, vf_sub(vf_add(s, s), one)); /* a NaN is not below */
}

#endif
