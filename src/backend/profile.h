/* profile.h: a table of kernels that stands in front of another one and counts: how often each op ran with which shape, how long, how
 * many operations that is and how many bytes it must move at least. Results are the other table's, bit for bit.
 *
 * Counted operations: a multiply-add is two; exp, tanh, division and root are one each. Counted bytes: every operand once (weights, x, y;
 * what is added to, twice), as if the caches held the rest. An op that is not wrapped here still runs, and is not counted.
 * Test: tests/backend/test_profile.c.
 */
#ifndef STLORA_BACKEND_PROFILE_H
#define STLORA_BACKEND_PROFILE_H

#include "backend/backend.h"

typedef struct stlora_op_profile stlora_op_profile; /* opaque; one thread calls its ops at a time */

/* One op with one shape. Products are named by how the weights lie: "x W^T" reads OUT_IN (forward of a Linear), "x W" IN_OUT (its
 * dX, and the forward of a Conv1D). */
typedef struct stlora_op_line {
    char op[48]; /* "product x W^T 896->4864" */
    int64_t calls;
    double seconds, flops, bytes;
} stlora_op_line;

/* stlora_op_profile_create: counts what goes through it to `inner`, which is borrowed. Nothing is counted before _record.
 * Creates; pair with _free. */
STLORA_NODISCARD stlora_status stlora_op_profile_create(stlora_op_profile **out, const stlora_backend *inner,
                                                        stlora_error *err);
void stlora_op_profile_free(stlora_op_profile *profile);

/* stlora_op_profile_table: the table to call in inner's place; borrowed until _free. */
const stlora_backend *stlora_op_profile_table(const stlora_op_profile *profile);

/* stlora_op_profile_record: from now on calls are counted, or no longer. */
void stlora_op_profile_record(stlora_op_profile *profile, bool on);

/* stlora_op_profile_lines: what has been counted, in order of first appearance; borrowed until the next counted call. */
const stlora_op_line *stlora_op_profile_lines(const stlora_op_profile *profile, size_t *count);

#endif
