/* rule_adamw.c: AdamW on A and on B with Stable-LoRA's shrink before it: the rules adamw and loraplus, which differ in their rates alone
 * (rates.c), and what other rules take of it. Test: tests/optim/test_optim_vectors.c, test_rates.c. */
#include <math.h>

#include "optim/rule.h"
#include "optim/shrink.h"
#include "optim/shrink_rule.h"

void stlora_adamw_place(stlora_adamw_matrix *matrix, stlora_arena *arena)
{
    matrix->m = stlora_arena_take(arena, (size_t)matrix->count, sizeof(float));
    matrix->v = stlora_arena_take(arena, (size_t)matrix->count, sizeof(float));
}

size_t stlora_adamw_list(const stlora_slot *slot, stlora_state_tensor out[STLORA_MOST_STATE_TENSORS])
{
    size_t count = 0;
    if (slot->a.m) {
        out[count++] = (stlora_state_tensor){".lora_A.exp_avg", STLORA_F32, slot->r, slot->n, slot->a.m, false};
        out[count++] = (stlora_state_tensor){".lora_A.exp_avg_sq", STLORA_F32, slot->r, slot->n, slot->a.v, true};
    }
    if (slot->b.m) {
        out[count++] = (stlora_state_tensor){".lora_B.exp_avg", STLORA_F32, slot->m, slot->r, slot->b.m, false};
        out[count++] = (stlora_state_tensor){".lora_B.exp_avg_sq", STLORA_F32, slot->m, slot->r, slot->b.v, true};
    }
    return count;
}

static void place(stlora_slot *slot, stlora_arena *arena)
{
    stlora_adamw_place(&slot->a, arena);
    stlora_adamw_place(&slot->b, arena);
}

/* The factor of A in this step, 1 - ratio or 1; the latch and phi follow. */
static double shrink_slot(const stlora_optimizer_config *c, stlora_slot *p, double lr_a)
{
    const double norm_a = sqrt(p->a.sum_squares);
    if (p->steps == 1) p->norm_a0 = norm_a;
    const stlora_shrink_view view = {.n = p->n,
                                     .m = p->m,
                                     .r = p->r,
                                     .t = p->steps,
                                     .norm_a = norm_a,
                                     .norm_b = sqrt(p->b.sum_squares),
                                     .norm_a0 = p->norm_a0,
                                     .factor = p->shrink_factor,
                                     .lr_a = lr_a};
    double ratio = 0.0;
    const bool continues = p->armed && stlora_shrink_ratio_at(c, &view, &ratio);
    return stlora_shrink_record(continues, ratio, p->steps, &p->armed, &p->stop_step, &p->shrink_factor);
}

static void multiply(float *x, int64_t count, double factor)
{
    for (int64_t i = 0; i < count; i++)
        x[i] *= (float)factor;
}

/* What the moments are when A has become A s and B has become B/s: gradients of A scale by 1/s, those of B by s. */
static void move_moments(stlora_slot *p, double s)
{
    multiply(p->a.m, p->a.count, 1.0 / s);
    multiply(p->a.v, p->a.count, 1.0 / (s * s));
    multiply(p->b.m, p->b.count, s);
    multiply(p->b.v, p->b.count, s * s);
}

void stlora_adamw_pair(const stlora_step *step, stlora_adamw_batch *batch, size_t i, const float *g_a, const float *g_b)
{
    const stlora_optimizer_config *c = step->config;
    stlora_slot *p = &step->slots[i];
    p->steps++;
    const stlora_rates rates = stlora_rates_at(c, step->learning_rate, p->steps);
    const double shrink = shrink_slot(c, p, rates.lr_a), gauge = c->shrink_gauge ? shrink : 1.0;
    const stlora_adamw_step step_a = stlora_adamw_step_at(c, rates.lr_a, rates.wd_a, p->steps),
                            step_b = stlora_adamw_step_at(c, rates.lr_b, rates.wd_b, p->steps);
    if (gauge != 1.0) move_moments(p, gauge);
    stlora_adamw_update(batch, &step_a, shrink, step->grad_scale / gauge, g_a, &p->a);
    stlora_adamw_update(batch, &step_b, 1.0 / gauge, step->grad_scale * gauge, g_b, &p->b);
}

void stlora_count_without_shrink(stlora_slot *slot)
{
    slot->steps++;
    if (slot->steps == 1) slot->norm_a0 = sqrt(slot->a.sum_squares);
    if (slot->armed) {
        slot->armed = false;
        slot->stop_step = slot->steps;
    }
}

static stlora_status run(const stlora_step *step, stlora_error *err)
{
    stlora_adamw_batch batch = {.backend = step->backend, .config = step->config};
    (void)err;
    for (size_t i = 0; i < step->count; i++)
        if (step->grads[i].b) stlora_adamw_pair(step, &batch, i, step->grads[i].a, step->grads[i].b);
    stlora_adamw_flush(&batch);
    return STLORA_OK;
}

const stlora_rule stlora_rule_adamw = {.name = "adamw", .place = place, .list = stlora_adamw_list, .run = run};
const stlora_rule stlora_rule_loraplus = {.name = "loraplus", .place = place, .list = stlora_adamw_list, .run = run};

const stlora_rule *stlora_rule_of(stlora_optimizer_kind kind)
{
    switch (kind) {
    case STLORA_OPTIMIZER_ADAMW: return &stlora_rule_adamw;
    case STLORA_OPTIMIZER_LORAPLUS: return &stlora_rule_loraplus;
    case STLORA_OPTIMIZER_RIEMANNIAN: return &stlora_rule_riemannian;
    case STLORA_OPTIMIZER_LORA_RITE: return &stlora_rule_rite;
    case STLORA_OPTIMIZER_LORA_FA: return &stlora_rule_fa;
    }
    return NULL;
}
