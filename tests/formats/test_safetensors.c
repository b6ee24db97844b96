/* test_safetensors.c: what a good file gives, what a bad one says, and that nothing in between happens. Damage at random:
 * test_safetensors_damage.c. */
#include "scratch.h"

#include "base/file_map.h"
#include "base/memory.h"
#include "formats/safetensors.h"

/* Writes length, header and data_size bytes 0, 1, 2, ... as a file. */
static void put_file(const char *path, uint64_t length, const char *header, size_t data_size)
{
    stlora_error err = {0};
    const size_t header_size = strlen(header);
    unsigned char *bytes = malloc(8 + header_size + data_size);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(length >> (8 * i));
    memcpy(bytes + 8, header, header_size);
    for (size_t i = 0; i < data_size; i++) bytes[8 + header_size + i] = (unsigned char)i;
    assert_ok(stlora_atomic_write_all(path, bytes, 8 + header_size + data_size, &err));
    free(bytes);
}

static void put_header(const char *path, const char *header, size_t data_size)
{
    char padded[4096];
    const size_t size = (strlen(header) + 7) / 8 * 8;
    (void)snprintf(padded, sizeof padded, "%-*s", (int)size, header);
    put_file(path, size, padded, data_size);
}

/* The file must be refused with this status, and the sentence must begin with the path and hold these words. */
static void refused(const char *path, stlora_status wanted, const char *words)
{
    stlora_error err = {0};
    stlora_safetensors *s = NULL;
    stlora_status status = stlora_safetensors_open(&s, path, &err);
    assert_refusal(status, &err, wanted, path, words);
    assert_null(s);
    stlora_safetensors *again = NULL;
    assert_int_equal(stlora_safetensors_open(&again, path, NULL), wanted); /* no sentence wanted */
}

static void refuses_header(const char *header, size_t data_size, stlora_status wanted, const char *words)
{
    put_header(at("f"), header, data_size);
    refused(at("f"), wanted, words);
}

static void malformed(const char *header, size_t data_size, const char *words)
{
    refuses_header(header, data_size, STLORA_E_FORMAT, words);
}

static void test_good_file(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_safetensors *s;
    put_header(at("f"),
               "{\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,32]},"
               "\"__metadata__\":{\"format\":\"pt\",\"who\":\"\xc3\xa9\"},"
               "\"b\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8],\"comment\":null},"
               "\"none\":{\"dtype\":\"BF16\",\"shape\":[4,0],\"data_offsets\":[32,32]}}",
               32);
    assert_ok(stlora_safetensors_open(&s, at("f"), &err));
    assert_int_equal(stlora_safetensors_count(s), 3);
    assert_string_equal(stlora_safetensors_name(s, 0), "b");
    assert_string_equal(stlora_safetensors_name(s, 1), "none");
    assert_string_equal(stlora_safetensors_name(s, 2), "w");
    const stlora_view *w = stlora_safetensors_find(s, "w");
    assert_ptr_equal(w, stlora_safetensors_at(s, 2));
    assert_int_equal(w->dtype, STLORA_F32);
    assert_int_equal(w->ndim, 2);
    assert_int_equal(w->shape[0], 2);
    assert_int_equal(w->shape[1], 3);
    for (size_t i = 0; i < 24; i++) assert_int_equal(((const unsigned char *)w->data)[i], 8 + i);
    const stlora_view *b = stlora_safetensors_find(s, "b");
    assert_int_equal(b->ndim, 0);
    assert_int_equal(stlora_view_count(b), 1);
    assert_int_equal(stlora_view_count(stlora_safetensors_find(s, "none")), 0);
    assert_null(stlora_safetensors_find(s, "W"));
    assert_null(stlora_safetensors_find(s, ""));
    assert_null(stlora_safetensors_find(s, "__metadata__"));
    assert_string_equal(stlora_safetensors_metadata(s, "format"), "pt");
    assert_string_equal(stlora_safetensors_metadata(s, "who"), "\xc3\xa9");
    assert_null(stlora_safetensors_metadata(s, "none"));
    assert_string_equal(stlora_safetensors_path(s, 2), at("f"));
    struct stat st;
    assert_int_equal(stat(at("f"), &st), 0);
    assert_int_equal(stlora_safetensors_bytes(s), st.st_size);
    stlora_safetensors_close(s);
    stlora_safetensors_close(NULL);

    put_header(at("f"), "{}", 0);
    assert_ok(stlora_safetensors_open(&s, at("f"), &err));
    assert_int_equal(stlora_safetensors_count(s), 0);
    assert_null(stlora_safetensors_find(s, "w"));
    assert_null(stlora_safetensors_metadata(s, "format"));
    stlora_safetensors_close(s);
}

static void test_not_such_a_file(void **state)
{
    (void)state;
    stlora_error err = {0};
    refused(at("none"), STLORA_E_IO, "No such file or directory");
    refused(scratch, STLORA_E_IO, "found a directory");
    assert_ok(stlora_atomic_write_all(at("f"), "", 0, &err));
    refused(at("f"), STLORA_E_FORMAT, "must have 8 bytes of header length, found 0");
    assert_ok(stlora_atomic_write_all(at("f"), "1234567", 7, &err));
    refused(at("f"), STLORA_E_FORMAT, "found 7 bytes");
    assert_ok(stlora_atomic_write_all(at("f"), "PK\3\4zip or pickle", 17, &err));
    refused(at("f"), STLORA_E_FORMAT, "header length must be at most 100000000, found ");
}

static void test_lying_header_length(void **state)
{
    (void)state;
    const char *empty = "{}      ";
    put_file(at("f"), 9, empty, 0);
    refused(at("f"), STLORA_E_FORMAT, "header length must be at most the 8 bytes that follow it, found 9");
    put_file(at("f"), 100000000, empty, 0);
    refused(at("f"), STLORA_E_FORMAT, "must be at most the 8 bytes");
    put_file(at("f"), 100000001, empty, 0);
    refused(at("f"), STLORA_E_FORMAT, "must be at most 100000000, found 100000001");
    put_file(at("f"), UINT64_MAX, empty, 0);
    refused(at("f"), STLORA_E_FORMAT, "found 18446744073709551615");
    put_file(at("f"), UINT64_MAX - 7, empty, 0);
    refused(at("f"), STLORA_E_FORMAT, "must be at most 100000000");
    put_file(at("f"), 0, empty, 0);
    refused(at("f"), STLORA_E_FORMAT, "must begin with '{' at byte 8");
    put_file(at("f"), 1, empty, 0);
    refused(at("f"), STLORA_E_FORMAT, "f header line 1 column 1: ");
}

static void test_malformed_headers(void **state)
{
    (void)state;
    malformed("[]", 0, "must begin with '{'");
    malformed(" {}", 0, "must begin with '{'");
    malformed("{\"w\":3}", 0, "tensor \"w\" must be an object, found integer");
    malformed("{} {}", 0, " header line 1 column 4: ");
    malformed("{\"w\":}", 0, " header line 1 column 6: ");
    malformed("{\"\xff\":{}}", 0, "unable to decode byte 0xff");
    malformed("{\"w\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
              "\"w\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "duplicate object key");
    malformed("{\"__metadata__\":[]}", 0, "__metadata__ must be an object, found array");
    malformed("{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ \"a\" must be a string, found integer");
    refuses_header("{\"__metadata__\":{\"a\":\"x\\u0000\"}}", 0, STLORA_E_UNSUPPORTED, "holds a NUL character");
}

static void test_malformed_dtype(void **state)
{
    (void)state;
    malformed("{\"w\":{}}", 0, "tensor \"w\": dtype must be a string, found nothing");
    malformed("{\"w\":{\"dtype\":null}}", 0, "dtype must be a string, found null");
    malformed("{\"w\":{\"dtype\":\"F31\"}}", 0, "dtype must be one of the format's, found \"F31\"");
    malformed("{\"w\":{\"dtype\":\"F32\\u0000\"}}", 0, "dtype must be one of the format's");
    refuses_header("{\"w\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, STLORA_E_UNSUPPORTED,
                   "tensor \"w\": dtype F8_E4M3 is not supported");
}

static void test_malformed_shape(void **state)
{
    (void)state;
    malformed("{\"w\":{\"dtype\":\"F32\"}}", 0, "shape must be an array, found nothing");
    malformed("{\"w\":{\"dtype\":\"F32\",\"shape\":4}}", 0, "shape must be an array, found integer");
    malformed("{\"w\":{\"dtype\":\"F32\",\"shape\":[2,-1]}}", 0, "shape[1] must be at least 0, found -1");
    malformed("{\"w\":{\"dtype\":\"F32\",\"shape\":[1.0]}}", 0, "shape[0] must be an integer of at least 0, found real");
    malformed("{\"w\":{\"dtype\":\"F32\",\"shape\":[\"1\"]}}", 0, "found string");
    malformed("{\"w\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808]}}", 0, "too big integer");
    /* Products that wrap around to something small. */
    malformed("{\"w\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
              "more elements than a 64-bit number can count");
    malformed("{\"w\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
              "more bytes than can be addressed");
    malformed("{\"w\":{\"dtype\":\"F32\",\"shape\":[2305843009213693952,8,0],\"data_offsets\":[0,0]}}", 0,
              "more elements than");
    refuses_header("{\"w\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
                   STLORA_E_UNSUPPORTED, "at most 8 dimensions are supported, found 9");
}

#define W "\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":"
#define V "\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":"

static void test_malformed_offsets(void **state)
{
    (void)state;
    malformed("{\"w\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "data_offsets must be an array of two integers, found nothing");
    malformed("{" W "[0]}}", 8, "an array of two integers, found array of 1");
    malformed("{" W "[0,8,8]}}", 8, "found array of 3");
    malformed("{" W "{\"0\":0,\"1\":8}}}", 8, "found object");
    malformed("{" W "[0,8.0]}}", 8, "end of data_offsets must be an integer, found real");
    malformed("{" W "[null,8]}}", 8, "begin of data_offsets must be an integer, found null");
    malformed("{" W "[-8,0]}}", 8, "begin of data_offsets must lie in the 8 bytes of data, found -8");
    malformed("{" W "[0,9]}}", 8, "end of data_offsets must lie in the 8 bytes of data, found 9");
    malformed("{" W "[9223372036854775800,9223372036854775807]}}", 8, "must lie in the 8 bytes");
    malformed("{" W "[8,0]}}", 8, "must not end before they begin, found [8, 0]");
    malformed("{" W "[0,4]}}", 8, "shape and dtype F32 want 8 bytes, data_offsets give 4");
    malformed("{" W "[4,8]}}", 8, "want 8 bytes, data_offsets give 4");
    malformed("{" W "[4,12]}}", 12, "data must begin at byte 0 where the tensor before it ends, found 4: there is a gap");
    malformed("{" W "[0,8]}," V "[4,12]}}", 12, "must begin at byte 8 where the tensor before it ends, found 4: they overlap");
    malformed("{" W "[0,8]}," V "[0,8]}}", 8, "they overlap");
    malformed("{" W "[0,8]}," V "[12,20]}}", 20, "tensor \"v\": data must begin at byte 8");
    malformed("{" W "[0,8]}}", 9, "the tensors must fill the 9 bytes of data, found 8");
    malformed("{}", 1, "the tensors must fill the 1 bytes of data, found 0");
}

/* Old files have a header of any length: fine for bytes, and for floats where it happens to fit. */
static void test_alignment(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_safetensors *s;
    const char *four = "{" W "[0,8]}}";                    /* made 4 modulo 8 with spaces */
    char header[256];
    (void)snprintf(header, sizeof header, "%-60s", four);
    put_file(at("f"), 60, header, 8);
    assert_ok(stlora_safetensors_open(&s, at("f"), &err));
    stlora_safetensors_close(s);
    (void)snprintf(header, sizeof header, "%-61s", four);
    put_file(at("f"), 61, header, 8);
    refused(at("f"), STLORA_E_UNSUPPORTED,
            "tensor \"w\": F32 elements must begin at a multiple of 4 bytes, found byte 69; write the file anew");
    (void)snprintf(header, sizeof header, "%-61s", "{\"b\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[0,2]}}");
    put_file(at("f"), 61, header, 2);
    refused(at("f"), STLORA_E_UNSUPPORTED, "BF16 elements must begin at a multiple of 2");
    (void)snprintf(header, sizeof header, "%-61s", "{\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}");
    put_file(at("f"), 61, header, 8);
    assert_ok(stlora_safetensors_open(&s, at("f"), &err));
    stlora_safetensors_close(s);
}

static void test_nesting_bomb(void **state)
{
    (void)state;
    enum { DEEP = 500000 };
    char *bomb = malloc(DEEP + 1);
    assert_non_null(bomb);
    for (size_t i = 0; i + 5 <= DEEP; i += 5) memcpy(bomb + i, "{\"a\":", 5);
    bomb[DEEP] = '\0';
    put_file(at("f"), DEEP, bomb, 0);
    refused(at("f"), STLORA_E_FORMAT, "maximum parsing depth reached");
    free(bomb);
}

/* ---- writing ---- */

static const float numbers[6] = {1, -2, 3.5f, -0.0f, 1e-40f, 3e38f};

static void test_write_and_read_back(void **state)
{
    (void)state;
    stlora_error err = {0};
    const uint8_t bytes[3] = {7, 8, 9};
    const int64_t big = INT64_MIN;
    const stlora_named_view tensors[] = {
        {"z \"quoted\\\" \xe2\x82\xac\n", {bytes, STLORA_U8, 1, {3}}},
        {"a", {numbers, STLORA_F32, 2, {2, 3}}},
        {"scalar", {&big, STLORA_I64, 0, {0}}},
        {"empty", {NULL, STLORA_F16, 3, {0, 7, 1}}},
        {"", {numbers, STLORA_F32, 1, {1}}},
    };
    const stlora_metadata_entry metadata[] = {{"format", "pt"}, {"note", "a \"b\""}};
    assert_ok(stlora_safetensors_write(at("f"), tensors, 5, metadata, 2, &err));
    stlora_safetensors *s;
    assert_ok(stlora_safetensors_open(&s, at("f"), &err));
    assert_int_equal(stlora_safetensors_count(s), 5);
    for (size_t i = 0; i < 5; i++) {
        const stlora_view *v = stlora_safetensors_find(s, tensors[i].name), *w = &tensors[i].view;
        assert_non_null(v);
        assert_int_equal(v->dtype, w->dtype);
        assert_int_equal(v->ndim, w->ndim);
        for (int d = 0; d < v->ndim; d++) assert_int_equal(v->shape[d], w->shape[d]);
        const size_t size = (size_t)stlora_view_count(v) * stlora_dtype_size(v->dtype);
        assert_int_equal((uintptr_t)v->data % stlora_dtype_size(v->dtype), 0); /* although a U8 of 3 came first */
        if (size) assert_memory_equal(v->data, w->data, size);
    }
    assert_string_equal(stlora_safetensors_metadata(s, "format"), "pt");
    assert_string_equal(stlora_safetensors_metadata(s, "note"), "a \"b\"");
    stlora_safetensors_close(s);

    stlora_file_map one, two;
    assert_ok(stlora_safetensors_write(at("g"), tensors, 5, metadata, 2, &err));
    assert_ok(stlora_file_map_open(&one, at("f"), &err));
    assert_ok(stlora_file_map_open(&two, at("g"), &err));
    assert_int_equal(one.size, two.size);
    assert_memory_equal(one.bytes, two.bytes, one.size);
    assert_int_equal(one.bytes[0] % 8, 0);
    stlora_file_map_close(&one);
    stlora_file_map_close(&two);
    assert_ok(stlora_safetensors_write(at("none"), NULL, 0, NULL, 0, &err));
    assert_ok(stlora_safetensors_open(&s, at("none"), &err));
    assert_int_equal(stlora_safetensors_count(s), 0);
    stlora_safetensors_close(s);
}

/* The bytes themselves, so that a change of the writer is seen. */
static void test_written_bytes(void **state)
{
    (void)state;
    stlora_error err = {0};
    const uint8_t bytes[2] = {'h', 'i'};
    const stlora_named_view tensor = {"t", {bytes, STLORA_U8, 1, {2}}};
    const stlora_metadata_entry metadata = {"format", "pt"};
    const char wanted[] = "\x58\0\0\0\0\0\0\0"
                          "{\"__metadata__\":{\"format\":\"pt\"},\"t\":{\"dtype\":\"U8\",\"shape\":[2],"
                          "\"data_offsets\":[0,2]}}    hi";
    assert_ok(stlora_safetensors_write(at("f"), &tensor, 1, &metadata, 1, &err));
    stlora_file_map map;
    assert_ok(stlora_file_map_open(&map, at("f"), &err));
    assert_int_equal(map.size, sizeof wanted - 1);
    assert_memory_equal(map.bytes, wanted, sizeof wanted - 1);
    stlora_file_map_close(&map);
}

static void refuses_to_write(const stlora_named_view *tensors, size_t count, const stlora_metadata_entry *metadata,
                             size_t metadata_count, const char *words)
{
    stlora_error err = {0};
    assert_int_equal(stlora_safetensors_write(at("out"), tensors, count, metadata, metadata_count, &err),
                     STLORA_E_USAGE);
    if (!strstr(err.text, words)) fail_msg("wanted <%s>, found <%s>", words, err.text);
    assert_int_equal(entries(scratch), 0);
}

static void test_write_refusals(void **state)
{
    (void)state;
    const stlora_view v = {numbers, STLORA_F32, 1, {6}};
    const stlora_view negative = {numbers, STLORA_F32, 1, {-1}};
    const stlora_view huge = {numbers, STLORA_F32, 2, {INT64_MAX, 3}};
    const stlora_view deep = {numbers, STLORA_F32, 9, {1}};
    const stlora_view nowhere = {NULL, STLORA_F32, 1, {1}};
    refuses_to_write((const stlora_named_view[]){{"a", v}, {"b", v}, {"a", v}}, 3, NULL, 0, "\"a\" is given twice");
    refuses_to_write((const stlora_named_view[]){{"__metadata__", v}}, 1, NULL, 0, "other than __metadata__");
    refuses_to_write((const stlora_named_view[]){{"\xff", v}}, 1, NULL, 0, "must be UTF-8, found \"?\"");
    refuses_to_write((const stlora_named_view[]){{"a", negative}}, 1, NULL, 0, "shape[0] = -1 is out of range");
    refuses_to_write((const stlora_named_view[]){{"a", huge}}, 1, NULL, 0, "is out of range");
    refuses_to_write((const stlora_named_view[]){{"a", deep}}, 1, NULL, 0, "0 to 8 dimensions, found 9");
    refuses_to_write((const stlora_named_view[]){{"a", nowhere}}, 1, NULL, 0, "has no data");
    refuses_to_write(NULL, 0, (const stlora_metadata_entry[]){{"k", "1"}, {"k", "2"}}, 2, "\"k\" is given twice");
    refuses_to_write(NULL, 0, (const stlora_metadata_entry[]){{"k", "\xc3"}}, 1, "must be UTF-8");
}

static void test_write_failures(void **state)
{
    (void)state;
    stlora_error err = {0};
    const stlora_named_view tensor = {"t", {numbers, STLORA_F32, 1, {6}}};
    assert_int_equal(stlora_safetensors_write("/dev/full", &tensor, 1, NULL, 0, &err), STLORA_E_IO);
    assert_string_equal(err.text, "/dev/full: cannot be written: No space left on device");
    assert_int_equal(stlora_safetensors_write(at("no/f"), &tensor, 1, NULL, 0, &err), STLORA_E_IO);
    assert_int_equal(stlora_safetensors_write(scratch, &tensor, 1, NULL, 0, &err), STLORA_E_IO);
    assert_int_equal(entries(scratch), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_good_file),       SCRATCH_TEST(test_not_such_a_file),     SCRATCH_TEST(test_lying_header_length),
        SCRATCH_TEST(test_malformed_headers), SCRATCH_TEST(test_malformed_dtype),   SCRATCH_TEST(test_malformed_shape),
        SCRATCH_TEST(test_malformed_offsets), SCRATCH_TEST(test_alignment),         SCRATCH_TEST(test_nesting_bomb),
        SCRATCH_TEST(test_write_and_read_back), SCRATCH_TEST(test_written_bytes),   SCRATCH_TEST(test_write_refusals),
        SCRATCH_TEST(test_write_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
