/* safetensors.c: a set of mapped files and the tensors in them, by name. Not here: the check of a header
 * (safetensors_header.c), which files a model has (safetensors_model.c), writing (safetensors_write.c).
 * Invariant: names are unique and ascending.
 */
#include "formats/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "formats/safetensors_set.h"

stlora_status stlora_st_add_file(stlora_safetensors *s, const char *path, stlora_error *err)
{
    STLORA_TRY(stlora_grow(&s->files, &s->file_capacity, s->file_count + 1, sizeof *s->files, path, err));
    st_file *file = &s->files[s->file_count];
    *file = (st_file){0};
    STLORA_TRY(stlora_strdup_n(&file->path, path, strlen(path), err));
    s->file_count++; /* from here on _close frees it */
    STLORA_TRY(stlora_file_map_open(&file->map, path, err));
    return stlora_st_read_header(s, s->file_count - 1, err);
}

static int by_name(const void *a, const void *b)
{
    const st_tensor *left = a, *right = b;
    return strcmp(left->name, right->name);
}

static stlora_status sort_names(stlora_safetensors *s, stlora_error *err)
{
    if (s->count) qsort(s->tensors, s->count, sizeof *s->tensors, by_name);
    for (size_t i = 1; i < s->count; i++)
        if (strcmp(s->tensors[i - 1].name, s->tensors[i].name) == 0)
            return stlora_fail(err, STLORA_E_FORMAT, "%s: tensor \"%s\" is in %s too",
                               stlora_safetensors_path(s, i), s->tensors[i].name,
                               stlora_safetensors_path(s, i - 1));
    return STLORA_OK;
}

void stlora_safetensors_close(stlora_safetensors *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->count; i++) stlora_free(s->tensors[i].name);
    for (size_t i = 0; i < s->file_count; i++) {
        json_decref(s->files[i].metadata);
        stlora_file_map_close(&s->files[i].map);
        stlora_free(s->files[i].path);
    }
    stlora_free(s->tensors);
    stlora_free(s->files);
    stlora_free(s);
}

stlora_status stlora_st_finish(stlora_safetensors **out, stlora_safetensors *s, stlora_status status,
                            stlora_error *err)
{
    if (status == STLORA_OK) status = sort_names(s, err);
    if (status == STLORA_OK)
        *out = s;
    else
        stlora_safetensors_close(s);
    return status;
}

stlora_status stlora_safetensors_open(stlora_safetensors **out, const char *path, stlora_error *err)
{
    stlora_safetensors *s;
    STLORA_TRY(stlora_alloc(&s, 1, sizeof *s, path, err));
    return stlora_st_finish(out, s, stlora_st_add_file(s, path, err), err);
}

const st_tensor *stlora_st_find(const stlora_safetensors *s, const char *name)
{
    st_tensor key = {0};
    union {
        const char *given;
        char *searched;
    } view = {.given = name};
    key.name = view.searched;
    return s->count ? bsearch(&key, s->tensors, s->count, sizeof key, by_name) : NULL;
}

size_t stlora_safetensors_count(const stlora_safetensors *s)
{
    return s->count;
}

const char *stlora_safetensors_name(const stlora_safetensors *s, size_t i)
{
    return s->tensors[i].name;
}

const stlora_view *stlora_safetensors_at(const stlora_safetensors *s, size_t i)
{
    return &s->tensors[i].view;
}

const stlora_view *stlora_safetensors_find(const stlora_safetensors *s, const char *name)
{
    const st_tensor *t = stlora_st_find(s, name);
    return t ? &t->view : NULL;
}

const char *stlora_safetensors_path(const stlora_safetensors *s, size_t i)
{
    return s->files[s->tensors[i].file].path;
}

const char *stlora_safetensors_metadata(const stlora_safetensors *s, const char *key)
{
    for (size_t i = 0; i < s->file_count; i++) {
        const char *value = json_string_value(json_object_get(s->files[i].metadata, key));
        if (value) return value;
    }
    return NULL;
}

size_t stlora_safetensors_bytes(const stlora_safetensors *s)
{
    size_t bytes = 0;
    for (size_t i = 0; i < s->file_count; i++) bytes += s->files[i].map.size;
    return bytes;
}
