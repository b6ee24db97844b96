/* level_avx512_bf16.c: AVX-512's kernels, but for products of bf16 by bf16, attention's too, which multiply pairs in one instruction.
 * cmake/cpu_levels.cmake compiles this file for AVX512_BF16; cpu.c calls it only on a machine that has it. */
#if defined(__x86_64__) && !defined(STLORA_NO_SIMD)
#    include "backend/cpu/simd_avx512.h"

#    define STLORA_TILE_TALL
#    define STLORA_TILE_WIDE
#    define STLORA_LEVEL_BF16
#    include "backend/cpu/attention_grad_template.h"
#    include "backend/cpu/attention_template.h"
#    include "backend/cpu/product_template.h"

void stlora_cpu_fill_avx512_bf16(stlora_backend *table)
{
    stlora_cpu_fill_avx512(table);
    table->product = cpu_product;
    table->attention = cpu_attention;
    table->attention_grad = cpu_attention_grad;
}
#else
typedef int stlora_cpu_level_avx512_bf16_is_absent;
#endif
