/* op_instance.h: the buffers of one case of op_cases.h, filled, and the case run on any table, whole or a part of its units.
 *
 * Traps are built in. The padding columns of every matrix are NaN by their bytes (all ones): who reads them poisons its result, who
 * writes them is found out. Inputs end exactly where their heap block ends, for the address sanitizer; what an op writes is
 * fenced by guard bytes on both sides. Nothing is aligned to more than its element.
 */
#ifndef STLORA_TESTS_OP_INSTANCE_H
#define STLORA_TESTS_OP_INSTANCE_H

#include <math.h>
#include <string.h>

#include "backend/op_cases.h"
#include "backend/ref/ref.h"
#include "support.h"

enum { OP_MOST_BUFFERS = 10, OP_GUARD = 64 };

typedef struct op_buffer {
    const char *name; /* NULL: this slot is not used by the case */
    stlora_dtype dtype;
    int64_t rows, cols, ld;
    bool written;              /* by the op: compared, fenced */
    bool side;                 /* a float field of the args: float in ref too */
    size_t bytes, block_bytes; /* of data; with what lies around it */
    unsigned char *block, *data;
} op_buffer;

typedef struct op_instance {
    op_case c;
    op_buffer buffer[OP_MOST_BUFFERS];
    int32_t *ids, *positions; /* one a unit; ids are targets for cross_entropy */
    uint64_t *keys;
    double loss, sum_squares; /* the results that are no buffer */
} op_instance;

/* The slots. */
enum { PX, PW, PBIAS, PH, PU, PY };                          /* product, lowrank_*: y or h or g in PY */
enum { NX, NW, NB, NY, NSTATS, NDY, NDX };                   /* norm */
enum { AQ, AK, AV, AO, ALSE, ADOUT, ADELTA, ADQ, ADK, ADV }; /* attention */
enum { EX, EY, EDY, EDX, ELOGPROB };                         /* element-wise ops, rope, embed, cross_entropy */
enum { ECOS = 2, ESIN = 3, ETABLE = 2, EPOSITIONS = 3 };
enum { WP, WM, WV, WG }; /* adamw */

static inline uint64_t op_random(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static inline double op_uniform(uint64_t *state, double low, double high)
{
    return low + (high - low) * (double)(op_random(state) >> 11) * 0x1p-53;
}

static inline double op_get(const op_buffer *b, int64_t i, int64_t j)
{
    return stlora_load(b->data, b->dtype, i * b->ld + j);
}

static inline void op_put(op_buffer *b, int64_t i, int64_t j, double value)
{
    stlora_store(b->data, b->dtype, i * b->ld + j, value);
}

static inline stlora_cmat op_const(const op_buffer *b, int64_t begin, int64_t end)
{
    return (stlora_cmat){b->data + (size_t)(begin * b->ld) * stlora_dtype_size(b->dtype), b->dtype, end - begin,
                         b->cols, b->ld};
}

static inline stlora_mat op_mat(op_buffer *b, int64_t begin, int64_t end)
{
    return (stlora_mat){b->data + (size_t)(begin * b->ld) * stlora_dtype_size(b->dtype), b->dtype, end - begin, b->cols,
                        b->ld};
}

/* The float fields of the args, from row begin on. The buffers are aligned to their element. */
static inline float *op_floats(op_buffer *b, int64_t begin)
{
    assert_int_equal(b->dtype, STLORA_F32);
    return (float *)(void *)b->data + begin * b->ld;
}

static inline const void *op_data(const op_buffer *b)
{
    return b->name ? b->data : NULL;
}

enum { READ = 0, WRITTEN = 1, SIDE = 2 };

/* A block for b's shape: fences around what is written, one element before the data, all of it ones. */
static inline void op_allocate(op_buffer *b)
{
    const size_t size = stlora_dtype_size(b->dtype), guard = b->written ? OP_GUARD : 0;
    b->bytes = (size_t)((b->rows - 1) * b->ld + b->cols) * size;
    b->block_bytes = guard + size + b->bytes + guard;
    b->block = malloc(b->block_bytes);
    assert_non_null(b->block);
    memset(b->block, 0xff, b->block_bytes);
    b->data = b->block + guard + size; /* malloc aligns to 16: the element is aligned, no vector is */
}

/* Adds a buffer of uniform values in [low, high). */
static inline void op_add(op_instance *x, int slot, const char *name, stlora_dtype dtype, int64_t rows, int64_t cols,
                          int64_t pad, int use, double low, double high)
{
    op_buffer *b = &x->buffer[slot];
    *b = (op_buffer){.name = name, .dtype = dtype, .rows = rows, .cols = cols, .ld = cols + pad};
    b->written = use & WRITTEN;
    b->side = use & SIDE;
    op_allocate(b);
    uint64_t state = (uint64_t)slot * 1000003 + (uint64_t)(rows * 7919 + cols);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++)
            op_put(b, i, j, op_uniform(&state, low, high));
    }
}

static inline void op_free(op_instance *x)
{
    for (int n = 0; n < OP_MOST_BUFFERS; n++)
        free(x->buffer[n].block);
    free(x->ids);
    free(x->positions);
    free(x->keys);
}

/* How many units a case can be cut into, and how many rows of q and of k an attention has. */
static inline int64_t op_units(const op_case *c)
{
    return c->op == OP_ATTENTION ? c->segment_count : c->tokens;
}

static inline int64_t op_queries(const op_case *c)
{
    return c->segments[c->segment_count - 1].q0 + c->segments[c->segment_count - 1].q_count;
}

static inline int64_t op_keys(const op_case *c)
{
    return c->segments[c->segment_count - 1].k0 + c->segments[c->segment_count - 1].k_count;
}

static inline void op_label(const op_case *c, char *text, size_t size)
{
    const stlora_dtype act = c->variant.act, weight = c->variant.weight, y = c->variant.y;
    (void)snprintf(text, size,
                   "%s%s tokens %lld in %lld out %lld rank %lld pad %lld heads %lld/%lld x %lld window %lld "
                   "groups %lld rotary %lld softcap %g kind %d%s%s%s%s%s%s, act %s "
                   "weight %s y %s %s %s",
                   op_names[c->op], c->backward ? " backward" : "", (long long)op_units(c), (long long)c->in,
                   (long long)c->out, (long long)c->rank, (long long)c->pad, (long long)c->heads,
                   (long long)c->kv_heads, (long long)c->head_dim, (long long)c->window, (long long)c->groups,
                   (long long)c->rotary_dim, c->softcap, c->kind, c->bias ? " bias" : "",
                   c->accumulate ? " accumulate" : "", c->in_place ? " in place" : "", c->no_w ? " no w" : "",
                   c->other ? " other dtype" : "", c->overwrite ? " overwrite" : "",
                   stlora_dtype_name(act), stlora_dtype_name(weight), stlora_dtype_name(y),
                   c->variant.layout == STLORA_OUT_IN ? "OUT_IN" : "IN_OUT", c->variant.like_a ? "A" : "B");
}

/* The dtype of a bias or of the table of positions. */
static inline stlora_dtype op_second_dtype(const op_case *c)
{
    if (!c->other || c->variant.weight == STLORA_F64) return c->variant.weight;
    return c->variant.weight == STLORA_F32 ? STLORA_BF16 : STLORA_F32;
}

static inline void op_make_product(op_instance *x)
{
    const op_case *c = &x->c;
    const op_variant *v = &c->variant;
    const bool out_in = v->layout == STLORA_OUT_IN;
    op_add(x, PX, "x", v->act, c->tokens, c->in, c->pad, READ, -1, 1);
    if (!c->no_w) {
        op_add(x, PW, "w", v->weight, out_in ? c->out : c->in, out_in ? c->in : c->out, c->pad, READ, -1, 1);
    }
    if (c->bias) op_add(x, PBIAS, "bias", op_second_dtype(c), 1, c->out, 0, READ, -1, 1);
    if (c->rank) {
        op_add(x, PH, "h", STLORA_F32, c->tokens, c->rank, 0, SIDE, -1, 1);
        op_add(x, PU, "u", STLORA_F32, v->like_a ? c->rank : c->out, v->like_a ? c->out : c->rank, 0, SIDE, -1, 1);
    }
    op_add(x, PY, "y", v->y, c->tokens, c->out, c->pad, WRITTEN, -1, 1);
}

static inline void op_make_norm(op_instance *x)
{
    const op_case *c = &x->c;
    const stlora_dtype act = c->variant.act, weight = c->variant.weight;
    const stlora_dtype stream = act == STLORA_F64 ? STLORA_F64 : STLORA_F32;
    const int64_t groups = c->groups ? c->groups : 1, cols = groups * c->in;
    const stlora_dtype in = c->groups ? act : stream;
    x->c.in_place = c->in_place && c->backward && act != STLORA_F64; /* differences need dy as it was */
    op_add(x, NX, "x", in, c->tokens, cols, c->pad, READ, -2, 3);
    op_add(x, NW, "w", weight, 1, c->in, 0, READ, 0.5, 1.5);
    if (c->bias) op_add(x, NB, "b", weight, 1, c->in, 0, READ, -1, 1);
    op_add(x, NSTATS, "stats", STLORA_F32, c->tokens, 2 * groups, 0, SIDE | (c->backward ? READ : WRITTEN), 0, 1);
    if (!c->backward) {
        op_add(x, NY, "y", act, c->tokens, cols, c->pad, WRITTEN, -1, 1);
        return;
    }
    op_add(x, NDY, "dy", act, c->tokens, cols, c->pad, x->c.in_place ? WRITTEN : READ, -1, 1);
    if (!x->c.in_place) op_add(x, NDX, "dx", in, c->tokens, cols, c->pad, WRITTEN, -1, 1);
}

static inline void op_make_attention(op_instance *x)
{
    const op_case *c = &x->c;
    const stlora_dtype act = c->variant.act;
    const int64_t queries = op_queries(c), keys = op_keys(c);
    const int64_t q_width = c->heads * c->head_dim, k_width = c->kv_heads * c->head_dim;
    const int out = c->backward ? READ : WRITTEN;
    op_add(x, AQ, "q", act, queries, q_width, c->pad, READ, -2, 2);
    op_add(x, AK, "k", act, keys, k_width, c->pad, READ, -2, 2);
    op_add(x, AV, "v", act, keys, k_width, c->pad, READ, -1, 1);
    op_add(x, AO, "o", act, queries, q_width, c->pad, out, -1, 1);
    op_add(x, ALSE, "lse", STLORA_F32, queries, c->heads, 0, SIDE | out, -1, 1);
    if (!c->backward) return;
    op_add(x, ADOUT, "dout", act, queries, q_width, c->pad, READ, -1, 1);
    op_add(x, ADELTA, "delta", STLORA_F32, queries, c->heads, 0, SIDE | WRITTEN, -1, 1);
    op_add(x, ADQ, "dq", act, queries, q_width, c->pad, WRITTEN, -1, 1);
    op_add(x, ADK, "dk", act, keys, k_width, c->pad, WRITTEN, -1, 1);
    op_add(x, ADV, "dv", act, keys, k_width, c->pad, WRITTEN, -1, 1);
}

static inline void op_make_elementwise(op_instance *x)
{
    const op_case *c = &x->c;
    const op_variant *v = &c->variant;
    const int64_t t = c->tokens;
    const stlora_dtype stream = v->act == STLORA_F64 ? STLORA_F64 : STLORA_F32;
    const bool gated = c->op == OP_ACTIVATION && stlora_gated((stlora_activation_kind)c->kind);
    const int64_t wide = gated ? 2 * c->in : c->in, half = (c->rotary_dim ? c->rotary_dim : c->head_dim) / 2;
    const int alias = c->in_place ? WRITTEN : READ;
    switch (c->op) {
    case OP_DROPOUT:
        op_add(x, EX, "x", v->act, t, c->in, c->pad, READ, -1, 1);
        op_add(x, EY, "y", v->y, t, c->in, c->pad, WRITTEN, -1, 1);
        break;
    case OP_SCALE:
        x->c.in_place = c->in_place && v->act == v->y; /* one memory has one dtype */
        op_add(x, EX, "x", v->act, t, c->in, c->pad, x->c.in_place ? WRITTEN : READ, -1, 1);
        if (!x->c.in_place) op_add(x, EY, "y", v->y, t, c->in, c->pad, WRITTEN, -1, 1);
        break;
    case OP_EMBED: /* out: rows of the tables */
        op_add(x, ETABLE, "table", v->weight, c->out, c->in, 0, READ, -1, 1);
        if (c->bias) op_add(x, EPOSITIONS, "position table", op_second_dtype(c), t + 3, c->in, 0, READ, -1, 1);
        op_add(x, EY, "x", stream, t, c->in, c->pad, WRITTEN, -1, 1);
        break;
    case OP_ROPE:
        op_add(x, EX, "x", v->act, t, c->heads * c->head_dim, c->pad, WRITTEN, -1, 1);
        op_add(x, ECOS, "cos", STLORA_F32, t + 3, half, 0, SIDE, 0, 6.3);
        op_add(x, ESIN, "sin", STLORA_F32, t + 3, half, 0, SIDE, 0, 1);
        for (int64_t i = 0; i < (t + 3) * half; i++) {
            const double angle = op_get(&x->buffer[ECOS], 0, i);
            op_put(&x->buffer[ECOS], 0, i, cos(angle));
            op_put(&x->buffer[ESIN], 0, i, sin(angle));
        }
        break;
    case OP_ACTIVATION:
        op_add(x, EX, "x", v->act, t, wide, c->pad, c->backward ? alias : READ, -6, 6);
        for (int64_t n = 5; n < t * c->in; n += 17) { /* far out on both sides, where exp and tanh saturate */
            const double far = (double[]){0, -0.0, 30, -30, 100, -100, 9, -9, 1e4, -1e4}[n % 10];
            op_put(&x->buffer[EX], n / c->in, n % c->in, far);
        }
        /* backward puts y out too: in place into dy */
        if (!c->backward || !c->in_place) op_add(x, EY, "y", v->act, t, c->in, c->pad, WRITTEN, -1, 1);
        if (c->backward) op_add(x, EDY, "dy", v->act, t, c->in, c->pad, alias, -1, 1);
        if (c->backward && !c->in_place) op_add(x, EDX, "dx", v->act, t, wide, c->pad, WRITTEN, -1, 1);
        break;
    case OP_CROSS_ENTROPY:
        x->c.in_place = c->in_place && c->backward && v->y == stream; /* one memory has one dtype */
        op_add(x, EX, "logits", stream, t, c->in, c->pad, x->c.in_place ? WRITTEN : READ, -8, 8);
        op_add(x, ELOGPROB, "logprob", STLORA_F32, t, 1, 0, SIDE | WRITTEN, -1, 1);
        if (c->backward && !x->c.in_place) {
            op_add(x, EDX, "dlogits", v->y, t, c->in, c->pad, WRITTEN, -1, 1);
        }
        break;
    case OP_ADAMW:
        op_add(x, WP, "p", STLORA_F32, 1, t, 0, SIDE | WRITTEN, -1, 1);
        op_add(x, WM, "m", STLORA_F32, 1, t, 0, SIDE | WRITTEN, -0.1, 0.1);
        op_add(x, WV, "v", STLORA_F32, 1, t, 0, SIDE | WRITTEN, 0, 0.01);
        op_add(x, WG, "g", STLORA_F32, 1, t, 0, SIDE, -1, 1);
        for (int64_t i = 3; i < t; i += 11) { /* as at the first step: no gradient yet */
            op_put(&x->buffer[WM], 0, i, 0);
            op_put(&x->buffer[WV], 0, i, 0);
            op_put(&x->buffer[WG], 0, i, 0);
        }
        break;
    case OP_PRODUCT:
    case OP_LOWRANK_PROJECT:
    case OP_LOWRANK_GRAD:
    case OP_NORM:
    case OP_ATTENTION:
    case OP_COUNT:
        fail_msg("%s is not made here", op_names[c->op]);
    }
}

static inline void op_run(const stlora_backend *backend, op_instance *x, int64_t begin, int64_t end);

/* What a backward op gets from its forward op, computed by ref: stats; o and lse. */
static inline void op_take_forward(op_instance *x)
{
    const op_case *c = &x->c;
    stlora_backend ref = {.name = "ref", .threads = 1};
    stlora_ref_fill(&ref);
    if (c->op == OP_NORM) op_add(x, NY, "y", STLORA_F64, c->tokens, x->buffer[NX].cols, 0, READ, 0, 0);
    x->c.backward = false;
    op_run(&ref, x, 0, op_units(c));
    x->c.backward = true;
    if (c->op == OP_NORM) {
        free(x->buffer[NY].block);
        x->buffer[NY] = (op_buffer){0};
    }
}

static inline void op_make(op_instance *x, const op_case *c)
{
    *x = (op_instance){.c = *c, .loss = 0.75, .sum_squares = -1};
    const op_variant *v = &c->variant;
    const int64_t units = op_units(c);
    x->ids = calloc((size_t)units, sizeof *x->ids);
    x->positions = calloc((size_t)units, sizeof *x->positions);
    x->keys = calloc((size_t)units, sizeof *x->keys);
    assert_true(x->ids && x->positions && x->keys);
    uint64_t state = 77;
    for (int64_t t = 0; t < units; t++) {
        const int64_t ids = c->op == OP_CROSS_ENTROPY ? c->in : c->op == OP_EMBED ? c->out : 1;
        x->ids[t] = (int32_t)(op_random(&state) % (uint64_t)ids);
        x->positions[t] = (int32_t)(op_random(&state) % (uint64_t)(units + 3));
        x->keys[t] = op_random(&state); /* any 64 bits */
    }
    switch (c->op) {
    case OP_PRODUCT:
        op_make_product(x);
        break;
    case OP_LOWRANK_PROJECT:
        op_add(x, PX, "x", v->act, c->tokens, c->in, c->pad, READ, -1, 1);
        op_add(x, PU, "u", STLORA_F32, v->like_a ? c->rank : c->in, v->like_a ? c->in : c->rank, 0, SIDE, -1, 1);
        op_add(x, PY, "h", STLORA_F32, c->tokens, c->rank, 0, SIDE | WRITTEN, -1, 1);
        break;
    case OP_LOWRANK_GRAD:
        op_add(x, PX, "x", v->act, c->tokens, c->in, c->pad, READ, -1, 1);
        op_add(x, PH, "h", STLORA_F32, c->tokens, c->rank, 0, SIDE, -1, 1);
        op_add(x, PY, "g", STLORA_F32, v->like_a ? c->rank : c->in, v->like_a ? c->in : c->rank, 0, SIDE | WRITTEN, -1,
               1);
        break;
    case OP_NORM:
        op_make_norm(x);
        break;
    case OP_ATTENTION:
        op_make_attention(x);
        break;
    case OP_DROPOUT:
    case OP_EMBED:
    case OP_SCALE:
    case OP_ROPE:
    case OP_ACTIVATION:
    case OP_CROSS_ENTROPY:
    case OP_ADAMW:
        op_make_elementwise(x);
        break;
    case OP_COUNT:
        fail_msg("no op");
    }
    if (c->backward && (c->op == OP_NORM || c->op == OP_ATTENTION)) op_take_forward(x);
}

/* A second instance with from's values; widened: everything in double that need not be float. */
static inline void op_copy_as(op_instance *to, const op_instance *from, bool widened)
{
    const size_t units = (size_t)op_units(&from->c);
    *to = *from;
    to->ids = malloc(units * sizeof *to->ids);
    to->positions = malloc(units * sizeof *to->positions);
    to->keys = malloc(units * sizeof *to->keys);
    assert_true(to->ids && to->positions && to->keys);
    memcpy(to->ids, from->ids, units * sizeof *to->ids);
    memcpy(to->positions, from->positions, units * sizeof *to->positions);
    memcpy(to->keys, from->keys, units * sizeof *to->keys);
    for (int n = 0; n < OP_MOST_BUFFERS; n++) {
        op_buffer *b = &to->buffer[n];
        const op_buffer *f = &from->buffer[n];
        if (!b->name) continue;
        if (widened && !b->side) b->dtype = STLORA_F64;
        op_allocate(b);
        if (b->dtype == f->dtype) {
            memcpy(b->block, f->block, b->block_bytes);
            continue;
        }
        for (int64_t i = 0; i < b->rows; i++) {
            for (int64_t j = 0; j < b->cols; j++)
                op_put(b, i, j, op_get(f, i, j));
        }
    }
}

static inline void op_copy(op_instance *to, const op_instance *from)
{
    op_copy_as(to, from, false);
}

static inline void op_widen(op_instance *to, const op_instance *from)
{
    op_copy_as(to, from, true);
}

/* True when the guards and the padding columns of everything written are as they were; prints what is not. */
static inline bool op_fences_stand(const op_instance *x)
{
    for (int n = 0; n < OP_MOST_BUFFERS; n++) {
        const op_buffer *b = &x->buffer[n];
        if (!b->name || !b->written) continue;
        const size_t size = stlora_dtype_size(b->dtype);
        const size_t before = (size_t)(b->data - b->block), all = before + b->bytes + OP_GUARD;
        for (size_t at = 0; at < all; at++) {
            const size_t element = (at - before) / size;
            const bool inside = at >= before && at < before + b->bytes;
            if (inside && (int64_t)element % b->ld < b->cols) continue;
            if (b->block[at] == 0xff) continue;
            print_message("%s: byte %lld from its start was written (%lld x %lld, ld %lld)\n", b->name,
                          (long long)at - (long long)before, (long long)b->rows, (long long)b->cols, (long long)b->ld);
            return false;
        }
    }
    return true;
}

#include "backend/op_run.h"

#endif
