/* test_evaluate.c: the loss of held-out rows is the mean over their supervised tokens, as if each were scored alone,
 * however they are packed; and the scorer's own rules. */
#include <math.h>

#include "train/evaluate.h"
#include "train/scorer.h"
#include "train/tiny_model.h"

enum { ROWS = 150, LONGEST = 24 };

typedef struct rows {
    int32_t ids[ROWS][LONGEST];
    bool counts[ROWS][LONGEST]; /* is ids[row][i] supervised? */
    int length[ROWS];
} rows;

/* Rows of 2 to 24 ids, two thirds of them supervised, as a file of input_ids and labels. */
static void write_rows(rows *r, const char *path)
{
    static char text[ROWS * LONGEST * 16];
    size_t used = 0;
    for (int i = 0; i < ROWS; i++) {
        char labels[LONGEST * 8] = "";
        size_t label = 0;
        r->length[i] = 2 + (int)(stlora_rng_u32(1, STLORA_RNG_SHUFFLE, 1, (uint64_t)i) % (LONGEST - 1));
        used += (size_t)snprintf(text + used, sizeof text - used, "{\"input_ids\": [");
        for (int k = 0; k < r->length[i]; k++) {
            const char *comma = k ? ", " : "";
            r->ids[i][k] = (int32_t)(stlora_rng_u32(2, STLORA_RNG_SHUFFLE, (uint64_t)i, (uint64_t)k) % TINY_VOCAB);
            r->counts[i][k] =
                k == 1 || (k > 0 && stlora_rng_u32(3, STLORA_RNG_SHUFFLE, (uint64_t)i, (uint64_t)k) % 3 != 0);
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%d", comma, (int)r->ids[i][k]);
            label += (size_t)snprintf(labels + label, sizeof labels - label, "%s%d", comma,
                                      r->counts[i][k] ? (int)r->ids[i][k] : -100);
        }
        used += (size_t)snprintf(text + used, sizeof text - used, "], \"labels\": [%s]}\n", labels);
    }
    tiny_put(path, text);
}

typedef struct fixture {
    rows rows;
    stlora_session session;
    stlora_examples *examples;
} fixture;

static void open_fixture(fixture *f, const char *name, const tiny_options *o, const char *precision)
{
    stlora_error err = {0};
    const char *dir = tiny_at(name), *path = tiny_at("rows.jsonl");
    stlora_row_kind kind;
    tiny_write(dir, o);
    write_rows(&f->rows, path);
    assert_ok(stlora_session_open(&f->session, dir, NULL, precision, 2, false, &err));
    f->session.lora = tiny_lora(f->session.model, "all-linear", 2, 0.5, false); /* its dropout does not act here */
    assert_ok(stlora_session_examples(&f->session, (stlora_strings){&path, 1}, 1024, true, &f->examples, &kind, &err));
    assert_int_equal(kind, STLORA_ROW_INPUT_IDS);
}

static void close_fixture(fixture *f)
{
    stlora_examples_free(f->examples);
    stlora_session_close(&f->session);
}

static void check_mean(const char *name, const tiny_options *o, const char *precision)
{
    static fixture f;
    stlora_error err = {0};
    stlora_eval_metrics found = {.step = 7}, tight = {0};
    stlora_scorer *scorer;
    double sum = 0;
    int64_t count = 0, all = 0;
    open_fixture(&f, name, o, precision);
    assert_ok(stlora_scorer_create(&scorer, &f.session, &err));
    for (int i = 0; i < ROWS; i++) {
        const float *logprob;
        assert_ok(stlora_scorer_run(scorer, f.rows.ids[i], f.rows.length[i], 1, "row", &logprob, &err));
        for (int k = 1; k < f.rows.length[i]; k++) {
            if (f.rows.counts[i][k]) sum -= (double)logprob[k - 1];
            count += f.rows.counts[i][k];
        }
        all += f.rows.length[i];
    }
    stlora_scorer_free(scorer);
    assert_true(count > 500 && count < all * 4 / 5);
    assert_ok(stlora_evaluate(&f.session, f.examples, (int64_t)1 << 40, NULL, &found, &err));
    assert_int_equal(found.step, 7); /* the caller's */
    assert_int_equal(found.rows, ROWS);
    assert_int_equal(found.supervised_tokens, count);
    if (!(fabs(found.loss - sum / (double)count) <= 1e-6 * found.loss))
        fail_msg("%s: loss %.9g, rows alone %.9g", name, found.loss, sum / (double)count);
    assert_true(fabs(found.perplexity - exp(found.loss)) <= 1e-12 * found.perplexity);
    /* In the smallest memory that is accepted: the same bits. */
    int64_t budget = 1000;
    stlora_status status;
    while ((status = stlora_evaluate(&f.session, f.examples, budget, NULL, &tight, &err)) == STLORA_E_NOMEM) {
        assert_true(tight.rows == 0 && budget < 1 << 20);
        budget += 1000;
    }
    assert_ok(status);
    assert_true(budget > 2000);
    assert_memory_equal(&tight.loss, &found.loss, sizeof found.loss);
    close_fixture(&f);
}

static void test_mean_over_rows_alone(void **state)
{
    (void)state;
    check_mean("llama", &(tiny_options){.family = "llama"}, "fp32");
    check_mean("gpt2", &(tiny_options){.family = "gpt2", .untied = true}, "fp32");
    check_mean("qwen2", &(tiny_options){.family = "qwen2", .dtype = STLORA_BF16}, "bf16");
}

static void test_stop(void **state)
{
    (void)state;
    static fixture f;
    stlora_error err = {0};
    stlora_eval_metrics found = {.rows = -1};
    volatile sig_atomic_t stop = 1;
    open_fixture(&f, "model", &(tiny_options){.family = "llama"}, "fp32");
    assert_int_equal(stlora_evaluate(&f.session, f.examples, (int64_t)1 << 40, &stop, &found, &err),
                     STLORA_E_INTERRUPTED);
    assert_int_equal(found.rows, -1); /* untouched */
    stop = 0;
    assert_ok(stlora_evaluate(&f.session, f.examples, (int64_t)1 << 40, &stop, &found, &err));
    close_fixture(&f);
}

/* ---- the scorer ---- */

static void test_scorer(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_session session;
    stlora_scorer *scorer;
    static int32_t ids[700];
    const float *logprob;
    float whole[40];
    for (int i = 0; i < 700; i++)
        ids[i] = (int32_t)(stlora_rng_u32(4, STLORA_RNG_SHUFFLE, 0, (uint64_t)i) % TINY_VOCAB);
    tiny_write(tiny_at("model"), &(tiny_options){.family = "llama"});
    assert_ok(stlora_session_open(&session, tiny_at("model"), NULL, "fp32", 1, false, &err));
    assert_ok(stlora_scorer_create(&scorer, &session, &err));
    assert_ok(stlora_scorer_run(scorer, ids, 41, 1, "row", &logprob, &err));
    memcpy(whole, logprob, sizeof whole);
    for (int i = 0; i < 40; i++)
        assert_true(logprob[i] < 0 && logprob[i] > -50);
    for (int64_t from = 2; from <= 40; from += 19) { /* a tail of the row is the tail of its numbers */
        assert_ok(stlora_scorer_run(scorer, ids, 41, from, "row", &logprob, &err));
        assert_memory_equal(logprob, whole + from - 1, (size_t)(41 - from) * sizeof(float));
    }
    assert_ok(stlora_scorer_run(scorer, ids, 700, 1, "row", &logprob,
                                &err)); /* room grows; what comes later changes nothing before it */
    assert_memory_equal(logprob, whole, sizeof whole);
    assert_ok(stlora_scorer_run(scorer, ids, 41, 1, "row", &logprob, &err));
    assert_memory_equal(logprob, whole, sizeof whole);
    assert_ok(stlora_scorer_run(scorer, ids, 1, 1, "row", &logprob, &err)); /* nothing to be scored */
    /* The probabilities of all ways to go on add up to 1. */
    double sum = 0;
    for (int32_t v = 0; v < TINY_VOCAB; v++) {
        ids[40] = v;
        assert_ok(stlora_scorer_run(scorer, ids, 41, 40, "row", &logprob, &err));
        sum += exp((double)logprob[0]);
    }
    assert_true(fabs(sum - 1) < 1e-5);
    ids[17] = TINY_VOCAB;
    tiny_refused(stlora_scorer_run(scorer, ids, 41, 1, "rows.jsonl line 3", &logprob, &err), &err, STLORA_E_FORMAT,
                 "rows.jsonl line 3: id 40 at place 17, the model has 40 tokens");
    ids[17] = -1;
    tiny_refused(stlora_scorer_run(scorer, ids, 41, 1, "row", &logprob, &err), &err, STLORA_E_FORMAT,
                 "id -1 at place 17");
    stlora_scorer_free(scorer);
    stlora_scorer_free(NULL);
    stlora_session_close(&session);
}

static void test_learned_positions_end(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_session session;
    stlora_scorer *scorer;
    static const int32_t ids[TINY_POSITIONS + 1];
    const float *logprob;
    tiny_write(tiny_at("model"), &(tiny_options){.family = "gpt2"});
    assert_ok(stlora_session_open(&session, tiny_at("model"), NULL, "fp32", 1, false, &err));
    assert_ok(stlora_scorer_create(&scorer, &session, &err));
    assert_ok(stlora_scorer_run(scorer, ids, TINY_POSITIONS, 1, "row", &logprob, &err));
    tiny_refused(stlora_scorer_run(scorer, ids, TINY_POSITIONS + 1, 1, "row 5", &logprob, &err), &err,
                 STLORA_E_UNSUPPORTED, "row 5: 65 tokens are more than the model's 64 positions");
    stlora_scorer_free(scorer);
    stlora_session_close(&session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TINY_TEST(test_mean_over_rows_alone),
        TINY_TEST(test_stop),
        TINY_TEST(test_scorer),
        TINY_TEST(test_learned_positions_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
