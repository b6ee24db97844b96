/* jinja_parser_expression.c: expressions, with jinja2's precedence: if-else, or, and, not, comparisons, + -, ~, * / // %, **, signs, then
 * filters and tests, which bind more tightly than any operator. Guarded by tests/text/test_jinja.c. */
#include "text/jinja_parser.h"

static stlora_jnode *parse_unary(stlora_jparser *parser, bool with_filters);

/* ---- literals ---- */

static stlora_jnode *constant(stlora_jparser *parser, const stlora_jtoken *token, stlora_jvalue value)
{
    stlora_jnode *node = stlora_jparser_node(parser, STLORA_JN_CONST, token);
    if (node) node->value = value;
    return node;
}

static stlora_jnode *parse_strings(stlora_jparser *parser)
{
    const stlora_jtoken *first = parser->token;
    stlora_jbuilder whole = {.run = parser->run};
    for (; parser->token->kind == STLORA_JT_STRING; parser->token++) // strings behind one another are one
        if (!stlora_jput(&whole, parser->token->text.data, parser->token->text.length)) return NULL;
    return constant(parser, first, stlora_jbuilt(&whole));
}

/* A macro hands over what its body speaks of. */
static void note_name(stlora_jparser *parser, stlora_jtext name)
{
    if (!parser->signature) return;
    if (stlora_jtext_is(name, "caller")) parser->signature->wants_caller = true;
    if (stlora_jtext_is(name, "varargs")) parser->signature->wants_varargs = true;
    if (stlora_jtext_is(name, "kwargs")) parser->signature->wants_kwargs = true;
}

static stlora_jnode *parse_name(stlora_jparser *parser, bool namespaces)
{
    const stlora_jtoken *token = parser->token++;
    stlora_jtext name = token->text;
    if (stlora_jtext_is(name, "true") || stlora_jtext_is(name, "True"))
        return constant(parser, token, stlora_jbool(true));
    if (stlora_jtext_is(name, "false") || stlora_jtext_is(name, "False"))
        return constant(parser, token, stlora_jbool(false));
    if (stlora_jtext_is(name, "none") || stlora_jtext_is(name, "None")) return constant(parser, token, stlora_jnone());
    bool dotted = namespaces && stlora_jskip_sign(parser, ".");
    stlora_jnode *node = stlora_jparser_node(parser, dotted ? STLORA_JN_NAMESPACED : STLORA_JN_NAME, token);
    if (!node || !stlora_jparser_symbol(parser, name, &node->symbol)) return NULL;
    node->text = name;
    note_name(parser, name);
    if (!dotted) return node;
    if (parser->token->kind != STLORA_JT_NAME) return stlora_jparser_unexpected(parser, "a name"), NULL;
    node->value = stlora_jstring(parser->token->text.data, parser->token->text.length);
    parser->token++;
    return node;
}

static stlora_jnode *parse_list(stlora_jparser *parser)
{
    stlora_jnode *node = stlora_jparser_node(parser, STLORA_JN_LIST, parser->token++);
    while (node && !stlora_jat_sign(parser->token, "]")) {
        if (node->list.count && !stlora_jexpect_sign(parser, ",")) return NULL;
        if (stlora_jat_sign(parser->token, "]")) break;
        stlora_jnode *item = stlora_jparse_expression(parser, true);
        if (!item || !stlora_jparser_add(parser, &node->list, item)) return NULL;
    }
    parser->token++;
    return node;
}

static stlora_jnode *parse_dict(stlora_jparser *parser)
{
    stlora_jnode *node = stlora_jparser_node(parser, STLORA_JN_DICT, parser->token++);
    while (node && !stlora_jat_sign(parser->token, "}")) {
        if (node->list.count && !stlora_jexpect_sign(parser, ",")) return NULL;
        if (stlora_jat_sign(parser->token, "}")) break;
        stlora_jnode *key = stlora_jparse_expression(parser, true);
        if (!key || !stlora_jparser_add(parser, &node->list, key) || !stlora_jexpect_sign(parser, ":")) return NULL;
        stlora_jnode *value = stlora_jparse_expression(parser, true);
        if (!value || !stlora_jparser_add(parser, &node->list, value)) return NULL;
    }
    parser->token++;
    return node;
}

/* The items of a tuple, each by `item`; one without a comma stands for itself. */
static stlora_jnode *parse_items(stlora_jparser *parser, stlora_jnode *(*item)(stlora_jparser *, bool), bool flag,
                                 bool in_brackets)
{
    const stlora_jtoken *first = parser->token;
    stlora_jnode *node = stlora_jparser_node(parser, STLORA_JN_TUPLE, first);
    bool comma = false;
    while (node) {
        const stlora_jtoken *at = parser->token;
        if (at->kind == STLORA_JT_VARIABLE_END || at->kind == STLORA_JT_BLOCK_END || stlora_jat_sign(at, ")")) break;
        stlora_jnode *one = item(parser, flag);
        if (!one || !stlora_jparser_add(parser, &node->list, one)) return NULL;
        if (!stlora_jskip_sign(parser, ",")) break;
        comma = true;
    }
    if (!node || comma) return node;
    if (node->list.count == 1) return (stlora_jnode *)(uintptr_t)node->list.items[0];
    if (!in_brackets) return stlora_jparser_unexpected(parser, "an expression"), NULL;
    return node;
}

static stlora_jnode *parse_primary(stlora_jparser *parser, bool namespaces)
{
    const stlora_jtoken *token = parser->token;
    if (token->kind == STLORA_JT_NAME) return parse_name(parser, namespaces);
    if (token->kind == STLORA_JT_STRING) return parse_strings(parser);
    if (token->kind == STLORA_JT_NUMBER) {
        parser->token++;
        return constant(parser, token, token->value);
    }
    if (stlora_jat_sign(token, "(")) {
        parser->token++;
        if (++parser->depth > 200) return stlora_jparser_fail(parser, token, STLORA_E_FORMAT, "too deep"), NULL;
        stlora_jnode *node = parse_items(parser, stlora_jparse_expression, true, true);
        parser->depth--;
        return node && stlora_jexpect_sign(parser, ")") ? node : NULL;
    }
    if (stlora_jat_sign(token, "[")) return parse_list(parser);
    if (stlora_jat_sign(token, "{")) return parse_dict(parser);
    return stlora_jparser_unexpected(parser, "an expression"), NULL;
}

stlora_jnode *stlora_jparse_tuple(stlora_jparser *parser, bool with_if)
{
    return parse_items(parser, stlora_jparse_expression, with_if, false);
}

static bool can_assign(stlora_jparser *parser, const stlora_jnode *node, const stlora_jtoken *token)
{
    if (node->kind == STLORA_JN_NAME || node->kind == STLORA_JN_NAMESPACED) return true;
    if (node->kind != STLORA_JN_TUPLE)
        return stlora_jparser_fail(parser, token, STLORA_E_FORMAT, "nothing can be assigned to this");
    for (size_t i = 0; i < node->list.count; i++)
        if (!can_assign(parser, node->list.items[i], token)) return false;
    return true;
}

stlora_jnode *stlora_jparse_target(stlora_jparser *parser, bool name_only, bool namespaces)
{
    const stlora_jtoken *token = parser->token;
    if (name_only) {
        if (token->kind != STLORA_JT_NAME) return stlora_jparser_unexpected(parser, "a name"), NULL;
        stlora_jnode *node = parse_name(parser, false);
        if (node && node->kind == STLORA_JN_NAME) return node;
        if (node) (void)can_assign(parser, node, token);
        return NULL;
    }
    stlora_jnode *node = parse_items(parser, parse_primary, namespaces, false);
    return node && can_assign(parser, node, token) ? node : NULL;
}

/* ---- calls, attributes, items ---- */

static bool parse_argument(stlora_jparser *parser, stlora_jcall *call)
{
    const stlora_jtoken *token = parser->token;
    if (stlora_jat_sign(token, "*") || stlora_jat_sign(token, "**")) {
        bool twice = token->text.length == 2;
        if (call->star_star || (!twice && call->star)) return stlora_jparser_unexpected(parser, "an argument");
        parser->token++;
        *(twice ? &call->star_star : &call->star) = stlora_jparse_expression(parser, true);
        return parser->run->status == STLORA_OK;
    }
    if (token->kind == STLORA_JT_NAME && stlora_jat_sign(token + 1, "=")) {
        if (call->star_star) return stlora_jparser_unexpected(parser, "an argument");
        stlora_jtext *names = stlora_jtake(parser->run, call->named.count + 1, sizeof *names);
        if (!names) return false;
        if (call->named.count) memcpy(names, call->names, call->named.count * sizeof *names);
        names[call->named.count] = token->text;
        call->names = names;
        parser->token += 2;
        stlora_jnode *value = stlora_jparse_expression(parser, true);
        return value && stlora_jparser_add(parser, &call->named, value);
    }
    if (call->star || call->star_star || call->named.count)
        return stlora_jparser_fail(parser, token, STLORA_E_FORMAT, "an argument without a name behind one with a name");
    stlora_jnode *value = stlora_jparse_expression(parser, true);
    return value && stlora_jparser_add(parser, &call->values, value);
}

static const stlora_jcall *parse_arguments(stlora_jparser *parser)
{
    stlora_jcall *call = stlora_jtake(parser->run, 1, sizeof *call);
    if (!call || !stlora_jexpect_sign(parser, "(")) return NULL;
    for (bool first = true; !stlora_jat_sign(parser->token, ")"); first = false) {
        if (!first && !stlora_jexpect_sign(parser, ",")) return NULL;
        if (!first && stlora_jat_sign(parser->token, ")")) break;
        if (!parse_argument(parser, call)) return NULL;
    }
    parser->token++;
    return call;
}

/* What stands between "[" and "]": an expression, a tuple of them (also of none), or a slice: then *slice has its bounds. */
static stlora_jnode *parse_subscripts(stlora_jparser *parser, const stlora_jtoken *token, const stlora_jnode *bounds[3],
                                      bool *slice)
{
    size_t part = 0;
    stlora_jnode *tuple = stlora_jparser_node(parser, STLORA_JN_TUPLE, token), *only = NULL;
    for (; tuple && !stlora_jat_sign(parser->token, "]");) {
        if (stlora_jskip_sign(parser, ":")) {
            if (++part > 2) return stlora_jparser_unexpected(parser, "']'"), NULL;
            bounds[part - 1] = part == 1 ? only : bounds[part - 1];
            continue;
        }
        if (part ? bounds[part] != NULL : only != NULL && !stlora_jexpect_sign(parser, ","))
            return stlora_jparser_unexpected(parser, "']'"), NULL;
        stlora_jnode *one = stlora_jparse_expression(parser, true);
        if (!one) return NULL;
        if (part)
            bounds[part] = one;
        else if (!stlora_jparser_add(parser, &tuple->list, only = one))
            return NULL;
    }
    *slice = part > 0;
    if (tuple && part && tuple->list.count > 1)
        return stlora_jparser_fail(parser, token, STLORA_E_UNSUPPORTED,
                                   "several subscripts with a slice are not supported"),
               NULL;
    return tuple && tuple->list.count == 1 ? only : tuple;
}

static stlora_jnode *parse_subscript(stlora_jparser *parser, const stlora_jtoken *token, stlora_jnode *object)
{
    const stlora_jnode *bounds[3] = {NULL, NULL, NULL};
    bool slice;
    stlora_jnode *key = parse_subscripts(parser, token, bounds, &slice);
    stlora_jnode *node = key ? stlora_jparser_node(parser, slice ? STLORA_JN_SLICE : STLORA_JN_ITEM, token) : NULL;
    if (!node) return NULL;
    parser->token++;
    node->a = object;
    node->b = key;
    for (size_t i = 0; slice && i < 3; i++)
        if (!stlora_jparser_add(parser, &node->list, bounds[i])) return NULL;
    return node;
}

static stlora_jnode *parse_attribute(stlora_jparser *parser, const stlora_jtoken *token, stlora_jnode *object)
{
    const stlora_jtoken *name = parser->token++;
    bool number = name->kind == STLORA_JT_NUMBER && name->value.kind == STLORA_J_INT;
    if (name->kind != STLORA_JT_NAME && !number)
        return parser->token--, stlora_jparser_unexpected(parser, "a name or number"), NULL;
    stlora_jnode *node = stlora_jparser_node(parser, number ? STLORA_JN_ITEM : STLORA_JN_ATTRIBUTE, token);
    if (!node) return NULL;
    node->a = object;
    node->text = name->text;
    if (number) node->b = constant(parser, name, name->value);
    return number && !node->b ? NULL : node;
}

static stlora_jnode *parse_call(stlora_jparser *parser, stlora_jnode *callee)
{
    stlora_jnode *node = stlora_jparser_node(parser, STLORA_JN_CALL, parser->token);
    if (!node || !(node->call = parse_arguments(parser))) return NULL;
    node->a = callee;
    return node;
}

static stlora_jnode *parse_postfix(stlora_jparser *parser, stlora_jnode *node)
{
    while (node) {
        const stlora_jtoken *token = parser->token;
        if (stlora_jskip_sign(parser, "."))
            node = parse_attribute(parser, token, node);
        else if (stlora_jskip_sign(parser, "["))
            node = parse_subscript(parser, token, node);
        else if (stlora_jat_sign(token, "("))
            node = parse_call(parser, node);
        else
            break;
    }
    return node;
}

/* ---- filters and tests ---- */

/* The row of the filter or test at hand, whose name may have dots; false when it is a fault that there is none. */
static bool find_builtin(stlora_jparser *parser, stlora_jnode *node, bool filter, const stlora_jtoken *token)
{
    while (stlora_jat_sign(parser->token, ".") && parser->token[1].kind == STLORA_JT_NAME)
        parser->token += 2;
    node->text = token->text;
    node->text.length = (size_t)(parser->token[-1].text.data - token->text.data) + parser->token[-1].text.length;
    node->builtin = filter ? stlora_jfilter_find(node->text) : stlora_jtest_find(node->text);
    if (node->builtin || parser->soft) return true;
    if (filter && stlora_jfilter_known_elsewhere(node->text))
        return stlora_jparser_fail(parser, token, STLORA_E_UNSUPPORTED, "the filter '%.*s' is not supported",
                                   STLORA_JSHOWN(node->text));
    return stlora_jparser_fail(parser, token, STLORA_E_FORMAT, "there is no %s '%.*s'", filter ? "filter" : "test",
                               STLORA_JSHOWN(node->text));
}

stlora_jnode *stlora_jparse_filters(stlora_jparser *parser, stlora_jnode *node, bool begun)
{
    while (begun || stlora_jskip_sign(parser, "|")) {
        const stlora_jtoken *token = parser->token++;
        if (token->kind != STLORA_JT_NAME)
            return parser->token--, stlora_jparser_unexpected(parser, "the name of a filter"), NULL;
        stlora_jnode *filter = stlora_jparser_node(parser, STLORA_JN_FILTER, token);
        if (!filter || !find_builtin(parser, filter, true, token)) return NULL;
        filter->a = node;
        if (stlora_jat_sign(parser->token, "(") && !(filter->call = parse_arguments(parser))) return NULL;
        node = filter;
        begun = false;
    }
    return node;
}

/* Whether what follows a test's name is its argument, written without brackets. */
static bool begins_argument(const stlora_jtoken *token)
{
    if (token->kind == STLORA_JT_NAME)
        return !stlora_jat_name(token, "else") && !stlora_jat_name(token, "or") && !stlora_jat_name(token, "and");
    return token->kind == STLORA_JT_STRING || token->kind == STLORA_JT_NUMBER || stlora_jat_sign(token, "[") ||
           stlora_jat_sign(token, "{");
}

static stlora_jnode *parse_test(stlora_jparser *parser, stlora_jnode *object)
{
    const stlora_jtoken *token = parser->token++;
    bool negated = stlora_jskip_name(parser, "not");
    const stlora_jtoken *name = parser->token++;
    if (name->kind != STLORA_JT_NAME)
        return parser->token--, stlora_jparser_unexpected(parser, "the name of a test"), NULL;
    stlora_jnode *node = stlora_jparser_node(parser, STLORA_JN_TEST, name);
    if (!node || !find_builtin(parser, node, false, name)) return NULL;
    node->a = object;
    if (stlora_jat_sign(parser->token, "(")) {
        if (!(node->call = parse_arguments(parser))) return NULL;
    } else if (begins_argument(parser->token)) {
        if (stlora_jat_name(parser->token, "is"))
            return stlora_jparser_fail(parser, parser->token, STLORA_E_FORMAT, "tests with 'is' cannot be chained"),
                   NULL;
        stlora_jcall *call = stlora_jtake(parser->run, 1, sizeof *call);
        stlora_jnode *argument = call ? parse_postfix(parser, parse_primary(parser, false)) : NULL;
        if (!argument || !stlora_jparser_add(parser, &call->values, argument)) return NULL;
        node->call = call;
    }
    if (!negated) return node;
    stlora_jnode *other = stlora_jparser_node(parser, STLORA_JN_NOT, token);
    if (other) other->a = node;
    return other;
}

static stlora_jnode *parse_filters_and_tests(stlora_jparser *parser, stlora_jnode *node)
{
    while (node) {
        if (stlora_jat_sign(parser->token, "|"))
            node = stlora_jparse_filters(parser, node, false);
        else if (stlora_jat_name(parser->token, "is"))
            node = parse_test(parser, node);
        else if (stlora_jat_sign(parser->token, "("))
            node = parse_call(parser, node);
        else
            break;
    }
    return node;
}

/* ---- operators ---- */

static stlora_jnode *two(stlora_jparser *parser, stlora_jnode_kind kind, const stlora_jtoken *token, stlora_jnode *a,
                         stlora_jnode *b)
{
    stlora_jnode *node = b ? stlora_jparser_node(parser, kind, token) : NULL;
    if (!node) return NULL;
    node->a = a;
    node->b = b;
    return node;
}

static stlora_jnode *parse_unary(stlora_jparser *parser, bool with_filters)
{
    const stlora_jtoken *token = parser->token;
    stlora_jnode *node;
    if (stlora_jat_sign(token, "-") || stlora_jat_sign(token, "+")) {
        parser->token++;
        if (++parser->depth > 200) return stlora_jparser_fail(parser, token, STLORA_E_FORMAT, "too deep"), NULL;
        stlora_jnode *inner = parse_unary(parser, false);
        parser->depth--;
        node = two(parser, token->text.data[0] == '-' ? STLORA_JN_NEGATIVE : STLORA_JN_POSITIVE, token, inner, inner);
    } else {
        node = parse_primary(parser, false);
    }
    node = parse_postfix(parser, node);
    return with_filters ? parse_filters_and_tests(parser, node) : node;
}

static stlora_jnode *parse_power(stlora_jparser *parser)
{
    stlora_jnode *left = parse_unary(parser, true);
    while (left && stlora_jat_sign(parser->token, "**")) {
        const stlora_jtoken *token = parser->token++;
        left = two(parser, STLORA_JN_MATH, token, left, parse_unary(parser, true));
        if (left) left->sign = STLORA_J_POW;
    }
    return left;
}

static stlora_jnode *parse_product(stlora_jparser *parser)
{
    static const char *const signs[] = {"*", "/", "//", "%"};
    static const stlora_jsign means[] = {STLORA_J_MUL, STLORA_J_DIV, STLORA_J_FLOORDIV, STLORA_J_MOD};
    stlora_jnode *left = parse_power(parser);
    for (size_t i = 0; left && i < 4; i++) {
        if (!stlora_jat_sign(parser->token, signs[i])) continue;
        const stlora_jtoken *token = parser->token++;
        left = two(parser, STLORA_JN_MATH, token, left, parse_power(parser));
        if (left) left->sign = means[i];
        i = (size_t)-1; // from the first sign again
    }
    return left;
}

static stlora_jnode *parse_concat(stlora_jparser *parser)
{
    const stlora_jtoken *token = parser->token;
    stlora_jnode *first = parse_product(parser);
    if (!first || !stlora_jat_sign(parser->token, "~")) return first;
    stlora_jnode *node = stlora_jparser_node(parser, STLORA_JN_CONCAT, token);
    if (!node || !stlora_jparser_add(parser, &node->list, first)) return NULL;
    while (stlora_jskip_sign(parser, "~")) {
        stlora_jnode *next = parse_product(parser);
        if (!next || !stlora_jparser_add(parser, &node->list, next)) return NULL;
    }
    return node;
}

static stlora_jnode *parse_sum(stlora_jparser *parser)
{
    stlora_jnode *left = parse_concat(parser);
    while (left && (stlora_jat_sign(parser->token, "+") || stlora_jat_sign(parser->token, "-"))) {
        const stlora_jtoken *token = parser->token++;
        left = two(parser, STLORA_JN_MATH, token, left, parse_concat(parser));
        if (left) left->sign = token->text.data[0] == '+' ? STLORA_J_ADD : STLORA_J_SUB;
    }
    return left;
}

/* The comparison at hand, passed; empty if there is none. */
static stlora_jtext take_comparison(stlora_jparser *parser)
{
    static const char *const signs[] = {"==", "!=", "<", "<=", ">", ">="};
    const stlora_jtoken *token = parser->token;
    for (size_t i = 0; i < 6; i++)
        if (stlora_jskip_sign(parser, signs[i])) return token->text;
    if (stlora_jskip_name(parser, "in")) return token->text;
    if (!stlora_jat_name(token, "not") || !stlora_jat_name(token + 1, "in")) return (stlora_jtext){NULL, 0};
    parser->token += 2;
    return token->text;
}

static stlora_jnode *parse_comparison(stlora_jparser *parser)
{
    const stlora_jtoken *token = parser->token;
    stlora_jnode *left = parse_sum(parser), *node = NULL;
    while (left) {
        const stlora_jtoken *at = parser->token;
        stlora_jtext sign = take_comparison(parser);
        if (!sign.data) return node ? node : left;
        stlora_jnode *right = parse_sum(parser),
                     *compared = right ? stlora_jparser_node(parser, STLORA_JN_COMPARED, at) : NULL;
        if (!compared || (!node && !(node = stlora_jparser_node(parser, STLORA_JN_COMPARE, token)))) return NULL;
        node->a = left;
        compared->text = sign;
        compared->a = right;
        if (!stlora_jparser_add(parser, &node->list, compared)) return NULL;
    }
    return NULL;
}

static stlora_jnode *parse_not(stlora_jparser *parser)
{
    const stlora_jtoken *token = parser->token;
    if (!stlora_jskip_name(parser, "not")) return parse_comparison(parser);
    if (++parser->depth > 200) return stlora_jparser_fail(parser, token, STLORA_E_FORMAT, "too deep"), NULL;
    stlora_jnode *inner = parse_not(parser);
    parser->depth--;
    return two(parser, STLORA_JN_NOT, token, inner, inner);
}

static stlora_jnode *parse_and(stlora_jparser *parser)
{
    stlora_jnode *left = parse_not(parser);
    while (left && stlora_jat_name(parser->token, "and")) {
        const stlora_jtoken *token = parser->token++;
        left = two(parser, STLORA_JN_AND, token, left, parse_not(parser));
    }
    return left;
}

static stlora_jnode *parse_or(stlora_jparser *parser)
{
    stlora_jnode *left = parse_and(parser);
    while (left && stlora_jat_name(parser->token, "or")) {
        const stlora_jtoken *token = parser->token++;
        left = two(parser, STLORA_JN_OR, token, left, parse_and(parser));
    }
    return left;
}

stlora_jnode *stlora_jparse_expression(stlora_jparser *parser, bool with_if)
{
    if (++parser->depth > 200)
        return stlora_jparser_fail(parser, parser->token, STLORA_E_FORMAT, "this expression is nested too deeply"),
               NULL;
    stlora_jnode *node = parse_or(parser);
    while (node && with_if && stlora_jat_name(parser->token, "if")) {
        const stlora_jtoken *token = parser->token++;
        stlora_jnode *test = parse_or(parser), *other = NULL;
        if (test && stlora_jskip_name(parser, "else") && !(other = stlora_jparse_expression(parser, true))) return NULL;
        node = two(parser, STLORA_JN_IF_ELSE, token, node, test);
        if (node) node->c = other;
    }
    parser->depth--;
    return node;
}
