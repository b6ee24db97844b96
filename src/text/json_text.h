/* json_text.h: reading a large JSON value from its text, piece by piece, without building it: a vocabulary of 250,000 members
 * costs jansson half a second and 50 MB, and is wanted once. Small values are still jansson's, and so is the sentence about
 * what is wrong with a text: a reader only notices that something is. Internal to text/. Guarded by tests/text/test_json_text.c.
 */
#ifndef STLORA_TEXT_JSON_TEXT_H
#define STLORA_TEXT_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"
#include "text/byte_string.h"

/* The text of one value, borrowed. */
typedef struct stlora_json_span {
    const char *text; /* NULL: there is none */
    size_t length;
} stlora_json_span;

/* stlora_json_find_members: sets spans[i] to the value of the first member named names[i] of an object; those that are not
 * found, because there is none or because the text is no JSON before it, stay as they are: empty to begin with. */
void stlora_json_find_members(stlora_json_span object, const char *const *names, stlora_json_span *spans, size_t count);

/* stlora_json_parse_without: text as stlora_json_parse has it, sentences included, but with the arrays and objects at
 * spans[count], which lie in text, none within another, empty and their texts unchecked. */
STLORA_NODISCARD stlora_status stlora_json_parse_without(json_t **out, stlora_json_span text,
                                                         const stlora_json_span *spans, size_t count, const char *where,
                                                         stlora_error *err);

/* A walk through one array or object, as strict as jansson. Where the text is no JSON, or memory ends, the walk ends too, and
 * status says so from then on. */
typedef struct stlora_json_reader {
    const char *at, *end;
    stlora_status status; /* STLORA_OK, STLORA_E_FORMAT or STLORA_E_NOMEM */
    bool begun;
    char close;         /* the container's last character */
    stlora_bytes spelt; /* the string at hand, when its text has escapes */
} stlora_json_reader;

/* stlora_json_reader_open: at the beginning of an array or object; borrows the span's text. Pair with _close. */
stlora_json_reader stlora_json_reader_open(stlora_json_span span);
void stlora_json_reader_close(stlora_json_reader *reader);

/* stlora_json_next: goes to the next element or member, false at the end. key and length: of a member, borrowed until the
 * next string is taken; NULL in an array. Then the caller takes the value by one of the three below. */
bool stlora_json_next(stlora_json_reader *reader, const char **key, size_t *length);

/* stlora_json_take_string, _take_integer: the value, if it is a string, borrowed likewise, or an integer of at most 9 digits;
 * otherwise false, and nothing is taken. stlora_json_take_value: the text of whatever it is, unchecked but for its end. */
bool stlora_json_take_string(stlora_json_reader *reader, const char **text, size_t *length);
bool stlora_json_take_integer(stlora_json_reader *reader, int32_t *value);
stlora_json_span stlora_json_take_value(stlora_json_reader *reader);

#endif
