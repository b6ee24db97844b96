/* hf_config.h: a Hugging Face config.json (+ generation_config.json) as plain numbers, in either wording.
 *
 * Not here: what a family makes of them (model/family.h). A key that is absent takes Transformers' default for the family;
 * a key that is present is type- and range-checked. Tests: tests/formats/test_hf_config.c.
 */
#ifndef STLORA_FORMATS_HF_CONFIG_H
#define STLORA_FORMATS_HF_CONFIG_H

#include <jansson.h>

#include "base/error.h"
#include "tensor/dtype.h"

enum { STLORA_MAX_EOS = 16, STLORA_MAX_LAYERS = 1024, STLORA_MAX_ROPE_PAIRS = 128 };

typedef enum stlora_rope_kind {
    STLORA_ROPE_DEFAULT,
    STLORA_ROPE_LINEAR,
    STLORA_ROPE_DYNAMIC,
    STLORA_ROPE_LLAMA3,
    STLORA_ROPE_YARN,
    STLORA_ROPE_LONGROPE
} stlora_rope_kind;

/* stlora_rope_kind_name: as config.json writes it. */
const char *stlora_rope_kind_name(stlora_rope_kind kind);

/* Rotary positions. Formulas: model/rope.h. */
typedef struct stlora_rope {
    stlora_rope_kind kind;
    double theta;                                 /* 0 where positions are learned (GPT-2) */
    int64_t dim;                                  /* elements of a head that are rotated, from its first on; even */
    double factor;                                /* all kinds but default */
    double low_freq_factor, high_freq_factor;     /* llama3 */
    double beta_fast, beta_slow;                  /* yarn */
    bool truncate;                                /* yarn */
    double attention_factor;                      /* cosines and sines are multiplied by it: yarn, longrope; otherwise 1 */
    int64_t original_positions;                   /* llama3, yarn, longrope; dynamic: max_positions */
    double short_factor[STLORA_MAX_ROPE_PAIRS];   /* longrope: [dim/2] */
    double long_factor[STLORA_MAX_ROPE_PAIRS];
} stlora_rope;

/* The two types of layers, as layer_types names them. */
typedef enum stlora_layer_type { STLORA_LAYER_FULL, STLORA_LAYER_SLIDING, STLORA_LAYER_TYPES } stlora_layer_type;

/* A set of layers: bit l % 64 of word l / 64. */
typedef struct stlora_layer_set {
    uint64_t words[STLORA_MAX_LAYERS / 64];
} stlora_layer_set;

static inline bool stlora_layer_in(const stlora_layer_set *set, int64_t layer)
{
    return set->words[layer / 64] >> (layer % 64) & 1;
}

typedef struct stlora_hf_config {
    char model_type[64];
    int64_t vocab_size, hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, max_positions;
    double norm_eps;
    stlora_rope rope[STLORA_LAYER_TYPES];     /* by type of layer where rope_by_type; otherwise the first is everybody's */
    bool rope_by_type;
    stlora_layer_set without_rope;            /* layers whose queries and keys are not rotated */
    stlora_layer_set sliding;                 /* layers of type sliding_attention */
    int64_t window;                           /* keys that a query of these sees, its own included; 0 = all */
    double attention_scale;                   /* of q.k; 0 = head_dim^-1/2 */
    double attention_softcap, logits_softcap; /* 0 = none */
    double embedding_multiplier, residual_multiplier, logits_scaling; /* 1 = none; logits are divided by theirs */
    char activation[32];                      /* hidden_act / activation_function, as written */
    bool tie_embeddings, attention_bias, mlp_bias;
    int32_t bos;                              /* -1 = none */
    int32_t eos[STLORA_MAX_EOS];              /* generation_config.json's where it has them, else config.json's */
    int eos_count;
    stlora_dtype dtype;                       /* dtype / torch_dtype; F32 when absent */
} stlora_hf_config;

/* stlora_hf_config_load: reads dir/config.json (and dir/generation_config.json where present).
 *
 * Both wordings are read alike: `rope_parameters` {rope_theta, rope_type, ...}, for some families one for each type of layer, or `rope_theta`
 * + `rope_scaling` {rope_type or type, ...}; `dtype` or `torch_dtype`; n_embd, n_layer, n_head, n_positions, n_inner,
 * layer_norm_epsilon, activation_function for GPT-2. `head_dim` null = hidden/heads; `num_key_value_heads` null = heads;
 * `n_inner` null = 4 x hidden; `eos_token_id` a number or a list.
 * Which model_types and keys are known: hf_family.c, in words docs/MODELS.md. Another model_type, an option that the engine does not
 * implement and a key that nobody here knows are STLORA_E_UNSUPPORTED by name. Wrong type, zero or negative or absurd (> 2^31) sizes, hidden
 * not divisible by heads without head_dim, heads not divisible by kv heads, odd head_dim with RoPE: STLORA_E_FORMAT with file and key,
 * wanted, found. */
STLORA_NODISCARD stlora_status stlora_hf_config_load(stlora_hf_config *out, const char *dir,
                                                     stlora_error *err);

/* stlora_hf_config_parse: the same for a config.json at any path (no generation_config). For tests of the two wordings. */
STLORA_NODISCARD stlora_status stlora_hf_config_parse(stlora_hf_config *out, const char *path,
                                                      stlora_error *err);

#endif
