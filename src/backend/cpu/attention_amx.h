/* attention_amx.h: attention of bf16 on the tile registers, for heads of whole steps; anything else goes the way of AVX-512.
 *
 * Scores are computed transposed: keys are a block's rows and queries its columns, so that a vector holds one key's scores of
 * sixteen queries, whose largest scores, sums and exponentials are lanes. k is multiplied as it lies (in tiles), q packed once per task, v
 * transposed; the probabilities come out as the panel of the transposed o = v^T p^T.
 *
 * A task is some queries of one segment for the heads that share a kv head: its rows, in blocks of 32. It packs as many blocks of
 * keys at a time as the second cache holds, and runs every block of rows over them.
 *
 * A row's bits depend on its own q and on the keys that it sees: blocks of keys lie from the segment's first key on, a block's largest score moves
 * the row's origin only where it is far above it, and a key that a row does not see has p = 0: finite v times it adds nothing. Where v is not
 * finite the row gets a v of its own, without the keys that it does not see. Test: tests/backend/test_cpu_attention.c, test_promises.c.
 */
#ifndef STLORA_BACKEND_CPU_ATTENTION_AMX_H
#define STLORA_BACKEND_CPU_ATTENTION_AMX_H

#include "backend/cpu/attention_grad_template.h"
#include "backend/cpu/attention_template.h"
#include "backend/cpu/tile_amx.h"

enum {
    AMX_HALVES = BLOCK / AMX_ROWS, /* blocks of 32 keys in a block of keys */
    AMX_PAIRS = BLOCK * AMX_ROWS,  /* scores of a block of keys and one of rows */
    AMX_LARGEST_HEAD = 256,
    AMX_TASK_ROWS = 896,       /* most rows of a task */
    AMX_CHUNK_BYTES = 1 << 20, /* of k and v that are packed at one time */
};
/* How far above the origin, as a power of two's exponent, a score moves it. */
static const float AMX_HEADROOM = 8.0f;

/* 2^y, y = n + r with n whole, 0 <= r < 1; 2^r by the polynomial of degree 5 whose relative error, 9e-8, is the least. Nine instructions that share two
 * pipes, where vmath_template.h's take twelve; and one for what is below 2^-100, which is zero there too. -inf -> 0, NaN -> NaN. */
ALWAYS_INLINE vf amx_exp2(vf y)
{
    const vf r = _mm512_reduce_ps(y, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    vf p = vf_set1(0x1.ec320ap-10f);
    p = vf_fma(p, r, vf_set1(0x1.26900ep-7f));
    p = vf_fma(p, r, vf_set1(0x1.c95446p-5f));
    p = vf_fma(p, r, vf_set1(0x1.ebd5a8p-3f));
    p = vf_fma(p, r, vf_set1(0x1.62e4f6p-1f));
    p = vf_fma(p, r, vf_set1(0x1.fffffep-1f));
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(y, vf_set1(-100.0f), _CMP_NLT_UQ), p, y);
}

/* A block of 32 rows: a task's rows are its heads' queries, head by head. */
typedef struct amx_row_block {
    uint16_t *q;                 /* panel (dim, 32) */
    float *o;                    /* transposed: (dim / 32) blocks of (32, 32) */
    float *m, *l;                /* (32) origin, sum of 2^(score - origin) */
    int32_t *end;                /* (32) keys of the segment that the row sees come before this one */
    int64_t first_key, last_key; /* the rows see keys from the first on, and none from the last on */
    int64_t all_from, all_to;    /* every row sees these */
} amx_row_block;

typedef struct amx_attention {
    const stlora_attention_args *args;
    const stlora_segment *segment;
    soft_cap cap;
    int64_t steps;  /* of a head */
    uint16_t *k;    /* blocks of keys: (halves, steps) tiles of 32 keys */
    uint16_t *v;    /* blocks of keys: (steps, halves) tiles of 32 elements of a head by 32 keys */
    bool *poisoned; /* blocks of keys: v is not finite everywhere */
    float *s;       /* (halves) blocks of 32 keys by 32 rows */
    uint16_t *p;    /* panel (64 keys, 32 rows) */
    uint16_t *own_v;
    float *own_o, *all_o;
} amx_attention;

static inline int64_t amx_head_numbers(int64_t dim)
{
    return BLOCK * dim; /* of a block of keys */
}

/* Rows of a head as tiles of 32 rows: (rows / 32, steps) pairs of tiles. Rows that do not exist are zeros. */
static void amx_pack_tiles(uint16_t *to, const uint16_t *m, int64_t ld, int64_t rows, int64_t padded, int64_t dim)
{
    for (int64_t row = 0; row < padded; row += AMX_ROWS) {
        for (int64_t d = 0; d < dim; d += AMX_STEP) {
            for (int64_t i = row; i < row + AMX_ROWS; i++, to += AMX_STEP)
                _mm512_store_si512(to, i < rows ? _mm512_loadu_si512(m + i * ld + d) : _mm512_setzero_si512());
        }
    }
}

/* What unpacking pairs of rows does to the order of 32 numbers: number i of the first sixteen was number amx_mixed(i), and of the other sixteen
 * number amx_mixed(i) + 4. */
ALWAYS_INLINE int amx_mixed(int i)
{
    return i / 4 * 8 + i % 4;
}

/* 64 rows of a head transposed: (steps, halves) pairs of tiles, row d of which is 32 rows' element d. Is one of them not finite? */
static bool amx_pack_transposed(uint16_t *to, const uint16_t *m, int64_t ld, int64_t rows, int64_t dim)
{
    __mmask32 bad = 0;
    const __m512i exponent = _mm512_set1_epi16(0x7f80), none = _mm512_setzero_si512();
    for (int64_t d = 0; d < dim; d += AMX_STEP) {
        for (int64_t half = 0; half < BLOCK; half += AMX_STEP, to += 2 * AMX_TILE) {
            vf low[VL], high[VL];
            for (int i = 0; i < VL; i++) {
                const int64_t row = half + 2 * i;
                const __m512i even = row < rows ? _mm512_loadu_si512(m + row * ld + d) : none;
                const __m512i odd = row + 1 < rows ? _mm512_loadu_si512(m + (row + 1) * ld + d) : none;
                bad |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(even, exponent), exponent);
                bad |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(odd, exponent), exponent);
                low[i] = vf_bits(_mm512_unpacklo_epi16(even, odd));
                high[i] = vf_bits(_mm512_unpackhi_epi16(even, odd));
            }
            vf_transpose(low);
            vf_transpose(high);
            UNROLL for (int i = 0; i < VL; i++)
            {
                _mm512_store_si512(to + amx_mixed(i) * AMX_STEP, vu_bits(low[i]));
                _mm512_store_si512(to + (amx_mixed(i) + 4) * AMX_STEP, vu_bits(high[i]));
            }
        }
    }
    return bad != 0;
}

/* Rows of a head as columns: panels (dim, 32 rows). */
static void amx_pack_row_columns(uint16_t *to, const uint16_t *m, int64_t ld, int64_t rows, int64_t dim)
{
    for (int64_t d = 0; d < dim; d += AMX_STEP) {
        for (int64_t c = 0; c < AMX_ROWS; c += AMX_SIDE, to += AMX_TILE)
            amx_pack_columns(to, m + c * ld + d, ld, AMX_STEP, (int)(rows > c ? least(AMX_SIDE, rows - c) : 0));
    }
}

static void amx_pack_keys(const amx_attention *w, int64_t block, int64_t row, int64_t column, int64_t keys)
{
    const stlora_attention_args *a = w->args;
    const int64_t at = block * amx_head_numbers(a->head_dim);
    amx_pack_tiles(w->k + at, (const uint16_t *)a->k.data + row * a->k.ld + column, a->k.ld, keys, BLOCK, a->head_dim);
    w->poisoned[block] = amx_pack_transposed(w->v + at, (const uint16_t *)a->v.data + row * a->v.ld + column, a->v.ld,
                                             keys, a->head_dim);
}

/* s = k q^T */
static inline void amx_scores(const amx_attention *w, const amx_row_block *r, int64_t block)
{
    for (int64_t half = 0; half < AMX_HALVES; half++) {
        amx_rows k = amx_tiles_of(w->k + (block * AMX_HALVES + half) * w->steps * 2 * AMX_TILE);
        amx_load(2, (amx_sums){0});
        for (int64_t i = 0; i < w->steps; i++, k.at += k.next)
            amx_step(2, &k, r->q + i * 2 * AMX_TILE);
        amx_store(2, amx_block(w->s + half * AMX_BLOCK));
    }
}

/* to = from + v^T p^T, all of a head */
static inline void amx_values(const amx_attention *w, const uint16_t *values, float *from, float *to)
{
    for (int64_t d = 0; d < w->steps; d++) {
        amx_rows v = amx_tiles_of(values + d * AMX_HALVES * 2 * AMX_TILE);
        amx_load(2, amx_block(from + d * AMX_BLOCK));
        for (int64_t i = 0; i < AMX_HALVES; i++, v.at += v.next)
            amx_step(2, &v, w->p + i * 2 * AMX_TILE);
        amx_store(2, amx_block(to + d * AMX_BLOCK));
    }
}

/* Key i's scores of sixteen rows. */
static inline float *amx_key_row(float *s, int64_t i, int c)
{
    return s + (i / AMX_SIDE * 2 + c) * AMX_SUMS + i % AMX_SIDE * AMX_SIDE;
}

/* Which of sixteen rows see key j of the segment. */
static inline __mmask16 amx_seen(const int32_t *end, int64_t window, int64_t j)
{
    const __m512i ends = _mm512_loadu_si512(end), key = _mm512_set1_epi32((int32_t)j);
    __mmask16 seen = _mm512_cmpgt_epi32_mask(ends, key);
    if (window > 0) {
        const __m512i from = _mm512_sub_epi32(ends, _mm512_set1_epi32((int32_t)window));
        seen &= _mm512_cmple_epi32_mask(from, key);
    }
    return seen;
}

static void amx_mask_scores(const amx_attention *w, const amx_row_block *r, int64_t j)
{
    for (int c = 0; c < 2; c++) {
        for (int64_t i = 0; i < BLOCK; i++) {
            float *s = amx_key_row(w->s, i, c);
            const __mmask16 seen = amx_seen(r->end + c * AMX_SIDE, w->args->window, j + i);
            _mm512_store_ps(s, _mm512_mask_blend_ps(seen, vf_set1(-INFINITY), vf_load(s)));
        }
    }
}

/* Sixteen rows' scores of a block become p = 2^(scale * score - m), scale with 1 / ln 2 in it; m, l and o follow. */
static inline void amx_softmax(const amx_attention *w, const amx_row_block *r, int c, float scale)
{
    const __m512i pairs = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    vf top[4];
    UNROLL for (int i = 0; i < 4; i++) top[i] = vf_set1(-INFINITY);
    for (int64_t j = 0; j < BLOCK; j += 4) {
        const float *s = amx_key_row(w->s, j, c);
        /* a NaN is passed by and comes back in the sum */
        UNROLL for (int i = 0; i < 4; i++) top[i] = vf_max(vf_load(s + i * VL), top[i]);
    }
    const vf now = vf_mul(vf_max(vf_max(top[0], top[1]), vf_max(top[2], top[3])), vf_set1(scale));
    const vf m = vf_load(r->m + c * VL);
    const __mmask16 up = vf_lt(vf_add(m, vf_set1(AMX_HEADROOM)), now);
    const vf moved = vf_select(up, now, m);
    const vf origin = vf_select(vf_lt(vf_set1(-INFINITY), moved), moved, vf_zero()); /* nothing seen but -inf */
    vf sum[4];
    UNROLL for (int i = 0; i < 4; i++) sum[i] = vf_zero();
    for (int64_t j = 0; j < BLOCK; j += 4) {
        const float *s = amx_key_row(w->s, j, c);
        uint16_t *p = w->p + (j / AMX_STEP * 2 + c) * AMX_TILE + j % AMX_STEP * AMX_SIDE;
        vf e[4];
        UNROLL for (int i = 0; i < 4; i++)
        {
            e[i] = amx_exp2(_mm512_fmsub_ps(vf_load(s + i * VL), vf_set1(scale), origin));
            sum[i] = vf_add(sum[i], e[i]);
        }
        _mm512_store_si512(p, _mm512_permutexvar_epi16(pairs, (__m512i)_mm512_cvtne2ps_pbh(e[1], e[0])));
        _mm512_store_si512(p + 2 * AMX_SIDE, _mm512_permutexvar_epi16(pairs, (__m512i)_mm512_cvtne2ps_pbh(e[3], e[2])));
    }
    vf l = vf_load(r->l + c * VL);
    if (up) {
        const vf by = vf_select(up, amx_exp2(vf_sub(m, origin)), vf_set1(1.0f));
        l = vf_mul(l, by);
        for (int64_t d = 0; d < w->args->head_dim; d++) {
            float *o = amx_key_row(r->o, d, c);
            vf_store(o, vf_mul(vf_load(o), by));
        }
        vf_store(r->m + c * VL, moved);
    }
    vf_store(r->l + c * VL, vf_add(l, vf_add(vf_add(sum[0], sum[1]), vf_add(sum[2], sum[3]))));
}

/* Each row by itself, with zeros for v where it does not see the key. */
static void amx_values_apart(const amx_attention *w, const amx_row_block *r, int64_t block, int64_t j)
{
    const stlora_attention_args *a = w->args;
    const int64_t numbers = amx_head_numbers(a->head_dim);
    for (int64_t row = 0; row < AMX_ROWS; row++) {
        for (int64_t n = 0; n < numbers; n++) {
            const int64_t key = j + n / (2 * AMX_TILE) % AMX_HALVES * AMX_STEP + n % AMX_STEP;
            const bool seen = key < r->end[row] && (a->window <= 0 || key >= r->end[row] - a->window);
            w->own_v[n] = seen ? w->v[block * numbers + n] : 0;
        }
        amx_values(w, w->own_v, r->o, w->own_o);
        for (int64_t d = 0; d < a->head_dim; d++)
            amx_key_row(w->all_o, d, (int)(row / AMX_SIDE))[row % AMX_SIDE] =
                amx_key_row(w->own_o, d, (int)(row / AMX_SIDE))[row % AMX_SIDE];
    }
    memcpy(r->o, w->all_o, (size_t)(a->head_dim * AMX_ROWS) * sizeof(float));
}

static inline void amx_attend(const amx_attention *w, const amx_row_block *r, int64_t block, int64_t j)
{
    const bool edge = j < r->all_from || j + BLOCK > r->all_to;
    amx_scores(w, r, block);
    if (w->cap.on) cap_scores(&w->cap, w->s, AMX_PAIRS);
    if (edge) amx_mask_scores(w, r, j);
    for (int c = 0; c < 2; c++)
        amx_softmax(w, r, c, (float)(w->args->scale * LOG2_E));
    if (edge && w->poisoned[block])
        amx_values_apart(w, r, block, j);
    else
        amx_values(w, w->v + block * amx_head_numbers(w->args->head_dim), r->o, r->o);
}

/* Rows [row0, rows) of the task, at most 32: q packed, nothing seen yet. Rows that do not exist see what the last one sees. */
static void amx_row_block_begin(const amx_attention *w, amx_row_block *r, const attention_task *task, int64_t row0)
{
    const stlora_attention_args *a = w->args;
    const int64_t queries = task->end - task->begin, rows = least(AMX_ROWS, task->heads * queries - row0);
    uint16_t *flat = w->own_v;
    int64_t first_end = INT64_MAX, last_end = 0;
    for (int64_t i = 0; i < AMX_ROWS; i++) {
        const int64_t row = row0 + least(i, rows - 1), query = task->begin + row % queries;
        const uint16_t *q = (const uint16_t *)a->q.data + (task->segment->q0 + query) * a->q.ld +
                            (task->head0 + row / queries) * a->head_dim;
        const int64_t end = end_key(task->segment, query);
        for (int64_t d = 0; d < a->head_dim; d += AMX_STEP)
            _mm512_store_si512(flat + i * a->head_dim + d, _mm512_loadu_si512(q + d));
        r->end[i] = (int32_t)end;
        r->m[i] = -INFINITY;
        r->l[i] = 0.0f;
        if (end < first_end) first_end = end;
        if (end > last_end) last_end = end;
    }
    amx_pack_row_columns(r->q, flat, a->head_dim, AMX_ROWS, a->head_dim);
    memset(r->o, 0, (size_t)(a->head_dim * AMX_ROWS) * sizeof(float));
    r->first_key = a->window > 0 && first_end > a->window ? first_end - a->window : 0;
    r->all_from = a->window > 0 && last_end > a->window ? last_end - a->window : 0;
    r->all_to = first_end;
    r->last_key = last_end;
}

static void amx_row_block_store(const amx_attention *w, const amx_row_block *r, const attention_task *task,
                                int64_t row0)
{
    const stlora_attention_args *a = w->args;
    const int64_t queries = task->end - task->begin, rows = task->heads * queries;
    for (int c = 0; c < 2; c++) {
        const vf by = vf_div(vf_set1(1.0f), vf_load(r->l + c * VL));
        for (int64_t d = 0; d < a->head_dim; d += VL) {
            vf v[VL];
            UNROLL for (int i = 0; i < VL; i++) v[i] = vf_mul(vf_load(amx_key_row(r->o, d + i, c)), by);
            vf_transpose(v);
            for (int i = 0; i < VL && row0 + c * VL + i < rows; i++) {
                const int64_t row = row0 + c * VL + i, token = task->segment->q0 + task->begin + row % queries;
                /* + 0: the sign of a zero may tell how many blocks followed */
                vf_store_bf16((uint16_t *)a->o.data + token * a->o.ld + (task->head0 + row / queries) * a->head_dim + d,
                              vf_add(v[i], vf_zero()));
            }
        }
        float lse[VL];
        vf_store(lse, log_of_sums(vf_load(r->m + c * VL), vf_load(r->l + c * VL)));
        for (int i = 0; i < VL && row0 + c * VL + i < rows; i++) {
            const int64_t row = row0 + c * VL + i, token = task->segment->q0 + task->begin + row % queries;
            a->lse[token * a->heads + task->head0 + row / queries] = lse[i];
        }
    }
}

/* Lays a task's scratch out; its row blocks are in r. Bytes of scratch, with base NULL the same. */
static int64_t amx_attention_lay_out(amx_attention *w, amx_row_block *r, char *base, int64_t dim, int64_t rows,
                                     int64_t chunk)
{
    int64_t used = 0;
    w->k = (uint16_t *)(void *)grad_scratch_take(base, &used, chunk * dim * 2);
    w->v = (uint16_t *)(void *)grad_scratch_take(base, &used, chunk * dim * 2);
    w->own_v = (uint16_t *)(void *)grad_scratch_take(base, &used, BLOCK * dim * 2);
    w->own_o = (float *)(void *)grad_scratch_take(base, &used, AMX_ROWS * dim * 4);
    w->all_o = (float *)(void *)grad_scratch_take(base, &used, AMX_ROWS * dim * 4);
    w->s = (float *)(void *)grad_scratch_take(base, &used, AMX_PAIRS * 4);
    w->p = (uint16_t *)(void *)grad_scratch_take(base, &used, AMX_PAIRS * 2);
    w->poisoned = (bool *)(void *)grad_scratch_take(base, &used, chunk / BLOCK);
    for (int64_t i = 0; i < rows; i += AMX_ROWS, r++) {
        r->q = (uint16_t *)(void *)grad_scratch_take(base, &used, AMX_ROWS * dim * 2);
        r->o = (float *)(void *)grad_scratch_take(base, &used, AMX_ROWS * dim * 4);
        r->m = (float *)(void *)grad_scratch_take(base, &used, AMX_ROWS * 4);
        r->l = (float *)(void *)grad_scratch_take(base, &used, AMX_ROWS * 4);
        r->end = (int32_t *)(void *)grad_scratch_take(base, &used, AMX_ROWS * 4);
    }
    return used;
}

static int64_t amx_chunk_of(int64_t dim)
{
    return AMX_CHUNK_BYTES / (4 * dim) / BLOCK * BLOCK;
}

static void amx_attention_work(const void *context, int64_t index, int thread)
{
    const attention_plan *p = context;
    const stlora_attention_args *a = p->args;
    const attention_task task = attention_task_of(p, index);
    const int64_t dim = a->head_dim, rows = task.heads * (task.end - task.begin), chunk = amx_chunk_of(dim);
    const int64_t first = first_key(task.segment, a->window, task.begin) / BLOCK * BLOCK;
    const int64_t last = end_key(task.segment, task.end - 1);
    amx_row_block blocks[AMX_TASK_ROWS / AMX_ROWS];
    amx_attention w = {
        .args = a, .segment = task.segment, .cap = soft_cap_of(a->scale, a->softcap), .steps = dim / AMX_STEP};
    const int64_t used = amx_attention_lay_out(&w, blocks, stlora_cpu_block(p->table, thread), dim, rows, chunk);
    assert(used <= (int64_t)STLORA_CPU_BLOCK_BYTES);
    amx_begin();
    for (int64_t i = 0; i < rows; i += AMX_ROWS)
        amx_row_block_begin(&w, &blocks[i / AMX_ROWS], &task, i);
    for (int64_t from = first; from < last; from += chunk) {
        const int64_t to = least(from + chunk, last);
        for (int64_t j = from; j < to; j += BLOCK)
            amx_pack_keys(&w, (j - from) / BLOCK, task.segment->k0 + j, task.kv * dim, least(BLOCK, to - j));
        for (int64_t i = 0; i < rows; i += AMX_ROWS) {
            const amx_row_block *r = &blocks[i / AMX_ROWS];
            const int64_t begin = r->first_key / BLOCK * BLOCK;
            for (int64_t j = begin > from ? begin : from; j < least(to, r->last_key); j += BLOCK)
                amx_attend(&w, r, (j - from) / BLOCK, j);
        }
    }
    for (int64_t i = 0; i < rows; i += AMX_ROWS)
        amx_row_block_store(&w, &blocks[i / AMX_ROWS], &task, i);
    amx_end();
}

/* Is a head made of whole steps, and everything bf16? */
static bool amx_takes_heads(int64_t dim, stlora_dtype q, stlora_dtype k, stlora_dtype v, stlora_dtype o)
{
    return dim % AMX_STEP == 0 && dim <= AMX_LARGEST_HEAD && q == STLORA_BF16 && k == STLORA_BF16 && v == STLORA_BF16 &&
           o == STLORA_BF16;
}

static void amx_attention_run(const stlora_backend *table, const stlora_attention_args *a)
{
    if (!amx_takes_heads(a->head_dim, a->q.dtype, a->k.dtype, a->v.dtype, a->o.dtype)) {
        cpu_attention(table, a);
        return;
    }
    const int64_t group = a->heads / a->kv_heads;
    assert(a->heads % a->kv_heads == 0);
    attention_plan p = {.table = table, .args = a, .heads = least(group, AMX_TASK_ROWS / (4 * AMX_ROWS))};
    p.queries = least(AMX_TASK_ROWS / p.heads, 512) / (4 * AMX_ROWS) * (4 * AMX_ROWS);
    p.parts_per_group = (group + p.heads - 1) / p.heads;
    const double pairs = attention_pairs(a->segments, a->segment_count, a->window) * (double)a->heads;
    stlora_team_run(table->team, attention_task_count(&p), pairs * (0.008 * (double)a->head_dim + 0.3),
                    amx_attention_work, &p);
}

#endif
