/* jinja_node.h: what the parser makes of a template: expressions and statements, never changed afterwards. Internal to text/. */
#ifndef STLORA_TEXT_JINJA_NODE_H
#define STLORA_TEXT_JINJA_NODE_H

#include "text/jinja_builtin.h"

typedef enum stlora_jnode_kind {
    /* expressions */
    STLORA_JN_CONST,     /* value */
    STLORA_JN_NAME,      /* symbol, text */
    STLORA_JN_ATTRIBUTE, /* a . text */
    STLORA_JN_ITEM,      /* a [ b ] */
    STLORA_JN_SLICE,     /* a [ items[0] : items[1] : items[2] ], each may be NULL */
    STLORA_JN_CALL,      /* a ( call ) */
    STLORA_JN_FILTER, /* a | builtin ( call ); a NULL: the body of a filter block; builtin NULL: there is none named text */
    STLORA_JN_TEST, /* a is builtin ( call ) */
    STLORA_JN_NOT,
    STLORA_JN_NEGATIVE,
    STLORA_JN_POSITIVE,
    STLORA_JN_MATH,     /* a sign b */
    STLORA_JN_CONCAT,   /* items, as text */
    STLORA_JN_COMPARE,  /* a, then items, each a COMPARED */
    STLORA_JN_COMPARED, /* text: the comparison; a: its right side */
    STLORA_JN_AND,
    STLORA_JN_OR,
    STLORA_JN_IF_ELSE, /* a if b else c; c may be NULL */
    STLORA_JN_LIST,
    STLORA_JN_TUPLE,
    STLORA_JN_DICT, /* items: keys and values in turn */
    /* what is assigned to; also NAME and TUPLE */
    STLORA_JN_NAMESPACED, /* symbol, text: the name; value: the attribute */
    /* statements */
    STLORA_JN_BODY,         /* items */
    STLORA_JN_DATA,         /* text */
    STLORA_JN_OUTPUT,       /* a */
    STLORA_JN_FOR,          /* a: target, b: what is walked, c: the test or NULL; body; other or NULL */
    STLORA_JN_IF,           /* a: the test; body; other or NULL */
    STLORA_JN_SET,          /* a: target; b */
    STLORA_JN_SET_BLOCK,    /* a: target; b: filters or NULL; body */
    STLORA_JN_WITH,         /* items: targets and values in turn; body */
    STLORA_JN_MACRO,        /* symbol, text; signature; body */
    STLORA_JN_CALL_BLOCK,   /* a: the CALL; signature; body */
    STLORA_JN_FILTER_BLOCK, /* a: the filters; body */
    STLORA_JN_GENERATION,   /* body */
    STLORA_JN_BREAK,
    STLORA_JN_CONTINUE
} stlora_jnode_kind;

typedef struct stlora_jnode stlora_jnode;

typedef struct stlora_jnodes {
    const stlora_jnode **items;
    size_t count, capacity;
} stlora_jnodes;

/* The arguments of a call. */
typedef struct stlora_jcall {
    stlora_jnodes values, named;
    const stlora_jtext *names;            /* [named.count] */
    const stlora_jnode *star, *star_star; /* *list and **dict, or NULL */
} stlora_jcall;

/* The parameters of a macro or call block. */
typedef struct stlora_jsignature {
    stlora_jnodes names;                            /* NAME */
    stlora_jnodes defaults;                         /* of the last ones */
    bool wants_caller, wants_varargs, wants_kwargs; /* its body speaks of them */
} stlora_jsignature;

struct stlora_jnode {
    stlora_jnode_kind kind;
    unsigned line, column; /* from 1; a column is a code point */
    unsigned symbol;
    stlora_jsign sign;
    stlora_jtext text;
    stlora_jvalue value;
    const stlora_jnode *a, *b, *c, *body, *other;
    stlora_jnodes list; /* items */
    const stlora_jcall *call;
    const stlora_jsignature *signature;
    const stlora_jbuiltin *builtin;
};

/* A parsed template. Everything lies in its pool. */
typedef struct stlora_jprogram {
    stlora_jpool pool;
    const stlora_jnode *body;
    stlora_jtext *symbols; /* the names of variables, by number */
    size_t symbol_count, symbol_capacity;
    unsigned loop, caller, varargs, kwargs; /* symbols that the language itself sets */
    bool marks_generation;
} stlora_jprogram;

/* stlora_jparse: text[0, length) as a program in *out; name begins the sentences. Free its pool in any case. */
STLORA_NODISCARD stlora_status stlora_jparse(stlora_jprogram *out, const char *name, const char *text, size_t length,
                                             stlora_error *err);

#endif
