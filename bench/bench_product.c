/* bench_product: the frozen product's rate over the shapes of real layers, as a share of the ceiling measured in the same run.
 *
 *   bench_product [--threads N] [--tokens T,T,...] [--dtype f32|bf16|both] [--shape OUTxIN] [--tries N] [--head]
 *
 * CSV on standard output, one line per shape, dtype, direction and number of tokens. "forward" reads W as it lies ([out, in]), "backward"
 * is dX = dY W over the same memory. Shapes are OUTxIN of the forward map. Every number is the best of N tries, and the median beside it; the ceiling is taken anew
 * before every shape, since other programs share the machine, and the best so far counts. The level is the environment's (STLORA_CPU_LEVEL).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ceiling.h"
#include "base/memory.h"
#include "measure.h"
#include "tensor/dtype.h"

typedef struct shape {
    int64_t out, in;
} shape;

static const shape real_shapes[] = {{896, 896}, {4864, 896}, {896, 4864}, {128, 896}, {576, 1536}, {1536, 576}};
static const shape head_shape = {151936, 896}; /* the output matrix of a 152k vocabulary */

typedef struct options {
    int threads, tries;
    bool f32, bf16, head;
    int64_t tokens[16];
    int token_counts;
    shape only;
} options;

typedef struct call {
    const stlora_backend *backend;
    const stlora_product_args *args;
} call;

static void run(void *context)
{
    const call *c = context;
    c->backend->product(c->backend, c->args, 1);
}

static void bench_shape(const options *o, shape s, stlora_dtype dtype, const stlora_backend *backend, double *ceiling)
{
    int64_t most = 0;
    for (int i = 0; i < o->token_counts; i++)
        if (o->tokens[i] > most) most = o->tokens[i];
    const int64_t wide = s.in > s.out ? s.in : s.out;
    void *w = measure_numbers(dtype, s.out * s.in), *x = measure_numbers(dtype, most * wide);
    void *y = measure_numbers(dtype, most * wide);
    const double now = stlora_ceiling_flops(stlora_ceiling_of(backend, dtype), backend->team, 10);
    if (now > *ceiling) *ceiling = now;
    for (int direction = 0; direction < 2; direction++) {
        for (int i = 0; i < o->token_counts; i++) {
            const int64_t tokens = o->tokens[i];
            const int64_t in = direction ? s.out : s.in, out = direction ? s.in : s.out;
            stlora_product_args args = {.tokens = tokens,
                                        .in = in,
                                        .out = out,
                                        .x = {x, dtype, tokens, in, in},
                                        .w = w,
                                        .w_dtype = dtype,
                                        .w_layout = direction ? STLORA_IN_OUT : STLORA_OUT_IN,
                                        .ldw = s.in,
                                        .scale = 1.0,
                                        .y = {y, dtype, tokens, out, out}};
            const measured m = measure_calls(o->threads, o->tries, run, &(call){backend, &args});
            const double gflop = 2e-9 * (double)tokens * (double)in * (double)out, rate = gflop / m.best;
            (void)printf("%s,%s,%s,%lldx%lld,%lld,%d,%.3f,%.1f,%.1f,%.1f,%.1f\n", backend->name, stlora_dtype_name(dtype),
                         direction ? "backward" : "forward", (long long)s.out, (long long)s.in, (long long)tokens,
                         o->threads, 1e3 * m.best, rate, *ceiling, 100 * rate / *ceiling, 100 * gflop / m.median / *ceiling);
            (void)fflush(stdout);
        }
    }
    stlora_free(w);
    stlora_free(x);
    stlora_free(y);
}

static void parse_tokens(options *o, const char *text)
{
    o->token_counts = 0;
    while (*text && o->token_counts < 16) {
        char *end;
        o->tokens[o->token_counts++] = strtoll(text, &end, 10);
        text = *end == ',' ? end + 1 : end;
        if (end == text) break;
    }
}

static options parse(int argc, char **argv)
{
    options o = {
        .threads = 1, .tries = 15, .f32 = true, .bf16 = true, .tokens = {1, 16, 128, 512, 2048}, .token_counts = 5};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--head") == 0) {
            o.head = true;
            continue;
        }
        if (strcmp(argv[i], "--threads") == 0) {
            o.threads = (int)strtol(value, NULL, 10);
        } else if (strcmp(argv[i], "--tries") == 0) {
            o.tries = (int)strtol(value, NULL, 10);
        } else if (strcmp(argv[i], "--tokens") == 0) {
            parse_tokens(&o, value);
        } else if (strcmp(argv[i], "--dtype") == 0) {
            o.f32 = strcmp(value, "bf16") != 0;
            o.bf16 = strcmp(value, "f32") != 0;
        } else if (strcmp(argv[i], "--shape") == 0) {
            char *end;
            o.only.out = strtoll(value, &end, 10);
            o.only.in = *end ? strtoll(end + 1, NULL, 10) : 0;
        } else {
            (void)fprintf(stderr, "usage: bench_product [--threads N] [--tokens T,T,...] [--dtype f32|bf16|both] "
                                  "[--shape OUTxIN] [--tries N] [--head]\n");
            exit(2);
        }
        i++;
    }
    return o;
}

int main(int argc, char **argv)
{
    const options o = parse(argc, argv);
    stlora_error err = {0};
    stlora_backend *backend;
    measure_must(stlora_backend_create(&backend, "cpu", o.threads, &err), &err);
    (void)printf("level,dtype,direction,shape,tokens,threads,ms,gflops,ceiling_gflops,percent,median_percent\n");
    const size_t count = o.only.out ? 1 : sizeof real_shapes / sizeof real_shapes[0];
    for (int pass = 0; pass < 2; pass++) {
        if (!(pass ? o.bf16 : o.f32)) continue;
        double ceiling = 0;
        for (size_t i = 0; i < count; i++)
            bench_shape(&o, o.only.out ? o.only : real_shapes[i], pass ? STLORA_BF16 : STLORA_F32, backend, &ceiling);
        if (o.head) bench_shape(&o, head_shape, pass ? STLORA_BF16 : STLORA_F32, backend, &ceiling);
    }
    stlora_backend_free(backend);
    return 0;
}
