/* optimizer.c: the optimizer's state and the order of events in a step. It knows pairs, not layers.
 *
 * Not here: what a rule does with gradients (rule.h), the file (src/train/optimizer_file.c).
 * Invariant: whatever is refused before a matrix was written has changed nothing; sum_squares of every matrix is that of its
 * present elements from the first step on. Test: tests/optim/test_optim_vectors.c, test_optimizer_errors.c.
 */
#include "optim/optimizer.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "optim/clip.h"
#include "optim/rule.h"

struct stlora_optimizer {
    stlora_optimizer_config config;
    const stlora_rule *rule;
    const stlora_backend *backend;
    stlora_backend *own_backend; /* NULL where the backend is borrowed */
    stlora_arena memory;
    stlora_slot *pairs;
    size_t count;
    double *work; /* [threads, work_count] */
    size_t work_count;
    bool norms_known; // false until the first step: the owner may still be filling A and B
};

static stlora_status check_pairs(const stlora_rule *rule, const stlora_pair *pairs, size_t count, stlora_error *err)
{
    if (count == 0 || !pairs)
        return stlora_fail(err, STLORA_E_USAGE, "there is no pair to optimize");
    for (size_t i = 0; i < count; i++) {
        const stlora_pair *p = &pairs[i];
        if (!p->name || !p->name[0])
            return stlora_fail(err, STLORA_E_USAGE, "pair %zu has no name", i);
        if (p->n <= 0 || p->m <= 0 || p->r <= 0)
            return stlora_fail(err, STLORA_E_USAGE,
                               "pair %s has n %lld, m %lld, r %lld; wanted all of them > 0",
                               p->name, (long long)p->n, (long long)p->m, (long long)p->r);
        if (!p->a || !p->b)
            return stlora_fail(err, STLORA_E_USAGE, "pair %s has no matrix %s", p->name,
                               p->a ? "B" : "A");
        if (!p->magnitude != !p->magnitude_grad)
            return stlora_fail(err, STLORA_E_USAGE, "pair %s has a magnitude or a gradient of it; wanted both or none", p->name);
        for (size_t k = 0; k < i; k++)
            if (strcmp(pairs[k].name, p->name) == 0)
                return stlora_fail(err, STLORA_E_USAGE, "pairs %zu and %zu are both named %s", k, i,
                                   p->name);
        if (rule->check) STLORA_TRY(rule->check(p, err));
    }
    return STLORA_OK;
}

static double norm_of(const stlora_optimizer *o, const stlora_adamw_matrix *x)
{
    return sqrt(o->norms_known ? x->sum_squares
                               : o->backend->sum_squares(o->backend, x->p, x->count));
}

/* The decision compares norms as fp32, so that is where they have to be finite. */
static stlora_status check_norms(const stlora_optimizer *o, const stlora_slot *p, stlora_error *err)
{
    const double a = norm_of(o, &p->a), b = norm_of(o, &p->b), magnitude = norm_of(o, &p->magnitude);
    if (isfinite((float)a) && isfinite((float)b) && isfinite((float)magnitude)) return STLORA_OK;
    if (isfinite((float)a) && isfinite((float)b))
        return stlora_fail(err, STLORA_E_NONFINITE,
                           "the magnitude of pair %s has norm %g after %lld steps; wanted a finite one", p->name, magnitude,
                           (long long)p->steps);
    return stlora_fail(err, STLORA_E_NONFINITE,
                       "matrix %s of pair %s has norm %g after %lld steps; wanted a finite one",
                       isfinite((float)a) ? "B" : "A", p->name, isfinite((float)a) ? b : a,
                       (long long)p->steps);
}

static stlora_status check_all_norms(const stlora_optimizer *o, stlora_error *err)
{
    for (size_t i = 0; i < o->count; i++)
        STLORA_TRY(check_norms(o, &o->pairs[i], err));
    return STLORA_OK;
}

/* Walked twice: once to measure, once to place (memory.h). */
static void place(stlora_optimizer *o, int threads)
{
    o->work_count = 0;
    for (size_t i = 0; i < o->count; i++) {
        o->rule->place(&o->pairs[i], &o->memory);
        if (o->pairs[i].magnitude.count) stlora_adamw_place(&o->pairs[i].magnitude, &o->memory);
        const size_t work = o->rule->work ? o->rule->work(&o->pairs[i]) : 0;
        if (work > o->work_count) o->work_count = work;
    }
    /* Rows of the work space end on a cache line. */
    const size_t line = STLORA_ALIGN / sizeof(double);
    o->work_count = (o->work_count + line - 1) / line * line;
    o->work = stlora_arena_take(&o->memory, (size_t)threads * o->work_count, sizeof(double));
}

static stlora_status take_pair(stlora_slot *slot, const stlora_pair *pair, stlora_error *err)
{
    int64_t count_a, count_b;
    if (!stlora_i64_mul(pair->r, pair->n, &count_a) || !stlora_i64_mul(pair->m, pair->r, &count_b))
        return stlora_fail(err, STLORA_E_USAGE, "pair %s is larger than any memory", pair->name);
    STLORA_TRY(stlora_strdup_n(&slot->name, pair->name, strlen(pair->name), err));
    slot->n = pair->n;
    slot->m = pair->m;
    slot->r = pair->r;
    slot->scale = pair->scale;
    slot->a = (stlora_adamw_matrix){.count = count_a, .p = pair->a};
    slot->b = (stlora_adamw_matrix){.count = count_b, .p = pair->b};
    slot->magnitude = (stlora_adamw_matrix){.count = pair->magnitude ? pair->m : 0, .p = pair->magnitude};
    slot->magnitude_grad = pair->magnitude_grad;
    slot->armed = true;
    slot->shrink_factor = 1.0;
    return STLORA_OK;
}

/* An optimizer whose memory is measured and not taken yet. */
static stlora_status outline(stlora_optimizer **out, const stlora_optimizer_config *config, const stlora_pair *pairs, size_t count,
                             int threads, stlora_error *err)
{
    STLORA_TRY(stlora_optimizer_config_check(config, err));
    const stlora_rule *rule = stlora_rule_of(config->kind);
    STLORA_TRY(check_pairs(rule, pairs, count, err));
    stlora_optimizer *o;
    STLORA_TRY(stlora_alloc(&o, 1, sizeof *o, "the optimizer", err));
    o->config = *config;
    if (isnan(config->weight_decay_a)) o->config.weight_decay_a = config->weight_decay;
    o->rule = rule;
    stlora_status status = stlora_alloc(&o->pairs, count, sizeof *o->pairs, "the optimizer's pairs", err);
    if (status == STLORA_OK) o->count = count;
    for (size_t i = 0; status == STLORA_OK && i < count; i++)
        status = take_pair(&o->pairs[i], &pairs[i], err);
    if (status != STLORA_OK) {
        stlora_optimizer_free(o);
        return status;
    }
    place(o, threads);
    *out = o;
    return STLORA_OK;
}

stlora_status stlora_optimizer_measure(size_t *bytes, const stlora_optimizer_config *config, const stlora_pair *pairs,
                                       size_t count, int threads, stlora_error *err)
{
    stlora_optimizer *o;
    STLORA_TRY(outline(&o, config, pairs, count, threads, err));
    *bytes = o->memory.used;
    stlora_optimizer_free(o);
    return STLORA_OK;
}

static stlora_status fill(stlora_optimizer *o, const stlora_backend *backend, stlora_error *err)
{
    STLORA_TRY(stlora_arena_bind(&o->memory, "the optimizer's moments", err));
    place(o, backend->threads);
    o->backend = backend;
    return check_all_norms(o, err);
}

stlora_status stlora_optimizer_create(stlora_optimizer **out, const stlora_optimizer_config *config,
                                      const stlora_pair *pairs, size_t count, stlora_error *err)
{
    STLORA_TRY(stlora_optimizer_config_check(config, err));
    stlora_backend *backend;
    STLORA_TRY(stlora_backend_create(&backend, "cpu", config->threads, err));
    const stlora_status status = stlora_optimizer_create_on(out, backend, config, pairs, count, err);
    if (status == STLORA_OK)
        (*out)->own_backend = backend;
    else
        stlora_backend_free(backend);
    return status;
}

stlora_status stlora_optimizer_create_on(stlora_optimizer **out, const stlora_backend *backend,
                                         const stlora_optimizer_config *config, const stlora_pair *pairs, size_t count,
                                         stlora_error *err)
{
    stlora_optimizer *o;
    STLORA_TRY(outline(&o, config, pairs, count, backend->threads, err));
    const stlora_status status = fill(o, backend, err);
    if (status != STLORA_OK) {
        stlora_optimizer_free(o);
        return status;
    }
    *out = o;
    return STLORA_OK;
}

void stlora_optimizer_free(stlora_optimizer *o)
{
    if (!o) return;
    for (size_t i = 0; i < o->count; i++)
        stlora_free(o->pairs[i].name);
    stlora_free(o->pairs);
    stlora_arena_free(&o->memory);
    stlora_backend_free(o->own_backend);
    stlora_free(o);
}

const stlora_optimizer_config *stlora_optimizer_settings(const stlora_optimizer *o)
{
    return &o->config;
}

/* Norm of all gradients together: sums in double, pairs in their order, A before B. The square of an fp32 number cannot
 * overflow a double, so a sum that is not finite has an element that is not. */
static stlora_status gradient_norm(const stlora_optimizer *o, const stlora_pair_grad *grads,
                                   double *norm, stlora_error *err)
{
    double sum = 0.0;
    for (size_t i = 0; i < o->count; i++) {
        const stlora_slot *p = &o->pairs[i];
        if (!o->rule->a_is_frozen && !grads[i].a != !grads[i].b)
            return stlora_fail(err, STLORA_E_USAGE,
                               "pair %s has a gradient for %s only; wanted both or none", p->name,
                               grads[i].a ? "A" : "B");
        if (!grads[i].b) continue;
        const double a = o->rule->a_is_frozen ? 0.0 : o->backend->sum_squares(o->backend, grads[i].a, p->a.count);
        const double b = o->backend->sum_squares(o->backend, grads[i].b, p->b.count);
        if (!isfinite(a) || !isfinite(b))
            return stlora_fail(
                err, STLORA_E_NONFINITE,
                "the gradient of matrix %s of pair %s holds NaN or infinity; the step was not done",
                isfinite(a) ? "B" : "A", p->name);
        sum += a;
        sum += b;
        if (p->magnitude.count == 0) continue;
        const double magnitude = o->backend->sum_squares(o->backend, p->magnitude_grad, p->magnitude.count);
        if (!isfinite(magnitude))
            return stlora_fail(err, STLORA_E_NONFINITE,
                               "the gradient of the magnitude of pair %s holds NaN or infinity; the step was not done",
                               p->name);
        sum += magnitude;
    }
    *norm = sqrt(sum);
    return STLORA_OK;
}

static void know_norms(stlora_optimizer *o)
{
    for (size_t i = 0; i < o->count && !o->norms_known; i++) {
        stlora_slot *p = &o->pairs[i];
        p->a.sum_squares = o->backend->sum_squares(o->backend, p->a.p, p->a.count);
        p->b.sum_squares = o->backend->sum_squares(o->backend, p->b.p, p->b.count);
        p->magnitude.sum_squares = o->backend->sum_squares(o->backend, p->magnitude.p, p->magnitude.count);
    }
    o->norms_known = true;
}

/* AdamW on the magnitudes of the pairs that the rule has just stepped. */
static void step_magnitudes(const stlora_step *step)
{
    stlora_adamw_batch batch = {.backend = step->backend, .config = step->config};
    for (size_t i = 0; i < step->count; i++) {
        stlora_slot *p = &step->slots[i];
        if (!step->grads[i].b || p->magnitude.count == 0) continue;
        const stlora_rates rates = stlora_rates_at(step->config, step->learning_rate, p->steps);
        const stlora_adamw_step at = stlora_adamw_step_at(step->config, rates.lr_b, rates.wd_b, p->steps);
        stlora_adamw_update(&batch, &at, 1.0, step->grad_scale, p->magnitude_grad, &p->magnitude);
    }
    stlora_adamw_flush(&batch);
}

stlora_status stlora_optimizer_step(stlora_optimizer *o, double learning_rate,
                                    const stlora_pair_grad *grads, stlora_step_info *info,
                                    stlora_error *err)
{
    if (!(learning_rate >= 0.0 && isfinite(learning_rate)))
        return stlora_fail(err, STLORA_E_USAGE,
                           "the learning rate is %.17g; wanted a finite number >= 0",
                           learning_rate);
    if (!grads) return stlora_fail(err, STLORA_E_USAGE, "the step has no gradients");
    double norm = 0.0;
    STLORA_TRY(gradient_norm(o, grads, &norm, err));
    STLORA_TRY(check_all_norms(o, err));
    know_norms(o);
    const stlora_step step = {.backend = o->backend,
                              .config = &o->config,
                              .slots = o->pairs,
                              .grads = grads,
                              .count = o->count,
                              .learning_rate = learning_rate,
                              .grad_scale = stlora_clip_factor(norm, o->config.max_grad_norm),
                              .work = o->work,
                              .work_count = o->work_count};
    STLORA_TRY(o->rule->run(&step, err));
    step_magnitudes(&step);
    stlora_step_info done = {.grad_norm = norm};
    for (size_t i = 0; i < o->count; i++)
        done.pairs_shrinking += o->pairs[i].armed;
    /* A step too large for fp32 is told in the step that made it. */
    STLORA_TRY(check_all_norms(o, err));
    if (info) *info = done;
    return STLORA_OK;
}

size_t stlora_optimizer_count(const stlora_optimizer *o)
{
    return o->count;
}

void stlora_optimizer_pair(const stlora_optimizer *o, size_t i, stlora_pair_state *out)
{
    const stlora_slot *p = &o->pairs[i];
    *out = (stlora_pair_state){.name = p->name,
                               .n = p->n,
                               .m = p->m,
                               .r = p->r,
                               .armed = p->armed,
                               .steps = p->steps,
                               .stop_step = p->stop_step,
                               .shrink_factor = p->shrink_factor,
                               .norm_a = norm_of(o, &p->a),
                               .norm_b = norm_of(o, &p->b),
                               .m_a = p->a.m,
                               .v_a = p->a.v,
                               .m_b = p->b.m,
                               .v_b = p->b.v,
                               .norm_a0 = p->norm_a0};
}

stlora_status stlora_pair_state_check(const char *name, const stlora_pair_state *s,
                                      stlora_error *err)
{
    if (s->steps < 0)
        return stlora_fail(err, STLORA_E_FORMAT,
                           "pair %s has done %lld steps; wanted a number >= 0", name,
                           (long long)s->steps);
    if (s->armed && s->stop_step != 0)
        return stlora_fail(
            err, STLORA_E_FORMAT,
            "pair %s is armed and stopped shrinking in step %lld; wanted one of them", name,
            (long long)s->stop_step);
    if (!s->armed && (s->stop_step < 1 || s->stop_step > s->steps))
        return stlora_fail(err, STLORA_E_FORMAT,
                           "pair %s stopped shrinking in step %lld; wanted a step from 1 to %lld",
                           name, (long long)s->stop_step, (long long)s->steps);
    if (!(s->shrink_factor > 0.0 && s->shrink_factor <= 1.0))
        return stlora_fail(err, STLORA_E_FORMAT,
                           "pair %s has shrink factor %.17g; wanted 0 < shrink factor <= 1", name,
                           s->shrink_factor);
    if (!(s->norm_a0 >= 0.0 && isfinite(s->norm_a0)))
        return stlora_fail(err, STLORA_E_FORMAT, "pair %s has norm_a0 %.17g; wanted a finite number >= 0", name,
                           s->norm_a0);
    return STLORA_OK;
}

size_t stlora_optimizer_tensors(const stlora_optimizer *o, size_t i, stlora_state_tensor out[STLORA_MOST_STATE_TENSORS])
{
    const stlora_slot *p = &o->pairs[i];
    size_t count = o->rule->list(p, out);
    if (p->magnitude.count == 0) return count;
    assert(count + 2 <= STLORA_MOST_STATE_TENSORS);
    out[count++] = (stlora_state_tensor){".magnitude.exp_avg", STLORA_F32, 1, p->m, p->magnitude.m, false};
    out[count++] = (stlora_state_tensor){".magnitude.exp_avg_sq", STLORA_F32, 1, p->m, p->magnitude.v, true};
    return count;
}

const char *stlora_optimizer_rule_name(const stlora_optimizer *o)
{
    return o->rule->name;
}

stlora_status stlora_state_tensor_check(const char *name, const stlora_state_tensor *tensor, const void *data, stlora_error *err)
{
    for (int64_t k = 0; k < tensor->rows * tensor->cols; k++) {
        const double value = stlora_load(data, tensor->dtype, k);
        if (tensor->square ? isnan(value) : !isfinite(value))
            return stlora_fail(err, STLORA_E_NONFINITE, "pair %s: element %lld of %s is not finite", name,
                               (long long)k, tensor->suffix + 1);
        if (tensor->square && value < 0.0)
            return stlora_fail(err, STLORA_E_FORMAT, "pair %s: element %lld of %s is %g; wanted a number >= 0", name,
                               (long long)k, tensor->suffix + 1, value);
    }
    return STLORA_OK;
}

stlora_status stlora_optimizer_restore(stlora_optimizer *o, size_t i,
                                       const stlora_pair_state *state, stlora_error *err)
{
    stlora_slot *p = &o->pairs[i];
    STLORA_TRY(stlora_pair_state_check(p->name, state, err));
    stlora_state_tensor tensors[STLORA_MOST_STATE_TENSORS];
    const size_t count = stlora_optimizer_tensors(o, i, tensors);
    for (size_t k = 0; k < count; k++)
        STLORA_TRY(stlora_state_tensor_check(p->name, &tensors[k], tensors[k].data, err));
    stlora_slot now = *p;
    now.a.sum_squares = o->backend->sum_squares(o->backend, p->a.p, p->a.count);
    now.b.sum_squares = o->backend->sum_squares(o->backend, p->b.p, p->b.count);
    now.magnitude.sum_squares = o->backend->sum_squares(o->backend, p->magnitude.p, p->magnitude.count);
    STLORA_TRY(check_norms(o, &now, err));
    now.armed = state->armed;
    now.steps = state->steps;
    now.stop_step = state->stop_step;
    now.shrink_factor = state->shrink_factor;
    now.norm_a0 = state->norm_a0;
    *p = now;
    return STLORA_OK;
}
