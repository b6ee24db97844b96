/* tokenizer.h: text to token ids and back, as the tokenizer.json of a Hugging Face model says.
 *
 * Byte-level BPE (GPT-2, Llama 3, Qwen 2) and BPE with byte fallback (Llama 2, Gemma), with the normalizers,
 * pre-tokenizers, added tokens, post-processors and decoders that the parts here name; anything else is
 * STLORA_E_UNSUPPORTED by name. The ids are those of Hugging Face's library, code point by code point.
 * Not here: chat templates, padding, truncation (written in the file or not: nobody is asked to pad or to cut).
 * Guarded by tests/text/test_tokenizer_golden.c, test_tokenizer_small.c and test_tokenizer_bad.c.
 */
#ifndef STLORA_TEXT_TOKENIZER_H
#define STLORA_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Loaded once and never changed: any number of threads may encode and decode with the same one. */
typedef struct stlora_tokenizer stlora_tokenizer;

/* A growing array of ids. All zero is an empty one. */
typedef struct stlora_ids {
    int32_t *data;
    size_t count, capacity;
} stlora_ids;

/* stlora_ids_push: appends one id. STLORA_E_NOMEM, ids untouched. */
STLORA_NODISCARD stlora_status stlora_ids_push(stlora_ids *ids, int32_t id, stlora_error *err);

/* stlora_ids_free: frees the array; it is empty then and may be filled again. */
void stlora_ids_free(stlora_ids *ids);

/* stlora_tokenizer_load: creates *out from dir/tokenizer.json and, where there is one, dir/tokenizer_config.json, from
 * which only the names of the bos, eos, pad and unk tokens are taken (add_bos_token is ignored: what is put in front
 * is the post-processor's business). Pair with _free. Afterwards the files are no longer needed.
 * STLORA_E_IO (cannot be read), STLORA_E_FORMAT (malformed, contradictory), STLORA_E_UNSUPPORTED (names the part),
 * STLORA_E_NOMEM. One thread loads at a time (the regular expression engine starts with the first pattern). */
STLORA_NODISCARD stlora_status stlora_tokenizer_load(stlora_tokenizer **out, const char *dir,
                                                     stlora_error *err);
void stlora_tokenizer_free(stlora_tokenizer *tokenizer);

/* stlora_tokenizer_vocab_size: largest id + 1, added tokens included; ids in between may be unused. */
size_t stlora_tokenizer_vocab_size(const stlora_tokenizer *tokenizer);

/* The ids of the tokens that tokenizer_config.json names; -1 where it names none, or none that there is. */
int32_t stlora_tokenizer_bos(const stlora_tokenizer *tokenizer);
int32_t stlora_tokenizer_eos(const stlora_tokenizer *tokenizer);
int32_t stlora_tokenizer_pad(const stlora_tokenizer *tokenizer);
int32_t stlora_tokenizer_unk(const stlora_tokenizer *tokenizer);

/* stlora_tokenizer_find: the id of an added token or of a token of the vocabulary by its content, as written in
 * tokenizer.json (for byte-level vocabularies in that spelling); -1 if there is none. */
int32_t stlora_tokenizer_find(const stlora_tokenizer *tokenizer, const char *content);

/* stlora_tokenizer_is_added: whether id is one of the added tokens. */
bool stlora_tokenizer_is_added(const stlora_tokenizer *tokenizer, int32_t id);

/* What encodes text after text: it keeps its buffers and remembers words, so that many texts, or a long one, go faster
 * with the same ids. One encoder belongs to one thread at a time. */
typedef struct stlora_encoder stlora_encoder;

/* stlora_encoder_create: borrows tokenizer until _free. */
STLORA_NODISCARD stlora_status stlora_encoder_create(stlora_encoder **out, const stlora_tokenizer *tokenizer,
                                                     stlora_error *err);
void stlora_encoder_free(stlora_encoder *encoder);

/* stlora_encode: appends the ids of text[0, length) to out, with add_special_tokens also what the
 * post-processor adds. U+0000 is a character like any other; added tokens written in the text are recognised.
 * STLORA_E_FORMAT: invalid UTF-8 (names the byte), a pattern that gave up, an unknown token that the model cannot
 * express. On failure out has the ids that it had before. */
STLORA_NODISCARD stlora_status stlora_encode(stlora_encoder *encoder, const char *text, size_t length,
                                             bool add_special_tokens, stlora_ids *out, stlora_error *err);

/* stlora_tokenizer_encode: the same for one text, with an encoder of its own. Safe from several threads. */
STLORA_NODISCARD stlora_status stlora_tokenizer_encode(const stlora_tokenizer *tokenizer,
                                                       const char *text, size_t length,
                                                       bool add_special_tokens, stlora_ids *out,
                                                       stlora_error *err);

/* stlora_tokenizer_decode: creates *text, valid UTF-8, *length bytes and a NUL, from ids[0, count); freed with
 * stlora_free. With skip_special_tokens, added tokens marked special give nothing. Bytes that are no UTF-8 come
 * out as U+FFFD. STLORA_E_FORMAT names an id that no token has and its place. Safe from several threads. */
STLORA_NODISCARD stlora_status stlora_tokenizer_decode(const stlora_tokenizer *tokenizer,
                                                       const int32_t *ids, size_t count,
                                                       bool skip_special_tokens, char **text,
                                                       size_t *length, stlora_error *err);

/* A decoder that takes ids one by one. The texts that it hands out, in their order, are the decode of all ids. */
typedef struct stlora_text_stream stlora_text_stream;

/* stlora_text_stream_create: borrows tokenizer until _free. One stream belongs to one thread at a time. */
STLORA_NODISCARD stlora_status stlora_text_stream_create(stlora_text_stream **out,
                                                         const stlora_tokenizer *tokenizer,
                                                         bool skip_special_tokens,
                                                         stlora_error *err);

/* stlora_text_stream_push: takes one id; *text, *length is what has become certain by it: whole characters, often
 * none. Borrowed until the next call on the stream. STLORA_E_FORMAT for an id that no token has: it is left out and
 * the stream goes on. */
STLORA_NODISCARD stlora_status stlora_text_stream_push(stlora_text_stream *stream, int32_t id,
                                                       const char **text, size_t *length,
                                                       stlora_error *err);

/* stlora_text_stream_flush: the rest, as decode ends it; the stream is as new then. Borrowed likewise. */
STLORA_NODISCARD stlora_status stlora_text_stream_flush(stlora_text_stream *stream,
                                                        const char **text, size_t *length,
                                                        stlora_error *err);
void stlora_text_stream_free(stlora_text_stream *stream);

#endif
