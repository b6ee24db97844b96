/* jinja_parser_statement.c: a template's statements, and the parser's beginning and end. What Jinja has and this interpreter has not is
 * refused by name. Guarded by tests/text/test_jinja.c. */
#include <stdarg.h>
#include <stdio.h>

#include "text/jinja_parser.h"
#include "text/utf8.h"

enum { PROGRAM_LIMIT = 256 << 20 }; /* bytes of a parsed template */

/* ---- what both halves use ---- */

bool stlora_jparser_fail(stlora_jparser *parser, const stlora_jtoken *token, stlora_status status, const char *format,
                         ...)
{
    char sentence[600];
    const stlora_jnode here = {.line = token->line, .column = token->column};
    va_list list;
    va_start(list, format);
    (void)vsnprintf(sentence, sizeof sentence, format, list);
    va_end(list);
    parser->run->at = &here;
    (void)stlora_jfail(parser->run, status, "%s", sentence);
    parser->run->at = NULL;
    return false;
}

bool stlora_jparser_unexpected(stlora_jparser *parser, const char *wanted)
{
    const stlora_jtoken *found = parser->token;
    if (found->kind == STLORA_JT_END)
        return stlora_jparser_fail(parser, found, STLORA_E_FORMAT, "the template ends where %s is wanted", wanted);
    if (found->kind == STLORA_JT_VARIABLE_END || found->kind == STLORA_JT_BLOCK_END)
        return stlora_jparser_fail(parser, found, STLORA_E_FORMAT, "the tag ends where %s is wanted", wanted);
    return stlora_jparser_fail(parser, found, STLORA_E_FORMAT, "wanted %s, found '%.*s'", wanted,
                               STLORA_JSHOWN(found->text));
}

stlora_jnode *stlora_jparser_node(stlora_jparser *parser, stlora_jnode_kind kind, const stlora_jtoken *token)
{
    stlora_jnode *node = stlora_jtake(parser->run, 1, sizeof *node);
    if (!node) return NULL;
    node->kind = kind;
    node->line = token->line;
    node->column = token->column;
    return node;
}

bool stlora_jparser_add(stlora_jparser *parser, stlora_jnodes *nodes, const stlora_jnode *node)
{
    if (!stlora_jgrow(parser->run, &nodes->items, nodes->count, &nodes->capacity, sizeof *nodes->items)) return false;
    nodes->items[nodes->count++] = node;
    return true;
}

bool stlora_jparser_symbol(stlora_jparser *parser, stlora_jtext name, unsigned *symbol)
{
    stlora_jprogram *program = parser->program;
    for (size_t i = 0; i < program->symbol_count; i++) {
        if (program->symbols[i].length != name.length || memcmp(program->symbols[i].data, name.data, name.length) != 0)
            continue;
        *symbol = (unsigned)i;
        return true;
    }
    if (program->symbol_count == 10000)
        return stlora_jparser_fail(parser, parser->token, STLORA_E_FORMAT, "more than 10000 names of variables");
    if (!stlora_jgrow(parser->run, &program->symbols, program->symbol_count, &program->symbol_capacity,
                      sizeof *program->symbols))
        return false;
    program->symbols[program->symbol_count] = name;
    *symbol = (unsigned)program->symbol_count++;
    return true;
}

bool stlora_jexpect_sign(stlora_jparser *parser, const char *sign)
{
    char wanted[8];
    (void)snprintf(wanted, sizeof wanted, "'%s'", sign);
    return stlora_jskip_sign(parser, sign) || stlora_jparser_unexpected(parser, wanted);
}

/* ---- statements ---- */

static bool parse_body(stlora_jparser *parser, const char *ends, const stlora_jnode **body, const stlora_jtoken **end);

static bool expect_block_end(stlora_jparser *parser)
{
    if (parser->token->kind != STLORA_JT_BLOCK_END) return stlora_jparser_unexpected(parser, "the end of the tag");
    parser->token++;
    return true;
}

/* The body of a block whose tag is read up to its end, with the tag that ends it. */
static bool parse_block(stlora_jparser *parser, const char *end, const stlora_jnode **body)
{
    const stlora_jtoken *found;
    return parse_body(parser, end, body, &found);
}

static bool parse_if(stlora_jparser *parser, stlora_jnode *node)
{
    const stlora_jtoken *end;
    bool soft = parser->soft;
    parser->soft = true;
    for (;;) {
        if (!(node->a = stlora_jparse_tuple(parser, false)) ||
            !parse_body(parser, "elif else endif", &node->body, &end))
            return false;
        if (!stlora_jat_name(end, "elif")) break;
        stlora_jnode *next = stlora_jparser_node(parser, STLORA_JN_IF, end);
        if (!next) return false;
        node->other = next;
        node = next;
    }
    if (stlora_jat_name(end, "else") && !parse_block(parser, "endif", &node->other)) return false;
    parser->soft = soft;
    return true;
}

static bool sets_loop(const stlora_jparser *parser, const stlora_jnode *target)
{
    if (target->kind == STLORA_JN_NAME) return target->symbol == parser->program->loop;
    for (size_t i = 0; i < target->list.count; i++)
        if (sets_loop(parser, target->list.items[i])) return true;
    return false;
}

static bool keeps_loop(stlora_jparser *parser, const stlora_jtoken *token)
{
    return stlora_jparser_fail(parser, token, STLORA_E_FORMAT, "nothing can be assigned to loop within a loop");
}

static bool parse_for(stlora_jparser *parser, stlora_jnode *node)
{
    const stlora_jtoken *end, *begin = parser->token;
    bool soft = parser->soft;
    if (!(node->a = stlora_jparse_target(parser, false, false))) return false;
    if (sets_loop(parser, node->a)) return keeps_loop(parser, begin);
    if (!stlora_jskip_name(parser, "in")) return stlora_jparser_unexpected(parser, "'in'");
    if (!(node->b = stlora_jparse_tuple(parser, false))) return false;
    parser->soft = false;
    if (stlora_jskip_name(parser, "if") && !(node->c = stlora_jparse_expression(parser, true))) return false;
    if (stlora_jat_name(parser->token, "recursive"))
        return stlora_jparser_fail(parser, parser->token, STLORA_E_UNSUPPORTED, "recursive loops are not supported");
    parser->loops++;
    parser->all_loops++;
    if (!parse_body(parser, "else endfor", &node->body, &end)) return false;
    parser->loops--;
    parser->all_loops--;
    if (stlora_jat_name(end, "else") && !parse_block(parser, "endfor", &node->other)) return false;
    parser->soft = soft;
    return true;
}

static bool parse_set(stlora_jparser *parser, stlora_jnode *node)
{
    const stlora_jtoken *begin = parser->token;
    if (!(node->a = stlora_jparse_target(parser, false, true))) return false;
    if (parser->all_loops > 0 && sets_loop(parser, node->a)) return keeps_loop(parser, begin);
    if (stlora_jskip_sign(parser, "=")) return (node->b = stlora_jparse_tuple(parser, true)) != NULL;
    node->kind = STLORA_JN_SET_BLOCK;
    if (stlora_jat_sign(parser->token, "|") && !(node->b = stlora_jparse_filters(parser, NULL, false))) return false;
    return parse_block(parser, "endset", &node->body);
}

static bool parse_with(stlora_jparser *parser, stlora_jnode *node)
{
    while (parser->token->kind != STLORA_JT_BLOCK_END) {
        if (node->list.count && !stlora_jexpect_sign(parser, ",")) return false;
        stlora_jnode *target = stlora_jparse_target(parser, false, false);
        if (!target || !stlora_jparser_add(parser, &node->list, target) || !stlora_jexpect_sign(parser, "="))
            return false;
        stlora_jnode *value = stlora_jparse_expression(parser, true);
        if (!value || !stlora_jparser_add(parser, &node->list, value)) return false;
    }
    return parse_block(parser, "endwith", &node->body);
}

static bool parse_signature(stlora_jparser *parser, stlora_jsignature *signature)
{
    if (!stlora_jexpect_sign(parser, "(")) return false;
    while (!stlora_jat_sign(parser->token, ")")) {
        if (signature->names.count && !stlora_jexpect_sign(parser, ",")) return false;
        stlora_jnode *name = stlora_jparse_target(parser, true, false);
        if (!name || !stlora_jparser_add(parser, &signature->names, name)) return false;
        if (stlora_jskip_sign(parser, "=")) {
            stlora_jnode *value = stlora_jparse_expression(parser, true);
            if (!value || !stlora_jparser_add(parser, &signature->defaults, value)) return false;
        } else if (signature->defaults.count) {
            return stlora_jparser_unexpected(parser, "'='");
        }
    }
    parser->token++;
    return true;
}

/* A body that becomes a function: a macro's, a call block's, a generation block's. */
static bool parse_function(stlora_jparser *parser, stlora_jnode *node, stlora_jsignature *signature, const char *end)
{
    stlora_jparser around = *parser;
    parser->signature = signature;
    parser->soft = false;
    parser->loops = 0;
    if (!parse_block(parser, end, &node->body)) return false;
    if (around.signature && node->kind != STLORA_JN_MACRO) { // a call block within a macro speaks for the macro
        around.signature->wants_caller |= signature->wants_caller;
        around.signature->wants_varargs |= signature->wants_varargs;
        around.signature->wants_kwargs |= signature->wants_kwargs;
    }
    parser->signature = around.signature;
    parser->soft = around.soft;
    parser->loops = around.loops;
    node->signature = signature;
    return true;
}

static bool parse_macro(stlora_jparser *parser, stlora_jnode *node)
{
    stlora_jsignature *signature = stlora_jtake(parser->run, 1, sizeof *signature);
    stlora_jnode *name = signature ? stlora_jparse_target(parser, true, false) : NULL;
    if (!name || !parse_signature(parser, signature)) return false;
    node->symbol = name->symbol;
    node->text = name->text;
    return parse_function(parser, node, signature, "endmacro");
}

static bool parse_call_block(stlora_jparser *parser, stlora_jnode *node)
{
    stlora_jsignature *signature = stlora_jtake(parser->run, 1, sizeof *signature);
    if (!signature || (stlora_jat_sign(parser->token, "(") && !parse_signature(parser, signature))) return false;
    const stlora_jtoken *begin = parser->token;
    if (!(node->a = stlora_jparse_expression(parser, true))) return false;
    if (node->a->kind != STLORA_JN_CALL)
        return stlora_jparser_fail(parser, begin, STLORA_E_FORMAT, "wanted a call behind 'call'");
    return parse_function(parser, node, signature, "endcall");
}

static bool parse_generation(stlora_jparser *parser, stlora_jnode *node)
{
    stlora_jsignature *signature = stlora_jtake(parser->run, 1, sizeof *signature);
    parser->program->marks_generation = true;
    return signature && parse_function(parser, node, signature, "endgeneration");
}

static bool parse_filter_block(stlora_jparser *parser, stlora_jnode *node)
{
    return (node->a = stlora_jparse_filters(parser, NULL, true)) && parse_block(parser, "endfilter", &node->body);
}

static bool parse_print(stlora_jparser *parser, stlora_jnode *node)
{
    while (parser->token->kind != STLORA_JT_BLOCK_END) {
        if (node->list.count && !stlora_jexpect_sign(parser, ",")) return false;
        stlora_jnode *output = stlora_jparser_node(parser, STLORA_JN_OUTPUT, parser->token);
        if (!output || !(output->a = stlora_jparse_expression(parser, true))) return false;
        if (!stlora_jparser_add(parser, &node->list, output)) return false;
    }
    return true;
}

static bool parse_jump(stlora_jparser *parser, stlora_jnode *node)
{
    if (parser->loops > 0) return true;
    const stlora_jtoken *token = parser->token - 1;
    return stlora_jparser_fail(parser, token, STLORA_E_FORMAT, "%s outside of a loop",
                               node->kind == STLORA_JN_BREAK ? "break" : "continue");
}

static const struct {
    const char *name;
    stlora_jnode_kind kind;
    bool (*parse)(stlora_jparser *parser, stlora_jnode *node); /* NULL: not here */
} statements[] = {
    {"if", STLORA_JN_IF, parse_if},
    {"for", STLORA_JN_FOR, parse_for},
    {"set", STLORA_JN_SET, parse_set},
    {"with", STLORA_JN_WITH, parse_with},
    {"macro", STLORA_JN_MACRO, parse_macro},
    {"call", STLORA_JN_CALL_BLOCK, parse_call_block},
    {"filter", STLORA_JN_FILTER_BLOCK, parse_filter_block},
    {"generation", STLORA_JN_GENERATION, parse_generation},
    {"print", STLORA_JN_BODY, parse_print},
    {"break", STLORA_JN_BREAK, parse_jump},
    {"continue", STLORA_JN_CONTINUE, parse_jump},
    {"block", STLORA_JN_BODY, NULL},
    {"extends", STLORA_JN_BODY, NULL},
    {"include", STLORA_JN_BODY, NULL},
    {"import", STLORA_JN_BODY, NULL},
    {"from", STLORA_JN_BODY, NULL},
    {"autoescape", STLORA_JN_BODY, NULL},
};

static stlora_jnode *parse_statement(stlora_jparser *parser)
{
    const stlora_jtoken *token = parser->token;
    if (token->kind != STLORA_JT_NAME) return stlora_jparser_unexpected(parser, "the name of a statement"), NULL;
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!stlora_jat_name(token, statements[i].name)) continue;
        if (!statements[i].parse)
            return stlora_jparser_fail(parser, token, STLORA_E_UNSUPPORTED, "the statement '%s' is not supported",
                                       statements[i].name),
                   NULL;
        parser->token++;
        stlora_jnode *node = stlora_jparser_node(parser, statements[i].kind, token);
        if (!node || ++parser->depth > 200) {
            if (node) (void)stlora_jparser_fail(parser, token, STLORA_E_FORMAT, "the statements are nested too deeply");
            return NULL;
        }
        if (!statements[i].parse(parser, node)) return NULL;
        parser->depth--;
        return node;
    }
    return stlora_jparser_fail(parser, token, STLORA_E_FORMAT, "there is no statement '%.*s' here",
                               STLORA_JSHOWN(token->text)),
           NULL;
}

/* Whether the token is one of these words. */
static bool is_among(const stlora_jtoken *token, const char *words)
{
    for (const char *word = words; token->kind == STLORA_JT_NAME && *word;) {
        size_t length = strcspn(word, " ");
        if (token->text.length == length && memcmp(token->text.data, word, length) == 0) return true;
        word += length + (word[length] == ' ');
    }
    return false;
}

/* Statements up to the end of the template, or to one of the tags `ends`. */
static bool parse_statements(stlora_jparser *parser, const char *ends, const stlora_jnode **body,
                             const stlora_jtoken **end)
{
    const stlora_jtoken *begin = parser->token;
    stlora_jnode *all = stlora_jparser_node(parser, STLORA_JN_BODY, begin);
    if (!all) return false;
    *body = all;
    while (parser->token->kind != STLORA_JT_END) {
        const stlora_jtoken *token = parser->token++;
        stlora_jnode *node;
        if (token->kind == STLORA_JT_DATA) {
            if ((node = stlora_jparser_node(parser, STLORA_JN_DATA, token))) node->text = token->text;
        } else if (token->kind == STLORA_JT_VARIABLE_BEGIN) {
            node = stlora_jparser_node(parser, STLORA_JN_OUTPUT, token);
            if (!node || !(node->a = stlora_jparse_tuple(parser, true))) return false;
            if (parser->token->kind != STLORA_JT_VARIABLE_END)
                return stlora_jparser_unexpected(parser, "the end of the tag");
            parser->token++;
        } else {
            if (ends && is_among(parser->token, ends)) {
                *end = parser->token++;
                return true;
            }
            node = parse_statement(parser);
            if (!node || !expect_block_end(parser)) return false;
        }
        if (!node || !stlora_jparser_add(parser, &all->list, node)) return false;
    }
    if (ends)
        return stlora_jparser_fail(parser, begin, STLORA_E_FORMAT, "the block that begins here has no end; wanted %s",
                                   ends);
    return true;
}

static bool parse_body(stlora_jparser *parser, const char *ends, const stlora_jnode **body, const stlora_jtoken **end)
{
    (void)stlora_jskip_sign(parser, ":"); // as in Python
    return expect_block_end(parser) && parse_statements(parser, ends, body, end);
}

/* ---- a whole template ---- */

/* The text with '\n' as its line breaks, the one at its very end left out. */
static bool take_source(stlora_jrun *run, const char *text, size_t length, stlora_jtext *out)
{
    size_t valid = stlora_utf8_valid(text, length), count = 0;
    if (valid < length) return stlora_jfault(run, "byte %zu of the template is no UTF-8", valid);
    char *copy = stlora_jtake(run, length + 1, 1);
    if (!copy) return false;
    for (size_t i = 0; i < length; i++) {
        copy[count++] = text[i] == '\r' ? '\n' : text[i];
        if (text[i] == '\r' && i + 1 < length && text[i + 1] == '\n') i++;
    }
    if (count && copy[count - 1] == '\n') count--;
    *out = (stlora_jtext){copy, count};
    return true;
}

static bool own_symbols(stlora_jparser *parser)
{
    stlora_jprogram *program = parser->program;
    return stlora_jparser_symbol(parser, (stlora_jtext){"loop", 4}, &program->loop) &&
           stlora_jparser_symbol(parser, (stlora_jtext){"caller", 6}, &program->caller) &&
           stlora_jparser_symbol(parser, (stlora_jtext){"varargs", 7}, &program->varargs) &&
           stlora_jparser_symbol(parser, (stlora_jtext){"kwargs", 6}, &program->kwargs);
}

stlora_status stlora_jparse(stlora_jprogram *out, const char *name, const char *text, size_t length, stlora_error *err)
{
    *out = (stlora_jprogram){0};
    stlora_jrun run = {.pool = {.limit = PROGRAM_LIMIT}, .name = name, .err = err, .steps = UINT64_MAX};
    stlora_jparser parser = {.run = &run, .program = out};
    stlora_jtext source;
    size_t count;
    const stlora_jtoken *end;
    if (take_source(&run, text, length, &source) && stlora_jlex(&run, source, &parser.token, &count) &&
        own_symbols(&parser))
        (void)parse_statements(&parser, NULL, &out->body, &end);
    out->pool = run.pool;
    return run.status;
}
