/* ref.h: the naive definition of every op of backend.h, and how it reads and writes one element.
 *
 * Not fast, and never to be made fast: one thread, one element at a time, sums in double, every float dtype in every
 * matrix. What cpu/ computes is measured against this room. The formula stands above the code that computes it.
 * Test: tests/backend/test_ref_values.c, test_ref_gradients.c, test_lora_linear.c, test_promises.c.
 */
#ifndef STLORA_BACKEND_REF_REF_H
#define STLORA_BACKEND_REF_REF_H

#include <assert.h>

#include "backend/backend.h"
#include "tensor/dtype.h"

/* stlora_ref_fill: points every op of the table to its definition here; leaves the other fields alone. */
void stlora_ref_fill(stlora_backend *table);

void stlora_ref_product(const stlora_backend *, const stlora_product_args *maps, int count);
void stlora_ref_lowrank_project(const stlora_backend *, const stlora_lowrank_project_args *);
void stlora_ref_lowrank_grad(const stlora_backend *, const stlora_lowrank_grad_args *);
void stlora_ref_dropout(const stlora_backend *, const stlora_dropout_args *);
void stlora_ref_embed(const stlora_backend *, const stlora_embed_args *);
void stlora_ref_noise(const stlora_backend *, const stlora_noise_args *);
void stlora_ref_row_norms(const stlora_backend *, const stlora_row_norms_args *);
void stlora_ref_column_scale(const stlora_backend *, const stlora_column_scale_args *);
void stlora_ref_column_dot(const stlora_backend *, const stlora_column_dot_args *);
void stlora_ref_norm(const stlora_backend *, const stlora_norm_args *);
void stlora_ref_norm_grad(const stlora_backend *, const stlora_norm_grad_args *);
void stlora_ref_scale(const stlora_backend *, const stlora_scale_args *);
void stlora_ref_rope(const stlora_backend *, const stlora_rope_args *);
void stlora_ref_attention(const stlora_backend *, const stlora_attention_args *);
void stlora_ref_attention_grad(const stlora_backend *, const stlora_attention_grad_args *);
void stlora_ref_activation(const stlora_backend *, const stlora_activation_args *);
void stlora_ref_activation_grad(const stlora_backend *, const stlora_activation_grad_args *);
void stlora_ref_cross_entropy(const stlora_backend *, const stlora_cross_entropy_args *);
void stlora_ref_adamw(const stlora_backend *, const stlora_adamw_args *, int matrices);
double stlora_ref_sum_squares(const stlora_backend *, const float *x, int64_t count);

/* Element (i, j) of a matrix: read, read where it will be written, write. */
static inline double stlora_ref_get(stlora_cmat m, int64_t i, int64_t j)
{
    return stlora_load(m.data, m.dtype, i * m.ld + j);
}

static inline double stlora_ref_held(stlora_mat m, int64_t i, int64_t j)
{
    return stlora_load(m.data, m.dtype, i * m.ld + j);
}

static inline void stlora_ref_put(stlora_mat m, int64_t i, int64_t j, double value)
{
    stlora_store(m.data, m.dtype, i * m.ld + j, value);
}

#endif
