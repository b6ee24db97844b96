/* json_text.c: see json_text.h. Invariant: nothing at or behind `end` is read. Guarded by tests/text/test_json_text.c. */
#include "text/json_text.h"

#include <assert.h>
#include <string.h>

#include "text/utf8.h"

static bool fails(stlora_json_reader *reader, stlora_status status)
{
    if (reader->status == STLORA_OK) reader->status = status;
    return false;
}

static void skip_blanks(stlora_json_reader *reader)
{
    while (reader->at < reader->end &&
           (*reader->at == ' ' || *reader->at == '\n' || *reader->at == '\r' || *reader->at == '\t'))
        reader->at++;
}

/* The next character that is no blank, NUL at the end: no JSON text has one there. */
static char look(stlora_json_reader *reader)
{
    skip_blanks(reader);
    return reader->at < reader->end ? *reader->at : '\0';
}

stlora_json_reader stlora_json_reader_open(stlora_json_span span)
{
    stlora_json_reader reader = {.at = span.text, .end = span.text + span.length};
    char open = look(&reader);
    reader.close = open == '{' ? '}' : ']';
    if (open == '{' || open == '[')
        reader.at++;
    else
        reader.status = STLORA_E_FORMAT;
    return reader;
}

void stlora_json_reader_close(stlora_json_reader *reader)
{
    stlora_bytes_free(&reader->spelt);
}

/* ---- strings ---- */

/* Four hexadecimal digits as a number, -1 when they are none. */
static int32_t hex_unit(const char *text, const char *end)
{
    int32_t unit = 0;
    if (end - text < 4) return -1;
    for (int i = 0; i < 4; i++) {
        const char c = text[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

/* The character that the escape at *at, a backslash, stands for; *at goes behind it. False when there is no such escape. */
static bool read_escape(const char **at, const char *end, uint32_t *point)
{
    static const char names[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    const char *p = *at + 1;
    if (p == end) return false;
    if (*p != 'u') {
        const char *name = *p ? strchr(names, *p) : NULL;
        if (!name) return false;
        *point = (unsigned char)means[name - names];
        *at = p + 1;
        return true;
    }
    int32_t unit = hex_unit(p + 1, end);
    if (unit < 0 || (unit >= 0xDC00 && unit < 0xE000)) return false;
    p += 5;
    if (unit >= 0xD800 && unit < 0xDC00) { /* the first half of a pair */
        int32_t low = end - p >= 2 && p[0] == '\\' && p[1] == 'u' ? hex_unit(p + 2, end) : -1;
        if (low < 0xDC00 || low >= 0xE000) return false;
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
        p += 6;
    }
    *point = (uint32_t)unit;
    *at = p;
    return true;
}

/* The text between two quotes, with what its escapes stand for, into reader->spelt. */
static bool spell_out(stlora_json_reader *reader, const char *text, const char *end)
{
    stlora_bytes *out = &reader->spelt;
    out->count = 0; /* no string is longer than its text */
    if (stlora_bytes_reserve(out, (size_t)(end - text), NULL) != STLORA_OK) return fails(reader, STLORA_E_NOMEM);
    while (text < end) {
        const char *escape = memchr(text, '\\', (size_t)(end - text));
        size_t plain = (size_t)((escape ? escape : end) - text);
        memcpy(out->data + out->count, text, plain);
        out->count += plain;
        text += plain;
        uint32_t point;
        char bytes[4];
        if (!escape) break;
        if (!read_escape(&text, end, &point)) return fails(reader, STLORA_E_FORMAT);
        size_t size = stlora_utf8_write(point, bytes);
        memcpy(out->data + out->count, bytes, size);
        out->count += size;
    }
    return true;
}

bool stlora_json_take_string(stlora_json_reader *reader, const char **text, size_t *length)
{
    if (reader->status != STLORA_OK || look(reader) != '"') return false;
    const char *begin = reader->at + 1, *p = begin;
    bool escapes = false, ascii = true;
    for (;; p++) {
        if (p == reader->end || (unsigned char)*p < 0x20) return fails(reader, STLORA_E_FORMAT);
        if (*p == '"') break;
        ascii = ascii && (unsigned char)*p < 0x80;
        if (*p != '\\') continue;
        escapes = true;
        if (++p == reader->end) return fails(reader, STLORA_E_FORMAT);
    }
    size_t bytes = (size_t)(p - begin);
    if (!ascii && stlora_utf8_valid(begin, bytes) < bytes) return fails(reader, STLORA_E_FORMAT);
    reader->at = p + 1;
    if (escapes && !spell_out(reader, begin, p)) return false;
    *text = escapes ? reader->spelt.data : begin;
    *length = escapes ? reader->spelt.count : bytes;
    return true;
}

/* ---- other values ---- */

bool stlora_json_take_integer(stlora_json_reader *reader, int32_t *value)
{
    if (reader->status != STLORA_OK) return false;
    skip_blanks(reader);
    const char *p = reader->at;
    int32_t sum = 0;
    while (p < reader->end && p - reader->at < 9 && *p >= '0' && *p <= '9')
        sum = sum * 10 + (*p++ - '0');
    size_t digits = (size_t)(p - reader->at);
    if (digits == 0 || (digits > 1 && *reader->at == '0')) return false;
    if (p == reader->end || (*p >= '0' && *p <= '9') || *p == '.' || *p == 'e' || *p == 'E') return false;
    reader->at = p;
    *value = sum;
    return true;
}

/* The end of the string that begins at p; `end` when it has none. */
static const char *string_end(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\' && ++p == end) return end;
    return p < end ? p + 1 : end;
}

stlora_json_span stlora_json_take_value(stlora_json_reader *reader)
{
    size_t depth = 0;
    char first = look(reader);
    const char *p = reader->at;
    if (reader->status != STLORA_OK) return (stlora_json_span){0};
    if (first == '"') {
        p = string_end(p, reader->end);
    } else if (first == '{' || first == '[') {
        do {
            if (*p == '"') {
                p = string_end(p, reader->end);
                continue;
            }
            depth += *p == '{' || *p == '[';
            depth -= *p == '}' || *p == ']';
            p++;
        } while (depth > 0 && p < reader->end);
    } else {
        while (p < reader->end && !strchr(",]} \t\r\n", *p))
            p++;
    }
    stlora_json_span span = {reader->at, (size_t)(p - reader->at)};
    if (span.length == 0 || depth > 0) (void)fails(reader, STLORA_E_FORMAT);
    reader->at = p;
    return span;
}

/* ---- walking ---- */

static bool finish(stlora_json_reader *reader)
{
    reader->at++;
    skip_blanks(reader);
    return reader->at == reader->end ? false : fails(reader, STLORA_E_FORMAT);
}

bool stlora_json_next(stlora_json_reader *reader, const char **key, size_t *length)
{
    *key = NULL;
    *length = 0;
    if (reader->status != STLORA_OK) return false;
    char c = look(reader);
    if (c == reader->close) return finish(reader);
    if (reader->begun) {
        if (c != ',') return fails(reader, STLORA_E_FORMAT);
        reader->at++;
        c = look(reader);
    }
    reader->begun = true;
    if (reader->close == ']') return c == ']' ? fails(reader, STLORA_E_FORMAT) : true;
    if (!stlora_json_take_string(reader, key, length)) return fails(reader, STLORA_E_FORMAT);
    if ((*length && memchr(*key, '\0', *length)) || look(reader) != ':') return fails(reader, STLORA_E_FORMAT);
    reader->at++;
    return true;
}

/* ---- a text in parts ---- */

void stlora_json_find_members(stlora_json_span object, const char *const *names, stlora_json_span *spans, size_t count)
{
    const char *key;
    size_t length;
    stlora_json_reader reader = stlora_json_reader_open(object);
    while (reader.close == '}' && stlora_json_next(&reader, &key, &length)) {
        stlora_json_span *found = NULL;
        for (size_t i = 0; i < count; i++)
            if (length == strlen(names[i]) && memcmp(key, names[i], length) == 0) found = &spans[i];
        stlora_json_span value = stlora_json_take_value(&reader);
        if (found && !found->text && reader.status == STLORA_OK) *found = value;
    }
    stlora_json_reader_close(&reader);
}

/* Appends text[from, to). */
static stlora_status copy(stlora_bytes *out, const char *text, const char *from, const char *to, stlora_error *err)
{
    assert(text <= from && from <= to);
    return stlora_bytes_append(out, from, (size_t)(to - from), err);
}

static stlora_status copy_without(stlora_bytes *out, stlora_json_span text, const stlora_json_span *spans, size_t count,
                                  stlora_error *err)
{
    const char *at = text.text, *end = text.text + text.length;
    for (;;) {
        const stlora_json_span *next = NULL; /* the first one behind `at` that has something to leave out */
        for (size_t i = 0; i < count; i++)
            if (spans[i].text && spans[i].text >= at && (*spans[i].text == '{' || *spans[i].text == '[') &&
                (!next || spans[i].text < next->text))
                next = &spans[i];
        if (!next) return copy(out, text.text, at, end, err);
        STLORA_TRY(copy(out, text.text, at, next->text + 1, err));
        at = next->text + next->length - 1;
    }
}

stlora_status stlora_json_parse_without(json_t **out, stlora_json_span text, const stlora_json_span *spans,
                                        size_t count, const char *where, stlora_error *err)
{
    stlora_bytes rest = {0};
    stlora_error why;
    stlora_status status = copy_without(&rest, text, spans, count, err);
    if (status == STLORA_OK) {
        status = stlora_json_parse(out, rest.data ? rest.data : "", rest.count, where, &why);
        /* Its line and column are those of the rest: the whole text has the right ones. */
        if (status == STLORA_E_FORMAT)
            status = stlora_json_parse(out, text.text, text.length, where, err);
        else if (status != STLORA_OK)
            status = stlora_fail(err, status, "%s", why.text);
    }
    stlora_bytes_free(&rest);
    return status;
}
