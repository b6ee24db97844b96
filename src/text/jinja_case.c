/* jinja_case.c: upper and lower case, and kinds of characters, as Python's str has them. Characters that become several are those of Latin,
 * Greek and Armenian outside the polytonic block. Guarded by tests/text/test_jinja.c. */
#include <utf8proc.h>

#include "text/jinja_builtin.h"
#include "text/utf8.h"

static utf8proc_category_t kind_of(uint32_t point)
{
    return utf8proc_category((utf8proc_int32_t)point);
}

bool stlora_jis_space(uint32_t point)
{
    return stlora_is_white_space(point) || (point >= 0x1C && point <= 0x1F);
}

static bool is_upper(uint32_t point)
{
    return kind_of(point) == UTF8PROC_CATEGORY_LU || (point >= 0x2160 && point <= 0x216F) ||
           (point >= 0x24B6 && point <= 0x24CF);
}

static bool is_lower(uint32_t point)
{
    return kind_of(point) == UTF8PROC_CATEGORY_LL || point == 0xAA || point == 0xBA ||
           (point >= 0x2170 && point <= 0x217F) || (point >= 0x24D0 && point <= 0x24E9) ||
           (point >= 0x2B0 && point <= 0x2B8);
}

static bool is_cased(uint32_t point)
{
    return is_upper(point) || is_lower(point) || kind_of(point) == UTF8PROC_CATEGORY_LT;
}

static bool is_alpha(uint32_t point)
{
    utf8proc_category_t kind = kind_of(point);
    return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

static bool is_decimal(uint32_t point)
{
    return kind_of(point) == UTF8PROC_CATEGORY_ND;
}

static bool is_digit(uint32_t point)
{
    return is_decimal(point) || point == 0xB2 || point == 0xB3 || point == 0xB9 ||
           (point >= 0x2070 && point <= 0x2079 && point != 0x2071) || (point >= 0x2080 && point <= 0x2089) ||
           (point >= 0x2460 && point <= 0x2468);
}

static bool is_alnum(uint32_t point)
{
    return is_alpha(point) || stlora_is_numeric(point);
}

bool stlora_jis_word(uint32_t point)
{
    return is_alnum(point) || point == '_';
}

bool stlora_jis_printable(uint32_t point)
{
    utf8proc_category_t kind = kind_of(point);
    return point == ' ' || (kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_SO);
}

static bool is_ascii(uint32_t point)
{
    return point < 0x80;
}

/* isupper and islower: cased characters of one kind alone, and at least one. */
static bool all_of_case(stlora_jtext text, bool upper)
{
    bool any = false;
    for (size_t at = 0, size; at < text.length; at += size) {
        uint32_t point = stlora_utf8_read(text.data + at, &size);
        if (upper ? is_upper(point) : is_lower(point))
            any = true;
        else if (is_cased(point))
            return false;
    }
    return any;
}

static bool is_title(stlora_jtext text)
{
    bool any = false, within = false;
    for (size_t at = 0, size; at < text.length; at += size) {
        uint32_t point = stlora_utf8_read(text.data + at, &size);
        bool cased = is_cased(point);
        if (cased && within != is_lower(point)) return false;
        any |= cased;
        within = cased;
    }
    return any;
}

static bool is_identifier(stlora_jtext text)
{
    for (size_t at = 0, size; at < text.length; at += size) {
        uint32_t point = stlora_utf8_read(text.data + at, &size);
        if (point != '_' && !is_alpha(point) && (at == 0 || !(is_decimal(point) || stlora_is_mark(point))))
            return false;
    }
    return text.length > 0;
}

bool stlora_jis_all(stlora_jtext text, const char *method)
{
    static const struct {
        const char *name;
        bool (*test)(uint32_t point);
    } tests[] = {{"isalpha", is_alpha},
                 {"isdigit", is_digit},
                 {"isdecimal", is_decimal},
                 {"isnumeric", stlora_is_numeric},
                 {"isalnum", is_alnum},
                 {"isspace", stlora_jis_space},
                 {"isprintable", stlora_jis_printable},
                 {"isascii", is_ascii}};
    if (strcmp(method, "isupper") == 0 || strcmp(method, "islower") == 0) return all_of_case(text, method[2] == 'u');
    if (strcmp(method, "istitle") == 0) return is_title(text);
    if (strcmp(method, "isidentifier") == 0) return is_identifier(text);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (strcmp(method, tests[i].name) != 0) continue;
        for (size_t at = 0, size; at < text.length; at += size)
            if (!tests[i].test(stlora_utf8_read(text.data + at, &size))) return false;
        return text.length > 0 || tests[i].test == is_ascii || tests[i].test == stlora_jis_printable;
    }
    return false;
}

/* ---- changing case ---- */

/* What becomes several characters in upper case. */
static const struct {
    uint32_t point;
    const char *upper, *title;
} several[] = {{0xDF, "SS", "Ss"},
               {0x149, "\xCA\xBCN", "\xCA\xBCN"},
               {0x1F0, "J\xCC\x8C", "J\xCC\x8C"},
               {0x390, "\xCE\x99\xCC\x88\xCC\x81", "\xCE\x99\xCC\x88\xCC\x81"},
               {0x3B0, "\xCE\xA5\xCC\x88\xCC\x81", "\xCE\xA5\xCC\x88\xCC\x81"},
               {0x587, "\xD4\xB5\xD5\x92", "\xD4\xB5\xD6\x82"},
               {0x1E96, "H\xCC\xB1", "H\xCC\xB1"},
               {0x1E97, "T\xCC\x88", "T\xCC\x88"},
               {0x1E98, "W\xCC\x8A", "W\xCC\x8A"},
               {0x1E99, "Y\xCC\x8A", "Y\xCC\x8A"},
               {0x1E9A, "A\xCA\xBE", "A\xCA\xBE"},
               {0xFB00, "FF", "Ff"},
               {0xFB01, "FI", "Fi"},
               {0xFB02, "FL", "Fl"},
               {0xFB03, "FFI", "Ffi"},
               {0xFB04, "FFL", "Ffl"},
               {0xFB05, "ST", "St"},
               {0xFB06, "ST", "St"}};

static bool put_upper(stlora_jbuilder *out, uint32_t point, bool title)
{
    for (size_t i = 0; point >= 0xDF && i < sizeof several / sizeof *several; i++)
        if (several[i].point == point) return stlora_jput_words(out, title ? several[i].title : several[i].upper);
    utf8proc_int32_t p = (utf8proc_int32_t)point;
    return stlora_jput_point(out, (uint32_t)(title ? utf8proc_totitle(p) : utf8proc_toupper(p)));
}

/* The sigma at the end of a word has a form of its own. */
static bool is_final(stlora_jtext text, size_t at, size_t size)
{
    size_t before = at, step;
    while (before > 0) {
        before = stlora_utf8_back(text.data, before);
        uint32_t point = stlora_utf8_read(text.data + before, &step);
        if (is_cased(point)) break;
        if (!stlora_is_mark(point)) return false;
        if (before == 0) return false;
    }
    if (at == 0) return false;
    for (size_t after = at + size; after < text.length; after += step) {
        uint32_t point = stlora_utf8_read(text.data + after, &step);
        if (is_cased(point)) return false;
        if (!stlora_is_mark(point)) break;
    }
    return true;
}

static bool put_lower(stlora_jbuilder *out, stlora_jtext text, size_t at, size_t size, uint32_t point)
{
    if (point == 0x130) return stlora_jput_words(out, "i\xCC\x87");
    if (point == 0x3A3 && is_final(text, at, size)) return stlora_jput_point(out, 0x3C2);
    return stlora_jput_point(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)point));
}

bool stlora_jrecase(stlora_jrun *run, stlora_jtext text, stlora_jcase how, stlora_jvalue *out)
{
    stlora_jbuilder builder = {.run = run};
    bool within = false; // a word
    if (!stlora_jcharge_points(run, text.length)) return false;
    for (size_t at = 0, size; at < text.length; at += size) {
        uint32_t point = stlora_utf8_read(text.data + at, &size);
        bool title = (how == STLORA_J_TITLE && !within) || (how == STLORA_J_CAPITALIZE && at == 0);
        bool upper = title || how == STLORA_J_UPPER || (how == STLORA_J_SWAP && is_lower(point));
        bool ok;
        if (how == STLORA_J_SWAP && !is_cased(point))
            ok = stlora_jput(&builder, text.data + at, size);
        else
            ok = upper ? put_upper(&builder, point, title) : put_lower(&builder, text, at, size, point);
        if (!ok) return false;
        within = is_cased(point);
    }
    *out = stlora_jbuilt(&builder);
    return true;
}
