/* ceiling.c: see ceiling.h. Sixteen chains hide the latency of a multiply-add on two pipes (four cycles each), and leave registers over. */
#include "backend/ceiling.h"

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

double stlora_ceiling_clock(int threads)
{
    struct timespec t;
    (void)clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum { STEPS = 1000000 }; /* two milliseconds: threads that have to be woken lose little of it */

#if defined(__x86_64__)
#    include <immintrin.h>

#    include "backend/cpu/cpu.h"

enum { WIDE_CHAINS = 16, NARROW_CHAINS = 12, TILE_STEPS = STEPS / 16 };
#    if defined(__clang__)
#        define UNROLL _Pragma("clang loop unroll(full)")
#    else
#        define UNROLL _Pragma("GCC unroll 32")
#    endif

__attribute__((target("avx512f"), noinline)) static float fp32_wide(float seed)
{
    __m512 acc[WIDE_CHAINS], x = _mm512_set1_ps(seed), w = _mm512_set1_ps(1.0f - seed);
    UNROLL for (int i = 0; i < WIDE_CHAINS; i++) acc[i] =
        _mm512_set1_ps(seed + (float)i); /* different, or the compiler keeps one */
    for (int s = 0; s < STEPS; s++) {
        UNROLL for (int i = 0; i < WIDE_CHAINS; i++) acc[i] = _mm512_fmadd_ps(acc[i], w, x);
    }
    __m512 sum = acc[0];
    UNROLL for (int i = 1; i < WIDE_CHAINS; i++) sum = _mm512_add_ps(sum, acc[i]);
    return _mm512_cvtss_f32(sum);
}

__attribute__((target("avx512f,avx512bf16"), noinline)) static float bf16_wide(float seed)
{
    __m512 acc[WIDE_CHAINS];
    const __m512i x = _mm512_castps_si512(_mm512_set1_ps(seed)), w = _mm512_castps_si512(_mm512_set1_ps(1.0f - seed));
    UNROLL for (int i = 0; i < WIDE_CHAINS; i++) acc[i] = _mm512_set1_ps(seed + (float)i);
    for (int s = 0; s < STEPS; s++) {
        UNROLL for (int i = 0; i < WIDE_CHAINS; i++) acc[i] = _mm512_dpbf16_ps(acc[i], (__m512bh)x, (__m512bh)w);
    }
    __m512 sum = acc[0];
    UNROLL for (int i = 1; i < WIDE_CHAINS; i++) sum = _mm512_add_ps(sum, acc[i]);
    return _mm512_cvtss_f32(sum);
}

/* Numbers of all kinds, since multiplying zeros takes less power and is faster for it. */
__attribute__((target("amx-tile,amx-bf16"), noinline)) static float bf16_tiles(void)
{
    enum { TILE = 512 };
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    _Alignas(64) uint16_t numbers[4 * TILE];
    _Alignas(64) float sums[TILE / 2];
    for (unsigned i = 0, state = 1; i < 4 * TILE; i++) {
        state = state * 1664525u + 1013904223u;
        numbers[i] = (uint16_t)(0x3f00u | (state >> 16 & 0x80ffu)); /* of either sign, 0.5 to 2 */
    }
    _tile_loadconfig(&shape);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < TILE_STEPS; s++) {
        _tile_loadd(4, numbers, 64);
        _tile_loadd(6, numbers + 2 * TILE, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, numbers + 3 * TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, numbers + TILE, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, 64);
    _tile_release();
    return sums[0];
}

__attribute__((target("avx2,fma"), noinline)) static float fp32_narrow(float seed)
{
    __m256 acc[NARROW_CHAINS], x = _mm256_set1_ps(seed), w = _mm256_set1_ps(1.0f - seed);
    UNROLL for (int i = 0; i < NARROW_CHAINS; i++) acc[i] = _mm256_set1_ps(seed + (float)i);
    for (int s = 0; s < STEPS; s++) {
        UNROLL for (int i = 0; i < NARROW_CHAINS; i++) acc[i] = _mm256_fmadd_ps(acc[i], w, x);
    }
    __m256 sum = acc[0];
    UNROLL for (int i = 1; i < NARROW_CHAINS; i++) sum = _mm256_add_ps(sum, acc[i]);
    return _mm256_cvtss_f32(sum);
}
#endif

/* One thread's run; its floating-point operations are counted in *flops. */
static float burn(stlora_ceiling_kind kind, double *flops)
{
    static volatile const float unknown = 0.5f; /* to the compiler */
    const float seed = unknown;
    *flops = 0;
#if defined(__x86_64__)
    const bool wide = __builtin_cpu_supports("avx512f");
    if (kind == STLORA_CEILING_BF16) {
        if (!__builtin_cpu_supports("avx512bf16")) return 0;
        *flops = 64.0 * WIDE_CHAINS * STEPS;
        return bf16_wide(seed);
    }
    if (kind == STLORA_CEILING_TILES) {
        if (!stlora_cpu_has_tiles()) return 0;
        *flops = 4.0 * 2 * 16 * 16 * 32 * TILE_STEPS;
        return bf16_tiles();
    }
    if (wide) {
        *flops = 32.0 * WIDE_CHAINS * STEPS;
        return fp32_wide(seed);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        *flops = 16.0 * NARROW_CHAINS * STEPS;
        return fp32_narrow(seed);
    }
#else
    (void)kind;
    (void)seed;
#endif
    return 0;
}

typedef struct burning {
    stlora_ceiling_kind kind;
    double *flops; /* of each task, one apart */
    _Atomic uint64_t *sink;
} burning;

static void burn_work(const void *context, int64_t task, int thread)
{
    const burning *b = context;
    (void)thread;
    const float value = burn(b->kind, &b->flops[task]);
    atomic_fetch_add(b->sink, value > 0);
}

double stlora_ceiling_flops(stlora_ceiling_kind kind, stlora_team *team, int tries)
{
    const int threads = stlora_team_threads(team);
    double best = 0, flops[STLORA_MAX_THREADS];
    _Atomic uint64_t sink = 0;
    for (int i = 0; i < tries; i++) {
        const double begin = stlora_ceiling_clock(threads);
        stlora_team_run(team, threads, HUGE_VAL, burn_work, &(burning){kind, flops, &sink});
        const double seconds = stlora_ceiling_clock(threads) - begin;
        double all = 0;
        for (int t = 0; t < threads; t++)
            all += flops[t];
        if (all / seconds / 1e9 > best) best = all / seconds / 1e9;
    }
    return best;
}

stlora_ceiling_kind stlora_ceiling_of(const stlora_backend *table, stlora_dtype act)
{
    if (act != STLORA_BF16 || !table->fast_bf16) return STLORA_CEILING_FP32;
    return table->tiles ? STLORA_CEILING_TILES : STLORA_CEILING_BF16;
}

enum { READ_AT_LEAST = 64 << 20 }; /* bytes of one try: what is smaller is read again and again */

/* Eight sums, so that additions do not wait for one another. */
static uint64_t read_words(const uint64_t *words, size_t count)
{
    uint64_t sums[8] = {0}, all = 0;
    for (size_t i = 0; i + 8 <= count; i += 8)
        for (size_t k = 0; k < 8; k++)
            sums[k] += words[i + k];
    for (size_t k = 0; k < 8; k++)
        all += sums[k];
    return all;
}

typedef struct reading_bytes {
    const uint64_t *words;
    size_t part, passes;
    _Atomic uint64_t *sink;
} reading_bytes;

static void read_work(const void *context, int64_t task, int thread)
{
    const reading_bytes *r = context;
    const uint64_t *words = r->words + (size_t)task * r->part;
    uint64_t sum = 0;
    (void)thread;
    for (size_t pass = 0; pass < r->passes; pass++)
        sum ^= read_words(words, r->part > 0 ? r->part - pass % 2 : 0); /* no two passes alike: none is left out */
    atomic_fetch_add(r->sink, sum);
}

double stlora_ceiling_read(const void *bytes, size_t size, stlora_team *team, int tries)
{
    const int threads = stlora_team_threads(team);
    const size_t part = size / sizeof(uint64_t) / (size_t)threads;
    const size_t passes = size < READ_AT_LEAST ? READ_AT_LEAST / (size + 1) + 1 : 1;
    double best = 0;
    _Atomic uint64_t sink = 0;
    for (int i = 0; i < tries; i++) {
        const double begin = stlora_ceiling_clock(threads);
        stlora_team_run(team, threads, HUGE_VAL, read_work, &(reading_bytes){bytes, part, passes, &sink});
        const double seconds = stlora_ceiling_clock(threads) - begin;
        const double rate = (double)(part * passes * sizeof(uint64_t) * (size_t)threads) / seconds / 1e9;
        if (seconds > 0 && rate > best) best = rate;
    }
    return best;
}
