/* sampler.h: which example comes when. The whole state is the step: order is a pure function of (seed, epoch).
 * Tests: tests/data/test_sampler.c.
 */
#ifndef STLORA_DATA_SAMPLER_H
#define STLORA_DATA_SAMPLER_H

#include "base/error.h"
#include "stlora/types.h"

typedef struct stlora_sampler stlora_sampler; /* opaque */

typedef struct stlora_sampler_options {
    size_t count;      /* examples; > 0, < 2^32 */
    size_t batch_size; /* examples per optimizer step; > 0 */
    bool shuffle;
    uint64_t seed;
    bool
        wrap; /* max_steps runs: batches run on over the end of an epoch (position = step*batch_size + k, epoch = position / count);
                  otherwise the last batch of an epoch is short */
} stlora_sampler_options;

STLORA_NODISCARD stlora_status stlora_sampler_create(stlora_sampler **out, const stlora_sampler_options *options,
                                                     stlora_error *err);
void stlora_sampler_free(stlora_sampler *sampler);

/* Steps of `epochs` passes without wrap: epochs * ceil(count / batch_size). */
int64_t stlora_sampler_steps(const stlora_sampler *sampler, int64_t epochs);

/* stlora_sampler_batch: indices of optimizer step `step` (from 0) in chosen[batch_size]; *chosen_count <= batch_size.
 * *epoch is the fraction of passes done after this step. Allocates nothing after creation. */
void stlora_sampler_batch(stlora_sampler *sampler, int64_t step, uint32_t *chosen, size_t *chosen_count, double *epoch);

#endif
