/* attention_grad_amx.h: the gradient of attention_amx.h's attention on the tile registers, in one sweep (formulas: attention_grad_template.h).
 *
 * A task is one query head of one segment. It packs its queries (a chunk of them at a time, where there are many) and walks the keys in blocks
 * of 64; for a block of keys, the blocks of 64 queries that see it. Scores and their gradients are computed with keys as rows and queries as
 * columns: so p and ds come out as the rows that dv and dk are sums over, and ds, two rows at a time, also as the panel of
 * the transposed dq. Unpacking pairs of rows mixes the order of 32 numbers (amx_mixed): so queries of dq's block and elements of dk's and dv's
 * rows lie until they are stored.
 *
 * Blocks lie the same whoever asks. dq is summed over blocks of keys ascending; dk and dv of one query head over queries ascending, then in
 * attention_grad_template.h's second sweep over the query heads of a kv head. What is masked has p = ds = 0.
 * Test: tests/backend/test_cpu_attention.c, test_promises.c.
 */
#ifndef STLORA_BACKEND_CPU_ATTENTION_GRAD_AMX_H
#define STLORA_BACKEND_CPU_ATTENTION_GRAD_AMX_H

#include "backend/cpu/attention_amx.h"

/* Most bytes of a thread's work, where a block of queries leaves the choice: the second cache holds them. */
enum { AMX_GRAD_BYTES = 900 * 1024 };

typedef struct amx_grad {
    const attention_grad_plan *plan;
    const stlora_segment *segment;
    soft_cap cap;
    int64_t steps, numbers; /* of a head; of 64 rows of a head */
    /* blocks of 64 queries: (halves) panels (dim, 32 queries); (steps) panels (64 queries, 32 elements) mixed */
    uint16_t *qt, *dt, *q, *d;
    float *dq;            /* blocks of 64 queries: (halves, steps) blocks of (32 elements, 32 queries mixed) */
    float *lse, *delta;   /* (queries): lse / ln 2, delta times scale */
    uint16_t *k, *v, *kt; /* a block of keys: tiles, tiles, transposed */
    float *dk, *dv;       /* a block of keys: (halves, steps) blocks of (32 keys, 32 elements mixed) */
    float *s, *dp;        /* (halves of keys) blocks of (32 keys, 32 queries) */
    uint16_t *p, *ds;     /* (halves of keys, halves of queries) pairs of tiles */
    uint16_t *dst;        /* (halves of queries) panels (64 keys, 32 queries mixed) */
} amx_grad;

/* Lays the scratch out, or with base NULL only counts; its bytes. */
static int64_t amx_grad_lay_out(amx_grad *w, char *base, int64_t dim, int64_t chunk)
{
    int64_t used = 0;
    uint16_t **const halfs[] = {&w->qt, &w->dt, &w->q, &w->d, &w->k, &w->v, &w->kt, &w->p, &w->ds, &w->dst};
    float **const floats[] = {&w->dq, &w->lse, &w->delta, &w->dk, &w->dv, &w->s, &w->dp};
    const int64_t queries = chunk * dim, keys = BLOCK * dim, square = BLOCK * BLOCK;
    const int64_t half_counts[] = {queries, queries, queries, queries, keys, keys, keys, square, square, square};
    const int64_t float_counts[] = {queries, chunk, chunk, keys, keys, square / 2, square / 2};
    for (size_t i = 0; i < sizeof halfs / sizeof *halfs; i++)
        *halfs[i] = (uint16_t *)(void *)grad_scratch_take(base, &used, half_counts[i] * 2);
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        *floats[i] = (float *)(void *)grad_scratch_take(base, &used, float_counts[i] * 4);
    return used;
}

/* 64 rows of a head as rows of panels (64 rows, 32 elements), mixed. */
static void amx_pack_mixed(uint16_t *to, const uint16_t *m, int64_t ld, int64_t rows, int64_t dim)
{
    const __m512i none = _mm512_setzero_si512();
    for (int64_t d = 0; d < dim; d += AMX_STEP) {
        for (int64_t step = 0; step < BLOCK; step += AMX_STEP, to += 2 * AMX_TILE) {
            for (int64_t i = 0; i < AMX_SIDE; i++) {
                const int64_t row = step + 2 * i;
                const __m512i even = row < rows ? _mm512_loadu_si512(m + row * ld + d) : none;
                const __m512i odd = row + 1 < rows ? _mm512_loadu_si512(m + (row + 1) * ld + d) : none;
                _mm512_store_si512(to + i * AMX_STEP, _mm512_unpacklo_epi16(even, odd));
                _mm512_store_si512(to + AMX_TILE + i * AMX_STEP, _mm512_unpackhi_epi16(even, odd));
            }
        }
    }
}

/* Queries [begin, begin + count) of a segment's head, packed; those that fill up the last block have p = ds = 0. */
static void amx_grad_pack_queries(const amx_grad *w, int64_t head, int64_t begin, int64_t count)
{
    const stlora_attention_grad_args *a = w->plan->args;
    const int64_t dim = a->head_dim;
    for (int64_t i = 0; i < count; i += BLOCK) {
        const int64_t n = least(BLOCK, count - i), row = w->segment->q0 + begin + i, at = i * dim;
        const uint16_t *q = (const uint16_t *)a->q.data + row * a->q.ld + head * dim;
        const uint16_t *dout = (const uint16_t *)a->dout.data + row * a->dout.ld + head * dim;
        for (int64_t half = 0; half < BLOCK; half += AMX_ROWS) {
            amx_pack_row_columns(w->qt + at + half * dim, q + half * a->q.ld, a->q.ld, n - half, dim);
            amx_pack_row_columns(w->dt + at + half * dim, dout + half * a->dout.ld, a->dout.ld, n - half, dim);
        }
        amx_pack_mixed(w->q + at, q, a->q.ld, n, dim);
        amx_pack_mixed(w->d + at, dout, a->dout.ld, n, dim);
        for (int64_t t = 0; t < BLOCK; t++) {
            const int64_t token = (row + t) * a->heads + head;
            w->lse[i + t] = t < n ? (float)((double)a->lse[token] * LOG2_E) : INFINITY;
            w->delta[i + t] = t < n ? (float)a->scale * a->delta[token] : 0.0f;
        }
    }
    memset(w->dq, 0, (size_t)((count + BLOCK - 1) / BLOCK * BLOCK * dim) * sizeof(float));
}

/* A block of 32 keys and a block of 32 queries: which of these see the keys. */
typedef struct amx_sight {
    bool any, all;
    int64_t first, window; /* query of the block that has its first key as its own; how many queries see a key */
    int64_t keys;          /* that exist */
} amx_sight;

/* Which of sixteen queries from i on see key j of the block. */
static inline __mmask16 amx_sees(const amx_sight *s, int64_t j, int64_t i)
{
    const int64_t from = s->first + j - i, to = from + s->window;
    const int low = from < 0 ? 0 : (int)least(from, VL), high = to < 0 ? 0 : (int)least(to, VL);
    const unsigned seen = ((1u << high) - 1u) & ~((1u << low) - 1u);
    return (__mmask16)(j < s->keys ? seen : 0u);
}

/* (keys, queries) blocks of s and dp become rows of p and ds and columns of the panel dst. lse, delta (32) */
static inline void amx_key_rows_grad(const amx_grad *w, const amx_sight *sight, float *s, const float *dp,
                                     const float *lse, const float *delta, uint16_t *p, uint16_t *ds, uint16_t *dst)
{
    const float scale = (float)w->plan->args->scale;
    const vf log_scale = vf_set1((float)((double)scale * LOG2_E)), by = vf_set1(scale);
    const vf origin[2] = {vf_load(lse), vf_load(lse + VL)}, mean[2] = {vf_load(delta), vf_load(delta + VL)};
    if (w->cap.on) cap_scores(&w->cap, s, AMX_BLOCK);
    for (int64_t j = 0; j < AMX_ROWS; j += 2) {
        __m512i rows[2];
        UNROLL for (int i = 0; i < 2; i++)
        {
            vf e[2], g[2];
            UNROLL for (int c = 0; c < 2; c++)
            {
                const int64_t at = (j / AMX_SIDE * 2 + c) * AMX_SUMS + (j % AMX_SIDE + i) * AMX_SIDE;
                const vf score = vf_load(s + at);
                e[c] = amx_exp2(_mm512_fmsub_ps(score, log_scale, origin[c]));
                g[c] = vf_mul(e[c], _mm512_fmsub_ps(vf_load(dp + at), by, mean[c]));
                if (w->cap.on) g[c] = cap_bend(&w->cap, score, g[c]);
                if (!sight->all) {
                    const __mmask16 seen = amx_sees(sight, j + i, c * VL);
                    e[c] = vf_select(seen, e[c], vf_zero());
                    g[c] = vf_select(seen, g[c], vf_zero());
                }
            }
            _mm512_store_si512(p + (j + i) * AMX_STEP, (__m512i)_mm512_cvtne2ps_pbh(e[1], e[0]));
            rows[i] = (__m512i)_mm512_cvtne2ps_pbh(g[1], g[0]);
            _mm512_store_si512(ds + (j + i) * AMX_STEP, rows[i]);
        }
        _mm512_store_si512(dst + j / 2 * AMX_STEP, _mm512_unpacklo_epi16(rows[0], rows[1]));
        _mm512_store_si512(dst + AMX_TILE + j / 2 * AMX_STEP, _mm512_unpackhi_epi16(rows[0], rows[1]));
    }
}

/* to = a b: rows of a head by columns of a head */
static inline void amx_head_product(const amx_grad *w, const uint16_t *rows, const uint16_t *panel, float *to)
{
    amx_rows a = amx_tiles_of(rows);
    amx_load(2, (amx_sums){0});
    for (int64_t i = 0; i < w->steps; i++, a.at += a.next)
        amx_step(2, &a, panel + i * 2 * AMX_TILE);
    amx_store(2, amx_block(to));
}

/* to += a b over two steps, of which only the live ones are anything but zeros */
static inline void amx_add_product(const uint16_t *rows, const uint16_t *panel, const bool live[2], float *to)
{
    const amx_rows a[2] = {amx_tiles_of(rows), amx_tiles_of(rows + 2 * AMX_TILE)};
    amx_load(2, amx_block(to));
    if (live[0]) amx_step(2, &a[0], panel);
    if (live[1]) amx_step(2, &a[1], panel + 2 * AMX_TILE);
    amx_store(2, amx_block(to));
}

/* The gradients that a block of keys and a block of queries give each other. j, i: first key and query within the segment; block: the queries'
 * within the chunk. */
static void amx_grad_block(const amx_grad *w, int64_t j, int64_t keys, int64_t i, int64_t queries, int64_t block)
{
    const stlora_attention_grad_args *a = w->plan->args;
    const int64_t hidden = w->segment->k_count - w->segment->q_count, half = w->numbers / 2;
    const int64_t window = a->window > 0 ? a->window : w->segment->k_count;
    const uint16_t *qt = w->qt + block * w->numbers, *dt = w->dt + block * w->numbers;
    const uint16_t *q = w->q + block * w->numbers, *dout = w->d + block * w->numbers;
    float *dq = w->dq + block * w->numbers;
    bool live[2][2]; /* keys, queries */
    for (int g = 0; g < 2; g++) {
        for (int h = 0; h < 2; h++) {
            amx_sight sight = {.window = window, .keys = keys - h * AMX_ROWS};
            sight.first = j + h * AMX_ROWS - hidden - i - g * AMX_ROWS;
            sight.any = sight.keys > 0 && queries > g * AMX_ROWS && sight.first < AMX_ROWS &&
                        sight.first + AMX_ROWS - 1 + window > 0;
            sight.all = sight.keys >= AMX_ROWS && sight.first + AMX_ROWS - 1 <= 0 && sight.first + window >= AMX_ROWS;
            live[h][g] = sight.any;
            if (!sight.any) continue;
            amx_head_product(w, w->k + h * half, qt + g * half, w->s + h * AMX_BLOCK);
            amx_head_product(w, w->v + h * half, dt + g * half, w->dp + h * AMX_BLOCK);
            const int64_t at = (h * 2 + g) * 2 * AMX_TILE;
            amx_key_rows_grad(w, &sight, w->s + h * AMX_BLOCK, w->dp + h * AMX_BLOCK,
                              w->lse + block * BLOCK + g * AMX_ROWS, w->delta + block * BLOCK + g * AMX_ROWS, w->p + at,
                              w->ds + at, w->dst + (g * 2 + h) * 2 * AMX_TILE);
        }
    }
    for (int h = 0; h < 2; h++) {
        for (int64_t d = 0; d < w->steps; d++)
            amx_add_product(w->p + h * 4 * AMX_TILE, dout + d * 4 * AMX_TILE, live[h],
                            w->dv + (h * w->steps + d) * AMX_BLOCK);
        for (int64_t d = 0; d < w->steps; d++)
            amx_add_product(w->ds + h * 4 * AMX_TILE, q + d * 4 * AMX_TILE, live[h],
                            w->dk + (h * w->steps + d) * AMX_BLOCK);
    }
    for (int g = 0; g < 2; g++) {
        const bool of_keys[2] = {live[0][g], live[1][g]};
        for (int64_t d = 0; d < w->steps; d++)
            amx_add_product(w->kt + d * 4 * AMX_TILE, w->dst + g * 4 * AMX_TILE, of_keys,
                            dq + (g * w->steps + d) * AMX_BLOCK);
    }
}

/* Rows of a block of keys' sums, mixed, become or were floats in order. */
static void amx_keys_move(const amx_grad *w, float *block, float *rows, int64_t keys, bool out)
{
    const int64_t dim = w->plan->args->head_dim;
    const __m512i to_order[2] = {_mm512_set_epi32(23, 22, 21, 20, 7, 6, 5, 4, 19, 18, 17, 16, 3, 2, 1, 0),
                                 _mm512_set_epi32(31, 30, 29, 28, 15, 14, 13, 12, 27, 26, 25, 24, 11, 10, 9, 8)};
    const __m512i to_mixed[2] = {_mm512_set_epi32(27, 26, 25, 24, 19, 18, 17, 16, 11, 10, 9, 8, 3, 2, 1, 0),
                                 _mm512_set_epi32(31, 30, 29, 28, 23, 22, 21, 20, 15, 14, 13, 12, 7, 6, 5, 4)};
    for (int64_t i = 0; i < keys; i++) {
        for (int64_t d = 0; d < w->steps; d++) {
            float *at = block + (i / AMX_ROWS * w->steps + d) * AMX_BLOCK, *row = rows + i * dim + d * AMX_STEP;
            float *low = amx_key_row(at, i % AMX_ROWS, 0), *high = amx_key_row(at, i % AMX_ROWS, 1);
            if (out) {
                const vf x = vf_load(low), y = vf_load(high);
                vf_store(row, _mm512_permutex2var_ps(x, to_order[0], y));
                vf_store(row + VL, _mm512_permutex2var_ps(x, to_order[1], y));
            } else {
                const vf x = vf_load(row), y = vf_load(row + VL);
                vf_store(low, _mm512_permutex2var_ps(x, to_mixed[0], y));
                vf_store(high, _mm512_permutex2var_ps(x, to_mixed[1], y));
            }
        }
    }
}

/* What a block of keys' sums begin with: zeros where the chunk's queries are the first that see it. */
static void amx_keys_begin(const amx_grad *w, float *block, float *rows, int64_t keys, bool first)
{
    if (first)
        memset(block, 0, (size_t)w->numbers * sizeof(float));
    else
        amx_keys_move(w, block, rows, keys, false);
}

static void amx_queries_store(const amx_grad *w, int64_t head, int64_t begin, int64_t count)
{
    const stlora_attention_grad_args *a = w->plan->args;
    const int64_t dim = a->head_dim;
    uint16_t *to = (uint16_t *)a->dq.data + (w->segment->q0 + begin) * a->dq.ld + head * dim;
    for (int64_t i = 0; i < count; i += AMX_ROWS) {
        float *block = w->dq + i * dim;
        for (int c = 0; c < 2; c++) {
            for (int64_t d = 0; d < dim; d += VL) {
                vf v[VL];
                UNROLL for (int n = 0; n < VL; n++) v[n] = vf_load(amx_key_row(block, d + n, c));
                vf_transpose(v);
                UNROLL for (int n = 0; n < VL; n++)
                {
                    const int64_t query = i + amx_mixed(n) + 4 * c;
                    if (query < count) vf_store_bf16(to + query * a->dq.ld + d, v[n]);
                }
            }
        }
    }
}

/* A segment's head: dq; dk and dv of this head alone, in the plan's. */
static void amx_grad_head(const attention_grad_plan *plan, const stlora_segment *segment, int64_t head, int thread)
{
    const stlora_attention_grad_args *a = plan->args;
    const int64_t dim = a->head_dim, kv = head / (a->heads / a->kv_heads), hidden = segment->k_count - segment->q_count;
    float *dk = plan->dk + (head * plan->keys + segment->k0) * dim,
          *dv = plan->dv + (head * plan->keys + segment->k0) * dim;
    amx_grad w = {.plan = plan,
                  .segment = segment,
                  .cap = soft_cap_of(a->scale, a->softcap),
                  .steps = dim / AMX_STEP,
                  .numbers = BLOCK * dim};
    (void)amx_grad_lay_out(&w, stlora_cpu_block(plan->table, thread), dim, plan->chunk);
    const int64_t unseen = segment->q_count > 0 ? first_key(segment, a->window, 0) : segment->k_count;
    memset(dk, 0, (size_t)(unseen * dim) * sizeof(float));
    memset(dv, 0, (size_t)(unseen * dim) * sizeof(float));
    for (int64_t begin = 0; begin < segment->q_count; begin += plan->chunk) {
        const int64_t count = least(plan->chunk, segment->q_count - begin);
        amx_grad_pack_queries(&w, head, begin, count);
        const int64_t first = first_key(segment, a->window, begin) / BLOCK * BLOCK;
        for (int64_t j = first; j < end_key(segment, begin + count - 1); j += BLOCK) {
            const int64_t keys = least(BLOCK, segment->k_count - j), row = segment->k0 + j;
            const uint16_t *k = (const uint16_t *)a->k.data + row * a->k.ld + kv * dim;
            const uint16_t *v = (const uint16_t *)a->v.data + row * a->v.ld + kv * dim;
            amx_pack_tiles(w.k, k, a->k.ld, keys, BLOCK, dim);
            amx_pack_tiles(w.v, v, a->v.ld, keys, BLOCK, dim);
            (void)amx_pack_transposed(w.kt, k, a->k.ld, keys, dim);
            const bool fresh = begin == 0 || j - hidden >= begin;
            amx_keys_begin(&w, w.dk, dk + j * dim, keys, fresh);
            amx_keys_begin(&w, w.dv, dv + j * dim, keys, fresh);
            int64_t i = j - hidden > begin ? (j - hidden - begin) / BLOCK * BLOCK : 0; /* first block that sees any */
            for (; i < count; i += BLOCK) {
                if (first_key(segment, a->window, begin + i) >= j + keys) break;
                amx_grad_block(&w, j, keys, begin + i, least(BLOCK, count - i), i / BLOCK);
            }
            amx_keys_move(&w, w.dk, dk + j * dim, keys, true);
            amx_keys_move(&w, w.dv, dv + j * dim, keys, true);
        }
        amx_queries_store(&w, head, begin, count);
    }
}

static void amx_head_work(const void *context, int64_t task, int thread)
{
    const attention_grad_plan *plan = context;
    const stlora_attention_grad_args *a = plan->args;
    const stlora_segment *segment = &a->segments[task / a->heads];
    const int64_t dim = a->head_dim, head = task % a->heads;
    for (int64_t t = segment->q0; t < segment->q0 + segment->q_count; t++)
        a->delta[t * a->heads + head] = dot_rows(a->dout, a->o, t, head * dim, dim);
    amx_begin();
    amx_grad_head(plan, segment, head, thread);
    amx_end();
}

static void amx_attention_grad(const stlora_backend *table, const stlora_attention_grad_args *a)
{
    const int64_t dim = a->head_dim;
    if (!amx_takes_heads(dim, a->q.dtype, a->k.dtype, a->v.dtype, a->o.dtype) || a->dout.dtype != STLORA_BF16 ||
        a->dq.dtype != STLORA_BF16) {
        cpu_attention_grad(table, a);
        return;
    }
    assert(a->heads % a->kv_heads == 0 && is_act(a->dk.dtype) && is_act(a->dv.dtype) && a->work);
    attention_grad_plan p = {.table = table, .args = a, .keys = a->k.rows, .dk = a->work};
    p.dv = p.dk + a->heads * dim * p.keys;
    int64_t longest = 1;
    for (int64_t s = 0; s < a->segment_count; s++) {
        if (a->segments[s].q_count > longest) longest = a->segments[s].q_count;
    }
    amx_grad w;
    p.chunk = (longest + BLOCK - 1) / BLOCK * BLOCK;
    while (p.chunk > BLOCK && amx_grad_lay_out(&w, NULL, dim, p.chunk) > AMX_GRAD_BYTES)
        p.chunk -= BLOCK;
    assert(amx_grad_lay_out(&w, NULL, dim, p.chunk) <= (int64_t)STLORA_CPU_BLOCK_BYTES);
    const double pairs = attention_pairs(a->segments, a->segment_count, a->window) * (double)a->heads;
    stlora_team_run(table->team, a->segment_count * a->heads, pairs * (0.015 * (double)dim + 0.5), amx_head_work, &p);
    sum_all_heads(&p);
}

#endif
