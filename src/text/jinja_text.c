/* jinja_text.c: values as text: Python's str and repr. Guarded by tests/text/test_jinja.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/jinja_eval.h"
#include "text/utf8.h"

size_t stlora_jreal_text(double real, char *out)
{
    enum { ROOM = 40 };
    char digits[ROOM];
    if (isnan(real)) return (size_t)snprintf(out, ROOM, "nan");
    if (isinf(real)) return (size_t)snprintf(out, ROOM, "%s", real < 0 ? "-inf" : "inf");
    int precision = 0; // the fewest digits that read back as the same number
    do
        (void)snprintf(digits, sizeof digits, "%.*e", precision, real);
    while (strtod(digits, NULL) != real && ++precision < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) return (size_t)snprintf(out, ROOM, "%s", digits); // C's exponent is Python's
    int places = precision - exponent;
    return (size_t)snprintf(out, ROOM, "%.*f", places > 1 ? places : 1, real);
}

static bool put_text_repr(stlora_jbuilder *builder, stlora_jtext text)
{
    bool single = text.length && memchr(text.data, '\'', text.length),
         twice = text.length && memchr(text.data, '"', text.length);
    char quote = single && !twice ? '"' : '\'';
    if (!stlora_jcharge_points(builder->run, text.length) || !stlora_jput(builder, &quote, 1)) return false;
    for (size_t at = 0, size; at < text.length; at += size) {
        uint32_t point = stlora_utf8_read(text.data + at, &size);
        char escape[16] = "";
        if (point == (uint32_t)(unsigned char)quote || point == '\\')
            (void)snprintf(escape, sizeof escape, "\\%c", (char)point);
        else if (point == '\n' || point == '\r' || point == '\t')
            (void)snprintf(escape, sizeof escape, "\\%c", point == '\n' ? 'n' : point == '\r' ? 'r' : 't');
        else if (!stlora_jis_printable(point))
            (void)snprintf(escape, sizeof escape,
                           point < 0x100     ? "\\x%02x"
                           : point < 0x10000 ? "\\u%04x"
                                             : "\\U%08x",
                           point);
        if (!(escape[0] ? stlora_jput_words(builder, escape) : stlora_jput(builder, text.data + at, size)))
            return false;
    }
    return stlora_jput(builder, &quote, 1);
}

static bool put_items(stlora_jbuilder *builder, const stlora_jlist *list, const char *open, const char *close)
{
    if (!stlora_jput_words(builder, open)) return false;
    for (size_t i = 0; i < list->count; i++)
        if ((i && !stlora_jput_words(builder, ", ")) || !stlora_jput_repr(builder, list->items[i])) return false;
    return stlora_jput_words(builder, close);
}

static bool put_dict(stlora_jbuilder *builder, const stlora_jdict *dict)
{
    if (!stlora_jput_words(builder, "{")) return false;
    for (size_t i = 0; i < dict->count; i++)
        if ((i && !stlora_jput_words(builder, ", ")) || !stlora_jput_repr(builder, dict->keys[i]) ||
            !stlora_jput_words(builder, ": ") || !stlora_jput_repr(builder, dict->values[i]))
            return false;
    return stlora_jput_words(builder, "}");
}

static bool put_range(stlora_jbuilder *builder, const stlora_jlist *range)
{
    char text[96];
    if (range->step == 1)
        (void)snprintf(text, sizeof text, "range(%lld, %lld)", (long long)range->start, (long long)range->stop);
    else
        (void)snprintf(text, sizeof text, "range(%lld, %lld, %lld)", (long long)range->start, (long long)range->stop,
                       (long long)range->step);
    return stlora_jput_words(builder, text);
}

static bool put_view(stlora_jbuilder *builder, const stlora_jlist *view)
{
    return stlora_jput_words(builder, view->title) && put_items(builder, view, "([", "])");
}

static bool put_object(stlora_jbuilder *builder, stlora_jvalue value)
{
    char text[96];
    if (value.kind == STLORA_J_NAMESPACE)
        return stlora_jput_words(builder, "<Namespace ") && put_dict(builder, value.as.dict) &&
               stlora_jput_words(builder, ">");
    if (value.kind == STLORA_J_LOOP) {
        (void)snprintf(text, sizeof text, "<LoopContext %zu/%zu>", value.as.loop->index + 1, value.as.loop->count);
        return stlora_jput_words(builder, text);
    }
    if (value.kind == STLORA_J_MACRO) {
        (void)snprintf(text, sizeof text, "<Macro '%.*s'>", STLORA_JSHOWN(stlora_jmacro_name(value.as.macro)));
        return stlora_jput_words(builder, text);
    }
    return stlora_jfault(builder->run, "a %s has no text of its own", stlora_jtype(value)); // Python's is an address
}

bool stlora_jput_repr(stlora_jbuilder *builder, stlora_jvalue value)
{
    char number[40];
    stlora_jrun *run = builder->run;
    if (!stlora_jcharge_put(run, value)) return false;
    if (value.kind == STLORA_J_STRING) return put_text_repr(builder, value.as.text);
    if (value.kind == STLORA_J_UNDEFINED) return stlora_jput_words(builder, "Undefined");
    if (value.kind == STLORA_J_NONE) return stlora_jput_words(builder, "None");
    if (value.kind == STLORA_J_BOOL) return stlora_jput_words(builder, value.as.truth ? "True" : "False");
    if (value.kind == STLORA_J_FLOAT) return stlora_jput(builder, number, stlora_jreal_text(value.as.real, number));
    if (value.kind == STLORA_J_INT) {
        (void)snprintf(number, sizeof number, "%lld", (long long)value.as.integer);
        return stlora_jput_words(builder, number);
    }
    if (!stlora_jenter(run)) return false;
    bool ok;
    if (value.kind == STLORA_J_LIST)
        ok = put_items(builder, value.as.list, "[", "]");
    else if (value.kind == STLORA_J_TUPLE)
        ok = put_items(builder, value.as.list, "(", value.as.list->count == 1 ? ",)" : ")");
    else if (value.kind == STLORA_J_RANGE)
        ok = put_range(builder, value.as.list);
    else if (value.kind == STLORA_J_VIEW)
        ok = put_view(builder, value.as.list);
    else if (value.kind == STLORA_J_DICT)
        ok = put_dict(builder, value.as.dict);
    else
        ok = put_object(builder, value);
    run->depth--;
    return ok;
}

bool stlora_jput_str(stlora_jbuilder *builder, stlora_jvalue value)
{
    if (value.kind == STLORA_J_STRING) return stlora_jput(builder, value.as.text.data, value.as.text.length);
    if (value.kind == STLORA_J_UNDEFINED) return true;
    return stlora_jput_repr(builder, value);
}

bool stlora_jstr(stlora_jrun *run, stlora_jvalue value, stlora_jtext *out)
{
    if (value.kind == STLORA_J_STRING) {
        *out = value.as.text;
        return true;
    }
    stlora_jbuilder builder = {.run = run};
    if (!stlora_jput_str(&builder, value)) return false;
    *out = stlora_jbuilt_text(&builder);
    return true;
}
