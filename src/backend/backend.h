/* backend.h: the table of kernels that a training step is made of.
 *
 * ref/ fills the whole table with the naive definition of every op: element by element, in double, any float dtype, readable
 * for ever. cpu/ overrides what it does faster, by what cpuid allows. A kernel gets pointers and sizes, never a model; it allocates
 * nothing and cannot fail: shapes are asserted (they are our bugs, not the world's).
 *
 * Promises that every table keeps (tests/backend/test_promises.c):
 *  - fixed order of summation: the result does not depend on the number of threads;
 *  - a token's row of a result does not depend on which other tokens are in the call, nor on how many (products, norms,
 *    attention of other segments): so the cut into micro-batches changes no bit;
 *  - sums over tokens (lowrank_grad, cross_entropy's loss) run token by token in ascending order, starting from what the
 *    accumulator held: so two calls over halves equal one call over the whole, bit for bit;
 *  - several maps in one product have the bits of one call after the other;
 *  - NaN and infinity propagate; accumulation in at least float. Denormals count, but for bf16 by bf16 products (attention's too) at level
 *    avx512-bf16, whose instruction takes what is below 1.2e-38 for zero, and for these and the adapter's part in them at level avx512-amx.
 *
 * Letters: T tokens, C hidden width, V vocabulary, H heads, K kv heads, D head width, F inner width, n input and m output
 * width of a linear map, r rank. Activations are F32 or BF16 ("act"); the residual stream and every statistic are F32; ref also takes
 * F64 everywhere, for gradient checks by central differences.
 */
#ifndef STLORA_BACKEND_BACKEND_H
#define STLORA_BACKEND_BACKEND_H

#include "base/error.h"
#include "base/threads.h"
#include "tensor/view.h"

typedef struct stlora_backend stlora_backend;

enum { STLORA_MAX_HEAD_DIM = 1024 }; /* widest attention head that every table takes */

/* How a weight lies in the file. OUT_IN: Linear's [out, in]. IN_OUT: Conv1D's [in, out]; also what dX = dY * W asks of a Linear. */
typedef enum stlora_layout { STLORA_OUT_IN, STLORA_IN_OUT } stlora_layout;

/* product, of each of `count` maps, as if one after the other:
 *   y[t,o] = (accumulate ? y[t,o] : 0) + sum_i x[t,i] w(o,i) + bias[o] + scale * sum_q h[t,q] u(q,o)
 *
 *   x     (T, in)   act          w(o,i) = w[o*ldw + i] (OUT_IN) or w[i*ldw + o] (IN_OUT); F32, BF16 or F16, read in place
 *   bias  (out)     any float dtype, NULL = none
 *   h     (T, r)    F32 low-rank activations, r = 0: none          u(q,o) = u[q*u_rank_stride + o*u_out_stride], F32
 *   y     (T, out)  act or F32
 * Forward of a Linear with LoRA: w = W OUT_IN, h = x*A^T, u = B (rank stride 1, out stride r).
 * Backward: x = dY, w = W with the other layout, in and out swapped, h = dY*B, u = A (rank stride n, out stride 1).
 * w NULL leaves the frozen term out (only the low-rank term remains).
 * Several maps are those that one place of a model has, with as many tokens each, and are one of two kinds. Side by side: they read the same x,
 * and no y overlaps another (q, k and v). Added up: they have the same y, and all but the first accumulate (the gradient of what q, k and v
 * read). A table may do them at once, where one alone is too narrow; the bits are those of one call after the other. */
typedef struct stlora_product_args {
    int64_t tokens, in, out;
    stlora_cmat x;
    const void *w;
    stlora_dtype w_dtype;
    stlora_layout w_layout;
    int64_t ldw;
    const void *bias;
    stlora_dtype bias_dtype;
    const float *h; /* (T, rank), row stride rank */
    const float *u;
    int64_t rank, u_rank_stride, u_out_stride;
    double scale;
    stlora_mat y;
    bool accumulate;
} stlora_product_args;

/* Of the two kinds of several maps: do they add up in one y? */
static inline bool stlora_product_adds_up(const stlora_product_args *maps, int count)
{
    return count > 1 && maps[1].y.data == maps[0].y.data;
}

/* lowrank_project: h[t,q] = sum_i x[t,i] u(q,i);   x (T, width) act or F32;  h (T, r) F32, row stride r
 * u(q,i) = u[q*u_rank_stride + i*u_width_stride]: A [r,n] for h = x*A^T, B [m,r] for p = dY*B. */
typedef struct stlora_lowrank_project_args {
    int64_t tokens, width, rank;
    stlora_cmat x;
    const float *u;
    int64_t u_rank_stride, u_width_stride;
    float *h;
} stlora_lowrank_project_args;

/* lowrank_grad: g(q,i) += scale * sum_t h[t,q] x[t,i], t ascending one by one (see the promises)
 *   gA [r,n]: h = p, x = X, strides (n, 1).    gB [m,r]: h = h, x = dY, strides (1, r).    g F32 (F64 in ref's double).
 * The term of one token is fl(fl(scale*h) * x) added with one rounding or two; either, but the same for every call. */
typedef struct stlora_lowrank_grad_args {
    int64_t tokens, width, rank;
    const float *h; /* (T, r) */
    stlora_cmat x;  /* (T, width) */
    double scale;
    float *g;
    int64_t g_rank_stride, g_width_stride;
    int64_t h_stride; /* from token to token in h; 0 = rank */
} stlora_lowrank_grad_args;

/* dropout: y[t,i] (+)= keep(t,i) ? x[t,i] / (1-p) : 0;  keep from the counter-based RNG: use DROPOUT, seed, stream = map and step,
 * index = position of the token within the run's data (key[t]) and i; so independent of packing. Formula in ref/dropout.c. */
typedef struct stlora_dropout_args {
    int64_t tokens, width;
    stlora_cmat x;
    stlora_mat y;
    bool accumulate;
    double p;
    uint64_t seed, stream;
    const uint64_t *token_keys; /* (T) unique per (row, position) */
} stlora_dropout_args;

/* embed: x[t,c] = table[ids[t], c] + (positions_table ? positions_table[positions[t], c] : 0);  x (T, C) F32 */
typedef struct stlora_embed_args {
    int64_t tokens, width;
    const int32_t *ids, *positions;
    const void *table;
    stlora_dtype table_dtype;
    const void *position_table; /* NULL = none */
    stlora_dtype position_dtype;
    stlora_mat x;
} stlora_embed_args;

/* noise: x[t,c] += amplitude (2 u(t,c) - 1), u uniform in [0, 1) from the counter-based RNG: use NOISE, seed, stream, token_keys[t] and c as
 * dropout has them.  x (T, C) F32 */
typedef struct stlora_noise_args {
    int64_t tokens, width;
    stlora_mat x;
    double amplitude;
    uint64_t seed, stream;
    const uint64_t *token_keys; /* (T) */
} stlora_noise_args;

/* row_norms: norms[o] = |W + scale B A| of output o = sqrt(sum_i (w(o,i) + scale sum_q b[o,q] a[q,i])^2), in double; B A is never whole.
 *   w(o,i) as product's, in = n, out = m;   a [r, n], b [m, r] F32, r = 0: none;   norms (m) F32 */
typedef struct stlora_row_norms_args {
    int64_t in, out, rank;
    const void *w;
    stlora_dtype w_dtype;
    stlora_layout w_layout;
    int64_t ldw;
    const float *a, *b;
    double scale;
    float *norms;
} stlora_row_norms_args;

/* column_scale: y[t,c] = (accumulate ? y[t,c] : 0) + scale[c] x[t,c] + bias[c];   x (T, C) act or F32; scale (C) F32; bias (C) any float
 * dtype, NULL = none; y (T, C) act or F32, may be x's own memory where both have one dtype and stride. */
typedef struct stlora_column_scale_args {
    int64_t tokens, width;
    stlora_cmat x;
    const float *scale;
    const void *bias;
    stlora_dtype bias_dtype;
    stlora_mat y;
    bool accumulate;
} stlora_column_scale_args;

/* column_dot: g[c] += scale[c] sum_t x[t,c] y[t,c], t ascending one by one: the term of a token is fl(fl(scale x) y) added with one rounding
 * or two.   x, y (T, C) act or F32; scale, g (C) F32 */
typedef struct stlora_column_dot_args {
    int64_t tokens, width;
    stlora_cmat x, y;
    const float *scale;
    float *g;
} stlora_column_dot_args;

typedef enum stlora_norm_kind {
    STLORA_NORM_RMS,
    STLORA_NORM_LAYER,
    STLORA_NORM_RMS_ONE /* RMS with 1 + w for w */
} stlora_norm_kind;

/* norm: RMS: y = x * rstd * w, rstd = 1/sqrt(mean(x^2) + eps);  LAYER: y = (x - mean) * rstd * w + b, biased variance.
 *   x (T, G C) act or F32, a token's G groups of C each by itself, as one head beside another; w, b (C) any float dtype, b NULL but for
 *   LAYER; y (T, G C) act or F32, with accumulate added to; stats (T, G, 2) F32: mean (0 but for LAYER), rstd */
typedef struct stlora_norm_args {
    stlora_norm_kind kind;
    int64_t tokens, width;
    int64_t groups; /* G; 0 = 1 */
    double eps;
    stlora_cmat x;
    const void *w, *b;
    stlora_dtype w_dtype;
    stlora_mat y;
    bool accumulate;
    float *stats;
} stlora_norm_args;

/* norm_grad: dx[t,c] += d(loss)/dx given dy (T, G C) act or F32; w is frozen. x, stats as norm left them. dx (T, G C) act or F32; with
 * overwrite it is written and may be dy's own memory, where both have one dtype and stride. */
typedef struct stlora_norm_grad_args {
    stlora_norm_kind kind;
    int64_t tokens, width;
    int64_t groups; /* 0 = 1 */
    stlora_cmat x, dy;
    const void *w;
    stlora_dtype w_dtype;
    const float *stats;
    stlora_mat dx;
    bool overwrite;
} stlora_norm_grad_args;

/* scale: y[t,c] = (accumulate ? y[t,c] : 0) + f(scale x[t,c]),  f(z) = z, or softcap tanh(z / softcap) where softcap > 0
 *   x (T, C) act or F32; y (T, C) act or F32, may be x's own memory where both have one dtype and stride. */
typedef struct stlora_scale_args {
    int64_t tokens, width;
    double scale, softcap;
    stlora_cmat x;
    stlora_mat y;
    bool accumulate;
} stlora_scale_args;

/* rope: rotates the halves of the first R of every head's D elements in place (NeoX order, as in Transformers): for j < R/2, head h,
 * a = x[h*D + j], b = x[h*D + R/2 + j]:
 *   a' = a cos - b sin,  b' = b cos + a sin     (inverse: sin -> -sin, which is also the gradient)
 *   x (T, heads*D) act, several heads side by side (q and k of one buffer in one call); cos, sin (rows, R/2) F32, of which token t takes
 *   row positions[t] */
typedef struct stlora_rope_args {
    int64_t tokens, heads, head_dim;
    int64_t rotary_dim; /* R, even; 0 = D */
    stlora_mat x;
    const int32_t *positions;
    const float *cos, *sin;
    bool inverse;
} stlora_rope_args;

/* A row of a pack for attention: queries q0 ... q0+q_count-1 against keys k0 ... k0+k_count-1, causal: query i of the segment
 * sees keys 0 ... k_count - q_count + i, or the last `window` of these. In training q and k are the same tokens; in decoding k is the
 * cache. */
typedef struct stlora_segment {
    int64_t q0, q_count, k0, k_count;
} stlora_segment;

/* attention: per segment, head h with kv head h / (H/K):
 *   p = softmax(f(scale * q k^T), causal, windowed);  o = p v;   lse[t,h] = log sum exp of the scores f(...)
 *   f(z) = z, or softcap tanh(z / softcap) where softcap > 0
 *   q (Tq, H*D), k, v (Tk, K*D), o (Tq, H*D) act; lse (Tq, H) F32. No T x T matrix in memory. */
typedef struct stlora_attention_args {
    int64_t heads, kv_heads, head_dim;
    double scale, softcap;
    int64_t window; /* keys that a query sees at most, its own included; 0 = all */
    const stlora_segment *segments;
    int64_t segment_count;
    stlora_cmat q, k, v;
    stlora_mat o;
    float *lse;
} stlora_attention_args;

/* attention_grad: dq, dk, dv (overwritten) from do (dout), with o, lse as attention left them. delta (Tq, H) F32 is scratch: sum_d do*o;
 * work (H D (Tq + 2 Tk)) F32 is scratch too. dk and dv of a kv head sum over queries in ascending order for each query head, then over
 * its query heads in ascending order. A NaN of a token may reach every gradient of its segment. */
typedef struct stlora_attention_grad_args {
    int64_t heads, kv_heads, head_dim;
    double scale, softcap;
    int64_t window;
    const stlora_segment *segments;
    int64_t segment_count;
    stlora_cmat q, k, v, o, dout;
    const float *lse;
    float *delta, *work;
    stlora_mat dq, dk, dv;
} stlora_attention_grad_args;

typedef enum stlora_activation_kind {
    STLORA_ACT_SILU_GLU, /* in (T, 2F): y = silu(in[:, :F]) * in[:, F:] */
    STLORA_ACT_GELU_TANH, /* in (T, F):  y = gelu_tanh(in) = in/2 (1 + tanh(sqrt(2/pi) (in + 0.044715 in^3))) */
    STLORA_ACT_GELU_TANH_GLU /* in (T, 2F): y = gelu_tanh(in[:, :F]) * in[:, F:] */
} stlora_activation_kind;

/* Has the activation's input a gate beside what it gates? */
static inline bool stlora_gated(stlora_activation_kind kind)
{
    return kind != STLORA_ACT_GELU_TANH;
}

typedef struct stlora_activation_args {
    stlora_activation_kind kind;
    int64_t tokens, width; /* width = F */
    stlora_cmat x;         /* (T, 2F) or (T, F) act */
    stlora_mat y;          /* (T, F) act */
} stlora_activation_args;

typedef struct stlora_activation_grad_args {
    stlora_activation_kind kind;
    int64_t tokens, width;
    stlora_cmat x, dy;
    stlora_mat dx; /* like x; may be x's own memory */
    stlora_mat y;  /* (T, F) act: what activation puts out, bit for bit; may be dy's own memory; data NULL = not wanted */
} stlora_activation_grad_args;

/* cross_entropy: over rows of logits (N, V) F32 with one target each:
 *   logprob[i] = logits[i, target] - logsumexp(logits[i, :])          *loss -= sum_i logprob[i] (in double, i ascending)
 *   dlogits(i, v) = scale * (softmax(logits[i, :])[v] - [v == target]), act or F32; data NULL = no gradient.
 * dlogits may be the logits' own memory, each row beginning where its logits begin. With softcap > 0 the logits are softcap tanh(z / softcap)
 * of what the gradient is asked for: dlogits(i, v) *= 1 - (logits[i, v] / softcap)^2. */
typedef struct stlora_cross_entropy_args {
    int64_t rows, vocab;
    stlora_cmat logits;
    const int32_t *targets;
    double scale, softcap;
    float *logprob; /* (N) or NULL */
    double *loss;   /* in/out or NULL */
    stlora_mat dlogits;
} stlora_cross_entropy_args;

/* adamw: one fused pass over each of so many matrices p, of `count` elements, which have nothing in common; see optim/adamw.c for the formula
 * and the order of roundings:
 *   p <- fl(p * shrink); p <- fl(p * decay); m, v <- moments of g * grad_scale; p <- p - step_size * m / (sqrt(v) / sqrt_bc2 + eps)
 * and *sum_squares = sum p^2 of the new p in double, fixed order. All F32. shrink = 1 and decay = 1 leave p's bits alone.
 * Every step is rounded to float, without fused multiply-add; the scalars (1 - beta1, 1 - beta2 too) are formed in double and rounded
 * to float where they are used: ref/adamw.c spells it out. grad_scale, shrink, decay of exactly 1 are left out.
 * Fixed order, of sum_squares too: blocks of 65536 elements; within a block element i goes to lane i mod 16, each lane sums its squares
 * in double in ascending i from 0; block = lane 0 + lane 1 + ... + lane 15 from the left; total = 0 + block 0 + block 1 + ... likewise. */
typedef struct stlora_adamw_args {
    int64_t count;
    float *p, *m, *v;
    const float *g;
    double grad_scale; /* clipping's factor */
    double shrink, decay, beta1, beta2, eps, step_size /* lr / (1 - beta1^t) */, sqrt_bc2 /* sqrt(1 - beta2^t) */;
    double *sum_squares;
} stlora_adamw_args;

struct stlora_backend {
    const char *name; /* "ref", "cpu portable", "cpu avx2", "cpu avx512", "cpu avx512-bf16", "cpu avx512-amx" */
    int threads;      /* how many the kernels use */
    bool fast_bf16;   /* products of bf16 by bf16 run faster than fp32's: what --precision auto asks */
    bool tiles;       /* they run on tile registers */
    void *scratch;    /* packing panels, one block per thread, taken at creation */
    stlora_team *team; /* that runs the kernels; NULL for ref's, which runs on the caller */

    /* What is called between begin and end may be put off until end, so that a table can put calls together: the args are copied, but nobody
     * other than ops may look at what they point to, or change it, before end. Not one in the other. */
    void (*begin)(const stlora_backend *);
    void (*end)(const stlora_backend *);

    void (*product)(const stlora_backend *, const stlora_product_args *maps, int count);
    void (*lowrank_project)(const stlora_backend *, const stlora_lowrank_project_args *);
    void (*lowrank_grad)(const stlora_backend *, const stlora_lowrank_grad_args *);
    void (*dropout)(const stlora_backend *, const stlora_dropout_args *);
    void (*embed)(const stlora_backend *, const stlora_embed_args *);
    void (*noise)(const stlora_backend *, const stlora_noise_args *);
    void (*row_norms)(const stlora_backend *, const stlora_row_norms_args *);
    void (*column_scale)(const stlora_backend *, const stlora_column_scale_args *);
    void (*column_dot)(const stlora_backend *, const stlora_column_dot_args *);
    void (*norm)(const stlora_backend *, const stlora_norm_args *);
    void (*norm_grad)(const stlora_backend *, const stlora_norm_grad_args *);
    void (*scale)(const stlora_backend *, const stlora_scale_args *);
    void (*rope)(const stlora_backend *, const stlora_rope_args *);
    void (*attention)(const stlora_backend *, const stlora_attention_args *);
    void (*attention_grad)(const stlora_backend *, const stlora_attention_grad_args *);
    void (*activation)(const stlora_backend *, const stlora_activation_args *);
    void (*activation_grad)(const stlora_backend *, const stlora_activation_grad_args *);
    void (*cross_entropy)(const stlora_backend *, const stlora_cross_entropy_args *);
    void (*adamw)(const stlora_backend *, const stlora_adamw_args *args, int matrices);
    /* sum_squares: sum x^2 in double, fixed order; also tells of a non-finite element by a non-finite sum. */
    double (*sum_squares)(const stlora_backend *, const float *x, int64_t count);
};

/* stlora_backend_create: kind "cpu" (the best level that cpuid allows, or the one that the environment variable STLORA_CPU_LEVEL names:
 * portable, avx2, avx512, avx512-bf16, avx512-amx) or "ref". threads 0 = all cores the process may use. Pair with _free.
 * STLORA_E_USAGE: unknown kind, or a level that this machine does not have. */
STLORA_NODISCARD stlora_status stlora_backend_create(stlora_backend **out, const char *kind, int threads,
                                                     stlora_error *err);
void stlora_backend_free(stlora_backend *backend);

/* Bytes of scratch that a created backend holds, for the plan. */
size_t stlora_backend_scratch_bytes(const stlora_backend *backend);

#endif
