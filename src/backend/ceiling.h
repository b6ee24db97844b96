/* ceiling.h: what this machine can do at most, measured now, so that every rate can also be said as a share: multiply-adds in independent
 * chains of registers, and reading memory. A multiply-add counts as two operations.
 *
 * The machine's figures, whatever level the kernels run at. Programs beside this one only lower a reading, so take the best of several,
 * in the same run as what is compared. Test: tests/backend/test_profile.c.
 */
#ifndef STLORA_BACKEND_CEILING_H
#define STLORA_BACKEND_CEILING_H

#include <stddef.h>

#include "backend/backend.h"

typedef enum stlora_ceiling_kind {
    STLORA_CEILING_FP32,
    STLORA_CEILING_BF16, /* dot products of pairs in vector registers */
    STLORA_CEILING_TILES /* bf16 in tile registers, loaded from the first cache: they cannot multiply without */
} stlora_ceiling_kind;

/* stlora_ceiling_of: what a table's products of such activations, by weights of the same dtype, run against. */
stlora_ceiling_kind stlora_ceiling_of(const stlora_backend *table, stlora_dtype act);

/* stlora_ceiling_clock: seconds of a clock that only goes forward: with one thread the thread's own time on a processor, which other
 * programs on the machine do not stretch (though they still dirty its caches); with several the time on the wall. */
double stlora_ceiling_clock(int threads);

/* stlora_ceiling_flops: GFLOP/s of a team's threads together (NULL: of one), best of `tries` of about two milliseconds; 0 where the processor has
 * no such instruction. */
double stlora_ceiling_flops(stlora_ceiling_kind kind, stlora_team *team, int tries);

/* stlora_ceiling_read: GB/s of a team's threads that each read their part of bytes[size] once, best of `tries`. What is larger than the
 * caches tells of memory, what is smaller of them. bytes is aligned to 8. */
double stlora_ceiling_read(const void *bytes, size_t size, stlora_team *team, int tries);

#endif
