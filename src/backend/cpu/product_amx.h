/* product_amx.h: the frozen product of bf16 by bf16 and its low-rank term on the tile registers; anything else goes the way of AVX-512.
 *
 * A task is some tiles of 16 columns of y for a block of tokens. Its thread walks the reduction in blocks and the columns in panels of two
 * tiles, packs the weights as they lie in the file, and runs all tokens over a panel, as many steps of the sum at a time as stay
 * in the first cache. Between the steps, while the tile registers are busy, it packs the weights that come next and writes the results that are
 * done (amx_aside). Rows of weights that become columns are packed panel by panel, long rows at a time; rows that stay rows for all panels at
 * once: either way what is contiguous in the file is read as one.
 *
 * The low-rank term rides on the same registers: h and scale*u are three bf16 each, and of their nine products the six that a float can
 * see are more steps of the sum: with r ranks, 6 r numbers of k, all of one kind behind one another (LOWRANK_H, LOWRANK_U).
 *
 * Order of summation of y[t, o], whatever the task, the thread or the number of tokens: what y held, or nothing; k ascending in steps of 32
 * from 0; the low-rank term, LOWRANK_RANKS ranks at a time, kind by kind; the bias. Test: tests/backend/test_cpu_product.c.
 */
#ifndef STLORA_BACKEND_CPU_PRODUCT_AMX_H
#define STLORA_BACKEND_CPU_PRODUCT_AMX_H

#include "backend/cpu/product_template.h"
#include "backend/cpu/tile_amx.h"

enum {
    AMX_STEPS = 8,               /* most steps at a time */
    AMX_LONG_STEPS = 32,         /* most steps of a block of the reduction: where panels are packed one by one */
    AMX_SHORT_STEPS = AMX_STEPS, /* and where all are packed at once */
    AMX_TILES = 30,              /* most tiles of columns of a task */
    AMX_PANELS = AMX_TILES / AMX_WIDE,
    AMX_TOKENS = 512,                                    /* most tokens of a task */
    AMX_PACKED = AMX_TILES * AMX_TILE * AMX_SHORT_STEPS, /* most bf16 numbers that are packed at once */
    AMX_STREAM = 2 << 20,                                /* bytes of y that no second cache holds */
    LOWRANK_KINDS = 6,
    LOWRANK_RANKS = 64, /* most ranks of a block: part of the definition of the bits */
    LOWRANK_STEPS = LOWRANK_KINDS * LOWRANK_RANKS / AMX_STEP,
};
_Static_assert(AMX_WIDE *AMX_LONG_STEPS <= AMX_TILES * AMX_SHORT_STEPS,
               "a long panel does not fit where the short ones do");
/* Which part of h meets which part of u. */
static const int LOWRANK_H[LOWRANK_KINDS] = {0, 0, 1, 0, 2, 1}, LOWRANK_U[LOWRANK_KINDS] = {0, 1, 0, 2, 0, 1};

typedef struct amx_scratch {
    _Alignas(64) uint16_t packed[2][AMX_PACKED];                    /* weights in use, and the next ones */
    _Alignas(64) uint16_t u[AMX_WIDE * AMX_TILE * LOWRANK_STEPS];   /* parts of scale*u, a panel */
    _Alignas(64) uint16_t h[AMX_TOKENS * LOWRANK_STEPS * AMX_STEP]; /* parts of h */
    _Alignas(64) uint16_t
        x[AMX_TOKENS * AMX_LONG_STEPS * AMX_STEP]; /* x in tiles, zeros around it, where it does not do as it lies */
    _Alignas(64) float bias[AMX_WIDE * AMX_SIDE];
    _Alignas(64) float block[2][AMX_BLOCK];                                        /* of sums: in use, and done */
    _Alignas(64) float partials[AMX_PANELS * (AMX_TOKENS / AMX_ROWS) * AMX_BLOCK]; /* (panels, blocks of tokens) */
} amx_scratch;
_Static_assert(sizeof(amx_scratch) <= STLORA_CPU_BLOCK_BYTES, "the scratch of a thread is too small");

typedef struct amx_plan {
    const stlora_backend *table;
    const stlora_product_args *args;
    int64_t k_block, k_blocks; /* of the frozen term */
    int64_t rank_blocks;
    bool fused; /* the low-rank term ends the last block of the frozen one */
    int64_t blocks;
    int64_t tiles, column_tasks;
    int64_t token_block, token_blocks;
    bool x_as_is; /* whole blocks of x are multiplied where they lie */
} amx_plan;

/* A part of the reduction: k numbers of the frozen term from k0, ranks of the low-rank term from q0. */
typedef struct amx_reduction {
    int64_t k0, k, q0, ranks;
    bool first, last;
} amx_reduction;

static amx_reduction amx_reduction_of(const amx_plan *p, int64_t b)
{
    const stlora_product_args *a = p->args;
    amx_reduction r = {.first = b == 0, .last = b == p->blocks - 1};
    if (b < p->k_blocks) {
        r.k0 = b * p->k_block;
        r.k = least(p->k_block, a->in - r.k0);
    }
    const int64_t q = p->fused ? b - (p->k_blocks - 1) : b - p->k_blocks;
    if (q >= 0 && q < p->rank_blocks) {
        r.q0 = q * LOWRANK_RANKS;
        r.ranks = least(LOWRANK_RANKS, a->rank - r.q0);
    }
    return r;
}

static inline int64_t amx_steps(int64_t k)
{
    return (k + AMX_STEP - 1) / AMX_STEP;
}

/* The tiles and tokens of one task. */
typedef struct amx_task {
    int64_t tile0, tiles, panels, t0, t1;
} amx_task;

/* Equal shares for all threads: as many tasks of at most AMX_TILES tiles as divide evenly; where there are fewer tiles than threads, parts of the
 * tokens. */
static void amx_partition(amx_plan *p)
{
    const int64_t threads = p->table->threads, tokens = p->args->tokens;
    p->tiles = (p->args->out + AMX_SIDE - 1) / AMX_SIDE;
    const int64_t rounds = (p->tiles + AMX_TILES * threads - 1) / (AMX_TILES * threads);
    p->column_tasks = least(p->tiles, rounds * threads);
    p->token_block = least(tokens, AMX_TOKENS);
    if (p->column_tasks < threads && tokens > AMX_ROWS) {
        const int64_t parts = (threads + p->column_tasks - 1) / p->column_tasks;
        p->token_block = least(p->token_block, (tokens + parts - 1) / parts);
    }
    p->token_block = (p->token_block + AMX_ROWS - 1) / AMX_ROWS * AMX_ROWS;
    p->token_blocks = (tokens + p->token_block - 1) / p->token_block;
}

static amx_task amx_task_of(const amx_plan *p, int64_t index)
{
    const int64_t column = index % p->column_tasks, t0 = index / p->column_tasks * p->token_block;
    const int64_t first = column * p->tiles / p->column_tasks, end = (column + 1) * p->tiles / p->column_tasks;
    return (amx_task){first, end - first, (end - first + AMX_WIDE - 1) / AMX_WIDE, t0,
                      least(t0 + p->token_block, p->args->tokens)};
}

/* Columns o ... o+cols of a panel of `wide` tiles. */
typedef struct amx_columns {
    int64_t o, cols;
    int wide;
} amx_columns;

/* A task's panels are as equal as tiles let them be. */
static amx_columns amx_columns_of(const stlora_product_args *a, const amx_task *task, int64_t panel)
{
    const int64_t first = task->tile0 + panel * task->tiles / task->panels;
    const int64_t end = task->tile0 + (panel + 1) * task->tiles / task->panels;
    const int64_t o = first * AMX_SIDE;
    return (amx_columns){o, least((end - first) * AMX_SIDE, a->out - o), (int)(end - first)};
}

/* Where a panel's weights lie among those that are packed together. */
static int64_t amx_place_of(const amx_plan *p, const amx_task *task, int64_t panel, int64_t steps)
{
    return p->args->w_layout == STLORA_OUT_IN ? 0 : panel * task->tiles / task->panels * steps * AMX_TILE;
}

/* The weights that will be multiplied next, on their way into tiles: `tiles` columns from tile0 on of one block of the reduction. Rows
 * that become columns go along k first, rows that stay rows along the columns: as the file has them. */
typedef struct amx_packing {
    const stlora_product_args *args;
    amx_reduction r;
    amx_task task;
    int64_t panel, panels; /* of the task */
    int64_t step, tile;    /* what comes next; tile: within its panel */
    int64_t left;          /* tiles */
    uint16_t *to;
    amx_columns c; /* of the panel */
    int64_t place;
} amx_packing;

static amx_packing amx_packing_of(const amx_plan *p, const amx_task *task, int64_t b, int64_t panel, uint16_t *to)
{
    const bool one = p->args->w_layout == STLORA_OUT_IN;
    amx_packing n = {.args = p->args, .r = amx_reduction_of(p, b), .task = *task, .panel = panel, .to = to};
    n.panels = one ? panel + 1 : task->panels;
    n.c = amx_columns_of(p->args, task, panel);
    n.left = (one ? n.c.wide : task->tiles) * amx_steps(n.r.k);
    return n;
}

static inline void amx_pack_next(amx_packing *n)
{
    const stlora_product_args *a = n->args;
    const int64_t o = n->c.o + n->tile * AMX_SIDE, k = n->step * AMX_STEP, steps = amx_steps(n->r.k);
    const int ks = (int)least(AMX_STEP, n->r.k - k), cols = (int)least(AMX_SIDE, a->out - o);
    uint16_t *to = n->to + n->place + (n->step * n->c.wide + n->tile) * AMX_TILE;
    n->left--;
    if (a->w_layout == STLORA_OUT_IN) {
        amx_pack_columns(to, (const uint16_t *)a->w + o * a->ldw + n->r.k0 + k, a->ldw, ks, cols);
        if (++n->step < steps) return;
        n->step = 0;
        n->tile++;
        return;
    }
    amx_pack_rows(to, (const uint16_t *)a->w + (n->r.k0 + k) * a->ldw + o, a->ldw, ks, cols);
    if (++n->tile < n->c.wide) return;
    n->tile = 0;
    n->place += n->c.wide * steps * AMX_TILE;
    if (++n->panel == n->panels) {
        n->panel = 0;
        n->place = 0;
        n->step++;
    }
    n->c = amx_columns_of(a, &n->task, n->panel);
}

static void amx_pack_rest(amx_packing *n)
{
    while (n->left > 0)
        amx_pack_next(n);
}

/* scale u(q, .) of the block's ranks as a panel: number kind * ranks + q of k is part LOWRANK_U[kind]. */
static void amx_pack_u(const stlora_product_args *a, uint16_t *panel, const amx_reduction *r, const amx_columns *c)
{
    memset(panel, 0, (size_t)(amx_steps(LOWRANK_KINDS * r->ranks) * c->wide * AMX_TILE) * sizeof *panel);
    for (int64_t q = 0; q < r->ranks; q++) {
        for (int64_t i = 0; i < c->wide; i++) {
            const int64_t o = c->o + i * AMX_SIDE;
            const float *u = a->u + (r->q0 + q) * a->u_rank_stride + o * a->u_out_stride;
            float column[AMX_SIDE] = {0};
            for (int64_t j = 0; j < AMX_SIDE && o + j < a->out; j++)
                column[j] = (float)a->scale * u[j * a->u_out_stride];
            const amx_parts parts = amx_split(vf_load(column));
            for (int kind = 0; kind < LOWRANK_KINDS; kind++) {
                const int64_t k = kind * r->ranks + q;
                uint16_t *at = panel + (k / AMX_STEP * c->wide + i) * AMX_TILE + k % AMX_STEP / 2 * 32;
                const __m512i held = _mm512_load_si512(at), part = parts.part[LOWRANK_U[kind]];
                _mm512_store_si512(at, _mm512_or_si512(held, k % 2 ? _mm512_slli_epi32(part, 16) : part));
            }
        }
    }
}

/* The same of h for a task's tokens, in tiles. */
static void amx_pack_h(const stlora_product_args *a, uint16_t *to, const amx_reduction *r, const amx_task *task)
{
    const int64_t steps = amx_steps(LOWRANK_KINDS * r->ranks), rows = task->t1 - task->t0;
    memset(to, 0, (size_t)((rows + AMX_ROWS - 1) / AMX_ROWS * steps * 2 * AMX_TILE) * sizeof *to);
    for (int64_t i = 0; i < rows; i++) {
        const float *h = a->h + (task->t0 + i) * a->rank + r->q0;
        uint16_t *row = to + i / AMX_ROWS * steps * 2 * AMX_TILE + i % AMX_ROWS * AMX_STEP;
        for (int64_t q = 0; q < r->ranks; q += VL) {
            const amx_parts parts = amx_split(vf_load_n(h + q, (int)least(VL, r->ranks - q)));
            for (int kind = 0; kind < LOWRANK_KINDS; kind++) {
                uint16_t part[VL];
                const __m256i bits = _mm512_cvtepi32_epi16(parts.part[LOWRANK_H[kind]]);
                memcpy(part, &bits, sizeof part);
                for (int64_t j = 0; j < least(VL, r->ranks - q); j++) {
                    const int64_t k = kind * r->ranks + q + j;
                    row[k / AMX_STEP * 2 * AMX_TILE + k % AMX_STEP] = part[j];
                }
            }
        }
    }
}

/* x's part of the block of the reduction for tokens token ... t1, in tiles. */
static void amx_pack_x(const stlora_product_args *a, uint16_t *to, const amx_reduction *r, int64_t token, int64_t t1)
{
    for (; token < t1; token += AMX_ROWS) {
        const int64_t rows = least(AMX_ROWS, t1 - token);
        for (int64_t k = 0; k < r->k; k += AMX_STEP) {
            const __mmask32 mask = r->k - k >= AMX_STEP ? 0xffffffffu : (1u << (r->k - k)) - 1u;
            const uint16_t *x = (const uint16_t *)a->x.data + token * a->x.ld + r->k0 + k;
            for (int64_t i = 0; i < rows; i++, to += AMX_STEP)
                _mm512_store_si512(to, _mm512_maskz_loadu_epi16(mask, x + i * a->x.ld));
            for (int64_t i = rows; i < AMX_ROWS; i++, to += AMX_STEP)
                _mm512_store_si512(to, _mm512_setzero_si512());
        }
    }
}

/* Are 32 rows of x far enough apart, in the sets of the first cache (64 lines of 64 bytes each), to stay there side by side? */
static bool amx_rows_spread(int64_t ld)
{
    int64_t lines = ld * 2 / CACHE_LINE, sets = 64;
    while (lines > 0 && lines % 2 == 0 && sets > 1) {
        lines /= 2;
        sets /= 2;
    }
    return lines > 0 && sets >= 8;
}

/* Row i of a block, columns of tile c. */
static inline float *amx_row(float *block, int64_t i, int c)
{
    return block + (i / AMX_SIDE * AMX_WIDE + c) * AMX_SUMS + i % AMX_SIDE * AMX_SIDE;
}

/* y's block as floats, zeros around it. */
static void amx_fetch_y(const stlora_product_args *a, float *block, int64_t token, int64_t rows, const amx_columns *c)
{
    memset(block, 0, AMX_BLOCK * sizeof *block);
    for (int64_t i = 0; i < rows; i++) {
        const int64_t at = (token + i) * a->y.ld + c->o;
        for (int j = 0; j < c->wide; j++)
            vf_store(amx_row(block, i, j),
                     load_as_n(a->y.data, a->y.dtype, at + j * AMX_SIDE, (int)least(AMX_SIDE, c->cols - j * AMX_SIDE)));
    }
}

/* A block that is done, on its way to y with its bias or NULL: rows [row, rows). */
typedef struct amx_result {
    const stlora_product_args *args;
    float *block;
    const float *bias;
    int64_t token, row, rows;
    amx_columns c;
    bool stream; /* past the caches, which y is too large for: whole lines need not be read before they are written */
} amx_result;

static inline void amx_write_rows(const int wide, amx_result *n, int64_t count)
{
    const stlora_product_args *a = n->args;
    for (const int64_t end = least(n->rows, n->row + count); n->row < end; n->row++) {
        if (wide == 2 && n->c.cols == 2 * AMX_SIDE && !n->bias && a->y.dtype == STLORA_BF16) {
            uint16_t *to = (uint16_t *)a->y.data + (n->token + n->row) * a->y.ld + n->c.o;
            const __m512bh both =
                _mm512_cvtne2ps_pbh(vf_load(amx_row(n->block, n->row, 1)), vf_load(amx_row(n->block, n->row, 0)));
            __m512i bits;
            memcpy(&bits, &both, sizeof bits);
            if (n->stream && (uintptr_t)to % CACHE_LINE == 0)
                _mm512_stream_si512((void *)to, bits);
            else
                _mm512_storeu_si512(to, bits);
            continue;
        }
        UNROLL for (int j = 0; j < wide; j++)
        {
            const __mmask16 mask = vm_first((int)least(AMX_SIDE, n->c.cols - j * AMX_SIDE));
            vf v = vf_load(amx_row(n->block, n->row, j));
            if (n->bias) v = vf_add(v, vf_load(n->bias + j * AMX_SIDE));
            const int64_t at = (n->token + n->row) * a->y.ld + n->c.o + j * AMX_SIDE;
            if (a->y.dtype == STLORA_BF16) {
                const __m256bh rounded = _mm512_cvtneps_pbh(v); /* to nearest even; a denormal is zero here anyway */
                __m256i bits;
                memcpy(&bits, &rounded, sizeof bits);
                _mm256_mask_storeu_epi16((uint16_t *)a->y.data + at, mask, bits);
            } else {
                _mm512_mask_storeu_ps((float *)a->y.data + at, mask, v);
            }
        }
    }
}

/* What a thread does between the steps: the weights that come next are packed, evenly over `steps` steps; the block before is written, some
 * rows a step. */
typedef struct amx_aside {
    amx_packing packing;
    int64_t due, tiles, steps;
    amx_result done;
    int64_t rows;
} amx_aside;

ALWAYS_INLINE void amx_between(const int wide, amx_aside *n)
{
    if (n->done.row < n->done.rows) amx_write_rows(wide, &n->done, n->rows);
    for (n->due += n->tiles; n->due >= n->steps && n->packing.left > 0; n->due -= n->steps)
        amx_pack_next(&n->packing);
}

/* What a thread works on: a panel of one block of the reduction. */
typedef struct amx_panel {
    amx_reduction r;
    amx_columns c;
    const uint16_t *weights;
    float *partials; /* (blocks of tokens) */
} amx_panel;

/* All tokens of a task over steps s0 ... s0+steps of a panel. */
ALWAYS_INLINE void amx_sweep(const int wide, const amx_plan *p, const amx_task *task, const amx_panel *n, int64_t s0,
                             int64_t steps, amx_aside *aside, amx_scratch *s)
{
    const stlora_product_args *a = p->args;
    const amx_columns *c = &n->c;
    const int64_t all = amx_steps(n->r.k);
    const bool first = n->r.first && s0 == 0, end = s0 + steps == all, last = n->r.last && end;
    const int64_t extra = end ? amx_steps(LOWRANK_KINDS * n->r.ranks) : 0;
    float *partials = n->partials;
    aside->rows = steps > 0 ? (AMX_ROWS + steps - 1) / steps : AMX_ROWS;
    int which = 0;
    for (int64_t token = task->t0; token < task->t1; token += AMX_ROWS, partials += AMX_BLOCK) {
        const int64_t rows = least(AMX_ROWS, task->t1 - token), block = (token - task->t0) / AMX_ROWS;
        amx_rows x = amx_tiles_of(s->x + (p->x_as_is ? 0 : block * all * 2 * AMX_TILE) + s0 * 2 * AMX_TILE);
        if (p->x_as_is && rows == AMX_ROWS)
            x = amx_rows_of((const uint16_t *)a->x.data + token * a->x.ld + n->r.k0 + s0 * AMX_STEP, a->x.ld);
        amx_rows h = amx_tiles_of(s->h + block * extra * 2 * AMX_TILE);
        const bool in_place = a->y.dtype == STLORA_F32 && rows == AMX_ROWS && c->cols == wide * AMX_SIDE && !a->bias;
        const amx_sums y =
            in_place ? amx_matrix((float *)a->y.data + token * a->y.ld + c->o, a->y.ld) : amx_block(s->block[which]);
        if (first && a->accumulate && !in_place) amx_fetch_y(a, s->block[which], token, rows, c);
        amx_load(wide, !first ? amx_block(partials) : a->accumulate ? y : (amx_sums){0});
        const uint16_t *weights = n->weights + s0 * wide * AMX_TILE;
        for (int64_t i = 0; i < steps; i++, x.at += x.next, weights += wide * AMX_TILE) {
            amx_step(wide, &x, weights);
            amx_between(wide, aside);
        }
        for (int64_t i = 0; i < extra; i++, h.at += h.next)
            amx_step(wide, &h, s->u + i * wide * AMX_TILE);
        amx_store(wide, last ? y : amx_block(partials));
        if (last && !in_place) {
            amx_write_rows(wide, &aside->done, AMX_ROWS);
            aside->done = (amx_result){
                a, s->block[which], a->bias ? s->bias : NULL, token, 0, rows, *c, a->tokens * a->out * 2 >= AMX_STREAM};
            which = !which;
        }
    }
    amx_write_rows(wide, &aside->done, AMX_ROWS);
}

/* The panel's steps, as many at a time as stay in the first cache. */
static void amx_run(const amx_plan *p, const amx_task *task, const amx_panel *n, amx_aside *aside, amx_scratch *s)
{
    const stlora_product_args *a = p->args;
    const int64_t steps = amx_steps(n->r.k), parts = steps > AMX_STEPS ? (steps + AMX_STEPS - 1) / AMX_STEPS : 1;
    if (n->r.ranks) amx_pack_u(a, s->u, &n->r, &n->c);
    for (int64_t j = 0; a->bias && n->r.last && j < n->c.wide * AMX_SIDE; j++)
        s->bias[j] = j < n->c.cols ? (float)stlora_load(a->bias, a->bias_dtype, n->c.o + j) : 0.0f;
    for (int64_t i = 0; i < parts; i++) {
        const int64_t s0 = i * steps / parts, some = (i + 1) * steps / parts - s0;
        if (n->c.wide == 2)
            amx_sweep(2, p, task, n, s0, some, aside, s);
        else
            amx_sweep(1, p, task, n, s0, some, aside, s);
    }
}

static void amx_work(const void *context, int64_t index, int thread)
{
    const amx_plan *p = context;
    const stlora_product_args *a = p->args;
    const amx_task task = amx_task_of(p, index);
    const int64_t blocks = (task.t1 - task.t0 + AMX_ROWS - 1) / AMX_ROWS, ragged = task.t0 + (blocks - 1) * AMX_ROWS;
    const bool one_by_one = a->w_layout == STLORA_OUT_IN;
    amx_scratch *s = stlora_cpu_block(p->table, thread);
    amx_aside aside = {.packing = amx_packing_of(p, &task, 0, 0, s->packed[0])};
    int which = 0;
    amx_begin();
    for (int64_t b = 0; b < p->blocks; b++) {
        const amx_reduction r = amx_reduction_of(p, b);
        const int64_t steps = amx_steps(r.k);
        if (!p->x_as_is)
            amx_pack_x(a, s->x, &r, task.t0, task.t1);
        else if (task.t1 - ragged < AMX_ROWS)
            amx_pack_x(a, s->x, &r, ragged, task.t1);
        if (r.ranks) amx_pack_h(a, s->h, &r, &task);
        for (int64_t i = 0; i < task.panels; i++) {
            if (one_by_one || i == 0) { /* what was packed on the way is needed now; the next is begun */
                const int64_t panel = one_by_one && i + 1 < task.panels ? i + 1 : 0, after = panel > 0 ? b : b + 1;
                amx_pack_rest(&aside.packing);
                which = !which;
                aside.packing = (amx_packing){0};
                if (after < p->k_blocks) aside.packing = amx_packing_of(p, &task, after, panel, s->packed[which]);
                aside.tiles = aside.packing.left;
                aside.steps = blocks * steps * (one_by_one ? 1 : task.panels);
                aside.due = 0;
            }
            const amx_panel n = {r, amx_columns_of(a, &task, i), s->packed[!which] + amx_place_of(p, &task, i, steps),
                                 s->partials + i * blocks * AMX_BLOCK};
            amx_run(p, &task, &n, &aside, s);
        }
    }
    amx_end();
    _mm_sfence();
}

static void amx_product_of(const stlora_backend *table, const stlora_product_args *a)
{
    assert(is_act(a->y.dtype));
    assert(a->x.rows >= a->tokens && a->x.cols == a->in && a->x.ld >= a->in);
    assert(a->y.rows >= a->tokens && a->y.cols == a->out && a->y.ld >= a->out);
    assert(a->rank == 0 || (a->h && a->u));
    amx_plan p = {.table = table, .args = a};
    const int64_t most = a->w_layout == STLORA_OUT_IN ? AMX_LONG_STEPS : AMX_SHORT_STEPS;
    const int64_t steps = amx_steps(a->in), fewest = (steps + most - 1) / most; /* equal blocks */
    p.k_block = steps ? (steps + fewest - 1) / fewest * AMX_STEP : 1;
    p.k_blocks = (a->in + p.k_block - 1) / p.k_block;
    p.rank_blocks = (a->rank + LOWRANK_RANKS - 1) / LOWRANK_RANKS;
    p.fused = p.k_blocks > 0 && p.rank_blocks > 0;
    p.blocks = p.k_blocks + p.rank_blocks - p.fused;
    if (p.blocks == 0) p.blocks = 1; /* nothing to add, but y is to be written */
    p.x_as_is = a->in % AMX_STEP == 0 && amx_rows_spread(a->x.ld);
    amx_partition(&p);
    const double nanoseconds = (double)a->out * ((double)a->in + (double)a->rank) * (0.1 + 0.0015 * (double)a->tokens);
    stlora_team_run(table->team, p.column_tasks * p.token_blocks, nanoseconds, amx_work, &p);
}

static bool amx_multiplies(const stlora_product_args *a)
{
    return a->w && a->x.dtype == STLORA_BF16 && a->w_dtype == STLORA_BF16 && a->tokens > 0 && a->out > 0;
}

static void amx_product(const stlora_backend *table, const stlora_product_args *maps, int count)
{
    int pairs = 0;
    for (int i = 0; i < count; i++)
        pairs += amx_multiplies(&maps[i]);
    if (pairs == 0) {
        cpu_product(table, maps, count);
        return;
    }
    for (int i = 0; i < count; i++) {
        if (amx_multiplies(&maps[i]))
            amx_product_of(table, &maps[i]);
        else
            cpu_product(table, &maps[i], 1);
    }
}

#endif
