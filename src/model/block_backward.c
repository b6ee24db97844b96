/* block_backward.c: one block, backward: gradients of A and B, and of the residual stream for the block below.
 *
 * With y = z W^T + s h B^T, h = dropout(z) A^T and dY given:
 *   gB += s dY^T h      P = dY B      gA += s P^T dropout(z)      dZ = dY W + dropout'(s P A)
 * Norm outputs and the activation's output are computed again from what is kept: cheaper than keeping them. So are, where the plan asks for
 * it, the block's larger parts, each from what lies before it. Sums over tokens go on from slice to slice, token by token.
 */
#include "model/block.h"

/* P = dY B. */
static void lowrank_project(const stlora_stage *stage, const stlora_lora_map *map, stlora_cmat dy, float *p)
{
    stage->backend->lowrank_project(stage->backend, &(stlora_lowrank_project_args){.tokens = dy.rows,
                                                                                   .width = map->linear->m,
                                                                                   .rank = map->rank,
                                                                                   .x = dy,
                                                                                   .u = map->product_b,
                                                                                   .u_rank_stride = 1,
                                                                                   .u_width_stride = map->rank,
                                                                                   .h = p});
}

/* gB and gA, z being what A reads. */
static void lowrank_grads(const stlora_stage *stage, const stlora_lora_map *map, stlora_cmat z, const float *h,
                          stlora_cmat dy, const float *p)
{
    const stlora_backend *backend = stage->backend;
    const stlora_linear *linear = map->linear;
    backend->lowrank_grad(backend, &(stlora_lowrank_grad_args){.tokens = z.rows,
                                                               .width = linear->m,
                                                               .rank = map->r,
                                                               .h = h,
                                                               .x = dy,
                                                               .scale = map->scale,
                                                               .g = map->gb,
                                                               .g_rank_stride = 1,
                                                               .g_width_stride = map->r,
                                                               .h_stride = map->rank});
    backend->lowrank_grad(backend, &(stlora_lowrank_grad_args){.tokens = z.rows,
                                                               .width = linear->n,
                                                               .rank = map->r,
                                                               .h = p,
                                                               .x = z,
                                                               .scale = map->scale,
                                                               .g = map->ga,
                                                               .g_rank_stride = linear->n,
                                                               .g_width_stride = 1,
                                                               .h_stride = map->rank});
}

/* DoRA, y = gain v + bias: gmag += 1/c sum_t dY v, with v found again; returns gain dY, which is what goes on to A, B and z. */
static stlora_cmat gain_backward(const stlora_stage *stage, const stlora_lora_map *map, stlora_cmat x, const float *h,
                                 stlora_cmat dy)
{
    const stlora_backend *backend = stage->backend;
    const int64_t m = map->linear->m;
    const stlora_mat v = stlora_mat_whole(stage->v, STLORA_F32, x.rows, m);
    stlora_map_linear(stage, map->linear, x, h, v);
    backend->column_dot(
        backend,
        &(stlora_column_dot_args){
            .tokens = x.rows, .width = m, .x = dy, .y = stlora_mat_const(v), .scale = map->inverse, .g = map->gmag});
    const stlora_mat scaled = stlora_mat_whole(stage->v, dy.dtype, x.rows, m); /* in v's place, which is done with */
    backend->column_scale(
        backend, &(stlora_column_scale_args){.tokens = x.rows, .width = m, .x = dy, .scale = map->gain, .y = scaled});
    return stlora_mat_const(scaled);
}

/* dx (+)= dY W, and with the adapter's part where a map is given: s P A. */
static stlora_product_args product_of(const stlora_linear *linear, const stlora_lora_map *map, stlora_cmat dy,
                                      const float *p, stlora_mat dx, bool accumulate)
{
    stlora_product_args args = {
        .tokens = dy.rows,
        .in = linear->m,
        .out = linear->n,
        .x = dy,
        .w = linear->weight.data,
        .w_dtype = linear->weight.dtype,
        .w_layout = linear->layout == STLORA_OUT_IN ? STLORA_IN_OUT : STLORA_OUT_IN,
        .ldw = linear->layout == STLORA_OUT_IN ? linear->n : linear->m,
        .y = dx,
        .accumulate = accumulate,
    };
    if (map) {
        args.h = p;
        args.u = map->product_a;
        args.rank = map->rank;
        args.u_rank_stride = linear->n;
        args.u_out_stride = 1;
        args.scale = map->scale;
    }
    return args;
}

void stlora_map_backward(const stlora_stage *stage, const stlora_back *back, const stlora_linear *linear, stlora_cmat x,
                         const float *h, stlora_cmat dy, stlora_mat dx, bool accumulate)
{
    const stlora_backend *backend = stage->backend;
    const stlora_lora_map *map = stage->lora->of[linear->id];
    bool dropping = map && stage->dropout > 0;
    stlora_dropout_args dropout = {0};
    if (dropping)
        dropout = (stlora_dropout_args){.tokens = x.rows,
                                        .width = linear->n,
                                        .x = x,
                                        .y = stlora_mat_whole(stage->dropped, x.dtype, x.rows, linear->n),
                                        .p = stage->dropout,
                                        .seed = stage->seed,
                                        .stream = stage->step << 20 | linear->id,
                                        .token_keys = stage->token_keys};
    if (map && map->mag) dy = gain_backward(stage, map, x, h, dy);
    if (map) {
        stlora_cmat z = x;
        lowrank_project(stage, map, dy, back->p);
        if (dropping) {
            backend->dropout(backend, &dropout);
            z = stlora_mat_const(dropout.y);
        }
        lowrank_grads(stage, map, z, h, dy, back->p);
    }
    if (!dx.data) return;

    stlora_product_args args = product_of(linear, dropping ? NULL : map, dy, back->p, dx, accumulate);
    backend->product(backend, &args, 1);
    if (!dropping) return;

    /* dX += dropout'(s P A): the same mask over the low-rank term alone. */
    stlora_mat expand = stlora_mat_whole(back->expand, x.dtype, x.rows, linear->n);
    args = product_of(linear, map, dy, back->p, expand, false);
    args.w = NULL;
    backend->product(backend, &args, 1);
    dropout.x = stlora_mat_const(expand);
    dropout.y = dx;
    dropout.accumulate = true;
    backend->dropout(backend, &dropout);
}

/* With dropout more than one product belongs to the gradient of a map's input, with DoRA its dY is in scratch that the next map takes. */
static bool one_by_one(const stlora_stage *stage, const stlora_place *place)
{
    for (int k = 0; k < place->count; k++) {
        const stlora_lora_map *map = stage->lora->of[place->maps[k].id];
        if (map && (stage->dropout > 0 || map->mag)) return true;
    }
    return false;
}

/* The gradient of a map's output, of those of its site, dy (T, m of the site). */
static stlora_cmat dy_of(const stlora_place *place, const stlora_linear *linear, stlora_mat dy)
{
    return stlora_mat_const(stlora_mat_columns(dy.data, dy.dtype, dy.rows, place->m, linear->column, linear->m));
}

/* Of the maps of a site, P, one behind the other in back->p, and dx (+)= the gradient of their input: what they add to it adds up in the maps'
 * order, in F32; one map may write another dtype. */
static void site_flow(const stlora_stage *stage, const stlora_back *back, const stlora_place *place, stlora_mat dy,
                      stlora_mat dx, bool accumulate)
{
    stlora_product_args products[STLORA_MAPS_PER_SITE];
    float *p = back->p;
    for (int k = 0; k < place->count; k++) {
        const stlora_linear *linear = &place->maps[k];
        const stlora_lora_map *map = stage->lora->of[linear->id];
        const stlora_cmat dy_k = dy_of(place, linear, dy);
        products[k] = product_of(linear, map, dy_k, p, dx, accumulate || k > 0);
        if (!map) continue;
        lowrank_project(stage, map, dy_k, p);
        p += dy.rows * map->rank;
    }
    if (dx.data) stage->backend->product(stage->backend, products, place->count);
}

/* Gradients of A and B of the maps of a site, whose P site_flow has left. */
static void site_grads(const stlora_stage *stage, const stlora_back *back, const stlora_place *place, stlora_cmat x,
                       float *const *lowrank, stlora_mat dy)
{
    const float *p = back->p;
    for (int k = 0; k < place->count; k++) {
        const stlora_lora_map *map = stage->lora->of[place->maps[k].id];
        if (!map) continue;
        lowrank_grads(stage, map, x, lowrank[k], dy_of(place, &place->maps[k], dy), p);
        p += dy.rows * map->rank;
    }
}

/* Both, of a site that reads x. Only where its maps go one by one, their sums before their product, may dx be x's own memory. */
static void site_backward(const stlora_stage *stage, const stlora_back *back, const stlora_place *place, stlora_cmat x,
                          float *const *lowrank, stlora_mat dy, stlora_mat dx, bool accumulate)
{
    if (!one_by_one(stage, place)) {
        site_flow(stage, back, place, dy, dx, accumulate);
        site_grads(stage, back, place, x, lowrank, dy);
        return;
    }
    for (int k = 0; k < place->count; k++)
        stlora_map_backward(stage, back, &place->maps[k], x, lowrank[k], dy_of(place, &place->maps[k], dy), dx,
                            accumulate || k > 0);
}

/* back->dx += gradient of the norm's input, given back->dh. */
static void norm_backward(const stlora_stage *stage, const stlora_back *back, const stlora_norm_weights *w,
                          const float *x, const float *stats)
{
    const stlora_transformer *model = stage->model;
    int64_t T = stage->tokens, C = model->config.hidden_size;
    stage->backend->norm_grad(stage->backend,
                              &(stlora_norm_grad_args){.kind = model->family->norm,
                                                       .tokens = T,
                                                       .width = C,
                                                       .x = {x, STLORA_F32, T, C, C},
                                                       .dy = {back->dh, STLORA_F32, T, C, C},
                                                       .w = w->w.data,
                                                       .w_dtype = w->w.dtype,
                                                       .stats = stats,
                                                       .dx = stlora_mat_whole(back->dx, STLORA_F32, T, C)});
}

/* All maps of a site that reads the stream, normed or as it is, x: back->dx += gradient of the stream, where it is needed. */
static void reading_site_backward(const stlora_stage *stage, const stlora_back *back, const stlora_place *site,
                                  const stlora_norm_weights *w, const float *x, const float *stats,
                                  float *const *lowrank, void *dy, bool below)
{
    int64_t T = stage->tokens, C = stage->model->config.hidden_size;
    const bool normed = w->w.data;
    stlora_mat dx = {0};
    if (below) dx = stlora_mat_whole(normed ? back->dh : back->dx, STLORA_F32, T, C);
    site_backward(stage, back, site, (stlora_cmat){stage->h, stage->act, T, C, C}, lowrank,
                  stlora_mat_whole(dy, stage->act, T, site->m), dx, !normed);
    if (below && normed) norm_backward(stage, back, w, x, stats);
}

/* back->dx_act: gradient of what a map puts out, out (T, C), from that of the stream which it was added to, normed or times the multiplier
 * where the family does so. */
static void output_gradient(const stlora_stage *stage, const stlora_back *back, const stlora_norm_weights *w,
                            const float *out, const float *stats)
{
    const stlora_transformer *model = stage->model;
    int64_t T = stage->tokens, C = model->config.hidden_size;
    const stlora_cmat dy = {back->dx, STLORA_F32, T, C, C};
    const stlora_mat to = stlora_mat_whole(back->dx_act, stage->act, T, C);
    const bool follows = stlora_output_follows(model);
    if (follows && w->w.data) {
        stage->backend->norm_grad(stage->backend, &(stlora_norm_grad_args){.kind = model->family->norm,
                                                                           .tokens = T,
                                                                           .width = C,
                                                                           .x = {out, STLORA_F32, T, C, C},
                                                                           .dy = dy,
                                                                           .w = w->w.data,
                                                                           .w_dtype = w->w.dtype,
                                                                           .stats = stats,
                                                                           .dx = to,
                                                                           .overwrite = true});
    } else if (follows || stage->act != STLORA_F32) {
        const double scale = follows ? model->config.residual_multiplier : 1;
        stage->backend->scale(stage->backend,
                              &(stlora_scale_args){.tokens = T, .width = C, .scale = scale, .x = dy, .y = to});
    }
}

/* The gradients of q and k in dqkv, from after their norms to before. */
static void qk_norm_backward(const stlora_stage *stage, const stlora_back *back, int64_t layer,
                             const stlora_block_acts *acts)
{
    const stlora_hf_config *c = &stage->model->config;
    int64_t T = stage->tokens, width = stlora_qkv_width(c), qk_width = (c->heads + c->kv_heads) * c->head_dim;
    stlora_qk_part parts[2];
    stlora_block_qk_parts(stage, layer, acts, parts);
    for (int i = 0; i < 2; i++) {
        int64_t columns = parts[i].groups * parts[i].width;
        const stlora_mat d = stlora_mat_columns(back->dqkv, stage->act, T, width, parts[i].first, columns);
        stage->backend->norm_grad(
            stage->backend, &(stlora_norm_grad_args){.kind = stage->model->family->norm,
                                                     .tokens = T,
                                                     .width = parts[i].width,
                                                     .groups = parts[i].groups,
                                                     .x = stlora_mat_const(stlora_mat_columns(
                                                         acts->raw, stage->act, T, qk_width, parts[i].first, columns)),
                                                     .dy = stlora_mat_const(d),
                                                     .w = parts[i].weights->w.data,
                                                     .w_dtype = parts[i].weights->w.dtype,
                                                     .stats = parts[i].stats,
                                                     .dx = d,
                                                     .overwrite = true});
    }
}

static void attention_backward(const stlora_stage *stage, const stlora_back *back, int64_t layer,
                               const stlora_block_acts *acts)
{
    const stlora_hf_config *c = &stage->model->config;
    const stlora_backend *backend = stage->backend;
    int64_t T = stage->tokens, D = c->head_dim, width = stlora_qkv_width(c);
    int64_t q_width = c->heads * D, kv_width = c->kv_heads * D;
    stlora_dtype act = stage->act;
    backend->attention_grad(
        backend, &(stlora_attention_grad_args){
                     .heads = c->heads,
                     .kv_heads = c->kv_heads,
                     .head_dim = D,
                     .scale = stage->model->attention_scale,
                     .softcap = c->attention_softcap,
                     .window = stage->model->blocks[layer].window,
                     .segments = stage->segments,
                     .segment_count = stage->segment_count,
                     .q = stlora_mat_const(stlora_mat_columns(acts->qkv, act, T, width, 0, q_width)),
                     .k = stlora_mat_const(stlora_mat_columns(acts->qkv, act, T, width, q_width, kv_width)),
                     .v = stlora_mat_const(stlora_mat_columns(acts->qkv, act, T, width, q_width + kv_width, kv_width)),
                     .o = {acts->o, act, T, q_width, q_width},
                     .dout = {back->dout, act, T, q_width, q_width},
                     .lse = acts->lse,
                     .delta = back->delta,
                     .work = back->work,
                     .dq = stlora_mat_columns(back->dqkv, act, T, width, 0, q_width),
                     .dk = stlora_mat_columns(back->dqkv, act, T, width, q_width, kv_width),
                     .dv = stlora_mat_columns(back->dqkv, act, T, width, q_width + kv_width, kv_width)});
    stlora_block_rotate(stage, layer, back->dqkv, true);
    if (acts->raw) qk_norm_backward(stage, back, layer, acts);
}

/* True when some adapted map has an id below `id`: then the gradient must flow on. */
static bool needed_below(const stlora_stage *stage, size_t id)
{
    return stage->lora->lowest < id;
}

/* The gradient's scratch for the rows of a slice. */
static stlora_back back_slice(const stlora_stage *stage, const stlora_back *back, int64_t from)
{
    const stlora_hf_config *c = &stage->model->config;
    size_t element = stlora_dtype_size(stage->act);
    stlora_back slice = *back;
    slice.dx += from * c->hidden_size;
    if (back->dx_act == (const void *)back->dx) slice.dx_act = slice.dx;
    slice.dout = (char *)back->dout + (size_t)(from * c->heads * c->head_dim) * element;
    slice.dqkv = (char *)back->dqkv + (size_t)(from * stlora_qkv_width(c)) * element;
    return slice;
}

/* Is any map of the site adapted? Only then its input is needed again. */
static bool adapted(const stlora_stage *stage, const stlora_place *site)
{
    for (int k = 0; k < site->count; k++)
        if (stage->lora->of[site->maps[k].id]) return true;
    return false;
}

/* x'' = x' + map_down(a), a = act(up), up = maps(norm2(x')), of a slice: back->dx becomes the gradient of x'. False where nothing below is
 * adapted. */
static bool inner_backward(const stlora_stage *stage, const stlora_back *back, int64_t layer,
                           const stlora_block_acts *acts)
{
    const stlora_transformer *model = stage->model;
    const stlora_backend *backend = stage->backend;
    const stlora_block *block = &model->blocks[layer];
    const stlora_place *sites = block->sites;
    stlora_dtype act = stage->act;
    int64_t T = stage->tokens, F = model->config.intermediate_size, up_width = sites[STLORA_SITE_UP].m;
    stlora_mat none = {0};
    stlora_cmat up = {acts->up, act, T, up_width, up_width};
    const stlora_mat a = stlora_mat_whole(stage->a, act, T, F), da = stlora_mat_whole(back->da, act, T, F);
    const stlora_mat dy = stlora_mat_whole(back->dx_act, act, T, model->config.hidden_size);
    const stlora_norm_weights *before = &block->norms[STLORA_BEFORE_INNER], *after = &block->norms[STLORA_AFTER_INNER];
    const stlora_place *down = &sites[STLORA_SITE_DOWN];
    bool below = needed_below(stage, down->maps[0].id);
    /* a is there when da has been read, and only then asked for; not where da would need it */
    const bool a_follows = below && !one_by_one(stage, down);

    if (!acts->mid_kept) stlora_block_mid(stage, layer, acts);
    if (!acts->up_kept) stlora_block_up(stage, layer, acts);
    if (!acts->up_kept && after->w.data)
        stlora_block_down_out(stage, layer, acts);
    else if (adapted(stage, down) && !a_follows)
        backend->activation(backend, &(stlora_activation_args){
                                         .kind = model->family->activation, .tokens = T, .width = F, .x = up, .y = a});
    output_gradient(stage, back, after, acts->down_out ? acts->down_out : stage->down_out,
                    acts->stats[STLORA_AFTER_INNER]);
    if (a_follows)
        site_flow(stage, back, down, dy, da, false);
    else
        site_backward(stage, back, down, stlora_mat_const(a), acts->lowrank[STLORA_SITE_DOWN], dy, below ? da : none,
                      false);
    if (!below) return false;

    backend->activation_grad(backend,
                             &(stlora_activation_grad_args){.kind = model->family->activation,
                                                            .tokens = T,
                                                            .width = F,
                                                            .x = up,
                                                            .dy = stlora_mat_const(da),
                                                            .dx = stlora_mat_whole(acts->up, act, T, up_width),
                                                            .y = a_follows && adapted(stage, down) ? a : none});
    if (a_follows) site_grads(stage, back, down, stlora_mat_const(a), acts->lowrank[STLORA_SITE_DOWN], dy);
    if (acts->up_kept && adapted(stage, &sites[STLORA_SITE_UP]))
        stlora_block_norm(stage, before, acts->x_mid, acts->stats[STLORA_BEFORE_INNER]);
    below = needed_below(stage, sites[STLORA_SITE_UP].maps[0].id);
    reading_site_backward(stage, back, &sites[STLORA_SITE_UP], before, acts->x_mid, acts->stats[STLORA_BEFORE_INNER],
                          acts->lowrank[STLORA_SITE_UP], acts->up, below);
    return below;
}

/* x' = x + map_o(o), of a slice: back->dout. False where nothing below is adapted. */
static bool mid_backward(const stlora_stage *stage, const stlora_back *back, int64_t layer,
                         const stlora_block_acts *acts)
{
    const stlora_block *block = &stage->model->blocks[layer];
    const stlora_place *site = &block->sites[STLORA_SITE_O];
    int64_t T = stage->tokens, q_width = stage->model->config.heads * stage->model->config.head_dim;
    stlora_mat none = {0};
    bool below = needed_below(stage, site->maps[0].id);
    output_gradient(stage, back, &block->norms[STLORA_AFTER_ATTENTION], acts->o_out ? acts->o_out : stage->o_out,
                    acts->stats[STLORA_AFTER_ATTENTION]);
    site_backward(stage, back, site, (stlora_cmat){acts->o, stage->act, T, q_width, q_width},
                  acts->lowrank[STLORA_SITE_O],
                  stlora_mat_whole(back->dx_act, stage->act, T, stage->model->config.hidden_size),
                  below ? stlora_mat_whole(back->dout, stage->act, T, q_width) : none, false);
    return below;
}

/* qkv = maps(norm1(x)), of a slice: back->dx becomes the gradient of x, where it is needed. */
static void qkv_backward(const stlora_stage *stage, const stlora_back *back, int64_t layer,
                         const stlora_block_acts *acts)
{
    const stlora_block *block = &stage->model->blocks[layer];
    const stlora_place *site = &block->sites[STLORA_SITE_QKV];
    const stlora_norm_weights *before = &block->norms[STLORA_BEFORE_ATTENTION];
    const float *stats = acts->stats[STLORA_BEFORE_ATTENTION];
    if (adapted(stage, site)) stlora_block_norm(stage, before, acts->x_in, acts->stats[STLORA_BEFORE_ATTENTION]);
    reading_site_backward(stage, back, site, before, acts->x_in, stats, acts->lowrank[STLORA_SITE_QKV], back->dqkv,
                          needed_below(stage, site->maps[0].id));
}

void stlora_block_backward(const stlora_stage *stage, const stlora_back *back, int64_t layer,
                           const stlora_block_acts *acts)
{
    stlora_stage slice;
    stlora_block_acts rows;
    bool below = true;
    if (!acts->attention_kept) stlora_block_attend(stage, layer, acts, (stlora_kv_cache){0});
    for (int64_t from = 0; from < stage->tokens; from += slice.tokens) {
        stlora_block_slice(stage, layer, acts, from, &slice, &rows);
        stlora_back part = back_slice(stage, back, from);
        below = inner_backward(&slice, &part, layer, &rows) && mid_backward(&slice, &part, layer, &rows);
    }
    if (!below) return;
    attention_backward(stage, back, layer, acts);
    for (int64_t from = 0; from < stage->tokens; from += slice.tokens) {
        stlora_block_slice(stage, layer, acts, from, &slice, &rows);
        stlora_back part = back_slice(stage, back, from);
        qkv_backward(&slice, &part, layer, &rows);
    }
}
