/* op_run.h: the args of each op from an instance's buffers. Part of op_instance.h.
 *
 * op_run(backend, x, begin, end) runs units begin ... end-1: tokens, rows of logits, or segments of an attention, with matrices
 * that begin at those units' rows; adamw runs whole.
 */
#ifndef STLORA_TESTS_OP_RUN_H
#define STLORA_TESTS_OP_RUN_H

#include "backend/op_instance.h"

static inline void op_run_product(const stlora_backend *backend, op_instance *x, int64_t begin, int64_t end)
{
    op_buffer *b = x->buffer;
    const op_case *c = &x->c;
    const bool a_like = c->variant.like_a;
    if (c->op == OP_PRODUCT) {
        const stlora_product_args args = {
            .tokens = end - begin,
            .in = c->in,
            .out = c->out,
            .x = op_const(&b[PX], begin, end),
            .w = op_data(&b[PW]),
            .w_dtype = b[PW].dtype,
            .w_layout = c->variant.layout,
            .ldw = b[PW].ld,
            .bias = op_data(&b[PBIAS]),
            .bias_dtype = b[PBIAS].dtype,
            .h = c->rank ? op_floats(&b[PH], begin) : NULL,
            .u = c->rank ? op_floats(&b[PU], 0) : NULL,
            .rank = c->rank,
            .u_rank_stride = a_like ? c->out : 1,
            .u_out_stride = a_like ? 1 : c->rank,
            .scale = c->scale,
            .y = op_mat(&b[PY], begin, end),
            .accumulate = c->accumulate,
        };
        backend->product(backend, &args, 1);
    } else if (c->op == OP_LOWRANK_PROJECT) {
        const stlora_lowrank_project_args args = {end - begin,
                                                  c->in,
                                                  c->rank,
                                                  op_const(&b[PX], begin, end),
                                                  op_floats(&b[PU], 0),
                                                  a_like ? c->in : 1,
                                                  a_like ? 1 : c->rank,
                                                  op_floats(&b[PY], begin)};
        backend->lowrank_project(backend, &args);
    } else {
        const stlora_lowrank_grad_args args = {end - begin,
                                               c->in,
                                               c->rank,
                                               op_floats(&b[PH], begin),
                                               op_const(&b[PX], begin, end),
                                               c->scale,
                                               op_floats(&b[PY], 0),
                                               a_like ? c->in : 1,
                                               a_like ? 1 : c->rank,
                                               0};
        backend->lowrank_grad(backend, &args);
    }
}

static inline void op_run_norm(const stlora_backend *backend, op_instance *x, int64_t begin, int64_t end)
{
    op_buffer *b = x->buffer;
    const op_case *c = &x->c;
    const stlora_norm_kind kind = (stlora_norm_kind)c->kind;
    if (c->backward) {
        const stlora_norm_grad_args args = {.kind = kind,
                                            .tokens = end - begin,
                                            .width = c->in,
                                            .groups = c->groups,
                                            .x = op_const(&b[NX], begin, end),
                                            .dy = op_const(&b[NDY], begin, end),
                                            .w = b[NW].data,
                                            .w_dtype = b[NW].dtype,
                                            .stats = op_floats(&b[NSTATS], begin),
                                            .dx = op_mat(&b[c->in_place ? NDY : NDX], begin, end),
                                            .overwrite = c->overwrite};
        backend->norm_grad(backend, &args);
    } else {
        const stlora_norm_args args = {.kind = kind,
                                       .tokens = end - begin,
                                       .width = c->in,
                                       .groups = c->groups,
                                       .eps = c->scale,
                                       .x = op_const(&b[NX], begin, end),
                                       .w = b[NW].data,
                                       .b = op_data(&b[NB]),
                                       .w_dtype = b[NW].dtype,
                                       .y = op_mat(&b[NY], begin, end),
                                       .accumulate = c->accumulate,
                                       .stats = op_floats(&b[NSTATS], begin)};
        backend->norm(backend, &args);
    }
}

static inline void op_run_attention(const stlora_backend *backend, op_instance *x, int64_t begin, int64_t end)
{
    op_buffer *b = x->buffer;
    const op_case *c = &x->c;
    const int64_t queries = op_queries(c), keys = op_keys(c);
    const stlora_segment *segments = c->segments + begin;
    const stlora_cmat q = op_const(&b[AQ], 0, queries), k = op_const(&b[AK], 0, keys), v = op_const(&b[AV], 0, keys);
    if (c->backward) {
        float *work = malloc((size_t)(c->heads * c->head_dim * (queries + 2 * keys)) * sizeof *work);
        assert_non_null(work);
        const stlora_attention_grad_args args = {c->heads,
                                                 c->kv_heads,
                                                 c->head_dim,
                                                 c->scale,
                                                 c->softcap,
                                                 c->window,
                                                 segments,
                                                 end - begin,
                                                 q,
                                                 k,
                                                 v,
                                                 op_const(&b[AO], 0, queries),
                                                 op_const(&b[ADOUT], 0, queries),
                                                 op_floats(&b[ALSE], 0),
                                                 op_floats(&b[ADELTA], 0),
                                                 work,
                                                 op_mat(&b[ADQ], 0, queries),
                                                 op_mat(&b[ADK], 0, keys),
                                                 op_mat(&b[ADV], 0, keys)};
        backend->attention_grad(backend, &args);
        free(work);
    } else {
        const stlora_attention_args args = {c->heads,
                                            c->kv_heads,
                                            c->head_dim,
                                            c->scale,
                                            c->softcap,
                                            c->window,
                                            segments,
                                            end - begin,
                                            q,
                                            k,
                                            v,
                                            op_mat(&b[AO], 0, queries),
                                            op_floats(&b[ALSE], 0)};
        backend->attention(backend, &args);
    }
}

static inline void op_run_activation(const stlora_backend *backend, op_instance *x, int64_t begin, int64_t end)
{
    op_buffer *b = x->buffer;
    const op_case *c = &x->c;
    const stlora_activation_kind kind = (stlora_activation_kind)c->kind;
    if (c->backward) {
        const stlora_activation_grad_args args = {kind,
                                                  end - begin,
                                                  c->in,
                                                  op_const(&b[EX], begin, end),
                                                  op_const(&b[EDY], begin, end),
                                                  op_mat(&b[c->in_place ? EX : EDX], begin, end),
                                                  op_mat(&b[c->in_place ? EDY : EY], begin, end)};
        backend->activation_grad(backend, &args);
    } else {
        const stlora_activation_args args = {kind, end - begin, c->in, op_const(&b[EX], begin, end),
                                             op_mat(&b[EY], begin, end)};
        backend->activation(backend, &args);
    }
}

static inline void op_run_cross_entropy(const stlora_backend *backend, op_instance *x, int64_t begin, int64_t end)
{
    op_buffer *b = x->buffer;
    const op_case *c = &x->c;
    const stlora_mat none = {.data = NULL, .dtype = STLORA_F32};
    const stlora_cross_entropy_args args = {
        .rows = end - begin,
        .vocab = c->in,
        .logits = op_const(&b[EX], begin, end),
        .targets = x->ids + begin,
        .scale = c->scale,
        .softcap = c->softcap,
        .logprob = op_floats(&b[ELOGPROB], begin),
        .loss = &x->loss,
        .dlogits = c->backward ? op_mat(&b[c->in_place ? EX : EDX], begin, end) : none,
    };
    backend->cross_entropy(backend, &args);
}

static inline stlora_adamw_args op_adamw_args(op_instance *x)
{
    op_buffer *b = x->buffer;
    return (stlora_adamw_args){
        .count = x->c.tokens,
        .p = op_floats(&b[WP], 0),
        .m = op_floats(&b[WM], 0),
        .v = op_floats(&b[WV], 0),
        .g = op_floats(&b[WG], 0),
        .grad_scale = x->c.grad_scale,
        .shrink = x->c.shrink,
        .decay = x->c.decay,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .eps = 1e-8,
        .step_size = 1e-3 / (1 - 0.9 * 0.9 * 0.9),
        .sqrt_bc2 = sqrt(1 - 0.999 * 0.999 * 0.999),
        .sum_squares = &x->sum_squares,
    };
}

static inline void op_run(const stlora_backend *backend, op_instance *x, int64_t begin, int64_t end)
{
    op_buffer *b = x->buffer;
    const op_case *c = &x->c;
    switch (c->op) {
    case OP_PRODUCT:
    case OP_LOWRANK_PROJECT:
    case OP_LOWRANK_GRAD:
        op_run_product(backend, x, begin, end);
        break;
    case OP_NORM:
        op_run_norm(backend, x, begin, end);
        break;
    case OP_ATTENTION:
        op_run_attention(backend, x, begin, end);
        break;
    case OP_ACTIVATION:
        op_run_activation(backend, x, begin, end);
        break;
    case OP_CROSS_ENTROPY:
        op_run_cross_entropy(backend, x, begin, end);
        break;
    case OP_DROPOUT: {
        const stlora_dropout_args args = {
            end - begin,    c->in,    op_const(&b[EX], begin, end), op_mat(&b[EY], begin, end),
            c->accumulate,  c->scale, UINT64_C(42) << 33,           7 + (UINT64_C(5) << 40),
            x->keys + begin};
        backend->dropout(backend, &args);
        break;
    }
    case OP_EMBED: {
        const stlora_embed_args args = {end - begin,
                                        c->in,
                                        x->ids + begin,
                                        x->positions + begin,
                                        b[ETABLE].data,
                                        b[ETABLE].dtype,
                                        op_data(&b[EPOSITIONS]),
                                        b[EPOSITIONS].dtype,
                                        op_mat(&b[EY], begin, end)};
        backend->embed(backend, &args);
        break;
    }
    case OP_SCALE: {
        const stlora_scale_args args = {.tokens = end - begin,
                                        .width = c->in,
                                        .scale = c->scale,
                                        .softcap = c->softcap,
                                        .x = op_const(&b[EX], begin, end),
                                        .y = op_mat(&b[c->in_place ? EX : EY], begin, end),
                                        .accumulate = c->accumulate};
        backend->scale(backend, &args);
        break;
    }
    case OP_ROPE: {
        const stlora_rope_args args = {.tokens = end - begin,
                                       .heads = c->heads,
                                       .head_dim = c->head_dim,
                                       .rotary_dim = c->rotary_dim,
                                       .x = op_mat(&b[EX], begin, end),
                                       .positions = x->positions + begin,
                                       .cos = op_floats(&b[ECOS], 0),
                                       .sin = op_floats(&b[ESIN], 0),
                                       .inverse = c->backward};
        backend->rope(backend, &args);
        break;
    }
    case OP_ADAMW: {
        const stlora_adamw_args args = op_adamw_args(x);
        backend->adamw(backend, &args, 1);
        break;
    }
    case OP_COUNT:
        fail_msg("no op");
    }
}

#endif
