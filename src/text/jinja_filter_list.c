/* jinja_filter_list.c: filters on sequences that are neither given a filter nor a test. What Jinja makes lazily is made at once here.
 * Guarded by tests/text/test_jinja.c. */
#include "text/jinja_builtin.h"

bool stlora_jpick(stlora_jrun *run, stlora_jvalue item, stlora_jvalue attribute, stlora_jvalue fallback, bool fold,
                  stlora_jvalue *out)
{
    *out = item;
    if (!stlora_jcharge(run, 1)) return false;
    if (attribute.kind == STLORA_J_STRING) {
        stlora_jtext path = attribute.as.text;
        for (size_t at = 0; at <= path.length;) {
            size_t end = stlora_jfind(path, (stlora_jtext){".", 1}, at);
            if (end > path.length) end = path.length;
            stlora_jtext part = {path.data + at, end - at};
            stlora_jvalue key = stlora_jstring(part.data, part.length);
            bool too_large;
            if (stlora_jis_all(part, "isdigit")) {
                key = stlora_jint(0);
                if (!stlora_jparse_integer(part, 10, &key.as.integer, &too_large))
                    return stlora_jfault(run, "an attribute is no number");
            }
            if (!stlora_jitem(run, *out, key, out)) return false;
            if (out->kind == STLORA_J_UNDEFINED && stlora_jgiven(fallback) && fallback.kind != STLORA_J_NONE)
                *out = fallback;
            at = end + 1;
        }
    } else if (stlora_jgiven(attribute) && attribute.kind != STLORA_J_NONE) {
        if (!stlora_jitem(run, item, attribute, out)) return false;
        if (out->kind == STLORA_J_UNDEFINED && stlora_jgiven(fallback) && fallback.kind != STLORA_J_NONE)
            *out = fallback;
    }
    return !fold || out->kind != STLORA_J_STRING || stlora_jrecase(run, out->as.text, STLORA_J_LOWER, out);
}

static bool is_set(stlora_jvalue argument)
{
    return stlora_jgiven(argument) && stlora_jtruth(argument);
}

/* The argument `reverse` goes to Python's sorted, which wants an integer. */
static bool read_reverse(stlora_jrun *run, stlora_jvalue argument, bool *reverse)
{
    int64_t integer = 0;
    if (stlora_jgiven(argument) && !stlora_jwant_integer(run, argument, "reverse", &integer)) return false;
    *reverse = integer != 0;
    return true;
}

static bool do_length(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    size_t length;
    (void)arg;
    if (!stlora_jlength(run, self, &length)) return false;
    *out = stlora_jint((int64_t)length);
    return true;
}

static bool do_first(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    const stlora_jvalue *items;
    size_t count;
    (void)arg;
    if (self.kind == STLORA_J_ITERATOR && self.as.list->at < self.as.list->count) { // the others are still to come
        *out = self.as.list->items[self.as.list->at++];
        return true;
    }
    if (!stlora_jwalk(run, self, &items, &count)) return false;
    *out = count ? items[0] : stlora_jundefined("No first item, sequence was empty.");
    return true;
}

static bool do_last(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    const stlora_jvalue *items;
    size_t count;
    (void)arg;
    if (self.kind == STLORA_J_ITERATOR) return stlora_jfault(run, "'generator' object is not reversible");
    if (!stlora_jwalk(run, self, &items, &count)) return false;
    *out = count ? items[count - 1] : stlora_jundefined("No last item, sequence was empty.");
    return true;
}

/* A list, or what can be walked once, of these items. */
static bool make(stlora_jrun *run, stlora_jkind kind, const stlora_jvalue *items, size_t count, stlora_jvalue *out)
{
    if (!stlora_jlist_make(run, kind, count, out)) return false;
    for (size_t i = 0; i < count; i++)
        if (!stlora_jlist_push(run, out->as.list, items[i])) return false;
    return true;
}

static bool do_list(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    const stlora_jvalue *items;
    size_t count;
    (void)arg;
    return stlora_jwalk(run, self, &items, &count) && make(run, STLORA_J_LIST, items, count, out);
}

static bool do_reverse(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    const stlora_jvalue backwards[3] = {{0}, {0}, stlora_jint(-1)}, *items;
    size_t count;
    (void)arg;
    if (self.kind == STLORA_J_STRING) return stlora_jslice(run, self, backwards, out);
    if (!stlora_jwalk(run, self, &items, &count)) return false;
    if (!stlora_jlist_make(run, self.kind == STLORA_J_ITERATOR ? STLORA_J_LIST : STLORA_J_ITERATOR, count, out))
        return false;
    for (size_t i = count; i > 0; i--)
        if (!stlora_jlist_push(run, out->as.list, items[i - 1])) return false;
    return true;
}

static bool do_items(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jvalue pair;
    (void)arg;
    if (!stlora_jlist_make(run, STLORA_J_ITERATOR, 0, out)) return false;
    if (self.kind == STLORA_J_UNDEFINED) return true;
    if (self.kind != STLORA_J_DICT) return stlora_jfault(run, "Can only get item pairs from a mapping.");
    for (size_t i = 0; i < self.as.dict->count; i++)
        if (!stlora_jpair(run, self.as.dict->keys[i], self.as.dict->values[i], &pair) ||
            !stlora_jlist_push(run, out->as.list, pair))
            return false;
    return true;
}

static bool do_join(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext between = {"", 0};
    const stlora_jvalue *items;
    size_t count;
    stlora_jbuilder builder = {.run = run};
    if (stlora_jgiven(arg[0]) && !stlora_jstr(run, arg[0], &between)) return false;
    if (!stlora_jwalk(run, self, &items, &count)) return false;
    for (size_t i = 0; i < count; i++) {
        stlora_jvalue part;
        if (i && !stlora_jput(&builder, between.data, between.length)) return false;
        if (!stlora_jpick(run, items[i], arg[1], stlora_jnone(), false, &part) || !stlora_jput_str(&builder, part))
            return false;
    }
    *out = stlora_jbuilt(&builder);
    return true;
}

static bool do_sum(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    const stlora_jvalue *items;
    size_t count;
    stlora_jvalue sum = stlora_jgiven(arg[1]) ? arg[1] : stlora_jint(0);
    if (sum.kind == STLORA_J_STRING) return stlora_jfault(run, "sum() can't sum strings [use ''.join(seq) instead]");
    if (!stlora_jwalk(run, self, &items, &count)) return false;
    for (size_t i = 0; i < count; i++) {
        stlora_jvalue part;
        if (!stlora_jpick(run, items[i], arg[0], stlora_jnone(), false, &part)) return false;
        if (!stlora_jcompute(run, STLORA_J_ADD, sum, part, &sum)) return false;
    }
    *out = sum;
    return true;
}

/* ---- what orders ---- */

/* What each item is ordered by. */
static bool keys_of(stlora_jrun *run, const stlora_jvalue *items, size_t count, stlora_jvalue attribute,
                    stlora_jvalue fallback, bool fold, stlora_jvalue **keys)
{
    if (!(*keys = stlora_jtake(run, count + 1, sizeof **keys))) return false;
    for (size_t i = 0; i < count; i++)
        if (!stlora_jpick(run, items[i], attribute, fallback, fold, &(*keys)[i])) return false;
    return true;
}

/* The items in the order of keys. */
static bool arrange(stlora_jrun *run, const stlora_jvalue *items, const stlora_jvalue *keys, size_t count, bool reverse,
                    stlora_jvalue *out)
{
    size_t *places = stlora_jtake(run, count + 1, sizeof *places);
    if (!places || !stlora_jsort(run, keys, places, count, reverse) ||
        !stlora_jlist_make(run, STLORA_J_LIST, count, out))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!stlora_jlist_push(run, out->as.list, items[places[i]])) return false;
    return true;
}

/* The keys of sort, lists: of one attribute, or of several with commas between. */
static bool sort_keys(stlora_jrun *run, const stlora_jvalue *items, size_t count, stlora_jvalue attribute, bool fold,
                      stlora_jvalue **keys)
{
    bool path = attribute.kind == STLORA_J_STRING;
    stlora_jtext text = path ? attribute.as.text : (stlora_jtext){"", 0};
    if (!(*keys = stlora_jtake(run, count + 1, sizeof **keys))) return false;
    for (size_t i = 0; i < count; i++) {
        if (!stlora_jlist_make(run, STLORA_J_LIST, 1, &(*keys)[i])) return false;
        for (size_t at = 0; at <= text.length;) {
            size_t end = stlora_jfind(text, (stlora_jtext){",", 1}, at);
            if (end > text.length) end = text.length;
            stlora_jvalue part = path ? stlora_jstring(text.data + at, end - at) : attribute;
            if (!stlora_jpick(run, items[i], part, stlora_jnone(), fold, &part)) return false;
            if (!stlora_jlist_push(run, (*keys)[i].as.list, part)) return false;
            at = end + 1;
        }
    }
    return true;
}

static bool do_sort(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    const stlora_jvalue *items;
    size_t count;
    stlora_jvalue *keys;
    bool reverse;
    return read_reverse(run, arg[0], &reverse) && stlora_jwalk(run, self, &items, &count) &&
           sort_keys(run, items, count, arg[2], !is_set(arg[1]), &keys) &&
           arrange(run, items, keys, count, reverse, out);
}

static bool do_dictsort(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jvalue pairs, *keys;
    bool by_value = false, reverse;
    if (!read_reverse(run, arg[2], &reverse)) return false;
    if (stlora_jgiven(arg[1])) {
        by_value = arg[1].kind == STLORA_J_STRING && stlora_jtext_is(arg[1].as.text, "value");
        if (!by_value && !(arg[1].kind == STLORA_J_STRING && stlora_jtext_is(arg[1].as.text, "key")))
            return stlora_jfault(run, "You can only sort by either \"key\" or \"value\"");
    }
    if (self.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, self);
    if (self.kind != STLORA_J_DICT)
        return stlora_jfault(run, "'%s' object has no attribute 'items'", stlora_jtype(self));
    if (!do_items(run, self, NULL, &pairs)) return false;
    const stlora_jlist *list = pairs.as.list;
    return keys_of(run, list->items, list->count, stlora_jint(by_value), stlora_jnone(), !is_set(arg[0]), &keys) &&
           arrange(run, list->items, keys, list->count, reverse, out);
}

static bool extreme(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, bool largest, stlora_jvalue *out)
{
    const stlora_jvalue *items;
    size_t count, best = 0;
    stlora_jvalue *keys;
    if (!stlora_jwalk(run, self, &items, &count)) return false;
    if (count == 0) {
        *out = stlora_jundefined("No aggregated item, sequence was empty.");
        return true;
    }
    if (!keys_of(run, items, count, arg[1], stlora_jnone(), !is_set(arg[0]), &keys)) return false;
    for (size_t i = 1; i < count; i++) {
        int order;
        if (!stlora_jorder(run, keys[i], keys[best], largest ? ">" : "<", &order)) return false;
        if (order == (largest ? 1 : -1)) best = i;
    }
    *out = items[best];
    return true;
}

static bool do_min(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return extreme(run, self, arg, false, out);
}

static bool do_max(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return extreme(run, self, arg, true, out);
}

static bool do_unique(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    const stlora_jvalue *items, *found;
    size_t count;
    stlora_jvalue *keys, seen;
    if (!stlora_jwalk(run, self, &items, &count)) return false;
    if (!keys_of(run, items, count, arg[1], stlora_jnone(), !is_set(arg[0]), &keys)) return false;
    if (!stlora_jdict_make(run, STLORA_J_DICT, 0, &seen) || !stlora_jlist_make(run, STLORA_J_ITERATOR, 0, out))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!stlora_jdict_get(run, seen.as.dict, keys[i], &found)) return false;
        if (found) continue;
        if (!stlora_jdict_set(run, seen.as.dict, keys[i], stlora_jnone()) ||
            !stlora_jlist_push(run, out->as.list, items[i]))
            return false;
    }
    return true;
}

static bool do_groupby(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    const stlora_jvalue *items;
    size_t count;
    stlora_jvalue *keys;
    bool fold = !is_set(arg[2]);
    if (!stlora_jwalk(run, self, &items, &count) || !keys_of(run, items, count, arg[0], arg[1], fold, &keys))
        return false;
    size_t *places = stlora_jtake(run, count + 1, sizeof *places);
    if (!places || !stlora_jsort(run, keys, places, count, false) || !stlora_jlist_make(run, STLORA_J_LIST, 0, out))
        return false;
    for (size_t i = 0; i < count;) {
        stlora_jvalue name, list, group;
        bool same = true;
        if (!stlora_jpick(run, items[places[i]], arg[0], arg[1], false, &name)) return false;
        if (!stlora_jlist_make(run, STLORA_J_LIST, 0, &list) || !stlora_jpair(run, name, list, &group)) return false;
        group.as.list->title = "group";
        for (size_t first = i; i < count && same;) {
            if (!stlora_jlist_push(run, list.as.list, items[places[i++]])) return false;
            if (i < count && !stlora_jequal(run, keys[places[first]], keys[places[i]], &same)) return false;
        }
        if (!stlora_jlist_push(run, out->as.list, group)) return false;
    }
    return true;
}

/* ---- what cuts ---- */

static bool do_batch(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    const stlora_jvalue *items;
    size_t count;
    int64_t size;
    bool fill = stlora_jgiven(arg[1]) && arg[1].kind != STLORA_J_NONE;
    stlora_jvalue part = {0};
    if (!stlora_jwant_integer(run, arg[0], "batch: linecount", &size)) return false;
    if (!stlora_jwalk(run, self, &items, &count) || !stlora_jlist_make(run, STLORA_J_ITERATOR, 0, out)) return false;
    for (size_t i = 0; i < count; i++) {
        if (!stlora_jgiven(part) || (int64_t)part.as.list->count == size) {
            if (i == 0 && size == 0 &&
                (!stlora_jlist_make(run, STLORA_J_LIST, 0, &part) || !stlora_jlist_push(run, out->as.list, part)))
                return false; // as Jinja, which begins with an empty one then
            if (!stlora_jlist_make(run, STLORA_J_LIST, 0, &part) || !stlora_jlist_push(run, out->as.list, part))
                return false;
        }
        if (!stlora_jlist_push(run, part.as.list, items[i])) return false;
    }
    while (stlora_jgiven(part) && fill && (int64_t)part.as.list->count < size)
        if (!stlora_jlist_push(run, part.as.list, arg[1])) return false;
    return true;
}

static bool do_slice(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    const stlora_jvalue *items;
    size_t count, at = 0;
    int64_t slices;
    stlora_jvalue part;
    if (!stlora_jwant_integer(run, arg[0], "slice: slices", &slices)) return false;
    if (slices == 0) return stlora_jfault(run, "integer division or modulo by zero");
    if (!stlora_jwalk(run, self, &items, &count) || !stlora_jlist_make(run, STLORA_J_ITERATOR, 0, out)) return false;
    for (int64_t i = 0; i < slices; i++) {
        bool extra = i < (int64_t)count % slices;
        size_t size = count / (size_t)slices + extra;
        if (!make(run, STLORA_J_LIST, items ? items + at : NULL, size, &part) ||
            !stlora_jlist_push(run, out->as.list, part))
            return false;
        if (!extra && stlora_jgiven(arg[1]) && arg[1].kind != STLORA_J_NONE &&
            !stlora_jlist_push(run, part.as.list, arg[1]))
            return false;
        at += size;
    }
    return true;
}

static const stlora_jbuiltin rows[] = {
    {"length", "", 0, do_length, NULL},
    {"count", "", 0, do_length, NULL},
    {"first", "", 0, do_first, NULL},
    {"last", "", 0, do_last, NULL},
    {"list", "", 0, do_list, NULL},
    {"reverse", "", 0, do_reverse, NULL},
    {"items", "", 0, do_items, NULL},
    {"join", "d attribute", 0, do_join, NULL},
    {"sum", "attribute start", 0, do_sum, NULL},
    {"sort", "reverse case_sensitive attribute", 0, do_sort, NULL},
    {"dictsort", "case_sensitive by reverse", 0, do_dictsort, NULL},
    {"min", "case_sensitive attribute", 0, do_min, NULL},
    {"max", "case_sensitive attribute", 0, do_max, NULL},
    {"unique", "case_sensitive attribute", 0, do_unique, NULL},
    {"groupby", "attribute default case_sensitive", 1, do_groupby, NULL},
    {"batch", "linecount fill_with", 1, do_batch, NULL},
    {"slice", "slices fill_with", 1, do_slice, NULL},
};
const stlora_jbuiltins stlora_jfilters_list = {rows, sizeof rows / sizeof *rows};
