/* cpu.h: the fast table. What registry.c calls; the kernels behind it are in the other files of this folder.
 * Test: tests/backend/test_cpu_product.c, tests/backend/test_cpu_vs_ref.c. */
#ifndef STLORA_BACKEND_CPU_CPU_H
#define STLORA_BACKEND_CPU_CPU_H

#include "backend/backend.h"

/* stlora_cpu_override: replaces in a filled table (ref's) the kernels that this folder has, begin and end, sets name, fast_bf16 and
 * scratch (packing panels, strips) and team, both for table->threads threads, which must be set and stay. level NULL = the best that this
 * processor and its operating system allow; else "portable", "avx2", "avx512", "avx512-bf16" or "avx512-amx".
 * STLORA_E_USAGE: no such level, or this machine (or build) lacks it. STLORA_E_NOMEM. The table is untouched on failure.
 * Pair with stlora_cpu_release. */
STLORA_NODISCARD stlora_status stlora_cpu_override(stlora_backend *table, const char *level, stlora_error *err);

/* stlora_cpu_has_tiles: are there tile registers that multiply bf16, and may this process use them? Asks the system for them. */
bool stlora_cpu_has_tiles(void);

/* stlora_cpu_release: frees scratch and team; a table without them is allowed. */
void stlora_cpu_release(stlora_backend *table);

/* stlora_cpu_scratch_bytes: bytes of scratch that the table holds; 0 for a table that was never overridden. */
size_t stlora_cpu_scratch_bytes(const stlora_backend *table);

#endif
