/* test_lora_linear.c: product, lowrank_project and lowrank_grad of ref together as what they are for: a LoRA linear map,
 * whose dX, dA and dB are checked against central differences of sum(dY * Y).
 *
 *   h = X A^T    Y = X W^T + b + s h B^T    p = dY B    dX = dY W + s p A    dA = s p^T X    dB = s dY^T h
 *
 * Y is linear in X, in A and in B, each for itself: differences are exact for any step, so the step is 1/2 and what remains is the
 * rounding of h, p and of dA, dB to float: about 1e-7 times the root of the terms, hence the tolerance of 1e-5.
 */
#include "backend/gradient_check.h"
#include "backend/op_instance.h"

typedef struct linear {
    op_case c; /* of product: in = n, out = m */
    double *x, *w, *bias, *dy, *y, *dx;
    float *a, *b, *h, *p, *da, *db;
} linear;

static void *fresh(int64_t count, size_t size)
{
    void *block = calloc((size_t)count + 1, size);
    assert_non_null(block);
    return block;
}

static double *random_doubles(int64_t count, uint64_t *state)
{
    double *values = fresh(count, sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = op_uniform(state, -1, 1);
    return values;
}

static float *random_floats(int64_t count, uint64_t *state)
{
    float *values = fresh(count, sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)op_uniform(state, -1, 1);
    return values;
}

static void linear_make(linear *l, const op_case *c)
{
    const int64_t t = c->tokens, n = c->in, m = c->out, r = c->rank;
    uint64_t state = 5;
    *l = (linear){.c = *c};
    l->x = random_doubles(t * n, &state);
    l->w = random_doubles(n * m, &state);
    l->bias = random_doubles(m, &state);
    l->dy = random_doubles(t * m, &state);
    l->y = random_doubles(t * m, &state);
    l->dx = random_doubles(t * n, &state);
    l->a = random_floats(r * n, &state);
    l->b = random_floats(m * r, &state);
    l->h = fresh(t * r, sizeof(float));
    l->p = fresh(t * r, sizeof(float));
    l->da = fresh(r * n, sizeof(float));
    l->db = fresh(m * r, sizeof(float));
}

static void linear_free(linear *l)
{
    void *blocks[] = {l->x, l->w, l->bias, l->dy, l->y, l->dx, l->a, l->b, l->h, l->p, l->da, l->db};
    for (size_t n = 0; n < sizeof blocks / sizeof blocks[0]; n++)
        free(blocks[n]);
}

static stlora_cmat tokens_of(const double *data, int64_t tokens, int64_t width)
{
    return (stlora_cmat){data, STLORA_F64, tokens, width, width};
}

static stlora_mat result_of(double *data, int64_t tokens, int64_t width)
{
    return (stlora_mat){data, STLORA_F64, tokens, width, width};
}

static stlora_product_args product_of(const linear *l, bool backward)
{
    const op_case *c = &l->c;
    const bool out_in = (c->variant.layout == STLORA_OUT_IN) != backward;
    const int64_t in = backward ? c->out : c->in, out = backward ? c->in : c->out;
    return (stlora_product_args){
        .tokens = c->tokens,
        .in = in,
        .out = out,
        .x = tokens_of(backward ? l->dy : l->x, c->tokens, in),
        .w = c->no_w ? NULL : l->w,
        .w_dtype = STLORA_F64,
        .w_layout = out_in ? STLORA_OUT_IN : STLORA_IN_OUT,
        .ldw = c->variant.layout == STLORA_OUT_IN ? c->in : c->out,
        .bias = backward || !c->bias ? NULL : l->bias,
        .bias_dtype = STLORA_F64,
        .h = backward ? l->p : l->h,
        .u = backward ? l->a : l->b,
        .rank = c->rank,
        .u_rank_stride = backward ? c->in : 1,
        .u_out_stride = backward ? 1 : c->rank,
        .scale = c->scale,
        .y = result_of(backward ? l->dx : l->y, c->tokens, out),
    };
}

static void linear_forward(const stlora_backend *ref, linear *l)
{
    const op_case *c = &l->c;
    const stlora_lowrank_project_args project = {c->tokens, c->in, c->rank, tokens_of(l->x, c->tokens, c->in),
                                                 l->a,      c->in, 1,       l->h};
    const stlora_product_args product = product_of(l, false);
    ref->lowrank_project(ref, &project);
    ref->product(ref, &product, 1);
}

static void linear_backward(const stlora_backend *ref, linear *l)
{
    const op_case *c = &l->c;
    const stlora_cmat x = tokens_of(l->x, c->tokens, c->in), dy = tokens_of(l->dy, c->tokens, c->out);
    const stlora_lowrank_project_args project = {c->tokens, c->out, c->rank, dy, l->b, 1, c->rank, l->p};
    const stlora_product_args product = product_of(l, true);
    const stlora_lowrank_grad_args da = {c->tokens, c->in, c->rank, l->p, x, c->scale, l->da, c->in, 1, 0};
    const stlora_lowrank_grad_args db = {c->tokens, c->out, c->rank, l->h, dy, c->scale, l->db, 1, c->rank, 0};
    ref->lowrank_project(ref, &project);
    ref->product(ref, &product, 1);
    ref->lowrank_grad(ref, &da);
    ref->lowrank_grad(ref, &db);
}

/* The loss's difference per unit of one number, which is a double (x) or a float (a, b). */
static double difference(const stlora_backend *ref, linear *l, double *wide, float *narrow)
{
    const double held = wide ? *wide : (double)*narrow;
    double sum[2] = {0, 0}, at[2];
    for (int side = 0; side < 2; side++) {
        const double moved = side ? held + 0.5 : held - 0.5;
        if (wide) *wide = moved;
        if (narrow) *narrow = (float)moved;
        at[side] = wide ? *wide : (double)*narrow;
        linear_forward(ref, l);
        for (int64_t i = 0; i < l->c.tokens * l->c.out; i++)
            sum[side] += l->dy[i] * l->y[i];
    }
    if (wide) *wide = held;
    if (narrow) *narrow = (float)held;
    return (sum[1] - sum[0]) / (at[1] - at[0]);
}

static void check_linear(const op_case *c, void *context)
{
    int *failures = context;
    stlora_backend ref = {.name = "ref", .threads = 1};
    stlora_ref_fill(&ref);
    linear l;
    linear_make(&l, c);
    linear_forward(&ref, &l);
    linear_backward(&ref, &l);
    const int64_t work = c->tokens * c->in * c->out;
    const int64_t samples = work > 500000 ? 8 : 32; /* each costs two forward passes */
    const struct {
        const char *name;
        double *wide, *wide_gradient;
        float *narrow, *narrow_gradient;
        int64_t rows, cols;
    } tensors[] = {{"X", l.x, l.dx, NULL, NULL, c->tokens, c->in},
                   {"A", NULL, NULL, l.a, l.da, c->rank, c->in},
                   {"B", NULL, NULL, l.b, l.db, c->out, c->rank}};
    for (size_t n = 0; n < 3; n++) {
        gradient_check check = {.tensor = tensors[n].name, .relative = 1e-5, .of_largest = 3e-6};
        const int64_t count = tensors[n].rows * tensors[n].cols;
        for (int64_t e = 0; e < count && check.count < samples; e += gradient_step(count, samples - 1)) {
            const bool wide = tensors[n].wide;
            const double numeric =
                difference(&ref, &l, wide ? tensors[n].wide + e : NULL, wide ? NULL : tensors[n].narrow + e);
            const double analytic = wide ? tensors[n].wide_gradient[e] : (double)tensors[n].narrow_gradient[e];
            gradient_add(&check, e / tensors[n].cols, e % tensors[n].cols, analytic, numeric);
        }
        char label[300];
        op_label(c, label, sizeof label);
        if (!gradient_holds(&check, label)) (*failures)++;
    }
    linear_free(&l);
}

static void test_gradients(void **state)
{
    (void)state;
    int failures = 0;
    op_each(&op_small, OP_PRODUCT, false, double_variants, 2, check_linear, &failures);
    if (failures) fail_msg("%d gradients of a LoRA linear map are wrong", failures);
}

/* At the first step B is 0: dA is exactly 0, by the op and by differences, and dB is not. */
static void test_first_step(void **state)
{
    (void)state;
    const op_case c = {
        .op = OP_PRODUCT, .tokens = 5, .in = 7, .out = 6, .rank = 4, .scale = 2, .variant = double_variants[0]};
    stlora_backend ref = {.name = "ref", .threads = 1};
    stlora_ref_fill(&ref);
    linear l;
    linear_make(&l, &c);
    memset(l.b, 0, sizeof(float) * (size_t)(c.out * c.rank));
    linear_forward(&ref, &l);
    linear_backward(&ref, &l);
    double of_b = 0;
    for (int64_t i = 0; i < c.rank * c.in; i++) {
        assert_true(l.da[i] == 0.0f);
        assert_true(difference(&ref, &l, NULL, &l.a[i]) == 0);
    }
    for (int64_t i = 0; i < c.out * c.rank; i++)
        of_b += fabs((double)l.db[i]);
    assert_true(of_b > 1);
    linear_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradients), cmocka_unit_test(test_first_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
