/* test_data_bad.c: whatever is wrong with a file of rows gets its status and one sentence with the file, the line and what was
 * found, and never a crash, a leak or an example. */
#include "data/example.h"

#include "data/data_support.h"

static stlora_status read_examples(const char *path, stlora_error *err)
{
    stlora_examples *examples = NULL;
    stlora_row_kind kind = STLORA_ROW_MESSAGES;
    const stlora_example_options options = {.eos = 2, .vocab_size = 100, .completion_only = -1};
    *err = (stlora_error){0};
    stlora_status status = stlora_examples_read(&examples, &path, 1, &options, &kind, err);
    if (status == STLORA_OK) {
        assert_true(stlora_examples_count(examples) > 0);
    } else {
        assert_null(examples); /* out-parameters are untouched on failure */
        assert_int_equal(kind, STLORA_ROW_MESSAGES);
        assert_int_equal(err->status, status);
    }
    stlora_examples_free(examples);
    return status;
}

static stlora_status ignore_row(void *context, const stlora_row *row, stlora_error *err)
{
    (void)row;
    (void)err;
    if (context) ++*(size_t *)context;
    return STLORA_OK;
}

static stlora_status read_rows(const char *path, stlora_error *err)
{
    bool known = false;
    stlora_row_kind kind;
    *err = (stlora_error){0};
    return stlora_rows_read(path, &known, &kind, ignore_row, NULL, err);
}

typedef struct bad_file {
    const char *rows, *sentence; /* behind the path */
} bad_file;

static void expect_bad_rows(const bad_file *files, size_t count, stlora_status status)
{
    for (size_t i = 0; i < count; i++) {
        stlora_error err;
        const char *path = rows_file(files[i].rows);
        if (read_rows(path, &err) != status)
            fail_msg("%s: wrong status: %s", files[i].rows, err.text);
        expect_sentence(&err, path, files[i].sentence);
    }
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void wrong_types(void **state)
{
    (void)state;
    static const bad_file files[] = {
        {"{\"text\":1}", " line 1: \"text\" must be a string, found an integer"},
        {"{\"text\":null}", " line 1: \"text\" must be a string, found null"},
        {"{\"text\":[\"a\"]}", " line 1: \"text\" must be a string, found an array"},
        {"{\"text\":\"a\"}\n\n{\"text\":{\"a\":1}}",
         " line 3: \"text\" must be a string, found an object"},
        {"{\"prompt\":true,\"completion\":\"\"}",
         " line 1: \"prompt\" must be a string, found true"},
        {"{\"prompt\":\"\",\"completion\":0.5}",
         " line 1: \"completion\" must be a string, found a number with a fraction or exponent"},
        {"{\"instruction\":1,\"output\":\"\"}",
         " line 1: \"instruction\" must be a string, found an integer"},
        {"{\"instruction\":\"\",\"input\":false,\"output\":\"\"}",
         " line 1: \"input\" must be a string, found false"},
        {"{\"instruction\":\"\",\"output\":[]}",
         " line 1: \"output\" must be a string, found an array"},
        {"{\"question\":0,\"answer\":\"\"}",
         " line 1: \"question\" must be a string, found an integer"},
        {"{\"question\":\"\",\"answer\":7}",
         " line 1: \"answer\" must be a string, found an integer"},
        {"{\"input_ids\":\"1 2\"}", " line 1: \"input_ids\" must be an array, found a string"},
        {"{\"input_ids\":[1,\"2\"]}",
         " line 1: \"input_ids\"[1] must be an integer from 0 to 2147483647, found a string"},
        {"{\"input_ids\":[1.0]}",
         " line 1: \"input_ids\"[0] must be an integer from 0 to 2147483647, found a number "
         "with a fraction or exponent"},
        {"{\"input_ids\":[[1]]}",
         " line 1: \"input_ids\"[0] must be an integer from 0 to 2147483647, found an array"},
        {"{\"input_ids\":[0,-1]}",
         " line 1: \"input_ids\"[1] must be an integer from 0 to 2147483647, found -1"},
        {"{\"input_ids\":[-100]}",
         " line 1: \"input_ids\"[0] must be an integer from 0 to 2147483647, found -100"},
        {"{\"input_ids\":[2147483648]}",
         " line 1: \"input_ids\"[0] must be an integer from 0 to 2147483647, found 2147483648"},
        {"{\"input_ids\":[4294967297]}", /* would be 1 in 32 bits */
         " line 1: \"input_ids\"[0] must be an integer from 0 to 2147483647, found 4294967297"},
        {"{\"input_ids\":[1],\"labels\":\"x\"}",
         " line 1: \"labels\" must be an array, found a string"},
        {"{\"input_ids\":[1],\"labels\":[-1]}",
         " line 1: \"labels\"[0] must be an integer from 0 to 2147483647 or -100, found -1"},
        {"{\"input_ids\":[1],\"labels\":[null]}",
         " line 1: \"labels\"[0] must be an integer from 0 to 2147483647 or -100, found null"},
        {"{\"input_ids\":[1,2],\"labels\":[1]}",
         " line 1: \"labels\" must be as many as \"input_ids\", 2, found 1"},
        {"{\"input_ids\":[],\"labels\":[1]}",
         " line 1: \"labels\" must be as many as \"input_ids\", 0, found 1"},
        {"{\"prompt\":1,\"choices\":[\"a\"],\"label\":0}",
         " line 1: \"prompt\" must be a string, found an integer"},
        {"{\"prompt\":\"\",\"choices\":\"a\",\"label\":0}",
         " line 1: \"choices\" must be an array, found a string"},
        {"{\"prompt\":\"\",\"choices\":[],\"label\":0}", " line 1: \"choices\" is empty"},
        {"{\"prompt\":\"\",\"choices\":[\"a\",1],\"label\":0}",
         " line 1: \"choices\"[1] must be a string, found an integer"},
        {"{\"prompt\":\"\",\"choices\":[\"a\"],\"label\":\"0\"}",
         " line 1: \"label\" must be an integer, found a string"},
        {"{\"prompt\":\"\",\"choices\":[\"a\"],\"label\":1}",
         " line 1: \"label\" must be the index of one of the 1 choices, from 0, found 1"},
        {"{\"prompt\":\"\",\"choices\":[\"a\"],\"label\":-1}",
         " line 1: \"label\" must be the index of one of the 1 choices, from 0, found -1"},
        {"[{\"text\":\"a\"},{\"text\":2}]",
         " element 2: \"text\" must be a string, found an integer"},
    };
    expect_bad_rows(files, COUNT(files), STLORA_E_FORMAT);
}

static void no_rows_and_no_such_rows(void **state)
{
    (void)state;
    static const bad_file files[] = {
        {"", ": holds no rows"},
        {"\n \r\n\t\n", ": holds no rows"},
        {"\xEF\xBB\xBF", ": holds no rows"},
        {"[]", ": holds no rows"},
        {" [ ] \n", ": holds no rows"},
        {"7", " line 1: a row must be an object, found an integer"},
        {"\"text\"", " line 1: a row must be an object, found a string"},
        {"{\"text\":\"a\"}\nnull\n", " line 2: a row must be an object, found null"},
        {"{\"text\":\"a\"}\n[{\"text\":\"a\"}]\n",
         " line 2: a row must be an object, found an array"},
        {"[{\"text\":\"a\"},[]]", " element 2: a row must be an object, found an array"},
        {"{}", " line 1: no kind of row has the keys {}; wanted {text}, {prompt, completion}, "
               "{instruction, output}, "
               "{question, answer}, {messages}, {input_ids} or {prompt, choices, label}"},
        {"{\"prompt\":\"a\",\"response\":\"b\"}",
         " line 1: no kind of row has the keys {prompt, response}; wanted {text}, {prompt, "
         "completion}, {instruction, "
         "output}, {question, answer}, {messages}, {input_ids} or {prompt, choices, label}"},
        {"{\"text\":\"a\"}\n{\"prompt\":\"a\",\"completion\":\"b\"}",
         " line 2: wanted a {text} row like the rows before it, found a {prompt, completion} row"},
        {"{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"text\":\"a\"}",
         " line 2: wanted a {prompt, completion} row like the rows before it, found a {text} row"},
        {"[{\"input_ids\":[1]},{\"question\":\"a\",\"answer\":\"\"}]",
         " element 2: wanted a {input_ids, labels} row like the rows before it, found a {question, "
         "answer} row"},
    };
    expect_bad_rows(files, COUNT(files), STLORA_E_FORMAT);
}

static void messages_that_are_none(void **state)
{
    (void)state;
#define USER "{\"role\":\"user\",\"content\":\"a\"}"
    static const bad_file files[] = {
        {"{\"messages\":1}", " line 1: \"messages\" must be an array, found an integer"},
        {"{\"messages\":[]}", " line 1: there are no messages"},
        {"\n{\"conversations\":[],\"text\":\"a\"}", " line 2: there are no messages"},
        {"[{\"messages\":null}]", " element 1: wanted {\"messages\": [...]} or {\"conversations\": [...]}, found neither"},
        {"{\"messages\":[" USER "]}\n{\"messages\":[" USER ",\"b\"]}", " line 2: message 2 must be an object, found a string"},
        {"{\"messages\":[{\"content\":\"a\"}]}", " line 1: message 1: \"role\" must be a string, found nothing"},
        {"{\"messages\":[{\"role\":7,\"content\":\"a\"}]}", " line 1: message 1: \"role\" must be a string, found an integer"},
        {"{\"messages\":[{\"role\":\"user\"}]}", " line 1: message 1: \"content\" must be a string or a list of parts, found nothing"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":null,\"tool_calls\":[]}]}",
         " line 1: message 1: \"content\" must be a string or a list of parts, found null"},
        {"{\"messages\":[" USER ",{\"role\":\"user\",\"content\":{\"a\":1}}]}",
         " line 1: message 2: \"content\" must be a string or a list of parts, found an object"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[\"a\"]}]}",
         " line 1: message 1: part 1 of \"content\" must be an object with a \"type\", found a string"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\"}]}]}",
         " line 1: message 1: \"text\" of part 2 must be a string, found nothing"},
        {"{\"messages\":[" USER "],\"tools\":{}}", " line 1: \"tools\" must be an array, found an object"},
        {"{\"messages\":[" USER "],\"chat_template_kwargs\":[]}", " line 1: \"chat_template_kwargs\" must be an object, found an array"},
        {"{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"alien\",\"value\":\"b\"}]}",
         " line 1: \"conversations\"[1]: \"from\" must be human, user, gpt, chatgpt, bing, bard, assistant, system or tool, found \"alien\""},
        {"{\"conversations\":[{\"from\":1,\"value\":\"a\"}]}", " line 1: \"conversations\"[0]: \"from\" must be a string, found an integer"},
        {"{\"conversations\":[7]}", " line 1: \"conversations\"[0]: \"from\" must be a string, found nothing"},
        {"{\"conversations\":[{\"from\":\"gpt\",\"value\":null}]}", " line 1: \"conversations\"[0]: \"value\" must be a string, found null"},
    };
    expect_bad_rows(files, COUNT(files), STLORA_E_FORMAT);
    static const bad_file not_text[] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}]}",
         " line 1: message 1: part 1 of \"content\" is of type \"image_url\", and only text is supported"},
    };
    expect_bad_rows(not_text, COUNT(not_text), STLORA_E_UNSUPPORTED);
#undef USER
}

/* What the parser refuses, with the line of the file (once, not also that of the parser) and the column. */
static void no_json(void **state)
{
    (void)state;
    static const bad_file files[] = {
        {"{\"text\":\"a\"}\n{\"text\":\"b\"\n", " line 2 column "},
        {"{\"text\":\"a\"}\n\n{\"text\":\"b\",}\n", " line 3 column "},
        {"{\"text\":\"a\"} {\"text\":\"b\"}\n", " line 1 column "},
        {"{\"text\":\"a\",\"text\":\"b\"}\n", " line 1 column "},
        {"{\"text\":\"a\xFF\"}\n", " line 1 column "},
        {"{\"text\":\"\xC3\"}\n", " line 1 column "},
        {"{\"text\":\"\\ud800\"}\n", " line 1 column "},
        {"{\"text\":\"a\x01\"}\n", " line 1 column "},
        {"{'text':'a'}\n", " line 1 column "},
        {"{\n\"text\":\"a\"}\n", " line 1 column "},
        {"{\"input_ids\":[99999999999999999999]}\n", " line 1 column "},
        {"{\"input_ids\":[1e999]}\n", " line 1 column "},
        {"{\"input_ids\":[NaN]}\n", " line 1 column "},
        {"{\"input_ids\":[01]}\n", " line 1 column "},
        {"text\n", " line 1 column "},
        {"\xFF\xFE{", " line 1 column "},
        {"{\"text\":\"a\"}\n\xEF\xBB\xBF{\"text\":\"b\"}",
         " line 2 column "}, /* two files glued together */
        {"\n[{\"text\":\"a\"},\n{\"text\":}]", " line 3 column "},
        {"[{\"text\":\"a\"}]\n{}", " line 2 column "},
        {"[{\"text\":\"a\"}", " line 1 column "},
    };
    for (size_t i = 0; i < COUNT(files); i++) {
        stlora_error err;
        char wanted[600];
        const char *path = rows_file(files[i].rows);
        if (read_rows(path, &err) != STLORA_E_FORMAT)
            fail_msg("%s was taken: %s", files[i].rows, err.text);
        int length = snprintf(wanted, sizeof wanted, "%s%s", path, files[i].sentence);
        if (strncmp(err.text, wanted, (size_t)length) != 0)
            fail_msg("%s: %s", files[i].rows, err.text);
    }
    /* A NUL in the middle of a file ends nothing. */
    static const char nul[] = "{\"text\":\"a\"}\n\0\n{\"text\":\"b\"}\n";
    stlora_error err;
    assert_int_equal(read_rows(data_file("rows.jsonl", nul, sizeof nul - 1), &err),
                     STLORA_E_FORMAT);
    assert_non_null(strstr(err.text, " line 2 column "));
}

static void deep_nesting(void **state)
{
    (void)state;
    enum { DEPTH = 200000 };
    static const char *const fronts[] = {"{\"text\":", "", "[{\"x\":"};
    for (size_t i = 0; i < COUNT(fronts); i++) {
        const size_t front = strlen(fronts[i]);
        char *text = malloc(front + DEPTH + 1);
        if (!text) abort();
        memcpy(text, fronts[i], front);
        memset(text + front, '[', DEPTH);
        stlora_error err;
        const char *path = data_file("rows.jsonl", text, front + DEPTH);
        free(text);
        assert_int_equal(read_rows(path, &err), STLORA_E_FORMAT);
        assert_non_null(strstr(err.text, " line 1 column "));
    }
}

/* Many and long keys: the sentence names those that it has room for and ends. */
static void keys_beyond_the_sentence(void **state)
{
    (void)state;
    char row[4096] = "{";
    size_t used = 1;
    for (int i = 0; i < 100; i++)
        used += (size_t)snprintf(row + used, sizeof row - used, "\"key%03d\":0,", i);
    (void)snprintf(row + used, sizeof row - used, "\"z\":0}");
    stlora_error err;
    assert_int_equal(read_rows(rows_file(row), &err), STLORA_E_FORMAT);
    assert_non_null(strstr(err.text, "{key000, key001, "));
    assert_non_null(strstr(err.text, ", ...}; wanted "));
    assert_null(strstr(err.text, "key099"));
    memset(row, 'k', sizeof row);
    memcpy(row, "{\"", 2);
    memcpy(row + 1000, "\":0}", 5);
    assert_int_equal(read_rows(rows_file(row), &err), STLORA_E_FORMAT);
    assert_non_null(strstr(err.text, " the keys {...}; wanted "));
}

/* Every length of the sentence's list of keys, so that its room is not passed by one. */
static void keys_of_every_length(void **state)
{
    (void)state;
    char row[1024];
    for (int first = 1; first < 270; first++) {
        (void)snprintf(row, sizeof row, "{\"%0*d\":0,\"%0*d\":0}", first, 1, 270 - first, 2);
        stlora_error err;
        assert_int_equal(read_rows(rows_file(row), &err), STLORA_E_FORMAT);
        assert_non_null(strstr(err.text, "...}; wanted "));
        (void)snprintf(row, sizeof row, "{\"%0*d\":0}", first, 1);
        assert_int_equal(read_rows(rows_file(row), &err), STLORA_E_FORMAT);
        assert_non_null(strstr(err.text, "}; wanted "));
    }
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    stlora_error err;
    char path[600];
    (void)snprintf(path, sizeof path, "%s/none/rows.jsonl", data_dir());
    assert_int_equal(read_rows(path, &err), STLORA_E_IO);
    expect_sentence(&err, path, ": cannot be opened: No such file or directory");
    assert_int_equal(read_rows(data_dir(), &err), STLORA_E_IO);
    expect_sentence(&err, data_dir(), ": is a directory, wanted a file of rows");
    assert_int_equal(read_rows("", &err), STLORA_E_IO);
    assert_int_equal(read_rows("/proc/self/mem", &err), STLORA_E_IO); /* opens, and then refuses */
    assert_memory_equal(err.text, "/proc/self/mem: cannot be ", 26);
    bool known = false;
    stlora_row_kind kind;
    assert_int_equal(stlora_rows_read(path, &known, &kind, ignore_row, NULL, NULL),
                     STLORA_E_IO); /* no sentence wanted */
}

/* A file cut anywhere: JSON lines give the rows that are whole, an array gives nothing, and nobody crashes. */
static void every_prefix(void **state)
{
    (void)state;
    static const char lines[] =
        "\xEF\xBB\xBF{\"input_ids\":[1,20,300],\"labels\":[-100,20,3]}\r\n"
        "{\"input_ids\":[1],\"x\":{\"y\":[true,null,\"\\u00e9\xC3\xA9\"]}}\n";
    static const char array[] = "[\n{\"prompt\":\"a\",\"choices\":[\"b\",\"c\"],\"label\":1},\n"
                                "{\"prompt\":\"\",\"choices\":[\"d\"],\"label\":0}\n]";
    for (size_t n = 0; n < sizeof lines; n++) {
        stlora_error err = {0};
        bool known = false;
        stlora_row_kind kind;
        size_t rows = 0, breaks = 0;
        const char *path = data_file("rows.jsonl", lines, n);
        for (size_t i = 0; i < n; i++)
            breaks += lines[i] == '\n';
        stlora_status status = stlora_rows_read(path, &known, &kind, ignore_row, &rows, &err);
        assert_true(status == STLORA_OK || status == STLORA_E_FORMAT);
        assert_true(rows >= breaks && rows <= breaks + 1);
        bool whole = n == sizeof lines - 1 || n == sizeof lines - 2 ||
                     (n > 5 && lines[n - 1] == '\n') || lines[n] == '\n' || lines[n] == '\r';
        assert_int_equal(status, whole ? STLORA_OK : STLORA_E_FORMAT);
    }
    for (size_t n = 0; n < sizeof array; n++) {
        stlora_error err;
        stlora_status status = read_rows(data_file("rows.json", array, n), &err);
        assert_int_equal(status, n == sizeof array - 1 ? STLORA_OK : STLORA_E_FORMAT);
    }
}

/* Each byte of a valid file replaced by each of some that matter: taken or refused, nothing else. */
static void every_byte_replaced(void **state)
{
    (void)state;
    static const char valid[] =
        "{\"input_ids\":[1,20],\"labels\":[-100,20]}\n[{\"question\":\"a\\n\",\"answer\":\"b\"}]";
    static const char bytes[] = "\0\"\\[]{},:-.0eE9\n \xC3\xFF";
    for (size_t i = 0; i < sizeof valid - 1; i++) {
        for (size_t b = 0; b < sizeof bytes - 1; b++) {
            char changed[sizeof valid];
            stlora_error err;
            memcpy(changed, valid, sizeof valid);
            changed[i] = bytes[b];
            char *array = strchr(valid, '\n') - valid + changed + 1;
            (void)read_examples(data_file("rows.jsonl", changed, (size_t)(array - changed)), &err);
            (void)read_examples(data_file("rows.json", array, strlen(array)), &err);
        }
    }
}

static void examples_that_cannot_be(void **state)
{
    (void)state;
    static const bad_file files[] = {
        {"{\"input_ids\":[1,99]}\n{\"input_ids\":[1,2,100]}\n",
         " line 2: \"input_ids\"[2] is 100, but the model's ids end at 99"},
        {"[{\"input_ids\":[1,2],\"labels\":[1,2147483647]}]",
         " element 1: \"labels\"[1] is 2147483647, but the model's ids end at 99"},
        {"{\"text\":\"a\"}",
         " line 1: a {text} row needs the model's tokenizer.json, and there is none"},
        {"{\"prompt\":\"\",\"choices\":[\"a\"],\"label\":0}",
         " line 1: {prompt, choices, label} rows are for eval --task choice"},
        {"{\"input_ids\":[1]}", ": none of the 1 rows has a supervised token"},
        {"{\"input_ids\":[]}\n{\"input_ids\":[1,2,3],\"labels\":[1,-100,-100]}",
         ": none of the 2 rows has a supervised token"},
    };
    for (size_t i = 0; i < COUNT(files); i++) {
        stlora_error err;
        const char *path = rows_file(files[i].rows);
        assert_int_equal(read_examples(path, &err), STLORA_E_FORMAT);
        expect_sentence(&err, path, files[i].sentence);
    }
}

static void options_that_cannot_be(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_examples *examples = NULL;
    stlora_row_kind kind;
    stlora_example_options options = {.eos = 100, .vocab_size = 100, .completion_only = -1};
    const char *paths[] = {rows_file("{\"input_ids\":[1,2,3],\"labels\":[-100,-100,3]}\n"),
                           data_file("more.jsonl", "{\"input_ids\":[4]}\n", 18)};
    assert_int_equal(stlora_examples_read(&examples, paths, 1, &options, &kind, &err),
                     STLORA_E_FORMAT);
    assert_string_equal(err.text,
                        "the end-of-sequence token is 100, but the model's ids end at 99");
    options.eos = 99;
    assert_int_equal(stlora_examples_read(&examples, paths, 0, &options, &kind, &err),
                     STLORA_E_USAGE);
    assert_string_equal(err.text, "no file of rows was given");
    options.max_length = 2;
    assert_int_equal(stlora_examples_read(&examples, paths, 2, &options, &kind, &err),
                     STLORA_E_FORMAT);
    expect_sentence(
        &err, paths[0],
        " and 1 more: none of the 2 rows has a supervised token, 1 of them cut at 2 tokens");
    /* A second file of another kind is told by its own name. */
    options.max_length = 0;
    paths[1] = data_file("more.jsonl", "{\"text\":\"a\"}\n", 13);
    assert_int_equal(stlora_examples_read(&examples, paths, 2, &options, &kind, &err),
                     STLORA_E_FORMAT);
    expect_sentence(
        &err, paths[1],
        " line 1: wanted a {input_ids, labels} row like the rows before it, found a {text} row");
    assert_null(examples);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_types),
        cmocka_unit_test(no_rows_and_no_such_rows),
        cmocka_unit_test(messages_that_are_none),
        cmocka_unit_test(no_json),
        cmocka_unit_test(deep_nesting),
        cmocka_unit_test(keys_beyond_the_sentence),
        cmocka_unit_test(keys_of_every_length),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(every_prefix),
        cmocka_unit_test(every_byte_replaced),
        cmocka_unit_test(examples_that_cannot_be),
        cmocka_unit_test(options_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, remove_data_files);
}
