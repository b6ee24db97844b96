/* jinja_arithmetic.c: + - * / // % ** and signs, as Python has them, with integers of 64 bits: what does not fit is refused.
 * Guarded by tests/text/test_jinja.c. */
#include <math.h>

#include "base/size.h"
#include "text/jinja_value.h"

static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};

static bool too_large(stlora_jrun *run)
{
    return stlora_jfail(run, STLORA_E_UNSUPPORTED, "an integer of more than 64 bits is not supported");
}

static double real_of(stlora_jvalue value)
{
    int64_t integer;
    return stlora_jis_integer(value, &integer) ? (double)integer : value.as.real;
}

static bool power_of_integers(stlora_jrun *run, int64_t base, int64_t power, stlora_jvalue *out)
{
    if (power < 0) {
        if (base == 0) return stlora_jfault(run, "0.0 cannot be raised to a negative power");
        *out = stlora_jreal(pow((double)base, (double)power));
        return true;
    }
    int64_t result = 1;
    for (; power > 0; power >>= 1) {
        if ((power & 1) && !stlora_i64_mul(result, base, &result)) return too_large(run);
        if (power > 1 && !stlora_i64_mul(base, base, &base)) return too_large(run);
    }
    *out = stlora_jint(result);
    return true;
}

static bool compute_integers(stlora_jrun *run, stlora_jsign sign, int64_t a, int64_t b, stlora_jvalue *out)
{
    int64_t result = 0;
    bool fits = true;
    if (sign == STLORA_J_POW) return power_of_integers(run, a, b, out);
    if (sign == STLORA_J_ADD) fits = !__builtin_add_overflow(a, b, &result);
    if (sign == STLORA_J_SUB) fits = !__builtin_sub_overflow(a, b, &result);
    if (sign == STLORA_J_MUL) fits = !__builtin_mul_overflow(a, b, &result);
    if (sign == STLORA_J_DIV || sign == STLORA_J_FLOORDIV || sign == STLORA_J_MOD) {
        if (b == 0)
            return stlora_jfault(run, "%s",
                                 sign == STLORA_J_DIV ? "division by zero" : "integer division or modulo by zero");
        if (sign == STLORA_J_DIV) {
            *out = stlora_jreal((double)((long double)a / (long double)b));
            return true;
        }
        if (b == -1) { // a / -1 may not fit, a % -1 is 0
            fits = sign == STLORA_J_MOD || !__builtin_sub_overflow((int64_t)0, a, &result);
        } else {
            int64_t rest = a % b;
            bool below = rest != 0 && (rest < 0) != (b < 0); // Python rounds down
            result = sign == STLORA_J_MOD ? rest + (below ? b : 0) : a / b - below;
        }
    }
    *out = stlora_jint(result);
    return fits || too_large(run);
}

static double modulo(double a, double b)
{
    double rest = fmod(a, b);
    if (rest != 0 && (rest < 0) != (b < 0)) return rest + b;
    return rest != 0 ? rest : copysign(0.0, b);
}

static double floor_division(double a, double b)
{
    double quotient = (a - modulo(a, b)) / b;
    if (quotient == 0) return copysign(0.0, a / b);
    double floored = floor(quotient);
    return quotient - floored > 0.5 ? floored + 1 : floored;
}

static bool compute_reals(stlora_jrun *run, stlora_jsign sign, double a, double b, stlora_jvalue *out)
{
    double result = 0;
    if (b == 0 && sign == STLORA_J_DIV) return stlora_jfault(run, "float division by zero");
    if (b == 0 && sign == STLORA_J_FLOORDIV) return stlora_jfault(run, "float floor division by zero");
    if (b == 0 && sign == STLORA_J_MOD) return stlora_jfault(run, "float modulo");
    if (sign == STLORA_J_ADD) result = a + b;
    if (sign == STLORA_J_SUB) result = a - b;
    if (sign == STLORA_J_MUL) result = a * b;
    if (sign == STLORA_J_DIV) result = a / b;
    if (sign == STLORA_J_MOD) result = modulo(a, b);
    if (sign == STLORA_J_FLOORDIV) result = floor_division(a, b);
    if (sign == STLORA_J_POW) {
        if (a == 0 && b < 0) return stlora_jfault(run, "0.0 cannot be raised to a negative power");
        if (a < 0 && isfinite(a) && isfinite(b) && floor(b) != b)
            return stlora_jfail(run, STLORA_E_UNSUPPORTED, "complex numbers are not supported");
        result = pow(a, b);
        if (isinf(result) && isfinite(a) && isfinite(b)) return stlora_jfault(run, "Numerical result out of range");
    }
    *out = stlora_jreal(result);
    return true;
}

static bool repeat(stlora_jrun *run, stlora_jvalue sequence, int64_t times, stlora_jvalue *out)
{
    if (times < 0) times = 0;
    if (sequence.kind == STLORA_J_STRING) {
        stlora_jbuilder text = {.run = run};
        if (!stlora_jput_times(&text, sequence.as.text, (size_t)times)) return false;
        *out = stlora_jbuilt(&text);
        return true;
    }
    const stlora_jlist *list = sequence.as.list;
    if (list->count == 0) times = 0;
    if (!stlora_jlist_make(run, sequence.kind, 0, out)) return false;
    for (int64_t k = 0; k < times; k++)
        for (size_t i = 0; i < list->count; i++)
            if (!stlora_jlist_push(run, out->as.list, list->items[i])) return false;
    return true;
}

static bool join_lists(stlora_jrun *run, stlora_jvalue a, stlora_jvalue b, stlora_jvalue *out)
{
    if (!stlora_jlist_make(run, a.kind, a.as.list->count + b.as.list->count, out)) return false;
    for (size_t i = 0; i < a.as.list->count; i++)
        if (!stlora_jlist_push(run, out->as.list, a.as.list->items[i])) return false;
    for (size_t i = 0; i < b.as.list->count; i++)
        if (!stlora_jlist_push(run, out->as.list, b.as.list->items[i])) return false;
    return true;
}

static bool is_repeatable(stlora_jvalue value)
{
    return value.kind == STLORA_J_STRING || value.kind == STLORA_J_LIST || value.kind == STLORA_J_TUPLE;
}

bool stlora_jcompute(stlora_jrun *run, stlora_jsign sign, stlora_jvalue a, stlora_jvalue b, stlora_jvalue *out)
{
    int64_t x, y;
    if (sign == STLORA_J_MOD && a.kind == STLORA_J_STRING) return stlora_jpercent(run, a.as.text, b, out);
    if (a.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, a);
    if (b.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, b);
    if (stlora_jis_integer(a, &x) && stlora_jis_integer(b, &y)) return compute_integers(run, sign, x, y, out);
    if (stlora_jis_number(a) && stlora_jis_number(b)) return compute_reals(run, sign, real_of(a), real_of(b), out);
    if (sign == STLORA_J_ADD && a.kind == b.kind && is_repeatable(a)) {
        if (a.kind != STLORA_J_STRING) return join_lists(run, a, b, out);
        stlora_jbuilder text = {.run = run};
        if (!stlora_jput(&text, a.as.text.data, a.as.text.length) ||
            !stlora_jput(&text, b.as.text.data, b.as.text.length))
            return false;
        *out = stlora_jbuilt(&text);
        return true;
    }
    if (sign == STLORA_J_MUL && is_repeatable(a) && stlora_jis_integer(b, &y)) return repeat(run, a, y, out);
    if (sign == STLORA_J_MUL && is_repeatable(b) && stlora_jis_integer(a, &x)) return repeat(run, b, x, out);
    if (sign == STLORA_J_ADD && a.kind == STLORA_J_STRING)
        return stlora_jfault(run, "can only concatenate str (not \"%s\") to str", stlora_jtype(b));
    return stlora_jfault(run, "unsupported operand type(s) for %s: '%s' and '%s'", signs[sign], stlora_jtype(a),
                         stlora_jtype(b));
}

bool stlora_jnegate(stlora_jrun *run, bool minus, stlora_jvalue a, stlora_jvalue *out)
{
    int64_t integer;
    if (a.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, a);
    if (a.kind == STLORA_J_FLOAT) {
        *out = stlora_jreal(minus ? -a.as.real : a.as.real);
        return true;
    }
    if (!stlora_jis_integer(a, &integer))
        return stlora_jfault(run, "bad operand type for unary %s: '%s'", minus ? "-" : "+", stlora_jtype(a));
    if (minus && integer == INT64_MIN) return too_large(run);
    *out = stlora_jint(minus ? -integer : integer);
    return true;
}
