/* pack.c: see pack.h. Invariant: segments stand in the order chosen, and the target of a segment's last token is always
 * none, so that nothing is predicted across a border. Tests: tests/data/test_pack.c. */
#include "data/pack.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"

stlora_status stlora_pack_create(stlora_pack *out, int64_t max_tokens, int64_t max_segments, stlora_error *err)
{
    assert(max_tokens > 0 && max_segments > 0);
    stlora_pack pack = {.max_tokens = max_tokens, .max_segments = max_segments};
    const size_t t = (size_t)max_tokens, s = (size_t)max_segments;
    const char *what = "packed batch";
    stlora_status status = stlora_alloc(&pack.ids, t, sizeof *pack.ids, what, err);
    if (status == STLORA_OK) status = stlora_alloc(&pack.positions, t, sizeof *pack.positions, what, err);
    if (status == STLORA_OK) status = stlora_alloc(&pack.targets, t, sizeof *pack.targets, what, err);
    if (status == STLORA_OK) status = stlora_alloc(&pack.at, t, sizeof *pack.at, what, err);
    if (status == STLORA_OK) status = stlora_alloc(&pack.starts, s + 1, sizeof *pack.starts, what, err);
    if (status == STLORA_OK) status = stlora_alloc(&pack.rows, s, sizeof *pack.rows, what, err);
    if (status != STLORA_OK) {
        stlora_pack_free(&pack);
        return status;
    }
    *out = pack;
    return STLORA_OK;
}

void stlora_pack_free(stlora_pack *pack)
{
    if (!pack) return;
    stlora_free(pack->ids);
    stlora_free(pack->positions);
    stlora_free(pack->targets);
    stlora_free(pack->at);
    stlora_free(pack->starts);
    stlora_free(pack->rows);
    *pack = (stlora_pack){0};
}

static void add_segment(stlora_pack *pack, const stlora_example *example)
{
    const int64_t start = pack->tokens;
    memcpy(pack->ids + start, example->ids, (size_t)example->length * sizeof *pack->ids);
    for (int64_t i = 0; i < example->length; i++) {
        const int32_t target = i + 1 < example->length ? stlora_example_target(example, i + 1) : -1;
        pack->positions[start + i] = (int32_t)i;
        pack->targets[start + i] = target;
        if (target >= 0) pack->at[pack->supervised++] = start + i;
    }
    pack->rows[pack->segments++] = example->row;
    pack->tokens += example->length;
    pack->starts[pack->segments] = pack->tokens;
}

size_t stlora_pack_fill(stlora_pack *pack, const stlora_examples *examples, const uint32_t *chosen, size_t count,
                        size_t from)
{
    assert(from < count);
    pack->tokens = pack->segments = pack->supervised = 0;
    pack->starts[0] = 0;
    size_t taken = 0;
    while (from + taken < count && pack->segments < pack->max_segments) {
        const stlora_example example = stlora_examples_at(examples, chosen[from + taken]);
        assert(example.length <= pack->max_tokens); /* the plan's room is that of the longest example at least */
        if (example.length > pack->max_tokens - pack->tokens) break;
        add_segment(pack, &example);
        taken++;
    }
    return taken;
}
