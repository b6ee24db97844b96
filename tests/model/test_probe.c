/* test_probe.c: which tokens a probe keeps, that it keeps what the maps read, and that neither depends on how a step is cut. */
#include <math.h>

#include "model/pass.h"
#include "train/tiny_model.h"

enum { ROWS = 3, TOKENS = 17, LONGEST = 8, SEED = 5, STEP = 3, CAPACITY = 6 };

typedef struct watched {
    stlora_transformer *model;
    stlora_lora *lora;
    stlora_probe *probe;
    stlora_arena arena;
} watched;

static watched watch(const char *family, const char *targets, int64_t capacity, stlora_dtype act)
{
    stlora_error err = {0};
    char name[32];
    (void)snprintf(name, sizeof name, "%s-%s", family, stlora_dtype_name(act));
    watched w = {.model = tiny_open(name, &(tiny_options){.family = family, .untied = true})};
    bool *chosen;
    w.lora = tiny_lora(w.model, targets, 2, 0.2, true);
    assert_ok(stlora_alloc(&chosen, w.model->linear_count, sizeof *chosen, "maps", &err));
    for (size_t i = 0; i < w.lora->count; i++)
        chosen[w.lora->maps[i].linear->id] = true;
    assert_ok(stlora_probe_create(&w.probe, w.model, chosen, &err));
    stlora_free(chosen);
    stlora_probe_lay_out(w.probe, &w.arena, capacity, act);
    assert_ok(stlora_arena_bind(&w.arena, "a probe", &err));
    stlora_probe_lay_out(w.probe, &w.arena, capacity, act);
    return w;
}

static void unwatch(watched *w)
{
    stlora_arena_free(&w->arena);
    stlora_probe_free(w->probe);
    stlora_lora_free(w->lora);
    stlora_transformer_close(w->model);
}

/* ---- which tokens ---- */

/* Feeds `tokens` rows that hold their own number, in calls of `piece` rows. */
static void feed(const watched *w, int64_t tokens, int64_t piece)
{
    float x[64][TINY_HIDDEN];
    assert_true(piece <= 64);
    for (int64_t from = 0; from < tokens; from += piece) {
        int64_t rows = piece < tokens - from ? piece : tokens - from;
        for (int64_t t = 0; t < rows; t++)
            for (int c = 0; c < TINY_HIDDEN; c++)
                x[t][c] = (float)(from + t);
        assert_int_equal(stlora_probe_batch(w->probe, rows), from);
        stlora_probe_keep(w->probe, w->lora->maps[0].linear,
                          (stlora_cmat){x, STLORA_F32, rows, TINY_HIDDEN, TINY_HIDDEN}, from, NULL);
    }
}

static void test_one_of_each_stretch(void **state)
{
    (void)state;
    enum { MANY = 64, STEPS = 400 };
    watched w = watch("llama", "0.self_attn.q_proj", CAPACITY, STLORA_F32);
    const size_t id = w.lora->maps[0].linear->id;
    int drawn[MANY] = {0};
    for (int64_t step = 1; step <= STEPS; step++) {
        float first[CAPACITY];
        stlora_probe_begin(w.probe, MANY, SEED, step);
        feed(&w, MANY, 64);
        stlora_cmat x = stlora_probe_input(w.probe, id);
        assert_int_equal(x.rows, CAPACITY);
        for (int64_t k = 0; k < CAPACITY; k++) {
            int64_t token = (int64_t)((const float *)x.data)[k * x.ld];
            assert_true(token >= MANY * k / CAPACITY && token < MANY * (k + 1) / CAPACITY);
            drawn[token]++;
            first[k] = (float)token;
        }
        for (int64_t piece = 1; piece < 40; piece += 6) { /* the cut changes nothing */
            stlora_probe_begin(w.probe, MANY, SEED, step);
            feed(&w, MANY, piece);
            x = stlora_probe_input(w.probe, id);
            assert_int_equal(x.rows, CAPACITY);
            for (int64_t k = 0; k < CAPACITY; k++)
                assert_true(((const float *)x.data)[k * x.ld] >= first[k] &&
                            ((const float *)x.data)[k * x.ld] <= first[k]);
        }
    }
    /* Each token of a stretch of 10 or 11 comes in one step of about as many: 400 draws, a standard deviation of 6. */
    for (int t = 0; t < MANY; t++)
        if (drawn[t] < 12 || drawn[t] > 68)
            fail_msg("token %d of %d was drawn %d times in %d steps", t, MANY, drawn[t], STEPS);
    unwatch(&w);
}

static void test_few_tokens_are_all_kept(void **state)
{
    (void)state;
    watched w = watch("llama", "0.self_attn.q_proj", CAPACITY, STLORA_F32);
    for (int64_t tokens = 0; tokens <= CAPACITY; tokens++) {
        stlora_probe_begin(w.probe, tokens, SEED, STEP);
        feed(&w, tokens, 2);
        stlora_cmat x = stlora_probe_input(w.probe, w.lora->maps[0].linear->id);
        assert_int_equal(x.rows, tokens);
        for (int64_t k = 0; k < tokens; k++)
            assert_int_equal((int64_t)((const float *)x.data)[k * x.ld], k);
    }
    unwatch(&w);
}

/* ---- what they read ---- */

typedef struct step_data {
    int32_t ids[TOKENS], positions[TOKENS], targets[TOKENS];
    int64_t starts[ROWS + 1], rows[ROWS], at[TOKENS], supervised;
} step_data;

static step_data make_step(void)
{
    static const int lengths[ROWS] = {5, 4, LONGEST};
    step_data d = {.starts = {0}};
    int64_t at = 0;
    for (int s = 0; s < ROWS; s++) {
        for (int t = 0; t < lengths[s]; t++, at++) {
            d.ids[at] = (int32_t)(stlora_rng_u32(3, STLORA_RNG_SHUFFLE, (uint64_t)s, (uint64_t)t) % TINY_VOCAB);
            d.targets[at] = at % 3 ? d.ids[at] : -1;
            d.positions[at] = t;
            if (at % 3) d.at[d.supervised++] = at;
        }
        d.starts[s + 1] = at;
        d.rows[s] = s + 4;
    }
    return d;
}

/* Rows [from, to) of the step as a micro-batch. */
static void run_rows(stlora_pass *pass, const step_data *d, int from, int to, double *loss)
{
    int64_t starts[ROWS + 1], at[TOKENS], first = d->starts[from];
    stlora_pass_batch batch = {.tokens = d->starts[to] - first,
                               .segments = to - from,
                               .ids = d->ids + first,
                               .positions = d->positions + first,
                               .starts = starts,
                               .rows = d->rows + from,
                               .targets = d->targets + first,
                               .at = at};
    for (int s = from; s <= to; s++)
        starts[s - from] = d->starts[s] - first;
    for (int64_t i = 0; i < d->supervised; i++)
        if (d->at[i] >= first && d->at[i] < d->starts[to]) at[batch.supervised++] = d->at[i] - first;
    stlora_pass_grad(pass, &batch, 0.5, SEED, STEP, loss);
}

typedef struct cut {
    int64_t slice, logits_rows, recomputed;
    int rows_at_once, threads;
} cut;

static void run_step(const watched *w, const step_data *d, stlora_dtype act, cut c, bool probed, double *loss)
{
    stlora_error err = {0};
    stlora_backend *backend;
    stlora_pass *pass;
    stlora_pass_shape shape = {.max_tokens = TOKENS,
                               .max_segments = ROWS,
                               .max_positions = LONGEST,
                               .logits_rows = c.logits_rows,
                               .slice = c.slice,
                               .input_stride = c.recomputed,
                               .train = true,
                               .act = act};
    for (int part = 0; part < STLORA_PART_COUNT; part++)
        shape.again[part] = c.recomputed;
    assert_ok(stlora_backend_create(&backend, "cpu", c.threads, &err));
    assert_ok(stlora_pass_create(&pass, w->model, w->lora, backend, &shape, &err));
    if (probed) {
        stlora_probe_begin(w->probe, TOKENS, SEED, STEP);
        stlora_pass_watch(pass, w->probe);
    }
    memset(w->lora->grads, 0, w->lora->elements * sizeof(float));
    *loss = 0;
    for (int s = 0; s < ROWS; s += c.rows_at_once)
        run_rows(pass, d, s, s + c.rows_at_once < ROWS ? s + c.rows_at_once : ROWS, loss);
    stlora_pass_free(pass);
    stlora_backend_free(backend);
}

/* Bytes of what all chosen maps read, one after the other, and of the gradients. */
static size_t collect(const watched *w, unsigned char *out)
{
    size_t used = 0, grads = w->lora->elements * sizeof(float);
    for (size_t i = 0; i < w->lora->count; i++) {
        stlora_cmat x = stlora_probe_input(w->probe, w->lora->maps[i].linear->id);
        size_t bytes = (size_t)(x.rows * x.cols) * stlora_dtype_size(x.dtype);
        assert_true(x.rows > 0);
        memcpy(out + used, x.data, bytes);
        used += bytes;
    }
    memcpy(out + used, w->lora->grads, grads);
    return used + grads;
}

static void test_no_cut_changes_a_bit(void **state)
{
    (void)state;
    enum { ROOM = 1 << 18 };
    static unsigned char whole[ROOM], other[ROOM];
    static const cut cuts[] = {{0, TOKENS, 0, 1, 1}, {4, TOKENS, 0, ROWS, 1}, {0, 2, 0, 2, 1},
                               {3, 1, 2, ROWS, 1},   {5, 3, 1, 1, 1},         {0, TOKENS, 0, ROWS, 3}};
    static const char *const families[] = {"llama", "gpt2"};
    const step_data d = make_step();
    for (int f = 0; f < 2; f++) {
        for (int narrow = 0; narrow < 2; narrow++) {
            const stlora_dtype act = narrow ? STLORA_BF16 : STLORA_F32;
            watched w = watch(families[f], ".*", CAPACITY, act);
            double loss, again, plain;
            run_step(&w, &d, act, (cut){0, TOKENS, 0, ROWS, 1}, true, &loss);
            size_t size = collect(&w, whole), grads = w.lora->elements * sizeof(float);
            assert_true(size < ROOM);
            for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c++) {
                run_step(&w, &d, act, cuts[c], true, &again);
                assert_memory_equal(&loss, &again, sizeof loss);
                assert_int_equal(collect(&w, other), size);
                if (memcmp(whole, other, size) != 0)
                    fail_msg("%s, cut %d: something else was kept", families[f], (int)c);
            }
            run_step(&w, &d, act, (cut){0, TOKENS, 0, ROWS, 1}, false, &plain); /* nor does looking */
            assert_memory_equal(&loss, &plain, sizeof loss);
            assert_memory_equal(whole + size - grads, w.lora->grads, grads);
            unwatch(&w);
        }
    }
}

static double at(const stlora_weight *w, int64_t i)
{
    return stlora_load(w->data, w->dtype, i);
}

/* The lowest maps of a Llama read the normed embedding, and the head what makes the loss: both computed here again. */
static void test_first_and_last_input(void **state)
{
    (void)state;
    const step_data d = make_step();
    watched w = watch("llama", "0.self_attn.k_proj,lm_head", TOKENS, STLORA_F32);
    double loss, again = 0;
    run_step(&w, &d, STLORA_F32, (cut){0, TOKENS, 0, ROWS, 1}, true, &loss);
    stlora_cmat x = stlora_probe_input(w.probe, w.lora->maps[0].linear->id);
    assert_int_equal(x.rows, TOKENS);
    for (int64_t t = 0; t < TOKENS; t++) {
        double squares = 0;
        for (int64_t c = 0; c < TINY_HIDDEN; c++) {
            double v = at(&w.model->embed, d.ids[t] * TINY_HIDDEN + c);
            squares += v * v;
        }
        for (int64_t c = 0; c < TINY_HIDDEN; c++) {
            double wanted = at(&w.model->embed, d.ids[t] * TINY_HIDDEN + c) * at(&w.model->blocks[0].norms[STLORA_BEFORE_ATTENTION].w, c) /
                            sqrt(squares / TINY_HIDDEN + 1e-5);
            double found = (double)((const float *)x.data)[t * x.ld + c];
            if (!(fabs(found - wanted) <= 1e-6))
                fail_msg("token %d, %d: %.9g, wanted %.9g", (int)t, (int)c, found, wanted);
        }
    }
    const stlora_lora_map *map = &w.lora->maps[1];
    x = stlora_probe_input(w.probe, map->linear->id);
    assert_int_equal(x.rows, d.supervised);
    w.lora->config.lora_dropout = 0; /* the head's own dropout is not what it reads */
    run_step(&w, &d, STLORA_F32, (cut){0, TOKENS, 0, ROWS, 1}, true, &loss);
    for (int64_t i = 0; i < x.rows; i++) {
        double sum = 0, wanted = 0;
        for (int64_t v = 0; v < TINY_VOCAB; v++) {
            double logit = 0;
            for (int64_t c = 0; c < TINY_HIDDEN; c++) {
                double weight = at(&map->linear->weight, v * TINY_HIDDEN + c);
                for (int64_t q = 0; q < map->r; q++)
                    weight += map->scale * (double)map->b[v * map->r + q] * (double)map->a[q * TINY_HIDDEN + c];
                logit += weight * (double)((const float *)x.data)[i * x.ld + c];
            }
            sum += exp(logit);
            if (v == d.targets[d.at[i]]) wanted = logit;
        }
        again -= wanted - log(sum);
    }
    if (!(fabs(again - loss) <= 1e-5 * loss))
        fail_msg("the head's inputs make a loss of %.9g, the pass %.9g", again, loss);
    unwatch(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TINY_TEST(test_one_of_each_stretch),
        TINY_TEST(test_few_tokens_are_all_kept),
        TINY_TEST(test_no_cut_changes_a_bit),
        TINY_TEST(test_first_and_last_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
