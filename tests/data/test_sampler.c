/* test_sampler.c: order is a pure function of (seed, epoch), every example comes once per epoch, and a step can be asked for
 * out of order (a resumed run) with the same answer. */
#include "data/sampler.h"

#include <string.h>

#include "support.h"

static stlora_sampler *sampler_of(size_t count, size_t batch_size, bool shuffle, uint64_t seed,
                                  bool wrap)
{
    stlora_error err = {0};
    stlora_sampler *sampler = NULL;
    const stlora_sampler_options options = {count, batch_size, shuffle, seed, wrap};
    assert_ok(stlora_sampler_create(&sampler, &options, &err));
    return sampler;
}

static void expect_batch(stlora_sampler *sampler, int64_t step, const uint32_t *wanted,
                         size_t count, double wanted_epoch)
{
    uint32_t chosen[64];
    size_t got = 0;
    double epoch = -1;
    stlora_sampler_batch(sampler, step, chosen, &got, &epoch);
    assert_int_equal(got, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(chosen[i], wanted[i]);
    assert_true(epoch == wanted_epoch);
}

/* Computed from the paper's Philox by a separate program, in Python. If these change, no old run can be repeated. */
static const uint32_t SEED_42[2][10] = {{0, 3, 4, 8, 9, 1, 6, 2, 7, 5},
                                        {2, 3, 5, 1, 0, 7, 6, 4, 8, 9}};
static const uint32_t SEED_7[10] = {6, 4, 1, 9, 7, 2, 8, 0, 5, 3};
static const uint32_t SEED_LARGE[10] = {4, 1, 3, 9, 0,
                                        6, 8, 7, 5, 2}; /* 2^40 + 42: the upper half counts */

static void known_permutations(void **state)
{
    (void)state;
    stlora_sampler *s = sampler_of(10, 10, true, 42, false);
    expect_batch(s, 0, SEED_42[0], 10, 1.0);
    expect_batch(s, 1, SEED_42[1], 10, 2.0);
    expect_batch(s, 0, SEED_42[0], 10, 1.0);
    stlora_sampler_free(s);
    s = sampler_of(10, 10, true, 7, false);
    expect_batch(s, 0, SEED_7, 10, 1.0);
    stlora_sampler_free(s);
    s = sampler_of(10, 10, true, ((uint64_t)1 << 40) + 42, false);
    expect_batch(s, 0, SEED_LARGE, 10, 1.0);
    stlora_sampler_free(s);
}

static void last_batch_is_short_without_wrap(void **state)
{
    (void)state;
    stlora_sampler *s = sampler_of(10, 4, true, 42, false);
    assert_int_equal(stlora_sampler_steps(s, 1), 3);
    assert_int_equal(stlora_sampler_steps(s, 5), 15);
    assert_int_equal(stlora_sampler_steps(s, 0), 0);
    expect_batch(s, 0, SEED_42[0], 4, 0.4);
    expect_batch(s, 1, SEED_42[0] + 4, 4, 0.8);
    expect_batch(s, 2, SEED_42[0] + 8, 2, 1.0);
    expect_batch(s, 3, SEED_42[1], 4, 1.4);
    stlora_sampler_free(s);
}

static void batches_run_over_the_end_with_wrap(void **state)
{
    (void)state;
    stlora_sampler *s = sampler_of(10, 4, true, 42, true);
    const uint32_t third[] = {SEED_42[0][8], SEED_42[0][9], SEED_42[1][0], SEED_42[1][1]};
    expect_batch(s, 0, SEED_42[0], 4, 0.4);
    expect_batch(s, 2, third, 4, 1.2);
    expect_batch(s, 3, SEED_42[1] + 2, 4, 1.6);
    stlora_sampler_free(s);
}

static void a_batch_may_hold_several_epochs(void **state)
{
    (void)state;
    stlora_sampler *s = sampler_of(3, 8, false, 0, true);
    expect_batch(s, 0, (const uint32_t[]){0, 1, 2, 0, 1, 2, 0, 1}, 8, 2.0 + 2.0 / 3.0);
    expect_batch(s, 1, (const uint32_t[]){2, 0, 1, 2, 0, 1, 2, 0}, 8, 5.0 + 1.0 / 3.0);
    stlora_sampler_free(s);
    s = sampler_of(3, 8, false, 0, false);
    assert_int_equal(stlora_sampler_steps(s, 2), 2);
    expect_batch(s, 0, (const uint32_t[]){0, 1, 2}, 3, 1.0);
    expect_batch(s, 1, (const uint32_t[]){0, 1, 2}, 3, 2.0);
    stlora_sampler_free(s);
}

static void file_order_without_shuffle(void **state)
{
    (void)state;
    stlora_sampler *s = sampler_of(5, 2, false, 42, false);
    expect_batch(s, 0, (const uint32_t[]){0, 1}, 2, 0.4);
    expect_batch(s, 2, (const uint32_t[]){4}, 1, 1.0);
    expect_batch(s, 3, (const uint32_t[]){0, 1}, 2, 1.4);
    stlora_sampler_free(s);
}

/* Over many sizes: each epoch holds every index once, and two epochs (of more than a few examples) differ. */
static void every_example_once_per_epoch(void **state)
{
    (void)state;
    enum { EPOCHS = 3, MOST = 40 };
    for (size_t count = 1; count <= MOST; count++) {
        for (size_t batch = 1; batch <= count + 3; batch++) {
            for (int wrap = 0; wrap < 2; wrap++) {
                uint32_t seen[EPOCHS * MOST + 2 * MOST], chosen[MOST + 3];
                size_t used = 0, got;
                double epoch, last = 0;
                stlora_sampler *s = sampler_of(count, batch, true, count * 977 + batch, wrap);
                for (int64_t step = 0; used < EPOCHS * count; step++) {
                    stlora_sampler_batch(s, step, chosen, &got, &epoch);
                    assert_true(got >= 1 && got <= batch && epoch > last);
                    last = epoch;
                    for (size_t k = 0; k < got; k++)
                        seen[used++] = chosen[k];
                }
                for (size_t e = 0; e < EPOCHS; e++) {
                    bool here[MOST] = {false};
                    for (size_t i = 0; i < count; i++) {
                        const uint32_t at = seen[e * count + i];
                        assert_true(at < count);
                        assert_false(here[at]);
                        here[at] = true;
                    }
                }
                if (count >= 10) assert_memory_not_equal(seen, seen + count, count * sizeof *seen);
                stlora_sampler_free(s);
            }
        }
    }
}

/* A run that resumes at any step sees what the uninterrupted one saw. */
static void resumed_equals_uninterrupted(void **state)
{
    (void)state;
    enum { STEPS = 23, BATCH = 7 };
    for (int wrap = 0; wrap < 2; wrap++) {
        uint32_t chosen[STEPS][BATCH], again[BATCH];
        size_t counts[STEPS], got;
        double epochs[STEPS], epoch;
        stlora_sampler *s = sampler_of(31, BATCH, true, 5, wrap);
        for (int64_t t = 0; t < STEPS; t++)
            stlora_sampler_batch(s, t, chosen[t], &counts[t], &epochs[t]);
        stlora_sampler_free(s);
        for (int64_t from = 0; from < STEPS; from++) {
            s = sampler_of(31, BATCH, true, 5, wrap);
            for (int64_t t = from; t < STEPS; t++) {
                stlora_sampler_batch(s, t, again, &got, &epoch);
                assert_int_equal(got, counts[t]);
                assert_memory_equal(again, chosen[t], got * sizeof *again);
                assert_true(epoch == epochs[t]);
            }
            stlora_sampler_free(s);
        }
    }
}

static void steps_that_overflow_are_the_most_there_are(void **state)
{
    (void)state;
    stlora_sampler *s = sampler_of(1000, 1, false, 0, false);
    assert_true(stlora_sampler_steps(s, INT64_MAX) == INT64_MAX);
    stlora_sampler_free(s);
}

static void refuses_nothing_to_draw_from(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_sampler *sampler = NULL;
    stlora_sampler_options options = {.count = 0, .batch_size = 1};
    assert_int_equal(stlora_sampler_create(&sampler, &options, &err), STLORA_E_USAGE);
    assert_string_equal(err.text,
                        "wanted from 1 to 4294967295 examples to draw batches from, found 0");
    options.count = (size_t)1 << 32;
    assert_int_equal(stlora_sampler_create(&sampler, &options, &err), STLORA_E_USAGE);
    options = (stlora_sampler_options){.count = 1, .batch_size = 0};
    assert_int_equal(stlora_sampler_create(&sampler, &options, &err), STLORA_E_USAGE);
    assert_string_equal(err.text, "the batch size must be at least 1, found 0");
    assert_null(sampler);
    stlora_sampler_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_permutations),
        cmocka_unit_test(last_batch_is_short_without_wrap),
        cmocka_unit_test(batches_run_over_the_end_with_wrap),
        cmocka_unit_test(a_batch_may_hold_several_epochs),
        cmocka_unit_test(file_order_without_shuffle),
        cmocka_unit_test(every_example_once_per_epoch),
        cmocka_unit_test(resumed_equals_uninterrupted),
        cmocka_unit_test(steps_that_overflow_are_the_most_there_are),
        cmocka_unit_test(refuses_nothing_to_draw_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
