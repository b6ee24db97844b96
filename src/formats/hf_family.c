/* hf_family.c: the families' keys and defaults. Source: the configuration classes of Transformers 5.23. See hf_family.h. */
#include "formats/hf_family.h"

#include <stdio.h>
#include <string.h>

/* Keys of every family, beside those that a row names. */
static const char *const common_keys[] = {"model_type",          "vocab_size",         "tie_word_embeddings", "bos_token_id",
                                          "eos_token_id",        "dtype",              "torch_dtype",         "layer_types",
                                          "quantization_config", "compression_config", "is_causal",           NULL};
static const char *const rotary_keys[] = {"num_key_value_heads", "head_dim",
                                          "rope_parameters",     "rope_scaling",
                                          "rope_theta",          "partial_rotary_factor",
                                          "pretraining_tp",      "original_max_position_embeddings",
                                          NULL};

/* Of no consequence for what a trained model computes: how it was or will be trained, generated with, stored, or shown. */
static const char *const idle_keys[] = {
    "architectures", "transformers_version", "auto_map", "use_cache", "cache_implementation", "initializer_range",
    "attention_dropout", "hidden_dropout", "hidden_dropout_prob", "attn_pdrop", "embd_pdrop", "resid_pdrop",
    "residual_dropout", "embedding_dropout", "gradient_checkpointing", "pad_token_id", "unk_token_id", "sep_token_id",
    "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "tokenizer_class", "model_max_length",
    "attn_implementation", "use_flash_attn", "use_bfloat16", "torchscript", "output_attentions",
    "output_hidden_states", "output_scores", "return_dict", "return_dict_in_generate", "id2label", "label2id",
    "num_labels", "problem_type", "finetuning_task", "task_specific_params", "prefix", "chunk_size_feed_forward",
    "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty",
    "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "num_return_sequences", "bad_words_ids", "suppress_tokens",
    "begin_suppress_tokens", "exponential_decay_length_penalty", "remove_invalid_values", "unsloth_fixed",
    "unsloth_version", "transformers.js_config", NULL};

static const char *const none[] = {NULL};
static const char *const llama_options[] = {"attention_bias", "mlp_bias", NULL};
static const char *const llama_idle[] = {"is_llama_config", "max_sequence_length", NULL};
static const char *const window_options[] = {"sliding_window", NULL};
static const char *const qwen2_options[] = {"use_sliding_window", "sliding_window", "max_window_layers", NULL};
static const char *const qwen3_options[] = {"use_sliding_window", "sliding_window", "max_window_layers", "attention_bias",
                                            NULL};
static const char *const phi3_idle[] = {"full_attn_mod", "interpolate_factor", NULL};
static const char *const smollm3_options[] = {"use_sliding_window",     "sliding_window", "no_rope_layers",
                                              "no_rope_layer_interval", "attention_bias", "mlp_bias",
                                              NULL};
static const char *const smollm3_idle[] = {"max_window_layers", "pretraining_tp", NULL};
static const char *const olmo2_options[] = {"attention_bias", NULL};
static const char *const gemma2_options[] = {"attention_bias",
                                             "sliding_window",
                                             "query_pre_attn_scalar",
                                             "attn_logit_softcapping",
                                             "final_logit_softcapping",
                                             "use_bidirectional_attention",
                                             NULL};
static const char *const gemma2_idle[] = {"hidden_act", NULL}; /* hidden_activation is read */
static const char *const gemma3_idle[] = {"hidden_act", "attn_logit_softcapping", NULL}; /* its class keeps the cap and never applies it */
static const char *const gemma3_options[] = {"attention_bias",
                                             "sliding_window",
                                             "query_pre_attn_scalar",
                                             "final_logit_softcapping",
                                             "use_bidirectional_attention",
                                             "sliding_window_pattern",
                                             "rope_local_base_freq",
                                             NULL};
static const char *const granite_options[] = {"attention_bias",       "mlp_bias",        "attention_multiplier",
                                              "embedding_multiplier", "logits_scaling", "residual_multiplier",
                                              NULL};
static const char *const starcoder2_options[] = {"sliding_window", "use_bias", NULL};
static const char *const starcoder2_idle[] = {"activation_function",
                                              "attention_softmax_in_fp32",
                                              "scale_attention_softmax_in_fp32",
                                              "scale_attn_weights",
                                              "layer_norm_epsilon",
                                              "norm_type",
                                              "mlp_type",
                                              NULL};
static const char *const gpt2_options[] = {"scale_attn_weights", "scale_attn_by_inverse_layer_idx", "add_cross_attention",
                                           "reorder_and_upcast_attn", NULL};
static const char *const gpt2_idle[] = {"n_ctx",
                                        "summary_activation",
                                        "summary_first_dropout",
                                        "summary_proj_to_labels",
                                        "summary_type",
                                        "summary_use_proj",
                                        NULL};

#define ROTARY_NAMES                                                                                                   \
    .hidden = "hidden_size", .inner = "intermediate_size", .layers = "num_hidden_layers",                              \
    .heads = "num_attention_heads", .positions = "max_position_embeddings", .rotary = true
#define NO_MULTIPLIERS .embedding_multiplier = 1, .residual_multiplier = 1, .logits_scaling = 1

static const stlora_hf_family families[] = {
    {
        .name = "llama",
        ROTARY_NAMES,
        .activation = "hidden_act",
        .eps = "rms_norm_eps",
        .options = llama_options,
        .idle = llama_idle,
        .defaults = {.vocab_size = 32000,
                     .hidden_size = 4096,
                     .intermediate_size = 11008,
                     .layers = 32,
                     .heads = 32,
                     .max_positions = 2048,
                     .norm_eps = 1e-6,
                     .rope[0].theta = 10000.0,
                     NO_MULTIPLIERS,
                     .activation = "silu",
                     .bos = 1,
                     .eos = {2},
                     .eos_count = 1},
    },
    {
        .name = "mistral",
        ROTARY_NAMES,
        .activation = "hidden_act",
        .eps = "rms_norm_eps",
        .window = STLORA_WINDOW_ALL,
        .options = window_options,
        .idle = none,
        .defaults = {.vocab_size = 32000,
                     .hidden_size = 4096,
                     .intermediate_size = 14336,
                     .layers = 32,
                     .heads = 32,
                     .kv_heads = 8,
                     .max_positions = 131072,
                     .norm_eps = 1e-6,
                     .rope[0].theta = 10000.0,
                     .window = 4096,
                     NO_MULTIPLIERS,
                     .activation = "silu",
                     .bos = 1,
                     .eos = {2},
                     .eos_count = 1},
    },
    {
        .name = "qwen2",
        ROTARY_NAMES,
        .activation = "hidden_act",
        .eps = "rms_norm_eps",
        .window = STLORA_WINDOW_FROM,
        .options = qwen2_options,
        .idle = none,
        .defaults = {.vocab_size = 151936,
                     .hidden_size = 4096,
                     .intermediate_size = 22016,
                     .layers = 32,
                     .heads = 32,
                     .kv_heads = 32,
                     .max_positions = 32768,
                     .norm_eps = 1e-6,
                     .rope[0].theta = 10000.0,
                     .window = 4096,
                     NO_MULTIPLIERS,
                     .activation = "silu",
                     .bos = -1},
    },
    {
        .name = "qwen3",
        ROTARY_NAMES,
        .activation = "hidden_act",
        .eps = "rms_norm_eps",
        .window = STLORA_WINDOW_FROM,
        .options = qwen3_options,
        .idle = none,
        .defaults = {.vocab_size = 151936,
                     .hidden_size = 4096,
                     .intermediate_size = 22016,
                     .layers = 32,
                     .heads = 32,
                     .kv_heads = 32,
                     .head_dim = 128,
                     .max_positions = 32768,
                     .norm_eps = 1e-6,
                     .rope[0].theta = 10000.0,
                     .window = 4096,
                     NO_MULTIPLIERS,
                     .activation = "silu",
                     .bos = -1},
    },
    {
        .name = "gemma2",
        ROTARY_NAMES,
        .eps = "rms_norm_eps",
        .activation = "hidden_activation",
        .window = STLORA_WINDOW_PATTERN,
        .pattern = 2,
        .attention_scalar = 256,
        .options = gemma2_options,
        .idle = gemma2_idle,
        .defaults = {.vocab_size = 256000,
                     .hidden_size = 2304,
                     .intermediate_size = 9216,
                     .layers = 26,
                     .heads = 8,
                     .kv_heads = 4,
                     .head_dim = 256,
                     .max_positions = 8192,
                     .norm_eps = 1e-6,
                     .rope[0].theta = 10000.0,
                     .window = 4096,
                     .attention_softcap = 50,
                     .logits_softcap = 30,
                     NO_MULTIPLIERS,
                     .activation = "gelu_pytorch_tanh",
                     .tie_embeddings = true,
                     .bos = 2,
                     .eos = {1},
                     .eos_count = 1},
    },
    {
        .name = "gemma3_text",
        ROTARY_NAMES,
        .eps = "rms_norm_eps",
        .activation = "hidden_activation",
        .window = STLORA_WINDOW_PATTERN,
        .pattern = 6,
        .rope_by_type = true,
        .attention_scalar = 256,
        .options = gemma3_options,
        .idle = gemma3_idle,
        .defaults = {.vocab_size = 262208,
                     .hidden_size = 2304,
                     .intermediate_size = 9216,
                     .layers = 26,
                     .heads = 8,
                     .kv_heads = 4,
                     .head_dim = 256,
                     .max_positions = 131072,
                     .norm_eps = 1e-6,
                     .rope = {{.theta = 1000000.0}, {.theta = 10000.0}},
                     .window = 4096,
                     NO_MULTIPLIERS,
                     .activation = "gelu_pytorch_tanh",
                     .tie_embeddings = true,
                     .bos = 2,
                     .eos = {1},
                     .eos_count = 1},
    },
    {
        .name = "phi3",
        ROTARY_NAMES,
        .activation = "hidden_act",
        .eps = "rms_norm_eps",
        .partial_rotary = true,
        .only_longrope = true,
        .window = STLORA_WINDOW_ALL,
        .options = window_options,
        .idle = phi3_idle,
        .defaults = {.vocab_size = 32064,
                     .hidden_size = 3072,
                     .intermediate_size = 8192,
                     .layers = 32,
                     .heads = 32,
                     .max_positions = 4096,
                     .norm_eps = 1e-5,
                     .rope[0] = {.theta = 10000.0, .original_positions = 4096},
                     NO_MULTIPLIERS,
                     .activation = "silu",
                     .bos = 1,
                     .eos = {32000},
                     .eos_count = 1},
    },
    {
        .name = "smollm3",
        ROTARY_NAMES,
        .activation = "hidden_act",
        .eps = "rms_norm_eps",
        .window = STLORA_WINDOW_WITHOUT_ROPE,
        .options = smollm3_options,
        .idle = smollm3_idle,
        .defaults = {.vocab_size = 128256,
                     .hidden_size = 2048,
                     .intermediate_size = 11008,
                     .layers = 36,
                     .heads = 16,
                     .kv_heads = 4,
                     .max_positions = 32768,
                     .norm_eps = 1e-6,
                     .rope[0].theta = 2000000.0,
                     NO_MULTIPLIERS,
                     .activation = "silu",
                     .tie_embeddings = true,
                     .bos = 128000,
                     .eos = {128001},
                     .eos_count = 1},
    },
    {
        .name = "olmo2",
        ROTARY_NAMES,
        .activation = "hidden_act",
        .eps = "rms_norm_eps",
        .options = olmo2_options,
        .idle = none,
        .defaults = {.vocab_size = 50304,
                     .hidden_size = 4096,
                     .intermediate_size = 11008,
                     .layers = 32,
                     .heads = 32,
                     .max_positions = 2048,
                     .norm_eps = 1e-5,
                     .rope[0].theta = 10000.0,
                     NO_MULTIPLIERS,
                     .activation = "silu",
                     .bos = -1,
                     .eos = {50279},
                     .eos_count = 1},
    },
    {
        .name = "granite",
        ROTARY_NAMES,
        .activation = "hidden_act",
        .eps = "rms_norm_eps",
        .options = granite_options,
        .idle = none,
        .defaults = {.vocab_size = 32000,
                     .hidden_size = 4096,
                     .intermediate_size = 11008,
                     .layers = 32,
                     .heads = 32,
                     .max_positions = 2048,
                     .norm_eps = 1e-6,
                     .rope[0].theta = 10000.0,
                     .attention_scale = 1,
                     NO_MULTIPLIERS,
                     .activation = "silu",
                     .bos = 1,
                     .eos = {2},
                     .eos_count = 1},
    },
    {
        .name = "starcoder2",
        ROTARY_NAMES,
        .activation = "hidden_act",
        .eps = "norm_epsilon",
        .window = STLORA_WINDOW_ALL,
        .options = starcoder2_options,
        .idle = starcoder2_idle,
        .defaults = {.vocab_size = 49152,
                     .hidden_size = 3072,
                     .intermediate_size = 12288,
                     .layers = 30,
                     .heads = 24,
                     .kv_heads = 2,
                     .max_positions = 4096,
                     .norm_eps = 1e-5,
                     .rope[0].theta = 10000.0,
                     NO_MULTIPLIERS,
                     .activation = "gelu_pytorch_tanh",
                     .tie_embeddings = true,
                     .attention_bias = true,
                     .mlp_bias = true,
                     .bos = 50256,
                     .eos = {50256},
                     .eos_count = 1},
    },
    {
        .name = "gpt2",
        .hidden = "n_embd",
        .inner = "n_inner",
        .layers = "n_layer",
        .heads = "n_head",
        .positions = "n_positions",
        .eps = "layer_norm_epsilon",
        .activation = "activation_function",
        .options = gpt2_options,
        .idle = gpt2_idle,
        .defaults = {.vocab_size = 50257,
                     .hidden_size = 768,
                     .layers = 12,
                     .heads = 12,
                     .max_positions = 1024,
                     .norm_eps = 1e-5,
                     NO_MULTIPLIERS,
                     .activation = "gelu_new",
                     .tie_embeddings = true,
                     .bos = 50256,
                     .eos = {50256},
                     .eos_count = 1},
    },
};
enum { FAMILIES = sizeof families / sizeof families[0] };

/* "llama, mistral and qwen2" */
static const char *all_names(char text[512])
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < FAMILIES; i++) {
        const char *before = i == 0 ? "" : i + 1 < FAMILIES ? ", " : " and ";
        used += (size_t)snprintf(text + used, 512 - used, "%s%s", before, families[i].name);
    }
    return text;
}

stlora_status stlora_hf_family_of(const stlora_fields *f, const stlora_hf_family **out, stlora_error *err)
{
    const json_t *value = json_object_get(f->object, "model_type");
    const char *name = stlora_json_text(value);
    char names[512];
    if (!name) return stlora_field_refused(f, "model_type", "a family's name", value, err);
    for (size_t i = 0; i < FAMILIES; i++) {
        if (strcmp(families[i].name, name) == 0) {
            *out = &families[i];
            return STLORA_OK;
        }
    }
    return stlora_field_unsupported(f, "model_type", value, all_names(names), err);
}

static bool among(const char *const *keys, const char *key)
{
    for (; *keys; keys++)
        if (strcmp(*keys, key) == 0) return true;
    return false;
}

bool stlora_hf_reads(const stlora_hf_family *family, const char *key)
{
    return among(family->options, key);
}

bool stlora_hf_idle(const stlora_hf_family *family, const char *key)
{
    return among(idle_keys, key) || among(family->idle, key);
}

static bool says_nothing(const char *key, const json_t *value)
{
    if (key[0] == '_' || json_is_null(value) || json_is_false(value)) return true;
    if (json_is_string(value)) return json_string_length(value) == 0;
    return (json_is_array(value) && json_array_size(value) == 0) || (json_is_object(value) && json_object_size(value) == 0);
}

stlora_status stlora_hf_check_keys(const stlora_fields *f, const stlora_hf_family *family, stlora_error *err)
{
    const char *const named[] = {family->hidden,    family->inner, family->layers,     family->heads,
                                 family->positions, family->eps,   family->activation, NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)f->object, key, value)
    {
        if (says_nothing(key, value) || among(common_keys, key) || among(named, key) ||
            among(family->options, key) || stlora_hf_idle(family, key) ||
            (family->rotary && among(rotary_keys, key)))
            continue;
        return stlora_fail(err, STLORA_E_UNSUPPORTED,
                           "%s: \"%.80s\" is not known for model_type \"%s\" and might change what the model computes", f->path,
                           key, family->name);
    }
    return STLORA_OK;
}
