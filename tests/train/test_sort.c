/* test_sort.c: gpt-nano-sort (GPT-2 with an untied head): published PyTorch logits, and all 729 of its inputs come out sorted. */
#include <math.h>

#include "model/decoder.h"
#include "support.h"

enum { LETTERS = 6, POSITIONS = 11, VOCAB = 3 };

static void open_model(stlora_transformer **model, stlora_backend **backend)
{
    stlora_error err = {0};
    assert_ok(stlora_transformer_open(model, shared_path("data/models/gpt-nano-sort"), &err));
    assert_ok(stlora_backend_create(backend, "cpu", 1, &err));
}

static void test_published_logits(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_transformer *model;
    stlora_backend *backend;
    stlora_decoder *decoder;
    stlora_safetensors *reference;
    open_model(&model, &backend);
    assert_ok(stlora_safetensors_open(&reference,
                                      shared_path("data/models/gpt-nano-sort/pytorch_reference.safetensors"), &err));
    const stlora_view *ids = stlora_safetensors_find(reference, "input_ids_as_f32"),
                      *logits = stlora_safetensors_find(reference, "logits");
    const stlora_decoder_shape shape = stlora_decoder_single(POSITIONS);
    assert_ok(stlora_decoder_create(&decoder, model, NULL, backend, STLORA_F32, &shape, &err));
    double worst = 0;
    for (int64_t row = 0; row < ids->shape[0]; row++) {
        stlora_decoder_rewind(decoder, 0);
        for (int64_t t = 0; t < POSITIONS; t++) {
            const float *found;
            int32_t id = (int32_t)((const float *)ids->data)[row * POSITIONS + t];
            assert_ok(stlora_decoder_feed(decoder, &id, 1, &found, &err));
            for (int v = 0; v < VOCAB; v++) {
                double d =
                    fabs((double)found[v] - (double)((const float *)logits->data)[(row * POSITIONS + t) * VOCAB + v]);
                if (!(d <= 1e-4)) fail_msg("row %d, position %d, logit %d is off by %g", (int)row, (int)t, v, d);
                worst = fmax(worst, d);
            }
        }
    }
    print_message("largest error of a logit %.3g\n", worst);
    stlora_decoder_free(decoder);
    stlora_safetensors_close(reference);
    stlora_backend_free(backend);
    stlora_transformer_close(model);
}

static void test_every_input_is_sorted(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_transformer *model;
    stlora_backend *backend;
    stlora_decoder *decoder;
    open_model(&model, &backend);
    const stlora_decoder_shape shape = stlora_decoder_single(POSITIONS);
    assert_ok(stlora_decoder_create(&decoder, model, NULL, backend, STLORA_F32, &shape, &err));
    for (int input = 0; input < 729; input++) {
        int32_t ids[LETTERS];
        int counts[VOCAB] = {0}, at = 0;
        const float *logits;
        for (int i = 0, rest = input; i < LETTERS; i++, rest /= VOCAB)
            counts[ids[i] = rest % VOCAB]++;
        stlora_decoder_rewind(decoder, 0);
        assert_ok(stlora_decoder_feed(decoder, ids, LETTERS, &logits, &err));
        for (int v = 0; v < VOCAB; v++) {
            for (int k = 0; k < counts[v]; k++) {
                int32_t best = 0;
                for (int32_t u = 1; u < VOCAB; u++)
                    if (logits[u] > logits[best]) best = u;
                if (best != v) fail_msg("input %d: place %d is %d instead of %d", input, at, best, v);
                if (++at < LETTERS) assert_ok(stlora_decoder_feed(decoder, &best, 1, &logits, &err));
            }
        }
    }
    stlora_decoder_free(decoder);
    stlora_backend_free(backend);
    stlora_transformer_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_logits),
        cmocka_unit_test(test_every_input_is_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
