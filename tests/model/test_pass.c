/* test_pass.c: gradients of the adapter against central differences of the loss itself, on both backends; and what the
 * plan may change (recomputation, chunks, micro-batches, threads, packing) without changing a bit.
 *
 * Differences: f'(0) = (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h, whose error of order h^4 is far below float's
 * noise in f. The loss of about ten tokens carries a noise of some 1e-6, so a derivative one of some 1e-6 / h = 5e-4,
 * against gradients of 0.1 to 10. */
#include <math.h>

#include "model/pass.h"
#include "train/tiny_model.h"

enum { ROWS = 3, LONGEST = 7, TOKENS = 5 + 3 + LONGEST };
static const int lengths[ROWS] = {5, 3, LONGEST};
static const int64_t row_numbers[ROWS] = {11, 3, 8};
static const int whole[ROWS] = {0, 1, 2};

typedef struct packed {
    int32_t ids[TOKENS], positions[TOKENS], targets[TOKENS];
    int64_t starts[ROWS + 1], rows[ROWS], at[TOKENS];
    stlora_pass_batch batch;
} packed;

/* Rows `which` one after the other; only_row >= 0: the others are there but not supervised. */
static void pack(packed *p, const int *which, int count, int only_row)
{
    p->batch = (stlora_pass_batch){.segments = count,
                                   .ids = p->ids,
                                   .positions = p->positions,
                                   .starts = p->starts,
                                   .rows = p->rows,
                                   .targets = p->targets,
                                   .at = p->at};
    p->starts[0] = 0;
    for (int s = 0; s < count; s++) {
        int row = which[s];
        for (int t = 0; t < lengths[row]; t++) {
            int64_t at = p->batch.tokens++;
            p->ids[at] = (int32_t)(stlora_rng_u32(3, STLORA_RNG_SHUFFLE, (uint64_t)row, (uint64_t)t) % TINY_VOCAB);
            p->positions[at] = t;
            /* The last token has no target; neither has one in four of the others. */
            uint32_t target = stlora_rng_u32(4, STLORA_RNG_SHUFFLE, (uint64_t)row, (uint64_t)t);
            bool counts = t + 1 < lengths[row] && target % 4 != 0 && (only_row < 0 || only_row == row);
            p->targets[at] = counts ? (int32_t)(target / 4 % TINY_VOCAB) : -1;
            if (counts) p->at[p->batch.supervised++] = at;
        }
        p->starts[s + 1] = p->batch.tokens;
        p->rows[s] = row_numbers[row];
    }
}

typedef struct setting {
    const stlora_transformer *model;
    stlora_lora *lora;
    const stlora_backend *backend;
    stlora_dtype act;
    int64_t recomputed, logits_rows; /* recomputed: blocks that keep only their input; logits_rows 0 = all */
    int64_t slice, stride;
    int64_t more[STLORA_PART_COUNT]; /* blocks that compute this part again beside the recomputed */
} setting;

static stlora_pass *make(const setting *s, bool train)
{
    stlora_error err = {0};
    stlora_pass *pass;
    stlora_pass_shape shape = {.max_tokens = TOKENS,
                               .max_segments = ROWS,
                               .max_positions = LONGEST,
                               .logits_rows = s->logits_rows ? s->logits_rows : TOKENS,
                               .slice = s->slice,
                               .input_stride = s->stride,
                               .train = train,
                               .act = s->act};
    for (int part = 0; part < STLORA_PART_COUNT; part++)
        shape.again[part] = s->recomputed + s->more[part];
    assert_ok(stlora_pass_create(&pass, s->model, s->lora, s->backend, &shape, &err));
    return pass;
}

static stlora_backend *backend_of(const char *kind, int threads)
{
    stlora_error err = {0};
    stlora_backend *backend;
    assert_ok(stlora_backend_create(&backend, kind, threads, &err));
    return backend;
}

enum { SEED = 5, STEP = 3 };

/* Gradients of `scale` times the batch's loss in lora->grads, from zero; the loss. */
static double gradients(const setting *s, const packed *p, double scale)
{
    double loss = 0;
    stlora_pass *pass = make(s, true);
    memset(s->lora->grads, 0, s->lora->elements * sizeof(float));
    stlora_pass_grad(pass, &p->batch, scale, SEED, STEP, &loss);
    stlora_pass_free(pass);
    return loss;
}

static double loss_at(stlora_pass *pass, const setting *s, const packed *p)
{
    double loss = 0;
    if (s->lora->config.lora_dropout > 0) /* with the masks of the step; the gradients are not looked at */
        stlora_pass_grad(pass, &p->batch, 1, SEED, STEP, &loss);
    else
        stlora_pass_loss(pass, &p->batch, &loss, NULL);
    return loss;
}

/* ---- central differences ---- */

static double difference(stlora_pass *pass, const setting *s, const packed *p, float *x, int64_t count,
                         const float *direction, double h)
{
    static const double steps[4] = {-2, -1, 1, 2}, weights[4] = {1, -8, 8, -1};
    float kept[512];
    double sum = 0;
    assert_true(count <= 512);
    memcpy(kept, x, (size_t)count * sizeof *x);
    for (int k = 0; k < 4; k++) {
        for (int64_t i = 0; i < count; i++)
            x[i] = (float)((double)kept[i] + steps[k] * h * (double)direction[i]);
        sum += weights[k] * loss_at(pass, s, p);
    }
    memcpy(x, kept, (size_t)count * sizeof *x);
    return sum / (12 * h);
}

/* One matrix: along random signs of all its elements, and its largest gradient's own element. */
static double check_matrix(stlora_pass *pass, const setting *s, const packed *p, const stlora_lora_map *map, char which,
                           const float *gradient)
{
    int64_t count = map->r * (which == 'A' ? map->linear->n : map->linear->m), largest = 0;
    float *x = which == 'A' ? map->a : map->b, signs[512], one[512] = {0};
    double along = 0, norm = 0, worst = 0;
    for (int64_t i = 0; i < count; i++) {
        signs[i] = stlora_rng_u32(6, STLORA_RNG_SHUFFLE, map->linear->id, (uint64_t)i) & 1 ? 1 : -1;
        along += (double)gradient[i] * (double)signs[i];
        norm += (double)gradient[i] * (double)gradient[i];
        if (fabsf(gradient[i]) > fabsf(gradient[largest])) largest = i;
    }
    norm = sqrt(norm);
    if (!(norm > 0.02)) fail_msg("lora_%c of %s: a gradient of norm %g tells nothing", which, map->linear->name, norm);
    one[largest] = 1;
    const double wanted[2] = {difference(pass, s, p, x, count, signs, 0.003),
                              difference(pass, s, p, x, count, one, 0.01)};
    const double found[2] = {along, (double)gradient[largest]};
    for (int k = 0; k < 2; k++) {
        double error = fabs(found[k] - wanted[k]);
        if (!(error <= 2e-3 * norm + 5e-4))
            fail_msg("lora_%c of %s, %s: the loss changes by %.7g, the gradient says %.7g; its norm is %.4g", which,
                     map->linear->name, k ? "largest element" : "all elements", wanted[k], found[k], norm);
        worst = fmax(worst, error / norm);
    }
    return worst;
}

static void check_differences(const stlora_transformer *model, const char *kind, const char *targets, double dropout)
{
    packed p = {0};
    float *kept;
    stlora_error err = {0};
    stlora_backend *backend = backend_of(kind, 1);
    setting s = {model, tiny_lora(model, targets, 2, dropout, true), backend, STLORA_F32, 1, 4, 6, 0, {0}};
    double worst = 0;
    pack(&p, whole, ROWS, -1);
    gradients(&s, &p, 1);
    assert_ok(stlora_alloc(&kept, s.lora->elements, sizeof *kept, "gradients", &err));
    memcpy(kept, s.lora->grads, s.lora->elements * sizeof *kept);
    stlora_pass *pass = make(&s, true);
    for (size_t i = 0; i < s.lora->count; i++) {
        const stlora_lora_map *map = &s.lora->maps[i];
        worst = fmax(worst, check_matrix(pass, &s, &p, map, 'A', kept + (map->ga - s.lora->grads)));
        worst = fmax(worst, check_matrix(pass, &s, &p, map, 'B', kept + (map->gb - s.lora->grads)));
    }
    print_message("%s, %s, %s, dropout %g: largest error %.2g of the norm\n", model->config.model_type, kind, targets,
                  dropout, worst);
    stlora_pass_free(pass);
    stlora_free(kept);
    stlora_lora_free(s.lora);
    stlora_backend_free(backend);
}

static void check_family(const char *family, const char *two_maps, const char *with_head)
{
    stlora_transformer *model = tiny_open("model", &(tiny_options){.family = family, .untied = true});
    check_differences(model, "ref", "all-linear", 0);
    check_differences(model, "cpu", "all-linear", 0);
    check_differences(model, "ref", with_head, 0.3);
    check_differences(model, "cpu", with_head, 0.3);
    check_differences(model, "cpu", two_maps, 0);
    check_differences(model, "cpu", "lm_head", 0);
    check_differences(model, "cpu", "lm_head", 0.3);
    stlora_transformer_close(model);
}

static void test_llama(void **state)
{
    (void)state;
    check_family("llama", "q_proj,v_proj", ".*_proj|lm_head");
}

static void test_qwen2(void **state)
{
    (void)state;
    check_family("qwen2", "k_proj,gate_proj", ".*_proj|lm_head");
}

static void test_gpt2(void **state)
{
    (void)state;
    check_family("gpt2", "attn.c_proj", ".*c_.*|lm_head");
}

/* A tied head has no gradient of its own, but the stream's gradient passes through it; biases in every map. */
static void test_tied_and_biased(void **state)
{
    (void)state;
    stlora_transformer *model = tiny_open(
        "model", &(tiny_options){.family = "llama", .attention_bias = true, .mlp_bias = true, .dtype = STLORA_F16});
    check_differences(model, "cpu", "all-linear", 0);
    check_differences(model, "cpu", "1.self_attn.k_proj", 0.3);
    stlora_transformer_close(model);
}

/* ---- only what is needed ---- */

/* With B = 0 in every other map, the gradients of some maps are those of a run that adapts all. */
static void check_part(const stlora_transformer *model, const stlora_backend *backend, const char *targets,
                       int64_t recomputed)
{
    packed p = {0};
    pack(&p, whole, ROWS, -1);
    setting some = {model, tiny_lora(model, targets, 2, 0, true), backend, STLORA_F32, recomputed, 4, 0, 0, {0}};
    setting all = {model, tiny_lora(model, ".*", 2, 0, true), backend, STLORA_F32, recomputed, 4, 0, 0, {0}};
    for (size_t i = 0; i < all.lora->count; i++) {
        const stlora_lora_map *map = &all.lora->maps[i];
        if (!some.lora->of[map->linear->id]) memset(map->b, 0, (size_t)(map->r * map->linear->m) * sizeof(float));
    }
    double a = gradients(&some, &p, 0.25), b = gradients(&all, &p, 0.25);
    if (memcmp(&a, &b, sizeof a) != 0) fail_msg("%s: losses %.17g and %.17g", targets, a, b);
    for (size_t i = 0; i < some.lora->count; i++) {
        const stlora_lora_map *map = &some.lora->maps[i], *other = all.lora->of[map->linear->id];
        size_t bytes = (size_t)(map->r * (map->linear->n + map->linear->m)) * sizeof(float);
        if (memcmp(map->ga, other->ga, bytes) != 0)
            fail_msg("%s: gradients of %s differ from those of a run that adapts all", targets, map->linear->name);
    }
    for (size_t i = 0; i < all.lora->count; i++) { /* where B = 0, A has no gradient, exactly, and B has one */
        const stlora_lora_map *map = &all.lora->maps[i];
        double norm = 0;
        for (int64_t k = 0; k < map->r * map->linear->m; k++)
            norm += fabs((double)map->gb[k]);
        assert_true(norm > 0);
        for (int64_t k = 0; k < map->r * map->linear->n && !some.lora->of[map->linear->id]; k++)
            assert_true(!(map->ga[k] < 0 || map->ga[k] > 0));
    }
    stlora_lora_free(some.lora);
    stlora_lora_free(all.lora);
}

static void test_some_maps_are_as_all(void **state)
{
    (void)state;
    static const char *const llama[] = {"q_proj,v_proj",
                                        "1.mlp.down_proj",
                                        "1.mlp.up_proj",
                                        "1.mlp.gate_proj",
                                        "1.self_attn.o_proj",
                                        "1.self_attn.v_proj",
                                        "0.mlp.down_proj,1.self_attn.q_proj",
                                        "lm_head",
                                        "1.self_attn.k_proj,lm_head"};
    static const char *const gpt2[] = {"1.mlp.c_proj", "0.mlp.c_fc", "0.attn.c_attn", "1.attn.c_proj,lm_head"};
    static const char *const kinds[] = {"ref", "cpu"};
    stlora_transformer *a = tiny_open("llama", &(tiny_options){.family = "llama", .untied = true});
    stlora_transformer *b = tiny_open("gpt2", &(tiny_options){.family = "gpt2", .untied = true});
    for (int k = 0; k < 2; k++) {
        stlora_backend *backend = backend_of(kinds[k], 1);
        for (size_t i = 0; i < sizeof llama / sizeof llama[0]; i++)
            check_part(a, backend, llama[i], (int64_t)i % 3);
        for (size_t i = 0; i < sizeof gpt2 / sizeof gpt2[0]; i++)
            check_part(b, backend, gpt2[i], (int64_t)i % 3);
        stlora_backend_free(backend);
    }
    stlora_transformer_close(a);
    stlora_transformer_close(b);
}

/* ---- what the plan may change ---- */

typedef struct wanted {
    double loss;
    float *grads;
} wanted;

static void same(const setting *s, const wanted *w, double loss, const char *what, int value)
{
    if (memcmp(&loss, &w->loss, sizeof loss) != 0)
        fail_msg("%s %d: loss %.17g instead of %.17g", what, value, loss, w->loss);
    for (size_t i = 0; i < s->lora->elements; i++)
        if (memcmp(&w->grads[i], &s->lora->grads[i], sizeof(float)) != 0)
            fail_msg("%s %d: gradient %d is %.9g instead of %.9g", what, value, (int)i, (double)s->lora->grads[i],
                     (double)w->grads[i]);
}

static void check_cuts(const setting *s, const wanted *w)
{
    static const int cuts[4][ROWS] = {{1, 1, 1}, {2, 1, 0}, {1, 2, 0}, {3, 0, 0}}; /* rows of each micro-batch */
    for (int c = 0; c < 4; c++) {
        double loss = 0;
        stlora_pass *pass = make(s, true);
        memset(s->lora->grads, 0, s->lora->elements * sizeof(float));
        for (int m = 0, from = 0; m < ROWS && cuts[c][m]; from += cuts[c][m++]) {
            packed part = {0};
            pack(&part, whole + from, cuts[c][m], -1);
            stlora_pass_grad(pass, &part.batch, 0.1, SEED, STEP, &loss);
        }
        stlora_pass_free(pass);
        same(s, w, loss, "cut", c);
    }
}

/* Every choice of what is kept, with inputs kept or not, in slices that divide the tokens and in others. */
static void check_kept(setting s, const wanted *w, const packed *p)
{
    static const int64_t slices[4] = {0, 4, 1, 5};
    enum { LEVELS = TINY_LAYERS + 1 };
    for (int choice = 0; choice < LEVELS * LEVELS * LEVELS; choice++) {
        s.more[STLORA_PART_ATTENTION] = choice % LEVELS;
        s.more[STLORA_PART_MID] = choice / LEVELS % LEVELS;
        s.more[STLORA_PART_UP] = choice / (LEVELS * LEVELS);
        s.slice = slices[choice % 4];
        s.stride = choice % 2 ? TINY_LAYERS : 0;
        same(&s, w, gradients(&s, p, 0.1), "kept", choice);
    }
}

static void check_bits(const stlora_transformer *model, const char *kind, stlora_dtype act, double dropout)
{
    packed p = {0};
    stlora_error err = {0};
    wanted w;
    stlora_backend *one = backend_of(kind, 1);
    setting s = {model, tiny_lora(model, ".*", 3, dropout, true), one, act, 0, 0, 0, 0, {0}};
    pack(&p, whole, ROWS, -1);
    w.loss = gradients(&s, &p, 0.1);
    assert_true(w.loss > 1 && w.loss < 1000);
    assert_ok(stlora_alloc(&w.grads, s.lora->elements, sizeof(float), "gradients", &err));
    memcpy(w.grads, s.lora->grads, s.lora->elements * sizeof(float));
    for (s.recomputed = 1; s.recomputed <= TINY_LAYERS; s.recomputed++)
        same(&s, &w, gradients(&s, &p, 0.1), "recomputed", (int)s.recomputed);
    s.recomputed = TINY_LAYERS;
    s.stride = TINY_LAYERS;
    for (s.slice = 1; s.slice < 5; s.slice++)
        same(&s, &w, gradients(&s, &p, 0.1), "strides and slices of", (int)s.slice);
    check_cuts(&s, &w);
    s.recomputed = s.stride = s.slice = 0;
    check_kept(s, &w, &p);
    check_cuts(&s, &w);
    for (s.logits_rows = 1; s.logits_rows < 5; s.logits_rows++)
        same(&s, &w, gradients(&s, &p, 0.1), "logits", (int)s.logits_rows);
    for (int threads = 2; threads <= 3; threads++) {
        stlora_backend *more = backend_of(kind, threads);
        s.backend = more;
        same(&s, &w, gradients(&s, &p, 0.1), "threads", threads);
        stlora_backend_free(more);
    }
    stlora_free(w.grads);
    stlora_lora_free(s.lora);
    stlora_backend_free(one);
}

static void test_the_plan_changes_no_bit(void **state)
{
    (void)state;
    static const char *const families[] = {"llama", "qwen2", "gpt2"};
    for (int f = 0; f < 3; f++) {
        stlora_transformer *model = tiny_open(
            families[f],
            &(tiny_options){.family = families[f], .untied = true, .dtype = f == 1 ? STLORA_BF16 : STLORA_F32});
        for (int dropout = 0; dropout < 2; dropout++) {
            check_bits(model, "cpu", STLORA_F32, 0.3 * dropout);
            check_bits(model, "cpu", STLORA_BF16, 0.3 * dropout);
        }
        check_bits(model, "ref", STLORA_F32, 0.3);
        check_bits(model, "ref", STLORA_BF16, 0);
        stlora_transformer_close(model);
    }
}

/* Inputs that are not kept lie in one place for every stretch of blocks; with seven blocks there are stretches above each other. */
static void test_strides_change_no_bit(void **state)
{
    (void)state;
    enum { LAYERS = 7 };
    stlora_error err = {0};
    packed p = {0};
    wanted w;
    stlora_transformer *model = tiny_open("deep", &(tiny_options){.family = "llama", .layers = LAYERS});
    stlora_backend *backend = backend_of("cpu", 1);
    static const char *const targets[2] = {"all-linear",
                                           "2.self_attn.q_proj,5.mlp.down_proj"}; /* down to layer 0, to 2 */
    pack(&p, whole, ROWS, -1);
    for (int t = 0; t < 2; t++) {
        setting s = {model, tiny_lora(model, targets[t], 3, 0.2, true), backend, STLORA_BF16, 0, 0, 4, 0, {0}};
        w.loss = gradients(&s, &p, 0.1);
        assert_ok(stlora_alloc(&w.grads, s.lora->elements, sizeof(float), "gradients", &err));
        memcpy(w.grads, s.lora->grads, s.lora->elements * sizeof(float));
        for (s.recomputed = 0; s.recomputed <= LAYERS; s.recomputed++)
            for (s.stride = 2; s.stride <= LAYERS; s.stride++)
                same(&s, &w, gradients(&s, &p, 0.1), "stride", (int)(10 * s.recomputed + s.stride));
        stlora_free(w.grads);
        stlora_lora_free(s.lora);
    }
    stlora_backend_free(backend);
    stlora_transformer_close(model);
}

/* Rows of a pack have the log-probabilities that they have alone, bit for bit, and the loss is their sum in order. */
static void test_rows_do_not_see_each_other(void **state)
{
    (void)state;
    static const char *const families[] = {"llama", "qwen2", "gpt2"}, *const kinds[] = {"ref", "cpu"};
    static const int order[ROWS] = {2, 0, 1};
    for (int f = 0; f < 3; f++) {
        stlora_transformer *model = tiny_open(families[f], &(tiny_options){.family = families[f]});
        stlora_lora *lora =
            tiny_lora(model, "all-linear", 2, 0.3, true); /* dropout does not act on a loss without gradient */
        for (int k = 0; k < 4; k++) {
            stlora_backend *backend = backend_of(kinds[k % 2], 2);
            setting s = {model, lora, backend, k < 2 ? STLORA_F32 : STLORA_BF16, 0, 4, 2 * k, 0, {0}};
            stlora_pass *pass = make(&s, false);
            packed together = {0};
            float all[TOKENS], alone[TOKENS];
            double loss = 0, sum = 0, plain = 0;
            pack(&together, order, ROWS, -1);
            stlora_pass_loss(pass, &together.batch, &loss, all);
            int64_t seen = 0;
            for (int r = 0; r < ROWS; r++) {
                packed one = {0};
                pack(&one, order + r, 1, -1);
                stlora_pass_loss(pass, &one.batch, &sum, alone);
                assert_memory_equal(alone, all + seen, (size_t)one.batch.supervised * sizeof(float));
                seen += one.batch.supervised;
            }
            assert_int_equal(seen, together.batch.supervised);
            assert_memory_equal(&loss, &sum, sizeof loss);
            for (int64_t i = 0; i < seen; i++) {
                assert_true(all[i] < 0);
                plain -= (double)all[i];
            }
            assert_true(fabs(plain - loss) <= 1e-5 * loss);
            stlora_pass_free(pass);
            stlora_backend_free(backend);
        }
        stlora_lora_free(lora);
        stlora_transformer_close(model);
    }
}

static double cosine(const float *a, const float *b, int64_t count)
{
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < count; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

/* bf16 has 8 bits: a loss within 1 %, every matrix's gradient in nearly the same direction. */
static void test_bf16_is_near(void **state)
{
    (void)state;
    static const char *const families[] = {"llama", "qwen2", "gpt2"}, *const kinds[] = {"ref", "cpu"};
    for (int f = 0; f < 3; f++) {
        stlora_transformer *model =
            tiny_open(families[f], &(tiny_options){.family = families[f], .dtype = STLORA_BF16});
        for (int k = 0; k < 2; k++) {
            stlora_backend *backend = backend_of(kinds[k], 1);
            packed p = {0};
            setting exact = {model, tiny_lora(model, "all-linear", 2, 0, true), backend, STLORA_F32, 0, 0, 0, 0, {0}},
                    coarse = exact;
            coarse.lora = tiny_lora(model, "all-linear", 2, 0, true);
            coarse.act = STLORA_BF16;
            pack(&p, whole, ROWS, -1);
            double a = gradients(&exact, &p, 1), b = gradients(&coarse, &p, 1), worst = 1;
            if (!(fabs(a - b) <= 0.01 * a) || !(fabs(a - b) > 0))
                fail_msg("%s on %s: loss %g in fp32 and %g in bf16", families[f], kinds[k], a, b);
            for (size_t i = 0; i < exact.lora->count; i++) {
                const stlora_lora_map *x = &exact.lora->maps[i], *y = &coarse.lora->maps[i];
                double c = fmin(cosine(x->ga, y->ga, x->r * x->linear->n), cosine(x->gb, y->gb, x->r * x->linear->m));
                if (!(c > 0.995))
                    fail_msg("%s on %s: gradients of %s in fp32 and bf16 have a cosine of %g", families[f], kinds[k],
                             x->linear->name, c);
                worst = fmin(worst, c);
            }
            print_message("%s on %s: bf16 changes the loss by %.2g of it; smallest cosine of a gradient %.5f\n",
                          families[f], kinds[k], fabs(a - b) / a, worst);
            stlora_lora_free(exact.lora);
            stlora_lora_free(coarse.lora);
            stlora_backend_free(backend);
        }
        stlora_transformer_close(model);
    }
}

/* A row's masks are named by seed, step, map, the row's number and the position: not by where the row lies in which
 * pack. */
static void test_dropout_masks(void **state)
{
    (void)state;
    static const int orders[4][ROWS] = {{2, -1, -1}, {0, 1, 2}, {2, 0, 1}, {1, 2, 0}};
    static const int counts[4] = {1, 3, 3, 3};
    stlora_transformer *model = tiny_open("model", &(tiny_options){.family = "llama", .untied = true});
    stlora_backend *backend = backend_of("cpu", 2);
    setting s = {model, tiny_lora(model, ".*", 2, 0.3, true), backend, STLORA_F32, 0, 4, 0, 0, {0}};
    float grads[4096];
    double loss = 0;
    assert_true(s.lora->elements <= 4096);
    for (int k = 0; k < 4; k++) {
        packed p = {0};
        pack(&p, orders[k], counts[k], 2);
        double found = gradients(&s, &p, 1);
        if (k == 0) {
            loss = found;
            memcpy(grads, s.lora->grads, s.lora->elements * sizeof(float));
        } else {
            same(&s, &(wanted){loss, grads}, found, "order", k);
        }
    }
    /* And they do change with each of the names. */
    packed p = {0};
    pack(&p, orders[0], 1, 2);
    stlora_pass *pass = make(&s, true);
    double other[4] = {0};
    stlora_pass_grad(pass, &p.batch, 1, SEED + 1, STEP, &other[0]);
    stlora_pass_grad(pass, &p.batch, 1, SEED, STEP + 1, &other[1]);
    p.rows[0]++;
    stlora_pass_grad(pass, &p.batch, 1, SEED, STEP, &other[2]);
    stlora_pass_loss(pass, &p.batch, &other[3], NULL);
    for (int i = 0; i < 4; i++)
        for (int j = -1; j < i; j++)
            assert_true(fabs(other[i] - (j < 0 ? loss : other[j])) > 1e-3);
    s.lora->config.lora_dropout = 0;
    double none = gradients(&s, &p, 1);
    assert_memory_equal(&none, &other[3], sizeof none);
    stlora_pass_free(pass);
    stlora_lora_free(s.lora);
    stlora_backend_free(backend);
    stlora_transformer_close(model);
}

/* What the loss says of a shape that the model cannot have, and of the work, counted by hand. */
static void test_limits_and_flops(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_pass *pass = NULL;
    stlora_backend *backend = backend_of("cpu", 1);
    stlora_transformer *gpt2 = tiny_open("gpt2", &(tiny_options){.family = "gpt2"}),
                       *llama = tiny_open("llama", &(tiny_options){.family = "llama"});
    stlora_pass_shape shape = {.max_tokens = 65, .max_segments = 1, .max_positions = 65, .logits_rows = 4};
    tiny_refused(stlora_pass_create(&pass, gpt2, NULL, backend, &shape, &err), &err, STLORA_E_UNSUPPORTED,
                 "a row of 65 tokens is longer than the model's 64");
    assert_null(pass);
    assert_ok(stlora_pass_create(&pass, llama, NULL, backend, &shape, &err)); /* rotary positions go on */
    stlora_pass_free(pass);

    const int64_t rows[2] = {3, 5};
    double maps = 2.0 * (16 * 16 + 2 * 16 * 8 + 16 * 16 + 3 * 16 * 24), pairs = 6 + 15; // both layers
    double forward = 2 * maps * 8 + 2 * 16 * 40 * 4.0 + 4 * 16 * pairs * 2;
    assert_true(fabs(stlora_pass_flops(llama, NULL, rows, 2, 4, false) - forward) < 0.5);
    /* Only the last down: one product back in the head, and the adapter's own. */
    stlora_lora *lora = tiny_lora(llama, "1.mlp.down_proj", 2, 0, true);
    double train = forward + 2 * 16 * 40 * 4.0 + 6 * 2 * (16 + 24) * 8.0 + 2.5 * 4 * 16 * pairs;
    double found = stlora_pass_flops(llama, lora, rows, 2, 4, true);
    if (fabs(found - train) > 0.5) fail_msg("wanted %.1f operations, found %.1f", train, found);
    stlora_lora_free(lora);
    stlora_transformer_close(gpt2);
    stlora_transformer_close(llama);
    stlora_backend_free(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TINY_TEST(test_llama),
        TINY_TEST(test_qwen2),
        TINY_TEST(test_gpt2),
        TINY_TEST(test_tied_and_biased),
        TINY_TEST(test_some_maps_are_as_all),
        TINY_TEST(test_the_plan_changes_no_bit),
        TINY_TEST(test_strides_change_no_bit),
        TINY_TEST(test_rows_do_not_see_each_other),
        TINY_TEST(test_bf16_is_near),
        TINY_TEST(test_dropout_masks),
        TINY_TEST(test_limits_and_flops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
