/* test_cpu_attention.c: attention of cpu against ref, which takes as long under valgrind as all other ops together. */
#include "backend/op_against_ref.h"

static void test_attention(void **state)
{
    (void)state;
    compare_op(OP_ATTENTION);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_grad_in_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
