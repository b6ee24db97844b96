/* jinja_eval.h: running a program: scopes, macros, loops, output. Internal to text/. */
#ifndef STLORA_TEXT_JINJA_EVAL_H
#define STLORA_TEXT_JINJA_EVAL_H

#include "text/chat_template.h"
#include "text/jinja_node.h"

typedef struct stlora_jbinding {
    unsigned symbol;
    stlora_jvalue value;
} stlora_jbinding;

/* The variables of one place; a name is looked up here and then around. */
typedef struct stlora_jscope {
    struct stlora_jscope *around;
    stlora_jbinding *bindings;
    size_t count, capacity;
    bool captured; /* a macro was made here and goes on seeing it */
} stlora_jscope;

typedef struct stlora_jmacro {
    const stlora_jnode *node;
    stlora_jscope *scope; /* where it was made */
} stlora_jmacro;

typedef struct stlora_jloop {
    const stlora_jvalue *items;
    size_t count, index;
    size_t depth;          /* of loops around that are recursive: always 0 */
    stlora_jvalue changed; /* what loop.changed saw last, a tuple; MISSING before */
} stlora_jloop;

typedef enum stlora_jjump { STLORA_J_ON, STLORA_J_BREAK, STLORA_J_CONTINUE } stlora_jjump;

typedef struct stlora_jrender {
    const stlora_jprogram *program;
    stlora_jscope *scope;
    stlora_jbuilder root;   /* the render's output */
    stlora_jbuilder *out;   /* what is written to now: root, or a block that becomes a value */
    size_t written;         /* bytes, by all of them */
    stlora_jvalue filtered; /* the body of the filter block at hand */
    stlora_jjump jump;
    stlora_text_span *spans;
    size_t span_count, span_capacity;
} stlora_jrender;

/* stlora_jeval: the value of an expression. stlora_jexecute: a statement. */
bool stlora_jeval(stlora_jrun *run, const stlora_jnode *node, stlora_jvalue *out);
bool stlora_jexecute(stlora_jrun *run, const stlora_jnode *node);

/* stlora_jbind: sets a variable in this scope. */
bool stlora_jbind(stlora_jrun *run, stlora_jscope *scope, unsigned symbol, stlora_jvalue value);
/* stlora_jcall_value: calls whatever can be called. */
bool stlora_jcall_value(stlora_jrun *run, stlora_jvalue callee, const stlora_jarguments *args, stlora_jvalue *out);
/* stlora_jcall_macro: the text that a macro makes. */
bool stlora_jcall_macro(stlora_jrun *run, const stlora_jmacro *macro, const stlora_jarguments *args,
                        stlora_jvalue *out);
/* stlora_jarguments_of: evaluates the arguments of a call; with_caller: one more, named caller. */
bool stlora_jarguments_of(stlora_jrun *run, const stlora_jcall *call, const stlora_jvalue *with_caller,
                          stlora_jarguments *out);

/* stlora_jloop_attribute: loop.name; false where loop has none of that name, or when it fails. */
bool stlora_jloop_attribute(stlora_jrun *run, stlora_jloop *loop, stlora_jtext name, stlora_jvalue *out);

stlora_jtext stlora_jmacro_name(const stlora_jmacro *macro);

#endif
