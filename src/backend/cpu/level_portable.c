/* level_portable.c: the kernels of this level. */
#include "backend/cpu/level.h"

void stlora_cpu_fill_portable(stlora_backend *table)
{
    (void)table;
}
