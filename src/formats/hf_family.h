/* hf_family.h: what a model_type's keys in config.json are called, which of them are read, and what holds where they are absent. For
 * hf_config.c and hf_rope.c alone. docs/MODELS.md is these tables in words. Test: tests/formats/test_hf_config.c. */
#ifndef STLORA_FORMATS_HF_FAMILY_H
#define STLORA_FORMATS_HF_FAMILY_H

#include "formats/hf_config.h"
#include "formats/json_field.h"

/* Which layers look no further than the window, where layer_types does not say it. */
typedef enum stlora_window_rule {
    STLORA_WINDOW_NONE,        /* no layer */
    STLORA_WINDOW_ALL,         /* every layer */
    STLORA_WINDOW_FROM,        /* where use_sliding_window, from max_window_layers on */
    STLORA_WINDOW_PATTERN,     /* all but every sliding_window_pattern-th */
    STLORA_WINDOW_WITHOUT_ROPE /* where use_sliding_window, those without rotary positions */
} stlora_window_rule;

typedef struct stlora_hf_family {
    const char *name;
    const char *hidden, *inner, *layers, *heads, *positions, *eps, *activation;
    bool rotary;                /* with key-value heads of their own number; otherwise GPT-2's */
    bool partial_rotary;        /* partial_rotary_factor is read; elsewhere it must be 1 */
    bool only_longrope;         /* of the kinds of rotary positions only default and longrope; "su" and "yarn" are longrope's older names */
    bool rope_by_type;          /* full_attention and sliding_attention have rotary positions each of their own */
    stlora_window_rule window;
    int64_t pattern;            /* of WINDOW_PATTERN where the key is absent */
    double attention_scalar;    /* query_pre_attn_scalar where it is absent; 0: the family has none */
    const char *const *options; /* further keys that are read; NULL at the end */
    const char *const *idle;    /* keys that Transformers' class does not read, or reads for other ends; NULL at the end */
    stlora_hf_config defaults;
} stlora_hf_family;

/* stlora_hf_family_of: the row of the object's model_type. STLORA_E_UNSUPPORTED by name. */
STLORA_NODISCARD stlora_status stlora_hf_family_of(const stlora_fields *f, const stlora_hf_family **out,
                                                   stlora_error *err);

/* stlora_hf_reads: is `key` among the family's options? */
bool stlora_hf_reads(const stlora_hf_family *family, const char *key);

/* stlora_hf_idle: is `key` of no consequence for the family? */
bool stlora_hf_idle(const stlora_hf_family *family, const char *key);

/* stlora_hf_check_keys: refuses a key that nobody here knows and that says something: it might change the result. What is null, false, empty or
 * begins with an underscore says nothing. */
STLORA_NODISCARD stlora_status stlora_hf_check_keys(const stlora_fields *f, const stlora_hf_family *family,
                                                    stlora_error *err);

/* stlora_hf_read_rope: c->rope from either wording; heads, head_dim and max_positions are there. */
STLORA_NODISCARD stlora_status stlora_hf_read_rope(const stlora_fields *f, const stlora_hf_family *family,
                                                   stlora_hf_config *c, stlora_error *err);

#endif
