/* jinja_lexer.c: see jinja_lexer.h. The rules are those of jinja2's lexer with trim_blocks and lstrip_blocks: a line break behind a block
 * or comment goes, and so does white space in front of one on its line; '-' takes all white space there, '+' keeps it.
 * Guarded by tests/text/test_jinja.c. */
#include "text/jinja_lexer.h"

#include <utf8proc.h>

#include "text/utf8.h"

enum { BRACKETS_MAX = 256 };

typedef struct lexer {
    stlora_jrun *run;
    stlora_jtext text;
    size_t at;
    bool line_starts; /* the tag before ended in a line break; also at the very beginning */
    size_t counted;   /* line and column are those of this byte */
    unsigned line, column;
    stlora_jtoken *tokens;
    size_t count, capacity;
    char open[BRACKETS_MAX];
    size_t depth;
} lexer;

static void count_to(lexer *lex, size_t at)
{
    if (at < lex->counted) { // a sentence about where something began
        lex->counted = 0;
        lex->line = lex->column = 1;
    }
    for (; lex->counted < at; lex->counted++) {
        char c = lex->text.data[lex->counted];
        if (c == '\n') {
            lex->line++;
            lex->column = 1;
        } else if (((unsigned char)c & 0xC0) != 0x80) {
            lex->column++;
        }
    }
}

static bool push(lexer *lex, stlora_jtoken_kind kind, size_t at, stlora_jtext text, stlora_jvalue value)
{
    if (!stlora_jgrow(lex->run, &lex->tokens, lex->count, &lex->capacity, sizeof *lex->tokens)) return false;
    count_to(lex, at);
    lex->tokens[lex->count++] = (stlora_jtoken){kind, lex->line, lex->column, text, value};
    return true;
}

static bool push_plain(lexer *lex, stlora_jtoken_kind kind, size_t at, size_t end)
{
    return push(lex, kind, at, (stlora_jtext){lex->text.data + at, end - at}, stlora_jnone());
}

/* Ends lexing with a sentence about the byte at `at`. */
static bool refuse_at(lexer *lex, size_t at, const char *sentence)
{
    count_to(lex, at);
    const stlora_jnode here = {.line = lex->line, .column = lex->column};
    lex->run->at = &here;
    (void)stlora_jfault(lex->run, "%s", sentence);
    lex->run->at = NULL;
    return false;
}

static char look(const lexer *lex, size_t at)
{
    return at < lex->text.length ? lex->text.data[at] : '\0';
}

static bool begins(const lexer *lex, size_t at, const char *words)
{
    size_t length = strlen(words);
    return at <= lex->text.length && length <= lex->text.length - at && memcmp(lex->text.data + at, words, length) == 0;
}

static size_t skip_space(const lexer *lex, size_t at)
{
    size_t size;
    while (at < lex->text.length && stlora_jis_space(stlora_utf8_read(lex->text.data + at, &size)))
        at += size;
    return at;
}

/* ---- text between tags ---- */

/* text[from, at) without what the tag at `at`, whose sign is `sign`, takes away from its end. */
static size_t strip_end(const lexer *lex, size_t from, size_t at, char sign, bool variable)
{
    size_t end = at, size;
    if (sign == '+' || (sign != '-' && variable)) return at;
    while (end > from) {
        size_t before = stlora_utf8_back(lex->text.data, end);
        uint32_t point = stlora_utf8_read(lex->text.data + before, &size);
        if (before < from || !stlora_jis_space(point)) break;
        if (sign != '-' && point == '\n') return end; // only on the tag's own line
        end = before;
    }
    if (sign == '-') return end;
    return end == from && lex->line_starts ? end : at; // something else stands on the line
}

static bool push_data(lexer *lex, size_t from, size_t to)
{
    return from == to || push_plain(lex, STLORA_JT_DATA, from, to);
}

/* Behind a tag's closing bracket of size 2 at `at`, in front of which sign stood. */
static void close_tag(lexer *lex, size_t at, char sign, bool trims)
{
    lex->at = at + 2;
    if (sign == '-')
        lex->at = skip_space(lex, lex->at);
    else if (trims && sign != '+' && look(lex, lex->at) == '\n')
        lex->at++;
    lex->line_starts = lex->at > 0 && lex->text.data[lex->at - 1] == '\n';
}

static bool skip_comment(lexer *lex, size_t begin)
{
    size_t from = begin + 2;
    if (look(lex, from) == '-' || look(lex, from) == '+') from++;
    size_t end = stlora_jfind(lex->text, (stlora_jtext){"#}", 2}, from);
    if (end > lex->text.length && from < lex->text.length) return refuse_at(lex, begin, "this comment has no end");
    if (end > lex->text.length) { // nothing follows: jinja2 takes that
        lex->at = lex->text.length;
        return true;
    }
    char sign = end > from ? lex->text.data[end - 1] : ' ';
    close_tag(lex, end, sign, true);
    return true;
}

/* Whether "{%- word -%}" begins at `at`; *end is its "%}", *first and *last the signs. */
static bool is_block_of(const lexer *lex, size_t at, const char *word, size_t *end, char *first, char *last)
{
    if (!begins(lex, at, "{%")) return false;
    size_t p = at + 2;
    *first = look(lex, p);
    if (*first == '-' || *first == '+') p++;
    p = skip_space(lex, p);
    if (!begins(lex, p, word)) return false;
    p = skip_space(lex, p + strlen(word));
    *last = look(lex, p);
    if (*last == '-' || *last == '+') p++;
    *end = p;
    return begins(lex, p, "%}");
}

/* The text between raw and endraw as it is; `end` is the closing bracket of raw. */
static bool take_raw(lexer *lex, size_t begin, size_t end, char last)
{
    char first;
    lex->at = end + 2;
    if (last == '-') lex->at = skip_space(lex, lex->at);
    lex->line_starts = lex->text.data[lex->at - 1] == '\n';
    for (size_t at = lex->at; at < lex->text.length; at++) {
        if (lex->text.data[at] != '{' || !is_block_of(lex, at, "endraw", &end, &first, &last)) continue;
        if (!push_data(lex, lex->at, strip_end(lex, lex->at, at, first, false))) return false;
        close_tag(lex, end, last, true);
        return true;
    }
    return refuse_at(lex, begin, "raw without endraw");
}

/* ---- inside tags ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits with single '_' between them, from `at`: their end. */
static size_t skip_digits(const lexer *lex, size_t at)
{
    while (is_digit(look(lex, at)) ||
           (look(lex, at) == '_' && is_digit(look(lex, at - 1)) && is_digit(look(lex, at + 1))))
        at++;
    return at;
}

static size_t float_end(const lexer *lex, size_t at)
{
    size_t end = skip_digits(lex, at);
    bool fraction = look(lex, end) == '.' && is_digit(look(lex, end + 1));
    if (fraction) end = skip_digits(lex, end + 1);
    if (look(lex, end) == 'e' || look(lex, end) == 'E') {
        size_t power = end + 1;
        if (look(lex, power) == '+' || look(lex, power) == '-') power++;
        if (is_digit(look(lex, power))) return skip_digits(lex, power);
    }
    return fraction ? end : 0;
}

static size_t integer_end(const lexer *lex, size_t at)
{
    static const char *const digits[] = {"bB01", "oO01234567", "xX0123456789abcdefABCDEF"};
    for (size_t i = 0; i < 3; i++) {
        if (look(lex, at) != '0' || !look(lex, at + 1) ||
            !strchr((const char[3]){digits[i][0], digits[i][1], 0}, look(lex, at + 1)))
            continue;
        size_t end = at + 2;
        for (;;) {
            size_t p = end + (look(lex, end) == '_');
            if (!look(lex, p) || !strchr(digits[i] + 2, look(lex, p))) break;
            end = p + 1;
        }
        if (end > at + 2) return end;
    }
    if (look(lex, at) != '0') return skip_digits(lex, at);
    size_t end = at + 1;
    while (look(lex, end) == '0' || (look(lex, end) == '_' && look(lex, end + 1) == '0'))
        end++;
    return end;
}

static bool take_number(lexer *lex)
{
    char digits[400];
    size_t from = lex->at, length = 0, end = from > 0 && look(lex, from - 1) == '.' ? 0 : float_end(lex, from);
    bool real = end > 0;
    if (!real) end = integer_end(lex, from);
    for (size_t i = from; i < end; i++) {
        if (lex->text.data[i] == '_') continue;
        if (length == sizeof digits - 1) return refuse_at(lex, from, "this number is too long");
        digits[length++] = lex->text.data[i];
    }
    stlora_jvalue value = stlora_jint(0);
    bool too_large = false;
    if (real) {
        value.kind = STLORA_J_FLOAT;
        (void)stlora_jparse_real((stlora_jtext){digits, length}, &value.as.real);
    } else if (!stlora_jparse_integer((stlora_jtext){digits, length}, 0, &value.as.integer, &too_large)) {
        return refuse_at(lex, from, too_large ? "this integer has more than 64 bits" : "this is no number");
    }
    lex->at = end;
    return push(lex, STLORA_JT_NUMBER, from, (stlora_jtext){lex->text.data + from, end - from}, value);
}

static bool is_name_point(uint32_t point, bool first)
{
    if (point < 0x80)
        return (point >= 'a' && point <= 'z') || (point >= 'A' && point <= 'Z') || point == '_' ||
               (!first && point >= '0' && point <= '9');
    utf8proc_category_t kind = utf8proc_category((utf8proc_int32_t)point);
    bool letter = kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
    return letter || (!first && (kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC ||
                                 kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_PC));
}

static bool take_name(lexer *lex)
{
    size_t from = lex->at, size;
    while (lex->at < lex->text.length &&
           is_name_point(stlora_utf8_read(lex->text.data + lex->at, &size), lex->at == from))
        lex->at += size;
    return push_plain(lex, STLORA_JT_NAME, from, lex->at);
}

/* count hexadecimal digits at `at`; false when there are fewer. */
static bool take_hex(const lexer *lex, size_t at, size_t count, uint32_t *point)
{
    *point = 0;
    for (size_t i = 0; i < count; i++) {
        char c = look(lex, at + i);
        uint32_t digit = is_digit(c)            ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16) return false;
        *point = *point * 16 + digit;
    }
    return true;
}

/* The escape at lex->at, a backslash, at the end of spelt; lex->at goes behind it. */
static bool take_escape(lexer *lex, stlora_jbuilder *spelt)
{
    static const char names[] = "\\'\"abfnrtv", means[] = "\\'\"\a\b\f\n\r\t\v";
    size_t at = lex->at;
    char c = look(lex, at + 1);
    uint32_t point = 0;
    lex->at = at + 2;
    if (c == '\n') return true;
    if (c && strchr(names, c)) return stlora_jput(spelt, &means[strchr(names, c) - names], 1);
    if (c >= '0' && c <= '7') {
        for (lex->at = at + 1; lex->at < at + 4 && look(lex, lex->at) >= '0' && look(lex, lex->at) <= '7'; lex->at++)
            point = point * 8 + (uint32_t)(look(lex, lex->at) - '0');
        return stlora_jput_point(spelt, point);
    }
    if (c == 'N') return refuse_at(lex, at, "characters by name (\\N) are not supported");
    if (c == 'x' || c == 'u' || c == 'U') {
        size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        if (!take_hex(lex, lex->at, digits, &point))
            return refuse_at(lex, at, "this escape has too few hexadecimal digits");
        if (point > 0x10FFFF || (point >= 0xD800 && point < 0xE000))
            return refuse_at(lex, at, "this escape is no character");
        lex->at += digits;
        return stlora_jput_point(spelt, point);
    }
    lex->at = at + 1; // as Python has it: a backslash and what follows
    return stlora_jput_words(spelt, "\\");
}

static bool take_string(lexer *lex)
{
    size_t from = lex->at++;
    char quote = lex->text.data[from];
    stlora_jbuilder spelt = {.run = lex->run};
    for (;;) {
        size_t plain = lex->at;
        while (lex->at < lex->text.length && lex->text.data[lex->at] != quote && lex->text.data[lex->at] != '\\')
            lex->at++;
        if (!stlora_jput(&spelt, lex->text.data + plain, lex->at - plain)) return false;
        if (lex->at >= lex->text.length) return refuse_at(lex, from, "this string has no end");
        if (lex->text.data[lex->at] == quote) break;
        if (!take_escape(lex, &spelt)) return false;
    }
    lex->at++;
    return push(lex, STLORA_JT_STRING, from, stlora_jbuilt_text(&spelt), stlora_jnone());
}

static bool take_sign(lexer *lex)
{
    static const char *const long_signs[] = {"//", "**", "==", "!=", ">=", "<="};
    size_t from = lex->at, size = 0;
    char c = lex->text.data[from];
    for (size_t i = 0; i < 6; i++)
        if (begins(lex, from, long_signs[i])) size = 2;
    if (size == 0 && c && strchr("+-/*%~[](){}><=.:|,;", c)) size = 1;
    if (size == 0) return refuse_at(lex, from, "this character has no meaning here");
    if (c == '(' || c == '[' || c == '{') {
        if (lex->depth == BRACKETS_MAX) return refuse_at(lex, from, "too many brackets within one another");
        lex->open[lex->depth++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (lex->depth == 0 || lex->open[lex->depth - 1] != c) return refuse_at(lex, from, "this bracket closes none");
        lex->depth--;
    }
    lex->at += size;
    return push_plain(lex, STLORA_JT_SIGN, from, lex->at);
}

/* Whether the tag ends at lex->at; then lex->at is behind it. */
static bool take_end(lexer *lex, bool variable, bool *ended)
{
    size_t at = lex->at;
    char sign = look(lex, at);
    *ended = false;
    if (lex->depth > 0) return true;
    bool signed_end = sign == '-' || (sign == '+' && !variable);
    if (!begins(lex, at + signed_end, variable ? "}}" : "%}")) return true;
    *ended = true;
    if (!push_plain(lex, variable ? STLORA_JT_VARIABLE_END : STLORA_JT_BLOCK_END, at, at)) return false;
    close_tag(lex, at + signed_end, signed_end ? sign : ' ', !variable);
    return true;
}

static bool take_tag(lexer *lex, size_t begin, bool variable)
{
    lex->at = begin + 2;
    if (look(lex, lex->at) == '-' || look(lex, lex->at) == '+') lex->at++;
    if (!push_plain(lex, variable ? STLORA_JT_VARIABLE_BEGIN : STLORA_JT_BLOCK_BEGIN, begin, begin)) return false;
    for (;;) {
        bool ended, ok;
        if (!take_end(lex, variable, &ended)) return false;
        if (ended) return true;
        lex->at = skip_space(lex, lex->at);
        if (lex->at >= lex->text.length) return refuse_at(lex, begin, "this tag has no end");
        if (!take_end(lex, variable, &ended)) return false;
        if (ended) return true;
        size_t size;
        char c = lex->text.data[lex->at];
        if (is_digit(c))
            ok = take_number(lex);
        else if (c == '\'' || c == '"')
            ok = take_string(lex);
        else if (is_name_point(stlora_utf8_read(lex->text.data + lex->at, &size), true))
            ok = take_name(lex);
        else
            ok = take_sign(lex);
        if (!ok) return false;
    }
}

bool stlora_jlex(stlora_jrun *run, stlora_jtext text, const stlora_jtoken **out, size_t *count)
{
    lexer lex = {.run = run, .text = text, .line_starts = true, .line = 1, .column = 1};
    for (;;) {
        size_t begin = lex.at, end;
        while (begin < text.length &&
               (text.data[begin] != '{' || !look(&lex, begin + 1) || !strchr("{%#", look(&lex, begin + 1))))
            begin++;
        if (begin >= text.length) break;
        char kind = text.data[begin + 1], sign = look(&lex, begin + 2), first, last;
        if (!push_data(&lex, lex.at, strip_end(&lex, lex.at, begin, sign, kind == '{'))) return false;
        bool ok;
        if (kind == '#')
            ok = skip_comment(&lex, begin);
        else if (kind == '%' && is_block_of(&lex, begin, "raw", &end, &first, &last) && last != '+')
            ok = take_raw(&lex, begin, end, last);
        else
            ok = take_tag(&lex, begin, kind == '{');
        if (!ok) return false;
    }
    if (!push_data(&lex, lex.at, text.length) || !push_plain(&lex, STLORA_JT_END, text.length, text.length))
        return false;
    *out = lex.tokens;
    *count = lex.count;
    return true;
}
