/* op_cases.h: the one table of cases of the backend's ops: shapes, strides, dtypes. Declared once, used by the gradient
 * checks, the comparison of cpu with ref and the promises; op_instance.h makes buffers of a case and runs it.
 *
 * Sizes sit on and beside the widths of vectors and tiles: 1, 2, 3, 5, 7, 15, 16, 17, 31, 33, 63, 64, 65, 100, 129, and beyond
 * one block of the reduction (over 1024). `pad` is how far row strides exceed the columns.
 */
#ifndef STLORA_TESTS_OP_CASES_H
#define STLORA_TESTS_OP_CASES_H

#include "backend/backend.h"

typedef enum op_name {
    OP_PRODUCT,
    OP_LOWRANK_PROJECT,
    OP_LOWRANK_GRAD,
    OP_DROPOUT,
    OP_EMBED,
    OP_NORM,
    OP_SCALE,
    OP_ROPE,
    OP_ATTENTION,
    OP_ACTIVATION,
    OP_CROSS_ENTROPY,
    OP_ADAMW,
    OP_COUNT
} op_name;

static const char *const op_names[OP_COUNT] = {
    "product", "lowrank_project", "lowrank_grad", "dropout",       "embed", "norm", "scale",
    "rope",    "attention",       "activation",   "cross_entropy", "adamw"};

/* What a case has beside its shape: the dtypes, and how the weights lie. A case of an op runs once with each variant of the op. */
typedef struct op_variant {
    stlora_dtype act, weight, y;
    stlora_layout layout; /* of a product's w */
    bool like_a;          /* the low-rank factor lies as A [r, width] does; otherwise as B [width, r] */
} op_variant;

/* Units of one call: tokens, rows of logits, elements of adamw; attention takes them from its segments. */
typedef struct op_case {
    op_name op;
    bool backward; /* the op's gradient; rope: inverse; cross_entropy: with dlogits. Set by the test. */
    op_variant variant;
    int kind;                           /* stlora_norm_kind, stlora_activation_kind */
    int64_t tokens, in, out, rank, pad; /* in: width, vocabulary */
    bool bias, accumulate, in_place, no_w;
    bool other; /* the bias, or the table of positions, has another dtype than the weight */
    bool overwrite;             /* norm's gradient; with in_place into dy's memory */
    int64_t groups, rotary_dim; /* norm, whose x is then act's; rope */
    double softcap;             /* scale, attention, cross_entropy */
    double scale; /* product, scale, lowrank_grad, cross_entropy; dropout's p; norm's eps */
    int64_t heads, kv_heads, head_dim;
    const stlora_segment *segments;
    int64_t segment_count, window;
    bool rounded; /* the level rounds attention's p and ds to bf16; set by the test, for the bounds */
    double shrink, decay, grad_scale; /* adamw */
} op_case;

#define V(act, weight, y, layout, like_a)                                                                              \
    {                                                                                                                  \
        STLORA_##act, STLORA_##weight, STLORA_##y, STLORA_##layout, like_a                                             \
    }

static const op_variant product_variants[] = {
    V(F32, F32, F32, OUT_IN, false),    V(F32, F32, F32, IN_OUT, true),    V(F32, BF16, F32, OUT_IN, false),
    V(F32, BF16, F32, IN_OUT, true),    V(F32, F16, F32, OUT_IN, true),    V(F32, F16, F32, IN_OUT, false),
    V(BF16, BF16, BF16, OUT_IN, false), V(BF16, BF16, BF16, IN_OUT, true), V(BF16, BF16, F32, OUT_IN, true),
    V(BF16, BF16, F32, IN_OUT, false),  V(BF16, F32, BF16, OUT_IN, false), V(BF16, F32, F32, IN_OUT, true),
    V(BF16, F16, F32, OUT_IN, false),   V(BF16, F16, BF16, IN_OUT, true),
};
static const op_variant lowrank_variants[] = {
    V(F32, F32, F32, OUT_IN, false),
    V(F32, F32, F32, OUT_IN, true),
    V(BF16, F32, F32, OUT_IN, false),
    V(BF16, F32, F32, OUT_IN, true),
};
static const op_variant act_variants[] = {
    V(F32, F32, F32, OUT_IN, false),
    V(BF16, BF16, BF16, OUT_IN, false),
};
static const op_variant weight_variants[] = {
    V(F32, F32, F32, OUT_IN, false),
    V(F32, F16, F32, OUT_IN, false),
    V(BF16, BF16, BF16, OUT_IN, false),
    V(BF16, F32, BF16, OUT_IN, false),
};
static const op_variant dropout_variants[] = {
    V(F32, F32, F32, OUT_IN, false),
    V(BF16, F32, BF16, OUT_IN, false),
    V(BF16, F32, F32, OUT_IN, false),
};
static const op_variant logits_variants[] = {
    V(F32, F32, F32, OUT_IN, false),
    V(F32, F32, BF16, OUT_IN, false),
};
static const op_variant scale_variants[] = {
    V(F32, F32, F32, OUT_IN, false),
    V(F32, F32, BF16, OUT_IN, false),
    V(BF16, F32, F32, OUT_IN, false),
    V(BF16, F32, BF16, OUT_IN, false),
};
static const op_variant float_variants[] = {V(F32, F32, F32, OUT_IN, false)};

/* For gradient checks: everything in double, the weights lying either way. */
static const op_variant double_variants[] = {
    V(F64, F64, F64, OUT_IN, false),
    V(F64, F64, F64, IN_OUT, true),
};
#undef V

static const struct {
    const op_variant *list;
    size_t count;
} op_variants[OP_COUNT] = {
#define OP_LIST(variants)                                                                                              \
    {                                                                                                                  \
        variants, sizeof variants / sizeof variants[0]                                                                 \
    }
    [OP_PRODUCT] = OP_LIST(product_variants),
    [OP_LOWRANK_PROJECT] = OP_LIST(lowrank_variants),
    [OP_LOWRANK_GRAD] = OP_LIST(lowrank_variants),
    [OP_DROPOUT] = OP_LIST(dropout_variants),
    [OP_EMBED] = OP_LIST(weight_variants),
    [OP_NORM] = OP_LIST(weight_variants),
    [OP_SCALE] = OP_LIST(scale_variants),
    [OP_ROPE] = OP_LIST(act_variants),
    [OP_ATTENTION] = OP_LIST(act_variants),
    [OP_ACTIVATION] = OP_LIST(act_variants),
    [OP_CROSS_ENTROPY] = OP_LIST(logits_variants),
    [OP_ADAMW] = OP_LIST(float_variants),
#undef OP_LIST
};

static const stlora_segment one_token[] = {{0, 1, 0, 1}};
static const stlora_segment one_row[] = {{0, 5, 0, 5}};
static const stlora_segment pack[] = {{0, 3, 0, 3}, {3, 7, 3, 7}, {10, 1, 10, 1}, {11, 17, 11, 17}};
static const stlora_segment decode[] = {{0, 1, 0, 9}, {1, 1, 9, 33}, {2, 3, 42, 20}};
static const stlora_segment prefill[] = {{0, 16, 0, 47}, {16, 2, 47, 2}};
static const stlora_segment two_rows[] = {{0, 65, 0, 65}, {65, 31, 65, 31}};
static const stlora_segment long_row[] = {{0, 129, 0, 129}};
static const stlora_segment longer_rows[] = {{0, 7, 0, 7}, {7, 201, 7, 201}};
static const stlora_segment edges[] = {
    {0, 1, 0, 1}, {1, 31, 1, 31}, {32, 33, 32, 33}, {65, 64, 65, 64}, {129, 65, 129, 65}};

/* Flags of a row. */
enum { PLAIN = 0, BIAS = 1, ADD = 2, IN_PLACE = 4, NO_W = 8, OTHER = 16 };

#define FLAGS(f)                                                                                                       \
    .bias = (f)&BIAS, .accumulate = (f)&ADD, .in_place = (f)&IN_PLACE, .no_w = (f)&NO_W, .other = (f)&OTHER
#define ROW(name, t, i, p, f)        .op = OP_##name, .tokens = t, .in = i, .pad = p, FLAGS(f)
#define PRODUCT(t, i, o, r, p, f, s) ROW(PRODUCT, t, i, p, f), .out = o, .rank = r, .scale = s
#define PROJECT(t, i, r, p)          ROW(LOWRANK_PROJECT, t, i, p, PLAIN), .rank = r
#define GRAD(t, i, r, p, s)          ROW(LOWRANK_GRAD, t, i, p, PLAIN), .rank = r, .scale = s
#define DROPOUT(t, i, p, f, s)       ROW(DROPOUT, t, i, p, f), .scale = s
#define EMBED(t, i, rows, p, f)      ROW(EMBED, t, i, p, f), .out = rows
#define NORM(k, t, i, p, f, s)       ROW(NORM, t, i, p, f), .kind = STLORA_NORM_##k, .scale = s
#define GROUPS(k, t, g, i, p, f, s)  NORM(k, t, i, p, f, s), .groups = g, .overwrite = true
#define SCALE(t, i, p, f, s, cap)    ROW(SCALE, t, i, p, f), .scale = s, .softcap = cap
#define PARTIAL(t, h, d, r, p)       ROPE(t, h, d, p), .rotary_dim = r
#define ROPE(t, h, d, p)             ROW(ROPE, t, 0, p, PLAIN), .heads = h, .head_dim = d
#define ATTENTION(list, h, k, d, p, s)                                                                                 \
    ROW(ATTENTION, 0, 0, p, PLAIN), .heads = h, .kv_heads = k, .head_dim = d, .scale = s, .segments = list,            \
                                    .segment_count = sizeof list / sizeof list[0]
#define WINDOW(list, h, k, d, p, s, w) ATTENTION(list, h, k, d, p, s), .window = w
#define CAPPED(list, h, k, d, p, s, w, cap) WINDOW(list, h, k, d, p, s, w), .softcap = cap
#define ACTIVATION(k, t, i, p, f)    ROW(ACTIVATION, t, i, p, f), .kind = STLORA_ACT_##k
#define CROSS_ENTROPY(t, v, p, f, s) ROW(CROSS_ENTROPY, t, v, p, f), .scale = s
#define ADAMW(n, s, d, g)            ROW(ADAMW, n, 0, 0, PLAIN), .shrink = s, .decay = d, .grad_scale = g

static const op_case op_cases[] = {
    /* tokens, in, out, rank, pad, flags, scale */
    {PRODUCT(1, 1, 1, 0, 0, PLAIN, 0)},
    {PRODUCT(1, 2, 3, 1, 1, BIAS | ADD, -1)},
    {PRODUCT(2, 3, 5, 4, 3, PLAIN, 2)},
    {PRODUCT(3, 5, 7, 8, 0, BIAS, 0.5)},
    {PRODUCT(5, 7, 15, 16, 2, ADD, 4)},
    {PRODUCT(7, 15, 16, 4, 0, PLAIN, 1)},
    {PRODUCT(15, 16, 17, 8, 5, BIAS, 2)},
    {PRODUCT(16, 17, 31, 1, 0, PLAIN, 16)},
    {PRODUCT(17, 31, 33, 64, 1, ADD, 0.25)},
    {PRODUCT(6, 64, 64, 8, 0, PLAIN, 2)},
    {PRODUCT(1, 129, 65, 8, 0, BIAS, 2)},
    {PRODUCT(12, 33, 63, 16, 7, BIAS | ADD, 2)},
    {PRODUCT(13, 63, 65, 4, 0, PLAIN, 2)},
    {PRODUCT(31, 65, 100, 8, 0, PLAIN, 2)},
    {PRODUCT(33, 100, 129, 16, 31, BIAS, 2)},
    {PRODUCT(65, 129, 64, 0, 0, ADD, 0)},
    {PRODUCT(63, 128, 96, 8, 0, ADD | NO_W, 2)},
    {PRODUCT(4, 9, 10, 3, 0, NO_W, 2)},
    {PRODUCT(129, 40, 129, 8, 1, PLAIN, 2)},
    {PRODUCT(3, 1100, 33, 8, 0, PLAIN, 2)},
    {PRODUCT(14, 1030, 70, 4, 2, BIAS, 2)},
    {PRODUCT(2, 2065, 17, 0, 0, BIAS | ADD, 0)},
    {PRODUCT(5, 20, 1000, 8, 0, PLAIN, 2)},
    {PRODUCT(5, 8, 9, 130, 0, ADD, 0.5)},
    {PRODUCT(7, 19, 37, 4, 1, BIAS | OTHER, 2)},

    /* tokens, width, rank, pad */
    {PROJECT(1, 1, 1, 0)},
    {PROJECT(2, 3, 4, 1)},
    {PROJECT(5, 7, 8, 0)},
    {PROJECT(7, 17, 16, 4)},
    {PROJECT(16, 31, 64, 0)},
    {PROJECT(33, 65, 5, 3)},
    {PROJECT(65, 129, 8, 0)},
    {PROJECT(3, 1100, 17, 0)},
    {PROJECT(13, 1101, 2, 1)},
    {PROJECT(5, 1101, 8, 0)},
    {PROJECT(129, 100, 16, 0)},

    /* tokens, width, rank, pad, scale */
    {GRAD(1, 1, 1, 0, 2)},
    {GRAD(2, 3, 4, 1, 0.5)},
    {GRAD(5, 7, 8, 0, -1)},
    {GRAD(7, 17, 16, 4, 2)},
    {GRAD(16, 31, 64, 0, 2)},
    {GRAD(33, 65, 5, 3, 1.0 / 3)},
    {GRAD(65, 129, 8, 0, 2)},
    {GRAD(3, 1100, 17, 0, 2)},
    {GRAD(129, 100, 16, 0, 2)},

    /* tokens, width, pad, flags, p */
    {DROPOUT(1, 1, 0, PLAIN, 0.5)},
    {DROPOUT(3, 7, 2, PLAIN, 0.05)},
    {DROPOUT(5, 17, 3, ADD, 0.1)},
    {DROPOUT(7, 129, 0, PLAIN, 0.9)},
    {DROPOUT(33, 64, 0, ADD, 0.3)},
    {DROPOUT(4, 31, 0, PLAIN, 0)},

    /* tokens, width, rows of the table, pad, flags (BIAS: with positions) */
    {EMBED(1, 1, 3, 0, PLAIN)},
    {EMBED(5, 7, 11, 2, BIAS)},
    {EMBED(17, 65, 100, 0, PLAIN)},
    {EMBED(33, 129, 31, 1, BIAS)},
    {EMBED(9, 37, 12, 0, BIAS | OTHER)},

    /* kind, tokens, width, pad, flags, eps */
    {NORM(RMS, 1, 1, 0, PLAIN, 1e-6)},
    {NORM(RMS, 3, 7, 2, PLAIN, 1e-5)},
    {NORM(RMS, 5, 16, 0, PLAIN, 1e-6)},
    {NORM(RMS, 17, 65, 5, PLAIN, 0.1)},
    {NORM(RMS, 33, 129, 0, PLAIN, 1e-6)},
    {NORM(RMS, 2, 1000, 0, PLAIN, 1e-6)},
    {NORM(LAYER, 2, 2, 0, BIAS, 1e-1)},
    {NORM(LAYER, 3, 5, 1, BIAS, 1e-5)},
    {NORM(LAYER, 7, 31, 0, BIAS, 1e-5)},
    {NORM(LAYER, 16, 64, 3, PLAIN, 1e-5)},
    {NORM(LAYER, 31, 100, 0, BIAS, 1e-5)},
    {NORM(LAYER, 2, 1000, 0, BIAS, 1e-5)},
    {NORM(RMS, 5, 33, 1, ADD, 1e-6)},
    {NORM(LAYER, 3, 17, 0, BIAS | ADD, 1e-5)},
    {NORM(RMS_ONE, 3, 7, 2, PLAIN, 1e-5)},
    {NORM(RMS_ONE, 17, 65, 0, ADD, 1e-6)},
    {NORM(RMS, 7, 40, 0, PLAIN, 1e-6), .overwrite = true},
    /* kind, tokens, groups, width, pad, flags, eps */
    {GROUPS(RMS, 1, 1, 2, 0, PLAIN, 1e-6)},
    {GROUPS(RMS, 5, 3, 16, 4, IN_PLACE, 1e-6)},
    {GROUPS(RMS, 9, 2, 24, 0, PLAIN, 1e-5)},
    {GROUPS(RMS_ONE, 7, 4, 17, 3, IN_PLACE, 1e-6)},
    {GROUPS(RMS, 3, 1, 129, 0, IN_PLACE, 1e-6)},
    {GROUPS(LAYER, 4, 5, 8, 1, BIAS, 1e-5)},

    /* tokens, width, pad, flags, scale, softcap */
    {SCALE(1, 1, 0, PLAIN, 2, 0)},
    {SCALE(3, 7, 2, PLAIN, 0.37, 0)},
    {SCALE(5, 33, 0, ADD, -1.5, 0)},
    {SCALE(17, 129, 1, IN_PLACE, 1, 0)},
    {SCALE(3, 17, 2, PLAIN, 60, 30)},
    {SCALE(9, 64, 0, IN_PLACE, 3, 0.5)},
    {SCALE(4, 31, 0, ADD, 0.1, 2)},

    /* tokens, heads, head_dim, pad */
    {ROPE(1, 1, 2, 0)},
    {ROPE(3, 2, 6, 3)},
    {ROPE(4, 7, 4, 1)},
    {ROPE(9, 12, 8, 2)},
    {ROPE(5, 3, 16, 0)},
    {ROPE(17, 5, 64, 64)},
    {ROPE(2, 3, 80, 0)},
    {ROPE(33, 1, 128, 0)},
    {PARTIAL(3, 2, 8, 6, 1)},
    {PARTIAL(5, 3, 16, 8, 0)},
    {PARTIAL(9, 2, 96, 72, 3)},
    {PARTIAL(17, 5, 12, 2, 0)},

    /* segments, heads, kv_heads, head_dim, pad, scale */
    {ATTENTION(one_token, 1, 1, 1, 0, 1)},
    {ATTENTION(one_row, 2, 1, 6, 2, 0.4)},
    {ATTENTION(pack, 4, 2, 16, 0, 0.25)},
    {ATTENTION(pack, 3, 3, 20, 1, 2)},
    {ATTENTION(pack, 7, 1, 64, 16, 0.125)},
    {ATTENTION(decode, 4, 2, 64, 0, 0.125)},
    {ATTENTION(prefill, 2, 2, 80, 0, 0.11)},
    {ATTENTION(two_rows, 2, 1, 32, 0, 0.2)},
    {ATTENTION(long_row, 2, 1, 8, 0, 1)},
    {ATTENTION(one_row, 1, 1, 256, 0, 0.0625)},
    {ATTENTION(longer_rows, 3, 1, 16, 0, 0.5)},
    {ATTENTION(edges, 1, 1, 32, 0, 0.2)},
    {ATTENTION(edges, 1, 1, 96, 4, 0.1)},
    {ATTENTION(edges, 1, 1, 128, 0, 0.09)},
    {ATTENTION(one_row, 2, 2, 256, 0, 0.0625)},
    {WINDOW(edges, 2, 1, 64, 0, 0.125, 20)},
    {WINDOW(longer_rows, 2, 1, 32, 8, 0.2, 70)},
    {WINDOW(prefill, 2, 1, 64, 0, 0.125, 37)},
    {WINDOW(one_row, 2, 1, 6, 0, 0.4, 1)},
    {WINDOW(pack, 4, 2, 16, 3, 0.25, 4)},
    {WINDOW(decode, 4, 2, 24, 0, 0.125, 5)},
    {WINDOW(prefill, 2, 2, 20, 0, 0.11, 16)},
    {WINDOW(longer_rows, 2, 1, 16, 0, 0.3, 33)},
    {WINDOW(longer_rows, 2, 2, 8, 0, 0.3, 70)},
    {WINDOW(long_row, 1, 1, 32, 0, 0.2, 500)},
    {CAPPED(one_row, 2, 1, 6, 2, 0.4, 0, 1)},
    {CAPPED(pack, 4, 2, 16, 3, 0.5, 4, 2)},
    {CAPPED(pack, 2, 1, 20, 0, 0.25, 0, 50)},
    {CAPPED(decode, 4, 2, 64, 0, 0.125, 5, 3)},
    {CAPPED(longer_rows, 2, 1, 8, 0, 0.3, 0, 1.5)},
    {CAPPED(long_row, 1, 1, 32, 0, 0.2, 70, 5)},

    /* kind, tokens, width, pad, flags (IN_PLACE: the gradient) */
    {ACTIVATION(SILU_GLU, 1, 1, 0, PLAIN)},
    {ACTIVATION(SILU_GLU, 3, 7, 2, PLAIN)},
    {ACTIVATION(SILU_GLU, 5, 33, 1, IN_PLACE)},
    {ACTIVATION(SILU_GLU, 17, 129, 0, PLAIN)},
    {ACTIVATION(GELU_TANH, 2, 3, 0, PLAIN)},
    {ACTIVATION(GELU_TANH, 7, 31, 3, IN_PLACE)},
    {ACTIVATION(GELU_TANH, 16, 100, 0, PLAIN)},
    {ACTIVATION(GELU_TANH_GLU, 1, 1, 0, PLAIN)},
    {ACTIVATION(GELU_TANH_GLU, 7, 31, 3, IN_PLACE)},
    {ACTIVATION(GELU_TANH_GLU, 16, 100, 0, PLAIN)},

    /* rows, vocabulary, pad, flags (IN_PLACE: where dtypes agree), scale */
    {CROSS_ENTROPY(1, 1, 0, PLAIN, 1)},
    {CROSS_ENTROPY(2, 3, 2, PLAIN, 0.5)},
    {CROSS_ENTROPY(5, 17, 0, IN_PLACE, 1.0 / 3)},
    {CROSS_ENTROPY(7, 129, 3, IN_PLACE, 0.125)},
    {CROSS_ENTROPY(33, 64, 0, PLAIN, 0.25)},
    {CROSS_ENTROPY(3, 5003, 0, PLAIN, 1)},
    {CROSS_ENTROPY(5, 33, 1, PLAIN, 0.5), .softcap = 10},
    {CROSS_ENTROPY(7, 129, 0, IN_PLACE, 0.125), .softcap = 8.5},

    /* count, shrink, decay, grad_scale */
    {ADAMW(1, 1, 1, 1)},
    {ADAMW(7, 0.995, 1, 1)},
    {ADAMW(17, 1, 0.9999, 0.37)},
    {ADAMW(8 * 896, 0.9995, 0.999999, 0.1)},
    {ADAMW(3 * 65536 + 5, 0.999, 0.9999, 1)},
};

/* Large enough that several threads share the work, and several blocks of tokens: run with fewer variants. */
static const op_case op_large_cases[] = {
    {PRODUCT(600, 33, 300, 8, 0, PLAIN, 2)},
    {PRODUCT(1100, 9, 600, 4, 1, BIAS | ADD, 2)},
    {PRODUCT(30, 1300, 200, 70, 0, BIAS, 2)},
    {PROJECT(700, 900, 8, 0)},
    {GRAD(300, 600, 16, 0, 2)},
    {DROPOUT(300, 700, 0, ADD, 0.1)},
    {EMBED(300, 700, 50, 0, BIAS)},
    {NORM(RMS, 300, 901, 0, PLAIN, 1e-6)},
    {NORM(LAYER, 300, 901, 3, BIAS, 1e-5)},
    {GROUPS(RMS_ONE, 300, 12, 64, 0, IN_PLACE, 1e-6)},
    {SCALE(300, 901, 0, ADD, 0.22, 0)},
    {SCALE(300, 901, 3, IN_PLACE, 1, 30)},
    {ROPE(300, 9, 64, 0)},
    {PARTIAL(300, 9, 64, 48, 0)},
    {ATTENTION(two_rows, 8, 2, 64, 0, 0.125)},
    {CAPPED(two_rows, 8, 2, 64, 0, 0.125, 30, 4)},
    {ACTIVATION(SILU_GLU, 200, 700, 0, PLAIN)},
    {ACTIVATION(GELU_TANH, 200, 701, 0, PLAIN)},
    {CROSS_ENTROPY(41, 5003, 0, PLAIN, 1)},
};

typedef struct op_table {
    const op_case *cases;
    size_t count, most_variants;
} op_table;

static const op_table op_small = {op_cases, sizeof op_cases / sizeof op_cases[0], 100};
static const op_table op_large = {op_large_cases, sizeof op_large_cases / sizeof op_large_cases[0], 3};

/* Calls visit for every case of op in the table, with each of the variants; of many variants, with some spread over them. */
static inline void op_each(const op_table *table, op_name op, bool backward, const op_variant *variants,
                           size_t variant_count, void (*visit)(const op_case *, void *), void *context)
{
    const size_t step = (variant_count + table->most_variants - 1) / table->most_variants;
    for (size_t n = 0; n < table->count; n++) {
        if (table->cases[n].op != op) continue;
        for (size_t v = 0; v < variant_count; v += step) {
            op_case c = table->cases[n];
            c.variant = variants[v];
            c.backward = backward;
            visit(&c, context);
        }
    }
}

/* Whether the op has a second face: a gradient op, rope's inverse, cross_entropy with dlogits. */
static inline bool op_has_backward(op_name op)
{
    return op == OP_NORM || op == OP_ROPE || op == OP_ATTENTION || op == OP_ACTIVATION || op == OP_CROSS_ENTROPY;
}

/* Both faces of an op, over its own variants. */
static inline void op_each_face(const op_table *table, op_name op, void (*visit)(const op_case *, void *),
                                void *context)
{
    op_each(table, op, false, op_variants[op].list, op_variants[op].count, visit, context);
    if (op_has_backward(op)) {
        op_each(table, op, true, op_variants[op].list, op_variants[op].count, visit, context);
    }
}

#endif
