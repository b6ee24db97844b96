/* product_template.h: the frozen product and its low-rank term, for the level whose simd_*.h came before.
 *
 * A task is a block of columns of y for a block of tokens. Its thread walks the reduction in blocks of K_BLOCK, packs the
 * weights of that block and those columns as they lie in the file into its scratch (widened to float unless both sides are
 * bf16 and the level multiplies pairs), and runs all its tokens over them.
 *
 * Several maps are one product. Side by side, their columns are one list of panels, none of which has columns of two maps. Added up, where
 * they have few weights, their reductions are one list of blocks; where they have more, one call after the other keeps more of x in the cache.
 *
 * Order of summation of y[t, o], whatever the task, the thread or the number of tokens: each K_BLOCK is a chain of its own from
 * zero; the chains are added to what y held (or nothing) in ascending order; up to FUSED_RANK low-rank steps hang at the end of
 * the last chain of a map, more are chains of FUSED_RANK of their own; the bias comes last. Partial sums are floats, so a bf16 y is
 * rounded once. Test: tests/backend/test_cpu_product.c, tests/backend/test_promises.c.
 */
#ifndef STLORA_BACKEND_CPU_PRODUCT_TEMPLATE_H
#define STLORA_BACKEND_CPU_PRODUCT_TEMPLATE_H

#include "backend/cpu/pack_template.h"
#if defined(STLORA_LEVEL_BF16)
#    include "backend/cpu/tile_bf16.h"
#endif

enum {
    K_BLOCK = 1024,              /* steps of a chain: part of the definition of the bits; even */
    FUSED_RANK = 64,             /* low-rank steps that ride on a chain: part of the definition too */
    BLOCK_COLUMNS = 256,         /* most columns of a task; a multiple of PANEL */
    BLOCK_PARTIALS = 2048 * 128, /* floats of partial sums of a task: tokens times columns */
    MANY_TOKENS = 128            /* tokens of a thread that are worth packing all of few weights for */
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
    const stlora_product_args *maps;
    int count;
    bool adds_up;       /* the maps share y; else they share x */
    bool pairs;         /* bf16 by bf16 */
    bool fused;         /* the low-rank term rides on the last chain */
    int64_t blocks;     /* of the reduction: of all maps where they add up, else each one's */
    int64_t panels;     /* of y: of all maps where they lie side by side */
    int64_t wide;       /* panels of a wide task */
    int64_t wide_tasks; /* that many, over all outputs but the last few, which are tasks of single panels */
    int64_t token_block, token_blocks;
    int64_t split_tokens, splits; /* of the single panels' tasks, within a token block */
    int64_t shares;               /* of the tasks of a token block, all alike */
} product_plan;

/* The panels and tokens of one task. */
typedef struct product_task {
    int64_t panel0, panels, t0, t1;
} product_task;

/* Of a token block: share after share its wide tasks and its single ones, so that a thread's run of consecutive tasks is as much work as
 * another's; the single ones that are left over come last. */
static product_task product_task_of(const product_plan *p, int64_t index)
{
    const int64_t singles = p->panels - p->wide * p->wide_tasks, narrow_tasks = singles * p->splits;
    const int64_t per_token_block = p->wide_tasks + narrow_tasks;
    const int64_t t0 = index / per_token_block * p->token_block;
    const int64_t t1 = least(t0 + p->token_block, p->maps->tokens);
    const int64_t i = index % per_token_block;
    const int64_t wide = p->wide_tasks / p->shares, narrow = narrow_tasks / p->shares; /* of a share */
    const int64_t share = least(p->shares, wide + narrow > 0 ? i / (wide + narrow) : p->shares);
    const int64_t j = i - share * (wide + narrow); /* within the share */
    if (share < p->shares && j < wide) return (product_task){(share * wide + j) * p->wide, p->wide, t0, t1};
    const int64_t n = share * narrow + j - (share < p->shares ? wide : 0), begin = t0 + n / singles * p->split_tokens;
    return (product_task){p->wide_tasks * p->wide + n % singles, 1, least(begin, t1),
                          least(begin + p->split_tokens, t1)};
}

static int64_t product_task_count(const product_plan *p)
{
    return p->token_blocks * (p->wide_tasks + (p->panels - p->wide * p->wide_tasks) * p->splits);
}

static int64_t product_panels_of(const stlora_product_args *a)
{
    return (a->out + PANEL - 1) / PANEL;
}

/* The columns of y that a panel is, and whose: that of maps[map]; where the maps add up, everybody's. */
typedef struct product_columns {
    int map;
    int64_t o, cols;
} product_columns;

static product_columns product_columns_of(const product_plan *p, int64_t panel)
{
    product_columns c = {0};
    while (panel >= product_panels_of(&p->maps[c.map]))
        panel -= product_panels_of(&p->maps[c.map++]);
    c.o = panel * PANEL;
    c.cols = least(PANEL, p->maps[c.map].out - c.o);
    return c;
}

static int64_t product_k_blocks_of(const stlora_product_args *a)
{
    return a->w ? (a->in + K_BLOCK - 1) / K_BLOCK : 0;
}

/* At least one: where there is nothing to add, y is to be written still. */
static int64_t product_blocks_of(const product_plan *p, const stlora_product_args *a)
{
    const int64_t blocks = product_k_blocks_of(a) + (p->fused ? 0 : (a->rank + FUSED_RANK - 1) / FUSED_RANK);
    return blocks > 0 ? blocks : 1;
}

/* A block of the reduction: steps of the frozen term from k0, steps of the low-rank term from q0, which each map has by its own rank. Whose it
 * is: that of maps[map]; where the maps lie side by side, everybody's. */
typedef struct reduction {
    int map;
    int64_t k0, steps, q0;
    bool lowrank, last; /* last of its map */
} reduction;

static reduction product_reduction(const product_plan *p, int64_t b)
{
    reduction r = {0};
    while (b >= product_blocks_of(p, &p->maps[r.map]))
        b -= product_blocks_of(p, &p->maps[r.map++]);
    const stlora_product_args *a = &p->maps[r.map];
    const int64_t k_blocks = product_k_blocks_of(a);
    r.last = b == product_blocks_of(p, a) - 1;
    r.lowrank = p->fused ? r.last : b >= k_blocks;
    if (!p->fused && r.lowrank) r.q0 = (b - k_blocks) * FUSED_RANK;
    if (b < k_blocks) {
        r.k0 = b * K_BLOCK;
        r.steps = least(K_BLOCK, a->in - r.k0);
    }
    return r;
}

static int64_t product_extra(const stlora_product_args *a, const reduction *r)
{
    return r->lowrank ? least(FUSED_RANK, a->rank - r->q0) : 0;
}

/* Whose weights meet in a panel's part of a block. */
static const stlora_product_args *product_map(const product_plan *p, const product_columns *c, const reduction *r)
{
    return &p->maps[c->map + r->map];
}

static int64_t product_weights(const stlora_product_args *maps, int count)
{
    int64_t weights = 0;
    for (int i = 0; i < count; i++)
        if (maps[i].w) weights += maps[i].in * maps[i].out;
    return weights;
}

/* The share of each thread should be equal: as many wide tasks as divide evenly, then single panels, and where even those do not
 * divide, parts of their tokens. Where there are so few weights that packing them is nothing beside multiplying by them, each thread does all
 * columns of its own tokens: the rows that other ops share out too, so that they stay in its cache. */
static void product_partition(product_plan *p)
{
    int64_t threads = p->table->threads, tokens = p->maps->tokens;
    p->panels = 0;
    for (int i = 0; i < (p->adds_up ? 1 : p->count); i++)
        p->panels += product_panels_of(&p->maps[i]);
    if (product_weights(p->maps, p->count) <= STLORA_CPU_FEW_WEIGHTS && tokens >= MANY_TOKENS * threads) {
        tokens = (tokens + threads - 1) / threads;
        tokens = (tokens + TILE_MR - 1) / TILE_MR * TILE_MR;
        threads = 1;
    }
    /* a packed block and the next one's weights share the second-level cache; with more tokens a block is worth more of it */
    const int64_t bytes = (tokens > 512 ? 512 : 256) * 1024;
    p->wide = bytes / (K_BLOCK * (p->pairs ? 2 : 4)) / PANEL;
    p->wide_tasks = p->panels / (p->wide * threads) * threads;
    if (threads == 1) p->wide_tasks = p->panels / p->wide;
    p->shares = threads;
    /* token blocks are even, in whole tiles */
    const int64_t most = BLOCK_PARTIALS / (p->wide * PANEL) / TILE_MR * TILE_MR;
    p->token_blocks = (p->maps->tokens + least(tokens, most) - 1) / least(tokens, most);
    p->token_block = (p->maps->tokens + p->token_blocks - 1) / p->token_blocks;
    p->token_block = (p->token_block + TILE_MR - 1) / TILE_MR * TILE_MR;
    p->token_blocks = (p->maps->tokens + p->token_block - 1) / p->token_block;
    const int64_t singles = p->panels - p->wide * p->wide_tasks;
    p->splits = 1;
    while (singles * p->splits % threads != 0 && p->splits < threads && p->token_block / (p->splits + 1) >= 8 * TILE_MR)
        p->splits++;
    p->split_tokens = (p->token_block + p->splits - 1) / p->splits;
    p->split_tokens = (p->split_tokens + TILE_MR - 1) / TILE_MR * TILE_MR;
}

/* Weights k0 ... k0+steps of the columns as one panel. */
static void product_pack(const product_plan *p, const stlora_product_args *a, float *panel, const reduction *r,
                         const product_columns *c)
{
    const bool out_in = a->w_layout == STLORA_OUT_IN;
    const void *w = at_element(a->w, a->w_dtype, out_in ? c->o * a->ldw + r->k0 : r->k0 * a->ldw + c->o);
#if defined(STLORA_LEVEL_BF16)
    if (p->pairs) {
        if (out_in)
            pack_pairs_from_rows((uint32_t *)panel, w, a->ldw, r->steps, c->cols);
        else
            pack_pairs_from_columns((uint32_t *)panel, w, a->ldw, r->steps, c->cols);
        return;
    }
#endif
    (void)p;
    if (out_in)
        pack_rows_as_columns(panel, w, a->w_dtype, a->ldw, r->steps, c->cols);
    else
        pack_rows_as_rows(panel, w, a->w_dtype, a->ldw, r->steps, c->cols);
}

static void product_pack_bias(float *to, const stlora_product_args *a, const product_columns *c)
{
    for (int64_t i = 0; i < vectors_of(c->cols) * VL; i++)
        to[i] = i < c->cols ? (float)stlora_load(a->bias, a->bias_dtype, c->o + i) : 0.0f;
}

/* All that panel i of a task multiplies by in a block of the reduction. */
static void product_pack_panel(const product_plan *p, const reduction *r, const product_columns *c, int64_t i,
                               product_scratch *s)
{
    const stlora_product_args *a = product_map(p, c, r);
    const int64_t extra = product_extra(a, r);
    if (r->steps) product_pack(p, a, s->panels + i * PANEL * K_BLOCK, r, c);
    if (extra)
        pack_strided(s->extra + i * PANEL * FUSED_RANK, a->u + r->q0 * a->u_rank_stride + c->o * a->u_out_stride,
                     a->u_rank_stride, a->u_out_stride, (float)a->scale, extra, c->cols);
    if (a->bias && r->last) product_pack_bias(s->bias + i * PANEL, a, c);
}

/* Whether fetching ahead pays: on the processors that have tile registers it takes more from the tiles' own loads (3 to 6 % of a product) than
 * packing wins, which reads rows in order there at the same rate without (bench/LOG.md). */
static bool product_fetches(const product_plan *p)
{
    return !p->table->tiles;
}

/* The weights that this thread will probably pack next: those of block b of the reduction, or of the next task; of several maps the
 * first one's. */
static lookahead product_lookahead(const product_plan *p, int64_t index, const product_task *task, int64_t b)
{
    product_task next = *task;
    reduction r = {0};
    if (b < p->blocks) r = product_reduction(p, b);
    if (r.steps == 0) {
        if (index + 1 >= product_task_count(p)) return (lookahead){0};
        next = product_task_of(p, index + 1);
        r = product_reduction(p, 0);
        if (r.steps == 0) return (lookahead){0};
    }
    const product_columns c = product_columns_of(p, next.panel0);
    const stlora_product_args *a = product_map(p, &c, &r);
    const int64_t cols = least(next.panels * PANEL, a->out - c.o);
    const int64_t size = a->w_dtype == STLORA_F32 ? 4 : 2;
    lookahead l;
    if (a->w_layout == STLORA_OUT_IN)
        l = (lookahead){at_element(a->w, a->w_dtype, c.o * a->ldw + r.k0), 0, r.steps * size, a->ldw * size, cols, 0};
    else
        l = (lookahead){at_element(a->w, a->w_dtype, r.k0 * a->ldw + c.o), 0, cols * size, a->ldw * size, r.steps, 0};
    const int64_t tiles = (task->t1 - task->t0 + TILE_MR - 1) / TILE_MR * task->panels;
    const int64_t lines = l.rows_left * ((l.row_bytes + CACHE_LINE - 1) / CACHE_LINE);
    const int64_t chances = tiles * (K_BLOCK / AHEAD_STEPS / (p->pairs ? 2 : 1));
    l.lines = (int)least(32, lines / chances + 1); /* few tokens have few chances, and wait for memory if it is asked for little */
    return l;
}

/* The rows of x that follow at `token`: pages apart, so that the processor sees them coming too late by itself. */
static lookahead product_lookahead_x(const product_plan *p, const stlora_cmat *x, const reduction *r, int64_t token,
                                     int64_t end)
{
    const int64_t size = x->dtype == STLORA_F32 ? 4 : 2, rows = least(TILE_MR, end - token);
    if (rows <= 0 || r->steps == 0) return (lookahead){0};
    const int64_t per_row = AHEAD_STEPS * (p->pairs ? 2 : 1) * size / CACHE_LINE;
    return (lookahead){at_element(x->data, x->dtype, token * x->ld + r->k0),
                       0,
                       r->steps * size,
                       x->ld * size,
                       rows,
                       (int)(rows * (per_row > 0 ? per_row : 1))};
}

/* Where the tile of panel i finds what was there, and where it leaves its sum, after block b of the reduction. */
static void product_place(const product_plan *p, const product_task *task, const product_columns *c, int64_t i,
                          int64_t b, int64_t token, tile *t, product_scratch *s)
{
    const stlora_product_args *a = &p->maps[c->map];
    const bool first = b == 0, last = b == p->blocks - 1;
    const bool aside = a->y.dtype != STLORA_F32 && p->blocks > 1; /* partial sums cannot wait in y */
    const int64_t ld_partials = task->panels * PANEL;
    void *y = at_element_mut(a->y.data, a->y.dtype, token * a->y.ld + c->o);
    float *partial = s->partials + (token - task->t0) * ld_partials + i * PANEL;
    const bool from_y = first ? a->accumulate : !aside, to_y = last || !aside;
    t->from = from_y ? y : first ? NULL : partial;
    t->from_dtype = from_y ? a->y.dtype : STLORA_F32;
    t->ld_from = from_y ? a->y.ld : ld_partials;
    t->y = to_y ? y : partial;
    t->y_dtype = to_y ? a->y.dtype : STLORA_F32;
    t->ldy = to_y ? a->y.ld : ld_partials;
}

/* All tokens of a task over packed block b of the reduction. ahead NULL: nothing is fetched ahead. */
static void product_sweep(const product_plan *p, const product_task *task, const product_columns *columns,
                          const reduction *r, int64_t b, lookahead *ahead, product_scratch *s)
{
    const stlora_cmat *x = &p->maps[r->map].x;
    const bool widen = !p->pairs && x->dtype != STLORA_F32 && r->steps > 0;
    const tile_function(*kernels)[TILE_NV] = tile_f32_table;
#if defined(STLORA_LEVEL_BF16)
    if (p->pairs && r->steps) kernels = tile_bf16_table;
#endif
    tile t = {.steps = r->steps, .ahead = ahead};
    for (int64_t token = task->t0; token < task->t1; token += TILE_MR) {
        const int mr = (int)least(TILE_MR, task->t1 - token);
        if (r->steps) {
            t.x = at_element(x->data, x->dtype, token * x->ld + r->k0);
            t.ldx = x->ld;
        }
        if (widen) {
            widen_rows(s->x, K_BLOCK, t.x, x->dtype, x->ld, mr, r->steps);
            t.x = s->x;
            t.ldx = K_BLOCK;
        }
        lookahead ahead_x = {0};
        if (ahead) ahead_x = product_lookahead_x(p, x, r, token + mr, task->t1);
        for (int64_t i = 0; i < task->panels; i++) {
            const product_columns *c = &columns[i];
            const stlora_product_args *a = product_map(p, c, r);
            t.cols = (int)c->cols;
            t.ahead_x = i == 0 && ahead ? &ahead_x : NULL;
            t.panel = s->panels + i * PANEL * K_BLOCK;
            t.extra = s->extra + i * PANEL * FUSED_RANK;
            t.extra_steps = product_extra(a, r);
            if (t.extra_steps) t.h = a->h + token * a->rank + r->q0;
            t.ldh = a->rank;
            t.bias = r->last && a->bias ? s->bias + i * PANEL : NULL;
            product_place(p, task, c, i, b, token, &t, s);
            kernels[mr - 1][vectors_of(c->cols) - 1](&t);
        }
    }
}

static void product_work(const void *context, int64_t index, int thread)
{
    const product_plan *p = context;
    const product_task task = product_task_of(p, index);
    product_scratch *s = stlora_cpu_block(p->table, thread);
    product_columns columns[BLOCK_COLUMNS / PANEL];
    if (task.t0 >= task.t1) return;
    for (int64_t i = 0; i < task.panels; i++)
        columns[i] = product_columns_of(p, task.panel0 + i);
    for (int64_t b = 0; b < p->blocks; b++) {
        const reduction r = product_reduction(p, b);
        for (int64_t i = 0; i < task.panels; i++)
            product_pack_panel(p, &r, &columns[i], i, s);
        lookahead ahead = {0};
        if (product_fetches(p)) ahead = product_lookahead(p, index, &task, b + 1);
        product_sweep(p, &task, columns, &r, b, product_fetches(p) ? &ahead : NULL, s);
    }
}

static bool product_pairs(const stlora_product_args *a)
{
#if defined(STLORA_LEVEL_BF16)
    return a->w && a->x.dtype == STLORA_BF16 && a->w_dtype == STLORA_BF16;
#else
    (void)a;
    return false;
#endif
}

static void product_check(const stlora_product_args *a)
{
    assert(is_act(a->y.dtype) && (!a->w || is_act(a->x.dtype)));
    assert(!a->w || is_act(a->w_dtype) || a->w_dtype == STLORA_F16);
    assert(a->y.rows >= a->tokens && a->y.cols == a->out && a->y.ld >= a->out);
    assert(!a->w || (a->x.rows >= a->tokens && a->x.cols == a->in && a->x.ld >= a->in));
    assert(a->rank == 0 || (a->h && a->u));
}

/* Are the maps one product? Each has to be whole chains of one kind. What they add up in must hold the sums as they are; and more than few
 * weights are slower so, by up to 4 % (bench/LOG.md). */
static bool product_together(const stlora_product_args *maps, int count, bool adds_up)
{
    if (adds_up && product_weights(maps, count) > STLORA_CPU_FEW_WEIGHTS) return false;
    for (int i = 0; i < count; i++) {
        const stlora_product_args *a = &maps[i];
        if (!a->w || a->in == 0 || a->rank > FUSED_RANK || product_pairs(a) != product_pairs(maps)) return false;
        if (adds_up && (a->bias || a->y.dtype != STLORA_F32)) return false;
        assert(a->tokens == maps->tokens);
        assert(adds_up ? a->out == maps->out && (i == 0 || a->accumulate)
                       : a->x.data == maps->x.data && a->in == maps->in);
    }
    return true;
}

static void cpu_product(const stlora_backend *table, const stlora_product_args *maps, int count)
{
    const bool adds_up = stlora_product_adds_up(maps, count);
    if (count > 1 && !product_together(maps, count, adds_up)) {
        for (int i = 0; i < count; i++)
            cpu_product(table, &maps[i], 1);
        return;
    }
    product_plan p = {.table = table, .maps = maps, .count = count, .adds_up = adds_up, .pairs = product_pairs(maps)};
    p.fused = product_k_blocks_of(maps) > 0 && maps->rank <= FUSED_RANK;
    double nanoseconds = 0;
    for (int i = 0; i < count; i++) {
        const stlora_product_args *a = &maps[i];
        product_check(a);
        if (i == 0 || adds_up) p.blocks += product_blocks_of(&p, a);
        const double in = (double)(a->w ? a->in : 0) + (double)a->rank;
        nanoseconds += (double)a->out * in * (0.2 + 0.02 * (double)a->tokens);
    }
    if (maps->tokens == 0) return;
    product_partition(&p);
    if (p.panels == 0) return;
    stlora_team_run(table->team, product_task_count(&p), nanoseconds, product_work, &p);
}

#endif
