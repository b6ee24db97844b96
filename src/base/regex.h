/* regex.h: Oniguruma behind one small face, for pre-tokenizer patterns and for target_modules.
 * Bounded: a pattern that backtracks without end fails with a sentence instead of hanging. Test: tests/base/test_regex.c. */
#ifndef STLORA_BASE_REGEX_H
#define STLORA_BASE_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct stlora_regex stlora_regex; /* opaque; many threads may search with one; creating is one thread at a time */

/* stlora_regex_create: compiles a UTF-8 pattern in Oniguruma's default (Ruby-like) syntax as the tokenizers library
 * does, or, with python true, in Python's. Pair with _free. STLORA_E_FORMAT with the engine's own words. */
STLORA_NODISCARD stlora_status stlora_regex_create(stlora_regex **out, const char *pattern,
                                                   size_t length, bool python, stlora_error *err);
void stlora_regex_free(stlora_regex *regex);

/* stlora_regex_search: first match in text[from, length) (valid UTF-8); *found tells whether there is one, then
 * [*begin, *end) are its bytes. STLORA_E_FORMAT when the engine gave up (backtracking limit). */
STLORA_NODISCARD stlora_status stlora_regex_search(stlora_regex *regex, const char *text, size_t length,
                                                   size_t from, bool *found, size_t *begin,
                                                   size_t *end, stlora_error *err);

/* stlora_regex_full_match: Python's re.fullmatch: does the whole text match? */
STLORA_NODISCARD stlora_status stlora_regex_full_match(stlora_regex *regex, const char *text,
                                                       size_t length, bool *matches, stlora_error *err);

/* What the engine's \p{L}, \p{N} and \s hold, for matchers that must agree with its patterns; no character is in two. */
typedef enum stlora_char_class {
    STLORA_CHAR_OTHER,
    STLORA_CHAR_LETTER,
    STLORA_CHAR_NUMBER,
    STLORA_CHAR_SPACE
} stlora_char_class;

typedef struct stlora_char_classes {
    unsigned letter, number; /* the engine's numbers of the two properties */
} stlora_char_classes;

/* stlora_char_classes_init: also fills table[count], all zero, with the stlora_char_class of each of the first code points. */
void stlora_char_classes_init(stlora_char_classes *classes, unsigned char *table, uint32_t count);

/* stlora_char_class_of: of one code point. Safe from several threads. */
stlora_char_class stlora_char_class_of(const stlora_char_classes *classes, uint32_t point);

#endif
