/* hf_config.c: config.json in the words of Transformers 4 and 5, with the defaults of its configuration classes.
 *
 * Not here: what a family computes (model/family.h), keys and defaults (hf_family.c), rotary positions (hf_rope.c). Invariant: a key that
 * would change the result and that the engine does not know is refused, never skipped.
 * Test: tests/formats/test_hf_config.c.
 */
#include "formats/hf_config.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/hf_family.h"

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

/* Transformers takes is_causal for true where it is absent, and for false where it is null, 0 or empty. */
static stlora_status only_causal(const stlora_fields *f, stlora_error *err)
{
    const json_t *value = json_object_get(f->object, "is_causal");
    if (!value || json_is_true(value)) return STLORA_OK;
    return stlora_field_unsupported(f, "is_causal", value, "true", err);
}

static stlora_status refuse_options(const stlora_fields *f, const stlora_hf_family *family, stlora_error *err)
{
    STLORA_TRY(only_absent(f, "quantization_config", err));
    STLORA_TRY(only_absent(f, "compression_config", err));
    STLORA_TRY(only_causal(f, err));
    if (family->rotary) {
        if (!stlora_hf_idle(family, "pretraining_tp")) STLORA_TRY(only_one(f, "pretraining_tp", err));
        return only_bool(f, "use_bidirectional_attention", false, err);
    }
    STLORA_TRY(only_bool(f, "scale_attn_weights", true, err));
    STLORA_TRY(only_bool(f, "scale_attn_by_inverse_layer_idx", false, err));
    return only_bool(f, "add_cross_attention", false, err); /* reorder_and_upcast_attn: the same numbers in float32 */
}

/* ---- parts ---- */

static stlora_status read_head_counts(const stlora_fields *f, const stlora_hf_family *family, stlora_hf_config *c,
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

static stlora_status read_sizes(const stlora_fields *f, const stlora_hf_family *family, stlora_hf_config *c, stlora_error *err)
{
    STLORA_TRY(stlora_field_size(f, "vocab_size", &c->vocab_size, err));
    STLORA_TRY(stlora_field_size(f, family->hidden, &c->hidden_size, err));
    STLORA_TRY(stlora_field_size(f, family->layers, &c->layers, err));
    STLORA_TRY(stlora_field_size(f, family->positions, &c->max_positions, err));
    STLORA_TRY(stlora_field_positive(f, family->eps, &c->norm_eps, err));
    if (family->rotary) {
        STLORA_TRY(stlora_field_size(f, family->inner, &c->intermediate_size, err));
    } else {
        c->intermediate_size = 4 * c->hidden_size;
        if (stlora_field(f, family->inner)) STLORA_TRY(stlora_field_size(f, family->inner, &c->intermediate_size, err));
    }
    return read_head_counts(f, family, c, err);
}

/* ---- types of layers ---- */

static void put(stlora_layer_set *set, int64_t layer, bool in)
{
    if (in) set->words[layer / 64] |= UINT64_C(1) << (layer % 64);
}

/* no_rope_layers: 1 = the layer has rotary positions, 0 = it has none; without it every so-many-th has none. */
static stlora_status read_no_rope(const stlora_fields *f, stlora_hf_config *c, stlora_error *err)
{
    const json_t *list = stlora_field(f, "no_rope_layers");
    int64_t interval = 4;
    if (stlora_field(f, "no_rope_layer_interval"))
        STLORA_TRY(stlora_field_size(f, "no_rope_layer_interval", &interval, err));
    if (list && (!json_is_array(list) || (int64_t)json_array_size(list) != c->layers))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: \"no_rope_layers\" must be a list of %lld numbers 0 or 1, found %s of %zu",
                           f->path, (long long)c->layers, stlora_json_type(list), json_array_size(list));
    for (int64_t l = 0; l < c->layers; l++) {
        bool without = (l + 1) % interval == 0;
        if (list) {
            const json_t *has = json_array_get(list, (size_t)l);
            if (!json_is_integer(has) || json_integer_value(has) < 0 || json_integer_value(has) > 1)
                return stlora_field_refused(f, "no_rope_layers", "a list of 0 and 1", has, err);
            without = json_integer_value(has) == 0;
        }
        put(&c->without_rope, l, without);
    }
    return STLORA_OK;
}

/* What holds where layer_types does not say it. */
static stlora_status default_types(const stlora_fields *f, const stlora_hf_family *family, stlora_hf_config *c,
                                   stlora_error *err)
{
    int64_t from = 28, pattern = family->pattern;
    const char *word = stlora_field(f, "sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
    if (stlora_hf_reads(family, "max_window_layers") && stlora_field(f, "max_window_layers") &&
        json_integer_value(stlora_field(f, "max_window_layers")) != 0) /* 0 = all */
        STLORA_TRY(stlora_field_size(f, "max_window_layers", &from, err));
    else if (stlora_field(f, "max_window_layers"))
        from = 0;
    if (stlora_hf_reads(family, "sliding_window_pattern") && stlora_field(f, word))
        STLORA_TRY(stlora_field_size(f, word, &pattern, err));
    for (int64_t l = 0; l < c->layers && c->window > 0; l++) {
        bool sliding = family->window == STLORA_WINDOW_ALL ||
                       (family->window == STLORA_WINDOW_FROM && l >= from) ||
                       (family->window == STLORA_WINDOW_PATTERN && (l + 1) % pattern != 0) ||
                       (family->window == STLORA_WINDOW_WITHOUT_ROPE && stlora_layer_in(&c->without_rope, l));
        put(&c->sliding, l, sliding);
    }
    return STLORA_OK;
}

static stlora_status read_types(const stlora_fields *f, const json_t *types, stlora_hf_config *c, stlora_error *err)
{
    if (!json_is_array(types)) return stlora_field_refused(f, "layer_types", "an array of texts", types, err);
    if ((int64_t)json_array_size(types) != c->layers)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: \"layer_types\" must have one entry for each of %lld layers, found %zu",
                           f->path, (long long)c->layers, json_array_size(types));
    for (int64_t l = 0; l < c->layers; l++) {
        const json_t *type = json_array_get(types, (size_t)l);
        const char *name = stlora_json_text(type);
        if (!name) return stlora_field_refused(f, "layer_types", "an array of texts", type, err);
        const bool sliding = strcmp(name, "sliding_attention") == 0;
        if (sliding ? c->window == 0 : strcmp(name, "full_attention") != 0)
            return stlora_field_unsupported(f, "layer_types", type,
                                            c->window ? "\"full_attention\" and \"sliding_attention\"" : "\"full_attention\"", err);
        put(&c->sliding, l, sliding);
    }
    return STLORA_OK;
}

static stlora_status read_layers(const stlora_fields *f, const stlora_hf_family *family, stlora_hf_config *c,
                                 stlora_error *err)
{
    const json_t *types = stlora_field(f, "layer_types"), *window = json_object_get(f->object, "sliding_window");
    bool used = true;
    if (c->layers > STLORA_MAX_LAYERS)
        return stlora_fail(err, STLORA_E_UNSUPPORTED, "%s: more than %d layers are not supported, found %lld", f->path,
                           (int)STLORA_MAX_LAYERS, (long long)c->layers);
    if (stlora_hf_reads(family, "no_rope_layers")) STLORA_TRY(read_no_rope(f, c, err));
    if (stlora_hf_reads(family, "use_sliding_window")) {
        used = false;
        if (stlora_field(f, "use_sliding_window")) STLORA_TRY(stlora_field_bool(f, "use_sliding_window", &used, err));
    }
    if (window && json_is_null(window))
        c->window = 0;
    else if (stlora_hf_reads(family, "sliding_window"))
        STLORA_TRY(stlora_field_size(f, "sliding_window", &c->window, err));
    if (!used || !stlora_hf_reads(family, "sliding_window")) c->window = 0;
    if (types && family->window != STLORA_WINDOW_ALL) return read_types(f, types, c, err);
    if (types)
        return stlora_field_unsupported(f, "layer_types", types, "its absence", err);
    return default_types(f, family, c, err);
}

/* ---- numbers that a family puts beside its products ---- */

/* A key that is absent leaves *out; null is none, 0. */
static stlora_status read_softcap(const stlora_fields *f, const char *key, double *out, stlora_error *err)
{
    const json_t *value = json_object_get(f->object, key);
    if (!value) return STLORA_OK;
    *out = 0;
    return json_is_null(value) ? STLORA_OK : stlora_field_positive(f, key, out, err);
}

static stlora_status read_scales(const stlora_fields *f, const stlora_hf_family *family, stlora_hf_config *c,
                                 stlora_error *err)
{
    if (family->attention_scalar > 0) {
        double scalar = family->attention_scalar;
        STLORA_TRY(stlora_field_positive(f, "query_pre_attn_scalar", &scalar, err));
        c->attention_scale = 1 / sqrt(scalar);
        if (stlora_hf_reads(family, "attn_logit_softcapping"))
            STLORA_TRY(read_softcap(f, "attn_logit_softcapping", &c->attention_softcap, err));
        STLORA_TRY(read_softcap(f, "final_logit_softcapping", &c->logits_softcap, err));
    }
    if (stlora_hf_reads(family, "attention_multiplier")) {
        STLORA_TRY(stlora_field_positive(f, "attention_multiplier", &c->attention_scale, err));
        STLORA_TRY(stlora_field_positive(f, "embedding_multiplier", &c->embedding_multiplier, err));
        STLORA_TRY(stlora_field_positive(f, "residual_multiplier", &c->residual_multiplier, err));
        STLORA_TRY(stlora_field_positive(f, "logits_scaling", &c->logits_scaling, err));
    }
    return STLORA_OK;
}

static stlora_status read_biases(const stlora_fields *f, const stlora_hf_family *family, stlora_hf_config *c,
                                 stlora_error *err)
{
    if (stlora_hf_reads(family, "attention_bias"))
        STLORA_TRY(stlora_field_bool(f, "attention_bias", &c->attention_bias, err));
    if (stlora_hf_reads(family, "mlp_bias")) STLORA_TRY(stlora_field_bool(f, "mlp_bias", &c->mlp_bias, err));
    if (stlora_hf_reads(family, "use_bias")) {
        STLORA_TRY(stlora_field_bool(f, "use_bias", &c->attention_bias, err));
        c->mlp_bias = c->attention_bias;
    }
    return STLORA_OK;
}

/* ---- the rest ---- */

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
    const stlora_hf_family *family = NULL;
    STLORA_TRY(stlora_hf_family_of(&f, &family, err));
    assert(family);
    stlora_hf_config c = family->defaults;
    memcpy(c.model_type, family->name, strlen(family->name) + 1);
    STLORA_TRY(read_sizes(&f, family, &c, err));
    STLORA_TRY(refuse_options(&f, family, err));
    STLORA_TRY(read_layers(&f, family, &c, err));
    if (family->rotary) STLORA_TRY(stlora_hf_read_rope(&f, family, &c, err));
    STLORA_TRY(read_scales(&f, family, &c, err));
    STLORA_TRY(read_biases(&f, family, &c, err));
    STLORA_TRY(read_activation(&f, family->activation, &c, err));
    STLORA_TRY(stlora_field_bool(&f, "tie_word_embeddings", &c.tie_embeddings, err));
    STLORA_TRY(stlora_hf_check_keys(&f, family, err));
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
