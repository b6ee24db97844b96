/* pack_template.h: slices of a row-major matrix of any layout and dtype, laid out as tile_template.h's panels.
 * Reads the elements that exist and no others: the mapped file may end with them. Columns up to the next multiple of VL
 * become zeros. */
#ifndef STLORA_BACKEND_CPU_PACK_TEMPLATE_H
#define STLORA_BACKEND_CPU_PACK_TEMPLATE_H

#include "backend/cpu/tile_template.h"

/* panel[k, o] = m[o*ld + k], k < steps, o < cols: rows of m become columns. */
static void pack_rows_as_columns(float *panel, const void *m, stlora_dtype dtype, int64_t ld, int64_t steps,
                                 int64_t cols)
{
    const int width = vectors_of(cols) * VL;
    for (int64_t o = 0; o < cols; o += VL) {
        const int rows = (int)least(VL, cols - o);
        const void *base = at_element(m, dtype, o * ld);
        for (int64_t k = 0; k < steps; k += VL) {
            const int n = (int)least(VL, steps - k);
            vf r[VL];
            if (rows == VL && n == VL) {
                UNROLL for (int i = 0; i < VL; i++) r[i] = load_as(base, dtype, i * ld + k);
                vf_transpose(r);
                UNROLL for (int i = 0; i < VL; i++) vf_store(panel + (k + i) * width + o, r[i]);
            } else {
                for (int i = 0; i < VL; i++)
                    r[i] = i < rows ? load_as_n(base, dtype, i * ld + k, n) : vf_zero();
                vf_transpose(r);
                for (int i = 0; i < n; i++)
                    vf_store(panel + (k + i) * width + o, r[i]);
            }
        }
    }
}

/* panel[k, o] = m[k*ld + o]: rows of m stay rows. */
static void pack_rows_as_rows(float *panel, const void *m, stlora_dtype dtype, int64_t ld, int64_t steps, int64_t cols)
{
    const int nv = vectors_of(cols), last = (int)(cols - (nv - 1) * VL);
    for (int64_t k = 0; k < steps; k++) {
        for (int j = 0; j < nv; j++) {
            const int64_t at = k * ld + j * VL;
            vf_store(panel + j * VL, j < nv - 1 || last == VL ? load_as(m, dtype, at) : load_as_n(m, dtype, at, last));
        }
        panel += nv * VL;
    }
}

/* panel[k, o] = factor * m[k*stride_k + o*stride_o]: small float matrices of any strides (the adapter's). */
static void pack_strided(float *panel, const float *m, int64_t stride_k, int64_t stride_o, float factor, int64_t steps,
                         int64_t cols)
{
    const int width = vectors_of(cols) * VL;
    for (int64_t k = 0; k < steps; k++) {
        for (int o = 0; o < width; o++)
            panel[k * width + o] = o < cols ? factor * m[k * stride_k + o * stride_o] : 0.0f;
    }
}

/* to (rows, cols) float, row stride cols <- from */
static void widen_rows(float *to, int64_t ld_to, const void *from, stlora_dtype dtype, int64_t ld, int64_t rows,
                       int64_t cols)
{
    for (int64_t i = 0; i < rows; i++) {
        int64_t k = 0;
        for (; k + VL <= cols; k += VL)
            vf_store(to + i * ld_to + k, load_as(from, dtype, i * ld + k));
        if (k < cols)
            vf_store_n(to + i * ld_to + k, load_as_n(from, dtype, i * ld + k, (int)(cols - k)), (int)(cols - k));
    }
}

#endif
