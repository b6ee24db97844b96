/* test_session.c: what a verb opens: precision, end tokens, no tokenizer, an adapter of another model, rows cut to the
 * model. */
#include "train/session.h"
#include "train/tiny_model.h"

static stlora_dtype act_of(const char *dir, const char *precision, bool *fast_bf16)
{
    stlora_error err = {0};
    stlora_session session;
    assert_ok(stlora_session_open(&session, dir, NULL, precision, 1, false, &err));
    stlora_dtype act = session.act;
    *fast_bf16 = session.backend->fast_bf16;
    stlora_session_close(&session);
    return act;
}

static void test_precision(void **state)
{
    (void)state;
    bool fast = false;
    tiny_write(tiny_at("f32"), &(tiny_options){.family = "llama"});
    tiny_write(tiny_at("f16"), &(tiny_options){.family = "llama", .dtype = STLORA_F16});
    tiny_write(tiny_at("bf16"), &(tiny_options){.family = "llama", .dtype = STLORA_BF16});
    static const char *const dirs[] = {"f32", "f16", "bf16"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(act_of(tiny_at(dirs[i]), "fp32", &fast), STLORA_F32);
        assert_int_equal(act_of(tiny_at(dirs[i]), "bf16", &fast), STLORA_BF16);
    }
    assert_int_equal(act_of(tiny_at("f32"), "auto", &fast), STLORA_F32);
    assert_int_equal(act_of(tiny_at("f16"), "auto", &fast), STLORA_F32);
    stlora_dtype found = act_of(tiny_at("bf16"), "auto", &fast);
    assert_int_equal(found, fast ? STLORA_BF16 : STLORA_F32);
    /* And on the slowest of processors. */
    assert_int_equal(setenv("STLORA_CPU_LEVEL", "portable", 1), 0);
    found = act_of(tiny_at("bf16"), "auto", &fast);
    assert_int_equal(unsetenv("STLORA_CPU_LEVEL"), 0);
    assert_false(fast);
    assert_int_equal(found, STLORA_F32);
}

static void test_no_tokenizer(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_session session;
    stlora_examples *examples = NULL;
    tiny_write(tiny_at("none"), &(tiny_options){.family = "llama"});
    tiny_write(tiny_at("ends"), &(tiny_options){.family = "llama", .config = "{\"eos_token_id\": [5, 9]}"});
    assert_ok(stlora_session_open(&session, tiny_at("none"), NULL, "auto", 1, false, &err));
    assert_null(session.tokenizer);
    assert_null(session.lora);
    assert_int_equal(session.eos, -1);
    for (int32_t id = -1; id < TINY_VOCAB; id++)
        assert_false(stlora_session_is_end(&session, id)); /* -1 is no token */
    tiny_put(tiny_at("text.jsonl"), "{\"text\": \"Once\"}\n");
    const char *path = tiny_at("text.jsonl");
    tiny_refused(stlora_session_examples(&session, (stlora_strings){&path, 1}, 64, true, &examples, NULL, &err), &err,
                 STLORA_E_FORMAT, "text.jsonl");
    assert_null(examples);
    stlora_session_close(&session);
    assert_ok(stlora_session_open(&session, tiny_at("ends"), NULL, "auto", 1, false, &err));
    assert_int_equal(session.eos, 5); /* the first is what training appends; each of them ends a text */
    for (int32_t id = 0; id < TINY_VOCAB; id++)
        assert_int_equal(stlora_session_is_end(&session, id), id == 5 || id == 9);
    stlora_session_close(&session);
    assert_null(session.model);
    stlora_session_close(&session); /* once more is harmless */
}

static void test_refusals(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_session session = {.eos = 77};
    tiny_refused(stlora_session_open(&session, NULL, NULL, "auto", 1, false, &err), &err, STLORA_E_USAGE,
                 "--model: wanted a model directory");
    tiny_refused(stlora_session_open(&session, tiny_at("absent"), NULL, "auto", 1, false, &err), &err, STLORA_E_IO,
                 "absent");
    tiny_write(tiny_at("model"), &(tiny_options){.family = "llama"});
    tiny_refused(stlora_session_open(&session, tiny_at("model"), tiny_at("absent"), "auto", 1, false, &err), &err,
                 STLORA_E_IO, "absent");
    tiny_put(tiny_at("model/tokenizer.json"), "{");
    tiny_refused(stlora_session_open(&session, tiny_at("model"), NULL, "auto", 1, false, &err), &err, STLORA_E_FORMAT,
                 "tokenizer.json");
    assert_int_equal(session.eos, 77); /* untouched */
    assert_null(session.model);
}

/* An adapter is tied to names and shapes, and is told apart from another model's by them. */
static void test_adapters(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_session session;
    const char *dir = tiny_at("adapter");
    assert_int_equal(mkdir(dir, 0777), 0);
    stlora_transformer *model = tiny_open("llama", &(tiny_options){.family = "llama"});
    stlora_lora *lora = tiny_lora(model, "all-linear", 3, 0, false);
    assert_ok(stlora_lora_save(lora, dir, &err));
    for (int trained = 0; trained < 2; trained++) {
        assert_ok(stlora_session_open(&session, tiny_at("llama"), dir, "auto", 1, trained, &err));
        assert_int_equal(session.lora->grads != NULL, trained);
        assert_memory_equal(session.lora->values, lora->values, lora->elements * sizeof(float));
        stlora_session_close(&session);
    }
    stlora_lora_free(lora);
    stlora_transformer_close(model);
    tiny_write(tiny_at("gpt2"), &(tiny_options){.family = "gpt2"});
    tiny_refused(stlora_session_open(&session, tiny_at("gpt2"), dir, "auto", 1, false, &err), &err, STLORA_E_FORMAT,
                 "adapter/adapter_config.json: target_modules: the model has no linear map named \"");
    /* The same family with more layers: a block of the adapter is missing; with fewer: one is left over. */
    tiny_write(tiny_at("short"), &(tiny_options){.family = "llama", .config = "{\"num_hidden_layers\": 1}"});
    tiny_refused(stlora_session_open(&session, tiny_at("short"), dir, "auto", 1, false, &err), &err, STLORA_E_FORMAT,
                 "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight\" belongs to no map");
}

static stlora_example example(const stlora_session *session, const char *path, int64_t max_length, bool completion_only,
                              stlora_examples **examples)
{
    stlora_error err = {0};
    assert_ok(stlora_session_examples(session, (stlora_strings){&path, 1}, max_length, completion_only, examples, NULL,
                                      &err));
    return stlora_examples_at(*examples, 0);
}

/* --max-length cuts a row, and so does the end of learned positions; rotary ones have none. */
static void test_rows_are_cut(void **state)
{
    (void)state;
    static const struct {
        const char *family;
        int64_t max_length, wanted;
    } cases[] = {{"llama", 1024, 100},           {"llama", 100, 100}, {"llama", 99, 99},
                 {"gpt2", 1024, TINY_POSITIONS}, {"gpt2", 65, 64},    {"gpt2", 63, 63}};
    stlora_error err = {0};
    stlora_session session;
    stlora_examples *examples;
    char row[1000] = "{\"input_ids\": [0";
    for (int i = 1; i < 100; i++)
        (void)snprintf(row + strlen(row), sizeof row - strlen(row), ", %d", i % TINY_VOCAB);
    (void)snprintf(row + strlen(row), sizeof row - strlen(row), "]}\n");
    tiny_put(tiny_at("rows.jsonl"), row);
    tiny_write(tiny_at("llama"), &(tiny_options){.family = "llama"});
    tiny_write(tiny_at("gpt2"), &(tiny_options){.family = "gpt2"});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_ok(stlora_session_open(&session, tiny_at(cases[i].family), NULL, "auto", 1, false, &err));
        stlora_example e = example(&session, tiny_at("rows.jsonl"), cases[i].max_length, i % 2, &examples);
        assert_int_equal(e.length, cases[i].wanted);
        assert_int_equal(e.supervised, cases[i].wanted - 1);
        assert_int_equal(stlora_examples_counts(examples)->cut, cases[i].wanted < 100);
        stlora_examples_free(examples);
        stlora_session_close(&session);
    }
    /* An id that the model does not have. */
    tiny_put(tiny_at("wrong.jsonl"), "{\"input_ids\": [1, 40]}\n");
    const char *path = tiny_at("wrong.jsonl");
    assert_ok(stlora_session_open(&session, tiny_at("llama"), NULL, "auto", 1, false, &err));
    tiny_refused(stlora_session_examples(&session, (stlora_strings){&path, 1}, 1024, true, &examples, NULL, &err), &err,
                 STLORA_E_FORMAT, "wrong.jsonl");
    stlora_session_close(&session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TINY_TEST(test_precision), TINY_TEST(test_no_tokenizer), TINY_TEST(test_refusals),
        TINY_TEST(test_adapters),  TINY_TEST(test_rows_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
