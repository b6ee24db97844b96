/* test_stop_text.c: text that ends before a word, however the text is cut into what comes. */
#include "train/stop_text.h"

#include <string.h>

#include "support.h"

typedef struct taken {
    char text[64];
    size_t length;
    bool ended;
} taken;

static void take(taken *t, const char *text, size_t length)
{
    memcpy(t->text + t->length, text, length);
    t->length += length;
}

static taken run(stlora_stop_text *stop, const char *text, size_t first, size_t second)
{
    const size_t cuts[] = {0, first, second, strlen(text)};
    taken t = {.length = 0};
    const char *out;
    size_t length;
    stlora_error err = {0};
    for (size_t i = 0; i < 3; i++) {
        assert_ok(stlora_stop_text_push(stop, text + cuts[i], cuts[i + 1] - cuts[i], &out, &length, &err));
        take(&t, out, length);
    }
    t.ended = stop->ended;
    stlora_stop_text_flush(stop, &out, &length);
    take(&t, out, length);
    return t;
}

static void expect(const char *word, const char *text, const char *wanted, bool ended)
{
    stlora_stop_text stop = {.word = word};
    for (size_t second = 0; second <= strlen(text); second++)
        for (size_t first = 0; first <= second; first++) { /* and it is as new each time */
            const taken t = run(&stop, text, first, second);
            if (t.length != strlen(wanted) || memcmp(t.text, wanted, t.length) != 0 || t.ended != ended)
                fail_msg("'%s' cut at %zu and %zu before '%s': '%.*s'", text, first, second, word ? word : "", (int)t.length, t.text);
        }
    stlora_stop_text_free(&stop);
}

static void test_ends(void **state)
{
    (void)state;
    expect("<end>", "Hello<end>\nmore<end>", "Hello", true);
    expect("<end>", "a<<end>", "a<", true);
    expect("<end>", "<en<end", "<en<end", false);
    expect("aab", "aaab", "a", true);
    expect("abab", "ababab", "", true);
    expect("x", "", "", false);
    expect(NULL, "Hello<end>", "Hello<end>", false);
}

/* What cannot be the word's beginning does not wait. */
static void test_hands_out_what_is_certain(void **state)
{
    (void)state;
    stlora_stop_text stop = {.word = "<end>"};
    const char *out;
    size_t length;
    stlora_error err = {0};
    assert_ok(stlora_stop_text_push(&stop, "Hi <e", 5, &out, &length, &err));
    assert_int_equal(length, 3);
    assert_ok(stlora_stop_text_push(&stop, "ve", 2, &out, &length, &err));
    assert_int_equal(length, 4);
    assert_memory_equal(out, "<eve", 4);
    stlora_stop_text_free(&stop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_hands_out_what_is_certain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
