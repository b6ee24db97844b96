/* measure.c: see measure.h. */
#include "measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/ceiling.h"
#include "base/memory.h"

static const double LONG_ENOUGH = 1e-4; // seconds

void measure_must(stlora_status status, const stlora_error *err)
{
    if (status == STLORA_OK) return;
    (void)fprintf(stderr, "bench: %s\n", err->text);
    exit(1);
}

void *measure_numbers(stlora_dtype dtype, int64_t count)
{
    stlora_error err = {0};
    void *numbers;
    measure_must(stlora_alloc(&numbers, (size_t)count, stlora_dtype_size(dtype), "numbers", &err), &err);
    uint64_t state = 88172645463325252u;
    for (int64_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        const float value = (float)(state >> 40) * 0x1p-24f - 0.5f;
        if (dtype == STLORA_F32) {
            ((float *)numbers)[i] = value;
        } else {
            ((uint16_t *)numbers)[i] = stlora_f32_to_bf16(value);
        }
    }
    return numbers;
}

double measure_best(int threads, int tries, void (*run)(void *context), void *context)
{
    int repeats = 1;
    double best = HUGE_VAL;
    for (int i = 0; i < tries; i++) {
        const double begin = stlora_ceiling_clock(threads);
        for (int r = 0; r < repeats; r++)
            run(context);
        const double seconds = (stlora_ceiling_clock(threads) - begin) / repeats;
        if (seconds < best) best = seconds;
        if (i == 0 && seconds < LONG_ENOUGH) repeats = (int)(LONG_ENOUGH / (seconds + 1e-7)) + 1;
    }
    return best;
}
