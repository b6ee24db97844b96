/* pass.c: layout of a pass's memory and the walk through the blocks. The head is in head.c. */
#include "model/pass.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/head.h"

struct stlora_pass {
    stlora_pass_shape shape;
    stlora_stage stage;
    stlora_back back;
    stlora_head head;
    stlora_block_acts *acts; /* [layers] */
    stlora_segment *segments;
    uint64_t *token_keys;
    stlora_rotation rotation;
    stlora_probe *probe; /* borrowed; NULL = nothing is kept for others */
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

int64_t stlora_pass_blocks_reached(const stlora_transformer *model, const stlora_lora *lora, bool train)
{
    return model->config.layers - lowest_layer(model, lora, train);
}

/* Rows of what exists for one slice at a time. */
static size_t slice_rows(const stlora_pass *pass)
{
    const stlora_pass_shape *s = &pass->shape;
    return z(s->slice > 0 && s->slice < s->max_tokens ? s->slice : s->max_tokens);
}

/* Blocks from the lowest reached up that compute every part again. */
static int64_t bare_blocks(const stlora_pass *pass)
{
    const int64_t *again = pass->shape.again;
    int64_t least = again[0];
    for (int part = 1; part < STLORA_PART_COUNT; part++)
        if (again[part] < least) least = again[part];
    int64_t reached = stlora_pass_blocks_reached(pass->stage.model, pass->stage.lora, pass->shape.train);
    return least < reached ? least : reached;
}

/* Low-rank activations of a site: a layer's own ranks; for layer -1, in shared scratch, room for the largest. */
static void take_lowrank(stlora_pass *pass, stlora_block_acts *acts, int64_t layer, int site)
{
    const stlora_transformer *model = pass->stage.model;
    const stlora_lora *lora = pass->stage.lora;
    int64_t first = layer < 0 ? 0 : layer, end = layer < 0 ? model->config.layers : layer + 1;
    for (int k = 0; lora && k < model->blocks[0].sites[site].count; k++) {
        int64_t r = 0;
        for (int64_t l = first; l < end; l++) {
            const stlora_lora_map *map = lora->of[model->blocks[l].sites[site].maps[k].id];
            if (map && map->rank > r) r = map->rank;
        }
        if (r) acts->lowrank[site][k] = stlora_arena_take(&pass->arena, z(pass->shape.max_tokens * r), sizeof(float));
    }
}

/* One part of a block, kept (all rows) or in the scratch of one slice where backward takes slices. */
static void take_part(stlora_pass *pass, stlora_block_acts *acts, int64_t layer, stlora_pass_part part, size_t rows)
{
    const stlora_transformer *model = pass->stage.model;
    const stlora_hf_config *c = &model->config;
    size_t T = z(pass->shape.max_tokens), act = stlora_dtype_size(pass->shape.act);
    const char *const *norms = model->family->norms;
    stlora_arena *arena = &pass->arena;
    int64_t groups = stlora_qk_groups(model);
    switch (part) {
    case STLORA_PART_ATTENTION:
        acts->qkv = stlora_arena_take(arena, T * z(stlora_qkv_width(c)), act);
        acts->o = stlora_arena_take(arena, T * z(c->heads * c->head_dim), act);
        acts->lse = stlora_arena_take(arena, T * z(c->heads), sizeof(float));
        if (groups) {
            acts->raw = stlora_arena_take(arena, T * z((c->heads + c->kv_heads) * c->head_dim), act);
            acts->qk_stats = stlora_arena_take(arena, T * z(groups * 2), sizeof(float));
        }
        take_lowrank(pass, acts, layer, STLORA_SITE_QKV);
        break;
    case STLORA_PART_MID:
        acts->x_mid = stlora_arena_take(arena, rows * z(c->hidden_size), sizeof(float));
        if (layer >= 0 && norms[STLORA_AFTER_ATTENTION])
            acts->o_out = stlora_arena_take(arena, T * z(c->hidden_size), sizeof(float));
        take_lowrank(pass, acts, layer, STLORA_SITE_O);
        break;
    case STLORA_PART_UP:
        acts->up = stlora_arena_take(arena, rows * z(stlora_up_width(model)), act);
        if (layer >= 0 && norms[STLORA_AFTER_INNER])
            acts->down_out = stlora_arena_take(arena, T * z(c->hidden_size), sizeof(float));
        take_lowrank(pass, acts, layer, STLORA_SITE_UP);
        break;
    case STLORA_PART_COUNT:
    default:
        assert(false);
    }
}

/* What every block keeps: the norms' statistics and the low-rank activations of the down map, which nothing else brings back. */
static void take_small(stlora_pass *pass, stlora_block_acts *acts, int64_t layer)
{
    for (int place = 0; place < STLORA_NORM_PLACES; place++)
        if (pass->stage.model->family->norms[place])
            acts->stats[place] = stlora_arena_take(&pass->arena, z(pass->shape.max_tokens * 2), sizeof(float));
    take_lowrank(pass, acts, layer, STLORA_SITE_DOWN);
}

/* What lasts for the whole step beside activations. */
static void take_lasting(stlora_pass *pass)
{
    const stlora_hf_config *c = &pass->stage.model->config;
    stlora_arena *arena = &pass->arena;
    pass->segments = stlora_arena_take(arena, z(pass->shape.max_segments), sizeof *pass->segments);
    if (!pass->stage.model->family->learned_positions)
        stlora_rotation_lay_out(&pass->rotation, c, arena, pass->shape.max_positions, pass->shape.max_tokens);
    if (!pass->shape.train) return;
    pass->back.dx = stlora_arena_take(arena, z(pass->shape.max_tokens * c->hidden_size), sizeof(float));
    if (pass->stage.lora->config.lora_dropout > 0 || pass->shape.neftune_noise_alpha > 0)
        pass->token_keys = stlora_arena_take(arena, z(pass->shape.max_tokens), sizeof *pass->token_keys);
}

/* The ranks of a site's maps together, where they are most. */
static int64_t most_ranks(const stlora_transformer *model, const stlora_lora *lora)
{
    int64_t most = 1;
    for (int64_t l = 0; l < model->config.layers; l++) {
        for (int s = 0; s < STLORA_SITE_COUNT; s++) {
            const stlora_place *site = &model->blocks[l].sites[s];
            int64_t ranks = 0;
            for (int k = 0; k < site->count; k++)
                if (lora->of[site->maps[k].id]) ranks += lora->of[site->maps[k].id]->rank;
            if (ranks > most) most = ranks;
        }
    }
    return most;
}

/* Scratch of the blocks' backward. */
static void take_back(stlora_pass *pass, size_t rows)
{
    const stlora_hf_config *c = &pass->stage.model->config;
    const stlora_lora *lora = pass->stage.lora;
    stlora_arena *arena = &pass->arena;
    stlora_back *back = &pass->back;
    size_t T = z(pass->shape.max_tokens), act = stlora_dtype_size(pass->shape.act);
    size_t C = z(c->hidden_size), F = z(c->intermediate_size), O = z(c->heads * c->head_dim);
    size_t widest = F > C ? F : C;
    if (O > widest) widest = O;
    bool same = pass->shape.act == STLORA_F32 && !stlora_output_follows(pass->stage.model);
    back->dx_act = same ? back->dx : stlora_arena_take(arena, rows * C, act);
    back->dh = stlora_arena_take(arena, rows * C, sizeof(float));
    back->dout = stlora_arena_take(arena, T * O, act);
    back->delta = stlora_arena_take(arena, T * z(c->heads), sizeof(float));
    back->p = stlora_arena_take(arena, rows * z(most_ranks(pass->stage.model, lora)), sizeof(float));
    if (lora->config.lora_dropout > 0) {
        pass->stage.dropped = stlora_arena_take(arena, rows * widest, act);
        back->expand = stlora_arena_take(arena, rows * widest, act);
    }
}

/* Scratch that one block leaves to the next, with the parts that some block does not keep. */
static void take_scratch(stlora_pass *pass, stlora_block_acts *shared)
{
    const stlora_hf_config *c = &pass->stage.model->config;
    const int64_t *again = pass->shape.again;
    stlora_arena *arena = &pass->arena;
    size_t T = z(pass->shape.max_tokens), rows = slice_rows(pass), act = stlora_dtype_size(pass->shape.act);
    bool below = lowest_layer(pass->stage.model, pass->stage.lora, pass->shape.train) > 0;
    pass->stage.slice = (int64_t)rows;
    pass->stage.h = stlora_arena_take(arena, rows * z(c->hidden_size), act);
    stlora_outputs_lay_out(&pass->stage, arena, rows);
    int64_t widest = pass->stage.lora ? stlora_lora_widest_gain(pass->stage.lora) : 0;
    if (widest) pass->stage.v = stlora_arena_take(arena, rows * z(widest), sizeof(float));
    if (below) take_small(pass, shared, -1);
    if (below && again[STLORA_PART_MID] == 0) take_lowrank(pass, shared, -1, STLORA_SITE_O); /* x_mid: the stream */
    if (below || again[STLORA_PART_ATTENTION] > 0) take_part(pass, shared, -1, STLORA_PART_ATTENTION, T);
    if (pass->shape.train) take_back(pass, rows);

    /* The gradient of qkv exists when the inner map's slices are done with. */
    size_t mark = arena->used;
    pass->stage.a = stlora_arena_take(arena, rows * z(c->intermediate_size), act);
    pass->back.da = pass->stage.a; /* the activation's output is done with when its gradient is written */
    if (again[STLORA_PART_MID] > 0) take_part(pass, shared, -1, STLORA_PART_MID, rows);
    if (below || again[STLORA_PART_UP] > 0) take_part(pass, shared, -1, STLORA_PART_UP, rows);
    if (!pass->shape.train) return;
    size_t end = stlora_arena_rewind(arena, mark);
    pass->back.dqkv = stlora_arena_take(arena, T * z(stlora_qkv_width(c)), act);
    pass->back.work = stlora_arena_take(arena, T * 3 * z(c->heads * c->head_dim), sizeof(float));
    stlora_arena_cover(arena, end);
}

/* The stream from block to block, and what each keeps of its parts. */
static void take_activations(stlora_pass *pass, const stlora_block_acts *shared)
{
    const stlora_hf_config *c = &pass->stage.model->config;
    int64_t lowest = lowest_layer(pass->stage.model, pass->stage.lora, pass->shape.train), bare = bare_blocks(pass);
    int64_t stride = pass->shape.input_stride > 1 ? pass->shape.input_stride : 1;
    size_t T = z(pass->shape.max_tokens), residual = T * z(c->hidden_size);
    stlora_arena *arena = &pass->arena;
    float *stream =
        stlora_arena_take(arena, residual, sizeof(float)); /* x below the backward, then x of the lowest block */
    float *between = NULL;                                 /* (stride - 1, T, C): inputs that are not kept */
    if (stride > 1 && bare > 1) between = stlora_arena_take(arena, z(stride - 1) * residual, sizeof(float));
    for (int64_t l = 0; l < c->layers; l++) {
        int64_t i = l - lowest, next = (i + 1) % stride;
        stlora_block_acts acts = *shared;
        acts.x_in = stream;
        if (i < 0) {
            acts.x_mid = acts.x_out = stream;
            acts.mid_kept = true;
        } else {
            take_small(pass, &acts, l);
            acts.attention_kept = i >= pass->shape.again[STLORA_PART_ATTENTION];
            acts.mid_kept = i >= pass->shape.again[STLORA_PART_MID];
            acts.up_kept = i >= pass->shape.again[STLORA_PART_UP];
            if (acts.attention_kept) take_part(pass, &acts, l, STLORA_PART_ATTENTION, T);
            if (acts.mid_kept) take_part(pass, &acts, l, STLORA_PART_MID, T);
            if (acts.up_kept) take_part(pass, &acts, l, STLORA_PART_UP, T);
            if (i + 1 < bare && next)
                stream = between ? between + z(next - 1) * residual : NULL;
            else
                stream = stlora_arena_take(arena, residual, sizeof(float));
            acts.x_out = stream;
        }
        if (pass->acts) pass->acts[l] = acts;
    }
    if (pass->acts) pass->head.x = stream;
}

/* The whole layout, measuring or taking; bytes by category. */
static void lay_out(stlora_pass *pass, stlora_pass_bytes *bytes)
{
    stlora_arena *arena = &pass->arena;
    stlora_block_acts shared = {0};
    take_lasting(pass);
    /* The head works between the last block's forward and its backward, when no scratch of a block holds anything. */
    size_t mark = arena->used;
    stlora_head_lay_out(&pass->head, &pass->stage, arena, pass->shape.logits_rows, pass->shape.train);
    size_t end = stlora_arena_rewind(arena, mark), logits = end - mark;
    take_scratch(pass, &shared);
    stlora_arena_cover(arena, end);
    size_t working = arena->used;
    take_activations(pass, &shared);
    *bytes = (stlora_pass_bytes){arena->used - working, working - logits, logits};
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
    if (!model->family->learned_positions) {
        stlora_rotation_fill(&pass->rotation, &model->config, 0);
        pass->stage.rotation = &pass->rotation;
    }
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
        if (stage->rotation) stlora_rotation_row(stage->rotation, &stage->model->config, batch->starts[s], count);
    }
    stage->segments = pass->segments;
    stage->segment_count = batch->segments;
}

/* Each row's embeddings x += U(-a, a), a = alpha / sqrt(length C): its numbers are named by seed, step, row and position. */
static void add_noise(const stlora_pass *pass, const stlora_pass_batch *batch)
{
    const stlora_stage *stage = &pass->stage;
    const int64_t C = stage->model->config.hidden_size;
    for (int64_t s = 0; s < batch->segments; s++) {
        const int64_t from = batch->starts[s], length = batch->starts[s + 1] - from;
        stage->backend->noise(stage->backend,
                              &(stlora_noise_args){.tokens = length,
                                                   .width = C,
                                                   .x = stlora_mat_whole(pass->acts[0].x_in + from * C, STLORA_F32, length, C),
                                                   .amplitude = pass->shape.neftune_noise_alpha / sqrt((double)(length * C)),
                                                   .seed = stage->seed,
                                                   .stream = stage->step,
                                                   .token_keys = stage->token_keys + from});
    }
}

/* noisy: the batch whose embeddings get noise; NULL = none do. */
static void forward(stlora_pass *pass, const stlora_pass_batch *noisy)
{
    const stlora_stage *stage = &pass->stage;
    stlora_stage_begin(stage);
    stlora_embed(stage, pass->acts[0].x_in);
    if (noisy) add_noise(pass, noisy);
    for (int64_t l = 0; l < stage->model->config.layers; l++)
        stlora_block_forward(stage, l, &pass->acts[l], (stlora_kv_cache){0});
    stlora_stage_end(stage);
}

void stlora_pass_loss(stlora_pass *pass, const stlora_pass_batch *batch, double *loss, float *logprob)
{
    pass->stage.dropout = 0;
    set_batch(pass, batch);
    forward(pass, NULL);
    stlora_head_loss(&pass->head, &pass->stage, batch->targets, batch->at, batch->supervised, 0, loss, logprob, NULL);
}

/* The rows of back.dx that no loss reaches. */
static void zero_unsupervised(const stlora_pass *pass, const stlora_pass_batch *batch)
{
    const int64_t C = pass->stage.model->config.hidden_size;
    for (int64_t i = 0, from = 0; i <= batch->supervised; i++) {
        const int64_t next = i < batch->supervised ? batch->at[i] : batch->tokens;
        assert(next >= from);
        memset(pass->back.dx + from * C, 0, z((next - from) * C) * sizeof(float));
        from = next + 1;
    }
}

void stlora_pass_watch(stlora_pass *pass, stlora_probe *probe)
{
    pass->probe = probe;
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
    const bool noisy = pass->shape.neftune_noise_alpha > 0;
    if (stage->dropout > 0 || noisy) {
        for (int64_t s = 0; s < batch->segments; s++)
            for (int64_t t = batch->starts[s]; t < batch->starts[s + 1]; t++)
                pass->token_keys[t] = (uint64_t)batch->rows[s] << 24 | (uint64_t)batch->positions[t];
        stage->token_keys = pass->token_keys;
    }
    stage->probe = pass->probe;
    if (pass->probe) stage->first = stlora_probe_batch(pass->probe, batch->tokens);
    forward(pass, noisy ? batch : NULL);
    zero_unsupervised(pass, batch);
    stlora_head_loss(&pass->head, stage, batch->targets, batch->at, batch->supervised, scale, loss, NULL, &pass->back);
    stage->probe = NULL; /* what is computed again has been kept */
    int64_t bare = bare_blocks(pass), stride = pass->shape.input_stride > 1 ? pass->shape.input_stride : 1;
    stlora_stage_begin(stage);
    for (int64_t l = model->config.layers - 1; l >= lowest; l--) {
        /* The inputs of a stretch without kept ones were overwritten by the stretches above it: walk up to its last block again. */
        int64_t i = l - lowest;
        if (i < bare && (i + 1 == bare || (i + 1) % stride == 0))
            for (int64_t again = l - i % stride; again < l; again++)
                stlora_block_forward(stage, again, &pass->acts[again], (stlora_kv_cache){0});
        stlora_block_backward(stage, &pass->back, l, &pass->acts[l]);
    }
    stlora_stage_end(stage);
}

/* Id of the first map beside a map, which read the same input. */
static size_t first_of_site(const stlora_transformer *model, const stlora_linear *linear)
{
    size_t first = linear->id;
    for (int site = 0; linear->layer >= 0 && site < STLORA_SITE_COUNT; site++) {
        size_t id = model->blocks[linear->layer].sites[site].maps[0].id;
        if (id <= linear->id) first = id;
    }
    return first;
}

/* Pairs of a query with a key that it sees, in segments of these lengths; window 0 = all before. */
static double seen_pairs(const int64_t *lengths, int64_t segments, int64_t window)
{
    double pairs = 0;
    for (int64_t s = 0; s < segments; s++) {
        const double length = (double)lengths[s];
        const double reach = window > 0 && window < lengths[s] ? (double)window : length;
        pairs += reach * (reach + 1) / 2 + (length - reach) * reach;
    }
    return pairs;
}

double stlora_pass_flops(const stlora_transformer *model, const stlora_lora *lora, const int64_t *lengths,
                         int64_t segments, int64_t supervised, bool train)
{
    const stlora_hf_config *c = &model->config;
    double tokens = 0, flops = 0, pairs = 0; /* of a query and a key that it sees, over the layers, a backward counting 2.5 */
    int64_t lowest = lowest_layer(model, lora, train);
    for (int64_t s = 0; s < segments; s++)
        tokens += (double)lengths[s];
    for (int64_t l = 0; l < c->layers; l++)
        pairs += seen_pairs(lengths, segments, model->blocks[l].window) * (train && l >= lowest ? 3.5 : 1);
    for (size_t id = 0; id < model->linear_count; id++) {
        const stlora_linear *linear = stlora_transformer_linear(model, id);
        double rows = linear->layer < 0 ? (double)supervised : tokens;
        double product = 2.0 * (double)linear->n * (double)linear->m * rows;
        bool back = train && lora->lowest < first_of_site(model, linear);
        flops += product * (back ? 2 : 1);
        const stlora_lora_map *map = lora ? lora->of[id] : NULL;
        if (map && map->mag && train) flops += product; /* the gradient of magnitudes asks for the output again */
        if (map)
            flops += ((train ? 4.0 : 2.0) * (double)map->rank + (train ? 2.0 : 0.0) * (double)map->r) *
                     (double)(linear->n + linear->m) * rows;
    }
    /* Scores and values: 4 D per head and pair; backward 2.5 times that (scores are formed again). */
    return flops + 4.0 * (double)(c->heads * c->head_dim) * pairs;
}
