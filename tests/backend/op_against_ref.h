/* op_against_ref.h: an op of cpu, at every level that this machine has, against ref, over all of op_cases.h.
 *
 * ref runs on the same numbers widened to double, so that what is measured is cpu's own error; op_bounds.h says how large it
 * may be. What an op writes is fenced: a guard or a padding column that changes is a failure, and so is a NaN.
 */
#ifndef STLORA_TESTS_OP_AGAINST_REF_H
#define STLORA_TESTS_OP_AGAINST_REF_H

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

#endif
