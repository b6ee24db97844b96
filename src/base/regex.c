/* regex.c: Oniguruma behind regex.h. Not a regex language of its own: what a pattern means is the engine's business.
 * Invariant: a search changes nothing in stlora_regex (the region lies on the stack, the limits are read only), so one
 * compiled pattern may be searched from several threads at once. Creation is done by one thread at a time.
 * Guarded by tests/base/test_regex.c. */
#include "base/regex.h"

#include <assert.h>
#include <limits.h>
#include <oniguruma.h>
#include <string.h>

#include "base/memory.h"

/* Backtracking is bounded three ways: retries at one start position, retries of one search over all its start
 * positions, and entries on the engine's stack (about 40 bytes each). Ordinary pre-tokenizer patterns need a few
 * retries a byte and one entry for each byte of a run of white space. */
enum { RETRIES_IN_MATCH = 10000000, RETRIES_IN_SEARCH = 500000000, STACK_ENTRIES = 16777216 };

enum {
    CAPTURES = 64
}; /* the engine wants room for every group, although only the whole match is reported */

struct stlora_regex {
    regex_t *compiled; /* for searching: alternatives in the pattern's own order */
    regex_t *whole;    /* the same pattern bound to the end of the text: for full_match */
    OnigMatchParam *limits;
};

typedef struct region_on_stack {
    int begins[CAPTURES], ends[CAPTURES];
    OnigRegion region;
} region_on_stack;

static OnigRegion *region_init(region_on_stack *storage)
{
    storage->region =
        (OnigRegion){.allocated = CAPTURES, .beg = storage->begins, .end = storage->ends};
    return &storage->region;
}

/* Oniguruma writes its sentence for code into text. */
static const char *engine_words(OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN + 1], int code,
                                OnigErrorInfo *info)
{
    int length =
        info ? onig_error_code_to_str(text, code, info) : onig_error_code_to_str(text, code);
    if (length < 0) length = 0;
    text[length] = '\0';
    return (const char *)text;
}

static stlora_status compile(regex_t **out, const char *pattern, size_t length, bool python,
                             stlora_error *err)
{
    const OnigUChar *begin = (const OnigUChar *)pattern;
    regex_t *compiled;
    OnigErrorInfo info = {0};
    int code = onig_new(&compiled, begin, begin + length, ONIG_OPTION_NONE, ONIG_ENCODING_UTF8,
                        python ? ONIG_SYNTAX_PYTHON : ONIG_SYNTAX_ONIGURUMA, &info);
    int shown = length > 200 ? 200 : (int)length;
    if (code != ONIG_NORMAL) {
        OnigUChar words[ONIG_MAX_ERROR_MESSAGE_LEN + 1];
        return stlora_fail(err, code == ONIGERR_MEMORY ? STLORA_E_NOMEM : STLORA_E_FORMAT,
                           "the pattern '%.*s' is refused: %s", shown, pattern,
                           engine_words(words, code, &info));
    }
    int groups = onig_number_of_captures(compiled);
    if (groups >= CAPTURES) {
        onig_free(compiled);
        return stlora_fail(err, STLORA_E_FORMAT,
                           "the pattern '%.*s' has %d groups, at most %d are allowed", shown,
                           pattern, groups, CAPTURES - 1);
    }
    *out = compiled;
    return STLORA_OK;
}

/* (?:pattern)(?![\s\S]) backtracks until the whole text matches. The bare pattern has been compiled before, so its brackets
 * are in balance; a comment at the end of an extended pattern swallows the bracket and is refused. */
static stlora_status compile_whole(regex_t **out, const char *pattern, size_t length, bool python,
                                   stlora_error *err)
{
    static const char before[] = "(?:", after[] = ")(?![\\s\\S])";
    char *text;
    STLORA_TRY(
        stlora_alloc(&text, length + sizeof before + sizeof after, 1, "regular expression", err));
    memcpy(text, before, sizeof before - 1);
    if (length) memcpy(text + sizeof before - 1, pattern, length);
    memcpy(text + sizeof before - 1 + length, after, sizeof after - 1);
    stlora_status status =
        compile(out, text, length + sizeof before + sizeof after - 2, python, err);
    stlora_free(text);
    return status;
}

static stlora_status create_parts(stlora_regex *regex, const char *pattern, size_t length,
                                  bool python, stlora_error *err)
{
    STLORA_TRY(compile(&regex->compiled, pattern, length, python, err));
    STLORA_TRY(compile_whole(&regex->whole, pattern, length, python, err));
    regex->limits = onig_new_match_param();
    if (!regex->limits)
        return stlora_fail(err, STLORA_E_NOMEM, "regular expression: no memory for its limits");
    (void)onig_initialize_match_param(regex->limits);
    (void)onig_set_retry_limit_in_match_of_match_param(regex->limits, RETRIES_IN_MATCH);
    (void)onig_set_retry_limit_in_search_of_match_param(regex->limits, RETRIES_IN_SEARCH);
    (void)onig_set_match_stack_limit_size_of_match_param(regex->limits, STACK_ENTRIES);
    return STLORA_OK;
}

stlora_status stlora_regex_create(stlora_regex **out, const char *pattern, size_t length,
                                  bool python, stlora_error *err)
{
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    if (onig_initialize(encodings, 1) != ONIG_NORMAL)
        return stlora_fail(err, STLORA_E_NOMEM, "the regular expression engine does not start");
    const OnigUChar *begin = (const OnigUChar *)pattern;
    bool valid = length <= INT_MAX / 2 &&
                 onigenc_is_valid_mbc_string(ONIG_ENCODING_UTF8, begin, begin + length);
    for (size_t i = 0; valid && i < length; i++)
        valid = begin[i] < 0xF5; /* FE and FF mean something to the engine */
    if (!valid)
        return stlora_fail(err, STLORA_E_FORMAT, "a pattern of %zu bytes is not valid UTF-8",
                           length);
    stlora_regex *regex;
    STLORA_TRY(stlora_alloc(&regex, 1, sizeof *regex, "regular expression", err));
    stlora_status status = create_parts(regex, pattern, length, python, err);
    if (status != STLORA_OK) {
        stlora_regex_free(regex);
        return status;
    }
    *out = regex;
    return STLORA_OK;
}

void stlora_regex_free(stlora_regex *regex)
{
    if (!regex) return;
    if (regex->compiled) onig_free(regex->compiled);
    if (regex->whole) onig_free(regex->whole);
    if (regex->limits) onig_free_match_param(regex->limits);
    stlora_free(regex);
}

static stlora_status gave_up(int code, stlora_error *err)
{
    OnigUChar words[ONIG_MAX_ERROR_MESSAGE_LEN + 1];
    return stlora_fail(err, code == ONIGERR_MEMORY ? STLORA_E_NOMEM : STLORA_E_FORMAT,
                       "the regular expression engine gave up on the text: %s",
                       engine_words(words, code, NULL));
}

static stlora_status check_length(size_t length, stlora_error *err)
{
    if (length <= INT_MAX) return STLORA_OK;
    return stlora_fail(err, STLORA_E_FORMAT,
                       "a text of %zu bytes is too long for a regular expression, at most %d",
                       length, INT_MAX);
}

stlora_status stlora_regex_search(stlora_regex *regex, const char *text, size_t length, size_t from,
                                  bool *found, size_t *begin, size_t *end, stlora_error *err)
{
    STLORA_TRY(check_length(length, err));
    region_on_stack storage;
    OnigRegion *region = region_init(&storage);
    const OnigUChar *start = (const OnigUChar *)text;
    int code = onig_search_with_param(regex->compiled, start, start + length, start + from,
                                      start + length, region, ONIG_OPTION_NONE, regex->limits);
    if (code == ONIG_MISMATCH) {
        *found = false;
        return STLORA_OK;
    }
    if (code < 0) return gave_up(code, err);
    *found = true;
    *begin = (size_t)region->beg[0];
    *end = (size_t)region->end[0];
    return STLORA_OK;
}

stlora_status stlora_regex_full_match(stlora_regex *regex, const char *text, size_t length,
                                      bool *matches, stlora_error *err)
{
    STLORA_TRY(check_length(length, err));
    region_on_stack storage;
    OnigRegion *region = region_init(&storage);
    const OnigUChar *start = (const OnigUChar *)text;
    int code = onig_match_with_param(regex->whole, start, start + length, start, region,
                                     ONIG_OPTION_NONE, regex->limits);
    if (code < 0 && code != ONIG_MISMATCH) return gave_up(code, err);
    *matches = code >= 0 && (size_t)code == length;
    return STLORA_OK;
}

static unsigned property(const char *name, size_t length)
{
    OnigUChar bytes[8];
    assert(length <= sizeof bytes);
    memcpy(bytes, name, length);
    int ctype = ONIGENC_PROPERTY_NAME_TO_CTYPE(ONIG_ENCODING_UTF8, bytes, bytes + length);
    assert(ctype >= 0);
    return (unsigned)ctype;
}

/* Marks the ranges of one class; the engine's table is [count, from, to, from, to, ...]. */
static void mark(unsigned char *table, uint32_t count, unsigned ctype, stlora_char_class class)
{
    const OnigCodePoint *ranges;
    OnigCodePoint single_bytes;
    int found = ONIGENC_GET_CTYPE_CODE_RANGE(ONIG_ENCODING_UTF8, ctype, &single_bytes, &ranges);
    assert(found == ONIG_NORMAL);
    for (OnigCodePoint i = 0; i < ranges[0]; i++)
        for (uint32_t point = ranges[1 + 2 * i]; point <= ranges[2 + 2 * i] && point < count; point++)
            table[point] = (unsigned char)class;
}

void stlora_char_classes_init(stlora_char_classes *classes, unsigned char *table, uint32_t count)
{
    *classes = (stlora_char_classes){.letter = property("L", 1), .number = property("N", 1)};
    mark(table, count, classes->letter, STLORA_CHAR_LETTER);
    mark(table, count, classes->number, STLORA_CHAR_NUMBER);
    mark(table, count, ONIGENC_CTYPE_SPACE, STLORA_CHAR_SPACE);
}

stlora_char_class stlora_char_class_of(const stlora_char_classes *classes, uint32_t point)
{
    if (ONIGENC_IS_CODE_CTYPE(ONIG_ENCODING_UTF8, point, classes->letter)) return STLORA_CHAR_LETTER;
    if (ONIGENC_IS_CODE_CTYPE(ONIG_ENCODING_UTF8, point, classes->number)) return STLORA_CHAR_NUMBER;
    return ONIGENC_IS_CODE_CTYPE(ONIG_ENCODING_UTF8, point, ONIGENC_CTYPE_SPACE) ? STLORA_CHAR_SPACE
                                                                                 : STLORA_CHAR_OTHER;
}
