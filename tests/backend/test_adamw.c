/* test_adamw.c: adamw of cpu at every level and of ref, bit by bit: its sum of squares has sum_squares' bits and the order written in
 * ref/adamw.c; a shrink and a decay of 1 leave p's bits alone; matrices of one call have the bits of a call each; the fused pass is within an
 * ulp of the passes one by one.
 */
#include "backend/op_tables.h"

/* The order of ref/adamw.c's comment, written a second time and another way: every element looks for its lane. */
static double squares_as_written(const float *x, int64_t count)
{
    double total = 0;
    for (int64_t block = 0; block * 65536 < count; block++) {
        double sum = 0;
        for (int64_t lane = 0; lane < 16; lane++) {
            double squares = 0;
            for (int64_t i = block * 65536 + lane; i < count && i < (block + 1) * 65536; i += 16) {
                squares += (double)x[i] * (double)x[i];
            }
            sum = lane == 0 ? squares : sum + squares;
        }
        total += sum;
    }
    return total;
}

static void test_order_of_squares(void **state)
{
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 15, 16, 17, 31, 33, 1000, 65535, 65536, 65537, 200003};
    tables all;
    float *x = calloc(200003, sizeof *x);
    assert_non_null(x);
    uint64_t seed = 3;
    for (int i = 0; i < 200003; i++)
        x[i] = (float)op_uniform(&seed, -3, 3);
    for (int threads = 1; threads <= 3; threads++) {
        tables_open(&all, threads);
        for (int n = 0; n < all.count; n++) {
            for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
                const double got = all.all[n]->sum_squares(all.all[n], x, counts[k]);
                const double want = squares_as_written(x, counts[k]);
                if (got != want) {
                    fail_msg("%s: %lld squares sum to %.17g, should be %.17g", all.all[n]->name, (long long)counts[k],
                             got, want);
                }
            }
            x[77] = NAN;
            assert_true(isnan(all.all[n]->sum_squares(all.all[n], x, 100)));
            x[77] = -INFINITY;
            assert_true(isinf(all.all[n]->sum_squares(all.all[n], x, 100)));
            x[77] = 1;
        }
        tables_close(&all);
    }
    free(x);
}

static void check_sums(const op_case *c, void *context)
{
    const tables *all = context;
    for (int n = 0; n < all->count; n++) {
        const stlora_backend *table = all->all[n];
        op_instance x;
        op_make(&x, c);
        op_run(table, &x, 0, c->tokens);
        const double sum = table->sum_squares(table, op_floats(&x.buffer[WP], 0), c->tokens);
        if (sum != x.sum_squares)
            fail_msg("%s: the squares of %lld elements of the new p sum to %.17g, adamw says %.17g", table->name,
                     (long long)c->tokens, sum, x.sum_squares);
        op_free(&x);
    }
}

static void test_sums(void **state)
{
    (void)state;
    tables all;
    tables_open(&all, 1);
    op_each_face(&op_small, OP_ADAMW, check_sums, &all);
    tables_close(&all);
}

/* Without gradient and moments nothing moves p: not the sign of a zero, not a subnormal number. */
static void test_leaves_bits(void **state)
{
    (void)state;
    tables all;
    tables_open(&all, 1);
    for (int n = 0; n < all.count; n++) {
        float p[37], held[37], zero[37] = {0}, m[37] = {0}, v[37] = {0};
        for (int i = 0; i < 37; i++)
            p[i] = (float[]){-0.0f, 1e-40f, -3e38f, 0.1f, 1e-45f}[i % 5];
        memcpy(held, p, sizeof p);
        double sum;
        const stlora_adamw_args args = {.count = 37,
                                        .p = p,
                                        .m = m,
                                        .v = v,
                                        .g = zero,
                                        .grad_scale = 1,
                                        .shrink = 1,
                                        .decay = 1,
                                        .beta1 = 0.9,
                                        .beta2 = 0.999,
                                        .eps = 1e-8,
                                        .step_size = 1e-2,
                                        .sqrt_bc2 = 0.03,
                                        .sum_squares = &sum};
        all.all[n]->adamw(all.all[n], &args, 1);
        assert_memory_equal(p, held, sizeof p);
    }
    tables_close(&all);
}

/* Matrices of one call, small ones and large ones in any order, have the bits of a call each, of ref's. */
static void test_matrices(void **state)
{
    (void)state;
    static const int64_t counts[] = {37, 7168, 0, 65536, 65537, 1376, 200003, 1};
    enum { MATRICES = sizeof counts / sizeof counts[0] };
    tables all;
    tables_open(&all, 3);
    for (int n = 0; n < all.count; n++) {
        op_instance got[MATRICES], want[MATRICES];
        stlora_adamw_args args[MATRICES];
        for (int i = 0; i < MATRICES; i++) {
            const op_case c = {
                .op = OP_ADAMW, .tokens = counts[i], .shrink = 1 - 0.001 * i, .decay = 0.99, .grad_scale = 1};
            op_make(&got[i], &c);
            op_make(&want[i], &c);
            op_run(all.all[all.count - 1], &want[i], 0, c.tokens);
            args[i] = op_adamw_args(&got[i]);
        }
        all.all[n]->adamw(all.all[n], args, MATRICES);
        for (int i = 0; i < MATRICES; i++) {
            assert_true(same_bits(&got[i], &want[i]));
            op_free(&got[i]);
            op_free(&want[i]);
        }
    }
    tables_close(&all);
}

static int64_t ulps_between(float a, float b)
{
    int32_t x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    const int64_t i = x < 0 ? INT64_C(-2147483648) - x : x, j = y < 0 ? INT64_C(-2147483648) - y : y;
    return i > j ? i - j : j - i;
}

/* E-20: shrink, decay and AdamW as passes of their own over memory, against the fused pass. */
static void test_fused(void **state)
{
    (void)state;
    const op_case c = {.op = OP_ADAMW, .tokens = 8 * 896, .shrink = 0.995, .decay = 0.99995, .grad_scale = 0.25};
    tables all;
    tables_open(&all, 2);
    for (int n = 0; n < all.count; n++) {
        op_instance x, y;
        op_make(&x, &c);
        op_make(&y, &c);
        op_run(all.all[n], &x, 0, c.tokens);
        const stlora_adamw_args a = op_adamw_args(&y);
        float *g = malloc(sizeof *g * (size_t)a.count);
        assert_non_null(g);
        for (int64_t i = 0; i < a.count; i++)
            g[i] = a.g[i] * (float)a.grad_scale;
        for (int64_t i = 0; i < a.count; i++)
            a.p[i] *= (float)a.shrink;
        for (int64_t i = 0; i < a.count; i++)
            a.p[i] *= (float)a.decay;
        for (int64_t i = 0; i < a.count; i++)
            a.m[i] += (float)(1 - a.beta1) * (g[i] - a.m[i]);
        for (int64_t i = 0; i < a.count; i++)
            a.v[i] *= (float)a.beta2;
        for (int64_t i = 0; i < a.count; i++)
            a.v[i] += (float)(1 - a.beta2) * g[i] * g[i];
        for (int64_t i = 0; i < a.count; i++) {
            const float d = sqrtf(a.v[i]) / (float)a.sqrt_bc2 + (float)a.eps;
            a.p[i] -= (float)a.step_size * (a.m[i] / d);
        }
        const float *p = op_floats(&x.buffer[WP], 0);
        for (int64_t i = 0; i < a.count; i++) {
            if (ulps_between(p[i], a.p[i]) <= 1) continue;
            fail_msg("%s: p[%lld] is %.9g fused and %.9g pass by pass", all.all[n]->name, (long long)i, (double)p[i],
                     (double)a.p[i]);
        }
        free(g);
        op_free(&x);
        op_free(&y);
    }
    tables_close(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_squares), cmocka_unit_test(test_sums),  cmocka_unit_test(test_leaves_bits),
        cmocka_unit_test(test_matrices),         cmocka_unit_test(test_fused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
