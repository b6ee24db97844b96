/* level_avx512_amx.c: AVX-512's kernels, but for products of bf16 by bf16, attention's too, which multiply on the tile registers.
 * cmake/cpu_levels.cmake compiles this file for AMX_BF16; cpu.c calls it only on a machine that has it and a system that lets it. */
#if defined(__x86_64__) && !defined(STLORA_NO_SIMD)
#    include "backend/cpu/simd_avx512.h"

#    define STLORA_TILE_TALL
#    define STLORA_TILE_WIDE
#    include "backend/cpu/attention_grad_amx.h"
#    include "backend/cpu/lowrank_amx.h"
#    include "backend/cpu/product_amx.h"

void stlora_cpu_fill_avx512_amx(stlora_backend *table)
{
    stlora_cpu_fill_avx512(table);
    table->tiles = true;
    table->product = amx_product;
    table->lowrank_project = amx_lowrank_project;
    table->attention = amx_attention_run;
    table->attention_grad = amx_attention_grad;
}
#else
typedef int stlora_cpu_level_avx512_amx_is_absent;
#endif
