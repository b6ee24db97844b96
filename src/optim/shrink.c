#include "optim/shrink.h"

#include <float.h>

bool stlora_shrink_continues(double norm_a, double norm_b, int64_t n, int64_t m,
                             stlora_shrink_tie tie)
{
    const float a = (float)norm_a;
    const float b = (float)norm_b;
    const float threshold = (float)((double)n / (double)m * (double)b);
    if (a <= 0.0f) return false; /* nothing to shrink, and no later step could tell A from B */
    return tie == STLORA_TIE_PAPER ? a > threshold : a >= threshold;
}

double stlora_shrink_record(bool continues, double shrink_ratio, int64_t step, bool *armed,
                            int64_t *stop_step, double *factor)
{
    if (!*armed) return 1.0;
    if (!continues) {
        *armed = false;
        *stop_step = step;
        return 1.0;
    }
    const double shrink = 1.0 - shrink_ratio;
    const double product = *factor * shrink;
    *factor = product > 0.0 ? product : DBL_TRUE_MIN;
    return shrink;
}
