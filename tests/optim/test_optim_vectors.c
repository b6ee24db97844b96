/* test_optim_vectors.c: steps computed by an independent double-precision implementation, and the behaviour at the edges; one
 * test a vector. The numbers E-1 ... E-22 are those of the project's specification. Long trajectories: tests/api/test_optim_golden.c. */
#include "optim/optim_fixture.h"

#include "backend/backend.h"
#include "base/rng.h"
#include "optim/clip.h"
#include "optim/shrink.h"
#include "tensor/dtype.h"

/* r 1, n = m = 2: three steps of E-1 and E-2. */
static void run_first_steps(double weight_decay, const double (*want_a)[2],
                            const double (*want_b)[2])
{
    float a[2] = {3.0f, 4.0f}, b[2] = {0.0f, 0.0f};
    const float zero[2] = {0.0f, 0.0f}, ga[2] = {1.0f, -1.0f}, gb[2] = {1.0f, -2.0f};
    const stlora_optimizer_config config = settings(0.5, weight_decay);
    const stlora_pair pair = {.name = "p", .n = 2, .m = 2, .r = 1, .a = a, .b = b};
    stlora_optimizer *optimizer = create(&config, &pair, 1);
    for (int t = 1; t <= 3; t++) {
        const stlora_pair_grad grad = {t == 1 ? zero : ga, gb};
        (void)step(optimizer, 0.1, &grad);
        assert_values_(a, want_a[t - 1], 2, t, "A", __LINE__);
        assert_values_(b, want_b[t - 1], 2, t, "B", __LINE__);
    }
    stlora_optimizer_free(optimizer);
}

static void e01_first_step_with_zero_b(void **unused)
{
    (void)unused;
    const double a[3][2] = {
        {1.5, 2.0}, {.675586318695, 1.0744136813}, {.251946904822, .623053095178}};
    const double b[3][2] = {
        {-.099999999, .0999999995}, {-.199999998, .199999999}, {-.299999997, .2999999985}};
    run_first_steps(0.0, a, b);
}

static void e02_decay_after_shrink_before_moments(void **unused)
{
    (void)unused;
    const double a[3][2] = {
        {1.485, 1.98}, {.660661318695, 1.0545136813}, {.241181098229, .607830526771}};
    const double b[3][2] = {
        {-.099999999, .0999999995}, {-.19899999801, .198999999005}, {-.29700999703, .297009998515}};
    run_first_steps(0.1, a, b);
}

static const double q_final_b[Q_B] = {-.0541796404757, .039977470959, .148351097912, .23467060631};

static void e03_latches_at_13(void **unused)
{
    (void)unused;
    const double first_a[Q_A] = {.475, -.2375, .11875, .095, .19, -.285};
    const double final_a[Q_A] = {.297446844518,  -.0942248025346, .0812882819812,
                                 .0301688779928, .0646303921276,  -.180511225888};
    const stlora_optimizer_config config = settings(0.05, 0.0);
    q_run run;
    q_begin(&run, &config);
    for (int t = 1; t <= Q_STEPS; t++) {
        const stlora_pair_state before = state_of(run.optimizer, 0);
        if (t == 13) {
            assert_near(before.norm_a, .3785428, 1e-6);
            assert_near(before.norm_b, .266827452, 1e-6);
        }
        q_step(&run, t, 0.02);
        const stlora_pair_state after = state_of(run.optimizer, 0);
        assert_int_equal(after.armed, t < 13);
        assert_int_equal(after.stop_step, t < 13 ? 0 : 13);
        if (t == 1) assert_values(run.a, first_a, t);
    }
    assert_values(run.a, final_a, Q_STEPS);
    assert_values(run.b, q_final_b, Q_STEPS);
    stlora_optimizer_free(run.optimizer);
}

/* The whole pass written once more and plainly, to be matched bit for bit; shrink 1 and decay 1 are AdamW alone. */
static void plain_pass(int t, double lr, float shrink, float decay, int count, float *p, float *m,
                       float *v, const float *g)
{
    const float step_size = (float)(lr / (1.0 - pow(0.9, t)));
    const float sqrt_bc2 = (float)sqrt(1.0 - pow(0.999, t));
    for (int i = 0; i < count; i++) {
        p[i] = p[i] * shrink;
        p[i] = p[i] * decay;
        m[i] = m[i] + (float)(1.0 - 0.9) * (g[i] - m[i]);
        v[i] = 0.999f * v[i] + (float)(1.0 - 0.999) * g[i] * g[i];
        p[i] = p[i] - step_size * (m[i] / (sqrtf(v[i]) / sqrt_bc2 + 1e-8f));
    }
}

static void e04_ratio_zero_is_adamw(void **unused)
{
    (void)unused;
    const double final_a[Q_A] = {.535710203708,  -.188587888592, .149339656298,
                                 .0694868181743, .13518665414,   -.330834207508};
    const stlora_optimizer_config config = settings(0.0, 0.0);
    q_run run;
    q_begin(&run, &config);
    float a[Q_A], b[Q_B], ma[Q_A] = {0}, va[Q_A] = {0}, mb[Q_B] = {0}, vb[Q_B] = {0};
    memcpy(a, run.a, sizeof a);
    memcpy(b, run.b, sizeof b);
    for (int t = 1; t <= Q_STEPS; t++) {
        float ga[Q_A], gb[Q_B];
        q_gradients(t, ga, gb);
        plain_pass(t, 0.02, 1.0f, 1.0f, Q_A, a, ma, va, ga);
        plain_pass(t, 0.02, 1.0f, 1.0f, Q_B, b, mb, vb, gb);
        q_step(&run, t, 0.02);
        assert_memory_equal(a, run.a, sizeof a);
        assert_memory_equal(b, run.b, sizeof b);
    }
    assert_values(run.a, final_a, Q_STEPS);
    assert_values(run.b, q_final_b, Q_STEPS);
    assert_true(state_of(run.optimizer, 0).shrink_factor == 1.0);
    stlora_optimizer_free(run.optimizer);
}

/* Shrink and decay are two roundings, and scalars are rounded to fp32 once: every bit, not only the tolerance of E-5. */
static void e05_every_rounding(void **unused)
{
    (void)unused;
    const stlora_optimizer_config config = settings(0.05, 0.1);
    q_run run;
    q_begin(&run, &config);
    float a[Q_A], b[Q_B], ma[Q_A] = {0}, va[Q_A] = {0}, mb[Q_B] = {0}, vb[Q_B] = {0};
    memcpy(a, run.a, sizeof a);
    memcpy(b, run.b, sizeof b);
    for (int t = 1; t <= Q_STEPS; t++) {
        float ga[Q_A], gb[Q_B];
        const float decay = (float)(1.0 - 0.02 * 0.1);
        q_gradients(t, ga, gb);
        q_step(&run, t, 0.02);
        const float shrink = state_of(run.optimizer, 0).armed ? (float)(1.0 - 0.05) : 1.0f;
        plain_pass(t, 0.02, shrink, decay, Q_A, a, ma, va, ga);
        plain_pass(t, 0.02, 1.0f, decay, Q_B, b, mb, vb, gb);
        assert_memory_equal(a, run.a, sizeof a);
        assert_memory_equal(b, run.b, sizeof b);
    }
    stlora_optimizer_free(run.optimizer);
}

static void e05_weight_decay(void **unused)
{
    (void)unused;
    const double final_a[Q_A] = {.289577267012,  -.091300094408, .0790501475476,
                                 .0290070205284, .0624902312722, -.17558056784};
    const double final_b[Q_B] = {-.0520569399613, .0409076069076, .147305926641, .231227618091};
    const stlora_optimizer_config config = settings(0.05, 0.1);
    q_run run;
    q_begin(&run, &config);
    q_steps(&run, 1, Q_STEPS);
    assert_false(state_of(run.optimizer, 0).armed);
    assert_values(run.a, final_a, Q_STEPS);
    assert_values(run.b, final_b, Q_STEPS);
    stlora_optimizer_free(run.optimizer);
}

static void e06_schedule_leaves_the_ratio_alone(void **unused)
{
    (void)unused;
    const double first_b[Q_B] = {-.00199999989532, -.00199999985647, -.00199999962617,
                                 .00199999955986};
    const double final_a[Q_A] = {.259870527338,  -.106201463004, .062524998392,
                                 .0339961663973, .0803913066745, -.150200140833};
    const stlora_optimizer_config config = settings(0.05, 0.0);
    q_run run;
    q_begin(&run, &config);
    for (int t = 1; t <= Q_STEPS; t++) {
        q_step(&run, t, 0.02 * (t < 10 ? t / 10.0 : 1.0));
        if (t == 1) assert_values(run.b, first_b, t);
    }
    assert_true(state_of(run.optimizer, 0).armed);
    assert_near(state_of(run.optimizer, 0).shrink_factor, pow(0.95, Q_STEPS), 1e-15);
    assert_values(run.a, final_a, Q_STEPS);
    stlora_optimizer_free(run.optimizer);
}

static void e07_tie(void **unused)
{
    (void)unused;
    for (int paper = 0; paper <= 1; paper++) {
        float a[2] = {3.0f, 4.0f}, b[2] = {4.0f, 3.0f};
        const float zero[2] = {0.0f, 0.0f};
        stlora_optimizer_config config = settings(0.1, 0.0);
        config.shrink_tie = paper ? STLORA_TIE_PAPER : STLORA_TIE_CODE;
        const stlora_pair pair = {.name = "p", .n = 2, .m = 2, .r = 1, .a = a, .b = b};
        stlora_optimizer *optimizer = create(&config, &pair, 1);
        const stlora_pair_grad grad = {zero, zero};
        const stlora_step_info info = step(optimizer, 0.1, &grad);
        assert_int_equal(info.pairs_shrinking, paper ? 0 : 1);
        assert_int_equal(state_of(optimizer, 0).armed, !paper);
        const double want[2][2] = {{2.7, 3.6}, {3.0, 4.0}};
        assert_values_(a, want[paper], 2, 1, "A", __LINE__);
        stlora_optimizer_free(optimizer);
    }
}

/* The released optimizer would stay armed for ever here, shrinking zeros. */
static void e08_all_zero_latches(void **unused)
{
    (void)unused;
    float a[2] = {0.0f, -0.0f}, b[2] = {0.0f, 0.0f};
    const float zero[2] = {0.0f, 0.0f};
    const stlora_optimizer_config config = settings(0.1, 0.0);
    const stlora_pair pair = {.name = "p", .n = 2, .m = 2, .r = 1, .a = a, .b = b};
    stlora_optimizer *optimizer = create(&config, &pair, 1);
    const stlora_pair_grad grad = {zero, zero};
    (void)step(optimizer, 0.1, &grad);
    const stlora_pair_state state = state_of(optimizer, 0);
    assert_false(state.armed);
    assert_int_equal(state.stop_step, 1);
    assert_true(state.shrink_factor == 1.0);
    stlora_optimizer_free(optimizer);
}

static void e09_the_latch_is_permanent(void **unused)
{
    (void)unused;
    const stlora_optimizer_config config = settings(0.05, 0.0);
    q_run run;
    q_begin(&run, &config);
    q_steps(&run, 1, 13);
    const double factor = state_of(run.optimizer, 0).shrink_factor;
    bool grown = false;
    for (int t = 14; t <= 60; t++) {
        float gb[Q_B];
        const float ga[Q_A] = {0};
        for (int i = 0; i < Q_B; i++)
            gb[i] = run.b[i];
        const stlora_pair_grad grad = {ga, gb};
        float moved[Q_A], ma[Q_A], va[Q_A];
        const stlora_pair_state before = state_of(run.optimizer, 0);
        grown = grown || before.norm_a > 1.5 * before.norm_b;
        memcpy(moved, run.a, sizeof moved);
        memcpy(ma, before.m_a, sizeof ma);
        memcpy(va, before.v_a, sizeof va);
        plain_pass(t, 0.02, 1.0f, 1.0f, Q_A, moved, ma, va, ga);
        (void)step(run.optimizer, 0.02, &grad);
        assert_memory_equal(moved, run.a, sizeof moved); /* AdamW alone */
    }
    assert_true(grown);
    assert_int_equal(state_of(run.optimizer, 0).stop_step, 13);
    assert_true(state_of(run.optimizer, 0).shrink_factor == factor);
    stlora_optimizer_free(run.optimizer);
}

/* E-10 through the file: tests/api/test_optim_golden.c. Here through restore, into an optimizer that went on before. */
static void e10_restored_state_goes_on_alike(void **unused)
{
    (void)unused;
    const stlora_optimizer_config config = settings(0.05, 0.1);
    for (int split = 6; split <= 13; split += 7) {
        q_run whole, first, second;
        q_begin(&whole, &config);
        q_begin(&first, &config);
        q_begin(&second, &config);
        q_steps(&whole, 1, Q_STEPS);
        q_steps(&first, 1, split);
        q_steps(&second, 1, Q_STEPS); /* rolled back: of its own norms and moments nothing may remain */
        const stlora_pair_state from = state_of(first.optimizer, 0),
                                to = state_of(second.optimizer, 0);
        assert_int_equal(from.armed, split < 13);
        memcpy(second.a, first.a, sizeof first.a);
        memcpy(second.b, first.b, sizeof first.b);
        memcpy(to.m_a, from.m_a, sizeof first.a);
        memcpy(to.v_a, from.v_a, sizeof first.a);
        memcpy(to.m_b, from.m_b, sizeof first.b);
        memcpy(to.v_b, from.v_b, sizeof first.b);
        stlora_error err = {0};
        assert_ok(stlora_optimizer_restore(second.optimizer, 0, &from, &err));
        assert_true(state_of(second.optimizer, 0).norm_a == from.norm_a);
        q_steps(&second, split + 1, Q_STEPS);
        assert_memory_equal(whole.a, second.a, sizeof whole.a);
        assert_memory_equal(whole.b, second.b, sizeof whole.b);
        const stlora_pair_state want = state_of(whole.optimizer, 0),
                                got = state_of(second.optimizer, 0);
        assert_int_equal(want.stop_step, got.stop_step);
        assert_int_equal(want.steps, got.steps);
        assert_true(want.shrink_factor == got.shrink_factor);
        stlora_optimizer_free(whole.optimizer);
        stlora_optimizer_free(first.optimizer);
        stlora_optimizer_free(second.optimizer);
    }
}

/* Each pair together with the other is what it is alone. */
static void e11_two_pairs_stop_on_their_own(void **unused)
{
    (void)unused;
    enum { N2 = 2, M2 = 6, R2 = 2, A2 = R2 * N2, B2 = M2 * R2, STEPS = 40 };
    const stlora_optimizer_config config = settings(0.05, 0.0);
    int64_t stops[2][2];
    for (int together = 0; together <= 1; together++) {
        q_run q;
        q_begin(&q, &config);
        float a[A2] = {.5f, -.4f, .3f, .6f}, b[B2] = {0};
        const stlora_pair second = {.name = "second", .n = N2, .m = M2, .r = R2, .a = a, .b = b};
        const stlora_pair both[2] = {
            {.name = "q", .n = Q_N, .m = Q_M, .r = Q_R, .a = q.a, .b = q.b}, second};
        stlora_optimizer *pair_of_them =
            together ? create(&config, both, 2) : create(&config, &second, 1);
        for (int t = 1; t <= STEPS; t++) {
            float ga[Q_A], gb[Q_B], ga2[A2], gb2[B2];
            q_gradients(t, ga, gb);
            for (int i = 0; i < A2; i++)
                ga2[i] = (float)(0.1 * cos(i + 0.2 * t));
            for (int i = 0; i < B2; i++)
                gb2[i] = (float)(0.1 * sin(1 + i + 0.1 * t));
            const stlora_pair_grad grads[2] = {{ga, gb}, {ga2, gb2}};
            (void)step(pair_of_them, 0.02, together ? grads : grads + 1);
            if (!together) (void)step(q.optimizer, 0.02, grads);
        }
        stops[together][0] = state_of(together ? pair_of_them : q.optimizer, 0).stop_step;
        stops[together][1] = state_of(pair_of_them, together ? 1 : 0).stop_step;
        stlora_optimizer_free(pair_of_them);
        stlora_optimizer_free(q.optimizer);
    }
    assert_int_equal(stops[0][0], 13);
    assert_int_equal(stops[1][0], 13);
    assert_int_equal(stops[0][1], stops[1][1]);
    assert_true(stops[0][1] > 13 && stops[0][1] < STEPS);
}

/* The released optimizer would shrink such a pair all the same, by (1 - ratio) a step. */
static void e12_a_pair_without_gradient_rests(void **unused)
{
    (void)unused;
    const stlora_optimizer_config config = settings(0.05, 0.1);
    float a[2][2] = {{1.0f, 2.0f}, {1.0f, 2.0f}}, b[2][2] = {{0}};
    const float ga[2] = {0.1f, 0.2f}, gb[2] = {0.3f, -0.1f};
    const stlora_pair pairs[2] = {{.name = "first", .n = 2, .m = 2, .r = 1, .a = a[0], .b = b[0]},
                                  {.name = "second", .n = 2, .m = 2, .r = 1, .a = a[1], .b = b[1]}};
    stlora_optimizer *optimizer = create(&config, pairs, 2);
    const stlora_pair_grad one[2] = {{ga, gb}, {NULL, NULL}}, other[2] = {{NULL, NULL}, {ga, gb}};
    for (int t = 1; t <= 5; t++) {
        const stlora_step_info info = step(optimizer, 0.01, one);
        assert_near(info.grad_norm, sqrt(.15), 1e-7);
        assert_int_equal(info.pairs_shrinking, 2);
    }
    const float untouched[2] = {1.0f, 2.0f};
    assert_memory_equal(a[1], untouched, sizeof untouched);
    assert_int_equal(state_of(optimizer, 0).steps, 5);
    assert_int_equal(state_of(optimizer, 1).steps, 0);
    assert_true(state_of(optimizer, 1).shrink_factor == 1.0);
    for (int t = 1; t <= 5; t++)
        (void)step(optimizer, 0.01, other);
    assert_memory_equal(a[0], a[1], sizeof a[0]); /* its steps count from its own first gradient */
    assert_memory_equal(b[0], b[1], sizeof b[0]);
    stlora_optimizer_free(optimizer);
}

static void e13_zero_gradient(void **unused)
{
    (void)unused;
    float a[2] = {1.0f, 1.0f}, b[2] = {0.0f, 0.0f};
    const float zero[2] = {0.0f, 0.0f};
    const stlora_optimizer_config config = settings(0.01, 0.1);
    const stlora_pair pair = {.name = "p", .n = 2, .m = 2, .r = 1, .a = a, .b = b};
    stlora_optimizer *optimizer = create(&config, &pair, 1);
    const stlora_pair_grad grad = {zero, zero};
    for (int t = 1; t <= 10; t++)
        assert_true(step(optimizer, 0.01, &grad).grad_norm == 0.0);
    const double want[2] = {.895378843116, .895378843116};
    assert_values(a, want, 10);
    const stlora_pair_state state = state_of(optimizer, 0);
    for (int i = 0; i < 2; i++)
        assert_true(b[i] == 0.0f && state.m_a[i] == 0.0f && state.v_a[i] == 0.0f &&
                    state.m_b[i] == 0.0f && state.v_b[i] == 0.0f);
    stlora_optimizer_free(optimizer);
}

static void e14_nonfinite_gradient_changes_nothing(void **unused)
{
    (void)unused;
    const float bad[3] = {NAN, INFINITY, -INFINITY};
    const stlora_optimizer_config config = settings(0.05, 0.1);
    for (int k = 0; k < 6; k++) {
        q_run run, want;
        q_begin(&run, &config);
        q_begin(&want, &config);
        q_steps(&run, 1, k); /* refused as the first step, too */
        q_steps(&want, 1, k);
        float ga[Q_A], gb[Q_B];
        q_gradients(k + 1, ga, gb);
        if (k % 2)
            gb[2] = bad[k / 2];
        else
            ga[3] = bad[k / 2];
        const stlora_pair_grad grad = {ga, gb};
        stlora_error err = {0};
        stlora_step_info info = {.grad_norm = -1.0, .pairs_shrinking = -1};
        assert_int_equal(stlora_optimizer_step(run.optimizer, 0.02, &grad, &info, &err),
                         STLORA_E_NONFINITE);
        assert_non_null(strstr(err.text, k % 2 ? "B of pair q" : "A of pair q"));
        assert_true(info.grad_norm == -1.0 && info.pairs_shrinking == -1);
        assert_memory_equal(run.a, want.a, sizeof want.a);
        assert_memory_equal(run.b, want.b, sizeof want.b);
        const stlora_pair_state got = state_of(run.optimizer, 0),
                                kept = state_of(want.optimizer, 0);
        assert_int_equal(got.steps, kept.steps);
        assert_true(got.shrink_factor == kept.shrink_factor && got.armed == kept.armed);
        assert_memory_equal(got.m_a, kept.m_a, sizeof want.a);
        assert_memory_equal(got.v_a, kept.v_a, sizeof want.a);
        assert_memory_equal(got.m_b, kept.m_b, sizeof want.b);
        assert_memory_equal(got.v_b, kept.v_b, sizeof want.b);
        q_steps(&run, k + 1, Q_STEPS); /* and the run goes on as if nothing had been */
        q_steps(&want, k + 1, Q_STEPS);
        assert_memory_equal(run.a, want.a, sizeof want.a);
        stlora_optimizer_free(run.optimizer);
        stlora_optimizer_free(want.optimizer);
    }
}

static void e15_range_of_the_ratio(void **unused)
{
    (void)unused;
    const double refused[] = {-1e-9, 1.0, 1.5, (double)NAN, (double)INFINITY};
    const double accepted[] = {0.0, 1.0 - 0x1p-24};
    float a[1] = {1.0f}, b[1] = {0.0f};
    const stlora_pair pair = {.name = "p", .n = 1, .m = 1, .r = 1, .a = a, .b = b};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        stlora_optimizer *optimizer = NULL;
        stlora_error err = {0};
        const stlora_optimizer_config config = settings(refused[i], 0.0);
        assert_int_equal(stlora_optimizer_create(&optimizer, &config, &pair, 1, &err),
                         STLORA_E_USAGE);
        assert_null(optimizer);
        assert_non_null(strstr(err.text, "shrink_ratio"));
    }
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
        const stlora_optimizer_config config = settings(accepted[i], 0.0);
        stlora_optimizer_free(create(&config, &pair, 1));
    }
}

/* The share of elements that one shrink changes when they are stored as bf16: x (1 - ratio) rounds back to x unless
 * ratio M > 2^-8, M in [1, 2) the mantissa of x. */
static double changed_in_bf16(double ratio)
{
    enum { COUNT = 100000 };
    const double bound = 1.0 / sqrt(896.0);
    const float shrink = (float)(1.0 - ratio);
    int changed = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        const double u = stlora_rng_uniform(1, STLORA_RNG_SAMPLE, 16, i);
        const uint16_t x = stlora_f32_to_bf16((float)((2.0 * u - 1.0) * bound));
        changed += stlora_f32_to_bf16(stlora_bf16_to_f32(x) * shrink) != x;
    }
    return (double)changed / COUNT;
}

/* Why masters are fp32: in bf16 the paper's ratio does nothing at all, in fp32 it moves every element. */
static void e16_bf16_would_round_the_shrink_away(void **unused)
{
    (void)unused;
    assert_true(changed_in_bf16(5e-4) == 0.0);
    assert_true(changed_in_bf16(1e-3) == 0.0);
    assert_near(changed_in_bf16(2e-3), .0478, 0.003);
    assert_true(changed_in_bf16(5e-3) == 1.0);

    enum { N = 896, R = 8, M = 4 };
    static float a[R * N], before[R * N], b[M * R], ga[R * N], gb[M * R];
    for (uint64_t i = 0; i < R * N; i++)
        a[i] = (float)((2.0 * stlora_rng_uniform(1, STLORA_RNG_SAMPLE, 17, i) - 1.0) / sqrt(896.0));
    memcpy(before, a, sizeof a);
    const stlora_optimizer_config config = settings(5e-4, 0.0);
    const stlora_pair pair = {.name = "p", .n = N, .m = M, .r = R, .a = a, .b = b};
    stlora_optimizer *optimizer = create(&config, &pair, 1);
    const stlora_pair_grad grad = {ga, gb};
    const double start = state_of(optimizer, 0).norm_a;
    (void)step(optimizer, 1e-4, &grad);
    for (int i = 0; i < R * N; i++)
        assert_true(a[i] != before[i] || a[i] == 0.0f);
    for (int t = 2; t <= 100; t++)
        (void)step(optimizer, 1e-4, &grad);
    assert_near(state_of(optimizer, 0).norm_a / start, pow(1.0 - 5e-4, 100), 3e-6);
    stlora_optimizer_free(optimizer);
}

/* The optimizer sees mean gradients: however a batch was cut, one step, one shrink. Gradients on a grid of 2^-10, so that
 * their mean over four is exact and the two runs are alike to the last bit. */
static void e17_accumulation(void **unused)
{
    (void)unused;
    enum { PARTS = 4, STEPS = 10 };
    const stlora_optimizer_config config = settings(0.05, 0.01);
    q_run whole, cut;
    q_begin(&whole, &config);
    q_begin(&cut, &config);
    for (uint64_t t = 1; t <= STEPS; t++) {
        float mean[Q_A + Q_B] = {0}, sum[Q_A + Q_B] = {0};
        for (uint64_t i = 0; i < Q_A + Q_B; i++) {
            int64_t units = 0;
            for (uint64_t part = 0; part < PARTS; part++) {
                const int64_t unit =
                    (int64_t)stlora_rng_u32(7, STLORA_RNG_SAMPLE, t, i * PARTS + part) % 512;
                units += unit;
                sum[i] += (float)unit / 1024.0f / PARTS;
            }
            mean[i] = (float)units / (1024.0f * PARTS);
        }
        const stlora_pair_grad big = {mean, mean + Q_A}, accumulated = {sum, sum + Q_A};
        (void)step(whole.optimizer, 0.02, &big);
        (void)step(cut.optimizer, 0.02, &accumulated);
    }
    assert_memory_equal(whole.a, cut.a, sizeof whole.a);
    assert_memory_equal(whole.b, cut.b, sizeof whole.b);
    const stlora_pair_state state = state_of(cut.optimizer, 0);
    const double shrinks = (double)(state.armed ? state.steps : state.stop_step - 1);
    assert_near(state.shrink_factor, pow(0.95, shrinks), 1e-14);
    assert_int_equal(state.steps, STEPS);
    stlora_optimizer_free(whole.optimizer);
    stlora_optimizer_free(cut.optimizer);
}

static void e18_clipping(void **unused)
{
    (void)unused;
    assert_near(stlora_clip_factor(10.0, 1.0), 1.0 / (10.0 + 1e-6), 0.0);
    assert_true(stlora_clip_factor(10.0, 0.0) == 1.0);
    assert_true(stlora_clip_factor(0.5, 1.0) == 1.0);
    assert_true(stlora_clip_factor(0.0, 1.0) == 1.0);

    float a[2] = {3.0f, 4.0f}, b[2] = {1.0f, 1.0f};
    const float ga[2] = {6.0f, 0.0f}, gb[2] = {0.0f, -8.0f};
    stlora_optimizer_config config = settings(0.0, 0.0);
    config.max_grad_norm = 1.0;
    const stlora_pair pair = {.name = "p", .n = 2, .m = 2, .r = 1, .a = a, .b = b};
    stlora_optimizer *optimizer = create(&config, &pair, 1);
    const stlora_pair_grad grad = {ga, gb};
    assert_true(step(optimizer, 0.1, &grad).grad_norm == 10.0); /* before clipping */
    const stlora_pair_state state = state_of(optimizer, 0);
    assert_near((double)state.m_a[0], 0.1 * 6.0 / (10.0 + 1e-6), 1e-8);
    assert_near((double)state.m_b[1], 0.1 * -8.0 / (10.0 + 1e-6), 1e-8);
    assert_near((double)state.v_b[1], 1e-3 * 0.64, 1e-9);
    stlora_optimizer_free(optimizer);
}

static void e19_first_updates_of_a(void **unused)
{
    (void)unused;
    const double want[] = {.744136823567, .858462555765, .909699422084,
                           .938672564377, .957155109422, .969852638005};
    stlora_optimizer_config config = settings(0.0, 0.0);
    config.eps = 1e-30;
    float a[1] = {0.0f}, b[1] = {0.0f};
    const float zero[1] = {0.0f}, g[1] = {0.25f};
    const stlora_pair pair = {.name = "p", .n = 1, .m = 1, .r = 1, .a = a, .b = b};
    stlora_optimizer *optimizer = create(&config, &pair, 1);
    for (int t = 1; t <= 7; t++) {
        const stlora_pair_grad grad = {t == 1 ? zero : g, g};
        a[0] = 0.0f; /* so that the update is read without the rounding of a sum */
        (void)step(optimizer, 1.0, &grad);
        assert_near((double)-a[0], t == 1 ? 0.0 : want[t - 2], 2e-6);
    }
    stlora_optimizer_free(optimizer);
}

static int64_t ulps_apart(float x, float y)
{
    int32_t i, j;
    memcpy(&i, &x, sizeof i);
    memcpy(&j, &y, sizeof j);
    const int64_t ordered_i = i < 0 ? (int64_t)INT32_MIN - i : i,
                  ordered_j = j < 0 ? (int64_t)INT32_MIN - j : j;
    return ordered_i > ordered_j ? ordered_i - ordered_j : ordered_j - ordered_i;
}

/* Fused (shrink inside the pass, on the fast table) against unfused (shrink as a pass of its own, on the definition), and the
 * sum that the pass leaves against the sum that a checkpoint's loader takes: those must not differ in any bit. */
static void e20_fused_and_unfused(void **unused)
{
    (void)unused;
    enum { COUNT = 8 * 896 };
    static float p[2][COUNT], m[2][COUNT], v[2][COUNT], g[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        p[0][i] = (float)(stlora_rng_uniform(3, STLORA_RNG_SAMPLE, 0, i) - 0.5);
        m[0][i] = (float)(stlora_rng_uniform(3, STLORA_RNG_SAMPLE, 1, i) - 0.5);
        v[0][i] = (float)stlora_rng_uniform(3, STLORA_RNG_SAMPLE, 2, i);
        g[i] = (float)(stlora_rng_uniform(3, STLORA_RNG_SAMPLE, 3, i) - 0.5);
        p[1][i] = p[0][i] * (float)(1.0 - 5e-4);
        m[1][i] = m[0][i];
        v[1][i] = v[0][i];
    }
    const char *const kinds[2] = {"cpu", "ref"};
    double sums[2];
    stlora_error err = {0};
    for (int k = 0; k < 2; k++) {
        stlora_backend *backend;
        assert_ok(stlora_backend_create(&backend, kinds[k], 1, &err));
        const stlora_adamw_args args = {.count = COUNT,
                                        .p = p[k],
                                        .m = m[k],
                                        .v = v[k],
                                        .g = g,
                                        .grad_scale = 0.37,
                                        .shrink = k == 0 ? 1.0 - 5e-4 : 1.0,
                                        .decay = 1.0 - 1e-6,
                                        .beta1 = 0.9,
                                        .beta2 = 0.999,
                                        .eps = 1e-8,
                                        .step_size = 1e-4,
                                        .sqrt_bc2 = 0.9,
                                        .sum_squares = &sums[k]};
        backend->adamw(backend, &args, 1);
        assert_true(sums[k] == backend->sum_squares(backend, p[k], COUNT));
        stlora_backend_free(backend);
    }
    for (int i = 0; i < COUNT; i++) {
        assert_true(ulps_apart(p[0][i], p[1][i]) <= 1);
        assert_true(ulps_apart(m[0][i], m[1][i]) <= 1);
        assert_true(ulps_apart(v[0][i], v[1][i]) <= 1);
    }
    assert_near(sums[0], sums[1], 1e-6 * sums[1]);
}

/* E-21, the long runs, are the golden cases long_slow and long_fast: tests/api/test_optim_golden.c. */

static void e22_shrink_factor(void **unused)
{
    (void)unused;
    const stlora_optimizer_config config = settings(0.05, 0.0);
    q_run run;
    q_begin(&run, &config);
    for (int t = 1; t <= Q_STEPS; t++) {
        q_step(&run, t, 0.02);
        assert_near(state_of(run.optimizer, 0).shrink_factor, pow(0.95, t < 13 ? t : 12), 1e-15);
    }
    assert_near(state_of(run.optimizer, 0).shrink_factor, .540360087662, 1e-12);
    stlora_optimizer_free(run.optimizer);
}

/* A strong ratio for many steps: the product would underflow to 0, which no checkpoint may hold. */
static void e22_shrink_factor_stays_above_zero(void **unused)
{
    (void)unused;
    bool armed = true;
    int64_t stop_step = 0;
    double factor = 1.0;
    for (int64_t t = 1; t <= 2000; t++)
        assert_true(stlora_shrink_record(true, 0.5, t, &armed, &stop_step, &factor) == 0.5);
    assert_true(factor > 0.0 && armed && stop_step == 0);
}

/* The comparison is one of fp32 numbers: norms that differ only beyond fp32 are a tie. */
static void norms_are_compared_as_fp32(void **unused)
{
    (void)unused;
    assert_true(stlora_shrink_continues(1.0 - 1e-12, 1.0, 5, 5, STLORA_TIE_CODE));
    assert_false(stlora_shrink_continues(1.0 + 1e-12, 1.0, 5, 5, STLORA_TIE_PAPER));
    assert_true(stlora_shrink_continues(1.5, 1.0, 3, 2, STLORA_TIE_CODE));
    assert_false(stlora_shrink_continues(1.4999, 1.0, 3, 2, STLORA_TIE_CODE));
    assert_true(stlora_shrink_continues(1.0, 0.0, 3, 2, STLORA_TIE_PAPER));
    assert_false(stlora_shrink_continues(0.0, 0.0, 3, 2, STLORA_TIE_CODE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(e01_first_step_with_zero_b),
        cmocka_unit_test(e02_decay_after_shrink_before_moments),
        cmocka_unit_test(e03_latches_at_13),
        cmocka_unit_test(e04_ratio_zero_is_adamw),
        cmocka_unit_test(e05_weight_decay),
        cmocka_unit_test(e05_every_rounding),
        cmocka_unit_test(e06_schedule_leaves_the_ratio_alone),
        cmocka_unit_test(e07_tie),
        cmocka_unit_test(e08_all_zero_latches),
        cmocka_unit_test(e09_the_latch_is_permanent),
        cmocka_unit_test(e10_restored_state_goes_on_alike),
        cmocka_unit_test(e11_two_pairs_stop_on_their_own),
        cmocka_unit_test(e12_a_pair_without_gradient_rests),
        cmocka_unit_test(e13_zero_gradient),
        cmocka_unit_test(e14_nonfinite_gradient_changes_nothing),
        cmocka_unit_test(e15_range_of_the_ratio),
        cmocka_unit_test(e16_bf16_would_round_the_shrink_away),
        cmocka_unit_test(e17_accumulation),
        cmocka_unit_test(e18_clipping),
        cmocka_unit_test(e19_first_updates_of_a),
        cmocka_unit_test(e20_fused_and_unfused),
        cmocka_unit_test(e22_shrink_factor),
        cmocka_unit_test(e22_shrink_factor_stays_above_zero),
        cmocka_unit_test(norms_are_compared_as_fp32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
