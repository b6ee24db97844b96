/* gradient_check.h: one element of a gradient against central differences: sign-sensitive, safe at 0/0, NaN fails.
 *
 *   |analytic - numeric| <= relative * max(|analytic|, |numeric|) + of_largest * (largest |numeric| of the sample) + absolute
 *
 * Both sides exactly 0 pass (dA while B is 0), one side 0 and the other not fails: nothing is divided. Why an op needs the second and
 * third term is said where it gets them.
 */
#ifndef STLORA_TESTS_GRADIENT_CHECK_H
#define STLORA_TESTS_GRADIENT_CHECK_H

#include <math.h>
#include <stdbool.h>

#include "support.h"

enum { GRADIENT_MOST_SAMPLES = 64 };

typedef struct gradient_sample {
    int64_t row, col;
    double analytic, numeric;
} gradient_sample;

typedef struct gradient_check {
    const char *tensor;
    double relative, of_largest, absolute;
    int count;
    gradient_sample samples[GRADIENT_MOST_SAMPLES];
} gradient_check;

static inline void gradient_add(gradient_check *check, int64_t row, int64_t col, double analytic, double numeric)
{
    assert_true(check->count < GRADIENT_MOST_SAMPLES);
    check->samples[check->count++] = (gradient_sample){row, col, analytic, numeric};
}

/* Which elements of `count` to sample, at most `samples`: spread over all of them, with a step prime to the usual widths. */
static inline int64_t gradient_step(int64_t count, int64_t samples)
{
    return count <= samples ? 1 : (count / samples) | 1;
}

/* True when all samples are close; otherwise prints the worst of them with its index. */
static inline bool gradient_holds(const gradient_check *check, const char *label)
{
    double largest = 0, worst = 0;
    for (int n = 0; n < check->count; n++)
        largest = fmax(largest, fabs(check->samples[n].numeric));
    const gradient_sample *at = NULL;
    for (int n = 0; n < check->count; n++) {
        const gradient_sample *s = &check->samples[n];
        const double off = fabs(s->analytic - s->numeric);
        const double allowed =
            check->relative * fmax(fabs(s->analytic), fabs(s->numeric)) + check->of_largest * largest + check->absolute;
        if (off <= allowed) continue; /* 0 <= 0 too; a NaN goes on */
        const double ratio = off / allowed;
        if (at && !(ratio > worst) && !isnan(ratio)) continue;
        worst = ratio;
        at = s;
    }
    if (!at) return true;
    print_message("%s\n    d %s[%lld,%lld]: the op says %.12g, differences say %.12g (%.3g times "
                  "what is allowed)\n",
                  label, check->tensor, (long long)at->row, (long long)at->col, at->analytic, at->numeric, worst);
    return false;
}

#endif
