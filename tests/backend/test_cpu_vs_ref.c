/* test_cpu_vs_ref.c: every op of cpu, at every level that this machine has, against ref, over all of op_cases.h.
 *
 * ref runs on the same numbers widened to double, so that what is measured is cpu's own error; op_bounds.h says how large it
 * may be. What an op writes is fenced: a guard or a padding column that changes is a failure, and so is a NaN.
 */
#include "backend/op_bounds.h"
#include "backend/op_levels.h"

typedef struct comparison {
    op_levels levels;
    stlora_backend *ref;
    int cases, failures;
} comparison;

static void compare_case(const op_case *c, void *context)
{
    comparison *all = context;
    op_instance before, want;
    op_instance first;
    op_make(&first, c);
    op_widen(&before, &first);
    op_copy(&want, &before);
    op_run(all->ref, &want, 0, op_units(c));
    for (int n = 0; n < all->levels.count; n++) {
        op_instance got;
        op_copy(&got, &first);
        op_run(all->levels.table[n], &got, 0, op_units(c));
        before.c.rounded = all->levels.table[n]->fast_bf16 && c->variant.act == STLORA_BF16;
        const bool fences = op_fences_stand(&got), close = op_compare(&got, &want, &before);
        const bool sums = c->op != OP_ADAMW || got.sum_squares == want.sum_squares;
        if (!sums) print_message("sum_squares is %.17g, should be %.17g\n", got.sum_squares, want.sum_squares);
        if (!fences || !close || !sums) {
            char label[300];
            op_label(c, label, sizeof label);
            print_message("  ^ %s: %s\n", all->levels.table[n]->name, label);
            all->failures++;
        }
        op_free(&got);
        all->cases++;
    }
    op_free(&first);
    op_free(&before);
    op_free(&want);
}

static void compare_op(op_name op)
{
    comparison all = {.failures = 0};
    stlora_error err = {0};
    assert_ok(stlora_backend_create(&all.ref, "ref", 1, &err));
    op_levels_open(&all.levels, 2);
    op_each_face(&op_small, op, compare_case, &all);
    op_each_face(&op_large, op, compare_case, &all);
    op_levels_close(&all.levels);
    stlora_backend_free(all.ref);
    if (all.failures) fail_msg("%s: %d of %d comparisons failed", op_names[op], all.failures, all.cases);
}

#define COMPARE(name, op)                                                                                              \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        compare_op(op);                                                                                                \
    }
/* Wide heads, whose queries do not all fit into a thread's scratch at one time: by norms, since bounds for every element take long. */
static void compare_in_chunks(stlora_dtype act, int64_t dim, int64_t tokens, double allowed)
{
    const stlora_segment row[] = {{0, tokens, 0, tokens}};
    const op_case c = {.op = OP_ATTENTION,
                       .backward = true,
                       .variant = {act, act, act, STLORA_OUT_IN, false},
                       .heads = 1,
                       .kv_heads = 1,
                       .head_dim = dim,
                       .scale = 0.03125,
                       .segments = row,
                       .segment_count = 1};
    op_instance made, want;
    op_levels levels;
    stlora_error err = {0};
    stlora_backend *ref;
    assert_ok(stlora_backend_create(&ref, "ref", 1, &err));
    op_levels_open(&levels, 2);
    op_make(&made, &c);
    op_widen(&want, &made);
    op_run(ref, &want, 0, 1);
    for (int n = 0; n < levels.count; n++) {
        op_instance got;
        op_copy(&got, &made);
        op_run(levels.table[n], &got, 0, 1);
        for (int slot = ADQ; slot <= ADV; slot++) {
            double off = 0, all = 0;
            for (int64_t i = 0; i < tokens * dim; i++) {
                const double should = op_get(&want.buffer[slot], i / dim, i % dim);
                const double is = op_get(&got.buffer[slot], i / dim, i % dim);
                off += (is - should) * (is - should);
                all += should * should;
            }
            assert_true(off <= allowed * all && all > 0);
        }
        op_free(&got);
    }
    op_free(&made);
    op_free(&want);
    op_levels_close(&levels);
    stlora_backend_free(ref);
}

static void test_attention_grad_in_chunks(void **state)
{
    (void)state;
    compare_in_chunks(STLORA_F32, STLORA_MAX_HEAD_DIM, 70, 1e-10);
    compare_in_chunks(STLORA_BF16, 256, 300, 1e-4);
}

COMPARE(product, OP_PRODUCT)
COMPARE(lowrank_project, OP_LOWRANK_PROJECT)
COMPARE(lowrank_grad, OP_LOWRANK_GRAD)
COMPARE(dropout, OP_DROPOUT)
COMPARE(embed, OP_EMBED)
COMPARE(norm, OP_NORM)
COMPARE(scale, OP_SCALE)
COMPARE(rope, OP_ROPE)
COMPARE(attention, OP_ATTENTION)
COMPARE(activation, OP_ACTIVATION)
COMPARE(cross_entropy, OP_CROSS_ENTROPY)
COMPARE(adamw, OP_ADAMW)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product),      cmocka_unit_test(test_lowrank_project),
        cmocka_unit_test(test_lowrank_grad), cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_embed),        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_scale),
        cmocka_unit_test(test_rope),         cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_grad_in_chunks),
        cmocka_unit_test(test_activation),   cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_adamw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
