/* options.h: argv to the parameters of a verb. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "verbs.h"

/* options_parse: reads argv[0, argc) (what follows the verb) into *out, which is freed with options_free whatever is returned.
 * With --help nothing is required and out->help is set. STLORA_E_USAGE names the flag, what was wanted, what was found. */
STLORA_NODISCARD stlora_status options_parse(struct options *out, const struct verb *verb, int argc, char **argv,
                                             stlora_error *err);
void options_free(struct options *options);

/* option_text: a parameter's value as text; created, freed with free(). NULL without memory. */
char *option_text(const struct options *options, const char *name);
/* option_is: whether the value's text is this one ("true"). */
bool option_is(const struct options *options, const char *name, const char *text);

/* flag_of: "learning_rate" to "learning-rate", into buffer; returns it. */
const char *flag_of(const char *name, char *buffer, size_t size);

/* nearest: of count words the one that a mistyped word was probably meant to be; NULL if none is near. */
const char *nearest(const char *word, const char *const *words, size_t count);

#endif
