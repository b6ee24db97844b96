/* product_plan_template.h: what the frozen product consists of, for the level whose simd_*.h came before: panels of y's columns, blocks of
 * the reduction, where partial sums wait. product_template.h walks them for many tokens, product_token_template.h for one.
 */
#ifndef STLORA_BACKEND_CPU_PRODUCT_PLAN_TEMPLATE_H
#define STLORA_BACKEND_CPU_PRODUCT_PLAN_TEMPLATE_H

#include "backend/cpu/pack_template.h"

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
    int64_t part_blocks;          /* of the reduction, that go through all tasks before the next ones do */
    struct product_order *order;  /* of parts; NULL where there is one */
} product_plan;

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

/* Where a tile finds what was there, and where it leaves its sum, after block b of the reduction; partial: where sums of more than one block
 * wait, ld_partials from token to token. */
static void product_place(const product_plan *p, const product_columns *c, int64_t b, int64_t token, tile *t,
                          float *partial, int64_t ld_partials)
{
    const stlora_product_args *a = &p->maps[c->map];
    const bool first = b == 0, last = b == p->blocks - 1;
    const bool aside = a->y.dtype != STLORA_F32 && p->blocks > 1; /* partial sums cannot wait in y */
    void *y = at_element_mut(a->y.data, a->y.dtype, token * a->y.ld + c->o);
    const bool from_y = first ? a->accumulate : !aside, to_y = last || !aside;
    t->from = from_y ? y : first ? NULL : partial;
    t->from_dtype = from_y ? a->y.dtype : STLORA_F32;
    t->ld_from = from_y ? a->y.ld : ld_partials;
    t->y = to_y ? y : partial;
    t->y_dtype = to_y ? a->y.dtype : STLORA_F32;
    t->ldy = to_y ? a->y.ld : ld_partials;
}

static void product_pack_bias(float *to, const stlora_product_args *a, const product_columns *c)
{
    for (int64_t i = 0; i < vectors_of(c->cols) * VL; i++)
        to[i] = i < c->cols ? (float)stlora_load(a->bias, a->bias_dtype, c->o + i) : 0.0f;
}

/* What a block of the reduction does to a panel's columns beside the weights: extra (product_extra, columns) <- scale u; bias. */
static void product_pack_rest(const stlora_product_args *a, const reduction *r, const product_columns *c, float *extra,
                              float *bias)
{
    const int64_t steps = product_extra(a, r);
    if (steps)
        pack_strided(extra, a->u + r->q0 * a->u_rank_stride + c->o * a->u_out_stride, a->u_rank_stride, a->u_out_stride,
                     (float)a->scale, steps, c->cols);
    if (a->bias && r->last) product_pack_bias(bias, a, c);
}

/* Where the weights of a block and of columns from c on begin. */
static const void *product_weights_at(const stlora_product_args *a, const reduction *r, const product_columns *c)
{
    return at_element(a->w, a->w_dtype, a->w_layout == STLORA_OUT_IN ? c->o * a->ldw + r->k0 : r->k0 * a->ldw + c->o);
}

/* The weights of a block and of columns, as many as c says. */
static lookahead product_lookahead_of(const product_plan *p, const product_columns *c, const reduction *r)
{
    const stlora_product_args *a = product_map(p, c, r);
    const bool out_in = a->w_layout == STLORA_OUT_IN;
    const int64_t size = a->w_dtype == STLORA_F32 ? 4 : 2, stride = a->ldw * size;
    const int64_t row = (out_in ? r->steps : c->cols) * size, rows = out_in ? c->cols : r->steps;
    if (r->steps == 0) return (lookahead){0};
    const void *w = product_weights_at(a, r, c);
    return (lookahead){w, 0, row, stride, rows, 0};
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

#endif
