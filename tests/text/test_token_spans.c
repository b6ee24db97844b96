/* test_token_spans.c: which tokens hold spans of a text: against the offsets that the tokenizers library gives for real tokenizers (token_spans_reference.py
 * makes the file), and on a small one for what can lie across a border. */
#include "text/token_spans.h"

#include <jansson.h>

#include "base/memory.h"
#include "small_tokenizer.h"

/* Bytes of the first `points` code points. */
static size_t bytes_of(const char *text, size_t length, size_t points)
{
    size_t at = 0;
    for (; at < length; at++)
        if (((unsigned char)text[at] & 0xC0) != 0x80 && points-- == 0) break;
    return at;
}

static size_t number(const json_t *list, size_t i)
{
    return (size_t)json_integer_value(json_array_get(list, i));
}

static void expect_spans(stlora_encoder *encoder, const char *name, const json_t *entry, size_t *cases)
{
    const json_t *given = json_array_get(entry, 0), *wanted = json_array_get(entry, 1), *list = json_array_get(entry, 2);
    const char *text = json_string_value(given);
    const size_t length = json_string_length(given);
    stlora_ids ids = {0};
    stlora_error err = {0};
    for (size_t c = 0; c < json_array_size(list); c++, ++*cases) {
        const json_t *row = json_array_get(list, c);
        const stlora_text_span span = {bytes_of(text, length, number(row, 0)), bytes_of(text, length, number(row, 1))};
        stlora_text_span found;
        assert_ok(stlora_encode_spans(encoder, text, length, &span, 1, &ids, &found, &err));
        assert_int_equal(ids.count, json_array_size(wanted));
        for (size_t i = 0; i < ids.count; i++)
            assert_int_equal(ids.data[i], number(wanted, i));
        const size_t first = number(row, 2), past = number(row, 3);
        if (first == past ? found.begin != found.end : found.begin != first || found.end != past)
            fail_msg("%s: '%s' [%zu, %zu): tokens [%zu, %zu), wanted [%zu, %zu)", name, text, number(row, 0), number(row, 1), found.begin,
                     found.end, first, past);
    }
    stlora_ids_free(&ids);
}

static void as_the_library_has_offsets(void **state)
{
    (void)state;
    json_error_t why;
    (void)shared_path("data/tokenizers");
    json_t *root = json_load_file(STLORA_SOURCE "/tests/text/token_spans_reference.json", 0, &why);
    if (!root) fail_msg("%s", why.text);
    const char *name;
    json_t *texts;
    size_t cases = 0;
    json_object_foreach(json_object_get(root, "models"), name, texts)
    {
        char relative[128];
        stlora_error err = {0};
        stlora_tokenizer *tokenizer;
        stlora_encoder *encoder;
        (void)snprintf(relative, sizeof relative, "data/tokenizers/%s", name);
        assert_ok(stlora_tokenizer_load(&tokenizer, shared_path(relative), &err));
        assert_ok(stlora_encoder_create(&encoder, tokenizer, &err));
        for (size_t i = 0; i < json_array_size(texts); i++)
            expect_spans(encoder, name, json_array_get(texts, i), &cases);
        stlora_encoder_free(encoder);
        stlora_tokenizer_free(tokenizer);
    }
    print_message("%zu spans\n", cases);
    assert_true(cases > 1000);
    json_decref(root);
}

/* ---- borders, on a tokenizer of our own ---- */

static void expect_span(stlora_encoder *encoder, const char *text, size_t begin, size_t end, size_t first, size_t past)
{
    stlora_ids ids = {0};
    stlora_error err = {0};
    const stlora_text_span span = {begin, end};
    stlora_text_span found;
    assert_ok(stlora_encode_spans(encoder, text, strlen(text), &span, 1, &ids, &found, &err));
    if (found.begin != first || found.end != past)
        fail_msg("'%s' [%zu, %zu): tokens [%zu, %zu), wanted [%zu, %zu)", text, begin, end, found.begin, found.end, first, past);
    stlora_ids_free(&ids);
}

static void a_token_across_a_border_is_the_spans(void **state)
{
    (void)state;
    /* "bcd" is one token where the text goes on, "ab" and "c" where it ends: of the two texts not even the first token is the same. */
    json_t *root = object_of("\"model\": {\"vocab\": {\"a\": 0, \"b\": 1, \"c\": 2, \"d\": 3, \"ab\": 4, \"cd\": 5, \"bcd\": 6, \"</s>\": 7}, "
                             "\"merges\": [\"c d\", \"b cd\", \"a b\"]}, \"added_tokens\": [{\"id\": 7, \"content\": \"</s>\", "
                             "\"special\": true, \"rstrip\": true}]");
    stlora_tokenizer *tokenizer = tokenizer_of(root);
    stlora_encoder *encoder;
    stlora_error err = {0};
    assert_ok(stlora_encoder_create(&encoder, tokenizer, &err));
    expect_span(encoder, "abcd", 0, 4, 0, 2);  /* a bcd */
    expect_span(encoder, "abcd", 0, 1, 0, 1);  /* a */
    expect_span(encoder, "abcd", 0, 3, 0, 2);
    expect_span(encoder, "abcd", 1, 2, 1, 2);
    expect_span(encoder, "abcd", 2, 3, 1, 2);  /* the c inside */
    expect_span(encoder, "abcd", 3, 4, 1, 2);
    expect_span(encoder, "abcd", 2, 2, 1, 1);  /* nothing is held by nothing */
    expect_span(encoder, "ab</s>cd", 2, 6, 1, 2);
    expect_span(encoder, "ab</s>cd", 4, 8, 1, 3); /* inside the added token */
    expect_span(encoder, "ab</s>  cd", 6, 10, 2, 3); /* what it takes along is no byte of it */
    expect_span(encoder, "ab</s>  cd", 8, 10, 2, 3);
    expect_span(encoder, "", 0, 0, 0, 0);
    stlora_encoder_free(encoder);
    stlora_tokenizer_free(tokenizer);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_library_has_offsets),
        cmocka_unit_test(a_token_across_a_border_is_the_spans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
