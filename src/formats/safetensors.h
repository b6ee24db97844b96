/* safetensors.h: one or several safetensors files as named read-only views, and writing one file.
 *
 * Source: the safetensors format (8-byte little-endian header length, JSON header, data). Every header field is checked
 * before it is used: offsets inside the file, in order of the data without overlap or gap, size = shape x dtype.
 * Tests: tests/formats/test_safetensors.c (every truncation, lying headers).
 */
#ifndef STLORA_FORMATS_SAFETENSORS_H
#define STLORA_FORMATS_SAFETENSORS_H

#include "base/error.h"
#include "tensor/view.h"

typedef struct stlora_safetensors stlora_safetensors; /* opaque; owns the mappings */

/* stlora_safetensors_open: maps one file. Creates; pair with _close. Views live as long as it.
 * STLORA_E_IO: cannot be opened. STLORA_E_FORMAT: file, byte offset or tensor, wanted, found.
 * STLORA_E_UNSUPPORTED: a dtype that the format knows and we do not, more than STLORA_MAX_DIMS dimensions, or F32, F16 or BF16
 * elements at an address that is no multiple of their size (other dtypes may lie anywhere: copy them out). */
STLORA_NODISCARD stlora_status stlora_safetensors_open(stlora_safetensors **out, const char *path,
                                                       stlora_error *err);

/* stlora_safetensors_open_model: a model directory: model.safetensors (which wins, as in Transformers), or the shards of
 * model.safetensors.index.json, or the only *.safetensors there. A shard that lacks a tensor the index promises, or a name in two
 * shards, is STLORA_E_FORMAT; PyTorch's own weight files alone are STLORA_E_UNSUPPORTED. */
STLORA_NODISCARD stlora_status stlora_safetensors_open_model(stlora_safetensors **out, const char *dir,
                                                             stlora_error *err);
void stlora_safetensors_close(stlora_safetensors *files);

size_t stlora_safetensors_count(const stlora_safetensors *files);
/* Name and view of tensor i in [0, count); names in ascending byte order; borrowed from files. */
const char *stlora_safetensors_name(const stlora_safetensors *files, size_t i);
const stlora_view *stlora_safetensors_at(const stlora_safetensors *files, size_t i);
/* stlora_safetensors_find: view by name or NULL. */
const stlora_view *stlora_safetensors_find(const stlora_safetensors *files, const char *name);
/* The path of the file that tensor i lies in, for sentences. */
const char *stlora_safetensors_path(const stlora_safetensors *files, size_t i);
/* Value of a __metadata__ entry (of the first file that has it), or NULL. */
const char *stlora_safetensors_metadata(const stlora_safetensors *files, const char *key);
/* Bytes of all mapped files together. */
size_t stlora_safetensors_bytes(const stlora_safetensors *files);

typedef struct stlora_named_view {
    const char *name;
    stlora_view view;
} stlora_named_view;

typedef struct stlora_metadata_entry {
    const char *key, *value;
} stlora_metadata_entry;

/* stlora_safetensors_write: writes the tensors to path atomically. The header lists them in the order given, metadata first
 * ({"format":"pt"} is the caller's to give), and is padded with spaces to a multiple of 8; the data lie in the order given
 * too, but larger elements before smaller ones, so that all are aligned. Deterministic: same input, same bytes.
 * STLORA_E_USAGE: a name twice, "__metadata__" as a name, text that is no UTF-8, a shape out of range. */
STLORA_NODISCARD stlora_status stlora_safetensors_write(const char *path, const stlora_named_view *tensors,
                                                        size_t count,
                                                        const stlora_metadata_entry *metadata,
                                                        size_t metadata_count, stlora_error *err);

#endif
