/* word_rule.c: see word_rule.h. The alternatives are tried in the patterns' order:
 *
 *   GPT-2     's|'t|'re|'ve|'m|'ll|'d  | ?L+             | ?N+     | ?O+           | S+(?!\S)|S+
 *   Llama 3   the same in either case  |[^\r\n L N]?L+   |N{1,3}   | ?O+[\r\n]*    |S*[\r\n]+|S+(?!\S)|S+
 *   Qwen 2    the same in either case  |[^\r\n L N]?L+   |N        | ?O+[\r\n]*    |S*[\r\n]+|S+(?!\S)|S+
 *
 * with L, N, S the classes \p{L}, \p{N}, \s and O everything else. */
#include "text/word_rule.h"

#include <string.h>

#include "base/memory.h"
#include "base/regex.h"
#include "text/byte_level.h"
#include "text/utf8.h"

enum { TABLE_POINTS = 0x10000 }; /* characters beyond are rare: the engine is asked for them one by one */

typedef struct shape {
    const char *pattern;
    bool modern;     /* Llama 3's kind: either case, any character before letters, line breaks end words */
    unsigned digits; /* the longest number; 0 = without end, and a space may stand before it */
} shape;

static const shape shapes[] = {
    {stlora_byte_level_pattern, false, 0},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     true, 3},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     true, 1},
};

struct stlora_word_rule {
    const shape *shape;
    stlora_char_classes classes;
    unsigned char class_of[TABLE_POINTS];
};

stlora_status stlora_word_rule_create(stlora_word_rule **out, const char *pattern, size_t length, stlora_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (length != strlen(shapes[i].pattern) || memcmp(pattern, shapes[i].pattern, length) != 0) continue;
        stlora_word_rule *rule;
        STLORA_TRY(stlora_alloc(&rule, 1, sizeof *rule, "pre-tokenizer", err));
        rule->shape = &shapes[i];
        stlora_char_classes_init(&rule->classes, rule->class_of, TABLE_POINTS);
        *out = rule;
        return STLORA_OK;
    }
    return STLORA_OK;
}

void stlora_word_rule_free(stlora_word_rule *rule)
{
    stlora_free(rule);
}

static inline stlora_char_class class_at(const stlora_word_rule *rule, const char *text, size_t at, size_t *size)
{
    uint32_t point = stlora_utf8_read(text + at, size);
    return point < TABLE_POINTS ? (stlora_char_class)rule->class_of[point]
                                : stlora_char_class_of(&rule->classes, point);
}

static inline bool is_break(char c)
{
    return c == '\r' || c == '\n';
}

/* The end of the run of one class from `at` on, of at most `most` characters. */
static inline size_t run_end(const stlora_word_rule *rule, const char *text, size_t length, size_t at,
                             stlora_char_class class, size_t most)
{
    for (size_t size; most > 0 && at < length && class_at(rule, text, at, &size) == class; most--)
        at += size;
    return at;
}

/* The end of 's, 't, 're, 've, 'm, 'll or 'd at text[at], an apostrophe; `at` when it is none of them. In either case
 * means Unicode's either case: the long s U+017F is an s. */
static size_t contraction_end(const char *text, size_t length, size_t at, bool either_case)
{
    char fold = either_case ? ' ' : '\0'; /* in ASCII the bit between the cases */
    size_t left = length - at - 1;
    const char *p = text + at + 1;
    if (left >= 2 && either_case && memcmp(p, "\xC5\xBF", 2) == 0) return at + 3;
    char first = left >= 1 ? (char)(p[0] | fold) : '\0', second = left >= 2 ? (char)(p[1] | fold) : '\0';
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
    if ((first == 'r' || first == 'v') && second == 'e') return at + 3;
    return first == 'l' && second == 'l' ? at + 3 : at;
}

/* White space from `at` on: through its last line break where breaks end words; else without its last character, which
 * begins the next word, unless it is all there is. */
static size_t space_end(const stlora_word_rule *rule, const char *text, size_t length, size_t at)
{
    size_t end = at, last = at, behind_break = at;
    for (size_t size; end < length && class_at(rule, text, end, &size) == STLORA_CHAR_SPACE; end += size) {
        last = end;
        if (is_break(text[end])) behind_break = end + 1;
    }
    if (rule->shape->modern && behind_break > at) return behind_break;
    return end < length && last > at ? last : end;
}

size_t stlora_word_rule_end(const stlora_word_rule *rule, const char *text, size_t length, size_t at)
{
    const bool modern = rule->shape->modern, space = text[at] == ' ';
    size_t size, next_size = 0;
    const stlora_char_class class = class_at(rule, text, at, &size);
    if (class == STLORA_CHAR_LETTER) return run_end(rule, text, length, at + size, class, length);
    if (text[at] == '\'') {
        size_t end = contraction_end(text, length, at, modern);
        if (end > at) return end;
    }
    size_t next = at + size;
    stlora_char_class next_class = STLORA_CHAR_SPACE;
    if (next < length) next_class = class_at(rule, text, next, &next_size);
    next += next_size;
    bool leads = modern ? class != STLORA_CHAR_NUMBER && !is_break(text[at]) : space;
    if (leads && next_class == STLORA_CHAR_LETTER) return run_end(rule, text, length, next, next_class, length);
    const unsigned digits = rule->shape->digits;
    if (class == STLORA_CHAR_NUMBER) return run_end(rule, text, length, at, class, digits ? digits : length);
    if (space && !digits && next_class == STLORA_CHAR_NUMBER)
        return run_end(rule, text, length, next, next_class, length);
    if (class == STLORA_CHAR_OTHER || (space && next_class == STLORA_CHAR_OTHER)) {
        size_t end = run_end(rule, text, length, space ? next : at, STLORA_CHAR_OTHER, length);
        while (modern && end < length && is_break(text[end]))
            end++;
        return end;
    }
    return space_end(rule, text, length, at);
}
