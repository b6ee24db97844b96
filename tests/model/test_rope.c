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

/* The other kinds, by Transformers' ROPE_INIT_FUNCTIONS (5.23, float32): of six pairs spread over the head. */
static void test_scaled_frequencies(void **state)
{
    (void)state;
    static const struct {
        stlora_rope rope;
        int64_t length;
        double f[6];
    } cases[] = {
        {{.kind = STLORA_ROPE_LINEAR, .theta = 1e4, .dim = 64, .factor = 8},
         0,
         {0.125, 0.09373677521944046, 0.012500000186264515, 0.0012499999720603228, 0.0001250000059371814, 1.666901880525984e-05}},
        {{.kind = STLORA_ROPE_DYNAMIC, .theta = 1e4, .dim = 64, .factor = 4, .original_positions = 2048},
         5000,
         {1, 0.7050434350967407, 0.06105580925941467, 0.0037278118543326855, 0.00022760457068216056, 1.9710247215698473e-05}},
        {{.kind = STLORA_ROPE_DYNAMIC, .theta = 1e4, .dim = 64, .factor = 4, .original_positions = 2048},
         2048,
         {1, 0.7498942017555237, 0.10000000149011612, 0.009999999776482582, 0.0010000000474974513, 0.0001333521504420787}},
        {{.kind = STLORA_ROPE_YARN, .theta = 1e6, .dim = 128, .factor = 4, .original_positions = 32768, .beta_fast = 32, .beta_slow = 1, .truncate = true},
         0,
         {1, 0.8058422207832336, 0.03162277862429619, 0.0006029411451891065, 7.905693564680405e-06, 3.102344408034696e-07}},
        {{.kind = STLORA_ROPE_YARN, .theta = 1e4, .dim = 64, .factor = 16, .original_positions = 4096, .beta_fast = 16, .beta_slow = 2},
         0,
         {1, 0.7498942017555237, 0.10000000149011612, 0.005952023901045322, 6.25000029685907e-05, 8.33450940262992e-06}},
        {{.kind = STLORA_ROPE_LONGROPE, .theta = 1e4, .dim = 64, .original_positions = 4096},
         4097,
         {1, 0.49992942810058594, 0.019999999552965164, 0.0011111111380159855, 7.69230755395256e-05, 8.081948180915788e-06}},
        {{.kind = STLORA_ROPE_LONGROPE, .theta = 1e4, .dim = 64, .original_positions = 4096},
         4096,
         {1, 0.7424694895744324, 0.09259258955717087, 0.008620689623057842, 0.000806451600510627, 0.00010179553646594286}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        stlora_rope rope = cases[i].rope;
        double f[64];
        const int64_t n = rope.dim / 2, at[6] = {0, 1, n / 4, n / 2, 3 * n / 4, n - 1};
        for (int64_t j = 0; j < n; j++) { /* longrope's */
            rope.short_factor[j] = 1 + 0.01 * (double)j;
            rope.long_factor[j] = 1 + 0.5 * (double)j;
        }
        stlora_rope_frequencies(&rope, cases[i].length, f);
        for (int k = 0; k < 6; k++)
            check(stlora_rope_kind_name(rope.kind), (int)at[k], f[at[k]], cases[i].f[k], 1e-6);
    }
}

/* Rows of a call whose lengths decide: each has its own frequencies, behind the table of those that do not; a short one has the table's. */
static void test_rows_of_their_own(void **state)
{
    (void)state;
    enum { MOST = 12, TOKENS = 20, HALF = 2 };
    stlora_error err = {0};
    stlora_arena arena = {0};
    stlora_rotation rotation = {0};
    const stlora_hf_config config = {
        .rope[0] = {.kind = STLORA_ROPE_DYNAMIC, .theta = 100, .dim = 2 * HALF, .factor = 3, .attention_factor = 2, .original_positions = 8}};
    stlora_rotation_lay_out(&rotation, &config, &arena, 8, TOKENS);
    assert_int_equal(rotation.own, 0); /* no row is long enough */
    arena = (stlora_arena){0};
    stlora_rotation_lay_out(&rotation, &config, &arena, MOST, TOKENS);
    assert_int_equal(rotation.own, TOKENS);
    assert_ok(stlora_arena_bind(&arena, "tables", &err));
    stlora_rotation_lay_out(&rotation, &config, &arena, MOST, TOKENS);
    stlora_rotation_fill(&rotation, &config, 0);
    stlora_rotation_row(&rotation, &config, 0, 8);
    stlora_rotation_row(&rotation, &config, 8, 12);
    const double theta = 100 * pow(3 * 12.0 / 8 - 2, 2); /* dim / (dim - 2) = 2 */
    for (int t = 0; t < TOKENS; t++) {
        const int position = t < 8 ? t : t - 8;
        const double f = 1 / sqrt(t < 8 ? 100 : theta);
        assert_int_equal(rotation.rows[t], t < 8 ? t : MOST + t);
        assert_true(fabs((double)rotation.cosines[0][rotation.rows[t] * HALF + 1] - 2 * cos(position * f)) < 1e-6);
        assert_true(fabs((double)rotation.sines[0][rotation.rows[t] * HALF + 1] - 2 * sin(position * f)) < 1e-6);
    }
    stlora_arena_free(&arena);
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
        cmocka_unit_test(test_scaled_frequencies),
        cmocka_unit_test(test_rows_of_their_own),
        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
