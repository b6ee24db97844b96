/* inspect_model.h: what a model directory holds, and what training it would take. Test: tests/cli/test_inspect.py. */
#ifndef STLORA_API_INSPECT_MODEL_H
#define STLORA_API_INSPECT_MODEL_H

#include <jansson.h>

#include "base/error.h"

/* stlora_inspect_model: adds to the object: family, sizes, parameters, dtype, positions, linear maps of the first block, and of an all-linear adapter
 * of rank 8 its parameters, its file's bytes and, for rows of 512 and of 2048 tokens (as far as the model's positions go), eight a step, the memory beside the mapped file as a run would
 * plan it, the least that --max-memory could be, and operations per token. Nothing is read of the weights. The errors of opening a model. */
STLORA_NODISCARD stlora_status stlora_inspect_model(const char *path, json_t *out, stlora_error *err);

#endif
