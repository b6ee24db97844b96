/* pass.c: layout of a pass's memory and the walk through the blocks. The head is in head.c. */
#include "model/pass.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "model/head.h"
#include "model/rope.h"

struct stlora_pass {
    stlora_pass_shape shape;
    stlora_stage stage;
    stlora_back back;
    stlora_head head;
    stlora_block_acts *acts; /* [layers] */
    stlora_segment *segments;
    uint64_t *token_keys;
    float *cosines, *sines;
    stlora_arena arena;
};

static size_t z(int64_t v)
{
    return (size_t)v;
}

/* First block that a backward reaches; all blocks' number where none does. */
static int64_t lowest_layer(const stlora_transformer *model, const stlora_lora *lora, bool train)
{
    if (!train) return model->config.layers;
    const stlora_linear *linear = stlora_transformer_linear(model, lora->lowest);
    return linear->layer < 0 ? model->config.layers : linear->layer;
}

/* What backward needs of a block, x_in apart. */
static void take_block(stlora_pass *pass, stlora_block_acts *acts, bool own_mid)
{
    const stlora_transformer *model = pass->stage.model;
    const stlora_hf_config *c = &model->config;
    size_t T = z(pass->shape.max_tokens), act = stlora_dtype_size(pass->shape.act);
    stlora_arena *arena = &pass->arena;
    if (own_mid) acts->x_mid = stlora_arena_take(arena, T * z(c->hidden_size), sizeof(float));
    acts->stats1 = stlora_arena_take(arena, T * 2, sizeof(float));
    acts->stats2 = stlora_arena_take(arena, T * 2, sizeof(float));
    acts->qkv = stlora_arena_take(arena, T * z(stlora_qkv_width(c)), act);
    acts->o = stlora_arena_take(arena, T * z(c->heads * c->head_dim), act);
    acts->lse = stlora_arena_take(arena, T * z(c->heads), sizeof(float));
    acts->up = stlora_arena_take(arena, T * z(stlora_up_width(model)), act);
}

/* Low-rank activations: every layer's own ranks; in a shared slot, room for the largest. */
static void take_lowrank(stlora_pass *pass, stlora_block_acts *acts, int64_t layer)
{
    const stlora_transformer *model = pass->stage.model;
    const stlora_lora *lora = pass->stage.lora;
    if (!lora) return;
    for (int s = 0; s < STLORA_SITE_COUNT; s++) {
        for (int k = 0; k < model->blocks[0].sites[s].count; k++) {
            int64_t r = 0;
            for (int64_t l = layer < 0 ? 0 : layer; l < (layer < 0 ? model->config.layers : layer + 1); l++) {
                const stlora_lora_map *map = lora->of[model->blocks[l].sites[s].maps[k].id];
                if (map && map->r > r) r = map->r;
            }
            acts->lowrank[s][k] =
                r ? stlora_arena_take(&pass->arena, z(pass->shape.max_tokens * r), sizeof(float)) : NULL;
        }
    }
}

static void take_activations(stlora_pass *pass)
{
    const stlora_hf_config *c = &pass->stage.model->config;
    int64_t lowest = lowest_layer(pass->stage.model, pass->stage.lora, pass->shape.train);
    size_t residual = z(pass->shape.max_tokens) * z(c->hidden_size);
    stlora_arena *arena = &pass->arena;

    /* One slot serves every block that keeps nothing: those below the backward, and the recomputed ones. */
    stlora_block_acts shared = {0};
    bool share = lowest > 0 || pass->shape.layers_recomputed > 0;
    bool recompute = pass->shape.layers_recomputed > 0 && lowest < c->layers;
    if (share) {
        take_block(pass, &shared, recompute);
        take_lowrank(pass, &shared, -1);
    }
    float *stream =
        stlora_arena_take(arena, residual, sizeof(float)); /* x below the backward, then x of the lowest block */
    for (int64_t l = 0; l < c->layers; l++) {
        stlora_block_acts acts = shared;
        acts.x_in = stream;
        if (l < lowest) {
            acts.x_mid = acts.x_out = stream;
        } else {
            if (l >= lowest + pass->shape.layers_recomputed) {
                take_block(pass, &acts, true);
                take_lowrank(pass, &acts, l);
            }
            stream = acts.x_out = stlora_arena_take(arena, residual, sizeof(float));
        }
        if (pass->acts) pass->acts[l] = acts;
    }
    if (pass->acts) pass->head.x = stream;
}

static void take_workspace(stlora_pass *pass)
{
    const stlora_transformer *model = pass->stage.model;
    const stlora_hf_config *c = &model->config;
    const stlora_lora *lora = pass->stage.lora;
    stlora_arena *arena = &pass->arena;
    stlora_stage *stage = &pass->stage;
    stlora_back *back = &pass->back;
    size_t T = z(pass->shape.max_tokens), act = stlora_dtype_size(pass->shape.act);
    size_t C = z(c->hidden_size), F = z(c->intermediate_size), O = z(c->heads * c->head_dim);
    size_t widest = F > C ? F : C;
    if (O > widest) widest = O;

    stage->h = stlora_arena_take(arena, T * C, act);
    stage->a = stlora_arena_take(arena, T * F, act);
    pass->segments = stlora_arena_take(arena, z(pass->shape.max_segments), sizeof *pass->segments);
    if (!model->family->learned_positions) {
        size_t table = z(pass->shape.max_positions * (c->head_dim / 2));
        pass->cosines = stlora_arena_take(arena, table, sizeof(float));
        pass->sines = stlora_arena_take(arena, table, sizeof(float));
    }
    if (!pass->shape.train) return;

    int64_t largest = 1;
    for (size_t i = 0; i < lora->count; i++)
        if (lora->maps[i].r > largest) largest = lora->maps[i].r;
    back->dx = stlora_arena_take(arena, T * C, sizeof(float));
    back->dx_act = pass->shape.act == STLORA_F32 ? back->dx : stlora_arena_take(arena, T * C, act);
    back->dh = stlora_arena_take(arena, T * C, sizeof(float));
    back->da = stlora_arena_take(arena, T * F, act);
    back->dup = stlora_arena_take(arena, T * z(stlora_up_width(model)), act);
    back->dout = stlora_arena_take(arena, T * O, act);
    back->dqkv = stlora_arena_take(arena, T * z(stlora_qkv_width(c)), act);
    back->delta = stlora_arena_take(arena, T * z(c->heads), sizeof(float));
    back->p = stlora_arena_take(arena, T * z(largest), sizeof(float));
    if (lora->config.lora_dropout > 0) {
        pass->token_keys = stlora_arena_take(arena, T, sizeof *pass->token_keys);
        stage->dropped = stlora_arena_take(arena, T * widest, act);
        back->expand = stlora_arena_take(arena, T * widest, act);
    }
}

/* The whole layout, measuring or taking; bytes by category. */
static void lay_out(stlora_pass *pass, stlora_pass_bytes *bytes)
{
    size_t start = pass->arena.used;
    take_activations(pass);
    size_t after_activations = pass->arena.used;
    take_workspace(pass);
    size_t after_workspace = pass->arena.used;
    stlora_head_lay_out(&pass->head, &pass->stage, &pass->arena, pass->shape.logits_rows, pass->shape.train);
    *bytes = (stlora_pass_bytes){after_activations - start, after_workspace - after_activations,
                                 pass->arena.used - after_workspace};
}

void stlora_pass_measure(const stlora_transformer *model, const stlora_lora *lora, const stlora_pass_shape *shape,
                         stlora_pass_bytes *out)
{
    stlora_pass pass = {.shape = *shape, .stage = {.model = model, .lora = lora, .act = shape->act}};
    lay_out(&pass, out);
}

stlora_status stlora_pass_create(stlora_pass **out, const stlora_transformer *model, const stlora_lora *lora,
                                 const stlora_backend *backend, const stlora_pass_shape *shape, stlora_error *err)
{
    stlora_pass *pass;
    stlora_pass_bytes bytes;
    if (model->family->learned_positions && shape->max_positions > model->config.max_positions)
        return stlora_fail(err, STLORA_E_UNSUPPORTED,
                           "a row of %lld tokens is longer than the model's %lld learned positions",
                           (long long)shape->max_positions, (long long)model->config.max_positions);
    STLORA_TRY(stlora_alloc(&pass, 1, sizeof *pass, "pass", err));
    pass->shape = *shape;
    pass->stage = (stlora_stage){.model = model, .lora = lora, .backend = backend, .act = shape->act};
    lay_out(pass, &bytes);
    stlora_status status = stlora_alloc(&pass->acts, z(model->config.layers), sizeof *pass->acts, "blocks", err);
    if (status == STLORA_OK) status = stlora_arena_bind(&pass->arena, "activations", err);
    if (status != STLORA_OK) {
        stlora_pass_free(pass);
        return status;
    }
    lay_out(pass, &bytes);
    if (pass->cosines) stlora_rope_tables(&model->config, shape->max_positions, pass->cosines, pass->sines);
    pass->stage.cosines = pass->cosines;
    pass->stage.sines = pass->sines;
    *out = pass;
    return STLORA_OK;
}

void stlora_pass_free(stlora_pass *pass)
{
    if (!pass) return;
    stlora_arena_free(&pass->arena);
    stlora_free(pass->acts);
    stlora_free(pass);
}

static void set_batch(stlora_pass *pass, const stlora_pass_batch *batch)
{
    stlora_stage *stage = &pass->stage;
    assert(batch->tokens <= pass->shape.max_tokens && batch->segments <= pass->shape.max_segments);
    stage->tokens = batch->tokens;
    stage->ids = batch->ids;
    stage->positions = batch->positions;
    for (int64_t s = 0; s < batch->segments; s++) {
        int64_t count = batch->starts[s + 1] - batch->starts[s];
        pass->segments[s] = (stlora_segment){batch->starts[s], count, batch->starts[s], count};
    }
    stage->segments = pass->segments;
    stage->segment_count = batch->segments;
}

static void forward(stlora_pass *pass)
{
    const stlora_stage *stage = &pass->stage;
    stlora_embed(stage, pass->acts[0].x_in);
    for (int64_t l = 0; l < stage->model->config.layers; l++)
        stlora_block_forward(stage, l, &pass->acts[l], (stlora_kv_cache){0});
}

void stlora_pass_loss(stlora_pass *pass, const stlora_pass_batch *batch, double *loss, float *logprob)
{
    pass->stage.dropout = 0;
    set_batch(pass, batch);
    forward(pass);
    stlora_head_loss(&pass->head, &pass->stage, batch->targets, batch->at, batch->supervised, 0, loss, logprob, NULL);
}

void stlora_pass_grad(stlora_pass *pass, const stlora_pass_batch *batch, double scale, uint64_t seed, int64_t step,
                      double *loss)
{
    stlora_stage *stage = &pass->stage;
    const stlora_transformer *model = stage->model;
    int64_t lowest = lowest_layer(model, stage->lora, true);
    stage->dropout = stage->lora->config.lora_dropout;
    stage->seed = seed;
    stage->step = (uint64_t)step;
    set_batch(pass, batch);
    if (stage->dropout > 0) {
        for (int64_t s = 0; s < batch->segments; s++)
            for (int64_t t = batch->starts[s]; t < batch->starts[s + 1]; t++)
                pass->token_keys[t] = (uint64_t)batch->rows[s] << 24 | (uint64_t)batch->positions[t];
        stage->token_keys = pass->token_keys;
    }
    forward(pass);
    memset(pass->back.dx, 0, z(batch->tokens * model->config.hidden_size) * sizeof(float));
    stlora_head_loss(&pass->head, stage, batch->targets, batch->at, batch->supervised, scale, loss, NULL, &pass->back);
    for (int64_t l = model->config.layers - 1; l >= lowest; l--) {
        /* A recomputed block's slot was overwritten by the blocks above it: fill it again. Its x_out is the next one's x_in. */
        if (l < lowest + pass->shape.layers_recomputed)
            stlora_block_forward(stage, l, &pass->acts[l], (stlora_kv_cache){0});
        stlora_block_backward(stage, &pass->back, l, &pass->acts[l]);
    }
}

double stlora_pass_flops(const stlora_transformer *model, const stlora_lora *lora, const int64_t *lengths,
                         int64_t segments, int64_t supervised, bool train)
{
    const stlora_hf_config *c = &model->config;
    double tokens = 0, pairs = 0, flops = 0;
    for (int64_t s = 0; s < segments; s++) {
        tokens += (double)lengths[s];
        pairs += (double)lengths[s] * (double)(lengths[s] + 1) / 2;
    }
    int64_t lowest = lowest_layer(model, lora, train);
    for (size_t id = 0; id < model->linear_count; id++) {
        const stlora_linear *linear = stlora_transformer_linear(model, id);
        double rows = linear->layer < 0 ? (double)supervised : tokens;
        double product = 2.0 * (double)linear->n * (double)linear->m * rows;
        bool back = train && (linear->layer < 0 || linear->id > lora->lowest);
        flops += product * (back ? 2 : 1);
        const stlora_lora_map *map = lora ? lora->of[id] : NULL;
        if (map) flops += (train ? 6.0 : 2.0) * (double)map->r * (double)(linear->n + linear->m) * rows;
    }
    /* Scores and values: 4 D per head and pair; backward 2.5 times that (scores are formed again). */
    double attention = 4.0 * (double)(c->heads * c->head_dim) * pairs;
    return flops + attention * ((double)c->layers + (train ? 2.5 * (double)(c->layers - lowest) : 0));
}
