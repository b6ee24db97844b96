/* tokenizer_encode.c: a text through added tokens, normalizer, pre-tokenizer, model and post-processor.
 * Invariant: everything that changes lies in the encoder, so that one tokenizer serves many threads.
 * Guarded by tests/text/test_tokenizer_golden.c. */
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

enum { CACHE_FROM = 16384 }; /* bytes of text from which on a table of seen words repays its making */

struct stlora_encoder {
    const stlora_tokenizer *tokenizer;
    stlora_normal_work normal;
    stlora_bytes *cuts; /* one for each step of the pre-tokenizer */
    stlora_bpe_work *bpe;
    stlora_ids ids;
    size_t origin; /* of the stretch that is being encoded: see normalizer.h */
    size_t taken;  /* bytes of text so far */
};

stlora_status stlora_encoder_create(stlora_encoder **out, const stlora_tokenizer *tokenizer, stlora_error *err)
{
    stlora_encoder *e;
    STLORA_TRY(stlora_alloc(&e, 1, sizeof *e, "tokenizer", err));
    e->tokenizer = tokenizer;
    stlora_status status = stlora_alloc(&e->cuts, tokenizer->pretokenizer.count, sizeof *e->cuts, "tokenizer", err);
    if (status == STLORA_OK) status = stlora_bpe_work_create(&e->bpe, err);
    if (status != STLORA_OK) {
        stlora_encoder_free(e);
        return status;
    }
    *out = e;
    return STLORA_OK;
}

void stlora_encoder_free(stlora_encoder *e)
{
    if (!e) return;
    for (size_t i = 0; e->cuts && i < e->tokenizer->pretokenizer.count; i++)
        stlora_bytes_free(&e->cuts[i]);
    stlora_free(e->cuts);
    stlora_normal_work_free(&e->normal);
    stlora_bpe_work_free(e->bpe);
    stlora_ids_free(&e->ids);
    stlora_free(e);
}

const stlora_tokenizer *stlora_encoder_tokenizer(const stlora_encoder *encoder)
{
    return encoder->tokenizer;
}

static stlora_status take_word(void *context, const char *word, size_t length, stlora_error *err)
{
    stlora_encoder *e = context;
    return stlora_bpe_encode(&e->tokenizer->bpe, e->bpe, word, length, &e->ids, err);
}

static stlora_status take_normal(void *context, const stlora_added_token *token, const char *text, size_t begin,
                                 size_t end, stlora_error *err)
{
    stlora_encoder *e = context;
    if (token) return stlora_ids_push(&e->ids, token->id, err);
    return stlora_pretokenize(&e->tokenizer->pretokenizer, e->cuts, text + begin, end - begin,
                              e->origin > begin ? e->origin - begin : 0, take_word, e, err);
}

static stlora_status take_given(void *context, const stlora_added_token *token, const char *text, size_t begin,
                                size_t end, stlora_error *err)
{
    stlora_encoder *e = context;
    if (token) return stlora_ids_push(&e->ids, token->id, err);
    const char *normal = text + begin;
    size_t length = end - begin;
    e->origin = 0;
    if (begin == 0) (void)stlora_utf8_read(text, &e->origin);
    STLORA_TRY(stlora_normalize(&e->tokenizer->normalizer, &e->normal, &normal, &length, &e->origin, err));
    return stlora_added_split(&e->tokenizer->added, true, normal, length, take_normal, e, err);
}

stlora_status stlora_encode(stlora_encoder *e, const char *text, size_t length, bool add_special_tokens,
                            stlora_ids *out, stlora_error *err)
{
    const stlora_tokenizer *t = e->tokenizer;
    size_t valid = stlora_utf8_valid(text, length), before = out->count;
    if (valid < length)
        return stlora_fail(err, STLORA_E_FORMAT, "the text is not valid UTF-8 at byte %zu: 0x%02X", valid,
                           (unsigned)(unsigned char)text[valid]);
    e->taken = length < CACHE_FROM - e->taken ? e->taken + length : CACHE_FROM;
    if (e->taken == CACHE_FROM) STLORA_TRY(stlora_bpe_work_remember(e->bpe, err));
    e->ids.count = 0;
    stlora_status status = stlora_added_split(&t->added, false, text, length, take_given, e, err);
    if (status == STLORA_OK) status = stlora_post_process(&t->post_processor, &e->ids, add_special_tokens, out, err);
    if (status != STLORA_OK) out->count = before;
    return status;
}

stlora_status stlora_tokenizer_encode(const stlora_tokenizer *tokenizer, const char *text, size_t length,
                                      bool add_special_tokens, stlora_ids *out, stlora_error *err)
{
    stlora_encoder *encoder;
    STLORA_TRY(stlora_encoder_create(&encoder, tokenizer, err));
    stlora_status status = stlora_encode(encoder, text, length, add_special_tokens, out, err);
    stlora_encoder_free(encoder);
    return status;
}
