/* jinja_method.c: the methods of lists, tuples, ranges and dicts, as far as the sandbox lets templates have them.
 * Guarded by tests/text/test_jinja.c. */
#include "text/jinja_builtin.h"

static bool dict_get(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    const stlora_jvalue *found;
    if (!stlora_jdict_get(run, self.as.dict, arg[0], &found)) return false;
    *out = found ? *found : stlora_jgiven(arg[1]) ? arg[1] : stlora_jnone();
    return true;
}

/* A view of what `keys` and `values`, either of which may be false, ask for. */
static bool view_of(stlora_jrun *run, const stlora_jdict *dict, bool keys, bool values, stlora_jvalue *out)
{
    if (!stlora_jlist_make(run, STLORA_J_VIEW, dict->count, out)) return false;
    out->as.list->title = !values ? "dict_keys" : !keys ? "dict_values" : "dict_items";
    for (size_t i = 0; i < dict->count; i++) {
        stlora_jvalue item = keys ? dict->keys[i] : dict->values[i];
        if (keys && values && !stlora_jpair(run, dict->keys[i], dict->values[i], &item)) return false;
        if (!stlora_jlist_push(run, out->as.list, item)) return false;
    }
    return true;
}

static bool dict_items(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)arg;
    return view_of(run, self.as.dict, true, true, out);
}

static bool dict_keys(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)arg;
    return view_of(run, self.as.dict, true, false, out);
}

static bool dict_values(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)arg;
    return view_of(run, self.as.dict, false, true, out);
}

/* Nothing that a template can do changes a list or dict, so a copy is the same. */
static bool do_copy(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)run;
    (void)arg;
    *out = self;
    return true;
}

static bool list_count(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    int64_t count = 0;
    for (size_t i = 0; i < self.as.list->count; i++) {
        bool same;
        if (!stlora_jcharge(run, 1) || !stlora_jequal(run, self.as.list->items[i], arg[0], &same)) return false;
        count += same;
    }
    *out = stlora_jint(count);
    return true;
}

static bool list_index(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    int64_t from = 0, to = (int64_t)self.as.list->count, count = to;
    if (stlora_jgiven(arg[1]) && !stlora_jwant_integer(run, arg[1], "the start", &from)) return false;
    if (stlora_jgiven(arg[2]) && !stlora_jwant_integer(run, arg[2], "the end", &to)) return false;
    if (from < 0) from = from < -count ? 0 : from + count;
    if (to < 0) to = to < -count ? 0 : to + count;
    for (int64_t i = from; i < to && i < count; i++) {
        bool same;
        if (!stlora_jcharge(run, 1) || !stlora_jequal(run, self.as.list->items[i], arg[0], &same)) return false;
        if (!same) continue;
        *out = stlora_jint(i);
        return true;
    }
    return stlora_jfault(run, "the list has no such item");
}

static const stlora_jbuiltin of_dict[] = {
    {"get", "/key default", 1, dict_get, NULL}, {"items", "", 0, dict_items, NULL}, {"keys", "", 0, dict_keys, NULL},
    {"values", "", 0, dict_values, NULL},       {"copy", "", 0, do_copy, NULL},
};
static const stlora_jbuiltin of_list[] = {
    {"index", "/value start stop", 1, list_index, NULL},
    {"count", "/value", 1, list_count, NULL},
    {"copy", "", 0, do_copy, NULL},
};

static const stlora_jbuiltin *find_in(const stlora_jbuiltin *rows, size_t count, stlora_jtext name)
{
    for (size_t i = 0; i < count; i++)
        if (stlora_jtext_is(name, rows[i].name)) return &rows[i];
    return NULL;
}

const stlora_jbuiltin *stlora_jmethod_find(stlora_jvalue self, stlora_jtext name)
{
    size_t lists = sizeof of_list / sizeof *of_list;
    if (self.kind == STLORA_J_STRING) return find_in(stlora_jmethods_text.rows, stlora_jmethods_text.count, name);
    if (self.kind == STLORA_J_DICT) return find_in(of_dict, sizeof of_dict / sizeof *of_dict, name);
    if (self.kind == STLORA_J_LIST) return find_in(of_list, lists, name);
    if (self.kind == STLORA_J_TUPLE || self.kind == STLORA_J_RANGE) return find_in(of_list, lists - 1, name); // no copy
    return NULL;
}

bool stlora_jis_mutator(stlora_jvalue self, stlora_jtext name)
{
    static const char *const of_lists[] = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"};
    static const char *const of_dicts[] = {"clear", "pop", "popitem", "setdefault", "update"};
    for (size_t i = 0; self.kind == STLORA_J_LIST && i < sizeof of_lists / sizeof *of_lists; i++)
        if (stlora_jtext_is(name, of_lists[i])) return true;
    for (size_t i = 0; self.kind == STLORA_J_DICT && i < sizeof of_dicts / sizeof *of_dicts; i++)
        if (stlora_jtext_is(name, of_dicts[i])) return true;
    return false;
}
