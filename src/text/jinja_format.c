/* jinja_format.c: text % arguments: %s %r %d %i %u %x %X %o %c %e %f %g and %%, with flags, width and precision, and %(name)s.
 * Guarded by tests/text/test_jinja.c. */
#include <math.h>
#include <stdio.h>

#include "text/jinja_builtin.h"

enum { WIDTH_MAX = 100000, DIGITS_MAX = 300 };

typedef struct directive {
    bool left, plus, blank, alternate, zero;
    int64_t width, precision; /* -1 = none */
    char type;
} directive;

typedef struct formatter {
    stlora_jrun *run;
    stlora_jtext text;
    size_t at;
    stlora_jvalue arguments;
    size_t used; /* of a tuple */
    stlora_jbuilder out;
} formatter;

static bool next_argument(formatter *f, stlora_jvalue *out)
{
    if (f->arguments.kind != STLORA_J_TUPLE) {
        if (f->used++) return stlora_jfault(f->run, "not enough arguments for format string");
        *out = f->arguments;
        return true;
    }
    if (f->used == f->arguments.as.list->count) return stlora_jfault(f->run, "not enough arguments for format string");
    *out = f->arguments.as.list->items[f->used++];
    return true;
}

/* A number in the directive, or * for an argument. */
static bool read_size(formatter *f, int64_t *out)
{
    if (f->at < f->text.length && f->text.data[f->at] == '*') {
        stlora_jvalue value;
        f->at++;
        if (!next_argument(f, &value) || !stlora_jwant_integer(f->run, value, "* in a format", out)) return false;
    } else {
        for (*out = 0; f->at < f->text.length && f->text.data[f->at] >= '0' && f->text.data[f->at] <= '9'; f->at++)
            *out = *out > WIDTH_MAX ? *out : *out * 10 + (f->text.data[f->at] - '0');
    }
    if (*out > WIDTH_MAX || *out < -WIDTH_MAX) return stlora_jfault(f->run, "a width of more than %d", WIDTH_MAX);
    return true;
}

/* The value named between brackets; f->at behind "%(". */
static bool named_argument(formatter *f, stlora_jvalue *out)
{
    size_t begin = f->at, depth = 1;
    for (; f->at < f->text.length && depth; f->at++)
        depth += (size_t)(f->text.data[f->at] == '(') - (size_t)(f->text.data[f->at] == ')');
    if (depth) return stlora_jfault(f->run, "incomplete format key");
    if (f->arguments.kind != STLORA_J_DICT) return stlora_jfault(f->run, "format requires a mapping");
    stlora_jtext name = {f->text.data + begin, f->at - 1 - begin};
    const stlora_jvalue *found = stlora_jdict_find(f->arguments.as.dict, name);
    if (!found) return stlora_jfault(f->run, "the format names '%.*s', which is not given", STLORA_JSHOWN(name));
    *out = *found;
    return true;
}

static bool read_directive(formatter *f, directive *d, bool *named, stlora_jvalue *value)
{
    *d = (directive){.precision = -1};
    *named = f->at < f->text.length && f->text.data[f->at] == '(';
    if (*named) {
        f->at++;
        if (!named_argument(f, value)) return false;
    }
    for (;; f->at++) {
        char c = f->at < f->text.length ? f->text.data[f->at] : '\0';
        if (c == '-')
            d->left = true;
        else if (c == '+')
            d->plus = true;
        else if (c == ' ')
            d->blank = true;
        else if (c == '#')
            d->alternate = true;
        else if (c == '0')
            d->zero = true;
        else
            break;
    }
    if (!read_size(f, &d->width)) return false;
    if (d->width < 0) {
        d->left = true;
        d->width = -d->width;
    }
    if (f->at < f->text.length && f->text.data[f->at] == '.') {
        f->at++;
        if (!read_size(f, &d->precision)) return false;
        if (d->precision < 0) d->precision = 0;
    }
    while (f->at < f->text.length && strchr("hlL", f->text.data[f->at]) && f->text.data[f->at])
        f->at++;
    if (f->at == f->text.length) return stlora_jfault(f->run, "incomplete format");
    d->type = f->text.data[f->at++];
    return true;
}

/* sign and body, padded to the width; zeros go between them. */
static bool put_padded(formatter *f, const directive *d, const char *sign, stlora_jtext body, bool zeros)
{
    size_t length = strlen(sign) + stlora_jpoints(body), width = (size_t)d->width;
    size_t gap = width > length ? width - length : 0;
    zeros = zeros && d->zero && !d->left;
    if (gap && !d->left && !zeros && !stlora_jput_times(&f->out, (stlora_jtext){" ", 1}, gap)) return false;
    if (!stlora_jput_words(&f->out, sign)) return false;
    if (zeros && !stlora_jput_times(&f->out, (stlora_jtext){"0", 1}, gap)) return false;
    if (!stlora_jput(&f->out, body.data, body.length)) return false;
    return !d->left || stlora_jput_times(&f->out, (stlora_jtext){" ", 1}, gap);
}

static bool put_words(formatter *f, const directive *d, stlora_jvalue value)
{
    stlora_jbuilder text = {.run = f->run};
    if (!(d->type == 's' ? stlora_jput_str(&text, value) : stlora_jput_repr(&text, value))) return false;
    stlora_jtext body = stlora_jbuilt_text(&text);
    if (d->precision >= 0) body.length = stlora_jpoint_at(body, (size_t)d->precision);
    return put_padded(f, d, "", body, false);
}

static const char *sign_of(const directive *d, bool minus)
{
    return minus ? "-" : d->plus ? "+" : d->blank ? " " : "";
}

static bool put_integer(formatter *f, const directive *d, stlora_jvalue value)
{
    int64_t integer;
    char digits[DIGITS_MAX + 80], sign[8];
    if (value.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(f->run, value);
    if (value.kind == STLORA_J_FLOAT && !strchr("xXo", d->type)) {
        if (!isfinite(value.as.real)) return stlora_jfault(f->run, "a number that is not finite is no integer");
        if (fabs(value.as.real) >= 9.2e18)
            return stlora_jfail(f->run, STLORA_E_UNSUPPORTED, "an integer of more than 64 bits is not supported");
        integer = (int64_t)value.as.real;
    } else if (!stlora_jis_integer(value, &integer)) {
        return stlora_jfault(f->run, "%%%c format: an integer is required, not %s", d->type, stlora_jtype(value));
    }
    unsigned long long size = integer < 0 ? 0ULL - (unsigned long long)integer : (unsigned long long)integer;
    int precision = d->precision > DIGITS_MAX ? DIGITS_MAX : d->precision > 0 ? (int)d->precision : 1;
    (void)snprintf(sign, sizeof sign, "%s%s", sign_of(d, integer < 0),
                   d->alternate && d->type == 'x'   ? "0x"
                   : d->alternate && d->type == 'X' ? "0X"
                   : d->alternate && d->type == 'o' ? "0o"
                                                    : "");
    int length = d->type == 'x'   ? snprintf(digits, sizeof digits, "%.*llx", precision, size)
                 : d->type == 'X' ? snprintf(digits, sizeof digits, "%.*llX", precision, size)
                 : d->type == 'o' ? snprintf(digits, sizeof digits, "%.*llo", precision, size)
                                  : snprintf(digits, sizeof digits, "%.*llu", precision, size);
    return put_padded(f, d, sign, (stlora_jtext){digits, (size_t)length}, true);
}

static bool put_real(formatter *f, const directive *d, stlora_jvalue value)
{
    char text[DIGITS_MAX + 400];
    int64_t integer;
    if (value.kind == STLORA_J_UNDEFINED) return stlora_jundefined_fault(f->run, value);
    if (!stlora_jis_number(value)) return stlora_jfault(f->run, "must be real number, not %s", stlora_jtype(value));
    double real = stlora_jis_integer(value, &integer) ? (double)integer : value.as.real;
    int precision = d->precision < 0 ? 6 : d->precision > DIGITS_MAX ? DIGITS_MAX : (int)d->precision;
    const char how[] = {'%',
                        d->alternate ? '#' : '.',
                        d->alternate ? '.' : '*',
                        d->alternate ? '*' : d->type,
                        d->alternate ? d->type : '\0',
                        '\0'};
    int length = snprintf(text, sizeof text, how, precision, fabs(real));
    return put_padded(f, d, sign_of(d, signbit(real) && !isnan(real)), (stlora_jtext){text, (size_t)length}, true);
}

static bool put_character(formatter *f, const directive *d, stlora_jvalue value)
{
    int64_t point;
    stlora_jbuilder text = {.run = f->run};
    if (value.kind == STLORA_J_STRING && stlora_jpoints(value.as.text) == 1)
        return put_padded(f, d, "", value.as.text, false);
    if (!stlora_jis_integer(value, &point) || point < 0 || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000))
        return stlora_jfault(f->run, "%%c requires int or char");
    return stlora_jput_point(&text, (uint32_t)point) && put_padded(f, d, "", stlora_jbuilt_text(&text), false);
}

static bool put_directive(formatter *f)
{
    directive d;
    bool named;
    stlora_jvalue value;
    if (!read_directive(f, &d, &named, &value)) return false;
    if (d.type == '%') return stlora_jput_words(&f->out, "%");
    if (!strchr("srdiuxXoceEfFgG", d.type) || !d.type) {
        size_t begin = f->at - 1;
        return stlora_jfault(f->run, "unsupported format character '%.1s' at %zu", f->text.data + begin, begin);
    }
    if (!named && !next_argument(f, &value)) return false;
    if (d.type == 's' || d.type == 'r') return put_words(f, &d, value);
    if (d.type == 'c') return put_character(f, &d, value);
    return strchr("diuxXo", d.type) ? put_integer(f, &d, value) : put_real(f, &d, value);
}

bool stlora_jpercent(stlora_jrun *run, stlora_jtext text, stlora_jvalue arguments, stlora_jvalue *out)
{
    formatter f = {.run = run, .text = text, .arguments = arguments, .out = {.run = run}};
    while (f.at < text.length) {
        const char *mark = memchr(text.data + f.at, '%', text.length - f.at);
        size_t plain = mark ? (size_t)(mark - text.data) - f.at : text.length - f.at;
        if (!stlora_jput(&f.out, text.data + f.at, plain)) return false;
        f.at += plain + 1;
        if (mark && !put_directive(&f)) return false;
    }
    bool tuple = arguments.kind == STLORA_J_TUPLE;
    bool mapping = arguments.kind == STLORA_J_DICT || arguments.kind == STLORA_J_LIST ||
                   arguments.kind == STLORA_J_UNDEFINED ||
                   arguments.kind == STLORA_J_RANGE; // what Python takes for a mapping need not be used
    if (tuple ? f.used < arguments.as.list->count : !mapping && !f.used)
        return stlora_jfault(run, "not all arguments converted during string formatting");
    *out = stlora_jbuilt(&f.out);
    return true;
}
