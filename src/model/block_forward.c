/* block_forward.c: one block, forward. See block.h for the formulas. */
#include <math.h>
#include <string.h>

#include "model/block.h"

int64_t stlora_qkv_width(const stlora_hf_config *config)
{
    return (config->heads + 2 * config->kv_heads) * config->head_dim;
}

int64_t stlora_up_width(const stlora_transformer *model)
{
    return model->blocks[0].sites[STLORA_SITE_UP].m;
}

void stlora_map_forward(const stlora_stage *stage, const stlora_linear *linear, stlora_cmat x, stlora_mat y,
                        bool accumulate, float *h)
{
    const stlora_backend *backend = stage->backend;
    const stlora_lora_map *map = stage->lora ? stage->lora->of[linear->id] : NULL;
    stlora_product_args args = {
        .tokens = x.rows,
        .in = linear->n,
        .out = linear->m,
        .x = x,
        .w = linear->weight.data,
        .w_dtype = linear->weight.dtype,
        .w_layout = linear->layout,
        .ldw = linear->layout == STLORA_OUT_IN ? linear->n : linear->m,
        .bias = linear->bias.data,
        .bias_dtype = linear->bias.dtype,
        .y = y,
        .accumulate = accumulate,
    };
    if (map) {
        stlora_cmat z = x;
        if (stage->dropout > 0) {
            stlora_mat dropped = stlora_mat_whole(stage->dropped, x.dtype, x.rows, linear->n);
            backend->dropout(backend, &(stlora_dropout_args){.tokens = x.rows,
                                                             .width = linear->n,
                                                             .x = x,
                                                             .y = dropped,
                                                             .p = stage->dropout,
                                                             .seed = stage->seed,
                                                             .stream = stage->step << 20 | linear->id,
                                                             .token_keys = stage->token_keys});
            z = stlora_mat_const(dropped);
        }
        backend->lowrank_project(backend, &(stlora_lowrank_project_args){.tokens = x.rows,
                                                                         .width = linear->n,
                                                                         .rank = map->r,
                                                                         .x = z,
                                                                         .u = map->a,
                                                                         .u_rank_stride = linear->n,
                                                                         .u_width_stride = 1,
                                                                         .h = h});
        args.h = h;
        args.u = map->b;
        args.rank = map->r;
        args.u_rank_stride = 1;
        args.u_out_stride = map->r;
        args.scale = map->scale;
    }
    backend->product(backend, &args);
}

/* All maps of a site, side by side into y. */
static void site_forward(const stlora_stage *stage, const stlora_place *place, stlora_cmat x, void *y,
                         stlora_dtype y_dtype, bool accumulate, float *const *lowrank)
{
    for (int k = 0; k < place->count; k++) {
        const stlora_linear *linear = &place->maps[k];
        stlora_mat out = stlora_mat_columns(y, y_dtype, x.rows, place->m, linear->column, linear->m);
        stlora_map_forward(stage, linear, x, out, accumulate, lowrank[k]);
    }
}

void stlora_block_norm(const stlora_stage *stage, const stlora_norm_weights *w, const float *x, float *stats)
{
    const stlora_transformer *model = stage->model;
    int64_t T = stage->tokens, C = model->config.hidden_size;
    stage->backend->norm(stage->backend, &(stlora_norm_args){.kind = model->family->norm,
                                                             .tokens = T,
                                                             .width = C,
                                                             .eps = model->config.norm_eps,
                                                             .x = {x, STLORA_F32, T, C, C},
                                                             .w = w->w.data,
                                                             .b = w->b.data,
                                                             .w_dtype = w->w.dtype,
                                                             .y = stlora_mat_whole(stage->h, stage->act, T, C),
                                                             .stats = stats});
}

/* Attention of the call's tokens among themselves, or against the cache, which gets their keys and values first. */
static void attention_forward(const stlora_stage *stage, const stlora_block_acts *acts, stlora_kv_cache cache)
{
    const stlora_hf_config *c = &stage->model->config;
    const stlora_backend *backend = stage->backend;
    int64_t T = stage->tokens, D = c->head_dim, width = stlora_qkv_width(c);
    int64_t q_width = c->heads * D, kv_width = c->kv_heads * D;
    if (stage->cosines)
        backend->rope(backend, &(stlora_rope_args){
                                   .tokens = T,
                                   .heads = c->heads + c->kv_heads,
                                   .head_dim = D,
                                   .x = stlora_mat_columns(acts->qkv, stage->act, T, width, 0, q_width + kv_width),
                                   .positions = stage->positions,
                                   .cos = stage->cosines,
                                   .sin = stage->sines});
    stlora_attention_args args = {
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .head_dim = D,
        .scale = 1.0 / sqrt((double)D),
        .segments = stage->segments,
        .segment_count = stage->segment_count,
        .q = stlora_mat_const(stlora_mat_columns(acts->qkv, stage->act, T, width, 0, q_width)),
        .k = stlora_mat_const(stlora_mat_columns(acts->qkv, stage->act, T, width, q_width, kv_width)),
        .v = stlora_mat_const(stlora_mat_columns(acts->qkv, stage->act, T, width, q_width + kv_width, kv_width)),
        .o = stlora_mat_whole(acts->o, stage->act, T, q_width),
        .lse = acts->lse,
    };
    if (cache.rows) {
        size_t element = stlora_dtype_size(stage->act), row = (size_t)(2 * kv_width) * element;
        char *to = (char *)cache.rows + (size_t)cache.past * row;
        const char *from = (const char *)acts->qkv + (size_t)q_width * element;
        for (int64_t t = 0; t < T; t++)
            memcpy(to + (size_t)t * row, from + (size_t)(t * width) * element, row);
        args.k =
            stlora_mat_const(stlora_mat_columns(cache.rows, stage->act, cache.past + T, 2 * kv_width, 0, kv_width));
        args.v = stlora_mat_const(
            stlora_mat_columns(cache.rows, stage->act, cache.past + T, 2 * kv_width, kv_width, kv_width));
    }
    backend->attention(backend, &args);
}

void stlora_block_forward(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts,
                          stlora_kv_cache cache)
{
    const stlora_transformer *model = stage->model;
    const stlora_block *block = &model->blocks[layer];
    int64_t T = stage->tokens, C = model->config.hidden_size, F = model->config.intermediate_size;
    size_t residual = (size_t)(T * C) * sizeof(float);
    int64_t q_width = model->config.heads * model->config.head_dim;
    stlora_cmat h = {stage->h, stage->act, T, C, C};

    stlora_block_norm(stage, &block->norm1, acts->x_in, acts->stats1);
    site_forward(stage, &block->sites[STLORA_SITE_QKV], h, acts->qkv, stage->act, false,
                 acts->lowrank[STLORA_SITE_QKV]);
    attention_forward(stage, acts, cache);
    if (acts->x_mid != acts->x_in) memcpy(acts->x_mid, acts->x_in, residual);
    site_forward(stage, &block->sites[STLORA_SITE_O], (stlora_cmat){acts->o, stage->act, T, q_width, q_width},
                 acts->x_mid, STLORA_F32, true, acts->lowrank[STLORA_SITE_O]);

    stlora_block_norm(stage, &block->norm2, acts->x_mid, acts->stats2);
    site_forward(stage, &block->sites[STLORA_SITE_UP], h, acts->up, stage->act, false, acts->lowrank[STLORA_SITE_UP]);
    int64_t up_width = block->sites[STLORA_SITE_UP].m;
    stage->backend->activation(stage->backend,
                               &(stlora_activation_args){.kind = model->family->activation,
                                                         .tokens = T,
                                                         .width = F,
                                                         .x = {acts->up, stage->act, T, up_width, up_width},
                                                         .y = stlora_mat_whole(stage->a, stage->act, T, F)});
    if (acts->x_out != acts->x_mid) memcpy(acts->x_out, acts->x_mid, residual);
    site_forward(stage, &block->sites[STLORA_SITE_DOWN], (stlora_cmat){stage->a, stage->act, T, F, F}, acts->x_out,
                 STLORA_F32, true, acts->lowrank[STLORA_SITE_DOWN]);
}
