/* jinja_parser.h: what the two halves of the parser, expressions and statements, share. Internal to jinja_parser_*.c. */
#ifndef STLORA_TEXT_JINJA_PARSER_H
#define STLORA_TEXT_JINJA_PARSER_H

#include "text/jinja_lexer.h"

typedef struct stlora_jparser {
    stlora_jrun *run; /* has the pool and takes the failure */
    stlora_jprogram *program;
    const stlora_jtoken *token; /* the one at hand; END is never passed */
    unsigned depth;
    bool soft;                    /* within an if: a filter that is not there fails when it is used */
    unsigned loops;               /* for blocks around, up to the macro around */
    unsigned all_loops;           /* for blocks around */
    stlora_jsignature *signature; /* of the macro around, or NULL */
} stlora_jparser;

/* Every function here gives NULL, or false, when it fails. */
bool stlora_jparser_fail(stlora_jparser *parser, const stlora_jtoken *token, stlora_status status, const char *format,
                         ...) STLORA_PRINTF(4, 5);
bool stlora_jparser_unexpected(stlora_jparser *parser, const char *wanted);
stlora_jnode *stlora_jparser_node(stlora_jparser *parser, stlora_jnode_kind kind, const stlora_jtoken *token);
bool stlora_jparser_add(stlora_jparser *parser, stlora_jnodes *nodes, const stlora_jnode *node);
bool stlora_jparser_symbol(stlora_jparser *parser, stlora_jtext name, unsigned *symbol);

static inline bool stlora_jat_name(const stlora_jtoken *token, const char *name)
{
    return token->kind == STLORA_JT_NAME && stlora_jtext_is(token->text, name);
}
static inline bool stlora_jat_sign(const stlora_jtoken *token, const char *sign)
{
    return token->kind == STLORA_JT_SIGN && stlora_jtext_is(token->text, sign);
}
/* The token at hand is passed when it is this one. */
static inline bool stlora_jskip_name(stlora_jparser *parser, const char *name)
{
    bool here = stlora_jat_name(parser->token, name);
    parser->token += here;
    return here;
}
static inline bool stlora_jskip_sign(stlora_jparser *parser, const char *sign)
{
    bool here = stlora_jat_sign(parser->token, sign);
    parser->token += here;
    return here;
}
bool stlora_jexpect_sign(stlora_jparser *parser, const char *sign);

stlora_jnode *stlora_jparse_expression(stlora_jparser *parser, bool with_if);
/* An expression, or several with commas as a tuple. */
stlora_jnode *stlora_jparse_tuple(stlora_jparser *parser, bool with_if);
/* What may stand on the left of an assignment; names: nothing but a name. */
stlora_jnode *stlora_jparse_target(stlora_jparser *parser, bool name_only, bool namespaces);
/* One or more filters on node, which may be NULL; begun: the first one's '|' is not there. */
stlora_jnode *stlora_jparse_filters(stlora_jparser *parser, stlora_jnode *node, bool begun);

#endif
