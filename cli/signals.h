/* signals.h: SIGINT and SIGTERM. Once: the verb is asked to stop in order. Twice: it stops at once, with exit code 130. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <signal.h>

/* catch_signals: from now on the flag that is returned tells whether to stop. */
const volatile sig_atomic_t *catch_signals(void);

/* catch_interrupt: from now on SIGINT sets the flag that is returned and does no more; the caller clears it. A read that waits for input ends. */
volatile sig_atomic_t *catch_interrupt(void);

#endif
