/* attention_grad_template.h: the gradient of attention_template.h's attention, in one sweep.
 *
 *   p[i,j] = exp(scale q_i.k_j - lse_i)      ds[i,j] = scale p[i,j] (dout_i.v_j - delta_i)      delta_i = dout_i.o_i
 *   dq_i = sum_j ds[i,j] k_j                 dk_j = sum_i ds[i,j] q_i                           dv_j = sum_i p[i,j] dout_i
 *
 * A task is one query head of one segment, or one of two parts of it (attention_grad_parts.h). It packs its queries (a chunk of them at a
 * time, where there are many), walks the keys in blocks and, for a block of keys, the blocks of queries that see it; keys are the rows of the small products and queries
 * their columns, so that ds is at once the rows that dk needs and the panel that the transposed dq needs. Blocks of queries and keys
 * lie the same whoever asks. dq is summed over blocks of keys ascending, dk and dv of one query head over blocks of queries
 * ascending, in the caller's `work`; a second sweep adds the query heads of a kv head, ascending.
 *
 * What is masked has p = ds = 0, but is multiplied: a NaN may reach every gradient of its segment.
 * Test: tests/backend/test_cpu_attention.c, test_promises.c.
 */
#ifndef STLORA_BACKEND_CPU_ATTENTION_GRAD_TEMPLATE_H
#define STLORA_BACKEND_CPU_ATTENTION_GRAD_TEMPLATE_H

#include "backend/cpu/attention_grad_narrow_template.h"
#include "backend/cpu/attention_grad_parts.h"

typedef struct attention_grad_plan {
    const stlora_backend *table;
    const stlora_attention_grad_args *args;
    grad_parts *parts; /* NULL for a level that has its own way of sharing out */
    bool pairs, narrow;
    int64_t chunk;  /* queries packed at a time: a multiple of BLOCK */
    int64_t ldq;    /* row stride of dq: queries of the call */
    float *dq;      /* (H, dim, ldq); of narrow heads (H, ldq, dim) */
    float *dk, *dv; /* (H, keys of the call, dim) */
    int64_t keys;   /* of the call */
} attention_grad_plan;

/* One thread's block of scratch: of a chunk's queries, in blocks of BLOCK; of a block of keys; of a block of both. */
typedef struct grad_scratch {
    char *qt, *dt, *q, *d; /* panels of q and dout: (dim, queries of the block) twice, (queries, dim) twice */
    float *lse, *delta;    /* (chunk): lse / ln 2, delta times scale */
    int64_t tall, wide;    /* bytes from block to block of the first two, of the last two */
    void *kt;              /* (dim, BLOCK) elements */
    float *k, *v;          /* (BLOCK, dim), where they came as bf16 and are multiplied as floats */
    void *ds, *ds_panel;   /* (BLOCK keys, BLOCK queries) elements; the same as panels */
    void *p;               /* (BLOCK keys, BLOCK queries) elements */
    float *s, *dp;         /* (BLOCK, BLOCK), (TILE_MR, BLOCK) */
} grad_scratch;

/* Bytes of the block at base, behind those in use; NULL where base is. */
static char *grad_scratch_take(char *base, int64_t *used, int64_t bytes)
{
    char *block = base ? base + *used : NULL;
    *used += (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    return block;
}

/* Lays the scratch out, or with base NULL only counts; its bytes. */
static int64_t grad_scratch_lay_out(grad_scratch *w, char *base, bool pairs, int64_t dim, int64_t chunk)
{
    const int64_t blocks = chunk / BLOCK, square = BLOCK * BLOCK * (int64_t)sizeof(float);
    const int64_t rows = BLOCK * dim * (int64_t)sizeof(float), tile_rows = TILE_MR * BLOCK * (int64_t)sizeof(float);
    int64_t used = 0;
    w->tall = panel_bytes(pairs, dim, BLOCK);
    w->wide = panel_bytes(pairs, BLOCK, dim);
    w->qt = grad_scratch_take(base, &used, blocks * w->tall);
    w->dt = grad_scratch_take(base, &used, blocks * w->tall);
    w->q = grad_scratch_take(base, &used, blocks * w->wide);
    w->d = grad_scratch_take(base, &used, blocks * w->wide);
    w->lse = (float *)(void *)grad_scratch_take(base, &used, chunk * (int64_t)sizeof(float));
    w->delta = (float *)(void *)grad_scratch_take(base, &used, chunk * (int64_t)sizeof(float));
    w->kt = grad_scratch_take(base, &used, rows);
    w->k = (float *)(void *)grad_scratch_take(base, &used, rows);
    w->v = (float *)(void *)grad_scratch_take(base, &used, rows);
    w->ds = grad_scratch_take(base, &used, square);
    w->ds_panel = grad_scratch_take(base, &used, square);
    w->p = grad_scratch_take(base, &used, square);
    w->s = (float *)(void *)grad_scratch_take(base, &used, square);
    w->dp = (float *)(void *)grad_scratch_take(base, &used, tile_rows);
    return used;
}

/* delta of one row: lanes of VL, then their tree. */
static float dot_rows(stlora_cmat a, stlora_cmat b, int64_t row, int64_t column, int64_t dim)
{
    vf sum = vf_zero();
    int64_t d = 0;
    for (; d + VL <= dim; d += VL)
        sum = vf_fma(load_as(a.data, a.dtype, row * a.ld + column + d),
                     load_as(b.data, b.dtype, row * b.ld + column + d), sum);
    if (d < dim)
        sum = vf_fma(load_as_n(a.data, a.dtype, row * a.ld + column + d, (int)(dim - d)),
                     load_as_n(b.data, b.dtype, row * b.ld + column + d, (int)(dim - d)), sum);
    return vf_sum(sum);
}

/* Queries [begin, begin + count) of a segment's head, packed; those that fill up the last block have p = ds = 0. */
static void grad_pack_queries(const attention_grad_plan *plan, const grad_scratch *w, const stlora_segment *segment,
                              int64_t head, int64_t begin, int64_t count)
{
    const stlora_attention_grad_args *a = plan->args;
    const int64_t dim = a->head_dim;
    for (int64_t i = 0; i < count; i += BLOCK) {
        const int64_t n = least(BLOCK, count - i), row = segment->q0 + begin + i, block = i / BLOCK;
        pack_columns_set(plan->pairs, w->qt + block * w->tall, a->q, row, head * dim, dim, n);
        pack_columns_set(plan->pairs, w->dt + block * w->tall, a->dout, row, head * dim, dim, n);
        pack_rows_set(plan->pairs, w->q + block * w->wide, a->q, row, head * dim, n, dim);
        pack_rows_set(plan->pairs, w->d + block * w->wide, a->dout, row, head * dim, n, dim);
        for (int64_t t = 0; t < BLOCK; t++) {
            const int64_t at = (row + t) * a->heads + head;
            w->lse[i + t] = t < n ? (float)((double)a->lse[at] * LOG2_E) : INFINITY;
            w->delta[i + t] = t < n ? (float)a->scale * a->delta[at] : 0.0f;
        }
    }
}

/* One key against n queries, of which it is seen by [begin, end): s, dp -> p, ds. */
static void key_row_grad(bool pairs, const float *s, const float *dp, const float *lse, const float *delta, float scale,
                         const soft_cap *cap, int64_t begin, int64_t end, int64_t n, void *p, void *ds)
{
    const bool all = begin <= 0 && end >= n;
    const vf log_scale = vf_set1((float)((double)scale * LOG2_E));
    const vf from = vf_set1((float)begin - 0.5f), to = vf_set1((float)end - 0.5f);
    for (int64_t i = 0; i < n; i += VL) {
        vf e = vf_exp2(vf_fma(vf_load(s + i), log_scale, vf_sub(vf_zero(), vf_load(lse + i))));
        vf d = vf_mul(e, vf_fma(vf_load(dp + i), vf_set1(scale), vf_sub(vf_zero(), vf_load(delta + i))));
        if (cap->on) d = cap_bend(cap, vf_load(s + i), d);
        if (!all) {
            const vf lane = vf_load(lane_numbers + i);
            e = vf_select(vf_lt(from, lane), vf_select(vf_lt(lane, to), e, vf_zero()), vf_zero());
            d = vf_select(vf_lt(from, lane), vf_select(vf_lt(lane, to), d, vf_zero()), vf_zero());
        }
        store_element(pairs, p, i, e);
        store_element(pairs, ds, i, d);
    }
}

/* to (keys, dim) += weights (keys, queries) of panels; `blind` queries come before the first key: zeros at the front are left out. */
static void grad_keys(bool pairs, const void *weights, const void *panels, int64_t keys, int64_t queries, int64_t dim,
                      int64_t blind, float *to)
{
    for (int64_t r = 0; r < keys; r += TILE_MR) {
        const int64_t begin = blind + r > 0 ? (blind + r) / VL * VL : 0;
        multiply(pairs, (int)least(TILE_MR, keys - r), at_element(weights, element_of(pairs), r * BLOCK), BLOCK, panels,
                 queries, begin, queries, dim, true, to + r * dim, dim);
    }
}

/* The gradients that a block of keys and a block of queries give each other. k, v: rows of elements; j, i: first key and query within
 * the segment; block: the queries' within the chunk. */
static void grad_block(const attention_grad_plan *plan, const grad_scratch *w, const stlora_segment *segment,
                       int64_t head, const void *k, int64_t ldk, const void *v, int64_t ldv, int64_t j, int64_t keys,
                       int64_t i, int64_t queries, int64_t block)
{
    const stlora_attention_grad_args *a = plan->args;
    const bool pairs = plan->pairs;
    const stlora_dtype element = element_of(pairs);
    const int64_t dim = a->head_dim, hidden = segment->k_count - segment->q_count;
    const int64_t window = a->window > 0 ? a->window : segment->k_count;
    const soft_cap cap = soft_cap_of(a->scale, a->softcap);
    const void *qt = w->qt + block * w->tall, *dt = w->dt + block * w->tall;
    const void *q = w->q + block * w->wide, *dout = w->d + block * w->wide;
    /* one panel at a time over all keys: a panel stays in the first-level cache, the four of them do not */
    for (int64_t r = 0; r < keys; r += TILE_MR) {
        const int mr = (int)least(TILE_MR, keys - r);
        multiply(pairs, mr, at_element(k, element, r * ldk), ldk, qt, dim, 0, dim, queries, false, w->s + r * BLOCK,
                 BLOCK);
    }
    for (int64_t r = 0; r < keys; r += TILE_MR) {
        const int mr = (int)least(TILE_MR, keys - r);
        multiply(pairs, mr, at_element(v, element, r * ldv), ldv, dt, dim, 0, dim, queries, false, w->dp, BLOCK);
        for (int m = 0; m < mr; m++) {
            const int64_t first = j + r + m - hidden - i; /* query that has this key as its own */
            if (cap.on) cap_scores(&cap, w->s + (r + m) * BLOCK, queries);
            key_row_grad(pairs, w->s + (r + m) * BLOCK, w->dp + m * BLOCK, w->lse + block * BLOCK,
                         w->delta + block * BLOCK, (float)a->scale, &cap, first, first + window, queries,
                         at_element_mut(w->p, element, (r + m) * BLOCK),
                         at_element_mut(w->ds, element, (r + m) * BLOCK));
        }
    }
    float *dk = plan->dk + ((head * plan->keys) + segment->k0 + j) * dim;
    float *dv = plan->dv + ((head * plan->keys) + segment->k0 + j) * dim;
    grad_keys(pairs, w->p, dout, keys, queries, dim, j - hidden - i, dv);
    grad_keys(pairs, w->ds, q, keys, queries, dim, j - hidden - i, dk);
    const stlora_cmat ds = {w->ds, element, keys, queries, BLOCK};
    pack_rows_set(pairs, w->ds_panel, ds, 0, 0, keys, queries);
    float *dq = plan->dq + head * dim * plan->ldq + segment->q0 + i;
    for (int64_t d = 0; d < dim; d += TILE_MR)
        multiply(pairs, (int)least(TILE_MR, dim - d), at_element(w->kt, element, d * BLOCK), BLOCK, w->ds_panel, keys,
                 0, keys, queries, true, dq + d * plan->ldq, plan->ldq);
}

/* A part's dq; its share of dk and dv, which the first part of a head sets to zero. */
static void grad_tiles(const attention_grad_plan *plan, const grad_part *part, int thread)
{
    const stlora_attention_grad_args *a = plan->args;
    const stlora_segment *segment = part->segment;
    const int64_t dim = a->head_dim, head = part->head, kv = head / (a->heads / a->kv_heads);
    const int64_t hidden = segment->k_count - segment->q_count;
    const stlora_dtype element = element_of(plan->pairs);
    const size_t row = (size_t)dim * sizeof(float);
    grad_scratch w;
    (void)grad_scratch_lay_out(&w, stlora_cpu_block(plan->table, thread), plan->pairs, dim, plan->chunk);
    if (!part->before) {
        memset(plan->dk + (head * plan->keys + segment->k0) * dim, 0, (size_t)segment->k_count * row);
        memset(plan->dv + (head * plan->keys + segment->k0) * dim, 0, (size_t)segment->k_count * row);
    }
    for (int64_t begin = part->begin; begin < part->end; begin += plan->chunk) {
        const int64_t count = least(plan->chunk, part->end - begin);
        grad_pack_queries(plan, &w, segment, head, begin, count);
        const int64_t first = first_key(segment, a->window, begin) / BLOCK * BLOCK;
        for (int64_t j = first; j < end_key(segment, begin + count - 1); j += BLOCK) {
            const int64_t keys = least(BLOCK, segment->k_count - j), k0 = segment->k0 + j;
            int64_t ldk, ldv;
            const void *k = head_rows(plan->pairs, w.k, a->k, k0, kv * dim, keys, dim, &ldk);
            const void *v = head_rows(plan->pairs, w.v, a->v, k0, kv * dim, keys, dim, &ldv);
            transpose_into(w.kt, element, BLOCK, k, element, ldk, keys, dim);
            grad_part_wait(part, j + keys);
            int64_t i = j - hidden > begin ? (j - hidden - begin) / BLOCK * BLOCK : 0; /* first block that sees any */
            for (; i < count; i += BLOCK) {
                const int64_t queries = least(BLOCK, count - i);
                if (first_key(segment, a->window, begin + i) >= j + keys) break;
                grad_block(plan, &w, segment, head, k, ldk, v, ldv, j, keys, begin + i, queries, i / BLOCK);
            }
            if (begin + count == part->end) grad_part_leave(part, j + keys);
        }
    }
    grad_part_leave_all(part);
}

static void head_work(const void *context, int64_t task, int thread)
{
    const attention_grad_plan *plan = context;
    const stlora_attention_grad_args *a = plan->args;
    const grad_part part = grad_parts_claim(plan->parts, task);
    const stlora_segment *segment = part.segment;
    const int64_t dim = a->head_dim, head = part.head, keys0 = (head * plan->keys + segment->k0) * dim;
    if (plan->narrow) {
        float *rows = plan->dq + (head * plan->ldq + segment->q0) * dim;
        grad_narrow(plan->table, a, segment, head, rows, plan->dk + keys0, plan->dv + keys0, thread);
        return;
    }
    const int64_t row0 = segment->q0 + part.begin, queries = part.end - part.begin;
    float *dq = plan->dq + head * dim * plan->ldq + row0;
    for (int64_t d = 0; d < dim; d++)
        memset(dq + d * plan->ldq, 0, (size_t)queries * sizeof(float));
    for (int64_t t = row0; t < row0 + queries; t++)
        a->delta[t * a->heads + head] = dot_rows(a->dout, a->o, t, head * dim, dim);
    grad_tiles(plan, &part, thread);
    transpose_into(at_element_mut(a->dq.data, a->dq.dtype, row0 * a->dq.ld + head * dim), a->dq.dtype, a->dq.ld, dq,
                   STLORA_F32, plan->ldq, dim, queries);
}

enum { KEYS_OF_A_SUM = 128 };

/* One block of a segment's keys: dk and dv of a kv head are the sums over its query heads. */
static void sum_heads(const attention_grad_plan *plan, const float *from, stlora_mat to, int64_t kv, int64_t row0,
                      int64_t rows)
{
    const stlora_attention_grad_args *a = plan->args;
    const int64_t dim = a->head_dim, group = a->heads / a->kv_heads, head = plan->keys * dim;
    for (int64_t t = row0; t < row0 + rows; t++) {
        const float *first = from + kv * group * head + t * dim;
        for (int64_t d = 0; d < dim; d += VL) {
            const int n = (int)least(VL, dim - d);
            vf sum = vf_load_n(first + d, n);
            for (int64_t h = 1; h < group; h++)
                sum = vf_add(sum, vf_load_n(first + h * head + d, n));
            store_as_n(to.data, to.dtype, t * to.ld + kv * dim + d, sum, n);
        }
    }
}

static void sum_work(const void *context, int64_t task, int thread)
{
    const attention_grad_plan *plan = context;
    const stlora_attention_grad_args *a = plan->args;
    (void)thread;
    for (const stlora_segment *s = a->segments;; s++) {
        const int64_t blocks = (s->k_count + KEYS_OF_A_SUM - 1) / KEYS_OF_A_SUM;
        if (task >= blocks * a->kv_heads) {
            task -= blocks * a->kv_heads;
            continue;
        }
        const int64_t begin = task / a->kv_heads * KEYS_OF_A_SUM, rows = least(KEYS_OF_A_SUM, s->k_count - begin);
        sum_heads(plan, plan->dk, a->dk, task % a->kv_heads, s->k0 + begin, rows);
        sum_heads(plan, plan->dv, a->dv, task % a->kv_heads, s->k0 + begin, rows);
        return;
    }
}

/* dk and dv of all kv heads from those of the query heads. */
static void sum_all_heads(const attention_grad_plan *plan)
{
    const stlora_attention_grad_args *a = plan->args;
    int64_t tasks = 0;
    for (int64_t s = 0; s < a->segment_count; s++)
        tasks += (a->segments[s].k_count + KEYS_OF_A_SUM - 1) / KEYS_OF_A_SUM * a->kv_heads;
    const double nanoseconds = 2.0 * (double)(plan->keys * a->heads * a->head_dim);
    stlora_team_run(plan->table->team, tasks, nanoseconds, sum_work, plan);
}

static void cpu_attention_grad(const stlora_backend *table, const stlora_attention_grad_args *a)
{
    const int64_t dim = a->head_dim;
    assert(a->heads % a->kv_heads == 0 && dim <= MAX_HEAD_DIM && a->work);
    assert(is_act(a->q.dtype) && is_act(a->k.dtype) && is_act(a->v.dtype) && is_act(a->o.dtype));
    assert(is_act(a->dq.dtype) && is_act(a->dk.dtype) && is_act(a->dv.dtype) && is_act(a->dout.dtype));
    attention_grad_plan p = {.table = table, .args = a, .ldq = a->q.rows, .keys = a->k.rows};
    p.pairs = pairs_of(a->q.dtype, a->k.dtype, a->v.dtype) && a->dout.dtype == STLORA_BF16;
    p.narrow = !p.pairs && dim <= NARROW_DIM;
    p.dq = a->work;
    p.dk = p.dq + a->heads * dim * p.ldq;
    p.dv = p.dk + a->heads * dim * p.keys;
    int64_t longest = 1;
    for (int64_t s = 0; s < a->segment_count; s++) {
        if (a->segments[s].q_count > longest) longest = a->segments[s].q_count;
    }
    grad_scratch w;
    p.chunk = (longest + BLOCK - 1) / BLOCK * BLOCK;
    while (p.chunk > BLOCK && grad_scratch_lay_out(&w, NULL, p.pairs, dim, p.chunk) > (int64_t)STLORA_CPU_BLOCK_BYTES)
        p.chunk -= BLOCK;
    assert(grad_scratch_lay_out(&w, NULL, p.pairs, dim, p.chunk) <= (int64_t)STLORA_CPU_BLOCK_BYTES);
    grad_parts parts;
    grad_parts_begin(&parts, a, p.narrow ? 1 : stlora_team_threads(table->team));
    p.parts = &parts;
    const double pairs = attention_pairs(a->segments, a->segment_count, a->window) * (double)a->heads;
    stlora_team_run(table->team, grad_parts_count(&parts), pairs * (0.15 * (double)dim + 1), head_work, &p);
    sum_all_heads(&p);
}

#endif
