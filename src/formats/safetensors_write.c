/* safetensors_write.c: one safetensors file out. Invariant: what is written here, safetensors.c reads back, bit for bit. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/size.h"
#include "formats/safetensors_set.h"

/* The header's text, growing. */
typedef struct text {
    char *bytes;
    size_t used, capacity;
    const char *path;
    stlora_error *err;
} text;

static stlora_status put(text *t, const char *piece)
{
    const size_t length = strlen(piece);
    STLORA_TRY(stlora_grow(&t->bytes, &t->capacity, t->used + length + 8, 1, t->path, t->err));
    memcpy(t->bytes + t->used, piece, length);
    t->used += length;
    return STLORA_OK;
}

static stlora_status put_string(text *t, const char *string)
{
    json_t *value = json_string(string);
    if (!value)
        return stlora_fail(t->err, STLORA_E_USAGE, "%s: names must be UTF-8, found \"%s\"", t->path, string);
    char *quoted = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    json_decref(value);
    if (!quoted) return stlora_fail(t->err, STLORA_E_NOMEM, "%s: no memory for its header", t->path);
    stlora_status status = put(t, quoted);
    free(quoted);
    return status;
}

static stlora_status put_number(text *t, int64_t number)
{
    char digits[32];
    (void)snprintf(digits, sizeof digits, "%" PRId64, number);
    return put(t, digits);
}

/* Bytes of a tensor that somebody wants written. */
static stlora_status measure(const char *path, const stlora_named_view *t, size_t *out, stlora_error *err)
{
    const stlora_view *v = &t->view;
    if (!t->name || strcmp(t->name, "__metadata__") == 0)
        return stlora_fail(err, STLORA_E_USAGE, "%s: a tensor must have a name other than __metadata__", path);
    if (v->ndim < 0 || v->ndim > STLORA_MAX_DIMS)
        return stlora_fail(err, STLORA_E_USAGE, "%s: tensor \"%s\" must have 0 to %d dimensions, found %d", path,
                           t->name, STLORA_MAX_DIMS, v->ndim);
    size_t bytes = stlora_dtype_size(v->dtype);
    for (int i = 0; i < v->ndim; i++)
        if (v->shape[i] < 0 || (uint64_t)v->shape[i] > SIZE_MAX ||
            !stlora_size_mul(bytes, (size_t)v->shape[i], &bytes))
            return stlora_fail(err, STLORA_E_USAGE, "%s: tensor \"%s\": shape[%d] = %" PRId64 " is out of range", path,
                               t->name, i, v->shape[i]);
    if (bytes > 0 && !v->data)
        return stlora_fail(err, STLORA_E_USAGE, "%s: tensor \"%s\" has no data", path, t->name);
    *out = bytes;
    return STLORA_OK;
}

/* Where a tensor's data go. */
typedef struct place {
    size_t begin, bytes;
} place;

static const size_t element_sizes[] = {8, 4, 2, 1};

/* Fills places[count], in the caller's order, with offsets: larger elements first. */
static stlora_status lay_out(const char *path, const stlora_named_view *tensors, size_t count, place *places,
                             stlora_error *err)
{
    size_t end = 0;
    for (size_t i = 0; i < count; i++) STLORA_TRY(measure(path, &tensors[i], &places[i].bytes, err));
    for (size_t e = 0; e < sizeof element_sizes / sizeof element_sizes[0]; e++) {
        for (size_t i = 0; i < count; i++) {
            if (stlora_dtype_size(tensors[i].view.dtype) != element_sizes[e]) continue;
            places[i].begin = end;
            if (!stlora_size_add(end, places[i].bytes, &end) || end > INT64_MAX)
                return stlora_fail(err, STLORA_E_USAGE, "%s: the tensors are too large for one file", path);
        }
    }
    return STLORA_OK;
}

static int by_text(const void *a, const void *b)
{
    const char *left, *right;
    memcpy(&left, a, sizeof left);
    memcpy(&right, b, sizeof right);
    return strcmp(left, right);
}

static stlora_status must_differ(const char *path, const char **names, size_t count, stlora_error *err)
{
    if (count) qsort(names, count, sizeof *names, by_text);
    for (size_t i = 1; i < count; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return stlora_fail(err, STLORA_E_USAGE, "%s: the name \"%s\" is given twice", path, names[i]);
    return STLORA_OK;
}

static stlora_status check_names(const char *path, const stlora_named_view *tensors, size_t count,
                                 const stlora_metadata_entry *metadata, size_t metadata_count,
                                 stlora_error *err)
{
    const char **names;
    STLORA_TRY(stlora_alloc(&names, count > metadata_count ? count : metadata_count, sizeof *names, path, err));
    for (size_t i = 0; i < count; i++) names[i] = tensors[i].name;
    stlora_status status = must_differ(path, names, count, err);
    for (size_t i = 0; i < metadata_count; i++) names[i] = metadata[i].key;
    if (status == STLORA_OK) status = must_differ(path, names, metadata_count, err);
    stlora_free(names);
    return status;
}

static stlora_status put_metadata(text *t, const stlora_metadata_entry *metadata, size_t count)
{
    STLORA_TRY(put(t, "\"__metadata__\":{"));
    for (size_t i = 0; i < count; i++) {
        if (i > 0) STLORA_TRY(put(t, ","));
        STLORA_TRY(put_string(t, metadata[i].key));
        STLORA_TRY(put(t, ":"));
        STLORA_TRY(put_string(t, metadata[i].value));
    }
    return put(t, "}");
}

static stlora_status put_tensor(text *t, const stlora_named_view *tensor, const place *where)
{
    STLORA_TRY(put_string(t, tensor->name));
    STLORA_TRY(put(t, ":{\"dtype\":\""));
    STLORA_TRY(put(t, stlora_dtype_name(tensor->view.dtype)));
    STLORA_TRY(put(t, "\",\"shape\":["));
    for (int i = 0; i < tensor->view.ndim; i++) {
        if (i > 0) STLORA_TRY(put(t, ","));
        STLORA_TRY(put_number(t, tensor->view.shape[i]));
    }
    STLORA_TRY(put(t, "],\"data_offsets\":["));
    STLORA_TRY(put_number(t, (int64_t)where->begin));
    STLORA_TRY(put(t, ","));
    STLORA_TRY(put_number(t, (int64_t)(where->begin + where->bytes)));
    return put(t, "]}");
}

static stlora_status put_header(text *t, const stlora_named_view *tensors, const place *places, size_t count,
                                const stlora_metadata_entry *metadata, size_t metadata_count)
{
    STLORA_TRY(put(t, "{"));
    if (metadata_count > 0) STLORA_TRY(put_metadata(t, metadata, metadata_count));
    for (size_t i = 0; i < count; i++) {
        if (i > 0 || metadata_count > 0) STLORA_TRY(put(t, ","));
        STLORA_TRY(put_tensor(t, &tensors[i], &places[i]));
    }
    STLORA_TRY(put(t, "}"));
    while (t->used % 8 != 0) STLORA_TRY(put(t, " "));
    if (t->used > STLORA_ST_HEADER_LIMIT)
        return stlora_fail(t->err, STLORA_E_USAGE, "%s: its header of %zu bytes is longer than the format allows",
                           t->path, t->used);
    return STLORA_OK;
}

static stlora_status write_file(stlora_atomic_file *file, const text *header, const stlora_named_view *tensors,
                                const place *places, size_t count, stlora_error *err)
{
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)header->used >> (8 * i));
    STLORA_TRY(stlora_atomic_write(file, length, sizeof length, err));
    STLORA_TRY(stlora_atomic_write(file, header->bytes, header->used, err));
    for (size_t e = 0; e < sizeof element_sizes / sizeof element_sizes[0]; e++)
        for (size_t i = 0; i < count; i++)
            if (stlora_dtype_size(tensors[i].view.dtype) == element_sizes[e])
                STLORA_TRY(stlora_atomic_write(file, tensors[i].view.data, places[i].bytes, err));
    return STLORA_OK;
}

stlora_status stlora_safetensors_write(const char *path, const stlora_named_view *tensors, size_t count,
                                       const stlora_metadata_entry *metadata, size_t metadata_count,
                                       stlora_error *err)
{
    place *places;
    text header = {.path = path, .err = err};
    stlora_atomic_file *file = NULL;
    STLORA_TRY(stlora_alloc(&places, count, sizeof *places, path, err));
    stlora_status status = lay_out(path, tensors, count, places, err);
    if (status == STLORA_OK) status = check_names(path, tensors, count, metadata, metadata_count, err);
    if (status == STLORA_OK) status = put_header(&header, tensors, places, count, metadata, metadata_count);
    if (status == STLORA_OK) status = stlora_atomic_open(&file, path, err);
    if (status == STLORA_OK) {
        status = write_file(file, &header, tensors, places, count, err);
        if (status == STLORA_OK)
            status = stlora_atomic_commit(file, err);
        else
            stlora_atomic_abort(file);
    }
    stlora_free(header.bytes);
    stlora_free(places);
    return status;
}
