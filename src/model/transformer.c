/* transformer.c: binding a checkpoint's tensors to the places of the block. Every shape is checked here, so that no kernel
 * ever meets a weight that is smaller than it thinks. */
#include "model/transformer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum { MODULE_SIZE = 128, NAME_SIZE = 256 }; /* a family's names are short */

/* What is being bound, for the sentences. */
typedef struct binder {
    stlora_transformer *model;
    const char *dir;
    bool rooted; /* tensors stand below the family's root */
    stlora_error *err;
} binder;

/* The file's name of a tensor below the root, or without it where the checkpoint leaves it away. */
static void tensor_name(const binder *b, char name[NAME_SIZE], const char *module, const char *leaf)
{
    const char *root = b->model->family->root;
    if (b->rooted)
        (void)snprintf(name, NAME_SIZE, "%s.%s.%s", root, module, leaf);
    else
        (void)snprintf(name, NAME_SIZE, "%s.%s", module, leaf);
}

static stlora_status bind(const binder *b, const char *name, int ndim, int64_t rows, int64_t cols, stlora_weight *out)
{
    const stlora_view *view = stlora_safetensors_find(b->model->files, name);
    if (!view) return stlora_fail(b->err, STLORA_E_FORMAT, "%s: tensor \"%s\" is missing", b->dir, name);
    if (view->ndim != ndim || view->shape[0] != rows || (ndim == 2 && view->shape[1] != cols)) {
        char found[128] = "";
        size_t used = 0;
        for (int i = 0; i < view->ndim && used < sizeof found; i++)
            used +=
                (size_t)snprintf(found + used, sizeof found - used, "%s%lld", i ? ", " : "", (long long)view->shape[i]);
        if (ndim == 1)
            return stlora_fail(b->err, STLORA_E_FORMAT,
                               "%s: tensor \"%s\" must have shape [%lld] as config.json says, found [%s]", b->dir, name,
                               (long long)rows, found);
        return stlora_fail(b->err, STLORA_E_FORMAT,
                           "%s: tensor \"%s\" must have shape [%lld, %lld] as config.json says, found [%s]", b->dir,
                           name, (long long)rows, (long long)cols, found);
    }
    if (view->dtype != STLORA_F32 && view->dtype != STLORA_F16 && view->dtype != STLORA_BF16)
        return stlora_fail(b->err, STLORA_E_UNSUPPORTED, "%s: tensor \"%s\" has dtype %s; wanted F32, F16 or BF16",
                           b->dir, name, stlora_dtype_name(view->dtype));
    *out = (stlora_weight){view->data, view->dtype};
    b->model->parameters += stlora_view_count(view);
    return STLORA_OK;
}

static stlora_status bind_norm(const binder *b, const char *module, int64_t width, stlora_norm_weights *out)
{
    char name[NAME_SIZE];
    tensor_name(b, name, module, "weight");
    STLORA_TRY(bind(b, name, 1, width, 0, &out->w));
    if (b->model->family->norm == STLORA_NORM_LAYER) {
        tensor_name(b, name, module, "bias");
        STLORA_TRY(bind(b, name, 1, width, 0, &out->b));
        if (out->b.dtype != out->w.dtype)
            return stlora_fail(b->err, STLORA_E_UNSUPPORTED, "%s: \"%s\" and its weight have different dtypes", b->dir,
                               name);
    }
    return STLORA_OK;
}

static bool has_bias(const stlora_transformer *model, stlora_site site)
{
    switch (model->family->bias[site]) {
    case STLORA_BIAS_NONE:
        return false;
    case STLORA_BIAS_ALWAYS:
        return true;
    case STLORA_BIAS_ATTENTION:
        return model->config.attention_bias;
    case STLORA_BIAS_MLP:
        return model->config.mlp_bias;
    }
    return false;
}

/* Output widths of a site's maps: one fused map, or the parts. */
static int site_widths(const stlora_transformer *model, stlora_site site, int64_t *in,
                       int64_t out[STLORA_MAPS_PER_SITE])
{
    const stlora_hf_config *c = &model->config;
    int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    bool glu = stlora_gated(model->family->activation);
    bool fused = !model->family->maps[site][1];
    switch (site) {
    case STLORA_SITE_QKV:
        *in = c->hidden_size;
        out[0] = fused ? q + 2 * kv : q;
        out[1] = out[2] = kv;
        return fused ? 1 : 3;
    case STLORA_SITE_O:
        *in = q;
        out[0] = c->hidden_size;
        return 1;
    case STLORA_SITE_UP:
        *in = c->hidden_size;
        out[0] = glu && fused ? 2 * c->intermediate_size : c->intermediate_size;
        out[1] = c->intermediate_size;
        return glu && !fused ? 2 : 1;
    case STLORA_SITE_DOWN:
        *in = c->intermediate_size;
        out[0] = c->hidden_size;
        return 1;
    case STLORA_SITE_COUNT:
        break;
    }
    return 0;
}

static stlora_status bind_site(const binder *b, int64_t layer, stlora_site site, stlora_place *place, size_t *id)
{
    stlora_transformer *model = b->model;
    const stlora_family *family = model->family;
    int64_t out[STLORA_MAPS_PER_SITE];
    place->count = site_widths(model, site, &place->n, out);
    for (int k = 0; k < place->count; k++) {
        stlora_linear *map = &place->maps[k];
        char module[MODULE_SIZE], name[NAME_SIZE];
        int length = snprintf(module, sizeof module, "%s.%s.%lld.%s", family->root, family->layers, (long long)layer,
                              family->maps[site][k]);
        STLORA_TRY(stlora_strdup_n(&map->name, module, (size_t)length, b->err));
        (void)snprintf(module, sizeof module, "%s.%lld.%s", family->layers, (long long)layer, family->maps[site][k]);
        map->id = (*id)++;
        map->layer = layer;
        map->n = place->n;
        map->m = out[k];
        map->layout = family->layout;
        map->column = place->m;
        place->m += map->m;
        tensor_name(b, name, module, "weight");
        bool in_out = family->layout == STLORA_IN_OUT;
        STLORA_TRY(bind(b, name, 2, in_out ? map->n : map->m, in_out ? map->m : map->n, &map->weight));
        if (has_bias(model, site)) {
            tensor_name(b, name, module, "bias");
            STLORA_TRY(bind(b, name, 1, map->m, 0, &map->bias));
        }
    }
    return STLORA_OK;
}

/* The file's name of the head's tensor; where head and embedding are tied it may be there or not. */
static bool head_tensor(const binder *b, char name[NAME_SIZE])
{
    (void)snprintf(name, NAME_SIZE, "%s.weight", b->model->family->head);
    return stlora_safetensors_find(b->model->files, name) != NULL;
}

/* Of a tied pair a file may hold the head alone. */
static stlora_status bind_embed(const binder *b)
{
    stlora_transformer *model = b->model;
    const stlora_hf_config *c = &model->config;
    char name[NAME_SIZE], head[NAME_SIZE];
    tensor_name(b, name, model->family->embed, "weight");
    const bool alone = c->tie_embeddings && !stlora_safetensors_find(model->files, name) && head_tensor(b, head);
    return bind(b, alone ? head : name, 2, c->vocab_size, c->hidden_size, &model->embed);
}

/* A head of its own wins over the word that it is tied, as in Transformers. */
static stlora_status bind_head(const binder *b, size_t id)
{
    stlora_transformer *model = b->model;
    const stlora_hf_config *c = &model->config;
    stlora_linear *head = &model->head;
    *head = (stlora_linear){.id = id, .layer = -1, .n = c->hidden_size, .m = c->vocab_size, .layout = STLORA_OUT_IN};
    STLORA_TRY(stlora_strdup_n(&head->name, model->family->head, strlen(model->family->head), b->err));
    char name[NAME_SIZE];
    const bool there = head_tensor(b, name);
    if (c->tie_embeddings && !there) {
        head->weight = model->embed;
        return STLORA_OK;
    }
    STLORA_TRY(bind(b, name, 2, c->vocab_size, c->hidden_size, &head->weight));
    if (head->weight.data == model->embed.data) model->parameters -= c->vocab_size * c->hidden_size;
    return STLORA_OK;
}

/* A norm of a layer, where the family has it. */
static stlora_status bind_layer_norm(const binder *b, int64_t layer, const char *leaf, int64_t width,
                                     stlora_norm_weights *out)
{
    char module[MODULE_SIZE];
    if (!leaf) return STLORA_OK;
    (void)snprintf(module, sizeof module, "%s.%lld.%s", b->model->family->layers, (long long)layer, leaf);
    return bind_norm(b, module, width, out);
}

static stlora_status bind_block(const binder *b, int64_t layer, stlora_block *block, size_t *id)
{
    const stlora_hf_config *c = &b->model->config;
    const stlora_family *family = b->model->family;
    for (int place = 0; place < STLORA_NORM_PLACES; place++)
        STLORA_TRY(bind_layer_norm(b, layer, family->norms[place], c->hidden_size, &block->norms[place]));
    if (family->qk_norm != STLORA_QK_NORM_NONE) {
        bool full = family->qk_norm == STLORA_QK_NORM_FULL;
        STLORA_TRY(bind_layer_norm(b, layer, family->q_norm, c->head_dim * (full ? c->heads : 1), &block->q_norm));
        STLORA_TRY(bind_layer_norm(b, layer, family->k_norm, c->head_dim * (full ? c->kv_heads : 1), &block->k_norm));
    }
    for (int s = 0; s < STLORA_SITE_COUNT; s++)
        STLORA_TRY(bind_site(b, layer, (stlora_site)s, &block->sites[s], id));
    const bool sliding = stlora_layer_in(&c->sliding, layer);
    block->window = sliding ? c->window : 0;
    block->rope = family->learned_positions || stlora_layer_in(&c->without_rope, layer) ? -1
                  : c->rope_by_type && sliding                                          ? STLORA_LAYER_SLIDING
                                                                                        : STLORA_LAYER_FULL;
    return STLORA_OK;
}

static stlora_status bind_all(binder *b)
{
    stlora_transformer *model = b->model;
    const stlora_hf_config *c = &model->config;
    const stlora_family *family = model->family;
    char name[NAME_SIZE];

    b->rooted = true;
    tensor_name(b, name, family->embed, "weight");
    if (!stlora_safetensors_find(model->files, name)) {
        char bare[NAME_SIZE];
        b->rooted = false;
        tensor_name(b, bare, family->embed, "weight");
        if (!stlora_safetensors_find(model->files, bare)) b->rooted = true; /* for the sentence: the usual name */
    }
    STLORA_TRY(bind_embed(b));
    if (family->learned_positions) {
        tensor_name(b, name, family->positions, "weight");
        STLORA_TRY(bind(b, name, 2, c->max_positions, c->hidden_size, &model->positions));
    }
    size_t id = 0;
    for (int64_t l = 0; l < c->layers; l++)
        STLORA_TRY(bind_block(b, l, &model->blocks[l], &id));
    STLORA_TRY(bind_norm(b, family->final_norm, c->hidden_size, &model->final_norm));
    STLORA_TRY(bind_head(b, id));
    model->linear_count = id + 1;
    model->embed_scale = family->embed_by_root ? sqrt((double)c->hidden_size) : c->embedding_multiplier;
    model->attention_scale = c->attention_scale > 0 ? c->attention_scale : 1.0 / sqrt((double)c->head_dim);
    return STLORA_OK;
}

static stlora_status check_options(const stlora_transformer *model, const char *dir, stlora_error *err)
{
    if (model->config.head_dim > STLORA_MAX_HEAD_DIM)
        return stlora_fail(err, STLORA_E_UNSUPPORTED, "%s/config.json: heads of %lld are wider than %d", dir,
                           (long long)model->config.head_dim, (int)STLORA_MAX_HEAD_DIM);
    const char *const *names = model->family->activation_names;
    for (int i = 0; i < 3 && names[i]; i++)
        if (strcmp(names[i], model->config.activation) == 0) return STLORA_OK;
    return stlora_fail(err, STLORA_E_UNSUPPORTED,
                       "%s/config.json: activation \"%s\" is not supported for model_type \"%s\"; wanted \"%s\"", dir,
                       model->config.activation, model->family->model_type, names[0]);
}

stlora_status stlora_transformer_open(stlora_transformer **out, const char *dir, stlora_error *err)
{
    stlora_transformer *model;
    STLORA_TRY(stlora_alloc(&model, 1, sizeof *model, "model", err));
    stlora_status status = stlora_hf_config_load(&model->config, dir, err);
    if (status == STLORA_OK) {
        model->family = stlora_family_find(model->config.model_type);
        if (!model->family)
            status = stlora_fail(err, STLORA_E_UNSUPPORTED, "%s/config.json: model_type \"%s\" is not supported", dir,
                                 model->config.model_type);
    }
    if (status == STLORA_OK) status = check_options(model, dir, err);
    if (status == STLORA_OK) status = stlora_safetensors_open_model(&model->files, dir, err);
    if (status == STLORA_OK && (size_t)model->config.layers > stlora_safetensors_count(model->files))
        status =
            stlora_fail(err, STLORA_E_FORMAT, "%s: config.json says %lld layers, but the files hold only %zu tensors",
                        dir, (long long)model->config.layers, stlora_safetensors_count(model->files));
    if (status == STLORA_OK)
        status = stlora_alloc(&model->blocks, (size_t)model->config.layers, sizeof *model->blocks, "blocks", err);
    if (status == STLORA_OK) {
        binder b = {.model = model, .dir = dir, .err = err};
        status = bind_all(&b);
    }
    if (status != STLORA_OK) {
        stlora_transformer_close(model);
        return status;
    }
    *out = model;
    return STLORA_OK;
}

void stlora_transformer_close(stlora_transformer *model)
{
    if (!model) return;
    for (int64_t l = 0; model->blocks && l < model->config.layers; l++)
        for (int s = 0; s < STLORA_SITE_COUNT; s++)
            for (int k = 0; k < STLORA_MAPS_PER_SITE; k++)
                stlora_free(model->blocks[l].sites[s].maps[k].name);
    stlora_free(model->blocks);
    stlora_free(model->head.name);
    stlora_safetensors_close(model->files);
    stlora_free(model);
}

const stlora_linear *stlora_transformer_linear(const stlora_transformer *model, size_t id)
{
    if (id + 1 == model->linear_count) return &model->head;
    size_t per_block = (model->linear_count - 1) / (size_t)model->config.layers;
    const stlora_block *block = &model->blocks[id / per_block];
    size_t k = id % per_block;
    for (int s = 0; s < STLORA_SITE_COUNT; s++) {
        if (k < (size_t)block->sites[s].count) return &block->sites[s].maps[k];
        k -= (size_t)block->sites[s].count;
    }
    return NULL;
}
