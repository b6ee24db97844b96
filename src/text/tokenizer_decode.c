/* tokenizer_decode.c: ids to text, as a list and as a stream. Guarded by tests/text/test_tokenizer_golden.c. */
#include "text/tokenizer_parts.h"

struct stlora_text_stream {
    const stlora_tokenizer *tokenizer;
    stlora_decoding *decoding;
    bool skip_special_tokens;
    size_t taken; /* ids since the beginning or the last flush */
};

/* Takes one id; place is its index, for the sentence. A token marked normalized comes back in its normal form, which is
 * the form that the decoder was made to undo; what is special is asked of that form, as the library asks it. */
static stlora_status take_id(const stlora_tokenizer *t, stlora_decoding *decoding, int32_t id,
                             size_t place, bool skip_special_tokens, stlora_error *err)
{
    const stlora_added_token *added = stlora_added_by_id(&t->added, id);
    const char *text;
    size_t length;
    if (added) {
        text = added->normalized ? added->normal : added->content;
        length = added->normalized ? added->normal_length : added->length;
        if (skip_special_tokens) {
            const stlora_added_token *named = stlora_added_find(&t->added, text, length);
            if (named && named->special) return STLORA_OK;
        }
        return stlora_decoding_token(decoding, text, length, err);
    }
    if (stlora_piece_map_text(&t->bpe.vocabulary, id, &text, &length))
        return stlora_decoding_token(decoding, text, length, err);
    return stlora_fail(err, STLORA_E_FORMAT,
                       "id %d at place %zu is no token, the vocabulary has ids from 0 to %zu",
                       (int)id, place, t->added.ids ? t->added.ids - 1 : 0);
}

stlora_status stlora_tokenizer_decode(const stlora_tokenizer *tokenizer, const int32_t *ids,
                                      size_t count, bool skip_special_tokens, char **text,
                                      size_t *length, stlora_error *err)
{
    stlora_decoding *decoding;
    STLORA_TRY(stlora_decoding_create(&decoding, &tokenizer->decoder, err));
    stlora_status status = STLORA_OK;
    for (size_t i = 0; status == STLORA_OK && i < count; i++)
        status = take_id(tokenizer, decoding, ids[i], i, skip_special_tokens, err);
    if (status == STLORA_OK) status = stlora_decoding_finish(decoding, err);
    const stlora_bytes *decoded = stlora_decoding_text(decoding);
    if (status == STLORA_OK) status = stlora_strdup_n(text, decoded->data, decoded->count, err);
    if (status == STLORA_OK) *length = decoded->count;
    stlora_decoding_free(decoding);
    return status;
}

stlora_status stlora_text_stream_create(stlora_text_stream **out, const stlora_tokenizer *tokenizer,
                                        bool skip_special_tokens, stlora_error *err)
{
    stlora_text_stream *stream;
    STLORA_TRY(stlora_alloc(&stream, 1, sizeof *stream, "text stream", err));
    stlora_status status = stlora_decoding_create(&stream->decoding, &tokenizer->decoder, err);
    if (status != STLORA_OK) {
        stlora_free(stream);
        return status;
    }
    stream->tokenizer = tokenizer;
    stream->skip_special_tokens = skip_special_tokens;
    *out = stream;
    return STLORA_OK;
}

void stlora_text_stream_free(stlora_text_stream *stream)
{
    if (!stream) return;
    stlora_decoding_free(stream->decoding);
    stlora_free(stream);
}

static void hand_out(stlora_text_stream *stream, const char **text, size_t *length)
{
    const stlora_bytes *decoded = stlora_decoding_text(stream->decoding);
    *text = decoded->data ? decoded->data : "";
    *length = decoded->count;
}

stlora_status stlora_text_stream_push(stlora_text_stream *stream, int32_t id, const char **text,
                                      size_t *length, stlora_error *err)
{
    stlora_decoding_text(stream->decoding)->count = 0;
    STLORA_TRY(take_id(stream->tokenizer, stream->decoding, id, stream->taken,
                       stream->skip_special_tokens, err));
    stream->taken++;
    hand_out(stream, text, length);
    return STLORA_OK;
}

stlora_status stlora_text_stream_flush(stlora_text_stream *stream, const char **text,
                                       size_t *length, stlora_error *err)
{
    stlora_decoding_text(stream->decoding)->count = 0;
    STLORA_TRY(stlora_decoding_finish(stream->decoding, err));
    stream->taken = 0;
    hand_out(stream, text, length);
    return STLORA_OK;
}
