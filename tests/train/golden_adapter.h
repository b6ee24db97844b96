/* golden_adapter.h: a model with an adapter against recorded tensors: log-probabilities and gradients. Not a test. */
#ifndef STLORA_TESTS_GOLDEN_ADAPTER_H
#define STLORA_TESTS_GOLDEN_ADAPTER_H

#include "model/decoder.h"
#include "train/golden_model.h"

static inline double log_sum_exp(const float *x, int64_t count)
{
    double top = (double)x[0], sum = 0;
    for (int64_t i = 1; i < count; i++)
        top = fmax(top, (double)x[i]);
    for (int64_t i = 0; i < count; i++)
        sum += exp((double)x[i] - top);
    return top + log(sum);
}

/* Every log-probability at every position, token after token through the cache. */
static inline void check_logits(const golden *g, const stlora_safetensors *expected, const char *name,
                                const stlora_lora *lora)
{
    stlora_error err = {0};
    stlora_decoder *decoder;
    int64_t V = g->model->config.vocab_size;
    const float *wanted = stlora_safetensors_find(expected, name)->data, *found;
    double worst = 0;
    stlora_decoder_shape shape = stlora_decoder_single(LENGTH);
    shape.row = LENGTH; /* as the whole row was rotated */
    assert_ok(stlora_decoder_create(&decoder, g->model, lora, g->backend, STLORA_F32, &shape, &err));
    for (int t = 0; t < TOKENS; t++) {
        if (t % LENGTH == 0) stlora_decoder_rewind(decoder, 0);
        assert_ok(stlora_decoder_feed(decoder, &g->ids[t], 1, &found, &err));
        double a = log_sum_exp(wanted + t * V, V), b = log_sum_exp(found, V);
        for (int64_t v = 0; v < V; v++) {
            double d = fabs(((double)wanted[t * V + v] - a) - ((double)found[v] - b));
            if (!(d <= 5e-4)) fail_msg("%s: log-probability %d, %d is off by %g", name, t, (int)v, d);
            worst = fmax(worst, d);
        }
    }
    print_message("%s: largest error of a log-probability %.3g\n", name, worst);
    stlora_decoder_free(decoder);
}

/* The gradient of a module's tensor, named as PEFT names its parameter. */
static inline void check_gradient(const stlora_safetensors *expected, const char *module, const char *leaf,
                                  const float *found)
{
    char name[512];
    (void)snprintf(name, sizeof name, "grad.base_model.model.%s.%s.weight", module, leaf);
    const stlora_view *view = stlora_safetensors_find(expected, name);
    assert_non_null(view);
    const float *wanted = view->data;
    double largest = 0;
    for (int64_t i = 0; i < stlora_view_count(view); i++)
        largest = fmax(largest, fabs((double)wanted[i]));
    for (int64_t i = 0; i < stlora_view_count(view); i++)
        if (!(fabs((double)found[i] - (double)wanted[i]) <= 1e-4 * largest))
            fail_msg("%s element %d: wanted %.9g, found %.9g, largest %.9g", name, (int)i, (double)wanted[i],
                     (double)found[i], largest);
}

static inline double expected_scalar(const golden *g, const char *name)
{
    return (double)((const float *)stlora_safetensors_find(g->expected, name)->data)[0];
}

/* Mean loss of the batch; lora NULL = the base. */
static inline double loss_of(const golden *g, const stlora_lora *lora)
{
    double loss = 0;
    stlora_pass *pass = make_pass(g, lora, false, 0, 7);
    stlora_pass_loss(pass, &g->batch, &loss, NULL);
    stlora_pass_free(pass);
    return loss / (double)g->supervised;
}

/* Every gradient, where `recompute` blocks compute everything again; the first call (0) fills keep, the others find its bits. */
static inline void check_all_gradients(const golden *g, stlora_lora *lora, int64_t recompute, float *keep)
{
    double loss = 0;
    stlora_pass *pass = make_pass(g, lora, true, recompute, 16);
    memset(lora->grads, 0, lora->elements * sizeof(float));
    stlora_pass_grad(pass, &g->batch, 1.0 / (double)g->supervised, 0, 1, &loss);
    for (size_t i = 0; i < lora->count; i++) {
        check_gradient(g->expected, lora->maps[i].linear->name, "lora_A", lora->maps[i].ga);
        check_gradient(g->expected, lora->maps[i].linear->name, "lora_B", lora->maps[i].gb);
    }
    stlora_pass_free(pass);
    if (recompute == 0)
        memcpy(keep, lora->grads, lora->elements * sizeof(float));
    else
        assert_memory_equal(keep, lora->grads, lora->elements * sizeof(float)); /* the plan changes no bit */
}

#endif
