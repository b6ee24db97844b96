/* test_base.c: checked arithmetic, heap blocks and arenas, counter-based random numbers. */
#include "support.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/rng.h"
#include "base/size.h"

static void test_checked_arithmetic(void **state)
{
    (void)state;
    size_t s = 77;
    int64_t i = 77;
    assert_false(stlora_size_mul(SIZE_MAX / 2 + 1, 2, &s));
    assert_false(stlora_size_add(SIZE_MAX, 1, &s));
    assert_int_equal(s, 77);
    assert_true(stlora_size_mul(SIZE_MAX, 1, &s) && s == SIZE_MAX);
    assert_true(stlora_size_mul(SIZE_MAX, 0, &s) && s == 0);
    assert_true(stlora_size_add(SIZE_MAX - 1, 1, &s) && s == SIZE_MAX);
    assert_false(stlora_i64_mul(INT64_MIN, -1, &i));
    assert_false(stlora_i64_mul(INT64_MAX / 2 + 1, 2, &i));
    assert_false(stlora_i64_add(INT64_MAX, 1, &i));
    assert_false(stlora_i64_add(INT64_MIN, -1, &i));
    assert_int_equal(i, 77);
    assert_true(stlora_i64_mul(-3, 5, &i) && i == -15);
    assert_true(stlora_i64_add(INT64_MAX, INT64_MIN, &i) && i == -1);
}

static bool aligned(const void *block)
{
    return (uintptr_t)block % STLORA_ALIGN == 0;
}

static bool all_zero(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i]) return false;
    return true;
}

static void test_alloc(void **state)
{
    (void)state;
    stlora_error err = {0};
    for (size_t size = 0; size < 300; size++) {
        unsigned char *block = NULL;
        assert_ok(stlora_alloc(&block, size, 3, "block", &err));
        assert_non_null(block);
        assert_true(aligned(block) && all_zero(block, 3 * size));
        stlora_free(block);
    }
    stlora_free(NULL);
    void *block = &err;
    assert_int_equal(stlora_alloc(&block, SIZE_MAX / 2, 3, "rows", &err), STLORA_E_NOMEM);
    assert_non_null(strstr(err.text, "rows: "));
    assert_int_equal(stlora_alloc(&block, SIZE_MAX, 1, "rows", &err), STLORA_E_NOMEM); /* rounding up overflows */
    assert_int_equal(stlora_alloc(&block, SIZE_MAX / 2 + 1, 1, "rows", &err), STLORA_E_NOMEM);
    assert_ptr_equal(block, &err);
}

static void test_grow(void **state)
{
    (void)state;
    stlora_error err = {0};
    uint32_t *numbers = NULL;
    size_t capacity = 0;
    for (uint32_t i = 0; i < 5000; i++) {
        size_t before = capacity;
        assert_ok(stlora_grow(&numbers, &capacity, (size_t)i + 1, sizeof *numbers, "numbers", &err));
        assert_true(capacity > i && aligned(numbers));
        if (capacity != before)
            assert_true(all_zero((const unsigned char *)(numbers + before), (capacity - before) * sizeof *numbers));
        numbers[i] = i;
    }
    for (uint32_t i = 0; i < 5000; i++) assert_int_equal(numbers[i], i);
    uint32_t *kept = numbers;
    size_t had = capacity;
    assert_int_equal(stlora_grow(&numbers, &capacity, SIZE_MAX / 2, 4, "numbers", &err), STLORA_E_NOMEM);
    assert_ptr_equal(numbers, kept);
    assert_int_equal(capacity, had);
    stlora_free(numbers);
}

static void test_strdup_n(void **state)
{
    (void)state;
    stlora_error err = {0};
    char *copy = NULL;
    assert_ok(stlora_strdup_n(&copy, "hello", 3, &err));
    assert_string_equal(copy, "hel");
    stlora_free(copy);
    assert_ok(stlora_strdup_n(&copy, NULL, 0, &err));
    assert_string_equal(copy, "");
    stlora_free(copy);
    assert_int_equal(stlora_strdup_n(&copy, "x", SIZE_MAX, &err), STLORA_E_NOMEM);
}

static void walk(stlora_arena *arena, unsigned char *taken[3])
{
    taken[0] = stlora_arena_take(arena, 3, 5);
    taken[1] = stlora_arena_take(arena, 0, 8);
    taken[2] = stlora_arena_take(arena, 100, 4);
}

static void test_arena(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_arena arena = {0};
    unsigned char *taken[3];
    walk(&arena, taken);
    assert_null(taken[0]);
    assert_null(taken[2]);
    size_t measured = arena.used;
    assert_ok(stlora_arena_bind(&arena, "step", &err));
    assert_int_equal(arena.size, measured);
    walk(&arena, taken);
    assert_int_equal(arena.used, measured); /* the plan is the memory */
    for (int i = 0; i < 3; i++) assert_true(aligned(taken[i]));
    assert_true(taken[0] + 15 <= taken[1] && taken[1] < taken[2]);
    assert_true(taken[2] + 400 <= arena.base + arena.size);
    assert_true(all_zero(arena.base, arena.size));
    stlora_arena_free(&arena);
    assert_null(arena.base);
    stlora_arena_free(&arena);

    assert_null(stlora_arena_take(&arena, SIZE_MAX / 2, 3));
    assert_null(stlora_arena_take(&arena, 1, 1)); /* sticky */
    assert_int_equal(stlora_arena_bind(&arena, "step", &err), STLORA_E_NOMEM);
    assert_non_null(strstr(err.text, "step: "));
    arena = (stlora_arena){0};
    assert_null(stlora_arena_take(&arena, SIZE_MAX - 100, 1));
    assert_null(stlora_arena_take(&arena, 200, 1)); /* the sum overflows */
    assert_true(arena.overflow);
}

/* In a process that may not have more address space, each of them says so and leaves what was there. */
static void test_no_memory(void **state)
{
    (void)state;
    if (STLORA_SANITIZED) skip();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit limit = {64u << 20, 64u << 20};
        stlora_error err = {0};
        void *block = &err;
        if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(2);
        if (stlora_alloc(&block, 1u << 20, 1024, "base weights", &err) != STLORA_E_NOMEM) _exit(3);
        if (strcmp(err.text, "base weights: no memory for 1073741824 bytes") != 0 || block != &err) _exit(4);
        stlora_arena arena = {0};
        (void)stlora_arena_take(&arena, 1u << 30, 1);
        if (stlora_arena_bind(&arena, "step", &err) != STLORA_E_NOMEM || arena.base) _exit(5);
        _exit(0);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
}

/* The known answers that the paper's authors publish for Philox4x32-10. */
static void test_philox_known_answers(void **state)
{
    (void)state;
    const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t out[4];
        stlora_philox(known[i].counter, known[i].key, out);
        assert_memory_equal(out, known[i].out, sizeof out);
    }
}

static void test_rng_layout(void **state)
{
    (void)state;
    const uint64_t seed = 0x0123456789abcdefu, stream = 0xfedcba9876543210u, index = 0x00a1b2c3d4e5f607u;
    const uint32_t counter[4] = {(uint32_t)(index / 4), (uint32_t)(index / 4 >> 32) | 3u << 24, 0x76543210u,
                                 0xfedcba98u};
    const uint32_t key[2] = {0x89abcdefu, 0x01234567u};
    uint32_t out[4];
    stlora_philox(counter, key, out);
    uint32_t drawn = stlora_rng_u32(seed, STLORA_RNG_DROPOUT, stream, index);
    assert_int_equal(drawn, out[index % 4]);
    double uniform = stlora_rng_uniform(seed, STLORA_RNG_DROPOUT, stream, index);
    assert_true(uniform == drawn / 4294967296.0);
    assert_true(drawn != stlora_rng_u32(seed, STLORA_RNG_SHUFFLE, stream, index));
    assert_true(drawn != stlora_rng_u32(seed + 1, STLORA_RNG_DROPOUT, stream, index));
    assert_true(drawn != stlora_rng_u32(seed, STLORA_RNG_DROPOUT, stream + 1, index));
}

static void test_rng_uniform(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    double sum = 0, square = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        double u = stlora_rng_uniform(42, STLORA_RNG_INIT_A, 7, i);
        assert_true(u >= 0 && u < 1);
        sum += u;
        square += u * u;
    }
    /* Mean 1/2 and second moment 1/3; five standard errors of 100000 draws. */
    assert_true(sum / COUNT > 0.5 - 5 * 0.000913 && sum / COUNT < 0.5 + 5 * 0.000913);
    assert_true(square / COUNT > 1.0 / 3 - 5 * 0.000943 && square / COUNT < 1.0 / 3 + 5 * 0.000943);
}

static void test_permutation(void **state)
{
    (void)state;
    uint32_t order[1000], other[1000];
    bool seen[1000] = {false};
    stlora_rng_permutation(42, STLORA_RNG_SHUFFLE, 0, order, 1000);
    for (size_t i = 0; i < 1000; i++) {
        assert_true(order[i] < 1000 && !seen[order[i]]);
        seen[order[i]] = true;
    }
    stlora_rng_permutation(42, STLORA_RNG_SHUFFLE, 0, other, 1000);
    assert_memory_equal(order, other, sizeof order);
    stlora_rng_permutation(42, STLORA_RNG_SHUFFLE, 1, other, 1000);
    assert_memory_not_equal(order, other, sizeof order);
    uint32_t one = 9;
    stlora_rng_permutation(1, STLORA_RNG_SHUFFLE, 0, &one, 0);
    assert_int_equal(one, 9);
    stlora_rng_permutation(1, STLORA_RNG_SHUFFLE, 0, &one, 1);
    assert_int_equal(one, 0);
    /* Every one of the 24 orders of four comes up about as often: chi-squared, 23 degrees, far beyond 99.99 %. */
    int count[256] = {0};
    for (uint64_t s = 0; s < 24000; s++) {
        stlora_rng_permutation(s, STLORA_RNG_SHUFFLE, 0, order, 4);
        count[order[0] * 64 + order[1] * 16 + order[2] * 4 + order[3]]++;
    }
    double chi = 0;
    int orders = 0;
    for (int i = 0; i < 256; i++) {
        if (!count[i]) continue;
        orders++;
        chi += (count[i] - 1000.0) * (count[i] - 1000.0) / 1000.0;
    }
    assert_int_equal(orders, 24);
    assert_true(chi < 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checked_arithmetic),
        cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_grow),
        cmocka_unit_test(test_strdup_n),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_rng_layout),
        cmocka_unit_test(test_rng_uniform),
        cmocka_unit_test(test_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
