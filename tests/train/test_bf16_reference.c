/* test_bf16_reference.c: bf16 is as good here as PyTorch's: how far losses and gradients of an adapter in bf16 are from those in fp32, on the
 * tiny checkpoints of ../shared and on stories260K, against the distances that bf16_reference.json has of PyTorch and PEFT.
 *
 * bf16_reference.py made that file and says what is measured and by which formulas the inputs are drawn; the same formulas are here. Both sides
 * have weights rounded to bf16: a copy of each checkpoint in a temporary directory. At every level that the machine has.
 */
#include <math.h>
#include <string.h>

#include "backend/op_levels.h"
#include "base/atomic_file.h"
#include "base/json.h"
#include "base/memory.h"
#include "model/pass.h"

enum { MOST_LENGTH = 256, MOST_TENSORS = 256 };

/* Mean and largest over the batches. */
typedef struct spread {
    double mean, max;
} spread;

enum { LOSS, GRADIENT_A, GRADIENT_B, DISTANCES, LOSS_FP32 = DISTANCES, NORM_FP32, FIGURES };
static const char *const figure_names[FIGURES] = {"loss", "gradient_a", "gradient_b", "loss_fp32", "norm_fp32"};

typedef struct trial {
    json_t *reference, *texts; /* texts: NULL = ids are drawn */
    char dir[256];             /* the copy in bf16 */
    stlora_transformer *model;
    stlora_lora *lora;
    int64_t batches, length;
    float *exact; /* [lora->elements] gradients in fp32 */
} trial;

static uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352dU;
    x ^= x >> 15;
    x *= 0x846ca68bU;
    return x ^ x >> 16;
}

static uint32_t drawn(const char *name, int64_t batch, int64_t i)
{
    uint32_t start = 0x811c9dc5U;
    for (; *name; name++)
        start = (start ^ (unsigned char)*name) * 0x01000193U;
    return mix((uint32_t)i + start + 1000003U * (uint32_t)batch);
}

static double setting(const trial *t, const char *name)
{
    const json_t *value = json_object_get(t->reference, name);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static spread wanted(const trial *t, const char *model, int figure)
{
    const json_t *of =
        json_object_get(json_object_get(json_object_get(t->reference, "models"), model), figure_names[figure]);
    assert_non_null(of);
    return (spread){json_real_value(json_object_get(of, "mean")), json_real_value(json_object_get(of, "max"))};
}

/* The checkpoint in `from` with every tensor rounded to bf16, in t->dir. */
static void write_rounded(trial *t, const char *from)
{
    stlora_error err = {0};
    stlora_safetensors *files;
    static stlora_named_view tensors[MOST_TENSORS];
    char path[4200];
    json_t *config;
    (void)snprintf(t->dir, sizeof t->dir, "%s", temporary_dir());
    (void)snprintf(path, sizeof path, "%s/config.json", from);
    assert_ok(stlora_json_load(&config, path, &err));
    (void)snprintf(path, sizeof path, "%s/config.json", t->dir);
    assert_int_equal(json_dump_file(config, path, 0), 0);
    json_decref(config);

    assert_ok(stlora_safetensors_open_model(&files, from, &err));
    const size_t count = stlora_safetensors_count(files);
    assert_true(count <= MOST_TENSORS);
    for (size_t i = 0; i < count; i++) {
        const stlora_view *view = stlora_safetensors_at(files, i);
        uint16_t *rounded;
        assert_ok(stlora_alloc(&rounded, (size_t)stlora_view_count(view), sizeof *rounded, "weights", &err));
        stlora_convert(rounded, STLORA_BF16, view->data, view->dtype, stlora_view_count(view));
        tensors[i] = (stlora_named_view){stlora_safetensors_name(files, i), *view};
        tensors[i].view.data = rounded;
        tensors[i].view.dtype = STLORA_BF16;
    }
    (void)snprintf(path, sizeof path, "%s/model.safetensors", t->dir);
    assert_ok(stlora_safetensors_write(path, tensors, count, NULL, 0, &err));
    for (size_t i = 0; i < count; i++)
        stlora_free((void *)(uintptr_t)tensors[i].view.data);
    stlora_safetensors_close(files);
}

static void draw_factor(const trial *t, const stlora_lora_map *map, char which, int64_t batch)
{
    char name[512];
    (void)snprintf(name, sizeof name, "%s.lora_%c", map->linear->name, which);
    const double limit = setting(t, which == 'A' ? "spread_a" : "spread_b");
    float *values = which == 'A' ? map->a : map->b;
    for (int64_t i = 0; i < map->r * (which == 'A' ? map->linear->n : map->linear->m); i++)
        values[i] = (float)((double)(drawn(name, batch, i) >> 8) * 0x1p-23 * limit - limit); /* exact */
}

/* Tokens of the batch's one row; fills ids. */
static int64_t draw_ids(const trial *t, int64_t batch, int32_t *ids)
{
    if (t->texts) {
        const json_t *row = json_array_get(t->texts, (size_t)batch % json_array_size(t->texts));
        const json_t *list = json_object_get(row, "ids");
        const int64_t count = (int64_t)json_array_size(list);
        assert_in_range(count, 2, MOST_LENGTH);
        for (int64_t i = 0; i < count; i++)
            ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
        return count;
    }
    assert_in_range(t->length, 2, MOST_LENGTH);
    for (int64_t i = 0; i < t->length; i++)
        ids[i] = (int32_t)(drawn("ids", batch, i) % (uint32_t)t->model->config.vocab_size);
    return t->length;
}

/* The mean loss of a batch, and in t->lora its gradients. */
static double run(const trial *t, stlora_pass *pass, int64_t batch)
{
    int32_t ids[MOST_LENGTH], positions[MOST_LENGTH], targets[MOST_LENGTH];
    int64_t at[MOST_LENGTH], starts[2] = {0, draw_ids(t, batch, ids)}, row = 0;
    const int64_t supervised = starts[1] - 1;
    for (int64_t i = 0; i < starts[1]; i++) {
        positions[i] = (int32_t)i;
        targets[i] = i < supervised ? ids[i + 1] : -1;
        at[i] = i;
    }
    for (size_t i = 0; i < t->lora->count; i++) {
        draw_factor(t, &t->lora->maps[i], 'A', batch);
        draw_factor(t, &t->lora->maps[i], 'B', batch);
    }
    const stlora_pass_batch all = {starts[1], 1, supervised, ids, positions, starts, &row, targets, at};
    double loss = 0;
    memset(t->lora->grads, 0, t->lora->elements * sizeof(float));
    stlora_pass_grad(pass, &all, 1.0 / (double)supervised, 0, 1, &loss);
    return loss / (double)supervised;
}

static stlora_pass *make_pass(const trial *t, const stlora_backend *table, stlora_dtype act)
{
    stlora_error err = {0};
    stlora_pass *pass;
    const stlora_pass_shape shape = {.max_tokens = MOST_LENGTH,
                                     .max_segments = 1,
                                     .max_positions = t->texts ? MOST_LENGTH : t->length,
                                     .logits_rows = 64,
                                     .train = true,
                                     .act = act};
    assert_ok(stlora_pass_create(&pass, t->model, t->lora, table, &shape, &err));
    return pass;
}

/* The inputs are PyTorch's when fp32 is. */
static void check_fp32(const trial *t, const char *name, int figure, spread found)
{
    const spread theirs = wanted(t, name, figure);
    if (!(fabs(found.mean - theirs.mean) <= 1e-4 * theirs.mean) || !(fabs(found.max - theirs.max) <= 1e-4 * theirs.max))
        fail_msg("%s: %s is %.9g, largest %.9g, and PyTorch's %.9g, %.9g: other inputs", name, figure_names[figure],
                 found.mean, found.max, theirs.mean, theirs.max);
}

/* |g - exact| / |exact| over all A (or all B) together. */
static double gradient_distance(const trial *t, char which)
{
    double off = 0, norm = 0;
    for (size_t i = 0; i < t->lora->count; i++) {
        const stlora_lora_map *map = &t->lora->maps[i];
        const float *g = which == 'A' ? map->ga : map->gb, *e = t->exact + (g - t->lora->grads);
        for (int64_t k = 0; k < map->r * (which == 'A' ? map->linear->n : map->linear->m); k++) {
            off += pow((double)g[k] - (double)e[k], 2);
            norm += pow((double)e[k], 2);
        }
    }
    return sqrt(off / norm);
}

static void check_level(const trial *t, const char *name, const stlora_backend *table)
{
    spread found[FIGURES] = {{0}};
    stlora_pass *fp32 = make_pass(t, table, STLORA_F32), *bf16 = make_pass(t, table, STLORA_BF16);
    for (int64_t batch = 0; batch < t->batches; batch++) {
        const double loss = run(t, fp32, batch);
        memcpy(t->exact, t->lora->grads, t->lora->elements * sizeof(float));
        double squares = 0, of[FIGURES] = {[LOSS_FP32] = loss};
        for (size_t i = 0; i < t->lora->elements; i++)
            squares += pow((double)t->exact[i], 2);
        of[NORM_FP32] = sqrt(squares);
        of[LOSS] = fabs(run(t, bf16, batch) - loss);
        of[GRADIENT_A] = gradient_distance(t, 'A');
        of[GRADIENT_B] = gradient_distance(t, 'B');
        for (int f = 0; f < FIGURES; f++) {
            found[f].mean += of[f] / (double)t->batches;
            found[f].max = fmax(found[f].max, of[f]);
        }
    }
    check_fp32(t, name, LOSS_FP32, found[LOSS_FP32]);
    check_fp32(t, name, NORM_FP32, found[NORM_FP32]);
    for (int d = 0; d < DISTANCES; d++) {
        const spread theirs = wanted(t, name, d);
        print_message("%s, %s, %s: mean %.3g of PyTorch's %.3g, largest %.3g of %.3g\n", name, table->name,
                      figure_names[d], found[d].mean, theirs.mean, found[d].max, theirs.max);
        if (!(found[d].mean > 0)) fail_msg("%s, %s: bf16 was not at work, or not finite", name, table->name);
        if (!(found[d].mean <= theirs.mean) || !(found[d].max <= theirs.max))
            fail_msg("%s, %s: the %s in bf16 is further from fp32 than PyTorch's", name, table->name, figure_names[d]);
    }
    stlora_pass_free(fp32);
    stlora_pass_free(bf16);
}

/* name: in bf16_reference.json; dir: of the checkpoint, texts: of rows with ids (NULL = none), both in ../shared. */
static void check_model(const char *name, const char *dir, const char *texts)
{
    stlora_error err = {0};
    stlora_peft_config config = {0};
    trial t = {0};
    op_levels levels;
    if (texts) assert_ok(stlora_json_load(&t.texts, shared_path(texts), &err));
    write_rounded(&t, shared_path(dir));
    assert_ok(stlora_json_load(&t.reference, STLORA_SOURCE "/tests/train/bf16_reference.json", &err));
    t.batches = (int64_t)setting(&t, "batches");
    t.length = (int64_t)setting(&t, "length");
    config.r = (int64_t)setting(&t, "r");
    config.lora_alpha = setting(&t, "lora_alpha");
    assert_ok(stlora_targets_parse(&config, "all-linear", &err));
    assert_ok(stlora_transformer_open(&t.model, t.dir, &err));
    assert_ok(stlora_lora_create(&t.lora, t.model, &config, &(stlora_lora_init){.a_scale = 1}, true, &err));
    assert_ok(stlora_alloc(&t.exact, t.lora->elements, sizeof(float), "gradients", &err));
    op_levels_open(&levels, 2);
    for (int n = 0; n < levels.count; n++)
        check_level(&t, name, levels.table[n]);
    op_levels_close(&levels);
    stlora_free(t.exact);
    stlora_lora_free(t.lora);
    stlora_peft_config_free(&config);
    stlora_transformer_close(t.model);
    json_decref(t.texts);
    json_decref(t.reference);
    assert_ok(stlora_remove_tree(t.dir, &err));
}

#define CHECK(name, dir, texts)                                                                                        \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        check_model(#name, dir, texts);                                                                                \
    }
CHECK(llama, "golden/models/llama/model", NULL)
CHECK(llama3_rope, "golden/models/llama3_rope/model", NULL)
CHECK(mistral_window, "golden/models/mistral_window/model", NULL)
CHECK(qwen3, "golden/models/qwen3/model", NULL)
CHECK(gemma2, "golden/models/gemma2/model", NULL)
CHECK(gemma3_text, "golden/models/gemma3_text/model", NULL)
CHECK(phi3, "golden/models/phi3/model", NULL)
CHECK(smollm3, "golden/models/smollm3/model", NULL)
CHECK(olmo2, "golden/models/olmo2/model", NULL)
CHECK(qwen2, "golden/models/qwen2/model", NULL)
CHECK(gpt2, "golden/models/gpt2/model", NULL)
CHECK(stories260K, "data/models/stories260K", "golden/real/stories260K-grimm/score.json")

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_llama3_rope),
        cmocka_unit_test(test_mistral_window),
        cmocka_unit_test(test_qwen3),
        cmocka_unit_test(test_gemma2),
        cmocka_unit_test(test_gemma3_text),
        cmocka_unit_test(test_phi3),
        cmocka_unit_test(test_smollm3),
        cmocka_unit_test(test_olmo2),
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_stories260K),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
