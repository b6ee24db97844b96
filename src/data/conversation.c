/* conversation.c: see conversation.h. */
#include "data/conversation.h"

#include <string.h>

#include "base/memory.h"
#include "data/row_shape.h"

/* ShareGPT's words, and those of the programs that its first conversations were held with. */
static const struct {
    const char *from, *role;
} SPEAKERS[] = {
    {"human", "user"},          {"user", "user"},         {"gpt", "assistant"},
    {"assistant", "assistant"}, {"chatgpt", "assistant"}, {"bing", "assistant"},
    {"bard", "assistant"},      {"system", "system"},     {"tool", "tool"},
};
enum { SPEAKER_COUNT = sizeof SPEAKERS / sizeof SPEAKERS[0] };

static stlora_status member(const json_t *row, const char *key, bool array, const char *where, const json_t **out,
                            stlora_error *err)
{
    const json_t *value = json_object_get(row, key);
    *out = NULL;
    if (!value || json_is_null(value)) return STLORA_OK;
    if (array ? !json_is_array(value) : !json_is_object(value))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: \"%s\" must be an %s, found %s", where, key,
                           array ? "array" : "object", stlora_row_found(value));
    *out = value;
    return STLORA_OK;
}

/* ---- ShareGPT ---- */

static const char *role_of(const char *from)
{
    for (size_t i = 0; i < SPEAKER_COUNT; i++)
        if (strcmp(SPEAKERS[i].from, from) == 0) return SPEAKERS[i].role;
    return NULL;
}

static stlora_status append_turn(json_t *messages, const json_t *turn, size_t i, const char *where, stlora_error *err)
{
    const json_t *from = json_object_get(turn, "from"), *value = json_object_get(turn, "value");
    if (!json_is_string(from))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: \"conversations\"[%zu]: \"from\" must be a string, found %s",
                           where, i, stlora_row_found(from));
    const char *role = role_of(json_string_value(from));
    if (!role)
        return stlora_fail(err, STLORA_E_FORMAT,
                           "%s: \"conversations\"[%zu]: \"from\" must be human, user, gpt, chatgpt, bing, bard, "
                           "assistant, system or tool, found \"%s\"",
                           where, i, json_string_value(from));
    if (!json_is_string(value))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: \"conversations\"[%zu]: \"value\" must be a string, found %s",
                           where, i, stlora_row_found(value));
    if (json_array_append_new(messages, json_pack("{s:s, s:O}", "role", role, "content", value)) == 0) return STLORA_OK;
    return stlora_fail(err, STLORA_E_NOMEM, "%s: no memory for messages", where);
}

/* Turns {"from", "value"} as messages; those that are messages already stay what they are. */
static stlora_status rewrite(const json_t *turns, const char *where, json_t **made, stlora_error *err)
{
    if (json_object_get(json_array_get(turns, 0), "role")) return STLORA_OK;
    json_t *messages = json_array();
    stlora_status status = messages ? STLORA_OK : stlora_fail(err, STLORA_E_NOMEM, "%s: no memory for messages", where);
    for (size_t i = 0; status == STLORA_OK && i < json_array_size(turns); i++)
        status = append_turn(messages, json_array_get(turns, i), i, where, err);
    if (status == STLORA_OK)
        *made = messages;
    else
        json_decref(messages);
    return status;
}

stlora_status stlora_conversation_read(stlora_conversation *out, json_t **made, const json_t *row, const char *where,
                                       stlora_error *err)
{
    stlora_conversation found = {0};
    json_t *rewritten = NULL;
    const json_t *turns = NULL;
    STLORA_TRY(member(row, "messages", true, where, &found.messages, err));
    STLORA_TRY(member(row, "tools", true, where, &found.tools, err));
    STLORA_TRY(member(row, "chat_template_kwargs", false, where, &found.variables, err));
    if (!found.messages) {
        STLORA_TRY(member(row, "conversations", true, where, &turns, err));
        if (!turns)
            return stlora_fail(err, STLORA_E_FORMAT,
                               "%s: wanted {\"messages\": [...]} or {\"conversations\": [...]}, found %s", where,
                               json_is_object(row) ? "neither" : stlora_row_found(row));
        STLORA_TRY(rewrite(turns, where, &rewritten, err));
        found.messages = rewritten ? rewritten : turns;
    }
    *made = rewritten;
    *out = found;
    return STLORA_OK;
}

stlora_status stlora_conversation_load(stlora_conversation *out, json_t **file, json_t **made, const char *path,
                                       stlora_error *err)
{
    json_t *root;
    STLORA_TRY(stlora_json_load(&root, path, err));
    *file = root;
    if (!json_is_array(root)) return stlora_conversation_read(out, made, root, path, err);
    *out = (stlora_conversation){.messages = root};
    return STLORA_OK;
}

/* ---- what messages hold ---- */

static stlora_status check_part(const json_t *part, size_t i, size_t k, const char *where, stlora_error *err)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    if (!type)
        return stlora_fail(err, STLORA_E_FORMAT,
                           "%s: message %zu: part %zu of \"content\" must be an object with a \"type\", found %s",
                           where, i + 1, k + 1, stlora_row_found(part));
    if (strcmp(type, "text") != 0)
        return stlora_fail(err, STLORA_E_UNSUPPORTED,
                           "%s: message %zu: part %zu of \"content\" is of type \"%s\", and only text is supported",
                           where, i + 1, k + 1, type);
    if (!json_is_string(json_object_get(part, "text")))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: message %zu: \"text\" of part %zu must be a string, found %s",
                           where, i + 1, k + 1, stlora_row_found(json_object_get(part, "text")));
    return STLORA_OK;
}

static stlora_status check_message(const json_t *message, size_t i, const char *where, stlora_error *err)
{
    const json_t *role = json_object_get(message, "role"), *content = json_object_get(message, "content");
    if (!json_is_object(message))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: message %zu must be an object, found %s", where, i + 1,
                           stlora_row_found(message));
    if (!json_is_string(role))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: message %zu: \"role\" must be a string, found %s", where, i + 1,
                           stlora_row_found(role));
    if (json_is_string(content)) return STLORA_OK;
    if ((!content || json_is_null(content)) && json_array_size(json_object_get(message, "tool_calls")) > 0)
        return STLORA_OK;
    if (!json_is_array(content))
        return stlora_fail(err, STLORA_E_FORMAT,
                           "%s: message %zu: \"content\" must be a string or a list of parts, found %s", where, i + 1,
                           stlora_row_found(content));
    for (size_t k = 0; k < json_array_size(content); k++)
        STLORA_TRY(check_part(json_array_get(content, k), i, k, where, err));
    return STLORA_OK;
}

stlora_status stlora_conversation_check(const stlora_conversation *conversation, const char *where, stlora_error *err)
{
    const size_t count = json_array_size(conversation->messages);
    if (count == 0) return stlora_fail(err, STLORA_E_FORMAT, "%s: there are no messages", where);
    for (size_t i = 0; i < count; i++)
        STLORA_TRY(check_message(json_array_get(conversation->messages, i), i, where, err));
    return STLORA_OK;
}

stlora_status stlora_message_text(const json_t *message, char **text, size_t *length, stlora_error *err)
{
    const json_t *content = json_object_get(message, "content");
    char *made;
    size_t total = json_string_length(content), used = 0;
    for (size_t k = 0; k < json_array_size(content); k++)
        total += json_string_length(json_object_get(json_array_get(content, k), "text"));
    STLORA_TRY(stlora_alloc(&made, total + 1, 1, "a message", err));
    if (json_is_string(content)) memcpy(made, json_string_value(content), total);
    for (size_t k = 0; k < json_array_size(content); k++) {
        const json_t *part = json_object_get(json_array_get(content, k), "text");
        memcpy(made + used, json_string_value(part), json_string_length(part));
        used += json_string_length(part);
    }
    *text = made;
    *length = total;
    return STLORA_OK;
}
