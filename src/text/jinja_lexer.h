/* jinja_lexer.h: a template's text as tokens, white space control done. Internal to text/. */
#ifndef STLORA_TEXT_JINJA_LEXER_H
#define STLORA_TEXT_JINJA_LEXER_H

#include "text/jinja_node.h"

typedef enum stlora_jtoken_kind {
    STLORA_JT_DATA, /* text between tags, as it is written out */
    STLORA_JT_VARIABLE_BEGIN,
    STLORA_JT_VARIABLE_END,
    STLORA_JT_BLOCK_BEGIN,
    STLORA_JT_BLOCK_END,
    STLORA_JT_NAME,
    STLORA_JT_STRING,
    STLORA_JT_NUMBER, /* value: INT or FLOAT */
    STLORA_JT_SIGN,   /* an operator or a bracket */
    STLORA_JT_END
} stlora_jtoken_kind;

typedef struct stlora_jtoken {
    stlora_jtoken_kind kind;
    unsigned line, column;
    stlora_jtext text; /* a string's is what its escapes stand for */
    stlora_jvalue value;
} stlora_jtoken;

/* stlora_jlex: creates all tokens, the last one END, in run's pool. text is valid UTF-8 with '\n' alone as line break. */
bool stlora_jlex(stlora_jrun *run, stlora_jtext text, const stlora_jtoken **out, size_t *count);

#endif
