/* level.h: what the files of this folder share: the scratch, the list of levels.
 * Not for other rooms. */
#ifndef STLORA_BACKEND_CPU_LEVEL_H
#define STLORA_BACKEND_CPU_LEVEL_H

#include "backend/backend.h"

/* Bytes of scratch per thread; product_plan_template.h and attention_template.h say what they put there. */
#define STLORA_CPU_BLOCK_BYTES ((size_t)3328 * 1024)

/* So few weights of a product that each thread may pack them all, and take its own tokens through all columns: product_template.h, strip.c. */
enum { STLORA_CPU_FEW_WEIGHTS = 65536 };

/* What table->scratch points to. */
typedef struct stlora_cpu_scratch {
    size_t bytes; /* of the whole allocation */
    int threads;
    unsigned char *blocks; /* (threads, STLORA_CPU_BLOCK_BYTES) */
    struct stlora_strip *strip; /* NULL with one thread */
} stlora_cpu_scratch;

static inline void *stlora_cpu_block(const stlora_backend *table, int thread)
{
    const stlora_cpu_scratch *scratch = table->scratch;
    return scratch->blocks + (size_t)thread * STLORA_CPU_BLOCK_BYTES;
}

/* Each level's kernels; table->scratch is there already. */
void stlora_cpu_fill_portable(stlora_backend *table);
void stlora_cpu_fill_avx2(stlora_backend *table);
void stlora_cpu_fill_avx512(stlora_backend *table);
void stlora_cpu_fill_avx512_bf16(stlora_backend *table);
void stlora_cpu_fill_avx512_amx(stlora_backend *table);

#endif
