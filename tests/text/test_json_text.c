/* test_json_text.c: the reader takes the texts that jansson takes, with the same keys and values, and no others. */
#include <string.h>

#include <jansson.h>

#include "support.h"
#include "text/json_text.h"

static stlora_json_span span_of(const char *text)
{
    return (stlora_json_span){text, strlen(text)};
}

/* The value that the reader stands before, built by the reader down to the leaves. */
static json_t *build(stlora_json_reader *reader);

static json_t *build_container(stlora_json_span span, stlora_status *status)
{
    stlora_json_reader reader = stlora_json_reader_open(span);
    json_t *made = reader.close == '}' ? json_object() : json_array();
    const char *key;
    size_t length;
    while (stlora_json_next(&reader, &key, &length)) {
        char name[256] = "";
        assert_true(length < sizeof name);
        if (key) memcpy(name, key, length);
        assert_int_equal(key != NULL, json_is_object(made));
        json_t *value = build(&reader);
        if (!value || (key && json_object_get(made, name))) { /* a key that is there twice is the caller's affair */
            reader.status = STLORA_E_FORMAT;
            json_decref(value);
            break;
        }
        if (key)
            (void)json_object_set_new(made, name, value);
        else
            (void)json_array_append_new(made, value);
    }
    *status = reader.status;
    stlora_json_reader_close(&reader);
    if (*status == STLORA_OK) return made;
    json_decref(made);
    return NULL;
}

static json_t *build(stlora_json_reader *reader)
{
    const char *text;
    size_t length;
    int32_t integer;
    json_t *value;
    if (stlora_json_take_string(reader, &text, &length)) return json_stringn(text, length);
    if (reader->status == STLORA_OK && stlora_json_take_integer(reader, &integer)) return json_integer(integer);
    stlora_json_span span = stlora_json_take_value(reader);
    if (reader->status != STLORA_OK) return NULL;
    if (*span.text == '{' || *span.text == '[') return build_container(span, &reader->status);
    return stlora_json_parse(&value, span.text, span.length, "", NULL) == STLORA_OK ? value : NULL;
}

static void same_as_jansson(const char *text, size_t length)
{
    json_t *theirs = NULL;
    stlora_status status, wanted = stlora_json_parse(&theirs, text, length, "", NULL);
    json_t *mine = build_container((stlora_json_span){text, length}, &status);
    if (wanted == STLORA_OK && !json_is_object(theirs) && !json_is_array(theirs)) wanted = STLORA_E_FORMAT;
    if (status != wanted) fail_msg("'%.*s': %d, not %d", (int)length, text, (int)status, (int)wanted);
    if (status == STLORA_OK && !json_equal(mine, theirs)) fail_msg("'%.*s' comes out wrong", (int)length, text);
    json_decref(mine);
    json_decref(theirs);
}

static const char *const texts[] = {
    "{}",
    "[]",
    " [ ] ",
    "{\"a\":1}",
    "{ \"a\" : 1 , \"b\" : [ ] }",
    "[1,2,3]",
    "[\"a\",\"b\"]",
    "[\"\"]",
    "{\"\":0}",
    "[0,-1,10,123456789,1234567890,-0,1.5,1e3,true,false,null]",
    "[01]",
    "[1.]",
    "[.5]",
    "[+1]",
    "[-]",
    "[1e]",
    "[tru]",
    "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]",
    "[\"\\u0041\\u00e9\\u4e2d\\ud83d\\ude00\"]",
    "[\"\\ud83d\"]",
    "[\"\\ude00\"]",
    "[\"\\ud83d\\u0041\"]",
    "[\"\\u12g4\"]",
    "[\"\\u123\"]",
    "[\"\\x\"]",
    "[\"\\",
    "[\"\n\"]",
    "[\"\x1F\"]",
    "[\"\x7F\"]",
    "[\"\\u0000\"]",
    "{\"\\u0000\":1}",
    "{\"a\\u0062\":1,\"ab\":2}",
    "{\"a\":1,\"a\":2}",
    "[\"\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80\"]",
    "[\"\xC3\"]",
    "[\"\x80\"]",
    "[\"\xED\xA0\x80\"]",
    "[\"\xF4\x90\x80\x80\"]",
    "[",
    "{",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{a:1}",
    "{1:1}",
    "[1]]",
    "[1}",
    "{\"a\":1]",
    "[1] 2",
    "[{\"a\":[{\"b\":\"]\"}]},\"}\"]",
    "[[1,2],[3,[4]]]",
    "[[1,2]",
    "[{]}]",
    "1",
    "",
    "\"a\"",
    "[\"a\\\\\",\"b\"]",
    "{\"a\\\"b\":[\"c\\\"\"]}",
};

static void valid_and_broken(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t length = 1; length <= strlen(texts[i]); length++)
            same_as_jansson(texts[i], length);
    same_as_jansson("[\"a\0b\"]", 7);
    same_as_jansson("[1]\0", 4);
}

static void every_byte_damaged(void **state)
{
    (void)state;
    static const char others[] = "\"\\0]}[{,: xu\x01\x80\xC3";
    char text[128];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t at = 0; at < strlen(texts[i]); at++)
            for (const char *other = others; *other; other++) {
                (void)snprintf(text, sizeof text, "%s", texts[i]);
                text[at] = *other;
                same_as_jansson(text, strlen(text));
            }
}

static void members_and_the_rest(void **state)
{
    (void)state;
    static const char text[] =
        "{\"x\":[1,\n{\"vocab\":3}],\"vocab\":{\"a\":0},\"merges\":[\"a b\",[\"c\",\"d\"]],\"y\":7}";
    static const char *const names[] = {"merges", "vocab", "none", "y"};
    stlora_json_span found[4] = {{0}};
    stlora_error err = {0};
    json_t *rest;
    stlora_json_find_members(span_of(text), names, found, 4);
    assert_int_equal(found[0].length, strlen("[\"a b\",[\"c\",\"d\"]]"));
    assert_memory_equal(found[0].text, "[\"a b\",[\"c\",\"d\"]]", found[0].length);
    assert_memory_equal(found[1].text, "{\"a\":0}", found[1].length);
    assert_null(found[2].text);
    assert_memory_equal(found[3].text, "7", found[3].length);
    assert_ok(stlora_json_parse_without(&rest, span_of(text), found, 4, "text", &err));
    json_t *wanted = json_loads("{\"x\":[1,{\"vocab\":3}],\"vocab\":{},\"merges\":[],\"y\":7}", 0, NULL);
    assert_true(json_equal(rest, wanted));
    json_decref(rest);
    json_decref(wanted);
}

/* What is wrong is said with the line of the whole text, though the part in front was not built. */
static void lines_of_the_whole(void **state)
{
    (void)state;
    static const char text[] = "{\"vocab\":{\n\"a\":0,\n\"b\":1},\n\"y\":?}", twice[] = "{\"vocab\":{},\n\"vocab\":{}}";
    static const char *const names[] = {"vocab"};
    stlora_json_span found = {0};
    stlora_error err = {0};
    json_t *rest;
    stlora_json_find_members(span_of(text), names, &found, 1);
    assert_non_null(found.text);
    assert_int_equal(stlora_json_parse_without(&rest, span_of(text), &found, 1, "text", &err), STLORA_E_FORMAT);
    assert_non_null(strstr(err.text, "text line 4"));
    found = (stlora_json_span){0};
    stlora_json_find_members(span_of(twice), names, &found, 1);
    assert_int_equal(stlora_json_parse_without(&rest, span_of(twice), &found, 1, "text", &err), STLORA_E_FORMAT);
    assert_non_null(strstr(err.text, "duplicate"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_and_broken),
        cmocka_unit_test(every_byte_damaged),
        cmocka_unit_test(members_and_the_rest),
        cmocka_unit_test(lines_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
