/* test_strip.c: what lies between begin and end has the bits of the same calls one after the other, at every level: ops as a block has them, lists
 * that are too long, and memory that ops use one after another for rows of other lengths, where strips would write what others still read.
 */
#include "backend/op_levels.h"

#include <string.h>

#include "base/rng.h"
#include "support.h"

/* Tokens in strips that are not even, widths with tails. */
enum { THREADS = 3, T = 203, C = 40, F = 37, Q = 24, R = 8, R2 = 3, V = 61, FLOATS = 1 << 18 };

/* A run's memory: `all` is compared. */
typedef struct memory {
    float all[FLOATS];
    int64_t used;
    int32_t ids[T], positions[T];
    uint64_t keys[T];
} memory;

static float *take(memory *m, int64_t count)
{
    float *p = m->all + m->used;
    m->used += (count + 15) / 16 * 16;
    assert_true(m->used <= FLOATS);
    return p;
}

static void fill(memory *m)
{
    m->used = 0;
    for (int64_t i = 0; i < FLOATS; i++)
        m->all[i] = (float)((double)stlora_rng_u32(1, STLORA_RNG_SHUFFLE, 2, (uint64_t)i) / 4294967296.0 - 0.5);
    for (int t = 0; t < T; t++) {
        m->ids[t] = (t * 7) % V;
        m->positions[t] = t % 50;
        m->keys[t] = (uint64_t)t * 3 + 1;
    }
}

static stlora_mat floats(float *p, int64_t width)
{
    return stlora_mat_whole(p, STLORA_F32, T, width);
}
static stlora_cmat seen(const float *p, int64_t width)
{
    return (stlora_cmat){p, STLORA_F32, T, width, width};
}

static stlora_product_args map_of(stlora_cmat x, const float *w, stlora_layout layout, const float *h, const float *u,
                                  int64_t rank, stlora_mat y, bool accumulate)
{
    return (stlora_product_args){.tokens = T,
                                 .in = x.cols,
                                 .out = y.cols,
                                 .x = x,
                                 .w = w,
                                 .w_dtype = STLORA_F32,
                                 .w_layout = layout,
                                 .ldw = layout == STLORA_OUT_IN ? x.cols : y.cols,
                                 .h = h,
                                 .u = u,
                                 .rank = rank,
                                 .u_rank_stride = layout == STLORA_OUT_IN ? 1 : y.cols,
                                 .u_out_stride = layout == STLORA_OUT_IN ? rank : 1,
                                 .scale = 0.5,
                                 .y = y,
                                 .accumulate = accumulate};
}

static void product(const stlora_backend *b, stlora_product_args map)
{
    b->product(b, &map, 1);
}

static void project(const stlora_backend *b, stlora_cmat x, const float *u, bool like_a, int64_t rank, float *h)
{
    b->lowrank_project(
        b, &(stlora_lowrank_project_args){T, x.cols, rank, x, u, like_a ? x.cols : 1, like_a ? 1 : rank, h});
}

static void grad(const stlora_backend *b, const float *h, int64_t rank, stlora_cmat x, float *g, bool like_a)
{
    b->lowrank_grad(
        b, &(stlora_lowrank_grad_args){T, x.cols, rank, h, x, 0.5, g, like_a ? x.cols : 1, like_a ? 1 : rank, 0});
}

/* Forward and backward as a block has them, with adapted maps. */
static void a_block(const stlora_backend *b, memory *m)
{
    float *table = take(m, V * C), *x = take(m, T * C), *h = take(m, T * C), *stats = take(m, T * 2), *w = take(m, C);
    float *wq = take(m, 3 * Q * C), *a = take(m, 3 * R * C), *bq = take(m, 3 * Q * R), *hq = take(m, 3 * T * R);
    float *qkv = take(m, T * 3 * Q), *angle = take(m, 50 * Q), *up = take(m, T * 2 * F), *wu = take(m, 2 * F * C);
    float *act = take(m, T * F), *wd = take(m, C * F), *ad = take(m, R * F), *bd = take(m, C * R), *hd = take(m, T * R);
    float *p = take(m, 2 * T * R), *ga = take(m, R * F), *gb = take(m, C * R), *dh = take(m, T * C),
          *dx = take(m, T * C);
    stlora_product_args maps[3];
    b->embed(b, &(stlora_embed_args){T, C, m->ids, m->positions, table, STLORA_F32, NULL, STLORA_F32, floats(x, C)});
    b->noise(b, &(stlora_noise_args){T, C, floats(x, C), 0.1, 5, 6, m->keys});
    b->norm(b, &(stlora_norm_args){.kind = STLORA_NORM_RMS,
                                   .tokens = T,
                                   .width = C,
                                   .eps = 1e-5,
                                   .x = seen(x, C),
                                   .w = w,
                                   .w_dtype = STLORA_F32,
                                   .y = floats(h, C),
                                   .stats = stats});
    for (int k = 0; k < 3; k++) {
        project(b, seen(h, C), a + k * R * C, true, R, hq + k * T * R);
        maps[k] = map_of(seen(h, C), wq + k * Q * C, STLORA_OUT_IN, hq + k * T * R, bq + k * Q * R, R,
                         stlora_mat_columns(qkv, STLORA_F32, T, 3 * Q, k * Q, Q), false);
    }
    b->product(b, maps, 3);
    b->rope(b, &(stlora_rope_args){.tokens = T,
                                   .heads = 2,
                                   .head_dim = Q,
                                   .x = stlora_mat_columns(qkv, STLORA_F32, T, 3 * Q, 0, 2 * Q),
                                   .positions = m->positions,
                                   .cos = angle,
                                   .sin = angle + 25 * Q});
    b->scale(b, &(stlora_scale_args){.tokens = T,
                                     .width = Q,
                                     .scale = 0.3,
                                     .x = stlora_mat_const(stlora_mat_columns(qkv, STLORA_F32, T, 3 * Q, 2 * Q, Q)),
                                     .y = stlora_mat_columns(qkv, STLORA_F32, T, 3 * Q, 0, Q),
                                     .accumulate = true});
    product(b, map_of(seen(h, C), wu, STLORA_OUT_IN, NULL, NULL, 0, floats(up, 2 * F), false));
    b->activation(b, &(stlora_activation_args){STLORA_ACT_SILU_GLU, T, F, seen(up, 2 * F), floats(act, F)});
    project(b, seen(act, F), ad, true, R, hd);
    product(b, map_of(seen(act, F), wd, STLORA_OUT_IN, hd, bd, R, floats(x, C), true));
    /* backward, with x as the gradient */
    project(b, seen(x, C), bd, false, R, p);
    product(b, map_of(seen(x, C), wd, STLORA_IN_OUT, p, ad, R, floats(act, F), false));
    b->activation_grad(b, &(stlora_activation_grad_args){.kind = STLORA_ACT_SILU_GLU,
                                                         .tokens = T,
                                                         .width = F,
                                                         .x = seen(up, 2 * F),
                                                         .dy = seen(act, F),
                                                         .dx = floats(up, 2 * F),
                                                         .y = floats(act, F)});
    grad(b, hd, R, seen(x, C), gb, false);
    for (int slice = 0; slice < 3; slice++) /* on the same sums */
        grad(b, p, R, seen(act, F), ga, true);
    product(b, map_of(seen(up, 2 * F), wu, STLORA_IN_OUT, NULL, NULL, 0, floats(dh, C), false));
    b->norm_grad(b, &(stlora_norm_grad_args){.kind = STLORA_NORM_RMS,
                                             .tokens = T,
                                             .width = C,
                                             .x = seen(h, C),
                                             .dy = seen(dh, C),
                                             .w = w,
                                             .w_dtype = STLORA_F32,
                                             .stats = stats,
                                             .dx = floats(dx, C)});
    b->dropout(b, &(stlora_dropout_args){.tokens = T,
                                         .width = C,
                                         .x = seen(dx, C),
                                         .y = floats(dh, C),
                                         .p = 0.3,
                                         .seed = 3,
                                         .stream = 4,
                                         .token_keys = m->keys});
}

/* P of one rank, and behind it in the same place of another. */
static void ranks_that_differ(const stlora_backend *b, memory *m)
{
    float *x = take(m, T * C), *y = take(m, T * C), *z = take(m, T * C), *u = take(m, R * C), *p = take(m, T * R),
          *w = take(m, C * C);
    for (int round = 0; round < 3; round++) {
        project(b, seen(x, C), u, true, R, p);
        product(b, map_of(seen(x, C), w, STLORA_OUT_IN, p, u, R, floats(y, C), true));
        project(b, seen(y, C), u, true, R2, p);
        product(b, map_of(seen(y, C), w, STLORA_OUT_IN, p, u, R2, floats(z, C), true));
    }
}

/* One map's output and behind it another's, wider, and what has half the bytes, in one place. */
static void widths_that_differ(const stlora_backend *b, memory *m)
{
    float *x = take(m, T * C), *y = take(m, T * C), *v = take(m, T * 2 * F), *gain = take(m, 2 * F),
          *w = take(m, 2 * F * C), *g = take(m, C);
    const stlora_mat half = stlora_mat_whole(v, STLORA_BF16, T, C);
    memset(v, 0, (size_t)(T * 2 * F) * sizeof *v);
    for (int round = 0; round < 3; round++) {
        product(b, map_of(seen(x, C), w, STLORA_OUT_IN, NULL, NULL, 0, floats(v, C), false));
        b->column_dot(b, &(stlora_column_dot_args){T, C, seen(x, C), seen(v, C), gain, g});
        b->column_scale(
            b, &(stlora_column_scale_args){.tokens = T, .width = C, .x = seen(x, C), .scale = gain, .y = half});
        product(b, map_of(stlora_mat_const(half), w, STLORA_IN_OUT, NULL, NULL, 0, floats(y, C), true));
        product(b, map_of(seen(y, C), w, STLORA_OUT_IN, NULL, NULL, 0, floats(v, 2 * F), false));
        b->column_scale(
            b, &(stlora_column_scale_args){.tokens = T,
                                           .width = F,
                                           .x = stlora_mat_const(stlora_mat_columns(v, STLORA_F32, T, 2 * F, F, F)),
                                           .scale = gain,
                                           .y = stlora_mat_columns(v, STLORA_F32, T, 2 * F, 0, F),
                                           .accumulate = true});
    }
}

/* More calls, and more rows, than a list holds; with fewer tokens in between. */
static void many_calls(const stlora_backend *b, memory *m)
{
    float *x[90];
    for (int i = 0; i < 90; i++)
        x[i] = take(m, T * 13);
    for (int i = 0; i < 200; i++) {
        const int64_t tokens = i % 50 == 49 ? 5 : i % 50 == 20 ? T - 1 : T;
        stlora_scale_args args = {.tokens = tokens,
                                  .width = 13,
                                  .scale = 0.5,
                                  .x = seen(x[i % 90], 13),
                                  .y = floats(x[(i * 7 + 1) % 90], 13),
                                  .accumulate = true};
        b->scale(b, &args);
        args.scale = 0; /* the call's own copy stays */
        if (i % 60 == 0) grad(b, x[2], R, seen(x[1], 13), x[3], true);
    }
}

typedef void (*work)(const stlora_backend *, memory *);

static void check(work run)
{
    static memory apart, together;
    op_levels levels;
    op_levels_open(&levels, THREADS);
    for (int n = 0; n < levels.count; n++) {
        const stlora_backend *b = levels.table[n];
        fill(&apart);
        run(b, &apart);
        for (int round = 0; round < 20; round++) {
            fill(&together);
            b->begin(b);
            run(b, &together);
            b->end(b);
            for (int64_t i = 0; i < FLOATS; i++)
                if (memcmp(&apart.all[i], &together.all[i], sizeof(float)) != 0)
                    fail_msg("%s: number %lld is %g, and %g call after call", b->name, (long long)i,
                             (double)together.all[i], (double)apart.all[i]);
        }
    }
    op_levels_close(&levels);
}

static void test_a_block(void **state)
{
    (void)state;
    check(a_block);
}
static void test_ranks_that_differ(void **state)
{
    (void)state;
    check(ranks_that_differ);
}
static void test_widths_that_differ(void **state)
{
    (void)state;
    check(widths_that_differ);
}
static void test_many_calls(void **state)
{
    (void)state;
    check(many_calls);
}

/* Where one thread is all, and in ref's table, begin and end are there and do nothing. */
static void test_nothing_to_put_off(void **state)
{
    (void)state;
    static memory apart, together;
    static const char *const kinds[] = {"ref", "cpu"};
    for (int k = 0; k < 2; k++) {
        stlora_error err = {0};
        stlora_backend *b;
        assert_ok(stlora_backend_create(&b, kinds[k], 1, &err));
        fill(&apart);
        fill(&together);
        a_block(b, &apart);
        b->begin(b);
        a_block(b, &together);
        assert_memory_equal(apart.all, together.all, sizeof apart.all);
        b->end(b);
        stlora_backend_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_block),
        cmocka_unit_test(test_ranks_that_differ),
        cmocka_unit_test(test_widths_that_differ),
        cmocka_unit_test(test_many_calls),
        cmocka_unit_test(test_nothing_to_put_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
