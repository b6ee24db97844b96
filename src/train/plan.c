/* plan.c: choosing the shape of a pass under a budget. Every choice (smaller micro-batches, slices and chunks of logits; parts of blocks
 * computed again; inputs that are not kept) has its price in operations; the cheapest shape that fits is found among all of them.
 * None of them changes a bit of the result. */
#include "train/plan.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __GLIBC__
#    include <malloc.h>
#endif

#include "base/memory.h"
#include "base/size.h"

enum {
    MICRO_TOKENS = 2048, /* products reach their full rate well below this */
    SLICE = 512,         /* products of more rows are no faster, and their operands leave the cache */
    LEAST_SLICE = 64,    /* of slices and of chunks of logits, below which the price is felt */
    LEAST_LOGITS = 16,
    LOGITS_BYTES = 320 << 20, /* of one chunk */
    MOST_STRIDE = 8           /* beyond, an input saved costs more than it brings */
};

stlora_status stlora_memory_parse(const char *text, int64_t *bytes, stlora_error *err)
{
    char *end;
    errno = 0;
    bool decimal = isdigit((unsigned char)text[0]) && !strpbrk(text, "xX"); /* strtod also reads 0x10 */
    double value = decimal ? strtod(text, &end) : -1;
    static const char units[] = "KMGT";
    if (value >= 0 && errno == 0) {
        const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
        if (unit) {
            for (const char *u = units; u <= unit; u++)
                value *= 1024;
            end++;
        }
        if (!*end && value >= 1 && value < 9e18) {
            *bytes = (int64_t)value;
            return STLORA_OK;
        }
    }
    return stlora_fail(err, STLORA_E_USAGE, "--max-memory: wanted bytes such as 800M or 4G, found \"%s\"", text);
}

/* First number in a file, after `label` where given; -1 when there is none ("max" included). */
static int64_t number_in(const char *path, const char *label)
{
    FILE *file = fopen(path, "r");
    char line[256];
    int64_t value = -1;
    while (file && value < 0 && fgets(line, sizeof line, file)) {
        const char *at = label ? strstr(line, label) : line;
        if (!at) continue;
        at += label ? strlen(label) : 0;
        while (isspace((unsigned char)*at))
            at++;
        if (isdigit((unsigned char)*at)) value = strtoll(at, NULL, 10);
    }
    if (file) (void)fclose(file);
    return value;
}

int64_t stlora_memory_free(void)
{
    int64_t kib = number_in("/proc/meminfo", "MemAvailable:");
    int64_t bytes = kib < 0 ? (int64_t)4 << 30 : kib * 1024;
    int64_t limit = number_in("/sys/fs/cgroup/memory.max", NULL),
            used = number_in("/sys/fs/cgroup/memory.current", NULL);
    if (limit > 0 && used >= 0 && limit - used < bytes) bytes = limit > used ? limit - used : 0;
    return bytes / 10 * 9;
}

int64_t stlora_memory_held(int64_t *peak)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
    static const char status[] = "/proc/self/status";
    int64_t held = number_in(status, "RssAnon:"), most = number_in(status, "VmHWM:"),
            files = number_in(status, "RssFile:"), shared = number_in(status, "RssShmem:");
    if (held < 0) held = 0;
    most -= files + shared; /* files are mapped once and stay, so at the peak there were no more of them */
    *peak = (most > held ? most : held) * 1024;
    return held * 1024;
}

/* ---- what a shape costs ---- */

/* Time of a product of few rows against that of many, as measured (bench/LOG.md, "Memory"): the weights come from memory once for all
 * rows. A block's are 3 % slower at 128 rows and 30 % at 16; the vocabulary's, which no cache holds, 27 % and 190 %. */
static double of_rows(int64_t rows, double slow)
{
    return 1 + slow / (double)rows;
}

static double site_flops(const stlora_transformer *model, int site)
{
    const stlora_place *place = &model->blocks[0].sites[site];
    return 2.0 * (double)place->n * (double)place->m;
}

/* Operations of each part for one token, computed once. Attention over `longest` positions runs at about two
 * thirds of a product's rate. */
static void part_flops(const stlora_transformer *model, int64_t longest, double flops[STLORA_PART_COUNT])
{
    const stlora_hf_config *c = &model->config;
    double attention = 2.0 * (double)(c->heads * c->head_dim) * (double)(longest + 1);
    flops[STLORA_PART_ATTENTION] = site_flops(model, STLORA_SITE_QKV) + 1.5 * attention;
    flops[STLORA_PART_MID] = site_flops(model, STLORA_SITE_O);
    flops[STLORA_PART_UP] = site_flops(model, STLORA_SITE_UP);
    if (model->family->norms[STLORA_AFTER_INNER]) flops[STLORA_PART_UP] += site_flops(model, STLORA_SITE_DOWN);
}

double stlora_plan_cost(const stlora_transformer *model, const stlora_lora *lora, const stlora_pass_shape *shape)
{
    int64_t reached = stlora_pass_blocks_reached(model, lora, shape->train), bare = reached;
    int64_t slice = shape->slice > 0 && shape->slice < shape->max_tokens ? shape->slice : shape->max_tokens;
    int64_t rows = shape->logits_rows < shape->max_tokens ? shape->logits_rows : shape->max_tokens;
    double flops[STLORA_PART_COUNT], block = site_flops(model, STLORA_SITE_DOWN), again = 0;
    part_flops(model, shape->max_positions, flops);
    for (int part = 0; part < STLORA_PART_COUNT; part++) {
        block += flops[part];
        again += flops[part] * (double)shape->again[part];
        if (shape->again[part] < bare) bare = shape->again[part];
    }
    /* Of every stretch of blocks all but the last are walked through once more. */
    int64_t stride = shape->input_stride > 1 ? shape->input_stride : 1, stretches = (bare + stride - 1) / stride;
    double forward = block * (double)(model->config.layers + reached + bare - stretches);
    double head = 2.0 * (double)(model->config.hidden_size * model->config.vocab_size) * (shape->train ? 2 : 1);
    return (forward + again) * of_rows(slice, 5) + head * of_rows(rows, 30);
}

/* ---- the cheapest that fits ---- */

static size_t shape_bytes(const stlora_transformer *model, const stlora_lora *lora, const stlora_pass_shape *shape)
{
    stlora_pass_bytes bytes;
    stlora_pass_measure(model, lora, shape, &bytes);
    return bytes.activations + bytes.workspace + bytes.logits;
}

typedef struct search {
    const stlora_transformer *model;
    const stlora_lora *lora;
    int64_t reached;  /* blocks of which something may be computed again */
    size_t available; /* bytes for the pass */
    size_t *saved
        [STLORA_PART_COUNT]; /* [reached + 1] bytes that k blocks less keep than the one that brings the shared scratch, k from 1 */
    stlora_pass_shape best;
    double cost;  /* of the best; infinite while there is none */
    size_t least; /* bytes of the leanest shape seen */
} search;

static void consider(search *s, const stlora_pass_shape *shape, size_t bytes)
{
    if (bytes < s->least) s->least = bytes;
    if (bytes > s->available) return;
    double cost = stlora_plan_cost(s->model, s->lora, shape);
    if (cost < s->cost) {
        s->cost = cost;
        s->best = *shape;
    }
}

/* Every saving is measured, since blocks may have different ranks. It depends on the micro-batch alone. */
static void measure_savings(search *s, stlora_pass_shape shape)
{
    for (int part = 0; part < STLORA_PART_COUNT; part++) {
        memset(shape.again, 0, sizeof shape.again);
        for (int64_t k = 1; k <= s->reached; k++) {
            shape.again[part] = k;
            s->saved[part][k] = shape_bytes(s->model, s->lora, &shape);
        }
        for (int64_t k = s->reached; k >= 1; k--)
            s->saved[part][k] = s->saved[part][1] - s->saved[part][k];
    }
}

/* The counts of blocks that compute a part again, where each part in `shape` that has any has at least one: for all counts of the first
 * two the fewest of the third that fit. Savings add up, since parts lie beside each other. */
static void search_counts(search *s, stlora_pass_shape shape)
{
    size_t start = shape_bytes(s->model, s->lora, &shape);
    int64_t most[STLORA_PART_COUNT];
    size_t zero = 0;
    const size_t *saved[STLORA_PART_COUNT];
    for (int part = 0; part < STLORA_PART_COUNT; part++) { /* a part that every block keeps saves nothing */
        most[part] = shape.again[part] ? s->reached : 0;
        saved[part] = shape.again[part] ? s->saved[part] : &zero;
    }
    for (int64_t i = shape.again[0]; i <= most[0]; i++) {
        int64_t k = most[2];
        for (int64_t j = shape.again[1]; j <= most[1]; j++) {
            size_t fewer = saved[0][i] + saved[1][j];
            while (k > shape.again[2] && start - fewer - saved[2][k - 1] <= s->available)
                k--;
            stlora_pass_shape found = shape;
            found.again[0] = i;
            found.again[1] = j;
            found.again[2] = k;
            consider(s, &found, start - fewer - saved[2][k]);
        }
    }
}

/* All that is left to choose when the micro-batch, the slice and the chunk of logits are chosen. */
static void search_kept(search *s, stlora_pass_shape shape)
{
    if (stlora_plan_cost(s->model, s->lora, &shape) >= s->cost) return;
    for (int some = 0; some < 1 << STLORA_PART_COUNT; some++) {
        for (int part = 0; part < STLORA_PART_COUNT; part++)
            shape.again[part] = some >> part & 1;
        if (some == 0 || s->reached > 0) search_counts(s, shape);
    }
    for (int part = 0; part < STLORA_PART_COUNT; part++)
        shape.again[part] = s->reached;
    for (shape.input_stride = 2; shape.input_stride <= MOST_STRIDE && shape.input_stride <= s->reached;
         shape.input_stride++)
        consider(s, &shape, shape_bytes(s->model, s->lora, &shape));
}

/* The next smaller of sizes halved down to `least`; 0 behind the last. */
static int64_t halved(int64_t size, int64_t least)
{
    if (size <= least) return 0;
    return size / 2 > least ? size / 2 : least;
}

static void search_sizes(search *s, const stlora_plan_task *task)
{
    int64_t widest_chunk = LOGITS_BYTES / (s->model->config.vocab_size * (int64_t)sizeof(float));
    int64_t wanted = task->longest > MICRO_TOKENS ? task->longest : MICRO_TOKENS;
    if (widest_chunk > SLICE) widest_chunk = SLICE;
    if (widest_chunk < LEAST_LOGITS) widest_chunk = LEAST_LOGITS;
    if (wanted > task->batch_tokens) wanted = task->batch_tokens;
    stlora_pass_shape shape = {.max_segments = task->batch_size,
                               .max_positions = task->longest,
                               .train = task->train,
                               .act = task->act,
                               .neftune_noise_alpha = task->neftune_noise_alpha};
    for (int64_t tokens = wanted; tokens; tokens = halved(tokens, task->longest)) {
        shape.max_tokens = tokens;
        shape.slice = SLICE;
        shape.logits_rows = 1;
        measure_savings(s, shape);
        for (int64_t slice = SLICE; slice; slice = halved(slice, LEAST_SLICE)) {
            shape.slice = slice;
            for (int64_t rows = widest_chunk < tokens ? widest_chunk : tokens; rows;
                 rows = halved(rows, LEAST_LOGITS)) {
                shape.logits_rows = rows;
                search_kept(s, shape);
            }
        }
    }
}

/* Walks through all shapes with room for `available` bytes. */
static stlora_status search_all(search *s, const stlora_transformer *model, const stlora_lora *lora,
                                const stlora_plan_task *task, size_t available, stlora_error *err)
{
    *s = (search){.model = model,
                  .lora = lora,
                  .reached = stlora_pass_blocks_reached(model, lora, task->train),
                  .available = available,
                  .cost = (double)INFINITY,
                  .least = SIZE_MAX};
    size_t count = (size_t)s->reached + 1, *saved;
    STLORA_TRY(stlora_alloc(&saved, count * STLORA_PART_COUNT, sizeof *saved, "the plan", err));
    for (size_t part = 0; part < STLORA_PART_COUNT; part++)
        s->saved[part] = saved + part * count;
    search_sizes(s, task);
    stlora_free(saved);
    return STLORA_OK;
}

stlora_status stlora_plan_shape(const stlora_transformer *model, const stlora_lora *lora, const stlora_plan_task *task,
                                int64_t budget, stlora_pass_shape *out, stlora_error *err)
{
    enum { UNSURE = 256 << 10 }; /* bytes by which what the process itself holds differs from start to start, several times over */
    search s;
    const size_t available = (size_t)budget > task->fixed ? (size_t)budget - task->fixed : 0;
    STLORA_TRY(search_all(&s, model, lora, task, available, err));
    if (!isfinite(s.cost))
        return stlora_fail(
            err, STLORA_E_NOMEM,
            "--max-memory: this run needs at least %zu MiB beside the checkpoint's files, given %lld MiB",
            ((s.least + task->fixed + UNSURE) >> 20) + 1, (long long)(budget >> 20));
    *out = s.best;
    return STLORA_OK;
}

stlora_status stlora_plan_least(const stlora_transformer *model, const stlora_lora *lora, const stlora_plan_task *task,
                                size_t *bytes, stlora_error *err)
{
    search s;
    STLORA_TRY(search_all(&s, model, lora, task, 0, err));
    *bytes = s.least + task->fixed;
    return STLORA_OK;
}

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

stlora_status stlora_plan_rate(const stlora_session *session, double *rate, stlora_error *err)
{
    enum { ROWS = 128 };
    const double seconds = 0.02;
    const stlora_linear *linear = &session->model->blocks[0].sites[STLORA_SITE_UP].maps[0];
    void *x, *y;
    size_t element = stlora_dtype_size(session->act);
    STLORA_TRY(stlora_alloc(&x, (size_t)(ROWS * linear->n), element, "a measurement", err));
    stlora_status status = stlora_alloc(&y, (size_t)(ROWS * linear->m), element, "a measurement", err);
    if (status == STLORA_OK) {
        stlora_stage stage = {.model = session->model, .backend = session->backend, .act = session->act};
        double flops = 2.0 * ROWS * (double)linear->n * (double)linear->m, best = 0, start = now(), end = start;
        /* The fastest of many calls: other programs slow some of them down, none of them speeds one up. */
        while (end - start < seconds) {
            double before = now();
            stlora_map_forward(&stage, linear, (stlora_cmat){x, session->act, ROWS, linear->n, linear->n},
                               stlora_mat_whole(y, session->act, ROWS, linear->m), false, NULL);
            end = now();
            if (end > before && flops / (end - before) > best) best = flops / (end - before);
        }
        *rate = best;
        stlora_free(y);
    }
    stlora_free(x);
    return status;
}

static int descending(const void *a, const void *b)
{
    int64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x < y) - (x > y);
}

stlora_status stlora_batch_tokens_bound(const stlora_examples *examples, int64_t batch_size, int64_t *out,
                                        stlora_error *err)
{
    size_t count = stlora_examples_count(examples);
    int64_t *lengths, bound = 0;
    STLORA_TRY(stlora_alloc(&lengths, count, sizeof *lengths, "row lengths", err));
    for (size_t i = 0; i < count; i++)
        lengths[i] = stlora_examples_at(examples, i).length;
    qsort(lengths, count, sizeof *lengths, descending);
    /* A batch that wraps round may hold an example twice, so a short data set counts again from its longest. */
    for (int64_t k = 0; k < batch_size && bound < (int64_t)1 << 40; k++)
        bound += lengths[(size_t)k % count];
    stlora_free(lengths);
    *out = bound;
    return STLORA_OK;
}
