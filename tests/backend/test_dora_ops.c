/* test_dora_ops.c: row_norms, column_scale, column_dot and noise: the published example of DoRA (E-35: values worked out in double by
 * an independent program), DoRA's gradients in double against central differences with the norm held still, and every level of cpu
 * against ref, for any number of threads and any cut into calls the same bits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gradient_check.h"
#include "backend/op_levels.h"
#include "backend/ref/ref.h"
#include "base/rng.h"
#include "tensor/dtype.h"

static stlora_backend ref_table(void)
{
    stlora_backend table = {.name = "ref", .threads = 1};
    stlora_ref_fill(&table);
    return table;
}

static void near(const char *what, double found, double wanted, double within)
{
    if (!(fabs(found - wanted) <= within)) fail_msg("%s: wanted %.12g, found %.12g", what, wanted, found);
}

static double draw(uint64_t stream, int64_t i)
{
    return 2 * stlora_rng_uniform(3, STLORA_RNG_SAMPLE, stream, (uint64_t)i) - 1;
}

static void draw_floats(float *x, int64_t count, uint64_t stream)
{
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)draw(stream, i);
}

/* ---- a DoRA map out of the ops, in double: y = k (x W^T + s h B^T), and its gradients ---- */

enum { T = 3, N = 7, M = 5, R = 2 };

typedef struct dora {
    stlora_backend ref;
    int64_t t, n, m, r;
    double x[T * N], w[M * N], dy[T * M], y[T * M], v[T * M], dyk[T * M], dx[T * N], s;
    float a[R * N], b[M * R], mag[M], norms[M], k[M], inverse[M], h[T * R], p[T * R], ga[R * N], gb[M * R], gmag[M];
} dora;

static stlora_mat whole(double *x, int64_t rows, int64_t cols)
{
    return (stlora_mat){x, STLORA_F64, rows, cols, cols};
}

static stlora_cmat seen(const double *x, int64_t rows, int64_t cols)
{
    return (stlora_cmat){x, STLORA_F64, rows, cols, cols};
}

static void find_norms(dora *d)
{
    d->ref.row_norms(&d->ref, &(stlora_row_norms_args){.in = d->n,
                                                       .out = d->m,
                                                       .rank = d->r,
                                                       .w = d->w,
                                                       .w_dtype = STLORA_F64,
                                                       .w_layout = STLORA_OUT_IN,
                                                       .ldw = d->n,
                                                       .a = d->a,
                                                       .b = d->b,
                                                       .scale = d->s,
                                                       .norms = d->norms});
}

static void forward(dora *d)
{
    d->ref.lowrank_project(&d->ref, &(stlora_lowrank_project_args){d->t, d->n, d->r, seen(d->x, d->t, d->n), d->a, d->n, 1, d->h});
    d->ref.product(&d->ref, &(stlora_product_args){.tokens = d->t,
                                                   .in = d->n,
                                                   .out = d->m,
                                                   .x = seen(d->x, d->t, d->n),
                                                   .w = d->w,
                                                   .w_dtype = STLORA_F64,
                                                   .ldw = d->n,
                                                   .h = d->h,
                                                   .u = d->b,
                                                   .rank = d->r,
                                                   .u_rank_stride = 1,
                                                   .u_out_stride = d->r,
                                                   .scale = d->s,
                                                   .y = whole(d->v, d->t, d->m)},
                   1);
    for (int64_t o = 0; o < d->m; o++) {
        d->k[o] = d->mag[o] / d->norms[o];
        d->inverse[o] = 1 / d->norms[o];
    }
    d->ref.column_scale(&d->ref, &(stlora_column_scale_args){.tokens = d->t,
                                                             .width = d->m,
                                                             .x = seen(d->v, d->t, d->m),
                                                             .scale = d->k,
                                                             .y = whole(d->y, d->t, d->m)});
}

static void backward(dora *d)
{
    memset(d->ga, 0, sizeof d->ga);
    memset(d->gb, 0, sizeof d->gb);
    memset(d->gmag, 0, sizeof d->gmag);
    d->ref.column_dot(&d->ref, &(stlora_column_dot_args){d->t, d->m, seen(d->dy, d->t, d->m), seen(d->v, d->t, d->m),
                                                         d->inverse, d->gmag});
    d->ref.column_scale(&d->ref, &(stlora_column_scale_args){.tokens = d->t,
                                                             .width = d->m,
                                                             .x = seen(d->dy, d->t, d->m),
                                                             .scale = d->k,
                                                             .y = whole(d->dyk, d->t, d->m)});
    d->ref.lowrank_grad(&d->ref, &(stlora_lowrank_grad_args){d->t, d->m, d->r, d->h, seen(d->dyk, d->t, d->m), d->s, d->gb, 1, d->r, 0});
    d->ref.lowrank_project(&d->ref, &(stlora_lowrank_project_args){d->t, d->m, d->r, seen(d->dyk, d->t, d->m), d->b, 1, d->r, d->p});
    d->ref.lowrank_grad(&d->ref, &(stlora_lowrank_grad_args){d->t, d->n, d->r, d->p, seen(d->x, d->t, d->n), d->s, d->ga, d->n, 1, 0});
    d->ref.product(&d->ref, &(stlora_product_args){.tokens = d->t,
                                                   .in = d->m,
                                                   .out = d->n,
                                                   .x = seen(d->dyk, d->t, d->m),
                                                   .w = d->w,
                                                   .w_dtype = STLORA_F64,
                                                   .w_layout = STLORA_IN_OUT,
                                                   .ldw = d->n,
                                                   .h = d->p,
                                                   .u = d->a,
                                                   .rank = d->r,
                                                   .u_rank_stride = d->n,
                                                   .u_out_stride = 1,
                                                   .scale = d->s,
                                                   .y = whole(d->dx, d->t, d->n)},
                   1);
}

static void test_example(void **state)
{
    (void)state;
    dora d = {.ref = ref_table(), .t = 1, .n = 2, .m = 2, .r = 1, .s = 0.5,
              .w = {3, 4, 0, 2}, .a = {1, 0}, .b = {1, 1}, .mag = {5, 2}, .x = {1, 2}, .dy = {1, 1}};
    find_norms(&d);
    forward(&d);
    backward(&d);
    /* floats in h, p and the gradients: about 1e-7 of the values */
    near("c 0", (double)d.norms[0], 5.31507290637, 1e-6);
    near("c 1", (double)d.norms[1], 2.06155281281, 1e-6);
    near("y 0", d.y[0], 10.8182899864, 2e-6);
    near("y 1", d.y[1], 4.36564125065, 2e-6);
    near("g_mag 0", (double)d.gmag[0], 2.16365799728, 1e-6);
    near("g_mag 1", (double)d.gmag[1], 2.18282062533, 1e-6);
    near("g_B 0", (double)d.gb[0], .470360434192, 1e-6);
    near("g_B 1", (double)d.gb[1], .485071250073, 1e-6);
    near("g_A 0", (double)d.ga[0], .955431684264, 1e-6);
    near("g_A 1", (double)d.ga[1], 1.91086336853, 1e-6);
}

static double loss_of(dora *d)
{
    double loss = 0;
    forward(d);
    for (int64_t i = 0; i < d->t * d->m; i++)
        loss += d->dy[i] * d->y[i];
    return loss;
}

/* The norm is not found again while an element is moved. y is linear in each of x, A, B, mag: the step may be large. */
static void check_floats(dora *d, const char *name, float *value, const float *gradient, int64_t count)
{
    gradient_check check = {.tensor = name, .relative = 1e-5, .of_largest = 1e-5, .absolute = 1e-9};
    for (int64_t i = 0; i < count; i++) {
        const float held = value[i];
        value[i] = held + 0.5f;
        const double high = loss_of(d);
        value[i] = held - 0.5f;
        const double low = loss_of(d), step = (double)(held + 0.5f) - (double)(held - 0.5f);
        value[i] = held;
        gradient_add(&check, i, 0, (double)gradient[i], (high - low) / step);
    }
    assert_true(gradient_holds(&check, "dora"));
}

static void test_gradients(void **state)
{
    (void)state;
    dora d = {.ref = ref_table(), .t = T, .n = N, .m = M, .r = R, .s = 2};
    for (int64_t i = 0; i < T * N; i++)
        d.x[i] = draw(1, i);
    for (int64_t i = 0; i < M * N; i++)
        d.w[i] = draw(2, i);
    for (int64_t i = 0; i < T * M; i++)
        d.dy[i] = draw(3, i);
    draw_floats(d.a, R * N, 4);
    draw_floats(d.b, M * R, 5);
    draw_floats(d.mag, M, 6);
    find_norms(&d);
    for (int64_t o = 0; o < M; o++) { /* the norm of a row of W + s B A, formed as a matrix */
        double squares = 0;
        for (int64_t i = 0; i < N; i++) {
            double v = d.w[o * N + i];
            for (int64_t q = 0; q < R; q++)
                v += d.s * (double)d.b[o * R + q] * (double)d.a[q * N + i];
            squares += v * v;
        }
        near("norm", (double)d.norms[o], sqrt(squares), 1e-6);
    }
    forward(&d);
    backward(&d);
    dora moved = d;
    check_floats(&moved, "A", moved.a, d.ga, R * N);
    check_floats(&moved, "B", moved.b, d.gb, M * R);
    check_floats(&moved, "mag", moved.mag, d.gmag, M);
    gradient_check check = {.tensor = "x", .relative = 1e-5, .of_largest = 1e-5, .absolute = 1e-9};
    for (int64_t i = 0; i < T * N; i++) {
        moved.x[i] = d.x[i] + 0.5;
        const double high = loss_of(&moved);
        moved.x[i] = d.x[i] - 0.5;
        const double low = loss_of(&moved);
        moved.x[i] = d.x[i];
        gradient_add(&check, i, 0, d.dx[i], high - low);
    }
    assert_true(gradient_holds(&check, "dora"));
}

/* ---- every level against ref ---- */

static const int64_t sizes[][3] = {{1, 1, 1}, {3, 7, 2}, {17, 33, 4}, {31, 129, 8}, {65, 300, 16}, {130, 1025, 3}};
enum { SIZES = sizeof sizes / sizeof sizes[0], MOST = 130 * 1025 };

static void compare(const char *what, const float *found, const float *wanted, int64_t count, double relative)
{
    double largest = 0;
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)wanted[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)found[i] - (double)wanted[i]) <= relative * largest))
            fail_msg("%s element %d: wanted %.9g, found %.9g", what, (int)i, (double)wanted[i], (double)found[i]);
}

static void check_row_norms(const stlora_backend *cpu, int64_t m, int64_t n, int64_t r)
{
    static float values[MOST], a[16 * 1025], b[16 * 130], found[1025], wanted[1025];
    static unsigned char weights[MOST * 4];
    static const stlora_dtype dtypes[] = {STLORA_F32, STLORA_BF16, STLORA_F16};
    const stlora_backend ref = ref_table();
    draw_floats(values, m * n, 1);
    draw_floats(a, r * n, 2);
    draw_floats(b, m * r, 3);
    for (int kind = 0; kind < 6; kind++) {
        stlora_row_norms_args args = {.in = n, .out = m, .rank = kind == 5 ? 0 : r, .w = weights, .w_dtype = dtypes[kind % 3],
                                      .w_layout = kind < 3 ? STLORA_OUT_IN : STLORA_IN_OUT, .ldw = kind < 3 ? n : m,
                                      .a = a, .b = b, .scale = 0.7, .norms = found};
        stlora_convert(weights, args.w_dtype, values, STLORA_F32, m * n);
        cpu->row_norms(cpu, &args);
        args.norms = wanted;
        ref.row_norms(&ref, &args);
        compare("row_norms", found, wanted, m, 2e-6);
    }
}

static void check_columns(const stlora_backend *cpu, int64_t tokens, int64_t width)
{
    static float x[MOST], y[MOST], found[MOST], wanted[MOST], scale[1025], bias[1025];
    const stlora_backend ref = ref_table();
    draw_floats(x, tokens * width, 1);
    draw_floats(y, tokens * width, 2);
    draw_floats(scale, width, 3);
    draw_floats(bias, width, 4);
    for (int add = 0; add < 2; add++) {
        stlora_column_scale_args args = {.tokens = tokens, .width = width, .x = {x, STLORA_F32, tokens, width, width},
                                         .scale = scale, .bias = add ? bias : NULL, .bias_dtype = STLORA_F32,
                                         .y = {found, STLORA_F32, tokens, width, width}, .accumulate = add};
        memcpy(found, y, (size_t)(tokens * width) * sizeof *found);
        memcpy(wanted, y, (size_t)(tokens * width) * sizeof *wanted);
        cpu->column_scale(cpu, &args);
        args.y.data = wanted;
        ref.column_scale(&ref, &args);
        compare("column_scale", found, wanted, tokens * width, 3e-7);
    }
    /* In place, in the other dtype and back: what it leaves is what ref leaves. */
    static uint16_t half[MOST], other[MOST];
    stlora_convert(half, STLORA_BF16, x, STLORA_F32, tokens * width);
    memcpy(other, half, sizeof half);
    stlora_column_scale_args own = {.tokens = tokens, .width = width, .x = {half, STLORA_BF16, tokens, width, width},
                                    .scale = scale, .y = {half, STLORA_BF16, tokens, width, width}};
    cpu->column_scale(cpu, &own);
    own.x.data = other;
    own.y.data = other;
    ref.column_scale(&ref, &own);
    stlora_convert(found, STLORA_F32, half, STLORA_BF16, tokens * width);
    stlora_convert(wanted, STLORA_F32, other, STLORA_BF16, tokens * width);
    compare("column_scale bf16", found, wanted, tokens * width, 8e-3);

    stlora_column_dot_args dot = {tokens, width, {x, STLORA_F32, tokens, width, width}, {y, STLORA_F32, tokens, width, width},
                                  scale, found};
    memcpy(found, bias, (size_t)width * sizeof *found);
    memcpy(wanted, bias, (size_t)width * sizeof *wanted);
    cpu->column_dot(cpu, &dot);
    dot.g = wanted;
    ref.column_dot(&ref, &dot);
    compare("column_dot", found, wanted, width, 2e-6);
    /* Two calls over halves: the bits of one over the whole. */
    const int64_t first = tokens / 2;
    dot.g = wanted;
    memcpy(wanted, bias, (size_t)width * sizeof *wanted);
    dot.tokens = dot.x.rows = dot.y.rows = first;
    cpu->column_dot(cpu, &dot);
    dot.x.data = x + first * width;
    dot.y.data = y + first * width;
    dot.tokens = dot.x.rows = dot.y.rows = tokens - first;
    cpu->column_dot(cpu, &dot);
    assert_memory_equal(found, wanted, (size_t)width * sizeof *found);
}

static void check_noise(const stlora_backend *cpu, int64_t tokens, int64_t width)
{
    static float found[MOST], wanted[MOST];
    static uint64_t keys[130];
    const stlora_backend ref = ref_table();
    for (int64_t t = 0; t < tokens; t++)
        keys[t] = (UINT64_C(9) << 40) + (uint64_t)t;
    stlora_noise_args args = {tokens, width, {found, STLORA_F32, tokens, width, width}, 0.3, 42, 7, keys};
    draw_floats(found, tokens * width, 1);
    draw_floats(wanted, tokens * width, 1);
    cpu->noise(cpu, &args);
    args.x.data = wanted;
    ref.noise(&ref, &args);
    assert_memory_equal(found, wanted, (size_t)(tokens * width) * sizeof *found);
}

static void test_levels(void **state)
{
    (void)state;
    op_levels levels;
    op_levels_open(&levels, 2);
    for (int l = 0; l < levels.count; l++) {
        for (int n = 0; n < SIZES; n++) {
            check_row_norms(levels.table[l], sizes[n][0], sizes[n][1], sizes[n][2]);
            check_columns(levels.table[l], sizes[n][0], sizes[n][1]);
            check_noise(levels.table[l], sizes[n][0], sizes[n][1]);
        }
    }
    op_levels_close(&levels);
}

/* One thread or five: the same bits. */
static void test_threads(void **state)
{
    (void)state;
    enum { TOKENS = 301, WIDTH = 517, RANK = 5 };
    static float x[TOKENS * WIDTH], y[TOKENS * WIDTH], a[RANK * WIDTH], b[TOKENS * RANK], scale[WIDTH];
    static float norms[2][TOKENS], dots[2][WIDTH];
    draw_floats(x, TOKENS * WIDTH, 1);
    draw_floats(y, TOKENS * WIDTH, 2);
    draw_floats(a, RANK * WIDTH, 3);
    draw_floats(b, TOKENS * RANK, 4);
    draw_floats(scale, WIDTH, 5);
    op_levels one, five;
    op_levels_open(&one, 1);
    op_levels_open(&five, 5);
    for (int l = 0; l < one.count; l++) {
        for (int k = 0; k < 2; k++) {
            const stlora_backend *cpu = k ? five.table[l] : one.table[l];
            memset(dots[k], 0, sizeof dots[k]);
            cpu->row_norms(cpu, &(stlora_row_norms_args){WIDTH, TOKENS, RANK, x, STLORA_F32, STLORA_OUT_IN, WIDTH, a, b, 2, norms[k]});
            cpu->column_dot(cpu, &(stlora_column_dot_args){TOKENS, WIDTH, {x, STLORA_F32, TOKENS, WIDTH, WIDTH},
                                                           {y, STLORA_F32, TOKENS, WIDTH, WIDTH}, scale, dots[k]});
        }
        assert_memory_equal(norms[0], norms[1], sizeof norms[0]);
        assert_memory_equal(dots[0], dots[1], sizeof dots[0]);
    }
    op_levels_close(&one);
    op_levels_close(&five);
}

/* Within the bound, its mean 0 and its mean square a third of the bound's square; another seed, stream or key: other noise. */
static void test_noise(void **state)
{
    (void)state;
    enum { TOKENS = 64, WIDTH = 100, COUNT = TOKENS * WIDTH };
    const stlora_backend ref = ref_table();
    static float x[COUNT], z[COUNT];
    uint64_t keys[TOKENS];
    for (int t = 0; t < TOKENS; t++)
        keys[t] = (UINT64_C(1) << 63) + (uint64_t)t;
    stlora_noise_args args = {TOKENS, WIDTH, {x, STLORA_F32, TOKENS, WIDTH, WIDTH}, 0.25, 42, 7, keys};
    ref.noise(&ref, &args);
    double sum = 0, squares = 0, largest = 0;
    for (int i = 0; i < COUNT; i++) {
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
        largest = fmax(largest, fabs((double)x[i]));
    }
    assert_true(largest <= 0.25 && largest > 0.249);
    near("mean", sum / COUNT, 0, 4 * 0.25 / sqrt(3.0 * COUNT));
    near("mean square", squares / COUNT, 0.0625 / 3, 4 * 0.0625 * sqrt(4.0 / 45 / COUNT));
    stlora_noise_args token = args; /* token 5 alone */
    token.tokens = token.x.rows = 1;
    token.x.data = z;
    token.token_keys = keys + 5;
    ref.noise(&ref, &token);
    assert_memory_equal(z, x + 5 * WIDTH, WIDTH * sizeof *z);
    for (int other = 0; other < 3; other++) {
        stlora_noise_args more = token;
        if (other == 0) more.seed = 43;
        if (other == 1) more.stream = 8;
        if (other == 2) more.token_keys = keys + 6;
        memset(z, 0, sizeof z);
        ref.noise(&ref, &more);
        assert_memory_not_equal(z, x + 5 * WIDTH, WIDTH * sizeof *z);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example), cmocka_unit_test(test_gradients), cmocka_unit_test(test_levels),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
