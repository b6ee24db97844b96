/* run_adapter.c: see run_adapter.h. */
#include "train/run_adapter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* The two patterns of a config, by their words. */
static const struct {
    const char *name, *flag;
    bool whole;
} patterns[] = {{"rank_pattern", "--rank-pattern", true}, {"alpha_pattern", "--alpha-pattern", false}};

static stlora_status parse_pattern(stlora_peft_config *out, int which, const char *text, stlora_error *err)
{
    stlora_pattern_entry **entries = which ? &out->alpha_pattern : &out->rank_pattern;
    size_t *count = which ? &out->alpha_pattern_count : &out->rank_pattern_count;
    const stlora_status status =
        stlora_peft_pattern_parse(entries, count, patterns[which].name, text, patterns[which].whole, err);
    if (status != STLORA_E_FORMAT) return status;
    return stlora_fail(err, STLORA_E_USAGE, "%s: %s", patterns[which].flag, err ? err->text : text);
}

static stlora_status parse_patterns(stlora_peft_config *out, const stlora_train_config *c, stlora_error *err)
{
    if (c->rank_pattern) STLORA_TRY(parse_pattern(out, 0, c->rank_pattern, err));
    return c->alpha_pattern ? parse_pattern(out, 1, c->alpha_pattern, err) : STLORA_OK;
}

static bool same_entries(const stlora_pattern_entry *a, size_t a_count, const stlora_pattern_entry *b, size_t b_count)
{
    bool same = a_count == b_count;
    for (size_t i = 0; same && i < a_count; i++)
        same = strcmp(a[i].key, b[i].key) == 0 && fabs(a[i].value - b[i].value) <= 0;
    return same;
}

static stlora_status check_patterns(const stlora_train_config *c, const stlora_peft_config *peft, stlora_error *err)
{
    stlora_peft_config asked = {0};
    stlora_status status = parse_patterns(&asked, c, err);
    if (status == STLORA_OK &&
        ((c->rank_pattern && !same_entries(asked.rank_pattern, asked.rank_pattern_count, peft->rank_pattern,
                                           peft->rank_pattern_count)) ||
         (c->alpha_pattern && !same_entries(asked.alpha_pattern, asked.alpha_pattern_count, peft->alpha_pattern,
                                            peft->alpha_pattern_count))))
        status = stlora_fail(err, STLORA_E_USAGE,
                             "--adapter: %s/adapter_config.json has other patterns than --rank-pattern or --alpha-pattern",
                             c->adapter);
    stlora_peft_config_free(&asked);
    return status;
}

/* A flag that contradicts the adapter a run starts from. */
static stlora_status check_flags(const stlora_params *params, const stlora_train_config *c,
                                 const stlora_peft_config *peft, stlora_error *err)
{
    const struct {
        const char *name;
        double flag, adapter;
    } checks[] = {{"r", (double)c->r, (double)peft->r},
                  {"lora_alpha", c->lora_alpha, peft->lora_alpha},
                  {"use_rslora", c->use_rslora, peft->use_rslora},
                  {"use_dora", c->use_dora, peft->use_dora}};
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        if (stlora_params_given(params, checks[i].name) && fabs(checks[i].flag - checks[i].adapter) > 0)
            return stlora_fail(err, STLORA_E_USAGE,
                               "--adapter: \"%s\" is %g in %s/adapter_config.json and %g among the flags",
                               checks[i].name, checks[i].adapter, c->adapter, checks[i].flag);
    if (strcmp(c->init_lora_weights, "true") != 0 || fabs(c->init_a_scale - 1) > 0)
        return stlora_fail(err, STLORA_E_USAGE,
                           "--adapter: %s says how A and B begin, against --init-lora-weights or --init-a-scale",
                           c->adapter);
    return check_patterns(c, peft, err);
}

/* Do --target-modules and the adapter mean the same maps? */
static stlora_status check_targets(const stlora_train_config *c, const stlora_lora *lora, stlora_error *err)
{
    stlora_peft_config asked = {0};
    bool *chosen;
    STLORA_TRY(stlora_alloc(&chosen, lora->model->linear_count, sizeof *chosen, "targets", err));
    stlora_status status = stlora_targets_parse(&asked, c->target_modules, err);
    if (status == STLORA_OK) status = stlora_targets_match(lora->model, &asked, true, chosen, err);
    for (size_t id = 0; status == STLORA_OK && id < lora->model->linear_count; id++)
        if (chosen[id] != (lora->of[id] != NULL))
            status = stlora_fail(err, STLORA_E_USAGE, "--adapter: %s %s the adapter, against --target-modules %s",
                                 stlora_transformer_linear(lora->model, id)->name, lora->of[id] ? "is in" : "is not in",
                                 c->target_modules);
    stlora_peft_config_free(&asked);
    stlora_free(chosen);
    return status;
}

/* What PEFT does with dropout under DoRA, frozen products of dropped inputs beside those of whole ones, is not here. kind: of a new
 * adapter. */
static stlora_status check_combinations(const stlora_peft_config *peft, stlora_lora_init_kind kind, stlora_error *err)
{
    const bool frozen = kind == STLORA_INIT_PISSA || kind == STLORA_INIT_OLORA;
    if (peft->use_dora && peft->lora_dropout > 0)
        return stlora_fail(err, STLORA_E_USAGE,
                           "--lora-dropout: with DoRA it would ask for every frozen product twice, of the whole and of the "
                           "dropped input, and is not supported; give --lora-dropout 0");
    if (frozen && peft->lora_dropout > 0)
        return stlora_fail(err, STLORA_E_USAGE,
                           "--lora-dropout: with --init-lora-weights pissa or olora the frozen first pair has to see the whole "
                           "input beside the dropped one, which is not supported; give --lora-dropout 0");
    if (frozen && peft->use_rslora && (peft->rank_pattern_count || peft->alpha_pattern_count))
        return stlora_fail(err, STLORA_E_USAGE,
                           "--use-rslora: with --init-lora-weights pissa or olora and patterns PEFT knows no plain adapter that "
                           "is the same; give --no-use-rslora or no pattern");
    return STLORA_OK;
}

static stlora_status create(stlora_session *s, const stlora_train_config *c, stlora_peft_config *peft,
                            stlora_lora_init init, stlora_error *err)
{
    init.backend = s->backend;
    STLORA_TRY(stlora_targets_parse(peft, c->target_modules, err));
    STLORA_TRY(parse_patterns(peft, c, err));
    STLORA_TRY(check_combinations(peft, init.kind, err));
    STLORA_TRY(stlora_strdup_n(&peft->base_model, c->model, strlen(c->model), err));
    const stlora_status status = stlora_lora_create(&s->lora, s->model, peft, &init, true, err);
    /* A regular expression that is none came from a flag here. */
    return status == STLORA_E_FORMAT ? stlora_fail(err, STLORA_E_USAGE, "%s", err ? err->text : "") : status;
}

static bool holds_something(const stlora_lora *lora)
{
    for (size_t i = 0; i < lora->count; i++) {
        const stlora_lora_map *map = &lora->maps[i];
        for (int64_t at = 0; at < map->linear->m * map->r; at++)
            if (map->b[at] < 0 || map->b[at] > 0) return true;
    }
    return false;
}

stlora_status stlora_run_adapter_open(stlora_session *s, const stlora_params *params, stlora_train_config *c,
                                      const stlora_lora_init *init, bool *shrink_off, stlora_error *err)
{
    if (s->lora) {
        /* The file may say how it was trained; this run's dropout is what its flags say, where they say something. */
        STLORA_TRY(check_flags(params, c, &s->lora->config, err));
        if (stlora_params_given(params, "target_modules")) STLORA_TRY(check_targets(c, s->lora, err));
        if (stlora_params_given(params, "lora_dropout")) s->lora->config.lora_dropout = c->lora_dropout;
        if (!(c->shrink_ratio <= 0) && !stlora_params_given(params, "shrink_ratio") && holds_something(s->lora)) {
            c->shrink_ratio = 0;
            *shrink_off = true;
        }
        return check_combinations(&s->lora->config, STLORA_INIT_TRUE, err);
    }
    stlora_peft_config peft = {
        .r = c->r,
        .lora_alpha = c->lora_alpha,
        .lora_dropout = c->lora_dropout,
        .use_rslora = c->use_rslora,
        .use_dora = c->use_dora};
    stlora_status status = create(s, c, &peft, *init, err);
    stlora_peft_config_free(&peft);
    return status;
}

stlora_status stlora_run_adapter_init(stlora_lora_init *out, const stlora_params *params, stlora_train_config *c,
                                      bool *shrink_off, stlora_error *err)
{
    stlora_lora_init init = {.a_scale = c->init_a_scale, .seed = (uint64_t)c->seed};
    STLORA_TRY(stlora_lora_init_parse(&init, c->init_lora_weights, err));
    const bool b_is_0 = init.kind == STLORA_INIT_TRUE || init.kind == STLORA_INIT_GAUSSIAN;
    if (b_is_0 && c->force_shrink)
        return stlora_fail(err, STLORA_E_USAGE,
                           "--force-shrink: with --init-lora-weights %s B is 0 at the start, so A is shrunk anyway",
                           c->init_lora_weights);
    if ((init.kind == STLORA_INIT_PISSA || init.kind == STLORA_INIT_OLORA) && fabs(c->init_a_scale - 1) > 0)
        return stlora_fail(err, STLORA_E_USAGE,
                           "--init-a-scale: with --init-lora-weights %s A and B are the weight's own; only 1 leaves them so",
                           c->init_lora_weights);
    const bool off = !b_is_0 && !c->force_shrink && !(c->shrink_ratio <= 0);
    if (off && stlora_params_given(params, "shrink_ratio"))
        return stlora_fail(err, STLORA_E_USAGE,
                           "--shrink-ratio: with --init-lora-weights %s B is not 0 at the start, so its norm does not tell "
                           "how far it has learnt, and shrinking A takes away what the pair holds; give 0, or "
                           "--force-shrink",
                           c->init_lora_weights);
    if (off) c->shrink_ratio = 0;
    *shrink_off = off;
    *out = init;
    return STLORA_OK;
}

static stlora_status record_pattern(json_t *params, const char *name, const stlora_pattern_entry *entries, size_t count,
                                    bool whole, stlora_error *err)
{
    json_t *object = json_object();
    for (size_t i = 0; i < count; i++)
        (void)json_object_set_new(object, entries[i].key,
                                  whole ? json_integer((json_int_t)entries[i].value) : json_real(entries[i].value));
    char *text = count ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    const bool failed = count && !text;
    if (!failed) (void)json_object_set_new(params, name, text ? json_string(text) : json_null());
    free(text);
    return failed ? stlora_fail(err, STLORA_E_NOMEM, "no memory for the parameters") : STLORA_OK;
}

stlora_status stlora_run_adapter_record(json_t *params, const stlora_lora *lora, stlora_error *err)
{
    const stlora_peft_config *peft = &lora->config;
    (void)json_object_set_new(params, "r", json_integer(peft->r));
    (void)json_object_set_new(params, "lora_alpha", json_real(peft->lora_alpha));
    (void)json_object_set_new(params, "lora_dropout", json_real(peft->lora_dropout));
    (void)json_object_set_new(params, "use_rslora", json_boolean(peft->use_rslora));
    (void)json_object_set_new(params, "use_dora", json_boolean(peft->use_dora));
    STLORA_TRY(record_pattern(params, "rank_pattern", peft->rank_pattern, peft->rank_pattern_count, true, err));
    return record_pattern(params, "alpha_pattern", peft->alpha_pattern, peft->alpha_pattern_count, false, err);
}
