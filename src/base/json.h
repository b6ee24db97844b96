/* json.h: reading JSON files with jansson and saying in one sentence what is wrong. Test: tests/base/test_json.c. */
#ifndef STLORA_BASE_JSON_H
#define STLORA_BASE_JSON_H

#include <jansson.h>

#include "base/error.h"

/* stlora_json_load: reads a whole file as one JSON value; duplicate keys, invalid UTF-8, trailing text, nesting beyond
 * jansson's limit, more than 1 GiB are STLORA_E_FORMAT with line and column; a missing file is STLORA_E_IO. A pipe is read
 * to its end. New reference in *out. */
STLORA_NODISCARD stlora_status stlora_json_load(json_t **out, const char *path, stlora_error *err);

/* stlora_json_parse: the same for bytes; `where` names them in the sentence ("rows.jsonl line 7"). */
STLORA_NODISCARD stlora_status stlora_json_parse(json_t **out, const char *bytes, size_t size,
                                                 const char *where, stlora_error *err);

/* stlora_json_save: writes value with 2-space indent, keys in ascending byte order and reals with the fewest digits that read
 * back as themselves, atomically, with a final line break. NULL (a value that could not be built) is STLORA_E_NOMEM. */
STLORA_NODISCARD stlora_status stlora_json_save(const json_t *value, const char *path, stlora_error *err);

/* stlora_json_save_in_order: the same with keys in the order in which they were set, for files whose order has a meaning. */
STLORA_NODISCARD stlora_status stlora_json_save_in_order(const json_t *value, const char *path, stlora_error *err);

/* stlora_json_type: "object", "array", "string", "integer", "real", "true", "false", "null", "nothing" (NULL). */
const char *stlora_json_type(const json_t *value);

#endif
