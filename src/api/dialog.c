/* dialog.c: stlora_dialog: a conversation that grows by a message and its answer. Each turn is rendered whole, since a template may write earlier
 * turns in another way then; of its tokens those are kept in the cache that it still begins with. Without sampling an answer
 * is bit for bit what generate gives for the same messages. Test: tests/cli/test_chat.py. */
#include <string.h>

#include "base/memory.h"
#include "model/decoder.h"
#include "stlora/infer.h"
#include "train/configs.h"
#include "train/sample.h"
#include "train/stop_text.h"

enum { SPARE_POSITIONS = 2048 }; /* so that not every turn wants a larger cache */

struct stlora_dialog {
    const stlora_chat_config *config;
    const stlora_infer_callbacks *callbacks;
    stlora_session session;
    json_t *messages;
    stlora_decoder *decoder; /* NULL = none yet */
    stlora_decoder_shape shape;
    stlora_ids held;   /* the tokens in the decoder */
    stlora_ids prompt; /* of the turn at hand; then what is made goes behind it */
    stlora_sampler_scratch scratch;
    stlora_text_stream *stream;
    stlora_stop_text stop;
    char *answer;
    size_t length, capacity;
};

static stlora_status append(json_t *messages, const char *role, const char *text, size_t length, stlora_error *err)
{
    json_t *content = json_stringn(text, length);
    if (!content) return stlora_fail(err, STLORA_E_FORMAT, "a message of %zu bytes is no UTF-8 text", length);
    if (json_array_append_new(messages, json_pack("{s:s, s:o}", "role", role, "content", content)) == 0)
        return STLORA_OK;
    return stlora_fail(err, STLORA_E_NOMEM, "no memory for messages");
}

stlora_status stlora_dialog_reset(stlora_dialog *d, stlora_error *err)
{
    const char *system = d->config->system;
    if (json_array_clear(d->messages) != 0) return stlora_fail(err, STLORA_E_NOMEM, "no memory for messages");
    return system ? append(d->messages, "system", system, strlen(system), err) : STLORA_OK;
}

static stlora_status open_all(stlora_dialog *d, stlora_error *err)
{
    const stlora_chat_config *c = d->config;
    STLORA_TRY(stlora_session_open(&d->session, c->model, c->adapter, c->precision, (int)c->threads, false, err));
    if (!d->session.tokenizer)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: no tokenizer.json there, which a chat needs", c->model);
    STLORA_TRY(stlora_session_chat(&d->session, c->model, c->chat_template, c->now, err));
    STLORA_TRY(stlora_chat_check(d->session.chat, err));
    STLORA_TRY(stlora_session_answers(&d->session, err));
    d->stop.word = d->session.turn_end_text;
    STLORA_TRY(stlora_text_stream_create(&d->stream, d->session.tokenizer, true, err));
    STLORA_TRY(stlora_sampler_scratch_create(&d->scratch, d->session.model->config.vocab_size, err));
    d->messages = json_array();
    if (!d->messages) return stlora_fail(err, STLORA_E_NOMEM, "no memory for messages");
    return stlora_dialog_reset(d, err);
}

stlora_status stlora_dialog_open(stlora_dialog **out, const stlora_params *params,
                                 const stlora_infer_callbacks *callbacks, stlora_error *err)
{
    stlora_dialog *made;
    STLORA_TRY(stlora_alloc(&made, 1, sizeof *made, "a conversation", err));
    made->config = stlora_params_values(params, "chat");
    made->callbacks = callbacks;
    stlora_status status = open_all(made, err);
    if (status != STLORA_OK) {
        stlora_dialog_close(made);
        return status;
    }
    *out = made;
    return STLORA_OK;
}

void stlora_dialog_close(stlora_dialog *d)
{
    if (!d) return;
    stlora_decoder_free(d->decoder);
    stlora_text_stream_free(d->stream);
    stlora_stop_text_free(&d->stop);
    stlora_sampler_scratch_free(&d->scratch);
    stlora_ids_free(&d->held);
    stlora_ids_free(&d->prompt);
    stlora_free(d->answer);
    json_decref(d->messages);
    stlora_session_close(&d->session);
    stlora_free(d);
}

/* ---- a turn ---- */

static stlora_status encode(stlora_dialog *d, stlora_error *err)
{
    const stlora_conversation conversation = {.messages = d->messages};
    const int64_t vocab = d->session.model->config.vocab_size;
    stlora_chat_text text;
    STLORA_TRY(stlora_chat_render(d->session.chat, &conversation, true, &text, err));
    d->prompt.count = 0;
    stlora_status status = stlora_encode(d->session.encoder, text.text, text.length, false, &d->prompt, err);
    stlora_chat_text_free(&text);
    STLORA_TRY(status);
    if (d->prompt.count == 0)
        return stlora_fail(err, STLORA_E_FORMAT, "the chat template's text gives no token to go on from");
    for (size_t i = 0; i < d->prompt.count; i++)
        if (d->prompt.data[i] >= vocab)
            return stlora_fail(err, STLORA_E_FORMAT, "%s: the tokenizer gives id %d, the model has %lld tokens",
                               d->config->model, d->prompt.data[i], (long long)vocab);
    return STLORA_OK;
}

/* A decoder with room for the turn: the one that there is, or a new one that holds nothing. */
static stlora_status make_room(stlora_dialog *d, int64_t *most, stlora_error *err)
{
    stlora_decoder_shape shape;
    const int64_t usual = stlora_decoder_most(d->session.model);
    STLORA_TRY(
        stlora_continue_shape(&d->session, (int64_t)d->prompt.count, d->config->max_new_tokens, &shape, most, err));
    if (d->decoder && d->shape.row == 0 && shape.row == 0 && shape.positions <= d->shape.positions) return STLORA_OK;
    stlora_decoder_free(d->decoder);
    d->decoder = NULL;
    d->held.count = 0;
    if (shape.row == 0) {
        const int64_t spare = usual - shape.positions < SPARE_POSITIONS ? usual - shape.positions : SPARE_POSITIONS;
        shape = stlora_decoder_single(shape.positions + spare);
    }
    STLORA_TRY(stlora_decoder_create(&d->decoder, d->session.model, d->session.lora, d->session.backend, d->session.act,
                                     &shape, err));
    d->shape = shape;
    return STLORA_OK;
}

static stlora_status add_text(stlora_dialog *d, const char *text, size_t length, stlora_error *err)
{
    const stlora_infer_callbacks *c = d->callbacks;
    if (!length) return STLORA_OK;
    STLORA_TRY(stlora_grow(&d->answer, &d->capacity, d->length + length, 1, "an answer", err));
    memcpy(d->answer + d->length, text, length);
    d->length += length;
    return c->on_text ? c->on_text(c->context, text, length, err) : STLORA_OK;
}

static stlora_status take_token(void *context, int32_t id, stlora_error *err)
{
    stlora_dialog *d = context;
    const char *text;
    size_t length;
    STLORA_TRY(stlora_ids_push(&d->prompt, id, err));
    stlora_status status = stlora_text_stream_push(d->stream, id, &text, &length, err);
    if (status == STLORA_E_FORMAT) return STLORA_OK; /* a row of the model's that is no token of the tokenizer's */
    STLORA_TRY(status);
    STLORA_TRY(stlora_stop_text_push(&d->stop, text, length, &text, &length, err));
    STLORA_TRY(add_text(d, text, length, err));
    return d->stop.ended ? stlora_fail(err, STLORA_E_INTERRUPTED, "the answer has ended") : STLORA_OK;
}

/* What the stream and the stop still hold. */
static stlora_status finish(stlora_dialog *d, stlora_error *err)
{
    const char *text;
    size_t length;
    STLORA_TRY(stlora_text_stream_flush(d->stream, &text, &length, err));
    STLORA_TRY(stlora_stop_text_push(&d->stop, text, length, &text, &length, err));
    STLORA_TRY(add_text(d, text, length, err));
    stlora_stop_text_flush(&d->stop, &text, &length);
    return add_text(d, text, length, err);
}

/* What the decoder holds is the beginning of what went in. */
static stlora_status remember(stlora_dialog *d, stlora_error *err)
{
    const size_t count = (size_t)stlora_decoder_held(d->decoder);
    STLORA_TRY(stlora_grow(&d->held.data, &d->held.capacity, count, sizeof *d->held.data, "ids", err));
    memcpy(d->held.data, d->prompt.data, count * sizeof *d->held.data);
    d->held.count = count;
    return STLORA_OK;
}

static stlora_status answer(stlora_dialog *d, stlora_error *err)
{
    const stlora_chat_config *c = d->config;
    const stlora_sampling sampling = {c->temperature, c->top_p, c->top_k,
                                      (uint64_t)c->seed +
                                          json_array_size(d->messages)}; /* no two turns draw the same */
    const char *text;
    size_t prompt, same = 0, length;
    int64_t most;
    STLORA_TRY(encode(d, err));
    STLORA_TRY(make_room(d, &most, err));
    prompt = d->prompt.count;
    while (same < d->held.count && same + 1 < prompt && d->held.data[same] == d->prompt.data[same])
        same++;
    d->held.count = 0; /* unknown until it has gone well */
    d->length = 0;
    STLORA_TRY(stlora_text_stream_flush(d->stream, &text, &length, err)); /* of what a failed turn has left */
    stlora_stop_text_flush(&d->stop, &text, &length);
    int32_t *given; /* the prompt grows while it is read */
    STLORA_TRY(stlora_alloc(&given, prompt, sizeof *given, "ids", err));
    memcpy(given, d->prompt.data, prompt * sizeof *given);
    stlora_status status = stlora_continue(&d->session, d->decoder, given, prompt, same, most, &sampling, false,
                                           &d->scratch, d->callbacks->stop, take_token, d, err);
    stlora_free(given);
    if (d->stop.ended && status == STLORA_E_INTERRUPTED) status = STLORA_OK;
    if (status != STLORA_OK && status != STLORA_E_INTERRUPTED) return status;
    STLORA_TRY(finish(d, err));
    STLORA_TRY(remember(d, err));
    return status;
}

stlora_status stlora_dialog_say(stlora_dialog *d, const char *text, size_t length, stlora_error *err)
{
    const size_t before = json_array_size(d->messages);
    STLORA_TRY(append(d->messages, "user", text, length, err));
    stlora_status status = answer(d, err), kept = status;
    if (status == STLORA_OK || (status == STLORA_E_INTERRUPTED && d->length > 0)) {
        kept = append(d->messages, "assistant", d->length ? d->answer : "", d->length, err);
        if (kept == STLORA_OK) return status;
    }
    while (json_array_size(d->messages) > before)
        (void)json_array_remove(d->messages, before);
    return kept;
}
