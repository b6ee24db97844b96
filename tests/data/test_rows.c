/* test_rows.c: every shape of row, in JSON lines and in one array, as prompt and completion. */
#include "data/rows.h"

#include <pthread.h>

#include "data/data_support.h"

enum { MOST_ROWS = 8, MOST_IDS = 8, MOST_TEXT = 1200 };

/* A row that outlives its callback. */
typedef struct kept_row {
    stlora_row row;
    char prompt[MOST_TEXT], completion[MOST_TEXT], where[512], choices[MOST_IDS][32];
    int64_t ids[MOST_IDS], labels[MOST_IDS];
} kept_row;

typedef struct kept_rows {
    kept_row rows[MOST_ROWS];
    size_t count, keep; /* of all rows only the first `keep` are kept */
    stlora_row_kind kind;
} kept_rows;

static kept_rows kept;

static stlora_status keep_row(void *context, const stlora_row *row, stlora_error *err)
{
    kept_rows *all = context;
    (void)err;
    if (all->count++ >= all->keep) return STLORA_OK;
    kept_row *k = &all->rows[all->count - 1];
    k->row = *row;
    assert_true(row->prompt_length < MOST_TEXT && row->completion_length < MOST_TEXT &&
                row->id_count <= MOST_IDS);
    assert_int_equal(row->prompt[row->prompt_length], '\0');
    memcpy(k->prompt, row->prompt, row->prompt_length + 1);
    memcpy(k->completion, row->completion, row->completion_length + 1);
    (void)snprintf(k->where, sizeof k->where, "%s", row->where);
    for (size_t i = 0; i < row->id_count; i++) {
        k->ids[i] = row->input_ids[i];
        if (row->labels) k->labels[i] = row->labels[i];
    }
    for (size_t i = 0; i < row->choice_count; i++) {
        assert_int_equal(strlen(row->choices[i]), row->choice_lengths[i]);
        (void)snprintf(k->choices[i], sizeof k->choices[i], "%s", row->choices[i]);
    }
    return STLORA_OK;
}

static void read_all(const char *path)
{
    stlora_error err = {0};
    bool known = false;
    kept = (kept_rows){.keep = MOST_ROWS};
    assert_ok(stlora_rows_read(path, &known, &kept.kind, keep_row, &kept, &err));
    assert_true(known);
}

static void expect_row(size_t i, stlora_row_kind kind, int64_t line, const char *prompt,
                       const char *completion)
{
    assert_true(i < kept.count);
    const kept_row *k = &kept.rows[i];
    assert_int_equal(k->row.kind, kind);
    assert_int_equal(k->row.line, line);
    assert_int_equal(k->row.has_prompt, prompt != NULL);
    assert_string_equal(k->prompt, prompt ? prompt : "");
    assert_string_equal(k->completion, completion);
}

static void text_rows(void **state)
{
    (void)state;
    const char *path = rows_file("{\"text\":\"one\"}\n{\"text\":\"\",\"id\":3}\n");
    read_all(path);
    assert_int_equal(kept.count, 2);
    assert_int_equal(kept.kind, STLORA_ROW_TEXT);
    expect_row(0, STLORA_ROW_TEXT, 1, NULL, "one");
    expect_row(1, STLORA_ROW_TEXT, 2, NULL, "");
    char where[600];
    (void)snprintf(where, sizeof where, "%s line 2", path);
    assert_string_equal(kept.rows[1].where, where);
    assert_string_equal(stlora_row_kind_name(kept.kind), "text");
}

static void prompt_completion_rows(void **state)
{
    (void)state;
    read_all(rows_file("{\"completion\":\" b\\nc\",\"prompt\":\"a\"}\n"));
    expect_row(0, STLORA_ROW_PROMPT_COMPLETION, 1, "a", " b\nc");
}

static void instruction_rows_have_alpacas_wording(void **state)
{
    (void)state;
    static const char without[] = "Below is an instruction that describes a task. Write a response "
                                  "that appropriately completes the "
                                  "request.\n\n### Instruction:\nSay A.\n\n### Response:\n";
    read_all(rows_file("{\"instruction\":\"Say A.\",\"output\":\"A\"}\n"
                       "{\"instruction\":\"Say A.\",\"input\":\"\",\"output\":\"A\"}\n"
                       "{\"instruction\":\"Say A.\",\"input\":null,\"output\":\"A\"}\n"
                       "{\"instruction\":\"Say it.\",\"input\":\"B\\n\",\"output\":\"B\"}\n"
                       "{\"instruction\":\"\",\"input\":\"\",\"output\":\"\"}\n"));
    assert_int_equal(kept.count, 5);
    for (size_t i = 0; i < 3; i++)
        expect_row(i, STLORA_ROW_INSTRUCTION, (int64_t)i + 1, without, "A");
    expect_row(3, STLORA_ROW_INSTRUCTION, 4,
               "Below is an instruction that describes a task, paired with an input that provides "
               "further context. "
               "Write a response that appropriately completes the request.\n\n### "
               "Instruction:\nSay it.\n\n"
               "### Input:\nB\n\n\n### Response:\n",
               "B");
    expect_row(4, STLORA_ROW_INSTRUCTION, 5,
               "Below is an instruction that describes a task. Write a response that appropriately "
               "completes the "
               "request.\n\n### Instruction:\n\n\n### Response:\n",
               "");
}

static void question_answer_rows(void **state)
{
    (void)state;
    read_all(rows_file("{\"question\":\"1+1?\",\"answer\":\"2\"}\n"
                       "{\"question\":\"1+2?\\n\",\"answer\":\"3\"}\n"
                       "{\"question\":\"\",\"answer\":\"4\"}\n"));
    expect_row(0, STLORA_ROW_QUESTION_ANSWER, 1, "1+1?\n", "2");
    expect_row(1, STLORA_ROW_QUESTION_ANSWER, 2, "1+2?\n", "3");
    expect_row(2, STLORA_ROW_QUESTION_ANSWER, 3, "\n", "4");
}

static void input_ids_rows(void **state)
{
    (void)state;
    read_all(rows_file("{\"input_ids\":[1,2147483647,0]}\n"
                       "{\"input_ids\":[5,6],\"labels\":[-100,7]}\n"
                       "{\"input_ids\":[]}\n{\"input_ids\":[4],\"labels\":null}"));
    assert_int_equal(kept.count, 4);
    expect_row(0, STLORA_ROW_INPUT_IDS, 1, NULL, "");
    assert_int_equal(kept.rows[0].row.id_count, 3);
    assert_int_equal(kept.rows[0].ids[1], 2147483647);
    assert_null(kept.rows[0].row.labels);
    assert_non_null(kept.rows[1].row.labels);
    assert_int_equal(kept.rows[1].labels[0], -100);
    assert_int_equal(kept.rows[1].labels[1], 7);
    assert_int_equal(kept.rows[2].row.id_count, 0);
    assert_null(kept.rows[3].row.labels);
}

static void choice_rows(void **state)
{
    (void)state;
    read_all(
        rows_file("{\"prompt\":\"Sky?\",\"choices\":[\" blue\",\"\",\" red\"],\"label\":2}\n"));
    expect_row(0, STLORA_ROW_CHOICE, 1, "Sky?", "");
    assert_int_equal(kept.rows[0].row.choice_count, 3);
    assert_int_equal(kept.rows[0].row.answer, 2);
    assert_string_equal(kept.rows[0].choices[0], " blue");
    assert_string_equal(kept.rows[0].choices[1], "");
    assert_string_equal(kept.rows[0].choices[2], " red");
}

/* The order of rows.h: each row has the keys of the kind wanted and of all kinds after it. */
static void most_specific_kind_first(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        stlora_row_kind kind;
    } order[] = {
        {"\"input_ids\":[1]", STLORA_ROW_INPUT_IDS},
        {"\"prompt\":\"p\",\"choices\":[\"c\"],\"label\":0", STLORA_ROW_CHOICE},
        {"\"prompt\":\"p\",\"completion\":\"c\"", STLORA_ROW_PROMPT_COMPLETION},
        {"\"instruction\":\"i\",\"output\":\"o\"", STLORA_ROW_INSTRUCTION},
        {"\"question\":\"q\",\"answer\":\"a\"", STLORA_ROW_QUESTION_ANSWER},
        {"\"text\":\"t\"", STLORA_ROW_TEXT},
    };
    enum { KINDS = sizeof order / sizeof order[0] };
    for (size_t first = 0; first < KINDS; first++) {
        char row[512] = "{\"unknown\":{\"a\":[null]}";
        for (size_t i = KINDS; i-- > first;) {
            if (i == 2 && first < 2)
                continue; /* "prompt" is there already, and twice is an error */
            (void)strcat(strcat(row, ","), order[i].keys);
        }
        (void)strcat(row, "}\n");
        read_all(rows_file(row));
        assert_int_equal(kept.kind, order[first].kind);
    }
    /* Parts of a kind make no kind. */
    read_all(rows_file(
        "{\"prompt\":\"p\",\"instruction\":1,\"answer\":\"a\",\"text\":\"t\",\"choices\":0}"));
    expect_row(0, STLORA_ROW_TEXT, 1, NULL, "t");
}

static void line_ends_blanks_and_byte_order_mark(void **state)
{
    (void)state;
    static const char *const files[] = {
        "{\"text\":\"a\"}\n{\"text\":\"b\"}\n",
        "{\"text\":\"a\"}\n{\"text\":\"b\"}",
        "{\"text\":\"a\"}\r\n{\"text\":\"b\"}\r\n",
        "\xEF\xBB\xBF{\"text\":\"a\"}\r\n  {\"text\":\t\"b\"}  \r\n\r\n \t\n",
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        read_all(rows_file(files[i]));
        assert_int_equal(kept.count, 2);
        expect_row(0, STLORA_ROW_TEXT, 1, NULL, "a");
        expect_row(1, STLORA_ROW_TEXT, 2, NULL, "b");
    }
    read_all(rows_file("\xEF\xBB\xBF\n\n{\"text\":\"a\"}\n\n \n{\"text\":\"b\"}\n"));
    expect_row(0, STLORA_ROW_TEXT, 3, NULL, "a");
    expect_row(1, STLORA_ROW_TEXT, 6, NULL, "b");
}

static void one_array(void **state)
{
    (void)state;
    static const char *const files[] = {
        "[{\"text\":\"a\"},{\"text\":\"b\"}]",
        "[\n  {\n    \"text\": \"a\"\n  },\n  {\"text\": \"b\"}\n]\n",
        "\xEF\xBB\xBF\r\n \r\n [{\"text\":\"a\"},\r\n{\"text\":\"b\"}]\r\n",
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *path = data_file("rows.json", files[i], strlen(files[i]));
        read_all(path);
        assert_int_equal(kept.count, 2);
        expect_row(0, STLORA_ROW_TEXT, 1, NULL, "a");
        expect_row(1, STLORA_ROW_TEXT, 2, NULL, "b");
        char where[600];
        (void)snprintf(where, sizeof where, "%s element 2", path);
        assert_string_equal(kept.rows[1].where, where);
    }
}

static void nul_and_unicode_survive(void **state)
{
    (void)state;
    read_all(
        rows_file("{\"prompt\":\"a\\u0000b\",\"completion\":\"\\u00e9\\ud83d\\ude00\\u0000\"}\n"
                  "{\"prompt\":\"\xC3\xA9\",\"completion\":\"x\"}\n"));
    assert_int_equal(kept.rows[0].row.prompt_length, 3);
    assert_memory_equal(kept.rows[0].prompt, "a\0b", 4);
    assert_int_equal(kept.rows[0].row.completion_length, 7);
    assert_memory_equal(kept.rows[0].completion, "\xC3\xA9\xF0\x9F\x98\x80\0", 8);
    assert_string_equal(kept.rows[1].prompt, "\xC3\xA9");
}

static stlora_status check_long_row(void *context, const stlora_row *row, stlora_error *err)
{
    (void)err;
    ++*(int *)context;
    if (row->line != 2) return STLORA_OK;
    assert_int_equal(row->completion_length, 5000000);
    assert_int_equal(row->completion[0], 'x');
    assert_int_equal(row->completion[4999999], 'x');
    return STLORA_OK;
}

static void a_line_of_five_million_bytes(void **state)
{
    (void)state;
    enum { LONG = 5000000 };
    static const char front[] = "{\"text\":\"a\"}\n{\"text\":\"",
                      back[] = "\"}\n{\"text\":\"b\"}\n";
    char *text = malloc(LONG + sizeof front + sizeof back);
    if (!text) abort(); /* assert_non_null would leave the compiler in doubt */
    memcpy(text, front, sizeof front - 1);
    memset(text + sizeof front - 1, 'x', LONG);
    memcpy(text + sizeof front - 1 + LONG, back, sizeof back);
    const char *path = rows_file(text);
    free(text);
    stlora_error err = {0};
    bool known = false;
    stlora_row_kind kind;
    int rows = 0;
    assert_ok(stlora_rows_read(path, &known, &kind, check_long_row, &rows, &err));
    assert_int_equal(rows, 3);
}

static void *feed_pipe(void *path)
{
    FILE *file = fopen(path, "wb");
    if (!file) return NULL;
    (void)fputs("\n[{\"text\":\"a\"},\n{\"text\":\"b\"}]", file);
    (void)fclose(file);
    return NULL;
}

static void a_pipe_is_a_file(void **state)
{
    (void)state;
    char path[512];
    pthread_t writer;
    (void)snprintf(path, sizeof path, "%s", data_path("rows.json"));
    (void)unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pthread_create(&writer, NULL, feed_pipe, path), 0);
    read_all(path);
    assert_int_equal(pthread_join(writer, NULL), 0);
    expect_row(1, STLORA_ROW_TEXT, 2, NULL, "b");
    assert_int_equal(unlink(path), 0);
}

/* The kind goes from file to file. */
static void second_file_of_the_same_kind(void **state)
{
    (void)state;
    stlora_error err = {0};
    bool known = false;
    stlora_row_kind kind;
    kept = (kept_rows){.keep = MOST_ROWS};
    const char *first = rows_file("{\"text\":\"a\"}\n");
    assert_ok(stlora_rows_read(first, &known, &kind, keep_row, &kept, &err));
    const char *second = data_file("more.jsonl", "{\"text\":\"b\"}\n", 13);
    assert_ok(stlora_rows_read(second, &known, &kind, keep_row, &kept, &err));
    assert_int_equal(kept.count, 2);
    expect_row(1, STLORA_ROW_TEXT, 1, NULL, "b");
}

static stlora_status stop_at_second(void *context, const stlora_row *row, stlora_error *err)
{
    ++*(int *)context;
    return row->line == 2 ? stlora_fail(err, STLORA_E_NONFINITE, "%s: enough", row->where)
                          : STLORA_OK;
}

static void callbacks_failure_ends_the_reading(void **state)
{
    (void)state;
    static const char *const files[] = {"{\"text\":\"a\"}\n{\"text\":\"b\"}\n{\"text\":\"c\"}\n",
                                        "[{\"text\":\"a\"},{\"text\":\"b\"},{\"text\":\"c\"}]"};
    for (size_t i = 0; i < 2; i++) {
        const char *path = rows_file(files[i]);
        stlora_error err = {0};
        bool known = false;
        stlora_row_kind kind = STLORA_ROW_MESSAGES;
        int rows = 0;
        assert_int_equal(stlora_rows_read(path, &known, &kind, stop_at_second, &rows, &err),
                         STLORA_E_NONFINITE);
        expect_sentence(&err, path, i ? " element 2: enough" : " line 2: enough");
        assert_int_equal(rows, 2);
        assert_false(known); /* out-parameters are untouched on failure */
        assert_int_equal(kind, STLORA_ROW_MESSAGES);
    }
}

static void real_alpaca_rows(void **state)
{
    (void)state;
    read_all(shared_path("data/datasets/arc_easy/train.json"));
    assert_int_equal(kept.count, 2251);
    expect_row(0, STLORA_ROW_INSTRUCTION, 1,
               "Below is an instruction that describes a task. Write a response that appropriately "
               "completes the "
               "request.\n\n### Instruction:\n"
               "Please choose the correct answer to the question: Which factor will most likely "
               "cause a person to "
               "develop a fever?\n\nAnswer1: a leg muscle relaxing after exercise Answer2: a "
               "bacterial population in "
               "the bloodstream Answer3: several viral particles on the skin Answer4: "
               "carbohydrates being digested in "
               "the stomach\n\nAnswer format: answer1/answer2/answer3/answer4"
               "\n\n### Response:\n",
               "the correct answer is answer2");
}

static void real_question_rows(void **state)
{
    (void)state;
    read_all(shared_path("data/datasets/gsm8k/train.jsonl"));
    assert_int_equal(kept.count, 7473);
    expect_row(0, STLORA_ROW_QUESTION_ANSWER, 1,
               "Natalia sold clips to 48 of her friends in April, and then she sold half as many "
               "clips in May. How many "
               "clips did Natalia sell altogether in April and May?\n",
               "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nNatalia sold 48+24 = "
               "<<48+24=72>>72 clips altogether "
               "in April and May.\n#### 72");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_rows),
        cmocka_unit_test(prompt_completion_rows),
        cmocka_unit_test(instruction_rows_have_alpacas_wording),
        cmocka_unit_test(question_answer_rows),
        cmocka_unit_test(input_ids_rows),
        cmocka_unit_test(choice_rows),
        cmocka_unit_test(most_specific_kind_first),
        cmocka_unit_test(line_ends_blanks_and_byte_order_mark),
        cmocka_unit_test(one_array),
        cmocka_unit_test(nul_and_unicode_survive),
        cmocka_unit_test(a_line_of_five_million_bytes),
        cmocka_unit_test(a_pipe_is_a_file),
        cmocka_unit_test(second_file_of_the_same_kind),
        cmocka_unit_test(callbacks_failure_ends_the_reading),
        cmocka_unit_test(real_alpaca_rows),
        cmocka_unit_test(real_question_rows),
    };
    return cmocka_run_group_tests(tests, NULL, remove_data_files);
}
