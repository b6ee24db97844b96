/* trainer.c: a run from its parameters to its adapter. Creation opens, reads and plans, and writes nothing; the run takes the planned
 * memory, makes the directory and walks the steps. Invariant: everything a step depends on is in the parameters, the inputs and the
 * checkpoint, so that a resumed run equals an uninterrupted one bit for bit (tests/cli/test_resume.py).
 */
#include "train/trainer.h"

#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "data/pack.h"
#include "data/sampler.h"
#include "optim/optimizer.h"
#include "stlora/version.h"
#include "train/checkpoint.h"
#include "train/configs.h"
#include "train/evaluate.h"
#include "train/method_params.h"
#include "train/plan.h"
#include "train/run_adapter.h"
#include "train/run_dir.h"
#include "train/session.h"
#include "train/stability.h"
#include "train/step_profile.h"

enum { SKIPS_IN_A_ROW = 10 };

struct stlora_trainer {
    stlora_train_config
        config; /* numbers only; its strings belong to the caller's params and are not used after creation */
    stlora_train_callbacks callbacks;
    char *output_dir;
    char *checkpoint; /* to resume from, or NULL */
    json_t *params, *inputs;
    stlora_session session;
    const stlora_trainer *first; /* whose rows these are; NULL = its own */
    stlora_examples *examples, *held_out;
    stlora_sampler *sampler;
    stlora_stability *stability; /* NULL = nothing is measured */
    stlora_pass_shape shape;
    stlora_plan plan;
    int64_t budget, warmup;
    double rate; /* operations per second, for the estimate */
    stlora_lr_scheduler scheduler;
    stlora_optimizer_config method;
    /* while running */
    stlora_optimizer *optimizer;
    stlora_pair_grad *grads;
    stlora_step_profile *profile; /* NULL unless asked for */
    stlora_pass *pass;
    stlora_pack pack;
    uint32_t *chosen;
    stlora_metrics_file metrics;
    bool logs_events; /* write an event file beside metrics.jsonl */
    stlora_run_state state;
};

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- creation ---- */

static stlora_status check_flags(const stlora_params *params, const stlora_train_config *c, stlora_error *err)
{
    if (!c->model) return stlora_fail(err, STLORA_E_USAGE, "--model: wanted a model directory, found none");
    if (c->data.count == 0) return stlora_fail(err, STLORA_E_USAGE, "--data: wanted a file of rows, found none");
    if (stlora_params_given(params, "warmup_steps") && stlora_params_given(params, "warmup_ratio") &&
        c->warmup_steps > 0 && c->warmup_ratio > 0)
        return stlora_fail(err, STLORA_E_USAGE,
                           "--warmup-steps and --warmup-ratio contradict each other; give one of them");
    if (c->stability_every == 0 && strcmp(c->stability_pairs, "spread") != 0)
        return stlora_fail(err, STLORA_E_USAGE,
                           "--stability-pairs: nothing is measured with --stability-every 0; leave one of them out");
    if (c->max_steps > 0 && c->num_train_epochs > 1)
        return stlora_fail(err, STLORA_E_USAGE,
                           "--max-steps and --num-train-epochs contradict each other; give one of them");
    return STLORA_OK;
}

/* Where to go on from: NULL when "latest" finds nothing yet, so that one command line serves the first start and every restart. */
static stlora_status find_checkpoint(stlora_trainer *t, stlora_error *err)
{
    const stlora_train_config *c = &t->config;
    if (!c->resume_from_checkpoint) return STLORA_OK;
    if (strcmp(c->resume_from_checkpoint, "latest") != 0) {
        if (!stlora_path_is_dir(c->resume_from_checkpoint))
            return stlora_fail(err, STLORA_E_USAGE, "--resume-from-checkpoint: %s is no directory",
                               c->resume_from_checkpoint);
        return stlora_strdup_n(&t->checkpoint, c->resume_from_checkpoint, strlen(c->resume_from_checkpoint), err);
    }
    if (!c->output_dir) return stlora_fail(err, STLORA_E_USAGE, "--resume-from-checkpoint latest needs --output-dir");
    STLORA_TRY(stlora_run_dir_latest(c->output_dir, &t->checkpoint, err));
    if (!t->checkpoint)
        stlora_log(&t->callbacks.log, STLORA_LOG_INFO, "no checkpoint in %s yet: starting from the beginning",
                   c->output_dir);
    return STLORA_OK;
}

static stlora_status make_sampler(stlora_trainer *t, stlora_error *err)
{
    const stlora_train_config *c = &t->config;
    stlora_sampler_options options = {.count = stlora_examples_count(t->examples),
                                      .batch_size = (size_t)c->batch_size,
                                      .shuffle = c->shuffle,
                                      .seed = (uint64_t)c->seed,
                                      .wrap = c->max_steps > 0};
    STLORA_TRY(stlora_sampler_create(&t->sampler, &options, err));
    t->plan.steps = c->max_steps > 0 ? c->max_steps : stlora_sampler_steps(t->sampler, c->num_train_epochs);
    t->warmup = c->warmup_steps > 0 ? c->warmup_steps : (int64_t)ceil(c->warmup_ratio * (double)t->plan.steps);
    if (t->warmup > t->plan.steps)
        return stlora_fail(err, STLORA_E_USAGE, "--warmup-steps: %lld are more than the run's %lld steps",
                           (long long)t->warmup, (long long)t->plan.steps);
    return STLORA_OK;
}

/* What the process holds beside what the plan names: libraries, threads, the model's names; and what it will take for checkpoints (names,
 * headers, JSON of every pair). The tokenizer's work is done, so its memory is given back first. */
static int64_t program_bytes(stlora_trainer *t, int64_t named, int64_t *peak)
{
    enum { MARGIN = 256 << 10, MARGIN_PER_PAIR = 4 << 10 };
    stlora_session_end_text(&t->session);
    /* Of a process with several runs nobody can say what part belongs to this one. */
    int64_t held = t->first ? 0 : stlora_memory_held(peak);
    return (held > named ? held - named : 0) + MARGIN + MARGIN_PER_PAIR * (int64_t)t->session.lora->count;
}

/* The shape of the steps, and how much of them is measured: that gives way where memory is short. */
static stlora_status plan_shape(stlora_trainer *t, stlora_plan_task *task, stlora_error *err)
{
    const stlora_session *s = &t->session;
    const size_t fixed = task->fixed;
    const int64_t wanted = !t->stability                                   ? 0
                           : task->batch_tokens < STLORA_STABILITY_TOKENS ? task->batch_tokens
                                                                          : STLORA_STABILITY_TOKENS;
    stlora_status status;
    for (int64_t tokens = wanted;; tokens = tokens / 2 >= STLORA_STABILITY_FEWEST ? tokens / 2 : 0) {
        t->plan.stability_tokens = tokens;
        t->plan.bytes_stability = (int64_t)stlora_stability_bytes(t->stability, tokens, s->act);
        task->fixed = fixed + (size_t)t->plan.bytes_stability;
        status = stlora_plan_shape(s->model, s->lora, task, t->budget, &t->shape, err);
        if (status != STLORA_E_NOMEM || tokens == 0) break;
    }
    STLORA_TRY(status);
    if (t->plan.stability_tokens < wanted)
        stlora_log(&t->callbacks.log, STLORA_LOG_WARNING,
                   "--max-memory: stability is measured over %lld tokens of a step instead of %lld",
                   (long long)t->plan.stability_tokens, (long long)wanted);
    if (t->plan.stability_tokens == 0) {
        stlora_stability_free(t->stability);
        t->stability = NULL;
    }
    t->plan.stability_pairs = stlora_stability_pairs(t->stability);
    return STLORA_OK;
}

/* The adapter's pairs as the optimizer takes them. Creates. */
static stlora_status list_pairs(const stlora_lora *lora, stlora_pair **out, stlora_error *err)
{
    STLORA_TRY(stlora_alloc(out, lora->count, sizeof **out, "pairs", err));
    for (size_t i = 0; i < lora->count; i++) {
        const stlora_lora_map *map = &lora->maps[i];
        (*out)[i] = (stlora_pair){.name = map->linear->name,
                                  .n = map->linear->n,
                                  .m = map->linear->m,
                                  .r = map->r,
                                  .a = map->a,
                                  .b = map->b,
                                  .scale = map->scale,
                                  .magnitude = map->mag,
                                  .magnitude_grad = map->gmag};
    }
    return STLORA_OK;
}

static stlora_status optimizer_bytes(const stlora_trainer *t, int64_t *out, stlora_error *err)
{
    stlora_pair *pairs;
    size_t bytes = 0;
    STLORA_TRY(list_pairs(t->session.lora, &pairs, err));
    const stlora_status status = stlora_optimizer_measure(&bytes, &t->method, pairs, t->session.lora->count,
                                                          t->session.backend->threads, err);
    stlora_free(pairs);
    *out = (int64_t)bytes;
    return status;
}

static stlora_status plan_memory(stlora_trainer *t, int64_t longest, stlora_error *err)
{
    const stlora_train_config *c = &t->config;
    const stlora_session *s = &t->session;
    stlora_plan *p = &t->plan;
    int64_t bound, peak = 0, scratch = (int64_t)stlora_backend_scratch_bytes(s->backend);
    stlora_pass_bytes bytes;
    p->bytes_mapped = (int64_t)stlora_safetensors_bytes(s->model->files);
    /* What is free must hold the files too, which a step walks through twice; a file too large for that is read from disk. */
    if (!c->max_memory && !t->first) t->budget = p->bytes_mapped < t->budget / 4 * 3 ? t->budget - p->bytes_mapped : t->budget / 4;
    p->bytes_adapter = (int64_t)(s->lora->elements * sizeof(float));
    p->bytes_gradients = p->bytes_adapter;
    STLORA_TRY(optimizer_bytes(t, &p->bytes_optimizer, err));
    p->bytes_adapter += (int64_t)(s->lora->derived_elements * sizeof(float));
    p->bytes_data =
        (int64_t)stlora_examples_bytes(t->examples) + (t->held_out ? (int64_t)stlora_examples_bytes(t->held_out) : 0);
    p->bytes_program = program_bytes(t, p->bytes_adapter + p->bytes_gradients + p->bytes_data + scratch, &peak);
    STLORA_TRY(stlora_batch_tokens_bound(t->examples, c->batch_size, &bound, err));
    stlora_plan_task task = {.act = s->act,
                             .train = true,
                             .longest = longest,
                             .batch_tokens = bound < longest ? longest : bound,
                             .batch_size = c->batch_size,
                             .neftune_noise_alpha = c->neftune_noise_alpha,
                             .fixed = (size_t)(p->bytes_adapter + p->bytes_gradients + p->bytes_optimizer +
                                               p->bytes_data + p->bytes_program + scratch)};
    STLORA_TRY(plan_shape(t, &task, err));
    stlora_pass_measure(s->model, s->lora, &t->shape, &bytes);
    p->bytes_activations = (int64_t)bytes.activations;
    p->bytes_workspace = (int64_t)bytes.workspace + scratch;
    p->bytes_logits = (int64_t)bytes.logits;
    p->bytes_total = (int64_t)(task.fixed + bytes.activations + bytes.workspace + bytes.logits);
    if (peak > t->budget)
        return stlora_fail(err, STLORA_E_NOMEM, "--max-memory: reading the rows has taken %lld MiB, given %lld MiB",
                           (long long)((peak >> 20) + 1), (long long)(t->budget >> 20));
    if (peak > p->bytes_total) { /* reading took more than training will */
        p->bytes_program += peak - p->bytes_total;
        p->bytes_total = peak;
    }
    return STLORA_OK;
}

static stlora_status make_plan(stlora_trainer *t, stlora_error *err)
{
    const stlora_train_config *c = &t->config;
    const stlora_session *s = &t->session;
    const stlora_example_counts *counts = stlora_examples_counts(t->examples);
    stlora_plan *p = &t->plan;
    int64_t *lengths, longest = counts->longest;
    size_t rows = stlora_examples_count(t->examples);

    /* Measured before memory is counted, since it starts the threads. */
    if (t->first)
        t->rate = t->first->rate;
    else
        STLORA_TRY(stlora_plan_rate(s, &t->rate, err));
    /* Evaluations go through the same buffers, so the longest held-out row must fit too. */
    if (t->held_out && stlora_examples_counts(t->held_out)->longest > longest)
        longest = stlora_examples_counts(t->held_out)->longest;
    STLORA_TRY(plan_memory(t, longest, err));

    p->rows = counts->rows;
    p->rows_dropped = counts->dropped;
    p->rows_cut = counts->cut;
    p->rows_prompt_no_prefix = counts->prompt_no_prefix;
    p->tokens_per_epoch = counts->tokens;
    p->supervised_per_epoch = counts->supervised;
    p->longest_row = counts->longest;
    p->batch_size = c->batch_size;
    p->micro_batch_tokens = t->shape.max_tokens;
    p->pairs = (int64_t)s->lora->count;
    p->trainable_parameters = (int64_t)s->lora->elements;
    p->base_parameters = s->model->parameters;
    p->precision = s->act == STLORA_BF16 ? "bf16" : "fp32";
    p->backend = s->backend->name;
    p->threads = s->backend->threads;
    p->layers = s->model->config.layers;
    const int64_t *again = t->shape.again;
    p->recomputed_attention = again[STLORA_PART_ATTENTION];
    p->recomputed_residual = again[STLORA_PART_MID];
    p->recomputed_inner = again[STLORA_PART_UP];
    for (int part = 0; part < STLORA_PART_COUNT; part++)
        if (again[part] > p->layers_recomputed) p->layers_recomputed = again[part];
    p->input_stride = t->shape.input_stride > 1 ? t->shape.input_stride : 1;
    int64_t lowest = stlora_transformer_linear(s->model, s->lora->lowest)->layer;
    p->lowest_adapted_layer = lowest < 0 ? p->layers : lowest;

    STLORA_TRY(stlora_alloc(&lengths, rows, sizeof *lengths, "row lengths", err));
    for (size_t i = 0; i < rows; i++)
        lengths[i] = stlora_examples_at(t->examples, i).length;
    double all = stlora_pass_flops(s->model, s->lora, lengths, (int64_t)rows, counts->supervised, true);
    stlora_free(lengths);
    double rows_per_step =
        (double)c->batch_size < (double)rows || c->max_steps > 0 ? (double)c->batch_size : (double)rows;
    p->flops_per_step = all / (double)rows * rows_per_step;
    stlora_pass_shape kept = t->shape; /* the estimate knows what is computed twice */
    memset(kept.again, 0, sizeof kept.again);
    kept.input_stride = 1;
    double twice = stlora_plan_cost(s->model, s->lora, &t->shape) / stlora_plan_cost(s->model, s->lora, &kept);
    p->seconds_estimate = p->flops_per_step * twice * (double)p->steps / t->rate;
    return STLORA_OK;
}

/* What run.json keeps of the parameters: resolved, and without what belongs to this start alone. */
static stlora_status keep_params(stlora_trainer *t, const stlora_params *params, stlora_error *err)
{
    t->params = stlora_params_json(params);
    if (!t->params || json_object_set_new(t->params, "resume_from_checkpoint", json_null()) != 0 ||
        json_object_set_new(t->params, "precision", json_string(t->plan.precision)) != 0)
        return stlora_fail(err, STLORA_E_NOMEM, "no memory for the parameters");
    stlora_method_record(t->params, &t->config, &t->method);
    if (t->config.shrink_ratio <= 0) /* where it was resolved to that */
        (void)json_object_set_new(t->params, "shrink_ratio", json_real(0));
    if (t->config.adapter) STLORA_TRY(stlora_run_adapter_record(t->params, t->session.lora, err));
    return stlora_list_inputs(&t->inputs, t->config.model, t->config.adapter, t->config.chat_template,
                              t->config.data.items, t->config.data.count, err);
}

static stlora_status check_answers(stlora_trainer *t, stlora_error *err)
{
    STLORA_TRY(stlora_session_answers(&t->session, err));
    if (t->session.turn_end < 0)
        stlora_log(&t->callbacks.log, STLORA_LOG_WARNING,
                   "the chat template ends an answer with %s, so that other programs may not see where it ends; zephyr and "
                   "alpaca, which are built in, write the model's end token",
                   t->session.turn_end_text ? "words that are no added token of tokenizer.json" : "nothing");
    return STLORA_OK;
}

static stlora_status take_rows(stlora_trainer *t, stlora_error *err)
{
    const stlora_train_config *c = &t->config;
    stlora_row_kind kind;
    if (t->first) {
        t->examples = t->first->examples;
        t->held_out = t->first->held_out;
        t->plan.row_kind = t->first->plan.row_kind;
        return STLORA_OK;
    }
    STLORA_TRY(stlora_session_chat(&t->session, c->model, c->chat_template, c->now, err));
    STLORA_TRY(stlora_session_examples(&t->session, c->data, c->max_length, c->completion_only_loss, &t->examples,
                                       &kind, err));
    t->plan.row_kind = stlora_row_kind_name(kind);
    if (kind == STLORA_ROW_MESSAGES) STLORA_TRY(check_answers(t, err));
    if (c->eval_data.count == 0) return STLORA_OK;
    return stlora_session_examples(&t->session, c->eval_data, c->max_length, c->completion_only_loss, &t->held_out,
                                   NULL, err);
}

static stlora_status create(stlora_trainer *t, const stlora_params *params, stlora_error *err)
{
    const stlora_train_config *c = &t->config;
    stlora_lora_init init;
    bool shrink_off;
    STLORA_TRY(check_flags(params, c, err));
    STLORA_TRY(stlora_run_adapter_init(&init, params, &t->config, &shrink_off, err));
    STLORA_TRY(stlora_method_settings(&t->method, params, c, 0, err)); /* contradictions first, before anything is read */
    if (!t->first) {
        t->budget = stlora_memory_free();
        if (c->max_memory) STLORA_TRY(stlora_memory_parse(c->max_memory, &t->budget, err));
    }
    if (c->output_dir) {
        STLORA_TRY(stlora_run_dir_check(c->output_dir, c->resume_from_checkpoint != NULL, err));
        STLORA_TRY(stlora_strdup_n(&t->output_dir, c->output_dir, strlen(c->output_dir), err));
    }
    t->logs_events = strcmp(c->logging, "tensorboard") == 0;
    STLORA_TRY(find_checkpoint(t, err));
    STLORA_TRY(stlora_session_open(&t->session, c->model, c->adapter, c->precision, (int)c->threads, true, err));
    init.later = t->checkpoint != NULL;
    STLORA_TRY(stlora_run_adapter_open(&t->session, params, &t->config, &init, &shrink_off, err));
    if (shrink_off)
        stlora_log(&t->callbacks.log, STLORA_LOG_INFO, "A is not shrunk (shrink_ratio 0): with %s %s B is not 0 at the start",
                   c->adapter ? "--adapter" : "--init-lora-weights", c->adapter ? c->adapter : c->init_lora_weights);
    if (c->stability_every)
        STLORA_TRY(stlora_stability_create(&t->stability, t->session.lora, t->session.backend->team, c->stability_every,
                                           c->stability_pairs, (uint64_t)c->seed,
                                           !c->adapter && stlora_lora_init_elementwise(&init) ? &init : NULL, err));
    STLORA_TRY(take_rows(t, err));
    t->scheduler = strcmp(c->lr_scheduler_type, "cosine") == 0     ? STLORA_LR_COSINE
                   : strcmp(c->lr_scheduler_type, "constant") == 0 ? STLORA_LR_CONSTANT
                                                                   : STLORA_LR_LINEAR;
    STLORA_TRY(make_sampler(t, err));
    STLORA_TRY(stlora_method_settings(&t->method, params, c, t->plan.steps, err));
    STLORA_TRY(make_plan(t, err));
    return keep_params(t, params, err);
}

stlora_status stlora_trainer_create_beside(stlora_trainer **out, const stlora_params *params,
                                           const stlora_train_callbacks *callbacks, const stlora_trainer *first,
                                           int64_t budget, stlora_error *err)
{
    stlora_trainer *t;
    STLORA_TRY(stlora_alloc(&t, 1, sizeof *t, "trainer", err));
    t->first = first;
    t->budget = budget;
    memcpy(&t->config, stlora_params_values(params, "train"), sizeof t->config);
    if (callbacks) t->callbacks = *callbacks;
    t->metrics.fd = -1;
    stlora_status status = create(t, params, err);
    if (status != STLORA_OK) {
        stlora_trainer_free(t);
        return status;
    }
    *out = t;
    return STLORA_OK;
}

stlora_status stlora_trainer_create(stlora_trainer **out, const stlora_params *params,
                                    const stlora_train_callbacks *callbacks, stlora_error *err)
{
    return stlora_trainer_create_beside(out, params, callbacks, NULL, 0, err);
}

int64_t stlora_trainer_budget(const stlora_trainer *trainer)
{
    return trainer->budget;
}

const json_t *stlora_trainer_params(const stlora_trainer *trainer)
{
    return trainer->params;
}

stlora_status stlora_trainer_inputs(stlora_trainer *t, const json_t **out, stlora_error *err)
{
    if (t->first) {
        if (json_object_update(t->inputs, t->first->inputs) != 0)
            return stlora_fail(err, STLORA_E_NOMEM, "no memory for the inputs' fingerprints");
    } else {
        STLORA_TRY(stlora_hash_inputs(t->inputs, err));
    }
    *out = t->inputs;
    return STLORA_OK;
}

void stlora_trainer_plan(const stlora_trainer *trainer, stlora_plan *out)
{
    *out = trainer->plan;
}

void stlora_trainer_free(stlora_trainer *t)
{
    if (!t) return;
    stlora_metrics_close(&t->metrics);
    stlora_free(t->chosen);
    stlora_pack_free(&t->pack);
    stlora_pass_free(t->pass);
    stlora_step_profile_free(t->profile);
    stlora_free(t->grads);
    stlora_optimizer_free(t->optimizer);
    stlora_sampler_free(t->sampler);
    stlora_stability_free(t->stability);
    if (!t->first) {
        stlora_examples_free(t->examples);
        stlora_examples_free(t->held_out);
    }
    stlora_session_close(&t->session);
    json_decref(t->params);
    json_decref(t->inputs);
    stlora_free(t->checkpoint);
    stlora_free(t->output_dir);
    stlora_free(t);
}

/* ---- the run ---- */

static stlora_status take_optimizer(stlora_trainer *t, stlora_error *err)
{
    const stlora_lora *lora = t->session.lora;
    stlora_pair *pairs;
    STLORA_TRY(stlora_alloc(&t->grads, lora->count, sizeof *t->grads, "gradients", err));
    for (size_t i = 0; i < lora->count; i++)
        t->grads[i] = (stlora_pair_grad){lora->maps[i].ga, lora->maps[i].gb};
    STLORA_TRY(list_pairs(lora, &pairs, err));
    stlora_status status =
        stlora_optimizer_create_on(&t->optimizer, t->session.backend, &t->method, pairs, lora->count, err);
    stlora_free(pairs);
    return status;
}

static stlora_status take_memory(stlora_trainer *t, stlora_error *err)
{
    if (t->config.profile) STLORA_TRY(stlora_step_profile_create(&t->profile, &t->session, err));
    const stlora_backend *backend = stlora_step_profile_table(t->profile, t->session.backend);
    STLORA_TRY(stlora_pass_create(&t->pass, t->session.model, t->session.lora, backend, &t->shape, err));
    STLORA_TRY(stlora_pack_create(&t->pack, t->shape.max_tokens, t->shape.max_segments, err));
    STLORA_TRY(stlora_alloc(&t->chosen, (size_t)t->config.batch_size, sizeof *t->chosen, "a batch", err));
    STLORA_TRY(stlora_stability_take(t->stability, t->plan.stability_tokens, t->shape.act, err));
    return take_optimizer(t, err);
}

static stlora_status write_run_json(const stlora_trainer *t, stlora_error *err)
{
    char *path;
    json_t *value = json_pack("{s:s, s:O, s:O, s:{s:s, s:i, s:I, s:I}}", "stable_lora_version", STLORA_VERSION,
                              "params", t->params, "inputs", t->inputs, "machine", "backend", t->plan.backend,
                              "threads", t->plan.threads, "micro_batch_tokens", (json_int_t)t->plan.micro_batch_tokens,
                              "layers_recomputed", (json_int_t)t->plan.layers_recomputed);
    if (!value) return stlora_fail(err, STLORA_E_NOMEM, "no memory for run.json");
    stlora_status status = stlora_path_join(&path, t->output_dir, "run.json", err);
    if (status == STLORA_OK) {
        status = stlora_json_save(value, path, err);
        stlora_free(path);
    }
    json_decref(value);
    return status;
}

static stlora_status evaluate(stlora_trainer *t, int64_t step, stlora_error *err)
{
    stlora_eval_metrics metrics = {.step = step};
    if (!t->held_out) return STLORA_OK;
    STLORA_TRY(stlora_evaluate_with(t->pass, &t->pack, t->held_out, NULL, &metrics, err));
    STLORA_TRY(stlora_metrics_eval(&t->metrics, &metrics, err));
    if (t->callbacks.on_eval) t->callbacks.on_eval(t->callbacks.context, &metrics);
    return STLORA_OK;
}

static stlora_status save_checkpoint(stlora_trainer *t, stlora_error *err)
{
    STLORA_TRY(
        stlora_checkpoint_save(t->output_dir, &t->state, t->session.lora, t->optimizer, t->params, t->inputs, err));
    STLORA_TRY(stlora_stability_save(t->output_dir, t->optimizer, err));
    return stlora_run_dir_prune(t->output_dir, t->config.save_total_limit, err);
}

/* Forward and backward over the rows of step `step` (from 1), in as many micro-batches as the plan's memory asks. */
static void gradients(stlora_trainer *t, size_t count, stlora_step_metrics *m)
{
    stlora_lora *lora = t->session.lora;
    double loss = 0;
    m->tokens = m->supervised_tokens = 0;
    for (size_t k = 0; k < count; k++) {
        stlora_example example = stlora_examples_at(t->examples, t->chosen[k]);
        m->tokens += example.length;
        m->supervised_tokens += example.supervised;
        stlora_step_profile_row(t->profile, example.length, example.supervised);
    }
    stlora_pass_watch(t->pass, stlora_stability_begin(t->stability, m));
    memset(lora->grads, 0, lora->elements * sizeof(float));
    for (size_t from = 0; from < count;) {
        from += stlora_pack_fill(&t->pack, t->examples, t->chosen, count, from);
        stlora_pass_batch batch = stlora_pass_view(&t->pack);
        stlora_pass_grad(t->pass, &batch, 1.0 / (double)m->supervised_tokens, (uint64_t)t->config.seed, m->step, &loss);
    }
    m->loss = loss / (double)m->supervised_tokens;
}

static stlora_status one_step(stlora_trainer *t, stlora_step_metrics *m, stlora_error *err)
{
    size_t count;
    stlora_step_info info = {0};
    double start = now();
    *m = (stlora_step_metrics){.step = t->state.step + 1, .total_steps = t->plan.steps, .pairs = t->plan.pairs,
                               .shrinks = stlora_config_shrinks(stlora_optimizer_settings(t->optimizer))};
    stlora_step_profile_begin(t->profile, m->step == m->total_steps);
    stlora_sampler_batch(t->sampler, t->state.step, t->chosen, &count, &m->epoch);
    gradients(t, count, m);
    m->learning_rate =
        stlora_learning_rate_at(t->scheduler, t->config.learning_rate, m->step, m->total_steps, t->warmup);
    stlora_error why = {0};
    stlora_stability_before(t->stability, t->optimizer);
    double before = now();
    stlora_status status = stlora_optimizer_step(t->optimizer, m->learning_rate, t->grads, &info, &why);
    if (status == STLORA_OK)
        stlora_lora_refresh(t->session.lora, stlora_step_profile_table(t->profile, t->session.backend));
    double optimizer_seconds = now() - before;
    if (status == STLORA_E_NONFINITE) {
        m->skipped = true;
        info.grad_norm = (double)NAN;
        for (size_t i = 0; i < stlora_optimizer_count(t->optimizer); i++) {
            stlora_pair_state pair;
            stlora_optimizer_pair(t->optimizer, i, &pair);
            info.pairs_shrinking += pair.armed;
        }
        stlora_log(&t->callbacks.log, STLORA_LOG_WARNING, "step %lld skipped, nothing was changed: %s",
                   (long long)m->step, why.text);
    } else if (status != STLORA_OK) {
        return stlora_fail(err, status, "%s", why.text);
    } else {
        STLORA_TRY(stlora_stability_after(t->stability, t->optimizer, m, err));
    }
    m->grad_norm = info.grad_norm;
    m->pairs_shrinking = info.pairs_shrinking;
    m->seconds = now() - start;
    stlora_step_profile_end(t->profile, m->seconds, optimizer_seconds);
    m->tokens_per_second = (double)m->tokens / (m->seconds > 0 ? m->seconds : 1e-9);

    t->state.step = m->step;
    t->state.tokens += m->tokens;
    t->state.seconds += m->seconds;
    if (isfinite(m->loss)) t->state.loss_sum += m->loss;
    t->state.skipped_in_a_row = m->skipped ? t->state.skipped_in_a_row + 1 : 0;
    m->seconds_left = t->state.seconds / (double)t->state.step * (double)(t->plan.steps - t->state.step);
    STLORA_TRY(stlora_metrics_step(&t->metrics, m, err));
    if (t->callbacks.on_step) t->callbacks.on_step(t->callbacks.context, m);
    if (t->state.skipped_in_a_row >= SKIPS_IN_A_ROW)
        return stlora_fail(
            err, STLORA_E_NONFINITE,
            "stopped after step %lld: %d steps in a row had gradients that are not finite; the last one: %s",
            (long long)m->step, SKIPS_IN_A_ROW, why.text);
    return STLORA_OK;
}

static stlora_status walk(stlora_trainer *t, stlora_error *err)
{
    const stlora_train_config *c = &t->config;
    stlora_step_metrics m;
    if (t->state.step == 0) STLORA_TRY(evaluate(t, 0, err));
    while (t->state.step < t->plan.steps) {
        STLORA_TRY(one_step(t, &m, err));
        bool last = m.step == t->plan.steps;
        if (last || (c->eval_steps > 0 && m.step % c->eval_steps == 0)) STLORA_TRY(evaluate(t, m.step, err));
        bool stop = t->callbacks.stop && *t->callbacks.stop && !last;
        if (stop || (!last && c->save_steps > 0 && m.step % c->save_steps == 0)) STLORA_TRY(save_checkpoint(t, err));
        if (stop)
            return stlora_fail(err, STLORA_E_INTERRUPTED,
                               "stopped after step %lld of %lld; go on with --resume-from-checkpoint latest",
                               (long long)m.step, (long long)t->plan.steps);
    }
    STLORA_TRY(stlora_stability_save(t->output_dir, t->optimizer, err));
    return stlora_lora_save(t->session.lora, t->output_dir, err);
}

static int64_t peak_memory(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
}

stlora_status stlora_trainer_run(stlora_trainer *t, stlora_train_result *out, stlora_error *err)
{
    const json_t *inputs;
    if (!t->output_dir) return stlora_fail(err, STLORA_E_USAGE, "--output-dir: wanted a run directory, found none");
    if (t->optimizer) return stlora_fail(err, STLORA_E_USAGE, "a trainer runs once");
    STLORA_TRY(stlora_trainer_inputs(t, &inputs, err));
    STLORA_TRY(take_memory(t, err));
    if (t->checkpoint) {
        STLORA_TRY(
            stlora_checkpoint_load(t->checkpoint, &t->state, t->session.lora, t->optimizer, t->params, t->inputs, err));
        stlora_lora_refresh(t->session.lora, t->session.backend);
        if (t->state.total_steps != t->plan.steps)
            return stlora_fail(err, STLORA_E_USAGE,
                               "--resume-from-checkpoint: %s belongs to a run of %lld steps, this one has %lld",
                               t->checkpoint, (long long)t->state.total_steps, (long long)t->plan.steps);
    }
    t->state.total_steps = t->plan.steps;
    STLORA_TRY(stlora_run_dir_make(t->output_dir, err));
    STLORA_TRY(write_run_json(t, err));
    const int64_t last_step = t->checkpoint ? t->state.step : -1;
    STLORA_TRY(stlora_metrics_open(&t->metrics, t->output_dir, "metrics.jsonl", last_step, err));
    STLORA_TRY(stlora_stability_open(t->stability, t->output_dir, last_step, err));
    if (t->logs_events) STLORA_TRY(stlora_metrics_add_events(&t->metrics, t->output_dir, last_step, err));
    stlora_status status = walk(t, err);
    if (status != STLORA_OK && status != STLORA_E_INTERRUPTED) return status;
    STLORA_TRY(stlora_step_profile_finish(t->profile, t->output_dir, err));
    *out = (stlora_train_result){
        .steps = t->state.step,
        .train_loss = t->state.step ? t->state.loss_sum / (double)t->state.step : 0,
        .tokens = t->state.tokens,
        .seconds = t->state.seconds,
        .tokens_per_second = t->state.seconds > 0 ? (double)t->state.tokens / t->state.seconds : 0,
        .peak_memory_bytes = peak_memory(),
    };
    return status;
}

void stlora_trainer_profile(const stlora_trainer *trainer, stlora_profile *out)
{
    *out = stlora_step_profile_result(trainer->profile);
}
