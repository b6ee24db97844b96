/* bench_ops: the ops beside the products, over the shapes of Qwen2-0.5B.
 *
 *   bench_ops [--threads N] [--tokens T,T] [--dtype f32|bf16|both] [--tries N]
 *
 * CSV on standard output, a line per op, dtype of the activations and number of tokens (one row of so many; cross_entropy: so many supervised
 * ones, at most 512; adamw: the elements of all pairs at r 8). Operations and bytes are counted by the table of train --profile. "percent" is
 * of the time that the multipliers of that dtype, or memory, would need at the ceilings of this run: over 100 where the caches
 * hold what is counted as memory.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ceiling.h"
#include "backend/profile.h"
#include "base/memory.h"
#include "measure.h"

enum { WIDTH = 896, HEADS = 14, KV_HEADS = 2, HEAD_DIM = 64, INNER = 4864, VOCAB = 151936, PAIR_ELEMENTS = 4399104 };
enum { MOST_LOGITS = 512 };

typedef struct bench {
    int threads, tries;
    stlora_dtype act;
    double flops_ceiling, read_ceiling; /* GFLOP/s, GB/s */
    const stlora_backend *backend;
    stlora_op_profile *profile; /* of the op that is being measured */
} bench;

/* One op with its arguments; what they point to is filled in by the bench_ functions below. */
typedef struct call {
    const stlora_backend *table;
    void (*op)(const stlora_backend *, const void *args);
    const void *args;
} call;

static void run(void *context)
{
    const call *c = context;
    c->op(c->table, c->args);
}

static void report(bench *b, int64_t tokens, void (*op)(const stlora_backend *, const void *), const void *args)
{
    stlora_error err = {0};
    size_t count;
    measure_must(stlora_op_profile_create(&b->profile, b->backend, &err), &err);
    stlora_op_profile_record(b->profile, true);
    op(stlora_op_profile_table(b->profile), args);
    const stlora_op_line *line = stlora_op_profile_lines(b->profile, &count);
    call c = {b->backend, op, args};
    const double seconds = measure_calls(b->threads, b->tries, run, &c).best;
    const double floor = fmax(b->flops_ceiling > 0 ? line->flops / b->flops_ceiling : 0, line->bytes / b->read_ceiling);
    (void)printf("%s,%s,%s,%lld,%d,%.4f,%.2f,%.2f,%.1f\n", b->backend->name, stlora_dtype_name(b->act), line->op,
                 (long long)tokens, b->threads, 1e3 * seconds, line->flops / seconds / 1e9, line->bytes / seconds / 1e9,
                 100 * floor / 1e9 / seconds);
    (void)fflush(stdout);
    stlora_op_profile_free(b->profile);
}

static void op_attention(const stlora_backend *t, const void *a)
{
    t->attention(t, a);
}
static void op_attention_grad(const stlora_backend *t, const void *a)
{
    t->attention_grad(t, a);
}
static void op_norm(const stlora_backend *t, const void *a)
{
    t->norm(t, a);
}
static void op_norm_grad(const stlora_backend *t, const void *a)
{
    t->norm_grad(t, a);
}
static void op_rope(const stlora_backend *t, const void *a)
{
    t->rope(t, a);
}
static void op_activation(const stlora_backend *t, const void *a)
{
    t->activation(t, a);
}
static void op_activation_grad(const stlora_backend *t, const void *a)
{
    t->activation_grad(t, a);
}
static void op_cross_entropy(const stlora_backend *t, const void *a)
{
    t->cross_entropy(t, a);
}
static void op_lowrank_project(const stlora_backend *t, const void *a)
{
    t->lowrank_project(t, a);
}
static void op_lowrank_grad(const stlora_backend *t, const void *a)
{
    t->lowrank_grad(t, a);
}
static void op_adamw(const stlora_backend *t, const void *a)
{
    t->adamw(t, a, 1);
}

typedef struct attention_shape {
    int64_t heads, kv_heads, head_dim, row; /* tokens of a row */
} attention_shape;

static void bench_attention(bench *b, int64_t T, attention_shape s)
{
    enum { MOST_ROWS = 64 };
    const int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim, all = q + 2 * kv;
    void *qkv = measure_numbers(b->act, T * all), *dqkv = measure_numbers(b->act, T * all);
    void *o = measure_numbers(b->act, T * q), *dout = measure_numbers(b->act, T * q);
    float *lse = measure_numbers(STLORA_F32, T * s.heads), *delta = measure_numbers(STLORA_F32, T * s.heads);
    float *work = measure_numbers(STLORA_F32, q * 3 * T);
    stlora_segment rows[MOST_ROWS];
    int64_t count = 0;
    for (int64_t at = 0; at < T && count < MOST_ROWS; at += s.row, count++)
        rows[count] = (stlora_segment){at, s.row < T - at ? s.row : T - at, at, s.row < T - at ? s.row : T - at};
    const stlora_attention_args forward = {.heads = s.heads,
                                           .kv_heads = s.kv_heads,
                                           .head_dim = s.head_dim,
                                           .scale = 0.125,
                                           .segments = rows,
                                           .segment_count = count,
                                           .q = stlora_mat_const(stlora_mat_columns(qkv, b->act, T, all, 0, q)),
                                           .k = stlora_mat_const(stlora_mat_columns(qkv, b->act, T, all, q, kv)),
                                           .v = stlora_mat_const(stlora_mat_columns(qkv, b->act, T, all, q + kv, kv)),
                                           .o = stlora_mat_whole(o, b->act, T, q),
                                           .lse = lse};
    report(b, T, op_attention, &forward);
    const stlora_attention_grad_args backward = {.heads = s.heads,
                                                 .kv_heads = s.kv_heads,
                                                 .head_dim = s.head_dim,
                                                 .scale = 0.125,
                                                 .segments = rows,
                                                 .segment_count = count,
                                                 .q = forward.q,
                                                 .k = forward.k,
                                                 .v = forward.v,
                                                 .o = stlora_mat_const(forward.o),
                                                 .dout = {dout, b->act, T, q, q},
                                                 .lse = lse,
                                                 .delta = delta,
                                                 .work = work,
                                                 .dq = stlora_mat_columns(dqkv, b->act, T, all, 0, q),
                                                 .dk = stlora_mat_columns(dqkv, b->act, T, all, q, kv),
                                                 .dv = stlora_mat_columns(dqkv, b->act, T, all, q + kv, kv)};
    report(b, T, op_attention_grad, &backward);
    stlora_free(qkv);
    stlora_free(dqkv);
    stlora_free(o);
    stlora_free(dout);
    stlora_free(lse);
    stlora_free(delta);
    stlora_free(work);
}

static void bench_norm(bench *b, int64_t T)
{
    float *x = measure_numbers(STLORA_F32, T * WIDTH), *dx = measure_numbers(STLORA_F32, T * WIDTH);
    float *stats = measure_numbers(STLORA_F32, T * 2);
    void *w = measure_numbers(b->act, WIDTH), *y = measure_numbers(b->act, T * WIDTH);
    report(b, T, op_norm,
           &(stlora_norm_args){.kind = STLORA_NORM_RMS,
                               .tokens = T,
                               .width = WIDTH,
                               .eps = 1e-6,
                               .x = {x, STLORA_F32, T, WIDTH, WIDTH},
                               .w = w,
                               .w_dtype = b->act,
                               .y = stlora_mat_whole(y, b->act, T, WIDTH),
                               .stats = stats});
    report(b, T, op_norm_grad,
           &(stlora_norm_grad_args){.kind = STLORA_NORM_RMS,
                                    .tokens = T,
                                    .width = WIDTH,
                                    .x = {x, STLORA_F32, T, WIDTH, WIDTH},
                                    .dy = {x, STLORA_F32, T, WIDTH, WIDTH},
                                    .w = w,
                                    .w_dtype = b->act,
                                    .stats = stats,
                                    .dx = stlora_mat_whole(dx, STLORA_F32, T, WIDTH)});
    stlora_free(x);
    stlora_free(dx);
    stlora_free(stats);
    stlora_free(w);
    stlora_free(y);
}

static void bench_rope(bench *b, int64_t T)
{
    const int64_t heads = HEADS + KV_HEADS, all = heads * HEAD_DIM;
    stlora_error err = {0};
    int32_t *positions;
    void *x = measure_numbers(b->act, T * all);
    float *cosines = measure_numbers(STLORA_F32, T * HEAD_DIM / 2),
          *sines = measure_numbers(STLORA_F32, T * HEAD_DIM / 2);
    measure_must(stlora_alloc(&positions, (size_t)T, sizeof *positions, "positions", &err), &err);
    for (int64_t t = 0; t < T; t++)
        positions[t] = (int32_t)t;
    report(b, T, op_rope,
           &(stlora_rope_args){.tokens = T,
                               .heads = heads,
                               .head_dim = HEAD_DIM,
                               .x = stlora_mat_whole(x, b->act, T, all),
                               .positions = positions,
                               .cos = cosines,
                               .sin = sines});
    stlora_free(positions);
    stlora_free(x);
    stlora_free(cosines);
    stlora_free(sines);
}

static void bench_activation(bench *b, int64_t T)
{
    void *x = measure_numbers(b->act, T * 2 * INNER), *dx = measure_numbers(b->act, T * 2 * INNER);
    void *y = measure_numbers(b->act, T * INNER);
    const stlora_cmat in = {x, b->act, T, 2 * INNER, 2 * INNER};
    report(b, T, op_activation,
           &(stlora_activation_args){.kind = STLORA_ACT_SILU_GLU,
                                     .tokens = T,
                                     .width = INNER,
                                     .x = in,
                                     .y = stlora_mat_whole(y, b->act, T, INNER)});
    report(b, T, op_activation_grad,
           &(stlora_activation_grad_args){.kind = STLORA_ACT_SILU_GLU,
                                          .tokens = T,
                                          .width = INNER,
                                          .x = in,
                                          .dy = {y, b->act, T, INNER, INNER},
                                          .dx = stlora_mat_whole(dx, b->act, T, 2 * INNER)});
    stlora_free(x);
    stlora_free(dx);
    stlora_free(y);
}

static void bench_cross_entropy(bench *b, int64_t T)
{
    const int64_t rows = T < MOST_LOGITS ? T : MOST_LOGITS;
    stlora_error err = {0};
    int32_t *targets;
    double loss = 0;
    float *logits = measure_numbers(STLORA_F32, rows * VOCAB);
    void *dlogits = measure_numbers(b->act, rows * VOCAB);
    measure_must(stlora_alloc(&targets, (size_t)rows, sizeof *targets, "targets", &err), &err);
    report(b, rows, op_cross_entropy,
           &(stlora_cross_entropy_args){.rows = rows,
                                        .vocab = VOCAB,
                                        .logits = {logits, STLORA_F32, rows, VOCAB, VOCAB},
                                        .targets = targets,
                                        .scale = 1,
                                        .loss = &loss,
                                        .dlogits = stlora_mat_whole(dlogits, b->act, rows, VOCAB)});
    stlora_free(targets);
    stlora_free(logits);
    stlora_free(dlogits);
}

static void bench_lowrank(bench *b, int64_t T)
{
    enum { RANK = 8 };
    void *x = measure_numbers(b->act, T * WIDTH);
    float *h = measure_numbers(STLORA_F32, T * RANK), *u = measure_numbers(STLORA_F32, RANK * WIDTH);
    const stlora_cmat in = {x, b->act, T, WIDTH, WIDTH};
    report(b, T, op_lowrank_project, &(stlora_lowrank_project_args){T, WIDTH, RANK, in, u, WIDTH, 1, h});
    report(b, T, op_lowrank_grad, &(stlora_lowrank_grad_args){T, WIDTH, RANK, h, in, 1, u, WIDTH, 1, 0});
    stlora_free(x);
    stlora_free(h);
    stlora_free(u);
}

static void bench_adamw(bench *b)
{
    double sum;
    float *p = measure_numbers(STLORA_F32, PAIR_ELEMENTS), *g = measure_numbers(STLORA_F32, PAIR_ELEMENTS);
    float *m = measure_numbers(STLORA_F32, PAIR_ELEMENTS), *v = measure_numbers(STLORA_F32, PAIR_ELEMENTS);
    for (int64_t i = 0; i < PAIR_ELEMENTS; i++)
        v[i] = fabsf(v[i]);
    report(b, PAIR_ELEMENTS, op_adamw,
           &(stlora_adamw_args){.count = PAIR_ELEMENTS,
                                .p = p,
                                .m = m,
                                .v = v,
                                .g = g,
                                .grad_scale = 1,
                                .shrink = 1,
                                .decay = 1 - 1e-6,
                                .beta1 = 0.9,
                                .beta2 = 0.999,
                                .eps = 1e-8,
                                .step_size = 1e-6,
                                .sqrt_bc2 = 1,
                                .sum_squares = &sum});
    stlora_free(p);
    stlora_free(g);
    stlora_free(m);
    stlora_free(v);
}

static void bench_dtype(bench *b, const int64_t *tokens, int count)
{
    b->flops_ceiling = stlora_ceiling_flops(stlora_ceiling_of(b->backend, b->act), b->backend->team, 20);
    for (int i = 0; i < count; i++) {
        bench_attention(b, tokens[i], (attention_shape){HEADS, KV_HEADS, HEAD_DIM, tokens[i]});
        bench_attention(b, tokens[i], (attention_shape){8, 4, 8, 128}); /* stories260K, rows of 128 */
        bench_norm(b, tokens[i]);
        bench_rope(b, tokens[i]);
        bench_activation(b, tokens[i]);
        bench_lowrank(b, tokens[i]);
    }
    bench_cross_entropy(b, tokens[0]);
    if (b->act == STLORA_F32) bench_adamw(b);
}

static double read_ceiling(stlora_team *team)
{
    enum { NUMBERS = 32 << 20 };
    float *memory = measure_numbers(STLORA_F32, NUMBERS);
    const double rate = stlora_ceiling_read(memory, NUMBERS * sizeof *memory, team, 5);
    stlora_free(memory);
    return rate;
}

int main(int argc, char **argv)
{
    bench b = {.threads = 1, .tries = 7};
    bool f32 = true, bf16 = true;
    int64_t tokens[2] = {512, 2048};
    int count = 2;
    for (int i = 1; i + 1 < argc; i += 2) {
        char *end;
        if (strcmp(argv[i], "--threads") == 0) b.threads = (int)strtol(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--tries") == 0) b.tries = (int)strtol(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--dtype") == 0) {
            f32 = strcmp(argv[i + 1], "bf16") != 0;
            bf16 = strcmp(argv[i + 1], "f32") != 0;
        }
        if (strcmp(argv[i], "--tokens") == 0) {
            tokens[0] = strtoll(argv[i + 1], &end, 10);
            count = *end == ',' ? 2 : 1;
            if (count == 2) tokens[1] = strtoll(end + 1, NULL, 10);
        }
    }
    if (argc % 2 == 0 || b.threads < 1 || b.tries < 1 || tokens[0] < 1 || tokens[count - 1] < 1) {
        (void)fprintf(stderr, "usage: bench_ops [--threads N] [--tokens T,T] [--dtype f32|bf16|both] [--tries N]\n");
        return 2;
    }
    stlora_error err = {0};
    stlora_backend *backend;
    measure_must(stlora_backend_create(&backend, "cpu", b.threads, &err), &err);
    b.backend = backend;
    b.read_ceiling = read_ceiling(backend->team);
    (void)printf("level,dtype,op,tokens,threads,ms,gflops,gbytes_per_second,percent\n");
    for (int pass = 0; pass < 2; pass++) {
        if (!(pass ? bf16 : f32)) continue;
        b.act = pass ? STLORA_BF16 : STLORA_F32;
        bench_dtype(&b, tokens, count);
    }
    stlora_backend_free(backend);
    return 0;
}
