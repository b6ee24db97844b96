/* riemannian.c: Riemannian preconditioning: AdamW, shrink and bias correction and all, on
 *
 *   ghat_A = (B^T B + reg I)^-1 g_A          ghat_B = g_B (A A^T + reg I)^-1
 *
 * both from the A and B of before the step. As PEFT's create_riemannian_optimizer; the authors' release updates A first and builds B's
 * preconditioner from the new A. Source: Zhang & Pilanci, arXiv 2402.02347.
 * Test: tests/optim/test_preconditioned.c (E-31), tests/train/test_golden_methods.c.
 */
#include "optim/precondition.h"

static stlora_status check(const stlora_pair *pair, stlora_error *err)
{
    return stlora_rank_check(pair, "riemannian", err);
}

static void place(stlora_slot *slot, stlora_arena *arena)
{
    stlora_adamw_place(&slot->a, arena);
    stlora_adamw_place(&slot->b, arena);
    slot->ghat_a = stlora_arena_take(arena, (size_t)slot->a.count, sizeof(float));
    slot->ghat_b = stlora_arena_take(arena, (size_t)slot->b.count, sizeof(float));
}

static stlora_status run(const stlora_step *step, stlora_error *err)
{
    STLORA_TRY(stlora_precondition(step, step->config->riemannian_reg, err));
    stlora_adamw_batch batch = {.backend = step->backend, .config = step->config};
    for (size_t i = 0; i < step->count; i++)
        if (step->grads[i].b) stlora_adamw_pair(step, &batch, i, step->slots[i].ghat_a, step->slots[i].ghat_b);
    stlora_adamw_flush(&batch);
    return STLORA_OK;
}

const stlora_rule stlora_rule_riemannian = {.name = "riemannian",
                                            .check = check,
                                            .place = place,
                                            .work = stlora_precondition_work,
                                            .list = stlora_adamw_list,
                                            .run = run};
