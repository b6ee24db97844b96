/* generate.c: stlora_generate. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/conversation.h"
#include "model/decoder.h"
#include "stlora/infer.h"
#include "train/configs.h"
#include "train/sample.h"
#include "train/stop_text.h"

typedef struct generator {
    stlora_session session;
    stlora_ids prompt, made;
    stlora_text_stream *stream; /* NULL without a tokenizer */
    stlora_stop_text stop;
    char *text;
    size_t length, capacity;
    const stlora_infer_callbacks *callbacks;
} generator;

/* "1,2,3" with blanks allowed around the numbers. */
static stlora_status parse_ids(const char *text, int64_t vocab, stlora_ids *out, stlora_error *err)
{
    const char *at = text;
    while (true) {
        char *end;
        while (isspace((unsigned char)*at))
            at++;
        errno = 0;
        long long id = isdigit((unsigned char)*at) ? strtoll(at, &end, 10) : -1;
        if (id < 0 || errno || id >= vocab)
            return stlora_fail(err, STLORA_E_USAGE,
                               "--prompt-ids: wanted token ids below %lld separated by commas, found \"%s\"",
                               (long long)vocab, at);
        STLORA_TRY(stlora_ids_push(out, (int32_t)id, err));
        while (isspace((unsigned char)*end))
            end++;
        if (!*end) return STLORA_OK;
        if (*end != ',')
            return stlora_fail(err, STLORA_E_USAGE, "--prompt-ids: wanted a comma between ids, found \"%s\"", end);
        at = end + 1;
    }
}

/* The text that an answer to the file's messages begins behind. */
static stlora_status render_messages(generator *g, const stlora_generate_config *c, stlora_chat_text *text,
                                     stlora_error *err)
{
    json_t *file = NULL, *made = NULL;
    stlora_conversation conversation;
    stlora_error why = {0};
    STLORA_TRY(stlora_session_chat(&g->session, c->model, c->chat_template, c->now, err));
    stlora_status status = stlora_conversation_load(&conversation, &file, &made, c->messages, err);
    if (status == STLORA_OK) status = stlora_conversation_check(&conversation, c->messages, err);
    if (status == STLORA_OK) {
        status = stlora_chat_render(g->session.chat, &conversation, true, text, &why);
        if (status != STLORA_OK) (void)stlora_fail(err, status, "%s: %s", c->messages, why.text);
    }
    json_decref(made);
    json_decref(file);
    return status;
}

static stlora_status encode_messages(generator *g, const stlora_generate_config *c, stlora_error *err)
{
    stlora_chat_text text = {0};
    STLORA_TRY(render_messages(g, c, &text, err));
    stlora_status status = stlora_encode(g->session.encoder, text.text, text.length, false, &g->prompt, err);
    if (status == STLORA_OK) status = stlora_session_answers(&g->session, err);
    if (!c->ignore_eos) g->stop.word = g->session.turn_end_text;
    stlora_chat_text_free(&text);
    return status;
}

static stlora_status read_prompt(generator *g, const stlora_generate_config *c, stlora_error *err)
{
    int64_t vocab = g->session.model->config.vocab_size;
    if ((c->prompt != NULL) + (c->prompt_ids != NULL) + (c->messages != NULL) != 1)
        return stlora_fail(err, STLORA_E_USAGE, "generate wants one of --prompt, --prompt-ids and --messages");
    if (c->prompt_ids) return parse_ids(c->prompt_ids, vocab, &g->prompt, err);
    if (!g->session.tokenizer)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: no tokenizer.json there; --prompt-ids works without one",
                           c->model);
    if (c->messages)
        STLORA_TRY(encode_messages(g, c, err));
    else
        STLORA_TRY(stlora_tokenizer_encode(g->session.tokenizer, c->prompt, strlen(c->prompt), true, &g->prompt, err));
    if (g->prompt.count == 0)
        return stlora_fail(err, STLORA_E_USAGE, "--%s: the text gives no token to go on from",
                           c->messages ? "messages" : "prompt");
    for (size_t i = 0; i < g->prompt.count; i++)
        if (g->prompt.data[i] >= vocab)
            return stlora_fail(err, STLORA_E_FORMAT, "%s: the tokenizer gives id %d, the model has %lld tokens",
                               c->model, g->prompt.data[i], (long long)vocab);
    return STLORA_OK;
}

static stlora_status add_text(generator *g, const char *text, size_t length, stlora_error *err)
{
    if (!length) return STLORA_OK;
    STLORA_TRY(stlora_grow(&g->text, &g->capacity, g->length + length + 1, 1, "text", err));
    memcpy(g->text + g->length, text, length);
    g->length += length;
    g->text[g->length] = '\0';
    if (g->callbacks && g->callbacks->on_text) return g->callbacks->on_text(g->callbacks->context, text, length, err);
    return STLORA_OK;
}

static stlora_status take_token(void *context, int32_t id, stlora_error *err)
{
    generator *g = context;
    const char *text;
    size_t length;
    STLORA_TRY(stlora_ids_push(&g->made, id, err));
    if (!g->stream) return STLORA_OK;
    /* A model may have more rows than its tokenizer has tokens: such an id is a number without text. */
    stlora_status status = stlora_text_stream_push(g->stream, id, &text, &length, err);
    if (status == STLORA_E_FORMAT) return STLORA_OK;
    STLORA_TRY(status);
    STLORA_TRY(stlora_stop_text_push(&g->stop, text, length, &text, &length, err));
    STLORA_TRY(add_text(g, text, length, err));
    return g->stop.ended ? stlora_fail(err, STLORA_E_INTERRUPTED, "the answer has ended") : STLORA_OK;
}

/* What the stream and the stop still hold. */
static stlora_status finish(generator *g, stlora_error *err)
{
    const char *text;
    size_t length;
    STLORA_TRY(stlora_text_stream_flush(g->stream, &text, &length, err));
    STLORA_TRY(stlora_stop_text_push(&g->stop, text, length, &text, &length, err));
    STLORA_TRY(add_text(g, text, length, err));
    stlora_stop_text_flush(&g->stop, &text, &length);
    return add_text(g, text, length, err);
}

static stlora_status run(generator *g, const stlora_generate_config *c, stlora_error *err)
{
    const stlora_session *s = &g->session;
    stlora_sampling sampling = {c->temperature, c->top_p, c->top_k, (uint64_t)c->seed};
    stlora_sampler_scratch scratch = {0};
    stlora_decoder *decoder = NULL;
    stlora_decoder_shape shape;
    int64_t most;
    STLORA_TRY(stlora_continue_shape(s, (int64_t)g->prompt.count, c->max_new_tokens, &shape, &most, err));
    STLORA_TRY(stlora_decoder_create(&decoder, s->model, s->lora, s->backend, s->act, &shape, err));
    stlora_status status = stlora_sampler_scratch_create(&scratch, s->model->config.vocab_size, err);
    if (status == STLORA_OK)
        status = stlora_continue(s, decoder, g->prompt.data, g->prompt.count, 0, most, &sampling, c->ignore_eos,
                                 &scratch, g->callbacks ? g->callbacks->stop : NULL, take_token, g, err);
    if (g->stop.ended && status == STLORA_E_INTERRUPTED) status = STLORA_OK;
    if (g->stream && (status == STLORA_OK || status == STLORA_E_INTERRUPTED)) {
        stlora_status rest = finish(g, err);
        if (status == STLORA_OK) status = rest;
    }
    stlora_sampler_scratch_free(&scratch);
    stlora_decoder_free(decoder);
    return status;
}

static stlora_status generate(generator *g, const stlora_generate_config *c, stlora_error *err)
{
    STLORA_TRY(stlora_session_open(&g->session, c->model, c->adapter, c->precision, (int)c->threads, false, err));
    STLORA_TRY(read_prompt(g, c, err));
    if (g->session.tokenizer) {
        STLORA_TRY(stlora_text_stream_create(&g->stream, g->session.tokenizer, true, err));
        STLORA_TRY(stlora_grow(&g->text, &g->capacity, 1, 1, "text", err)); /* "" where nothing is generated */
    }
    return run(g, c, err);
}

stlora_status stlora_generate(const stlora_params *params, const stlora_infer_callbacks *callbacks,
                              stlora_generation *out, stlora_error *err)
{
    generator g = {.callbacks = callbacks};
    stlora_status status = generate(&g, stlora_params_values(params, "generate"), err);
    if (out && status == STLORA_OK) {
        *out = (stlora_generation){g.made.data, g.made.count, g.text, g.length};
        g.made = (stlora_ids){0};
        g.text = NULL;
    }
    stlora_text_stream_free(g.stream);
    stlora_stop_text_free(&g.stop);
    stlora_ids_free(&g.prompt);
    stlora_ids_free(&g.made);
    stlora_free(g.text);
    stlora_session_close(&g.session);
    return status;
}

void stlora_generation_free(stlora_generation *generation)
{
    stlora_free(generation->ids);
    stlora_free(generation->text);
    *generation = (stlora_generation){0};
}
