/* test_jinja.c: the template language against Python's jinja2, case by case (jinja_reference.json, made by jinja_reference.py), and what
 * jinja2 has no numbers for: sentences with their places, what is refused by name, the bounds of a render. */
#include <string.h>

#include "base/memory.h"
#include "support.h"
#include "text/chat_template.h"

/* Compiles and renders; text is freed by the caller where it is made. */
static stlora_status render(const char *text, size_t length, const stlora_chat_input *input, stlora_chat_text *out,
                            stlora_error *err)
{
    stlora_chat_template *chat_template = NULL;
    STLORA_TRY(stlora_chat_template_compile(&chat_template, "T", text, length, err));
    stlora_status status = stlora_chat_template_render(chat_template, input, out, err);
    stlora_chat_template_free(chat_template);
    return status;
}

static void test_reference(void **state)
{
    (void)state;
    stlora_error err = {0};
    json_t *file = NULL;
    assert_ok(stlora_json_load(&file, STLORA_SOURCE "/tests/text/jinja_reference.json", &err));
    const json_t *variables = json_object_get(file, "variables"), *cases = json_object_get(file, "cases");
    stlora_chat_input input = {.messages = json_object_get(variables, "messages"),
                               .variables = variables,
                               .now = json_string_value(json_object_get(file, "now"))};
    size_t wrong = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i), *source = json_array_get(one, 0), *want = json_array_get(one, 1);
        stlora_chat_text got = {0};
        stlora_status status = render(json_string_value(source), json_string_length(source), &input, &got, &err);
        bool right = json_is_null(want) ? status != STLORA_OK
                                        : status == STLORA_OK && got.length == json_string_length(want) &&
                                              memcmp(got.text, json_string_value(want), got.length) == 0;
        if (!right) {
            print_message("%s\n  wanted %s\n  got    %s\n", json_string_value(source),
                          json_is_null(want) ? json_string_value(json_array_get(one, 2)) : json_string_value(want),
                          status == STLORA_OK ? got.text : err.text);
            wrong++;
        }
        stlora_chat_text_free(&got);
    }
    assert_true(json_array_size(cases) > 1200);
    json_decref(file);
    assert_int_equal(wrong, 0);
}

static void expect_failure(const char *text, stlora_status status, const char *sentence)
{
    stlora_error err = {0};
    stlora_chat_text got = {0};
    json_t *messages = json_array();
    stlora_chat_input input = {.messages = messages, .now = "2024-07-06T02:04:06"};
    stlora_status found = render(text, strlen(text), &input, &got, &err);
    json_decref(messages);
    if (found != status || !strstr(err.text, sentence))
        fail_msg("%.200s: %s '%s', wanted %s '%s'", text, stlora_status_name(found), err.text,
                 stlora_status_name(status), sentence);
}

static void test_sentences(void **state)
{
    (void)state;
    expect_failure("{{ 1 }}\n  {{ x | nope }}", STLORA_E_FORMAT, "T: line 2, column 10: there is no filter 'nope'");
    expect_failure("{% if true %}\n{{ x | nope }}{% endif %}", STLORA_E_FORMAT,
                   "line 2, column 8: there is no filter 'nope'");
    expect_failure("\xC3\xA9 {{ x is nope }}", STLORA_E_FORMAT, "line 1, column 11: there is no test 'nope'");
    expect_failure("{% wat %}", STLORA_E_FORMAT, "line 1, column 4: there is no statement 'wat'");
    expect_failure("a\n\n{{ 1 / 0 }}", STLORA_E_FORMAT, "line 3, column 6: division by zero");
    expect_failure("{{ missing.x }}", STLORA_E_FORMAT, "line 1, column 11: 'missing' is undefined");
    expect_failure("{{ {}.a.b }}", STLORA_E_FORMAT, "line 1, column 8: 'dict object' has no attribute 'a'");
    expect_failure("{{ [][3].b }}", STLORA_E_FORMAT, "list object has no element 3");
    expect_failure("{{ 'a' + 1 }}", STLORA_E_FORMAT, "column 8: can only concatenate str (not \"int\") to str");
    expect_failure("{{ raise_exception('no, ' ~ 1) }}", STLORA_E_FORMAT,
                   "line 1, column 19: the template refuses: no, 1");
    expect_failure("{% if true %}", STLORA_E_FORMAT,
                   "column 14: the block that begins here has no end; wanted elif else endif");
    expect_failure("{{ 1", STLORA_E_FORMAT, "line 1, column 1: this tag has no end");
    expect_failure("\n{# x", STLORA_E_FORMAT, "line 2, column 1: this comment has no end");
    expect_failure("{{ [1)] }}", STLORA_E_FORMAT, "column 6: this bracket closes none");
    expect_failure("{{ ? }}", STLORA_E_FORMAT, "column 4: this character has no meaning here");
    expect_failure("a\xFF", STLORA_E_FORMAT, "byte 1 of the template is no UTF-8");
}

static void test_not_supported(void **state)
{
    (void)state;
    static const char *const statements[] = {"include 'x'", "import 'x' as y", "from 'x' import y",
                                             "extends 'x'", "block b",         "autoescape true"};
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        char text[64], sentence[64];
        (void)snprintf(text, sizeof text, "{%% %s %%}", statements[i]);
        (void)snprintf(sentence, sizeof sentence, "the statement '%.*s' is not supported",
                       (int)strcspn(statements[i], " "), statements[i]);
        expect_failure(text, STLORA_E_UNSUPPORTED, sentence);
    }
    expect_failure("{% for x in [1] recursive %}{% endfor %}", STLORA_E_UNSUPPORTED,
                   "recursive loops are not supported");
    expect_failure("{% for x in [1] %}{{ loop([2]) }}{% endfor %}", STLORA_E_UNSUPPORTED,
                   "recursive loops are not supported");
    expect_failure("{{ 'a' | urlize }}", STLORA_E_UNSUPPORTED, "the filter 'urlize' is not supported");
    expect_failure("{{ lipsum() }}", STLORA_E_UNSUPPORTED, "the function 'lipsum' is not supported");
    expect_failure("{{ joiner() }}", STLORA_E_UNSUPPORTED, "the function 'joiner' is not supported");
    expect_failure("{{ '{}'.format(1) }}", STLORA_E_UNSUPPORTED, "str.format");
    expect_failure("{{ 9223372036854775807 + 1 }}", STLORA_E_UNSUPPORTED, "more than 64 bits");
    expect_failure("{{ 2 ** 64 }}", STLORA_E_UNSUPPORTED, "more than 64 bits");
    expect_failure("{{ 9223372036854775808 }}", STLORA_E_FORMAT, "more than 64 bits");
    expect_failure("{{ [1] | map('string') }}", STLORA_E_FORMAT, "a generator has no text of its own");
    expect_failure("{{ [].append(1) }}", STLORA_E_FORMAT, "the sandbox keeps templates from changing a list or dict");
}

/* Templates that would go on for ever, or take all memory, end with a sentence, and soon. */
static void test_bounds(void **state)
{
    (void)state;
    expect_failure(
        "{% set r = range(9999) %}{% for a in r %}{% for b in r %}{% for c in r %}{% endfor %}{% endfor %}{% endfor %}",
        STLORA_E_FORMAT, "too many steps");
    expect_failure("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", STLORA_E_FORMAT, "levels within one another");
    expect_failure("{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
                   STLORA_E_FORMAT, "levels within one another");
    expect_failure("{{ 'a' * 1000000000000 }}", STLORA_E_FORMAT, "bytes");
    expect_failure("{{ [1] * 1000000000000 }}", STLORA_E_FORMAT, "MiB");
    expect_failure("{% set ns = namespace(s='a') %}{% for i in range(99999) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
                   STLORA_E_FORMAT, "MiB");
    expect_failure(
        "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
        STLORA_E_FORMAT, "levels within one another");
    expect_failure("{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ "
                   "ns.l | tojson }}",
                   STLORA_E_FORMAT, "levels within one another");
    expect_failure(
        "{% set a = namespace(l=[]) %}{% set b = namespace(l=[]) %}{% for i in range(99999) %}{% set a.l = [a.l] %}"
        "{% set b.l = [b.l] %}{% endfor %}{{ a.l == b.l }}",
        STLORA_E_FORMAT, "levels within one another");
    expect_failure("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", STLORA_E_FORMAT,
                   "levels within one another");
    expect_failure("{% set x = 'abcdefghij' * 100000 %}{% for i in range(99) %}{{ x }}{% endfor %}", STLORA_E_FORMAT,
                   "MiB");
    expect_failure(
        "{% set x = 'ab' * 1000000 %}{% for i in range(99999) %}{% if 'b' * 99 in x %}{% endif %}{% endfor %}",
        STLORA_E_FORMAT, "too many steps");
    expect_failure("{% set ns = namespace(t=(1,)) %}{% for i in range(99) %}{% set ns.t = (ns.t, ns.t) %}{% endfor %}{{ {ns.t: 1} }}",
                   STLORA_E_FORMAT, "too many steps");
    expect_failure("{{ ('a' * 4000000).rfind('b' + 'a' * 2000000) }}{{ ('a' * 4000000).rfind('a' * 2000000 + 'b') }}", STLORA_E_FORMAT,
                   "too many steps");
    expect_failure("{{ ('a' * 4000000).find('a' * 2000000 + 'b') }}{{ 1 / 0 }}", STLORA_E_FORMAT, "division by zero"); /* in linear time */
    /* What goes through a whole text or list, again and again. */
    static const char *const slow[] = {"s|trim", "s is upper", "l|sum", "l == m"};
    for (size_t i = 0; i < sizeof slow / sizeof *slow; i++) {
        char text[400];
        (void)snprintf(text, sizeof text,
                       "{%% set s = '\\u3000' * 2000000 %%}{%% set l = [1] * 300000 %%}{%% set m = l + [] %%}"
                       "{%% for i in range(99999) %%}{%% for j in range(99999) %%}{%% if %s %%}{%% endif %%}{%% endfor %%}{%% endfor %%}",
                       slow[i]);
        expect_failure(text, STLORA_E_FORMAT, "too many steps");
    }
    expect_failure("{{ range(100001) }}", STLORA_E_FORMAT, "more than 100000 items");
    expect_failure("{{ 'x' | center(999999999999) }}", STLORA_E_FORMAT, "bytes");
    expect_failure("{{ '%999999999d' % 1 }}", STLORA_E_FORMAT, "width");
}

/* A template nested more deeply than anyone writes. */
static void test_deep_nesting(void **state)
{
    (void)state;
    static const struct {
        const char *begin, *open, *middle, *close, *end;
    } shapes[] = {{"{{ ", "(", "1", ")", " }}"},
                  {"{{ ", "[", "1", "]", " }}"},
                  {"{{ ", "- ", "1", "", " }}"},
                  {"{{ ", "not ", "1", "", " }}"},
                  {"{{ ", "{1:", "1", "}", " }}"},
                  {"{{ ", "1 if 1 else ", "1", "", " }}"},
                  {"", "{% if 1 %}", "x", "{% endif %}", ""},
                  {"{{ ", "f(", "1", ")", " }}"},
                  {"{{ ", "a[", "1", "]", " }}"}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        enum { TIMES = 5000 };
        size_t room = TIMES * (strlen(shapes[i].open) + strlen(shapes[i].close)) + 64;
        char *text = malloc(room);
        assert_non_null(text);
        size_t used = (size_t)snprintf(text, room, "%s", shapes[i].begin);
        for (int k = 0; k < TIMES; k++)
            used += (size_t)snprintf(text + used, room - used, "%s", shapes[i].open);
        used += (size_t)snprintf(text + used, room - used, "%s", shapes[i].middle);
        for (int k = 0; k < TIMES; k++)
            used += (size_t)snprintf(text + used, room - used, "%s", shapes[i].close);
        (void)snprintf(text + used, room - used, "%s", shapes[i].end);
        expect_failure(text, STLORA_E_FORMAT, "T: line 1");
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference), cmocka_unit_test(test_sentences),
                                       cmocka_unit_test(test_not_supported), cmocka_unit_test(test_bounds),
                                       cmocka_unit_test(test_deep_nesting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
