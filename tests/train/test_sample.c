/* test_sample.c: the next token against exact probabilities, and a continuation's ends. */
#include <math.h>

#include "train/sample.h"
#include "train/tiny_model.h"

enum { LARGEST = 8, DRAWS = 20000 };

static int32_t draw(const float *logits, int64_t vocab, stlora_sampling sampling, uint64_t index)
{
    stlora_error err = {0};
    stlora_sampler_scratch scratch;
    int32_t id = -1;
    assert_ok(stlora_sampler_scratch_create(&scratch, vocab, &err));
    assert_ok(stlora_sample(logits, vocab, &sampling, index, &scratch, &id, &err));
    stlora_sampler_scratch_free(&scratch);
    return id;
}

static void test_greedy(void **state)
{
    (void)state;
    stlora_sampling greedy = {.temperature = 0, .top_p = 1};
    assert_int_equal(draw((float[]){1, 3, 2}, 3, greedy, 0), 1);
    assert_int_equal(draw((float[]){1, 3, 3, 3}, 4, greedy, 0), 1); /* ties: the smaller id */
    assert_int_equal(draw((float[]){2, 2, 2}, 3, greedy, 0), 0);
    assert_int_equal(draw((float[]){-5, -4, -4}, 3, greedy, 9), 1);
    assert_int_equal(draw((float[]){-INFINITY, -1e30f, -INFINITY}, 3, greedy, 0), 1);
    assert_int_equal(draw((float[]){7}, 1, greedy, 0), 0);
    greedy.top_k = 2; /* these say nothing to it */
    greedy.top_p = 0.1;
    assert_int_equal(draw((float[]){1, 3, 2}, 3, greedy, 0), 1);
}

/* Draws by index 0, 1, 2 ... against probabilities. Pearson's statistic of the tokens that can come has their number
 * less one as mean and twice that as variance; four deviations and a little. A token of probability 0 never comes. */
static void check_distribution(const char *what, const float *logits, int64_t vocab, stlora_sampling sampling,
                               const double *wanted)
{
    stlora_error err = {0};
    stlora_sampler_scratch scratch;
    int counts[LARGEST] = {0}, possible = 0;
    double chi = 0, sum = 0;
    assert_ok(stlora_sampler_scratch_create(&scratch, vocab, &err));
    for (uint64_t i = 0; i < DRAWS; i++) {
        int32_t id = -1;
        assert_ok(stlora_sample(logits, vocab, &sampling, i, &scratch, &id, &err));
        assert_true(id >= 0 && id < vocab);
        counts[id]++;
    }
    for (int64_t v = 0; v < vocab; v++) {
        double expected = wanted[v] * DRAWS, d = counts[v] - expected;
        sum += wanted[v];
        if (!(wanted[v] > 0)) {
            if (counts[v]) fail_msg("%s: token %d came %d times and cannot come", what, (int)v, counts[v]);
            continue;
        }
        chi += d * d / expected;
        possible++;
    }
    assert_true(fabs(sum - 1) < 1e-9);
    if (!(chi <= possible - 1 + 4 * sqrt(2.0 * (possible - 1)) + 2))
        fail_msg("%s: chi square %g over %d tokens", what, chi, possible);
    stlora_sampler_scratch_free(&scratch);
}

static void test_distributions(void **state)
{
    (void)state;
    /* Probabilities 1/16, 1/2, 1/8, 1/4, 1/16: */
    const float x[5] = {(float)log(0.0625), (float)log(0.5), (float)log(0.125), (float)log(0.25), (float)log(0.0625)};
    const double root[5] = {0.25, sqrt(0.5), sqrt(0.125), 0.5, 0.25}; /* temperature 2 takes square roots */
    const double all = root[0] + root[1] + root[2] + root[3] + root[4];
    stlora_sampling s = {.temperature = 1, .top_p = 1, .seed = 42};
    check_distribution("all", x, 5, s, (double[]){0.0625, 0.5, 0.125, 0.25, 0.0625});
    s.seed = 43;
    check_distribution("another seed", x, 5, s, (double[]){0.0625, 0.5, 0.125, 0.25, 0.0625});
    s.temperature = 2;
    check_distribution("temperature 2", x, 5, s,
                       (double[]){root[0] / all, root[1] / all, root[2] / all, root[3] / all, root[4] / all});
    s.temperature = 0.5; /* squares: 1, 64, 4, 16, 1 of 86 */
    check_distribution("temperature 0.5", x, 5, s, (double[]){1 / 86.0, 64 / 86.0, 4 / 86.0, 16 / 86.0, 1 / 86.0});
    s.temperature = 1;
    s.top_k = 2;
    check_distribution("top-k 2", x, 5, s, (double[]){0, 2 / 3.0, 0, 1 / 3.0, 0});
    s.top_k = 1;
    check_distribution("top-k 1", x, 5, s, (double[]){0, 1, 0, 0, 0});
    s.top_k = 4; /* of the two at 1/16 the smaller id */
    check_distribution("top-k 4", x, 5, s, (double[]){1 / 15.0, 8 / 15.0, 2 / 15.0, 4 / 15.0, 0});
    s.top_k = 5;
    check_distribution("top-k of all", x, 5, s, (double[]){0.0625, 0.5, 0.125, 0.25, 0.0625});
    s.top_k = 1000000000;
    check_distribution("top-k of more", x, 5, s, (double[]){0.0625, 0.5, 0.125, 0.25, 0.0625});
    s.top_k = 0;
    s.top_p = 0.7; /* 1/2 does not reach it, 3/4 does */
    check_distribution("top-p 0.7", x, 5, s, (double[]){0, 2 / 3.0, 0, 1 / 3.0, 0});
    s.top_p = 0.76;
    check_distribution("top-p 0.76", x, 5, s, (double[]){0, 4 / 7.0, 1 / 7.0, 2 / 7.0, 0});
    s.top_p = 0.9; /* 7/8, then the smaller id of the last two */
    check_distribution("top-p 0.9", x, 5, s, (double[]){1 / 15.0, 8 / 15.0, 2 / 15.0, 4 / 15.0, 0});
    s.top_p = 0.001;
    check_distribution("top-p 0.001", x, 5, s, (double[]){0, 1, 0, 0, 0});
    s.top_p = 0;
    check_distribution("top-p 0", x, 5, s, (double[]){0, 1, 0, 0, 0});
    /* top-k first: of the two that it leaves the first has 2/3, enough; the other way round both would stay. */
    s.top_p = 0.6;
    s.top_k = 2;
    check_distribution("top-k 2, top-p 0.6", x, 5, s, (double[]){0, 1, 0, 0, 0});
    s.top_k = 3; /* 4/7, 6/7 */
    check_distribution("top-k 3, top-p 0.6", x, 5, s, (double[]){0, 2 / 3.0, 0, 1 / 3.0, 0});
    s.top_k = 0;
    s.top_p = 0.6;
    s.temperature = 0.5; /* the temperature comes before: 64/86 is enough */
    check_distribution("temperature 0.5, top-p 0.6", x, 5, s, (double[]){0, 1, 0, 0, 0});
}

static void test_ties_and_edges(void **state)
{
    (void)state;
    const float even[8] = {3, 3, 3, 3, 3, 3, 3, 3}, holes[4] = {-INFINITY, 1000, -INFINITY, 1000},
                far[3] = {-1e30f, 3e38f, -3e38f};
    stlora_sampling s = {.temperature = 1, .top_p = 1, .seed = 1};
    check_distribution("even", even, 8, s, (double[]){0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125});
    check_distribution("holes", holes, 4, s, (double[]){0, 0.5, 0, 0.5});
    check_distribution("far", far, 3, s, (double[]){0, 1, 0});
    s.top_k = 3;
    check_distribution("even, top-k 3", even, 8, s, (double[]){1 / 3.0, 1 / 3.0, 1 / 3.0, 0, 0, 0, 0, 0});
    s.top_k = 0;
    s.top_p = 0.37; /* 2/8 no, 3/8 yes */
    check_distribution("even, top-p 0.37", even, 8, s, (double[]){1 / 3.0, 1 / 3.0, 1 / 3.0, 0, 0, 0, 0, 0});
    s.temperature = 1e-6;
    s.top_p = 1;
    check_distribution("cold", (float[]){1, 2, 3}, 3, s, (double[]){0, 0, 1});
}

/* A token is a function of seed and index, and of nothing that was drawn before. */
static void test_reproducible(void **state)
{
    (void)state;
    float logits[LARGEST];
    int32_t forward[64];
    int other_seed = 0, other_index = 0;
    for (int v = 0; v < LARGEST; v++)
        logits[v] = 0.1f * (float)v;
    stlora_sampling s = {.temperature = 1, .top_p = 1, .seed = 7}, t = s;
    t.seed = 8;
    for (uint64_t i = 0; i < 64; i++)
        forward[i] = draw(logits, LARGEST, s, i);
    for (uint64_t i = 64; i-- > 0;) {
        assert_int_equal(draw(logits, LARGEST, s, i), forward[i]);
        other_seed += draw(logits, LARGEST, t, i) != forward[i];
        other_index += draw(logits, LARGEST, s, i + 1000) != forward[i];
    }
    assert_true(other_seed > 40 && other_index > 40);
}

static void test_nonfinite(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_sampler_scratch scratch;
    const float bad[][4] = {{0, 1, NAN, 2}, {NAN, 1, 2, 3}, {0, 1, 2, INFINITY}};
    static const char *const words[] = {"the logit of token 2 is not finite", "the logit of token 0 is not finite",
                                        "the logit of token 3 is not finite"};
    assert_ok(stlora_sampler_scratch_create(&scratch, 4, &err));
    for (int i = 0; i < 3; i++) {
        for (int warm = 0; warm < 2; warm++) {
            int32_t id = -5;
            stlora_sampling s = {.temperature = warm, .top_p = 1};
            tiny_refused(stlora_sample(bad[i], 4, &s, 0, &scratch, &id, &err), &err, STLORA_E_NONFINITE, words[i]);
            assert_int_equal(id, -5);
        }
    }
    stlora_sampler_scratch_free(&scratch);
    stlora_sampler_scratch_free(&scratch);
}

/* ---- continuations ---- */

typedef struct heard {
    int32_t ids[64];
    int count, fail_at; /* -1 = never */
    volatile sig_atomic_t *stop;
} heard;

static stlora_status hear(void *context, int32_t id, stlora_error *err)
{
    heard *h = context;
    h->ids[h->count++] = id;
    if (h->stop) *h->stop = 1;
    if (h->count == h->fail_at) {
        (void)snprintf(err->text, sizeof err->text, "the pipe is closed");
        err->status = STLORA_E_IO;
        return STLORA_E_IO;
    }
    return STLORA_OK;
}

typedef struct spoken {
    stlora_session session;
    stlora_decoder *decoder;
    stlora_sampler_scratch scratch;
} spoken;

static const int32_t prompt[4] = {5, 17, 3, 30};

static void open_spoken(spoken *s, const char *name, const char *config)
{
    stlora_error err = {0};
    const char *dir = tiny_at(name);
    tiny_write(dir, &(tiny_options){.family = "llama", .untied = true, .config = config});
    assert_ok(stlora_session_open(&s->session, dir, NULL, "fp32", 1, false, &err));
    const stlora_decoder_shape shape = stlora_decoder_single(24);
    assert_ok(stlora_decoder_create(&s->decoder, s->session.model, NULL, s->session.backend, s->session.act, &shape, &err));
    assert_ok(stlora_sampler_scratch_create(&s->scratch, TINY_VOCAB, &err));
}

static void close_spoken(spoken *s)
{
    stlora_sampler_scratch_free(&s->scratch);
    stlora_decoder_free(s->decoder);
    stlora_session_close(&s->session);
}

static stlora_status go_on(spoken *s, int64_t max_new, const stlora_sampling *sampling, bool ignore_eos, heard *h,
                           stlora_error *err)
{
    h->count = 0;
    return stlora_continue(&s->session, s->decoder, prompt, 4, 0, max_new, sampling, ignore_eos, &s->scratch, h->stop,
                           hear, h, err);
}

static void test_continuation(void **state)
{
    (void)state;
    stlora_error err = {0};
    spoken s;
    heard h = {.fail_at = -1};
    const stlora_sampling greedy = {.temperature = 0, .top_p = 1}, warm = {.temperature = 5, .top_p = 1, .seed = 3};
    int32_t chain[8];
    const float *logits;
    open_spoken(&s, "model", NULL);
    /* The greedy chain by hand. */
    assert_ok(stlora_decoder_feed(s.decoder, prompt, 4, &logits, &err));
    for (int i = 0; i < 8; i++) {
        chain[i] = 0;
        for (int32_t v = 1; v < TINY_VOCAB; v++)
            if (logits[v] > logits[chain[i]]) chain[i] = v;
        assert_ok(stlora_decoder_feed(s.decoder, &chain[i], 1, &logits, &err));
    }
    for (int again = 0; again < 2; again++) { /* the decoder is reset */
        assert_ok(go_on(&s, 8, &greedy, false, &h, &err));
        assert_int_equal(h.count, 8);
        assert_memory_equal(h.ids, chain, sizeof chain);
    }
    assert_ok(go_on(&s, 0, &greedy, false, &h, &err));
    assert_int_equal(h.count, 0);
    assert_ok(go_on(&s, 20, &greedy, false, &h, &err)); /* 4 + 20 = the room there is; the last one is not fed */
    assert_int_equal(h.count, 20);
    assert_ok(go_on(&s, 21, &greedy, false, &h, &err));
    tiny_refused(go_on(&s, 22, &greedy, false, &h, &err), &err, STLORA_E_UNSUPPORTED,
                 "25 tokens do not fit into a context of 24");
    assert_int_equal(h.count, 21);
    for (size_t held = 0; held < 4; held++) { /* what the decoder holds of the prompt is not read again */
        h.count = 0;
        assert_ok(stlora_continue(&s.session, s.decoder, prompt, 4, held, 8, &greedy, false, &s.scratch, NULL, hear, &h, &err));
        assert_memory_equal(h.ids, chain, sizeof chain);
        assert_int_equal(stlora_decoder_held(s.decoder), 4 + 7);
    }
    /* Each token has a random number of its own. */
    heard first = {.fail_at = -1};
    int different = 0;
    assert_ok(go_on(&s, 16, &warm, false, &first, &err));
    assert_ok(go_on(&s, 16, &warm, false, &h, &err));
    assert_memory_equal(h.ids, first.ids, 16 * sizeof(int32_t));
    for (int i = 1; i < 16; i++)
        different += h.ids[i] != h.ids[0];
    assert_true(different > 8);
    stlora_decoder_rewind(s.decoder, 0);
    assert_ok(stlora_decoder_feed(s.decoder, prompt, 4, &logits, &err));
    for (uint64_t i = 0; i < 16; i++) { /* by hand: the place in the text names it */
        int32_t id;
        assert_ok(stlora_sample(logits, TINY_VOCAB, &warm, i, &s.scratch, &id, &err));
        assert_int_equal(id, h.ids[i]);
        assert_ok(stlora_decoder_feed(s.decoder, &id, 1, &logits, &err));
    }
    h.fail_at = 3;
    assert_int_equal(go_on(&s, 8, &greedy, false, &h, &err), STLORA_E_IO);
    assert_int_equal(h.count, 3);
    volatile sig_atomic_t stop = 0;
    h = (heard){.fail_at = -1, .stop = &stop};
    assert_int_equal(go_on(&s, 8, &greedy, false, &h, &err), STLORA_E_INTERRUPTED);
    assert_int_equal(h.count, 1);
    assert_ok(stlora_continue(&s.session, s.decoder, prompt, 4, 0, 3, &greedy, false, &s.scratch, NULL, NULL, NULL, &err));
    close_spoken(&s);

    /* The same model with a token that the warm chain comes to late as one of two end tokens. */
    int late = 0, unused = 0;
    for (int i = 1, seen; i < 16 && late < 2; i++) {
        seen = 0;
        for (int j = 0; j < i; j++)
            seen += first.ids[j] == first.ids[i];
        if (!seen) late = i;
    }
    assert_true(late >= 2);
    for (int i = 0; i < 16; i++) {
        if (first.ids[i] != unused) continue;
        unused++;
        i = -1;
    }
    char config[64];
    (void)snprintf(config, sizeof config, "{\"eos_token_id\": [%d, %d]}", unused, (int)first.ids[late]);
    open_spoken(&s, "ends", config);
    h = (heard){.fail_at = -1};
    assert_ok(go_on(&s, 16, &warm, false, &h, &err));
    assert_int_equal(h.count, late); /* the end token is not handed on */
    assert_memory_equal(h.ids, first.ids, (size_t)late * sizeof(int32_t));
    assert_ok(go_on(&s, 16, &warm, true, &h, &err));
    assert_int_equal(h.count, 16);
    assert_memory_equal(h.ids, first.ids, 16 * sizeof(int32_t));
    close_spoken(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),         cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_ties_and_edges), cmocka_unit_test(test_reproducible),
        cmocka_unit_test(test_nonfinite),      TINY_TEST(test_continuation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
