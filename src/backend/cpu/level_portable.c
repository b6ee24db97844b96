/* level_portable.c: the kernels for any machine: generic vectors of four floats, no fused multiply-add. */
#include "backend/cpu/simd_portable.h"

#include "backend/cpu/fill_template.h"

void stlora_cpu_fill_portable(stlora_backend *table)
{
    cpu_fill(table);
}
