/* json_field.h: members of a JSON object, type- and range-checked, with one wording for what is wrong:
 * `path: "key" must be a positive integer, found -4`. Test: tests/formats/test_hf_config.c, test_peft.c. */
#ifndef STLORA_FORMATS_JSON_FIELD_H
#define STLORA_FORMATS_JSON_FIELD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* The object and where it is. */
typedef struct stlora_fields {
    const char *path;     /* of the file */
    const char *inside;   /* "" or "rope_parameters." and so on: put in front of a key in sentences */
    const json_t *object; /* borrowed */
} stlora_fields;

/* How a value is shown in a sentence: a number or a short text as itself, anything else by its type. */
typedef struct stlora_json_words {
    char text[80];
} stlora_json_words;

const char *stlora_json_words_of(const json_t *value, stlora_json_words *words);

/* stlora_field: the member, or NULL when it is absent or null. */
const json_t *stlora_field(const stlora_fields *fields, const char *key);

/* stlora_field_refused: STLORA_E_FORMAT, `"key" must be <wanted>, found <value>`. */
stlora_status stlora_field_refused(const stlora_fields *fields, const char *key, const char *wanted,
                                   const json_t *value, stlora_error *err);

/* stlora_field_unsupported: STLORA_E_UNSUPPORTED, `"key": <value> is not supported, only <what is>`. */
stlora_status stlora_field_unsupported(const stlora_fields *fields, const char *key, const json_t *value,
                                       const char *supported, stlora_error *err);

/* Each of these leaves *out as it is where the key is absent; a null is refused like any other wrong type (test with stlora_field
 * first where null is a word for absent). */

/* stlora_field_size: a whole number in 1 ... 2^31. */
STLORA_NODISCARD stlora_status stlora_field_size(const stlora_fields *fields, const char *key, int64_t *out,
                                                 stlora_error *err);
/* stlora_field_id: a token id, 0 ... 2^31 - 1. */
STLORA_NODISCARD stlora_status stlora_field_id(const stlora_fields *fields, const char *key, int32_t *out,
                                               stlora_error *err);
/* stlora_field_positive: a number above 0, written as integer or real. */
STLORA_NODISCARD stlora_status stlora_field_positive(const stlora_fields *fields, const char *key, double *out,
                                                     stlora_error *err);
STLORA_NODISCARD stlora_status stlora_field_bool(const stlora_fields *fields, const char *key, bool *out,
                                                 stlora_error *err);
/* stlora_field_text: a string without NUL; borrowed from the object. */
STLORA_NODISCARD stlora_status stlora_field_text(const stlora_fields *fields, const char *key, const char **out,
                                                 stlora_error *err);

/* stlora_json_text: value as a string without NUL characters, or NULL. */
const char *stlora_json_text(const json_t *value);

#endif
