/* render.c: stlora_render: a conversation from a file through a chat template. */
#include <string.h>

#include "base/atomic_file.h"
#include "base/memory.h"
#include "stlora/infer.h"
#include "text/chat_template.h"
#include "train/configs.h"

typedef struct renderer {
    stlora_chat_template *chat_template;
    json_t *file;      /* what --messages names */
    json_t *variables; /* special tokens, and what the file adds */
    stlora_chat_input input;
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
    STLORA_TRY(
        stlora_chat_template_find(&r->chat_template, c->model, c->template ? c->template : c->chat_template, err));
    if (c->model) return stlora_chat_special_tokens(&r->variables, c->model, err);
    r->variables = json_object();
    return r->variables ? STLORA_OK : stlora_fail(err, STLORA_E_NOMEM, "no memory for variables");
}

static stlora_status set_token(json_t *variables, const char *name, const char *text, stlora_error *err)
{
    if (!text || json_object_set_new(variables, name, json_string(text)) == 0) return STLORA_OK;
    return stlora_fail(err, STLORA_E_FORMAT, "%s is no UTF-8 text", name);
}

/* The member of the file that a template takes as it is; null is as good as absent. */
static stlora_status member(const renderer *r, const char *path, const char *name, bool array, const json_t **out,
                            stlora_error *err)
{
    const json_t *found = json_object_get(r->file, name);
    *out = NULL;
    if (!found || json_is_null(found)) return STLORA_OK;
    if (array ? !json_is_array(found) : !json_is_object(found))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: %s: wanted an %s, found %s", path, name,
                           array ? "array" : "object", stlora_json_type(found));
    *out = found;
    return STLORA_OK;
}

static stlora_status read_messages(renderer *r, const char *path, stlora_error *err)
{
    const json_t *more = NULL;
    STLORA_TRY(stlora_json_load(&r->file, path, err));
    r->input.messages = r->file;
    if (json_is_array(r->file)) return STLORA_OK;
    if (!json_is_object(r->file) || !json_object_get(r->file, "messages"))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: wanted {\"messages\": [...]} or an array of messages", path);
    STLORA_TRY(member(r, path, "messages", true, &r->input.messages, err));
    STLORA_TRY(member(r, path, "tools", true, &r->input.tools, err));
    STLORA_TRY(member(r, path, "chat_template_kwargs", false, &more, err));
    if (!r->input.messages) return stlora_fail(err, STLORA_E_FORMAT, "%s: messages: wanted an array, found null", path);
    const char *name;
    json_t *value, *given = json_object_get(r->file, "chat_template_kwargs");
    if (more)
        json_object_foreach(given, name, value) if (json_object_set(r->variables, name, value) != 0) return stlora_fail(
            err, STLORA_E_NOMEM, "no memory for variables");
    return STLORA_OK;
}

static stlora_status render(renderer *r, const stlora_render_config *c, stlora_chat_text *text, stlora_error *err)
{
    STLORA_TRY(open_template(r, c, err));
    STLORA_TRY(read_messages(r, c->messages, err));
    STLORA_TRY(set_token(r->variables, "bos_token", c->bos_token, err));
    STLORA_TRY(set_token(r->variables, "eos_token", c->eos_token, err));
    r->input.add_generation_prompt = c->add_generation_prompt;
    r->input.now = c->now;
    r->input.variables = r->variables;
    if (c->show_mask && !stlora_chat_template_marks_generation(r->chat_template))
        return stlora_fail(err, STLORA_E_UNSUPPORTED, "%s: --show-mask needs a template with {%% generation %%} blocks",
                           stlora_chat_template_place(r->chat_template));
    return stlora_chat_template_render(r->chat_template, &r->input, text, err);
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
    stlora_chat_template_free(r.chat_template);
    json_decref(r.file);
    json_decref(r.variables);
    return status;
}

void stlora_rendering_free(stlora_rendering *rendering)
{
    if (!rendering) return;
    stlora_free(rendering->text);
    stlora_free(rendering->spans);
    *rendering = (stlora_rendering){0};
}
