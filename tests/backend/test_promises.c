/* test_promises.c: the promises at the top of backend.h, bit by bit, for every op of cpu at every level and of ref.
 *
 *   threads   1, 2 and 3 threads give the same bits
 *   cuts      the units of a call (tokens, rows, segments) done one by one, in halves or in uneven parts give the bits of one
 *             call: rows do not depend on their neighbours, and sums over tokens go on from what they held
 *   queries   a query asked alone, as in decoding, has the bits that it has among its neighbours, as in training
 *   poison    one NaN or infinity in one element of one input reaches what it should in ref, and nothing else
 *   without   an output that the caller leaves out changes no bit of the others
 *   denormals count
 *   together  products of several maps in one call have the bits of one call after the other
 *   again     what activation_grad puts out beside the gradient has activation's bits
 *
 * test_adamw.c has adamw's.
 */
#include "backend/op_tables.h"
#include "base/rng.h"

typedef struct trial {
    tables one, two, three; /* by threads */
    int begin, end;         /* which of the tables are tried */
    int64_t largest;        /* cases of more multiplications are left out */
    int failures;
} trial;

static bool too_large(const trial *all, const op_case *c)
{
    if (c->op == OP_ATTENTION) { /* ref forms every score anew for every 128 elements of a head */
        const int64_t scores = op_queries(c) * op_keys(c) * c->heads;
        return scores * c->head_dim / 4096 * (1 + c->head_dim / 128) > all->largest;
    }
    return c->tokens * (c->in + 1) * (c->out + 1) > all->largest;
}

static void report(trial *all, const stlora_backend *table, const op_case *c, const char *what)
{
    char label[300];
    op_label(c, label, sizeof label);
    print_message("  ^ %s, %s: %s\n", table->name, what, label);
    all->failures++;
}

enum { CPU = 1, REF = 2 };

static void run_trial(const op_table *table, void (*visit)(const op_case *, void *), int which, int64_t largest)
{
    trial all = {.largest = largest};
    tables_open(&all.one, 1);
    tables_open(&all.two, 2);
    tables_open(&all.three, 3);
    all.begin = which & CPU ? 0 : all.one.count - 1;
    all.end = which & REF ? all.one.count : all.one.count - 1;
    for (int op = 0; op < OP_COUNT; op++)
        op_each_face(table, (op_name)op, visit, &all);
    tables_close(&all.one);
    tables_close(&all.two);
    tables_close(&all.three);
    if (all.failures) fail_msg("%d promises broken", all.failures);
}

/* ---- threads and cuts ---- */

/* Parts of a call over all units: the first of its own size, then all the same. */
static void run_in_parts(const stlora_backend *table, op_instance *x, int64_t first, int64_t then)
{
    const int64_t units = op_units(&x->c);
    for (int64_t begin = 0, end = first; begin < units; begin = end, end += then) {
        if (end > units) end = units;
        op_run(table, x, begin, end);
    }
}

static void try_bits(const op_case *c, void *context)
{
    trial *all = context;
    if (too_large(all, c)) return;
    const int64_t units = op_units(c);
    const struct {
        int threads;
        int64_t first, then;
    } ways[] = {{2, units, 1}, {3, units, 1}, {1, 1, 1},   {2, (units + 1) / 2, units},
                {3, 1, units}, {1, 3, 7},     {2, 37, 150}};
    op_instance made;
    op_make(&made, c);
    for (int n = all->begin; n < all->end; n++) {
        op_instance whole;
        op_copy(&whole, &made);
        op_run(all->one.all[n], &whole, 0, units);
        for (size_t k = 0; k < sizeof ways / sizeof ways[0]; k++) {
            const int64_t first = ways[k].first, then = ways[k].then;
            if (first < units && c->op == OP_ADAMW) continue; /* its unit is the whole matrix */
            if (first > units || (first < units && units > 64 && then < 7)) continue;
            const tables *by_threads[] = {&all->one, &all->two, &all->three};
            op_instance parts;
            op_copy(&parts, &made);
            run_in_parts(by_threads[ways[k].threads - 1]->all[n], &parts, first, then);
            char what[100];
            (void)snprintf(what, sizeof what, "%d threads, first %lld, then by %lld, against 1 thread and all at once",
                           ways[k].threads, (long long)first, (long long)then);
            if (!same_bits(&parts, &whole)) report(all, all->one.all[n], c, what);
            op_free(&parts);
        }
        op_free(&whole);
    }
    op_free(&made);
}

static void test_bits(void **state)
{
    (void)state;
    run_trial(&op_small, try_bits, CPU, INT64_MAX);
}

static void test_bits_large(void **state)
{
    (void)state;
    run_trial(&op_large, try_bits, CPU, INT64_MAX);
}

static void test_bits_of_ref(void **state)
{
    (void)state;
    run_trial(&op_small, try_bits, REF, 5000);
}

/* ---- queries ---- */

static void try_queries_alone(const tables *all, stlora_dtype act, int64_t dim, int64_t window)
{
    enum { HEADS = 2, ROW = 150, MOST = ROW * HEADS * 96 };
    static stlora_segment alone[ROW];
    static float q[MOST], k[MOST], v[MOST], o[2][MOST], lse[2][ROW * HEADS];
    const int64_t width = HEADS * dim;
    const stlora_segment row = {0, ROW, 0, ROW};
    for (int64_t i = 0; i < ROW; i++)
        alone[i] = (stlora_segment){i, 1, 0, i + 1};
    for (int64_t i = 0; i < ROW * width; i++) {
        stlora_store(q, act, i, 4 * stlora_rng_uniform(1, STLORA_RNG_PROBE, 0, (uint64_t)i) - 2);
        stlora_store(k, act, i, 4 * stlora_rng_uniform(2, STLORA_RNG_PROBE, 0, (uint64_t)i) - 2);
        stlora_store(v, act, i, 4 * stlora_rng_uniform(3, STLORA_RNG_PROBE, 0, (uint64_t)i) - 2);
    }
    for (int n = 0; n < all->count - 1; n++) {
        for (int way = 0; way < 2; way++) {
            const stlora_attention_args args = {.heads = HEADS,
                                                .kv_heads = HEADS,
                                                .head_dim = dim,
                                                .scale = 0.5,
                                                .window = window,
                                                .segments = way ? alone : &row,
                                                .segment_count = way ? ROW : 1,
                                                .q = {q, act, ROW, width, width},
                                                .k = {k, act, ROW, width, width},
                                                .v = {v, act, ROW, width, width},
                                                .o = stlora_mat_whole(o[way], act, ROW, width),
                                                .lse = lse[way]};
            all->all[n]->attention(all->all[n], &args);
        }
        const size_t bytes = (size_t)(ROW * width) * stlora_dtype_size(act);
        if (memcmp(o[0], o[1], bytes) != 0 || memcmp(lse[0], lse[1], sizeof lse[0]) != 0)
            fail_msg("%s: heads of %lld, a window of %lld: queries alone have other bits", all->all[n]->name,
                     (long long)dim, (long long)window);
    }
}

static void test_queries_alone(void **state)
{
    (void)state;
    static const int64_t dims[] = {1, 8, 12, 32, 33, 64, 96}, windows[] = {0, 1, 20, 100};
    tables all;
    tables_open(&all, 2);
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) {
            try_queries_alone(&all, STLORA_F32, dims[d], windows[w]);
            try_queries_alone(&all, STLORA_BF16, dims[d], windows[w]);
        }
    }
    tables_close(&all);
}

/* ---- poison ---- */

/* 0 finite, 1 infinite, 2 NaN */
static int kind_of(double value)
{
    return isnan(value) ? 2 : isinf(value) ? 1 : 0;
}

/* Attention's gradient may spread a poison over the segment in which it lies: is row i of one buffer in the segment of another's
 * row? Slots from AK to AV and from ADK to ADV have a row per key, the others one per query. */
static bool same_segment(const op_case *c, int slot_a, int64_t a, int slot_b, int64_t b)
{
    const bool keys_a = slot_a == AK || slot_a == AV || slot_a == ADK || slot_a == ADV;
    const bool keys_b = slot_b == AK || slot_b == AV || slot_b == ADK || slot_b == ADV;
    for (int64_t s = 0; s < c->segment_count; s++) {
        const stlora_segment *g = &c->segments[s];
        const int64_t in_a = a - (keys_a ? g->k0 : g->q0), in_b = b - (keys_b ? g->k0 : g->q0);
        if (in_a >= 0 && in_a < (keys_a ? g->k_count : g->q_count) && in_b >= 0 &&
            in_b < (keys_b ? g->k_count : g->q_count))
            return true;
    }
    return false;
}

/* What is finite in ref is finite, and what is NaN or infinite there is NaN or infinite, a NaN staying NaN when NaN was the poison. */
static bool propagates(const op_instance *got, const op_instance *want, double poison, int poisoned, int64_t row)
{
    for (int slot = 0; slot < OP_MOST_BUFFERS; slot++) {
        const op_buffer *g = &got->buffer[slot], *w = &want->buffer[slot];
        if (!g->name || !g->written || (got->c.op == OP_ATTENTION && slot == ADELTA)) continue;
        for (int64_t n = 0; n < g->rows * g->cols; n++) {
            const int64_t i = n / g->cols, j = n % g->cols;
            const int is = kind_of(op_get(g, i, j)), should = kind_of(op_get(w, i, j));
            const bool good = isnan(poison) ? is == should : (is == 0) == (should == 0);
            if (good) continue;
            const bool spreads = got->c.op == OP_ATTENTION && got->c.backward;
            if (spreads && is != 0 && should == 0 && same_segment(&got->c, slot, i, poisoned, row)) continue;
            print_message("%s[%lld,%lld] is %g, should be %g\n", g->name, (long long)i, (long long)j, op_get(g, i, j),
                          op_get(w, i, j));
            return false;
        }
    }
    return (kind_of(got->loss) == 0) == (kind_of(want->loss) == 0) &&
           (kind_of(got->sum_squares) == 0) == (kind_of(want->sum_squares) == 0);
}

/* In every buffer of the case in turn, outputs too: what is overwritten forgets what it held. */
static void try_poison(const op_case *c, void *context)
{
    trial *all = context;
    if (too_large(all, c)) return;
    const stlora_backend *ref = all->one.all[all->one.count - 1];
    static const double poisons[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    op_instance made;
    op_make(&made, c);
    for (int trap = 0; trap < 3 * OP_MOST_BUFFERS; trap++) {
        if (!made.buffer[trap / 3].name) continue;
        const double poison = poisons[trap % 3];
        op_instance poisoned, want;
        op_copy(&poisoned, &made);
        op_buffer *b = &poisoned.buffer[trap / 3];
        const int64_t at = trap % 2 ? b->rows * b->cols - 1 : b->rows * b->cols / 2;
        op_put(b, at / b->cols, at % b->cols, poison);
        op_widen(&want, &poisoned);
        op_run(ref, &want, 0, op_units(c));
        for (int n = all->begin; n < all->end; n++) {
            op_instance got;
            op_copy(&got, &poisoned);
            op_run(all->one.all[n], &got, 0, op_units(c));
            char what[80];
            (void)snprintf(what, sizeof what, "%g in %s[%lld]", poison, b->name, (long long)at);
            if (!propagates(&got, &want, poison, trap / 3, at / b->cols)) report(all, all->one.all[n], c, what);
            op_free(&got);
        }
        op_free(&poisoned);
        op_free(&want);
    }
    op_free(&made);
}

static void test_poison(void **state)
{
    (void)state;
    run_trial(&op_small, try_poison, CPU, 3000);
}

/* ---- what may be left out, and what may be small ---- */

/* cross_entropy without loss, without logprob, without both: what remains has the same bits. */
static void try_without(const op_case *c, void *context)
{
    trial *all = context;
    if (c->op != OP_CROSS_ENTROPY) return;
    for (int n = all->begin; n < all->end; n++) {
        const stlora_backend *table = all->one.all[n];
        op_instance made, whole;
        op_make(&made, c);
        op_copy(&whole, &made);
        op_run(table, &whole, 0, c->tokens);
        for (int without = 1; without <= 3; without++) {
            op_instance part;
            op_copy(&part, &made);
            const stlora_mat none = {.data = NULL, .dtype = STLORA_F32};
            op_buffer *b = part.buffer;
            const stlora_cross_entropy_args args = {
                .rows = c->tokens,
                .vocab = c->in,
                .logits = op_const(&b[EX], 0, c->tokens),
                .targets = part.ids,
                .scale = c->scale,
                .softcap = c->softcap,
                .logprob = without & 1 ? NULL : op_floats(&b[ELOGPROB], 0),
                .loss = without & 2 ? NULL : &part.loss,
                .dlogits = c->backward ? op_mat(&b[made.c.in_place ? EX : EDX], 0, c->tokens) : none,
            };
            table->cross_entropy(table, &args);
            if (without & 1) memcpy(b[ELOGPROB].data, whole.buffer[ELOGPROB].data, b[ELOGPROB].bytes);
            if (without & 2) part.loss = whole.loss;
            if (!same_bits(&part, &whole))
                report(all, table, c, without == 1 ? "no logprob" : without == 2 ? "no loss" : "no logprob, no loss");
            op_free(&part);
        }
        op_free(&made);
        op_free(&whole);
    }
}

static void test_without(void **state)
{
    (void)state;
    run_trial(&op_small, try_without, CPU | REF, INT64_MAX);
}

/* Denormals count in products and in the adapter's sums, whether x holds them or w (F32, BF16, F16). The
 * exception that backend.h makes, bf16 by bf16 at level avx512-bf16, is left out. */
static void test_denormals(void **state)
{
    (void)state;
    static const struct {
        stlora_dtype x, w;
        double x_value, w_value;
    } cases[] = {
        {STLORA_F32, STLORA_F32, 0x1p-140, 1},   {STLORA_F32, STLORA_F32, 1, 0x1p-140},
        {STLORA_F32, STLORA_BF16, 1, 0x1p-130},  {STLORA_F32, STLORA_F16, 1, 0x1p-24},
        {STLORA_BF16, STLORA_F32, 0x1p-130, 1},  {STLORA_BF16, STLORA_F16, 1, 0x1p-24},
        {STLORA_BF16, STLORA_BF16, 0x1p-130, 1},
    };
    enum { T = 7, N = 33, M = 65, R = 3 };
    tables all;
    tables_open(&all, 2);
    for (int n = 0; n < all.count; n++) {
        for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
            const stlora_backend *table = all.all[n];
            const bool bf16_by_bf16 = cases[k].x == STLORA_BF16 && cases[k].w == STLORA_BF16;
            if (table->fast_bf16 && bf16_by_bf16) continue;
            for (int layout = 0; layout < 2; layout++) {
                float x[T * N], w[M * N], y[T * M]; /* room enough for every dtype */
                for (int i = 0; i < T * N; i++)
                    stlora_store(x, cases[k].x, i, cases[k].x_value);
                for (int i = 0; i < M * N; i++)
                    stlora_store(w, cases[k].w, i, cases[k].w_value);
                table->product(table, &(stlora_product_args){.tokens = T,
                                                             .in = N,
                                                             .out = M,
                                                             .x = {x, cases[k].x, T, N, N},
                                                             .w = w,
                                                             .w_dtype = cases[k].w,
                                                             .w_layout = layout ? STLORA_IN_OUT : STLORA_OUT_IN,
                                                             .ldw = layout ? M : N,
                                                             .y = stlora_mat_whole(y, STLORA_F32, T, M)},
                               1);
                const float want = (float)(N * cases[k].x_value * cases[k].w_value); /* exact */
                for (int i = 0; i < T * M; i++)
                    if (y[i] != want)
                        fail_msg("%s, case %zu, layout %d: y[%d] is %g, should be %g", table->name, k, layout, i,
                                 (double)y[i], (double)want);
            }
        }
        float x[T * N], u[R * N], h[T * R], g[R * N] = {0};
        for (int i = 0; i < T * N; i++)
            x[i] = 0x1p-140f;
        for (int i = 0; i < R * N; i++)
            u[i] = 1;
        const stlora_cmat rows = {x, STLORA_F32, T, N, N};
        all.all[n]->lowrank_project(all.all[n], &(stlora_lowrank_project_args){T, N, R, rows, u, N, 1, h});
        for (int i = 0; i < T * R; i++)
            assert_true(h[i] == N * 0x1p-140f);
        for (int i = 0; i < T * R; i++)
            h[i] = 1;
        all.all[n]->lowrank_grad(all.all[n], &(stlora_lowrank_grad_args){T, N, R, h, rows, 1, g, N, 1, 0});
        for (int i = 0; i < R * N; i++)
            assert_true(g[i] == T * 0x1p-140f);
    }
    tables_close(&all);
}

/* ---- products of several maps ---- */

enum { MOST_MAPS = 5, TOGETHER_PAD = 3 };

/* Maps side by side have in[0] in common, and maps that add up out[0]. */
typedef struct together_case {
    bool adds_up;
    int count;
    int64_t tokens, in[MOST_MAPS], out[MOST_MAPS], rank[MOST_MAPS];
    stlora_dtype x, w[MOST_MAPS], y;
    bool bias, accumulate;
} together_case;

#define A STLORA_F32
#define B STLORA_BF16
#define C STLORA_F16
static const together_case together_cases[] = {
    /* narrow: tokens are shared out; as q, k, v and as gate, up; ranks that differ, none */
    {false, 3, 400, {64}, {64, 32, 32}, {8, 8, 8}, A, {A, A, A}, A, false, false},
    {false, 2, 387, {64}, {172, 172}, {8, 0}, A, {A, A}, A, true, true},
    {false, 3, 390, {64}, {64, 33, 15}, {0, 3, 64}, B, {B, B, B}, B, true, false},
    /* columns are shared out; long sums, panels and tiles that end early */
    {false, 3, 13, {2500}, {200, 17, 65}, {8, 0, 64}, B, {B, B, B}, B, true, true},
    {false, 3, 13, {1100}, {200, 17, 65}, {64, 9, 0}, A, {A, A, A}, A, false, false},
    {false, 3, 7, {130}, {300, 64, 1}, {2, 2, 2}, A, {B, C, A}, B, true, false},
    {false, 5, 50, {96}, {130, 64, 1, 16, 70}, {1, 2, 3, 4, 5}, B, {A, A, C, A, A}, A, false, true},
    /* what goes one by one: chains of low-rank steps alone, bf16 by bf16 beside other weights, tokens that are none */
    {false, 2, 40, {100}, {70, 70}, {8, 70}, A, {A, A}, A, false, false},
    {false, 3, 40, {100}, {70, 64, 33}, {8, 8, 0}, B, {B, A, B}, A, true, true},
    {false, 2, 0, {100}, {70, 64}, {8, 8}, A, {A, A}, A, false, false},
    /* added up: few weights, long sums among them; and more weights, which go one by one */
    {true, 3, 400, {64, 32, 32}, {64}, {8, 8, 8}, A, {A, A, A}, A, false, false},
    {true, 2, 387, {172, 171}, {65}, {8, 0}, A, {A, C}, A, false, true},
    {true, 3, 390, {65, 33, 31}, {70}, {0, 3, 8}, B, {B, B, B}, A, false, false},
    {true, 5, 20, {10, 11, 1, 12, 64}, {300}, {1, 2, 3, 4, 5}, B, {A, A, C, A, A}, A, false, true},
    {true, 3, 20, {1500, 700, 33}, {130}, {60, 10, 0}, B, {B, B, B}, A, false, false},
    {true, 3, 20, {1500, 33, 7}, {31}, {60, 10, 0}, A, {A, A, A}, A, false, true},
    {true, 2, 20, {33, 1500}, {31}, {60, 10}, B, {B, B}, A, false, false},
    /* what goes one by one: sums that are rounded between the maps, biases, higher ranks, other weights */
    {true, 2, 20, {70, 64}, {130}, {8, 8}, B, {B, B}, B, false, false},
    {true, 2, 20, {70, 64}, {130}, {8, 8}, A, {A, A}, A, true, true},
    {true, 2, 20, {70, 64}, {130}, {70, 8}, A, {A, A}, A, false, true},
    {true, 2, 20, {70, 64}, {130}, {8, 8}, B, {B, A}, A, false, true},
};
#undef A
#undef B
#undef C

static void *together_numbers(stlora_dtype dtype, int64_t count, uint64_t *seed)
{
    void *numbers = malloc((size_t)(count + 1) * stlora_dtype_size(dtype));
    assert_non_null(numbers);
    for (int64_t i = 0; i <= count; i++)
        stlora_store(numbers, dtype, i, op_uniform(seed, -1, 1));
    return numbers;
}

typedef struct together_data {
    stlora_product_args maps[MOST_MAPS];
    void *x, *y, *held, *owned[MOST_MAPS][4];
    size_t bytes; /* of y */
} together_data;

/* Both kinds lie as a model has them: what belongs to one map beside what belongs to the next, with some numbers that belong to none. */
static void together_make(together_data *d, const together_case *c)
{
    uint64_t seed = 5;
    int64_t x_width = c->adds_up ? 0 : c->in[0], y_width = c->adds_up ? c->out[0] : 0, column = 0;
    for (int i = 0; i < c->count; i++)
        *(c->adds_up ? &x_width : &y_width) += (c->adds_up ? c->in : c->out)[i];
    x_width += TOGETHER_PAD;
    y_width += TOGETHER_PAD;
    *d = (together_data){.bytes = (size_t)(c->tokens * y_width) * stlora_dtype_size(c->y)};
    d->x = together_numbers(c->x, c->tokens * x_width, &seed);
    d->held = together_numbers(c->y, c->tokens * y_width, &seed);
    d->y = malloc(d->bytes + 1);
    assert_non_null(d->y);
    for (int i = 0; i < c->count; i++) {
        const int64_t in = c->in[c->adds_up ? i : 0], out = c->out[c->adds_up ? 0 : i], rank = c->rank[i];
        void **own = d->owned[i];
        stlora_mat x = stlora_mat_columns(d->x, c->x, c->tokens, x_width, c->adds_up ? column : 0, in);
        own[0] = together_numbers(c->w[i], in * out, &seed);
        own[1] = together_numbers(c->w[i], out, &seed);
        own[2] = together_numbers(STLORA_F32, c->tokens * rank, &seed);
        own[3] = together_numbers(STLORA_F32, out * rank, &seed);
        d->maps[i] =
            (stlora_product_args){.tokens = c->tokens,
                                  .in = in,
                                  .out = out,
                                  .x = stlora_mat_const(x),
                                  .w = own[0],
                                  .w_dtype = c->w[i],
                                  .w_layout = c->adds_up ? STLORA_IN_OUT : STLORA_OUT_IN,
                                  .ldw = c->adds_up ? out : in,
                                  .bias = c->bias ? own[1] : NULL,
                                  .bias_dtype = c->w[i],
                                  .h = own[2],
                                  .u = own[3],
                                  .rank = rank,
                                  .u_rank_stride = c->adds_up ? out : 1,
                                  .u_out_stride = c->adds_up ? 1 : rank,
                                  .scale = 0.75 + i,
                                  .y = stlora_mat_columns(d->y, c->y, c->tokens, y_width, c->adds_up ? 0 : column, out),
                                  .accumulate = c->accumulate || (c->adds_up && i > 0)};
        column += c->adds_up ? in : out;
    }
}

static void together_free(together_data *d)
{
    for (int i = 0; i < MOST_MAPS; i++)
        for (int k = 0; k < 4; k++)
            free(d->owned[i][k]);
    free(d->x);
    free(d->y);
    free(d->held);
}

/* The product of the first token. */
static stlora_product_args token_of(const stlora_product_args *all)
{
    stlora_product_args a = *all;
    a.tokens = a.x.rows = a.y.rows = 1;
    return a;
}

static void test_together(void **state)
{
    (void)state;
    tables one, many;
    tables_open(&one, 1);
    for (int threads = 1; threads <= 3; threads++) {
        tables_open(&many, threads);
        for (size_t k = 0; k < sizeof together_cases / sizeof together_cases[0]; k++) {
            const together_case *c = &together_cases[k];
            together_data d;
            stlora_product_args first[MOST_MAPS];
            together_make(&d, c);
            void *want = malloc(d.bytes + 1);
            assert_non_null(want);
            for (int n = 0; n < one.count; n++) {
                memcpy(d.y, d.held, d.bytes);
                for (int i = 0; i < c->count; i++)
                    one.all[n]->product(one.all[n], &d.maps[i], 1);
                memcpy(want, d.y, d.bytes);
                memcpy(d.y, d.held, d.bytes);
                many.all[n]->product(many.all[n], d.maps, c->count);
                if (memcmp(d.y, want, d.bytes) != 0)
                    fail_msg("%s, %d threads, case %zu: %d maps at once are not one after the other", one.all[n]->name,
                             threads, k, c->count);
                if (c->tokens == 0) continue;
                memcpy(d.y, d.held, d.bytes);
                for (int i = 0; i < c->count; i++)
                    first[i] = token_of(&d.maps[i]);
                many.all[n]->product(many.all[n], first, c->count);
                if (memcmp(d.y, want, d.bytes / (size_t)c->tokens) != 0)
                    fail_msg("%s, %d threads, case %zu: the first token alone differs", one.all[n]->name, threads, k);
            }
            free(want);
            together_free(&d);
        }
        tables_close(&many);
    }
    tables_close(&one);
}

static void check_output_again(const op_case *c, void *context)
{
    const stlora_backend *table = context;
    op_instance backward, forward;
    op_case other = *c;
    op_make(&backward, c);
    other.backward = other.in_place = false;
    op_make(&forward, &other); /* the same x: values depend on slot and shape only */
    op_run(table, &backward, 0, c->tokens);
    op_run(table, &forward, 0, c->tokens);
    const op_buffer *got = &backward.buffer[backward.c.in_place ? EDY : EY], *want = &forward.buffer[EY];
    if (memcmp(got->data, want->data, got->bytes) != 0) {
        char label[300];
        op_label(c, label, sizeof label);
        fail_msg("%s: %s: the output is not activation's", table->name, label);
    }
    op_free(&backward);
    op_free(&forward);
}

static void test_output_again(void **state)
{
    (void)state;
    tables all;
    tables_open(&all, 2);
    for (int n = 0; n < all.count; n++) {
        const op_table *cases[] = {&op_small, &op_large};
        for (int k = 0; k < 2; k++)
            op_each(cases[k], OP_ACTIVATION, true, op_variants[OP_ACTIVATION].list, op_variants[OP_ACTIVATION].count,
                    check_output_again, all.all[n]);
    }
    tables_close(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_again), cmocka_unit_test(test_bits),          cmocka_unit_test(test_bits_large),
        cmocka_unit_test(test_bits_of_ref),  cmocka_unit_test(test_queries_alone), cmocka_unit_test(test_poison),
        cmocka_unit_test(test_without),      cmocka_unit_test(test_denormals),     cmocka_unit_test(test_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
