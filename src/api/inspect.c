/* inspect.c: stlora_inspect: what a path is, as JSON. One describe_ function per kind of thing; the first that recognises the path
 * answers. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic_file.h"
#include "base/file_map.h"
#include "base/json.h"
#include "api/inspect_model.h"
#include "base/memory.h"
#include "stlora/infer.h"
#include "text/chat_template.h"
#include "train/run_dir.h"
#include "train/session.h"

static stlora_status no_memory(stlora_error *err)
{
    return stlora_fail(err, STLORA_E_NOMEM, "no memory for what inspect found");
}

/* Sets key to a new value, which may be NULL (no memory). */
static stlora_status put(json_t *object, const char *key, json_t *value, stlora_error *err)
{
    return json_object_set_new(object, key, value) == 0 ? STLORA_OK : no_memory(err);
}

static stlora_status has_file(const char *dir, const char *name, bool *there, stlora_error *err)
{
    char *path;
    STLORA_TRY(stlora_path_join(&path, dir, name, err));
    *there = stlora_path_exists(path);
    stlora_free(path);
    return STLORA_OK;
}

/* ---- tensors of a safetensors file ---- */

static stlora_status describe_tensors(const stlora_safetensors *files, json_t *out, stlora_error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < stlora_safetensors_count(files); i++) {
        const stlora_view *view = stlora_safetensors_at(files, i);
        json_t *shape = json_array();
        for (int d = 0; d < view->ndim; d++)
            (void)json_array_append_new(shape, json_integer(view->shape[d]));
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", stlora_safetensors_name(files, i),
                                                    "dtype", stlora_dtype_name(view->dtype), "shape", shape));
    }
    return put(out, "tensors", list, err);
}

static stlora_status describe_file(const char *path, json_t *out, stlora_error *err)
{
    stlora_safetensors *files;
    STLORA_TRY(put(out, "kind", json_string("safetensors file"), err));
    STLORA_TRY(stlora_safetensors_open(&files, path, err));
    stlora_status status = describe_tensors(files, out, err);
    stlora_safetensors_close(files);
    return status;
}

/* ---- tokenizer ---- */

static stlora_status describe_tokenizer(const char *path, json_t *out, stlora_error *err)
{
    stlora_tokenizer *tokenizer;
    STLORA_TRY(stlora_tokenizer_load(&tokenizer, path, err));
    json_t *value =
        json_pack("{s:I, s:i, s:i}", "vocab_size", (json_int_t)stlora_tokenizer_vocab_size(tokenizer), "bos_token_id",
                  (int)stlora_tokenizer_bos(tokenizer), "eos_token_id", (int)stlora_tokenizer_eos(tokenizer));
    stlora_tokenizer_free(tokenizer);
    return put(out, "tokenizer", value, err);
}

/* ---- model ---- */

/* The template's place and name ("own" where its format is none that is built in); or the sentence that says why there is none. */
static stlora_status describe_chat_template(const char *path, json_t *out, stlora_error *err)
{
    stlora_chat_template *found;
    stlora_error why = {0};
    const stlora_status status = stlora_chat_template_find(&found, path, NULL, &why);
    if (status == STLORA_E_NOMEM) return no_memory(err);
    if (status != STLORA_OK) return put(out, "chat_template", json_string(why.text), err);
    const char *name = stlora_chat_template_name(found);
    json_t *value = json_pack("{s:s, s:s, s:b}", "name", name ? name : "own", "place", stlora_chat_template_place(found), "marks_generation",
                              stlora_chat_template_marks_generation(found));
    stlora_chat_template_free(found);
    return put(out, "chat_template", value, err);
}

/* A model without a tokenizer can still be trained on ids, so what is wrong with its tokenizer is said and not fatal. */
static stlora_status describe_model(const char *path, json_t *out, stlora_error *err)
{
    bool tokenizer;
    STLORA_TRY(put(out, "kind", json_string("model"), err));
    STLORA_TRY(stlora_inspect_model(path, out, err));
    STLORA_TRY(describe_chat_template(path, out, err));
    STLORA_TRY(has_file(path, "tokenizer.json", &tokenizer, err));
    if (!tokenizer) return put(out, "tokenizer", json_null(), err);
    stlora_error why = {0};
    const stlora_status status = describe_tokenizer(path, out, &why);
    if (status == STLORA_OK || status == STLORA_E_NOMEM) return status;
    STLORA_TRY(put(out, "tokenizer", json_null(), err));
    return put(out, "problems", json_pack("[s]", why.text), err);
}

/* ---- adapter ---- */

static stlora_status describe_pairs(const stlora_safetensors *files, bool dora, json_t *out, stlora_error *err)
{
    json_int_t parameters = 0;
    size_t pairs = 0, not_finite = 0, other = 0;
    bool b_is_zero = true;
    for (size_t i = 0; i < stlora_safetensors_count(files); i++) {
        const stlora_view *view = stlora_safetensors_at(files, i);
        const char *name = stlora_safetensors_name(files, i);
        bool is_a = strstr(name, ".lora_A.weight") != NULL, is_b = strstr(name, ".lora_B.weight") != NULL;
        parameters += stlora_view_count(view);
        pairs += is_a;
        other += !is_a && !is_b && !(dora && strstr(name, ".lora_magnitude_vector"));
        if (!stlora_dtype_is_float(view->dtype)) continue;
        for (int64_t k = 0; k < stlora_view_count(view); k++) {
            double v = stlora_load(view->data, view->dtype, k);
            if (!isfinite(v)) not_finite++;
            if (is_b && (v < 0 || v > 0)) b_is_zero = false;
        }
    }
    json_t *problems = json_array();
    char text[512];
    if (other) {
        (void)snprintf(text, sizeof text, dora ? "%zu tensors are neither lora_A nor lora_B nor magnitudes" : "%zu tensors are neither lora_A nor lora_B",
                       other);
        (void)json_array_append_new(problems, json_string(text));
    }
    if (not_finite) {
        (void)snprintf(text, sizeof text, "%zu numbers are not finite", not_finite);
        (void)json_array_append_new(problems, json_string(text));
    }
    if (b_is_zero) (void)json_array_append_new(problems, json_string("every B is zero: the adapter does nothing yet"));
    STLORA_TRY(put(out, "pairs", json_integer((json_int_t)pairs), err));
    STLORA_TRY(put(out, "parameters", json_integer(parameters), err));
    return put(out, "problems", problems, err);
}

static json_t *targets_json(const stlora_peft_config *config)
{
    if (config->target_regex) return json_string(config->target_regex);
    json_t *list = json_array();
    for (size_t i = 0; i < config->target_count; i++)
        (void)json_array_append_new(list, json_string(config->targets[i]));
    return list;
}

static stlora_status describe_adapter(const char *path, json_t *out, stlora_error *err)
{
    stlora_peft_config config = {0};
    stlora_safetensors *files;
    STLORA_TRY(stlora_peft_config_load(&config, path, err));
    json_t *value = json_pack("{s:I, s:f, s:f, s:b, s:b, s:o, s:s?, s:i, s:i}", "r", (json_int_t)config.r, "lora_alpha",
                              config.lora_alpha, "lora_dropout", config.lora_dropout, "use_rslora", config.use_rslora, "use_dora", config.use_dora,
                              "target_modules", targets_json(&config), "base_model", config.base_model, "rank_pattern",
                              (int)config.rank_pattern_count, "alpha_pattern", (int)config.alpha_pattern_count);
    const bool dora = config.use_dora;
    stlora_peft_config_free(&config);
    if (!value) return no_memory(err);
    stlora_status status = stlora_peft_weights_open(&files, path, err);
    if (status == STLORA_OK) {
        status = describe_pairs(files, dora, value, err);
        stlora_safetensors_close(files);
    }
    if (status != STLORA_OK) {
        json_decref(value);
        return status;
    }
    return put(out, "adapter", value, err);
}

/* ---- runs and checkpoints ---- */

static stlora_status describe_json(const char *dir, const char *name, const char *key, json_t *out, stlora_error *err)
{
    char *path;
    json_t *value;
    STLORA_TRY(stlora_path_join(&path, dir, name, err));
    stlora_status status = stlora_path_exists(path) ? stlora_json_load(&value, path, err) : STLORA_OK;
    if (status == STLORA_OK && !stlora_path_exists(path)) value = json_null();
    stlora_free(path);
    STLORA_TRY(status);
    return put(out, key, value, err);
}

/* Last complete line of metrics.jsonl that tells of a step. */
static stlora_status describe_last_step(const char *dir, json_t *out, stlora_error *err)
{
    char *path, *text;
    size_t size;
    json_t *last = NULL;
    STLORA_TRY(stlora_path_join(&path, dir, "metrics.jsonl", err));
    stlora_status status =
        stlora_path_exists(path) ? stlora_file_read(&text, &size, path, (size_t)1 << 32, err) : STLORA_OK;
    if (status == STLORA_OK && stlora_path_exists(path)) {
        for (size_t from = 0; from < size;) {
            const char *end = memchr(text + from, '\n', size - from);
            size_t length = (end ? (size_t)(end - text) : size) - from;
            json_t *line = json_loadb(text + from, length, 0, NULL);
            if (json_object_get(line, "loss")) {
                json_decref(last);
                last = json_incref(line);
            }
            json_decref(line);
            from += length + 1;
        }
        stlora_free(text);
    }
    stlora_free(path);
    if (status != STLORA_OK) {
        json_decref(last);
        return status;
    }
    return put(out, "last_step", last ? last : json_null(), err);
}

static stlora_status describe_run(const char *path, json_t *out, stlora_error *err)
{
    char *latest;
    bool adapter;
    STLORA_TRY(put(out, "kind", json_string("run"), err));
    STLORA_TRY(describe_json(path, "run.json", "run", out, err));
    STLORA_TRY(describe_last_step(path, out, err));
    STLORA_TRY(stlora_run_dir_latest(path, &latest, err));
    json_t *value = latest ? json_string(latest) : json_null();
    stlora_free(latest);
    STLORA_TRY(put(out, "latest_checkpoint", value, err));
    STLORA_TRY(has_file(path, "adapter_config.json", &adapter, err));
    STLORA_TRY(put(out, "finished", json_boolean(adapter), err));
    return adapter ? describe_adapter(path, out, err) : STLORA_OK;
}

static stlora_status describe_checkpoint(const char *path, json_t *out, stlora_error *err)
{
    STLORA_TRY(put(out, "kind", json_string("checkpoint"), err));
    STLORA_TRY(describe_json(path, "trainer_state.json", "state", out, err));
    return describe_adapter(path, out, err);
}

/* ---- which of them ---- */

/* Weights of other programs, which people bring most often. */
static stlora_status refuse_other_formats(const char *path, stlora_error *err)
{
    static const struct {
        const char *ending, *what;
    } others[] = {{".gguf", "a GGUF file is for llama.cpp; wanted the checkpoint that it was made of, as it is on the Hugging Face hub"},
                  {".bin", "PyTorch's own weight files without config.json; wanted config.json and *.safetensors"},
                  {".pth", "PyTorch's own weight files without config.json; wanted config.json and *.safetensors"},
                  {".safetensors", "weights without config.json; wanted both"}};
    DIR *entries = opendir(path);
    if (!entries) return STLORA_OK;
    const char *found = NULL;
    bool empty = true;
    for (struct dirent *entry; (entry = readdir(entries));) {
        const size_t length = strlen(entry->d_name);
        if (entry->d_name[0] == '.') continue;
        empty = false;
        for (size_t i = 0; i < sizeof others / sizeof others[0] && !found; i++) {
            const size_t tail = strlen(others[i].ending);
            if (length > tail && strcmp(entry->d_name + length - tail, others[i].ending) == 0) found = others[i].what;
        }
    }
    (void)closedir(entries);
    if (empty) return stlora_fail(err, STLORA_E_FORMAT, "%s: the directory is empty", path);
    return found ? stlora_fail(err, STLORA_E_UNSUPPORTED, "%s: %s", path, found) : STLORA_OK;
}

static stlora_status describe(const char *path, json_t *out, stlora_error *err)
{
    static const struct {
        const char *file;
        const char *kind; /* NULL: the describe function says it */
        stlora_status (*describe)(const char *, json_t *, stlora_error *);
    } kinds[] = {{"trainer_state.json", NULL, describe_checkpoint},
                 {"run.json", NULL, describe_run},
                 {"adapter_config.json", "adapter", describe_adapter},
                 {"config.json", NULL, describe_model},
                 {"tokenizer.json", "tokenizer", describe_tokenizer}};
    if (!stlora_path_exists(path)) return stlora_fail(err, STLORA_E_IO, "%s: there is no such file or directory", path);
    if (!stlora_path_is_dir(path)) return describe_file(path, out, err);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        bool there;
        STLORA_TRY(has_file(path, kinds[i].file, &there, err));
        if (!there) continue;
        if (kinds[i].kind) STLORA_TRY(put(out, "kind", json_string(kinds[i].kind), err));
        return kinds[i].describe(path, out, err);
    }
    STLORA_TRY(refuse_other_formats(path, err));
    return stlora_fail(err, STLORA_E_FORMAT,
                       "%s: no model, adapter, tokenizer, run or checkpoint: wanted config.json, adapter_config.json, "
                       "tokenizer.json, run.json or trainer_state.json in it",
                       path);
}

stlora_status stlora_inspect(const char *path, char **json, stlora_error *err)
{
    json_t *out = json_pack("{s:s}", "path", path);
    if (!out) return stlora_fail(err, STLORA_E_FORMAT, "a path must be valid UTF-8");
    stlora_status status = describe(path, out, err);
    if (status == STLORA_OK) {
        char *text = json_dumps(out, JSON_INDENT(2));
        status = text ? stlora_strdup_n(json, text, strlen(text), err) : no_memory(err);
        free(text);
    }
    json_decref(out);
    return status;
}
