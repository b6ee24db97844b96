/* test_golden_models.c: tiny random checkpoints of every family against what Transformers, PEFT and the reference optimizer
 * made of them (../shared/golden/models): logits, losses, every gradient, fifteen steps of Stable-LoRA.
 */
#include "train/golden_adapter.h"

#include "base/memory.h"

/* Two micro-batches of one row each give the bits of one of two rows. */
static void check_micro_batches(const golden *g, stlora_lora *lora, const float *whole)
{
    double loss = 0;
    stlora_pass *pass = make_pass(g, lora, true, 0, 16);
    memset(lora->grads, 0, lora->elements * sizeof(float));
    int64_t from = 0;
    for (int r = 0; r < ROWS; r++) {
        int64_t at[LENGTH], count = 0, starts[2] = {0, LENGTH};
        while (from < g->supervised && g->at[from] < (r + 1) * LENGTH)
            at[count++] = g->at[from++] - r * LENGTH;
        stlora_pass_batch one = {
            LENGTH, 1, count, g->ids + r * LENGTH, g->positions, starts, g->rows + r, g->targets + r * LENGTH, at};
        stlora_pass_grad(pass, &one, 1.0 / (double)g->supervised, 0, 1, &loss);
    }
    stlora_pass_free(pass);
    assert_memory_equal(whole, lora->grads, lora->elements * sizeof(float));
}

static void check_training(const golden *g, const json_t *train)
{
    stlora_error err = {0};
    stlora_lora *lora;
    stlora_optimizer *optimizer;
    stlora_optimizer_config config;
    assert_ok(stlora_lora_load(&lora, g->model, in(g, "adapter_init"), true, &err));
    stlora_optimizer_config_init(&config);
    config.shrink_ratio = 0.01;
    config.weight_decay = 0.01;
    config.max_grad_norm = 0;
    stlora_pair pairs[MOST_PAIRS];
    stlora_pair_grad grads[MOST_PAIRS];
    list_pairs(lora, pairs, grads);
    assert_ok(stlora_optimizer_create(&optimizer, &config, pairs, lora->count, &err));
    follow_losses(g, lora, optimizer, grads, 5e-3, json_object_get(train, "losses"), 16, 1e-4);
    check_norms(optimizer, json_object_get(train, "norm"), 1e-4);
    for (size_t i = 0; i < lora->count; i++) {
        stlora_pair_state state;
        char name[512];
        stlora_optimizer_pair(optimizer, i, &state);
        (void)snprintf(name, sizeof name, "base_model.model.%s.lora_A.weight", state.name);
        assert_int_equal(state.armed, json_is_true(json_object_get(json_object_get(train, "armed"), name)));
    }
    stlora_optimizer_free(optimizer);
    stlora_lora_free(lora);
}

/* mistral_window's numbers are those of a model that went to bfloat16 and back as a whole, so its rotary frequencies are rounded to bfloat16
 * too, which the file cannot say: they are made so here. */
static void round_frequencies(stlora_rope *rope)
{
    double f[STLORA_MAX_ROPE_PAIRS];
    stlora_rope_frequencies(rope, 0, f);
    rope->kind = STLORA_ROPE_LONGROPE;
    rope->original_positions = INT64_MAX;
    for (int64_t j = 0; j < rope->dim / 2; j++) {
        uint16_t rounded;
        stlora_store(&rounded, STLORA_BF16, 0, (double)(float)f[j]);
        rope->short_factor[j] = f[j] / stlora_load(&rounded, STLORA_BF16, 0);
    }
}

static void check_family(const char *name)
{
    golden g = {0};
    stlora_error err = {0};
    stlora_lora *lora;
    json_t *train;
    float *whole;
    open_golden(&g, name);
    if (strcmp(name, "mistral_window") == 0) round_frequencies(&g.model->config.rope[STLORA_LAYER_FULL]);
    check_logits(&g, g.expected, "logits", NULL);
    check_close("loss", loss_of(&g, NULL), expected_scalar(&g, "loss"), 1e-4);
    assert_ok(stlora_lora_load(&lora, g.model, in(&g, "adapter"), true, &err));
    check_logits(&g, g.expected, "logits_adapter", lora);
    check_close("loss_adapter", loss_of(&g, lora), expected_scalar(&g, "loss_adapter"), 1e-4);
    assert_ok(stlora_alloc(&whole, lora->elements, sizeof(float), "gradients", &err));
    for (int64_t recompute = 0; recompute <= g.model->config.layers; recompute++)
        check_all_gradients(&g, lora, recompute, whole);
    check_micro_batches(&g, lora, whole);
    stlora_free(whole);
    stlora_lora_free(lora);
    assert_ok(stlora_json_load(&train, in(&g, "train.json"), &err));
    check_training(&g, train);
    json_decref(train);
    close_golden(&g);
}

static void test_family(void **state)
{
    check_family(*state);
}

#define FAMILY(name) {#name, test_family, NULL, NULL, (char[]){#name}}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAMILY(llama),
        FAMILY(llama3_rope),
        FAMILY(mistral_window),
        FAMILY(qwen2),
        FAMILY(qwen3),
        FAMILY(gemma2),
        FAMILY(gemma3_text),
        FAMILY(phi3),
        FAMILY(smollm3),
        FAMILY(olmo2),
        FAMILY(gpt2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
