/* block_forward.c: one block, forward. See block.h for the formulas. */
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

int64_t stlora_qk_groups(const stlora_transformer *model)
{
    switch (model->family->qk_norm) {
    case STLORA_QK_NORM_NONE:
        return 0;
    case STLORA_QK_NORM_HEAD:
        return model->config.heads + model->config.kv_heads;
    case STLORA_QK_NORM_FULL:
        return 2;
    }
    return 0;
}

bool stlora_output_follows(const stlora_transformer *model)
{
    const char *const *norms = model->family->norms;
    return norms[STLORA_AFTER_ATTENTION] || norms[STLORA_AFTER_INNER] || model->config.residual_multiplier != 1;
}

void stlora_outputs_lay_out(stlora_stage *stage, stlora_arena *arena, size_t rows)
{
    size_t elements = rows * (size_t)stage->model->config.hidden_size;
    if (!stlora_output_follows(stage->model)) return;
    stage->o_out = stlora_arena_take(arena, elements, sizeof(float));
    /* Behind a norm backward needs both; a multiplied output is done with when it has been added. */
    stage->down_out =
        stage->model->family->norms[STLORA_AFTER_INNER] ? stlora_arena_take(arena, elements, sizeof(float)) : stage->o_out;
}

/* The frozen product with the adapter's part, as far as the map alone decides it. */
static stlora_product_args product_of(const stlora_stage *stage, const stlora_linear *linear, stlora_cmat x,
                                      const float *h, stlora_mat y)
{
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
        .y = y,
    };
    if (map) {
        args.h = h;
        args.u = map->product_b;
        args.rank = map->rank;
        args.u_rank_stride = 1;
        args.u_out_stride = map->rank;
        args.scale = map->scale;
    }
    return args;
}

void stlora_map_linear(const stlora_stage *stage, const stlora_linear *linear, stlora_cmat x, const float *h,
                       stlora_mat y)
{
    const stlora_product_args args = product_of(stage, linear, x, h, y);
    stage->backend->product(stage->backend, &args, 1);
}

/* y (+)= gain (x W^T + s h B^T) + bias, by way of y itself where that can hold it. */
static void gained_forward(const stlora_stage *stage, const stlora_linear *linear, const stlora_lora_map *map,
                           stlora_cmat x, const float *h, stlora_mat y, bool accumulate)
{
    const bool in_place = y.dtype == STLORA_F32 && !accumulate;
    const stlora_mat v = in_place ? y : stlora_mat_whole(stage->v, STLORA_F32, x.rows, linear->m);
    stlora_map_linear(stage, linear, x, h, v);
    stage->backend->column_scale(stage->backend, &(stlora_column_scale_args){.tokens = x.rows,
                                                                             .width = linear->m,
                                                                             .x = stlora_mat_const(v),
                                                                             .scale = map->gain,
                                                                             .bias = linear->bias.data,
                                                                             .bias_dtype = linear->bias.dtype,
                                                                             .y = y,
                                                                             .accumulate = accumulate});
}

/* All of a map but its product, which remains to be done; with a gain that too, and nothing remains. */
static bool product_remains(const stlora_stage *stage, const stlora_linear *linear, stlora_cmat x, stlora_mat y,
                            bool accumulate, float *h, stlora_product_args *product)
{
    const stlora_backend *backend = stage->backend;
    const stlora_lora_map *map = stage->lora ? stage->lora->of[linear->id] : NULL;
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
                                                                         .rank = map->rank,
                                                                         .x = z,
                                                                         .u = map->product_a,
                                                                         .u_rank_stride = linear->n,
                                                                         .u_width_stride = 1,
                                                                         .h = h});
        if (map->mag) {
            gained_forward(stage, linear, map, x, h, y, accumulate);
            return false;
        }
    }
    *product = product_of(stage, linear, x, h, y);
    product->bias = linear->bias.data;
    product->bias_dtype = linear->bias.dtype;
    product->accumulate = accumulate;
    return true;
}

void stlora_map_forward(const stlora_stage *stage, const stlora_linear *linear, stlora_cmat x, stlora_mat y,
                        bool accumulate, float *h)
{
    stlora_product_args product;
    if (product_remains(stage, linear, x, y, accumulate, h, &product))
        stage->backend->product(stage->backend, &product, 1);
}

/* All maps of a site, side by side into y, in one product. */
static void site_forward(const stlora_stage *stage, const stlora_place *place, stlora_cmat x, void *y,
                         stlora_dtype y_dtype, bool accumulate, float *const *lowrank)
{
    stlora_product_args products[STLORA_MAPS_PER_SITE];
    int count = 0;
    if (stage->probe) stlora_probe_keep(stage->probe, place->maps, x, stage->first, NULL);
    for (int k = 0; k < place->count; k++) {
        const stlora_linear *linear = &place->maps[k];
        stlora_mat out = stlora_mat_columns(y, y_dtype, x.rows, place->m, linear->column, linear->m);
        if (product_remains(stage, linear, x, out, accumulate, lowrank[k], &products[count])) count++;
    }
    if (count > 0) stage->backend->product(stage->backend, products, count);
}

/* y (+)= norm(x) of (T, C), or without weights scale x. */
static void norm_or_scale(const stlora_stage *stage, const stlora_norm_weights *w, const float *x, float *stats, double scale,
                          stlora_mat y, bool accumulate)
{
    const stlora_transformer *model = stage->model;
    const int64_t T = stage->tokens, C = model->config.hidden_size;
    const stlora_cmat in = {x, STLORA_F32, T, C, C};
    if (!w->w.data) {
        stage->backend->scale(
            stage->backend,
            &(stlora_scale_args){.tokens = T, .width = C, .scale = scale, .x = in, .y = y, .accumulate = accumulate});
        return;
    }
    stage->backend->norm(stage->backend, &(stlora_norm_args){.kind = model->family->norm,
                                                             .tokens = T,
                                                             .width = C,
                                                             .eps = model->config.norm_eps,
                                                             .x = in,
                                                             .w = w->w.data,
                                                             .b = w->b.data,
                                                             .w_dtype = w->w.dtype,
                                                             .y = y,
                                                             .accumulate = accumulate,
                                                             .stats = stats});
}

void stlora_block_norm(const stlora_stage *stage, const stlora_norm_weights *w, const float *x, float *stats)
{
    norm_or_scale(stage, w, x, stats, 1, stlora_mat_whole(stage->h, stage->act, stage->tokens, stage->model->config.hidden_size),
                  false);
}

/* stream += what a map puts out, out (T, C): normed, or times the multiplier. */
static void add_output(const stlora_stage *stage, const stlora_norm_weights *w, const float *out, float *stats,
                       float *stream)
{
    const stlora_hf_config *c = &stage->model->config;
    norm_or_scale(stage, w, out, stats, c->residual_multiplier,
                  stlora_mat_whole(stream, STLORA_F32, stage->tokens, c->hidden_size), true);
}

void stlora_block_qk_parts(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts,
                           stlora_qk_part parts[2])
{
    const stlora_hf_config *c = &stage->model->config;
    const stlora_block *block = &stage->model->blocks[layer];
    const bool full = stage->model->family->qk_norm == STLORA_QK_NORM_FULL;
    const int64_t heads[2] = {c->heads, c->kv_heads}, D = c->head_dim;
    for (int i = 0; i < 2; i++)
        parts[i] = (stlora_qk_part){.weights = i == 0 ? &block->q_norm : &block->k_norm,
                                    .first = i == 0 ? 0 : c->heads * D,
                                    .groups = full ? 1 : heads[i],
                                    .width = full ? heads[i] * D : D,
                                    .stats = acts->qk_stats};
    parts[1].stats += stage->tokens * parts[0].groups * 2;
}

/* q and k of qkv normed in place, and as they were kept in raw. */
static void qk_norm(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts)
{
    const stlora_hf_config *c = &stage->model->config;
    int64_t T = stage->tokens, width = stlora_qkv_width(c), qk_width = (c->heads + c->kv_heads) * c->head_dim;
    stlora_qk_part parts[2];
    stage->backend->scale(
        stage->backend,
        &(stlora_scale_args){.tokens = T,
                             .width = qk_width,
                             .scale = 1,
                             .x = stlora_mat_const(stlora_mat_columns(acts->qkv, stage->act, T, width, 0, qk_width)),
                             .y = stlora_mat_whole(acts->raw, stage->act, T, qk_width)});
    stlora_block_qk_parts(stage, layer, acts, parts);
    for (int i = 0; i < 2; i++) {
        int64_t columns = parts[i].groups * parts[i].width;
        stage->backend->norm(
            stage->backend,
            &(stlora_norm_args){
                .kind = stage->model->family->norm,
                .tokens = T,
                .width = parts[i].width,
                .groups = parts[i].groups,
                .eps = c->norm_eps,
                .x = stlora_mat_const(stlora_mat_columns(acts->raw, stage->act, T, qk_width, parts[i].first, columns)),
                .w = parts[i].weights->w.data,
                .b = parts[i].weights->b.data,
                .w_dtype = parts[i].weights->w.dtype,
                .y = stlora_mat_columns(acts->qkv, stage->act, T, width, parts[i].first, columns),
                .stats = parts[i].stats});
    }
}

void stlora_block_rotate(const stlora_stage *stage, int64_t layer, void *qkv, bool inverse)
{
    const stlora_hf_config *c = &stage->model->config;
    const stlora_rotation *rotation = stage->rotation;
    const int table = stage->model->blocks[layer].rope;
    const int64_t heads = c->heads + c->kv_heads;
    if (table < 0) return;
    stage->backend->rope(
        stage->backend,
        &(stlora_rope_args){
            .tokens = stage->tokens,
            .heads = heads,
            .head_dim = c->head_dim,
            .rotary_dim = c->rope[table].dim,
            .x = stlora_mat_columns(qkv, stage->act, stage->tokens, stlora_qkv_width(c), 0, heads * c->head_dim),
            .positions = rotation->rows ? rotation->rows : stage->positions,
            .cos = rotation->cosines[table],
            .sin = rotation->sines[table],
            .inverse = inverse});
}

/* Attention of the call's tokens among themselves, or against the cache, which gets their keys and values first. */
static void attention_forward(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts,
                              stlora_kv_cache cache)
{
    const stlora_block *block = &stage->model->blocks[layer];
    const stlora_hf_config *c = &stage->model->config;
    const stlora_backend *backend = stage->backend;
    int64_t T = stage->tokens, D = c->head_dim, width = stlora_qkv_width(c);
    int64_t q_width = c->heads * D, kv_width = c->kv_heads * D;
    if (acts->raw) qk_norm(stage, layer, acts);
    stlora_block_rotate(stage, layer, acts->qkv, false);
    stlora_attention_args args = {
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .head_dim = D,
        .scale = stage->model->attention_scale,
        .softcap = c->attention_softcap,
        .window = block->window,
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
        const char *from = (const char *)acts->qkv + (size_t)q_width * element;
        for (int64_t s = 0; s < stage->segment_count; s++) {
            const stlora_segment *segment = &stage->segments[s];
            char *to = (char *)cache.rows + (size_t)(segment->k0 + segment->k_count - segment->q_count) * row;
            for (int64_t t = 0; t < segment->q_count; t++)
                memcpy(to + (size_t)t * row, from + (size_t)((segment->q0 + t) * width) * element, row);
        }
        args.k = stlora_mat_const(stlora_mat_columns(cache.rows, stage->act, cache.tokens, 2 * kv_width, 0, kv_width));
        args.v = stlora_mat_const(
            stlora_mat_columns(cache.rows, stage->act, cache.tokens, 2 * kv_width, kv_width, kv_width));
    }
    backend->attention(backend, &args);
}

void stlora_block_slice(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts, int64_t from,
                        stlora_stage *slice, stlora_block_acts *rows)
{
    const stlora_transformer *model = stage->model;
    const stlora_hf_config *c = &model->config;
    int64_t slices = stage->slice > 0 ? (stage->tokens + stage->slice - 1) / stage->slice : 1;
    int64_t even = (stage->tokens + slices - 1) / slices, C = c->hidden_size;
    size_t element = stlora_dtype_size(stage->act);
    *slice = *stage;
    *rows = *acts;
    slice->tokens = even < stage->tokens - from ? even : stage->tokens - from;
    if (stage->token_keys) slice->token_keys += from;
    slice->first += from;
    rows->x_in += from * C;
    if (acts->mid_kept) rows->x_mid += from * C;
    rows->x_out += from * C;
    for (int place = 0; place < STLORA_NORM_PLACES; place++)
        if (acts->stats[place]) rows->stats[place] += from * 2;
    if (acts->o_out) rows->o_out += from * C;
    if (acts->down_out) rows->down_out += from * C;
    rows->qkv = (char *)acts->qkv + (size_t)(from * stlora_qkv_width(c)) * element;
    rows->o = (char *)acts->o + (size_t)(from * c->heads * c->head_dim) * element;
    rows->lse += from * c->heads;
    if (acts->up_kept) rows->up = (char *)acts->up + (size_t)(from * stlora_up_width(model)) * element;
    for (int s = 0; stage->lora && s < STLORA_SITE_COUNT; s++) {
        for (int k = 0; k < model->blocks[layer].sites[s].count; k++) {
            const stlora_lora_map *map = stage->lora->of[model->blocks[layer].sites[s].maps[k].id];
            if (map) rows->lowrank[s][k] += from * map->rank;
        }
    }
}

void stlora_block_attend(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts, stlora_kv_cache cache)
{
    const stlora_block *block = &stage->model->blocks[layer];
    int64_t C = stage->model->config.hidden_size;
    stlora_stage slice;
    stlora_block_acts rows;
    for (int64_t from = 0; from < stage->tokens; from += slice.tokens) {
        stlora_block_slice(stage, layer, acts, from, &slice, &rows);
        stlora_block_norm(&slice, &block->norms[STLORA_BEFORE_ATTENTION], rows.x_in, rows.stats[STLORA_BEFORE_ATTENTION]);
        site_forward(&slice, &block->sites[STLORA_SITE_QKV], (stlora_cmat){slice.h, slice.act, slice.tokens, C, C},
                     rows.qkv, slice.act, false, rows.lowrank[STLORA_SITE_QKV]);
    }
    attention_forward(stage, layer, acts, cache);
}

/* to (T, C) = from, by all threads. */
static void copy_stream(const stlora_stage *stage, const float *from, float *to)
{
    const int64_t T = stage->tokens, C = stage->model->config.hidden_size;
    stage->backend->scale(stage->backend, &(stlora_scale_args){.tokens = T,
                                                               .width = C,
                                                               .scale = 1,
                                                               .x = {from, STLORA_F32, T, C, C},
                                                               .y = stlora_mat_whole(to, STLORA_F32, T, C)});
}

void stlora_block_mid(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts)
{
    const stlora_hf_config *c = &stage->model->config;
    const stlora_block *block = &stage->model->blocks[layer];
    int64_t T = stage->tokens, q_width = c->heads * c->head_dim;
    bool follows = stlora_output_follows(stage->model);
    float *out = !follows ? acts->x_mid : acts->o_out ? acts->o_out : stage->o_out;
    if (acts->x_mid != acts->x_in) copy_stream(stage, acts->x_in, acts->x_mid);
    site_forward(stage, &block->sites[STLORA_SITE_O], (stlora_cmat){acts->o, stage->act, T, q_width, q_width}, out,
                 STLORA_F32, !follows, acts->lowrank[STLORA_SITE_O]);
    if (follows)
        add_output(stage, &block->norms[STLORA_AFTER_ATTENTION], out, acts->stats[STLORA_AFTER_ATTENTION], acts->x_mid);
}

void stlora_block_up(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts)
{
    const stlora_block *block = &stage->model->blocks[layer];
    int64_t C = stage->model->config.hidden_size;
    stlora_block_norm(stage, &block->norms[STLORA_BEFORE_INNER], acts->x_mid, acts->stats[STLORA_BEFORE_INNER]);
    site_forward(stage, &block->sites[STLORA_SITE_UP], (stlora_cmat){stage->h, stage->act, stage->tokens, C, C},
                 acts->up, stage->act, false, acts->lowrank[STLORA_SITE_UP]);
}

/* up -> out (+)= map_down(a) of a slice. */
static void down_forward(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts, float *out,
                         bool accumulate)
{
    const stlora_transformer *model = stage->model;
    int64_t T = stage->tokens, F = model->config.intermediate_size, up_width = stlora_up_width(model);
    stage->backend->activation(stage->backend,
                               &(stlora_activation_args){.kind = model->family->activation,
                                                         .tokens = T,
                                                         .width = F,
                                                         .x = {acts->up, stage->act, T, up_width, up_width},
                                                         .y = stlora_mat_whole(stage->a, stage->act, T, F)});
    site_forward(stage, &model->blocks[layer].sites[STLORA_SITE_DOWN], (stlora_cmat){stage->a, stage->act, T, F, F}, out,
                 STLORA_F32, accumulate, acts->lowrank[STLORA_SITE_DOWN]);
}

void stlora_block_down_out(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts)
{
    down_forward(stage, layer, acts, acts->down_out ? acts->down_out : stage->down_out, false);
}

/* up -> x_out of a slice. */
static void out_forward(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts)
{
    const stlora_transformer *model = stage->model;
    if (acts->x_out != acts->x_mid) copy_stream(stage, acts->x_mid, acts->x_out);
    if (!stlora_output_follows(model)) {
        down_forward(stage, layer, acts, acts->x_out, true);
        return;
    }
    stlora_block_down_out(stage, layer, acts);
    add_output(stage, &model->blocks[layer].norms[STLORA_AFTER_INNER], acts->down_out ? acts->down_out : stage->down_out,
               acts->stats[STLORA_AFTER_INNER], acts->x_out);
}

void stlora_block_forward(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts,
                          stlora_kv_cache cache)
{
    stlora_stage slice;
    stlora_block_acts rows;
    stlora_block_attend(stage, layer, acts, cache);
    for (int64_t from = 0; from < stage->tokens; from += slice.tokens) {
        stlora_block_slice(stage, layer, acts, from, &slice, &rows);
        stlora_block_mid(&slice, layer, &rows);
        stlora_block_up(&slice, layer, &rows);
        out_forward(&slice, layer, &rows);
    }
}
