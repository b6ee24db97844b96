/* product_template.h: the frozen product and its low-rank term, for the level whose simd_*.h came before.
 *
 * A task is a block of columns of y for a block of tokens. Its thread walks the reduction in blocks of K_BLOCK, packs the
 * weights of that block and those columns as they lie in the file into its scratch (widened to float unless both sides are
 * bf16 and the level multiplies pairs), and runs all its tokens over them.
 *
 * Order of summation of y[t, o], whatever the task, the thread or the number of tokens: each K_BLOCK is a chain of its own from
 * zero; the chains are added to what y held (or nothing) in ascending order; up to FUSED_RANK low-rank steps hang at the end of
 * the last chain, more are chains of FUSED_RANK of their own; the bias comes last. Partial sums are floats, so a bf16 y is
 * rounded once. Test: tests/backend/test_cpu_product.c.
 */
#ifndef STLORA_BACKEND_CPU_PRODUCT_TEMPLATE_H
#define STLORA_BACKEND_CPU_PRODUCT_TEMPLATE_H

#include "backend/cpu/pack_template.h"
#if defined(STLORA_LEVEL_BF16)
#    include "backend/cpu/tile_bf16.h"
#endif

enum {
    K_BLOCK = 1024,             /* steps of a chain: part of the definition of the bits; even */
    FUSED_RANK = 64,            /* low-rank steps that ride on a chain: part of the definition too */
    BLOCK_COLUMNS = 256,        /* most columns of a task; a multiple of PANEL */
    BLOCK_PARTIALS = 2048 * 128 /* floats of partial sums of a task: tokens times columns */
};

/* One thread's block of scratch. */
typedef struct product_scratch {
    float panels[BLOCK_COLUMNS * K_BLOCK];
    float extra[BLOCK_COLUMNS * FUSED_RANK];
    float bias[BLOCK_COLUMNS];
    float x[TILE_MR * K_BLOCK]; /* rows of x, widened */
    float partials[BLOCK_PARTIALS];
} product_scratch;
_Static_assert(sizeof(product_scratch) <= STLORA_CPU_BLOCK_BYTES, "the scratch of a thread is too small");

typedef struct product_plan {
    const stlora_backend *table;
    const stlora_product_args *args;
    bool pairs;               /* bf16 by bf16 */
    int64_t k_blocks, blocks; /* of the frozen term; with those of the low-rank term */
    bool fused;               /* the low-rank term rides on the last chain */
    int64_t panels;           /* of y */
    int64_t wide;             /* panels of a wide task */
    int64_t wide_tasks;       /* that many first, over all outputs but the last few; then single panels */
    int64_t token_block, token_blocks;
    int64_t split_tokens, splits; /* of the single panels' tasks, within a token block */
} product_plan;

/* The columns and tokens of one task. */
typedef struct product_task {
    int64_t panel0, panels, t0, t1;
} product_task;

static product_task product_task_of(const product_plan *p, int64_t index)
{
    const int64_t singles = p->panels - p->wide * p->wide_tasks;
    const int64_t per_token_block = p->wide_tasks + singles * p->splits;
    const int64_t t0 = index / per_token_block * p->token_block;
    const int64_t t1 = least(t0 + p->token_block, p->args->tokens);
    const int64_t i = index % per_token_block;
    if (i < p->wide_tasks) return (product_task){i * p->wide, p->wide, t0, t1};
    const int64_t j = i - p->wide_tasks, begin = t0 + j / singles * p->split_tokens;
    return (product_task){p->wide_tasks * p->wide + j % singles, 1, least(begin, t1),
                          least(begin + p->split_tokens, t1)};
}

static int64_t product_task_count(const product_plan *p)
{
    return p->token_blocks * (p->wide_tasks + (p->panels - p->wide * p->wide_tasks) * p->splits);
}

/* The share of each thread should be equal: as many wide tasks as divide evenly, then single panels, and where even those do not
 * divide, parts of their tokens. */
static void product_partition(product_plan *p)
{
    const int64_t threads = p->table->threads, tokens = p->args->tokens;
    p->panels = (p->args->out + PANEL - 1) / PANEL;
    /* a packed block and the next one's weights share the second-level cache; with more tokens a block is worth more of it */
    const int64_t bytes = (tokens > 512 ? 512 : 256) * 1024;
    p->wide = bytes / (K_BLOCK * (p->pairs ? 2 : 4)) / PANEL;
    p->wide_tasks = p->panels / (p->wide * threads) * threads;
    if (threads == 1) p->wide_tasks = p->panels / p->wide;
    p->token_block = least(tokens, BLOCK_PARTIALS / (p->wide * PANEL));
    p->token_blocks = (tokens + p->token_block - 1) / p->token_block;
    const int64_t singles = p->panels - p->wide * p->wide_tasks;
    p->splits = 1;
    while (singles * p->splits % threads != 0 && p->splits < threads && p->token_block / (p->splits + 1) >= 8 * TILE_MR)
        p->splits++;
    p->split_tokens = (p->token_block + p->splits - 1) / p->splits;
    p->split_tokens = (p->split_tokens + TILE_MR - 1) / TILE_MR * TILE_MR;
}

/* The part of the reduction that block b is: steps of the frozen term from k0, steps of the low-rank term from q0. */
typedef struct reduction {
    int64_t k0, steps, q0, extra;
} reduction;

static reduction product_reduction(const product_plan *p, int64_t b)
{
    const stlora_product_args *a = p->args;
    reduction r = {0};
    if (b < p->k_blocks) {
        r.k0 = b * K_BLOCK;
        r.steps = least(K_BLOCK, a->in - r.k0);
        if (p->fused && b == p->k_blocks - 1) r.extra = a->rank;
    } else if (!p->fused && a->rank > 0) {
        r.q0 = (b - p->k_blocks) * FUSED_RANK;
        r.extra = least(FUSED_RANK, a->rank - r.q0);
    }
    return r;
}

/* Weights k0 ... k0+steps of columns o ... o+cols as one panel. */
static void product_pack(const product_plan *p, float *panel, const reduction *r, int64_t o, int64_t cols)
{
    const stlora_product_args *a = p->args;
    const bool out_in = a->w_layout == STLORA_OUT_IN;
    const void *w = at_element(a->w, a->w_dtype, out_in ? o * a->ldw + r->k0 : r->k0 * a->ldw + o);
#if defined(STLORA_LEVEL_BF16)
    if (p->pairs) {
        if (out_in)
            pack_pairs_from_rows((uint32_t *)panel, w, a->ldw, r->steps, cols);
        else
            pack_pairs_from_columns((uint32_t *)panel, w, a->ldw, r->steps, cols);
        return;
    }
#endif
    if (out_in)
        pack_rows_as_columns(panel, w, a->w_dtype, a->ldw, r->steps, cols);
    else
        pack_rows_as_rows(panel, w, a->w_dtype, a->ldw, r->steps, cols);
}

static void product_pack_bias(float *to, const stlora_product_args *a, int64_t o, int64_t cols)
{
    for (int64_t i = 0; i < vectors_of(cols) * VL; i++)
        to[i] = i < cols ? (float)stlora_load(a->bias, a->bias_dtype, o + i) : 0.0f;
}

/* Whether fetching ahead pays: on the processors that have tile registers it takes more from the tiles' own loads (3 to 6 % of a product) than
 * packing wins, which reads rows in order there at the same rate without (bench/LOG.md). */
static bool product_fetches(const product_plan *p)
{
    return !p->table->tiles;
}

/* The weights that this thread will probably pack next: those of the next block of the reduction, or of the next task. */
static lookahead product_lookahead(const product_plan *p, int64_t index, const product_task *task, int64_t b)
{
    const stlora_product_args *a = p->args;
    product_task next = *task;
    if (++b >= p->k_blocks) {
        b = 0;
        if (index + 1 >= product_task_count(p) || p->k_blocks == 0) return (lookahead){0};
        next = product_task_of(p, index + 1);
    }
    const int64_t k0 = b * K_BLOCK, steps = least(K_BLOCK, a->in - k0);
    const int64_t o = next.panel0 * PANEL, cols = least(next.panels * PANEL, a->out - o);
    const int64_t size = a->w_dtype == STLORA_F32 ? 4 : 2;
    lookahead l;
    if (a->w_layout == STLORA_OUT_IN)
        l = (lookahead){at_element(a->w, a->w_dtype, o * a->ldw + k0), 0, steps * size, a->ldw * size, cols, 0};
    else
        l = (lookahead){at_element(a->w, a->w_dtype, k0 * a->ldw + o), 0, cols * size, a->ldw * size, steps, 0};
    const int64_t tiles = (task->t1 - task->t0 + TILE_MR - 1) / TILE_MR * task->panels;
    const int64_t lines = l.rows_left * ((l.row_bytes + CACHE_LINE - 1) / CACHE_LINE);
    const int64_t chances = tiles * (K_BLOCK / AHEAD_STEPS / (p->pairs ? 2 : 1));
    l.lines = (int)least(8, lines / chances + 1);
    return l;
}

/* The rows of x that follow at `token`: pages apart, so that the processor sees them coming too late by itself. */
static lookahead product_lookahead_x(const product_plan *p, const reduction *r, int64_t token, int64_t end)
{
    const stlora_product_args *a = p->args;
    const int64_t size = a->x.dtype == STLORA_F32 ? 4 : 2, rows = least(TILE_MR, end - token);
    if (rows <= 0 || r->steps == 0) return (lookahead){0};
    const int64_t per_row = AHEAD_STEPS * (p->pairs ? 2 : 1) * size / CACHE_LINE;
    return (lookahead){at_element(a->x.data, a->x.dtype, token * a->x.ld + r->k0),
                       0,
                       r->steps * size,
                       a->x.ld * size,
                       rows,
                       (int)(rows * (per_row > 0 ? per_row : 1))};
}

/* All tokens of a task over one packed block of the reduction. ahead NULL: nothing is fetched ahead. */
static void product_sweep(const product_plan *p, const product_task *task, const reduction *r, int64_t b,
                          lookahead *ahead, product_scratch *s)
{
    const stlora_product_args *a = p->args;
    const bool first = b == 0, last = b == p->blocks - 1;
    const bool aside = a->y.dtype != STLORA_F32 && p->blocks > 1; /* partial sums cannot wait in y */
    const int64_t column0 = task->panel0 * PANEL, ld_partials = task->panels * PANEL;
    const bool widen = !p->pairs && a->x.dtype != STLORA_F32 && r->steps > 0;
    const tile_function(*kernels)[TILE_NV] = tile_f32_table;
#if defined(STLORA_LEVEL_BF16)
    if (p->pairs && r->steps) kernels = tile_bf16_table;
#endif
    tile t = {.steps = r->steps, .ldh = a->rank, .extra_steps = r->extra, .ahead = ahead};
    for (int64_t token = task->t0; token < task->t1; token += TILE_MR) {
        const int mr = (int)least(TILE_MR, task->t1 - token);
        if (r->steps) {
            t.x = at_element(a->x.data, a->x.dtype, token * a->x.ld + r->k0);
            t.ldx = a->x.ld;
        }
        if (widen) {
            widen_rows(s->x, K_BLOCK, t.x, a->x.dtype, a->x.ld, mr, r->steps);
            t.x = s->x;
            t.ldx = K_BLOCK;
        }
        lookahead ahead_x = {0};
        if (ahead) ahead_x = product_lookahead_x(p, r, token + mr, task->t1);
        if (r->extra) t.h = a->h + token * a->rank + r->q0;
        for (int64_t i = 0; i < task->panels; i++) {
            const int64_t o = column0 + i * PANEL;
            t.cols = (int)least(PANEL, a->out - o);
            t.ahead_x = i == 0 && ahead ? &ahead_x : NULL;
            const int nv = vectors_of(t.cols);
            t.panel = s->panels + i * PANEL * K_BLOCK;
            t.extra = s->extra + i * PANEL * FUSED_RANK;
            t.bias = last && a->bias ? s->bias + i * PANEL : NULL;
            void *y = at_element_mut(a->y.data, a->y.dtype, token * a->y.ld + o);
            float *partial = s->partials + (token - task->t0) * ld_partials + i * PANEL;
            const bool from_y = first ? a->accumulate : !aside;
            t.from = from_y ? y : first ? NULL : partial;
            t.from_dtype = from_y ? a->y.dtype : STLORA_F32;
            t.ld_from = from_y ? a->y.ld : ld_partials;
            const bool to_y = last || !aside;
            t.y = to_y ? y : partial;
            t.y_dtype = to_y ? a->y.dtype : STLORA_F32;
            t.ldy = to_y ? a->y.ld : ld_partials;
            kernels[mr - 1][nv - 1](&t);
        }
    }
}

static void product_work(const void *context, int64_t index, int thread)
{
    const product_plan *p = context;
    const stlora_product_args *a = p->args;
    const product_task task = product_task_of(p, index);
    product_scratch *s = stlora_cpu_block(p->table, thread);
    if (task.t0 >= task.t1) return;
    for (int64_t b = 0; b < p->blocks; b++) {
        const reduction r = product_reduction(p, b);
        for (int64_t i = 0; i < task.panels; i++) {
            const int64_t o = (task.panel0 + i) * PANEL, cols = least(PANEL, a->out - o);
            if (r.steps) product_pack(p, s->panels + i * PANEL * K_BLOCK, &r, o, cols);
            if (r.extra)
                pack_strided(s->extra + i * PANEL * FUSED_RANK, a->u + r.q0 * a->u_rank_stride + o * a->u_out_stride,
                             a->u_rank_stride, a->u_out_stride, (float)a->scale, r.extra, cols);
            if (a->bias && b == p->blocks - 1) product_pack_bias(s->bias + i * PANEL, a, o, cols);
        }
        lookahead ahead = {0};
        if (product_fetches(p)) ahead = product_lookahead(p, index, &task, b);
        product_sweep(p, &task, &r, b, product_fetches(p) ? &ahead : NULL, s);
    }
}

static void cpu_product(const stlora_backend *table, const stlora_product_args *a)
{
    if (a->tokens == 0 || a->out == 0) return;
    assert(is_act(a->y.dtype) && (!a->w || is_act(a->x.dtype)));
    assert(!a->w || is_act(a->w_dtype) || a->w_dtype == STLORA_F16);
    assert(a->y.rows >= a->tokens && a->y.cols == a->out && a->y.ld >= a->out);
    assert(!a->w || (a->x.rows >= a->tokens && a->x.cols == a->in && a->x.ld >= a->in));
    assert(a->rank == 0 || (a->h && a->u));
    product_plan p = {.table = table, .args = a};
#if defined(STLORA_LEVEL_BF16)
    p.pairs = a->w && a->x.dtype == STLORA_BF16 && a->w_dtype == STLORA_BF16;
#endif
    p.k_blocks = a->w ? (a->in + K_BLOCK - 1) / K_BLOCK : 0;
    p.fused = p.k_blocks > 0 && a->rank <= FUSED_RANK;
    p.blocks = p.k_blocks + (p.fused ? 0 : (a->rank + FUSED_RANK - 1) / FUSED_RANK);
    if (p.blocks == 0) p.blocks = 1; /* nothing to add, but y is to be written */
    product_partition(&p);
    const double in = (double)(a->w ? a->in : 0) + (double)a->rank;
    const double nanoseconds = (double)a->out * in * (0.2 + 0.02 * (double)a->tokens);
    stlora_team_run(table->team, product_task_count(&p), nanoseconds, product_work, &p);
}

#endif
