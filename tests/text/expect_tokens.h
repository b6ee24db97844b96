/* expect_tokens.h: holding a tokenizer's ids and texts against those of a JSON row, for the tests of text/. */
#ifndef STLORA_TESTS_EXPECT_TOKENS_H
#define STLORA_TESTS_EXPECT_TOKENS_H

#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "support.h"
#include "text/tokenizer.h"

static inline void expect_ids(const stlora_tokenizer *tokenizer, const json_t *text, bool special,
                       const json_t *ids, const char *where)
{
    stlora_error err = {0};
    stlora_ids got = {0};
    assert_ok(stlora_tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text),
                                      special, &got, &err));
    size_t count = json_array_size(ids);
    for (size_t i = 0; i < count || i < got.count; i++) {
        long long want = i < count ? json_integer_value(json_array_get(ids, i)) : -1;
        long long have = i < got.count ? got.data[i] : -1;
        if (want != have)
            fail_msg("%s: id %zu of '%.200s' is %lld, wanted %lld", where, i,
                     json_string_value(text), have, want);
    }
    stlora_ids_free(&got);
}

static inline int32_t *array_of(const json_t *ids)
{
    int32_t *array = malloc(json_array_size(ids) * sizeof *array + 1);
    assert_non_null(array);
    for (size_t i = 0; i < json_array_size(ids); i++)
        array[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    return array;
}

/* Decodes as a list, and one by one: what the stream hands out must be whole characters and add up to the same. */
static inline void expect_text(const stlora_tokenizer *tokenizer, const json_t *ids, bool skip,
                        const json_t *text, const char *where)
{
    stlora_error err = {0};
    int32_t *array = array_of(ids);
    char *got = NULL;
    size_t length = 0;
    assert_ok(
        stlora_tokenizer_decode(tokenizer, array, json_array_size(ids), skip, &got, &length, &err));
    if (length != json_string_length(text) || memcmp(got, json_string_value(text), length) != 0)
        fail_msg("%s: decoded '%.200s', wanted '%.200s'", where, got, json_string_value(text));

    stlora_text_stream *stream = NULL;
    assert_ok(stlora_text_stream_create(&stream, tokenizer, skip, &err));
    for (int round = 0; round < 2; round++) { /* a flushed stream is as new */
        size_t at = 0;
        for (size_t i = 0; i <= json_array_size(ids); i++) {
            const char *part = NULL;
            size_t size = 0;
            if (i < json_array_size(ids))
                assert_ok(stlora_text_stream_push(stream, array[i], &part, &size, &err));
            else
                assert_ok(stlora_text_stream_flush(stream, &part, &size, &err));
            if (size > length - at || memcmp(part, got + at, size) != 0)
                fail_msg("%s: the stream's part %zu '%.200s' is not in '%.200s' at %zu", where, i,
                         part, got, at);
            if (size) assert_true((part[0] & 0xC0) != 0x80);
            at += size;
        }
        if (at != length) fail_msg("%s: the stream ends at %zu of %zu", where, at, length);
    }
    stlora_text_stream_free(stream);
    stlora_free(got);
    free(array);
}

#endif
