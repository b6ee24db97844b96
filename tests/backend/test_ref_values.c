/* test_ref_values.c: ref against numbers that come from elsewhere than its own formulas: by hand, from identities, from a dense
 * softmax written here, and from the optimizer's worked examples E-1 and E-2. A gradient check cannot see a wrong forward op.
 */
#include "backend/op_instance.h"

static stlora_backend ref_table(void)
{
    stlora_backend ref = {.name = "ref", .threads = 1};
    stlora_ref_fill(&ref);
    return ref;
}

static void assert_near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance)) fail_msg("%.15g, should be %.15g", got, want);
}

static stlora_cmat matrix(const double *data, int64_t rows, int64_t cols)
{
    return (stlora_cmat){data, STLORA_F64, rows, cols, cols};
}

static stlora_mat result(double *data, int64_t rows, int64_t cols)
{
    return (stlora_mat){data, STLORA_F64, rows, cols, cols};
}

/* x = [1 2; 3 4], W = [1 0 -1; 2 1 0]^T by rows of outputs, everything else as small. */
static void test_product_by_hand(void **state)
{
    (void)state;
    const stlora_backend ref = ref_table();
    const double x[] = {1, 2, 3, 4}, bias[] = {10, 20, 30};
    const double out_in[] = {1, 2, 0, 1, -1, 0}, in_out[] = {1, 0, -1, 2, 1, 0};
    const float h[] = {1, 2}, u[] = {1, 10, 100};
    double y[] = {1000, 1000, 1000, 1000, 1000, 1000};
    stlora_product_args a = {.tokens = 2,
                             .in = 2,
                             .out = 3,
                             .x = matrix(x, 2, 2),
                             .w = out_in,
                             .w_dtype = STLORA_F64,
                             .w_layout = STLORA_OUT_IN,
                             .ldw = 2,
                             .y = result(y, 2, 3)};
    const double plain[] = {5, 2, -1, 11, 4, -3};
    ref.product(&ref, &a, 1);
    for (int i = 0; i < 6; i++)
        assert_near(y[i], plain[i], 0);

    a.w = in_out;
    a.w_layout = STLORA_IN_OUT;
    a.ldw = 3;
    a.bias = bias;
    a.bias_dtype = STLORA_F64;
    a.h = h;
    a.u = u;
    a.rank = 1;
    a.u_rank_stride = 3;
    a.u_out_stride = 1;
    a.scale = 0.5;
    const double full[] = {15.5, 27, 79, 22, 34, 127};
    ref.product(&ref, &a, 1);
    for (int i = 0; i < 6; i++)
        assert_near(y[i], full[i], 0);

    a.accumulate = true;
    ref.product(&ref, &a, 1);
    for (int i = 0; i < 6; i++)
        assert_near(y[i], 2 * full[i], 0);

    a.accumulate = false;
    a.w = NULL; /* only the low-rank term and the bias */
    const double lowrank[] = {10.5, 25, 80, 11, 30, 130};
    ref.product(&ref, &a, 1);
    for (int i = 0; i < 6; i++)
        assert_near(y[i], lowrank[i], 0);
}

static void test_lowrank_by_hand(void **state)
{
    (void)state;
    const stlora_backend ref = ref_table();
    const double x[] = {1, 2, 3, 4, 5, 6}; /* (2, 3) */
    const float a[] = {1, 0, -1, 2, 2, 2}; /* (2, 3) as A */
    const float b[] = {1, 2, 0, 2, -1, 2}; /* the same as B (3, 2) */
    const float want[] = {-2, 12, -2, 30};
    float h[4], g[6] = {1, 1, 1, 1, 1, 1};
    const stlora_lowrank_project_args as_a = {2, 3, 2, matrix(x, 2, 3), a, 3, 1, h};
    const stlora_lowrank_project_args as_b = {2, 3, 2, matrix(x, 2, 3), b, 1, 2, h};
    ref.lowrank_project(&ref, &as_a);
    assert_memory_equal(h, want, sizeof h);
    memset(h, 0, sizeof h);
    ref.lowrank_project(&ref, &as_b);
    assert_memory_equal(h, want, sizeof h);

    const float p[] = {1, 0, 2, -1}; /* (2 tokens, 2 ranks) */
    const stlora_lowrank_grad_args grad = {2, 3, 2, p, matrix(x, 2, 3), 10, g, 3, 1, 0};
    const float sums[] = {1 + 10 * 9, 1 + 10 * 12, 1 + 10 * 15, 1 - 40, 1 - 50, 1 - 60};
    ref.lowrank_grad(&ref, &grad);
    assert_memory_equal(g, sums, sizeof g);
}

/* A normalised row has mean 0 and mean square var/(var + eps); so does RMS without the mean. */
static void test_norm_of_norm(void **state)
{
    (void)state;
    const stlora_backend ref = ref_table();
    enum { C = 33 };
    double x[C], y[C], w[C], b[C] = {0};
    float stats[2];
    uint64_t seed = 9;
    for (int kind = 0; kind < 2; kind++) {
        double mean = 0, square = 0, var = 0, y_mean = 0, y_square = 0;
        for (int c = 0; c < C; c++) {
            x[c] = op_uniform(&seed, -1, 5);
            w[c] = 1;
            mean += x[c] / C;
            square += x[c] * x[c] / C;
        }
        var = kind == STLORA_NORM_LAYER ? square - mean * mean : square;
        const stlora_norm_args args = {.kind = (stlora_norm_kind)kind,
                                       .tokens = 1,
                                       .width = C,
                                       .eps = 0.25,
                                       .x = matrix(x, 1, C),
                                       .w = w,
                                       .b = kind ? b : NULL,
                                       .w_dtype = STLORA_F64,
                                       .y = result(y, 1, C),
                                       .stats = stats};
        ref.norm(&ref, &args);
        for (int c = 0; c < C; c++) {
            y_mean += y[c] / C;
            y_square += y[c] * y[c] / C;
        }
        if (kind == STLORA_NORM_LAYER) assert_near(y_mean, 0, 1e-14);
        assert_near(y_square, var / (var + 0.25), 1e-13);
        assert_near((double)stats[0], kind == STLORA_NORM_LAYER ? mean : 0, 1e-6);
        assert_near((double)stats[1], 1 / sqrt(var + 0.25), 1e-6);
    }
}

/* Turning by an angle and back leaves x; a turn by 90 degrees at position 1 takes (a, b) to (-b, a). */
static void test_rope(void **state)
{
    (void)state;
    const stlora_backend ref = ref_table();
    const float cosine[] = {1, 0}, sine[] = {0, 1}; /* two positions, D/2 = 1 */
    const int32_t positions[] = {1, 0};
    double x[] = {1, 2, 3, 4};
    stlora_rope_args args = {
        .tokens = 2, .heads = 1, .head_dim = 2, .x = result(x, 2, 2), .positions = positions, .cos = cosine, .sin = sine};
    const double turned[] = {-2, 1, 3, 4};
    ref.rope(&ref, &args);
    for (int i = 0; i < 4; i++)
        assert_near(x[i], turned[i], 0);

    const op_case c = {.op = OP_ROPE, .tokens = 9, .heads = 3, .head_dim = 16, .pad = 2, .variant = double_variants[0]};
    op_instance before, after;
    op_make(&before, &c);
    op_copy(&after, &before);
    op_run(&ref, &after, 0, c.tokens);
    after.c.backward = true;
    op_run(&ref, &after, 0, c.tokens);
    for (int64_t n = 0; n < 9 * 48; n++) {
        assert_near(op_get(&after.buffer[EX], n / 48, n % 48), op_get(&before.buffer[EX], n / 48, n % 48), 1e-7);
    }
    op_free(&before);
    op_free(&after);
}

/* A plain softmax over a full matrix of scores with a mask; several segments, and queries that are only the last of the keys. */
static void check_dense(const op_case *c, void *context)
{
    (void)context;
    const stlora_backend ref = ref_table();
    op_instance x;
    op_make(&x, c);
    op_run(&ref, &x, 0, c->segment_count);
    double scores[256];
    for (int64_t t = 0; t < op_queries(c); t++) {
        for (int64_t h = 0; h < c->heads; h++) {
            const int64_t kv = h * c->kv_heads / c->heads;
            double sum = 0;
            for (int64_t u = 0; u < op_keys(c); u++) {
                bool seen = false;
                for (int64_t n = 0; n < c->segment_count; n++) {
                    const stlora_segment *s = &c->segments[n];
                    const bool mine = t >= s->q0 && t < s->q0 + s->q_count && u >= s->k0 && u < s->k0 + s->k_count;
                    /* counted from the ends: the last query sees the last key */
                    const int64_t ahead = (s->k0 + s->k_count - 1 - u) - (s->q0 + s->q_count - 1 - t);
                    if (mine && ahead >= 0 && (c->window == 0 || ahead < c->window)) seen = true;
                }
                double s = 0;
                for (int64_t d = 0; d < c->head_dim; d++) {
                    s += op_get(&x.buffer[AQ], t, h * c->head_dim + d) * op_get(&x.buffer[AK], u, kv * c->head_dim + d);
                }
                if (c->softcap > 0) s = c->softcap / c->scale * tanh(c->scale * s / c->softcap);
                scores[u] = seen ? exp(c->scale * s) : 0;
                sum += scores[u];
            }
            assert_near(op_get(&x.buffer[ALSE], t, h), log(sum), 1e-6 * (1 + fabs(log(sum))));
            for (int64_t d = 0; d < c->head_dim; d++) {
                double o = 0;
                for (int64_t u = 0; u < op_keys(c); u++) {
                    o += scores[u] / sum * op_get(&x.buffer[AV], u, kv * c->head_dim + d);
                }
                assert_near(op_get(&x.buffer[AO], t, h * c->head_dim + d), o, 1e-12);
            }
        }
    }
    op_free(&x);
}

static void test_attention_dense(void **state)
{
    (void)state;
    op_each(&op_small, OP_ATTENTION, false, double_variants, 1, check_dense, NULL);
}

static void test_activations(void **state)
{
    (void)state;
    const stlora_backend ref = ref_table();
    /* silu(1) = 1/(1+1/e), silu(-2) = -2/(1+e^2); gelu_tanh as PyTorch's documentation defines it, by a calculator */
    const double glu[] = {1, -2, 3, 0.5}, gelu[] = {1, -1, 0.5, 0};
    const double glu_want[] = {2.19317573589, -0.119202922022};
    const double gelu_want[] = {0.841191990608, -0.158808009392, 0.345714009737, 0};
    double y[4];
    const stlora_activation_args a = {STLORA_ACT_SILU_GLU, 1, 2, matrix(glu, 1, 4), result(y, 1, 2)};
    const stlora_activation_args b = {STLORA_ACT_GELU_TANH, 1, 4, matrix(gelu, 1, 4), result(y, 1, 4)};
    const stlora_activation_args gated = {STLORA_ACT_GELU_TANH_GLU, 1, 2, matrix(gelu, 1, 4), result(y, 1, 2)};
    ref.activation(&ref, &a);
    for (int i = 0; i < 2; i++)
        assert_near(y[i], glu_want[i], 1e-11);
    ref.activation(&ref, &b);
    for (int i = 0; i < 4; i++)
        assert_near(y[i], gelu_want[i], 1e-9);
    ref.activation(&ref, &gated);
    assert_near(y[0], 0.5 * gelu_want[0], 1e-9);
    assert_near(y[1], 0, 0);
}

/* 3 tanh(1/3), with what was there before; a scale alone. */
static void test_scale(void **state)
{
    (void)state;
    const stlora_backend ref = ref_table();
    const double x[] = {2, -4};
    double y[] = {1, 10};
    stlora_scale_args args = {
        .tokens = 1, .width = 2, .scale = 0.5, .softcap = 3, .x = matrix(x, 1, 2), .y = result(y, 1, 2), .accumulate = true};
    ref.scale(&ref, &args);
    assert_near(y[0], 1 + 0.964538212594903, 1e-12);
    assert_near(y[1], 10 - 1.7483488360437307, 1e-12);
    args.softcap = 0;
    args.accumulate = false;
    ref.scale(&ref, &args);
    assert_near(y[0], 1, 0);
    assert_near(y[1], -2, 0);
}

/* The same row once for each target: the probabilities sum to 1; two equal logits have log 1/2 each. */
static void test_logprobs_sum_to_one(void **state)
{
    (void)state;
    const stlora_backend ref = ref_table();
    enum { V = 65 };
    static double logits[V * V];
    float logprob[V];
    int32_t targets[V];
    double loss = 1, sum = 0, total = 0;
    uint64_t seed = 4;
    for (int v = 0; v < V; v++)
        logits[v] = op_uniform(&seed, -9, 9);
    for (int i = 0; i < V; i++) {
        memcpy(logits + i * V, logits, V * sizeof *logits);
        targets[i] = i;
    }
    stlora_cross_entropy_args a = {.rows = V,
                                   .vocab = V,
                                   .logits = matrix(logits, V, V),
                                   .targets = targets,
                                   .scale = 1,
                                   .logprob = logprob,
                                   .loss = &loss};
    ref.cross_entropy(&ref, &a);
    for (int v = 0; v < V; v++) {
        sum += exp((double)logprob[v]);
        total += (double)logprob[v];
    }
    assert_near(sum, 1, 1e-6);
    assert_near(loss, 1 - total, 1e-4);

    const double two[] = {700, 700};
    loss = 0;
    a = (stlora_cross_entropy_args){
        .rows = 1, .vocab = 2, .logits = matrix(two, 1, 2), .targets = targets, .loss = &loss};
    ref.cross_entropy(&ref, &a);
    assert_near(loss, log(2), 1e-12);
}

/* The mask depends on seed, stream, key and element only; a fraction p is dropped; the mean stays. */
static void test_dropout(void **state)
{
    (void)state;
    const stlora_backend ref = ref_table();
    enum { T = 64, W = 100 };
    static double x[T * W], y[T * W], z[T * W];
    uint64_t keys[T];
    for (int t = 0; t < T; t++)
        keys[t] = (UINT64_C(1) << 63) + (uint64_t)t;
    for (int i = 0; i < T * W; i++)
        x[i] = 1;
    stlora_dropout_args a = {T, W, matrix(x, T, W), result(y, T, W), false, 0.25, 42, 7, keys};
    ref.dropout(&ref, &a);
    double mean = 0;
    for (int i = 0; i < T * W; i++) {
        assert_true(y[i] == 0 || fabs(y[i] - 1 / 0.75) < 1e-15);
        mean += y[i] / (T * W);
    }
    assert_near(mean, 1, 5 * sqrt(0.25 / 0.75 / (T * W))); /* five standard deviations */

    stlora_dropout_args other = a; /* token 5 alone, from the middle of the data */
    other.tokens = 1;
    other.y = result(z, 1, W);
    other.token_keys = keys + 5;
    ref.dropout(&ref, &other);
    assert_memory_equal(z, y + 5 * W, W * sizeof *z);

    const struct {
        uint64_t seed, stream;
    } others[] = {{43, 7}, {42, 8}, {7, 42}};
    for (int n = 0; n < 3; n++) { /* another seed or stream: another mask, equal in about 0.625 of the places */
        a.y = result(z, T, W);
        a.seed = others[n].seed;
        a.stream = others[n].stream;
        ref.dropout(&ref, &a);
        double same = 0;
        for (int i = 0; i < T * W; i++)
            same += (y[i] == z[i] ? 1.0 : 0.0) / (T * W);
        assert_near(same, 0.625, 0.04);
    }
}

/* E-1 and E-2: A = [3,4], B = [0,0], g_A = 0 then [1,-1], g_B = [1,-2], shrink 1/2, rate 0.1, without and with decay 0.1. */
static void test_adamw_examples(void **state)
{
    (void)state;
    const stlora_backend ref = ref_table();
    static const double want[2][3][4] = {{{1.5, 2, -.099999999, .0999999995},
                                          {.675586318695, 1.0744136813, -.199999998, .199999999},
                                          {.251946904822, .623053095178, -.299999997, .2999999985}},
                                         {{1.485, 1.98, -.099999999, .0999999995},
                                          {.660661318695, 1.0545136813, -.19899999801, .198999999005},
                                          {.241181098229, .607830526771, -.29700999703, .297009998515}}};
    for (int decay = 0; decay < 2; decay++) {
        float a[] = {3, 4}, b[] = {0, 0}, ma[2] = {0}, va[2] = {0}, mb[2] = {0}, vb[2] = {0};
        for (int t = 1; t <= 3; t++) {
            const float ga[] = {t == 1 ? 0.0f : 1.0f, t == 1 ? 0.0f : -1.0f}, gb[] = {1, -2};
            double sum;
            stlora_adamw_args args = {.count = 2,
                                      .p = a,
                                      .m = ma,
                                      .v = va,
                                      .g = ga,
                                      .grad_scale = 1,
                                      .shrink = 0.5,
                                      .decay = decay ? 1 - 0.1 * 0.1 : 1,
                                      .beta1 = 0.9,
                                      .beta2 = 0.999,
                                      .eps = 1e-8,
                                      .step_size = 0.1 / (1 - pow(0.9, t)),
                                      .sqrt_bc2 = sqrt(1 - pow(0.999, t)),
                                      .sum_squares = &sum};
            ref.adamw(&ref, &args, 1);
            assert_near(sum, (double)a[0] * (double)a[0] + (double)a[1] * (double)a[1], 1e-12);
            args.p = b;
            args.m = mb;
            args.v = vb;
            args.g = gb;
            args.shrink = 1;
            ref.adamw(&ref, &args, 1);
            const double got[] = {(double)a[0], (double)a[1], (double)b[0], (double)b[1]};
            for (int i = 0; i < 4; i++) {
                assert_near(got[i], want[decay][t - 1][i], 1e-6);
            }
        }
    }
}

/* eps stands outside the root, after the bias correction: with m = v = 0, g = 2, t = 1, eps = 2: u = 2 / (2 + 2). */
static void test_adamw_eps(void **state)
{
    (void)state;
    const stlora_backend ref = ref_table();
    float p = 1, m = 0, v = 0, g = 2;
    double sum;
    const stlora_adamw_args args = {.count = 1,
                                    .p = &p,
                                    .m = &m,
                                    .v = &v,
                                    .g = &g,
                                    .grad_scale = 1,
                                    .shrink = 1,
                                    .decay = 1,
                                    .beta1 = 0.9,
                                    .beta2 = 0.999,
                                    .eps = 2,
                                    .step_size = 0.1 / (1 - 0.9),
                                    .sqrt_bc2 = sqrt(1 - 0.999),
                                    .sum_squares = &sum};
    ref.adamw(&ref, &args, 1);
    assert_near((double)p, 1 - 0.1 * 0.5, 1e-6);
    assert_near((double)m, 0.2, 1e-7);
    assert_near((double)v, 0.004, 1e-8);
}

static void test_embed(void **state)
{
    (void)state;
    const stlora_backend ref = ref_table();
    const double table[] = {1, 2, 3, 4, 5, 6}, places[] = {10, 20, 30, 40};
    const int32_t ids[] = {1, 0, 2}, positions[] = {0, 1, 1};
    double x[6];
    stlora_embed_args args = {3, 2, ids, positions, table, STLORA_F64, places, STLORA_F64, result(x, 3, 2)};
    const double want[] = {13, 24, 31, 42, 35, 46}, without[] = {3, 4, 1, 2, 5, 6};
    ref.embed(&ref, &args);
    for (int i = 0; i < 6; i++)
        assert_near(x[i], want[i], 0);
    args.position_table = NULL;
    ref.embed(&ref, &args);
    for (int i = 0; i < 6; i++)
        assert_near(x[i], without[i], 0);
}

static void test_registry(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_backend *backend = NULL;
    assert_int_equal(stlora_backend_create(&backend, "gpu", 1, &err), STLORA_E_USAGE);
    assert_int_equal(stlora_backend_create(&backend, "cpu", -1, &err), STLORA_E_USAGE);
    assert_int_equal(stlora_backend_create(&backend, "ref", 100000, &err), STLORA_E_USAGE);
    assert_int_equal(setenv("STLORA_CPU_LEVEL", "abacus", 1), 0);
    assert_int_equal(stlora_backend_create(&backend, "cpu", 1, &err), STLORA_E_USAGE);
    assert_non_null(strstr(err.text, "abacus"));
    assert_null(backend);                                   /* untouched by failures */
    assert_int_equal(setenv("STLORA_CPU_LEVEL", "", 1), 0); /* as good as unset */
    assert_ok(stlora_backend_create(&backend, "cpu", 0, &err));
    assert_true(backend->threads >= 1 && strncmp(backend->name, "cpu ", 4) == 0);
    stlora_backend_free(backend);
    assert_int_equal(unsetenv("STLORA_CPU_LEVEL"), 0);
    assert_ok(stlora_backend_create(&backend, "ref", 3, &err));
    assert_string_equal(backend->name, "ref");
    assert_int_equal(backend->threads, 3);
    assert_int_equal(stlora_backend_scratch_bytes(backend), 0);
    stlora_backend_free(backend);
    stlora_backend_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product_by_hand),
        cmocka_unit_test(test_lowrank_by_hand),
        cmocka_unit_test(test_norm_of_norm),
        cmocka_unit_test(test_scale),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_attention_dense),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_logprobs_sum_to_one),
        cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_adamw_examples),
        cmocka_unit_test(test_adamw_eps),
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_registry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
