/* dtype.c: names and sizes of element types, and conversion between the float types.
 *
 * Every conversion rounds once, from the exact value, to nearest with ties to even; so double goes to the half types without
 * passing through float. Test: tests/tensor/test_dtype.c.
 */
#include "tensor/dtype.h"

#include <assert.h>
#include <string.h>

size_t stlora_dtype_size(stlora_dtype dtype)
{
    switch (dtype) {
#define STLORA_CASE(name, bytes, text)                                                             \
    case STLORA_##name: return bytes;
        STLORA_DTYPES(STLORA_CASE)
#undef STLORA_CASE
    }
    assert(false); /* no dtype at all */
    return 0;
}

const char *stlora_dtype_name(stlora_dtype dtype)
{
    switch (dtype) {
#define STLORA_CASE(name, bytes, text)                                                             \
    case STLORA_##name: return text;
        STLORA_DTYPES(STLORA_CASE)
#undef STLORA_CASE
    }
    return "unknown";
}

bool stlora_dtype_from_name(const char *name, stlora_dtype *out)
{
#define STLORA_COMPARE(enumerator, bytes, text)                                                    \
    if (strcmp(name, text) == 0) {                                                                 \
        *out = STLORA_##enumerator;                                                                \
        return true;                                                                               \
    }
    STLORA_DTYPES(STLORA_COMPARE)
#undef STLORA_COMPARE
    return false;
}

bool stlora_dtype_is_float(stlora_dtype dtype)
{
    return dtype == STLORA_F32 || dtype == STLORA_F16 || dtype == STLORA_BF16 || dtype == STLORA_F64;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* A double as sign, exponent and fraction bits of a narrower IEEE type with `fraction` fraction bits, exponents from
 * `lowest` (of the smallest normal number) to `highest`. The result's low bits: sign, then exponent, then fraction. */
static uint32_t narrow(double value, int fraction, int lowest, int highest)
{
    const uint64_t bits = bits_of(value);
    const int width = highest - lowest + 3; /* all exponents, the subnormals' and the infinities' */
    int exponent_bits = 0;
    while ((1 << exponent_bits) < width) exponent_bits++;
    const uint32_t sign = (uint32_t)(bits >> 63) << (exponent_bits + fraction);
    const uint32_t infinity = ((1u << exponent_bits) - 1) << fraction;
    const int biased = (int)((bits >> 52) & 0x7ff);
    const uint64_t low = bits & 0xfffffffffffffu;
    if (biased == 0x7ff) {
        if (low == 0) return sign | infinity;
        return sign | infinity | (1u << (fraction - 1)) | (uint32_t)(low >> (52 - fraction)); /* quiet NaN */
    }
    const int exponent = biased - 1023;
    if (exponent > highest) return sign | infinity;
    if (exponent < lowest - fraction - 1) return sign; /* under half of the smallest subnormal, doubles' subnormals too */
    /* value = significand * 2^(exponent - 52); `drop` bits go, more for a subnormal result. */
    const uint64_t significand = low | (UINT64_C(1) << 52);
    const int drop = 52 - fraction + (exponent < lowest ? lowest - exponent : 0);
    uint64_t kept = significand >> drop;
    const uint64_t rest = significand & ((UINT64_C(1) << drop) - 1), half = UINT64_C(1) << (drop - 1);
    if (rest > half || (rest == half && (kept & 1))) kept++;
    /* A carry out of the fraction runs into the exponent, which is just right, up to infinity. */
    const uint64_t base = exponent < lowest ? 0 : (uint64_t)(exponent - lowest) << fraction;
    return sign | (uint32_t)(base + kept);
}

float stlora_f16_to_f32(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 0x1fu;
    uint32_t fraction = half & 0x3ffu, bits;
    if (exponent == 0x1f) {
        bits = sign | 0x7f800000u | (fraction << 13);
        if (fraction) bits |= 0x400000u; /* quiet NaN */
    } else if (exponent > 0) {
        bits = sign | ((exponent + 112) << 23) | (fraction << 13);
    } else if (fraction == 0) {
        bits = sign;
    } else { /* subnormal: normal as a float */
        uint32_t shift = 0;
        while (!(fraction & 0x400u)) {
            fraction <<= 1;
            shift++;
        }
        bits = sign | ((113 - shift) << 23) | ((fraction & 0x3ffu) << 13);
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t stlora_f32_to_f16(float value)
{
    return (uint16_t)narrow((double)value, 10, -14, 15);
}

static uint16_t f64_to_bf16(double value)
{
    return (uint16_t)narrow(value, 7, -126, 127);
}

double stlora_load(const void *data, stlora_dtype dtype, int64_t i)
{
    assert(stlora_dtype_is_float(dtype));
    const unsigned char *at = (const unsigned char *)data + (size_t)i * stlora_dtype_size(dtype);
    uint16_t half;
    float single;
    double value;
    if (dtype == STLORA_F64) {
        memcpy(&value, at, sizeof value);
        return value;
    }
    if (dtype == STLORA_F32) {
        memcpy(&single, at, sizeof single);
        return (double)single;
    }
    memcpy(&half, at, sizeof half);
    return (double)(dtype == STLORA_F16 ? stlora_f16_to_f32(half) : stlora_bf16_to_f32(half));
}

void stlora_store(void *data, stlora_dtype dtype, int64_t i, double value)
{
    assert(stlora_dtype_is_float(dtype));
    unsigned char *at = (unsigned char *)data + (size_t)i * stlora_dtype_size(dtype);
    if (dtype == STLORA_F64) {
        memcpy(at, &value, sizeof value);
    } else if (dtype == STLORA_F32) {
        float single = (float)value;
        memcpy(at, &single, sizeof single);
    } else {
        uint16_t half = dtype == STLORA_F16 ? (uint16_t)narrow(value, 10, -14, 15) : f64_to_bf16(value);
        memcpy(at, &half, sizeof half);
    }
}

void stlora_convert(void *to, stlora_dtype to_dtype, const void *from, stlora_dtype from_dtype,
                    int64_t count)
{
    assert(stlora_dtype_is_float(to_dtype) && stlora_dtype_is_float(from_dtype));
    if (count <= 0) return;
    if (to_dtype == from_dtype) {
        memcpy(to, from, (size_t)count * stlora_dtype_size(to_dtype));
    } else if (to_dtype == STLORA_F32 && from_dtype == STLORA_BF16) { /* the two that long rows go through */
        const unsigned char *source = from;
        unsigned char *target = to;
        for (int64_t i = 0; i < count; i++) {
            uint16_t bits;
            memcpy(&bits, source + 2 * i, sizeof bits);
            float value = stlora_bf16_to_f32(bits);
            memcpy(target + 4 * i, &value, sizeof value);
        }
    } else if (to_dtype == STLORA_BF16 && from_dtype == STLORA_F32) {
        const unsigned char *source = from;
        unsigned char *target = to;
        for (int64_t i = 0; i < count; i++) {
            float value;
            memcpy(&value, source + 4 * i, sizeof value);
            uint16_t bits = stlora_f32_to_bf16(value);
            memcpy(target + 2 * i, &bits, sizeof bits);
        }
    } else {
        for (int64_t i = 0; i < count; i++)
            stlora_store(to, to_dtype, i, stlora_load(from, from_dtype, i));
    }
}
