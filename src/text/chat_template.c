/* chat_template.c: a template compiled once, and rendered with the variables that Transformers hands to it.
 * Guarded by tests/text/test_chat_template_golden.c and test_chat_template.c. */
#include "text/chat_template.h"

#include "base/memory.h"
#include "text/jinja_eval.h"

enum { STEPS_MAX = 50 * 1000 * 1000, VALUES_MAX = 512 << 20 };

struct stlora_chat_template {
    char *name;
    stlora_jprogram program;
};

stlora_status stlora_chat_template_compile(stlora_chat_template **out, const char *name, const char *text,
                                           size_t length, stlora_error *err)
{
    stlora_chat_template *made;
    STLORA_TRY(stlora_alloc(&made, 1, sizeof *made, "chat template", err));
    stlora_status status = stlora_strdup_n(&made->name, name, strlen(name), err);
    if (status == STLORA_OK) status = stlora_jparse(&made->program, made->name, text, length, err);
    if (status != STLORA_OK) {
        stlora_chat_template_free(made);
        return status;
    }
    *out = made;
    return STLORA_OK;
}

void stlora_chat_template_free(stlora_chat_template *chat_template)
{
    if (!chat_template) return;
    stlora_jpool_free(&chat_template->program.pool);
    stlora_free(chat_template->name);
    stlora_free(chat_template);
}

bool stlora_chat_template_marks_generation(const stlora_chat_template *chat_template)
{
    return chat_template->program.marks_generation;
}

const char *stlora_chat_template_place(const stlora_chat_template *chat_template)
{
    return chat_template->name;
}

/* ---- variables ---- */

/* The number of a variable that the template speaks of; false where it does not. */
static bool speaks_of(const stlora_jprogram *program, const char *name, unsigned *symbol)
{
    for (size_t i = 0; i < program->symbol_count; i++)
        if (stlora_jtext_is(program->symbols[i], name)) {
            *symbol = (unsigned)i;
            return true;
        }
    return false;
}

static bool give(stlora_jrun *run, stlora_jscope *scope, const char *name, stlora_jvalue value)
{
    unsigned symbol;
    return !speaks_of(run->render->program, name, &symbol) || stlora_jbind(run, scope, symbol, value);
}

static bool give_json(stlora_jrun *run, stlora_jscope *scope, const char *name, const json_t *json)
{
    stlora_jvalue value;
    unsigned symbol;
    if (!speaks_of(run->render->program, name, &symbol)) return true;
    return stlora_jfrom_json(run, json, &value) && stlora_jbind(run, scope, symbol, value);
}

/* A message's reasoning has several names; Transformers hands it on under two of them. */
static bool alias_reasoning(stlora_jrun *run, stlora_jvalue *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    const stlora_jvalue *reasoning = NULL;
    stlora_jvalue made;
    if (message->kind != STLORA_J_DICT) return true;
    for (size_t i = 0; i < 3 && !reasoning; i++) {
        reasoning = stlora_jdict_find(message->as.dict, (stlora_jtext){names[i], strlen(names[i])});
        if (reasoning && reasoning->kind == STLORA_J_NONE) reasoning = NULL;
    }
    if (!reasoning) return true;
    const stlora_jdict *from = message->as.dict;
    if (!stlora_jdict_make(run, STLORA_J_DICT, from->count + 2, &made)) return false;
    if (!stlora_jdict_set(run, made.as.dict, stlora_jwords("thinking"), *reasoning)) return false;
    for (size_t i = 0; i < from->count; i++)
        if (!stlora_jdict_set(run, made.as.dict, from->keys[i], from->values[i])) return false;
    if (!stlora_jdict_set(run, made.as.dict, stlora_jwords("reasoning_content"), *reasoning)) return false;
    *message = made;
    return true;
}

static bool give_messages(stlora_jrun *run, stlora_jscope *scope, const json_t *messages)
{
    stlora_jvalue value;
    unsigned symbol;
    if (!speaks_of(run->render->program, "messages", &symbol)) return true;
    if (!stlora_jfrom_json(run, messages, &value)) return false;
    for (size_t i = 0; value.kind == STLORA_J_LIST && i < value.as.list->count; i++)
        if (!alias_reasoning(run, &value.as.list->items[i])) return false;
    return stlora_jbind(run, scope, symbol, value);
}

static bool give_members(stlora_jrun *run, stlora_jscope *scope, const json_t *object)
{
    const char *name;
    json_t *value, *members = (json_t *)(uintptr_t)object; // jansson's iterators are not const; nothing is changed
    json_object_foreach(members, name, value) if (!give_json(run, scope, name, value)) return false;
    return true;
}

static bool give_all(stlora_jrun *run, stlora_jscope *scope, const stlora_chat_input *input)
{
    if (input->bos_token && !give(run, scope, "bos_token", stlora_jwords(input->bos_token))) return false;
    if (input->eos_token && !give(run, scope, "eos_token", stlora_jwords(input->eos_token))) return false;
    if (!give(run, scope, "documents", stlora_jnone())) return false;
    if (!give_members(run, scope, input->tokens) || !give_members(run, scope, input->variables)) return false;
    if (!give(run, scope, "add_generation_prompt", stlora_jbool(input->add_generation_prompt))) return false;
    return give_json(run, scope, "tools", input->tools) && give_messages(run, scope, input->messages);
}

/* ---- rendering ---- */

static stlora_status hand_over(const stlora_jrender *render, stlora_chat_text *out, stlora_error *err)
{
    stlora_chat_text made = {.length = render->root.count, .span_count = render->span_count};
    STLORA_TRY(stlora_strdup_n(&made.text, render->root.data ? render->root.data : "", made.length, err));
    stlora_status status = stlora_alloc(&made.spans, made.span_count, sizeof *made.spans, "spans", err);
    if (status != STLORA_OK) {
        stlora_chat_text_free(&made);
        return status;
    }
    if (made.span_count) memcpy(made.spans, render->spans, made.span_count * sizeof *made.spans);
    *out = made;
    return STLORA_OK;
}

stlora_status stlora_chat_template_render(const stlora_chat_template *chat_template, const stlora_chat_input *input,
                                          stlora_chat_text *out, stlora_error *err)
{
    stlora_jscope given = {0}, top = {.around = &given};
    stlora_jrender render = {.program = &chat_template->program, .scope = &top};
    stlora_jrun run = {.pool = {.limit = VALUES_MAX},
                       .name = chat_template->name,
                       .err = err,
                       .steps = STEPS_MAX,
                       .now = input->now,
                       .render = &render};
    render.root.run = &run;
    render.out = &render.root;
    if (give_all(&run, &given, input)) (void)stlora_jexecute(&run, chat_template->program.body);
    stlora_status status = run.status;
    if (status == STLORA_OK) status = hand_over(&render, out, err);
    stlora_jpool_free(&run.pool);
    return status;
}

void stlora_chat_text_free(stlora_chat_text *text)
{
    stlora_free(text->text);
    stlora_free(text->spans);
    *text = (stlora_chat_text){0};
}
