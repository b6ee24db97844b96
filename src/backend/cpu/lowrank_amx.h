/* lowrank_amx.h: h = x u^T of a bf16 x on the tile registers; anything else goes the way of AVX-512.
 *
 * u is three bf16 each: with r ranks a product with 3 r columns, part by part, whose sums are added up at the end, the smallest first. A task
 * is a block of tokens; sums run over all of the width in steps of 32, whatever the task. Test: tests/backend/test_cpu_vs_ref.c.
 */
#ifndef STLORA_BACKEND_CPU_LOWRANK_AMX_H
#define STLORA_BACKEND_CPU_LOWRANK_AMX_H

#include "backend/cpu/lowrank_project_template.h"
#include "backend/cpu/product_amx.h"

enum {
    PROJECT_PARTS = 3,
    PROJECT_STEPS = 32, /* of a block of the width */
    PROJECT_PANELS = 6, /* most panels of 32 columns */
    PROJECT_RANKS = PROJECT_PANELS * 2 * AMX_SIDE / PROJECT_PARTS,
};
_Static_assert((int)PROJECT_PANELS * 2 * AMX_TILE * PROJECT_STEPS <= 2 * AMX_PACKED, "u does not fit");
_Static_assert((int)PROJECT_PANELS <= (int)AMX_PANELS, "the sums do not fit");

typedef struct project_plan {
    const stlora_backend *table;
    const stlora_lowrank_project_args *args;
    int64_t panels, token_block;
} project_plan;

/* Numbers k ... k+32 of a row of u (zeros beyond the width) as the bf16 of each part. */
static inline void project_split_row(const float *u, int64_t n, __m512i row[PROJECT_PARTS])
{
    const amx_parts low = amx_split(vf_load_n(u, (int)least(VL, n)));
    const amx_parts high = amx_split(n > VL ? vf_load_n(u + VL, (int)least(VL, n - VL)) : vf_zero());
    for (int i = 0; i < PROJECT_PARTS; i++)
        row[i] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(low.part[i])),
                                    _mm512_cvtepi32_epi16(high.part[i]), 1);
}

/* A step's panels from rows of u that lie along the width: column part * r + q. */
static void project_pack_rows(const stlora_lowrank_project_args *a, uint16_t *to, int64_t k, int64_t tiles)
{
    __m512i rows[PROJECT_PANELS * 2 * AMX_SIDE] = {0};
    for (int64_t q = 0; q < a->rank; q++) {
        __m512i row[PROJECT_PARTS];
        project_split_row(a->u + q * a->u_rank_stride + k, a->width - k, row);
        for (int64_t part = 0; part < PROJECT_PARTS; part++)
            rows[part * a->rank + q] = row[part];
    }
    for (int64_t i = 0; i < tiles; i++, to += AMX_TILE) {
        vf r[VL];
        UNROLL for (int j = 0; j < VL; j++) r[j] = vf_bits(rows[i * AMX_SIDE + j]);
        vf_transpose(r);
        UNROLL for (int j = 0; j < VL; j++) _mm512_store_si512(to + j * 32, vu_bits(r[j]));
    }
}

/* The same from rows of u that lie along the ranks. */
static void project_pack_columns(const stlora_lowrank_project_args *a, uint16_t *to, int64_t k, int64_t tiles)
{
    _Alignas(64) uint32_t row[PROJECT_PANELS * 2 * AMX_SIDE + VL] = {0};
    for (int i = 0; i < AMX_SIDE; i++) {
        for (int64_t q = 0; q < a->rank; q += VL) {
            const int n = (int)least(VL, a->rank - q);
            const float *u = a->u + (k + 2 * i) * a->u_width_stride + q;
            const bool even = k + 2 * i < a->width, odd = k + 2 * i + 1 < a->width;
            const amx_parts first = amx_split(even ? vf_load_n(u, n) : vf_zero());
            const amx_parts second = amx_split(odd ? vf_load_n(u + a->u_width_stride, n) : vf_zero());
            for (int64_t part = 0; part < PROJECT_PARTS; part++)
                _mm512_mask_storeu_epi32(row + part * a->rank + q, vm_first(n),
                                         _mm512_or_si512(first.part[part], _mm512_slli_epi32(second.part[part], 16)));
        }
        for (int64_t j = 0; j < tiles; j++)
            _mm512_store_si512(to + j * AMX_TILE + i * 32, _mm512_load_si512(row + j * AMX_SIDE));
    }
}

/* h of a block of tokens from its sums: part 2, and 1, and 0. */
static void project_finish(const stlora_lowrank_project_args *a, float *blocks, int64_t token, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t q = 0; q < a->rank; q++) {
            float sum = 0;
            for (int64_t part = PROJECT_PARTS - 1; part >= 0; part--) {
                const int64_t column = (part * a->rank + q) / AMX_SIDE, at = (part * a->rank + q) % AMX_SIDE;
                sum += amx_row(blocks + column / AMX_WIDE * AMX_BLOCK, i, (int)(column % AMX_WIDE))[at];
            }
            a->h[(token + i) * a->rank + q] = sum;
        }
    }
}

static void project_work(const void *context, int64_t index, int thread)
{
    const project_plan *p = context;
    const stlora_lowrank_project_args *a = p->args;
    const int64_t t0 = index * p->token_block, t1 = least(t0 + p->token_block, a->tokens), all = amx_steps(a->width);
    const int64_t tiles = 2 * p->panels;
    const bool as_is = amx_rows_spread(a->x.ld);
    amx_scratch *s = stlora_cpu_block(p->table, thread);
    uint16_t *const u = s->packed[0];
    amx_begin();
    for (int64_t s0 = 0; s0 < all; s0 += PROJECT_STEPS) {
        const int64_t steps = least(PROJECT_STEPS, all - s0), k0 = s0 * AMX_STEP;
        const amx_reduction r = {.k0 = k0, .k = least(steps * AMX_STEP, a->width - k0)};
        for (int64_t i = 0; i < steps; i++) {
            if (a->u_width_stride == 1)
                project_pack_rows(a, u + i * tiles * AMX_TILE, k0 + i * AMX_STEP, tiles);
            else
                project_pack_columns(a, u + i * tiles * AMX_TILE, k0 + i * AMX_STEP, tiles);
        }
        for (int64_t token = t0; token < t1; token += AMX_ROWS) {
            const int64_t rows = least(AMX_ROWS, t1 - token);
            float *blocks = s->partials + (token - t0) / AMX_ROWS * p->panels * AMX_BLOCK;
            amx_rows x = amx_rows_of((const uint16_t *)a->x.data + token * a->x.ld + k0, a->x.ld);
            if (!as_is || rows < AMX_ROWS || r.k % AMX_STEP) {
                amx_pack_x(&(stlora_product_args){.x = a->x}, s->x, &r, token,
                           t1 < token + AMX_ROWS ? t1 : token + AMX_ROWS);
                x = amx_tiles_of(s->x);
            }
            for (int64_t panel = 0; panel < p->panels; panel++) {
                const amx_sums sums = amx_block(blocks + panel * AMX_BLOCK);
                amx_rows at = x;
                amx_load(2, s0 ? sums : (amx_sums){0});
                for (int64_t i = 0; i < steps; i++, at.at += at.next)
                    amx_step(2, &at, u + (i * tiles + 2 * panel) * AMX_TILE);
                amx_store(2, sums);
            }
            if (s0 + steps == all) project_finish(a, blocks, token, rows);
        }
    }
    amx_end();
}

static void amx_lowrank_project(const stlora_backend *table, const stlora_lowrank_project_args *a)
{
    if (a->x.dtype != STLORA_BF16 || a->rank > PROJECT_RANKS || a->width == 0 || a->rank == 0 || a->tokens == 0) {
        cpu_lowrank_project(table, a);
        return;
    }
    assert(a->x.rows >= a->tokens && a->x.cols == a->width && a->x.ld >= a->width);
    assert(a->u_width_stride == 1 || a->u_rank_stride == 1);
    project_plan p = {.table = table, .args = a};
    p.panels = (PROJECT_PARTS * a->rank + 2 * AMX_SIDE - 1) / (2 * AMX_SIDE);
    const int64_t share = (a->tokens + table->threads - 1) / table->threads;
    p.token_block = (least(share, AMX_TOKENS) + AMX_ROWS - 1) / AMX_ROWS * AMX_ROWS;
    const double nanoseconds = (double)a->width * (double)p.panels * (0.5 + 0.02 * (double)a->tokens);
    stlora_team_run(table->team, (a->tokens + p.token_block - 1) / p.token_block, nanoseconds, project_work, &p);
}

#endif
