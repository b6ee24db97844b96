/* product_token_template.h: the frozen product of one token, for the level whose simd_*.h came before.
 *
 * Every weight is multiplied once, so that memory is all there is to wait for: weights go from the file through registers, turned there
 * where outputs lie apart, and are not packed. What comes next is asked for early, in the order in which it lies: the processor would not
 * foresee so many rows at a time (bench/LOG.md).
 *
 *   chain[o] = sum_k x[k] w[k, o]
 *
 * over a block of the reduction is product_template.h's chain, step by step, and so are the bits. Test: tests/backend/test_cpu_product.c.
 */
#ifndef STLORA_BACKEND_CPU_PRODUCT_TOKEN_TEMPLATE_H
#define STLORA_BACKEND_CPU_PRODUCT_TOKEN_TEMPLATE_H

#include "backend/cpu/product_plan_template.h"
#if defined(STLORA_LEVEL_BF16)
#    include "backend/cpu/tile_bf16.h"
#endif

/* What a step multiplies. */
typedef enum token_kind {
    TOKEN_F32,  /* floats */
    TOKEN_F16,  /* widened to floats */
    TOKEN_BF16, /* the same */
    TOKEN_PAIRS /* bf16 by bf16, two steps of the reduction at once */
} token_kind;

/* TOKEN_NV vectors of outputs are turned beside each other: sixteen rows are read at a time where lanes are fewer; more rows are slower. */
enum {
    TOKEN_NV = VL < 16 ? 2 : 1,
    TOKEN_ROWS = 8,               /* rows, where outputs lie side by side, that meet a sum when it is loaded */
    TOKEN_AHEAD = 2 * TOKEN_ROWS, /* rows that are asked for early */
    TOKEN_COLUMNS = 4096          /* most columns of a task: their sums stay in the first-level cache */
};

/* A block of the weights of one map, and x there. */
typedef struct token_block {
    const void *w; /* from the first step and the first output on */
    int64_t ld, steps, cols;
    const void *x;     /* (steps) float; bf16 for pairs */
    lookahead ahead;   /* where outputs lie apart: what is read next */
    int64_t rows_left; /* where they lie side by side: rows of w from here on, beyond the block too */
} token_block;

/* Step k of x in every lane; of pairs steps k and k+1, both: the second is there. */
ALWAYS_INLINE vf token_x(const token_kind kind, const void *x, int64_t k, bool both)
{
#if defined(STLORA_LEVEL_BF16)
    const uint16_t *pair = (const uint16_t *)x + k;
    if (kind == TOKEN_PAIRS) return vf_bits(vu_set1(both ? pair_at(pair) : *pair));
#endif
    (void)kind;
    (void)both;
    return vf_set1(((const float *)x)[k]);
}

/* sum + x w */
ALWAYS_INLINE vf token_step(const token_kind kind, vf sum, vf x, vf w)
{
#if defined(STLORA_LEVEL_BF16)
    if (kind == TOKEN_PAIRS) return _mm512_dpbf16_ps(sum, (__m512bh)vu_bits(x), (__m512bh)vu_bits(w));
#endif
    (void)kind;
    return vf_fma(x, w, sum);
}

/* sum + x w of a turned word, which holds step k, or k and k+1 */
ALWAYS_INLINE vf token_word(const token_kind kind, vf sum, vf w, const void *x, int64_t k, bool both)
{
    if (kind != TOKEN_BF16) return token_step(kind, sum, token_x(kind, x, k, both), w);
    sum = token_step(kind, sum, token_x(kind, x, k, both), vf_bits(vu_shl(vu_bits(w), 16)));
    if (!both) return sum;
    return token_step(kind, sum, token_x(kind, x, k + 1, both), vf_bits(vu_and(vu_bits(w), vu_set1(0xffff0000u))));
}

/* Steps of the reduction that lie in a word of 32 bits that are turned. */
ALWAYS_INLINE int token_steps_of_word(const token_kind kind)
{
    return kind == TOKEN_BF16 || kind == TOKEN_PAIRS ? 2 : 1;
}

/* The first n steps of a row, n <= VL words. */
ALWAYS_INLINE vf token_load(const token_kind kind, const void *w, int64_t i, int n)
{
    const int all = VL * token_steps_of_word(kind);
    if (kind == TOKEN_F32) return n == all ? vf_load((const float *)w + i) : vf_load_n((const float *)w + i, n);
    const uint16_t *at = (const uint16_t *)w + i;
    if (kind == TOKEN_F16) return n == all ? vf_load_f16(at) : vf_load_f16_n(at, n);
    return vf_bits(n == all ? vu_load_pairs(at) : vu_load_pairs_n(at, n));
}

/* lookahead_fetch for many lines at a time: what is left of a row at once. */
static inline void token_fetch(lookahead *a)
{
    for (int64_t lines = a->lines, n; lines > 0 && a->rows_left > 0; lines -= n) {
        const char *at = a->row + a->column;
        const int64_t rest = (a->row_bytes - a->column + CACHE_LINE - 1) / CACHE_LINE;
        n = least(rest, lines);
        int64_t i = 0;
        for (; i + 8 <= n; i += 8)
            UNROLL for (int j = 0; j < 8; j++) __builtin_prefetch(at + (i + j) * CACHE_LINE, 0, 2);
        for (; i < n; i++)
            __builtin_prefetch(at + i * CACHE_LINE, 0, 2);
        a->column += n * CACHE_LINE;
        if (n == rest) {
            a->column = 0;
            a->row += a->stride;
            a->rows_left--;
        }
    }
}

/* Rows are outputs: VL outputs by VL words at a time become vectors of outputs. */
NO_INDEX_CHECKS ALWAYS_INLINE void token_from_rows(const token_kind kind, float *chain, token_block *b)
{
    const int words = token_steps_of_word(kind), all = VL * words;
    for (int64_t o = 0; o < b->cols; o += TOKEN_NV * VL) {
        const int outputs = (int)least(TOKEN_NV * VL, b->cols - o);
        vf sum[TOKEN_NV];
        UNROLL for (int j = 0; j < TOKEN_NV; j++) sum[j] = vf_zero();
        int64_t k = 0;
        for (; outputs == TOKEN_NV * VL && k + all <= b->steps; k += all) {
            token_fetch(&b->ahead);
            UNROLL for (int j = 0; j < TOKEN_NV; j++)
            {
                vf r[VL];
                UNROLL for (int i = 0; i < VL; i++) r[i] = token_load(kind, b->w, (o + j * VL + i) * b->ld + k, all);
                vf_transpose(r);
                UNROLL for (int i = 0; i < VL; i++) sum[j] = token_word(kind, sum[j], r[i], b->x, k + i * words, true);
            }
        }
        for (; k < b->steps; k += all) {
            const int n = (int)least(all, b->steps - k);
            token_fetch(&b->ahead);
            for (int j = 0; j < TOKEN_NV; j++) {
                vf r[VL];
                for (int i = 0; i < VL; i++)
                    r[i] = j * VL + i < outputs ? token_load(kind, b->w, (o + j * VL + i) * b->ld + k, n) : vf_zero();
                vf_transpose(r);
                for (int i = 0; i * words < n; i++)
                    sum[j] = token_word(kind, sum[j], r[i], b->x, k + i * words, i * words + words <= n);
            }
        }
        UNROLL for (int j = 0; j < TOKEN_NV; j++) vf_store(chain + o + j * VL, sum[j]);
    }
}

/* VL outputs of a row, or of two rows as pairs; both: the second row is there. */
ALWAYS_INLINE vf token_load_across(const token_kind kind, const void *w, int64_t ld, int n, bool both)
{
#if defined(STLORA_LEVEL_BF16)
    if (kind == TOKEN_PAIRS) return vf_bits(pairs_of_rows(w, ld, n, both));
#endif
    (void)ld;
    (void)both;
    const stlora_dtype dtype = kind == TOKEN_F32 ? STLORA_F32 : kind == TOKEN_F16 ? STLORA_F16 : STLORA_BF16;
    return n == VL ? load_as(w, dtype, 0) : load_as_n(w, dtype, 0, n);
}

/* Rows are steps of the reduction, as many as are said, from k on: a cache line of each, then of each the next. */
NO_INDEX_CHECKS ALWAYS_INLINE void token_across(const token_kind kind, const int rows, float *chain,
                                                const token_block *b, int64_t k)
{
    const int words = kind == TOKEN_PAIRS ? 2 : 1, size = kind == TOKEN_F32 ? 4 : 2;
    const int line = CACHE_LINE / size, vectors = line / VL;
    const int64_t ld = b->ld, cols = b->cols, stride = ld * size;
    const int64_t ahead = k + TOKEN_AHEAD + rows <= b->rows_left ? TOKEN_AHEAD * stride : 0;
    const char *w = (const char *)b->w + k * stride;
    vf x[TOKEN_ROWS];
    UNROLL for (int i = 0; i < rows; i += words) x[i] = token_x(kind, b->x, k + i, i + words <= rows);
    int64_t o = 0;
    for (; o + line <= cols; o += line) {
        vf sum[CACHE_LINE / 2 / VL];
        UNROLL for (int j = 0; j < vectors; j++) sum[j] = k > 0 ? vf_load(chain + o + j * VL) : vf_zero();
        UNROLL for (int i = 0; i < rows; i += words)
        {
            const char *row = w + i * stride + o * size;
            UNROLL for (int n = 0; n < words; n++) __builtin_prefetch(row + n * stride + ahead, 0, 2);
            UNROLL for (int j = 0; j < vectors; j++) sum[j] =
                token_step(kind, sum[j], x[i], token_load_across(kind, row + j * VL * size, ld, VL, i + words <= rows));
        }
        UNROLL for (int j = 0; j < vectors; j++) vf_store(chain + o + j * VL, sum[j]);
    }
    for (; o < cols; o += VL) {
        vf sum = k > 0 ? vf_load(chain + o) : vf_zero();
        for (int i = 0; i < rows; i += words)
            sum = token_step(
                kind, sum, x[i],
                token_load_across(kind, w + i * stride + o * size, ld, (int)least(VL, cols - o), i + words <= rows));
        vf_store(chain + o, sum);
    }
}

ALWAYS_INLINE void token_from_columns(const token_kind kind, float *chain, const token_block *b)
{
    const int words = kind == TOKEN_PAIRS ? 2 : 1;
    int64_t k = 0;
    for (; k + TOKEN_ROWS <= b->steps; k += TOKEN_ROWS)
        token_across(kind, TOKEN_ROWS, chain, b, k);
    for (; k + words <= b->steps; k += words)
        token_across(kind, words, chain, b, k);
    if (k < b->steps) token_across(kind, 1, chain, b, k);
}

ALWAYS_INLINE void token_from(const token_kind kind, stlora_layout layout, float *chain, token_block *b)
{
    if (layout == STLORA_OUT_IN)
        token_from_rows(kind, chain, b);
    else
        token_from_columns(kind, chain, b);
}

/* chain[o], o < cols, of a block, in whole vectors. */
static void token_chain(const token_kind kind, stlora_layout layout, float *chain, token_block *b)
{
    switch (kind) { /* each a constant: an instance of its own */
    case TOKEN_F32:
        token_from(TOKEN_F32, layout, chain, b);
        break;
    case TOKEN_F16:
        token_from(TOKEN_F16, layout, chain, b);
        break;
    case TOKEN_BF16:
        token_from(TOKEN_BF16, layout, chain, b);
        break;
    case TOKEN_PAIRS:
#if defined(STLORA_LEVEL_BF16)
        token_from(TOKEN_PAIRS, layout, chain, b);
#endif
        break;
    }
}

static token_kind token_kind_of(stlora_dtype w)
{
    return w == STLORA_F32 ? TOKEN_F32 : w == STLORA_F16 ? TOKEN_F16 : TOKEN_BF16;
}

typedef struct token_plan {
    const product_plan *plan;
    int64_t tasks;
} token_plan;

/* Where outputs lie side by side a task is as wide as it can be, since it reads a piece of each row by itself. */
static int64_t token_tasks(const product_plan *p)
{
    if (p->maps->w_layout == STLORA_OUT_IN) return p->panels;
    const int64_t most = TOKEN_COLUMNS / PANEL * p->table->threads;
    return least(p->panels, (p->panels + most - 1) / most * p->table->threads);
}

/* What is read after block b of the reduction of columns c. */
static lookahead token_lookahead(const product_plan *p, const product_columns *c, const reduction *r, int64_t b)
{
    product_columns next = *c;
    if (b + 1 == p->blocks) {
        b = -1;
        next.o += c->cols;
        if (next.o == p->maps[next.map].out) {
            if (p->adds_up || ++next.map == p->count) return (lookahead){0};
            next.o = 0;
        }
        next.cols = least(next.cols, p->maps[next.map].out - next.o);
    }
    const reduction then = product_reduction(p, b + 1);
    const stlora_product_args *a = product_map(p, c, r);
    lookahead l = product_lookahead_of(p, &next, &then);
    if (l.row_bytes == l.stride) l = (lookahead){l.row, 0, l.rows_left * l.stride, 0, 1, 0};
    const int64_t at_once = VL * (p->pairs || a->w_dtype == STLORA_BF16 ? 2 : 1),
                  times = (r->steps + at_once - 1) / at_once;
    if (times > 0) l.lines = (int)((lookahead_lines(&l) + times - 1) / times);
    return l;
}

/* The chain of a block ends, of up to VL columns: their low-rank steps, what was there before, the bias. */
static void token_finish(const product_plan *p, const reduction *r, const product_columns *c, int64_t b,
                         const float *chain, float *partial, product_scratch *s)
{
    const stlora_product_args *a = product_map(p, c, r);
    const int64_t extra = product_extra(a, r);
    tile t = {.cols = (int)c->cols};
    vf sum[TILE_MR][TILE_NV];
    sum[0][0] = r->steps ? vf_load(chain) : vf_zero();
    product_pack_rest(a, r, c, s->extra, s->bias);
    if (extra) tile_floats(1, 1, sum, a->h + r->q0, a->rank, s->extra, extra, NULL, NULL);
    if (a->bias && r->last) t.bias = s->bias;
    product_place(p, c, b, 0, &t, partial, 0);
    tile_finish(1, 1, sum, &t);
}

/* Columns of one map, through all blocks of the reduction. */
static void token_columns(const product_plan *p, const product_columns *c, product_scratch *s)
{
    for (int64_t b = 0; b < p->blocks; b++) {
        const reduction r = product_reduction(p, b);
        const stlora_product_args *a = product_map(p, c, &r);
        if (r.steps) {
            token_block block = {.ld = a->ldw, .steps = r.steps, .cols = c->cols, .rows_left = a->in - r.k0};
            block.w = product_weights_at(a, &r, c);
            block.x = at_element(a->x.data, a->x.dtype, r.k0);
            if (!p->pairs && a->x.dtype != STLORA_F32) {
                widen_rows(s->x, K_BLOCK, block.x, a->x.dtype, a->x.ld, 1, r.steps);
                block.x = s->x;
            }
            if (a->w_layout == STLORA_OUT_IN) block.ahead = token_lookahead(p, c, &r, b);
            token_chain(p->pairs ? TOKEN_PAIRS : token_kind_of(a->w_dtype), a->w_layout, s->panels, &block);
        }
        for (int64_t o = 0; o < c->cols; o += VL) {
            const product_columns of = {c->map, c->o + o, least(VL, c->cols - o)};
            token_finish(p, &r, &of, b, s->panels + o, s->partials + o, s);
        }
    }
}

static void token_work(const void *context, int64_t index, int thread)
{
    const token_plan *all = context;
    const product_plan *p = all->plan;
    const int64_t panel1 = (index + 1) * p->panels / all->tasks;
    for (int64_t panel = index * p->panels / all->tasks, panels; panel < panel1; panel += panels) {
        product_columns c = product_columns_of(p, panel);
        const stlora_product_args *a = &p->maps[c.map];
        panels = least(panel1 - panel, product_panels_of(a) - c.o / PANEL); /* of this map */
        const int64_t end = least(a->out, c.o + panels * PANEL),
                      step = a->w_layout == STLORA_OUT_IN ? TOKEN_NV * VL : end - c.o;
        for (; c.o < end; c.o += step) {
            c.cols = least(step, end - c.o);
            token_columns(p, &c, stlora_cpu_block(p->table, thread));
        }
    }
}

static void token_product(const product_plan *p, double nanoseconds)
{
    const token_plan all = {p, token_tasks(p)};
    stlora_team_run(p->table->team, all.tasks, nanoseconds, token_work, &all);
}

#endif
