/* row_shape.h: one JSON value as one training row: which kind it is, whether its keys hold what they should, and the
 * wording put around it. Knows nothing of files. Tests: tests/data/test_rows.c, tests/data/test_data_bad.c.
 */
#ifndef STLORA_DATA_ROW_SHAPE_H
#define STLORA_DATA_ROW_SHAPE_H

#include <jansson.h>

#include "data/rows.h"

/* What a row points into; grows with the longest row, is used again for the next one. Zeroed to begin with. */
typedef struct stlora_row_buffers {
    json_t *messages; /* written anew */
    char *prompt;
    int64_t *input_ids, *labels;
    const char **choices;
    size_t *choice_lengths;
    size_t prompt_room, input_ids_room, labels_room, choices_room, choice_lengths_room;
} stlora_row_buffers;

void stlora_row_buffers_free(stlora_row_buffers *buffers);

/* stlora_row_kind_of: the kind that value's keys name (the order is in rows.h). `where` begins the sentence.
 * STLORA_E_FORMAT: no object, or keys that fit no kind. */
STLORA_NODISCARD stlora_status stlora_row_kind_of(json_t *value, const char *where, stlora_row_kind *kind,
                                                  stlora_error *err);

/* stlora_row_from_json: fills *row, of the kind that stlora_row_kind_of told, but for file, line and where. The row borrows from
 * value and from buffers until either changes. STLORA_E_FORMAT: a key holds something else than it should.
 * STLORA_E_UNSUPPORTED: messages of anything but text. */
STLORA_NODISCARD stlora_status stlora_row_from_json(stlora_row *row, stlora_row_buffers *buffers, json_t *value,
                                                    stlora_row_kind kind, const char *where, stlora_error *err);

/* stlora_row_found: the type of a value with its article, as a sentence needs it; "nothing" for NULL. */
const char *stlora_row_found(const json_t *value);

#endif
