/* jinja_eval.c: the value of an expression: a walk over its tree. Guarded by tests/text/test_jinja.c. */
#include "text/jinja_eval.h"

#include <stdio.h>

/* ---- names ---- */

bool stlora_jbind(stlora_jrun *run, stlora_jscope *scope, unsigned symbol, stlora_jvalue value)
{
    for (size_t i = 0; i < scope->count; i++)
        if (scope->bindings[i].symbol == symbol) {
            scope->bindings[i].value = value;
            return true;
        }
    if (!stlora_jgrow(run, &scope->bindings, scope->count, &scope->capacity, sizeof *scope->bindings)) return false;
    scope->bindings[scope->count++] = (stlora_jbinding){symbol, value};
    return true;
}

static bool eval_name(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    for (const stlora_jscope *scope = run->render->scope; scope; scope = scope->around)
        for (size_t i = 0; i < scope->count; i++)
            if (scope->bindings[i].symbol == node->symbol) {
                *out = scope->bindings[i].value;
                return true;
            }
    const stlora_jbuiltin *function = stlora_jfunction_find(node->text);
    if (function)
        *out = (stlora_jvalue){.kind = STLORA_J_FUNCTION, .as.function = function};
    else
        *out = (stlora_jvalue){.kind = STLORA_J_UNDEFINED, .as.text = node->text};
    return true;
}

/* ---- literals ---- */

static bool eval_items(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    stlora_jkind kind = node->kind == STLORA_JN_LIST ? STLORA_J_LIST : STLORA_J_TUPLE;
    if (!stlora_jlist_make(run, kind, node->list.count, out)) return false;
    for (size_t i = 0; i < node->list.count; i++) {
        stlora_jvalue item;
        if (!stlora_jeval(run, node->list.items[i], &item) || !stlora_jlist_push(run, out->as.list, item)) return false;
    }
    return true;
}

static bool eval_dict(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    if (!stlora_jdict_make(run, STLORA_J_DICT, node->list.count / 2, out)) return false;
    for (size_t i = 0; i < node->list.count; i += 2) {
        stlora_jvalue key, value;
        if (!stlora_jeval(run, node->list.items[i], &key) || !stlora_jeval(run, node->list.items[i + 1], &value))
            return false;
        run->at = node->list.items[i];
        if (!stlora_jdict_set(run, out->as.dict, key, value)) return false;
    }
    return true;
}

static bool eval_concat(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    stlora_jbuilder text = {.run = run};
    for (size_t i = 0; i < node->list.count; i++) {
        stlora_jvalue part;
        if (!stlora_jeval(run, node->list.items[i], &part) || !stlora_jput_str(&text, part)) return false;
    }
    *out = stlora_jbuilt(&text);
    return true;
}

/* ---- operators ---- */

static bool compare(stlora_jrun *run, stlora_jtext sign, stlora_jvalue a, stlora_jvalue b, bool *out)
{
    bool in = sign.data[0] == 'i', not_in = sign.data[0] == 'n', same = sign.data[0] == '=',
         differs = sign.data[0] == '!';
    if (in || not_in) {
        if (!stlora_jcontains(run, a, b, out)) return false;
        *out = *out != not_in;
        return true;
    }
    if (same || differs) {
        if (!stlora_jequal(run, a, b, out)) return false;
        *out = *out != differs;
        return true;
    }
    int order;
    char shown[3] = {sign.data[0], sign.length == 2 ? '=' : '\0', '\0'};
    if (!stlora_jorder(run, a, b, shown, &order)) return false;
    *out = order == (sign.data[0] == '<' ? -1 : 1) || (sign.length == 2 && order == 0);
    return true;
}

static bool eval_comparison(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    stlora_jvalue left, right;
    bool truth = true;
    if (!stlora_jeval(run, node->a, &left)) return false;
    for (size_t i = 0; i < node->list.count && truth; i++, left = right) {
        const stlora_jnode *compared = node->list.items[i];
        if (!stlora_jeval(run, compared->a, &right)) return false;
        run->at = compared;
        if (!compare(run, compared->text, left, right, &truth)) return false;
    }
    *out = stlora_jbool(truth);
    return true;
}

static bool eval_math(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    stlora_jvalue a, b;
    if (!stlora_jeval(run, node->a, &a) || !stlora_jeval(run, node->b, &b)) return false;
    run->at = node;
    return stlora_jcompute(run, node->sign, a, b, out);
}

static bool eval_if_else(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    stlora_jvalue test;
    if (!stlora_jeval(run, node->b, &test)) return false;
    if (stlora_jtruth(test)) return stlora_jeval(run, node->a, out);
    if (node->c) return stlora_jeval(run, node->c, out);
    *out = stlora_jundefined("an if without else was false and so has no value");
    return true;
}

/* ---- access ---- */

static bool eval_slice(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    stlora_jvalue object, bounds[3] = {{0}, {0}, {0}};
    if (!stlora_jeval(run, node->a, &object)) return false;
    for (size_t i = 0; i < 3; i++)
        if (node->list.items[i] && !stlora_jeval(run, node->list.items[i], &bounds[i])) return false;
    run->at = node;
    return stlora_jslice(run, object, bounds, out);
}

static bool eval_item(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    stlora_jvalue object, key;
    if (!stlora_jeval(run, node->a, &object) || !stlora_jeval(run, node->b, &key)) return false;
    run->at = node;
    return stlora_jitem(run, object, key, out);
}

/* ---- calls ---- */

static bool add_star(stlora_jrun *run, const stlora_jcall *call, stlora_jlist *values)
{
    stlora_jvalue star;
    const stlora_jvalue *items;
    size_t count;
    if (!call->star) return true;
    if (!stlora_jeval(run, call->star, &star)) return false;
    run->at = call->star;
    if (!stlora_jwalk(run, star, &items, &count)) return false;
    for (size_t i = 0; i < count; i++)
        if (!stlora_jlist_push(run, values, items[i])) return false;
    return true;
}

static bool add_named(stlora_jrun *run, stlora_jlist *names, stlora_jlist *named, stlora_jtext name,
                      stlora_jvalue value)
{
    for (size_t i = 0; i < names->count; i++)
        if (names->items[i].as.text.length == name.length &&
            memcmp(names->items[i].as.text.data, name.data, name.length) == 0)
            return stlora_jfault(run, "the argument '%.*s' is given twice", STLORA_JSHOWN(name));
    return stlora_jlist_push(run, names, stlora_jstring(name.data, name.length)) &&
           stlora_jlist_push(run, named, value);
}

static bool add_star_star(stlora_jrun *run, const stlora_jcall *call, stlora_jlist *names, stlora_jlist *named)
{
    stlora_jvalue star;
    if (!call->star_star) return true;
    if (!stlora_jeval(run, call->star_star, &star)) return false;
    run->at = call->star_star;
    if (star.kind != STLORA_J_DICT)
        return stlora_jfault(run, "wanted a dict behind **, found a %s", stlora_jtype(star));
    for (size_t i = 0; i < star.as.dict->count; i++) {
        stlora_jvalue key = star.as.dict->keys[i];
        if (key.kind != STLORA_J_STRING) return stlora_jfault(run, "keywords must be strings");
        if (!add_named(run, names, named, key.as.text, star.as.dict->values[i])) return false;
    }
    return true;
}

bool stlora_jarguments_of(stlora_jrun *run, const stlora_jcall *call, const stlora_jvalue *with_caller,
                          stlora_jarguments *out)
{
    *out = (stlora_jarguments){0};
    if (!call || (!call->values.count && !call->named.count && !call->star && !call->star_star && !with_caller))
        return true;
    stlora_jvalue value, values, names, named;
    if (!stlora_jlist_make(run, STLORA_J_LIST, call->values.count, &values)) return false;
    for (size_t i = 0; i < call->values.count; i++)
        if (!stlora_jeval(run, call->values.items[i], &value) || !stlora_jlist_push(run, values.as.list, value))
            return false;
    if (!add_star(run, call, values.as.list)) return false;
    out->values = values.as.list->items;
    out->count = values.as.list->count;
    if (!call->named.count && !call->star_star && !with_caller) return true;
    if (!stlora_jlist_make(run, STLORA_J_LIST, call->named.count, &names) ||
        !stlora_jlist_make(run, STLORA_J_LIST, call->named.count, &named))
        return false;
    for (size_t i = 0; i < call->named.count; i++) {
        if (!stlora_jeval(run, call->named.items[i], &value)) return false;
        if (!add_named(run, names.as.list, named.as.list, call->names[i], value)) return false;
    }
    if (with_caller && !add_named(run, names.as.list, named.as.list, (stlora_jtext){"caller", 6}, *with_caller))
        return false;
    if (!add_star_star(run, call, names.as.list, named.as.list)) return false;
    stlora_jtext *texts = stlora_jtake(run, names.as.list->count + 1, sizeof *texts);
    if (!texts) return false;
    for (size_t i = 0; i < names.as.list->count; i++)
        texts[i] = names.as.list->items[i].as.text;
    out->names = texts;
    out->named = named.as.list->items;
    out->named_count = named.as.list->count;
    return true;
}

bool stlora_jcall_value(stlora_jrun *run, stlora_jvalue callee, const stlora_jarguments *args, stlora_jvalue *out)
{
    if (callee.kind == STLORA_J_MACRO) return stlora_jcall_macro(run, callee.as.macro, args, out);
    if (callee.kind == STLORA_J_FUNCTION) return stlora_jcall_builtin(run, callee.as.function, callee, args, out);
    if (callee.kind == STLORA_J_METHOD)
        return stlora_jcall_builtin(run, callee.as.method->builtin, callee.as.method->self, args, out);
    if (callee.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, callee);
    if (callee.kind == STLORA_J_LOOP)
        return stlora_jfail(run, STLORA_E_UNSUPPORTED, "recursive loops are not supported");
    return stlora_jfault(run, "'%s' object is not callable", stlora_jtype(callee));
}

static bool eval_call(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    stlora_jvalue callee;
    stlora_jarguments args;
    if (!stlora_jeval(run, node->a, &callee) || !stlora_jarguments_of(run, node->call, NULL, &args)) return false;
    run->at = node;
    return stlora_jcall_value(run, callee, &args, out);
}

static bool eval_builtin(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    stlora_jvalue object = run->render->filtered;
    stlora_jarguments args;
    bool filter = node->kind == STLORA_JN_FILTER;
    if (node->a && !stlora_jeval(run, node->a, &object)) return false;
    if (!stlora_jarguments_of(run, node->call, NULL, &args)) return false;
    run->at = node;
    if (node->builtin) return stlora_jcall_builtin(run, node->builtin, object, &args, out);
    if (filter && stlora_jfilter_known_elsewhere(node->text))
        return stlora_jfail(run, STLORA_E_UNSUPPORTED, "the filter '%.*s' is not supported", STLORA_JSHOWN(node->text));
    return stlora_jfault(run, "there is no %s '%.*s'", filter ? "filter" : "test", STLORA_JSHOWN(node->text));
}

/* ---- all of them ---- */

static bool eval_logic(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    if (!stlora_jeval(run, node->a, out)) return false;
    if (node->kind == STLORA_JN_NOT) {
        *out = stlora_jbool(!stlora_jtruth(*out));
        return true;
    }
    return stlora_jtruth(*out) == (node->kind == STLORA_JN_OR) || stlora_jeval(run, node->b, out);
}

static bool eval_sign(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    stlora_jvalue value;
    if (!stlora_jeval(run, node->a, &value)) return false;
    run->at = node;
    return stlora_jnegate(run, node->kind == STLORA_JN_NEGATIVE, value, out);
}

static bool eval_constant(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    (void)run;
    *out = node->value;
    return true;
}

static bool eval_attribute(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    stlora_jvalue object;
    if (!stlora_jeval(run, node->a, &object)) return false;
    run->at = node;
    return stlora_jattribute(run, object, node->text, out);
}

bool stlora_jeval(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out)
{
    static bool (*const by_kind[])(stlora_jrun *, const stlora_jnode *, stlora_jvalue *) = {
        [STLORA_JN_CONST] = eval_constant,      [STLORA_JN_NAME] = eval_name,
        [STLORA_JN_ATTRIBUTE] = eval_attribute, [STLORA_JN_ITEM] = eval_item,
        [STLORA_JN_SLICE] = eval_slice,         [STLORA_JN_CALL] = eval_call,
        [STLORA_JN_FILTER] = eval_builtin,      [STLORA_JN_TEST] = eval_builtin,
        [STLORA_JN_NOT] = eval_logic,           [STLORA_JN_NEGATIVE] = eval_sign,
        [STLORA_JN_POSITIVE] = eval_sign,       [STLORA_JN_MATH] = eval_math,
        [STLORA_JN_CONCAT] = eval_concat,       [STLORA_JN_COMPARE] = eval_comparison,
        [STLORA_JN_AND] = eval_logic,           [STLORA_JN_OR] = eval_logic,
        [STLORA_JN_IF_ELSE] = eval_if_else,     [STLORA_JN_LIST] = eval_items,
        [STLORA_JN_TUPLE] = eval_items,         [STLORA_JN_DICT] = eval_dict};
    run->at = node;
    if (!stlora_jcharge(run, 1) || !stlora_jenter(run)) return false;
    stlora_jvalue value = {0};
    bool ok = by_kind[node->kind](run, node, &value);
    run->depth--;
    *out = value;
    return ok;
}
