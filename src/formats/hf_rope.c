/* hf_rope.c: rotary positions in the words of Transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters). See hf_family.h. */
#include "formats/hf_family.h"

#include <math.h>
#include <string.h>

#include "base/json.h"

static const char *const known_keys[] = {"rope_type",       "type",           "rope_theta",      "partial_rotary_factor",
                                         "factor",          "short_factor",   "long_factor",     "attention_factor",
                                         "low_freq_factor", "high_freq_factor", "beta_fast",     "beta_slow",
                                         "truncate",        "mscale",         "mscale_all_dim",  "finetuned",
                                         "original_max_position_embeddings"};

static const char *const kind_names[] = {"default", "linear", "dynamic", "llama3", "yarn", "longrope"};
enum { KINDS = sizeof kind_names / sizeof kind_names[0] };

const char *stlora_rope_kind_name(stlora_rope_kind kind)
{
    return kind_names[kind];
}

static stlora_status check_rope_keys(const stlora_fields *rope, stlora_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)rope->object, key, value)
    {
        bool known = json_is_null(value);
        for (size_t i = 0; i < sizeof known_keys / sizeof known_keys[0] && !known; i++)
            known = strcmp(known_keys[i], key) == 0;
        if (!known)
            return stlora_fail(err, STLORA_E_UNSUPPORTED,
                               "%s: \"%s%.80s\" is not known and might change what the model computes", rope->path,
                               rope->inside, key);
    }
    return STLORA_OK;
}

/* A number above 0 that must be there. */
static stlora_status required(const stlora_fields *rope, const char *key, double *out, stlora_error *err)
{
    if (!stlora_field(rope, key))
        return stlora_field_refused(rope, key, "a number above 0", json_object_get(rope->object, key), err);
    return stlora_field_positive(rope, key, out, err);
}

static stlora_status optional(const stlora_fields *rope, const char *key, double *out, stlora_error *err)
{
    return stlora_field(rope, key) ? stlora_field_positive(rope, key, out, err) : STLORA_OK;
}

static stlora_status read_factor(const stlora_fields *rope, stlora_rope *r, stlora_error *err)
{
    STLORA_TRY(required(rope, "factor", &r->factor, err));
    if (r->factor < 1)
        return stlora_field_refused(rope, "factor", "at least 1", json_object_get(rope->object, "factor"), err);
    return STLORA_OK;
}

/* Transformers' order: beside the dictionary, in it, and else what holds for the family, or the whole length. */
static stlora_status read_original(const stlora_fields *top, const stlora_fields *rope, int64_t whole, stlora_rope *r,
                                   stlora_error *err)
{
    const char *key = "original_max_position_embeddings";
    if (stlora_field(top, key)) return stlora_field_size(top, key, &r->original_positions, err);
    if (r->original_positions > 0) return STLORA_OK;
    if (stlora_field(rope, key)) return stlora_field_size(rope, key, &r->original_positions, err);
    r->original_positions = whole;
    return STLORA_OK;
}

static stlora_status read_llama3(const stlora_fields *rope, stlora_rope *r, stlora_error *err)
{
    STLORA_TRY(read_factor(rope, r, err));
    STLORA_TRY(required(rope, "low_freq_factor", &r->low_freq_factor, err));
    STLORA_TRY(required(rope, "high_freq_factor", &r->high_freq_factor, err));
    if (r->high_freq_factor <= r->low_freq_factor)
        return stlora_field_refused(rope, "high_freq_factor", "above low_freq_factor",
                                    json_object_get(rope->object, "high_freq_factor"), err);
    return STLORA_OK;
}

/* Without a factor that the file gives, the ratio of the two lengths. */
static stlora_status read_ratio(const stlora_fields *rope, int64_t whole, stlora_rope *r, stlora_error *err)
{
    if (stlora_field(rope, "factor")) return read_factor(rope, r, err);
    r->factor = (double)whole / (double)r->original_positions;
    return STLORA_OK;
}

static double yarn_scale(double factor, double by)
{
    return factor <= 1 ? 1 : 0.1 * by * log(factor) + 1;
}

static stlora_status read_yarn(const stlora_fields *rope, const stlora_hf_family *family, int64_t whole, stlora_rope *r,
                               stlora_error *err)
{
    bool truncate = true;
    double mscale = 0, all_dim = 0;
    r->beta_fast = 32;
    r->beta_slow = 1;
    r->truncate = true;
    STLORA_TRY(read_ratio(rope, whole, r, err));
    STLORA_TRY(optional(rope, "beta_fast", &r->beta_fast, err));
    STLORA_TRY(optional(rope, "beta_slow", &r->beta_slow, err));
    STLORA_TRY(optional(rope, "mscale", &mscale, err));
    STLORA_TRY(optional(rope, "mscale_all_dim", &all_dim, err));
    if (stlora_field(rope, "truncate")) STLORA_TRY(stlora_field_bool(rope, "truncate", &truncate, err));
    if (!family->rope_by_type) r->truncate = truncate; /* Transformers looks for it outside of the types' dictionaries */
    if (r->beta_fast < r->beta_slow)
        return stlora_field_refused(rope, "beta_fast", "at least beta_slow", json_object_get(rope->object, "beta_fast"), err);
    r->attention_factor = mscale > 0 && all_dim > 0 ? yarn_scale(r->factor, mscale) / yarn_scale(r->factor, all_dim)
                                                    : yarn_scale(r->factor, 1);
    return optional(rope, "attention_factor", &r->attention_factor, err);
}

static stlora_status read_factors(const stlora_fields *rope, const char *key, int64_t count, double *out,
                                  stlora_error *err)
{
    const json_t *list = json_object_get(rope->object, key);
    if (!json_is_array(list) || (int64_t)json_array_size(list) != count)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: \"%s%s\" must be a list of %lld numbers, one for each rotated pair; found %s of %zu",
                           rope->path, rope->inside, key, (long long)count, stlora_json_type(list), json_array_size(list));
    for (int64_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        out[i] = json_number_value(value);
        if (!json_is_number(value) || !(out[i] > 0) || !isfinite(out[i]))
            return stlora_field_refused(rope, key, "a list of numbers above 0", value, err);
    }
    return STLORA_OK;
}

static stlora_status read_longrope(const stlora_fields *rope, int64_t whole, stlora_rope *r, stlora_error *err)
{
    if (r->dim / 2 > STLORA_MAX_ROPE_PAIRS)
        return stlora_fail(err, STLORA_E_UNSUPPORTED, "%s: longrope with more than %d rotated pairs is not supported, found %lld",
                           rope->path, (int)STLORA_MAX_ROPE_PAIRS, (long long)(r->dim / 2));
    STLORA_TRY(read_factors(rope, "short_factor", r->dim / 2, r->short_factor, err));
    STLORA_TRY(read_factors(rope, "long_factor", r->dim / 2, r->long_factor, err));
    STLORA_TRY(read_ratio(rope, whole, r, err));
    if (r->factor > 1 && r->original_positions > 1)
        r->attention_factor = sqrt(1 + log(r->factor) / log((double)r->original_positions));
    return optional(rope, "attention_factor", &r->attention_factor, err);
}

/* int(head_dim * partial_rotary_factor), as Transformers rounds. */
static stlora_status read_rotary_dim(const stlora_fields *top, const stlora_fields *rope, const stlora_hf_family *family,
                                     int64_t head_dim, stlora_rope *r, stlora_error *err)
{
    const char *key = "partial_rotary_factor";
    const stlora_fields *where = rope->object && stlora_field(rope, key) ? rope : top;
    double part = 1;
    r->dim = head_dim;
    if (!stlora_field(where, key)) return STLORA_OK;
    STLORA_TRY(stlora_field_positive(where, key, &part, err));
    if (part == 1) return STLORA_OK;
    if (!family->partial_rotary)
        return stlora_field_unsupported(where, key, json_object_get(where->object, key), "1", err);
    r->dim = (int64_t)((double)head_dim * part);
    if (part > 1 || r->dim < 2 || r->dim % 2 != 0)
        return stlora_field_refused(where, key, "at most 1 and such that an even number of a head's elements is rotated",
                                    json_object_get(where->object, key), err);
    return STLORA_OK;
}

/* One dictionary; rope->object NULL = there is none. */
static stlora_status read_one(const stlora_fields *top, const stlora_fields *rope, const stlora_hf_family *family,
                              const stlora_hf_config *c, stlora_rope *r, stlora_error *err)
{
    int kind = STLORA_ROPE_DEFAULT;
    r->attention_factor = 1;
    STLORA_TRY(read_rotary_dim(top, rope, family, c->head_dim, r, err));
    if (!rope->object) return STLORA_OK;
    STLORA_TRY(check_rope_keys(rope, err));
    if (stlora_field(rope, "rope_theta")) STLORA_TRY(stlora_field_positive(rope, "rope_theta", &r->theta, err));
    const char *key = stlora_field(rope, "rope_type") ? "rope_type" : "type", *type = kind_names[0];
    if (stlora_field(rope, key)) STLORA_TRY(stlora_field_text(rope, key, &type, err));
    if (family->only_longrope && (strcmp(type, "su") == 0 || strcmp(type, "yarn") == 0)) type = "longrope"; /* its older names */
    while (kind < KINDS && strcmp(kind_names[kind], type) != 0)
        kind++;
    if (kind == KINDS || (family->only_longrope && kind != STLORA_ROPE_DEFAULT && kind != STLORA_ROPE_LONGROPE))
        return stlora_field_unsupported(rope, key, json_object_get(rope->object, key),
                                        family->only_longrope ? "default and longrope"
                                                              : "default, linear, dynamic, llama3, yarn and longrope",
                                        err);
    r->kind = (stlora_rope_kind)kind;
    switch (r->kind) {
    case STLORA_ROPE_DEFAULT:
        return STLORA_OK;
    case STLORA_ROPE_LINEAR:
        return read_factor(rope, r, err);
    case STLORA_ROPE_DYNAMIC:
        r->original_positions = c->max_positions;
        if (r->dim < 4)
            return stlora_fail(err, STLORA_E_UNSUPPORTED, "%s: dynamic rotary positions need at least 4 rotated elements, found %lld",
                               rope->path, (long long)r->dim);
        return read_factor(rope, r, err);
    case STLORA_ROPE_LLAMA3:
        STLORA_TRY(read_original(top, rope, c->max_positions, r, err));
        return read_llama3(rope, r, err);
    case STLORA_ROPE_YARN:
        STLORA_TRY(read_original(top, rope, c->max_positions, r, err));
        return read_yarn(rope, family, c->max_positions, r, err);
    case STLORA_ROPE_LONGROPE:
        STLORA_TRY(read_original(top, rope, c->max_positions, r, err));
        return read_longrope(rope, c->max_positions, r, err);
    }
    return STLORA_OK;
}

/* Each type of layer: its own dictionary in rope_parameters; in the older words rope_theta and rope_scaling are full attention's and
 * rope_local_base_freq is sliding attention's. */
static stlora_status read_by_type(const stlora_fields *f, const stlora_fields *flat, bool new_words,
                                  const stlora_hf_family *family, stlora_hf_config *c, stlora_error *err)
{
    static const char *const types[] = {"full_attention", "sliding_attention"};
    static const char *const insides[] = {"rope_parameters.full_attention.", "rope_parameters.sliding_attention."};
    c->rope_by_type = true;
    if (stlora_field(f, "rope_local_base_freq"))
        STLORA_TRY(stlora_field_positive(f, "rope_local_base_freq", &c->rope[STLORA_LAYER_SLIDING].theta, err));
    for (int t = 0; t < STLORA_LAYER_TYPES; t++) {
        stlora_fields rope = {.path = f->path, .inside = insides[t]};
        if (new_words) {
            rope.object = json_object_get(flat->object, types[t]);
            if (!json_is_object(rope.object))
                return stlora_field_refused(flat, types[t], "an object", rope.object, err);
        } else if (t == STLORA_LAYER_FULL) {
            rope = *flat;
        }
        STLORA_TRY(read_one(f, &rope, family, c, &c->rope[t], err));
    }
    return STLORA_OK;
}

stlora_status stlora_hf_read_rope(const stlora_fields *f, const stlora_hf_family *family, stlora_hf_config *c,
                                  stlora_error *err)
{
    /* The older word wins where both are given and it says something, as in Transformers. */
    static const char *const words[] = {"rope_scaling", "rope_parameters"};
    static const char *const insides[] = {"rope_scaling.", "rope_parameters."};
    stlora_fields rope = {.path = f->path, .inside = insides[1]};
    for (size_t i = 0; i < 2 && !rope.object; i++) {
        const json_t *value = stlora_field(f, words[i]);
        if (!value) continue;
        if (!json_is_object(value)) return stlora_field_refused(f, words[i], "an object", value, err);
        if (json_object_size(value) == 0) continue;
        rope.object = value;
        rope.inside = insides[i];
    }
    if (stlora_field(f, "rope_theta")) STLORA_TRY(stlora_field_positive(f, "rope_theta", &c->rope[0].theta, err));
    if (family->rope_by_type) return read_by_type(f, &rope, rope.object && rope.inside == insides[1], family, c, err);
    if (rope.object && (json_is_object(json_object_get(rope.object, "full_attention")) ||
                        json_is_object(json_object_get(rope.object, "sliding_attention"))))
        return stlora_fail(err, STLORA_E_UNSUPPORTED,
                           "%s: \"rope_parameters\" for each type of layer are not supported for model_type \"%s\"", f->path,
                           family->name);
    return read_one(f, &rope, family, c, &c->rope[0], err);
}
