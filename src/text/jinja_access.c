/* jinja_access.c: attributes, items, slices, lengths and iteration. What there is not is undefined, as in Jinja; to use an undefined value
 * fails with its reason. Guarded by tests/text/test_jinja.c. */
#include <stdio.h>

#include "text/jinja_builtin.h"
#include "text/jinja_eval.h"
#include "text/utf8.h"

bool stlora_jundefined_fault(stlora_jrun *run, stlora_jvalue undefined)
{
    stlora_jtext text = undefined.as.text;
    if (undefined.tag == 0) return stlora_jfault(run, "'%.*s' is undefined", STLORA_JSHOWN(text));
    if (undefined.tag == 1) return stlora_jfault(run, "%.*s", STLORA_JSHOWN(text));
    stlora_jlist none = {.title = "dict_items"};
    stlora_jvalue owner = {.kind = (stlora_jkind)(undefined.tag - 2), .as.list = &none};
    return stlora_jfault(run, "'%s object' has no attribute '%.*s'", stlora_jtype(owner), STLORA_JSHOWN(text));
}

/* ---- attributes ---- */

static bool method_of(stlora_jrun *run, stlora_jvalue object, const stlora_jbuiltin *builtin, stlora_jvalue *out)
{
    stlora_jmethod *method = stlora_jtake(run, 1, sizeof *method);
    if (!method) return false;
    *method = (stlora_jmethod){builtin, object};
    *out = (stlora_jvalue){.kind = STLORA_J_METHOD, .as.method = method};
    return true;
}

bool stlora_jown_attribute(stlora_jrun *run, stlora_jvalue object, stlora_jtext name, bool *found, stlora_jvalue *out)
{
    *found = true;
    if (object.kind == STLORA_J_NAMESPACE) {
        const stlora_jvalue *value = stlora_jdict_find(object.as.dict, name);
        if (value) *out = *value;
        *found = value != NULL;
        return true;
    }
    if (object.kind == STLORA_J_LOOP && stlora_jloop_attribute(run, object.as.loop, name, out)) return true;
    if (object.kind == STLORA_J_MACRO && stlora_jtext_is(name, "name")) {
        stlora_jtext own = stlora_jmacro_name(object.as.macro);
        *out = stlora_jstring(own.data, own.length);
        return true;
    }
    if (object.kind == STLORA_J_TUPLE && object.as.list->title &&
        (stlora_jtext_is(name, "grouper") || stlora_jtext_is(name, "list"))) {
        *out = object.as.list->items[name.data[0] == 'l'];
        return true;
    }
    if (stlora_jis_mutator(object, name)) {
        *out = stlora_jundefined("the sandbox keeps templates from changing a list or dict");
        return true;
    }
    const stlora_jbuiltin *builtin = stlora_jmethod_find(object, name);
    if (builtin) return method_of(run, object, builtin, out);
    *found = false;
    return true;
}

static void no_attribute(stlora_jvalue object, stlora_jtext name, stlora_jvalue *out)
{
    *out = (stlora_jvalue){.kind = STLORA_J_UNDEFINED, .tag = (unsigned)object.kind + 2, .as.text = name};
}

bool stlora_jattribute(stlora_jrun *run, stlora_jvalue object, stlora_jtext name, stlora_jvalue *out)
{
    bool found;
    if (object.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, object);
    if (!stlora_jown_attribute(run, object, name, &found, out)) return false;
    if (found) return true;
    const stlora_jvalue *item = object.kind == STLORA_J_DICT ? stlora_jdict_find(object.as.dict, name) : NULL;
    if (item)
        *out = *item;
    else
        no_attribute(object, name, out);
    return true;
}

/* ---- items ---- */

size_t stlora_jpoints(stlora_jtext text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.length; i++)
        count += ((unsigned char)text.data[i] & 0xC0) != 0x80;
    return count;
}

size_t stlora_jpoint_at(stlora_jtext text, size_t point)
{
    size_t at = 0, size;
    for (; point > 0 && at < text.length; point--, at += size)
        (void)stlora_utf8_read(text.data + at, &size);
    return at;
}

static bool is_sequence(stlora_jvalue value)
{
    return value.kind == STLORA_J_LIST || value.kind == STLORA_J_TUPLE || value.kind == STLORA_J_RANGE;
}

/* An index, also one from the end; -1 outside. */
static int64_t place_of(int64_t index, size_t count)
{
    if (index < 0) index += (int64_t)count;
    return index >= 0 && index < (int64_t)count ? index : -1;
}

static bool no_element(stlora_jrun *run, stlora_jvalue object, stlora_jvalue key, stlora_jvalue *out)
{
    stlora_jbuilder reason = {.run = run};
    if (!stlora_jput_words(&reason, stlora_jtype(object)) || !stlora_jput_words(&reason, " object has no element "))
        return false;
    if (stlora_jis_number(key) ? !stlora_jput_repr(&reason, key) : !stlora_jput_words(&reason, stlora_jtype(key)))
        return false;
    *out = (stlora_jvalue){.kind = STLORA_J_UNDEFINED, .tag = 1, .as.text = stlora_jbuilt_text(&reason)};
    return true;
}

static bool is_hashable(stlora_jvalue key)
{
    if (key.kind == STLORA_J_TUPLE)
        for (size_t i = 0; i < key.as.list->count; i++)
            if (key.as.list->items[i].kind == STLORA_J_TUPLE || !is_hashable(key.as.list->items[i])) return false;
    return key.kind != STLORA_J_LIST && key.kind != STLORA_J_DICT && key.kind != STLORA_J_VIEW;
}

bool stlora_jitem(stlora_jrun *run, stlora_jvalue object, stlora_jvalue key, stlora_jvalue *out)
{
    int64_t index;
    if (object.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, object);
    if (object.kind == STLORA_J_DICT && is_hashable(key)) {
        const stlora_jvalue *found = NULL;
        if (!stlora_jdict_get(run, object.as.dict, key, &found)) return false;
        if (found) {
            *out = *found;
            return true;
        }
    } else if (is_sequence(object) && stlora_jis_integer(key, &index)) {
        index = place_of(index, object.as.list->count);
        if (index >= 0) {
            *out = object.as.list->items[index];
            return true;
        }
    } else if (object.kind == STLORA_J_STRING && stlora_jis_integer(key, &index)) {
        index = place_of(index, stlora_jpoints(object.as.text));
        if (index >= 0) {
            size_t at = stlora_jpoint_at(object.as.text, (size_t)index), size;
            (void)stlora_utf8_read(object.as.text.data + at, &size);
            *out = stlora_jstring(object.as.text.data + at, size);
            return stlora_jcharge(run, object.as.text.length / 16);
        }
    }
    if (key.kind != STLORA_J_STRING) return no_element(run, object, key, out);
    bool found;
    if (!stlora_jown_attribute(run, object, key.as.text, &found, out)) return false;
    if (!found) no_attribute(object, key.as.text, out);
    return true;
}

/* ---- slices ---- */

static bool bound_of(stlora_jrun *run, stlora_jvalue bound, int64_t missing, int64_t low, int64_t high, int64_t count,
                     int64_t *out)
{
    *out = missing;
    if (bound.kind == STLORA_J_MISSING || bound.kind == STLORA_J_NONE) return true;
    if (!stlora_jis_integer(bound, out))
        return stlora_jfault(run, "slice indices must be integers or None or have an __index__ method");
    if (*out < 0) *out = *out < -count ? -1 - count : *out + count;
    if (*out < low) *out = low;
    if (*out > high) *out = high;
    return true;
}

static bool slice_text(stlora_jrun *run, stlora_jtext text, int64_t start, int64_t step, size_t count,
                       stlora_jvalue *out)
{
    if (!stlora_jcharge(run, text.length / 16)) return false;
    if (step == 1) {
        size_t from = stlora_jpoint_at(text, (size_t)start);
        stlora_jtext rest = {text.data + from, text.length - from};
        *out = stlora_jstring(rest.data, stlora_jpoint_at(rest, count));
        return true;
    }
    size_t *places = stlora_jtake(run, text.length + 1, sizeof *places), points = 0;
    if (!places || !stlora_jcharge(run, count)) return false;
    for (size_t i = 0; i < text.length; i++)
        if (((unsigned char)text.data[i] & 0xC0) != 0x80) places[points++] = i;
    places[points] = text.length;
    stlora_jbuilder builder = {.run = run};
    for (size_t i = 0; i < count; i++, start += step)
        if (!stlora_jput(&builder, text.data + places[start], places[start + 1] - places[start])) return false;
    *out = stlora_jbuilt(&builder);
    return true;
}

bool stlora_jslice(stlora_jrun *run, stlora_jvalue object, const stlora_jvalue bounds[3], stlora_jvalue *out)
{
    int64_t start, stop, step = 1;
    if (object.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, object);
    if (object.kind != STLORA_J_STRING && !is_sequence(object))
        return stlora_jfault(run, "'%s' object cannot be sliced", stlora_jtype(object));
    if (stlora_jgiven(bounds[2]) && bounds[2].kind != STLORA_J_NONE && !stlora_jis_integer(bounds[2], &step))
        return stlora_jfault(run, "slice indices must be integers or None or have an __index__ method");
    if (step == 0) return stlora_jfault(run, "slice step cannot be zero");
    int64_t length = (int64_t)(object.kind == STLORA_J_STRING ? stlora_jpoints(object.as.text) : object.as.list->count);
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? length - 1 : length;
    if (!bound_of(run, bounds[0], step < 0 ? high : low, low, high, length, &start) ||
        !bound_of(run, bounds[1], step < 0 ? low : high, low, high, length, &stop))
        return false;
    if (step > length) step = length + 1;
    if (step < -length) step = -length - 1;
    int64_t way = step > 0 ? stop - start : start - stop, stride = step > 0 ? step : -step;
    size_t count = way > 0 ? (size_t)((way + stride - 1) / stride) : 0;
    if (object.kind == STLORA_J_STRING) return slice_text(run, object.as.text, start, step, count, out);
    if (!stlora_jlist_make(run, object.kind, count, out)) return false;
    const stlora_jlist *from = object.as.list;
    for (size_t i = 0; i < count; i++)
        if (!stlora_jlist_push(run, out->as.list, from->items[start + (int64_t)i * step])) return false;
    out->as.list->start = from->start + start * from->step;
    out->as.list->stop = from->start + stop * from->step;
    out->as.list->step = from->step * step;
    return true;
}

/* ---- length and iteration ---- */

bool stlora_jlength(stlora_jrun *run, stlora_jvalue value, size_t *out)
{
    if (value.kind == STLORA_J_UNDEFINED)
        *out = 0;
    else if (value.kind == STLORA_J_STRING)
        *out = stlora_jpoints(value.as.text);
    else if (value.kind == STLORA_J_DICT)
        *out = value.as.dict->count;
    else if (is_sequence(value) || value.kind == STLORA_J_VIEW)
        *out = value.as.list->count;
    else if (value.kind == STLORA_J_LOOP)
        *out = value.as.loop->count;
    else
        return stlora_jfault(run, "object of type '%s' has no len()", stlora_jtype(value));
    return true;
}

bool stlora_jis_iterable(stlora_jvalue value)
{
    return value.kind == STLORA_J_UNDEFINED || value.kind == STLORA_J_STRING || value.kind == STLORA_J_DICT ||
           is_sequence(value) || value.kind == STLORA_J_VIEW || value.kind == STLORA_J_ITERATOR;
}

bool stlora_jwalk(stlora_jrun *run, stlora_jvalue value, const stlora_jvalue **items, size_t *count)
{
    *items = NULL;
    *count = 0;
    if (!stlora_jis_iterable(value)) return stlora_jfault(run, "'%s' object is not iterable", stlora_jtype(value));
    if (value.kind == STLORA_J_UNDEFINED) return true;
    if (value.kind == STLORA_J_DICT) {
        *items = value.as.dict->keys;
        *count = value.as.dict->count;
        return true;
    }
    if (value.kind == STLORA_J_STRING) {
        stlora_jtext text = value.as.text;
        size_t points = stlora_jpoints(text);
        stlora_jvalue *points_of = stlora_jtake(run, points + 1, sizeof *points_of);
        if (!points_of) return false;
        for (size_t at = 0, size, i = 0; at < text.length; at += size, i++) {
            (void)stlora_utf8_read(text.data + at, &size);
            points_of[i] = stlora_jstring(text.data + at, size);
        }
        *items = points_of;
        *count = points;
        return true;
    }
    stlora_jlist *list = value.as.list;
    *items = list->items ? list->items + list->at : NULL;
    *count = list->count - list->at;
    if (value.kind == STLORA_J_ITERATOR) list->at = list->count;
    return stlora_jcharge(run, *count / 2);
}
