/* jinja_filter_text.c: filters on text. Guarded by tests/text/test_jinja.c. */
#include "text/jinja_builtin.h"
#include "text/utf8.h"

/* What most of these filters begin with: str(value). */
static bool recase(stlora_jrun *run, stlora_jvalue self, stlora_jcase how, stlora_jvalue *out)
{
    stlora_jtext text;
    return stlora_jstr(run, self, &text) && stlora_jrecase(run, text, how, out);
}

static bool do_upper(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)arg;
    return recase(run, self, STLORA_J_UPPER, out);
}

static bool do_lower(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)arg;
    return recase(run, self, STLORA_J_LOWER, out);
}

static bool do_capitalize(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)arg;
    return recase(run, self, STLORA_J_CAPITALIZE, out);
}

/* A word begins behind white space and - ( { [ <, not behind every character that is no letter, as in str.title. */
static bool do_title(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext text;
    stlora_jbuilder builder = {.run = run};
    (void)arg;
    if (!stlora_jstr(run, self, &text)) return false;
    for (size_t at = 0; at < text.length;) {
        size_t end = at, size;
        bool gap = false, first = true;
        for (; end < text.length; end += size, first = false) {
            uint32_t point = stlora_utf8_read(text.data + end, &size);
            bool here = stlora_jis_space(point) || (point < 0x80 && point && strchr("-({[<", (int)point));
            if (first) gap = here;
            if (here != gap) break;
        }
        stlora_jvalue word;
        if (!stlora_jrecase(run, (stlora_jtext){text.data + at, end - at}, STLORA_J_CAPITALIZE, &word)) return false;
        if (!stlora_jput(&builder, word.as.text.data, word.as.text.length)) return false;
        at = end;
    }
    *out = stlora_jbuilt(&builder);
    return true;
}

static bool do_string(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext text;
    (void)arg;
    if (!stlora_jstr(run, self, &text)) return false;
    *out = stlora_jstring(text.data, text.length);
    return true;
}

static bool do_escape(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    static const char marks[] = "&<>'\"";
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    stlora_jtext text;
    stlora_jbuilder builder = {.run = run};
    (void)arg;
    if (!stlora_jstr(run, self, &text) || !stlora_jcharge_points(run, text.length)) return false;
    for (size_t i = 0; i < text.length; i++) {
        const char *mark = text.data[i] ? strchr(marks, text.data[i]) : NULL;
        if (!(mark ? stlora_jput_words(&builder, names[mark - marks]) : stlora_jput(&builder, text.data + i, 1)))
            return false;
    }
    *out = stlora_jbuilt(&builder);
    return true;
}

static bool do_trim(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext text;
    return stlora_jstr(run, self, &text) && stlora_jstrip(run, text, arg[0], 3, out);
}

static bool do_replace(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext text, old, by;
    int64_t count = -1;
    if (!stlora_jstr(run, self, &text) || !stlora_jstr(run, arg[0], &old) || !stlora_jstr(run, arg[1], &by))
        return false;
    if (stlora_jgiven(arg[2]) && arg[2].kind != STLORA_J_NONE &&
        !stlora_jwant_integer(run, arg[2], "replace: count", &count))
        return false;
    return stlora_jreplace(run, text, old, by, count, out);
}

static bool do_center(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext text;
    int64_t width = 80;
    if (!stlora_jstr(run, self, &text)) return false;
    if (stlora_jgiven(arg[0]) && !stlora_jwant_integer(run, arg[0], "center: width", &width)) return false;
    return stlora_jcenter(run, text, width, (stlora_jtext){" ", 1}, out);
}

static bool do_indent(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext text, by = {" ", 1};
    int64_t width = 4;
    bool first = stlora_jgiven(arg[1]) && stlora_jtruth(arg[1]), blank = stlora_jgiven(arg[2]) && stlora_jtruth(arg[2]);
    stlora_jbuilder builder = {.run = run}, whole = {.run = run};
    stlora_jvalue lines;
    if (arg[0].kind == STLORA_J_STRING) {
        by = arg[0].as.text;
        width = 1;
    } else if (stlora_jgiven(arg[0]) && !stlora_jwant_integer(run, arg[0], "indent: width", &width)) {
        return false;
    }
    size_t times = width > 0 ? (size_t)width : 0;
    if (!stlora_jwant_text(run, self, "what is indented", &text)) return false;
    if (!stlora_jput(&whole, text.data, text.length) || !stlora_jput_words(&whole, "\n")) return false;
    if (!stlora_jsplit_lines(run, stlora_jbuilt_text(&whole), false, &lines)) return false;
    for (size_t i = 0; i < lines.as.list->count; i++) {
        stlora_jtext line = lines.as.list->items[i].as.text;
        bool indented = i == 0 ? first : blank || line.length > 0;
        if (i && !stlora_jput_words(&builder, "\n")) return false;
        if (indented && !stlora_jput_times(&builder, by, times)) return false;
        if (!stlora_jput(&builder, line.data, line.length)) return false;
    }
    *out = stlora_jbuilt(&builder);
    return true;
}

static bool do_wordcount(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext text;
    int64_t count = 0;
    bool within = false;
    (void)arg;
    if (!stlora_jstr(run, self, &text) || !stlora_jcharge_points(run, text.length)) return false;
    for (size_t at = 0, size; at < text.length; at += size) {
        bool word = stlora_jis_word(stlora_utf8_read(text.data + at, &size));
        count += word && !within;
        within = word;
    }
    *out = stlora_jint(count);
    return true;
}

static bool do_truncate(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext text, end = {"...", 3};
    int64_t length = 255, leeway = 5;
    if (!stlora_jwant_text(run, self, "what is truncated", &text)) return false;
    if (stlora_jgiven(arg[0]) && !stlora_jwant_integer(run, arg[0], "truncate: length", &length)) return false;
    if (stlora_jgiven(arg[2]) && !stlora_jwant_text(run, arg[2], "truncate: end", &end)) return false;
    if (stlora_jgiven(arg[3]) && arg[3].kind != STLORA_J_NONE &&
        !stlora_jwant_integer(run, arg[3], "truncate: leeway", &leeway))
        return false;
    int64_t keep = length - (int64_t)stlora_jpoints(end);
    if (keep < 0 || leeway < 0)
        return stlora_jfault(run, "truncate wants a length of at least its end's and a leeway of at least 0");
    int64_t points = (int64_t)stlora_jpoints(text);
    *out = self;
    if (points <= length || points - length <= leeway) return true;
    text.length = stlora_jpoint_at(text, (size_t)keep);
    if (!stlora_jgiven(arg[1]) || !stlora_jtruth(arg[1])) // whole words
        for (size_t i = text.length; i > 0; i--)
            if (text.data[i - 1] == ' ') {
                text.length = i - 1;
                break;
            }
    stlora_jbuilder builder = {.run = run};
    if (!stlora_jput(&builder, text.data, text.length) || !stlora_jput(&builder, end.data, end.length)) return false;
    *out = stlora_jbuilt(&builder);
    return true;
}

static bool do_format(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, stlora_jvalue *out)
{
    stlora_jtext text;
    stlora_jvalue arguments;
    if (args->count && args->named_count)
        return stlora_jfault(run, "format takes arguments by place or by name, not both");
    if (!stlora_jstr(run, self, &text)) return false;
    if (args->named_count) {
        if (!stlora_jdict_make(run, STLORA_J_DICT, args->named_count, &arguments)) return false;
        for (size_t i = 0; i < args->named_count; i++)
            if (!stlora_jdict_set(run, arguments.as.dict, stlora_jstring(args->names[i].data, args->names[i].length),
                                  args->named[i]))
                return false;
    } else {
        if (!stlora_jlist_make(run, STLORA_J_TUPLE, args->count, &arguments)) return false;
        for (size_t i = 0; i < args->count; i++)
            if (!stlora_jlist_push(run, arguments.as.list, args->values[i])) return false;
    }
    return stlora_jpercent(run, text, arguments, out);
}

static const stlora_jbuiltin rows[] = {
    {"upper", "", 0, do_upper, NULL},
    {"lower", "", 0, do_lower, NULL},
    {"capitalize", "", 0, do_capitalize, NULL},
    {"title", "", 0, do_title, NULL},
    {"string", "", 0, do_string, NULL},
    {"safe", "", 0, do_string, NULL},
    {"escape", "", 0, do_escape, NULL},
    {"e", "", 0, do_escape, NULL},
    {"forceescape", "", 0, do_escape, NULL},
    {"trim", "chars", 0, do_trim, NULL},
    {"replace", "old new count", 2, do_replace, NULL},
    {"center", "width", 0, do_center, NULL},
    {"indent", "width first blank", 0, do_indent, NULL},
    {"wordcount", "", 0, do_wordcount, NULL},
    {"truncate", "length killwords end leeway", 0, do_truncate, NULL},
    {"format", NULL, 0, NULL, do_format},
    {"tojson", "ensure_ascii indent separators sort_keys", 0, stlora_jtojson, NULL},
};
const stlora_jbuiltins stlora_jfilters_text = {rows, sizeof rows / sizeof *rows};
