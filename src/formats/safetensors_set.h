/* safetensors_set.h: what the reader's files share; for src/formats/safetensors*.c only. */
#ifndef STLORA_FORMATS_SAFETENSORS_SET_H
#define STLORA_FORMATS_SAFETENSORS_SET_H

#include <jansson.h>

#include "base/file_map.h"
#include "formats/safetensors.h"

enum { STLORA_ST_HEADER_LIMIT = 100000000 }; /* bytes of JSON; the format's own limit */

typedef struct st_file {
    char *path;
    stlora_file_map map;
    json_t *metadata; /* an object of strings, or NULL */
} st_file;

typedef struct st_tensor {
    char *name;
    stlora_view view;
    size_t file;
    size_t begin, end; /* in the file's data section */
} st_tensor;

struct stlora_safetensors {
    st_file *files;
    size_t file_count, file_capacity;
    st_tensor *tensors;
    size_t count, capacity;
};

/* stlora_st_read_header: checks the header of the mapped file number `file` and appends its tensors. What was appended before a
 * failure is freed with the set. */
STLORA_NODISCARD stlora_status stlora_st_read_header(stlora_safetensors *s, size_t file, stlora_error *err);

/* stlora_st_add_file: maps one more file and appends its tensors. */
STLORA_NODISCARD stlora_status stlora_st_add_file(stlora_safetensors *s, const char *path, stlora_error *err);

/* stlora_st_finish: after the last file: sorts the names and hands s out; or, with a status that is not STLORA_OK or a name that
 * is there twice, closes s and returns the failure. */
STLORA_NODISCARD stlora_status stlora_st_finish(stlora_safetensors **out, stlora_safetensors *s,
                                                stlora_status status, stlora_error *err);

/* stlora_st_find: in a finished set; NULL when there is none of that name. */
const st_tensor *stlora_st_find(const stlora_safetensors *s, const char *name);

#endif
