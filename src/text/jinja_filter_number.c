/* jinja_filter_number.c: filters on numbers, and numbers from text as Python reads them. Guarded by tests/text/test_jinja.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "text/jinja_builtin.h"
#include "text/utf8.h"

/* text without white space around it. */
static stlora_jtext trimmed(stlora_jtext text)
{
    size_t size;
    while (text.length && stlora_jis_space(stlora_utf8_read(text.data, &size))) {
        text.data += size;
        text.length -= size;
    }
    while (text.length) {
        size_t last = stlora_utf8_back(text.data, text.length);
        if (!stlora_jis_space(stlora_utf8_read(text.data + last, &size))) break;
        text.length = last;
    }
    return text;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'z') return c - 'a' + 10;
    if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
    return 99;
}

bool stlora_jparse_integer(stlora_jtext text, int base, int64_t *out, bool *too_large)
{
    static const char letters[] = "bBoOxX";
    static const int bases[] = {2, 8, 16};
    text = trimmed(text);
    *too_large = false;
    size_t at = 0;
    bool minus = text.length && text.data[0] == '-', prefixed = false;
    if (text.length && (text.data[0] == '-' || text.data[0] == '+')) at++;
    if (text.length - at >= 2 && text.data[at] == '0' && text.data[at + 1] && strchr(letters, text.data[at + 1])) {
        int means = bases[(strchr(letters, text.data[at + 1]) - letters) / 2];
        if (base == 0 || base == means) {
            base = means;
            at += 2;
            prefixed = true;
        }
    }
    bool decimal = base == 0;
    if (decimal) base = 10;
    int64_t sum = 0;
    size_t digits = 0;
    bool zeros = true, leading = text.length > at && text.data[at] == '0';
    for (bool gap = !prefixed; at < text.length; at++) {
        if (text.data[at] == '_' && !gap && at + 1 < text.length) {
            gap = true;
            continue;
        }
        int digit = digit_of(text.data[at]);
        if (digit >= base) return false;
        zeros = zeros && digit == 0;
        gap = false;
        digits++;
        if (!*too_large && (!stlora_i64_mul(sum, base, &sum) || !stlora_i64_add(sum, minus ? -digit : digit, &sum)))
            *too_large = true;
    }
    if (digits == 0 || text.data[text.length - 1] == '_' || (decimal && leading && !zeros && digits > 1)) return false;
    *out = sum;
    return !*too_large;
}

bool stlora_jparse_real(stlora_jtext text, double *out)
{
    char clean[512];
    size_t length = 0;
    text = trimmed(text);
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        bool between =
            i > 0 && i + 1 < text.length && digit_of(text.data[i - 1]) < 10 && digit_of(text.data[i + 1]) < 10;
        if (c == '_' && between) continue;
        if (!c || !strchr("0123456789+-.eEinfatyINFATY", c) || length == sizeof clean - 1) return false;
        clean[length++] = c;
    }
    clean[length] = '\0';
    char *end;
    *out = strtod(clean, &end);
    return length > 0 && *end == '\0';
}

/* float(value); false with the status untouched where Python raises ValueError or TypeError. */
static bool to_real(stlora_jvalue value, double *out)
{
    int64_t integer;
    if (value.kind == STLORA_J_STRING) return stlora_jparse_real(value.as.text, out);
    if (value.kind == STLORA_J_FLOAT) return *out = value.as.real, true;
    if (!stlora_jis_integer(value, &integer)) return false;
    *out = (double)integer;
    return true;
}

/* int(real) in *out: false with nothing said for NaN, otherwise what does not fit is refused. */
static bool truncated(stlora_jrun *run, double real, stlora_jvalue *out)
{
    if (isnan(real)) return false;
    if (isinf(real)) return stlora_jfault(run, "cannot convert float infinity to integer");
    if (fabs(real) >= 9.2e18)
        return stlora_jfail(run, STLORA_E_UNSUPPORTED, "an integer of more than 64 bits is not supported");
    *out = stlora_jint((int64_t)real);
    return true;
}

static bool do_int(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    int64_t base = 10, integer;
    double real;
    bool too_large = false;
    if (self.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, self);
    if (stlora_jgiven(arg[1]) && !stlora_jis_integer(arg[1], &base)) base = -1;
    if (base < 0 || base == 1 || base > 36) base = 37; // no text is a number then
    *out = stlora_jgiven(arg[0]) ? arg[0] : stlora_jint(0);
    if (stlora_jis_integer(self, &integer)) return *out = stlora_jint(integer), true;
    if (self.kind == STLORA_J_FLOAT) return truncated(run, self.as.real, out) || run->status == STLORA_OK;
    if (self.kind != STLORA_J_STRING) return true;
    if (base != 37 && stlora_jparse_integer(self.as.text, (int)base, &integer, &too_large))
        return *out = stlora_jint(integer), true;
    if (too_large) return stlora_jfail(run, STLORA_E_UNSUPPORTED, "an integer of more than 64 bits is not supported");
    if (!stlora_jparse_real(self.as.text, &real) || !isfinite(real)) return true;
    return truncated(run, real, out);
}

static bool do_float(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    double real;
    if (self.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, self);
    if (to_real(self, &real))
        *out = stlora_jreal(real);
    else
        *out = stlora_jgiven(arg[0]) ? arg[0] : stlora_jreal(0);
    return true;
}

static bool do_abs(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    int64_t integer;
    (void)arg;
    if (self.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, self);
    if (self.kind == STLORA_J_FLOAT) return *out = stlora_jreal(fabs(self.as.real)), true;
    if (!stlora_jis_integer(self, &integer))
        return stlora_jfault(run, "bad operand type for abs(): '%s'", stlora_jtype(self));
    return stlora_jnegate(run, integer < 0, self, out);
}

/* round(integer, places) for places < 0: to tens, hundreds, ..., halves to even. */
static int64_t round_integer(int64_t integer, int64_t places)
{
    int64_t unit = 1;
    for (; places < 0; places++)
        if (!stlora_i64_mul(unit, 10, &unit)) return 0;
    int64_t rest = ((integer % unit) + unit) % unit, low = integer - rest;
    bool up = rest > unit / 2 || (rest == unit / 2 && unit > 1 && (low / unit) % 2 != 0);
    return up ? low + unit : low;
}

static double round_real(double real, int64_t places)
{
    char digits[700];
    if (!isfinite(real) || places > 323) return real;
    if (places < -308) return copysign(0.0, real);
    if (places >= 0) { // printf rounds as Python does: by the exact value, halves to even
        (void)snprintf(digits, sizeof digits, "%.*f", (int)places, real);
        return strtod(digits, NULL);
    }
    double unit = pow(10, (double)-places);
    return nearbyint(real / unit) * unit;
}

static bool do_round(stlora_jrun *run, stlora_jvalue self, const stlora_jvalue *arg, stlora_jvalue *out)
{
    int64_t places = 0, integer;
    stlora_jtext method = {"common", 6};
    if (stlora_jgiven(arg[0]) && !stlora_jwant_integer(run, arg[0], "round: precision", &places)) return false;
    if (stlora_jgiven(arg[1]) && !stlora_jwant_text(run, arg[1], "round: method", &method)) return false;
    bool ceil_it = stlora_jtext_is(method, "ceil"), common = stlora_jtext_is(method, "common");
    if (!common && !ceil_it && !stlora_jtext_is(method, "floor"))
        return stlora_jfault(run, "method must be common, ceil or floor");
    if (self.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(run, self);
    if (!stlora_jis_number(self))
        return stlora_jfault(run, "type %s doesn't define __round__ method", stlora_jtype(self));
    bool whole = stlora_jis_integer(self, &integer);
    if (common) {
        *out = whole ? stlora_jint(places < 0 ? round_integer(integer, places) : integer)
                     : stlora_jreal(round_real(self.as.real, places));
        return true;
    }
    double unit = pow(10, (double)places), real = whole ? (double)integer : self.as.real;
    if (!isfinite(real))
        return stlora_jfault(run, "cannot convert float %s to integer", isnan(real) ? "NaN" : "infinity");
    *out = stlora_jreal((ceil_it ? ceil(real * unit) : floor(real * unit)) / unit);
    return true;
}

static const stlora_jbuiltin rows[] = {
    {"int", "default base", 0, do_int, NULL},
    {"float", "default", 0, do_float, NULL},
    {"abs", "", 0, do_abs, NULL},
    {"round", "precision method", 0, do_round, NULL},
};
const stlora_jbuiltins stlora_jfilters_number = {rows, sizeof rows / sizeof *rows};
