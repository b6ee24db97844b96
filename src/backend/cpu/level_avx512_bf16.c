/* level_avx512_bf16.c: the kernels of this level. */
#include "backend/cpu/level.h"

void stlora_cpu_fill_avx512_bf16(stlora_backend *table)
{
    (void)table;
}
