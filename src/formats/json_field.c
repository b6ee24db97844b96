/* json_field.c: see json_field.h. */
#include "formats/json_field.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

const char *stlora_json_words_of(const json_t *value, stlora_json_words *words)
{
    char *text = words->text;
    const size_t size = sizeof words->text;
    if (json_is_integer(value))
        (void)snprintf(text, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        (void)snprintf(text, size, "%.17g", json_real_value(value));
    else if (json_is_string(value) && json_string_length(value) <= 60)
        (void)snprintf(text, size, "\"%s\"", json_string_value(value));
    else
        (void)snprintf(text, size, "%s", stlora_json_type(value));
    return text;
}

const json_t *stlora_field(const stlora_fields *fields, const char *key)
{
    const json_t *value = json_object_get(fields->object, key);
    return json_is_null(value) ? NULL : value;
}

stlora_status stlora_field_refused(const stlora_fields *fields, const char *key, const char *wanted,
                                   const json_t *value, stlora_error *err)
{
    stlora_json_words words;
    return stlora_fail(err, STLORA_E_FORMAT, "%s: \"%s%s\" must be %s, found %s", fields->path, fields->inside, key,
                       wanted, stlora_json_words_of(value, &words));
}

stlora_status stlora_field_unsupported(const stlora_fields *fields, const char *key, const json_t *value,
                                       const char *supported, stlora_error *err)
{
    stlora_json_words words;
    return stlora_fail(err, STLORA_E_UNSUPPORTED, "%s: \"%s%s\" %s is not supported, only %s", fields->path,
                       fields->inside, key, stlora_json_words_of(value, &words), supported);
}

/* A whole number from least to most, or absent. */
static stlora_status integer(const stlora_fields *fields, const char *key, int64_t least, int64_t most,
                             const char *wanted, int64_t *out, stlora_error *err)
{
    const json_t *value = json_object_get(fields->object, key);
    if (!value) return STLORA_OK;
    const int64_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < least || number > most)
        return stlora_field_refused(fields, key, wanted, value, err);
    *out = number;
    return STLORA_OK;
}

stlora_status stlora_field_size(const stlora_fields *fields, const char *key, int64_t *out, stlora_error *err)
{
    const json_t *value = json_object_get(fields->object, key);
    const bool huge = json_is_integer(value) && json_integer_value(value) > 0;
    return integer(fields, key, 1, INT64_C(1) << 31, huge ? "at most 2147483648" : "a positive integer", out, err);
}

stlora_status stlora_field_id(const stlora_fields *fields, const char *key, int32_t *out, stlora_error *err)
{
    int64_t id = *out;
    STLORA_TRY(integer(fields, key, 0, INT32_MAX, "a token id of at least 0", &id, err));
    *out = (int32_t)id;
    return STLORA_OK;
}

stlora_status stlora_field_positive(const stlora_fields *fields, const char *key, double *out, stlora_error *err)
{
    const json_t *value = json_object_get(fields->object, key);
    if (!value) return STLORA_OK;
    const double number = json_number_value(value); /* 0 for what is no number; JSON has no infinity and no NaN */
    if (!(number > 0)) return stlora_field_refused(fields, key, "a number above 0", value, err);
    *out = number;
    return STLORA_OK;
}

stlora_status stlora_field_bool(const stlora_fields *fields, const char *key, bool *out, stlora_error *err)
{
    const json_t *value = json_object_get(fields->object, key);
    if (!value) return STLORA_OK;
    if (!json_is_boolean(value)) return stlora_field_refused(fields, key, "true or false", value, err);
    *out = json_is_true(value);
    return STLORA_OK;
}

const char *stlora_json_text(const json_t *value)
{
    const char *text = json_string_value(value);
    return text && strlen(text) == json_string_length(value) ? text : NULL;
}

stlora_status stlora_field_text(const stlora_fields *fields, const char *key, const char **out, stlora_error *err)
{
    const json_t *value = json_object_get(fields->object, key);
    if (!value) return STLORA_OK;
    const char *text = stlora_json_text(value);
    if (!text) return stlora_field_refused(fields, key, "a text without NUL", value, err);
    *out = text;
    return STLORA_OK;
}
