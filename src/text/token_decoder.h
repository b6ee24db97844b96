/* token_decoder.h: tokens back to text, one at a time. Internal to text/.
 *
 * ByteLevel Replace ByteFallback Fuse Strip Metaspace BPEDecoder WordPiece, Sequence of them; without a decoder tokens are
 * joined with spaces. Each part takes stretches of tokens and passes on what is certain, so that decoding a list and
 * decoding a stream are the same code, and the stream's text is the list's by construction.
 */
#ifndef STLORA_TEXT_TOKEN_DECODER_H
#define STLORA_TEXT_TOKEN_DECODER_H

#include "text/byte_string.h"
#include "text/json_place.h"

typedef struct stlora_decode_step stlora_decode_step;

typedef struct stlora_token_decoder {
    stlora_decode_step *steps;
    size_t count, capacity;
} stlora_token_decoder;

/* stlora_token_decoder_read: from the file's "decoder" (null: join with spaces). Free it whatever happens. */
STLORA_NODISCARD stlora_status stlora_token_decoder_read(stlora_token_decoder *decoder,
                                                         const json_t *part,
                                                         const stlora_place *place,
                                                         stlora_error *err);
void stlora_token_decoder_free(stlora_token_decoder *decoder);

/* The state of one decoding. */
typedef struct stlora_decoding stlora_decoding;

/* stlora_decoding_create: borrows decoder until _free. */
STLORA_NODISCARD stlora_status stlora_decoding_create(stlora_decoding **out,
                                                      const stlora_token_decoder *decoder,
                                                      stlora_error *err);
void stlora_decoding_free(stlora_decoding *decoding);

/* stlora_decoding_token: takes a token's text; what has become certain is appended to decoding's text. */
STLORA_NODISCARD stlora_status stlora_decoding_token(stlora_decoding *decoding, const char *token,
                                                     size_t length, stlora_error *err);
/* stlora_decoding_finish: appends the rest; the decoding is as new afterwards, but for its text. */
STLORA_NODISCARD stlora_status stlora_decoding_finish(stlora_decoding *decoding, stlora_error *err);

/* stlora_decoding_text: what has been decoded, borrowed; the caller may set its count to 0. */
stlora_bytes *stlora_decoding_text(stlora_decoding *decoding);

#endif
