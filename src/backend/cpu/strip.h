/* strip.h: strip mining: ops that treat every token by itself, put together, so that each thread takes a strip of the tokens through all of
 * them. Where tensors are small this is what makes a second thread worth having: between ops nobody waits, and what an op leaves lies in the
 * cache of the thread that goes on with it.
 *
 * Between begin and end (backend.h) calls of such ops are noted and not made. They are made, strip by strip, when an op comes that is of another
 * kind, or whose tokens lie otherwise in memory that a noted one touches: every op's rows are compared, so no strip reads what another one
 * writes. The gradients of A and B, which sum over tokens, are noted too, and cut by columns. A strip is a call of the kernel with fewer
 * tokens, a cut is one with fewer columns; backend.h promises that neither changes a bit. Test: tests/backend/test_strip.c.
 */
#ifndef STLORA_BACKEND_CPU_STRIP_H
#define STLORA_BACKEND_CPU_STRIP_H

#include "backend/backend.h"

typedef struct stlora_strip stlora_strip;

/* stlora_strip_create: for a table that has its kernels, threads, team and scratch. With one thread there is nothing to put together: *out is
 * NULL and the table stays as it is. Otherwise its ops, begin and end become those that note, and find the strip in the table's scratch
 * (level.h), where the caller puts it. Pair with _free. STLORA_E_NOMEM. */
STLORA_NODISCARD stlora_status stlora_strip_create(stlora_strip **out, stlora_backend *table, stlora_error *err);

/* stlora_strip_free: NULL allowed. */
void stlora_strip_free(stlora_strip *strip);

/* stlora_strip_bytes: what it holds. */
size_t stlora_strip_bytes(const stlora_strip *strip);

#endif
