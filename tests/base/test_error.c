/* test_error.c: the pinned statuses, the error sentence, and the log line. */
#include "support.h"

#include <string.h>

#include "base/error.h"
#include "base/log.h"

static void test_statuses_are_pinned(void **state)
{
    (void)state;
    const struct {
        stlora_status status;
        int number, exit_code;
        const char *name;
    } pinned[] = {
        {STLORA_OK, 0, 0, "STLORA_OK"},
        {STLORA_E_IO, 1, 1, "STLORA_E_IO"},
        {STLORA_E_NOMEM, 2, 1, "STLORA_E_NOMEM"},
        {STLORA_E_USAGE, 3, 2, "STLORA_E_USAGE"},
        {STLORA_E_FORMAT, 4, 3, "STLORA_E_FORMAT"},
        {STLORA_E_NONFINITE, 5, 4, "STLORA_E_NONFINITE"},
        {STLORA_E_UNSUPPORTED, 6, 5, "STLORA_E_UNSUPPORTED"},
        {STLORA_E_INTERRUPTED, 7, 130, "STLORA_E_INTERRUPTED"},
    };
    for (size_t i = 0; i < sizeof pinned / sizeof pinned[0]; i++) {
        assert_int_equal(pinned[i].status, pinned[i].number);
        assert_int_equal(stlora_status_exit_code(pinned[i].status), pinned[i].exit_code);
        assert_string_equal(stlora_status_name(pinned[i].status), pinned[i].name);
        assert_true(strlen(stlora_status_text(pinned[i].status)) > 0);
    }
    const stlora_status none = (stlora_status)1000; /* a newer library's */
    assert_string_equal(stlora_status_name(none), "STLORA_E_UNKNOWN");
    assert_string_equal(stlora_status_text(none), "unknown status");
    assert_int_equal(stlora_status_exit_code(none), 1);
}

static void test_sentence(void **state)
{
    (void)state;
    stlora_error err = {0};
    assert_int_equal(stlora_fail(NULL, STLORA_E_IO, "%d", 1), STLORA_E_IO);
    assert_int_equal(stlora_fail(&err, STLORA_E_FORMAT, "%s: line %d", "a\n\tb\x1b[0m\x7f", 3), STLORA_E_FORMAT);
    assert_int_equal(err.status, STLORA_E_FORMAT);
    assert_string_equal(err.text, "a??b?[0m?: line 3");
    /* Quoting the sentence that is being replaced. */
    assert_int_equal(stlora_fail(&err, STLORA_E_USAGE, "<%s>", err.text), STLORA_E_USAGE);
    assert_string_equal(err.text, "<a??b?[0m?: line 3>");
    (void)stlora_fail(&err, STLORA_E_IO, "%s", "");
    assert_string_equal(err.text, "");
}

static void sentence_of(const char *given, const char *wanted)
{
    stlora_error err = {0};
    (void)stlora_fail(&err, STLORA_E_IO, "%s", given);
    assert_string_equal(err.text, wanted);
}

/* A file name is bytes; a sentence is UTF-8. */
static void test_sentence_is_utf8(void **state)
{
    (void)state;
    sentence_of("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
    sentence_of("a\xff" "b\x80", "a?b?");
    sentence_of("\xc3", "?");
    sentence_of("\xe2\x82", "??");
    sentence_of("\xc3(", "?(");
    sentence_of("\xc0\xaf", "??");             /* overlong */
    sentence_of("\xe0\x80\xaf", "???");        /* overlong */
    sentence_of("\xed\xa0\x80", "???");        /* a surrogate */
    sentence_of("\xf4\x90\x80\x80", "????");   /* beyond Unicode */
    sentence_of("\xc2\x9b" "31m", "??31m");    /* a terminal's control sequence in one character */
    sentence_of("\xc2\xa0", "\xc2\xa0");
    sentence_of("\xef\xbf\xbf", "\xef\xbf\xbf");
}

static void test_sentence_is_cut_at_a_character(void **state)
{
    (void)state;
    stlora_error err = {0};
    char text[2000];
    memset(text, 'x', sizeof text);
    text[1999] = '\0';
    (void)stlora_fail(&err, STLORA_E_IO, "%s", text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    memcpy(text + 1021, "\xe2\x82\xac", 3); /* its last byte does not fit */
    (void)stlora_fail(&err, STLORA_E_IO, "%s", text);
    assert_int_equal(strlen(err.text), 1023);
    assert_string_equal(err.text + 1020, "x??");
}

typedef struct heard {
    int lines;
    stlora_log_level level;
    char line[2000];
} heard;

static void hear(void *context, stlora_log_level level, const char *line)
{
    heard *h = context;
    h->lines++;
    h->level = level;
    (void)snprintf(h->line, sizeof h->line, "%s", line);
}

static void test_log(void **state)
{
    (void)state;
    heard h = {0};
    const stlora_log_sink sink = {.write = hear, .context = &h}, deaf = {0};
    stlora_log(NULL, STLORA_LOG_INFO, "x");
    stlora_log(&deaf, STLORA_LOG_INFO, "x");
    stlora_log(&sink, STLORA_LOG_WARNING, "%s %d", "rows", 7);
    assert_int_equal(h.lines, 1);
    assert_int_equal(h.level, STLORA_LOG_WARNING);
    assert_string_equal(h.line, "rows 7");
    stlora_log(&sink, STLORA_LOG_INFO, "%01500d", 1); /* longer than a line may be */
    assert_int_equal(h.lines, 2);
    assert_int_equal(strlen(h.line), 1023);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses_are_pinned),
        cmocka_unit_test(test_sentence),
        cmocka_unit_test(test_sentence_is_utf8),
        cmocka_unit_test(test_sentence_is_cut_at_a_character),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
