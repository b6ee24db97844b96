/* test_example.c: rows as ids and targets: where labels start, what is appended, cut, dropped and counted; and the supervised
 * tokens of a real run by Transformers. */
#include "data/example.h"

#include <jansson.h>

#include "base/memory.h"
#include "data/data_support.h"
#include "data/sampler.h"

/* Letters, one merge that reaches over the border of a prompt, one added token that does, <s> in front. */
static const char TOKENIZER[] =
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":["
    "{\"id\":0,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
    "\"normalized\":false,\"special\":true},"
    "{\"id\":1,\"content\":\"</"
    "s>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":"
    "true},"
    "{\"id\":7,\"content\":\"dcba\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
    "\"normalized\":false,\"special\":true}],"
    "\"normalizer\":null,\"pre_tokenizer\":null,\"post_processor\":{\"type\":"
    "\"TemplateProcessing\","
    "\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\","
    "\"type_id\":0}}],"
    "\"pair\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"Sequence\":{\"id\":\"B\",\"type_id\":"
    "1}}],"
    "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[0],\"tokens\":[\"<s>\"]}}},"
    "\"decoder\":{\"type\":\"Fuse\"},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":"
    "null,"
    "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_"
    "fallback\":false,"
    "\"ignore_merges\":false,\"vocab\":{\"<s>\":0,\"</"
    "s>\":1,\"a\":2,\"b\":3,\"c\":4,\"d\":5,\"ab\":6},\"merges\":[\"a b\"]}}";
enum { BOS, EOS, A, B, C, D, AB, DCBA, VOCAB };

static stlora_tokenizer *tokenizer;

static int load_tokenizer(void **state)
{
    (void)state;
    stlora_error err = {0};
    (void)data_file("tokenizer.json", TOKENIZER, sizeof TOKENIZER - 1);
    stlora_status status = stlora_tokenizer_load(&tokenizer, data_dir(), &err);
    if (status != STLORA_OK) print_error("%s\n", err.text);
    return status != STLORA_OK;
}

static int free_tokenizer(void **state)
{
    stlora_tokenizer_free(tokenizer);
    return remove_data_files(state);
}

static stlora_example_options usual(void)
{
    return (stlora_example_options){.tokenizer = tokenizer,
                                    .eos = EOS,
                                    .max_length = 1024,
                                    .vocab_size = VOCAB,
                                    .completion_only = -1};
}

static stlora_examples *examples_of(const char *rows, stlora_example_options options)
{
    stlora_error err = {0};
    stlora_examples *examples = NULL;
    stlora_row_kind kind;
    const char *path = rows_file(rows);
    assert_ok(stlora_examples_read(&examples, &path, 1, &options, &kind, &err));
    return examples;
}

/* ids and targets as given, both ended by -2. */
static void expect_example(const stlora_examples *examples, size_t i, int64_t row,
                           const int32_t *ids, const int32_t *targets)
{
    assert_true(i < stlora_examples_count(examples));
    const stlora_example e = stlora_examples_at(examples, i);
    int64_t length = 0, supervised = 0;
    for (; ids[length] != -2; length++) {
        assert_true(length < e.length);
        assert_int_equal(e.ids[length], ids[length]);
        assert_int_equal(stlora_example_target(&e, (int64_t)length), targets[length]);
        supervised += targets[length] >= 0;
    }
    assert_int_equal(targets[length], -2);
    assert_int_equal(e.length, length);
    assert_int_equal(e.supervised, supervised);
    assert_int_equal(e.row, row);
}

#define LIST(...) ((const int32_t[]){__VA_ARGS__, -2})

static void text_is_supervised_from_the_second_token_on(void **state)
{
    (void)state;
    for (int completion_only = -1; completion_only <= 1; completion_only++) {
        stlora_example_options o = usual();
        o.completion_only = completion_only;
        stlora_examples *e =
            examples_of("{\"text\":\"cd\"}\n{\"text\":\"cd</s>\"}\n{\"text\":\"\"}\n", o);
        expect_example(e, 0, 0, LIST(BOS, C, D, EOS), LIST(-1, C, D, EOS));
        expect_example(e, 1, 1, LIST(BOS, C, D, EOS), LIST(-1, C, D, EOS));
        expect_example(e, 2, 2, LIST(BOS, EOS), LIST(-1, EOS));
        stlora_examples_free(e);
    }
}

static void only_the_completion_is_supervised(void **state)
{
    (void)state;
    static const char rows[] =
        "{\"prompt\":\"ca\",\"completion\":\"dd\"}\n{\"prompt\":\"\",\"completion\":\"c\"}\n"
        "{\"prompt\":\"c\",\"completion\":\"\"}\n";
    for (int completion_only = -1; completion_only <= 1; completion_only++) {
        stlora_example_options o = usual();
        o.completion_only = completion_only;
        stlora_examples *e = examples_of(rows, o);
        if (completion_only) {
            expect_example(e, 0, 0, LIST(BOS, C, A, D, D, EOS), LIST(-1, -1, -1, D, D, EOS));
            expect_example(e, 2, 2, LIST(BOS, C, EOS), LIST(-1, -1, EOS));
        } else {
            expect_example(e, 0, 0, LIST(BOS, C, A, D, D, EOS), LIST(-1, C, A, D, D, EOS));
            expect_example(e, 2, 2, LIST(BOS, C, EOS), LIST(-1, C, EOS));
        }
        expect_example(e, 1, 1, LIST(BOS, C, EOS), LIST(-1, C, EOS));
        assert_int_equal(stlora_examples_counts(e)->prompt_no_prefix, 0);
        stlora_examples_free(e);
    }
}

static void no_end_token_where_there_is_none(void **state)
{
    (void)state;
    stlora_example_options o = usual();
    o.eos = -1;
    stlora_examples *e = examples_of(
        "{\"prompt\":\"c\",\"completion\":\"d\"}\n{\"prompt\":\"c\",\"completion\":\"\"}\n", o);
    expect_example(e, 0, 0, LIST(BOS, C, D), LIST(-1, -1, D));
    assert_int_equal(stlora_examples_count(e), 1);
    assert_int_equal(stlora_examples_counts(e)->dropped, 1);
    stlora_examples_free(e);
}

/* The prompt's own ids are not the first ones of the row: labels start after as many all the same, and it is counted. */
static void prompt_that_is_no_prefix(void **state)
{
    (void)state;
    stlora_examples *e = examples_of(
        "{\"prompt\":\"ca\",\"completion\":\"bd\"}\n"
        "{\"prompt\":\"dcb\",\"completion\":\"a\"}\n" /* fewer ids than the prompt alone */
        "{\"prompt\":\"cb\",\"completion\":\"a\"}\n",
        usual());
    assert_int_equal(stlora_examples_count(e), 2);
    expect_example(e, 0, 0, LIST(BOS, C, AB, D, EOS), LIST(-1, -1, -1, D, EOS));
    expect_example(e, 1, 2, LIST(BOS, C, B, A, EOS), LIST(-1, -1, -1, A, EOS));
    const stlora_example_counts *counts = stlora_examples_counts(e);
    assert_int_equal(counts->prompt_no_prefix, 2);
    assert_int_equal(counts->dropped, 1);
    stlora_examples_free(e);
}

static void long_rows_are_cut_at_the_end_and_counted(void **state)
{
    (void)state;
    static const char rows[] =
        "{\"prompt\":\"c\",\"completion\":\"dddd\"}\n"  /* 7 with the end token */
        "{\"prompt\":\"c\",\"completion\":\"d\"}\n"     /* 4: fits */
        "{\"prompt\":\"cccc\",\"completion\":\"d\"}\n"; /* its completion is cut off */
    stlora_example_options o = usual();
    o.max_length = 4;
    stlora_examples *e = examples_of(rows, o);
    assert_int_equal(stlora_examples_count(e), 2);
    expect_example(e, 0, 0, LIST(BOS, C, D, D), LIST(-1, -1, D, D));
    expect_example(e, 1, 1, LIST(BOS, C, D, EOS), LIST(-1, -1, D, EOS));
    const stlora_example_counts *counts = stlora_examples_counts(e);
    assert_int_equal(counts->rows, 3);
    assert_int_equal(counts->cut, 2);
    assert_int_equal(counts->dropped, 1);
    assert_int_equal(counts->tokens, 8);
    assert_int_equal(counts->supervised, 4);
    assert_int_equal(counts->longest, 4);
    stlora_examples_free(e);
    o.max_length = 0; /* no limit */
    e = examples_of(rows, o);
    counts = stlora_examples_counts(e);
    assert_int_equal(counts->cut, 0);
    assert_int_equal(counts->longest, 7);
    assert_int_equal(counts->tokens, 7 + 4 + 7);
    assert_int_equal(counts->supervised, 5 + 2 + 2);
    stlora_examples_free(e);
}

static void encoded_rows_are_taken_as_they_are(void **state)
{
    (void)state;
    for (int completion_only = -1; completion_only <= 1; completion_only++) {
        stlora_example_options o = usual();
        o.tokenizer = NULL;
        o.completion_only = completion_only;
        stlora_examples *e =
            examples_of("{\"input_ids\":[5,4,3]}\n"
                        "{\"input_ids\":[5,4,3],\"labels\":[-100,-100,2]}\n"
                        "{\"input_ids\":[5,4,3],\"labels\":[5,4,-100]}\n"
                        "{\"input_ids\":[5,4],\"labels\":[5,-100]}\n"
                        "{\"input_ids\":[]}\n{\"input_ids\":[3]}\n{\"input_ids\":[3,7]}\n",
                        o);
        assert_int_equal(stlora_examples_count(e), 4);
        expect_example(e, 0, 0, LIST(5, 4, 3), LIST(-1, 4, 3));
        expect_example(e, 1, 1, LIST(5, 4, 3), LIST(-1, -1, 2));
        expect_example(e, 2, 2, LIST(5, 4, 3),
                       LIST(-1, 4, -1)); /* labels[0] is nobody's: nothing stands before it */
        expect_example(e, 3, 6, LIST(3, 7), LIST(-1, 7));
        assert_int_equal(stlora_examples_counts(e)->dropped, 3);
        assert_int_equal(stlora_examples_counts(e)->rows, 7);
        stlora_examples_free(e);
    }
    stlora_example_options o = usual();
    o.tokenizer = NULL;
    o.max_length = 2;
    stlora_examples *e = examples_of("{\"input_ids\":[5,4,3],\"labels\":[5,4,3]}\n", o);
    expect_example(e, 0, 0, LIST(5, 4), LIST(-1, 4));
    assert_int_equal(stlora_examples_counts(e)->cut, 1);
    stlora_examples_free(e);
}

static void rows_are_numbered_over_all_files(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_examples *e = NULL;
    stlora_row_kind kind = STLORA_ROW_TEXT;
    static const char more[] = "[{\"input_ids\":[1,2]},{\"input_ids\":[3]},{\"input_ids\":[4,5]}]";
    const char *paths[] = {rows_file("{\"input_ids\":[6]}\n{\"input_ids\":[6,7]}\n"),
                           data_file("more.jsonl", more, sizeof more - 1)};
    stlora_example_options o = usual();
    assert_ok(stlora_examples_read(&e, paths, 2, &o, &kind, &err));
    assert_int_equal(kind, STLORA_ROW_INPUT_IDS);
    assert_int_equal(stlora_examples_count(e), 3);
    expect_example(e, 0, 1, LIST(6, 7), LIST(-1, 7));
    expect_example(e, 1, 2, LIST(1, 2), LIST(-1, 2));
    expect_example(e, 2, 4, LIST(4, 5), LIST(-1, 5));
    assert_true(stlora_examples_bytes(e) >= 3 * (2 * 2 * sizeof(int32_t)));
    stlora_examples_free(e);
    stlora_examples_free(NULL);
}

/* More than the blocks begin with: what was read earlier is still there after they have grown. */
static void many_examples(void **state)
{
    (void)state;
    enum { ROWS = 5000 };
    FILE *file = fopen(data_path("rows.jsonl"), "wb");
    assert_non_null(file);
    for (int i = 0; i < ROWS; i++)
        (void)fprintf(file, "{\"input_ids\":[%d,%d,%d]}\n", i, i + 1, i + 2);
    assert_int_equal(fclose(file), 0);
    stlora_error err = {0};
    stlora_examples *e = NULL;
    stlora_row_kind kind;
    const char *path = data_path("rows.jsonl");
    stlora_example_options o = usual();
    o.vocab_size = 0; /* no limit */
    assert_ok(stlora_examples_read(&e, &path, 1, &o, &kind, &err));
    assert_int_equal(stlora_examples_count(e), ROWS);
    for (int i = 0; i < ROWS; i++)
        expect_example(e, (size_t)i, i, LIST(i, i + 1, i + 2), LIST(-1, i + 1, i + 2));
    stlora_examples_free(e);
}

static void tokenizer_of_another_model(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_examples *e = NULL;
    stlora_row_kind kind;
    const char *path = rows_file("{\"text\":\"ac\"}\n{\"prompt\":\"a\",\"text\":\"cd\"}\n");
    stlora_example_options o = usual();
    o.vocab_size = D;
    assert_int_equal(stlora_examples_read(&e, &path, 1, &o, &kind, &err), STLORA_E_FORMAT);
    expect_sentence(&err, path,
                    " line 2: token 2 of the row has the id 5, but the model's ids end at 4: "
                    "tokenizer.json is not this "
                    "model's");
}

static stlora_row row_of(const char *prompt, const char *completion)
{
    return (stlora_row){.kind = prompt ? STLORA_ROW_PROMPT_COMPLETION : STLORA_ROW_TEXT,
                        .file = "f",
                        .line = 1,
                        .where = "f line 1",
                        .has_prompt = prompt != NULL,
                        .prompt = prompt ? prompt : "",
                        .completion = completion,
                        .prompt_length = prompt ? strlen(prompt) : 0,
                        .completion_length = strlen(completion)};
}

static void one_row_for_scoring(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_ids ids = {0};
    stlora_encoder *encoder;
    assert_ok(stlora_encoder_create(&encoder, tokenizer, &err));
    size_t prompt = 99;
    bool prefix = false;
    stlora_row row = row_of("ca", "d");
    assert_ok(stlora_encode_row(encoder, NULL, &row, &ids, &prompt, &prefix, &err));
    assert_int_equal(ids.count, 4);
    assert_memory_equal(ids.data, LIST(BOS, C, A, D), 4 * sizeof(int32_t));
    assert_int_equal(prompt, 3);
    assert_true(prefix);
    row = row_of("ca", "b");
    assert_ok(stlora_encode_row(encoder, NULL, &row, &ids, &prompt, &prefix, &err));
    assert_int_equal(ids.count, 3); /* emptied first */
    assert_memory_equal(ids.data, LIST(BOS, C, AB), 3 * sizeof(int32_t));
    assert_int_equal(prompt, 3);
    assert_false(prefix);
    row = row_of("dcb", "a");
    assert_ok(stlora_encode_row(encoder, NULL, &row, &ids, &prompt, &prefix, &err));
    assert_int_equal(ids.count, 2);
    assert_int_equal(ids.data[1], DCBA);
    assert_int_equal(prompt, 4); /* more than there are */
    assert_false(prefix);
    row = row_of(NULL, "c");
    assert_ok(stlora_encode_row(encoder, NULL, &row, &ids, &prompt, &prefix, &err));
    assert_int_equal(ids.count, 2);
    assert_int_equal(prompt, 0);
    assert_true(prefix);
    const int64_t given[] = {9, 8};
    row = (stlora_row){.kind = STLORA_ROW_INPUT_IDS,
                       .prompt = "",
                       .completion = "",
                       .input_ids = given,
                       .id_count = 2};
    assert_ok(stlora_encode_row(NULL, NULL, &row, &ids, &prompt, &prefix, &err));
    assert_int_equal(ids.count, 2);
    assert_memory_equal(ids.data, LIST(9, 8), 2 * sizeof(int32_t));
    row = row_of("ca", "d\xFF");
    assert_int_equal(stlora_encode_row(encoder, NULL, &row, &ids, &prompt, &prefix, &err),
                     STLORA_E_FORMAT);
    assert_memory_equal(err.text, "f line 1: ", 10);
    stlora_ids_free(&ids);
    stlora_encoder_free(encoder);
}

/* The golden rows, of two kinds, as one kind: a text is the completion of an empty prompt (whose only id is <s>). */
static const char *golden_rows_of_one_kind(void)
{
    static const char text[] = "{\"text\": ", completion[] = "{\"prompt\": \"\", \"completion\": ";
    FILE *from = fopen(shared_path("golden/real/stories260K-grimm/rows.jsonl"), "rb");
    FILE *to = fopen(data_path("rows.jsonl"), "wb");
    char line[4096];
    assert_non_null(from);
    assert_non_null(to);
    while (fgets(line, sizeof line, from)) {
        bool is_text = !strncmp(line, text, sizeof text - 1);
        if (is_text) (void)fputs(completion, to);
        (void)fputs(is_text ? line + sizeof text - 1 : line, to);
    }
    assert_int_equal(fclose(from), 0);
    assert_int_equal(fclose(to), 0);
    return data_path("rows.jsonl");
}

static void real_run_has_the_same_supervised_tokens(void **state)
{
    (void)state;
    enum { BATCH = 4, STEPS = 24 };
    stlora_error err = {0};
    stlora_tokenizer *real = NULL;
    stlora_examples *e = NULL;
    stlora_sampler *sampler = NULL;
    stlora_row_kind kind;
    assert_ok(stlora_tokenizer_load(&real, shared_path("data/models/stories260K"), &err));
    const char *path = golden_rows_of_one_kind();
    const stlora_example_options o = {
        .tokenizer = real, .eos = 2, .max_length = 512, .vocab_size = 512, .completion_only = -1};
    assert_ok(stlora_examples_read(&e, &path, 1, &o, &kind, &err));
    assert_int_equal(stlora_examples_counts(e)->prompt_no_prefix, 0);
    assert_int_equal(stlora_examples_count(e), 32);
    const stlora_sampler_options order = {.count = 32, .batch_size = BATCH, .wrap = true};
    assert_ok(stlora_sampler_create(&sampler, &order, &err));

    json_t *train =
        json_load_file(shared_path("golden/real/stories260K-grimm/train.json"), 0, NULL);
    json_t *wanted = json_object_get(json_object_get(train, "stable_lora"), "supervised");
    assert_int_equal(json_array_size(wanted), STEPS);
    for (int64_t t = 0; t < STEPS; t++) {
        uint32_t chosen[BATCH];
        size_t count;
        double epoch;
        int64_t supervised = 0;
        stlora_sampler_batch(sampler, t, chosen, &count, &epoch);
        for (size_t k = 0; k < count; k++)
            supervised += stlora_examples_at(e, chosen[k]).supervised;
        assert_int_equal(supervised, json_integer_value(json_array_get(wanted, (size_t)t)));
    }
    json_decref(train);

    /* The ids of its first rows, to which nothing is appended there. */
    json_t *score =
        json_load_file(shared_path("golden/real/stories260K-grimm/score.json"), 0, NULL);
    assert_int_equal(json_array_size(score), 8);
    for (size_t i = 0; i < 8; i++) {
        json_t *ids = json_object_get(json_array_get(score, i), "ids");
        const stlora_example example = stlora_examples_at(e, i);
        assert_int_equal(example.length, json_array_size(ids) + 1);
        for (size_t t = 0; t < json_array_size(ids); t++)
            assert_int_equal(example.ids[t], json_integer_value(json_array_get(ids, t)));
        assert_int_equal(example.ids[example.length - 1], 2);
    }
    json_decref(score);
    stlora_sampler_free(sampler);
    stlora_examples_free(e);
    stlora_tokenizer_free(real);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_supervised_from_the_second_token_on),
        cmocka_unit_test(only_the_completion_is_supervised),
        cmocka_unit_test(no_end_token_where_there_is_none),
        cmocka_unit_test(prompt_that_is_no_prefix),
        cmocka_unit_test(long_rows_are_cut_at_the_end_and_counted),
        cmocka_unit_test(encoded_rows_are_taken_as_they_are),
        cmocka_unit_test(rows_are_numbered_over_all_files),
        cmocka_unit_test(many_examples),
        cmocka_unit_test(tokenizer_of_another_model),
        cmocka_unit_test(one_row_for_scoring),
        cmocka_unit_test(real_run_has_the_same_supervised_tokens),
    };
    return cmocka_run_group_tests(tests, load_tokenizer, free_tokenizer);
}
