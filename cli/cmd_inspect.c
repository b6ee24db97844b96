/* cmd_inspect.c: the verb inspect. What is known of the path comes as JSON; without --json it is set as text: a line per key, objects
 * indented, arrays of objects as tables. */
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "options.h"
#include "stlora/infer.h"

enum { COLUMNS_MAX = 16, CELL_SIZE = 256 };

/* A scalar, or an array of scalars joined by commas, as people write it. */
static void set_cell(const json_t *value, char *out, size_t size)
{
    if (json_is_string(value)) {
        (void)snprintf(out, size, "%s", json_string_value(value));
    } else if (json_is_boolean(value)) {
        (void)snprintf(out, size, "%s", json_is_true(value) ? "yes" : "no");
    } else if (json_is_integer(value)) {
        (void)snprintf(out, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        (void)snprintf(out, size, "%.6g", json_real_value(value));
    } else if (json_is_array(value)) {
        size_t used = 0;
        out[0] = '\0';
        for (size_t i = 0; i < json_array_size(value) && used < size; i++) {
            char item[CELL_SIZE];
            set_cell(json_array_get(value, i), item, sizeof item);
            used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", item);
        }
    } else {
        (void)snprintf(out, size, "%s", json_is_null(value) || !value ? "-" : "{...}");
    }
}

static bool is_table(const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!json_is_object(json_array_get(value, i))) return false;
    return json_array_size(value) > 0;
}

static stlora_status set_table(json_t *rows, int indent, stlora_error *err)
{
    const char *keys[COLUMNS_MAX];
    size_t widths[COLUMNS_MAX], columns = 0;
    char cell[CELL_SIZE];
    const char *key;
    json_t *value;
    json_object_foreach(json_array_get(rows, 0), key, value)
    {
        if (columns == COLUMNS_MAX) break;
        keys[columns] = key;
        widths[columns++] = strlen(key);
    }
    for (size_t i = 0; i < json_array_size(rows); i++)
        for (size_t c = 0; c < columns; c++) {
            set_cell(json_object_get(json_array_get(rows, i), keys[c]), cell, sizeof cell);
            if (strlen(cell) > widths[c]) widths[c] = strlen(cell);
        }
    stlora_status status = STLORA_OK;
    for (size_t line = 0; line <= json_array_size(rows) && status == STLORA_OK; line++) {
        status = put_format(err, "%*s", indent, "");
        for (size_t c = 0; c < columns && status == STLORA_OK; c++) {
            const char *text = keys[c]; // the first line is the heading
            if (line) {
                set_cell(json_object_get(json_array_get(rows, line - 1), keys[c]), cell, sizeof cell);
                text = cell;
            }
            bool last = c + 1 == columns;
            status = put_format(err, "%-*s%s", last ? 0 : (int)widths[c], text, last ? "\n" : "  ");
        }
    }
    return status;
}

static stlora_status set_object(json_t *object, int indent, stlora_error *err)
{
    stlora_status status = STLORA_OK;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        char cell[8 * CELL_SIZE];
        bool nested = json_is_object(value) || is_table(value);
        set_cell(value, cell, sizeof cell);
        status = nested ? put_format(err, "%*s%s:\n", indent, "", key)
                        : put_format(err, "%*s%s: %s\n", indent, "", key, cell);
        if (status == STLORA_OK && nested)
            status = json_is_object(value) ? set_object(value, indent + 2, err)
                                           : set_table(value, indent + 2, err);
        if (status != STLORA_OK) break;
    }
    return status;
}

stlora_status cmd_inspect(const struct options *options, stlora_error *err)
{
    char *path = option_text(options, "path"), *text = NULL;
    if (!path) return refuse(err, STLORA_E_NOMEM, "no memory for a path");
    stlora_status status = stlora_inspect(path, &text, err);
    free(path);
    if (status != STLORA_OK) return status;
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    stlora_release(text);
    if (!json) return refuse(err, STLORA_E_NOMEM, "no memory for the result");
    if (options->json) return put_json(json, 2, err);
    status = set_object(json, 0, err);
    json_decref(json);
    return status;
}
