/* cpu.c: which level this machine has, and the scratch and the threads of a table. */
#include "backend/cpu/cpu.h"

#include <assert.h>
#include <string.h>

#include "backend/cpu/level.h"
#include "backend/cpu/strip.h"
#include "base/memory.h"

#if defined(__x86_64__) && !defined(STLORA_NO_SIMD)
#    define WITH_SIMD 1
#    include <cpuid.h>
#    if defined(__linux__)
#        include <sys/syscall.h>
#        include <unistd.h>
#    endif
#else
#    define WITH_SIMD 0
#endif

typedef struct level {
    const char *level, *name;
    bool fast_bf16;
    void (*fill)(stlora_backend *table);
} level;

/* Worst first. */
static const level levels[] = {
    {"portable", "cpu portable", false, stlora_cpu_fill_portable},
#if WITH_SIMD
    {"avx2", "cpu avx2", false, stlora_cpu_fill_avx2},
    {"avx512", "cpu avx512", false, stlora_cpu_fill_avx512},
    {"avx512-bf16", "cpu avx512-bf16", true, stlora_cpu_fill_avx512_bf16},
    {"avx512-amx", "cpu avx512-amx", true, stlora_cpu_fill_avx512_amx},
#endif
};
enum { LEVELS = sizeof levels / sizeof levels[0] };

/* In the processor, saved by the system, and allowed to this process, which has to ask once (every thread then has them) and is refused
 * by systems that do not know them. */
bool stlora_cpu_has_tiles(void)
{
#if WITH_SIMD && defined(__linux__)
    enum { ASK_FOR_STATE = 0x1023 /* ARCH_REQ_XCOMP_PERM */, TILE_DATA = 18 };
    unsigned a, b, c, d;
    const unsigned tiles = 1u << 24, bf16 = 1u << 22;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & tiles) == 0 || (d & bf16) == 0) return false;
    return syscall(SYS_arch_prctl, ASK_FOR_STATE, TILE_DATA) == 0;
#else
    return false;
#endif
}

#if WITH_SIMD
/* F16C is not among the names that both compilers know at run time. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

/* How many of levels[] the processor and the operating system support, counted from the worst: each level contains the one
 * before it. The compilers' run-time support asks cpuid, and xgetbv for the registers that the system saves. */
static int supported(void)
{
#if WITH_SIMD
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) return 1;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return 2;
    if (!__builtin_cpu_supports("avx512bf16")) return 3;
    return stlora_cpu_has_tiles() ? 5 : 4;
#else
    return 1;
#endif
}

stlora_status stlora_cpu_override(stlora_backend *table, const char *level_name, stlora_error *err)
{
    assert(table->threads > 0);
    int best = supported(), chosen = best - 1;
    if (level_name) {
        chosen = 0;
        while (chosen < LEVELS && strcmp(levels[chosen].level, level_name) != 0)
            chosen++;
        if (chosen == LEVELS)
            return stlora_fail(err, STLORA_E_USAGE,
                               "the processor level is \"%s\"; wanted portable, avx2, avx512, "
                               "avx512-bf16 or avx512-amx, as far as this build has them",
                               level_name);
        if (chosen >= best)
            return stlora_fail(err, STLORA_E_USAGE, "this machine lacks the processor level %s; its best is %s",
                               level_name, levels[best - 1].level);
    }
    stlora_cpu_scratch *scratch;
    size_t threads = (size_t)table->threads;
    STLORA_TRY(stlora_alloc(&scratch, 1, sizeof *scratch, "scratch of the kernels", err));
    stlora_team *team = NULL;
    stlora_status status =
        stlora_alloc(&scratch->blocks, threads, STLORA_CPU_BLOCK_BYTES, "scratch of the kernels", err);
    if (status == STLORA_OK) status = stlora_team_create(&team, table->threads, err);
    if (status != STLORA_OK) {
        stlora_free(scratch->blocks);
        stlora_free(scratch);
        return status;
    }
    scratch->threads = table->threads;
    stlora_backend filled = *table;
    filled.scratch = scratch;
    filled.team = team;
    filled.name = levels[chosen].name;
    filled.fast_bf16 = levels[chosen].fast_bf16;
    levels[chosen].fill(&filled);
    status = stlora_strip_create(&scratch->strip, &filled, err);
    if (status != STLORA_OK) {
        stlora_cpu_release(&filled);
        return status;
    }
    scratch->bytes = sizeof *scratch + threads * STLORA_CPU_BLOCK_BYTES + stlora_strip_bytes(scratch->strip);
    *table = filled;
    return STLORA_OK;
}

void stlora_cpu_release(stlora_backend *table)
{
    stlora_cpu_scratch *scratch = table->scratch;
    if (scratch) {
        stlora_strip_free(scratch->strip);
        stlora_free(scratch->blocks);
    }
    stlora_free(scratch);
    table->scratch = NULL;
    stlora_team_free(table->team);
    table->team = NULL;
}

size_t stlora_cpu_scratch_bytes(const stlora_backend *table)
{
    const stlora_cpu_scratch *scratch = table->scratch;
    return scratch ? scratch->bytes : 0;
}
