/* conversation.h: a JSON object as a conversation: {"messages", "tools", "chat_template_kwargs"}, or ShareGPT's {"conversations"}, whose
 * words become those of messages. Tests: tests/data/test_messages.c, tests/data/test_data_bad.c.
 */
#ifndef STLORA_DATA_CONVERSATION_H
#define STLORA_DATA_CONVERSATION_H

#include "text/chat.h"

/* stlora_conversation_read: *out borrows from row and from *made, what had to be written anew (NULL = nothing; a reference of the caller's).
 * `where` begins the sentence. STLORA_E_FORMAT: no array of messages, tools that are no array, chat_template_kwargs that are no object (null is
 * as good as absent), a "from" that nobody knows. What a message holds is not looked at. */
STLORA_NODISCARD stlora_status stlora_conversation_read(stlora_conversation *out, json_t **made, const json_t *row,
                                                        const char *where, stlora_error *err);

/* stlora_conversation_load: the same from a JSON file that is such an object, or the array of messages alone; *out borrows from *file (a
 * reference of the caller's, too) and from *made. STLORA_E_IO. */
STLORA_NODISCARD stlora_status stlora_conversation_load(stlora_conversation *out, json_t **file, json_t **made,
                                                        const char *path, stlora_error *err);

/* stlora_conversation_check: at least one message; each an object whose role is a string and whose content is a string, a list of
 * {"type": "text", "text"} parts, or, beside tool_calls, null or absent. STLORA_E_FORMAT; STLORA_E_UNSUPPORTED: parts of another type. */
STLORA_NODISCARD stlora_status stlora_conversation_check(const stlora_conversation *conversation, const char *where,
                                                         stlora_error *err);

/* stlora_message_text: a checked message's content, parts behind one another; created, freed with stlora_free. */
STLORA_NODISCARD stlora_status stlora_message_text(const json_t *message, char **text, size_t *length,
                                                   stlora_error *err);

#endif
