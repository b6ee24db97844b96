/* jinja_value.h: the values that a template computes with, Python's in kind and behaviour, and the render that owns them.
 *
 * A value is copied freely; what it points to lies in the render's pool, in the compiled template or in the caller's JSON, and only
 * namespaces and iterators change. Every function that can fail returns false then, and the render has the status and the sentence; they
 * may be called no further. Internal to text/.
 */
#ifndef STLORA_TEXT_JINJA_VALUE_H
#define STLORA_TEXT_JINJA_VALUE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "text/jinja_pool.h"

typedef enum stlora_jkind {
    STLORA_J_MISSING, /* an argument that was not given; never a value of a template */
    STLORA_J_UNDEFINED,
    STLORA_J_NONE,
    STLORA_J_BOOL,
    STLORA_J_INT,
    STLORA_J_FLOAT,
    STLORA_J_STRING,
    STLORA_J_LIST,
    STLORA_J_TUPLE,
    STLORA_J_RANGE,
    STLORA_J_DICT,
    STLORA_J_VIEW,     /* of a dict: its keys, values or items */
    STLORA_J_ITERATOR, /* what map, select and the like give: it can be walked once */
    STLORA_J_NAMESPACE,
    STLORA_J_LOOP,
    STLORA_J_MACRO,
    STLORA_J_FUNCTION,
    STLORA_J_METHOD
} stlora_jkind;

/* Bytes, valid UTF-8, borrowed; no NUL at the end. */
typedef struct stlora_jtext {
    const char *data;
    size_t length;
} stlora_jtext;

typedef struct stlora_jvalue {
    stlora_jkind kind;
    /* UNDEFINED: 0 = text is the name of a variable, 1 = text is the whole reason, otherwise text is the name of an attribute that
     * a value of kind tag - 2 does not have */
    unsigned tag;
    union {
        bool truth;
        int64_t integer;
        double real;
        stlora_jtext text;
        struct stlora_jlist *list; /* LIST TUPLE RANGE VIEW ITERATOR */
        struct stlora_jdict *dict; /* DICT NAMESPACE */
        struct stlora_jloop *loop;
        struct stlora_jmacro *macro;
        const struct stlora_jbuiltin *function;
        const struct stlora_jmethod *method;
    } as;
} stlora_jvalue;

typedef struct stlora_jlist {
    stlora_jvalue *items;
    size_t count, capacity;
    size_t at;                 /* ITERATOR: the next item */
    int64_t start, stop, step; /* RANGE: as it was written */
    const char
        *title; /* VIEW: "dict_items"; TUPLE: non-NULL for groupby's, which has the attributes grouper and list */
} stlora_jlist;

/* In the order of insertion. */
typedef struct stlora_jdict {
    stlora_jvalue *keys, *values;
    size_t count, capacity;
    uint32_t *slots; /* [slot_count] place + 1, 0 = free; NULL while it is small */
    size_t slot_count;
} stlora_jdict;

/* A method and what it was looked up on. */
typedef struct stlora_jmethod {
    const struct stlora_jbuiltin *builtin;
    stlora_jvalue self;
} stlora_jmethod;

struct stlora_jnode;

/* One render: its memory, its bounds, its failure. */
typedef struct stlora_jrun {
    stlora_jpool pool;
    const char *name;              /* of the template, for sentences */
    const struct stlora_jnode *at; /* what is being evaluated, for sentences */
    stlora_status status;
    stlora_error *err;
    uint64_t steps;                /* left */
    unsigned depth;                /* of nested evaluations */
    const char *now;               /* of strftime_now; NULL = the present moment */
    struct stlora_jrender *render; /* the statements' part (jinja_eval.h) */
} stlora_jrun;

/* ---- failing ---- */

/* Set the status and the sentence "<name>: line L, column C: ...", once; both return false. stlora_jfault is STLORA_E_FORMAT. */
bool stlora_jfail(stlora_jrun *run, stlora_status status, const char *format, ...) STLORA_PRINTF(3, 4);
bool stlora_jfault(stlora_jrun *run, const char *format, ...) STLORA_PRINTF(2, 3);

/* stlora_jcharge: takes steps from the bound; a step is some 50 ns of work, so that the bound is one of time too. stlora_jcharge_points: for going
 * through `bytes` of a text character by character; _put: for writing a value, what is in it not counted. stlora_jenter: one level deeper; pair
 * a success with `run->depth--`. */
bool stlora_jcharge(stlora_jrun *run, size_t steps);
bool stlora_jcharge_points(stlora_jrun *run, size_t bytes);
bool stlora_jcharge_put(stlora_jrun *run, stlora_jvalue value);
bool stlora_jenter(stlora_jrun *run);

/* stlora_jtake: count * size zeroed bytes of the pool; NULL when it fails. */
void *stlora_jtake(stlora_jrun *run, size_t count, size_t size);

/* stlora_jgrow: makes room for one more element of `size` bytes in *items (void **) of count, *capacity. */
bool stlora_jgrow(stlora_jrun *run, void *items, size_t count, size_t *capacity, size_t size);

/* A text as arguments for "%.*s", cut for a sentence. */
#define STLORA_JSHOWN(text) (int)((text).length > 200 ? 200 : (text).length), (text).length ? (text).data : ""

/* ---- making ---- */

static inline stlora_jvalue stlora_jnone(void)
{
    return (stlora_jvalue){.kind = STLORA_J_NONE};
}
static inline stlora_jvalue stlora_jbool(bool truth)
{
    return (stlora_jvalue){.kind = STLORA_J_BOOL, .as.truth = truth};
}
static inline stlora_jvalue stlora_jint(int64_t integer)
{
    return (stlora_jvalue){.kind = STLORA_J_INT, .as.integer = integer};
}
static inline stlora_jvalue stlora_jreal(double real)
{
    return (stlora_jvalue){.kind = STLORA_J_FLOAT, .as.real = real};
}
static inline stlora_jvalue stlora_jstring(const char *data, size_t length)
{
    return (stlora_jvalue){.kind = STLORA_J_STRING, .as.text = {data, length}};
}
static inline stlora_jvalue stlora_jwords(const char *words) /* a literal of ours */
{
    return stlora_jstring(words, strlen(words));
}
/* stlora_jundefined: for the reason, a literal of ours or a text that lives as long as the render. */
static inline stlora_jvalue stlora_jundefined(const char *reason)
{
    return (stlora_jvalue){.kind = STLORA_J_UNDEFINED, .tag = 1, .as.text = {reason, strlen(reason)}};
}

static inline bool stlora_jtext_is(stlora_jtext text, const char *words)
{
    return text.length == strlen(words) && memcmp(text.data, words, text.length) == 0;
}
static inline bool stlora_jgiven(stlora_jvalue value)
{
    return value.kind != STLORA_J_MISSING;
}

/* stlora_jlist_make: an empty LIST, TUPLE, VIEW or ITERATOR with room for count items. */
bool stlora_jlist_make(stlora_jrun *run, stlora_jkind kind, size_t count, stlora_jvalue *out);
bool stlora_jlist_push(stlora_jrun *run, stlora_jlist *list, stlora_jvalue item);
/* stlora_jpair: a tuple of two. */
bool stlora_jpair(stlora_jrun *run, stlora_jvalue first, stlora_jvalue second, stlora_jvalue *out);

bool stlora_jdict_make(stlora_jrun *run, stlora_jkind kind, size_t count, stlora_jvalue *out);
/* stlora_jdict_set, _get: a key that Python cannot hash fails. *found stays NULL where there is none. */
bool stlora_jdict_set(stlora_jrun *run, stlora_jdict *dict, stlora_jvalue key, stlora_jvalue value);
bool stlora_jdict_get(stlora_jrun *run, const stlora_jdict *dict, stlora_jvalue key, const stlora_jvalue **found);
const stlora_jvalue *stlora_jdict_find(const stlora_jdict *dict, stlora_jtext key);

/* stlora_jfrom_json: strings are borrowed from json, which outlives the render. */
bool stlora_jfrom_json(stlora_jrun *run, const json_t *json, stlora_jvalue *out);

/* A text in the making. All zero, with run set, is an empty one. */
typedef struct stlora_jbuilder {
    stlora_jrun *run;
    char *data;
    size_t count, capacity;
} stlora_jbuilder;

bool stlora_jput(stlora_jbuilder *builder, const char *data, size_t length);
bool stlora_jput_words(stlora_jbuilder *builder, const char *words);
bool stlora_jput_times(stlora_jbuilder *builder, stlora_jtext text, size_t times);
bool stlora_jput_point(stlora_jbuilder *builder, uint32_t point);
static inline stlora_jtext stlora_jbuilt_text(const stlora_jbuilder *builder)
{
    return (stlora_jtext){builder->data ? builder->data : "", builder->count};
}
static inline stlora_jvalue stlora_jbuilt(const stlora_jbuilder *builder)
{
    return (stlora_jvalue){.kind = STLORA_J_STRING, .as.text = stlora_jbuilt_text(builder)};
}

/* ---- what Python's built-in functions say of a value ---- */

const char *stlora_jtype(stlora_jvalue value);              /* type(value).__name__ */
bool stlora_jtruth(stlora_jvalue value);                    /* bool(value) */
bool stlora_jis_number(stlora_jvalue value);                /* bool, int, float */
bool stlora_jis_integer(stlora_jvalue value, int64_t *out); /* bool or int, as an index */

/* jinja_text.c: str(value) and repr(value) at the end of builder; stlora_jstr as a text of its own. */
bool stlora_jput_str(stlora_jbuilder *builder, stlora_jvalue value);
bool stlora_jput_repr(stlora_jbuilder *builder, stlora_jvalue value);
bool stlora_jstr(stlora_jrun *run, stlora_jvalue value, stlora_jtext *out);
/* stlora_jreal_text: repr of a float, into a buffer of 40 bytes; its length. */
size_t stlora_jreal_text(double real, char *out);

/* jinja_compare.c. order: below, equal to or above 0; what Python cannot order fails. */
bool stlora_jequal(stlora_jrun *run, stlora_jvalue a, stlora_jvalue b, bool *out);
bool stlora_jorder(stlora_jrun *run, stlora_jvalue a, stlora_jvalue b, const char *sign, int *order);
bool stlora_jcontains(stlora_jrun *run, stlora_jvalue item, stlora_jvalue container, bool *out);
/* stlora_jsort: stable, places[count] by keys[count], as sorted(). */
bool stlora_jsort(stlora_jrun *run, const stlora_jvalue *keys, size_t *places, size_t count, bool reverse);
/* stlora_jfind: the first place of word in text at or behind from; text.length + 1 where there is none. */
size_t stlora_jfind(stlora_jtext text, stlora_jtext word, size_t from);

/* jinja_access.c */
bool stlora_jattribute(stlora_jrun *run, stlora_jvalue object, stlora_jtext name, stlora_jvalue *out); /* object.name */
/* stlora_jown_attribute: what Python's getattr gives, without Jinja's falling back to items. */
bool stlora_jown_attribute(stlora_jrun *run, stlora_jvalue object, stlora_jtext name, bool *found, stlora_jvalue *out);
bool stlora_jitem(stlora_jrun *run, stlora_jvalue object, stlora_jvalue key, stlora_jvalue *out); /* object[key] */
bool stlora_jslice(stlora_jrun *run, stlora_jvalue object, const stlora_jvalue bounds[3], stlora_jvalue *out);
bool stlora_jlength(stlora_jrun *run, stlora_jvalue value, size_t *out);
bool stlora_jis_iterable(stlora_jvalue value);
/* stlora_jwalk: the items that iterating gives; an ITERATOR is walked to its end. *items may be borrowed from the value. */
bool stlora_jwalk(stlora_jrun *run, stlora_jvalue value, const stlora_jvalue **items, size_t *count);
bool stlora_jundefined_fault(stlora_jrun *run, stlora_jvalue undefined);
/* Places in a text by code points: how many there are, and the byte where one begins. */
size_t stlora_jpoints(stlora_jtext text);
size_t stlora_jpoint_at(stlora_jtext text, size_t point);

/* jinja_arithmetic.c */
typedef enum stlora_jsign {
    STLORA_J_ADD,
    STLORA_J_SUB,
    STLORA_J_MUL,
    STLORA_J_DIV,
    STLORA_J_FLOORDIV,
    STLORA_J_MOD,
    STLORA_J_POW
} stlora_jsign;
bool stlora_jcompute(stlora_jrun *run, stlora_jsign sign, stlora_jvalue a, stlora_jvalue b, stlora_jvalue *out);
bool stlora_jnegate(stlora_jrun *run, bool minus, stlora_jvalue a, stlora_jvalue *out); /* -a, or +a */

/* jinja_format.c: text % arguments, where arguments is a TUPLE, a DICT or one value. */
bool stlora_jpercent(stlora_jrun *run, stlora_jtext text, stlora_jvalue arguments, stlora_jvalue *out);

#endif
