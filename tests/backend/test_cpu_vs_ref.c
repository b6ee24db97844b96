/* test_cpu_vs_ref.c: every op of cpu but attention, which has test_cpu_attention.c to itself, against ref. */
#include "backend/op_against_ref.h"

#define COMPARE(name, op)                                                                                              \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        compare_op(op);                                                                                                \
    }

COMPARE(product, OP_PRODUCT)
COMPARE(lowrank_project, OP_LOWRANK_PROJECT)
COMPARE(lowrank_grad, OP_LOWRANK_GRAD)
COMPARE(dropout, OP_DROPOUT)
COMPARE(embed, OP_EMBED)
COMPARE(norm, OP_NORM)
COMPARE(scale, OP_SCALE)
COMPARE(rope, OP_ROPE)
COMPARE(activation, OP_ACTIVATION)
COMPARE(cross_entropy, OP_CROSS_ENTROPY)
COMPARE(adamw, OP_ADAMW)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product),      cmocka_unit_test(test_lowrank_project),
        cmocka_unit_test(test_lowrank_grad), cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_embed),        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_scale),        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_activation),   cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_adamw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
