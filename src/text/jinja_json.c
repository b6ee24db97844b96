/* jinja_json.c: tojson as Transformers has it: json.dumps with ensure_ascii off and nothing escaped for HTML.
 * Guarded by tests/text/test_jinja.c. */
#include <math.h>
#include <stdio.h>

#include "text/jinja_builtin.h"
#include "text/utf8.h"

typedef struct style {
    bool ascii, sorted, lines; /* lines: an item per line */
    stlora_jtext indent;       /* of one level */
    size_t indent_times;
    stlora_jtext item, key; /* separators */
} style;

static bool put_text(stlora_jbuilder *out, stlora_jtext text, bool ascii)
{
    static const char names[] = "\"\\\n\r\t\b\f", letters[] = "\"\\nrtbf";
    if (!stlora_jcharge_points(out->run, text.length) || !stlora_jput_words(out, "\"")) return false;
    for (size_t at = 0, size; at < text.length; at += size) {
        uint32_t point = stlora_utf8_read(text.data + at, &size);
        const char *name = point && point < 0x80 ? strchr(names, (int)point) : NULL;
        char escape[16] = "";
        if (name)
            (void)snprintf(escape, sizeof escape, "\\%c", letters[name - names]);
        else if (point < 0x20 || (ascii && point >= 0x7F && point < 0x10000))
            (void)snprintf(escape, sizeof escape, "\\u%04x", point);
        else if (ascii && point >= 0x10000)
            (void)snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xD800 + ((point - 0x10000) >> 10),
                           0xDC00 + ((point - 0x10000) & 0x3FF));
        if (!(escape[0] ? stlora_jput_words(out, escape) : stlora_jput(out, text.data + at, size))) return false;
    }
    return stlora_jput_words(out, "\"");
}

static bool put_real(stlora_jbuilder *out, double real)
{
    char text[40];
    if (isnan(real)) return stlora_jput_words(out, "NaN");
    if (isinf(real)) return stlora_jput_words(out, real < 0 ? "-Infinity" : "Infinity");
    return stlora_jput(out, text, stlora_jreal_text(real, text));
}

static bool put_break(stlora_jbuilder *out, const style *how, size_t level)
{
    if (!how->lines) return true;
    return stlora_jput_words(out, "\n") && stlora_jput_times(out, how->indent, level * how->indent_times);
}

static bool put_scalar(stlora_jbuilder *out, stlora_jvalue value, const style *how)
{
    char number[32];
    if (value.kind == STLORA_J_STRING) return put_text(out, value.as.text, how->ascii);
    if (value.kind == STLORA_J_NONE) return stlora_jput_words(out, "null");
    if (value.kind == STLORA_J_BOOL) return stlora_jput_words(out, value.as.truth ? "true" : "false");
    if (value.kind == STLORA_J_FLOAT) return put_real(out, value.as.real);
    if (value.kind != STLORA_J_INT)
        return stlora_jfault(out->run, "Object of type %s is not JSON serializable", stlora_jtype(value));
    (void)snprintf(number, sizeof number, "%lld", (long long)value.as.integer);
    return stlora_jput_words(out, number);
}

static bool put_key(stlora_jbuilder *out, stlora_jvalue key, const style *how)
{
    if (key.kind == STLORA_J_STRING) return put_text(out, key.as.text, how->ascii);
    if (!stlora_jis_number(key) && key.kind != STLORA_J_NONE)
        return stlora_jfault(out->run, "keys must be str, int, float, bool or None, not %s", stlora_jtype(key));
    return stlora_jput_words(out, "\"") && put_scalar(out, key, how) && stlora_jput_words(out, "\"");
}

static bool put_value(stlora_jbuilder *out, stlora_jvalue value, const style *how, size_t level);

static bool put_list(stlora_jbuilder *out, const stlora_jlist *list, const style *how, size_t level)
{
    if (list->count == 0) return stlora_jput_words(out, "[]");
    if (!stlora_jput_words(out, "[")) return false;
    for (size_t i = 0; i < list->count; i++)
        if ((i && !stlora_jput(out, how->item.data, how->item.length)) || !put_break(out, how, level + 1) ||
            !put_value(out, list->items[i], how, level + 1))
            return false;
    return put_break(out, how, level) && stlora_jput_words(out, "]");
}

static bool put_dict(stlora_jbuilder *out, const stlora_jdict *dict, const style *how, size_t level)
{
    stlora_jrun *run = out->run;
    if (dict->count == 0) return stlora_jput_words(out, "{}");
    size_t *places = stlora_jtake(run, dict->count, sizeof *places);
    if (!places) return false;
    for (size_t i = 0; i < dict->count; i++)
        places[i] = i;
    if (how->sorted && !stlora_jsort(run, dict->keys, places, dict->count, false)) return false;
    if (!stlora_jput_words(out, "{")) return false;
    for (size_t i = 0; i < dict->count; i++)
        if ((i && !stlora_jput(out, how->item.data, how->item.length)) || !put_break(out, how, level + 1) ||
            !put_key(out, dict->keys[places[i]], how) || !stlora_jput(out, how->key.data, how->key.length) ||
            !put_value(out, dict->values[places[i]], how, level + 1))
            return false;
    return put_break(out, how, level) && stlora_jput_words(out, "}");
}

static bool put_value(stlora_jbuilder *out, stlora_jvalue value, const style *how, size_t level)
{
    bool list = value.kind == STLORA_J_LIST || value.kind == STLORA_J_TUPLE;
    if (!stlora_jcharge_put(out->run, value)) return false;
    if (!list && value.kind != STLORA_J_DICT) return put_scalar(out, value, how);
    if (!stlora_jenter(out->run)) return false;
    bool ok = list ? put_list(out, value.as.list, how, level) : put_dict(out, value.as.dict, how, level);
    out->run->depth--;
    return ok;
}

static bool read_style(stlora_jrun *run, const stlora_jvalue *arg, style *how)
{
    int64_t width;
    *how = (style){.indent = {" ", 1}, .item = {", ", 2}, .key = {": ", 2}};
    how->ascii = stlora_jgiven(arg[0]) && stlora_jtruth(arg[0]);
    how->sorted = stlora_jgiven(arg[3]) && stlora_jtruth(arg[3]);
    how->lines = stlora_jgiven(arg[1]) && arg[1].kind != STLORA_J_NONE;
    if (how->lines) {
        how->item.length = 1; // no blank at the end of a line
        how->indent_times = 1;
        if (arg[1].kind == STLORA_J_STRING) {
            how->indent = arg[1].as.text;
        } else {
            if (!stlora_jwant_integer(run, arg[1], "tojson: indent", &width)) return false;
            how->indent_times = width > 0 ? (size_t)width : 0;
        }
    }
    if (!stlora_jgiven(arg[2]) || arg[2].kind == STLORA_J_NONE) return true;
    const stlora_jvalue *items;
    size_t count;
    if (!stlora_jwalk(run, arg[2], &items, &count)) return false;
    if (count != 2) return stlora_jfault(run, "tojson wants two separators, found %zu", count);
    return stlora_jwant_text(run, items[0], "tojson: a separator", &how->item) &&
           stlora_jwant_text(run, items[1], "tojson: a separator", &how->key);
}

bool stlora_jtojson(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    style how;
    stlora_jbuilder builder = {.run = run};
    if (!read_style(run, arg, &how) || !put_value(&builder, self, &how, 0)) return false;
    *out = stlora_jbuilt(&builder);
    return true;
}
