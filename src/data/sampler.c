/* sampler.c: order as a pure function of (seed, epoch), so that a resumed run needs nothing but its step. The permutation
 * of the epoch last asked for is kept; a step within it costs a copy. Tests: tests/data/test_sampler.c. */
#include "data/sampler.h"

#include <assert.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/rng.h"
#include "base/size.h"

struct stlora_sampler {
    stlora_sampler_options options;
    size_t steps_per_epoch; /* without wrap */
    uint32_t *order;        /* [count], NULL when not shuffled */
    size_t epoch;           /* whose order that is; SIZE_MAX = none's yet */
};

stlora_status stlora_sampler_create(stlora_sampler **out, const stlora_sampler_options *options, stlora_error *err)
{
    if (options->count == 0 || options->count > UINT32_MAX)
        return stlora_fail(err, STLORA_E_USAGE, "wanted from 1 to %lu examples to draw batches from, found %zu",
                           (unsigned long)UINT32_MAX, options->count);
    if (options->batch_size == 0) return stlora_fail(err, STLORA_E_USAGE, "the batch size must be at least 1, found 0");
    stlora_sampler *sampler;
    STLORA_TRY(stlora_alloc(&sampler, 1, sizeof *sampler, "sampler", err));
    sampler->options = *options;
    sampler->steps_per_epoch = (options->count - 1) / options->batch_size + 1;
    sampler->epoch = SIZE_MAX;
    if (options->shuffle) {
        stlora_status status =
            stlora_alloc(&sampler->order, options->count, sizeof *sampler->order, "order of the examples", err);
        if (status != STLORA_OK) {
            stlora_free(sampler);
            return status;
        }
    }
    *out = sampler;
    return STLORA_OK;
}

void stlora_sampler_free(stlora_sampler *sampler)
{
    if (!sampler) return;
    stlora_free(sampler->order);
    stlora_free(sampler);
}

int64_t stlora_sampler_steps(const stlora_sampler *sampler, int64_t epochs)
{
    int64_t steps;
    assert(epochs >= 0);
    if (!stlora_i64_mul(epochs, (int64_t)sampler->steps_per_epoch, &steps)) return INT64_MAX;
    return steps;
}

/* The example at place `place` of epoch `epoch`. */
static uint32_t example_at(stlora_sampler *s, size_t epoch, size_t place)
{
    if (!s->options.shuffle) return (uint32_t)place;
    if (s->epoch != epoch) {
        stlora_rng_permutation(s->options.seed, STLORA_RNG_SHUFFLE, epoch, s->order, (uint32_t)s->options.count);
        s->epoch = epoch;
    }
    return s->order[place];
}

void stlora_sampler_batch(stlora_sampler *sampler, int64_t step, uint32_t *chosen, size_t *chosen_count, double *epoch)
{
    const size_t count = sampler->options.count, batch = sampler->options.batch_size;
    size_t at_epoch, place, take = batch; /* the batch's first example: its epoch and place therein */
    assert(step >= 0);
    if (sampler->options.wrap) {
        size_t position;
        bool fits = stlora_size_mul((size_t)step, batch, &position);
        assert(fits); /* 2^64 examples are not seen in a lifetime */
        (void)fits;
        at_epoch = position / count;
        place = position % count;
    } else {
        at_epoch = (size_t)step / sampler->steps_per_epoch;
        place = (size_t)step % sampler->steps_per_epoch * batch;
        if (take > count - place) take = count - place;
    }
    for (size_t k = 0; k < take; k++) {
        if (place == count) {
            place = 0;
            at_epoch++;
        }
        chosen[k] = example_at(sampler, at_epoch, place++);
    }
    *chosen_count = take;
    *epoch = (double)at_epoch + (double)place / (double)count;
}
