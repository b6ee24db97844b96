/* test_dtype.c: element types and their conversion. The definition used here is plain: a half number is sign * fraction * 2^e,
 * computed in double; rounding picks the nearest of all of them, and of two the one whose last bit is 0. */
#include "support.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "tensor/dtype.h"
#include "tensor/view.h"

static uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_from(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* What the bits of a type with 5 or 8 exponent bits mean. */
static double half_value(uint16_t bits, int fraction_bits, int bias)
{
    const int exponent_bits = 15 - fraction_bits;
    const int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    const int fraction = bits & ((1 << fraction_bits) - 1);
    double value;
    if (exponent == (1 << exponent_bits) - 1)
        value = fraction ? (double)NAN : (double)INFINITY;
    else if (exponent == 0)
        value = ldexp(fraction, 1 - bias - fraction_bits);
    else
        value = ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
    return bits & 0x8000 ? -value : value;
}

static bool same(double a, double b)
{
    return isnan(a) ? isnan(b) : a == b && signbit(a) == signbit(b);
}

static void test_names_and_sizes(void **state)
{
    (void)state;
    const struct {
        stlora_dtype dtype;
        size_t size;
        const char *name;
        bool is_float;
    } rows[] = {{STLORA_F32, 4, "F32", true}, {STLORA_F16, 2, "F16", true},   {STLORA_BF16, 2, "BF16", true},
                {STLORA_F64, 8, "F64", true}, {STLORA_I64, 8, "I64", false},  {STLORA_I32, 4, "I32", false},
                {STLORA_I16, 2, "I16", false}, {STLORA_I8, 1, "I8", false},   {STLORA_U8, 1, "U8", false},
                {STLORA_BOOL, 1, "BOOL", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        stlora_dtype found;
        assert_int_equal(stlora_dtype_size(rows[i].dtype), rows[i].size);
        assert_string_equal(stlora_dtype_name(rows[i].dtype), rows[i].name);
        assert_true(stlora_dtype_from_name(rows[i].name, &found));
        assert_int_equal(found, rows[i].dtype);
        assert_int_equal(stlora_dtype_is_float(rows[i].dtype), rows[i].is_float);
    }
    stlora_dtype untouched = STLORA_I8;
    const char *unknown[] = {"", "f32", "F3", "F321", "F8_E4M3", "U16"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_false(stlora_dtype_from_name(unknown[i], &untouched));
    assert_int_equal(untouched, STLORA_I8);
}

static void test_all_half_values(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        const uint16_t bits = (uint16_t)i;
        const double f16 = half_value(bits, 10, 15), bf16 = half_value(bits, 7, 127);
        if (!same((double)stlora_f16_to_f32(bits), f16)) fail_msg("F16 %04x", i);
        if (!same((double)stlora_bf16_to_f32(bits), bf16)) fail_msg("BF16 %04x", i);
        assert_true(same(stlora_load(&bits, STLORA_F16, 0), f16));
        assert_true(same(stlora_load(&bits, STLORA_BF16, 0), bf16));
        /* And back: the same bits, or a NaN of the same sign. */
        const uint16_t back16 = stlora_f32_to_f16((float)f16), back = stlora_f32_to_bf16((float)bf16);
        assert_true(isnan(f16) ? isnan(half_value(back16, 10, 15)) : back16 == bits);
        assert_true(isnan(bf16) ? isnan(half_value(back, 7, 127)) : back == bits);
    }
}

/* Bits of a positive type, ascending, are values ascending: so the neighbours of bits are bits - 1 and bits + 1. */
static void check_rounding(stlora_dtype dtype, int fraction_bits, int bias, double value)
{
    uint16_t got;
    stlora_store(&got, dtype, 0, value);
    const uint16_t infinity = (uint16_t)(0x7fff & ~((1 << fraction_bits) - 1));
    const uint16_t magnitude = got & 0x7fff;
    const double size = fabs(value), rounded = half_value(magnitude, fraction_bits, bias);
    assert_int_equal(got >> 15, signbit(value) ? 1 : 0);
    if (magnitude == infinity) { /* from half a unit beyond the largest finite number on */
        const double largest = half_value((uint16_t)(infinity - 1), fraction_bits, bias);
        const double before = half_value((uint16_t)(infinity - 2), fraction_bits, bias);
        if (size < largest + (largest - before) / 2) fail_msg("%a became infinite", value);
        return;
    }
    const double next = magnitude + 1 == infinity ? rounded + (rounded - half_value((uint16_t)(magnitude - 1), fraction_bits, bias))
                                                  : half_value((uint16_t)(magnitude + 1), fraction_bits, bias);
    /* These differences are exact in double for every value given here. */
    if (size > rounded) {
        const double up = next - size, down = size - rounded;
        if (up < down || (up == down && (magnitude & 1))) fail_msg("%a rounded to %a", value, rounded);
    } else if (magnitude > 0) {
        const double previous = half_value((uint16_t)(magnitude - 1), fraction_bits, bias);
        const double up = rounded - size, down = size - previous;
        if (down < up || (up == down && (magnitude & 1))) fail_msg("%a rounded to %a", value, rounded);
    }
}

static void check_around(stlora_dtype dtype, int fraction_bits, int bias)
{
    const uint16_t infinity = (uint16_t)(0x7fff & ~((1 << fraction_bits) - 1));
    for (uint16_t bits = 0; bits < infinity; bits++) {
        const double here = half_value(bits, fraction_bits, bias);
        const double next = bits + 1 == infinity ? here + (here - half_value((uint16_t)(bits - 1), fraction_bits, bias))
                                                 : half_value((uint16_t)(bits + 1), fraction_bits, bias);
        const double middle = here + (next - here) / 2;
        const double values[] = {here, middle, nextafter(middle, 0), nextafter(middle, DBL_MAX), nextafter(here, 0),
                                 nextafter(here, DBL_MAX)};
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            check_rounding(dtype, fraction_bits, bias, values[i]);
            check_rounding(dtype, fraction_bits, bias, -values[i]);
        }
    }
}

static void test_rounding_from_double(void **state)
{
    (void)state;
    check_around(STLORA_F16, 10, 15);
    check_around(STLORA_BF16, 7, 127);
    const double extremes[] = {1e300, -1e300, DBL_MAX, DBL_MIN, 5e-324, -5e-324, 0.0, -0.0};
    for (size_t i = 0; i < sizeof extremes / sizeof extremes[0]; i++) {
        check_rounding(STLORA_F16, 10, 15, extremes[i]);
        check_rounding(STLORA_BF16, 7, 127, extremes[i]);
    }
}

static void test_rounding_from_float(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 2000000; i++) {
        const float value = float_from(stlora_rng_u32(1, STLORA_RNG_SAMPLE, 0, i));
        uint16_t f16, bf16;
        stlora_store(&f16, STLORA_F16, 0, (double)value);
        stlora_store(&bf16, STLORA_BF16, 0, (double)value);
        if (isnan(value)) {
            assert_true(isnan(stlora_f16_to_f32(stlora_f32_to_f16(value))));
            assert_true(isnan(stlora_bf16_to_f32(stlora_f32_to_bf16(value))));
            assert_true(isnan(stlora_f16_to_f32(f16)) && isnan(stlora_bf16_to_f32(bf16)));
            continue;
        }
        assert_int_equal(stlora_f32_to_f16(value), f16);
        assert_int_equal(stlora_f32_to_bf16(value), bf16);
    }
    /* The two halfway cases next to one another: 1 + 2^-11 falls to 1, 1 + 3 * 2^-11 rises to 1 + 2^-9. */
    assert_int_equal(stlora_f32_to_f16(1.00048828125f), 0x3c00);
    assert_int_equal(stlora_f32_to_f16(1.00146484375f), 0x3c02);
    assert_int_equal(stlora_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(stlora_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(stlora_f32_to_bf16(FLT_MAX), 0x7f80);
    /* A NaN whose payload lies in the bits that go must not become an infinity. */
    assert_true(isnan(stlora_f16_to_f32(stlora_f32_to_f16(float_from(0x7f800001)))));
    assert_true(isnan(stlora_bf16_to_f32(stlora_f32_to_bf16(float_from(0xff800001)))));
}

/* Twice rounded is wrong: 1 + 2^-11 + 2^-40 lies above the middle, but its float lies on it. */
static void test_doubles_round_once(void **state)
{
    (void)state;
    uint16_t bits;
    stlora_store(&bits, STLORA_F16, 0, 1 + 0x1p-11 + 0x1p-40);
    assert_int_equal(bits, 0x3c01);
    stlora_store(&bits, STLORA_BF16, 0, 1 + 0x1p-8 + 0x1p-40);
    assert_int_equal(bits, 0x3f81);
}

static void test_convert(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    const stlora_dtype types[] = {STLORA_F32, STLORA_F16, STLORA_BF16, STLORA_F64};
    for (size_t from = 0; from < 4; from++) {
        for (size_t to = 0; to < 4; to++) {
            unsigned char source[COUNT * 8 + 1], target[COUNT * 8 + 2], wanted[COUNT * 8];
            memset(target, 0xa5, sizeof target);
            for (int64_t i = 0; i < COUNT; i++)
                stlora_store(source + 1, types[from], i, 100 * (stlora_rng_uniform(3, STLORA_RNG_SAMPLE, 0, (uint64_t)i) - 0.5));
            for (int64_t i = 0; i < COUNT; i++)
                stlora_store(wanted, types[to], i, stlora_load(source + 1, types[from], i));
            stlora_convert(target + 1, types[to], source + 1, types[from], COUNT); /* odd addresses */
            const size_t bytes = COUNT * stlora_dtype_size(types[to]);
            assert_memory_equal(target + 1, wanted, bytes);
            assert_int_equal(target[0], 0xa5);
            assert_int_equal(target[1 + bytes], 0xa5);
        }
    }
    float untouched = 1.0f;
    stlora_convert(&untouched, STLORA_F32, &untouched, STLORA_F16, 0);
    assert_int_equal(float_bits(untouched), float_bits(1.0f));
}

static void test_view_count(void **state)
{
    (void)state;
    assert_int_equal(stlora_view_count(&(stlora_view){.ndim = 0}), 1);
    assert_int_equal(stlora_view_count(&(stlora_view){.ndim = 3, .shape = {2, 3, 5}}), 30);
    assert_int_equal(stlora_view_count(&(stlora_view){.ndim = 2, .shape = {7, 0}}), 0);
    float numbers[6] = {0};
    stlora_cmat m = stlora_mat_const((stlora_mat){numbers, STLORA_F32, 2, 3, 3});
    assert_true(m.data == numbers && m.rows == 2 && m.cols == 3 && m.ld == 3 && m.dtype == STLORA_F32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_sizes),     cmocka_unit_test(test_all_half_values),
        cmocka_unit_test(test_rounding_from_double), cmocka_unit_test(test_rounding_from_float),
        cmocka_unit_test(test_doubles_round_once),  cmocka_unit_test(test_convert),
        cmocka_unit_test(test_view_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
