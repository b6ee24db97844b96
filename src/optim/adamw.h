/* adamw.h: the numbers that AdamW needs in a step, and one matrix's pass. The per-element work is the backend's op adamw.
 * Test: tests/optim/test_optim_vectors.c, tests/api/test_optim_golden.c.
 */
#ifndef STLORA_OPTIM_ADAMW_H
#define STLORA_OPTIM_ADAMW_H

#include "backend/backend.h"
#include "optim/optimizer.h"

/* Scalars of one step of one matrix. */
typedef struct stlora_adamw_step {
    double decay;     /* 1 - lr w */
    double step_size; /* lr / (1 - beta1^t) */
    double sqrt_bc2;  /* sqrt(1 - beta2^t) */
} stlora_adamw_step;

/* One matrix of a pair with its moments; all [rows, cols] row-major of `count` elements. */
typedef struct stlora_adamw_matrix {
    int64_t count;
    float *p;           /* parameters, the owner's */
    float *m, *v;       /* first and second moment */
    double sum_squares; /* of p, as the last pass left it */
} stlora_adamw_matrix;

/* stlora_adamw_step_at: the scalars of the pair's step t >= 1 at a matrix's learning rate and weight decay. Pure. */
stlora_adamw_step stlora_adamw_step_at(const stlora_optimizer_config *config, double learning_rate, double weight_decay,
                                       int64_t t);

/* Passes that are to be made: the matrices of many pairs are small, and share the threads. Begins with backend and config. */
enum { STLORA_ADAMW_BATCH = 64 };
typedef struct stlora_adamw_batch {
    const stlora_backend *backend;
    const stlora_optimizer_config *config;
    int count;
    stlora_adamw_args args[STLORA_ADAMW_BATCH];
} stlora_adamw_batch;

/* stlora_adamw_update: notes one pass: p <- p shrink decay - step_size m / (sqrt(v)/sqrt_bc2 + eps) with the moments of
 * grad_scale * g, and sum_squares of the new p. Formula and roundings: adamw.c, docs/NUMERICS.md. Made when the batch is full or flushed: until
 * then nobody may look at the matrix, or change g. */
void stlora_adamw_update(stlora_adamw_batch *batch, const stlora_adamw_step *step, double shrink, double grad_scale,
                         const float *g, stlora_adamw_matrix *matrix);

/* stlora_adamw_flush: makes what is noted. */
void stlora_adamw_flush(stlora_adamw_batch *batch);

#endif
