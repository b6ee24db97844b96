/* session.h: what every verb opens first: backend, model, tokenizer, adapter, precision.
 * Test: tests/train/test_session.c.
 */
#ifndef STLORA_TRAIN_SESSION_H
#define STLORA_TRAIN_SESSION_H

#include "backend/backend.h"
#include "base/params.h"
#include "data/example.h"
#include "model/lora.h"
#include "model/pass.h"
#include "text/chat.h"
#include "text/tokenizer.h"

typedef struct stlora_session {
    stlora_backend *backend;
    stlora_transformer *model;
    stlora_tokenizer *tokenizer; /* NULL where the model directory has none */
    stlora_encoder *encoder;     /* with it: for the rows that are taken one by one */
    stlora_chat *chat;           /* how rows of messages are written; NULL until stlora_session_chat */
    stlora_lora *lora;           /* NULL = the base alone */
    stlora_dtype act;
    int32_t eos; /* the token appended for training; -1 = none */
    /* What ends an answer, once it was asked for: a token (-1 = none), or else words (NULL = none). */
    int32_t turn_end;
    char *turn_end_text;
} stlora_session;

/* stlora_session_open: model_dir is needed; adapter_dir may be NULL; precision "auto", "fp32" or "bf16". auto: bf16 where the
 * checkpoint is bf16 and the processor multiplies bf16 faster, else fp32. trained: the adapter gets gradients. Pair with _close. */
STLORA_NODISCARD stlora_status stlora_session_open(stlora_session *out, const char *model_dir, const char *adapter_dir,
                                                   const char *precision, int threads, bool trained, stlora_error *err);
void stlora_session_close(stlora_session *session);

/* stlora_session_chat: opens the model's chat template, or the chosen one (NULL = none is); see text/chat.h. */
STLORA_NODISCARD stlora_status stlora_session_chat(stlora_session *session, const char *model_dir, const char *choice,
                                                   const char *now, stlora_error *err);

/* stlora_session_answers: finds what the chat template writes behind an answer. Where it begins with an added token of the tokenizer, that is an end
 * token from now on: a base model's own end tokens do not have it. Otherwise turn_end_text is its first word. */
STLORA_NODISCARD stlora_status stlora_session_answers(stlora_session *session, stlora_error *err);

/* stlora_session_end_text: frees tokenizer, encoder and chat template early, for a session that has read all its text. */
void stlora_session_end_text(stlora_session *session);

/* stlora_session_is_end: true when id is one of the model's end tokens, or ends an answer. */
bool stlora_session_is_end(const stlora_session *session, int32_t id);

/* stlora_session_examples: rows as examples for this model; see data/example.h. kind may be NULL. */
STLORA_NODISCARD stlora_status stlora_session_examples(const stlora_session *session, stlora_strings paths,
                                                       int64_t max_length, bool completion_only, stlora_examples **out,
                                                       stlora_row_kind *kind, stlora_error *err);

#endif
