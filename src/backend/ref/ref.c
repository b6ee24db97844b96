/* ref.c: the table of the definitions. */
#include "backend/ref/ref.h"

/* Nothing is put off. */
static void at_once(const stlora_backend *table)
{
    (void)table;
}

void stlora_ref_fill(stlora_backend *table)
{
    table->begin = at_once;
    table->end = at_once;
    table->product = stlora_ref_product;
    table->lowrank_project = stlora_ref_lowrank_project;
    table->lowrank_grad = stlora_ref_lowrank_grad;
    table->dropout = stlora_ref_dropout;
    table->embed = stlora_ref_embed;
    table->noise = stlora_ref_noise;
    table->row_norms = stlora_ref_row_norms;
    table->column_scale = stlora_ref_column_scale;
    table->column_dot = stlora_ref_column_dot;
    table->norm = stlora_ref_norm;
    table->norm_grad = stlora_ref_norm_grad;
    table->scale = stlora_ref_scale;
    table->rope = stlora_ref_rope;
    table->attention = stlora_ref_attention;
    table->attention_grad = stlora_ref_attention_grad;
    table->activation = stlora_ref_activation;
    table->activation_grad = stlora_ref_activation_grad;
    table->cross_entropy = stlora_ref_cross_entropy;
    table->adamw = stlora_ref_adamw;
    table->sum_squares = stlora_ref_sum_squares;
}
