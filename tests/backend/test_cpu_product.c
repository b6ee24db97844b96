/* test_cpu_product.c: the fast product where its blocks, panels and tiles end: long reductions, high ranks, weights that end with
 * the page, one token against many, one thread against three; and the exponential function's error.
 * The shapes of everyday are in op_cases.h (test_cpu_vs_ref.c); this file knows how the product is cut. */
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/cpu/simd_portable.h"

#include "backend/cpu/vmath_template.h"
#include "backend/op_levels.h"

static uint64_t random_state = 1;

static float random_value(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (float)(random_state >> 40) * 0x1p-23f - 1.0f;
}

/* count elements that end where a page ends; behind it lies memory that nobody may read. */
typedef struct fenced {
    void *map, *data;
    size_t bytes;
} fenced;

static fenced fenced_make(stlora_dtype dtype, int64_t count)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (size_t)count * stlora_dtype_size(dtype);
    const size_t whole = (size + page - 1) / page * page;
    fenced f = {.bytes = whole + page};
    f.map = mmap(NULL, f.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f.map != MAP_FAILED);
    assert_int_equal(mprotect((char *)f.map + whole, page, PROT_NONE), 0);
    f.data = (char *)f.map + whole - size;
    for (int64_t i = 0; i < count; i++)
        stlora_store(f.data, dtype, i, (double)random_value());
    return f;
}

static void fenced_free(fenced f)
{
    assert_int_equal(munmap(f.map, f.bytes), 0);
}

typedef struct product_case {
    int64_t tokens, in, out, rank;
    stlora_dtype x, w, y;
    stlora_layout layout;
    bool bias, accumulate;
} product_case;

typedef struct product_data {
    fenced x, w, y0, bias, h, u;
    stlora_product_args args;
} product_data;

static product_data make(const product_case *c)
{
    product_data d;
    const int64_t ldw = c->layout == STLORA_OUT_IN ? c->in : c->out;
    d.x = fenced_make(c->x, c->tokens * c->in);
    d.w = fenced_make(c->w, c->in * c->out);
    d.y0 = fenced_make(c->y, c->tokens * c->out);
    d.bias = fenced_make(c->w, c->out);
    d.h = fenced_make(STLORA_F32, c->tokens * c->rank + 1);
    d.u = fenced_make(STLORA_F32, c->out * c->rank + 1);
    d.args = (stlora_product_args){.tokens = c->tokens,
                                   .in = c->in,
                                   .out = c->out,
                                   .x = {d.x.data, c->x, c->tokens, c->in, c->in},
                                   .w = d.w.data,
                                   .w_dtype = c->w,
                                   .w_layout = c->layout,
                                   .ldw = ldw,
                                   .bias = c->bias ? d.bias.data : NULL,
                                   .bias_dtype = c->w,
                                   .h = (const float *)d.h.data + 1,
                                   .u = (const float *)d.u.data + 1,
                                   .rank = c->rank,
                                   .u_rank_stride = c->layout == STLORA_OUT_IN ? 1 : c->out,
                                   .u_out_stride = c->layout == STLORA_OUT_IN ? c->rank : 1,
                                   .scale = 0.75,
                                   .y = {NULL, c->y, c->tokens, c->out, c->out},
                                   .accumulate = c->accumulate};
    return d;
}

static void release(product_data *d)
{
    fenced_free(d->x);
    fenced_free(d->w);
    fenced_free(d->y0);
    fenced_free(d->bias);
    fenced_free(d->h);
    fenced_free(d->u);
}

/* Runs tokens t0 ... t0+tokens-1 alone, on a fresh copy of y; returns all of y. */
static fenced run_part(const stlora_backend *table, const product_data *d, int64_t t0, int64_t tokens)
{
    stlora_product_args a = d->args;
    fenced y = fenced_make(a.y.dtype, a.tokens * a.out);
    const size_t size = stlora_dtype_size(a.y.dtype);
    memcpy(y.data, d->y0.data, (size_t)(a.tokens * a.out) * size);
    a.x.data = (const char *)a.x.data + (size_t)(t0 * a.in) * stlora_dtype_size(a.x.dtype);
    a.h += t0 * a.rank;
    a.y.data = (char *)y.data + (size_t)(t0 * a.out) * size;
    a.tokens = a.x.rows = a.y.rows = tokens;
    table->product(table, &a, 1);
    return y;
}

/* What the sum is in double, and the sum of its terms' magnitudes, which its rounding errors are measured by. */
static double exact(const product_data *d, int64_t t, int64_t o, double *magnitude)
{
    const stlora_product_args *a = &d->args;
    const int64_t so = a->w_layout == STLORA_OUT_IN ? a->ldw : 1, si = a->w_layout == STLORA_OUT_IN ? 1 : a->ldw;
    double sum = a->accumulate ? stlora_load(d->y0.data, a->y.dtype, t * a->out + o) : 0;
    if (a->bias) sum += stlora_load(a->bias, a->bias_dtype, o);
    *magnitude = fabs(sum);
    for (int64_t i = 0; i < a->in; i++) {
        const double term =
            stlora_load(a->x.data, a->x.dtype, t * a->x.ld + i) * stlora_load(a->w, a->w_dtype, o * so + i * si);
        sum += term;
        *magnitude += fabs(term);
    }
    for (int64_t q = 0; q < a->rank; q++) {
        const double term =
            a->scale * (double)a->h[t * a->rank + q] * (double)a->u[q * a->u_rank_stride + o * a->u_out_stride];
        sum += term;
        *magnitude += fabs(term);
    }
    return sum;
}

static const product_case cases[] = {
    {13, 2500, 200, 8, STLORA_F32, STLORA_F32, STLORA_F32, STLORA_OUT_IN, true, false},
    {13, 2500, 200, 8, STLORA_F32, STLORA_F32, STLORA_F32, STLORA_IN_OUT, false, true},
    {13, 2501, 201, 9, STLORA_BF16, STLORA_BF16, STLORA_BF16, STLORA_OUT_IN, true, true},
    {13, 2501, 201, 9, STLORA_BF16, STLORA_BF16, STLORA_BF16, STLORA_IN_OUT, false, true},
    {7, 1024, 64, 70, STLORA_BF16, STLORA_BF16, STLORA_F32, STLORA_OUT_IN, false, false},
    {7, 1025, 65, 150, STLORA_BF16, STLORA_F32, STLORA_BF16, STLORA_IN_OUT, false, true},
    {6, 1023, 63, 64, STLORA_F32, STLORA_BF16, STLORA_F32, STLORA_OUT_IN, true, true},
    {5, 1027, 449, 65, STLORA_F32, STLORA_F16, STLORA_BF16, STLORA_OUT_IN, true, false},
    {5, 1027, 130, 3, STLORA_BF16, STLORA_F16, STLORA_F32, STLORA_IN_OUT, true, false},
    {130, 33, 300, 2, STLORA_BF16, STLORA_BF16, STLORA_BF16, STLORA_OUT_IN, true, true},
    {50, 1, 1, 1, STLORA_F32, STLORA_F32, STLORA_F32, STLORA_OUT_IN, true, true},
    {9, 3, 17, 0, STLORA_BF16, STLORA_BF16, STLORA_F32, STLORA_IN_OUT, false, false},
    /* of one token a thread reads rows in pieces of so many columns */
    {3, 29, 13000, 2, STLORA_BF16, STLORA_BF16, STLORA_BF16, STLORA_IN_OUT, true, true},
    {3, 1030, 4500, 0, STLORA_F32, STLORA_BF16, STLORA_BF16, STLORA_IN_OUT, false, false},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static void test_against_double(void **state)
{
    (void)state;
    op_levels levels;
    op_levels_open(&levels, 2);
    for (size_t n = 0; n < CASES; n++) {
        product_data d = make(&cases[n]);
        const double steps = (double)(cases[n].in + cases[n].rank + 3);
        for (int l = 0; l < levels.count; l++) {
            fenced y = run_part(levels.table[l], &d, 0, cases[n].tokens);
            for (int64_t i = 0; i < cases[n].tokens * cases[n].out; i++) {
                double magnitude;
                const double want = exact(&d, i / cases[n].out, i % cases[n].out, &magnitude);
                const double got = stlora_load(y.data, cases[n].y, i);
                double bound = steps * 0x1p-24 * magnitude; /* a rounding per step, at most */
                if (cases[n].y == STLORA_BF16) bound += 0x1p-8 * (fabs(want) + bound);
                if (!(fabs(got - want) <= bound))
                    fail_msg("%s, case %zu, element %lld: %.9g, should be %.9g within %.2g", levels.table[l]->name, n,
                             (long long)i, got, want, bound);
            }
            fenced_free(y);
        }
        release(&d);
    }
    op_levels_close(&levels);
}

static void check_bits(const op_levels levels[2], const product_case *c)
{
    product_data d = make(c);
    const size_t row = (size_t)c->out * stlora_dtype_size(c->y);
    for (int l = 0; l < levels[0].count; l++) {
        fenced one = run_part(levels[0].table[l], &d, 0, c->tokens);
        fenced three = run_part(levels[1].table[l], &d, 0, c->tokens);
        assert_memory_equal(one.data, three.data, row * (size_t)c->tokens);
        for (int64_t t = 0; t < c->tokens; t += 1 + t / 8) {
            const int64_t tokens = 1 + t % 3 < c->tokens - t ? 1 + t % 3 : c->tokens - t;
            fenced alone = run_part(levels[t % 2].table[l], &d, t, tokens);
            if (memcmp((char *)one.data + (size_t)t * row, (char *)alone.data + (size_t)t * row,
                       row * (size_t)tokens) != 0)
                fail_msg("%s, in %lld, out %lld: token %lld differs when called with %lld", levels[0].table[l]->name,
                         (long long)c->in, (long long)c->out, (long long)t, (long long)tokens);
            fenced_free(alone);
        }
        fenced_free(one);
        fenced_free(three);
    }
    release(&d);
}

/* Each token alone, and any number of threads, must give the bits of the whole call; so must what is cut into parts of the reduction, since x is
 * too large to be read again and again. */
static void test_bits(void **state)
{
    (void)state;
    const product_case large = {40, 33001, 5, 3, STLORA_F32, STLORA_BF16, STLORA_F32, STLORA_IN_OUT, true, true};
    op_levels levels[2];
    op_levels_open(&levels[0], 1);
    op_levels_open(&levels[1], 3);
    for (size_t n = 0; n < CASES; n++)
        check_bits(levels, &cases[n]);
    check_bits(levels, &large);
    op_levels_close(&levels[0]);
    op_levels_close(&levels[1]);
}

/* The error of the exponential in units in the last place of the right result, and its ends. */
static void test_exp(void **state)
{
    (void)state;
    for (double x = -87.3; x < 88.7; x += 0.000317) {
        float lanes[VL];
        vf_store(lanes, vf_exp(vf_set1((float)x)));
        const double want = exp((double)(float)x), ulp = ldexp(1, ilogb(want) - 23);
        const double error = fabs((double)lanes[0] - want) / ulp;
        if (!(error <= 2)) fail_msg("exp is wrong by %.2f ulp at %a", error, (double)x);
    }
    const float ends[] = {-INFINITY, -200, -103.0f, 0, 88.8f, INFINITY, NAN};
    const float want[] = {0, 0, 0x1p-149f, 1, INFINITY, INFINITY, NAN};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        float lanes[VL];
        vf_store(lanes, vf_exp(vf_set1(ends[i])));
        if (!(lanes[1] == want[i]) && !(isnan(lanes[1]) && isnan(want[i])))
            fail_msg("exp(%g) is %g, should be %g", (double)ends[i], (double)lanes[1], (double)want[i]);
    }
}

/* Powers of two, down to where they become denormal and zero. */
static void test_exp2(void **state)
{
    (void)state;
    for (double y = -100; y < 127.9; y += 0.000457) {
        float lanes[VL];
        vf_store(lanes, vf_exp2(vf_set1((float)y)));
        const double want = exp2((double)(float)y), ulp = ldexp(1, ilogb(want) - 23);
        const double error = fabs((double)lanes[0] - want) / ulp;
        if (!(error <= 2)) fail_msg("2^y is wrong by %.2f ulp at %a", error, (double)y);
    }
    const float ends[] = {-INFINITY, -1e30f, -149.0f, -100.01f, -100.0f, -1.0f, 0, NAN};
    const float want[] = {0, 0, 0, 0, 0x1p-100f, 0.5f, 1, NAN};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        float lanes[VL];
        vf_store(lanes, vf_exp2(vf_set1(ends[i])));
        if (isnan(want[i]))
            assert_true(isnan(lanes[0]));
        else
            assert_true(lanes[0] == want[i]);
    }
}

/* Of what attention sums: from what is left of one term to many of them, in units of the result or, near zero, of 2^-24. */
static void test_log(void **state)
{
    (void)state;
    for (double x = 0x1p-126; x < 0x1p127; x *= 1.000731) {
        float lanes[VL];
        vf_store(lanes, vf_log(vf_set1((float)x)));
        const double want = log((double)(float)x);
        const double error = fabs((double)lanes[0] - want) / fmax(0x1p-24, ldexp(1, ilogb(want) - 23));
        if (!(error <= 2)) fail_msg("log is wrong by %.2f units at %a", error, (double)x);
    }
    const float ends[] = {0, 1, NAN}, want[] = {-INFINITY, 0, NAN};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        float lanes[VL];
        vf_store(lanes, vf_log(vf_set1(ends[i])));
        assert_true(isnan(want[i]) ? isnan(lanes[0]) : lanes[0] == want[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_double), cmocka_unit_test(test_bits), cmocka_unit_test(test_exp),
        cmocka_unit_test(test_exp2),           cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
