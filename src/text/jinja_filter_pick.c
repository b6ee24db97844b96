/* jinja_filter_pick.c: filters that are given another filter, a test or an attribute for every item, and those that choose a value; also where
 * filters are found by name. Guarded by tests/text/test_jinja.c. */
#include "text/jinja_builtin.h"

/* args without the first `skip` values. */
static stlora_jarguments rest_of(const stlora_jarguments *args, size_t skip)
{
    stlora_jarguments rest = *args;
    rest.values = args->values ? args->values + skip : NULL;
    rest.count -= skip;
    return rest;
}

static const stlora_jvalue *argument_named(const stlora_jarguments *args, const char *name)
{
    for (size_t i = 0; i < args->named_count; i++)
        if (stlora_jtext_is(args->names[i], name)) return &args->named[i];
    return NULL;
}

static bool do_map(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, stlora_jvalue *out)
{
    const stlora_jvalue *items, *attribute = argument_named(args, "attribute"),
                                *fallback = argument_named(args, "default");
    const stlora_jbuiltin *filter = NULL;
    size_t count;
    if (!stlora_jlist_make(run, STLORA_J_ITERATOR, 0, out) || !stlora_jtruth(self)) return run->status == STLORA_OK;
    if (args->count || !attribute) {
        stlora_jtext name;
        if (!args->count) return stlora_jfault(run, "map requires a filter argument");
        if (!stlora_jwant_text(run, args->values[0], "the filter of map", &name)) return false;
        if (!(filter = stlora_jfilter_find(name)))
            return stlora_jfault(run, "there is no filter '%.*s'", STLORA_JSHOWN(name));
    } else if (args->named_count > 1 + (fallback != NULL)) {
        return stlora_jfault(run, "map has an argument too much beside attribute");
    }
    stlora_jarguments rest = rest_of(args, filter != NULL);
    if (!stlora_jwalk(run, self, &items, &count)) return false;
    for (size_t i = 0; i < count; i++) {
        stlora_jvalue value;
        if (filter ? !stlora_jcall_builtin(run, filter, items[i], &rest, &value)
                   : !stlora_jpick(run, items[i], *attribute, fallback ? *fallback : stlora_jnone(), false, &value))
            return false;
        if (!stlora_jlist_push(run, out->as.list, value)) return false;
    }
    return true;
}

/* Keeps the items for which the test, or their own truth, is `wanted`; with by_attribute of what args[0] names in them. */
static bool choose(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, bool by_attribute, bool wanted,
                   stlora_jvalue *out)
{
    const stlora_jvalue *items;
    const stlora_jbuiltin *test = NULL;
    size_t count;
    if (!stlora_jlist_make(run, STLORA_J_ITERATOR, 0, out) || !stlora_jtruth(self)) return run->status == STLORA_OK;
    if (by_attribute && !args->count) return stlora_jfault(run, "Missing parameter for attribute name");
    if (args->count > by_attribute) {
        stlora_jtext name;
        if (!stlora_jwant_text(run, args->values[by_attribute], "the test", &name)) return false;
        if (!(test = stlora_jtest_find(name)))
            return stlora_jfault(run, "there is no test '%.*s'", STLORA_JSHOWN(name));
    }
    stlora_jarguments rest = rest_of(args, (size_t)by_attribute + (test != NULL));
    if (!stlora_jwalk(run, self, &items, &count)) return false;
    for (size_t i = 0; i < count; i++) {
        stlora_jvalue value = items[i];
        if (by_attribute && !stlora_jpick(run, items[i], args->values[0], stlora_jnone(), false, &value)) return false;
        if (test && !stlora_jcall_builtin(run, test, value, &rest, &value)) return false;
        if (stlora_jtruth(value) == wanted && !stlora_jlist_push(run, out->as.list, items[i])) return false;
    }
    return true;
}

static bool do_select(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, stlora_jvalue *out)
{
    return choose(run, self, args, false, true, out);
}

static bool do_reject(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, stlora_jvalue *out)
{
    return choose(run, self, args, false, false, out);
}

static bool do_selectattr(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, stlora_jvalue *out)
{
    return choose(run, self, args, true, true, out);
}

static bool do_rejectattr(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, stlora_jvalue *out)
{
    return choose(run, self, args, true, false, out);
}

static bool do_default(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    bool boolean = stlora_jgiven(arg[1]) && stlora_jtruth(arg[1]);
    (void)run;
    *out = self;
    if (self.kind == STLORA_J_UNDEFINED || (boolean && !stlora_jtruth(self)))
        *out = stlora_jgiven(arg[0]) ? arg[0] : stlora_jwords("");
    return true;
}

static bool do_attr(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext name;
    bool found;
    if (!stlora_jwant_text(run, arg[0], "attr: name", &name)) return false;
    if (self.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, self);
    if (!stlora_jown_attribute(run, self, name, &found, out)) return false;
    if (!found) *out = (stlora_jvalue){.kind = STLORA_J_UNDEFINED, .tag = (unsigned)self.kind + 2, .as.text = name};
    return true;
}

static const stlora_jbuiltin rows[] = {
    {"map", NULL, 0, NULL, do_map},
    {"select", NULL, 0, NULL, do_select},
    {"reject", NULL, 0, NULL, do_reject},
    {"selectattr", NULL, 0, NULL, do_selectattr},
    {"rejectattr", NULL, 0, NULL, do_rejectattr},
    {"default", "default_value boolean", 0, do_default, NULL},
    {"d", "default_value boolean", 0, do_default, NULL},
    {"attr", "name", 1, do_attr, NULL},
};
const stlora_jbuiltins stlora_jfilters_pick = {rows, sizeof rows / sizeof *rows};

/* ---- by name ---- */

const stlora_jbuiltin *stlora_jfilter_find(stlora_jtext name)
{
    const stlora_jbuiltins *const tables[] = {&stlora_jfilters_text, &stlora_jfilters_list, &stlora_jfilters_pick,
                                              &stlora_jfilters_number};
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (size_t i = 0; i < tables[t]->count; i++)
            if (stlora_jtext_is(name, tables[t]->rows[i].name)) return &tables[t]->rows[i];
    return NULL;
}

bool stlora_jfilter_known_elsewhere(stlora_jtext name)
{
    static const char *const names[] = {"filesizeformat", "pprint", "random",   "striptags",
                                        "urlencode",      "urlize", "wordwrap", "xmlattr"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (stlora_jtext_is(name, names[i])) return true;
    return false;
}
