/* chat_template_name.c: which of the formats that are built in a template writes. A published template has words of its own, so it is known by what
 * it makes of a few conversations. Guarded by tests/text/test_chat_template.c. */
#include <string.h>

#include "base/memory.h"
#include "text/chat_template.h"
#include "text/chat_template_known.h"

enum { CONVERSATIONS = 3 };

/* A question and its answer, with another question behind them, and with a system message before them. */
static json_t *conversations(void)
{
    return json_pack("[[{s:s, s:s}, {s:s, s:s}], [{s:s, s:s}, {s:s, s:s}, {s:s, s:s}], [{s:s, s:s}, {s:s, s:s}, {s:s, s:s}]]", "role", "user",
                     "content", "one two", "role", "assistant", "content", "three.", "role", "user", "content", "a\nb", "role", "assistant",
                     "content", "c", "role", "user", "content", "d?", "role", "system", "content", "be brief", "role", "user", "content",
                     "e f", "role", "assistant", "content", "g");
}

static stlora_status render(const stlora_chat_template *chat_template, const json_t *messages, stlora_chat_text *out)
{
    const bool asks = strcmp(json_string_value(json_object_get(json_array_get(messages, json_array_size(messages) - 1), "role")), "user") == 0;
    return stlora_chat_template_render(chat_template,
                                       &(stlora_chat_input){.messages = messages,
                                                            .add_generation_prompt = asks,
                                                            .bos_token = "<bos>",
                                                            .eos_token = "<eos>",
                                                            .now = "2000-01-02T03:04:05"},
                                       out, NULL);
}

/* Do both write the same? A template may refuse the system message that the built-in one places somehow. */
static bool same_text(const stlora_chat_template *a, const stlora_chat_template *known, const json_t *messages, bool may_refuse)
{
    stlora_chat_text ours = {0}, theirs = {0};
    const stlora_status status = render(a, messages, &theirs);
    bool same = status == STLORA_E_FORMAT && may_refuse;
    if (status == STLORA_OK && render(known, messages, &ours) == STLORA_OK)
        same = ours.length == theirs.length && memcmp(ours.text, theirs.text, ours.length) == 0;
    stlora_chat_text_free(&ours);
    stlora_chat_text_free(&theirs);
    return same;
}

const char *stlora_chat_template_name(const stlora_chat_template *chat_template)
{
    const char *name = NULL;
    json_t *messages = conversations();
    for (size_t i = 0; messages && i < stlora_known_template_count && !name; i++) {
        const stlora_known_template *known = &stlora_known_templates[i];
        stlora_chat_template *compiled = NULL;
        if (stlora_chat_template_compile(&compiled, known->name, known->text, strlen(known->text), NULL) != STLORA_OK) continue;
        size_t alike = 0;
        while (alike < CONVERSATIONS &&
               same_text(chat_template, compiled, json_array_get(messages, alike), alike + 1 == CONVERSATIONS))
            alike++;
        if (alike == CONVERSATIONS) name = known->name;
        stlora_chat_template_free(compiled);
    }
    json_decref(messages);
    return name;
}
