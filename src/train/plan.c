/* plan.c: choosing the shape of a pass under a budget. The order of the choices is by cost: smaller micro-batches cost a little
 * speed, recomputation costs up to a third more time, small chunks of logits a little. None of them changes a bit of the result. */
#include "train/plan.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/size.h"

enum {
    MICRO_TOKENS = 2048,    /* products reach their full rate well below this */
    LOGITS_BYTES = 64 << 20 /* of one chunk */
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
        while (*at == ' ')
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

static size_t shape_bytes(const stlora_transformer *model, const stlora_lora *lora, const stlora_pass_shape *shape)
{
    stlora_pass_bytes bytes;
    stlora_pass_measure(model, lora, shape, &bytes);
    return bytes.activations + bytes.workspace + bytes.logits;
}

/* Blocks that a backward reaches: only of these anything is kept. */
static int64_t blocks_reached(const stlora_transformer *model, const stlora_lora *lora, bool train)
{
    if (!train) return 0;
    int64_t lowest = stlora_transformer_linear(model, lora->lowest)->layer;
    return lowest < 0 ? 0 : model->config.layers - lowest;
}

stlora_status stlora_plan_shape(const stlora_transformer *model, const stlora_lora *lora, stlora_dtype act, bool train,
                                int64_t longest, int64_t batch_tokens, int64_t batch_size, size_t fixed, int64_t budget,
                                stlora_pass_shape *out, stlora_error *err)
{
    int64_t widest_chunk = LOGITS_BYTES / (model->config.vocab_size * (int64_t)sizeof(float));
    if (widest_chunk > 512) widest_chunk = 512;
    if (widest_chunk < 16) widest_chunk = 16;
    stlora_pass_shape shape = {.max_segments = batch_size, .max_positions = longest, .train = train, .act = act};
    int64_t wanted = longest > MICRO_TOKENS ? longest : MICRO_TOKENS;
    if (wanted > batch_tokens) wanted = batch_tokens;
    shape.max_tokens = wanted;
    shape.logits_rows = widest_chunk < wanted ? widest_chunk : wanted;
    while (true) {
        size_t need = shape_bytes(model, lora, &shape) + fixed;
        if (need <= (size_t)budget) break;
        if (shape.max_tokens > longest) {
            shape.max_tokens = shape.max_tokens / 2 > longest ? shape.max_tokens / 2 : longest;
        } else if (shape.layers_recomputed < blocks_reached(model, lora, train)) {
            shape.layers_recomputed++;
        } else if (shape.logits_rows > 16) {
            shape.logits_rows = shape.logits_rows / 2 > 16 ? shape.logits_rows / 2 : 16;
        } else {
            return stlora_fail(
                err, STLORA_E_NOMEM,
                "--max-memory: this run needs at least %zu MiB beside the checkpoint's files, given %lld MiB",
                (need >> 20) + 1, (long long)(budget >> 20));
        }
    }
    *out = shape;
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
