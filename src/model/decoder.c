/* decoder.c: the blocks over a few new tokens against the cache. Long prompts go through in pieces of at most PIECE tokens. */
#include "model/decoder.h"

#include <assert.h>

#include "base/memory.h"
#include "model/head.h"
#include "model/rope.h"

enum { PIECE = 256 };

struct stlora_decoder {
    stlora_stage stage;
    stlora_block_acts acts;
    stlora_head head;
    stlora_kv_cache *caches; /* [layers] */
    float *x, *cosines, *sines;
    int32_t *positions;
    stlora_segment segment;
    int64_t max_positions, past;
    stlora_arena arena;
};

static void lay_out(stlora_decoder *d)
{
    const stlora_transformer *model = d->stage.model;
    const stlora_hf_config *c = &model->config;
    stlora_arena *arena = &d->arena;
    size_t act = stlora_dtype_size(d->stage.act), P = PIECE;
    d->x = stlora_arena_take(arena, P * (size_t)c->hidden_size, sizeof(float));
    d->acts = (stlora_block_acts){.x_in = d->x, .x_mid = d->x, .x_out = d->x};
    d->acts.stats1 = d->acts.stats2 = stlora_arena_take(arena, P * 2, sizeof(float));
    d->acts.qkv = stlora_arena_take(arena, P * (size_t)stlora_qkv_width(c), act);
    d->acts.o = stlora_arena_take(arena, P * (size_t)(c->heads * c->head_dim), act);
    d->acts.lse = stlora_arena_take(arena, P * (size_t)c->heads, sizeof(float));
    d->acts.up = stlora_arena_take(arena, P * (size_t)stlora_up_width(model), act);
    d->stage.h = stlora_arena_take(arena, P * (size_t)c->hidden_size, act);
    d->stage.a = stlora_arena_take(arena, P * (size_t)c->intermediate_size, act);
    d->positions = stlora_arena_take(arena, P, sizeof *d->positions);
    if (!model->family->learned_positions) {
        size_t table = (size_t)(d->max_positions * (c->head_dim / 2));
        d->cosines = stlora_arena_take(arena, table, sizeof(float));
        d->sines = stlora_arena_take(arena, table, sizeof(float));
    }
    int64_t largest = 0;
    for (size_t i = 0; d->stage.lora && i < d->stage.lora->count; i++)
        if (d->stage.lora->maps[i].r > largest) largest = d->stage.lora->maps[i].r;
    float *lowrank = stlora_arena_take(arena, P * (size_t)largest, sizeof(float));
    for (int s = 0; s < STLORA_SITE_COUNT; s++)
        for (int k = 0; k < STLORA_MAPS_PER_SITE; k++)
            d->acts.lowrank[s][k] = lowrank;
    stlora_head_lay_out(&d->head, &d->stage, arena, 1, false);
    d->head.x = d->x;
    size_t layer = (size_t)(d->max_positions * 2 * c->kv_heads * c->head_dim);
    for (int64_t l = 0; l < c->layers; l++) {
        void *rows = stlora_arena_take(arena, layer, act);
        if (d->caches) d->caches[l].rows = rows;
    }
}

stlora_status stlora_decoder_create(stlora_decoder **out, const stlora_transformer *model, const stlora_lora *lora,
                                    const stlora_backend *backend, stlora_dtype act, int64_t max_positions,
                                    stlora_error *err)
{
    stlora_decoder *d;
    if (model->family->learned_positions && max_positions > model->config.max_positions)
        return stlora_fail(err, STLORA_E_UNSUPPORTED, "%lld tokens are more than the model's %lld learned positions",
                           (long long)max_positions, (long long)model->config.max_positions);
    STLORA_TRY(stlora_alloc(&d, 1, sizeof *d, "decoder", err));
    d->stage = (stlora_stage){.model = model, .lora = lora, .backend = backend, .act = act};
    d->max_positions = max_positions;
    lay_out(d);
    stlora_status status = stlora_alloc(&d->caches, (size_t)model->config.layers, sizeof *d->caches, "cache", err);
    if (status == STLORA_OK) status = stlora_arena_bind(&d->arena, "the cache of keys and values", err);
    if (status != STLORA_OK) {
        stlora_decoder_free(d);
        return status;
    }
    lay_out(d);
    if (d->cosines) stlora_rope_tables(&model->config, max_positions, d->cosines, d->sines);
    d->stage.cosines = d->cosines;
    d->stage.sines = d->sines;
    d->stage.positions = d->positions;
    d->stage.segments = &d->segment;
    d->stage.segment_count = 1;
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

void stlora_decoder_reset(stlora_decoder *decoder)
{
    decoder->past = 0;
}

static void feed_piece(stlora_decoder *d, const int32_t *ids, int64_t count)
{
    d->stage.tokens = count;
    d->stage.ids = ids;
    for (int64_t t = 0; t < count; t++)
        d->positions[t] = (int32_t)(d->past + t);
    d->segment = (stlora_segment){0, count, 0, d->past + count};
    stlora_embed(&d->stage, d->x);
    for (int64_t l = 0; l < d->stage.model->config.layers; l++) {
        d->caches[l].past = d->past;
        stlora_block_forward(&d->stage, l, &d->acts, d->caches[l]);
    }
    d->past += count;
}

stlora_status stlora_decoder_feed(stlora_decoder *decoder, const int32_t *ids, int64_t count, const float **logits,
                                  stlora_error *err)
{
    assert(count > 0);
    if (count > decoder->max_positions - decoder->past)
        return stlora_fail(err, STLORA_E_UNSUPPORTED, "%lld tokens do not fit into a context of %lld",
                           (long long)(decoder->past + count), (long long)decoder->max_positions);
    int64_t last = 0;
    for (int64_t from = 0; from < count; from += PIECE) {
        int64_t piece = count - from < PIECE ? count - from : PIECE;
        feed_piece(decoder, ids + from, piece);
        last = piece - 1;
    }
    stlora_head_logits(&decoder->head, &decoder->stage, &last, 1);
    *logits = decoder->head.logits;
    return STLORA_OK;
}
