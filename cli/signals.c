/* signals.c: see signals.h. Files are written whole or not at all, so that leaving at any moment is safe.
 * Test: tests/cli/test_train.py (interrupted runs). */
#include "signals.h"

#include <errno.h>
#include <unistd.h>


static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    int saved = errno;
    static const char sentence[] = "\nstable-lora: stopping in order; once more stops at once\n";
    (void)number;
    if (stop) _exit(130);
    stop = 1;
    ssize_t written = write(STDERR_FILENO, sentence, sizeof sentence - 1);
    (void)written;
    errno = saved;
}

const volatile sig_atomic_t *catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    return &stop;
}

static void on_interrupt(int number)
{
    (void)number;
    stop = 1;
}

volatile sig_atomic_t *catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    return &stop;
}
