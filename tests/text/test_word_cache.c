/* test_word_cache.c: a cache never takes one word for another, and an encoder that remembers gives the ids of one that does not. */
#include <string.h>

#include "base/memory.h"
#include "small_tokenizer.h"
#include "text/word_cache.h"

static void keys_tell_words_apart(void **state)
{
    (void)state;
    static const char *const words[] = {
        "a", "a\0", "\0a", "ab", "ba", "abcdefgh", "abcdefghi", "abcdefghijklmno", "abcdefghijklmn"};
    static const size_t lengths[] = {1, 2, 2, 2, 2, 8, 9, 15, 14};
    enum { WORDS = sizeof lengths / sizeof *lengths };
    stlora_cached_word *cache;
    stlora_error err = {0};
    assert_ok(stlora_alloc(&cache, (size_t)1 << STLORA_CACHE_BITS, sizeof *cache, "cache", &err));
    for (int i = 0; i < WORDS; i++) {
        stlora_word_key key = stlora_word_key_make(words[i], lengths[i]);
        stlora_cached_word *place = stlora_word_cache_place(cache, key);
        assert_true(place >= cache && place < cache + ((size_t)1 << STLORA_CACHE_BITS));
        assert_false(stlora_word_cache_holds(place, key)); /* nor does an empty entry hold a word */
        stlora_word_cache_put(place, key, (const int32_t[]){i, i, i, i, i}, 5);
        assert_false(stlora_word_cache_holds(place, key)); /* too many ids */
        stlora_word_cache_put(place, key, &(const int32_t){i}, 1);
        assert_true(stlora_word_cache_holds(place, key));
        assert_int_equal(place->ids[0], i);
        assert_int_equal(place->ids[1], -1);
        for (int other = 0; other < i; other++) {
            key = stlora_word_key_make(words[other], lengths[other]);
            assert_false(stlora_word_cache_holds(place, key));
        }
    }
    stlora_free(cache);
}

/* Words of the letters a to d, many of them more than once, long ones and such of many ids among them; the tokenizer knows
 * some merges. One encoder for all texts against a new one for each, which is too short-lived to remember anything. */
static void the_same_ids(void **state)
{
    (void)state;
    stlora_error err = {0};
    json_t *root = object_of("\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
                             "\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"\\u0120\":4,\"ab\":5,\"abc\":6,"
                             "\"\\u0120a\":7,\"cd\":8,\"dd\":9},"
                             "\"merges\":[\"a b\",\"ab c\",\"\\u0120 a\",\"c d\",\"d d\"]}");
    stlora_tokenizer *tokenizer = tokenizer_of(root);
    json_decref(root);
    stlora_encoder *encoder;
    assert_ok(stlora_encoder_create(&encoder, tokenizer, &err));
    stlora_ids mine = {0}, fresh = {0};
    uint64_t random = 88172645463325252u;
    for (int text_number = 0; text_number < 300; text_number++) {
        char text[600];
        for (size_t i = 0; i < sizeof text; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            text[i] = "abcd    "[(random >> 40) % (text_number % 5 ? 8 : 5)];
        }
        mine.count = fresh.count = 0;
        assert_ok(stlora_encode(encoder, text, sizeof text, true, &mine, &err));
        assert_ok(stlora_tokenizer_encode(tokenizer, text, sizeof text, true, &fresh, &err));
        assert_int_equal(mine.count, fresh.count);
        assert_memory_equal(mine.data, fresh.data, mine.count * sizeof *mine.data);
    }
    stlora_ids_free(&mine);
    stlora_ids_free(&fresh);
    stlora_encoder_free(encoder);
    stlora_encoder_free(NULL);
    stlora_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_tell_words_apart),
        cmocka_unit_test(the_same_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
