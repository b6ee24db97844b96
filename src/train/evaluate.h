/* evaluate.h: loss of held-out rows, packed like training's. Test: tests/train/test_evaluate.c. */
#ifndef STLORA_TRAIN_EVALUATE_H
#define STLORA_TRAIN_EVALUATE_H

#include <signal.h>

#include "data/pack.h"
#include "stlora/train.h"
#include "train/session.h"

/* stlora_pass_view: a pack as a pass's batch; borrowed. */
stlora_pass_batch stlora_pass_view(const stlora_pack *pack);

/* stlora_evaluate_with: mean loss over the supervised tokens of all examples, through a pass and a pack that the caller
 * has and that have room for the longest of them; out->step is the caller's. stop (NULL allowed): ends with
 * STLORA_E_INTERRUPTED. */
STLORA_NODISCARD stlora_status stlora_evaluate_with(stlora_pass *pass, stlora_pack *pack,
                                                    const stlora_examples *examples, const volatile sig_atomic_t *stop,
                                                    stlora_eval_metrics *out, stlora_error *err);

/* stlora_evaluate: the same with a pass of its own, planned within budget bytes and given back. */
STLORA_NODISCARD stlora_status stlora_evaluate(const stlora_session *session, const stlora_examples *examples,
                                               int64_t budget, const volatile sig_atomic_t *stop,
                                               stlora_eval_metrics *out, stlora_error *err);

#endif
