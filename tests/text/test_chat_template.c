/* test_chat_template.c: where chat templates are found, what they see, and the built-in ones: against the renderings of real templates of the
 * same formats (../shared, made by Transformers), and against the formats as they are written down. */
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "support.h"
#include "text/chat_template.h"

static char folder[256];

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "%s", temporary_dir());
    return 0;
}

static const char *in_folder(const char *name)
{
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(in_folder(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static int empty_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"chat_template.jinja", "tokenizer_config.json", "special_tokens_map.json",
                                        "other.jinja"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)remove(in_folder(names[i]));
    return 0;
}

static int remove_folder(void **state)
{
    (void)empty_folder(state);
    return rmdir(folder);
}

/* Renders one message through what is found; compares the text. */
static void expect_found(const char *choice, const char *text, const char *place)
{
    stlora_error err = {0};
    stlora_chat_template *found = NULL;
    stlora_chat_text made = {0};
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "Hi");
    stlora_chat_input input = {.messages = messages};
    assert_ok(stlora_chat_template_find(&found, folder, choice, &err));
    assert_ok(stlora_chat_template_render(found, &input, &made, &err));
    assert_string_equal(made.text, text);
    assert_non_null(strstr(stlora_chat_template_place(found), place));
    stlora_chat_text_free(&made);
    stlora_chat_template_free(found);
    json_decref(messages);
}

static void expect_not_found(const char *dir, const char *choice, stlora_status status, const char *sentence)
{
    stlora_error err = {0};
    stlora_chat_template *found = NULL;
    assert_int_equal(stlora_chat_template_find(&found, dir, choice, &err), status);
    if (!strstr(err.text, sentence)) fail_msg("'%s', wanted '%s'", err.text, sentence);
    assert_null(found);
}

static void test_places(void **state)
{
    (void)state;
    expect_not_found(folder, NULL, STLORA_E_UNSUPPORTED, "has no chat template");
    expect_not_found(in_folder("nowhere"), NULL, STLORA_E_IO, "there is no such directory");
    expect_not_found(folder, "nope", STLORA_E_USAGE, "'nope' is no file");
    write_file("tokenizer_config.json", "{\"model_max_length\": 1000000000000000019884624838656, \"chat_template\": "
                                        "\"config {{ messages[0].content }}\"}");
    expect_found(NULL, "config Hi", "tokenizer_config.json: chat_template");
    expect_found("chatml", "<|im_start|>user\nHi<|im_end|>\n", "the built-in template chatml");
    expect_not_found(folder, "default", STLORA_E_USAGE, "'default' is no file");
    write_file("tokenizer_config.json", "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"rag\"}, {\"name\": "
                                        "\"default\", \"template\": \"plain\"},"
                                        "{\"name\": \"chatml\", \"template\": \"own\"}]}");
    expect_found(NULL, "plain", "tokenizer_config.json");
    expect_found("rag", "rag", "tokenizer_config.json");
    expect_found("chatml", "own", "tokenizer_config.json");
    write_file("chat_template.jinja", "file\n");
    expect_found(NULL, "file", "chat_template.jinja");
    expect_found("rag", "rag", "tokenizer_config.json");
    write_file("other.jinja", "other");
    expect_found(in_folder("other.jinja"), "other", "other.jinja");
}

static void test_broken_files(void **state)
{
    (void)state;
    write_file("tokenizer_config.json", "{\"chat_template\": 5}");
    expect_not_found(folder, NULL, STLORA_E_FORMAT, "chat_template: wanted a string or a list");
    write_file("tokenizer_config.json", "{\"chat_template\": null}");
    expect_not_found(folder, NULL, STLORA_E_UNSUPPORTED, "has no chat template");
    write_file("tokenizer_config.json", "{\"chat_template\": []}");
    expect_not_found(folder, NULL, STLORA_E_UNSUPPORTED, "has no chat template");
    write_file("tokenizer_config.json", "{");
    expect_not_found(folder, NULL, STLORA_E_FORMAT, "line 1");
    write_file("tokenizer_config.json", "{\"chat_template\": \"{% if %}\"}");
    expect_not_found(folder, NULL, STLORA_E_FORMAT, "tokenizer_config.json: chat_template: line 1, column 7");
}

static void test_special_tokens(void **state)
{
    (void)state;
    stlora_error err = {0};
    json_t *tokens = NULL,
           *want = json_pack("{s:s, s:s, s:s}", "bos_token", "<s>", "eos_token", "</s>", "pad_token", "<p>");
    assert_ok(stlora_chat_special_tokens(&tokens, folder, &err));
    assert_int_equal(json_object_size(tokens), 0);
    json_decref(tokens);
    write_file(
        "tokenizer_config.json",
        "{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\", \"lstrip\": false}, \"pad_token\": null}");
    write_file("special_tokens_map.json", "{\"bos_token\": \"<other>\", \"pad_token\": \"<p>\"}");
    assert_ok(stlora_chat_special_tokens(&tokens, folder, &err));
    assert_true(json_equal(tokens, want));
    json_decref(tokens);
    json_decref(want);
    write_file("special_tokens_map.json", "[");
    assert_int_equal(stlora_chat_special_tokens(&tokens, folder, &err), STLORA_E_FORMAT);
}

/* ---- built-in templates ---- */

static const char *const known[] = {"chatml", "llama-3", "gemma", "phi-3", "mistral", "zephyr", "alpaca"};

static void test_known_have_names(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_chat_template *found = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_ok(stlora_chat_template_find(&found, NULL, known[i], &err));
        assert_string_equal(stlora_chat_template_name(found), known[i]);
        assert_true(stlora_chat_template_marks_generation(found));
        stlora_chat_template_free(found);
    }
    assert_ok(stlora_chat_template_compile(&found, "x", "{{ 1 }}", 7, &err));
    assert_null(stlora_chat_template_name(found));
    assert_false(stlora_chat_template_marks_generation(found));
    stlora_chat_template_free(found);
}

static void test_written_otherwise_has_its_name(void **state)
{
    (void)state;
    static const char text[] = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
                               "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    stlora_error err = {0};
    stlora_chat_template *found = NULL;
    assert_ok(stlora_chat_template_compile(&found, "x", text, sizeof text - 1, &err));
    assert_string_equal(stlora_chat_template_name(found), "chatml");
    stlora_chat_template_free(found);
    assert_ok(stlora_chat_template_compile(&found, "x", text, sizeof text - 1 - 72, &err)); /* without what an answer begins with */
    assert_null(stlora_chat_template_name(found));
    stlora_chat_template_free(found);
}

/* A published template has the name of the format that it writes; the one called chatml writes blank lines between. */
static void test_published_have_names(void **state)
{
    (void)state;
    static const char *const named[][2] = {{"llama-3", "llama-3"}, {"llama-3-training", "llama-3"}, {"gemma-2", "gemma"},
                                           {"gemma-3", "gemma"}, {"phi-3.5", "phi-3"}, {"mistral-v1", "mistral"}, {"chatml", NULL},
                                           {"qwen3", NULL}, {"llama-3.2", NULL}, {"llama-2", NULL}, {"smollm3", NULL}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        char relative[128];
        stlora_error err = {0};
        stlora_chat_template *found = NULL;
        (void)snprintf(relative, sizeof relative, "data/chat_templates/%s.jinja", named[i][0]);
        assert_ok(stlora_chat_template_find(&found, NULL, shared_path(relative), &err));
        const char *name = stlora_chat_template_name(found);
        if (strcmp(name ? name : "own", named[i][1] ? named[i][1] : "own") != 0)
            fail_msg("%s is called %s", named[i][0], name ? name : "own");
        stlora_chat_template_free(found);
    }
}

static bool has_role(const json_t *messages, const char *role)
{
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(messages, i), "role")), role) == 0) return true;
    return false;
}

/* How many of a real template's conversations the built-in one writes alike; all that both know must be. */
static size_t compare_known(const char *name, const char *golden)
{
    char relative[128];
    stlora_error err = {0};
    stlora_chat_template *found = NULL;
    json_t *file = NULL;
    size_t alike = 0;
    (void)snprintf(relative, sizeof relative, "golden/chat_templates/%s.json", golden);
    assert_ok(stlora_json_load(&file, shared_path(relative), &err));
    assert_ok(stlora_chat_template_find(&found, NULL, name, &err));
    const json_t *cases = json_object_get(file, "cases");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i), *want = json_object_get(one, "text"),
                     *messages = json_object_get(one, "messages");
        stlora_chat_text made = {0};
        stlora_chat_input input = {.messages = messages,
                                   .add_generation_prompt = json_is_true(json_object_get(one, "add_generation_prompt")),
                                   .bos_token = json_string_value(json_object_get(file, "bos_token")),
                                   .eos_token = json_string_value(json_object_get(file, "eos_token"))};
        bool parts = json_is_array(json_object_get(json_array_get(messages, 0), "content"));
        if (json_is_null(want) || has_role(messages, "narrator") || parts)
            continue; // refused there; every template its own way
        assert_ok(stlora_chat_template_render(found, &input, &made, &err));
        if (strcmp(made.text, json_string_value(want)) != 0)
            fail_msg("%s case %zu: '%s', wanted '%s'", golden, i, made.text, json_string_value(want));
        stlora_chat_text_free(&made);
        alike++;
    }
    stlora_chat_template_free(found);
    json_decref(file);
    return alike;
}

static void test_known_against_real_ones(void **state)
{
    (void)state;
    assert_int_equal(compare_known("llama-3", "llama-3"), 38);
    assert_int_equal(compare_known("gemma", "gemma-2"), 20);
    assert_int_equal(compare_known("gemma", "gemma-3"), 30);
    assert_int_equal(compare_known("phi-3", "phi-3.5"), 38);
    assert_int_equal(compare_known("mistral", "mistral-v1"), 30);
}

static void test_known_as_written_down(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
    } formats[] = {{"chatml", "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>"
                              "assistant\nA<|im_end|>\n<|im_start|>assistant\n"},
                   {"zephyr", "<|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\nA</s>\n<|assistant|>\n"},
                   {"alpaca", "<s>S\n\n### Instruction:\nU\n\n### Response:\nA</s>\n\n### Response:\n"}};
    stlora_error err = {0};
    json_t *messages =
        json_pack("[{s:s, s:s}, {s:s, s:[{s:s, s:s}]}, {s:s, s:s}]", "role", "system", "content", "S", "role", "user",
                  "content", "type", "text", "text", "U", "role", "assistant", "content", "A");
    stlora_chat_input input = {
        .messages = messages, .bos_token = "<s>", .eos_token = "</s>", .add_generation_prompt = true};
    assert_non_null(messages);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        stlora_chat_template *found = NULL;
        stlora_chat_text made = {0};
        assert_ok(stlora_chat_template_find(&found, NULL, formats[i].name, &err));
        assert_ok(stlora_chat_template_render(found, &input, &made, &err));
        assert_string_equal(made.text, formats[i].text);
        assert_int_equal(made.span_count, 1);
        assert_int_equal(made.text[made.spans[0].begin], 'A');
        stlora_chat_text_free(&made);
        stlora_chat_template_free(found);
    }
    json_decref(messages);
}

/* What the template sees besides the messages; a message's reasoning has two names. */
static void test_variables(void **state)
{
    (void)state;
    static const char text[] =
        "{{ tools }} {{ documents }} {{ add_generation_prompt }} {{ x }} {{ bos_token }} {{ eos_token is defined }} "
        "{{ messages[0].thinking }}{{ messages[0].reasoning_content }} {{ messages[0]|list }}";
    stlora_error err = {0};
    stlora_chat_template *made_of = NULL;
    stlora_chat_text made = {0};
    json_t *messages = json_pack("[{s:s, s:s}]", "reasoning", "why", "role", "assistant"),
           *variables = json_pack("{s:i, s:s}", "x", 5, "bos_token", "<v>");
    stlora_chat_input input = {.messages = messages, .bos_token = "<s>", .variables = variables};
    assert_ok(stlora_chat_template_compile(&made_of, "x", text, sizeof text - 1, &err));
    assert_ok(stlora_chat_template_render(made_of, &input, &made, &err));
    assert_string_equal(made.text,
                        "None None False 5 <v> False whywhy ['thinking', 'reasoning', 'role', 'reasoning_content']");
    stlora_chat_text_free(&made);
    stlora_chat_template_free(made_of);
    json_decref(messages);
    json_decref(variables);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(test_places, empty_folder),
                                       cmocka_unit_test_teardown(test_broken_files, empty_folder),
                                       cmocka_unit_test_teardown(test_special_tokens, empty_folder),
                                       cmocka_unit_test(test_known_have_names),
                                       cmocka_unit_test(test_written_otherwise_has_its_name),
                                       cmocka_unit_test(test_published_have_names),
                                       cmocka_unit_test(test_known_against_real_ones),
                                       cmocka_unit_test(test_known_as_written_down),
                                       cmocka_unit_test(test_variables)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
