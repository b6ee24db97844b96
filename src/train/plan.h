/* plan.h: how a run is cut into micro-batches and what is kept, so that it fits into the memory it is given.
 * Test: tests/train/test_plan.c.
 */
#ifndef STLORA_TRAIN_PLAN_H
#define STLORA_TRAIN_PLAN_H

#include "data/example.h"
#include "stlora/train.h"
#include "train/session.h"

/* stlora_memory_parse: "4G", "512M", "100000": bytes, K M G T = powers of 1024. STLORA_E_USAGE. */
STLORA_NODISCARD stlora_status stlora_memory_parse(const char *text, int64_t *bytes, stlora_error *err);

/* stlora_memory_free: bytes that this process may take now: what the system says is available, less what a control group withholds. */
int64_t stlora_memory_free(void);

/* stlora_memory_held: bytes of this process that belong to no file, after giving freed heap back; *peak the most that they were
 * until now. 0 where the system does not say. */
int64_t stlora_memory_held(int64_t *peak);

/* What a run asks of its shape. longest: tokens of the longest example; batch_size: examples per step; fewer tokens than longest are
 * never planned. */
typedef struct stlora_plan_task {
    stlora_dtype act;
    bool train;
    int64_t longest, batch_tokens, batch_size;
    size_t fixed; /* bytes that the run takes beside the pass */
    double neftune_noise_alpha;
} stlora_plan_task;

/* stlora_plan_shape: the cheapest shape by stlora_plan_cost whose bytes, with the fixed ones, stay within `budget`: how many tokens a
 * micro-batch holds, how many a slice, how many rows of logits exist, what each block keeps. STLORA_E_NOMEM: not even the
 * leanest shape fits; says what it would take. */
STLORA_NODISCARD stlora_status stlora_plan_shape(const stlora_transformer *model, const stlora_lora *lora,
                                                 const stlora_plan_task *task, int64_t budget, stlora_pass_shape *out,
                                                 stlora_error *err);

/* stlora_plan_least: bytes, the fixed ones too, of the leanest shape: the smallest budget that stlora_plan_shape accepts. */
STLORA_NODISCARD stlora_status stlora_plan_least(const stlora_transformer *model, const stlora_lora *lora,
                                                 const stlora_plan_task *task, size_t *bytes, stlora_error *err);

/* stlora_plan_cost: what a shape costs for a token of a full micro-batch, in floating-point operations of large products. */
double stlora_plan_cost(const stlora_transformer *model, const stlora_lora *lora, const stlora_pass_shape *shape);

/* stlora_plan_rate: floating-point operations per second of this machine on the model's largest map, from a few milliseconds. */
STLORA_NODISCARD stlora_status stlora_plan_rate(const stlora_session *session, double *rate, stlora_error *err);

/* stlora_batch_tokens_bound: most tokens that any `batch_size` examples hold. */
STLORA_NODISCARD stlora_status stlora_batch_tokens_bound(const stlora_examples *examples, int64_t batch_size,
                                                         int64_t *out, stlora_error *err);

#endif
