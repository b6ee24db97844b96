/* log.h: where sentences for the user go. The library owns no stream: the caller gives a sink. */
#ifndef STLORA_BASE_LOG_H
#define STLORA_BASE_LOG_H

#include "stlora/status.h"
#include "stlora/log.h"

/* stlora_log: formats one line and hands it to the sink; a sink without function swallows it. */
void stlora_log(const stlora_log_sink *sink, stlora_log_level level, const char *format, ...)
    STLORA_PRINTF(3, 4);

#endif
