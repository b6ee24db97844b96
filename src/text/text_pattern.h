/* text_pattern.h: what Split and Replace look for: a string or a regular expression, as tokenizer.json writes it.
 * Internal to text/. */
#ifndef STLORA_TEXT_TEXT_PATTERN_H
#define STLORA_TEXT_TEXT_PATTERN_H

#include "base/regex.h"
#include "text/json_place.h"
#include "text/word_rule.h"

/* One of the three is there. */
typedef struct stlora_pattern {
    stlora_word_rule *rule;
    stlora_regex *regex;
    char *string;
    size_t length;
} stlora_pattern;

/* stlora_pattern_read: {"String": ...} or {"Regex": ...} under key. Creates; pair with _free. */
STLORA_NODISCARD stlora_status stlora_pattern_read(stlora_pattern *pattern, const json_t *object,
                                                   const char *key, const stlora_place *place,
                                                   stlora_error *err);
/* stlora_pattern_compile: the same from a regular expression in the source. Where a word rule knows a pattern, it is taken. */
STLORA_NODISCARD stlora_status stlora_pattern_compile(stlora_pattern *pattern, const char *regex,
                                                      stlora_error *err);
void stlora_pattern_free(stlora_pattern *pattern);

/* A walk over all matches in a text, left to right, none overlapping; an empty match right behind another match is
 * passed over; in an empty text nothing matches. All zero is the beginning. */
typedef struct stlora_matches {
    size_t from, last_end;
    bool any;
} stlora_matches;

/* stlora_pattern_next: the next match [*begin, *end) in valid UTF-8, or *found false. Safe from several threads. */
STLORA_NODISCARD stlora_status stlora_pattern_next(const stlora_pattern *pattern, const char *text,
                                                   size_t length, stlora_matches *walk, bool *found,
                                                   size_t *begin, size_t *end, stlora_error *err);

/* stlora_find_bytes: where needle (length > 0) first lies in text[from, length); `length` when nowhere. */
size_t stlora_find_bytes(const char *text, size_t length, size_t from, const char *needle,
                         size_t needle_length);

#endif
