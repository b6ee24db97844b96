/* test_attention_parts.c: heads that two threads share, in attention's gradient. By itself, since threads that wait for one another take long under
 * valgrind. */
#include "backend/op_instance.h"
#include "backend/op_levels.h"

/* The gradient of heads that do not come out even among the threads, some of them longer than what a thread packs at a time, at every level:
 * the bits of one thread. */
static void test_attention_grad_in_parts(void **state)
{
    (void)state;
    static const stlora_segment row[] = {{0, 200, 0, 200}}, behind[] = {{0, 140, 0, 203}};
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
    enum { TIMES = 3 }; /* threads are not in the same place each time */
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
        cmocka_unit_test(test_attention_grad_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
