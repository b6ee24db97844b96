/* dtype.h: element types, and conversion of single numbers and rows. Rounding is to nearest even; NaN stays NaN.
 * Test: tests/tensor/test_dtype.c (all 65536 values of both half types). */
#ifndef STLORA_TENSOR_DTYPE_H
#define STLORA_TENSOR_DTYPE_H

#include "stlora/types.h"

size_t stlora_dtype_size(stlora_dtype dtype);      /* bytes per element */
const char *stlora_dtype_name(stlora_dtype dtype); /* safetensors name */
bool stlora_dtype_from_name(const char *name, stlora_dtype *out);
bool stlora_dtype_is_float(stlora_dtype dtype); /* F32, F16, BF16 or F64 */

static inline float stlora_bf16_to_f32(uint16_t bits)
{
    union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)bits << 16};
    return v.f;
}

static inline uint16_t stlora_f32_to_bf16(float value)
{
    union {
        float f;
        uint32_t u;
    } v = {.f = value};
    if ((v.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((v.u >> 16) | 0x40u); /* quiet NaN */
    return (uint16_t)((v.u + 0x7fffu + ((v.u >> 16) & 1u)) >> 16);
}

float stlora_f16_to_f32(uint16_t bits);
uint16_t stlora_f32_to_f16(float value);

/* stlora_load / stlora_store: element i of a float array of any float dtype, through double. For ref and for tests. */
double stlora_load(const void *data, stlora_dtype dtype, int64_t i);
void stlora_store(void *data, stlora_dtype dtype, int64_t i, double value);

/* stlora_convert: count elements from one float dtype to another (F32, F16, BF16, F64), no overlap. */
void stlora_convert(void *to, stlora_dtype to_dtype, const void *from, stlora_dtype from_dtype,
                    int64_t count);

#endif
