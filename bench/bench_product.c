/* bench_product: the frozen product's rate over the shapes of real layers, as a share of the ceiling measured in the same run.
 *
 *   bench_product [--threads N] [--tokens T,T,...] [--dtype f32|bf16|both] [--shape OUT[+OUT...]xIN] [--tries N] [--head]
 *
 * CSV on standard output, one line per shape, dtype, direction and number of tokens. "forward" reads W as it lies ([out, in]), "backward"
 * is dX = dY W over the same memory. Shapes are OUTxIN of the forward map; of several, which are one call, OUT+OUT+OUTxIN, and "apart" is one call
 * after the other. Every number is the best of N tries, and the median beside it; the ceiling is taken anew
 * before every shape, since other programs share the machine, and the best so far counts. One token waits for its weights: how fast they are
 * read is beside how fast reading alone is, of the same weights and right before. The level is the environment's (STLORA_CPU_LEVEL).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ceiling.h"
#include "base/memory.h"
#include "measure.h"
#include "tensor/dtype.h"

enum { MOST_MAPS = 3 };

/* Maps of one input, several beside each other as a model has them. */
typedef struct shape {
    int64_t out[MOST_MAPS], in;
} shape;

static const shape real_shapes[] = {{{896}, 896},  {{4864}, 896}, {{896}, 4864},          {{128}, 896},
                                    {{576}, 1536}, {{1536}, 576}, {{896, 128, 128}, 896}, {{576, 192, 192}, 576}};
static const shape head_shape = {{151936}, 896}; /* the output matrix of a 152k vocabulary */

typedef struct options {
    int threads, tries;
    bool f32, bf16, head;
    int64_t tokens[16];
    int token_counts;
    shape only;
} options;

typedef struct call {
    const stlora_backend *backend;
    stlora_product_args maps[MOST_MAPS];
    int count, at_once;
} call;

static void run(void *context)
{
    const call *c = context;
    for (int i = 0; i < c->count; i += c->at_once)
        c->backend->product(c->backend, &c->maps[i], c->at_once);
}

/* "64+32+32x64" */
static void shape_name(char *to, size_t size, const shape *s)
{
    size_t at = 0;
    for (int i = 0; i < MOST_MAPS && s->out[i]; i++)
        at += (size_t)snprintf(to + at, size - at, "%s%lld", i ? "+" : "", (long long)s->out[i]);
    (void)snprintf(to + at, size - at, "x%lld", (long long)s->in);
}

/* The maps of a shape forward, side by side in y, or backward, added up in y. */
static call call_of(const stlora_backend *backend, const shape *s, stlora_dtype dtype, bool backward, int64_t tokens,
                    const void *w, const void *x, void *y)
{
    const size_t size = stlora_dtype_size(dtype);
    call c = {.backend = backend};
    int64_t all = 0, column = 0;
    for (int i = 0; i < MOST_MAPS; i++)
        all += s->out[i];
    for (; c.count < MOST_MAPS && s->out[c.count]; c.count++) {
        const int64_t out = s->out[c.count];
        const stlora_dtype sum = c.count > 0 || s->out[1] ? STLORA_F32 : dtype;
        stlora_product_args *a = &c.maps[c.count];
        *a = (stlora_product_args){.tokens = tokens,
                                   .in = backward ? out : s->in,
                                   .out = backward ? s->in : out,
                                   .w = (const char *)w + (size_t)(column * s->in) * size,
                                   .w_dtype = dtype,
                                   .w_layout = backward ? STLORA_IN_OUT : STLORA_OUT_IN,
                                   .ldw = s->in,
                                   .scale = 1.0,
                                   .accumulate = backward && c.count > 0};
        a->x = (stlora_cmat){x, dtype, tokens, s->in, s->in};
        a->y = stlora_mat_columns(y, dtype, tokens, all, column, out);
        if (backward) {
            a->x = stlora_mat_const(stlora_mat_columns((void *)(uintptr_t)x, dtype, tokens, all, column, out));
            a->y = stlora_mat_whole(y, sum, tokens, s->in);
        }
        column += out;
    }
    return c;
}

static void bench_shape(const options *o, shape s, stlora_dtype dtype, const stlora_backend *backend, double *ceiling)
{
    int64_t most = 0, all = 0;
    char name[80];
    for (int i = 0; i < o->token_counts; i++)
        if (o->tokens[i] > most) most = o->tokens[i];
    for (int i = 0; i < MOST_MAPS; i++)
        all += s.out[i];
    shape_name(name, sizeof name, &s);
    const int64_t wide = s.in > all ? s.in : all;
    void *w = measure_numbers(dtype, all * s.in), *x = measure_numbers(dtype, most * wide);
    void *y = measure_numbers(STLORA_F32, most * wide);
    const double now = stlora_ceiling_flops(stlora_ceiling_of(backend, dtype), backend->team, 10);
    if (now > *ceiling) *ceiling = now;
    for (int direction = 0; direction < 2; direction++) {
        for (int i = 0; i < o->token_counts; i++) {
            const int64_t tokens = o->tokens[i];
            const double gflop = 2e-9 * (double)tokens * (double)s.in * (double)all;
            call c = call_of(backend, &s, dtype, direction, tokens, w, x, y);
            for (int apart = 0; apart < (c.count > 1 ? 2 : 1); apart++) {
                c.at_once = apart ? 1 : c.count;
                const size_t bytes = (size_t)(all * s.in) * stlora_dtype_size(dtype);
                const double memory = tokens == 1 ? stlora_ceiling_read(w, bytes, backend->team, o->tries) : 0;
                const measured m = measure_calls(o->threads, o->tries, run, &c);
                const double rate = gflop / m.best;
                (void)printf("%s,%s,%s%s,%s,%lld,%d,%.3f,%.1f,%.1f,%.1f,%.1f,%.1f,%.1f\n", backend->name,
                             stlora_dtype_name(dtype), direction ? "backward" : "forward", apart ? " apart" : "", name,
                             (long long)tokens, o->threads, 1e3 * m.best, rate, *ceiling, 100 * rate / *ceiling,
                             100 * gflop / m.median / *ceiling, (double)bytes / m.best / 1e9, memory);
                (void)fflush(stdout);
            }
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
            int maps = 0;
            for (o.only.out[maps++] = strtoll(value, &end, 10); *end == '+' && maps < MOST_MAPS;)
                o.only.out[maps++] = strtoll(end + 1, &end, 10);
            o.only.in = *end ? strtoll(end + 1, NULL, 10) : 0;
        } else {
            (void)fprintf(stderr, "usage: bench_product [--threads N] [--tokens T,T,...] [--dtype f32|bf16|both] "
                                  "[--shape OUT[+OUT...]xIN] [--tries N] [--head]\n");
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
    (void)printf(
        "level,dtype,direction,shape,tokens,threads,ms,gflops,ceiling_gflops,percent,median_percent,weights_gb_s,"
        "memory_gb_s\n");
    const size_t count = o.only.out[0] ? 1 : sizeof real_shapes / sizeof real_shapes[0];
    for (int pass = 0; pass < 2; pass++) {
        if (!(pass ? o.bf16 : o.f32)) continue;
        double ceiling = 0;
        for (size_t i = 0; i < count; i++)
            bench_shape(&o, o.only.out[0] ? o.only : real_shapes[i], pass ? STLORA_BF16 : STLORA_F32, backend,
                        &ceiling);
        if (o.head) bench_shape(&o, head_shape, pass ? STLORA_BF16 : STLORA_F32, backend, &ceiling);
    }
    stlora_backend_free(backend);
    return 0;
}
