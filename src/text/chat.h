/* chat.h: how a model writes a conversation: its chat template, the special tokens that the template sees, and which parts of the text are
 * the assistant's answers. What the template's language is: chat_template.h. Guarded by tests/data/test_messages.c.
 */
#ifndef STLORA_TEXT_CHAT_H
#define STLORA_TEXT_CHAT_H

#include "text/chat_template.h"

typedef struct stlora_chat
    stlora_chat; /* immutable once its tokens are set; any number of threads may render with it */

/* Borrowed. */
typedef struct stlora_conversation {
    const json_t *messages;  /* array */
    const json_t *tools;     /* array; NULL = none */
    const json_t *variables; /* object of what else the template is given, chat_template_kwargs; NULL = nothing */
} stlora_conversation;

/* stlora_chat_open: creates *out from the template of a model directory and the special tokens that it names; dir and choice as for
 * stlora_chat_template_find, dir NULL: no tokens. now is what strftime_now sees (copied; NULL = the present moment). Without a choice a
 * directory whose template is missing or cannot be used is opened all the same: whoever renders is told. Pair with _free. */
STLORA_NODISCARD stlora_status stlora_chat_open(stlora_chat **out, const char *dir, const char *choice, const char *now,
                                                stlora_error *err);
void stlora_chat_free(stlora_chat *chat);

/* stlora_chat_check: whether there is a template that can be used; the status and sentence that every rendering would give. */
STLORA_NODISCARD stlora_status stlora_chat_check(const stlora_chat *chat, stlora_error *err);

/* stlora_chat_set_token: what the template sees under this name, "bos_token"; text NULL leaves it as it is. STLORA_E_FORMAT: no UTF-8. */
STLORA_NODISCARD stlora_status stlora_chat_set_token(stlora_chat *chat, const char *name, const char *text,
                                                     stlora_error *err);

/* stlora_chat_render: the conversation's text, *out freed with stlora_chat_text_free. STLORA_E_UNSUPPORTED: there is no template; else as
 * stlora_chat_template_render. */
STLORA_NODISCARD stlora_status stlora_chat_render(const stlora_chat *chat, const stlora_conversation *conversation,
                                                  bool add_generation_prompt, stlora_chat_text *out, stlora_error *err);

/* stlora_chat_render_first: the same of the first `count` messages alone. */
STLORA_NODISCARD stlora_status stlora_chat_render_first(const stlora_chat *chat,
                                                        const stlora_conversation *conversation, size_t count,
                                                        bool add_generation_prompt, stlora_chat_text *out,
                                                        stlora_error *err);

/* stlora_chat_render_answers: the conversation's text, without generation prompt, whose spans are the assistant's answers: what
 * {% generation %} blocks made where the template has any. Otherwise an answer reaches from where the text of the messages before it and the
 * generation prompt ends to where the text ends that ends with it; both texts must be beginnings of the whole, or else
 * STLORA_E_UNSUPPORTED. STLORA_E_FORMAT: no message is the assistant's. */
STLORA_NODISCARD stlora_status stlora_chat_render_answers(const stlora_chat *chat,
                                                          const stlora_conversation *conversation,
                                                          stlora_chat_text *out, stlora_error *err);

/* stlora_chat_after_answer: what the template writes behind an answer, white space in front left out; "" where it writes nothing or refuses an
 * ordinary conversation. Created, freed with stlora_free. STLORA_E_NOMEM. */
STLORA_NODISCARD stlora_status stlora_chat_after_answer(const stlora_chat *chat, char **text, stlora_error *err);

/* stlora_chat_last_answer: the index of the last message that is the assistant's, or the number of messages. */
size_t stlora_chat_last_answer(const json_t *messages);

#endif
