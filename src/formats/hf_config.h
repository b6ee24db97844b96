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

enum { STLORA_MAX_EOS = 16 };

typedef enum stlora_rope_kind { STLORA_ROPE_DEFAULT, STLORA_ROPE_LLAMA3 } stlora_rope_kind;

typedef struct stlora_hf_config {
    char model_type[64];
    int64_t vocab_size, hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, max_positions;
    double norm_eps;
    double rope_theta;                        /* 0 where positions are learned (GPT-2) */
    stlora_rope_kind rope_kind;
    double rope_factor, rope_low_freq_factor, rope_high_freq_factor; /* llama3 only */
    int64_t rope_original_positions;                                  /* llama3 only */
    char activation[32];                      /* hidden_act / activation_function, as written */
    bool tie_embeddings, attention_bias, mlp_bias;
    int32_t bos;                              /* -1 = none */
    int32_t eos[STLORA_MAX_EOS];              /* generation_config.json's where it has them, else config.json's */
    int eos_count;
    stlora_dtype dtype;                       /* dtype / torch_dtype; F32 when absent */
} stlora_hf_config;

/* stlora_hf_config_load: reads dir/config.json (and dir/generation_config.json where present).
 *
 * Both wordings are read alike: `rope_parameters` {rope_theta, rope_type, ...} or `rope_theta` + `rope_scaling`
 * {rope_type or type, ...}; `dtype` or `torch_dtype`; n_embd, n_layer, n_head, n_positions, n_inner,
 * layer_norm_epsilon, activation_function for GPT-2. `head_dim` null = hidden/heads; `num_key_value_heads` null = heads;
 * `n_inner` null = 4 x hidden; `eos_token_id` a number or a list.
 * Known model_types here: llama, qwen2, gpt2; another one is STLORA_E_UNSUPPORTED by name. Options that would change the result
 * and that the engine does not implement (rope types other than default and llama3, use_sliding_window true, qwen2 layer_types
 * other than full_attention, pretraining_tp != 1, scale_attn_by_inverse_layer_idx, reorder_and_upcast_attn true is harmless in
 * float32, scale_attn_weights false, add_cross_attention true, quantization_config, partial_rotary_factor != 1 ...) are
 * STLORA_E_UNSUPPORTED by name. Wrong type, zero or negative or absurd (> 2^31) sizes, hidden not divisible by heads without
 * head_dim, heads not divisible by kv heads, odd head_dim with RoPE: STLORA_E_FORMAT with file and key, wanted, found. */
STLORA_NODISCARD stlora_status stlora_hf_config_load(stlora_hf_config *out, const char *dir,
                                                     stlora_error *err);

/* stlora_hf_config_parse: the same for a config.json at any path (no generation_config). For tests of the two wordings. */
STLORA_NODISCARD stlora_status stlora_hf_config_parse(stlora_hf_config *out, const char *path,
                                                      stlora_error *err);

#endif
