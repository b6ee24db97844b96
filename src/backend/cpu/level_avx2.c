/* level_avx2.c: the kernels for AVX2, FMA and F16C. cmake/cpu_levels.cmake compiles this file for them; cpu.c calls it only on a
 * machine that has them. */
#if defined(__x86_64__) && !defined(STLORA_NO_SIMD)
#    include "backend/cpu/simd_avx2.h"

#    define STLORA_TILE_TALL
#    include "backend/cpu/fill_template.h"

void stlora_cpu_fill_avx2(stlora_backend *table)
{
    cpu_fill(table);
}
#else
typedef int stlora_cpu_level_avx2_is_absent;
#endif
