/* rows.c: a file of rows, read from front to back: JSON lines one by one, or one JSON array whole. What a row means is
 * row_shape.c's. Invariant: every failure names the file and the line (or element). Tests: tests/data/test_rows.c,
 * tests/data/test_data_bad.c (every prefix of a valid file). */
#include "data/rows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/errno_text.h"
#include "base/json.h"
#include "base/memory.h"
#include "data/row_shape.h"

typedef struct reader {
    const char *path;
    FILE *file;
    char *where; /* "PATH line N" */
    size_t where_room;
    stlora_row_buffers buffers;
    bool kind_known;
    stlora_row_kind kind;
    stlora_row_callback callback;
    void *context;
    int64_t rows;
} reader;

static void say_where(reader *r, const char *unit, int64_t number)
{
    (void)snprintf(r->where, r->where_room, "%s %s %lld", r->path, unit, (long long)number);
}

/* One row of the file, already parsed; r->where is said. */
static stlora_status take_row(reader *r, json_t *value, int64_t number, stlora_error *err)
{
    stlora_row_kind kind;
    STLORA_TRY(stlora_row_kind_of(value, r->where, &kind, err));
    if (r->kind_known && kind != r->kind)
        return stlora_fail(err, STLORA_E_FORMAT,
                           "%s: wanted a {%s} row like the rows before it, found a {%s} row",
                           r->where, stlora_row_kind_name(r->kind), stlora_row_kind_name(kind));
    r->kind_known = true;
    r->kind = kind;
    stlora_row row;
    STLORA_TRY(stlora_row_from_json(&row, &r->buffers, value, kind, r->where, err));
    row.file = r->path;
    row.line = number;
    row.where = r->where;
    r->rows++;
    return r->callback(r->context, &row, err);
}

static stlora_status read_failed(const reader *r, stlora_error *err)
{
    int error = errno;
    stlora_errno_words words;
    if (error == ENOMEM)
        return stlora_fail(err, STLORA_E_NOMEM, "%s: no memory for a line after row %lld", r->path,
                           (long long)r->rows);
    return stlora_fail(err, STLORA_E_IO, "%s: cannot be read: %s", r->path,
                       stlora_errno_text(error, &words));
}

/* The rest of the file behind `start`, the bytes of the line where the array begins; `line` counts from 1. */
static stlora_status read_rest(const reader *r, const char *start, size_t length, int64_t line,
                               char **out, size_t *size, stlora_error *err)
{
    enum { CHUNK = 1 << 16 };
    /* Blank lines in front are put back as line breaks, so that the parser's line numbers are the file's. */
    size_t blank = (size_t)line - 1, used = blank + length, room = 0;
    char *text = NULL;
    stlora_status status = stlora_grow(&text, &room, used + CHUNK, 1, r->path, err);
    if (status == STLORA_OK) {
        memset(text, '\n', blank);
        memcpy(text + blank, start, length);
    }
    while (status == STLORA_OK) {
        errno = 0;
        size_t got = fread(text + used, 1, room - used, r->file);
        used += got;
        if (got == 0) break;
        if (used == room) status = stlora_grow(&text, &room, used + CHUNK, 1, r->path, err);
    }
    if (status == STLORA_OK && ferror(r->file)) status = read_failed(r, err);
    if (status != STLORA_OK) {
        stlora_free(text);
        return status;
    }
    *out = text;
    *size = used;
    return STLORA_OK;
}

static stlora_status read_array(reader *r, const char *start, size_t length, int64_t line,
                                stlora_error *err)
{
    char *text;
    size_t size;
    json_t *array;
    STLORA_TRY(read_rest(r, start, length, line, &text, &size, err));
    stlora_status status = stlora_json_parse(&array, text, size, r->path, err);
    stlora_free(text); /* before the rows, which may need the memory */
    if (status != STLORA_OK) return status;
    for (size_t i = 0; i < json_array_size(array) && status == STLORA_OK; i++) {
        say_where(r, "element", (int64_t)i + 1);
        status = take_row(r, json_array_get(array, i), (int64_t)i + 1, err);
    }
    json_decref(array);
    return status;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The parser knows its bytes as "WHERE line 1 column C"; where WHERE is a line already, that is one line too many. */
static void drop_inner_line(const reader *r, stlora_error *err)
{
    static const char inner[] = " line 1";
    const size_t where = strlen(r->where), length = sizeof inner - 1;
    if (!err || strncmp(err->text, r->where, where) != 0 ||
        strncmp(err->text + where, inner, length) != 0)
        return;
    char *cut = err->text + where;
    memmove(cut, cut + length, strlen(cut + length) + 1);
}

static stlora_status read_line(reader *r, const char *bytes, size_t length, int64_t number,
                               stlora_error *err)
{
    json_t *value = NULL;
    say_where(r, "line", number);
    while (length && is_blank(bytes[length - 1]))
        length--; /* so that nothing is ever found on a second line */
    stlora_status status = stlora_json_parse(&value, bytes, length, r->where, err);
    if (status != STLORA_OK) {
        drop_inner_line(r, err);
        return status;
    }
    status = take_row(r, value, number, err);
    json_decref(value);
    return status;
}

/* Line by line, until the end or until the first row turns out to be the beginning of an array. */
static stlora_status read_lines(reader *r, char **line, size_t *line_room, stlora_error *err)
{
    for (int64_t number = 1;; number++) {
        errno = 0;
        ssize_t got = getline(line, line_room, r->file);
        if (got < 0 || ferror(r->file)) break;
        const char *bytes = *line;
        size_t length = (size_t)got, first = 0;
        if (number == 1 && length >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) {
            bytes += 3;
            length -= 3;
        }
        while (first < length && is_blank(bytes[first]))
            first++;
        if (first == length) continue;
        if (r->rows == 0 && bytes[first] == '[') return read_array(r, bytes, length, number, err);
        STLORA_TRY(read_line(r, bytes, length, number, err));
    }
    return feof(r->file) && !ferror(r->file) ? STLORA_OK : read_failed(r, err);
}

static stlora_status open_rows(reader *r, stlora_error *err)
{
    struct stat st;
    stlora_errno_words words;
    r->file = fopen(r->path, "rb");
    if (!r->file)
        return stlora_fail(err, STLORA_E_IO, "%s: cannot be opened: %s", r->path,
                           stlora_errno_text(errno, &words));
    if (fstat(fileno(r->file), &st) == 0 && S_ISDIR(st.st_mode))
        return stlora_fail(err, STLORA_E_IO, "%s: is a directory, wanted a file of rows", r->path);
    return STLORA_OK;
}

stlora_status stlora_rows_read(const char *path, bool *kind_known, stlora_row_kind *kind,
                               stlora_row_callback callback, void *context, stlora_error *err)
{
    reader r = {.path = path,
                .where_room = strlen(path) + sizeof " element 9223372036854775807",
                .kind_known = *kind_known,
                .kind = *kind_known ? *kind : STLORA_ROW_TEXT,
                .callback = callback,
                .context = context};
    char *line = NULL;
    size_t line_room = 0;
    STLORA_TRY(stlora_alloc(&r.where, r.where_room, 1, "name of the data file", err));
    stlora_status status = open_rows(&r, err);
    if (status == STLORA_OK) status = read_lines(&r, &line, &line_room, err);
    if (status == STLORA_OK && r.rows == 0)
        status = stlora_fail(err, STLORA_E_FORMAT, "%s: holds no rows", path);
    if (r.file) (void)fclose(r.file); /* only read: nothing can be lost here */
    free(line);                       /* getline's, not ours */
    stlora_row_buffers_free(&r.buffers);
    stlora_free(r.where);
    if (status != STLORA_OK) return status;
    *kind_known = r.kind_known;
    *kind = r.kind;
    return STLORA_OK;
}
