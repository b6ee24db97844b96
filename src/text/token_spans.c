/* token_spans.c: see token_spans.h. */
#include "text/token_spans.h"

#include "text/tokenizer_parts.h"

/* Bytes that a token spells, in the alphabet in which the vocabulary is written: the same text has the same number however it is cut. */
static size_t spelt_length(const stlora_tokenizer *t, int32_t id)
{
    const stlora_added_token *added = stlora_added_by_id(&t->added, id);
    const char *text;
    size_t length;
    if (added) return added->length;
    if (!stlora_piece_map_text(&t->bpe.vocabulary, id, &text, &length)) return 0;
    for (size_t byte = 0; length == 6 && byte < 256; byte++) /* "<0x0A>" */
        if (t->bpe.fallback[byte] == id) return 1;
    return length;
}

/* How many of ids[0, count) begin before the border at which text[0, border) ends, and whether the last of them ends behind it. */
static stlora_status tokens_before(stlora_encoder *encoder, const char *text, size_t border, stlora_ids *ids,
                                   size_t *before, bool *across, stlora_error *err)
{
    const stlora_tokenizer *t = stlora_encoder_tokenizer(encoder);
    const size_t count = ids->count;
    /* The tokens of the beginning, behind all for as long as the two are compared. */
    STLORA_TRY(stlora_encode(encoder, text, border, false, ids, err));
    const int32_t *whole = ids->data, *part = ids->data + count;
    const size_t part_count = ids->count - count;
    size_t same = 0, left = 0;
    while (same < part_count && same < count && part[same] == whole[same])
        same++;
    for (size_t i = same; i < part_count; i++)
        left += spelt_length(t, part[i]);
    for (; left > 0 && same < count; same++) {
        if (stlora_added_by_id(&t->added, whole[same])) break; /* one that ends before the border would be in both */
        const size_t spelt = spelt_length(t, whole[same]);
        if (spelt > left) break;
        left -= spelt;
    }
    *across = left > 0 && same < count;
    *before = same + *across;
    ids->count = count;
    return STLORA_OK;
}

stlora_status stlora_encode_spans(stlora_encoder *encoder, const char *text, size_t length,
                                  const stlora_text_span *spans, size_t span_count, stlora_ids *ids,
                                  stlora_text_span *tokens, stlora_error *err)
{
    ids->count = 0;
    STLORA_TRY(stlora_encode(encoder, text, length, false, ids, err));
    for (size_t i = 0; i < span_count; i++) {
        size_t begin = 0, end = ids->count;
        bool across = false, unused;
        if (spans[i].begin > 0) STLORA_TRY(tokens_before(encoder, text, spans[i].begin, ids, &begin, &across, err));
        if (spans[i].end < length) STLORA_TRY(tokens_before(encoder, text, spans[i].end, ids, &end, &unused, err));
        begin -= across;
        tokens[i] = (stlora_text_span){begin, spans[i].begin < spans[i].end && begin < end ? end : begin};
    }
    return STLORA_OK;
}
