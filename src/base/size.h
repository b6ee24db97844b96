/* size.h: checked integer arithmetic for every size that a file or a user had a say in.
 * Each returns false on overflow and leaves *out untouched. Test: tests/base/test_base.c. */
#ifndef STLORA_BASE_SIZE_H
#define STLORA_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool stlora_size_mul(size_t a, size_t b, size_t *out)
{
    size_t v;
    if (__builtin_mul_overflow(a, b, &v)) return false;
    *out = v;
    return true;
}

static inline bool stlora_size_add(size_t a, size_t b, size_t *out)
{
    size_t v;
    if (__builtin_add_overflow(a, b, &v)) return false;
    *out = v;
    return true;
}

static inline bool stlora_i64_mul(int64_t a, int64_t b, int64_t *out)
{
    int64_t v;
    if (__builtin_mul_overflow(a, b, &v)) return false;
    *out = v;
    return true;
}

static inline bool stlora_i64_add(int64_t a, int64_t b, int64_t *out)
{
    int64_t v;
    if (__builtin_add_overflow(a, b, &v)) return false;
    *out = v;
    return true;
}

#endif
