/* hf_config.c: config.json in the words of Transformers 4 and 5, with the defaults of its configuration classes.
 *
 * Not here: what a family computes (model/family.h). Invariant: a key that would change the result and that the engine does
 * not know is refused, never skipped. Source of the defaults: Transformers 5.23, LlamaConfig, Qwen2Config, GPT2Config.
 * Test: tests/formats/test_hf_config.c.
 */
#include "formats/hf_config.h"

#include <assert.h>
#include <string.h>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/json_field.h"

/* ---- families ---- */

/* What a family's keys are called, and what holds where they are absent. */
typedef struct hf_family {
    const char *name;
    const char *hidden, *layers, *heads, *positions, *eps, *activation;
    bool rotary;
    stlora_hf_config defaults;
} hf_family;

static const hf_family families[] = {
    {
        .name = "llama",
        .hidden = "hidden_size",
        .layers = "num_hidden_layers",
        .heads = "num_attention_heads",
        .positions = "max_position_embeddings",
        .eps = "rms_norm_eps",
        .activation = "hidden_act",
        .rotary = true,
        .defaults = {.vocab_size = 32000,
                     .hidden_size = 4096,
                     .intermediate_size = 11008,
                     .layers = 32,
                     .heads = 32,
                     .max_positions = 2048,
                     .norm_eps = 1e-6,
                     .rope_theta = 10000.0,
                     .activation = "silu",
                     .bos = 1,
                     .eos = {2},
                     .eos_count = 1},
    },
    {
        .name = "qwen2",
        .hidden = "hidden_size",
        .layers = "num_hidden_layers",
        .heads = "num_attention_heads",
        .positions = "max_position_embeddings",
        .eps = "rms_norm_eps",
        .activation = "hidden_act",
        .rotary = true,
        .defaults = {.vocab_size = 151936,
                     .hidden_size = 4096,
                     .intermediate_size = 22016,
                     .layers = 32,
                     .heads = 32,
                     .kv_heads = 32,
                     .max_positions = 32768,
                     .norm_eps = 1e-6,
                     .rope_theta = 10000.0,
                     .activation = "silu",
                     .bos = -1},
    },
    {
        .name = "gpt2",
        .hidden = "n_embd",
        .layers = "n_layer",
        .heads = "n_head",
        .positions = "n_positions",
        .eps = "layer_norm_epsilon",
        .activation = "activation_function",
        .rotary = false,
        .defaults = {.vocab_size = 50257,
                     .hidden_size = 768,
                     .layers = 12,
                     .heads = 12,
                     .max_positions = 1024,
                     .norm_eps = 1e-5,
                     .activation = "gelu_new",
                     .tie_embeddings = true,
                     .bos = 50256,
                     .eos = {50256},
                     .eos_count = 1},
    },
};

static stlora_status find_family(const stlora_fields *f, const hf_family **out, stlora_error *err)
{
    const json_t *value = json_object_get(f->object, "model_type");
    const char *name = stlora_json_text(value);
    if (!name) return stlora_field_refused(f, "model_type", "a family's name", value, err);
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (strcmp(families[i].name, name) == 0) {
            *out = &families[i];
            return STLORA_OK;
        }
    }
    return stlora_field_unsupported(f, "model_type", value, "llama, qwen2 and gpt2", err);
}

/* ---- options that would change the result ---- */

/* The key must be absent, null, or have this value. */
static stlora_status only_bool(const stlora_fields *f, const char *key, bool supported, stlora_error *err)
{
    bool found = supported;
    if (!stlora_field(f, key)) return STLORA_OK;
    STLORA_TRY(stlora_field_bool(f, key, &found, err));
    if (found == supported) return STLORA_OK;
    return stlora_field_unsupported(f, key, json_object_get(f->object, key), supported ? "true" : "false", err);
}

static stlora_status only_one(const stlora_fields *f, const char *key, stlora_error *err)
{
    double found = 1;
    if (!stlora_field(f, key)) return STLORA_OK;
    STLORA_TRY(stlora_field_positive(f, key, &found, err));
    if (found == 1) return STLORA_OK;
    return stlora_field_unsupported(f, key, json_object_get(f->object, key), "1", err);
}

static stlora_status only_absent(const stlora_fields *f, const char *key, stlora_error *err)
{
    const json_t *value = stlora_field(f, key);
    return value ? stlora_field_unsupported(f, key, value, "its absence", err) : STLORA_OK;
}

static stlora_status only_full_attention(const stlora_fields *f, int64_t layers, stlora_error *err)
{
    const json_t *types = stlora_field(f, "layer_types");
    if (!types) return STLORA_OK;
    if (!json_is_array(types)) return stlora_field_refused(f, "layer_types", "an array of texts", types, err);
    if ((int64_t)json_array_size(types) != layers)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: \"layer_types\" must have one entry for each of %lld layers, found %zu",
                           f->path, (long long)layers, json_array_size(types));
    for (size_t i = 0; i < json_array_size(types); i++) {
        const json_t *type = json_array_get(types, i);
        if (!json_is_string(type)) return stlora_field_refused(f, "layer_types", "an array of texts", type, err);
        if (strcmp(json_string_value(type), "full_attention") != 0)
            return stlora_field_unsupported(f, "layer_types", type, "\"full_attention\"", err);
    }
    return STLORA_OK;
}

static stlora_status refuse_options(const stlora_fields *f, const stlora_hf_config *c, bool rotary,
                                    stlora_error *err)
{
    STLORA_TRY(only_absent(f, "quantization_config", err));
    STLORA_TRY(only_absent(f, "compression_config", err));
    STLORA_TRY(only_full_attention(f, c->layers, err));
    if (rotary) {
        STLORA_TRY(only_one(f, "pretraining_tp", err));
        STLORA_TRY(only_bool(f, "use_sliding_window", false, err));
        return only_one(f, "partial_rotary_factor", err);
    }
    STLORA_TRY(only_bool(f, "scale_attn_weights", true, err));
    STLORA_TRY(only_bool(f, "scale_attn_by_inverse_layer_idx", false, err));
    return only_bool(f, "add_cross_attention", false, err); /* reorder_and_upcast_attn: the same numbers in float32 */
}

/* ---- parts ---- */

static stlora_status read_head_counts(const stlora_fields *f, const hf_family *family, stlora_hf_config *c,
                                      stlora_error *err)
{
    STLORA_TRY(stlora_field_size(f, family->heads, &c->heads, err));
    if (family->rotary) {
        const json_t *kv = json_object_get(f->object, "num_key_value_heads");
        if (kv && !json_is_null(kv))
            STLORA_TRY(stlora_field_size(f, "num_key_value_heads", &c->kv_heads, err));
        else if (json_is_null(kv))
            c->kv_heads = 0;
        if (stlora_field(f, "head_dim")) STLORA_TRY(stlora_field_size(f, "head_dim", &c->head_dim, err));
    }
    if (c->kv_heads == 0) c->kv_heads = c->heads;
    if (c->head_dim == 0) {
        if (c->hidden_size % c->heads != 0)
            return stlora_fail(err, STLORA_E_FORMAT, "%s: \"%s\" must be a multiple of \"%s\" %lld, found %lld", f->path,
                               family->hidden, family->heads, (long long)c->heads, (long long)c->hidden_size);
        c->head_dim = c->hidden_size / c->heads;
    }
    if (c->heads % c->kv_heads != 0)
        return stlora_fail(err, STLORA_E_FORMAT,
                           "%s: \"%s\" must be a multiple of \"num_key_value_heads\" %lld, found %lld", f->path,
                           family->heads, (long long)c->kv_heads, (long long)c->heads);
    if (family->rotary && c->head_dim % 2 != 0)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: \"head_dim\" must be even to be rotated, found %lld", f->path,
                           (long long)c->head_dim);
    return STLORA_OK;
}

static stlora_status read_sizes(const stlora_fields *f, const hf_family *family, stlora_hf_config *c, stlora_error *err)
{
    STLORA_TRY(stlora_field_size(f, "vocab_size", &c->vocab_size, err));
    STLORA_TRY(stlora_field_size(f, family->hidden, &c->hidden_size, err));
    STLORA_TRY(stlora_field_size(f, family->layers, &c->layers, err));
    STLORA_TRY(stlora_field_size(f, family->positions, &c->max_positions, err));
    STLORA_TRY(stlora_field_positive(f, family->eps, &c->norm_eps, err));
    if (family->rotary) {
        STLORA_TRY(stlora_field_size(f, "intermediate_size", &c->intermediate_size, err));
    } else {
        c->intermediate_size = 4 * c->hidden_size;
        if (stlora_field(f, "n_inner")) STLORA_TRY(stlora_field_size(f, "n_inner", &c->intermediate_size, err));
    }
    return read_head_counts(f, family, c, err);
}

static stlora_status read_llama3_rope(const stlora_fields *top, const stlora_fields *rope, stlora_hf_config *c,
                                      stlora_error *err)
{
    const char *const required[] = {"factor", "low_freq_factor", "high_freq_factor"};
    double *const values[] = {&c->rope_factor, &c->rope_low_freq_factor, &c->rope_high_freq_factor};
    for (size_t i = 0; i < 3; i++) {
        if (!stlora_field(rope, required[i]))
            return stlora_field_refused(rope, required[i], "a number above 0", json_object_get(rope->object, required[i]),
                                        err);
        STLORA_TRY(stlora_field_positive(rope, required[i], values[i], err));
    }
    if (c->rope_factor < 1)
        return stlora_field_refused(rope, "factor", "at least 1", json_object_get(rope->object, "factor"), err);
    if (c->rope_high_freq_factor <= c->rope_low_freq_factor)
        return stlora_field_refused(rope, "high_freq_factor", "above low_freq_factor",
                                    json_object_get(rope->object, "high_freq_factor"), err);
    /* Transformers' order: beside the dictionary, in it, and else the whole length. */
    const char *key = "original_max_position_embeddings";
    c->rope_original_positions = c->max_positions;
    if (stlora_field(top, key)) return stlora_field_size(top, key, &c->rope_original_positions, err);
    if (stlora_field(rope, key)) return stlora_field_size(rope, key, &c->rope_original_positions, err);
    return STLORA_OK;
}

static stlora_status read_rope(const stlora_fields *f, stlora_hf_config *c, stlora_error *err)
{
    /* The older word wins where both are given and it says something, as in Transformers. */
    static const char *const words[] = {"rope_scaling", "rope_parameters"};
    stlora_fields rope = {.path = f->path, .inside = "rope_parameters."};
    for (size_t i = 0; i < 2 && !rope.object; i++) {
        const json_t *value = stlora_field(f, words[i]);
        if (!value) continue;
        if (!json_is_object(value)) return stlora_field_refused(f, words[i], "an object", value, err);
        if (json_object_size(value) == 0) continue;
        rope.object = value;
        rope.inside = i == 0 ? "rope_scaling." : "rope_parameters.";
    }
    if (stlora_field(f, "rope_theta")) STLORA_TRY(stlora_field_positive(f, "rope_theta", &c->rope_theta, err));
    if (!rope.object) return STLORA_OK;
    if (json_is_object(json_object_get(rope.object, "full_attention")) ||
        json_is_object(json_object_get(rope.object, "sliding_attention")))
        return stlora_fail(err, STLORA_E_UNSUPPORTED, "%s: \"rope_parameters\" for each type of layer are not supported",
                           f->path);
    if (stlora_field(&rope, "rope_theta"))
        STLORA_TRY(stlora_field_positive(&rope, "rope_theta", &c->rope_theta, err));
    STLORA_TRY(only_one(&rope, "partial_rotary_factor", err));
    const char *key = stlora_field(&rope, "rope_type") ? "rope_type" : "type", *type = "default";
    if (stlora_field(&rope, key)) STLORA_TRY(stlora_field_text(&rope, key, &type, err));
    if (strcmp(type, "default") == 0) return STLORA_OK;
    if (strcmp(type, "llama3") != 0)
        return stlora_field_unsupported(&rope, key, json_object_get(rope.object, key), "\"default\" and \"llama3\"", err);
    c->rope_kind = STLORA_ROPE_LLAMA3;
    return read_llama3_rope(f, &rope, c, err);
}

static stlora_status read_dtype(const stlora_fields *f, stlora_hf_config *c, stlora_error *err)
{
    static const struct {
        const char *name;
        stlora_dtype dtype;
    } names[] = {{"float32", STLORA_F32}, {"float16", STLORA_F16}, {"bfloat16", STLORA_BF16}};
    const char *key = stlora_field(f, "dtype") ? "dtype" : "torch_dtype", *text = NULL;
    if (!stlora_field(f, key)) return STLORA_OK;
    STLORA_TRY(stlora_field_text(f, key, &text, err));
    if (strncmp(text, "torch.", 6) == 0) text += 6;
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(text, names[i].name) != 0) continue;
        c->dtype = names[i].dtype;
        return STLORA_OK;
    }
    return stlora_field_unsupported(f, key, json_object_get(f->object, key), "float32, float16 and bfloat16", err);
}

static stlora_status read_eos(const stlora_fields *f, stlora_hf_config *c, stlora_error *err)
{
    const json_t *value = json_object_get(f->object, "eos_token_id");
    if (!value) return STLORA_OK;
    memset(c->eos, 0, sizeof c->eos);
    c->eos_count = 0;
    if (json_is_null(value)) return STLORA_OK;
    const size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (count > STLORA_MAX_EOS)
        return stlora_fail(err, STLORA_E_UNSUPPORTED, "%s: \"eos_token_id\" with more than %d ids is not supported, found %zu",
                           f->path, STLORA_MAX_EOS, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            return stlora_field_refused(f, "eos_token_id", "a token id of at least 0 or a list of them", id, err);
        c->eos[i] = (int32_t)json_integer_value(id);
    }
    c->eos_count = (int)count;
    return STLORA_OK;
}

static stlora_status read_activation(const stlora_fields *f, const char *key, stlora_hf_config *c, stlora_error *err)
{
    const char *name = c->activation;
    STLORA_TRY(stlora_field_text(f, key, &name, err));
    if (name == c->activation) return STLORA_OK;
    const size_t length = strlen(name);
    if (length >= sizeof c->activation)
        return stlora_field_unsupported(f, key, json_object_get(f->object, key), "names of up to 31 bytes", err);
    memcpy(c->activation, name, length + 1);
    return STLORA_OK;
}

/* ---- the whole ---- */

static stlora_status read_config(stlora_hf_config *out, const char *path, const json_t *root, stlora_error *err)
{
    const stlora_fields f = {.path = path, .inside = "", .object = root};
    if (!json_is_object(root))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: must be an object, found %s", path, stlora_json_type(root));
    const hf_family *family = NULL;
    STLORA_TRY(find_family(&f, &family, err));
    assert(family);
    stlora_hf_config c = family->defaults;
    memcpy(c.model_type, family->name, strlen(family->name) + 1);
    STLORA_TRY(read_sizes(&f, family, &c, err));
    STLORA_TRY(refuse_options(&f, &c, family->rotary, err));
    if (family->rotary) STLORA_TRY(read_rope(&f, &c, err));
    STLORA_TRY(read_activation(&f, family->activation, &c, err));
    STLORA_TRY(stlora_field_bool(&f, "tie_word_embeddings", &c.tie_embeddings, err));
    if (strcmp(family->name, "llama") == 0) { /* qwen2 and gpt2 have biases of their own, by definition */
        STLORA_TRY(stlora_field_bool(&f, "attention_bias", &c.attention_bias, err));
        STLORA_TRY(stlora_field_bool(&f, "mlp_bias", &c.mlp_bias, err));
    }
    if (json_is_null(json_object_get(root, "bos_token_id")))
        c.bos = -1;
    else
        STLORA_TRY(stlora_field_id(&f, "bos_token_id", &c.bos, err));
    STLORA_TRY(read_eos(&f, &c, err));
    STLORA_TRY(read_dtype(&f, &c, err));
    *out = c;
    return STLORA_OK;
}

stlora_status stlora_hf_config_parse(stlora_hf_config *out, const char *path, stlora_error *err)
{
    json_t *root = NULL;
    STLORA_TRY(stlora_json_load(&root, path, err));
    stlora_status status = read_config(out, path, root, err);
    json_decref(root);
    return status;
}

/* generation_config.json says when to stop, where it says something. */
static stlora_status read_generation(stlora_hf_config *c, const char *path, stlora_error *err)
{
    json_t *root = NULL;
    if (!stlora_path_exists(path)) return STLORA_OK;
    STLORA_TRY(stlora_json_load(&root, path, err));
    const stlora_fields f = {.path = path, .inside = "", .object = root};
    stlora_status status = STLORA_OK;
    if (!json_is_object(root))
        status = stlora_fail(err, STLORA_E_FORMAT, "%s: must be an object, found %s", path, stlora_json_type(root));
    else if (stlora_field(&f, "eos_token_id"))
        status = read_eos(&f, c, err);
    json_decref(root);
    return status;
}

stlora_status stlora_hf_config_load(stlora_hf_config *out, const char *dir, stlora_error *err)
{
    stlora_hf_config c = {0};
    char *path = NULL, *generation = NULL;
    stlora_status status = stlora_path_join(&path, dir, "config.json", err);
    if (status == STLORA_OK) status = stlora_path_join(&generation, dir, "generation_config.json", err);
    if (status == STLORA_OK) status = stlora_hf_config_parse(&c, path, err);
    if (status == STLORA_OK) status = read_generation(&c, generation, err);
    if (status == STLORA_OK) *out = c;
    stlora_free(path);
    stlora_free(generation);
    return status;
}
