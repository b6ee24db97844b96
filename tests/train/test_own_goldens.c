/* test_own_goldens.c: families and options that no golden of ../shared has, against what Transformers and PEFT made of them (tests/golden/models, by
 * tests/golden/make_models.py): log-probabilities token after token through the cache, losses, every gradient; from both wordings of config.json.
 */
#include "train/golden_adapter.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"

/* The case's weights beside its config.json in the older words. */
static void older_words(const golden *g, char folder[256])
{
    char to[320];
    (void)snprintf(folder, 256, "/tmp/stlora-golden-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(to, sizeof to, "%s/config.json", folder);
    assert_int_equal(symlink(in(g, "config_v4.json"), to), 0);
    (void)snprintf(to, sizeof to, "%s/model.safetensors", folder);
    assert_int_equal(symlink(in(g, "model/model.safetensors"), to), 0);
}

static void remove_folder(const char *folder)
{
    char path[320];
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    (void)unlink(path);
    (void)rmdir(folder);
}

static void check_case(void **state)
{
    golden g = {0};
    stlora_error err = {0};
    stlora_lora *lora;
    float *whole;
    char folder[256];
    (void)snprintf(g.dir, sizeof g.dir, "%s/tests/golden/models/%s", STLORA_SOURCE, (const char *)*state);
    open_golden_in(&g, in(&g, "model"));
    print_message("%s\n", (const char *)*state);
    check_logits(&g, g.expected, "logits", NULL);
    check_close("loss", loss_of(&g, NULL), expected_scalar(&g, "loss"), 1e-4);
    assert_ok(stlora_lora_load(&lora, g.model, in(&g, "adapter"), true, &err));
    check_logits(&g, g.expected, "logits_adapter", lora);
    check_close("loss_adapter", loss_of(&g, lora), expected_scalar(&g, "loss_adapter"), 1e-4);
    assert_ok(stlora_alloc(&whole, lora->elements, sizeof(float), "gradients", &err));
    for (int64_t recompute = 0; recompute <= g.model->config.layers; recompute++)
        check_all_gradients(&g, lora, recompute, whole);
    stlora_free(whole);
    stlora_lora_free(lora);
    older_words(&g, folder);
    close_golden(&g);
    open_golden_in(&g, folder);
    check_logits(&g, g.expected, "logits", NULL);
    close_golden(&g);
    remove_folder(folder);
}

#define CASE(name) {#name, check_case, NULL, NULL, (char[]){#name}}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(gemma2_no_caps),
        CASE(gemma3_pattern),
        CASE(granite),
        CASE(llama1),
        CASE(llama_bias),
        CASE(llama_dynamic_beyond),
        CASE(llama_dynamic_within),
        CASE(llama_linear),
        CASE(llama_yarn),
        CASE(mistral_wide_heads),
        CASE(phi3_long),
        CASE(phi3_short),
        CASE(qwen2_window),
        CASE(qwen2_yarn_factors),
        CASE(qwen3_wide_heads),
        CASE(smollm3_pattern),
        CASE(starcoder2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
