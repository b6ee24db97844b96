/* optimizer_replay.c: the optimizer alone, driven by somebody else's gradients: what a trainer that links libstlora writes.
 *
 *   optimizer_replay CASE.safetensors
 *
 * CASE holds a recorded run (start values, gradients of every step, values after some steps). It is replayed, and one line says how
 * far we are from it: {"case":NAME,"max_error":E,"stop_step":[...]}, E the largest |p - p_ref| / (1 + |p_ref|), stop_step the
 * step (from 1) in which each pair stopped shrinking, null if it never did. Exit 0; 2 usage, 3 a file that is no such case
 * (one sentence on stderr), else the status of what failed. Guarded by tests/api/test_optim_golden.c.
 *
 * Public headers only. The optimizer's part is replay() below; the rest reads the file, and believes nothing in it.
 */
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stlora/optim.h>

#define TRY(expr)                                                                                  \
    do {                                                                                           \
        stlora_status status_ = (expr);                                                            \
        if (status_ != STLORA_OK) return status_;                                                  \
    } while (0)

enum { MAX_PAIRS = 4096, HEADER_LENGTH_BYTES = 8 };

typedef struct tensor {
    const unsigned char *bytes; /* little-endian, borrowed from the file, not aligned */
    bool wide;                  /* F64, else F32 */
    size_t count;
} tensor;

typedef struct recording { /* of one pair */
    tensor a0, b0, ga, gb, a, b;
    float *step_ga, *step_gb; /* gradients of one step, as the optimizer takes them */
} recording;

typedef struct replay_case {
    unsigned char *file;
    size_t size;
    json_t *header, *meta; /* of the file; the case's settings */
    const unsigned char *data;
    size_t data_size;

    const char *name, *schedule;
    int64_t steps, warmup, snapshot_count;
    double learning_rate;
    stlora_optimizer_config config;
    size_t count;
    stlora_pair *pairs;
    recording *recordings;
    stlora_pair_grad *grads;
    char (*names)[32];
} replay_case;

static stlora_status bad(stlora_error *err, stlora_status status, const char *format, ...)
    STLORA_PRINTF(3, 4);

static stlora_status bad(stlora_error *err, stlora_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    err->status = status;
    return status;
}

/* ---- the file: 8 bytes of header length, a JSON header, data ---- */

static stlora_status read_file(replay_case *c, const char *path, stlora_error *err)
{
    FILE *f = fopen(path, "rb");
    if (!f) return bad(err, STLORA_E_IO, "cannot be opened");
    size_t room = 0;
    for (;;) {
        if (c->size == room) {
            room = room ? 2 * room : 1 << 16;
            unsigned char *grown = realloc(c->file, room);
            if (!grown) break;
            c->file = grown;
        }
        const size_t got = fread(c->file + c->size, 1, room - c->size, f);
        if (got == 0) break;
        c->size += got;
    }
    const bool whole = feof(f) && !ferror(f);
    (void)fclose(f);
    return whole ? STLORA_OK : bad(err, STLORA_E_IO, "cannot be read to its end");
}

static stlora_status read_header(replay_case *c, stlora_error *err)
{
    if (c->size < HEADER_LENGTH_BYTES)
        return bad(err, STLORA_E_FORMAT, "has %zu bytes; a safetensors file has at least 8",
                   c->size);
    uint64_t length = 0;
    for (int i = HEADER_LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | c->file[i];
    if (length > c->size - HEADER_LENGTH_BYTES)
        return bad(err, STLORA_E_FORMAT, "says that its header has %llu bytes; the file has %zu",
                   (unsigned long long)length, c->size);
    json_error_t where;
    c->header = json_loadb((const char *)c->file + HEADER_LENGTH_BYTES, (size_t)length,
                           JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(c->header))
        return bad(err, STLORA_E_FORMAT, "has a header that is no JSON object: %s",
                   c->header ? "another value" : where.text);
    c->data = c->file + HEADER_LENGTH_BYTES + length;
    c->data_size = c->size - HEADER_LENGTH_BYTES - (size_t)length;
    return STLORA_OK;
}

/* The tensor `prefix.field`, which must have exactly this shape (a 0 at the end of shape: one dimension less). */
static stlora_status find(const replay_case *c, const char *prefix, const char *field,
                          const int64_t shape[3], tensor *out, stlora_error *err)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s.%s", prefix, field);
    const json_t *entry = json_object_get(c->header, name);
    if (!entry) return bad(err, STLORA_E_FORMAT, "has no tensor %s", name);
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype || (strcmp(dtype, "F32") != 0 && strcmp(dtype, "F64") != 0))
        return bad(err, STLORA_E_FORMAT, "tensor %s is %s; wanted F32 or F64", name,
                   dtype ? dtype : "of no dtype");
    out->wide = strcmp(dtype, "F64") == 0;

    const json_t *dims = json_object_get(entry, "shape");
    const size_t rank = shape[2] ? 3 : 2;
    bool same = json_array_size(dims) == rank;
    out->count = 1;
    for (size_t k = 0; k < rank && same; k++)
        same = json_integer_value(json_array_get(dims, k)) == shape[k] &&
               !__builtin_mul_overflow(out->count, (size_t)shape[k], &out->count);
    if (!same)
        return bad(err, STLORA_E_FORMAT, "tensor %s has another shape than the settings say", name);

    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_int_t from = json_integer_value(json_array_get(offsets, 0));
    const json_int_t to = json_integer_value(json_array_get(offsets, 1));
    if (json_array_size(offsets) != 2 || from < 0 || to < from || (uint64_t)to > c->data_size)
        return bad(err, STLORA_E_FORMAT, "tensor %s lies outside the file", name);
    size_t bytes;
    if (__builtin_mul_overflow(out->count, out->wide ? sizeof(double) : sizeof(float), &bytes) ||
        bytes != (size_t)(to - from))
        return bad(err, STLORA_E_FORMAT,
                   "tensor %s has %lld bytes, which is not what its shape needs", name,
                   (long long)(to - from));
    out->bytes = c->data + from;
    return STLORA_OK;
}

static double element(const tensor *t, size_t i)
{
    uint64_t wide = 0;
    uint32_t narrow;
    double as_double;
    float as_float;
    const size_t size = t->wide ? sizeof wide : sizeof narrow;
    for (size_t k = size; k > 0; k--)
        wide = wide << 8 | t->bytes[i * size + k - 1];
    narrow = (uint32_t)wide;
    memcpy(&as_double, &wide, sizeof as_double);
    memcpy(&as_float, &narrow, sizeof as_float);
    return t->wide ? as_double : (double)as_float;
}

/* Part `index` of a tensor that is several matrices of `count` elements stacked. */
static void copy_part(float *to, const tensor *t, size_t index, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = (float)element(t, index * count + i);
}

/* ---- the settings ---- */

static stlora_status number(const replay_case *c, const char *key, double fallback, double *out,
                            stlora_error *err)
{
    const json_t *value = json_object_get(c->meta, key);
    if (value && !json_is_number(value))
        return bad(err, STLORA_E_FORMAT, "its setting %s is no number", key);
    if (!value && isnan(fallback)) return bad(err, STLORA_E_FORMAT, "its settings lack %s", key);
    *out = value ? json_number_value(value) : fallback;
    return STLORA_OK;
}

static stlora_status read_settings(replay_case *c, stlora_error *err)
{
    const char *text =
        json_string_value(json_object_get(json_object_get(c->header, "__metadata__"), "case"));
    if (!text) return bad(err, STLORA_E_FORMAT, "has no metadata entry \"case\"");
    json_error_t where;
    c->meta = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(c->meta))
        return bad(err, STLORA_E_FORMAT, "its settings are no JSON object");
    c->name = json_string_value(json_object_get(c->meta, "name"));
    if (!c->name) return bad(err, STLORA_E_FORMAT, "its settings lack a name");

    stlora_optimizer_config_init(&c->config);
    c->config.max_grad_norm = 0.0; /* recorded without clipping */
    c->config.threads = 1;
    const json_t *betas = json_object_get(c->meta, "betas");
    if (betas) {
        if (json_array_size(betas) != 2 || !json_is_number(json_array_get(betas, 0)) ||
            !json_is_number(json_array_get(betas, 1)))
            return bad(err, STLORA_E_FORMAT, "its betas are not two numbers");
        c->config.beta1 = json_number_value(json_array_get(betas, 0));
        c->config.beta2 = json_number_value(json_array_get(betas, 1));
    }
    const double wanted = (double)NAN;
    TRY(number(c, "shrink_ratio", wanted, &c->config.shrink_ratio, err));
    TRY(number(c, "weight_decay", wanted, &c->config.weight_decay, err));
    TRY(number(c, "eps", c->config.eps, &c->config.eps, err));
    TRY(number(c, "lr", wanted, &c->learning_rate, err));
    if (c->learning_rate < 0.0) return bad(err, STLORA_E_FORMAT, "its lr is below 0");

    const json_t *schedule = json_object_get(c->meta, "schedule");
    c->schedule = schedule ? json_string_value(schedule) : "constant";
    if (!c->schedule ||
        (strcmp(c->schedule, "constant") != 0 && strcmp(c->schedule, "warmup_linear") != 0))
        return bad(err, STLORA_E_FORMAT, "its schedule is neither constant nor warmup_linear");
    c->warmup = json_integer_value(json_object_get(c->meta, "warmup"));
    c->steps = json_integer_value(json_object_get(c->meta, "steps"));
    if (c->steps < 1 || c->warmup < 0)
        return bad(err, STLORA_E_FORMAT, "its settings name %lld steps with %lld of warm-up",
                   (long long)c->steps, (long long)c->warmup);

    const json_t *snapshots = json_object_get(c->meta, "snapshots");
    c->snapshot_count = (int64_t)json_array_size(snapshots);
    json_int_t before = 0;
    for (int64_t k = 0; k < c->snapshot_count; k++) {
        const json_int_t at = json_integer_value(json_array_get(snapshots, (size_t)k));
        if (at <= before || at > c->steps)
            return bad(err, STLORA_E_FORMAT, "its snapshots are not ascending steps from 1 to %lld",
                       (long long)c->steps);
        before = at;
    }
    if (c->snapshot_count == 0) return bad(err, STLORA_E_FORMAT, "its settings name no snapshots");
    return STLORA_OK;
}

static stlora_status check_finite(const char *name, const char *field, const tensor *t,
                                  stlora_error *err)
{
    for (size_t i = 0; i < t->count; i++)
        if (!isfinite(element(t, i)))
            return bad(err, STLORA_E_FORMAT, "tensor %s.%s is not finite at %zu", name, field, i);
    return STLORA_OK;
}

static stlora_status take_pair(replay_case *c, size_t i, stlora_error *err)
{
    const json_t *sizes = json_array_get(json_object_get(c->meta, "pairs"), i);
    const int64_t r = json_integer_value(json_array_get(sizes, 0)),
                  n = json_integer_value(json_array_get(sizes, 1)),
                  m = json_integer_value(json_array_get(sizes, 2));
    if (json_array_size(sizes) != 3 || r < 1 || n < 1 || m < 1)
        return bad(err, STLORA_E_FORMAT, "its pair %zu is not three positive sizes [r, n, m]", i);
    char *name = c->names[i];
    (void)snprintf(name, sizeof c->names[i], "pair%zu", i);
    recording *x = &c->recordings[i];
    TRY(find(c, name, "A0", (const int64_t[3]){r, n, 0}, &x->a0, err));
    TRY(find(c, name, "B0", (const int64_t[3]){m, r, 0}, &x->b0, err));
    TRY(find(c, name, "gA", (const int64_t[3]){c->steps, r, n}, &x->ga, err));
    TRY(find(c, name, "gB", (const int64_t[3]){c->steps, m, r}, &x->gb, err));
    TRY(find(c, name, "A", (const int64_t[3]){c->snapshot_count, r, n}, &x->a, err));
    TRY(find(c, name, "B", (const int64_t[3]){c->snapshot_count, m, r}, &x->b, err));
    TRY(check_finite(name, "A", &x->a, err));
    TRY(check_finite(name, "B", &x->b, err));
    /* Their sizes are now known to be at most the file's. */
    float *a = calloc(x->a0.count, sizeof *a), *b = calloc(x->b0.count, sizeof *b);
    x->step_ga = calloc(x->a0.count, sizeof(float));
    x->step_gb = calloc(x->b0.count, sizeof(float));
    c->pairs[i] = (stlora_pair){.name = name, .n = n, .m = m, .r = r, .a = a, .b = b};
    c->grads[i] = (stlora_pair_grad){x->step_ga, x->step_gb};
    if (!a || !b || !x->step_ga || !x->step_gb)
        return bad(err, STLORA_E_NOMEM, "is too large for the memory");
    copy_part(a, &x->a0, 0, x->a0.count);
    copy_part(b, &x->b0, 0, x->b0.count);
    return STLORA_OK;
}

static stlora_status open_case(replay_case *c, const char *path, stlora_error *err)
{
    TRY(read_file(c, path, err));
    TRY(read_header(c, err));
    TRY(read_settings(c, err));
    const size_t count = json_array_size(json_object_get(c->meta, "pairs"));
    if (count < 1 || count > MAX_PAIRS)
        return bad(err, STLORA_E_FORMAT, "its settings name %zu pairs; wanted 1 to %d", count,
                   MAX_PAIRS);
    c->pairs = calloc(count, sizeof *c->pairs);
    c->recordings = calloc(count, sizeof *c->recordings);
    c->grads = calloc(count, sizeof *c->grads);
    c->names = calloc(count, sizeof *c->names);
    if (!c->pairs || !c->recordings || !c->grads || !c->names)
        return bad(err, STLORA_E_NOMEM, "is too large for the memory");
    c->count = count;
    for (size_t i = 0; i < count; i++)
        TRY(take_pair(c, i, err));
    return STLORA_OK;
}

static void close_case(replay_case *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->pairs[i].a);
        free(c->pairs[i].b);
        free(c->recordings[i].step_ga);
        free(c->recordings[i].step_gb);
    }
    free(c->pairs);
    free(c->recordings);
    free(c->grads);
    free(c->names);
    json_decref(c->meta);
    json_decref(c->header);
    free(c->file);
}

/* ---- the replay ---- */

static double learning_rate_at(const replay_case *c, int64_t t)
{
    if (strcmp(c->schedule, "constant") == 0) return c->learning_rate;
    if (t <= c->warmup) return c->learning_rate * ((double)t / (double)c->warmup);
    return c->learning_rate * ((double)(c->steps - t) / (double)(c->steps - c->warmup));
}

static double worst(double so_far, const float *p, const tensor *reference, size_t part,
                    size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const double want = element(reference, part * count + i);
        const double error = fabs((double)p[i] - want) / (1.0 + fabs(want));
        if (error > so_far)
            so_far = error; /* p is finite: the optimizer would have refused the step */
    }
    return so_far;
}

static stlora_status replay(replay_case *c, stlora_optimizer *optimizer, double *max_error,
                            stlora_error *err)
{
    const json_t *snapshots = json_object_get(c->meta, "snapshots");
    size_t next = 0;
    *max_error = 0.0;
    for (int64_t t = 1; t <= c->steps; t++) {
        for (size_t i = 0; i < c->count; i++) {
            const recording *x = &c->recordings[i];
            copy_part(x->step_ga, &x->ga, (size_t)(t - 1), x->a0.count);
            copy_part(x->step_gb, &x->gb, (size_t)(t - 1), x->b0.count);
        }
        TRY(stlora_optimizer_step(optimizer, learning_rate_at(c, t), c->grads, NULL, err));
        if (json_integer_value(json_array_get(snapshots, next)) != t) continue;
        for (size_t i = 0; i < c->count; i++) {
            const recording *x = &c->recordings[i];
            *max_error = worst(*max_error, c->pairs[i].a, &x->a, next, x->a0.count);
            *max_error = worst(*max_error, c->pairs[i].b, &x->b, next, x->b0.count);
        }
        next++;
    }
    return STLORA_OK;
}

static stlora_status print_result(const replay_case *c, const stlora_optimizer *optimizer,
                                  double max_error, stlora_error *err)
{
    json_t *stops = json_array();
    for (size_t i = 0; i < c->count; i++) {
        stlora_pair_state state;
        stlora_optimizer_pair(optimizer, i, &state);
        (void)json_array_append_new(stops,
                                    state.armed ? json_null() : json_integer(state.stop_step));
    }
    json_t *line =
        json_pack("{s:s, s:f, s:o}", "case", c->name, "max_error", max_error, "stop_step", stops);
    const bool written = line && json_dumpf(line, stdout, JSON_REAL_PRECISION(6)) == 0 &&
                         printf("\n") == 1 && fflush(stdout) == 0;
    json_decref(line);
    return written ? STLORA_OK : bad(err, STLORA_E_IO, "result cannot be written");
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: optimizer_replay CASE.safetensors\n");
        return stlora_status_exit_code(STLORA_E_USAGE);
    }
    stlora_error err = {0};
    replay_case c = {0};
    stlora_optimizer *optimizer = NULL;
    double max_error = 0.0;
    stlora_status status = open_case(&c, argv[1], &err);
    if (status == STLORA_OK) {
        status = stlora_optimizer_create(&optimizer, &c.config, c.pairs, c.count, &err);
        /* A setting out of range is the file's fault here, not the caller's. */
        if (status == STLORA_E_USAGE || status == STLORA_E_NONFINITE) status = STLORA_E_FORMAT;
    }
    if (status == STLORA_OK) status = replay(&c, optimizer, &max_error, &err);
    if (status == STLORA_OK) status = print_result(&c, optimizer, max_error, &err);
    if (status != STLORA_OK) (void)fprintf(stderr, "optimizer_replay: %s: %s\n", argv[1], err.text);
    stlora_optimizer_free(optimizer);
    close_case(&c);
    return stlora_status_exit_code(status);
}
