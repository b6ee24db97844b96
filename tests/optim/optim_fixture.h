/* optim_fixture.h: what the programs of this folder share: settings, the deterministic inputs "Q" (n 3, m 2, r 2), and the
 * comparison with its tolerance. Not a test. */
#ifndef STLORA_TESTS_OPTIM_FIXTURE_H
#define STLORA_TESTS_OPTIM_FIXTURE_H

#include <math.h>
#include <string.h>

#include "optim/optimizer.h"
#include "support.h"

enum { Q_N = 3, Q_M = 2, Q_R = 2, Q_A = Q_R * Q_N, Q_B = Q_M * Q_R, Q_STEPS = 14 };

typedef struct q_run {
    float a[Q_A], b[Q_B];
    stlora_optimizer *optimizer;
} q_run;

/* No clipping, which the vectors do not have; the other defaults stay (betas .9 and .999, eps 1e-8). */
static inline stlora_optimizer_config settings(double shrink_ratio, double weight_decay)
{
    stlora_optimizer_config config;
    stlora_optimizer_config_init(&config);
    config.shrink_ratio = shrink_ratio;
    config.weight_decay = weight_decay;
    config.max_grad_norm = 0.0;
    config.threads = 1;
    return config;
}

static inline stlora_optimizer *create(const stlora_optimizer_config *config,
                                       const stlora_pair *pairs, size_t count)
{
    stlora_error err = {0};
    stlora_optimizer *optimizer = NULL;
    assert_ok(stlora_optimizer_create(&optimizer, config, pairs, count, &err));
    return optimizer;
}

static inline stlora_step_info step(stlora_optimizer *optimizer, double learning_rate,
                                    const stlora_pair_grad *grads)
{
    stlora_error err = {0};
    stlora_step_info info = {0};
    assert_ok(stlora_optimizer_step(optimizer, learning_rate, grads, &info, &err));
    return info;
}

static inline stlora_pair_state state_of(const stlora_optimizer *optimizer, size_t i)
{
    stlora_pair_state state;
    stlora_optimizer_pair(optimizer, i, &state);
    return state;
}

static inline void q_begin(q_run *run, const stlora_optimizer_config *config)
{
    const float a0[Q_A] = {.5f, -.25f, .125f, .1f, .2f, -.3f};
    memcpy(run->a, a0, sizeof a0);
    memset(run->b, 0, sizeof run->b);
    const stlora_pair pair = {.name = "q", .n = Q_N, .m = Q_M, .r = Q_R, .a = run->a, .b = run->b};
    run->optimizer = create(config, &pair, 1);
}

static inline void q_gradients(int t, float *ga, float *gb)
{
    for (int i = 0; i < Q_A; i++)
        ga[i] = t == 1 ? 0.0f : (float)(0.1 * sin(1.0 + i + t));
    for (int i = 0; i < Q_B; i++)
        gb[i] = (float)(0.2 * cos(0.5 * i + 0.3 * t));
}

static inline void q_step(q_run *run, int t, double learning_rate)
{
    float ga[Q_A], gb[Q_B];
    q_gradients(t, ga, gb);
    const stlora_pair_grad grad = {ga, gb};
    (void)step(run->optimizer, learning_rate, &grad);
}

static inline void q_steps(q_run *run, int from, int to)
{
    for (int t = from; t <= to; t++)
        q_step(run, t, 0.02);
}

/* |got - want| <= 2e-7 (1 + |want|) t, the fp32 tolerance of the vectors; written so that NaN fails. */
#define assert_values(got, want, t)                                                                \
    assert_values_(got, want, sizeof(want) / sizeof((want)[0]), t, #want, __LINE__)
static inline void assert_values_(const float *got, const double *want, size_t count, int t,
                                  const char *what, int line)
{
    for (size_t i = 0; i < count; i++) {
        const double error = fabs((double)got[i] - want[i]);
        if (!(error <= 2e-7 * (1.0 + fabs(want[i])) * t))
            fail_msg("line %d: %s[%zu] after %d steps: got %.9g, wanted %.12g", line, what, i, t,
                     (double)got[i], want[i]);
    }
}

#define assert_near(got, want, tolerance) assert_near_(got, want, tolerance, #got, __LINE__)
static inline void assert_near_(double got, double want, double tolerance, const char *what,
                                int line)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("line %d: %s: got %.15g, wanted %.15g within %g", line, what, got, want,
                 tolerance);
}

#endif
