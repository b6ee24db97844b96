/* infer.h: what a model, with or without an adapter, makes of rows, prompts and conversations: eval, score, generate, chat. */
#ifndef STLORA_INFER_H
#define STLORA_INFER_H

#include <signal.h>

#include "stlora/log.h"
#include "stlora/params.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct stlora_eval_result {
    int64_t rows;
    double loss, perplexity;          /* task loss */
    int64_t supervised_tokens;        /* task loss */
    double exact_match;               /* task exact-match: fraction of rows */
    double accuracy, accuracy_norm;   /* task choice: highest sum of log-probabilities; the same per byte of the choice */
    /* Standard errors of these means, sqrt(p (1 - p) / (rows - 1)); NaN of one row. Since 0.2. */
    double exact_match_stderr, accuracy_stderr, accuracy_norm_stderr;
    /* Task exact-match: completions that gave no answer, and rows that hold none, all of which count as wrong. Since 0.2. */
    int64_t no_answer, rows_without_answer;
} stlora_eval_result;

/* Called after each row where the task goes row by row (exact-match, choice), for progress and examples; text fields are borrowed,
 * NULL where the task has none. */
typedef struct stlora_eval_row {
    int64_t row, rows; /* from 1 */
    const char *prompt, *wanted, *found;
    bool correct;
} stlora_eval_row;

typedef struct stlora_infer_callbacks {
    void (*on_row)(void *context, const stlora_eval_row *row);                         /* eval; NULL allowed */
    stlora_status (*on_line)(void *context, const char *json_line, stlora_error *err); /* score: one row's line, without line break */
    stlora_status (*on_text)(void *context, const char *text, size_t length, stlora_error *err); /* generate: text as it comes */
    void *context;
    stlora_log_sink log;
    const volatile sig_atomic_t *stop; /* NULL allowed; non-zero: STLORA_E_INTERRUPTED */
} stlora_infer_callbacks;

/* stlora_eval: params of verb "eval". Task loss: rows as for training, mean over supervised tokens. Since 0.1. */
STLORA_API STLORA_NODISCARD stlora_status stlora_eval(const stlora_params *params,
                                                      const stlora_infer_callbacks *callbacks,
                                                      stlora_eval_result *out, stlora_error *err);

/* stlora_score: params of verb "score"; on_line gets {"ids":[...],"logprob":[...]} for each row in order. Since 0.1. */
STLORA_API STLORA_NODISCARD stlora_status stlora_score(const stlora_params *params,
                                                       const stlora_infer_callbacks *callbacks,
                                                       stlora_error *err);

typedef struct stlora_generation {
    int32_t *ids; /* the new ids; freed by stlora_generation_free */
    size_t count;
    char *text; /* all of the text, NUL-terminated; NULL where the model has no tokenizer */
    size_t length;
} stlora_generation;

/* stlora_generate: params of verb "generate". out may be NULL. Since 0.1. */
STLORA_API STLORA_NODISCARD stlora_status stlora_generate(const stlora_params *params,
                                                          const stlora_infer_callbacks *callbacks,
                                                          stlora_generation *out, stlora_error *err);
STLORA_API void stlora_generation_free(stlora_generation *generation);

/* A conversation with a model, turn by turn. What the model has read of it is not read again. */
typedef struct stlora_dialog stlora_dialog;

/* stlora_dialog_open: params of verb "chat"; borrows params and callbacks until _close. Since 0.1. */
STLORA_API STLORA_NODISCARD stlora_status stlora_dialog_open(stlora_dialog **out, const stlora_params *params,
                                                             const stlora_infer_callbacks *callbacks,
                                                             stlora_error *err);
STLORA_API void stlora_dialog_close(stlora_dialog *dialog);
/* stlora_dialog_say: a message of the user's, UTF-8, and the answer to it, which on_text gets as it comes; both are part of the conversation then.
 * STLORA_E_INTERRUPTED: callbacks->stop; what has come of the answer is the answer. Where nothing has, and after any other failure, the
 * conversation is as before.
 * STLORA_E_FORMAT: the template refuses it. STLORA_E_UNSUPPORTED: it has grown beyond the model's positions. Since 0.1. */
STLORA_API STLORA_NODISCARD stlora_status stlora_dialog_say(stlora_dialog *dialog, const char *text, size_t length,
                                                            stlora_error *err);
/* stlora_dialog_reset: begins anew, with the system message that params give. Since 0.1. */
STLORA_API STLORA_NODISCARD stlora_status stlora_dialog_reset(stlora_dialog *dialog, stlora_error *err);

/* stlora_tokenize_open: the tokenizer of a model directory, for verb "tokenize". Pair with _close. Since 0.1. */
typedef struct stlora_tokenize stlora_tokenize;
STLORA_API STLORA_NODISCARD stlora_status stlora_tokenize_open(stlora_tokenize **out, const char *dir,
                                                               stlora_error *err);
STLORA_API void stlora_tokenize_close(stlora_tokenize *tokenizer);
/* stlora_tokenize_encode: ids of UTF-8 text; *ids is freed with stlora_release. Since 0.1. */
STLORA_API STLORA_NODISCARD stlora_status stlora_tokenize_encode(const stlora_tokenize *tokenizer,
                                                                 const char *text, size_t length,
                                                                 bool add_special_tokens, int32_t **ids,
                                                                 size_t *count, stlora_error *err);
/* stlora_tokenize_decode: text of ids; *text is NUL-terminated, freed with stlora_release. Since 0.1. */
STLORA_API STLORA_NODISCARD stlora_status stlora_tokenize_decode(const stlora_tokenize *tokenizer,
                                                                 const int32_t *ids, size_t count,
                                                                 bool skip_special_tokens, char **text,
                                                                 size_t *length, stlora_error *err);
STLORA_API void stlora_release(void *block);

/* What a chat template makes of a conversation. */
typedef struct stlora_rendering {
    char *text; /* UTF-8, NUL-terminated */
    size_t length;
    size_t (*spans)[2]; /* with show_mask: what training would learn, bytes [begin, end) of text, in order; else NULL */
    size_t span_count;
} stlora_rendering;

/* stlora_render: params of verb "render". STLORA_E_FORMAT: the template's own raise_exception with its sentence, or a fault in template
 * or messages. *out is freed by _free. Since 0.1. */
STLORA_API STLORA_NODISCARD stlora_status stlora_render(const stlora_params *params, stlora_rendering *out, stlora_error *err);
STLORA_API void stlora_rendering_free(stlora_rendering *rendering);

/* stlora_inspect: what is at path (model, adapter, tokenizer, run, checkpoint) and what is wrong with it, as a JSON document in
 * *json, freed with stlora_release. What cannot be used is a status with the reason. Since 0.1. */
STLORA_API STLORA_NODISCARD stlora_status stlora_inspect(const char *path, char **json, stlora_error *err);

#ifdef __cplusplus
}
#endif
#endif
