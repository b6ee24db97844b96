/* view.h: shapes and places of numbers that somebody else owns. */
#ifndef STLORA_TENSOR_VIEW_H
#define STLORA_TENSOR_VIEW_H

#include "tensor/dtype.h"

enum { STLORA_MAX_DIMS = 8 };

/* A dense row-major tensor, read-only, inside a mapped file. */
typedef struct stlora_view {
    const void *data;
    stlora_dtype dtype;
    int ndim;
    int64_t shape[STLORA_MAX_DIMS];
} stlora_view;

/* A matrix of rows x cols with row stride ld (in elements): element (i, j) at data[i*ld + j]. */
typedef struct stlora_mat {
    void *data;
    stlora_dtype dtype;
    int64_t rows, cols, ld;
} stlora_mat;

typedef struct stlora_cmat {
    const void *data;
    stlora_dtype dtype;
    int64_t rows, cols, ld;
} stlora_cmat;

static inline stlora_cmat stlora_mat_const(stlora_mat m)
{
    return (stlora_cmat){m.data, m.dtype, m.rows, m.cols, m.ld};
}

/* A dense matrix. */
static inline stlora_mat stlora_mat_whole(void *data, stlora_dtype dtype, int64_t rows, int64_t cols)
{
    return (stlora_mat){data, dtype, rows, cols, cols};
}

/* Columns [from, from + cols) of a dense (rows, ld) matrix. */
static inline stlora_mat stlora_mat_columns(void *data, stlora_dtype dtype, int64_t rows, int64_t ld,
                                            int64_t from, int64_t cols)
{
    return (stlora_mat){(char *)data + (size_t)from * stlora_dtype_size(dtype), dtype, rows, cols, ld};
}

int64_t stlora_view_count(const stlora_view *view); /* elements; shapes in views are checked, so no overflow */

#endif
