/* jinja_compare.c: ==, <, in and sorting, as Python has them. Guarded by tests/text/test_jinja.c. */
#define _GNU_SOURCE /* memmem */
#include <math.h>
#include <string.h>

#include "text/jinja_value.h"

/* Numbers compare by what they are worth: a long double holds every int64 and every double. */
static long double worth(stlora_jvalue value)
{
    int64_t integer;
    if (stlora_jis_integer(value, &integer)) return (long double)integer;
    return (long double)value.as.real;
}

static bool equal_items(stlora_jrun *run, const stlora_jlist *a, const stlora_jlist *b, bool *out)
{
    size_t i = 0;
    *out = a->count == b->count;
    for (; i < a->count && *out; i++)
        if (!stlora_jequal(run, a->items[i], b->items[i], out)) return false;
    return stlora_jcharge(run, i);
}

static bool equal_dicts(stlora_jrun *run, const stlora_jdict *a, const stlora_jdict *b, bool *out)
{
    *out = a->count == b->count;
    for (size_t i = 0; i < a->count && *out; i++) {
        const stlora_jvalue *other;
        if (!stlora_jdict_get(run, b, a->keys[i], &other)) return false;
        if (!other)
            *out = false;
        else if (!stlora_jequal(run, a->values[i], *other, out))
            return false;
    }
    return true;
}

static bool equal_texts(stlora_jtext a, stlora_jtext b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

bool stlora_jequal(stlora_jrun *run, stlora_jvalue a, stlora_jvalue b, bool *out)
{
    if (stlora_jis_number(a) && stlora_jis_number(b)) {
        *out = worth(a) == worth(b);
        return true;
    }
    *out = false;
    if (a.kind != b.kind) return true;
    if (a.kind == STLORA_J_STRING) {
        *out = equal_texts(a.as.text, b.as.text);
        return stlora_jcharge(run, a.as.text.length / 64);
    }
    if (a.kind == STLORA_J_UNDEFINED || a.kind == STLORA_J_NONE) {
        *out = true;
        return true;
    }
    if (!stlora_jenter(run) || !stlora_jcharge(run, 1)) return false;
    bool ok = true;
    if (a.kind == STLORA_J_LIST || a.kind == STLORA_J_TUPLE || a.kind == STLORA_J_RANGE || a.kind == STLORA_J_VIEW)
        ok = equal_items(run, a.as.list, b.as.list, out);
    else if (a.kind == STLORA_J_DICT)
        ok = equal_dicts(run, a.as.dict, b.as.dict, out);
    else if (a.kind == STLORA_J_METHOD) // looked up anew every time
        *out = a.as.method->builtin == b.as.method->builtin;
    else
        *out = a.as.list == b.as.list; // the same object
    run->depth--;
    return ok;
}

static int order_texts(stlora_jtext a, stlora_jtext b)
{
    size_t common = a.length < b.length ? a.length : b.length;
    int order = common ? memcmp(a.data, b.data, common) : 0; // UTF-8 orders as its code points do
    return order ? (order > 0) - (order < 0) : (a.length > b.length) - (a.length < b.length);
}

static bool order_items(stlora_jrun *run, const stlora_jlist *a, const stlora_jlist *b, const char *sign, int *order)
{
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        bool same;
        if (!stlora_jcharge(run, 1) || !stlora_jequal(run, a->items[i], b->items[i], &same)) return false;
        if (!same) return stlora_jorder(run, a->items[i], b->items[i], sign, order);
    }
    *order = (a->count > b->count) - (a->count < b->count);
    return true;
}

bool stlora_jorder(stlora_jrun *run, stlora_jvalue a, stlora_jvalue b, const char *sign, int *order)
{
    if (a.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, a);
    if (b.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, b);
    if (stlora_jis_number(a) && stlora_jis_number(b)) {
        long double x = worth(a), y = worth(b);
        *order = x < y ? -1 : x > y ? 1 : x == y ? 0 : 2; // 2: one is NaN
        return true;
    }
    if (a.kind == STLORA_J_STRING && b.kind == STLORA_J_STRING) {
        *order = order_texts(a.as.text, b.as.text);
        return stlora_jcharge(run, a.as.text.length / 64);
    }
    if (a.kind == b.kind && (a.kind == STLORA_J_LIST || a.kind == STLORA_J_TUPLE)) {
        if (!stlora_jenter(run)) return false;
        bool ok = order_items(run, a.as.list, b.as.list, sign, order);
        run->depth--;
        return ok && stlora_jcharge(run, 1);
    }
    return stlora_jfault(run, "'%s' not supported between instances of '%s' and '%s'", sign, stlora_jtype(a),
                         stlora_jtype(b));
}

size_t stlora_jfind(stlora_jtext text, stlora_jtext word, size_t from)
{
    if (from > text.length || word.length > text.length - from) return text.length + 1;
    if (word.length == 0) return from;
    const char *at = memmem(text.data + from, text.length - from, word.data, word.length); // linear, whatever the texts
    return at ? (size_t)(at - text.data) : text.length + 1;
}

bool stlora_jcontains(stlora_jrun *run, stlora_jvalue item, stlora_jvalue container, bool *out)
{
    *out = false;
    if (container.kind == STLORA_J_STRING) {
        if (item.kind != STLORA_J_STRING)
            return stlora_jfault(run, "'in <string>' requires string as left operand, not %s", stlora_jtype(item));
        *out = stlora_jfind(container.as.text, item.as.text, 0) <= container.as.text.length;
        return stlora_jcharge(run, container.as.text.length / 16);
    }
    if (container.kind == STLORA_J_DICT) {
        const stlora_jvalue *found;
        if (!stlora_jdict_get(run, container.as.dict, item, &found)) return false;
        *out = found != NULL;
        return true;
    }
    if (!stlora_jis_iterable(container))
        return stlora_jfault(run, "argument of type '%s' is not iterable", stlora_jtype(container));
    const stlora_jvalue *items;
    size_t count;
    if (!stlora_jwalk(run, container, &items, &count) || !stlora_jcharge(run, count)) return false;
    for (size_t i = 0; i < count && !*out; i++)
        if (!stlora_jequal(run, items[i], item, out)) return false;
    return true;
}

/* Merges the sorted runs [from, middle) and [middle, to). */
static bool merge(stlora_jrun *run, const stlora_jvalue *keys, size_t *places, size_t *work, size_t from, size_t middle,
                  size_t to, bool reverse)
{
    size_t left = from, right = middle;
    for (size_t i = from; i < to; i++) {
        bool take_left = right == to;
        if (left < middle && right < to) {
            int order;
            const stlora_jvalue a = keys[places[right]], b = keys[places[left]];
            if (!stlora_jorder(run, reverse ? b : a, reverse ? a : b, "<", &order)) return false;
            take_left = order >= 0; // stable in both directions
        }
        work[i] = take_left ? places[left++] : places[right++];
    }
    memcpy(places + from, work + from, (to - from) * sizeof *places);
    return true;
}

bool stlora_jsort(stlora_jrun *run, const stlora_jvalue *keys, size_t *places, size_t count, bool reverse)
{
    for (size_t i = 0; i < count; i++)
        places[i] = i;
    size_t *work = stlora_jtake(run, count + 1, sizeof *work);
    if (!work) return false;
    for (size_t width = 1; width < count; width *= 2) {
        if (!stlora_jcharge(run, count)) return false;
        for (size_t from = 0; from + width < count; from += 2 * width) {
            size_t to = from + 2 * width < count ? from + 2 * width : count;
            if (!merge(run, keys, places, work, from, from + width, to, reverse)) return false;
        }
    }
    return true;
}
