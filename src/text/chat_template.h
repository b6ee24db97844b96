/* chat_template.h: a model's chat template, a Jinja text that makes one text of a conversation, as Transformers renders it.
 *
 * The environment is Transformers': trim_blocks, lstrip_blocks, loop controls, {% generation %}, its tojson, raise_exception and
 * strftime_now, an immutable sandbox, autoescape off. The language is that of jinja2 3.1; what is not supported is refused by name. A render
 * is bounded in steps, depth, memory and output. Guarded by tests/text/test_chat_template_golden.c, test_jinja.c and test_chat_template.c.
 */
#ifndef STLORA_TEXT_CHAT_TEMPLATE_H
#define STLORA_TEXT_CHAT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"

typedef struct stlora_chat_template stlora_chat_template; /* compiled, immutable; any number of threads may render it */

/* stlora_chat_template_compile: creates *out from text[0, length), UTF-8. name (copied: a path, "tokenizer_config.json: chat_template")
 * begins every sentence about it, which has line and column. STLORA_E_FORMAT: no template. STLORA_E_UNSUPPORTED: a statement, filter or
 * function of Jinja that is not here, by name. Pair with _free. */
STLORA_NODISCARD stlora_status stlora_chat_template_compile(stlora_chat_template **out, const char *name,
                                                            const char *text, size_t length, stlora_error *err);
void stlora_chat_template_free(stlora_chat_template *chat_template);

/* stlora_chat_template_find: creates *out from the template of a model directory: chat_template.jinja, else chat_template of
 * tokenizer_config.json, a string or a list of {"name", "template"}. choice NULL is the one named "default" (the first where there is none
 * of that name). Otherwise choice is a FILE, or the NAME of one in the list, or of one that is built in. dir may be NULL where choice is
 * given. STLORA_E_UNSUPPORTED: the directory has none. STLORA_E_USAGE: no file and no template has this name. */
STLORA_NODISCARD stlora_status stlora_chat_template_find(stlora_chat_template **out, const char *dir,
                                                         const char *choice, stlora_error *err);

/* stlora_chat_special_tokens: a new object of the special tokens that a model directory names, {"bos_token": "<s>", "eos_token": ...}, from
 * tokenizer_config.json, then special_tokens_map.json: what Transformers hands to a template. */
STLORA_NODISCARD stlora_status stlora_chat_special_tokens(json_t **out, const char *dir, stlora_error *err);

/* stlora_chat_template_name: the name of the built-in template whose format this one writes, by what both make of three conversations; NULL if
 * there is none. Static. */
const char *stlora_chat_template_name(const stlora_chat_template *chat_template);

/* stlora_chat_template_place: what stlora_chat_template_compile was told as name. Borrowed until _free. */
const char *stlora_chat_template_place(const stlora_chat_template *chat_template);

/* stlora_chat_template_marks_generation: whether it has a {% generation %} block. */
bool stlora_chat_template_marks_generation(const stlora_chat_template *chat_template);

/* What the template sees; all borrowed during the render. */
typedef struct stlora_chat_input {
    const json_t *messages; /* array */
    const json_t *tools;    /* array; NULL = none */
    bool add_generation_prompt;
    const char *bos_token, *eos_token; /* NULL = undefined for the template */
    const char *now;                   /* of strftime_now: "2024-07-26T12:34:56"; NULL = the present moment */
    const json_t *tokens;              /* object of special tokens, as stlora_chat_special_tokens gives them; they win over the two; NULL = none */
    const json_t *variables;           /* object of further variables; they win over all tokens; NULL = none */
} stlora_chat_input;

typedef struct stlora_text_span {
    size_t begin, end; /* bytes of the text, [begin, end) */
} stlora_text_span;

typedef struct stlora_chat_text {
    char *text; /* UTF-8, NUL-terminated */
    size_t length;
    stlora_text_span *spans; /* what {% generation %} blocks made, in order */
    size_t span_count;
} stlora_chat_text;

/* stlora_chat_template_render: creates *out, freed with stlora_chat_text_free. STLORA_E_FORMAT: the template's own raise_exception with its
 * sentence, a fault of the template on these messages (an undefined value used, a wrong type), or a bound exceeded. STLORA_E_NOMEM. */
STLORA_NODISCARD stlora_status stlora_chat_template_render(const stlora_chat_template *chat_template,
                                                           const stlora_chat_input *input, stlora_chat_text *out,
                                                           stlora_error *err);
void stlora_chat_text_free(stlora_chat_text *text);

#endif
