/* params.h: the parameters of every verb, from one table each: names, types, ranges, defaults, help.
 *
 * The same table (src/train/configs.def) makes these setters, the keys of run.json and of --config files, the command's flags, its
 * --help and the man page. Words are PEFT's, Transformers' and TRL's wherever they have one.
 */
#ifndef STLORA_PARAMS_H
#define STLORA_PARAMS_H

#include "stlora/status.h"
#include "stlora/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum stlora_param_kind {
    STLORA_PARAM_STRING,  /* text */
    STLORA_PARAM_STRINGS, /* text, may be given again: a list */
    STLORA_PARAM_INT,     /* whole number, decimal */
    STLORA_PARAM_REAL,    /* decimal number, or the one word that its row allows, which is stored as NaN */
    STLORA_PARAM_BOOL,    /* "true" or "false"; as a flag: --name or --no-name */
    STLORA_PARAM_CHOICE   /* one of choices */
} stlora_param_kind;

/* One row of the table; static. */
typedef struct stlora_param {
    const char *name; /* snake_case: the key; the flag is --kebab-case */
    stlora_param_kind kind;
    const char *default_text; /* as it would be typed; NULL = no value */
    double min, max;          /* INT, REAL: allowed range, both included; max_open: max itself is excluded */
    bool max_open;
    const char *choices;  /* CHOICE: "linear|cosine|constant"; REAL: the word that may stand for a number, "auto" */
    const char *metavar;  /* what help shows for the value: "DIR" */
    const char *group;    /* heading in help: "Method" */
    const char *help;     /* one sentence without full stop */
    size_t offset;        /* private: place in the verb's struct */
} stlora_param;

typedef struct stlora_params stlora_params; /* opaque: the values of one verb's parameters */

/* stlora_params_create: parameters of verb "train", "compare", "eval", "score", "generate", "tokenize", "render", "inspect" or "report" at their defaults.
 * Creates; pair with _free. STLORA_E_USAGE: no such verb. Since 0.1. */
STLORA_API STLORA_NODISCARD stlora_status stlora_params_create(stlora_params **out, const char *verb,
                                                               stlora_error *err);
STLORA_API void stlora_params_free(stlora_params *params);

/* The table: row i in [0, count). Since 0.1. */
STLORA_API size_t stlora_params_count(const stlora_params *params);
STLORA_API const stlora_param *stlora_params_at(const stlora_params *params, size_t i);
/* stlora_params_find: row by name ("learning_rate"), NULL if there is none. Since 0.1. */
STLORA_API const stlora_param *stlora_params_find(const stlora_params *params, const char *name);

/* stlora_params_set: sets a value from text as typed; copies it. A STRINGS parameter grows by one. STLORA_E_USAGE with one
 * sentence (`--learning-rate: wanted a number from 0 to 1e+06, found "1e-4x"`): unknown name, trailing garbage, out of range,
 * NaN, unknown choice. Since 0.1. */
STLORA_API STLORA_NODISCARD stlora_status stlora_params_set(stlora_params *params, const char *name,
                                                            const char *text, stlora_error *err);

/* stlora_params_load: values from a JSON object file (a --config file, or a run's run.json, whose "params" object is taken).
 * Values given by _set, before or after, win. null = default. STLORA_E_FORMAT: file, key, wanted, found; unknown key. Since 0.1. */
STLORA_API STLORA_NODISCARD stlora_status stlora_params_load(stlora_params *params, const char *path,
                                                             stlora_error *err);

/* stlora_params_given: true when the value comes from _set or _load and not from the default. Since 0.1. */
STLORA_API bool stlora_params_given(const stlora_params *params, const char *name);

/* stlora_params_text: the value as it would be typed, into buffer (cut, NUL-terminated; lists joined by commas); "" = no value.
 * Since 0.1. */
STLORA_API void stlora_params_text(const stlora_params *params, const char *name, char *buffer, size_t size);

#ifdef __cplusplus
}
#endif
#endif
