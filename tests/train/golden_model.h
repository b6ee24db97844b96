/* golden_model.h: what the programs that run a tiny golden checkpoint share (../shared/golden/models): its two rows of ids as one batch, a
 * pass over it, and an adapter's pairs as the optimizer takes them. Not a test. */
#ifndef STLORA_TESTS_GOLDEN_MODEL_H
#define STLORA_TESTS_GOLDEN_MODEL_H

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "model/pass.h"
#include "stlora/optim.h"
#include "support.h"

enum { ROWS = 2, LENGTH = 33, TOKENS = ROWS * LENGTH };

typedef struct golden {
    char dir[4096];
    stlora_transformer *model;
    stlora_backend *backend;
    stlora_safetensors *expected;
    int32_t ids[TOKENS], positions[TOKENS], targets[TOKENS];
    int64_t starts[ROWS + 1], rows[ROWS], at[TOKENS], supervised;
    stlora_pass_batch batch;
} golden;

static inline const char *in(const golden *g, const char *name)
{
    static char path[4200];
    (void)snprintf(path, sizeof path, "%s/%s", g->dir, name);
    return path;
}

/* g->dir is set; the checkpoint is in `model`, a folder of its own or of g->dir's. */
static inline void open_golden_in(golden *g, const char *model)
{
    stlora_error err = {0};
    assert_ok(stlora_backend_create(&g->backend, "cpu", 2, &err));
    assert_ok(stlora_transformer_open(&g->model, model, &err));
    assert_ok(stlora_safetensors_open(&g->expected, in(g, "expected.safetensors"), &err));
    const int64_t *ids = stlora_safetensors_find(g->expected, "ids")->data,
                  *labels = stlora_safetensors_find(g->expected, "labels")->data;
    g->supervised = 0;
    for (int t = 0; t < TOKENS; t++) {
        g->ids[t] = (int32_t)ids[t];
        g->positions[t] = t % LENGTH;
        bool last = t % LENGTH == LENGTH - 1;
        g->targets[t] = last || labels[t + 1] < 0 ? -1 : (int32_t)labels[t + 1];
        if (g->targets[t] >= 0) g->at[g->supervised++] = t;
    }
    for (int r = 0; r <= ROWS; r++)
        g->starts[r] = r * LENGTH;
    for (int r = 0; r < ROWS; r++)
        g->rows[r] = r;
    g->batch =
        (stlora_pass_batch){TOKENS, ROWS, g->supervised, g->ids, g->positions, g->starts, g->rows, g->targets, g->at};
}

static inline void open_golden(golden *g, const char *name)
{
    char relative[256];
    (void)snprintf(relative, sizeof relative, "golden/models/%s", name);
    (void)snprintf(g->dir, sizeof g->dir, "%s", shared_path(relative));
    open_golden_in(g, in(g, "model"));
}

static inline void close_golden(golden *g)
{
    stlora_safetensors_close(g->expected);
    stlora_transformer_close(g->model);
    stlora_backend_free(g->backend);
}

static inline stlora_pass *make_pass(const golden *g, const stlora_lora *lora, bool train, int64_t recompute, int64_t chunk)
{
    stlora_error err = {0};
    stlora_pass *pass;
    stlora_pass_shape shape = {.max_tokens = TOKENS,
                               .max_segments = ROWS,
                               .max_positions = LENGTH,
                               .logits_rows = chunk,
                               .slice = 5,
                               .again = {recompute, recompute, recompute},
                               .input_stride = 2,
                               .train = train,
                               .act = STLORA_F32};
    assert_ok(stlora_pass_create(&pass, g->model, lora, g->backend, &shape, &err));
    return pass;
}

static inline void check_close(const char *what, double found, double wanted, double relative)
{
    if (!(fabs(found - wanted) <= relative * fabs(wanted)))
        fail_msg("%s: wanted %.9g, found %.9g", what, wanted, found);
}

enum { MOST_PAIRS = 64 };

static inline void list_pairs(const stlora_lora *lora, stlora_pair pairs[MOST_PAIRS], stlora_pair_grad grads[MOST_PAIRS])
{
    assert_true(lora->count <= MOST_PAIRS);
    for (size_t i = 0; i < lora->count; i++) {
        const stlora_lora_map *m = &lora->maps[i];
        pairs[i] = (stlora_pair){.name = m->linear->name,
                                 .n = m->linear->n,
                                 .m = m->linear->m,
                                 .r = m->r,
                                 .a = m->a,
                                 .b = m->b,
                                 .scale = m->scale,
                                 .magnitude = m->mag,
                                 .magnitude_grad = m->gmag};
        grads[i] = (stlora_pair_grad){m->ga, m->gb};
    }
}

/* Steps of the optimizer over the whole batch, each loss (before its step, and after the last) held against the first `count` of the recorded
 * ones. */
static inline void follow_losses(const golden *g, stlora_lora *lora, stlora_optimizer *optimizer,
                                 const stlora_pair_grad *grads, double learning_rate, const json_t *losses, size_t count, double relative)
{
    stlora_error err = {0};
    stlora_pass *pass = make_pass(g, lora, true, 1, 16);
    assert_true(count <= json_array_size(losses));
    for (size_t step = 0; step < count; step++) {
        double loss = 0;
        memset(lora->grads, 0, lora->elements * sizeof(float));
        stlora_pass_grad(pass, &g->batch, 1.0 / (double)g->supervised, 0, 1, &loss);
        check_close("loss of a step", loss / (double)g->supervised, json_real_value(json_array_get(losses, step)), relative);
        if (step + 1 < count)
            assert_ok(stlora_optimizer_step(optimizer, learning_rate, grads, NULL, &err));
        stlora_lora_refresh(lora, g->backend);
    }
    stlora_pass_free(pass);
}

/* The norms of A and of B of every pair against the recorded ones, which are named as PEFT names tensors. */
static inline void check_norms(const stlora_optimizer *optimizer, const json_t *norms, double relative)
{
    for (size_t i = 0; i < stlora_optimizer_count(optimizer); i++) {
        stlora_pair_state state;
        char name[512];
        stlora_optimizer_pair(optimizer, i, &state);
        (void)snprintf(name, sizeof name, "base_model.model.%s.lora_A.weight", state.name);
        check_close(name, state.norm_a, json_real_value(json_object_get(norms, name)), relative);
        name[strlen(name) - strlen("A.weight")] = 'B';
        check_close(name, state.norm_b, json_real_value(json_object_get(norms, name)), relative);
    }
}

#endif
