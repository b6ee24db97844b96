/* word_rule.h: the pre-tokenizer patterns of GPT-2, Llama 3 and Qwen 2 by hand, twenty times as fast as a search.
 * These patterns match everywhere: each match begins where the last one ended, and one look at a character's class tells
 * which alternative it is. What a class holds is the engine's own word (base/regex.h), so that the words are the same.
 * Internal to text/. Guarded by tests/text/test_word_rule.c, which holds them against the engine. */
#ifndef STLORA_TEXT_WORD_RULE_H
#define STLORA_TEXT_WORD_RULE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct stlora_word_rule stlora_word_rule;

/* stlora_word_rule_create: the rule of a pattern, *out NULL when it is none of those known here. Pair with _free. */
STLORA_NODISCARD stlora_status stlora_word_rule_create(stlora_word_rule **out, const char *pattern, size_t length,
                                                       stlora_error *err);
void stlora_word_rule_free(stlora_word_rule *rule);

/* stlora_word_rule_end: where the match that begins at text[at] ends; at < length, text is valid UTF-8. */
size_t stlora_word_rule_end(const stlora_word_rule *rule, const char *text, size_t length, size_t at);

#endif
