/* inspect_model.c: see inspect_model.h. */
#include "api/inspect_model.h"

#include <string.h>

#include "base/memory.h"
#include "train/plan.h"
#include "train/session.h"

enum { RANK = 8, ROWS = 8 };

static stlora_status no_memory(stlora_error *err)
{
    return stlora_fail(err, STLORA_E_NOMEM, "no memory for what inspect found");
}

/* The maps of the first block. */
static json_t *linear_maps(const stlora_transformer *model)
{
    json_t *list = json_array();
    for (int s = 0; s < STLORA_SITE_COUNT; s++) {
        for (int k = 0; k < model->blocks[0].sites[s].count; k++) {
            const stlora_linear *linear = &model->blocks[0].sites[s].maps[k];
            (void)json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:s, s:b}", "name", linear->name, "n",
                                                        (json_int_t)linear->n, "m", (json_int_t)linear->m, "dtype",
                                                        stlora_dtype_name(linear->weight.dtype), "bias",
                                                        linear->bias.data != NULL));
        }
    }
    return list;
}

/* What a step on ROWS rows of `length` tokens takes, as the plan of a run has it. */
static stlora_status training_of(const stlora_transformer *model, const stlora_lora *lora, const stlora_backend *backend,
                                 int64_t length, json_t *list, stlora_error *err)
{
    enum { PER_ELEMENT = 16 }; /* the value, its gradient, two moments */
    const stlora_dtype act = backend->fast_bf16 && model->embed.dtype == STLORA_BF16 ? STLORA_BF16 : STLORA_F32;
    const stlora_plan_task task = {.act = act,
                                   .train = true,
                                   .longest = length,
                                   .batch_tokens = ROWS * length,
                                   .batch_size = ROWS,
                                   .fixed = lora->elements * PER_ELEMENT + stlora_backend_scratch_bytes(backend)};
    stlora_pass_shape shape;
    stlora_pass_bytes bytes;
    size_t least;
    STLORA_TRY(stlora_plan_shape(model, lora, &task, INT64_MAX, &shape, err));
    STLORA_TRY(stlora_plan_least(model, lora, &task, &least, err));
    stlora_pass_measure(model, lora, &shape, &bytes);
    const size_t whole = task.fixed + bytes.activations + bytes.workspace + bytes.logits;
    const double flops = stlora_pass_flops(model, lora, &length, 1, length, true) / (double)length;
    json_t *line = json_pack("{s:I, s:I, s:s, s:I, s:I, s:f}", "row_tokens", (json_int_t)length, "rows_per_step", (json_int_t)ROWS,
                             "precision", act == STLORA_BF16 ? "bf16" : "fp32", "memory_mib", (json_int_t)(whole >> 20), "least_memory_mib",
                             (json_int_t)(least >> 20) + 1, "operations_per_token", flops);
    return line && json_array_append_new(list, line) == 0 ? STLORA_OK : no_memory(err);
}

static stlora_status describe_all_linear(const stlora_transformer *model, json_t *out, stlora_error *err)
{
    stlora_peft_config config = {.r = RANK, .lora_alpha = 2 * RANK};
    const stlora_lora_init init = {.kind = STLORA_INIT_TRUE, .a_scale = 1, .later = true}; /* its values do not matter */
    stlora_lora *lora = NULL;
    stlora_backend *backend = NULL;
    json_t *training = json_array();
    stlora_status status = stlora_targets_parse(&config, "all-linear", err);
    if (status == STLORA_OK) status = stlora_lora_create(&lora, model, &config, &init, true, err);
    if (status == STLORA_OK) status = stlora_backend_create(&backend, "cpu", 0, err);
    if (status == STLORA_OK) {
        static const int64_t wanted[] = {512, 2048};
        int64_t before = 0;
        for (size_t i = 0; i < 2 && status == STLORA_OK; i++) {
            const int64_t most = model->config.max_positions, length = wanted[i] < most ? wanted[i] : most;
            if (length > before) status = training_of(model, lora, backend, length, training, err);
            before = length;
        }
    }
    if (status == STLORA_OK) {
        const json_int_t elements = (json_int_t)lora->elements;
        json_t *value = json_pack("{s:i, s:I, s:I, s:O}", "r", RANK, "parameters", elements, "file_bytes", elements * (json_int_t)sizeof(float),
                                  "training", training);
        if (!value || json_object_set_new(out, "all_linear", value) != 0) status = no_memory(err);
    }
    json_decref(training);
    stlora_backend_free(backend);
    stlora_lora_free(lora);
    stlora_peft_config_free(&config);
    return status;
}

/* One line, or one for each type of layer. */
static json_t *rope_tables(const stlora_hf_config *c)
{
    static const char *const types[STLORA_LAYER_TYPES] = {"full_attention", "sliding_attention"};
    json_t *list = json_array();
    for (int type = 0; type < (c->rope_by_type ? STLORA_LAYER_TYPES : 1); type++) {
        const stlora_rope *rope = &c->rope[type];
        json_t *line = json_pack("{s:s, s:s, s:f, s:I}", "layers", c->rope_by_type ? types[type] : "all", "type", stlora_rope_kind_name(rope->kind),
                                 "theta", rope->theta, "rotated_per_head", (json_int_t)rope->dim);
        if (rope->kind != STLORA_ROPE_DEFAULT) (void)json_object_set_new(line, "factor", json_real(rope->factor));
        if (rope->original_positions) (void)json_object_set_new(line, "original_positions", json_integer((json_int_t)rope->original_positions));
        (void)json_array_append_new(list, line);
    }
    return list;
}

static int sliding_layers(const stlora_hf_config *c)
{
    int count = 0;
    for (int64_t l = 0; l < c->layers; l++)
        count += stlora_layer_in(&c->sliding, l);
    return count;
}

static stlora_status describe(const stlora_transformer *model, json_t *out, stlora_error *err)
{
    const stlora_hf_config *c = &model->config;
    json_t *value = json_pack(
        "{s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:s}", "family", c->model_type, "parameters",
        (json_int_t)model->parameters, "dtype", stlora_dtype_name(model->embed.dtype), "vocab_size",
        (json_int_t)c->vocab_size, "hidden_size", (json_int_t)c->hidden_size, "intermediate_size",
        (json_int_t)c->intermediate_size, "layers", (json_int_t)c->layers, "heads", (json_int_t)c->heads, "kv_heads",
        (json_int_t)c->kv_heads, "head_dim", (json_int_t)c->head_dim, "max_positions", (json_int_t)c->max_positions,
        "tied_embeddings", c->tie_embeddings, "bytes", (json_int_t)stlora_safetensors_bytes(model->files), "positions",
        model->family->learned_positions ? "learned" : "rotary");
    stlora_status status = value && json_object_update(out, value) == 0 ? STLORA_OK : no_memory(err);
    json_decref(value);
    STLORA_TRY(status);
    if (!model->family->learned_positions && json_object_set_new(out, "rope", rope_tables(c)) != 0) return no_memory(err);
    if (c->window && json_object_set_new(out, "window", json_pack("{s:I, s:i}", "tokens", (json_int_t)c->window, "layers", sliding_layers(c))) != 0)
        return no_memory(err);
    if (json_object_set_new(out, "linear_maps", linear_maps(model)) != 0) return no_memory(err);
    return describe_all_linear(model, out, err);
}

stlora_status stlora_inspect_model(const char *path, json_t *out, stlora_error *err)
{
    stlora_transformer *model;
    STLORA_TRY(stlora_transformer_open(&model, path, err));
    const stlora_status status = describe(model, out, err);
    stlora_transformer_close(model);
    return status;
}
