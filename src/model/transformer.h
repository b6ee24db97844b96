/* transformer.h: a frozen base: a checkpoint's tensors bound to the places of the block, read in place from the mapping.
 *
 * Owns the mappings and nothing as large as a weight. Read-only after opening: several adapters and threads may share one.
 * Test: tests/model/test_transformer.c, tests/train/test_golden_models.c.
 */
#ifndef STLORA_MODEL_TRANSFORMER_H
#define STLORA_MODEL_TRANSFORMER_H

#include "formats/safetensors.h"
#include "model/family.h"

/* A weight vector or table in the mapping. */
typedef struct stlora_weight {
    const void *data; /* NULL = not there (an absent bias) */
    stlora_dtype dtype;
} stlora_weight;

/* One frozen linear map, y = x W^T + bias: n inputs, m outputs. */
typedef struct stlora_linear {
    char *name;    /* full dotted module name: "model.layers.0.self_attn.q_proj"; PEFT's too */
    size_t id;     /* position among the model's maps: layer by layer, site by site; the head is last */
    int64_t layer; /* -1 for the head */
    int64_t n, m;
    stlora_weight weight, bias;
    stlora_layout layout;
    int64_t column; /* where its output begins in the site's output */
} stlora_linear;

typedef struct stlora_place {
    stlora_linear maps[STLORA_MAPS_PER_SITE];
    int count;
    int64_t n, m; /* common input width; width of all outputs together */
} stlora_place;

typedef struct stlora_norm_weights {
    stlora_weight w, b;
} stlora_norm_weights;

typedef struct stlora_block {
    stlora_norm_weights norms[STLORA_NORM_PLACES]; /* w.data NULL = none there */
    stlora_norm_weights q_norm, k_norm;            /* likewise */
    stlora_place sites[STLORA_SITE_COUNT];
    int64_t window; /* keys that a query sees, its own included; 0 = all */
    int rope;       /* which of the rotary tables; -1 = queries and keys are not rotated */
} stlora_block;

typedef struct stlora_transformer {
    stlora_hf_config config;
    const stlora_family *family;
    stlora_safetensors *files;
    stlora_weight embed, positions; /* [V, C], [P, C] */
    stlora_norm_weights final_norm;
    stlora_linear head;   /* [V, C]; tied: the embedding's memory, layout OUT_IN */
    stlora_block *blocks; /* [layers] */
    size_t linear_count;  /* maps of all blocks and the head */
    int64_t parameters;
    double embed_scale, attention_scale; /* of embeddings; of q.k */
} stlora_transformer;

/* stlora_transformer_open: reads dir/config.json, maps the weights, binds every tensor and checks its shape. Creates; pair with
 * _close. STLORA_E_FORMAT: a tensor is missing or has another shape than config.json says; STLORA_E_UNSUPPORTED: family, option, or a
 * dtype other than F32, F16 and BF16. */
STLORA_NODISCARD stlora_status stlora_transformer_open(stlora_transformer **out, const char *dir, stlora_error *err);
void stlora_transformer_close(stlora_transformer *model);

/* stlora_transformer_linear: map by id, id < linear_count; borrowed. */
const stlora_linear *stlora_transformer_linear(const stlora_transformer *model, size_t id);

#endif
