/* op_levels.h: cpu's tables at every level that this machine and this build have, forced through the environment. */
#ifndef STLORA_TESTS_OP_LEVELS_H
#define STLORA_TESTS_OP_LEVELS_H

#include <string.h>

#include "backend/backend.h"
#include "support.h"

typedef struct op_levels {
    stlora_backend *table[8];
    int count;
} op_levels;

static inline void op_levels_open(op_levels *levels, int threads)
{
    static const char *const names[] = {"portable", "avx2", "avx512", "avx512-bf16", "avx512-amx"};
    levels->count = 0;
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        stlora_error err = {0};
        assert_int_equal(setenv("STLORA_CPU_LEVEL", names[n], 1), 0);
        const stlora_status status = stlora_backend_create(&levels->table[levels->count], "cpu", threads, &err);
        if (status == STLORA_OK) {
            assert_string_equal(levels->table[levels->count]->name + strlen("cpu "), names[n]);
            levels->count++;
        } else if (status != STLORA_E_USAGE || n == 0) { /* portable is everywhere */
            fail_msg("%s: %s", names[n], err.text);
        }
    }
    assert_int_equal(unsetenv("STLORA_CPU_LEVEL"), 0);
}

static inline void op_levels_close(op_levels *levels)
{
    for (int n = 0; n < levels->count; n++)
        stlora_backend_free(levels->table[n]);
}

#endif
