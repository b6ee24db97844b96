/* test_transformer.c: binding a checkpoint: every tensor at its place, and every way in which a directory can
 * contradict itself. */
#include "model/transformer.h"
#include "train/tiny_model.h"

static void refused(const tiny_options *o, stlora_status wanted, const char *words)
{
    stlora_error err = {0};
    stlora_transformer *model = NULL;
    char name[32];
    static int count;
    (void)snprintf(name, sizeof name, "refused-%d", count++);
    tiny_write(tiny_at(name), o);
    tiny_refused(stlora_transformer_open(&model, tiny_at(name), &err), &err, wanted, words);
    assert_null(model);
    if (!strstr(err.text, tiny_at(name))) fail_msg("the sentence does not name the directory: %s", err.text);
}

static const stlora_view *tensor(const stlora_transformer *model, const char *name)
{
    const stlora_view *view = stlora_safetensors_find(model->files, name);
    if (!view) fail_msg("no tensor %s", name);
    return view;
}

static void check_map(const stlora_transformer *model, size_t id, int64_t layer, const char *name, int64_t n, int64_t m,
                      int64_t column, const char *root_less, bool bias)
{
    const stlora_linear *map = stlora_transformer_linear(model, id);
    char leaf[256];
    assert_int_equal(map->id, id);
    assert_int_equal(map->layer, layer);
    assert_string_equal(map->name, name);
    assert_int_equal(map->n, n);
    assert_int_equal(map->m, m);
    assert_int_equal(map->column, column);
    (void)snprintf(leaf, sizeof leaf, "%s.weight", root_less ? root_less : name);
    assert_ptr_equal(map->weight.data, tensor(model, leaf)->data);
    assert_int_equal(map->weight.dtype, tensor(model, leaf)->dtype);
    (void)snprintf(leaf, sizeof leaf, "%s.bias", root_less ? root_less : name);
    if (bias)
        assert_ptr_equal(map->bias.data, tensor(model, leaf)->data);
    else
        assert_null(map->bias.data);
}

/* Ids run layer by layer, site by site; the head is last. */
static void check_llama(const stlora_transformer *model, bool bare, bool qkv_bias, bool o_bias, bool mlp_bias)
{
    static const struct {
        const char *name;
        int64_t n, m, column;
        int bias; /* which of the three */
    } maps[] = {{"self_attn.q_proj", 16, 16, 0, 0}, {"self_attn.k_proj", 16, 8, 16, 0},
                {"self_attn.v_proj", 16, 8, 24, 0}, {"self_attn.o_proj", 16, 16, 0, 1},
                {"mlp.gate_proj", 16, 24, 0, 2},    {"mlp.up_proj", 16, 24, 24, 2},
                {"mlp.down_proj", 24, 16, 0, 2}};
    const bool bias[] = {qkv_bias, o_bias, mlp_bias};
    assert_int_equal(model->linear_count, 2 * 7 + 1);
    for (size_t id = 0; id < 14; id++) {
        char name[128];
        (void)snprintf(name, sizeof name, "model.layers.%d.%s", (int)id / 7, maps[id % 7].name);
        check_map(model, id, (int64_t)id / 7, name, maps[id % 7].n, maps[id % 7].m, maps[id % 7].column,
                  bare ? name + strlen("model.") : NULL, bias[maps[id % 7].bias]);
        assert_int_equal(stlora_transformer_linear(model, id)->layout, STLORA_OUT_IN);
    }
    const stlora_linear *head = stlora_transformer_linear(model, 14);
    assert_ptr_equal(head, &model->head);
    assert_string_equal(head->name, "lm_head");
    assert_int_equal(head->layer, -1);
    assert_int_equal(head->n, 16);
    assert_int_equal(head->m, 40);
    assert_null(head->bias.data);
    const char *norm =
        bare ? "layers.1.post_attention_layernorm.weight" : "model.layers.1.post_attention_layernorm.weight";
    assert_ptr_equal(model->blocks[1].norms[STLORA_BEFORE_INNER].w.data, tensor(model, norm)->data);
    assert_null(model->blocks[1].norms[STLORA_BEFORE_INNER].b.data);
    assert_null(model->positions.data);
    assert_int_equal(model->blocks[0].sites[STLORA_SITE_QKV].m, 32);
    assert_int_equal(model->blocks[0].sites[STLORA_SITE_UP].m, 48);
}

enum { /* parameters, counted by hand */
       LLAMA_BLOCK = 16 + 16 * 16 + 2 * 8 * 16 + 16 * 16 + 16 + 3 * 24 * 16,
       LLAMA = 40 * 16 + 2 * LLAMA_BLOCK + 16,
       HEAD = 40 * 16
};

static void test_llama(void **state)
{
    (void)state;
    stlora_transformer *model = tiny_open("tied", &(tiny_options){.family = "llama"});
    check_llama(model, false, false, false, false);
    assert_ptr_equal(model->head.weight.data, model->embed.data);
    assert_ptr_equal(model->embed.data, tensor(model, "model.embed_tokens.weight")->data);
    assert_int_equal(model->parameters, LLAMA); /* a tied head counts once */
    stlora_transformer_close(model);
    model = tiny_open("untied", &(tiny_options){.family = "llama", .untied = true, .dtype = STLORA_BF16});
    check_llama(model, false, false, false, false);
    assert_ptr_equal(model->head.weight.data, tensor(model, "lm_head.weight")->data);
    assert_int_equal(model->head.weight.dtype, STLORA_BF16);
    assert_int_equal(model->parameters, LLAMA + HEAD);
    stlora_transformer_close(model);
}

/* config.json says that the head is tied, and the file has one all the same: Transformers takes it. With the head alone it is the embedding too. */
static void test_tied_with_a_head(void **state)
{
    (void)state;
    const char *tied = "{\"tie_word_embeddings\": true}";
    stlora_transformer *model = tiny_open("both", &(tiny_options){.family = "llama", .untied = true, .config = tied});
    assert_ptr_equal(model->head.weight.data, tensor(model, "lm_head.weight")->data);
    assert_ptr_equal(model->embed.data, tensor(model, "model.embed_tokens.weight")->data);
    assert_int_equal(model->parameters, LLAMA + HEAD);
    stlora_transformer_close(model);
    model = tiny_open("head", &(tiny_options){.family = "llama", .untied = true, .config = tied, .without = "model.embed_tokens.weight"});
    assert_ptr_equal(model->embed.data, tensor(model, "lm_head.weight")->data);
    assert_ptr_equal(model->head.weight.data, model->embed.data);
    assert_int_equal(model->parameters, LLAMA);
    stlora_transformer_close(model);
    refused(&(tiny_options){.family = "llama", .untied = true, .without = "model.embed_tokens.weight"}, STLORA_E_FORMAT,
            "tensor \"model.embed_tokens.weight\" is missing");
}

static void test_biases(void **state)
{
    (void)state;
    stlora_transformer *model = tiny_open("attention", &(tiny_options){.family = "llama", .attention_bias = true});
    check_llama(model, false, true, true, false);
    assert_int_equal(model->parameters, LLAMA + 2 * (16 + 8 + 8 + 16));
    stlora_transformer_close(model);
    model = tiny_open("mlp", &(tiny_options){.family = "llama", .mlp_bias = true});
    check_llama(model, false, false, false, true);
    stlora_transformer_close(model);
    model = tiny_open("qwen2", &(tiny_options){.family = "qwen2"});
    check_llama(model, false, true, false, false);
    stlora_transformer_close(model);
    refused(
        &(tiny_options){.family = "llama", .attention_bias = true, .without = "model.layers.0.self_attn.o_proj.bias"},
        STLORA_E_FORMAT, "tensor \"model.layers.0.self_attn.o_proj.bias\" is missing");
    refused(&(tiny_options){.family = "llama", .config = "{\"attention_bias\": true}"}, STLORA_E_FORMAT,
            "self_attn.q_proj.bias\" is missing");
}

/* A model that was saved without its head has no "model." in front. */
static void test_bare_names(void **state)
{
    (void)state;
    stlora_transformer *model = tiny_open("llama", &(tiny_options){.family = "llama", .bare = true});
    check_llama(model, true, false, false, false);
    assert_ptr_equal(model->embed.data, tensor(model, "embed_tokens.weight")->data);
    assert_ptr_equal(model->final_norm.w.data, tensor(model, "norm.weight")->data);
    stlora_transformer_close(model);
    model = tiny_open("gpt2", &(tiny_options){.family = "gpt2", .bare = true});
    assert_string_equal(stlora_transformer_linear(model, 4)->name,
                        "transformer.h.1.attn.c_attn"); /* the adapter's name has the root all the same */
    assert_ptr_equal(stlora_transformer_linear(model, 4)->weight.data, tensor(model, "h.1.attn.c_attn.weight")->data);
    stlora_transformer_close(model);
    refused(&(tiny_options){.family = "llama", .bare = true, .config = "{\"tie_word_embeddings\": false}"},
            STLORA_E_FORMAT, "tensor \"lm_head.weight\" is missing");
    refused(&(tiny_options){.family = "llama", .bare = true, .without = "layers.1.mlp.up_proj.weight"}, STLORA_E_FORMAT,
            "tensor \"layers.1.mlp.up_proj.weight\" is missing");
    refused(&(tiny_options){.family = "llama", .bare = true, .without = "embed_tokens.weight"}, STLORA_E_FORMAT,
            "tensor \"model.embed_tokens.weight\" is missing"); /* neither name is there: the usual one is asked for */
}

static void test_gpt2(void **state)
{
    (void)state;
    enum { BLOCK = 4 * 16 + 48 * 16 + 48 + 16 * 16 + 16 + 24 * 16 + 24 + 16 * 24 + 16 };
    static const struct {
        const char *name;
        int64_t n, m;
    } maps[] = {{"attn.c_attn", 16, 48}, {"attn.c_proj", 16, 16}, {"mlp.c_fc", 16, 24}, {"mlp.c_proj", 24, 16}};
    stlora_transformer *model = tiny_open("model", &(tiny_options){.family = "gpt2"});
    assert_int_equal(model->linear_count, 9);
    for (size_t id = 0; id < 8; id++) {
        char name[128];
        (void)snprintf(name, sizeof name, "transformer.h.%d.%s", (int)id / 4, maps[id % 4].name);
        check_map(model, id, (int64_t)id / 4, name, maps[id % 4].n, maps[id % 4].m, 0, NULL, true);
        assert_int_equal(stlora_transformer_linear(model, id)->layout, STLORA_IN_OUT);
    }
    assert_int_equal(model->head.layout, STLORA_OUT_IN); /* the embedding's own */
    assert_ptr_equal(model->positions.data, tensor(model, "transformer.wpe.weight")->data);
    assert_ptr_equal(model->blocks[1].norms[STLORA_BEFORE_ATTENTION].b.data, tensor(model, "transformer.h.1.ln_1.bias")->data);
    assert_ptr_equal(model->final_norm.b.data, tensor(model, "transformer.ln_f.bias")->data);
    assert_int_equal(model->parameters, 40 * 16 + 64 * 16 + 2 * BLOCK + 2 * 16);
    stlora_transformer_close(model);
    refused(
        &(tiny_options){.family = "gpt2", .longer = "transformer.h.0.attn.c_attn.weight"}, STLORA_E_FORMAT,
        "tensor \"transformer.h.0.attn.c_attn.weight\" must have shape [16, 48] as config.json says, found [17, 48]");
    refused(&(tiny_options){.family = "gpt2", .other = "transformer.ln_f.bias", .other_dtype = STLORA_BF16},
            STLORA_E_UNSUPPORTED, "\"transformer.ln_f.bias\" and its weight have different dtypes");
    refused(&(tiny_options){.family = "gpt2", .longer = "transformer.wpe.weight"}, STLORA_E_FORMAT,
            "transformer.wpe.weight");
}

static void test_shards(void **state)
{
    (void)state;
    stlora_transformer *one = tiny_open("one", &(tiny_options){.family = "qwen2", .untied = true});
    stlora_transformer *two = tiny_open("two", &(tiny_options){.family = "qwen2", .untied = true, .sharded = true});
    check_llama(two, false, true, false, false);
    assert_int_equal(one->parameters, two->parameters);
    assert_int_equal(stlora_safetensors_count(one->files), stlora_safetensors_count(two->files));
    for (size_t i = 0; i < stlora_safetensors_count(one->files); i++) {
        const stlora_view *a = stlora_safetensors_at(one->files, i),
                          *b = tensor(two, stlora_safetensors_name(one->files, i));
        assert_memory_equal(a->data, b->data, (size_t)stlora_view_count(a) * sizeof(float));
    }
    for (size_t id = 0; id < one->linear_count; id++) {
        const stlora_linear *a = stlora_transformer_linear(one, id), *b = stlora_transformer_linear(two, id);
        assert_string_equal(a->name, b->name);
        assert_memory_equal(a->weight.data, b->weight.data, (size_t)(a->n * a->m) * sizeof(float));
    }
    stlora_transformer_close(one);
    stlora_transformer_close(two);
}

static void test_missing_tensors(void **state)
{
    (void)state;
    static const char *const names[] = {"model.embed_tokens.weight",
                                        "model.norm.weight",
                                        "model.layers.0.input_layernorm.weight",
                                        "model.layers.1.post_attention_layernorm.weight",
                                        "model.layers.0.self_attn.q_proj.weight",
                                        "model.layers.1.self_attn.o_proj.weight",
                                        "model.layers.1.mlp.gate_proj.weight",
                                        "model.layers.1.mlp.down_proj.weight",
                                        "lm_head.weight"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char words[160];
        (void)snprintf(words, sizeof words, "tensor \"%s\" is missing", names[i]);
        refused(&(tiny_options){.family = "llama", .untied = true, .without = names[i]}, STLORA_E_FORMAT, words);
    }
    refused(&(tiny_options){.family = "llama", .config = "{\"num_hidden_layers\": 3}"}, STLORA_E_FORMAT,
            "tensor \"model.layers.2.input_layernorm.weight\" is missing");
    /* An absurd number of layers takes no memory. */
    refused(&(tiny_options){.family = "llama", .config = "{\"num_hidden_layers\": 1000}"}, STLORA_E_FORMAT,
            "config.json says 1000 layers, but the files hold only 20 tensors");
}

static void test_shapes(void **state)
{
    (void)state;
    refused(
        &(tiny_options){.family = "llama", .longer = "model.layers.1.mlp.down_proj.weight"}, STLORA_E_FORMAT,
        "tensor \"model.layers.1.mlp.down_proj.weight\" must have shape [16, 24] as config.json says, found [17, 24]");
    refused(&(tiny_options){.family = "llama", .longer = "model.norm.weight"}, STLORA_E_FORMAT,
            "tensor \"model.norm.weight\" must have shape [16] as config.json says, found [17]");
    refused(&(tiny_options){.family = "qwen2", .longer = "model.layers.0.self_attn.k_proj.bias"}, STLORA_E_FORMAT,
            "must have shape [8] as config.json says, found [9]");
    refused(&(tiny_options){.family = "llama", .untied = true, .longer = "lm_head.weight"}, STLORA_E_FORMAT,
            "\"lm_head.weight\" must have shape [40, 16]");
    refused(&(tiny_options){.family = "llama", .config = "{\"hidden_size\": 32}"}, STLORA_E_FORMAT,
            "\"model.embed_tokens.weight\" must have shape [40, 32] as config.json says, found [40, 16]");
    /* The file is right and config.json is not. */
    static const char *const configs[] = {"{\"vocab_size\": 41}", "{\"vocab_size\": 39}", "{\"intermediate_size\": 23}",
                                          "{\"num_key_value_heads\": 4}", "{\"head_dim\": 8}"};
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++)
        refused(&(tiny_options){.family = "llama", .config = configs[i]}, STLORA_E_FORMAT,
                "as config.json says, found [");
}

static void test_dtypes(void **state)
{
    (void)state;
    static const stlora_dtype wrong[] = {STLORA_I32, STLORA_F64, STLORA_U8};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char words[160];
        (void)snprintf(words, sizeof words,
                       "tensor \"model.layers.0.mlp.up_proj.weight\" has dtype %s; wanted F32, F16 or BF16",
                       stlora_dtype_name(wrong[i]));
        refused(
            &(tiny_options){.family = "llama", .other = "model.layers.0.mlp.up_proj.weight", .other_dtype = wrong[i]},
            STLORA_E_UNSUPPORTED, words);
    }
    stlora_transformer *model = tiny_open(
        "mixed", &(tiny_options){
                     .family = "llama", .dtype = STLORA_F16, .other = "model.norm.weight", .other_dtype = STLORA_F32});
    assert_int_equal(model->embed.dtype, STLORA_F16);
    assert_int_equal(model->final_norm.w.dtype, STLORA_F32);
    stlora_transformer_close(model);
}

static void test_options(void **state)
{
    (void)state;
    refused(&(tiny_options){.family = "llama", .config = "{\"hidden_act\": \"gelu\"}"}, STLORA_E_UNSUPPORTED,
            "config.json: activation \"gelu\" is not supported for model_type \"llama\"; wanted \"silu\"");
    refused(&(tiny_options){.family = "llama", .config = "{\"head_dim\": 2048}"}, STLORA_E_UNSUPPORTED,
            "heads of 2048 are wider than 1024");
    refused(&(tiny_options){.family = "gpt2", .config = "{\"activation_function\": \"relu\"}"}, STLORA_E_UNSUPPORTED,
            "activation \"relu\"");
    refused(&(tiny_options){.family = "gpt2", .config = "{\"activation_function\": \"silu\"}"}, STLORA_E_UNSUPPORTED,
            "activation \"silu\"");
    refused(&(tiny_options){.family = "llama", .config = "{\"model_type\": \"mixtral\"}"}, STLORA_E_UNSUPPORTED,
            "mixtral");
    stlora_transformer_close(
        tiny_open("swish", &(tiny_options){.family = "llama", .config = "{\"hidden_act\": \"swish\"}"}));
    stlora_transformer_close(tiny_open(
        "tanh", &(tiny_options){.family = "gpt2", .config = "{\"activation_function\": \"gelu_pytorch_tanh\"}"}));
    stlora_error err = {0};
    stlora_transformer *model = NULL;
    tiny_refused(stlora_transformer_open(&model, tiny_at("absent"), &err), &err, STLORA_E_IO, "absent");
    stlora_transformer_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TINY_TEST(test_llama),
        TINY_TEST(test_tied_with_a_head),  TINY_TEST(test_biases), TINY_TEST(test_bare_names),
        TINY_TEST(test_gpt2),   TINY_TEST(test_shards), TINY_TEST(test_missing_tensors),
        TINY_TEST(test_shapes), TINY_TEST(test_dtypes), TINY_TEST(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
