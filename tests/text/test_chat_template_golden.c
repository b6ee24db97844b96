/* test_chat_template_golden.c: every conversation through every real template, as Transformers renders it: text, refusals, and the spans of
 * generation blocks. Skips where ../shared is absent; its golden/README.md says how the numbers were made. */
#include <dirent.h>
#include <string.h>

#include "base/memory.h"
#include "support.h"
#include "text/chat_template.h"

static size_t cases_seen;

/* The byte at which code point number `point` of text begins. */
static size_t byte_of(const char *text, size_t length, size_t point)
{
    size_t at = 0;
    for (; at < length; at++)
        if (((unsigned char)text[at] & 0xC0) != 0x80 && point-- == 0) break;
    return at;
}

static void expect_spans(const json_t *spans, const stlora_chat_text *text, const char *where)
{
    if (text->span_count != json_array_size(spans))
        fail_msg("%s: %zu spans, wanted %zu", where, text->span_count, json_array_size(spans));
    for (size_t i = 0; i < text->span_count; i++) {
        const json_t *span = json_array_get(spans, i);
        size_t begin = byte_of(text->text, text->length, (size_t)json_integer_value(json_array_get(span, 0)));
        size_t end = byte_of(text->text, text->length, (size_t)json_integer_value(json_array_get(span, 1)));
        if (text->spans[i].begin != begin || text->spans[i].end != end)
            fail_msg("%s: span %zu is [%zu, %zu), wanted [%zu, %zu)", where, i, text->spans[i].begin,
                     text->spans[i].end, begin, end);
    }
}

static void expect_case(const stlora_chat_template *chat_template, const json_t *file, const json_t *one,
                        const char *where)
{
    stlora_error err = {0};
    stlora_chat_text text = {0};
    const json_t *tools = json_object_get(one, "tools"), *want = json_object_get(one, "text");
    stlora_chat_input input = {.messages = json_object_get(one, "messages"),
                               .tools = json_is_array(tools) ? tools : NULL,
                               .add_generation_prompt = json_is_true(json_object_get(one, "add_generation_prompt")),
                               .bos_token = json_string_value(json_object_get(file, "bos_token")),
                               .eos_token = json_string_value(json_object_get(file, "eos_token")),
                               .now = json_string_value(json_object_get(file, "now"))};
    stlora_status status = stlora_chat_template_render(chat_template, &input, &text, &err);
    cases_seen++;
    if (json_is_null(want)) {
        const char *sentence = json_string_value(json_object_get(one, "error"));
        if (status != STLORA_E_FORMAT)
            fail_msg("%s: %s, wanted a refusal: %s", where, stlora_status_name(status), sentence);
        bool own = strcmp(json_string_value(json_object_get(one, "error_type")), "TemplateError") == 0;
        if (own && !strstr(err.text, sentence)) fail_msg("%s: '%s', wanted '%s'", where, err.text, sentence);
        return;
    }
    if (status != STLORA_OK) fail_msg("%s: %s", where, err.text);
    if (text.length != json_string_length(want) || memcmp(text.text, json_string_value(want), text.length) != 0)
        fail_msg("%s: '%s', wanted '%s'", where, text.text, json_string_value(want));
    const json_t *spans = json_object_get(one, "assistant_spans");
    assert_int_equal(spans != NULL, stlora_chat_template_marks_generation(chat_template));
    if (spans) expect_spans(spans, &text, where);
    stlora_chat_text_free(&text);
}

static void expect_file(const char *golden, const char *templates, const char *name)
{
    char path[8192], place[600];
    stlora_error err = {0};
    stlora_chat_template *chat_template = NULL;
    json_t *file = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", golden, name);
    assert_ok(stlora_json_load(&file, path, &err));
    (void)snprintf(path, sizeof path, "%s/%s.jinja", templates, json_string_value(json_object_get(file, "template")));
    assert_ok(stlora_chat_template_find(&chat_template, NULL, path, &err));
    const json_t *cases = json_object_get(file, "cases");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        (void)snprintf(place, sizeof place, "%s case %zu", name, i);
        expect_case(chat_template, file, json_array_get(cases, i), place);
    }
    stlora_chat_template_free(chat_template);
    json_decref(file);
}

static void test_all(void **state)
{
    (void)state;
    char golden[4096], templates[4096];
    (void)snprintf(templates, sizeof templates, "%s", shared_path("data/chat_templates"));
    (void)snprintf(golden, sizeof golden, "%s", shared_path("golden/chat_templates"));
    DIR *folder = opendir(golden);
    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
        if (strstr(entry->d_name, ".json")) expect_file(golden, templates, entry->d_name);
    (void)closedir(folder);
    assert_int_equal(cases_seen, 774);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
