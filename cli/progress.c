/* progress.c: see progress.h. The one live line of the process is the one piece of state here. */
#include "progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static const double TERMINAL_INTERVAL = 0.1, PLAIN_INTERVAL = 5; // seconds

static struct {
    bool live;         // a line without line break stands on the terminal
    double shown_at;   // seconds of the monotonic clock; 0 = never
} state;

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Bytes of text that fit into `columns`; a UTF-8 character is never cut and counts as one column. */
static size_t fitting(const char *text, size_t columns)
{
    size_t i = 0;
    for (; text[i]; i++)
        if (((unsigned char)text[i] & 0xC0) != 0x80 && columns-- == 0) break;
    return i;
}

void progress_show(bool last, const char *format, ...)
{
    bool terminal = isatty(STDERR_FILENO) == 1;
    double at = now();
    if (!last && state.shown_at > 0 &&
        at - state.shown_at < (terminal ? TERMINAL_INTERVAL : PLAIN_INTERVAL))
        return;
    state.shown_at = at;

    char line[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (!terminal) {
        (void)fprintf(stderr, "%s\n", line);
        return;
    }
    struct winsize window;
    size_t columns = 80;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1) columns = window.ws_col;
    line[fitting(line, columns - 1)] = '\0';
    (void)fprintf(stderr, "\r%s\033[K", line);
    (void)fflush(stderr);
    state.live = true;
}

void progress_clear(void)
{
    if (state.live) (void)fputs("\r\033[K", stderr);
    state.live = false;
}

void progress_end(void)
{
    if (state.live) (void)fputc('\n', stderr);
    state.live = false;
    state.shown_at = 0;
}

const char *format_duration(double seconds, char *buffer, size_t size)
{
    if (!(seconds >= 0) || seconds > 1e9)
        (void)snprintf(buffer, size, "an unknown time");
    else if (seconds < 9.95)
        (void)snprintf(buffer, size, "%.1f s", seconds);
    else if (seconds < 59.5)
        (void)snprintf(buffer, size, "%.0f s", seconds);
    else if (seconds < 3599.5) {
        long whole = lround(seconds);
        (void)snprintf(buffer, size, "%ld min %02ld s", whole / 60, whole % 60);
    } else {
        long minutes = lround(seconds / 60);
        (void)snprintf(buffer, size, "%ld h %02ld min", minutes / 60, minutes % 60);
    }
    return buffer;
}
