/* op_tables.h: cpu's tables at every level and ref's, whose results are to have the same bits one way and another. */
#ifndef STLORA_TESTS_OP_TABLES_H
#define STLORA_TESTS_OP_TABLES_H

#include "backend/op_instance.h"
#include "backend/op_levels.h"

/* Every table under test; ref comes last. */
typedef struct tables {
    op_levels levels;
    stlora_backend *all[9];
    int count;
} tables;

static inline void tables_open(tables *t, int threads)
{
    stlora_error err = {0};
    op_levels_open(&t->levels, threads);
    for (t->count = 0; t->count < t->levels.count; t->count++)
        t->all[t->count] = t->levels.table[t->count];
    assert_ok(stlora_backend_create(&t->all[t->count++], "ref", threads, &err));
}

static inline void tables_close(tables *t)
{
    stlora_backend_free(t->all[t->count - 1]);
    op_levels_close(&t->levels);
}

/* True when everything written has the same bytes, paddings and fences too; prints the first element that has not. */
static inline bool same_bits(const op_instance *got, const op_instance *want)
{
    for (int slot = 0; slot < OP_MOST_BUFFERS; slot++) {
        const op_buffer *g = &got->buffer[slot], *w = &want->buffer[slot];
        if (!g->name || !g->written || (got->c.op == OP_ATTENTION && slot == ADELTA)) continue;
        if (memcmp(g->data, w->data, g->bytes) == 0) continue;
        const size_t size = stlora_dtype_size(g->dtype);
        size_t e = 0;
        while (memcmp(g->data + e * size, w->data + e * size, size) == 0)
            e++;
        const int64_t i = (int64_t)e / g->ld, j = (int64_t)e % g->ld;
        print_message("%s[%lld,%lld] is %.17g, should be %.17g\n", g->name, (long long)i, (long long)j, op_get(g, i, j),
                      op_get(w, i, j));
        return false;
    }
    const bool sums = memcmp(&got->loss, &want->loss, sizeof got->loss) == 0 &&
                      memcmp(&got->sum_squares, &want->sum_squares, sizeof got->sum_squares) == 0;
    if (!sums) print_message("loss %.17g, should be %.17g\n", got->loss, want->loss);
    return sums;
}

#endif
