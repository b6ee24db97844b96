/* test_family_promises.c: what docs/ARCHITECTURE.md promises of a pass and of decoding, for every family: the golden checkpoints of the project
 * (tests/golden/models) and, where they are, those of ../shared, in fp32 and in bf16.
 *
 *   threads, parts kept or computed again, slices: the same bits of every gradient
 *   decoding, however a row is cut into calls: the bits of the log-probabilities of a pass over the whole row
 *   bf16: losses and gradients are fp32's but for rounding
 */
#include "train/golden_adapter.h"

#include <dirent.h>

#include "base/memory.h"

/* A way to walk through the batch. */
typedef struct way {
    int threads;
    int64_t slice, stride, again[STLORA_PART_COUNT]; /* -1: all blocks */
} way;

static const way ways[] = {{2, 0, 1, {0, 0, 0}},  {1, 0, 1, {0, 0, 0}},  {2, 5, 1, {0, 0, 0}},  {2, 5, 1, {-1, 0, 0}},
                           {2, 7, 1, {0, -1, 0}}, {2, 5, 1, {0, 0, -1}}, {2, 5, 1, {0, -1, -1}}, {2, 0, 1, {-1, 0, -1}},
                           {1, 9, 1, {-1, -1, 0}}, {2, 5, 2, {-1, -1, -1}}, {2, 5, 1, {1, 1, 1}}};

static double gradients(const golden *g, stlora_lora *lora, const way *w, stlora_dtype act)
{
    stlora_error err = {0};
    stlora_backend *backend;
    stlora_pass *pass;
    double loss = 0;
    stlora_pass_shape shape = {.max_tokens = TOKENS,
                               .max_segments = ROWS,
                               .max_positions = LENGTH,
                               .logits_rows = 7,
                               .slice = w->slice,
                               .input_stride = w->stride,
                               .train = true,
                               .act = act};
    for (int part = 0; part < STLORA_PART_COUNT; part++)
        shape.again[part] = w->again[part] < 0 ? g->model->config.layers : w->again[part];
    assert_ok(stlora_backend_create(&backend, "cpu", w->threads, &err));
    assert_ok(stlora_pass_create(&pass, g->model, lora, backend, &shape, &err));
    memset(lora->grads, 0, lora->elements * sizeof(float));
    stlora_pass_grad(pass, &g->batch, 1.0 / (double)g->supervised, 0, 1, &loss);
    stlora_pass_free(pass);
    stlora_backend_free(backend);
    return loss / (double)g->supervised;
}

static double cosine(const float *a, const float *b, size_t count)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < count; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

static void check_ways(const golden *g, stlora_lora *lora)
{
    stlora_error err = {0};
    float *kept[2];
    double losses[2];
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const stlora_dtype act = bf16 ? STLORA_BF16 : STLORA_F32;
        assert_ok(stlora_alloc(&kept[bf16], lora->elements, sizeof(float), "gradients", &err));
        for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
            const double loss = gradients(g, lora, &ways[w], act);
            if (w == 0) {
                losses[bf16] = loss;
                memcpy(kept[bf16], lora->grads, lora->elements * sizeof(float));
            } else if (memcmp(kept[bf16], lora->grads, lora->elements * sizeof(float)) != 0 || loss != losses[bf16]) {
                fail_msg("way %zu, %s: gradients have other bits", w, bf16 ? "bf16" : "fp32");
            }
        }
    }
    check_close("loss in bf16", losses[1], losses[0], 0.01);
    const double same = cosine(kept[0], kept[1], lora->elements);
    if (!(same > 0.99)) fail_msg("gradients in bf16 point elsewhere: %g", same);
    stlora_free(kept[0]);
    stlora_free(kept[1]);
}

/* A row in calls of `stride` tokens against the same row in a pass. */
static void check_cut(const golden *g, const stlora_lora *lora, stlora_dtype act, const float *wanted, int64_t stride)
{
    stlora_error err = {0};
    stlora_decoder *decoder;
    const stlora_decoder_shape shape = {
        .positions = LENGTH, .cache = LENGTH, .tokens = LENGTH, .pieces = 1, .logits_rows = 3, .row = LENGTH};
    assert_ok(stlora_decoder_create(&decoder, g->model, lora, g->backend, act, &shape, &err));
    for (int64_t past = 0; past < LENGTH; past += stride) {
        const int64_t count = LENGTH - past < stride ? LENGTH - past : stride;
        int64_t at[LENGTH];
        int32_t targets[LENGTH];
        float found[LENGTH];
        for (int64_t t = 0; t < count; t++) {
            at[t] = t;
            targets[t] = g->ids[(past + t + 1) % LENGTH];
        }
        stlora_decoder_run(decoder, &(stlora_decoder_piece){0, past, count, g->ids + past}, 1);
        stlora_decoder_logprobs(decoder, at, targets, count, found);
        if (memcmp(found, wanted + past, (size_t)count * sizeof *found) != 0)
            fail_msg("decoding by %d from %d on: other bits than a pass", (int)stride, (int)past);
    }
    stlora_decoder_free(decoder);
}

static void check_decoding(const golden *g, const stlora_lora *lora)
{
    static const int64_t strides[] = {LENGTH, 1, 7, 10};
    for (int bf16 = 0; bf16 < 2; bf16++) {
        stlora_error err = {0};
        stlora_pass *pass;
        const stlora_dtype act = bf16 ? STLORA_BF16 : STLORA_F32;
        const stlora_pass_shape shape = {
            .max_tokens = TOKENS, .max_segments = ROWS, .max_positions = LENGTH, .logits_rows = 9, .act = act};
        int32_t targets[TOKENS];
        int64_t at[TOKENS];
        float wanted[TOKENS];
        double loss = 0;
        for (int t = 0; t < TOKENS; t++) {
            targets[t] = g->ids[t / LENGTH * LENGTH + (t + 1) % LENGTH];
            at[t] = t;
        }
        const stlora_pass_batch batch = {TOKENS,  ROWS,    TOKENS,  g->ids, g->positions,
                                         g->starts, g->rows, targets, at};
        assert_ok(stlora_pass_create(&pass, g->model, lora, g->backend, &shape, &err));
        stlora_pass_loss(pass, &batch, &loss, wanted);
        stlora_pass_free(pass);
        for (size_t s = 0; s < sizeof strides / sizeof strides[0]; s++)
            check_cut(g, lora, act, wanted, strides[s]);
    }
}

static void check_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    int count = 0;
    assert_non_null(dir);
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        golden g = {0};
        stlora_error err = {0};
        stlora_lora *lora;
        if (entry->d_name[0] == '.') continue;
        (void)snprintf(g.dir, sizeof g.dir, "%.3500s/%.255s", folder, entry->d_name);
        open_golden_in(&g, in(&g, "model"));
        print_message("%s\n", entry->d_name);
        assert_ok(stlora_lora_load(&lora, g.model, in(&g, "adapter"), true, &err));
        check_ways(&g, lora);
        check_decoding(&g, lora);
        stlora_lora_free(lora);
        close_golden(&g);
        count++;
    }
    (void)closedir(dir);
    assert_true(count > 0);
}

static void test_own(void **state)
{
    (void)state;
    check_folder(STLORA_SOURCE "/tests/golden/models");
}

static void test_given(void **state)
{
    (void)state;
    check_folder(shared_path("golden/models"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own),
        cmocka_unit_test(test_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
