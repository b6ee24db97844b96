/* product_template.h: the frozen product and its low-rank term, for the level whose simd_*.h came before.
 *
 * A task is a block of columns of y for a block of tokens. Its thread walks the reduction in blocks of K_BLOCK, packs the
 * weights of that block and those columns as they lie in the file into its scratch (widened to float unless both sides are
 * bf16 and the level multiplies pairs), and runs all its tokens over them. One token alone packs nothing: product_token_template.h.
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

#include "backend/cpu/product_token_template.h"
#include "backend/cpu/progress.h"
#if defined(STLORA_LEVEL_BF16)
#    include "backend/cpu/tile_bf16.h"
#endif

enum {
    MANY_TOKENS = 128,         /* tokens of a thread that are worth packing all of few weights for */
    MANY_STEPS = 32 * K_BLOCK, /* of a reduction that is worth cutting; shorter ones lose one or two percent by it */
    X_BYTES = 2 * 1024 * 1024, /* of x: its pages stay in the translation buffers from panel to panel */
    ORDERED_TASKS = 1024       /* most of a call whose reduction is cut */
};

/* Parts of a reduction are claimed in order (progress.h), all tasks of one before those of the next, one ahead of what a thread is doing. With
 * more tasks than threads the part before, of the same columns, is done long since. */
typedef struct product_order {
    progress next;
    progress done[ORDERED_TASKS]; /* parts of each task */
} product_order;

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

static int64_t product_parts_of(const product_plan *p)
{
    return (p->blocks + p->part_blocks - 1) / p->part_blocks;
}

/* Is the reduction so long (a vocabulary's, backward) that x would come from memory again for each panel, page by page? Then few blocks of it
 * are taken through all columns before the next ones. They are whole chains and add up in y, which has to hold sums as they are. */
static bool product_is_cut(const product_plan *p)
{
    const stlora_product_args *a = p->maps;
    return p->count == 1 && a->w && a->y.dtype == STLORA_F32 && a->in > MANY_STEPS &&
           a->tokens * a->in * (int64_t)stlora_dtype_size(a->x.dtype) > 2 * X_BYTES;
}

/* The share of each thread should be equal: as many wide tasks as divide evenly, then single panels, and where even those do not
 * divide, parts of their tokens. Where there are so few weights that packing them is nothing beside multiplying by them, each thread does all
 * columns of its own tokens: the rows that other ops share out too, so that they stay in its cache. */
static void product_partition(product_plan *p)
{
    int64_t threads = p->table->threads, tokens = p->maps->tokens;
    const bool cut = product_is_cut(p);
    const int64_t x_block = K_BLOCK * (int64_t)stlora_dtype_size(p->maps->x.dtype); /* bytes of a token's x in a block */
    if (cut) tokens = least(tokens, X_BYTES / x_block);
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
    p->part_blocks = p->blocks;
    if (cut && product_task_count(p) <= ORDERED_TASKS) {
        const int64_t blocks = X_BYTES / (p->token_block * x_block);
        p->part_blocks = blocks > 0 ? blocks : 1;
    }
}

/* Weights k0 ... k0+steps of the columns as one panel. */
static void product_pack(const product_plan *p, const stlora_product_args *a, float *panel, const reduction *r,
                         const product_columns *c)
{
    const bool out_in = a->w_layout == STLORA_OUT_IN;
    const void *w = product_weights_at(a, r, c);
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

/* All that panel i of a task multiplies by in a block of the reduction. */
static void product_pack_panel(const product_plan *p, const reduction *r, const product_columns *c, int64_t i,
                               product_scratch *s)
{
    const stlora_product_args *a = product_map(p, c, r);
    if (r->steps) product_pack(p, a, s->panels + i * PANEL * K_BLOCK, r, c);
    product_pack_rest(a, r, c, s->extra + i * PANEL * FUSED_RANK, s->bias + i * PANEL);
}

/* Whether fetching ahead pays: on the processors that have tile registers it takes more from the tiles' own loads (3 to 6 % of a product) than
 * packing wins, which reads rows in order there at the same rate without (bench/LOG.md). */
static bool product_fetches(const product_plan *p)
{
    return !p->table->tiles;
}

/* The weights that this thread will probably pack next: those of block b of the reduction, or, at the end of the part, of job `then`; of
 * several maps the first one's. */
static lookahead product_lookahead(const product_plan *p, const product_task *task, int64_t b, int64_t end,
                                   int64_t then)
{
    product_task next = *task;
    reduction r = {0};
    if (b < end) r = product_reduction(p, b);
    if (r.steps == 0) {
        const int64_t tasks = product_task_count(p);
        if (then >= tasks * product_parts_of(p)) return (lookahead){0};
        next = product_task_of(p, then % tasks);
        r = product_reduction(p, then / tasks * p->part_blocks);
        if (r.steps == 0) return (lookahead){0};
    }
    product_columns c = product_columns_of(p, next.panel0);
    c.cols = least(next.panels * PANEL, p->maps[c.map].out - c.o);
    lookahead l = product_lookahead_of(p, &c, &r);
    const int64_t tiles = (task->t1 - task->t0 + TILE_MR - 1) / TILE_MR * task->panels;
    const int64_t chances = tiles * (K_BLOCK / AHEAD_STEPS / (p->pairs ? 2 : 1));
    l.lines = (int)least(32, lookahead_lines(&l) / chances +
                                 1); /* few tokens have few chances, and wait for memory if it is asked for little */
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

/* All tokens of a task over packed block b of the reduction. ahead NULL: nothing is fetched ahead. */
static void product_sweep(const product_plan *p, const product_task *task, const product_columns *columns,
                          const reduction *r, int64_t b, lookahead *ahead, product_scratch *s)
{
    const stlora_cmat *x = &p->maps[r->map].x;
    const int64_t ld_partials = task->panels * PANEL;
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
            product_place(p, c, b, token, &t, s->partials + (token - task->t0) * ld_partials + i * PANEL, ld_partials);
            kernels[mr - 1][vectors_of(c->cols) - 1](&t);
        }
    }
}

/* A job is a part of the reduction for a task, part after part. then: the job that this thread does next, probably. */
static void product_job(const product_plan *p, int64_t job, int64_t then, int thread)
{
    const int64_t tasks = product_task_count(p), index = job % tasks, part = job / tasks;
    const int64_t begin = part * p->part_blocks, end = least(p->blocks, begin + p->part_blocks);
    const product_task task = product_task_of(p, index);
    product_scratch *s = stlora_cpu_block(p->table, thread);
    product_columns columns[BLOCK_COLUMNS / PANEL];
    if (task.t0 >= task.t1) return;
    for (int64_t i = 0; i < task.panels; i++)
        columns[i] = product_columns_of(p, task.panel0 + i);
    for (int64_t b = begin; b < end; b++) {
        const reduction r = product_reduction(p, b);
        for (int64_t i = 0; i < task.panels; i++)
            product_pack_panel(p, &r, &columns[i], i, s);
        lookahead ahead = {0};
        if (product_fetches(p)) ahead = product_lookahead(p, &task, b + 1, end, then);
        if (p->order) progress_wait(&p->order->done[index], part); /* y holds the sums of the parts before */
        product_sweep(p, &task, columns, &r, b, product_fetches(p) ? &ahead : NULL, s);
    }
}

static void product_work(const void *context, int64_t index, int thread)
{
    product_job(context, index, index + 1, thread);
}

/* A thread's share of a reduction that is cut: what is next, until there is nothing left. */
static void product_work_in_order(const void *context, int64_t share, int thread)
{
    const product_plan *p = context;
    const int64_t tasks = product_task_count(p), jobs = tasks * product_parts_of(p);
    (void)share;
    for (int64_t job, then = progress_claim(&p->order->next); then < jobs;) {
        job = then;
        then = progress_claim(&p->order->next);
        product_job(p, job, then, thread);
        progress_reach(&p->order->done[job % tasks], job / tasks + 1);
    }
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
        nanoseconds += (double)a->out * in * (a->tokens == 1 ? 0.1 : 0.2 + 0.02 * (double)a->tokens);
    }
    for (int i = 0; i < (adds_up ? 1 : count); i++)
        p.panels += product_panels_of(&maps[i]);
    if (maps->tokens == 0 || p.panels == 0) return;
    if (maps->tokens == 1 && maps->w) {
        token_product(&p, nanoseconds);
        return;
    }
    product_partition(&p);
    if (p.part_blocks == p.blocks) {
        stlora_team_run(table->team, product_task_count(&p), nanoseconds, product_work, &p);
        return;
    }
    product_order order;
    atomic_init(&order.next, 0);
    for (int64_t i = 0; i < product_task_count(&p); i++)
        atomic_init(&order.done[i], 0);
    p.order = &order;
    stlora_team_run(table->team, table->threads, nanoseconds, product_work_in_order, &p);
}

#endif
