/* test_safetensors_damage.c: a good file cut anywhere and changed at random: always a status and a sentence, never a view that
 * leaves its file. The generator is counter-based, so that a failing round can be run again by its number. */
#include "scratch.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file_map.h"
#include "base/rng.h"
#include "formats/safetensors.h"

static unsigned char good[2048];
static size_t good_size;

static void make_good_file(void)
{
    stlora_error err = {0};
    static const float f[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    static const uint16_t h[4] = {0x3f80, 0x4000, 0x4040, 0x4080};
    const stlora_named_view tensors[] = {
        {"model.layers.0.w", {f, STLORA_F32, 2, {3, 4}}},
        {"model.layers.0.b", {h, STLORA_BF16, 1, {4}}},
        {"ids", {f, STLORA_I64, 2, {1, 2}}},
        {"empty", {NULL, STLORA_F16, 2, {0, 3}}},
    };
    assert_ok(stlora_safetensors_write(at("good"), tensors, 4, &(stlora_metadata_entry){"format", "pt"}, 1, &err));
    stlora_file_map map;
    assert_ok(stlora_file_map_open(&map, at("good"), &err));
    assert_true(map.size < sizeof good);
    memcpy(good, map.bytes, map.size);
    good_size = map.size;
    stlora_file_map_close(&map);
}

/* Not through stlora_atomic_*, and cut after writing: tens of thousands of syncs, which some file systems do at a cut to 0 too,
 * would take minutes. */
static void put_raw(const char *path, const unsigned char *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    assert_int_equal(close(fd), 0);
}

/* Reads every byte that the views promise, so that a sanitizer or the processor notices what is not there. */
static unsigned read_everything(const stlora_safetensors *s)
{
    unsigned sum = 0;
    for (size_t i = 0; i < stlora_safetensors_count(s); i++) {
        const stlora_view *v = stlora_safetensors_at(s, i);
        const unsigned char *bytes = v->data;
        const size_t size = (size_t)stlora_view_count(v) * stlora_dtype_size(v->dtype);
        assert_true(size <= stlora_safetensors_bytes(s));
        assert_non_null(stlora_safetensors_find(s, stlora_safetensors_name(s, i)));
        for (size_t b = 0; b < size; b++) sum += bytes[b];
    }
    return sum;
}

static stlora_status survives(const char *path)
{
    stlora_error err = {0};
    stlora_safetensors *s = NULL;
    stlora_status status = stlora_safetensors_open(&s, path, &err);
    if (status == STLORA_OK) {
        (void)read_everything(s);
        stlora_safetensors_close(s);
        return status;
    }
    assert_null(s);
    assert_int_equal(err.status, status);
    assert_memory_equal(err.text, path, strlen(path));
    assert_true(strlen(err.text) > strlen(path) + 10);
    if (status != STLORA_E_FORMAT && status != STLORA_E_UNSUPPORTED)
        fail_msg("%s: %s", stlora_status_name(status), err.text);
    return status;
}

static void test_cut_at_every_byte(void **state)
{
    (void)state;
    make_good_file();
    for (size_t size = 0; size < good_size; size++) {
        put_raw(at("f"), good, size);
        assert_int_equal(survives(at("f")), STLORA_E_FORMAT);
    }
    put_raw(at("f"), good, good_size);
    assert_int_equal(survives(at("f")), STLORA_OK);
    good[good_size] = 0; /* and one byte too many */
    put_raw(at("f"), good, good_size + 1);
    assert_int_equal(survives(at("f")), STLORA_E_FORMAT);
}

static void test_every_byte_changed(void **state)
{
    (void)state;
    make_good_file();
    size_t header_end = 8 + (size_t)good[0] + ((size_t)good[1] << 8);
    const unsigned char changes[] = {0x00, 0xff, '0', '9', '-', '"', '{', '}', '[', ']', ',', ' ', 0x80};
    for (size_t i = 0; i < header_end; i++) {
        const unsigned char before = good[i];
        for (size_t c = 0; c < sizeof changes; c++) {
            good[i] = changes[c];
            put_raw(at("f"), good, good_size);
            (void)survives(at("f"));
        }
        good[i] = before;
    }
}

static uint32_t draw(uint64_t round, uint64_t *index, uint32_t below)
{
    return (uint32_t)(((uint64_t)stlora_rng_u32(2026, STLORA_RNG_SAMPLE, round, (*index)++) * below) >> 32);
}

/* Pieces that a header is made of, and numbers that lie. */
static const char *const pieces[] = {"0", "1", "-1", "4", "9223372036854775807", "-9223372036854775808", "4294967296",
                                     "18446744073709551615", "1e5", "\"F32\"", "\"BF16\"", "\"I64\"", "\"F8_E4M3\"",
                                     "[", "]", "{", "}", ",", "null", "[0,0]", "\"shape\":", "\"\\u0000\""};

static size_t mutate(unsigned char *bytes, size_t size, uint64_t round)
{
    uint64_t index = 0;
    const uint32_t changes = 1 + draw(round, &index, 4);
    for (uint32_t c = 0; c < changes; c++) {
        const size_t place = draw(round, &index, (uint32_t)(draw(round, &index, 4) ? 300 : size));
        switch (draw(round, &index, 4)) {
        case 0: bytes[place] ^= (unsigned char)(1u << draw(round, &index, 8)); break;
        case 1: bytes[place] = (unsigned char)draw(round, &index, 256); break;
        case 2: { /* written over */
            const char *piece = pieces[draw(round, &index, sizeof pieces / sizeof pieces[0])];
            const size_t length = strlen(piece);
            if (place + length <= size) memcpy(bytes + place, piece, length);
            break;
        }
        default: { /* put in between; the header's length grows with it */
            const char *piece = pieces[draw(round, &index, sizeof pieces / sizeof pieces[0])];
            const size_t length = strlen(piece);
            if (place < 8 || size + length > sizeof good) break;
            memmove(bytes + place + length, bytes + place, size - place);
            memcpy(bytes + place, piece, length);
            size += length;
            const size_t header = bytes[0] + ((size_t)bytes[1] << 8) + length;
            bytes[0] = (unsigned char)header;
            bytes[1] = (unsigned char)(header >> 8);
            break;
        }
        }
    }
    return size;
}

static void test_random_damage(void **state)
{
    (void)state;
    make_good_file();
    unsigned char bad[sizeof good];
    int ok = 0, refused = 0;
    for (uint64_t round = 0; round < 20000; round++) {
        memcpy(bad, good, good_size);
        const size_t size = mutate(bad, good_size, round);
        put_raw(at("f"), bad, size);
        if (survives(at("f")) == STLORA_OK)
            ok++;
        else
            refused++;
    }
    assert_true(ok > 200 && refused > 5000); /* the damage is neither harmless nor always the same */
}

/* A process that may not take more memory is told so, and can go on. */
static void test_no_memory(void **state)
{
    (void)state;
    if (STLORA_SANITIZED) skip();
    static char header[4000000];
    size_t used = (size_t)snprintf(header, sizeof header, "{");
    for (int i = 0; i < 40000; i++)
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "", i);
    header[used++] = '}';
    while (used % 8) header[used++] = ' ';
    static unsigned char file[4000008];
    for (int i = 0; i < 8; i++) file[i] = (unsigned char)((uint64_t)used >> (8 * i));
    memcpy(file + 8, header, used);
    put_raw(at("f"), file, used + 8);
    assert_int_equal(survives(at("f")), STLORA_OK);
    /* From just above what the process has, upwards, until there is enough. */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int refusals = 0;
        for (rlim_t mega = 8; mega < 400; mega += 4) {
            struct rlimit limit = {mega << 20, RLIM_INFINITY};
            if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(2);
            stlora_error err = {0};
            stlora_safetensors *s = NULL;
            stlora_status status = stlora_safetensors_open(&s, at("f"), &err);
            if (status == STLORA_OK) {
                stlora_safetensors_close(s);
                _exit(refusals > 3 ? 0 : 3);
            }
            if (status != STLORA_E_NOMEM || s || !err.text[0]) _exit(4);
            refusals++;
        }
        _exit(5);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_cut_at_every_byte),
        SCRATCH_TEST(test_every_byte_changed),
        SCRATCH_TEST(test_random_damage),
        SCRATCH_TEST(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
