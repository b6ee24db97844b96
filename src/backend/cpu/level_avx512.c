/* level_avx512.c: the kernels for AVX-512 F, BW, DQ and VL. cmake/cpu_levels.cmake compiles this file for them; cpu.c calls it only
 * on a machine that has them. */
#if defined(__x86_64__) && !defined(STLORA_NO_SIMD)
#    include "backend/cpu/simd_avx512.h"

#    define STLORA_TILE_TALL
#    define STLORA_TILE_WIDE
#    include "backend/cpu/fill_template.h"

void stlora_cpu_fill_avx512(stlora_backend *table)
{
    cpu_fill(table);
}
#else
typedef int stlora_cpu_level_avx512_is_absent;
#endif
