/* family.c: the table of families. See family.h. */
#include "model/family.h"

#include <string.h>

/* What most families call their tensors. */
#define TREE .root = "model", .embed = "embed_tokens", .layers = "layers", .final_norm = "norm", .head = "lm_head"
#define PRE_NORMS .norms = {[STLORA_BEFORE_ATTENTION] = "input_layernorm", [STLORA_BEFORE_INNER] = "post_attention_layernorm"}
#define FOUR_NORMS                                                                                                     \
    .norms = {[STLORA_BEFORE_ATTENTION] = "input_layernorm", [STLORA_AFTER_ATTENTION] = "post_attention_layernorm",    \
              [STLORA_BEFORE_INNER] = "pre_feedforward_layernorm", [STLORA_AFTER_INNER] = "post_feedforward_layernorm"}
#define QK_NORMS .q_norm = "self_attn.q_norm", .k_norm = "self_attn.k_norm"
#define PARTED_MAPS                                                                                                    \
    .maps = {[STLORA_SITE_QKV] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},                         \
             [STLORA_SITE_O] = {"self_attn.o_proj"},                                                                   \
             [STLORA_SITE_UP] = {"mlp.gate_proj", "mlp.up_proj"},                                                      \
             [STLORA_SITE_DOWN] = {"mlp.down_proj"}}
#define SILU .activation = STLORA_ACT_SILU_GLU, .activation_names = {"silu", "swish"}
#define GELU_GLU                                                                                                       \
    .activation = STLORA_ACT_GELU_TANH_GLU, .activation_names = {"gelu_pytorch_tanh", "gelu_new", "gelu_fast"}
#define NO_BIAS {STLORA_BIAS_NONE, STLORA_BIAS_NONE, STLORA_BIAS_NONE, STLORA_BIAS_NONE}
#define ATTENTION_BIAS {STLORA_BIAS_ATTENTION, STLORA_BIAS_ATTENTION, STLORA_BIAS_NONE, STLORA_BIAS_NONE}
#define BOTH_BIASES {STLORA_BIAS_ATTENTION, STLORA_BIAS_ATTENTION, STLORA_BIAS_MLP, STLORA_BIAS_MLP}

static const stlora_family families[] = {
    {
        .model_type = "llama",
        .norm = STLORA_NORM_RMS,
        SILU,
        .layout = STLORA_OUT_IN,
        .bias = BOTH_BIASES,
        TREE,
        PRE_NORMS,
        PARTED_MAPS,
        .usual_targets = {"q_proj", "v_proj"},
    },
    {
        .model_type = "mistral",
        .norm = STLORA_NORM_RMS,
        SILU,
        .layout = STLORA_OUT_IN,
        .bias = NO_BIAS,
        TREE,
        PRE_NORMS,
        PARTED_MAPS,
        .usual_targets = {"q_proj", "v_proj"},
    },
    {
        .model_type = "qwen2",
        .norm = STLORA_NORM_RMS,
        SILU,
        .layout = STLORA_OUT_IN,
        .bias = {STLORA_BIAS_ALWAYS, STLORA_BIAS_NONE, STLORA_BIAS_NONE, STLORA_BIAS_NONE},
        TREE,
        PRE_NORMS,
        PARTED_MAPS,
        .usual_targets = {"q_proj", "v_proj"},
    },
    {
        .model_type = "qwen3",
        .norm = STLORA_NORM_RMS,
        .qk_norm = STLORA_QK_NORM_HEAD,
        SILU,
        .layout = STLORA_OUT_IN,
        .bias = ATTENTION_BIAS,
        TREE,
        PRE_NORMS,
        QK_NORMS,
        PARTED_MAPS,
        .usual_targets = {"q_proj", "v_proj"},
    },
    {
        .model_type = "gemma2",
        .norm = STLORA_NORM_RMS_ONE,
        GELU_GLU,
        .embed_by_root = true,
        .layout = STLORA_OUT_IN,
        .bias = ATTENTION_BIAS,
        TREE,
        FOUR_NORMS,
        PARTED_MAPS,
        .usual_targets = {"q_proj", "v_proj"},
    },
    {
        .model_type = "gemma3_text",
        .norm = STLORA_NORM_RMS_ONE,
        .qk_norm = STLORA_QK_NORM_HEAD,
        GELU_GLU,
        .embed_by_root = true,
        .layout = STLORA_OUT_IN,
        .bias = ATTENTION_BIAS,
        TREE,
        FOUR_NORMS,
        QK_NORMS,
        PARTED_MAPS,
        .usual_targets = {"q_proj", "v_proj"},
    },
    {
        .model_type = "phi3",
        .norm = STLORA_NORM_RMS,
        SILU,
        .layout = STLORA_OUT_IN,
        .bias = NO_BIAS,
        TREE,
        PRE_NORMS,
        .maps = {[STLORA_SITE_QKV] = {"self_attn.qkv_proj"},
                 [STLORA_SITE_O] = {"self_attn.o_proj"},
                 [STLORA_SITE_UP] = {"mlp.gate_up_proj"},
                 [STLORA_SITE_DOWN] = {"mlp.down_proj"}},
    },
    {
        .model_type = "smollm3",
        .norm = STLORA_NORM_RMS,
        SILU,
        .layout = STLORA_OUT_IN,
        .bias = BOTH_BIASES,
        TREE,
        PRE_NORMS,
        PARTED_MAPS,
    },
    {
        .model_type = "olmo2",
        .norm = STLORA_NORM_RMS,
        .qk_norm = STLORA_QK_NORM_FULL,
        SILU,
        .layout = STLORA_OUT_IN,
        .bias = ATTENTION_BIAS,
        TREE,
        .norms = {[STLORA_AFTER_ATTENTION] = "post_attention_layernorm",
                  [STLORA_AFTER_INNER] = "post_feedforward_layernorm"},
        QK_NORMS,
        PARTED_MAPS,
    },
    {
        .model_type = "granite",
        .norm = STLORA_NORM_RMS,
        SILU,
        .layout = STLORA_OUT_IN,
        .bias = BOTH_BIASES,
        TREE,
        PRE_NORMS,
        PARTED_MAPS,
    },
    {
        .model_type = "starcoder2",
        .norm = STLORA_NORM_LAYER,
        .activation = STLORA_ACT_GELU_TANH,
        .activation_names = {"gelu_pytorch_tanh", "gelu_new", "gelu_fast"},
        .layout = STLORA_OUT_IN,
        .bias = BOTH_BIASES,
        TREE,
        PRE_NORMS,
        .maps = {[STLORA_SITE_QKV] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                 [STLORA_SITE_O] = {"self_attn.o_proj"},
                 [STLORA_SITE_UP] = {"mlp.c_fc"},
                 [STLORA_SITE_DOWN] = {"mlp.c_proj"}},
    },
    {
        .model_type = "gpt2",
        .norm = STLORA_NORM_LAYER,
        .activation = STLORA_ACT_GELU_TANH,
        .activation_names = {"gelu_new", "gelu_pytorch_tanh", "gelu_fast"},
        .learned_positions = true,
        .layout = STLORA_IN_OUT,
        .bias = {STLORA_BIAS_ALWAYS, STLORA_BIAS_ALWAYS, STLORA_BIAS_ALWAYS, STLORA_BIAS_ALWAYS},
        .root = "transformer",
        .embed = "wte",
        .positions = "wpe",
        .layers = "h",
        .final_norm = "ln_f",
        .head = "lm_head",
        .norms = {[STLORA_BEFORE_ATTENTION] = "ln_1", [STLORA_BEFORE_INNER] = "ln_2"},
        .maps = {[STLORA_SITE_QKV] = {"attn.c_attn"},
                 [STLORA_SITE_O] = {"attn.c_proj"},
                 [STLORA_SITE_UP] = {"mlp.c_fc"},
                 [STLORA_SITE_DOWN] = {"mlp.c_proj"}},
        .usual_targets = {"c_attn"},
    },
};

const stlora_family *stlora_family_find(const char *model_type)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(families[i].model_type, model_type) == 0) return &families[i];
    return NULL;
}
