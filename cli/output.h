/* output.h: the two streams: results on stdout, where a failed write is an error, and sentences on stderr. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <jansson.h>

#include "stlora/log.h"
#include "stlora/status.h"

/* guard_streams: gives closed standard descriptors something harmless, so that no file of ours becomes stdout, and makes a
 * closed pipe an error instead of a silent death. Call first. */
void guard_streams(void);

/* complain: "stable-lora: <sentence>" on stderr, below a live progress line if there is one. */
void complain(const char *format, ...) STLORA_PRINTF(1, 2);

/* complain_of: the sentence of err, or the status' own words where it has none; gives the exit code. */
int complain_of(stlora_status status, const stlora_error *err);

/* refuse: fills err with the sentence and gives status back. */
stlora_status refuse(stlora_error *err, stlora_status status, const char *format, ...)
    STLORA_PRINTF(3, 4);

/* A sink for the library's sentences: complain, with "warning: " where it is one. */
extern const stlora_log_sink stderr_log;

/* put: bytes to stdout. put_flush: until they have arrived. STLORA_E_IO with the system's reason. */
STLORA_NODISCARD stlora_status put(const char *bytes, size_t size, stlora_error *err);
STLORA_NODISCARD stlora_status put_flush(stlora_error *err);
/* put_format: printf to stdout. */
STLORA_NODISCARD stlora_status put_format(stlora_error *err, const char *format, ...)
    STLORA_PRINTF(2, 3);
/* put_json: one document and a line break; consumes the reference. indent 0 = one line. */
STLORA_NODISCARD stlora_status put_json(json_t *json, size_t indent, stlora_error *err);

/* json_finite: a real, or null where the number is not finite (JSON has no word for it). New reference. */
json_t *json_finite(double number);

#endif
