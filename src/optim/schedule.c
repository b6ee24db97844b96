/* schedule.c: the learning rate of a step. Pure; no state to save. Test: tests/optim/test_schedule.c. */
#include <math.h>

#include "optim/optimizer.h"

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    if (value < low) return low;
    return value > high ? high : value;
}

double stlora_learning_rate_at(stlora_lr_scheduler scheduler, double learning_rate, int64_t step,
                               int64_t total, int64_t warmup)
{
    const double pi = 3.14159265358979323846;
    const int64_t last = total > 1 ? total : 1;
    const int64_t t = clamp(step, 1, last);
    const int64_t w = warmup > 0 ? warmup : 0;
    if (t <= w) return learning_rate * ((double)(t - 1) / (double)w);
    const double rest = (double)(last - w); /* > 0, since w < t <= last */
    switch (scheduler) {
    case STLORA_LR_LINEAR:
        return learning_rate * ((double)(last - t + 1) / rest);
    case STLORA_LR_COSINE:
        return learning_rate * (0.5 * (1.0 + cos(pi * ((double)(t - 1 - w) / rest))));
    case STLORA_LR_CONSTANT:
        break;
    }
    return learning_rate;
}
