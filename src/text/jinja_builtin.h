/* jinja_builtin.h: filters, tests, methods and global functions: one row each. Internal to text/. */
#ifndef STLORA_TEXT_JINJA_BUILTIN_H
#define STLORA_TEXT_JINJA_BUILTIN_H

#include "text/jinja_value.h"

/* The arguments of a call as they were written. */
typedef struct stlora_jarguments {
    const stlora_jvalue *values;
    size_t count;
    const stlora_jtext *names; /* [named_count] */
    const stlora_jvalue *named;
    size_t named_count;
} stlora_jarguments;

enum { STLORA_J_PARAMETERS = 8 }; /* most of a row */

typedef struct stlora_jbuiltin {
    const char *name;
    /* Names of the parameters behind self, separated by spaces; "/" in front: they cannot be named; NULL: `wild` takes the arguments as
     * they are. */
    const char *parameters;
    size_t required;
    bool (*run)(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg,
                stlora_jvalue *out); /* arg MISSING where not given */
    bool (*wild)(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, stlora_jvalue *out);
} stlora_jbuiltin;

/* A table and its rows. */
typedef struct stlora_jbuiltins {
    const stlora_jbuiltin *rows;
    size_t count;
} stlora_jbuiltins;

/* stlora_jcall_builtin: binds the arguments to the parameters, as Python does, and calls. */
bool stlora_jcall_builtin(stlora_jrun *run, const stlora_jbuiltin *builtin, stlora_jvalue self,
                          const stlora_jarguments *args, stlora_jvalue *out);

/* By name; NULL where there is none. */
const stlora_jbuiltin *stlora_jfilter_find(stlora_jtext name);
const stlora_jbuiltin *stlora_jtest_find(stlora_jtext name);
const stlora_jbuiltin *stlora_jfunction_find(stlora_jtext name);
const stlora_jbuiltin *stlora_jmethod_find(stlora_jvalue self, stlora_jtext name);
/* stlora_jis_mutator: the sandbox keeps this method of a list or dict from templates. */
bool stlora_jis_mutator(stlora_jvalue self, stlora_jtext name);
/* stlora_jknown_elsewhere: a filter of Jinja that is not here. */
bool stlora_jfilter_known_elsewhere(stlora_jtext name);

/* The tables that the searches go through. */
extern const stlora_jbuiltins stlora_jfilters_text, stlora_jfilters_list, stlora_jfilters_pick, stlora_jfilters_number,
    stlora_jmethods_text;

/* Arguments of builtins as C values, as Python would take them; a fault names what. */
bool stlora_jwant_text(stlora_jrun *run, stlora_jvalue value, const char *what, stlora_jtext *out);
bool stlora_jwant_integer(stlora_jrun *run, stlora_jvalue value, const char *what, int64_t *out);

/* ---- parts of Python's str that filters, tests and methods share ---- */

/* jinja_case.c */
typedef enum stlora_jcase {
    STLORA_J_UPPER,
    STLORA_J_LOWER,
    STLORA_J_TITLE,
    STLORA_J_CAPITALIZE,
    STLORA_J_SWAP
} stlora_jcase;
bool stlora_jrecase(stlora_jrun *run, stlora_jtext text, stlora_jcase how, stlora_jvalue *out);
bool stlora_jis_printable(uint32_t point); /* str.isprintable of one character */
bool stlora_jis_space(uint32_t point);     /* str.isspace of one character */
bool stlora_jis_word(uint32_t point);      /* whether \w matches */
/* stlora_jis_all: what the method named says of a text: "isupper", "islower", "isalpha", "isdigit", "isalnum", "isspace", ... */
bool stlora_jis_all(stlora_jtext text, const char *method);

/* jinja_method_text.c. chars MISSING or NONE = white space; sides 1 = left, 2 = right, 3 = both. */
bool stlora_jstrip(stlora_jrun *run, stlora_jtext text, stlora_jvalue chars, unsigned sides, stlora_jvalue *out);
bool stlora_jreplace(stlora_jrun *run, stlora_jtext text, stlora_jtext old, stlora_jtext by, int64_t count,
                     stlora_jvalue *out);
bool stlora_jsplit_lines(stlora_jrun *run, stlora_jtext text, bool keep_ends, stlora_jvalue *out);
bool stlora_jcenter(stlora_jrun *run, stlora_jtext text, int64_t width, stlora_jtext fill, stlora_jvalue *out);
bool stlora_jjoin(stlora_jrun *run, stlora_jtext between, const stlora_jvalue *items, size_t count, stlora_jvalue *out);

/* jinja_json.c: the filter tojson. */
bool stlora_jtojson(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out);

/* jinja_filter_number.c: int(text, base) and float(text); false where Python raises ValueError, or *too_large. */
bool stlora_jparse_integer(stlora_jtext text, int base, int64_t *out, bool *too_large);
bool stlora_jparse_real(stlora_jtext text, double *out);

/* jinja_filter_list.c: what a filter's argument `attribute` gives of an item: "a.b.0", an integer, or MISSING and NONE for the item itself;
 * fallback where there is nothing, if given; with fold, strings in lower case. */
bool stlora_jpick(stlora_jrun *run, stlora_jvalue item, stlora_jvalue attribute, stlora_jvalue fallback, bool fold,
                  stlora_jvalue *out);

/* jinja_time.c: the moment that the render sees, by a format of strftime. */
bool stlora_jstrftime(stlora_jrun *run, stlora_jtext format, stlora_jvalue *out);

#endif
