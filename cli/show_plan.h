/* show_plan.h: what a run will take, for people and as JSON. */
#ifndef CLI_SHOW_PLAN_H
#define CLI_SHOW_PLAN_H

#include <jansson.h>
#include <stdio.h>

#include "stlora/train.h"

/* show_plan: a table of some lines. STLORA_E_IO when the stream takes no more. */
STLORA_NODISCARD stlora_status show_plan(const stlora_plan *plan, FILE *stream, stlora_error *err);

/* plan_json: every field under its own name. New reference. */
json_t *plan_json(const stlora_plan *plan);

/* format_bytes: "512 B", "1.5 MiB", "12.0 GiB" into buffer; returns it. */
const char *format_bytes(int64_t bytes, char *buffer, size_t size);

#endif
