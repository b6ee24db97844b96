/* test_config_damage.c: config.json and adapter_config.json cut anywhere and damaged at random: always a status and a sentence
 * that begins with the file, and nothing in the result that the readers promise to keep out. */
#include "scratch.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/file_map.h"
#include "base/memory.h"
#include "base/rng.h"
#include "formats/hf_config.h"
#include "formats/peft.h"

static const char *const pieces[] = {"0", "-1", "1e300", "9223372036854775807", "-9223372036854775808", "99999999999999999999",
                                     "null", "true", "\"\"", "\"\\u0000\"", "[]", "{}", "[", "{", "}", ",", ":", "\"",
                                     "\"llama3\"", "\"rope_type\"", "\xff", "\xed\xa0\x80"};

static uint32_t draw(uint64_t round, uint64_t *index, uint32_t below)
{
    return (uint32_t)(((uint64_t)stlora_rng_u32(7, STLORA_RNG_SAMPLE, round, (*index)++) * below) >> 32);
}

/* Replaces a value, or a few bytes anywhere, by a piece. Returns the new size. */
static size_t damage(char *text, size_t size, size_t room, uint64_t round)
{
    uint64_t index = 0;
    for (uint32_t changes = 1 + draw(round, &index, 3); changes > 0; changes--) {
        const char *piece = pieces[draw(round, &index, sizeof pieces / sizeof pieces[0])];
        const size_t length = strlen(piece);
        size_t from = draw(round, &index, (uint32_t)size), to = from + draw(round, &index, 3);
        if (draw(round, &index, 4)) { /* the value after the next colon */
            while (from < size && text[from] != ':') from++;
            if (from < size) from++;
            to = from;
            while (to < size && text[to] != ',' && text[to] != '\n') to++;
        }
        if (to > size) to = size;
        if (size - (to - from) + length > room) continue;
        memmove(text + from + length, text + to, size - to);
        memcpy(text + from, piece, length);
        size = size - (to - from) + length;
    }
    return size;
}

static void put_raw(const char *path, const char *text, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), (ssize_t)size);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    assert_int_equal(close(fd), 0);
}

static void told(stlora_status status, const stlora_error *err, const char *path)
{
    assert_true(status == STLORA_E_FORMAT || status == STLORA_E_UNSUPPORTED);
    assert_int_equal(err->status, status);
    assert_memory_equal(err->text, path, strlen(path));
    assert_true(strlen(err->text) > strlen(path) + 10);
}

static bool hf_survives(void)
{
    stlora_error err = {0};
    stlora_hf_config c;
    stlora_status status = stlora_hf_config_load(&c, scratch, &err);
    if (status != STLORA_OK) {
        told(status, &err, at("config.json"));
        return false;
    }
    const int64_t most = INT64_C(1) << 33; /* 4 x hidden */
    assert_true(c.vocab_size > 0 && c.vocab_size <= most && c.hidden_size > 0 && c.hidden_size <= most);
    assert_true(c.intermediate_size > 0 && c.intermediate_size <= most && c.layers > 0 && c.max_positions > 0);
    assert_true(c.kv_heads > 0 && c.heads > 0 && c.heads % c.kv_heads == 0 && c.head_dim > 0);
    assert_true(c.norm_eps > 0 && c.rope[0].theta >= 0 && c.eos_count >= 0 && c.eos_count <= STLORA_MAX_EOS);
    assert_non_null(memchr(c.activation, 0, sizeof c.activation));
    return true;
}

static bool peft_survives(void)
{
    stlora_error err = {0};
    stlora_peft_config c;
    stlora_status status = stlora_peft_config_load(&c, scratch, &err);
    if (status != STLORA_OK) {
        told(status, &err, at("adapter_config.json"));
        return false;
    }
    assert_true(c.r > 0 && c.lora_dropout >= 0 && c.lora_dropout < 1);
    for (size_t i = 0; i < c.target_count; i++) assert_true(c.targets[i][0] != '\0');
    for (size_t i = 0; i < c.rank_pattern_count; i++) assert_true(c.rank_pattern[i].value >= 1);
    stlora_peft_config_free(&c);
    return true;
}

static void damage_all(const char *given, const char *name, bool (*survives)(void))
{
    stlora_error err = {0};
    char *text, bad[4096];
    size_t size;
    assert_ok(stlora_file_read(&text, &size, shared_path(given), sizeof bad / 2, &err));
    while (size > 0 && text[size - 1] != '}') size--; /* what follows may be missing */
    for (size_t cut = 0; cut < size; cut++) {
        put_raw(at(name), text, cut);
        assert_false(survives());
    }
    put_raw(at(name), text, size);
    assert_true(survives());
    int ok = 0;
    for (uint64_t round = 0; round < 10000; round++) {
        memcpy(bad, text, size);
        put_raw(at(name), bad, damage(bad, size, sizeof bad, round));
        ok += survives() ? 1 : 0;
    }
    stlora_free(text);
    assert_true(ok > 100 && ok < 9000);
}

static void test_llama(void **state)
{
    (void)state;
    damage_all("golden/models/llama3_rope/config_v4.json", "config.json", hf_survives);
}

static void test_gpt2(void **state)
{
    (void)state;
    damage_all("golden/models/gpt2/model/config.json", "config.json", hf_survives);
}

static void test_adapter(void **state)
{
    (void)state;
    damage_all("golden/methods/llama/patterns/adapter/adapter_config.json", "adapter_config.json", peft_survives);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_llama),
        SCRATCH_TEST(test_gpt2),
        SCRATCH_TEST(test_adapter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
