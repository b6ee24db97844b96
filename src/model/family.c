/* family.c: the table of families. See family.h. */
#include "model/family.h"

#include <string.h>

#define LLAMA_NAMES                                                                                                    \
    .root = "model", .embed = "embed_tokens", .layers = "layers", .final_norm = "norm", .head = "lm_head",             \
    .usual_targets = {"q_proj", "v_proj"}, .norm1 = "input_layernorm", .norm2 = "post_attention_layernorm",            \
    .maps = {[STLORA_SITE_QKV] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},                         \
             [STLORA_SITE_O] = {"self_attn.o_proj"},                                                                   \
             [STLORA_SITE_UP] = {"mlp.gate_proj", "mlp.up_proj"},                                                      \
             [STLORA_SITE_DOWN] = {"mlp.down_proj"}}

static const stlora_family families[] = {
    {
        .model_type = "llama",
        .norm = STLORA_NORM_RMS,
        .activation = STLORA_ACT_SILU_GLU,
        .activation_names = {"silu", "swish"},
        .layout = STLORA_OUT_IN,
        .bias = {STLORA_BIAS_ATTENTION, STLORA_BIAS_ATTENTION, STLORA_BIAS_MLP, STLORA_BIAS_MLP},
        LLAMA_NAMES,
    },
    {
        .model_type = "qwen2",
        .norm = STLORA_NORM_RMS,
        .activation = STLORA_ACT_SILU_GLU,
        .activation_names = {"silu", "swish"},
        .layout = STLORA_OUT_IN,
        .bias = {STLORA_BIAS_ALWAYS, STLORA_BIAS_NONE, STLORA_BIAS_NONE, STLORA_BIAS_NONE},
        LLAMA_NAMES,
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
        .usual_targets = {"c_attn"},
        .norm1 = "ln_1",
        .norm2 = "ln_2",
        .maps = {[STLORA_SITE_QKV] = {"attn.c_attn"},
                 [STLORA_SITE_O] = {"attn.c_proj"},
                 [STLORA_SITE_UP] = {"mlp.c_fc"},
                 [STLORA_SITE_DOWN] = {"mlp.c_proj"}},
    },
};

const stlora_family *stlora_family_find(const char *model_type)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(families[i].model_type, model_type) == 0) return &families[i];
    return NULL;
}
