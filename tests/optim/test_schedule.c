/* test_schedule.c: learning rates at the ends, at the joints and outside; the formulas are those of stlora/optim.h. */
#include "optim/optim_fixture.h"

#define LR(kind, t, total, warmup) stlora_learning_rate_at(STLORA_LR_##kind, 0.1, t, total, warmup)

static void linear(void **unused)
{
    (void)unused;
    for (int64_t t = 1; t <= 10; t++)
        assert_near(LR(LINEAR, t, 10, 0), 0.1 * (double)(11 - t) / 10, 1e-16);
    assert_true(LR(LINEAR, 1, 10, 4) == 0.0);
    assert_near(LR(LINEAR, 2, 10, 4), 0.1 / 4, 1e-16);
    assert_near(LR(LINEAR, 4, 10, 4), 0.1 * 3 / 4, 1e-16);
    assert_near(LR(LINEAR, 5, 10, 4), 0.1, 1e-16);
    assert_near(LR(LINEAR, 6, 10, 4), 0.1 * 5 / 6, 1e-16);
    assert_near(LR(LINEAR, 10, 10, 4), 0.1 / 6, 1e-16);
}

static void cosine(void **unused)
{
    (void)unused;
    assert_near(LR(COSINE, 1, 8, 0), 0.1, 1e-16);
    assert_near(LR(COSINE, 5, 8, 0), 0.05, 1e-16);
    assert_near(LR(COSINE, 3, 8, 0), 0.1 * (1 + sqrt(0.5)) / 2, 1e-16);
    assert_near(LR(COSINE, 2, 8, 4), 0.1 / 4, 1e-16);
    assert_near(LR(COSINE, 5, 8, 4), 0.1, 1e-16);
    assert_near(LR(COSINE, 7, 8, 4), 0.05, 1e-16);
}

static void constant(void **unused)
{
    (void)unused;
    assert_true(LR(CONSTANT, 1, 10, 0) == 0.1 && LR(CONSTANT, 10, 10, 0) == 0.1);
    assert_true(LR(CONSTANT, 1, 10, 2) == 0.0 && LR(CONSTANT, 3, 10, 2) == 0.1);
    assert_near(LR(CONSTANT, 2, 10, 2), 0.05, 1e-16);
}

static void outside_is_clamped(void **unused)
{
    (void)unused;
    assert_true(LR(LINEAR, -3, 10, 4) == LR(LINEAR, 1, 10, 4));
    assert_true(LR(LINEAR, 99, 10, 4) == LR(LINEAR, 10, 10, 4));
    assert_near(LR(LINEAR, 10, 10, 10), 0.09, 1e-16); /* all warm-up */
    assert_near(LR(COSINE, 10, 10, 20), 0.045, 1e-16);
    assert_true(LR(LINEAR, 1, 1, 0) == 0.1);
    assert_true(LR(LINEAR, 1, 0, 0) == 0.1 && LR(COSINE, 5, -1, -1) == 0.1); /* never 0/0 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear),
        cmocka_unit_test(cosine),
        cmocka_unit_test(constant),
        cmocka_unit_test(outside_is_clamped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
