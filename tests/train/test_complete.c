/* test_complete.c: many prompts completed side by side: each as stlora_continue completes it alone, however many seats it has to wait for, with
 * end tokens, limits and callers that have enough. */
#include "train/complete.h"
#include "train/sample.h"
#include "train/tiny_model.h"

enum { PROMPTS = 100, LONGEST = 600, MOST = 30, PLENTY = 7 };

typedef struct fixture {
    stlora_session session;
    int32_t ids[PROMPTS][LONGEST];
    stlora_prompt prompts[PROMPTS];
    int32_t made[PROMPTS][MOST]; /* alone */
    int64_t counts[PROMPTS];     /* of these; -1 = has ended already */
    int64_t ends_left;
    volatile sig_atomic_t *stop;
    bool some_are_enough;
} fixture;

static uint32_t draw(uint64_t prompt, uint64_t what, uint32_t below)
{
    return stlora_rng_u32(10, STLORA_RNG_SHUFFLE, prompt, what) % below;
}

typedef struct alone {
    int32_t *ids;
    int64_t count;
} alone;

static stlora_status take(void *context, int32_t id, stlora_error *err)
{
    alone *a = context;
    (void)err;
    a->ids[a->count++] = id;
    return STLORA_OK;
}

static void open_fixture(fixture *f, const char *name, const char *config)
{
    stlora_error err = {0};
    const char *dir = tiny_at(name);
    const stlora_sampling greedy = {.top_p = 1};
    const stlora_decoder_shape shape = stlora_decoder_single(LONGEST + MOST);
    stlora_sampler_scratch scratch;
    stlora_decoder *decoder;
    tiny_write(dir, &(tiny_options){.family = "llama", .untied = true, .config = config});
    assert_ok(stlora_session_open(&f->session, dir, NULL, "fp32", 2, false, &err));
    assert_ok(stlora_sampler_scratch_create(&scratch, TINY_VOCAB, &err));
    assert_ok(
        stlora_decoder_create(&decoder, f->session.model, NULL, f->session.backend, f->session.act, &shape, &err));
    for (uint64_t p = 0; p < PROMPTS; p++) {
        int64_t count = 1 + draw(p, 1, p % 10 == 3 ? LONGEST : 12), most = p % 9 == 8 ? 0 : 1 + draw(p, 2, MOST);
        for (int64_t i = 0; i < count; i++)
            f->ids[p][i] = (int32_t)draw(p, 10 + (uint64_t)i, TINY_VOCAB);
        f->prompts[p] = (stlora_prompt){f->ids[p], count, most};
        alone a = {.ids = f->made[p]};
        assert_ok(stlora_continue(&f->session, decoder, f->ids[p], (size_t)count, 0, most, &greedy, false, &scratch, NULL,
                                  take, &a, &err));
        f->counts[p] = a.count;
    }
    f->ends_left = PROMPTS;
    stlora_decoder_free(decoder);
    stlora_sampler_scratch_free(&scratch);
}

static stlora_status is_enough(void *context, int64_t prompt, const int32_t *ids, int64_t count, bool *enough,
                               stlora_error *err)
{
    const fixture *f = context;
    (void)err;
    assert_memory_equal(ids, f->made[prompt], (size_t)count * sizeof *ids);
    *enough = count == PLENTY && prompt % 2;
    return STLORA_OK;
}

static stlora_status on_end(void *context, int64_t prompt, const int32_t *ids, int64_t count, stlora_error *err)
{
    fixture *f = context;
    (void)err;
    int64_t wanted = f->counts[prompt];
    if (f->some_are_enough && prompt % 2 && wanted > PLENTY) wanted = PLENTY;
    assert_true(f->counts[prompt] >= 0);
    f->counts[prompt] = -1;
    assert_int_equal(count, wanted);
    assert_memory_equal(ids, f->made[prompt], (size_t)count * sizeof *ids);
    if (f->stop) *f->stop = 1;
    f->ends_left--;
    return STLORA_OK;
}

static void check(const char *name, const char *config, bool some_are_enough)
{
    stlora_error err = {0};
    static fixture f;
    f = (fixture){.some_are_enough = some_are_enough};
    open_fixture(&f, name, config);
    const stlora_completing how = {.on_end = on_end, .is_enough = some_are_enough ? is_enough : NULL, .context = &f};
    assert_ok(stlora_complete(&f.session, f.prompts, PROMPTS, &how, &err));
    assert_int_equal(f.ends_left, 0);
    stlora_session_close(&f.session);
}

static void test_like_alone(void **state)
{
    (void)state;
    check("model", NULL, false);
    check("enough", NULL, true);
    check("ends", "{\"eos_token_id\": [3, 7, 11, 19, 23, 31, 35]}", false);
}

static void test_interrupted(void **state)
{
    (void)state;
    stlora_error err = {0};
    static fixture f;
    volatile sig_atomic_t stop = 0;
    f = (fixture){.stop = &stop};
    open_fixture(&f, "model", NULL);
    const stlora_completing how = {.on_end = on_end, .context = &f, .stop = &stop};
    tiny_refused(stlora_complete(&f.session, f.prompts, PROMPTS, &how, &err), &err, STLORA_E_INTERRUPTED,
                 "of 100 rows");
    assert_true(f.ends_left > 0 && f.ends_left < PROMPTS);
    stlora_session_close(&f.session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TINY_TEST(test_like_alone), TINY_TEST(test_interrupted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
