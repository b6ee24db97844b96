/* text_pattern.c: see text_pattern.h. A string is searched for as bytes, which in valid UTF-8 finds whole characters.
 * Guarded by tests/text/test_tokenizer_small.c. */
#include "text/text_pattern.h"

#include <string.h>

#include "base/memory.h"
#include "text/utf8.h"

static stlora_status compile(stlora_pattern *pattern, const char *regex, size_t length, stlora_error *err)
{
    *pattern = (stlora_pattern){.length = length};
    STLORA_TRY(stlora_word_rule_create(&pattern->rule, regex, length, err));
    return pattern->rule ? STLORA_OK : stlora_regex_create(&pattern->regex, regex, length, false, err);
}

stlora_status stlora_pattern_read(stlora_pattern *pattern, const json_t *object, const char *key,
                                  const stlora_place *place, stlora_error *err)
{
    const json_t *value = json_object_get(object, key);
    stlora_place here = {place, key, 0};
    if (!json_is_object(value))
        return stlora_wanted(&here, "an object with String or Regex", value, err);
    const json_t *string = json_object_get(value, "String"),
                 *regex = json_object_get(value, "Regex");
    const json_t *text = string ? string : regex;
    if (!json_is_string(text)) return stlora_wanted(&here, "a String or a Regex", text, err);
    size_t length = json_string_length(text);
    if (string) {
        *pattern = (stlora_pattern){.length = length};
        return stlora_strdup_n(&pattern->string, json_string_value(text), length, err);
    }
    stlora_error why = {0};
    stlora_status status = compile(pattern, json_string_value(text), length, &why);
    return status == STLORA_OK ? status : stlora_place_fail(&here, status, err, "%s", why.text);
}

stlora_status stlora_pattern_compile(stlora_pattern *pattern, const char *regex, stlora_error *err)
{
    return compile(pattern, regex, strlen(regex), err);
}

void stlora_pattern_free(stlora_pattern *pattern)
{
    stlora_word_rule_free(pattern->rule);
    stlora_regex_free(pattern->regex);
    stlora_free(pattern->string);
    *pattern = (stlora_pattern){0};
}

size_t stlora_find_bytes(const char *text, size_t length, size_t from, const char *needle,
                         size_t needle_length)
{
    while (length - from >= needle_length) {
        const char *first = memchr(text + from, needle[0], length - from - needle_length + 1);
        if (!first) break;
        if (memcmp(first, needle, needle_length) == 0) return (size_t)(first - text);
        from = (size_t)(first - text) + 1;
    }
    return length;
}

stlora_status stlora_pattern_next(const stlora_pattern *pattern, const char *text, size_t length,
                                  stlora_matches *walk, bool *found, size_t *begin, size_t *end,
                                  stlora_error *err)
{
    while (length > 0 && walk->from <= length) {
        size_t b, e;
        *found = true;
        if (pattern->rule) {
            b = walk->from;
            *found = b < length;
            e = *found ? stlora_word_rule_end(pattern->rule, text, length, b) : b;
        } else if (pattern->regex) {
            STLORA_TRY(
                stlora_regex_search(pattern->regex, text, length, walk->from, found, &b, &e, err));
        } else if (pattern->length == 0) {
            b = e = walk->from;
        } else {
            b = stlora_find_bytes(text, length, walk->from, pattern->string, pattern->length);
            e = b + pattern->length;
            *found = b < length;
        }
        if (!*found) return STLORA_OK;
        if (b == e && walk->any && walk->last_end == e) {
            size_t size = 1;
            if (walk->from < length) (void)stlora_utf8_read(text + walk->from, &size);
            walk->from += size;
            continue;
        }
        *walk = (stlora_matches){e, e, true};
        *begin = b;
        *end = e;
        return STLORA_OK;
    }
    *found = false;
    return STLORA_OK;
}
