/* test_rope.c: rotary frequencies and tables against numbers worked out in Python from the formulas (float64; the
 * table's with every step rounded to float32 as Transformers rounds it). */
#include <math.h>

#include "model/rope.h"
#include "support.h"

static void check(const char *what, int j, double found, double wanted, double relative)
{
    if (!(fabs(found - wanted) <= relative * fabs(wanted)))
        fail_msg("%s %d: wanted %.17g, found %.17g", what, j, wanted, found);
}

static void test_default_frequencies(void **state)
{
    (void)state;
    const double wanted[] = {1, 0.1, 0.01, 0.001}; // 10000^(-2j/8)
    double f[4];
    stlora_rope rope = {.kind = STLORA_ROPE_DEFAULT, .theta = 10000, .dim = 8, .attention_factor = 1};
    stlora_rope_frequencies(&rope, 0, f);
    for (int j = 0; j < 4; j++)
        check("frequency", j, f[j], wanted[j], 1e-14);
}

/* Llama-3's own numbers: head 64, theta 500000, factor 8, low 1, high 4, original 8192. Up to j = 14 a wave is shorter
 * than 8192/4 positions and stays; from j = 18 it is longer than 8192 and is stretched by 8; three lie between. */
static void test_llama3_frequencies(void **state)
{
    (void)state;
    const struct {
        int j;
        double f;
    } wanted[] = {{0, 1},
                  {1, 0.6636012376960885},
                  {7, 0.05666962144529105},
                  {13, 0.004839421345719893},
                  {14, 0.003211445994752591},
                  {15, 0.0013718935677611381},
                  {16, 0.0005248461609929547},
                  {17, 0.0001785078127679964},
                  {18, 7.78465527393245e-05},
                  {19, 5.165906874818956e-05},
                  {31, 3.767322690173964e-07}};
    double f[32], plain[32];
    stlora_rope rope = {.kind = STLORA_ROPE_LLAMA3,
                        .theta = 500000,
                        .dim = 64,
                        .factor = 8,
                        .low_freq_factor = 1,
                        .high_freq_factor = 4,
                        .attention_factor = 1,
                        .original_positions = 8192};
    stlora_rope_frequencies(&rope, 0, f);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        check("frequency", wanted[i].j, f[wanted[i].j], wanted[i].f, 1e-13);
    rope.kind = STLORA_ROPE_DEFAULT;
    stlora_rope_frequencies(&rope, 0, plain);
    for (int j = 0; j < 32; j++)
        check("ratio", j, f[j] / plain[j], j < 15 ? 1 : j >= 18 ? 0.125 : f[j] / plain[j], 1e-14);
    for (int j = 1; j < 32; j++)
        assert_true(f[j] < f[j - 1]);
}

/* Position 30011 tells whether the angle was formed in float: in double the third cosine would be 0.0877884. */
static void test_tables(void **state)
{
    (void)state;
    enum { POSITIONS = 30012, HALF = 4 };
    static float cosines[POSITIONS * HALF], sines[POSITIONS * HALF];
    const struct {
        int position;
        double cosine[HALF], sine[HALF];
    } wanted[] = {
        {0, {1, 1, 1, 1}, {0, 0, 0, 0}},
        {1,
         {0.5403022766113281, 0.9950041770935059, 0.9999499917030334, 0.9999995231628418},
         {0.8414709568023682, 0.0998334214091301, 0.009999833069741726, 0.0009999999310821295}},
        {7,
         {0.7539022564888, 0.7648422122001648, 0.9975510239601135, 0.9999755024909973},
         {0.6569865942001343, 0.6442176699638367, 0.06994284689426422, 0.0069999429397284985}},
        {1000,
         {0.5623790621757507, 0.8623188734054565, -0.83907151222229, 0.5403022766113281},
         {0.8268795609474182, -0.5063656568527222, -0.5440211296081543, 0.8414709568023682}},
        {30011,
         {-0.8052971959114075, -0.6378341913223267, 0.08777383714914322, 0.16511180996894836},
         {0.5928713083267212, -0.7701737284660339, -0.9961404204368591, -0.9862748384475708}},
    };
    stlora_rope rope = {.kind = STLORA_ROPE_DEFAULT, .theta = 10000, .dim = 2 * HALF, .attention_factor = 1};
    stlora_rope_tables(&rope, 0, POSITIONS, cosines, sines);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        for (int j = 0; j < HALF; j++) {
            int at = wanted[i].position * HALF + j;
            if (!(fabs((double)cosines[at] - wanted[i].cosine[j]) <= 1.2e-7 &&
                  fabs((double)sines[at] - wanted[i].sine[j]) <= 1.2e-7))
                fail_msg("position %d, pair %d: wanted %.9g and %.9g, found %.9g and %.9g", wanted[i].position, j,
                         wanted[i].cosine[j], wanted[i].sine[j], (double)cosines[at], (double)sines[at]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_frequencies),
        cmocka_unit_test(test_llama3_frequencies),
        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
