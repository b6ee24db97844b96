/* chat.c: see chat.h. */
#include "text/chat.h"

#include <string.h>

#include "base/memory.h"

struct stlora_chat {
    stlora_chat_template *chat_template; /* NULL: missing tells why */
    stlora_error missing;
    json_t *tokens; /* object */
    char *now;
};

stlora_status stlora_chat_open(stlora_chat **out, const char *dir, const char *choice, const char *now,
                               stlora_error *err)
{
    stlora_chat *made;
    STLORA_TRY(stlora_alloc(&made, 1, sizeof *made, "chat template", err));
    stlora_status status = now ? stlora_strdup_n(&made->now, now, strlen(now), err) : STLORA_OK;
    if (status == STLORA_OK) status = stlora_chat_template_find(&made->chat_template, dir, choice, &made->missing);
    if (status == STLORA_OK && dir) status = stlora_chat_special_tokens(&made->tokens, dir, &made->missing);
    if (status == STLORA_OK && !made->tokens && !(made->tokens = json_object()))
        status = stlora_fail(&made->missing, STLORA_E_NOMEM, "no memory for special tokens");
    if (status == STLORA_OK || (!choice && status != STLORA_E_NOMEM)) {
        if (status != STLORA_OK) stlora_chat_template_free(made->chat_template);
        if (status != STLORA_OK) made->chat_template = NULL;
        *out = made;
        return STLORA_OK;
    }
    if (made->missing.text[0]) (void)stlora_fail(err, status, "%s", made->missing.text);
    stlora_chat_free(made);
    return status;
}

void stlora_chat_free(stlora_chat *chat)
{
    if (!chat) return;
    stlora_chat_template_free(chat->chat_template);
    json_decref(chat->tokens);
    stlora_free(chat->now);
    stlora_free(chat);
}

stlora_status stlora_chat_set_token(stlora_chat *chat, const char *name, const char *text, stlora_error *err)
{
    if (!text || !chat->tokens || json_object_set_new(chat->tokens, name, json_string(text)) == 0) return STLORA_OK;
    return stlora_fail(err, STLORA_E_FORMAT, "%s is no UTF-8 text", name);
}

stlora_status stlora_chat_check(const stlora_chat *chat, stlora_error *err)
{
    if (chat->chat_template) return STLORA_OK;
    return stlora_fail(err, chat->missing.status, "%s", chat->missing.text);
}

stlora_status stlora_chat_render(const stlora_chat *chat, const stlora_conversation *conversation,
                                 bool add_generation_prompt, stlora_chat_text *out, stlora_error *err)
{
    STLORA_TRY(stlora_chat_check(chat, err));
    const stlora_chat_input input = {.messages = conversation->messages,
                                     .tools = conversation->tools,
                                     .add_generation_prompt = add_generation_prompt,
                                     .now = chat->now,
                                     .tokens = chat->tokens,
                                     .variables = conversation->variables};
    return stlora_chat_template_render(chat->chat_template, &input, out, err);
}

/* ---- parts of a conversation ---- */

/* Makes `first` the first `count` messages; it has fewer of them now. */
static stlora_status append_until(json_t *first, const json_t *messages, size_t count, stlora_error *err)
{
    for (size_t i = json_array_size(first); first && i < count; i++)
        if (json_array_append(first, json_array_get(messages, i)) != 0) first = NULL;
    return first ? STLORA_OK : stlora_fail(err, STLORA_E_NOMEM, "no memory for messages");
}

stlora_status stlora_chat_render_first(const stlora_chat *chat, const stlora_conversation *conversation, size_t count,
                                       bool add_generation_prompt, stlora_chat_text *out, stlora_error *err)
{
    json_t *first = json_array();
    const stlora_conversation part = {first, conversation->tools, conversation->variables};
    stlora_status status = append_until(first, conversation->messages, count, err);
    if (status == STLORA_OK) status = stlora_chat_render(chat, &part, add_generation_prompt, out, err);
    json_decref(first);
    return status;
}

static bool is_answer(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    return role && strcmp(role, "assistant") == 0;
}

size_t stlora_chat_last_answer(const json_t *messages)
{
    const size_t count = json_array_size(messages);
    for (size_t i = count; i > 0; i--)
        if (is_answer(json_array_get(messages, i - 1))) return i - 1;
    return count;
}

/* ---- answers by growing beginnings ---- */

/* Where the text of the first messages ends in the whole. */
static stlora_status end_of_first(const stlora_chat *chat, const stlora_conversation *first, bool add_generation_prompt,
                                  const stlora_chat_text *whole, size_t *end, stlora_error *err)
{
    const size_t count = json_array_size(first->messages);
    stlora_chat_text part;
    STLORA_TRY(stlora_chat_render(chat, first, add_generation_prompt, &part, err));
    const bool begins = part.length <= whole->length && memcmp(part.text, whole->text, part.length) == 0;
    *end = part.length;
    stlora_chat_text_free(&part);
    if (begins) return STLORA_OK;
    return stlora_fail(
        err, STLORA_E_UNSUPPORTED,
        "%s: it writes %zu message%s%s in another way when more follow, so that it cannot be told what of the "
        "text is an answer; wanted a template with {%% generation %%} around answers (--chat-template "
        "takes a file, and the built-in ones have it), or training on every token (--no-completion-only-loss)",
        stlora_chat_template_place(chat->chat_template), count, count == 1 ? "" : "s",
        add_generation_prompt ? " and the generation prompt" : "");
}

static stlora_status find_answers(const stlora_chat *chat, const stlora_conversation *conversation, json_t *first,
                                  stlora_chat_text *whole, stlora_error *err)
{
    const stlora_conversation part = {first, conversation->tools, conversation->variables};
    const size_t count = json_array_size(conversation->messages);
    stlora_free(whole->spans);
    whole->spans = NULL;
    STLORA_TRY(stlora_alloc(&whole->spans, count, sizeof *whole->spans, "spans", err));
    for (size_t i = 0; i < count; i++) {
        if (!is_answer(json_array_get(conversation->messages, i))) continue;
        stlora_text_span *span = &whole->spans[whole->span_count];
        STLORA_TRY(append_until(first, conversation->messages, i, err));
        STLORA_TRY(end_of_first(chat, &part, true, whole, &span->begin, err));
        STLORA_TRY(append_until(first, conversation->messages, i + 1, err));
        STLORA_TRY(end_of_first(chat, &part, false, whole, &span->end, err));
        if (span->end > span->begin) whole->span_count++;
    }
    return STLORA_OK;
}

stlora_status stlora_chat_render_answers(const stlora_chat *chat, const stlora_conversation *conversation,
                                         stlora_chat_text *out, stlora_error *err)
{
    stlora_chat_text whole;
    STLORA_TRY(stlora_chat_render(chat, conversation, false, &whole, err));
    stlora_status status = STLORA_OK;
    if (stlora_chat_last_answer(conversation->messages) == json_array_size(conversation->messages)) {
        status = stlora_fail(err, STLORA_E_FORMAT, "no message has the role \"assistant\", whose answers are learnt");
    } else if (!stlora_chat_template_marks_generation(chat->chat_template)) {
        json_t *first = json_array();
        status = find_answers(chat, conversation, first, &whole, err);
        json_decref(first);
    }
    if (status != STLORA_OK) {
        stlora_chat_text_free(&whole);
        return status;
    }
    *out = whole;
    return STLORA_OK;
}

/* ---- the end of an answer ---- */

static const char PROBE[] = "qzjxanswer"; /* a word that no template writes and none trims */

stlora_status stlora_chat_after_answer(const stlora_chat *chat, char **text, stlora_error *err)
{
    json_t *messages =
        json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "user", "content", "Hi", "role", "assistant", "content", PROBE);
    const stlora_conversation conversation = {.messages = messages};
    stlora_chat_text all = {0};
    stlora_error ignored;
    const char *end = "";
    if (!messages) return stlora_fail(err, STLORA_E_NOMEM, "no memory for messages");
    if (stlora_chat_render(chat, &conversation, false, &all, &ignored) == STLORA_OK) {
        const char *found = strstr(all.text, PROBE);
        if (found) end = found + sizeof PROBE - 1;
        end += strspn(end, " \t\r\n");
    }
    stlora_status status = stlora_strdup_n(text, end, strlen(end), err);
    stlora_chat_text_free(&all);
    json_decref(messages);
    return status;
}
