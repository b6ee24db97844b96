/* log.c: formats a line for the caller's sink; longer lines are cut. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void stlora_log(const stlora_log_sink *sink, stlora_log_level level, const char *format, ...)
{
    if (!sink || !sink->write) return;
    char line[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    sink->write(sink->context, level, line);
}
