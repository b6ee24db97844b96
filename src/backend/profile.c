/* profile.c: see profile.h. One wrapper per op: the clock, the inner op, the clock, the count; the formula of each count stands in its
 * wrapper, in backend.h's letters. To profile a new op, write its wrapper and set it in stlora_op_profile_create.
 */
#include "backend/profile.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"

/* Shapes beyond the last line are counted in it together; a training step has about thirty. */
enum { MOST_LINES = 128 };

typedef struct op_counts {
    bool on;
    size_t count;
    stlora_op_line lines[MOST_LINES];
} op_counts;

struct stlora_op_profile {
    stlora_backend face; /* first, so that a wrapper finds the rest through the table it is called with */
    const stlora_backend *inner;
    op_counts *counts;
};

static const stlora_op_profile *of(const stlora_backend *face)
{
    return (const stlora_op_profile *)(const void *)face;
}

static const stlora_backend *inner(const stlora_backend *face)
{
    return of(face)->inner;
}

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static stlora_op_line *line_of(op_counts *counts, const char *op)
{
    for (size_t i = 0; i < counts->count; i++)
        if (strcmp(counts->lines[i].op, op) == 0) return &counts->lines[i];
    const bool full = counts->count == MOST_LINES;
    stlora_op_line *line = &counts->lines[full ? MOST_LINES - 1 : counts->count++];
    (void)snprintf(line->op, sizeof line->op, "%s", full ? "other shapes" : op);
    return line;
}

/* Adds a call that began at `start` to the line that the format names. */
__attribute__((format(printf, 5, 6))) static void count(const stlora_backend *face, double start, double flops,
                                                        double bytes, const char *format, ...)
{
    const double end = now();
    op_counts *counts = of(face)->counts;
    char op[sizeof counts->lines[0].op];
    va_list args;
    if (!counts->on) return;
    va_start(args, format);
    (void)vsnprintf(op, sizeof op, format, args);
    va_end(args);
    stlora_op_line *line = line_of(counts, op);
    line->calls++;
    line->seconds += end - start;
    line->flops += flops;
    line->bytes += bytes;
}

/* Bytes of rows x cols elements. */
static double bytes_of(stlora_dtype dtype, int64_t rows, int64_t cols)
{
    return (double)rows * (double)cols * (double)stlora_dtype_size(dtype);
}

static const double F = sizeof(float);

/* ---- the wrappers ---- */

/* Maps that lie side by side read x once, and maps that add up write y once; a line has their widths together. */
static void product(const stlora_backend *face, const stlora_product_args *maps, int maps_count)
{
    const bool adds_up = stlora_product_adds_up(maps, maps_count);
    double flops = 0, bytes = 0;
    int64_t in = 0, out = 0;
    char together[24] = "";
    for (int i = 0; i < maps_count; i++) {
        const stlora_product_args *a = &maps[i];
        const double T = (double)a->tokens, m = (double)a->out, r = (double)a->rank;
        const int64_t n = a->w ? a->in : 0;
        flops += 2 * T * m * ((double)n + r);
        if (a->w) bytes += bytes_of(a->w_dtype, a->out, n) + (a->bias ? bytes_of(a->bias_dtype, 1, a->out) : 0);
        bytes += r * (T + m) * F;
        if (i == 0 || adds_up) {
            in += a->w ? a->in : a->rank;
            bytes += bytes_of(a->x.dtype, a->tokens, n);
        }
        if (i == 0 || !adds_up) {
            out += a->out;
            bytes += bytes_of(a->y.dtype, a->tokens, a->out) * (a->accumulate ? 2 : 1);
        }
    }
    if (maps_count > 1) (void)snprintf(together, sizeof together, " (%d maps)", maps_count);
    const double start = now();
    inner(face)->product(inner(face), maps, maps_count);
    count(face, start, flops, bytes, "product %s %lld->%lld%s",
          !maps->w                          ? "low-rank"
          : maps->w_layout == STLORA_OUT_IN ? "x W^T"
                                            : "x W",
          (long long)in, (long long)out, together);
}

static void lowrank_project(const stlora_backend *face, const stlora_lowrank_project_args *a)
{
    const double T = (double)a->tokens, n = (double)a->width, r = (double)a->rank;
    const double start = now();
    inner(face)->lowrank_project(inner(face), a);
    count(face, start, 2 * T * n * r, bytes_of(a->x.dtype, a->tokens, a->width) + r * (T + n) * F,
          "lowrank_project %lld->%lld", (long long)a->width, (long long)a->rank);
}

static void lowrank_grad(const stlora_backend *face, const stlora_lowrank_grad_args *a)
{
    const double T = (double)a->tokens, n = (double)a->width, r = (double)a->rank;
    const double start = now();
    inner(face)->lowrank_grad(inner(face), a);
    count(face, start, 2 * T * n * r, bytes_of(a->x.dtype, a->tokens, a->width) + r * (T + 2 * n) * F,
          "lowrank_grad %lldx%lld", (long long)a->rank, (long long)a->width);
}

static void dropout(const stlora_backend *face, const stlora_dropout_args *a)
{
    const double x = bytes_of(a->x.dtype, a->tokens, a->width);
    const double y = bytes_of(a->y.dtype, a->tokens, a->width) * (a->accumulate ? 2 : 1);
    const double start = now();
    inner(face)->dropout(inner(face), a);
    count(face, start, (double)a->tokens * (double)a->width, x + y, "dropout %lld", (long long)a->width);
}

static void noise(const stlora_backend *face, const stlora_noise_args *a)
{
    const double x = bytes_of(a->x.dtype, a->tokens, a->width);
    const double start = now();
    inner(face)->noise(inner(face), a);
    count(face, start, 2 * (double)a->tokens * (double)a->width, 2 * x, "noise %lld", (long long)a->width);
}

static void row_norms(const stlora_backend *face, const stlora_row_norms_args *a)
{
    const double n = (double)a->in, m = (double)a->out, r = (double)a->rank;
    const double start = now();
    inner(face)->row_norms(inner(face), a);
    count(face, start, 2 * n * m * (r + 1), bytes_of(a->w_dtype, a->out, a->in) + r * (n + m) * F, "row_norms %lldx%lld",
          (long long)a->out, (long long)a->in);
}

static void column_scale(const stlora_backend *face, const stlora_column_scale_args *a)
{
    const double x = bytes_of(a->x.dtype, a->tokens, a->width);
    const double y = bytes_of(a->y.dtype, a->tokens, a->width) * (a->accumulate ? 2 : 1);
    const double start = now();
    inner(face)->column_scale(inner(face), a);
    count(face, start, 2 * (double)a->tokens * (double)a->width, x + y, "column_scale %lld", (long long)a->width);
}

static void column_dot(const stlora_backend *face, const stlora_column_dot_args *a)
{
    const double x = bytes_of(a->x.dtype, a->tokens, a->width), y = bytes_of(a->y.dtype, a->tokens, a->width);
    const double start = now();
    inner(face)->column_dot(inner(face), a);
    count(face, start, 3 * (double)a->tokens * (double)a->width, x + y, "column_dot %lld", (long long)a->width);
}

static void embed(const stlora_backend *face, const stlora_embed_args *a)
{
    const double table = bytes_of(a->table_dtype, a->tokens, a->width);
    const double positions = a->position_table ? bytes_of(a->position_dtype, a->tokens, a->width) : 0;
    const double start = now();
    inner(face)->embed(inner(face), a);
    count(face, start, 0, table + positions + bytes_of(a->x.dtype, a->tokens, a->width), "embed %lld",
          (long long)a->width);
}

/* RMS: x^2 summed (2), x rstd w (2). LAYER: also the mean (1), less the mean twice (2), b (1). */
static void norm(const stlora_backend *face, const stlora_norm_args *a)
{
    const double elements = (double)a->tokens * (double)a->x.cols;
    const double y = bytes_of(a->y.dtype, a->tokens, a->y.cols) * (a->accumulate ? 2 : 1);
    const double start = now();
    inner(face)->norm(inner(face), a);
    count(face, start, elements * (a->kind == STLORA_NORM_LAYER ? 8 : 4), bytes_of(a->x.dtype, a->tokens, a->x.cols) + y,
          "norm %lld", (long long)a->width);
}

/* dy w (1), its sum with x (2) and added to dx times rstd with x's part (4); LAYER: also its mean and x less its mean (4). */
static void norm_grad(const stlora_backend *face, const stlora_norm_grad_args *a)
{
    const double elements = (double)a->tokens * (double)a->x.cols;
    const double x = bytes_of(a->x.dtype, a->tokens, a->x.cols), dy = bytes_of(a->dy.dtype, a->tokens, a->x.cols);
    const double dx = bytes_of(a->dx.dtype, a->tokens, a->x.cols) * (a->overwrite ? 1 : 2);
    const double start = now();
    inner(face)->norm_grad(inner(face), a);
    count(face, start, elements * (a->kind == STLORA_NORM_LAYER ? 11 : 7), x + dy + dx, "norm_grad %lld",
          (long long)a->width);
}

/* Times a number (1), added (1), tanh and its cap (2). */
static void scale(const stlora_backend *face, const stlora_scale_args *a)
{
    const double x = bytes_of(a->x.dtype, a->tokens, a->width);
    const double y = bytes_of(a->y.dtype, a->tokens, a->width) * (a->accumulate ? 2 : 1);
    const double start = now();
    inner(face)->scale(inner(face), a);
    count(face, start, (double)a->tokens * (double)a->width * (1 + a->accumulate + (a->softcap > 0 ? 2 : 0)), x + y,
          "scale %lld", (long long)a->width);
}

static void rope(const stlora_backend *face, const stlora_rope_args *a)
{
    const int64_t width = a->heads * a->head_dim;
    const double start = now();
    inner(face)->rope(inner(face), a);
    count(face, start, 3 * (double)a->tokens * (double)width, 2 * bytes_of(a->x.dtype, a->tokens, width),
          "rope %lldx%lld", (long long)a->heads, (long long)a->head_dim);
}

/* Queries, keys, and pairs of a query with a key that it sees. */
typedef struct attention_size {
    double queries, keys, pairs;
} attention_size;

/* Of a segment's q queries, the first ones see k-q+1, k-q+2, ... keys while that is at most the window, the others all of it. */
static attention_size size_of(const stlora_segment *segments, int64_t segment_count, int64_t window)
{
    attention_size size = {0};
    for (int64_t s = 0; s < segment_count; s++) {
        const int64_t q = segments[s].q_count, k = segments[s].k_count, before = k - q;
        const int64_t reached = window == 0 || window >= k ? q : window > before ? window - before : 0;
        const double growing = (double)reached, full = (double)(q - reached);
        size.queries += (double)q;
        size.keys += (double)k;
        size.pairs += growing * (double)before + growing * (growing + 1) / 2 + full * (double)window;
    }
    return size;
}

/* Two products: q k^T and p v. */
static void attention(const stlora_backend *face, const stlora_attention_args *a)
{
    const attention_size size = size_of(a->segments, a->segment_count, a->window);
    const double q = (double)(a->heads * a->head_dim), kv = (double)(a->kv_heads * a->head_dim);
    const double act = (double)stlora_dtype_size(a->q.dtype);
    const double start = now();
    inner(face)->attention(inner(face), a);
    count(face, start, 2 * 2 * q * size.pairs,
          act * (2 * q * size.queries + 2 * kv * size.keys) + F * (double)a->heads * size.queries,
          "attention %lld/%lldx%lld", (long long)a->heads, (long long)a->kv_heads, (long long)a->head_dim);
}

/* Five products: q k^T again, dout v^T, and dq, dk, dv. */
static void attention_grad(const stlora_backend *face, const stlora_attention_grad_args *a)
{
    const attention_size size = size_of(a->segments, a->segment_count, a->window);
    const double q = (double)(a->heads * a->head_dim), kv = (double)(a->kv_heads * a->head_dim);
    const double act = (double)stlora_dtype_size(a->q.dtype);
    const double start = now();
    inner(face)->attention_grad(inner(face), a);
    count(face, start, 5 * 2 * q * size.pairs,
          act * (4 * q * size.queries + 4 * kv * size.keys) + F * (double)a->heads * size.queries,
          "attention_grad %lld/%lldx%lld", (long long)a->heads, (long long)a->kv_heads, (long long)a->head_dim);
}

/* SiLU: exp, 1 +, /, and the product of the halves (4). GELU: the polynomial in x (4), tanh, 1 +, x/2 times it (3). */
static void activation(const stlora_backend *face, const stlora_activation_args *a)
{
    const double elements = (double)a->tokens * (double)a->width;
    const int64_t in = stlora_gated(a->kind) ? 2 * a->width : a->width;
    const double start = now();
    inner(face)->activation(inner(face), a);
    count(face, start, elements * (a->kind == STLORA_ACT_SILU_GLU ? 4 : 7),
          bytes_of(a->x.dtype, a->tokens, in) + bytes_of(a->y.dtype, a->tokens, a->width), "activation %lld",
          (long long)a->width);
}

static void activation_grad(const stlora_backend *face, const stlora_activation_grad_args *a)
{
    const double elements = (double)a->tokens * (double)a->width;
    const int64_t in = stlora_gated(a->kind) ? 2 * a->width : a->width;
    const double start = now();
    inner(face)->activation_grad(inner(face), a);
    count(face, start, elements * (a->kind == STLORA_ACT_SILU_GLU ? 10 : 14),
          2 * bytes_of(a->x.dtype, a->tokens, in) + bytes_of(a->dy.dtype, a->tokens, a->width) * (a->y.data ? 2 : 1),
          "activation_grad %lld",
          (long long)a->width);
}

/* Less the maximum, exp, summed (3); softmax times scale (2). */
static void cross_entropy(const stlora_backend *face, const stlora_cross_entropy_args *a)
{
    const double elements = (double)a->rows * (double)a->vocab;
    const double gradient = a->dlogits.data ? bytes_of(a->dlogits.dtype, a->rows, a->vocab) : 0;
    const double start = now();
    inner(face)->cross_entropy(inner(face), a);
    count(face, start, elements * (a->dlogits.data ? 5 : 3), bytes_of(a->logits.dtype, a->rows, a->vocab) + gradient,
          "cross_entropy %lld", (long long)a->vocab);
}

/* m (3), v (4), the update (5), the sum of squares (2); reads p, m, v, g, writes p, m, v. */
static void adamw(const stlora_backend *face, const stlora_adamw_args *args, int matrices)
{
    double elements = 0;
    for (int i = 0; i < matrices; i++)
        elements += (double)args[i].count;
    const double start = now();
    inner(face)->adamw(inner(face), args, matrices);
    count(face, start, 14 * elements, 7 * F * elements, "adamw");
}

static double sum_squares(const stlora_backend *face, const float *x, int64_t elements)
{
    const double start = now();
    const double sum = inner(face)->sum_squares(inner(face), x, elements);
    count(face, start, 2 * (double)elements, F * (double)elements, "sum_squares");
    return sum;
}

/* Every op is made by itself, or its time would be another's. */
static void at_once(const stlora_backend *face)
{
    (void)face;
}

/* ---- the profile ---- */

stlora_status stlora_op_profile_create(stlora_op_profile **out, const stlora_backend *table, stlora_error *err)
{
    stlora_op_profile *profile;
    STLORA_TRY(stlora_alloc(&profile, 1, sizeof *profile, "a profile", err));
    const stlora_status status = stlora_alloc(&profile->counts, 1, sizeof *profile->counts, "a profile", err);
    if (status != STLORA_OK) {
        stlora_free(profile);
        return status;
    }
    profile->inner = table;
    profile->face = *table; /* its scratch too: what is not wrapped below runs as it did */
    profile->face.begin = at_once;
    profile->face.end = at_once;
    profile->face.product = product;
    profile->face.lowrank_project = lowrank_project;
    profile->face.lowrank_grad = lowrank_grad;
    profile->face.dropout = dropout;
    profile->face.embed = embed;
    profile->face.noise = noise;
    profile->face.row_norms = row_norms;
    profile->face.column_scale = column_scale;
    profile->face.column_dot = column_dot;
    profile->face.norm = norm;
    profile->face.norm_grad = norm_grad;
    profile->face.scale = scale;
    profile->face.rope = rope;
    profile->face.attention = attention;
    profile->face.attention_grad = attention_grad;
    profile->face.activation = activation;
    profile->face.activation_grad = activation_grad;
    profile->face.cross_entropy = cross_entropy;
    profile->face.adamw = adamw;
    profile->face.sum_squares = sum_squares;
    *out = profile;
    return STLORA_OK;
}

void stlora_op_profile_free(stlora_op_profile *profile)
{
    if (!profile) return;
    stlora_free(profile->counts);
    stlora_free(profile);
}

const stlora_backend *stlora_op_profile_table(const stlora_op_profile *profile)
{
    return &profile->face;
}

void stlora_op_profile_record(stlora_op_profile *profile, bool on)
{
    profile->counts->on = on;
}

const stlora_op_line *stlora_op_profile_lines(const stlora_op_profile *profile, size_t *count_out)
{
    *count_out = profile->counts->count;
    return profile->counts->lines;
}
