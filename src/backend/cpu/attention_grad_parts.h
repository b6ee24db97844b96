/* attention_grad_parts.h: the parts that attention's gradient is shared out in. A part is a head of a segment, or some of its queries.
 *
 * Heads that do not come out even among the threads are cut into two parts of equal work. dk and dv add up over queries ascending, so for a block
 * of keys the later part waits until the earlier one has left it; dq belongs to one of them. Parts are claimed in one order, whoever claims:
 * all earlier parts, the heads that are whole, the later parts. So what a part waits for has been claimed before it, and is done, or
 * nearly, when there are whole heads between. An earlier part waits for nobody.
 * Test: tests/backend/test_attention_parts.c.
 */
#ifndef STLORA_BACKEND_CPU_ATTENTION_GRAD_PARTS_H
#define STLORA_BACKEND_CPU_ATTENTION_GRAD_PARTS_H

#include "backend/cpu/attention_operands.h"
#include "backend/cpu/progress.h"

enum { MOST_CUT_HEADS = 64 };

/* What a later part waits for: keys of the segment, from the first on, that the earlier part has left. A cache line of its own. */
typedef struct keys_left {
    _Alignas(CACHE_LINE) progress count;
} keys_left;

typedef struct grad_parts {
    const stlora_attention_grad_args *args;
    int64_t heads, cut; /* of all segments; the last of them, which are cut */
    keys_left left[MOST_CUT_HEADS];
    _Alignas(CACHE_LINE) progress next;
} grad_parts;

/* Queries [begin, end) of a segment's head. */
typedef struct grad_part {
    const stlora_segment *segment;
    int64_t head, begin, end;
    keys_left *before, *after; /* of the earlier part, for the later one; NULL where there is none */
} grad_part;

static void grad_parts_begin(grad_parts *p, const stlora_attention_grad_args *a, int threads)
{
    p->args = a;
    p->heads = a->segment_count * a->heads;
    p->cut = least(p->heads % threads, MOST_CUT_HEADS);
    for (int64_t i = 0; i < p->cut; i++)
        atomic_init(&p->left[i].count, 0);
    atomic_init(&p->next, 0);
}

static int64_t grad_parts_count(const grad_parts *p)
{
    return p->heads + p->cut;
}

/* Blocks of keys that the block of queries at i sees: what it costs. */
static int64_t key_blocks(const stlora_segment *s, int64_t window, int64_t i)
{
    const int64_t end = end_key(s, least(i + BLOCK, s->q_count) - 1);
    return (end + BLOCK - 1) / BLOCK - first_key(s, window, i) / BLOCK;
}

/* The first query of a segment's later part, where a block of queries begins: the work before it is about half. */
static int64_t later_queries(const stlora_segment *s, int64_t window)
{
    int64_t all = 0, before = 0, i = 0;
    for (; i < s->q_count; i += BLOCK)
        all += key_blocks(s, window, i);
    for (i = 0; i < s->q_count && 2 * before + key_blocks(s, window, i) <= all; i += BLOCK)
        before += key_blocks(s, window, i);
    return least(i, s->q_count);
}

/* A task's part: where heads are cut, the next one that nobody has claimed; else head after head, so that a thread begins with the rows that it
 * has in its cache. To be called once for each task. */
static grad_part grad_parts_claim(grad_parts *p, int64_t task)
{
    const int64_t claimed = p->cut ? progress_claim(&p->next) : task, whole = p->heads - p->cut;
    const bool earlier = claimed < p->cut, later = claimed >= p->heads;
    const int64_t cut = earlier ? claimed : claimed - p->heads, at = earlier || later ? whole + cut : claimed - p->cut;
    const stlora_segment *segment = &p->args->segments[at / p->args->heads];
    grad_part part = {.segment = segment, .head = at % p->args->heads, .end = segment->q_count};
    if (earlier) {
        part.end = later_queries(segment, p->args->window);
        part.after = &p->left[cut];
    } else if (later) {
        part.begin = later_queries(segment, p->args->window);
        part.before = &p->left[cut];
    }
    return part;
}

/* Says that the part has left `keys` keys; that it has left them all. */
static void grad_part_leave(const grad_part *part, int64_t keys)
{
    if (part->after) progress_reach(&part->after->count, keys);
}
static void grad_part_leave_all(const grad_part *part)
{
    grad_part_leave(part, INT64_MAX);
}

/* Waits until the part before has left `keys` keys. */
static void grad_part_wait(const grad_part *part, int64_t keys)
{
    if (part->before) progress_wait(&part->before->count, keys);
}

#endif
