/* head.h: both ends of the model: the embedding, and the final norm with the vocabulary's product and the loss. */
#ifndef STLORA_MODEL_HEAD_H
#define STLORA_MODEL_HEAD_H

#include "base/memory.h"
#include "model/block.h"

/* Buffers of N = logits_rows supervised positions at a time. */
typedef struct stlora_head {
    const float *x;         /* (T, C) the residual stream after the last block */
    float *rows;            /* (N, C) its gathered rows */
    void *h;                /* (N, C) act: normed */
    float *stats;           /* (N, 2) */
    float *logits;          /* (N, V); then their gradient */
    float *dh;              /* (N, C), then dx */
    float *lowrank;         /* (N, r), only with an adapted head */
    float *p;               /* (N, r) */
    float *v;               /* (N, V), only with an adapted head that DoRA trains */
    void *dropped, *expand; /* (N, C) act, only with an adapted head and dropout */
    int32_t *targets;       /* (N) */
    uint64_t *token_keys;   /* (N) */
    int64_t capacity;       /* N */
} stlora_head;

/* stlora_head_lay_out: takes the buffers from the arena (measuring or bound). */
void stlora_head_lay_out(stlora_head *head, const stlora_stage *stage, stlora_arena *arena, int64_t rows, bool train);

/* stlora_embed: x (T, C) = embedding of the stage's tokens (+ learned positions). */
void stlora_embed(const stlora_stage *stage, float *x);

/* stlora_head_logits: logits (N, V) of the stream's rows at[0..count), count <= capacity. */
void stlora_head_logits(stlora_head *head, const stlora_stage *stage, const int64_t *at, int64_t count);

/* stlora_head_loss: over all supervised positions, chunk by chunk: *loss, logprob (NULL allowed) and, with back, the gradient of
 * scale * loss: adds an adapted head's gradients, sets the rows of back->dx that are supervised (the others were zeroed). */
void stlora_head_loss(stlora_head *head, const stlora_stage *stage, const int32_t *targets, const int64_t *at,
                      int64_t supervised, double scale, double *loss, float *logprob, const stlora_back *back);

#endif
