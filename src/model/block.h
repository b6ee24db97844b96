/* block.h: one transformer block, forward and backward, for all families; shared by training passes and by decoding.
 *
 * Formulas, with x the residual stream (T, C) in F32 and everything else in the activation dtype:
 *   h1 = norm(x)    qkv = maps(h1)    q, k = rope(qk_norm(q, k))    o = attention(q, k, v)    x' = x + m norm(map_o(o))
 *   h2 = norm(x')   up = maps(h2)     a = act(up)                                             x'' = x' + m norm(map_down(a))
 * Every family has some of the norms and leaves the others away; m is the residual multiplier, which no family with norms behind its maps has.
 * and for an adapted map: map(z) = z W^T + bias + s (dropout(z) A^T) B^T;  with DoRA's gain k: k (z W^T + s (z A^T) B^T) + bias.
 */
#ifndef STLORA_MODEL_BLOCK_H
#define STLORA_MODEL_BLOCK_H

#include "backend/backend.h"
#include "model/lora.h"
#include "model/probe.h"
#include "model/rope.h"

/* What a block leaves for its backward. A part that is not kept lies in scratch that the next block overwrites, and backward computes it
 * again; x_mid and up then have the rows of one slice, everything else has T. */
typedef struct stlora_block_acts {
    float *x_in, *x_mid, *x_out; /* (T, C); may be one buffer where no backward follows */
    float *stats[STLORA_NORM_PLACES]; /* (T, 2) of the norms that there are */
    void *qkv;                   /* (T, (H+2K) D) act, after norms and RoPE */
    void *raw;                   /* (T, (H+K) D) act, q and k before their norms; NULL where they have none */
    float *qk_stats;             /* (T, groups of q, 2), (T, groups of k, 2) of those norms */
    void *o;                     /* (T, H D) act */
    float *lse;                  /* (T, H) */
    void *up;                    /* (T, 2F) or (T, F) act; backward leaves its gradient there */
    float *o_out, *down_out;     /* (T, C) what map_o and map_down put out, where a norm follows; NULL = in the stage's scratch */
    float *lowrank[STLORA_SITE_COUNT][STLORA_MAPS_PER_SITE]; /* (T, r) z A^T of adapted maps */
    bool attention_kept;                                     /* qkv, o, lse, the low-rank activations of qkv */
    bool mid_kept;                                           /* x_mid, o_out, the low-rank activations of o */
    bool up_kept;                                            /* up and its low-rank activations, down_out */
} stlora_block_acts;

/* The keys and values of one layer, of tokens of this call and earlier ones: rows [k | v] (tokens, 2 K D) act. A segment's keys are its
 * rows k0 ... k0 + k_count - 1, of which the call's own are the last q_count. */
typedef struct stlora_kv_cache {
    void *rows; /* NULL = none: attention sees the call's own tokens */
    int64_t tokens;
} stlora_kv_cache;

/* The tokens of a call and the scratch that blocks share. */
typedef struct stlora_stage {
    const stlora_transformer *model;
    const stlora_lora *lora; /* NULL = the base alone */
    const stlora_backend *backend;
    stlora_dtype act; /* F32 or BF16 */
    int64_t tokens;
    int64_t
        slice; /* what treats every token by itself takes so many at a time, so that its scratch needs no more rows; 0 = all */
    const int32_t *ids, *positions;
    const stlora_segment *segments;
    int64_t segment_count;
    const stlora_rotation *rotation; /* NULL with learned positions */
    double dropout;               /* 0 outside training */
    uint64_t seed, step;          /* name the dropout masks */
    const uint64_t *token_keys;   /* (T) */
    void *h;                      /* (slice, C) act: a norm's output */
    void *a;                      /* (slice, F) act: the activation's output */
    void *dropped;                /* (slice, widest input) act; only with dropout */
    float *o_out, *down_out;      /* (slice, C) where a norm or a multiplier follows the map */
    float *v;                     /* (slice, widest output) with DoRA: a map's output without gain and bias */
    stlora_probe *probe;          /* keeps what maps read; NULL = none */
    int64_t first;                /* number within the step of the first token, for the probe */
} stlora_stage;

/* Scratch of the backward. */
typedef struct stlora_back {
    float *dx;    /* (T, C): gradient of the residual stream, in and out */
    void *dx_act; /* (slice, C) act: gradient of a map's output; dx itself where that is all and act is F32 */
    float *dh;    /* (slice, C): gradient of a norm's output */
    void *da;     /* (slice, F) act; may be the stage's a */
    void *dout;   /* (T, H D) act */
    void *dqkv;   /* (T, (H+2K) D) act */
    float *delta; /* (T, H) */
    float *work;  /* (H D, 3 T): attention_grad's */
    float *p;     /* (slice, r) of each map of a site: dY B */
    void *expand; /* (slice, widest input) act: s P A; only with dropout */
} stlora_back;

/* stlora_stage_begin, stlora_stage_end: the backend may put off what is called between them (backend.h), so nobody but ops looks at the
 * activations there; where a probe does, nothing is put off. */
static inline void stlora_stage_begin(const stlora_stage *stage)
{
    if (!stage->probe) stage->backend->begin(stage->backend);
}
static inline void stlora_stage_end(const stlora_stage *stage)
{
    if (!stage->probe) stage->backend->end(stage->backend);
}

/* stlora_map_forward: y (+)= map(x); h (T, r) receives x A^T where the map is adapted. y has the map's own columns only. */
void stlora_map_forward(const stlora_stage *stage, const stlora_linear *linear, stlora_cmat x, stlora_mat y,
                        bool accumulate, float *h);

/* stlora_map_linear: y = x W^T + s h B^T, with h as stlora_map_forward left it: a map without bias and without gain. y F32 or act. */
void stlora_map_linear(const stlora_stage *stage, const stlora_linear *linear, stlora_cmat x, const float *h,
                       stlora_mat y);

/* stlora_map_backward: adds the gradients of the map's A and B; and, where dx.data is not NULL, dx (+)= gradient of x. */
void stlora_map_backward(const stlora_stage *stage, const stlora_back *back, const stlora_linear *linear, stlora_cmat x,
                         const float *h, stlora_cmat dy, stlora_mat dx, bool accumulate);

/* stlora_block_norm: stage->h = norm(x) with weights w, stats as the op leaves them; x itself where there are no weights. */
void stlora_block_norm(const stlora_stage *stage, const stlora_norm_weights *w, const float *x, float *stats);

/* What a norm of queries or of keys reads: columns [first, first + width groups) of qkv. */
typedef struct stlora_qk_part {
    const stlora_norm_weights *weights;
    int64_t first, groups, width;
    float *stats; /* (T, groups, 2) */
} stlora_qk_part;

/* stlora_block_qk_parts: q's and k's. */
void stlora_block_qk_parts(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts,
                           stlora_qk_part parts[2]);

/* stlora_block_rotate: q and k of qkv (T, (H+2K) D) rotated in place by their layer's table, or back. */
void stlora_block_rotate(const stlora_stage *stage, int64_t layer, void *qkv, bool inverse);

/* stlora_block_slice: the tokens from `from` on, as even slices as stage->slice allows, as a stage and activations of their own, for all
 * that treats every token by itself. */
void stlora_block_slice(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts, int64_t from,
                        stlora_stage *slice, stlora_block_acts *rows);

/* The three parts that backward can compute again: x_in -> qkv, o, lse of all tokens; and of a slice, x_in, o -> x_mid; x_mid -> up, which
 * leaves norm2's output in stage->h. */
void stlora_block_attend(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts,
                         stlora_kv_cache cache);
void stlora_block_mid(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts);
void stlora_block_up(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts);

/* stlora_block_down_out: up -> the output of map_down, of a slice, where a norm follows; leaves the activation's output in stage->a. */
void stlora_block_down_out(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts);

/* stlora_block_forward: x_in -> x_out, leaving in acts what backward needs. */
void stlora_block_forward(const stlora_stage *stage, int64_t layer, const stlora_block_acts *acts,
                          stlora_kv_cache cache);

/* stlora_block_backward: back->dx from the gradient of x_out to that of x_in, adding the adapter's gradients; what acts does not keep is
 * computed again first. Stops at the lowest adapted map, after which back->dx is meaningless. */
void stlora_block_backward(const stlora_stage *stage, const stlora_back *back, int64_t layer,
                           const stlora_block_acts *acts);

/* stlora_outputs_lay_out: takes the stage's o_out and down_out for `rows` tokens from the arena (measuring or bound), where the family needs
 * them. */
void stlora_outputs_lay_out(stlora_stage *stage, stlora_arena *arena, size_t rows);

/* Widths that the layouts need. */
int64_t stlora_qkv_width(const stlora_hf_config *config); /* (H + 2K) D */
int64_t stlora_up_width(const stlora_transformer *model); /* 2F or F */
int64_t stlora_qk_groups(const stlora_transformer *model); /* norms of a token's queries and keys; 0 = none */

/* stlora_output_follows: does anything stand between a map's output and the stream: a norm, or the residual multiplier? */
bool stlora_output_follows(const stlora_transformer *model);

#endif
