/* pack.h: several examples behind one another as one sequence without padding, in which attention sees only its own row.
 * Tests: tests/data/test_pack.c.
 */
#ifndef STLORA_DATA_PACK_H
#define STLORA_DATA_PACK_H

#include "data/example.h"

/* A packed micro-batch; T tokens in S segments. All arrays have room for the planned maximum. */
typedef struct stlora_pack {
    int64_t tokens, segments, supervised, max_tokens, max_segments;
    int32_t *ids;       /* [T] */
    int32_t *positions; /* [T], from 0 in every segment */
    int64_t *starts;    /* [S+1] offsets of the segments; starts[S] = T */
    int64_t *rows;      /* [S] the example's row number: names the random numbers of dropout */
    int32_t *targets;   /* [T] id to be predicted AT position t, i.e. the target of the token after it; -1 = none */
    int64_t *at;        /* [supervised] the positions t with targets[t] >= 0, ascending */
} stlora_pack;

/* stlora_pack_create: room for max_tokens and max_segments. Pair with _free. */
STLORA_NODISCARD stlora_status stlora_pack_create(stlora_pack *out, int64_t max_tokens, int64_t max_segments,
                                                  stlora_error *err);
void stlora_pack_free(stlora_pack *pack);

/* stlora_pack_fill: takes examples[chosen[from...]] in order while they fit into max_tokens and max_segments; returns how many were
 * taken (at least 1: an example is never longer than max_tokens, asserted). Never reorders, so that gradients are summed in the order
 * of the batch however it is cut. */
size_t stlora_pack_fill(stlora_pack *pack, const stlora_examples *examples, const uint32_t *chosen, size_t count,
                        size_t from);

#endif
