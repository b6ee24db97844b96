/* parallel.c: the only parallel region of the fast table. Kernels are compiled for their own instruction set; this file
 * is not, so that compilers which outline a region never mix the two. */
#include "backend/cpu/level.h"

#include <omp.h>
#include <stdatomic.h>

/* Entering and leaving a region costs a few microseconds, more where other programs want the cores; work of fewer nanoseconds than this
 * is done sooner by one thread. */
#define WORTH_A_REGION 30000.0

void stlora_cpu_parallel(const stlora_backend *table, int64_t tasks, double nanoseconds, stlora_cpu_work work,
                         const void *context)
{
    int threads = table->threads;
    if (threads > tasks) threads = (int)tasks;
    if (threads <= 1 || nanoseconds < WORTH_A_REGION) {
        for (int64_t task = 0; task < tasks; task++)
            work(context, task, 0);
        return;
    }
    _Atomic int64_t next = 0;
#pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num();
        for (;;) {
            int64_t task = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed);
            if (task >= tasks) break;
            work(context, task, thread);
        }
    }
}
