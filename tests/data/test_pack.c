/* test_pack.c: packing puts examples behind one another and nothing else: unpacked they are what they were, however a batch
 * is cut. */
#include "data/pack.h"

#include "base/rng.h"
#include "data/data_support.h"

static stlora_examples *read_rows(const char *path)
{
    stlora_error err = {0};
    stlora_examples *examples = NULL;
    stlora_row_kind kind;
    const stlora_example_options options = {.eos = -1, .completion_only = -1};
    assert_ok(stlora_examples_read(&examples, &path, 1, &options, &kind, &err));
    return examples;
}

static stlora_pack pack_of(int64_t max_tokens, int64_t max_segments)
{
    stlora_error err = {0};
    stlora_pack pack;
    assert_ok(stlora_pack_create(&pack, max_tokens, max_segments, &err));
    return pack;
}

static void two_examples_by_hand(void **state)
{
    (void)state;
    stlora_examples *e =
        read_rows(rows_file("{\"input_ids\":[1]}\n" /* dropped, but numbered */
                            "{\"input_ids\":[10,11,12]}\n"
                            "{\"input_ids\":[20,21,22,23],\"labels\":[-100,-100,32,33]}\n"));
    stlora_pack p = pack_of(9, 4);
    assert_int_equal(stlora_pack_fill(&p, e, (const uint32_t[]){1, 0}, 2, 0), 2);
    assert_int_equal(p.tokens, 7);
    assert_int_equal(p.segments, 2);
    assert_int_equal(p.supervised, 4);
    assert_memory_equal(p.ids, ((const int32_t[]){20, 21, 22, 23, 10, 11, 12}),
                        7 * sizeof(int32_t));
    assert_memory_equal(p.positions, ((const int32_t[]){0, 1, 2, 3, 0, 1, 2}), 7 * sizeof(int32_t));
    assert_memory_equal(p.targets, ((const int32_t[]){-1, 32, 33, -1, 11, 12, -1}),
                        7 * sizeof(int32_t));
    assert_memory_equal(p.starts, ((const int64_t[]){0, 4, 7}), 3 * sizeof(int64_t));
    assert_memory_equal(p.rows, ((const int64_t[]){2, 1}), 2 * sizeof(int64_t));
    assert_memory_equal(p.at, ((const int64_t[]){1, 2, 4, 5}), 4 * sizeof(int64_t));
    stlora_pack_free(&p);
    stlora_examples_free(e);
}

static void stops_at_tokens_and_at_segments(void **state)
{
    (void)state;
    stlora_examples *e = read_rows(
        rows_file("{\"input_ids\":[1,2,3]}\n{\"input_ids\":[4,5,6,7]}\n{\"input_ids\":[8,9]}\n"));
    const uint32_t chosen[] = {0, 1, 2, 0};
    stlora_pack p = pack_of(7, 9); /* exactly full after two */
    assert_int_equal(stlora_pack_fill(&p, e, chosen, 4, 0), 2);
    assert_int_equal(p.tokens, 7);
    assert_int_equal(stlora_pack_fill(&p, e, chosen, 4, 2), 2);
    assert_int_equal(p.tokens, 5);
    assert_int_equal(stlora_pack_fill(&p, e, chosen, 4, 3), 1);
    stlora_pack_free(&p);
    p = pack_of(6, 9); /* the second does not fit, though the third would: never reordered */
    assert_int_equal(stlora_pack_fill(&p, e, chosen, 4, 0), 1);
    stlora_pack_free(&p);
    p = pack_of(100, 2);
    assert_int_equal(stlora_pack_fill(&p, e, chosen, 4, 0), 2);
    assert_int_equal(p.segments, 2);
    stlora_pack_free(&p);
    p = pack_of(4, 1); /* the least room there is: one by one */
    for (size_t from = 0; from < 4; from++)
        assert_int_equal(stlora_pack_fill(&p, e, chosen, 4, from), 1);
    stlora_pack_free(&p);
    stlora_examples_free(e);
}

enum { EXAMPLES = 60, LONGEST = 17 };

static uint32_t draw(uint64_t stream, uint64_t index, uint32_t below)
{
    return stlora_rng_u32(1, STLORA_RNG_SAMPLE, stream, index) % below;
}

/* Rows of 2 to LONGEST ids with labels here and there; the second id is always supervised, so none is dropped. */
static stlora_examples *random_examples(void)
{
    FILE *file = fopen(data_path("rows.jsonl"), "wb");
    assert_non_null(file);
    for (uint64_t r = 0; r < EXAMPLES; r++) {
        uint32_t length = 2 + draw(r, 0, LONGEST - 1);
        (void)fputs("{\"input_ids\":[", file);
        for (uint32_t i = 0; i < length; i++)
            (void)fprintf(file, "%s%u", i ? "," : "", draw(r, 1 + i, 1000));
        (void)fputs("],\"labels\":[", file);
        for (uint32_t i = 0; i < length; i++) {
            bool supervised = i == 1 || draw(r, 100 + i, 2);
            (void)fprintf(file, "%s%d", i ? "," : "",
                          supervised ? (int)draw(r, 200 + i, 1000) : -100);
        }
        (void)fputs("]}\n", file);
    }
    assert_int_equal(fclose(file), 0);
    return read_rows(data_path("rows.jsonl"));
}

/* Segment s of the pack is the example, and nothing of its neighbours. */
static void expect_segment(const stlora_pack *p, int64_t s, const stlora_example *e)
{
    const int64_t start = p->starts[s];
    assert_int_equal(p->starts[s + 1] - start, e->length);
    assert_int_equal(p->rows[s], e->row);
    for (int64_t i = 0; i < e->length; i++) {
        assert_int_equal(p->ids[start + i], e->ids[i]);
        assert_int_equal(p->positions[start + i], i);
        assert_int_equal(p->targets[start + i], i + 1 < e->length ? stlora_example_target(e, i + 1) : -1);
    }
}

static void expect_positions_of_targets(const stlora_pack *p)
{
    int64_t found = 0;
    for (int64_t t = 0; t < p->tokens; t++) {
        if (p->targets[t] < 0) continue;
        assert_true(found < p->supervised);
        assert_int_equal(p->at[found++], t);
    }
    assert_int_equal(found, p->supervised);
}

/* Every room from the least to more than all: the packs of a batch, unpacked, are the batch in its order; and no pack could have
 * taken one more. */
static void any_cut_keeps_every_example_and_the_order(void **state)
{
    (void)state;
    stlora_examples *e = random_examples();
    assert_int_equal(stlora_examples_count(e), EXAMPLES);
    const stlora_example_counts *counts = stlora_examples_counts(e);
    assert_int_equal(counts->longest, LONGEST);
    uint32_t chosen[EXAMPLES];
    stlora_rng_permutation(3, STLORA_RNG_SHUFFLE, 0, chosen, EXAMPLES);
    for (int64_t room = LONGEST; room <= counts->tokens + 1; room += 1 + room / 4) {
        for (int64_t segments = 1; segments <= EXAMPLES + 1; segments += 1 + segments / 2) {
            stlora_pack p = pack_of(room, segments);
            int64_t tokens = 0, supervised = 0;
            for (size_t from = 0; from < EXAMPLES;) {
                size_t taken = stlora_pack_fill(&p, e, chosen, EXAMPLES, from);
                assert_true(taken >= 1 && taken == (size_t)p.segments && p.tokens <= room &&
                            p.segments <= segments);
                for (size_t k = 0; k < taken; k++) {
                    const stlora_example example = stlora_examples_at(e, chosen[from + k]);
                    expect_segment(&p, (int64_t)k, &example);
                }
                expect_positions_of_targets(&p);
                from += taken;
                tokens += p.tokens;
                supervised += p.supervised;
                if (from < EXAMPLES && p.segments < segments)
                    assert_true(p.tokens + stlora_examples_at(e, chosen[from]).length > room);
            }
            assert_int_equal(tokens, counts->tokens);
            assert_int_equal(supervised, counts->supervised);
            stlora_pack_free(&p);
        }
    }
    stlora_examples_free(e);
}

static void no_room_is_said(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_pack pack = {.tokens = 77};
    assert_int_equal(stlora_pack_create(&pack, INT64_MAX, 1, &err), STLORA_E_NOMEM);
    assert_int_equal(stlora_pack_create(&pack, 1, INT64_MAX, &err), STLORA_E_NOMEM);
    assert_int_equal(pack.tokens, 77);
    stlora_pack_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_examples_by_hand),
        cmocka_unit_test(stops_at_tokens_and_at_segments),
        cmocka_unit_test(any_cut_keeps_every_example_and_the_order),
        cmocka_unit_test(no_room_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, remove_data_files);
}
