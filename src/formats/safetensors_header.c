/* safetensors_header.c: one file's header, every field checked before it is used. Not here: where files come from.
 *
 * Invariant: a view that leaves here lies inside its mapping, and shape x dtype is its size.
 * Test: tests/formats/test_safetensors.c (every truncation, lying headers, random damage).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/size.h"
#include "formats/safetensors_set.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#    error "safetensors files are little-endian and read in place"
#endif

enum { LENGTH_BYTES = 8 };
static const uint64_t header_limit = STLORA_ST_HEADER_LIMIT;

/* Where a header is read from: for the sentences, and for the checks against the file's size. */
typedef struct header {
    const char *path;
    const unsigned char *data; /* the data section */
    size_t data_at, data_size;  /* where it begins in the file, and its bytes */
    size_t file;
} header;

static stlora_status check_dtype(const header *h, const char *name, const json_t *value,
                                 stlora_dtype *out, stlora_error *err)
{
    /* Known to the format, but no engine here reads them. */
    static const char *const foreign[] = {"F4",      "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ",
                                          "F8_E5M2FNUZ", "U16",     "U32",     "U64",     "C64"};
    const char *text = json_string_value(value);
    if (!text)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: tensor \"%s\": dtype must be a string, found %s",
                           h->path, name, stlora_json_type(value));
    if (strlen(text) == json_string_length(value)) {
        if (stlora_dtype_from_name(text, out)) return STLORA_OK;
        for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
            if (strcmp(text, foreign[i]) == 0)
                return stlora_fail(err, STLORA_E_UNSUPPORTED, "%s: tensor \"%s\": dtype %s is not supported",
                                   h->path, name, text);
    }
    return stlora_fail(err, STLORA_E_FORMAT, "%s: tensor \"%s\": dtype must be one of the format's, found \"%s\"",
                       h->path, name, text);
}

static stlora_status check_shape(const header *h, const char *name, const json_t *value,
                                 stlora_view *view, int64_t *count, stlora_error *err)
{
    if (!json_is_array(value))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: tensor \"%s\": shape must be an array, found %s",
                           h->path, name, stlora_json_type(value));
    const size_t dims = json_array_size(value);
    if (dims > STLORA_MAX_DIMS)
        return stlora_fail(err, STLORA_E_UNSUPPORTED,
                           "%s: tensor \"%s\": at most %d dimensions are supported, found %zu", h->path, name,
                           STLORA_MAX_DIMS, dims);
    view->ndim = (int)dims;
    *count = 1;
    for (size_t i = 0; i < dims; i++) {
        const json_t *dim = json_array_get(value, i);
        if (!json_is_integer(dim))
            return stlora_fail(err, STLORA_E_FORMAT,
                               "%s: tensor \"%s\": shape[%zu] must be an integer of at least 0, found %s", h->path,
                               name, i, stlora_json_type(dim));
        const int64_t size = json_integer_value(dim);
        if (size < 0)
            return stlora_fail(err, STLORA_E_FORMAT,
                               "%s: tensor \"%s\": shape[%zu] must be at least 0, found %" PRId64, h->path, name,
                               i, size);
        view->shape[i] = size;
        if (!stlora_i64_mul(*count, size, count))
            return stlora_fail(err, STLORA_E_FORMAT,
                               "%s: tensor \"%s\": shape has more elements than a 64-bit number can count",
                               h->path, name);
    }
    return STLORA_OK;
}

static stlora_status check_offset(const header *h, const char *name, const json_t *value,
                                  const char *which, size_t *out, stlora_error *err)
{
    if (!json_is_integer(value))
        return stlora_fail(err, STLORA_E_FORMAT,
                           "%s: tensor \"%s\": %s of data_offsets must be an integer, found %s", h->path, name,
                           which, stlora_json_type(value));
    const int64_t offset = json_integer_value(value);
    if (offset < 0 || (uint64_t)offset > h->data_size)
        return stlora_fail(err, STLORA_E_FORMAT,
                           "%s: tensor \"%s\": %s of data_offsets must lie in the %zu bytes of data, found %" PRId64,
                           h->path, name, which, h->data_size, offset);
    *out = (size_t)offset;
    return STLORA_OK;
}

static stlora_status check_place(const header *h, const json_t *value, int64_t count, st_tensor *t,
                                 stlora_error *err)
{
    if (!json_is_array(value) || json_array_size(value) != 2)
        return stlora_fail(err, STLORA_E_FORMAT,
                           "%s: tensor \"%s\": data_offsets must be an array of two integers, found %s of %zu",
                           h->path, t->name, stlora_json_type(value), json_array_size(value));
    STLORA_TRY(check_offset(h, t->name, json_array_get(value, 0), "begin", &t->begin, err));
    STLORA_TRY(check_offset(h, t->name, json_array_get(value, 1), "end", &t->end, err));
    if (t->begin > t->end)
        return stlora_fail(err, STLORA_E_FORMAT,
                           "%s: tensor \"%s\": data_offsets must not end before they begin, found [%zu, %zu]",
                           h->path, t->name, t->begin, t->end);
    const size_t element = stlora_dtype_size(t->view.dtype);
    size_t wanted;
    if ((uint64_t)count > SIZE_MAX || !stlora_size_mul((size_t)count, element, &wanted))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: tensor \"%s\": shape has more bytes than can be addressed",
                           h->path, t->name);
    if (wanted != t->end - t->begin)
        return stlora_fail(err, STLORA_E_FORMAT,
                           "%s: tensor \"%s\": shape and dtype %s want %zu bytes, data_offsets give %zu", h->path,
                           t->name, stlora_dtype_name(t->view.dtype), wanted, t->end - t->begin);
    return STLORA_OK;
}

/* The matrices that the engine multiplies by in place must be aligned to their elements; others are copied out. */
static stlora_status check_alignment(const header *h, const st_tensor *t, stlora_error *err)
{
    const stlora_dtype dtype = t->view.dtype;
    const size_t element = stlora_dtype_size(dtype);
    if (dtype != STLORA_F32 && dtype != STLORA_F16 && dtype != STLORA_BF16) return STLORA_OK;
    if (t->begin == t->end || (uintptr_t)t->view.data % element == 0) return STLORA_OK;
    return stlora_fail(err, STLORA_E_UNSUPPORTED,
                       "%s: tensor \"%s\": %s elements must begin at a multiple of %zu bytes, found byte %zu; write the "
                       "file anew to have them aligned",
                       h->path, t->name, stlora_dtype_name(dtype), element, h->data_at + t->begin);
}

static stlora_status read_tensor(const header *h, const json_t *value, st_tensor *t, stlora_error *err)
{
    if (!json_is_object(value))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: tensor \"%s\" must be an object, found %s", h->path,
                           t->name, stlora_json_type(value));
    int64_t count = 0;
    STLORA_TRY(check_dtype(h, t->name, json_object_get(value, "dtype"), &t->view.dtype, err));
    STLORA_TRY(check_shape(h, t->name, json_object_get(value, "shape"), &t->view, &count, err));
    STLORA_TRY(check_place(h, json_object_get(value, "data_offsets"), count, t, err));
    t->view.data = h->data + t->begin;
    t->file = h->file;
    return check_alignment(h, t, err);
}

static stlora_status read_metadata(const header *h, json_t *value, json_t **out, stlora_error *err)
{
    if (!json_is_object(value))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: __metadata__ must be an object, found %s", h->path,
                           stlora_json_type(value));
    const char *key;
    json_t *entry;
    json_object_foreach(value, key, entry)
    {
        if (!json_is_string(entry))
            return stlora_fail(err, STLORA_E_FORMAT, "%s: __metadata__ \"%s\" must be a string, found %s", h->path,
                               key, stlora_json_type(entry));
        if (strlen(json_string_value(entry)) != json_string_length(entry))
            return stlora_fail(err, STLORA_E_UNSUPPORTED,
                               "%s: __metadata__ \"%s\" holds a NUL character, which is not supported", h->path, key);
    }
    *out = json_incref(value);
    return STLORA_OK;
}

static int by_place(const void *a, const void *b)
{
    const st_tensor *left = a, *right = b;
    if (left->begin != right->begin) return left->begin < right->begin ? -1 : 1;
    return left->end == right->end ? 0 : left->end < right->end ? -1 : 1;
}

/* The format's rule: the tensors fill the data section, one after the other. */
static stlora_status check_order(const header *h, st_tensor *tensors, size_t count, stlora_error *err)
{
    if (count) qsort(tensors, count, sizeof *tensors, by_place);
    size_t end = 0;
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].begin != end)
            return stlora_fail(err, STLORA_E_FORMAT,
                               "%s: tensor \"%s\": data must begin at byte %zu where the tensor before it ends, found "
                               "%zu: %s",
                               h->path, tensors[i].name, end, tensors[i].begin,
                               tensors[i].begin < end ? "they overlap" : "there is a gap");
        end = tensors[i].end;
    }
    if (end != h->data_size)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: the tensors must fill the %zu bytes of data, found %zu",
                           h->path, h->data_size, end);
    return STLORA_OK;
}

static stlora_status read_members(stlora_safetensors *s, const header *h, json_t *root,
                                  stlora_error *err)
{
    const size_t first = s->count;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        if (strcmp(key, "__metadata__") == 0) {
            STLORA_TRY(read_metadata(h, value, &s->files[h->file].metadata, err));
            continue;
        }
        STLORA_TRY(stlora_grow(&s->tensors, &s->capacity, s->count + 1, sizeof *s->tensors, h->path, err));
        st_tensor *t = &s->tensors[s->count];
        *t = (st_tensor){0};
        STLORA_TRY(stlora_strdup_n(&t->name, key, strlen(key), err));
        s->count++; /* from here on _close frees the name */
        STLORA_TRY(read_tensor(h, value, t, err));
    }
    return s->count == first ? check_order(h, NULL, 0, err)
                             : check_order(h, s->tensors + first, s->count - first, err);
}

stlora_status stlora_st_read_header(stlora_safetensors *s, size_t file, stlora_error *err)
{
    const st_file *f = &s->files[file];
    if (f->map.size < LENGTH_BYTES)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: must have 8 bytes of header length, found %zu bytes",
                           f->path, f->map.size);
    uint64_t length = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) length = length << 8 | f->map.bytes[i];
    if (length > header_limit)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: header length must be at most %" PRIu64 ", found %" PRIu64,
                           f->path, header_limit, length);
    if (length > f->map.size - LENGTH_BYTES)
        return stlora_fail(err, STLORA_E_FORMAT,
                           "%s: header length must be at most the %zu bytes that follow it, found %" PRIu64,
                           f->path, f->map.size - LENGTH_BYTES, length);
    const char *text = (const char *)f->map.bytes + LENGTH_BYTES;
    if (length == 0 || text[0] != '{')
        return stlora_fail(err, STLORA_E_FORMAT, "%s: header must begin with '{' at byte 8", f->path);
    const header h = {.path = f->path,
                      .data = f->map.bytes + LENGTH_BYTES + length,
                      .data_at = LENGTH_BYTES + (size_t)length,
                      .data_size = f->map.size - LENGTH_BYTES - (size_t)length,
                      .file = file};
    char *where;
    const size_t path_length = strlen(f->path);
    STLORA_TRY(stlora_alloc(&where, path_length + sizeof " header", 1, f->path, err));
    memcpy(where, f->path, path_length);
    memcpy(where + path_length, " header", sizeof " header");
    json_t *root;
    stlora_status status = stlora_json_parse(&root, text, (size_t)length, where, err);
    stlora_free(where);
    STLORA_TRY(status);
    status = read_members(s, &h, root, err);
    json_decref(root);
    return status;
}
