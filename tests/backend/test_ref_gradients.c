/* test_ref_gradients.c: every gradient of ref against central differences of its forward op, in double.
 *
 * The loss is sum(dy * y) for a random dy; differences are taken of y element by element, before summing, so that a large output
 * elsewhere costs no digits. Steps of 1e-5 leave about 1e-10 of truncation and, where y is of order 1, 1e-11 of rounding: hence 1e-7
 * relative and 1e-9 or 1e-8 absolute. norm and attention hand floats from forward to backward (stats; lse and delta), rounded to
 * 6e-8 of numbers up to about ten, and what is exactly 0 on paper (one token's dq) is a difference of such: hence 1e-6.
 */
#include "backend/gradient_check.h"
#include "backend/op_instance.h"

typedef struct gradient_pair {
    int input, gradient;
    bool adds; /* the op adds to what the gradient's buffer held */
} gradient_pair;

typedef struct gradient_op {
    int output, dy; /* of the forward instance; of the backward one */
    gradient_pair pairs[3];
    int pair_count, samples;
    double relative, of_largest, absolute;
} gradient_op;

static gradient_op gradient_of(const op_case *c)
{
    const int element = c->in_place ? EX : EDX;
    switch (c->op) {
    case OP_NORM:
        return (gradient_op){NY, NDY, {{NX, NDX, !c->overwrite}}, 1, 64, 1e-6, 1e-6, 1e-6};
    case OP_ATTENTION:
        return (gradient_op){AO,   ADOUT, {{AQ, ADQ, false}, {AK, ADK, false}, {AV, ADV, false}}, 3, 16, 1e-6,
                             1e-6, 1e-6};
    case OP_ACTIVATION:
        return (gradient_op){EY, EDY, {{EX, element, false}}, 1, 64, 1e-7, 0, 1e-9};
    case OP_ROPE:
        return (gradient_op){EX, EX, {{EX, EX, false}}, 1, 64, 1e-7, 0, 1e-9};
    case OP_DROPOUT:
        return (gradient_op){EY, EX, {{EX, EY, c->accumulate}}, 1, 64, 1e-7, 0, 1e-9};
    case OP_CROSS_ENTROPY:
        return (gradient_op){-1, -1, {{EX, element, false}}, 1, 64, 1e-7, 0, 1e-8};
    case OP_PRODUCT:
    case OP_LOWRANK_PROJECT:
    case OP_LOWRANK_GRAD:
    case OP_EMBED:
    case OP_SCALE:
    case OP_ADAMW:
    case OP_COUNT:
        break;
    }
    fail_msg("%s has no gradient here", op_names[c->op]);
    return (gradient_op){0};
}

static stlora_backend ref_table(void)
{
    stlora_backend ref = {.name = "ref", .threads = 1};
    stlora_ref_fill(&ref);
    return ref;
}

/* Runs the forward op on a copy of x and leaves the copy's result: in *out the instance, freed by the caller. */
static void forward(const op_instance *x, op_instance *out)
{
    const stlora_backend ref = ref_table();
    op_copy(out, x);
    out->loss = 0;
    op_run(&ref, out, 0, op_units(&x->c));
}

/* The loss's difference between two forward results: sum dy (y1 - y0); cross_entropy's loss itself, times scale. */
static double loss_difference(const op_instance *one, const op_instance *zero, const op_instance *dys,
                              const gradient_op *op)
{
    if (op->output < 0) return one->c.scale * (one->loss - zero->loss);
    const op_buffer *y1 = &one->buffer[op->output], *y0 = &zero->buffer[op->output], *dy = &dys->buffer[op->dy];
    double sum = 0;
    for (int64_t i = 0; i < y1->rows; i++) {
        for (int64_t j = 0; j < y1->cols; j++)
            sum += op_get(dy, i, j) * (op_get(y1, i, j) - op_get(y0, i, j));
    }
    return sum;
}

static void check_case(const op_case *backward_case, void *context)
{
    int *failures = context;
    const stlora_backend ref = ref_table();
    op_instance before, after, x;
    op_make(&before, backward_case); /* holds x and dy; rope and dropout: dy where x was */
    op_copy(&after, &before);
    op_run(&ref, &after, 0, op_units(&before.c));
    op_case forward_case = before.c;
    forward_case.backward = false;
    op_make(&x, &forward_case); /* the same x: values depend on slot and shape only */
    const gradient_op op = gradient_of(&before.c);
    for (int n = 0; n < op.pair_count; n++) {
        const gradient_pair *pair = &op.pairs[n];
        op_buffer *input = &x.buffer[pair->input];
        gradient_check check = {
            .tensor = input->name, .relative = op.relative, .of_largest = op.of_largest, .absolute = op.absolute};
        const int64_t count = input->rows * input->cols;
        for (int64_t e = 0; e < count; e += gradient_step(count, op.samples - 1)) {
            if (check.count == op.samples) break;
            const int64_t i = e / input->cols, j = e % input->cols;
            const double held = op_get(input, i, j), step = 1e-5 * fmax(1, fabs(held));
            op_instance up, down;
            op_put(input, i, j, held + step);
            forward(&x, &up);
            op_put(input, i, j, held - step);
            forward(&x, &down);
            op_put(input, i, j, held);
            double numeric = loss_difference(&up, &down, &before, &op) / ((held + step) - (held - step));
            if (before.c.op == OP_CROSS_ENTROPY && before.c.softcap > 0) /* of what the capped logit was made of */
                numeric *= 1 - (held / before.c.softcap) * (held / before.c.softcap);
            double analytic = op_get(&after.buffer[pair->gradient], i, j);
            if (pair->adds) analytic -= op_get(&before.buffer[pair->gradient], i, j);
            gradient_add(&check, i, j, analytic, numeric);
            op_free(&up);
            op_free(&down);
        }
        char label[300];
        op_label(&before.c, label, sizeof label);
        if (!gradient_holds(&check, label)) (*failures)++;
    }
    op_free(&before);
    op_free(&after);
    op_free(&x);
}

static void check_op(op_name op)
{
    int failures = 0;
    op_each(&op_small, op, op_has_backward(op), double_variants, 1, check_case, &failures);
    if (failures) fail_msg("%s: %d gradients are wrong", op_names[op], failures);
}

static void test_norm(void **state)
{
    (void)state;
    check_op(OP_NORM);
}

static void test_attention(void **state)
{
    (void)state;
    check_op(OP_ATTENTION);
}

static void test_activation(void **state)
{
    (void)state;
    check_op(OP_ACTIVATION);
}

static void test_rope(void **state)
{
    (void)state;
    check_op(OP_ROPE);
}

static void test_dropout(void **state)
{
    (void)state;
    check_op(OP_DROPOUT);
}

static void test_cross_entropy(void **state)
{
    (void)state;
    check_op(OP_CROSS_ENTROPY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm), cmocka_unit_test(test_attention), cmocka_unit_test(test_activation),
        cmocka_unit_test(test_rope), cmocka_unit_test(test_dropout),   cmocka_unit_test(test_cross_entropy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
