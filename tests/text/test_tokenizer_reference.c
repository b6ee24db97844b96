/* test_tokenizer_reference.c: every part of tokenizer.json that is supported, against the ids and texts that the tokenizers library gave
 * (tokenizer_reference.py makes the file). With an argument it reads that file instead, so that drawn tokenizers can be held against it too:
 *
 *   tests/text/tokenizer_reference.py /tmp/drawn.json --random 300 1 && test_tokenizer_reference /tmp/drawn.json
 */
#include "expect_tokens.h"
#include "small_tokenizer.h"

static const char *reference = STLORA_SOURCE "/tests/text/tokenizer_reference.json";

static const json_t *first_of(const json_t *row, const char *key, const char *otherwise)
{
    const json_t *value = json_object_get(row, key);
    return value ? value : json_object_get(row, otherwise);
}

static void expect_case(const stlora_tokenizer *tokenizer, const json_t *row, const char *where)
{
    const json_t *text = json_object_get(row, "text"), *ids = json_object_get(row, "ids"), *special = first_of(row, "special", "ids");
    if (text) {
        expect_ids(tokenizer, text, false, ids, where);
        expect_ids(tokenizer, text, true, special, where);
    }
    expect_text(tokenizer, special, false, json_object_get(row, "decoded"), where);
    expect_text(tokenizer, special, true, first_of(row, "skipped", "decoded"), where);
}

static void as_the_library(void **state)
{
    (void)state;
    json_error_t why;
    json_t *root = json_load_file(reference, JSON_ALLOW_NUL, &why);
    if (!root) fail_msg("%s: %s", reference, why.text);
    const json_t *models = json_object_get(root, "models"), *list = json_object_get(root, "tokenizers");
    size_t cases = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i), *rows = json_object_get(entry, "cases");
        json_t *parts = json_object_get(entry, "parts");
        char *where = json_dumps(parts, JSON_COMPACT);
        json_object_set(parts, "model", json_object_get(models, json_string_value(json_object_get(entry, "model"))));
        char *text = json_dumps(parts, 0);
        stlora_error err = {0};
        stlora_tokenizer *tokenizer = NULL;
        if (load_text(&tokenizer, text, strlen(text), NULL, &err) != STLORA_OK) fail_msg("%s: %s", where, err.text);
        for (size_t c = 0; c < json_array_size(rows); c++)
            expect_case(tokenizer, json_array_get(rows, c), where);
        cases += json_array_size(rows);
        stlora_tokenizer_free(tokenizer);
        free(text);
        free(where);
    }
    print_message("%zu tokenizers, %zu cases\n", json_array_size(list), cases);
    assert_true(cases > 100);
    json_decref(root);
}

int main(int argc, char **argv)
{
    if (argc > 1) reference = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
