/* fill_template.h: all kernels of the level whose simd_*.h came before, and the function that puts them into a table. */
#ifndef STLORA_BACKEND_CPU_FILL_TEMPLATE_H
#define STLORA_BACKEND_CPU_FILL_TEMPLATE_H

#include "backend/cpu/attention_grad_template.h"
#include "backend/cpu/attention_template.h"
#include "backend/cpu/columns_template.h"
#include "backend/cpu/lowrank_grad_template.h"
#include "backend/cpu/lowrank_project_template.h"
#include "backend/cpu/product_template.h"
#include "backend/cpu/sums_template.h"

static inline void cpu_fill(stlora_backend *table)
{
    table->product = cpu_product;
    table->lowrank_project = cpu_lowrank_project;
    table->lowrank_grad = cpu_lowrank_grad;
    table->dropout = cpu_dropout;
    table->embed = cpu_embed;
    table->noise = cpu_noise;
    table->row_norms = cpu_row_norms;
    table->column_scale = cpu_column_scale;
    table->column_dot = cpu_column_dot;
    table->norm = cpu_norm;
    table->norm_grad = cpu_norm_grad;
    table->scale = cpu_scale;
    table->rope = cpu_rope;
    table->attention = cpu_attention;
    table->attention_grad = cpu_attention_grad;
    table->activation = cpu_activation;
    table->activation_grad = cpu_activation_grad;
    table->cross_entropy = cpu_cross_entropy;
    table->adamw = cpu_adamw;
    table->sum_squares = cpu_sum_squares;
}

#endif
