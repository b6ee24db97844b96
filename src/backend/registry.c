/* registry.c: makes a table of kernels: first the definitions, then what this machine does faster.
 *
 * Invariant: a created table has every op, whatever cpu/ overrides. The environment is read here and nowhere else in the room.
 * Test: tests/backend/test_ref_values.c, test_promises.c.
 */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "base/memory.h"

enum { MOST_THREADS = 1024 };

/* As many as OMP_NUM_THREADS says, otherwise as many as the process may run on: OpenMP asks the affinity mask. */
static int default_threads(void)
{
    const int threads = omp_get_max_threads();
    return threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
}

stlora_status stlora_backend_create(stlora_backend **out, const char *kind, int threads, stlora_error *err)
{
    const bool cpu = strcmp(kind, "cpu") == 0;
    if (!cpu && strcmp(kind, "ref") != 0) {
        return stlora_fail(err, STLORA_E_USAGE, "backend '%s' is unknown; there are cpu and ref", kind);
    }
    if (threads < 0 || threads > MOST_THREADS) {
        return stlora_fail(err, STLORA_E_USAGE, "threads must be 0 (all cores) to %d, not %d", MOST_THREADS, threads);
    }
    stlora_backend *table = NULL;
    STLORA_TRY(stlora_alloc(&table, 1, sizeof *table, "the backend's table", err));
    table->name = "ref";
    table->threads = threads ? threads : default_threads();
    stlora_ref_fill(table);
    if (cpu) {
        const char *level = getenv("STLORA_CPU_LEVEL");
        const stlora_status status = stlora_cpu_override(table, level && *level ? level : NULL, err);
        if (status != STLORA_OK) {
            stlora_free(table);
            return status;
        }
    }
    *out = table;
    return STLORA_OK;
}

void stlora_backend_free(stlora_backend *backend)
{
    if (!backend) return;
    stlora_cpu_release(backend); /* a table that was never overridden is allowed */
    stlora_free(backend);
}

size_t stlora_backend_scratch_bytes(const stlora_backend *backend)
{
    return stlora_cpu_scratch_bytes(backend);
}
