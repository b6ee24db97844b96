/* jinja_test.c: what stands behind `is`. Guarded by tests/text/test_jinja.c. */
#include "text/jinja_builtin.h"

static bool answer(stlora_jvalue *out, bool truth)
{
    *out = stlora_jbool(truth);
    return true;
}

/* Tests that only look at the kind of a value: one bit per kind. */
#define KIND(name) (1u << STLORA_J_##name)
#define KIND_TEST(function, kinds)                                                                                     \
    static bool function(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)           \
    {                                                                                                                  \
        (void)run;                                                                                                     \
        (void)arg;                                                                                                     \
        return answer(out, ((kinds) >> self.kind & 1) != 0);                                                           \
    }
KIND_TEST(is_defined, ~KIND(UNDEFINED))
KIND_TEST(is_undefined, KIND(UNDEFINED))
KIND_TEST(is_none, KIND(NONE))
KIND_TEST(is_boolean, KIND(BOOL))
KIND_TEST(is_integer, KIND(INT))
KIND_TEST(is_float, KIND(FLOAT))
KIND_TEST(is_number, KIND(BOOL) | KIND(INT) | KIND(FLOAT))
KIND_TEST(is_string, KIND(STRING))
KIND_TEST(is_mapping, KIND(DICT))
KIND_TEST(is_sequence, KIND(UNDEFINED) | KIND(STRING) | KIND(LIST) | KIND(TUPLE) | KIND(RANGE) | KIND(DICT))
KIND_TEST(is_iterable, KIND(UNDEFINED) | KIND(STRING) | KIND(LIST) | KIND(TUPLE) | KIND(RANGE) | KIND(DICT) |
                           KIND(VIEW) | KIND(ITERATOR) | KIND(LOOP))
KIND_TEST(is_callable, KIND(UNDEFINED) | KIND(LOOP) | KIND(MACRO) | KIND(FUNCTION) | KIND(METHOD))
KIND_TEST(is_escaped, 0u)

static bool is_true(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)run;
    (void)arg;
    return answer(out, self.kind == STLORA_J_BOOL && self.as.truth);
}

static bool is_false(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)run;
    (void)arg;
    return answer(out, self.kind == STLORA_J_BOOL && !self.as.truth);
}

/* value % by == rest */
static bool remainder_is(stlora_jrun *run, stlora_jvalue self, stlora_jvalue by, int64_t rest, stlora_jvalue *out)
{
    stlora_jvalue found;
    bool same;
    if (!stlora_jcompute(run, STLORA_J_MOD, self, by, &found) || !stlora_jequal(run, found, stlora_jint(rest), &same))
        return false;
    return answer(out, same);
}

static bool is_odd(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)arg;
    return remainder_is(run, self, stlora_jint(2), 1, out);
}

static bool is_even(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)arg;
    return remainder_is(run, self, stlora_jint(2), 0, out);
}

static bool is_divisible(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return remainder_is(run, self, arg[0], 0, out);
}

static bool is_case(stlora_jrun *run, stlora_jvalue self, const char *method, stlora_jvalue *out)
{
    stlora_jtext text;
    return stlora_jstr(run, self, &text) && stlora_jcharge_points(run, text.length) &&
           answer(out, stlora_jis_all(text, method));
}

static bool is_lower(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)arg;
    return is_case(run, self, "islower", out);
}

static bool is_upper(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)arg;
    return is_case(run, self, "isupper", out);
}

static bool is_filter(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)run;
    (void)arg;
    return answer(out, self.kind == STLORA_J_STRING &&
                           (stlora_jfilter_find(self.as.text) || stlora_jfilter_known_elsewhere(self.as.text)));
}

static bool is_test(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    (void)run;
    (void)arg;
    return answer(out, self.kind == STLORA_J_STRING && stlora_jtest_find(self.as.text));
}

/* Python's `is`: small integers and equal strings of a template are one object there. */
static bool is_same(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    stlora_jvalue other = arg[0];
    bool same = false;
    if (self.kind != other.kind) return answer(out, false);
    bool plain = self.kind <= STLORA_J_STRING;
    if (plain && !stlora_jequal(run, self, other, &same)) return false;
    return answer(out, plain ? same : self.as.list == other.as.list);
}

static bool is_in(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    bool in;
    return stlora_jcontains(run, self, arg[0], &in) && answer(out, in);
}

static bool is_equal(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    bool same;
    return stlora_jequal(run, self, arg[0], &same) && answer(out, same);
}

static bool is_unequal(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    bool same;
    return stlora_jequal(run, self, arg[0], &same) && answer(out, !same);
}

/* below, equal, above: whether this order passes. */
static bool ordered(stlora_jrun *run, stlora_jvalue a, stlora_jvalue b, const char *sign, stlora_jvalue *out)
{
    int order;
    if (!stlora_jorder(run, a, b, sign, &order)) return false;
    return answer(out, order == (sign[0] == '<' ? -1 : 1) || (sign[1] == '=' && order == 0));
}

static bool is_less(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return ordered(run, self, arg[0], "<", out);
}

static bool is_at_most(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return ordered(run, self, arg[0], "<=", out);
}

static bool is_greater(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return ordered(run, self, arg[0], ">", out);
}

static bool is_at_least(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    return ordered(run, self, arg[0], ">=", out);
}

const stlora_jbuiltin *stlora_jtest_find(stlora_jtext name)
{
    static const stlora_jbuiltin rows[] = {
        {"defined", "", 0, is_defined, NULL},
        {"undefined", "", 0, is_undefined, NULL},
        {"none", "", 0, is_none, NULL},
        {"boolean", "", 0, is_boolean, NULL},
        {"true", "", 0, is_true, NULL},
        {"false", "", 0, is_false, NULL},
        {"integer", "", 0, is_integer, NULL},
        {"float", "", 0, is_float, NULL},
        {"number", "", 0, is_number, NULL},
        {"string", "", 0, is_string, NULL},
        {"mapping", "", 0, is_mapping, NULL},
        {"sequence", "", 0, is_sequence, NULL},
        {"iterable", "", 0, is_iterable, NULL},
        {"callable", "", 0, is_callable, NULL},
        {"escaped", "", 0, is_escaped, NULL},
        {"odd", "", 0, is_odd, NULL},
        {"even", "", 0, is_even, NULL},
        {"divisibleby", "num", 1, is_divisible, NULL},
        {"lower", "", 0, is_lower, NULL},
        {"upper", "", 0, is_upper, NULL},
        {"filter", "", 0, is_filter, NULL},
        {"test", "", 0, is_test, NULL},
        {"sameas", "other", 1, is_same, NULL},
        {"in", "seq", 1, is_in, NULL},
        {"==", "/other", 1, is_equal, NULL},
        {"eq", "/other", 1, is_equal, NULL},
        {"equalto", "/other", 1, is_equal, NULL},
        {"!=", "/other", 1, is_unequal, NULL},
        {"ne", "/other", 1, is_unequal, NULL},
        {"<", "/other", 1, is_less, NULL},
        {"lt", "/other", 1, is_less, NULL},
        {"lessthan", "/other", 1, is_less, NULL},
        {"<=", "/other", 1, is_at_most, NULL},
        {"le", "/other", 1, is_at_most, NULL},
        {">", "/other", 1, is_greater, NULL},
        {"gt", "/other", 1, is_greater, NULL},
        {"greaterthan", "/other", 1, is_greater, NULL},
        {">=", "/other", 1, is_at_least, NULL},
        {"ge", "/other", 1, is_at_least, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (stlora_jtext_is(name, rows[i].name)) return &rows[i];
    return NULL;
}
