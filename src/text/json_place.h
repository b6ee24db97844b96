/* json_place.h: reading typed members of a JSON file, with the member's path in every complaint. Internal to text/.
 * A place is a chain on the stack: {NULL, "dir/tokenizer.json"}, then {.., "normalizer"}, then {.., NULL, 2}, ... */
#ifndef STLORA_TEXT_JSON_PLACE_H
#define STLORA_TEXT_JSON_PLACE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"

typedef struct stlora_place {
    const struct stlora_place *above; /* NULL: this is the file */
    const char *name;                 /* NULL: an element of an array */
    size_t index;
} stlora_place;

/* stlora_config_json_load: a file as stlora_json_load has it, but with integers as reals: such files hold some beyond 64 bits
 * (model_max_length 10^30). */
STLORA_NODISCARD stlora_status stlora_config_json_load(json_t **out, const char *path, stlora_error *err);

/* stlora_place_fail: fills err with "file: path.to[2].member: " and the formatted rest; returns status. */
stlora_status stlora_place_fail(const stlora_place *place, stlora_status status, stlora_error *err,
                                const char *format, ...) STLORA_PRINTF(4, 5);

/* stlora_wanted: "wanted a string, found integer" at place. */
stlora_status stlora_wanted(const stlora_place *place, const char *what, const json_t *found,
                            stlora_error *err);

/* Members of an object that are there (absent and null are alike: *text = NULL where required is false).
 * The string is borrowed from the JSON value. STLORA_E_FORMAT otherwise. */
STLORA_NODISCARD stlora_status stlora_member_string(const json_t *object, const char *key,
                                                    bool required, const char **text,
                                                    size_t *length, const stlora_place *place,
                                                    stlora_error *err);
STLORA_NODISCARD stlora_status stlora_member_bool(const json_t *object, const char *key,
                                                  bool fallback, bool *out,
                                                  const stlora_place *place, stlora_error *err);
STLORA_NODISCARD stlora_status stlora_member_count(const json_t *object, const char *key,
                                                   size_t *out, const stlora_place *place,
                                                   stlora_error *err);

/* stlora_member_char: exactly one character, as its UTF-8 bytes. */
STLORA_NODISCARD stlora_status stlora_member_char(const json_t *object, const char *key,
                                                  const char **text, size_t *length,
                                                  const stlora_place *place, stlora_error *err);

/* stlora_member_array: borrowed; required. */
STLORA_NODISCARD stlora_status stlora_member_array(const json_t *object, const char *key,
                                                   const json_t **out, const stlora_place *place,
                                                   stlora_error *err);

/* stlora_part_visit: calls visit for a part, or, where its "type" is Sequence, for each part in its array
 * sequence_key, depth first; null parts are none. At most 64 deep. */
typedef stlora_status stlora_part_visitor(void *context, const json_t *part, const char *type,
                                          const stlora_place *place, stlora_error *err);
STLORA_NODISCARD stlora_status stlora_part_visit(const json_t *part, const char *sequence_key,
                                                 stlora_part_visitor *visit, void *context,
                                                 const stlora_place *place, stlora_error *err);

#endif
