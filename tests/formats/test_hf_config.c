/* test_hf_config.c: config.json in both wordings, its defaults, and what is refused. */
#include "scratch.h"

#include <math.h>

#include "formats/hf_config.h"

static void put_config(const char *text)
{
    put_text(at("config.json"), text);
}

static stlora_hf_config parses(const char *text)
{
    stlora_error err = {0};
    stlora_hf_config c;
    put_config(text);
    assert_ok(stlora_hf_config_parse(&c, at("config.json"), &err));
    return c;
}

static void refused(const char *text, stlora_status wanted, const char *words)
{
    stlora_error err = {0};
    stlora_hf_config c = {.layers = 77};
    put_config(text);
    stlora_status status = stlora_hf_config_parse(&c, at("config.json"), &err);
    assert_refusal(status, &err, wanted, at("config.json"), words);
    assert_int_equal(c.layers, 77); /* untouched */
    assert_int_equal(stlora_hf_config_load(&c, scratch, NULL), wanted);
}

static void malformed(const char *text, const char *words)
{
    refused(text, STLORA_E_FORMAT, words);
}

static void unsupported(const char *text, const char *words)
{
    refused(text, STLORA_E_UNSUPPORTED, words);
}

static void assert_same(const stlora_hf_config *a, const stlora_hf_config *b)
{
    assert_string_equal(a->model_type, b->model_type);
    assert_int_equal(a->vocab_size, b->vocab_size);
    assert_int_equal(a->hidden_size, b->hidden_size);
    assert_int_equal(a->intermediate_size, b->intermediate_size);
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(a->kv_heads, b->kv_heads);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->max_positions, b->max_positions);
    assert_true(a->norm_eps == b->norm_eps);
    for (int t = 0; t < STLORA_LAYER_TYPES; t++) {
        const stlora_rope *x = &a->rope[t], *y = &b->rope[t];
        assert_int_equal(x->kind, y->kind);
        assert_int_equal(x->dim, y->dim);
        assert_int_equal(x->original_positions, y->original_positions);
        assert_true(x->theta == y->theta && x->factor == y->factor && x->low_freq_factor == y->low_freq_factor &&
                    x->high_freq_factor == y->high_freq_factor && x->attention_factor == y->attention_factor);
    }
    assert_int_equal(a->rope_by_type, b->rope_by_type);
    assert_memory_equal(&a->sliding, &b->sliding, sizeof a->sliding);
    assert_memory_equal(&a->without_rope, &b->without_rope, sizeof a->without_rope);
    assert_int_equal(a->window, b->window);
    assert_true(a->attention_scale == b->attention_scale && a->attention_softcap == b->attention_softcap &&
                a->logits_softcap == b->logits_softcap && a->embedding_multiplier == b->embedding_multiplier &&
                a->residual_multiplier == b->residual_multiplier && a->logits_scaling == b->logits_scaling);
    assert_string_equal(a->activation, b->activation);
    assert_int_equal(a->tie_embeddings, b->tie_embeddings);
    assert_int_equal(a->attention_bias, b->attention_bias);
    assert_int_equal(a->mlp_bias, b->mlp_bias);
    assert_int_equal(a->bos, b->bos);
    assert_int_equal(a->eos_count, b->eos_count);
    assert_memory_equal(a->eos, b->eos, sizeof a->eos);
    assert_int_equal(a->dtype, b->dtype);
}

/* ---- defaults ---- */

static void test_llama_defaults(void **state)
{
    (void)state;
    stlora_hf_config c = parses("{\"model_type\": \"llama\"}");
    assert_string_equal(c.model_type, "llama");
    assert_int_equal(c.vocab_size, 32000);
    assert_int_equal(c.hidden_size, 4096);
    assert_int_equal(c.intermediate_size, 11008);
    assert_int_equal(c.layers, 32);
    assert_int_equal(c.heads, 32);
    assert_int_equal(c.kv_heads, 32);
    assert_int_equal(c.head_dim, 128);
    assert_int_equal(c.max_positions, 2048);
    assert_true(c.norm_eps == 1e-6 && c.rope[0].theta == 10000);
    assert_int_equal(c.rope[0].kind, STLORA_ROPE_DEFAULT);
    assert_string_equal(c.activation, "silu");
    assert_false(c.tie_embeddings || c.attention_bias || c.mlp_bias);
    assert_int_equal(c.bos, 1);
    assert_int_equal(c.eos_count, 1);
    assert_int_equal(c.eos[0], 2);
    assert_int_equal(c.dtype, STLORA_F32);
}

static void test_qwen2_defaults(void **state)
{
    (void)state;
    stlora_hf_config c = parses("{\"model_type\": \"qwen2\"}");
    assert_int_equal(c.vocab_size, 151936);
    assert_int_equal(c.hidden_size, 4096);
    assert_int_equal(c.intermediate_size, 22016);
    assert_int_equal(c.kv_heads, 32);
    assert_int_equal(c.max_positions, 32768);
    assert_true(c.norm_eps == 1e-6 && c.rope[0].theta == 10000);
    assert_false(c.tie_embeddings);
    assert_int_equal(c.bos, -1);
    assert_int_equal(c.eos_count, 0);
}

static void test_gpt2_defaults(void **state)
{
    (void)state;
    stlora_hf_config c = parses("{\"model_type\": \"gpt2\"}");
    assert_int_equal(c.vocab_size, 50257);
    assert_int_equal(c.hidden_size, 768);
    assert_int_equal(c.intermediate_size, 3072);
    assert_int_equal(c.layers, 12);
    assert_int_equal(c.heads, 12);
    assert_int_equal(c.kv_heads, 12);
    assert_int_equal(c.head_dim, 64);
    assert_int_equal(c.max_positions, 1024);
    assert_true(c.norm_eps == 1e-5 && c.rope[0].theta == 0);
    assert_string_equal(c.activation, "gelu_new");
    assert_true(c.tie_embeddings);
    assert_int_equal(c.bos, 50256);
    assert_int_equal(c.eos_count, 1);
    assert_int_equal(c.eos[0], 50256);
    assert_int_equal(parses("{\"model_type\": \"gpt2\", \"n_inner\": 100}").intermediate_size, 100);
    assert_int_equal(parses("{\"model_type\": \"gpt2\", \"n_inner\": null}").intermediate_size, 3072);
    (void)parses("{\"model_type\": \"gpt2\", \"reorder_and_upcast_attn\": true, \"scale_attn_weights\": true}");
}

/* ---- wordings ---- */

#define LLAMA(rest) "{\"model_type\": \"llama\", " rest "}"
#define FACTORS "\"factor\": 8.0, \"low_freq_factor\": 1, \"high_freq_factor\": 4.0"

static void test_both_wordings(void **state)
{
    (void)state;
    const char *new_words = LLAMA("\"dtype\": \"bfloat16\", \"rope_parameters\": {\"rope_type\": \"llama3\", "
                                  "\"rope_theta\": 500000, " FACTORS ", \"original_max_position_embeddings\": 64}");
    const char *old_words = LLAMA("\"torch_dtype\": \"bfloat16\", \"rope_theta\": 500000.0, \"rope_scaling\": "
                                  "{\"rope_type\": \"llama3\", " FACTORS ", \"original_max_position_embeddings\": 64}");
    const char *older = LLAMA("\"torch_dtype\": \"torch.bfloat16\", \"rope_theta\": 500000.0, \"rope_scaling\": "
                              "{\"type\": \"llama3\", " FACTORS "}, \"original_max_position_embeddings\": 64");
    stlora_hf_config a = parses(new_words), b = parses(old_words), c = parses(older);
    assert_int_equal(a.rope[0].kind, STLORA_ROPE_LLAMA3);
    assert_true(a.rope[0].theta == 500000 && a.rope[0].factor == 8 && a.rope[0].low_freq_factor == 1 && a.rope[0].high_freq_factor == 4);
    assert_int_equal(a.rope[0].original_positions, 64);
    assert_int_equal(a.dtype, STLORA_BF16);
    assert_same(&a, &b);
    assert_same(&a, &c);
}

static void test_rope_words(void **state)
{
    (void)state;
    assert_true(parses(LLAMA("\"rope_theta\": 7")).rope[0].theta == 7);
    assert_true(parses(LLAMA("\"rope_theta\": 7, \"rope_parameters\": {\"rope_type\": \"default\"}")).rope[0].theta == 7);
    assert_true(parses(LLAMA("\"rope_theta\": 7, \"rope_parameters\": {\"rope_theta\": 8}")).rope[0].theta == 8);
    assert_true(parses(LLAMA("\"rope_scaling\": null, \"rope_parameters\": null")).rope[0].theta == 10000);
    assert_true(parses(LLAMA("\"rope_scaling\": {}, \"rope_parameters\": {\"rope_theta\": 8}")).rope[0].theta == 8);
    assert_true(parses(LLAMA("\"rope_theta\": 7, \"rope_scaling\": {\"type\": \"default\"}")).rope[0].theta == 7);
    /* Without a word about it, the original length is the whole length. */
    assert_int_equal(parses(LLAMA("\"max_position_embeddings\": 99, \"rope_scaling\": {\"rope_type\": \"llama3\", " FACTORS "}"))
                         .rope[0].original_positions, 99);
}

static void test_other_words(void **state)
{
    (void)state;
    assert_int_equal(parses(LLAMA("\"dtype\": null, \"torch_dtype\": \"float16\"")).dtype, STLORA_F16);
    assert_int_equal(parses(LLAMA("\"dtype\": \"float32\", \"torch_dtype\": \"float16\"")).dtype, STLORA_F32);
    assert_int_equal(parses(LLAMA("\"num_key_value_heads\": null, \"head_dim\": null")).kv_heads, 32);
    stlora_hf_config c = parses(LLAMA("\"hidden_size\": 60, \"num_attention_heads\": 8, \"num_key_value_heads\": 2, \"head_dim\": 16"));
    assert_int_equal(c.head_dim, 16); /* and 60 is no multiple of 8: allowed when head_dim is given */
    assert_int_equal(c.kv_heads, 2);
    c = parses(LLAMA("\"attention_bias\": true, \"mlp_bias\": true, \"tie_word_embeddings\": true, \"hidden_act\": \"relu\""));
    assert_true(c.attention_bias && c.mlp_bias && c.tie_embeddings);
    assert_string_equal(c.activation, "relu");
    c = parses(LLAMA("\"bos_token_id\": null, \"eos_token_id\": null"));
    assert_int_equal(c.bos, -1);
    assert_int_equal(c.eos_count, 0);
    c = parses(LLAMA("\"eos_token_id\": [128001, 128008, 128009]"));
    assert_int_equal(c.eos_count, 3);
    assert_int_equal(c.eos[2], 128009);
    assert_int_equal(parses(LLAMA("\"eos_token_id\": []")).eos_count, 0);
    assert_int_equal(parses(LLAMA("\"num_hidden_layers\": 2, \"layer_types\": [\"full_attention\", \"full_attention\"]")).layers, 2);
    (void)parses(LLAMA("\"quantization_config\": null, \"pretraining_tp\": 1, \"use_cache\": true, \"attention_dropout\": 0.1"));
    /* A key that nobody knows may stay where it says nothing. */
    (void)parses(LLAMA("\"sliding_window\": null, \"my_own_key\": [], \"my_other_key\": false, \"_mine\": 3"));
    assert_int_equal(parses(LLAMA("\"vocab_size\": 2147483648")).vocab_size, INT64_C(2147483648));
}

/* ---- refusals ---- */

static void test_wrong_types_and_ranges(void **state)
{
    (void)state;
    malformed("", "must be JSON, found nothing");
    malformed("{\"model_type\": \"llama\",}", " line 1 column 24: ");
    malformed("[]", "must be an object, found array");
    malformed("{}", "\"model_type\" must be a family's name, found nothing");
    malformed("{\"model_type\": 3}", "\"model_type\" must be a family's name, found 3");
    malformed("{\"model_type\": \"llama\\u0000\"}", "\"model_type\" must be a family's name");
    malformed(LLAMA("\"num_attention_heads\": -4"), "\"num_attention_heads\" must be a positive integer, found -4");
    malformed(LLAMA("\"num_attention_heads\": 0"), "must be a positive integer, found 0");
    malformed(LLAMA("\"hidden_size\": \"4096\""), "\"hidden_size\" must be a positive integer, found \"4096\"");
    malformed(LLAMA("\"hidden_size\": null"), "\"hidden_size\" must be a positive integer, found null");
    malformed(LLAMA("\"hidden_size\": 64.5"), "\"hidden_size\" must be a positive integer, found 64.5");
    malformed(LLAMA("\"intermediate_size\": [4]"), "\"intermediate_size\" must be a positive integer, found array");
    malformed(LLAMA("\"vocab_size\": 2147483649"), "\"vocab_size\" must be at most 2147483648, found 2147483649");
    malformed(LLAMA("\"num_hidden_layers\": 9223372036854775807"), "\"num_hidden_layers\" must be at most");
    malformed(LLAMA("\"max_position_embeddings\": true"), "found true");
    malformed(LLAMA("\"rms_norm_eps\": 0"), "\"rms_norm_eps\" must be a number above 0, found 0");
    malformed(LLAMA("\"rms_norm_eps\": -1e-6"), "\"rms_norm_eps\" must be a number above 0, found -");
    malformed(LLAMA("\"rms_norm_eps\": \"1e-6\""), "found \"1e-6\"");
    malformed(LLAMA("\"tie_word_embeddings\": 1"), "\"tie_word_embeddings\" must be true or false, found 1");
    malformed(LLAMA("\"attention_bias\": \"no\""), "\"attention_bias\" must be true or false, found \"no\"");
    malformed(LLAMA("\"hidden_act\": 3"), "\"hidden_act\" must be a text without NUL, found 3");
    malformed(LLAMA("\"bos_token_id\": -1"), "\"bos_token_id\" must be a token id of at least 0, found -1");
    malformed(LLAMA("\"bos_token_id\": 2147483648"), "\"bos_token_id\" must be a token id");
    malformed(LLAMA("\"eos_token_id\": \"</s>\""), "\"eos_token_id\" must be a token id of at least 0 or a list of them, found \"</s>\"");
    malformed(LLAMA("\"eos_token_id\": [1, -2]"), "found -2");
    malformed(LLAMA("\"dtype\": 32"), "\"dtype\" must be a text without NUL, found 32");
    malformed("{\"model_type\": \"gpt2\", \"n_embd\": -1}", "\"n_embd\" must be a positive integer, found -1");
    malformed("{\"model_type\": \"gpt2\", \"n_inner\": 0}", "\"n_inner\" must be a positive integer, found 0");
}

static void test_sizes_that_do_not_fit(void **state)
{
    (void)state;
    malformed(LLAMA("\"hidden_size\": 100, \"num_attention_heads\": 8"),
              "\"hidden_size\" must be a multiple of \"num_attention_heads\" 8, found 100");
    malformed(LLAMA("\"num_attention_heads\": 32, \"num_key_value_heads\": 5"),
              "\"num_attention_heads\" must be a multiple of \"num_key_value_heads\" 5, found 32");
    malformed(LLAMA("\"num_attention_heads\": 2, \"num_key_value_heads\": 4"), "must be a multiple of");
    malformed(LLAMA("\"head_dim\": 33"), "\"head_dim\" must be even to be rotated, found 33");
    malformed(LLAMA("\"hidden_size\": 96, \"num_attention_heads\": 32"), "\"head_dim\" must be even to be rotated, found 3");
    malformed("{\"model_type\": \"gpt2\", \"n_head\": 7}", "\"n_embd\" must be a multiple of \"n_head\" 7, found 768");
    assert_int_equal(parses("{\"model_type\": \"gpt2\", \"n_embd\": 21, \"n_head\": 7}").head_dim, 3); /* nothing is rotated */
}

static void test_rope_refusals(void **state)
{
    (void)state;
    malformed(LLAMA("\"rope_theta\": -1"), "\"rope_theta\" must be a number above 0, found -1");
    malformed(LLAMA("\"rope_parameters\": 3"), "\"rope_parameters\" must be an object, found 3");
    malformed(LLAMA("\"rope_scaling\": [1]"), "\"rope_scaling\" must be an object, found array");
    malformed(LLAMA("\"rope_parameters\": {\"rope_theta\": \"1e6\"}"), "\"rope_parameters.rope_theta\" must be a number above 0");
    malformed(LLAMA("\"rope_parameters\": {\"rope_type\": 3}"), "\"rope_parameters.rope_type\" must be a text");
    malformed(LLAMA("\"rope_scaling\": {\"rope_type\": \"llama3\"}"), "\"rope_scaling.factor\" must be a number above 0, found nothing");
    malformed(LLAMA("\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 0.5, \"low_freq_factor\": 1, \"high_freq_factor\": 4}"),
              "\"rope_scaling.factor\" must be at least 1, found 0.5");
    malformed(LLAMA("\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 4}"),
              "\"rope_scaling.high_freq_factor\" must be above low_freq_factor, found 4");
    malformed(LLAMA("\"rope_scaling\": {\"rope_type\": \"llama3\", " FACTORS ", \"original_max_position_embeddings\": 0}"),
              "\"rope_scaling.original_max_position_embeddings\" must be a positive integer, found 0");
    unsupported(LLAMA("\"rope_scaling\": {\"type\": \"mrope\"}"),
                "\"rope_scaling.type\" \"mrope\" is not supported, only default, linear, dynamic, llama3, yarn and longrope");
    unsupported(LLAMA("\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0, \"mrope_section\": [1]}"),
                "\"rope_scaling.mrope_section\" is not known");
    malformed(LLAMA("\"rope_scaling\": {\"type\": \"linear\"}"), "\"rope_scaling.factor\" must be a number above 0, found nothing");
    malformed(LLAMA("\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 0.5}"), "\"rope_scaling.factor\" must be at least 1");
    malformed(LLAMA("\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4, \"beta_fast\": 1, \"beta_slow\": 2}"),
              "\"rope_scaling.beta_fast\" must be at least beta_slow, found 1");
    malformed(LLAMA("\"head_dim\": 4, \"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1, 1], \"long_factor\": [1]}"),
              "\"rope_scaling.long_factor\" must be a list of 2 numbers, one for each rotated pair; found array of 1");
    malformed(LLAMA("\"head_dim\": 4, \"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1, 0]}"),
              "\"rope_scaling.short_factor\" must be a list of numbers above 0, found 0");
    unsupported("{\"model_type\": \"phi3\", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}",
                "\"rope_scaling.type\" \"linear\" is not supported, only default and longrope");
    malformed("{\"model_type\": \"phi3\", \"partial_rotary_factor\": 0.01}", "an even number of a head's elements is rotated");
    unsupported(LLAMA("\"rope_parameters\": {\"partial_rotary_factor\": 0.5}"), "partial_rotary_factor\" 0.5 is not supported");
    unsupported(LLAMA("\"partial_rotary_factor\": 0.5"), "\"partial_rotary_factor\" 0.5 is not supported, only 1");
    unsupported(LLAMA("\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1}}"), "for each type of layer");
}

static void test_unsupported_options(void **state)
{
    (void)state;
    unsupported("{\"model_type\": \"mamba\"}", "\"model_type\" \"mamba\" is not supported, only llama, mistral, qwen2, qwen3, gemma2");
    unsupported(LLAMA("\"quantization_config\": {\"bits\": 4}"), "\"quantization_config\" object is not supported, only its absence");
    unsupported(LLAMA("\"pretraining_tp\": 2"), "\"pretraining_tp\" 2 is not supported, only 1");
    unsupported(LLAMA("\"dtype\": \"float64\""), "\"dtype\" \"float64\" is not supported, only float32, float16 and bfloat16");
    unsupported(LLAMA("\"torch_dtype\": \"float8_e4m3fn\""), "\"torch_dtype\" \"float8_e4m3fn\"");
    unsupported(LLAMA("\"hidden_act\": \"a_name_that_is_longer_than_any_name\""), "\"hidden_act\"");
    unsupported(LLAMA("\"eos_token_id\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"), "with more than 16 ids is not supported, found 17");
    unsupported(LLAMA("\"sliding_window\": 4096"), "\"sliding_window\" is not known for model_type \"llama\" and might change");
    unsupported(LLAMA("\"my_own_key\": [1]"), "\"my_own_key\" is not known");
    unsupported("{\"model_type\": \"gpt2\", \"rope_theta\": 3}", "\"rope_theta\" is not known");
    unsupported("{\"model_type\": \"gemma2\", \"use_bidirectional_attention\": true}", "\"use_bidirectional_attention\" true");
    unsupported(LLAMA("\"is_causal\": false"), "\"is_causal\" false is not supported, only true");
    unsupported("{\"model_type\": \"gpt2\", \"is_causal\": null}", "\"is_causal\" null");
    (void)parses(LLAMA("\"is_causal\": true"));
    unsupported("{\"model_type\": \"mistral\", \"num_hidden_layers\": 1, \"layer_types\": [\"full_attention\"]}", "\"layer_types\"");
    unsupported(LLAMA("\"num_hidden_layers\": 1025"), "more than 1024 layers are not supported, found 1025");
    malformed("{\"model_type\": \"smollm3\", \"num_hidden_layers\": 2, \"no_rope_layers\": [1]}", "a list of 2 numbers 0 or 1, found array of 1");
    malformed("{\"model_type\": \"smollm3\", \"num_hidden_layers\": 1, \"no_rope_layers\": [2]}", "a list of 0 and 1, found 2");
    malformed("{\"model_type\": \"gemma2\", \"attn_logit_softcapping\": -1}", "\"attn_logit_softcapping\" must be a number above 0");
    malformed("{\"model_type\": \"granite\", \"residual_multiplier\": 0}", "\"residual_multiplier\" must be a number above 0");
    unsupported("{\"model_type\": \"qwen2\", \"num_hidden_layers\": 1, \"layer_types\": [\"sliding_attention\"]}",
                "\"layer_types\" \"sliding_attention\" is not supported, only \"full_attention\"");
    malformed("{\"model_type\": \"qwen2\", \"num_hidden_layers\": 2, \"layer_types\": [\"full_attention\"]}",
              "one entry for each of 2 layers, found 1");
    malformed("{\"model_type\": \"qwen2\", \"layer_types\": 3}", "\"layer_types\" must be an array of texts, found 3");
    unsupported("{\"model_type\": \"gpt2\", \"scale_attn_weights\": false}", "\"scale_attn_weights\" false is not supported, only true");
    unsupported("{\"model_type\": \"gpt2\", \"scale_attn_by_inverse_layer_idx\": true}", "\"scale_attn_by_inverse_layer_idx\" true");
    unsupported("{\"model_type\": \"gpt2\", \"add_cross_attention\": true}", "\"add_cross_attention\" true");
    malformed("{\"model_type\": \"gpt2\", \"add_cross_attention\": 1}", "must be true or false, found 1");
}

/* ---- a directory ---- */

static void test_generation_config(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_hf_config c = {.layers = 77};
    assert_refusal(stlora_hf_config_load(&c, scratch, &err), &err, STLORA_E_IO, at("config.json"), "No such file");
    put_config(LLAMA("\"eos_token_id\": 7"));
    assert_ok(stlora_hf_config_load(&c, scratch, &err));
    assert_int_equal(c.eos[0], 7);
    put_text(at("generation_config.json"), "{\"eos_token_id\": [8, 9], \"bos_token_id\": 3}");
    assert_ok(stlora_hf_config_load(&c, scratch, &err));
    assert_int_equal(c.eos_count, 2);
    assert_int_equal(c.eos[0], 8);
    assert_int_equal(c.eos[1], 9);
    assert_int_equal(c.bos, 1); /* config.json's */
    put_text(at("generation_config.json"), "{\"eos_token_id\": null, \"temperature\": 0.6}");
    assert_ok(stlora_hf_config_load(&c, scratch, &err));
    assert_int_equal(c.eos_count, 1);
    assert_int_equal(c.eos[0], 7);
    c.layers = 77;
    put_text(at("generation_config.json"), "{\"eos_token_id\": \"x\"}");
    assert_refusal(stlora_hf_config_load(&c, scratch, &err), &err, STLORA_E_FORMAT, at("generation_config.json"),
                   "\"eos_token_id\" must be a token id");
    put_text(at("generation_config.json"), "[]");
    assert_refusal(stlora_hf_config_load(&c, scratch, &err), &err, STLORA_E_FORMAT, at("generation_config.json"),
                   "must be an object, found array");
    put_text(at("generation_config.json"), "{");
    assert_int_equal(stlora_hf_config_load(&c, scratch, &err), STLORA_E_FORMAT);
    assert_int_equal(c.layers, 77);
}

/* ---- given configurations ---- */

static void test_given_configurations(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t inner, layers, kv_heads, head_dim, window;
        unsigned sliding, without_rope; /* bit l = layer l */
        double theta, local_theta;      /* 0 = none */
        bool tied;
    } given[] = {{"llama", 88, 3, 2, 8, 0, 0, 0, 1e4, 0, false},
                 {"llama3_rope", 88, 3, 2, 8, 0, 0, 0, 5e5, 0, true},
                 {"mistral_window", 88, 3, 2, 16, 8, 7, 0, 1e4, 0, false},
                 {"qwen2", 88, 3, 2, 8, 0, 0, 0, 1e6, 0, true},
                 {"qwen3", 88, 3, 2, 16, 0, 0, 0, 1e6, 0, true},
                 {"gemma2", 88, 3, 2, 16, 8, 5, 0, 1e4, 0, true},
                 {"gemma3_text", 88, 6, 2, 16, 8, 033, 0, 1e6, 1e4, true},
                 {"phi3", 88, 3, 2, 8, 0, 0, 0, 1e4, 0, false},
                 {"smollm3", 88, 4, 2, 8, 0, 0, 10, 2e6, 0, true},
                 {"olmo2", 88, 3, 2, 8, 0, 0, 0, 1e4, 0, false},
                 {"gpt2", 128, 3, 4, 8, 0, 0, 0, 0, 0, true}};
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
        stlora_error err = {0};
        stlora_hf_config old_words, new_words, dir;
        char path[100];
        (void)snprintf(path, sizeof path, "golden/models/%s/config_v4.json", given[i].name);
        assert_ok(stlora_hf_config_parse(&old_words, shared_path(path), &err));
        (void)snprintf(path, sizeof path, "golden/models/%s/model/config.json", given[i].name);
        assert_ok(stlora_hf_config_parse(&new_words, shared_path(path), &err));
        assert_same(&old_words, &new_words);
        (void)snprintf(path, sizeof path, "golden/models/%s/model", given[i].name);
        assert_ok(stlora_hf_config_load(&dir, shared_path(path), &err));
        assert_same(&dir, &new_words); /* its generation_config.json says the same */
        assert_int_equal(dir.vocab_size, 160);
        assert_int_equal(dir.hidden_size, 32);
        assert_int_equal(dir.intermediate_size, given[i].inner);
        assert_int_equal(dir.layers, given[i].layers);
        assert_int_equal(dir.heads, 4);
        assert_int_equal(dir.kv_heads, given[i].kv_heads);
        assert_int_equal(dir.head_dim, given[i].head_dim);
        assert_int_equal(dir.max_positions, 128);
        assert_int_equal(dir.window, given[i].window);
        for (int64_t l = 0; l < dir.layers; l++) {
            assert_int_equal(stlora_layer_in(&dir.sliding, l), given[i].sliding >> l & 1);
            assert_int_equal(stlora_layer_in(&dir.without_rope, l), given[i].without_rope >> l & 1);
        }
        assert_int_equal(dir.rope[0].kind, i == 1 ? STLORA_ROPE_LLAMA3 : STLORA_ROPE_DEFAULT);
        assert_true(dir.rope[0].theta == given[i].theta && dir.rope[1].theta == given[i].local_theta);
        assert_int_equal(dir.rope_by_type, given[i].local_theta > 0);
        assert_int_equal(dir.tie_embeddings, given[i].tied);
        assert_int_equal(dir.eos[0], 2);
        const bool gemma2 = strcmp(given[i].name, "gemma2") == 0, gemma = strncmp(given[i].name, "gemma", 5) == 0;
        assert_true(dir.attention_scale == (gemma ? 0.25 : 0) && dir.attention_softcap == (gemma2 ? 50 : 0) &&
                    dir.logits_softcap == (gemma2 ? 30 : 0));
    }
}

/* Layers of each type where nothing lists them. */
static void test_layer_rules(void **state)
{
    (void)state;
    stlora_hf_config c = parses("{\"model_type\": \"qwen2\", \"use_sliding_window\": true, \"num_hidden_layers\": 30}");
    assert_int_equal(c.window, 4096);
    for (int64_t l = 0; l < 30; l++)
        assert_int_equal(stlora_layer_in(&c.sliding, l), l >= 28);
    c = parses("{\"model_type\": \"qwen3\", \"use_sliding_window\": true, \"sliding_window\": 7, \"max_window_layers\": 0, \"num_hidden_layers\": 2}");
    assert_true(c.window == 7 && stlora_layer_in(&c.sliding, 0) && stlora_layer_in(&c.sliding, 1));
    assert_int_equal(parses("{\"model_type\": \"qwen3\", \"sliding_window\": 7}").window, 0); /* not asked for */
    assert_int_equal(parses("{\"model_type\": \"mistral\", \"sliding_window\": null}").window, 0);
    assert_int_equal(parses("{\"model_type\": \"phi3\"}").window, 0);
    c = parses("{\"model_type\": \"gemma3_text\", \"num_hidden_layers\": 8}");
    for (int64_t l = 0; l < 8; l++)
        assert_int_equal(stlora_layer_in(&c.sliding, l), l != 5);
    c = parses("{\"model_type\": \"smollm3\", \"num_hidden_layers\": 8, \"use_sliding_window\": true, \"sliding_window\": 5}");
    for (int64_t l = 0; l < 8; l++) {
        assert_int_equal(stlora_layer_in(&c.without_rope, l), l % 4 == 3);
        assert_int_equal(stlora_layer_in(&c.sliding, l), l % 4 == 3);
    }
}

/* Gemma-3's scaling is full attention's alone; Phi-3's ratio of lengths is its factor. */
static void test_scaled_ropes(void **state)
{
    (void)state;
    stlora_hf_config c = parses("{\"model_type\": \"gemma3_text\", \"rope_theta\": 5, \"rope_local_base_freq\": 6, "
                                "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8.0}}");
    assert_int_equal(c.rope[0].kind, STLORA_ROPE_LINEAR);
    assert_int_equal(c.rope[1].kind, STLORA_ROPE_DEFAULT);
    assert_true(c.rope[0].factor == 8 && c.rope[0].theta == 5 && c.rope[1].theta == 6);
    c = parses("{\"model_type\": \"phi3\", \"hidden_size\": 32, \"num_attention_heads\": 4, \"partial_rotary_factor\": 0.75, "
               "\"max_position_embeddings\": 65536, \"original_max_position_embeddings\": 16, "
               "\"rope_scaling\": {\"type\": \"su\", \"short_factor\": [1, 2, 3], \"long_factor\": [4, 5, 6.5]}}");
    assert_int_equal(c.rope[0].kind, STLORA_ROPE_LONGROPE);
    assert_int_equal(c.rope[0].dim, 6);
    assert_int_equal(c.rope[0].original_positions, 16);
    assert_true(c.rope[0].factor == 4096 && c.rope[0].short_factor[2] == 3 && c.rope[0].long_factor[2] == 6.5);
    assert_true(c.rope[0].attention_factor == 2); /* sqrt(1 + ln 4096 / ln 16) */
    c = parses(LLAMA("\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 64, \"beta_fast\": 8}"));
    assert_true(c.rope[0].kind == STLORA_ROPE_YARN && c.rope[0].beta_fast == 8 && c.rope[0].beta_slow == 1 && c.rope[0].truncate);
    assert_true(fabs(c.rope[0].attention_factor - 1.1386294361119891) < 1e-15); /* 0.1 ln 4 + 1 */
    /* Transformers does not see truncate within a type's dictionary. */
    c = parses("{\"model_type\": \"gemma3_text\", \"rope_parameters\": {\"full_attention\": {\"rope_type\": \"yarn\", \"rope_theta\": 1e6, \"factor\": 4.0, "
               "\"truncate\": false}, \"sliding_attention\": {\"rope_type\": \"default\", \"rope_theta\": 1e4}}}");
    assert_true(c.rope[0].kind == STLORA_ROPE_YARN && c.rope[0].truncate);
    c = parses(LLAMA("\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, \"truncate\": false}"));
    assert_false(c.rope[0].truncate);
    c = parses(LLAMA("\"max_position_embeddings\": 50, \"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2}"));
    assert_true(c.rope[0].kind == STLORA_ROPE_DYNAMIC && c.rope[0].original_positions == 50 && c.rope[0].attention_factor == 1);
}

static void test_multipliers(void **state)
{
    (void)state;
    stlora_hf_config c = parses("{\"model_type\": \"granite\", \"attention_multiplier\": 0.0078125, \"embedding_multiplier\": 12.0, "
                                "\"logits_scaling\": 16, \"residual_multiplier\": 0.22}");
    assert_true(c.attention_scale == 0.0078125 && c.embedding_multiplier == 12 && c.logits_scaling == 16 &&
                c.residual_multiplier == 0.22);
    c = parses("{\"model_type\": \"granite\"}");
    assert_true(c.attention_scale == 1 && c.embedding_multiplier == 1 && c.logits_scaling == 1 && c.residual_multiplier == 1);
    c = parses("{\"model_type\": \"starcoder2\", \"use_bias\": false, \"norm_epsilon\": 0.5}");
    assert_true(!c.attention_bias && !c.mlp_bias && c.norm_eps == 0.5 && c.kv_heads == 2);
    c = parses("{\"model_type\": \"gemma2\", \"attn_logit_softcapping\": null, \"final_logit_softcapping\": 7}");
    assert_true(c.attention_softcap == 0 && c.logits_softcap == 7 && c.attention_scale == 0.0625);
    c = parses("{\"model_type\": \"gemma3_text\", \"attn_logit_softcapping\": 50.0, \"final_logit_softcapping\": 30}");
    assert_true(c.attention_softcap == 0 && c.logits_softcap == 30); /* as Transformers' class computes */
}

static void test_given_small_models(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_hf_config c;
    assert_ok(stlora_hf_config_load(&c, shared_path("data/models/stories260K"), &err));
    assert_int_equal(c.kv_heads, 4);
    assert_true(c.norm_eps == 1e-5 && c.tie_embeddings);
    assert_ok(stlora_hf_config_load(&c, shared_path("data/models/gpt-nano-sort"), &err));
    assert_int_equal(c.bos, -1);
    assert_int_equal(c.eos_count, 0);
    assert_false(c.tie_embeddings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_llama_defaults),         SCRATCH_TEST(test_qwen2_defaults),
        SCRATCH_TEST(test_gpt2_defaults),          SCRATCH_TEST(test_both_wordings),
        SCRATCH_TEST(test_rope_words),             SCRATCH_TEST(test_other_words),
        SCRATCH_TEST(test_wrong_types_and_ranges), SCRATCH_TEST(test_sizes_that_do_not_fit),
        SCRATCH_TEST(test_rope_refusals),          SCRATCH_TEST(test_unsupported_options),
        SCRATCH_TEST(test_generation_config),      cmocka_unit_test(test_given_configurations),
        SCRATCH_TEST(test_layer_rules),            SCRATCH_TEST(test_scaled_ropes),
        SCRATCH_TEST(test_multipliers),            cmocka_unit_test(test_given_small_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
