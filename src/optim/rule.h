/* rule.h: what an update rule is made of: a pair as this room holds it, a step as a rule sees it, and the table of what rules differ in.
 * optimizer.c calls a rule only after everything was checked that can refuse a step without knowing the rule. */
#ifndef STLORA_OPTIM_RULE_H
#define STLORA_OPTIM_RULE_H

#include "base/memory.h"
#include "optim/adamw.h"
#include "optim/rates.h"

/* What LoRA-RITE keeps of one factor of a pair. "Tall" is [width, r], row-major: A^T or B. */
typedef struct stlora_rite_side {
    float *momentum; /* tall: M, in the basis of the other factor as the last step had it */
    float *basis;    /* tall: Q of this factor, as the last step had it */
    double *second;  /* [r, r]: V, as momentum */
    /* of one step */
    float *gradient;               /* tall: unmagnified */
    double *inverse;               /* [r, r]: R^+ */
    double *turn;                  /* [r, r]: Q^T (Q of the last step) */
    double sum_squares;            /* of gradient */
} stlora_rite_side;

typedef struct stlora_slot {
    char *name;
    int64_t n, m, r;
    double scale;
    stlora_adamw_matrix a, b; /* [r, n], [m, r]; moments NULL where the rule has none */
    stlora_adamw_matrix magnitude; /* [m]; count 0 = none. optimizer.c's own: no rule reads it */
    const float *magnitude_grad;
    bool armed;
    int64_t steps, stop_step;
    double shrink_factor, norm_a0;
    float *ghat_a, *ghat_b; /* of one step: gradients as the rule has made them, like a and b; NULL where it takes them as they are */
    stlora_rite_side rite_a, rite_b;
} stlora_slot;

/* Pair i has a gradient in this step when grads[i].b is there. */
typedef struct stlora_step {
    const stlora_backend *backend;
    const stlora_optimizer_config *config;
    stlora_slot *slots;            /* [count] */
    const stlora_pair_grad *grads; /* [count] */
    size_t count;
    double learning_rate;
    double grad_scale; /* clipping's factor of every gradient */
    double *work;      /* [threads, work_count] */
    size_t work_count;
} stlora_step;

typedef struct stlora_rule {
    const char *name;  /* as a checkpoint names it */
    bool a_is_frozen;  /* A and its gradient are neither read nor written by `run` beside A's values */
    /* check: may the rule have this pair? STLORA_E_USAGE. NULL: any */
    stlora_status (*check)(const stlora_pair *pair, stlora_error *err);
    /* place: takes the slot's state and scratch from the arena; walked twice. */
    void (*place)(stlora_slot *slot, stlora_arena *arena);
    /* work: doubles of scratch that one thread needs for the slot. NULL: none */
    size_t (*work)(const stlora_slot *slot);
    /* list: the state that `place` took; returns how many. */
    size_t (*list)(const stlora_slot *slot, stlora_state_tensor out[STLORA_MOST_STATE_TENSORS]);
    /* run: the step of every pair that has a gradient; a refusal leaves everything as it was. */
    stlora_status (*run)(const stlora_step *step, stlora_error *err);
} stlora_rule;

extern const stlora_rule stlora_rule_adamw, stlora_rule_loraplus, stlora_rule_riemannian, stlora_rule_rite, stlora_rule_fa;

/* stlora_rule_of: NULL for a number that is no kind. */
const stlora_rule *stlora_rule_of(stlora_optimizer_kind kind);

/* The parts that rules share (rule_adamw.c). _place: takes the two moments of a matrix. _list: those moments that the slot has. _pair: shrink
 * and AdamW of slot i on gradients g_a and g_b, noted in the batch. */
void stlora_adamw_place(stlora_adamw_matrix *matrix, stlora_arena *arena);
size_t stlora_adamw_list(const stlora_slot *slot, stlora_state_tensor out[STLORA_MOST_STATE_TENSORS]);
void stlora_adamw_pair(const stlora_step *step, stlora_adamw_batch *batch, size_t i, const float *g_a, const float *g_b);

/* stlora_count_without_shrink: the pair's next step under a rule that does not shrink: counted, and latched in the first. */
void stlora_count_without_shrink(stlora_slot *slot);

/* stlora_step_work: the scratch of a thread. */
static inline double *stlora_step_work(const stlora_step *step, int thread)
{
    return step->work + (size_t)thread * step->work_count;
}

#endif
