/* file_map.h: a file's bytes, read-only, in place. Test: tests/base/test_files.c. */
#ifndef STLORA_BASE_FILE_MAP_H
#define STLORA_BASE_FILE_MAP_H

#include <stddef.h>

#include "base/error.h"

typedef struct stlora_file_map {
    const unsigned char *bytes; /* page-aligned; NULL when the file is empty */
    size_t size;
} stlora_file_map;

/* stlora_file_map_open: maps a regular file read-only (private). Creates; pair with _close.
 * STLORA_E_IO when it cannot be opened, is no regular file, or cannot be mapped; STLORA_E_NOMEM when the system says so. */
STLORA_NODISCARD stlora_status stlora_file_map_open(stlora_file_map *out, const char *path,
                                                    stlora_error *err);

/* stlora_file_map_close: unmaps; every view into it ends here. A zeroed map is allowed. */
void stlora_file_map_close(stlora_file_map *map);

/* stlora_file_read: creates a NUL-terminated copy of a whole file (or of a pipe: anything that can be read), at most
 * `limit` bytes. *out is freed with stlora_free. STLORA_E_IO, or STLORA_E_FORMAT when longer than limit. */
STLORA_NODISCARD stlora_status stlora_file_read(char **out, size_t *size, const char *path,
                                                size_t limit, stlora_error *err);

#endif
