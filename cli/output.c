/* output.c: see output.h. stdout is checked at every write and at the end: a full disk never looks like success. */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "progress.h"

void guard_streams(void)
{
    /* Each is opened the wrong way round: reading a closed stdin, or writing to a closed stdout, stays an error. The open
     * takes the lowest free number, which is the one that was just found closed. */
    static const int modes[3] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", modes[fd]) != fd) _exit(1);
    (void)signal(SIGPIPE, SIG_IGN);
}

void complain(const char *format, ...)
{
    va_list args;
    progress_clear();
    va_start(args, format);
    (void)fputs("stable-lora: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

int complain_of(stlora_status status, const stlora_error *err)
{
    complain("%s", err->text[0] ? err->text : stlora_status_text(status));
    return stlora_status_exit_code(status);
}

stlora_status refuse(stlora_error *err, stlora_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    err->status = status;
    return status;
}

static void write_log(void *context, stlora_log_level level, const char *line)
{
    (void)context;
    complain("%s%s", level == STLORA_LOG_WARNING ? "warning: " : "", line);
}

const stlora_log_sink stderr_log = {.write = write_log};

static stlora_status stdout_failed(stlora_error *err)
{
    return refuse(err, STLORA_E_IO, "standard output: %s", strerror(errno));
}

stlora_status put(const char *bytes, size_t size, stlora_error *err)
{
    errno = EIO;
    return fwrite(bytes, 1, size, stdout) == size ? STLORA_OK : stdout_failed(err);
}

stlora_status put_flush(stlora_error *err)
{
    errno = EIO;
    return fflush(stdout) == 0 && !ferror(stdout) ? STLORA_OK : stdout_failed(err);
}

stlora_status put_format(stlora_error *err, const char *format, ...)
{
    va_list args;
    errno = EIO;
    va_start(args, format);
    int written = vprintf(format, args);
    va_end(args);
    return written >= 0 ? STLORA_OK : stdout_failed(err);
}

stlora_status put_json(json_t *json, size_t indent, stlora_error *err)
{
    size_t flags = JSON_ENCODE_ANY | (indent ? JSON_INDENT(indent) : JSON_COMPACT);
    char *text = json_dumps(json, flags);
    json_decref(json);
    if (!text) return refuse(err, STLORA_E_NOMEM, "no memory for the result");
    stlora_status status = put(text, strlen(text), err);
    free(text);
    return status == STLORA_OK ? put("\n", 1, err) : status;
}

json_t *json_finite(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}
