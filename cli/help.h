/* help.h: the command explained from its own tables: usage, --help of a verb, and the man page. All go to stdout. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "verbs.h"

STLORA_NODISCARD stlora_status help_overview(stlora_error *err);
/* help_verb: params are the verb's, for their table. */
STLORA_NODISCARD stlora_status help_verb(const struct verb *verb, const stlora_params *params,
                                         stlora_error *err);
/* help_man: the man page, in the macros of man(7). */
STLORA_NODISCARD stlora_status help_man(stlora_error *err);

#endif
