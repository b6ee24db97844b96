/* jinja_statement.c: what statements do: output, variables, loops, macros. Scopes are jinja2's: a loop's body, a macro, with, and every block
 * whose output becomes a value have one of their own; if has none. Guarded by tests/text/test_jinja.c. */
#include <stdio.h>

#include "text/jinja_eval.h"

enum { OUTPUT_MAX = 64 << 20 }; /* bytes, of all blocks together */

/* ---- output ---- */

static bool write_value(stlora_jrun *run, stlora_jvalue value)
{
    stlora_jrender *render = run->render;
    size_t before = render->out->count;
    if (!stlora_jput_str(render->out, value)) return false;
    render->written += render->out->count - before;
    return render->written <= OUTPUT_MAX || stlora_jfault(run, "the output has more than %d MiB", OUTPUT_MAX >> 20);
}

/* A body whose output is a value, in this scope. */
static bool capture(stlora_jrun *run, const stlora_jnode *body, stlora_jscope *scope, stlora_jvalue *out)
{
    stlora_jrender *render = run->render;
    stlora_jbuilder text = {.run = run}, *outer = render->out;
    stlora_jscope *here = render->scope;
    render->out = &text;
    render->scope = scope;
    bool ok = stlora_jexecute(run, body);
    render->out = outer;
    render->scope = here;
    *out = stlora_jbuilt(&text);
    return ok;
}

static bool capture_here(stlora_jrun *run, const stlora_jnode *body, stlora_jvalue *out)
{
    stlora_jscope *scope = stlora_jtake(run, 1, sizeof *scope);
    if (!scope) return false;
    scope->around = run->render->scope;
    return capture(run, body, scope, out);
}

static bool execute_output(stlora_jrun *run, const stlora_jnode *node)
{
    stlora_jvalue value;
    if (!stlora_jeval(run, node->a, &value)) return false;
    run->at = node;
    return write_value(run, value);
}

static bool execute_data(stlora_jrun *run, const stlora_jnode *node)
{
    return write_value(run, stlora_jstring(node->text.data, node->text.length));
}

/* ---- assignment ---- */

static bool assign_attribute(stlora_jrun *run, const stlora_jnode *target, stlora_jvalue value)
{
    stlora_jnode name = {.kind = STLORA_JN_NAME,
                         .line = target->line,
                         .column = target->column,
                         .symbol = target->symbol,
                         .text = target->text};
    stlora_jvalue space;
    if (!stlora_jeval(run, &name, &space)) return false;
    run->at = target;
    if (space.kind != STLORA_J_NAMESPACE) return stlora_jfault(run, "cannot assign attribute on non-namespace object");
    if (target->value.as.text.data[0] == '_')
        return stlora_jfault(run, "a namespace has no attributes with '_' in front");
    return stlora_jdict_set(run, space.as.dict, target->value, value);
}

static bool assign(stlora_jrun *run, stlora_jscope *scope, const stlora_jnode *target, stlora_jvalue value)
{
    if (target->kind == STLORA_JN_NAME) return stlora_jbind(run, scope, target->symbol, value);
    if (target->kind == STLORA_JN_NAMESPACED) return assign_attribute(run, target, value);
    const stlora_jvalue *items;
    size_t count;
    run->at = target;
    if (!stlora_jwalk(run, value, &items, &count)) return false;
    if (count != target->list.count) return stlora_jfault(run, "%zu values for %zu names", count, target->list.count);
    for (size_t i = 0; i < count; i++)
        if (!assign(run, scope, target->list.items[i], items[i])) return false;
    return true;
}

static bool execute_set(stlora_jrun *run, const stlora_jnode *node)
{
    stlora_jvalue value;
    return stlora_jeval(run, node->b, &value) && assign(run, run->render->scope, node->a, value);
}

/* A body through the filters of `filters`, which may be NULL. */
static bool filtered_body(stlora_jrun *run, const stlora_jnode *body, const stlora_jnode *filters, stlora_jvalue *out)
{
    if (!capture_here(run, body, out)) return false;
    if (!filters || run->render->jump != STLORA_J_ON) return true;
    run->render->filtered = *out;
    return stlora_jeval(run, filters, out);
}

static bool execute_set_block(stlora_jrun *run, const stlora_jnode *node)
{
    stlora_jvalue value;
    if (!filtered_body(run, node->body, node->b, &value)) return false;
    return run->render->jump != STLORA_J_ON || assign(run, run->render->scope, node->a, value);
}

static bool execute_filter_block(stlora_jrun *run, const stlora_jnode *node)
{
    stlora_jvalue value;
    return filtered_body(run, node->body, node->a, &value) &&
           (run->render->jump != STLORA_J_ON || write_value(run, value));
}

static bool execute_with(stlora_jrun *run, const stlora_jnode *node)
{
    stlora_jscope *scope = stlora_jtake(run, 1, sizeof *scope), *here = run->render->scope;
    if (!scope) return false;
    scope->around = here;
    for (size_t i = 0; i < node->list.count; i += 2) { // values see what was before
        stlora_jvalue value;
        if (!stlora_jeval(run, node->list.items[i + 1], &value) || !assign(run, scope, node->list.items[i], value))
            return false;
    }
    run->render->scope = scope;
    bool ok = stlora_jexecute(run, node->body);
    run->render->scope = here;
    return ok;
}

/* ---- if and for ---- */

static bool execute_if(stlora_jrun *run, const stlora_jnode *node)
{
    for (;;) {
        stlora_jvalue test;
        if (!stlora_jeval(run, node->a, &test)) return false;
        if (stlora_jtruth(test)) return stlora_jexecute(run, node->body);
        if (!node->other) return true;
        if (node->other->kind != STLORA_JN_IF) return stlora_jexecute(run, node->other);
        node = node->other; // elif
    }
}

/* The items that the loop's own test lets through. */
static bool test_items(stlora_jrun *run, const stlora_jnode *node, const stlora_jvalue **items, size_t *count)
{
    stlora_jscope *here = run->render->scope, scope = {.around = here};
    stlora_jvalue kept;
    if (!stlora_jlist_make(run, STLORA_J_LIST, *count, &kept)) return false;
    for (size_t i = 0; i < *count; i++) {
        stlora_jvalue test;
        if (!assign(run, &scope, node->a, (*items)[i])) return false;
        run->render->scope = &scope;
        bool ok = stlora_jeval(run, node->c, &test);
        run->render->scope = here;
        if (!ok || (stlora_jtruth(test) && !stlora_jlist_push(run, kept.as.list, (*items)[i]))) return false;
    }
    *items = kept.as.list->items;
    *count = kept.as.list->count;
    return true;
}

/* *ended: whether a round came to the end of the body; without one, else has its turn, as in jinja2. */
static bool run_loop(stlora_jrun *run, const stlora_jnode *node, stlora_jloop *loop, bool *ended)
{
    stlora_jrender *render = run->render;
    stlora_jscope *here = render->scope, *scope = NULL;
    bool ok = true;
    for (; loop->index < loop->count && ok; loop->index++) {
        if (!scope || scope->captured) {
            if (!(scope = stlora_jtake(run, 1, sizeof *scope))) return false;
            scope->around = here;
        }
        scope->count = 0; // every round begins anew
        stlora_jvalue self = {.kind = STLORA_J_LOOP, .as.loop = loop};
        if (!stlora_jcharge(run, 1) || !stlora_jbind(run, scope, render->program->loop, self)) return false;
        if (!assign(run, scope, node->a, loop->items[loop->index])) return false;
        render->scope = scope;
        ok = stlora_jexecute(run, node->body);
        render->scope = here;
        bool leave = render->jump == STLORA_J_BREAK;
        *ended = *ended || render->jump == STLORA_J_ON;
        render->jump = STLORA_J_ON;
        if (leave) break;
    }
    return ok;
}

static bool execute_for(stlora_jrun *run, const stlora_jnode *node)
{
    stlora_jvalue walked;
    stlora_jloop *loop = stlora_jtake(run, 1, sizeof *loop);
    if (!loop || !stlora_jeval(run, node->b, &walked)) return false;
    run->at = node->b;
    if (!stlora_jwalk(run, walked, &loop->items, &loop->count)) return false;
    if (node->c && !test_items(run, node, &loop->items, &loop->count)) return false;
    bool ended = false;
    if (!run_loop(run, node, loop, &ended)) return false;
    if (ended || !node->other) return true;
    stlora_jscope *here = run->render->scope, *scope = stlora_jtake(run, 1, sizeof *scope);
    if (!scope) return false;
    scope->around = here;
    run->render->scope = scope;
    bool ok = stlora_jexecute(run, node->other);
    run->render->scope = here;
    return ok;
}

/* ---- macros ---- */

stlora_jtext stlora_jmacro_name(const stlora_jmacro *macro)
{
    return macro->node->kind == STLORA_JN_MACRO ? macro->node->text : (stlora_jtext){"caller", 6};
}

static bool make_macro(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    stlora_jmacro *macro = stlora_jtake(run, 1, sizeof *macro);
    if (!macro) return false;
    *macro = (stlora_jmacro){node, run->render->scope};
    for (stlora_jscope *scope = macro->scope; scope; scope = scope->around)
        scope->captured = true;
    *out = (stlora_jvalue){.kind = STLORA_J_MACRO, .as.macro = macro};
    return true;
}

static bool execute_macro(stlora_jrun *run, const stlora_jnode *node)
{
    stlora_jvalue macro;
    return make_macro(run, node, &macro) && stlora_jbind(run, run->render->scope, node->symbol, macro);
}

/* The value of parameter i: given by place, by name (then noted in used), by default, or undefined. */
static bool bind_parameter(stlora_jrun *run, const stlora_jmacro *macro, stlora_jscope *scope,
                           const stlora_jarguments *args, size_t i, bool *used)
{
    const stlora_jsignature *signature = macro->node->signature;
    const stlora_jnode *name = signature->names.items[i];
    size_t plain = signature->names.count - signature->defaults.count;
    stlora_jvalue value;
    if (i < args->count) return stlora_jbind(run, scope, name->symbol, args->values[i]);
    for (size_t k = 0; k < args->named_count; k++)
        if (args->names[k].length == name->text.length &&
            memcmp(args->names[k].data, name->text.data, name->text.length) == 0) {
            used[k] = true;
            return stlora_jbind(run, scope, name->symbol, args->named[k]);
        }
    if (i < plain) {
        stlora_jbuilder reason = {.run = run};
        if (!stlora_jput_words(&reason, "parameter '") || !stlora_jput(&reason, name->text.data, name->text.length) ||
            !stlora_jput_words(&reason, "' was not provided"))
            return false;
        value = (stlora_jvalue){.kind = STLORA_J_UNDEFINED, .tag = 1, .as.text = stlora_jbuilt_text(&reason)};
    } else {
        stlora_jscope *here = run->render->scope;
        run->render->scope = scope;
        bool ok = stlora_jeval(run, signature->defaults.items[i - plain], &value);
        run->render->scope = here;
        if (!ok) return false;
    }
    return stlora_jbind(run, scope, name->symbol, value);
}

/* caller, kwargs and varargs, where the body speaks of them; otherwise what is left over is too much. */
static bool bind_rest(stlora_jrun *run, const stlora_jmacro *macro, stlora_jscope *scope, const stlora_jarguments *args,
                      bool *used)
{
    const stlora_jsignature *signature = macro->node->signature;
    const stlora_jprogram *program = run->render->program;
    stlora_jtext name = stlora_jmacro_name(macro);
    stlora_jvalue value, kwargs = {0};
    if (signature->wants_kwargs && !stlora_jdict_make(run, STLORA_J_DICT, 0, &kwargs)) return false;
    if (signature->wants_caller) {
        value = stlora_jundefined("No caller defined");
        for (size_t k = 0; k < args->named_count; k++)
            if (!used[k] && stlora_jtext_is(args->names[k], "caller")) {
                value = args->named[k];
                used[k] = true;
            }
        bool parameter = false;
        for (size_t i = 0; i < signature->names.count; i++)
            parameter |= signature->names.items[i]->symbol == program->caller;
        if (!parameter && !stlora_jbind(run, scope, program->caller, value)) return false;
    }
    for (size_t k = 0; k < args->named_count; k++) {
        if (used[k]) continue;
        if (!signature->wants_kwargs)
            return stlora_jfault(run, "macro '%.*s' takes no keyword argument '%.*s'", STLORA_JSHOWN(name),
                                 STLORA_JSHOWN(args->names[k]));
        if (!stlora_jdict_set(run, kwargs.as.dict, stlora_jstring(args->names[k].data, args->names[k].length),
                              args->named[k]))
            return false;
    }
    if (signature->wants_kwargs && !stlora_jbind(run, scope, program->kwargs, kwargs)) return false;
    size_t count = signature->names.count;
    if (!signature->wants_varargs)
        return args->count <= count ||
               stlora_jfault(run, "macro '%.*s' takes not more than %zu argument(s)", STLORA_JSHOWN(name), count);
    if (!stlora_jlist_make(run, STLORA_J_TUPLE, args->count, &value)) return false;
    for (size_t i = count; i < args->count; i++)
        if (!stlora_jlist_push(run, value.as.list, args->values[i])) return false;
    return stlora_jbind(run, scope, program->varargs, value);
}

bool stlora_jcall_macro(stlora_jrun *run, const stlora_jmacro *macro, const stlora_jarguments *args, stlora_jvalue *out)
{
    stlora_jscope *scope = stlora_jtake(run, 1, sizeof *scope);
    bool *used = stlora_jtake(run, args->named_count + 1, sizeof *used);
    if (!scope || !used) return false;
    scope->around = macro->scope;
    for (size_t i = 0; i < macro->node->signature->names.count; i++)
        if (!bind_parameter(run, macro, scope, args, i, used)) return false;
    if (!bind_rest(run, macro, scope, args, used)) return false;
    return capture(run, macro->node->body, scope, out);
}

static bool execute_call_block(stlora_jrun *run, const stlora_jnode *node)
{
    stlora_jvalue caller, callee, value;
    stlora_jarguments args;
    if (!make_macro(run, node, &caller) || !stlora_jeval(run, node->a->a, &callee) ||
        !stlora_jarguments_of(run, node->a->call, &caller, &args))
        return false;
    run->at = node->a;
    return stlora_jcall_value(run, callee, &args, &value) && write_value(run, value);
}

/* What the block makes is supervised. Its place is counted in the render's own output, as Transformers does. */
static bool execute_generation(stlora_jrun *run, const stlora_jnode *node)
{
    stlora_jrender *render = run->render;
    stlora_jvalue text;
    if (!capture_here(run, node->body, &text)) return false;
    if (!stlora_jgrow(run, &render->spans, render->span_count, &render->span_capacity, sizeof *render->spans))
        return false;
    size_t begin = render->root.count;
    render->spans[render->span_count++] = (stlora_text_span){begin, begin + text.as.text.length};
    return write_value(run, text);
}

/* ---- all of them ---- */

static bool execute_body(stlora_jrun *run, const stlora_jnode *node)
{
    for (size_t i = 0; i < node->list.count && run->render->jump == STLORA_J_ON; i++)
        if (!stlora_jexecute(run, node->list.items[i])) return false;
    return true;
}

static bool execute_break(stlora_jrun *run, const stlora_jnode *node)
{
    run->render->jump = node->kind == STLORA_JN_BREAK ? STLORA_J_BREAK : STLORA_J_CONTINUE;
    return true;
}

bool stlora_jexecute(stlora_jrun *run, const stlora_jnode *node)
{
    static bool (*const by_kind[])(stlora_jrun *,
                                   const stlora_jnode *) = {[STLORA_JN_BODY] = execute_body,
                                                            [STLORA_JN_DATA] = execute_data,
                                                            [STLORA_JN_OUTPUT] = execute_output,
                                                            [STLORA_JN_FOR] = execute_for,
                                                            [STLORA_JN_IF] = execute_if,
                                                            [STLORA_JN_SET] = execute_set,
                                                            [STLORA_JN_SET_BLOCK] = execute_set_block,
                                                            [STLORA_JN_WITH] = execute_with,
                                                            [STLORA_JN_MACRO] = execute_macro,
                                                            [STLORA_JN_CALL_BLOCK] = execute_call_block,
                                                            [STLORA_JN_BREAK] = execute_break,
                                                            [STLORA_JN_FILTER_BLOCK] = execute_filter_block,
                                                            [STLORA_JN_CONTINUE] = execute_break,
                                                            [STLORA_JN_GENERATION] = execute_generation};
    run->at = node;
    if (!stlora_jcharge(run, 1) || !stlora_jenter(run)) return false;
    bool ok = by_kind[node->kind](run, node);
    run->depth--;
    return ok;
}
