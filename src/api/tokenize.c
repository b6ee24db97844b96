/* tokenize.c: the public face of the tokenizer. */
#include "base/memory.h"
#include "stlora/infer.h"
#include "text/tokenizer.h"

struct stlora_tokenize {
    stlora_tokenizer *tokenizer;
};

stlora_status stlora_tokenize_open(stlora_tokenize **out, const char *dir, stlora_error *err)
{
    stlora_tokenize *handle;
    STLORA_TRY(stlora_alloc(&handle, 1, sizeof *handle, "tokenizer", err));
    stlora_status status = stlora_tokenizer_load(&handle->tokenizer, dir, err);
    if (status != STLORA_OK) {
        stlora_free(handle);
        return status;
    }
    *out = handle;
    return STLORA_OK;
}

void stlora_tokenize_close(stlora_tokenize *tokenizer)
{
    if (!tokenizer) return;
    stlora_tokenizer_free(tokenizer->tokenizer);
    stlora_free(tokenizer);
}

stlora_status stlora_tokenize_encode(const stlora_tokenize *tokenizer, const char *text, size_t length,
                                     bool add_special_tokens, int32_t **ids, size_t *count, stlora_error *err)
{
    stlora_ids found = {0};
    stlora_status status = stlora_tokenizer_encode(tokenizer->tokenizer, text, length, add_special_tokens, &found, err);
    if (status != STLORA_OK) {
        stlora_ids_free(&found);
        return status;
    }
    *ids = found.data;
    *count = found.count;
    return STLORA_OK;
}

stlora_status stlora_tokenize_decode(const stlora_tokenize *tokenizer, const int32_t *ids, size_t count,
                                     bool skip_special_tokens, char **text, size_t *length, stlora_error *err)
{
    return stlora_tokenizer_decode(tokenizer->tokenizer, ids, count, skip_special_tokens, text, length, err);
}

void stlora_release(void *block)
{
    stlora_free(block);
}
