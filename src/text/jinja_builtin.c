/* jinja_builtin.c: arguments to parameters, and the global functions. Guarded by tests/text/test_jinja.c. */
#include "text/jinja_builtin.h"

#include "text/jinja_eval.h"

/* ---- binding ---- */

/* The place of a name among the parameters; STLORA_J_PARAMETERS where there is none. *count: how many there are. */
static size_t parameter_of(const char *parameters, stlora_jtext name, size_t *count)
{
    size_t found = STLORA_J_PARAMETERS;
    *count = 0;
    for (const char *word = parameters; *word;) {
        size_t length = strcspn(word, " ");
        if (length == name.length && length && memcmp(word, name.data, length) == 0) found = *count;
        ++*count;
        word += length + (word[length] == ' ');
    }
    return found;
}

bool stlora_jcall_builtin(stlora_jrun *run, const stlora_jbuiltin *builtin, stlora_jvalue self,
                          const stlora_jarguments *args, stlora_jvalue *out)
{
    size_t read = self.kind == STLORA_J_STRING ? self.as.text.length : 0;
    for (size_t i = 0; i < args->count; i++)
        if (args->values[i].kind == STLORA_J_STRING) read += args->values[i].as.text.length;
    if (!stlora_jcharge(run, 1 + read / 16)) return false;
    if (!builtin->parameters) return builtin->wild(run, self, args, out);
    stlora_jvalue bound[STLORA_J_PARAMETERS] = {{0}};
    const char *parameters = builtin->parameters;
    bool nameless = parameters[0] == '/';
    size_t count;
    (void)parameter_of(parameters += nameless, (stlora_jtext){"", 0}, &count);
    if (args->count > count)
        return stlora_jfault(run, "%s takes at most %zu argument(s), %zu were given", builtin->name, count,
                             args->count);
    for (size_t i = 0; i < args->count; i++)
        bound[i] = args->values[i];
    for (size_t i = 0; i < args->named_count; i++) {
        size_t place = nameless ? STLORA_J_PARAMETERS : parameter_of(parameters, args->names[i], &count);
        if (place == STLORA_J_PARAMETERS)
            return stlora_jfault(run, "%s has no argument '%.*s'", builtin->name, STLORA_JSHOWN(args->names[i]));
        if (stlora_jgiven(bound[place]))
            return stlora_jfault(run, "%s is given '%.*s' twice", builtin->name, STLORA_JSHOWN(args->names[i]));
        bound[place] = args->named[i];
    }
    for (size_t i = 0; i < builtin->required; i++)
        if (!stlora_jgiven(bound[i])) return stlora_jfault(run, "%s lacks an argument", builtin->name);
    return builtin->run(run, self, bound, out);
}

bool stlora_jwant_text(stlora_jrun *run, stlora_jvalue value, const char *what, stlora_jtext *out)
{
    if (value.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, value);
    if (value.kind != STLORA_J_STRING)
        return stlora_jfault(run, "%s is a %s where a str is wanted", what, stlora_jtype(value));
    *out = value.as.text;
    return true;
}

bool stlora_jwant_integer(stlora_jrun *run, stlora_jvalue value, const char *what, int64_t *out)
{
    if (value.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, value);
    return stlora_jis_integer(value, out) ||
           stlora_jfault(run, "%s is a %s where an int is wanted", what, stlora_jtype(value));
}

/* ---- global functions ---- */

static bool fn_range(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    enum { RANGE_MAX = 100000 }; // the sandbox's
    int64_t start = 0, stop, step = 1;
    (void)self;
    if (!stlora_jwant_integer(run, arg[0], "the end of a range", &stop)) return false;
    if (stlora_jgiven(arg[1])) {
        start = stop;
        if (!stlora_jwant_integer(run, arg[1], "the end of a range", &stop)) return false;
    }
    if (stlora_jgiven(arg[2]) && !stlora_jwant_integer(run, arg[2], "the step of a range", &step)) return false;
    if (step == 0) return stlora_jfault(run, "range() arg 3 must not be zero");
    long double way = step > 0 ? (long double)stop - (long double)start : (long double)start - (long double)stop;
    long double stride = step > 0 ? (long double)step : -(long double)step;
    if (way / stride > (long double)RANGE_MAX) return stlora_jfault(run, "a range of more than %d items", RANGE_MAX);
    if (!stlora_jlist_make(run, STLORA_J_RANGE, way > 0 ? (size_t)(way / stride) + 1 : 0, out)) return false;
    for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
        if (!stlora_jlist_push(run, out->as.list, stlora_jint(i))) return false;
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    out->as.list->start = start;
    out->as.list->stop = stop;
    out->as.list->step = step;
    return true;
}

/* One more member from a pair: a tuple, list or string of two. */
static bool add_pair(stlora_jrun *run, stlora_jdict *dict, stlora_jvalue pair)
{
    const stlora_jvalue *items;
    size_t count;
    if (!stlora_jwalk(run, pair, &items, &count)) return false;
    if (count != 2) return stlora_jfault(run, "wanted pairs of key and value, found %zu items", count);
    return stlora_jdict_set(run, dict, items[0], items[1]);
}

/* What dict(...) makes: of a dict, or pairs, and of names. */
static bool make_dict(stlora_jrun *run, const stlora_jarguments *args, stlora_jkind kind, stlora_jvalue *out)
{
    if (args->count > 1) return stlora_jfault(run, "dict expected at most 1 argument, got %zu", args->count);
    if (!stlora_jdict_make(run, kind, args->named_count, out)) return false;
    if (args->count && args->values[0].kind == STLORA_J_DICT) {
        const stlora_jdict *from = args->values[0].as.dict;
        for (size_t i = 0; i < from->count; i++)
            if (!stlora_jdict_set(run, out->as.dict, from->keys[i], from->values[i])) return false;
    } else if (args->count) {
        const stlora_jvalue *items;
        size_t count;
        if (args->values[0].kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, args->values[0]);
        if (!stlora_jwalk(run, args->values[0], &items, &count)) return false;
        for (size_t i = 0; i < count; i++)
            if (!add_pair(run, out->as.dict, items[i])) return false;
    }
    for (size_t i = 0; i < args->named_count; i++)
        if (!stlora_jdict_set(run, out->as.dict, stlora_jstring(args->names[i].data, args->names[i].length),
                              args->named[i]))
            return false;
    return true;
}

static bool fn_dict(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, stlora_jvalue *out)
{
    (void)self;
    return make_dict(run, args, STLORA_J_DICT, out);
}

static bool fn_namespace(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, stlora_jvalue *out)
{
    (void)self;
    if (!make_dict(run, args, STLORA_J_NAMESPACE, out)) return false;
    for (size_t i = 0; i < out->as.dict->count; i++) {
        stlora_jvalue key = out->as.dict->keys[i];
        if (key.kind == STLORA_J_STRING && key.as.text.length && key.as.text.data[0] == '_')
            return stlora_jfault(run, "a namespace has no attributes with '_' in front");
    }
    return true;
}

static bool fn_raise_exception(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext message;
    (void)self;
    (void)out;
    if (!stlora_jstr(run, arg[0], &message)) return false;
    return stlora_jfault(run, "the template refuses: %.*s", (int)(message.length > 800 ? 800 : message.length),
                         message.length ? message.data : "");
}

static bool fn_strftime_now(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jtext format;
    (void)self;
    return stlora_jwant_text(run, arg[0], "the format of strftime_now", &format) && stlora_jstrftime(run, format, out);
}

static bool fn_absent(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, stlora_jvalue *out)
{
    (void)args;
    (void)out;
    return stlora_jfail(run, STLORA_E_UNSUPPORTED, "the function '%s' is not supported", self.as.function->name);
}

const stlora_jbuiltin *stlora_jfunction_find(stlora_jtext name)
{
    static const stlora_jbuiltin rows[] = {
        {"range", "/start stop step", 1, fn_range, NULL},
        {"dict", NULL, 0, NULL, fn_dict},
        {"namespace", NULL, 0, NULL, fn_namespace},
        {"raise_exception", "message", 1, fn_raise_exception, NULL},
        {"strftime_now", "format", 1, fn_strftime_now, NULL},
        {"cycler", NULL, 0, NULL, fn_absent},
        {"joiner", NULL, 0, NULL, fn_absent},
        {"lipsum", NULL, 0, NULL, fn_absent},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (stlora_jtext_is(name, rows[i].name)) return &rows[i];
    return NULL;
}

/* ---- loop ---- */

static bool loop_cycle(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, stlora_jvalue *out)
{
    if (args->count == 0) return stlora_jfault(run, "no items for cycling given");
    *out = args->values[self.as.loop->index % args->count];
    return true;
}

static bool loop_changed(stlora_jrun *run, stlora_jvalue self, const stlora_jarguments *args, stlora_jvalue *out)
{
    stlora_jloop *loop = self.as.loop;
    stlora_jvalue now;
    bool same = false;
    if (!stlora_jlist_make(run, STLORA_J_TUPLE, args->count, &now)) return false;
    for (size_t i = 0; i < args->count; i++)
        if (!stlora_jlist_push(run, now.as.list, args->values[i])) return false;
    if (stlora_jgiven(loop->changed) && !stlora_jequal(run, loop->changed, now, &same)) return false;
    loop->changed = now;
    *out = stlora_jbool(!same);
    return true;
}

bool stlora_jloop_attribute(stlora_jrun *run, stlora_jloop *loop, stlora_jtext name, stlora_jvalue *out)
{
    static const stlora_jbuiltin methods[] = {{"cycle", NULL, 0, NULL, loop_cycle},
                                              {"changed", NULL, 0, NULL, loop_changed}};
    int64_t index = (int64_t)loop->index, count = (int64_t)loop->count;
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"index", index + 1}, {"index0", index},
                   {"length", count},    {"revindex", count - index},
                   {"depth", 1},         {"revindex0", count - index - 1},
                   {"depth0", 0}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (stlora_jtext_is(name, numbers[i].name)) return *out = stlora_jint(numbers[i].value), true;
    if (stlora_jtext_is(name, "first")) return *out = stlora_jbool(index == 0), true;
    if (stlora_jtext_is(name, "last")) return *out = stlora_jbool(index + 1 == count), true;
    if (stlora_jtext_is(name, "previtem"))
        return *out = index > 0 ? loop->items[index - 1] : stlora_jundefined("there is no previous item"), true;
    if (stlora_jtext_is(name, "nextitem"))
        return *out = index + 1 < count ? loop->items[index + 1] : stlora_jundefined("there is no next item"), true;
    for (size_t i = 0; i < 2; i++) {
        if (!stlora_jtext_is(name, methods[i].name)) continue;
        stlora_jmethod *method = stlora_jtake(run, 1, sizeof *method);
        if (!method) return false;
        *method = (stlora_jmethod){&methods[i], {.kind = STLORA_J_LOOP, .as.loop = loop}};
        *out = (stlora_jvalue){.kind = STLORA_J_METHOD, .as.method = method};
        return true;
    }
    return false;
}
