/* jinja_method_text.c: the methods of Python's str. Places and counts are of code points. Guarded by tests/text/test_jinja.c. */
#include "text/jinja_builtin.h"
#include "text/utf8.h"

#define SELF self.as.text

/* ---- shared with filters ---- */

bool stlora_jstrip(stlora_jrun *run, stlora_jtext text, stlora_jvalue chars, unsigned sides, stlora_jvalue *out)
{
    stlora_jtext set = {NULL, 0};
    const size_t whole = text.length;
    bool given = stlora_jgiven(chars) && chars.kind != STLORA_J_NONE;
    size_t size;
    if (given && !stlora_jwant_text(run, chars, "what is stripped", &set)) return false;
    while ((sides & 1) && text.length) {
        uint32_t point = stlora_utf8_read(text.data, &size);
        if (given ? stlora_jfind(set, (stlora_jtext){text.data, size}, 0) > set.length : !stlora_jis_space(point))
            break;
        text.data += size;
        text.length -= size;
    }
    while ((sides & 2) && text.length) {
        size_t last = stlora_utf8_back(text.data, text.length);
        uint32_t point = stlora_utf8_read(text.data + last, &size);
        if (given ? stlora_jfind(set, (stlora_jtext){text.data + last, size}, 0) > set.length
                  : !stlora_jis_space(point))
            break;
        text.length = last;
    }
    *out = stlora_jstring(text.data, text.length);
    return stlora_jcharge_points(run, (whole - text.length) * (1 + set.length / 16));
}

bool stlora_jreplace(stlora_jrun *run, stlora_jtext text, stlora_jtext old, stlora_jtext by, int64_t count,
                     stlora_jvalue *out)
{
    stlora_jbuilder builder = {.run = run};
    size_t at = 0;
    if (!stlora_jcharge(run, text.length / 16)) return false;
    while (count != 0) {
        size_t found = stlora_jfind(text, old, at), size = 0;
        if (found > text.length) break;
        if (!stlora_jput(&builder, text.data + at, found - at) || !stlora_jput(&builder, by.data, by.length))
            return false;
        count -= count > 0;
        at = found + old.length;
        if (old.length) continue;
        if (at == text.length) break; // an empty text is found between all characters
        (void)stlora_utf8_read(text.data + at, &size);
        if (!stlora_jput(&builder, text.data + at, size)) return false;
        at += size;
    }
    if (!stlora_jput(&builder, text.data + at, text.length - at)) return false;
    *out = stlora_jbuilt(&builder);
    return true;
}

static bool is_line_break(uint32_t point)
{
    return (point >= 0x0A && point <= 0x0D) || (point >= 0x1C && point <= 0x1E) || point == 0x85 || point == 0x2028 ||
           point == 0x2029;
}

bool stlora_jsplit_lines(stlora_jrun *run, stlora_jtext text, bool keep_ends, stlora_jvalue *out)
{
    if (!stlora_jlist_make(run, STLORA_J_LIST, 0, out)) return false;
    for (size_t begin = 0, at = 0, size; at < text.length; at += size) {
        uint32_t point = stlora_utf8_read(text.data + at, &size);
        size_t end = at;
        if (is_line_break(point)) {
            if (point == '\r' && at + 1 < text.length && text.data[at + 1] == '\n') size++;
        } else if (at + size < text.length) {
            continue;
        } else {
            end = at + size;
        }
        size_t stop = keep_ends ? at + size : end;
        if (!stlora_jlist_push(run, out->as.list, stlora_jstring(text.data + begin, stop - begin))) return false;
        begin = at + size;
    }
    return true;
}

/* text with fill on the left and on the right. */
static bool pad(stlora_jrun *run, stlora_jtext text, size_t left, size_t right, stlora_jtext fill, stlora_jvalue *out)
{
    stlora_jbuilder builder = {.run = run};
    if (!stlora_jput_times(&builder, fill, left) || !stlora_jput(&builder, text.data, text.length) ||
        !stlora_jput_times(&builder, fill, right))
        return false;
    *out = stlora_jbuilt(&builder);
    return true;
}

static size_t gap_to(stlora_jtext text, int64_t width)
{
    int64_t points = (int64_t)stlora_jpoints(text);
    return width > points ? (size_t)(width - points) : 0;
}

bool stlora_jcenter(stlora_jrun *run, stlora_jtext text, int64_t width, stlora_jtext fill, stlora_jvalue *out)
{
    size_t gap = gap_to(text, width), left = gap / 2 + (gap & (size_t)width & 1);
    return pad(run, text, left, gap - left, fill, out);
}

bool stlora_jjoin(stlora_jrun *run, stlora_jtext between, const stlora_jvalue *items, size_t count, stlora_jvalue *out)
{
    stlora_jbuilder builder = {.run = run};
    for (size_t i = 0; i < count; i++) {
        if (items[i].kind != STLORA_J_STRING)
            return stlora_jfault(run, "sequence item %zu: expected str instance, %s found", i, stlora_jtype(items[i]));
        if (i && !stlora_jput(&builder, between.data, between.length)) return false;
        if (!stlora_jput(&builder, items[i].as.text.data, items[i].as.text.length)) return false;
    }
    *out = stlora_jbuilt(&builder);
    return true;
}

/* ---- case and kind ---- */

#define CASE_METHOD(function, how)                                                                                     \
    static bool function(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)           \
    {                                                                                                                  \
        (void)arg;                                                                                                     \
        return stlora_jrecase(run, SELF, how, out);                                                                    \
    }
CASE_METHOD(str_upper, STLORA_J_UPPER)
CASE_METHOD(str_lower, STLORA_J_LOWER)
CASE_METHOD(str_title, STLORA_J_TITLE)
CASE_METHOD(str_capitalize, STLORA_J_CAPITALIZE)
CASE_METHOD(str_swapcase, STLORA_J_SWAP)

#define KIND_METHOD(method)                                                                                            \
    static bool str_##method(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)       \
    {                                                                                                                  \
        (void)arg;                                                                                                     \
        *out = stlora_jbool(stlora_jis_all(SELF, #method));                                                            \
        return stlora_jcharge_points(run, SELF.length);                                                                \
    }
KIND_METHOD(isupper)
KIND_METHOD(islower)
KIND_METHOD(istitle)
KIND_METHOD(isalpha)
KIND_METHOD(isdigit)
KIND_METHOD(isdecimal)
KIND_METHOD(isnumeric)
KIND_METHOD(isalnum)
KIND_METHOD(isspace)
KIND_METHOD(isprintable)
KIND_METHOD(isascii)
KIND_METHOD(isidentifier)

/* ---- cutting ---- */

static bool str_strip(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return stlora_jstrip(run, SELF, arg[0], 3, out);
}

static bool str_lstrip(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return stlora_jstrip(run, SELF, arg[0], 1, out);
}

static bool str_rstrip(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return stlora_jstrip(run, SELF, arg[0], 2, out);
}

/* The last place of word in text[0, end); text.length + 1 where there is none. */
static bool find_last(stlora_jrun *run, stlora_jtext text, stlora_jtext word, size_t end, size_t *found)
{
    *found = text.length + 1;
    if (word.length > end) return true;
    for (size_t at = end - word.length + 1; at > 0 && *found > text.length; at--) {
        if (word.length && text.data[at - 1] != word.data[0]) continue;
        if (!stlora_jcharge(run, word.length / 16)) return false; // every place may begin like the word
        if (word.length == 0 || memcmp(text.data + at - 1, word.data, word.length) == 0) *found = at - 1;
    }
    return true;
}

/* The first place, or the last one. */
static bool find_either(stlora_jrun *run, stlora_jtext text, stlora_jtext word, bool last, size_t *found)
{
    if (last) return find_last(run, text, word, text.length, found);
    *found = stlora_jfind(text, word, 0);
    return true;
}

/* The next piece between white space; false at the end of the text. */
static bool next_word(stlora_jtext text, size_t *at, size_t *begin, size_t *end)
{
    size_t size = 0;
    while (*at < text.length && stlora_jis_space(stlora_utf8_read(text.data + *at, &size)))
        *at += size;
    *begin = *at;
    while (*at < text.length && !stlora_jis_space(stlora_utf8_read(text.data + *at, &size)))
        *at += size;
    *end = *at;
    return *end > *begin;
}

static bool push_piece(stlora_jrun *run, stlora_jvalue *list, stlora_jtext text, size_t begin, size_t end)
{
    return stlora_jlist_push(run, list->as.list, stlora_jstring(text.data + begin, end - begin));
}

static bool split_words(stlora_jrun *run, stlora_jtext text, int64_t limit, stlora_jvalue *out)
{
    size_t at = 0, begin, end;
    while (next_word(text, &at, &begin, &end)) {
        if (limit >= 0 && (int64_t)out->as.list->count == limit) // the rest, as it is
            return push_piece(run, out, text, begin, text.length);
        if (!push_piece(run, out, text, begin, end)) return false;
    }
    return true;
}

static void turn_round(stlora_jlist *list)
{
    for (size_t i = 0; i < list->count / 2; i++) {
        stlora_jvalue item = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = item;
    }
}

static bool split_words_backwards(stlora_jrun *run, stlora_jtext text, int64_t limit, stlora_jvalue *out)
{
    for (;;) {
        stlora_jvalue rest;
        if (!stlora_jstrip(run, text, stlora_jnone(), 2, &rest)) return false;
        text = rest.as.text;
        if (text.length == 0) break;
        size_t begin = text.length, size;
        if (limit >= 0 && (int64_t)out->as.list->count == limit) {
            if (!push_piece(run, out, text, 0, text.length)) return false;
            break;
        }
        while (begin > 0) {
            size_t before = stlora_utf8_back(text.data, begin);
            if (stlora_jis_space(stlora_utf8_read(text.data + before, &size))) break;
            begin = before;
        }
        if (!push_piece(run, out, text, begin, text.length)) return false;
        text.length = begin;
    }
    turn_round(out->as.list);
    return true;
}

static bool split(stlora_jrun *run, stlora_jtext text, const stlora_jvalue *arg, bool backwards, stlora_jvalue *out)
{
    int64_t limit = -1;
    stlora_jtext by;
    if (stlora_jgiven(arg[1]) && !stlora_jwant_integer(run, arg[1], "split: maxsplit", &limit)) return false;
    if (!stlora_jlist_make(run, STLORA_J_LIST, 0, out) || !stlora_jcharge(run, text.length / 16)) return false;
    if (!stlora_jgiven(arg[0]) || arg[0].kind == STLORA_J_NONE)
        return backwards ? split_words_backwards(run, text, limit, out) : split_words(run, text, limit, out);
    if (!stlora_jwant_text(run, arg[0], "split: sep", &by)) return false;
    if (by.length == 0) return stlora_jfault(run, "empty separator");
    if (backwards) {
        size_t end = text.length;
        for (; limit != 0; limit -= limit > 0) {
            size_t found;
            if (!find_last(run, text, by, end, &found)) return false;
            if (found > text.length) break;
            if (!push_piece(run, out, text, found + by.length, end)) return false;
            end = found;
        }
        if (!push_piece(run, out, text, 0, end)) return false;
        turn_round(out->as.list);
        return true;
    }
    size_t at = 0;
    for (; limit != 0; limit -= limit > 0) {
        size_t found = stlora_jfind(text, by, at);
        if (found > text.length) break;
        if (!push_piece(run, out, text, at, found)) return false;
        at = found + by.length;
    }
    return push_piece(run, out, text, at, text.length);
}

static bool str_split(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return split(run, SELF, arg, false, out);
}

static bool str_rsplit(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return split(run, SELF, arg, true, out);
}

static bool str_splitlines(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    int64_t keep = 0;
    if (stlora_jgiven(arg[0]) && !stlora_jwant_integer(run, arg[0], "keepends", &keep)) return false;
    return stlora_jsplit_lines(run, SELF, keep != 0, out);
}

static bool partition(stlora_jrun *run, stlora_jtext text, stlora_jvalue arg, bool last, stlora_jvalue *out)
{
    stlora_jtext by;
    size_t found;
    if (!stlora_jwant_text(run, arg, "partition: sep", &by)) return false;
    if (by.length == 0) return stlora_jfault(run, "empty separator");
    if (!find_either(run, text, by, last, &found) || !stlora_jlist_make(run, STLORA_J_TUPLE, 3, out)) return false;
    if (found <= text.length)
        return push_piece(run, out, text, 0, found) && push_piece(run, out, text, found, found + by.length) &&
               push_piece(run, out, text, found + by.length, text.length);
    stlora_jvalue whole = stlora_jstring(text.data, text.length), empty = stlora_jwords("");
    return stlora_jlist_push(run, out->as.list, last ? empty : whole) && stlora_jlist_push(run, out->as.list, empty) &&
           stlora_jlist_push(run, out->as.list, last ? whole : empty);
}

static bool str_partition(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return partition(run, SELF, arg[0], false, out);
}

static bool str_rpartition(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return partition(run, SELF, arg[0], true, out);
}

/* ---- finding ---- */

/* text[start:end] by code points, and the code point at which it begins. */
static bool part_of(stlora_jrun *run, stlora_jtext text, stlora_jvalue start, stlora_jvalue end, stlora_jtext *out,
                    size_t *first, bool *beyond)
{
    int64_t points = (int64_t)stlora_jpoints(text), from = 0, to = points;
    if (stlora_jgiven(start) && start.kind != STLORA_J_NONE && !stlora_jwant_integer(run, start, "the start", &from))
        return false;
    if (stlora_jgiven(end) && end.kind != STLORA_J_NONE && !stlora_jwant_integer(run, end, "the end", &to))
        return false;
    if (from < 0) from = from < -points ? 0 : from + points;
    if (to < 0) to = to < -points ? 0 : to + points;
    if (to > points) to = points;
    *beyond = from > points || from > to; // not even an empty text is found there
    if (*beyond) from = to;
    size_t a = stlora_jpoint_at(text, (size_t)from), b = stlora_jpoint_at(text, (size_t)to);
    *out = (stlora_jtext){text.data + a, b - a};
    *first = (size_t)from;
    return stlora_jcharge(run, text.length / 16);
}

static bool find_in(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, bool last, bool must,
                    stlora_jvalue *out)
{
    stlora_jtext word, part;
    size_t first, found;
    bool beyond;
    if (!stlora_jwant_text(run, arg[0], "what is looked for", &word)) return false;
    if (!part_of(run, SELF, arg[1], arg[2], &part, &first, &beyond)) return false;
    if (!find_either(run, part, word, last, &found)) return false;
    bool there = !beyond && found <= part.length;
    if (must && !there) return stlora_jfault(run, "substring not found");
    *out = stlora_jint(there ? (int64_t)(first + stlora_jpoints((stlora_jtext){part.data, found})) : -1);
    return true;
}

static bool str_find(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return find_in(run, self, arg, false, false, out);
}

static bool str_rfind(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return find_in(run, self, arg, true, false, out);
}

static bool str_index(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return find_in(run, self, arg, false, true, out);
}

static bool str_rindex(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return find_in(run, self, arg, true, true, out);
}

static bool str_count(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext word, part;
    size_t first;
    bool beyond;
    int64_t count = 0;
    if (!stlora_jwant_text(run, arg[0], "what is counted", &word)) return false;
    if (!part_of(run, SELF, arg[1], arg[2], &part, &first, &beyond)) return false;
    if (word.length == 0) count = (int64_t)stlora_jpoints(part) + 1;
    for (size_t at = 0; word.length && (at = stlora_jfind(part, word, at)) <= part.length; at += word.length)
        count++;
    *out = stlora_jint(beyond ? 0 : count);
    return true;
}

/* Whether part begins, or ends, with affix. */
static bool has_affix(stlora_jtext part, stlora_jtext affix, bool at_end)
{
    if (affix.length > part.length) return false;
    const char *at = at_end ? part.data + part.length - affix.length : part.data;
    return affix.length == 0 || memcmp(at, affix.data, affix.length) == 0;
}

static bool with_affix(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, bool at_end, stlora_jvalue *out)
{
    stlora_jtext part, affix;
    size_t first;
    bool beyond, has = false;
    if (!part_of(run, SELF, arg[1], arg[2], &part, &first, &beyond)) return false;
    if (arg[0].kind == STLORA_J_TUPLE) { // one of them
        for (size_t i = 0; i < arg[0].as.list->count; i++) {
            if (!stlora_jwant_text(run, arg[0].as.list->items[i], "one of the affixes", &affix)) return false;
            has = has || has_affix(part, affix, at_end);
        }
    } else {
        if (!stlora_jwant_text(run, arg[0], "the affix", &affix)) return false;
        has = has_affix(part, affix, at_end);
    }
    *out = stlora_jbool(has && !beyond);
    return true;
}

static bool str_startswith(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return with_affix(run, self, arg, false, out);
}

static bool str_endswith(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return with_affix(run, self, arg, true, out);
}

static bool str_removeprefix(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext affix, text = SELF;
    if (!stlora_jwant_text(run, arg[0], "the prefix", &affix)) return false;
    size_t cut = has_affix(text, affix, false) ? affix.length : 0;
    *out = stlora_jstring(text.data + cut, text.length - cut);
    return true;
}

static bool str_removesuffix(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext affix, text = SELF;
    if (!stlora_jwant_text(run, arg[0], "the suffix", &affix)) return false;
    *out = stlora_jstring(text.data, text.length - (has_affix(text, affix, true) ? affix.length : 0));
    return true;
}

/* ---- making ---- */

static bool str_replace(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext old, by;
    int64_t count = -1;
    if (!stlora_jwant_text(run, arg[0], "what is replaced", &old) ||
        !stlora_jwant_text(run, arg[1], "what replaces", &by))
        return false;
    if (stlora_jgiven(arg[2]) && !stlora_jwant_integer(run, arg[2], "replace: count", &count)) return false;
    return stlora_jreplace(run, SELF, old, by, count, out);
}

static bool str_join(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    const stlora_jvalue *items;
    size_t count;
    return stlora_jwalk(run, arg[0], &items, &count) && stlora_jjoin(run, SELF, items, count, out);
}

static bool width_and_fill(stlora_jrun *run, const stlora_jvalue *arg, int64_t *width, stlora_jtext *fill)
{
    *fill = (stlora_jtext){" ", 1};
    if (!stlora_jwant_integer(run, arg[0], "the width", width)) return false;
    if (stlora_jgiven(arg[1]) && !stlora_jwant_text(run, arg[1], "the fill", fill)) return false;
    return stlora_jpoints(*fill) == 1 || stlora_jfault(run, "The fill character must be exactly one character long");
}

static bool str_center(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    int64_t width;
    stlora_jtext fill;
    return width_and_fill(run, arg, &width, &fill) && stlora_jcenter(run, SELF, width, fill, out);
}

static bool str_ljust(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    int64_t width;
    stlora_jtext fill;
    return width_and_fill(run, arg, &width, &fill) && pad(run, SELF, 0, gap_to(SELF, width), fill, out);
}

static bool str_rjust(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    int64_t width;
    stlora_jtext fill;
    return width_and_fill(run, arg, &width, &fill) && pad(run, SELF, gap_to(SELF, width), 0, fill, out);
}

static bool str_zfill(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    int64_t width;
    stlora_jtext text = SELF;
    stlora_jbuilder builder = {.run = run};
    if (!stlora_jwant_integer(run, arg[0], "the width", &width)) return false;
    size_t gap = gap_to(text, width), sign = text.length && (text.data[0] == '-' || text.data[0] == '+');
    if (!stlora_jput(&builder, text.data, sign) || !stlora_jput_times(&builder, (stlora_jtext){"0", 1}, gap) ||
        !stlora_jput(&builder, text.data + sign, text.length - sign))
        return false;
    *out = stlora_jbuilt(&builder);
    return true;
}

static bool str_expandtabs(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    int64_t width = 8, column = 0;
    stlora_jtext text = SELF;
    stlora_jbuilder builder = {.run = run};
    if (stlora_jgiven(arg[0]) && !stlora_jwant_integer(run, arg[0], "tabsize", &width)) return false;
    if (!stlora_jcharge_points(run, text.length)) return false;
    for (size_t at = 0, size; at < text.length; at += size) {
        uint32_t point = stlora_utf8_read(text.data + at, &size);
        int64_t blanks = width > 0 ? width - column % width : 0;
        if (point == '\t' ? !stlora_jput_times(&builder, (stlora_jtext){" ", 1}, (size_t)blanks)
                          : !stlora_jput(&builder, text.data + at, size))
            return false;
        column = point == '\n' || point == '\r' ? 0 : column + (point == '\t' ? blanks : 1);
    }
    *out = stlora_jbuilt(&builder);
    return true;
}

static bool str_absent(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, stlora_jvalue *out)
{
    (void)self;
    (void)args;
    (void)out;
    return stlora_jfail(run, STLORA_E_UNSUPPORTED,
                        "str.format, encode, casefold and translate are not supported; %% and the filter format are");
}

static const stlora_jbuiltin rows[] = {
    {"strip", "/chars", 0, str_strip, NULL},
    {"lstrip", "/chars", 0, str_lstrip, NULL},
    {"rstrip", "/chars", 0, str_rstrip, NULL},
    {"split", "sep maxsplit", 0, str_split, NULL},
    {"rsplit", "sep maxsplit", 0, str_rsplit, NULL},
    {"splitlines", "keepends", 0, str_splitlines, NULL},
    {"startswith", "/prefix start end", 1, str_startswith, NULL},
    {"endswith", "/suffix start end", 1, str_endswith, NULL},
    {"replace", "/old new count", 2, str_replace, NULL},
    {"join", "/iterable", 1, str_join, NULL},
    {"upper", "", 0, str_upper, NULL},
    {"lower", "", 0, str_lower, NULL},
    {"title", "", 0, str_title, NULL},
    {"capitalize", "", 0, str_capitalize, NULL},
    {"swapcase", "", 0, str_swapcase, NULL},
    {"find", "/sub start end", 1, str_find, NULL},
    {"rfind", "/sub start end", 1, str_rfind, NULL},
    {"index", "/sub start end", 1, str_index, NULL},
    {"rindex", "/sub start end", 1, str_rindex, NULL},
    {"count", "/sub start end", 1, str_count, NULL},
    {"partition", "/sep", 1, str_partition, NULL},
    {"rpartition", "/sep", 1, str_rpartition, NULL},
    {"removeprefix", "/prefix", 1, str_removeprefix, NULL},
    {"removesuffix", "/suffix", 1, str_removesuffix, NULL},
    {"center", "/width fillchar", 1, str_center, NULL},
    {"ljust", "/width fillchar", 1, str_ljust, NULL},
    {"rjust", "/width fillchar", 1, str_rjust, NULL},
    {"zfill", "/width", 1, str_zfill, NULL},
    {"expandtabs", "tabsize", 0, str_expandtabs, NULL},
    {"isupper", "", 0, str_isupper, NULL},
    {"islower", "", 0, str_islower, NULL},
    {"istitle", "", 0, str_istitle, NULL},
    {"isalpha", "", 0, str_isalpha, NULL},
    {"isdigit", "", 0, str_isdigit, NULL},
    {"isdecimal", "", 0, str_isdecimal, NULL},
    {"isnumeric", "", 0, str_isnumeric, NULL},
    {"isalnum", "", 0, str_isalnum, NULL},
    {"isspace", "", 0, str_isspace, NULL},
    {"isprintable", "", 0, str_isprintable, NULL},
    {"isascii", "", 0, str_isascii, NULL},
    {"isidentifier", "", 0, str_isidentifier, NULL},
    {"format", NULL, 0, NULL, str_absent},
    {"format_map", NULL, 0, NULL, str_absent},
    {"encode", NULL, 0, NULL, str_absent},
    {"casefold", NULL, 0, NULL, str_absent},
    {"translate", NULL, 0, NULL, str_absent},
    {"maketrans", NULL, 0, NULL, str_absent},
};
const stlora_jbuiltins stlora_jmethods_text = {rows, sizeof rows / sizeof *rows};
