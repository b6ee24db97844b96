/* test_decoder.c: many sequences in one cache: the bits of a token's logits are those of a pass over its sequence alone, whatever else is in
 * the call, however the sequence was cut into calls, wherever it lies, and whether its beginning was copied from another. */
#include <math.h>

#include "model/decoder.h"
#include "model/pass.h"
#include "train/tiny_model.h"

enum { SEQUENCES = 3, LONGEST = 33 };
static const int lengths[SEQUENCES] = {9, LONGEST, 1};

typedef struct fixture {
    stlora_transformer *model;
    stlora_backend *backend;
    stlora_dtype act;
    int32_t ids[SEQUENCES][LONGEST];
    float wanted[SEQUENCES][LONGEST]; /* log-probability of the next id */
} fixture;

/* The next id of each token; behind the last one, the first again. */
static int32_t next_of(const fixture *f, int s, int t)
{
    return f->ids[s][(t + 1) % lengths[s]];
}

static void open_fixture(fixture *f, const char *family, stlora_dtype dtype, int threads)
{
    stlora_error err = {0};
    const char *dir = tiny_at(family);
    stlora_pass *pass;
    tiny_write(dir, &(tiny_options){.family = family, .dtype = dtype});
    assert_ok(stlora_transformer_open(&f->model, dir, &err));
    assert_ok(stlora_backend_create(&f->backend, "cpu", threads, &err));
    f->act = dtype;
    stlora_pass_shape shape = {
        .max_tokens = LONGEST, .max_segments = 1, .max_positions = LONGEST, .logits_rows = LONGEST, .act = dtype};
    assert_ok(stlora_pass_create(&pass, f->model, NULL, f->backend, &shape, &err));
    for (int s = 0; s < SEQUENCES; s++) {
        int32_t positions[LONGEST], targets[LONGEST];
        int64_t at[LONGEST], starts[2] = {0, lengths[s]}, row = 0;
        double loss = 0;
        for (int t = 0; t < lengths[s]; t++)
            f->ids[s][t] = (int32_t)(stlora_rng_u32(5, STLORA_RNG_SHUFFLE, (uint64_t)s, (uint64_t)t) % TINY_VOCAB);
        for (int t = 0; t < lengths[s]; t++) {
            positions[t] = t;
            targets[t] = next_of(f, s, t);
            at[t] = t;
        }
        stlora_pass_loss(pass,
                         &(stlora_pass_batch){.tokens = lengths[s],
                                              .segments = 1,
                                              .supervised = lengths[s],
                                              .ids = f->ids[s],
                                              .positions = positions,
                                              .starts = starts,
                                              .rows = &row,
                                              .targets = targets,
                                              .at = at},
                         &loss, f->wanted[s]);
    }
    stlora_pass_free(pass);
}

static void close_fixture(fixture *f)
{
    stlora_backend_free(f->backend);
    stlora_transformer_close(f->model);
}

/* What the last call's token `at` says of a target, alone. */
static float logprob_at(stlora_decoder *decoder, int64_t at, int32_t target)
{
    float found;
    stlora_decoder_logprobs(decoder, &at, &target, 1, &found);
    return found;
}

/* All sequences side by side, each `stride` tokens further at each call, laid into the cache from the last to the first. */
static void check_cut(const fixture *f, int stride)
{
    stlora_error err = {0};
    stlora_decoder *decoder;
    const stlora_decoder_shape shape = {LONGEST, SEQUENCES * LONGEST + 1, SEQUENCES * LONGEST, SEQUENCES, 4, 0};
    assert_ok(stlora_decoder_create(&decoder, f->model, NULL, f->backend, f->act, &shape, &err));
    for (int past = 0; past < LONGEST; past += stride) {
        stlora_decoder_piece pieces[SEQUENCES];
        int64_t at[SEQUENCES * LONGEST], count = 0, tokens = 0;
        int32_t targets[SEQUENCES * LONGEST];
        float found[SEQUENCES * LONGEST], wanted[SEQUENCES * LONGEST];
        for (int s = 0; s < SEQUENCES; s++) {
            int n = lengths[s] - past < stride ? lengths[s] - past : stride;
            if (n <= 0) continue;
            pieces[count++] = (stlora_decoder_piece){1 + (SEQUENCES - 1 - s) * LONGEST, past, n, f->ids[s] + past};
            for (int t = past; t < past + n; t++, tokens++) {
                at[tokens] = tokens;
                targets[tokens] = next_of(f, s, t);
                wanted[tokens] = f->wanted[s][t];
            }
        }
        stlora_decoder_run(decoder, pieces, count);
        stlora_decoder_logprobs(decoder, at, targets, tokens, found);
        assert_memory_equal(found, wanted, (size_t)tokens * sizeof *found);
    }
    stlora_decoder_free(decoder);
}

/* Several targets at some tokens, more than there are logits at a time: as if each had been asked for alone. */
static void check_shared_logits(const fixture *f)
{
    static const int64_t at[10] = {0, 0, 1, 2, 3, 3, 3, 7, 8, 8};
    static const int32_t targets[10] = {1, 2, 3, 4, 5, 6, 5, 8, 9, 39};
    stlora_error err = {0};
    stlora_decoder *decoder;
    float found[10], alone[10];
    stlora_decoder_shape shape = {LONGEST, LONGEST, LONGEST, 1, 1, 0};
    for (shape.logits_rows = 1; shape.logits_rows < 8; shape.logits_rows++) {
        assert_ok(stlora_decoder_create(&decoder, f->model, NULL, f->backend, f->act, &shape, &err));
        stlora_decoder_run(decoder, &(stlora_decoder_piece){0, 0, lengths[0], f->ids[0]}, 1);
        for (int i = 0; i < 10; i++)
            alone[i] = logprob_at(decoder, at[i], targets[i]);
        stlora_decoder_logprobs(decoder, at, targets, 10, found);
        assert_memory_equal(found, alone, sizeof found);
        stlora_decoder_free(decoder);
    }
}

/* A sequence whose first tokens are another's, copied. */
static void check_copy(const fixture *f)
{
    enum { SHARED = 20, PLACE = 40 };
    stlora_error err = {0};
    stlora_decoder *decoder;
    const stlora_decoder_shape shape = {LONGEST, PLACE + LONGEST, LONGEST, 2, 2, 0};
    assert_ok(stlora_decoder_create(&decoder, f->model, NULL, f->backend, f->act, &shape, &err));
    stlora_decoder_run(decoder, &(stlora_decoder_piece){0, 0, SHARED, f->ids[1]}, 1);
    stlora_decoder_copy(decoder, 0, PLACE, SHARED);
    /* The one goes on with other ids, which must not reach the other. */
    const stlora_decoder_piece pieces[2] = {{0, SHARED, lengths[0], f->ids[0]},
                                            {PLACE, SHARED, LONGEST - SHARED, f->ids[1] + SHARED}};
    stlora_decoder_run(decoder, pieces, 2);
    for (int t = SHARED; t < LONGEST; t++) {
        float found = logprob_at(decoder, lengths[0] + t - SHARED, next_of(f, 1, t));
        assert_memory_equal(&found, &f->wanted[1][t], sizeof found);
    }
    stlora_decoder_free(decoder);
}

static void check_bits(const char *family, stlora_dtype dtype)
{
    static const int strides[] = {1, 2, 7, 32, LONGEST};
    for (int threads = 1; threads <= 2; threads++) {
        fixture f = {0};
        open_fixture(&f, family, dtype, threads);
        for (size_t i = 0; i < sizeof strides / sizeof strides[0]; i++)
            check_cut(&f, strides[i]);
        check_shared_logits(&f);
        check_copy(&f);
        close_fixture(&f);
        assert_int_equal(stlora_remove_tree(tiny_at(family), NULL), STLORA_OK);
    }
}

static void test_bits(void **state)
{
    (void)state;
    check_bits("llama", STLORA_F32);
    check_bits("qwen2", STLORA_BF16);
    check_bits("gpt2", STLORA_F32);
}

static void test_memory_and_positions(void **state)
{
    (void)state;
    stlora_error err = {0};
    fixture f = {0};
    stlora_decoder *decoder;
    open_fixture(&f, "gpt2", STLORA_F32, 1);
    stlora_decoder_shape shape = {TINY_POSITIONS, 100, 8, 4, 2, 0}, larger = shape;
    larger.cache += 10;
    size_t row = 2 * TINY_HEADS * TINY_HEAD * sizeof(float) * TINY_LAYERS;
    assert_int_equal(stlora_decoder_bytes(f.model, NULL, STLORA_F32, &larger) -
                         stlora_decoder_bytes(f.model, NULL, STLORA_F32, &shape),
                     10 * row);
    shape.positions++;
    tiny_refused(stlora_decoder_create(&decoder, f.model, NULL, f.backend, STLORA_F32, &shape, &err), &err,
                 STLORA_E_UNSUPPORTED, "65 tokens are more than the model's 64 learned positions");
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TINY_TEST(test_bits), TINY_TEST(test_memory_and_positions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
