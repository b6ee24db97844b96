/* test_profile.c: the table that counts: its results are the inner table's bit for bit, its counts are the formulas' of
 * hand-computed cases, and it counts only while it is told to. Also: the ceilings are there and are numbers.
 */
#include "backend/ceiling.h"
#include "backend/op_instance.h"
#include "backend/profile.h"

typedef struct pair_of_tables {
    stlora_backend *plain;
    stlora_op_profile *profile;
    int64_t runs;
} pair_of_tables;

static int open_tables(void **state)
{
    static pair_of_tables tables;
    stlora_error err = {0};
    tables = (pair_of_tables){0};
    if (stlora_backend_create(&tables.plain, "cpu", 2, &err) != STLORA_OK) return 1;
    if (stlora_op_profile_create(&tables.profile, tables.plain, &err) != STLORA_OK) return 1;
    *state = &tables;
    return 0;
}

static int close_tables(void **state)
{
    pair_of_tables *tables = *state;
    stlora_op_profile_free(tables->profile);
    stlora_backend_free(tables->plain);
    return 0;
}

static void compare(const op_case *c, void *context)
{
    pair_of_tables *tables = context;
    op_instance want, got;
    if (c->tokens * (c->in + 1) * (c->out + 1) > 1000000) return;
    op_make(&want, c);
    op_make(&got, c);
    op_run(tables->plain, &want, 0, op_units(c));
    op_run(stlora_op_profile_table(tables->profile), &got, 0, op_units(c));
    for (int slot = 0; slot < OP_MOST_BUFFERS; slot++)
        if (want.buffer[slot].name && want.buffer[slot].written)
            assert_memory_equal(got.buffer[slot].data, want.buffer[slot].data, want.buffer[slot].bytes);
    assert_memory_equal(&got.loss, &want.loss, sizeof got.loss);
    assert_memory_equal(&got.sum_squares, &want.sum_squares, sizeof got.sum_squares);
    op_free(&want);
    op_free(&got);
    tables->runs++;
}

static void bits_are_the_inner_tables(void **state)
{
    pair_of_tables *tables = *state;
    size_t count;
    stlora_op_profile_record(tables->profile, true);
    for (int op = 0; op < OP_COUNT; op++)
        op_each_face(&op_small, (op_name)op, compare, tables);
    const stlora_op_line *lines = stlora_op_profile_lines(tables->profile, &count);
    int64_t calls = 0;
    for (size_t i = 0; i < count; i++)
        calls += lines[i].calls;
    assert_true(tables->runs > 100);
    assert_true(calls >= tables->runs); /* every op of the table of cases is one that is counted */
}

static const stlora_op_line *find(const stlora_op_profile *profile, const char *op)
{
    size_t count;
    const stlora_op_line *lines = stlora_op_profile_lines(profile, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(lines[i].op, op) == 0) return &lines[i];
    fail_msg("there is no line \"%s\"", op);
    return NULL;
}

static void assert_line(const stlora_op_profile *profile, const char *op, int64_t calls, double flops, double bytes)
{
    const stlora_op_line *line = find(profile, op);
    assert_int_equal(line->calls, calls);
    assert_float_equal(line->flops, flops, 0);
    assert_float_equal(line->bytes, bytes, 0);
    assert_true(line->seconds >= 0);
}

/* y (3, 5) = x (3, 4) w^T + h u, rank 2, bf16 weights, fp32 elsewhere; the same accumulated; and its dX. */
static void products(const stlora_backend *table)
{
    static const uint16_t w[5 * 4];
    static const float x[3 * 5], h[3 * 2], u[2 * 5];
    static float y[3 * 5];
    stlora_product_args args = {.tokens = 3,
                                .in = 4,
                                .out = 5,
                                .x = {x, STLORA_F32, 3, 4, 4},
                                .w = w,
                                .w_dtype = STLORA_BF16,
                                .ldw = 4,
                                .h = h,
                                .u = u,
                                .rank = 2,
                                .u_rank_stride = 1,
                                .u_out_stride = 2,
                                .scale = 1,
                                .y = stlora_mat_whole(y, STLORA_F32, 3, 5)};
    table->product(table, &args, 1);
    args.accumulate = true;
    table->product(table, &args, 1);
    args = (stlora_product_args){.tokens = 3,
                                 .in = 5,
                                 .out = 4,
                                 .x = {x, STLORA_F32, 3, 5, 5},
                                 .w = w,
                                 .w_dtype = STLORA_BF16,
                                 .w_layout = STLORA_IN_OUT,
                                 .ldw = 4,
                                 .scale = 1,
                                 .y = stlora_mat_whole(y, STLORA_F32, 3, 4)};
    table->product(table, &args, 1);
}

static void counts_are_the_formulas(void **state)
{
    const pair_of_tables *tables = *state;
    const stlora_backend *table = stlora_op_profile_table(tables->profile);
    size_t count;
    products(table);
    (void)stlora_op_profile_lines(tables->profile, &count);
    assert_int_equal(count, 0); /* not yet */
    stlora_op_profile_record(tables->profile, true);
    products(table);
    stlora_op_profile_record(tables->profile, false);
    products(table);
    const double forward = 2 * 3 * 4 * 5 + 2 * 3 * 2 * 5, low_rank = 4 * (3 * 2 + 2 * 5);
    const double once = 2 * 5 * 4 + 4 * 3 * 4 + 4 * 3 * 5 + low_rank;
    assert_line(tables->profile, "product x W^T 4->5", 2, 2 * forward, 2 * once + 4 * 3 * 5);
    assert_line(tables->profile, "product x W 5->4", 1, 2 * 3 * 5 * 4, 2 * 5 * 4 + 4 * 3 * 5 + 4 * 3 * 4);
}

/* Side by side, y (3, 5 + 2) = x (3, 4) of two maps; added up, y (3, 4) of what these read: x, and then y, count once. */
static void several_maps_are_one_line(void **state)
{
    const pair_of_tables *tables = *state;
    const stlora_backend *table = stlora_op_profile_table(tables->profile);
    static const float w[5 * 4], h[3 * 2], u[2 * 5], x[3 * 7];
    static float y[3 * 7];
    stlora_product_args maps[2];
    stlora_op_profile_record(tables->profile, true);
    for (int adds_up = 0; adds_up < 2; adds_up++) {
        for (int i = 0; i < 2; i++) {
            const int64_t width = i == 0 ? 5 : 2, first = i == 0 ? 0 : 5;
            const stlora_cmat wide = {x + first, STLORA_F32, 3, width, 7}, whole = {x, STLORA_F32, 3, 4, 4};
            maps[i] = (stlora_product_args){.tokens = 3,
                                            .in = adds_up ? width : 4,
                                            .out = adds_up ? 4 : width,
                                            .x = adds_up ? wide : whole,
                                            .w = w,
                                            .w_layout = adds_up ? STLORA_IN_OUT : STLORA_OUT_IN,
                                            .ldw = 4,
                                            .h = h,
                                            .u = u,
                                            .rank = i == 0 ? 2 : 0,
                                            .u_rank_stride = adds_up ? 4 : 1,
                                            .u_out_stride = adds_up ? 1 : 2,
                                            .scale = 1,
                                            .y = adds_up ? stlora_mat_whole(y, STLORA_F32, 3, 4)
                                                         : stlora_mat_columns(y, STLORA_F32, 3, 7, first, width),
                                            .accumulate = adds_up && i > 0};
        }
        table->product(table, maps, 2);
    }
    const double frozen = 2 * 3 * 4 * (5 + 2), once = 4 * (4 * (5 + 2) + 3 * 4 + 3 * (5 + 2));
    assert_line(tables->profile, "product x W^T 4->7 (2 maps)", 1, frozen + 2 * 3 * 2 * 5, once + 4 * (3 * 2 + 2 * 5));
    assert_line(tables->profile, "product x W 7->4 (2 maps)", 1, frozen + 2 * 3 * 2 * 4, once + 4 * (3 * 2 + 2 * 4));
}

/* Two segments of 3 and 2 tokens, 2 heads of 2 on 1 kv head: 6 + 3 pairs; with a window of 2, 5 + 3. */
static void attention_counts_what_a_query_sees(void **state)
{
    const pair_of_tables *tables = *state;
    const stlora_backend *table = stlora_op_profile_table(tables->profile);
    static const stlora_segment segments[] = {{0, 3, 0, 3}, {3, 2, 3, 2}};
    static const float q[5 * 4], k[5 * 2];
    static float o[5 * 4], lse[5 * 2];
    stlora_op_profile_record(tables->profile, true);
    stlora_attention_args args = {.heads = 2,
                                  .kv_heads = 1,
                                  .head_dim = 2,
                                  .scale = 1,
                                  .segments = segments,
                                  .segment_count = 2,
                                  .q = {q, STLORA_F32, 5, 4, 4},
                                  .k = {k, STLORA_F32, 5, 2, 2},
                                  .v = {k, STLORA_F32, 5, 2, 2},
                                  .o = stlora_mat_whole(o, STLORA_F32, 5, 4),
                                  .lse = lse};
    table->attention(table, &args);
    assert_line(tables->profile, "attention 2/1x2", 1, 2 * 2 * 9 * 4, 4 * (5 * 4 + 5 * 2 + 5 * 2 + 5 * 4 + 5 * 2));
    args.window = 2;
    table->attention(table, &args);
    assert_float_equal(find(tables->profile, "attention 2/1x2")->flops, 2 * 2 * (9 + 8) * 4, 0);
}

static void ceilings_are_numbers(void **state)
{
    (void)state;
    static uint64_t block[1 << 16];
    stlora_error err = {0};
    stlora_team *team;
    assert_int_equal(stlora_team_create(&team, 2, &err), STLORA_OK);
    const double flops = stlora_ceiling_flops(STLORA_CEILING_FP32, team, 2);
    const double read = stlora_ceiling_read(block, sizeof block, team, 2);
    assert_true(isfinite(flops) && flops >= 0);
    assert_true(isfinite(read) && read > 0);
    assert_true(isfinite(stlora_ceiling_flops(STLORA_CEILING_BF16, NULL, 1)));
    assert_true(isfinite(stlora_ceiling_flops(STLORA_CEILING_TILES, NULL, 1)));
    stlora_team_free(team);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bits_are_the_inner_tables, open_tables, close_tables),
        cmocka_unit_test_setup_teardown(counts_are_the_formulas, open_tables, close_tables),
        cmocka_unit_test_setup_teardown(several_maps_are_one_line, open_tables, close_tables),
        cmocka_unit_test_setup_teardown(attention_counts_what_a_query_sees, open_tables, close_tables),
        cmocka_unit_test(ceilings_are_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
