/* threads.h: a team of threads that shares out the tasks of one call at a time. The one way in which this library runs on several cores.
 *
 * Each thread begins with its share of consecutive tasks, the same one in every call of so many, and goes on with what others have left: so
 * calls whose tasks are rows, in order, find most of what they read in the cache of the thread that wrote it. Who does what is never certain, and
 * no result may depend on it. Sums do not cross tasks, but where the backend says so: there, who comes claims what is next in one order, and waits
 * only for what was claimed before it, which somebody is doing or has done.
 *
 * The caller takes part, and waits for nobody who has not begun: a thread that is still asleep, or that the system has put aside for another
 * program, costs nothing but its help. Threads that wait spin for some microseconds and then sleep. Nothing is allocated after creation.
 *
 * After fork the child's copy of a team has no threads but the caller: it still runs every task, and may be freed (unless another thread was
 * running tasks at that moment). Test: tests/base/test_threads.c.
 */
#ifndef STLORA_BASE_THREADS_H
#define STLORA_BASE_THREADS_H

#include <stdint.h>

#include "base/error.h"

enum { STLORA_MAX_THREADS = 1024 };

typedef struct stlora_team stlora_team;

/* stlora_team_create: creates a team of `threads` (1 to STLORA_MAX_THREADS), the caller's own included. Pair with _free.
 * STLORA_E_NOMEM: the system refuses a thread. */
STLORA_NODISCARD stlora_status stlora_team_create(stlora_team **out, int threads, stlora_error *err);

/* stlora_team_free: ends and joins the threads; NULL allowed. */
void stlora_team_free(stlora_team *team);

/* stlora_team_run: runs work(context, task, thread) once for every task in [0, tasks), thread being in [0, threads) and not used
 * by two tasks at a time; returns when all are done. One call at a time, and none from within work. team NULL: the caller alone, as thread 0.
 * nanoseconds: what one thread would need, roughly: small work wakes nobody who sleeps. */
typedef void (*stlora_team_work)(const void *context, int64_t task, int thread);
void stlora_team_run(stlora_team *team, int64_t tasks, double nanoseconds, stlora_team_work work, const void *context);

/* stlora_team_threads: its threads; 1 for NULL. */
int stlora_team_threads(const stlora_team *team);

/* stlora_team_cores: how many threads the process may run at once, 1 to STLORA_MAX_THREADS: its affinity mask. */
int stlora_team_cores(void);

#endif
