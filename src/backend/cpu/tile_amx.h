/* tile_amx.h: blocks of 32 x 32 sums on the processor's tile registers (AMX), which multiply bf16 pairs along the sum. Only for the
 * avx512-amx level, whose simd_*.h came before.
 *
 *   c[i, o] += sum over k of a[i, k] b[k, o]     32 rows of a, 32 or 16 columns of b, k in steps of 32
 *
 * One instruction adds to an element what a step makes: a chain of the sixteen even k and one of the sixteen odd ones, each from zero,
 * and then both; so an element's bits are a matter of its own row and column and of where the steps begin, never of the block it is in, and
 * a sum that is stored and loaded between two steps is the same sum. Denormals, of bf16 and of the sums, count as zero.
 *
 * b is a panel of one or two tiles of 16 columns: per step, tile by tile, (16 pairs of k, 16 columns, 2), zeros beyond the last k and the
 * last column. A panel of eight steps and 32 rows of a by these stay in the first cache together.
 * Test: tests/backend/test_cpu_product.c.
 */
#ifndef STLORA_BACKEND_CPU_TILE_AMX_H
#define STLORA_BACKEND_CPU_TILE_AMX_H

#include "backend/cpu/pack_template.h"

enum {
    AMX_SIDE = 16,                  /* rows and columns of a tile of sums */
    AMX_ROWS = 2 * AMX_SIDE,        /* of a block */
    AMX_WIDE = 2,                   /* most tiles of a panel */
    AMX_STEP = 32,                  /* of k */
    AMX_TILE = AMX_SIDE * AMX_STEP, /* bf16 numbers of a tile */
    AMX_SUMS = AMX_SIDE * AMX_SIDE, /* floats of a tile */
    AMX_BLOCK = 2 * AMX_WIDE * AMX_SUMS,
};

/* The shape of all eight registers: sixteen rows of 64 bytes. A thread sets it before its first block and clears it after its last. */
static inline void amx_begin(void)
{
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&shape);
}
static inline void amx_end(void)
{
    _tile_release();
}

/* Where a block's sums come from or go: tile (upper or lower, column) at `at` + lower * `down` + column * `right`, its rows `stride` bytes
 * apart. NULL: from zero. */
typedef struct amx_sums {
    float *at;
    int64_t down, right; /* floats */
    int64_t stride;
} amx_sums;

/* A block by itself: six tiles behind one another. */
static inline amx_sums amx_block(float *at)
{
    return (amx_sums){at, AMX_WIDE * AMX_SUMS, AMX_SUMS, AMX_SIDE * sizeof(float)};
}
/* 32 rows of a matrix, ld floats apart. */
static inline amx_sums amx_matrix(float *at, int64_t ld)
{
    return (amx_sums){at, AMX_SIDE * ld, AMX_SIDE, ld * (int64_t)sizeof(float)};
}

/* Registers 0 and 1 are the upper sums, 2 and 3 the lower ones; 4 and 5 hold a's tiles, 6 and 7 b's. `wide` of the columns are in use. */
ALWAYS_INLINE void amx_load(const int wide, amx_sums c)
{
    if (!c.at) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        return;
    }
    const float *low = c.at + c.down;
    const size_t stride = (size_t)c.stride;
    _tile_loadd(0, c.at, stride);
    if (wide > 1) _tile_loadd(1, c.at + c.right, stride);
    _tile_loadd(2, low, stride);
    if (wide > 1) _tile_loadd(3, low + c.right, stride);
}
ALWAYS_INLINE void amx_store(const int wide, amx_sums c)
{
    float *low = c.at + c.down;
    const size_t stride = (size_t)c.stride;
    _tile_stored(0, c.at, stride);
    if (wide > 1) _tile_stored(1, c.at + c.right, stride);
    _tile_stored(2, low, stride);
    if (wide > 1) _tile_stored(3, low + c.right, stride);
}

/* 32 rows of a: as they lie in a matrix, or in tiles of (16 rows, 32 k), upper and lower, step by step. */
typedef struct amx_rows {
    const uint16_t *at;
    int64_t low, next; /* from the upper tile to the lower one, and to the next step's; elements */
    int64_t stride;    /* from row to row; bytes */
} amx_rows;

static inline amx_rows amx_rows_of(const uint16_t *at, int64_t ld)
{
    return (amx_rows){at, AMX_SIDE * ld, AMX_STEP, ld * 2};
}
static inline amx_rows amx_tiles_of(const uint16_t *at)
{
    return (amx_rows){at, AMX_TILE, 2 * AMX_TILE, 64};
}

/* One step of the block in the registers. */
ALWAYS_INLINE void amx_step(const int wide, const amx_rows *a, const uint16_t *panel)
{
    const size_t stride = (size_t)a->stride;
    _tile_loadd(6, panel, 64);
    _tile_loadd(4, a->at, stride);
    _tile_dpbf16ps(0, 4, 6);
    if (wide > 1) {
        _tile_loadd(7, panel + AMX_TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
    }
    _tile_loadd(5, a->at + a->low, stride);
    _tile_dpbf16ps(2, 5, 6);
    if (wide > 1) _tile_dpbf16ps(3, 5, 7);
}

/* A tile of b from rows that become columns: pair (k, o) = m[o*ld + k], m[o*ld + k+1]; k < ks <= 32, o < cols <= 16. */
static inline void amx_pack_columns(uint16_t *to, const uint16_t *m, int64_t ld, int ks, int cols)
{
    const __mmask32 mask = ks >= AMX_STEP ? 0xffffffffu : (1u << ks) - 1u;
    vf r[VL];
    if (ks >= AMX_STEP && cols >= AMX_SIDE) {
        UNROLL for (int i = 0; i < VL; i++) r[i] = vf_bits(_mm512_loadu_si512(m + i * ld));
    } else {
        for (int i = 0; i < VL; i++)
            r[i] = i < cols ? vf_bits(_mm512_maskz_loadu_epi16(mask, m + i * ld)) : vf_zero();
    }
    vf_transpose(r);
    UNROLL for (int i = 0; i < VL; i++) _mm512_store_si512(to + i * 32, vu_bits(r[i]));
}

/* A tile of b from rows that stay rows: pair (k, o) = m[k*ld + o], m[(k+1)*ld + o]. */
static inline void amx_pack_rows(uint16_t *to, const uint16_t *m, int64_t ld, int ks, int cols)
{
    const __mmask16 mask = vm_first(cols < AMX_SIDE ? cols : AMX_SIDE);
    for (int i = 0; i < 16; i++) {
        __m256i even = _mm256_setzero_si256(), odd = even;
        if (2 * i < ks) even = _mm256_maskz_loadu_epi16(mask, m + 2 * i * ld);
        if (2 * i + 1 < ks) odd = _mm256_maskz_loadu_epi16(mask, m + (2 * i + 1) * ld);
        const __m512i pair =
            _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
        _mm512_store_si512(to + i * 32, pair);
    }
}

/* Three bf16 whose sum is v, to 2^-24 of it and mostly exactly: in the low half of every lane. What is not finite is whole in the first. */
typedef struct amx_parts {
    __m512i part[3];
} amx_parts;

static inline amx_parts amx_split(vf v)
{
    amx_parts p;
    for (int i = 0; i < 3; i++) {
        const __m256i h = vf_narrow_bf16(v);
        p.part[i] = _mm512_cvtepu16_epi32(h);
        const __mmask16 finite = _mm512_cmp_ps_mask(vf_sub(v, v), vf_zero(), _CMP_EQ_OQ);
        v = _mm512_maskz_sub_ps(finite, v, vf_widen_bf16(h));
    }
    return p;
}

#endif
