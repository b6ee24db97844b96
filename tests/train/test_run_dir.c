/* test_run_dir.c: who may use a run's directory, which checkpoints are there, metrics.jsonl cut back after a kill,
 * fingerprints. */
#include <math.h>
#include <unistd.h>

#include "base/file_map.h"
#include "train/run_dir.h"
#include "train/tiny_model.h"

static void make_dir(const char *path)
{
    if (mkdir(path, 0777) != 0) fail_msg("mkdir %s failed", path);
}

static bool there(const char *name)
{
    return stlora_path_exists(tiny_at(name));
}

static void test_check(void **state)
{
    (void)state;
    stlora_error err = {0};
    for (int resuming = 0; resuming < 2; resuming++) {
        assert_ok(stlora_run_dir_check(tiny_at("absent"), resuming, &err));
        assert_ok(stlora_run_dir_check(tiny_at("absent/below"), resuming, &err));
    }
    assert_false(there("absent")); /* nothing was written */
    make_dir(tiny_at("empty"));
    assert_ok(stlora_run_dir_check(tiny_at("empty"), false, &err));
    make_dir(tiny_at("full"));
    tiny_put(tiny_at("full/.hidden"), "x");
    tiny_refused(stlora_run_dir_check(tiny_at("full"), false, &err), &err, STLORA_E_USAGE, "--output-dir: ");
    tiny_refused(STLORA_E_USAGE, &err, STLORA_E_USAGE,
                 "full is not empty; name another directory, or go on with --resume-from-checkpoint latest");
    assert_ok(stlora_run_dir_check(tiny_at("full"), true, &err));
    tiny_put(tiny_at("file"), "x");
    for (int resuming = 0; resuming < 2; resuming++)
        tiny_refused(stlora_run_dir_check(tiny_at("file"), resuming, &err), &err, STLORA_E_USAGE,
                     "file is there and is no directory");
    assert_int_equal(symlink(tiny_at("nowhere"), tiny_at("dangling")), 0);
    tiny_refused(stlora_run_dir_check(tiny_at("dangling"), false, &err), &err, STLORA_E_USAGE,
                 "dangling is there and is no directory");
    assert_int_equal(symlink(tiny_at("empty"), tiny_at("link")), 0);
    assert_ok(stlora_run_dir_check(tiny_at("link"), false, &err));
}

static void test_make(void **state)
{
    (void)state;
    stlora_error err = {0};
    assert_ok(stlora_run_dir_make(tiny_at("a/b//c"), &err));
    assert_true(stlora_path_is_dir(tiny_at("a/b/c")));
    assert_ok(stlora_run_dir_make(tiny_at("d/e/"), &err));
    assert_true(stlora_path_is_dir(tiny_at("d/e")));
    /* What is there stays, but for what a killed write left. */
    tiny_put(tiny_at("a/b/c/run.json"), "{}");
    tiny_put(tiny_at("a/b/c/.run.json.tmp-abc123"), "{");
    tiny_put(tiny_at("a/b/c/.keep"), "x");
    tiny_put(tiny_at("a/b/c/notes.tmp-x"), "x");
    make_dir(tiny_at("a/b/c/.checkpoint-5.tmp-Xy0"));
    tiny_put(tiny_at("a/b/c/.checkpoint-5.tmp-Xy0/trainer_state.json"), "{");
    make_dir(tiny_at("a/b/c/checkpoint-4"));
    assert_ok(stlora_run_dir_make(tiny_at("a/b/c"), &err));
    assert_false(there("a/b/c/.run.json.tmp-abc123"));
    assert_false(there("a/b/c/.checkpoint-5.tmp-Xy0"));
    assert_true(there("a/b/c/run.json") && there("a/b/c/.keep") && there("a/b/c/notes.tmp-x") &&
                there("a/b/c/checkpoint-4"));
    tiny_put(tiny_at("file"), "x");
    tiny_refused(stlora_run_dir_make(tiny_at("file"), &err), &err, STLORA_E_IO, "file: the directory cannot be made");
    tiny_refused(stlora_run_dir_make(tiny_at("file/below"), &err), &err, STLORA_E_IO,
                 "file/below: the directory cannot be made");
}

static void check_latest(const char *name)
{
    stlora_error err = {0};
    char *found = (char *)(uintptr_t) "untouched";
    assert_ok(stlora_run_dir_latest(tiny_root, &found, &err));
    if (!name)
        assert_null(found);
    else if (!found || strcmp(found, tiny_at(name)) != 0)
        fail_msg("wanted %s, found %s", name, found ? found : "none");
    stlora_free(found);
}

/* Only directories that are named as checkpoints are named count. */
static void test_latest_and_prune(void **state)
{
    (void)state;
    static const char *const odd[] = {"checkpoint-",     "checkpoint-x",  "checkpoint-010",
                                      "checkpoint--7",   "checkpoint-7x", "checkpoint-1e9",
                                      "checkpoint- 8",   "checkpoint-+8", "Checkpoint-900",
                                      "xcheckpoint-900", "checkpoint-00", "checkpoint-99999999999999999999"};
    static const char *const steps[] = {"checkpoint-2", "checkpoint-100", "checkpoint-9", "checkpoint-0"};
    stlora_error err = {0};
    char *found = NULL;
    assert_ok(stlora_run_dir_latest(tiny_at("absent"), &found, &err));
    assert_null(found);
    assert_ok(stlora_run_dir_prune(tiny_at("absent"), 1, &err));
    check_latest(NULL);
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        make_dir(tiny_at(odd[i]));
    tiny_put(tiny_at("checkpoint-500"), "a file of the user's");
    check_latest(NULL);
    for (size_t i = 0; i < 4; i++) {
        make_dir(tiny_at(steps[i]));
        char inside[64];
        (void)snprintf(inside, sizeof inside, "%s/optimizer.safetensors", steps[i]);
        tiny_put(tiny_at(inside), "x");
    }
    check_latest("checkpoint-100");                      /* by number, not by letters */
    assert_ok(stlora_run_dir_prune(tiny_root, 0, &err)); /* 0 = all stay */
    for (size_t i = 0; i < 4; i++)
        assert_true(there(steps[i]));
    assert_ok(stlora_run_dir_prune(tiny_root, 4, &err));
    assert_ok(stlora_run_dir_prune(tiny_root, 9, &err));
    for (size_t i = 0; i < 4; i++)
        assert_true(there(steps[i]));
    assert_ok(stlora_run_dir_prune(tiny_root, 2, &err));
    assert_true(there("checkpoint-100") && there("checkpoint-9"));
    assert_false(there("checkpoint-2") || there("checkpoint-0"));
    assert_ok(stlora_run_dir_prune(tiny_root, 1, &err));
    assert_true(there("checkpoint-100"));
    assert_false(there("checkpoint-9"));
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        if (!there(odd[i])) fail_msg("%s was removed", odd[i]);
    assert_true(there("checkpoint-500"));
}

/* ---- metrics.jsonl ---- */

static void write_step(stlora_metrics_file *file, int64_t step, double loss)
{
    stlora_error err = {0};
    stlora_step_metrics m = {.step = step,
                             .total_steps = 9,
                             .epoch = 0.25 * (double)step,
                             .loss = loss,
                             .grad_norm = 1.0 / 3,
                             .learning_rate = 1e-4,
                             .tokens = 100 + step,
                             .supervised_tokens = 50,
                             .seconds = 0.5,
                             .tokens_per_second = 200,
                             .pairs_shrinking = 14};
    assert_ok(stlora_metrics_step(file, &m, &err));
}

static void write_eval(stlora_metrics_file *file, int64_t step, double loss)
{
    stlora_error err = {0};
    stlora_eval_metrics m = {.step = step, .loss = loss, .perplexity = exp(loss), .supervised_tokens = 12, .rows = 3};
    assert_ok(stlora_metrics_eval(file, &m, &err));
}

static char *read_metrics(void)
{
    stlora_error err = {0};
    char *text;
    size_t size;
    assert_ok(stlora_file_read(&text, &size, tiny_at("metrics.jsonl"), 1 << 20, &err));
    return text;
}

static void check_metrics(const char *wanted)
{
    char *found = read_metrics();
    if (strcmp(found, wanted) != 0) fail_msg("wanted\n%sfound\n%s", wanted, found);
    stlora_free(found);
}

/* Opens for going on after last_step, and closes. */
static void reopen(int64_t last_step)
{
    stlora_error err = {0};
    stlora_metrics_file file;
    assert_ok(stlora_metrics_open(&file, tiny_root, "metrics.jsonl", last_step, &err));
    stlora_metrics_close(&file);
    assert_int_equal(file.fd, -1);
}

static void test_metrics_lines(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_metrics_file file;
    assert_ok(stlora_metrics_open(&file, tiny_root, "metrics.jsonl", -1, &err));
    write_eval(&file, 0, 2.5);
    write_step(&file, 1, 1.23456789012);
    write_step(&file, 2, (double)NAN);
    write_eval(&file, 2, (double)INFINITY);
    stlora_step_metrics skipped = {.step = 3, .loss = 1, .grad_norm = (double)NAN, .skipped = true};
    assert_ok(stlora_metrics_step(&file, &skipped, &err));
    stlora_metrics_close(&file);
    stlora_metrics_close(&file); /* once more is harmless */
    check_metrics(
        "{\"step\": 0, \"eval_loss\": 2.5, \"eval_perplexity\": 12.182494, \"eval_supervised_tokens\": 12, "
        "\"eval_rows\": 3}\n"
        "{\"step\": 1, \"epoch\": 0.25, \"loss\": 1.23456789, \"grad_norm\": 0.333333333, \"learning_rate\": 0.0001, "
        "\"tokens\": 101, "
        "\"supervised_tokens\": 50, \"seconds\": 0.500000, \"tokens_per_second\": 200.0, \"pairs_shrinking\": 14}\n"
        "{\"step\": 2, \"epoch\": 0.5, \"loss\": null, \"grad_norm\": 0.333333333, \"learning_rate\": 0.0001, "
        "\"tokens\": 102, "
        "\"supervised_tokens\": 50, \"seconds\": 0.500000, \"tokens_per_second\": 200.0, \"pairs_shrinking\": 14}\n"
        "{\"step\": 2, \"eval_loss\": null, \"eval_perplexity\": null, \"eval_supervised_tokens\": 12, \"eval_rows\": "
        "3}\n"
        "{\"step\": 3, \"epoch\": 0, \"loss\": 1, \"grad_norm\": null, \"learning_rate\": 0, \"tokens\": 0, "
        "\"supervised_tokens\": 0, "
        "\"seconds\": 0.000000, \"tokens_per_second\": 0.0, \"pairs_shrinking\": 0, \"skipped\": true}\n");
}

static void test_metrics_are_cut_back(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_metrics_file file;
    static const char two[] = "{\"step\": 0, \"eval_loss\": 2}\n{\"step\": 1}\n{\"step\": 2, \"loss\": "
                              "null}\n{\"step\": 2, \"eval_loss\": 1}\n";
    static const char rest[] = "{\"step\": 3}\n{\"step\": 4}\n";
    char text[600];
    (void)snprintf(text, sizeof text, "%s%s", two, rest);
    tiny_put(tiny_at("metrics.jsonl"), text);
    reopen(4);
    check_metrics(text);
    reopen(100);
    check_metrics(text);
    reopen(2);
    check_metrics(two);
    assert_ok(stlora_metrics_open(&file, tiny_root, "metrics.jsonl", 2, &err)); /* what comes then is appended */
    write_eval(&file, 3, 0);
    stlora_metrics_close(&file);
    (void)snprintf(
        text, sizeof text,
        "%s{\"step\": 3, \"eval_loss\": 0, \"eval_perplexity\": 1, \"eval_supervised_tokens\": 12, \"eval_rows\": 3}\n",
        two);
    check_metrics(text);
    reopen(-1);
    check_metrics("");
    reopen(-1);
    check_metrics("");
}

/* A line that a killed run did not finish goes, even where its step is one to be kept; so does what makes no sense. */
static void test_torn_lines(void **state)
{
    (void)state;
    static const char *const torn[] = {
        "{\"step\": 3}", "{\"step\": 3, \"lo", "{\"step\":",       "{\"step\": 3]\n",       "\n", "{\"step\": \"3\"}\n",
        "7\n",           "{\"loss\": 1}\n",    "{\"step\": 3}x\n", "{\"st\n{\"step\": 3}\n"};
    for (size_t i = 0; i < sizeof torn / sizeof torn[0]; i++) {
        char text[200];
        (void)snprintf(text, sizeof text, "{\"step\": 1}\n{\"step\": 2}\n%s", torn[i]);
        tiny_put(tiny_at("metrics.jsonl"), text);
        reopen(9);
        check_metrics("{\"step\": 1}\n{\"step\": 2}\n");
    }
    assert_int_equal(unlink(tiny_at("metrics.jsonl")), 0);
    make_dir(tiny_at("metrics.jsonl"));
    stlora_error err = {0};
    stlora_metrics_file file = {.fd = -7};
    tiny_refused(stlora_metrics_open(&file, tiny_root, "metrics.jsonl", -1, &err), &err, STLORA_E_IO, "metrics.jsonl");
    assert_int_equal(file.fd, -7); /* untouched */
}

/* ---- fingerprints ---- */

static const char *hash(const char *name)
{
    static char digits[33];
    stlora_error err = {0};
    memset(digits, 0, sizeof digits);
    assert_ok(stlora_hash_file(tiny_at(name), digits, &err));
    assert_int_equal(strlen(digits), 32);
    assert_int_equal(strspn(digits, "0123456789abcdef"), 32);
    return digits;
}

static void test_hash(void **state)
{
    (void)state;
    stlora_error err = {0};
    char digits[33];
    tiny_put(tiny_at("empty"), "");
    tiny_put(tiny_at("a"), "a");
    tiny_put(tiny_at("again"), "a");
    tiny_put(tiny_at("b"), "b");
    tiny_put(tiny_at("line"), "a\n");
    assert_string_equal(hash("empty"), "99aa06d3014798d86001c324468d497f"); /* XXH3-128's published values, seed 0 */
    assert_string_equal(hash("a"), "a96faf705af16834e6c632b61e964e1f");
    assert_string_equal(hash("again"), "a96faf705af16834e6c632b61e964e1f");
    assert_string_not_equal(hash("b"), "a96faf705af16834e6c632b61e964e1f");
    assert_string_not_equal(hash("line"), "a96faf705af16834e6c632b61e964e1f");
    tiny_refused(stlora_hash_file(tiny_at("absent"), digits, &err), &err, STLORA_E_IO, "absent");
}

static stlora_status fingerprints(json_t **out, const char *model_dir, const char *const *data, size_t count,
                                  stlora_error *err)
{
    STLORA_TRY(stlora_list_inputs(out, model_dir, NULL, NULL, data, count, err));
    return stlora_hash_inputs(*out, err);
}

static void test_hash_of_inputs(void **state)
{
    (void)state;
    stlora_error err = {0};
    json_t *first, *again, *other;
    tiny_write(tiny_at("model"), &(tiny_options){.family = "llama", .sharded = true});
    tiny_put(tiny_at("model/README.md"), "not an input");
    tiny_put(tiny_at("rows.jsonl"), "{}");
    char data[600];
    (void)snprintf(data, sizeof data, "%s", tiny_at("rows.jsonl"));
    const char *paths[] = {data};
    assert_ok(fingerprints(&first, tiny_at("model"), paths, 1, &err));
    assert_ok(fingerprints(&again, tiny_at("model"), paths, 1, &err));
    assert_int_equal(json_object_size(first), 4); /* config, two shards, rows */
    assert_true(json_equal(first, again));
    const char *value = json_string_value(json_object_get(first, tiny_at("model/config.json")));
    assert_non_null(value);
    assert_int_equal(strncmp(value, "xxh3-128:", 9), 0);
    assert_string_equal(value + 9, hash("model/config.json"));
    tiny_put(tiny_at("model/README.md"), "changed");
    tiny_put(data, "{ }");
    assert_ok(fingerprints(&other, tiny_at("model"), paths, 1, &err));
    assert_false(json_equal(first, other));
    assert_true(json_equal(json_object_get(first, tiny_at("model/config.json")),
                           json_object_get(other, tiny_at("model/config.json"))));
    assert_false(json_equal(json_object_get(first, data), json_object_get(other, data)));
    json_decref(first);
    json_decref(again);
    json_decref(other);
    const char *absent[] = {"/nowhere/rows.jsonl"};
    assert_int_equal(fingerprints(&other, NULL, absent, 1, &err), STLORA_E_IO); /* listed, but cannot be read */
    assert_non_null(strstr(err.text, "/nowhere/rows.jsonl"));
    json_decref(other);
    tiny_refused(fingerprints(&first, tiny_at("absent"), NULL, 0, &err), &err, STLORA_E_IO, "absent");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TINY_TEST(test_check),
        TINY_TEST(test_make),
        TINY_TEST(test_latest_and_prune),
        TINY_TEST(test_metrics_lines),
        TINY_TEST(test_metrics_are_cut_back),
        TINY_TEST(test_torn_lines),
        TINY_TEST(test_hash),
        TINY_TEST(test_hash_of_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
