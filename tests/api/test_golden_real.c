/* test_golden_real.c: a small trained model on real rows, through the public API, against what Transformers, PEFT and the reference
 * optimizer made of them (../shared/golden/real): log-probabilities, two runs of 24 steps with clipping, schedule, shrink and
 * wrapping round the data, greedy continuations; and llama2.c's greedy text of stories260K.
 */
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "stlora/stlora.h"
#include "support.h"

static const char real_dir[] = "golden/real/stories260K-grimm";
static const char model_dir[] = "data/models/stories260K";

static void join(char out[4200], const char *relative, const char *name)
{
    (void)snprintf(out, 4200, "%s/%s", shared_path(relative), name);
}

static json_t *load(const char *relative, const char *name)
{
    char path[4200];
    join(path, relative, name);
    json_t *value = json_load_file(path, 0, NULL);
    assert_non_null(value);
    return value;
}

/* Parameters of a verb from name, value, ..., NULL. */
static stlora_params *params_of(const char *verb, ...)
{
    stlora_error err = {0};
    stlora_params *params;
    va_list args;
    assert_ok(stlora_params_create(&params, verb, &err));
    va_start(args, verb);
    for (const char *name; (name = va_arg(args, const char *)) != NULL;)
        assert_ok(stlora_params_set(params, name, va_arg(args, const char *), &err));
    va_end(args);
    return params;
}

/* The recorded rows mix shapes, which a data file must not: {"text": t} becomes {"prompt": "", "completion": t}, whose ids and
 * labels are the same. Writes them into dir. */
static void write_rows(const char *dir, char out[600])
{
    char path[4200];
    json_error_t where;
    join(path, real_dir, "rows.jsonl");
    (void)snprintf(out, 600, "%s/rows.jsonl", dir);
    FILE *from = fopen(path, "r"), *to = fopen(out, "w");
    assert_non_null(from);
    assert_non_null(to);
    for (json_t *row; (row = json_loadf(from, JSON_DISABLE_EOF_CHECK, &where)) != NULL; json_decref(row)) {
        json_t *text = json_object_get(row, "text");
        if (text) {
            (void)json_object_set(row, "completion", text);
            (void)json_object_set_new(row, "prompt", json_string(""));
            (void)json_object_del(row, "text");
        }
        assert_int_equal(json_dumpf(row, to, JSON_COMPACT), 0);
        assert_int_equal(fputc('\n', to), '\n');
    }
    assert_int_equal(fclose(from), 0);
    assert_int_equal(fclose(to), 0);
}

static void remove_dir(const char *dir)
{
    char command[600];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

typedef struct score_check {
    json_t *wanted;
    size_t row;
    double worst;
} score_check;

static stlora_status check_line(void *context, const char *line, stlora_error *err)
{
    score_check *check = context;
    (void)err;
    json_t *wanted = json_array_get(check->wanted, check->row++), *found = json_loads(line, 0, NULL);
    if (!wanted) { /* only the first rows were recorded */
        json_decref(found);
        return STLORA_OK;
    }
    assert_true(json_equal(json_object_get(wanted, "ids"), json_object_get(found, "ids")));
    json_t *a = json_object_get(wanted, "logprob"), *b = json_object_get(found, "logprob");
    assert_int_equal(json_array_size(a), json_array_size(b));
    for (size_t i = 0; i < json_array_size(a); i++) {
        double d = fabs(json_number_value(json_array_get(a, i)) - json_number_value(json_array_get(b, i)));
        assert_true(d <= 5e-4);
        check->worst = fmax(check->worst, d);
    }
    json_decref(found);
    return STLORA_OK;
}

static void test_score(void **state)
{
    (void)state;
    stlora_error err = {0};
    char rows[600], model[4200];
    score_check check = {.wanted = load(real_dir, "score.json")};
    const char *temp = temporary_dir();
    write_rows(temp, rows);
    join(model, model_dir, ".");
    stlora_params *params = params_of("score", "model", model, "data", rows, (const char *)NULL);
    const stlora_infer_callbacks callbacks = {.on_line = check_line, .context = &check};
    assert_ok(stlora_score(params, &callbacks, &err));
    assert_true(check.row >= json_array_size(check.wanted));
    print_message("largest error of a log-probability %.3g\n", check.worst);
    stlora_params_free(params);
    json_decref(check.wanted);
    remove_dir(temp);
}

typedef struct run_check {
    json_t *wanted;
    size_t step;
    double worst;
} run_check;

static void check_number(run_check *check, const char *key, double found)
{
    double wanted = json_number_value(json_array_get(json_object_get(check->wanted, key), check->step));
    double off = fabs(found - wanted) / fabs(wanted);
    if (!(off <= 1e-3)) fail_msg("step %d: %s: wanted %.9g, found %.9g", (int)check->step + 1, key, wanted, found);
    check->worst = fmax(check->worst, off);
}

static void check_step(void *context, const stlora_step_metrics *m)
{
    run_check *check = context;
    check_number(check, "loss", m->loss);
    check_number(check, "grad_norm", m->grad_norm);
    assert_int_equal(m->supervised_tokens,
                     json_integer_value(json_array_get(json_object_get(check->wanted, "supervised"), check->step)));
    check->step++;
}

static void check_stability(const char *run, const json_t *wanted)
{
    char path[600], name[512];
    (void)snprintf(path, sizeof path, "%s/stability.json", run);
    json_t *pairs = json_load_file(path, 0, NULL), *pair;
    size_t i;
    assert_int_equal(json_array_size(pairs), json_object_size(json_object_get(wanted, "stop_step")));
    json_array_foreach(pairs, i, pair)
    {
        (void)snprintf(name, sizeof name, "base_model.model.%s", json_string_value(json_object_get(pair, "name")));
        json_t *stop = json_object_get(json_object_get(wanted, "stop_step"), name);
        assert_non_null(stop);
        if (!json_equal(stop, json_object_get(pair, "stop_step"))) fail_msg("stop step of %s differs", name);
    }
    json_decref(pairs);
}

static void run(const char *which, const char *shrink_ratio)
{
    stlora_error err = {0};
    char rows[600], model[4200], adapter[4200], run_dir[512];
    const char *temp = temporary_dir();
    json_t *train = load(real_dir, "train.json");
    run_check check = {.wanted = json_object_get(train, which)};
    write_rows(temp, rows);
    join(model, model_dir, ".");
    join(adapter, real_dir, "adapter_init");
    (void)snprintf(run_dir, sizeof run_dir, "%s/run", temp);
    stlora_params *params = params_of("train", "model", model, "data", rows, "adapter", adapter, "output_dir", run_dir,
                                      "max_steps", "24", "batch_size", "4", "learning_rate", "5e-3", "shuffle", "false",
                                      "shrink_ratio", shrink_ratio, "weight_decay", "0.01", (const char *)NULL);
    const stlora_train_callbacks callbacks = {.on_step = check_step, .context = &check};
    stlora_trainer *trainer;
    stlora_train_result result;
    assert_ok(stlora_trainer_create(&trainer, params, &callbacks, &err));
    assert_ok(stlora_trainer_run(trainer, &result, &err));
    stlora_trainer_free(trainer);
    assert_int_equal(check.step, 24);
    check_stability(run_dir, check.wanted);
    print_message("%s: largest relative error of loss and grad_norm %.3g\n", which, check.worst);

    if (strcmp(which, "stable_lora") == 0) { /* the adapter just made goes on as the recorded one does */
        json_t *greedy = load(real_dir, "greedy.json"), *wanted = json_object_get(greedy, "adapter_stable_lora"), *id;
        char ids[256] = "";
        size_t i, used = 0;
        json_array_foreach(json_object_get(greedy, "start"), i, id) used +=
            (size_t)snprintf(ids + used, sizeof ids - used, i ? ",%d" : "%d", (int)json_integer_value(id));
        stlora_generation made;
        stlora_params *generate = params_of("generate", "model", model, "adapter", run_dir, "prompt_ids", ids,
                                            "max_new_tokens", "48", "ignore_eos", "true", (const char *)NULL);
        assert_ok(stlora_generate(generate, NULL, &made, &err));
        assert_int_equal(made.count, json_array_size(wanted));
        for (i = 0; i < made.count; i++)
            assert_int_equal(made.ids[i], json_integer_value(json_array_get(wanted, i)));
        stlora_generation_free(&made);
        stlora_params_free(generate);
        json_decref(greedy);
    }
    stlora_params_free(params);
    json_decref(train);
    remove_dir(temp);
}

static void test_run_stable_lora(void **state)
{
    (void)state;
    run("stable_lora", "0.05");
}

static void test_run_adamw(void **state)
{
    (void)state;
    run("adamw", "0");
}

static void test_greedy_of_llama2_c(void **state)
{
    (void)state;
    stlora_error err = {0};
    char model[4200];
    json_t *reference = load(model_dir, "reference_greedy.json"), *wanted = json_object_get(reference, "greedy_ids");
    stlora_generation made;
    join(model, model_dir, ".");
    size_t prompt = 0;
    /* The recorded ids hold the prompt's, which are what the tokenizer makes of it. */
    stlora_tokenize *tokenizer;
    int32_t *ids;
    const char *text = json_string_value(json_object_get(reference, "prompt"));
    assert_ok(stlora_tokenize_open(&tokenizer, model, &err));
    assert_ok(stlora_tokenize_encode(tokenizer, text, strlen(text), true, &ids, &prompt, &err));
    for (size_t i = 0; i < prompt; i++)
        assert_int_equal(ids[i], json_integer_value(json_array_get(wanted, i)));
    stlora_release(ids);
    stlora_tokenize_close(tokenizer);
    char count[32];
    (void)snprintf(count, sizeof count, "%zu", json_array_size(wanted) - prompt);
    stlora_params *params = params_of("generate", "model", model, "prompt", text, "max_new_tokens", count, "ignore_eos",
                                      "true", (const char *)NULL);
    assert_ok(stlora_generate(params, NULL, &made, &err));
    assert_int_equal(made.count, json_array_size(wanted) - prompt);
    for (size_t i = 0; i < made.count; i++)
        assert_int_equal(made.ids[i], json_integer_value(json_array_get(wanted, prompt + i)));
    stlora_generation_free(&made);
    stlora_params_free(params);
    json_decref(reference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_run_stable_lora),
        cmocka_unit_test(test_run_adamw),
        cmocka_unit_test(test_greedy_of_llama2_c),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
