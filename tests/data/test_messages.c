/* test_messages.c: rows of messages as ids and targets: against what Transformers makes of them with real templates and tokenizers
 * (messages_reference.py makes the file), and with templates and a tokenizer of our own. */
#include "data/conversation.h"
#include "data/example.h"

#include "base/memory.h"
#include "data/data_support.h"

/* ---- as Transformers ---- */

static size_t rows_compared, ids_compared, errors_compared, refused_compared;

static uint64_t fnv(const int32_t *ids, int64_t count)
{
    uint64_t value = 0xCBF29CE484222325u;
    for (int64_t i = 0; i < count; i++)
        for (int shift = 0; shift < 32; shift += 8)
            value = (value ^ ((uint32_t)ids[i] >> shift & 0xFF)) * 0x100000001B3u;
    return value;
}

static bool in_mask(const json_t *mask, int64_t i)
{
    for (size_t k = 0; k < json_array_size(mask); k++)
        if (i >= json_integer_value(json_array_get(json_array_get(mask, k), 0)) && i < json_integer_value(json_array_get(json_array_get(mask, k), 1)))
            return true;
    return false;
}

static void expect_row(const stlora_example_options *options, const json_t *conversation, const json_t *wanted, const char *where)
{
    char *text = json_dumps(conversation, JSON_COMPACT);
    const char *path = rows_file(text), *word = json_string_value(wanted);
    stlora_examples *examples = NULL;
    stlora_row_kind kind;
    stlora_error err = {0};
    const stlora_status status = stlora_examples_read(&examples, &path, 1, options, &kind, &err);
    rows_compared++;
    if (word) {
        const bool error = strcmp(word, "error") == 0;
        if (status != (error ? STLORA_E_FORMAT : STLORA_E_UNSUPPORTED)) fail_msg("%s: %s: wanted %s, found %d %s", where, text, word, status, err.text);
        *(error ? &errors_compared : &refused_compared) += 1;
        free(text);
        return;
    }
    if (status != STLORA_OK) fail_msg("%s: %s: %s", where, text, err.text);
    char hash[32];
    const stlora_example e = stlora_examples_at(examples, 0);
    (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)fnv(e.ids, e.length));
    if (e.length != json_integer_value(json_array_get(wanted, 0)) || strcmp(hash, json_string_value(json_array_get(wanted, 1))) != 0)
        fail_msg("%s: %s: other ids", where, text);
    for (int64_t i = 1; i < e.length; i++)
        if ((stlora_example_target(&e, i) == e.ids[i]) != in_mask(json_array_get(wanted, 2), i))
            fail_msg("%s: %s: token %lld is %slearnt", where, text, (long long)i, stlora_example_target(&e, i) < 0 ? "not " : "");
    ids_compared += (size_t)e.length;
    stlora_examples_free(examples);
    free(text);
}

static void expect_template(const char *name, const json_t *tokens, const json_t *by_tokenizer, const json_t *conversations)
{
    static const char *const names[] = {"gpt2", "llama2", "llama3", "qwen2"};
    static stlora_tokenizer *tokenizers[4];
    char relative[128];
    stlora_chat *chat;
    stlora_error err = {0};
    (void)snprintf(relative, sizeof relative, "data/chat_templates/%s.jinja", name);
    assert_ok(stlora_chat_open(&chat, NULL, shared_path(relative), "2024-07-26", &err));
    const json_t *known = json_object_get(tokens, name);
    assert_ok(stlora_chat_set_token(chat, "bos_token", known ? json_string_value(json_object_get(known, "bos_token")) : "<s>", &err));
    assert_ok(stlora_chat_set_token(chat, "eos_token", known ? json_string_value(json_object_get(known, "eos_token")) : "</s>", &err));
    for (size_t t = 0; t < 4; t++) {
        const json_t *rows = json_object_get(by_tokenizer, names[t]);
        char where[256];
        (void)snprintf(relative, sizeof relative, "data/tokenizers/%s", names[t]);
        (void)snprintf(where, sizeof where, "%s, %s", name, names[t]);
        if (!tokenizers[t]) assert_ok(stlora_tokenizer_load(&tokenizers[t], shared_path(relative), &err));
        const stlora_example_options options = {.tokenizer = tokenizers[t], .chat = chat, .eos = 1, .completion_only = -1};
        for (size_t i = 0; i < json_array_size(rows); i++)
            expect_row(&options, json_array_get(conversations, i), json_array_get(rows, i), where);
    }
    stlora_chat_free(chat);
    if (strcmp(name, "zephyr") == 0) /* the last one */
        for (size_t t = 0; t < 4; t++)
            stlora_tokenizer_free(tokenizers[t]);
}

static void as_transformers(void **state)
{
    (void)state;
    (void)shared_path("data/chat_templates");
    json_t *root = json_load_file(STLORA_SOURCE "/tests/data/messages_reference.json", 0, NULL);
    json_t *tokens = json_load_file(shared_path("data/chat_templates/tokens.json"), 0, NULL), *by_tokenizer;
    const char *name;
    size_t templates = 0;
    json_object_foreach(json_object_get(root, "rows"), name, by_tokenizer)
    {
        expect_template(name, tokens, by_tokenizer, json_object_get(root, "conversations"));
        templates++;
    }
    print_message("%zu templates, %zu rows, of which %zu raise and %zu are refused, %zu ids\n", templates, rows_compared, errors_compared,
                  refused_compared, ids_compared);
    assert_true(ids_compared > 100000);
    json_decref(tokens);
    json_decref(root);
}

/* ---- a tokenizer and templates of our own ---- */

/* Letters, two that merge, <s> in front of what is encoded as text. */
static const char TOKENIZER[] =
    "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true},{\"id\":1,\"content\":\"</s>\",\"special\":true}],"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[0],\"tokens\":[\"<s>\"]}}},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"<s>\":0,\"</s>\":1,\"a\":2,\"b\":3,\"c\":4,\"d\":5,\"ab\":6,\"u\":7,\"s\":8},\"merges\":[\"a b\"]}}";
enum { BOS, EOS, A, B, C, D, AB, U, S };

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

/* The first letter of the role, the content, </s>; blocks around answers. */
#define MARKED                                                                                                                             \
    "<s>{% for m in messages %}{{ m.role[0] }}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>{% endgeneration %}{% else %}" \
    "{{ m.content }}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}a{% endif %}"
/* The same without blocks. */
#define PLAIN "<s>{% for m in messages %}{{ m.role[0] }}{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}a{% endif %}"

static stlora_chat *chat_of(const char *text)
{
    stlora_chat *chat;
    stlora_error err = {0};
    assert_ok(stlora_chat_open(&chat, NULL, data_file("more.jsonl", text, strlen(text)), NULL, &err));
    return chat;
}

static stlora_status read_with(const char *chat_template, const char *rows, int completion_only, int64_t max_length, stlora_examples **out,
                               stlora_error *err)
{
    stlora_chat *chat = chat_of(chat_template);
    stlora_row_kind kind;
    const char *path = rows_file(rows);
    const stlora_example_options options = {
        .tokenizer = tokenizer, .chat = chat, .eos = EOS, .max_length = max_length, .vocab_size = S + 1, .completion_only = completion_only};
    *out = NULL;
    const stlora_status status = stlora_examples_read(out, &path, 1, &options, &kind, err);
    if (status == STLORA_OK) assert_int_equal(kind, STLORA_ROW_MESSAGES);
    stlora_chat_free(chat);
    return status;
}

/* The first row's ids and targets, both ended by -2. */
static void expect_learnt(const char *chat_template, const char *rows, int completion_only, const int32_t *ids, const int32_t *targets)
{
    stlora_examples *examples;
    stlora_error err = {0};
    assert_ok(read_with(chat_template, rows, completion_only, 0, &examples, &err));
    const stlora_example e = stlora_examples_at(examples, 0);
    int64_t length = 0;
    for (; ids[length] != -2; length++) {
        assert_true(length < e.length);
        if (e.ids[length] != ids[length] || stlora_example_target(&e, length) != targets[length])
            fail_msg("%s: token %lld is %d with target %d, wanted %d with %d", rows, (long long)length, e.ids[length],
                     stlora_example_target(&e, length), ids[length], targets[length]);
    }
    assert_int_equal(e.length, length);
    stlora_examples_free(examples);
}

static void expect_refused(const char *chat_template, const char *rows, stlora_status status, const char *words)
{
    stlora_examples *examples;
    stlora_error err = {0};
    assert_int_equal(read_with(chat_template, rows, -1, 0, &examples, &err), status);
    if (!strstr(err.text, words)) fail_msg("%s: '%s', wanted '%s'", rows, err.text, words);
    assert_null(examples);
}

#define LIST(...) ((const int32_t[]){__VA_ARGS__, -2})
#define TURN(role, content) "{\"role\":\"" role "\",\"content\":\"" content "\"}"
#define TALK TURN("user", "c") "," TURN("assistant", "d") "," TURN("user", "d") "," TURN("assistant", "cc")

static void answers_are_learnt_with_their_end(void **state)
{
    (void)state;
    static const char row[] = "{\"messages\":[" TALK "]}";
    /* Neither is <s> put in front a second time nor </s> behind. */
    const int32_t *ids = LIST(BOS, U, C, EOS, A, D, EOS, U, D, EOS, A, C, C, EOS);
    const int32_t *targets = LIST(-1, -1, -1, -1, -1, D, EOS, -1, -1, -1, -1, C, C, EOS);
    expect_learnt(MARKED, row, -1, ids, targets);
    expect_learnt(PLAIN, row, 1, ids, targets);
    expect_learnt(PLAIN, row, 0, ids, LIST(-1, U, C, EOS, A, D, EOS, U, D, EOS, A, C, C, EOS));
    /* What is no answer behind the last one. */
    expect_learnt(PLAIN, "{\"messages\":[" TURN("user", "c") "," TURN("assistant", "d") "," TURN("user", "d") "]}", -1,
                  LIST(BOS, U, C, EOS, A, D, EOS, U, D, EOS), LIST(-1, -1, -1, -1, -1, D, EOS, -1, -1, -1));
    /* Every token may be asked for where nobody answers. */
    expect_learnt(MARKED, "{\"messages\":[" TURN("user", "c") "]}", 0, LIST(BOS, U, C, EOS), LIST(-1, U, C, EOS));
}

static void a_token_across_a_border_is_learnt(void **state)
{
    (void)state;
    static const char row[] = "{\"messages\":[" TURN("user", "c") "," TURN("assistant", "bd") "]}";
    const int32_t *ids = LIST(BOS, U, C, EOS, AB, D, EOS), *targets = LIST(-1, -1, -1, -1, AB, D, EOS);
    expect_learnt(MARKED, row, -1, ids, targets);
    expect_learnt(PLAIN, row, -1, ids, targets);
    /* And at the end of an answer: its a and the b behind it. */
    expect_learnt("{% for m in messages %}{{ m.role[0] }}{% generation %}{{ m.content }}{% endgeneration %}b{% endfor %}",
                  "{\"messages\":[" TURN("assistant", "da") "]}", -1, LIST(A, D, AB), LIST(-1, D, AB));
}

static void sharegpt_and_what_templates_read(void **state)
{
    (void)state;
    const int32_t *ids = LIST(BOS, S, D, EOS, U, C, EOS, A, D, EOS), *targets = LIST(-1, -1, -1, -1, -1, -1, -1, -1, D, EOS);
    expect_learnt(PLAIN, "{\"conversations\":[{\"from\":\"system\",\"value\":\"d\"},{\"from\":\"human\",\"value\":\"c\"},{\"from\":\"gpt\",\"value\":\"d\"}]}", -1,
                  ids, targets);
    expect_learnt(PLAIN, "{\"conversations\":[" TURN("system", "d") "," TURN("user", "c") "," TURN("assistant", "d") "]}", -1, ids, targets);
    expect_learnt("{{ tools[0].name }}{{ extra }}{% for m in messages %}{{ m.role[0] }}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
                  "{\"messages\":[" TURN("assistant", "d") "],\"tools\":[{\"name\":\"c\"}],\"chat_template_kwargs\":{\"extra\":\"u\"},\"other\":1}", -1, LIST(C, U, A, D),
                  LIST(-1, -1, -1, D));
    /* A list of parts goes to the template as it is; so does an answer that is a call. */
    expect_learnt("{% for m in messages %}{{ m.role[0] }}{% generation %}{{ m.content[0].text if m.content else m.tool_calls[0] }}{% endgeneration %}{% endfor %}",
                  "{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"d\"}]},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[\"c\"]}]}",
                  -1, LIST(A, D, A, C), LIST(-1, D, -1, C));
}

static void rows_are_cut_and_dropped(void **state)
{
    (void)state;
    stlora_examples *examples;
    stlora_error err = {0};
    static const char rows[] = "{\"messages\":[" TURN("user", "cccc") "," TURN("assistant", "d") "]}\n{\"messages\":[" TURN("user", "c") "," TURN("assistant", "ddd") "]}\n";
    assert_ok(read_with(MARKED, rows, -1, 6, &examples, &err));
    const stlora_example_counts *counts = stlora_examples_counts(examples);
    assert_int_equal(counts->rows, 2);
    assert_int_equal(counts->cut, 2);
    assert_int_equal(counts->dropped, 1);
    assert_int_equal(counts->supervised, 1); /* the d that is left of the second answer */
    stlora_examples_free(examples);
    expect_refused("{% for m in messages %}{{ m.content }}{% generation %}{% endgeneration %}{% endfor %}", rows, STLORA_E_FORMAT,
                   "none of the 2 rows has a supervised token");
}

/* One template and its tokens serve all threads. */
static void any_number_of_threads_makes_the_same(void **state)
{
    (void)state;
    enum { ROWS = 300 };
    static const int threads[] = {1, 2, 5};
    static char rows[ROWS * 256];
    size_t used = 0;
    for (int i = 0; i < ROWS; i++)
        used += (size_t)snprintf(rows + used, sizeof rows - used, "%c{\"messages\":[" TALK "," TURN("user", "%.*s") "," TURN("assistant", "%.*s") "]}",
                                 i ? ',' : '[', i % 7, "abcdabcd", i % 5, "cdabcd");
    rows[used++] = ']';
    stlora_chat *chat = chat_of("{{ bos_token }}" PLAIN);
    stlora_error err = {0};
    assert_ok(stlora_chat_set_token(chat, "bos_token", "<s>", &err));
    const char *path = data_file("rows.json", rows, used);
    stlora_examples *made[3];
    for (size_t t = 0; t < 3; t++) {
        stlora_team *team;
        stlora_row_kind kind;
        assert_ok(stlora_team_create(&team, threads[t], &err));
        const stlora_example_options options = {.tokenizer = tokenizer, .chat = chat, .eos = EOS, .completion_only = -1, .team = team};
        assert_ok(stlora_examples_read(&made[t], &path, 1, &options, &kind, &err));
        stlora_team_free(team);
        assert_int_equal(stlora_examples_count(made[t]), ROWS);
        for (size_t i = 0; i < ROWS; i++) {
            const stlora_example a = stlora_examples_at(made[0], i), b = stlora_examples_at(made[t], i);
            assert_int_equal(a.length, b.length);
            assert_int_equal(a.row, b.row);
            assert_memory_equal(a.ids, b.ids, (size_t)a.length * sizeof *a.ids);
            for (int64_t k = 0; k < a.length; k++)
                assert_int_equal(stlora_example_target(&a, k), stlora_example_target(&b, k));
        }
    }
    for (size_t t = 0; t < 3; t++)
        stlora_examples_free(made[t]);
    stlora_chat_free(chat);
}

static void what_cannot_be_learnt_from(void **state)
{
    (void)state;
    static const char good[] = "{\"messages\":[" TALK "]}\n";
    char rows[1024];
    /* The end of the text differs when more follows. */
    expect_refused("{% for m in messages %}{{ m.role[0] }}{{ m.content }}{% endfor %}{% if add_generation_prompt %}a{% else %}</s>{% endif %}", good,
                   STLORA_E_UNSUPPORTED, "rows.jsonl line 1: ");
    expect_refused("{% for m in messages %}{{ m.role[0] }}{{ m.content }}{% endfor %}{% if add_generation_prompt %}a{% else %}</s>{% endif %}", good,
                   STLORA_E_UNSUPPORTED, "it writes 2 messages in another way when more follow");
    expect_refused("{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}u{% endif %}", good, STLORA_E_UNSUPPORTED,
                   "it writes 1 message and the generation prompt in another way when more follow");
    (void)snprintf(rows, sizeof rows, "%s{\"messages\":[%s]}\n", good, TURN("user", "c"));
    expect_refused(MARKED, rows, STLORA_E_FORMAT, "rows.jsonl line 2: no message has the role \"assistant\"");
    (void)snprintf(rows, sizeof rows, "%s{\"messages\":[%s,%s]}\n", good, TURN("user", "c"), TURN("alien", "c"));
    expect_refused("{% for m in messages %}{{ raise_exception('unknown role ' ~ m.role) if m.role == 'alien' }}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
                   rows, STLORA_E_FORMAT, "rows.jsonl line 2: ");
    expect_refused("{% for m in messages %}{{ raise_exception('unknown role ' ~ m.role) if m.role == 'alien' }}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
                   rows, STLORA_E_FORMAT, "the template refuses: unknown role alien");
    expect_refused("{{ 1 // 0 }}", good, STLORA_E_FORMAT, "rows.jsonl line 1: ");
}

static void without_a_template(void **state)
{
    (void)state;
    stlora_chat *chat;
    stlora_examples *examples = NULL;
    stlora_row_kind kind;
    stlora_error err = {0};
    assert_ok(stlora_chat_open(&chat, data_dir(), NULL, NULL, &err)); /* nothing is wrong until a row wants it */
    stlora_example_options options = {.tokenizer = tokenizer, .chat = chat, .eos = EOS, .completion_only = -1};
    const char *path = rows_file("{\"messages\":[" TALK "]}\n");
    assert_int_equal(stlora_examples_read(&examples, &path, 1, &options, &kind, &err), STLORA_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "rows.jsonl line 1: "));
    assert_non_null(strstr(err.text, "has no chat template"));
    assert_non_null(strstr(err.text, "--chat-template"));
    options.chat = NULL;
    assert_int_equal(stlora_examples_read(&examples, &path, 1, &options, &kind, &err), STLORA_E_UNSUPPORTED);
    options.tokenizer = NULL;
    assert_int_equal(stlora_examples_read(&examples, &path, 1, &options, &kind, &err), STLORA_E_FORMAT);
    assert_non_null(strstr(err.text, "line 1: a {messages} row needs the model's tokenizer.json"));
    stlora_chat_free(chat);
    assert_int_equal(stlora_chat_open(&chat, data_dir(), "nope", NULL, &err), STLORA_E_USAGE);
}

/* Each byte of a valid file replaced by some that matter: taken or refused, nothing else. */
static void every_byte_replaced(void **state)
{
    (void)state;
    static const char valid[] = "{\"messages\":[" TURN("user", "c") ",{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"\\u00e9d\"}]}],\"tools\":[]}\n"
                                "{\"conversations\":[{\"from\":\"human\",\"value\":\"c\"},{\"from\":\"gpt\",\"value\":\"d\"}]}\n";
    static const char bytes[] = "\0\"\\[]{},:0\n\xC3\xFF";
    for (size_t i = 0; i < sizeof valid - 1; i++) {
        for (size_t b = i % 3; b < sizeof bytes; b += 3) {
            char changed[sizeof valid];
            stlora_examples *examples;
            stlora_error err = {0};
            memcpy(changed, valid, sizeof valid);
            if (b == sizeof bytes - 1)
                changed[i] = '\0'; /* and cut there */
            else
                changed[i] = bytes[b] ? bytes[b] : ' ';
            const stlora_status status = read_with(i % 2 ? MARKED : PLAIN, changed, -1, 0, &examples, &err);
            if (status != STLORA_OK && (examples || !err.text[0])) fail_msg("%s: no sentence", changed);
            stlora_examples_free(examples);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_transformers),
        cmocka_unit_test(answers_are_learnt_with_their_end),
        cmocka_unit_test(a_token_across_a_border_is_learnt),
        cmocka_unit_test(sharegpt_and_what_templates_read),
        cmocka_unit_test(rows_are_cut_and_dropped),
        cmocka_unit_test(any_number_of_threads_makes_the_same),
        cmocka_unit_test(what_cannot_be_learnt_from),
        cmocka_unit_test(without_a_template),
        cmocka_unit_test(every_byte_replaced),
    };
    return cmocka_run_group_tests(tests, load_tokenizer, free_tokenizer);
}
