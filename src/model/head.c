/* head.c: embedding, final norm, logits a chunk at a time, loss and its gradient. See head.h. */
#include "model/head.h"

#include <string.h>

void stlora_head_lay_out(stlora_head *head, const stlora_stage *stage, stlora_arena *arena, int64_t rows, bool train)
{
    const stlora_transformer *model = stage->model;
    size_t N = (size_t)rows, C = (size_t)model->config.hidden_size, V = (size_t)model->config.vocab_size;
    size_t act = stlora_dtype_size(stage->act);
    const stlora_lora_map *map = stage->lora ? stage->lora->of[model->head.id] : NULL;
    head->capacity = rows;
    head->rows = stlora_arena_take(arena, N * C, sizeof(float));
    head->h = stlora_arena_take(arena, N * C, act);
    head->stats = stlora_arena_take(arena, N * 2, sizeof(float));
    head->logits = stlora_arena_take(arena, N * V, sizeof(float));
    head->targets = stlora_arena_take(arena, N, sizeof *head->targets);
    if (map) head->lowrank = stlora_arena_take(arena, N * (size_t)map->rank, sizeof(float));
    if (!train) return;
    head->dh = stlora_arena_take(arena, N * C, sizeof(float));
    if (!map) return;
    if (map->mag) head->v = stlora_arena_take(arena, N * V, sizeof(float));
    head->p = stlora_arena_take(arena, N * (size_t)map->rank, sizeof(float));
    if (stage->lora->config.lora_dropout > 0) {
        head->dropped = stlora_arena_take(arena, N * C, act);
        head->expand = stlora_arena_take(arena, N * C, act);
        head->token_keys = stlora_arena_take(arena, N, sizeof *head->token_keys);
    }
}

void stlora_embed(const stlora_stage *stage, float *x)
{
    const stlora_transformer *model = stage->model;
    int64_t T = stage->tokens, C = model->config.hidden_size;
    stage->backend->embed(stage->backend, &(stlora_embed_args){.tokens = T,
                                                               .width = C,
                                                               .ids = stage->ids,
                                                               .positions = stage->positions,
                                                               .table = model->embed.data,
                                                               .table_dtype = model->embed.dtype,
                                                               .position_table = model->positions.data,
                                                               .position_dtype = model->positions.dtype,
                                                               .x = stlora_mat_whole(x, STLORA_F32, T, C)});
    if (model->embed_scale == 1) return;
    stage->backend->scale(stage->backend, &(stlora_scale_args){.tokens = T,
                                                               .width = C,
                                                               .scale = model->embed_scale,
                                                               .x = {x, STLORA_F32, T, C, C},
                                                               .y = stlora_mat_whole(x, STLORA_F32, T, C)});
}

/* The head's products run over gathered rows: the stage with those rows' scratch and random numbers. */
static stlora_stage rows_stage(stlora_head *head, const stlora_stage *stage, const int64_t *at, int64_t count)
{
    stlora_stage rows = *stage;
    rows.tokens = count;
    rows.h = head->h;
    rows.dropped = head->dropped;
    rows.v = head->v;
    rows.token_keys = head->token_keys;
    if (stage->dropout > 0 && head->token_keys)
        for (int64_t i = 0; i < count; i++)
            head->token_keys[i] = stage->token_keys[at[i]];
    return rows;
}

void stlora_head_logits(stlora_head *head, const stlora_stage *stage, const int64_t *at, int64_t count)
{
    const stlora_transformer *model = stage->model;
    int64_t C = model->config.hidden_size, V = model->config.vocab_size;
    for (int64_t i = 0; i < count; i++)
        memcpy(head->rows + i * C, head->x + at[i] * C, (size_t)C * sizeof(float));
    stlora_stage rows = rows_stage(head, stage, at, count);
    stlora_stage_begin(stage);
    stlora_block_norm(&rows, &model->final_norm, head->rows, head->stats);
    stlora_cmat x = {head->h, stage->act, count, C, C};
    if (stage->probe) stlora_probe_keep(stage->probe, &model->head, x, stage->first, at);
    stlora_map_forward(&rows, &model->head, x,
                       stlora_mat_whole(head->logits, STLORA_F32, count, V), false, head->lowrank);
    if (model->config.logits_scaling != 1 || model->config.logits_softcap != 0)
        stage->backend->scale(stage->backend,
                              &(stlora_scale_args){.tokens = count,
                                                   .width = V,
                                                   .scale = 1 / model->config.logits_scaling,
                                                   .softcap = model->config.logits_softcap,
                                                   .x = {head->logits, STLORA_F32, count, V, V},
                                                   .y = stlora_mat_whole(head->logits, STLORA_F32, count, V)});
    stlora_stage_end(stage);
}

/* dlogits (N, V) act take the logits' place: every row begins where its logits began, and is half empty where act is half a float. */
static stlora_mat dlogits_of(const stlora_head *head, const stlora_stage *stage, int64_t count)
{
    int64_t V = stage->model->config.vocab_size;
    int64_t ld = V * (int64_t)(sizeof(float) / stlora_dtype_size(stage->act));
    return (stlora_mat){head->logits, stage->act, count, V, ld};
}

/* Gradient of one chunk: dlogits -> back->dx rows. */
static void chunk_backward(stlora_head *head, const stlora_stage *stage, const int64_t *at, int64_t count,
                           const stlora_back *back)
{
    const stlora_transformer *model = stage->model;
    int64_t C = model->config.hidden_size;
    stlora_stage rows = rows_stage(head, stage, at, count);
    stlora_back scratch = {.p = head->p, .expand = head->expand};
    const stlora_mat dh = stlora_mat_whole(head->dh, STLORA_F32, count, C); /* then dx */
    stlora_stage_begin(stage);
    stlora_map_backward(&rows, &scratch, &model->head, (stlora_cmat){head->h, stage->act, count, C, C}, head->lowrank,
                        stlora_mat_const(dlogits_of(head, stage, count)), dh, false);
    stage->backend->norm_grad(stage->backend,
                              &(stlora_norm_grad_args){.kind = model->family->norm,
                                                       .tokens = count,
                                                       .width = C,
                                                       .x = {head->rows, STLORA_F32, count, C, C},
                                                       .dy = stlora_mat_const(dh),
                                                       .w = model->final_norm.w.data,
                                                       .w_dtype = model->final_norm.w.dtype,
                                                       .stats = head->stats,
                                                       .dx = dh,
                                                       .overwrite = true});
    stlora_stage_end(stage);
    for (int64_t i = 0; i < count; i++)
        memcpy(back->dx + at[i] * C, head->dh + i * C, (size_t)C * sizeof(float));
}

void stlora_head_loss(stlora_head *head, const stlora_stage *stage, const int32_t *targets, const int64_t *at,
                      int64_t supervised, double scale, double *loss, float *logprob, const stlora_back *back)
{
    const stlora_transformer *model = stage->model;
    int64_t V = model->config.vocab_size;
    for (int64_t from = 0; from < supervised; from += head->capacity) {
        int64_t count = supervised - from < head->capacity ? supervised - from : head->capacity;
        stlora_head_logits(head, stage, at + from, count);
        for (int64_t i = 0; i < count; i++)
            head->targets[i] = targets[at[from + i]];
        stlora_mat dlogits = {0};
        if (back) dlogits = dlogits_of(head, stage, count);
        stage->backend->cross_entropy(stage->backend,
                                      &(stlora_cross_entropy_args){.rows = count,
                                                                   .vocab = V,
                                                                   .logits = {head->logits, STLORA_F32, count, V, V},
                                                                   .targets = head->targets,
                                                                   .scale = scale / model->config.logits_scaling,
                                                                   .softcap = model->config.logits_softcap,
                                                                   .logprob = logprob ? logprob + from : NULL,
                                                                   .loss = loss,
                                                                   .dlogits = dlogits});
        if (back) chunk_backward(head, stage, at + from, count, back);
    }
}
