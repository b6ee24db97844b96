/* targets.c: matching names as PEFT matches them. See targets.h. */
#include "model/targets.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "base/regex.h"

static const char name_letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";

static stlora_status parse_list(stlora_peft_config *config, const char *text, stlora_error *err)
{
    size_t capacity = 0;
    while (true) {
        size_t length = strcspn(text, ",");
        if (length == 0) return stlora_fail(err, STLORA_E_USAGE, "--target-modules: an empty name in the comma list");
        STLORA_TRY(stlora_grow(&config->targets, &capacity, config->target_count + 1, sizeof *config->targets,
                               "targets", err));
        STLORA_TRY(stlora_strdup_n(&config->targets[config->target_count], text, length, err));
        config->target_count++;
        if (!text[length]) return STLORA_OK;
        text += length + 1;
    }
}

stlora_status stlora_targets_parse(stlora_peft_config *config, const char *text, stlora_error *err)
{
    size_t length = strlen(text);
    bool list = length > 0;
    for (size_t i = 0; i < length; i++)
        if (text[i] != ',' && !strchr(name_letters, text[i])) list = false;
    if (strcasecmp(text, "all-linear") == 0)
        return stlora_strdup_n(&config->target_regex, "all-linear", strlen("all-linear"), err);
    if (list) return parse_list(config, text, err);
    return stlora_strdup_n(&config->target_regex, text, length, err);
}

static bool ends_in(const char *name, const char *item)
{
    size_t a = strlen(name), b = strlen(item);
    return a == b ? strcmp(name, item) == 0 : a > b && name[a - b - 1] == '.' && strcmp(name + a - b, item) == 0;
}

static bool in_layers(const stlora_peft_config *config, int64_t layer)
{
    if (!config->layers_to_transform) return true;
    for (size_t i = 0; i < config->layers_to_transform_count; i++)
        if (config->layers_to_transform[i] == layer) return true;
    return false;
}

/* Marks the maps that a list or a regular expression names, with `mark`. */
static stlora_status mark_regex(const stlora_transformer *model, const char *pattern, bool mark, bool *chosen,
                                size_t *hits, stlora_error *err)
{
    stlora_regex *regex = NULL;
    stlora_status status = stlora_regex_create(&regex, pattern, strlen(pattern), true, err);
    for (size_t id = 0; id < model->linear_count && status == STLORA_OK; id++) {
        const char *name = stlora_transformer_linear(model, id)->name;
        bool matches = false;
        status = stlora_regex_full_match(regex, name, strlen(name), &matches, err);
        if (status == STLORA_OK && matches) {
            chosen[id] = mark;
            *hits += 1;
        }
    }
    stlora_regex_free(regex);
    /* What the engine refuses is here what the user typed. */
    if (status == STLORA_E_FORMAT)
        return stlora_fail(err, STLORA_E_USAGE, "target_modules: %s", err ? err->text : pattern);
    return status;
}

static size_t mark_name(const stlora_transformer *model, const stlora_peft_config *layers, const char *item, bool mark,
                        bool *chosen)
{
    size_t hits = 0;
    for (size_t id = 0; id < model->linear_count; id++) {
        const stlora_linear *map = stlora_transformer_linear(model, id);
        if (!ends_in(map->name, item)) continue;
        hits++;
        if (!layers || in_layers(layers, map->layer)) chosen[id] = mark;
    }
    return hits;
}

stlora_status stlora_targets_match(const stlora_transformer *model, const stlora_peft_config *config, bool every_item,
                                   bool *chosen, stlora_error *err)
{
    size_t hits = 0;
    memset(chosen, 0, model->linear_count * sizeof *chosen);
    if (config->target_regex && strcasecmp(config->target_regex, "all-linear") == 0) {
        for (size_t id = 0; id + 1 < model->linear_count; id++)
            chosen[id] = true;
    } else if (config->target_regex) {
        STLORA_TRY(mark_regex(model, config->target_regex, true, chosen, &hits, err));
        if (!hits)
            return stlora_fail(err, STLORA_E_USAGE, "target_modules: no linear map of the model matches \"%s\"",
                               config->target_regex);
    } else if (config->target_count == 0) {
        const char *const *usual = model->family->usual_targets;
        if (!usual[0])
            return stlora_fail(err, STLORA_E_USAGE, "target_modules: it is null, and PEFT names none for model_type \"%s\"",
                               model->family->model_type);
        for (size_t i = 0; i < STLORA_MAPS_PER_SITE && usual[i]; i++)
            (void)mark_name(model, config, usual[i], true, chosen);
    } else {
        for (size_t i = 0; i < config->target_count; i++) {
            size_t found = mark_name(model, config, config->targets[i], true, chosen);
            bool last = i + 1 == config->target_count;
            hits += found;
            if (!found && (every_item || (last && !hits)))
                return stlora_fail(err, STLORA_E_USAGE,
                                   "target_modules: the model has no linear map named \"%s\"; the first of its maps is %s",
                                   config->targets[i], stlora_transformer_linear(model, 0)->name);
        }
    }
    if (config->exclude_regex) STLORA_TRY(mark_regex(model, config->exclude_regex, false, chosen, &hits, err));
    for (size_t i = 0; i < config->exclude_count; i++)
        (void)mark_name(model, NULL, config->excludes[i], false, chosen);
    for (size_t id = 0; id < model->linear_count; id++)
        if (chosen[id]) return STLORA_OK;
    return stlora_fail(err, STLORA_E_USAGE, "target_modules: nothing is left to be adapted");
}

stlora_status stlora_targets_pattern(const stlora_pattern_entry *entries, size_t count, const char *name,
                                     double fallback, double *out, stlora_error *err)
{
    for (size_t i = 0; i < count; i++) {
        char pattern[1024];
        int length = snprintf(pattern, sizeof pattern, "(.*\\.)?(%s)", entries[i].key);
        if (length < 0 || (size_t)length >= sizeof pattern)
            return stlora_fail(err, STLORA_E_FORMAT, "rank_pattern or alpha_pattern: a key of %zu bytes is too long",
                               strlen(entries[i].key));
        stlora_regex *regex;
        STLORA_TRY(stlora_regex_create(&regex, pattern, (size_t)length, true, err));
        bool matches = false;
        stlora_status status = stlora_regex_full_match(regex, name, strlen(name), &matches, err);
        stlora_regex_free(regex);
        STLORA_TRY(status);
        if (matches) {
            *out = entries[i].value;
            return STLORA_OK;
        }
    }
    *out = fallback;
    return STLORA_OK;
}
