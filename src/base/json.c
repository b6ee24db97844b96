/* json.c: jansson behind sentences that name file, line and column; and one spelling for the files we write.
 * Not here: what a key means. Invariant: a real number is written with the fewest digits that read back as itself. */
#include "base/json.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/atomic_file.h"
#include "base/file_map.h"
#include "base/memory.h"

static const size_t json_file_limit = (size_t)1 << 30; /* bytes */
enum { JSON_WRITE_DEPTH = 512 };

stlora_status stlora_json_parse(json_t **out, const char *bytes, size_t size, const char *where,
                                stlora_error *err)
{
    if (size == 0)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: must be JSON, found nothing", where);
    json_error_t error;
    json_t *value =
        json_loadb(bytes, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (!value) {
        /* jansson has no word for a refused allocation in most places: it then leaves the text empty. */
        if (error.text[0] == '\0' || json_error_code(&error) == json_error_out_of_memory)
            return stlora_fail(err, STLORA_E_NOMEM, "%s: no memory for its JSON", where);
        return stlora_fail(err, STLORA_E_FORMAT, "%s line %d column %d: %s", where, error.line,
                           error.column, error.text);
    }
    *out = value;
    return STLORA_OK;
}

stlora_status stlora_json_load(json_t **out, const char *path, stlora_error *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        char *text; /* a pipe cannot be mapped */
        size_t size;
        STLORA_TRY(stlora_file_read(&text, &size, path, json_file_limit, err));
        stlora_status status = stlora_json_parse(out, text, size, path, err);
        stlora_free(text);
        return status;
    }
    stlora_file_map map;
    STLORA_TRY(stlora_file_map_open(&map, path, err));
    stlora_status status;
    if (map.size > json_file_limit)
        status = stlora_fail(err, STLORA_E_FORMAT, "%s: must be at most %zu bytes, found %zu", path,
                             json_file_limit, map.size);
    else
        status = stlora_json_parse(out, (const char *)map.bytes, map.size, path, err);
    stlora_file_map_close(&map);
    return status;
}

const char *stlora_json_type(const json_t *value)
{
    if (!value) return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "object";
    case JSON_ARRAY: return "array";
    case JSON_STRING: return "string";
    case JSON_INTEGER: return "integer";
    case JSON_REAL: return "real";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "null";
    }
    return "nothing";
}

/* Where the writer stands: the file and what a failure is called. */
typedef struct json_writer {
    stlora_atomic_file *file;
    const char *path;
    stlora_error *err;
    bool sorted;
} json_writer;

static stlora_status put(json_writer *w, const char *text, size_t size)
{
    return stlora_atomic_write(w->file, text, size, w->err);
}

static stlora_status put_line(json_writer *w, int depth)
{
    static const char blanks[] = "                                ";
    STLORA_TRY(put(w, "\n", 1));
    for (size_t left = 2 * (size_t)depth; left > 0;) {
        size_t part = left < sizeof blanks - 1 ? left : sizeof blanks - 1;
        STLORA_TRY(put(w, blanks, part));
        left -= part;
    }
    return STLORA_OK;
}

static stlora_status put_real(json_writer *w, const json_t *value)
{
    char text[64];
    double number = json_real_value(value);
    for (size_t digits = 1; digits <= 17; digits++) {
        size_t size = json_dumpb(value, text, sizeof text - 1,
                                 JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        if (size == 0 || size >= sizeof text) break;
        text[size] = '\0';
        if (digits == 17 || strtod(text, NULL) == number) return put(w, text, size);
    }
    return stlora_fail(w->err, STLORA_E_USAGE, "%s: a number cannot be written as JSON", w->path);
}

static stlora_status put_scalar(json_writer *w, const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!text) return stlora_fail(w->err, STLORA_E_NOMEM, "%s: no memory to write it", w->path);
    stlora_status status = put(w, text, strlen(text));
    free(text);
    return status;
}

static int by_bytes(const void *a, const void *b)
{
    const char *left, *right;
    memcpy(&left, a, sizeof left);
    memcpy(&right, b, sizeof right);
    return strcmp(left, right);
}

static stlora_status put_value(json_writer *w, const json_t *value, int depth);

static stlora_status put_key(json_writer *w, const char *key)
{
    json_t *text = json_string(key);
    if (!text) return stlora_fail(w->err, STLORA_E_NOMEM, "%s: no memory to write it", w->path);
    stlora_status status = put_scalar(w, text);
    json_decref(text);
    return status;
}

static stlora_status put_members(json_writer *w, const json_t *object, const char **keys,
                                 size_t count, int depth)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0) STLORA_TRY(put(w, ",", 1));
        STLORA_TRY(put_line(w, depth + 1));
        STLORA_TRY(put_key(w, keys[i]));
        STLORA_TRY(put(w, ": ", 2));
        STLORA_TRY(put_value(w, json_object_get(object, keys[i]), depth + 1));
    }
    STLORA_TRY(put_line(w, depth));
    return put(w, "}", 1);
}

static stlora_status put_object(json_writer *w, const json_t *object, int depth)
{
    size_t count = json_object_size(object), i = 0;
    if (count == 0) return put(w, "{}", 2);
    const char **keys;
    STLORA_TRY(stlora_alloc(&keys, count, sizeof *keys, "keys", w->err));
    /* Only iteration needs a pointer to something that could be changed. */
    union {
        const json_t *given;
        json_t *iterated;
    } view = {.given = object};
    const char *key;
    json_t *member;
    json_object_foreach(view.iterated, key, member) keys[i++] = key;
    if (w->sorted) qsort(keys, count, sizeof *keys, by_bytes);
    stlora_status status = put(w, "{", 1);
    if (status == STLORA_OK) status = put_members(w, object, keys, count, depth);
    stlora_free(keys);
    return status;
}

static stlora_status put_array(json_writer *w, const json_t *array, int depth)
{
    size_t count = json_array_size(array);
    if (count == 0) return put(w, "[]", 2);
    STLORA_TRY(put(w, "[", 1));
    for (size_t i = 0; i < count; i++) {
        if (i > 0) STLORA_TRY(put(w, ",", 1));
        STLORA_TRY(put_line(w, depth + 1));
        STLORA_TRY(put_value(w, json_array_get(array, i), depth + 1));
    }
    STLORA_TRY(put_line(w, depth));
    return put(w, "]", 1);
}

static stlora_status put_value(json_writer *w, const json_t *value, int depth)
{
    if (depth > JSON_WRITE_DEPTH)
        return stlora_fail(w->err, STLORA_E_USAGE, "%s: JSON nested deeper than %d cannot be written",
                           w->path, JSON_WRITE_DEPTH);
    if (json_is_object(value)) return put_object(w, value, depth);
    if (json_is_array(value)) return put_array(w, value, depth);
    if (json_is_real(value)) return put_real(w, value);
    return put_scalar(w, value);
}

static stlora_status save(const json_t *value, const char *path, bool sorted, stlora_error *err)
{
    if (!value) return stlora_fail(err, STLORA_E_NOMEM, "%s: no memory for its JSON", path);
    stlora_atomic_file *file;
    STLORA_TRY(stlora_atomic_open(&file, path, err));
    json_writer writer = {.file = file, .path = path, .err = err, .sorted = sorted};
    stlora_status status = put_value(&writer, value, 0);
    if (status == STLORA_OK) status = put(&writer, "\n", 1);
    if (status == STLORA_OK) return stlora_atomic_commit(file, err);
    stlora_atomic_abort(file);
    return status;
}

stlora_status stlora_json_save(const json_t *value, const char *path, stlora_error *err)
{
    return save(value, path, true, err);
}

stlora_status stlora_json_save_in_order(const json_t *value, const char *path, stlora_error *err)
{
    return save(value, path, false, err);
}
