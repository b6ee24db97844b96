/* strip.c: see strip.h.
 *
 * For every op there is a function that names all that the op has token by token (its rows). It serves twice: to note where they lie, and to
 * make of an op's arguments those of a strip.
 *
 * What is noted is a list of one kind: rows, cut by tokens, or sums, cut by columns. An op of another kind runs the list first.
 */
#include "backend/cpu/strip.h"

#include <assert.h>

#include "backend/cpu/level.h"
#include "base/memory.h"

enum {
    MOST_CALLS = 32,
    MOST_MAPS = 3,
    MOST_SPANS = 64,
    LEAST_TOKENS = 32, /* of a strip: fewer are not worth packing weights for */
    COLUMNS_STEP = 16  /* columns of a sum are cut at multiples of this */
};
/* Nanoseconds of one thread, roughly: a multiply-add of a product, a number that a row op reads or writes. */
static const double MULTIPLY = 0.02, NUMBER = 0.1;

/* Rows of one tensor: token t has [first + t stride, + width), in bytes. */
typedef struct span {
    const char *first;
    int64_t stride, width;
} span;

/* What a function that names an op's rows does with them: to each pointer it adds from rows, the number of tokens becomes `tokens`, and where
 * spans is not NULL it notes them there. */
typedef struct rows_cut {
    int64_t from, tokens;
    span *spans;
    int count;
} rows_cut;

typedef union op_args {
    stlora_product_args product[MOST_MAPS];
    stlora_lowrank_project_args lowrank_project;
    stlora_lowrank_grad_args lowrank_grad;
    stlora_dropout_args dropout;
    stlora_embed_args embed;
    stlora_noise_args noise;
    stlora_column_scale_args column_scale;
    stlora_norm_args norm;
    stlora_norm_grad_args norm_grad;
    stlora_scale_args scale;
    stlora_rope_args rope;
    stlora_activation_args activation;
    stlora_activation_grad_args activation_grad;
} op_args;

/* A noted call. run makes it, on a table of one thread, for tokens (of a sum: columns) from ... from + count - 1. */
typedef struct call {
    void (*run)(const stlora_backend *alone, const op_args *args, int maps, int64_t from, int64_t count);
    op_args args;
    int maps;
    int64_t width; /* columns of a sum */
} call;

/* A table of one thread's own. */
typedef struct lone {
    stlora_backend table;
    stlora_cpu_scratch scratch;
} lone;

typedef enum list_kind { LIST_ROWS, LIST_SUMS } list_kind;

struct stlora_strip {
    stlora_backend kernels; /* the table as it was */
    lone *alone;            /* (threads) */
    bool open;              /* between begin and end */
    list_kind kind;         /* of the calls */
    int count, spans;
    int64_t tokens; /* of the calls that are rows */
    int64_t steps;  /* of the columns of all calls that are sums */
    double nanoseconds;
    call calls[MOST_CALLS];
    span rows[MOST_SPANS]; /* that the calls touch */
};

/* ---- rows ---- */

static const void *seen_rows(rows_cut *cut, const void *first, int64_t stride, int64_t width)
{
    if (!first) return NULL;
    if (cut->spans) cut->spans[cut->count++] = (span){first, stride, width};
    return (const char *)first + cut->from * stride;
}
static void *own_rows(rows_cut *cut, void *first, int64_t stride, int64_t width)
{
    if (!first) return NULL;
    (void)seen_rows(cut, first, stride, width);
    return (char *)first + cut->from * stride;
}
static void cut_seen(rows_cut *cut, stlora_cmat *m)
{
    const int64_t size = (int64_t)stlora_dtype_size(m->dtype);
    m->data = seen_rows(cut, m->data, m->ld * size, m->cols * size);
    m->rows = cut->tokens;
}
static void cut_own(rows_cut *cut, stlora_mat *m)
{
    const int64_t size = (int64_t)stlora_dtype_size(m->dtype);
    m->data = own_rows(cut, m->data, m->ld * size, m->cols * size);
    m->rows = cut->tokens;
}
static const float *seen_floats(rows_cut *cut, const float *first, int64_t count)
{
    const int64_t bytes = count * (int64_t)sizeof(float);
    return seen_rows(cut, first, bytes, bytes);
}
static float *own_floats(rows_cut *cut, float *first, int64_t count)
{
    const int64_t bytes = count * (int64_t)sizeof(float);
    return own_rows(cut, first, bytes, bytes);
}
static const int32_t *seen_numbers(rows_cut *cut, const int32_t *first)
{
    return seen_rows(cut, first, (int64_t)sizeof *first, (int64_t)sizeof *first);
}
static const uint64_t *seen_keys(rows_cut *cut, const uint64_t *first)
{
    return seen_rows(cut, first, (int64_t)sizeof *first, (int64_t)sizeof *first);
}

/* ---- every op's rows ---- */

static void product_rows(stlora_product_args *a, rows_cut *cut)
{
    a->tokens = cut->tokens;
    if (a->w) cut_seen(cut, &a->x);
    if (a->rank > 0) a->h = seen_floats(cut, a->h, a->rank);
    cut_own(cut, &a->y);
}
static void lowrank_project_rows(stlora_lowrank_project_args *a, rows_cut *cut)
{
    a->tokens = cut->tokens;
    cut_seen(cut, &a->x);
    a->h = own_floats(cut, a->h, a->rank);
}
static void dropout_rows(stlora_dropout_args *a, rows_cut *cut)
{
    a->tokens = cut->tokens;
    cut_seen(cut, &a->x);
    cut_own(cut, &a->y);
    a->token_keys = seen_keys(cut, a->token_keys);
}
static void embed_rows(stlora_embed_args *a, rows_cut *cut)
{
    a->tokens = cut->tokens;
    a->ids = seen_numbers(cut, a->ids);
    a->positions = seen_numbers(cut, a->positions);
    cut_own(cut, &a->x);
}
static void noise_rows(stlora_noise_args *a, rows_cut *cut)
{
    a->tokens = cut->tokens;
    cut_own(cut, &a->x);
    a->token_keys = seen_keys(cut, a->token_keys);
}
static void column_scale_rows(stlora_column_scale_args *a, rows_cut *cut)
{
    a->tokens = cut->tokens;
    cut_seen(cut, &a->x);
    cut_own(cut, &a->y);
}
static int64_t stats_of(int64_t groups)
{
    return 2 * (groups > 0 ? groups : 1);
}
static void norm_rows(stlora_norm_args *a, rows_cut *cut)
{
    a->tokens = cut->tokens;
    cut_seen(cut, &a->x);
    cut_own(cut, &a->y);
    a->stats = own_floats(cut, a->stats, stats_of(a->groups));
}
static void norm_grad_rows(stlora_norm_grad_args *a, rows_cut *cut)
{
    a->tokens = cut->tokens;
    cut_seen(cut, &a->x);
    cut_seen(cut, &a->dy);
    a->stats = seen_floats(cut, a->stats, stats_of(a->groups));
    cut_own(cut, &a->dx);
}
static void scale_rows(stlora_scale_args *a, rows_cut *cut)
{
    a->tokens = cut->tokens;
    cut_seen(cut, &a->x);
    cut_own(cut, &a->y);
}
static void rope_rows(stlora_rope_args *a, rows_cut *cut)
{
    a->tokens = cut->tokens;
    cut_own(cut, &a->x);
    a->positions = seen_numbers(cut, a->positions);
}
static void activation_rows(stlora_activation_args *a, rows_cut *cut)
{
    a->tokens = cut->tokens;
    cut_seen(cut, &a->x);
    cut_own(cut, &a->y);
}
static void activation_grad_rows(stlora_activation_grad_args *a, rows_cut *cut)
{
    a->tokens = cut->tokens;
    cut_seen(cut, &a->x);
    cut_seen(cut, &a->dy);
    cut_own(cut, &a->dx);
    cut_own(cut, &a->y);
}

/* ---- running what is noted ---- */

static int64_t share(int64_t whole, int64_t parts, int64_t part)
{
    return whole * part / parts;
}

static void rows_work(const void *context, int64_t task, int thread)
{
    const stlora_strip *s = context;
    const int64_t begin = share(s->tokens, s->kernels.threads, task);
    const int64_t end = share(s->tokens, s->kernels.threads, task + 1);
    for (int i = 0; i < s->count; i++)
        s->calls[i].run(&s->alone[thread].table, &s->calls[i].args, s->calls[i].maps, begin, end - begin);
}

static int64_t column_steps(const call *sum)
{
    return (sum->width + COLUMNS_STEP - 1) / COLUMNS_STEP;
}

/* The columns of all sums, one sum behind the other, are cut into as many equal runs as there are threads: a sum is cut where a run ends, and nowhere
 * else, since whatever part of it a thread has, it prepares all tokens for it. */
static void sums_work(const void *context, int64_t task, int thread)
{
    const stlora_strip *s = context;
    const int64_t begin = share(s->steps, s->kernels.threads, task);
    const int64_t end = share(s->steps, s->kernels.threads, task + 1);
    for (int64_t i = 0, first = 0; i < s->count; first += column_steps(&s->calls[i++])) {
        const call *c = &s->calls[i];
        const int64_t from = begin > first ? (begin - first) * COLUMNS_STEP : 0, to = (end - first) * COLUMNS_STEP;
        const int64_t columns = (to < c->width ? to : c->width) - from;
        if (columns > 0) c->run(&s->alone[thread].table, &c->args, c->maps, from, columns);
    }
}

static stlora_strip *strip_of(const stlora_backend *table)
{
    const stlora_cpu_scratch *scratch = table->scratch;
    return scratch->strip;
}

static void run_list(stlora_strip *s)
{
    if (s->count == 0) return;
    const bool rows = s->kind == LIST_ROWS;
    stlora_team_run(s->kernels.team, s->kernels.threads, s->nanoseconds, rows ? rows_work : sums_work, s);
    s->count = 0;
    s->steps = 0;
    s->spans = 0;
    s->nanoseconds = 0;
}

static const stlora_backend *kernels_now(const stlora_backend *table)
{
    stlora_strip *s = strip_of(table);
    run_list(s);
    return &s->kernels;
}

/* ---- noting ---- */

/* May a thread work on token t of one while another works on another token of the other? They lie apart, or every token of one overlaps the same
 * token of the other alone. */
static bool agree(const span *a, const span *b, int64_t tokens)
{
    const char *a_end = a->first + (tokens - 1) * a->stride + a->width,
               *b_end = b->first + (tokens - 1) * b->stride + b->width;
    if (a_end <= b->first || b_end <= a->first) return true;
    const int64_t d = b->first - a->first;
    return a->stride == b->stride && d + b->width <= a->stride && a->width - d <= a->stride;
}

/* Adds the rows of a call to those of the list; false: they do not agree, or are too many. */
static bool add_rows(stlora_strip *s, const span *rows, int count)
{
    int to = s->spans;
    for (int i = 0; i < count; i++) {
        bool known = false;
        for (int j = 0; j < to && !known; j++) {
            const span *other = &s->rows[j];
            known = other->first == rows[i].first && other->stride == rows[i].stride && other->width == rows[i].width;
            if (!known && !agree(other, &rows[i], s->tokens)) return false;
        }
        if (known) continue;
        if (to == MOST_SPANS) return false;
        s->rows[to++] = rows[i];
    }
    s->spans = to;
    return true;
}

/* The place for a call that is rows, or NULL: it is not to be noted. */
static call *note_rows(stlora_strip *s, int64_t tokens, const rows_cut *rows, double multiplies)
{
    if (s->kind != LIST_ROWS || s->tokens != tokens || s->count == MOST_CALLS ||
        !add_rows(s, rows->spans, rows->count)) {
        run_list(s);
        s->kind = LIST_ROWS;
        s->tokens = tokens;
        if (!add_rows(s, rows->spans, rows->count)) return NULL;
    }
    double numbers = 0;
    for (int i = 0; i < rows->count; i++)
        numbers += (double)rows->spans[i].width / sizeof(float);
    s->nanoseconds += (double)tokens * (multiplies * MULTIPLY + numbers * NUMBER);
    return &s->calls[s->count++];
}

static bool may_note(const stlora_strip *s, int64_t tokens)
{
    return s->open && tokens >= LEAST_TOKENS * s->kernels.threads;
}

/* A row op `name`: noted, or made at once. */
#define ROW_OP(name)                                                                                                   \
    static void run_##name(const stlora_backend *alone, const op_args *args, int maps, int64_t from, int64_t count)    \
    {                                                                                                                  \
        stlora_##name##_args part = args->name;                                                                        \
        (void)maps;                                                                                                    \
        name##_rows(&part, &(rows_cut){.from = from, .tokens = count});                                                \
        alone->name(alone, &part);                                                                                     \
    }                                                                                                                  \
    static void strip_##name(const stlora_backend *table, const stlora_##name##_args *a)                               \
    {                                                                                                                  \
        stlora_strip *s = strip_of(table);                                                                             \
        span spans[4];                                                                                                 \
        rows_cut all = {.tokens = a->tokens, .spans = spans};                                                          \
        stlora_##name##_args copy = *a;                                                                                \
        call *to = NULL;                                                                                               \
        if (may_note(s, a->tokens)) {                                                                                  \
            name##_rows(&copy, &all);                                                                                  \
            to = note_rows(s, a->tokens, &all, 0);                                                                     \
        }                                                                                                              \
        if (!to) {                                                                                                     \
            kernels_now(table)->name(&s->kernels, a);                                                                  \
            return;                                                                                                    \
        }                                                                                                              \
        to->run = run_##name;                                                                                          \
        to->args.name = *a;                                                                                            \
    }

ROW_OP(lowrank_project)
ROW_OP(dropout)
ROW_OP(embed)
ROW_OP(noise)
ROW_OP(column_scale)
ROW_OP(norm)
ROW_OP(norm_grad)
ROW_OP(scale)
ROW_OP(rope)
ROW_OP(activation)
ROW_OP(activation_grad)

static void run_product(const stlora_backend *alone, const op_args *args, int maps, int64_t from, int64_t count)
{
    stlora_product_args part[MOST_MAPS];
    for (int i = 0; i < maps; i++) {
        part[i] = args->product[i];
        product_rows(&part[i], &(rows_cut){.from = from, .tokens = count});
    }
    alone->product(alone, part, maps);
}

static void strip_product(const stlora_backend *table, const stlora_product_args *maps, int count)
{
    stlora_strip *s = strip_of(table);
    span spans[3 * MOST_MAPS];
    rows_cut all = {.tokens = maps->tokens, .spans = spans};
    call *to = NULL;
    if (count <= MOST_MAPS && may_note(s, maps->tokens)) {
        int64_t weights = 0, more = 0;
        for (int i = 0; i < count; i++) {
            stlora_product_args copy = maps[i];
            weights += copy.w ? copy.in * copy.out : 0;
            more += copy.rank * copy.out;
            product_rows(&copy, &all);
        }
        if (weights <= STLORA_CPU_FEW_WEIGHTS) to = note_rows(s, maps->tokens, &all, (double)(weights + more));
    }
    if (!to) {
        kernels_now(table)->product(&s->kernels, maps, count);
        return;
    }
    to->run = run_product;
    to->maps = count;
    for (int i = 0; i < count; i++)
        to->args.product[i] = maps[i];
}

/* Columns from ... from + count - 1 of a sum over tokens. */
static void run_lowrank_grad(const stlora_backend *alone, const op_args *args, int maps, int64_t from, int64_t count)
{
    stlora_lowrank_grad_args part = args->lowrank_grad;
    (void)maps;
    part.width = part.x.cols = count;
    part.x.data = (const char *)part.x.data + from * (int64_t)stlora_dtype_size(part.x.dtype);
    part.g += from * part.g_width_stride;
    alone->lowrank_grad(alone, &part);
}

/* Does a noted sum go to the same place? Then it has to be there first. */
static bool sum_is_noted(const stlora_strip *s, const float *g)
{
    for (int i = 0; i < s->count; i++)
        if (s->calls[i].args.lowrank_grad.g == g) return true;
    return false;
}

static void strip_lowrank_grad(const stlora_backend *table, const stlora_lowrank_grad_args *a)
{
    stlora_strip *s = strip_of(table);
    if (!s->open || a->width * a->rank > STLORA_CPU_FEW_WEIGHTS) {
        kernels_now(table)->lowrank_grad(&s->kernels, a);
        return;
    }
    if (s->kind != LIST_SUMS || s->count == MOST_CALLS || sum_is_noted(s, a->g)) run_list(s);
    s->kind = LIST_SUMS;
    s->nanoseconds += (double)(a->tokens * a->width * a->rank) * MULTIPLY;
    s->calls[s->count] = (call){.run = run_lowrank_grad, .args.lowrank_grad = *a, .width = a->width};
    s->steps += column_steps(&s->calls[s->count++]);
}

/* An op that is never noted. */
#define OTHER_OP(name)                                                                                                 \
    static void strip_##name(const stlora_backend *table, const stlora_##name##_args *a)                               \
    {                                                                                                                  \
        const stlora_backend *kernels = kernels_now(table);                                                            \
        kernels->name(kernels, a);                                                                                     \
    }

OTHER_OP(row_norms)
OTHER_OP(column_dot)
OTHER_OP(attention)
OTHER_OP(attention_grad)
OTHER_OP(cross_entropy)

static void strip_adamw(const stlora_backend *table, const stlora_adamw_args *args, int matrices)
{
    const stlora_backend *kernels = kernels_now(table);
    kernels->adamw(kernels, args, matrices);
}

static double strip_sum_squares(const stlora_backend *table, const float *x, int64_t count)
{
    const stlora_backend *kernels = kernels_now(table);
    return kernels->sum_squares(kernels, x, count);
}

static void strip_begin(const stlora_backend *table)
{
    stlora_strip *s = strip_of(table);
    assert(!s->open);
    s->open = true;
}

static void strip_end(const stlora_backend *table)
{
    stlora_strip *s = strip_of(table);
    assert(s->open);
    run_list(s);
    s->open = false;
}

stlora_status stlora_strip_create(stlora_strip **out, stlora_backend *table, stlora_error *err)
{
    stlora_strip *s;
    const stlora_cpu_scratch *scratch = table->scratch;
    *out = NULL;
    if (table->threads == 1) return STLORA_OK;
    STLORA_TRY(stlora_alloc(&s, 1, sizeof *s, "strips", err));
    const stlora_status status = stlora_alloc(&s->alone, (size_t)table->threads, sizeof *s->alone, "strips", err);
    if (status != STLORA_OK) {
        stlora_free(s);
        return status;
    }
    s->kernels = *table;
    for (int i = 0; i < table->threads; i++) {
        lone *l = &s->alone[i];
        l->scratch = (stlora_cpu_scratch){.threads = 1, .blocks = scratch->blocks + (size_t)i * STLORA_CPU_BLOCK_BYTES};
        l->table = *table;
        l->table.threads = 1;
        l->table.team = NULL;
        l->table.scratch = &l->scratch;
    }
    table->begin = strip_begin;
    table->end = strip_end;
    table->product = strip_product;
    table->lowrank_project = strip_lowrank_project;
    table->lowrank_grad = strip_lowrank_grad;
    table->dropout = strip_dropout;
    table->embed = strip_embed;
    table->noise = strip_noise;
    table->row_norms = strip_row_norms;
    table->column_scale = strip_column_scale;
    table->column_dot = strip_column_dot;
    table->norm = strip_norm;
    table->norm_grad = strip_norm_grad;
    table->scale = strip_scale;
    table->rope = strip_rope;
    table->attention = strip_attention;
    table->attention_grad = strip_attention_grad;
    table->activation = strip_activation;
    table->activation_grad = strip_activation_grad;
    table->cross_entropy = strip_cross_entropy;
    table->adamw = strip_adamw;
    table->sum_squares = strip_sum_squares;
    *out = s;
    return STLORA_OK;
}

void stlora_strip_free(stlora_strip *strip)
{
    if (!strip) return;
    stlora_free(strip->alone);
    stlora_free(strip);
}

size_t stlora_strip_bytes(const stlora_strip *strip)
{
    return strip ? sizeof *strip + (size_t)strip->kernels.threads * sizeof *strip->alone : 0;
}
