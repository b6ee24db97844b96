/* types.h: the plain types that every room shares. No functions. */
#ifndef STLORA_TYPES_H
#define STLORA_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(enumerator, bytes, safetensors name). Order is part of the ABI: append only. */
#define STLORA_DTYPES(X)                                                                           \
    X(F32, 4, "F32")                                                                               \
    X(F16, 2, "F16")                                                                               \
    X(BF16, 2, "BF16")                                                                             \
    X(F64, 8, "F64")                                                                               \
    X(I64, 8, "I64")                                                                               \
    X(I32, 4, "I32")                                                                               \
    X(I16, 2, "I16")                                                                               \
    X(I8, 1, "I8")                                                                                 \
    X(U8, 1, "U8")                                                                                 \
    X(BOOL, 1, "BOOL")

typedef enum stlora_dtype {
#define STLORA_DTYPE_ENUM(name, bytes, text) STLORA_##name,
    STLORA_DTYPES(STLORA_DTYPE_ENUM)
#undef STLORA_DTYPE_ENUM
} stlora_dtype;

#endif
