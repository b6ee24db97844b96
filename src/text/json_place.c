/* json_place.c: see json_place.h. Invariant: a complaint names file and path, what was wanted and what was found.
 * Guarded by tests/text/test_tokenizer_bad.c. */
#include "text/json_place.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/file_map.h"
#include "base/memory.h"
#include "text/utf8.h"

enum { PATH_SIZE = 512, DEEPEST = 64, LARGEST_CONFIG = 64 << 20 /* bytes */ };

stlora_status stlora_config_json_load(json_t **out, const char *path, stlora_error *err)
{
    char *bytes;
    size_t size;
    json_error_t why;
    STLORA_TRY(stlora_file_read(&bytes, &size, path, LARGEST_CONFIG, err));
    json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &why);
    stlora_free(bytes);
    if (!root) return stlora_fail(err, STLORA_E_FORMAT, "%s: line %d, column %d: %s", path, why.line, why.column, why.text);
    *out = root;
    return STLORA_OK;
}

static size_t write_path(const stlora_place *place, char path[PATH_SIZE])
{
    size_t used = 0;
    int n;
    if (place->above) used = write_path(place->above, path);
    bool under_file = place->above && !place->above->above;
    if (place->name)
        n = snprintf(path + used, PATH_SIZE - used, "%s%s",
                     !place->above ? ""
                     : under_file  ? ": "
                                   : ".",
                     place->name);
    else
        n = snprintf(path + used, PATH_SIZE - used, "%s[%zu]", under_file ? ": " : "",
                     place->index);
    used += n > 0 ? (size_t)n : 0;
    return used < PATH_SIZE ? used : PATH_SIZE - 1;
}

stlora_status stlora_place_fail(const stlora_place *place, stlora_status status, stlora_error *err,
                                const char *format, ...)
{
    char path[PATH_SIZE], text[sizeof err->text];
    (void)write_path(place, path);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return stlora_fail(err, status, "%s: %s", path, text);
}

stlora_status stlora_wanted(const stlora_place *place, const char *what, const json_t *found,
                            stlora_error *err)
{
    return stlora_place_fail(place, STLORA_E_FORMAT, err, "wanted %s, found %s", what,
                             stlora_json_type(found));
}

stlora_status stlora_member_string(const json_t *object, const char *key, bool required,
                                   const char **text, size_t *length, const stlora_place *place,
                                   stlora_error *err)
{
    const json_t *value = json_object_get(object, key);
    stlora_place here = {place, key, 0};
    if (!required && (!value || json_is_null(value))) {
        *text = NULL;
        *length = 0;
        return STLORA_OK;
    }
    if (!json_is_string(value)) return stlora_wanted(&here, "a string", value, err);
    *text = json_string_value(value);
    *length = json_string_length(value);
    return STLORA_OK;
}

stlora_status stlora_member_bool(const json_t *object, const char *key, bool fallback, bool *out,
                                 const stlora_place *place, stlora_error *err)
{
    const json_t *value = json_object_get(object, key);
    stlora_place here = {place, key, 0};
    if (value && !json_is_null(value) && !json_is_boolean(value))
        return stlora_wanted(&here, "true or false", value, err);
    *out = json_is_boolean(value) ? json_is_true(value) : fallback;
    return STLORA_OK;
}

stlora_status stlora_member_count(const json_t *object, const char *key, size_t *out,
                                  const stlora_place *place, stlora_error *err)
{
    const json_t *value = json_object_get(object, key);
    stlora_place here = {place, key, 0};
    if (!json_is_integer(value)) return stlora_wanted(&here, "an integer", value, err);
    json_int_t count = json_integer_value(value);
    if (count < 0 || count > INT32_MAX)
        return stlora_place_fail(&here, STLORA_E_FORMAT, err, "wanted a count, found %lld",
                                 (long long)count);
    *out = (size_t)count;
    return STLORA_OK;
}

stlora_status stlora_member_char(const json_t *object, const char *key, const char **text,
                                 size_t *length, const stlora_place *place, stlora_error *err)
{
    const char *found = NULL;
    size_t bytes = 0, size = 0;
    STLORA_TRY(stlora_member_string(object, key, true, &found, &bytes, place, err));
    if (bytes) (void)stlora_utf8_read(found, &size);
    stlora_place here = {place, key, 0};
    if (!bytes || size != bytes)
        return stlora_place_fail(&here, STLORA_E_FORMAT, err, "wanted one character, found '%.40s'",
                                 found);
    *text = found;
    *length = bytes;
    return STLORA_OK;
}

stlora_status stlora_member_array(const json_t *object, const char *key, const json_t **out,
                                  const stlora_place *place, stlora_error *err)
{
    const json_t *value = json_object_get(object, key);
    stlora_place here = {place, key, 0};
    if (!json_is_array(value)) return stlora_wanted(&here, "an array", value, err);
    *out = value;
    return STLORA_OK;
}

stlora_status stlora_part_visit(const json_t *part, const char *sequence_key,
                                stlora_part_visitor *visit, void *context,
                                const stlora_place *place, stlora_error *err)
{
    if (!part || json_is_null(part)) return STLORA_OK;
    if (!json_is_object(part)) return stlora_wanted(place, "an object or null", part, err);
    int depth = 0;
    for (const stlora_place *p = place; p; p = p->above)
        depth++;
    if (depth > DEEPEST)
        return stlora_place_fail(place, STLORA_E_FORMAT, err, "a sequence within %d others",
                                 DEEPEST / 2);
    const char *type = "";
    size_t length;
    STLORA_TRY(stlora_member_string(part, "type", true, &type, &length, place, err));
    if (strcmp(type, "Sequence") != 0) return visit(context, part, type, place, err);
    const json_t *parts = NULL;
    STLORA_TRY(stlora_member_array(part, sequence_key, &parts, place, err));
    stlora_place array = {place, sequence_key, 0};
    for (size_t i = 0; i < json_array_size(parts); i++) {
        stlora_place element = {&array, NULL, i};
        const json_t *inner = json_array_get(parts, i);
        if (!json_is_object(inner)) return stlora_wanted(&element, "an object", inner, err);
        STLORA_TRY(stlora_part_visit(inner, sequence_key, visit, context, &element, err));
    }
    return STLORA_OK;
}
