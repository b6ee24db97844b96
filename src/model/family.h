/* family.h: what distinguishes one model family from another, as data: one row of the table per model_type.
 *
 * The block (forward.c, backward.c) is one for all families and reads this row; the next family is a row here and, where it needs
 * a new operation, a general op. docs/HOWTO-model.md walks through it. Test: tests/train/test_golden_models.c.
 */
#ifndef STLORA_MODEL_FAMILY_H
#define STLORA_MODEL_FAMILY_H

#include "backend/backend.h"
#include "formats/hf_config.h"

/* The four places of a block where linear maps stand; the maps of a place share their input, and their outputs lie side by side. */
typedef enum stlora_site {
    STLORA_SITE_QKV,  /* norm1(x)        -> q, k, v        (T, (H + 2K) D) */
    STLORA_SITE_O,    /* attention       -> + residual     (T, C) */
    STLORA_SITE_UP,   /* norm2(x)        -> [gate, up]     (T, 2F), or (T, F) without a gate */
    STLORA_SITE_DOWN, /* activation      -> + residual     (T, C) */
    STLORA_SITE_COUNT
} stlora_site;

typedef enum stlora_bias_rule {
    STLORA_BIAS_NONE,
    STLORA_BIAS_ALWAYS,
    STLORA_BIAS_ATTENTION, /* where config.json says attention_bias */
    STLORA_BIAS_MLP        /* where config.json says mlp_bias */
} stlora_bias_rule;

enum { STLORA_MAPS_PER_SITE = 3 };

/* The four places of a block where a norm may stand: before and after what attention and the inner map add to the stream. */
typedef enum stlora_norm_place {
    STLORA_BEFORE_ATTENTION,
    STLORA_AFTER_ATTENTION,
    STLORA_BEFORE_INNER,
    STLORA_AFTER_INNER,
    STLORA_NORM_PLACES
} stlora_norm_place;

/* Norms of queries and keys, before they are rotated. */
typedef enum stlora_qk_norm {
    STLORA_QK_NORM_NONE,
    STLORA_QK_NORM_HEAD, /* of every head by itself, with weights [D] */
    STLORA_QK_NORM_FULL  /* of all heads together, with weights [H D] and [K D] */
} stlora_qk_norm;

typedef struct stlora_family {
    const char *model_type;
    stlora_norm_kind norm;
    stlora_qk_norm qk_norm;
    stlora_activation_kind activation;
    const char *activation_names[3]; /* config.json's words for it */
    bool learned_positions;          /* a table is added to the embedding; otherwise RoPE */
    bool embed_by_root;              /* embeddings times sqrt(C) */
    stlora_layout layout;            /* how linear weights lie in the file; IN_OUT = Conv1D */
    stlora_bias_rule bias[STLORA_SITE_COUNT];
    /* Names in the checkpoint, which are also PEFT's. Everything but head stands below root; checkpoints saved
     * without their head leave root away. */
    const char *root, *embed, *positions, *layers, *final_norm, *head;
    const char *norms[STLORA_NORM_PLACES]; /* NULL = no norm stands there */
    const char *q_norm, *k_norm;           /* with qk_norm */
    /* A site's maps: one fused map, or q, k, v / gate, up; NULL = no more. */
    const char *maps[STLORA_SITE_COUNT][STLORA_MAPS_PER_SITE];
    const char *usual_targets[STLORA_MAPS_PER_SITE]; /* PEFT's where target_modules is null; NULL = no more; PEFT has none for some */
} stlora_family;

/* stlora_family_find: the row of a model_type, NULL if there is none. */
const stlora_family *stlora_family_find(const char *model_type);

#endif
