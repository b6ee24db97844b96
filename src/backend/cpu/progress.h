/* progress.h: for sums that cross tasks, and so have to be done in one order whoever does them.
 *
 * Tasks that add up in one place are claimed in that order, and wait only for what was claimed before them: somebody is doing it, or has done it,
 * and the first of those that are not done waits for nobody. How far something has come is a number that grows.
 */
#ifndef STLORA_BACKEND_CPU_PROGRESS_H
#define STLORA_BACKEND_CPU_PROGRESS_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic int64_t progress;

/* The next number that nobody has claimed, from 0 on. */
static inline int64_t progress_claim(progress *p)
{
    return atomic_fetch_add(p, 1);
}

/* What was written before is seen by who has waited for it. */
static inline void progress_reach(progress *p, int64_t count)
{
    atomic_store_explicit(p, count, memory_order_release);
}

static inline void progress_wait(progress *p, int64_t count)
{
    while (atomic_load_explicit(p, memory_order_acquire) < count)
        (void)sched_yield();
}

#endif
