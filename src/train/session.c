/* session.c: opening what a verb needs, in the order in which a user would look for a mistake. */
#include "train/session.h"

#include <string.h>

#include "base/atomic_file.h"
#include "base/memory.h"

static stlora_status open_tokenizer(stlora_session *s, const char *model_dir, stlora_error *err)
{
    char *path;
    STLORA_TRY(stlora_path_join(&path, model_dir, "tokenizer.json", err));
    bool there = stlora_path_exists(path);
    stlora_free(path);
    if (!there) return STLORA_OK;
    STLORA_TRY(stlora_tokenizer_load(&s->tokenizer, model_dir, err));
    return stlora_encoder_create(&s->encoder, s->tokenizer, err);
}

static stlora_status open_all(stlora_session *s, const char *model_dir, const char *adapter_dir, const char *precision,
                              int threads, bool trained, stlora_error *err)
{
    if (!model_dir) return stlora_fail(err, STLORA_E_USAGE, "--model: wanted a model directory, found none");
    STLORA_TRY(stlora_transformer_open(&s->model, model_dir, err));
    STLORA_TRY(stlora_backend_create(&s->backend, "cpu", threads, err));
    STLORA_TRY(open_tokenizer(s, model_dir, err));
    if (adapter_dir) STLORA_TRY(stlora_lora_load(&s->lora, s->model, adapter_dir, trained, err));
    if (s->lora) stlora_lora_refresh(s->lora, s->backend);
    bool bf16 = strcmp(precision, "bf16") == 0 ||
                (strcmp(precision, "auto") == 0 && s->backend->fast_bf16 && s->model->embed.dtype == STLORA_BF16);
    s->act = bf16 ? STLORA_BF16 : STLORA_F32;
    s->eos = s->tokenizer ? stlora_tokenizer_eos(s->tokenizer) : -1;
    if (s->eos < 0 && s->model->config.eos_count > 0) s->eos = s->model->config.eos[0];
    return STLORA_OK;
}

stlora_status stlora_session_open(stlora_session *out, const char *model_dir, const char *adapter_dir,
                                  const char *precision, int threads, bool trained, stlora_error *err)
{
    stlora_session session = {.eos = -1, .turn_end = -1};
    stlora_status status = open_all(&session, model_dir, adapter_dir, precision, threads, trained, err);
    if (status != STLORA_OK) {
        stlora_session_close(&session);
        return status;
    }
    *out = session;
    return STLORA_OK;
}

stlora_status stlora_session_chat(stlora_session *session, const char *model_dir, const char *choice, const char *now,
                                  stlora_error *err)
{
    return stlora_chat_open(&session->chat, model_dir, choice, now, err);
}

stlora_status stlora_session_answers(stlora_session *session, stlora_error *err)
{
    char *after;
    stlora_ids ids = {0};
    if (!session->encoder) return STLORA_OK;
    STLORA_TRY(stlora_chat_after_answer(session->chat, &after, err));
    stlora_status status = stlora_encode(session->encoder, after, strlen(after), false, &ids, err);
    const size_t word = strcspn(after, " \t\r\n");
    if (status == STLORA_OK && ids.count && stlora_tokenizer_is_added(session->tokenizer, ids.data[0]))
        session->turn_end = ids.data[0];
    else if (status == STLORA_OK && word > 0)
        status = stlora_strdup_n(&session->turn_end_text, after, word, err);
    stlora_ids_free(&ids);
    stlora_free(after);
    return status;
}

void stlora_session_end_text(stlora_session *session)
{
    stlora_chat_free(session->chat);
    stlora_free(session->turn_end_text);
    stlora_encoder_free(session->encoder);
    stlora_tokenizer_free(session->tokenizer);
    session->encoder = NULL;
    session->tokenizer = NULL;
    session->chat = NULL;
    session->turn_end_text = NULL;
}

void stlora_session_close(stlora_session *session)
{
    stlora_lora_free(session->lora);
    stlora_session_end_text(session);
    stlora_transformer_close(session->model);
    stlora_backend_free(session->backend);
    *session = (stlora_session){.eos = -1, .turn_end = -1};
}

bool stlora_session_is_end(const stlora_session *session, int32_t id)
{
    for (int i = 0; i < session->model->config.eos_count; i++)
        if (session->model->config.eos[i] == id) return true;
    return id >= 0 && (id == session->eos || id == session->turn_end);
}

stlora_status stlora_session_examples(const stlora_session *session, stlora_strings paths, int64_t max_length,
                                      bool completion_only, stlora_examples **out, stlora_row_kind *kind,
                                      stlora_error *err)
{
    stlora_row_kind found;
    /* Learned positions end; a row cannot be longer than their table. */
    int64_t limit = session->model->family->learned_positions ? session->model->config.max_positions : max_length;
    stlora_example_options options = {
        .tokenizer = session->tokenizer,
        .chat = session->chat,
        .eos = session->eos,
        .max_length = max_length < limit ? max_length : limit,
        .vocab_size = session->model->config.vocab_size,
        .completion_only = completion_only ? -1 : 0,
        .team = session->backend->team,
    };
    return stlora_examples_read(out, paths.items, paths.count, &options, kind ? kind : &found, err);
}
