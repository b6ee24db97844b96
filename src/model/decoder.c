/* decoder.c: the blocks over the new tokens of some sequences against the cache. */
#include "model/decoder.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "model/head.h"

struct stlora_decoder {
    stlora_decoder_shape shape;
    stlora_stage stage;
    stlora_block_acts acts;
    stlora_head head;
    stlora_kv_cache *caches; /* [layers] */
    float *x;
    stlora_rotation rotation;
    int32_t *ids, *positions;
    stlora_segment *segments;
    int64_t *rows; /* [logits_rows]: tokens whose logits are taken */
    int64_t past;  /* of the one sequence that _feed keeps count of */
    stlora_arena arena;
};

stlora_decoder_shape stlora_decoder_single(int64_t positions)
{
    enum { TOKENS = 256 };
    return (stlora_decoder_shape){positions, positions, positions < TOKENS ? positions : TOKENS, 1, 1, 0};
}

int64_t stlora_decoder_most(const stlora_transformer *model)
{
    const stlora_hf_config *c = &model->config;
    int64_t most = INT64_MAX;
    if (model->family->learned_positions) return c->max_positions;
    for (int t = 0; t < (c->rope_by_type ? STLORA_LAYER_TYPES : 1); t++)
        if (stlora_rope_by_length(&c->rope[t]) && c->rope[t].original_positions < most)
            most = c->rope[t].original_positions;
    return most;
}

/* Elements of a token's row of a layer's cache: [k | v]. */
static int64_t cache_width(const stlora_transformer *model)
{
    return 2 * model->config.kv_heads * model->config.head_dim;
}

static void lay_out(stlora_decoder *d)
{
    const stlora_transformer *model = d->stage.model;
    const stlora_hf_config *c = &model->config;
    stlora_arena *arena = &d->arena;
    size_t act = stlora_dtype_size(d->stage.act), P = (size_t)d->shape.tokens;
    d->x = stlora_arena_take(arena, P * (size_t)c->hidden_size, sizeof(float));
    d->acts = (stlora_block_acts){.x_in = d->x, .x_mid = d->x, .x_out = d->x};
    float *stats = stlora_arena_take(arena, P * 2, sizeof(float));
    for (int place = 0; place < STLORA_NORM_PLACES; place++)
        d->acts.stats[place] = stats;
    d->acts.qkv = stlora_arena_take(arena, P * (size_t)stlora_qkv_width(c), act);
    d->acts.o = stlora_arena_take(arena, P * (size_t)(c->heads * c->head_dim), act);
    d->acts.lse = stlora_arena_take(arena, P * (size_t)c->heads, sizeof(float));
    d->acts.up = stlora_arena_take(arena, P * (size_t)stlora_up_width(model), act);
    const size_t groups = (size_t)stlora_qk_groups(model);
    if (groups) {
        d->acts.raw = stlora_arena_take(arena, P * (size_t)((c->heads + c->kv_heads) * c->head_dim), act);
        d->acts.qk_stats = stlora_arena_take(arena, P * groups * 2, sizeof(float));
    }
    stlora_outputs_lay_out(&d->stage, arena, P);
    d->stage.h = stlora_arena_take(arena, P * (size_t)c->hidden_size, act);
    d->stage.a = stlora_arena_take(arena, P * (size_t)c->intermediate_size, act);
    d->ids = stlora_arena_take(arena, P, sizeof *d->ids);
    d->positions = stlora_arena_take(arena, P, sizeof *d->positions);
    d->segments = stlora_arena_take(arena, (size_t)d->shape.pieces, sizeof *d->segments);
    if (!model->family->learned_positions)
        stlora_rotation_lay_out(&d->rotation, c, arena, d->shape.positions, 0);
    int64_t widest = d->stage.lora ? stlora_lora_widest_gain(d->stage.lora) : 0;
    if (widest) d->stage.v = stlora_arena_take(arena, P * (size_t)widest, sizeof(float));
    int64_t largest = 0;
    for (size_t i = 0; d->stage.lora && i < d->stage.lora->count; i++)
        if (d->stage.lora->maps[i].rank > largest) largest = d->stage.lora->maps[i].rank;
    for (int k = 0; k < STLORA_MAPS_PER_SITE; k++) { /* a site's maps are multiplied together */
        float *lowrank = stlora_arena_take(arena, P * (size_t)largest, sizeof(float));
        for (int s = 0; s < STLORA_SITE_COUNT; s++)
            d->acts.lowrank[s][k] = lowrank;
    }
    stlora_head_lay_out(&d->head, &d->stage, arena, d->shape.logits_rows, false);
    d->head.x = d->x;
    d->rows = stlora_arena_take(arena, (size_t)d->shape.logits_rows, sizeof *d->rows);
    size_t row = (size_t)cache_width(model);
    for (int64_t l = 0; l < c->layers; l++) {
        void *rows = stlora_arena_take(arena, (size_t)d->shape.cache * row, act);
        if (d->caches) d->caches[l] = (stlora_kv_cache){rows, d->shape.cache};
    }
}

size_t stlora_decoder_bytes(const stlora_transformer *model, const stlora_lora *lora, stlora_dtype act,
                            const stlora_decoder_shape *shape)
{
    stlora_decoder d = {.shape = *shape, .stage = {.model = model, .lora = lora, .act = act}};
    lay_out(&d);
    return d.arena.overflow ? SIZE_MAX : d.arena.used;
}

stlora_status stlora_decoder_create(stlora_decoder **out, const stlora_transformer *model, const stlora_lora *lora,
                                    const stlora_backend *backend, stlora_dtype act, const stlora_decoder_shape *shape,
                                    stlora_error *err)
{
    stlora_decoder *d;
    if (shape->positions > stlora_decoder_most(model) && (shape->row == 0 || model->family->learned_positions))
        return stlora_fail(err, STLORA_E_UNSUPPORTED, "%lld tokens are more than the model's %lld %s", (long long)shape->positions,
                           (long long)stlora_decoder_most(model),
                           model->family->learned_positions ? "learned positions"
                                                            : "positions, behind which its frequencies change with the length");
    STLORA_TRY(stlora_alloc(&d, 1, sizeof *d, "decoder", err));
    d->shape = *shape;
    d->stage = (stlora_stage){.model = model, .lora = lora, .backend = backend, .act = act};
    lay_out(d);
    stlora_status status = stlora_alloc(&d->caches, (size_t)model->config.layers, sizeof *d->caches, "cache", err);
    if (status == STLORA_OK) status = stlora_arena_bind(&d->arena, "the cache of keys and values", err);
    if (status != STLORA_OK) {
        stlora_decoder_free(d);
        return status;
    }
    lay_out(d);
    if (!model->family->learned_positions) {
        stlora_rotation_fill(&d->rotation, &model->config, shape->row);
        d->stage.rotation = &d->rotation;
    }
    d->stage.ids = d->ids;
    d->stage.positions = d->positions;
    d->stage.segments = d->segments;
    *out = d;
    return STLORA_OK;
}

void stlora_decoder_free(stlora_decoder *decoder)
{
    if (!decoder) return;
    stlora_arena_free(&decoder->arena);
    stlora_free(decoder->caches);
    stlora_free(decoder);
}

void stlora_decoder_run(stlora_decoder *decoder, const stlora_decoder_piece *pieces, int64_t count)
{
    const stlora_decoder_shape *shape = &decoder->shape;
    int64_t tokens = 0;
    assert(count > 0 && count <= shape->pieces);
    for (int64_t p = 0; p < count; p++) {
        const stlora_decoder_piece *piece = &pieces[p];
        assert(piece->count > 0 && piece->count <= shape->tokens - tokens);
        assert(piece->past + piece->count <= shape->positions);
        assert(piece->first + piece->past + piece->count <= shape->cache);
        decoder->segments[p] = (stlora_segment){tokens, piece->count, piece->first, piece->past + piece->count};
        for (int64_t t = 0; t < piece->count; t++) {
            decoder->ids[tokens + t] = piece->ids[t];
            decoder->positions[tokens + t] = (int32_t)(piece->past + t);
        }
        tokens += piece->count;
    }
    decoder->stage.tokens = tokens;
    decoder->stage.segment_count = count;
    stlora_embed(&decoder->stage, decoder->x);
    for (int64_t l = 0; l < decoder->stage.model->config.layers; l++)
        stlora_block_forward(&decoder->stage, l, &decoder->acts, decoder->caches[l]);
}

const float *stlora_decoder_logits(stlora_decoder *decoder, const int64_t *at, int64_t count)
{
    assert(count <= decoder->shape.logits_rows);
    stlora_head_logits(&decoder->head, &decoder->stage, at, count);
    return decoder->head.logits;
}

/* Log-probabilities of `count` targets of one token's logits, or, rows apart, of one target each of as many tokens' logits. */
static void logprobs_of(const stlora_decoder *decoder, int64_t row, const int32_t *targets, int64_t count, bool apart,
                        float *logprob)
{
    const stlora_backend *backend = decoder->stage.backend;
    int64_t V = decoder->stage.model->config.vocab_size;
    backend->cross_entropy(backend, &(stlora_cross_entropy_args){.rows = count,
                                                                 .vocab = V,
                                                                 .logits = {decoder->head.logits + row * V, STLORA_F32,
                                                                            apart ? count : 1, V, apart ? V : 0},
                                                                 .targets = targets,
                                                                 .logprob = logprob});
}

void stlora_decoder_logprobs(stlora_decoder *decoder, const int64_t *at, const int32_t *targets, int64_t count,
                             float *logprob)
{
    int64_t *rows = decoder->rows, capacity = decoder->shape.logits_rows;
    for (int64_t from = 0, end; from < count; from = end) {
        int64_t held = 0;
        for (end = from; end < count; end++) {
            if (end > from && at[end] == at[end - 1]) continue;
            if (held == capacity) break;
            rows[held++] = at[end];
        }
        (void)stlora_decoder_logits(decoder, rows, held);
        int64_t row = 0;
        for (int64_t i = from, to; i < end; i = to) {
            for (to = i + 1; to < end && at[to] == at[i];)
                to++;
            bool apart = to == i + 1;
            while (apart && to < end && at[to] != at[to - 1] && (to + 1 == end || at[to + 1] != at[to]))
                to++;
            logprobs_of(decoder, row, targets + i, to - i, apart, logprob + i);
            row += apart ? to - i : 1;
        }
    }
}

void stlora_decoder_copy(stlora_decoder *decoder, int64_t from, int64_t to, int64_t count)
{
    const stlora_transformer *model = decoder->stage.model;
    size_t row = (size_t)cache_width(model) * stlora_dtype_size(decoder->stage.act);
    assert(from + count <= decoder->shape.cache && to + count <= decoder->shape.cache);
    for (int64_t l = 0; l < model->config.layers; l++) {
        char *rows = decoder->caches[l].rows;
        memcpy(rows + (size_t)to * row, rows + (size_t)from * row, (size_t)count * row);
    }
}

void stlora_decoder_rewind(stlora_decoder *decoder, int64_t count)
{
    assert(count >= 0 && count <= decoder->past);
    decoder->past = count;
}

int64_t stlora_decoder_held(const stlora_decoder *decoder)
{
    return decoder->past;
}

stlora_status stlora_decoder_feed(stlora_decoder *decoder, const int32_t *ids, int64_t count, const float **logits,
                                  stlora_error *err)
{
    const stlora_decoder_shape *shape = &decoder->shape;
    assert(count > 0 && shape->cache >= shape->positions);
    if (count > shape->positions - decoder->past)
        return stlora_fail(err, STLORA_E_UNSUPPORTED, "%lld tokens do not fit into a context of %lld",
                           (long long)(decoder->past + count), (long long)shape->positions);
    int64_t last = 0;
    for (int64_t from = 0; from < count; from += last + 1) {
        int64_t piece = count - from < shape->tokens ? count - from : shape->tokens;
        stlora_decoder_run(decoder, &(stlora_decoder_piece){0, decoder->past, piece, ids + from}, 1);
        decoder->past += piece;
        last = piece - 1;
    }
    *logits = stlora_decoder_logits(decoder, &last, 1);
    return STLORA_OK;
}
