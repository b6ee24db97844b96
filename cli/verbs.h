/* verbs.h: what the command can do: one row per verb, one cmd_<verb>.c per row. */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

#include <stdbool.h>
#include <stddef.h>

#include "stlora/params.h"

/* Flags that steer the command and are no parameters of the library. */
enum extra {
    EXTRA_JSON = 1,
    EXTRA_DRY_RUN = 2,
    EXTRA_CONFIG = 4,
};

struct options {
    stlora_params *params; /* of the verb; owned */
    const char *config;    /* --config FILE; borrowed from argv */
    bool json, dry_run;
    bool help;
};

struct verb {
    const char *name;
    const char *summary;    /* one sentence without full stop */
    const char *details;    /* a paragraph for help and man page; NULL = none */
    unsigned extras;        /* of enum extra */
    const char *json_help;  /* what --json does here */
    const char *positional; /* the parameter that is given without flag, a list may be given again; NULL = none */
    const char *required;   /* parameters that must be given, separated by spaces */
    stlora_status (*run)(const struct options *options, stlora_error *err);
};

extern const struct verb verbs[];
extern const size_t verb_count;

/* find_verb: NULL if there is none of that name. */
const struct verb *find_verb(const char *name);

stlora_status cmd_train(const struct options *options, stlora_error *err);
stlora_status cmd_compare(const struct options *options, stlora_error *err);
stlora_status cmd_eval(const struct options *options, stlora_error *err);
stlora_status cmd_score(const struct options *options, stlora_error *err);
stlora_status cmd_generate(const struct options *options, stlora_error *err);
stlora_status cmd_chat(const struct options *options, stlora_error *err);
stlora_status cmd_tokenize(const struct options *options, stlora_error *err);
stlora_status cmd_render(const struct options *options, stlora_error *err);
stlora_status cmd_inspect(const struct options *options, stlora_error *err);
stlora_status cmd_report(const struct options *options, stlora_error *err);

#endif
