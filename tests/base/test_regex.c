/* test_regex.c: base/regex.h: what a search reports, what a whole match is, and that nothing hangs. */
#include <string.h>

#include "base/regex.h"
#include "support.h"

static stlora_regex *compile(const char *pattern, bool python)
{
    stlora_error err = {0};
    stlora_regex *regex = NULL;
    assert_ok(stlora_regex_create(&regex, pattern, strlen(pattern), python, &err));
    return regex;
}

static void expect_search(const char *pattern, const char *text, size_t from, size_t begin,
                          size_t end)
{
    stlora_error err = {0};
    stlora_regex *regex = compile(pattern, false);
    bool found = false;
    size_t b = 99, e = 99;
    assert_ok(stlora_regex_search(regex, text, strlen(text), from, &found, &b, &e, &err));
    assert_true(found);
    assert_int_equal(b, begin);
    assert_int_equal(e, end);
    stlora_regex_free(regex);
}

static void search_reports_bytes(void **state)
{
    (void)state;
    expect_search("b+", "aabbb", 0, 2, 5);
    expect_search("\\p{L}+", "1 \xc3\xa9t\xc3\xa9!", 0, 2, 7);
    expect_search("b", "abab", 2, 3, 4);
    expect_search("(?<=a)b", "ab", 1, 1, 2); /* what lies before `from` is seen */
    expect_search("", "ab", 2, 2, 2);        /* the end is a place to match */
    expect_search("a|ab", "ab", 0, 0, 1);    /* alternatives in their order, not the longest */
    expect_search("\\s+(?!\\S)", "   x", 0, 0, 2);
    expect_search("\\s", "\x1c\xc2\x85", 0, 1, 3); /* U+0085 is white space, U+001C is not */
    expect_search("\\Aa", "aa", 0, 0, 1);

    stlora_error err = {0};
    stlora_regex *regex = compile("b", false);
    bool found = true;
    size_t b = 7, e = 8;
    assert_ok(stlora_regex_search(regex, "aaa", 3, 0, &found, &b, &e, &err));
    assert_false(found);
    assert_int_equal(b, 7);
    assert_int_equal(e, 8);
    stlora_regex_free(regex);
}

static bool full(const char *pattern, const char *text)
{
    stlora_error err = {0};
    stlora_regex *regex = compile(pattern, true);
    bool matches = false;
    assert_ok(stlora_regex_full_match(regex, text, strlen(text), &matches, &err));
    stlora_regex_free(regex);
    return matches;
}

static void full_match_is_pythons(void **state)
{
    (void)state;
    assert_true(full("a|ab", "ab")); /* the first alternative matches less: it has to be given up */
    assert_true(full("a(b|bc)", "abc"));
    assert_false(full("ab", "abc"));
    assert_false(full("b", "ab"));
    assert_true(full("", ""));
    assert_false(full("ab", "ab\n"));
    assert_true(
        full(".*\\.layers\\.(0|1)\\.self_attn\\.(q|v)_proj", "model.layers.1.self_attn.v_proj"));
    assert_false(
        full(".*\\.layers\\.(0|1)\\.self_attn\\.(q|v)_proj", "model.layers.2.self_attn.v_proj"));
    assert_true(full("(?P<n>q|k)_(?P=n)", "k_k"));
    assert_false(full("(?P<n>q|k)_(?P=n)", "k_q"));
    assert_true(full("(q)_\\1", "q_q")); /* groups keep their numbers */
    assert_true(full("(?i)Q_PROJ", "q_proj"));
    assert_false(full("q.proj", "q\nproj"));
}

static void expect_refused(const char *pattern, size_t length, const char *word)
{
    stlora_error err = {0};
    stlora_regex *regex = NULL;
    assert_int_equal(stlora_regex_create(&regex, pattern, length, false, &err), STLORA_E_FORMAT);
    assert_null(regex);
    if (!strstr(err.text, word)) fail_msg("'%s' does not say '%s'", err.text, word);
}

static void bad_patterns_are_refused(void **state)
{
    (void)state;
    expect_refused("(a", 2, "(a");
    expect_refused("a)|(b", 5, "parenthesis"); /* balanced only when something is put around it */
    expect_refused("[", 1, "refused");
    stlora_regex *regex = NULL;
    assert_int_equal(stlora_regex_create(&regex, "(a", 2, true, NULL), STLORA_E_FORMAT);
    assert_int_equal(stlora_regex_create(&regex, "a)|(b", 5, true, NULL), STLORA_E_FORMAT);
    expect_refused("*", 1, "repeat");
    expect_refused("\xff", 1, "UTF-8");
    expect_refused("\\", 1, "refused");
    char many[64 * 3 + 1] = "";
    for (int i = 0; i < 64; i++)
        memcpy(many + 3 * i, "(a)", 3);
    expect_refused(many, 64 * 3, "64 groups");
}

static void catastrophic_patterns_give_up(void **state)
{
    (void)state;
    char text[64];
    memset(text, 'a', sizeof text);
    text[40] = 'b';
    stlora_error err = {0};
    stlora_regex *regex = compile("(a|a|aa)+c", false);
    bool found = false;
    size_t b, e;
    assert_int_equal(stlora_regex_search(regex, text, 41, 0, &found, &b, &e, &err),
                     STLORA_E_FORMAT);
    assert_non_null(strstr(err.text, "gave up"));
    assert_int_equal(stlora_regex_full_match(regex, text, 41, &found, &err), STLORA_E_FORMAT);
    stlora_regex_free(regex);
    stlora_regex_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(search_reports_bytes),
        cmocka_unit_test(full_match_is_pythons),
        cmocka_unit_test(bad_patterns_are_refused),
        cmocka_unit_test(catastrophic_patterns_give_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
