/* token_spans.h: a text's tokens, and which of them hold which spans of the text. Guarded by tests/text/test_token_spans.c.
 *
 * A token holds a span when at least one byte of the span, as the tokenizer's normalizer leaves it, is among those that the token spells: one that
 * lies across a border counts as the span's. Where a border is, the tokens of the text before it tell: those that both texts begin
 * with lie before it, and of the others it is counted how many bytes they spell. White space that an added token takes along
 * (lstrip, rstrip) is no byte of it.
 */
#ifndef STLORA_TEXT_TOKEN_SPANS_H
#define STLORA_TEXT_TOKEN_SPANS_H

#include "text/chat_template.h"
#include "text/tokenizer.h"

/* stlora_encode_spans: fills ids, emptied first, with those of text[0, length), nothing added; tokens[i], [begin, end) of ids, hold spans[i].
 * Spans ascend and begin and end at characters. tokens has room for span_count. Errors as of stlora_encode; ids then hold nothing of use. */
STLORA_NODISCARD stlora_status stlora_encode_spans(stlora_encoder *encoder, const char *text, size_t length,
                                                   const stlora_text_span *spans, size_t span_count, stlora_ids *ids,
                                                   stlora_text_span *tokens, stlora_error *err);

#endif
