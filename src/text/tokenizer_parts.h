/* tokenizer_parts.h: what a loaded tokenizer is made of. Internal to text/. */
#ifndef STLORA_TEXT_TOKENIZER_PARTS_H
#define STLORA_TEXT_TOKENIZER_PARTS_H

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pretokenizer.h"
#include "text/token_decoder.h"
#include "text/tokenizer.h"

struct stlora_tokenizer {
    stlora_normalizer normalizer;
    stlora_pretokenizer pretokenizer;
    stlora_bpe bpe;
    stlora_added_tokens added;
    stlora_post_processor post_processor;
    stlora_token_decoder decoder;
    int32_t bos, eos, pad, unk;
};

/* stlora_tokenizer_config_read: the named tokens from tokenizer_config.json's bytes. */
STLORA_NODISCARD stlora_status stlora_tokenizer_config_read(stlora_tokenizer *tokenizer,
                                                            const char *path, stlora_error *err);

/* stlora_encoder_tokenizer: what the encoder was made for; borrowed. */
const stlora_tokenizer *stlora_encoder_tokenizer(const stlora_encoder *encoder);

#endif
