/* atomic_file.h: output that appears whole or not at all.
 *
 * A file is written beside its place under a temporary name, flushed to the disk and renamed over the old one; a
 * directory is filled under a temporary name and renamed into place. Killed at any moment, what the user had is there,
 * or what the user asked for, never something between. Test: tests/base/test_files.c, tests/train (kill -9).
 */
#ifndef STLORA_BASE_ATOMIC_FILE_H
#define STLORA_BASE_ATOMIC_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct stlora_atomic_file stlora_atomic_file; /* opaque */

/* stlora_atomic_open: starts a new file for path. Pair with _commit or _abort. */
STLORA_NODISCARD stlora_status stlora_atomic_open(stlora_atomic_file **out, const char *path,
                                                  stlora_error *err);
/* stlora_atomic_write: appends bytes; errors (disk full) are reported here or at the commit. */
STLORA_NODISCARD stlora_status stlora_atomic_write(stlora_atomic_file *file, const void *bytes,
                                                   size_t size, stlora_error *err);
/* stlora_atomic_commit: flushes, syncs, renames; consumes file whatever happens; on failure nothing is left behind. */
STLORA_NODISCARD stlora_status stlora_atomic_commit(stlora_atomic_file *file, stlora_error *err);
/* stlora_atomic_abort: removes the temporary file; consumes; NULL allowed. */
void stlora_atomic_abort(stlora_atomic_file *file);
/* stlora_atomic_write_all: the three above for bytes that are already in memory. */
STLORA_NODISCARD stlora_status stlora_atomic_write_all(const char *path, const void *bytes,
                                                       size_t size, stlora_error *err);

/* stlora_atomic_dir_begin: makes an empty directory beside `path` under a temporary name, gives its name in *temp (freed
 * with stlora_free). Fill it, then _commit renames it to path (which must not exist) and syncs the parent; _abort removes it. */
STLORA_NODISCARD stlora_status stlora_atomic_dir_begin(char **temp, const char *path, stlora_error *err);
STLORA_NODISCARD stlora_status stlora_atomic_dir_commit(char *temp, const char *path,
                                                        stlora_error *err); /* consumes temp */
void stlora_atomic_dir_abort(char *temp);                                   /* consumes temp */

/* stlora_path_join: creates "dir/name". */
STLORA_NODISCARD stlora_status stlora_path_join(char **out, const char *dir, const char *name,
                                                stlora_error *err);
/* stlora_path_exists: true when something is there (file, directory, dangling link included). */
bool stlora_path_exists(const char *path);
/* stlora_path_is_dir: true when it is a directory (or a link to one). */
bool stlora_path_is_dir(const char *path);
/* stlora_remove_tree: removes a directory made by us (plain files and directories only, links are unlinked, not followed). */
STLORA_NODISCARD stlora_status stlora_remove_tree(const char *path, stlora_error *err);

#endif
