/* stability.c: see stability.h. Formulas: docs/NUMERICS.md, "What a step changes". */
#include "train/stability.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "optim/decomposition.h"
#include "optim/rates.h"

enum { MOST_WORKERS = 8 }; /* that take pairs apart at a time, each with scratch of its own */

/* A pair that is measured. */
typedef struct watched_pair {
    size_t index;            /* in the adapter and in the optimizer */
    float *a, *b;            /* [r, n], [m, r] before the step */
    double shrink_factor;    /* phi before the step */
    stlora_pair_state after; /* the step */
} watched_pair;

struct stlora_stability {
    const stlora_lora *lora;
    stlora_team *team;
    int64_t every;
    uint64_t seed;
    stlora_lora_init init; /* of the run's A, where drawn */
    bool drawn;
    watched_pair *pairs;
    size_t count;
    stlora_step_change *changes; /* [count] of the step being measured */
    stlora_probe *probe;
    stlora_arena arena;
    int workers;
    void *work[MOST_WORKERS];
    stlora_metrics_file file;
    bool measuring; /* this step */
};

/* ---- which pairs ---- */

/* Of the maps that stand at the same place of their layers, those of the first, the middle and the last adapted layer. */
static stlora_status choose_spread(const stlora_lora *lora, bool *chosen, stlora_error *err)
{
    const size_t layers = (size_t)lora->model->config.layers, kinds = (lora->model->linear_count - 1) / layers;
    size_t *ids;
    STLORA_TRY(stlora_alloc(&ids, layers, sizeof *ids, "pairs", err));
    for (size_t kind = 0; kind < kinds; kind++) {
        size_t adapted = 0;
        for (size_t l = 0; l < layers; l++)
            if (lora->of[l * kinds + kind]) ids[adapted++] = l * kinds + kind;
        if (adapted) chosen[ids[0]] = chosen[ids[adapted / 2]] = chosen[ids[adapted - 1]] = true;
    }
    stlora_free(ids);
    chosen[lora->model->head.id] = lora->of[lora->model->head.id] != NULL;
    return STLORA_OK;
}

static stlora_status choose_named(const stlora_lora *lora, const char *names, bool *chosen, stlora_error *err)
{
    static const char prefix[] = "target_modules: ";
    stlora_peft_config asked = {0};
    stlora_error why = {0};
    stlora_status status = stlora_targets_parse(&asked, names, &why);
    if (status == STLORA_OK) status = stlora_targets_match(lora->model, &asked, true, chosen, &why);
    stlora_peft_config_free(&asked);
    if (status == STLORA_OK) return STLORA_OK;
    const char *words = strncmp(why.text, prefix, sizeof prefix - 1) == 0 ? why.text + sizeof prefix - 1 : why.text;
    return stlora_fail(err, status, "--stability-pairs: %s", words);
}

static stlora_status choose(stlora_stability *s, const char *names, bool *chosen, stlora_error *err)
{
    const stlora_lora *lora = s->lora;
    const bool all = strcmp(names, "all") == 0;
    if (strcmp(names, "spread") == 0)
        STLORA_TRY(choose_spread(lora, chosen, err));
    else if (!all)
        STLORA_TRY(choose_named(lora, names, chosen, err));
    for (size_t i = 0; i < lora->count; i++) {
        const size_t id = lora->maps[i].linear->id;
        chosen[id] = chosen[id] || all;
        if (chosen[id]) s->pairs[s->count++].index = i;
    }
    if (s->count) return STLORA_OK;
    return stlora_fail(err, STLORA_E_USAGE, "--stability-pairs: no map that \"%s\" names has an adapter", names);
}

static stlora_status fill(stlora_stability *s, const char *names, stlora_error *err)
{
    bool *chosen;
    STLORA_TRY(stlora_alloc(&s->pairs, s->lora->count, sizeof *s->pairs, "pairs", err));
    STLORA_TRY(stlora_alloc(&chosen, s->lora->model->linear_count, sizeof *chosen, "pairs", err));
    stlora_status status = choose(s, names, chosen, err);
    if (status == STLORA_OK) status = stlora_probe_create(&s->probe, s->lora->model, chosen, err);
    stlora_free(chosen);
    STLORA_TRY(status);
    const int threads = stlora_team_threads(s->team), most = threads < MOST_WORKERS ? threads : MOST_WORKERS;
    s->workers = s->count < (size_t)most ? (int)s->count : most;
    return stlora_alloc(&s->changes, s->count, sizeof *s->changes, "pairs", err);
}

stlora_status stlora_stability_create(stlora_stability **out, const stlora_lora *lora, stlora_team *team, int64_t every,
                                      const char *pairs, uint64_t seed, const stlora_lora_init *drawn,
                                      stlora_error *err)
{
    stlora_stability *s;
    STLORA_TRY(stlora_alloc(&s, 1, sizeof *s, "a measurement", err));
    *s = (stlora_stability){
        .lora = lora, .team = team, .every = every, .seed = seed, .drawn = drawn != NULL, .file = {.fd = -1}};
    if (drawn) s->init = *drawn;
    stlora_status status = fill(s, pairs, err);
    if (status != STLORA_OK) {
        stlora_stability_free(s);
        return status;
    }
    *out = s;
    return STLORA_OK;
}

void stlora_stability_free(stlora_stability *s)
{
    if (!s) return;
    stlora_metrics_close(&s->file);
    stlora_arena_free(&s->arena);
    stlora_probe_free(s->probe);
    stlora_free(s->changes);
    stlora_free(s->pairs);
    stlora_free(s);
}

/* ---- memory ---- */

static void lay_out(const stlora_stability *s, watched_pair *pairs, stlora_arena *arena, int64_t tokens,
                    stlora_dtype act, void **work)
{
    size_t largest = 0;
    stlora_probe_lay_out(s->probe, arena, tokens, act);
    for (size_t i = 0; i < s->count; i++) {
        const stlora_lora_map *map = &s->lora->maps[s->pairs[i].index];
        const size_t bytes = stlora_decompose_work(map->linear->n, map->r);
        float *a = stlora_arena_take(arena, (size_t)(map->r * map->linear->n), sizeof(float));
        float *b = stlora_arena_take(arena, (size_t)(map->r * map->linear->m), sizeof(float));
        if (pairs) {
            pairs[i].a = a;
            pairs[i].b = b;
        }
        if (bytes > largest) largest = bytes;
    }
    for (int i = 0; i < s->workers; i++)
        work[i] = stlora_arena_take(arena, largest, 1);
}

int64_t stlora_stability_pairs(const stlora_stability *s)
{
    return s ? (int64_t)s->count : 0;
}

size_t stlora_stability_bytes(const stlora_stability *s, int64_t tokens, stlora_dtype act)
{
    stlora_arena arena = {0};
    void *none[MOST_WORKERS];
    if (!s || !tokens) return 0;
    lay_out(s, NULL, &arena, tokens, act, none);
    return arena.used;
}

stlora_status stlora_stability_take(stlora_stability *s, int64_t tokens, stlora_dtype act, stlora_error *err)
{
    if (!s) return STLORA_OK;
    lay_out(s, s->pairs, &s->arena, tokens, act, s->work);
    STLORA_TRY(stlora_arena_bind(&s->arena, "what is measured", err));
    lay_out(s, s->pairs, &s->arena, tokens, act, s->work);
    return STLORA_OK;
}

stlora_status stlora_stability_open(stlora_stability *s, const char *dir, int64_t last_step, stlora_error *err)
{
    return s ? stlora_metrics_open(&s->file, dir, "stability.jsonl", last_step, err) : STLORA_OK;
}

/* ---- a step ---- */

stlora_probe *stlora_stability_begin(stlora_stability *s, const stlora_step_metrics *m)
{
    if (!s) return NULL;
    s->measuring = m->step == 1 || m->step % s->every == 0 || m->step == m->total_steps;
    if (!s->measuring) return NULL;
    stlora_probe_begin(s->probe, m->tokens, s->seed, m->step);
    return s->probe;
}

void stlora_stability_before(stlora_stability *s, const stlora_optimizer *optimizer)
{
    if (!s || !s->measuring) return;
    for (size_t i = 0; i < s->count; i++) {
        watched_pair *p = &s->pairs[i];
        const stlora_lora_map *map = &s->lora->maps[p->index];
        stlora_pair_state state;
        stlora_optimizer_pair(optimizer, p->index, &state);
        p->shrink_factor = state.shrink_factor;
        memcpy(p->a, map->a, (size_t)(map->r * map->linear->n) * sizeof(float));
        memcpy(p->b, map->b, (size_t)(map->r * map->linear->m) * sizeof(float));
    }
}

/* Where A stands to the A that the run began with: |A0|, |A - phi A0|, and the cosine of the angle between A and A0. */
static void against_start(const stlora_stability *s, const stlora_lora_map *map, const stlora_pair_state *state,
                          stlora_step_change *change)
{
    double start = 0, learnt = 0, both = 0;
    change->norm_a0 = change->norm_learnt = change->cosine_a0 = (double)NAN;
    if (!s->drawn) return;
    for (int64_t i = 0; i < map->r * map->linear->n; i++) {
        const double a = (double)map->a[i], a0 = (double)stlora_lora_drawn_a(map, &s->init, i);
        const double rest = a - state->shrink_factor * a0;
        start += a0 * a0;
        learnt += rest * rest;
        both += a * a0;
    }
    change->norm_a0 = sqrt(start);
    change->norm_learnt = sqrt(learnt);
    if (start > 0 && state->norm_a > 0) change->cosine_a0 = both / (sqrt(start) * state->norm_a);
}

/* work: what stlora_decompose_work says */
static stlora_step_change measure(const stlora_stability *s, const watched_pair *p, const stlora_rates *rates,
                                  void *work)
{
    const stlora_lora_map *map = &s->lora->maps[p->index];
    const stlora_pair_state *state = &p->after;
    const double shrink = state->shrink_factor / p->shrink_factor; /* what this step multiplied A by */
    const double decay = 1 - rates->lr_a * rates->wd_a;
    const stlora_pair_step step = {.n = state->n,
                                   .m = state->m,
                                   .r = state->r,
                                   .scale = map->scale,
                                   .shrunk = 1 - shrink * decay,
                                   .a = p->a,
                                   .a_after = map->a,
                                   .b = p->b,
                                   .b_after = map->b,
                                   .x = stlora_probe_input(s->probe, map->linear->id)};
    stlora_decomposition d;
    stlora_decompose(&step, work, &d);
    stlora_step_change change = {.d1 = d.d1,
                                 .d2 = d.d2,
                                 .d3 = d.d3,
                                 .dy = d.dy,
                                 .q = d.d2 > 0 ? d.d1 / d.d2 : (double)NAN,
                                 .d2_shrink = d.d2_shrink,
                                 .d2_update = d.d2_update,
                                 .shrink_share = d.shrink_share,
                                 .shrink_factor = state->shrink_factor,
                                 .norm_a = state->norm_a,
                                 .norm_b = state->norm_b,
                                 .balance = (double)NAN};
    if (state->norm_b > 0) change.balance = state->norm_a / (double)state->n / (state->norm_b / (double)state->m);
    against_start(s, map, state, &change);
    return change;
}

static int ascending(const void *a, const void *b)
{
    double x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* Of every number its median over the pairs where it is one. sorted: [count] scratch. */
static void take_medians(const stlora_stability *s, double *sorted, stlora_step_change *out)
{
    enum { NUMBERS = sizeof(stlora_step_change) / sizeof(double) };
    double median[NUMBERS], values[NUMBERS];
    for (size_t k = 0; k < NUMBERS; k++) {
        size_t known = 0;
        for (size_t i = 0; i < s->count; i++) {
            memcpy(values, &s->changes[i], sizeof values);
            if (!isnan(values[k])) sorted[known++] = values[k];
        }
        if (known) qsort(sorted, known, sizeof *sorted, ascending);
        median[k] = known ? (sorted[(known - 1) / 2] + sorted[known / 2]) / 2 : (double)NAN;
    }
    memcpy(out, median, sizeof *out);
}

/* What the pairs are measured with, and which is the next that nobody has. */
typedef struct measuring {
    const stlora_stability *s;
    const stlora_optimizer_config *settings;
    double learning_rate;
    _Atomic size_t *next;
} measuring;

static void measure_pairs(const void *context, int64_t worker, int thread)
{
    const measuring *now = context;
    const stlora_stability *s = now->s;
    (void)thread;
    for (size_t i; (i = atomic_fetch_add(now->next, 1)) < s->count;) {
        const watched_pair *p = &s->pairs[i];
        const stlora_rates rates = stlora_rates_at(now->settings, now->learning_rate, p->after.steps);
        s->changes[i] = measure(s, p, &rates, s->work[worker]);
    }
}

/* Nanoseconds of one thread, roughly. */
static double measuring_takes(const stlora_stability *s)
{
    double multiplies = 0;
    for (size_t i = 0; i < s->count; i++) {
        const stlora_lora_map *map = &s->lora->maps[s->pairs[i].index];
        const double tokens = (double)stlora_probe_input(s->probe, map->linear->id).rows, r = (double)map->r;
        multiplies += tokens * r * (2 * (double)map->linear->n + 4 * r);
    }
    return 0.2 * multiplies;
}

stlora_status stlora_stability_after(stlora_stability *s, const stlora_optimizer *optimizer, stlora_step_metrics *m,
                                     stlora_error *err)
{
    if (!s || !s->measuring) return STLORA_OK;
    double *sorted;
    _Atomic size_t next = 0;
    const measuring now = {s, stlora_optimizer_settings(optimizer), m->learning_rate, &next};
    for (size_t i = 0; i < s->count; i++)
        stlora_optimizer_pair(optimizer, s->pairs[i].index, &s->pairs[i].after);
    stlora_team_run(s->team, s->workers, measuring_takes(s), measure_pairs, &now);
    for (size_t i = 0; i < s->count; i++) {
        const watched_pair *p = &s->pairs[i];
        const int64_t tokens = stlora_probe_input(s->probe, s->lora->maps[p->index].linear->id).rows;
        if (tokens > m->tokens_measured) m->tokens_measured = tokens;
        STLORA_TRY(stlora_metrics_pair(&s->file, m->step, tokens, &p->after, &s->changes[i], err));
    }
    STLORA_TRY(stlora_alloc(&sorted, s->count, sizeof *sorted, "medians", err));
    take_medians(s, sorted, &m->change);
    stlora_free(sorted);
    m->pairs_measured = (int64_t)s->count;
    return STLORA_OK;
}
