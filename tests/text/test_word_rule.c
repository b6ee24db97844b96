/* test_word_rule.c: the patterns that are matched by hand cut every text where the engine's search cuts it. */
#include <string.h>

#include "base/file_map.h"
#include "base/memory.h"
#include "base/regex.h"
#include "support.h"
#include "text/utf8.h"
#include "text/word_rule.h"

static const char *const patterns[] = {
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
};
enum { PATTERNS = sizeof patterns / sizeof *patterns };

static stlora_word_rule *rules[PATTERNS];
static stlora_regex *engines[PATTERNS];

static int make_rules(void **state)
{
    (void)state;
    stlora_error err = {0};
    for (int p = 0; p < PATTERNS; p++) {
        assert_ok(stlora_word_rule_create(&rules[p], patterns[p], strlen(patterns[p]), &err));
        assert_ok(stlora_regex_create(&engines[p], patterns[p], strlen(patterns[p]), false, &err));
        assert_non_null(rules[p]);
    }
    return 0;
}

static int free_rules(void **state)
{
    (void)state;
    for (int p = 0; p < PATTERNS; p++) {
        stlora_word_rule_free(rules[p]);
        stlora_regex_free(engines[p]);
    }
    return 0;
}

/* Both walk through text from match to match. */
static void expect_same(const char *text, size_t length)
{
    stlora_error err = {0};
    for (int p = 0; p < PATTERNS; p++) {
        for (size_t at = 0; at < length;) {
            bool found;
            size_t begin, end;
            assert_ok(stlora_regex_search(engines[p], text, length, at, &found, &begin, &end, &err));
            assert_true(found && begin == at);
            size_t mine = stlora_word_rule_end(rules[p], text, length, at);
            if (mine != end)
                fail_msg("pattern %d at byte %zu of '%.*s': ends at %zu, not %zu", p, at, (int)length, text, mine, end);
            at = end;
        }
    }
}

static void other_patterns_are_the_engines(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_word_rule *rule;
    assert_ok(stlora_word_rule_create(&rule, "a", 1, &err));
    assert_null(rule);
    assert_ok(stlora_word_rule_create(&rule, patterns[0], strlen(patterns[0]) - 1, &err));
    assert_null(rule);
}

/* A sanitizer looks at every so many of them; all are looked at without one. */
enum { EVERY = STLORA_SANITIZED ? 8 : 1 };

/* Every character by itself, behind an apostrophe, and between what it may join. */
static void every_character(void **state)
{
    (void)state;
    static const char *const around[][2] = {{"", ""}, {"'", ""}, {"'", "e"}, {" ", "a"}, {"\n", "1"}};
    enum { AROUND = sizeof around / sizeof *around };
    for (uint32_t point = 0; point < 0x110000; point += point < 0x3000 ? 1 : EVERY) {
        char text[16];
        if (point >= 0xD800 && point < 0xE000) point = 0xE000;
        if ((point >= 0x3400 && point < 0x3400 + EVERY) || (point >= 0x20000 && point < 0x20000 + EVERY))
            point += 0x6000;         /* ideographs, one like another */
        if (point >= 0xE1000) break; /* nothing assigned, nothing private */
        for (int i = 0; i < (point < 0x3000 ? AROUND : 1); i++) {
            size_t before = strlen(around[i][0]), after = strlen(around[i][1]);
            memcpy(text, around[i][0], before);
            size_t length = before + stlora_utf8_write(point, text + before);
            memcpy(text + length, around[i][1], after);
            expect_same(text, length + after);
        }
    }
}

/* Texts of up to 24 parts from what the alternatives tell apart. */
static void random_texts(void **state)
{
    (void)state;
    static const char *const parts[] = {"a",
                                        "Z",
                                        "s",
                                        "S",
                                        "t",
                                        "re",
                                        "VE",
                                        "ll",
                                        "'",
                                        "'",
                                        "0",
                                        "12",
                                        "3456",
                                        ".",
                                        "!?",
                                        " ",
                                        " ",
                                        "  ",
                                        "\n",
                                        "\r\n",
                                        "\t",
                                        "\xC3\xA9",
                                        "\xC5\xBF",
                                        "\xCC\x81",
                                        "\xC2\xA0",
                                        "\xE3\x80\x80",
                                        "\xE4\xB8\xAD",
                                        "\xD9\xA3",
                                        "\xE2\x85\xA8",
                                        "\xE2\x80\x99",
                                        "\xF0\x9F\x98\x80",
                                        "\xF0\x90\x90\x80",
                                        "\xF0\x9D\x9F\x98",
                                        "\xC2\x85",
                                        "_",
                                        "-"};
    uint64_t random = 88172645463325252u;
    for (int i = 0; i < 40000 / EVERY; i++) {
        char text[128];
        size_t length = 0;
        for (int n = 1 + i % 24; n > 0; n--) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            const char *part = parts[(random >> 33) % (sizeof parts / sizeof *parts)];
            memcpy(text + length, part, strlen(part));
            length += strlen(part);
        }
        expect_same(text, length);
    }
}

static void real_text(void **state)
{
    (void)state;
    static const char *const files[] = {"data/corpora/wikitext-2/valid.txt", "data/corpora/grimm/GrimmsFairyTales.txt"};
    for (int i = 0; i < 2; i++) {
        stlora_error err = {0};
        stlora_file_map map;
        assert_ok(stlora_file_map_open(&map, shared_path(files[i]), &err));
        size_t length = map.size < 400000 ? map.size : 400000;
        expect_same((const char *)map.bytes, stlora_utf8_valid((const char *)map.bytes, length));
        stlora_file_map_close(&map);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_patterns_are_the_engines),
        cmocka_unit_test(every_character),
        cmocka_unit_test(random_texts),
        cmocka_unit_test(real_text),
    };
    return cmocka_run_group_tests(tests, make_rules, free_rules);
}
