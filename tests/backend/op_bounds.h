/* op_bounds.h: how far a float implementation may be from ref, element by element, and the comparison.
 *
 * A sum of k terms in float, in any order, is off by at most k eps sum |term| (eps = 2^-24, half an ulp of 1); every bound
 * below is that, carried through the op's formula, with the sums of absolute values evaluated in double on the case itself. Storing
 * into a half type adds half an ulp of what is stored. Nothing here was fitted to what an implementation happens to do.
 */
#ifndef STLORA_TESTS_OP_BOUNDS_H
#define STLORA_TESTS_OP_BOUNDS_H

#include "backend/op_instance.h"

static const double op_eps = 0x1p-24;
static const double op_bf16_eps = 0x1p-8; /* the same of a number that is rounded to bf16 on its way */

/* product, lowrank_*: the op itself on absolute values is sum |x w|. */
static inline void op_bound_dots(const op_instance *x, double *bound)
{
    op_instance a;
    op_copy(&a, x);
    for (int n = 0; n < OP_MOST_BUFFERS; n++) {
        op_buffer *b = &a.buffer[n];
        for (int64_t i = 0; b->name && i < b->rows; i++) {
            for (int64_t j = 0; j < b->cols; j++)
                op_put(b, i, j, fabs(op_get(b, i, j)));
        }
    }
    a.c.scale = fabs(a.c.scale);
    stlora_backend ref = {.name = "ref", .threads = 1};
    stlora_ref_fill(&ref);
    op_run(&ref, &a, 0, a.c.tokens);
    const int64_t terms = a.c.op == OP_LOWRANK_GRAD ? 2 * a.c.tokens : a.c.in + a.c.rank;
    const op_buffer *y = &a.buffer[PY];
    for (int64_t i = 0; i < y->rows * y->cols; i++) {
        bound[i] = (double)(terms + 4) * op_eps * op_get(y, i / y->cols, i % y->cols);
    }
    op_free(&a);
}

/* A norm's weight as it multiplies. */
static inline double op_norm_weight(const op_instance *x, int64_t i)
{
    return op_get(&x->buffer[NW], 0, i) + (x->c.kind == STLORA_NORM_RMS_ONE ? 1 : 0);
}

static inline void op_bound_norm(const op_instance *x, int slot, double *bound)
{
    const op_case *c = &x->c;
    const op_buffer *b = x->buffer;
    const double width = (double)c->in, k = width + 8;
    const bool layer = c->kind == STLORA_NORM_LAYER;
    const int64_t groups = c->groups ? c->groups : 1;
    for (int64_t r = 0; r < c->tokens * groups; r++) {
        const int64_t t = r / groups, at = r % groups * c->in;
        double mean = 0, mean_abs = 0, largest = 0, var = 0;
        for (int64_t i = 0; i < c->in; i++) {
            const double v = op_get(&b[NX], t, at + i);
            if (layer) mean += v / width;
            mean_abs += layer ? fabs(v) / width : 0;
            largest = fmax(largest, fabs(v));
        }
        for (int64_t i = 0; i < c->in; i++)
            var += pow(op_get(&b[NX], t, at + i) - mean, 2) / width;
        const double rstd = 1 / sqrt(var + c->scale);
        const double mean_error = k * op_eps * mean_abs;
        const double rstd_relative = op_eps * (k + 4 * largest * rstd);
        if (slot == NSTATS) {
            bound[2 * r] = mean_error;
            bound[2 * r + 1] = rstd * rstd_relative;
        }
        for (int64_t i = 0; slot == NY && i < c->in; i++) {
            const double v = op_get(&b[NX], t, at + i), w = fabs(op_norm_weight(x, i));
            const double off = fabs(v - mean) * rstd_relative + mean_error + 4 * op_eps * (fabs(v) + fabs(mean));
            const double bias = b[NB].name ? fabs(op_get(&b[NB], 0, i)) : 0;
            const double held = c->accumulate ? fabs(op_get(&b[NY], t, at + i)) + fabs(v - mean) * rstd * w : 0;
            bound[r * c->in + i] = off * rstd * w + 2 * op_eps * (bias + held);
        }
    }
}

static inline void op_bound_norm_grad(const op_instance *x, double *bound)
{
    const op_case *c = &x->c;
    const op_buffer *b = x->buffer;
    const double width = (double)c->in, k = width + 8;
    const int64_t groups = c->groups ? c->groups : 1;
    for (int64_t r = 0; r < c->tokens * groups; r++) {
        const int64_t t = r / groups, at = r % groups * c->in;
        const double mean = op_get(&b[NSTATS], t, 2 * (r % groups)), rstd = op_get(&b[NSTATS], t, 2 * (r % groups) + 1);
        double mean_g = 0, mean_gn = 0; /* of absolute values */
        for (int64_t i = 0; i < c->in; i++) {
            const double g = fabs(op_get(&b[NDY], t, at + i) * op_norm_weight(x, i));
            mean_g += g / width;
            mean_gn += g * (fabs(op_get(&b[NX], t, at + i)) + fabs(mean)) * rstd / width;
        }
        for (int64_t i = 0; i < c->in; i++) {
            const double g = fabs(op_get(&b[NDY], t, at + i) * op_norm_weight(x, i));
            const double n = (fabs(op_get(&b[NX], t, at + i)) + fabs(mean)) * rstd;
            const double held = c->overwrite ? 0 : fabs(op_get(&b[NDX], t, at + i));
            const double dx = rstd * (4 * g + n * k * mean_gn + (c->kind == STLORA_NORM_LAYER ? k * mean_g : 0));
            bound[r * c->in + i] = op_eps * (2 * held + dx);
        }
    }
}

/* One attention score: s[i,j], and the same of absolute values. */
static inline double op_score(const op_instance *x, int64_t t, int64_t u, int64_t h, double *absolute)
{
    const op_case *c = &x->c;
    const int64_t dim = c->head_dim, g = h / (c->heads / c->kv_heads);
    double s = 0;
    *absolute = 0;
    for (int64_t d = 0; d < dim; d++) {
        const double term = c->scale * op_get(&x->buffer[AQ], t, h * dim + d) * op_get(&x->buffer[AK], u, g * dim + d);
        s += term;
        *absolute += fabs(term);
    }
    return s;
}

/* The score as it goes into the softmax, from s, which is off by *off: a soft cap brings no score further apart, and its tanh is good to a few
 * ulps. *bend: the cap's derivative. */
static inline double op_capped(const op_case *c, double s, double *off, double *bend)
{
    const double t = c->softcap > 0 ? tanh(s / c->softcap) : 0;
    *bend = 1 - t * t;
    if (c->softcap <= 0) return s;
    *off += 16 * op_eps * fabs(c->softcap * t);
    return c->softcap * t;
}

/* First key of a segment that its query row t sees. */
static inline int64_t op_first_key(const op_case *c, const stlora_segment *seg, int64_t t)
{
    const int64_t keys = seg->k_count - seg->q_count + (t - seg->q0) + 1;
    return seg->k0 + (c->window > 0 && keys > c->window ? keys - c->window : 0);
}

/* A score off by e makes its exponential off by the factor exp(e); the normalising sum is off by the largest of them. */
static inline void op_bound_attention(const op_instance *x, int slot, double *bound)
{
    const op_case *c = &x->c;
    const int64_t dim = c->head_dim;
    for (int64_t n = 0; n < c->segment_count; n++) {
        const stlora_segment *seg = &c->segments[n];
        for (int64_t q = 0; q < seg->q_count * c->heads; q++) {
            const int64_t t = seg->q0 + q / c->heads, h = q % c->heads, g = h / (c->heads / c->kv_heads);
            const int64_t keys = seg->k_count - seg->q_count + (t - seg->q0) + 1;
            double largest = -HUGE_VAL, sum = 0, off = 0, absolute, ignored = 0;
            const int64_t first = op_first_key(c, seg, t);
            const double rounding = c->rounded ? op_bf16_eps : 0;
            for (int64_t u = first; u < seg->k0 + keys; u++) {
                double bend, s = op_score(x, t, u, h, &absolute);
                double s_off = op_eps * ((double)(dim + 4) * absolute + 4 * fabs(s));
                s = op_capped(c, s, &s_off, &bend);
                largest = fmax(largest, s);
                off = fmax(off, s_off);
            }
            off += op_eps * (4 * fabs(largest) + (double)keys + 12);
            for (int64_t u = first; u < seg->k0 + keys; u++)
                sum += exp(op_capped(c, op_score(x, t, u, h, &absolute), &ignored, &ignored) - largest);
            const double lse = largest + log(sum);
            if (slot == ALSE) bound[t * c->heads + h] = off + 2 * op_eps * fabs(lse);
            if (slot != AO) continue;
            double *row = bound + t * c->heads * dim + h * dim;
            memset(row, 0, (size_t)dim * sizeof *row);
            for (int64_t u = first; u < seg->k0 + keys; u++) {
                const double p = exp(op_capped(c, op_score(x, t, u, h, &absolute), &ignored, &ignored) - lse);
                for (int64_t d = 0; d < dim; d++)
                    row[d] += (2 * off + rounding) * p * fabs(op_get(&x->buffer[AV], u, g * dim + d));
            }
        }
    }
}

static inline void op_bound_attention_grad(const op_instance *x, int slot, double *bound)
{
    const op_case *c = &x->c;
    const op_buffer *b = x->buffer;
    const int64_t dim = c->head_dim;
    memset(bound, 0, (size_t)(b[slot].rows * b[slot].cols) * sizeof *bound);
    for (int64_t n = 0; n < c->segment_count; n++) {
        const stlora_segment *seg = &c->segments[n];
        const double terms = (double)(slot == ADQ ? seg->k_count : seg->q_count * (c->heads / c->kv_heads)) + 4;
        for (int64_t q = 0; q < seg->q_count * c->heads; q++) {
            const int64_t t = seg->q0 + q / c->heads, h = q % c->heads, g = h / (c->heads / c->kv_heads);
            const double lse = op_get(&b[ALSE], t, h);
            const double rounding = c->rounded ? op_bf16_eps : 0;
            for (int64_t u = op_first_key(c, seg, t); u <= seg->k0 + seg->k_count - seg->q_count + (t - seg->q0); u++) {
                double absolute, dp = 0, dp_abs = 0;
                double bend, s = op_score(x, t, u, h, &absolute);
                double off = op_eps * ((double)(dim + 4) * absolute + 4 * (fabs(s) + fabs(lse)) + 12);
                s = op_capped(c, s, &off, &bend);
                const double p = exp(s - lse);
                /* 1 - t^2: t is off by the score's share, and by rounding */
                const double bend_off = c->softcap > 0 ? 2 * off / c->softcap + 8 * op_eps : 0;
                for (int64_t d = 0; d < dim; d++) {
                    const double dout = op_get(&b[ADOUT], t, h * dim + d);
                    const double v = op_get(&b[AV], u, g * dim + d), o = op_get(&b[AO], t, h * dim + d);
                    dp += dout * (v - o);
                    dp_abs += fabs(dout) * (fabs(v) + fabs(o));
                }
                const double ds = p * bend * ((off + terms * op_eps + rounding) * fabs(dp) + (double)(dim + 8) * op_eps * dp_abs) +
                                  p * bend_off * (fabs(dp) + (double)(dim + 8) * op_eps * dp_abs);
                for (int64_t d = 0; d < dim; d++) {
                    const int64_t qd = h * dim + d, kd = g * dim + d;
                    if (slot == ADQ) bound[t * c->heads * dim + qd] += fabs(c->scale * op_get(&b[AK], u, kd)) * ds;
                    if (slot == ADK) bound[u * c->kv_heads * dim + kd] += fabs(c->scale * op_get(&b[AQ], t, qd)) * ds;
                    if (slot == ADV) {
                        bound[u * c->kv_heads * dim + kd] +=
                            (off + terms * op_eps + rounding) * p * fabs(op_get(&b[ADOUT], t, qd));
                    }
                }
            }
        }
    }
}

/* exp and tanh are good to a few ulps; 1 - s and 1 + tanh are off by eps absolutely. tiny: where exp leaves float's range. */
static inline double op_bound_activation(const op_instance *x, int slot, int64_t t, int64_t j)
{
    const op_case *c = &x->c;
    const bool gradient = c->backward && slot != EY && slot != EDY; /* backward leaves y in one of these */
    const op_buffer *b = x->buffer;
    const double few = 16 * op_eps, tiny = 1e-36, a = op_get(&b[EX], t, j % c->in);
    const double dy = gradient ? fabs(op_get(&b[EDY], t, j % c->in)) : 0;
    if (c->kind == STLORA_ACT_GELU_TANH) return few * (gradient ? dy * (1 + fabs(a)) : fabs(a)) + tiny;
    const double up = fabs(op_get(&b[EX], t, c->in + j % c->in)), s = 1 / (1 + exp(-a));
    if (c->kind == STLORA_ACT_GELU_TANH_GLU)
        return few * (!gradient ? fabs(a) * up : j < c->in ? dy * up * (1 + fabs(a)) : dy * fabs(a)) + tiny;
    if (!gradient) return few * fabs(a) * s * up + tiny;
    return few * (j < c->in ? dy * up * s * (1 + fabs(a)) : dy * fabs(a) * s) + tiny;
}

static inline void op_bound_cross_entropy(const op_instance *x, int slot, double *bound, double *loss)
{
    const op_case *c = &x->c;
    for (int64_t i = 0; i < c->tokens; i++) {
        double largest = -HUGE_VAL, sum = 0;
        for (int64_t v = 0; v < c->in; v++)
            largest = fmax(largest, op_get(&x->buffer[EX], i, v));
        for (int64_t v = 0; v < c->in; v++)
            sum += exp(op_get(&x->buffer[EX], i, v) - largest);
        const double lse = largest + log(sum), target = op_get(&x->buffer[EX], i, x->ids[i]);
        const double off = op_eps * ((double)c->in + 16 + 4 * (fabs(largest) + fabs(lse) + fabs(target)));
        *loss += off;
        if (slot == ELOGPROB) bound[i] = off;
        for (int64_t v = 0; slot != ELOGPROB && v < c->in; v++) {
            const double logit = op_get(&x->buffer[EX], i, v), p = exp(logit - lse);
            const double hit = v == x->ids[i] ? 1 : 0;
            bound[i * c->in + v] =
                fabs(c->scale) * (p * (off + 4 * op_eps * fabs(logit)) + (c->softcap > 0 ? 12 : 4) * op_eps * (p + hit)) + 1e-36;
        }
    }
}

/* op_bound: for the written buffer `slot`, bound[i * cols + j]. x is widened and has not been run. */
static inline void op_bound(const op_instance *x, int slot, double *bound)
{
    const op_case *c = &x->c;
    const op_buffer *b = x->buffer;
    const int64_t cols = b[slot].cols, rotary = c->rotary_dim ? c->rotary_dim : c->head_dim, half = rotary / 2;
    double loss = 0;
    switch (c->op) {
    case OP_PRODUCT:
    case OP_LOWRANK_PROJECT:
    case OP_LOWRANK_GRAD:
        op_bound_dots(x, bound);
        return;
    case OP_NORM:
        if (c->backward) op_bound_norm_grad(x, bound);
        if (!c->backward) op_bound_norm(x, slot, bound);
        return;
    case OP_ATTENTION:
        if (c->backward) op_bound_attention_grad(x, slot, bound);
        if (!c->backward) op_bound_attention(x, slot, bound);
        return;
    case OP_CROSS_ENTROPY:
        op_bound_cross_entropy(x, slot, bound, &loss);
        return;
    case OP_DROPOUT:
    case OP_EMBED:
    case OP_SCALE:
    case OP_ROPE:
    case OP_ACTIVATION:
    case OP_ADAMW:
    case OP_COUNT:
        break;
    }
    for (int64_t n = 0; n < b[slot].rows * cols; n++) {
        const int64_t t = n / cols, j = n % cols;
        if (c->op == OP_DROPOUT) {
            bound[n] = 4 * op_eps * (fabs(op_get(&b[EX], t, j)) / (1 - c->scale) + fabs(op_get(&b[EY], t, j)));
        } else if (c->op == OP_EMBED) {
            const double position = c->bias ? fabs(op_get(&b[EPOSITIONS], x->positions[t], j)) : 0;
            bound[n] = 2 * op_eps * (fabs(op_get(&b[ETABLE], x->ids[t], j)) + position) * (c->bias ? 1 : 0);
        } else if (c->op == OP_SCALE) {
            const double z = fabs(c->scale * op_get(&b[EX], t, j));
            const double y = c->softcap > 0 ? c->softcap * tanh(z / c->softcap) : z;
            const double held = c->accumulate ? fabs(op_get(&b[EY], t, j)) : 0;
            bound[n] = op_eps * ((c->softcap > 0 ? 20 : 2) * y + 2 * held);
        } else if (c->op == OP_ROPE) {
            const int64_t other = j % c->head_dim < half ? j + half : j - half;
            if (j % c->head_dim >= rotary)
                bound[n] = 0;
            else
                bound[n] = 4 * op_eps * (fabs(op_get(&b[EX], t, j)) + fabs(op_get(&b[EX], t, other)));
        } else if (c->op == OP_ACTIVATION) {
            bound[n] = op_bound_activation(x, slot, t, j);
        } else {
            bound[n] = 0; /* adamw: every rounding is prescribed */
        }
    }
}

/* Half an ulp of a stored number of this size. */
static inline double op_half_ulp(stlora_dtype dtype, double value)
{
    const int digits = dtype == STLORA_BF16 ? 8 : dtype == STLORA_F16 ? 11 : 24;
    return value == 0 ? 0 : ldexp(1, ilogb(value) - digits);
}

/* op_compare: every written buffer of `got` against `want` (widened, run), within bounds made from `before` (widened, not run).
 * False, with the worst element printed, when one is outside; a NaN is. delta is scratch and not compared. */
static inline bool op_compare(const op_instance *got, const op_instance *want, const op_instance *before)
{
    bool good = true;
    for (int slot = 0; slot < OP_MOST_BUFFERS; slot++) {
        const op_buffer *g = &got->buffer[slot], *w = &want->buffer[slot];
        if (!g->name || !g->written || (got->c.op == OP_ATTENTION && slot == ADELTA)) continue;
        double *bound = malloc((size_t)(g->rows * g->cols) * sizeof *bound);
        assert_non_null(bound);
        op_bound(before, slot, bound);
        double worst = 0;
        int64_t at = -1;
        for (int64_t n = 0; n < g->rows * g->cols; n++) {
            const double is = op_get(g, n / g->cols, n % g->cols), should = op_get(w, n / g->cols, n % g->cols);
            const bool exact = got->c.op == OP_ADAMW;
            const double allowed = bound[n] + (exact ? 0 : op_half_ulp(g->dtype, fabs(should) + bound[n]));
            const double ratio = is == should ? 0 : fabs(is - should) / allowed;
            if (ratio <= worst) continue;
            worst = ratio; /* a NaN comes here, and stays */
            at = n;
            if (isnan(ratio)) break;
        }
        if (!(worst <= 1)) {
            char label[300];
            op_label(&got->c, label, sizeof label);
            print_message("%s\n    %s[%lld,%lld] is %.9g, should be %.9g: off by %.3g, allowed %.3g\n", label, g->name,
                          (long long)(at / g->cols), (long long)(at % g->cols), op_get(g, at / g->cols, at % g->cols),
                          op_get(w, at / g->cols, at % g->cols),
                          fabs(op_get(g, at / g->cols, at % g->cols) - op_get(w, at / g->cols, at % g->cols)),
                          bound[at]);
            good = false;
        }
        free(bound);
    }
    if (got->c.op == OP_CROSS_ENTROPY) {
        double allowed = op_eps;
        double *none = calloc((size_t)got->c.tokens, sizeof *none);
        assert_non_null(none);
        op_bound_cross_entropy(before, ELOGPROB, none, &allowed);
        free(none);
        if (!(fabs(got->loss - want->loss) <= allowed)) {
            print_message("cross_entropy: loss is %.9g, should be %.9g\n", got->loss, want->loss);
            good = false;
        }
    }
    return good;
}

#endif
