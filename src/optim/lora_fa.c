/* lora_fa.c: LoRA-FA: A stays as it is, and B moves by AdamW on the gradient that comes nearest to that of the whole product,
 *
 *   ghat_B = s^-2 g_B (A A^T + 1e-8 I)^-1
 *
 * in the form of PEFT's create_lorafa_optimizer: eps is added to sqrt(v) as it is, and the weight decay comes after the step,
 *
 *   p = (p - size m / (sqrt(v) + eps)) (1 - lr w),  size = lr sqrt(1-b2^t) / (1-b1^t)
 *
 * The backend's op decays before the step, so the step is decayed with it, which is the same but for roundings. PEFT multiplies in bf16 where
 * it can; here ghat_B is rounded once, to fp32. Source: Zhang et al., arXiv 2308.03303.
 * Test: tests/optim/test_preconditioned.c (E-40), tests/train/test_golden_methods.c.
 */
#include <math.h>

#include "optim/precondition.h"

static stlora_status check(const stlora_pair *pair, stlora_error *err)
{
    STLORA_TRY(stlora_rank_check(pair, "lora-fa", err));
    if (pair->scale > 0.0 && isfinite(pair->scale)) return STLORA_OK;
    return stlora_fail(err, STLORA_E_USAGE, "pair %s has scale %g; lora-fa wants a finite number > 0", pair->name,
                       pair->scale);
}

static void place(stlora_slot *slot, stlora_arena *arena)
{
    stlora_adamw_place(&slot->b, arena);
    slot->ghat_b = stlora_arena_take(arena, (size_t)slot->b.count, sizeof(float));
}

static stlora_status run(const stlora_step *step, stlora_error *err)
{
    STLORA_TRY(stlora_precondition(step, 1e-8, err));
    stlora_adamw_batch batch = {.backend = step->backend, .config = step->config};
    for (size_t i = 0; i < step->count; i++) {
        stlora_slot *p = &step->slots[i];
        if (!step->grads[i].b) continue;
        stlora_count_without_shrink(p);
        const stlora_rates rates = stlora_rates_at(step->config, step->learning_rate, p->steps);
        stlora_adamw_step now = stlora_adamw_step_at(step->config, rates.lr_b, rates.wd_b, p->steps);
        now.step_size *= now.sqrt_bc2 * now.decay;
        now.sqrt_bc2 = 1.0;
        stlora_adamw_update(&batch, &now, 1.0, step->grad_scale / (p->scale * p->scale), p->ghat_b, &p->b);
    }
    stlora_adamw_flush(&batch);
    return STLORA_OK;
}

const stlora_rule stlora_rule_fa = {.name = "lora-fa",
                                    .a_is_frozen = true,
                                    .check = check,
                                    .place = place,
                                    .work = stlora_precondition_work,
                                    .list = stlora_adamw_list,
                                    .run = run};
