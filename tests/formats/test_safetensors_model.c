/* test_safetensors_model.c: which files a model directory's weights come from, and indexes that lie. */
#include "scratch.h"

#include <unistd.h>

#include "formats/safetensors.h"

static const float numbers[4] = {1, 2, 3, 4};

/* Writes a file with the tensors named, each [2]. */
static void put_tensors(const char *file, const char *const *names, size_t count)
{
    stlora_error err = {0};
    stlora_named_view tensors[8];
    for (size_t i = 0; i < count; i++)
        tensors[i] = (stlora_named_view){names[i], {numbers + i, STLORA_F32, 1, {2}}};
    assert_ok(stlora_safetensors_write(at(file), tensors, count, &(stlora_metadata_entry){"file", file}, 1, &err));
}

#define NAMES(...) (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)

static void put_index(const char *map)
{
    char text[2000];
    (void)snprintf(text, sizeof text, "{\"metadata\": {\"total_size\": 24}, \"weight_map\": %s}", map);
    put_text(at("model.safetensors.index.json"), text);
}

static stlora_safetensors *opens(void)
{
    stlora_error err = {0};
    stlora_safetensors *s = NULL;
    assert_ok(stlora_safetensors_open_model(&s, scratch, &err));
    return s;
}

static void refused(stlora_status wanted, const char *file, const char *words)
{
    stlora_error err = {0};
    stlora_safetensors *s = NULL;
    stlora_status status = stlora_safetensors_open_model(&s, scratch, &err);
    assert_refusal(status, &err, wanted, file ? at(file) : scratch, words);
    assert_null(s);
}

#define INDEX "model.safetensors.index.json"

static void test_sharded(void **state)
{
    (void)state;
    put_tensors("model-2.safetensors", NAMES("c", "a"));
    put_tensors("model-1.safetensors", NAMES("b", "extra"));
    put_tensors("other.safetensors", NAMES("a")); /* not in the index: not ours */
    put_index("{\"a\": \"model-2.safetensors\", \"b\": \"model-1.safetensors\", \"c\": \"model-2.safetensors\"}");
    stlora_safetensors *s = opens();
    assert_int_equal(stlora_safetensors_count(s), 4);
    assert_string_equal(stlora_safetensors_name(s, 0), "a");
    assert_string_equal(stlora_safetensors_name(s, 3), "extra");
    assert_string_equal(stlora_safetensors_path(s, 0), at("model-2.safetensors"));
    assert_string_equal(stlora_safetensors_path(s, 1), at("model-1.safetensors"));
    const stlora_view *a = stlora_safetensors_find(s, "a"), *b = stlora_safetensors_find(s, "b");
    assert_memory_equal(a->data, numbers + 1, 8);
    assert_memory_equal(b->data, numbers, 8);
    assert_string_equal(stlora_safetensors_metadata(s, "file"), "model-1.safetensors"); /* the first that has it */
    struct stat one, two;
    assert_int_equal(stat(at("model-1.safetensors"), &one), 0);
    assert_int_equal(stat(at("model-2.safetensors"), &two), 0);
    assert_int_equal(stlora_safetensors_bytes(s), one.st_size + two.st_size);
    stlora_safetensors_close(s);
    /* One file with everything wins, as in Transformers. */
    put_tensors("model.safetensors", NAMES("a"));
    s = opens();
    assert_int_equal(stlora_safetensors_count(s), 1);
    stlora_safetensors_close(s);
}

static void test_only_one(void **state)
{
    (void)state;
    refused(STLORA_E_IO, NULL, "must hold model.safetensors or an index, found neither");
    put_text(at("pytorch_model.bin"), "PK");
    refused(STLORA_E_UNSUPPORTED, NULL, "convert them to safetensors");
    put_text(at(".hidden.safetensors"), "");
    put_tensors("weights.safetensors", NAMES("a"));
    stlora_safetensors *s = opens();
    assert_string_equal(stlora_safetensors_path(s, 0), at("weights.safetensors"));
    stlora_safetensors_close(s);
    put_tensors("weights2.safetensors", NAMES("a"));
    refused(STLORA_E_FORMAT, NULL, "must hold one *.safetensors file or an index, found 2 files and no index");
}

static void test_no_such_directory(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_safetensors *s = NULL;
    assert_refusal(stlora_safetensors_open_model(&s, at("none"), &err), &err, STLORA_E_IO, at("none"),
                   "cannot be opened: No such file or directory");
    put_text(at("file"), "x");
    assert_refusal(stlora_safetensors_open_model(&s, at("file"), &err), &err, STLORA_E_IO, at("file"),
                   "Not a directory");
    assert_int_equal(mkdir(at("model.safetensors"), 0755), 0);
    refused(STLORA_E_IO, "model.safetensors", "found a directory");
    assert_null(s);
}

static void test_malformed_index(void **state)
{
    (void)state;
    put_text(at(INDEX), "");
    refused(STLORA_E_FORMAT, INDEX, "must be JSON, found nothing");
    put_text(at(INDEX), "[]");
    refused(STLORA_E_FORMAT, INDEX, "weight_map must be an object with entries, found nothing");
    put_index("[]");
    refused(STLORA_E_FORMAT, INDEX, "found array");
    put_index("{}");
    refused(STLORA_E_FORMAT, INDEX, "found an empty one");
    put_index("{\"a\": 7}");
    refused(STLORA_E_FORMAT, INDEX, "weight_map \"a\" must be a file name, found integer");
    put_index("{\"a\": \"m\\u0000\"}");
    refused(STLORA_E_FORMAT, INDEX, "must be a file name");
    const char *outside[] = {"../m", "/etc/passwd", "sub/m", "", ".", ".."};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        char map[100];
        (void)snprintf(map, sizeof map, "{\"a\": \"%s\"}", outside[i]);
        put_index(map);
        refused(STLORA_E_FORMAT, INDEX, "weight_map must name files of its own directory, found \"");
    }
}

static void test_broken_promises(void **state)
{
    (void)state;
    put_tensors("m1", NAMES("a"));
    put_tensors("m2", NAMES("b"));
    put_index("{\"a\": \"m1\", \"b\": \"m2\", \"c\": \"m2\"}");
    refused(STLORA_E_FORMAT, INDEX, "promises tensor \"c\" in m2, which lacks it");
    put_index("{\"a\": \"m2\", \"b\": \"m1\"}");
    refused(STLORA_E_FORMAT, INDEX, "promises tensor \"a\" in m2, found it in ");
    put_index("{\"a\": \"m1\", \"b\": \"m3\"}");
    refused(STLORA_E_IO, "m3", "No such file or directory");
    put_tensors("m2", NAMES("b", "a"));
    put_index("{\"a\": \"m1\", \"b\": \"m2\"}");
    refused(STLORA_E_FORMAT, NULL, "tensor \"a\" is in ");
    put_text(at("m2"), "short");
    refused(STLORA_E_FORMAT, "m2", "must have 8 bytes of header length");
}

/* ---- the given checkpoints ---- */

static void test_given_shards(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_safetensors *s;
    assert_ok(stlora_safetensors_open_model(&s, shared_path("golden/models/qwen2/model"), &err));
    const stlora_view *e = stlora_safetensors_find(s, "model.embed_tokens.weight");
    assert_non_null(e);
    assert_int_equal(e->dtype, STLORA_F32);
    assert_int_equal(e->ndim, 2);
    assert_int_equal(e->shape[0], 160);
    assert_int_equal(e->shape[1], 32);
    assert_int_equal(stlora_safetensors_count(s), 2 + 3 * 12); /* embedding, norm; 7 matrices, 3 biases and 2 norms a block */
    stlora_safetensors_close(s);
}

static void test_given_families(void **state)
{
    (void)state;
    const char *names[] = {"llama", "llama3_rope", "gpt2", "qwen2", "mistral_window", "gemma2", "phi3"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        stlora_error err = {0};
        stlora_safetensors *s;
        char path[200];
        (void)snprintf(path, sizeof path, "golden/models/%s/model", names[i]);
        assert_ok(stlora_safetensors_open_model(&s, shared_path(path), &err));
        assert_true(stlora_safetensors_count(s) > 20);
        const bool halves = strcmp(names[i], "mistral_window") == 0;
        for (size_t t = 0; t < stlora_safetensors_count(s); t++)
            assert_int_equal(stlora_safetensors_at(s, t)->dtype, halves ? STLORA_BF16 : STLORA_F32);
        stlora_safetensors_close(s);
        (void)snprintf(path, sizeof path, "golden/models/%s/expected.safetensors", names[i]);
        assert_ok(stlora_safetensors_open(&s, shared_path(path), &err));
        assert_int_equal(stlora_safetensors_find(s, "ids")->dtype, STLORA_I64);
        stlora_safetensors_close(s);
    }
}

static void test_given_optimizer_trajectory(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_safetensors *s;
    assert_ok(stlora_safetensors_open(&s, shared_path("golden/optimizer/long_fast_f64.safetensors"), &err));
    assert_int_equal(stlora_safetensors_find(s, "pair0.A")->dtype, STLORA_F64);
    assert_int_equal(stlora_safetensors_find(s, "pair0.armed")->dtype, STLORA_U8);
    assert_non_null(strstr(stlora_safetensors_metadata(s, "case"), "shrink_ratio"));
    stlora_safetensors_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_sharded),
        SCRATCH_TEST(test_only_one),
        SCRATCH_TEST(test_no_such_directory),
        SCRATCH_TEST(test_malformed_index),
        SCRATCH_TEST(test_broken_promises),
        cmocka_unit_test(test_given_shards),
        cmocka_unit_test(test_given_families),
        cmocka_unit_test(test_given_optimizer_trajectory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
