/* pretokenizer.c: see pretokenizer.h. Each piece walks through all steps before the next one is cut, so that nothing is
 * stored but what a step rewrites. Guarded by tests/text/test_tokenizer_small.c, test_tokenizer_golden.c. */
#include "text/pretokenizer.h"

#include "text/byte_level.h"
#include "text/text_pattern.h"
#include "text/utf8.h"

typedef enum cut_kind {
    PREFIX_SPACE, /* ByteLevel's add_prefix_space */
    SPLIT,        /* at the matches of a pattern */
    SPLIT_CLASS,  /* at the characters of a class */
    SPLIT_LENGTH, /* after so many characters */
    METASPACE,    /* rewrites spaces; the split that may follow is a SPLIT */
    SPELL,        /* in the byte-level alphabet */
} cut_kind;

typedef enum cut_behavior {
    REMOVED,
    ISOLATED,
    MERGED_WITH_PREVIOUS,
    MERGED_WITH_NEXT,
    CONTIGUOUS
} cut_behavior;

typedef enum prepend_scheme { ALWAYS, FIRST, NEVER } prepend_scheme;

struct stlora_cut_step {
    cut_kind kind;
    stlora_pattern pattern;     /* SPLIT */
    bool (*in_class)(uint32_t); /* SPLIT_CLASS */
    cut_behavior behavior;      /* both */
    bool invert;                /* SPLIT: what does not match is the delimiter */
    prepend_scheme scheme;      /* METASPACE */
    char replacement[4];
    size_t replacement_length;
    size_t characters; /* SPLIT_LENGTH */
};

void stlora_pretokenizer_free(stlora_pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++)
        stlora_pattern_free(&pretokenizer->steps[i].pattern);
    stlora_free(pretokenizer->steps);
    *pretokenizer = (stlora_pretokenizer){0};
}

bool stlora_pretokenizer_spells_bytes(const stlora_pretokenizer *pretokenizer)
{
    return pretokenizer->count > 0 && pretokenizer->steps[pretokenizer->count - 1].kind == SPELL;
}

void stlora_pretokenizer_leave_raw(stlora_pretokenizer *pretokenizer)
{
    pretokenizer->count--; /* SPELL owns nothing */
}

/* ---- reading ---- */

static stlora_status add_step(stlora_pretokenizer *pretokenizer, stlora_cut_step **step,
                              cut_kind kind, stlora_error *err)
{
    STLORA_TRY(stlora_grow(&pretokenizer->steps, &pretokenizer->capacity, pretokenizer->count + 1,
                           sizeof *pretokenizer->steps, "pre-tokenizer", err));
    *step = &pretokenizer->steps[pretokenizer->count++];
    (*step)->kind = kind;
    return STLORA_OK;
}

static stlora_status read_behavior(cut_behavior *behavior, const json_t *part, bool required,
                                   const stlora_place *place, stlora_error *err)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name;
    size_t length;
    STLORA_TRY(stlora_member_string(part, "behavior", required, &name, &length, place, err));
    if (!name) return STLORA_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *behavior = (cut_behavior)i;
        return STLORA_OK;
    }
    stlora_place here = {place, "behavior", 0};
    return stlora_place_fail(&here, STLORA_E_FORMAT, err,
                             "wanted Removed, Isolated, MergedWithPrevious, "
                             "MergedWithNext or Contiguous, found '%.40s'",
                             name);
}

static stlora_status read_byte_level(stlora_pretokenizer *pretokenizer, const json_t *part,
                                     const stlora_place *place, stlora_error *err)
{
    bool prefix, regex;
    stlora_cut_step *step;
    STLORA_TRY(stlora_member_bool(part, "add_prefix_space", true, &prefix, place, err));
    STLORA_TRY(stlora_member_bool(part, "use_regex", true, &regex, place, err));
    if (prefix) STLORA_TRY(add_step(pretokenizer, &step, PREFIX_SPACE, err));
    if (regex) {
        STLORA_TRY(add_step(pretokenizer, &step, SPLIT, err));
        step->behavior = ISOLATED;
        STLORA_TRY(stlora_pattern_compile(&step->pattern, stlora_byte_level_pattern, err));
    }
    return add_step(pretokenizer, &step, SPELL, err);
}

static stlora_status read_scheme(prepend_scheme *scheme, const json_t *part,
                                 const stlora_place *place, stlora_error *err)
{
    static const char *const names[] = {"always", "first", "never"};
    const char *name;
    size_t length;
    bool prefix;
    STLORA_TRY(stlora_member_string(part, "prepend_scheme", false, &name, &length, place, err));
    /* Files from before 2024 say add_prefix_space instead. */
    STLORA_TRY(stlora_member_bool(part, "add_prefix_space", true, &prefix, place, err));
    size_t i = prefix ? 0 : 2;
    stlora_place here = {place, "prepend_scheme", 0};
    if (name) {
        for (i = 0; i < 3 && strcmp(name, names[i]) != 0;)
            i++;
        if (i == 3)
            return stlora_place_fail(&here, STLORA_E_FORMAT, err,
                                     "wanted always, first or never, found '%.40s'", name);
        if (!prefix && i != 2)
            return stlora_place_fail(&here, STLORA_E_FORMAT, err,
                                     "'%s' contradicts add_prefix_space false", name);
    }
    *scheme = (prepend_scheme)i;
    return STLORA_OK;
}

static stlora_status read_metaspace(stlora_pretokenizer *pretokenizer, const json_t *part,
                                    const stlora_place *place, stlora_error *err)
{
    const char *replacement;
    size_t length;
    bool split;
    stlora_cut_step *step;
    STLORA_TRY(stlora_member_char(part, "replacement", &replacement, &length, place, err));
    STLORA_TRY(stlora_member_bool(part, "split", true, &split, place, err));
    STLORA_TRY(add_step(pretokenizer, &step, METASPACE, err));
    memcpy(step->replacement, replacement, length);
    step->replacement_length = length;
    STLORA_TRY(read_scheme(&step->scheme, part, place, err));
    if (!split) return STLORA_OK;
    STLORA_TRY(add_step(pretokenizer, &step, SPLIT, err));
    step->behavior = MERGED_WITH_NEXT;
    step->pattern.length = length;
    return stlora_strdup_n(&step->pattern.string, replacement, length, err);
}

static stlora_status read_class(stlora_pretokenizer *pretokenizer, bool (*in_class)(uint32_t),
                                cut_behavior behavior, stlora_error *err)
{
    stlora_cut_step *step;
    STLORA_TRY(add_step(pretokenizer, &step, SPLIT_CLASS, err));
    step->in_class = in_class;
    step->behavior = behavior;
    return STLORA_OK;
}

static stlora_status read_split(stlora_pretokenizer *pretokenizer, const json_t *part,
                                const stlora_place *place, stlora_error *err)
{
    stlora_cut_step *step;
    STLORA_TRY(add_step(pretokenizer, &step, SPLIT, err));
    STLORA_TRY(stlora_pattern_read(&step->pattern, part, "pattern", place, err));
    STLORA_TRY(read_behavior(&step->behavior, part, true, place, err));
    return stlora_member_bool(part, "invert", false, &step->invert, place, err);
}

/* Words of word characters and words of other visible characters; the rest goes. The library's own engine counts the
 * joiners among the word characters. */
static stlora_status read_whitespace(stlora_pretokenizer *pretokenizer, stlora_error *err)
{
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}"
    stlora_cut_step *step;
    STLORA_TRY(add_step(pretokenizer, &step, SPLIT, err));
    step->behavior = REMOVED;
    step->invert = true;
    return stlora_pattern_compile(&step->pattern, "[" WORD "]+|[^" WORD "\\s]+", err);
#undef WORD
}

static stlora_status read_delimiter(stlora_pretokenizer *pretokenizer, const json_t *part,
                                    const stlora_place *place, stlora_error *err)
{
    const char *delimiter;
    size_t length;
    stlora_cut_step *step;
    STLORA_TRY(stlora_member_char(part, "delimiter", &delimiter, &length, place, err));
    STLORA_TRY(add_step(pretokenizer, &step, SPLIT, err));
    step->behavior = REMOVED;
    step->pattern.length = length;
    return stlora_strdup_n(&step->pattern.string, delimiter, length, err);
}

static stlora_status read_fixed_length(stlora_pretokenizer *pretokenizer, const json_t *part, const stlora_place *place,
                                       stlora_error *err)
{
    stlora_cut_step *step;
    STLORA_TRY(add_step(pretokenizer, &step, SPLIT_LENGTH, err));
    STLORA_TRY(stlora_member_count(part, "length", &step->characters, place, err));
    stlora_place here = {place, "length", 0};
    return step->characters ? STLORA_OK : stlora_place_fail(&here, STLORA_E_FORMAT, err, "wanted at least 1, found 0");
}

static stlora_status read_step(void *context, const json_t *part, const char *type,
                               const stlora_place *place, stlora_error *err)
{
    stlora_pretokenizer *into = context;
    if (strcmp(type, "ByteLevel") == 0) return read_byte_level(into, part, place, err);
    if (strcmp(type, "Split") == 0) return read_split(into, part, place, err);
    if (strcmp(type, "Metaspace") == 0) return read_metaspace(into, part, place, err);
    if (strcmp(type, "Whitespace") == 0) return read_whitespace(into, err);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return read_class(into, stlora_is_white_space, REMOVED, err);
    if (strcmp(type, "BertPreTokenizer") == 0) {
        STLORA_TRY(read_class(into, stlora_is_white_space, REMOVED, err));
        return read_class(into, stlora_is_punctuation, ISOLATED, err);
    }
    if (strcmp(type, "CharDelimiterSplit") == 0) return read_delimiter(into, part, place, err);
    if (strcmp(type, "FixedLength") == 0) return read_fixed_length(into, part, place, err);
    if (strcmp(type, "Digits") == 0) {
        bool individual;
        STLORA_TRY(stlora_member_bool(part, "individual_digits", false, &individual, place, err));
        return read_class(into, stlora_is_numeric, individual ? ISOLATED : CONTIGUOUS, err);
    }
    if (strcmp(type, "Punctuation") == 0) {
        cut_behavior behavior = ISOLATED;
        STLORA_TRY(read_behavior(&behavior, part, false, place, err));
        return read_class(into, stlora_is_punctuation, behavior, err);
    }
    return stlora_place_fail(place, STLORA_E_UNSUPPORTED, err,
                             "the pre-tokenizer '%.40s' is not supported", type);
}

stlora_status stlora_pretokenizer_read(stlora_pretokenizer *pretokenizer, const json_t *part,
                                       const stlora_place *place, stlora_error *err)
{
    return stlora_part_visit(part, "pretokenizers", read_step, pretokenizer, place, err);
}

/* ---- cutting ---- */

typedef struct walk {
    const stlora_pretokenizer *pretokenizer;
    stlora_bytes *work;
    stlora_word_sink *sink;
    void *context;
} walk;

static stlora_status run(const walk *w, size_t at_step, const char *text, size_t length,
                         size_t origin, stlora_error *err);

/* Takes the stretches of a text, matches and what lies between, in their order and passes on pieces. One piece may
 * be pending: the next stretch may join it. */
typedef struct cutter {
    const walk *w;
    size_t next_step;
    const char *text;
    bool invert;
    size_t origin;
    cut_behavior behavior;
    bool pending, previous_match;
    size_t begin, end;
} cutter;

static stlora_status emit(const cutter *c, size_t begin, size_t end, stlora_error *err)
{
    if (begin == end) return STLORA_OK;
    return run(c->w, c->next_step, c->text + begin, end - begin,
               c->origin > begin ? c->origin - begin : 0, err);
}

static stlora_status flush(cutter *c, stlora_error *err)
{
    if (!c->pending) return STLORA_OK;
    c->pending = false;
    return emit(c, c->begin, c->end, err);
}

static stlora_status stretch(cutter *c, size_t begin, size_t end, bool match, stlora_error *err)
{
    match = match != c->invert;
    bool joins = false;
    switch (c->behavior) {
    case REMOVED:
        return match ? STLORA_OK : emit(c, begin, end, err);
    case ISOLATED:
        return emit(c, begin, end, err);
    case CONTIGUOUS:
        joins = match == c->previous_match;
        break;
    case MERGED_WITH_PREVIOUS:
        joins = match && !c->previous_match;
        break;
    case MERGED_WITH_NEXT:
        joins = !match && c->previous_match;
        break;
    }
    c->previous_match = match;
    if (joins && c->pending) {
        c->end = end;
        return STLORA_OK;
    }
    STLORA_TRY(flush(c, err));
    c->pending = true;
    c->begin = begin;
    c->end = end;
    return STLORA_OK;
}

static stlora_status split_pattern(cutter *c, const stlora_pattern *pattern, size_t length,
                                   stlora_error *err)
{
    stlora_matches matches = {0};
    size_t done = 0;
    for (;;) {
        size_t begin, end;
        bool found;
        STLORA_TRY(
            stlora_pattern_next(pattern, c->text, length, &matches, &found, &begin, &end, err));
        if (!found) break;
        if (done != begin) STLORA_TRY(stretch(c, done, begin, false, err));
        STLORA_TRY(stretch(c, begin, end, true, err));
        done = end;
    }
    if (done != length) STLORA_TRY(stretch(c, done, length, false, err));
    return flush(c, err);
}

static stlora_status split_class(cutter *c, bool (*in_class)(uint32_t), size_t length,
                                 stlora_error *err)
{
    size_t done = 0, size;
    for (size_t at = 0; at < length; at += size) {
        if (!in_class(stlora_utf8_read(c->text + at, &size))) continue;
        if (done != at) STLORA_TRY(stretch(c, done, at, false, err));
        STLORA_TRY(stretch(c, at, at + size, true, err));
        done = at + size;
    }
    if (done != length) STLORA_TRY(stretch(c, done, length, false, err));
    return flush(c, err);
}

static stlora_status split_length(const cutter *c, size_t characters, size_t length, stlora_error *err)
{
    for (size_t at = 0, end = 0; at < length; at = end) {
        size_t size;
        for (size_t i = 0; i < characters && end < length; i++, end += size)
            (void)stlora_utf8_read(c->text + end, &size);
        STLORA_TRY(emit(c, at, end, err));
    }
    return STLORA_OK;
}

static stlora_status metaspace(const stlora_cut_step *step, stlora_bytes *out, const char *text,
                               size_t length, bool at_origin, stlora_error *err)
{
    bool begins =
        text[0] == ' ' || (length >= step->replacement_length &&
                           memcmp(text, step->replacement, step->replacement_length) == 0);
    if (!begins && (step->scheme == ALWAYS || (step->scheme == FIRST && at_origin)))
        STLORA_TRY(stlora_bytes_append(out, step->replacement, step->replacement_length, err));
    for (size_t at = 0; at < length;) {
        const char *space = memchr(text + at, ' ', length - at);
        size_t end = space ? (size_t)(space - text) : length;
        STLORA_TRY(stlora_bytes_append(out, text + at, end - at, err));
        if (space)
            STLORA_TRY(stlora_bytes_append(out, step->replacement, step->replacement_length, err));
        at = end + 1;
    }
    return STLORA_OK;
}

/* What the steps that do not cut make of a text; of its beginning they make the beginning. */
static stlora_status rewrite(const stlora_cut_step *step, stlora_bytes *out, const char *text,
                             size_t length, bool at_origin, stlora_error *err)
{
    out->count = 0;
    if (step->kind == METASPACE) return metaspace(step, out, text, length, at_origin, err);
    if (step->kind == SPELL) return stlora_byte_level_spell(out, text, length, err);
    if (text[0] != ' ') STLORA_TRY(stlora_bytes_append(out, " ", 1, err));
    return stlora_bytes_append(out, text, length, err);
}

static stlora_status run(const walk *w, size_t at_step, const char *text, size_t length,
                         size_t origin, stlora_error *err)
{
    if (at_step == w->pretokenizer->count) return w->sink(w->context, text, length, err);
    const stlora_cut_step *step = &w->pretokenizer->steps[at_step];
    if (origin > length) origin = length;
    cutter c = {.w = w,
                .next_step = at_step + 1,
                .text = text,
                .origin = origin,
                .invert = step->invert,
                .behavior = step->behavior};
    if (step->kind == SPLIT) return split_pattern(&c, &step->pattern, length, err);
    if (step->kind == SPLIT_CLASS) return split_class(&c, step->in_class, length, err);
    if (step->kind == SPLIT_LENGTH) return split_length(&c, step->characters, length, err);
    stlora_bytes *out = &w->work[at_step];
    if (origin > 0) {
        STLORA_TRY(rewrite(step, out, text, origin, true, err));
        origin = out->count;
    }
    STLORA_TRY(rewrite(step, out, text, length, origin > 0, err));
    return run(w, at_step + 1, out->data, out->count, origin, err);
}

stlora_status stlora_pretokenize(const stlora_pretokenizer *pretokenizer, stlora_bytes *work,
                                 const char *text, size_t length, size_t origin,
                                 stlora_word_sink *sink, void *context, stlora_error *err)
{
    if (length == 0) return STLORA_OK;
    walk w = {pretokenizer, work, sink, context};
    return run(&w, 0, text, length, origin, err);
}
