/* normalizer.c: see normalizer.h. Invariant: valid UTF-8 in, valid UTF-8 out. Guarded by
 * tests/text/test_tokenizer_small.c (each step) and test_tokenizer_golden.c. */
#include "text/normalizer.h"

#include "text/byte_level.h"
#include "text/character_map.h"
#include "text/text_pattern.h"
#include "text/unicode_form.h"
#include "text/utf8.h"

typedef enum normal_kind {
    FORM,
    LOWERCASE,
    PREPEND,
    REPLACE,
    STRIP,
    MAP,
    SPACE_IDEOGRAPHS,
    BYTE_LEVEL,
} normal_kind;

struct stlora_normal_step {
    normal_kind kind;
    bool composed, compatibility; /* FORM */
    bool left, right;             /* STRIP */
    stlora_character_map *map;    /* MAP */
    char *text;                   /* what PREPEND and REPLACE put */
    size_t length;
    stlora_pattern pattern; /* REPLACE */
};

void stlora_normalizer_free(stlora_normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        stlora_free(normalizer->steps[i].text);
        stlora_pattern_free(&normalizer->steps[i].pattern);
    }
    stlora_free(normalizer->steps);
    *normalizer = (stlora_normalizer){0};
}

void stlora_normal_work_free(stlora_normal_work *work)
{
    stlora_bytes_free(&work->texts[0]);
    stlora_bytes_free(&work->texts[1]);
}

static stlora_status read_text(stlora_normal_step *step, const json_t *part, const char *key,
                               const stlora_place *place, stlora_error *err)
{
    const char *text;
    STLORA_TRY(stlora_member_string(part, key, true, &text, &step->length, place, err));
    return stlora_strdup_n(&step->text, text, step->length, err);
}

static stlora_status add_step(stlora_normalizer *normalizer, normal_kind kind, stlora_normal_step **step, stlora_error *err)
{
    STLORA_TRY(stlora_grow(&normalizer->steps, &normalizer->capacity, normalizer->count + 1, sizeof *normalizer->steps,
                           "normalizer", err));
    *step = &normalizer->steps[normalizer->count++];
    **step = (stlora_normal_step){.kind = kind};
    return STLORA_OK;
}

static stlora_status add_map(stlora_normalizer *normalizer, stlora_character_map *map, stlora_error *err)
{
    stlora_normal_step *step;
    STLORA_TRY(add_step(normalizer, MAP, &step, err));
    step->map = map;
    return STLORA_OK;
}

/* Up to five steps; strip_accents null is as lowercase. */
static stlora_status read_bert(stlora_normalizer *into, const json_t *part, const stlora_place *place, stlora_error *err)
{
    bool clean, ideographs, accents, lowercase;
    stlora_normal_step *step;
    STLORA_TRY(stlora_member_bool(part, "clean_text", true, &clean, place, err));
    STLORA_TRY(stlora_member_bool(part, "handle_chinese_chars", true, &ideographs, place, err));
    STLORA_TRY(stlora_member_bool(part, "lowercase", true, &lowercase, place, err));
    STLORA_TRY(stlora_member_bool(part, "strip_accents", lowercase, &accents, place, err));
    if (clean) STLORA_TRY(add_map(into, stlora_map_bert_clean, err));
    if (ideographs) STLORA_TRY(add_step(into, SPACE_IDEOGRAPHS, &step, err));
    if (accents) STLORA_TRY(add_step(into, FORM, &step, err));
    if (accents) STLORA_TRY(add_map(into, stlora_map_bert_accents, err));
    return lowercase ? add_step(into, LOWERCASE, &step, err) : STLORA_OK;
}

static stlora_status read_step(void *context, const json_t *part, const char *type,
                               const stlora_place *place, stlora_error *err)
{
    static const struct {
        const char *type;
        stlora_normal_step step;
    } kinds[] = {
        {"NFC", {.kind = FORM, .composed = true}},
        {"NFD", {.kind = FORM}},
        {"NFKC", {.kind = FORM, .composed = true, .compatibility = true}},
        {"NFKD", {.kind = FORM, .compatibility = true}},
        {"Lowercase", {.kind = LOWERCASE}},
        {"Prepend", {.kind = PREPEND}},
        {"Replace", {.kind = REPLACE}},
        {"Strip", {.kind = STRIP}},
        {"StripAccents", {.kind = MAP, .map = stlora_map_strip_accents}},
        {"Nmt", {.kind = MAP, .map = stlora_map_nmt}},
        {"ByteLevel", {.kind = BYTE_LEVEL}},
    };
    stlora_normal_step *step;
    size_t i = 0;
    if (strcmp(type, "BertNormalizer") == 0) return read_bert(context, part, place, err);
    while (i < sizeof kinds / sizeof *kinds && strcmp(type, kinds[i].type) != 0)
        i++;
    if (i == sizeof kinds / sizeof *kinds)
        return stlora_place_fail(place, STLORA_E_UNSUPPORTED, err, "the normalizer '%.40s' is not supported", type);
    STLORA_TRY(add_step(context, kinds[i].step.kind, &step, err));
    *step = kinds[i].step;
    switch (step->kind) {
    case PREPEND:
        return read_text(step, part, "prepend", place, err);
    case REPLACE:
        STLORA_TRY(stlora_pattern_read(&step->pattern, part, "pattern", place, err));
        return read_text(step, part, "content", place, err);
    case STRIP:
        STLORA_TRY(stlora_member_bool(part, "strip_left", false, &step->left, place, err));
        return stlora_member_bool(part, "strip_right", false, &step->right, place, err);
    case FORM:
    case LOWERCASE:
    case MAP:
    case SPACE_IDEOGRAPHS:
    case BYTE_LEVEL:
        break;
    }
    return STLORA_OK;
}

stlora_status stlora_normalizer_read(stlora_normalizer *normalizer, const json_t *part,
                                     const stlora_place *place, stlora_error *err)
{
    return stlora_part_visit(part, "normalizers", read_step, normalizer, place, err);
}

/* How much of text[begin, end) lies in its first `origin` bytes. */
static size_t in_origin(size_t begin, size_t end, size_t origin)
{
    return (end < origin ? end : origin) - (begin < origin ? begin : origin);
}

/* How much a text may become: a normal form makes at most eleven bytes of one, and what is put in front or for a space is short. */
enum { GROWTH_MAX = 64, GROWTH_SPARE = 4096 };

static stlora_status check_growth(size_t count, size_t given, stlora_error *err)
{
    if (count / GROWTH_MAX <= given + GROWTH_SPARE / GROWTH_MAX) return STLORA_OK;
    return stlora_fail(err, STLORA_E_FORMAT, "the normalizer makes more than %zu bytes of a text of %zu",
                       given * GROWTH_MAX + GROWTH_SPARE, given);
}

/* The library aligns what replaces characters with the last of them, and what is put between with the one before. */
static stlora_status replace(const stlora_normal_step *step, const char *text, size_t length, size_t given,
                             stlora_bytes *out, size_t *origin, stlora_error *err)
{
    stlora_matches walk = {0};
    size_t copied = 0, kept = 0;
    for (;;) {
        size_t begin, end;
        bool found;
        STLORA_TRY(
            stlora_pattern_next(&step->pattern, text, length, &walk, &found, &begin, &end, err));
        if (!found) break;
        STLORA_TRY(stlora_bytes_append(out, text + copied, begin - copied, err));
        STLORA_TRY(stlora_bytes_append(out, step->text, step->length, err));
        STLORA_TRY(check_growth(out->count, given, err));
        kept += in_origin(copied, begin, *origin) + (end <= *origin ? step->length : 0);
        copied = end;
    }
    *origin = kept + in_origin(copied, length, *origin);
    return stlora_bytes_append(out, text + copied, length - copied, err);
}

static void strip(const stlora_normal_step *step, const char **text, size_t *length, size_t *origin)
{
    size_t begin = 0, end = *length, size;
    while (step->left && begin < end &&
           stlora_is_white_space(stlora_utf8_read(*text + begin, &size)))
        begin += size;
    while (step->right && end > begin) {
        size_t back = stlora_utf8_back(*text, end);
        if (!stlora_is_white_space(stlora_utf8_read(*text + back, &size))) break;
        end = back;
    }
    *origin = in_origin(begin, end, *origin);
    *text += begin;
    *length = end - begin;
}

static stlora_status map_characters(stlora_character_map *map, const char *text, size_t length, stlora_bytes *out,
                                    stlora_error *err)
{
    size_t size;
    for (size_t at = 0; at < length; at += size) {
        char bytes[4];
        const uint32_t point = stlora_utf8_read(text + at, &size), becomes = map(point);
        if (becomes == point)
            STLORA_TRY(stlora_bytes_append(out, text + at, size, err));
        else if (becomes != STLORA_DROPPED)
            STLORA_TRY(stlora_bytes_append(out, bytes, stlora_utf8_write(becomes, bytes), err));
    }
    return STLORA_OK;
}

static stlora_status space_ideographs(const char *text, size_t length, stlora_bytes *out, stlora_error *err)
{
    size_t size;
    for (size_t at = 0; at < length; at += size) {
        const bool apart = stlora_is_bert_ideograph(stlora_utf8_read(text + at, &size));
        if (apart) STLORA_TRY(stlora_bytes_append(out, " ", 1, err));
        STLORA_TRY(stlora_bytes_append(out, text + at, size, err));
        if (apart) STLORA_TRY(stlora_bytes_append(out, " ", 1, err));
    }
    return STLORA_OK;
}

/* The steps that treat each character by itself, or nearly so. */
static stlora_status rewrite(const stlora_normal_step *step, const char *text, size_t length,
                             stlora_bytes *out, stlora_error *err)
{
    switch (step->kind) {
    case FORM:
        return stlora_unicode_form(out, text, length, step->composed, step->compatibility, err);
    case LOWERCASE:
        return stlora_unicode_lower(out, text, length, err);
    case MAP:
        return map_characters(step->map, text, length, out, err);
    case SPACE_IDEOGRAPHS:
        return space_ideographs(text, length, out, err);
    case BYTE_LEVEL:
        return stlora_byte_level_spell(out, text, length, err);
    case PREPEND:
    case REPLACE:
    case STRIP:
        break; /* see stlora_normalize */
    }
    return STLORA_OK;
}

static stlora_status apply(const stlora_normal_step *step, const char *text, size_t length, size_t given,
                           stlora_bytes *out, size_t *origin, stlora_error *err)
{
    if (step->kind == REPLACE) return replace(step, text, length, given, out, origin, err);
    if (step->kind == PREPEND) {
        if (length == 0) return STLORA_OK;
        if (*origin > 0) *origin += step->length;
        STLORA_TRY(stlora_bytes_append(out, step->text, step->length, err));
        return stlora_bytes_append(out, text, length, err);
    }
    size_t first = *origin < length ? *origin : length;
    if (first > 0) { /* what the beginning alone becomes tells how long it is */
        STLORA_TRY(rewrite(step, text, first, out, err));
        *origin = out->count;
        out->count = 0;
    }
    STLORA_TRY(rewrite(step, text, length, out, err));
    if (*origin > out->count) *origin = out->count;
    while (*origin > 0 && *origin < out->count && ((unsigned char)out->data[*origin] & 0xC0) == 0x80)
        ++*origin; /* what follows has joined its last character */
    return STLORA_OK;
}

stlora_status stlora_normalize(const stlora_normalizer *normalizer, stlora_normal_work *work,
                               const char **text, size_t *length, size_t *origin, stlora_error *err)
{
    const size_t given = *length;
    int used = 1; /* the buffer that *text lies in, if any */
    for (size_t i = 0; i < normalizer->count; i++) {
        const stlora_normal_step *step = &normalizer->steps[i];
        if (step->kind == STRIP) {
            strip(step, text, length, origin);
            continue;
        }
        used = !used;
        stlora_bytes *out = &work->texts[used];
        out->count = 0;
        STLORA_TRY(apply(step, *text, *length, given, out, origin, err));
        STLORA_TRY(check_growth(out->count, given, err));
        *text = out->data ? out->data : "";
        *length = out->count;
    }
    return STLORA_OK;
}
