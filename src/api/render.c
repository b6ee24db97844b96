/* render.c: stlora_render: a conversation from a file through a chat template. */
#include <string.h>

#include "base/atomic_file.h"
#include "base/memory.h"
#include "data/conversation.h"
#include "stlora/infer.h"
#include "train/configs.h"

typedef struct renderer {
    stlora_chat *chat;
    json_t *file, *made; /* what --messages names; what of it had to be written anew */
    stlora_conversation conversation;
} renderer;

static stlora_status open_template(renderer *r, const stlora_render_config *c, stlora_error *err)
{
    if (c->template && (c->model || c->chat_template))
        return stlora_fail(err, STLORA_E_USAGE, "--template stands for itself, without --%s",
                           c->model ? "model" : "chat-template");
    if (!c->template && !c->model && !c->chat_template)
        return stlora_fail(err, STLORA_E_USAGE, "render wants one of --model, --template and --chat-template");
    if (c->template && !stlora_path_exists(c->template))
        return stlora_fail(err, STLORA_E_IO, "%s: there is no such file", c->template);
    STLORA_TRY(stlora_chat_open(&r->chat, c->model, c->template ? c->template : c->chat_template, c->now, err));
    STLORA_TRY(stlora_chat_set_token(r->chat, "bos_token", c->bos_token, err));
    return stlora_chat_set_token(r->chat, "eos_token", c->eos_token, err);
}

static stlora_status render(renderer *r, const stlora_render_config *c, stlora_chat_text *text, stlora_error *err)
{
    STLORA_TRY(open_template(r, c, err));
    STLORA_TRY(stlora_conversation_load(&r->conversation, &r->file, &r->made, c->messages, err));
    if (!c->show_mask) return stlora_chat_render(r->chat, &r->conversation, c->add_generation_prompt, text, err);
    if (c->add_generation_prompt)
        return stlora_fail(
            err, STLORA_E_USAGE,
            "--show-mask shows what is learnt, and --add-generation-prompt is not; leave one of them out");
    stlora_error why = {0};
    stlora_status status = stlora_chat_render_answers(r->chat, &r->conversation, text, &why);
    return status == STLORA_OK ? status : stlora_fail(err, status, "%s: %s", c->messages, why.text);
}

static stlora_status copy_spans(const stlora_chat_text *text, stlora_rendering *out, stlora_error *err)
{
    size_t(*spans)[2];
    STLORA_TRY(stlora_alloc(&spans, text->span_count, sizeof *spans, "spans", err));
    for (size_t i = 0; i < text->span_count; i++) {
        spans[i][0] = text->spans[i].begin;
        spans[i][1] = text->spans[i].end;
    }
    out->spans = spans;
    out->span_count = text->span_count;
    return STLORA_OK;
}

stlora_status stlora_render(const stlora_params *params, stlora_rendering *out, stlora_error *err)
{
    renderer r = {0};
    const stlora_render_config *c = stlora_params_values(params, "render");
    stlora_chat_text text = {0};
    stlora_rendering made = {0};
    stlora_status status = render(&r, c, &text, err);
    if (status == STLORA_OK && c->show_mask) status = copy_spans(&text, &made, err);
    if (status == STLORA_OK) {
        made.text = text.text;
        made.length = text.length;
        text.text = NULL;
        *out = made;
    }
    stlora_chat_text_free(&text);
    stlora_chat_free(r.chat);
    json_decref(r.file);
    json_decref(r.made);
    return status;
}

void stlora_rendering_free(stlora_rendering *rendering)
{
    if (!rendering) return;
    stlora_free(rendering->text);
    stlora_free(rendering->spans);
    *rendering = (stlora_rendering){0};
}
