/* error.c: status names and the error sentence. Invariant: a sentence is one line of at most 1023 bytes. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

const char *stlora_status_name(stlora_status status)
{
    switch (status) {
#define STLORA_CASE(name, number, exit_code, text)                                                 \
    case STLORA_##name: return "STLORA_" #name;
        STLORA_STATUSES(STLORA_CASE)
#undef STLORA_CASE
    }
    return "STLORA_E_UNKNOWN";
}

const char *stlora_status_text(stlora_status status)
{
    switch (status) {
#define STLORA_CASE(name, number, exit_code, text)                                                 \
    case STLORA_##name: return text;
        STLORA_STATUSES(STLORA_CASE)
#undef STLORA_CASE
    }
    return "unknown status";
}

int stlora_status_exit_code(stlora_status status)
{
    switch (status) {
#define STLORA_CASE(name, number, exit_code, text)                                                 \
    case STLORA_##name: return exit_code;
        STLORA_STATUSES(STLORA_CASE)
#undef STLORA_CASE
    }
    return 1;
}

stlora_status stlora_fail(stlora_error *err, stlora_status status, const char *format, ...)
{
    if (!err) return status;
    /* The arguments may point into err->text (a sentence that quotes an earlier one), so format aside first. */
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t i = 0;
    for (; text[i]; i++) err->text[i] = (unsigned char)text[i] < 0x20 ? '?' : text[i];
    err->text[i] = '\0';
    err->status = status;
    return status;
}
