/* targets.h: which linear maps of a model an adapter's target_modules mean, with PEFT's rules.
 * Test: tests/model/test_targets.c.
 */
#ifndef STLORA_MODEL_TARGETS_H
#define STLORA_MODEL_TARGETS_H

#include "formats/peft.h"
#include "model/transformer.h"

/* stlora_targets_parse: the command's --target-modules as config fields: "all-linear" (any case); names of letters, digits, '_' and '.'
 * separated by commas = a list of name endings; anything else = a regular expression. The fields of config are overwritten. */
STLORA_NODISCARD stlora_status stlora_targets_parse(stlora_peft_config *config, const char *text, stlora_error *err);

/* stlora_targets_match: chosen[id] = true for every map that config adapts; chosen has model->linear_count entries.
 *
 * List: exact name, or the name ends in "." + item. String: Python's re.fullmatch over the full name; "all-linear": every
 * map but the head. Neither: what PEFT takes for the family. exclude_modules wins; layers_to_transform restricts list
 * targets to these layers. every_item: a list item that matches no linear map is refused by name, as a user's flag; otherwise
 * it is passed over, as PEFT does with a file's. STLORA_E_USAGE: that, or nothing matches, or a pattern is malformed. */
STLORA_NODISCARD stlora_status stlora_targets_match(const stlora_transformer *model, const stlora_peft_config *config,
                                                    bool every_item, bool *chosen, stlora_error *err);

/* stlora_targets_pattern: value of the first entry whose key k matches `(.*\.)?(k)$` from the start of name, or fallback. */
STLORA_NODISCARD stlora_status stlora_targets_pattern(const stlora_pattern_entry *entries, size_t count,
                                                      const char *name, double fallback, double *out,
                                                      stlora_error *err);

#endif
