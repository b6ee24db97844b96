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

/* The gradient of heads that do not come out even among the threads, some of them longer than what a thread packs at a time, at every level:
 * the bits of one thread. */
static void test_attention_grad_in_parts(void **state)
{
    (void)state;
    static const stlora_segment row[] = {{0, 333, 0, 333}}, behind[] = {{0, 200, 0, 263}};
    static const stlora_segment rows[] = {{0, 150, 0, 150}, {150, 64, 150, 64}, {214, 7, 214, 7}};
    static const struct {
        stlora_dtype act;
        int64_t heads, kv_heads, dim, window;
        const stlora_segment *segments;
        int64_t count;
        double softcap;
    } cases[] = {
        {STLORA_F32, 3, 1, 64, 0, row, 1, 0},  {STLORA_BF16, 5, 5, 64, 0, row, 1, 0},
        {STLORA_F32, 3, 3, 64, 90, row, 1, 5}, {STLORA_BF16, 3, 1, 72, 0, behind, 1, 0},
        {STLORA_F32, 3, 1, 80, 0, rows, 3, 0}, {STLORA_BF16, 1, 1, STLORA_MAX_HEAD_DIM, 0, row, 1, 0},
    };
    enum { TIMES = 4 }; /* threads are not in the same place each time */
    static const int threads[] = {1, 2, 3, 7};
    op_levels levels[4];
    for (int t = 0; t < 4; t++)
        op_levels_open(&levels[t], threads[t]);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const stlora_dtype act = cases[i].act;
        const op_case c = {.op = OP_ATTENTION,
                           .backward = true,
                           .variant = {act, act, act, STLORA_OUT_IN, false},
                           .heads = cases[i].heads,
                           .kv_heads = cases[i].kv_heads,
                           .head_dim = cases[i].dim,
                           .scale = 0.125,
                           .softcap = cases[i].softcap,
                           .window = cases[i].window,
                           .segments = cases[i].segments,
                           .segment_count = cases[i].count};
        op_instance made;
        op_make(&made, &c);
        for (int n = 0; n < levels[0].count; n++) {
            op_instance want;
            op_copy(&want, &made);
            op_run(levels[0].table[n], &want, 0, 1);
            for (int run = 0; run < 3 * TIMES; run++) {
                op_instance got;
                op_copy(&got, &made);
                op_run(levels[1 + run / TIMES].table[n], &got, 0, 1);
                for (int slot = ADQ; slot <= ADV; slot++)
                    assert_memory_equal(got.buffer[slot].data, want.buffer[slot].data, want.buffer[slot].bytes);
                op_free(&got);
            }
            op_free(&want);
        }
        op_free(&made);
    }
    for (int t = 0; t < 4; t++)
        op_levels_close(&levels[t]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_grad_in_chunks),
        cmocka_unit_test(test_attention_grad_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
